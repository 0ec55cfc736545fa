"""What leaves the bank in a frozen book: pseudonyms for identifiers, and no free text.

Identifiers (the contract's columns of kind ``id``, and the collector in ``agent``) become keyed pseudonyms
(:mod:`collectlab.core.privacy`) in the accepted rows and in those set aside. A text column that the contract does
not name is left out where its name or its values look like a person's details or free text. The contract's own
text columns stay; a value of theirs that looks like free text becomes ``(free text)``.

Nothing here knows that a text names nobody: what looks like a category is kept. ``keep`` overrides it.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from collectlab.book.check_types import family, typed
from collectlab.book.free_text import HAS_EMAIL, HAS_NUMBER, LONG, WORDS_IN, free_values, why_left_out
from collectlab.book.open import Book, open_book
from collectlab.book.schema import TABLES, Column
from collectlab.core.engine import connection, quote, quote_text
from collectlab.core.errors import ParamsError, first_few, nearest
from collectlab.core.privacy import DIGITS, FILE, PREFIX, VARIABLE, Key, find_key, pseudonym_sql

#: Where ``book.yml`` of a frozen book says how it was made private.
WORD = "privacy"
FREE_TEXT = "(free text)"
NOT_READABLE = "(not readable)"

#: Columns that hold identifiers, in whatever table.
KINDS = {"account_id": "account", "customer_id": "customer", "agent": "agent", "action_id": "action",
         "payment_id": "payment", "number": "number"}  # fmt: skip


@contextmanager
def private(book: Book, key: Key, keep: Collection[str] = ()) -> Iterator[Book]:
    """The book with pseudonyms and without free text; its queries run only within the context.

    A book that was made private before is handed back as it is: a pseudonym is not hashed again.

    Parameters
    ----------
    book : Book
        The book as the bank has it.
    key : Key
        The key of the pseudonyms.
    keep : collection of str
        Columns to keep whatever they look like, as ``column`` or ``table.column``.

    Raises
    ------
    ParamsError
        For a column in ``keep`` that no table has.

    Examples
    --------
    >>> import pandas as pd
    >>> from collectlab.book.open import open_book
    >>> book = open_book({
    ...     "accounts": pd.DataFrame({"account_id": ["L1"], "phone": ["139 1234 5678"]}),
    ...     "snapshots": pd.DataFrame({"account_id": ["L1"], "as_of": ["2026-01-31"], "days_past_due": [0]}),
    ... })
    >>> with private(book, Key("a secret of the bank's own")) as shown:
    ...     print(shown.columns("accounts"), shown.about.more["privacy"]["left_out"])
    ['account_id'] {'accounts.phone': 'its name says that it holds a person’s details or free text'}
    """
    if is_private(book):
        yield book
        return
    _known(book, keep)
    con = connection()
    with key.in_engine():
        maps = _maps(book)
        left_out: dict[str, str] = {}
        masked: dict[str, int] = {}
        queries, aside = {}, {}
        try:
            for name, query in book.queries.items():
                queries[name], kept = _accepted(name, query, maps, keep, left_out, masked)
                if name in book.aside:
                    aside[name] = _set_aside(name, book.aside[name], kept)
            words = {"key": key.fingerprint, "left_out": left_out, "free_text": masked}
            about = book.about.model_copy(update={"more": {**book.about.more, WORD: words}})
            # Counted as they came: what is hidden adds no row and takes none away.
            counts = {
                row.table: (int(row.accepted), int(row.quarantined))
                for row in book.reconciliation.itertuples()
            }
            yield replace(book, about=about, queries=queries, aside=aside, counted=counts)
        finally:
            for table in maps.values():
                con.execute(f"DROP TABLE IF EXISTS {table}")


def is_private(book: Book) -> bool:
    """Whether every account of the book goes by a pseudonym, as its ``book.yml`` says."""
    if not isinstance(book.about.more.get(WORD), Mapping):
        return False
    pattern = f"{PREFIX['account']}[0-9a-f]{{{DIGITS}}}"
    asked = (
        f"SELECT count(*) FROM ({book.queries['accounts']}) "
        f"WHERE NOT regexp_full_match(CAST(account_id AS VARCHAR), '{pattern}')"
    )
    return connection().execute(asked).fetchall()[0][0] == 0


def identified(pseudonyms: Collection[str], source: Any, params: str | Path) -> dict[str, str]:
    """Whom pseudonyms stand for: pseudonym -> identifier, found by computing them all again.

    Parameters
    ----------
    pseudonyms : collection of str
        As they stand in a report.
    source : path, frames or Book
        The book as the bank has it.
    params : path
        The folder with the key, where the environment does not hold it. None is made here.

    Raises
    ------
    ParamsError
        Where there is no key, or a pseudonym is none of this book's with this key.
    """
    if VARIABLE not in os.environ and not (Path(params) / FILE).is_file():
        raise ParamsError(f"no key: neither {VARIABLE} in the environment nor {FILE} in {params}.")
    key, _ = find_key(params)
    book = open_book(source)
    if is_private(book):
        raise ParamsError(f"{book.name} holds pseudonyms only. Needed: the book as the bank has it.")
    con = connection()
    found: dict[str, str] = {}
    with key.in_engine():
        for query in book.queries.values():
            for column, engine_type in _types(query).items():
                kind = _kind(column)
                asked = [p for p in pseudonyms if kind and p[:1] == PREFIX[kind] and p not in found]
                if kind is None or not asked:
                    continue
                listed = ", ".join(map(quote_text, asked))
                text = f"SELECT DISTINCT {_as_text(column, engine_type)} AS id FROM ({query}) q"
                rows = con.execute(
                    f"SELECT {pseudonym_sql(kind, 'id')} AS pseudonym, id FROM ({text}) WHERE pseudonym IN ({listed})"
                ).fetchall()
                found |= dict(rows)
    if unknown := [p for p in pseudonyms if p not in found]:
        raise ParamsError(
            f"{first_few(unknown)}: no identifier of {book.name} has that pseudonym with this key "
            f"({key.fingerprint}). The report's manifest.json names the key it was made with."
        )
    return {p: found[p] for p in pseudonyms}


def said(book: Book) -> dict[str, Any]:
    """What ``book.yml`` says of pseudonyms: ``key`` (its fingerprint), ``left_out`` and ``free_text``; else empty."""
    words = book.about.more.get(WORD)
    return dict(words) if isinstance(words, Mapping) else {}


def _known(book: Book, keep: Collection[str]) -> None:
    there = [f"{name}.{column}" for name in book.queries for column in book.columns(name)]
    there += [name.partition(".")[2] for name in there]
    faults = []
    for asked in keep:
        if asked not in there:
            near = nearest(asked, dict.fromkeys(there))
            faults.append(
                f"keep_columns: no table has a column {asked!r}."
                + (f" Nearest: {', '.join(near)}." if near else "")
            )
        elif _kind(asked.rpartition(".")[2]):
            faults.append(f"keep_columns: {asked!r} holds identifiers, which are always replaced.")
    if faults:
        raise ParamsError(faults)


def _kind(column: str) -> str | None:
    """The kind of identifier that a column of that name holds."""
    return KINDS.get(column.strip().lower().replace(" ", "_"))


def _as_text(column: str, engine_type: str) -> str:
    """An identifier as the contract reads it, so that 5, 5.0 and " 5" are the same one in every table."""
    return f"CAST({typed(Column(name=column, kind='id'), f'q.{quote(column)}', engine_type)} AS VARCHAR)"


def _pseudonym(kind: str, column: str, engine_type: str) -> str:
    return pseudonym_sql(kind, _as_text(column, engine_type))


def _types(query: str) -> dict[str, str]:
    return {row[0]: row[1] for row in connection().execute(f"DESCRIBE {query}").fetchall()}


def _maps(book: Book) -> dict[str, str]:
    """A small table of pseudonyms for the identifiers that stand on many rows: joined, not hashed row by row."""
    con = connection()
    maps = {}
    for kind, table, column in (("account", "accounts", "account_id"), ("agent", "actions", "agent")):
        if table not in book.queries or column not in book.columns(table):
            continue
        maps[kind] = f"collectlab_{kind}_pseudonyms"
        con.execute(
            f"CREATE OR REPLACE TEMP TABLE {maps[kind]} AS SELECT id, {pseudonym_sql(kind, 'id')} AS pseudonym "
            f"FROM (SELECT DISTINCT CAST({quote(column)} AS VARCHAR) AS id FROM ({book.queries[table]}))"
        )
    return maps


def _accepted(
    name: str,
    query: str,
    maps: dict[str, str],
    keep: Collection[str],
    left_out: dict[str, str],
    masked: dict[str, int],
) -> tuple[str, dict[str, str]]:
    """The query with pseudonyms and without free text, and the columns kept: name -> SQL of a value to show."""
    chosen, joins, kept = [], [], {}
    for column, engine_type in _types(query).items():
        declared = TABLES[name].column(column)
        raw = f"q.{quote(column)}"
        if kind := _kind(column):
            shown = _pseudonym(kind, column, engine_type)
            if kind in maps:
                alias = f"m{len(joins)}"
                joins.append(
                    f"LEFT JOIN {maps[kind]} {alias} ON {_as_text(column, engine_type)} = {alias}.id"
                )
                shown = f"coalesce({alias}.pseudonym, {shown})"
            chosen.append(f"{shown} AS {quote(column)}")
            continue
        kept[column] = raw
        if column in keep or f"{name}.{column}" in keep:
            pass
        elif declared is not None:
            if declared.kind == "text" and not declared.allowed and family(engine_type) == "text":
                rows, free = free_values(name, query, column, maps)
                if rows:
                    masked[f"{name}.{column}"] = rows
                    kept[column] = f"CASE WHEN {raw} IN {free} THEN {quote_text(FREE_TEXT)} ELSE {raw} END"
        elif reason := why_left_out(query, column, engine_type, maps):
            left_out[f"{name}.{column}"] = reason
            del kept[column]
            continue
        chosen.append(f"{kept[column]} AS {quote(column)}")
    return f"SELECT {', '.join(chosen)} FROM ({query}) q {' '.join(joins)}", kept


def _set_aside(name: str, query: str, kept: Mapping[str, str]) -> str:
    """The rows at fault with the same columns, and of their values only what cannot be anything else."""
    chosen = []
    for column, engine_type in _types(query).items():
        declared = TABLES[name].column(column)
        raw = f"q.{quote(column)}"
        is_text = family(engine_type) in ("text", "other")
        if kind := _kind(column):
            value = _pseudonym(kind, column, engine_type)
        elif column in ("reasons", "line"):
            value = raw
        elif column == "original_line":
            value = f"CASE WHEN {raw} IS NOT NULL THEN {quote_text(NOT_READABLE)} END"
        elif declared is not None and (declared.allowed or declared.kind != "text"):
            value = raw
            if is_text:
                fits = f"{typed(declared, raw, engine_type)} IS NOT NULL OR {raw} IS NULL OR trim({raw}) = ''"
                value = f"CASE WHEN {fits} THEN {raw} ELSE {quote_text(NOT_READABLE)} END"
        elif column not in kept:
            continue
        elif is_text:
            # A row at fault may hold a value that no accepted row has.
            short = f"length(v) <= {LONG} AND {WORDS_IN} < 3 AND NOT {HAS_EMAIL} AND NOT {HAS_NUMBER}"
            short = f"(SELECT {short} FROM (SELECT {raw} AS v))"
            value = f"CASE WHEN {short} THEN {kept[column]} WHEN {raw} IS NOT NULL THEN {quote_text(FREE_TEXT)} END"
        else:
            value = kept[column]
        chosen.append(f"{value} AS {quote(column)}")
    return f"SELECT {', '.join(chosen)} FROM ({query}) q"


__all__ = ["FREE_TEXT", "KINDS", "NOT_READABLE", "WORD", "identified", "is_private", "private", "said"]
