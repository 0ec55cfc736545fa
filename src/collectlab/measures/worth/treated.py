"""What a channel's treatment of an account costs, and what part of the amount overdue a cure brings."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import narwhals as nw
import numpy as np
import pandas as pd

from collectlab.core.columns import day_number, flag, row_count, whole_money, whole_sum
from collectlab.core.engine import collect, computed, require, same_engine, scan
from collectlab.core.errors import FrameError, NotAvailable
from collectlab.measures.costs_touch import with_cost
from collectlab.measures.flows import UNIT

#: A complaint is laid to the channel of the last action before it, if that was at most so many days earlier.
WINDOW = 7
#: Fewer treated accounts than this say nothing of what a treatment costs.
FEWEST = 10


@dataclass(frozen=True, kw_only=True)
class Treated:
    """Accounts that a channel treated, and what comes with a cure.

    Attributes
    ----------
    rows : pandas.DataFrame
        One row per episode treated: amount (overdue at entry), actions, cost, complaints, during the follow-up.
    share : float
        Part of the amount overdue paid during the follow-up by those cured in it, less that by those not cured.
    """

    rows: pd.DataFrame
    share: float

    def mean(self, column: str) -> tuple[float, float]:
        """Mean of a column per treated account, and its standard error."""
        values = self.rows[column].to_numpy(float)
        return float(values.mean()), float(values.std(ddof=1) / math.sqrt(len(values)))


def per_treated(
    episodes: Any,
    actions: Any,
    payments: Any,
    *,
    channel: str,
    from_day: int | str = 0,
    grace: int = 30,
    follow_up: int = 60,
    unit_costs: Mapping[str, float] | None = None,
    complaints: Any = None,
) -> Treated:
    """What treating an account by a channel costs, counted among those that were, and what a cure brings.

    Treated is an episode still open ``from_day`` days past due whose first action of the channel from then on comes
    within ``grace`` days. All its actions of the channel up to ``follow_up`` days later are its treatment. A complaint
    counts where the account's last action of any channel, at most a week before it, was of this one: what followed
    the channel, not what it caused. With p the amount paid in the follow-up, up to the amount a overdue at entry, the
    share is Σp / Σa among those cured in it less the same among those not cured, of all episodes open on that day.

    Parameters
    ----------
    episodes : frame
        account_id, episode, started_on, entry_day, exit_day, observed_day, outcome, amount_at_entry.
    actions : frame
        account_id, at, channel; cost where there.
    payments : frame
        account_id, paid_on, amount.
    channel : str
    from_day : int or str
        Days since day 0; or the column of ``episodes`` that holds them, such as first_seen_day.
    grace, follow_up : int
        Days after ``from_day``.
    unit_costs : mapping, optional
        Channel → cost of one action whose own cost is missing.
    complaints : frame, optional
        account_id, at; or what :func:`laid_complaints` made of it, where several channels are asked for.

    Returns
    -------
    Treated

    Raises
    ------
    FrameError
        A missing column, days out of range, a channel without a cost.
    NotAvailable
        Fewer than ten accounts were treated, or nobody was cured or left uncured.

    Examples
    --------
    >>> day = pd.Timestamp("2026-01-01")
    >>> episodes = pd.DataFrame({
    ...     "account_id": [f"a{i}" for i in range(20)], "episode": 1, "started_on": day, "entry_day": 0,
    ...     "exit_day": [20] * 10 + [90] * 10, "observed_day": 90, "outcome": ["cured"] * 10 + ["censored"] * 10,
    ...     "amount_at_entry": 100.0})
    >>> actions = pd.DataFrame({
    ...     "account_id": episodes["account_id"], "at": day + pd.Timedelta(days=3), "channel": "call"})
    >>> paid = pd.DataFrame({"account_id": episodes["account_id"][:10], "paid_on": day + pd.Timedelta(days=20), "amount": 100.0})
    >>> found = per_treated(episodes, actions, paid, channel="call", unit_costs={"call": 2.4})
    >>> len(found.rows), round(found.mean("cost")[0], 2), found.share
    (20, 2.4, 1.0)
    """
    if min(from_day if isinstance(from_day, int) else 0, grace, follow_up) < 0 or follow_up < 1:
        raise FrameError(
            f"from_day, grace, follow_up are {from_day}, {grace}, {follow_up}. Allowed: whole days ≥ 0, follow_up ≥ 1."
        )
    spells, deeds, money = scan(episodes), scan(actions), scan(payments)
    columns = (
        "account_id", "episode", "started_on", "entry_day", "exit_day", "observed_day", "outcome", "amount_at_entry",
    )  # fmt: skip
    require(spells, *columns)
    require(deeds, "account_id", "at", "channel")
    require(money, "account_id", "paid_on", "amount")
    if isinstance(from_day, str):
        require(spells, from_day)
    begin = nw.col(from_day) if isinstance(from_day, str) else nw.lit(from_day)
    spells = spells.with_columns(_from=begin.cast(nw.Int64), _end=(begin + follow_up).cast(nw.Int64))
    spells = spells.select(*columns, "_from", "_end").filter(
        (nw.col("exit_day") > nw.col("_from"))
        & (nw.col("entry_day") <= nw.col("_from"))
        & ((nw.col("observed_day") >= nw.col("_end")) | (nw.col("outcome") != "censored"))
        & (nw.col("amount_at_entry") > 0)
    )
    own, _ = with_cost(deeds.filter(nw.col("channel").cast(nw.String) == channel), unit_costs)
    spells, own, money = same_engine(computed(spells), own, money)
    share = _share(spells, money)
    treated = _treated(spells, own, grace)
    if len(treated) < FEWEST:
        raise NotAvailable(f"fewer than {FEWEST} accounts were treated by {channel} within {grace} days.")
    treated["complaints"] = 0.0
    if complaints is not None:
        ready = isinstance(complaints, pd.DataFrame) and {"day", "channel"} <= set(complaints.columns)
        laid = complaints if ready else laid_complaints(complaints, actions)
        treated["complaints"] = _within(treated, laid[laid["channel"] == channel])
    return Treated(rows=treated[["amount", "actions", "cost", "complaints"]], share=share)


def _share(spells: nw.LazyFrame, money: nw.LazyFrame) -> float:
    owed = whole_money("amount_at_entry")
    paid = (
        spells.select("account_id", "episode", "started_on", "_from", "_end")
        .join(
            money.select("account_id", "paid_on", _cents=whole_money("amount")), on="account_id", how="inner"
        )
        .with_columns(_day=day_number("paid_on") - day_number("started_on"))
        .filter((nw.col("_day") > nw.col("_from")) & (nw.col("_day") <= nw.col("_end")))
        .group_by("account_id", "episode")
        .agg(_paid=whole_sum("_cents"))
    )
    cured = (nw.col("outcome") == "cured") & (nw.col("exit_day") <= nw.col("_end"))
    rows = spells.join(paid, on=["account_id", "episode"], how="left").with_columns(
        _cured=flag(cured), _owed=owed, _paid=nw.col("_paid").fill_null(0)
    )
    capped = nw.when(nw.col("_paid") < nw.col("_owed")).then(nw.col("_paid")).otherwise(nw.col("_owed"))
    sums = collect(
        rows.with_columns(_paid=capped)
        .group_by("_cured")
        .agg(_paid=whole_sum("_paid"), _owed=whole_sum("_owed"))
    ).set_index("_cured")
    if set(sums.index) != {0, 1}:
        raise NotAvailable("none of the accounts were cured in the follow-up, or all were.")
    shares = sums["_paid"] / sums["_owed"]
    return float(shares[1] - shares[0])


def _treated(spells: nw.LazyFrame, own: nw.LazyFrame, grace: int) -> pd.DataFrame:
    both = spells.join(own.select("account_id", "at", "__cost"), on="account_id", how="inner")
    both = both.with_columns(_day=day_number("at") - day_number("started_on"))
    both = both.filter(
        (nw.col("_day") >= nw.col("_from"))
        & (nw.col("_day") <= nw.col("_end"))
        & (nw.col("_day") <= nw.col("exit_day"))
    )
    found = collect(
        both.group_by("account_id", "episode").agg(
            first=nw.col("_day").min(),
            begun=nw.col("_from").min(),
            ended=nw.col("_end").min(),
            started=day_number("started_on").min(),
            amount=nw.col("amount_at_entry").max(),
            actions=row_count(),
            cost=whole_sum("__cost"),
        )
    )
    found = found[found["first"] <= found["begun"] + grace].sort_values(
        ["account_id", "episode"], ignore_index=True
    )
    found["cost"] = found["cost"].astype(float) / UNIT
    return found


def laid_complaints(complaints: Any, actions: Any) -> pd.DataFrame:
    """Each complaint with the channel of the account's last action before it, at most a week earlier.

    Parameters
    ----------
    complaints : frame
        account_id, at.
    actions : frame
        account_id, at, channel.

    Returns
    -------
    pandas.DataFrame
        account_id, day (:func:`~collectlab.core.columns.day_number`), channel; complaints that followed no action are
        left out.

    Examples
    --------
    >>> when = pd.to_datetime(["2026-01-05 09:00", "2026-01-06 10:00"])
    >>> actions = pd.DataFrame({"account_id": "a", "at": when, "channel": ["sms", "call"]})
    >>> laid_complaints(pd.DataFrame({"account_id": ["a"], "at": when[1:]}), actions)["channel"].tolist()
    ['call']
    """
    told, deeds = scan(complaints), scan(actions)
    require(told, "account_id", "at")
    require(deeds, "account_id", "at", "channel")
    told = told.select("account_id", "at").filter(~nw.col("at").is_null())
    told, deeds = same_engine(told, deeds.select("account_id", _acted="at", channel="channel"))
    near = told.join(deeds, on="account_id", how="inner").with_columns(
        day=day_number("at"), channel=nw.col("channel").cast(nw.String)
    )
    near = near.filter((nw.col("_acted") <= nw.col("at")) & (nw.col("day") - day_number("_acted") <= WINDOW))
    rows = collect(near).sort_values(["account_id", "at", "_acted", "channel"])
    last = rows.drop_duplicates(["account_id", "at"], keep="last")
    return last[["account_id", "day", "channel"]].reset_index(drop=True)


def _within(treated: pd.DataFrame, laid: pd.DataFrame) -> np.ndarray:
    both = treated.reset_index().merge(laid, on="account_id")
    day = both["day"] - both["started"]
    counted = both[(day >= both["begun"]) & (day <= both["ended"] + WINDOW)].groupby("index").size()
    return counted.reindex(range(len(treated)), fill_value=0).to_numpy(float)
