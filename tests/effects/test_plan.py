"""A plan is read whole or not at all, and says when it may be answered."""

from __future__ import annotations

import datetime as dt

import pandas as pd
import pytest

from collectlab.core.errors import FrameError, ParamsError
from collectlab.core.written import parse_yaml
from collectlab.effects.plan import read_plan
from collectlab.effects.plan_status import status

WRITTEN = """
experiment:
  name: Early calls
  arms: [call]
  control: none
  outcome: cured_within_60
  horizon_days: 60
  minimum_days: 90
  smallest_effect: 0.03
  accounts_per_arm: 100
  started_on: 2026-03-01
  source: Minutes 2026-02-12
"""


def plan(**changes):
    return read_plan(parse_yaml(WRITTEN, "report.yml")["experiment"] | changes, "report.yml: experiment")


def accounts(a_day: int = 1, days: int = 150) -> pd.DataFrame:
    """One account of each arm (``a_day`` of calls) on every day from the start."""
    day = pd.date_range("2026-03-01", periods=days)
    calls = pd.DataFrame({"strategy": "call", "assigned_on": day.repeat(a_day)})
    return pd.concat([calls, pd.DataFrame({"strategy": "none", "assigned_on": day})])


def test_a_section_of_yaml_is_a_plan():
    found = plan()
    assert (found.alpha, found.power, found.peeking) == (0.05, 0.8, False)
    assert found.started_on == dt.date(2026, 3, 1)
    assert found.earliest == dt.date(2026, 5, 30)
    assert found.planned == {"call": 100, "none": 100}
    assert found.shares == {"call": 0.5, "none": 0.5}
    unequal = plan(accounts_per_arm={"none": 50, "call": 150})
    assert unequal.shares == {"call": 0.75, "none": 0.25}
    assert plan(allocation={"call": 0.6, "none": 0.4}).shares == {"call": 0.6, "none": 0.4}


def test_all_faults_of_the_keys_are_told_at_once():
    with pytest.raises(ParamsError) as told:
        plan(horizon_days="x", started_on="2026-13-01", peeking="yes", arm=["call"], source="", alpha=1.5)
    text = str(told.value)
    assert len(told.value.faults) == 6
    assert "report.yml: experiment.horizon_days: found 'x'" in text
    assert "'2026-13-01' is no date" in text
    assert "no such key 'arm'. Nearest: arms" in text


def test_what_does_not_fit_together_is_told_at_once():
    with pytest.raises(ParamsError) as told:
        plan(
            arms=["none", "call", "call"],
            minimum_days=30,
            smallest_effect=0.0,
            power=0.01,
            accounts_per_arm={"call": 1},
            allocation={"call": 0.7, "none": 0.7},
        )
    text = str(told.value)
    for says in (
        "control 'none' stands among arms",
        "call stands twice",
        "minimum_days is 30, horizon_days 60",
        "smallest_effect is 0",
        "power is 0.01",
        "accounts_per_arm names call. Needed: call, none",
        "accounts_per_arm has 1",
        "allocation adds up to 1.4",
    ):
        assert says in text


def test_missing_keys_and_no_mapping_are_told():
    with pytest.raises(ParamsError) as told:
        read_plan({"name": "x"})
    assert len(told.value.faults) == 9
    assert "plan: control: missing. Needed: the arm that the others are compared with." in told.value.faults
    with pytest.raises(ParamsError, match="found list"):
        read_plan([])


def test_no_verdict_before_the_minimum():
    early = status(plan(accounts_per_arm=2), accounts(), "2026-05-29")
    check = early.check("horizon")
    assert check.passed is False
    assert "none before 2026-05-30 (90 days after the start)" in check.says
    assert "There can be one on 2026-05-30." in check.says
    assert early.answer_on == dt.date(2026, 5, 30)
    on_the_day = status(plan(accounts_per_arm=2), accounts(), "2026-05-30")
    assert on_the_day.check("horizon").passed and on_the_day.check("peeking").passed


def test_no_verdict_before_the_planned_accounts_are_known():
    # The 100th account of each arm comes on 2026-06-08 and is known 60 days later, on 2026-08-07.
    day_before = status(plan(), accounts(), "2026-08-06")
    assert day_before.check("horizon").passed is False
    assert "known of 99 of 100 accounts planned in call" in day_before.check("horizon").says
    assert day_before.check("horizon").value == pytest.approx(0.99)
    assert day_before.answer_on == dt.date(2026, 8, 7)
    assert day_before.check("peeking").passed is False
    full = status(plan(), accounts(), "2026-08-07")
    assert full.check("horizon").passed and full.check("peeking").passed
    assert full.answer_on == dt.date(2026, 8, 7)
    assert full.table["known"].tolist() == [100, 100]


def test_the_date_is_forecast_by_the_pace_so_far():
    # On day 50, 50 of 100 have come: the rest takes 50 days more, and 60 to be known.
    part = status(plan(), accounts(), "2026-04-19")
    assert part.table["assigned"].tolist() == [50, 50]
    assert part.table["forecast"].all()
    assert part.answer_on == dt.date(2026, 4, 19) + dt.timedelta(days=110)
    assert "at the pace so far" in part.check("horizon").says
    # The slower arm decides.
    uneven = status(plan(), accounts(a_day=4), "2026-04-19")
    assert uneven.table["forecast"].tolist() == [False, True]
    assert uneven.answer_on == part.answer_on
    assert uneven.table["share"].tolist() == [0.8, 0.2]


def test_before_the_first_account_nobody_can_say():
    nothing = status(plan(), accounts(), "2026-02-20")
    assert nothing.answer_on is None
    assert "nobody can say" in nothing.check("horizon").says


def test_counts_of_known_accounts_will_do():
    # Known since 2026-04-30: 25 in 25 days, so the other 75 take 75 more.
    counted = status(plan(), {"call": 25, "none": 40}, "2026-05-24")
    assert counted.answer_on == dt.date(2026, 5, 24) + dt.timedelta(days=75)
    assert status(plan(), {"call": 100, "none": 100}, "2026-09-01").check("horizon").passed


def test_a_plan_with_peeking_is_decided_by_the_sequence_alone():
    looked = plan(peeking=True)
    fixed = status(looked, accounts(), "2026-06-15")
    assert fixed.check("horizon").passed is False and fixed.check("peeking").passed is False
    anytime = status(looked, accounts(), "2026-06-15", interval="anytime")
    assert anytime.check("horizon").passed and anytime.check("peeking").passed
    assert anytime.answer_on == dt.date(2026, 5, 30)
    too_early = status(looked, accounts(), "2026-05-29", interval="anytime")
    assert too_early.check("horizon").passed is False
    # Even at the end a fixed interval is not what such a plan is decided by.
    assert status(looked, accounts(), "2026-12-31").check("peeking").passed is False
    # A look that nobody planned may be read by the sequence, but the plan's end stays where it is.
    unplanned = status(plan(), accounts(), "2026-06-15", interval="anytime")
    assert unplanned.check("peeking").passed and unplanned.check("horizon").passed is False


def test_accounts_before_the_start_do_not_count():
    frame = pd.concat(
        [accounts(), pd.DataFrame({"strategy": ["call"] * 7, "assigned_on": pd.Timestamp("2026-02-01")})]
    )
    found = status(plan(), frame, "2026-08-07")
    assert found.table["assigned"].tolist() == [150, 150]
    assert any("7 accounts assigned before the plan's start" in n for n in found.notes)


def test_arms_must_be_those_of_the_plan():
    with pytest.raises(FrameError) as told:
        status(plan(), {"visit": 3, "call": -1}, "2026-06-01")
    assert len(told.value.faults) == 3
    with pytest.raises(FrameError, match="no accounts in arm none"):
        status(plan(), accounts().query("strategy == 'call'"), "2026-06-01")
    with pytest.raises(FrameError, match="no column 'arm'"):
        status(plan(), accounts(), "2026-06-01", arm="arm")
    with pytest.raises(FrameError, match="interval is 'daily'"):
        status(plan(), accounts(), "2026-06-01", interval="daily")
    with pytest.raises(FrameError, match="no accounts"):
        status(plan(), accounts().iloc[:0], "2026-06-01")


def test_it_is_shown():
    text = status(plan(), accounts(), "2026-06-01")._repr_markdown_()
    assert "Early calls: where it stands" in text and "Minutes 2026-02-12" in text
