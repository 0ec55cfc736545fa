"""Which columns of a tidy table name its groups, and which count people: told from names and values."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

#: Columns that count what a row rests on, in the order in which they are taken.
COUNTS = (
    "n", "control_n", "customers", "accounts", "episodes", "cases", "plans", "loans", "account_months",
    "debtors", "contacted", "called", "visited", "reached", "judged", "checked", "started", "eligible", "size", "count", "agreed", "at_risk", "answers", "contacts", "attempts", "actions", "due", "batches_of_accounts",
    "asked", "entered", "times", "surveys", "visits", "letters", "calls", "payers", "members", "people", "weeks", "account_weeks",
)  # fmt: skip

#: Columns that count some of what a row rests on. What is a count in one table may be a part in another.
PARTS = (
    "events", "bad", "overdue_accounts", "complaints", "active", "open", "observed", "promises", "kept", "broken",
    "violations", "missed", "late", "missing", "done", "paid", "cured", "won", "lost", "wrong", "found",
    "exempt", "not_known", "done_late", "offered", "events_before", "events_after", "answered", "unknown",
    "ended_first", "followed", "mistreated",
)  # fmt: skip

#: Counts of what was done, not of whom.
CONTACTS = frozenset({"contacts", "attempts", "actions", "calls", "visits", "letters"})
#: Measures that are shares of contacts, whatever their base is called.
OF_CONTACTS = ("recorded",)

#: Parts that stand beside a row's figures and are no numerator of them: a small one is blanked alone.
_ASIDE = frozenset({"exempt", "not_known", "unknown", "ended_first", "open", "followed", "answered"})

#: Dimensions whose levels are not parts of one whole: each is a table of its own.
SLICES = frozenset(
    {
        "measure", "kpi", "horizon", "outcome", "definition", "key", "rule", "step", "contact", "measured",
        "compared", "term", "characteristic", "question", "fact", "day", "as_of", "parameter", "what", "of",
        "scheme", "slice", "attribute",
    }
)  # fmt: skip

#: Text that says something of a row and does not name it.
_SAYS = frozenset(
    {
        "unit", "definition_words", "source", "statement", "words", "text", "meaning", "caution", "note", "why",
        "how_sure", "grade", "verdict", "status", "reading", "cohort_status", "trend", "direction", "reference",
        "sentence", "said", "evidence", "example",
    }
)  # fmt: skip

#: Text that repeats the row's figures, and goes with them.
_SAYINGS = ("statement", "sentence", "words", "said", "text")

#: Numbers that are no figures: what a row is about.
_LABELS = frozenset(
    {
        "horizon",
        "day",
        "month",
        "year",
        "week",
        "hour",
        "weekday",
        "days_past_due_from",
        "rank",
        "target",
        "poor",
        "weight",
        "limit",
        "from_day",
        "conf_level",
        "stage_from",
        "stage_until",
    }
)

#: Words in the names of whole numbers that count no people.
_NO_COUNT = frozenset(
    {"day", "days", "dpd", "month", "months", "week", "weeks", "year", "hour", "hours", "rank", "number", "order",
     "case", "step", "depth", "level", "df", "batches", "rows", "units", "rules", "replicates", "bootstraps", "times",
     "cost", "amount", "balance", "owed", "net", "recovered", "collected", "placed", "price", "fee", "score", "value"}
)  # fmt: skip


@dataclass(frozen=True)
class Cells:
    """How a table is read: ``by`` names a row, ``counts`` are what it rests on, ``parts`` some of those."""

    by: tuple[str, ...] = ()
    counts: tuple[str, ...] = ()
    parts: tuple[str, ...] = ()
    curve: bool = False
    labels: frozenset[str] = _LABELS
    sayings: tuple[str, ...] = ()
    aside: frozenset[str] = _ASIDE


def cells_of(table: pd.DataFrame) -> Cells:
    """How a tidy table is read, where its result does not say.

    Examples
    --------
    >>> read = cells_of(pd.DataFrame({"product": ["card", "auto"], "measure": ["x", "x"], "episodes": [9, 7]}))
    >>> read.by, read.counts
    (('product', 'measure'), ('episodes',))
    """
    names = [str(c) for c in table.columns]
    numeric = {c for c in names if pd.api.types.is_numeric_dtype(table[c])}
    numeric -= {c for c in names if pd.api.types.is_bool_dtype(table[c])}
    whole = {c for c in numeric if _whole(table[c])}
    counts = [c for c in COUNTS if c in whole]
    parts = [c for c in PARTS if c in whole]
    if "overdue" in whole and counts:  # of accounts; elsewhere it is money
        parts.append("overdue")
    # Another whole number beside a count is taken for some of it.
    if counts:
        parts += [c for c in names if c in whole and c not in (*counts, *parts) and _may_count(table[c])]
    # Contacts are some of the attempts, promises some of the contacts.
    for some, of in (("contacts", "attempts"), ("due", "contacts"), ("contacts", "actions")):
        if some in counts and of in counts and (table[some] <= table[of]).all():
            counts.remove(some)
            parts.append(some)
    timed = [c for c in ("day", "month", "horizon", "hour", "weekday", "year") if c in numeric]
    text = [c for c in names if c not in numeric and c not in _SAYS]
    by = _needed(table, [*text, *timed])
    curve = bool(counts) and (
        "day" in timed or ("month" in timed and ("events" in names or "state" in names))
    )
    return Cells(by, tuple(counts), tuple(parts), curve, sayings=tuple(c for c in _SAYINGS if c in names))


def _needed(table: pd.DataFrame, columns: list[str]) -> tuple[str, ...]:
    """The columns without those that follow from the others: a second name of the group, say."""
    keys = table[columns].astype(str)
    kept = list(columns)
    distinct = len(keys.drop_duplicates())
    for column in reversed(columns):
        rest = [c for c in kept if c != column]
        if column not in SLICES and rest and len(keys[rest].drop_duplicates()) == distinct:
            kept = rest
    return tuple(kept)


def _may_count(values: pd.Series) -> bool:
    name = str(values.name)
    return (
        pd.api.types.is_integer_dtype(values) and name not in _LABELS and not set(name.split("_")) & _NO_COUNT
    )


def _whole(values: pd.Series) -> bool:
    there = values.dropna()
    return not there.empty and bool((there % 1 == 0).all() and (there >= 0).all())


__all__ = ["CONTACTS", "COUNTS", "PARTS", "SLICES", "Cells", "cells_of"]
