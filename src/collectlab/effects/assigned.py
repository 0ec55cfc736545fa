"""The experiment that a book holds: who was assigned to what at random, and what followed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import narwhals as nw
import numpy as np

from collectlab.core.engine import collect, materialise
from collectlab.core.errors import FrameError, NotAvailable, first_few

if TYPE_CHECKING:
    from collectlab.book.open import Book


def experiment_frame(book: Book, horizons: Sequence[int] = (30, 90, 180)) -> nw.LazyFrame:
    """One row per account that was assigned to a strategy at random, with what followed.

    Parameters
    ----------
    book : Book
        With ``assignments`` (column ``randomised``). An account counts from its first random assignment;
        one put under two strategies on that day is left out.
    horizons : sequence of int
        Whole days after the day of assignment.

    Returns
    -------
    narwhals.LazyFrame
        account_id, strategy, assigned_on, block, and for each horizon h, all days after the assignment up
        to and including day h: ``paid_within_h`` (paid anything), ``amount_within_h`` (money paid),
        ``cured_within_h`` (seen current; only accounts past due when last seen on or before the
        assignment, else missing). All are missing where the book ends before day h. The account's other
        columns follow.

    Raises
    ------
    NotAvailable
        No assignments, or none at random.
    """
    days = sorted(set(horizons))
    if not days or any(not isinstance(h, (int, np.integer)) or h < 1 for h in days):
        raise FrameError(f"horizons are {first_few(list(horizons)) or 'empty'}. Allowed: whole days ≥ 1.")
    assigned = materialise(_first_assignments(book.table("assignments")))
    if not int(collect(assigned.select(nw.len().alias("n")))["n"].iloc[0]):
        raise NotAvailable("no account was assigned at random: the assignments show no experiment.")
    end = {h: nw.col("assigned_on").dt.offset_by(f"{h}d") for h in days}
    seen = {h: end[h] <= nw.lit(book.as_of) for h in days}
    frame = assigned
    if book.has("payments"):
        frame = frame.join(_paid(assigned, book.table("payments"), end), on="account_id", how="left")
        amount = {h: nw.col(f"_cents_{h}").fill_null(0) for h in days}
        frame = frame.with_columns(
            *(nw.when(seen[h]).then((amount[h] > 0).cast(nw.Int64)).alias(f"paid_within_{h}") for h in days),
            *(
                nw.when(seen[h]).then(amount[h].cast(nw.Float64) / 100).alias(f"amount_within_{h}")
                for h in days
            ),
        ).drop([f"_cents_{h}" for h in days])
    frame = frame.join(_cured(assigned, book.table("snapshots")), on="account_id", how="left")
    frame = frame.with_columns(
        *(
            nw.when(seen[h] & (nw.col("_past_due") > 0))
            .then((nw.col("_cured_on") <= end[h]).fill_null(False).cast(nw.Int64))
            .alias(f"cured_within_{h}")
            for h in days
        )
    ).drop("_past_due", "_cured_on")
    accounts = book.table("accounts")
    have = set(frame.collect_schema().names())
    extra = [c for c in accounts.collect_schema().names() if c not in have]
    return materialise(frame.join(accounts.select("account_id", *extra), on="account_id", how="left"))


def _first_assignments(assignments: nw.LazyFrame) -> nw.LazyFrame:
    have = assignments.collect_schema().names()
    if "randomised" not in have:
        raise NotAvailable("assignments has no column 'randomised': a choice cannot be told from a draw.")
    drawn = assignments.filter(nw.col("randomised").fill_null(False))
    drawn = drawn.filter(nw.col("assigned_on") == nw.col("assigned_on").min().over("account_id"))
    block = [nw.col("block").min()] if "block" in have else []
    first = drawn.group_by("account_id", "assigned_on").agg(
        nw.col("strategy").min(), nw.col("strategy").max().alias("_other"), *block
    )
    return first.filter(nw.col("strategy") == nw.col("_other")).drop("_other")


def _paid(assigned: nw.LazyFrame, payments: nw.LazyFrame, end: dict[int, nw.Expr]) -> nw.LazyFrame:
    """Cents paid after the assignment, by horizon; whole cents, because their sum has no rounding."""
    both = payments.select("account_id", "paid_on", "amount").join(
        assigned.select("account_id", "assigned_on"), on="account_id", how="inner"
    )
    after = both.filter(nw.col("paid_on") > nw.col("assigned_on"))
    cents = (nw.col("amount").cast(nw.Float64) * 100).round(0).cast(nw.Int64)
    flows = after.with_columns(
        *(
            nw.when(nw.col("paid_on") <= limit).then(cents).otherwise(nw.lit(0)).alias(f"_cents_{h}")
            for h, limit in end.items()
        )
    )
    return flows.group_by("account_id").agg(*(nw.col(f"_cents_{h}").sum() for h in end))


def _cured(assigned: nw.LazyFrame, snapshots: nw.LazyFrame) -> nw.LazyFrame:
    """Days past due when last seen by the assignment, and when first seen current after it."""
    have = snapshots.collect_schema().names()
    status = ["status"] if "status" in have else []
    both = snapshots.select("account_id", "as_of", "days_past_due", *status).join(
        assigned.select("account_id", "assigned_on"), on="account_id", how="inner"
    )
    before = both.filter(nw.col("as_of") <= nw.col("assigned_on"))
    last = before.filter(nw.col("as_of") == nw.col("as_of").max().over("account_id"))
    state = last.group_by("account_id").agg(nw.col("days_past_due").max().alias("_past_due"))
    current = (nw.col("days_past_due") == 0) & (nw.col("as_of") > nw.col("assigned_on"))
    if status:
        current = current & nw.col("status").fill_null("open").is_in(["open", "closed"])
    cured = both.filter(current).group_by("account_id").agg(nw.col("as_of").min().alias("_cured_on"))
    return state.join(cured, on="account_id", how="left")
