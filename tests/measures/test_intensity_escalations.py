"""Escalations against the strategy: the day before and the day of each limit, and the planted late branch."""

from __future__ import annotations

import pandas as pd
import pytest

from collectlab.book.open import open_book
from collectlab.book.simulate import simulate
from collectlab.core.errors import FrameError, NotAvailable
from collectlab.measures.intensity import escalations

PLAN = pd.DataFrame(
    {
        "stage": ["before", "early", "middle", "late"],
        "dpd_from": [None, 1, 30, 60],
        "dpd_to": [0, 29, 59, None],
        "escalate_by": [-3, 7, 40, 95],
        "channels": [("sms",), ("sms", "call"), ("call", "letter"), ("call", "letter", "legal")],
    }
)
# Day 30 falls on 11 March, day 47 on 28 March.
SNAPSHOTS = pd.DataFrame(
    {
        "account_id": ["a"] * 3,
        "as_of": ["2026-01-31", "2026-02-28", "2026-03-31"],
        "days_past_due": [0, 19, 50],
    }
)


def told(*actions, snapshots=SNAPSHOTS, **options):
    frame = pd.DataFrame(actions, columns=["account_id", "at", "channel", "team"])
    book = open_book(
        {
            "accounts": pd.DataFrame({"account_id": ["a"], "branch": ["B1"]}),
            "snapshots": snapshots,
            "actions": frame,
        }
    )
    return escalations(book, PLAN, **options).wide().set_index("stage")


def act(day, channel, team="T"):
    return ("a", f"{day} 10:00", channel, team)


def test_a_letter_on_the_last_day_of_grace_is_in_time_and_the_day_after_is_not():
    in_time, late = (told(act(day, "letter")) for day in ("2026-03-28", "2026-03-29"))
    assert (in_time.loc["middle", "too_late"], late.loc["middle", "too_late"]) == (0, 1)


def test_a_call_is_the_stage_before_and_shows_as_worked_earlier_only():
    row = told(act("2026-03-20", "call")).loc["middle"]
    assert (row["too_late"], row["earlier_only"]) == (1, 1)
    idle = told(act("2026-02-25", "call")).loc["middle"]
    assert (idle["too_late"], idle["earlier_only"]) == (1, 0)


def test_a_letter_before_its_stage_is_too_early_and_not_asked_for_again():
    found = told(act("2026-03-10", "letter"))  # day 29
    assert found.loc["early", "too_early"] == 1
    assert found.loc["middle", "too_late"] == 0
    assert told(act("2026-03-11", "letter")).loc["middle", "too_early"] == 0


def test_a_channel_no_stage_names_is_neither_early_nor_own():
    row = told(act("2026-03-20", "email")).loc["middle"]
    assert (row["too_early"], row["too_late"], row["earlier_only"]) == (0, 1, 0)


def test_only_accounts_seen_from_the_first_day_of_the_stage_are_judged():
    deep = SNAPSHOTS.iloc[1:].assign(days_past_due=[35, 66])
    row = told(act("2026-03-05", "call"), snapshots=deep).loc["middle"]
    assert (row["actions"], row["entered"]) == (1, 0)


def test_an_account_that_left_the_stage_before_the_day_judged_is_not_late():
    gone = SNAPSHOTS.assign(days_past_due=[0, 19, 0], as_of=["2026-01-31", "2026-02-28", "2026-03-27"])
    assert told(act("2026-03-20", "call"), snapshots=gone).loc["middle", "entered"] == 0


def test_pace_counts_the_stages_own_actions_per_week_up_to_the_day_judged():
    # Days 30 to 47 are 18 days.
    found = told(act("2026-03-12", "letter"), act("2026-03-20", "letter"), act("2026-03-30", "letter"))
    assert found.loc["middle", "own_per_week"] == pytest.approx(7 * 2 / 18)


def test_by_team_who_acted_last_in_the_stage_answers_for_it():
    found = told(
        act("2026-03-12", "call", "T1"), act("2026-03-20", "call", "T2"), by="team", grace=7
    ).reset_index()
    assert found.loc[found["entered"] > 0, ["team", "stage", "too_late"]].values.tolist() == [
        ["T2", "middle", 1]
    ]
    assert set(found.loc[found["actions"] > 0, "team"]) == {"T1", "T2"}


def test_the_branch_that_enters_the_stage_late_stands_out():
    bank = simulate(accounts=3000, months=12, problems=("late_stage",), truth_accounts=0)
    plan = PLAN.assign(
        channels=[
            ("sms", "email"),
            ("sms", "email", "call"),
            ("call", "letter", "visit"),
            ("call", "letter", "visit", "agency", "legal"),
        ]
    )
    found = escalations(open_book(bank.book_tables), plan, by="branch").table
    pace = found[(found["measure"] == "own_per_week") & (found["stage"] == "middle")].set_index("branch")
    others = pace.drop("Branch 04")["estimate"]
    assert pace.loc["Branch 04", "conf_high"] < others.mean()
    assert pace["estimate"].idxmin() == "Branch 04"


def test_bad_input_is_told_at_once():
    book = open_book({"accounts": pd.DataFrame({"account_id": ["a"]}), "snapshots": SNAPSHOTS})
    with pytest.raises(FrameError) as error:
        escalations(book, PLAN.drop(columns="escalate_by").assign(channels="call"), grace=-1)
    assert len(error.value.faults) == 3
    with pytest.raises(FrameError, match="frame"):
        escalations(book, (1, 30))
    with pytest.raises(NotAvailable, match="actions"):
        escalations(book, PLAN)
    nameless = pd.DataFrame({"account_id": ["a"], "at": ["2026-03-20"], "channel": ["call"]})
    tables = {"accounts": pd.DataFrame({"account_id": ["a"]}), "snapshots": SNAPSHOTS, "actions": nameless}
    with pytest.raises(NotAvailable, match="team"):
        escalations(open_book(tables), PLAN, by="team")
