"""Experiments by simulation: how often no effect is called one, how often an effect is found, what looking daily costs.

    python benchmarks/experiments.py --replications 10000 --processes 2 > benchmarks/experiments.txt

Every figure comes from the library's own functions, on seeded data. A test at one look is the least squares inside
``experiment`` (HC3, or cluster-robust), replication by replication; that ``experiment`` itself gives the same p-values
is asserted on the first of each design. The looks are ``limits`` of the confidence sequence on running means; that
``confidence_sequence`` gives the same intervals is asserted too. Not run in CI.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from collectlab.core.engine import connection
from collectlab.core.jackknife import t_quantile
from collectlab.effects._least_squares import fit
from collectlab.effects.design import power, sample_size
from collectlab.effects.experiment import experiment
from collectlab.effects.sequential import confidence_sequence
from collectlab.effects.sequential_math import limits, ready

BATCH = 500
PAYING = 0.4
#: Sigma of the lognormal amounts: the top 1 % of payers pay 6 % of the money, or 13 %.
SKEWED, VERY = 0.8, 1.2


def money_moments(sigma: float) -> tuple[float, float]:
    """Mean and standard deviation of the money below, zeros included, at a scale of 100."""
    mean = PAYING * 100 * np.exp(sigma**2 / 2)
    return float(mean), float(np.sqrt(PAYING * 100**2 * np.exp(2 * sigma**2) - mean**2))


@dataclass(frozen=True)
class Design:
    """An experiment of one look: sizes, the control's share (or money), the effect, and what makes it special."""

    name: str
    n: int
    control_n: int
    baseline: float | None = None  # None: money, 40 % pay and then lognormal
    effect: float = 0.0  # points, or the factor − 1 on money
    cluster_size: int = 1
    icc: float = 0.0
    r_squared: float = 0.0
    arms: int = 1
    sigma: float = SKEWED

    def draw(
        self, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray | None, np.ndarray | None]:
        """Outcome, arm (1 or 0), cluster and covariate of each account."""
        arm = np.repeat([1, 0], [self.n, self.control_n])
        if self.r_squared:
            x = rng.normal(size=len(arm))
            y = np.sqrt(self.r_squared) * x + np.sqrt(1 - self.r_squared) * rng.normal(size=len(arm))
            return y + self.effect * arm, arm, None, x
        if self.baseline is None:
            paid = rng.random(len(arm)) < PAYING
            y = np.round(paid * 100 * rng.lognormal(0, self.sigma, len(arm)) * (1 + self.effect * arm), 2)
            return y, arm, None, None
        share = self.baseline + self.effect * arm
        if self.cluster_size == 1:
            return (rng.random(len(arm)) < share).astype(float), arm, None, None
        cluster = np.arange(len(arm)) // self.cluster_size
        first = share[:: self.cluster_size]
        strength = 1 / self.icc - 1  # a beta-binomial's two parameters add up to this
        own = rng.beta(first * strength, (1 - first) * strength)[cluster]
        return (rng.random(len(arm)) < own).astype(float), arm, cluster, None

    def formula(self, alpha: float = 0.05) -> float:
        """The power that the library gives."""
        how = {"control_ratio": self.control_n / self.n, "cluster_size": self.cluster_size, "icc": self.icc}
        how |= {"arms": self.arms, "alpha": alpha}
        if self.r_squared:
            found = power(self.n, self.effect, sd=1.0, r_squared=self.r_squared, **how)
        elif self.baseline is None:
            mean, sd = money_moments(self.sigma)
            found = power(self.n, self.effect * mean, sd=sd, sd_arm=sd * (1 + self.effect), **how)
        else:
            found = power(self.n, self.effect, baseline=self.baseline, **how)
        return float(found.table["power"].iloc[0])


AT_ONE_LOOK = (
    Design("share 5 %, 500 and 500", 500, 500, 0.05),
    Design("share 30 %, 500 and 500", 500, 500, 0.30),
    Design("share 60 %, 500 and 500", 500, 500, 0.60),
    Design("share 5 %, 1,600 and 400", 1600, 400, 0.05),
    Design("share 30 %, 1,600 and 400", 1600, 400, 0.30),
    Design("share 60 %, 1,600 and 400", 1600, 400, 0.60),
    Design("money, 500 and 500", 500, 500),
    Design("money, 1,600 and 400", 1600, 400),
    Design("very skewed money, 500 and 500", 500, 500, sigma=VERY),
    Design("very skewed money, 1,600 and 400", 1600, 400, sigma=VERY),
    Design("very skewed money, 6,000 and 1,500", 6000, 1500, sigma=VERY),
    Design("share 30 %, 100 and 100 clusters of 5, ICC 0.1", 500, 500, 0.30, cluster_size=5, icc=0.1),
    Design("share 5 %, 100 and 100 clusters of 5, ICC 0.1", 500, 500, 0.05, cluster_size=5, icc=0.1),
    Design("share 30 %, 200 and 50 clusters of 5, ICC 0.1", 1000, 250, 0.30, cluster_size=5, icc=0.1),
    Design("a covariate that explains 40 %, 300 and 300", 300, 300, r_squared=0.4),
)

WITH_EFFECT = (
    Design("share 30 % + 6, 964 and 964", 964, 964, 0.30, 0.06),
    Design("share 60 % − 8, 400 and 400", 400, 400, 0.60, -0.08),
    Design("share 5 % + 2, 1,500 and 1,500", 1500, 1500, 0.05, 0.02),
    Design("share 2 % + 2, 600 and 600", 600, 600, 0.02, 0.02),
    Design("share 2 % + 2, 250 and 1,000", 250, 1000, 0.02, 0.02),
    Design("share 2 % + 2, 1,000 and 250", 1000, 250, 0.02, 0.02),
    Design("share 1 % + 1, 500 and 4,000", 500, 4000, 0.01, 0.01),
    Design("share 30 % + 6, three arms and the control of 1,280", 1280, 1280, 0.30, 0.06, arms=3),
    Design("money + 20 %, 1,000 and 1,000", 1000, 1000, None, 0.20),
    Design("money + 20 %, 3,000 and 1,000", 3000, 1000, None, 0.20),
    Design("money − 15 %, 1,000 and 3,000", 1000, 3000, None, -0.15),
    Design("very skewed money + 30 %, 1,000 and 1,000", 1000, 1000, None, 0.30, sigma=VERY),
    Design("very skewed money + 16 %, 5,000 and 5,000", 5000, 5000, None, 0.16, sigma=VERY),
    Design(
        "share 30 % + 8, 150 and 150 clusters of 6, ICC 0.1", 900, 900, 0.30, 0.08, cluster_size=6, icc=0.1
    ),
    Design(
        "share 5 % + 3, 200 and 200 clusters of 4, ICC 0.2", 800, 800, 0.05, 0.03, cluster_size=4, icc=0.2
    ),
    Design("0.2 sd, a covariate that explains 40 %, 240 and 240", 240, 240, None, 0.20, r_squared=0.4),
)


def p_value(
    y: np.ndarray, arm: np.ndarray, cluster: np.ndarray | None, x: np.ndarray | None, arms: int = 1
) -> float:
    """The p-value of the arm, by the least squares inside ``experiment``."""
    from scipy.special import stdtr

    columns, count = [arm.astype(float)], np.ones(len(y))
    if x is not None:
        columns += [x - x.mean(), arm * (x - x.mean())]
    elif cluster is None and np.all((y == 0) | (y == 1)):  # accounts alike in everything are one cell
        size = np.bincount(2 * arm + y.astype(int), minlength=4)
        columns, y, count = [np.array([0.0, 0, 1, 1])], np.array([0.0, 1, 0, 1]), size.astype(float)
        keep = count > 0
        columns, y, count = [columns[0][keep]], y[keep], count[keep]
    found = fit(y, np.stack(columns, axis=1), count, np.zeros(len(y), dtype=int), cluster)
    # The other arms, alike and equal, are left out of the simulation: they would only add to the degrees of freedom.
    freedom = found.freedom + (arms - 1) * (count.sum() / 2 - 1)
    if not found.covariance[0, 0] > 0:
        return 1.0
    return float(2 * stdtr(freedom, -abs(found.estimate[0]) / np.sqrt(found.covariance[0, 0])))


def one_look(design: Design, seed: int) -> list[bool]:
    rng = np.random.default_rng([1, seed, design.n, design.control_n, round(1000 * design.effect) % 997])
    alpha = 0.05 / design.arms
    told = []
    for i in range(BATCH):
        y, arm, cluster, x = design.draw(rng)
        p = p_value(y, arm, cluster, x, design.arms)
        if seed == 0 and i < 3 and design.arms == 1:
            frame = pd.DataFrame({"arm": np.where(arm == 1, "new", "old"), "y": y, "c": cluster, "x": x})
            how = {
                "cluster": "c" if cluster is not None else None,
                "covariates": "x" if x is not None else (),
            }
            theirs = experiment(frame, arm="arm", control="old", outcomes="y", **how).table["p_value"].iloc[0]
            assert abs(theirs - p) < 1e-8, (design.name, theirs, p)
        told.append(p < alpha)
    return told


@dataclass(frozen=True)
class Running:
    """An experiment that is looked at daily: accounts a day in each arm, days, share or money, effect, planned size."""

    name: str
    a_day: float
    control_a_day: float
    days: int
    baseline: float | None = None
    effect: float = 0.0
    planned: float | None = None  # per arm; None: the harmonic mean of what comes
    sigma: float = SKEWED

    def draw(self, rng: np.random.Generator, size: int) -> tuple[list[np.ndarray], np.ndarray]:
        """Running n, mean and variance of both arms, of shape (size, days), and how many of the rarer kind."""
        found, some, none = [], 0, 0
        for pace, add in ((self.a_day, self.effect), (self.control_a_day, 0.0)):
            n = rng.poisson(pace, (size, self.days))
            if self.baseline is not None:
                total = rng.binomial(n, self.baseline + add).astype(float)
                square = positive = total
            else:
                each = n.sum()
                y = (rng.random(each) < PAYING) * 100 * rng.lognormal(0, self.sigma, each) * (1 + add)
                day = np.repeat(np.arange(n.size), n.ravel())
                total, square, positive = (
                    np.bincount(day, weights=w, minlength=n.size).reshape(n.shape) for w in (y, y**2, y > 0)
                )
            n, total, square, positive = (np.cumsum(v, axis=1) for v in (n, total, square, positive))
            with np.errstate(divide="ignore", invalid="ignore"):
                mean = total / n
                found += [n, mean, (square - n * mean**2) / (n - 1)]
            some = some + positive
            none = none + (n - positive if self.baseline is not None else n)
        return found, np.minimum(some, none)

    @property
    def planned_per_arm(self) -> float:
        return self.planned or 2 * self.days / (1 / self.a_day + 1 / self.control_a_day)


LOOKED_AT = (
    Running("share 5 %, 20 and 20 a day", 20, 20, 120, 0.05),
    Running("share 30 %, 20 and 20 a day", 20, 20, 120, 0.30),
    Running("share 60 %, 20 and 20 a day", 20, 20, 120, 0.60),
    Running("share 5 %, 32 and 8 a day", 32, 8, 120, 0.05),
    Running("share 30 %, 32 and 8 a day", 32, 8, 120, 0.30),
    Running("share 60 %, 32 and 8 a day", 32, 8, 120, 0.60),
    Running("share 1 %, 100 and 20 a day", 100, 20, 120, 0.01),
    Running("money, 20 and 20 a day", 20, 20, 120),
    Running("money, 32 and 8 a day", 32, 8, 120),
    Running("very skewed money, 20 and 20 a day", 20, 20, 120, sigma=VERY),
    Running("very skewed money, 32 and 8 a day", 32, 8, 120, sigma=VERY),
    Running("share 30 %, 20 and 20 a day, a year", 20, 20, 365, 0.30),
    Running("share 30 %, 200 and 200 a day, a year", 200, 200, 365, 0.30),
    Running("share 30 %, tuned for a tenth of what comes", 20, 20, 120, 0.30, planned=240),
    Running("share 30 %, tuned for ten times what comes", 20, 20, 120, 0.30, planned=24_000),
)


def looks(running: Running, seed: int) -> dict[str, np.ndarray]:
    """For each replication: told apart at some look, told by the fixed interval, and at which look."""
    rng = np.random.default_rng(
        [2, seed, round(running.a_day), running.days, round(1000 * (running.baseline or 0))]
    )
    counts, rarer = running.draw(rng, BATCH)
    found = limits(*counts, planned_per_arm=running.planned_per_arm)
    can = ready(counts[0], counts[3], rarer)
    told = can & ((found["conf_low"] > 0) | (found["conf_high"] < 0))
    reach = t_quantile(0.95, counts[0] + counts[3] - 2) * found["hc3"]
    fixed = can & (np.abs(found["estimate"]) > reach)
    total = counts[0] + counts[3]
    stop = np.where(told.any(axis=1), told.argmax(axis=1), running.days - 1)
    missed = (found["conf_low"] > running.effect) | (found["conf_high"] < running.effect)
    return {
        "sequence": told.any(axis=1),
        "missed": (can & missed).any(axis=1),
        "daily": fixed.any(axis=1),
        "end": fixed[:, -1],
        "sequence_end": told[:, -1],
        "looks": can.sum(axis=1),
        "accounts": total[np.arange(BATCH), stop],
    }


def agrees() -> None:
    """``confidence_sequence`` on rows gives what ``limits`` gives on the running means."""
    rng = np.random.default_rng(5)
    day = np.sort(rng.integers(0, 90, 3000))
    frame = pd.DataFrame(
        {"strategy": rng.choice(["a", "b"], 3000), "y": (rng.random(3000) < 0.3).astype(int)}
    )
    frame["assigned_on"] = pd.Timestamp("2026-01-01") + pd.to_timedelta(day, unit="D")
    table = confidence_sequence(frame, outcome="y", control="b", planned_per_arm=1500).table
    for row in table.iloc[[20, 50, -1]].itertuples():
        seen = frame[frame["assigned_on"] <= row.as_of].groupby("strategy")["y"].agg(["count", "mean", "var"])
        found = limits(*seen.loc["a"], *seen.loc["b"], planned_per_arm=1500)
        assert (
            abs(found["conf_low"] - row.conf_low) < 1e-12 and abs(found["conf_high"] - row.conf_high) < 1e-12
        )


def prices() -> list[tuple[str, Running, int]]:
    """Experiments with an effect, sized for 80 % by either test; and what the test of one look needs, in all."""
    found = []
    for baseline, effect in ((0.30, 0.06), (0.30, 0.03), (0.05, 0.02)):
        sizes = [
            int(sample_size(effect, baseline=baseline, peeking=p).table["n_arm"].iloc[0])
            for p in (False, True)
        ]
        for words, n in zip(("one look's", "the sequence's"), sizes):
            name = f"share {100 * baseline:.0f} % + {100 * effect:.0f}, {words} {n:,} an arm"
            found.append(
                (name, Running(name, n / 100, n / 100, 100, baseline, effect, planned=n), 2 * sizes[0])
            )
    return found


Job = tuple[str, int, int]


def one_batch(job: Job) -> tuple[Job, dict[str, np.ndarray]]:
    kind, which, seed = job
    connection().execute("SET threads = 1")
    if kind == "looks":
        return job, looks(LOOKED_AT[which], seed)
    if kind == "prices":
        return job, looks(prices()[which][1], seed)
    return job, {"told": np.array(one_look((AT_ONE_LOOK if kind == "size" else WITH_EFFECT)[which], seed))}


def percent(values: np.ndarray) -> str:
    p = float(np.mean(values))
    return f"{100 * p:>5.1f} ± {100 * np.sqrt(p * (1 - p) / len(values)):.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--replications", type=int, default=10_000)
    parser.add_argument("--processes", type=int, default=2)
    chosen = parser.parse_args()
    agrees()
    priced = prices()
    many = {
        "size": len(AT_ONE_LOOK),
        "power": len(WITH_EFFECT),
        "looks": len(LOOKED_AT),
        "prices": len(priced),
    }
    batches = -(-chosen.replications // BATCH)
    jobs = [
        (kind, which, seed) for kind, size in many.items() for which in range(size) for seed in range(batches)
    ]
    began = time.perf_counter()
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    found: dict[tuple[str, int], list[dict[str, np.ndarray]]] = {}
    with multiprocessing.get_context("spawn").Pool(chosen.processes) as pool:
        for i, ((kind, which, _), part) in enumerate(pool.imap(one_batch, jobs)):
            found.setdefault((kind, which), []).append(part)
            if i % 20 == 19:
                print(f"{i + 1} of {len(jobs)} batches, {time.perf_counter() - began:.0f} s", file=sys.stderr)

    def of(kind: str, which: int) -> Callable[[str], np.ndarray]:
        return lambda key: np.concatenate([part[key] for part in found[kind, which]])

    reps = batches * BATCH
    print(
        f"{reps:,} replications each; ± is the simulation's own standard error; money: 40 % pay, then\nlognormal amounts (σ 0.8; very skewed: 1.2).\n"
    )
    print("1. No effect, one look: rejected at 5 %, of 100\n")
    for i, design in enumerate(AT_ONE_LOOK):
        print(f"{design.name:<58}{percent(of('size', i)('told'))}")
    print("\n2. An effect, one look: power simulated, and by power(), of 100\n")
    print(f"{'':<58}{'simulated':>11}  power()  difference")
    for i, design in enumerate(WITH_EFFECT):
        told, formula = of("power", i)("told"), design.formula()
        away = 100 * (told.mean() - formula)
        print(f"{design.name:<58}{percent(told)}  {100 * formula:>7.1f}  {away:>+10.1f}")
    print("\n3. No effect, looked at daily until zero is excluded: excluded at some look, of 100\n")
    print(f"{'':<46}{'looks':>6}  fixed, last look  fixed, any look  sequence, any look")
    for i, running in enumerate(LOOKED_AT):
        get = of("looks", i)
        print(
            f"{running.name:<46}{np.mean(get('looks')):>6.0f}  {percent(get('end')):>16}  {percent(get('daily')):>15}"
            f"  {percent(get('sequence')):>18}"
        )
    print("\n4. An effect, looked at daily (100 looks) and stopped when told: what looking costs\n")
    print(
        f"{'':<44}{'told, of 100':>12}  power()  difference  accounts, mean  at most  one look  missed the truth"
    )
    for i, (name, running, needed) in enumerate(priced):
        get = of("prices", i)
        n, told = int(running.planned_per_arm), get("sequence")
        formula = float(
            power(n, running.effect, baseline=running.baseline, peeking=True).table["power"].iloc[0]
        )
        print(
            f"{name:<44}{percent(told):>12}  {100 * formula:>7.1f}  {100 * (told.mean() - formula):>+10.1f}"
            f"  {np.mean(get('accounts')):>14,.0f}  {2 * n:>7,}  {needed:>8,}  {percent(get('missed')):>16}"
        )
    print(
        "\nWhere the test of one look errs much more often than 5 %, the outcome is very skewed and the arms are unequal: HC3"
        "\nthen needs thousands of accounts in the smaller arm. power() takes the standard deviation as known; most samples of"
        "\nvery skewed money show a smaller one, so the test tells a little more often than power() says."
    )
    minutes = (time.perf_counter() - began) / 60
    print(f"\nSeeded; {minutes:.0f} minutes with {chosen.processes} processes.")


if __name__ == "__main__":
    main()
