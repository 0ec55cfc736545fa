"""The command line: one plain message and an exit code for a mistake, and quick to say hello."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from collectlab.core.errors import BookError, ParamsError, ReportError
from collectlab.report import cli


@pytest.fixture
def book(tmp_path: Path) -> Path:
    folder = tmp_path / "book"
    folder.mkdir()
    pd.DataFrame({"account_id": ["a", "b"]}).to_csv(folder / "accounts.csv", index=False)
    snapshots(folder, [("a", "2026-03-31", 0), ("a", "2026-04-30", 30), ("b", "2026-04-30", 5)])
    return folder


def snapshots(folder: Path, rows: list[tuple]) -> None:
    table = pd.DataFrame(rows, columns=["account_id", "as_of", "days_past_due"])
    table.to_csv(folder / "snapshots.csv", index=False)


def call(*arguments, capsys) -> tuple[int, str, str]:
    code = cli._run([str(a) for a in arguments])
    said = capsys.readouterr()
    return code, said.out, said.err


def test_help_is_quick_and_names_every_command():
    took = []
    for _ in range(3):
        began = time.perf_counter()
        told = subprocess.run(
            [sys.executable, "-m", "collectlab.report.cli", "--help"], capture_output=True, text=True
        )
        took.append(time.perf_counter() - began)
    assert told.returncode == 0
    for command in ("report", "simulate", "import", "freeze", "check", "--version"):
        assert command in told.stdout
    assert min(took) < 1.0  # 0.1 s on an idle machine


def test_help_loads_nothing_heavy():
    script = (
        "import sys\nfrom collectlab.report import cli\nassert cli._run(['--help']) == 0\n"
        "heavy = {'pandas', 'numpy', 'duckdb', 'narwhals', 'rich', 'papermill', 'matplotlib'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert told.returncode == 0, told.stderr


def test_version(capsys):
    import collectlab

    assert call("--version", capsys=capsys) == (0, f"collectlab {collectlab.__version__}\n", "")


def test_a_mistyped_command_names_the_nearest(capsys):
    code, _, err = call("reprot", capsys=capsys)
    assert code == 2 and "Did you mean 'report'" in err


def test_a_mistake_is_told_without_a_traceback(tmp_path, capsys):
    (tmp_path / "report.yml").write_text("bok: x\nmonth: soon\n")
    code, out, err = call("report", tmp_path / "report.yml", "-p", "x", capsys=capsys)
    assert (code, out) == (ParamsError.exit_code, "")
    assert err == "Error: -p x: not of the form name=value, such as horizon=60.\n"
    code, _, err = call("report", tmp_path / "report.yml", capsys=capsys)
    assert code == ParamsError.exit_code and "Traceback" not in err
    assert "bok: no such field. Nearest: book" in err and "'soon' is no month" in err


def test_debug_shows_the_traceback(tmp_path, capsys):
    code, _, err = call("--debug", "report", tmp_path / "none.yml", capsys=capsys)
    assert code == ParamsError.exit_code and "Traceback" in err and "Error: " in err
    code, _, err = call("report", tmp_path / "none.yml", capsys=capsys)
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (BookError(["one", "two"]), BookError.exit_code, "Error: one\ntwo\n"),
        (KeyboardInterrupt(), 130, "Stopped; what was half made has been removed.\n"),
        (SystemExit(143), 143, "Stopped; what was half made has been removed.\n"),
        (
            OSError(28, "No space left on device"),
            ReportError.exit_code,
            "Error: the disk is full. Nothing half-written was kept.",
        ),
        (ZeroDivisionError("division by zero"), 70, "This is a bug in collectlab"),
    ],
)
def test_how_each_kind_of_failure_ends(monkeypatch, tmp_path, capsys, error, code, words):
    run = importlib.import_module("collectlab.report.run")  # `collectlab.report.run` is the function

    def fails(*args, **kwargs):
        raise error

    monkeypatch.setattr(run, "run", fails)
    got, _, err = call("report", tmp_path / "report.yml", capsys=capsys)
    assert got == code and words in err and "Traceback" not in err


def test_report_passes_on_what_it_is_told(monkeypatch, tmp_path, capsys):
    run = importlib.import_module("collectlab.report.run")  # `collectlab.report.run` is the function

    seen = {}

    def runs(params, **options):
        seen.update(options, params=params)
        return tmp_path / "2026-10"

    monkeypatch.setattr(run, "run", runs)
    monkeypatch.chdir(tmp_path)
    arguments = [
        "report",
        "p.yml",
        "--month",
        "2026-10",
        "-p",
        "a=1",
        "-p",
        "b=x = 2",
        "--out",
        "o",
        "--jobs",
        "2",
        "-q",
    ]
    code, out, err = call(*arguments, capsys=capsys)
    assert (code, out, err) == (0, f"2026-10{os.sep}report.html\n", "")
    assert seen == {
        "params": Path("p.yml"),
        "month": "2026-10",
        "overrides": {"a": "1", "b": "x = 2"},
        "out": Path("o"),
        "jobs": 2,
        "progress": False,
    }


def test_check_a_sound_book(book, capsys):
    code, out, _ = call("check", book, capsys=capsys)
    assert code == 0
    assert [line.split() for line in out.splitlines()] == [
        ["table", "rows", "in", "accepted", "set", "aside"],
        ["accounts", "2", "2", "0"],
        ["snapshots", "3", "3", "0"],
    ]


def test_check_a_book_with_rows_set_aside(book, capsys):
    snapshots(book, [("a", "2026-03-31", 0), ("a", "2026-04-30", -3), ("nobody", "2026-04-30", 5)])
    code, out, _ = call("check", book, capsys=capsys)
    assert code == 1
    assert ["snapshots", "3", "1", "2"] in [line.split() for line in out.splitlines()]
    assert "nobody" in out and "days_past_due" in out


@pytest.mark.parametrize("place", ["nowhere", "empty"])
def test_check_a_book_that_cannot_be_used(tmp_path, capsys, place):
    (tmp_path / "empty").mkdir()
    code, _, err = call("check", tmp_path / place, capsys=capsys)
    assert code == BookError.exit_code == 3 and err.startswith("Error: ") and "Traceback" not in err


def test_freeze_writes_a_book_that_checks(book, tmp_path, capsys):
    code, out, _ = call("freeze", book, tmp_path / "frozen", "--until", "2026-03-31", capsys=capsys)
    assert code == 0 and "snapshots" in out
    assert len(pd.read_parquet(tmp_path / "frozen" / "snapshots.parquet")) == 1
    code, _, err = call("freeze", book, tmp_path / "other", "--until", "March", capsys=capsys)
    assert code == ParamsError.exit_code and "'March' is no day" in err and not (tmp_path / "other").exists()


def test_simulate_then_check(tmp_path, capsys):
    code, out, err = call(
        "simulate", tmp_path / "sim", "--accounts", 60, "--months", 6, "--seed", 3, capsys=capsys
    )
    assert code == 0, err
    assert "snapshots" in out
    assert call("check", tmp_path / "sim", capsys=capsys)[0] == 0
    code, _, err = call("simulate", tmp_path / "bad", "--accounts", 0, capsys=capsys)
    assert code != 0 and "accounts" in err and not (tmp_path / "bad").exists()


def test_import_a_source_made_here(tmp_path, capsys):
    source, raw = tmp_path / "source", tmp_path / "raw"
    code, _, err = call("import", source, raw, tmp_path / "book", "-s", "anchor", capsys=capsys)
    assert code == ParamsError.exit_code and "name=value" in err
    code, _, err = call("import", source, raw, tmp_path / "book", capsys=capsys)
    assert code == ParamsError.exit_code and "source" in err and not (tmp_path / "book").exists()


def test_a_reader_that_goes_away_is_no_error(book):
    process = subprocess.Popen(
        [sys.executable, "-m", "collectlab.report.cli", "check", str(book)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    process.stdout.close()
    assert process.wait(60) in (0, 1)
    assert process.stderr.read() == b""
