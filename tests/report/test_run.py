"""The month's run end to end on a tiny book with two tiny notebooks made here."""

from __future__ import annotations

import datetime as dt
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pandas as pd
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from collectlab.core.errors import BookError, ParamsError, ReportError
from collectlab.report import manifest as manifests
from collectlab.report.run import run

COUNT = """import pathlib
import collectlab as cl
from collectlab.core import engine
rows = engine.collect(cl.open_book(book).table('snapshots')).sort_values(['account_id', 'as_of'])
kept = pathlib.Path(output) / 'tables' / f'{chapter}_rows.csv'
rows.to_csv(kept, index=False)
print(month, horizon, len(rows), sorted(p.name for p in pathlib.Path(params).glob('*.yml')))"""
COPY = """import pathlib
kept = pathlib.Path(output) / 'tables' / f'{chapter}_rows.csv'
kept.write_bytes((pathlib.Path(output) / 'book' / 'accounts.parquet').read_bytes()[:4])"""


def notebook(path: Path, title: str, *sources: str, parameters: str = "") -> None:
    text = f"book = 'x'\nmonth = '2020-01'\nhorizon = 1\nparams = 'x'\noutput = None\nchapter = '{title}'\n{parameters}"
    cells = [
        new_markdown_cell(f"# {title}\n\n## What was counted"),
        new_code_cell(text, metadata={"tags": ["parameters"]}),
        *map(new_code_cell, sources or (COUNT,)),
    ]
    path.parent.mkdir(exist_ok=True)
    nbformat.write(new_notebook(cells=cells), path)


@pytest.fixture
def project(tmp_path: Path, monkeypatch) -> Path:
    """Five accounts seen at the ends of March, April and June 2026; nothing in May."""
    days = [dt.date(2026, 3, 31), dt.date(2026, 4, 30), dt.date(2026, 6, 30)]
    accounts = [f"a{i}" for i in range(5)]
    (tmp_path / "book").mkdir()
    pd.DataFrame({"account_id": accounts, "product": "card"}).to_parquet(
        tmp_path / "book" / "accounts.parquet"
    )
    pd.DataFrame(
        [(a, d, 10 * i, 100.0) for i, a in enumerate(accounts) for d in days],
        columns=["account_id", "as_of", "days_past_due", "balance"],
    ).to_parquet(tmp_path / "book" / "snapshots.parquet")
    (tmp_path / "book" / "book.yml").write_text("name: Tiny\nsynthetic: true\n")
    (tmp_path / "params" / "rules").mkdir(parents=True)
    (tmp_path / "params" / "rules" / "cn.yml").write_text("a: 1\n")
    (tmp_path / "params" / "report.yml").write_text(
        "title: Tiny report\nbook: book\nhorizon: 60\nsections: [1_one, 2_two]\nmonth: 2026-04\n"
    )
    notebook(tmp_path / "notebooks" / "1_one.ipynb", "One")
    notebook(tmp_path / "notebooks" / "2_two.ipynb", "Two", COPY, parameters="top = 3")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def made(project: Path) -> dict[str, bytes]:
    return {
        p.relative_to(project / "outputs").as_posix(): p.read_bytes()
        for p in sorted((project / "outputs").rglob("*"))
        if p.is_file()
    }


def test_a_run_makes_the_folder_and_a_rerun_the_same_bytes(project, capfd):
    folder = run("params/report.yml")
    assert folder == project / "outputs" / "2026-04"
    said = capfd.readouterr().err
    assert "1_one: " in said and "2_two: " in said
    first = made(project)
    assert {
        "2026-04/report.html",
        "2026-04/manifest.json",
        "2026-04/notebooks/1_one.ipynb",
        "2026-04/tables/One_rows.csv",
        "2026-04/tables/Two_rows.csv",
        "2026-04/book/snapshots.parquet",
        "2026-04/params/report.yml",
        "2026-04/params/rules/cn.yml",
    } <= set(first)
    page = first["2026-04/report.html"].decode()
    assert "SYNTHETIC DATA" in page and "Tiny report" in page
    # Only what was known at the end of April: two snapshots of five accounts.
    assert (
        "<pre>2026-04 60 10 [&#x27;report.yml&#x27;]</pre>" in page or "2026-04 60 10 ['report.yml']" in page
    )
    assert str(project) not in "".join(
        text.decode("utf-8", "ignore") for name, text in first.items() if not name.endswith(".parquet")
    )
    run("params/report.yml", jobs=1, progress=False)
    assert capfd.readouterr().err == ""
    again = made(project)
    assert [n for n in first if first[n] != again.get(n)] == [] and set(first) == set(again)
    assert manifests.verify(folder) == []

    # The folder holds all it takes to make the same tables again, somewhere else.
    moved = project / "elsewhere"
    shutil.move(folder, moved)
    shutil.rmtree(project / "book")
    shutil.rmtree(project / "notebooks")
    replay = run(moved / "params" / "report.yml", out=project / "again", progress=False)
    was, now = (json.loads((place / "manifest.json").read_text()) for place in (moved, replay))
    assert was["tables"] == now["tables"] and was["data_version"] == now["data_version"]
    assert was["notebooks"] == now["notebooks"]


def test_overrides_reach_the_notebooks_and_the_manifest(project):
    folder = run(
        "params/report.yml", month="2026-03", overrides={"horizon": "30", "top": "9"}, progress=False
    )
    assert folder.name == "2026-03"
    held = json.loads((folder / "manifest.json").read_text())
    assert held["overrides"] == {"horizon": 30, "month": "2026-03", "top": 9}
    given = nbformat.read(folder / "notebooks" / "2_two.ipynb", as_version=4).cells[2].source
    assert "top = 9" in given and "horizon = 30" in given and 'book = "../book"' in given
    assert "top" not in nbformat.read(folder / "notebooks" / "1_one.ipynb", as_version=4).cells[2].source

    # And what is changed afterwards is told.
    (folder / "tables" / "One_rows.csv").write_text("a\n1\n")
    (folder / "tables" / "new.csv").write_text("a\n1\n")
    (folder / "params" / "rules" / "cn.yml").unlink()
    path = folder / "notebooks" / "2_two.ipynb"
    path.write_text(path.read_text().replace("import pathlib", "import  pathlib"))
    assert manifests.verify(folder) == [
        "params/rules/cn.yml is missing",
        "tables/One_rows.csv was changed",
        "tables/new.csv was added",
        "notebooks/2_two was changed",
    ]


@pytest.mark.parametrize(
    ("month", "words"),
    [
        ("2026-05", "no snapshot in 2026-05: .* from 2026-03 to 2026-06, with this month missing"),
        ("2026-07", "no snapshot in 2026-07: .* from 2026-03 to 2026-06. Allowed"),
    ],
)
def test_a_month_with_no_data(project, month, words):
    with pytest.raises(ReportError, match=words):
        run("params/report.yml", month=month)
    assert not (project / "outputs").exists()


def test_without_a_month_the_last_one_is_reported(project):
    path = project / "params" / "report.yml"
    path.write_text(path.read_text().replace("month: 2026-04\n", ""))
    assert run(path, progress=False).name == "2026-06"


def test_mistakes_are_told_before_anything_is_written(project):
    with pytest.raises(ParamsError, match="Nearest: horizon"):
        run("params/report.yml", overrides={"horizn": "3"})
    with pytest.raises(BookError):
        run("params/report.yml", overrides={"book": "nowhere"})
    assert not (project / "outputs").exists()


def test_a_failing_notebook_keeps_the_older_report(project):
    old = project / "outputs" / "2026-04"
    old.mkdir(parents=True)
    (old / "manifest.json").write_text("{}")
    before = made(project)
    notebook(project / "notebooks" / "2_two.ipynb", "Two", "raise RuntimeError('it broke')")
    with pytest.raises(ReportError, match=r"2_two.ipynb, cell 3 failed .*RuntimeError: it broke"):
        run("params/report.yml", progress=False)
    assert made(project) == before and os.listdir(old.parent) == ["2026-04"]


def start(project: Path) -> subprocess.Popen:
    """A run from the command line, up to where its first notebook waits."""
    started = project / "started"
    notebook(
        project / "notebooks" / "1_one.ipynb",
        "One",
        f"open({str(started)!r}, 'w').close()\nimport time\ntime.sleep(90)",
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "collectlab.report.cli", "report", "params/report.yml", "-q"],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    end = time.monotonic() + 60
    while not started.exists():
        assert process.poll() is None and time.monotonic() < end, process.communicate()
        time.sleep(0.05)
    return process


@pytest.mark.parametrize(("how", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_run_leaves_nothing(project, how, code):
    process = start(project)
    with pytest.raises(ReportError, match="another run is making 2026-04"):
        run("params/report.yml", progress=False)
    process.send_signal(how)
    said = process.communicate(timeout=30)[1]
    assert process.returncode == code
    assert said.strip() == "Stopped; what was half made has been removed."
    assert os.listdir(project / "outputs") == []


def test_a_killed_run_is_cleared_by_the_next(project):
    process = start(project)
    process.kill()
    process.communicate()
    assert ".2026-04.partial" in os.listdir(project / "outputs")
    notebook(project / "notebooks" / "1_one.ipynb", "One")
    run("params/report.yml", progress=False)
    assert os.listdir(project / "outputs") == ["2026-04"]
