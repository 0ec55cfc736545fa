"""League tables on simulated teams of known true effects: what their intervals, ranks and verdicts are worth.

    python benchmarks/league.py --replications 2000 --processes 2 > benchmarks/league.txt

Each replication draws true effects of the units (normal, with the sd stated), gives each unit its own mix of easy and
hard cases, lets some customers come back (their cases go together), and asks the league as a user would, with the
two columns that the mix rests on. "Money" draws shares recovered of debts
of very unequal size, which weigh by size. Seeded.

- covered: shrunken 95 % intervals that hold the unit's true difference from the average
- ranks: leagues all of whose true ranks lie in their rank intervals (ties: any order of the tied)
- error: root mean squared error in points, of the crude, the unshrunken and the shrunken difference
- called: leagues in which at least one unit is called above or below the average; wrongly: one whose true
  difference is 0 or of the other sign
- sd: 95 % intervals of the sd between units that hold the true one
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import time
from dataclasses import dataclass

import numpy as np
import pandas as pd

from collectlab.core.engine import connection
from collectlab.effects.league import league

BATCH = 50


@dataclass(frozen=True)
class Setting:
    """One line of the table."""

    name: str
    units: int
    cases: tuple[int, int]
    sd: float
    base: float = 0.55
    mix: float = 0.6
    repeats: bool = True
    money: bool = False


SETTINGS = (
    Setting("3 teams, all equal", 3, (300, 500), 0.0),
    Setting("3 teams, sd 2", 3, (300, 500), 0.02),
    Setting("12 branches, all equal", 12, (60, 250), 0.0),
    Setting("12 branches, sd 2", 12, (60, 250), 0.02),
    Setting("30 agents, all equal", 30, (20, 120), 0.0),
    Setting("30 agents, sd 2", 30, (20, 120), 0.02),
    Setting("30 agents, sd 5", 30, (20, 120), 0.05),
    Setting("30 agents, all equal, 15 % cured", 30, (20, 120), 0.0, base=0.15),
    Setting("3 agencies, money, all equal", 3, (80, 200), 0.0, base=0.4, money=True),
)


def cases_of(rng: np.random.Generator, setting: Setting) -> tuple[pd.DataFrame, np.ndarray]:
    """Cases, and each unit's true effect."""
    sizes = rng.integers(*setting.cases, setting.units)
    unit = np.repeat(np.arange(setting.units), sizes)
    n = len(unit)
    effect = setting.sd * rng.normal(size=setting.units)
    lean = setting.mix * rng.normal(size=setting.units)
    score = lean[unit] + rng.normal(size=n)  # the mix of cases differs between units
    late = (rng.random(n) < 1 / (1 + np.exp(lean[unit]))).astype(int)
    # A third of cases are of customers who have two or three, with whichever unit.
    customer = np.arange(n)
    trait = rng.normal(size=n)
    if setting.repeats:
        back = rng.random(n) < 1 / 3
        customer[back] = rng.integers(0, max(n // 4, 1), back.sum())
    band = np.clip(np.floor(score), -2, 1)
    slope = 0.06 if setting.base > 0.3 else 0.03
    chance = setting.base + slope * band - slope * 1.5 * late + effect[unit] + 0.5 * slope
    chance = np.clip(chance + slope * 1.2 * trait[customer], 0.01, 0.99)
    if setting.money:
        size = np.exp(1.0 * rng.normal(size=n)) * 1000
        y = rng.beta(chance * 0.8, (1 - chance) * 0.8)
    else:
        size, y = np.ones(n), (rng.random(n) < chance).astype(float)
    frame = pd.DataFrame(
        {
            "unit": [f"U{u:02d}" for u in unit],
            "cured": y,
            "score": band,
            "late": late,
            "customer": customer,
            "owed": size,
        }
    )
    return frame, effect


def one(rng: np.random.Generator, setting: Setting) -> dict[str, float]:
    """One league against its truth."""
    frame, effect = cases_of(rng, setting)
    found = league(
        frame,
        by="unit",
        adjust=["score", "late"],
        weight="owed" if setting.money else None,
        cluster="customer",
        least=15,
    )
    table = found.table.sort_values("unit", ignore_index=True)
    weights = frame.groupby("unit")["owed"].sum()[table["unit"]].to_numpy()
    truth = effect[[int(u[1:]) for u in table["unit"]]]
    truth = truth - weights @ truth / weights.sum()  # from the average of the units compared
    average = found.between["average"].iloc[0]
    # Ties may take any of the ranks they share.
    best = 1 + (truth[:, None] < truth[None, :] - 1e-12).sum(axis=1)
    worst = (truth[:, None] <= truth[None, :] + 1e-12).sum(axis=1)
    low, high = table["rank_low"].to_numpy(), table["rank_high"].to_numpy()
    called = (table["standing"] != "cannot be told apart").to_numpy()
    sign = np.where(table["standing"] == "above", 1, -1)
    wrong = called & (sign * np.where(np.abs(truth) < 1e-12, 0, truth) <= 0)
    between = found.between.iloc[0]

    def square(values: pd.Series) -> float:
        return float(np.mean((values.to_numpy() - truth) ** 2))

    return {
        "covered": float(np.mean((table["conf_low"] <= truth) & (truth <= table["conf_high"]))),
        "ranks": float(np.all((low <= best) & (worst <= high))),
        "width": float(np.mean(high - low + 1)) / len(table),
        "crude": square(table["observed"] - average),
        "unshrunken": square(table["unshrunken"]),
        "shrunken": square(table["estimate"]),
        "called": float(called.any()),
        "wrong": float(wrong.any()),
        "sd": float(between["sd_low"] <= setting.sd <= between["sd_high"]),
        "none": float(between["sd"] == 0),
    }


def batch(job: tuple[int, int]) -> tuple[int, list[dict[str, float]]]:
    place, seed = job
    connection().execute("SET threads = 1")
    rng = np.random.default_rng([place, seed])
    return place, [one(rng, SETTINGS[place]) for _ in range(BATCH)]


def share(values: pd.Series) -> str:
    error = values.std(ddof=0) / np.sqrt(len(values))
    return f"{100 * values.mean():5.1f} ± {100 * error:.1f}"


def line(setting: Setting, table: pd.DataFrame) -> str:
    shares = "".join(f"{share(table[c]):>12}" for c in ("covered", "ranks", "called", "wrong", "sd"))
    errors = "".join(f"{100 * np.sqrt(table[c].mean()):>8.2f}" for c in ("crude", "unshrunken", "shrunken"))
    return f"{setting.name:<36}{shares}{errors}{100 * table['width'].mean():>11.0f}%"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--replications", type=int, default=2000)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--only", default="", help="settings whose name holds this")
    chosen = parser.parse_args()
    batches = -(-chosen.replications // BATCH)
    places = [i for i, s in enumerate(SETTINGS) if chosen.only in s.name]
    jobs = [(place, seed) for place in places for seed in range(batches)]
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    began = time.perf_counter()
    print(
        f"Leagues of simulated units, {batches * BATCH:,} replications a line; of 100, ± the simulation's own error.\n"
    )
    print(
        f"{'setting':<36}{'covered':>12}{'ranks':>12}{'called':>12}{'wrongly':>12}{'sd':>12}"
        f"{'crude':>8}{'unshr.':>8}{'shrunk':>8}{'rank width':>12}"
    )
    rows: list[dict[str, float]] = []
    with multiprocessing.get_context("spawn").Pool(chosen.processes) as pool:
        for done, (place, part) in enumerate(pool.imap(batch, jobs), 1):
            rows += part
            print(f"{done} of {len(jobs)} batches, {time.perf_counter() - began:.0f} s", file=sys.stderr)
            if done % batches == 0:
                print(line(SETTINGS[place], pd.DataFrame(rows)), flush=True)
                rows = []
    print(
        "\ncrude, unshr., shrunk: root mean squared error in points. rank width: mean number of ranks in an interval, of all "
        "ranks.\ncovered is over units and replications; ranks and called are over whole leagues."
    )


if __name__ == "__main__":
    main()
