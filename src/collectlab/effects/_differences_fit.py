"""The numbers of difference-in-differences: rows that can be compared, imputation, and units left out one at a time."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from collectlab.core.errors import FrameError, first_few
from collectlab.effects._panel_inputs import one_part_each, rows_of, same_kind, times_of, words_of

#: Periods just before the change in which the groups must not have drifted apart.
LEADS = 3


class Used(NamedTuple):
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

    def part(self, keep: np.ndarray) -> Used:
        y, weight, unit, period, relative = (v[keep] for v in self[:5])
        return Used(y, weight, unit, period, relative, self.units)

    def effects(self) -> np.ndarray:
        """A column of 0/1 for each unit and each period but the first."""
        units = self.unit[:, None] == np.arange(self.units)
        return np.hstack([units, self.period[:, None] == np.unique(self.period)[1:]]).astype(float)


class Refits(NamedTuple):
    average: float
    by_period: np.ndarray
    left_average: np.ndarray
    left_by_period: np.ndarray
    periods: np.ndarray


def prepared(
    panel: Any, unit: str, time: str, outcome: str, treated_from: str, weight: str | None
) -> tuple[Used, Used, list[str]]:
    one_part_each(unit=unit, time=time, outcome=outcome, treated_from=treated_from, weight=weight)
    rows = rows_of(panel, [outcome, *([weight] if weight else [])], [unit, time, treated_from])
    when, start = times_of(rows[time], time), times_of(rows[treated_from], treated_from)
    if not same_kind(when, start):
        raise FrameError(f"{time} and {treated_from} differ in kind. Allowed: both dates, or both numbers.")
    if start.isna().all():
        start = pd.Series(np.nan, start.index, when.dtype)  # whatever kind of nothing it was
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
        if missing == len(data):
            raise FrameError(f"{outcome} is missing in all {missing:,} rows: nothing to compare.")
        notes.append(f"{missing:,} of {len(data):,} rows have no {words_of(outcome)} and are left out.")
        data = data.dropna(subset="y").reset_index(drop=True)
    data, first = _whole_periods(data, periods, first, time, notes)
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
    grid = Used(
        data["y"].to_numpy(), data["weight"].to_numpy(), codes, place, place - began[codes], len(names)
    )
    return grid, _comparable(grid, names, unit, notes), notes


def _whole_periods(
    data: pd.DataFrame, periods: np.ndarray, first: pd.Series, time: str, notes: list[str]
) -> tuple[pd.DataFrame, pd.Series]:
    """Without the periods in the middle of which a unit changed; each unit's first whole period with the change.

    A start that is a period's own name is that period. Other starts lie inside a period: of a monthly panel in their
    calendar month, of others in the period named before them (periods are named by their first day).
    """
    start, own = data["unit"].map(first), pd.Series(periods)
    inside = start.notna() & ~start.isin(periods)
    if own.dtype.kind == "M" and (own.dt.year * 12 + own.dt.month).diff().min() == 1:
        inside &= (start.dt.day > 1) & (start.dt.to_period("M") == data["time"].dt.to_period("M"))
        late = first.notna() & ~first.isin(periods) & (first.dt.day > 1)
        first = first.mask(late, (first.dt.to_period("M") + 1).dt.to_timestamp())
    elif len(periods) > 1:
        before = np.maximum(np.searchsorted(periods, start.to_numpy()) - 1, 0)
        last = start < own[before].to_numpy() + own.diff().min()
        inside &= last & (data["time"].to_numpy() == periods[before])
    if mixed := int(inside.sum()):
        notes.append(f"{mixed:,} rows are left out: the change came in the middle of their {words_of(time)}.")
    return data[~inside].reset_index(drop=True), first


def _comparable(grid: Used, names: pd.Index, unit: str, notes: list[str]) -> Used:
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


def two_way(used: Used) -> tuple[float, float]:
    import pyfixest

    fitted = pyfixest.feols(
        "y ~ treated | unit + period", frame_of(used), vcov={"CRV1": "unit"}, weights="weight"
    )
    return float(fitted.coef()["treated"]), float(fitted.se()["treated"])


def frame_of(used: Used) -> pd.DataFrame:
    return pd.DataFrame({**used._asdict(), "treated": used.treated.astype(float)})


def _solve(used: Used, x: np.ndarray) -> np.ndarray:
    root = np.sqrt(used.weight)
    return np.linalg.lstsq(x * root[:, None], used.y * root, rcond=None)[0]


def _gaps(used: Used) -> np.ndarray:
    """Outcome minus what unit and period effects of the untreated rows predict, on all rows."""
    x, free = used.effects(), ~used.treated
    return used.y - x @ _solve(used.part(free), x[free])


def _averages(used: Used, periods: np.ndarray) -> tuple[float, np.ndarray]:
    gap, treated = _gaps(used), used.treated
    mean = np.average(gap[treated], weights=used.weight[treated]) if treated.any() else np.nan
    inside = used.relative[:, None] == periods
    total = used.weight @ inside
    with np.errstate(invalid="ignore"):
        return float(mean), np.where(total > 0, (used.weight * gap) @ inside / total, np.nan)


def refits(used: Used) -> Refits:
    """The average effect, and that of each period since the change, also with each unit left out."""
    periods = np.unique(used.relative[used.treated])
    average, by_period = _averages(used, periods)
    left = [_averages(used.part(used.unit != u), periods) for u in range(used.units)]
    return Refits(average, by_period, np.array([a for a, _ in left]), np.array([p for _, p in left]), periods)


def error_of(estimate: float, left: np.ndarray) -> float:
    """√((G − 1)/G Σ (θ₍g₎ − θ)²); NaN where leaving out one unit leaves nothing to estimate."""
    return float(np.sqrt((len(left) - 1) / len(left) * np.sum((left - estimate) ** 2)))


class Leads(NamedTuple):
    estimate: np.ndarray
    covariance: np.ndarray
    units: np.ndarray


def leads(used: Used) -> Leads | None:
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
    return Leads(estimate, (used.units - 1) / used.units * left.T @ left, units)
