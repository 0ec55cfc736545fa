"""Vintage curves: small books in, curves out; nothing is shown of what was not yet watched."""

from __future__ import annotations

import numpy as np
import pandas as pd
import polars as pl
import pytest

from collectlab.core.errors import FrameError, NotAvailable
from collectlab.measures.roll_rates import vintage

ENDS = pd.date_range("2024-01-31", periods=12, freq="ME")


def book(**loans) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Each loan: (month of origination, month first seen, days past due or (days, status) from then on)."""
    accounts, rows = [], []
    for account, (born, first, path) in loans.items():
        opened = ENDS[0] + pd.DateOffset(months=born)
        accounts.append((account, opened.replace(day=5), 100.0 if account.startswith("small") else 300.0))
        for date, value in zip(ENDS[first:], path):
            dpd, status = value if isinstance(value, tuple) else (value, "open")
            rows.append((account, date, dpd, status))
    return (
        pd.DataFrame(rows, columns=["account_id", "as_of", "days_past_due", "status"]),
        pd.DataFrame(accounts, columns=["account_id", "originated_on", "principal"]),
    )


def curve(result, name) -> list[float]:
    return result.table.query("vintage == @name")["estimate"].tolist()


def test_a_curve_is_the_share_ever_bad():
    snapshots, accounts = book(
        small=(0, 0, [0, 10, 40, 0, 0, 0]), cured_and_bad_again=(0, 0, [0, 0, 0, 35, 0, 50]), good=(0, 0, [0] * 6),
        also=(0, 0, [0, 0, 0, 0, 0, 0]),
    )  # fmt: skip
    result = vintage(snapshots, accounts, over=30)
    assert curve(result, "2024 Q1") == [0, 0, 0.25, 0.5, 0.5, 0.5]
    assert result.table["events"].tolist() == [0, 0, 1, 1, 0, 0]
    by_money = vintage(snapshots, accounts, over=30, weight="principal")
    assert curve(by_money, "2024 Q1") == pytest.approx([0, 0, 0.1, 0.4, 0.4, 0.4])


def test_a_curve_ends_where_the_youngest_of_its_vintage_is_watched():
    snapshots, accounts = book(old=(0, 0, [0] * 12), young=(2, 2, [0] * 10), next_quarter=(3, 3, [0] * 9))
    result = vintage(snapshots, accounts)
    assert result.table.groupby("vintage")["month"].max().to_dict() == {"2024 Q1": 9, "2024 Q2": 8}
    assert vintage(snapshots, accounts, cohort="month").table.groupby("vintage")["month"].max().tolist() == [
        11,
        9,
        8,
    ]
    with pytest.raises(FrameError, match="at month 9 on book these vintages are not mature: 2024 Q2"):
        result.at(9)
    assert result.at(9, mature_only=True)["vintage"].tolist() == ["2024 Q1"]
    with pytest.raises(FrameError, match="not mature"):
        result.at(10, mature_only=True)
    assert result.at(8)["vintage"].tolist() == ["2024 Q1", "2024 Q2"]
    assert len(result.plot().get_lines()) == 4


def test_closed_loans_stay_in_the_share_and_lost_ones_do_not():
    closed = [0, 0, (0, "closed")]
    snapshots, accounts = book(a=(0, 0, closed), b=(0, 0, [0, 0, 0, 0, 40, 40]))
    assert curve(vintage(snapshots, accounts), "2024 Q1")[-1] == 0.5
    snapshots, accounts = book(a=(0, 0, [0, 0]), b=(0, 0, [0, 0, 0, 0, 40, 40]))
    assert curve(vintage(snapshots, accounts), "2024 Q1")[-1] == 1.0


def test_late_entry_counts_from_then_on():
    snapshots, accounts = book(
        early=(0, 0, [0, 0, 0, 0, 0, 40]), late=(0, 3, [0, 0, 0]), late_and_bad=(0, 3, [40, 40, 40]),
        earlier=(-12, 0, [0] * 6),
    )  # fmt: skip
    result = vintage(snapshots, accounts)
    assert result.table["at_risk"].tolist() == [1, 1, 1, 1, 2, 2]
    assert curve(result, "2024 Q1")[-1] == 0.5
    notes = " ".join(result.notes)
    assert "1 accounts were bad already when first seen" in notes
    assert "1 accounts were first seen more than a month after" in notes
    assert "1 vintages (1 accounts) are left out" in notes


def test_a_charge_off_is_bad_whatever_the_days():
    snapshots, accounts = book(a=(0, 0, [0, 5, (20, "charged_off")]), b=(0, 0, [0, 0, 0]))
    assert curve(vintage(snapshots, accounts, over=90), "2024 Q1") == [0, 0, 0.5]


def test_any_column_is_a_cohort_and_polars_gives_the_same():
    rng = np.random.default_rng(2)
    snapshots, accounts = book(
        **{f"a{i}": (int(rng.integers(0, 4)), 0, rng.choice([0, 0, 0, 40], 12).tolist()) for i in range(40)}
    )
    accounts["the branch"] = ["S10" if i % 2 else "S2" for i in range(40)]
    snapshots = snapshots.merge(accounts[["account_id", "originated_on"]]).query("as_of >= originated_on")
    snapshots = snapshots.drop(columns="originated_on")
    one = vintage(snapshots, accounts, cohort="the branch")
    other = vintage(pl.from_pandas(snapshots).lazy(), pl.from_pandas(accounts), cohort="the branch")
    pd.testing.assert_frame_equal(one.table, other.table)
    assert one.table["vintage"].drop_duplicates().tolist() == ["S2", "S10"]
    inside = one.table.query("estimate > 0 and estimate < 1")
    assert (inside["conf_low"] < inside["estimate"]).all() and (
        inside["estimate"] < inside["conf_high"]
    ).all()


def test_bad_input_is_named():
    snapshots, accounts = book(a=(0, 0, [0, 10]))
    with pytest.raises(FrameError, match="needs the accounts"):
        vintage(snapshots)
    with pytest.raises(NotAvailable, match="no originated_on"):
        vintage(snapshots, accounts.drop(columns="originated_on"))
    with pytest.raises(FrameError, match="Allowed: dates"):
        vintage(snapshots, accounts.assign(originated_on=3))
    with pytest.raises(FrameError, match="no column 'weekday'"):
        vintage(snapshots, accounts, cohort="weekday")
    with pytest.raises(FrameError, match="Allowed: numbers"):
        vintage(snapshots, accounts.assign(principal="much"), weight="principal")
    with pytest.raises(FrameError, match="over is 0"):
        vintage(snapshots, accounts, over=0)
    with pytest.raises(NotAvailable, match="in the book from its start"):
        vintage(snapshots, accounts.assign(originated_on=pd.Timestamp("2020-01-01")))
    many, loans = book(**{f"a{i}": (0, 0, [0]) for i in range(1_100)})
    with pytest.raises(FrameError, match="Allowed: up to 1,000"):
        vintage(many, loans, cohort="account_id")
