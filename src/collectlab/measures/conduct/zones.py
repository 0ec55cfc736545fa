"""Local time and elapsed time of a log, whichever way it says its time zone."""

from __future__ import annotations

from typing import Any
from zoneinfo import available_timezones

import narwhals as nw
import pandas as pd

from collectlab.core.engine import connection, quote, quote_text
from collectlab.core.errors import FrameError, first_few, nearest

#: Text of a time with an offset.
_OFFSET = r"\d:\d\d.*(Z|[+-]\d\d(:?\d\d)?)$"


def own_zone(actions: Any) -> str | None:
    """The zone that ``at`` carries in a frame that has one; refuses a column of which some carry none."""
    if isinstance(actions, pd.DataFrame) and "at" in actions.columns:
        column = actions["at"]
        if column.dtype == object:
            aware = column.map(lambda v: getattr(v, "tzinfo", None) is not None)
            times = column.map(lambda v: hasattr(v, "tzinfo"))
            if aware.any() and (times & ~aware).any():
                _mixed(int(aware.sum()), int((times & ~aware).sum()), column[times & ~aware].tolist()[:3])
            if aware.any():
                return "UTC"
        zone = getattr(column.dtype, "tz", None)
        return None if zone is None else str(zone)
    try:
        kind = nw.from_native(actions).collect_schema()["at"]
    except (TypeError, KeyError):
        return None
    return getattr(kind, "time_zone", None)


def _mixed(zoned: int, plain: int, first: list[object]) -> None:
    raise FrameError(
        f"at: {zoned:,} rows have a time zone and {plain:,} have none (such as {first_few(first, 3)}). "
        "Allowed: all of one kind, because a local time cannot be told from another's."
    )


def times(
    source: str, kind: str, time_zone: str | None, known: dict[str, str], own: str | None
) -> tuple[str, str, bool, bool, str]:
    """Elapsed and local time as SQL over the log, whether it has hours, and a zone, and what is to be said of it."""
    con = connection()
    at = '"at"'
    zoned = "TIME ZONE" in kind or "TIMESTAMPTZ" in kind
    if kind == "VARCHAR":
        text = f"trim({at})"
        with_zone, without = con.execute(
            f"SELECT count(*) FILTER (regexp_matches({text}, {quote_text(_OFFSET)})), "
            f"count(*) FILTER (NOT regexp_matches({text}, {quote_text(_OFFSET)}) AND "
            f"TRY_CAST({text} AS TIMESTAMP) IS NOT NULL) FROM {source}"
        ).fetchall()[0]
        if with_zone and without:
            first = con.execute(
                f"SELECT {at} FROM {source} WHERE NOT regexp_matches({text}, {quote_text(_OFFSET)}) LIMIT 3"
            ).fetchall()
            _mixed(with_zone, without, sorted(f[0] for f in first))
        zoned = with_zone > 0
        at = f"TRY_CAST({text} AS {'TIMESTAMPTZ' if zoned else 'TIMESTAMP'})"
    elif kind == "DATE":
        if time_zone is not None:
            raise FrameError("time_zone: at has dates only. Allowed: a time zone where at has hours.")
        return 'epoch_us(CAST("at" AS TIMESTAMP))', 'epoch_us(CAST("at" AS TIMESTAMP))', False, False, ""
    elif kind == '"NULL"' or not con.execute(f"SELECT 1 FROM {source} LIMIT 1").fetchall():
        at = "CAST(NULL AS TIMESTAMP)"
    elif not kind.startswith("TIMESTAMP"):
        raise FrameError(f"at is {kind}. Allowed: dates with times, such as 2026-10-31 14:05.")
    elif zoned:
        at = f"CAST({at} AS TIMESTAMPTZ)"
    else:
        at = f"CAST({at} AS TIMESTAMP)"
    zone = _zone(time_zone, known, own if zoned else None, zoned)
    if zone is None:
        said = "The log's times bear no time zone; they were taken as local time at the debtor's place."
        return f"epoch_us({at})", f"epoch_us({at})", True, False, said
    instant = at if zoned else f"timezone('UTC', {at})"
    place = f"the column {time_zone} of accounts" if zone == "__tz" else time_zone or own
    said = "" if zoned else f"The log's times bear no time zone; they were read as UTC and turned to {place}."
    return f"epoch_us({instant})", f"epoch_us(timezone({zone}, {instant}))", True, True, said


def _zone(time_zone: str | None, known: dict[str, str], own: str | None, zoned: bool) -> str | None:
    """The zone of local time as SQL; None: ``at`` is local already."""
    if time_zone is None:
        if not zoned:
            return None
        if own in (None, "UTC", "Etc/UTC"):
            raise FrameError(
                "at has a time zone, but not the debtor's. Needed: time_zone, the name of one such as "
                "'Asia/Shanghai', or a column of accounts that holds it."
            )
        time_zone = own
    if time_zone in known:
        return "__tz"
    if time_zone not in available_timezones():
        near = nearest(str(time_zone), available_timezones())
        hint = f" Did you mean {' or '.join(near)}?" if near else ""
        raise FrameError(f"time_zone: no time zone or column of accounts {time_zone!r}.{hint}")
    return quote_text(str(time_zone))


def check_zones(accounts: str, time_zone: str | None, known: dict[str, str]) -> None:
    if time_zone is None or time_zone not in known:
        return
    found = connection().execute(f"SELECT DISTINCT {quote(time_zone)} FROM {accounts}").fetchall()
    odd = sorted(str(z) for (z,) in found if z not in available_timezones())
    if odd:
        raise FrameError(
            f"accounts: {time_zone} holds {first_few(odd)}. Allowed: names of time zones, such as Asia/Shanghai."
        )
