"""A policy that branches took up at different times: difference-in-differences with staggered start."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from collectlab.core.errors import FrameError, first_few
from collectlab.core.jackknife import check_level
from collectlab.core.plots import PALETTE, new_axes, titled, unit_axis
from collectlab.effects._panel_inputs import rows_of, same_kind, times_of, unit_of
from collectlab.effects.effect_result import Check, EffectResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["DifferencesResult", "differences"]

#: Periods just before the change in which the groups must not have drifted apart.
LEADS = 3
#: Fewer branches than this, in all or on either side, make the interval untrustworthy.
FEWEST_UNITS, FEWEST_A_SIDE = 8, 3
LIMIT = 0.05


@dataclass(frozen=True, kw_only=True)
class DifferencesResult(EffectResult):
    """The average effect on those who changed, and how it unfolds around the change.

    ``table``: outcome, unit, method, treated_units, other_units, rows, estimate, std_error, conf_low, conf_high,
    p_value. ``event_study``: relative_period (−1 is the last before the change), units, estimate, std_error,
    conf_low, conf_high.
    """

    event_study: pd.DataFrame = field(default_factory=pd.DataFrame)
    plottable = True

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
    Jaravel & Spiess (2024), ``pyfixest.did2s``: unit and period effects are fitted on the rows not (yet) treated,

    .. math:: y_{it}(0) = \alpha_i + \lambda_t + e_{it}, \qquad
        \hat\tau = \sum_{D_{it} = 1} w_{it} (y_{it} - \hat\alpha_i - \hat\lambda_t) \Big/ \sum_{D_{it} = 1} w_{it},

    so that effects may differ between units and grow with time, which two-way fixed effects (shown beside)
    get wrong. The error is the jackknife that leaves out a unit at a time, with Student's t(G − 1): with a
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
        on all rows of a unit.
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
    >>> result.table[["method", "treated_units", "other_units", "estimate"]].round(3).values.tolist()
    [['imputation', 2, 3, 0.1], ['two-way fixed effects', 2, 3, 0.1]]
    """
    check_level(conf_level)
    grid, used, notes = _prepared(panel, unit, time, outcome, treated_from, weight)
    kind = unit_of(outcome, used.y)
    fitted = _refits(used)
    lead = _leads(used)
    freedom = used.units - 1
    rows = [
        _row("imputation", _by_did2s(used), _error(fitted.average, fitted.left_average), freedom, conf_level),
        _row("two-way fixed effects", *_two_way(used), freedom, conf_level),
    ]
    sizes = {
        "treated_units": len(np.unique(used.unit[used.treated])),
        "other_units": used.units - len(np.unique(used.unit[used.treated])),
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
        estimand=f"Mean effect on {outcome} in the {unit} × {time} treated, if trends would have been parallel",
        unit=kind,
        title=f"{outcome} by time since the change",
        notes=(
            *notes,
            f"Errors leave out one {unit} at a time; intervals are Student's t({freedom}). Two-way fixed effects, with "
            "errors clustered in the usual way, are shown for comparison: they go wrong where effects differ.",
        ),
        formats={"treated_units": "count", "other_units": "count", "rows": "count"},
        conf_level=conf_level,
        design="differences",
        checks=checks,
    )


class _Used(NamedTuple):
    """The rows used: outcome, weight, unit and period as codes, periods since the change (NaN: never)."""

    y: np.ndarray
    weight: np.ndarray
    unit: np.ndarray
    period: np.ndarray
    relative: np.ndarray
    units: int

    @property
    def treated(self) -> np.ndarray:
        return self.relative >= 0

    def part(self, keep: np.ndarray) -> _Used:
        y, weight, unit, period, relative = (v[keep] for v in self[:5])
        return _Used(y, weight, unit, period, relative, self.units)

    def effects(self) -> np.ndarray:
        """A column of 0/1 for each unit and each period but the first."""
        units = self.unit[:, None] == np.arange(self.units)
        return np.hstack([units, self.period[:, None] == np.unique(self.period)[1:]]).astype(float)


class _Refits(NamedTuple):
    average: float
    by_period: np.ndarray
    left_average: np.ndarray
    left_by_period: np.ndarray
    periods: np.ndarray


def _prepared(
    panel: Any, unit: str, time: str, outcome: str, treated_from: str, weight: str | None
) -> tuple[_Used, _Used, list[str]]:
    rows = rows_of(panel, [outcome, *([weight] if weight else [])], [unit, time, treated_from])
    when, start = times_of(rows[time], time), times_of(rows[treated_from], treated_from)
    if not same_kind(when, start):
        raise FrameError(f"{time} and {treated_from} differ in kind. Allowed: both dates, or both numbers.")
    data = pd.DataFrame(
        {"unit": rows[unit].astype("string"), "time": when, "start": start, "y": rows[outcome]}
    )
    data["weight"] = rows[weight] if weight else 1.0
    faults, notes = [], []
    if gone := int((data["unit"].isna() | data["time"].isna()).sum()):
        faults.append(
            f"{gone:,} of {len(data):,} rows have no {unit} or no {time}. Allowed: both on every row."
        )
    data = data.dropna(subset=["unit", "time"]).sort_values(["unit", "time"], ignore_index=True)
    starts = data.groupby("unit")["start"].agg(lambda s: s.nunique(dropna=False))
    if len(many := starts[starts > 1]):
        faults.append(
            f"{unit} {first_few(list(many.index))}: more than one {treated_from}. Allowed: one first treated period for each "
            f"{unit}, on all its rows."
        )
    if len(twice := data.loc[data.duplicated(["unit", "time"]), "unit"].unique()):
        faults.append(f"{unit} {first_few(list(twice))}: several rows in one {time}. Allowed: one.")
    if weight and (wrong := int((~(data["weight"] > 0)).sum())):
        faults.append(f"{wrong:,} rows have a {weight} that is missing or not above 0.")
    periods = np.sort(data["time"].unique())
    first = data.groupby("unit")["start"].first()
    if len(early := first[first <= periods[0]] if len(periods) else first[:0]):
        faults.append(
            f"{unit} {first_few(list(early.index))}: treated from the panel's first period or earlier, so nothing was seen "
            f"before. Leave {'it' if len(early) == 1 else 'them'} out, or begin the panel earlier."
        )
    if faults:
        raise FrameError(faults)
    if missing := int(data["y"].isna().sum()):
        notes.append(f"{missing:,} of {len(data):,} rows have no {outcome} and are left out.")
        data = data.dropna(subset="y").reset_index(drop=True)
    starts_in = first[first <= periods[-1]]
    if not len(starts_in):
        raise FrameError(
            f"no {unit} is treated in these periods: {treated_from} is missing or later everywhere."
        )
    if starts_in.nunique() == 1 and len(starts_in) == len(first):
        raise FrameError(
            f"all {len(first)} values of {unit} are treated from the same period: there is nobody to compare with. A change for "
            "everybody at once is a question for interrupted_series."
        )
    if data["y"].nunique() < 2:
        raise FrameError(f"{outcome} is constant: nothing to compare.")
    codes, names = pd.factorize(data["unit"], sort=True)
    place = np.searchsorted(periods, data["time"].to_numpy())
    began = np.searchsorted(periods, first.reindex(names).to_numpy()).astype(float)
    began[first.reindex(names).isna().to_numpy() | (began >= len(periods))] = np.nan
    grid = _Used(
        data["y"].to_numpy(), data["weight"].to_numpy(), codes, place, place - began[codes], len(names)
    )
    return grid, _comparable(grid, names, unit, notes), notes


def _comparable(grid: _Used, names: pd.Index, unit: str, notes: list[str]) -> _Used:
    """Rows of periods in which two units or more are untreated, of units with a row before their change."""
    keep = np.bincount(grid.period[~grid.treated], minlength=grid.period.max() + 1)[grid.period] >= 2
    before = np.bincount(grid.unit[keep & ~grid.treated], minlength=grid.units) > 0
    if not before.all():
        raise FrameError(
            f"{unit} {first_few(list(names[~before]))}: no period before the change with anybody to compare with. "
            "Leave out, or begin the panel earlier."
        )
    if lost := int((~keep & grid.treated).sum()):
        notes.append(
            f"{lost:,} treated rows are left out: fewer than two values of {unit} were still unchanged in their periods."
        )
    used = grid.part(keep)
    if not used.treated.any():
        raise FrameError(
            f"when the first {unit} changed, fewer than two others were unchanged. Allowed: two or more to compare with."
        )
    return used


def _by_did2s(used: _Used) -> float:
    import pyfixest

    fitted = pyfixest.did2s(
        _frame(used), yname="y", first_stage="~ 0 | unit + period", second_stage="~ treated",
        treatment="treated", cluster="unit", weights="weight",
    )  # fmt: skip
    return float(fitted.coef()["treated"])


def _two_way(used: _Used) -> tuple[float, float]:
    import pyfixest

    fitted = pyfixest.feols(
        "y ~ treated | unit + period", _frame(used), vcov={"CRV1": "unit"}, weights="weight"
    )
    return float(fitted.coef()["treated"]), float(fitted.se()["treated"])


def _frame(used: _Used) -> pd.DataFrame:
    return pd.DataFrame({**used._asdict(), "treated": used.treated.astype(float)})


def _solve(used: _Used, x: np.ndarray) -> np.ndarray:
    root = np.sqrt(used.weight)
    return np.linalg.lstsq(x * root[:, None], used.y * root, rcond=None)[0]


def _gaps(used: _Used) -> np.ndarray:
    """Outcome minus what unit and period effects of the untreated rows predict, on all rows."""
    x, free = used.effects(), ~used.treated
    return used.y - x @ _solve(used.part(free), x[free])


def _averages(used: _Used, periods: np.ndarray) -> tuple[float, np.ndarray]:
    gap, treated = _gaps(used), used.treated
    mean = np.average(gap[treated], weights=used.weight[treated]) if treated.any() else np.nan
    inside = used.relative[:, None] == periods
    total = used.weight @ inside
    with np.errstate(invalid="ignore"):
        return float(mean), np.where(total > 0, (used.weight * gap) @ inside / total, np.nan)


def _refits(used: _Used) -> _Refits:
    """The average effect, and that of each period since the change, also with each unit left out."""
    periods = np.unique(used.relative[used.treated])
    average, by_period = _averages(used, periods)
    left = [_averages(used.part(used.unit != u), periods) for u in range(used.units)]
    return _Refits(
        average, by_period, np.array([a for a, _ in left]), np.array([p for _, p in left]), periods
    )


def _error(estimate: float, left: np.ndarray) -> float:
    """√((G − 1)/G Σ (θ₍g₎ − θ)²); NaN where leaving out one unit leaves nothing to estimate."""
    return float(np.sqrt((len(left) - 1) / len(left) * np.sum((left - estimate) ** 2)))


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


class _Leads(NamedTuple):
    estimate: np.ndarray
    covariance: np.ndarray
    units: np.ndarray


def _leads(used: _Used) -> _Leads | None:
    """Coefficients of the last periods before the change against earlier ones, among rows not yet treated."""
    free = used.part(~used.treated)
    dummies = (free.relative[:, None] == -np.arange(1, LEADS + 1)).astype(float)
    earlier = np.unique(free.unit[free.relative < -LEADS])
    if len(earlier) < 2 or used.units <= LEADS + 1:
        return None

    def fitted(keep: np.ndarray) -> np.ndarray:
        part = free.part(keep)
        return _solve(part, np.hstack([dummies[keep], part.effects()]))[:LEADS]

    estimate = fitted(np.ones(len(free.y), dtype=bool))
    left = np.array([fitted(free.unit != u) for u in range(used.units)]) - estimate
    units = np.array([len(np.unique(free.unit[d > 0])) for d in dummies.T])
    return _Leads(estimate, (used.units - 1) / used.units * left.T @ left, units)


def _pre_trend(used: _Used, lead: _Leads | None) -> Check:
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
        f"(p = {p_value:.3f}). With few units a drift may go unseen.",
        value=p_value,
        limit=LIMIT,
    )


def _comparison(grid: _Used, used: _Used, unit: str) -> Check:
    share = used.treated.sum() / grid.treated.sum()
    fewest = int(np.bincount(used.period[~used.treated])[np.unique(used.period)].min())
    return Check(
        name="never_or_later",
        passed=bool(share >= 0.5),
        says=f"In every period used at least {fewest} values of {unit} had not changed; {share:.0%} of the treated rows lie "
        "in such periods.",
        value=float(share),
        limit=0.5,
    )


def _clusters(used: _Used, sizes: dict[str, int], unit: str) -> Check:
    fewest = min(sizes["treated_units"], used.units if not sizes["other_units"] else sizes["other_units"])
    return Check(
        name="clusters",
        passed=used.units >= FEWEST_UNITS and fewest >= FEWEST_A_SIDE,
        says=f"{used.units} values of {unit}, {sizes['treated_units']} of them treated; the interval is trusted from "
        f"{FEWEST_UNITS} on, with {FEWEST_A_SIDE} or more on each side.",
        value=float(used.units),
        limit=float(FEWEST_UNITS),
    )


def _composition(used: _Used, freedom: int, unit: str, weight: str) -> Check:
    same = used._replace(y=np.log(used.weight), weight=np.ones(len(used.y)))
    if np.ptp(same.y) == 0:
        return Check(name="composition", passed=True, says=f"{weight} is the same on all rows.", limit=0.01)
    found = _refits(same)
    row = _row("", found.average, _error(found.average, found.left_average), freedom, 0.95)
    p_value = row["p_value"]
    known = np.isfinite(p_value)
    return Check(
        name="composition",
        passed=bool(p_value >= 0.01) if known else None,
        says=f"With the change {weight} moved by {np.expm1(found.average):+.1%} (p = {p_value:.3f}); if it moves, the change "
        "may have altered who is counted, not how they fare.",
        value=float(p_value),
        limit=0.01,
    )


def _event_study(used: _Used, fitted: _Refits, lead: _Leads | None, conf_level: float) -> pd.DataFrame:
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
                _error(fitted.by_period[j], fitted.left_by_period[:, j]),
            )
        )
    table = pd.DataFrame(rows, columns=["relative_period", "units", "estimate", "std_error"])
    reach = stats.t.ppf((1 + conf_level) / 2, used.units - 1) * table["std_error"]
    return table.assign(conf_low=table["estimate"] - reach, conf_high=table["estimate"] + reach)
