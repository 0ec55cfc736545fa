"""Opening a book: one object over its tables, whatever they came in.

>>> import pandas as pd
>>> book = open_book({
...     "accounts": pd.DataFrame({"account_id": [1]}),
...     "snapshots": pd.DataFrame({"account_id": [1, 1], "as_of": ["2026-01-31", "2026-02-28"],
...                                "days_past_due": [0, 12]}),
... }, name="one account")
>>> book.as_of
datetime.date(2026, 2, 28)
>>> book.reconciliation.values.tolist()
[['accounts', 1, 1, 0], ['snapshots', 2, 2, 0]]
>>> book.until("2026-01-31").table("snapshots").collect().shape
(1, 3)
"""

from __future__ import annotations

import datetime as dt
import html
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any

import duckdb
import narwhals as nw
import pandas as pd

from collectlab.book import check_told
from collectlab.book.check_read import plain, read_about, read_source
from collectlab.book.check_types import typed
from collectlab.book.checks import check
from collectlab.book.schema import TABLES
from collectlab.book.schema_about import About
from collectlab.book.shelf import table_on
from collectlab.core.engine import connection, quote
from collectlab.core.errors import BookError, NotAvailable, first_few


@dataclass(frozen=True, kw_only=True)
class Book:
    """A checked book of accounts. Made by :func:`open_book`.

    Every table is a query that runs in the engine when a measure asks for it. A book whose tables are not
    Parquet lives in the thread that opened it.

    Attributes
    ----------
    name, description : str
        From ``book.yml``, or the name given, or the folder's.
    synthetic : bool
        Whether ``book.yml`` says that no real account is in it.
    about : About
        All of ``book.yml``.
    """

    name: str
    about: About
    queries: Mapping[str, str] = field(repr=False)
    aside: Mapping[str, str] = field(repr=False)
    last: dt.date | None = field(default=None, repr=False)
    equal_kept: Mapping[str, int] = field(default_factory=dict, repr=False)
    counted: Mapping[str, tuple[int, int]] | None = field(default=None, repr=False)
    #: A folder where episodes are kept once counted (see :mod:`collectlab.book.shelf`).
    shelf: Path | None = field(default=None, repr=False, compare=False)

    @property
    def synthetic(self) -> bool:
        return self.about.synthetic

    @property
    def description(self) -> str:
        return self.about.description

    @property
    def tables(self) -> Mapping[str, nw.LazyFrame]:
        """Every table the book has, lazily, in the contract's order."""
        return MappingProxyType({name: self.table(name) for name in self.queries})

    def has(self, name: str) -> bool:
        """Whether the book has that table (an empty one counts as none)."""
        return name in self.queries and self._rows(name) > 0

    def table(self, name: str) -> nw.LazyFrame:
        """One table, lazily; :class:`NotAvailable` where the book has none."""
        if name not in TABLES:
            raise BookError(f"a book has no table {name!r}. Allowed: {', '.join(TABLES)}.")
        if name not in self.queries:
            raise NotAvailable(
                f"this book has no {name}; it would need a table {name} ({TABLES[name].one_row_is} a row)."
            )
        return nw.from_native(self._relation(name))

    def columns(self, name: str) -> list[str]:
        """The column names of a table; none where the book lacks it."""
        return list(self._relation(name).columns) if name in self.queries else []

    @cached_property
    def as_of(self) -> dt.date:
        """The date of the last snapshot."""
        last = connection().execute(f"SELECT max(as_of) FROM ({self.queries['snapshots']})").fetchall()[0][0]
        if last is None:
            raise BookError(f"{self.name}: no snapshots are left, so the book has no last date.")
        return last

    @cached_property
    def reconciliation(self) -> pd.DataFrame:
        """``table, rows_in, accepted, quarantined``: what came in is accepted or quarantined, nothing else."""
        rows = []
        for name in self.queries:
            accepted, quarantined = self._rows(name), self._aside_rows(name)
            rows.append((name, accepted + quarantined, accepted, quarantined))
        return pd.DataFrame(rows, columns=["table", "rows_in", "accepted", "quarantined"])

    @cached_property
    def quarantine(self) -> pd.DataFrame:
        """``table, rule, rows, examples``: why rows were set aside. A row may stand under several rules."""
        return check_told.by_rule(self.aside, self.last)

    @property
    def remarks(self) -> tuple[str, ...]:
        """What was set aside, each rule in a line: what, how many, the first few, what is allowed."""
        return check_told.remarks(self.quarantine, self.reconciliation, self.equal_kept, self.last)

    def until(self, date: dt.date | str) -> Book:
        """The book as it was known at the end of ``date``.

        Rows with a later date of their own go (accounts by ``originated_on``). Facts filled in later are
        blanked: a plan that ended later is ``active`` again; a case decided later, or at no stated date,
        has no ``decided_on``, ``stage``, ``result`` or ``recovered``. Facts without any date (a complaint's
        ``upheld``, an account's income) cannot be turned back and are taken as known.
        """
        date = as_date(date)
        queries = {}
        for name, query in self.queries.items():
            columns = self.columns(name)
            query = _rows_known(name, query, columns, date)
            queries[name] = facts_known(name, query, columns, date) if date < self.as_of else query
        aside = {name: self._aside_known(name, query, date) for name, query in self.aside.items()}
        cut = self._part(queries, aside)
        if cut._rows("snapshots") == 0:
            first = (
                connection().execute(f"SELECT min(as_of) FROM ({self.queries['snapshots']})").fetchall()[0][0]
            )
            raise BookError(
                f"{self.name}: no snapshots up to {date}. Its snapshots run from {first} to {self.as_of}."
            )
        return cut

    def where(self, condition: str) -> Book:
        """The sub-book of the accounts that satisfy ``condition``, an SQL expression over ``accounts``.

        ``book.where("region = 'north' AND principal > 10000")``; a column called ``group`` is written
        ``"group"``. Every table keeps only these accounts.
        """
        accounts = f"SELECT * FROM ({self.queries['accounts']}) WHERE ({condition}\n)"
        try:
            if len(connection().extract_statements(accounts)) != 1:
                raise duckdb.ParserException("more than one statement; allowed: one condition")
            connection().sql(accounts)
        except duckdb.Error as error:
            raise BookError(
                f"where({condition!r}): {plain(error).rstrip('.!')}. "
                f"Columns of accounts: {first_few(self.columns('accounts'), 20)}."
            ) from error
        ids = f"SELECT account_id FROM ({accounts})"
        queries = {
            name: accounts if name == "accounts" else f"SELECT * FROM ({query}) WHERE account_id IN ({ids})"
            for name, query in self.queries.items()
        }
        as_text = f"SELECT CAST(account_id AS VARCHAR) FROM ({accounts})"
        aside = {
            name: f"SELECT * FROM ({query}) WHERE CAST(account_id AS VARCHAR) IN ({as_text})"
            for name, query in self.aside.items()
        }
        return self._part(queries, aside)

    def _part(self, queries: Mapping[str, str], aside: Mapping[str, str]) -> Book:
        equal_kept = {
            name: connection()
            .execute(
                f"SELECT coalesce(sum(n - 1), 0) FROM (SELECT count(*) AS n FROM ({queries[name]}) AS q GROUP BY q)"
            )
            .fetchall()[0][0]
            for name in self.equal_kept
        }
        return replace(
            self,
            queries=queries,
            aside=aside,
            counted=None,
            equal_kept={k: int(v) for k, v in equal_kept.items() if v},
        )

    def episodes(self, definition: str = "current_once", **options: Any) -> nw.LazyFrame:
        """One row per spell of delinquency: :func:`collectlab.book.episodes.episodes` on this book."""
        from collectlab.book.episodes import episodes

        options.setdefault("as_of", self.as_of)

        def counted() -> nw.LazyFrame:
            return episodes(self.table("snapshots"), self.table("accounts"), definition=definition, **options)

        return self.kept(("episodes", definition, options), counted)

    def bucket_entries(self, **options: Any) -> nw.LazyFrame:
        """One row per episode and bucket reached: :func:`collectlab.book.episodes.bucket_entries` on this book."""
        from collectlab.book.episodes import bucket_entries

        options.setdefault("as_of", self.as_of)
        return bucket_entries(self.table("snapshots"), self.table("accounts"), **options)

    def kept(self, key: object, make: Callable[[], nw.LazyFrame]) -> nw.LazyFrame:
        """``make()``; where the book has a shelf, from there, put there by whoever asks for ``key`` first."""
        if self.shelf is None:
            return make()
        return table_on(self.shelf, (sorted(self.queries.items()), key), make)

    def _relation(self, name: str) -> duckdb.DuckDBPyRelation:
        return connection().sql(self.queries[name])

    @cached_property
    def _known_counts(self) -> dict[str, int]:
        return (
            {} if self.counted is None else {name: accepted for name, (accepted, _) in self.counted.items()}
        )

    def _rows(self, name: str) -> int:
        if name not in self._known_counts:
            query = f"SELECT count(*) FROM ({self.queries[name]})"
            self._known_counts[name] = connection().execute(query).fetchall()[0][0]
        return self._known_counts[name]

    def _aside_rows(self, name: str) -> int:
        if self.counted is not None:
            return self.counted[name][1]
        if name not in self.aside:
            return 0
        return connection().execute(f"SELECT count(*) FROM ({self.aside[name]})").fetchall()[0][0]

    def _aside_known(self, name: str, query: str, date: dt.date) -> str:
        column = TABLES[name].column(TABLES[name].date)
        types = {row[0]: row[1] for row in connection().execute(f"DESCRIBE {query}").fetchall()}
        if column.name not in types:
            return query
        day = typed(column, quote(column.name), types[column.name])
        return f"SELECT * FROM ({query}) WHERE coalesce({day} < '{date + dt.timedelta(days=1)}', true)"

    def __repr__(self) -> str:
        return f"<Book {self.name}: {', '.join(self.queries)}; as of {self.as_of}>"

    def _repr_html_(self) -> str:
        kind = " (synthetic)" if self.synthetic and "synthetic" not in self.name.lower() else ""
        rows = "".join(
            f"<tr><td>{name}</td><td>{accepted:,}</td><td>{aside:,}</td></tr>"
            for name, _, accepted, aside in self.reconciliation.itertuples(index=False)
        )
        return (
            f"<table><caption>{html.escape(self.name)}{kind}, as of {self.as_of}</caption>"
            f"<thead><tr><th>table</th><th>rows</th><th>set aside</th></tr></thead><tbody>{rows}</tbody></table>"
        )


def open_book(source: Any, *, as_of: dt.date | str | None = None, name: str | None = None) -> Book:
    """Open a book of accounts.

    Parameters
    ----------
    source : path or mapping of str to frame
        A folder of Parquet or CSV tables (``.csv.gz`` too), a frozen book, a ``.duckdb`` file, or frames by
        table name: pandas, Polars, PyArrow, or a relation of the engine.
    as_of : date, optional
        The last day to be known: ``book.until(as_of)``. By default the last snapshot's date, and rows of
        other tables dated after it are set aside.
    name : str, optional
        What the book is called; by default what ``book.yml`` or the folder says.

    Returns
    -------
    Book
        The accepted rows. Rows at fault are in ``book.quarantine`` with all their reasons; a frozen book is
        verified against its checksums and not checked again.

    Raises
    ------
    BookError
        With every fault of whole tables: missing, unreadable, empty, lacking a required column.

    Examples
    --------
    >>> open_book("no/such/folder")
    Traceback (most recent call last):
    collectlab.core.errors.BookError: no/such/folder: no such folder or file.
    """
    if isinstance(source, Book):
        book = replace(source, name=name or source.name)
        return book if as_of is None else book.until(as_of)
    if not isinstance(source, (str, Path, Mapping)):
        raise BookError(
            f"a {type(source).__name__} is no book. Allowed: a folder, a .duckdb file, or a dict of frames by table name."
        )
    cut = None if as_of is None else as_date(as_of)
    folder = None if isinstance(source, Mapping) else Path(source)
    about = read_about(folder) if folder is not None and folder.is_dir() else About()
    called = name or about.name or (folder.resolve().name.split(".")[0] if folder is not None else "frames")
    if folder is not None and (folder / "manifest.json").is_file():
        from collectlab.book.freeze import open_frozen

        book = open_frozen(folder, about, called)
    else:
        book = _checked(source, about, called, cut)
    return book if cut is None else book.until(cut)


def _checked(source: Any, about: About, called: str, cut: dt.date | None) -> Book:
    raws, faults = read_source(source, about)
    if faults:
        raise BookError(faults)
    try:
        checked, allowed_to = check(raws, cut)
    except duckdb.Error as error:
        raise BookError(
            f"{called} cannot be read to its end: {plain(error)}. A file may have been cut short."
        ) from error
    book = Book(
        name=called,
        about=about,
        queries={name: table.accepted for name, table in checked.items()},
        aside={name: table.aside for name, table in checked.items() if table.aside},
        counted={
            name: (table.rows_in - table.quarantined, table.quarantined) for name, table in checked.items()
        },
        equal_kept={name: table.equal_kept for name, table in checked.items() if table.equal_kept},
    )
    empty = [name for name in ("accounts", "snapshots") if book._rows(name) == 0]
    if empty:
        told = check_told.by_rule(book.aside, allowed_to)
        raise BookError([*check_told.remarks(told, book.reconciliation, {}, allowed_to, written=False),
                         f"no row of {' and '.join(empty)} can be used: the book is empty."])  # fmt: skip
    if cut is None:
        # What was filled in after the last snapshot is not known yet.
        last = book.as_of
        queries = {
            name: facts_known(name, query, book.columns(name), last, undated=False)
            for name, query in book.queries.items()
        }
        # Not ``last``: the snapshots of the last day may themselves have been set aside.
        book = replace(book, queries=queries, last=allowed_to)
    return book


def as_date(date: dt.date | str) -> dt.date:
    """A date from a date or from text such as 2026-01-31."""
    if isinstance(date, dt.datetime):
        return date.date()
    if isinstance(date, dt.date):
        return date
    try:
        return dt.date.fromisoformat(date)
    except (TypeError, ValueError) as error:
        raise BookError(f"{date!r} is no date. Allowed: a date such as 2026-01-31.") from error


def _rows_known(name: str, query: str, columns: list[str], date: dt.date) -> str:
    dated = TABLES[name].date
    if dated not in columns:
        return query
    return f"SELECT * FROM ({query}) WHERE coalesce({quote(dated)} < '{date + dt.timedelta(days=1)}', true)"


def facts_known(name: str, query: str, columns: list[str], date: dt.date, undated: bool = True) -> str:
    """The query with facts filled in after ``date`` blanked; with ``undated`` those of no stated date too."""
    changes = []
    for fact, by in TABLES[name].later:
        if fact not in columns:
            continue
        later = f"{by} > '{date}'" if by in columns else "false"
        unknown = (f"{by} IS NULL" if by in columns else "true") if undated else "false"
        if fact == "status":  # a plan that is active at the end of the book was so all along
            after = f"CASE WHEN {later} OR status = 'active' THEN 'active' WHEN {unknown} THEN NULL ELSE status END"
        else:
            after = f"CASE WHEN coalesce({later}, false) OR {unknown} THEN NULL ELSE {fact} END"
        changes.append(f"{after} AS {fact}")
    return f"SELECT * REPLACE ({', '.join(changes)}) FROM ({query})" if changes else query


__all__ = ["Book", "as_date", "facts_known", "open_book"]
