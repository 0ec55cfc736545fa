"""Survival measures beside their peers, on the same seeded episodes: wall time, ratios, peak memory.

    python benchmarks/survival.py --sizes 100000 1000000
    python benchmarks/survival.py --sizes 10000000 100000000 --peers statsmodels scikit-survival

writes episodes of 12 teams with three competing outcomes to Parquet in a temporary folder and runs each step in
a process of its own. Ours are timed in turn with the plain SQL that they are compared with, in the same process,
so that a busy machine slows both. Peers must first read the columns into memory: that is timed apart. A peer that
is not installed is said to be so; one that takes longer than ``--limit`` seconds is stopped.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import json
import os
import platform
import re
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from survival_peers import HORIZON, INCIDENCE, PEERS, read_frame

import collectlab as cl
from collectlab.core.engine import connection

SEED = 20261031
TEAMS = [f"team {i:02d}" for i in range(1, 13)]
OUTCOMES = ["censored", "cured", "charged_off", "sold"]
R_SCRIPT = Path(__file__).with_suffix(".R")


def write_episodes(work: Path, rows: int) -> None:
    """Whole-day durations up to 720 days; three in ten are first seen after day 0."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rng, writer = np.random.default_rng(SEED), None
    raw = {name: (work / f"{name}.bin").open("wb") for name in ("exit_day", "outcome", "team")}
    for start in range(0, rows, 1_000_000):
        n = min(1_000_000, rows - start)
        team = rng.integers(len(TEAMS), size=n, dtype=np.int32)
        speed = 1 + 0.05 * team
        days = np.stack([30 + rng.uniform(0, 690, n), 60 * rng.exponential(size=n) / speed,
                         400 * rng.exponential(size=n), 1500 * rng.exponential(size=n)])  # fmt: skip
        outcome = days.argmin(axis=0).astype(np.int32)
        left = np.ceil(days.min(axis=0)).clip(1, 720).astype(np.int32)
        late = rng.uniform(size=n) < 0.3
        entry = np.where(late, np.floor(rng.uniform(size=n) * left), 0).astype(np.int32)
        table = pa.table({
            "team": pa.DictionaryArray.from_arrays(team, TEAMS).cast(pa.string()),
            "entry_day": entry, "exit_day": left,
            "outcome": pa.DictionaryArray.from_arrays(outcome, OUTCOMES).cast(pa.string()),
        })  # fmt: skip
        writer = writer or pq.ParquetWriter(work / "episodes.parquet", table.schema)
        writer.write_table(table, row_group_size=122_880)
        for name, values in (("exit_day", left), ("outcome", outcome), ("team", team)):
            values.tofile(raw[name])
    writer.close()
    for file in raw.values():
        file.close()


# ------------------------------------------------------------------------------------------------- ours

_COLUMNS = {"duration": "exit_day", "outcome": "outcome", "by": "team"}
_PLAIN = "SELECT team, exit_day, outcome, count(*) FROM '{file}' GROUP BY ALL"
_NARROW = (
    "SELECT team, exit_day, outcome, count(*) FROM '{file}' WHERE entry_day < exit_day GROUP BY ALL "
    "UNION ALL SELECT team, entry_day, NULL, count(*) FROM '{file}' WHERE entry_day < exit_day GROUP BY ALL"
)
_SCAN = "SELECT bit_xor(hash(team, exit_day, outcome)) FROM '{file}'"
_FOUR_KEYS = "SELECT team, entry_day, exit_day, outcome, count(*) FROM '{file}' GROUP BY ALL"


def _cured(curves: Any) -> float:
    """Share of the first team cured by the horizon: what every program must agree on."""
    table = curves.at(HORIZON)
    return float(table.loc[(table["team"] == TEAMS[0]) & (table["outcome"] == "cured"), "estimate"].iloc[0])


def _kaplan_meier(frame: Any) -> float:
    table = cl.survival.kaplan_meier(frame, **_COLUMNS).at(HORIZON)
    return float(table.loc[table["team"] == TEAMS[0], "estimate"].iloc[0])


def _restricted_mean(frame: Any) -> float:
    return float(cl.survival.restricted_mean(frame, horizon=HORIZON, **_COLUMNS).table["estimate"].iloc[0])


def _four(frame: Any) -> float:
    counted = cl.survival.count(frame, **_COLUMNS)
    cl.survival.kaplan_meier(counted)
    cl.survival.log_rank(counted, by="team")
    cl.survival.restricted_mean(counted, horizon=HORIZON)
    return _cured(cl.survival.cumulative_incidence(counted))


@dataclass(frozen=True)
class Ours:
    """A measure of the library, and the SQL it is timed in turn with."""

    run: Callable[[Any], float]
    beside: str = _PLAIN


_TRUNCATED = f"{INCIDENCE}, left truncation"
OURS = {
    "plain SQL group-by (beside: bare scan)": Ours(
        lambda file: connection().execute(_PLAIN.format(file=file)).fetchall() and float("nan"), _SCAN
    ),
    INCIDENCE: Ours(lambda frame: _cured(cl.survival.cumulative_incidence(frame, **_COLUMNS))),
    "Kaplan–Meier": Ours(_kaplan_meier),
    "log-rank": Ours(lambda frame: float(cl.survival.log_rank(frame, **_COLUMNS).statistic)),
    "restricted mean": Ours(_restricted_mean),
    "all four from one scan": Ours(_four),
    "Gray's test": Ours(lambda frame: float(cl.survival.gray_test(frame, **_COLUMNS).statistic)),
    _TRUNCATED: Ours(
        lambda frame: _cured(cl.survival.cumulative_incidence(frame, entry="entry_day", **_COLUMNS)), _NARROW
    ),
    f"{_TRUNCATED} (beside: four keys)": Ours(
        lambda frame: _cured(cl.survival.cumulative_incidence(frame, entry="entry_day", **_COLUMNS)),
        _FOUR_KEYS,
    ),
}


def ours(name: str, work: Path, repeats: int, memory: bool) -> dict[str, Any]:
    """In the child: medians of the measure and of the SQL beside it, taken in turn."""
    step, file = OURS[name], work / "episodes.parquet"
    given: Any = file
    if memory:
        import pandas as pd

        given = pd.read_parquet(file)
    found: dict[str, Any] = {"compute": [], "cpu": [], "beside": []}
    for _ in range(repeats + 1):
        start = time.perf_counter()
        connection().execute(step.beside.format(file=file)).fetchall()
        middle, cpu = time.perf_counter(), time.process_time()
        found["value"] = step.run(given)
        found["cpu"].append(time.process_time() - cpu)
        found["compute"].append(time.perf_counter() - middle)
        found["beside"].append(middle - start)
    return found | {name: times[1:] for name, times in found.items() if isinstance(times, list)}


# ------------------------------------------------------------------------------------------------ peers


def peer(name: str, measure: str, work: Path, repeats: int) -> dict[str, Any]:
    """In the child: how long the columns took to read, and the measure's times."""
    frame, read = read_frame(work / "episodes.parquet", OUTCOMES)
    found: dict[str, Any] = {"read": read, "compute": [], "cpu": []}
    spent = 0.0
    while len(found["compute"]) < repeats and (spent < 20 or not found["compute"]):
        start, cpu = time.perf_counter(), time.process_time()
        found["value"] = PEERS[name][1][measure](frame)  # type: ignore[operator]
        found["compute"].append(time.perf_counter() - start)
        found["cpu"].append(time.process_time() - cpu)
        spent += found["compute"][-1]
    return found


def peak_megabytes() -> float:
    """Peak memory of this process alone: getrusage would begin with what the parent held when it forked."""
    status = Path("/proc/self/status")
    if status.exists():
        return int(re.search(r"VmHWM:\s+(\d+) kB", status.read_text())[1]) / 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # macOS counts bytes


# ------------------------------------------------------------------------------------------ the parent


def version(module: str) -> str | None:
    """The version that is installed, or None."""
    if module.startswith("R:"):
        if not (rscript := shutil.which("Rscript")):
            return None
        asked = f"cat(as.character(packageVersion('{module[2:]}')), 'under', R.version.string)"
        told = subprocess.run([rscript, "-e", asked], capture_output=True, text=True, check=False)
        return told.stdout.strip() or None if told.returncode == 0 else None
    if importlib.util.find_spec(module) is None:
        return None
    return importlib.metadata.version({"sksurv": "scikit-survival"}.get(module, module))


def child(arguments: list[str], work: Path, limit: float) -> dict[str, Any] | str:
    """What a child process printed, or in a word why it printed nothing."""
    try:
        done = subprocess.run(arguments, capture_output=True, text=True, timeout=limit, check=False)
    except subprocess.TimeoutExpired:
        return f"stopped after {limit:g} s"
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["killed"])[-1]
        return f"failed ({done.returncode}): {last[:80]}"
    return json.loads(done.stdout.splitlines()[-1])


def line(name: str, found: dict[str, Any] | str, base: float | None) -> float | None:
    """Print one row; return its time from Parquet."""
    if isinstance(found, str):
        print(f"{name:<68}{found:>12}", flush=True)
        return None
    compute, cpu = (statistics.median(found[what]) for what in ("compute", "cpu"))
    read = found.get("read", 0.0)
    ratio = (
        statistics.median(a / b for a, b in zip(found["compute"], found["beside"]))
        if "beside" in found
        else None
    )
    beside = f"{ratio:>9.2f}" if ratio else f"{'':>9}"
    ours_ = f"{(read + compute) / base:>9.1f}" if base else f"{'':>9}"
    value = "" if found["value"] != found["value"] else f"{found['value']:>14.6g}"
    print(
        f"{name:<68}{read:>9.3f}{compute:>9.3f}{cpu:>9.3f}{beside}{ours_}{found['peak']:>9,.0f}{value}",
        flush=True,
    )
    return read + compute


def main() -> None:
    """Run everything, or one step in a child."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--limit", type=float, default=300, help="seconds a step may take")
    parser.add_argument("--peers", nargs="*", choices=list(PEERS), default=list(PEERS))
    for hidden in ("--step", "--peer", "--work"):
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    parser.add_argument("--memory", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.step:
        work = Path(given.work)
        if given.peer:
            found = peer(given.peer, given.step, work, given.repeats)
        else:
            found = ours(given.step, work, given.repeats, given.memory)
        print(json.dumps({**found, "peak": peak_megabytes()}))
        return
    machine()
    for rows in given.sizes:
        with tempfile.TemporaryDirectory() as place:
            measure(Path(place), rows, given)


def machine() -> None:
    """Say what this runs on, and with which versions."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    print(
        f"machine: {cores} cores, {memory:.0f} GB memory, {platform.machine()}, Python {platform.python_version()}"
    )
    versions = {"collectlab": cl.__version__, "duckdb": importlib.metadata.version("duckdb")}
    versions |= {name: version(module) or "not installed" for name, (module, _) in PEERS.items()}
    print("versions: " + ", ".join(f"{name} {v}" for name, v in versions.items()))


def measure(work: Path, rows: int, given: argparse.Namespace) -> None:
    """One size: every step, then the targets."""
    write_episodes(work, rows)
    size = (work / "episodes.parquet").stat().st_size / 1e6
    print(
        f"\n{rows:,} episodes, {len(TEAMS)} teams, {size:,.1f} MB of Parquet; medians of {given.repeats} runs"
    )
    print(
        "read: into memory, s; compute: s; cpu: the same as processor time of all threads; ÷ SQL: against the SQL run in turn with it; × ours: read and compute "
        "against ours from Parquet;\npeak: the whole process, MB; value: what all programs must agree on\n"
    )
    print(f"{'':<68}{'read':>9}{'compute':>9}{'cpu':>9}{'÷ SQL':>9}{'× ours':>9}{'peak':>9}{'value':>14}")
    options = ["--work", str(work), "--repeats", str(given.repeats)]
    command = [sys.executable, __file__, *options]
    found: dict[str, Any] = {}
    walls: dict[str, float | None] = {}
    for name in OURS:
        found[name] = child([*command, "--step", name], work, given.limit)
        walls[name] = line(name, found[name], None)
    if rows <= 1_000_000:
        label = f"{INCIDENCE}, from pandas in memory"
        found[label] = child([*command, "--step", INCIDENCE, "--memory"], work, given.limit)
        line(label, found[label], None)
    for name in given.peers:
        module, measures = PEERS[name]
        for what, how in measures.items():
            label = f"{name}: {what}"
            if version(module) is None:
                line(label, "not installed", None)
                continue
            if isinstance(how, str):
                step = [shutil.which("Rscript"), str(R_SCRIPT), how, str(work), str(given.repeats)]
            else:
                step = [*command, "--peer", name, "--step", what]
            found[label] = child(step, work, given.limit)
            line(label, found[label], walls.get(what) or walls[INCIDENCE])
    targets(found, walls, rows, given.limit)


def targets(found: dict[str, Any], walls: dict[str, float | None], rows: int, limit: float) -> None:
    """The figures this library has set itself, beside what was measured."""

    def against_sql(name: str) -> float | None:
        it = found[name]
        return (
            None
            if isinstance(it, str)
            else statistics.median(a / b for a, b in zip(it["compute"], it["beside"]))
        )

    def against_peer(name: str) -> tuple[float | None, str]:
        it, own = found.get(f"{name}: {INCIDENCE}"), walls[INCIDENCE]
        if it is None or own is None:
            return None, ""
        if isinstance(it, str):
            return (limit / own, "at least ") if it.startswith("stopped") else (None, "")
        return (it["read"] + statistics.median(it["compute"])) / own, ""

    rule = [("AJ with intervals ÷ plain group-by", against_sql(INCIDENCE), "", "≤", 1.3),
            ("the same with left truncation ÷ its SQL", against_sql(_TRUNCATED), "", "≤", 1.3)]  # fmt: skip
    for name, times in (("statsmodels", 5), ("scikit-survival", 80), ("lifelines", 500)):
        rule.append((f"{name}, read and compute ÷ ours", *against_peer(name), "≥", times))
    # The naive SQL needs more than ours, in the same process.
    own = [name for name, step in OURS.items() if step.beside != _FOUR_KEYS]
    peaks = [found[name]["peak"] for name in own if not isinstance(found[name], str)]
    rule.append(("peak memory of ours, MB", max(peaks, default=None), "", "≤", 400))
    if rows <= 1_000_000:
        mine, theirs = found[f"{INCIDENCE}, from pandas in memory"], found.get(f"statsmodels: {INCIDENCE}")
        both = isinstance(mine, dict) and isinstance(theirs, dict)
        value = statistics.median(mine["compute"]) / statistics.median(theirs["compute"]) if both else None
        rule.append(("from pandas in memory ÷ statsmodels, computing", value, "", "≤", 1.0))
    print("\nset for 10,000,000 episodes (the last: for 100,000):")
    for what, value, least, sign, bound in rule:
        shown = "not measured" if value is None else f"{least}{value:,.2f}"
        verdict = "" if value is None else "met" if (value <= bound) == (sign == "≤") else "missed"
        print(f"  {what:<48}{shown:>18}   {sign} {bound:<6g}{verdict}")


if __name__ == "__main__":
    main()
