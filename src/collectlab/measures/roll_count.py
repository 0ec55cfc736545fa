"""Steps between the buckets of an account's months, counted once: what roll rates and chains start from.

Sorted snapshots, as a frozen book has them, are counted by comparing adjacent rows (:mod:`.roll_stream`);
anything else by a window over each account's months, where the data live. The counts are the same.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import narwhals as nw
import numpy as np
import pandas as pd

from collectlab.book.episodes import bucket_labels
from collectlab.book.schema import STATUSES
from collectlab.core.columns import as_list, flag, row_count, whole_sum
from collectlab.core.engine import collect
from collectlab.core.errors import FrameError, first_few
from collectlab.core.jackknife import GROUPS, sums_at, with_replicates
from collectlab.measures.groups import by_keys, groups_of
from collectlab.measures.roll_stream import stream_steps
from collectlab.measures.snapshots import by_month, checked
from collectlab.measures.survival_checks import MAX_GROUPS, refuse_many_groups

#: States that can be entered and are not left again as far as the matrix is concerned.
ABSORBING = STATUSES[1:]
_GONE, _GAP, _LAST = -1, -2, -3


@dataclass(frozen=True)
class Steps:
    """Account-months by [by…], [before], from, to and replicate group: what was counted, and what was not.

    ``cells``: by0…, [before], from, to, replicate, n (with a usable weight), amount (weight in whole cents,
    or n), all. States are numbered: open buckets first, then :data:`ABSORBING`. ``gap`` and ``gone`` are
    account-months with no snapshot ``step`` months on although the account, or the book, goes on.
    """

    cells: pd.DataFrame
    by: list[str]
    bounds: list[int]
    gap: int
    gone: int
    step: int = 1
    weight: str | None = None
    labels: list[str] = field(init=False)
    states: list[str] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "labels", list(bucket_labels(self.bounds).values()))
        object.__setattr__(self, "states", [*self.labels, *ABSORBING])

    def arrays(self, taken: Sequence[str] = ()) -> tuple[pd.DataFrame, dict[str, np.ndarray]]:
        """The groups under their own names, and n, amount, all: (replicate, group, [before], from, to)."""
        groups, group = groups_of(self.cells, self.by, taken)
        inner = [c for c in ("before", "from", "to") if c in self.cells]
        where = (self.cells["replicate"].to_numpy(int), group, *(self.cells[c].to_numpy(int) for c in inner))
        size = {"before": len(self.labels), "from": len(self.labels), "to": len(self.states)}
        shape = (GROUPS, len(groups), *(size[c] for c in inner))
        return groups, {c: sums_at(where, self.cells[c], shape) for c in ("n", "amount", "all")}


def whole_bounds(buckets: Sequence[int]) -> list[int]:
    """Rising lower bounds in days past due that begin with 0, or :class:`ParamsError`."""
    bounds: list[int] = [buckets] if isinstance(buckets, int) else list(buckets)
    bounds = bounds if bounds and bounds[0] == 0 else [0, *bounds]
    bucket_labels(bounds)
    return bounds


def count_steps(
    snapshots: Any,
    buckets: Sequence[int],
    *,
    weight: str | None = None,
    by: str | Sequence[str] | None = None,
    step: int = 1,
    before: bool = False,
    period: tuple[dt.date | str | None, dt.date | str | None] | None = None,
    account: str = "account_id",
    date: str = "as_of",
    dpd: str = "days_past_due",
    status: str = "status",
) -> Steps:
    """Count the steps of open accounts from each month to ``step`` months later.

    With ``before`` the bucket of the month before counts as well; account-months whose month before is
    missing are then left out.

    Raises
    ------
    FrameError
        A column is missing or of the wrong type; a status is unknown; an account has two snapshots on one
        day; more than 1,000 groups.
    """
    by, bounds = as_list(by), whole_bounds(buckets)
    if isinstance(step, bool) or not isinstance(step, int) or not 1 <= step <= 60:
        raise FrameError(f"step is {step!r}. Allowed: whole months from 1 to 60.")
    money = [] if weight is None else [weight]
    names = {"account": account, "date": date, "dpd": dpd}
    frame = checked(snapshots, by=by, money=money, **names)
    start, end = period or (None, None)
    counted = stream_steps(
        frame, **names, status=status, by=by, weight=weight, bounds=bounds, step=step, before=before,
        start=start, end=end,
    )  # fmt: skip
    if counted is None:
        rows = by_month(frame, by=by, money=money, **names, status=status, start=start, end=end)
        counted = window_steps(rows, by, bounds, weight is not None, step, before)
    cells, gap, gone = counted
    if by:
        refuse_many_groups(cells[by_keys(by)].drop_duplicates(), by)
    order = [*by_keys(by), *(["before"] if before else []), "from", "to", "replicate"]
    cells = cells.sort_values(order, ignore_index=True)
    return Steps(cells, by, bounds, gap, gone, step, weight)


def window_steps(
    rows: nw.LazyFrame, by: list[str], bounds: list[int], weighted: bool, step: int, before: bool
) -> tuple[pd.DataFrame, int, int]:
    """The counted cells, gaps and those gone, of rows as :func:`.snapshots.by_month` returns them."""
    keys = by_keys(by)
    if by:
        found = collect(rows.select(*keys).unique().head(MAX_GROUPS + 1))
        refuse_many_groups(found, by, so_far=True)
    rows = with_replicates(rows.with_columns(state=_state(bounds)), "id", name="replicate")
    order = ["month", "state", "dpd"]
    ahead: dict[str, nw.Expr] = {}
    for j in range(1, step + 1):
        ahead |= {f"{c}_{j}": nw.col(c).shift(-j).over("id", order_by=order) for c in ("month", "state")}
    if before:
        ahead |= {f"{c}_before": nw.col(c).shift(1).over("id", order_by=order) for c in ("month", "state")}
    until = nw.col("month") + step
    found_month, found_state = nw.col("month"), nw.col("state")
    for j in range(1, step + 1):
        near = nw.col(f"month_{j}") <= until
        found_month = nw.when(near).then(nw.col(f"month_{j}")).otherwise(found_month)
        found_state = nw.when(near).then(nw.col(f"state_{j}")).otherwise(found_state)
    last = collect(rows.select(nw.col("month").max()))["month"].iloc[0]
    last = 0 if pd.isna(last) else int(last)
    to = (
        nw.when((nw.col("to_month") == until) | (nw.col("to_state") >= len(bounds)))
        .then(nw.col("to_state"))
        .when(nw.max_horizontal("month", *(f"month_{j}" for j in range(1, step + 1))) >= until)
        .then(nw.lit(_GAP))
        .when(until > last)
        .then(nw.lit(_LAST))
        .otherwise(nw.lit(_GONE))
    )
    steps = (
        rows.with_columns(**ahead)
        .filter(nw.col("status") == "open")
        .with_columns(to_month=found_month, to_state=found_state)
        .with_columns(to=to, twice=flag(nw.col("month_1") == nw.col("month")))
    )
    past = []
    if before:
        known = (nw.col("month_before") == nw.col("month") - 1) & (nw.col("state_before") < len(bounds))
        steps = steps.with_columns(before=nw.when(known).then(nw.col("state_before")).otherwise(nw.lit(-1)))
        past = ["before"]
    weight = nw.col("money0") if weighted else nw.lit(1)
    usable = (weight > 0).fill_null(False) if weighted else nw.lit(True)
    steps = steps.with_columns(
        one=flag(usable),
        amount=nw.when(usable).then(weight).otherwise(nw.lit(0)),
        **{"from": nw.col("state")},
    )
    counted = collect(
        steps.group_by(*keys, *past, "from", "to", "replicate").agg(
            whole_sum("one").alias("n"),
            whole_sum("amount").alias("amount"),
            row_count().alias("all"),
            whole_sum("twice").alias("twice"),
        )
    )
    if counted["twice"].sum():
        _refuse_twice(rows)
    missing = {code: int(counted.loc[counted["to"] == code, "all"].sum()) for code in (_GAP, _GONE)}
    cells = counted[(counted["to"] >= 0) & (counted["before"] >= 0 if before else True)]
    return cells.drop(columns="twice"), missing[_GAP], missing[_GONE]


def _state(bounds: list[int]) -> nw.Expr:
    bucket = nw.lit(0)
    for low in bounds[1:]:
        bucket = bucket + flag(nw.col("dpd") >= low)
    state = nw.when(nw.col("status") == "open").then(bucket)
    for i, name in enumerate(ABSORBING):
        state = state.when(nw.col("status") == name).then(nw.lit(len(bounds) + i))
    return state.otherwise(nw.lit(0))


def _refuse_twice(rows: nw.LazyFrame) -> None:
    twice = rows.group_by("id", "date").agg(row_count().alias("n")).filter(nw.col("n") > 1)
    found = collect(twice.sort("id", "date"))
    examples = [f"{row.id} on {pd.Timestamp(row.date).date()}" for row in found.head(5).itertuples()]
    raise FrameError(
        f"{len(found):,} times an account has several snapshots on one day: {first_few(examples)}"
        f"{', …' if len(found) > 5 else ''}. Allowed: one row an account and date; which one holds cannot be told."
    )
