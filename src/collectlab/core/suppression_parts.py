"""Counts that a table gives away without writing them: share × base, the rest, one horizon less another."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from collectlab.core.suppression_lines import is_small, since_start
from collectlab.core.suppression_names import CONTACTS, OF_CONTACTS, SLICES, Cells

_WITHIN = re.compile(r"\bwithin[ _](\d+)[ _]")
#: More shares of one group than this are not searched for sums; no measure has so many.
_SEARCHED = 9


@dataclass(frozen=True)
class Share:
    """A share's numerators: of one measure and base, NaN on other rows."""

    measure: object
    base: str
    count: np.ndarray


def shares(table: pd.DataFrame, bases: Sequence[str]) -> list[Share]:
    """Counts that a share gives away: share × base, where that is a whole number all through a measure.

    Where it is one on some rows only (an estimate that allows for censoring), those rows' counts.
    """
    if "estimate" not in table.columns:
        return []
    estimate = table["estimate"].to_numpy(float)
    measures = table["measure"].to_numpy() if "measure" in table.columns else np.zeros(len(table))
    is_share = (
        table["unit"].isin(("share", "")).to_numpy() if "unit" in table.columns else np.full(len(table), True)
    )
    found = []
    for measure in pd.unique(measures):
        rows = (measures == measure) & is_share & np.isfinite(estimate)
        if not rows.any() or ((estimate[rows] < 0) | (estimate[rows] > 1)).any():
            continue
        for base in bases:
            whole = table[base].to_numpy(float)
            count = np.where(rows, estimate * whole, np.nan)
            exact = np.abs(count - np.rint(count)) < 1e-6 * (1 + whole)
            if exact.any():
                found.append(Share(measure, base, np.where(exact, np.rint(count), np.nan)))
    return found


def rests(table: pd.DataFrame, cells: Cells, found: Sequence[Share]) -> list[np.ndarray]:
    """What is left of a base beside a part of it; of contacts and the like it tells of nobody (1 of 53 not recorded)."""
    pairs = [
        (table[c].to_numpy(float), table[p].to_numpy(float))
        for c in cells.counts[:1]
        if c not in CONTACTS
        for p in cells.parts
    ]
    pairs += [(table[s.base].to_numpy(float), s.count) for s in found if s.base not in CONTACTS]
    left = [whole - some for whole, some in pairs]
    if "measure" in table.columns:  # one column may hold the bases of several measures
        told = ~table["measure"].isin(OF_CONTACTS).to_numpy()
        left = [np.where(told, n, np.nan) for n in left]
    return [n for n in left if (n[np.isfinite(n)] >= 0).all()]


def linked(table: pd.DataFrame, column: str) -> np.ndarray:
    """The rows whose estimate a reader could work the column out of: estimate × column is whole all through a measure."""
    out = np.zeros(len(table), dtype=bool)
    if "estimate" not in table.columns:
        return out
    product = table["estimate"].to_numpy(float) * table[column].to_numpy(float)
    exact = np.abs(product - np.rint(product)) < 1e-6
    measures = table["measure"].to_numpy() if "measure" in table.columns else np.zeros(len(table))
    for measure in pd.unique(measures):
        rows = (measures == measure) & np.isfinite(product)
        if rows.any() and exact[rows].all():
            out |= rows
    return out


def closed(
    table: pd.DataFrame,
    cells: Cells,
    found: Sequence[Share],
    parts: Sequence[str],
    gone: np.ndarray,
    minimum: int,
) -> np.ndarray:
    """``gone`` and what has to go for the sums within a group and the steps from one horizon to the next."""
    gone = gone.copy()
    # A row has one measure, so the shares of one base stand beside one another.
    counts = [(base, _beside([s.count for s in found if s.base == base])) for base in
              dict.fromkeys(s.base for s in found)] if found else []  # fmt: skip
    counts += [(base, table[p].to_numpy(float)) for p in parts for base in cells.counts[:1]]
    for rows in _ladders(table, cells):
        for base, count in counts:
            _clear_steps(rows, count, table[base].to_numpy(float), gone, minimum)
    if "measure" in cells.by:
        for groups, totals, relations in _sums(table, cells, found):
            for group in groups:
                for parts_of, whole in relations:
                    _complete(group, parts_of, whole, gone, minimum)
            if relations and gone.any():
                _hide_exposed(table, cells, groups, totals, relations, gone, minimum)
    return gone


def _beside(counts: Sequence[np.ndarray]) -> np.ndarray:
    out = counts[0]
    for count in counts[1:]:
        out = np.where(np.isfinite(out), out, count)
    return out


def _keys(table: pd.DataFrame, by: Sequence[str]) -> list[np.ndarray]:
    if not by:
        return [np.arange(len(table))]
    return list(table[list(by)].astype(str).groupby(list(by), sort=True).indices.values())


def _ladders(table: pd.DataFrame, cells: Cells) -> list[np.ndarray]:
    """Rows of one group whose counts are of the same within longer and longer times, in that order."""
    if times := [c for c in since_start(table) if c in cells.by]:
        order = since_start(table)[times[0]]
        rest = [c for c in cells.by if c != times[0]]
    elif "measure" in cells.by:
        told = table["measure"].astype(str).str.extract(_WITHIN, expand=False)
        order = pd.to_numeric(told).to_numpy(float)
        rest = [c for c in cells.by if c != "measure"]
    else:
        return []
    groups = [rows[np.isfinite(order[rows])] for rows in _keys(table, rest)]
    return [rows[np.argsort(order[rows], kind="stable")] for rows in groups if len(rows) > 1]


def _clear_steps(
    rows: np.ndarray, count: np.ndarray, base: np.ndarray, gone: np.ndarray, minimum: int
) -> None:
    """Hide the shorter of two times between which something happened to a few; the longest is what matters most."""
    later = None
    for row in rows[::-1]:
        if gone[row] or not np.isfinite(count[row]):
            continue
        if later is not None and base[row] == base[later]:
            few = is_small(np.abs(count[[later]] - count[row]), minimum)[0]
            if few:
                gone[row] = True
                continue
        later = row


#: Of one group: measure -> row and numerator.
_Group = dict[object, tuple[int, float]]
#: ``(parts, whole)``: the parts add up to the measure ``whole`` or, where it is None, to the base.
_Sum = tuple[tuple[object, ...], object | None]


def _sums(
    table: pd.DataFrame, cells: Cells, found: Sequence[Share]
) -> list[tuple[list[_Group], list[float], list[_Sum]]]:
    """For each base: the groups' numerators by measure, the base in each, and the sums that hold in every group."""
    measures = table["measure"].to_numpy()
    rest = [c for c in cells.by if c != "measure"]
    out = []
    for base in dict.fromkeys(s.base for s in found):
        mine = [s for s in found if s.base == base]
        names = [s.measure for s in mine]
        if not 2 <= len(names) <= _SEARCHED:
            continue
        whole = table[base].to_numpy(float)
        groups: list[_Group] = []
        totals: list[float] = []
        for rows in _keys(table, rest):
            at = {measures[r]: r for r in rows}
            group = {s.measure: (at[s.measure], float(s.count[at[s.measure]])) for s in mine if s.measure in at
                     and np.isfinite(s.count[at[s.measure]])}  # fmt: skip
            if len(group) > 1:
                groups.append(group)
                totals.append(float(whole[next(iter(group.values()))[0]]))
        out.append((groups, totals, _hold(groups, totals, names)))
    return out


def _hold(groups: Sequence[_Group], totals: Sequence[float], names: Sequence[object]) -> list[_Sum]:
    """The sums that hold wherever all their members are there; parts that are 0 everywhere add nothing to one."""
    matrix = np.array([[g[m][1] if m in g else np.nan for m in names] for g in groups]).reshape(
        -1, len(names)
    )
    some = [i for i in range(len(names)) if np.nansum(matrix[:, i]) > 0]
    found: list[_Sum] = []
    for size in range(2, len(some) + 1):
        for chosen in itertools.combinations(some, size):
            total = matrix[:, chosen].sum(axis=1)
            there = np.isfinite(total)
            if not there.any():
                continue
            parts = tuple(names[i] for i in chosen)
            if (total[there] == np.asarray(totals)[there]).all():
                found.append((parts, None))
            for other in some:
                both = there & np.isfinite(matrix[:, other])
                if other not in chosen and both.any() and (total[both] == matrix[both, other]).all():
                    found.append((parts, names[other]))
    return found


def _complete(
    group: Mapping[object, tuple[int, float]],
    parts: Sequence[object],
    whole: object | None,
    gone: np.ndarray,
    minimum: int,
) -> None:
    """Two gaps at least in a sum that has one, which hold ``minimum`` together."""
    if any(p not in group for p in parts) or (whole is not None and whole not in group):
        return
    while True:
        gaps = [p for p in parts if gone[group[p][0]]]
        shown = [p for p in parts if not gone[group[p][0]]]
        whole_gone = whole is not None and gone[group[whole][0]]
        together = sum(group[p][1] for p in gaps)
        enough = bool(gaps) if whole_gone else (not gaps or (len(gaps) > 1 and together >= minimum))
        if enough or not shown:
            return
        least = min(shown, key=lambda p: (group[p][1] == 0, group[p][1], str(p)))
        gone[group[least][0]] = True


def _hide_exposed(
    table: pd.DataFrame,
    cells: Cells,
    groups: Sequence[_Group],
    totals: Sequence[float],
    relations: Sequence[_Sum],
    gone: np.ndarray,
    minimum: int,
) -> None:
    """All sums of a table together: those within a group, and those of a measure over groups, by linear programming."""
    value = {row: n for group in groups for row, n in group.values()}
    equations: list[tuple[dict[int, float], float]] = []
    for group, total in zip(groups, totals):
        for parts, whole in relations:
            if all(p in group for p in parts) and (whole is None or whole in group):
                terms = {group[p][0]: 1.0 for p in parts}
                if whole is not None:
                    terms[group[whole][0]] = -1.0
                equations.append((terms, total if whole is None else 0.0))
    lines = [c for c in cells.by if c not in SLICES]
    there = sorted(value)
    for size in range(1, len(lines) + 1):
        for out in itertools.combinations(lines, size):
            stay = [c for c in cells.by if c not in out]
            for rows in _keys(table.iloc[there], stay) if stay else [np.arange(len(there))]:
                terms = {there[r]: 1.0 for r in rows}
                total = sum(value[r] for r in terms)
                if total >= minimum:
                    equations.append((terms, total))
    while True:
        few = [r for r in there if gone[r] and 0 < value[r] < minimum]
        exposed = [r for r in few if _told(r, equations, value, gone, minimum)]
        changed = False
        for row in exposed:
            near = {r for terms, _ in equations if row in terms for r in terms if not gone[r]}
            if near:
                gone[min(near, key=lambda r: (value[r] == 0, value[r], r))] = changed = True
        if not changed:
            return


def _told(
    row: int,
    equations: Sequence[tuple[dict[int, float], float]],
    value: Mapping[int, float],
    gone: np.ndarray,
    minimum: int,
) -> bool:
    """Whether what is published confines a count to one value, or to below the minimum."""
    from scipy.optimize import linprog

    unknown = {row: 0}
    near: list[tuple[dict[int, float], float]] = []
    rest = list(equations)
    while True:  # only the equations that have to do with it
        touched = [e for e in rest if any(r in unknown for r in e[0])]
        if not touched:
            break
        rest = [e for e in rest if not any(r in unknown for r in e[0])]
        near += touched
        for terms, _ in touched:
            for r in terms:
                if gone[r]:
                    unknown.setdefault(r, len(unknown))
    if not near:
        return False
    left, right = np.zeros((len(near), len(unknown))), np.zeros(len(near))
    for i, (terms, total) in enumerate(near):
        right[i] = total - sum(sign * value[r] for r, sign in terms.items() if not gone[r])
        for r, sign in terms.items():
            if gone[r]:
                left[i, unknown[r]] = sign
    aim = np.zeros(len(unknown))
    aim[0] = 1.0
    ends = []
    for sign in (1, -1):
        told = linprog(sign * aim, A_eq=left, b_eq=right, bounds=(0, None), method="highs")
        ends.append(sign * told.fun if told.status == 0 else (0.0 if sign == 1 else np.inf))
    return bool(ends[1] - ends[0] < 1e-6 or ends[1] < minimum - 1e-6)


__all__ = ["Share", "closed", "linked", "rests", "shares"]
