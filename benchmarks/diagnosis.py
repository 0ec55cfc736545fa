"""Does the tree of causes name what is not one, does it find what was planted, and do its intervals hold?

First, banks without any planted problem: by their making, branches, teams of one channel, agencies, agents and
origination channels do not differ. Of all comparisons of all KPIs with those groups: how often the plain 95 %
interval covers 0, how widely the t-values spread (1 is right), and how many of those groups the tree of a month
names as a cause when all eight KPIs are taken as missed (at most 5 % of the causes named should be false). Products, strategies and
channels do differ in the simulator and are not counted.

Then, the same banks with all problems planted. The true part of a gap is the planted group's KPI, against the
others, with the problems less without them, day by day with the same luck. How often the tree names it, and how
often its plain 95 % interval holds the true part.

    python benchmarks/diagnosis.py [quiet books] [accounts] [planted books] [accounts] > benchmarks/diagnosis.txt
"""

from __future__ import annotations

import os

# two processes on two cores; set before numpy is loaded
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import t as student

from collectlab.book.simulate import PROBLEMS, simulate
from collectlab.policy.diagnosis import diagnose
from collectlab.policy.targets import load_targets
from collectlab.report.chapters import diagnosis as chapter
from collectlab.report.month import Month, open_month

ROOT = Path(__file__).parents[1]
ALIKE = ("branch", "team", "agency", "agent", "origination_channel")
LOOSE = "product × origination_channel × cohort"
#: problem -> (KPI, cause, group, the planted cells, the cells they are compared with)
PLANTED = {
    "loose_partner_loans": ("new_loan_bad_rate", LOOSE, "consumer × partner × 2026 Q1"),
    "wrong_numbers": ("recovery_rate", "branch", "Branch 07"),
    "night_calls": ("complaints_per_1000_contacts", "team", "Call team 3"),
    "late_stage": ("recovery_rate", "branch", "Branch 04"),
}
CRITICAL = float(student.ppf(0.975, 49))


def month_of(seed: int, accounts: int, problems: tuple[str, ...]) -> Month:
    bank = simulate(accounts=accounts, seed=seed, problems=problems, truth_accounts=0)
    return open_month(bank.book_tables, "2026-10", params=ROOT / "params")


def counted(month: Month) -> dict:
    return {kpi: count(month) for kpi, count in chapter.CELLS.items()}


def card_of(cells: dict) -> pd.DataFrame:
    """A scorecard on which every KPI is missed; the tree takes only its gap and direction from it."""
    goals, rows = load_targets(ROOT / "params" / "targets.yml").on("2026-10-31"), []
    for kpi, counts in cells.items():
        now, before = (counts.table[counts.table["period"] == p] for p in ("now", "before"))
        value = now["top"].sum() / now["base"].sum()
        if counts.kind == "change":
            value = value / (before["top"].sum() / before["base"].sum()) - 1
        about = {
            "unit": goals[kpi].kpi.unit,
            "direction": goals[kpi].kpi.direction,
            "target": goals[kpi].target,
        }
        rows.append({"kpi": kpi, "name": kpi, "estimate": value, "conf_low": value, "conf_high": value,
                     "status": "missed", **about})  # fmt: skip
    return pd.DataFrame(rows)


def part_of(table: pd.DataFrame, cause: str, group: str) -> tuple[float, float]:
    """The group's part of the KPI against the others of its kind (which are those that share its first words)."""
    now = table[table["period"] == "now"]
    held = np.logical_and.reduce([now[c] == g for c, g in zip(cause.split(" × "), group.split(" × "))])
    others = now[cause].astype(str).str.startswith("Call team") if cause == "team" else True
    own, rest = now[held], now[~held & others]
    rates = [part["top"].sum() / part["base"].sum() for part in (own, rest)]
    return rates[0] - rates[1], own["base"].sum() / now["base"].sum()


def quiet(task: tuple[int, int]) -> pd.DataFrame:
    month = month_of(*task, ())
    cells = counted(month)
    every = diagnose(card_of(cells), cells).table
    rows = every[every["p_value"].notna() & (every["estimate"] != 0) & (every["depth"] > 0)]
    rows = rows[~rows["cause"].isin(["adherence", "contactability"])]
    return pd.DataFrame(
        {
            "book": task[0],
            "kpi": rows["kpi"],
            "cause": np.where(rows["cause"].str.contains("×"), "together", rows["cause"]),
            "t": rows["estimate"] / rows["std_error"],
            "named": rows["named"] & (rows["estimate"] > 0),
        }
    )


def planted(task: tuple[int, int]) -> pd.DataFrame:
    month, clean = month_of(*task, tuple(PROBLEMS)), month_of(*task, ())
    rows, cells = [], counted(month)
    card = card_of(cells)
    every = diagnose(card, cells).table
    for problem, (kpi, cause, group) in PLANTED.items():
        line = card.set_index("kpi").loc[kpi]
        bad = 1 if line["direction"] == "at_most" else -1
        gap, share = part_of(cells[kpi].table, cause, group)
        before, _ = part_of(chapter.CELLS[kpi](clean).table, cause, group)
        true = bad * share * (gap - before)
        found = every[(every["kpi"] == kpi) & (every["cause"] == cause) & (every["group"] == group)]
        if found.empty:
            rows.append({"problem": problem, "true": true, "compared": False, "named": False})
            continue
        value, error = float(found["estimate"].iloc[0]), float(found["std_error"].iloc[0])
        rows.append(
            {
                "problem": problem,
                "gap": bad * (line["estimate"] - line["target"]),
                "true": true,
                "estimate": value,
                "error": error,
                "compared": True,
                "named": bool(found["named"].iloc[0]) and value > 0,
                "covered": abs(value - true) <= CRITICAL * error,
            }
        )
    return pd.DataFrame(rows).assign(book=task[0])


def run(function, tasks: list[tuple[int, int]]) -> pd.DataFrame:
    found = []
    with ProcessPoolExecutor(2) as pool:
        for i, rows in enumerate(pool.map(function, tasks), 1):
            print(f"\r{function.__name__} {i}/{len(tasks)}", end="", file=sys.stderr, flush=True)
            found.append(rows)
    print(file=sys.stderr)
    return pd.concat(found, ignore_index=True)


def main() -> None:
    books, accounts, more, large = (
        int(a) for a in [*sys.argv[1:], *("40", "6000", "12", "20000")[len(sys.argv) - 1 :]]
    )
    rows = run(quiet, [(seed, accounts) for seed in range(1, books + 1)])
    print(f"Quiet banks: {books} books of {accounts:,} accounts, seeds 1 to {books}, no problem planted.\n")
    lines = []
    for cause in (*ALIKE, "together"):
        part = rows[rows["cause"] == cause]
        by_book = part["t"].abs().le(CRITICAL).groupby(part["book"]).mean()
        false = part["named"].groupby(part["book"]).sum().reindex(range(1, books + 1), fill_value=0)
        lines.append(
            {
                "cause": cause,
                "comparisons": len(part),
                "covers 0, %": round(100 * by_book.mean(), 1),
                "± MC": round(100 * by_book.std() / np.sqrt(len(by_book)), 1),
                "sd of t": round(part["t"].std(), 2),
                "named per tree": round(false.mean(), 3),
            }
        )
    print(pd.DataFrame(lines).to_string(index=False))
    alike = rows[rows["cause"].isin([*ALIKE, "together"])]
    false = alike["named"].groupby(alike["book"]).sum()
    true = rows[~rows.index.isin(alike.index)]["named"].groupby(rows["book"]).sum()
    print(f"\nFalse causes named per tree: {false.mean():.3f} (± {false.std() / np.sqrt(books):.3f}); "
          f"trees with any: {(false > 0).sum()} of {books}; other causes named (products, strategies, channels): "
          f"{true.mean():.2f} per tree.\n")  # fmt: skip
    rows = run(planted, [(seed, large) for seed in range(101, 101 + more)])
    print(f"All problems planted: {more} books of {large:,} accounts, seeds 101 to {100 + more}.\n")
    lines = []
    for problem, part in rows.groupby("problem", sort=False):
        kpi, _, group = PLANTED[problem]
        scale = 1 if kpi.startswith("complaints") else 100
        part_compared = part[part["compared"]]
        lines.append(
            {
                "problem": problem,
                "KPI": kpi,
                "group": group,
                "gap": round(scale * part_compared["gap"].mean(), 2),
                "compared": len(part_compared),
                "true part": round(scale * part["true"].mean(), 2),
                "estimate": round(scale * part_compared["estimate"].mean(), 2),
                "its error": round(scale * part_compared["error"].mean(), 2),
                "true in 95 %": f"{int(part_compared['covered'].sum())}/{len(part_compared)}",
                "named": f"{int(part['named'].sum())}/{len(part)}",
            }
        )
    print(pd.DataFrame(lines).to_string(index=False))
    print("\nParts of gaps in points; complaints per 1,000 contacts.")


if __name__ == "__main__":
    main()
