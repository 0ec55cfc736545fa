"""Months counted for a forecast: small tables in, flows, amounts and payments out."""

from __future__ import annotations

import numpy as np
import pandas as pd
import polars as pl
import pytest

import collectlab as cl
from collectlab.book.simulate import simulate
from collectlab.core.errors import FrameError
from collectlab.policy.forecast import history

BUCKETS = (0, 1, 30)
SNAPSHOTS = pd.DataFrame(
    [
        # account, date, days past due, amount past due, status
        ("a", "2026-01-31", 0, 0.0, "open"),
        ("a", "2026-02-28", 9, 100.0, "open"),
        ("a", "2026-03-31", 40, 210.5, "open"),
        ("b", "2026-01-31", 12, 50.0, "open"),
        ("b", "2026-02-28", 0, 0.0, "open"),
        ("b", "2026-03-31", 0, 0.0, "closed"),
        ("c", "2026-01-31", 35, 300.0, "open"),
        ("c", "2026-02-28", 66, 300.0, "charged_off"),
        ("d", "2026-02-28", 0, 0.0, "open"),  # new in February, and not seen again
    ],
    columns=["account_id", "as_of", "days_past_due", "amount_past_due", "status"],
).assign(as_of=lambda t: pd.to_datetime(t["as_of"]))
PAYMENTS = pd.DataFrame(
    [("b", "2026-02-03", 50.0), ("b", "2026-02-20", 0.25), ("c", "2026-02-10", 30.0), ("a", "2026-03-30", 5.0),
     ("a", "2026-02-11", 70.0), ("c", "2026-03-05", 99.0)],
    columns=["account_id", "paid_on", "amount"],
).assign(paid_on=lambda t: pd.to_datetime(t["paid_on"]))  # fmt: skip


def book(snapshots=SNAPSHOTS, payments=PAYMENTS):
    accounts = pd.DataFrame({"account_id": sorted(set(snapshots["account_id"]))})
    tables = {"accounts": accounts, "snapshots": snapshots}
    return cl.open_book(tables if payments is None else tables | {"payments": payments}, name="hand-made")


def test_stock_flows_amounts_and_payments_by_hand():
    counted = history(book(), buckets=BUCKETS)
    # states: current, 1–29, 30+, charged_off, settled, sold, closed, not seen
    assert counted.stock.tolist() == [[1, 1, 1], [2, 1, 0], [0, 0, 1]]
    assert counted.moves[0].tolist() == [
        [0, 1, 0, 0, 0, 0, 0, 0],
        [1, 0, 0, 0, 0, 0, 0, 0],
        [0, 0, 0, 1, 0, 0, 0, 0],
    ]
    assert counted.moves[1].tolist() == [
        [0, 0, 0, 0, 0, 0, 1, 1],
        [0, 0, 1, 0, 0, 0, 0, 0],
        [0, 0, 0, 0, 0, 0, 0, 0],
    ]
    assert counted.due.tolist() == [[0, 5_000, 30_000], [0, 10_000, 0], [0, 0, 21_050]]
    assert counted.due_moved[0, 0].tolist() == [0, 10_000, 0, 0, 0, 0, 0, 0]
    # What was paid in February by accounts as they stood in January; after charge-off nothing counts.
    assert counted.paid.tolist() == [[7_000, 5_025, 3_000], [0, 500, 0], [0, 0, 0]]


def test_the_series_says_what_happened():
    series = history(book(), buckets=BUCKETS).series().set_index("month")
    assert series.loc["2026-01", "past_due"] == pytest.approx(2 / 3)
    assert series.loc["2026-01", "past_due_30"] == pytest.approx(1 / 3)
    assert series.loc["2026-03", "amount_overdue"] == 210.5
    assert series["recovered"].tolist()[1:] == [80.25, 5.0]
    assert series["charged_off"].tolist()[1:] == [1, 0]
    assert series[["recovered", "charged_off"]].iloc[0].isna().all()


def test_months_missing_are_no_steps():
    late = SNAPSHOTS.assign(
        as_of=SNAPSHOTS["as_of"].replace(pd.Timestamp("2026-03-31"), pd.Timestamp("2026-05-31"))
    )
    counted = history(late, buckets=BUCKETS)
    assert counted.steps.tolist() == [0]
    assert counted.gaps == ["2026-03", "2026-04"]
    assert counted.moves[1].sum() == 0


def test_months_after_the_last_payment_are_not_known_rather_than_nothing():
    counted = history(book(payments=PAYMENTS[PAYMENTS["paid_on"] < "2026-03-01"]), buckets=BUCKETS)
    assert counted.series()["recovered"].tolist()[1] == 80.25
    assert np.isnan(counted.series()["recovered"].iloc[2])


def test_a_book_without_payments_or_amounts_has_none():
    counted = history(SNAPSHOTS.drop(columns=["amount_past_due", "status"]), buckets=BUCKETS)
    assert counted.due is None and counted.paid is None
    assert list(counted.series()) == ["month", "past_due", "past_due_30", "charged_off"]
    assert history(book(payments=None)).paid is None


def test_any_frame_gives_the_same_counts():
    other = history(pl.from_pandas(SNAPSHOTS), buckets=BUCKETS)
    assert (other.moves == history(SNAPSHOTS, buckets=BUCKETS).moves).all()
    shuffled = history(SNAPSHOTS.sample(frac=1, random_state=1), buckets=BUCKETS)
    assert (other.due_moved == shuffled.due_moved).all()


def test_cutting_the_history_is_cutting_the_book():
    whole = cl.open_book(
        simulate(accounts=120, months=9, problems=(), truth_accounts=0).book_tables, name="bank"
    )
    counted = history(whole)
    cut, again = counted.until(5), history(whole.until("2026-07-31"))
    for name in ("months", "stock", "moves", "due", "due_moved", "paid"):
        assert np.array_equal(getattr(cut, name), getattr(again, name)), name


def test_bad_input_says_what_is_allowed():
    with pytest.raises(FrameError, match="at least one lower bound above 0"):
        history(SNAPSHOTS, buckets=(0,))
    with pytest.raises(FrameError, match="days_past_due"):
        history(SNAPSHOTS.drop(columns="days_past_due"))
    with pytest.raises(FrameError, match="Allowed: numbers"):
        history(SNAPSHOTS.assign(days_past_due="many"))
