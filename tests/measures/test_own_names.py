"""Frames with column names of their own give the same figures."""

from __future__ import annotations

import pandas as pd
import pytest

from collectlab.core.errors import FrameError
from collectlab.measures.costs import cost_benefit
from collectlab.measures.drivers import cure_regression
from collectlab.measures.recovery import recovery_curve, recovery_period, recovery_rate

N = range(60)
EPISODES = pd.DataFrame(
    {
        "account_id": [f"a{i}" for i in N],
        "customer_id": [f"c{i // 2}" for i in N],
        "started_on": pd.Timestamp("2026-01-01"),
        "entry_day": 0,
        "exit_day": [20 + i for i in N],
        "observed_day": 200,
        "outcome": ["cured" if i % 3 else "charged_off" for i in N],
        "amount_at_entry": 100.0,
        "product": ["card" if i % 2 else "auto" for i in N],
    }
)
PAYMENTS = pd.DataFrame(
    {
        "account_id": EPISODES["account_id"],
        "paid_on": pd.Timestamp("2026-01-11"),
        "amount": [5.0 + i for i in N],
    }
)
ACTIONS = pd.DataFrame(
    {
        "account_id": EPISODES["account_id"],
        "at": pd.Timestamp("2026-01-05 10:00"),
        "channel": "call",
        "cost": 2.0,
    }
)
OWN = {
    "account_id": "Loan no.",
    "customer_id": 'the "client"',
    "started_on": "group",
    "exit_day": "select",
    "outcome": "How it ended",
    "paid_on": "Day paid",
    "amount": "Sum, CNY",
    "at": "time",
    "cost": "Price",
}


def own(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.rename(columns=OWN)


@pytest.mark.parametrize("measure", [recovery_curve, recovery_rate, recovery_period])
def test_recovery(measure):
    known = measure(EPISODES, PAYMENTS, by="product").table
    mine = measure(own(EPISODES), own(PAYMENTS), by="product", cluster="customer_id", columns=OWN).table
    pd.testing.assert_frame_equal(mine, known)


@pytest.mark.parametrize("by", ["product", "channel"])
def test_cost_benefit(by):
    known = cost_benefit(EPISODES, PAYMENTS, ACTIONS, by=by).table
    mine = cost_benefit(own(EPISODES), own(PAYMENTS), own(ACTIONS), by=by, columns=OWN).table
    pd.testing.assert_frame_equal(mine, known)


def test_regression():
    known = cure_regression(EPISODES, covariates=["product"], horizon=60).table
    mine = cure_regression(own(EPISODES), covariates=["product"], horizon=60, columns=OWN).table
    pd.testing.assert_frame_equal(mine, known)


def test_a_name_that_is_not_there_is_named():
    with pytest.raises(FrameError, match="columns: no column Loan number"):
        recovery_rate(own(EPISODES), own(PAYMENTS), columns=OWN | {"account_id": "Loan number"})
