"""Present value and increments by simulation: do the intervals hold the truth, and does the ratio's interval hold its ratio?

    python benchmarks/worth.py --books 40 --processes 2 > benchmarks/worth.txt

Books: a bank without planted problems, of which the accounts in the champion/challenger test count from the first
month-end that shows them past due (after it was assigned; the first time only). The truth is what the challenger
brings more than the champion within 90 days, by living another, larger draw of the same bank twice with the same luck
(``effects_truth``: paid_90d, cost_90d); at rate 0 and without the prices of complaints and funding, which the truth
does not count. Its own Monte-Carlo error is printed beside it. Not run in CI.

Ratios: two estimates drawn from a bivariate normal, 20,000 times each row; how often Fieller's interval, where one is
given, holds the ratio, and how often none is given because the denominator cannot be told from 0.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import time

import narwhals as nw
import numpy as np
import pandas as pd

from collectlab.book.open import open_book
from collectlab.book.simulate import simulate
from collectlab.core.columns import day_number, number_to_date
from collectlab.core.engine import connection
from collectlab.effects.after_assignment import first_episodes
from collectlab.effects.experiment import experiment
from collectlab.measures.worth.incremental import incremental
from collectlab.measures.worth.present_value import present_value
from collectlab.measures.worth.present_value_money import MoneyFlows, book_flows
from collectlab.measures.worth.present_value_rows import present_values
from collectlab.measures.worth.prices import Prices

HORIZON = 90
DRAWS = 20_000


def one_book(settings: tuple[int, int]) -> dict[str, float]:
    """Estimate, error and interval of the net increment by both ways, of one book."""
    seed, accounts = settings
    connection().execute("SET threads = 1")
    bank = simulate(accounts=accounts, seed=seed, problems=(), truth_accounts=0)
    book = open_book(bank.book_tables)
    seen = nw.col("first_seen_day")
    rows = first_episodes(book, book.episodes("current_once")).with_columns(
        time_zero=number_to_date(day_number("started_on") + seen), followed=nw.col("observed_day") - seen
    )
    free = dict.fromkeys(("complaint", "agency_commission"), 0.0)
    flows = MoneyFlows(
        {k: f for k, f in book_flows(book, Prices.of(free)).flows.items() if k in ("paid", "actions")}
    )
    valued = present_values(rows, flows, horizon=HORIZON, start="time_zero", followed="followed")
    outcomes = {"money": "value_paid", "cost": "value_cost", "net": "value_net"}
    effects = experiment(valued, outcomes=list(outcomes.values()), control="champion").table
    effects = effects.assign(outcome=effects["outcome"].map({v: k for k, v in outcomes.items()}))
    added = incremental(effects, population="the test", cures=None).of("net")
    # The curve counts accounts that were followed for fewer days, too: from the first month-end that shows them.
    spells = rows.drop("started_on", "entry_day", "exit_day", "observed_day").rename(
        {"time_zero": "started_on"}
    )
    spells = spells.with_columns(
        entry_day=nw.lit(0), exit_day=nw.col("followed"), observed_day=nw.col("followed")
    )
    curve = present_value(
        spells, flows, rate=0.0, control="champion", horizon=HORIZON, through="follow_up"
    ).differences
    last = curve[(curve["measure"] == "net") & (curve["day"] == HORIZON)].iloc[0]
    return {
        "seed": seed, "accounts": len(valued),
        **{f"rows_{c}": float(added[c]) for c in ("estimate", "std_error", "conf_low", "conf_high")},
        **{f"curve_{c}": float(last[c]) for c in ("estimate", "std_error", "conf_low", "conf_high")},
    }  # fmt: skip


def truth(accounts: int) -> tuple[float, float, int]:
    """The net increment, its Monte-Carlo error at most (money and cost perfectly against each other), and episodes."""
    told = simulate(accounts=200, seed=1, problems=(), truth_accounts=accounts).truth["effects"]
    told = told[(told["name"] == "challenger") & (told["segment_by"] == "all")].set_index("outcome")
    paid, cost = told.loc["paid_90d"], told.loc["cost_90d"]
    return (
        float(paid["estimate"] - cost["estimate"]),
        float(paid["std_error"] + cost["std_error"]),
        int(paid["episodes"]),
    )


def books(n: int, accounts: int, truth_accounts: int, processes: int) -> None:
    """Print the coverage of the net increment over ``n`` books."""
    net, error, episodes = truth(truth_accounts)
    print(
        f"Truth: {net:,.1f} per account (Monte-Carlo error ≤ {error:,.1f}; {episodes:,} accounts lived twice)\n"
    )
    found, start = [], time.monotonic()
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        for done in pool.imap_unordered(one_book, [(1000 + i, accounts) for i in range(n)]):
            found.append(done)
            print(f"{len(found)} of {n} books, {time.monotonic() - start:.0f} s", file=sys.stderr)
    table = pd.DataFrame(found).sort_values("seed")
    print(f"{n} books of {accounts:,} accounts; {table['accounts'].mean():,.0f} in the comparison on average")
    print(f"{'':42}{'mean':>9}{'sd':>9}{'mean se':>9}{'covered':>9}{'bias / mc error':>17}")
    for way, words in (
        ("rows", "accounts followed for 90 days, HC3"),
        ("curve", "mean-cumulative, jackknife"),
    ):
        estimate = table[f"{way}_estimate"]
        inside = (table[f"{way}_conf_low"] <= net) & (net <= table[f"{way}_conf_high"])
        z = (estimate.mean() - net) / np.hypot(estimate.std() / np.sqrt(n), error)
        print(
            f"{words:42}{estimate.mean():9,.0f}{estimate.std():9,.0f}{table[f'{way}_std_error'].mean():9,.0f}"
            f"{inside.mean():9.2f}{z:17.2f}"
        )
    print(f"Monte-Carlo error of a coverage of 0.95 over {n} books: {np.sqrt(0.95 * 0.05 / n):.3f}\n")


def ratios() -> None:
    """Print how often the ratio's interval holds the ratio, through ``incremental`` itself."""
    print(f"{DRAWS:,} draws a row; cost per extra cure, true ratio 240")
    print(
        f"{'extra cures ÷ its error':>24}{'correlation':>13}{'no ratio':>10}{'covered, of all with one':>26}{'told':>8}"
    )
    rng = np.random.default_rng(6)
    for strength in (2.0, 3.0, 4.0, 8.0):
        for correlation in (-0.5, 0.0, 0.5):
            cost, cures = 12.0, 0.05
            errors = np.array([4.0, cures / strength])
            joint = correlation * errors.prod()
            draws = rng.multivariate_normal(
                [cost, cures], [[errors[0] ** 2, joint], [joint, errors[1] ** 2]], size=DRAWS
            )
            held = given = 0
            # every draw through the formula; a hundred of them through incremental, which must agree
            from collectlab.measures.worth.incremental import fieller

            for i, (a, b) in enumerate(draws):
                if b - 1.959964 * errors[1] <= 0:
                    ends = None
                else:
                    ends = fieller(a, b, errors[0] ** 2, joint, errors[1] ** 2, 1.959964)
                    given += 1
                    held += ends[0] <= cost / cures <= ends[1]
                if i < 20:
                    row = _of_incremental(a, b, errors, joint)
                    assert (ends is None) == np.isnan(row["estimate"])
                    assert ends is None or np.allclose(
                        ends, row[["conf_low", "conf_high"]].astype(float), rtol=1e-4
                    )
            print(
                f"{strength:24.1f}{correlation:13.1f}{1 - given / DRAWS:10.2f}{held / max(given, 1):26.3f}{given:8,}"
            )


def _of_incremental(cost: float, cures: float, errors: np.ndarray, joint: float) -> pd.Series:
    effects = pd.DataFrame(
        {
            "outcome": ["money", "cost", "cures"],
            "estimate": [0.0, cost, cures],
            "std_error": [1.0, errors[0], errors[1]],
        }
    )
    found = incremental(
        effects, population="draws", covariance={("cost", "cures"): joint, ("money", "cost"): 0.0}
    )
    return found.of("cost_per_extra_cure")


def main() -> None:
    """Run both studies and print them."""
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--books", type=int, default=40)
    asked.add_argument("--accounts", type=int, default=3000)
    asked.add_argument("--truth-accounts", type=int, default=60_000)
    asked.add_argument("--processes", type=int, default=2)
    options = asked.parse_args()
    print(f"python benchmarks/worth.py --books {options.books} --accounts {options.accounts} "
          f"--truth-accounts {options.truth_accounts}\n")  # fmt: skip
    books(options.books, options.accounts, options.truth_accounts, options.processes)
    ratios()


if __name__ == "__main__":
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    main()
