"""From a cohort to what policy changes are read from: branches by month, the bank by month, days of payment."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import narwhals as nw
import numpy as np
import pandas as pd

from collectlab.core.columns import (
    day_number,
    distinct,
    flag,
    month_number,
    whole_money,
    whole_sum,
)
from collectlab.core.engine import collect, materialise, require, same_engine, scan
from collectlab.core.errors import FrameError, NotAvailable, first_few

if TYPE_CHECKING:
    from collectlab.book.open import Book

__all__ = ["branch_months", "never_drawn", "payment_days", "series_months"]


def branch_months(
    rows: Any,
    *,
    outcome: str = "cured_within_60",
    within: int | None = None,
    by: str = "branch",
    since: Mapping[str, dt.date | str | None] | None = None,
    started: str = "started_on",
    followed: str = "followed",
    fewest: int = 1,
) -> pd.DataFrame:
    """Mean outcome of the episodes begun in each month, by branch: the panel for :func:`differences`.

    A month is used once it is mature: every episode begun in it, in any branch, has been followed as long as the outcome
    needs. The months at the start in which episodes are known only if they lasted are no part of
    :func:`~collectlab.effects.cohort.cohort`.

    Parameters
    ----------
    rows : frame
        One row per episode, as :func:`~collectlab.effects.cohort.cohort` gives them with ``first_only=False``.
    outcome : str
        Column with a number or 0/1; missing where the episode was not followed long enough.
    within : int, optional
        Days of follow-up the outcome needs; default the number its name ends in.
    by : str
        Column with the branch.
    since : mapping, optional
        Branch → first day with the change, None for never. The first whole month under the change is then
        ``treated_from``; a month with the change in the middle of it is left out for that branch.
    started : str
        Column with the day the episode began.
    followed : str
        Column with the days it could be followed.
    fewest : int
        Cells with fewer episodes are left out.

    Returns
    -------
    pandas.DataFrame
        ``by``, ``month`` (its first day), ``outcome``, ``episodes``, and ``treated_from`` where ``since`` is given; sorted.

    Raises
    ------
    FrameError
        A column is missing; ``since`` names a branch that is not there, or leaves one out; no month is mature.

    Examples
    --------
    >>> import pandas as pd
    >>> rows = pd.DataFrame({"branch": ["A", "A", "B"], "started_on": pd.to_datetime(["2026-01-05", "2026-01-20", "2026-01-09"]),
    ...                      "followed": [90, 80, 85], "cured_within_60": [1, 0, 1]})
    >>> branch_months(rows, since={"A": "2026-02-01", "B": None}).astype(str).values.tolist()
    [['A', '2026-01-01', '0.5', '2', '2026-02-01'], ['B', '2026-01-01', '1.0', '1', 'NaT']]
    """
    table = _months(rows, outcome, within, [by], started, followed)
    if since is None:
        return table[table["episodes"] >= fewest].reset_index(drop=True)
    given = {str(name): _day(day, name) for name, day in since.items()}
    here = sorted(table[by].unique())
    faults = []
    if strange := [n for n in given if n not in here]:
        faults.append(
            f"since names {first_few(strange)}, which {by} does not hold. Values there: {first_few(here, 20)}."
        )
    if unsaid := [n for n in here if n not in given]:
        faults.append(
            f"since does not say about {first_few(unsaid)}. Allowed: a day for each {by}, or None for never."
        )
    if faults:
        raise FrameError(faults)
    first = {n: _whole_month(day) for n, day in given.items()}
    table["treated_from"] = pd.to_datetime(table[by].map(first))
    # The month in which the change came is neither with it nor without.
    split = {n: day is not None and day.day > 1 and day.replace(day=1) for n, day in given.items()}
    mixed = table["month"] == pd.to_datetime(table[by].map({n: d or None for n, d in split.items()}))
    return table[~mixed & (table["episodes"] >= fewest)].reset_index(drop=True)


def series_months(
    rows: Any,
    *,
    outcome: str = "cured_within_60",
    within: int | None = None,
    started: str = "started_on",
    followed: str = "followed",
) -> pd.DataFrame:
    """Mean outcome of the episodes begun in each month, over the bank: the series for :func:`interrupted_series`.

    Parameters
    ----------
    rows, outcome, within, started, followed
        As in :func:`branch_months`.

    Returns
    -------
    pandas.DataFrame
        ``month`` (its first day), ``outcome``, ``episodes``; sorted.

    Examples
    --------
    >>> import pandas as pd
    >>> rows = pd.DataFrame({"started_on": pd.to_datetime(["2026-01-05", "2026-02-20"]), "followed": [90, 45],
    ...                      "cured_within_60": [1, None]})
    >>> series_months(rows).astype(str).values.tolist()
    [['2026-01-01', '1.0', '1']]
    """
    return _months(rows, outcome, within, [], started, followed)


def _months(
    rows: Any, outcome: str, within: int | None, by: list[str], started: str, followed: str
) -> pd.DataFrame:
    lazy = scan(rows)
    require(lazy, outcome, *by, started, followed)
    needed = _needed(outcome, within)
    value = nw.col(outcome).cast(nw.Float64)
    known = ~value.is_null() & ~value.is_nan()
    picked = lazy.select(
        *(nw.col(c).cast(nw.String) for c in by),
        __month=month_number(started),
        __known=flag(known),
        # Four digits: shares and money in hundredths add up without rounding.
        __value=whole_money(outcome, 10_000),
        __followed=nw.col(followed),
    )
    cells = collect(
        picked.group_by(*by, "__month").agg(
            episodes=whole_sum("__known"),
            total=whole_sum("__value"),
            shortest=nw.col("__followed").min(),
        )
    )
    if cells.empty or not cells["episodes"].sum():
        raise FrameError(f"no episode has {outcome}: the book does not reach far enough, or there is none.")
    shortest = cells.groupby("__month")["shortest"].min()
    mature = shortest.index[shortest >= needed]
    cells = cells[cells["__month"].isin(mature) & (cells["episodes"] > 0)]
    if by:
        cells = cells.dropna(subset=by)
    if cells.empty:
        raise FrameError(
            f"no month is mature: {outcome} needs {needed:g} days of follow-up after every episode of a month."
        )
    cells = cells.sort_values([*by, "__month"], ignore_index=True)
    month = pd.to_datetime([dt.date(int(m) // 12, int(m) % 12 + 1, 1) for m in cells["__month"]])
    return pd.DataFrame(
        {
            **{c: cells[c].astype(str) for c in by},
            "month": month,
            outcome: cells["total"].to_numpy(float) / 10_000 / cells["episodes"].to_numpy(float),
            "episodes": cells["episodes"].astype("int64"),
        }
    )


def _needed(outcome: str, within: int | None) -> int:
    """Days of follow-up the outcome needs: those given, else what its name ends in."""
    tail = outcome.rpartition("_")[2]
    if within is None and not tail.isdigit():
        raise FrameError(
            f"{outcome!r} does not say within how many days. Allowed: a name such as cured_within_60, or within=60."
        )
    return int(tail) if within is None else within


def _day(day: dt.date | str | None, name: str) -> dt.date | None:
    if day is None or day is pd.NaT or (isinstance(day, float) and np.isnan(day)):
        return None
    read = pd.to_datetime(day, errors="coerce")
    if pd.isna(read):
        raise FrameError(f"since[{name!r}] is {day!r}. Allowed: a date, or None for never.")
    return read.date()


def _whole_month(day: dt.date | None) -> dt.date | None:
    if day is None or day.day == 1:
        return day
    return dt.date(day.year + day.month // 12, day.month % 12 + 1, 1)


def never_drawn(book: Book, rows: Any) -> nw.LazyFrame:
    """The rows of accounts that were never assigned at random: those a policy outside the tests applies to.

    Parameters
    ----------
    book : Book
    rows : frame
        With ``account_id``.

    Returns
    -------
    narwhals.LazyFrame

    Examples
    --------
    >>> import pandas as pd
    >>> from collectlab.book.open import open_book
    >>> book = open_book({
    ...     "accounts": pd.DataFrame({"account_id": ["a", "b"]}),
    ...     "snapshots": pd.DataFrame({"account_id": ["a", "b"], "as_of": "2026-03-31", "days_past_due": [0, 20]}),
    ...     "assignments": pd.DataFrame({"account_id": ["a"], "strategy": ["new"], "assigned_on": ["2026-01-01"],
    ...                                  "randomised": [True]})})
    >>> never_drawn(book, pd.DataFrame({"account_id": ["a", "b"]})).collect("pandas")["account_id"].to_list()
    ['b']
    """
    lazy = scan(rows)
    require(lazy, "account_id")
    if not book.has("assignments") or "randomised" not in book.columns("assignments"):
        return lazy
    drawn = book.table("assignments").filter(nw.col("randomised").fill_null(False)).select("account_id")
    lazy, drawn = same_engine(lazy, distinct(drawn))
    return lazy.join(drawn, on="account_id", how="anti")


def payment_days(book: Book, episodes: Any = None, *, definition: str = "current_once") -> nw.LazyFrame:
    """Episodes up to their first payment, which is dated to the day: for :func:`stage_jump` on monthly snapshots.

    An episode counts from the day after it was first seen past due (those that ended sooner are not in the book) to its
    first payment after that; else to the day it was last seen open.

    Parameters
    ----------
    book : Book
        With ``payments``.
    episodes : frame, optional
        As :meth:`Book.episodes` gives them; default: those of ``definition``.
    definition : str
        What cured means.

    Returns
    -------
    narwhals.LazyFrame
        account_id, episode, ``entry_day``, ``seen_day``, ``exit_day``, ``outcome`` (``paid``, ``censored``).

    Raises
    ------
    NotAvailable
        The book has no payments.

    Examples
    --------
    >>> import pandas as pd
    >>> from collectlab.book.open import open_book
    >>> book = open_book({
    ...     "accounts": pd.DataFrame({"account_id": ["a"]}),
    ...     "snapshots": pd.DataFrame({"account_id": "a", "days_past_due": [0, 20, 48, 0],
    ...                                "as_of": ["2026-01-31", "2026-02-28", "2026-03-28", "2026-04-30"]}),
    ...     "payments": pd.DataFrame({"account_id": ["a"], "paid_on": ["2026-04-02"], "amount": [50.0]})})
    >>> payment_days(book).select("entry_day", "exit_day", "outcome").collect("pandas").to_native().values.tolist()
    [[20, 53, 'paid']]
    """
    if not book.has("payments"):
        raise NotAvailable("the book has no payments, and its cures are dated by snapshots only.")
    spells = scan(book.episodes(definition=definition) if episodes is None else episodes)
    payments = book.table("payments").select("account_id", "paid_on")
    spells, payments = same_engine(spells, payments)
    spells = spells.filter(nw.col("exit_day") > nw.col("first_seen_day"))
    both = spells.select("account_id", "episode", "started_on", "first_seen_day", "exit_day").join(
        payments, on="account_id", how="inner"
    )
    both = both.with_columns(paid=day_number("paid_on") - day_number("started_on"))
    both = both.filter((nw.col("paid") > nw.col("first_seen_day")) & (nw.col("paid") <= nw.col("exit_day")))
    first = both.group_by("account_id", "episode").agg(paid=nw.col("paid").min())
    joined = spells.join(first, on=["account_id", "episode"], how="left")
    paid = ~nw.col("paid").is_null()
    last = nw.when(nw.col("outcome") == "censored").then(nw.col("exit_day")).otherwise(nw.col("seen_day"))
    end = nw.when(paid).then(nw.col("paid")).otherwise(last)
    return materialise(
        joined.select(
            "account_id",
            "episode",
            entry_day=nw.col("first_seen_day"),
            seen_day=nw.when(paid).then(end - 1).otherwise(end),
            exit_day=end,
            outcome=nw.when(paid).then(nw.lit("paid")).otherwise(nw.lit("censored")),
        )
    )
