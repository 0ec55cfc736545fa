"""Curves and rates of recovery as results, and the count they all start from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from collectlab.core.columns import own_names
from collectlab.core.errors import FrameError
from collectlab.core.jackknife import INTERVAL
from collectlab.core.plots import PALETTE, legend, lines, new_axes, percent_axis, reach, titled
from collectlab.core.results import Result
from collectlab.core.tables import display_table, humanise
from collectlab.measures.flows import EPISODE, PAYMENT, Flows, as_money, count_flows
from collectlab.measures.groups import own_names as free_of
from collectlab.measures.groups import split

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_DISPLAY_DAYS = 30


@dataclass(frozen=True, kw_only=True)
class RecoveryCurves(Result):
    """Share of the overdue amount recovered by each day; one row per group × day.

    ``table``: [by…], day, episodes (delinquent and under observation that day), estimate, std_error,
    conf_low, conf_high. ``accounting`` says where every payment went, in money.
    """

    by: tuple[str, ...] = ()
    accounting: pd.Series | None = None
    plottable = True

    def at(self, days: int | Sequence[int]) -> pd.DataFrame:
        """The rows of these days; refuses days beyond the horizon that was asked for."""
        wanted = [days] if np.isscalar(days) else list(days)
        last = int(self.table["day"].max())
        if beyond := [d for d in wanted if d not in range(last + 1)]:
            raise FrameError(f"day {int(beyond[0])} is outside the curve. Allowed: whole days 0 to {last}.")
        return self.table[self.table["day"].isin(wanted)].reset_index(drop=True)

    def display_table(self) -> pd.DataFrame:
        """Every 30th day (all days are in ``table``)."""
        return display_table(every_month(self.table), self.unit, self.formats, self.conf_level)

    def plot(self, ax: Axes | None = None) -> Axes:
        """One line with its band for each group."""
        groups = split(self.table, self.by)
        ax = lines(groups, "day", unit="share", title=self.title, ylabel="Recovered", ax=ax)
        ax.set_xlabel("Days since the first day past due")
        ax.set_xlim(0, self.table["day"].max())
        if self.by:
            legend(ax, " × ".join(map(humanise, self.by)), outside=len(groups) > 4)
        return ax


@dataclass(frozen=True, kw_only=True)
class RecoveryRates(Result):
    """Share recovered within a few horizons; one row per group × horizon."""

    by: tuple[str, ...] = ()
    plottable = True

    def plot(self, ax: Axes | None = None) -> Axes:
        """A point with its interval for each group and horizon."""
        ax = new_axes(ax)
        horizons = sorted(self.table["horizon"].unique())
        groups = split(self.table, self.by)
        for j, horizon in enumerate(horizons):
            rows = pd.concat([part[part["horizon"] == horizon] for _, part in groups])
            place = np.arange(len(groups)) + (j - (len(horizons) - 1) / 2) * 0.18
            marker = "osD^v"[j % 5]
            ax.errorbar(
                place,
                rows["estimate"],
                yerr=reach(rows),
                fmt=marker,
                color=PALETTE[j % len(PALETTE)],
                capsize=2.5,
                label=f"{horizon} days",
            )
        ax.set_xticks(range(len(groups)), [label for label, _ in groups])
        ax.set_xlim(-0.5, len(groups) - 0.5)
        ax.set_ylabel("Recovered")
        ax.set_ylim(bottom=0)
        legend(ax, "Within", outside=True)
        return percent_axis(titled(ax, self.title))


def count_payments(
    episodes, payments, by, horizon, amount, cap, cluster, as_of, columns, source=None
) -> Flows:
    """Payments by day since day 0 (and by ``source``), each unit of money owed counting once."""
    episodes = own_names(episodes, columns, EPISODE)
    payments = own_names(payments, columns, PAYMENT)
    return count_flows(
        episodes,
        {"payments": as_money(payments, "paid_on", "amount", source)},
        by=by,
        horizon=horizon,
        amount=amount,
        cluster=cluster,
        weight="amount",
        cap=("payments",) if cap else (),
        as_of=as_of,
    )


def basis(cap: bool) -> str:
    """What of a payment counts, as the end of an estimand."""
    return (
        ", no more than was owed counted for an episode" if cap else ", payments above what was owed included"
    )


def notes_of(flows: Flows, estimate: np.ndarray) -> tuple[str, ...]:
    """What a reader of the curves must know."""
    notes = list(flows.notes)
    money = flows.accounting
    if over := money["payments: above the amount owed"]:
        notes.append(f"{over:,.0f} paid beyond the amount owed at entry is not counted as recovered.")
    if np.isnan(estimate).any():
        notes.append("Missing (–): no episode is followed that long.")
    return tuple(notes)


#: Columns of the curves, which a grouping column must not be called.
_TAKEN = ("day", "episodes", "measure", *INTERVAL)


def own_columns(by: Sequence[str]) -> list[str]:
    """The grouping columns under names that the curves do not use themselves."""
    return free_of(list(by), _TAKEN)


def curve_rows(
    groups: pd.DataFrame, active: np.ndarray, found: Sequence[np.ndarray], keys=()
) -> pd.DataFrame:
    """One row per group × day from arrays (group, day); ``keys`` are further columns, (name, value)."""
    n_groups, n_days = found[0].shape
    groups = groups.set_axis(own_columns(groups.columns), axis=1)
    table = groups.loc[np.repeat(np.arange(n_groups), n_days)].reset_index(drop=True)
    for name, value in keys:
        table[name] = value
    table["day"] = np.tile(np.arange(n_days), n_groups)
    table["episodes"] = active.astype("int64").ravel()
    for name, values in zip(INTERVAL, found):
        table[name] = values.ravel()
    return table


def every_month(table: pd.DataFrame) -> pd.DataFrame:
    """Every 30th day of curves, and the last."""
    shown = (table["day"] % _DISPLAY_DAYS == 0) | (table["day"] == table["day"].max())
    return table[shown & (table["day"] > 0)]
