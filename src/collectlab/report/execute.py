"""Notebooks executed by papermill, several at a time, each in a kernel of its own.

A worker is a process that imports papermill once and then executes the notebooks it is told, one by one.
Requests go to it as JSON lines on stdin, its progress comes back as JSON lines on stdout. When its stdin is
closed while it works, because the run was stopped or has died, it ends its kernel and itself.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import re
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from collectlab.core import errors
from collectlab.core.errors import CollectlabError, ReportError
from collectlab.report.staging import stop_if_told

# --- in the run's own process -------------------------------------------------------------------------------


class Workers:
    """A few worker processes; a context manager that leaves none of them running."""

    def __init__(self, count: int, scratch: Path):
        scratch.mkdir(parents=True, exist_ok=True)
        self._events: queue.SimpleQueue[tuple[int, dict[str, Any]]] = queue.SimpleQueue()
        self._logs = [tempfile.TemporaryFile(dir=scratch) for _ in range(count)]  # noqa: SIM115
        self._processes = [
            subprocess.Popen(
                [sys.executable, "-m", "collectlab.report.execute"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                encoding="utf-8",
                env=_environment(scratch, count),
                start_new_session=True,  # Ctrl-C reaches the run alone, which then ends its workers.
            )
            for log in self._logs
        ]
        for number in range(count):
            threading.Thread(target=self._listen, args=(number,), daemon=True).start()

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _listen(self, number: int) -> None:
        for line in self._processes[number].stdout:  # type: ignore[union-attr]
            self._events.put((number, json.loads(line)))
        self._events.put((number, {"event": "ended"}))

    def execute(
        self,
        requests: Mapping[str, dict[str, Any]],
        report: Callable[[str, int, int], None] = lambda *_: None,
    ) -> None:
        """Execute each request (``input``, ``output``, ``cwd``, ``parameters``), named by its notebook.

        ``report(name, cells done, cells in all)`` is called after each cell. The first notebook that fails
        stops the rest: its error is raised.
        """
        waiting = list(requests)
        running: dict[int, str] = {}
        for number in range(len(self._processes)):
            self._next(number, waiting, running, requests)
        while running:
            stop_if_told()
            try:
                number, event = self._events.get(timeout=0.5)
            except queue.Empty:
                continue
            if number not in running:
                continue
            name = running[number]
            match event["event"]:
                case "cell":
                    report(name, event["done"], event["of"])
                case "done":
                    del running[number]
                    self._next(number, waiting, running, requests)
                case "failed":
                    raise _as_error(name, event)
                case "ended":
                    raise ReportError(
                        f"{name}: the process that executed it ended without a word"
                        f"{_last_line(self._logs[number])}. Often the machine was out of memory."
                    )

    def _next(self, number: int, waiting: list[str], running: dict[int, str], requests: Mapping) -> None:
        if waiting:
            running[number] = waiting.pop(0)
            stdin = self._processes[number].stdin
            with contextlib.suppress(BrokenPipeError):  # An ended worker says so by its stdout.
                stdin.write(json.dumps(requests[running[number]]) + "\n")  # type: ignore[union-attr]
                stdin.flush()  # type: ignore[union-attr]

    def close(self) -> None:
        """End all workers and their kernels, working or not."""
        for process in self._processes:
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()  # type: ignore[union-attr]
        for process in self._processes:
            try:
                process.wait(timeout=5)
            except subprocess.TimeoutExpired:
                _kill_tree(process.pid)
                process.wait()
        for log in self._logs:
            log.close()


def _environment(scratch: Path, count: int) -> dict[str, str]:
    """The worker's environment: nothing of the user's own Jupyter and IPython set-up changes the month."""
    own = {
        "JUPYTER_RUNTIME_DIR": str(scratch / "jupyter"),
        "IPYTHONDIR": str(scratch / "ipython"),
        "JUPYTER_PREFER_ENV_PATH": "1",
        "PYTHONHASHSEED": "0",
        "PYTHONUNBUFFERED": "1",
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",
        "COLLECTLAB_MEMORY": os.environ.get("COLLECTLAB_MEMORY") or _share_of_memory(count),
    }
    return {**os.environ, **{k: v for k, v in own.items() if v}}


def _share_of_memory(count: int) -> str:
    """Each kernel's engine would take 80 % of the memory for itself; together they may take 70 %."""
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return ""
    return f"{int(total * 0.7 / count / 2**20)}MiB"


def _last_line(log: Any) -> str:
    log.seek(0)
    lines = [line for line in log.read().decode("utf-8", "replace").splitlines() if line.strip()]
    return f" ({lines[-1].strip()})" if lines else ""


def _kill_tree(pid: int) -> None:
    import psutil

    with contextlib.suppress(psutil.Error):
        parent = psutil.Process(pid)
        for process in [*parent.children(recursive=True), parent]:
            with contextlib.suppress(psutil.Error):
                process.kill()


def _as_error(notebook: str, event: Mapping[str, Any]) -> CollectlabError:
    """What a notebook failed with, as the user's error: a mistake keeps its own words and exit code."""
    ename, evalue = event["ename"], event["evalue"].strip()
    family = getattr(errors, ename, None)
    where = (
        f"notebook {notebook}.ipynb, cell {event['cell']}" if event["cell"] else f"notebook {notebook}.ipynb"
    )
    if isinstance(family, type) and issubclass(family, CollectlabError):
        error = family(f"{evalue}\n(raised in {where})")
    elif re.search(r"No space left on device|Errno 28\b", evalue):
        error = ReportError(
            f"the disk is full ({where}). Nothing was kept of this run. Make room and run again."
        )
    elif ename in ("DeadKernelError", "MemoryError", "OutOfMemoryException"):
        error = ReportError(
            f"{where} ran out of memory or was killed ({ename}: {evalue}). "
            "Run with fewer notebooks at a time (--jobs 1), or on a larger machine."
        )
    else:
        # IPython's traceback points at the cell's own line first.
        pointed = re.search(r"^-+> *\d+ (.+)$", event["traceback"], flags=re.MULTILINE)
        line = f" at `{pointed[1].strip()}`" if pointed else ""
        error = ReportError(f"{where} failed{line}: {ename}: {evalue}")
    error.notebook_traceback = event["traceback"]  # type: ignore[attr-defined]
    return error


# --- in the worker ------------------------------------------------------------------------------------------


def main() -> None:
    """Execute the notebooks named on stdin until it is closed."""
    # Whatever a library prints must not mix with the protocol.
    channel = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def tell(**event: Any) -> None:
        channel.write(json.dumps(event) + "\n")
        channel.flush()

    requests: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
    busy = threading.Event()
    threading.Thread(target=_receive, args=(requests, busy), daemon=True).start()
    import papermill  # noqa: F401 - slow; while it loads, the run is still freezing the book

    while True:
        request = requests.get()
        outcome = _execute(request, tell)
        busy.clear()
        with contextlib.suppress(BrokenPipeError):
            tell(**outcome)


def _receive(requests: queue.SimpleQueue, busy: threading.Event) -> None:
    for line in sys.stdin:
        busy.set()
        requests.put(json.loads(line))
    if busy.is_set():
        _kill_tree(os.getpid())
    os._exit(0)


def _execute(request: Mapping[str, Any], tell: Callable[..., None]) -> dict[str, Any]:
    import nbformat
    import papermill
    from papermill.engines import NBClientEngine, papermill_engines

    class Telling(NBClientEngine):
        @classmethod
        def execute_managed_notebook(cls, nb_man, kernel_name, **options):
            complete = nb_man.cell_complete

            def told(cell, cell_index=None, **more):
                complete(cell, cell_index=cell_index, **more)
                tell(event="cell", done=cell_index + 1, of=len(nb_man.nb.cells))

            nb_man.cell_complete = told
            super().execute_managed_notebook(nb_man, kernel_name, **options)

    papermill_engines.register("collectlab", Telling)
    failed = {"event": "failed", "cell": 0, "traceback": ""}
    try:
        notebook = papermill.execute_notebook(
            nbformat.read(request["input"], as_version=4),
            None,
            parameters=request["parameters"],
            engine_name="collectlab",
            kernel_name="python3",
            language="python",
            cwd=request["cwd"],
            progress_bar=False,
            record_timing=False,
        )
        nbformat.write(clean(notebook), request["output"])
        return {"event": "done"}
    except papermill.PapermillExecutionError as error:
        text = papermill.exceptions.strip_color("\n".join(error.traceback))
        # Counted as in the notebook on disk, which has no cell of injected parameters.
        number = error.cell_index + 1 - bool(request["parameters"])
        failed |= {"cell": number, "traceback": text}
        return {**failed, "ename": error.ename, "evalue": error.evalue}
    except Exception as error:
        import traceback

        text = traceback.format_exc()
        return {**failed, "ename": type(error).__name__, "evalue": str(error), "traceback": text}


def clean(notebook: Any) -> Any:
    """Drop times, random ids and machine names, so that the same inputs give the same bytes."""
    notebook.metadata.pop("papermill", None)
    notebook.metadata.pop("widgets", None)
    notebook.metadata["kernelspec"] = {"display_name": "Python 3", "language": "python", "name": "python3"}
    notebook.metadata["language_info"] = {"name": "python"}
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number:02d}"
        cell.metadata.pop("papermill", None)
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            cell.outputs = _merge_streams(cell.outputs)
    return notebook


def _merge_streams(outputs: list[Any]) -> list[Any]:
    """Join what a cell printed in several pieces (where it is cut depends on timing), without addresses."""
    merged: list[Any] = []
    for output in outputs:
        if output.output_type == "stream":
            output.text = _nameless(output.text)
            if merged and merged[-1].output_type == "stream" and merged[-1].name == output.name:
                merged[-1].text += output.text
                continue
        elif "text/plain" in output.get("data", {}):
            output.data["text/plain"] = _nameless(output.data["text/plain"])
        merged.append(output)
    return merged


def _nameless(text: str) -> str:
    text = re.sub(r"\S*ipykernel_\d+/\d+\.py", "<cell>", text)
    return re.sub(r" at 0x[0-9a-fA-F]+", "", text)


if __name__ == "__main__":
    main()
