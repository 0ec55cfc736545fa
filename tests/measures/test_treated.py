"""What a treatment costs and a cure brings, counted on a few episodes by hand."""

import pandas as pd
import polars as pl
import pytest

from collectlab.core.errors import FrameError, NotAvailable
from collectlab.measures.worth.treated import laid_complaints, per_treated

DAY0 = pd.Timestamp("2026-01-01")


def spells(cured=12, open_=12, owed=100.0):
    n = cured + open_
    return pd.DataFrame(
        {
            "account_id": [f"a{i:02d}" for i in range(n)],
            "episode": 1,
            "started_on": DAY0,
            "entry_day": 0,
            "first_seen_day": 5,
            "exit_day": [50] * cured + [200] * open_,
            "observed_day": 200,
            "outcome": ["cured"] * cured + ["censored"] * open_,
            "amount_at_entry": owed,
        }
    )


def acted(*rows):
    frame = pd.DataFrame(rows, columns=["account_id", "day", "channel"])
    return frame.assign(at=DAY0 + pd.to_timedelta(frame["day"].astype(float), unit="D")).drop(columns="day")


VISITS = acted(*[(f"a{i:02d}", d, "visit") for i in range(12) for d in (35, 40)], ("a20", 70.5, "visit"))
PAID = pd.DataFrame(
    {
        "account_id": ["a00", "a01", "a12", "a13"],
        # the second pays more than it owes; the last before day 30, which is not in the follow-up
        "paid_on": DAY0 + pd.to_timedelta([45, 45, 60, 20], unit="D"),
        "amount": [100.0, 150.0, 60.0, 100.0],
    }
)
COSTS = {"visit": 180.0}


def counted(**options):
    given = {"channel": "visit", "from_day": 30, "grace": 30, "follow_up": 60, "unit_costs": COSTS} | options
    return per_treated(given.pop("episodes", spells()), given.pop("actions", VISITS), PAID, **given)


def test_by_hand():
    found = counted()
    # twelve are first visited within 30 days of day 30, twice each; one only on day 70
    assert len(found.rows) == 12 and found.mean("cost") == pytest.approx((360.0, 0.0))
    assert set(found.rows["actions"]) == {2}
    # of the cured, 2 of 12 paid their 100 in the follow-up; of the others 60 of 1,200
    assert found.share == pytest.approx(200 / 1200 - 60 / 1200)
    assert len(counted(grace=50).rows) == 13


def test_from_a_day_of_each_episode_and_any_frame():
    by_day, by_column = counted(from_day=5, grace=31), counted(from_day="first_seen_day", grace=31)
    pd.testing.assert_frame_equal(by_day.rows, by_column.rows)
    assert by_day.share == by_column.share
    polars = per_treated(
        pl.from_pandas(spells()), pl.from_pandas(VISITS), pl.from_pandas(PAID), channel="visit", from_day=5, grace=31,
        unit_costs=COSTS,
    )  # fmt: skip
    pd.testing.assert_frame_equal(by_day.rows, polars.rows)


def test_a_complaint_goes_to_the_last_action_before_it():
    actions = pd.concat([VISITS, acted(("a00", 41, "sms"), ("a01", 41, "sms"))], ignore_index=True)
    told = acted(("a00", 41.5, ""), ("a01", 40.5, ""), ("a02", 60, ""), ("a03", 39, "")).drop(
        columns="channel"
    )
    laid = laid_complaints(told, actions)
    # a00: the text message came last; a02: the visit was twenty days before
    assert laid[["account_id", "channel"]].to_numpy().tolist() == [
        ["a00", "sms"],
        ["a01", "visit"],
        ["a03", "visit"],
    ]
    found = counted(actions=actions, complaints=told)
    assert found.rows["complaints"].sum() == 2
    assert counted(actions=actions, complaints=laid).rows["complaints"].sum() == 2


def test_what_cannot_be_counted_is_said():
    with pytest.raises(FrameError, match="no cost is known for visit"):
        counted(unit_costs=None)
    with pytest.raises(FrameError, match="Allowed: channel → number ≥ 0"):
        counted(unit_costs={"visit": -1.0})
    with pytest.raises(NotAvailable, match="fewer than 10"):
        counted(grace=2)
    with pytest.raises(NotAvailable, match="none of the accounts were cured"):
        counted(episodes=spells(cured=0, open_=24))
    with pytest.raises(NotAvailable, match="no actions"):
        counted(channel="parcel")
    with pytest.raises(FrameError, match="whole days"):
        counted(follow_up=0)
    with pytest.raises(FrameError, match="first_seen_dey"):
        counted(from_day="first_seen_dey")
    with pytest.raises(FrameError, match="amount_at_entry"):
        counted(episodes=spells().drop(columns="amount_at_entry"))
