"""Panels of branches and months from a cohort, days of payment, and a whole bank from end to end."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pandas as pd
import pytest

from collectlab.book.open import open_book
from collectlab.book.simulate import change_schedule, simulate
from collectlab.core.errors import FrameError, NotAvailable
from collectlab.effects.cohort import cohort
from collectlab.effects.differences import differences
from collectlab.effects.policy_panel import branch_months, never_drawn, payment_days, series_months
from collectlab.effects.series import interrupted_series
from collectlab.effects.stage_jump import stage_jump


def rows(**columns) -> pd.DataFrame:
    """Two branches, three months; the last month's episodes are not followed for 60 days."""
    frame = pd.DataFrame(
        [
            ("A", "2026-01-05", 120, 1),
            ("A", "2026-01-31", 95, 0),
            ("B", "2026-01-09", 110, 1),
            ("A", "2026-02-10", 80, 0),
            ("B", "2026-02-11", 75, 1),
            ("B", "2026-02-28", 60, 0),
            ("A", "2026-03-02", 61, 1),
            ("B", "2026-03-20", 40, None),
        ],
        columns=["branch", "started_on", "followed", "cured_within_60"],
    )
    return frame.assign(started_on=pd.to_datetime(frame["started_on"]), **columns)


def test_months_by_branch_by_hand():
    table = branch_months(rows())
    assert table["branch"].tolist() == ["A", "A", "B", "B"], "March is not mature in B, so in no branch"
    assert table["cured_within_60"].tolist() == [0.5, 0.0, 1.0, 0.5]
    assert table["episodes"].tolist() == [2, 1, 1, 2]
    bank = series_months(rows())
    assert bank["cured_within_60"].tolist() == pytest.approx([2 / 3, 1 / 3])
    assert bank["month"].dt.strftime("%Y-%m").tolist() == ["2026-01", "2026-02"]


def test_a_month_with_the_change_inside_it_is_left_out():
    table = branch_months(rows(), since={"A": "2026-01-15", "B": None})
    assert table.loc[table["branch"] == "A", "month"].dt.month.tolist() == [2]
    assert table.loc[table["branch"] == "A", "treated_from"].tolist() == [pd.Timestamp("2026-02-01")]
    assert table.loc[table["branch"] == "B", "treated_from"].isna().all()
    december = branch_months(rows(), since={"A": dt.date(2026, 12, 2), "B": None})
    assert december["treated_from"].dropna().unique().tolist() == [pd.Timestamp("2027-01-01")]


def test_money_and_small_cells():
    paid = [0.1, 0.2, 5, 0, 0, 0, 0, None]
    frame = rows(amount=paid).assign(followed=120)
    table = branch_months(frame, outcome="amount", within=90, fewest=2)
    assert table[["branch", "episodes"]].values.tolist() == [["A", 2], ["B", 2]]
    assert table["amount"].tolist() == pytest.approx([0.15, 0.0])


@pytest.mark.parametrize(
    ("frame", "options", "said"),
    [
        (rows(), {"since": {"A": None}}, "does not say about B"),
        (rows(), {"since": {"A": None, "B": None, "C": None}}, "names C"),
        (rows(), {"since": {"A": "soon", "B": None}}, "since.'A'. is 'soon'"),
        (rows(), {"outcome": "cured"}, "Did you mean cured_within_60"),
        (rows(amount=1.0), {"outcome": "amount"}, "within=60"),
        (rows().assign(followed=10), {}, "no month is mature"),
        (rows().assign(cured_within_60=np.nan), {}, "no episode has"),
    ],
)
def test_bad_input_is_refused(frame, options, said):
    with pytest.raises(FrameError, match=said):
        branch_months(frame, **options)


@pytest.fixture(scope="module")
def bank():
    made = simulate(2_500, 30, seed=4, changes=("branch_rollout",), problems=(), truth_accounts=0)
    return made, open_book(made.book_tables)


def test_payments_are_dated_to_the_day(bank):
    _, book = bank
    frame = payment_days(book).collect("pandas").to_native()
    paid = frame[frame["outcome"] == "paid"]
    assert len(paid) > 100 and (paid["exit_day"] > paid["entry_day"]).all()
    assert (frame["exit_day"] >= frame["entry_day"]).all()
    assert not frame.duplicated(["account_id", "episode"]).any()
    result = stage_jump(payment_days(book), days=60, cause="paid", window=20)
    assert result.check("dates_exact").passed
    with pytest.raises(NotAvailable, match="dated to the day"):
        stage_jump(book.episodes(), days=60, window=20)


def test_without_payments_there_are_no_days(bank):
    made, _ = bank
    only = {name: made.book_tables[name] for name in ("accounts", "snapshots")}
    with pytest.raises(NotAvailable, match="no payments"):
        payment_days(open_book(only))


def test_a_bank_from_end_to_end(bank):
    """The pieces fit: cohort, accounts outside the test, panel, and both designs."""
    made, book = bank
    plan = change_schedule(made.settings)
    frame = cohort(book, horizons=(60,), first_only=False)
    outside = never_drawn(book, frame).collect("pandas").to_native()
    assert 0 < len(outside) < len(frame.collect("pandas")) and not outside["randomised"].fillna(False).any()
    panel = branch_months(outside, since=plan.branch_rollout)
    assert panel.groupby("branch").size().min() > 10
    found = differences(
        panel,
        unit="branch",
        time="month",
        outcome="cured_within_60",
        treated_from="treated_from",
        weight="episodes",
    )
    assert (found.table["n_treated"].iloc[0], found.table["n_untreated"].iloc[0]) == (9, 3)
    assert found.unit == "points" and np.isfinite(found.table.iloc[0]["std_error"])
    series = series_months(frame)
    result = interrupted_series(
        series, time="month", outcome="cured_within_60", changed_on=plan.bank_wide, weight="episodes"
    )
    assert result.table["n_untreated"].iloc[0] + result.table["n_treated"].iloc[0] == len(series)
