"""What was done to the overdue accounts: channels, coverage, intensity, timing and conduct.

Every function takes a book, works with what is there, and raises :class:`NotAvailable` in one line where a
table is missing. ``period`` is (first day, last day), both included, or None. Intervals respect that rows
of one customer belong together (delete-a-group jackknife).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import narwhals as nw
import numpy as np
import pandas as pd

from collectlab.book.episodes import bucket_labels
from collectlab.core import engine
from collectlab.core.columns import distinct, flag, month_text, row_count, step_of, whole_sum
from collectlab.core.engine import same_engine
from collectlab.core.errors import FrameError, NotAvailable
from collectlab.core.plots import PALETTE, legend, month_ticks, new_axes, titled
from collectlab.core.results import Result
from collectlab.core.tables import format_value
from collectlab.measures.actions_conduct import contact_hours, records_kept, third_party_contacts
from collectlab.measures.actions_process import arrangements, legal_cases, reasons
from collectlab.measures.actions_reactions import complaints, promises, reactions, satisfaction
from collectlab.measures.actions_rows import Period, need_rows, overdue_months, rows, shown
from collectlab.measures.actions_teams import team_comparison
from collectlab.measures.costs_touch import contact_made, with_cost
from collectlab.measures.flows import UNIT
from collectlab.measures.groups import MISSING, by_keys
from collectlab.measures.intensity import escalations, hardship_pressure, intensity
from collectlab.measures.ratios import Counts, Measures, Ratio, count, measured

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = [
    "arrangements",
    "channels",
    "complaints",
    "contact_hours",
    "coverage_by_stage",
    "escalations",
    "hardship_pressure",
    "intensity",
    "legal_cases",
    "promises",
    "reactions",
    "reasons",
    "records_kept",
    "satisfaction",
    "team_comparison",
    "third_party_contacts",
    "time_to_first_contact",
    "timeline",
]


def channels(
    book: Any,
    period: Period = None,
    *,
    unit_costs: Mapping[str, float] | None = None,
    conf_level: float = 0.95,
) -> Measures:
    """What each channel did: volume, cover, connection, promises and cost.

    Per channel: ``actions``, ``accounts`` acted on, and

    * ``covered`` — share of the accounts seen overdue at a month's end of the period that had at least one
      action through the channel in the period;
    * ``connected`` — connected / actions for which it is known;
    * ``promises`` — promises / contacts whose outcome is known;
    * ``cost_per_action`` — as in :func:`collectlab.measures.costs.cost_benefit`; left out where no cost is known.

    Parameters
    ----------
    book : Book
    period : (date, date), optional
    unit_costs : mapping, optional
        Channel → cost of an action without one of its own.
    conf_level : float
        Level of the intervals.

    Returns
    -------
    Measures
        channel, measure, actions, accounts, cost, estimate and interval.

    Examples
    --------
    >>> import pandas as pd
    >>> from collectlab.book.open import open_book
    >>> book = open_book({
    ...     "accounts": pd.DataFrame({"account_id": ["a", "b"]}),
    ...     "snapshots": pd.DataFrame({"account_id": ["a", "b"], "as_of": ["2026-01-31"] * 2,
    ...                                "days_past_due": [5, 40]}),
    ...     "actions": pd.DataFrame({"account_id": ["a", "a"], "at": ["2026-01-20 10:00", "2026-01-21 10:00"],
    ...                              "channel": ["call", "call"], "connected": [True, False]})})
    >>> channels(book).wide()[["channel", "actions", "accounts", "covered", "connected"]].values.tolist()
    [['call', 2, 1, 0.5, 0.5]]
    """
    frame, by = rows(book, "actions", "at", "channel", period)
    names = frame.collect_schema().names()
    try:
        costed, notes = with_cost(frame, unit_costs)
    except FrameError:
        costed, notes = None, ["No cost is known for some channels, so costs are left out."]
    reached = contact_made(names)
    told = ~nw.col("outcome").is_null() if "outcome" in names else nw.lit(False)
    promise = nw.col("outcome") == "promise" if "outcome" in names else nw.lit(False)
    linked = nw.col("connected") if "connected" in names else nw.lit(None, nw.Boolean)
    counts = count(
        frame if costed is None else costed,
        by_keys(by, "__by"),
        {
            "actions": nw.lit(1),
            "known": flag(~linked.is_null()),
            "connected": flag(linked),
            "contacts": flag(reached & told),
            "promises": flag(promise),
            "cost": nw.lit(0) if costed is None else nw.col("__cost"),
        },
    )
    need_rows(counts, "actions", "actions")
    overdue = distinct(overdue_months(book, period).select("__account", "__rep"))
    overdue, acted = same_engine(overdue, distinct(frame.select("__account", "__by0")))
    everyone = count(overdue, [], {"accounts": nw.lit(1)})["accounts"]
    covered = count(
        acted.join(overdue, on="__account", how="inner"),
        by_keys(by, "__by"),
        {"covered": nw.lit(1)},
        counts.groups,
    )
    reach = engine.collect(acted.group_by("__by0").agg(n=row_count()))
    accounts = counts.groups.merge(reach, on="__by0", how="left")["n"].to_numpy()
    ratios = {
        "covered": Ratio(covered["covered"], np.broadcast_to(everyone, counts["actions"].shape)),
        "connected": Ratio(counts["connected"], counts["known"]),
        "promises": Ratio(counts["promises"], counts["contacts"]),
    }
    sizes = {"actions": counts.total("actions"), "accounts": accounts}
    if costed is not None:
        ratios["cost_per_action"] = Ratio(counts["cost"] / UNIT, counts["actions"], "mean", "money2")
        sizes["cost"] = counts.total("cost") // UNIT
    return measured(
        shown(counts, by), by, ratios, sizes, conf_level,
        estimand="Per channel: share of overdue accounts acted on; connected of all with a known result; promises of contacts",
        title="Channels",
        notes=(*notes, f"{int(everyone.sum()):,} accounts were overdue at a month's end."),
        formats={"actions": "count", "accounts": "count"},
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Coverage(Measures):
    """Cover and intensity by stage and channel."""

    def plot(self, measure: str = "covered", ax: Axes | None = None) -> Axes:
        """Stages down, channels across, the figure written in each cell."""
        rows = self.table[self.table["measure"] == measure]
        if rows.empty:
            raise FrameError(f"measure is {measure!r}. Allowed: {', '.join(self.table['measure'].unique())}.")
        unit = rows["unit"].iloc[0]
        stages, found = (list(dict.fromkeys(rows[c])) for c in ("stage", "channel"))
        values = rows["estimate"].to_numpy(float).reshape(len(stages), len(found))
        ax = new_axes(ax, figsize=(7.2, 1.0 + 0.5 * len(stages)))
        top = 1.0 if unit == "share" else np.nanmax(values)
        ax.imshow(values, cmap="Blues", vmin=0, vmax=1.25 * top, aspect="auto")
        for i, j in np.ndindex(values.shape):
            text = format_value(round(values[i, j], 2), unit).replace(".0 %", " %")
            ax.text(
                j, i, text, ha="center", va="center", color="white" if values[i, j] > 0.75 * top else "black"
            )
        ax.set_xticks(range(len(found)), found)
        ax.set_yticks(range(len(stages)), stages)
        ax.set_ylabel("Days past due")
        ax.grid(visible=False)
        return titled(ax, f"{self.title}: {measure}")


def coverage_by_stage(
    book: Any, stages: Sequence[int] = (1, 30, 60, 90), period: Period = None, *, conf_level: float = 0.95
) -> Coverage:
    """Who is worked on, by stage of delinquency: cover and intensity per channel.

    One account-month is an account overdue on its last snapshot of a calendar month; its stage is the days
    past due then. ``covered`` is the share of account-months with at least one action of the channel in
    that month, ``intensity`` the actions per account-month. Channel "any" counts all actions. Accounts that
    cured within the month are not seen overdue at its end and do not count.

    Parameters
    ----------
    book : Book
        With snapshots and actions.
    stages : sequence of int
        Rising lower bounds in days past due.
    period : (date, date), optional
        First and last day counted; None is the whole book.
    conf_level : float
        Level of the intervals.

    Examples
    --------
    >>> import pandas as pd
    >>> from collectlab.book.open import open_book
    >>> book = open_book({
    ...     "accounts": pd.DataFrame({"account_id": ["a", "b"]}),
    ...     "snapshots": pd.DataFrame({"account_id": ["a", "b"], "as_of": ["2026-01-31"] * 2,
    ...                                "days_past_due": [5, 9]}),
    ...     "actions": pd.DataFrame({"account_id": ["a", "a"], "at": ["2026-01-20 10:00", "2026-01-21 10:00"],
    ...                              "channel": ["call", "call"]})})
    >>> coverage_by_stage(book).wide()[["stage", "channel", "covered", "intensity"]].values.tolist()
    [['1–29', 'any', 0.5, 1.0], ['1–29', 'call', 0.5, 1.0]]
    """
    labels = bucket_labels(stages)
    if min(labels) < 1:
        raise FrameError("stages start at 0. Allowed: whole days ≥ 1; only overdue accounts are counted.")
    acts, _ = rows(book, "actions", "at", ["channel", "month"], period)
    acts = acts.group_by("__account", "__by0", "__by1").agg(__n=row_count())
    months = (
        overdue_months(book, period)
        .with_columns(__stage=step_of("__dpd", labels))
        .filter(~nw.col("__stage").is_null())
    )
    months, acts = same_engine(months, acts)
    together = months.join(
        acts, left_on=["__account", "__month"], right_on=["__account", "__by1"], how="inner"
    )
    anyone = together.group_by("__account", "__month", "__stage", "__rep").agg(__n=nw.col("__n").sum())
    anyone = anyone.with_columns(__by0=nw.lit("any"), __n=nw.col("__n").cast(nw.Int64))
    sums = {"covered": flag(nw.col("__n") > 0), "actions": nw.col("__n")}
    every = count(months, ["__stage"], {"months": nw.lit(1)})
    if every.groups.empty:
        raise NotAvailable("no account is overdue at a month's end of this period.")
    done = engine.collect(distinct(acts.select("__by0")))["__by0"].dropna()
    found = ["any", *sorted(done.astype(str))]
    grid = pd.DataFrame(
        [(s, c) for s in every.groups["__stage"] for c in found], columns=["__stage", "__by0"]
    )
    parts = [count(f, ["__stage", "__by0"], sums, grid) for f in (together, anyone)]
    covered, actions = (sum(p[k] for p in parts) for k in sums)
    account_months = np.repeat(every["months"], len(found), axis=1)
    counts = Counts(grid, {"months": account_months})
    return measured(
        grid.assign(__stage=grid["__stage"].map(labels)),
        ["stage", "channel"],
        {
            "covered": Ratio(covered, account_months),
            "intensity": Ratio(actions, account_months, "mean", "ratio"),
        },
        {"account_months": counts.total("months")},
        conf_level,
        kind=Coverage,
        estimand="Share of overdue account-months with at least one action, and actions per account-month",
        title="Coverage by stage",
        notes=(
            "Stage: days past due at the month's end; accounts that cured within the month do not count.",
        ),
    )


@dataclass(frozen=True, kw_only=True)
class Timeline(Result):
    """Actions per month and channel: one row each, with ``actions`` and ``accounts``."""

    plottable = True

    def display_table(self) -> pd.DataFrame:
        """Months down, channels across."""
        from collectlab.core.tables import display_table

        wide = self.table.pivot(index="month", columns="channel", values="actions").fillna(0)
        wide = wide[list(dict.fromkeys(self.table["channel"]))]
        return display_table(
            wide.reset_index().rename_axis(columns=None), formats=dict.fromkeys(wide.columns, "count")
        )

    def plot(self, ax: Axes | None = None) -> Axes:
        """Stacked bars, one colour a channel."""
        ax = new_axes(ax)
        wide = self.table.pivot(index="month", columns="channel", values="actions").fillna(0)
        order = wide.sum().sort_values(ascending=False, kind="stable").index
        floor = np.zeros(len(wide))
        for i, channel in enumerate(order):
            values = wide[channel].to_numpy(float)
            hatch = "" if i < len(PALETTE) else "//"
            ax.bar(
                range(len(wide)),
                values,
                bottom=floor,
                color=PALETTE[i % len(PALETTE)],
                label=channel,
                hatch=hatch,
            )
            floor += values
        month_ticks(ax, wide.index)
        ax.set_ylabel("Actions")
        legend(ax, "Channel", outside=True)
        return titled(ax, self.title)


def timeline(book: Any, period: Period = None) -> Timeline:
    """Actions per calendar month and channel: a full count, so without intervals.

    Parameters
    ----------
    book : Book
        With actions.
    period : (date, date), optional
        First and last day of the actions; None is the whole book.

    Examples
    --------
    >>> import pandas as pd
    >>> from collectlab.book.open import open_book
    >>> book = open_book({
    ...     "accounts": pd.DataFrame({"account_id": ["a"]}),
    ...     "snapshots": pd.DataFrame({"account_id": ["a"], "as_of": ["2026-02-28"], "days_past_due": [5]}),
    ...     "actions": pd.DataFrame({"account_id": ["a", "a"], "at": ["2026-01-20 10:00", "2026-02-21 10:00"],
    ...                              "channel": ["call", "sms"]})})
    >>> timeline(book).table.values.tolist()
    [['2026-01', 'call', 1, 1], ['2026-02', 'sms', 1, 1]]
    """
    frame, by = rows(book, "actions", "at", ["month", "channel"], period)
    cells = engine.collect(
        frame.group_by(*by_keys(by, "__by"), "__account").agg(n=row_count())
        .group_by(*by_keys(by, "__by")).agg(actions=whole_sum("n"), accounts=row_count())
    )  # fmt: skip
    if cells.empty:
        raise NotAvailable("there are no actions in this book or period.")
    cells = cells.rename(columns=dict(zip(by_keys(by, "__by"), by))).sort_values(by, kind="stable")
    cells["month"] = cells["month"].map(month_text)
    cells["channel"] = cells["channel"].fillna(MISSING)
    return Timeline(
        table=cells[["month", "channel", "actions", "accounts"]],
        estimand="Actions per month and channel",
        unit="count",
        title="What was done, month by month",
        formats={"actions": "count", "accounts": "count"},
    )


def time_to_first_contact(
    book: Any,
    *,
    definition: str = "current_once",
    by: str | Sequence[str] | None = None,
    horizons: Sequence[int] = (7, 14, 30),
    period: Period = None,
    conf_level: float = 0.95,
) -> Measures:
    """How soon an episode meets its first action, and its first contact with the debtor in person.

    Per group and ``contact`` ("first action", "first debtor contact"): the share reached within each horizon
    of day 0 (Aalen–Johansen; an episode that ends before anything was done competes and is not reached), and
    the median days (Kaplan–Meier, ends of episodes as censoring). A debtor contact is an action that was
    connected, or whose outcome was told, and not with a third party. Only episodes watched from day 0 and,
    with ``period``, begun in it.

    Parameters
    ----------
    book : Book
        With actions.
    definition : str
        The named definition of cure.
    by : str or list of str, optional
        Columns of the episodes.
    horizons : sequence of int
        Whole days since day 0.
    period : (date, date), optional
        First and last day of day 0; None is the whole book.
    conf_level : float
        Level of the intervals.

    Examples
    --------
    >>> import pandas as pd
    >>> from collectlab.book.open import open_book
    >>> book = open_book({
    ...     "accounts": pd.DataFrame({"account_id": ["a"]}),
    ...     "snapshots": pd.DataFrame({"account_id": ["a"] * 3, "days_past_due": [0, 11, 42],
    ...                                "as_of": ["2025-12-31", "2026-01-31", "2026-03-03"]}),
    ...     "actions": pd.DataFrame({"account_id": ["a"], "at": ["2026-01-25 10:00"], "channel": ["sms"]})})
    >>> time_to_first_contact(book).table[["measure", "estimate"]].values.tolist()[:3]
    [['within 7 days', 1.0], ['within 14 days', 1.0], ['within 30 days', 1.0]]
    """
    from collectlab.measures.actions_timing import first_contacts

    return first_contacts(book, definition, by, horizons, period, conf_level)
