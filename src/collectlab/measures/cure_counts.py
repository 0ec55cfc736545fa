"""Counting for the models of cure: several day columns and covariates at once, checked in the counted table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import narwhals as nw
import numpy as np
import pandas as pd

from collectlab.core.columns import as_list, free_name, row_count
from collectlab.core.engine import collect, require, scan
from collectlab.core.errors import FrameError, first_few
from collectlab.core.jackknife import with_replicates
from collectlab.measures.groups import by_keys, groups_of
from collectlab.measures.survival_counting import (
    NothingToCount,
    is_censored,
    plain,
    refuse_many_groups,
    resolve_events,
)

#: More cells than this are no counts any more: a covariate tells nearly all episodes apart.
MAX_CELLS = 1_000_000


@dataclass(frozen=True)
class Counted:
    """One row of ``cells`` a cell: the days under their own keys, ``outcome``, ``n`` and what else was asked."""

    cells: pd.DataFrame
    groups: pd.DataFrame
    group: np.ndarray
    event: tuple  #: the outcomes that count as the event
    others: tuple  #: the other outcomes found, censoring left out

    def name(self, group: int) -> str:
        """``team=A, region=North``; "everybody" if there is one group."""
        row = self.groups.iloc[group]
        return ", ".join(f"{column}={value}" for column, value in row.items()) or "everybody"


def count(
    frame: Any,
    days: Mapping[str, str],
    *,
    outcome: str,
    event: Any,
    by: str | Sequence[str] | None = None,
    taken: Sequence[str] = (),
    cluster: str | None = None,
    covariates: Sequence[str] = (),
) -> Counted:
    """Count a frame by its ``days`` (key → column), outcome, group, covariates (``x0, x1, …``) and replicate.

    Raises
    ------
    FrameError
        All faults at once: columns missing or of the wrong type; days missing, negative or no whole days; no
        outcome; an event unknown; too many groups or cells; no rows.
    """
    by = as_list(by)
    lazy = scan(frame)
    require(
        lazy, *dict.fromkeys([*days.values(), outcome, *by, *covariates, *([cluster] if cluster else [])])
    )
    schema = lazy.collect_schema()
    faults = [
        f"column {c!r} is {schema[c]}. Allowed: numbers (whole days)."
        for c in days.values()
        if not schema[c].is_numeric()
    ]
    if isinstance(schema[outcome], (nw.Date, nw.Datetime, nw.Duration, nw.List, nw.Struct)):
        faults.append(
            f"column {outcome!r} is {schema[outcome]}. Allowed for an outcome: text, codes or booleans."
        )
    if faults:
        raise FrameError(faults)
    keys = dict(zip(by_keys(by), map(nw.col, by)))
    # Whole numbers are grouped as they are, which is much faster.
    keys |= {
        key: nw.col(column).cast(nw.Int64 if schema[column].is_integer() else nw.Float64)
        for key, column in days.items()
    }
    keys |= {"outcome": nw.col(outcome)} | dict(zip(by_keys(covariates, "x"), map(nw.col, covariates)))
    if cluster is not None:
        mark = free_name("_replicate", schema.names())
        lazy = with_replicates(lazy, cluster, name=mark)
        keys["replicate"] = nw.col(mark)
    counted = lazy.select(**keys).group_by(*keys).agg(row_count().alias("n"))
    cells = collect(counted.head(MAX_CELLS + 1))
    if cells.empty:
        raise NothingToCount("the frame has no rows. Allowed: at least one episode.")
    if len(cells) > MAX_CELLS:
        raise FrameError(
            f"{first_few([*by, *covariates])} and the days make more than {MAX_CELLS:,} different cells. "
            "Allowed: fewer; round numeric covariates (a score to tens, an amount to two figures)."
        )
    n, total = cells["n"].to_numpy(float), int(cells["n"].sum())

    def refuse(wrong: np.ndarray, what: str, allowed: str, values: pd.Series | None = None) -> None:
        if wrong.any():
            few = "" if values is None else f" ({first_few([f'{v:g}' for v in sorted(set(values[wrong]))])})"
            faults.append(f"{int(n[wrong].sum()):,} of {total:,} rows {what}{few}. Allowed: {allowed}.")

    for key, column in days.items():
        values = cells[key].to_numpy(float, na_value=np.nan)
        missing = np.isnan(values)
        refuse(missing, f"have no {column!r}", "whole days ≥ 0")
        refuse(values < 0, f"have {column!r} < 0", "whole days ≥ 0", cells[key])
        odd = ~missing & (values >= 0) & ((values != np.floor(values)) | (values > 2**31))
        refuse(odd, f"have a {column!r} that is no whole day", "whole days ≥ 0", cells[key])
    refuse(cells["outcome"].isna().to_numpy(), f"have no {outcome!r}", "an outcome on every row")
    for key, column in zip(by_keys(covariates, "x"), covariates):
        gone = cells[key].isna().to_numpy()
        if schema[column].is_float():
            gone = gone | ~np.isfinite(cells[key].to_numpy(float, na_value=np.nan))
        refuse(gone, f"have no {column!r}", "a value on every row; leave rows out or name a level for them")
    found = [plain(v) for v in cells["outcome"].dropna().unique()]
    outcomes = sorted((v for v in found if not is_censored(v)), key=str)
    censored = next((v for v in found if is_censored(v)), "censored")
    try:
        event = resolve_events(SimpleNamespace(outcomes=(*outcomes, censored)), event, outcome)
    except FrameError as error:
        faults.extend(error.faults)
    try:
        if by:
            refuse_many_groups(cells[by_keys(by)].drop_duplicates(), by)
    except FrameError as error:
        faults.extend(error.faults)
    if faults:
        raise FrameError(faults)
    cells = cells.astype(dict.fromkeys(days, np.int64)).astype({"n": float})
    groups, group = groups_of(cells, by, taken)
    replicate = ["replicate"] if cluster is not None else []
    # The engine returns cells in any order: sorted, sums of floats are the same each time.
    order = [cells[c].to_numpy() for c in [*replicate, *days]]
    order += [cells[c].astype(str).to_numpy() for c in ["outcome", *by_keys(covariates, "x")]]
    rank = np.lexsort((*[pd.factorize(c, sort=True)[0] for c in order], group))
    return Counted(
        cells=cells.iloc[rank].reset_index(drop=True),
        groups=groups,
        group=group[rank],
        event=event,
        others=tuple(o for o in outcomes if o not in event),
    )


def refuse_disorder(cells: pd.DataFrame, first: str, then: str, names: Mapping[str, str]) -> list[str]:
    """A fault if some cell has its day ``first`` after its day ``then``."""
    wrong = (cells[first] > cells[then]).to_numpy()
    if not wrong.any():
        return []
    pairs = sorted({f"{a} > {b}" for a, b in zip(cells[first][wrong], cells[then][wrong])})
    return [
        f"{int(cells['n'][wrong].sum()):,} of {int(cells['n'].sum()):,} rows have {names[first]!r} after "
        f"{names[then]!r} ({first_few(pairs)}). Allowed: {names[first]!r} on or before {names[then]!r}."
    ]
