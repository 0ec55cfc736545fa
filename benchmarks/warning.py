"""How well the early warning does on months it had not seen: the real card panel, and simulated books.

    python benchmarks/warning.py --books 4 --cards ../shared/data/cards > benchmarks/warning.txt

Each month is scored by a model learned from what was known by then, refitted every three months on the cards and every six on
the simulated books. Figures only; nothing of the panel is kept. Where scikit-learn can be imported (it is no dependency), gradient
boosting is trained on the same rows and features, as a challenger. Not run in CI; some ten minutes on two idle cores.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from collectlab.book.open import open_book
from collectlab.book.simulate import simulate
from collectlab.book.sources import import_source
from collectlab.policy.warning import Validation, load_warning, rolling, usable, warning_rows

ROOT = Path(__file__).parents[1]
FORBIDDEN = load_warning(ROOT / "params" / "warning.yml").forbidden_on("2026-01-01")
SHOWN = ("auc", "ks", "slope", "observed_expected", "brier", "top_5", "top_10", "top_20")


def challenger(target: str) -> Callable | None:
    """Gradient boosting on the same rows and features; None where scikit-learn is not there."""
    try:
        from sklearn.ensemble import HistGradientBoostingClassifier
    except ImportError:
        return None

    def learn(rows: pd.DataFrame) -> Callable[[pd.DataFrame], np.ndarray]:
        names = usable(rows, target, None, FORBIDDEN)

        def matrix(frame: pd.DataFrame) -> np.ndarray:
            return np.column_stack(
                [
                    frame[c].cat.codes.to_numpy(float)
                    if isinstance(frame[c].dtype, pd.CategoricalDtype)
                    else frame[c].to_numpy(float)
                    for c in names
                ]
            )

        text = [isinstance(rows[c].dtype, pd.CategoricalDtype) for c in names]
        model = HistGradientBoostingClassifier(
            max_iter=200, learning_rate=0.05, max_leaf_nodes=15, min_samples_leaf=100, l2_regularization=1.0,
            categorical_features=text, random_state=1,
        )  # fmt: skip
        model.fit(matrix(rows), rows["outcome"].to_numpy())
        return lambda frame: model.predict_proba(matrix(frame))[:, 1]

    return learn


def line(name: str, held: Validation, model: str) -> str:
    """One line of figures with their intervals."""
    table = held.table[held.table["model"] == model].set_index("measure")
    cells = [
        f"{table.loc[m, 'estimate']:8.4f} ({table.loc[m, 'conf_low']:.4f} to {table.loc[m, 'conf_high']:.4f})"
        for m in SHOWN
    ]
    return f"{name:<34}" + "".join(f"{c:>30}" for c in cells)


def cards(folder: Path) -> None:
    """The real panel: falls and rolls, with and without the panel's own status code."""
    with tempfile.TemporaryDirectory() as scratch:
        import_source(ROOT / "params" / "sources" / "cards", folder, Path(scratch) / "cards")
        book = open_book(Path(scratch) / "cards")
        for target in ("falls", "rolls"):
            started = time.perf_counter()
            rows = warning_rows(book, target=target, columns=["bucket_code"])
            took = time.perf_counter() - started
            started = time.perf_counter()
            held = rolling(rows, target=target, forbidden=FORBIDDEN, refit=3)
            print(
                f"\nCards, {target}: {held.scored['month'].nunique()} months, {len(held.scored):,} account-months, "
                f"{int(held.scored['outcome'].sum()):,} events; {len(rows):,} rows in {took:.1f} s, validated in "
                f"{time.perf_counter() - started:.1f} s"
            )
            print(f"{'':<34}" + "".join(f"{m:>30}" for m in SHOWN))
            print(line("logistic on bands", held, "warning"))
            print(line("simple rule", held, "simple rule"))
            print(line("difference", held, "difference"))
            # Not by default: a code that only this panel has (C: paid off; X: no loan).
            names = [*usable(rows, target, None, FORBIDDEN), "bucket_code"]
            coded = rolling(rows, target=target, features=names, refit=3)
            print(line("logistic, with the status code", coded, "warning"))
            learn = challenger(target)
            if learn is not None:
                print(
                    line(
                        "gradient boosting (challenger)",
                        rolling(rows, target=target, refit=3, learn=learn),
                        "warning",
                    )
                )
            months = held.by_month[
                ["month", "n", "events", "auc", "observed_expected", "oe_low", "oe_high", "psi"]
            ]
            print(months.to_string(index=False, float_format=lambda v: f"{v:.3f}"))
            sys.stdout.flush()


def books(number: int, accounts: int) -> None:
    """Simulated books, seed by seed: the mean of each figure and its spread, and how often 1 is covered."""
    found: dict[tuple[str, str], list[pd.Series]] = {}
    covered = {"falls": 0, "rolls": 0}
    for seed in range(number):
        book = open_book(simulate(accounts=accounts, seed=seed, problems=(), truth_accounts=0).book_tables)
        for target in covered:
            print(f"book {seed + 1} of {number}, {target}", file=sys.stderr, flush=True)
            rows = warning_rows(book, target=target)
            held = rolling(rows, target=target, forbidden=FORBIDDEN)
            for model, part in held.table.groupby("model"):
                found.setdefault((target, str(model)), []).append(part.set_index("measure")["estimate"])
            told = held.table[held.table["model"] == "warning"].set_index("measure").loc["observed_expected"]
            covered[target] += bool(told["conf_low"] <= 1 <= told["conf_high"])
            learn = challenger(target)
            if learn is not None:
                other = rolling(rows, target=target, learn=learn).table
                part = other[other["model"] == "warning"].set_index("measure")["estimate"]
                found.setdefault((target, "gradient boosting (challenger)"), []).append(part)
    for target, times in covered.items():
        print(
            f"\nSimulated, {target}: {number} books of {accounts:,} accounts; mean (standard deviation between books)"
        )
        print(f"{'':<34}" + "".join(f"{m:>22}" for m in SHOWN))
        for (of, model), each in found.items():
            if of == target:
                all_ = pd.concat(each, axis=1)
                cells = [f"{all_.loc[m].mean():.4f} ({all_.loc[m].std():.4f})" for m in SHOWN]
                print(f"{model:<34}" + "".join(f"{c:>22}" for c in cells))
        print(f"observed ÷ expected: 1 lies in the interval in {times} of {number} books")


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--books", type=int, default=4)
    parser.add_argument("--accounts", type=int, default=3000)
    parser.add_argument("--cards", type=Path, help="folder of the raw card panel")
    asked = parser.parse_args()
    print(
        "Early warning, rolling origin: figures on months the model had not seen. Intervals: 95 %, jackknife over customers."
    )
    print("top_5, top_10, top_20: share of events among the 5, 10, 20 % with the highest chances.")
    if asked.cards:
        cards(asked.cards)
    if asked.books:
        books(asked.books, asked.accounts)


if __name__ == "__main__":
    main()
