"""A hidden folder beside the one that is being made. What a killed run left behind is cleared by the next."""

from __future__ import annotations

import contextlib
import glob
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def partial_folder(target: Path) -> Iterator[Path]:
    """Yield a new hidden sibling of ``target``; it is gone afterwards, unless it was renamed.

    While it is used it is locked, and the system lets go of the lock however the process ends: an unlocked
    one was left by a run that was killed.
    """
    import fcntl

    target.parent.mkdir(parents=True, exist_ok=True)
    start = f".{target.name}.partial-"
    for left in sorted(target.parent.glob(glob.escape(start) + "*")):
        with contextlib.suppress(OSError), _opened(left) as handle:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(left)
    folder = Path(tempfile.mkdtemp(prefix=start, dir=target.parent))
    try:
        with _opened(folder) as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def publish(made: Path, target: Path) -> None:
    """Put a finished folder in its place; an earlier one there goes beside ``made``, and away with it."""
    old = made.parent / "old"
    if target.exists():
        target.rename(old)
    try:
        made.rename(target)
    except BaseException:
        if old.exists():
            old.rename(target)
        raise


@contextlib.contextmanager
def _opened(folder: Path) -> Iterator[int]:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield handle
    finally:
        os.close(handle)


__all__ = ["partial_folder", "publish"]
