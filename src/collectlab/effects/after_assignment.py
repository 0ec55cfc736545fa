"""What followed when accounts that had been assigned at random fell past due."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import narwhals as nw

from collectlab.core.columns import whole_money, whole_sum
from collectlab.core.engine import collect, materialise
from collectlab.core.errors import NotAvailable
from collectlab.effects.assigned import first_assignments

if TYPE_CHECKING:
    from collectlab.book.open import Book


def first_episodes(book: Book, episodes: nw.LazyFrame, horizons: Sequence[int] = (60, 90)) -> nw.LazyFrame:
    """One row per randomised account: its first episode after the assignment, and what followed.

    A collection strategy acts once an account is past due, so that is where it is compared. The arms are
    comparable there as long as the strategy does not change *who* falls past due; :func:`fell_past_due`
    gives the outcome that checks it.

    Parameters
    ----------
    book : Book
        With ``assignments`` (column ``randomised``); ``payments``, ``actions`` and ``complaints`` where there.
    episodes : lazy frame
        As :meth:`Book.episodes` gives them.
    horizons : sequence of int
        Whole days since day 0.

    Returns
    -------
    narwhals.LazyFrame
        account_id, strategy, block, propensity, started_on, and for each horizon h, from day 0 to day h:
        ``cured_within_h`` (0/1), ``amount_within_h`` (money paid), ``cost_within_h`` (money spent on actions),
        ``net_within_h`` (amount less cost), ``complaints_within_h`` (number). Missing where the book does not
        reach day h. (What was past due on day 0 is not in a book; in the first snapshot after it, it already
        shows what the strategy did. So there is no "paid in full" here: cured says it.)

    Raises
    ------
    NotAvailable
        No random assignment, or none of the accounts fell past due afterwards.
    """
    assigned = first_assignments(book.table("assignments"))
    spells = episodes.filter(nw.col("entry_day") == 0)
    have = [
        c
        for c in spells.collect_schema().names()
        if c not in ("strategy", "block", "assigned_on", "propensity")
    ]
    after = assigned.join(spells.select(have), on="account_id", how="inner")
    after = after.filter(nw.col("started_on") > nw.col("assigned_on"))
    first = after.filter(nw.col("started_on") == nw.col("started_on").min().over("account_id"))
    first = materialise(first)
    if not collect(first.select(n=nw.len()))["n"].iloc[0]:
        raise NotAvailable("no account that was assigned at random fell past due afterwards.")
    end = {h: nw.col("started_on").dt.offset_by(f"{h}d") for h in horizons}
    seen = {h: nw.col("observed_day") >= h for h in horizons}
    frame = first.with_columns(
        *(
            nw.when(seen[h])
            .then(((nw.col("outcome") == "cured") & (nw.col("exit_day") <= h)).cast(nw.Int64))
            .alias(f"cured_within_{h}")
            for h in horizons
        )
    )
    for table, date, name in (
        ("payments", "paid_on", "amount"),
        ("actions", "at", "cost"),
        ("complaints", "at", "complaints"),
    ):
        if not book.has(table) or (name != "complaints" and name not in book.columns(table)):
            continue
        value = nw.lit(100, nw.Int64) if name == "complaints" else whole_money(name)
        events = book.table(table).select("account_id", _on=nw.col(date).cast(nw.Date), _cents=value)
        both = first.select("account_id", "started_on").join(events, on="account_id", how="inner")
        both = both.filter(nw.col("_on") >= nw.col("started_on"))
        sums = (
            both.with_columns(
                *(
                    nw.when(nw.col("_on") <= limit).then(nw.col("_cents")).otherwise(nw.lit(0)).alias(f"_{h}")
                    for h, limit in end.items()
                )
            )
            .group_by("account_id")
            .agg(*(whole_sum(f"_{h}").alias(f"_{h}") for h in end))
        )
        frame = (
            frame.join(sums, on="account_id", how="left")
            .with_columns(
                *(
                    nw.when(seen[h])
                    .then(nw.col(f"_{h}").fill_null(0).cast(nw.Float64) / 100)
                    .alias(f"{name}_within_{h}")
                    for h in end
                )
            )
            .drop([f"_{h}" for h in end])
        )
    have = frame.collect_schema().names()
    for h in horizons:
        if {f"amount_within_{h}", f"cost_within_{h}"} <= set(have):
            cents = whole_money(f"amount_within_{h}") - whole_money(f"cost_within_{h}")
            frame = frame.with_columns((cents.cast(nw.Float64) / 100).alias(f"net_within_{h}"))
    return materialise(frame)


def fell_past_due(book: Book, episodes: nw.LazyFrame) -> nw.LazyFrame:
    """One row per randomised account: strategy, and ``fell_past_due`` (0/1) after the assignment.

    If the arms differ here, comparing the accounts that fell past due compares different accounts.
    """
    assigned = first_assignments(book.table("assignments"))
    after = (
        episodes.select("account_id", "started_on")
        .join(assigned.select("account_id", "assigned_on"), on="account_id", how="inner")
        .filter(nw.col("started_on") > nw.col("assigned_on"))
        .group_by("account_id")
        .agg(n=nw.len())
        .select("account_id", fell_past_due=nw.lit(1))
    )
    return materialise(
        assigned.join(after, on="account_id", how="left").with_columns(nw.col("fell_past_due").fill_null(0))
    )
