"""What each action cost, and which contact a payment followed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import narwhals as nw

from collectlab.core import engine
from collectlab.core.columns import day_number, flag, row_count, whole_money, whole_sum
from collectlab.core.engine import same_engine
from collectlab.core.errors import FrameError, NotAvailable, first_few
from collectlab.measures.flows import UNIT

_NOT_REACHED = ("no_answer", "wrong_number")


def contact_made(columns: Sequence[str]) -> nw.Expr:
    """Whether an action reached somebody: not marked as not connected, no answer or wrong number."""
    made = ~nw.col("account_id").is_null()
    if "connected" in columns:
        made = made & nw.col("connected").fill_null(True)
    if "outcome" in columns:
        made = made & ~nw.col("outcome").is_in(_NOT_REACHED).fill_null(False)
    return made


def last_touch(
    contacts: nw.LazyFrame, paid: nw.LazyFrame, groups: Sequence[str], window: int
) -> nw.LazyFrame:
    """``paid`` with the ``groups`` of the account's last contact, and ``__credited`` (1 within ``window`` days).

    Of several contacts on a day the latest counts; one on the day of the payment counts as before it.
    """
    if contacts.collect_schema()["__account"] != paid.collect_schema()["__account"]:
        text = nw.col("__account").cast(nw.String)
        contacts, paid = contacts.with_columns(__account=text), paid.with_columns(__account=text)
    order = ["__at", *groups]
    # both stand in several places below, and the engine would compute them anew in each
    paid = engine.computed(paid)
    contacts = contacts.join(paid.select("__account").unique(), on="__account", how="semi")
    last = contacts.unique(subset=["__account", "__on"], keep="last", order_by=order)
    last = engine.computed(last.select("__account", "__on", *groups))
    marks = nw.concat(
        [
            last.select("__account", "__on", __touch=nw.col("__on"), __kind=nw.lit(0)),
            paid.select("__account", "__on", __touch=nw.lit(None, nw.Int64), __kind=nw.lit(1)),
        ]
    ).unique(subset=["__account", "__on", "__kind"], keep="any")
    touched = (
        marks.with_columns(
            __touch=nw.col("__touch")
            .cast(nw.Int64)
            .fill_null(strategy="forward")
            .over("__account", order_by=["__on", "__kind"])
        )
        .filter(nw.col("__kind") == 1)
        .select("__account", "__on", "__touch")
    )
    near = (nw.col("__on") - nw.col("__touch") <= window).fill_null(False)
    return (
        paid.join(touched, on=["__account", "__on"], how="left")
        .with_columns(__credited=flag(near))
        .join(
            last.with_columns(__touch=nw.col("__on")).select("__account", "__touch", *groups),
            on=["__account", "__touch"],
            how="left",
        )
    )


def with_cost(
    actions: nw.LazyFrame, unit_costs: Mapping[str, float] | None
) -> tuple[nw.LazyFrame, list[str]]:
    """``actions`` with ``__cost`` in 1/UNIT; every channel must be costed in some way."""
    names = actions.collect_schema().names()
    if unit_costs is not None:
        bad = {
            c: v
            for c, v in unit_costs.items()
            if not isinstance(v, (int, float)) or not math.isfinite(v) or v < 0
        }
        if bad:
            raise FrameError(f"unit_costs: {first_few(list(bad.items()))}. Allowed: channel → number ≥ 0.")
    channel = nw.col("channel") if "channel" in names else nw.lit("action")
    cost = whole_money("cost", UNIT) if "cost" in names else nw.lit(None, nw.Int64)
    for name, value in (unit_costs or {}).items():
        same = nw.when(channel.cast(nw.String) == name).then(nw.lit(round(value * UNIT))).cast(nw.Int64)
        cost = nw.coalesce(cost, same)
    costed = actions.with_columns(__channel=channel.cast(nw.String), __cost=cost)
    per = engine.collect(
        costed.group_by("__channel").agg(
            n=row_count(),
            missing=whole_sum(flag(nw.col("__cost").is_null())),
            below=whole_sum(flag(nw.col("__cost") < 0)),
        )
    ).sort_values("__channel")
    if per.empty:
        raise NotAvailable("there are no actions, so no cost.")
    if per["below"].any():
        listed = [
            f"{c} ({n:,} actions)" for c, n in zip(per["__channel"].fillna("no channel"), per["below"]) if n
        ]
        raise FrameError(f"the cost is below 0 for {first_few(listed)}. Allowed: money ≥ 0.")
    without = per[per["missing"] == per["n"]]
    if len(without):
        listed = [
            f"{c} ({n:,} actions)" for c, n in zip(without["__channel"].fillna("no channel"), without["n"])
        ]
        raise FrameError(
            f"no cost is known for {first_few(listed)}. Give unit_costs, such as "
            f"{{{without['__channel'].iloc[0]!r}: 1.50}} (0 if it is free), or a cost column in actions."
        )
    notes = [
        f"{missing:,} of {n:,} actions by {name} have no cost and count as free."
        for name, missing, n in zip(per["__channel"].fillna("no channel"), per["missing"], per["n"])
        if missing
    ]
    return costed.with_columns(__cost=nw.col("__cost").fill_null(0)), notes


def with_strategy(episodes: Any, assignments: Any) -> nw.LazyFrame:
    """Episodes with the column ``strategy``: the one the account was under on day 0.

    That is the last assignment on or before day 0; without one, the first within the episode; else missing.
    Of several on a day the last by name counts. Columns of ``episodes`` stay; a column ``strategy`` is
    replaced.

    Parameters
    ----------
    episodes : frame
        account_id, started_on, exit_day.
    assignments : frame
        account_id, strategy, assigned_on.

    Returns
    -------
    narwhals.LazyFrame

    Examples
    --------
    >>> import pandas as pd
    >>> episodes = pd.DataFrame({"account_id": ["a"], "started_on": pd.to_datetime(["2026-03-01"]), "exit_day": [30]})
    >>> assigned = pd.DataFrame({"account_id": ["a", "a"], "strategy": ["old", "new"],
    ...                          "assigned_on": pd.to_datetime(["2025-01-01", "2026-03-01"])})
    >>> with_strategy(episodes, assigned).collect("pandas")["strategy"].to_list()
    ['new']
    """
    frame, given = same_engine(engine.scan(episodes), engine.scan(assignments))
    engine.require(frame, "account_id", "started_on", "exit_day")
    engine.require(given, "account_id", "assigned_on", "strategy")
    if "strategy" in frame.collect_schema().names():
        frame = frame.drop("strategy")
    given = given.select("account_id", "strategy", __on=day_number("assigned_on"))
    day = nw.col("__on") - nw.col("__start")
    found = (
        frame.select("account_id", "started_on", "exit_day", __start=day_number("started_on"))
        .join(given, on="account_id", how="inner")
        .filter(day <= nw.col("exit_day"))
        .with_columns(__rank=nw.when(day <= 0).then(day).otherwise(-(day + 10_000_000)))
        .unique(subset=["account_id", "started_on"], keep="last", order_by=["__rank", "strategy"])
        .select("account_id", "started_on", "strategy")
    )
    return frame.join(found, on=["account_id", "started_on"], how="left")
