"""The portfolio's results and their charts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from collectlab.core.plots import (
    PALETTE,
    legend,
    level_axis,
    new_axes,
    percent_axis,
    short_money,
    titled,
    unit_axis,
)
from collectlab.core.results import Result
from collectlab.measures.groups import shown_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MAX_LINES = 6


@dataclass(frozen=True, kw_only=True)
class DelinquencyRate(Result):
    """Share past due, month by month.

    ``table``: [by…], as_of, accounts, overdue, [amount, amount_overdue], estimate, std_error, conf_low,
    conf_high.
    """

    by: tuple[str, ...] = ()
    plottable = True

    def plot(self, ax: Axes | None = None, **options: Any) -> Axes:
        """The rate by month with its interval; the groups with most accounts where there are many."""
        ax = new_axes(ax)
        _draw_series(ax, self.table, self.by)
        return titled(ax, self.title)


@dataclass(frozen=True, kw_only=True)
class DelinquencyTrend(Result):
    """Relative change of the delinquency rate, and whether it is more than the rate's usual wobble.

    ``table``: [by…], since, as_of, level_before, level, months, estimate (relative change), std_error,
    conf_low, conf_high, trend (rising, falling, cannot tell). ``series`` is the table of
    :class:`DelinquencyRate` behind it.
    """

    series: pd.DataFrame = field(default_factory=pd.DataFrame)
    by: tuple[str, ...] = ()
    plottable = True

    def plot(self, ax: Axes | None = None, **options: Any) -> Axes:
        """The rate by month with its interval, and the change written at its end."""
        ax = new_axes(ax)
        _draw_series(ax, self.series, self.by)
        if not self.by and len(self.table):
            row = self.table.iloc[0]
            if np.isfinite(row["level_before"]):
                ax.plot(
                    [pd.Timestamp(row["since"]), pd.Timestamp(row["as_of"])],
                    [row["level_before"], row["level"]],
                    color="#555555", linestyle="--", marker="o", markersize=4, linewidth=1,
                )  # fmt: skip
            return titled(ax, f"{self.title}: {_spoken(row)}")
        return titled(ax, self.title)


@dataclass(frozen=True, kw_only=True)
class OverdueByBucket(Result):
    """The open book by days past due.

    ``table``: days_past_due (label), days_past_due_from, accounts, share_of_accounts, [balance,
    share_of_balance], [amount_past_due, share_of_overdue], median_days.
    """

    plottable = True

    def plot(self, ax: Axes | None = None, **options: Any) -> Axes:
        """Bars of the overdue amount (else balance, else accounts) by bucket, without what is current."""
        late = self.table[self.table["days_past_due_from"] > 0]
        column, name = next(
            (c, n)
            for c, n in (
                ("amount_past_due", "Amount past due"),
                ("balance", "Balance"),
                ("accounts", "Accounts"),
            )
            if c in late
        )
        ax = new_axes(ax)
        values = late[column].to_numpy(float)
        bars = ax.bar(late["days_past_due"], values, color=PALETTE[0], width=0.7)
        texts = [short_money(v) if column != "accounts" else f"{v:,.0f}" for v in values]
        if column != "accounts":
            texts = [f"{t}\n{n:,} accounts" for t, n in zip(texts, late["accounts"])]
        ax.bar_label(bars, texts, padding=2, fontsize=8.5)
        ax.margins(y=0.22)
        unit_axis(ax, "money", "y")
        ax.set_xlabel("Days past due")
        ax.set_ylabel(name)
        return titled(ax, self.title)


@dataclass(frozen=True, kw_only=True)
class Concentration(Result):
    """Where the overdue amount sits, against where the balance sits.

    ``table``: [by…], accounts, overdue_accounts, base, overdue, share_of_base, share_of_overdue, estimate
    (their ratio), std_error, conf_low, conf_high; the largest share of the overdue amount first.
    """

    by: tuple[str, ...] = ()
    base: str = "balance"
    plottable = True

    def plot(self, ax: Axes | None = None, **options: Any) -> Axes:
        """Two bars a group: its share of the overdue amount and of the balance."""
        shown = self.table.head(12)
        ax = new_axes(ax, figsize=(7.2, 1.3 + 0.42 * len(shown)))
        place = np.arange(len(shown))
        names = [shown_name(row) for row in shown[list(self.by)].itertuples(index=False)]
        ax.barh(
            place - 0.19, shown["share_of_overdue"], 0.36, color=PALETTE[1], label="of the overdue amount"
        )
        ax.barh(place + 0.19, shown["share_of_base"], 0.36, color="#9FB8CC", label=f"of the {self.base}")
        for y, row in zip(place, shown.itertuples(index=False)):
            ratio = f"× {row.estimate:.2f}" if np.isfinite(row.estimate) else ""
            ax.annotate(
                ratio, (max(row.share_of_overdue, row.share_of_base), y), (4, 0),
                textcoords="offset points", va="center", fontsize=8.5,
            )  # fmt: skip
        ax.set_yticks(place, names)
        ax.invert_yaxis()
        level_axis(ax)
        ax.margins(x=0.1)
        percent_axis(ax, "x")
        ax.set_xlabel("Share")
        below = (0.4, -0.5 / (0.3 + 0.42 * len(shown)))
        legend(ax, loc="upper center", bbox_to_anchor=below, ncols=2)
        return titled(ax, self.title)


@dataclass(frozen=True, kw_only=True)
class DaysPastDue(Result):
    """How long the overdue accounts have been overdue.

    ``table``: [by…], accounts, lower_quartile, estimate (median), std_error, conf_low, conf_high,
    upper_quartile, nine_in_ten_within, longest. ``counts``: [by…], days, accounts.
    """

    counts: pd.DataFrame = field(default_factory=pd.DataFrame)
    by: tuple[str, ...] = ()
    plottable = True

    def plot(self, ax: Axes | None = None, **options: Any) -> Axes:
        """Share of the overdue accounts that are at least so many days past due."""
        ax = new_axes(ax)
        parts = list(self.counts.groupby(list(self.by), sort=False)) if self.by else [((), self.counts)]
        for i, (key, part) in enumerate(parts[:6]):
            beyond = part["accounts"][::-1].cumsum()[::-1] / part["accounts"].sum()
            days = np.concatenate([[0], part["days"].to_numpy(), [part["days"].max()]])
            ax.step(
                days, np.concatenate([[1.0], beyond.to_numpy(), [0.0]]), where="pre", color=PALETTE[i],
                linestyle=("-", "--", "-.", ":")[i % 4], linewidth=1.6, label=shown_name(key) or None,
            )  # fmt: skip
        percent_axis(ax)
        ax.set_ylim(0, 1.02)
        ax.set_xlim(left=0)
        ax.set_xlabel("Days past due")
        ax.set_ylabel("Share at least so late")
        if self.by:
            legend(ax, loc="upper right")
        return titled(ax, self.title)


def _spoken(row: pd.Series) -> str:
    if not np.isfinite(row["estimate"]):
        return "cannot tell which way it goes"
    change = f"{100 * row['estimate']:+.0f} %".replace("-", "−")
    if not np.isfinite(row["conf_low"]):
        return f"{change}, too short a series to tell"
    span = f"{100 * row['conf_low']:+.0f} to {100 * row['conf_high']:+.0f} %".replace("-", "−")
    return f"{change} ({span}), {row['trend']}"


def _draw_series(ax: Axes, table: pd.DataFrame, by: Sequence[str]) -> None:
    if by:
        latest = table.groupby(list(by), sort=False)["accounts"].last()
        order = [*latest.sort_values(ascending=False, kind="stable").index[:_MAX_LINES]]
        parts = {key: part for key, part in table.groupby(list(by), sort=False)}
        lines = [(key if isinstance(key, tuple) else (key,)) for key in order]
    else:
        parts, lines = {(): table}, [()]
    markers = "os^Dvx"
    for i, key in enumerate(lines):
        part = parts[key]
        days = pd.to_datetime(part["as_of"])
        colour = PALETTE[i % len(PALETTE)]
        mark = {"marker": markers[i % len(markers)], "markersize": 3.5} if by or len(part) < 3 else {}
        label = shown_name(key) or None
        ax.plot(days, part["estimate"], color=colour, linewidth=1.6, label=label, **mark)
        if len(lines) <= 3:  # more bands than that hide each other
            ax.fill_between(days, part["conf_low"], part["conf_high"], color=colour, alpha=0.18, linewidth=0)
    percent_axis(ax)
    ax.set_ylim(bottom=0)
    span = pd.to_datetime(table["as_of"])
    from matplotlib.dates import ConciseDateFormatter

    locator = ax.xaxis.get_major_locator()
    if span.nunique() == 1:
        ax.set_xticks([span.iloc[0]], [str(span.iloc[0])[:10]])
    else:
        ax.xaxis.set_major_formatter(ConciseDateFormatter(locator))
    ax.set_ylabel("Share")
    if by:
        legend(ax, outside=True)
