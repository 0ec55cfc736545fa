"""Counting episodes once, in the engine; all faults of the input are found in the counted table."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import narwhals as nw
import numpy as np
import pandas as pd

from collectlab.book.episodes import OUTCOMES
from collectlab.core.columns import as_list, free_name
from collectlab.core.engine import collect, require, scan
from collectlab.core.errors import FrameError, first_few, nearest
from collectlab.core.jackknife import with_replicates
from collectlab.measures.groups import by_keys, distinct_groups, group_codes, natural
from collectlab.measures.survival_cells import Cells, spoken

MAX_GROUPS = 1_000
#: Entry day of rows under observation from before the first day.
FROM_THE_START = -1
_WEIGHT_LIMIT = 1e12


class NothingToCount(FrameError):
    """A frame without a row that could be counted."""


def count_cells(
    frame: Any,
    *,
    duration: str,
    outcome: str,
    entry: str | None = None,
    by: str | Sequence[str] | None = None,
    weight: str | None = None,
    cluster: str | None = None,
    seen: str | None = None,
) -> Cells:
    """Count a frame of episodes in its engine, check what came back, and raise all faults at once.

    ``seen`` is a column of the day an episode was last seen open; the waits from then to the exit are summed.
    """
    by = as_list(by)
    lazy = scan(frame)
    used = [duration, outcome, *by, *(c for c in (entry, weight, cluster) if c is not None)]
    require(lazy, *dict.fromkeys(used))
    schema = lazy.collect_schema()
    faults = [
        f"column {column!r} is {schema[column]}. Allowed for a {what}: numbers."
        for column, what in ((duration, "duration"), (entry, "day of entry"), (weight, "weight"))
        if column is not None and not schema[column].is_numeric()
    ]
    if isinstance(schema[outcome], (nw.Date, nw.Datetime, nw.Duration, nw.List, nw.Struct)):
        faults.append(
            f"column {outcome!r} is {schema[outcome]}. Allowed for an outcome: text, codes or booleans."
        )
    if faults:
        raise FrameError(faults)
    if cluster is not None:
        lazy = with_replicates(lazy, cluster, name=(mark := free_name("_replicate", schema.names())))
    notes = []
    if entry is None and "entry_day" in schema.names() and duration != "entry_day":
        notes.append(
            "The column entry_day was not used: episodes first seen late count as if watched from day 0. "
            "Give entry='entry_day' to let them enter the risk set only then."
        )

    cell = dict(zip(by_keys(by), map(nw.col, by)))
    cell |= {"exit": nw.col(duration).cast(nw.Float64), "outcome": nw.col(outcome)}
    if entry is not None:
        cell["entry"] = nw.col(entry).cast(nw.Float64)
    if cluster is not None:
        cell["replicate"] = nw.col(mark)
    wait = nw.lit(0) if seen is None else (nw.col(duration) - nw.col(seen)).cast(nw.Int64)
    if weight is None:
        counted = lazy.select(**cell, wait=wait).group_by(*cell).agg(rows=nw.len(), wait=nw.col("wait").sum())
    else:
        w = nw.col(weight).cast(nw.Float64)
        bad = w.is_null() | w.is_nan() | ~w.is_finite() | (w <= 0) | (w > _WEIGHT_LIMIT)
        clean = nw.when(bad.fill_null(True)).then(nw.lit(0.0)).otherwise(w)
        counted = lazy.select(**cell, wait=wait, w=clean, bad=bad.fill_null(True).cast(nw.Int64))
        # Sums of whole numbers do not depend on the order in which the engine meets the rows.
        coarse = (nw.col("w") * 2.0**20).floor()
        fine = ((nw.col("w") * 2.0**20 - coarse) * 2.0**38).round()
        counted = counted.with_columns(coarse=coarse.cast(nw.Int64), fine=fine.cast(nw.Int64))
        counted = counted.group_by(*cell).agg(
            nw.len().alias("rows"), *(nw.col(c).sum().alias(c) for c in ("wait", "coarse", "fine", "bad"))
        )
    cells = collect(counted)
    if cells.empty:
        raise NothingToCount("the frame has no rows. Allowed: at least one episode.")

    check = _Check(cells, cells["rows"].to_numpy(dtype=float))
    exit_day = check.whole_days("exit", duration, negative=False)
    if entry is None:
        entry_day = np.full(len(cells), FROM_THE_START)
    else:
        entry_day = check.whole_days("entry", entry, negative=True)
        check.refuse(
            entry_day > exit_day,
            [f"{a:g} > {b:g}" for a, b in zip(entry_day, exit_day)],
            f"have {entry!r} after {duration!r}",
            "entry on or before the exit",
        )
    check.refuse(cells["outcome"].isna().to_numpy(), None, f"have no {outcome!r}", "an outcome on every row")
    if weight is not None:
        check.refuse_rows(
            int(cells["bad"].sum()),
            f"have a {weight!r} that is missing, zero, negative or not finite",
            "weights above 0 (and up to 10¹²)",
        )
    outcomes, codes = _outcome_codes(cells["outcome"], outcome, check.faults)
    groups, group = _group_codes(cells, by, check.faults)
    if check.faults:
        raise FrameError(check.faults)

    if weight is None:
        n = check.rows
    else:
        n = cells["coarse"].to_numpy(float) / 2.0**20 + cells["fine"].to_numpy(float) / 2.0**58
        # On a common binary grid sums and differences are exact: a risk set that empties is exactly 0.
        scale = 51 - int(np.ceil(np.log2(n.sum())))
        n = np.ldexp(np.rint(np.ldexp(n, scale)), -scale)
    empty = entry_day >= exit_day
    if lost := int(check.rows[empty].sum()):
        notes.append(
            f"{lost:,} of {int(check.rows.sum()):,} episodes have no follow-up after they were first seen."
        )
    if empty.all():
        raise NothingToCount("no episode has any follow-up (entry equals exit on every row).")
    result = Cells(
        groups=groups,
        outcomes=outcomes,
        group=group,
        entry=entry_day.astype(np.int64),
        exit=exit_day.astype(np.int64),
        outcome=codes,
        n=n,
        replicate=None if cluster is None else cells["replicate"].to_numpy(dtype=np.int64),
        notes=tuple(notes),
        wait=cells["wait"].to_numpy(dtype=float, na_value=0.0),
    )
    order = np.lexsort((result.outcome, result.entry, result.exit, result.group))
    result = result.pick(order[~empty[order]])
    left = np.unique(result.group)
    if len(left) < len(groups):
        gone = [result.name(g) for g in range(len(groups)) if g not in set(left)]
        notes.append(f"Left out, without any follow-up: {first_few(gone)}.")
        kept = groups.iloc[left].reset_index(drop=True)
        result = replace(result, groups=kept, group=np.searchsorted(left, result.group), notes=tuple(notes))
    return result


@dataclass
class _Check:
    """Faults of the counted table, each with how many rows and the first few values."""

    cells: pd.DataFrame
    rows: np.ndarray

    def __post_init__(self) -> None:
        self.faults: list[str] = []

    def whole_days(self, key: str, column: str, *, negative: bool) -> np.ndarray:
        days = self.cells[key].to_numpy(dtype=float, na_value=np.nan)
        allowed = "whole days" if negative else "whole days ≥ 0"
        missing = np.isnan(days)
        self.refuse(missing, None, f"have no {column!r}", allowed)
        if not negative:
            self.refuse(days < 0, days, f"have {column!r} < 0", allowed)
        odd = ~missing & ((days != np.floor(days)) | (np.abs(days) > 2**31))
        self.refuse(odd & (negative | (days >= 0)), days, f"have a {column!r} that is no whole day", allowed)
        return days

    def refuse(self, wrong: np.ndarray, values: Iterable | None, what: str, allowed: str) -> None:
        examples = None
        if values is not None and wrong.any():
            found = [v for v, bad in zip(values, wrong) if bad]
            examples = [f"{v:g}" if isinstance(v, float) else v for v in sorted(set(found))]
        self.refuse_rows(int(self.rows[wrong].sum()), what, allowed, examples)

    def refuse_rows(self, count: int, what: str, allowed: str, examples: Sequence | None = None) -> None:
        if count:
            shown = f" ({first_few(examples)})" if examples else ""
            self.faults.append(
                f"{count:,} of {int(self.rows.sum()):,} rows {what}{shown}. Allowed: {allowed}."
            )


def _outcome_codes(column: pd.Series, name: str, faults: list[str]) -> tuple[tuple, np.ndarray]:
    """The outcomes found, in the house's order, censoring last, and each cell's code."""
    position, values = pd.factorize(column)
    found = [plain(v) for v in values]
    if odd := [
        v for v in found if isinstance(v, str) and v != "censored" and v.strip().lower().startswith("cens")
    ]:
        faults.append(f"column {name!r} holds {first_few([repr(v) for v in odd])}. Did you mean 'censored'?")
    censored = [v for v in found if is_censored(v)]
    rank = {v: i for i, v in enumerate(OUTCOMES)}
    others = sorted(
        (v for v in found if not is_censored(v)), key=lambda v: (rank.get(v, len(rank)), natural(v))
    )
    outcomes = (*others, censored[0] if censored else "censored")
    code = {v: i for i, v in enumerate(others)}
    codes = np.array([code.get(v, len(others)) for v in found] + [-1], dtype=np.int64)
    return outcomes, codes[position]


def _group_codes(cells: pd.DataFrame, by: list[str], faults: list[str]) -> tuple[pd.DataFrame, np.ndarray]:
    """The groups in reading order, under their own names, and each cell's code."""
    inner = by_keys(by)
    if by and len(found := cells[inner].drop_duplicates()) > MAX_GROUPS:
        examples = first_few([", ".join(map(str, row)) for row in found.head(3).itertuples(index=False)])
        faults.append(
            f"by={first_few(by)} makes {len(found):,} groups ({examples}, …). Allowed: up to {MAX_GROUPS:,}; "
            "a column that tells episodes or accounts apart is no grouping."
        )
        return found, np.zeros(len(cells), dtype=int)
    groups = distinct_groups(cells, inner)
    return groups.set_axis(by, axis=1), group_codes(cells, groups, inner)


def plain(value: object) -> object:
    """A numpy scalar as the Python value it holds."""
    return value.item() if hasattr(value, "item") else value


def is_censored(value: object) -> bool:
    """``censored``, or 0 or False where outcomes are coded."""
    return value == "censored" if isinstance(value, str) else value == 0


def resolve_events(cells: Cells, event: Any, column: str) -> tuple:
    """The outcomes of ``event`` as they stand in the column; unknown names are refused with the nearest."""
    wanted = [event] if isinstance(event, str) or not isinstance(event, Iterable) else list(event)
    found = cells.outcomes[:-1]
    coded = any(not isinstance(v, str) for v in (*found, cells.outcomes[-1]))
    coded &= not any(isinstance(v, str) for v in found)
    known = [str(v) for v in found] + [o for o in OUTCOMES[:-1] if not coded]
    faults = [] if wanted else ["event is empty. Allowed: one outcome or several."]
    for value in wanted:
        if is_censored(value):
            faults.append(f"event {value!r} stands for censoring. Allowed: {first_few(known)}.")
        elif value in found or (isinstance(value, str) and value in OUTCOMES and not coded):
            continue
        elif coded and not found and not isinstance(value, str):
            continue  # nobody has had any event
        else:
            near = nearest(str(value), known)
            hint = f" Did you mean {' or '.join(map(repr, near))}?" if near else ""
            faults.append(
                f"event {value!r} is not among the outcomes in {column!r}.{hint} Found: {first_few(cells.outcomes)}."
            )
    if faults:
        raise FrameError(faults)
    return tuple(dict.fromkeys(wanted))


def one_event(
    frame: Any, duration: str, outcome: str, event: Any, entry: str | None, by: Any, weight: str | None
) -> tuple[Cells, tuple]:
    """Counts with two codes: the event and everything else as censoring; what that hides goes into notes."""
    cells = count_cells(frame, duration=duration, outcome=outcome, entry=entry, by=as_list(by), weight=weight)
    event = resolve_events(cells, event, outcome)
    notes = []
    if others := [o for o in cells.outcomes[:-1] if o not in event]:
        notes.append(
            f"Counted as censored: {spoken(others)}. While other outcomes compete, 1 − S is not the share "
            f"{spoken(event)}; cumulative_incidence gives that."
        )
    merged = cells.merge(event)
    if not (merged.outcome == 0).any():
        notes.append(f"Nobody is {spoken(event)}.")
    return merged.with_notes(*notes), event
