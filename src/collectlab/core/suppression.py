"""Cells below a minimum count are not published, nor what they could be worked out from.

A *cell* is a row's count of people, accounts, cases or contacts. One of 1 to ``minimum`` − 1 is *small*: its row's
figures are blanked. Totals are published too, here or in another table, so a lone gap could be filled by
subtraction. So every line of cells that adds up to a total keeps at least two gaps, which together hold at least
``minimum`` (*complementary suppression*; the next smallest cell goes first). With several dimensions the totals are
cells themselves. A linear program then checks each small cell: whatever the published figures allow it to be must
reach from below to at least ``minimum``; where it does not, one more cell goes.

A gap does not say why it is there: with "1 to 4" written into two gaps whose sum is 8, both would be 4.

Source: L. Willenborg and T. de Waal, *Elements of Statistical Disclosure Control*, Springer 2001, chapters 4 to 6.

What is a count is told from the columns' names (:mod:`~collectlab.core.suppression_names`) and from what a share gives
away: share × base, the rest beside it, and what happened between two horizons where both look at the same accounts
(:mod:`~collectlab.core.suppression_parts`). Of a line of cells the one that is missed least goes: the oldest month, the
smallest group. Sentences are coarsened (:mod:`~collectlab.core.suppression_words`).

Not protected: the steps of a curve from day to day, which are judged by those at risk; sums of money of a few large
accounts in a large group; how few of a small arm of a test had an outcome, where the arms' means are told; what two
months' reports tell together, as a window of twelve months moves on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from collectlab.core.errors import FrameError
from collectlab.core.suppression_lines import bounds, is_small, settled
from collectlab.core.suppression_names import Cells, cells_of
from collectlab.core.suppression_parts import closed, linked, rests, shares

MINIMUM = 5


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
        Columns left out altogether (a curve's events by day).
    """

    table: pd.DataFrame
    rows: np.ndarray
    notes: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()

    def to_write(self) -> pd.DataFrame:
        """The table for a file: counts whole, and a column ``suppressed`` where something is."""
        table = self.table
        held = cells_of(table)
        floats = [c for c in (*held.counts, *held.parts) if pd.api.types.is_float_dtype(table[c])]
        table = table.astype(dict.fromkeys(floats, "Int64"))
        return table.assign(suppressed=self.rows) if self.rows.any() else table


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
    [40, <NA>, <NA>, 90]
    """
    if minimum < 1:
        raise FrameError(f"minimum is {minimum}. Allowed: 1 or more.")
    found = cells_of(table)
    cells = Cells(
        by=tuple(found.by if by is None else by),
        counts=tuple(found.counts if counts is None else counts),
        parts=tuple(found.parts if parts is None else parts),
        aside=found.aside,
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
    lost, aside = _part_rows(table, cells, minimum, small, gone)
    touched = np.logical_or.reduce([lost, *aside.values()])
    if not touched.any():
        return nothing
    out = table.copy()
    figures = [c for c in table.columns if c not in cells.by and pd.api.types.is_numeric_dtype(table[c])
               and not pd.api.types.is_bool_dtype(table[c]) and c not in found.labels]  # fmt: skip
    words = [c for c in found.sayings if c not in cells.by]
    for column in figures:
        hidden = gone if column in cells.counts else aside[column] | gone if column in aside else lost
        out[column] = _blanked(out[column], hidden)
    for column in words:
        out[column] = out[column].astype(object).mask(lost, "")
    return Suppressed(out, touched, (_note(int(touched.sum()), minimum),))


def _blanked(values: pd.Series, hidden: np.ndarray) -> pd.Series:
    """With gaps; whole numbers stay whole numbers."""
    if not hidden.any():
        return values
    whole = pd.api.types.is_integer_dtype(values)
    return values.astype("Int64" if whole else float).mask(hidden)


def _note(rows: int, minimum: int) -> str:
    what = "1 row is" if rows == 1 else f"{rows:,} rows are"
    return (
        f"Not shown (–): the figures of {what} left out, because fewer than {minimum} people, accounts or "
        "contacts stand behind one, or because such a one could be worked out from another."
    )


def _curve(table: pd.DataFrame, cells: Cells, minimum: int) -> Suppressed:
    """A curve by day: cut where few are left, begun where enough happened; its events by day are not shown.

    What happened on one day to some of the many at risk is judged by those at risk, not by how many they were: the
    steps of a curve are told.
    """
    few_left = np.zeros(len(table), dtype=bool)
    for column in cells.counts:
        few_left |= is_small(table[column].to_numpy(float), minimum)
    few_yet = np.zeros(len(table), dtype=bool)
    dropped = tuple(c for c in cells.parts if is_small(table[c].to_numpy(float), minimum).any())
    if "events" in table.columns:
        along = [c for c in cells.by if c not in ("day", "month")]
        events = table["events"].astype(float)
        so_far = events.groupby([table[c].astype(str) for c in along]).cumsum() if along else events.cumsum()
        few_yet = is_small(so_far.to_numpy(float), minimum)
    small = few_left | few_yet
    shown = table.drop(columns=list(dropped))
    if not small.any():
        return Suppressed(shown, small, dropped=dropped)
    for column in shown.columns:
        if column not in cells.by and pd.api.types.is_numeric_dtype(shown[column]):
            shown[column] = _blanked(shown[column], few_left if column in cells.counts else small)
    why = [f"Not drawn where fewer than {minimum} were left."] if few_left.any() else []
    why += [f"Not drawn while it had happened to fewer than {minimum}."] if few_yet.any() else []
    return Suppressed(shown, small, tuple(why), dropped)


def _base_rows(table: pd.DataFrame, cells: Cells, minimum: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows that rest on a small count, and those that go with them; a row goes for each of its counts alike."""
    counts = [table[column].to_numpy(float) for column in cells.counts]
    small = np.zeros(len(table), dtype=bool)
    for count in counts:
        small |= is_small(count, minimum)
    return small, settled(table, cells.by, counts, small, small, minimum)


def _part_rows(
    table: pd.DataFrame, cells: Cells, minimum: int, small: np.ndarray, gone: np.ndarray
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Rows that lose their figures because of a part, and the rows in which a column alone is blanked."""
    aside = {}
    own = []
    for column in cells.parts:
        if column in cells.aside:
            count = table[column].to_numpy(float)
            hide = settled(table, cells.by, [count], small, gone, minimum)
            aside[column] = hide
            gone = gone | (hide & linked(table, column))
        else:
            own.append(column)
    found = shares(table, (*cells.counts, *cells.parts))
    parts = [table[c].to_numpy(float) for c in own]
    parts += [s.count for s in found]
    parts += rests(table, replace(cells, parts=tuple(own)), found)
    while True:
        lost = settled(table, cells.by, parts, small, gone, minimum)
        more = closed(table, cells, found, own, lost, minimum)
        if (more == lost).all():
            return lost, aside
        small, gone = small | (more & ~lost), more


__all__ = ["MINIMUM", "Suppressed", "bounds", "suppress"]
