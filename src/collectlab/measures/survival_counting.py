"""Counting episodes once, in the engine; all faults of the input are found in the counted table."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import narwhals as nw
import numpy as np
import pandas as pd

from collectlab.book.episodes import OUTCOMES
from collectlab.core.columns import as_list, free_name, row_count
from collectlab.core.engine import collect, fetch, require, scan, streams
from collectlab.core.errors import FrameError, first_few, nearest
from collectlab.core.jackknife import with_replicates
from collectlab.measures.groups import by_keys, group_codes
from collectlab.measures.survival_cells import Asked, Cells, Joint, spoken
from collectlab.measures.survival_checks import (
    Check,
    grouped,
    is_censored,
    outcome_codes,
    plain,
    refuse_many_groups,
)

#: Entry day of rows under observation from before the first day.
FROM_THE_START = -1
_WEIGHT_LIMIT = 1e12
_SOUND, _EMPTY, _FAULT, _CAME = range(4)
#: A grouping by an id shows in the first rows already.
_FIRST_ROWS = 20_000


class NothingToCount(FrameError):
    """A frame without a row that could be counted."""


def count(
    frame: Any,
    *,
    duration: str = "exit_day",
    outcome: str = "outcome",
    entry: str | None = None,
    by: str | Sequence[str] | None = None,
    weight: str | None = None,
    cluster: str | None = None,
    squares: bool = False,
) -> Cells:
    """Count episodes once, for several questions: every estimator here takes the counts in place of the frame.

    What is kept is, for each group, how many left on each day with each outcome and how many came under observation
    on each day: a table of some thousand rows, however large the frame.

    Parameters
    ----------
    frame, duration, outcome, entry, by, weight
        As in :func:`kaplan_meier`; the estimators then need not be told again.
    cluster : str, optional
        Column of the customer, for errors that allow for several episodes of one: counts are also kept by
        replicate group.
    squares : bool
        Also keep what ``robust=True`` needs: entry × exit × outcome with the sum of squared weights.

    Returns
    -------
    Cells
        Give it to ``kaplan_meier``, ``cumulative_incidence``, ``log_rank``, ``restricted_mean`` and the others.

    Raises
    ------
    FrameError
        As in :func:`kaplan_meier`. An estimator given counts refuses columns other than those counted.

    Examples
    --------
    >>> import collectlab as cl
    >>> import pandas as pd
    >>> frame = pd.DataFrame({"exit_day": [1, 2, 3, 4], "outcome": "cured", "team": ["A", "A", "B", "B"]})
    >>> counted = cl.survival.count(frame, by="team")
    >>> counted
    <4 episodes counted in 2 groups>
    >>> cl.survival.restricted_mean(counted, horizon=2).table["estimate"].tolist()
    [1.5, 2.0]
    >>> round(cl.survival.log_rank(counted, by="team").p_value, 3)
    0.09
    """
    return count_cells(
        frame,
        duration=duration,
        outcome=outcome,
        entry=entry,
        by=by,
        weight=weight,
        cluster=cluster,
        squares=squares,
    )


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
    squares: bool = False,
) -> Cells:
    """Count a frame of episodes in its engine, check what came back, and raise all faults at once.

    ``seen`` is a column of the day an episode was last seen open; the waits from then to the exit are summed.
    ``squares`` adds the joint counts with sums of squared weights. What is counted already comes back as it is.
    """
    asked = Asked(duration, outcome, entry, tuple(as_list(by)), weight, cluster)
    if isinstance(frame, Cells):
        return _counted_before(frame, asked, squares)
    by = list(asked.by)
    used = [duration, outcome, *by, *(c for c in (entry, weight, cluster, seen) if c is not None)]
    told = ["entry_day"] if isinstance(frame, pd.DataFrame) and "entry_day" in frame.columns else []
    lazy = scan(frame, [*used, *told])
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
    if isinstance(frame, pd.DataFrame):
        refuse_many_groups(frame[by].head(_FIRST_ROWS).drop_duplicates() if by else [], by, so_far=True)
    elif by and (isinstance(frame, (str, Path)) or streams(lazy)):
        first = lazy.select(**_keys(by)).head(_FIRST_ROWS).group_by(*_keys(by)).agg(rows=nw.len())
        refuse_many_groups(collect(first)[by_keys(by)], by, so_far=True)
    if cluster is not None:
        lazy = with_replicates(lazy, cluster, name=(mark := free_name("_replicate", schema.names())))
    notes = []
    if entry is None and "entry_day" in schema.names() and duration != "entry_day":
        notes.append(
            "The column entry_day was not used: episodes first seen late count as if watched from day 0. "
            "Give entry='entry_day' to let them enter the risk set only then."
        )

    # Whole numbers are grouped as they are: an engine groups small whole numbers many times faster than floats.
    number = nw.Int64 if all(schema[c].is_integer() for c in (duration, entry) if c) else nw.Float64
    keys, leaves = _keys(by), nw.col(duration)
    if cluster is not None:
        keys["replicate"] = nw.col(mark)
    sums, parts = _sums(weight), _weight_parts(weight)
    wait = {} if seen is None else {"wait": (leaves - nw.col(seen)).cast(nw.Int64)}
    state = {}
    if entry is not None:
        comes = nw.col(entry)
        later = nw.when(comes == leaves).then(nw.lit(_EMPTY)).otherwise(nw.lit(_FAULT))
        state = {"state": nw.when(comes < leaves).then(nw.lit(_SOUND)).otherwise(later)}
    exits = lazy.select(**keys, day=leaves, outcome=nw.col(outcome), **state, **wait, **parts)
    exits = exits.group_by(*keys, "day", "outcome", *state).agg(*sums, *(nw.col(c).sum() for c in wait))
    columns = [*keys, nw.col("day").cast(number), "outcome", *state, "rows", *parts, *wait]
    query = exits.select(*columns)
    if entry is not None:
        entries = lazy.filter(comes < leaves).select(**keys, day=comes, **parts)
        entries = entries.group_by(*keys, "day").agg(*sums)
        blank = {"outcome": nw.lit(None, schema[outcome]), "state": nw.lit(_CAME)}
        blank |= {c: nw.lit(0) for c in wait}
        entries = entries.with_columns(**blank).select(*columns)
        query = nw.concat([_same_types(exits.select(*columns)), _same_types(entries)], how="vertical")
    table = fetch(query).to_native()
    text = [f.name for f in table.schema if str(f.type) in ("string", "large_string")]
    cells = table.to_pandas(strings_to_categorical=True)  # a few names in many rows
    if cells.empty:
        raise NothingToCount("the frame has no rows. Allowed: at least one episode.")
    if schema[outcome].is_integer():  # gaps, in the rows of entries, must not turn codes into floats
        cells["outcome"] = cells["outcome"].astype("Int64")

    states = np.zeros(len(cells), dtype=int) if entry is None else cells["state"].to_numpy(int)
    left, came = states != _CAME, states == _CAME
    rows = cells["rows"].to_numpy(dtype=float)
    check = Check(cells, rows) if entry is None else Check(cells[left], rows[left])
    day = np.full(len(cells), float(FROM_THE_START))
    day[left] = check.whole_days(duration, negative=False)
    if entry is not None:
        day[came] = Check(cells[came], rows[came], check.faults, check.total).whole_days(entry, negative=True)
        if (states == _FAULT).any():
            _explain(lazy, entry, duration, check)
    check.refuse(
        cells["outcome"][left].isna().to_numpy(), None, f"have no {outcome!r}", "an outcome on every row"
    )
    if weight is not None:
        check.refuse_rows(
            int(cells["bad"][left].sum()),
            f"have a {weight!r} that is missing, zero, negative or not finite",
            "weights above 0 (and up to 10¹²)",
        )
    outcomes, codes = outcome_codes(cells["outcome"], outcome, check.faults)
    groups, group = grouped(cells, by, check.faults, text)
    if check.faults:
        raise FrameError(check.faults)

    n = rows if weight is None else _weights(cells, left)
    if lost := int(rows[states == _EMPTY].sum()):
        notes.append(
            f"{lost:,} of {int(check.total):,} episodes have no follow-up after they were first seen."
        )
    left &= states == _SOUND
    if not left.any():
        raise NothingToCount("no episode has any follow-up (entry equals exit on every row).")
    kept = np.unique(group[left])
    if len(kept) < len(groups):
        gone = [", ".join(f"{c}={v}" for c, v in zip(by, groups.iloc[g])) for g in set(group) - set(kept)]
        notes.append(f"Left out, without any follow-up: {first_few(sorted(gone))}.")
        groups, group = groups.iloc[kept].reset_index(drop=True), np.searchsorted(kept, group)
    replicate = None if cluster is None else cells["replicate"].to_numpy(dtype=np.int64)
    exits = np.flatnonzero(left)
    days = day[exits].astype(np.int64)
    exits = exits[
        np.argsort((group[exits] * (days.max() + 1) + days) * len(outcomes) + codes[exits], kind="stable")
    ]
    entered = exits if entry is None else np.flatnonzero(came)
    entered = entered[np.lexsort((day[entered], group[entered]))]
    waits = np.zeros(len(cells)) if seen is None else cells["wait"].to_numpy(float, na_value=0.0)
    return Cells(
        groups=groups,
        outcomes=outcomes,
        group=group[exits],
        day=day[exits].astype(np.int64),
        outcome=codes[exits],
        n=n[exits],
        replicate=None if replicate is None else replicate[exits],
        wait=waits[exits],
        entry_group=group[entered],
        entry_day=np.full(len(entered), FROM_THE_START) if entry is None else day[entered].astype(np.int64),
        entered=n[entered],
        entry_replicate=None if replicate is None else replicate[entered],
        notes=tuple(notes),
        asked=asked,
        joint=_joint(lazy, asked, groups, outcomes) if squares else None,
    )


def _keys(by: Sequence[str]) -> dict[str, nw.Expr]:
    return dict(zip(by_keys(by), map(nw.col, by)))


def _sums(weight: str | None) -> list[nw.Expr]:
    """What is summed in a cell: its rows and, of weights, their parts."""
    return [row_count().alias("rows"), *(nw.col(c).sum().cast(nw.Int64) for c in _weight_parts(weight))]


def _weight_parts(weight: str | None) -> dict[str, nw.Expr]:
    """A weight as two whole numbers, whose sums do not depend on the order in which the engine meets the rows."""
    if weight is None:
        return {}
    w = nw.col(weight).cast(nw.Float64)
    bad = (w.is_null() | w.is_nan() | ~w.is_finite() | (w <= 0) | (w > _WEIGHT_LIMIT)).fill_null(True)
    clean = nw.when(bad).then(nw.lit(0.0)).otherwise(w)
    coarse = (clean * 2.0**20).floor()
    fine = ((clean * 2.0**20 - coarse) * 2.0**38).round()
    return {"coarse": coarse.cast(nw.Int64), "fine": fine.cast(nw.Int64), "bad": bad.cast(nw.Int64)}


def _weights(cells: pd.DataFrame, exits: np.ndarray) -> np.ndarray:
    """The summed weights on a common binary grid: sums and differences are exact, an emptied risk set is 0."""
    n = cells["coarse"].to_numpy(float) / 2.0**20 + cells["fine"].to_numpy(float) / 2.0**58
    scale = 51 - int(np.ceil(np.log2(n[exits].sum())))
    return np.ldexp(np.rint(np.ldexp(n, scale)), -scale)


def _explain(lazy: nw.LazyFrame, entry: str, duration: str, check: Check) -> None:
    """Which rows have no day of entry, or one after the exit."""
    comes, leaves = nw.col(entry).cast(nw.Float64), nw.col(duration).cast(nw.Float64)
    wrong = lazy.filter((comes > leaves) | comes.is_null() | comes.is_nan()).select(came=comes, left=leaves)
    pairs = collect(wrong.group_by("came", "left").agg(rows=row_count()))
    if pairs.empty:
        return
    came, left = (pairs[c].to_numpy(float, na_value=np.nan) for c in ("came", "left"))
    told = Check(
        pairs.rename(columns={"came": "day"}), pairs["rows"].to_numpy(float), check.faults, check.total
    )
    told.whole_days(entry, negative=True)
    told.refuse(
        came > left,
        [f"{a:g} > {b:g}" for a, b in zip(came, left)],
        f"have {entry!r} after {duration!r}",
        "entry on or before the exit",
    )


def _joint(lazy: nw.LazyFrame, asked: Asked, groups: pd.DataFrame, outcomes: tuple) -> Joint:
    """Entry × exit × outcome with the sum of squared weights, of a frame that was found sound."""
    w = nw.lit(1.0) if asked.weight is None else nw.col(asked.weight).cast(nw.Float64)
    cell = _keys(asked.by) | {"left": nw.col(asked.duration), "outcome": nw.col(asked.outcome)}
    if asked.entry is not None:
        lazy = lazy.filter(nw.col(asked.entry) < nw.col(asked.duration))
        cell["came"] = nw.col(asked.entry)
    parts = _weight_parts(asked.weight)
    counted = lazy.select(**cell, w=w * w, **parts).group_by(*cell)
    cells = collect(counted.agg(*_sums(asked.weight), nw.col("w").sum()))
    group = group_codes(cells, groups.set_axis(by_keys(asked.by), axis=1), by_keys(asked.by))
    code = {o: i for i, o in enumerate(outcomes[:-1])}
    came = cells["came"] if asked.entry is not None else np.full(len(cells), FROM_THE_START)
    rows = cells["rows"].to_numpy(float)
    joint = Joint(
        group=group,
        entry=np.asarray(came).astype(np.int64),
        exit=cells["left"].to_numpy().astype(np.int64),
        outcome=np.array([code.get(plain(o), len(code)) for o in cells["outcome"]], dtype=np.int64),
        n=rows if asked.weight is None else _weights(cells, np.ones(len(cells), dtype=bool)),
        # An engine adds floats in any order; twelve digits are the same in each.
        squares=np.array([float(f"{v:.12g}") for v in cells["w"]]),
    )
    order = np.lexsort((joint.outcome, joint.entry, joint.exit, joint.group))
    return Joint(**{name: values[order] for name, values in joint.__dict__.items()})


def _counted_before(cells: Cells, asked: Asked, squares: bool) -> Cells:
    """Counts made earlier, if they were made of what is asked for now."""
    faults = [
        f"{name} is {wanted!r}, but this was counted with {name}={had!r}. Allowed: the same, or leave it out."
        for name, wanted, had in (
            (name, getattr(asked, name), getattr(cells.asked, name))
            for name in ("entry", "by", "weight", "cluster")
        )
        if wanted and wanted != had
    ]
    if squares and cells.joint is None:
        faults.append("robust errors need count(..., squares=True).")
    if faults:
        raise FrameError(faults)
    return cells


def _same_types(frame: nw.LazyFrame) -> nw.LazyFrame:
    """Small whole numbers as one type, so that two counts can be put below each other in every engine."""
    schema = frame.collect_schema()
    return frame.with_columns(
        nw.col(c).cast(nw.Int64)
        for c in ("state", "rows", "wait", "coarse", "fine", "bad")
        if c in schema.names()
    )


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
