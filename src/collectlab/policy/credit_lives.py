"""What became of each new loan, by age, and the counts that :mod:`~collectlab.policy.credit` rests on."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from collectlab.core.columns import month_number, whole_money
from collectlab.core.engine import collect
from collectlab.core.jackknife import GROUPS
from collectlab.measures.snapshots import CENTS

#: Ends that are no cure.
LOST = ("charged_off", "sold", "settled")


def lives_of(loans: pd.DataFrame, rows: pd.DataFrame, last: int, over: int) -> dict[str, np.ndarray]:
    """What became of each loan, by age in whole months; ages that never come are a large number."""
    place = pd.Series(np.arange(len(loans)), index=loans["account_id"])
    i = rows["id"].map(place).to_numpy(int)
    born = loans["born"].to_numpy(int)
    age = rows["month"].to_numpy(int) - born[i]
    kept = age >= 0
    rows, i, age = rows[kept], i[kept], age[kept]
    span = last - int(born.min()) + 1
    never = span + 10_000
    status = rows["status"].to_numpy(object)
    dpd = rows["dpd"].fillna(0).to_numpy(int)
    is_open, gone = status == "open", np.isin(status, LOST)

    def first(which: np.ndarray) -> np.ndarray:
        out = np.full(len(loans), never)
        np.minimum.at(out, i[which], age[which])
        return out

    seen = np.full(len(loans), -1)
    np.maximum.at(seen, i, age)
    ended = first(gone | (status == "closed")) < never
    off = np.zeros((len(loans), span), dtype=bool)  # past due or lost at that age
    off[i, age] = (is_open & (dpd > 0)) | gone
    current = np.zeros_like(off)
    current[i, age] = (is_open & (dpd == 0)) | (status == "closed")
    cents = np.zeros((len(loans), span))
    cents[i, age] = rows["cents"].to_numpy(float)
    ages = np.where(off, np.arange(span), never)
    following = np.minimum.accumulate(ages[:, ::-1], axis=1)[:, ::-1]
    return {
        "end": np.where(ended, last - born, seen),
        "admin": last - born,
        "bad": first((is_open & (dpd >= over)) | gone),
        "lost": first(gone),
        "current": current,
        "off_next": following,
        "cents": cents,
        "never": np.array(never),
    }


def counts(
    loans: pd.DataFrame,
    lives: dict[str, np.ndarray],
    code: np.ndarray,
    band: np.ndarray,
    shape: tuple[int, int, int, int, int],
) -> list[np.ndarray]:
    """By replicate group and segment: reached bad (by band and age), and cured or lost since."""
    groups, bands, months, clean, horizon = shape
    rep, end, bad = loans["rep"].to_numpy(int), lives["end"], lives["bad"]
    at_risk, gone = (np.zeros((GROUPS, groups, bands, months + 1)) for _ in range(2))
    for a in range(months + 1):
        here = (end >= a) & (bad >= a)
        np.add.at(at_risk[..., a], (rep[here], code[here], band[here]), 1)
        now = here & (bad == a)
        np.add.at(gone[..., a], (rep[now], code[now], band[now]), 1)
    followed, cured, lost = (np.zeros((GROUPS, groups, horizon + 1)) for _ in range(3))
    span = lives["current"].shape[1]
    ages = np.arange(span)
    lasting = lives["current"] & (lives["off_next"] > ages + clean) & (ages <= (end - clean)[:, None])
    lasting &= ages >= bad[:, None]
    cure = np.where(lasting.any(axis=1), lasting.argmax(axis=1), lives["never"])
    was_bad = bad <= months
    until = np.minimum(np.minimum(cure, lives["lost"]), end - clean) - bad
    for h in range(horizon + 1):
        here = was_bad & (until >= h)
        np.add.at(followed[..., h], (rep[here], code[here]), 1)
        for store, when in ((cured, cure), (lost, lives["lost"])):
            now = here & (when - bad == h) & (when <= end - clean)
            np.add.at(store[..., h], (rep[now], code[now]), 1)
    return [at_risk, gone, followed, cured, lost]


def lost_money(
    book: Any, loans: pd.DataFrame, lives: dict[str, np.ndarray], code: np.ndarray, groups: int, loss_age: int
) -> np.ndarray:
    """By replicate group and segment: principal of loans old enough, and what of it is lost by then."""
    money, rep = np.zeros((GROUPS, groups, 2)), loans["rep"].to_numpy(int)
    if "principal" in loans:
        old = (lives["admin"] >= loss_age) & loans["principal"].notna().to_numpy()
        np.add.at(money[..., 0], (rep[old], code[old]), loans["principal"].to_numpy(float)[old])
        hit = old & (lives["lost"] <= loss_age)
        net = np.maximum(_balance_at_loss(lives) - _paid_after(book, loans, lives["lost"], loss_age, hit), 0)
        np.add.at(money[..., 1], (rep[hit], code[hit]), net[hit] / CENTS)
    return money


def _balance_at_loss(lives: dict[str, np.ndarray]) -> np.ndarray:
    """The balance when lost; a sold or settled account shows none any more, so the last one before counts."""
    size = lives["cents"].shape[1]
    at = np.minimum(lives["lost"], size - 1)
    i = np.arange(len(at))
    now, before = lives["cents"][i, at], lives["cents"][i, np.maximum(at - 1, 0)]
    return np.where(now > 0, now, before)


def _paid_after(
    book: Any, loans: pd.DataFrame, lost: np.ndarray, loss_age: int, hit: np.ndarray
) -> np.ndarray:
    """Cents paid in the months after the loss (for sold or settled ones in its month, too), up to the age."""
    out = np.zeros(len(loans))
    if not hit.any() or not book.has("payments"):
        return out
    ids = loans.loc[hit, "account_id"]
    place = pd.Series(np.flatnonzero(hit), index=ids)
    paid = collect(
        book.table("payments").select(
            "account_id", month=month_number("paid_on"), cents=whole_money("amount")
        )
    )
    paid = paid[paid["account_id"].isin(set(ids))].dropna()
    at = paid["account_id"].map(place).to_numpy(int)
    age = paid["month"].to_numpy(int) - loans["born"].to_numpy(int)[at]
    after = (age > lost[at]) & (age <= loss_age)
    np.add.at(out, at[after], paid["cents"].to_numpy(float)[after])
    return out


def reached(at_risk: np.ndarray, gone: np.ndarray) -> np.ndarray:
    """1 − Kaplan–Meier over the last axis."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return 1 - np.prod(np.where(at_risk > 0, 1 - gone / at_risk, 1.0), axis=-1)


def cured_share(followed: np.ndarray, cured: np.ndarray, lost: np.ndarray) -> np.ndarray:
    """Aalen–Johansen incidence of the cure, at the end of the last axis; 0 where nobody is followed."""
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.where(followed > 0, cured / followed, 0.0)
        out = np.where(followed > 0, (cured + lost) / followed, 0.0)
    left = np.cumprod(1 - out, axis=-1)
    before = np.concatenate([np.ones_like(left[..., :1]), left[..., :-1]], axis=-1)
    return (before * share).sum(axis=-1)
