"""Cost and net by day: one risk set, one interval of the difference."""

import numpy as np
import pandas as pd
import polars as pl
import pytest

from collectlab.core.errors import FrameError, NotAvailable
from collectlab.measures.costs import cost_benefit, cost_curve, net_curve
from collectlab.measures.recovery import recovery_curve

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


def acted(*rows):
    """account, day (with fraction), channel, cost."""
    frame = pd.DataFrame(rows, columns=["account_id", "at", "channel", "cost"])
    frame["at"] = DAY0 + pd.to_timedelta(frame["at"].astype(float), unit="D")
    return frame


FRAME = spells(("a", 0, 90, "censored", 100), ("b", 0, 10, "censored", 300))
MONEY = paid(("a", 20, 50), ("b", 5, 60))
ACTIONS = acted(("a", 5, "call", 2), ("a", 20, "call", 3), ("b", 2, "visit", 7))


def last(found):
    rows = found.table[found.table["day"] == found.table["day"].max()]
    return rows.set_index("measure")["estimate"]


def test_shares_of_what_was_owed():
    # on day 20 only a's 100 are watched, and stand for all
    found = net_curve(FRAME, MONEY, ACTIONS, horizon=90)
    assert last(found).to_dict() == pytest.approx(
        {"recovered": 60 / 400 + 50 / 100, "cost": 9 / 400 + 3 / 100, "net": 51 / 400 + 47 / 100}
    )
    assert found.unit == "share"


def test_money_per_episode():
    found = net_curve(FRAME, MONEY, ACTIONS, per="episode", horizon=90)
    assert last(found).to_dict() == pytest.approx({"recovered": 30 + 50, "cost": 4.5 + 3, "net": 25.5 + 47})
    cost = cost_curve(FRAME, ACTIONS, horizon=90)
    assert last(cost)["cost"] == pytest.approx(7.5)
    assert cost.unit == "money2"
    benefit = cost_benefit(FRAME, MONEY, ACTIONS, by=None, horizon=90).wide()
    assert benefit["net_per_episode"].iloc[0] == pytest.approx(last(found)["net"])


def test_the_recovered_part_is_the_recovery_curve_in_any_engine():
    lazy = [pl.from_pandas(f).lazy() for f in (FRAME, MONEY, ACTIONS)]
    found = net_curve(*lazy, horizon=90)
    assert found.table.equals(net_curve(FRAME, MONEY, ACTIONS, horizon=90).table)
    curve = recovery_curve(FRAME, MONEY, horizon=90).table
    own = found.table[found.table["measure"] == "recovered"].reset_index(drop=True)
    assert own["estimate"].equals(curve["estimate"])


def test_the_interval_of_the_net_is_that_of_the_difference():
    # who pays 10 more costs 10 more: the net is the same for each, and certain
    ids = ["A-17", "B-3", "C-1", "D-9"]
    frame = spells(*[(i, 0, 90, "censored", 100) for i in ids], customer_id=ids)
    money = paid(*[(i, 3, 20 + 10 * k) for k, i in enumerate(ids)])
    actions = acted(*[(i, 2, "visit", 10 * k) for k, i in enumerate(ids)])
    rows = net_curve(frame, money, actions, horizon=30).at(30).set_index("measure")
    assert rows.loc["net", "estimate"] == pytest.approx(0.2)
    assert rows.loc["net", "std_error"] == pytest.approx(0, abs=1e-12)
    assert rows.loc["cost", "std_error"] > 0.05


def test_groups_and_their_charts():
    frame = spells(*[(i, 0, 90, "cured", 100) for i in "abcdefgh"], measure=["x", "y"] * 4)
    found = net_curve(
        frame, paid(("a", 3, 40)), acted(*[(i, 2, "call", 2) for i in "abcdefgh"]), by="measure", horizon=30
    )
    assert found.by == ("by_measure", "measure")
    assert found.at(30)[["by_measure", "measure"]].values.tolist()[:4] == [
        ["x", "recovered"], ["x", "cost"], ["x", "net"], ["y", "recovered"],
    ]  # fmt: skip
    assert [line.get_label() for line in found.plot().lines[:2]] == ["x", "y"]
    alone = net_curve(FRAME, MONEY, ACTIONS, horizon=30)
    assert [t.get_text() for t in alone.plot().get_legend().get_texts()] == ["recovered", "cost", "net"]
    assert "| net | 30 |" in alone._repr_markdown_()


def test_what_cannot_be_costed_is_refused():
    with pytest.raises(FrameError, match=r"per is 'account'. Allowed: 'owed', 'episode'"):
        net_curve(FRAME, MONEY, ACTIONS, per="account")
    with pytest.raises(FrameError, match=r"the cost is below 0 for call \(1 actions\)"):
        net_curve(FRAME, MONEY, acted(("a", 1, "call", -2), ("a", 2, "sms", 1)))
    with pytest.raises(FrameError, match=r"no cost is known for call \(2 actions\), visit"):
        cost_curve(FRAME, ACTIONS.drop(columns="cost"))
    with pytest.raises(NotAvailable, match="no actions"):
        cost_curve(FRAME, acted())
    free = cost_curve(FRAME, ACTIONS.drop(columns=["cost"]), unit_costs={"call": 0, "visit": 0}, horizon=30)
    assert (free.table["estimate"] == 0).all()


def test_one_account_has_a_curve_and_no_interval():
    frame = spells(("a", 0, 90, "cured", 100))
    rows = net_curve(frame, paid(("a", 3, 40)), acted(("a", 2, "call", 2)), horizon=30).at(30)
    assert rows["estimate"].tolist() == pytest.approx([0.4, 0.02, 0.38])
    assert np.isnan(rows[["std_error", "conf_low"]].to_numpy(float)).all()


def test_reversals_are_taken_off_and_told():
    frame = spells(("a", 0, 90, "cured", 100))
    found = recovery_curve(frame, paid(("a", 3, 40), ("a", 9, -15), ("a", 10, np.nan)), horizon=30)
    assert found.at([3, 9])["estimate"].tolist() == pytest.approx([0.4, 0.25])
    assert "1 payments below 0 (-15.00 in all) are reversals and taken off." in found.notes
    assert "1 payments without an amount add nothing." in found.notes


def test_a_hundred_thousand_groups_are_refused():
    n = 100_000
    frame = pd.DataFrame(
        {
            "account_id": np.arange(n),
            "started_on": pd.Timestamp("2026-01-01"),
            "entry_day": 0,
            "exit_day": 50,
            "outcome": "censored",
            "amount_at_entry": 10.0,
        }
    )
    money = paid(("a", 3, 40)).assign(account_id=3)
    with pytest.raises(FrameError, match=r"by=account_id makes 100,000 groups \(.*Allowed: up to 1,000"):
        recovery_curve(frame, money, by="account_id")
