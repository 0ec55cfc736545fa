"""Whether target trials recover what starting a channel causes, where the usual comparison does not.

    python benchmarks/target_trials.py --books 400 --processes 2 > benchmarks/target_trials.txt

Each book is 6,000 accounts of a simulated bank; accounts are drawn one by one, so that a bank of 120,000 is twenty
books, lived in one pass over its days. Time zero is the first month-end at which an account is seen
past due (for letters, more than 30 days). The truth is that of the same accounts lived twice with the same luck:
once with the first action of the channel on a day drawn evenly from the grace period, once without any; it is
averaged over the books. Ends are dated to the day, so that dating them is not the question here. Not run in CI; half
an hour on two cores.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import time
from dataclasses import dataclass
from datetime import date

import numpy as np
import pandas as pd

from collectlab.book import simulate_bank as bank
from collectlab.book.simulate_bank import Luck, Settings, draw_accounts
from collectlab.book.simulate_days import Days
from collectlab.book.simulate_ledger import CHARGED_OFF, NEVER, OPEN, SETTLED, SOLD
from collectlab.core.errors import FrameError
from collectlab.effects.target_trial import TargetTrial, target_trial_rows

END = date(2026, 10, 31)
FOLLOW_UP = 30
PER_BANK = 20
ENDED = {SETTLED: "settled", SOLD: "sold", CHARGED_OFF: "charged_off"}


@dataclass(frozen=True)
class Case:
    """One trial: whose, of what, adjusted for what, in a bank with which hidden confounding."""

    channel: str
    strategies: tuple[str, ...]
    covariates: tuple[str, ...]
    hidden: float = 0.0
    grace: int = 10
    deeper: int = 0

    @property
    def name(self) -> str:
        known = ", ".join(self.covariates) or "stage alone"
        return f"{self.channel}; {', '.join(self.strategies)}; by {known}"


TRAITS = ("credit_score", "monthly_income")
EVERYONE = ("champion", "challenger", "standard", "intensive")
CASES = [
    Case("call", ("champion", "standard"), ("strategy",)),
    Case("call", ("standard", "intensive"), ("strategy",)),
    Case("sms", EVERYONE, ("strategy",)),
    Case("visit", ("intensive",), (), grace=14),
    Case("letter", EVERYONE, ("strategy",), grace=14, deeper=30),
    Case("call", ("standard", "intensive"), ("strategy",), hidden=2.0),
    Case("call", ("standard", "intensive"), TRAITS, hidden=2.0),
]


class Watched(Days):
    """Days that also write down the days past due of each account in the follow-up of its first placement."""

    def _snapshot(self, day: int) -> None:
        i = np.flatnonzero(self.overdue & (self.t_placed != NEVER) & (day - self.t_placed < FOLLOW_UP))
        self.snapshots.append((i, np.full(len(i), day), self._days_past_due(i, day)))  # type: ignore[arg-type]


def outcomes(d: Days, i: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Day of the end since placement, and what it was, of accounts ``i``."""
    never = 10**6
    placed, status = d.t_placed[i], d.status[i]
    cured = np.where(d.t_cured[i] != NEVER, d.t_cured[i] - placed, never)
    lost = (status != OPEN) & np.isin(status, list(ENDED)) & (d.ended[i] > placed)
    lost_on = np.where(lost, d.ended[i] - placed, never)
    end = np.minimum(np.minimum(cured, lost_on), d.last - placed)
    words = np.array([ENDED.get(int(s), "censored") for s in status])
    outcome = np.where(end == cured, "cured", np.where(end == lost_on, words, "censored"))
    return end, outcome


def stacked(accounts: dict[str, np.ndarray], times: int) -> dict[str, np.ndarray]:
    """The same accounts so many times over, to be lived side by side in one pass."""
    return {name: np.tile(column, times) for name, column in accounts.items()}


def lived(settings: Settings, accounts: dict[str, np.ndarray], depths: list[int]) -> dict[int, tuple]:
    """By depth: rows, actions and days past due of first placements, as ``target_trial_rows`` takes them."""
    n = len(accounts["key"])
    a = stacked(accounts, len(depths))
    a["anchor_dpd"] = np.repeat(depths, n)
    d = Watched(settings, Luck(settings.seed), a, daily=True).run()
    i = np.flatnonzero((d.t_placed != NEVER) & (d.t_placed <= d.last - FOLLOW_UP))
    end, outcome = outcomes(d, i)
    who, day, dpd = (np.concatenate(part) for part in zip(*d.snapshots))
    seen = pd.DataFrame({"account_id": who, "day": day - d.t_placed[who], "days_past_due": dpd})
    seen = seen[np.isin(who, i)]
    at_zero = seen[seen["day"] == 0].set_index("account_id")["days_past_due"]
    rows = pd.DataFrame(
        {
            "account_id": i,
            "customer_id": a["customer"][i],
            "time_zero": d.t_placed[i].astype("datetime64[D]").astype("datetime64[s]"),
            "days_past_due": at_zero.reindex(i).to_numpy(),
            "end_day": end,
            "outcome": outcome,
            "strategy": np.array(bank.STRATEGIES)[d.t_strategy[i]],
            "credit_score": a["score"][i],
            "monthly_income": a["income"][i],
        }
    )
    parts = d.events.rows["actions"]
    who, day, channel = (np.concatenate([part[k] for part in parts]) for k in (0, 1, 3))
    kept = np.isin(who, i) & (day > d.t_placed[who])
    who, day, channel = who[kept], day[kept], channel[kept]
    actions = pd.DataFrame(
        {"account_id": who, "day": day - d.t_placed[who], "channel": np.array(bank.CHANNELS)[channel]}
    )
    out = {}
    for k, depth in enumerate(depths):
        parts = [f[f["account_id"] // n == k] for f in (rows, actions, seen)]
        out[depth] = tuple(f.assign(account_id=f["account_id"] % n) for f in parts)
    return out


def truths(
    settings: Settings, accounts: dict[str, np.ndarray], asked: list[tuple[Case, pd.DataFrame]]
) -> list:
    """For each case and its rows, by account: cured within the follow-up if started within the grace period − if not."""
    lives = []
    rng = np.random.default_rng(settings.seed)
    for case, rows in asked:
        i, n = rows["account_id"].to_numpy(), len(rows)
        channel, weekday = bank.CHANNELS.index(case.channel), rows["time_zero"].dt.weekday.to_numpy()
        days = np.arange(1, case.grace + 1)
        open_ = ((weekday[:, None] + days) % 7 != 6) | (channel < bank.CALL)
        chosen = days[np.argmax(np.where(open_, rng.random(open_.shape), -1), axis=1)]
        both = stacked({name: column[i] for name, column in accounts.items()}, 2)
        both["anchor_dpd"][:] = case.deeper
        both["start_channel"][:] = channel
        both["start_day"] = np.concatenate([chosen, np.full(n, 10**6)])
        lives.append(both)
    together = {name: np.concatenate([life[name] for life in lives]) for name in lives[0]}
    d = Days(settings, Luck(settings.seed), together, keep=False).run()
    end, outcome = outcomes(d, np.arange(len(together["key"])))
    cured = ((outcome == "cured") & (end <= FOLLOW_UP)).astype(float)
    cuts = np.cumsum([len(life["key"]) for life in lives])[:-1]
    return [np.subtract(*np.split(part, 2)) for part in np.split(cured, cuts)]


def one_bank(task: tuple[int, int, int, int, int]) -> list[dict]:
    """All cases of one level of hidden confounding in the books of one simulated bank."""
    seed, size, books, months, hidden = task
    settings = Settings(
        seed=seed,
        accounts=size * books,
        months=months,
        end=END,
        problems=(),
        hidden_confounding=float(hidden),
    )
    accounts = draw_accounts(settings, Luck(seed), 0, size * books)
    cases = [c for c in CASES if c.hidden == hidden]
    banks = lived(settings, accounts, sorted({c.deeper for c in cases}))
    asked = []
    for case in cases:
        rows = banks[case.deeper][0]
        asked.append((case, rows[rows["strategy"].isin(case.strategies)]))
    out = []
    for (case, mine), gain in zip(asked, truths(settings, accounts, asked)):
        trial = TargetTrial(
            treatment=case.channel,
            grace=case.grace,
            follow_up=FOLLOW_UP,
            strategies=case.strategies,
            covariates=case.covariates,
        )
        for book in range(books):
            inside = (mine["account_id"] // size == book).to_numpy()
            told = {"case": CASES.index(case), "seed": seed * 1000 + book, "true": gain[inside].mean()}
            rows, actions, seen = (f[f["account_id"] // size == book] for f in banks[case.deeper])
            try:
                result = target_trial_rows(rows, actions, trial, seen=seen)
            except FrameError as error:
                out.append(told | {"method": "refused", "says": str(error)})
                continue
            failed = ", ".join(c.name for c in result.checks if c.passed is False)
            out += [told | row | {"failed": failed} for row in result.table.to_dict("records")]
    return out


def summary(found: pd.DataFrame) -> str:
    """The table, as text."""
    lines = []
    for number, case in enumerate(CASES):
        mine = found[found["case"] == number]
        if not len(mine):
            continue
        per_book = mine.groupby("seed")["true"].first()
        true, books = per_book.mean(), len(per_book)
        hidden = f"; hidden confounding {case.hidden:g}" if case.hidden else ""
        lines += ["", f"{case.name}{hidden}"]
        size = mine.loc[mine["method"] == "clone_censor_weight", ["accounts", "with_n"]].mean()
        lines.append(
            f"  {books} books of {size['accounts']:.0f} eligible accounts on average, {size['with_n']:.0f} start within "
            f"{case.grace} days; truth {100 * true:+.2f} ± {100 * per_book.sem():.2f} pp; refused: "
            f"{(mine['method'] == 'refused').sum()}"
        )
        lines.append(
            f"  {'method':<24}{'mean':>8}{'error':>8}{'± MC':>7}{'SD':>7}{'mean SE':>9}{'covers':>9}{'± MC':>7}"
            f"{'wrong sign':>12}{'misses':>9}"
        )
        for method in ("clone_censor_weight", "landmark", "ever_treated_weighted", "ever_treated"):
            m = mine[mine["method"] == method].dropna(subset=["estimate", "std_error"])
            n = len(m)
            # The truth of a book moves with the accounts it drew; the error's own Monte-Carlo error is left.
            error = m["estimate"] - m["true"]
            covers = ((m["conf_low"] <= true) & (m["conf_high"] >= true)).mean()
            wrong = (np.sign(m["estimate"]) != np.sign(true)).mean()
            lines.append(
                f"  {method.replace('_', ' '):<24}{100 * m['estimate'].mean():>+8.2f}{100 * error.mean():>+8.2f}"
                f"{100 * error.sem():>7.2f}{100 * m['estimate'].std():>7.2f}{100 * m['std_error'].mean():>9.2f}"
                f"{100 * covers:>8.1f}%{100 * np.sqrt(max(covers * (1 - covers), 0.25 / n) / n):>6.1f}%"
                f"{100 * wrong:>11.1f}%{100 * (1 - covers):>8.1f}%"
            )
        failed = mine.loc[mine["method"] == "clone_censor_weight", "failed"]
        counts = pd.Series([name for text in failed for name in text.split(", ") if name]).value_counts()
        if len(counts):
            lines.append("  checks that failed: " + ", ".join(f"{k} in {v} books" for k, v in counts.items()))
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--books", type=int, default=200)
    parser.add_argument("--accounts", type=int, default=6_000)
    parser.add_argument("--months", type=int, default=12)
    parser.add_argument("--first-seed", type=int, default=1)
    parser.add_argument("--processes", type=int, default=2)
    asked = parser.parse_args()
    banks = -(-asked.books // PER_BANK)
    tasks = [
        (
            asked.first_seed + k,
            asked.accounts,
            min(PER_BANK, asked.books - k * PER_BANK),
            asked.months,
            int(hidden),
        )
        for k in range(banks)
        for hidden in sorted({case.hidden for case in CASES})
    ]
    began, found = time.time(), []
    with multiprocessing.get_context("spawn").Pool(asked.processes) as pool:
        for done, rows in enumerate(pool.imap_unordered(one_bank, tasks), start=1):
            found += rows
            print(f"{done} of {len(tasks)} banks, {time.time() - began:.0f} s", file=sys.stderr)
    print(
        f"target trials: {asked.books} books of {asked.accounts:,} accounts over {asked.months} months, seeds from "
        f"{asked.first_seed}; cured within {FOLLOW_UP} days; percentage points; 95 % intervals by a delete-a-group "
        "jackknife\nerror: estimate − truth of that book; covers: share of intervals that hold the truth over all books"
    )
    frame = pd.DataFrame(found).sort_values(["case", "seed", "method"], ignore_index=True)
    print(summary(frame))


if __name__ == "__main__":
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    main()
