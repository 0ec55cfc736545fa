"""Raw files as they were downloaded, loaded into the engine: CSV, Parquet, DuckDB, SQLite; plain, gz or zip."""

from __future__ import annotations

import csv
import gzip
import shutil
import sqlite3
import zipfile
import zlib
from collections.abc import Mapping
from fnmatch import fnmatch
from pathlib import Path
from typing import Literal

import duckdb
from pydantic import Field, field_validator

from collectlab.core.engine import quote, quote_text
from collectlab.core.errors import BookError, first_few, nearest
from collectlab.core.written import Strict

CSV_OPTIONS = (
    "comment",
    "dateformat",
    "decimal_separator",
    "delim",
    "encoding",
    "escape",
    "header",
    "nullstr",
    "quote",
    "skip",
    "thousands",
    "timestampformat",
)
#: Named, because the engine otherwise guesses, and silently skips the lines that do not fit its guess.
CSV_DEFAULTS = {"delim": ",", "quote": '"', "escape": '"', "header": True, "skip": 0}
_SQLITE_BATCH = 50_000


class RawFile(Strict):
    """A file (or, with ``many``, several of one shape) that the SQL sees under one name."""

    file: str = Field(min_length=1, description="file name or pattern (* and ?), any case")
    format: Literal["csv", "parquet", "duckdb", "sqlite"] = "csv"
    columns: dict[str, str] = Field(
        default_factory=dict, description="columns that must be there: DuckDB type"
    )
    options: dict[str, str | bool | int | list[str]] = Field(default_factory=dict)
    many: bool = False

    @field_validator("options")
    @classmethod
    def _known_options(cls, value: dict) -> dict:
        wrong = [o for o in value if o not in CSV_OPTIONS]
        if wrong:
            raise ValueError(f"unknown csv option {first_few(wrong)}. Allowed: {', '.join(CSV_OPTIONS)}")
        return value


def find_files(files: Mapping[str, RawFile], folder: Path) -> dict[str, list[Path]]:
    """The files in ``folder`` that each expected name stands for; every missing one is named at once.

    Where a file lies there both packed and unpacked, the unpacked one is taken.
    """
    if not folder.is_dir():
        raise BookError(f"{folder}: no such folder. Give the folder that holds the raw files.")
    present = sorted(p.name for p in folder.iterdir() if p.is_file())
    found, faults = {}, []
    for name, spec in files.items():
        by_content: dict[str, str] = {}
        for file in present:
            if fnmatch(file.lower(), spec.file.lower()):
                content = _unpacked_name(file)
                if content not in by_content or file == content:
                    by_content[content] = file
        hits = sorted(by_content.values())
        if not hits:
            near = nearest(spec.file, present)
            hint = f" Did you mean {' or '.join(near)}?" if near else ""
            faults.append(
                f"{name}: no file {spec.file!r} in {folder}.{hint} There: {first_few(present, 10) or 'nothing'}."
            )
        elif len(hits) > 1 and not spec.many:
            faults.append(
                f"{name}: {len(hits)} files in {folder} look like {spec.file!r}: {first_few(hits)}. "
                "Allowed: one (or set `many: true` in source.yml, to read them all as one)."
            )
        found[name] = [folder / h for h in hits]
    if faults:
        raise BookError(faults)
    return found


def load_raw(
    con: duckdb.DuckDBPyConnection, name: str, spec: RawFile, paths: list[Path], scratch: Path
) -> None:
    """Make the content of ``paths`` visible to SQL as ``name`` (a schema ``name`` for a database)."""
    plain = [unpack(path, scratch) for path in paths]
    shown = first_few([p.name for p in paths])
    try:
        match spec.format:
            case "csv":
                _load_csv(con, name, spec, plain, shown)
            case "parquet":
                listed = ", ".join(quote_text(p) for p in plain)
                source = f"read_parquet([{listed}], union_by_name = true)"
                described = con.execute(f"DESCRIBE SELECT * FROM {source}").fetchall()
                _require_columns([row[0] for row in described], spec, shown)
                con.execute(f"CREATE VIEW {quote(name)} AS SELECT * FROM {source}")
            case "duckdb":
                con.execute(f"ATTACH {quote_text(plain[0])} AS {quote(name)} (READ_ONLY)")
            case "sqlite":
                _load_sqlite(con, name, plain[0])
    except (duckdb.Error, sqlite3.Error, UnicodeDecodeError) as error:
        said = engine_words(error, dict(zip(plain, paths)))
        if "No space left" in said:
            said = f"no space left in {scratch.parent.parent}; nothing was written"
        raise BookError(f"{shown} cannot be read: {said}") from error
    finally:
        if spec.format == "csv":  # it is in the engine now; databases and Parquet are read where they lie
            for unpacked, path in zip(plain, paths):
                if unpacked != path:
                    unpacked.unlink(missing_ok=True)


def engine_words(error: Exception, renamed: Mapping[Path, Path] | None = None) -> str:
    """The engine's first lines that say what is wrong, with temporary paths given back their own names."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    kept = lines[:1] + [
        line
        for line in lines[1:]
        if line.startswith(("Error when converting", "Expected Number", "Value with"))
    ]
    text = " ".join(kept[:2])
    for temporary, original in (renamed or {}).items():
        text = text.replace(str(temporary), original.name)
    return text


def unpack(path: Path, scratch: Path) -> Path:
    """``path`` itself, or its only content unpacked into ``scratch``; a broken archive is a BookError."""
    suffix = path.suffix.lower()
    if suffix not in (".zip", ".gz"):
        return path
    target = scratch / f"unpacked-{_unpacked_name(path.name)}"
    try:
        if suffix == ".gz":
            with gzip.open(path, "rb") as packed, target.open("wb") as out:
                shutil.copyfileobj(packed, out, 1 << 20)
        else:
            with zipfile.ZipFile(path) as archive:
                members = [
                    m for m in archive.infolist() if not m.is_dir() and not m.filename.startswith("__MACOSX/")
                ]
                if len(members) != 1:
                    names = first_few([m.filename for m in members]) or "nothing"
                    raise BookError(
                        f"{path.name} holds {names}. Allowed: a zip with one file inside; unpack it."
                    )
                with archive.open(members[0]) as packed, target.open("wb") as out:
                    shutil.copyfileobj(packed, out, 1 << 20)
    except (
        EOFError,
        gzip.BadGzipFile,
        zipfile.BadZipFile,
        zlib.error,
        RuntimeError,
        NotImplementedError,
    ) as error:
        raise BookError(
            f"{path.name} cannot be unpacked ({error}): it is cut short, damaged or locked. "
            f"It has {path.stat().st_size:,} bytes; download it again."
        ) from error
    return target


def _unpacked_name(name: str) -> str:
    return name[: name.rfind(".")] if name.lower().endswith((".zip", ".gz")) else name


def _load_csv(
    con: duckdb.DuckDBPyConnection, name: str, spec: RawFile, paths: list[Path], shown: str
) -> None:
    """Every column is of its declared type, or text; nothing is guessed from the rows."""
    options = {**CSV_DEFAULTS, **spec.options}
    headers = [_header(path, options, spec) for path in paths]
    if different := [p.name for p, h in zip(paths, headers) if h != headers[0]]:
        raise BookError(
            f"{shown}: {first_few(different)} has other columns than {paths[0].name}. Allowed: the same."
        )
    header = headers[0]
    if twice := sorted({c for c in header if header.count(c) > 1}):
        raise BookError(f"{shown}: column {first_few(twice)} stands twice. Allowed: each name once.")
    _require_columns(header, spec, shown)
    columns = ", ".join(f"{quote_text(c)}: {quote_text(spec.columns.get(c, 'VARCHAR'))}" for c in header)
    listed = ", ".join(quote_text(p) for p in paths)
    said = ", ".join(f"{key} = {_literal(value)}" for key, value in options.items())
    con.execute(
        f"CREATE TABLE {quote(name)} AS SELECT * FROM "
        f"read_csv([{listed}], auto_detect = false, columns = {{{columns}}}, {said})"
    )


def _header(path: Path, options: Mapping[str, str | bool | int | list[str]], spec: RawFile) -> list[str]:
    if path.stat().st_size == 0:
        raise BookError(f"{path.name} is empty (0 bytes). Allowed: a CSV with a header line.")
    if not options["header"]:
        return list(spec.columns)
    encoding = str(options.get("encoding", "utf-8")).lower()
    try:
        with path.open(
            encoding="utf-8-sig" if encoding in ("utf-8", "utf8") else encoding, newline=""
        ) as lines:
            for _ in range(int(options["skip"])):
                next(lines, None)
            reader = csv.reader(lines, delimiter=str(options["delim"]), quotechar=str(options["quote"]))
            return next(reader, [])
    except LookupError as error:
        raise BookError(f"{path.name} cannot be read: {error}. Allowed: utf-8, utf-16, latin-1.") from error
    except UnicodeError as error:
        raise BookError(
            f"{path.name} cannot be read: it is not {encoding} text. "
            "Name the encoding in source.yml (options: {encoding: latin-1})."
        ) from error
    except (csv.Error, TypeError) as error:
        raise BookError(f"{path.name} cannot be read: its header is no CSV ({error}).") from error


def _require_columns(have: list[str], spec: RawFile, shown: str) -> None:
    faults = []
    for column in spec.columns:
        if column not in have:
            near = nearest(column, have)
            hint = f" Did you mean {' or '.join(near)}?" if near else ""
            faults.append(f"{shown}: no column {column!r}.{hint} Columns there: {first_few(have, 20)}.")
    if faults:
        raise BookError(faults)


def _load_sqlite(con: duckdb.DuckDBPyConnection, name: str, path: Path) -> None:
    """Copied through Python's own sqlite3: DuckDB's reader is an extension that would need a network."""
    con.execute(f"CREATE SCHEMA {quote(name)}")
    lite = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)
    try:
        tables = lite.execute(
            "SELECT name FROM sqlite_master WHERE type IN ('table', 'view') ORDER BY 1"
        ).fetchall()
        for (table,) in tables:
            if table.startswith("sqlite_"):
                continue
            declared = lite.execute(f"PRAGMA table_info({quote(table)})").fetchall()
            kinds = [_affinity(row[2]) for row in declared]
            columns = ", ".join(f"{quote(row[1])} {kind}" for row, kind in zip(declared, kinds))
            con.execute(f"CREATE TABLE {quote(name)}.{quote(table)} ({columns})")
            rows = lite.execute(f"SELECT * FROM {quote(table)}")
            while batch := rows.fetchmany(_SQLITE_BATCH):
                _insert(con, f"{quote(name)}.{quote(table)}", batch, kinds)
    finally:
        lite.close()


def _insert(con: duckdb.DuckDBPyConnection, table: str, batch: list[tuple], kinds: list[str]) -> None:
    import pyarrow as pa

    # As text, cast by the engine: SQLite lets one column mix types, Arrow does not.
    columns = [[None if row[i] is None else str(row[i]) for row in batch] for i in range(len(kinds))]
    arrow = pa.table([pa.array(c, pa.string()) for c in columns], names=[f"c{i}" for i in range(len(kinds))])
    con.register("sqlite_batch", arrow)
    cast = ", ".join(f"CAST(c{i} AS {kind})" for i, kind in enumerate(kinds))
    con.execute(f"INSERT INTO {table} SELECT {cast} FROM sqlite_batch")
    con.unregister("sqlite_batch")


def _affinity(declared: str) -> str:
    """SQLite's rules of type affinity, as the DuckDB type that holds it."""
    declared = declared.upper()
    if "INT" in declared:
        return "BIGINT"
    if any(word in declared for word in ("REAL", "FLOA", "DOUB", "NUM", "DEC")):
        return "DOUBLE"
    return "VARCHAR"


def _literal(value: str | bool | int | list[str]) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return "[" + ", ".join(quote_text(v) for v in value) + "]"
    return str(value) if isinstance(value, int) else quote_text(value)
