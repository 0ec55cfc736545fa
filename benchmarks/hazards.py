"""Hazard ratios of cure from 8 covariates: grouped hazards on counted cells against Cox regressions on rows.

    python benchmarks/hazards.py --rows 100000 1000000
    python benchmarks/hazards.py --rows 10000000 --repeats 1        # lifelines takes about 7 GB

draws seeded episodes into a temporary Parquet file and fits each program in a process of its own. Ours is timed from
the file to the result; the others from the frame in memory (reading is not held against them), with the columns they
need. Prints the median wall time and processor time, their ratio to ours, the peak memory of the process, and the
largest distance of a coefficient from ours, relative to it and in the other's standard errors. ``--numbers`` says
whether score, ltv, balance and rate are drawn in steps (the same patterns for everybody) or as they are (ours then
counts them in bins and the others do not).
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

COVARIATES = ["score", "ltv", "balance", "rate", "prior", "autopay", "treat", "secured"]
#: Program → (module it needs, rows beyond which it is not asked: too slow or too large).
PEERS = {
    "lifelines": ("lifelines", 20_000_000),
    "scikit-survival": ("sksurv", 200_000),
    "statsmodels": ("statsmodels", 200_000),
}
_CHUNK = 1_000_000


def draw(path: Path, rows: int, numbers: str) -> None:
    """Weibull-like cure and charge-off hazards with a charge-off day, whole days, censoring by the book's end."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    writer = None
    for first in range(0, rows, _CHUNK):
        n = min(_CHUNK, rows - first)
        rng = np.random.default_rng([20261122, first])
        score, ltv = rng.normal(0, 1, n), rng.normal(0.8, 0.2, n)
        balance, rate = rng.normal(8.5, 0.8, n), rng.uniform(4, 24, n)
        if numbers == "steps":
            score, ltv = np.clip(np.round(score * 1.5) / 1.5, -2, 2), np.clip(np.round(ltv * 5) / 5, 0.4, 1.2)
            balance, rate = np.clip(np.round(balance), 7, 10), 4 + 5 * np.floor((rate - 4) / 5)
        prior = np.minimum(rng.poisson(0.8, n), 3)
        autopay, treat, secured = (rng.binomial(1, p, n) for p in (0.4, 0.5, 0.45))
        cure = 0.35 * score - 0.3 * (ltv - 0.8) - 0.1 * (balance - 8.5) - 0.01 * (rate - 14) - 0.2 * prior
        cure += 0.4 * autopay + 0.18 * treat + 0.05 * secured
        loss = -0.45 * score + 0.7 * (ltv - 0.8) + 0.25 * prior - 0.3 * autopay - 0.25 * secured
        t = (rng.exponential(1, n) / np.exp(cure)) ** (1 / 0.65) * 75
        u = 60 + (rng.exponential(1, n) / np.exp(loss)) ** (1 / 1.3) * 260
        u = np.where(rng.random(n) < 0.3, np.minimum(u, 180), u)
        end = rng.uniform(20, 720, n)
        day = np.maximum(np.ceil(np.minimum(np.minimum(t, u), end)), 1).astype(np.int32)
        outcome = np.where(end <= np.minimum(t, u), "censored", np.where(t <= u, "cured", "charged_off"))
        columns = (score, ltv, balance, rate, prior, autopay, treat, secured)
        table = pa.table(dict(zip(COVARIATES, columns)) | {"exit_day": day, "outcome": outcome})
        writer = writer or pq.ParquetWriter(path, table.schema)
        writer.write_table(table, row_group_size=122_880)
    writer.close()


def fit(program: str, path: Path) -> tuple[float, float, dict[str, float], dict[str, float], list[str]]:
    """In the child: wall and processor seconds, coefficients, errors, what the result says of itself."""
    if program == "collectlab":
        import statsmodels.api  # noqa: F401 - what others import before the clock starts, we may too

        import collectlab as cl
        from collectlab.core.engine import connection

        connection()
        cl.drivers  # noqa: B018 - loaded on first use
        start = time.perf_counter(), time.process_time()
        result = cl.drivers.proportional_hazards(
            path, covariates=COVARIATES, steps=dict.fromkeys(COVARIATES, 1)
        )
        spent = time.perf_counter() - start[0], time.process_time() - start[1]
        table = result.table
        sign = np.where(table["reference"] == "1", -1, 1)  # the more frequent level is the reference
        beta = dict(zip(table["term"], sign * np.log(table["estimate"])))
        return *spent, beta, dict(zip(table["term"], table["std_error"])), list(result.notes)
    frame = pd.read_parquet(path)
    event = frame.pop("outcome") == "cured"
    if program == "lifelines":
        from lifelines import CoxPHFitter

        frame["event"] = event
        start = time.perf_counter(), time.process_time()
        fitted = CoxPHFitter().fit(frame, "exit_day", "event")
        beta, error = fitted.params_, fitted.standard_errors_
    elif program == "scikit-survival":
        from sksurv.linear_model import CoxPHSurvivalAnalysis
        from sksurv.util import Surv

        days = Surv.from_arrays(event, frame.pop("exit_day"))
        start = time.perf_counter(), time.process_time()
        fitted = CoxPHSurvivalAnalysis(ties="efron").fit(frame, days)
        beta, error = pd.Series(fitted.coef_, COVARIATES), pd.Series(np.nan, COVARIATES)
    else:
        import statsmodels.api as sm

        days = frame.pop("exit_day")
        start = time.perf_counter(), time.process_time()
        fitted = sm.PHReg(days, frame, status=event, ties="efron").fit()
        beta, error = pd.Series(fitted.params, COVARIATES), pd.Series(fitted.bse, COVARIATES)
    spent = time.perf_counter() - start[0], time.process_time() - start[1]
    return *spent, beta.to_dict(), error.to_dict(), []


def peak_megabytes() -> float:
    from check_and_episodes import peak_megabytes as peak

    return peak()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--numbers", choices=["steps", "continuous"], default="steps")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--program", help=argparse.SUPPRESS)
    parser.add_argument("--path", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.program:
        wall, cpu, beta, error, notes = fit(given.program, given.path)
        print(json.dumps([wall, cpu, beta, error, notes, peak_megabytes()]))
        return
    from check_and_episodes import machine

    print(f"machine: {machine()}, load {os.getloadavg()[0]:.1f}")
    print(
        f"median of {given.repeats} runs; numbers drawn {'in steps' if given.numbers == 'steps' else 'as they are'}\n"
    )
    head = f"{'rows':>11} {'program':<16}{'wall, s':>9}{'cpu, s':>8}{'× ours':>8}{'peak, MB':>10}{'|Δβ| / |β|':>12}{'|Δβ| / se':>11}"
    print(head)
    for rows in given.rows:
        with tempfile.TemporaryDirectory() as place:
            path = Path(place) / "episodes.parquet"
            draw(path, rows, given.numbers)
            ours: list = []
            for program in ("collectlab", *PEERS):
                module, most = PEERS.get(program, ("collectlab", rows))
                if importlib.util.find_spec(module) is None or rows > most:
                    why = "not installed" if rows <= most else "not asked at this size"
                    print(f"{rows:>11,} {program:<16}{why:>26}", flush=True)
                    continue
                command = [sys.executable, __file__, "--program", program, "--path", str(path)]
                runs = []
                for _ in range(given.repeats):
                    child = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
                    runs.append(json.loads(child.stdout.splitlines()[-1]))
                wall, cpu = (statistics.median(r[k] for r in runs) for k in (0, 1))
                beta, error, peak = runs[0][2], runs[0][3], max(r[5] for r in runs)
                ours = ours or [wall, beta, runs[0][4]]
                gaps = {t: abs(beta[t] - ours[1][t]) for t in COVARIATES}
                relative = max(gaps[t] / abs(beta[t]) for t in COVARIATES)
                in_errors = max(gaps[t] / error[t] for t in COVARIATES)
                agree = f"{relative:>12.2%}{in_errors:>11.2f}" if program != "collectlab" else ""
                print(
                    f"{rows:>11,} {program:<16}{wall:>9.2f}{cpu:>8.2f}{wall / ours[0]:>8.1f}{peak:>10,.0f}{agree}",
                    flush=True,
                )
            print(f"{'':>11} {ours[2][0]}\n")


if __name__ == "__main__":
    main()
