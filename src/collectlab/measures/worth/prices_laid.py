"""Prices laid on what was done: each action, each court case, each payment that earns an agency its commission."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import narwhals as nw
import numpy as np
import pandas as pd

from collectlab.core import engine
from collectlab.core.columns import day_number, flag, own_names, row_count, whole_money, whole_sum
from collectlab.core.engine import same_engine
from collectlab.core.errors import FrameError, NotAvailable, first_few
from collectlab.measures.flows import UNIT
from collectlab.measures.recovery_placements import placements
from collectlab.measures.worth.checks import check_prices, check_whole, with_days, with_numbers
from collectlab.measures.worth.prices import Prices

#: Days after a placement within which what comes back earns the agency its commission.
PLACED_DAYS = 90


def price_actions(actions: Any, prices: Prices, *, columns: Mapping[str, str] | None = None) -> nw.LazyFrame:
    """Every action with its cost: the log's own first, else the price of its channel in force on its day.

    Parameters
    ----------
    actions : frame
        account_id, at, channel; cost where the log has one.
    prices : Prices
    columns : mapping, optional
        What your frame calls the columns named here, where it differs.

    Returns
    -------
    narwhals.LazyFrame
        The actions with ``cost`` (money, never missing) and ``cost_from`` ("log" or "prices").

    Raises
    ------
    FrameError
        Every channel with a cost below 0, and every channel used that has neither costs of its own nor a price in
        force on the day, each with its number of actions.
    NotAvailable
        There are no actions.

    Examples
    --------
    >>> log = pd.DataFrame({"account_id": ["a", "a"], "channel": ["call", "visit"], "cost": [None, 70.0],
    ...                     "at": pd.to_datetime(["2026-03-01 10:00", "2026-03-02 10:00"])})
    >>> priced = price_actions(log, Prices.of({"call": 2.4})).collect("pandas").to_native().sort_values("channel")
    >>> priced[["channel", "cost", "cost_from"]].values.tolist()
    [['call', 2.4, 'prices'], ['visit', 70.0, 'log']]
    """
    check_prices(prices)
    frame = own_names(actions, columns, ("account_id", "at", "channel", "cost"))
    engine.require(frame, "account_id", "at", "channel")
    names = frame.collect_schema().names()
    own = whole_money("cost", UNIT) if "cost" in names else nw.lit(None, nw.Int64)
    frame = frame.with_columns(__own=own, __channel=nw.col("channel").cast(nw.String), __day=day_number("at"))
    used = engine.collect(frame.select("__channel").unique())["__channel"].dropna()
    price = nw.lit(None, nw.Int64)
    for channel in sorted(used):
        for since, value in prices.steps(channel):
            due = (nw.col("__channel") == channel) & (nw.col("__day") >= since)
            price = nw.when(due).then(nw.lit(round(value * UNIT))).otherwise(price)
    frame = frame.with_columns(__price=price.cast(nw.Int64))
    cost = nw.coalesce("__own", "__price")
    per = engine.collect(
        frame.group_by("__channel").agg(
            n=row_count(),
            missing=whole_sum(flag(cost.is_null())),
            below=whole_sum(flag(cost < 0)),
            undated=whole_sum(flag(nw.col("__day").is_null())),
        )
    ).sort_values("__channel")
    if per.empty:
        raise NotAvailable("there are no actions, so no cost.")
    label = per["__channel"].fillna("no channel")
    below = [f"{c} ({n:,} actions)" for c, n in zip(label, per["below"]) if n]
    bare = [
        f"{c} ({m:,} of {n:,} actions{_first(prices, c)})"
        for c, m, n in zip(label, per["missing"], per["n"])
        if m
    ]
    faults = []
    if undated := int(per["undated"].sum()):
        faults.append(
            f"at is missing in {undated:,} of {int(per['n'].sum()):,} actions. Allowed: a date and time."
        )
    if below:
        faults.append(f"the cost is below 0 for {first_few(below)}. Allowed: money ≥ 0.")
    if bare:
        faults.append(
            f"no cost is known for {first_few(bare)}: neither the log nor the prices have one. Add a price with the "
            f"channel's name (0 if it is free). Priced: {first_few(prices.priced(), 12)}."
        )
    if faults:
        raise FrameError(faults)
    source = nw.when(nw.col("__own").is_null()).then(nw.lit("prices")).otherwise(nw.lit("log"))
    return frame.with_columns(cost=cost.cast(nw.Float64) / UNIT, cost_from=source).drop(
        "__own", "__price", "__channel", "__day"
    )


def _first(prices: Prices, channel: str) -> str:
    steps = prices.steps(channel)
    return "; its first price holds later" if steps else ""


def price_cases(cases: Any, prices: Prices, *, amount: str = "amount_claimed") -> pd.DataFrame:
    """Every court case with its cost: the book's own first, else the schedule ``legal_fee`` by the amount claimed.

    Parameters
    ----------
    cases : frame
        account_id, filed_on; cost where the book has one; ``amount`` where a cost is missing.
    prices : Prices
    amount : str
        Column with the amount claimed.

    Returns
    -------
    pandas.DataFrame
        account_id, filed_on, cost, cost_from ("book" or "prices"), by account and day.

    Raises
    ------
    FrameError
        Cases whose cost is below 0, or not known: no cost, and no amount claimed or no schedule in force.

    Examples
    --------
    >>> from collectlab.measures.worth.prices import load_prices
    >>> cases = pd.DataFrame({"account_id": ["a"], "filed_on": ["2026-03-01"], "amount_claimed": [30_000.0]})
    >>> price_cases(cases, load_prices("params/costs.yml", "params/fees.yml"))["cost"].tolist()
    [550.0]
    """
    check_prices(prices)
    lazy = engine.scan(cases)
    engine.require(lazy, "account_id", "filed_on")
    have = lazy.collect_schema().names()
    wanted = ["account_id", "filed_on", *(c for c in ("cost", amount) if c in have)]
    told = engine.collect(lazy.select(*wanted))
    told = with_days(with_numbers(told, ["cost", amount]), ["filed_on"])
    told = told.sort_values([c for c in wanted], kind="stable", ignore_index=True)
    own = told["cost"].to_numpy(float) if "cost" in told else np.full(len(told), np.nan)
    schedule = prices.schedules.get("legal_fee")
    fee = np.full(len(told), np.nan)
    if schedule is not None and amount in told and len(told):
        fee, _ = schedule.fees(told[amount].to_numpy(float), told["filed_on"].to_numpy("datetime64[D]"))
    cost = np.where(np.isfinite(own), own, fee)
    faults = []
    if (below := cost < 0).any():
        faults.append(
            f"legal_cases: {int(below.sum()):,} of {len(told):,} cost less than 0 ({_keys(told, below)}). Allowed: ≥ 0."
        )
    if (bare := ~np.isfinite(cost)).any():
        faults.append(
            f"legal_cases: no cost is known for {int(bare.sum()):,} of {len(told):,} ({_keys(told, bare)}). Needed: a cost, "
            f"or {amount} and a schedule legal_fee in force on the day."
        )
    if faults:
        raise FrameError(faults)
    source = np.where(np.isfinite(own), "book", "prices")
    return told[["account_id", "filed_on"]].assign(cost=cost, cost_from=source)


def _keys(told: pd.DataFrame, rows: np.ndarray) -> str:
    return first_few(told.loc[rows, "account_id"].astype(str).tolist(), 3)


def commissions(
    payments: Any, placed: Any, prices: Prices, *, contracts: Any = None, days: int = PLACED_DAYS
) -> pd.DataFrame:
    """The agencies' commission on what came back after each placement.

    A payment earns commission where it falls within ``days`` days after a placement of the account and before the
    next one, up to the amount placed. The share is that of the agency's contract in force on the day of the
    placement; without one, the schedule ``agency_commission`` by age and amount of the debt placed; without a
    schedule, the flat price ``agency_commission``.

    Parameters
    ----------
    payments : frame
        account_id, paid_on, amount.
    placed : frame
        account_id, placed_on, amount (money placed), and where known agency, days_past_due (on that day); such as
        :func:`agency_placements` gives.
    prices : Prices
    contracts : frame, optional
        agency, first (its first day), until (its last; missing: no end), commission (a share).
    days : int
        Whole days after the placement.

    Returns
    -------
    pandas.DataFrame
        account_id, paid_on, placed_on, agency, amount (of the payment that counts), share, commission; by account and day.

    Raises
    ------
    FrameError
        Placements for which no commission is known, by agency with their number; a share that is none.

    Examples
    --------
    >>> placed = pd.DataFrame({"account_id": ["a"], "placed_on": ["2026-03-01"], "amount": [500.0],
    ...                        "agency": ["X"], "days_past_due": [200]})
    >>> paid = pd.DataFrame({"account_id": ["a", "a"], "paid_on": ["2026-03-20", "2026-04-20"], "amount": [400.0, 400.0]})
    >>> commissions(paid, placed, Prices.of({"agency_commission": 0.2}))["commission"].tolist()
    [80.0, 20.0]
    """
    check_prices(prices)
    days = check_whole(days, "days")
    made = _placed(placed)
    made["share"] = _shares(made, prices, contracts)
    bare = made[~np.isfinite(made["share"].to_numpy(float))]
    if len(bare):
        listed = [f"{a} ({n:,} placements)" for a, n in bare.groupby("agency").size().items()]
        raise FrameError(
            f"no commission is known for {first_few(listed)}: no contract in force, no schedule and no price "
            "agency_commission (0 if there is none)."
        )
    lazy = engine.scan(payments)
    engine.require(lazy, "account_id", "paid_on", "amount")
    keys = engine.scan(made[["account_id"]].drop_duplicates())
    if keys.collect_schema()["account_id"] != lazy.collect_schema()["account_id"]:
        lazy = lazy.with_columns(account_id=nw.col("account_id").cast(nw.String))
        keys = keys.with_columns(account_id=nw.col("account_id").cast(nw.String))
        made["account_id"] = made["account_id"].astype(str)
    lazy, keys = same_engine(lazy, keys)
    paid = engine.collect(
        lazy.select("account_id", "paid_on", __part=whole_money("amount", UNIT))
        .join(keys, on="account_id", how="inner")
        .group_by("account_id", "paid_on")
        .agg(__part=whole_sum("__part"))
    )
    paid = with_days(paid, ["paid_on"])
    both = paid.merge(made, on="account_id", how="inner")
    since = (both["paid_on"] - both["placed_on"]).dt.days
    both = both[(since >= 0) & (since <= days) & (both["paid_on"] < both["next_on"])]
    both = both.sort_values(["account_id", "placed_on", "paid_on"], kind="stable", ignore_index=True)
    so_far = both.groupby(["account_id", "placed_on"])["__part"].cumsum()
    cap = (both["amount"].fillna(0) * UNIT).round()
    counted = np.minimum(so_far, cap) - np.minimum(so_far - both["__part"], cap)
    return both.assign(
        amount=counted / UNIT, commission=np.round(counted * both["share"].to_numpy(float)) / UNIT
    )[["account_id", "paid_on", "placed_on", "agency", "amount", "share", "commission"]]


def _placed(placed: Any) -> pd.DataFrame:
    lazy = engine.scan(placed)
    engine.require(lazy, "account_id", "placed_on", "amount")
    have = lazy.collect_schema().names()
    more = [c for c in ("agency", "days_past_due") if c in have]
    made = engine.collect(lazy.select("account_id", "placed_on", "amount", *more))
    made = with_days(with_numbers(made, ["amount", "days_past_due"]), ["placed_on"])
    made["agency"] = made["agency"].astype(object).fillna("no name") if "agency" in made else "no name"
    if "days_past_due" not in made:
        made["days_past_due"] = 0
    made = made.sort_values(["account_id", "placed_on", "agency"], kind="stable", ignore_index=True)
    made["next_on"] = made.groupby("account_id")["placed_on"].shift(-1).fillna(pd.Timestamp("2262-01-01"))
    return made


def _shares(made: pd.DataFrame, prices: Prices, contracts: Any) -> np.ndarray:
    share = np.full(len(made), np.nan)
    for since, value in prices.steps("agency_commission"):
        day = pd.Timestamp("1900-01-01") + pd.Timedelta(days=since)
        share = np.where(made["placed_on"] >= day, value, share)
    schedule = prices.schedules.get("agency_commission")
    if schedule is not None and len(made):
        owed = made["amount"].fillna(0).to_numpy(float)
        age = made["days_past_due"].fillna(0).to_numpy(float)
        on = made["placed_on"].to_numpy("datetime64[D]")
        by_tier, known = schedule.fees(owed, on, age=age, base=np.ones(len(made)))
        share = np.where(known, by_tier, share)
    if contracts is not None:
        terms = engine.scan(contracts)
        engine.require(terms, "agency", "first", "until", "commission")
        held = with_numbers(engine.collect(terms), ["commission"], "agency")
        for row in with_days(held, ["first", "until"], "agency").itertuples(index=False):
            mine = (made["agency"] == str(row.agency)) & (made["placed_on"] >= row.first)
            last = row.until if row.until == row.until else pd.Timestamp.max
            share = np.where(mine & (made["placed_on"] <= last), row.commission, share)
    if ((share < 0) | (share > 1)).any():
        raise FrameError(
            f"the commission is {first_few(sorted(set(share[(share < 0) | (share > 1)])))}. Allowed: shares from 0 to 1."
        )
    return share


def agency_placements(actions: Any, snapshots: Any, *, amount: str = "amount_past_due") -> nw.LazyFrame:
    """Placements with agencies, with the amount and the days past due on the day.

    Parameters
    ----------
    actions : frame
        account_id, at, agency.
    snapshots : frame
        account_id, as_of, ``amount``, days_past_due.
    amount : str
        What counts as placed.

    Returns
    -------
    narwhals.LazyFrame
        account_id, placed_on, agency, amount, days_past_due (both of the last snapshot up to the day).

    Examples
    --------
    >>> actions = pd.DataFrame({"account_id": ["a"], "agency": ["X"], "at": pd.to_datetime(["2026-04-10 09:00"])})
    >>> snapshots = pd.DataFrame({"account_id": ["a"], "as_of": pd.to_datetime(["2026-03-31"]),
    ...                           "amount_past_due": [80.0], "days_past_due": [95]})
    >>> agency_placements(actions, snapshots).collect("pandas").to_native()[["amount", "days_past_due"]].values.tolist()
    [[80.0, 95.0]]
    """
    made = placements(actions, snapshots, by="agency", amount=amount)
    aged = placements(actions, snapshots, by="agency", amount="days_past_due")
    aged = aged.select("account_id", "placed_on", days_past_due=nw.col("amount"))
    return made.join(aged, on=["account_id", "placed_on"], how="left")
