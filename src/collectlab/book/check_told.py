"""Telling what was set aside: how many rows broke which rule, the first few, and what is allowed."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping

import pandas as pd

from collectlab.book.checks import Fault, duplicate_faults, rules_of
from collectlab.book.schema import TABLES
from collectlab.core.engine import connection, quote, quote_text

_SHOWN = 3


def _faults(table: str, last: dt.date | None) -> dict[str, Fault]:
    told = [fault for fault, _ in rules_of(table, last)] + list(duplicate_faults(table))
    return {fault.reason: fault for fault in told}


def by_rule(aside: Mapping[str, str], last: dt.date | None) -> pd.DataFrame:
    """Counts by table and rule, with the first few accounts and the values at fault."""
    con = connection()
    rows = []
    for name, query in aside.items():
        columns = [row[0] for row in con.execute(f"DESCRIBE {query}").fetchall()]
        shows = {}
        for reason, fault in _faults(name, last).items():
            if fault.shows in columns and fault.shows != "account_id":
                shows.setdefault(fault.shows, []).append(reason)
        arms = " ".join(
            f"WHEN __reason IN ({', '.join(quote_text(reason) for reason in reasons)}) "
            f"THEN ' (' || left(CAST({quote(column)} AS VARCHAR), 40) || ')'"
            for column, reasons in shows.items()
        )
        value = f"coalesce(CASE {arms} END, '')" if arms else "''"
        who = "left(CAST(account_id AS VARCHAR), 40)" if "account_id" in columns else "NULL"
        if "line" in columns and "original_line" in columns:
            who = f"CASE WHEN original_line IS NOT NULL THEN 'line ' || line ELSE {who} END"
        counts = con.execute(
            f"SELECT __reason, CAST(sum(n) AS BIGINT), min(__example, {_SHOWN}), count(*) FROM "
            f"(SELECT __reason, coalesce({who}, '?') || {value} AS __example, count(*) AS n "
            # The table may have a column called reason, or n, itself.
            f"FROM (SELECT *, unnest(reasons) AS __reason FROM ({query})) GROUP BY ALL) GROUP BY __reason"
        ).fetchall()
        order = list(_faults(name, last))
        counts.sort(key=lambda row: (order.index(row[0]) if row[0] in order else len(order), row[0]))
        for reason, count, examples, different in counts:
            more = ", …" if different > len(examples) else ""
            rows.append((name, reason, count, ", ".join(" ".join(e.split()) for e in examples) + more))
    return pd.DataFrame(rows, columns=["table", "rule", "rows", "examples"])


def remarks(
    quarantine: pd.DataFrame,
    reconciliation: pd.DataFrame,
    equal_kept: Mapping[str, int],
    last: dt.date | None,
    written: bool = True,
) -> tuple[str, ...]:
    """One line per rule broken, in the words of the error style of this library.

    ``written`` says that the rows set aside stand (or will) in the quarantine of a frozen book.
    """
    counts = reconciliation.set_index("table")
    told = []
    for name, rule, rows, examples in quarantine.itertuples(index=False):
        fault = _faults(name, last).get(rule)
        allowed = f" Allowed: {fault.allowed}." if fault else ""
        word = "account_id " if not examples.startswith("line ") else ""
        of = counts.loc[name]
        told.append(
            f"{name}: {rows:,} of {of['rows_in']:,} rows: {rule} ({word}{examples}).{allowed} "
            f"Set aside{f' in quarantine/{name}.parquet' if written else ''}; {of['accepted']:,} rows remain."
        )
    for name, rows in equal_kept.items():
        key = TABLES[name].keys[0]
        told.append(
            f"{name}: {rows:,} rows equal another in every column. They were kept, because both may be real; "
            f"with a column {key}, copies are set aside."
        )
    return tuple(told)
