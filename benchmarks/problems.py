"""Do the report's findings name what was planted, and stay quiet where nothing was?

Whole simulated banks are put through what chapter 4 puts the month through: every evidence table, every rule,
Holm's correction over all comparisons. Half of the banks have all six problems of the simulator planted, half
have none. A finding that names a team, an agency, a branch, a collector or a region where nothing was planted
is false: in the simulated bank these differ by luck alone (but for Call team 1, whose calls work 15 % better).
Findings on products, cohorts and KPIs are true of the simulated bank, and are left out of the count.

    python benchmarks/problems.py --books 50 --accounts 6000
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

PARAMS = Path(__file__).parents[1] / "params"

#: problem -> (where it was planted, the measures that may show it).
PLANTED = {
    "night_calls": ("Call team 3", ("night_contacts", "hours_breaches")),
    "unrecorded_calls": ("Agency 2", ("unrecorded",)),
    "wrong_numbers": ("Branch 07", ("wrong_numbers", "contactability")),
    "loose_partner_loans": ("partner", ("bad_rate",)),
    "late_stage": ("Branch 04", ("late_step",)),
    "pressed_hardship": ("Call team 1", ("hardship_pressure",)),
}
PLACES = ("team", "agency", "branch", "agent", "collector", "region")


def one(task: tuple[int, int, bool]) -> tuple[bool, list[tuple[str, str, str, float, int]], float]:
    """One bank's findings, gravest first: (measure, group column, row, severity, rank)."""
    seed, accounts, planted = task
    from collectlab.book.simulate import MILD, simulate
    from collectlab.report.chapters import evidence
    from collectlab.report.month import open_month

    began = time.perf_counter()
    bank = simulate(accounts, seed=seed, problems=MILD if planted else (), truth_accounts=0)
    month = open_month(bank.book_tables, "2026-10", contact_rules="cn", params=PARAMS)
    found = evidence.findings(month)
    rows = [
        (f.measure, f.group, f.row, round(f.severity, 4), rank)
        for rank, f in enumerate(found, start=1)
        if f.rule not in ("kpi_missed", "table_missing")
    ]
    return planted, rows, time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--books", type=int, default=100, help="of each kind")
    parser.add_argument("--accounts", type=int, default=6_000)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    tasks = [
        (given.seed + i, given.accounts, planted) for i in range(given.books) for planted in (False, True)
    ]
    quiet: list[list] = []
    loud: list[list] = []
    with ProcessPoolExecutor(given.processes) as pool:
        for done, (planted, rows, seconds) in enumerate(pool.map(one, tasks), start=1):
            (loud if planted else quiet).append(rows)
            print(f"{done}/{len(tasks)} {seconds:.0f} s", file=sys.stderr)
    print(
        f"{given.books} simulated banks of {given.accounts:,} accounts with nothing planted, {given.books} with everything.\n"
    )
    show_quiet(quiet)
    show_loud(loud)


def show_quiet(books: list[list]) -> None:
    """False findings of the banks with nothing planted."""
    false = [[r for r in rows if r[1] in PLACES] for rows in books]
    total, any_ = sum(map(len, false)), sum(map(bool, false))
    print("Nothing planted: false findings, naming a team, agency, branch, collector or region")
    print(f"  per report {total / len(books):.3f}; reports with any {any_} of {len(books)}")
    for (measure, group, row), n in sorted(Counter(r[:3] for rows in false for r in rows).items()):
        print(f"    {measure} by {group}: {row}: {n}")
    true = Counter((r[0], r[1], r[2]) for rows in books for r in rows if r[1] not in PLACES)
    print(
        "  other findings (true of the simulated bank): "
        + ("; ".join(f"{m} {row} {n}" for (m, _, row), n in true.most_common(12)) or "none")
        + "\n"
    )


def show_loud(books: list[list]) -> None:
    """What was found of what was planted, and where it ranks among the false ones."""
    print("Everything planted")
    print(f"  {'problem':<22}{'found':>8}{'median rank':>13}{'above every false finding':>28}")
    for problem, (place, measures) in PLANTED.items():
        ranks, above = [], 0
        for rows in books:
            mine = [r for r in rows if r[0] in measures and place in r[2]]
            noise = [r for r in rows if r[1] in PLACES and not any(p in r[2] for p, _ in PLANTED.values())]
            if mine:
                best = min(r[4] for r in mine)
                ranks.append(best)
                above += all(best < r[4] for r in noise)
        rank = f"{sorted(ranks)[len(ranks) // 2]}" if ranks else "–"
        print(f"  {problem:<22}{len(ranks):>4}/{len(books)}{rank:>13}{above:>22}/{len(ranks)}")
    noise = [
        [r for r in rows if r[1] in PLACES and not any(p in r[2] for p, _ in PLANTED.values())]
        for rows in books
    ]
    print(f"  findings on other places, per report {sum(map(len, noise)) / len(books):.3f}")
    for (measure, group, row), n in sorted(Counter(r[:3] for rows in noise for r in rows).items()):
        print(f"    {measure} by {group}: {row}: {n}")


if __name__ == "__main__":
    main()
