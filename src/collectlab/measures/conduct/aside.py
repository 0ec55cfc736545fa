"""What an audit says of its log: rows set aside with the reason, and what a reader must know of the others."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from itertools import combinations

import numpy as np
import pandas as pd

from collectlab.book.schema import CHANNELS, OUTCOMES, PARTIES
from collectlab.core.engine import connection
from collectlab.core.errors import first_few
from collectlab.measures.conduct.rules import ContactRules, Rule, overlapping

COPY = "copy of another row (a reload)"
#: Times outside these years are typing errors, and no calendar of theirs is built.
YEARS = (1900, 2199)
#: Why a row is set aside, by its number in the laid table: the reason, what is shown of it, and what is allowed.
REASONS = {
    1: ("account_id is missing", "", "an account_id"),
    2: ("at is missing or no local time", "account_id", f"a date and time of the years {YEARS[0]} to {YEARS[1]}"),
    3: ("unknown channel", "channel", ", ".join(CHANNELS)),
    4: ("unknown outcome or party", "outcome, party", ", ".join((*OUTCOMES, *PARTIES))),
    5: ("account_id is not in accounts", "account_id", "accounts of the book or of accounts="),
    6: ("in the future", "account_id", "up to as_of"),
    7: ("before the account existed", "account_id", "on or after originated_on"),
}  # fmt: skip
_WORDS = {3: (("channel", CHANNELS),), 4: (("outcome", OUTCOMES), ("party", PARTIES))}


def set_aside(table: str, owners: str, source: str, columns: Iterable[str]) -> pd.DataFrame:
    """``reason, rows, first, allowed`` of the rows of a laid table that cannot be judged."""
    con = connection()
    bad = con.execute(f"SELECT why, count(*) FROM {table} WHERE why > 0 GROUP BY why ORDER BY why").fetchall()
    rows = []
    for why, n in bad:
        reason, shows, allowed = REASONS[why]
        if why in _WORDS:
            parts = [(name, words) for name, words in _WORDS[why] if name in columns]
            first = "; ".join(t for t in (_odd_words(source, name, words) for name, words in parts) if t)
        else:
            ids = _first_accounts(table, owners, source, why) if shows else []
            first = f"{shows} {few(ids)}" if ids else ""
        rows.append((reason, n, first, allowed))
    return pd.DataFrame(rows, columns=["reason", "rows", "first", "allowed"])


def few(found: Sequence[str]) -> str:
    """The first three of what was found, of which at most four were asked for."""
    return ", ".join(found[:3]) + (", …" if len(found) > 3 else "")


def _odd_words(source: str, name: str, words: Sequence[str]) -> str:
    known = ", ".join(f"'{w}'" for w in words)
    empty = f" OR {name} IS NULL" if name == "channel" else ""
    found = connection().execute(
        f"SELECT DISTINCT CAST({name} AS VARCHAR) AS word FROM {source} "
        f"WHERE CAST({name} AS VARCHAR) NOT IN ({known}){empty} ORDER BY word NULLS LAST LIMIT 4"
    )
    odd = ["(missing)" if w is None else repr(w) for (w,) in found.fetchall()]
    return f"{name} {few(odd)}" if odd else ""


def _first_accounts(table: str, owners: str, source: str, why: int) -> list[str]:
    if why == 5:
        asked = (
            f"SELECT DISTINCT CAST(account_id AS VARCHAR) AS id FROM {source} WHERE account_id IS NOT NULL AND "
            f"CAST(account_id AS VARCHAR) NOT IN (SELECT CAST(account_id AS VARCHAR) FROM {owners})"
        )
    else:
        asked = (
            f"SELECT DISTINCT CAST(o.account_id AS VARCHAR) AS id FROM {table} r JOIN {owners} o "
            f"ON r.account = o.__account WHERE why = {why}"
        )
    return [i for (i,) in connection().execute(f"{asked} ORDER BY id LIMIT 4").fetchall()]


def names_of(owners: str, accounts: Sequence[int]) -> list[str]:
    """The ids of accounts by their numbers."""
    found = connection().execute(
        f"SELECT CAST(account_id AS VARCHAR) AS id FROM {owners} WHERE __account IN (SELECT unnest(?)) ORDER BY id",
        [sorted(set(accounts))],
    )
    return [i for (i,) in found.fetchall()]


def told(aside: pd.DataFrame) -> str:
    """The rows set aside in one line: how many, why, the first few, and what is allowed."""
    lines = []
    for r in aside.itertuples():
        more = "; ".join(t for t in (r.first, f"allowed: {r.allowed}" if r.allowed else "") if t)
        lines.append(f"{r.rows:,} {r.reason}" + (f" ({more})" if more else ""))
    return "; ".join(lines)


def shared_ids(source: str) -> list[str]:
    """A line where one action_id stands on actions of different accounts, times or channels."""
    con = connection()
    # Whole numbers sorted in memory: a count of distinct texts would take ten times that.
    hashed = np.asarray(
        con.execute(
            f"SELECT hash(CAST(action_id AS VARCHAR)) AS h FROM {source} WHERE action_id IS NOT NULL"
        ).fetchnumpy()["h"]
    )
    hashed.sort()
    twice = np.unique(hashed[1:][hashed[1:] == hashed[:-1]])
    if not len(twice):
        return []
    many = pd.DataFrame({"h": twice})
    con.register("_conduct_twice", many)
    try:
        found = con.execute(
            f"SELECT CAST(action_id AS VARCHAR) AS id FROM {source} WHERE hash(CAST(action_id AS VARCHAR)) IN "
            '(SELECT h FROM _conduct_twice) GROUP BY id HAVING count(DISTINCT row(account_id, "at", channel)) > 1 '
            "ORDER BY id"
        ).fetchall()
    finally:
        con.unregister("_conduct_twice")
    if not found:
        return []
    ids = first_few([i for (i,) in found], 3)
    return [
        f"{len(found):,} action_id {'stands' if len(found) == 1 else 'stand'} on actions of different accounts, times or channels ({ids}); "
        "each was judged as an action of its own. Allowed: one action, one action_id."
    ]


def overlaps(books: Sequence[ContactRules], judged: Iterable[Rule]) -> list[str]:
    """Which rules ask the same thing, so that one action can break both and their violations must not be added."""
    keys = {r.key for r in judged}
    lines = []
    for book in books:
        rules = [r for r in book.rules if r.key in keys]
        for a, b in combinations(rules, 2):
            if overlapping(a, b):
                lines.append(f"{a.title.en} / {b.title.en}")
    if not lines:
        return []
    return [f"One action can break both of these, so their violations must not be added: {'; '.join(lines)}."]


def holidays_missing(books: Sequence[ContactRules], first: dt.date, last: dt.date) -> list[str]:
    """The years audited for which a rule needs holidays that its file does not list."""
    notes = []
    for book in books:
        needs = [r for r in book.rules if r.allowed and "holiday" in r.allowed.model_fields_set]
        gone = sorted(set(range(first.year, last.year + 1)) - {d.year for d in book.holidays})
        if needs and gone:
            notes.append(
                f"{book.name.en}: no holidays are listed for {first_few(gone)}; these were judged as other days."
            )
    return notes


def two_teams(source: str) -> list[str]:
    """Agents who stand in more than one team."""
    found = connection().execute(
        f"SELECT CAST(agent AS VARCHAR) AS agent FROM (SELECT DISTINCT agent, team FROM {source} "
        "WHERE agent IS NOT NULL AND team IS NOT NULL) GROUP BY agent HAVING count(*) > 1 ORDER BY agent"
    ).fetchall()  # fmt: skip
    if not found:
        return []
    verb = "agent stands" if len(found) == 1 else "agents stand"
    names = first_few([f for (f,) in found], 3)
    return [f"{len(found):,} {verb} in more than one team ({names}); each action counts for its team."]
