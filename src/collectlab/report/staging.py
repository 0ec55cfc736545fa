"""A folder that appears whole or not at all, and is made by one process at a time."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from collectlab.core.errors import ReportError

#: What marks a folder as a report that may be replaced by a newer one.
MARK = "manifest.json"


@contextlib.contextmanager
def staged(target: Path) -> Iterator[Path]:
    """Yield a hidden sibling of ``target`` to write into; it takes the target's place only if all went well.

    An older report at ``target`` is untouched until then. Leftovers of a run that was killed are cleared.

    Raises
    ------
    ReportError
        When another run is making the same folder, when ``target`` is something other than a report, and
        when the place cannot be written (no room, no permission).
    """
    partial = target.with_name(f".{target.name}.partial")
    old = target.with_name(f".{target.name}.old")
    with disk_errors(target.parent):
        target.parent.mkdir(parents=True, exist_ok=True)
        with _lock(target.with_name(f".{target.name}.lock"), target.name):
            if old.exists() and not target.exists():
                old.rename(target)  # A run was killed between the two renames below.
            _remove(old)
            _remove(partial)
            if (
                target.exists()
                and not (target / MARK).is_file()
                and (target.is_file() or any(target.iterdir()))
            ):
                raise ReportError(
                    f"{target} is there already and is no report (it has no {MARK}). "
                    "It was left as it is; name another place with --out."
                )
            partial.mkdir()
            try:
                yield partial
                _swap(partial, target, old)
            finally:
                _remove(partial)


def _swap(partial: Path, target: Path, old: Path) -> None:
    if target.exists():
        target.rename(old)
    try:
        partial.rename(target)
    except BaseException:
        if old.exists():
            old.rename(target)
        raise
    _remove(old)


def _remove(folder: Path) -> None:
    """Remove a folder; a process that is just ending may still write into it, so try for two seconds."""
    for _ in range(20):
        if not folder.exists():
            return
        with contextlib.suppress(OSError):
            shutil.rmtree(folder)
            return
        time.sleep(0.1)
    shutil.rmtree(folder)


@contextlib.contextmanager
def _lock(path: Path, name: str) -> Iterator[None]:
    """Hold ``path`` for this process. The system lets go of it however the process ends."""
    import fcntl

    while True:
        handle = open(path, "a+")  # noqa: SIM115 - held for the whole run
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            handle.seek(0)
            holder = handle.read().strip()
            handle.close()
            who = f" (process {holder})" if holder else ""
            raise ReportError(
                f"another run is making {name} in {path.parent} at this moment{who}. "
                "Wait for it to end, or name another place with --out."
            ) from None
        # The last holder may have removed the file between our opening and locking it.
        with contextlib.suppress(FileNotFoundError):
            if os.stat(path).st_ino == os.fstat(handle.fileno()).st_ino:
                break
        handle.close()
    try:
        handle.truncate(0)
        handle.write(str(os.getpid()))
        handle.flush()
        yield
    finally:
        path.unlink(missing_ok=True)
        handle.close()


@contextlib.contextmanager
def disk_errors(place: Path) -> Iterator[None]:
    """Turn the system's refusals to write into a line that a person can act on."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise ReportError(
                f"the disk is full: no room left to write under {place}. Nothing was kept of this run; "
                "an older report of the month is untouched. Make room or name another place with --out."
            ) from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST):
            raise ReportError(f"cannot write under {place}: {error.strerror}: {error.filename}.") from error
        raise


#: How this process has been told to stop, if it has.
_told: list[BaseException] = []


@contextlib.contextmanager
def stoppable() -> Iterator[None]:
    """End in order when told to (SIGTERM as well as Ctrl-C), and do not let a second Ctrl-C cut that short."""
    outermost = signal.getsignal(signal.SIGTERM) is not _stop
    if threading.current_thread() is not threading.main_thread() or not outermost:
        stop_if_told()
        yield
        return
    _told.clear()
    before = {each: signal.signal(each, _stop) for each in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    except BaseException as error:
        # An interrupted query says so with an error of its own.
        if _told and error is not _told[0]:
            raise _told[0] from error
        raise
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
        _told.clear()


def stop_if_told() -> None:
    """Stop now if a signal said so and some library has swallowed the exception that it raised."""
    if _told:
        raise _told[0]


def _stop(number: int, frame: Any) -> None:
    if not _told:
        _told.append(KeyboardInterrupt() if number == signal.SIGINT else SystemExit(128 + number))
        raise _told[0]
