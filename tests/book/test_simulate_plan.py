"""A bank run with a plan: the same luck under each, what is counted, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import numpy as np
import pandas as pd
import pytest

from collectlab.book.simulate import _chunks, simulate
from collectlab.book.simulate_bank import Settings
from collectlab.book.simulate_plan import SUMS, lived, warm_up
from collectlab.core.errors import BookError

START = date(2026, 4, 30)
SETTINGS = Settings(
    seed=3, accounts=1_000, months=12, end=date(2026, 10, 31), problems=(), hidden_confounding=0.0
)


@pytest.fixture(scope="module")
def warm():
    return warm_up(SETTINGS, START)


@pytest.fixture(scope="module")
def as_it_is(warm):
    return lived(warm, None, months=4)


@pytest.fixture(scope="module")
def months(warm):
    return lived(warm, None, months=4, monthly=True)


def everyone(name):
    return lambda frame: [name] * len(frame)


def test_naming_the_strategy_in_force_changes_nothing(warm, as_it_is):
    again = lived(warm, lambda frame: frame["strategy"], months=4)
    pd.testing.assert_frame_equal(again, as_it_is)


def test_starting_from_the_settings_is_starting_from_the_warmed_up_bank(as_it_is):
    straight = lived(SETTINGS, None, start=START, months=4)
    pd.testing.assert_frame_equal(straight, as_it_is)


def test_accounts_do_not_depend_on_how_many_there_are_nor_on_the_chunks(warm, as_it_is, monkeypatch):
    monkeypatch.setattr("collectlab.book.simulate_plan.CHUNK", 500)
    again = lived(SETTINGS, None, start=START, months=4)
    pd.testing.assert_frame_equal(again, as_it_is, check_dtype=False)
    half = lived(SETTINGS, None, start=START, months=4, accounts=range(600, 1_000))
    rest = as_it_is[as_it_is["account_id"] > "L0000600"].reset_index(drop=True)
    pd.testing.assert_frame_equal(half, rest, check_dtype=False)


def test_what_is_counted_is_what_the_book_of_the_same_bank_holds(months):
    """Every month's figures recounted from the tables of the simulated book."""
    tables = next(_chunks(SETTINGS, "month_end"))
    book = {name: table.to_pandas(date_as_object=False) for name, table in tables.items()}
    seen = book["snapshots"].rename(columns={"as_of": "on"})
    joined = months.merge(seen, on=["account_id", "on"], suffixes=("", "_book"), how="left")
    for column in ("days_past_due", "amount_past_due", "balance"):
        assert np.allclose(joined[column], joined[f"{column}_book"]), column

    whole = months[months["exit"].isna()].copy()
    assert len(whole) > 40
    whole["until"] = whole["on"] + pd.offsets.MonthEnd(1)
    for table, day, column, amount in (
        ("payments", "paid_on", "received", "amount"),
        ("actions", "at", "cost", "cost"),
        ("complaints", "at", "complaints", None),
        ("legal_cases", "filed_on", "legal", None),
    ):
        events = whole[["account_id", "on", "until"]].merge(book[table], on="account_id")
        when = events[day].dt.normalize()
        events = events[(when > events["on"]) & (when <= events["until"])]
        events["value"] = events[amount] if amount else 1.0
        counted = events.groupby(["account_id", "on"])["value"].sum()
        mine = whole.set_index(["account_id", "on"])[column]
        if table == "actions":  # cases filed in court cost as well
            mine = mine[(whole["legal"] == 0).to_numpy()]
        assert np.allclose(mine, counted.reindex(mine.index).fillna(0.0)), column

    actions = book["actions"]
    spoken = actions[(actions["connected"] == True) & (actions["party"] == "debtor")]  # noqa: E712
    spoken = months[["account_id", "on"]].merge(spoken, on="account_id")
    age = (spoken["on"] - spoken["at"].dt.normalize()).dt.days
    lately = spoken[(age >= 0) & (age < 90)].groupby(["account_id", "on"]).size()
    reached = pd.Series(list(zip(months["account_id"], months["on"]))).isin(list(lately.index))
    assert (reached.to_numpy() == months["reached"].to_numpy()).all() and reached.any()


def test_the_months_add_up_to_the_accounts(as_it_is, months):
    totals = months.groupby("account_id")[list(SUMS)].sum()
    assert np.allclose(totals, as_it_is.set_index("account_id")[list(SUMS)])
    assert (months.groupby("account_id").size().to_numpy() == as_it_is["months"]).all()
    assert months["month"].between(0, 3).all()
    one = months.groupby("account_id")["exit"].agg(lambda ends: ends.notna().sum())
    assert one.max() == 1 and as_it_is["exit"].notna().mean() > 0.7
    # Someone still past due at the end was followed for all the months there are.
    assert (as_it_is.loc[as_it_is["exit"].isna(), "months"] == 4).all()


def test_each_strategy_does_what_it_says_and_starts_from_the_same_accounts(warm, as_it_is):
    lives = {name: lived(warm, everyone(name), months=4) for name in ("standard", "intensive", "challenger")}
    for name, rows in lives.items():
        assert set(rows["strategy"]) == {name}
        # Same luck: who is placed at the first month's end does not depend on the plan.
        first = as_it_is["on"] == pd.Timestamp(START)
        mine = rows["on"] == pd.Timestamp(START)
        assert list(rows.loc[mine, "account_id"]) == list(as_it_is.loc[first, "account_id"])
    mean = {name: rows.mean(numeric_only=True) for name, rows in lives.items()}
    assert mean["intensive"]["visits"] > 2 * mean["standard"]["visits"]
    assert mean["challenger"]["calls"] > 2 * mean["standard"]["calls"]
    assert mean["challenger"]["months"] < mean["standard"]["months"]


def test_choose_sees_what_is_known_and_its_own_luck(warm):
    frames = []

    def look(frame):
        frames.append(frame)
        return np.where(frame["luck"] < 0.5, "standard", "intensive")

    rows = lived(warm, look, months=4)
    assert set(rows["strategy"]) == {"standard", "intensive"}
    assert 0.3 < (rows["strategy"] == "standard").mean() < 0.7
    seen = pd.concat(frames)
    assert (seen["days_past_due"] > 0).all() and (seen["amount_past_due"] > 0).all()
    assert seen["on"].min() == pd.Timestamp(START) and seen["on"].max() == pd.Timestamp("2026-10-31")
    assert "exit" not in seen and "paid" not in seen


def test_a_run_can_end_before_the_window(warm, as_it_is):
    early = lived(warm, None, months=2, until=date(2026, 7, 31))
    whole = lived(warm, None, months=2)
    same = whole[whole["on"] <= "2026-05-31"].reset_index(drop=True)
    pd.testing.assert_frame_equal(early, same, check_dtype=False)
    with pytest.raises(BookError, match="ends on 2026-07-31"):
        lived(warm, None, months=4, until=date(2026, 7, 31))


def test_what_cannot_be_run_says_why(warm):
    with pytest.raises(BookError, match="simulate a longer window"):
        lived(warm, None, months=7)
    with pytest.raises(BookError, match="unknown strategies: gentle"):
        lived(warm, everyone("gentle"), months=4)
    with pytest.raises(BookError, match="one strategy for each"):
        lived(warm, lambda frame: ["standard"], months=4)
    with pytest.raises(BookError, match="last day of a month"):
        warm_up(SETTINGS, date(2026, 4, 29))
    with pytest.raises(BookError, match="at least 92 days"):
        warm_up(SETTINGS, date(2025, 11, 30))
    with pytest.raises(BookError, match="start is missing"):
        lived(SETTINGS, None)
    with pytest.raises(BookError, match="leave them out"):
        lived(warm, None, start=date(2026, 5, 31))
    with pytest.raises(BookError, match="even number"):
        warm_up(SETTINGS, START, range(3, 10))


def test_the_analysts_book_is_the_longer_one_cut(warm):
    """The accounts depend on the window, which is why the longer window is simulated once and then cut."""
    shorter = replace(SETTINGS, months=6, end=START)
    one = simulate(50, months=6, end=START, seed=3, problems=(), truth_accounts=0)
    other = simulate(50, months=12, end=SETTINGS.end, seed=3, problems=(), truth_accounts=0)
    assert one.settings.window_start == other.settings.window_start == shorter.window_start
    assert not one.book_tables["accounts"].equals(other.book_tables["accounts"])
