"""From the types a table came with to the types of the contract, as SQL expressions that never fail.

A value that does not fit becomes NULL here while the raw value is there: that pair is the fault
"is not a date". Only what is plainly the same thing written otherwise is taken over (20260131 for a date,
3.0 for a whole number, yes for true).
"""

from __future__ import annotations

from collections.abc import Mapping

from collectlab.book.schema import TABLES, Column
from collectlab.core.engine import connection, quote, quote_text

_WHOLE = (
    "TINYINT",
    "SMALLINT",
    "INTEGER",
    "BIGINT",
    "HUGEINT",
    "UTINYINT",
    "USMALLINT",
    "UINTEGER",
    "UBIGINT",
    "UHUGEINT",
)
_REAL = ("FLOAT", "DOUBLE", "DECIMAL")
#: Words that say "no value" in a number, a date or a listed value; in free text they are kept.
_NO_VALUE = ("", "na", "n/a", "nan", "nat", "null", "none", "\\n", "<na>")


def family(engine_type: str) -> str:
    """whole, real, date, time, zoned, bool, text or other."""
    name = engine_type.upper().split("(")[0]
    if name in _WHOLE:
        return "whole"
    if name in _REAL:
        return "real"
    if name.startswith("TIMESTAMPTZ") or "TIME ZONE" in name:
        return "zoned"
    if name.startswith("TIMESTAMP"):
        return "time"
    if name == "DATE":
        return "date"
    if name == "BOOLEAN":
        return "bool"
    return "text" if name in ("VARCHAR", "ENUM") else "other"


def of_raw(column: str) -> str:
    """A raw column as SQL. Every raw table is called r, because a column may be called rowid, say."""
    return f"r.{quote(column)}"


def present(column: Column | None, raw: str, engine_type: str) -> str:
    """The raw value as text without outer blanks, or NULL where it says "no value"."""
    text = f"trim(CAST({raw} AS VARCHAR))"
    if column is not None and (column.kind not in ("id", "text") or column.allowed):
        listed = ", ".join(quote_text(word) for word in _NO_VALUE)
        return f"CASE WHEN lower({text}) NOT IN ({listed}) THEN {text} END"
    return f"nullif({text}, '')"


def typed(column: Column, raw: str, engine_type: str, whole_ids: bool = False) -> str:
    """SQL of the contract's value of ``raw``, NULL where there is none or where it does not fit."""
    come = family(engine_type)
    text = present(column, raw, engine_type)
    match column.kind:
        case "id":
            if come == "whole":
                return raw if engine_type == "BIGINT" else f"TRY_CAST({raw} AS BIGINT)"
            if come == "real":
                return _as_whole(raw)
            if whole_ids:  # not by way of a double, which loses digits of long numbers
                return f"CASE WHEN regexp_full_match({text}, '-?[0-9]+') THEN TRY_CAST({text} AS BIGINT) END"
            return text
        case "text":
            if column.allowed:
                listed = ", ".join(quote_text(word) for word in column.allowed)
                return f"CASE WHEN lower({text}) IN ({listed}) THEN lower({text}) END"
            return text
        case "date":
            if come == "date":
                return raw
            if come in ("time", "zoned"):
                return f"TRY_CAST({raw} AS DATE)"
            return f"coalesce(TRY_CAST({text} AS DATE), TRY_CAST(try_strptime({text}, '%Y%m%d') AS DATE))"
        case "timestamp":
            if come in ("date", "time", "zoned"):
                return raw if engine_type == "TIMESTAMP" else f"TRY_CAST({raw} AS TIMESTAMP)"
            # A written offset is cut off: the local time is what stands before it. UTC (Z, +00:00) says that it is none.
            local = rf"regexp_replace({text}, '(:\d\d(\.\d+)?) ?[+-]\d\d(:?\d\d)?$', '\1')"
            utc = rf"regexp_matches({text}, ':\d\d(\.\d+)? ?([zZ]|[+-]00(:?00)?)$')"
            return f"CASE WHEN NOT {utc} THEN TRY_CAST({local} AS TIMESTAMP) END"
        case "int":
            if come == "whole":
                return raw if engine_type == "BIGINT" else f"TRY_CAST({raw} AS BIGINT)"
            return _as_whole(raw if come == "real" else f"TRY_CAST({text} AS DOUBLE)")
        case "float":
            number = raw if come in ("whole", "real") else f"TRY_CAST({text} AS DOUBLE)"
            if come == "whole" or engine_type.startswith("DECIMAL"):
                return f"CAST({number} AS DOUBLE)"
            return f"CASE WHEN isfinite(CAST({number} AS DOUBLE)) THEN CAST({number} AS DOUBLE) END"
        case "bool":
            if come == "bool":
                return raw
            if come in ("whole", "real"):
                return f"CASE {raw} WHEN 1 THEN true WHEN 0 THEN false END"
            return (
                f"CASE WHEN lower({text}) IN ('true', 't', 'yes', 'y', '1', '1.0') THEN true "
                f"WHEN lower({text}) IN ('false', 'f', 'no', 'n', '0', '0.0') THEN false END"
            )
    raise AssertionError(column.kind)


def _as_whole(number: str) -> str:
    as_double = f"CAST({number} AS DOUBLE)"
    return f"CASE WHEN isfinite({as_double}) AND {as_double} = floor({as_double}) THEN TRY_CAST({number} AS BIGINT) END"


def is_there(column: Column, raw: str, engine_type: str) -> str:
    """SQL that is true where a raw value stands, be it a right one or not."""
    come = family(engine_type)
    if come in ("whole", "date", "time", "zoned", "bool"):
        return f"{raw} IS NOT NULL"
    if come == "real":
        return f"NOT isnan(CAST({raw} AS DOUBLE))"  # NULL stays NULL, which is no truth either
    return f"{present(column, raw, engine_type)} IS NOT NULL"


def cannot_fail(column: Column, engine_type: str, whole_ids: bool) -> bool:
    """Whether the raw type alone says that every value fits, so that no check is needed."""
    come = family(engine_type)
    fits = {
        "id": ("whole",) if whole_ids else ("whole", "text", "other", "date", "time", "bool"),
        "text": () if column.allowed else ("whole", "real", "date", "time", "zoned", "bool", "text", "other"),
        "date": ("date", "time"),
        "timestamp": ("date", "time"),
        "int": ("whole",),
        "float": ("whole",),
        "bool": ("bool",),
    }
    return come in fits[column.kind]


def named(table: str, columns: Mapping[str, str]) -> dict[str, str]:
    """Contract name -> raw name, for the columns that are there; letter case and blanks do not matter."""
    declared = {column.name for column in TABLES[table].columns}
    found = {name: name for name in columns if name in declared}
    for name in columns:
        loose = name.strip().lower().replace(" ", "_")
        if loose in declared and loose not in found:
            found[loose] = name
    return found


def guessed(source: str, names: list[str]) -> dict[str, str]:
    """SQL of CSV columns the contract does not name: numbers, dates and truths where every value is one."""
    if not names:
        return {}
    tests = []
    for name in names:
        text = present(None, of_raw(name), "VARCHAR")
        whole = rf"regexp_full_match({text}, '-?(0|[1-9]\d{{0,17}})')"
        real = rf"regexp_full_match({text}, '-?(0|[1-9]\d*)?\.?\d+([eE][+-]?\d+)?')"
        day = rf"(regexp_full_match({text}, '\d{{4}}-\d\d-\d\d') AND TRY_CAST({text} AS DATE) IS NOT NULL)"
        truth = f"(lower({text}) IN ('true', 'false'))"
        padded = rf"regexp_full_match({text}, '-?0\d+.*')"
        tests += [
            f"count({text})",
            *(f"coalesce(bool_and({test}), false)" for test in (whole, day, truth)),
            f"coalesce(bool_and({real} AND NOT {padded}), false)",
        ]
    answers = connection().execute(f"SELECT {', '.join(tests)} FROM {source} r").fetchall()[0]
    chosen = {}
    for position, name in enumerate(names):
        count, whole, day, truth, real = answers[5 * position : 5 * position + 5]
        text = present(None, of_raw(name), "VARCHAR")
        engine_type = (
            "BIGINT" if whole else "DATE" if day else "BOOLEAN" if truth else "DOUBLE" if real else None
        )
        chosen[name] = f"TRY_CAST({text} AS {engine_type})" if count and engine_type else text
    return chosen
