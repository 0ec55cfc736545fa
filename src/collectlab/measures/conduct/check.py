"""Logs and accounts that the audit refuses before it counts, with what it found and what is allowed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from collectlab.core.engine import connection, quote
from collectlab.core.errors import FrameError, nearest
from collectlab.measures.conduct.aside import few

FLAGS = ("connected", "consent", "agreed")
#: Names of ours beside the log's own columns.
_OURS = {"__account", "__customer", "__owner", "__born", "__tz", "__id", "__at", "__local"}


def check_by(by: Sequence[str], have: Sequence[str], of_accounts: Sequence[str]) -> None:
    """Refuse groupings that are no column, and columns that bear a name of ours."""
    allowed = [*have, *of_accounts, "month"]
    faults = [
        f"column {name!r} bears a name that the audit uses itself. Allowed: any other name."
        for name in sorted(_OURS & {*have, *of_accounts})
    ]
    if "all" in by:
        faults.append("by: 'all' is what everybody together is called. Allowed: a column of another name.")
    for name in by:
        known = name in allowed or (name == "team" and "agency" in have)
        if not known:
            near = nearest(name, allowed)
            hint = f" Did you mean {' or '.join(near)}?" if near else ""
            faults.append(
                f"by: no column {name!r} in actions or accounts.{hint} Allowed: a column, or 'month'."
            )
    if faults:
        raise FrameError(faults)


def check_flags(source: str, kinds: dict[str, str], flags: Iterable[str]) -> None:
    """Refuse flags that hold anything but true, false and nothing."""
    faults = []
    for name in flags:
        kind = kinds.get(name, "BOOLEAN")
        if kind in ("BOOLEAN", '"NULL"'):
            continue
        column = quote(name)
        text = f"CAST({column} AS VARCHAR)"
        number = not kind.startswith(("VARCHAR", "DATE", "TIME", "ENUM", "BLOB"))
        fine = f"{column} IN (0, 1)" if number else f"TRY_CAST({text} AS BOOLEAN) IS NOT NULL"
        n, all_rows = (
            connection()
            .execute(
                f"SELECT count(*) FILTER ({column} IS NOT NULL AND NOT ({fine})), count(*) FROM {source}"
            )
            .fetchall()[0]
        )
        if n:
            first = (
                connection()
                .execute(
                    f"SELECT DISTINCT {text} AS v FROM {source} WHERE {column} IS NOT NULL AND NOT ({fine}) "
                    "ORDER BY v LIMIT 4"
                )
                .fetchall()
            )
            faults.append(
                f"{name}: {n:,} of {all_rows:,} are neither true nor false "
                f"({few([repr(v) for (v,) in first])}). Allowed: true or false (yes, no, 1, 0)."
            )
    if faults:
        raise FrameError(faults)


def check_origination(accounts: str) -> None:
    """Refuse days of origination that are no dates."""
    odd = "originated_on IS NOT NULL AND TRY_CAST(CAST(originated_on AS VARCHAR) AS TIMESTAMP) IS NULL"
    found = connection().execute(
        f"SELECT CAST(account_id AS VARCHAR) AS id, CAST(originated_on AS VARCHAR) FROM {accounts} "
        f"WHERE {odd} ORDER BY id"
    ).fetchall()  # fmt: skip
    if found:
        first = few([f"{i} ({on!r})" for i, on in found[:4]])
        raise FrameError(
            f"accounts: originated_on of {len(found):,} is no date (account_id {first}). "
            "Allowed: dates, such as 2024-01-15, or nothing."
        )
