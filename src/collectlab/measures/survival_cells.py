"""Counts of episodes, group × entry × exit day × outcome: all that the estimators look at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from collectlab.measures.groups import MISSING, own_names


@dataclass(frozen=True)
class Track:
    """One group's counts. Risk set on day t: entry < t ≤ exit; on a tie, events come before censorings."""

    days: np.ndarray  #: (D,) distinct exit days, rising
    exits: np.ndarray  #: (K, D) how many left with each outcome
    entry_days: np.ndarray  #: (E,) distinct entry days, rising
    entered: np.ndarray  #: (E,) how many came under observation then

    @property
    def at_risk(self) -> np.ndarray:
        """(D,) under observation and still delinquent just before each exit day."""
        return self.at_risk_on(self.days)

    def at_risk_on(self, days: np.ndarray) -> np.ndarray:
        """The same on any days."""
        came = np.concatenate([[0.0], np.cumsum(self.entered)])
        left = np.concatenate([[0.0], np.cumsum(self.exits.sum(axis=0))])
        return came[np.searchsorted(self.entry_days, days)] - left[np.searchsorted(self.days, days)]

    @property
    def last_day(self) -> int:
        """The last day of follow-up."""
        return int(self.days[-1])

    @property
    def gap(self) -> int | None:
        """The first day after which the risk set is empty though somebody enters later; None if there is none."""
        after = self.at_risk_on(self.days + 1)
        empty = (after <= 0) & (self.days < self.days[-1])
        return int(self.days[empty][0]) if empty.any() else None

    @property
    def all_left(self) -> bool:
        """Whether nobody was still delinquent after the last day: the curve is then known to be flat."""
        return not self.exits[-1, -1]


@dataclass(frozen=True)
class Cells:
    """The counted table: one place in each array is one group × entry × exit × outcome (× replicate) cell,
    sorted by group."""

    groups: pd.DataFrame  #: one row a group, in the order of the result; no columns if ``by`` is None
    outcomes: tuple  #: what the codes in ``outcome`` stand for; the last one is censoring
    group: np.ndarray
    entry: np.ndarray
    exit: np.ndarray
    outcome: np.ndarray
    n: np.ndarray
    replicate: np.ndarray | None
    notes: tuple[str, ...]
    wait: np.ndarray  #: days in the cell between "last seen delinquent" and the exit, summed; 0 if not told

    def name(self, group: int) -> str:
        """``team=A, region=North``; empty if there is one group of everybody."""
        row = self.groups.iloc[group]
        return ", ".join(f"{column}={value}" for column, value in row.items())

    def label(self, group: int) -> str:
        """The shorter name for legends: ``A, North``."""
        return ", ".join(MISSING if pd.isna(v) else str(v) for v in self.groups.iloc[group])

    def with_notes(self, *notes: str) -> Cells:
        """The same cells with more notes."""
        return replace(self, notes=(*self.notes, *notes))

    def pick(self, keep: np.ndarray) -> Cells:
        """The cells where ``keep`` holds; the groups stay."""
        parts = {
            name: getattr(self, name)[keep] for name in ("group", "entry", "exit", "outcome", "n", "wait")
        }
        return replace(self, **parts, replicate=None if self.replicate is None else self.replicate[keep])

    def restart(self, day: int) -> Cells:
        """Only what happens after ``day`` to those still delinquent then; 0 keeps everything."""
        if day == 0:
            return self
        later = self.pick(self.exit > day)
        return replace(later, entry=np.maximum(later.entry, day))

    def merge(self, *classes: Sequence) -> Cells:
        """The same cells with outcomes merged into classes; what is in none of them becomes censoring."""
        code = {outcome: i for i, members in enumerate(classes) for outcome in members}
        new = np.array([code.get(outcome, len(classes)) for outcome in self.outcomes], dtype=int)
        return replace(self, outcomes=(*classes, "censored"), outcome=new[self.outcome])

    def _rows(self, group: int) -> slice:
        return slice(*np.searchsorted(self.group, [group, group + 1]))

    def track(self, group: int) -> Track | None:
        """The counts of one group; None if it has none."""
        rows = self._rows(group)
        if rows.start == rows.stop:
            return None
        days, day = np.unique(self.exit[rows], return_inverse=True)
        exits = np.zeros((len(self.outcomes), len(days)))
        np.add.at(exits, (self.outcome[rows], day), self.n[rows])
        entry_days, entry = np.unique(self.entry[rows], return_inverse=True)
        return Track(days, exits, entry_days, np.bincount(entry, weights=self.n[rows]))

    def tracks(self) -> list[Track]:
        """The counts of every group, all of which have some as they come from :func:`count_cells`."""
        return [self.track(g) for g in range(len(self.groups))]

    def by_replicate(self, group: int, days: np.ndarray) -> np.ndarray:
        """(R, 1 + K, D) for the jackknife: those who entered since the exit day before, and exits by outcome."""
        rows = self._rows(group)
        found, replicate = np.unique(self.replicate[rows], return_inverse=True)
        counts = np.zeros((len(found), 1 + len(self.outcomes), len(days)))
        at_exit = np.searchsorted(days, self.exit[rows])
        first_exit_after_entry = np.searchsorted(days, self.entry[rows], side="right")
        np.add.at(counts, (replicate, 0, first_exit_after_entry), self.n[rows])
        np.add.at(counts, (replicate, 1 + self.outcome[rows], at_exit), self.n[rows])
        return counts


def rename_groups(cells: Cells, taken: Sequence[str]) -> Cells:
    """Grouping columns named like one of the result's own columns get ``by_`` before their name, with a note."""
    old = list(cells.groups.columns)
    new = own_names(old, taken)
    notes = [
        f"The grouping column {a!r} stands as {b!r}: {a!r} is a column of the result itself."
        for a, b in zip(old, new)
        if a != b
    ]
    return replace(cells, groups=cells.groups.set_axis(new, axis=1), notes=(*cells.notes, *notes))


def stack(cells: Cells, parts: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """One table from the columns of each group in turn, the grouping columns first."""
    frames = [pd.DataFrame(part) for part in parts]
    table = pd.concat(frames, ignore_index=True)
    keys = cells.groups.iloc[np.repeat(np.arange(len(frames)), [len(f) for f in frames])].reset_index(
        drop=True
    )
    return pd.concat([keys, table], axis=1) if len(keys.columns) else table


def spoken(outcomes: Sequence, word: str = "or") -> str:
    """``cured, charged off or sold``."""
    names = [str(o).replace("_", " ") for o in outcomes]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} {word} {names[-1]}"


def whole(counts: np.ndarray) -> np.ndarray:
    """Counts as whole numbers, if they are (they are not under fractional weights)."""
    return counts.astype(np.int64) if (counts == np.rint(counts)).all() else counts
