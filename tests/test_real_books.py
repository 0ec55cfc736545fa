"""Both real books end to end: raw files as downloaded, imported, reported; figures that are known beforehand."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

import collectlab as cl
from collectlab.book.sources import import_source
from collectlab.measures.roll_rates import roll_rates
from collectlab.report.run import run

ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / "shared" / "data"

pytestmark = [
    pytest.mark.shared,
    pytest.mark.slow,
    pytest.mark.skipif(
        not SHARED.is_dir(), reason="the real data are not beside this checkout (../shared/data)"
    ),
]


def report(name: str, folder: Path) -> Path:
    import_source(ROOT / "params" / "sources" / name, SHARED / name, folder / name)
    return run(
        ROOT / "params" / f"{name}.yml",
        overrides={"book": str(folder / name)},
        out=folder / "out",
        progress=False,
    )


@pytest.fixture(scope="module")
def letters(tmp_path_factory):
    return report("letters", tmp_path_factory.mktemp("letters"))


@pytest.fixture(scope="module")
def cards(tmp_path_factory):
    return report("cards", tmp_path_factory.mktemp("cards"))


def test_letters_published_three_month_effects_stand_in_the_report(letters):
    table = pd.read_csv(letters / "tables" / "results_experiment.csv")
    table = table[table["outcome"] == "paid_within_90"].set_index("arm")
    assert round(100 * table["control_mean"].iloc[0], 1) == 51.4
    assert round(100 * table.loc["Lien", "estimate"], 1) == 9.2
    assert round(100 * table.loc["Sheriff", "estimate"], 1) == 8.8
    assert round(100 * table.loc["Lien", "std_error"], 1) == 1.5
    assert round(100 * table.loc["Sheriff", "std_error"], 1) == 1.5
    assert table["n"].sum() + table["control_n"].iloc[0] == 19_039


def test_letters_report_makes_no_claim_about_days_nobody_saw(letters):
    page = (letters / "report.html").read_text()
    assert "Left out: share of the overdue amount recovered by day" in page
    assert not (letters / "tables" / "results_recovery.csv").exists()


def test_cards_accounts_rows_and_transitions(cards):
    supplied = pd.read_csv(cards / "tables" / "overview_supplied.csv").set_index("table")
    assert supplied.loc["accounts", "accepted"] == 45_985
    assert supplied.loc["snapshots", "accepted"] == 1_048_575
    book = cl.open_book(cards / "book")
    steps = roll_rates(book.table("snapshots"), buckets=(0, 1, 30, 60, 90, 120, 150)).table
    n = steps.set_index(["from_bucket", "to_bucket"])["n"]
    assert n["1–29", "30–59"] == 7_057
    assert n["30–59", "1–29"] == 5_363
    assert n["30–59", "60–89"] == 559
    assert n["60–89", "90–119"] == 257
    assert n["90–119", "120–149"] == 185
    assert n["120–149", "150+"] == 145


def test_cards_report_names_what_it_cannot_say(cards):
    page = (cards / "report.html").read_text()
    assert "Left out: share of the overdue amount recovered by day – this book has no payments" in page
    assert "Roll rates" in page
