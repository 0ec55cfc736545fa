"""The KPIs of the episodes by cause: recovery, its cost, sustained cure."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any

import narwhals as nw

from collectlab.core import engine
from collectlab.core.columns import day_number, day_of, flag, whole_sum
from collectlab.core.engine import same_engine
from collectlab.core.errors import FrameError, first_few
from collectlab.measures.actions_rows import days_of
from collectlab.measures.actions_timing import _debtor
from collectlab.measures.costs_touch import with_cost
from collectlab.measures.flows import UNIT, as_money, lay_on_days, spells_with_windows
from collectlab.measures.gap import GROUPS, MIX, REACHED, Cells, Step, counted


def recovery(
    episodes: Any,
    payments: Any,
    actions: Any = None,
    *,
    now: tuple[dt.date | str, dt.date | str],
    as_of: dt.date,
    horizon: int = 90,
    steps: Sequence[Step] = (REACHED,),
    amount: str = "amount_at_entry",
) -> Cells:
    """The recovery rate by cause: paid within ``horizon`` days, at most what was overdue, of what was overdue.

    Counted are episodes seen from day 0 that began at least ``horizon`` days before ``as_of``. Those that began
    within ``now`` are "now", those of the year before it "before". The ``team`` of an episode is the one that
    first worked it by call or visit within 30 days, of those seen overdue on that day or later; others have
    none. A step is judged only among those seen overdue on its last day or later, and only what was paid after
    that day is laid to it: nobody is credited with days in which he could not yet have paid. Between month-end
    snapshots an end is not dated, so of those that paid in the weeks after the step some drop out, and what goes
    with the step is rather told too small.

    Parameters
    ----------
    episodes : frame
        As ``book.episodes()`` gives it, with the columns that may be causes.
    payments, actions : frames
        ``account_id, paid_on, amount``; ``account_id, at, channel`` and what tells a contact. Without actions
        neither teams nor steps are told.
    now : (date, date)
        First and last day on which the episodes of the KPI began.
    as_of : date
        Last day that the payments cover.
    horizon : int
        Days after day 0.
    steps : list of Step
        What should have been done by when.
    amount : str
        Column of what was overdue at entry.

    Returns
    -------
    Cells

    Raises
    ------
    NotAvailable
        No episode with an amount is old enough.

    Examples
    --------
    >>> import pandas as pd
    >>> episodes = pd.DataFrame({
    ...     "account_id": ["a", "b"], "episode": [1, 1], "entry_day": [0, 0], "exit_day": [20, 120],
    ...     "outcome": ["cured", "censored"], "amount_at_entry": [100.0, 300.0], "branch": ["North", "South"],
    ...     "started_on": pd.to_datetime(["2026-01-05", "2026-01-05"]), "observed_day": [120, 120]})
    >>> paid = pd.DataFrame({"account_id": ["a", "b"], "paid_on": pd.to_datetime(["2026-01-25", "2026-02-01"]),
    ...                      "amount": [100.0, 50.0]})
    >>> cells = recovery(episodes, paid, now=("2026-01-01", "2026-01-31"), as_of=dt.date(2026, 5, 31))
    >>> cells.table[["branch", "top", "base"]].values.tolist()
    [['North', 100.0, 100.0], ['South', 50.0, 300.0]]
    """
    spells, money, told = _paid(episodes, payments, actions, now, as_of, horizon, steps, amount)
    rows = spells.join(money, on=["__account", "__start"], how="left")
    sums = {"__top": nw.col("__all").fill_null(0), "__base": nw.col("__cap")}
    sums |= {f"__later_{s.name}": nw.col(f"__after_{s.name}").fill_null(0) for s in told}
    return counted(rows.with_columns(**sums), paths=told, parts=UNIT, unit="episodes", notes=_team_note(rows))


def cost(
    episodes: Any,
    payments: Any,
    actions: Any,
    *,
    now: tuple[dt.date | str, dt.date | str],
    as_of: dt.date,
    horizon: int = 90,
    amount: str = "amount_at_entry",
    unit_costs: Mapping[str, float] | None = None,
) -> Cells:
    """Cost per 100 recovered by cause: cost of the actions × 100, of the money recovered, within ``horizon`` days.

    Episodes, periods and teams as in :func:`recovery`. An episode counts as one in the comparison of groups: a
    group is a cause where its episodes cost more, or bring in less, than the KPI allows.

    Parameters
    ----------
    episodes, payments, now, as_of, horizon, amount
        As in :func:`recovery`.
    actions : frame
        ``account_id, at, channel, cost``.
    unit_costs : mapping, optional
        Cost of an action by channel, where the actions do not tell it.

    Returns
    -------
    Cells

    Examples
    --------
    >>> import pandas as pd
    >>> episodes = pd.DataFrame({
    ...     "account_id": ["a"], "episode": [1], "entry_day": [0], "exit_day": [20], "outcome": ["cured"],
    ...     "amount_at_entry": [100.0], "started_on": pd.to_datetime(["2026-01-05"]), "observed_day": [120]})
    >>> paid = pd.DataFrame({"account_id": ["a"], "paid_on": pd.to_datetime(["2026-01-25"]), "amount": [80.0]})
    >>> acts = pd.DataFrame({"account_id": ["a"], "at": ["2026-01-10 10:00"], "channel": ["call"], "cost": [2.0]})
    >>> cells = cost(episodes, paid, acts, now=("2026-01-01", "2026-01-31"), as_of=dt.date(2026, 5, 31))
    >>> cells.table[["top", "base"]].values.tolist()
    [[200.0, 80.0]]
    """
    spells, money, _ = _paid(episodes, payments, actions, now, as_of, horizon, (), amount)
    acts, notes = with_cost(engine.scan(actions), unit_costs)
    spells, spent = same_engine(spells, as_money(acts, "at", nw.col("__cost")))
    keys = ["__account", "__start"]
    spent = (
        spells.select(*keys, "__end")
        .join(spent, on="__account", how="inner")
        .with_columns(__day=nw.col("__on") - nw.col("__start"))
        .filter(
            (nw.col("__day") >= 0) & (nw.col("__day") <= nw.min_horizontal(nw.col("__end"), nw.lit(horizon)))
        )
        .group_by(*keys)
        .agg(__spent=whole_sum("__amount"))
    )
    rows = spells.join(money, on=keys, how="left").join(spent, on=keys, how="left")
    rows = rows.with_columns(__top=nw.col("__spent").fill_null(0), __base=nw.col("__all").fill_null(0))
    notes = (*notes, *_team_note(rows))
    return counted(rows, parts=UNIT, times=100, weight="n", unit="episodes", notes=notes)


def sustained(
    episodes: Any,
    actions: Any = None,
    *,
    as_of: dt.date,
    horizon: int = 90,
    after: int = 180,
    steps: Sequence[Step] = (REACHED,),
) -> Cells:
    """Sustained cure by cause: cured within ``horizon`` days and not past due again within ``after`` days.

    Counted are all episodes of the book seen from day 0 that began at least ``horizon + after`` days before
    ``as_of``; one of which too little was seen is left out. Teams and steps as in :func:`recovery`.

    Parameters
    ----------
    episodes, actions, as_of, horizon, steps
        As in :func:`recovery`.
    after : int
        Days after the cure.

    Returns
    -------
    Cells

    Examples
    --------
    >>> import pandas as pd
    >>> episodes = pd.DataFrame({
    ...     "account_id": ["a", "a", "b"], "episode": [1, 2, 1], "entry_day": [0, 0, 0], "exit_day": [20, 30, 50],
    ...     "outcome": ["cured", "cured", "cured"], "observed_day": [600, 510, 600],
    ...     "started_on": pd.to_datetime(["2025-01-05", "2025-04-05", "2025-01-05"])})
    >>> sustained(episodes, as_of=dt.date(2026, 10, 31)).table[["n", "top"]].sum().tolist()
    [3.0, 2.0]
    """
    spells, told = _handled(_spells(episodes), actions, steps)
    rows = spells.with_columns(
        __next=nw.col("__start").shift(-1).over("__account", order_by=["__start", "__exit"]),
        __cured=(nw.col("__outcome") == "cured") & (nw.col("__exit") <= horizon),
    )
    cured_on = nw.col("__start") + nw.col("__exit")
    again = (nw.col("__next") - cured_on <= after).fill_null(False)
    short = (nw.col("__outcome") == "censored") & (nw.col("__exit") < horizon)
    old = nw.col("__start") + horizon + after <= day_of(as_of)
    rows = rows.filter(old & ~short & (nw.col("__entry") == 0)).with_columns(
        __top=flag(nw.col("__cured") & ~again), __base=nw.lit(1), period=nw.lit("now")
    )
    if told:
        rows = rows.with_columns(**{f"__later_{s.name}": nw.col("__top") for s in told})
    return counted(rows, paths=told, unit="episodes", notes=_team_note(rows))


def _spells(episodes: Any) -> nw.LazyFrame:
    frame = engine.scan(episodes)
    engine.require(frame, "account_id", "started_on", "entry_day", "exit_day", "outcome")
    names = frame.collect_schema().names()
    kept = [c for c in (*GROUPS, *MIX) if c in names and c not in ("team", "agency")]
    return frame.select(
        *kept,
        __id=nw.col("customer_id" if "customer_id" in names else "account_id"),
        __account=nw.col("account_id"),
        __start=day_number("started_on"),
        __entry=nw.col("entry_day").cast(nw.Int64),
        __exit=nw.col("exit_day").cast(nw.Int64),
        # of an end between two snapshots only the earlier one says that the account was still overdue
        __seen=nw.col("seen_day" if "seen_day" in names else "exit_day").cast(nw.Int64),
        __outcome=nw.col("outcome").cast(nw.String),
    )


def _paid(episodes, payments, actions, now, as_of, horizon, steps, amount):
    """Episodes old enough with their team and steps; and what was paid on each, in all and after each step."""
    frame = engine.scan(episodes)
    first, last = days_of(now)
    began = day_number("started_on")
    frame = frame.filter((began > first - 366) & (began <= last))
    windows = engine.computed(
        spells_with_windows(frame, by=(), amount=amount, cluster="customer_id", as_of=as_of).filter(
            nw.col("__owes") & nw.col("__lasts") & ~nw.col("__late")
        )
    )
    windows = windows.filter(nw.col("__start") + horizon <= day_of(as_of))
    spells, told = _handled(_spells(frame), actions, steps)
    spells, windows, money = same_engine(spells, windows, as_money(payments, "paid_on", "amount"))
    keys = ["__account", "__start"]
    spells = engine.computed(
        spells.join(windows.select(*keys, "__cap", "__end"), on=keys, how="inner").with_columns(
            period=nw.when(nw.col("__start") >= first).then(nw.lit("now")).otherwise(nw.lit("before"))
        )
    )
    daily = lay_on_days(windows, money, by=(), capped=True).filter(nw.col("__day") <= horizon)
    sums = {"__all": whole_sum("__counted")}
    late = {
        s.name: nw.when(nw.col("__day") > s.by).then(nw.col("__counted")).otherwise(nw.lit(0)) for s in told
    }
    if late:
        daily = daily.with_columns(**{f"__after_{k}": v for k, v in late.items()})
    sums |= {f"__after_{k}": whole_sum(f"__after_{k}") for k in late}
    return spells, daily.group_by(*keys).agg(**sums), told


def _handled(
    spells: nw.LazyFrame, actions: Any, steps: Sequence[Step]
) -> tuple[nw.LazyFrame, tuple[Step, ...]]:
    """``spells`` with ``team``, and each step done (1), not done (0) or not asked (missing)."""
    if actions is None:
        return spells, ()
    acts = engine.scan(actions)
    engine.require(acts, "account_id", "at")
    names = acts.collect_schema().names()
    channel = nw.col("channel").cast(nw.String) if "channel" in names else nw.lit(None, nw.String)
    unknown = [s.name for s in steps if not isinstance(s, Step)]
    if unknown:
        raise FrameError(f"steps hold {first_few(unknown)}. Allowed: Step(name, channel, by).")
    told = tuple(
        s for s in steps
        if ("channel" in names if s.channel else {"connected", "outcome"} & set(names))
    )  # fmt: skip
    has_team = "team" in names and "channel" in names
    acts = acts.select(
        __account=nw.col("account_id"),
        __on=day_number("at"),
        __at=nw.col("at"),
        __channel=channel,
        __debtor=_debtor(names),
        __team=nw.col("team").cast(nw.String) if has_team else nw.lit(None, nw.String),
    )
    spells = engine.computed(spells)
    spells, acts = same_engine(spells, acts)
    keys = ["__account", "__start"]
    near = (
        spells.select(*keys, "__exit", "__seen")
        .join(acts, on="__account", how="inner")
        .with_columns(__day=nw.col("__on") - nw.col("__start"))
        .filter((nw.col("__day") >= 0) & (nw.col("__day") <= nw.col("__exit")))
    )
    done = {}
    for i, s in enumerate(told):
        what = (
            nw.col("__debtor") == 1
            if s.channel is None
            else (nw.col("__channel") == s.channel).fill_null(False)
        )
        done[f"__done{i}"] = flag(what & (nw.col("__day") >= s.since) & (nw.col("__day") <= s.by))
    if done:
        near = engine.computed(near)
        each = near.with_columns(**done).group_by(*keys).agg(*(nw.col(c).max() for c in done))
        spells = spells.join(each, on=keys, how="left")
        spells = spells.with_columns(
            **{
                s.name: nw.when(_overdue(s.by)).then(nw.col(f"__done{i}").fill_null(0))
                for i, s in enumerate(told)
            }
        )
    if has_team:
        worked = near.filter(
            ~nw.col("__team").is_null()
            & nw.col("__channel").is_in(["call", "visit"])
            & (nw.col("__day") <= REACHED.by)
            & _overdue(REACHED.by)
        ).unique(subset=keys, keep="first", order_by=["__at", "__team"])
        spells = spells.join(worked.select(*keys, team=nw.col("__team")), on=keys, how="left")
    return spells, told


def _overdue(day: int) -> nw.Expr:
    """Seen overdue on this day or later."""
    return (nw.col("__exit") > day) & (nw.col("__seen") >= day)


def _team_note(rows: nw.LazyFrame) -> tuple[str, ...]:
    if "team" not in rows.collect_schema().names():
        return ()
    return (
        f"Teams are compared among the episodes seen overdue on day {REACHED.by} or later that one had worked by then.",
    )
