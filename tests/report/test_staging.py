"""A folder that appears whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from collectlab.core.errors import ReportError
from collectlab.report.staging import staged, stop_if_told, stoppable


def old_report(target: Path) -> Path:
    target.mkdir()
    (target / "manifest.json").write_text("old")
    (target / "old.txt").write_text("old")
    return target


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def test_it_appears_when_all_went_well(tmp_path):
    target = tmp_path / "out" / "2026-10"
    with staged(target) as folder:
        (folder / "a").write_text("1")
        assert not target.exists()
    assert names(target) == ["a"] and names(tmp_path / "out") == ["2026-10"]


def test_an_older_report_is_replaced_whole(tmp_path):
    target = old_report(tmp_path / "2026-10")
    with staged(target) as folder:
        (folder / "manifest.json").write_text("new")
        assert (target / "manifest.json").read_text() == "old"
    assert names(target) == ["manifest.json"] and (target / "manifest.json").read_text() == "new"
    assert names(tmp_path) == ["2026-10"]


@pytest.mark.parametrize("fault", [ValueError, KeyboardInterrupt, SystemExit])
def test_a_failure_leaves_the_older_report_and_nothing_else(tmp_path, fault):
    target = old_report(tmp_path / "2026-10")
    with pytest.raises(fault), staged(target) as folder:
        (folder / "half").write_text("1")
        raise fault
    assert names(tmp_path) == ["2026-10"] and names(target) == ["manifest.json", "old.txt"]


def test_a_folder_that_is_no_report_is_not_touched(tmp_path):
    (tmp_path / "2026-10").mkdir()
    (tmp_path / "2026-10" / "thesis.docx").write_text("mine")
    with pytest.raises(ReportError, match="is no report"), staged(tmp_path / "2026-10"):
        pass
    assert names(tmp_path / "2026-10") == ["thesis.docx"]


def test_an_empty_folder_may_be_filled(tmp_path):
    (tmp_path / "2026-10").mkdir()
    with staged(tmp_path / "2026-10") as folder:
        (folder / "a").write_text("1")
    assert names(tmp_path / "2026-10") == ["a"]


def test_a_second_run_of_the_same_month_is_refused(tmp_path):
    target = tmp_path / "2026-10"
    with staged(target) as folder:
        (folder / "a").write_text("1")
        with (
            pytest.raises(ReportError, match=f"another run is making 2026-10.*process {os.getpid()}"),
            staged(target),
        ):
            pass
        with staged(tmp_path / "2026-11"):
            pass
        assert (folder / "a").exists()
    assert names(tmp_path) == ["2026-10", "2026-11"]


def test_what_a_killed_run_left_is_cleared(tmp_path):
    script = (
        "import os, sys, pathlib\nfrom collectlab.report.staging import staged\n"
        "with staged(pathlib.Path(sys.argv[1])) as folder:\n"
        "    (folder / 'half').write_text('1')\n    os.kill(os.getpid(), 9)"
    )
    target = old_report(tmp_path / "2026-10")
    assert subprocess.run([sys.executable, "-c", script, str(target)]).returncode == -9
    assert ".2026-10.partial" in names(tmp_path)
    with staged(target) as folder:
        assert names(folder) == []
        (folder / "a").write_text("1")
    assert names(tmp_path) == ["2026-10"] and names(target) == ["a"]


def test_a_run_killed_between_the_two_renames_loses_nothing(tmp_path):
    old_report(tmp_path / "2026-10").rename(tmp_path / ".2026-10.old")
    with pytest.raises(ValueError), staged(tmp_path / "2026-10"):
        raise ValueError
    assert names(tmp_path) == ["2026-10"] and (tmp_path / "2026-10" / "old.txt").exists()


@pytest.mark.parametrize(
    ("number", "words"), [(errno.ENOSPC, "the disk is full"), (errno.EROFS, "cannot write under")]
)
def test_a_disk_that_refuses(tmp_path, number, words):
    with pytest.raises(ReportError, match=words), staged(tmp_path / "2026-10"):
        raise OSError(number, os.strerror(number), "x.csv")
    assert names(tmp_path) == []


def test_a_place_that_is_a_file(tmp_path):
    (tmp_path / "outputs").write_text("a file")
    with pytest.raises(ReportError, match="cannot write"), staged(tmp_path / "outputs" / "2026-10"):
        pass


@pytest.mark.parametrize(
    ("how", "wanted"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)]
)
def test_a_signal_ends_in_order_even_where_the_code_makes_another_error_of_it(how, wanted):
    before = signal.getsignal(how)
    with pytest.raises(wanted), stoppable():
        try:
            os.kill(os.getpid(), how)
            signal.pause()
        except BaseException:
            os.kill(os.getpid(), how)  # A second one does not cut the cleaning short.
            raise RuntimeError("Query interrupted") from None
    assert signal.getsignal(how) == before


def test_a_signal_that_a_library_swallowed_still_stops():
    with pytest.raises(KeyboardInterrupt), stoppable():
        with contextlib.suppress(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
            signal.pause()
        stop_if_told()
    stop_if_told()  # Outside, nothing is left of it.
