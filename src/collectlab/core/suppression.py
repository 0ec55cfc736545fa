"""Cells below a minimum count are not published, nor what they could be worked out from.

A *cell* is a row's count of people, accounts, cases or contacts. One of 1 to ``minimum`` − 1 is *small*: its row's
figures are blanked. Totals are published too, here or in another table, so a lone gap could be filled by
subtraction. So every line of cells that adds up to a total keeps at least two gaps, which together hold at least
``minimum`` (*complementary suppression*; the next smallest cell goes first). With several dimensions the totals are
cells themselves. A linear program then checks each small cell: whatever the published figures allow it to be must
reach from below to at least ``minimum``; where it does not, one more cell goes.

A gap does not say why it is there: with "1 to 4" written into two gaps whose sum is 8, both would be 4.

Source: L. Willenborg and T. de Waal, *Elements of Statistical Disclosure Control*, Springer 2001, chapters 4 to 6.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from collectlab.core.errors import FrameError
from collectlab.core.suppression_names import SLICES, Cells, cells_of

MINIMUM = 5
#: Stands for "all" in the key of a total.
_ALL = ("all of them",)


@dataclass(frozen=True)
class Suppressed:
    """What is left of a table, and which rows lost figures.

    Attributes
    ----------
    table : pandas.DataFrame
        The table with gaps; the same object where nothing had to go.
    rows : numpy.ndarray
        (rows,) of bool: whether the row lost figures.
    notes : tuple of str
        What a reader is told.
    dropped : tuple of str
        Columns that a file does not hold (a curve's events by day).
    """

    table: pd.DataFrame
    rows: np.ndarray
    notes: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()

    def to_write(self) -> pd.DataFrame:
        """The table for a file: counts whole, and a column ``suppressed`` where something is."""
        table = self.table.drop(columns=list(self.dropped))
        if not self.rows.any():
            return table
        counts = [c for c in table.columns if pd.api.types.is_float_dtype(table[c]) and _whole(table[c])]
        held = cells_of(table)
        counts = [c for c in counts if c in (*held.counts, *held.parts)]
        return table.astype(dict.fromkeys(counts, "Int64")).assign(suppressed=self.rows)


def suppress(
    table: pd.DataFrame,
    by: Sequence[str] | None = None,
    counts: Sequence[str] | None = None,
    parts: Sequence[str] | None = None,
    minimum: int = MINIMUM,
) -> Suppressed:
    """Blank the cells of a table that are too small to publish, and those they could be worked out from.

    Parameters
    ----------
    table : pandas.DataFrame
        One row per group (and measure).
    by : sequence of str, optional
        The columns that name a row's group; by default told from the columns' names and values.
    counts : sequence of str, optional
        Columns that count what a row rests on. A row with a small one loses all its figures.
    parts : sequence of str, optional
        Columns that count some of those (the bad of the loans). A row in which one of them, or the rest beside
        it, is small loses its figures but ``counts``. A share of a count counts as a part.
    minimum : int
        The smallest count to publish.

    Returns
    -------
    Suppressed
        ``.table`` with gaps, ``.rows``, ``.notes``.

    Raises
    ------
    FrameError
        For a column that is not there, or a minimum below 1.

    Examples
    --------
    >>> teams = pd.DataFrame({"team": ["A", "B", "C", "D"], "cases": [40, 3, 12, 90]})
    >>> suppress(teams, by=["team"], counts=["cases"]).table["cases"].tolist()
    [40.0, nan, nan, 90.0]
    """
    if minimum < 1:
        raise FrameError(f"minimum is {minimum}. Allowed: 1 or more.")
    found = cells_of(table)
    cells = Cells(
        by=tuple(found.by if by is None else by),
        counts=tuple(found.counts if counts is None else counts),
        parts=tuple(found.parts if parts is None else parts),
    )
    named = [*cells.by, *cells.counts, *cells.parts]
    if missing := [c for c in named if c not in table.columns]:
        raise FrameError(f"no column {missing[0]!r}. Columns here: {', '.join(map(str, table.columns))}.")
    nothing = Suppressed(table, np.zeros(len(table), dtype=bool))
    if table.empty or minimum == 1 or not (cells.counts or cells.parts):
        return nothing
    if found.curve:
        return _curve(table, cells, minimum)
    small, gone = _base_rows(table, cells, minimum)
    lost, kept = _part_rows(table, cells, minimum, small, gone)
    if not lost.any():
        return nothing
    out = table.copy()
    figures = [c for c in table.columns if c not in cells.by and pd.api.types.is_numeric_dtype(table[c])
               and not pd.api.types.is_bool_dtype(table[c]) and c not in found.labels]  # fmt: skip
    words = [c for c in found.sayings if c not in cells.by]
    for column in figures:
        out[column] = out[column].astype(float).mask(gone if column in kept else lost)
    for column in words:
        out[column] = out[column].astype(object).mask(lost, "")
    return Suppressed(out, lost, (_note(int(lost.sum()), minimum),))


def _note(rows: int, minimum: int) -> str:
    what = "1 row is" if rows == 1 else f"{rows:,} rows are"
    return (
        f"Not shown (–): the figures of {what} left out, because fewer than {minimum} people, accounts or "
        "contacts stand behind one, or because such a one could be worked out from another."
    )


def _curve(table: pd.DataFrame, cells: Cells, minimum: int) -> Suppressed:
    """A curve by day: its ends, where few are left, are cut; its events by day are not written.

    A step of a curve tells what happened to some of the many who were at risk; it is judged by those at risk.
    """
    small = np.zeros(len(table), dtype=bool)
    for column in cells.counts:
        small |= _small(table[column].to_numpy(float), minimum)
    dropped = tuple(c for c in cells.parts if _small(table[c].to_numpy(float), minimum).any())
    if not small.any():
        return Suppressed(table, small, dropped=dropped)
    out = table.copy()
    for column in table.columns:
        if column not in cells.by and pd.api.types.is_numeric_dtype(table[column]):
            out[column] = out[column].astype(float).mask(small)
    return Suppressed(out, small, (f"Not drawn where fewer than {minimum} were left.",), dropped)


def _small(count: np.ndarray, minimum: int) -> np.ndarray:
    return (count > 0) & (count < minimum)


def _whole(values: pd.Series) -> bool:
    there = values.dropna()
    return bool((there == np.rint(there)).all())


def _base_rows(table: pd.DataFrame, cells: Cells, minimum: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows that rest on a small count, and those that go with them; a row goes for each of its counts alike."""
    counts = [table[column].to_numpy(float) for column in cells.counts]
    small = np.zeros(len(table), dtype=bool)
    for count in counts:
        small |= _small(count, minimum)
    return small, _settled(table, cells.by, counts, small, small, minimum)


def _settled(
    table: pd.DataFrame,
    by: Sequence[str],
    counts: Sequence[np.ndarray],
    guarded: np.ndarray,
    gone: np.ndarray,
    minimum: int,
) -> np.ndarray:
    """Hide for one count after the other, until nothing more has to go for any of them."""
    gone = gone.copy()
    done: list[np.ndarray | None] = [None] * len(counts)
    while True:
        for place, count in enumerate(counts):
            if done[place] is None or (done[place] != gone).any():
                small = _small(count, minimum)
                gone |= _rows(table, by, count, gone | small, guarded | small, minimum)
                done[place] = gone.copy()
        if all(d is not None and (d == gone).all() for d in done):
            return gone


def _part_rows(
    table: pd.DataFrame, cells: Cells, minimum: int, small: np.ndarray, gone: np.ndarray
) -> tuple[np.ndarray, list[str]]:
    """Rows that lose their figures because of a part, and the columns that those rows keep."""
    parts = [table[c].to_numpy(float) for c in cells.parts]
    wholes = [table[c].to_numpy(float) for c in cells.counts]
    rests = [whole - some for whole in wholes[:1] for some in parts]
    parts += [n for n in rests if (n[np.isfinite(n)] >= 0).all()]
    if "estimate" in table.columns:
        parts += _numerators(table, [*wholes, *(table[c].to_numpy(float) for c in cells.parts)])
    return _settled(table, cells.by, parts, small, gone, minimum), list(cells.counts)


def _numerators(table: pd.DataFrame, wholes: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Counts that a share gives away: share × whole, where that is a whole number all through a measure."""
    shares = table["estimate"].to_numpy(float)
    measures = table["measure"].to_numpy() if "measure" in table.columns else np.zeros(len(table))
    is_share = (
        table["unit"].isin(("share", "")).to_numpy() if "unit" in table.columns else np.full(len(table), True)
    )
    found = []
    for measure in pd.unique(measures):
        rows = (measures == measure) & is_share & np.isfinite(shares)
        if not rows.any() or ((shares[rows] < 0) | (shares[rows] > 1)).any():
            continue
        for whole in wholes:
            count = np.where(rows, shares * whole, np.nan)
            there = np.isfinite(count)
            if there.any() and (np.abs(count - np.rint(count))[there] < 1e-6 * (1 + whole[there])).all():
                found.append(np.rint(count))
    return found


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
    lines = [c for c in by if c not in SLICES and _adds_up(keys[here], c, count[here])]
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
        """Hide the smallest cell still shown, one that is 0 only where there is no other."""
        shown = [c for c in cells if c not in self.hidden]
        if not shown:
            return False
        self.hidden.add(min(shown, key=lambda c: (self.values[c] == 0, self.values[c], repr(c))))
        return True

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


__all__ = ["MINIMUM", "Suppressed", "bounds", "suppress"]
