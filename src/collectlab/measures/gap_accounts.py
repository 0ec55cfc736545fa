"""The KPIs of the accounts by cause: bad new loans, and the change of the delinquency rate."""

from __future__ import annotations

import datetime as dt
from typing import Any

import narwhals as nw

from collectlab.core import engine
from collectlab.core.columns import day_number, flag, month_number
from collectlab.core.errors import NotAvailable
from collectlab.measures.gap import Cells, counted, owned


def new_loans(book: Any, *, months: int = 6, over: int = 30) -> Cells:
    """The bad rate of new loans by cause, as :func:`collectlab.measures.portfolio.new_loan_bad_rate` judges them.

    Parameters
    ----------
    book : Book
        Its accounts must have ``originated_on``.
    months, over
        A loan is bad if it is ``over`` days past due within so many months of being granted.

    Returns
    -------
    Cells

    Examples
    --------
    >>> import pandas as pd
    >>> from collectlab.book.open import open_book
    >>> ends = [str(day)[:10] for day in pd.date_range("2025-03-31", periods=10, freq="ME")]
    >>> book = open_book({
    ...     "accounts": pd.DataFrame({"account_id": ["old", "new", "bad"],
    ...                               "originated_on": ["2024-05-01", "2025-04-10", "2025-04-20"]}),
    ...     "snapshots": pd.DataFrame({
    ...         "account_id": ["old"] * 10 + ["new"] * 9 + ["bad"] * 9, "as_of": ends + ends[1:] * 2,
    ...         "days_past_due": [0] * 19 + [0, 0, 20, 50, 0, 0, 0, 0, 0]})})
    >>> new_loans(book).table[["n", "top"]].sum().tolist()
    [2.0, 1.0]
    """
    accounts, snapshots = book.table("accounts"), book.table("snapshots")
    if "originated_on" not in accounts.collect_schema().names():
        raise NotAvailable("this book's accounts have no originated_on.")
    columns = snapshots.collect_schema().names()
    status = nw.col("status").cast(nw.String).fill_null("open") if "status" in columns else nw.lit("open")
    span = engine.collect(snapshots.select(first=month_number("as_of").min(), last=day_number("as_of").max()))
    if span["last"].isna().any():
        raise NotAvailable("there are no snapshots.")
    opened = nw.col("originated_on").cast(nw.Date)
    quarter = (month_number("originated_on") // 3).alias("__quarter")
    # whole quarters only: from the first that lies in the book to the last whose loans are all old enough
    ended = ((quarter + 1) * 3 + months - 1).alias("__ripe")
    loans = accounts.with_columns(quarter, ended, __until=opened.dt.offset_by(f"{months}mo").cast(nw.Date))
    loans = loans.filter(
        (nw.col("__quarter") * 3 >= int(span["first"][0]))
        & (nw.col("__ripe") <= _last_month(int(span["last"][0])))
    )
    bad = ((nw.col("days_past_due") >= over) & (nw.col("__status") == "open")).fill_null(False) | (
        nw.col("__status") == "charged_off"
    )
    seen = (
        snapshots.select("account_id", "days_past_due", __date=nw.col("as_of").cast(nw.Date), __status=status)
        .join(loans.select("account_id", "__until"), on="account_id", how="inner")
        .filter(nw.col("__date") <= nw.col("__until"))
        .with_columns(__bad=flag(bad))
        .group_by("account_id")
        .agg(__bad=nw.col("__bad").max())
    )
    name = nw.concat_str([
        (nw.col("__quarter") // 4).cast(nw.String), nw.lit(" Q"), (nw.col("__quarter") % 4 + 1).cast(nw.String)
    ])  # fmt: skip
    rows = loans.join(seen, on="account_id", how="left").select(
        "account_id", cohort=name, period=nw.lit("now"), __top=nw.col("__bad").fill_null(0), __base=nw.lit(1)
    )
    rows = owned(book, rows)
    pair = [c for c in ("product", "origination_channel") if c in rows.collect_schema().names()]
    crossed = tuple(x for x in (tuple(pair), (*pair, "cohort")) if len(x) > 1)
    return counted(rows, extra=("cohort",), crossed=crossed, unit="loans", rare=True)


def delinquency(book: Any, *, months: int = 6, over: int = 1) -> Cells:
    """The delinquency rate now and ``months`` before, by cause: open accounts past due at the month's end.

    Parameters
    ----------
    book : Book
        With the snapshots of both months.
    months, over
        Length of the change; days past due.

    Returns
    -------
    Cells

    Examples
    --------
    >>> import pandas as pd
    >>> from collectlab.book.open import open_book
    >>> book = open_book({
    ...     "accounts": pd.DataFrame({"account_id": ["a", "b"]}),
    ...     "snapshots": pd.DataFrame({"account_id": ["a", "b"] * 2, "as_of": ["2026-02-28"] * 2 + ["2026-08-31"] * 2,
    ...                                "days_past_due": [0, 5, 3, 9]})})
    >>> delinquency(book).table.groupby("period")["top"].sum().to_dict()
    {'before': 1.0, 'now': 2.0}
    """
    snapshots = book.table("snapshots")
    columns = snapshots.collect_schema().names()
    month = month_number("as_of")
    last = engine.collect(snapshots.select(m=month.max()))["m"]
    if last.isna().any():
        raise NotAvailable("there are no snapshots.")
    now = int(last[0])
    rows = snapshots.with_columns(__month=month).filter(nw.col("__month").is_in([now, now - months]))
    rows = rows.unique(subset=["account_id", "__month"], keep="last", order_by=["as_of"])
    if "status" in columns:
        rows = rows.filter(nw.col("status").cast(nw.String).fill_null("open") == "open")
    rows = rows.select(
        "account_id",
        period=nw.when(nw.col("__month") == now).then(nw.lit("now")).otherwise(nw.lit("before")),
        __top=flag(nw.col("days_past_due") >= over),
        __base=nw.lit(1),
    )
    cells = counted(owned(book, rows), unit="accounts", kind="change")
    if not (cells.table["period"] == "before").any():
        raise NotAvailable(f"the book has no snapshot of {months} months before.")
    return cells


def _last_month(day: int) -> int:
    """The last month (year · 12 + month − 1) that the book reaches the end of."""
    date = dt.date(1900, 1, 1) + dt.timedelta(days=day)
    ahead = date + dt.timedelta(days=1)
    return ahead.year * 12 + ahead.month - 2
