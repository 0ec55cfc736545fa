"""The action log laid down once as whole numbers in the engine, then handed out customer by customer.

The engine joins, checks and encodes; what is left of an action is some thirty bytes. Parts hold whole customers
and are sorted as they are read, so a log in any order is audited in the memory of one part beside the table.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import narwhals as nw
import numpy as np
import pandas as pd

from collectlab.book.schema import CHANNELS, OUTCOMES, PARTIES
from collectlab.core import engine
from collectlab.core.engine import connection, embedded, fetch, quote, quote_text, require, scan
from collectlab.core.errors import FrameError
from collectlab.core.jackknife import with_replicates
from collectlab.measures.conduct.aside import YEARS, set_aside, shared_ids
from collectlab.measures.conduct.check import FLAGS, check_by, check_flags, check_origination
from collectlab.measures.conduct.judge import Rows
from collectlab.measures.conduct.zones import check_zones, own_zone, times
from collectlab.measures.groups import natural

if TYPE_CHECKING:
    import datetime as dt

    import duckdb

#: Rows of one part, about.
PART = 3_000_000
#: Columns of the log that a rule may need, beside account, time and channel.
OPTIONAL = ("action_id", "customer_id", "outcome", "party", "connected", "consent", "agreed", "number")
#: More groups than this are no table.
MOST_GROUPS = 5_000
_FRESH = itertools.count(1)


@dataclass(frozen=True)
class Laid:
    """A log laid down: where it lies, and what is known of it."""

    table: str
    owners: str
    source: str
    columns: frozenset[str]
    rows_in: int
    aside: pd.DataFrame
    groups: dict[str, list[object]]
    customer: np.ndarray
    replicate: np.ndarray
    first_day: int
    last_day: int
    has_hours: bool
    zoned: bool
    keyed: bool
    said: tuple[str, ...]
    parts: list[tuple[int, int]] = field(default_factory=list)


def fresh(name: str) -> str:
    """A name for a table of our own."""
    return f"_conduct_{name}_{next(_FRESH)}"


@contextmanager
def laid(
    actions: Any,
    accounts: Any | None,
    by: Sequence[str],
    *,
    time_zone: str | None,
    as_of: dt.date | None,
    checked: bool,
) -> Iterator[Laid]:
    """The log in the engine for as long as it is asked; dropped afterwards."""
    names: list[tuple[str, str]] = []
    try:
        yield _lay(actions, accounts, by, time_zone, as_of, checked, names)
    finally:
        for kind, name in reversed(names):
            connection().execute(f"DROP {kind} IF EXISTS {quote(name)}")


def _lay(
    actions: Any, accounts: Any | None, by: Sequence[str], time_zone: str | None, as_of: dt.date | None,
    checked: bool, made: list[tuple[str, str]],
) -> Laid:  # fmt: skip
    con = connection()
    zone_of_frame = own_zone(actions)
    frame = scan(actions)
    require(frame, "account_id", "at", "channel")
    have = frame.collect_schema().names()
    owners_frame = None if accounts is None else scan(accounts)
    of_accounts: list[str] = []
    if owners_frame is not None:
        require(owners_frame, "account_id")
        of_accounts = owners_frame.collect_schema().names()
    check_by(by, have, of_accounts)
    wanted = ["account_id", "at", "channel", *OPTIONAL, *by, "agency", "agent", "team"]
    needed = [c for c in dict.fromkeys(wanted) if c in have]
    whole_rows = not checked and "action_id" not in have
    source = _viewed(frame if whole_rows else frame.select(needed), "log", made)
    owner_columns = ["account_id", "customer_id", "originated_on", *(c for c in by if c not in have)]
    if time_zone is not None and time_zone in of_accounts:
        owner_columns.append(time_zone)
    if owners_frame is not None:
        there = [c for c in dict.fromkeys(owner_columns) if c in of_accounts]
        accounts_view = _viewed(owners_frame.select(there), "accounts", made)
        known = _kinds(accounts_view)
    else:
        accounts_view, known = "", {}
    kinds = _kinds(source)
    check_flags(source, kinds, FLAGS)
    at, local, has_hours, zoned, clock = times(source, kinds["at"], time_zone, known, zone_of_frame)
    said = [clock] if clock else []
    if not checked and "action_id" in have:
        said += shared_ids(source)

    owners = fresh("owners")
    made.append(("TABLE", owners))
    _owners(owners, source, accounts_view, known, kinds, by, time_zone, have)
    groups = _groups(by, source, owners, have, kinds)
    table = fresh("rows")
    made.append(("TABLE", table))
    selected = _encoded(
        by, have, groups, at, local, zoned, accounts_view != "", as_of, known, whole_rows, checked
    )
    same_type = kinds["account_id"] == known.get("account_id", kinds["account_id"])
    on = "l.account_id = __id" if same_type else "CAST(l.account_id AS VARCHAR) = CAST(__id AS VARCHAR)"
    chosen = ", ".join(f"{sql} AS {name}" for name, sql in selected.items())
    con.execute(
        f"CREATE TABLE {table} AS SELECT {chosen} FROM (SELECT *, {at} AS __at, {local} AS __local "
        f"FROM {source} l LEFT JOIN (SELECT * EXCLUDE (account_id, __customer), account_id AS __id FROM {owners}) o "
        f"ON {on}) a"
    )
    return _told(table, owners, source, have, groups, has_hours, zoned, not checked, said)


def _kinds(view: str) -> dict[str, str]:
    """Column → type, as the engine calls it."""
    relation = connection().table(view)
    return dict(zip(relation.columns, map(str, relation.types)))


def _viewed(frame: nw.LazyFrame, name: str, made: list[tuple[str, str]]) -> str:
    """A frame of any engine as a view of the embedded one."""
    if frame.implementation.is_pyspark():
        from pyspark.sql import functions as spark

        native = frame.to_native()
        zoned = [c for c, kind in native.dtypes if kind == "timestamp"]
        # Spark's own timestamps are shown in the session's time zone: that is the local time meant.
        frame = nw.from_native(native.withColumns({c: spark.col(c).cast("timestamp_ntz") for c in zoned}))
    if not embedded(frame):
        frame = scan(fetch(frame))
    view = fresh(name)
    frame.to_native().create_view(view)
    made.append(("VIEW", view))
    return view


def _owners(
    owners: str, source: str, accounts: str, known: dict[str, str], kinds: dict[str, str], by: Sequence[str],
    time_zone: str | None, have: Sequence[str],
) -> None:  # fmt: skip
    """One row per account, numbered so that the accounts of one customer follow one another."""
    con = connection()
    extra = [c for c in by if c not in have and c in known and c not in ("account_id", "customer_id")]
    picked = [f"min({quote(c)}) AS {quote('__by_' + c)}" for c in extra]
    if accounts:
        if "originated_on" in known:
            check_origination(accounts)
        customer = "min(CAST(customer_id AS VARCHAR))" if "customer_id" in known else "NULL::VARCHAR"
        born = "min(TRY_CAST(originated_on AS DATE))" if "originated_on" in known else "NULL::DATE"
        zone = f"min({quote(time_zone)})" if time_zone in known else "NULL::VARCHAR"
        check_zones(accounts, time_zone, known)
        origin = accounts
    else:
        customer = "min(CAST(customer_id AS VARCHAR))" if "customer_id" in kinds else "NULL::VARCHAR"
        born, zone, origin = "NULL::DATE", "NULL::VARCHAR", source
    picked = [f"{customer} AS __owner", f"{born} AS __born", f"{zone} AS __tz", *picked]
    con.execute(
        f"CREATE TABLE {owners} AS SELECT (row_number() OVER (ORDER BY __customer, account_id) - 1)::INTEGER "
        "AS __account, * FROM (SELECT * EXCLUDE (__owner), coalesce(__owner, CAST(account_id AS VARCHAR)) "
        f"AS __customer FROM (SELECT account_id, {', '.join(picked)} FROM {origin} "
        "WHERE account_id IS NOT NULL GROUP BY account_id))"
    )


def _group_sql(name: str, have: Sequence[str]) -> str:
    """A grouping column as text over the log ``a``, or over its owners ``o``."""
    if name == "team":
        found = [f"CAST({c} AS VARCHAR)" for c in ("team", "agency") if c in have]
        return f"coalesce({', '.join(found)})" if len(found) > 1 else found[0]
    return f"CAST({quote(name)} AS VARCHAR)"


def _groups(
    by: Sequence[str], source: str, owners: str, have: Sequence[str], kinds: dict[str, str]
) -> dict[str, list[object]]:
    con = connection()
    found: dict[str, list[object]] = {}
    for name in by:
        if name in ("month", "channel") and (name == "channel" or name not in have):
            continue
        inside = name in have or name == "team"
        text = _group_sql(name, have) if inside else f"CAST({quote('__by_' + name)} AS VARCHAR)"
        rows = con.execute(f"SELECT DISTINCT {text} FROM {source if inside else owners}").fetchall()
        if len(rows) > MOST_GROUPS:
            raise FrameError(f"by: {name} has {len(rows):,} values. Allowed: at most {MOST_GROUPS:,} groups.")
        found[name] = sorted((v for (v,) in rows if v is not None), key=natural)
    return found


def _enum(text: str, values: Sequence[object]) -> str:
    """The place of a text among ``values`` as SQL; NULL where it is none of them."""
    if not values:
        return "NULL::INTEGER"
    return f"enum_code(TRY_CAST({text} AS ENUM({', '.join(quote_text(str(v)) for v in values)})))"


def _encoded(
    by: Sequence[str], have: Sequence[str], groups: dict[str, list[object]], at: str, local: str, zoned: bool,
    orphans: bool, as_of: dt.date | None, known: dict[str, str], whole_rows: bool, checked: bool,
) -> dict[str, str]:  # fmt: skip
    def text(name: str) -> str:
        return f"CAST(a.{name} AS VARCHAR)" if name in have else "NULL::VARCHAR"

    channel = _enum(text("channel"), CHANNELS)
    outcome, party = _enum(text("outcome"), OUTCOMES), _enum(text("party"), PARTIES)
    missed = "outcome IN ('no_answer', 'wrong_number')" if "outcome" in have else "NULL::BOOLEAN"
    by_outcome = f"CASE WHEN {missed} THEN 0 WHEN {text('outcome')} IS NOT NULL THEN 1 ELSE -1 END"
    linked = (
        f"CASE WHEN a.connected IS NOT NULL THEN CAST(CAST(a.connected AS BOOLEAN) AS TINYINT) ELSE {by_outcome} END"
        if "connected" in have
        else by_outcome
    )
    why = [
        ("a.account_id IS NULL", 1),
        (f"a.__at IS NULL OR a.__local IS NULL OR {_far('a.__at')} OR {_far('a.__local')}", 2),
        (f"{channel} IS NULL", 3),
        (f"({text('outcome')} IS NOT NULL AND {outcome} IS NULL)", 4),
        (f"({text('party')} IS NOT NULL AND {party} IS NULL)", 4),
    ]
    # An account without a time zone of its own has no local time: said above as reason 2.
    if orphans:
        why[1:1] = [("a.__account IS NULL", 5)]
    if as_of is not None:
        why.append((f"a.__local >= epoch_us(TIMESTAMP '{as_of}') + 86400000000", 6))
    if "originated_on" in known:
        why.append(("a.__local < epoch_us(CAST(a.__born AS TIMESTAMP))", 7))
    reason = "CASE " + " ".join(f"WHEN {sql} THEN {n}" for sql, n in why) + " ELSE 0 END"
    columns = {
        "why": f"CAST({reason} AS UTINYINT)",
        "account": "a.__account",
        "t": "a.__at",
        **({"local": "a.__local"} if zoned else {}),
        "channel": f"CAST({channel} AS UTINYINT)",
        "party": f"CAST(coalesce({party} + 1, 0) AS UTINYINT)",
        "connected": f"CAST({linked} AS TINYINT)",
        "wrong": f"coalesce({text('outcome')} = 'wrong_number', false)",
        "consent": "coalesce(CAST(a.consent AS BOOLEAN), false)" if "consent" in have else "false",
    }
    if "agreed" in have:
        columns["agreed"] = "coalesce(CAST(a.agreed AS BOOLEAN), false)"
    if "number" in have:
        columns["number"] = "CAST(hash(CAST(a.number AS VARCHAR)) & 4294967295 AS UINTEGER)"
    for i, name in enumerate(by):
        if name in groups:
            inside = name in have or name == "team"
            source = _group_sql(name, have) if inside else f"{quote('__by_' + name)}::VARCHAR"
            columns[f"by{i}"] = (
                f"CAST(coalesce({_enum(source, groups[name])}, {len(groups[name])}) AS USMALLINT)"
            )
    if "action_id" in have:
        columns["mark"] = "CAST(hash(CAST(a.action_id AS VARCHAR)) & 4294967295 AS UINTEGER)"
    elif whole_rows:
        columns["mark"] = f"CAST(hash({', '.join(f'a.{quote(c)}' for c in have)}) & 4294967295 AS UINTEGER)"
    return columns


def _far(time: str) -> str:
    first, last = (f"epoch_us(TIMESTAMP '{year}-01-01')" for year in (YEARS[0], YEARS[1] + 1))
    return f"{time} < {first} OR {time} >= {last}"


def _told(
    table: str, owners: str, source: str, have: Sequence[str], groups: dict[str, list[object]], has_hours: bool,
    zoned: bool, bare: bool, said: list[str],
) -> Laid:  # fmt: skip
    con = connection()
    local = "local" if zoned else "t"
    rows_in, first, last, hours = con.execute(
        f"SELECT count(*), min({local}) FILTER (why = 0), max({local}) FILTER (why = 0), "
        f"count(*) FILTER (why = 0 AND {local} % 86400000000 <> 0) FROM {table}"
    ).fetchall()[0]
    aside = set_aside(table, owners, source, have)
    lookup = scan(con.sql(f"SELECT __account AS account, __customer AS customer FROM {owners}"))
    known = engine.collect(with_replicates(lookup, "customer", name="replicate").sort("account"))
    codes = pd.factorize(known["customer"])[0].astype(np.int32)
    cuts = _cuts(codes, rows_in)
    return Laid(
        table, owners, source, frozenset(have), int(rows_in), aside, groups, codes,
        known["replicate"].to_numpy(np.int64), 0 if first is None else int(first // 86_400_000_000),
        -1 if last is None else int(last // 86_400_000_000), has_hours and hours > 0, zoned, bare, tuple(said), cuts,
    )  # fmt: skip


def _cuts(customer: np.ndarray, rows: int) -> list[tuple[int, int]]:
    """First and last + 1 account of parts that hold whole customers."""
    n = len(customer)
    parts = max(1, -(-rows // PART))
    edges = [0]
    for k in range(1, parts):
        edge = n * k // parts
        while edge < n and edge > 0 and customer[edge] == customer[edge - 1]:
            edge += 1
        if edge > edges[-1]:
            edges.append(edge)
    return [(a, b) for a, b in itertools.pairwise([*edges, n]) if b > a]


def part(
    laid: Laid, first: int, last: int, door: duckdb.DuckDBPyConnection
) -> tuple[Rows, dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """The rows of accounts ``first`` to ``last`` − 1 as arrays, their codes, and the accounts of each copy left out
    and of each action that is another's like but for its id."""
    columns = door.table(laid.table).columns
    ties = [c for c in columns if c not in ("why", "account", "t")]
    found = door.execute(
        f"SELECT * EXCLUDE (why) FROM {laid.table} WHERE account >= {first} AND account < {last} AND why = 0 "
        f"ORDER BY account, t, {', '.join(ties)}"
    ).fetchnumpy()
    arrays = {name: np.asarray(values) for name, values in found.items()}
    copies = alike = np.array([], dtype=np.int64)
    if laid.keyed:
        same = _as_before(arrays, ("account", "t", "channel", "mark"))
        copies = arrays["account"][same]
        if len(copies):
            arrays = {name: values[~same] for name, values in arrays.items()}
    if laid.has_hours and "action_id" in laid.columns:
        facts = [c for c in arrays if c != "mark" and not c.startswith("by")]
        alike = arrays["account"][_as_before(arrays, facts)]
    nothing = np.zeros(len(arrays["t"]), dtype=bool)
    rows = Rows(
        account=arrays["account"],
        customer=laid.customer[arrays["account"]],
        number=arrays.get("number", arrays["account"]),
        at=arrays["t"],
        local=arrays.get("local", arrays["t"]),
        channel=arrays["channel"],
        connected=arrays["connected"],
        wrong=arrays["wrong"],
        party=arrays["party"],
        consent=arrays["consent"],
        agreed=arrays.get("agreed", nothing),
    )
    codes = {c: arrays[c] for c in arrays if c.startswith("by") or c == "mark"}
    return rows, codes, copies, alike


def _as_before(arrays: dict[str, np.ndarray], columns: Iterable[str]) -> np.ndarray:
    """Whether each row is equal to the one before it in these columns."""
    same = np.zeros(len(arrays["t"]), dtype=bool)
    if len(same) > 1:
        same[1:] = np.logical_and.reduce([arrays[c][1:] == arrays[c][:-1] for c in columns])
    return same
