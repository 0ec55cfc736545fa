"""One segment's point to stop: which policies can be told of, what each is worth, and which is surely better."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from collectlab.core.jackknife import INTERVAL, interval, jackknife, t_quantile
from collectlab.policy.stop_sue import bands_of, sued_sums, sued_table, sued_worth
from collectlab.policy.stop_terms import SECURED, UNTOLD, Terms
from collectlab.policy.stop_value import (
    GO_ON,
    SELL,
    WRITE_OFF,
    Chain,
    Layout,
    after_loss,
    price_list,
    steps_of,
    summed,
)

#: The verdict on secured debt: what its collateral would bring is not known, so neither is what going on is worth.
NO_COLLATERAL = "not told: collateral is not in the book"
#: Charge-offs that a segment needs to tell its own recoveries after them.
FEW_LOSSES = 30


def first_day(terms: Terms) -> float:
    """Days past due from which stopping is allowed in any way."""
    sale = terms.sale_from if any(terms.prices.values()) else np.inf
    return min(sale, terms.write_off_from)


@dataclass(frozen=True)
class Found:
    """One segment's sums, and which policies and steps it can tell of."""

    layout: Layout
    by_group: np.ndarray
    edges: np.ndarray
    known: np.ndarray
    start: int
    policies: list[tuple[int, str]]
    accounts: np.ndarray
    arriving: int
    prices: np.ndarray
    today_day: float
    reach: np.ndarray
    bands: list[tuple[int, int]]

    def chain(self, vector: np.ndarray, terms: Terms, share: float = 1.0) -> Chain:
        return Chain.of(self.layout.unpack(vector), terms, self.edges, self.known, share * self.prices)

    def tables(self, terms: Terms, conf_level: float, level: float) -> list[pd.DataFrame]:
        """The segment's row, its policies, its steps, and suing by age."""
        total = self.by_group.sum(axis=0)
        chain = self.chain(total, terms)
        worth = np.array([chain.value(p, how)[self.start] for p, how in self.policies])
        best = int(np.nanargmax(worth))
        last = int(np.flatnonzero(self.known)[-1])
        places = [t for t in range(self.start, last + 1) if self.known[t]]
        # From each step on, the best of the policies that do not stop there.
        ahead = {
            t: max(later, key=lambda i: chain.value(*self.policies[i])[t])
            for t in places
            if (later := [i for i, (p, how) in enumerate(self.policies) if p > t or how == GO_ON])
        }
        count = len(self.policies)

        def statistic(vector: np.ndarray) -> np.ndarray:
            own = self.chain(vector, terms)
            values = [own.value(p, how) for p, how in self.policies]
            at = np.array([v[self.start] for v in values])
            today = own.today()[self.start]
            on = [values[ahead[t]][t] if t in ahead else np.nan for t in places]
            sued = sued_worth(self.layout.unpack(vector), values[best], self.bands).reshape(-1, 2)
            sued = np.c_[sued, sued[:, 0] - sued[:, 1]].ravel()
            # Exact ties are ties, whatever the last digits say.
            apart = np.round(np.r_[at - today, at[best] - at], 12)
            return np.r_[at, today, apart, on, own.sell[places], own.write[places], sued]

        present = (self.by_group != 0).any(axis=1)
        narrow = jackknife(total, self.by_group, statistic, conf_level, present=present)
        wide = (*narrow[:2], *interval(*narrow[:2], t_quantile(level, np.array(present.sum() - 1))))
        cut = slice(0, count), slice(count + 1, 2 * count + 1), slice(2 * count + 1, 3 * count + 1)
        words = [self._words(p, how) for p, how in self.policies]
        policies = pd.DataFrame(
            {
                "policy": [*words, "today"],
                "day": [*(self.edges[p] if how != GO_ON else np.nan for p, how in self.policies), np.nan],
                "how": [*(how for _, how in self.policies), "as now"],
                **{k: v[: count + 1] for k, v in zip(INTERVAL, narrow)},
                **{k: np.r_[v[cut[1]], np.nan] for k, v in zip(("gain", "gain_error", "gain_low", "gain_high"), wide)},
                **{k: np.r_[v[cut[2]], np.nan] for k, v in zip(("behind", "behind_error", "behind_low", "behind_high"), wide)},
            }
        )  # fmt: skip
        low = wide[2][cut[1]]
        sure = int(np.nanargmax(low)) if np.nanmax(np.nan_to_num(low, nan=-np.inf)) > 0 else best
        gain = [v[cut[1]][sure] for v in wide]
        as_good = [p for p, least in zip(self.policies, wide[2][cut[2]]) if not least > 0]
        a_month = float(self.reach[self.start])
        row = pd.DataFrame(
            [
                {
                    "accounts": self.arriving, "best": words[best], "as_good": self._ranges([p for p in as_good if p != self.policies[best]]),
                    "today_day": self.today_day, "worth_today": narrow[0][count], "advised": words[sure],
                    "worth_advised": worth[sure], **dict(zip(INTERVAL, gain)), "balance_a_month": a_month,
                    "gain": gain[0] * a_month, "gain_low": gain[2] * a_month, "gain_high": gain[3] * a_month,
                    "price_floor": self._floor(sure, terms), "verdict": self._verdict(sure, gain[2]), "grade": self.grade,
                }
            ]
        )  # fmt: skip
        k = len(places)
        blocks = [
            pd.DataFrame(
                {
                    "day": self.edges[places].astype(int), "accounts": self.accounts[places], "option": option,
                    **{c: v[3 * count + 1 + i * k : 3 * count + 1 + (i + 1) * k] for c, v in zip(INTERVAL, narrow)},
                }
            )
            for i, option in enumerate(("go on", SELL, WRITE_OFF))
        ]  # fmt: skip
        steps = pd.concat(blocks).dropna(subset=["estimate"]).sort_values("day", kind="stable")
        held, cut_sued = self.layout.unpack(total), slice(3 * count + 1 + 3 * k, None)
        sued = sued_table(
            narrow[0][cut_sued], narrow[1][cut_sued], held,
            np.array([self.layout.unpack(v)["sued"] for v in self.by_group]), self.bands, self.edges, self.reach, level,
        )  # fmt: skip
        if self.secured and len(sued):
            sued["verdict"] = NO_COLLATERAL
        return [row, policies, steps.reset_index(drop=True), sued]

    def _holds(self, market: str) -> bool:
        mix = self.layout.unpack(self.by_group.sum(axis=0))["mix"]
        return market in self.layout.markets and bool(
            mix[self.start :, self.layout.markets.index(market)].sum() > 0
        )

    @property
    def secured(self) -> bool:
        """Whether any of the debt compared is secured."""
        return self._holds(SECURED)

    @property
    def grade(self) -> str:
        """A model; nothing where the debt is secured, or where the book does not say whether it is."""
        return "not identifiable" if self.secured or self._holds(UNTOLD) else "model"

    def _words(self, place: int, how: str) -> str:
        return GO_ON if how == GO_ON else f"{how} at {self.edges[place]:g} days"

    def _ranges(self, policies: list[tuple[int, str]]) -> str:
        """Points in words: ``sell at 90 to 180 days, write off at 180 days``."""
        said = []
        for how in (SELL, WRITE_OFF):
            places = np.array(sorted(p for p, h in policies if h == how), dtype=int)
            for run in np.split(places, np.flatnonzero(np.diff(places) > 1) + 1):
                if len(run):
                    days = [f"{self.edges[p]:g}" for p in dict.fromkeys((run[0], run[-1]))]
                    said.append(f"{how} at {' to '.join(days)} days")
        said += [GO_ON] * any(h == GO_ON for _, h in policies)
        return ", ".join(said) or "none"

    def _floor(self, policy: int, terms: Terms) -> float:
        """Share of the stated prices at which the gain is nothing: it is a straight line in the prices."""
        place, how = self.policies[policy]
        if how != SELL:
            return np.nan
        gains = []
        for share in (0.0, 1.0):
            chain = self.chain(self.by_group.sum(axis=0), terms, share)
            gains.append((chain.value(place, how) - chain.today())[self.start])
        none, full = gains
        return max(-none / (full - none), 0.0) if full > none else np.nan

    def _verdict(self, best: int, low: float) -> str:
        place, how = self.policies[best]
        if self.secured:
            return NO_COLLATERAL
        if not low > 0:
            return "cannot tell"
        day = np.inf if how == GO_ON else self.edges[place]
        if np.isnan(self.today_day):
            return "stop: today nothing is stopped"
        later, earlier = (
            self.edges[min(place + 1, len(self.edges) - 1)] <= self.today_day,
            day > self.today_day,
        )
        return "stop earlier" if later else "stop later" if earlier else f"{how} instead"


def segment(
    rows: pd.DataFrame, terms: Terms, edges: np.ndarray, smallest: int, pooled: dict[str, np.ndarray]
) -> Found | None:
    """One segment; None where too few accounts get to the first point."""
    markets = tuple(sorted(rows["market"].astype(str).unique()))
    own = after_loss(rows)
    losses = rows.loc[rows["charged_off"].to_numpy(bool), "account_id"].nunique()
    sums = (
        summed(rows, edges, markets)
        | (own if losses >= FEW_LOSSES else pooled)
        | sued_sums(rows, edges, terms)
    )
    worked = rows[~rows["charged_off"].to_numpy(bool) & rows["next"].notna().to_numpy()]
    step = steps_of(worked["days_past_due"].to_numpy(float), edges)
    accounts = np.array([worked.loc[step == t, "account_id"].nunique() for t in range(len(edges))])
    total = {k: v.sum(axis=0) for k, v in sums.items()}
    known = (accounts >= smallest) & (total["balance"] > 0)
    # A last step that nothing ever leaves, and in which nothing is paid, would go on for ever.
    leaves = total["paid"][-1] + total["cured"][-1] + total["forgiven"][-1] + total["balance"][-1]
    known[-1] &= leaves - total["move"][-1, -1] > 1e-9 * max(leaves, 1.0)
    start = int(np.searchsorted(edges, first_day(terms)))
    if start >= len(edges) or not (accounts[start] >= smallest and total["balance"][start] > 0):
        return None
    gaps = np.flatnonzero(~known[start:])
    beyond = start + int(gaps[0]) if len(gaps) else len(edges)
    known[beyond:] = False
    layout = Layout(len(edges), markets)
    prices = price_list(terms, edges, markets)
    chain = Chain.of(total, terms, edges, known, prices)
    policies = [
        (t, how)
        for t in range(start, min(beyond, len(edges) - 1) + 1)
        for how in (SELL, WRITE_OFF)
        if np.isfinite(chain.stop(how)[t])
    ]
    if beyond == len(edges):
        policies.append((len(edges), GO_ON))
    if not policies:
        return None
    decided = worked[worked["next"].isin(("charged_off", "sold"))]
    on = decided["next_days"].where(decided["next"] == "charged_off", decided["days_past_due"] + 30)
    weight = decided["balance"].to_numpy(float)
    # The balance that gets to each step in a month.
    was, now = worked["days_past_due"].to_numpy(float), worked["next_days"].fillna(0).to_numpy(float)
    owed, months = worked["next_balance"].fillna(0).to_numpy(float), max(worked["on"].nunique(), 1)
    reach = np.array([owed[(was < edge) & (now >= edge)].sum() / months for edge in edges])
    return Found(
        layout=layout,
        by_group=layout.pack(sums),
        edges=edges,
        known=known,
        start=start,
        policies=policies,
        accounts=accounts,
        arriving=int(accounts[start]),
        prices=prices,
        today_day=float(np.average(on, weights=weight)) if weight.sum() > 0 else np.nan,
        reach=reach,
        bands=bands_of(edges, start, total["cases"], smallest),
    )
