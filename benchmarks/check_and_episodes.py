"""What a month costs beside reading it: check, freeze, episodes and cumulative incidence, against a bare scan.

    python benchmarks/check_and_episodes.py --accounts 100000

simulates a book into a temporary folder, runs each step in a process of its own, and prints the best wall time
of ``--repeats`` runs, the peak memory of the process, and the time as a multiple of a bare scan of the same
columns. The scan is timed in the same process, right before the step.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import collectlab as cl
from collectlab.book.freeze import freeze
from collectlab.core.engine import connection, materialise

SPELLS = {
    "snapshots": ["account_id", "as_of", "days_past_due", "status", "balance", "amount_past_due"],
    "accounts": ["*"],
}
ENDS = {
    "snapshots": ["account_id", "as_of", "days_past_due", "status"],
    "accounts": ["account_id", "originated_on"],
}
EVERYTHING = {table: ["*"] for table in ("accounts", "snapshots", "payments", "actions", "assignments")} | {
    table: ["*"] for table in ("arrangements", "complaints", "surveys", "legal_cases", "reasons")
}


def check(work: Path, run: int) -> None:
    cl.open_book(work / "book").reconciliation  # noqa: B018 - computed when asked for


def write_frozen(work: Path, run: int) -> None:
    freeze(work / "book", work / f"frozen_{run}")


def episodes(work: Path, run: int) -> None:
    materialise(cl.open_book(work / "frozen_0").episodes())


def incidence(work: Path, run: int) -> None:
    cl.survival.cumulative_incidence(cl.open_book(work / "frozen_0").episodes(), entry="entry_day")


#: Step → (what is run, the book it reads, the columns a bare scan of the same reads).
STEPS: dict[str, tuple[Callable[[Path, int], None], str, dict[str, list[str]]]] = {
    "check": (check, "book", EVERYTHING),
    "freeze (with its check)": (write_frozen, "book", EVERYTHING),
    "episodes, kept in memory": (episodes, "frozen_0", SPELLS),
    "episodes, cumulative incidence": (incidence, "frozen_0", ENDS),
}


def bare_scan(folder: Path, columns: dict[str, list[str]]) -> None:
    """Read every value of the columns once; the hash keeps the engine from answering out of statistics."""
    for table, names in columns.items():
        chosen = "COLUMNS(*)" if names == ["*"] else ", ".join(names)
        rows = f"SELECT {chosen} FROM '{folder / table}.parquet'"
        connection().execute(f"SELECT bit_xor(hash(r)) FROM ({rows}) AS r").fetchall()


def best(action: Callable[[int], None], repeats: int) -> float:
    times = []
    for run in range(repeats):
        start = time.perf_counter()
        action(run)
        times.append(time.perf_counter() - start)
    return min(times)


def measure(step: str, work: Path, repeats: int) -> dict[str, float]:
    """In the child process: the scan's time, the step's time, and the peak memory."""
    action, folder, columns = STEPS[step]
    scan = best(lambda run: bare_scan(work / folder, columns), repeats)
    scanned = peak_megabytes()
    wall = best(lambda run: action(work, run), repeats)
    return {"scan": scan, "scan_peak": scanned, "wall": wall, "peak": peak_megabytes()}


def peak_megabytes() -> float:
    """Peak memory of this process alone: getrusage would begin with what the parent held when it forked."""
    status = Path("/proc/self/status")
    if status.exists():
        return int(re.search(r"VmHWM:\s+(\d+) kB", status.read_text())[1]) / 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # macOS counts bytes


def machine() -> str:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{cores} cores, {memory:.0f} GB memory, {platform.machine()}, Python {platform.python_version()}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--accounts", type=int, default=100_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--step", choices=list(STEPS), help=argparse.SUPPRESS)
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.step:
        print(json.dumps(measure(given.step, given.work, given.repeats)))
        return
    with tempfile.TemporaryDirectory() as place:
        work = Path(place)
        written = cl.simulate.write_book(work / "book", accounts=given.accounts, truth_accounts=0)
        size = dict(zip(written["table"], written["rows"]))
        print(f"machine: {machine()}")
        print(
            f"book: {size['accounts']:,} accounts, {size['snapshots']:,} snapshots, "
            f"{written['rows'].sum():,} rows in all, {written['bytes'].sum() / 1e6:,.0f} MB of Parquet"
        )
        print(f"best of {given.repeats} runs; memory is the peak of the whole process, Python included\n")
        print(f"{'step':<34}{'wall, s':>9}{'scan, s':>9}{'ratio':>8}{'peak, MB':>10}{'scan, MB':>10}")
        for step in STEPS:
            command = [sys.executable, __file__, "--step", step, "--work", str(work)]
            child = subprocess.run(
                [*command, "--repeats", str(given.repeats)], stdout=subprocess.PIPE, text=True, check=True
            )
            found = json.loads(child.stdout.splitlines()[-1])
            print(
                f"{step:<34}{found['wall']:>9.2f}{found['scan']:>9.2f}{found['wall'] / found['scan']:>8.1f}"
                f"{found['peak']:>10,.0f}{found['scan_peak']:>10,.0f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
