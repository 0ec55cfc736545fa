"""The account-days on which one more contact could have been made: what was known before, and what followed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import narwhals as nw
import numpy as np
import pandas as pd

from collectlab.core.columns import day_number, day_of, whole_money
from collectlab.core.engine import collect, require
from collectlab.core.errors import FrameError, NotAvailable, first_few
from collectlab.measures.actions_rows import Period, days_of
from collectlab.measures.intensity_days import overdue_spans

#: account · SPAN + day orders by account and then by day.
SPAN = 1_000_000
#: Account-days looked at; of a larger book, those of accounts picked by their place in a fixed order.
MOST_DAYS = 600_000
#: Contacts in the six days before: the last band is this many and more.
TOP = 4
#: A weekday with less than this share of an average day's contacts is no working day.
IDLE = 0.1
MONTH = 30.44
#: What is known of an account from the start, where the book has it.
FIXED = ("credit_score", "monthly_income", "age", "product", "branch")


@dataclass(frozen=True)
class ContactDays:
    """Account-days in account order: treatment, dose, covariates known that morning, outcomes since."""

    account: np.ndarray
    day: np.ndarray
    cluster: np.ndarray
    treated: np.ndarray
    dose: np.ndarray
    covariates: pd.DataFrame
    outcomes: pd.DataFrame
    paid_before: np.ndarray
    complaints: int
    unit_cost: float
    notes: tuple[str, ...]


def contact_days(
    book: Any, channels: Sequence[str] = ("call",), period: Period = None, horizon: int = 30
) -> ContactDays:
    """One row per account and day on which it was overdue, on the work list, and could have been contacted.

    A row is a small trial that begins that morning: ``treated`` says whether a contact was made that day, ``dose``
    how many were made in the six days before. Left out are days before the first overdue snapshot (the book shows
    them only where the account stayed overdue), days on which hardly anybody is contacted (Sundays), days within 90
    of an arrangement (a rule of its own holds then), and days whose ``horizon`` is not over.

    Parameters
    ----------
    book : Book
        With snapshots, actions and payments.
    channels : sequence of str
        What counts as a contact.
    period : (date, date), optional
        First and last day of the rows.
    horizon : int
        Days of follow-up, the day itself included.

    Returns
    -------
    ContactDays
    """
    _refuse(book, channels, horizon)
    spans = collect(overdue_spans(book).filter((nw.col("__seen") == 1) & ~nw.col("__amount").is_null()))
    limits = (0, SPAN) if period is None else days_of(period)
    last = min(limits[1], day_of(book.as_of) - horizon + 1)
    spans = spans[(spans["__first"] <= last) & (spans["__last"] >= limits[0])].sort_values(
        ["__account", "__first"], kind="stable", ignore_index=True
    )
    if spans.empty:
        raise NotAvailable(f"no account-day overdue is followed for {horizon} days.")
    ids = pd.Index(spans["__account"].unique())
    notes = []
    days = np.minimum(spans["__last"], last) - np.maximum(spans["__first"], limits[0]) + 1
    if days.sum() > MOST_DAYS:
        keep = max(int(len(ids) * MOST_DAYS / days.sum()), 1)
        ids = ids[np.unique(np.linspace(0, len(ids) - 1, keep).astype(int))]
        notes.append(f"Looked at {len(ids):,} accounts, evenly picked from all, to bound the work.")
    events = _Events(book, ids, channels)
    spans = spans[spans["__account"].isin(ids)].reset_index(drop=True)
    code = ids.get_indexer(spans["__account"])
    first = np.maximum(spans["__first"].to_numpy(int), limits[0])
    length = np.maximum(np.minimum(spans["__last"].to_numpy(int), last) - first + 1, 0)
    row = np.repeat(np.arange(len(spans)), length)
    day = first[row] + np.arange(len(row)) - np.repeat(np.cumsum(length) - length, length)
    account = code[row]
    at = account.astype(np.int64) * SPAN + day
    treated = events.contacts.count(at, at + 1) > 0
    keep = _working_days(day, treated)[day % 7] & ~events.eased(at)
    row, day, account, at, treated = (v[keep] for v in (row, day, account, at, treated))
    if not treated.any() or treated.all():
        raise NotAvailable(f"no {first_few(list(channels))} on some of the account-days overdue, or on all.")
    dose = np.minimum(events.contacts.count(at - 6, at), TOP)
    covariates = _covariates(book, spans, row, day, at, ids, account, events)
    cures = _Moments(code[spans["__ends"] == "cured"], spans.loc[spans["__ends"] == "cured", "__last"])
    outcomes = {"cured": (cures.count(at, at + horizon) > 0).astype(float)}
    outcomes["paid"] = events.payments.total(at, at + horizon) / 100
    if events.cost_known:
        outcomes["cost"] = events.costs.total(at, at + horizon) / 100
    complaints = 0
    if events.complaints is not None:
        outcomes["complaint"] = events.complaints.count(at, at + horizon).astype(float)
        complaints = len(events.complaints.at)
    made = np.flatnonzero(treated)
    cost = events.contact_costs.total(at[made], at[made] + 1).mean() / 100 if events.cost_known else np.nan
    return ContactDays(
        account=account,
        day=day,
        cluster=_customers(book, ids)[account],
        treated=treated.astype(float),
        dose=dose,
        covariates=covariates,
        outcomes=pd.DataFrame(outcomes),
        paid_before=(events.payments.count(at - 7, at) > 0).astype(float),
        complaints=complaints,
        unit_cost=float(cost),
        notes=tuple(notes),
    )


def _refuse(book: Any, channels: Any, horizon: Any) -> None:
    faults = []
    if isinstance(channels, str) or not channels or any(not isinstance(c, str) for c in channels):
        faults.append(f"channels is {channels!r}. Allowed: a list of channels, such as ('call',).")
    if isinstance(horizon, bool) or not isinstance(horizon, (int, np.integer)) or horizon < 1:
        faults.append(f"horizon is {horizon!r}. Allowed: whole days ≥ 1.")
    if faults:
        raise FrameError(faults)
    if missing := [t for t in ("actions", "payments") if not book.has(t)]:
        raise NotAvailable(f"this book has no {first_few(missing)}.")
    require(book.table("actions"), "account_id", "at", "channel")


class _Moments:
    """Things that happened to accounts on days, to be counted between two moments."""

    def __init__(self, account: Any, day: Any, value: Any = None):
        at = np.asarray(account, dtype=np.int64) * SPAN + np.asarray(day, dtype=np.int64)
        order = np.argsort(at, kind="stable")
        self.at = at[order]
        if value is not None:
            self.so_far = np.append(0, np.cumsum(np.asarray(value, dtype=np.int64)[order]))

    def count(self, low: np.ndarray, high: np.ndarray) -> np.ndarray:
        """How many in [low, high)."""
        return np.searchsorted(self.at, high) - np.searchsorted(self.at, low)

    def total(self, low: np.ndarray, high: np.ndarray) -> np.ndarray:
        """Their values in [low, high)."""
        return (
            self.so_far[np.searchsorted(self.at, high)] - self.so_far[np.searchsorted(self.at, low)]
        ).astype(float)

    def since(self, at: np.ndarray, most: int) -> np.ndarray:
        """Days since the last one before ``at``; ``most`` where it is longer ago, or never was."""
        place = np.searchsorted(self.at, at) - 1
        if not len(self.at):
            return np.full(len(at), most)
        before = self.at[np.maximum(place, 0)]
        same = (place >= 0) & (before // SPAN == at // SPAN)
        return np.where(same, np.minimum(at - before, most), most)


class _Events:
    """What happened to the accounts looked at, day by day."""

    def __init__(self, book: Any, ids: pd.Index, channels: Sequence[str]):
        names = book.columns("actions")
        told = ("outcome" in names, "connected" in names)
        actions = book.table("actions").select(
            "account_id",
            channel=nw.col("channel").cast(nw.String),
            day=day_number("at"),
            cents=whole_money("cost") if "cost" in names else nw.lit(None, nw.Int64),
            outcome=nw.col("outcome").cast(nw.String) if told[0] else nw.lit(None, nw.String),
        )
        a = _of(collect(actions), ids)
        known = sorted(set(a["channel"].dropna()))
        if unknown := [c for c in channels if c not in known]:
            raise NotAvailable(
                f"this book's actions hold no {first_few(unknown)} on the accounts overdue. "
                f"Channels here: {first_few(known, 10) or 'none'}."
            )
        hit = a["channel"].isin(channels)
        self.cost_known = bool(a.loc[hit, "cents"].notna().any())
        cents = a["cents"].fillna(0).to_numpy(np.int64)
        self.contacts = _Moments(a.loc[hit, "code"], a.loc[hit, "day"])
        self.contact_costs = _Moments(a.loc[hit, "code"], a.loc[hit, "day"], cents[hit])
        self.costs = _Moments(a["code"], a["day"], cents)
        self.others = _Moments(a.loc[~hit, "code"], a.loc[~hit, "day"])
        self.outcomes = {
            name: _Moments(a.loc[a["outcome"] == name, "code"], a.loc[a["outcome"] == name, "day"])
            for name in ("promise", "refusal", "hardship", "dispute", "no_answer", "wrong_number")
            if (a["outcome"] == name).any()
        }
        paid = book.table("payments").select(
            "account_id", day=day_number("paid_on"), cents=whole_money("amount")
        )
        p = _of(collect(paid), ids)
        p = p[p["cents"] > 0]
        self.payments = _Moments(p["code"], p["day"], p["cents"])
        self.complaints = None
        if book.has("complaints"):
            c = _of(collect(book.table("complaints").select("account_id", day=day_number("at"))), ids)
            self.complaints = _Moments(c["code"], c["day"])
        self.relief = None
        if book.has("arrangements") and "started_on" in book.columns("arrangements"):
            eased = book.table("arrangements").select("account_id", day=day_number("started_on"))
            r = _of(collect(eased), ids)
            self.relief = _Moments(r["code"], r["day"])

    def eased(self, at: np.ndarray) -> np.ndarray:
        """Whether an arrangement was made in the 90 days before."""
        return np.zeros(len(at), bool) if self.relief is None else self.relief.count(at - 90, at) > 0


def _of(frame: pd.DataFrame, ids: pd.Index) -> pd.DataFrame:
    frame = frame.assign(code=ids.get_indexer(frame["account_id"])).dropna(subset="day")
    return frame[frame["code"] >= 0]


def _working_days(day: np.ndarray, treated: np.ndarray) -> np.ndarray:
    days = np.bincount(day % 7, minlength=7)
    made = np.bincount(day % 7, weights=treated, minlength=7)
    rate = made / np.maximum(days, 1)
    return rate >= IDLE * treated.mean() if treated.any() else np.ones(7, bool)


def _customers(book: Any, ids: pd.Index) -> np.ndarray:
    if "customer_id" not in book.columns("accounts"):
        return np.arange(len(ids))
    owners = collect(book.table("accounts").select("account_id", "customer_id"))
    owners = owners.drop_duplicates("account_id").set_index("account_id")["customer_id"].reindex(ids)
    names = owners.astype(object).where(owners.notna(), [f"account {i}" for i in ids])
    return pd.factorize(names.astype(str), sort=True)[0]


def _covariates(book, spans, row, day, at, ids, account, events: _Events) -> pd.DataFrame:
    """What was known that morning; whole numbers and categories."""
    dpd = spans["__dpd"].to_numpy(int)[row] + day - spans["__first"].to_numpy(int)[row]
    amount = spans["__amount"].to_numpy(float)[row]
    since = spans["__first"].to_numpy(np.int64)[row] + account.astype(np.int64) * SPAN
    left = np.clip(1 - events.payments.total(since, at) / np.maximum(amount, 1), 0, 1)
    # money paid since the snapshot settles the oldest instalments first, a month of days past due each
    months = np.ceil((dpd - (day - spans["__first"].to_numpy(int)[row])) / MONTH)
    dpd = np.maximum(dpd - np.round(MONTH * (months - np.ceil(months * left - 1e-9))), 1)
    x: dict[str, Any] = {
        "dpd_band": np.searchsorted([15, 30, 45, 60, 75, 90, 120, 180], dpd, side="left"),
        "log_amount": np.log1p(amount * left / 100),
        "amount": amount * left / 100,
        "days_seen": np.minimum(day - spans["__first"].to_numpy(int)[row], 60),
        "weekday": day % 7,
        "forborne": spans["__forborne"].to_numpy(int)[row],
        "dose": np.minimum(events.contacts.count(at - 6, at), TOP),
        "contacts_30": np.minimum(events.contacts.count(at - 30, at), 20),
        "others_7": np.minimum(events.others.count(at - 7, at), 7),
        "others_30": np.minimum(events.others.count(at - 30, at), 20),
        "paid_7": (events.payments.count(at - 7, at) > 0).astype(int),
        "paid_37": (events.payments.count(at - 37, at - 7) > 0).astype(int),
        "paid_180": np.minimum(events.payments.count(at - 180, at - 37), 6),
    }
    for name, moments in events.outcomes.items():
        x[f"{name}_30"] = np.minimum(moments.count(at - 30, at), 3)
        if name in ("promise", "hardship"):
            x[f"{name}_10"] = (moments.count(at - 10, at) > 0).astype(int)
            x[f"{name}_60"] = (moments.count(at - 60, at) > 0).astype(int)
    if events.complaints is not None:
        x["complaints_90"] = np.minimum(events.complaints.count(at - 90, at), 3)
    have = [c for c in FIXED if c in book.columns("accounts")]
    if have:
        known = collect(book.table("accounts").select("account_id", *have))
        known = known.drop_duplicates("account_id").set_index("account_id").reindex(ids)
        for name in have:
            values = known[name]
            if pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values):
                x[name] = values.to_numpy(float)[account]
            else:
                x[name] = (
                    values.astype(object).where(values.notna(), "(missing)").astype(str).to_numpy()[account]
                )
    x["strategy"] = _strategy(book, ids, at)
    return pd.DataFrame(x)


def _strategy(book: Any, ids: pd.Index, at: np.ndarray) -> np.ndarray:
    """The strategy assigned before that day; of several on a day, the last by name."""
    if not book.has("assignments") or not {"strategy", "assigned_on"} <= set(book.columns("assignments")):
        return np.full(len(at), "(none)")
    given = book.table("assignments").select(
        "account_id", strategy=nw.col("strategy").cast(nw.String), day=day_number("assigned_on")
    )
    g = _of(collect(given), ids).sort_values(["code", "day", "strategy"], kind="stable")
    moment = g["code"].to_numpy(np.int64) * SPAN + g["day"].to_numpy(np.int64)
    names = np.append(g["strategy"].fillna("(none)").to_numpy(object), "(none)")
    place = np.searchsorted(moment, at) - 1
    same = (place >= 0) & (np.append(moment, 0)[place] // SPAN == at // SPAN)
    return np.where(same, names[place], "(none)").astype(str)
