"""The engine room: frames of several engines meet, and a source that fails says so."""

from __future__ import annotations

import sys

import duckdb
import narwhals as nw
import pandas as pd
import polars as pl
import pytest

from collectlab.book.open import open_book
from collectlab.core.engine import collect, materialise, same_engine, scan, streams
from collectlab.core.errors import BookError, FrameError, NotAvailable
from collectlab.measures.cure import cure_rate
from collectlab.measures.recovery import recovery_rate
from collectlab.measures.survival import kaplan_meier

EPISODES = pl.DataFrame(
    {
        "account_id": [1, 2, 3, 4],
        "started_on": pd.to_datetime(["2026-01-01"] * 4),
        "entry_day": [0] * 4,
        "exit_day": [5, 6, 7, 90],
        "outcome": ["cured", "charged_off", "cured", "censored"],
        "amount_at_entry": [10.0, 20.0, 30.0, 40.0],
    }
)
PAYMENTS = pl.DataFrame(
    {"account_id": [1, 3], "paid_on": pd.to_datetime(["2026-01-03"] * 2), "amount": [5.0, 30.0]}
)


def of_another_connection(frame: pl.DataFrame) -> duckdb.DuckDBPyRelation:
    return duckdb.connect().from_arrow(frame.to_arrow())


# --- engines that meet -------------------------------------------------------------------------------------


@pytest.mark.parametrize("episodes", [of_another_connection, pl.DataFrame.lazy])
@pytest.mark.parametrize("payments", [of_another_connection, pl.DataFrame.lazy, pl.DataFrame.to_pandas])
def test_frames_of_different_engines_and_connections_are_joined(episodes, payments):
    known = recovery_rate(EPISODES, PAYMENTS, horizons=[30]).table
    mixed = recovery_rate(episodes(EPISODES), payments(PAYMENTS), horizons=[30]).table
    pd.testing.assert_frame_equal(mixed, known)
    assert known["estimate"].tolist() == [0.35]


def test_frames_that_can_be_joined_stay_where_they_are():
    con = duckdb.connect()
    theirs = [scan(con.from_arrow(f.to_arrow())) for f in (EPISODES, PAYMENTS)]
    assert same_engine(*theirs) == theirs
    lazy = [scan(f.lazy()) for f in (EPISODES, PAYMENTS)]
    assert [f.implementation.is_polars() for f in same_engine(*lazy)] == [True, True]


@pytest.mark.parametrize("lift", [pl.DataFrame.lazy, of_another_connection, pl.DataFrame.to_pandas])
def test_what_is_materialised_is_computed_once(lift):
    kept = materialise(scan(lift(EPISODES)).filter(nw.col("exit_day") < 90))
    assert isinstance(kept, nw.LazyFrame)
    assert collect(kept.select(nw.len()))["len"].item() == 3


@pytest.mark.parametrize("lift", [pl.DataFrame.lazy, pl.DataFrame.to_arrow, of_another_connection])
def test_a_book_of_frames(lift):
    book = open_book(
        {
            "accounts": lift(pl.DataFrame({"account_id": [1, 2]})),
            "snapshots": lift(
                pl.DataFrame(
                    {
                        "account_id": [1, 1, 2],
                        "as_of": pd.to_datetime(["2026-01-31", "2026-02-28", "2026-02-28"]),
                        "days_past_due": [9, 0, 12],
                    }
                )
            ),
        }
    )
    assert book.reconciliation["accepted"].tolist() == [2, 3]
    assert sorted(collect(book.episodes())["outcome"]) == ["censored", "cured"]


# --- a source that fails only when it is read --------------------------------------------------------------


def gone(path):
    path.unlink()


def cut_short(path):
    path.write_bytes(path.read_bytes()[:-200])


@pytest.mark.parametrize("harm", [gone, cut_short])
@pytest.mark.parametrize("engine", ["embedded", "DuckDB", "Polars"])
@pytest.mark.parametrize("measure", [kaplan_meier, lambda f: cure_rate(f, cluster="account_id")])
def test_a_file_harmed_after_it_was_opened(tmp_path, engine, harm, measure):
    EPISODES.write_parquet(path := tmp_path / "episodes.parquet")
    read = {
        "embedded": lambda: scan(path).to_native(),
        "DuckDB": lambda: duckdb.connect().read_parquet(str(path)),
        "Polars": lambda: pl.scan_parquet(path),
    }
    frame = read[engine]()
    harm(path)
    with pytest.raises(
        FrameError, match=r"could not compute the frame: .*Look at what it is made from"
    ) as told:
        measure(frame)
    assert len(str(told.value).splitlines()) == 1
    assert told.value.__cause__ is not None


def refuse(_):
    raise KeyError("income")


@pytest.mark.parametrize("measure", [kaplan_meier, lambda f: cure_rate(f, cluster="account_id")])
def test_a_step_of_the_users_own_that_fails(measure):
    frame = EPISODES.lazy().map_batches(refuse, schema=EPISODES.schema)
    with pytest.raises(FrameError, match=r"^Polars could not compute the frame: KeyError: 'income'"):
        measure(frame)


def test_a_value_that_cannot_be_cast():
    frame = duckdb.connect().sql(
        "SELECT cast(x AS INT) AS exit_day, 'cured' AS outcome FROM (VALUES ('two')) t(x)"
    )
    with pytest.raises(FrameError, match=r"^DuckDB could not .*Could not convert string 'two' to INT32"):
        kaplan_meier(frame)


def test_a_book_names_the_table_that_fails():
    failing = pl.LazyFrame({"account_id": [1]}).map_batches(refuse, schema={"account_id": pl.Int64})
    with pytest.raises(BookError, match=r"^accounts: Polars could not compute the frame: KeyError"):
        open_book({"accounts": failing, "snapshots": pl.DataFrame({"account_id": [1]})})


def test_a_wrong_query_of_ours_stays_a_bug():
    with pytest.raises(nw.exceptions.InvalidOperationError):
        collect(scan(EPISODES.lazy()).select(nw.col("outcome").sum()))
    with pytest.raises(Exception) as told:
        collect(scan(EPISODES).select(nw.col("outcome").sum()))
    assert not isinstance(told.value, FrameError)


# --- Spark asked for where it is not -----------------------------------------------------------------------


@pytest.mark.parametrize("ask", [kaplan_meier, open_book])
def test_spark_asked_for_without_pyspark(monkeypatch, ask):
    monkeypatch.setitem(sys.modules, "pyspark.sql", None)
    with pytest.raises(NotAvailable, match=r"not installed here.*pip install 'collectlab\[spark\]'"):
        ask("spark:risk.episodes")


def test_a_plan_is_looked_at_and_not_shown_in_a_notebook_too(monkeypatch, capsys):
    import _duckdb

    monkeypatch.setattr(_duckdb, "__jupyter__", True, raising=False)
    frame = scan(pd.DataFrame({"team": ["a", "b"]}))
    assert streams(frame)
    assert not streams(frame.group_by("team").agg(n=nw.len()))
    assert not capsys.readouterr().out


def test_what_a_frame_carries_beside_its_columns_is_left_alone(recwarn):
    frame = pd.DataFrame({"a": [1, 2]})
    frame.attrs["states"] = object()
    assert collect(scan(frame))["a"].tolist() == [1, 2]
    assert not list(recwarn) and "states" in frame.attrs
