"""Does the tree of causes name what is not one, does it find what was planted, and do its intervals hold?

First, banks without any planted problem: by their making, branches, teams of one channel, agencies, agents and
origination channels do not differ. Of all comparisons of all KPIs with those groups: how often the plain 95 %
interval covers 0, how widely the t-values spread (1 is right), and how many of those groups the tree of a month
names as a cause: with all eight KPIs taken as missed, and with those that the targets judge missed (at most 5 % of the
causes named should be false). Of the families (all branches together, ...): how often their interval begins above 0
(2.5 % is right). Products, strategies and channels do differ in the simulator and are not counted.

Then, each problem planted alone, beside the same bank without it: the simulator draws the same luck for the same
account and day, so the two differ by the problem alone. What the problem adds to each KPI's gap is the truth; the
tree should lay it to the planted group. How often it names it, how often the plain 95 % interval holds the truth,
and how large a part must be before it is named among so many comparisons.

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

from collectlab.book.simulate import simulate
from collectlab.policy.diagnosis import diagnose
from collectlab.policy.targets import load_targets
from collectlab.report.chapters import diagnosis as chapter
from collectlab.report.month import Month, open_month

ROOT = Path(__file__).parents[1]
ALIKE = ("branch", "team", "agency", "agent", "origination_channel")
LOOSE = "product × origination_channel × cohort"
#: problem -> where it lies (cause, group)
PLANTED = {
    "loose_partner_loans": (LOOSE, "consumer × partner × 2026 Q1"),
    "wrong_numbers": ("branch", "Branch 07"),
    "night_calls": ("team", "Call team 3"),
    "late_stage": ("branch", "Branch 04"),
    "pressed_hardship": ("team", "Call team 1"),
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


def quiet(task: tuple[int, int]) -> pd.DataFrame:
    month = month_of(*task, ())
    cells = counted(month)
    every = diagnose(card_of(cells), cells).table
    judged = chapter.diagnosis(month).table
    judged = judged[judged["named"] & (judged["estimate"] > 0)]
    judged = set(zip(judged["kpi"], judged["cause"], judged["group"]))
    rows = every[every["p_value"].notna() & (every["estimate"] != 0) & (every["depth"] > 0)]
    rows = rows[~rows["cause"].isin(["adherence", "contactability"])]
    single = pd.DataFrame(
        {
            "book": task[0],
            "cause": np.where(rows["cause"].str.contains("×"), "together", rows["cause"]),
            "t": rows["estimate"] / rows["std_error"],
            "named": rows["named"] & (rows["estimate"] > 0),
            "judged": [key in judged for key in zip(rows["kpi"], rows["cause"], rows["group"])],
        }
    )
    rows = every[(every["cause"] == "looked at") & every["group"].isin(ALIKE)]
    family = pd.DataFrame(
        {"book": task[0], "cause": rows["group"], "above": rows["conf_low"] > 0,
         "most": rows["conf_high"] / (rows["estimate"] / rows["share"]).abs(), "family": True}
    )  # fmt: skip
    return pd.concat([single.assign(family=False), family], ignore_index=True)


def planted(task: tuple[int, int]) -> pd.DataFrame:
    clean = card_of(counted(month_of(*task, ()))).set_index("kpi")
    rows = []
    for problem, (cause, group) in PLANTED.items():
        cells = counted(month_of(*task, (problem,)))
        card = card_of(cells)
        every = diagnose(card, cells).table
        tests = int(every["p_value"].notna().sum())
        for kpi, line in card.set_index("kpi").iterrows():
            bad = 1 if line["direction"] == "at_most" else -1
            found = every[(every["kpi"] == kpi) & (every["cause"] == cause) & (every["group"] == group)]
            one = {"estimate": np.nan, "std_error": np.nan, "named": False}
            if len(found):
                one = found.iloc[0]
            rows.append(
                {
                    "problem": problem,
                    "kpi": kpi,
                    "unit": line["unit"],
                    "gap": bad * (line["estimate"] - line["target"]),
                    "true": bad * (line["estimate"] - clean.loc[kpi, "estimate"]),
                    "estimate": one["estimate"],
                    "error": one["std_error"],
                    "needed": one["std_error"] * float(student.ppf(1 - 0.025 / tests, 49)),
                    "named": bool(one["named"]) and one["estimate"] > 0,
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


def said_of_quiet(rows: pd.DataFrame, books: int) -> None:
    lines, seeds = [], range(1, books + 1)
    alone, families = rows[~rows["family"].astype(bool)], rows[rows["family"].astype(bool)]
    for cause in (*ALIKE, "together"):
        part, family = alone[alone["cause"] == cause], families[families["cause"] == cause]
        by_book = part["t"].abs().le(CRITICAL).groupby(part["book"]).mean()
        false, judged = (
            part[c].astype(float).groupby(part["book"]).sum().reindex(seeds, fill_value=0)
            for c in ("named", "judged")
        )
        above = family["above"].astype(float)
        lines.append(
            {
                "cause": cause,
                "comparisons": len(part),
                "covers 0, %": round(100 * by_book.mean(), 1),
                "± MC": round(100 * by_book.std() / np.sqrt(len(by_book)), 1),
                "sd of t": round(part["t"].std(), 2),
                "named per tree": round(false.mean(), 3),
                "of KPIs missed": round(judged.mean(), 3),
                "families": len(family) or "",
                "above 0, %": round(100 * above.mean(), 1) if len(family) else "",
                "± MC ": round(100 * np.sqrt(above.mean() * (1 - above.mean()) / len(family)), 1)
                if len(family)
                else "",
                "at most, % of gap": round(100 * family["most"].median()) if len(family) else "",
            }
        )
    print(pd.DataFrame(lines).to_string(index=False))
    alike = alone["cause"].isin([*ALIKE, "together"])
    for column, text in (
        ("named", "all eight KPIs taken as missed"),
        ("judged", "KPIs missed by the targets"),
    ):
        false, other = (
            alone[held & alone[column].astype(bool)].groupby("book").size().reindex(seeds, fill_value=0)
            for held in (alike, ~alike)
        )
        print(f"\n{text[0].upper()}{text[1:]}: {false.mean():.3f} false causes named per tree "
              f"(± {false.std() / np.sqrt(books):.3f}), trees with any: {(false > 0).sum()} of {books}; products, "
              f"strategies and channels, which do differ: {other.mean():.2f} per tree.")  # fmt: skip


def said_of_planted(rows: pd.DataFrame) -> None:
    lines = []
    for (problem, kpi), part in rows.groupby(["problem", "kpi"], sort=False):
        scale, books = 100 if part["unit"].iloc[0] == "share" else 1, len(part)
        true, error = part["true"].mean(), part["true"].std() / np.sqrt(books)
        if true < 2 * error or true == 0:
            continue  # the problem does not widen this gap
        told = part[part["error"].notna()]
        covered = ((told["estimate"] - true).abs() <= CRITICAL * told["error"]).sum()
        lines.append(
            {
                "problem": problem,
                "group": PLANTED[problem][1],
                "KPI": kpi,
                "gap": round(scale * part["gap"].mean(), 2),
                "true part": round(scale * true, 3),
                "± MC": round(scale * error, 3),
                "estimate": round(scale * told["estimate"].mean(), 3),
                "±  MC": round(scale * told["estimate"].std() / np.sqrt(max(len(told), 1)), 3),
                "error of one": round(scale * told["error"].mean(), 2),
                "named from": round(scale * told["needed"].mean(), 2),
                "true in 95 %": f"{covered}/{len(told)}",
                "named": f"{int(part['named'].sum())}/{books}",
            }
        )
    print(pd.DataFrame(lines).to_string(index=False))


def main() -> None:
    books, accounts, more, large = (
        int(a) for a in [*sys.argv[1:], *("40", "6000", "8", "20000")[len(sys.argv) - 1 :]]
    )
    print(f"Quiet banks: {books} books of {accounts:,} accounts, seeds 1 to {books}, no problem planted.\n")
    said_of_quiet(run(quiet, [(seed, accounts) for seed in range(1, books + 1)]), books)
    print(f"\nEach problem planted alone, beside the same bank without it: {more} pairs of {large:,} accounts, seeds "
          f"101 to {100 + more}; the gaps that it widens.\n")  # fmt: skip
    said_of_planted(run(planted, [(seed, large) for seed in range(101, 101 + more)]))
    print(
        "\nParts of gaps in points; complaints per 1,000 contacts, satisfaction out of 100, cost per 100 recovered. "
        "'Error of one': standard error of the part in one\nbook. 'Named from': how large a part must be seen to be "
        "named among all comparisons."
    )


if __name__ == "__main__":
    main()
