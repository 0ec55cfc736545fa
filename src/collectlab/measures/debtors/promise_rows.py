"""Promises to pay, one row each: what was promised for when, and what came in by then."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import narwhals as nw

from collectlab.core import engine
from collectlab.core.columns import day_number, day_of, flag, row_count, whole_money, whole_sum
from collectlab.core.engine import same_engine
from collectlab.core.errors import FrameError
from collectlab.measures.actions_rows import Period, need_column, rows
from collectlab.measures.flows import UNIT, as_money


def promise_rows(
    book: Any, by: Sequence[str], period: Period, share: float, grace: int, keep: Sequence[str] = ()
) -> tuple[nw.LazyFrame, nw.LazyFrame, tuple[str, ...]]:
    """Actions with a known outcome, due promises, and notes: the rules of :func:`actions.promises`.

    The due promises, each once, have __account, __on, __until (with the grace), __wait (days from the promise to the
    promised day), __amount, __paid (from the promise to the end of the grace, in whole cents), __kept, __rep, __by0 …
    and ``keep``.
    """
    if not 0 < share <= 1 or grace < 0:
        raise FrameError(f"share is {share}, grace {grace}. Allowed: 0 < share ≤ 1 and days of grace ≥ 0.")
    frame, by = rows(book, "actions", "at", list(by), period)
    need_column(frame, "actions", "outcome", "promised_amount", "promised_on", *keep)
    told = frame.filter(~nw.col("outcome").is_null())
    last = day_of(book.as_of)
    keys = [f"__by{i}" for i in range(len(by))]
    given = told.filter(nw.col("outcome") == "promise").select(
        *keys, *keep, "__rep", "__account", "__on",
        __amount=whole_money("promised_amount", UNIT),
        __until=day_number("promised_on") + grace,
        __wait=day_number("promised_on") - nw.col("__on"),
    )  # fmt: skip
    sound = (nw.col("__amount") > 0).fill_null(False) & ~nw.col("__until").is_null()
    given = engine.computed(
        given.with_columns(__state=nw.when(sound).then(flag(nw.col("__until") <= last)).otherwise(nw.lit(-1)))
    )
    states = engine.collect(given.group_by("__state").agg(n=row_count())).set_index("__state")["n"]
    due, money = same_engine(
        given.filter(nw.col("__state") == 1), as_money(book.table("payments"), "paid_on", "amount")
    )
    one = ["__account", "__on", "__until", "__amount"]  # the same promise noted twice is one promise
    due = due.unique(subset=one, keep="first", order_by=[*one, *keep, *keys])
    paid = (
        due.select(*one)
        .join(money.rename({"__on": "__day", "__amount": "__paid"}), on="__account", how="inner")
        .filter((nw.col("__day") >= nw.col("__on")) & (nw.col("__day") <= nw.col("__until")))
        .group_by(*one)
        .agg(__paid=whole_sum("__paid"))
    )
    due = due.join(paid, on=one, how="left").with_columns(__paid=nw.col("__paid").fill_null(0))
    enough = nw.col("__paid").cast(nw.Float64) >= share * nw.col("__amount").cast(nw.Float64)
    due = engine.computed(due.with_columns(__kept=flag(enough)))
    notes = [
        f"Kept: at least {100 * share:.0f} % of the amount paid by {grace} days after the promised date."
    ]
    if n := states.get(0, 0):
        notes.append(f"{n:,} promises are not yet due and are not judged.")
    if n := states.get(-1, 0):
        notes.append(f"{n:,} promises without amount or date cannot be judged.")
    return told, due, tuple(notes)


def paid_of_it() -> nw.Expr:
    """What was paid of a promise, no more than promised, in whole cents."""
    return nw.min_horizontal(nw.col("__paid"), nw.col("__amount"))
