"""The example month, end to end: what `make report` makes."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from collectlab.core.tables import format_value
from collectlab.report import manifest
from collectlab.report.run import run

ROOT = Path(__file__).parents[2]
SETTINGS = ROOT / "params" / "report.yml"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def month(tmp_path_factory):
    return run(SETTINGS, out=tmp_path_factory.mktemp("outputs"), progress=False)


def digests(folder: Path) -> dict[str, str]:
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.iterdir())}


def test_the_folder_is_whole(month):
    assert month.name == "2026-10"
    for name in ("report.html", "manifest.json", "tables", "figures", "notebooks", "book", "params"):
        assert (month / name).exists(), name
    assert len(list((month / "notebooks").glob("*.ipynb"))) == 5
    assert manifest.verify(month) == []


def test_no_part_of_the_example_is_left_out(month):
    assert "Left out:" not in (month / "report.html").read_text()


def test_it_says_that_the_data_are_synthetic(month):
    assert "SYNTHETIC DATA" in (month / "report.html").read_text()


def test_every_table_is_kept_as_csv_and_parquet_with_the_same_content(month):
    tables = sorted((month / "tables").glob("*.csv"))
    assert len(tables) >= 40
    for path in tables:
        parquet = pd.read_parquet(path.with_suffix(".parquet"))
        assert len(pd.read_csv(path)) == len(parquet) if len(parquet.columns) else True, path.name


def test_the_quarantine_adds_up(month):
    supplied = pd.read_csv(month / "tables" / "overview_supplied.csv")
    assert (supplied["rows_in"] == supplied["accepted"] + supplied["set_aside"]).all()


def test_the_planted_problems_that_the_data_can_show_are_found(month):
    found = pd.read_csv(month / "tables" / "problems_findings.csv")
    text = " ".join(found["statement"])
    assert "Call team 3" in text
    assert "Agency 2" in text
    assert "Branch 07" in text


def test_no_path_of_this_machine_is_in_what_is_kept(month):
    for path in [*(month / "notebooks").glob("*.ipynb"), month / "report.html", month / "manifest.json"]:
        text = path.read_text()
        assert str(month.parent) not in text, path.name
        assert str(ROOT) not in text, path.name


def test_the_same_inputs_give_the_same_tables_and_figures(month, tmp_path):
    # One chapter, byte by byte; what all of them show is compared by nbval.
    again = run(SETTINGS, out=tmp_path, overrides={"sections": "[1_overview]"}, progress=False)
    for kind in ("tables", "figures"):
        first, second = digests(month / kind), digests(again / kind)
        assert second and second.items() <= first.items()
    was, now = (json.loads((folder / "manifest.json").read_text()) for folder in (month, again))
    assert was["data_version"] == now["data_version"] and was["code"] == now["code"]


def rows_where(table: pd.DataFrame, where: str) -> pd.DataFrame:
    """The rows a line of the figures' table points at: ``column = value; …``."""
    for condition in filter(None, where.split("; ")):
        column, value = condition.split(" = ", 1)
        same = table[column].astype(str) == value
        if not same.any() and pd.api.types.is_numeric_dtype(table[column]):
            same = np.isclose(table[column], float(value))
        table = table[same]
    return table


def numbers_in(text: str) -> set[str]:
    return set(re.findall(r"\d[\d,]*(?:\.\d+)?", text))


def test_each_figure_of_the_recommendations_is_the_one_in_its_table(month):
    figures = pd.read_csv(month / "tables" / "recommendations_figures.csv", keep_default_na=False)
    assert len(figures) > 10
    for f in figures.itertuples():
        rows = rows_where(pd.read_csv(month / "tables" / f"{f.table}.csv"), f.row)
        assert len(rows) == 1, f
        assert float(rows[f.column].iloc[0]) == pytest.approx(float(f.value), rel=1e-9), f


def test_each_number_said_in_the_recommendations_is_a_figure(month):
    tables = {p.stem: pd.read_csv(p) for p in (month / "tables").glob("*.csv")}
    advice, figures = tables["recommendations_recommended"], tables["recommendations_figures"]
    findings = tables["problems_findings"].set_index("key")
    prices = tables["worth_prices"]
    price = {float(v) for v in re.findall(r"\d+(?:\.\d+)?", " ".join(prices.astype(str).to_numpy().ravel()))}
    assert len(advice) >= 5
    for r in advice.itertuples():
        known = {float(v) for v in figures.loc[figures["rank"] == r.rank, "value"]}
        known |= {
            float(v) for v in (r.estimate, r.conf_low, r.conf_high, r.net, r.net_low, r.net_high, r.cost)
        }
        for key in r.findings.split("; "):
            if key in findings.index:
                held = findings.loc[
                    key, ["estimate", "conf_low", "conf_high", "comparison", "gap", "gap_low", "gap_high"]
                ]
                known |= {float(v) for v in held}
                assert findings.loc[key, "statement"] in r.because or key.startswith("scorecard:")
        known |= {r.cost / p for p in price if p > 0}  # how many of something, at its price
        kinds = ("share", "points", "money", "money2", "count", "days", "ratio", "number")
        said = {n for v in known | price if v == v for k in kinds for n in numbers_in(format_value(v, k))}
        said |= {n for v in known | price if v == v for n in numbers_in(f"{v:g}")}
        for text in (r.effect, r.net_words, str(r.cost_words).split(";")[0]):
            assert numbers_in(text) <= said, (r.what, numbers_in(text) - said, text)


@pytest.mark.browser
def test_the_page_opens_quietly_and_shows_its_five_chapters(month, page):
    page.goto((month / "report.html").as_uri())
    page.wait_for_load_state("networkidle")
    assert page.told == []
    assert [url for url in page.asked if not url.startswith(("file:", "data:"))] == []
    assert page.locator("h1:visible").count() == 6  # the title and the chapters
    assert page.locator("svg:visible").count() >= 10
