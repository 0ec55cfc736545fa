"""Columns as every floor writes them: dates as whole numbers, money in whole parts, flags, sums, free names.

Engines agree on whole numbers; on intervals, and on the order in which they add floats, they do not.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import narwhals as nw

from collectlab.core.engine import scan
from collectlab.core.errors import FrameError, first_few

_EPOCH = dt.date(1900, 1, 1)


def day_number(column: str | nw.Expr) -> nw.Expr:
    """A date (or a timestamp) as whole days since 1900-01-01."""
    # By the calendar, as date.toordinal does: Spark has no length of an interval.
    day = _expr(column).cast(nw.Date).dt
    years = day.year().cast(nw.Int64) - 1
    before = years * 365 + years // 4 - years // 100 + years // 400
    return (before + day.ordinal_day() - _EPOCH.toordinal()).cast(nw.Int64)


def number_to_date(days: nw.Expr) -> nw.Expr:
    """The inverse of :func:`day_number`."""
    # From noon, because Spark adds hours in the session's time zone, whose days may be an hour short.
    since = nw.lit(dt.timedelta(hours=12)) + nw.lit(dt.timedelta(days=1)) * days
    return (nw.lit(_EPOCH) + since).cast(nw.Date)


def day_of(date: dt.date) -> int:
    """The number that :func:`day_number` gives a date.

    >>> day_of(dt.date(1900, 1, 31))
    30
    """
    return date.toordinal() - _EPOCH.toordinal()


def month_number(column: str | nw.Expr) -> nw.Expr:
    """The calendar month of a date as year · 12 + month − 1."""
    day = _expr(column).cast(nw.Date).dt
    return day.year().cast(nw.Int64) * 12 + day.month().cast(nw.Int64) - 1


def month_text(month: float) -> str | None:
    """A month counted as year · 12 + month − 1, in writing.

    >>> month_text(2026 * 12 + 9)
    '2026-10'
    """
    return None if month is None or month != month else f"{int(month) // 12}-{int(month) % 12 + 1:02d}"


def whole_money(column: str | nw.Expr, parts: int = 100) -> nw.Expr:
    """Money in whole 1/``parts``, so that sums do not depend on the order of rows; NaN becomes missing."""
    value = _expr(column).cast(nw.Float64)
    return nw.when(value.is_finite()).then((value * parts).round(0)).cast(nw.Int64)


def flag(condition: nw.Expr) -> nw.Expr:
    """1 where true, 0 where false or unknown."""
    return nw.when(condition).then(nw.lit(1)).otherwise(nw.lit(0))


def whole_sum(column: str | nw.Expr) -> nw.Expr:
    """A sum of whole numbers as Int64 (DuckDB would widen it to 128 bits), 0 where there is none."""
    return _expr(column).sum().cast(nw.Int64).fill_null(0)


def row_count() -> nw.Expr:
    """The number of rows of a group, as Int64 in every engine."""
    return nw.len().cast(nw.Int64)


def distinct(frame: nw.LazyFrame) -> nw.LazyFrame:
    """The distinct rows of a frame. (Narwhals' ``unique`` numbers all rows in DuckDB: forty times the cost.)"""
    names = frame.collect_schema().names()
    n = free_name("n", names)
    return frame.group_by(*names).agg(nw.len().alias(n)).select(*names)


def step_of(column: str, bounds: Iterable[int]) -> nw.Expr:
    """The largest of the rising ``bounds`` that the column reaches; missing below the first."""
    step = nw.lit(None, nw.Int64)
    for bound in bounds:
        step = nw.when(nw.col(column) >= bound).then(nw.lit(bound)).otherwise(step)
    return step


def as_list(by: str | Sequence[str] | None) -> list[str]:
    """``by`` as a list of different column names."""
    if by is not None and not isinstance(by, Iterable):
        raise FrameError(f"by is {by!r}. Allowed: a column, a list of columns, or None.")
    names = [] if by is None else [by] if isinstance(by, str) else list(by)
    if odd := [n for n in names if not isinstance(n, str)]:
        raise FrameError(f"by holds {first_few(odd)}. Allowed: column names.")
    return list(dict.fromkeys(names))


def free_name(name: str, taken: Iterable[str]) -> str:
    """``name``, with as many underscores before it as make it new."""
    taken = {t.lower() for t in taken}
    while name.lower() in taken:
        name = "_" + name
    return name


def _expr(column: str | nw.Expr) -> nw.Expr:
    return nw.col(column) if isinstance(column, str) else column


def own_names(frame: Any, columns: Mapping[str, str] | None, known: Iterable[str]) -> nw.LazyFrame:
    """A frame whose columns have names of its own, under the names that the measures know.

    ``columns`` says, for a name that the measure knows, what the frames call it: ``{"account_id": "Loan no."}``.
    Of it, only what this frame is asked for (``known``) is looked at, and left alone where the frame has the
    measure's own name already.
    """
    lazy = scan(frame)
    have = lazy.collect_schema().names()
    wanted = {columns[c]: c for c in known if columns and c in columns and columns[c] != c}
    if missing := [own for own, name in wanted.items() if own not in have and name not in have]:
        raise FrameError(f"columns: no column {first_few(missing)}. Columns here: {first_few(have, 20)}.")
    wanted = {own: name for own, name in wanted.items() if own in have}
    return lazy.drop([c for c in wanted.values() if c in have]).rename(wanted) if wanted else lazy
