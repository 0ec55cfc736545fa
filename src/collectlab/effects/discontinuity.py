"""A rule that assigns by a threshold: regression discontinuity at an amount or a score."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from collectlab.core.engine import scan
from collectlab.core.errors import FrameError
from collectlab.core.jackknife import check_level
from collectlab.core.plots import PALETTE, legend, new_axes, titled, unit_axis
from collectlab.effects._panel_inputs import rows_of, unit_of
from collectlab.effects.effect_result import Check, EffectResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["DiscontinuityResult", "discontinuity"]

#: Fewest accounts inside the bandwidth, and different scores there, on each side.
FEWEST, FEWEST_SCORES = 50, 10
#: A sample needs so many on each side for a bandwidth to be chosen at all.
FEWEST_A_SIDE = 30
MANY_CLUSTERS = 100
LIMIT = 0.05


@dataclass(frozen=True, kw_only=True)
class DiscontinuityResult(EffectResult):
    """The jump at the cutoff, and what is needed to draw it.

    ``table``: outcome, unit, effect (``rule``: of being on the treated side; ``received``: of what was received;
    ``share received``: the jump in that), method (``robust``, ``conventional``), accounts_treated, accounts_untreated
    (inside the bandwidth), bandwidth, estimate, std_error, conf_low, conf_high, p_value. ``bins``: score, mean, accounts,
    treated. ``lines``: score, fitted, treated.
    """

    bins: pd.DataFrame = field(default_factory=pd.DataFrame)
    lines: pd.DataFrame = field(default_factory=pd.DataFrame)
    cutoff: float = float("nan")
    plottable = True

    def plot(self, ax: Axes | None = None) -> Axes:
        """Means in bins of the score, with the line fitted on each side inside the bandwidth."""
        ax = new_axes(ax)
        for treated, colour, label in ((False, PALETTE[6], "without"), (True, PALETTE[0], "with")):
            dots = self.bins[self.bins["treated"] == treated]
            line = self.lines[self.lines["treated"] == treated]
            ax.plot(
                dots["score"], dots["mean"], "o" if treated else "s", color=colour, markersize=4, alpha=0.7
            )
            ax.plot(line["score"], line["fitted"], color=colour, linewidth=2, label=label)
        ax.axvline(self.cutoff, color="#444444", linewidth=0.8, linestyle="--")
        ax.set_xlabel(self.title.rpartition(" at ")[2])
        ax.set_ylabel(str(self.table["outcome"].iloc[0]))
        unit_axis(ax, "share" if self.unit == "points" else self.unit, "y")
        legend(ax)
        return titled(ax, self.title)


def discontinuity(
    frame: Any,
    *,
    score: str,
    cutoff: float,
    outcome: str,
    treated: str = "above",
    covariates: str | Sequence[str] = (),
    cluster: str | None = None,
    received: str | None = None,
    conf_level: float = 0.95,
) -> DiscontinuityResult:
    r"""What a treatment did to accounts at the threshold of the rule that assigns it.

    Estimand: the mean outcome with minus without the treatment, of accounts whose score is at the cutoff. It says nothing
    about accounts far from there. Local linear regressions on each side with a triangular kernel and the bandwidth of least
    mean squared error (``rdrobust``):

    .. math:: \hat\tau = \lim_{s \downarrow c} \hat E[y \mid s] - \lim_{s \uparrow c} \hat E[y \mid s]

    (the other way round where accounts below are treated). The headline is corrected for the curve's bias, with an interval
    that allows for the correction (Calonico, Cattaneo & Titiunik 2014); the conventional one is beside it. With ``received``
    the headline is the fuzzy estimate: the jump in the outcome per jump in the share that received the treatment.

    Parameters
    ----------
    frame : frame
        One row per account.
    score : str
        Column with the number the rule looks at, as it was when the rule looked.
    cutoff : float
        Accounts with a score of the cutoff or above are one side, those below it the other.
    outcome : str
        Column with a number or yes/no. Rows without it, or without a score, are left out and counted.
    treated : {"above", "below"}
        Which side the rule treats.
    covariates : str or list of str
        Numeric columns known before the rule; they should not jump. They are not used in the estimate.
    cluster : str, optional
        Column with the unit within which rows depend on each other, such as the customer.
    received : str, optional
        Column with whether (0/1) the treatment was in fact received, where the rule was not always followed.
    conf_level : float
        Level of the intervals.

    Returns
    -------
    DiscontinuityResult
        Checks: ``density`` (no heap of accounts on one side of the cutoff: ``rddensity``), ``covariates`` (none jumps, with
        Bonferroni), ``placebo_cutoffs`` (no jump at the medians of either side), ``enough`` (accounts inside the bandwidth),
        ``mass_points`` (different scores there), and ``rule_followed`` where ``received`` is given.

    Raises
    ------
    FrameError
        A column is missing or no number; fewer than 30 accounts on a side; a constant outcome; nobody, or everybody, received
        the treatment, or as many on either side.

    References
    ----------
    Calonico, Cattaneo & Titiunik (2014), Econometrica 82(6). Cattaneo, Jansson & Ma (2020), JASA 115(531).

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> score = np.arange(400, 800, 0.5)
    >>> people = pd.DataFrame({"score": score, "paid": 1000 + score + 50 * (score < 600) + 10 * np.sin(score * 7)})
    >>> result = discontinuity(people, score="score", cutoff=600, outcome="paid", treated="below")
    >>> print(f"{result.table['estimate'][0]:.0f} ({result.table['method'][0]})")
    50 (robust)
    """
    check_level(conf_level)
    if treated not in ("above", "below"):
        raise FrameError(f"treated is {treated!r}. Allowed: 'above', 'below'.")
    covariates = [covariates] if isinstance(covariates, str) else list(covariates)
    data, notes = _prepared(frame, score, cutoff, outcome, covariates, cluster, received)
    side = _Side(float(cutoff), 1.0 if treated == "above" else -1.0, cluster is not None, conf_level)
    y, s = data["y"].to_numpy(), data["score"].to_numpy()
    kind = unit_of(outcome, y)
    fits = [("rule", kind, side.fit(data, "y"))]
    if received:
        fits.insert(0, ("received", kind, side.fit(data, "y", fuzzy="received")))
        fits.append(("share received", "points", side.fit(data, "received")))
    rows = [
        {
            "outcome": outcome,
            "unit": u,
            "effect": effect,
            "method": method,
            **side.sizes(found),
            **side.row(found, line),
        }
        for effect, u, found in fits
        for method, line in (("robust", 2), ("conventional", 0))
    ]
    sharp = fits[1 if received else 0][2]
    bandwidth = float(sharp.bws.loc["h", "left"])
    checks = [
        _density(s, cutoff),
        _continuity(data, side, covariates, cluster),
        _placebo(data, side),
        _enough(side.sizes(sharp), bandwidth),
        _mass_points(s, cutoff, bandwidth),
    ]
    if received:
        checks.append(_followed(rows[-2]))
    return DiscontinuityResult(
        table=pd.DataFrame(rows),
        bins=_bins(s, y, side, bandwidth),
        lines=_lines(s, y, side, bandwidth),
        cutoff=float(cutoff),
        estimand=f"Mean of {outcome} with the treatment minus without, of accounts whose {score} is {cutoff:g}",
        unit=kind,
        title=f"{outcome} at {score} {cutoff:g}",
        notes=(
            *notes,
            f"Accounts {treated} {cutoff:g} are treated. The effect is that at the cutoff; elsewhere it may differ.",
            "The robust row is corrected for the curve's bias and is the one to read.",
        ),
        formats={"accounts_treated": "count", "accounts_untreated": "count"},
        conf_level=conf_level,
        design="discontinuity",
        checks=tuple(checks),
    )


def _prepared(frame, score, cutoff, outcome, covariates, cluster, received) -> tuple[pd.DataFrame, list[str]]:
    numbers = [score, outcome, *covariates, *([received] if received else [])]
    frame = scan(frame, [*numbers, *([cluster] if cluster else [])])
    rows = rows_of(frame, numbers, [cluster] if cluster else [])
    if not np.isfinite(cutoff):
        raise FrameError(f"cutoff is {cutoff!r}. Allowed: a number.")
    names = {f"x{i}": rows[c] for i, c in enumerate(covariates)}
    data = pd.DataFrame({"score": rows[score], "y": rows[outcome], **names})
    need = ["score", "y"]
    if received:
        data["received"], need = rows[received], [*need, "received"]
    if cluster:
        data["cluster"], need = rows[cluster].astype("string"), [*need, "cluster"]
    notes = []
    if gone := int(data[need].isna().any(axis=1).sum()):
        notes.append(
            f"{gone:,} of {len(data):,} rows miss one of {', '.join(c for c in (score, outcome, received, cluster) if c)} and are left out."
        )
        data = data.dropna(subset=need)
    # One order for the rows, whatever the engine: sums of floats, and ties among neighbours, depend on it.
    data = data.sort_values(list(data.columns), ignore_index=True, kind="stable")
    if cluster:
        data["cluster"] = pd.factorize(data["cluster"], sort=True)[0]
    above = int((data["score"] >= cutoff).sum())
    faults = []
    if min(above, len(data) - above) < FEWEST_A_SIDE:
        span = (
            f"{score} runs from {data['score'].min():g} to {data['score'].max():g}"
            if len(data)
            else "no rows"
        )
        faults.append(
            f"{len(data) - above:,} accounts below {cutoff:g} and {above:,} at or above it ({span}). Allowed: "
            f"{FEWEST_A_SIDE} or more on each side."
        )
    if len(data) and np.ptp(data["y"]) == 0:
        faults.append(
            f"{outcome} is {data['y'].iloc[0]:g} for all {len(data):,} accounts: nothing to compare."
        )
    if received and len(data):
        if not set(data["received"].unique()) <= {0.0, 1.0}:
            faults.append(f"{received} holds other values than 0 and 1. Allowed: 0/1 or true/false.")
        elif data["received"].nunique() < 2:
            faults.append(f"{received} is the same for all accounts: the rule moved nobody.")
    if faults:
        raise FrameError(faults)
    return data, notes


@dataclass(frozen=True)
class _Side:
    """Cutoff, sign of the treated side, and how errors are made."""

    cutoff: float
    sign: float
    clustered: bool
    conf_level: float

    def fit(
        self, data: pd.DataFrame, outcome: str, fuzzy: str | None = None, cutoff: float | None = None
    ) -> Any:
        from rdrobust import rdrobust

        given = {"fuzzy": data[fuzzy].to_numpy()} if fuzzy else {}
        if self.clustered:
            groups = data["cluster"].to_numpy()
            # With few clusters the plain errors are too small; with many the others take long and say the same.
            given |= {"cluster": groups, "vce": "cr3" if len(np.unique(groups)) <= MANY_CLUSTERS else "cr1"}
        else:
            given |= {"vce": "hc3"}
        try:
            # It prints and warns that scores repeat; the check on mass points says so with the numbers.
            with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
                warnings.simplefilter("ignore")
                return rdrobust(
                    data[outcome].to_numpy(),
                    data["score"].to_numpy(),
                    c=self.cutoff if cutoff is None else cutoff,
                    level=100 * self.conf_level,
                    **given,
                )
        except Exception as error:  # the library raises plain exceptions where too little varies
            raise FrameError(
                f"no line can be fitted on both sides of {self.cutoff:g} ({str(error) or type(error).__name__}). Allowed: "
                "a score with more different values, and an outcome that varies, near the cutoff."
            ) from error

    def row(self, found: Any, line: int) -> dict[str, float]:
        """One of rdrobust's three lines, as with minus without."""
        # Of a fuzzy estimate the sign is right already: both jumps turn.
        sign = 1.0 if found.rdmodel.startswith("Fuzzy") else self.sign
        ends = sorted(sign * float(v) for v in found.ci.iloc[line])
        return {
            "estimate": sign * float(found.coef.iloc[line, 0]),
            "std_error": float(found.se.iloc[line, 0]),
            "conf_low": ends[0],
            "conf_high": ends[1],
            "p_value": float(found.pv.iloc[line, 0]),
        }

    def sizes(self, found: Any) -> dict[str, float]:
        left, right = (int(n) for n in found.N_h)
        treated, untreated = (right, left) if self.sign > 0 else (left, right)
        return {
            "accounts_treated": treated,
            "accounts_untreated": untreated,
            "bandwidth": float(found.bws.loc["h", "left"]),
        }


def _density(score: np.ndarray, cutoff: float) -> Check:
    from rddensity import rddensity

    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")  # of repeated scores, which it allows for
            p_value = float(rddensity(score, c=cutoff).test["p_jk"])
    except Exception as error:  # the library raises plain exceptions where too few scores differ
        says = (
            f"Whether accounts heap on one side cannot be tested here ({str(error) or type(error).__name__})."
        )
        return Check(name="density", passed=None, says=says, limit=LIMIT)
    if not np.isfinite(p_value):
        says = "Whether accounts heap on one side cannot be tested here: too few different scores."
        return Check(name="density", passed=None, says=says, limit=LIMIT)
    word = "as dense on both sides of" if p_value >= LIMIT else "not as dense on both sides of"
    return Check(
        name="density",
        passed=p_value >= LIMIT,
        says=f"Accounts are {word} the cutoff (p = {p_value:.3f}); a heap on one side would mean that somebody, or the rule "
        "for rounding, sorts them.",
        value=p_value,
        limit=LIMIT,
    )


def _continuity(data: pd.DataFrame, side: _Side, covariates: list[str], cluster: str | None) -> Check:
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
    p_value = min(1.0, len(found) * found[worst])
    word = "jumps" if p_value < LIMIT else "jumps most, by no more than chance"
    unseen = (
        f" Not compared: {', '.join(c for c in covariates if c not in found)}."
        if len(found) < len(covariates)
        else ""
    )
    return Check(
        name="covariates",
        passed=p_value >= LIMIT,
        says=f"Of {len(found)} covariates, {worst} {word} at the cutoff (p = {found[worst]:.3f}, {p_value:.3f} with so many "
        f"looked at).{unseen}",
        value=p_value,
        limit=LIMIT,
    )


def _placebo(data: pd.DataFrame, side: _Side) -> Check:
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
        f"each side (smallest p = {min(found):.3f}).",
        value=p_value,
        limit=LIMIT,
    )


def _enough(sizes: dict[str, float], bandwidth: float) -> Check:
    fewest = min(sizes["accounts_treated"], sizes["accounts_untreated"])
    return Check(
        name="enough",
        passed=fewest >= FEWEST,
        says=f"{sizes['accounts_treated']:,} treated and {sizes['accounts_untreated']:,} untreated accounts lie within "
        f"{bandwidth:.4g} of the cutoff; {FEWEST} on each side are wanted.",
        value=float(fewest),
        limit=float(FEWEST),
    )


def _mass_points(score: np.ndarray, cutoff: float, bandwidth: float) -> Check:
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


def _followed(row: dict[str, Any]) -> Check:
    return Check(
        name="rule_followed",
        passed=bool(row["conf_low"] > 0.1),
        says=f"At the cutoff the share that received the treatment jumps by {100 * row['estimate']:+.0f} points; under 10 points "
        "the effect of receiving it cannot be told.",
        value=float(row["conf_low"]),
        limit=0.1,
    )


def _bins(score: np.ndarray, y: np.ndarray, side: _Side, bandwidth: float) -> pd.DataFrame:
    """Means in twelve bins of equal width on each side, out to three bandwidths."""
    reach = 3 * bandwidth
    edges = side.cutoff + np.linspace(-reach, reach, 25)
    near = (score >= edges[0]) & (score < edges[-1])
    place = np.searchsorted(edges, score[near], side="right") - 1
    place = np.where(score[near] >= side.cutoff, np.maximum(place, 12), np.minimum(place, 11))
    count = np.bincount(place, minlength=24)
    with np.errstate(invalid="ignore"):
        mean = np.bincount(place, weights=y[near], minlength=24) / count
    above = np.arange(24) >= 12
    table = pd.DataFrame(
        {
            "score": (edges[:-1] + edges[1:]) / 2,
            "mean": mean,
            "accounts": count,
            "treated": above == (side.sign > 0),
        }
    )
    return table[table["accounts"] > 0].reset_index(drop=True)


def _lines(score: np.ndarray, y: np.ndarray, side: _Side, bandwidth: float) -> pd.DataFrame:
    """The straight line on each side, with the weights of the triangular kernel."""
    away = (score - side.cutoff) / bandwidth
    parts = []
    for above in (False, True):
        inside = (np.abs(away) <= 1) & ((score >= side.cutoff) == above)
        root = np.sqrt(1 - np.abs(away[inside]))
        x = np.column_stack([np.ones(inside.sum()), away[inside]]) * root[:, None]
        line = np.linalg.lstsq(x, y[inside] * root, rcond=None)[0]
        ends = np.array([0.0, 1.0] if above else [-1.0, 0.0])
        parts.append(
            pd.DataFrame(
                {
                    "score": side.cutoff + ends * bandwidth,
                    "fitted": line[0] + line[1] * ends,
                    "treated": above == (side.sign > 0),
                }
            )
        )
    return pd.concat(parts, ignore_index=True)
