"""A shelf: what was counted once is kept in a folder, for all the processes that make one report.

The first to ask for something makes it while the others wait; they then read it. Tables are kept as Parquet,
so that they take no memory; small results as they are. A shelf lives no longer than the run that owns it.
"""

from __future__ import annotations

import contextlib
import hashlib
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import narwhals as nw

from collectlab.core.engine import scan


def table_on(shelf: Path, key: object, make: Callable[[], nw.LazyFrame]) -> nw.LazyFrame:
    """A lazy frame of the embedded engine, computed by the first process that asks; ``key`` tells all there is."""
    file = _place(shelf, key, ".parquet")

    _made_once(file, lambda partial: make().to_native().write_parquet(str(partial), compression="lz4_raw"))
    return scan(file)


def result_on(shelf: Path, key: object, make: Callable[[], Any]) -> Any:
    """Anything small that can be pickled; an error is raised to each who asks."""
    file = _place(shelf, key, ".pickle")
    _made_once(file, lambda partial: partial.write_bytes(pickle.dumps(make())))
    return pickle.loads(file.read_bytes())  # Nobody but this run writes here.


def _place(shelf: Path, key: object, suffix: str) -> Path:
    return shelf / (hashlib.sha256(repr(key).encode()).hexdigest()[:32] + suffix)


def _made_once(file: Path, write: Callable[[Path], Any]) -> None:
    if file.exists():
        return
    with _alone(file.with_suffix(".lock")):
        if not file.exists():
            partial = file.with_suffix(".partial")
            write(partial)
            partial.rename(file)


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Wait until no other process holds ``path``; the system lets go of it however a process ends."""
    import fcntl

    with path.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


__all__ = ["result_on", "table_on"]
