"""What a forecast starts from: accounts, amounts overdue and money paid by month and bucket, counted once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import narwhals as nw
import numpy as np
import pandas as pd

from collectlab.book.episodes import bucket_labels
from collectlab.core import engine
from collectlab.core.columns import flag, month_number, month_text, row_count, whole_money, whole_sum
from collectlab.core.engine import collect, same_engine
from collectlab.core.errors import FrameError, NotAvailable, first_few
from collectlab.core.jackknife import sums_at
from collectlab.measures.roll_count import ABSORBING, whole_bounds
from collectlab.measures.snapshots import CENTS, by_month, is_book

#: Lower bounds of the buckets, in days past due.
BUCKETS = (0, 1, 30, 60, 90, 120, 180)


@dataclass(frozen=True)
class History:
    """Accounts, amounts and payments by month; M months, B buckets, S = B + 5 states one month later.

    States are the buckets, then charged_off, settled, sold, closed, and last "not seen". Money is in whole cents.

    Attributes
    ----------
    months : int array (M,)
        The months with snapshots, as year · 12 + month − 1, rising; months may be missing in between.
    stock : int array (M, B)
        Open accounts by bucket at the month's end.
    moves : int array (M, B, S)
        Of those, how many were found in each state one month later. 0 where that month has no snapshots.
    due, due_moved : int arrays (M, B) and (M, B, S), or None
        Amount overdue at the month's end; and what the accounts that moved owed one month later.
    paid : int array (M, B), or None
        Money paid in the month after by the accounts of the bucket.
    paid_known : (int, int)
        The first and the last month of which payments are known.
    bounds : tuple of int
        Lower bounds of the buckets.
    """

    months: np.ndarray
    stock: np.ndarray
    moves: np.ndarray
    due: np.ndarray | None
    due_moved: np.ndarray | None
    paid: np.ndarray | None
    paid_known: tuple[int, int]
    bounds: tuple[int, ...]

    @property
    def labels(self) -> list[str]:
        """The buckets' names."""
        return list(bucket_labels(list(self.bounds)).values())

    @property
    def steps(self) -> np.ndarray:
        """Positions of the months that are followed by the next calendar month."""
        return np.flatnonzero(np.diff(self.months) == 1)

    @property
    def gaps(self) -> list[str]:
        """The calendar months between first and last that have no snapshot."""
        whole = np.arange(self.months[0], self.months[-1] + 1) if len(self.months) else []
        return [str(month_text(m)) for m in np.setdiff1d(whole, self.months)]

    def until(self, position: int) -> History:
        """What was known at the end of month ``months[position]``: nothing that happened later."""
        kept = position + 1
        cut = {}
        for name in ("moves", "due_moved", "paid"):
            values = getattr(self, name)
            if values is not None:
                values = values[:kept].copy()
                values[position] = 0
            cut[name] = values
        due = None if self.due is None else self.due[:kept]
        return replace(self, months=self.months[:kept], stock=self.stock[:kept], due=due, **cut)

    def series(self) -> pd.DataFrame:
        """What happened, one row a month: the measures that are forecast; missing where not known.

        Returns
        -------
        pandas.DataFrame
            Columns ``month`` (as text), ``past_due``, ``past_due_30`` (shares), ``charged_off`` (accounts in the
            month), and with amounts and payments ``amount_overdue`` and ``recovered``, in money.
        """
        late30 = [i for i, b in enumerate(self.bounds) if b >= 30]
        total = np.maximum(self.stock.sum(axis=1), 1)
        out = {
            "month": [str(month_text(m)) for m in self.months],
            "past_due": self.stock[:, 1:].sum(axis=1) / total,
            "past_due_30": self.stock[:, late30].sum(axis=1) / total,
        }
        before = np.full(len(self.months), -1)
        before[self.steps + 1] = self.steps
        known = before >= 0
        lost = self.moves[:, :, len(self.bounds)].sum(axis=1)
        out["charged_off"] = np.where(known, lost[before], np.nan)
        if self.due is not None:
            out["amount_overdue"] = self.due[:, 1:].sum(axis=1) / CENTS
        if self.paid is not None:
            known = known & (self.months >= self.paid_known[0]) & (self.months <= self.paid_known[1])
            out["recovered"] = np.where(known, self.paid[:, 1:].sum(axis=1)[before] / CENTS, np.nan)
        return pd.DataFrame(out)


def history(book: Any, *, buckets: Sequence[int] = BUCKETS) -> History:
    """Count a book's months for :func:`~collectlab.policy.forecast.forecast`.

    Each account counts with its last snapshot of a calendar month; a step is from one calendar month to the next.
    Money recovered is what accounts open and past due at the end of a month paid in the next calendar month;
    payments after charge-off are not in it.

    Parameters
    ----------
    book : Book or frame of snapshots
        A frame has no payments.
    buckets : sequence of int
        Rising lower bounds in days past due.

    Returns
    -------
    History

    Raises
    ------
    FrameError, NotAvailable
        A column is missing or of the wrong type; the buckets do not rise; an account stands twice on a day; there are
        no snapshots.

    Examples
    --------
    >>> import pandas as pd
    >>> snapshots = pd.DataFrame({
    ...     "account_id": [1, 1, 2, 2],
    ...     "as_of": pd.to_datetime(["2024-01-31", "2024-02-29"] * 2),
    ...     "days_past_due": [0, 0, 12, 41],
    ... })
    >>> counted = history(snapshots, buckets=(0, 1, 30))
    >>> counted.stock.tolist(), counted.moves[0, :, :3].tolist()
    ([[1, 1, 0], [1, 0, 1]], [[1, 0, 0], [0, 0, 1], [0, 0, 0]])
    """
    bounds = whole_bounds(buckets)
    if len(bounds) < 2:
        raise FrameError(f"buckets is {list(buckets)}. Allowed: at least one lower bound above 0.")
    snapshots = book.table("snapshots") if is_book(book) else engine.scan(book)
    money = ["amount_past_due"] if "amount_past_due" in snapshots.collect_schema().names() else []
    rows = by_month(book, money=money)
    rows = engine.computed(
        rows.select(
            "id",
            "month",
            state=_state(bounds),
            due=nw.max_horizontal(nw.col("money0").fill_null(0), nw.lit(0)) if money else nw.lit(0),
        )
    )
    b = len(bounds)
    later = rows.select("id", month=nw.col("month") - 1, to="state", due_to="due")
    now, later = same_engine(rows.filter(nw.col("state") < b), later)
    cells = collect(
        now.join(later, on=["id", "month"], how="left")
        .with_columns(to=nw.col("to").fill_null(b + len(ABSORBING)), due_to=nw.col("due_to").fill_null(0))
        .group_by("month", "state", "to")
        .agg(n=row_count(), due=whole_sum("due"), due_to=whole_sum("due_to"))
    )
    if cells.empty:
        raise NotAvailable("there are no snapshots of open accounts, so nothing can be forecast.")
    twice = collect(
        rows.group_by("id", "month")
        .agg(n=row_count())
        .filter(nw.col("n") > 1)
        .select("id")
        .sort("id")
        .head(6)
    )["id"]
    if len(twice):
        raise FrameError(
            f"accounts have several snapshots on one day (account {first_few(twice.astype(str).tolist())}). "
            "Allowed: one row an account and date; which one holds cannot be told."
        )
    seen = collect(rows.select("month").group_by("month").agg(n=row_count()))["month"]
    months = np.sort(seen.to_numpy(int))
    at = (np.searchsorted(months, cells["month"]), cells["state"].to_numpy(int), cells["to"].to_numpy(int))
    shape = (len(months), b, b + len(ABSORBING) + 1)
    n, due, due_to = (sums_at(at, cells[c], shape).astype(np.int64) for c in ("n", "due", "due_to"))
    stepped = np.isin(months + 1, months)[:, None, None]
    paid, paid_known = (
        _paid(book, now, months, b) if is_book(book) and book.has("payments") else (None, (0, 0))
    )
    return History(
        months=months,
        stock=n.sum(axis=2),
        moves=np.where(stepped, n, 0),
        due=due.sum(axis=2) if money and due.any() else None,
        due_moved=np.where(stepped, due_to, 0) if money and due.any() else None,
        paid=paid if paid is None else np.where(stepped[:, :, 0], paid, 0),
        paid_known=paid_known,
        bounds=tuple(bounds),
    )


def _paid(
    book: Any, now: nw.LazyFrame, months: np.ndarray, buckets: int
) -> tuple[np.ndarray | None, tuple[int, int]]:
    """Cents paid in the month after, by month and bucket of the account; and the months with payments."""
    payments = (
        book.table("payments")
        .filter(~nw.col("paid_on").is_null())
        .select(id="account_id", month=month_number("paid_on") - 1, cents=whole_money("amount", CENTS))
    )
    known = collect(payments.select(first=nw.col("month").min(), last=nw.col("month").max()))
    if known.empty or pd.isna(known["first"].iloc[0]):
        return None, (0, 0)
    by_account = payments.group_by("id", "month").agg(cents=whole_sum("cents"))
    now, by_account = same_engine(now, by_account)
    cells = collect(
        now.join(by_account, on=["id", "month"], how="inner")
        .group_by("month", "state")
        .agg(cents=whole_sum("cents"))
    )
    if cells.empty or cells.loc[cells["state"] > 0, "cents"].sum() <= 0:
        return None, (0, 0)
    at = (np.searchsorted(months, cells["month"]), cells["state"].to_numpy(int))
    paid = sums_at(at, cells["cents"], (len(months), buckets)).astype(np.int64)
    return paid, (
        int(known["first"].iloc[0]) + 1,
        int(known["last"].iloc[0]) + 1,
    )


def _state(bounds: Sequence[int]) -> nw.Expr:
    """The bucket of an open account, or the bucket count + the place of its status in ``ABSORBING``."""
    state = nw.lit(0)
    for low in bounds[1:]:
        state = state + flag((nw.col("dpd") >= low).fill_null(False))
    for i, name in enumerate(ABSORBING):
        state = nw.when(nw.col("status") == name).then(nw.lit(len(bounds) + i)).otherwise(state)
    return state
