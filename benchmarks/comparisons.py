"""Whether comparisons of what collectors chose tell the truth: simulated books, each lived three times.

    python benchmarks/comparisons.py --books 200 --hidden-books 60 --processes 2 > benchmarks/comparisons.txt

The question: what do intensive collections add over standard ones, where collectors choose (the half of the bank
outside the randomised test)? They choose by credit score and income alone in the first part, by traits that no column
shows as well in the second (hidden_confounding = 1). Each book is lived as it was, and twice more with the same luck,
everybody under the one strategy and everybody under the other: all three are written as books, opened, and read by
the same cohort (time zero: the first month-end that shows the account past due; accounts already past due when the
book begins left out). The truth of a method is the mean difference between the two forced lives over the accounts its
estimates are about, all books together; bias is taken against the same accounts of the same book, which is less noisy.
Not run in CI; about five minutes on two idle cores.
"""

from __future__ import annotations

import argparse
import datetime as dt
import multiprocessing
import os
import sys
import time

import numpy as np
import pandas as pd
import pyarrow.compute as pc

from collectlab.book.open import open_book
from collectlab.book.simulate_bank import INTENSIVE, STANDARD, Luck, Settings, draw_accounts
from collectlab.book.simulate_days import Days
from collectlab.book.simulate_tables import tables_of
from collectlab.core.engine import connection
from collectlab.effects.cohort import cohort
from collectlab.effects.compare import compare, compare_times

END = dt.date(2026, 10, 31)
ACCOUNTS, MONTHS = 12_000, 12
#: Books are accounts of one bank, so many at a time: a pass over the days costs much the same for few.
BATCH = 10
#: Account numbers of the forced lives; the book's own are below.
APART = 10_000_000
COVARIATES = ["credit_score", "monthly_income", "product", "amount_past_due"]
OUTCOMES = {"amount_within_90": "CNY paid within 90 days", "paid_within_60": "paid anything within 60 days"}
HEAD = (
    f"Books of {ACCOUNTS:,} accounts over {MONTHS} months, half of them outside the randomised test; intensive against "
    "standard, as collectors chose.\nProcessor time: about two seconds a book. Seeded."
)
FOOT = (
    "\nTruth: over the accounts a method is about (naive and hazards: all; the others: those not trimmed). Bias is "
    "against\nthe same accounts; ± is the simulation's own standard error. Spread: standard deviation over books, wanted "
    "equal to\nthe mean standard error. Intervals are nominal 95 %; checks are held to 5 %, balance to 0.1 or\nwhat chance leaves."
)
METHODS = ("naive", "adjusted", "weighted", "doubly robust", "grouped hazards")


def lives(batch: int, hidden: float, books: int = BATCH, accounts: int = ACCOUNTS) -> list[pd.DataFrame]:
    """The cohorts of some books, each with what every outcome would have been under either strategy."""
    settings = Settings(
        seed=batch, accounts=books * accounts, months=MONTHS, end=END, problems=(), hidden_confounding=hidden
    )
    luck = Luck(batch)
    drawn = draw_accounts(settings, luck, 0, books * accounts)
    drawn = {name: column[~drawn["tested"]] for name, column in drawn.items()}
    n = len(drawn["key"])
    stacked = {name: np.tile(column, 3) for name, column in drawn.items()}
    for life, force in enumerate((-1, STANDARD, INTENSIVE)):
        rows = slice(life * n, (life + 1) * n)
        stacked["force"][rows] = force
        stacked["index"][rows] += life * APART
        stacked["customer"][rows] += life * APART
    tables = tables_of(Days(settings, luck, stacked).run(), 0)
    # Accounts never seen past due have no row in the cohort; those past due on the first day are left out.
    snapshots = tables["snapshots"]
    late = snapshots.filter(pc.greater(snapshots["days_past_due"], 0))
    early = late.filter(pc.equal(late["as_of"], pc.min(snapshots["as_of"])))["account_id"]
    ever = late.filter(pc.invert(pc.is_in(late["account_id"], early)))["account_id"].unique()
    tables = {
        name: tables[name].filter(pc.is_in(tables[name]["account_id"], ever))
        for name in ("accounts", "snapshots", "payments", "assignments")
    }
    rows = cohort(open_book(tables)).collect("pandas").to_native()
    rows = rows[rows["followed"] >= 90]
    number = rows["account_id"].str[1:].astype(int) - 1
    rows = rows.assign(life=number // APART, number=number % APART)
    # The time of the first payment, for hazards: days are exact in payments whatever the snapshots.
    paid = tables["payments"].to_pandas().merge(rows[["account_id", "time_zero"]], on="account_id")
    since = (pd.to_datetime(paid["paid_on"]) - pd.to_datetime(paid["time_zero"])).dt.days
    to_first = since[since > 0].groupby(paid["account_id"]).min().clip(upper=91)
    day = rows["account_id"].map(to_first).fillna(91).astype(int)
    rows = rows.assign(paid_day=day.clip(upper=90), ended=np.where(day <= 90, "paid", "censored"))
    fact, standard, intensive = (rows[rows["life"] == k].set_index("number") for k in range(3))
    if not (fact.index.equals(standard.index) and fact.index.equals(intensive.index)):
        fact, standard, intensive = (x.sort_index() for x in (fact, standard, intensive))
    assert fact.index.equals(standard.index) and fact.index.equals(intensive.index)
    gains = {f"gain_{o}": (intensive[o] - standard[o]).astype(float) for o in OUTCOMES}
    fact = fact.assign(**gains)
    return [part.reset_index(drop=True) for _, part in fact.groupby(fact.index // accounts)]


def one_batch(job: tuple[int, float]) -> tuple[list[dict], list[dict]]:
    connection().execute("SET threads = 1; SET enable_progress_bar = false")
    rows: list[dict] = []
    checks: list[dict] = []
    for frame in lives(*job):
        more, made = one_book(frame)
        rows += more
        checks += made
    return rows, checks


def one_book(frame: pd.DataFrame) -> tuple[list[dict], list[dict]]:
    """Estimates and checks of one book."""
    rows, checks = [], []
    for outcome in OUTCOMES:
        result = compare(
            frame,
            treatment="strategy",
            treated="intensive",
            outcome=outcome,
            covariates=COVARIATES,
            decided_on="assigned_on",
            time_zero="time_zero",
            cluster="customer_id",
            placebo=["amount_past_due"],
            placebo_date="paid_before_90",
        )
        table = result.table
        if outcome == "paid_within_60":
            hazards = compare_times(
                frame,
                treatment="strategy",
                treated="intensive",
                covariates=COVARIATES,
                horizon=60,
                event="paid",
                duration="paid_day",
                outcome="ended",
                steps={"monthly_income": "double", "amount_past_due": "double"},
                cluster="customer_id",
            )
            table = pd.concat([table, hazards.table], ignore_index=True)
        gain = frame.set_index("account_id")[f"gain_{outcome}"]
        kept = gain[result.propensity.loc[result.propensity["kept"], "account_id"]]
        for row in table.to_dict("records"):
            who = gain if row["method"] in ("naive", "grouped hazards") else kept
            rows.append(
                {
                    "outcome": outcome,
                    **{c: row[c] for c in ("method", "estimate", "std_error", "conf_low", "conf_high")},
                    "n": len(who),
                    "own": who.mean(),
                    "sum": who.sum(),
                }
            )
        checks += [
            {"outcome": outcome, "check": c.name, "passed": c.passed, "value": c.value} for c in result.checks
        ]
    return rows, checks


def share(values: pd.Series) -> str:
    p = values.mean()
    return f"{100 * p:5.1f} ± {100 * np.sqrt(p * (1 - p) / len(values)):.1f}"


def table_of(found: pd.DataFrame) -> pd.DataFrame:
    """Truth, mean estimate, bias, spread, coverage and wrong signs by outcome and method."""
    lines = []
    for outcome, meaning in OUTCOMES.items():
        scale = 100 if outcome.startswith("paid") else 1
        for method in METHODS:
            part = found[(found["outcome"] == outcome) & (found["method"] == method)]
            if part.empty:
                continue
            truth = part["sum"].sum() / part["n"].sum()
            off = (part["estimate"] - part["own"]) * scale
            lines.append(
                {
                    "outcome": meaning + (" (points)" if scale == 100 else ""),
                    "method": method,
                    "accounts": f"{part['n'].mean():,.0f}",
                    "truth": f"{scale * truth:.1f}",
                    "mean estimate": f"{scale * part['estimate'].mean():.1f}",
                    "bias": f"{off.mean():+.2f} ± {off.std(ddof=1) / np.sqrt(len(off)):.2f}",
                    "spread": f"{scale * part['estimate'].std(ddof=1):.2f}",
                    "mean error": f"{scale * part['std_error'].mean():.2f}",
                    "covered, %": share((part["conf_low"] <= truth) & (part["conf_high"] >= truth)),
                    "wrong sign, %": share(np.sign(part["estimate"]) != np.sign(truth)),
                }
            )
    return pd.DataFrame(lines)


def checks_of(checks: pd.DataFrame) -> pd.DataFrame:
    """How often each check failed, held, or could not be made."""
    lines = []
    for (outcome, name), part in checks.groupby(["outcome", "check"], sort=False):
        made = part["passed"].map(str)
        lines.append(
            {"outcome": OUTCOMES[outcome], "check": name}
            | {word: f"{100 * (made == key).mean():.1f}" for word, key in
               (("fails, %", "False"), ("holds, %", "True"), ("not made, %", "None"))}
        )  # fmt: skip
    return pd.DataFrame(lines)


def show(hidden: float, rows: list[dict], checks: list[dict]) -> None:
    """Print one part of the study."""
    books = sum(r["method"] == "naive" for r in rows) // len(OUTCOMES)
    print(f"\nhidden_confounding = {hidden:g}: {books} books\n")
    print(table_of(pd.DataFrame(rows)).to_string(index=False))
    print()
    print(checks_of(pd.DataFrame(checks)).to_string(index=False))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--books", type=int, default=200)
    parser.add_argument("--hidden-books", type=int, default=60, help="with hidden confounding")
    parser.add_argument("--processes", type=int, default=2)
    chosen = parser.parse_args()
    os.environ["OPENBLAS_NUM_THREADS"] = "1"  # of small matrices, where more threads only wait for each other
    began = time.perf_counter()
    print(HEAD)
    with multiprocessing.get_context("spawn").Pool(chosen.processes) as pool:
        for hidden, books in ((0.0, chosen.books), (1.0, chosen.hidden_books)):
            rows: list[dict] = []
            checks: list[dict] = []
            jobs = [(batch, hidden) for batch in range(1, -(-books // BATCH) + 1)]
            for more, made in pool.imap(one_batch, jobs):
                rows += more
                checks += made
                print(f"{time.perf_counter() - began:,.0f} s", file=sys.stderr)
            show(hidden, rows, checks)
    print(FOOT)


if __name__ == "__main__":
    main()
