"""What is wrong with the data themselves: rows set aside, tables that are not there."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from collectlab.policy.candidates import Candidate, Context, Finding, label_of, need, numbers
from collectlab.policy.targets import say


def quarantined(name: str, table: pd.DataFrame, context: Context) -> Iterator[Candidate]:
    """Tables of which too many rows were set aside."""
    need(name, table, "table", "rows_in", "quarantined")
    rows, aside = numbers(table, "rows_in"), numbers(table, "quarantined")
    limit = context.limit("quarantined_share")
    for i, label in enumerate(table["table"].map(label_of)):
        if not rows[i] > 0:
            continue
        share = aside[i] / rows[i]
        statement = (
            f"{say(aside[i], 'count')} of {say(rows[i], 'count')} rows of {label} were set aside "
            f"({share:.2%}); the limit is {limit:.2%}.".replace("%", " %")
        )
        fact = {"estimate": share, "unit": "share", "comparison": limit, "gap": share - limit, "n": rows[i]}
        yield Candidate(
            _fact(
                name,
                label,
                "quarantined",
                statement,
                comparison_of="the limit",
                size=min(1.0, share * 10),
                **fact,
            ),
            noteworthy=share > limit,
        )


def table_missing(name: str, table: pd.DataFrame, context: Context) -> Iterator[Candidate]:
    """Tables the book does not have, and what that switches off."""
    need(name, table, "table")
    for row in table.to_dict("records"):
        label, off = label_of(row["table"]), row.get("switches_off")
        what = f"; not reported: {off}" if isinstance(off, str) and off else ""
        yield Candidate(
            _fact(name, label, "table_missing", f"The book has no table {label}{what}.", size=0.01)
        )


def _fact(name: str, row: str, rule: str, statement: str, **numbers: float | str) -> Finding:
    given = {
        "key": f"{name}: {row}",
        "rule": rule,
        "measure": rule,
        "area": "process",
        "table": name,
        "row": row,
        "subject": row,
    }
    return Finding(**given, statement=statement, kind="fact", **numbers)  # type: ignore[arg-type]
