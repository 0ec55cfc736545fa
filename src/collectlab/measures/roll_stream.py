"""Steps between buckets counted by comparing adjacent rows of snapshots that lie sorted by account and date.

The order is not believed but checked, row by row: at the first row out of order, or of a kind not foreseen
here, the count is given up (None) and the caller takes the window form instead.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any

import narwhals as nw
import numpy as np
import pandas as pd

from collectlab.core.jackknife import GROUPS
from collectlab.core.stream import each, hashed, in_order
from collectlab.measures.groups import by_keys
from collectlab.measures.roll_decode import EXACT, Plan, Rows, Unfit, check_rising, decode, joined
from collectlab.measures.snapshots import as_date, check_statuses

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

#: Batches whose accounts get their replicate groups from one question to the engine.
_BATCHES = 32


@dataclass
class _Count:
    """What one part of the rows adds up to."""

    plan: Plan
    sums: dict[str, np.ndarray] = field(default_factory=dict)
    gap: int = 0
    unseen: dict[int, int] = field(default_factory=dict)
    last_month: int = 0
    edges: list[Rows] = field(default_factory=list)


def stream_steps(
    frame: nw.LazyFrame,
    *,
    account: str,
    date: str,
    dpd: str,
    status: str,
    by: list[str],
    weight: str | None,
    bounds: list[int],
    step: int,
    before: bool,
    start: dt.date | str | None,
    end: dt.date | str | None,
) -> tuple[pd.DataFrame, int, int] | None:
    """The cells, gaps and those gone, as :func:`.roll_count.window_steps` counts them; None if that is to do it."""
    schema = frame.collect_schema()
    if not (
        schema[date] == nw.Date
        and schema[dpd].is_integer()
        and nw.Int128 not in (schema[dpd], schema[account], *(schema[c] for c in by), schema.get(weight))
        and (schema[account].is_integer() or schema[account] == nw.String)
        and all(schema[c].is_integer() or schema[c] in (nw.String, nw.Boolean) for c in by)
        and (weight is None or schema[weight].is_integer() or schema[weight] == nw.Float64)
        and (status not in schema or schema[status] == nw.String)
        and bounds[-1] <= 100_000
    ):
        return None
    plan = Plan(
        account, date, dpd, status if status in schema else None, by, weight, bounds, step, before,
        None if start is None else as_date(start), None if end is None else as_date(end),
    )  # fmt: skip
    columns = [
        account,
        date,
        dpd,
        *by,
        *([plan.status] if plan.status else []),
        *([weight] if weight else []),
    ]
    parts = in_order(frame, columns)
    if parts is None:
        return None
    try:
        counts = each(parts, lambda batches, door: _count_part(plan, batches, door))
        seams = _Count(plan)
        if edges := [rows for count in counts for rows in count.edges]:
            _add(seams, joined(edges))
    except Unfit:
        return None
    if plan.status:
        check_statuses(pd.Series(sorted(plan.statuses)), status)
    return _together(plan, [*counts, seams], schema)


def _count_part(plan: Plan, batches: Iterator[pa.RecordBatch], door: duckdb.DuckDBPyConnection) -> _Count:
    """Count a part's accounts; the first and last of each batch are kept, as they may go on in the next."""
    count = _Count(plan)
    decoding = (decode(plan, batch) for batch in batches)
    while chunk := list(islice(decoding, _BATCHES)):
        chunk = [rows for rows in chunk if len(rows)]
        _give_replicates(chunk, door)
        while chunk:
            rows = chunk.pop(0)
            check_rising(rows.ids)
            last = len(rows.starts) - 1
            if last > 1:
                _add(count, rows.part(1, last))
            count.edges += [rows.edge(i) for i in sorted({0, last})]
    return count


def _add(count: _Count, rows: Rows) -> None:
    """Count the steps of whole accounts."""
    plan, n = count.plan, len(rows)
    month, state, money, group = rows.month, rows.state, rows.money, rows.group
    count.last_month = max(count.last_month, int(month.max()))
    same = np.ones(n, dtype=bool)  # an account as in the row before
    same[rows.starts] = False
    apart = month[1:] - month[:-1]
    again = np.flatnonzero((apart < 1) & same[1:])
    number = np.repeat(np.arange(len(rows.starts)), _lengths(rows.starts, n)) if len(again) else None
    if len(again):
        if (apart[again] < 0).any() or (rows.day[again + 1] <= rows.day[again]).any():
            raise Unfit
        keep = np.ones(n, dtype=bool)
        keep[again] = False  # an account's last snapshot of a month counts
        number, month, state = number[keep], month[keep], state[keep]
        money, group = (None if a is None else a[keep] for a in (money, group))
        same = np.concatenate([[False], number[1:] == number[:-1]])
        apart = month[1:] - month[:-1]
    near = same[1:] & (apart == 1)
    starts = rows.starts if number is None else np.flatnonzero(~same)
    lengths = _lengths(starts, len(month))
    to = _near(plan, state, near) if plan.step == 1 else _far(plan, month, state, lengths)
    _count_missing(count, month, state, to, starts, lengths)
    cell = state * np.uint16(plan.states + 1)
    cell += to
    size = int(np.prod(plan.shape[1:]))
    if money is None and group is None and not plan.before:
        # Most steps are from current to current, cell 0: they are what the others leave of all.
        others = np.flatnonzero(cell > 0)
        of = np.repeat(rows.replicate.astype(np.uint8), lengths)[others].astype(np.int64)
        of *= size
        of += cell[others]
        counts = np.bincount(of, minlength=GROUPS * size).reshape(GROUPS, size)
        counts[:, 0] = np.bincount(rows.replicate, lengths, GROUPS) - counts.sum(axis=1)
        _grow(count, "all", counts.ravel())
        return
    code = np.repeat(rows.replicate * size, lengths)
    code += cell
    if plan.before:
        past = np.full(len(state), len(plan.bounds))
        known = near & (state[:-1] < len(plan.bounds))
        past[1:][known] = state[:-1][known]
        code += past * (plan.states * (plan.states + 1))
    if group is not None:
        code += group * (GROUPS * size)
    total = GROUPS * size * max(len(plan.groups), 1)
    _grow(count, "all", np.bincount(code, minlength=total))
    if money is not None:
        if money.sum() >= EXACT:
            raise Unfit
        _grow(count, "n", np.bincount(code[money > 0], minlength=total))
        _grow(count, "amount", np.bincount(code, money, total))


def _lengths(starts: np.ndarray, n: int) -> np.ndarray:
    return np.diff(np.append(starts, n))


def _near(plan: Plan, state: np.ndarray, near: np.ndarray) -> np.ndarray:
    """Each row's state in the month after; ``plan.states`` where there is none."""
    none = np.uint8(plan.states)
    return np.append(np.where(near, state[1:], none), none)


def _far(plan: Plan, month: np.ndarray, state: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """The same ``step`` months on; a terminal state entered before then stays."""
    number = np.repeat(np.arange(len(lengths)), lengths)
    found, where = month.copy(), state.copy()
    for j in range(1, min(plan.step, len(state) - 1) + 1):
        near = (number[j:] == number[:-j]) & (month[j:] <= month[:-j] + plan.step)
        np.copyto(found[:-j], month[j:], where=near)
        np.copyto(where[:-j], state[j:], where=near)
    none = np.uint8(plan.states)
    return np.where((found == month + plan.step) | (where >= len(plan.bounds)), where, none)


def _count_missing(
    count: _Count,
    month: np.ndarray,
    state: np.ndarray,
    to: np.ndarray,
    starts: np.ndarray,
    lengths: np.ndarray,
) -> None:
    """Open account-months that have no state ahead: a gap if the account goes on, else by their month."""
    plan = count.plan
    none = np.flatnonzero((to == plan.states) & (state < len(plan.bounds)))
    last = month[starts + lengths - 1][np.searchsorted(starts, none, side="right") - 1]
    goes_on = last >= month[none] + plan.step
    count.gap += int(goes_on.sum())
    if len(left := month[none[~goes_on]]):
        first = int(left.min())
        for m, times in enumerate(np.bincount(left - first).tolist(), first):
            count.unseen[m] = count.unseen.get(m, 0) + times


def _grow(count: _Count, what: str, new: np.ndarray) -> None:
    """Add counts by cell, which become longer as groups are met."""
    new = new.astype(np.int64, copy=False)
    old = count.sums.get(what)
    if old is not None:
        longer = np.zeros(max(len(old), len(new)), dtype=np.int64)
        longer[: len(old)] = old
        longer[: len(new)] += new
        new = longer
    count.sums[what] = new


def _give_replicates(decoded: list[Rows], door: duckdb.DuckDBPyConnection) -> None:
    """Hash the ids of many batches at once: the engine's answer takes a millisecond, however few they are."""
    import pyarrow as pa

    if not decoded:
        return
    ids = pa.concat_arrays([rows.ids for rows in decoded])
    replicate = hashed(ids, GROUPS, door)
    for rows, own in zip(decoded, np.split(replicate, np.cumsum([len(r.starts) for r in decoded])[:-1])):
        rows.replicate = own


def _together(plan: Plan, counts: Sequence[_Count], schema: Any) -> tuple[pd.DataFrame, int, int]:
    """The parts' counts as the window form returns them."""
    import pyarrow as pa

    size, tables = int(np.prod(plan.shape)), []
    for count in counts:
        if not count.sums:
            continue
        place = np.flatnonzero(count.sums["all"])
        cell = dict(zip(_AXES[plan.before], np.unravel_index(place % size, plan.shape)))
        table = pd.DataFrame({k: v.astype(np.int64) for k, v in cell.items()})
        table["group"] = place // size
        table["all"] = count.sums["all"][place]
        for what in ("n", "amount"):
            held = count.sums.get(what, count.sums["all"])
            table[what] = np.append(held, np.zeros(len(count.sums["all"]) - len(held), int))[place]
        for i, key in enumerate(by_keys(plan.by)):
            values = [level[i] for level in plan.groups]
            table[key] = pd.Series([values[g] for g in table["group"]], dtype=object)
        tables.append(table)
    keys = [*by_keys(plan.by), *_AXES[plan.before]]
    empty = pd.DataFrame({c: np.zeros(0, dtype=np.int64) for c in [*keys, "n", "amount", "all"]})
    cells = pd.concat(tables, ignore_index=True) if tables else empty
    real = (cells["from"] < len(plan.bounds)) & (cells["to"] < plan.states)
    if plan.before:
        real &= cells["before"] < len(plan.bounds)
    cells = cells[real].groupby(keys, dropna=False, sort=False, as_index=False)[["n", "amount", "all"]].sum()
    for key in by_keys(plan.by):
        # Out of the objects' hands: a missing group is None there, NaN or NA elsewhere.
        values = [None if pd.isna(v) else v for v in cells[key]]
        cells[key] = pa.array(values, plan.types.get(key)).to_pandas()
    last = max(c.last_month for c in counts)
    gone = sum(n for c in counts for m, n in c.unseen.items() if m + plan.step <= last)
    return cells, sum(c.gap for c in counts), gone


_AXES = {False: ("replicate", "from", "to"), True: ("replicate", "before", "from", "to")}

__all__ = ["stream_steps"]
