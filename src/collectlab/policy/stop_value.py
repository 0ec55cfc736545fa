"""The worth of going on and of stopping, from summed account-months: a Markov chain over days past due, in balance.

State t is a step of days past due. Per unit of balance in t, going on for a month brings

    C(t) = d^½ · (paid − cost − upkeep)(t) + d · [v · cured(t) + τ · forgiven(t) + Σ_u move(t, u) · V(u)]

with d the monthly discount factor, v the worth of a cured account, τ the tax saved per unit of loss, and move(t, u) the
balance that stands in u a month later. An account charged off or sold at the month's end was worked until then, so it
counts as moved: what the bank then decided is today's practice, not the account's course. Stopping in t brings a sale
or a write-off of what is left. A policy "stop from day x" is a V that solves these equations exactly.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from collectlab.core.jackknife import GROUPS, replicate_of
from collectlab.policy.stop_terms import Terms

#: Months after a write-off over which recoveries count.
AFTER = 24
SELL, WRITE_OFF = "sell", "write off"
GO_ON = "go on throughout"


@dataclass(frozen=True)
class Layout:
    """What the vector of a replicate group holds: the sums by step (and market), each with its shape."""

    steps: int
    markets: tuple[str, ...]

    def shapes(self) -> dict[str, tuple[int, ...]]:
        t = self.steps
        flat = [
            "n",
            "balance",
            "paid",
            "cost",
            "cured",
            "forgiven",
            "sued",
            "sued_const",
            "cases",
            "court_cost",
            "court_back",
        ]
        shapes: dict[str, tuple[int, ...]] = {k: (t,) for k in flat}
        shapes |= {k: (t, t) for k in ("move", "off", "sold", "sued_move")}
        return shapes | {"mix": (t, len(self.markets)), "after": (AFTER,), "base": (AFTER,)}

    def unpack(self, vector: np.ndarray) -> dict[str, np.ndarray]:
        """The sums by name."""
        out, start = {}, 0
        for name, shape in self.shapes().items():
            size = int(np.prod(shape))
            out[name] = vector[start : start + size].reshape(shape)
            start += size
        return out

    def pack(self, sums: dict[str, np.ndarray]) -> np.ndarray:
        """The inverse, for sums by replicate group (first axis)."""
        return np.concatenate([sums[k].reshape(GROUPS, -1) for k in self.shapes()], axis=1)


def steps_of(days: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """The step of days past due each row stands in; −1 below the first."""
    return np.searchsorted(edges, days, side="right") - 1


def replicates(rows: pd.DataFrame) -> np.ndarray:
    """Replicate group of each row's customer."""
    codes, keys = pd.factorize(rows["customer_id"].astype(str))
    return np.array([replicate_of(k) for k in keys], dtype=int)[codes] if len(keys) else codes


def summed(rows: pd.DataFrame, edges: np.ndarray, markets: tuple[str, ...]) -> dict[str, np.ndarray]:
    """Sums by replicate group and step of the rows seen again a month later; the balance also by market."""
    size = len(edges)
    rows = rows[rows["next"].notna().to_numpy() & ~rows["charged_off"].to_numpy(bool)]
    rep, step = replicates(rows), steps_of(rows["days_past_due"].to_numpy(float), edges)
    balance, paid = rows["balance"].to_numpy(float), rows["paid"].to_numpy(float)
    ends, left = rows["next"].to_numpy(object), np.maximum(balance - paid, 0.0)
    # A sold account's counter and balance are gone: it would have stood a month further, with what was not paid.
    gone = (ends == "sold") | rows["next_days"].isna().to_numpy()
    later = np.where(gone, rows["days_past_due"].to_numpy(float) + 30, rows["next_days"].to_numpy(float))
    stands = np.where(gone, left, rows["next_balance"].fillna(0).to_numpy(float))
    to = np.maximum(steps_of(later, edges), 0)

    def flat(values: np.ndarray, which: np.ndarray | None = None) -> np.ndarray:
        out = np.zeros((GROUPS, size))
        kept = (step >= 0) if which is None else which & (step >= 0)
        np.add.at(out, (rep[kept], step[kept]), np.broadcast_to(values, balance.shape)[kept])
        return out

    def square(which: np.ndarray) -> np.ndarray:
        out = np.zeros((GROUPS, size, size))
        kept = which & (step >= 0)
        np.add.at(out, (rep[kept], step[kept], to[kept]), stands[kept])
        return out

    mix = np.stack([flat(balance, (rows["market"] == m).to_numpy()) for m in markets], axis=2)
    return {
        "n": flat(np.ones(1)),
        "balance": flat(balance),
        "paid": flat(paid),
        "cost": flat(rows["cost"].to_numpy(float)),
        "mix": mix,
        "cured": flat(stands, ends == "cured"),
        "forgiven": flat(left, ends == "settled"),
        "move": square(np.isin(ends, ("open", "charged_off", "sold"))),
        "off": square(ends == "charged_off"),
        "sold": square(ends == "sold"),
    }


def after_loss(rows: pd.DataFrame) -> dict[str, np.ndarray]:
    """What was paid after a charge-off, by replicate group and month since, and the balance followed that long."""
    out = {"after": np.zeros((GROUPS, AFTER)), "base": np.zeros((GROUPS, AFTER))}
    off = rows[rows["charged_off"].to_numpy(bool)].sort_values(["account_id", "on"], kind="stable")
    if off.empty:
        return out
    owed = off.groupby("account_id")["balance"].transform("first").to_numpy(float)
    month = off.groupby("account_id").cumcount().to_numpy(int)
    kept = off["next"].notna().to_numpy() & (month < AFTER)
    rep = replicates(off)
    np.add.at(out["after"], (rep[kept], month[kept]), off["paid"].to_numpy(float)[kept])
    np.add.at(out["base"], (rep[kept], month[kept]), owed[kept])
    return out


def price_list(terms: Terms, edges: np.ndarray, markets: tuple[str, ...]) -> np.ndarray:
    """Price per 1 of balance by step × market; missing where a market is not for sale (yet)."""
    return np.stack([terms.price(np.full(len(edges), m, dtype=object), edges) for m in markets], axis=1)


def _carried(balance: np.ndarray) -> np.ndarray:
    """For each step the last one up to it that holds a balance (the first that does, before it)."""
    held = np.flatnonzero(balance > 0)
    if not len(held):
        return np.zeros(len(balance), dtype=int)
    return held[np.maximum(np.searchsorted(held, np.arange(len(balance)), side="right") - 1, 0)]


@dataclass(frozen=True)
class Chain:
    """The equations of one segment, per unit of balance; ``known``: steps that can be worked in."""

    const: np.ndarray
    move: np.ndarray
    off: np.ndarray
    sold: np.ndarray
    sell: np.ndarray
    write: np.ndarray
    known: np.ndarray

    @classmethod
    def of(
        cls,
        sums: dict[str, np.ndarray],
        terms: Terms,
        edges: np.ndarray,
        known: np.ndarray,
        price: np.ndarray,
    ) -> Chain:
        """The chain of summed account-months; ``price`` by step × market. Steps without any rows are mixed as before."""
        d = (1 + terms.discount) ** (-1 / 12)
        balance, n = sums["balance"], sums["n"]
        with np.errstate(divide="ignore", invalid="ignore"):
            per = np.where(balance > 0, 1 / balance, 0.0)
            heads = n * per
            flow = (sums["paid"] - sums["cost"]) * per - terms.upkeep * heads
            ends = (terms.cured_value * sums["cured"] + terms.tax_rate * sums["forgiven"]) * per
            filled = _carried(balance)
            heads, mix = heads[filled], sums["mix"][filled] * per[filled, None]
            cash = np.where(mix > 0, mix * price, 0.0).sum(axis=1) - terms.sale_cost * heads
            back = np.where(sums["base"] > 0, sums["after"] / sums["base"], 0.0)
        recovered = float(back @ d ** (np.arange(AFTER) + 0.5))
        if not (sums["base"] > 0).any():
            recovered = terms.after_write_off or 0.0
        tax = terms.tax_rate
        wrote = recovered - terms.write_off_cost * heads
        return cls(
            const=np.sqrt(d) * flow + d * ends,
            move=d * sums["move"] * per[:, None],
            off=d * sums["off"] * per[:, None],
            sold=d * sums["sold"] * per[:, None],
            sell=cash + tax * (1 - cash),  # missing where one of the markets is not for sale (yet)
            write=np.where(edges >= terms.write_off_from, wrote + tax * (1 - wrote), np.nan),
            known=known,
        )

    def stop(self, how: str) -> np.ndarray:
        """Worth of stopping in each step; missing where that is not allowed."""
        return self.sell if how == SELL else self.write

    def best_stop(self) -> np.ndarray:
        """Worth of the better of the two; 0 where neither is allowed (what stands there is lost)."""
        return np.nan_to_num(np.fmax(self.sell, self.write))

    def value(self, place: int, how: str) -> np.ndarray:
        """V(t) of going on below step ``place`` and stopping from it on; ``GO_ON`` never stops."""
        stops = np.arange(len(self.const)) >= place if how != GO_ON else np.zeros(len(self.const), bool)
        stops = stops | ~self.known
        worth = np.where(np.isfinite(self.stop(how)), self.stop(how), self.best_stop())
        return self._solve(self.move, self.const, stops, worth)

    def today(self) -> np.ndarray:
        """V(t) under today's practice: the same chain, stopped as the bank stopped."""
        left = np.maximum(self.move - self.off - self.sold, 0.0)
        stop = self.best_stop()
        sell = np.where(np.isfinite(self.sell), self.sell, stop)
        write = np.where(np.isfinite(self.write), self.write, self._early_write())
        const = self.const + self.off @ write + self.sold @ sell
        return self._solve(left, const, ~self.known, stop)

    def _early_write(self) -> np.ndarray:
        """A charge-off earlier than the terms allow is worth what the earliest allowed one is."""
        there = np.flatnonzero(np.isfinite(self.write))
        return np.full(len(self.write), self.write[there[0]] if len(there) else 0.0)

    @staticmethod
    def _solve(move: np.ndarray, const: np.ndarray, stops: np.ndarray, worth: np.ndarray) -> np.ndarray:
        system = np.eye(len(const)) - np.where(stops[:, None], 0.0, move)
        return np.linalg.solve(system, np.where(stops, worth, const))
