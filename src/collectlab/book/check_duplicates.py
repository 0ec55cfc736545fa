"""Rows that stand twice.

Of rows that are the same in every column, one is kept. Rows that share a key but differ in
their facts are all set aside, because nothing in the book says which is right; a row that is at fault
anyway does not pull a good one with it. Payments without a ``payment_id`` may rightly be equal (two
instalments paid on one day): equal ones are kept and counted in the remarks.
"""

from __future__ import annotations

from collections.abc import Mapping

from collectlab.book.check_read import Raw, fresh
from collectlab.book.schema import TABLES
from collectlab.core.engine import connection, quote


def find_duplicates(raw: Raw, select: Mapping[str, str], bad: str, copy: int, conflict: int) -> int:
    """Add rows that stand twice to the table ``bad``, with the fault number of their kind.

    ``select`` holds the accepted columns as SQL. Returns how many equal rows were kept.
    """
    con = connection()
    row = f"r.{raw.row}"
    declared = TABLES[raw.name]
    keyed = bool(declared.keys) and all(key in select for key in declared.keys)
    columns = declared.keys if keyed else tuple(select)
    keys = [select[key] for key in columns]
    if keyed and _strictly_sorted(raw.source, row, keys):
        return 0
    mark = f"hash({', '.join(keys)})"
    whole = ", ".join(select.values())
    there = " AND ".join(f"{key} IS NOT NULL" for key in keys) if keyed else "true"
    twice = quote(fresh("twice"))
    con.execute(
        f"CREATE TEMP TABLE {twice} AS SELECT {row} AS __row, row({', '.join(keys)}) AS key, row({whole}) AS facts "
        f"FROM {raw.source} r WHERE {there} AND {mark} IN "
        f"(SELECT mark FROM (SELECT {mark} AS mark FROM {raw.source} r WHERE {there}) GROUP BY mark HAVING count(*) > 1)"
    )
    found = quote(fresh("found"))
    con.execute(
        f"CREATE TEMP TABLE {found} AS WITH ranked AS (SELECT t.__row, key, b.__row IS NOT NULL AS at_fault, "
        "row_number() OVER (PARTITION BY key, facts ORDER BY b.__row IS NOT NULL, t.__row) > 1 AS copy "
        f"FROM {twice} t LEFT JOIN {bad} b ON t.__row = b.__row), "
        "counted AS (SELECT *, count(*) FILTER (NOT copy) OVER (PARTITION BY key) AS others, "
        "count(*) FILTER (NOT copy AND NOT at_fault) OVER (PARTITION BY key) AS good FROM ranked) "
        f"SELECT __row, copy, at_fault, CASE WHEN copy THEN {copy} ELSE {conflict} END AS fault FROM counted "
        "WHERE copy OR (CASE WHEN at_fault THEN others ELSE good END) > 1"
    )
    equal_kept = 0
    if declared.copies_kept and not keyed:
        equal_kept = con.execute(f"SELECT count(*) FROM {found} WHERE NOT at_fault").fetchall()[0][0]
    else:
        con.execute(
            f"UPDATE {bad} SET __faults = list_append(__faults, fault) FROM {found} f WHERE {bad}.__row = f.__row"
        )
        con.execute(f"INSERT INTO {bad} SELECT __row, [fault] FROM {found} WHERE NOT at_fault")
    con.execute(f"DROP TABLE {found}")
    con.execute(f"DROP TABLE {twice}")
    return equal_kept


def _strictly_sorted(source: str, row: str, keys: list[str]) -> bool:
    """Whether each row's key is above that of the row before: then no key stands twice.

    One stream over the key columns, far cheaper than grouping them. It proves itself: the engine need not
    promise an order, because row numbers must follow one another too.
    """
    names = [f"k{number}" for number in range(len(keys))]
    above = "false"
    for name in reversed(names):
        above = f"({name} > before_{name} OR ({name} = before_{name} AND {above}))"
    inner = ", ".join(f"{key} AS {name}" for key, name in zip(keys, names, strict=True))
    lags = ", ".join(f"lag({name}) OVER () AS before_{name}" for name in names)
    steps, rows = (
        connection()
        .execute(
            f"SELECT count(*) FILTER (n = before_n + 1 AND {above}), count(*) FROM "
            f"(SELECT *, lag(n) OVER () AS before_n, {lags} FROM (SELECT {row} AS n, {inner} FROM {source} r))"
        )
        .fetchall()[0]
    )
    return steps == rows - 1 or rows == 0
