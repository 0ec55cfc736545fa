"""Whether a plan brings what it was predicted to bring, and more than the strategy in force and a greedy rule.

    python benchmarks/plan_value.py --books 50 --processes 2 > benchmarks/plan_value.txt

Each book is 6,000 accounts of a simulated bank with nothing planted, known at the end of its 24th month; its plan is made
as the report makes it (params/capacity.yml and costs.yml, capacity at least today's use). The plan is then run in
the simulator, from the month after, on other accounts of the same bank (the same ones for every book): what comes, per
episode, of all episodes that begin in the following six months, 12 months each, discounted as the model
discounts. The simulated value has a Monte-Carlo error, printed; differences between plans have less, since the
accounts meet the same luck under each. ``--no-loss`` leaves what is charged off out of the value, ``--fine`` tells days past
due apart up to a year. Interrupted, it prints what it has. Not run in CI.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import time
import warnings
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd

from collectlab.book.open import open_book
from collectlab.book.simulate import simulate
from collectlab.book.simulate_bank import Settings
from collectlab.book.simulate_plan import Warm, lived, warm_up
from collectlab.policy.plan import States, allocate, decision_model, decision_rows, greedy, value
from collectlab.policy.plan.limits import load_limits
from collectlab.policy.plan.off_policy_plan import as_choice

MONTHS, KNOWN, END, START = 42, date(2026, 10, 31), date(2028, 4, 30), date(2026, 11, 30)
HORIZON = 12
PARAMS = Path(__file__).parents[1] / "params"
FINE = States(days_past_due=(1, 30, 60, 90, 180, 270, 360), score=(600, 660), reached=False)
MEASURES = ("paid", "cost", "complaints", "calls", "visits", "legal", "owed", "lost")
USES = {
    "agent_hours": ("calls", 0.1),
    "visits": ("visits", 1.0),
    "legal": ("legal", 1.0),
    "budget": ("cost", 1.0),
}

_WARM: dict[str, object] = {}


def setup(accounts: int, seed: int, prices: dict[str, float], rate: float) -> None:
    """The other accounts, brought up to the plan's start once in each process, and what the bank does as it is."""
    settings = Settings(
        seed=seed, accounts=accounts, months=MONTHS, end=END, problems=(), hidden_confounding=0.0
    )
    _WARM["bank"] = warm_up(settings, START, accounts)
    _WARM["prices"], _WARM["rate"] = prices, rate
    _WARM["as it is"] = simulated(None)


def simulated(choose) -> pd.DataFrame:
    """Each episode's discounted sums under a plan; index: account and episode."""
    bank, prices = _WARM["bank"], _WARM["prices"]
    assert isinstance(bank, Warm) and isinstance(prices, dict)
    months = lived(bank, choose, months=HORIZON, monthly=True, every=True)
    months["owed"] = months["amount_past_due"]
    factor = (1 + float(_WARM["rate"])) ** (-months["month"] / 12)  # type: ignore[arg-type]
    sums = months[list(MEASURES)].mul(factor, axis=0)
    sums = sums.groupby([months["account_id"], months["episode"]]).sum()
    sums["net"] = sums["paid"] - sums["cost"] - sum((p * sums[k] for k, p in prices.items()), 0.0)
    return sums


def clustered(frame: pd.DataFrame) -> float:
    gap = (frame["net"] - frame["net"].mean()).groupby(level=0).sum()
    return float(np.sqrt((gap**2).sum()) / len(frame))


def one_book(task: tuple[int, bool]) -> list[dict]:
    warnings.simplefilter("ignore")
    seed, fine = task
    limits = load_limits(PARAMS, KNOWN)
    bank = simulate(6_000, months=MONTHS, seed=seed, end=END, problems=(), truth_accounts=0)
    book = open_book(bank.book_tables).until(KNOWN)
    given = {"states": FINE} if fine else {}
    rows = decision_rows(book, unit_costs=limits.unit_costs, **given)
    model = decision_model(
        rows, capacity_params=limits.minutes, prices=_WARM["prices"], annual_rate=limits.annual_rate
    )
    capacity, _ = limits.at_least_today(model)
    plan = allocate(model, capacity, forbidden=limits.forbidden(model) & ~(model.in_force > 0))
    force = value(model, model.in_force, months=HORIZON, per="account")
    as_is = _WARM["as it is"]
    assert isinstance(as_is, pd.DataFrame)
    entering = float(model.inflow.sum())
    told = []
    shares = {
        "strategy in force": model.in_force,
        "greedy": greedy(model, capacity),
        "best, as estimated": plan.best,
        "plan put forward": plan.share,
    }
    for name, share in shares.items():
        said = value(model, share, months=HORIZON, per="account")
        net = said.table.set_index("measure").loc["net"]
        true = as_is if name == "strategy in force" else simulated(as_choice(model, share))
        row = {
            "seed": seed,
            "plan": name,
            "changed": bool(np.abs(share - model.in_force).max() > 0.02),
            "net": said.net,
            "low": net["conf_low"],
            "high": net["conf_high"],
            "true": true["net"].mean(),
            "error": clustered(true),
            "gain": said.net - force.net,
            "gain_error": float(np.std(said.draws["net"] - force.draws["net"], ddof=1)),
            "true_gain": true["net"].mean() - as_is["net"].mean(),
            "optimism": plan.gain["optimism"] / entering if name == "plan put forward" else 0.0,
        }
        for measure in MEASURES:
            row[f"said {measure}"], row[f"true {measure}"] = said.amounts[measure], true[measure].mean()
        for use, limit in capacity.items():
            measure, unit = USES[use]
            row[f"used {use}"] = true[measure].mean() * unit * entering / limit
        told.append(row)
    return told


def tell(told: list[dict], title: str) -> None:
    """The printed table."""
    table = pd.DataFrame(told)
    print(title + "\n")
    print(
        "money per episode over 12 months; said: predicted, ± MC over the books; covers: the 95 % interval holds the"
    )
    print(
        "simulated value; gain: against the strategy in force, predicted (with the plan's own correction) and simulated\n"
    )
    print(
        f"  {'':<20} books changed    said   ± MC  simulated ± MC  covers    gain   ± MC  simulated  ± MC  gain covers"
    )
    for name, rows in table.groupby("plan", sort=False):
        n = len(rows)
        hit = ((rows["low"] <= rows["true"]) & (rows["true"] <= rows["high"])).mean()
        gain = rows["gain"] - rows["optimism"]
        near = (gain - rows["true_gain"]).abs() <= 1.96 * rows["gain_error"] + 1e-9
        root = max(n, 1) ** 0.5
        print(
            f"  {name:<20} {n:>5} {rows['changed'].sum():>7} {rows['net'].mean():>+8.0f} {rows['net'].std() / root:>5.0f} "
            f"{rows['true'].mean():>+10.0f} {rows['error'].mean():>4.0f} {100 * hit:>6.0f}% {gain.mean():>+8.0f} "
            f"{gain.std() / root:>5.0f} {rows['true_gain'].mean():>+10.0f} {rows['true_gain'].std() / root:>5.0f} {100 * near.mean():>7.0f}%"
        )
    print("\n  predicted ÷ simulated, mean over the books")
    print(f"  {'':<20} " + " ".join(f"{k:>10}" for k in MEASURES))
    for name, rows in table.groupby("plan", sort=False):
        ratio = [rows[f"said {k}"].mean() / max(rows[f"true {k}"].mean(), 1e-9) for k in MEASURES]
        print(f"  {name:<20} " + " ".join(f"{x:>10.2f}" for x in ratio))
    print("\n  used in the simulator ÷ allowed, mean (largest)")
    uses = [name for name in table if name.startswith("used ")]
    print(f"  {'':<20} " + " ".join(f"{k.removeprefix('used '):>14}" for k in uses))
    for name, rows in table.groupby("plan", sort=False):
        print(f"  {name:<20} " + " ".join(f"{rows[k].mean():>7.2f} ({rows[k].max():.2f})" for k in uses))


def main() -> None:
    ask = argparse.ArgumentParser()
    ask.add_argument("--books", type=int, default=50)
    ask.add_argument("--processes", type=int, default=2)
    ask.add_argument("--others", type=int, default=60_000)
    ask.add_argument("--seed", type=int, default=1)
    ask.add_argument("--no-loss", action="store_true")
    ask.add_argument("--fine", action="store_true")
    given = ask.parse_args()
    limits = load_limits(PARAMS, KNOWN)
    prices = {k: v for k, v in limits.prices.items() if not (given.no_loss and k == "lost")}
    began, told = time.time(), []
    pool = multiprocessing.get_context("spawn").Pool(
        given.processes, setup, (given.others, 0, prices, limits.annual_rate)
    )
    tasks = [(seed, given.fine) for seed in range(given.seed, given.seed + given.books)]
    try:
        for k, rows in enumerate(pool.imap(one_book, tasks), 1):
            told += rows
            print(f"{k} of {given.books}, {time.time() - began:.0f} s", file=sys.stderr, flush=True)
    except KeyboardInterrupt:
        pool.terminate()
    if told:
        books = len({row["seed"] for row in told})
        tell(
            told,
            f"plans: {books} books of 6,000 accounts, seeds from {given.seed}; prices {prices}; "
            f"{'fine' if given.fine else 'default'} states; simulated on {given.others:,} other accounts",
        )


if __name__ == "__main__":
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    main()
