"""One bank's tables on each of the three engines, and the Spark session that one of them needs."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys

import narwhals as nw
import pyarrow as pa
import pytest

from collectlab.book.episodes import bucket_entries, episodes
from collectlab.book.open import Book
from collectlab.book.simulate import simulate
from collectlab.core.engine import connection, scan

ENGINES = ("duckdb", "polars", "pyspark")


@pytest.fixture(scope="module")
def spark(tmp_path_factory):
    """A local Spark of two threads, for the one module that asks for it."""
    missing = ""
    if importlib.util.find_spec("pyspark") is None:
        missing = "no PySpark here (pip install 'collectlab[spark]')"
    elif not (shutil.which("java") or os.environ.get("JAVA_HOME")):
        missing = "no Java on this machine (Debian: default-jre-headless)"
    if missing and os.environ.get("CI") == "true":
        pytest.fail(f"{missing}, and CI=true asks for it")
    if missing:
        pytest.skip(f"{missing}: nothing was computed in Spark")
    from pyspark.sql import SparkSession

    os.environ["PYSPARK_PYTHON"] = sys.executable
    os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
    settings = {
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.memory": "1g",
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.log.level": "ERROR",
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.warehouse.dir": str(tmp_path_factory.mktemp("warehouse")),
        "spark.sql.execution.arrow.pyspark.enabled": "true",
        # Small tables, many plans: no time on compiling them, nor on parts and propagation that pay at scale.
        "spark.driver.extraJavaOptions": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC",
        "spark.sql.codegen.wholeStage": "false",
        "spark.sql.codegen.factoryMode": "NO_CODEGEN",
        "spark.sql.constraintPropagation.enabled": "false",
        "spark.sql.adaptive.enabled": "false",
        "spark.sql.shuffle.partitions": "2",
        "spark.default.parallelism": "2",
    }
    builder = SparkSession.builder.master("local[2]").appName("collectlab tests")
    for name, value in settings.items():
        builder = builder.config(name, value)
    session = builder.getOrCreate()
    yield session
    session.stop()


HAND = pa.table(
    {
        "a day": [5, 6, 6, 2, 9, 13, 13, 1],
        "group": ["x", "x", "y", "censored", "x", "y", "x", "censored"],
        "segment": ["S10", "S2", None, "S2", "S10", None, "S2", "S10"],
        'the "w"': [1.0, 0.1, 0.2, 0.3, 1 / 3, 2.5, 1.0, 1.0],
        "customer": [1, 1, 2, 3, None, 4, 5, 2**40],
    }
)


class Bank(Book):
    """A book whose tables are frames of one engine."""

    def __init__(self, engine: str, tables: dict, as_of, spark=None):
        self.__dict__.update(engine=engine, as_of=as_of, spark=spark, known={})
        self.__dict__["frames"] = {
            name: self.frame(table) for name, table in (tables | {"hand": HAND}).items()
        }

    def frame(self, table):
        """A PyArrow table as a lazy frame of this engine."""
        if self.engine == "duckdb":
            return connection().from_arrow(table)
        if self.engine == "polars":
            import polars as pl

            return pl.from_arrow(table).lazy()
        return self.spark.createDataFrame(table).cache()

    def table(self, name: str) -> nw.LazyFrame:
        return scan(self.frames[name])

    def has(self, name: str) -> bool:
        return name in self.frames

    def columns(self, name: str) -> list[str]:
        return self.table(name).collect_schema().names()

    def episodes(self, definition: str = "current_once", **options) -> nw.LazyFrame:
        return self._once(episodes, definition=definition, **{"as_of": self.as_of} | options)

    def bucket_entries(self, **options) -> nw.LazyFrame:
        return self._once(bucket_entries, **{"as_of": self.as_of} | options)

    def _once(self, make, **options) -> nw.LazyFrame:
        key = (make, *options.items())
        if key not in self.known:
            lazy = make(self.table("snapshots"), self.table("accounts"), **options)
            if self.engine == "pyspark":
                lazy = nw.from_native(lazy.to_native().localCheckpoint())
            self.known[key] = lazy
        return self.known[key]


@pytest.fixture(scope="module")
def hand():
    return HAND


@pytest.fixture(scope="module")
def simulated():
    return simulate(accounts=400, months=14, truth_accounts=0)


@pytest.fixture(scope="module")
def duckdb_bank(simulated):
    return Bank("duckdb", simulated.book_tables, simulated.settings.end)


@pytest.fixture(scope="module")
def polars_bank(simulated):
    return Bank("polars", simulated.book_tables, simulated.settings.end)


@pytest.fixture(scope="module")
def spark_bank(simulated, spark):
    return Bank("pyspark", simulated.book_tables, simulated.settings.end, spark)
