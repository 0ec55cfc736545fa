"""What each month of an overdue account was: its state, its treatment, what it brought and cost, where it went.

One row is one open, delinquent account on one month-end. Its treatment is the strategy in force on that day
(assigned by then, never what it happened to get afterwards), so no time is immortal. What is paid, spent and
complained of is counted over the month that follows.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any

import narwhals as nw
import numpy as np
import pandas as pd

from collectlab.book.open import Book
from collectlab.core import engine
from collectlab.core.columns import day_number, day_of, flag, month_number, whole_money
from collectlab.core.engine import same_engine
from collectlab.core.errors import FrameError, NotAvailable
from collectlab.measures.costs_touch import contact_made, with_cost
from collectlab.measures.flows import UNIT
from collectlab.measures.snapshots import is_book
from collectlab.policy.plan.checks import day_or_none
from collectlab.policy.plan.states import States

__all__ = ["CHANNELS", "COUNTED", "EXITS", "States", "decision_rows"]

#: What an account can leave delinquency by.
EXITS = ("cured", "charged_off", "sold", "settled", "closed")
#: A right-party contact counts as recent for this many days.
REACHED_DAYS = 90
#: What was done in a month, by channel.
CHANNELS = {
    "calls": ("call",),
    "visits": ("visit",),
    "legal": ("legal",),
    "agency": ("agency",),
    "messages": ("sms", "email", "letter"),
}
#: What is counted over the month that follows a row.
COUNTED = ("paid", "cost", *CHANNELS, "complaints", "lost", "unpaid")
#: The exits by which what is unpaid stays unpaid.
FAILED = ("charged_off", "sold", "settled")
#: How accounts are told apart where nothing is said.
DEFAULT = States()
_DAYS = 1_000_000


def decision_rows(
    book: Book,
    *,
    until: dt.date | str | None = None,
    since: dt.date | str | None = None,
    states: States = DEFAULT,
    unit_costs: Mapping[str, float] | None = None,
) -> pd.DataFrame:
    """One row per open, delinquent account (days past due ≥ 1) and month-end, with what the next month brought.

    Parameters
    ----------
    book : Book
        With ``assignments``; all other tables are used where there.
    until, since : date, optional
        First and last month-end of the rows.
    states : States
        How accounts are told apart.
    unit_costs : mapping, optional
        Channel → cost of one action, for actions whose own ``cost`` is missing.

    Returns
    -------
    pandas.DataFrame
        Sorted by account and date. ``account_id, customer_id, episode, on`` (the month-end), ``days_past_due,
        amount_past_due, balance, credit_score, monthly_income, product, secured`` (where the book has them), ``reached``
        (a connected contact with the debtor in the 90 days up to ``on``; where the book has actions),
        ``action`` (the strategy: the last assignment on or before ``on``; the account's first drawing by lot
        counts only from its next episode on, since a test enrols new episodes), ``state``, ``next_state`` (a
        state, or one of :data:`EXITS`; missing = not seen a month later), then what came in (on, next
        month-end]: ``paid`` (money paid, over the episode no more than was past due at its first month-end:
        instalments that fall due later are not recoveries; where the first month-end was not seen, about one
        instalment), ``cost``, ``calls, visits, legal`` (cases
        filed, or legal actions where the book has no cases), ``agency, messages, complaints, lost`` (on charge-off or
        sale: the balance less ``unpaid``), ``unpaid`` (on charge-off, sale or settlement: the part of what was past due
        at the first month-end that was never paid); all missing where ``next_state`` is. ``randomised``, ``propensity`` (logged), ``entry`` (this is the episode's first month-end,
        and its beginning was seen). ``.attrs["states"]`` are the states with their amount cut.

    Raises
    ------
    NotAvailable
        No assignments, no overdue account, or only one month of history.
    FrameError
        A channel without any cost, or a negative one.

    Examples
    --------
    >>> from collectlab.book.open import open_book
    >>> from collectlab.book.simulate import simulate
    >>> bank = simulate(accounts=300, months=6, truth_accounts=0)
    >>> rows = decision_rows(open_book(bank.book_tables))
    >>> sorted(rows["action"].dropna().unique())
    ['challenger', 'champion', 'intensive', 'standard']
    """
    if not is_book(book):
        raise FrameError(f"decision_rows needs a book, as open_book gives it; found a {type(book).__name__}.")
    if not isinstance(states, States):
        raise FrameError(f"states is {states!r}. Allowed: States(…).")
    since, until = day_or_none(since, "since"), day_or_none(until, "until")
    if not book.has("assignments"):
        raise NotAvailable("a plan needs the table assignments: which strategy each account was under.")
    rows = _snapshots(book)
    spells = _spells(book)
    if rows.empty or spells.empty:
        raise NotAvailable("no account is overdue on any month-end.")
    rows = rows.merge(spells, on="account_id", how="inner")
    rows = rows[
        (rows["day"] >= rows["first"]) & ((rows["day"] < rows["exit"]) | (rows["outcome"] == "censored"))
    ]
    rows = rows[(rows["outcome"] != "censored") | (rows["day"] <= rows["exit"])]
    rows = rows.sort_values(["account_id", "day"], kind="stable").reset_index(drop=True)
    if rows["month"].nunique() < 2:
        raise NotAvailable(
            f"only {rows['month'].nunique()} month-end shows overdue accounts. A plan needs two or more: "
            "what became of an account a month later."
        )
    _reached(rows, book)
    grid = states.fitted(rows)
    rows["state"] = grid.key(rows)
    _next(rows)
    _action(rows, book)
    _what_came(rows, book, unit_costs)
    first, last = (None if d is None else day_of(d) for d in (since, until))
    kept = np.ones(len(rows), bool)
    kept &= rows["day"].to_numpy() >= (first if first is not None else -1)
    kept &= rows["day"].to_numpy() <= (last if last is not None else _DAYS)
    rows = rows[kept].drop(columns=[c for c in _INNER if c in rows]).reset_index(drop=True)
    rows.attrs["states"] = grid
    return rows


_INNER = ("day", "month", "first", "exit", "outcome", "owed", "until", "amount_at_entry")


def _snapshots(book: Book) -> pd.DataFrame:
    """The overdue accounts on each month-end (of daily snapshots, the last of each account's month)."""
    table = book.table("snapshots")
    have = table.collect_schema().names()
    table = table.with_columns(day=day_number("as_of"), month=month_number("as_of"))
    dates = engine.collect(table.select(days=nw.col("day").n_unique(), months=nw.col("month").n_unique()))
    if int(dates["days"][0]) > int(dates["months"][0]):
        last = table.group_by("account_id", "month").agg(day=nw.col("day").max())
        table = table.join(last, on=["account_id", "month", "day"], how="inner")
    overdue = nw.col("days_past_due") >= 1
    if "status" in have:
        overdue = overdue & (nw.col("status").fill_null("open") == "open")
    wanted = [c for c in ("amount_past_due", "balance") if c in have]
    rows = engine.collect(
        table.filter(overdue).select("account_id", "day", "month", "days_past_due", *wanted)
    )
    rows = rows.drop_duplicates(["account_id", "day"])
    rows.insert(1, "on", _as_dates(rows["day"]))
    return rows


def _as_dates(days: pd.Series) -> pd.Series:
    return pd.Timestamp("1900-01-01") + pd.to_timedelta(days, unit="D")


def _spells(book: Book) -> pd.DataFrame:
    spells = book.episodes()
    have = spells.collect_schema().names()
    start = day_number("started_on")
    kept = [c for c in ("credit_score", "monthly_income", "product", "secured") if c in have]
    found = engine.collect(
        spells.select(
            "account_id",
            "customer_id",
            "episode",
            "outcome",
            "amount_at_entry",
            *kept,
            first=start + nw.col("first_seen_day"),
            exit=start + nw.col("exit_day"),
        )
    )
    found["customer_id"] = found["customer_id"].fillna(found["account_id"])
    if "secured" in found:
        told = pd.to_numeric(found["secured"], errors="coerce").astype("Float64")
        found["secured"] = (told > 0).astype("boolean")
    return found


def _next(rows: pd.DataFrame) -> None:
    """Where each row's account stands a month later, and the last day of that month."""
    same = (rows["account_id"].shift(-1) == rows["account_id"]) & (
        rows["episode"].shift(-1) == rows["episode"]
    )
    stays = same & (rows["month"].shift(-1) == rows["month"] + 1)
    exit_month = _month_of(rows["exit"])
    leaves = ~same & rows["outcome"].isin(EXITS) & (exit_month == rows["month"] + 1)
    rows["next_state"] = rows["state"].shift(-1).where(stays, rows["outcome"].where(leaves)).astype(object)
    rows["until"] = rows["day"].shift(-1).where(stays, rows["exit"].where(leaves))
    first = rows.groupby(["account_id", "episode"])["day"].transform("min")
    rows["entry"] = (rows["day"] == first) & (rows["days_past_due"] <= 31)


def _month_of(days: pd.Series) -> pd.Series:
    date = _as_dates(days)
    return date.dt.year * 12 + date.dt.month - 1


def _action(rows: pd.DataFrame, book: Book) -> None:
    """The strategy in force on each row's day, and how it came to be."""
    table = book.table("assignments")
    have = table.collect_schema().names()
    extra = [c for c in ("randomised", "propensity") if c in have]
    given = engine.collect(table.select("account_id", "strategy", *extra, given=day_number("assigned_on")))
    given = given[given["account_id"].isin(rows["account_id"].unique())].dropna(subset=["strategy", "given"])
    lots = given["randomised"] if "randomised" in given else pd.Series(False, index=given.index)
    given["randomised"] = lots.astype("boolean").fillna(False).astype(bool)
    given["propensity"] = given["propensity"].astype(float) if "propensity" in given else np.nan
    given = given.sort_values(["account_id", "given", "strategy"], kind="stable").reset_index(drop=True)
    first_lot = given["account_id"].map(given[given["randomised"]].groupby("account_id")["given"].min())
    enrols = (given["randomised"] & (given["given"] == first_lot)).to_numpy()
    found = _last_before(rows, given)
    # A test enrols new episodes: drawn while one ran, what stood before still holds.
    early = found >= 0
    early[early] = enrols[found[early]] & (
        given["given"].to_numpy()[found[early]] > rows["first"].to_numpy()[early]
    )
    found = np.where(early, _last_before(rows, given[~enrols]), found)
    known = found >= 0
    rows["action"] = pd.Series(np.nan, index=rows.index, dtype=object)
    rows.loc[known, "action"] = given["strategy"].to_numpy(object)[found[known]]
    rows["randomised"] = (
        np.where(known, given["randomised"].to_numpy(bool)[found], False) if len(given) else False
    )
    rows["propensity"] = (
        np.where(known, given["propensity"].to_numpy(float)[found], np.nan) if len(given) else np.nan
    )


def _last_before(rows: pd.DataFrame, given: pd.DataFrame) -> np.ndarray:
    """Which row of ``given`` (by its index) is the account's last on or before each row's day; −1 for none."""
    left = rows[["account_id", "day"]].assign(day=rows["day"].astype("int64"), place=np.arange(len(rows)))
    right = given[["account_id"]].assign(day=given["given"].astype("int64"), which=given.index)
    found = pd.merge_asof(
        left.sort_values(["day", "place"]),
        right.sort_values(["day", "which"]),
        on="day",
        by="account_id",
    )
    return found.sort_values("place")["which"].fillna(-1).to_numpy(int)


def _reached(rows: pd.DataFrame, book: Book) -> None:
    if not book.has("actions"):
        return
    actions = book.table("actions")
    have = actions.collect_schema().names()
    made = contact_made(have)
    if "connected" in have:
        made = made & nw.col("connected").fill_null(False)
    if "party" in have:
        made = made & (nw.col("party").fill_null("debtor") == "debtor")
    when, _ = _flow(rows, actions.filter(made).select("account_id", day=day_number("at")))
    rows["reached"] = when(rows["day"] - REACHED_DAYS, rows["day"]) > 0


def _what_came(rows: pd.DataFrame, book: Book, unit_costs: Mapping[str, float] | None) -> None:
    start, end = rows["day"], rows["until"]
    zero = np.zeros(len(rows))
    for name in COUNTED:
        rows[name] = zero
    # An episode long under way when first seen owes several instalments by then; the first of them is about:
    first_dpd = rows.groupby(["account_id", "episode"])["days_past_due"].transform("first")
    rows["owed"] = (rows["amount_at_entry"] / (1 + first_dpd // 31)).fillna(np.inf)
    first = rows.groupby(["account_id", "episode"])["day"].transform("min")
    if book.has("payments"):
        payments = book.table("payments")
        between, _ = _flow(
            rows, payments.select("account_id", day=day_number("paid_on"), value=whole_money("amount", UNIT))
        )
        before = between(first, start) / UNIT
        after = before + between(start, end) / UNIT
        cap = rows["owed"].to_numpy()
        rows["paid"] = np.round(np.minimum(after, cap) - np.minimum(before, cap), 2)
        unpaid = np.where(np.isfinite(cap), np.maximum(cap - after, 0), 0)
    else:
        unpaid = np.where(np.isfinite(rows["owed"]), rows["owed"], 0)
    rows["unpaid"] = np.where(rows["next_state"].isin(FAILED), np.round(unpaid, 2), 0.0)
    if book.has("actions"):
        costed, _ = with_cost(book.table("actions"), unit_costs)
        deeds = costed.select("account_id", "__channel", day=day_number("at"), value=nw.col("__cost"))
        between, channel = _flow(rows, deeds, keep="__channel")
        rows["cost"] = between(start, end) / UNIT
        for name, channels in CHANNELS.items():
            counted, _ = _flow(rows, channel[channel["__channel"].isin(channels)].drop(columns="value"))
            rows[name] = counted(start, end)
    if book.has("legal_cases"):
        cases = book.table("legal_cases")
        price = whole_money("cost", UNIT) if "cost" in cases.collect_schema().names() else nw.lit(0, nw.Int64)
        cases = cases.select("account_id", day=day_number("filed_on"), value=price.fill_null(0))
        if int(engine.collect(cases.select(below=flag(nw.col("value") < 0).sum()))["below"].fillna(0)[0]):
            raise FrameError("legal_cases: cost below 0. Allowed: money ≥ 0.")
        between, filed = _flow(rows, cases)
        rows["cost"] = rows["cost"] + between(start, end) / UNIT
        counted, _ = _flow(rows, filed.drop(columns="value"))
        rows["legal"] = counted(start, end)
    if book.has("complaints"):
        counted, _ = _flow(rows, book.table("complaints").select("account_id", day=day_number("at")))
        rows["complaints"] = counted(start, end)
    if "balance" in rows:
        gone = rows["next_state"].isin(["charged_off", "sold"]).to_numpy()
        rows["lost"] = np.where(gone, np.maximum(rows["balance"].fillna(0) - unpaid, 0), 0.0)
    rows.loc[rows["next_state"].isna(), list(COUNTED)] = np.nan


def _flow(rows: pd.DataFrame, table: Any, keep: str | None = None) -> tuple[Any, pd.DataFrame]:
    """A function (from, to) → sum of ``value`` (or number of rows) in (from, to] for each row's account."""
    accounts = pd.Index(rows["account_id"].unique())
    if isinstance(table, nw.LazyFrame):
        mine = engine.scan(pd.DataFrame({"account_id": accounts}))
        table, mine = same_engine(table, mine)
        found = engine.collect(table.join(mine, on="account_id", how="semi"))
    else:
        found = table
    found = found[found["day"].notna()]
    code = accounts.get_indexer(found["account_id"])
    key = code.astype(np.int64) * _DAYS + found["day"].to_numpy(np.int64)
    order = np.argsort(key, kind="stable")
    value = found["value"].to_numpy(float) if "value" in found else np.ones(len(found))
    total = np.concatenate([[0.0], np.cumsum(np.nan_to_num(value)[order])])
    key = key[order]
    own = accounts.get_indexer(rows["account_id"]).astype(np.int64) * _DAYS

    def between(start: pd.Series, end: pd.Series) -> np.ndarray:
        last = np.nan_to_num(end.to_numpy(float), nan=-1.0)
        last = np.maximum(np.where(last < 0, start.to_numpy(float), last), 0).astype(np.int64)
        places = [
            np.searchsorted(key, own + d, side="right")
            for d in (np.maximum(start.to_numpy(np.int64), 0), last)
        ]
        return total[places[1]] - total[places[0]]

    return between, found
