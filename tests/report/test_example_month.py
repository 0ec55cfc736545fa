"""The example month, end to end: what `make report` makes."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pandas as pd
import pytest

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
    # The last chapter rests on all the others; what they show is compared by nbval, run by run.
    again = run(SETTINGS, out=tmp_path, overrides={"sections": "[5_recommendations]"}, progress=False)
    for kind in ("tables", "figures"):
        first, second = digests(month / kind), digests(again / kind)
        assert second and second.items() <= first.items()
    was, now = (json.loads((folder / "manifest.json").read_text()) for folder in (month, again))
    assert was["data_version"] == now["data_version"] and was["code"] == now["code"]


@pytest.mark.browser
def test_the_page_opens_quietly_and_shows_its_five_chapters(month, page):
    page.goto((month / "report.html").as_uri())
    page.wait_for_load_state("networkidle")
    assert page.told == []
    assert [url for url in page.asked if not url.startswith(("file:", "data:"))] == []
    assert page.locator("h1:visible").count() == 6  # the title and the chapters
    assert page.locator("svg:visible").count() >= 10
