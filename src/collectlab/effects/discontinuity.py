"""A rule that assigns by a threshold: regression discontinuity at an amount or a score."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from collectlab.core.errors import FrameError
from collectlab.core.jackknife import check_level
from collectlab.core.plots import PALETTE, legend, new_axes, titled, unit_axis
from collectlab.effects._discontinuity_checks import (
    continuity,
    density,
    enough,
    followed,
    mass_points,
    placebo,
)
from collectlab.effects._discontinuity_fit import Side, bins_of, lines_of, prepared
from collectlab.effects._panel_inputs import table_in_words, title_of, unit_of, words_of
from collectlab.effects.effect_result import EffectResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["DiscontinuityResult", "discontinuity"]


@dataclass(frozen=True, kw_only=True)
class DiscontinuityResult(EffectResult):
    """The jump at the cutoff, and what is needed to draw it.

    ``table``: outcome, unit, method (``robust``, ``conventional``; with ``received`` these are of receiving the treatment,
    ``rule, robust`` and ``rule, conventional`` of being on the treated side, and the rows with ``received`` as outcome the
    jump in who received it), n_treated, n_untreated (accounts inside the bandwidth), bandwidth, estimate, std_error,
    conf_low, conf_high, p_value. ``bins``: score, mean, accounts, treated. ``lines``: score, fitted, treated.
    """

    bins: pd.DataFrame = field(default_factory=pd.DataFrame)
    lines: pd.DataFrame = field(default_factory=pd.DataFrame)
    score: str = ""
    cutoff: float = float("nan")
    plottable = True

    display_table = table_in_words

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
        ax.set_xlabel(title_of(self.score))
        ax.set_ylabel(title_of(str(self.table["outcome"].iloc[0])))
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
        Checks: ``density`` (no heap of accounts on one side of the cutoff: ``rddensity``, and a count of the nearest), ``covariates`` (none jumps, with
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
    cutoff = _number(cutoff)
    if treated not in ("above", "below"):
        raise FrameError(f"treated is {treated!r}. Allowed: 'above', 'below'.")
    covariates = [covariates] if isinstance(covariates, str) else list(covariates)
    data, notes = prepared(frame, score, cutoff, outcome, covariates, cluster, received)
    side = Side(cutoff, 1.0 if treated == "above" else -1.0, cluster is not None, conf_level)
    y, s = data["y"].to_numpy(), data["score"].to_numpy()
    kind = unit_of(outcome, y)
    fits = [(outcome, "", kind, side.fit(data, "y"))]
    if received:
        fits.insert(0, (outcome, "", kind, side.fit(data, "y", fuzzy="received")))
        fits[1] = (outcome, "rule, ", kind, fits[1][3])
        fits.append((received, "", "points", side.fit(data, "received")))
    rows = [
        {
            "outcome": name,
            "unit": u,
            "method": f"{what}{method}",
            **side.sizes(found),
            **side.row(found, line),
        }
        for name, what, u, found in fits
        for method, line in (("robust", 2), ("conventional", 0))
    ]
    sharp = fits[1 if received else 0][3]
    bandwidth = float(sharp.bws.loc["h", "left"])
    checks = [
        density(_once(data), cutoff),
        continuity(data, side, covariates, cluster),
        placebo(data, side),
        enough(side.sizes(sharp), bandwidth),
        mass_points(s, cutoff, bandwidth),
    ]
    if received:
        checks.append(followed(rows[-2]))
    return DiscontinuityResult(
        table=pd.DataFrame(rows),
        bins=bins_of(s, y, side, bandwidth),
        lines=lines_of(s, y, side, bandwidth),
        score=score,
        cutoff=cutoff,
        estimand=f"Mean of {words_of(outcome)} with the treatment minus without, of accounts whose {words_of(score)} is {cutoff:g}",
        unit=kind,
        title=f"{title_of(outcome)} at {words_of(score)} {cutoff:g}",
        notes=(
            *notes,
            f"Accounts {treated} {cutoff:g} are treated. The effect is that at the cutoff; elsewhere it may differ.",
            "The robust row is corrected for the curve's bias and is the one to read.",
        ),
        formats={"n_treated": "count", "n_untreated": "count"},
        conf_level=conf_level,
        design="discontinuity",
        checks=tuple(checks),
    )


def _number(cutoff: Any) -> float:
    kind = isinstance(cutoff, (int, float, np.number, Decimal)) and not isinstance(cutoff, bool)
    if not kind or not np.isfinite(float(cutoff)):
        raise FrameError(f"cutoff is {cutoff!r}. Allowed: a number.")
    return float(cutoff)


def _once(data: pd.DataFrame) -> np.ndarray:
    """The scores, each once per cluster that has only one: an account's episodes repeat its score, and are no heap."""
    if "cluster" in data and (data.groupby("cluster")["score"].nunique() <= 1).all():
        data = data.drop_duplicates("cluster")
    return data["score"].to_numpy(float)
