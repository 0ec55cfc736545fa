"""Episodes counted once by covariate pattern × interval of days × outcome: all that the hazards look at.

Interval j covers the days ``edges[j] + 1 … edges[j + 1]``. An episode is at risk on the days
entry < t ≤ exit, so that each cell holds its days at risk and its events exactly, whatever the interval's
length, and nothing has to be assumed about censorings inside an interval.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import narwhals as nw
import numpy as np
import pandas as pd

from collectlab.core import engine
from collectlab.core.columns import free_name, row_count
from collectlab.core.errors import FrameError, NotAvailable
from collectlab.core.jackknife import with_replicates
from collectlab.measures.drivers_covariates import Covariate, code_covariates
from collectlab.measures.survival_cells import Cells, spoken

#: Cells of pattern × interval up to which every day is an interval of its own.
_DAILY_CELLS = 2_000_000
_MOST_CELLS = 25_000_000
#: Room for outcomes in the packed key; one stands for censoring.
_CODES = 32
#: After day 60 a day stands alone if it holds this share of the events of an outcome (up to so many days).
_SPIKE, _SPIKES = 0.005, 20
MOST_PATTERNS = 50_000
#: Replicate groups of clusters: more than elsewhere, since nothing has to be fitted again for each.
REPLICATES = 200


@dataclass(frozen=True)
class Patterns:
    """The counted table. K outcomes that are no censoring, P patterns, J intervals."""

    covariates: tuple[Covariate, ...]
    codes: np.ndarray  #: (P, covariates) of each pattern
    size: np.ndarray  #: (P,) episodes
    edges: np.ndarray  #: (J + 1,)
    at_risk: np.ndarray  #: (P, J) days at risk
    events: np.ndarray  #: (K, P, J)
    outcomes: tuple  #: the K names
    notes: tuple[str, ...]
    clustered: Clustered | None = None

    @property
    def lengths(self) -> np.ndarray:
        """(J,) days in each interval."""
        return np.diff(self.edges)


@dataclass(frozen=True)
class Clustered:
    """The same counts by replicate group of clusters, as cells."""

    groups: int
    exits: (
        pd.DataFrame
    )  #: replicate, pattern, interval, outcome (K: censored), n, offset (days into it, summed)
    entries: pd.DataFrame  #: the same without outcome


def count_patterns(
    frame: nw.LazyFrame,
    cells: Cells,
    classes: Sequence[tuple],
    *,
    covariates: Sequence[str],
    duration: str,
    outcome: str,
    entry: str | None,
    steps: Mapping,
    bins: Any,
    intervals: Any,
    stages: Sequence[int],
    cluster: str | None,
) -> Patterns:
    """Count a checked frame: ``cells`` is its count without covariates, ``classes`` the outcomes told apart."""
    first, last, rows = _span(cells)
    if entry is not None:
        frame = frame.filter(nw.col(entry) < nw.col(duration))
    found, notes = code_covariates(frame, covariates, rows, steps, bins)
    packed = np.prod([len(c.episodes) for c in found if c.expr is not None], dtype=float)
    most = min(packed, rows) if all(c.expr is not None for c in found) else rows
    edges = _edges(intervals, cells, stages, most)
    if len(edges) > 2 and (edges.size - 1) < last - first and intervals is None:
        notes.append(
            f"The days to day {last:,} are taken together in {len(edges) - 1} intervals, in each of which the "
            "hazard per day is constant."
        )
    if packed * (edges[-1] - edges[0] + 1) * _CODES >= 2**62:
        raise FrameError(
            f"{len(found)} covariates make {packed:.2g} patterns. Use fewer, or bins of their values."
        )

    if len(classes) >= _CODES:
        raise FrameError(f"{len(classes)} outcomes. Allowed: up to {_CODES - 1}.")
    key: Any = None
    raw = {}
    for i, c in enumerate(found):
        if c.expr is None:
            number = nw.col(c.name).cast(nw.Float64)
            raw[f"x{i}"] = nw.when(number.is_finite()).then(number)
        else:
            key = c.expr if key is None else key * len(c.episodes) + c.expr
    key = nw.lit(0, nw.Int64) if key is None else key
    mark = []
    if cluster is not None:
        name = free_name("_replicate", frame.collect_schema().names())
        frame, mark = with_replicates(frame, cluster, REPLICATES, name), [nw.col(name).alias("replicate")]
    left = nw.lit(len(classes), nw.Int64)
    for k, value in ((k, v) for k, members in enumerate(classes) for v in members if v in cells.outcomes):
        left = nw.when(nw.col(outcome) == value).then(nw.lit(k, nw.Int64)).otherwise(left)
    exits = _count(frame, key, raw, mark, duration, edges, left)
    # Whoever is there from the start has no day before the entry to take off.
    entries = None if entry is None else _count(frame, key, raw, mark, entry, edges, nw.lit(0, nw.Int64))
    return _assemble(
        found, exits, entries, edges, [c[0] if len(c) == 1 else spoken(c) for c in classes], raw, tuple(notes)
    )


def _span(cells: Cells) -> tuple[int, int, int]:
    track = cells.track(0)
    return int(track.entry_days[0]), track.last_day, int(track.entered.sum())


def _edges(intervals: Any, cells: Cells, stages: Sequence[int], patterns: float) -> np.ndarray:
    """Last days of the intervals, from the last day before the first at risk."""
    first, last, _ = _span(cells)
    if intervals is None:
        daily = patterns * (last - first) <= _DAILY_CELLS
        edges = np.arange(first, last) if daily else _coarser(first, last, cells)
    elif isinstance(intervals, str):
        if intervals != "days":
            raise FrameError(f"intervals is {intervals!r}. Allowed: None, 'days', or rising days.")
        edges = np.arange(first, last)
    else:
        edges = np.asarray(list(intervals), dtype=float)
        if not len(edges) or (edges % 1).any() or (np.diff(edges) <= 0).any():
            raise FrameError(
                f"intervals is {intervals!r}. Allowed: None, 'days', or the rising first days of intervals."
            )
        edges = edges.astype(int) - 1
    edges = np.union1d(edges, np.array(stages, dtype=int) - 1)
    edges = np.concatenate([[first], edges[(edges > first) & (edges < last)], [last]]).astype(int)
    if patterns * len(edges) > 40 * _MOST_CELLS:
        raise FrameError(
            f"{patterns:,.0f} patterns × {len(edges):,} intervals are too many. Allowed: fewer bins."
        )
    return edges


def _coarser(first: int, last: int, cells: Cells) -> np.ndarray:
    """Every day for 60 days, then weeks to about a year, then 30 days; days with many events stand alone.

    A policy that charges off on day 180 makes a spike that no interval around it may smooth.
    """
    grid = [np.arange(first, min(last, 60)), np.arange(60, min(last, 361), 7), np.arange(367, last, 30)]
    track = cells.track(0)
    late = track.days > 60
    share = track.exits[:-1, late] / np.maximum(track.exits[:-1].sum(axis=1, keepdims=True), 1)
    most = share.max(axis=0, initial=0.0)
    crowded = np.sort(np.argsort(-most, kind="stable")[:_SPIKES])
    spikes = track.days[late][crowded[most[crowded] >= _SPIKE]]
    return np.union1d(np.concatenate(grid), np.concatenate([spikes - 1, spikes]))


def _count(
    frame: nw.LazyFrame,
    key: nw.Expr,
    raw: Mapping[str, nw.Expr],
    mark: list,
    day: str,
    edges: np.ndarray,
    left: nw.Expr,
) -> dict[str, np.ndarray]:
    """key, (distinct values,) (replicate,) interval, outcome, n and the days into the interval, summed.

    Counted by day: that costs an engine less than the arithmetic of intervals for every row.
    """
    first, days = int(edges[0]), int(edges[-1] - edges[0]) + 1
    packed = (key * days + (nw.col(day).cast(nw.Int64) - first)) * _CODES + left
    by = ["packed", *raw, *(["replicate"] if mark else [])]
    counted = engine.collect(
        frame.select(packed.alias("packed"), *mark, **raw).group_by(by).agg(n=row_count())
    )
    if counted[by].isna().to_numpy().any():
        counted = counted[counted[by].notna().all(axis=1)]
    n, code = counted["n"].to_numpy(np.int64), counted["packed"].to_numpy(np.int64)
    rest, outcome = code // _CODES, code % _CODES
    found = rest // days
    since = rest - found * days
    # Day first + since lies in the interval whose last day is the first not before it; an entry on the first
    # edge has no day at risk behind it.
    of_day = np.maximum(np.searchsorted(edges, np.arange(days) + first) - 1, 0)
    into = np.arange(days) + first - edges[of_day]
    cells = {"key": found, "interval": of_day[since], "outcome": outcome, "n": n, "offset": n * into[since]}
    return cells | {c: counted[c].to_numpy() for c in by[1:]}


def _assemble(
    found: list[Covariate],
    exits: dict[str, np.ndarray],
    entries: dict[str, np.ndarray] | None,
    edges: np.ndarray,
    outcomes: Sequence,
    raw: Mapping,
    notes: tuple[str, ...],
) -> Patterns:
    if not len(exits["n"]):
        raise NotAvailable("every episode has a missing covariate.")
    entries = entries or {name: values[:0] for name, values in exits.items()}
    distinct, exits["pattern"], entries["pattern"] = _number_patterns(exits, entries, list(raw))
    P, J, K = len(distinct), len(edges) - 1, len(outcomes)
    if P > MOST_PATTERNS or P * J > _MOST_CELLS:
        raise FrameError(
            f"{P:,} patterns × {J:,} intervals are too many. Allowed: {MOST_PATTERNS:,} patterns and "
            f"{_MOST_CELLS:,} cells; give fewer covariates, bins, or coarser intervals."
        )
    at = exits["pattern"] * J + exits["interval"]
    counts = np.bincount(exits["outcome"] * (P * J) + at, exits["n"], (K + 1) * P * J).reshape(K + 1, P, J)
    left = counts.sum(axis=0)
    at_risk = _days_before(left, at, exits["offset"], edges)
    if len(entries["n"]):
        at = entries["pattern"] * J + entries["interval"]
        came = np.bincount(at, entries["n"], P * J).reshape(P, J)
        at_risk -= _days_before(came, at, entries["offset"], edges)
    size = left.sum(axis=1)
    codes, covariates = _decode(found, distinct, size)
    return Patterns(
        covariates=covariates,
        codes=codes,
        size=size,
        edges=edges,
        at_risk=at_risk,
        events=counts[:K],
        outcomes=tuple(outcomes),
        notes=notes,
        clustered=Clustered(REPLICATES, _sorted(exits), _sorted(entries)) if "replicate" in exits else None,
    )


def _sorted(cells: dict[str, np.ndarray]) -> pd.DataFrame:
    """In an order of their own, so that sums over them do not depend on the engine's."""
    by = ["replicate", "pattern", "interval", "outcome"]
    return pd.DataFrame({c: cells[c] for c in (*by, "n", "offset")}).sort_values(by, ignore_index=True)


def _number_patterns(
    exits: dict[str, np.ndarray], entries: dict[str, np.ndarray], raw: list[str]
) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
    """The distinct patterns in rising order, and the number of the pattern of each cell."""
    by = ["key", *raw]
    if raw:
        cells = pd.DataFrame({c: exits[c] for c in by})
        distinct = cells.drop_duplicates().sort_values(by, ignore_index=True)
        coded = distinct.assign(pattern=np.arange(len(distinct)))
        later = pd.DataFrame({c: entries[c] for c in by})
        numbers = [t.merge(coded, on=by, how="left")["pattern"].to_numpy() for t in (cells, later)]
        return distinct, *numbers
    most = int(exits["key"].max()) + 1
    if most > 2**25:
        found, number = np.unique(exits["key"], return_inverse=True)
        return pd.DataFrame({"key": found}), number, np.searchsorted(found, entries["key"])
    there = np.zeros(most, dtype=bool)
    there[exits["key"]] = True
    number = np.cumsum(there) - 1
    return pd.DataFrame({"key": np.flatnonzero(there)}), number[exits["key"]], number[entries["key"]]


def _days_before(n: np.ndarray, at: np.ndarray, offset: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """(P, J) days in each interval up to the exit (or the entry) of each episode, summed."""
    inside = np.bincount(at, offset, n.size).reshape(n.shape)
    beyond = n.sum(axis=1, keepdims=True) - np.cumsum(n, axis=1)
    beyond *= np.diff(edges)
    return inside + beyond


def _decode(
    found: list[Covariate], distinct: pd.DataFrame, size: np.ndarray
) -> tuple[np.ndarray, tuple[Covariate, ...]]:
    """The code of each covariate in each pattern, and the covariates with the episodes that were counted."""
    rest = distinct["key"].to_numpy(np.int64).copy()
    codes = np.zeros((len(distinct), len(found)), dtype=np.int64)
    out: list[Covariate] = []
    for i in range(len(found) - 1, -1, -1):
        c = found[i]
        if c.expr is None:
            values, codes[:, i] = np.unique(distinct[f"x{i}"].to_numpy(), return_inverse=True)
            c = replace(c, values=values)
        else:
            rest, codes[:, i] = np.divmod(rest, len(c.episodes))
        width = len(c.values) if c.labels is None else len(c.labels)
        out.append(replace(c, episodes=np.bincount(codes[:, i], size, width)))
    return codes, tuple(reversed(out))


def spoken_stages(stages: Sequence[int]) -> tuple[str, ...]:
    """``before day 30``, ``days 30–59``, ``day 60 on``."""
    bounds = list(stages)
    middle = [f"days {a}–{b - 1}" for a, b in pairwise(bounds)]
    return (f"before day {bounds[0]}", *middle, f"day {bounds[-1]} on")


def check_stages(stages: Sequence[int]) -> tuple[int, ...]:
    """The first days of the stages after the first one; refuses anything but rising whole days ≥ 1."""
    days = list(stages) if np.iterable(stages) and not isinstance(stages, str) else [stages]
    whole = all(isinstance(d, (int, np.integer)) and not isinstance(d, bool) and d >= 1 for d in days)
    if not days or not whole or any(a >= b for a, b in pairwise(days)):
        raise FrameError(f"stages is {stages!r}. Allowed: the rising first days of stages, such as (30, 60).")
    return tuple(int(d) for d in days)
