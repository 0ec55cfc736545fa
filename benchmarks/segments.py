"""Effects by segment in simulated experiments: how often a segment is named wrongly, and how often rightly.

    python benchmarks/segments.py --replications 800 --processes 2 > benchmarks/segments.txt

Each replication draws 1,200 accounts in two arms and looks at a 0/1 outcome by a region of three (East, North, West), a
score cut into three bands and a flag: eight segments. In "one effect" the treatment adds 10 points for everybody; in
"more in the West" it adds as much again, or twice as much, in one region. The estimator is the plain difference of two
means. "Naive" is what looking at each segment's own 95 % interval and that of the rest would name, one by one. Seeded.

- wrong: at least one segment named whose effect is that of the rest (in a column where effects do differ, all differ
  from the rest; there only a wrong sign is wrong)
- found: the West is named, as larger
- covered: experiments all of whose segment intervals hold the truth at once
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import time

import numpy as np
import pandas as pd
from scipy import stats

from collectlab.core.engine import connection
from collectlab.effects.effect_result import EffectResult
from collectlab.effects.segments import by_segment
from collectlab.effects.segments_result import LARGER, SMALLER

BATCH = 25
ACCOUNTS = 1200
SETTINGS = {"one effect": 0.0, "10 points more in the West": 0.1, "20 points more in the West": 0.2}
COLUMNS = ["region", "score", "home"]


def trial(rng: np.random.Generator, extra: float) -> pd.DataFrame:
    region = rng.choice(["East", "North", "West"], ACCOUNTS)
    arm = rng.choice(["new", "old"], ACCOUNTS)
    score = rng.normal(size=ACCOUNTS)
    chance = 0.4 + 0.05 * np.sign(score) + (arm == "new") * (0.1 + extra * (region == "West"))
    paid = (rng.random(ACCOUNTS) < chance).astype(int)
    return pd.DataFrame(
        {"arm": arm, "region": region, "score": score, "home": rng.random(ACCOUNTS) < 0.5, "paid": paid}
    )


def difference(part: pd.DataFrame) -> EffectResult:
    """Two means, with Welch's standard error."""
    y, treated = part["paid"].to_numpy(float), part["arm"].to_numpy() == "new"
    new, old = y[treated], y[~treated]
    error = float(np.sqrt(new.var(ddof=1) / len(new) + old.var(ddof=1) / len(old)))
    estimate = float(new.mean() - old.mean())
    row = {"outcome": "paid", "unit": "points", "n": len(new), "control_n": len(old), "estimate": estimate}
    row |= {"std_error": error, "conf_low": estimate - 1.96 * error, "conf_high": estimate + 1.96 * error}
    row["p_value"] = 2 * stats.norm.sf(abs(estimate / error))
    return EffectResult(
        table=pd.DataFrame([row]), estimand="Difference of two means", unit="points", design="experiment"
    )


def one(rng: np.random.Generator, extra: float) -> dict[str, float]:
    table = by_segment(trial(rng, extra), COLUMNS, effect=difference, arm="arm").table.iloc[1:]
    region = (table["segment_by"] == "region").to_numpy()
    west = (table["segment"] == "West").to_numpy()
    truth = np.where(region, 0.1 + extra * west, 0.1 + extra / 3)
    differs = np.sign(extra) * np.where(region, np.where(west, 1, -1), 0)
    named = np.where(table["reading"] == LARGER, 1, np.where(table["reading"] == SMALLER, -1, 0))
    z = (table["estimate"] - table["rest"]) / table["std_error"] / np.sqrt(1.5)  # of three, the rest is two
    naive = np.where(np.abs(z) > 1.96, np.sign(z), 0)
    return {
        "wrong": float(((named != 0) & (named != differs)).any()),
        "naive": float(((naive != 0) & (naive != differs)).any()),
        "found": float(named[west][0] == 1),
        "covered": float(((table["conf_low"] <= truth) & (truth <= table["conf_high"])).all()),
    }


def batch(job: tuple[str, int]) -> tuple[str, list[dict[str, float]]]:
    name, seed = job
    connection().execute("SET threads = 1")
    rng = np.random.default_rng([list(SETTINGS).index(name), seed])
    return name, [one(rng, SETTINGS[name]) for _ in range(BATCH)]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--replications", type=int, default=1000)
    parser.add_argument("--processes", type=int, default=2)
    chosen = parser.parse_args()
    batches = -(-chosen.replications // BATCH)
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    began = time.perf_counter()
    found: dict[str, list[dict[str, float]]] = {name: [] for name in SETTINGS}
    jobs = [
        (name, seed)
        for name, extra in SETTINGS.items()
        for seed in range(-(-batches // 4) if extra else batches)
    ]
    with multiprocessing.get_context("spawn").Pool(chosen.processes) as pool:
        for done, (name, rows) in enumerate(pool.imap(batch, jobs), 1):
            found[name] += rows
            print(f"{done} of {len(jobs)} batches, {time.perf_counter() - began:.0f} s", file=sys.stderr)
    print(
        f"Experiments of {ACCOUNTS:,} accounts looked at by 8 segments of 3 columns, {batches * BATCH:,} of "
        "one effect, a quarter as many others; of 100, ± the simulation's own error.\n"
    )
    print(f"{'setting':<30}{'wrong':>14}{'wrong, naive':>16}{'West found':>14}{'all covered':>14}")
    for name, rows in found.items():
        table = pd.DataFrame(rows)
        cells = {
            c: f"{100 * v.mean():.1f} ± {100 * v.std(ddof=0) / np.sqrt(len(v)):.1f}" for c, v in table.items()
        }
        west = cells["found"] if SETTINGS[name] else "–"
        print(f"{name:<30}{cells['wrong']:>14}{cells['naive']:>16}{west:>14}{cells['covered']:>14}")


if __name__ == "__main__":
    main()
