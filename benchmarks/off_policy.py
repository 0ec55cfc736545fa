"""Whether a plan's value, read off the log of other treatment, is what running the plan brings.

    python benchmarks/off_policy.py --books 50 --processes 2 > benchmarks/off_policy.txt

Each book is 6,000 accounts of a simulated bank with nothing planted, known at the end of its 36th month; the log is taken
from the month its champion/challenger test begins (the 16th). The truth of a plan is the same bank's other accounts,
lived under the plan from the month after: the value of every episode that begins in the following twelve months,
12 months each. Its own Monte-Carlo error is printed and counted in none of the intervals. The refusals are asked
of the same logs with the months of one strategy taken out where the plan needs it. Not run in CI.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import time
import warnings
from collections.abc import Mapping
from datetime import date

import numpy as np
import pandas as pd

from collectlab.book.open import open_book
from collectlab.book.simulate import simulate
from collectlab.book.simulate_bank import Settings
from collectlab.book.simulate_plan import lived, warm_up
from collectlab.core.errors import FrameError
from collectlab.policy.plan.model import DecisionModel, decision_model
from collectlab.policy.plan.off_policy import off_policy
from collectlab.policy.plan.off_policy_plan import as_choice
from collectlab.policy.plan.rows import States, decision_rows

MONTHS, KNOWN, END = 60, date(2026, 10, 31), date(2028, 10, 31)
START, SINCE = date(2026, 11, 30), "2025-01-31"
HORIZON = 12
GRID = States((1, 30, 60, 90), amount=float("inf"), score=(600, 660), reached=False, secured=False, late=999)
PRICES = {"complaints": 320.0, "owed": 0.005}
DISCOUNT = 1.06 ** (-1 / 12)
ACTIONS = ("challenger", "champion", "intensive", "standard")
LAST = "2028-10-31"


def every_state() -> list[str]:
    """The names of all states of ``GRID``."""
    days, score = np.meshgrid([1, 30, 60, 90], [500, 630, 700], indexing="ij")
    frame = pd.DataFrame({"days_past_due": days.ravel(), "credit_score": score.ravel()})
    return list(GRID.key(frame))


def plans() -> dict[str, dict[str, dict[str, float]]]:
    """The plans that are valued."""
    random = np.random.default_rng(6)
    all_challenger, late, mixed = {}, {}, {}
    for state in every_state():
        high, early = state.endswith("660+"), state.startswith("1–29")
        all_challenger[state] = {"challenger": 1.0}
        late[state] = {"champion": 1.0} if early or high else {"intensive": 1.0}
        may = ["challenger", "champion", "standard" if high else "intensive"]
        mixed[state] = dict(zip(may, random.dirichlet([1.0] * 3)))
    return {
        "all under challenger": all_challenger,
        "intensive at 30+, score < 660": late,
        "random mix": mixed,
    }


def empty_model(states: list[str]) -> DecisionModel:
    """States and actions without numbers: what a plan needs to be lived by."""
    s, a = len(states), len(ACTIONS)
    return DecisionModel.of(
        move=np.zeros((s, a, s)),
        leave=np.ones((s, a, 1)),
        reward=np.zeros((s, a)),
        inflow=np.ones(s),
        states=states,
        actions=ACTIONS,
    )


def worth(months: pd.DataFrame, prices: Mapping[str, float] = PRICES) -> pd.Series:
    """Net money of each episode, discounted to its first month-end."""
    net = months["paid"] - months["cost"]
    for name, price in prices.items():
        net = net - price * (months["amount_past_due"] if name == "owed" else months[name])
    return (net * DISCOUNT ** months["month"]).groupby([months["account_id"], months["episode"]]).sum()


def truths(accounts: int, seed: int) -> dict[str, tuple[float, float, int]]:
    """Each plan's value, its Monte-Carlo error (accounts as clusters), and the episodes it rests on."""
    settings = Settings(
        seed=seed, accounts=accounts, months=MONTHS, end=END, problems=(), hidden_confounding=0.0
    )
    found: dict[str, list[pd.Series]] = {name: [] for name in plans()}
    model = empty_model(every_state())
    for first in range(0, accounts, 20_000):
        warm = warm_up(settings, START, range(first, first + 20_000))
        for name, plan in plans().items():
            rule = as_choice(model, plan, states=GRID)
            months = lived(warm, rule, months=HORIZON, monthly=True, every=True)
            found[name].append(worth(months[months["on"] <= LAST]))
        print(f"truth: {first + 20_000:,} accounts", file=sys.stderr)
    told = {}
    for name, parts in found.items():
        value = pd.concat(parts)
        sums = (value - value.mean()).groupby(level=0).sum()
        told[name] = (float(value.mean()), float(np.sqrt((sums**2).sum()) / len(value)), len(value))
    return told


def one_book(seed: int) -> list[dict]:
    """Every method's value of every plan, and whether the thinned logs are refused."""
    warnings.simplefilter("ignore")
    bank = simulate(6_000, months=MONTHS, seed=seed, end=END, problems=(), truth_accounts=0)
    rows = decision_rows(open_book(bank.book_tables).until(KNOWN), since=SINCE, states=GRID)
    model = decision_model(rows, prices=PRICES)
    told = []
    for name, plan in plans().items():
        plan = {state: what for state, what in plan.items() if state in model.states}
        found = off_policy(rows, plan, model=model, months=HORIZON)
        for row in found.table.to_dict("records"):
            told.append({"seed": seed, "plan": name, "log": "whole", "refused": bool(found.refused), **row})
        told[-1]["reasons"] = " / ".join(found.refused)
        told[-1]["episodes"] = found.episodes
    gone = {
        "no intensive at 60+": (rows["action"] == "intensive") & (rows["days_past_due"] >= 60),
        "no challenger at all": rows["action"] == "challenger",
        "one customer in six": ~rows["customer_id"].isin(sorted(rows["customer_id"].unique())[::6]),
    }
    asked = ["intensive at 30+, score < 660", "all under challenger", "all under challenger"]
    for (log, out), name in zip(gone.items(), asked):
        rest = rows[~out].reset_index(drop=True)
        rest.attrs.update(rows.attrs)
        try:
            fewer = decision_model(rest, prices=PRICES, draws=0)
            plan = {state: what for state, what in plans()[name].items() if state in fewer.states}
            refused = bool(off_policy(rest, plan, model=fewer, months=HORIZON).refused)
        except FrameError:
            refused = True
        told.append({"seed": seed, "plan": name, "log": log, "refused": refused})
    return told


def main() -> None:
    ask = argparse.ArgumentParser()
    ask.add_argument("--books", type=int, default=50)
    ask.add_argument("--processes", type=int, default=2)
    ask.add_argument("--truth-accounts", type=int, default=200_000)
    ask.add_argument("--seed", type=int, default=1)
    given = ask.parse_args()
    began, told = time.time(), []
    truth = truths(given.truth_accounts, seed=0)
    with multiprocessing.get_context("spawn").Pool(given.processes) as pool:
        seeds = range(given.seed, given.seed + given.books)
        for k, rows in enumerate(pool.imap(one_book, seeds), 1):
            told += rows
            print(f"{k} of {given.books}, {time.time() - began:.0f} s", file=sys.stderr)
    table = pd.DataFrame(told)
    print(
        f"off-policy values: {given.books} books of 6,000 accounts, seeds from {given.seed}; net money per episode over "
        f"{HORIZON} months; prices {PRICES}; 95 % intervals, customers as clusters; truth from {given.truth_accounts:,} "
        "other accounts"
    )
    print(
        "error: mean estimate − truth, ± its Monte-Carlo error; covers: share of intervals that hold the truth\n"
    )
    whole = table[table["log"] == "whole"]
    for name in plans():
        value, error, episodes = truth[name]
        mine = whole[whole["plan"] == name]
        books, told_off = mine["seed"].nunique(), mine.groupby("seed")["refused"].any()
        print(
            f"{name}\n  truth {value:+.1f} ± {error:.1f} ({episodes:,} episodes); refused {told_off.sum()} of {books}"
        )
        print(
            "  method                              books    mean   error   ± MC     SD  mean SE  covers  ± MC"
        )
        for method, rows in mine.groupby("method", sort=False):
            rows = rows[rows["estimate"].notna()]
            if not len(rows):
                print(f"  {method:<36}    0")
                continue
            n, estimate = len(rows), rows["estimate"]
            hit = ((rows["conf_low"] <= value) & (value <= rows["conf_high"])).mean()
            spread = estimate.std() if n > 1 else float("nan")
            print(
                f"  {method:<36} {n:>4} {estimate.mean():>+7.1f} {estimate.mean() - value:>+7.1f} {spread / n**0.5:>6.1f} "
                f"{spread:>6.1f} {rows['std_error'].mean():>8.1f} {100 * hit:>6.1f}% {100 * (hit * (1 - hit) / n) ** 0.5:>4.1f}%"
            )
        print()
    print("refused where support is missing")
    for (log, name), rows in table[table["log"] != "whole"].groupby(["log", "plan"], sort=False):
        print(f"  {log}: {name}: {rows['refused'].sum()} of {len(rows)}")


if __name__ == "__main__":
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    main()
