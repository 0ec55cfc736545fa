"""Counts of episodes: exits by group × day × outcome, entries by group × day: all that the estimators look at."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
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

    @cached_property
    def at_risk(self) -> np.ndarray:
        """(D,) under observation and still delinquent just before each exit day."""
        return self.at_risk_on(self.days)

    def at_risk_on(self, days: np.ndarray) -> np.ndarray:
        """The same on any days."""
        came = np.concatenate([[0.0], np.cumsum(self.entered)])
        left = np.concatenate([[0.0], np.cumsum(self.exits.sum(axis=0))])
        return came[np.searchsorted(self.entry_days, days)] - left[np.searchsorted(self.days, days)]

    def kept(self, name: str, make: Callable[[Track], Any]) -> Any:
        """What ``make`` computes of these counts, computed once."""
        kept = self.__dict__.setdefault("_kept", {})
        if name not in kept:
            kept[name] = make(self)
        return kept[name]

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
class Joint:
    """The counts by entry and exit together, for variances that need both; one place is one cell, sorted by group."""

    group: np.ndarray
    entry: np.ndarray
    exit: np.ndarray
    outcome: np.ndarray
    n: np.ndarray  #: episodes, or the sum of their weights
    squares: np.ndarray  #: the sum of their squared weights


@dataclass(frozen=True)
class Cells:
    """The counted table: who left and who came, which is all that the estimators look at.

    Two tables, each sorted by group: exits by group × day × outcome (× replicate) and entries by group × day
    (× replicate). Made by :func:`collectlab.measures.survival.count`.
    """

    groups: pd.DataFrame  #: one row a group, in the order of the result; no columns if ``by`` is None
    outcomes: tuple  #: what the codes in ``outcome`` stand for; the last one is censoring
    group: np.ndarray
    day: np.ndarray
    outcome: np.ndarray
    n: np.ndarray
    replicate: np.ndarray | None
    entry_group: np.ndarray
    entry_day: np.ndarray
    entered: np.ndarray
    entry_replicate: np.ndarray | None
    notes: tuple[str, ...]
    asked: Asked
    wait: np.ndarray  #: days between "last seen delinquent" and the exit, summed; 0 if not told
    joint: Joint | None = None

    def __repr__(self) -> str:
        return f"<{self.episodes:,.0f} episodes counted in {len(self.groups):,} groups>"

    @property
    def episodes(self) -> float:
        """How many episodes are counted (the sum of their weights)."""
        return float(self.n.sum())

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

    def pick(self, exits: np.ndarray, entries: np.ndarray) -> Cells:
        """The exits and the entries where the flags hold; the groups stay, the joint counts do not."""
        left = {name: getattr(self, name)[exits] for name in ("group", "day", "outcome", "n", "wait")}
        came = {name: getattr(self, name)[entries] for name in ("entry_group", "entry_day", "entered")}
        marks = {} if self.replicate is None else {"replicate": self.replicate[exits]}
        marks |= {} if self.replicate is None else {"entry_replicate": self.entry_replicate[entries]}
        return replace(self, **left, **came, **marks, joint=None)

    def restart(self, day: int) -> Cells:
        """Only what happens after ``day`` to those still delinquent then; 0 keeps everything."""
        if day == 0:
            return self
        left, came = self.day <= day, self.entry_day <= day
        # Whoever came by that day and has not left is still there: they enter on it.
        group = np.concatenate([self.entry_group[came], self.group[left]])
        n = np.concatenate([self.entered[came], -self.n[left]])
        replicate = None
        if self.replicate is not None:
            replicate = np.concatenate([self.entry_replicate[came], self.replicate[left]])
        key = group if replicate is None else group * (1 + replicate.max(initial=0)) + replicate
        found, first, place = np.unique(key, return_index=True, return_inverse=True)
        still = np.bincount(place, weights=n, minlength=len(found))
        there = still > 0
        later = self.pick(~left, ~came)
        marks = {}
        if replicate is not None:
            marks["entry_replicate"] = np.concatenate([replicate[first][there], later.entry_replicate])
        result = replace(
            later,
            entry_group=np.concatenate([group[first][there], later.entry_group]),
            entry_day=np.concatenate([np.full(there.sum(), day), later.entry_day]),
            entered=np.concatenate([still[there], later.entered]),
            **marks,
        )
        order = np.argsort(result.entry_group, kind="stable")
        return result.pick(slice(None), order)

    def merge(self, *classes: Sequence) -> Cells:
        """The same cells with outcomes merged into classes; what is in none of them becomes censoring."""
        code = {outcome: i for i, members in enumerate(classes) for outcome in members}
        new = np.array([code.get(outcome, len(classes)) for outcome in self.outcomes], dtype=int)
        joint = self.joint and replace(self.joint, outcome=new[self.joint.outcome])
        return replace(self, outcomes=(*classes, "censored"), outcome=new[self.outcome], joint=joint)

    def _rows(self, group: int) -> tuple[slice, slice]:
        ends = [group, group + 1]
        return slice(*np.searchsorted(self.group, ends)), slice(*np.searchsorted(self.entry_group, ends))

    def track(self, group: int) -> Track | None:
        """The counts of one group; None if it has none."""
        left, came = self._rows(group)
        if left.start == left.stop:
            return None
        days, day = np.unique(self.day[left], return_inverse=True)
        place, shape = self.outcome[left] * len(days) + day, (len(self.outcomes), len(days))
        exits = np.bincount(place, weights=self.n[left], minlength=shape[0] * shape[1]).reshape(shape)
        entry_days, entry = np.unique(self.entry_day[came], return_inverse=True)
        return Track(days, exits, entry_days, np.bincount(entry, weights=self.entered[came]))

    def tracks(self) -> list[Track]:
        """The counts of every group, all of which have some as they come from :func:`count_cells`."""
        return self._tracks

    @cached_property
    def _tracks(self) -> list[Track]:
        return [self.track(g) for g in range(len(self.groups))]

    def by_replicate(self, group: int, days: np.ndarray) -> np.ndarray:
        """(R, 1 + K, D) for the jackknife: those who entered since the exit day before, and exits by outcome."""
        left, came = self._rows(group)
        found = np.unique(self.replicate[left])
        replicate = np.searchsorted(found, self.replicate[left])
        counts = np.zeros((len(found), 1 + len(self.outcomes), len(days)))
        np.add.at(
            counts,
            (replicate, 1 + self.outcome[left], np.searchsorted(days, self.day[left])),
            self.n[left],
        )
        first_exit_after_entry = np.searchsorted(days, self.entry_day[came], side="right")
        entry_replicate = np.searchsorted(found, self.entry_replicate[came])
        np.add.at(counts, (entry_replicate, 0, first_exit_after_entry), self.entered[came])
        return counts


@dataclass(frozen=True)
class Asked:
    """The columns that a count was made of."""

    duration: str
    outcome: str
    entry: str | None
    by: tuple[str, ...]
    weight: str | None
    cluster: str | None


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


def stack(cells: Cells, parts: Sequence[dict[str, Any]], groups: Sequence[int] | None = None) -> pd.DataFrame:
    """One table from the columns of each part in turn, the grouping columns first.

    ``groups`` says which group each part belongs to; without it there is a part for each group.
    """
    lengths = [
        max((len(v) for v in part.values() if np.ndim(v) or isinstance(v, list)), default=1) for part in parts
    ]
    table = {
        name: np.concatenate([_column(part[name], length) for part, length in zip(parts, lengths)])
        for name in parts[0]
    }
    group = np.repeat(range(len(parts)) if groups is None else np.asarray(groups, dtype=int), lengths)
    keys = {name: cells.groups[name].take(group).reset_index(drop=True) for name in cells.groups.columns}
    table |= {name: pd.Series(v).infer_objects() for name, v in table.items() if v.dtype == object}
    return pd.DataFrame(keys | table)


def _column(value: Any, length: int) -> np.ndarray:
    if np.ndim(value):
        return np.asarray(value)
    filled = np.empty(length, dtype=object if isinstance(value, str) else np.asarray(value).dtype)
    filled.fill(value)
    return filled


def spoken(outcomes: Sequence, word: str = "or") -> str:
    """``cured, charged off or sold``."""
    names = [str(o).replace("_", " ") for o in outcomes]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} {word} {names[-1]}"


def whole(counts: np.ndarray) -> np.ndarray:
    """Counts as whole numbers, if they are (they are not under fractional weights)."""
    return counts.astype(np.int64) if (counts == np.rint(counts)).all() else counts
