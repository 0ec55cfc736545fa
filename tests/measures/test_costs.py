"""Cost and benefit: every action costs once, every payment is credited at most once."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collectlab.core.engine import collect, scan
from collectlab.core.errors import FrameError, NotAvailable
from collectlab.measures.costs import cost_benefit, with_strategy
from collectlab.measures.costs_touch import last_touch

DAY0 = pd.Timestamp("2026-01-01")


def spells(*rows, **extra):
    """account, first day, exit, outcome, owed."""
    frame = pd.DataFrame(rows, columns=["account_id", "started_on", "exit_day", "outcome", "amount_at_entry"])
    frame["started_on"] = DAY0 + pd.to_timedelta(frame["started_on"], unit="D")
    return frame.assign(entry_day=0, **extra)


def paid(*rows):
    frame = pd.DataFrame(rows, columns=["account_id", "paid_on", "amount"])
    frame["paid_on"] = DAY0 + pd.to_timedelta(frame["paid_on"].astype(int), unit="D")
    return frame.astype({"account_id": "object", "amount": float})


def acted(*rows, **extra):
    """account, day (with fraction), channel, cost."""
    frame = pd.DataFrame(rows, columns=["account_id", "at", "channel", "cost"])
    frame["at"] = DAY0 + pd.to_timedelta(frame["at"].astype(float), unit="D")
    return frame.assign(**extra)


def test_per_episode_within_the_horizon():
    frame = spells(
        ("a", 0, 90, "cured", 100), ("b", 0, 90, "censored", 100), ("c", 0, 90, "cured", 40),
        strategy=["old", "old", "new"],
    )  # fmt: skip
    result = cost_benefit(
        frame,
        paid(("a", 10, 70), ("c", 5, 40), ("c", 6, 99)),
        acted(("a", 5.4, "call", 2), ("a", 9, "call", 2), ("b", 30, "visit", 20), ("c", 1, "sms", 0.05), ("c", 200, "call", 9)),
        by="strategy",
    )  # fmt: skip
    wide = result.wide().set_index("strategy")
    assert list(wide.index) == ["new", "old"]
    assert wide.loc["old"].tolist() == pytest.approx([2, 12, 35, 23, 100 * 12 / 35])
    assert wide.loc["new"].tolist() == pytest.approx([1, 0.05, 40, 39.95, 0.125])
    assert any("9 spent outside the episodes" in n for n in result.notes)


def test_short_follow_up_stretches_neither_cost_nor_recovery():
    # b is watched for 10 days: on day 20 only a is at risk and the cost of that day stands for both.
    frame = spells(("a", 0, 90, "censored", 100), ("b", 0, 10, "censored", 100))
    wide = cost_benefit(frame, paid(), acted(("a", 5, "call", 2), ("a", 20, "call", 3)), by=None).wide()
    assert wide["cost_per_episode"].iloc[0] == pytest.approx(2 / 2 + 3 / 1)
    assert np.isnan(wide["cost_per_100_recovered"].iloc[0])


def test_a_payment_goes_to_the_last_contact_within_the_window():
    frame = spells(("a", 0, 90, "cured", 500), ("b", 0, 90, "censored", 500))
    actions = acted(
        ("a", 1.0, "sms", 1), ("a", 3.0, "call", 2), ("a", 3.5, "visit", 30), ("b", 1.0, "sms", 1), ("b", 2.0, "call", 2),
        outcome=[None, "contact", "contact", None, "no_answer"],
    )  # fmt: skip
    money = paid(("a", 2, 10), ("a", 3, 20), ("a", 11, 40), ("b", 4, 80), ("b", 50, 160))
    result = cost_benefit(frame, money, actions, by="channel")
    wide = result.wide().set_index("channel")
    assert wide["recovered"].to_dict() == {"call": 0, "sms": 90, "visit": 20}
    assert wide["cost"].to_dict() == {"call": 4, "sms": 2, "visit": 30}
    assert wide["contacts"].to_dict() == {"call": 1, "sms": 2, "visit": 1}
    assert "200 of 310 recovered followed no contact within 7 days." in result.notes
    assert any("not what was caused" in n for n in result.notes)


def test_own_cost_comes_before_the_unit_cost():
    frame = spells(("a", 0, 90, "cured", 500))
    actions = acted(("a", 1, "call", 3), ("a", 2, "call", None), ("a", 3, "sms", None))
    wide = cost_benefit(frame, paid(), actions, by=None, unit_costs={"call": 2.5, "sms": 0.045}).wide()
    assert wide["cost_per_episode"].iloc[0] == pytest.approx(5.545)


def test_a_channel_without_any_cost_is_refused_and_single_gaps_are_counted():
    frame = spells(("a", 0, 90, "cured", 500))
    with pytest.raises(FrameError, match=r"no cost is known for sms \(1 actions\)"):
        cost_benefit(frame, paid(), acted(("a", 1, "call", 3), ("a", 3, "sms", None)), by=None)
    with pytest.raises(FrameError, match=r"'call', -1.*number ≥ 0"):
        cost_benefit(frame, paid(), acted(("a", 1, "call", 3)), by=None, unit_costs={"call": -1})
    result = cost_benefit(frame, paid(), acted(("a", 1, "call", 3), ("a", 3, "call", None)), by=None)
    assert "1 of 2 actions by call have no cost and count as free." in result.notes
    with pytest.raises(FrameError, match="no column 'strategi'"):
        cost_benefit(frame.assign(strategy="x"), paid(), acted(("a", 1, "call", 3)), by="strategi")


def test_no_actions_is_said_in_one_line():
    with pytest.raises(NotAvailable, match="no actions"):
        cost_benefit(spells(("a", 0, 90, "cured", 500)), paid(), acted(), by="channel")


def test_intervals_of_totals_and_ratios_are_the_jackknifes_over_customers():
    ids = ["A-17", "B-3", "C-1", "D-9"]
    frame = spells(*[(i, 0, 90, "censored", 500) for i in ids], customer_id=ids)
    money = paid(*[(i, 3, x) for i, x in zip(ids, [0, 100, 200, 400])])
    actions = acted(*[(i, 1, "call", c) for i, c in zip(ids, [1, 2, 3, 4])])
    per = cost_benefit(frame, money, actions, by=None).table.set_index("measure")
    left_out = (700 - np.array([0, 100, 200, 400])) / 3
    assert per.loc["recovered_per_episode", "std_error"] == pytest.approx(
        np.sqrt(3 / 4 * ((left_out - 175) ** 2).sum())
    )
    by_channel = cost_benefit(frame, money, actions, by="channel").table.set_index("measure")
    ratio = [100 * (10 - c) / (700 - x) for c, x in zip([1, 2, 3, 4], [0, 100, 200, 400])]
    whole = 100 * 10 / 700
    assert by_channel.loc["cost_per_100_recovered", "estimate"] == pytest.approx(whole)
    assert by_channel.loc["cost_per_100_recovered", "std_error"] == pytest.approx(
        np.sqrt(49 / 50 * sum((r - whole) ** 2 for r in ratio)), rel=1e-6
    )
    # a total is estimated as R × the mean of its replicate groups, the empty ones included
    groups = np.zeros(50)
    groups[:4] = [0, 100, 200, 400]
    assert by_channel.loc["recovered", "std_error"] == pytest.approx(
        np.sqrt(50) * np.std(groups, ddof=1), rel=1e-6
    )


@settings(max_examples=12, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from("abc"), st.integers(0, 40), st.sampled_from(["sms", "call", None])),
        max_size=10,
    ),
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 40)), min_size=1, max_size=10, unique=True),
    st.integers(0, 20),
)
def test_each_payment_is_credited_once_to_the_last_contact(contacts, money, window):
    touches = pd.DataFrame(contacts, columns=["__account", "__on", "team"]).astype({"__on": "int64"})
    touches["__at"] = touches["__on"] * 10 + np.arange(len(touches)) % 3
    touches = touches.astype({"__account": "str", "team": "object"})
    flows = pd.DataFrame(money, columns=["__account", "__on"])
    flows["__counted"] = 2 ** np.arange(len(flows))
    touches.loc[len(touches)] = ["z", 0, "sms", 0]  # so that no column is without a type
    expected = {}
    for account, on, value in flows.itertuples(index=False):
        before = touches[(touches["__account"] == account) & (touches["__on"] <= on)]
        if len(before) and on - before["__on"].max() <= window:
            same = before[before["__on"] == before["__on"].max()]
            expected[value] = same[same["__at"] == same["__at"].max()]["team"].tolist()
    for wrap in (scan, lambda f: scan(pl.from_pandas(f).lazy())):
        found = collect(last_touch(wrap(touches), wrap(flows), ["team"], window))
        assert sorted(found["__counted"]) == sorted(flows["__counted"])
        credited = found[found["__credited"] == 1].set_index("__counted")["team"]
        assert set(credited.index) == set(expected)
        for value, team in credited.items():
            assert any(team == t or (pd.isna(team) and t is None) for t in expected[value])


def test_the_table_reads_across_and_the_chart_is_drawn():
    frame = spells(*[(i, 0, 90, "cured", 100) for i in "abcdefgh"], strategy=["x", "y"] * 4)
    money = paid(*[(i, 5, 10.0 * k) for k, i in enumerate("abcdefgh", 1)])
    actions = acted(*[(i, 2, "call", 2.0) for i in "abcdefgh"])
    result = cost_benefit(frame, money, actions)
    shown = result.display_table()
    assert list(shown.columns) == [
        "Strategy", "Episodes", "Cost per episode", "Recovered per episode", "Net per episode", "Cost per 100 recovered",
    ]  # fmt: skip
    assert shown["Net per episode"].iloc[0].startswith("38.00 (")
    assert [t.get_text() for t in result.plot().get_yticklabels()] == ["x", "y"]


def test_the_strategy_is_the_one_in_force_on_day_0():
    frame = spells(
        ("a", 10, 30, "cured", 1),
        ("a", 100, 30, "cured", 1),
        ("b", 10, 30, "cured", 1),
        ("c", 10, 30, "cured", 1),
    )
    assigned = pd.DataFrame(
        [("a", 0, "s1"), ("a", 11, "s2"), ("b", 15, "s3"), ("b", 20, "s4"), ("c", 41, "late")],
        columns=["account_id", "day", "strategy"],
    )
    assigned["assigned_on"] = DAY0 + pd.to_timedelta(assigned["day"], unit="D")
    for wrap in (scan, lambda f: scan(pl.from_pandas(f).lazy())):
        found = collect(with_strategy(wrap(frame.assign(strategy="x")), wrap(assigned)))
        found = found.sort_values(["account_id", "started_on"])["strategy"]
        assert found.where(found.notna(), None).tolist() == ["s1", "s2", "s3", None]
