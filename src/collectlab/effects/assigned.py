"""The experiment that a book holds: who was assigned to what at random, and what followed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import narwhals as nw
import numpy as np

from collectlab.core.columns import whole_money, whole_sum
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
        one put under two strategies on that day is left out. ``payments``, ``actions`` with a ``cost``, and
        ``complaints`` where there.
    horizons : sequence of int
        Whole days after the day of assignment.

    Returns
    -------
    narwhals.LazyFrame
        account_id, strategy, assigned_on, block, propensity, and for each horizon h, all days after the
        assignment up to and including day h: ``paid_within_h`` (paid anything), ``paid_in_full_within_h`` (paid at
        least the amount past due in the last snapshot on or before the assignment; missing where that is
        unknown or nothing was past due), ``amount_within_h`` (money paid) and ``current_after_h`` (not past due
        in the last snapshot of those days; missing without one). The day of the assignment itself counts in what
        the strategy does: ``cost_within_h`` (money spent on actions), ``complaints_within_h`` (number), and in
        ``net_within_h`` (amount less cost). All are missing where the book ends before day h. The account's
        other columns follow.

        These are outcomes of everybody assigned, past due or not: whoever leaves some out by what
        happened after the draw compares other people in each arm.

    Raises
    ------
    NotAvailable
        No assignments, or none at random.

    Examples
    --------
    >>> import pandas as pd
    >>> from collectlab.book.open import open_book
    >>> book = open_book({
    ...     "accounts": pd.DataFrame({"account_id": ["a", "b"]}),
    ...     "snapshots": pd.DataFrame({"account_id": ["a", "b"], "as_of": "2026-03-31", "days_past_due": [0, 20]}),
    ...     "payments": pd.DataFrame({"account_id": ["a"], "paid_on": ["2026-01-20"], "amount": [50.0]}),
    ...     "assignments": pd.DataFrame({"account_id": ["a", "b"], "strategy": ["letter", "none"],
    ...                                  "assigned_on": "2026-01-01", "randomised": True})})
    >>> frame = experiment_frame(book, horizons=[30]).sort("account_id").collect("pandas").to_native()
    >>> frame[["account_id", "strategy", "paid_within_30", "amount_within_30"]].values.tolist()
    [['a', 'letter', 1, 50.0], ['b', 'none', 0, 0.0]]
    """
    days = sorted(set(horizons))
    if not days or any(not isinstance(h, (int, np.integer)) or h < 1 for h in days):
        raise FrameError(f"horizons are {first_few(list(horizons)) or 'empty'}. Allowed: whole days ≥ 1.")
    assigned = materialise(first_assignments(book.table("assignments")))
    if not int(collect(assigned.select(n=nw.len()))["n"].iloc[0]):
        raise NotAvailable("no account was assigned at random: the assignments show no experiment.")
    end = {h: nw.col("assigned_on").dt.offset_by(f"{h}d") for h in days}
    seen = {h: end[h] <= nw.lit(book.as_of) for h in days}
    frame = assigned
    if book.has("payments"):
        paid = whole_money("amount"), nw.col("paid_on")
        sums = _sums(assigned, book.table("payments"), *paid, end, "_paid", after=True)
        frame = frame.join(sums, on="account_id", how="left")
        amount = {h: nw.col(f"_paid_{h}").fill_null(0) for h in days}
        frame = frame.with_columns(
            *(nw.when(seen[h]).then((amount[h] > 0).cast(nw.Int64)).alias(f"paid_within_{h}") for h in days),
            *(nw.when(seen[h]).then(_money(amount[h])).alias(f"amount_within_{h}") for h in days),
        )
        if "amount_past_due" in book.columns("snapshots"):
            owed = _past_due(assigned, book.table("snapshots"))
            frame = frame.join(owed, on="account_id", how="left")
            # Where nothing was past due, the comparison with a missing amount leaves the flag missing.
            full = {h: (amount[h] >= nw.col("_owed")).cast(nw.Int64) for h in days}
            frame = frame.with_columns(
                nw.when(seen[h]).then(full[h]).alias(f"paid_in_full_within_{h}") for h in days
            ).drop("_owed")
    if book.has("actions") and "cost" in book.columns("actions"):
        spent = whole_money("cost"), nw.col("at").cast(nw.Date)
        sums = _sums(assigned, book.table("actions"), *spent, end, "_cost")
        frame = frame.join(sums, on="account_id", how="left")
        cost = {h: nw.col(f"_cost_{h}").fill_null(0) for h in days}
        frame = frame.with_columns(
            nw.when(seen[h]).then(_money(cost[h])).alias(f"cost_within_{h}") for h in days
        )
        if book.has("payments"):
            frame = frame.with_columns(
                nw.when(seen[h]).then(_money(amount[h] - cost[h])).alias(f"net_within_{h}") for h in days
            )
        frame = frame.drop([f"_cost_{h}" for h in days])
    if book.has("payments"):
        frame = frame.drop([f"_paid_{h}" for h in days])
    if book.has("complaints"):
        one = nw.lit(1, nw.Int64), nw.col("at").cast(nw.Date)
        sums = _sums(assigned, book.table("complaints"), *one, end, "_complaints")
        frame = frame.join(sums, on="account_id", how="left")
        number = {h: nw.col(f"_complaints_{h}") for h in days}
        frame = frame.with_columns(
            nw.when(seen[h]).then(number[h].fill_null(0)).alias(f"complaints_within_{h}") for h in days
        ).drop([f"_complaints_{h}" for h in days])
    frame = frame.join(_current(assigned, book.table("snapshots"), end), on="account_id", how="left")
    frame = frame.with_columns(
        *(nw.when(seen[h]).then(nw.col(f"_state_{h}")).alias(f"current_after_{h}") for h in days)
    ).drop([f"_state_{h}" for h in days])
    accounts = book.table("accounts")
    have = set(frame.collect_schema().names())
    extra = [c for c in accounts.collect_schema().names() if c not in have]
    return materialise(frame.join(accounts.select("account_id", *extra), on="account_id", how="left"))


def first_assignments(assignments: nw.LazyFrame) -> nw.LazyFrame:
    """Each account's first random assignment; accounts under two strategies on that day are left out."""
    have = assignments.collect_schema().names()
    if "randomised" not in have:
        raise NotAvailable("assignments has no column 'randomised': a choice cannot be told from a draw.")
    drawn = assignments.filter(nw.col("randomised").fill_null(False))
    drawn = drawn.filter(nw.col("assigned_on") == nw.col("assigned_on").min().over("account_id"))
    more = [nw.col(c).min() for c in ("block", "propensity") if c in have]
    first = drawn.group_by("account_id", "assigned_on").agg(
        nw.col("strategy").min(), nw.col("strategy").max().alias("_other"), *more
    )
    return first.filter(nw.col("strategy") == nw.col("_other")).drop("_other")


def _past_due(assigned: nw.LazyFrame, snapshots: nw.LazyFrame) -> nw.LazyFrame:
    """account_id and ``_owed``: cents past due in the last snapshot on or before the draw; none where 0 or unknown."""
    both = snapshots.select("account_id", "as_of", _cents=whole_money("amount_past_due")).join(
        assigned.select("account_id", "assigned_on"), on="account_id", how="inner"
    )
    both = both.filter(nw.col("as_of") <= nw.col("assigned_on"))
    last = both.filter(nw.col("as_of") == nw.col("as_of").max().over("account_id"))
    return last.filter(nw.col("_cents") > 0).group_by("account_id").agg(nw.col("_cents").max().alias("_owed"))


def _sums(
    assigned: nw.LazyFrame,
    events: nw.LazyFrame,
    value: nw.Expr,
    on: nw.Expr,
    end: dict[int, nw.Expr],
    name: str,
    after: bool = False,
) -> nw.LazyFrame:
    """Sums of whole numbers from the assignment (or the day after) to each horizon; whole, so that none is rounded."""
    both = events.select("account_id", _on=on, _value=value).join(
        assigned.select("account_id", "assigned_on"), on="account_id", how="inner"
    )
    start = nw.col("assigned_on")
    both = both.filter(nw.col("_on") > start if after else nw.col("_on") >= start)
    flows = both.with_columns(
        nw.when(nw.col("_on") <= limit).then(nw.col("_value")).otherwise(nw.lit(0)).alias(f"{name}_{h}")
        for h, limit in end.items()
    )
    return flows.group_by("account_id").agg(*(whole_sum(f"{name}_{h}").alias(f"{name}_{h}") for h in end))


def _money(cents: nw.Expr) -> nw.Expr:
    return cents.cast(nw.Float64) / 100


def _current(assigned: nw.LazyFrame, snapshots: nw.LazyFrame, end: dict[int, nw.Expr]) -> nw.LazyFrame:
    """Whether the last snapshot after the assignment and by day h shows the account current."""
    status = ["status"] if "status" in snapshots.collect_schema().names() else []
    both = snapshots.select("account_id", "as_of", "days_past_due", *status).join(
        assigned.select("account_id", "assigned_on"), on="account_id", how="inner"
    )
    current = nw.col("days_past_due") == 0
    if status:
        current = current & nw.col("status").fill_null("open").is_in(["open", "closed"])
    both = both.filter(nw.col("as_of") > nw.col("assigned_on")).with_columns(
        current.cast(nw.Int64).alias("_current"),
        *(
            nw.when(nw.col("as_of") <= limit).then(nw.col("as_of")).alias(f"_seen_{h}")
            for h, limit in end.items()
        ),
    )
    last = both.group_by("account_id").agg(*(nw.col(f"_seen_{h}").max().alias(f"_last_{h}") for h in end))
    both = both.join(last, on="account_id", how="left").with_columns(
        *(
            nw.when(nw.col(f"_seen_{h}") == nw.col(f"_last_{h}"))
            .then(nw.col("_current"))
            .alias(f"_state_{h}")
            for h in end
        )
    )
    return both.group_by("account_id").agg(*(nw.col(f"_state_{h}").max() for h in end))
