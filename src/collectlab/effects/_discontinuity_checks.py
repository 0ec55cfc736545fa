"""The checks on a regression discontinuity: heaps, covariates, placebo cutoffs, numbers near the cutoff."""

from __future__ import annotations

import contextlib
import io
import warnings
from typing import Any

import numpy as np
import pandas as pd

from collectlab.core.errors import FrameError
from collectlab.effects._discontinuity_fit import FEWEST_SCORES, Side
from collectlab.effects._panel_inputs import p_said, words_of
from collectlab.effects.effect_result import Check

#: Fewest accounts inside the bandwidth, on each side.
FEWEST = 50
LIMIT = 0.05
#: So many accounts nearest to the cutoff are counted on either side.
NEAREST = 100


def density(score: np.ndarray, cutoff: float) -> Check:
    """No heap on one side: by the shape of the density, and by the count of the accounts nearest to the cutoff.

    The first (``rddensity``) looks at a wide stretch and misses who was moved from just above to just below; the second,
    a binomial test, sees only those. Each is held to half the limit.
    """
    from rddensity import rddensity
    from scipy import stats

    below, above, found = *_nearest(score, cutoff), {}
    if below + above >= NEAREST:
        found["count"] = float(stats.binomtest(below, below + above).pvalue)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")  # of repeated scores, which it allows for
            found["shape"] = float(rddensity(score, c=cutoff).test["p_jk"])
    except Exception:  # the library raises plain exceptions where too few scores differ
        found["shape"] = float("nan")
    known = [p for p in found.values() if np.isfinite(p)]
    if len(known) < 2:
        says = "Whether accounts heap on one side cannot be tested here: too few different scores."
        return Check(name="density", passed=None, says=says, limit=LIMIT)
    p_value = min(1.0, 2 * min(known))
    word = "as dense on both sides of" if p_value >= LIMIT else "not as dense on both sides of"
    return Check(
        name="density",
        passed=p_value >= LIMIT,
        says=f"Accounts are {word} the cutoff ({p_said(p_value)}; nearest to it {below:,} lie below and {above:,} above); a heap "
        "on one side would mean that somebody, or the rule for rounding, sorts them.",
        value=p_value,
        limit=LIMIT,
    )


def _nearest(score: np.ndarray, cutoff: float) -> tuple[int, int]:
    """Accounts in [c − w, c) and [c, c + w), with the smallest w that holds enough of them."""
    away = score - cutoff
    low, high = np.sort(-away[away < 0]), np.sort(away[away >= 0])
    widths = np.unique(low)
    counts = np.searchsorted(low, widths, side="right"), np.searchsorted(high, widths, side="left")
    enough = np.flatnonzero(counts[0] + counts[1] >= NEAREST)
    at = enough[0] if len(enough) else len(widths) - 1
    return int(counts[0][at]), int(counts[1][at])


def continuity(data: pd.DataFrame, side: Side, covariates: list[str], cluster: str | None) -> Check:
    if not covariates:
        says = "No covariate was named, so whether accounts on both sides are alike was not looked at."
        return Check(name="covariates", passed=None, says=says, limit=LIMIT)
    need = ["score", *(["cluster"] if cluster else [])]
    found = {}
    for i, name in enumerate(covariates):
        part = data[[*need, f"x{i}"]].dropna()
        with contextlib.suppress(FrameError):
            if part[f"x{i}"].nunique() > 1:
                found[name] = side.row(side.fit(part, f"x{i}"), 2)["p_value"]
    if not found:
        says = "No covariate varies enough near the cutoff to be compared."
        return Check(name="covariates", passed=None, says=says, limit=LIMIT)
    worst = min(found, key=lambda c: (found[c], c))
    name = words_of(worst)
    p_value = min(1.0, len(found) * found[worst])
    word = "jumps" if p_value < LIMIT else "jumps most, by no more than chance"
    unseen = (
        f" Not compared: {', '.join(words_of(c) for c in covariates if c not in found)}."
        if len(found) < len(covariates)
        else ""
    )
    return Check(
        name="covariates",
        passed=p_value >= LIMIT,
        says=f"Of {len(found)} covariates, {name} {word} at the cutoff ({p_said(found[worst])}, {p_value:.3f} with so many "
        f"looked at).{unseen}",
        value=p_value,
        limit=LIMIT,
    )


def placebo(data: pd.DataFrame, side: Side) -> Check:
    """The same question at the median of each side, with that side's accounts only."""
    above = data["score"] >= side.cutoff
    found = []
    for part in (data[~above], data[above]):
        with contextlib.suppress(FrameError):
            middle = float(part["score"].median())
            found.append(side.row(side.fit(part, "y", cutoff=middle), 2)["p_value"])
    found = [p for p in found if np.isfinite(p)]
    if not found:
        says = "Too few scores on either side to look for jumps where no rule is."
        return Check(name="placebo_cutoffs", passed=None, says=says, limit=LIMIT)
    p_value = min(1.0, len(found) * min(found))
    return Check(
        name="placebo_cutoffs",
        passed=p_value >= LIMIT,
        says=f"{'No' if p_value >= LIMIT else 'A'} jump shows at {len(found)} cutoffs where there is no rule, the middle of "
        f"each side (smallest {p_said(min(found))}).",
        value=p_value,
        limit=LIMIT,
    )


def enough(sizes: dict[str, float], bandwidth: float) -> Check:
    fewest = min(sizes["n_treated"], sizes["n_untreated"])
    return Check(
        name="enough",
        passed=fewest >= FEWEST,
        says=f"{sizes['n_treated']:,} treated and {sizes['n_untreated']:,} untreated accounts lie within "
        f"{bandwidth:.4g} of the cutoff; {FEWEST} on each side are wanted.",
        value=float(fewest),
        limit=float(FEWEST),
    )


def mass_points(score: np.ndarray, cutoff: float, bandwidth: float) -> Check:
    below = len(np.unique(score[(score < cutoff) & (score >= cutoff - bandwidth)]))
    above = len(np.unique(score[(score >= cutoff) & (score <= cutoff + bandwidth)]))
    return Check(
        name="mass_points",
        passed=min(below, above) >= FEWEST_SCORES,
        says=f"{below} different scores below and {above} above within the bandwidth; with fewer than {FEWEST_SCORES} on a side "
        "the line rests on its shape rather than on accounts at the cutoff.",
        value=float(min(below, above)),
        limit=float(FEWEST_SCORES),
    )


def followed(row: dict[str, Any]) -> Check:
    return Check(
        name="rule_followed",
        passed=bool(row["conf_low"] > 0.1),
        says=f"At the cutoff the share that received the treatment jumps by {100 * row['estimate']:+.0f} points; under 10 points "
        "the effect of receiving it cannot be told.",
        value=float(row["conf_low"]),
        limit=0.1,
    )
