"""Ratios of sums by group, with intervals that respect several rows of one customer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import narwhals as nw
import numpy as np
import pandas as pd

from collectlab.core import engine, tables
from collectlab.core.columns import whole_sum
from collectlab.core.errors import FrameError
from collectlab.core.jackknife import GROUPS, INTERVAL, jackknife, shares, sums_at
from collectlab.core.plots import dots, legend, lines, month_ticks
from collectlab.core.results import Result
from collectlab.core.tables import humanise
from collectlab.measures.groups import distinct_groups, group_codes, group_labels, own_names, split

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_TAKEN = (*INTERVAL, "measure", "unit", "n")


@dataclass(frozen=True, kw_only=True)
class Measures(Result):
    """Several measures by group: one row per group × ``measure``, each with its own ``unit``."""

    by: tuple[str, ...] = ()
    #: Measures in the chart unless others are asked for; by default the first.
    shown: tuple[str, ...] = ()
    plottable = True

    def wide(self) -> pd.DataFrame:
        """One row per group, the estimates side by side."""
        names = list(dict.fromkeys(self.table["measure"]))
        taken = {*INTERVAL, "measure", "unit", *self.by}
        sizes = [c for c in self.table.columns if c not in taken]
        parts = [self.table[self.table["measure"] == m].reset_index(drop=True) for m in names]
        columns = {m: part["estimate"] for m, part in zip(names, parts)}
        return pd.concat([parts[0][[*self.by, *sizes]], pd.DataFrame(columns)], axis=1)

    def display_table(self) -> pd.DataFrame:
        """One row per group; each estimate with its interval."""
        shown = self.wide()
        names = list(dict.fromkeys(self.table["measure"]))
        for measure in names:
            rows = self.table[self.table["measure"] == measure]
            shown[measure] = [
                with_interval(*values)
                for values in rows[["estimate", "conf_low", "conf_high", "unit"]].itertuples(index=False)
            ]
        return tables.display_table(shown, formats={**self.formats, **dict.fromkeys(names, "text")})

    def plot(self, measure: str | Sequence[str] | None = None, ax: Axes | None = None) -> Axes:
        """One measure or several of one unit: lines over months, else points with intervals per group."""
        names = list(dict.fromkeys(self.table["measure"]))
        chosen = [measure] if isinstance(measure, str) else list(measure or self.shown or names[:1])
        chosen = [c for c in chosen if c in names] if measure is None else chosen
        if unknown := [c for c in chosen if c not in names]:
            raise FrameError(f"measure is {unknown[0]!r}. Allowed: {', '.join(names)}.")
        series = [
            (humanise(c), self.table[self.table["measure"] == c].reset_index(drop=True)) for c in chosen
        ]
        if len(units := {part["unit"].iloc[0] for _, part in series}) > 1:
            raise FrameError(
                f"measures {', '.join(chosen)} have different units. Allowed: one unit in a chart."
            )
        unit, (label, rows) = units.pop(), series[0]
        title = f"{self.title}: {label.lower()}" if len(names) > 1 and len(series) == 1 else self.title
        if "month" in self.by and rows["month"].nunique() > 1:
            return self._over_months(series, unit, title, ax)
        xlabel = label if len(series) == 1 else ""
        return dots(series, group_labels(rows, self.by), unit=unit, title=title, xlabel=xlabel, ax=ax)

    def _over_months(self, series, unit: str, title: str, ax: Axes | None) -> Axes:
        rest = [b for b in self.by if b != "month"]
        months = sorted(set(self.table["month"]))
        drawn = []
        for name, rows in series:
            rows = rows.assign(month=rows["month"].map({m: i for i, m in enumerate(months)}))
            several = len(series) > 1
            drawn += [
                (f"{name}, {label}" if several and rest else name if several else label, part)
                for label, part in split(rows, rest)
            ]
        label = series[0][0] if len(series) == 1 else ""
        ax = lines(drawn, "month", unit=unit, title=title, ylabel=label, ax=ax)
        month_ticks(ax, months)
        if len(drawn) > 1:
            legend(ax, " × ".join(map(humanise, rest)), outside=len(drawn) > 4)
        return ax


def with_interval(value: float, low: float, high: float, unit: str) -> str:
    """``41.2 % (38.0 % to 44.5 %)``."""
    kind = "money" if unit == "money2" and abs(value) >= 1000 else unit
    shown = tables.format_value(value, kind)
    if pd.isna(low) or pd.isna(high):
        return shown
    return f"{shown} ({tables.format_value(low, kind)} to {tables.format_value(high, kind)})"


@dataclass(frozen=True)
class Counts:
    """Sums by replicate group × group: ``sums[name]`` has shape (R, G)."""

    groups: pd.DataFrame
    sums: Mapping[str, np.ndarray]

    def __getitem__(self, name: str) -> np.ndarray:
        return self.sums[name]

    def total(self, name: str) -> np.ndarray:
        """(G,) over everybody, as whole numbers."""
        return np.rint(self.sums[name].sum(axis=0)).astype("int64")


def count(
    frame: nw.LazyFrame, by: Sequence[str], sums: Mapping[str, nw.Expr], groups: pd.DataFrame | None = None
) -> Counts:
    """Sum whole-number expressions by group × ``__rep``; in the order of ``groups`` where given."""
    names = {name: f"__sum_{name}" for name in sums}
    laid = frame.select(*by, "__rep", *(expr.alias(names[name]) for name, expr in sums.items()))
    cells = engine.collect(laid.group_by(*by, "__rep").agg(*(whole_sum(c).alias(c) for c in names.values())))
    if groups is None:
        groups = distinct_groups(cells, by)
    elif by:  # rows of groups that are not asked for have nowhere to go
        cells = cells.merge(groups[list(by)], on=list(by), how="inner")
    where = (cells["__rep"].to_numpy(int), group_codes(cells, groups, by))
    shape = (GROUPS, len(groups))
    return Counts(groups, {name: sums_at(where, cells[names[name]], shape) for name in sums})


@dataclass(frozen=True)
class Ratio:
    """``top / bottom``, both (R, G); missing where ``bottom`` is 0.

    Kind: ``share`` (rows of rows: Wilson), ``part`` (money of money: logit interval), ``mean`` (plain
    interval), ``ratio`` (log interval), or ``rate`` (events per 1 / ``scale``: log interval; where none
    happened, Poisson's exact upper limit).
    """

    top: np.ndarray
    bottom: np.ndarray
    kind: str = "share"
    unit: str = "share"
    scale: float = 1.0

    def estimate(self, conf_level: float) -> tuple[np.ndarray, ...]:
        """Estimate, error and interval, each (G,)."""
        if self.kind == "share":
            return shares(self.top, self.bottom, self.bottom.sum(axis=0), conf_level)
        top, bottom = self.top.sum(axis=0), self.bottom.sum(axis=0)
        estimate, error, low, high = jackknife(
            np.stack([top, bottom]),
            np.stack([self.top, self.bottom], axis=1),
            lambda sums: self.scale * sums[0] / np.where(sums[1] > 0, sums[1], np.nan),
            conf_level,
            {"rate": "log", "ratio": "log", "part": "logit"}.get(self.kind),
            present=self.bottom != 0,
        )
        if self.kind == "rate":
            never = (top == 0) & (bottom > 0)
            limit = -np.log((1 - conf_level) / 2) * self.scale / np.where(never, bottom, np.nan)
            error, low = np.where(never, np.nan, error), np.where(never, 0, low)
            high = np.where(never, limit, high)
        return estimate, error, low, high


@dataclass(frozen=True)
class Given:
    """A measure computed elsewhere: estimate, error and interval, each (G,), in ``unit``."""

    values: Sequence[np.ndarray]
    unit: str = "share"

    def estimate(self, conf_level: float) -> Sequence[np.ndarray]:
        """The values given."""
        return self.values


def given(found: Sequence[Mapping[str, float]], unit: str = "share") -> Given:
    """One mapping of the interval's columns per group, as a measure."""
    return Given([np.array([row[name] for row in found], dtype=float) for name in INTERVAL], unit)


def measured(
    groups: pd.DataFrame,
    by: Sequence[str],
    found: Mapping[str, Ratio | Given],
    sizes: Mapping[str, np.ndarray],
    conf_level: float,
    *,
    kind: type[Any] = Measures,
    **words: Any,
) -> Any:
    """The tidy result: one row per group × measure; ``words`` are the title, estimand, notes, …"""
    names = own_names(by, (*_TAKEN, *sizes))
    values = {name: measure.estimate(conf_level) for name, measure in found.items()}
    rows = [
        (
            *(groups.iloc[g] if names else ()),
            name,
            *(int(size[g]) for size in sizes.values()),
            *(float(v[g]) for v in values[name]),
            measure.unit,
        )
        for g in range(len(groups))
        for name, measure in found.items()
    ]
    return kind(
        table=pd.DataFrame(rows, columns=[*names, "measure", *sizes, *INTERVAL, "unit"]),
        by=tuple(names),
        conf_level=conf_level,
        **{"formats": dict.fromkeys(sizes, "count"), **words},
    )
