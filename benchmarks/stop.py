"""Whether the worth of going on, counted in a book whose accounts get sold and charged off, is that of a bank that never stops.

    python benchmarks/stop.py --books 20 --processes 2 > benchmarks/stop.txt

Each book is a simulated bank that sells and charges off as ever. The truth comes from a much larger bank of other
accounts in which nobody is ever sold or charged off: each account is followed from the month-end at which it first gets
90 days past due, and what it pays, discounted, is added up until it is cured or settled, or reaches the day. So the truth
rests on paths; the estimate, on a Markov chain over account-months that were not stopped yet. Worth is per 100 of
balance, of "collect until day x, then get nothing", with a cured account worth 90 % of its balance. Not run in CI.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import time
from datetime import date

import numpy as np
import pandas as pd

from collectlab.book.open import Book, open_book
from collectlab.book.simulate_bank import Luck, Settings, draw_accounts
from collectlab.book.simulate_days import Days
from collectlab.book.simulate_ledger import CHARGED_OFF, SOLD
from collectlab.book.simulate_tables import tables_of
from collectlab.core.engine import connection
from collectlab.core.errors import NotAvailable
from collectlab.policy.stop import Terms, stop_rows, stopping

END = date(2026, 10, 31)
MONTHS = 24
TERMS = Terms(
    prices={"unsecured": {90: 0.0}, "secured": {90: 0.0}},
    cured_value=0.9,
    discount=0.08,
    write_off_from=9_999,
)
UNTIL = (120, 150, 180, 270)


class Endless(Days):
    """A bank that neither sells nor charges off."""

    def _terminate(self, i, day: int, status: int) -> None:
        if status not in (CHARGED_OFF, SOLD):
            super()._terminate(i, day, status)


def book_of(seed: int, accounts: int, kind: type[Days] = Days) -> Book:
    connection().execute("SET enable_progress_bar = false")
    settings = Settings(
        seed=seed, accounts=accounts, months=MONTHS, end=END, problems=(), hidden_confounding=0.0
    )
    luck = Luck(seed)
    tables = tables_of(kind(settings, luck, draw_accounts(settings, luck, 0, accounts)).run(), 0)
    names = ("accounts", "snapshots", "payments")
    return open_book({name: tables[name] for name in names})


def truth(accounts: int) -> pd.DataFrame:
    """Worth per 100 by market and day, and its Monte-Carlo error, from paths that nobody stops."""
    rows = stop_rows(book_of(10_000_019, accounts, Endless))
    month = (
        pd.PeriodIndex(pd.to_datetime(rows["on"]), freq="M").year * 12 + pd.to_datetime(rows["on"]).dt.month
    )
    rows["month"] = np.asarray(month)
    d = (1 + TERMS.discount) ** (-1 / 12)
    found = []
    for market, part in rows.groupby("market"):
        paths = []
        for _, life in part.groupby("account_id", sort=False):
            dpd = life["days_past_due"].to_numpy()
            first = np.flatnonzero((dpd >= 90) & np.r_[False, dpd[:-1] < 90])
            # Followed long enough for the last day, whatever becomes of it.
            if len(first) and life["month"].iloc[first[0]] <= END.year * 12 + END.month - 14:
                paths.append(_path(life.iloc[first[0] :], d))
        worth, balance = (np.array([p[k] for p in paths], dtype=float) for k in (0, 1))
        for k, day in enumerate(UNTIL):
            share = worth[:, k].sum() / balance.sum()
            error = np.std(worth[:, k] - share * balance) * np.sqrt(len(paths)) / balance.sum()
            found.append((market, day, len(paths), 100 * share, 100 * error))
    return pd.DataFrame(found, columns=["market", "day", "accounts", "truth", "error"])


def _path(life: pd.DataFrame, d: float) -> tuple[list[float], float]:
    """Discounted money until it is stopped at each day, and the balance at the start."""
    out = []
    for day in UNTIL:
        total = 0.0
        for step, row in enumerate(life.itertuples()):
            if row.days_past_due >= day:
                break
            total += d ** (step + 0.5) * row.paid
            if row.next == "cured":
                total += d ** (step + 1) * TERMS.cured_value * row.next_balance
            if row.next != "open":
                break
        out.append(total)
    return out, float(life["balance"].iloc[0])


def one(task: tuple[int, int]) -> pd.DataFrame | None:
    seed, accounts = task
    try:
        found = stopping(stop_rows(book_of(seed, accounts)), TERMS, by="market")
    except NotAvailable:
        return None
    return found.policies.assign(seed=seed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--books", type=int, default=20)
    parser.add_argument("--accounts", type=int, default=5_000)
    parser.add_argument("--truth", type=int, default=60_000)
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    began = time.monotonic()
    tasks = [(seed, options.accounts) for seed in range(1, options.books + 1)]
    with multiprocessing.get_context("spawn").Pool(options.processes) as pool:
        asked = pool.apply_async(truth, (options.truth,))
        results = []
        for k, result in enumerate(pool.imap_unordered(one, tasks), 1):
            results.append(result)
            print(f"{k}/{len(tasks)} {time.monotonic() - began:.0f} s", file=sys.stderr)
        known = asked.get()
    there = [r for r in results if r is not None]
    table = pd.concat(there, ignore_index=True).sort_values(["market", "day", "seed"])
    print(
        f"when to stop: {len(there)} books of {options.accounts:,} accounts over {MONTHS} months, seeds from 1; truth of "
        f"{options.truth:,} other accounts that nobody sells or charges off; worth per 100 of balance at 90 days past due of\n"
        "collecting until day x and getting nothing then; 95 % intervals by a delete-a-group jackknife over customers\n"
    )
    print("market     until  books  truth  ± MC   mean  error  ± MC    SD  mean SE  covers  ± MC")
    for row in known.itertuples():
        mine = table[(table["market"] == row.market) & (table["day"] == row.day)]
        if mine.empty:
            print(
                f"{row.market:<10} {row.day:>5}      0  {row.truth:5.1f} {row.error:5.2f}  not tried in any book"
            )
            continue
        worth, n = 100 * mine["estimate"], len(mine)
        inside = ((100 * mine["conf_low"] <= row.truth) & (row.truth <= 100 * mine["conf_high"])).mean()
        print(
            f"{row.market:<10} {row.day:>5} {n:>6}  {row.truth:5.1f} {row.error:5.2f}  {worth.mean():5.1f}  "
            f"{worth.mean() - row.truth:+5.1f} {worth.std() / n**0.5:5.2f} {worth.std():5.1f}  {100 * mine['std_error'].mean():7.1f}  "
            f"{100 * inside:5.1f}% {100 * (inside * (1 - inside) / n) ** 0.5:4.1f}%"
        )


if __name__ == "__main__":
    main()
