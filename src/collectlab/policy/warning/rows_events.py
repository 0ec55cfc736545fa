"""What payments, collection actions and arrangements tell of an account up to a date, and nothing after it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import narwhals as nw
import numpy as np

from collectlab.core.columns import day_number, whole_money
from collectlab.core.engine import collect
from collectlab.measures.snapshots import CENTS

if TYPE_CHECKING:
    from collectlab.policy.warning.rows import Base

#: A promise counts as kept where so much of it came by so many days after the day promised.
KEPT_SHARE, GRACE = 0.9, 3
#: More than the days that any date of the contract can count.
_DAYS = 200_000


class _Log:
    """Events by account and day, for sums over the days up to a date."""

    def __init__(
        self, code: np.ndarray, day: np.ndarray, base: Base, row: np.ndarray, value: np.ndarray | None = None
    ):
        known = code >= 0
        key = code[known] * _DAYS + day[known]
        order = np.argsort(key, kind="stable")
        self.key = key[order]
        value = np.ones(len(key)) if value is None else value[known]
        self.total = np.concatenate([[0.0], np.cumsum(value[order])])
        self.code, self.day = base.code[row], base.day[row]

    def within(self, days: int) -> np.ndarray:
        """The sum over the ``days`` days that end with the row's date."""
        last = np.searchsorted(self.key, self.code * _DAYS + self.day, side="right")
        first = np.searchsorted(self.key, self.code * _DAYS + self.day - days, side="right")
        return self.total[last] - self.total[first]

    def ago(self, most: int) -> np.ndarray:
        """Days since the last one, missing where there was none in ``most`` days."""
        last = np.searchsorted(self.key, self.code * _DAYS + self.day, side="right") - 1
        since = self.code * _DAYS + self.day - (self.key[last] if len(self.key) else -_DAYS)
        return np.where((last >= 0) & (since <= most), since, np.nan)


def events_of(book: Any, base: Base, row: np.ndarray) -> dict[str, np.ndarray]:
    out: dict[str, np.ndarray] = {}
    paid = None
    if book.has("payments"):
        held = collect(
            book.table("payments").select(
                "account_id", day=day_number("paid_on"), cents=whole_money("amount", CENTS)
            )
        ).dropna()
        paid = (
            base.ids.get_indexer(held["account_id"]),
            held["day"].to_numpy(np.int64),
            held["cents"].to_numpy(float),
        )
        log = _Log(paid[0], paid[1], base, row, paid[2])
        out["days_since_payment"] = log.ago(180)
        out["paid_31"] = log.within(31) / CENTS
    if book.has("actions"):
        out |= _from_actions(book, base, row, paid)
    if book.has("arrangements"):
        plans = collect(
            book.table("arrangements").select(
                "account_id",
                begin=day_number("started_on"),
                end=day_number("ended_on")
                if "ended_on" in book.columns("arrangements")
                else nw.lit(None, nw.Int64),
            )
        )
        code = base.ids.get_indexer(plans["account_id"])
        ended = plans["end"].notna().to_numpy()
        started = _Log(code, plans["begin"].to_numpy(np.int64), base, row).within(_DAYS // 2)
        over = _Log(code[ended], plans.loc[ended, "end"].to_numpy(np.int64), base, row).within(_DAYS // 2)
        out["plan_active"] = (started > over).astype(float)
    return out


def _from_actions(book: Any, base: Base, row: np.ndarray, paid: Any) -> dict[str, np.ndarray]:
    have = book.columns("actions")
    wanted = [c for c in ("party", "connected", "outcome", "promised_amount") if c in have]
    dates = {"due": day_number("promised_on")} if "promised_on" in have else {}
    held = collect(book.table("actions").select("account_id", *wanted, day=day_number("at"), **dates))
    held = held[held["day"].notna()]
    code, day = base.ids.get_indexer(held["account_id"]), held["day"].to_numpy(np.int64)
    out = {"actions_31": _Log(code, day, base, row).within(31)}
    if "connected" in held:
        met = held["connected"].astype("boolean").fillna(False).to_numpy(bool)
        if "party" in held:
            met &= (held["party"].fillna("debtor") == "debtor").to_numpy(bool)
        out["contacts_92"] = _Log(code[met], day[met], base, row).within(92)
    if "outcome" in held:
        hard = (held["outcome"] == "hardship").to_numpy(bool)
        out["hardship_184"] = _Log(code[hard], day[hard], base, row).within(184)
    if {"due", "promised_amount"} <= set(held.columns) and paid is not None:
        given = (held["due"].notna() & held["promised_amount"].notna()).to_numpy(bool) & (code >= 0)
        due = held.loc[given, "due"].to_numpy(np.int64) + GRACE
        who, made = code[given], day[given]
        order = np.argsort(paid[0] * _DAYS + paid[1], kind="stable")
        key = (paid[0] * _DAYS + paid[1])[order]
        total = np.concatenate([[0.0], np.cumsum(paid[2][order])])
        came = total[np.searchsorted(key, who * _DAYS + due, side="right")]
        came = came - total[np.searchsorted(key, who * _DAYS + made, side="left")]
        broken = came < KEPT_SHARE * CENTS * held.loc[given, "promised_amount"].to_numpy(float)
        out["broken_184"] = _Log(who[broken], due[broken], base, row).within(184)
    return out
