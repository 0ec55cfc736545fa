"""Workers: notebooks executed, cleaned of what differs between runs, and ended when the run is."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import psutil
import pytest
from nbformat.v4 import new_code_cell, new_notebook, new_output

from collectlab.core.errors import NotAvailable, ReportError
from collectlab.report.execute import Workers, clean


def request(folder: Path, name: str, *sources: str, **parameters) -> dict:
    cells = [
        new_code_cell("month = '2020-01'", metadata={"tags": ["parameters"]}),
        *map(new_code_cell, sources),
    ]
    nbformat.write(new_notebook(cells=cells), folder / f"{name}.ipynb")
    return {
        "input": str(folder / f"{name}.ipynb"),
        "output": str(folder / f"{name}.done.ipynb"),
        "cwd": str(folder),
        "parameters": parameters,
    }


@pytest.fixture(scope="module")
def worker(tmp_path_factory):
    with Workers(1, tmp_path_factory.mktemp("scratch")) as workers:
        yield workers


def test_notebooks_run_with_their_parameters_and_the_same_bytes_each_time(tmp_path, worker):
    a = request(
        tmp_path, "a", "print(month)\nprint(1)", "import warnings; warnings.warn('w')", month="2026-10"
    )
    b = request(tmp_path, "b", "object()", month="2026-11")
    cells = []
    worker.execute({"a": a, "b": b}, lambda *cell: cells.append(cell))
    first = [Path(r["output"]).read_bytes() for r in (a, b)]
    worker.execute({"a": a, "b": b})
    assert cells == [("a", n, 4) for n in (1, 2, 3, 4)] + [("b", n, 3) for n in (1, 2, 3)]
    assert [Path(r["output"]).read_bytes() for r in (a, b)] == first
    made = nbformat.read(a["output"], as_version=4)
    assert made.cells[2].outputs[0].text == "2026-10\n1\n"
    assert [c.execution_count for c in made.cells] == [1, 2, 3, 4]
    nbformat.validate(made)


@pytest.mark.parametrize(
    ("source", "family", "words"),
    [
        (
            "from collectlab.core.errors import NotAvailable\nraise NotAvailable('no costs')",
            NotAvailable,
            "^no costs\n",
        ),
        ("x = 0\n1 / x", ReportError, r"a.ipynb, cell 2 failed at `1 / x`: ZeroDivisionError"),
        ("raise OSError(28, 'No space left on device')", ReportError, "the disk is full"),
        ("import os; os.kill(os.getpid(), 9)", ReportError, "out of memory or was killed"),
    ],
)
def test_a_notebook_that_fails(tmp_path, worker, source, family, words):
    with pytest.raises(family, match=words) as caught:
        worker.execute({"a": request(tmp_path, "a", source, month="2026-10")})
    assert "a.ipynb" in str(caught.value)


def test_a_worker_that_ends(tmp_path):
    waits = request(tmp_path, "a", "import os, time; os.kill(os.getppid(), 9); time.sleep(30)")
    with (
        pytest.raises(ReportError, match="ended without a word"),
        Workers(1, tmp_path / "scratch") as workers,
    ):
        workers.execute({"a": waits})


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_no_process_outlives_the_run(tmp_path, how):
    waits = request(
        tmp_path, "a", f"open({str(tmp_path / 'started')!r}, 'w').close(); import time; time.sleep(60)"
    )
    script = (
        "import sys, json, pathlib\nfrom collectlab.report.execute import Workers\n"
        "with Workers(1, pathlib.Path(sys.argv[1])) as w: w.execute({'a': json.loads(sys.argv[2])})"
    )
    run = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path / "scratch"), json.dumps(waits)],
        stderr=subprocess.DEVNULL,
    )
    wait_until((tmp_path / "started").exists)
    below = psutil.Process(run.pid).children(recursive=True)
    assert len(below) >= 2  # the worker and its kernel
    run.send_signal(how)
    run.wait(20)
    wait_until(lambda: not any(alive(p) for p in below))


def alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def wait_until(done, seconds: float = 40) -> None:
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.05)


def test_the_users_own_set_up_changes_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "mine"))
    startup = tmp_path / "mine" / "profile_default" / "startup"
    startup.mkdir(parents=True)
    (startup / "00.py").write_text("print('hello from startup')\nsecret = 1")
    with Workers(1, tmp_path / "scratch") as workers:
        workers.execute({"a": request(tmp_path, "a", "print('secret' in globals())")})
    assert nbformat.read(tmp_path / "a.done.ipynb", as_version=4).cells[-1].outputs[0].text == "False\n"


def test_clean_joins_streams_and_drops_addresses():
    cell = new_code_cell(
        "x", metadata={"execution": {"iopub.status.busy": "2026"}, "papermill": {"duration": 1}}
    )
    cell.outputs = [
        new_output("stream", name="stdout", text="a"),
        new_output("stream", name="stdout", text="b\n"),
        new_output("stream", name="stderr", text="/tmp/ipykernel_12/345.py:1: UserWarning: w\n"),
        new_output("display_data", data={"text/plain": "<Figure at 0x7f00ab>"}),
    ]
    notebook = clean(new_notebook(cells=[cell], metadata={"papermill": {"start_time": "2026"}}))
    assert [o.get("text") or o.data["text/plain"] for o in notebook.cells[0].outputs] == [
        "ab\n",
        "<cell>:1: UserWarning: w\n",
        "<Figure>",
    ]
    assert "2026" not in str(notebook) and "duration" not in str(notebook)


def test_memory_is_shared_between_kernels(tmp_path, monkeypatch):
    from collectlab.report import execute

    monkeypatch.delenv("COLLECTLAB_MEMORY", raising=False)
    one, two = (int(execute._share_of_memory(n).removesuffix("MiB")) for n in (1, 2))
    assert one // 2 - 1 <= two <= one // 2 + 1
    monkeypatch.setenv("COLLECTLAB_MEMORY", "123MB")
    assert execute._environment(tmp_path, 2)["COLLECTLAB_MEMORY"] == "123MB"
    assert os.environ["COLLECTLAB_MEMORY"] == "123MB"
