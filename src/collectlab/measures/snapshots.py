"""Snapshots by calendar month: what roll rates and the portfolio measures start from."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any

import narwhals as nw
import pandas as pd

from collectlab.book.schema import STATUSES
from collectlab.core.columns import as_list, distinct, month_number, whole_money
from collectlab.core.engine import collect, require, scan
from collectlab.core.errors import FrameError, NotAvailable, first_few
from collectlab.measures.groups import by_keys

#: Money is counted in whole hundredths, so that sums do not depend on the order of rows.
CENTS = 100


def is_book(source: Any) -> bool:
    """Whether ``source`` is a book rather than a frame of snapshots."""
    return hasattr(source, "table") and hasattr(source, "has")


def by_month(
    source: Any,
    *,
    by: str | Sequence[str] | None = None,
    money: Sequence[str] = (),
    account: str = "account_id",
    date: str = "as_of",
    dpd: str = "days_past_due",
    status: str = "status",
    start: dt.date | str | None = None,
    end: dt.date | str | None = None,
) -> nw.LazyFrame:
    """Each account's last snapshot of each calendar month, under internal names.

    ``source`` is a book or a frame of snapshots; ``by`` may name columns of the book's accounts as well.
    Columns returned: ``id, date, month`` (year · 12 + month − 1), ``dpd`` (≥ 0), ``status``, ``by0…``,
    ``money0…`` (whole cents, null where missing). Open rows without days past due are left out.
    """
    by = as_list(by)
    frame = checked(source, by=by, money=money, account=account, date=date, dpd=dpd)
    schema = frame.collect_schema()
    if status in schema:
        check_statuses(
            collect(distinct(frame.select(status=nw.col(status).cast(nw.String))))["status"], status
        )
    day = nw.col(date).cast(nw.Date)
    counter = nw.col(dpd)
    if schema[dpd].is_float():
        counter = nw.when(~counter.is_nan()).then(counter)
    rows = frame.select(
        nw.col(account).alias("id"),
        day.alias("date"),
        month_number(day).alias("month"),
        counter.cast(nw.Int64).alias("dpd"),
        (nw.col(status).cast(nw.String).fill_null("open") if status in schema else nw.lit("open")).alias(
            "status"
        ),
        *(nw.col(c).alias(key) for c, key in zip(by, by_keys(by))),
        *(whole_money(c, CENTS).alias(key) for c, key in zip(money, by_keys(money, "money"))),
    ).filter(~nw.col("date").is_null() & (~nw.col("dpd").is_null() | (nw.col("status") != "open")))
    for bound, keep in ((start, nw.col("date").__ge__), (end, nw.col("date").__le__)):
        if bound is not None:
            rows = rows.filter(keep(nw.lit(as_date(bound)).cast(nw.Date)))
    dates = collect(distinct(rows.select("date", "month")))
    if dates["month"].is_unique:  # as in a book of month ends: every row is the last of its month
        return rows
    last = rows.group_by("id", "month").agg(nw.col("date").max()).select("id", "date")
    return rows.join(last, on=["id", "date"], how="semi")


def checked(
    source: Any, *, by: Sequence[str], money: Sequence[str], account: str, date: str, dpd: str
) -> nw.LazyFrame:
    """The snapshots of a book, or the frame itself, if its columns can be used; the rows are not looked at."""
    frame = snapshots_of(source, by, account)
    require(frame, account, date, dpd, *by, *money)
    schema = frame.collect_schema()
    faults = [f"column {c!r} holds no values." for c in (date, dpd, *money) if schema[c] == nw.Unknown]
    if not faults and schema[date] not in (nw.Date, nw.Datetime):
        faults.append(f"column {date!r} is {schema[date]}. Allowed: dates or timestamps.")
    faults += [
        f"column {column!r} is {schema[column]}. Allowed: numbers."
        for column in (dpd, *money)
        if schema[column] != nw.Unknown and not schema[column].is_numeric()
    ]
    if faults:
        raise FrameError(faults)
    return frame


def check_statuses(found: pd.Series, status: str) -> None:
    """Refuse statuses that the book's contract does not know."""
    if unknown := sorted(set(found.dropna()) - set(STATUSES)):
        raise FrameError(f"column {status!r} holds {first_few(unknown)}. Allowed: {', '.join(STATUSES)}.")


def snapshots_of(source: Any, by: Sequence[str] = (), account: str = "account_id") -> nw.LazyFrame:
    """The snapshots of a book, with the columns of ``by`` that stand in its accounts; or the frame itself."""
    if not is_book(source):
        return scan(source)
    frame = source.table("snapshots")
    wanted = [c for c in by if c not in frame.collect_schema().names()]
    if not wanted:
        return frame
    accounts = source.table("accounts")
    if missing := [c for c in wanted if c not in accounts.collect_schema().names()]:
        raise NotAvailable(f"this book's accounts have no {first_few(missing)}.")
    return frame.join(accounts.select(account, *wanted), on=account, how="left")


def as_date(value: dt.date | str) -> dt.date:
    """A date, given as one or as text such as ``2026-10-31``."""
    if isinstance(value, str):
        try:
            return dt.date.fromisoformat(value)
        except ValueError as error:
            raise FrameError(f"{value!r} is no date. Allowed: a date, such as 2026-10-31.") from error
    return value.date() if isinstance(value, dt.datetime) else value


def at_date(source: Any, as_of: dt.date | str | None, **options: Any) -> tuple[nw.LazyFrame, dt.date]:
    """Each account's last snapshot of the month of ``as_of`` (default: the last month), and its last date."""
    rows = by_month(source, end=as_of, **options)
    last = collect(rows.select(nw.col("date").max(), nw.col("month").max()))
    if pd.isna(last["month"].iloc[0]):
        raise NotAvailable(f"there are no snapshots{'' if as_of is None else f' up to {as_of}'}.")
    day = pd.Timestamp(last["date"].iloc[0]).date()
    if as_of is not None:
        asked = as_date(as_of)
        if (asked.year, asked.month) != (day.year, day.month):
            raise NotAvailable(
                f"there are no snapshots in the month of {asked}; the last before are of {day}."
            )
    return rows.filter(nw.col("month") == int(last["month"].iloc[0])), day


def check_days(value: int, name: str = "over", what: str = "days past due") -> None:
    """Refuse what is no whole number of days or months from 1 up."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise FrameError(f"{name} is {value!r}. Allowed: whole {what} ≥ 1.")
