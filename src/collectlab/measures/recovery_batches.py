"""Batches of placed accounts side by side: a triangle, its curves, and comparisons at ages that all reached."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from collectlab.core.errors import FrameError, first_few
from collectlab.core.jackknife import INTERVAL, jackknife
from collectlab.core.plots import PALETTE, dots, legend, lines, new_axes, percent_axis, titled
from collectlab.core.results import Result
from collectlab.core.tables import display_table, format_value
from collectlab.measures.flows import UNIT
from collectlab.measures.groups import group_codes, group_labels, split

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: So many of the newest batches stand out in a chart.
_NEWEST = 3


@dataclass(frozen=True, kw_only=True)
class Liquidation(Result):
    """Cumulative share of the placed amount collected, by batch and months since placement.

    ``table``: [by…], batch (``2026-03``), month (0 = the calendar month of the placement), accounts, placed,
    collected, reached (whether the book covers that month to its end), estimate, std_error, conf_low, conf_high;
    blank where not reached.
    """

    by: tuple[str, ...] = ()
    #: Summed by replicate group × row of ``batches``: placed (R, N) and collected (R, N, month).
    batches: pd.DataFrame = field(default_factory=pd.DataFrame, repr=False)
    placed: np.ndarray = field(default_factory=lambda: np.zeros((0, 0)), repr=False)
    collected: np.ndarray = field(default_factory=lambda: np.zeros((0, 0, 0)), repr=False)
    plottable = True

    def at(self, month: int) -> pd.DataFrame:
        """The batches that have reached this month since placement; refuses one that none has reached."""
        rows = self.table[(self.table["month"] == month) & self.table["reached"]]
        if rows.empty:
            last = self.table.loc[self.table["reached"], "month"].max()
            raise FrameError(f"no batch has reached month {month}. Allowed: whole months 0 to {last:,.0f}.")
        return rows.reset_index(drop=True)

    def compare(self, month: int | None = None) -> Result:
        """Groups (without ``by``: batches) side by side at an age that all of them have reached.

        Of each group, the batches that have reached ``month`` are added up. Default: the latest month that every
        group (every batch) has reached.
        """
        month, table = self._added_up(month)
        table = table[table["month"] == month].drop(columns="month").reset_index(drop=True)
        return LiquidationCompared(
            table=table,
            estimand=f"Share of the placed amount collected by the end of month {month} since placement",
            title=f"Liquidation by month {month}",
            notes=("Only batches that have reached that month are added up.",),
            formats={"batches": "count", "placed": "money", "collected": "money"},
            conf_level=self.conf_level,
            by=self.by or ("batch",),
        )

    def _added_up(self, month: int | None) -> tuple[int, pd.DataFrame]:
        """Each group's batches that have reached ``month``, added up, at every month up to it."""
        by = list(self.by) or ["batch"]
        reached = self.batches["__reached"].to_numpy(int)
        groups = self.batches[by].drop_duplicates().reset_index(drop=True)
        code = group_codes(self.batches, groups, by)
        oldest = np.array([reached[code == g].max() for g in range(len(groups))])
        limit = int(oldest.min())
        month = limit if month is None else month
        if limit < 0 or month not in range(limit + 1):
            behind = group_labels(groups[oldest < month], by)
            raise FrameError(
                f"month {month} is not reached by {first_few(behind) or 'any'}. Allowed: an age that all reached, "
                f"{f'0 to {limit}' if limit >= 0 else 'of which there is none yet'}."
            )
        tables = []
        for g in range(len(groups)):
            own = (code == g) & (reached >= month)
            placed = self.placed[:, own].sum(axis=1)
            part = self.collected[:, own, : month + 1].sum(axis=1)
            found = collected_share(part, np.repeat(placed[:, None], month + 1, axis=1), self.conf_level)
            rows = groups.loc[[g] * (month + 1)].reset_index(drop=True)
            rows["month"], rows["batches"] = np.arange(month + 1), int(own.sum())
            rows["placed"], rows["collected"] = placed.sum() / UNIT, part.sum(axis=0) / UNIT
            rows[list(INTERVAL)] = np.column_stack(found)
            tables.append(rows)
        return month, pd.concat(tables, ignore_index=True)

    def display_table(self) -> pd.DataFrame:
        """A row a batch and a column a month; what is not reached stays empty."""
        shown = self.table.drop_duplicates([*self.by, "batch"])[[*self.by, "batch", "accounts", "placed"]]
        shown = display_table(shown.reset_index(drop=True), formats=self.formats)
        months = self.table["month"].unique()
        values = self.table["estimate"].to_numpy().reshape(-1, len(months))
        for k, month in enumerate(months):
            shown[f"Month {month}"] = ["" if v != v else format_value(v, "share") for v in values[:, k]]
        return shown

    def plot(self, ax: Axes | None = None) -> Axes:
        """The batches in grey, the newest in colour; of several groups, each group's batches added up.

        Groups are drawn to the last month that all of them have reached, from the batches that have reached it.
        """
        if self.by:
            month, table = self._added_up(None)
            groups = split(table, self.by)
            ax = lines(groups, "month", unit="share", title=self.title, ylabel="Collected", ax=ax)
            ax.set_xlabel(f"Months since placement; batches that have reached month {month}, added up")
            legend(ax, outside=True)
        else:
            ax = new_axes(ax)
            for rows in self._curves()[:-_NEWEST]:
                ax.plot(rows["month"], rows["estimate"], color="#BBBBBB", linewidth=1)
            for k, rows in enumerate(self._curves()[-_NEWEST:]):
                ax.plot(
                    rows["month"],
                    rows["estimate"],
                    color=PALETTE[k],
                    marker="os^"[k],
                    markersize=4,
                    label=rows["batch"].iloc[0],
                )
            ax.set_xlabel("Months since the month of placement; older batches in grey")
            ax.set_ylabel("Collected")
            ax.set_ylim(bottom=0)
            percent_axis(titled(ax, self.title))
            legend(ax, "Batch", outside=True)
        ax.xaxis.get_major_locator().set_params(integer=True)  # type: ignore[call-arg]
        return ax

    def _curves(self) -> list[pd.DataFrame]:
        """What each batch has reached, oldest first."""
        known = self.table[self.table["reached"]]
        return [known[known["batch"] == batch] for batch in dict.fromkeys(known["batch"])]


@dataclass(frozen=True, kw_only=True)
class LiquidationCompared(Result):
    """Groups or batches at one age; [by…], batches, placed, collected, estimate and its interval."""

    by: tuple[str, ...] = ()
    plottable = True

    def plot(self, ax: Axes | None = None) -> Axes:
        """A point with its interval for each."""
        labels = group_labels(self.table, self.by)
        return dots([("", self.table)], labels, unit="share", title=self.title, xlabel="Collected", ax=ax)


def collected_share(part: np.ndarray, whole: np.ndarray, conf_level: float) -> tuple[np.ndarray, ...]:
    """part / whole with the jackknife's interval; (R, …) each."""
    sums = np.stack([part, whole], axis=1)
    return jackknife(sums.sum(axis=0), sums, lambda s: s[0] / s[1], conf_level, "logit", present=whole > 0)
