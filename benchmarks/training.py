"""Who is named on the training list by mistake, and how often a planted gap is found.

Two parts. ``rows``: agents of one channel in five skills drawn directly, 12 agents with 120 cases each (cured: 40 % on
average), 300 times: all alike; one agent 20 points worse in one skill; all agents truly different (sd 8 points) in one
skill. Counted: reports that name anybody who is not below the average in that skill, and the planted agent found.
``books``: simulated banks of 2,000 accounts without planted problems, whose agents are all alike: reports that name
anybody; and, of the first six, the same bank where the records of a tenth of one agent's contacts are struck out.

    python benchmarks/training.py [books]     (default 26; 2 processes)
"""

from __future__ import annotations

import sys
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pandas as pd

SEED, ROWS, AGENTS, CASES, SKILLS = 20261122, 300, 12, 120, 5
STRUCK, STRUCK_BOOKS = "A006", 6


def drawn(kind: str, seed: int) -> tuple[int, int]:
    """Named wrongly (0/1), planted agent named (0/1), of one report."""
    from collectlab.effects.training.needs import named
    from collectlab.effects.training.units import compared

    rng = np.random.default_rng([SEED, ["alike", "one worse", "all differ"].index(kind), seed])
    truth = np.zeros((SKILLS, AGENTS))
    if kind == "one worse":
        truth[0, 0] = -0.20
    if kind == "all differ":
        truth[0] = np.clip(rng.normal(0, 0.08, AGENTS), -0.25, 0.25)
    real, units = [], []
    for skill in range(SKILLS):
        agent = np.repeat(np.arange(AGENTS), CASES)
        chance = 0.4 + truth[skill][agent]
        rows = pd.DataFrame(
            {"agent": np.char.add("A", agent.astype(str)), "among": "call", "customer": np.arange(len(agent)).astype(str),
             "y": (rng.random(len(agent)) < chance).astype(int)}
        )  # fmt: skip
        one, spread, _ = compared(str(skill), rows, "agent", 30, 0.95)
        units.append(one.assign(level="agent"))
        real.append(spread.assign(level="agent"))
    _, found = named(pd.concat(real, ignore_index=True), pd.concat(units, ignore_index=True), 0.95)
    on = found[found["named"]]
    gap = [truth[int(s), int(a[1:])] - truth[int(s)].mean() for s, a in zip(on["skill"], on["agent"])]
    planted = ((on["skill"] == "0") & (on["agent"] == "A0")).any()
    return int(any(g >= 0 for g in gap)), int(planted)


def one_book(seed: int) -> tuple[int, int, int]:
    """Anybody named in a bank whose agents are alike; the planted agent found; anybody else named there."""
    from collectlab.book.open import open_book
    from collectlab.book.simulate import simulate
    from collectlab.effects.training import training_needs

    tables = simulate(accounts=2_000, seed=seed, problems=(), truth_accounts=0).book_tables
    alike = len(training_needs(open_book(tables)).table)
    if seed > STRUCK_BOOKS:
        return int(alike > 0), 0, 0
    log = tables["actions"].to_pandas()
    rng = np.random.default_rng([SEED, seed])
    mine = (log["agent"] == STRUCK) & log["recorded"].eq(True) & (rng.random(len(log)) < 0.1)
    log.loc[mine, "recorded"] = False
    found = training_needs(open_book({**tables, "actions": log})).table
    hit = (found["who"] == STRUCK) & (found["skill"] == "recorded")
    # An agent's gap is its team's too, by a third: that is a true gap, not a false naming.
    team = (found["level"] == "team") & (found["skill"] == "recorded") & (found["who"] == "Call team 1")
    return int(alike > 0), int(hit.any()), int((~hit & ~team).any())


def share(hits: int, n: int) -> str:
    p = hits / n
    return f"{100 * p:6.1f} % (± {100 * np.sqrt(max(p * (1 - p), 1e-9) / n):.1f})"


def main(books: int) -> None:
    print(
        f"seed {SEED}; {AGENTS} agents, {CASES} cases each, {SKILLS} skills, {ROWS:,} reports; conf_level 0.95"
    )
    print(f"{'drawn rows':<28}{'named wrongly':>22}{'planted agent found':>24}")
    with ProcessPoolExecutor(2) as pool:
        for kind in ("alike", "one worse", "all differ"):
            got = list(pool.map(drawn, [kind] * ROWS, range(ROWS), chunksize=50))
            planted = share(sum(p for _, p in got), ROWS) if kind == "one worse" else "–"
            print(f"{kind:<28}{share(sum(w for w, _ in got), ROWS):>22}{planted:>24}", flush=True)
            print(kind, file=sys.stderr)
        got = []
        for i, row in enumerate(pool.map(one_book, range(1, books + 1))):
            got.append(row)
            print(f"book {i + 1} of {books}: {row}", file=sys.stderr)
    print(f"\n{books} simulated banks of 2,000 accounts, 24 months")
    print(f"{'agents alike: anybody named':<44}{share(sum(r[0] for r in got), books):>22}")
    print(
        f"{'records struck out (10 %): agent found':<44}{share(sum(r[1] for r in got), min(books, STRUCK_BOOKS)):>22}"
    )
    print(
        f"{'records struck out: somebody else named':<44}{share(sum(r[2] for r in got), min(books, STRUCK_BOOKS)):>22}"
    )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 26)
