"""How often forecast intervals hold the months held back, on simulated books and on the real card panel.

    python benchmarks/forecast.py --banks 6 --processes 2 --cards ../shared/data/cards > benchmarks/forecast.txt

Each simulated bank has 36 months of 30,000 accounts, split by customer into ten books of about 3,000. Of each book the
last 12 months are held back, the forecast sees the first 24, and what happened is looked up in its 80 % and 95 %
intervals. The months of one book hang together, so the standard errors are those of the means over books. Two settings: nothing planted, and as a stress a change of the whole bank's policy
planted among the months held back, which no forecast from the past can know of. The card panel (real accounts) is a
backtest from 36 past months against the last value, printed as it is. Not run in CI; some minutes on two idle cores.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from collectlab.book.open import open_book
from collectlab.book.simulate import simulate
from collectlab.book.sources import import_source
from collectlab.core.engine import connection
from collectlab.policy.forecast import History, backtest, forecast, history
from collectlab.policy.forecast.rivals import RIVALS

ROOT = Path(__file__).parents[1]
MONTHS, HELD, ACCOUNTS, SPLIT, FIRST_SEED = 36, 12, 30_000, 10, 7_000
SETTINGS: dict[str, tuple[str, ...]] = {
    "nothing planted": (),
    "stress: the whole bank's policy changes": ("bank_wide",),
}
SHOWN = (1, 3, 6, 12)

#: measure → (months held back, figures): inside 80 %, inside 95 %, |error|, |naive's|, |smoothing's|, error, over the mean.
Found = dict[str, np.ndarray]


def bank(job: tuple[int, tuple[str, ...]]) -> list[Found]:
    """One bank's books, each forecast from month 24."""
    seed, changes = job
    connection().execute("SET threads = 1; SET enable_progress_bar = false")
    made = simulate(ACCOUNTS, MONTHS, FIRST_SEED + seed, problems=(), changes=changes, truth_accounts=0)
    tables = {name: made.book_tables[name] for name in ("accounts", "snapshots", "payments")}
    whole = open_book(tables, name="simulated")
    number = "CAST(substr(customer_id, 2) AS INTEGER)"
    return [one(history(whole.where(f"{number} % {SPLIT} = {part}"))) for part in range(SPLIT)]


def one(counted: History) -> Found:
    """One book: the forecast from month 24, against months 25 to 36."""
    known = counted.until(len(counted.months) - 1 - HELD)
    made, before, after = forecast(known, months=HELD), known.series(), counted.series().tail(HELD)
    out = {}
    for measure, paths in made.paths.items():
        seen, past = after[measure].to_numpy(float), before[measure].dropna().to_numpy(float)
        rival = {name: np.abs(make(past, HELD) - seen) for name, make in RIVALS.items()}
        rows = []
        for low, high in ((0.1, 0.9), (0.025, 0.975)):
            ends = np.quantile(paths, [low, high], axis=0)
            rows.append((ends[0] <= seen) & (seen <= ends[1]))
        error = paths.mean(axis=0) - seen
        size = np.abs(seen).mean()
        rows += [
            np.abs(error) / size,
            rival["naive"] / size,
            rival["exponential smoothing"] / size,
            error / size,
        ]
        out[measure] = np.array(rows, float).T
    return out


def told(values: np.ndarray, column: int) -> str:
    """Mean over books of each book's mean over its months held back, with its standard error, in percent."""
    each = 100 * values[:, :, column].mean(axis=1)
    return f"{each.mean():5.1f} ± {each.std(ddof=1) / np.sqrt(len(each)):.1f}"


def simulated(most: int, processes: int) -> None:
    """Print coverage and errors on simulated books; a third as many banks for the stress."""
    for name, changes in SETTINGS.items():
        banks = max(most // 3, 1) if changes else most
        found: list[Found] = []
        with multiprocessing.get_context("spawn").Pool(processes) as pool:
            for i, part in enumerate(pool.imap(bank, [(seed, changes) for seed in range(banks)]), 1):
                found += part
                print(f"{name}: {i} of {banks} banks", file=sys.stderr, flush=True)
        size = ACCOUNTS // SPLIT
        print(
            f"{name}: {len(found)} books of about {size:,} accounts and {MONTHS} months, the last {HELD} held back"
        )
        print("  share of months held back inside the interval, % (± its standard error over books)")
        ahead = "".join(f"{f'80 %, {h}':>10}{f'95 %, {h}':>10}" for h in SHOWN)
        print(f"  {'measure':<16}{'80 %':>12}{'95 %':>12}{ahead}   (months ahead)")
        values = {m: np.stack([f[m] for f in found if m in f]) for m in found[0]}
        for measure, v in values.items():
            at = "".join(f"{100 * v[:, h - 1, c].mean():>10.0f}" for h in SHOWN for c in (0, 1))
            print(f"  {measure:<16}{told(v, 0):>12}{told(v, 1):>12}{at}")
        print("  mean absolute error, % of the measure's level")
        print(f"  {'measure':<16}{'roll-forward':>14}{'last value':>14}{'smoothing':>14}{'bias':>14}")
        for measure, v in values.items():
            print(f"  {measure:<16}" + "".join(f"{told(v, c):>14}" for c in (2, 3, 4, 5)))
        print(flush=True)


def cards(folder: Path) -> None:
    """Print the backtest on the real card panel."""
    with tempfile.TemporaryDirectory() as work:
        import_source(ROOT / "params" / "sources" / "cards", folder, Path(work) / "cards")
        counted = history(open_book(Path(work) / "cards"))
    test = backtest(counted, months=12, origins=36, at=SHOWN)
    print("card panel (real accounts, no payments): forecasts from 36 past months, to 2020-02")
    print(
        "  mean absolute error, percentage points; ÷ the last value's; share inside the roll-forward's intervals, %"
    )
    print(
        f"  {'measure':<14}{'ahead':>6}  {'method':<24}{'made':>6}{'error':>8}{'÷ naive':>9}{'80 %':>7}{'95 %':>7}"
    )
    for row in test.table.itertuples():
        inside = "".join(
            f"{100 * v:>7.0f}" if np.isfinite(v) else f"{'':>7}" for v in (row.inside_80, row.inside_95)
        )
        print(
            f"  {row.measure:<14}{row.ahead:>6}  {row.method:<24}{row.forecasts:>6}{100 * row.estimate:>8.2f}"
            f"{row.of_naive:>9.2f}{inside}"
        )
    for measure in dict.fromkeys(test.table["measure"]):
        print(f"  {test.says(measure)}")
    print()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--banks", type=int, default=6)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument(
        "--cards", type=Path, help="folder with the card panel's files; without it, it is left out"
    )
    chosen = parser.parse_args()
    began = time.perf_counter()
    os.environ["OPENBLAS_NUM_THREADS"] = "1"  # of small matrices, where more threads only wait for each other
    print("Forecast intervals and errors: held-back months of simulated books, and a real panel.\n")
    simulated(chosen.banks, chosen.processes)
    if chosen.cards:
        cards(chosen.cards)
    print(
        "The months of a book hang together (a rate that has moved stays so), which is why standard errors are over "
        "books.\nNo forecast made from the past can hold what a new policy will do: the stress shows by how much.\n"
        "The half-life of the months' weights (3 months, of 2.5 to 12) was chosen on 60 other simulated books and on this "
        "panel's\nbacktest, so the panel's figures flatter the roll-forward somewhat."
    )
    minutes = (time.perf_counter() - began) / 60
    print(f"\nSeeded; {minutes:.0f} minutes with {chosen.processes} processes.")


if __name__ == "__main__":
    main()
