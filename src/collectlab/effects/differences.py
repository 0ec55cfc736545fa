"""A policy that branches took up at different times: difference-in-differences with staggered start."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from collectlab.core.jackknife import check_level
from collectlab.core.plots import PALETTE, new_axes, titled, unit_axis
from collectlab.effects._differences_fit import (
    LEADS,
    Leads,
    Refits,
    Used,
    error_of,
    leads,
    prepared,
    refits,
    two_way,
)
from collectlab.effects._panel_inputs import p_said, table_in_words, title_of, unit_of, words_of
from collectlab.effects.effect_result import Check, EffectResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["DifferencesResult", "differences"]

#: Fewer branches than this, in all or on either side, make the interval untrustworthy.
FEWEST_UNITS, FEWEST_A_SIDE = 8, 3
LIMIT = 0.05


@dataclass(frozen=True, kw_only=True)
class DifferencesResult(EffectResult):
    """The average effect on those who changed, and how it unfolds around the change.

    ``table``: outcome, unit, method, n_treated, n_untreated, rows, estimate, std_error, conf_low, conf_high,
    p_value. ``event_study``: relative_period (−1 is the last before the change), units, estimate, std_error,
    conf_low, conf_high.
    """

    event_study: pd.DataFrame = field(default_factory=pd.DataFrame)
    plottable = True

    display_table = table_in_words

    def plot(self, ax: Axes | None = None) -> Axes:
        """The event study: before the change the points should lie on 0, after it they show the effect."""
        ax = new_axes(ax)
        for after, colour, label in ((False, PALETTE[6], "before"), (True, PALETTE[0], "after")):
            part = self.event_study[(self.event_study["relative_period"] >= 0) == after]
            low = part["estimate"] - part["conf_low"]
            ax.errorbar(
                part["relative_period"],
                part["estimate"],
                yerr=np.nan_to_num(np.stack([low, low])),
                fmt="o" if after else "s",
                color=colour,
                capsize=2.5,
                markersize=4.5,
                label=label,
            )
        ax.axhline(0, color="#444444", linewidth=0.8)
        ax.axvline(-0.5, color="#444444", linewidth=0.8, linestyle="--")
        ax.set_xlabel("Periods since the change")
        ax.set_ylabel("Difference" + (", percentage points" if self.unit == "points" else ""))
        unit_axis(ax, self.unit, "y")
        return titled(ax, self.title)


def differences(
    panel: Any,
    *,
    unit: str,
    time: str,
    outcome: str,
    treated_from: str,
    weight: str | None = None,
    conf_level: float = 0.95,
) -> DifferencesResult:
    r"""What a change did to the branches that made it, where branches changed at different times.

    Estimand: the mean, over the treated unit-periods used (weighted by ``weight``), of the outcome with the
    change minus what it would have been without. It rests on parallel trends: without the change, treated
    units would have moved as the others did. The estimator is the imputation of Gardner (2022) and Borusyak,
    Jaravel & Spiess (2024): unit and period effects are fitted on the rows not (yet) treated,

    .. math:: y_{it}(0) = \alpha_i + \lambda_t + e_{it}, \qquad
        \hat\tau = \sum_{D_{it} = 1} w_{it} (y_{it} - \hat\alpha_i - \hat\lambda_t) \Big/ \sum_{D_{it} = 1} w_{it},

    so that effects may differ between units and grow with time, which two-way fixed effects (shown beside)
    get wrong. The estimate is that of ``pyfixest.did2s`` (held by a test). The error is the jackknife that leaves out a unit at a time, with Student's t(G − 1): with a
    dozen branches its intervals keep their level, and those of the usual clustered errors do not (see
    ``benchmarks/policy_changes.txt``).

    Parameters
    ----------
    panel : frame
        One row per unit and period.
    unit : str
        Column with what changed as one, such as the branch.
    time : str
        Column with the period: dates, or whole numbers.
    outcome : str
        Column with a number, such as the share cured within 60 days. Rows without it are left out and counted.
    treated_from : str
        Column with the first treated period of the unit, missing for one that never changed; it is the same
        on all rows of a unit. Of a date in the middle of a period (of a month, where there is one period a month; else
        periods are named by their first day) that period is left out for the unit, and the next is its first.
    weight : str, optional
        Column with the accounts behind each row; above 0.
    conf_level : float
        Level of the intervals.

    Returns
    -------
    DifferencesResult
        Checks: ``pre_trend`` (joint F test of the last periods before the change, among rows not yet
        treated), ``never_or_later`` (share of treated rows with two or more units unchanged to compare with),
        ``clusters`` (units enough for the interval), ``composition`` (the weight does not move with the change).

    Raises
    ------
    FrameError
        A column is missing or of the wrong kind; a unit twice in a period, treated from two dates, or from the
        panel's first period; nobody treated, or everybody at once; a constant outcome; nobody to compare with.

    References
    ----------
    Gardner (2022), arXiv:2207.05943. Borusyak, Jaravel & Spiess (2024), Review of Economic Studies 91(6),
    doi:10.1093/restud/rdae007. MacKinnon, Nielsen & Webb (2023), Journal of Econometrics 232 (jackknife).

    Examples
    --------
    >>> import pandas as pd
    >>> panel = pd.DataFrame([
    ...     {"branch": b, "month": m, "since": {"A": 3, "B": 4}.get(b),
    ...      "cured": 0.5 + 0.01 * m + 0.02 * i + 0.1 * (m >= {"A": 3, "B": 4}.get(b, 99))}
    ...     for i, b in enumerate("ABCDE") for m in range(6)])
    >>> result = differences(panel, unit="branch", time="month", outcome="cured", treated_from="since")
    >>> result.table[["method", "n_treated", "n_untreated", "estimate"]].round(3).values.tolist()
    [['imputation', 2, 3, 0.1], ['two-way fixed effects', 2, 3, 0.1]]
    """
    check_level(conf_level)
    grid, used, notes = prepared(panel, unit, time, outcome, treated_from, weight)
    kind = unit_of(outcome, used.y)
    fitted = refits(used)
    lead = leads(used)
    freedom = used.units - 1
    rows = [
        _row(
            "imputation", fitted.average, error_of(fitted.average, fitted.left_average), freedom, conf_level
        ),
        _row("two-way fixed effects", *two_way(used), freedom, conf_level),
    ]
    sizes = {
        "n_treated": len(np.unique(used.unit[used.treated])),
        "n_untreated": used.units - len(np.unique(used.unit[used.treated])),
        "rows": len(used.y),
    }
    table = pd.DataFrame(
        [{"outcome": outcome, "unit": kind, "method": r.pop("method"), **sizes, **r} for r in rows]
    )
    checks = (
        _pre_trend(used, lead),
        _comparison(grid, used, unit),
        _clusters(used, sizes, unit),
        *([_composition(used, freedom, unit, weight)] if weight else []),
    )
    return DifferencesResult(
        table=table,
        event_study=_event_study(used, fitted, lead, conf_level),
        estimand=f"Mean effect on {words_of(outcome)} in the {words_of(unit)} × {words_of(time)} treated, if trends would have been parallel",
        unit=kind,
        title=f"{title_of(outcome)} by time since the change",
        notes=(
            *notes,
            f"Errors leave out one {words_of(unit)} at a time; intervals are Student's t({freedom}). Two-way fixed effects, with "
            "errors clustered in the usual way, are shown for comparison: they go wrong where effects differ.",
        ),
        formats={"n_treated": "count", "n_untreated": "count", "rows": "count"},
        conf_level=conf_level,
        design="differences",
        checks=checks,
    )


def _row(method: str, estimate: float, error: float, freedom: int, conf_level: float) -> dict[str, Any]:
    from scipy import stats

    reach = stats.t.ppf((1 + conf_level) / 2, freedom) * error
    return {
        "method": method,
        "estimate": estimate,
        "std_error": error,
        "conf_low": estimate - reach,
        "conf_high": estimate + reach,
        "p_value": float(2 * stats.t.sf(abs(estimate / error), freedom)) if error > 0 else np.nan,
    }


def _pre_trend(used: Used, lead: Leads | None) -> Check:
    from scipy import stats

    if lead is None or np.linalg.matrix_rank(lead.covariance) < LEADS:
        return Check(
            name="pre_trend",
            passed=None,
            says=f"Too few periods or units before the change to see whether they drifted apart ({LEADS} periods are compared "
            "with earlier ones).",
            limit=LIMIT,
        )
    # Hotelling's T² of the units left out one at a time, as an F; χ² or F(q, G − 1) reject too often here.
    freedom = used.units - LEADS
    wald = lead.estimate @ np.linalg.solve(lead.covariance, lead.estimate)
    p_value = float(stats.f.sf(wald / LEADS * freedom / (used.units - 1), LEADS, freedom))
    word = "do not differ from" if p_value >= LIMIT else "differ from"
    return Check(
        name="pre_trend",
        passed=p_value >= LIMIT,
        says=f"The last {LEADS} periods before the change {word} earlier ones, against those who had not changed "
        f"({p_said(p_value)}). With few units a drift may go unseen.",
        value=p_value,
        limit=LIMIT,
    )


def _comparison(grid: Used, used: Used, unit: str) -> Check:
    share = used.treated.sum() / grid.treated.sum()
    fewest = int(np.bincount(used.period[~used.treated])[np.unique(used.period)].min())
    return Check(
        name="never_or_later",
        passed=bool(share >= 0.5),
        says=f"In every period used at least {fewest} values of {words_of(unit)} had not changed; {100 * share:.0f} % of the treated rows lie "
        "in such periods.",
        value=float(share),
        limit=0.5,
    )


def _clusters(used: Used, sizes: dict[str, int], unit: str) -> Check:
    fewest = min(sizes["n_treated"], used.units if not sizes["n_untreated"] else sizes["n_untreated"])
    return Check(
        name="clusters",
        passed=used.units >= FEWEST_UNITS and fewest >= FEWEST_A_SIDE,
        says=f"{used.units} values of {words_of(unit)}, {sizes['n_treated']} of them treated; the interval is trusted from "
        f"{FEWEST_UNITS} on, with {FEWEST_A_SIDE} or more on each side.",
        value=float(used.units),
        limit=float(FEWEST_UNITS),
    )


def _composition(used: Used, freedom: int, unit: str, weight: str) -> Check:
    same = used._replace(y=np.log(used.weight), weight=np.ones(len(used.y)))
    if np.ptp(same.y) == 0:
        return Check(
            name="composition", passed=True, says=f"{title_of(weight)} is the same on all rows.", limit=0.01
        )
    found = refits(same)
    moved = f"{100 * np.expm1(found.average):+.1f} %".replace("-", "−")
    row = _row("", found.average, error_of(found.average, found.left_average), freedom, 0.95)
    p_value = row["p_value"]
    known = np.isfinite(p_value)
    return Check(
        name="composition",
        passed=bool(p_value >= 0.01) if known else None,
        says=f"With the change {words_of(weight)} moved by {moved} ({p_said(p_value)}); if it moves, the change "
        "may have altered who is counted, not how they fare.",
        value=float(p_value),
        limit=0.01,
    )


def _event_study(used: Used, fitted: Refits, lead: Leads | None, conf_level: float) -> pd.DataFrame:
    from scipy import stats

    rows = []
    if lead is not None:
        for k in range(LEADS, 0, -1):
            error = np.sqrt(lead.covariance[k - 1, k - 1])
            rows.append((-k, int(lead.units[k - 1]), lead.estimate[k - 1], error))
    for j, period in enumerate(fitted.periods):
        units = len(np.unique(used.unit[used.relative == period]))
        rows.append(
            (
                int(period),
                units,
                fitted.by_period[j],
                error_of(fitted.by_period[j], fitted.left_by_period[:, j]),
            )
        )
    table = pd.DataFrame(rows, columns=["relative_period", "units", "estimate", "std_error"])
    reach = stats.t.ppf((1 + conf_level) / 2, used.units - 1) * table["std_error"]
    return table.assign(conf_low=table["estimate"] - reach, conf_high=table["estimate"] + reach)
