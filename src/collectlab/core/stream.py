"""Rows in the order in which they lie, batch by batch: for what a comparison of adjacent rows can answer.

A frozen book's snapshots lie sorted by account and date, and reading them in that order costs no more than a
bare scan, where a window function has to sort them again. Nothing here promises an order: whoever reads must
check it on the way.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import narwhals as nw
import numpy as np

from collectlab.core.engine import connection, quote

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

_Result = TypeVar("_Result")

#: A part of the rows, read when called.
Part = Callable[[], "Iterator[pa.RecordBatch]"]

#: Rows of one batch, at most: what two or three columns of keep within a core's cache.
BATCH = 122_880
#: A frame that is a Parquet file and nothing else, as the engine writes it down.
_WHOLE_FILE = (
    re.compile(r"SELECT \* FROM read_parquet\('((?:[^'*?\[]|'')+)'\)"),
    re.compile(
        r"SELECT \* FROM parquet_scan\(\['((?:[^'*?\[]|'')+)'\], binary_as_string := false, "
        r"file_row_number := false, filename := false, hive_partitioning := false, union_by_name := false\)"
        r'(?: AS "[^"]*")?'
    ),
)
#: What a plan may hold whose rows come in the order of their source.
_IN_ORDER = {"READ_PARQUET", "PARQUET_SCAN", "PYTHON_ARROW_SCAN", "ARROW_SCAN", "SEQ_SCAN", "TABLE_SCAN"} | {
    "PROJECTION",
    "FILTER",
}


def in_order(frame: nw.LazyFrame, columns: Sequence[str], parts: int = 2) -> list[Part] | None:
    """The columns of a frame of the embedded engine, in up to ``parts`` parts that follow one another.

    Parameters
    ----------
    frame : narwhals.LazyFrame
        As :func:`collectlab.core.engine.scan` returns it.
    columns : sequence of str
        The columns to read; every batch has them in this order.
    parts : int
        Into how many parts a Parquet file is divided, so that as many threads can read it.

    Returns
    -------
    list of callables, or None
        Each returns an iterator of ``pyarrow.RecordBatch``; texts of a Parquet file come as dictionaries. None
        for a frame of another engine, or one whose plan (a join, say) has no order of its own.
    """
    if not frame.implementation.is_duckdb():
        return None
    relation = frame.to_native()
    columns = list(dict.fromkeys(columns))
    found = _parts_of_file(relation.sql_query(), columns, parts)
    if found is not None:
        return found
    chosen = relation.project(", ".join(quote(c) for c in columns))
    plan = json.loads(chosen.query("_plan", "EXPLAIN (FORMAT json) SELECT * FROM _plan").fetchall()[0][1])
    if not _names(plan) <= _IN_ORDER:
        return None

    con = connection()

    def read() -> Iterator[pa.RecordBatch]:
        con.execute("SET preserve_insertion_order = true")
        try:
            # Closed also when given up half-way: an open result would block the connection.
            with chosen.to_arrow_reader(BATCH) as reader:
                yield from reader
        finally:
            con.execute("SET preserve_insertion_order = false")

    return [read]


def each(
    parts: Sequence[Part], work: Callable[[Iterator[pa.RecordBatch], duckdb.DuckDBPyConnection], _Result]
) -> list[_Result]:
    """``work`` on every part in a thread of its own, with a way of its own to ask the engine."""
    doors = [connection().cursor() for _ in parts]
    with ThreadPoolExecutor(max_workers=len(parts)) as pool:
        running = [pool.submit(_to_the_end, part, work, door) for part, door in zip(parts, doors)]
        return [one.result() for one in running]


def _to_the_end(part: Part, work: Callable, door: duckdb.DuckDBPyConnection) -> Any:
    with closing(part()) as batches:  # type: ignore[type-var]
        return work(batches, door)


def hashed(ids: pa.Array, groups: int, door: duckdb.DuckDBPyConnection | None = None) -> np.ndarray:
    """The replicate group of each id, as :func:`collectlab.core.jackknife.replicate_of` gives it.

    MD5 as a number is a third cheaper than as text; its first four bytes come in reverse order.
    """
    import pyarrow as pa

    asked = (door or connection()).from_arrow(pa.table({"place": np.arange(len(ids)), "id": ids}))
    text = "coalesce(CAST(id AS VARCHAR), '')"
    found = asked.project(f"place, (md5_number({text}) & 4294967295)::UINTEGER AS four").fetchnumpy()
    out = np.empty(len(ids), dtype=np.int64)
    out[found["place"]] = np.asarray(found["four"]).byteswap() % groups
    return out


def _names(plan: list[dict]) -> set[str]:
    return {node["name"].strip() for node in plan}.union(*(_names(node["children"]) for node in plan))


def _parts_of_file(sql: str, columns: list[str], parts: int) -> list[Part] | None:
    match = next((m for pattern in _WHOLE_FILE if (m := pattern.fullmatch(sql.strip()))), None)
    if match is None:
        return None
    path = Path(match[1].replace("''", "'"))
    # A folder such as region=north adds a column, or puts another in a column's place.
    if "=" in str(path.parent) or not path.is_file():
        return None
    import pyarrow as pa
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        schema, groups = file.schema_arrow, file.metadata.num_row_groups
    if not set(columns) <= set(schema.names) or len(set(schema.names)) < len(schema.names):
        return None
    texts = [c for c in columns if pa.types.is_string(schema.field(c).type)]
    parts = max(min(parts, groups), 1)
    cuts = [groups * i // parts for i in range(parts + 1)]

    def reader(first: int, last: int) -> Part:
        def read() -> Iterator[pa.RecordBatch]:
            # One row group at a time, unbuffered: reading ahead costs a fifth more.
            with pq.ParquetFile(path, read_dictionary=texts, pre_buffer=False) as file:
                for group in range(first, last):
                    for batch in file.iter_batches(
                        2 * BATCH, row_groups=[group], columns=columns, use_threads=False
                    ):
                        yield batch.select(columns)

        return read

    return [reader(first, last) for first, last in pairwise(cuts)]
