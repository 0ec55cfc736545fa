"""Rows of a book's dated tables, ready to be counted: period, grouping columns, customer."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Any

import narwhals as nw
import pandas as pd

from collectlab.core import engine
from collectlab.core.columns import as_list, day_number, day_of, month_number, month_text
from collectlab.core.errors import FrameError, NotAvailable, first_few, nearest
from collectlab.core.jackknife import with_replicates
from collectlab.measures.groups import named
from collectlab.measures.ratios import Counts
from collectlab.measures.snapshots import as_date, by_month

Period = tuple[date | str, date | str] | None


def rows(
    book: Any, table: str, on: str, by: str | Sequence[str] | None, period: Period = None
) -> tuple[nw.LazyFrame, list[str]]:
    """A table of the book with ``__account``, ``__on`` (day number), ``__rep`` and ``__by0…``; and ``by``.

    ``by`` may name a column of the table or of ``accounts``, ``month`` (calendar month of ``on``), or
    ``team``, which falls back on the agency where a row has no team of the bank.
    """
    by = as_list(by)
    frame = book.table(table)
    engine.require(frame, "account_id", on)
    names = frame.collect_schema().names()
    accounts = book.table("accounts")
    have = accounts.collect_schema().names()
    columns, joined = {}, []
    for i, name in enumerate(by):
        if name == "month" and name not in names:
            columns[f"__by{i}"] = month_number(on)
        elif name == "team" and {"team", "agency"} & set(names):
            found = [nw.col(c).cast(nw.String) for c in ("team", "agency") if c in names]
            columns[f"__by{i}"] = nw.coalesce(*found)
        elif name in names:
            columns[f"__by{i}"] = nw.col(name)
        elif name in have:
            joined.append(nw.col(name).alias(f"__by{i}"))
        else:
            near = nearest(name, [*names, *have, "month"])
            hint = f" Did you mean {' or '.join(near)}?" if near else ""
            raise NotAvailable(f"this book has no column {name!r} in {table} or accounts.{hint}")
    frame = frame.with_columns(__account=nw.col("account_id"), __on=day_number(on), **columns)
    return within(_replicated(frame, accounts, *joined), "__on", period), by


def overdue_months(book: Any, period: Period = None) -> nw.LazyFrame:
    """Account-months overdue at the month's end: __account, __month, __dpd, __rep."""
    if period is not None:
        days_of(period)  # refuses what is no period
    start, end = period or (None, None)
    frame = by_month(book, start=start, end=end).filter((nw.col("dpd") > 0) & (nw.col("status") == "open"))
    frame = frame.select(
        account_id=nw.col("id"), __account=nw.col("id"), __month=nw.col("month"), __dpd=nw.col("dpd")
    )
    return _replicated(frame, book.table("accounts"))


def _replicated(frame: nw.LazyFrame, accounts: nw.LazyFrame, *columns: nw.Expr) -> nw.LazyFrame:
    """``frame`` with these columns of its accounts and the replicate group of its customers."""
    known = "customer_id" in accounts.collect_schema().names()
    customer = nw.col("customer_id").cast(nw.String) if known else nw.lit(None, nw.String)
    owners = accounts.select("account_id", *columns, __customer=customer)
    frame = frame.join(owners, on="account_id", how="left").with_columns(
        __customer=nw.coalesce(nw.col("__customer"), nw.col("account_id").cast(nw.String))
    )
    return with_replicates(frame, "__customer", name="__rep")


def within(frame: nw.LazyFrame, day: str, period: Period) -> nw.LazyFrame:
    """Rows whose day number lies in ``period`` (first and last day, both included; None: all)."""
    if period is None:
        return frame
    first, last = days_of(period)
    return frame.filter((nw.col(day) >= first) & (nw.col(day) <= last))


def days_of(period: Period) -> tuple[int, int]:
    """First and last day of a period as day numbers."""
    if not isinstance(period, (tuple, list)) or len(period) != 2:
        raise FrameError(f"period is {period!r}. Allowed: (first day, last day), or None for all.")
    first, last = (day_of(as_date(day)) for day in period)
    if first > last:
        raise FrameError(f"period ends ({period[1]}) before it begins ({period[0]}).")
    return first, last


def shown(counts: Counts, by: Sequence[str]) -> pd.DataFrame:
    """The groups under their own names, months as ``2026-10``, missing as "(missing)"."""
    groups = counts.groups
    for key, name in zip(groups.columns, by):
        if name == "month" and pd.api.types.is_numeric_dtype(groups[key]):
            groups = groups.assign(**{key: groups[key].map(month_text)})
    return named(groups, by)


def need_rows(counts: Counts, name: str, what: str) -> None:
    """Refuse in one line where nothing at all was counted."""
    if not counts[name].sum():
        raise NotAvailable(f"there are no {what} in this book or period.")


def need_column(frame: nw.LazyFrame, table: str, *columns: str) -> None:
    """One line where an optional column is missing."""
    names = frame.collect_schema().names()
    if gone := [c for c in columns if c not in names]:
        raise NotAvailable(f"this book's {table} have no {first_few(gone)}.")
