"""Checking a book: the declared rules as SQL, about one pass a table.

A *row fault* puts the row into quarantine with all its reasons. A *table fault* (a missing table or
column, a file that cannot be read) is an error, and all of them are raised at once. For every table
``rows_in = accepted + quarantined``.
"""

from __future__ import annotations

import datetime as dt
import itertools
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import duckdb

from collectlab.book.check_duplicates import find_duplicates
from collectlab.book.check_read import Raw, fresh, plain
from collectlab.book.check_types import cannot_fail, family, guessed, is_there, named, of_raw, typed
from collectlab.book.schema import EARLIEST, KIND_WORDS, LATEST, TABLES, Column
from collectlab.core.engine import connection, quote, quote_text
from collectlab.core.errors import BookError, first_few, nearest

#: A snapshot further than this after the one before it, with fewer rows than stand before, is a wrong date.
GAP_DAYS = 400

COPY = "exact copy of another row"
ORPHAN = "account_id is not in accounts"
ACCOUNT_ASIDE = "its account was set aside"


@dataclass(frozen=True, kw_only=True)
class Fault:
    """A row rule as it applies to one table: the reason, what is allowed, the column to show."""

    reason: str
    allowed: str
    shows: str | None = None


@dataclass(frozen=True, kw_only=True)
class Checked:
    """What became of one table. ``accepted`` and ``aside`` are queries; ``rows_in`` is their sum."""

    name: str
    accepted: str
    aside: str | None
    rows_in: int
    quarantined: int
    equal_kept: int


@dataclass(frozen=True)
class _Typed:
    """A raw table with its columns as SQL: contract columns typed, others as they came."""

    raw: Raw
    names: Mapping[str, str]
    select: Mapping[str, str]
    there: Mapping[str, str]
    safe: frozenset[str]

    def of(self, column: str) -> str:
        return self.select[column]


def check(raws: Mapping[str, Raw], as_of: dt.date | None = None) -> tuple[dict[str, Checked], dt.date | None]:
    """Check every table; raise one BookError with every table fault.

    Returns what became of each table, and the day after which no row may be dated (None with ``as_of``).

    Parameters
    ----------
    raws : mapping of str to Raw
        The tables as read.
    as_of : date, optional
        Where given, later rows are no fault (the caller leaves them out). Where not, rows dated after the
        book's last snapshot are set aside.
    """
    whole_ids, faults = _structure(raws)
    if faults:
        raise BookError(faults)
    tables = {name: _typed(raw, whole_ids) for name, raw in raws.items()}
    with _reading(raws["snapshots"]):
        last = None if as_of is not None else last_snapshot(tables["snapshots"])
    with _reading(raws["accounts"]):
        checked = {"accounts": _check_table(tables["accounts"], last, None)}
        accounts = _account_ids(tables["accounts"], checked["accounts"])
    for name in TABLES:
        if name in tables and name != "accounts":
            with _reading(raws[name]):
                checked[name] = _check_table(tables[name], last, accounts)
    con = connection()
    con.execute(f"DROP TABLE {quote(accounts)}")
    return {name: checked[name] for name in TABLES if name in checked}, last


@contextmanager
def _reading(raw: Raw) -> Iterator[None]:
    """An engine that cannot read on says which table it read."""
    try:
        yield
    except duckdb.OutOfMemoryException as error:
        raise BookError(f"{raw.origin} needs more room than there is: {plain(error)}.") from error
    except duckdb.Error as error:
        raise BookError(
            f"{raw.origin} cannot be read to its end: {plain(error)}. The file may have been cut short or "
            "damaged: copy it again from where it came."
        ) from error


def _structure(raws: Mapping[str, Raw]) -> tuple[bool, list[str]]:
    faults = []
    for name, table in TABLES.items():
        if table.required and name not in raws:
            needs = ", ".join(column.name for column in table.columns if column.required)
            faults.append(
                f"no table {name}. A book needs accounts and snapshots; {name} needs the columns {needs}."
            )
    families: dict[str, str] = {}
    for name, raw in raws.items():
        names = named(name, raw.columns)
        for column in TABLES[name].columns:
            if column.name not in names:
                if column.required:
                    near = nearest(column.name, raw.columns)
                    hint = f" Did you mean {' or '.join(near)}?" if near else ""
                    faults.append(
                        f"{name}: no column {column.name}.{hint} Columns here: {first_few(list(raw.columns), 12)}."
                    )
                continue
            come = family(raw.columns[names[column.name]])
            if column.kind == "timestamp" and come == "zoned":
                faults.append(
                    f"{name}: {column.name} carries a time zone. Allowed: {KIND_WORDS['timestamp']}."
                )
        if "account_id" in names and not raw.untyped:
            come = family(raw.columns[names["account_id"]])
            families[name] = "whole numbers" if come in ("whole", "real") else "text"
        if TABLES[name].required and not faults and _count(raw) == 0:
            faults.append(f"{name} holds no rows: the book is empty.")
    if len(set(families.values())) > 1:
        told = "; ".join(f"{name}: {kind}" for name, kind in families.items())
        faults.append(
            f"account_id is of different types ({told}). Allowed: text or whole numbers, the same in each table."
        )
    return "whole numbers" in families.values(), faults


def _count(raw: Raw) -> int:
    return connection().execute(f"SELECT count(*) FROM {raw.source} r").fetchall()[0][0]


def _typed(raw: Raw, whole_ids: bool) -> _Typed:
    names = named(raw.name, raw.columns)
    contract = {given: name for name, given in names.items()}
    extras = [given for given in raw.columns if given not in contract]
    guesses = guessed(raw.source, extras) if raw.untyped else {}
    select, there, safe = {}, {}, set()
    for given, engine_type in raw.columns.items():
        if given not in contract:
            select[given] = guesses.get(given, of_raw(given))
            continue
        column = TABLES[raw.name].column(contract[given])
        whole = whole_ids and column.name == "account_id"
        select[column.name] = typed(column, of_raw(given), engine_type, whole)
        there[column.name] = is_there(column, of_raw(given), engine_type)
        if cannot_fail(column, engine_type, whole):
            safe.add(column.name)
    return _Typed(raw, names, select, there, frozenset(safe))


def last_snapshot(snapshots: _Typed) -> dt.date | None:
    """The last date with snapshots, leaving out a few that stand far in the future by mistake."""
    counts = (
        connection()
        .execute(
            f"SELECT day, count(*) FROM (SELECT {snapshots.of('as_of')} AS day FROM {snapshots.raw.source} r) "
            f"WHERE day BETWEEN DATE '{EARLIEST}' AND DATE '{LATEST}' GROUP BY day ORDER BY day"
        )
        .fetchall()
    )
    total, before = sum(rows for _, rows in counts), 0
    for (day, rows), (following, _) in itertools.pairwise(counts):
        before += rows
        if (following - day).days > GAP_DAYS and total - before < before:
            return day
    return counts[-1][0] if counts else None


# --- rules ------------------------------------------------------------------------------------------------


def _column_rules(column: Column, last: dt.date | None, dated: bool) -> list[tuple[Fault, str]]:
    """The rules of one column, as SQL with ``{column}`` for its typed value and ``{?column}`` for "is there"."""
    name, value = column.name, "{" + column.name + "}"
    rules = []

    def add(reason: str, broken: str, allowed: str = column.words) -> None:
        rules.append((Fault(reason=f"{name} {reason}", allowed=allowed, shows=name), broken))

    if column.required:
        add("is missing", "NOT coalesce({?" + name + "}, false)")
    words = {"date": "is no date", "timestamp": "is no date and time", "int": "is no whole number",
             "float": "is no number", "bool": "is neither true nor false", "id": "is no whole number"}  # fmt: skip
    if column.allowed or column.kind in words:
        add(
            "is unknown" if column.allowed else words[column.kind],
            "{?" + name + "} AND " + f"{value} IS NULL",
        )
    if column.ge is not None:
        add(f"< {column.ge:g}", f"{value} < {column.ge:g}")
    if column.le is not None:
        add(f"> {column.le:g}", f"{value} > {column.le:g}")
    if column.kind in ("date", "timestamp"):
        beyond = LATEST + dt.timedelta(days=1)
        add(
            "is an impossible date",
            f"({value} < '{EARLIEST}' OR {value} >= '{beyond}')",
            f"{EARLIEST} to {LATEST}",
        )
        if last is not None and dated:
            after = last + dt.timedelta(days=1)
            add(f"after the book's last snapshot ({last})", f"({value} >= '{after}' AND {value} < '{beyond}')",
                f"up to {last}; give as_of= to choose another last day")  # fmt: skip
    return rules


def rules_of(table: str, last: dt.date | None = None) -> list[tuple[Fault, str]]:
    """Every row rule of a table, in the order of its columns: what is told, and the SQL that finds it."""
    declared = TABLES[table]
    rules = []
    for column in declared.columns:
        rules += _column_rules(column, last, dated=column.name == declared.date and not column.may_be_later)
    rules += [(Fault(reason=r.reason, allowed=r.allowed, shows=r.shows), r.broken) for r in declared.rules]
    if table != "accounts":
        rules.append(
            (
                Fault(reason=ORPHAN, allowed="accounts that stand in accounts"),
                "{?account_id} AND {accounts.known} IS NULL",
            )
        )
        rules.append(
            (
                Fault(reason=ACCOUNT_ASIDE, allowed="accounts whose own row is in order"),
                "NOT {accounts.known}",
            )
        )
    return rules


def duplicate_faults(table: str) -> tuple[Fault, Fault]:
    """The two faults of rows that stand twice: an exact copy, and another row with the same key."""
    keys = ", ".join(TABLES[table].keys)
    return (
        Fault(reason=COPY, allowed="each row once"),
        Fault(reason=f"same {keys} as another row, with other facts", allowed=f"one row for each {keys}"),
    )


def _fill(broken: str, table: _Typed, account_columns: frozenset[str]) -> str | None:
    """The rule with the table's expressions in place; None where it cannot apply."""
    missing = False

    def put(found: re.Match[str]) -> str:
        nonlocal missing
        asked = found[1]
        if asked.startswith("accounts."):
            missing |= asked.removeprefix("accounts.") not in account_columns
            return f"a.__{asked.removeprefix('accounts.')}"
        column = asked.removeprefix("?")
        if column not in table.there:
            missing = True
            return ""
        return f"({table.there[column] if asked.startswith('?') else table.select[column]})"

    filled = re.sub(r"\{(\??[a-z_.]+)\}", put, broken)
    return None if missing else filled


def _check_table(table: _Typed, last: dt.date | None, accounts: str | None) -> Checked:
    con = connection()
    raw, name = table.raw, table.raw.name
    account_columns = frozenset(("known", "originated_on")) if accounts else frozenset()
    told, tests = [], []
    for fault, broken in rules_of(name, last):
        column = fault.shows
        if column in table.safe and fault.reason.startswith(f"{column} is ") and broken.endswith("IS NULL"):
            continue  # the type alone says that every value fits
        if filled := _fill(broken, table, account_columns):
            told.append(fault)
            tests.append(filled)
    copy, conflict = len(told), len(told) + 1
    told += duplicate_faults(name)
    bad, row = quote(fresh(f"{name}_bad")), f"r.{raw.row}"
    joined = f"LEFT JOIN {quote(accounts)} a ON {_key(table)} = a.__known_id" if accounts else ""
    listed = ", ".join(f"CASE WHEN {test} THEN {number} END" for number, test in enumerate(tests))
    con.execute(
        f"CREATE TEMP TABLE {bad} AS SELECT {row} AS __row, "
        f"list_filter([{listed}], lambda n: n IS NOT NULL) AS __faults FROM {raw.source} r {joined} "
        f"WHERE {' OR '.join(f'({test})' for test in tests)}"
    )
    equal_kept = find_duplicates(raw, table.select, bad, copy, conflict)
    rows_in = _count(raw)
    at_fault = con.execute(f"SELECT count(*) FROM {bad}").fetchall()[0][0]
    unread = con.execute(f"SELECT count(*) FROM {quote(raw.unread)}").fetchall()[0][0] if raw.unread else 0

    chosen = ", ".join(f"{expression} AS {quote(column)}" for column, expression in table.select.items())
    accepted = f"SELECT {chosen} FROM {raw.source} r"
    aside = None
    if at_fault:
        accepted += f" ANTI JOIN {bad} ON {row} = __row"
        reasons = ", ".join(quote_text(fault.reason) for fault in told)
        aside = (
            f"SELECT {_as_came(table)}, list_transform(__faults, lambda n: ([{reasons}])[n + 1]) AS reasons "
            f"FROM {raw.source} r JOIN {bad} ON {row} = __row"
        )
    if unread:
        lines = f"SELECT line, text AS original_line, [why] AS reasons FROM {quote(raw.unread)}"
        whole = f"SELECT {_as_came(table)}, CAST([] AS VARCHAR[]) AS reasons FROM {raw.source} r LIMIT 0"
        aside = f"({aside or whole}) UNION ALL BY NAME ({lines})"
    if raw.kept_in_memory and (aside or any(e != of_raw(c) for c, e in table.select.items())):
        accepted, aside = _kept(name, "accepted", accepted), _kept(name, "aside", aside)
        for used in (raw.kept_in_memory, raw.unread):
            if used:
                con.execute(f"DROP TABLE {quote(used)}")
    return Checked(
        name=name,
        accepted=accepted,
        aside=aside,
        rows_in=rows_in + unread,
        quarantined=at_fault + unread,
        equal_kept=equal_kept,
    )


def _kept(name: str, stem: str, query: str | None) -> str | None:
    if query is None:
        return None
    table = quote(fresh(f"{name}_{stem}"))
    connection().execute(f"CREATE TEMP TABLE {table} AS {query}")
    return f"SELECT * FROM {table}"


def _as_came(table: _Typed) -> str:
    """The raw columns under contract names; one that is called reasons itself makes room."""
    contract = {given: name for name, given in table.names.items()}
    clash = {"reasons": "reasons_given", "line": "line_given", "original_line": "original_line_given"}
    shown = [(given, contract.get(given, given)) for given in table.raw.columns]
    return ", ".join(f"{of_raw(given)} AS {quote(clash.get(name.lower(), name))}" for given, name in shown)


def _key(table: _Typed) -> str:
    return table.of("account_id")


def _account_ids(table: _Typed, checked: Checked) -> str:
    """A small table in the engine: each account's id, whether its row was accepted, when it was opened."""
    con = connection()
    name = fresh("account_ids")
    day = "originated_on" if "originated_on" in table.select else "CAST(NULL AS DATE)"
    aside = ""
    if checked.aside:
        # The quarantined ids in the type of the accepted ones.
        given = TABLES["accounts"].column("account_id")
        engine_type = con.execute(f"DESCRIBE {checked.aside}").fetchall()
        came = next(row[1] for row in engine_type if row[0] == "account_id")
        target = con.execute(f"DESCRIBE {checked.accepted}").fetchall()
        whole = next(row[1] for row in target if row[0] == "account_id") == "BIGINT"
        aside = (
            f" UNION ALL SELECT {typed(given, 'account_id', came, whole)}, false, NULL FROM ({checked.aside})"
        )
    con.execute(
        f"CREATE TEMP TABLE {quote(name)} AS SELECT id AS __known_id, bool_or(known) AS __known, "
        f"max(opened) AS __originated_on FROM (SELECT account_id AS id, true AS known, {day} AS opened "
        f"FROM ({checked.accepted}){aside}) WHERE id IS NOT NULL GROUP BY id"
    )
    return name
