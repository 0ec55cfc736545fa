"""What one more call does: the dose-response against the simulator's truth, on books whose truth is known.

    python benchmarks/pressure.py --books 24 --truth 60000 --processes 2 > benchmarks/pressure.txt

Truth: accounts are lived twice with the same luck, once with a call forced on one day on which it could have been
made, once with none on it (what else may be done that day keeps its conditional chance); all else goes on as it would.
The days count by p (1 - p), p the chance of a call that day, as in the estimand. Books: seeded, without planted
problems. "naive by totals" is the slope of cure within 30 days on the number of calls in those days, from the first
day on the work list: the curve people draw. Not run in CI; some minutes on two idle cores.
``--hidden 1`` lets the collectors choose by latent traits too, which no adjustment can see.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import time
from datetime import date

import numpy as np
import pandas as pd

from collectlab.book import simulate_bank as bank
from collectlab.book.open import open_book
from collectlab.book.simulate import _settings, simulate
from collectlab.book.simulate_changes import Changed
from collectlab.book.simulate_days import _EPOCH, Days
from collectlab.core.engine import connection
from collectlab.effects.pressure.days import contact_days
from collectlab.effects.pressure.dose import STEPS, response_of

CALL, SPAN, HORIZON, MONTHS = bank.CALL, 1_000_000, 30, 18
SEED = 4_200


class OneDay(Changed):
    """As usual, but on each account's target day: a call (1) or none (0). Notes on which days a call could be made."""

    def __init__(self, settings, accounts, target=None, force=0):
        super().__init__(settings, accounts)
        self.target, self.force, self.notes = target, force, []

    def chances(self, s, i, stage):
        chances = super().chances(s, i, stage)
        day = int(s.month_start[s.m]) + s.dom - 1
        if self.target is None:
            can = s.placed[i] & (s.quiet_until[i] < day) & (chances[:, CALL] > 0)
            if date.fromordinal(day + _EPOCH).weekday() != 6 and s.first <= day <= s.last - HORIZON + 1:
                self.notes.append((i[can], np.full(can.sum(), day), chances[can, CALL]))
            return chances
        at = self.target[i] == day
        p = chances[at, CALL][:, None]
        chances[at] = np.eye(7)[CALL] if self.force else chances[at] / np.maximum(1 - p, 1e-9)
        if not self.force:
            chances[at, CALL] = 0
        return chances


def lived(settings, luck, a, target=None, force=0):
    d = Days(settings, luck, a)
    d.changed = OneDay(settings, len(a["key"]), target, force)
    return d.run()


def moments(d, kind, width, value=None):
    columns = d.events.columns(kind, width)
    at = columns[0].astype(np.int64) * SPAN + columns[1]
    order = np.argsort(at, kind="stable")
    worth = np.ones(len(at)) if value is None else columns[value].astype(float)
    return at[order], np.append(0, np.cumsum(worth[order])), columns


def between(found, low, high):
    at, total, _ = found
    return total[np.searchsorted(at, high)] - total[np.searchsorted(at, low)]


def outcomes(d, target):
    low = np.arange(len(target), dtype=np.int64) * SPAN + target
    high = low + HORIZON
    actions = moments(d, "actions", 12, 9)
    calls = actions[2][3] == CALL
    at = np.sort(actions[2][0][calls].astype(np.int64) * SPAN + actions[2][1][calls])
    before = np.searchsorted(at, low) - np.searchsorted(at, low - 6)
    return np.minimum(before, len(STEPS) - 1), np.stack(
        [
            (between(moments(d, "cures", 2), low, high) > 0).astype(float),
            between(moments(d, "payments", 3, 2), low, high) / 100,
            between(actions, low, high) / 100,
            between(moments(d, "complaints", 5), low, high),
        ],
        axis=1,
    )


def truth(accounts: int, rounds: int, hidden: float) -> pd.DataFrame:
    """Mean effect of a call by step, with its Monte-Carlo error."""
    settings = _settings(accounts, MONTHS, SEED, "2026-10-31", (), hidden, (), "month_end")
    luck = bank.Luck(settings.seed)
    parts = []
    for first in range(0, accounts, 20_000):
        a = bank.draw_accounts(settings, luck, first, min(first + 20_000, accounts))
        notes = lived(settings, luck, a).changed.notes
        who, day, p = (np.concatenate(x) for x in zip(*notes))
        order = np.lexsort((day, who))
        who, day, p = who[order], day[order], p[order]
        some, start, n = np.unique(who, return_index=True, return_counts=True)
        b = {name: column[some] for name, column in a.items()}
        rng = np.random.default_rng([SEED, first])
        for _ in range(rounds):
            picked = start + (rng.random(len(some)) * n).astype(int)
            target = day[picked]
            dose, without = outcomes(lived(settings, luck, b, target, 0), target)
            _, with_it = outcomes(lived(settings, luck, b, target, 1), target)
            weight = n * p[picked] * (1 - p[picked])
            parts.append((dose, weight, with_it - without))
            print("truth: a round done", file=sys.stderr)
    dose, weight = (np.concatenate([x[k] for x in parts]) for k in (0, 1))
    gain = np.concatenate([x[2] for x in parts])
    rows = []
    for k, step in enumerate((*STEPS, "any")):
        here = (dose == k) | (step == "any")
        if here.sum() < 100:
            continue
        w = weight[here] / weight[here].sum()
        mean = w @ gain[here]
        error = np.sqrt(w**2 @ (gain[here] - mean) ** 2)
        for j, outcome in enumerate(("cured", "paid", "cost", "complaints_per_1000")):
            scale = 1000 if j == 3 else 1
            rows.append((outcome, step, scale * mean[j], scale * error[j]))
    return pd.DataFrame(rows, columns=["outcome", "contact", "truth", "truth_error"])


def book(task) -> pd.DataFrame:
    seed, accounts, hidden = task
    connection().execute("SET enable_progress_bar = false")
    made = simulate(accounts, MONTHS, seed, problems=(), hidden_confounding=hidden, truth_accounts=0)
    days = contact_days(open_book(made.book_tables))
    response = response_of(days, ("call",), HORIZON, 0.95)
    table = response.table.assign(seed=seed)
    first = np.flatnonzero(np.append(True, np.diff(days.account) > 0))
    at = days.account.astype(np.int64) * SPAN + days.day
    so_far = np.append(0, np.cumsum(days.treated))
    calls = so_far[np.searchsorted(at, at[first] + HORIZON)] - so_far[first]
    slope = np.polyfit(calls, days.outcomes["cured"].to_numpy()[first], 1)[0]
    extra = pd.DataFrame(
        [{"outcome": "cured", "method": "naive by totals", "contact": "any", "estimate": slope, "seed": seed}]
    )
    checks = {c.name: c.passed for c in response.checks}
    found = pd.concat([table, extra], ignore_index=True)
    print(f"book {seed} done", file=sys.stderr)
    return found.assign(**{f"check_{name}": passed for name, passed in checks.items()})


def report(found: pd.DataFrame, true: pd.DataFrame, title: str) -> None:
    print(f"\n{title}")
    print(
        f"{'outcome':<20} {'contact':<16} {'method':<16} {'truth':>9} {'(MC)':>7} {'mean':>9} {'bias':>9} "
        f"{'sd':>8} {'mean se':>8} {'cover':>6} {'(MC)':>5} {'sign':>5} {'n':>3}"
    )
    both = found.merge(true, on=["outcome", "contact"], how="inner").dropna(subset="estimate")
    for (outcome, contact, method), rows in both.groupby(["outcome", "contact", "method"], sort=False):
        if contact not in ("1st", "2nd", "3rd", "any") or len(rows) < 2:
            continue
        t, n = rows["truth"].iloc[0], len(rows)
        inside = ((rows["conf_low"] <= t) & (rows["conf_high"] >= t)).mean()
        covers = np.nan if rows["conf_low"].isna().all() else inside
        mc = np.sqrt(0.95 * 0.05 / n)
        sign = (np.sign(rows["estimate"]) == np.sign(t)).mean()
        print(
            f"{outcome:<20} {contact:<16} {method:<16} {t:9.4f} {rows['truth_error'].iloc[0]:7.4f} "
            f"{rows['estimate'].mean():9.4f} {rows['estimate'].mean() - t:9.4f} {rows['estimate'].std():8.4f} "
            f"{rows['std_error'].mean():8.4f} {covers:6.2f} {mc:5.2f} {sign:5.2f} {n:3d}"
        )
    once = found.drop_duplicates("seed")
    for column in [c for c in found.columns if c.startswith("check_")]:
        made = once[column].dropna().astype(bool)
        if len(made):
            print(f"check {column[6:]:<20} holds in {made.mean():.2f} of {len(made)} books")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--books", type=int, default=30)
    parser.add_argument("--accounts", type=int, default=4_000)
    parser.add_argument("--truth", type=int, default=40_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--hidden", type=float, default=0.0, help="weight of hidden traits in the choice")
    parser.add_argument("--processes", type=int, default=2)
    args = parser.parse_args()
    began = time.time()
    print(
        f"{args.books} books of {args.accounts:,} accounts, {MONTHS} months; truth from {args.truth:,} accounts, "
        f"{args.rounds} days each; seeds {SEED + 1} and on."
    )
    title = (
        "Collectors choose by hidden traits too: adjustment cannot see them"
        if args.hidden
        else "Collectors choose by what the book shows"
    )
    with multiprocessing.get_context("spawn").Pool(args.processes) as pool:
        true = truth(args.truth, args.rounds, args.hidden)
        tasks = [(SEED + 1 + k, args.accounts, args.hidden) for k in range(args.books)]
        found = pd.concat(pool.map(book, tasks, chunksize=1), ignore_index=True)
        report(found, true, title)
    print(f"{(time.time() - began) / 60:.0f} minutes", file=sys.stderr)


if __name__ == "__main__":
    main()
