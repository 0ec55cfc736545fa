"""Suing as a choice: what accounts brought after a case was filed, against the best plan without one.

An account sued in the month after ``on`` is followed for :data:`SUED` months from ``on``: what was paid, what collection
and the court cost (what a court recovers is among the payments), and, where it is still owed then, the worth of going
on by the best plan from there. Only cases filed that long before the book ends count, whatever came of them since, so
that quick decisions are not over-represented.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pandas as pd

from collectlab.core.jackknife import GROUPS, INTERVAL, interval, t_quantile
from collectlab.policy.stop_rows import COURT
from collectlab.policy.stop_terms import Terms
from collectlab.policy.stop_value import replicates, steps_of

#: Months for which a sued account is followed.
SUED = 6
#: Days past due from which cases are told of together, beside the first point.
AGES = (180, 360)


def sued_sums(rows: pd.DataFrame, edges: np.ndarray, terms: Terms) -> dict[str, np.ndarray]:
    """Sums by replicate group and step at filing: cases, their balance, what they brought, and where they stand after."""
    size = len(edges)
    flat = {k: np.zeros((GROUPS, size)) for k in ("sued", "sued_const", "cases", "court_cost", "court_back")}
    move = np.zeros((GROUPS, size, size))
    filed = rows[COURT[0]].to_numpy(float) > 0
    if not filed.any():
        return {**flat, "sued_move": move}
    on = pd.DatetimeIndex(pd.to_datetime(rows["on"]))
    month = np.asarray(on.year * 12 + on.month)
    ends = rows["next"].to_numpy(object)
    seen = rows["next"].notna().to_numpy()
    step = steps_of(rows["days_past_due"].to_numpy(float), edges)
    last = month[seen].max() + 1 if seen.any() else 0
    chosen = filed & ~rows["charged_off"].to_numpy(bool) & (step >= 0) & (month + SUED <= last)
    first = np.flatnonzero(chosen & (rows["balance"].to_numpy(float) > 0))
    account = pd.factorize(rows["account_id"])[0]
    money = {c: rows[c].to_numpy(float) for c in ("balance", "paid", "cost", "next_days", "next_balance")}
    d = (1 + terms.discount) ** (-1 / 12)
    worth, known = np.zeros(len(first)), np.ones(len(first), bool)
    open_, to, stands = known.copy(), np.zeros(len(first), int), np.zeros(len(first))
    for k in range(SUED):
        at = np.minimum(first + k, len(rows) - 1)
        # A month that is not there hides what became of the account.
        there = (account[at] == account[first]) & (month[at] == month[first] + k) & seen[at]
        known &= there | ~open_
        now = open_ & there
        flow = money["paid"][at] - money["cost"][at] - terms.upkeep
        left = np.maximum(money["balance"][at] - money["paid"][at], 0.0)
        gone = (ends[at] == "sold") | np.isnan(money["next_days"][at])
        after = np.where(gone, left, np.nan_to_num(money["next_balance"][at]))
        value = np.select(
            [ends[at] == "cured", ends[at] == "settled"],
            [terms.cured_value * after, terms.tax_rate * left],
            0.0,
        )
        worth[now] += (d ** (k + 0.5) * flow + d ** (k + 1) * value)[now]
        # As in the chain: charged off or sold, it was worked until then, and stands where it would have stood.
        stays = now & (
            (np.isin(ends[at], ("charged_off", "sold"))) | ((ends[at] == "open") & (k == SUED - 1))
        )
        days = np.where(
            gone, rows["days_past_due"].to_numpy(float)[at] + 30, np.nan_to_num(money["next_days"][at])
        )
        to[stays] = np.maximum(steps_of(days, edges), 0)[stays]
        stands[stays] = (d ** (k + 1) * after)[stays]
        open_ = now & (ends[at] == "open")
    where = replicates(rows)[first][known], step[first][known]
    values = {"sued": money["balance"][first], "sued_const": worth, "cases": np.ones(len(first))}
    values |= {c: rows[c].to_numpy(float)[first] for c in COURT[1:]}
    for name, value in values.items():
        np.add.at(flat[name], where, value[known])
    np.add.at(move, (*where, to[known]), stands[known])
    return {**flat, "sued_move": move}


def bands_of(edges: np.ndarray, start: int, cases: np.ndarray, smallest: int) -> list[tuple[int, int]]:
    """Ages (first step, step after the last) in which at least ``smallest`` cases were followed."""
    cuts = sorted({start, *(int(np.searchsorted(edges, a)) for a in AGES if a > edges[start]), len(edges)})
    return [(a, b) for a, b in pairwise(cuts) if cases[a:b].sum() >= smallest]


def sued_worth(sums: dict[str, np.ndarray], value: np.ndarray, bands: list[tuple[int, int]]) -> np.ndarray:
    """By age, per 1 of balance: sued; the same accounts by the best plan without (``value`` by step)."""
    out = []
    for a, b in bands:
        balance = sums["sued"][a:b].sum()
        with np.errstate(divide="ignore", invalid="ignore"):
            sued = (sums["sued_const"][a:b].sum() + (sums["sued_move"][a:b] @ value).sum()) / balance
            out += [sued, sums["sued"][a:b] @ value[a:b] / balance]
    return np.array(out, dtype=float)


def sued_table(
    found: np.ndarray, error: np.ndarray, sums: dict[str, np.ndarray], by_group: np.ndarray,
    bands: list[tuple[int, int]], edges: np.ndarray, reach: np.ndarray, level: float,
) -> pd.DataFrame:  # fmt: skip
    """One row per age. ``found`` and ``error`` hold sued, not sued and their difference; ``by_group`` the sued balances.

    The interval's degrees of freedom are those of the replicate groups that hold a case of that age.
    """
    rows = []
    for i, (a, b) in enumerate(bands):
        sued, without, more = found[3 * i : 3 * i + 3]
        groups = (by_group[:, a:b].sum(axis=1) > 0).sum()
        low, high = interval(more, error[3 * i + 2], t_quantile(level, np.array(groups - 1)))
        balance = sums["sued"][a:b].sum()
        until = "on" if b == len(edges) else f"to {edges[b] - 1:g}"
        rows.append(
            {
                "age": f"{edges[a]:g} days on" if until == "on" else f"{edges[a]:g} {until} days",
                "cases": int(sums["cases"][a:b].sum()),
                "court_cost": sums["court_cost"][a:b].sum() / balance,
                "court_back": sums["court_back"][a:b].sum() / balance,
                "worth_sued": sued, "worth_without": without,
                **dict(zip(INTERVAL, (more, error[3 * i + 2], low, high))),
                "gain": more * reach[a], "gain_low": low * reach[a], "gain_high": high * reach[a],
                "verdict": "brings more" if low > 0 else "brings less" if high < 0 else "cannot tell",
            }
        )  # fmt: skip
    return pd.DataFrame(rows)
