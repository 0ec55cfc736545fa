"""Which cells go along with small ones, so that no total gives them back: lines of cells and a linear program."""

from __future__ import annotations

import itertools
import re
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import pandas as pd

from collectlab.core.suppression_names import SLICES

#: Stands for "all" in the key of a total.
_ALL = ("all of them",)

#: How a level begins that is a time: 2026-10, 2026-10-31, 2026 Q1, 2026Q1.
_TIME = re.compile(r"(19|20)\d\d(-|\s?Q|$)")


def is_small(count: np.ndarray, minimum: int) -> np.ndarray:
    """Whether each count is of some, but of fewer than ``minimum``."""
    return (count > 0) & (count < minimum)


def since_start(table: pd.DataFrame) -> dict[str, np.ndarray]:
    """Columns that say since when (30, 60 days; 1, 2 months): counts along them hold one another, and do not add up."""
    numbers = {c: pd.to_numeric(table[c], errors="coerce").to_numpy(float)
               for c in ("horizon", "month", "day") if c in table.columns}  # fmt: skip
    return {c: n for c, n in numbers.items() if np.isfinite(n).all()}


def settled(
    table: pd.DataFrame,
    by: Sequence[str],
    counts: Sequence[np.ndarray],
    guarded: np.ndarray,
    gone: np.ndarray,
    minimum: int,
) -> np.ndarray:
    """``gone`` and what has to go with it: hide for one count after the other, until nothing more has to go for any of them."""
    gone = gone.copy()
    done: list[np.ndarray | None] = [None] * len(counts)
    while True:
        for place, count in enumerate(counts):
            if done[place] is None or (done[place] != gone).any():
                small = is_small(count, minimum)
                gone |= _rows(table, by, count, gone | small, guarded | small, minimum)
                done[place] = gone.copy()
        if all(d is not None and (d == gone).all() for d in done):
            return gone


def _rows(
    table: pd.DataFrame,
    by: Sequence[str],
    count: np.ndarray,
    gone: np.ndarray,
    guarded: np.ndarray,
    minimum: int,
) -> np.ndarray:
    """``gone`` and companions, one slice at a time: dimensions along which the count adds up make lines."""
    here = np.isfinite(count)
    if not (gone & here).any():
        return gone
    keys = table[list(by)].astype(str) if by else pd.DataFrame(index=table.index)
    lines = [
        c
        for c in by
        if c not in SLICES and c not in since_start(table) and _adds_up(keys[here], c, count[here])
    ]
    slices = [c for c in by if c not in lines]
    chosen = gone.copy()
    groups = keys.groupby(slices, sort=True).indices.values() if slices else [np.arange(len(table))]
    for group in groups:
        rows = group[here[group]]
        if gone[rows].any():
            names = list(map(tuple, keys.iloc[rows][lines].to_numpy()))
            chosen[rows] = _slice(names, count[rows], gone[rows], guarded[rows], minimum)
    return chosen


def _adds_up(keys: pd.DataFrame, column: str, count: np.ndarray) -> bool:
    """Whether the count differs along a dimension: what is the same for each level is no part of a sum."""
    rest = [c for c in keys.columns if c != column]
    held = pd.Series(count).fillna(-1)
    if not rest:
        return held.nunique() > 1
    return bool((held.groupby([keys[c].to_numpy() for c in rest]).nunique() > 1).any())


def _slice(
    names: list[tuple[str, ...]], count: np.ndarray, gone: np.ndarray, guarded: np.ndarray, minimum: int
) -> np.ndarray:
    """Which rows of one slice go. Rows of one name (several of a group) go together."""
    values: dict[tuple[Any, ...], float] = {}
    for name, n in zip(names, count):
        values[name] = max(float(n), values.get(name, 0.0))
    cube = _Cube(values, len(names[0]) if names else 0)
    hidden = {name for name, is_gone in zip(names, gone) if is_gone}
    cube.hide(hidden, {name for name, is_guarded in zip(names, guarded) if is_guarded}, minimum)
    return np.array([name in cube.hidden for name in names]) | gone


class _Cube:
    """The cells of a slice with all their totals, and the lines in which cells add up to a total."""

    def __init__(self, values: dict[tuple[Any, ...], float], dimensions: int):
        self.dimensions = dimensions
        self.values: dict[tuple[Any, ...], float] = {}
        for name, n in values.items():
            for mask in itertools.product((False, True), repeat=dimensions):
                key = tuple(_ALL if up else level for up, level in zip(mask, name))
                self.values[key] = self.values.get(key, 0.0) + n
        self.total = (_ALL,) * dimensions
        self.times = [
            axis for axis in range(dimensions) if all(_TIME.match(str(name[axis])) for name in values)
        ]
        self.lines: list[tuple[tuple[Any, ...], list[tuple[Any, ...]]]] = []
        for axis in range(dimensions):
            made: dict[tuple[Any, ...], list[tuple[Any, ...]]] = {}
            for key in self.values:
                if key[axis] is not _ALL:
                    made.setdefault((*key[:axis], _ALL, *key[axis + 1 :]), []).append(key)
            self.lines += sorted(made.items(), key=repr)
        self.hidden: set[tuple[Any, ...]] = set()

    def hide(
        self, hidden: Collection[tuple[Any, ...]], guarded: Collection[tuple[Any, ...]], minimum: int
    ) -> None:
        """Hide these cells, small totals, and what the guarded of them could be worked out from."""
        small = {k for k, n in self.values.items() if _ALL in k and 0 < n < minimum}
        self.hidden = {*hidden, *small}
        self._complete(minimum)
        if self.dimensions < 2:  # Two gaps that hold the minimum together are all it takes.
            return
        asked = sorted({*guarded, *small}, key=repr)
        while exposed := self._exposed(asked, minimum):
            if not any([self._one_more(key) for key in exposed]):
                return
            self._complete(minimum)

    def _complete(self, minimum: int) -> None:
        """Two gaps at least in every line that has one, which hold ``minimum`` together."""
        changed = True
        while changed:
            changed = False
            for total, cells in self.lines:
                gaps = [c for c in cells if c in self.hidden]
                if total in self.hidden:
                    if gaps or len(cells) == 1:
                        enough = True
                    else:  # the total could be added up
                        enough = False
                else:
                    enough = not gaps or (len(gaps) > 1 and sum(self.values[c] for c in gaps) >= minimum)
                if enough:
                    continue
                if self._next(cells):
                    changed = True
                elif total != self.total and total not in self.hidden and len(gaps) < 2:
                    self.hidden.add(total)
                    changed = True

    def _next(self, cells: Collection[tuple[Any, ...]]) -> bool:
        """Hide the cell that is missed least: the oldest month, the smallest group; one of 0 only as a last resort."""
        shown = [c for c in cells if c not in self.hidden]
        if not shown:
            return False
        self.hidden.add(
            min(shown, key=lambda c: (self.values[c] == 0, *self._age(c), self.values[c], repr(c)))
        )
        return True

    def _age(self, cell: tuple[Any, ...]) -> tuple[str, ...]:
        """The cell's times, which sort as they come; a total over time sorts last."""
        return tuple("~" if cell[axis] is _ALL else cell[axis] for axis in self.times)

    def _one_more(self, exposed: tuple[Any, ...]) -> bool:
        beside = {c for total, cells in self.lines if exposed in cells for c in cells}
        if self._next(beside):
            return True
        linked = {c for total, cells in self.lines for c in cells if any(x in self.hidden for x in cells)}
        return self._next(linked)

    def _exposed(self, asked: Sequence[tuple[Any, ...]], minimum: int) -> list[tuple[Any, ...]]:
        """The cells that what is published confines to one value, or to below ``minimum``."""
        return [
            key
            for key, (low, high) in bounds(self, asked).items()
            if high - low < 1e-6 or (0 < self.values[key] < minimum and high < minimum - 1e-6)
        ]


def bounds(cube: _Cube, asked: Sequence[tuple[Any, ...]]) -> dict[tuple[Any, ...], tuple[float, float]]:
    """The smallest and largest value that the published figures allow each hidden cell, by linear programming."""
    from scipy.optimize import linprog

    hidden = sorted(cube.hidden, key=repr)
    place = {key: i for i, key in enumerate(hidden)}
    left, right = [], []
    for total, cells in cube.lines:
        gaps = [c for c in cells if c in place]
        if not gaps and total not in place:
            continue
        row = np.zeros(len(hidden))
        row[[place[c] for c in gaps]] = 1
        known = -sum(cube.values[c] for c in cells if c not in place)
        if total in place:
            row[place[total]] = -1
        else:
            known += cube.values[total]
        left.append(row)
        right.append(known)
    found = {}
    for key in asked:
        aim = np.zeros(len(hidden))
        aim[place[key]] = 1
        ends = []
        for sign in (1, -1):
            told = linprog(
                sign * aim,
                A_eq=np.array(left) if left else None,
                b_eq=right or None,
                bounds=(0, None),
                method="highs",
            )
            ends.append(sign * told.fun if told.status == 0 else (0.0 if sign == 1 else np.inf))
        found[key] = (float(ends[0]), float(ends[1]))
    return found


__all__ = ["bounds", "is_small", "settled", "since_start"]
