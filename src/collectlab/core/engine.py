"""The engine room: the one place that knows which engine computes, and how each spells things differently.

Everything above asks for a *lazy* Narwhals frame with :func:`scan` and ends with :func:`collect`. DuckDB
is the embedded engine: files and eager frames are scanned into it; a frame that is already lazy (Polars,
PySpark, a DuckDB relation) is computed where it lives.
"""

from __future__ import annotations

import os
import re
import tempfile
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import narwhals as nw
import pandas as pd

from collectlab.core.errors import BookError, CollectlabError, FrameError, NotAvailable, first_few, nearest

_local = threading.local()
#: What stands before the name of a table, or of a schema of tables, that Spark knows.
SPARK = "spark:"


def connection() -> duckdb.DuckDBPyConnection:
    """This thread's embedded engine. ``COLLECTLAB_MEMORY`` (e.g. ``4GB``) caps what it may use."""
    con = getattr(_local, "con", None)
    if con is None:
        con = duckdb.connect(":memory:")
        con.execute("SET preserve_insertion_order = false")
        con.execute("SET TimeZone = 'UTC'")
        con.execute("SET arrow_large_buffer_size = true")
        con.execute(f"SET temp_directory = {quote_text(Path(tempfile.gettempdir()) / 'collectlab')}")
        if memory := os.environ.get("COLLECTLAB_MEMORY"):
            con.execute(f"SET memory_limit = {quote_text(memory)}")
        _local.con = con
    return con


def quote(name: str) -> str:
    """A column or table name as an SQL identifier, whatever characters it holds."""
    return '"' + name.replace('"', '""') + '"'


def quote_text(text: str | Path) -> str:
    """A text as an SQL literal."""
    return "'" + str(text).replace("'", "''") + "'"


def scan(frame: Any, columns: Collection[str] | None = None) -> nw.LazyFrame:
    """Anything with columns as a lazy Narwhals frame.

    ``frame`` is a path to a Parquet or CSV file, the name of a table in Spark (``spark:risk.snapshots``), a
    pandas / Polars / PyArrow frame, a DuckDB relation, a lazy Polars or PySpark frame, or a Narwhals frame of
    any of these. Eager frames are scanned into
    DuckDB, because pandas booleans with gaps go wrong under ``shift``; ``columns`` says which of them are needed,
    so that the others are not converted (if one is not there, all are: for the error that names them).
    """
    if isinstance(frame, str) and frame.startswith(SPARK):
        return nw.from_native(spark_table(frame.removeprefix(SPARK)))
    if isinstance(frame, (str, Path)):
        return nw.from_native(_read_file(Path(frame)))
    try:
        wrapped = nw.from_native(frame)
    except TypeError as error:
        raise FrameError(
            f"a {type(frame).__name__} is no frame. Allowed: pandas, Polars, PyArrow, PySpark, a DuckDB "
            "relation, or the path of a Parquet or CSV file."
        ) from error
    if not isinstance(wrapped, nw.LazyFrame) and not wrapped.columns:
        raise FrameError("the frame has no columns. Allowed: a frame with at least one.")
    if isinstance(wrapped, nw.LazyFrame):
        if not isinstance(frame, nw.LazyFrame):
            with reading(wrapped):
                wrapped.head(0).collect_schema()  # a file that is gone is found here, not inside a measure
        return wrapped
    if wrapped.implementation.is_pandas():
        named = [c for c in wrapped.columns if not isinstance(c, str)]
        if named:
            raise FrameError(f"column names must be text; found {first_few(named)}")
        native = wrapped.to_native()
        if columns is not None and set(columns) <= set(native.columns):
            native = native.loc[:, [c in columns for c in native.columns]]
        native = native.reset_index(drop=True)
        native.attrs = {}  # what a frame carries beside its columns is no data, and may not fit the file
        arrow = _pandas_to_arrow(native)
    else:
        arrow = wrapped.to_arrow()
    return nw.from_native(connection().from_arrow(arrow))


def _pandas_to_arrow(native: pd.DataFrame) -> Any:
    import pyarrow as pa

    try:
        return pa.Table.from_pandas(native, preserve_index=False)
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        mixed = [
            c
            for c in native.columns
            if native[c].dtype == object and native[c].dropna().map(type).nunique() > 1
        ]
        raise FrameError(
            f"column {first_few(mixed) or '?'} mixes types ({str(error).splitlines()[0]}). "
            "Allowed: one type a column."
        ) from error


def _read_file(path: Path) -> duckdb.DuckDBPyRelation:
    if not path.exists():
        raise BookError(f"{path}: no such file.")
    try:
        if path.suffix == ".parquet":
            return connection().read_parquet(str(path))
        if path.name.endswith((".csv", ".csv.gz")):
            return connection().read_csv(str(path))
    except duckdb.Error as error:
        raise BookError(f"{path.name} cannot be read: {str(error).splitlines()[0]}") from error
    raise BookError(f"{path.name}: not a table. Allowed: .parquet, .csv, .csv.gz.")


def spark_session() -> Any:
    """The Spark session in use, else one as this machine is set up for."""
    try:
        from pyspark.errors import PySparkRuntimeError
        from pyspark.sql import SparkSession
    except ImportError as error:
        raise NotAvailable(
            "Spark is asked for, but PySpark is not installed here. It comes with: pip install 'collectlab[spark]' "
            "(and needs Java 17 or later)."
        ) from error
    try:
        return SparkSession.getActiveSession() or SparkSession.builder.getOrCreate()
    except PySparkRuntimeError as error:
        raise NotAvailable(f"Spark does not start: {_reason(error)} It needs Java 17 or later.") from error


def spark_table(name: str) -> Any:
    """A table that Spark knows by this name, as a lazy PySpark frame."""
    session = spark_session()
    if not session.catalog.tableExists(name):
        raise FrameError(
            f"Spark has no table {name!r}. Allowed: a table or view it knows, such as risk.snapshots."
        )
    return session.table(name)


def collect(frame: nw.LazyFrame) -> pd.DataFrame:
    """Compute a lazy frame, wherever it lives, into pandas (for small, counted tables)."""
    return fetch(frame).to_pandas()


def fetch(frame: nw.LazyFrame) -> nw.DataFrame:
    """Compute a lazy frame, wherever it lives, into PyArrow."""
    with reading(frame):
        return frame.collect(backend="pyarrow")


@contextmanager
def reading(frame: nw.LazyFrame) -> Iterator[None]:
    """Raise what fails in the engine as a :class:`FrameError`: a file gone since, a step of the user's own.

    What only a wrong query of ours can raise stays a bug.
    """
    try:
        yield
    except (CollectlabError, NotImplementedError, MemoryError, *_OURS):
        raise
    except Exception as error:
        kind = frame.implementation
        if type(error).__name__ in (
            "AnalysisException",
            "ParseException",
            "SchemaError",
            "ColumnNotFoundError",
        ):
            raise
        name = {"duckdb": "DuckDB", "polars": "Polars", "pyspark": "Spark"}.get(kind.value, kind.value)
        raise FrameError(
            f"{name} could not compute the frame: {_reason(error)} Look at what it is made from: a file may have "
            "been moved or cut short since, or a step of it fails."
        ) from error


#: Raised by DuckDB and Narwhals where a query is wrong, not the data.
_OURS = (
    duckdb.BinderException,
    duckdb.CatalogException,
    duckdb.InternalException,
    duckdb.ParserException,
    nw.exceptions.ColumnNotFoundError,
    nw.exceptions.InvalidOperationError,
)


def _reason(error: Exception) -> str:
    """The one line of an engine's complaint that says what is wrong."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    named = [line for line in lines if re.match(r"[\w.]*(Error|Exception): ", line)]
    coded = [found[0] for line in lines if (found := re.search(r"\[[A-Z_.]+\] .*", line))]
    if type(error).__name__ == "PythonException" and named:  # of a worker's traceback, the last line
        text = named[-1]
    else:
        text = (coded or lines or [""])[0]
    if type(error).__module__ == "builtins":  # KeyError says no more than the key
        text = f"{type(error).__name__}: {text}"
    text = re.sub(r"\s*SQLSTATE: \w+", "", text).strip() or type(error).__name__
    return text if text.endswith((".", "!", "?")) else f"{text}."


def streams(frame: nw.LazyFrame) -> bool:
    """Whether the first rows of a lazy frame can be had without computing all of it."""
    if frame.implementation.is_duckdb():
        # Not by .explain(), which in a notebook shows the plan there and returns nothing.
        told = frame.to_native().query("_plan", "EXPLAIN SELECT * FROM _plan").fetchall()
        plan = "".join(text for _, text in told).upper()
        return not any(
            step in plan for step in ("JOIN", "WINDOW", "GROUP BY", "AGGREGATE", "ORDER", "DISTINCT")
        )
    if frame.implementation.is_polars():
        plan = frame.to_native().explain().upper()
        return not any(step in plan for step in ("JOIN", "OVER", "AGGREGATE", "SORT", "UNIQUE"))
    return False


def materialise(frame: nw.LazyFrame) -> nw.LazyFrame:
    """Compute a lazy frame once and keep it in the engine, for the many questions that start from it."""
    if frame.implementation.is_duckdb():
        if not embedded(frame):
            return scan(fetch(frame))
        con = connection()
        _local.kept = getattr(_local, "kept", 0) + 1
        name = f"_collectlab_kept_{_local.kept}"
        with reading(frame):
            frame.to_native().create(name)
        return nw.from_native(con.table(name))
    with reading(frame):
        if frame.implementation.is_pyspark():
            return nw.from_native(frame.to_native().localCheckpoint())
        return frame.collect().lazy()


def computed(frame: nw.LazyFrame) -> nw.LazyFrame:
    """The frame computed once, for as long as it is used, where the embedded engine would do it each time."""
    return scan(fetch(frame)) if frame.implementation.is_duckdb() else frame


def same_engine(first: nw.LazyFrame, *others: nw.LazyFrame) -> list[nw.LazyFrame]:
    """Frames that can be joined: where the engines differ, all are moved into the embedded one."""
    if all(_together(first, other) for other in others):
        return [first, *others]
    return [f if embedded(f) else scan(fetch(f)) for f in (first, *others)]


def embedded(frame: nw.LazyFrame) -> bool:
    """Whether a frame lives in this thread's embedded engine (a relation of another connection does not)."""
    return _together(frame, nw.from_native(connection().sql("SELECT 1")))


def _together(one: nw.LazyFrame, other: nw.LazyFrame) -> bool:
    if not (one.implementation.is_duckdb() and other.implementation.is_duckdb()):
        return one.implementation == other.implementation
    try:
        one.to_native().cross(other.to_native())
    except duckdb.InvalidInputException as error:
        return "different connections" not in str(error)
    except duckdb.Error:  # of the same connection, and only the names of the two are alike
        return True
    return True


def require(frame: nw.LazyFrame, *columns: str) -> None:
    """Raise a :class:`FrameError` that names every missing column and the nearest one that is there."""
    have = frame.collect_schema().names()
    faults = []
    for column in columns:
        if not isinstance(column, str):
            faults.append(
                f"{column!r} is no column name. Allowed: text. Columns here: {first_few(have, 20)}."
            )
        elif column not in have:
            near = nearest(column, have)
            hint = f" Did you mean {' or '.join(near)}?" if near else ""
            faults.append(f"no column {column!r}.{hint} Columns here: {first_few(have, 20)}.")
    if faults:
        raise FrameError(faults)
