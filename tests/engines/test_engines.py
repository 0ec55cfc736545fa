"""The same calls on DuckDB, Polars and PySpark: counts equal to the last digit.

A measure is added by one line in ``CALLS``: what is asked of a bank, whatever engine its frames live in.
"""

from __future__ import annotations

import datetime as dt
import functools
from pathlib import Path

import narwhals as nw
import pandas as pd
import pyarrow as pa
import pytest

from collectlab.book.open import open_book
from collectlab.core.columns import day_number, day_of, number_to_date
from collectlab.core.engine import collect, scan
from collectlab.core.errors import BookError, FrameError
from collectlab.effects import experiment, experiment_frame
from collectlab.measures import actions, bridge, costs, cure, drivers, portfolio, recovery, survival
from collectlab.measures.conduct import audit
from collectlab.measures.roll_rates import first_order_check, roll_rates, vintage

KM = dict(duration="exit_day", outcome="outcome", entry="entry_day")
PERIOD = ("2026-03-01", "2026-08-31")
RULES = Path(__file__).parents[2] / "params" / "contact_rules"

CALLS = {
    "episodes": lambda b: rows(b.episodes(), "account_id", "episode"),
    "episodes, three months": lambda b: rows(b.episodes("eba_three_months"), "account_id", "episode"),
    "episodes, month ends": lambda b: rows(b.episodes(observe="month_end"), "account_id", "episode"),
    "bucket entries": lambda b: rows(b.bucket_entries(buckets=(1, 30)), "account_id", "episode", "bucket_from"),
    # survival
    "kaplan_meier": lambda b: survival.kaplan_meier(b.episodes(), **KM, by="product"),
    "kaplan_meier, hand": lambda b: survival.kaplan_meier(b.table("hand"), duration="a day", outcome="group", event="x"),
    "kaplan_meier, clustered": lambda b: survival.kaplan_meier(b.episodes(), **KM, cluster="customer_id"),
    "kaplan_meier, weighted": lambda b: survival.kaplan_meier(b.table("hand"), duration="a day", outcome="group", event="x", weight='the "w"'),
    "cumulative_incidence": lambda b: survival.cumulative_incidence(b.episodes(), **KM, by=["product", "region"]),
    "nelson_aalen": lambda b: survival.nelson_aalen(b.episodes(), **KM, by="product"),
    "restricted_mean": lambda b: survival.restricted_mean(b.episodes(), horizon=60, **KM, by="secured"),
    "restricted_mean_difference": lambda b: survival.restricted_mean_difference(
        b.episodes(), horizon=60, **KM, by="secured"
    ),
    "time_lost": lambda b: survival.time_lost(b.episodes(), horizon=60, **KM, by="secured"),
    "hazard": lambda b: survival.hazard(b.episodes(), **KM),
    "gray_test": lambda b: survival.gray_test(b.episodes(), **KM, by="product", strata="secured"),
    "log_rank, stratified": lambda b: survival.log_rank(b.episodes(), **KM, by="product", strata="secured"),
    "log_rank": lambda b: survival.log_rank(b.episodes(), **KM, by="product"),
    # cure
    "cure_rate": lambda b: cure.cure_rate(b.bucket_entries(buckets=(1, 30)), by="bucket"),
    "cure_rate, clustered": lambda b: cure.cure_rate(b.episodes(), by="product", cluster="customer_id"),
    "redefault": lambda b: cure.redefault(b, by="product"),
    "redefault, clustered": lambda b: cure.redefault(b, cluster="customer_id"),
    "definitions_compared": lambda b: cure.definitions_compared(b),
    "between_snapshots": lambda b: cure.between_snapshots(b.episodes(), by="product"),
    "mixture_cure": lambda b: cure.mixture_cure(b.episodes(), entry="entry_day", covariates=["secured"]),
    "calibration": lambda b: cure.calibration(chance(b.episodes()), predicted="chance", horizon=60, groups=3),
    # snapshots
    "roll_rates": lambda b: roll_rates(b.table("snapshots")),
    "roll_rates, by balance": lambda b: roll_rates(b, weight="balance", by="product"),
    "roll_rates, three months on": lambda b: roll_rates(b.table("snapshots"), step=3),
    "first_order_check": lambda b: first_order_check(b.table("snapshots")),
    "vintage": lambda b: vintage(b.table("snapshots"), b.table("accounts")),
    "delinquency_rate": lambda b: portfolio.delinquency_rate(b, by="product", weight="balance"),
    "delinquency_trend": lambda b: portfolio.delinquency_trend(b, by="region"),
    "overdue_by_bucket": lambda b: portfolio.overdue_by_bucket(b),
    "concentration": lambda b: portfolio.concentration(b, by="branch"),
    "largest_accounts": lambda b: portfolio.largest_accounts(b),
    "how_long": lambda b: portfolio.how_long(b, by="product"),
    "new_loan_bad_rate": lambda b: portfolio.new_loan_bad_rate(b, months_on_book=3, over=1),
    # money
    "recovery_curve": lambda b: recovery.recovery_curve(b.episodes(), b.table("payments"), by="product"),
    "recovery_rate": lambda b: recovery.recovery_rate(b.bucket_entries(buckets=(1, 30)), b.table("payments"), by="bucket"),
    "recovery_by_source": lambda b: recovery.recovery_by_source(
        b.episodes(), paid_by(b.table("payments")), source="paid by"
    ),
    "liquidation": lambda b: recovery.liquidation(
        recovery.placements(b.table("assignments"), b.table("snapshots"), by="strategy", on="assigned_on"),
        b.table("payments"),
    ),
    "net_curve": lambda b: recovery.net_curve(b.episodes(), b.table("payments"), b.table("actions")),
    "cost_curve": lambda b: costs.cost_curve(b.episodes(), b.table("actions"), by="product"),
    "recovery_period": lambda b: recovery.recovery_period(b.episodes(), b.table("payments"), cap=False),
    "cost_benefit": lambda b: costs.cost_benefit(
        costs.with_strategy(b.episodes(), b.table("assignments")), b.table("payments"), b.table("actions")
    ),
    "cost_benefit, by channel": lambda b: costs.cost_benefit(
        b.episodes(), b.table("payments"), b.table("actions"), by="channel", unit_costs={"call": 3.0}
    ),
    # drivers and effects
    "cure_regression": lambda b: drivers.cure_regression(b.episodes(), covariates=["product", "age"]),
    "cox_regression": lambda b: drivers.cox_regression(b.episodes(), covariates=["secured", "age"]),
    "proportional_hazards": lambda b: drivers.proportional_hazards(
        b.episodes(), covariates=["product", "age"], entry="entry_day", varying=["product"], cluster="customer_id"
    ),
    "month_on_month": lambda b: bridge.month_on_month(
        *halves(b.episodes()), measure=bridge.ratio("cured", "all", cluster="customer_id"), segments="product"
    ),
    "experiment": lambda b: experiment(
        experiment_frame(b, horizons=(30, 90)), outcomes=("paid_within_30", "amount_within_90"), block="block"
    ),
    # what was done
    "channels": lambda b: actions.channels(b, PERIOD, unit_costs={"call": 3.0}),
    "coverage_by_stage": lambda b: actions.coverage_by_stage(b),
    "timeline": lambda b: actions.timeline(b),
    "time_to_first_contact": lambda b: actions.time_to_first_contact(b, by="product"),
    "promises": lambda b: actions.promises(b, by="month"),
    "reactions": lambda b: actions.reactions(b),
    "complaints": lambda b: actions.complaints(b, by=None),
    "satisfaction": lambda b: actions.satisfaction(b),
    "contact_hours": lambda b: actions.contact_hours(b),
    "third_party_contacts": lambda b: actions.third_party_contacts(b),
    "records_kept": lambda b: actions.records_kept(b),
    "team_comparison": lambda b: actions.team_comparison(b),
    "legal_cases": lambda b: actions.legal_cases(b),
    "arrangements": lambda b: actions.arrangements(b),
    "reasons": lambda b: actions.reasons(b),
    # contact rules
    "contact rules": lambda b: audited(b, "cn"),
    "contact rules, within a period": lambda b: audited(b, ("us", "au"), by=("channel", "region"), period=PERIOD),
    "contact rules, the actions behind": lambda b: audited(b, ("cn", "us")).evidence(),
}  # fmt: skip


def audited(bank, rules, **options):
    return audit(bank, rules, folder=RULES, **options)


def chance(episodes: nw.LazyFrame) -> nw.LazyFrame:
    """A forecast to check: one of three chances of cure."""
    return episodes.with_columns(chance=0.3 + 0.2 * (nw.col("exit_day") % 3))


def paid_by(payments: nw.LazyFrame) -> nw.LazyFrame:
    large = nw.when(nw.col("amount") > 100).then(nw.lit("transfer")).otherwise(nw.lit("cash"))
    return payments.with_columns(large.alias("paid by"))


def halves(episodes: nw.LazyFrame) -> list[nw.LazyFrame]:
    """Two frames of 0/1 to compare: the episodes of even and of odd months."""
    marked = episodes.with_columns(cured=(nw.col("outcome") == "cured").cast(nw.Int64), all=nw.lit(1))
    return [marked.filter(nw.col("started_on").dt.month() % 2 == part) for part in (0, 1)]


def rows(lazy, *keys: str) -> pd.DataFrame:
    return collect(lazy).sort_values(list(keys)).reset_index(drop=True)


def answer(name: str, bank) -> pd.DataFrame:
    found = CALLS[name](bank)
    return found if isinstance(found, pd.DataFrame) else found.table


@pytest.fixture(scope="module")
def in_duckdb(duckdb_bank):
    """The answer of the embedded engine, asked for once."""
    return functools.cache(lambda name: answer(name, duckdb_bank))


@pytest.mark.parametrize("name", CALLS)
def test_polars_agrees_with_duckdb(name, polars_bank, in_duckdb):
    same(answer(name, polars_bank), in_duckdb(name))


@pytest.mark.spark
@pytest.mark.parametrize("name", CALLS)
def test_spark_agrees_with_duckdb(name, spark_bank, in_duckdb):
    same(answer(name, spark_bank), in_duckdb(name))


def same(mine: pd.DataFrame, theirs: pd.DataFrame) -> None:
    """Keys, counts and sums of money are equal to the last digit; estimates and their errors to 12 digits."""
    assert len(theirs)
    assert list(mine.columns) == list(theirs.columns)
    pd.testing.assert_frame_equal(mine, theirs, check_exact=False, rtol=1e-12, atol=1e-12)
    for column in theirs.select_dtypes("number"):
        whole = theirs[column] == theirs[column].round()
        assert (mine[column][whole] == theirs[column][whole]).all(), column


# --- Spark alone -------------------------------------------------------------------------------------------


@pytest.mark.spark
@pytest.mark.parametrize("zone", ["UTC", "Asia/Shanghai", "Europe/London", "Pacific/Auckland"])
def test_dates_do_not_depend_on_the_sessions_time_zone(spark, zone):
    # Clocks went forward, back, or were set anew on these days somewhere.
    dates = ["1900-01-01", "1901-01-01", "1927-12-31", "2000-02-29", "2026-03-29", "2026-09-27", "2100-03-01"]
    days = [dt.date.fromisoformat(d) for d in dates]
    spark.conf.set("spark.sql.session.timeZone", zone)
    try:
        lazy = scan(spark.createDataFrame(pa.table({"day": days})))
        lazy = lazy.with_columns(n=day_number("day")).with_columns(back=number_to_date(nw.col("n")))
        found = collect(lazy).sort_values("day")
    finally:
        spark.conf.set("spark.sql.session.timeZone", "UTC")
    assert found["n"].tolist() == [day_of(d) for d in days]
    assert found["back"].tolist() == days


@pytest.mark.spark
def test_a_book_that_spark_knows_by_name(spark, simulated):
    names = ("accounts", "snapshots")
    spark.sql("CREATE DATABASE bank")
    for name in names:
        spark.createDataFrame(simulated.book_tables[name]).write.saveAsTable(f"bank.{name}")
    book = open_book("spark:bank")
    known = open_book({name: simulated.book_tables[name] for name in names}, name="spark:bank")
    pd.testing.assert_frame_equal(book.reconciliation, known.reconciliation)
    pd.testing.assert_frame_equal(roll_rates("spark:bank.snapshots").table, roll_rates(known).table)
    with pytest.raises(BookError, match="accounts"):
        open_book("spark:nowhere")
    with pytest.raises(FrameError, match=r"Spark has no table 'bank\.episodes'"):
        survival.kaplan_meier("spark:bank.episodes")


@pytest.mark.spark
def test_a_source_that_fails_in_spark_says_so_in_one_line(spark, hand, tmp_path):
    from pyspark.sql import functions as sql

    def refuse(_):
        raise ValueError("income is no number")

    hand.to_pandas().to_parquet(path := tmp_path / "episodes.parquet")
    gone = spark.read.parquet(str(path))
    path.unlink()
    failing = spark.createDataFrame(hand).withColumn("a day", sql.udf(refuse, "int")("a day"))
    spark.sparkContext.setLogLevel("OFF")
    for frame, why in ((gone, "FILE_NOT_EXIST.*episodes"), (failing, "ValueError: income is no number")):
        with pytest.raises(FrameError, match=f"^Spark could not compute the frame: .*{why}") as told:
            survival.kaplan_meier(frame, duration="a day", outcome="group", event="x")
        assert len(str(told.value).splitlines()) == 1
    spark.sparkContext.setLogLevel("ERROR")
