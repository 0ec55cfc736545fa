"""Batches of sorted snapshots as arrays: where accounts begin, and each row's month, state, money and group."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from collectlab.book.schema import STATUSES
from collectlab.core.jackknife import GROUPS
from collectlab.measures.groups import by_keys
from collectlab.measures.snapshots import CENTS
from collectlab.measures.survival_checks import MAX_GROUPS, refuse_many_groups

if TYPE_CHECKING:
    import pyarrow as pa

#: Days of the table of months: 1970 to 2299.
_LAST_DAY = (dt.date(2300, 1, 1) - dt.date(1970, 1, 1)).days
#: No row ended.
_NEVER = (np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.uint8))
#: Up to here sums of whole numbers held as floats are exact.
EXACT = 2.0**53


class Unfit(Exception):
    """These rows are not sorted, or hold something that only the window form deals with."""


@dataclass(frozen=True)
class Plan:
    account: str
    date: str
    dpd: str
    status: str | None
    by: list[str]
    weight: str | None
    bounds: list[int]
    step: int
    before: bool
    start: dt.date | None
    end: dt.date | None
    #: The statuses and groups met so far, the groups numbered, and the Arrow types of their columns; shared by the parts.
    statuses: set[str] = field(default_factory=set)
    groups: dict[tuple, int] = field(default_factory=dict)
    types: dict[str, Any] = field(default_factory=dict)
    lock: Lock = field(default_factory=Lock)

    @property
    def states(self) -> int:
        return len(self.bounds) + len(STATUSES) - 1

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one group's counts: replicate, [before], from, to; the last before and to mean: none."""
        past = (len(self.bounds) + 1,) if self.before else ()
        return (GROUPS, *past, self.states, self.states + 1)


@dataclass
class Rows:
    """Rows in order: where accounts begin, those accounts' ids and replicate groups, and what each row holds."""

    starts: np.ndarray
    ids: Any
    replicate: np.ndarray
    day: np.ndarray
    month: np.ndarray
    state: np.ndarray
    money: np.ndarray | None
    group: np.ndarray | None

    def __len__(self) -> int:
        return len(self.day)

    def part(self, first: int, last: int) -> Rows:
        """The rows of the accounts number ``first`` to ``last`` (not included)."""
        bounds = np.append(self.starts, len(self))
        rows = slice(bounds[first], bounds[last])
        return Rows(
            self.starts[first:last] - bounds[first],
            self.ids[first:last],
            self.replicate[first:last],
            self.day[rows],
            self.month[rows],
            self.state[rows],
            None if self.money is None else self.money[rows],
            None if self.group is None else self.group[rows],
        )

    def edge(self, which: int) -> Rows:
        """The rows of one account, copied: a view would keep the whole batch in memory."""
        import pyarrow as pa

        rows = self.part(which, which + 1)
        arrays = (rows.day, rows.month, rows.state, rows.money, rows.group)
        ids = self.ids.take(pa.array([which]))
        return Rows(
            rows.starts, ids, rows.replicate.copy(), *(None if a is None else a.copy() for a in arrays)
        )


def decode(plan: Plan, batch: pa.RecordBatch) -> Rows:
    """One batch as arrays, without the rows that count nowhere."""
    import pyarrow as pa

    column = {name: batch.column(name) for name in batch.schema.names}
    ended, code = _ended(plan, column[plan.status]) if plan.status else _NEVER
    keep = _usable(plan, column, ended)
    if keep is not None:
        if keep.any():
            return decode(plan, batch.filter(pa.array(keep)))
        none = np.zeros(0, dtype=np.int64)
        return Rows(none, pa.array([]), none, none, none, none, None, None)
    day, month = column[plan.date].view(pa.int32()).to_numpy(), _months(column[plan.date])
    days = column[plan.dpd]
    days = (days.fill_null(0) if days.null_count else days).to_numpy().astype(np.int64, copy=False)
    state = np.take(_bucket_of(tuple(plan.bounds)), days, mode="clip")
    state[ended] = code
    starts, ids = _accounts(column[plan.account])
    money = None if plan.weight is None else _cents(column[plan.weight])
    group = _group_codes(plan, [column[c] for c in plan.by]) if plan.by else None
    return Rows(starts, ids, np.zeros(0, int), day, month, state, money, group)


def _ended(plan: Plan, status: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """Which rows are in a terminal state, and in which."""
    import pyarrow as pa

    status = status if pa.types.is_dictionary(status.type) else status.dictionary_encode()
    names = status.dictionary.to_pylist()
    plan.statuses.update(n for n in names if n is not None)
    state = {i: len(plan.bounds) - 1 + STATUSES.index(n) for i, n in enumerate(names) if n in STATUSES[1:]}
    if not state:
        return _NEVER
    place = (status.indices.fill_null(len(names)) if status.null_count else status.indices).to_numpy()
    ended = np.flatnonzero(np.logical_or.reduce([place == i for i in state]))
    return ended, np.array([state.get(i, 0) for i in range(len(names))], dtype=np.uint8)[place[ended]]


def _usable(plan: Plan, column: dict[str, pa.Array], ended: np.ndarray) -> np.ndarray | None:
    """Which rows count; None for all. Open rows without days past due, or rows without id or date, do not."""
    masks = [column[c].is_valid().to_numpy(False) for c in (plan.account, plan.date) if column[c].null_count]
    if column[plan.dpd].null_count:
        known = column[plan.dpd].is_valid().to_numpy(False).copy()
        known[ended] = True
        masks.append(known)
    if plan.start or plan.end:
        import pyarrow as pa

        day = column[plan.date].view(pa.int32()).fill_null(0).to_numpy(zero_copy_only=False)
        if plan.start:
            masks.append(day >= (plan.start - dt.date(1970, 1, 1)).days)
        if plan.end:
            masks.append(day <= (plan.end - dt.date(1970, 1, 1)).days)
    keep = np.logical_and.reduce(masks) if masks else None
    return None if keep is None or keep.all() else keep


def _accounts(ids: pa.Array) -> tuple[np.ndarray, Any]:
    """Where in a batch another account begins (its first row included), and the ids there."""
    import pyarrow as pa

    if pa.types.is_integer(ids.type):
        code = ids.to_numpy()
    else:
        ids = ids if pa.types.is_dictionary(ids.type) else ids.dictionary_encode()
        code = ids.indices.to_numpy()
    starts = np.concatenate([[0], np.flatnonzero(code[1:] != code[:-1]) + 1])
    if pa.types.is_integer(ids.type):
        return starts, pa.array(code[starts])
    return starts, ids.dictionary.take(pa.array(code[starts]))


def _cents(money: pa.Array) -> np.ndarray:
    """Whole cents, rounded half away from zero as the engines do; 0 where missing, and where not above 0."""
    value = money.to_numpy(zero_copy_only=False).astype(np.float64) * CENTS
    whole = np.trunc(value)
    with np.errstate(invalid="ignore"):
        whole += np.copysign(np.abs(value - whole) >= 0.5, value)
        cents = np.where(np.isfinite(value) & (whole > 0), whole, 0.0)
    if cents.sum() >= EXACT:
        raise Unfit
    return cents


def _group_codes(plan: Plan, columns: list[pa.Array]) -> np.ndarray:
    """Each row's group, numbered in the order in which they are met."""
    import pyarrow as pa

    joint, levels = np.zeros(len(columns[0]), dtype=np.int64), [()]
    for key, column in zip(by_keys(plan.by), columns):
        coded = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
        plan.types[key] = coded.type.value_type
        values = [*coded.dictionary.to_pylist(), None]
        code = coded.indices.fill_null(len(values) - 1).to_numpy(zero_copy_only=False)
        used, joint = np.unique(joint * len(values) + code, return_inverse=True)
        levels = [(*levels[u // len(values)], values[u % len(values)]) for u in used.tolist()]
    with plan.lock:
        number = np.array([plan.groups.setdefault(level, len(plan.groups)) for level in levels])
        if len(plan.groups) > MAX_GROUPS:
            refuse_many_groups(pd.DataFrame(list(plan.groups)), plan.by, so_far=True)
    return number[joint]


def joined(parts: Sequence[Rows]) -> Rows:
    """Rows after one another; an account that goes on from one part into the next begins once."""
    import pyarrow as pa
    import pyarrow.compute as pc

    lengths = np.cumsum([0, *(len(p) for p in parts)])
    starts = np.concatenate([p.starts + shift for p, shift in zip(parts, lengths)])
    ids = pa.concat_arrays([p.ids for p in parts])
    new = np.ones(len(ids), dtype=bool)
    new[1:] = pc.not_equal(ids[1:], ids[:-1]).to_numpy(zero_copy_only=False)
    ids = ids.filter(pa.array(new))
    check_rising(ids)
    replicate = np.concatenate([p.replicate for p in parts])
    arrays = (
        None if getattr(parts[0], name) is None else np.concatenate([getattr(p, name) for p in parts])
        for name in ("day", "month", "state", "money", "group")
    )
    return Rows(starts[new], ids, replicate[new], *arrays)


def check_rising(ids: pa.Array) -> None:
    import pyarrow.compute as pc

    if len(ids) > 1 and not pc.all(pc.less(ids[:-1], ids[1:])).as_py():
        raise Unfit


@cache
def _bucket_of(bounds: tuple[int, ...]) -> np.ndarray:
    return np.searchsorted(bounds, np.arange(bounds[-1] + 2), side="right").astype(np.uint8) - np.uint8(1)


@cache
def _month_table() -> pa.Array:
    import pyarrow as pa

    months = np.arange(_LAST_DAY).astype("datetime64[D]").astype("datetime64[M]").astype(np.int64)
    return pa.array((months + 1970 * 12).astype(np.int16))


def _months(day: pa.Array) -> np.ndarray:
    """Year · 12 + month − 1 of days since 1970."""
    import pyarrow as pa

    try:
        return _month_table().take(day.view(pa.uint32())).to_numpy()
    except (pa.ArrowIndexError, IndexError) as error:
        raise Unfit from error
