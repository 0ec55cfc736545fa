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

from collectlab.book.episodes import OUTCOMES
from collectlab.core import engine
from collectlab.core.columns import as_list, day_number, day_of, flag, row_count, whole_money, whole_sum
from collectlab.core.engine import same_engine
from collectlab.core.errors import FrameError, NotAvailable, first_few
from collectlab.core.jackknife import GROUPS, jackknife, sums_at, with_replicates
from collectlab.measures.groups import MISSING, distinct_groups, group_codes, natural

#: Columns of the frames, as the measures call them; ``names`` says what a frame calls them instead.
EPISODE = ("account_id", "customer_id", "started_on", "entry_day", "exit_day", "observed_day", "outcome")
PAYMENT = ("account_id", "paid_on", "amount")
ACTION = ("account_id", "at", "channel", "connected", "cost")

#: Outcomes after which no more is recovered from the episode; after a charge-off the work goes on.
FINAL = ("cured", "settled", "sold")
#: More groups than this are a column that tells accounts or days apart.
MAX_GROUPS = 1_000
#: More kinds of payment than this are no split.
MAX_PARTS = 40
#: Money is counted in whole 1/UNIT of the currency: fine enough for the cost of one message.
UNIT = 10_000


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
    #: Kinds of payment, where they are told apart: their flows stand under (name, part).
    parts: tuple[str, ...] = ()

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


def staying_before(risk: np.ndarray, final: np.ndarray) -> np.ndarray:
    """Kaplan–Meier share that has not ended for good before each day."""
    with np.errstate(invalid="ignore", divide="ignore"):
        stay = np.cumprod(np.where(risk > 0, 1 - final / risk, 1.0), axis=-1)
    return np.concatenate([np.ones_like(stay[..., :1]), stay[..., :-1]], axis=-1)


def mean_cumulative(enter: np.ndarray, end: np.ndarray, final: np.ndarray, flow: np.ndarray) -> np.ndarray:
    """Mean cumulative flow per unit of weight when an episode's end stops the flow.

    M(t) = Σ_{s ≤ t} S(s−) · flow(s) / at_risk(s), where S is the (weighted) Kaplan–Meier share of episodes
    that have not ended for good (cured, settled, sold) before day s. With neither late entry nor censoring
    it is flow up to t divided by all the weight. Days after the last one under observation are NaN.
    Source: Ghosh & Lin (2000), Biometrics 56, 554–562.
    """
    risk = at_risk(enter, end)
    survival = staying_before(risk, final)
    with np.errstate(invalid="ignore", divide="ignore"):
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
        .agg(__n=row_count(), __owed=whole_sum("__cap"))
    )
    notes = _check_cells(cells, amount)
    used = cells[cells["__owes"].astype(bool) & cells["__lasts"].astype(bool)]
    if used.empty:
        raise NotAvailable("no episode with an amount owed is under observation for a day or more.")
    refuse_many(used[by].drop_duplicates(), by)
    groups = distinct_groups(used, by)
    weigh = "__owed" if weight == "amount" else "__n"

    def lay(cells: pd.DataFrame, day: str, values: pd.Series) -> np.ndarray:
        where = (cells["__rep"].to_numpy(int), group_codes(cells, groups, by), cells[day].to_numpy(int))
        return sums_at(where, values, (GROUPS, len(groups), horizon + 2))[..., : horizon + 1]

    began, ended = lay(used, "__from", used["__n"]), lay(used, "__to", used["__n"])
    flow: dict[Any, np.ndarray] = {}
    accounting, kinds = {}, ()
    sorts = ["__counted", "__over", "__early"]
    for name, frame in zip(money, frames):
        counted = _match(spells, frame, by=by, horizon=horizon, capped=name in cap)
        if "__part" in counted.columns:
            kinds = tuple(sorted(counted["__part"].unique(), key=natural))
            if len(kinds) > MAX_PARTS:
                raise FrameError(
                    f"the {name} are of {len(kinds):,} kinds ({first_few(kinds)}). Allowed: up to {MAX_PARTS}."
                )
            for part in kinds:
                own = counted[counted["__part"] == part]
                flow[name, part] = lay(own, "__day", own["__counted"])
        flow[name] = lay(counted, "__day", counted["__counted"])
        total, told = _whole_of(frame, name)
        notes = (*notes, *told)
        within = counted["__day"] <= horizon
        sums = counted.loc[within, sorts].sum()
        later = counted.loc[~within, sorts].sum().sum()
        found = {
            "all": total,
            "counted": sums["__counted"],
            "above the amount owed": sums["__over"],
            "before first seen": sums["__early"],
            "after the horizon": later,
            "in no episode": total - sums.sum() - later,
        }
        accounting |= {f"{name}: {what}": int(value) for what, value in found.items()}
    rows = group_codes(used, groups, by)
    size, owed = (sums_at((rows,), used[column], (len(groups),)) for column in ("__n", "__owed"))
    return Flows(
        by=by,
        groups=groups,
        enter=lay(used, "__from", used[weigh]),
        end=lay(used, "__to", used[weigh]),
        final=lay(used, "__to", used[weigh] * used["__outcome"].isin(FINAL)),
        flow=flow,
        episodes=size.astype("int64"),
        owed=owed / UNIT,
        active=at_risk(began.sum(axis=0), ended.sum(axis=0)),
        accounting=pd.Series(accounting) / UNIT,
        notes=notes,
        parts=kinds,
    )


def refuse_many(groups: pd.DataFrame, by: Sequence[str]) -> None:
    """Refuse a grouping by what tells episodes or accounts apart, before anything is laid out for it."""
    if by and len(groups) > MAX_GROUPS:
        examples = first_few([", ".join(map(str, row)) for row in groups.head(3).itertuples(index=False)])
        raise FrameError(
            f"by={first_few(by)} makes {len(groups):,} groups ({examples}, …). Allowed: up to {MAX_GROUPS:,}; "
            "a column that tells episodes or accounts apart is no grouping."
        )


def _whole_of(frame: nw.LazyFrame, name: str) -> tuple[int, list[str]]:
    """All the money in 1/UNIT, and what is odd about the amounts."""
    amount = nw.col("__amount")
    found = engine.collect(
        frame.select(
            total=whole_sum(amount),
            missing=whole_sum(flag(amount.is_null())),
            below=whole_sum(flag(amount < 0)),
            taken=whole_sum(nw.when(amount < 0).then(amount).otherwise(nw.lit(0))),
        )
    )
    total, missing, below, taken = (int(v) if pd.notna(v) else 0 for v in found.iloc[0])
    notes = []
    if missing:
        notes.append(f"{missing:,} {name} without an amount add nothing.")
    if below:
        notes.append(f"{below:,} {name} below 0 ({taken / UNIT:,.2f} in all) are reversals and taken off.")
    return total, notes


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
    bucketed = "bucket_from" in names
    seen = [nw.col(c) for c in ("observed_day", "exit_day") if c in names]
    if bucketed and not {"bucket", "bucket_from"} & set(by):
        raise FrameError(
            "an episode stands here once for each bucket it reached, so its money would be counted several "
            'times. Use by="bucket" (alone or among others), or one row per episode.'
        )
    frame = frame.with_columns(__id=nw.col(customer).cast(nw.String))  # an empty pandas frame has no types
    frame = with_replicates(frame, "__id", name="__rep").select(
        *by,
        "__rep",
        **({"__bucket": nw.col("bucket_from")} if bucketed else {}),
        __account=nw.col("account_id"),
        __start=day_number(start),
        __entry=nw.col("entry_day").cast(nw.Int64),
        __exit=nw.col("exit_day").cast(nw.Int64),
        __outcome=nw.col("outcome").cast(nw.String),
        __cap=whole_money(amount, UNIT),
        __seen=nw.coalesce(*seen).cast(nw.Int64),
    )
    frame = engine.computed(frame)
    last = _last_day(frame) if as_of is None else day_of(as_of)
    after = nw.max_horizontal(nw.col("__exit"), nw.lit(last) - nw.col("__start"))
    next_start = nw.col("__start").shift(-1).over(*_unit(frame), order_by=["__start", "__exit"])
    end = nw.when(nw.col("__outcome") == "charged_off").then(after).otherwise(nw.col("__exit"))
    # min_horizontal skips the missing gap of an account's last episode
    frame = frame.with_columns(__gap=next_start - nw.col("__start"), __end=end).with_columns(
        __end=nw.min_horizontal(nw.col("__end"), nw.col("__gap") - 1)
    )
    return frame.with_columns(
        __owes=(nw.col("__cap") > 0).fill_null(False),
        __lasts=(nw.col("__end") > nw.col("__entry")).fill_null(False),
        __late=(nw.col("__entry") > 0).fill_null(False),
    )


def _unit(spells: nw.LazyFrame) -> list[str]:
    """Whose episodes follow each other: the account's, where there is one for each bucket within it."""
    return ["__account", *(c for c in spells.collect_schema().names() if c == "__bucket")]


def _last_day(spells: nw.LazyFrame) -> int:
    found = engine.collect(spells.select(last=(nw.col("__start") + nw.col("__seen")).max()))["last"]
    if found.empty or pd.isna(found.iloc[0]):
        raise NotAvailable("there are no episodes.")
    return int(found.iloc[0])


def _match(
    spells: nw.LazyFrame, money: nw.LazyFrame, *, by: Sequence[str], horizon: int, capped: bool
) -> pd.DataFrame:
    """Cells of :func:`lay_on_days` by group × replicate × day since day 0 (``horizon + 1`` = later) and part."""
    daily = lay_on_days(spells, money, by=by, capped=capped)
    part = [c for c in daily.collect_schema().names() if c == "__part"]
    return engine.collect(
        daily.with_columns(__day=nw.min_horizontal(nw.col("__day"), nw.lit(horizon + 1)))
        .group_by(*by, "__rep", "__day", *part)
        .agg(*(whole_sum(c).alias(c) for c in ("__counted", "__over", "__early")))
    )


def lay_on_days(
    spells: nw.LazyFrame, money: nw.LazyFrame, *, by: Sequence[str], capped: bool
) -> nw.LazyFrame:
    """One row per episode × day with money (× part, if ``money`` has ``__part``), lazily, in 1/UNIT.

    ``__counted`` is money within the window (up to the amount owed if ``capped``; of several parts on the day
    that reaches it, the first by name count first), ``__over`` what exceeds it, ``__early`` what was paid up to
    the day a left-truncated episode was first seen. Without ``capped`` there is a row for each movement of money.
    """
    unit = [*_unit(spells), "__start"]
    part = [c for c in money.collect_schema().names() if c == "__part"]
    daily = (
        spells.filter(nw.col("__owes") & nw.col("__lasts"))
        .join(money, on="__account", how="inner")
        .with_columns(__day=nw.col("__on") - nw.col("__start"))
        .filter((nw.col("__day") >= 0) & (nw.col("__day") <= nw.col("__end")))
    )
    if capped:
        daily = daily.group_by(*unit, *by, "__rep", "__entry", "__cap", "__day", *part).agg(
            __amount=whole_sum("__amount")
        )
    early = (nw.col("__day") <= nw.col("__entry")) & (nw.col("__entry") > 0)
    daily = daily.with_columns(
        __early=nw.when(early).then(nw.col("__amount")).otherwise(nw.lit(0)).cast(nw.Int64),
        __money=nw.when(early).then(nw.lit(0)).otherwise(nw.col("__amount")).cast(nw.Int64),
    )
    if capped:
        so_far = nw.col("__money").cum_sum().over(*unit, order_by=["__day", *part]).cast(nw.Int64)
        daily = daily.with_columns(__sum=so_far).with_columns(
            __counted=nw.min_horizontal(nw.col("__sum"), nw.col("__cap"))
            - nw.min_horizontal(nw.col("__sum") - nw.col("__money"), nw.col("__cap"))
        )
    else:
        daily = daily.with_columns(__counted=nw.col("__money"))
    return daily.with_columns(__over=nw.col("__money") - nw.col("__counted"))


def as_money(frame: Any, on: str, amount: nw.Expr | str, part: str | None = None) -> nw.LazyFrame:
    """A table of payments or costs as account, day number and amount in 1/UNIT, and the kind of payment."""
    lazy = engine.scan(frame)
    columns = [c for c in (amount, part) if isinstance(c, str)]
    engine.require(lazy, "account_id", on, *columns)
    value = whole_money(amount, UNIT) if isinstance(amount, str) else amount
    kind = {} if part is None else {"__part": nw.col(part).cast(nw.String).fill_null(MISSING)}
    return lazy.select(__account=nw.col("account_id"), __on=day_number(on), __amount=value, **kind)


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
