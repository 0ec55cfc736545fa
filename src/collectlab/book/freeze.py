"""Freezing a book: typed Parquet, checksums, quarantine with reasons, reconciliation.

A frozen book is what a month's run reads, so that the month can be replayed. The same input gives the
same Parquet bytes, whatever the row order, the number of threads or the format it came in: every table is
written in a full order. A frozen book appears whole or not at all. With a key, identifiers are replaced by
pseudonyms and free text is left out (:mod:`collectlab.book.freeze_private`).

    frozen/
      accounts.parquet  snapshots.parquet  …      the accepted rows, typed and sorted
      quarantine/snapshots.parquet  …             the rows set aside as they came, and their reasons
      book.yml                                    what the book is
      manifest.json                               checksums, rows, columns, reconciliation
"""

from __future__ import annotations

import datetime as dt
import errno
import hashlib
import json
import os
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import duckdb
import yaml

import collectlab
from collectlab.book.check_read import plain
from collectlab.book.freeze_private import private
from collectlab.book.open import Book, open_book
from collectlab.book.partial import partial_folder
from collectlab.book.schema import TABLES
from collectlab.book.schema_about import About
from collectlab.core.engine import connection, quote, quote_text
from collectlab.core.errors import BookError
from collectlab.core.privacy import Key

#: Row groups of this many rows can be shared among cores, and a reader can skip most of them.
ROW_GROUP = 122_880
FORMAT = 1


def freeze(
    source: Any,
    target: str | Path,
    *,
    until: dt.date | str | None = None,
    progress: Callable[[str], None] | None = None,
    key: Key | str | None = None,
    keep: Collection[str] = (),
) -> Book:
    """Write the frozen book of ``source`` into the new folder ``target``, whole or not at all.

    Parameters
    ----------
    source : Book, or whatever :func:`collectlab.open_book` takes
        The book to freeze.
    target : path
        A folder that does not exist yet, or is empty.
    until : date, optional
        Freeze only what was known at the end of that day.
    progress : callable, optional
        Called with a line of text for each table that has been written.
    key : Key or str, optional
        With it, identifiers are replaced by pseudonyms and free text is left out
        (:func:`collectlab.book.freeze_private.private`). A book that was frozen with a key keeps its pseudonyms.
    keep : collection of str
        With a key: columns to keep whatever they look like, as ``column`` or ``table.column``.

    Returns
    -------
    Book
        The frozen book, opened.

    Raises
    ------
    BookError
        For a faulty source, a target that is there already, a full disk. Nothing half-written is left.

    Examples
    --------
    >>> import pandas as pd, tempfile
    >>> frames = {
    ...     "accounts": pd.DataFrame({"account_id": ["a", "b"]}),
    ...     "snapshots": pd.DataFrame({"account_id": ["a", "b", "c"], "as_of": "2026-01-31",
    ...                                "days_past_due": [0, 30, 60]}),
    ... }
    >>> with tempfile.TemporaryDirectory() as place:
    ...     frozen = freeze(frames, place + "/frozen")
    ...     frozen.reconciliation.values.tolist()
    [['accounts', 2, 2, 0], ['snapshots', 3, 2, 1]]
    """
    target = Path(target)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise BookError(f"{target} is there already. Allowed: a new folder; a frozen book is never changed.")
    book = open_book(source)
    if until is not None:
        book = book.until(until)
    secret = Key(key) if isinstance(key, str) else key
    shown = private(book, secret, keep) if secret is not None else nullcontext(book)
    with _disk_words(target), _whole_or_not(target) as folder, shown as book:
        _write(book, folder, progress or (lambda _: None))
    return open_frozen(target, book.about, book.name, verified=True)


def verify(path: str | Path) -> list[str]:
    """What differs between a frozen book and its manifest; nothing where all is as it was frozen.

    Returns
    -------
    list of str
        One line per file that is missing, changed or new.
    """
    folder = Path(path)
    return _differences(folder, _manifest(folder))


def open_frozen(folder: Path, about: About, name: str, verified: bool = False) -> Book:
    """Open a frozen book; its checksums are verified, its rows are not checked again."""
    manifest = _manifest(folder)
    if not verified and (faults := _differences(folder, manifest)):
        raise BookError([*faults, f"{folder.name} is not as it was frozen. Freeze it again from its source."])
    queries, aside, counted, equal_kept = {}, {}, {}, {}
    for table, entry in manifest["tables"].items():
        queries[table] = f"SELECT * FROM read_parquet({quote_text((folder / entry['file']).resolve())})"
        if entry["quarantine"]:
            file = (folder / entry["quarantine"]["file"]).resolve()
            aside[table] = f"SELECT * FROM read_parquet({quote_text(file)})"
        counted[table] = (entry["accepted"], entry["quarantined"])
        if entry["equal_kept"]:
            equal_kept[table] = entry["equal_kept"]
    last = manifest["rows_known_to"]
    return Book(
        name=name,
        about=about,
        queries=queries,
        aside=aside,
        counted=counted,
        equal_kept=equal_kept,
        last=dt.date.fromisoformat(last) if last else None,
    )


def _write(book: Book, folder: Path, tell: Callable[[str], None]) -> None:
    tables: dict[str, Any] = {}
    counts = book.reconciliation.set_index("table")
    for name, query in book.queries.items():
        file = folder / f"{name}.parquet"
        columns = _described(query)
        _copy(query, file, _order(name, columns))
        quarantine = None
        quarantined = int(counts.loc[name, "quarantined"])
        if quarantined:
            put = folder / "quarantine" / f"{name}.parquet"
            put.parent.mkdir(exist_ok=True)
            _copy(book.aside[name], put, [*_described(book.aside[name])])
            quarantine = {"file": f"quarantine/{name}.parquet", **_print_of(put)}
        tables[name] = {
            "file": file.name,
            **_print_of(file),
            "rows": int(counts.loc[name, "accepted"]),
            "columns": columns,
            "rows_in": int(counts.loc[name, "rows_in"]),
            "accepted": int(counts.loc[name, "accepted"]),
            "quarantined": quarantined,
            "quarantine": quarantine,
            "equal_kept": int(book.equal_kept.get(name, 0)),
        }
        tell(f"{name}: {tables[name]['rows']:,} rows frozen")
    given = book.about.model_dump(mode="json", exclude_defaults=True, exclude={"more", "encoding"})
    words = {
        "name": book.name,
        **{key: value for key, value in given.items() if key != "name"},
        **book.about.more,
    }
    text = yaml.safe_dump(words, allow_unicode=True, sort_keys=False)
    (folder / "book.yml").write_text(text, encoding="utf-8")
    manifest = {
        "format": FORMAT,
        "library": f"collectlab {collectlab.__version__}",
        "as_of": str(book.as_of),
        "rows_known_to": str(book.last) if book.last else None,
        "book": {"file": "book.yml", **_print_of(folder / "book.yml")},
        "tables": tables,
    }
    (folder / "manifest.json").write_text(
        json.dumps(manifest, indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
    )


def _described(query: str) -> dict[str, str]:
    return {row[0]: row[1] for row in connection().execute(f"DESCRIBE {query}").fetchall()}


def _order(name: str, columns: dict[str, str]) -> list[str]:
    """The columns to sort by: the key where there is one, otherwise everything, so that no order is left to chance."""
    table = TABLES[name]
    first = [column for column in table.sort if column in columns]
    if set(table.keys) <= set(first):
        return first
    return first + [column for column in columns if column not in first]


def _copy(query: str, file: Path, order: list[str]) -> None:
    by = ", ".join(f"{quote(column)} NULLS LAST" for column in order)
    con = connection()
    # What the engine happens to know of its source (say, that a column has no gaps) would show in the bytes.
    before = con.execute("SELECT current_setting('disabled_optimizers')").fetchall()[0][0]
    con.execute("SET disabled_optimizers = 'statistics_propagation'")
    try:
        con.execute(
            f"COPY (SELECT * FROM ({query}) ORDER BY {by}) TO {quote_text(file)} "
            f"(FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE {ROW_GROUP})"
        )
    finally:
        con.execute(f"SET disabled_optimizers = {quote_text(before)}")


def _print_of(file: Path) -> dict[str, Any]:
    with file.open("rb") as opened:
        return {"sha256": hashlib.file_digest(opened, "sha256").hexdigest(), "bytes": file.stat().st_size}


def _manifest(folder: Path) -> dict[str, Any]:
    path = folder / "manifest.json"
    if not path.is_file():
        raise BookError(f"{folder.name} is no frozen book: it has no manifest.json.")
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        known = manifest["format"]
        _files(manifest)
    except (ValueError, KeyError, TypeError) as error:
        raise BookError(
            f"{folder.name}: manifest.json cannot be read. Freeze the book again from its source."
        ) from error
    if known != FORMAT:
        raise BookError(
            f"{folder.name}: manifest.json is of format {known}; this version reads format {FORMAT}."
        )
    return manifest


def _files(manifest: dict[str, Any]) -> dict[str, dict[str, Any]]:
    entries = [manifest["book"]]
    for table in manifest["tables"].values():
        entries.append(table)
        if table["quarantine"]:
            entries.append(table["quarantine"])
    return {entry["file"]: {"sha256": entry["sha256"], "bytes": entry["bytes"]} for entry in entries}


def _differences(folder: Path, manifest: dict[str, Any]) -> list[str]:
    told = []
    for name, entry in _files(manifest).items():
        file = folder / name
        if not file.is_file():
            told.append(f"{name} is missing.")
        elif file.stat().st_size != entry["bytes"]:
            told.append(f"{name} has {file.stat().st_size:,} bytes; {entry['bytes']:,} were frozen.")
        elif _print_of(file)["sha256"] != entry["sha256"]:
            told.append(f"{name} was changed after it was frozen (its checksum differs).")
    known = set(_files(manifest)) | {"manifest.json"}
    for file in sorted(folder.rglob("*.parquet")):
        if (name := file.relative_to(folder).as_posix()) not in known:
            told.append(f"{name} was added after the book was frozen.")
    return told


@contextmanager
def _whole_or_not(target: Path) -> Iterator[Path]:
    """A folder beside ``target`` that takes its place at the end, or is gone."""
    with partial_folder(target) as folder:
        yield folder
        for place in [*sorted(folder.rglob("*")), folder]:
            _sync(place)
        umask = os.umask(0)
        os.umask(umask)
        folder.chmod(0o777 & ~umask)
        folder.rename(target)
        _sync(target.parent)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def _disk_words(target: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise BookError(_full(target)) from error
        raise BookError(
            f"{target} cannot be written: {error.strerror or error}. Nothing was left behind."
        ) from error
    except duckdb.Error as error:
        words = str(error).lower()
        if any(
            sign in words for sign in ("no space left", "disk full", "disk quota", "max_temp_directory_size")
        ):
            raise BookError(_full(target)) from error
        raise BookError(
            f"{target.name} cannot be frozen: {plain(error)}. Nothing was left behind."
        ) from error


def _full(target: Path) -> str:
    return (
        f"{target} cannot be written: the disk is full. Nothing was left behind; make room and freeze again."
    )


__all__ = ["ROW_GROUP", "freeze", "open_frozen", "verify"]
