"""Pressure on those who told of hardship: when it is noted and lapses, whose it is, and the planted team."""

from __future__ import annotations

import pandas as pd
import pytest

from collectlab.book.open import open_book
from collectlab.book.simulate import simulate
from collectlab.core.errors import FrameError, NotAvailable
from collectlab.measures.intensity import hardship_pressure

SNAPSHOTS = pd.DataFrame(
    {"account_id": ["a"] * 2, "as_of": ["2026-02-28", "2026-03-31"], "days_past_due": [1, 32]}
)


def book_of(actions, snapshots=SNAPSHOTS, **more):
    frame = pd.DataFrame(actions, columns=["account_id", "at", "channel", "team", "outcome"])
    return open_book(
        {"accounts": pd.DataFrame({"account_id": ["a"]}), "snapshots": snapshots, "actions": frame, **more}
    )


def call(day, outcome="no_answer", team="T1", channel="call"):
    return ("a", f"{day} 10:00", channel, team, outcome)


def test_counts_from_the_day_after_it_is_told_to_the_day_it_lapses():
    told = [call("2026-03-10", "hardship"), call("2026-03-11"), call("2026-03-17"), call("2026-03-18")]
    row = hardship_pressure(book_of(told), days=7).wide().iloc[0]
    assert (row["contacts"], row["account_weeks"], row["accounts"]) == (2, 1, 1)
    assert row["per_week"] == 2
    assert row["per_week_else"] == pytest.approx(7 * 2 / 24)


def test_a_message_is_no_personal_contact():
    told = [call("2026-03-10", "hardship"), call("2026-03-12", channel="sms")]
    assert hardship_pressure(book_of(told)).wide()["contacts"].tolist() == [0]


def test_a_reason_noted_counts_and_an_unwilling_one_does_not():
    reasons = pd.DataFrame(
        {
            "account_id": ["a", "a"],
            "noted_on": ["2026-03-10", "2026-03-01"],
            "reason": ["illness", "unwilling"],
        }
    )
    book = book_of([call("2026-03-05"), call("2026-03-12")], reasons=reasons)
    assert hardship_pressure(book).wide()["contacts"].tolist() == [1]
    with pytest.raises(NotAvailable, match="hardship"):
        hardship_pressure(book, noted=("told",))


def test_a_forborne_account_counts_all_the_time():
    snapshots = SNAPSHOTS.assign(forborne=[True, True])
    row = hardship_pressure(book_of([call("2026-03-05")], snapshots)).wide().iloc[0]
    assert row["per_week"] == pytest.approx(7 / 31)


def test_an_account_is_its_main_teams():
    told = [call("2026-03-03", "hardship", "T2"), call("2026-03-10"), call("2026-03-12")]
    found = hardship_pressure(book_of(told)).wide()
    assert found[["team", "contacts"]].values.tolist() == [["T1", 2]]


def test_the_team_that_goes_on_calling_stands_out():
    bank = simulate(accounts=3000, months=12, problems=("pressed_hardship",), truth_accounts=0)
    found = hardship_pressure(open_book(bank.book_tables), noted=("told",)).table
    rates = found[found["measure"] == "per_week"].set_index("team")
    calls = rates.loc[[t for t in rates.index if t.startswith("Call team")]]
    assert calls.loc["Call team 1", "conf_low"] > calls.drop("Call team 1")["conf_high"].max()


def test_bad_input():
    book = book_of([call("2026-03-05")])
    with pytest.raises(FrameError, match="days"):
        hardship_pressure(book, days=0)
    with pytest.raises(FrameError, match="noted"):
        hardship_pressure(book, noted=("rumour",))
    with pytest.raises(NotAvailable, match="hardship"):
        hardship_pressure(book)
