"""How often nominal 95 % intervals cover the truth, by simulation: what the survival measures promise, kept.

    python benchmarks/coverage.py --replications 2000 --processes 2 > benchmarks/coverage.txt

Each line is one figure: books are simulated from known daily hazards (seeded), the measure is asked as a user would
ask it, and the share of intervals that hold the truth is counted. The truth is worked out exactly from the hazards,
not simulated. Not run in CI; two minutes on two idle cores.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import time
from collections.abc import Callable

import numpy as np
import pandas as pd

from collectlab.core.engine import connection
from collectlab.measures import survival
from collectlab.measures.cure import cure_rate
from collectlab.measures.recovery import recovery_curve

BATCH = 50
LAST = 400
DAYS = np.arange(1, LAST + 1)
#: Daily hazards of cure and of charge-off, and each arm's factor on the first.
CURE = 0.004 + 0.03 * np.exp(-DAYS / 40)
OFF = np.where(DAYS > 45, 0.004, 0.0)
HORIZONS = [30, 60, 90]

Found = dict[str, list[bool]]


def simulate(rng: np.random.Generator, factor: np.ndarray, watched: np.ndarray, gap: int = 0) -> pd.DataFrame:
    """Episodes with these factors on the hazard of cure, censored after ``watched`` days; a row each.

    With ``gap``, half are first seen up to so many days late, and whoever had ended by then is not in the book.
    """
    n = len(factor)
    exit_day, outcome = watched.copy(), np.full(n, "censored", dtype=object)
    open_ = np.ones(n, dtype=bool)
    for day, cure, off in zip(DAYS, CURE, OFF):
        draw = rng.random(n)
        cured = open_ & (draw < cure * factor) & (day <= watched)
        gone = open_ & ~cured & (draw > 1 - off) & (day <= watched)
        for ended, name in ((cured, "cured"), (gone, "charged_off")):
            exit_day[ended], outcome[ended] = day, name
        open_ &= ~(cured | gone)
    frame = pd.DataFrame({"exit_day": exit_day, "outcome": outcome, "entry_day": 0})
    if gap:
        frame["entry_day"] = np.where(rng.random(n) < 0.5, rng.integers(0, gap + 1, n), 0)
        frame["kept"] = frame["entry_day"] < frame["exit_day"]
    return frame


def truth(factor: float = 1.0) -> dict[str, np.ndarray]:
    """S of cure alone, and the cumulative incidences, on days 0 … LAST."""
    alone = np.concatenate([[1.0], np.cumprod(1 - CURE * factor)])
    both = np.concatenate([[1.0], np.cumprod(1 - CURE * factor - OFF)])
    return {
        "alone": alone,
        "cured": np.concatenate([[0.0], np.cumsum(both[:-1] * CURE * factor)]),
        "charged_off": np.concatenate([[0.0], np.cumsum(both[:-1] * OFF)]),
    }


def hits(found: Found, name: str, rows: pd.DataFrame, expected: float) -> None:
    """Whether each row's interval holds the expected figure; an interval that is missing does not."""
    inside = (rows["conf_low"] <= expected) & (rows["conf_high"] >= expected)
    found.setdefault(name, []).extend(inside.tolist())


def books(rng: np.random.Generator, size: int, n: int, gap: int = 0) -> pd.DataFrame:
    """``size`` books of ``n`` episodes, told apart by ``book``."""
    total = size * n
    frame = simulate(rng, np.ones(total), rng.integers(40, 240, total), gap)
    return frame.assign(book=np.repeat(np.arange(size), n))


def curves(rng: np.random.Generator, size: int) -> Found:
    """Kaplan–Meier, Aalen–Johansen, means and bands in books of 300."""
    found: Found = {}
    known = truth()
    frame = books(rng, size, 300)
    counted = survival.count(frame, by="book")
    km = survival.kaplan_meier(counted)
    for day, rows in km.at(HORIZONS).groupby("day"):
        hits(found, f"Kaplan–Meier, day {day}", rows, known["alone"][day])
    for (outcome, day), rows in (
        survival.cumulative_incidence(counted).at(HORIZONS).groupby(["outcome", "day"])
    ):
        if known[outcome][day]:
            hits(found, f"Aalen–Johansen, {outcome}, day {day}", rows, known[outcome][day])
    mean = survival.restricted_mean(counted, horizon=90).table
    hits(found, "restricted mean, 90 days", mean, known["alone"][:90].sum())
    for outcome, rows in survival.time_lost(counted, horizon=90).table.groupby("outcome"):
        hits(found, f"time lost to {outcome}, 90 days", rows, known[outcome][:90].sum())
    for p, rows in km.quantiles([0.25, 0.5]).table.groupby("p"):
        hits(
            found, f"day by which {p:.0%} are cured", rows, float(np.argmax(1 - known["alone"] >= p - 1e-12))
        )
    for kind in ("equal-precision", "hall-wellner"):
        band = km.band(kind, from_day=15, to_day=90).at(list(range(15, 91)))
        expected = known["alone"][band["day"]]
        inside = (band["conf_low"] <= expected) & (band["conf_high"] >= expected)
        found[f"{kind} band, days 15 to 90"] = inside.groupby(band["book"]).all().tolist()
    return found


def late(rng: np.random.Generator, size: int) -> Found:
    """Half first seen up to 30 days late: books of about 300."""
    found: Found = {}
    known = truth()
    frame = books(rng, size, 340, gap=30).query("kept")
    counted = survival.count(frame, entry="entry_day", by="book", squares=True)
    for robust in (False, True):
        label = "late entry, robust" if robust else "late entry"
        km = survival.kaplan_meier(counted, robust=robust)
        for day, rows in km.at(HORIZONS).groupby("day"):
            hits(found, f"Kaplan–Meier, {label}, day {day}", rows, known["alone"][day])
        aj = survival.cumulative_incidence(counted, robust=robust).at(90)
        for outcome, rows in aj.groupby("outcome"):
            hits(found, f"Aalen–Johansen, {label}, {outcome}, day 90", rows, known[outcome][90])
    return found


def sampled(rng: np.random.Generator, size: int) -> Found:
    """Quick payers are kept in the sample one in four: inverse-probability weights with robust errors."""
    found: Found = {}
    n = 600 * size
    quick = rng.random(n) < 0.5
    frame = simulate(rng, np.where(quick, 1.6, 0.4), rng.integers(40, 240, n))
    frame = frame.assign(book=np.repeat(np.arange(size), 600), w=np.where(quick, 4.0, 1.0))
    frame = frame[rng.random(n) < 1 / frame["w"]]
    slow, fast = truth(0.4), truth(1.6)
    aj = survival.cumulative_incidence(frame, by="book", weight="w", robust=True)
    for day, rows in aj.at(HORIZONS).query("outcome == 'cured'").groupby("day"):
        expected = (slow["cured"][day] + fast["cured"][day]) / 2
        hits(found, f"inverse-probability weights, robust, day {day}", rows, expected)
    return found


def differences(rng: np.random.Generator, size: int) -> Found:
    """Two arms of 200, and the tests between arms that are alike: 1 − their rate of rejection."""
    found: Found = {}
    control, treated = truth(1.0), truth(1.5)
    for _ in range(size):
        arm = np.repeat(["A", "B"], 200)
        frame = simulate(rng, np.where(arm == "B", 1.5, 1.0), rng.integers(40, 240, 400)).assign(arm=arm)
        counted = survival.count(frame, by="arm")
        rows = survival.restricted_mean_difference(counted, by="arm", horizon=90).table
        expected = (treated["alone"] - control["alone"])[:90].sum()
        hits(found, "difference of restricted means, 90 days", rows, expected)
        rows = survival.time_lost_difference(counted, by="arm", horizon=90).table
        expected = (treated["cured"] - control["cured"])[:90].sum()
        hits(found, "difference in time lost to cure, 90 days", rows.query("outcome == 'cured'"), expected)
        alike = simulate(rng, np.ones(450), rng.integers(40, 240, 450)).assign(
            arm=rng.choice(list("ABC"), 450)
        )
        counted = survival.count(alike, by="arm")
        for name, test in (("log-rank", survival.log_rank), ("Gray's", survival.gray_test)):
            p_value = test(counted, by="arm").p_value
            found.setdefault(f"{name} test, three arms alike, p > 0.05", []).append(p_value > 0.05)
    return found


def customers(rng: np.random.Generator, size: int, n: int) -> tuple[pd.DataFrame, np.ndarray]:
    """``n`` customers a book with one to four episodes each, all quick or all slow; and who is quick."""
    whose = np.repeat(np.arange(size * n), rng.choice([1, 2, 3, 4], size * n, p=[0.4, 0.3, 0.2, 0.1]))
    quick = (rng.random(size * n) < 0.5)[whose]
    frame = pd.DataFrame({"customer_id": whose, "book": whose // n})
    return frame, quick


def clustered(rng: np.random.Generator, size: int) -> Found:
    """Repeated episodes of 200 customers: the delete-a-group jackknife."""
    found: Found = {}
    frame, quick = customers(rng, size, 200)
    ends = simulate(rng, np.where(quick, 2.2, 0.3), rng.integers(40, 240, len(frame)))
    frame = pd.concat([frame, ends], axis=1)
    slow, fast = truth(0.3), truth(2.2)
    rates = cure_rate(frame, horizons=HORIZONS, by="book", cluster="customer_id").table
    for day, rows in rates.groupby("horizon"):
        expected = (slow["cured"][day] + fast["cured"][day]) / 2
        hits(found, f"cure rate, clustered, {day} days", rows, expected)
    # Charge-off as censoring would depend on the customer: here everything is one event.
    ended = frame.assign(outcome=frame["outcome"].where(frame["outcome"] == "censored", "cured"))
    counted = survival.count(ended, by="book", cluster="customer_id")
    free = {k: 1 - known["cured"] - known["charged_off"] for k, known in (("slow", slow), ("fast", fast))}
    for cluster in ("customer_id", None):
        label = "clustered" if cluster else "clustered, taken as independent (for comparison)"
        km = survival.kaplan_meier(counted, cluster=cluster)
        for day, rows in km.at(HORIZONS).groupby("day"):
            expected = (free["slow"][day] + free["fast"][day]) / 2
            hits(found, f"Kaplan–Meier, {label}, day {day}", rows, expected)
    rows = survival.restricted_mean(counted, horizon=90, cluster="customer_id").table
    hits(found, "restricted mean, clustered, 90 days", rows, (free["slow"] + free["fast"])[:90].sum() / 2)
    return found


def recovery(rng: np.random.Generator, size: int) -> Found:
    """Large debts are cured more slowly; a fifth is paid on a day within 60, and the rest with the cure."""
    found: Found = {}
    frame, quick = customers(rng, size, 250)
    n = len(frame)
    ends = simulate(rng, np.where(quick, 2.0, 0.6), rng.integers(40, 240, n))
    # Nobody is charged off here: those episodes are censored then, which is as good as independent of the rest.
    ends["outcome"] = ends["outcome"].where(ends["outcome"] == "cured", "censored")
    start = pd.Timestamp("2024-01-01")
    frame = pd.concat([frame, ends], axis=1).assign(
        account_id=np.arange(n),
        started_on=start,
        amount_at_entry=np.round(np.where(quick, 1_000, 4_000) * rng.lognormal(-0.125, 0.5, n), 2),
    )
    partial_day = rng.integers(1, 61, n)
    early = partial_day < frame["exit_day"]
    first = np.where(early, np.round(0.2 * frame["amount_at_entry"], 2), 0.0)
    cured = frame["outcome"] == "cured"
    payments = pd.concat(
        [
            pd.DataFrame({"account_id": frame["account_id"], "day": partial_day, "amount": first})[early],
            pd.DataFrame(
                {
                    "account_id": frame["account_id"],
                    "day": frame["exit_day"],
                    "amount": frame["amount_at_entry"] - first,
                }
            )[cured],
        ]
    )
    payments["paid_on"] = start + pd.to_timedelta(payments.pop("day"), unit="D")
    curve = recovery_curve(frame, payments, by="book", horizon=90, as_of=pd.Timestamp("2025-12-31").date())
    share = {"quick": 1_000 / 5_000, "slow": 4_000 / 5_000}
    cures = {"quick": 1 - truth(2.0)["alone"], "slow": 1 - truth(0.6)["alone"]}
    for day, rows in curve.at(HORIZONS).groupby("day"):
        expected = sum(
            share[k] * (cures[k][day] + 0.2 * (1 - cures[k][day]) * min(day, 60) / 60) for k in share
        )
        hits(found, f"mean cumulative recovery, day {day}", rows, expected)
    return found


STUDIES: tuple[Callable[[np.random.Generator, int], Found], ...] = (
    curves,
    late,
    sampled,
    differences,
    clustered,
    recovery,
)


def one_batch(job: tuple[int, int]) -> Found:
    study, seed = job
    connection().execute("SET threads = 1")
    return STUDIES[study](np.random.default_rng([study, seed]), BATCH)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--replications", type=int, default=2000)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--study", choices=[s.__name__ for s in STUDIES], help="only this one")
    chosen = parser.parse_args()
    batches = -(-chosen.replications // BATCH)
    jobs = [
        (study, seed)
        for study, f in enumerate(STUDIES)
        if chosen.study in (None, f.__name__)
        for seed in range(batches)
    ]
    began = time.perf_counter()
    found: Found = {}
    os.environ["OPENBLAS_NUM_THREADS"] = "1"  # of small matrices, where more threads only wait for each other
    with multiprocessing.get_context("spawn").Pool(chosen.processes) as pool:
        for part in pool.imap(one_batch, jobs):
            for name, values in part.items():
                found.setdefault(name, []).extend(values)
    width = max(map(len, found))
    print("Nominal 95 % intervals: how many of 100 hold the truth (± the simulation's own standard error).\n")
    print(f"{'figure':<{width}}  replications  covered, %")
    for name, values in found.items():
        p = np.mean(values)
        print(
            f"{name:<{width}}  {len(values):>12,}  {100 * p:>5.1f} ± {100 * np.sqrt(p * (1 - p) / len(values)):.1f}"
        )
    print(
        "\nQuantiles are whole days, so their intervals cover more than they say. 'Taken as independent' shows what "
        "leaving\nout cluster= costs; the tests are held to 5 % rejections."
    )
    minutes = (time.perf_counter() - began) / 60
    print(f"\nSeeded; {minutes:.0f} minutes with {chosen.processes} processes.")


if __name__ == "__main__":
    main()
