"""How long a plan takes, whether its solutions hold, and whether noise stays out of it.

    python benchmarks/plan_solve.py --books 100 > benchmarks/plan_solve.txt

Three tables. The time of one linear programme and of a whole plan by size, with the largest residual of what is
rechecked (flow, capacity, sign, slackness, duality gap) and the largest gap between a price and the change in value
when its capacity (two of them) is moved by one unit. Then how often anything is changed in books where the actions do not differ
(no more than 5 in 100 wanted), and how often it is where they do. Seeded; one process; not run in CI.
"""

from __future__ import annotations

import argparse
import sys
import time

import numpy as np
import pandas as pd

from collectlab.policy.plan import DecisionModel, allocate, decision_model, greedy, value
from collectlab.policy.plan.rows import COUNTED
from collectlab.policy.plan.solve_linear import solve

SIZES = ((50, 4, 3), (100, 4, 5), (250, 6, 5), (500, 8, 5))


def drawn(states: int, actions: int, uses: int, seed: int) -> DecisionModel:
    """A model with made-up numbers: accounts move to ten states at most, a fifth leave a month."""
    rng = np.random.default_rng(seed)
    move = np.zeros((states, actions, states))
    for s in range(states):
        to = rng.choice(states, size=min(10, states), replace=False)
        move[s][:, to] = 0.8 * rng.dirichlet(np.ones(len(to)), size=actions)
    taken = {f"use {k + 1}": rng.random((states, actions)) * np.arange(actions) for k in range(uses)}
    return DecisionModel.of(
        move=move,
        leave=np.full((states, actions, 1), 0.2),
        reward=rng.normal(50, 10, (states, actions)) + 8 * np.arange(actions),
        uses=taken,
        inflow=rng.random(states) * 20,
        in_force=rng.dirichlet(np.ones(actions), size=states),
        discount=0.995,
    )


def timed() -> pd.DataFrame:
    """A row per size."""
    rows = []
    solve(drawn(5, 2, 1, seed=0), {})  # the solver's import is not counted
    for states, actions, uses in SIZES:
        model = drawn(states, actions, uses, seed=states)
        today = value(model, model.in_force).amounts
        capacity = {k: today[k] for k in model.uses}
        began = time.process_time()
        found = solve(model, capacity)
        seconds = time.process_time() - began
        gaps = []
        for k in list(capacity)[:2]:
            more = solve(model, {**capacity, k: capacity[k] + 1}).objective - found.objective
            less = found.objective - solve(model, {**capacity, k: capacity[k] - 1}).objective
            outside = max(more - found.prices[k], found.prices[k] - less, 0.0)
            gaps.append(outside / max(abs(found.prices[k]), 1.0))
        began = time.process_time()
        plan = allocate(model, capacity)
        whole = time.process_time() - began
        thumb = value(model, greedy(model, capacity)).net
        rows.append(
            (
                states,
                actions,
                uses,
                round(seconds, 2),
                round(whole, 2),
                f"{max(found.residuals.values()):.0e}",
                f"{max(gaps):.0e}",
                f"{plan.value.net / today['net'] - 1:+.1%}",
                f"{thumb / today['net'] - 1:+.1%}",
            )
        )
        print(f"{states} states", file=sys.stderr)
    names = [
        "states",
        "actions",
        "limits",
        "solve_cpu_s",
        "plan_cpu_s",
        "residual",
        "price_gap",
        "plan",
        "rule_of_thumb",
    ]
    return pd.DataFrame(rows, columns=names)


def accounts(n: int, effect: float, seed: int) -> pd.DataFrame:
    """Months of accounts in six states; the choice rests on the score; action b pays ``effect`` more, or nothing."""
    rng = np.random.default_rng(seed)
    score = rng.normal(size=n)
    state = rng.integers(0, 6, n)
    names = np.array(["1–14", "15–29", "30–59", "60–89", "90–179", "180+"])
    b = rng.random(n) < 1 / (1 + np.exp(score))
    leaves = rng.random(n) < 1 / (1 + np.exp(-0.5 * score))
    rows = pd.DataFrame(
        {
            "account_id": np.arange(n).astype(str),
            "customer_id": (np.arange(n) // 2).astype(str),
            "on": pd.Timestamp("2026-01-31") + pd.to_timedelta(30 * (np.arange(n) % 12), unit="D"),
            "days_past_due": np.array([5, 20, 45, 75, 120, 200])[state],
            "amount_past_due": 100.0,
            "credit_score": 620 + 50 * score,
            "action": np.where(b, "b", "a"),
            "state": names[state],
            "next_state": np.where(leaves, "cured", names[np.minimum(state + 1, 5)]),
            "entry": state == 0,
            "randomised": False,
            "propensity": np.nan,
        }
    )
    for name in COUNTED:
        rows[name] = 0.0
    paid = np.maximum(rng.gamma(0.5, 200 * np.exp(0.3 * score)) + effect * b, 0)
    return rows.assign(paid=paid, calls=1.0 + b)


def judged(books: int) -> pd.DataFrame:
    """How often a plan changes anything, and what it then says it gains, by the true effect of action b."""
    rows = []
    for effect in (0.0, 5.0, 10.0, 20.0):
        changed, gained, true, optimism = 0, [], [], []
        for seed in range(books):
            model = decision_model(accounts(3000, effect, seed), draws=60, annual_rate=0.0)
            plan = allocate(model, {})
            moved = not np.allclose(plan.share, model.in_force)
            changed += moved
            # what it brings: effect x accounts that come under b more than today
            more = (plan.value.accounts - plan.in_force.accounts)[:, 1].sum()
            best = value(model, plan.best)
            optimism.append(
                best.net - plan.in_force.net - effect * (best.accounts - plan.in_force.accounts)[:, 1].sum()
            )
            if moved:
                gained.append(plan.gain["estimate"])
                true.append(effect * more)
        share = changed / books
        rows.append(
            (
                effect,
                books,
                round(100 * share, 1),
                round(100 * np.sqrt(share * (1 - share) / books), 1),
                round(float(np.mean(optimism))),
                round(float(np.mean(gained))) if gained else "–",
                round(float(np.mean(true))) if true else "–",
            )
        )
        print(f"effect {effect:g}", file=sys.stderr)
    names = ["effect", "books", "changed_%", "mc_error", "too_good_uncorrected", "gain_said", "gain_true"]
    return pd.DataFrame(rows, columns=names)


def main() -> None:
    """Print the tables and their settings."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--books", type=int, default=100)
    books = parser.parse_args().books
    print(
        "One linear programme (HiGHS), and a whole plan, CPU seconds of one core; 500 states x 8 actions x 5 limits under 5 s wanted."
    )
    print(
        "residual: largest of flow, capacity, sign, slackness, gap; price_gap: how far a price lies outside the"
    )
    print(
        "changes in value for one unit more and one unit less, relative; plan, rule_of_thumb: against the strategy in"
    )
    print("force at equal capacity.\n")
    print(timed().to_string(index=False))
    print(
        "\n3,000 account-months of 1,500 customers, six states, two actions, chosen on the score; paid a month is skewed"
    )
    print(
        "with mean about 110; effect: what action b adds a month. too_good_uncorrected: what the best plan seems to gain"
    )
    print(
        "more than it does; gain_said, gain_true: where something is changed, corrected and true, a month.\n"
    )
    print(judged(books).to_string(index=False))


if __name__ == "__main__":
    main()
