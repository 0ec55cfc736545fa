"""Turn someone's raw files into a book: one SQL SELECT per contract table, and a ``source.yml``.

A *source* is a folder such as ``params/sources/cards``. Its ``source.yml`` says which files it expects,
under which licence, what it assumes and which settings its SQL may read; each ``<table>.sql`` is one
SELECT in DuckDB's dialect over those files. The files are read as they were downloaded: plain, gzipped,
or zipped with one file inside. The book is written whole or not at all.
"""

from __future__ import annotations

import datetime as dt
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import yaml

from collectlab.book.partial import partial_folder, publish
from collectlab.book.rawfiles import engine_words, find_files, load_raw
from collectlab.book.schema import TABLES
from collectlab.book.source_file import Setting, Source, find_source, read_source, source_folders
from collectlab.core.engine import quote, quote_text
from collectlab.core.errors import BookError, ParamsError, first_few, nearest

__all__ = ["ImportSummary", "find_source", "import_source", "read_source", "source_folders"]

ROW_GROUP = 120_000
_VARIABLE = re.compile(r"getvariable\(\s*'([^']*)'\s*\)", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class ImportSummary:
    """What :func:`import_source` did; ``str(summary)`` is fit to print."""

    source: str
    title: str
    target: Path
    files: tuple[str, ...]
    rows: pd.DataFrame
    settings: Mapping[str, str]
    assumptions: tuple[str, ...]

    def __str__(self) -> str:
        width = max(len(t) for t in self.rows["table"])
        lines = [f"{self.title}: {', '.join(self.files)} → {self.target}"]
        lines += [f"  {t:<{width}}  {n:>12,} rows" for t, n in self.rows.itertuples(index=False)]
        if self.settings:
            lines.append("  settings: " + ", ".join(f"{k} = {v}" for k, v in self.settings.items()))
        lines += [f"  assumed: {text}" for text in self.assumptions]
        return "\n".join(lines)


def import_source(
    source: str | Path, raw: str | Path, target: str | Path, overrides: Mapping[str, str] | None = None
) -> ImportSummary:
    """Read raw files through a source and write them as a book folder.

    Parameters
    ----------
    source : str or Path
        A source's folder, or the name of one under ``params/sources``.
    raw : str or Path
        Folder with the raw files, as downloaded (plain, ``.gz``, or ``.zip`` with one file inside).
    target : str or Path
        The book folder to write: one Parquet file per table, rows in the order of the table's keys, and
        ``book.yml``. An earlier import there is replaced; any other folder that is not empty is refused.
    overrides : mapping of str to str, optional
        Settings of the source to change, e.g. ``{"anchor_month": "2019-12"}``.

    Returns
    -------
    ImportSummary
        Rows per table, files read, settings used, assumptions with their figures.

    Raises
    ------
    ParamsError
        Unknown source or setting, or a ``source.yml`` or folder that breaks the rules.
    BookError
        A raw file that is missing, damaged or lacks a column; SQL that fails or lacks a contract column.
        Nothing is written then.

    Examples
    --------
    >>> print(import_source("cards", "../shared/data/cards", "books/cards"))  # doctest: +SKIP
    """
    folder = find_source(source)
    spec = read_source(folder)
    queries = _read_queries(folder)
    _refuse_unknown_variables(spec, queries)
    settings = _settings(spec, overrides or {})
    raw, target = Path(raw), Path(target)
    found = find_files(spec.files, raw)
    _refuse_foreign(target)
    with _staging(target) as staging:
        scratch, book = staging / "scratch", staging / "book"
        scratch.mkdir()
        book.mkdir()
        con = duckdb.connect(str(scratch / "raw.duckdb"))
        try:
            con.execute("SET enable_progress_bar = false; SET TimeZone = 'UTC'")
            if memory := os.environ.get("COLLECTLAB_MEMORY"):
                con.execute(f"SET memory_limit = {quote_text(memory)}")
            for name, value in settings.items():
                con.execute(f"SET VARIABLE {name} = {_sql_value(value)}")
            for name, paths in found.items():
                load_raw(con, name, spec.files[name], paths, scratch)
            rows = _write_tables(con, folder, queries, book)
            assumptions = _assumptions(con, spec, settings)
        finally:
            con.close()
        shown = {name: _shown(spec.settings[name], value) for name, value in settings.items()}
        _write_book_yml(book / "book.yml", spec, shown, assumptions)
        publish(book, target)
    return ImportSummary(
        source=spec.name,
        title=spec.title,
        target=target,
        files=tuple(p.name for paths in found.values() for p in paths),
        rows=pd.DataFrame(rows, columns=["table", "rows"]),
        settings=shown,
        assumptions=assumptions,
    )


def _read_queries(folder: Path) -> dict[str, str]:
    """Table name → its one SELECT."""
    files = {path.stem: path for path in sorted(folder.glob("*.sql"))}
    faults = []
    for name, path in files.items():
        if name not in TABLES:
            near = nearest(name, TABLES)
            hint = f" Did you mean {' or '.join(near)}?" if near else ""
            faults.append(f"{path.name}: no table of the contract.{hint} Allowed: {', '.join(TABLES)}.")
    for name, table in TABLES.items():
        if table.required and name not in files:
            faults.append(f"{folder}: {name}.sql is missing; every book needs {name}.")
    if faults:
        raise ParamsError(faults)
    queries = {}
    for name, path in files.items():
        try:
            text = path.read_text(encoding="utf-8")
            statements = duckdb.extract_statements(text)
        except UnicodeDecodeError as error:
            raise ParamsError(f"{path.name}: not UTF-8 text ({error}).") from error
        except duckdb.Error as error:
            raise BookError(f"{path.name}: {engine_words(error)}") from error
        if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
            raise ParamsError(
                f"{path.name}: {len(statements)} statements. Allowed: one SELECT and nothing else."
            )
        queries[name] = statements[0].query.strip().rstrip(";")
    return {name: queries[name] for name in TABLES if name in queries}


def _refuse_unknown_variables(spec: Source, queries: Mapping[str, str]) -> None:
    """The engine takes a variable it does not know for NULL, which would empty a column without a word."""
    faults = []
    texts = {f"{table}.sql": query for table, query in queries.items()}
    texts |= {f"figure {name}": query for name, query in spec.figures.items()}
    for where, text in texts.items():
        for name in dict.fromkeys(_VARIABLE.findall(text)):
            if name not in spec.settings:
                near = nearest(name, spec.settings)
                hint = f" Did you mean {' or '.join(near)}?" if near else ""
                faults.append(
                    f"{spec.name}: {where} reads the setting {name!r}, which source.yml does not name.{hint}"
                )
    if faults:
        raise ParamsError(faults)


def _settings(spec: Source, overrides: Mapping[str, str]) -> dict[str, Any]:
    faults = []
    values = {name: setting.parse(setting.default) for name, setting in spec.settings.items()}
    for name, text in overrides.items():
        if name not in spec.settings:
            near = nearest(name, spec.settings)
            hint = f" Did you mean {' or '.join(near)}?" if near else ""
            faults.append(
                f"{spec.name}: no setting {name!r}.{hint} Allowed: {', '.join(spec.settings) or 'none'}."
            )
            continue
        try:
            values[name] = spec.settings[name].parse(text)
        except ValueError as error:
            faults.append(f"{spec.name}: {name}: {error}.")
    if faults:
        raise ParamsError(faults)
    return values


def _write_tables(
    con: duckdb.DuckDBPyConnection, folder: Path, queries: Mapping[str, str], book: Path
) -> list[tuple[str, int]]:
    rows = []
    for name, query in queries.items():
        file = f"{folder.name}/{name}.sql"
        table = TABLES[name]
        try:
            # The line break matters: a query may end in a comment.
            columns = [row[0] for row in con.execute(f"DESCRIBE SELECT * FROM ({query}\n)").fetchall()]
            missing = [c.name for c in table.columns if c.required and c.name not in columns]
            if missing:
                near = {c: nearest(c, columns) for c in missing}
                hints = "".join(f" Is {n[0]!r} meant for {c!r}?" for c, n in near.items() if n)
                raise BookError(
                    f"{file}: no column {first_few(missing)}.{hints} It gives {first_few(columns, 20)}."
                )
            order = [c for c in table.sort if c in columns]
            order += [c for c in columns if c not in order]
            con.execute(
                f"COPY (SELECT * FROM ({query}\n) ORDER BY {', '.join(quote(c) for c in order)}) "
                f"TO {quote_text(book / f'{name}.parquet')} "
                f"(FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE {ROW_GROUP})"
            )
            (count,) = con.execute(
                f"SELECT count(*) FROM read_parquet({quote_text(book / f'{name}.parquet')})"
            ).fetchall()[0]
        except duckdb.Error as error:
            raise BookError(f"{file}: {engine_words(error)}") from error
        rows.append((name, count))
    return rows


def _assumptions(
    con: duckdb.DuckDBPyConnection, spec: Source, settings: Mapping[str, Any]
) -> tuple[str, ...]:
    """The assumptions with ``{figure}`` and ``{setting}`` filled in from the data at hand."""
    values: dict[str, str] = {name: _shown(spec.settings[name], value) for name, value in settings.items()}
    for name, query in spec.figures.items():
        try:
            (value,) = con.execute(query).fetchall()[0]
        except (duckdb.Error, IndexError, ValueError) as error:
            raise BookError(f"source.yml: figure {name}: {engine_words(error)}") from error
        values[name] = f"{value:,}" if isinstance(value, (int, float)) else str(value)
    try:
        return tuple(" ".join(text.format_map(values).split()) for text in spec.assumptions)
    except (KeyError, ValueError, IndexError) as error:
        raise ParamsError(
            f"source.yml: assumptions name {error}, which is no figure and no setting. "
            f"Allowed: {', '.join(values) or 'none'}."
        ) from error


def _write_book_yml(
    path: Path, spec: Source, settings: Mapping[str, str], assumptions: tuple[str, ...]
) -> None:
    content = {
        "name": spec.name,
        "title": spec.title,
        "description": " ".join(spec.description.split()),
        **spec.book.model_dump(),
        "licence": " ".join(spec.licence.split()),
        "url": spec.url,
        "citation": spec.citation and " ".join(spec.citation.split()),
        "source": spec.name,
        "settings": dict(settings),
        "assumptions": list(assumptions),
    }
    content = {key: value for key, value in content.items() if value not in (None, {}, [])}
    path.write_text(yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=100), encoding="utf-8")


def _shown(setting: Setting, value: Any) -> str:
    return value.strftime("%Y-%m") if setting.kind == "month" else str(value)


def _sql_value(value: Any) -> str:
    if isinstance(value, dt.date):
        return f"DATE {quote_text(value.isoformat())}"
    return str(value) if isinstance(value, (int, float)) else quote_text(value)


def _refuse_foreign(target: Path) -> None:
    if target.is_dir() and any(target.iterdir()):
        try:
            ours = "source" in (yaml.safe_load((target / "book.yml").read_text(encoding="utf-8")) or {})
        except (OSError, yaml.YAMLError, UnicodeDecodeError, TypeError):
            ours = False
        if not ours:
            raise BookError(
                f"{target} is not empty and no earlier import (no book.yml with a `source`): nothing was written. "
                "Allowed: a new or empty folder, or a book that was imported before."
            )
    elif target.exists() and not target.is_dir():
        raise BookError(
            f"{target} is a file: nothing was written. Allowed: a folder that does not yet exist."
        )


@contextmanager
def _staging(target: Path) -> Iterator[Path]:
    """A hidden folder beside the target, gone afterwards whatever happens; a full disk is a BookError."""
    try:
        with partial_folder(target) as folder:
            yield folder
    except (OSError, duckdb.IOException, duckdb.OutOfMemoryException) as error:
        why = getattr(error, "strerror", None) or engine_words(error)
        raise BookError(f"{target}: {why}; nothing was written.") from error
