"""Whether a plan brings what it was predicted to bring, and more than the strategy in force and a rule of thumb.

    python benchmarks/plan_value.py --books 50 --processes 2 > benchmarks/plan_value.txt

Each book is 12,000 accounts of a simulated bank with nothing planted, known at the end of its 24th month; its plan is
made as the report makes it (params/capacity.yml and costs.yml, capacity at least today's use). The plan is then run in
the simulator on other accounts of the same bank (the same ones for every book): what comes, per episode, of all episodes
that begin in six months, 12 months each, discounted as the model discounts. It is run twice: in months that the log
itself covers, as though the plan had been in force then, and in the months after the log, which differ because the
bank's loans grow older. The simulated value has a Monte-Carlo error, printed, which is the same in all books;
differences between plans have less, since the accounts meet the same luck under each. Books are finished one by one and told
on the way (``--every``); interrupted, it prints what it has. Not run in CI.
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
from collectlab.book.simulate_plan import lived, warm_up
from collectlab.policy.plan import allocate, decision_model, decision_rows, greedy, value
from collectlab.policy.plan.limits import load_limits
from collectlab.policy.plan.model_class import net
from collectlab.policy.plan.off_policy_plan import as_choice
from collectlab.policy.plan.simple import simple_plan

MONTHS, KNOWN, END = 42, date(2026, 10, 31), date(2028, 4, 30)
#: When the plan is run: first month-end and last day.
THEN, LATER = (date(2025, 5, 31), KNOWN), (date(2026, 11, 30), END)
HORIZON = 12
OTHERS_SEED = 1_000_003
PARAMS = Path(__file__).parents[1] / "params"
MEASURES = ("cost", "complaints", "calls", "visits", "legal", "owed", "lost", "unpaid", "paid")
USES = {
    "agent_hours": ("calls", 0.1),
    "visits": ("visits", 1.0),
    "legal": ("legal", 1.0),
    "budget": ("cost", 1.0),
}
FORCE, THUMB, SHEET, BEST, FORWARD = (
    "strategy in force",
    "rule of thumb",
    "simple sheet",
    "best, as estimated",
    "plan put forward",
)

_HELD: dict = {}


def setup(accounts: int, size: int, sheets: bool) -> None:
    """The other accounts, brought up to the plan's start once in each process, and what the bank does as it is."""
    limits = load_limits(PARAMS, KNOWN)
    settings = Settings(
        seed=OTHERS_SEED, accounts=accounts, months=MONTHS, end=END, problems=(), hidden_confounding=0.0
    )
    _HELD.update(limits=limits, size=size, sheets=sheets)
    for when in (THEN, LATER):
        _HELD[when] = warm_up(settings, when[0], accounts)
        _HELD["as it is", when] = simulated(None, when)


def simulated(choose, when) -> pd.DataFrame:
    """Each episode's discounted sums under a plan; index: account and episode."""
    limits = _HELD["limits"]
    months = lived(_HELD[when], choose, months=HORIZON, monthly=True, every=True, until=when[1])
    months["owed"] = months["amount_past_due"]
    factor = (1 + limits.annual_rate) ** (-months["month"] / 12)
    sums = months[list(MEASURES)].mul(factor, axis=0)
    sums = sums.groupby([months["account_id"], months["episode"]]).sum()
    return sums.assign(net=net(sums, limits.prices))


def clustered(frame: pd.DataFrame) -> float:
    gap = (frame["net"] - frame["net"].mean()).groupby(level=0).sum()
    return float(np.sqrt((gap**2).sum()) / len(frame))


def apart(mine: pd.DataFrame, other: pd.DataFrame) -> tuple[float, float]:
    """Difference of the means per episode, and its error: accounts are matched."""
    parts = []
    for frame in (mine, other):
        sums = (frame["net"] - frame["net"].mean()).groupby(level=0).sum() / len(frame)
        parts.append(sums)
    gap = parts[0].sub(parts[1], fill_value=0.0)
    return float(mine["net"].mean() - other["net"].mean()), float(np.sqrt((gap**2).sum()))


def one_book(seed: int) -> list[dict]:
    warnings.simplefilter("ignore")
    limits = _HELD["limits"]
    bank = simulate(_HELD["size"], months=MONTHS, seed=seed, end=END, problems=(), truth_accounts=0)
    rows = decision_rows(open_book(bank.book_tables).until(KNOWN), unit_costs=limits.unit_costs)
    model = decision_model(
        rows, capacity_params=limits.minutes, prices=limits.prices, annual_rate=limits.annual_rate
    )
    factor = _HELD["size"] / 6_000  # capacity.yml is that of the example's 6,000 accounts
    capacity, _ = type(limits)(
        {k: c * factor for k, c in limits.capacity.items()}, contacts_week=limits.contacts_week
    ).at_least_today(model)
    plan = allocate(model, capacity, forbidden=limits.forbidden(model) & ~(model.in_force > 0))
    force = value(model, model.in_force, months=HORIZON, per="account")
    entering = float(model.inflow.sum())
    shares = {FORCE: model.in_force, THUMB: greedy(model, capacity)}
    if _HELD["sheets"]:
        shares[SHEET] = simple_plan(model, capacity, full=plan).share
    shares |= {BEST: plan.best, FORWARD: plan.share}
    told = []
    for name, share in shares.items():
        said = value(model, share, months=HORIZON, per="account")
        interval = said.table.set_index("measure").loc["net"]
        row = {
            "seed": seed,
            "plan": name,
            "changed": bool(np.abs(share - model.in_force).max() > 0.02),
            "net": said.net,
            "low": interval["conf_low"],
            "high": interval["conf_high"],
            "gain": said.net - force.net,
            "gain_error": float(np.std(said.draws["net"] - force.draws["net"], ddof=1)),
            "optimism": plan.gain["optimism"] / entering if name == FORWARD else 0.0,
        }
        for when, label in ((THEN, "then"), (LATER, "later")):
            as_is = _HELD["as it is", when]
            if name == FORCE or (name == FORWARD and not row["changed"]):
                true = as_is
            elif when == LATER and name != FORWARD:
                continue
            else:
                true = simulated(as_choice(model, share), when)
            row[label], row[f"{label} error"] = float(true["net"].mean()), clustered(true)
            row[f"{label} gain"], row[f"{label} gain error"] = apart(true, as_is)
            if when == THEN:
                for measure in MEASURES:
                    row[f"said {measure}"] = said.amounts[measure]
                    row[f"true {measure}"] = float(true[measure].mean())
                for use, limit in capacity.items():
                    measure, unit = USES[use]
                    row[f"used {use}"] = true[measure].mean() * unit * entering / limit
        told.append(row)
    return told


def share(hit: pd.Series) -> str:
    p = float(hit.mean())
    return f"{100 * p:.0f} % ± {100 * np.sqrt(p * (1 - p) / max(len(hit), 1)):.0f}"


def tell(told: list[dict], title: str) -> None:
    """The printed tables."""
    table = pd.DataFrame(told)
    print(title)
    print(
        "net: less spent and lost, money per episode over 12 months. ± is Monte-Carlo: over the books for what is said, over"
    )
    print("the other accounts for what is simulated (the same in all books).\n")
    print("said and simulated, the plan run in the months that the log covers")
    print(
        "covers: the 95 % interval of what is said holds the simulated value; mc: so does the interval with"
    )
    print("the simulated value's own error added\n")
    print(
        f"  {'':<20} books changed    said  ± MC  simulated  ± MC    bias  ± MC        covers      covers, mc"
    )
    for name, rows in table.groupby("plan", sort=False):
        n = len(rows)
        root, error = n**0.5, rows["then error"]
        half = (rows["high"] - rows["low"]) / 2
        hit = (rows["net"] - rows["then"]).abs() <= half
        wide = (rows["net"] - rows["then"]).abs() <= np.hypot(half, 1.96 * error)
        bias = rows["net"] - rows["then"]
        print(
            f"  {name:<20} {n:>5} {rows['changed'].sum():>7} {rows['net'].mean():>+7.0f} {rows['net'].std() / root:>5.0f} "
            f"{rows['then'].mean():>+10.0f} {error.mean():>5.0f} {bias.mean():>+7.0f} "
            f"{np.hypot(bias.std() / root, error.mean()):>5.0f} {share(hit):>13} {share(wide):>15}"
        )
    print("\ngain over the strategy in force: said (the plan's own correction taken off), and simulated")
    print(f"  {'':<20}    said  ± MC  simulated  ± MC  covers, mc  in the months after the log  ± MC")
    for name, rows in table.groupby("plan", sort=False):
        root = len(rows) ** 0.5
        said, error = rows["gain"] - rows["optimism"], rows["then gain error"]
        near = (said - rows["then gain"]).abs() <= 1.96 * np.hypot(rows["gain_error"], error) + 1e-9
        later = (
            f"{rows['later gain'].mean():>+15.0f} {np.hypot(rows['later gain'].std() / root, rows['later gain error'].mean()):>17.0f}"
            if rows["later gain"].notna().all()
            else ""
        )
        print(
            f"  {name:<20} {said.mean():>+7.0f} {said.std() / root:>5.0f} {rows['then gain'].mean():>+10.0f} "
            f"{np.hypot(rows['then gain'].std() / root, error.mean()):>5.0f} {share(near):>11} {later}"
        )
    wide = table.pivot(index="seed", columns="plan", values="then gain")
    errors = table.pivot(index="seed", columns="plan", values="then gain error")
    print(
        "\nsimulated gain of one plan over another at equal capacity, mean over the books; better: in so many books"
    )
    for one, other in ((BEST, FORCE), (FORWARD, FORCE), (BEST, THUMB), (FORWARD, THUMB), (BEST, SHEET)):
        if one in wide and other in wide:
            gap = wide[one] - wide[other]
            error = max(errors[one].mean(), errors[other].mean())
            print(
                f"  {one + ' less ' + other:<42} {gap.mean():>+7.0f} ± {np.hypot(gap.std() / len(gap) ** 0.5, error):.0f}"
                f"   {(gap > 0).sum()} of {len(gap)}"
            )
    later = table[table["plan"] == FORCE]
    print(
        f"\nstrategy in force: {later['then'].iloc[0]:+.0f} ± {later['then error'].iloc[0]:.0f} in the months the log covers, "
        f"{later['later'].iloc[0]:+.0f} ± {later['later error'].iloc[0]:.0f} in those after it"
    )
    print("\npredicted ÷ simulated, mean over the books")
    print(f"  {'':<20} " + " ".join(f"{k:>10}" for k in MEASURES))
    for name, rows in table.groupby("plan", sort=False):
        ratio = [rows[f"said {k}"].mean() / max(rows[f"true {k}"].mean(), 1e-9) for k in MEASURES]
        print(f"  {name:<20} " + " ".join(f"{x:>10.2f}" for x in ratio))
    print("\nused in the simulator ÷ allowed, mean (largest)")
    uses = [name for name in table if name.startswith("used ")]
    print(f"  {'':<20} " + " ".join(f"{k.removeprefix('used '):>14}" for k in uses))
    for name, rows in table.groupby("plan", sort=False):
        print(f"  {name:<20} " + " ".join(f"{rows[k].mean():>7.2f} ({rows[k].max():.2f})" for k in uses))
    sys.stdout.flush()


def main() -> None:
    ask = argparse.ArgumentParser()
    ask.add_argument("--books", type=int, default=50)
    ask.add_argument("--accounts", type=int, default=12_000)
    ask.add_argument("--processes", type=int, default=2)
    ask.add_argument("--others", type=int, default=100_000)
    ask.add_argument("--seed", type=int, default=1)
    ask.add_argument("--sheets", action="store_true", help="the simple sheet as well (slower)")
    ask.add_argument(
        "--every", type=int, default=0, help="tell the tables on standard error after every so many books"
    )
    given = ask.parse_args()
    began, told = time.time(), []
    pool = multiprocessing.get_context("spawn").Pool(
        given.processes, setup, (given.others, given.accounts, given.sheets)
    )

    def title() -> str:
        books = len({row["seed"] for row in told})
        return (
            f"plans: {books} books of {given.accounts:,} accounts, seeds from {given.seed}; simulated on {given.others:,} "
            f"other accounts; prices {load_limits(PARAMS, KNOWN).prices}"
        )

    try:
        for k, rows in enumerate(
            pool.imap_unordered(one_book, range(given.seed, given.seed + given.books)), 1
        ):
            told += rows
            print(f"{k} of {given.books}, {time.time() - began:.0f} s", file=sys.stderr, flush=True)
            if given.every and k % given.every == 0:
                out, sys.stdout = sys.stdout, sys.stderr
                tell(told, title())
                sys.stdout = out
    except KeyboardInterrupt:
        pool.terminate()
    if told:
        told.sort(key=lambda row: row["seed"])
        tell(told, title())


if __name__ == "__main__":
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    main()
