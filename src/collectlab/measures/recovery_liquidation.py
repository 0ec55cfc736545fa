"""Liquidation: what comes back on accounts placed together, by months since they were placed."""

from __future__ import annotations

import calendar
from collections.abc import Mapping, Sequence
from datetime import date
from typing import TYPE_CHECKING, Any

import narwhals as nw
import numpy as np
import pandas as pd

from collectlab.core import engine
from collectlab.core.columns import (
    as_list,
    day_number,
    day_of,
    flag,
    month_number,
    month_text,
    own_names,
    row_count,
    whole_money,
    whole_sum,
)
from collectlab.core.engine import same_engine
from collectlab.core.errors import FrameError, NotAvailable, first_few
from collectlab.core.jackknife import GROUPS, INTERVAL, check_level, sums_at, with_replicates
from collectlab.measures.flows import PAYMENT, UNIT, refuse_many
from collectlab.measures.groups import by_keys, distinct_groups, group_codes, named
from collectlab.measures.recovery_batches import Liquidation, collected_share
from collectlab.measures.snapshots import check_days

if TYPE_CHECKING:
    pass

_TAKEN = ("batch", "month", "accounts", "placed", "collected", "reached", *INTERVAL)


def liquidation(
    placements: Any,
    payments: Any,
    *,
    by: str | Sequence[str] | None = None,
    months: int = 12,
    amount: str = "amount",
    cap: bool = True,
    as_of: date | None = None,
    conf_level: float = 0.95,
    cluster: str = "customer_id",
    columns: Mapping[str, str] | None = None,
) -> Liquidation:
    """Cumulative share of the placed amount collected, by batch and months since placement.

    A batch is what was placed in one calendar month (with an agency, a team, a strategy: ``by``). Month 0 is that
    month itself, month k the k-th after it, and

        L(k) = Σ paid up to the end of month k / Σ placed,

    of the batch's accounts, paid from the day of placement to the day before the account's next placement (or to
    ``ended_on``, where the placement was ended). An account placed again stays in its first batch's denominator:
    it was not collected there. A month counts only when the data cover it to its end, so a young batch has fewer
    months, and :meth:`Liquidation.compare` puts batches side by side only at ages that all of them have reached.

    Parameters
    ----------
    placements : frame
        One row a placement: account_id, placed_on, the ``amount`` placed, the columns of ``by``; ``ended_on`` and the
        ``cluster`` column where there. :func:`collectlab.measures.recovery_placements.placements` makes one from actions or assignments. Placements
        without an amount above 0 are left out and counted in the notes.
    payments : frame
        account_id, paid_on, amount.
    by : str or list of str, optional
        Columns of ``placements``.
    months : int
        Last month of the curves.
    amount : str
        Column of ``placements`` with the money placed.
    cap : bool
        Count no more for a placement than was placed.
    as_of : date, optional
        Last day the data cover; default: the latest payment or placement. Give it, where the last days of a month
        may just have seen no payment.
    conf_level : float
        Level of the intervals: delete-a-group jackknife over ``cluster`` (without that column: accounts), logit.
    columns : mapping, optional
        What your frames call the columns named here, where it differs.

    Returns
    -------
    Liquidation

    Raises
    ------
    FrameError
        A column is missing; an account is placed twice on a day; more than 1,000 groups.
    NotAvailable
        There are no placements with an amount.

    Examples
    --------
    >>> import pandas as pd
    >>> placed = pd.DataFrame({"account_id": ["a", "b", "c"], "amount": [100.0, 100.0, 50.0],
    ...                        "placed_on": pd.to_datetime(["2026-01-05", "2026-01-20", "2026-02-03"])})
    >>> paid = pd.DataFrame({"account_id": ["a", "b", "c"], "amount": [40.0, 30.0, 25.0],
    ...                      "paid_on": pd.to_datetime(["2026-01-30", "2026-02-10", "2026-02-28"])})
    >>> liquidation(placed, paid, months=1).table[["batch", "month", "estimate"]]
         batch  month  estimate
    0  2026-01      0      0.20
    1  2026-01      1      0.35
    2  2026-02      0      0.50
    3  2026-02      1       NaN
    """
    check_level(conf_level)
    check_days(months, "months", "months")
    by = as_list(by)
    placed, notes = _placed(
        own_names(placements, columns, ("account_id", "placed_on", "ended_on")), by, amount, cluster
    )
    paid = own_names(payments, columns, PAYMENT)
    engine.require(paid, "account_id", "paid_on", "amount")
    paid = paid.select(
        __account=nw.col("account_id"), __on=day_number("paid_on"), __month=month_number("paid_on"),
        __amount=whole_money("amount", UNIT),
    )  # fmt: skip
    placed, paid = same_engine(placed, paid)
    keys = [*by_keys(by), "__batch"]
    batches = engine.collect(placed.group_by(*keys, "__rep").agg(__n=row_count(), __owed=whole_sum("__cap")))
    if batches.empty:
        raise NotAvailable("no placement has an amount above 0.")
    refuse_many(batches[by_keys(by)].drop_duplicates(), by)
    end = as_of or _latest(placed, paid)
    within = (
        (nw.col("__on") >= nw.col("__start"))
        & (nw.col("__on") < nw.col("__next"))
        & (nw.col("__on") <= day_of(end))
    )
    monthly = (
        placed.join(paid, on="__account", how="inner")
        .filter(within)
        .with_columns(__age=nw.col("__month") - nw.col("__batch"))
        .group_by("__account", "__start", *keys, "__rep", "__cap", "__age")
        .agg(__amount=whole_sum("__amount"))
    )
    counted = nw.col("__amount")
    if cap:
        so_far = nw.col("__amount").cum_sum().over("__account", "__start", order_by="__age").cast(nw.Int64)
        monthly = monthly.with_columns(__sum=so_far)
        counted = nw.min_horizontal(nw.col("__sum"), nw.col("__cap")) - nw.min_horizontal(
            nw.col("__sum") - nw.col("__amount"), nw.col("__cap")
        )
    cells = engine.collect(
        monthly.filter(nw.col("__age") <= months)
        .with_columns(__counted=counted)
        .group_by(*keys, "__rep", "__age")
        .agg(whole_sum("__counted").alias("__counted"))
    )
    groups = distinct_groups(batches, keys)
    where = (batches["__rep"].to_numpy(int), group_codes(batches, groups, keys))
    n, owed = (sums_at(where, batches[c], (GROUPS, len(groups))) for c in ("__n", "__owed"))
    where = (cells["__rep"].to_numpy(int), group_codes(cells, groups, keys), cells["__age"].to_numpy(int))
    collected = sums_at(where, cells["__counted"], (GROUPS, len(groups), months + 1)).cumsum(axis=2)
    complete = end.year * 12 + end.month - 1 - (end.day < calendar.monthrange(end.year, end.month)[1])
    return _result(
        groups,
        by,
        n,
        owed,
        collected,
        complete,
        conf_level,
        (*notes, f"Whole months up to {month_text(complete)} count."),
        cap,
    )


# ---------------------------------------------------------------------------------------------- inside


def _placed(frame: nw.LazyFrame, by: list[str], amount: str, cluster: str) -> tuple[nw.LazyFrame, list[str]]:
    """Placements with their window of days ``[__start, __next)``, batch and replicate group; notes."""
    names = frame.collect_schema().names()
    engine.require(frame, "account_id", "placed_on", amount, *by)
    who = nw.col(cluster) if cluster in names else nw.col("account_id")
    start, far = day_number("placed_on"), nw.lit(10_000_000)
    frame = frame.select(
        *(nw.col(c).alias(k) for c, k in zip(by, by_keys(by))),
        __account=nw.col("account_id"),
        __id=nw.coalesce(who.cast(nw.String), nw.col("account_id").cast(nw.String)),
        __start=start,
        __batch=month_number("placed_on"),
        __cap=whole_money(amount, UNIT),
        __ended=day_number("ended_on") + 1 if "ended_on" in names else far,
    )
    frame = engine.computed(with_replicates(frame, "__id", name="__rep").drop("__id"))
    days = frame.group_by("__account", "__start").agg(n=row_count())
    found = engine.collect(
        frame.select(
            n=row_count(),
            undated=whole_sum(flag(nw.col("__start").is_null())),
            nothing=whole_sum(flag((nw.col("__cap") <= 0) | nw.col("__cap").is_null())),
        )
    ).iloc[0]
    twice = engine.collect(days.filter(nw.col("n") > 1).sort("__account", "__start").head(5))[
        "__account"
    ].tolist()
    if twice:
        raise FrameError(
            f"accounts are placed twice on a day ({first_few(twice)}), so a payment would count twice. Allowed: one "
            "placement of an account a day."
        )
    notes = []
    if found["nothing"]:
        notes.append(
            f"{int(found['nothing']):,} of {int(found['n']):,} placements without an amount above 0 are left out."
        )
    if found["undated"]:
        notes.append(f"{int(found['undated']):,} placements without a date are left out.")
    frame = frame.filter(~nw.col("__start").is_null())
    following = nw.col("__start").shift(-1).over("__account", order_by="__start").fill_null(10_000_000)
    frame = frame.with_columns(__next=following).with_columns(
        __next=nw.min_horizontal(nw.col("__next"), nw.col("__ended").fill_null(10_000_000))
    )
    return frame.filter(nw.col("__cap") > 0).drop("__ended"), notes


def _latest(placed: nw.LazyFrame, paid: nw.LazyFrame) -> date:
    last = [
        engine.collect(f.select(last=nw.col(c).max()))["last"].iloc[0]
        for f, c in ((placed, "__start"), (paid, "__on"))
    ]
    return date(1900, 1, 1) + pd.Timedelta(days=int(max(v for v in last if pd.notna(v)))).to_pytimedelta()


def _result(groups, by, n, owed, collected, complete, conf_level, notes, cap) -> Liquidation:
    months = collected.shape[2]
    reached = complete - groups["__batch"].to_numpy(int)
    found = collected_share(collected, np.repeat(owed[:, :, None], months, axis=2), conf_level)
    rows = named(groups[by_keys(by)], by, _TAKEN)
    if not by:
        rows = pd.DataFrame(index=range(len(groups)))
    rows["batch"] = [month_text(m) for m in groups["__batch"]]
    table = rows.loc[np.repeat(np.arange(len(rows)), months)].reset_index(drop=True)
    table["month"] = np.tile(np.arange(months), len(rows))
    table["accounts"] = np.repeat(n.sum(axis=0).astype("int64"), months)
    table["placed"] = np.repeat(owed.sum(axis=0) / UNIT, months)
    known = np.arange(months) <= reached[:, None]
    table["collected"] = np.where(known, collected.sum(axis=0) / UNIT, np.nan).ravel()
    table["reached"] = known.ravel()
    for name, values in zip(INTERVAL, found):
        table[name] = np.where(known, values, np.nan).ravel()
    return Liquidation(
        table=table,
        estimand="Cumulative share of the placed amount collected by the end of each month since placement"
        + (", no more than was placed" if cap else ""),
        title="Liquidation by batch",
        notes=tuple(notes),
        formats={"accounts": "count", "placed": "money", "collected": "money"},
        conf_level=conf_level,
        by=tuple(c for c in rows.columns if c != "batch"),
        batches=rows.assign(__reached=np.minimum(reached, months - 1)),
        placed=owed,
        collected=collected,
    )
