"""Do effects of policy changes come back, and does nothing come back where nothing was planted? By simulation.

    python benchmarks/policy_changes.py --replications 2000 --processes 2 > benchmarks/policy_changes.txt
    python benchmarks/policy_changes.py --replications 0 --books 200 --processes 2 >> benchmarks/policy_changes.txt

First plain tables that look like a collections book: 12 branches over 24 months with branch shocks that last, a season,
and shares of 100–400 accounts; a bank's monthly series; accounts around a threshold; episodes by day. Each is drawn
with an effect and with none (seeded); 200 of each ask the library as a user would, with every check, the others its
estimate alone. The second command adds whole simulated banks
with a roll-out by branch, a bank-wide date and a score cut planted, against the truth the simulator works out by
living twice. Columns: the truth, the mean estimate less the truth (bias) and its Monte-Carlo error, the spread of
the estimates, the mean standard error, how often the 95 % interval holds the truth, and how often it leaves out 0.
Beside each, what is often done instead. Not run in CI; ten minutes
on two idle cores, and 7 seconds of one core a bank; Ctrl-C tells what was done until then.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import time
import warnings
import zlib
from collections.abc import Callable
from typing import Any

import narwhals as nw
import numpy as np
import pandas as pd

from collectlab.book.open import open_book
from collectlab.book.simulate import change_schedule, simulate
from collectlab.book.simulate_truth import changes_truth
from collectlab.core.engine import materialise
from collectlab.effects import _differences_fit as differences_fit
from collectlab.effects import _discontinuity_fit as discontinuity_fit
from collectlab.effects import _series_fit as series_fit
from collectlab.effects.cohort import cohort
from collectlab.effects.differences import differences
from collectlab.effects.discontinuity import discontinuity
from collectlab.effects.policy_panel import branch_months, never_drawn, series_months
from collectlab.effects.series import interrupted_series
from collectlab.effects.stage_jump import _fit, _rows, stage_jump

#: One estimate: name, truth, estimate, std_error, conf_low, conf_high; a check: name, None, passed.
Found = list[tuple]
BRANCHES, MONTHS = 12, 24
#: So many replications make every check too, and what is often done instead; the others the estimate alone.
FULL = 200


def shocks(rng: np.random.Generator, rows: int, length: int, rho: float, spread: float) -> np.ndarray:
    """Autocorrelated shocks, a row for each branch."""
    out = np.empty((rows, length))
    out[:, 0] = rng.normal(0, spread, rows)
    for t in range(1, length):
        out[:, t] = rho * out[:, t - 1] + rng.normal(0, spread * np.sqrt(1 - rho**2), rows)
    return out


def branch_panel(rng: np.random.Generator, effect: float, growing: bool = False) -> pd.DataFrame:
    """Shares cured by branch and month; eight branches change in four waves, four never do."""
    since = rng.permutation([9, 9, 12, 12, 12, 15, 15, 18, *[99] * 4])
    month = np.arange(MONTHS)
    after = month >= since[:, None]
    grown = np.clip((month - since[:, None] + 1) / 6, 0, 2) if growing else 1.0
    share = rng.normal(0.5, 0.06, BRANCHES)[:, None] + 0.04 * np.sin(2 * np.pi * month / 12)
    share = share + shocks(rng, BRANCHES, MONTHS, 0.5, 0.02) + effect * after * grown
    accounts = rng.poisson(rng.integers(100, 401, BRANCHES)[:, None] * np.ones(MONTHS))
    cured = rng.binomial(accounts, np.clip(share, 0.01, 0.99)) / accounts
    branch, place = np.indices(cured.shape)
    frame = pd.DataFrame({"branch": branch.ravel(), "month": place.ravel(), "cured": cured.ravel()})
    frame["since"] = np.where(since < 99, since.astype(float), np.nan)[branch.ravel()]
    frame["accounts"] = accounts.ravel().astype(float)
    frame["truth"] = (effect * after * grown).ravel()
    return frame


def rollout(rng: np.random.Generator, full: bool, effect: float, growing: bool = False) -> Found:
    frame = branch_panel(rng, effect, growing)
    if not full:
        _, used, _ = differences_fit.prepared(frame, "branch", "month", "cured", "since", "accounts")
        fitted, on = differences_fit.refits(used), used.treated
        error = differences_fit.error_of(fitted.average, fitted.left_average)
        reach = 2.200985 * error  # of Student's t(11)
        truth = float(np.average(frame["truth"][frame["month"] >= frame["since"]], weights=used.weight[on]))
        row = (fitted.average, error, fitted.average - reach, fitted.average + reach)
        return [("imputation, jackknife over branches", truth, *row)]
    found = differences(
        frame, unit="branch", time="month", outcome="cured", treated_from="since", weight="accounts"
    )
    treated = frame["month"] >= frame["since"]
    truth = float(np.average(frame["truth"][treated], weights=frame["accounts"][treated]))
    import pyfixest

    wide = frame.assign(on=treated.astype(float))
    usual = pyfixest.did2s(
        wide, yname="cured", first_stage="~ 0 | branch + month", second_stage="~ on", treatment="on",
        cluster="branch", weights="accounts",
    ).tidy().iloc[0]  # fmt: skip
    rows = [("imputation, jackknife over branches", truth, *numbers(found.table.iloc[0]))]
    rows.append(
        (
            "  as did2s, its own clustered errors",
            truth,
            usual["Estimate"],
            usual["Std. Error"],
            usual["2.5%"],
            usual["97.5%"],
        )
    )
    rows.append(("  two-way fixed effects", truth, *numbers(found.table.iloc[1])))
    return rows + checks(found)


def bank_series(
    rng: np.random.Generator, full: bool, effect: float, months: int, change: int, rho: float
) -> Found:
    t = np.arange(months)
    accounts = rng.integers(1_500, 2_500, months)
    share = 0.5 + 0.001 * t + 0.03 * np.sin(2 * np.pi * t / 12) + shocks(rng, 1, months, rho, 0.015)[0]
    cured = rng.binomial(accounts, share + effect * (t >= change)) / accounts
    frame = pd.DataFrame({"month": pd.date_range("2022-01-01", periods=months, freq="MS"), "cured": cured})
    if not full:
        x = series_fit.matrix(t - change, 0, series_fit.waves_of(t - change, 12))
        fit = series_fit.fit_path(cured, x, np.ones(months), series_fit.whiteners(t - change))
        mean = np.eye(x.shape[1])[2] + np.eye(x.shape[1])[3] * (months - change - 1) / 2
        names = ("level change, averaged over ρ", "mean effect after, averaged over ρ")
        parts = [series_fit.averaged(fit, c, 0.95) for c in (np.eye(x.shape[1])[2], mean)]
        return [(name, effect, *numbers(part)) for name, part in zip(names, parts)]
    found = interrupted_series(frame, time="month", outcome="cured", changed_on=frame["month"][change])
    table = found.table.set_index("method")
    rows = [("level change, averaged over ρ", effect, *numbers(table.loc["level change"]))]
    rows.append(("mean effect after, averaged over ρ", effect, *numbers(table.loc["mean effect after"])))
    rows.append(("  level change, Newey–West", effect, *newey_west(cured, t, change)))
    rows.append(("  after minus before", effect, *numbers(table.loc["after minus before"])))
    return rows + checks(found)


def newey_west(y: np.ndarray, t: np.ndarray, change: int) -> tuple[float, ...]:
    """The same path by ordinary least squares, with Newey and West's errors."""
    import statsmodels.api as sm

    after, s = t >= change, t - change
    x = np.column_stack(
        [np.ones(len(t)), s, after, after * s, np.sin(2 * np.pi * t / 12), np.cos(2 * np.pi * t / 12)]
    )
    lags = int(4 * (len(t) / 100) ** (2 / 9))
    fit = sm.OLS(y, x).fit(cov_type="HAC", cov_kwds={"maxlags": lags, "use_correction": True}, use_t=True)
    return fit.params[2], fit.bse[2], *fit.conf_int()[2]


def threshold(rng: np.random.Generator, full: bool, effect: float, kind: str) -> Found:
    """5,000 accounts around a cut of a score (whole numbers) or of an amount (rounded to 100, or to cents)."""
    n = 5_000
    if kind == "score":
        score, cut = np.round(rng.normal(620, 60, n)), 600.0
        away = (score - cut) / 60
    else:
        score, cut = (
            np.round(np.exp(rng.normal(8.3, 0.8, n)), -2 if kind == "amount in hundreds" else 2),
            5_000.0,
        )
        away = (score - cut) / 3_000
    age = rng.normal(40, 10, n)
    treated = score < cut
    share = 0.45 - 0.1 * np.tanh(0.7 * away) + effect * treated
    frame = pd.DataFrame({"score": score, "cured": (rng.random(n) < share).astype(float), "age": age})
    if not full:
        data, _ = discontinuity_fit.prepared(frame, "score", cut, "cured", [], None, None)
        side = discontinuity_fit.Side(cut, -1.0, False, 0.95)
        fit = side.fit(data, "y")
        return [
            ("robust", effect, *numbers(side.row(fit, 2))),
            ("  conventional", effect, *numbers(side.row(fit, 0))),
        ]
    found = discontinuity(
        frame, score="score", cutoff=cut, outcome="cured", treated="below", covariates="age"
    )
    rows = [
        ("robust", effect, *numbers(found.table.iloc[0])),
        ("  conventional", effect, *numbers(found.table.iloc[1])),
    ]
    means = [frame["cured"][treated], frame["cured"][~treated]]
    gap, error = means[0].mean() - means[1].mean(), np.sqrt(sum(m.var() / len(m) for m in means))
    rows.append(("  treated minus untreated", effect, gap, error, gap - 1.96 * error, gap + 1.96 * error))
    return rows + checks(found)


def stage(rng: np.random.Generator, full: bool, ratio: float) -> Found:
    """20,000 episodes whose hazard falls, with a jump on day 30; noise from day to day beyond the binomial."""
    n, open_ = 20_000, 20_000
    day = np.arange(1, 61)
    hazard = (
        (0.004 + 0.03 * np.exp(-day / 40)) * np.where(day >= 30, ratio, 1.0) * np.exp(rng.normal(0, 0.03, 60))
    )
    left, outcome, daily = [], [], []
    for d, h in zip(day, hazard):
        cured = rng.binomial(open_, h)
        daily.append((d, open_, cured))
        left += [d] * cured
        outcome += ["cured"] * cured
        open_ -= cured
    before = 0.004 + 0.03 * np.exp(-30 / 40)
    if not full:
        counted = pd.DataFrame(daily, columns=["day", "at_risk", "events"], dtype=float)
        row = _rows(counted, 30, 14, _fit(counted, 30, 14), "cured", 0.95)[0]
        return [("jump of the daily hazard", before * (ratio - 1), *numbers(row))]
    frame = pd.DataFrame(
        {"exit_day": left + [61] * (n - len(left)), "outcome": outcome + ["censored"] * (n - len(left))}
    )
    found = stage_jump(frame, days=30, seen=None)
    table = found.table
    rows = [("jump of the daily hazard", before * (ratio - 1), *numbers(table.iloc[0]))]
    return rows + checks(found)


def numbers(row: Any) -> tuple[float, ...]:
    return tuple(float(row[c]) for c in ("estimate", "std_error", "conf_low", "conf_high"))


def checks(found: Any) -> Found:
    return [(f"check: {c.name}", None, c.passed) for c in found.checks if c.passed is not None]


STUDIES: dict[str, tuple[Callable[..., Found], tuple]] = {
    "Roll-out by branch, nothing planted": (rollout, (0.0,)),
    "Roll-out by branch, +5 points": (rollout, (0.05,)),
    "Roll-out by branch, effect growing to +10 points over a year": (rollout, (0.05, True)),
    "Bank-wide date, 24 months (12 + 12), ρ = 0.3, nothing planted": (bank_series, (0.0, 24, 12, 0.3)),
    "Bank-wide date, 24 months (12 + 12), ρ = 0.3, +4 points": (bank_series, (0.04, 24, 12, 0.3)),
    "Bank-wide date, 36 months (24 + 12), ρ = 0.5, +4 points": (bank_series, (0.04, 36, 24, 0.5)),
    "Bank-wide date, 60 months (40 + 20), ρ = 0.5, nothing planted": (bank_series, (0.0, 60, 40, 0.5)),
    "Threshold on a whole-number score, nothing planted": (threshold, (0.0, "score")),
    "Threshold on a whole-number score, +10 points": (threshold, (0.10, "score")),
    "Threshold on an amount, nothing planted": (threshold, (0.0, "amount")),
    "Threshold on an amount in hundreds, +10 points": (threshold, (0.10, "amount in hundreds")),
    "Stage at day 30, nothing planted": (stage, (1.0,)),
    "Stage at day 30, hazard × 1.3": (stage, (1.3,)),
}


def batch(job: tuple[str, int, int]) -> tuple[str, Found]:
    name, start, size = job
    warnings.simplefilter("ignore")
    study, given = STUDIES[name]
    found: Found = []
    for i in range(start, start + size):
        found += study(np.random.default_rng([zlib.crc32(name.encode()), i]), i < FULL, *given)
    return name, found


#: Whole banks: so many accounts and months; what is planted together, so that neither changes what the other moves.
ACCOUNTS, WINDOW = 8_000, 36
PLANTED = (("branch_rollout", "threshold"), ("bank_wide",))
TRUTH_ACCOUNTS = 60_000


def truths() -> dict[str, tuple[float, float]]:
    """What each change causes to the share cured in 60 days, over the episodes that began under it; its error."""
    found = {}
    for changes in PLANTED:
        bank = simulate(2, WINDOW, seed=1, changes=changes, problems=(), truth_accounts=0)
        table = changes_truth(bank.settings, TRUTH_ACCOUNTS // 3)
        table = table[(table["population"] == "episodes") & (table["outcome"] == "cured_60d")]
        found |= dict(zip(table["change"], zip(table["estimate"], table["std_error"])))
    return found


def bank(job: tuple[int, dict[str, float]]) -> dict[str, Found]:
    """One bank lived with a roll-out and a score cut, and once more with a bank-wide date instead."""
    seed, truth = job
    warnings.simplefilter("ignore")
    found: dict[str, Found] = {}
    for changes in PLANTED:
        made = simulate(ACCOUNTS, WINDOW, seed=seed, changes=changes, problems=(), truth_accounts=0)
        # The tables that say when an episode was cured and who was in the test; the others take time to check.
        tables = {name: made.book_tables[name] for name in ("accounts", "snapshots", "assignments")}
        book, plan = open_book(tables), change_schedule(made.settings)
        rows = materialise(cohort(book, horizons=(60,), first_only=False))
        outside = materialise(never_drawn(book, rows))
        planted = {name: truth[name] if name in changes else 0.0 for name in truth}
        word = {name: "planted" if name in changes else "not planted" for name in truth}

        panel = branch_months(outside, since=plan.branch_rollout)
        result = differences(
            panel,
            unit="branch",
            time="month",
            outcome="cured_within_60",
            treated_from="treated_from",
            weight="episodes",
        )
        line = (
            "imputation, jackknife over branches",
            planted["branch_rollout"],
            *numbers(result.table.iloc[0]),
        )
        found[f"Banks: roll-out by branch, {word['branch_rollout']}"] = [line, *checks(result)]

        result = discontinuity(
            outside, score="credit_score", cutoff=plan.threshold, outcome="cured_within_60", treated="below",
            covariates=("monthly_income", "age"), cluster="account_id",
        )  # fmt: skip
        lines = [
            (name, planted["threshold"], *numbers(result.table.iloc[i]))
            for i, name in enumerate(("robust", "  conventional"))
        ]
        found[f"Banks: score cut, {word['threshold']}"] = [*lines, *checks(result)]

        inside = rows
        if "bank_wide" not in changes:  # of those in the test, whom neither of the two changes reaches
            drawn = rows.join(
                outside.select("account_id", "episode"), on=["account_id", "episode"], how="anti"
            )
            inside = drawn.filter(nw.col("started_on") >= nw.lit(made.settings.test_start))
        series = series_months(inside)
        result = interrupted_series(
            series, time="month", outcome="cured_within_60", changed_on=plan.bank_wide, weight="episodes"
        )
        table = result.table.set_index("method")
        lines = [
            (f"{m}, averaged over ρ", planted["bank_wide"], *numbers(table.loc[m]))
            for m in ("level change", "mean effect after")
        ]
        lines.append(
            ("  after minus before", planted["bank_wide"], *numbers(table.loc["after minus before"]))
        )
        found[f"Banks: bank-wide date, {word['bank_wide']}"] = [*lines, *checks(result)]
    return found


def summary(found: Found) -> list[str]:
    out = []
    frame = pd.DataFrame(
        [f for f in found if f[1] is not None], columns=["name", "truth", "estimate", "error", "low", "high"]
    )
    for name, part in frame.groupby("name", sort=False):
        gap = part["estimate"] - part["truth"]
        covered = ((part["low"] <= part["truth"]) & (part["truth"] <= part["high"])).mean()
        away = ((part["low"] > 0) | (part["high"] < 0)).mean()
        out.append(
            f"  {name:<40}{len(part):6,}{100 * part['truth'].mean():8.2f}{100 * gap.mean():8.2f} ± {100 * gap.std() / len(gap) ** 0.5:4.2f}"
            f"{100 * gap.std():8.2f}{100 * part['error'].mean():8.2f}{100 * covered:9.1f}{100 * away:9.1f}"
        )
    made: dict[str, list[bool]] = {}
    for f in found:
        if f[1] is None:
            made.setdefault(f[0], []).append(bool(f[2]))
    if made:
        n = len(next(iter(made.values())))
        told = [f"{name.removeprefix('check: ')} {100 - 100 * np.mean(v):.1f}" for name, v in made.items()]
        out.append(f"  checks that fail, % of {n}: {', '.join(told)}")
    return out


HEAD = f"  {'in points':<40}{'n':>6}{'truth':>8}{'bias':>8}   {'MC':>4}{'spread':>8}{'error':>8}{'cover %':>9}{'found %':>9}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--replications", type=int, default=1_000)
    parser.add_argument("--books", type=int, default=0)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--only", default="", help="studies whose name begins with this")
    given = parser.parse_args()
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS"):
        os.environ[name] = "1"
    names = [n for n in STUDIES if n.startswith(given.only)] if given.replications else []
    size = 20
    if names:
        print(f"Policy changes: {given.replications} replications a study, seeds from each study's name; MC error of a coverage "
              f"of 95 %: {100 * (0.95 * 0.05 / given.replications) ** 0.5:.1f} points.")  # fmt: skip
    started = time.time()
    with multiprocessing.get_context("spawn").Pool(given.processes) as pool:
        for name in names:
            jobs = [(name, i, min(size, given.replications - i)) for i in range(0, given.replications, size)]
            found = [f for _, part in pool.imap(batch, jobs) for f in part]
            print(f"\n{name}\n{HEAD}", *summary(found), sep="\n", flush=True)
            print(f"{name}: {time.time() - started:.0f} s", file=sys.stderr, flush=True)
        if given.books:
            truth, kept, done = truths(), {}, 0
            jobs = [
                (seed, {name: value for name, (value, _) in truth.items()})
                for seed in range(1, given.books + 1)
            ]
            try:
                for part in pool.imap_unordered(bank, jobs):
                    for name, found in part.items():
                        kept.setdefault(name, []).extend(found)
                    done += 1
                    print(f"bank {done}: {time.time() - started:.0f} s", file=sys.stderr, flush=True)
            except KeyboardInterrupt:  # what was done until then is told
                pool.terminate()
            errors = ", ".join(
                f"{name.replace('_', ' ')} {100 * error:.2f}" for name, (_, error) in truth.items()
            )
            print(f"\n{done} simulated banks of {ACCOUNTS:,} accounts over {WINDOW} months (seeds from 1 on); truth over "
                  f"{TRUTH_ACCOUNTS:,} accounts of one of them (its own MC error, in points: {errors}). What is measured is the "
                  "share cured within 60 days of the first month-end. MC error of a coverage of 95 %: "
                  f"{100 * (0.95 * 0.05 / max(done, 1)) ** 0.5:.1f} points.")  # fmt: skip
            for name in sorted(kept):
                print(f"\n{name}\n{HEAD}", *summary(kept[name]), sep="\n", flush=True)


if __name__ == "__main__":
    main()
