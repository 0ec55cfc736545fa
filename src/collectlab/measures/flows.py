"""Money by day since day 0, counted once: what recovery and cost share.

Each episode is a window in which its money counts. Payments (or costs) are laid on the days of the episode
they fall in, summed by group × replicate group × day, and everything after that is numpy on the counts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import narwhals as nw
import numpy as np
import pandas as pd

from collectlab.core import engine
from collectlab.core.errors import FrameError, NotAvailable, first_few
from collectlab.core.jackknife import GROUPS, jackknife, with_replicates
from collectlab.measures._counting import as_list, natural, plain

#: Outcomes after which no more is recovered from the episode; after a charge-off the work goes on.
FINAL = ("cured", "settled", "sold")
OUTCOMES = (*FINAL, "charged_off", "censored")
#: Money is counted in whole 1/UNIT of the currency: fine enough for the cost of one message.
UNIT = 10_000
_EPOCH = date(1970, 1, 1)


def day_number(column: str) -> nw.Expr:
    """A date as whole days since 1970-01-01 (the engines disagree on what date − date is)."""
    moment = nw.col(column).cast(nw.Date).cast(nw.Datetime("us"))
    return (moment - nw.lit(_EPOCH).cast(nw.Datetime("us"))).dt.total_minutes() // 1440


def fixed(column: str) -> nw.Expr:
    """Money in whole ten-thousandths, so that sums do not depend on the order of rows; NaN becomes missing."""
    value = nw.col(column).cast(nw.Float64)
    return nw.when(value.is_finite()).then((value * UNIT).round(0)).cast(nw.Int64)


def whole_sum(expr: nw.Expr) -> nw.Expr:
    """A sum of whole numbers as Int64 (DuckDB would widen it to 128 bits), 0 where there is none."""
    return expr.sum().cast(nw.Int64).fill_null(0)


def same_engine(first: nw.LazyFrame, *others: nw.LazyFrame) -> list[nw.LazyFrame]:
    """Frames that can be joined: where the engines differ, all are moved into the embedded one."""
    frames = [first, *others]
    if len({f.implementation for f in frames}) == 1:
        return frames
    return [
        f if f.implementation.is_duckdb() else engine.scan(f.collect(backend="pyarrow").to_native())
        for f in frames
    ]


@dataclass(frozen=True)
class Flows:
    """Counts by replicate group of customers (axis 0), group (axis 1) and day 0 … horizon (axis 2).

    ``enter``, ``end`` and ``final`` are summed weights (money owed, or episodes). Money is in 1/UNIT.
    """

    by: list[str]
    groups: pd.DataFrame
    enter: np.ndarray
    end: np.ndarray
    final: np.ndarray
    flow: Mapping[str, np.ndarray]
    episodes: np.ndarray
    owed: np.ndarray
    active: np.ndarray
    accounting: pd.Series
    notes: tuple[str, ...]

    def estimate(
        self,
        statistic: Callable[[dict[str, np.ndarray]], np.ndarray],
        conf_level: float,
        transform: str | None = None,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Any function of the mean cumulative curves (name → [group, day]), with its jackknife interval."""
        names = list(self.flow)
        parts = np.stack([self.enter, self.end, self.final, *(self.flow[n] for n in names)], axis=1)

        def of_counts(counts: np.ndarray) -> np.ndarray:
            enter, end, final, *flows = counts
            return statistic({n: mean_cumulative(enter, end, final, f) for n, f in zip(names, flows)})

        present = self.enter.any(axis=2)
        return jackknife(parts.sum(axis=0), parts, of_counts, conf_level, transform, present)


def at_risk(enter: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Weight under observation on each day: entry < day ≤ end (and on day 0 those seen from day 0)."""
    before = np.cumsum(enter - end, axis=-1)
    return np.concatenate([enter[..., :1], before[..., :-1]], axis=-1).astype(float)


def mean_cumulative(enter: np.ndarray, end: np.ndarray, final: np.ndarray, flow: np.ndarray) -> np.ndarray:
    """Mean cumulative flow per unit of weight when an episode's end stops the flow.

    M(t) = Σ_{s ≤ t} S(s−) · flow(s) / at_risk(s), where S is the (weighted) Kaplan–Meier share of episodes
    that have not ended for good (cured, settled, sold) before day s. With neither late entry nor censoring
    it is flow up to t divided by all the weight. Days after the last one under observation are NaN.
    Source: Ghosh & Lin (2000), Biometrics 56, 554–562.
    """
    risk = at_risk(enter, end)
    with np.errstate(invalid="ignore", divide="ignore"):
        stay = np.where(risk > 0, 1 - final / risk, 1.0)
        survival = np.cumprod(stay, axis=-1)
        survival = np.concatenate([np.ones_like(survival[..., :1]), survival[..., :-1]], axis=-1)
        step = np.where(risk > 0, survival * flow / risk, 0.0)
    unseen = np.logical_or.accumulate((risk <= 0) & (survival > 0), axis=-1)
    return np.where(unseen, np.nan, np.cumsum(step, axis=-1))


def count_flows(
    episodes: Any,
    money: Mapping[str, nw.LazyFrame],
    *,
    by: str | Sequence[str] | None,
    horizon: int,
    amount: str,
    cluster: str,
    weight: str,
    cap: Sequence[str] = (),
    as_of: date | None = None,
) -> Flows:
    """Count episodes and the flows of ``money`` (name → frame with account, day number and amount).

    ``weight`` is "amount" (each unit of money owed counts once) or "episode". Flows named in ``cap`` stop
    at the amount owed at entry, episode by episode.
    """
    by = as_list(by)
    if int(horizon) != horizon or horizon < 1:
        raise FrameError(f"horizon is {horizon!r}. Allowed: whole days ≥ 1.")
    spells = spells_with_windows(episodes, by=by, amount=amount, cluster=cluster, as_of=as_of)
    spells, *frames = same_engine(spells, *money.values())
    flags = ["__rep", "__outcome", "__owes", "__lasts", "__late"]
    clip = nw.lit(horizon + 1)
    cells = engine.collect(
        spells.with_columns(
            __from=nw.min_horizontal(nw.col("__entry"), clip), __to=nw.min_horizontal(nw.col("__end"), clip)
        )
        .group_by(*by, *flags, "__from", "__to")
        .agg(__n=nw.len().cast(nw.Int64), __owed=whole_sum(nw.col("__cap")))
    )
    notes = _check_cells(cells, amount)
    used = cells[cells["__owes"].astype(bool) & cells["__lasts"].astype(bool)]
    groups = distinct_groups(used, by)
    if used.empty:
        raise NotAvailable("no episode with an amount owed is under observation for a day or more.")
    shape = (GROUPS, len(groups), horizon + 2)
    weigh = "__owed" if weight == "amount" else "__n"
    rows = group_codes(used, groups, by)

    def lay(day: str, value: str, keep: np.ndarray | None = None) -> np.ndarray:
        out = np.zeros(shape)
        values = used[value].to_numpy(float) * (1.0 if keep is None else keep)
        np.add.at(out, (used["__rep"].to_numpy(int), rows, used[day].to_numpy(int)), values)
        return out[..., : horizon + 1]

    final = used["__outcome"].isin(FINAL).to_numpy(float)
    active = at_risk(lay("__from", "__n").sum(axis=0), lay("__to", "__n").sum(axis=0))
    flow, accounting = {}, {}
    for name, frame in zip(money, frames):
        counted = match(spells, frame, by=by, horizon=horizon, capped=name in cap)
        out = np.zeros(shape)
        where = group_codes(counted, groups, by)
        cell = (counted["__rep"].to_numpy(int), where, counted["__day"].to_numpy(int))
        np.add.at(out, cell, counted["__counted"].to_numpy(float))
        flow[name] = out[..., : horizon + 1]
        total = engine.collect(frame.select(whole_sum(nw.col("__amount")).alias("total")))["total"].iloc[0]
        within = counted["__day"] <= horizon
        accounting[f"{name}: all"] = int(total or 0)
        accounting[f"{name}: counted"] = int(counted.loc[within, "__counted"].sum())
        accounting[f"{name}: above the amount owed"] = int(counted.loc[within, "__over"].sum())
        accounting[f"{name}: before first seen"] = int(counted.loc[within, "__early"].sum())
        accounting[f"{name}: after the horizon"] = int(
            counted.loc[~within, ["__counted", "__over", "__early"]].sum().sum()
        )
        accounting[f"{name}: in no episode"] = accounting[f"{name}: all"] - int(
            counted[["__counted", "__over", "__early"]].sum().sum()
        )
    size = pd.Series(used["__n"].to_numpy()).groupby(rows).sum().reindex(range(len(groups)), fill_value=0)
    owed = pd.Series(used["__owed"].to_numpy()).groupby(rows).sum().reindex(range(len(groups)), fill_value=0)
    return Flows(
        by=by,
        groups=groups,
        enter=lay("__from", weigh),
        end=lay("__to", weigh),
        final=lay("__to", weigh, final),
        flow=flow,
        episodes=size.to_numpy(),
        owed=owed.to_numpy() / UNIT,
        active=active,
        accounting=pd.Series(accounting) / UNIT,
        notes=notes,
    )


def spells_with_windows(
    episodes: Any, *, by: Sequence[str], amount: str, cluster: str, as_of: date | None = None
) -> nw.LazyFrame:
    """Episodes with the window of days in which their money counts, one row each.

    A window runs from day 0 to the end of the episode; after a charge-off to the end of the book, since
    recovery goes on. It stops the day before the account's next episode starts, so windows never overlap.
    """
    frame = engine.scan(episodes)
    names = frame.collect_schema().names()
    start = "reached_on" if "reached_on" in names and "bucket_from" in names else "started_on"
    customer = cluster if cluster in names else "account_id"
    engine.require(frame, "account_id", start, "entry_day", "exit_day", "outcome", amount, *by)
    bucket = ["bucket_from"] if "bucket_from" in names else []
    seen = [nw.col(c) for c in ("observed_day", "exit_day") if c in names]
    if bucket and not {"bucket", "bucket_from"} & set(by):
        raise FrameError(
            "an episode stands here once for each bucket it reached, so its money would be counted several "
            'times. Use by="bucket" (alone or among others), or one row per episode.'
        )
    frame = frame.with_columns(__id=nw.col(customer).cast(nw.String))  # an empty pandas frame has no types
    frame = with_replicates(frame, "__id", name="__rep").with_columns(
        *(nw.col(b).alias(f"__by{i}") for i, b in enumerate(by)),
        *(nw.col(b).alias(f"__bucket{i}") for i, b in enumerate(bucket)),
        __account=nw.col("account_id"),
        __start=day_number(start),
        __entry=nw.col("entry_day").cast(nw.Int64),
        __exit=nw.col("exit_day").cast(nw.Int64),
        __outcome=nw.col("outcome").cast(nw.String),
        __cap=fixed(amount),
        __seen=nw.coalesce(*seen).cast(nw.Int64),
    )
    keep = [f"__by{i}" for i in range(len(by))] + [f"__bucket{i}" for i in range(len(bucket))]
    frame = frame.select(
        "__account", "__start", "__entry", "__exit", "__outcome", "__cap", "__rep", "__seen", *keep
    )
    last = _last_day(frame) if as_of is None else (as_of - _EPOCH).days
    unit = ["__account", *(f"__bucket{i}" for i in range(len(bucket)))]
    after = nw.max_horizontal(nw.col("__exit"), nw.lit(last) - nw.col("__start"))
    gap = nw.col("__start").shift(-1).over(*unit, order_by=["__start", "__exit"]) - nw.col("__start")
    frame = frame.with_columns(__gap=gap).with_columns(
        __end=nw.when(nw.col("__outcome") == "charged_off").then(after).otherwise(nw.col("__exit"))
    )
    # min_horizontal skips the missing gap of an account's last episode
    frame = frame.with_columns(__end=nw.min_horizontal(nw.col("__end"), nw.col("__gap") - 1))
    return frame.with_columns(
        __owes=(nw.col("__cap") > 0).fill_null(False),
        __lasts=(nw.col("__end") > nw.col("__entry")).fill_null(False),
        __late=(nw.col("__entry") > 0).fill_null(False),
        **{b: nw.col(f"__by{i}") for i, b in enumerate(by)},
    )


def _last_day(spells: nw.LazyFrame) -> int:
    found = engine.collect(spells.select(last=(nw.col("__start") + nw.col("__seen")).max()))["last"]
    if found.empty or pd.isna(found.iloc[0]):
        raise NotAvailable("there are no episodes.")
    return int(found.iloc[0])


def match(
    spells: nw.LazyFrame, money: nw.LazyFrame, *, by: Sequence[str], horizon: int, capped: bool
) -> pd.DataFrame:
    """Cells of :func:`lay_on_days` by group × replicate × day since day 0 (``horizon + 1`` = later)."""
    daily = lay_on_days(spells, money, by=by, capped=capped)
    return engine.collect(
        daily.with_columns(__day=nw.min_horizontal(nw.col("__day"), nw.lit(horizon + 1)))
        .group_by(*by, "__rep", "__day")
        .agg(*(whole_sum(nw.col(c)).alias(c) for c in ("__counted", "__over", "__early")))
    )


def lay_on_days(
    spells: nw.LazyFrame, money: nw.LazyFrame, *, by: Sequence[str], capped: bool
) -> nw.LazyFrame:
    """One row per episode × day with money, lazily, in 1/UNIT.

    ``__counted`` is money within the window (up to the amount owed if ``capped``), ``__over`` what exceeds
    it, ``__early`` what was paid up to the day a left-truncated episode was first seen.
    """
    bucket = [c for c in spells.collect_schema().names() if c.startswith("__bucket")]
    unit = ["__account", "__start", *bucket]
    inside = (
        spells.filter(nw.col("__owes") & nw.col("__lasts"))
        .join(money, on="__account", how="inner")
        .with_columns(__day=nw.col("__on") - nw.col("__start"))
        .filter((nw.col("__day") >= 0) & (nw.col("__day") <= nw.col("__end")))
    )
    daily = inside.group_by(*unit, *by, "__rep", "__entry", "__cap", "__day").agg(
        __amount=whole_sum(nw.col("__amount"))
    )
    early = (nw.col("__day") <= nw.col("__entry")) & (nw.col("__entry") > 0)
    daily = daily.with_columns(
        __early=nw.when(early).then(nw.col("__amount")).otherwise(nw.lit(0)).cast(nw.Int64),
        __money=nw.when(early).then(nw.lit(0)).otherwise(nw.col("__amount")).cast(nw.Int64),
    )
    if capped:
        so_far = nw.col("__money").cum_sum().over(*unit, order_by="__day").cast(nw.Int64)
        daily = daily.with_columns(__sum=so_far).with_columns(
            __counted=nw.min_horizontal(nw.col("__sum"), nw.col("__cap"))
            - nw.min_horizontal(nw.col("__sum") - nw.col("__money"), nw.col("__cap"))
        )
    else:
        daily = daily.with_columns(__counted=nw.col("__money"))
    return daily.with_columns(__over=nw.col("__money") - nw.col("__counted"))


def as_money(frame: Any, on: str, amount: nw.Expr | str) -> nw.LazyFrame:
    """A table of payments or costs as account, day number and amount in 1/UNIT."""
    lazy = engine.scan(frame)
    engine.require(lazy, "account_id", on, *([amount] if isinstance(amount, str) else []))
    value = fixed(amount) if isinstance(amount, str) else amount
    return lazy.select(__account=nw.col("account_id"), __on=day_number(on), __amount=value)


def distinct_groups(cells: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """The groups in a natural order (S2 before S10, missing last); one row without columns if ``by`` is empty."""
    if not by:
        return pd.DataFrame(index=[0])
    groups = cells[list(by)].drop_duplicates()
    rank = [
        [(1, ()) if pd.isna(v) else (0, natural(plain(v))) for v in row]
        for row in groups.itertuples(index=False, name=None)
    ]
    return groups.iloc[sorted(range(len(groups)), key=rank.__getitem__)].reset_index(drop=True)


def group_codes(cells: pd.DataFrame, groups: pd.DataFrame, by: Sequence[str]) -> np.ndarray:
    """Row number in ``groups`` of each row of ``cells`` (missing values match missing values)."""
    if not by:
        return np.zeros(len(cells), dtype=int)
    coded = groups[list(by)].assign(__code=np.arange(len(groups)))
    return cells[list(by)].merge(coded, on=list(by), how="left")["__code"].to_numpy(int)


def _check_cells(cells: pd.DataFrame, amount: str) -> tuple[str, ...]:
    unknown = cells.loc[~cells["__outcome"].isin(OUTCOMES)]
    if len(unknown):
        found = sorted({str(v) for v in unknown["__outcome"]})
        raise FrameError(
            f"outcome: {int(unknown['__n'].sum()):,} episodes have {first_few(found)}. Allowed: {', '.join(OUTCOMES)}."
        )
    owes, lasts, late = (cells[c].astype(bool) for c in ("__owes", "__lasts", "__late"))
    if cells["__n"].sum() == 0:
        raise NotAvailable("there are no episodes.")
    if not owes.any():
        raise NotAvailable(f"no episode has an amount owed ({amount}), so there is no share to recover.")
    notes = []
    if n := int(cells.loc[~owes, "__n"].sum()):
        notes.append(f"{n:,} episodes without an amount owed at entry are left out.")
    if n := int(cells.loc[owes & ~lasts, "__n"].sum()):
        notes.append(f"{n:,} episodes with no day under observation add nothing.")
    if n := int(cells.loc[owes & lasts & late, "__n"].sum()):
        notes.append(
            f"{n:,} episodes were first seen after day 0; they count only from then on, with what was owed then."
        )
    return tuple(notes)
