"""What leaves the bank in a frozen book: pseudonyms for identifiers, and no free text.

Identifiers (the contract's columns of kind ``id``, and the collector in ``agent``) become keyed pseudonyms
(:mod:`collectlab.core.privacy`) in the accepted rows and in those set aside. A text column that the contract does
not name is left out where its name or its values look like a person's details or free text. The contract's own
text columns stay; a value of theirs that looks like free text becomes ``(free text)``.

Nothing here knows that a text names nobody: what looks like a category is kept. ``keep`` overrides it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from collectlab.book.check_types import family, typed
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
         "payment_id": "payment"}  # fmt: skip

#: A text of this many letters, or words, that few rows share is no category.
LONG, WORDS = 40, 6
#: A value on fewer rows than this is rare.
RARE = 5
#: More different values than this are no category to compare groups by.
MANY = 200

_PERSONAL = (
    r"(?i)(^|[_\W\d])(surname|firstname|lastname|fullname|forename|nickname|phone|telephone|tel|mobile|cell|cellphone|"
    r"fax|e_?mail|mail|address|addr|street|note|notes|comment|comments|remark|remarks|memo|transcript|message|body|"
    r"free_?text|description|details|narrative|ssn|passport|iban|national_?id|id_?card|id_?number|id_?no|tax_?id|nin|"
    r"plate|birth\w*|dob|birthday|wechat|whatsapp|ip|latitude|longitude|lat|lon|lng|gps)($|[_\W\d])"
    r"|姓名|电话|手机|邮箱|地址|住址|备注|身份证|生日|微信|描述|说明"
)
_NAMES = r"(?i)(^|[_\W])name($|[_\W\d])"
_NAMES_OF_THINGS = (
    r"(?i)(product|branch|region|team|agency|strategy|channel|campaign|segment|category|stage|brand|file)"
)
_EMAIL = r"[^\s@]+@[^\s@]+\.[^\s@]+"
#: Eight digits or more, with what is written between the digits of a telephone or identity number.
_NUMBER = r"\d([\s().-]?\d){7,}"


@dataclass(frozen=True)
class _Seen:
    """How the values of one column look."""

    rows: int
    different: int
    accounts: int
    long_rare: int
    rare: int
    emails: int
    numbers: int
    ids: int


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
                rows, free = _free_values(name, query, column, maps)
                if rows:
                    masked[f"{name}.{column}"] = rows
                    kept[column] = f"CASE WHEN {raw} IN {free} THEN {quote_text(FREE_TEXT)} ELSE {raw} END"
        elif reason := _why_left_out(query, column, engine_type, maps):
            left_out[f"{name}.{column}"] = reason
            del kept[column]
            continue
        chosen.append(f"{kept[column]} AS {quote(column)}")
    return f"SELECT {', '.join(chosen)} FROM ({query}) q {' '.join(joins)}", kept


def _why_left_out(query: str, column: str, engine_type: str, maps: Mapping[str, str]) -> str | None:
    """Why a column that the contract does not name must not leave, or None."""
    come = family(engine_type)
    # camelCase and PascalCase are read as words, too.
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", column)
    personal = re.search(_PERSONAL, words)
    personal = personal or (re.search(_NAMES, words) and not re.search(_NAMES_OF_THINGS, words))
    if personal and come != "bool":
        return "its name says that it holds a person’s details or free text"
    if come == "other":
        return f"its type ({engine_type.split('(')[0].lower()}) may hold anything"
    if come not in ("text", "whole", "real"):
        return None
    seen = _look(query, column, come, maps)
    if come == "text" and seen.emails:
        return "it holds e-mail addresses"
    if seen.numbers > 0.01 * seen.rows:
        return "it holds telephone, account or identity numbers"
    if come == "real":
        return None
    if seen.ids > 0.5 * seen.different:
        return "it holds identifiers of accounts"
    nearly_unique = seen.different > 20 and seen.different > 0.5 * seen.accounts
    if nearly_unique and (
        come == "text" or re.search(r"(?i)(^|_)(id|no|nr|num|number|code|ref|key)$", words)
    ):
        return "nearly every account has its own value"
    if come == "whole":
        return None
    if seen.long_rare:
        return "it holds long texts that few rows share"
    if seen.different > MANY:
        return f"it has {seen.different:,} different values, too many for a category"
    return None


def _text_of(column: str, come: str) -> str:
    """The value as text; of a number only where it is whole, without its decimals."""
    raw = quote(column)
    if come == "real":
        return f"CASE WHEN {raw} = floor({raw}) THEN CAST(TRY_CAST({raw} AS HUGEINT) AS VARCHAR) END"
    return f"trim(CAST({raw} AS VARCHAR))"


#: A Chinese character says about as much as three letters.
_LENGTH = r"(length(v) + 2 * length(regexp_replace(v, '[^\x{3040}-\x{9fff}\x{ac00}-\x{d7af}]', '', 'g')))"
_WORDS = r"(1 + length(regexp_replace(v, '\S+', '', 'g')))"
_LONG_RARE = f"(n < {RARE} AND ({_LENGTH} > {LONG} OR {_WORDS} >= {WORDS}))"
_HAS_EMAIL = f"regexp_matches(v, {quote_text(_EMAIL)})"
#: Dates, times and amounts are written in digits, too.
_HAS_NUMBER = (
    f"(regexp_matches(v, {quote_text(_NUMBER)}) AND TRY_CAST(v AS TIMESTAMP) IS NULL "
    r"AND NOT regexp_full_match(v, '-?\d+\.\d+'))"
)


def _look(query: str, column: str, come: str, maps: Mapping[str, str]) -> _Seen:
    numbers = _HAS_NUMBER
    if come != "text":
        # Telephone and identity numbers have the same length nearly always; amounts do not.
        numbers = r"(regexp_full_match(v, '\d{9,18}'))"
    answer = (
        connection()
        .execute(
            f"""
        WITH values AS (
            SELECT {_text_of(column, come)} AS v, count(*) AS n FROM ({query}) GROUP BY 1
        )
        SELECT coalesce(sum(n), 0), count(*),
               (SELECT count(DISTINCT account_id) FROM ({query})),
               count(*) FILTER ({_LONG_RARE}), count(*) FILTER (n < {RARE}),
               coalesce(sum(n) FILTER ({_HAS_EMAIL}), 0), coalesce(sum(n) FILTER ({numbers}), 0),
               {f"count(*) FILTER (v IN (SELECT id FROM {maps['account']}))" if come == "text" else "0"},
               max(CASE WHEN {numbers} THEN length(v) END) - min(CASE WHEN {numbers} THEN length(v) END)
        FROM values WHERE v IS NOT NULL AND v <> ''
        """
        )
        .fetchall()[0]
    )
    rows, different, accounts, long_rare, rare, emails, found, ids, spread = (int(a or 0) for a in answer)
    if come != "text" and (spread > 1 or found < 0.9 * rows or different < 0.5 * accounts):
        found = 0
    return _Seen(rows, different, accounts, long_rare, rare, emails, found, ids)


def _free_values(name: str, query: str, column: str, maps: dict[str, str]) -> tuple[int, str]:
    """On how many rows a value of the column stands that looks like free text, and the table of those values.

    A value does that holds an e-mail address or a long number, or is long and rare. Where a tenth of the rare
    values do, the column is free text altogether, and every rare value of more than one word goes.
    """
    con = connection()
    values = f"collectlab_values_{name}_{column}"
    con.execute(
        f"CREATE OR REPLACE TEMP TABLE {values} AS SELECT value, trim(value) AS v, count(*) AS n "
        f"FROM (SELECT {quote(column)} AS value FROM ({query})) WHERE value IS NOT NULL GROUP BY value"
    )
    maps[values] = values
    one = f"({_HAS_EMAIL} OR {_HAS_NUMBER} OR {_LONG_RARE})"
    counted = f"SELECT count(*) FILTER ({one}), count(*) FILTER (n < {RARE}) FROM {values}"
    like, rare = con.execute(counted).fetchall()[0]
    if like >= RARE and like >= 0.1 * rare:
        one = f"({one} OR (n < {RARE} AND {_WORDS} > 1))"
    con.execute(f"DELETE FROM {values} WHERE NOT {one}")
    rows = con.execute(f"SELECT coalesce(sum(n), 0) FROM {values}").fetchall()[0][0]
    return int(rows), f"(SELECT value FROM {values})"


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
            short = f"length(v) <= {LONG} AND {_WORDS} < 3 AND NOT {_HAS_EMAIL} AND NOT {_HAS_NUMBER}"
            short = f"(SELECT {short} FROM (SELECT {raw} AS v))"
            value = f"CASE WHEN {short} THEN {kept[column]} WHEN {raw} IS NOT NULL THEN {quote_text(FREE_TEXT)} END"
        else:
            value = kept[column]
        chosen.append(f"{value} AS {quote(column)}")
    return f"SELECT {', '.join(chosen)} FROM ({query}) q"


__all__ = ["FREE_TEXT", "KINDS", "NOT_READABLE", "WORD", "identified", "is_private", "private", "said"]
