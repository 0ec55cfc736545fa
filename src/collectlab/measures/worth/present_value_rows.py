"""The present value of each account: what it paid and cost within a horizon, each sum discounted to its first day."""

from __future__ import annotations

from typing import Any

import narwhals as nw
import numpy as np
import pandas as pd

from collectlab.core import engine
from collectlab.core.columns import day_number, whole_sum
from collectlab.core.engine import same_engine
from collectlab.core.errors import FrameError, NotAvailable, first_few
from collectlab.measures.flows import UNIT
from collectlab.measures.worth.checks import check_whole, with_numbers
from collectlab.measures.worth.present_value_money import SIGNS, MoneyFlows, check_flows
from collectlab.measures.worth.prices import check_rate

#: Days of a year, for rates a year.
YEAR = 365.0


def discount(days: Any, rate: float) -> np.ndarray:
    """What money of a later day is worth on day 0: (1 + rate)^(−days / 365).

    Parameters
    ----------
    days : array of float
        Days after day 0.
    rate : float
        A share a year, 0 to 1.

    Returns
    -------
    numpy.ndarray

    Examples
    --------
    >>> discount([0, 365], 0.25).tolist()
    [1.0, 0.8]
    """
    return (1.0 + check_rate(rate, "rate")) ** (-np.asarray(days, dtype=float) / YEAR)


def present_values(
    starts: Any,
    flows: MoneyFlows,
    *,
    horizon: int = 90,
    rate: float = 0.0,
    funding_rate: float = 0.0,
    start: str = "started_on",
    amount: str | None = None,
    followed: str = "observed_day",
) -> pd.DataFrame:
    """One row per account: the present value of each kind of money from its first day to day ``horizon``.

    Everything that happens to the account in those days counts, whether the episode has ended or not, so that the
    window does not depend on what a strategy did: these are outcomes to compare arms by. With v = (1 + rate)^(−1/365),

        value(kind) = Σ_{s ≤ h} v^s · money(s),
        funding = funding_rate / 365 · Σ_{1 ≤ s ≤ h} v^s · max(owed − paid before day s, 0).

    Parameters
    ----------
    starts : frame
        One row per account: account_id, ``start``; ``followed``; and any further columns (arm, score), which stay.
    flows : MoneyFlows
    horizon : int
        Whole days.
    rate : float
        Discount rate, a share a year.
    funding_rate : float
        What money outstanding costs, a share a year. If the discount rate already holds the cost of funds, leave this
        at 0, or the wait counts twice.
    start : str
        Column with day 0.
    amount : str, optional
        Column with what is outstanding on day 0; needed for funding.
    followed : str
        Column with the days from day 0 to the end of the book. Accounts followed for less than ``horizon`` days are left
        out; :func:`~collectlab.measures.worth.present_value.present_value` uses those too.

    Returns
    -------
    pandas.DataFrame
        The columns of ``starts``, then ``value_paid``, ``value_actions``, … (one for each kind), ``value_funding``,
        ``value_cost`` (all the bank's costs), ``value_net`` (paid − cost), and ``value_society`` (less the debtor's charges)
        where the flows have those. Sorted by account.

    Raises
    ------
    FrameError
        A rate that is none, an account that stands twice, missing columns.
    NotAvailable
        No account was followed that long.

    Examples
    --------
    >>> from collectlab.measures.worth.present_value_money import money_flows
    >>> from collectlab.measures.worth.prices import Prices
    >>> paid = pd.DataFrame({"account_id": ["a"], "paid_on": pd.to_datetime(["2026-03-20"]), "amount": [400.0]})
    >>> starts = pd.DataFrame({"account_id": ["a", "b"], "started_on": pd.to_datetime(["2026-03-01"] * 2),
    ...                        "observed_day": [120, 30]})
    >>> present_values(starts, money_flows(paid, prices=Prices.of({})))["value_net"].tolist()
    [400.0]
    """
    check_rate(rate, "rate")
    check_rate(funding_rate, "funding_rate")
    check_flows(flows)
    horizon = check_whole(horizon, "horizon")
    if funding_rate and amount is None:
        raise FrameError(
            "funding_rate: what is outstanding is not told. Needed: amount, the column that holds it."
        )
    lazy = engine.scan(starts)
    engine.require(lazy, "account_id", start, followed, *([amount] if amount else []))
    rows = engine.collect(lazy).sort_values("account_id", kind="stable", ignore_index=True)
    again = rows["account_id"].duplicated()
    if again.any():
        raise FrameError(
            f"{int(again.sum()):,} accounts stand more than once ({first_few(rows.loc[again, 'account_id'].tolist())}). "
            "Allowed: one row per account, or the same money would count twice."
        )
    rows = with_numbers(rows, [followed, *([amount] if amount else [])])
    longest = rows[followed].max() if len(rows) else 0
    rows = rows[rows[followed] >= horizon].reset_index(drop=True)
    if rows.empty:
        told = 0 if pd.isna(longest) else int(longest)
        raise NotAvailable(
            f"no account was followed for {horizon} days (the longest for {told}), so nothing can be told of its value "
            "over that time."
        )
    keys = lazy.filter(nw.col(followed) >= horizon).select(
        __id=nw.col("account_id").cast(nw.String), __start=day_number(start)
    )
    keys = engine.computed(keys)
    place = pd.Series(np.arange(len(rows)), index=rows["account_id"].astype(str))
    owed = _owed(rows, amount) if funding_rate else None
    cost = np.zeros(len(rows))
    found = {}
    for kind in (k for k in SIGNS if k in flows.flows):
        who, day, money = _by_day(keys, flows.flows[kind], horizon, place)
        found[kind] = np.bincount(who, money * discount(day, rate), len(rows)) / UNIT
        if kind == "paid" and owed is not None:
            found["funding"] = funding_rate / YEAR * _outstanding(owed, who, day, money, horizon, rate)
    for kind, values in found.items():
        rows[f"value_{kind}"] = values
        if kind != "paid" and kind != "debtor":
            cost += values
    rows["value_cost"] = cost
    rows["value_net"] = rows["value_paid"] - cost
    if "debtor" in found:
        rows["value_society"] = rows["value_net"] - rows["value_debtor"]
    return rows


def _owed(rows: pd.DataFrame, amount: str | None) -> np.ndarray:
    return np.maximum(np.nan_to_num(rows[amount].to_numpy(float)), 0.0)


def _by_day(
    keys: nw.LazyFrame, flow: nw.LazyFrame, horizon: int, place: pd.Series
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Place, day and money (1/UNIT) of each account's flow by day, in that order."""
    flow = flow.with_columns(__id=nw.col("__account").cast(nw.String))
    keys, flow = same_engine(keys, flow)
    day = nw.col("__on") - nw.col("__start")
    daily = engine.collect(
        keys.join(flow, on="__id", how="inner")
        .with_columns(__day=day)
        .filter((nw.col("__day") >= 0) & (nw.col("__day") <= horizon))
        .group_by("__id", "__day")
        .agg(__money=whole_sum("__amount"))
    )
    who = place.reindex(daily["__id"].astype(str)).to_numpy(int)
    order = np.lexsort((daily["__day"].to_numpy(int), who))
    return who[order], daily["__day"].to_numpy(int)[order], daily["__money"].to_numpy(float)[order]


def _outstanding(
    owed: np.ndarray, who: np.ndarray, day: np.ndarray, money: np.ndarray, horizon: int, rate: float
) -> np.ndarray:
    """Σ_{1 ≤ s ≤ h} v^s · max(owed − paid before day s, 0) of each account, in money."""
    factor = np.concatenate([[0.0], discount(np.arange(1, horizon + 1), rate)])
    after = np.concatenate([np.cumsum(factor[::-1])[::-1][1:], [0.0]])  # Σ over the days after each
    cap = np.round(owed * UNIT)
    sums = np.cumsum(money)
    first = np.r_[True, who[1:] != who[:-1]] if len(who) else np.zeros(0, bool)
    base = np.repeat((sums - money)[first], np.diff(np.r_[np.flatnonzero(first), len(who)]))
    so_far = sums - base
    counted = np.minimum(so_far, cap[who]) - np.minimum(so_far - money, cap[who])
    spared = np.bincount(who, counted * after[day], len(owed))
    return (cap * factor.sum() - spared) / UNIT
