"""The portfolio: small tables in, the answer out."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pandas as pd
import polars as pl
import pytest

from collectlab.book.open import open_book
from collectlab.core.errors import FrameError, NotAvailable
from collectlab.measures import portfolio

MONTH_ENDS = [d.date() for d in pd.date_range("2024-01-31", periods=24, freq="ME")]


def month(rows: list[tuple], date: dt.date = MONTH_ENDS[0]) -> pd.DataFrame:
    """(account_id, days_past_due, balance, amount_past_due, status) on one date."""
    table = pd.DataFrame(
        rows, columns=["account_id", "days_past_due", "balance", "amount_past_due", "status"]
    )
    table.insert(1, "as_of", date)
    return table


def series(rates: list[float | None], accounts: int = 200) -> pd.DataFrame:
    """A book whose share past due follows ``rates`` month by month (None: no such month)."""
    parts = []
    for date, rate in zip(MONTH_ENDS, rates):
        if rate is not None:
            dpd = np.where(np.arange(accounts) < round(rate * accounts), 10, 0)
            ids = [f"a{(i * 7) % accounts}" for i in range(accounts)]
            parts.append(pd.DataFrame({"account_id": ids, "as_of": date, "days_past_due": dpd}))
    return pd.concat(parts, ignore_index=True)


BOOK = month(
    [
        ("a", 0, 1000.0, 0.0, "open"),
        ("b", 12, 500.0, 50.0, "open"),
        ("c", 12, 100.0, 30.0, "open"),
        ("d", 45, 300.0, 120.0, "open"),
        ("e", 200, 100.0, 100.0, "charged_off"),
    ]
)


# -------------------------------------------------------------------------------------- rate and trend


def test_rate_counts_and_weighs_open_accounts_only():
    table = portfolio.delinquency_rate(BOOK).table
    assert table[["accounts", "overdue", "estimate"]].values.tolist() == [[4, 3, 0.75]]
    assert table["as_of"].tolist() == [MONTH_ENDS[0]]
    assert portfolio.delinquency_rate(BOOK, over=30).table["estimate"].tolist() == [0.25]
    weighed = portfolio.delinquency_rate(BOOK, weight="balance").table.iloc[0]
    assert weighed["estimate"] == pytest.approx(900 / 1900)
    assert (weighed["amount"], weighed["amount_overdue"]) == (1900.0, 900.0)


def test_rate_by_group_with_missing_values_and_the_account_columns_of_a_book():
    accounts = pd.DataFrame({"account_id": list("abcde"), "region": ["N", "N", None, "S", "S"]})
    book = open_book({"accounts": accounts, "snapshots": BOOK}, name="small")
    table = portfolio.delinquency_rate(book, by="region").table
    assert table[["region", "accounts", "estimate"]].values.tolist() == [
        ["N", 2, 0.5],
        ["S", 1, 1.0],
        ["(missing)", 1, 1.0],
    ]
    with pytest.raises(NotAvailable, match="planet"):
        portfolio.delinquency_rate(book, by="planet")


def test_polars_gives_the_same():
    for function in (
        lambda f: portfolio.delinquency_rate(f, weight="balance", by="status"),
        portfolio.overdue_by_bucket,
        lambda f: portfolio.concentration(f, "status"),
        portfolio.largest_accounts,
        portfolio.how_long,
    ):
        one, other = function(BOOK), function(pl.from_pandas(BOOK).lazy())
        pd.testing.assert_frame_equal(one.table, other.table)


def test_none_and_all_past_due_have_intervals():
    none = portfolio.delinquency_rate(BOOK.assign(days_past_due=0)).table.iloc[0]
    assert none["estimate"] == 0 and none["conf_low"] == 0 and 0 < none["conf_high"] < 1
    everyone = portfolio.delinquency_rate(BOOK.assign(days_past_due=9)).table.iloc[0]
    assert everyone["estimate"] == 1 and everyone["conf_high"] == 1 and 0 < everyone["conf_low"] < 1


def test_a_doubled_rate_is_rising_and_a_halved_one_is_falling():
    wave = [0.20, 0.21, 0.20, 0.19, 0.20, 0.21]
    up = portfolio.delinquency_trend(series([*wave, 0.24, 0.27, 0.30, 0.34, 0.37, 0.40])).table.iloc[0]
    assert up["trend"] == "rising" and up["level"] == 0.40 and up["level_before"] == 0.21
    assert up["estimate"] == pytest.approx(0.40 / 0.21 - 1)
    assert up["conf_low"] < up["estimate"] < up["conf_high"]
    down = portfolio.delinquency_trend(series([*wave, 0.18, 0.16, 0.14, 0.13, 0.11, 0.10])).table.iloc[0]
    assert down["trend"] == "falling"


def test_a_wobbling_rate_cannot_be_told():
    rates = [0.20, 0.30, 0.18, 0.27, 0.22, 0.31, 0.19, 0.28, 0.20, 0.26, 0.19, 0.29]
    assert portfolio.delinquency_trend(series(rates)).table["trend"].tolist() == ["cannot tell"]


@pytest.mark.parametrize(
    "rates",
    [
        [0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.4],  # seven months
        [0.1] * 8 + [None] + [0.4],  # a month missing
        [0.1] * 11 + [0.0],  # a rate of zero
        [0.1],
    ],
)
def test_too_little_to_tell(rates):
    result = portfolio.delinquency_trend(series(rates))
    row = result.table.iloc[0]
    assert row["trend"] == "cannot tell" and np.isnan(row["conf_low"])
    assert any("Cannot tell" in note for note in result.notes)
    result.plot()


def test_long_run_variance_by_hand():
    # n = 8 steps: ⌊4 · 0.08^(2/9)⌋ = 2 lags, weights 2/3 and 1/3.
    steps = np.array([1.0, -1, 1, -1, 1, -1, 1, -1])
    by_hand = (8 + 2 * (2 / 3 * -7 + 1 / 3 * 6)) / 7
    assert portfolio.long_run_variance(steps) == pytest.approx(by_hand)


# ------------------------------------------------------------------------------------------- the book


def test_by_bucket():
    table = portfolio.overdue_by_bucket(BOOK, buckets=(0, 1, 30, 90)).table
    assert table["days_past_due"].tolist() == ["current", "1–29", "30–89", "90+"]
    assert table["days_past_due_from"].tolist() == [0, 1, 30, 90]
    assert table["accounts"].tolist() == [1, 2, 1, 0]
    assert table["balance"].tolist() == [1000.0, 600.0, 300.0, 0.0]
    assert table["amount_past_due"].tolist() == [0.0, 80.0, 120.0, 0.0]
    assert table["share_of_overdue"].tolist() == [0.0, 0.4, 0.6, 0.0]
    assert table["median_days"].tolist()[:3] == [0.0, 12.0, 45.0] and np.isnan(table["median_days"][3])


def test_by_bucket_takes_the_month_asked_for_and_says_when_there_is_none():
    later = BOOK.assign(as_of=MONTH_ENDS[1], days_past_due=5)
    both = pd.concat([BOOK, later])
    assert portfolio.overdue_by_bucket(both).table["accounts"].tolist()[:2] == [0, 4]
    assert portfolio.overdue_by_bucket(both, as_of="2024-01-31").table["accounts"].tolist()[:3] == [1, 2, 1]
    with pytest.raises(NotAvailable, match="2024-03"):
        portfolio.overdue_by_bucket(both, as_of="2024-03-31")
    with pytest.raises(NotAvailable):
        portfolio.overdue_by_bucket(both, as_of="2020-01-31")


def test_by_bucket_without_money():
    result = portfolio.overdue_by_bucket(BOOK.drop(columns=["balance", "amount_past_due"]))
    assert "balance" not in result.table and result.table["accounts"].sum() == 4
    result.plot()


def test_concentration_by_hand():
    snapshots = BOOK.assign(region=["N", "N", "S", "S", "S"])
    result = portfolio.concentration(snapshots, "region")
    table = result.table.set_index("region")
    # Overdue: N 50, S 150 of 200. Balance: N 1500, S 400 of 1900.
    assert table.index.tolist() == ["S", "N"]
    assert table["share_of_overdue"].tolist() == [0.75, 0.25]
    assert table.loc["S", "estimate"] == pytest.approx(0.75 / (400 / 1900))
    assert "overdue 0.625" in result.notes[0]
    assert result.table["overdue"].sum() == 200.0


def test_concentration_without_amounts_uses_what_there_is():
    snapshots = BOOK.assign(region=["N", "N", "S", "S", "S"])
    balance = portfolio.concentration(snapshots.drop(columns="amount_past_due"), "region").table
    assert balance.set_index("region")["overdue"].to_dict() == {"N": 500.0, "S": 400.0}
    counts = portfolio.concentration(snapshots.drop(columns=["amount_past_due", "balance"]), "region").table
    assert counts.set_index("region")["overdue"].to_dict() == {"N": 1.0, "S": 2.0}
    no_balance = portfolio.concentration(snapshots.drop(columns="balance"), "region").table
    assert no_balance["share_of_base"].tolist() == [0.5, 0.5]
    assert no_balance["share_of_overdue"].tolist() == [0.75, 0.25]


def test_concentration_of_nothing_overdue_is_refused():
    with pytest.raises(NotAvailable, match="past due"):
        portfolio.concentration(BOOK.assign(region="N", days_past_due=0), "region")
    with pytest.raises(FrameError, match="by is empty"):
        portfolio.concentration(BOOK, [])


def test_largest_accounts_and_their_share():
    result = portfolio.largest_accounts(BOOK, n=2)
    assert result.table["account_id"].tolist() == ["d", "b"]
    assert result.table["cumulative_share"].tolist() == [0.6, 0.85]
    assert "2 of 3 overdue accounts hold 85.0 %" in result.notes[0]
    tied = BOOK.assign(amount_past_due=7.0)
    assert portfolio.largest_accounts(tied, n=5).table["account_id"].tolist() == ["b", "c", "d"]
    nasty = portfolio.largest_accounts(BOOK.assign(account_id=[f"<script>{i}" for i in range(5)]))
    assert "<script>" not in nasty._repr_html_()
    with pytest.raises(NotAvailable):
        portfolio.largest_accounts(BOOK.drop(columns=["amount_past_due", "balance"]))


def test_how_long_by_hand():
    rows = [(f"a{i}", days, 1.0, 1.0, "open") for i, days in enumerate([1, 2, 3, 4, 5, 6, 7, 8, 9, 100])]
    row = portfolio.how_long(month(rows)).table.iloc[0]
    assert (row["lower_quartile"], row["estimate"], row["upper_quartile"], row["nine_in_ten_within"]) == (
        3,
        5,
        8,
        9,
    )
    # Order statistics of 10: the 2nd and the 9th cover the median with 97.9 %.
    assert (row["conf_low"], row["conf_high"], row["longest"]) == (2, 9, 100)


def test_results_can_be_shown_and_drawn():
    snapshots = BOOK.assign(region=["N", "N", "S", "S", "S"])
    for result in (
        portfolio.delinquency_rate(snapshots, by="region"),
        portfolio.delinquency_trend(series([0.1, 0.2] * 5)),
        portfolio.overdue_by_bucket(snapshots),
        portfolio.concentration(snapshots, "region"),
        portfolio.how_long(snapshots, by="region"),
    ):
        assert "cl-table" in result._repr_html_() and result._repr_markdown_()
        assert result.plot().get_title(loc="left")


def test_bad_options_are_named():
    with pytest.raises(FrameError, match="over"):
        portfolio.delinquency_rate(BOOK, over=0)
    with pytest.raises(FrameError, match="months"):
        portfolio.delinquency_trend(BOOK, months=0)
    with pytest.raises(FrameError, match="n is 0"):
        portfolio.largest_accounts(BOOK, n=0)
    with pytest.raises(FrameError, match="holds no values"):
        portfolio.delinquency_rate(BOOK.head(0))
    with pytest.raises(NotAvailable):
        portfolio.delinquency_rate(BOOK.assign(status="sold"))
    with pytest.raises(FrameError, match="dates"):
        portfolio.delinquency_rate(BOOK.assign(as_of="2024-01-31"))


# ------------------------------------------------------------------------------------------ new loans


def loans(**of) -> dict[str, pd.DataFrame]:
    """name → (date of origination, days past due at the month ends after it)."""
    accounts = pd.DataFrame({"account_id": list(of), "originated_on": [v[0] for v in of.values()]})
    rows = [
        (name, date, dpd)
        for name, (origin, history) in of.items()
        for date, dpd in zip([d for d in MONTH_ENDS if d > origin], history)
    ]
    return {
        "accounts": accounts,
        "snapshots": pd.DataFrame(rows, columns=["account_id", "as_of", "days_past_due"]),
    }


def test_new_loans_gone_bad_within_six_months():
    old, q1, q3 = dt.date(2023, 5, 1), dt.date(2024, 1, 10), dt.date(2025, 9, 10)
    tables = loans(
        seasoned=(old, [90] * 24),
        good=(q1, [0] * 24),
        bad=(q1, [0, 5, 35] + [0] * 21),
        late_bad=(q1, [0] * 8 + [40] * 16),  # bad, but in its ninth month
        just_short=(q1, [29] * 24),
        young=(q3, [0, 45, 70, 90]),
    )
    table = portfolio.new_loan_bad_rate(open_book(tables, name="loans")).table
    assert table["cohort"].tolist() == ["2024 Q1", "2025 Q3"]
    assert table["loans"].tolist() == [4, 1]
    assert table["cohort_status"].tolist() == ["mature", "not yet mature"]
    assert table["estimate"][0] == 0.25 and table["bad"][0] == 1
    # Wilson (1927) for 1 of 4.
    assert (table["conf_low"][0], table["conf_high"][0]) == pytest.approx((0.0456, 0.6994), abs=1e-4)
    assert table.loc[1, ["estimate", "bad", "conf_low", "conf_high"]].isna().all()


def test_a_cohort_matures_on_the_day_its_last_loan_has_been_watched():
    q1 = dt.date(2024, 1, 10)
    tables = loans(a=(q1, [0] * 24), b=(dt.date(2025, 6, 30), [0] * 6))
    result = portfolio.new_loan_bad_rate(open_book(tables, name="loans"))
    # 30 June 2025 and six months: 30 December; the book ends on 31 December 2025.
    assert result.table["cohort_status"].tolist() == ["mature", "mature"]
    shorter = open_book(tables, name="loans").until("2025-12-29")
    assert portfolio.new_loan_bad_rate(shorter).table["cohort_status"].tolist() == [
        "mature",
        "not yet mature",
    ]


def test_loans_that_vanish_are_counted_in_a_note():
    q1 = dt.date(2024, 1, 10)
    tables = loans(a=(q1, [0] * 24), gone=(q1, [0, 5]))
    result = portfolio.new_loan_bad_rate(open_book(tables, name="loans"))
    assert any("1 loans of mature cohorts left" in note for note in result.notes)
    result.plot()


def test_no_new_loans_is_said():
    tables = loans(a=(dt.date(2023, 5, 1), [0] * 24))
    with pytest.raises(NotAvailable, match="originated"):
        portfolio.new_loan_bad_rate(open_book(tables, name="loans"))
    tables["accounts"] = tables["accounts"].drop(columns="originated_on")
    with pytest.raises(NotAvailable, match="originated_on"):
        portfolio.new_loan_bad_rate(open_book(tables, name="loans"))
    with pytest.raises(FrameError, match="book"):
        portfolio.new_loan_bad_rate(BOOK)
