"""Reading what is handed over: folders of Parquet or CSV, DuckDB files, frames in memory.

Nothing is judged here beyond whether a table can be read at all. CSV is read as text, so that a wrong
value is a row's fault with its words kept, and never a reader's traceback.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import itertools
import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import duckdb
import narwhals as nw
import yaml
from pydantic import ValidationError

from collectlab.book.schema import TABLES
from collectlab.book.schema_about import About
from collectlab.core.engine import (
    SPARK,
    connection,
    embedded,
    fetch,
    quote,
    quote_text,
    spark_session,
    spark_table,
)
from collectlab.core.errors import BookError, FrameError, first_few, nearest

_ENDINGS = (".parquet", ".csv", ".csv.gz")
_DATABASES = (".duckdb", ".db", ".ddb")
_numbers = itertools.count(1)


@dataclass(frozen=True, kw_only=True)
class Raw:
    """A table as handed over.

    ``source`` goes into FROM, ``row`` numbers its rows, ``columns`` are its names and engine types.
    ``untyped`` is true of CSV, whose text may be numbers. ``kept_in_memory`` names the engine's copy,
    ``unread`` a table of lines (``line``, ``text``, ``why``) that are no rows at all.
    """

    name: str
    origin: str
    source: str
    row: str
    columns: Mapping[str, str]
    untyped: bool = False
    kept_in_memory: str | None = None
    unread: str | None = None


def fresh(stem: str) -> str:
    """A name no other table in the engine has."""
    return f"_book{next(_numbers)}_{stem}"


def read_about(folder: Path) -> About:
    """``book.yml`` of a folder, or what holds where there is none."""
    path = folder / "book.yml"
    if not path.exists():
        return About()
    try:
        given = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise BookError(f"book.yml cannot be read: {' '.join(str(error).split())}") from error
    try:
        about = About.model_validate({} if given is None else given)
    except ValidationError as error:
        allowed = ", ".join(name for name in About.model_fields if name != "more")
        raise BookError(
            f"book.yml: {'.'.join(str(part) for part in fault['loc'])}"
            f"{': ' if fault['loc'] else ''}{fault['msg'].removeprefix('Value error, ')}. Allowed keys: {allowed}."
            for fault in error.errors()
        ) from error
    try:
        codecs.lookup(about.encoding)
    except LookupError as error:
        raise BookError(
            f"book.yml: unknown encoding {about.encoding!r}. Allowed: utf-8, latin-1, cp1252, gb18030, "
            "utf-16 or another name Python knows."
        ) from error
    return about


def read_source(source: Any, about: About) -> tuple[dict[str, Raw], list[str]]:
    """Every table of a source, and the faults of those that cannot be read."""
    raws: dict[str, Raw] = {}
    faults: list[str] = []
    for name, read in _readers(source, about, faults):
        try:
            raws[name] = read()
        except BookError as error:
            faults.extend(error.faults)
        except duckdb.Error as error:
            faults.append(f"{name} cannot be read: {plain(error)}")
    return raws, faults


def plain(error: Exception) -> str:
    """The first line of an engine's complaint, without the place on disk."""
    first = (str(error) or type(error).__name__).splitlines()[0]
    return re.sub(r"(?<![\w.])/(?:[^/'\"]+/)+", "", first)


def _readers(source: Any, about: About, faults: list[str]) -> Iterator[tuple[str, Any]]:
    if isinstance(source, Mapping):
        unknown = [str(name) for name in source if name not in TABLES]
        for name in unknown:
            near = nearest(name, TABLES)
            hint = f" Did you mean {near[0]}?" if near else ""
            faults.append(f"no table {name!r} in a book.{hint} Allowed: {', '.join(TABLES)}.")
        for name in TABLES:
            if source.get(name) is not None:
                yield name, lambda name=name: _read_frame(name, source[name])
        return
    if isinstance(source, str) and source.startswith(SPARK):
        schema, catalog = source.removeprefix(SPARK), spark_session().catalog
        for name in TABLES:
            if catalog.tableExists(f"{schema}.{name}"):
                yield name, lambda name=name: _read_frame(name, spark_table(f"{schema}.{name}"))
        return
    path = Path(source)
    if path.is_dir():
        files = _files(path, faults)
        for name in TABLES:
            if name in files:
                yield name, lambda name=name: _read_file(name, files[name], about)
    elif path.is_file() and path.suffix in _DATABASES:
        yield from _database_readers(path)
    elif path.exists():
        raise BookError(
            f"{path.name} is no book. Allowed: a folder of Parquet or CSV tables, or a .duckdb file."
        )
    else:
        raise BookError(f"{path}: no such folder or file.")


def _files(folder: Path, faults: list[str]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        stem = path.name.split(".")[0].lower()
        if stem not in TABLES or not path.name.lower().endswith(_ENDINGS) or not path.is_file():
            continue
        if stem in found:
            faults.append(
                f"{stem} is there twice: {found[stem].name} and {path.name}. Allowed: one file a table."
            )
        found[stem] = path
    return found


def _described(con: duckdb.DuckDBPyConnection, source: str) -> dict[str, str]:
    return {row[0]: row[1] for row in con.execute(f"DESCRIBE SELECT * FROM {source}").fetchall()}


def _read_file(name: str, path: Path, about: About) -> Raw:
    if path.name.lower().endswith(".parquet"):
        return _read_parquet(name, path)
    return _read_csv(name, path, about.encoding)


def _read_parquet(name: str, path: Path) -> Raw:
    con = connection()
    literal = quote_text(path.resolve())
    try:
        columns = _described(con, f"read_parquet({literal})")
    except duckdb.Error as error:
        raise BookError(
            f"{path.name} cannot be read: it is no Parquet file, or was cut short ({plain(error)}). "
            "Copy it again from where it came."
        ) from error
    if "file_row_number" in map(str.lower, columns):
        return _copied(name, path.name, f"read_parquet({literal})")
    source = f"read_parquet({literal}, file_row_number = true)"
    return Raw(name=name, origin=path.name, source=source, row="file_row_number", columns=columns)


def _database_readers(path: Path) -> Iterator[tuple[str, Any]]:
    con = connection()
    try:
        attached = con.execute(
            "SELECT database_name FROM duckdb_databases() WHERE path = ?", [str(path.resolve())]
        )
        known = attached.fetchall()
        alias = known[0][0] if known else fresh("file")
        if not known:
            con.execute(f"ATTACH {quote_text(path.resolve())} AS {quote(alias)} (READ_ONLY)")
        have = con.execute(
            "SELECT lower(table_name), schema_name, table_name, true FROM duckdb_tables() WHERE database_name = ? "
            "UNION ALL SELECT lower(view_name), schema_name, view_name, false FROM duckdb_views() "
            "WHERE NOT internal AND database_name = ? ORDER BY 2, 3",
            [alias, alias],
        ).fetchall()
    except duckdb.Error as error:
        raise BookError(f"{path.name} cannot be opened as a DuckDB file: {plain(error)}") from error
    places = {
        lower: (f"{quote(alias)}.{quote(schema)}.{quote(table)}", stored)
        for lower, schema, table, stored in have
    }

    def read(name: str) -> Raw:
        place, stored = places[name]
        origin = f"{path.name}: {name}"
        columns = _described(con, place)
        if stored and "rowid" not in map(str.lower, columns):
            return Raw(name=name, origin=origin, source=place, row="rowid", columns=columns)
        return _copied(name, origin, place)  # a view has no row numbers

    for name in TABLES:
        if name in places:
            yield name, lambda name=name: read(name)


def _in_memory(name: str, origin: str, table: str, **more: Any) -> Raw:
    con = connection()
    columns = _described(con, quote(table))
    row = "rowid"
    if any(column.lower() == "rowid" for column in columns):  # it hides the engine's own row number
        row, numbered = "__number", fresh(name)
        con.execute(
            f"CREATE TEMP TABLE {quote(numbered)} AS SELECT *, row_number() OVER () AS __number FROM {quote(table)}"
        )
        con.execute(f"DROP TABLE {quote(table)}")
        table = numbered
    return Raw(
        name=name, origin=origin, source=quote(table), row=row, columns=columns, kept_in_memory=table, **more
    )


def _copied(name: str, origin: str, source: str) -> Raw:
    table = fresh(name)
    connection().execute(f"CREATE TEMP TABLE {quote(table)} AS SELECT * FROM {source}")
    return _in_memory(name, origin, table)


def _read_frame(name: str, frame: Any) -> Raw:
    if isinstance(frame, (str, Path)):
        path = Path(frame)
        if not path.is_file() or not path.name.lower().endswith(_ENDINGS):
            raise BookError(f"{name}: {path.name} is no table. Allowed: {', '.join(_ENDINGS)}.")
        return _read_file(name, path, About())
    con = connection()
    table = fresh(name)
    try:
        wrapped = nw.from_native(frame)
    except TypeError as error:
        raise BookError(
            f"{name}: a {type(frame).__name__} is no frame. Allowed: pandas, Polars, PyArrow, a DuckDB relation."
        ) from error
    if isinstance(wrapped, nw.LazyFrame):
        if embedded(wrapped):
            wrapped.to_native().create(table)
            return _in_memory(name, name, table)
        try:
            wrapped = fetch(wrapped)
        except FrameError as error:
            raise BookError(f"{name}: {error}") from error
    if not wrapped.columns:
        raise BookError(f"{name}: the frame has no columns.")
    arrow = (
        _pandas_to_arrow(name, wrapped.to_native())
        if wrapped.implementation.is_pandas()
        else wrapped.to_arrow()
    )
    con.from_arrow(arrow).create(table)
    return _in_memory(name, name, table)


def _pandas_to_arrow(name: str, native: Any) -> Any:
    import pyarrow as pa

    odd = [column for column in native.columns if not isinstance(column, str)]
    if odd:
        raise BookError(f"{name}: column names must be text; found {first_few(odd)}.")
    if len(set(native.columns)) < len(native.columns):
        twice = sorted({c for c in native.columns if list(native.columns).count(c) > 1})
        raise BookError(f"{name}: column names stand twice: {first_few(twice)}.")
    native = native.reset_index(drop=True)
    for position, column in enumerate(native.columns):
        if native.iloc[:, position].dtype != object:
            continue
        try:
            pa.array(native[column], from_pandas=True)
        except (pa.ArrowInvalid, pa.ArrowTypeError):
            # Mixed types: kept as their words, so that the rows at fault are told apart from the good ones.
            missing = native[column].isna()
            native = native.assign(**{column: native[column].map(str).where(~missing, None)})
    return pa.Table.from_pandas(native, preserve_index=False)


# --- CSV --------------------------------------------------------------------------------------------------


def _opened(path: Path) -> IO[bytes]:
    return gzip.open(path, "rb") if path.name.lower().endswith(".gz") else path.open("rb")  # type: ignore[return-value]


def _read_csv(name: str, path: Path, encoding: str) -> Raw:
    con = connection()
    try:
        with _as_utf8(path, encoding) as readable:
            names, delimiter = _header(readable, path.name)
            table, rejects = fresh(name), fresh("rejects")
            columns = ", ".join(f"{quote_text(column)}: 'VARCHAR'" for column in names)
            con.execute(
                f"CREATE TEMP TABLE {quote(table)} AS SELECT * FROM read_csv({quote_text(readable.resolve())}, "
                f"auto_detect = false, header = true, delim = {quote_text(delimiter)}, quote = '\"', escape = '\"', "
                f"columns = {{{columns}}}, store_rejects = true, rejects_table = {quote_text(rejects)}, "
                f"rejects_scan = {quote_text(rejects + '_scan')}, rejects_limit = 0)"
            )
    except duckdb.Error as error:
        raise BookError(f"{path.name} cannot be read as CSV: {plain(error)}") from error
    except (EOFError, gzip.BadGzipFile, OSError) as error:
        raise BookError(
            f"{path.name} cannot be read: {error.strerror if isinstance(error, OSError) and error.strerror else error}"
        ) from error
    unread = fresh("unread")
    con.execute(
        f"CREATE TEMP TABLE {quote(unread)} AS SELECT line, any_value(trim(csv_line, chr(10) || chr(13))) AS text, "
        f"'line is no row: ' || lower(replace(min(CAST(error_type AS VARCHAR)), '_', ' ')) AS why "
        f"FROM {quote(rejects)} GROUP BY line"
    )
    return _in_memory(name, path.name, table, untyped=True, unread=unread)


@contextmanager
def _as_utf8(path: Path, encoding: str) -> Iterator[Path]:
    """The file, proven to be UTF-8; or a copy in UTF-8 where book.yml names another encoding."""
    plain_utf8 = codecs.lookup(encoding).name in ("utf-8", "ascii", "utf-8-sig")
    with _opened(path) as file:
        if plain_utf8:
            _prove(file, path.name, "utf-8")
            yield path
            return
        with tempfile.TemporaryDirectory(prefix="collectlab-") as place:
            copy = Path(place) / "table.csv"
            with copy.open("wb") as out:
                _prove(file, path.name, encoding, out)
            yield copy


def _prove(file: IO[bytes], name: str, encoding: str, out: IO[bytes] | None = None) -> None:
    decoder = codecs.getincrementaldecoder(encoding)()
    line = 1
    while True:
        chunk = file.read(1 << 22)
        try:
            text = decoder.decode(chunk, final=not chunk)
        except UnicodeDecodeError as error:
            line += bytes(error.object[: error.start]).count(b"\n")
            raise BookError(
                f"{name} is not {encoding}: line {line:,} holds bytes that cannot be read "
                f"({error.object[error.start : error.start + 4].hex(' ')}). Allowed: utf-8, or say which in book.yml, "
                "for example `encoding: gb18030`, `encoding: latin-1` or `encoding: cp1252`."
            ) from error
        line += text.count("\n")
        if out is not None:
            out.write(text.encode())
        if not chunk:
            return


def _header(path: Path, shown: str) -> tuple[list[str], str]:
    """The column names and the delimiter, from the first line."""
    with _opened(path) as file:
        head = file.read(1 << 16).decode("utf-8-sig", errors="ignore")
    if not head.strip():
        raise BookError(f"{shown} is empty. Allowed: a first line with the column names.")
    first = head.splitlines()[0]
    delimiter = max(",;\t|", key=lambda mark: (first.count(mark), mark == ","))
    names = next(csv.reader(head.splitlines(), delimiter=delimiter))
    unique: list[str] = []
    for position, name in enumerate(names):
        name = name.strip() or f"column{position + 1}"
        taken = {other.lower() for other in unique}
        fitting = (name if n == 1 else f"{name}_{n}" for n in itertools.count(1))
        unique.append(next(candidate for candidate in fitting if candidate.lower() not in taken))
    return unique, delimiter
