"""Rows behind the figures of a bridge: who, in which segment, how much of how much."""

from __future__ import annotations

import calendar
import datetime as dt
from collections.abc import Sequence
from typing import Any

import narwhals as nw
import numpy as np
import pandas as pd

from collectlab.book.episodes import seen_again
from collectlab.book.open import Book
from collectlab.core import engine
from collectlab.core.columns import month_number, whole_money, whole_sum
from collectlab.core.engine import same_engine
from collectlab.core.errors import FrameError, NotAvailable, first_few
from collectlab.core.jackknife import GROUPS, sums_at, with_replicates
from collectlab.measures.bridge_math import Tally, ratio_of_sums
from collectlab.measures.flows import EPISODE, UNIT
from collectlab.measures.groups import by_keys, distinct_groups, group_codes
from collectlab.measures.snapshots import CENTS, at_date, by_month, check_days, is_book

#: More segments than this are no explanation.
MAX_SEGMENTS = 200


def keyed(rows: nw.LazyFrame, segments: Sequence[str], who: nw.Expr, **columns: nw.Expr) -> nw.LazyFrame:
    """Segments as ``by0…``, the customer's replicate group ``__rep`` and the columns under ``__name``."""
    picked = rows.select(
        *(nw.col(c).alias(k) for c, k in zip(segments, by_keys(segments))),
        __id=who.cast(nw.String),
        **{f"__{name}": column for name, column in columns.items()},
    )
    return with_replicates(picked, "__id", name="__rep")


def tallied(rows: nw.LazyFrame, segments: Sequence[str]) -> Tally:
    """Sums of ``__top`` and ``__base`` by segment and replicate group."""
    keys = by_keys(segments)
    if "__rep" not in rows.collect_schema().names():
        rows = with_replicates(rows, "__id", name="__rep")
    cells = engine.collect(
        rows.select(*keys, "__rep", nw.col("__top").cast(nw.Int64), nw.col("__base").cast(nw.Int64))
        .group_by(*keys, "__rep")
        .agg(whole_sum("__top").alias("__top"), whole_sum("__base").alias("__base"))
    )
    if cells.empty or not cells["__base"].sum():
        raise NotAvailable("there is nothing to take a share of.")
    found, code = segments_of(cells, segments)
    where = (cells["__rep"].to_numpy(int), code)
    sums = [sums_at(where, cells[c], (GROUPS, len(found))) for c in ("__top", "__base")]
    return Tally(found, np.stack(sums, axis=1), ratio_of_sums)


def segments_of(
    cells: pd.DataFrame, segments: Sequence[str], columns: Sequence[str] | None = None
) -> tuple[pd.DataFrame, np.ndarray]:
    """The segments found under ``by0…``, and each row's; too many are refused."""
    columns, keys = list(columns or by_keys(segments)), by_keys(segments)
    groups = distinct_groups(cells, columns)
    if len(groups) > MAX_SEGMENTS:
        raise FrameError(
            f"segments={first_few(segments)} makes {len(groups):,} segments. Allowed: up to {MAX_SEGMENTS}; "
            "a bridge by accounts or days explains nothing."
        )
    code = group_codes(cells, groups, columns)
    return (groups.set_axis(keys, axis=1) if keys else groups), code


def customer(source: Any, table: str) -> str:
    """The column that says whose an account is."""
    if is_book(source):
        have = [*source.columns(table), *source.columns("accounts")] if isinstance(source, Book) else []
    else:
        have = engine.scan(source).collect_schema().names()
    return "customer_id" if "customer_id" in have else "account_id"


def begun(
    book: Any, at: dt.date | None, definition: str, months: int, columns: Sequence[str], kept: dict
) -> nw.LazyFrame:
    """Episodes that began in the calendar months up to ``at`` and were seen again since; found once a book."""
    check_days(months, "months", "months")
    at = at or book.as_of
    key = (id(book), definition)
    if key not in kept:
        spells = book.episodes(definition)
        names = spells.collect_schema().names()
        engine.require(spells, *columns)
        used = dict.fromkeys([*EPISODE, "seen_day", *columns])
        spells = seen_again(spells)
        kept[key] = engine.computed(spells.select([c for c in used if c in names]))
    first = month_of(at) - months + 1
    began = month_number("started_on")
    return kept[key].filter((began >= first) & (nw.col("started_on") <= nw.lit(at).cast(nw.Date)))


def month_of(at: dt.date) -> int:
    return at.year * 12 + at.month - 1


def month_before(at: dt.date) -> dt.date:
    year, month = divmod(month_of(at) - 1, 12)
    return dt.date(year, month + 1, calendar.monthrange(year, month + 1)[1])


def month_end(source: Any, at: dt.date | None, by: Sequence[str], money: Sequence[str]) -> nw.LazyFrame:
    """Each account's last snapshot of the month of ``at``; only that month's rows are read."""
    if at is None:
        return at_date(source, None, by=by, money=money)[0]
    return by_month(source, start=at.replace(day=1), end=at, by=by, money=money)


def paid_in_month(book: Any, at: dt.date | None, segments: Sequence[str], over: int) -> nw.LazyFrame:
    """One row per account past due at the end of the month before: ``__base`` owed, ``__top`` paid, in 1/UNIT."""
    if not is_book(book):
        raise FrameError("money recovered in a month needs a book: snapshots, payments and accounts.")
    if "amount_past_due" not in book.columns("snapshots"):
        raise NotAvailable("the book's snapshots have no amount_past_due, so what was owed is not known.")
    at = at or book.as_of
    who = customer(book, "snapshots")
    owed = month_end(book, month_before(at), [*segments, who], ["amount_past_due"])
    owed = owed.filter((nw.col("status") == "open") & (nw.col("dpd") >= over) & (nw.col("money0") > 0))
    payments = book.table("payments")
    paid = (
        payments.filter(month_number("paid_on") == month_of(at))
        .select(id=nw.col("account_id"), __paid=whole_money("amount", UNIT))
        .group_by("id")
        .agg(__paid=whole_sum("__paid"))
    )
    owed, paid = same_engine(owed, paid)
    base = nw.col("money0") * (UNIT // CENTS)
    return owed.join(paid, on="id", how="left").select(
        *by_keys(segments),
        __id=nw.col(f"by{len(segments)}").cast(nw.String),
        __base=base,
        __top=nw.min_horizontal(nw.col("__paid").fill_null(0), base),
    )


def overdue_words(over: int) -> str:
    return "past due" if over == 1 else f"{over} days or more past due"
