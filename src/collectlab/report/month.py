"""The month a report is about: the book as it was known then, and what every chapter counts from."""

from __future__ import annotations

import calendar
import datetime as dt
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import narwhals as nw
import pandas as pd

from collectlab.book.episodes import seen_again
from collectlab.book.open import Book, open_book
from collectlab.book.shelf import result_on
from collectlab.core import engine
from collectlab.core.columns import day_number
from collectlab.core.errors import NotAvailable, ParamsError, ReportError

#: Chapters look back this far; longer histories show in the trends only.
WINDOW_MONTHS = 12

#: Where in the folder of a run its notebooks keep what they count for one another.
SHELF = Path(".scratch", "shelf")

#: Names a folder through which notebooks that are run one by one share what they count, as those of a run do.
SHELF_VARIABLE = "COLLECTLAB_SHELF"

#: Measures from day 0 are made only where at least this share of the episodes was seen from then on.
SEEN_FROM_START = 0.1


def month_bounds(month: str) -> tuple[dt.date, dt.date]:
    """First and last day of ``"2026-10"``.

    >>> month_bounds("2026-02")
    (datetime.date(2026, 2, 1), datetime.date(2026, 2, 28))
    """
    if not re.fullmatch(r"\d{4}-(0[1-9]|1[0-2])", str(month)):
        raise ParamsError(f"month: {month!r} is no month. Allowed: YYYY-MM, such as 2026-10.")
    year, number = int(month[:4]), int(month[5:])
    return dt.date(year, number, 1), dt.date(year, number, calendar.monthrange(year, number)[1])


@dataclass(frozen=True)
class Month:
    """What each chapter's functions take.

    Attributes
    ----------
    book : Book
        The book cut at the last day of the month: nothing learned later is in it.
    label, start, end
        ``"2026-10"`` and its first and last day.
    definition : str
        The named cure definition every chapter uses.
    horizon : int
        Days by which cure and recovery are judged (a target of 90 days, say).
    control : str
        The arm that experiments compare with; empty = chosen by the library.
    contact_rules : str
        Whose rules on contacting debtors hold: a file of ``contact_rules/`` among the params, such as ``cn``.
    params : Path
        Folder with targets.yml, costs.yml, strategy.yml.
    output : Path or None
        Where tables and figures are kept; None while exploring.
    """

    book: Book
    label: str
    start: dt.date
    end: dt.date
    definition: str = "current_once"
    horizon: int = 90
    control: str = ""
    contact_rules: str = ""
    params: Path = Path("params")
    output: Path | None = None
    _cache: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    def __repr__(self) -> str:
        kind = ", synthetic" if self.book.synthetic else ""
        return f"<{self.label}: {self.book.name}{kind}, as known on {self.end}; cure = {self.definition}>"

    def once(self, key: str, make: Callable[[], Any]) -> Any:
        """Compute once in this session; chapters share what they count."""
        if key not in self._cache:
            self._cache[key] = make()
        return self._cache[key]

    def shared(self, key: str, make: Callable[[], Any]) -> Any:
        """As :meth:`once`, and once for all notebooks of a run: for what several of them need."""
        if self.book.shelf is None:
            return self.once(key, make)
        asked = (key, sorted(self.book.queries.items()), self._asked)
        return self.once(key, lambda: result_on(self.book.shelf, asked, make))

    def counted(self, measure: Callable[..., Any], *args: Any, **options: Any) -> Any:
        """``measure(book, …)``, counted once for all chapters that show it or build on it."""
        key = f"{measure.__module__}.{measure.__qualname__} {args} {sorted(options.items())}"
        return self.shared(key, lambda: measure(self.book, *args, **options))

    @property
    def window(self) -> tuple[dt.date, dt.date]:
        """The twelve months that end with this one."""
        return months_before(self.end, WINDOW_MONTHS) + dt.timedelta(days=1), self.end

    @cached_property
    def episodes(self) -> nw.LazyFrame:
        """All episodes known at the end of the month, with the strategy, cohort and entry-bucket columns."""
        spells = self.book.episodes(self.definition).with_columns(cohort=_quarter(nw.col("started_on")))
        return self._keep("episodes of the month", lambda: self._with_strategy(spells))

    def _with_strategy(self, spells: nw.LazyFrame) -> nw.LazyFrame:
        if not self.book.has("assignments"):
            return spells
        given = self.book.table("assignments").select(
            "account_id", _given="strategy", _day=day_number("assigned_on")
        )
        # An assignment made after the account was first seen late is not known when its clock starts.
        seen = spells.select("account_id", "episode", _seen=day_number("started_on") + nw.col("entry_day"))
        known = seen.join(given, on="account_id", how="inner").filter(nw.col("_day") <= nw.col("_seen"))
        known = known.filter(nw.col("_day") == nw.col("_day").max().over("account_id", "episode"))
        known = known.group_by("account_id", "episode").agg(strategy=nw.col("_given").min())
        if "strategy" in spells.collect_schema().names():
            spells = spells.drop("strategy")
        return spells.join(known, on=["account_id", "episode"], how="left")

    def _keep(self, key: str, make: Callable[[], nw.LazyFrame]) -> nw.LazyFrame:
        """Computed once: in this session, or for all notebooks of the run that put a shelf there."""
        if self.book.shelf is None:
            return engine.materialise(make())
        return self.book.kept((key, self._asked), make)

    @property
    def _asked(self) -> tuple[Any, ...]:
        """All that a figure of this month depends on but the book and the code."""
        return self.label, self.definition, self.horizon, self.control, self.contact_rules, str(self.params)

    @cached_property
    def recent(self) -> nw.LazyFrame:
        """Episodes that began within the window of twelve months."""
        first, last = self.window
        recent = self.episodes.filter((nw.col("started_on") >= first) & (nw.col("started_on") <= last))
        return engine.materialise(recent) if self.book.shelf is None else recent

    @property
    def from_start(self) -> nw.LazyFrame:
        """The recent episodes, where enough of them were seen from their first day.

        A book that shows its accounts only when they are long past due says nothing of the days before. Those
        not seen again are left out (:func:`~collectlab.book.episodes.seen_again`).
        """
        seen = self.once("from_start", lambda: self._seen_from_start(self.recent))
        if seen[1] == 0:
            raise NotAvailable("no episode began in the twelve months.")
        if seen[0] < SEEN_FROM_START * seen[1]:
            raise NotAvailable(
                f"only {seen[0]:,} of {seen[1]:,} episodes were seen from their first day, "
                "so what happened from then on cannot be told."
            )
        return seen_again(self.recent)

    @staticmethod
    def _seen_from_start(frame: nw.LazyFrame) -> tuple[int, int]:
        counted = engine.collect(
            frame.select(n=nw.len(), seen=(nw.col("entry_day") == 0).cast(nw.Int64).sum())
        )
        return int(counted["seen"].fillna(0)[0]), int(counted["n"][0])

    @cached_property
    def bucket_entries(self) -> nw.LazyFrame:
        """One row per episode and DPD bucket it reached, within the window.

        Buckets that hardly any account was seen to enter are left out: they say nothing of the days since.
        """
        first, last = self.window
        entries = self._keep(
            "bucket entries of the window",
            lambda: self.book.bucket_entries(definition=self.definition).filter(
                (nw.col("reached_on") >= first) & (nw.col("reached_on") <= last)
            ),
        )
        seen = engine.collect(
            entries.group_by("bucket").agg(seen=(nw.col("entry_day") == 0).cast(nw.Float64).mean())
        )
        kept = sorted(seen.loc[seen["seen"] >= SEEN_FROM_START, "bucket"])
        return entries.filter(nw.col("bucket").is_in(kept))


def _quarter(day: nw.Expr) -> nw.Expr:
    quarter = (day.dt.month() + 2) // 3
    return nw.concat_str([day.dt.year().cast(nw.String), nw.lit("Q"), quarter.cast(nw.String)])


def months_before(day: dt.date, months: int) -> dt.date:
    """The last day of the month that lies ``months`` before that of ``day``.

    >>> months_before(__import__("datetime").date(2026, 10, 31), 8)
    datetime.date(2026, 2, 28)
    """
    index = day.year * 12 + day.month - 1 - months
    year, month = divmod(index, 12)
    return dt.date(year, month + 1, calendar.monthrange(year, month + 1)[1])


def open_month(
    book: Any = "../data/example",
    month: str = "2026-10",
    *,
    definition: str = "current_once",
    horizon: int = 90,
    population: str = "",
    control: str = "",
    contact_rules: str = "",
    params: str | Path = "../params",
    output: str | Path | None = None,
) -> Month:
    """Open a book as it was known at the end of ``month``.

    Parameters
    ----------
    book : path, frames or Book
        Whatever :func:`collectlab.open_book` takes.
    month : str
        ``YYYY-MM``.
    population : str
        A condition over the columns of ``accounts``, in SQL, that picks a part of the book; empty = all.
    definition, horizon, control, contact_rules, params, output
        As in :class:`Month`.

    Returns
    -------
    Month

    Raises
    ------
    ReportError
        When the book has no snapshot in that month; the message names the first and last month it has.

    Examples
    --------
    >>> from collectlab.book.simulate import simulate
    >>> bank = simulate(accounts=200, months=6, truth_accounts=0)
    >>> this = open_month(bank.book_tables, "2026-09")
    >>> this.label, this.end, this.book.as_of
    ('2026-09', datetime.date(2026, 9, 30), datetime.date(2026, 9, 30))
    """
    start, end = month_bounds(month)
    whole = book if isinstance(book, Book) else open_book(book)
    first, last = _snapshot_range(whole)
    if not (first <= end and last >= start):
        raise ReportError(
            f"no snapshot in {month}: the book's snapshots run from {first:%Y-%m} to {last:%Y-%m}. "
            f"Allowed: a month in that range."
        )
    if population:
        whole = whole.where(population)
    shelf = (
        Path(output) / SHELF
        if output
        else Path(os.environ[SHELF_VARIABLE])
        if SHELF_VARIABLE in os.environ
        else None
    )
    return Month(
        book=replace(whole.until(end), shelf=shelf if shelf is not None and shelf.is_dir() else None),
        label=month,
        start=start,
        end=end,
        definition=definition,
        horizon=int(horizon),
        control=control,
        contact_rules=contact_rules,
        params=Path(params),
        output=Path(output) if output else None,
    )


def _snapshot_range(book: Book) -> tuple[dt.date, dt.date]:
    seen = engine.collect(
        book.table("snapshots").select(first=nw.col("as_of").min(), last=nw.col("as_of").max())
    )
    return pd.Timestamp(seen["first"][0]).date(), pd.Timestamp(seen["last"][0]).date()
