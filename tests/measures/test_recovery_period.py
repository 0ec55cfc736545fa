"""How soon the money comes back: quantiles of what comes back, and of what was owed."""

import numpy as np
import pandas as pd
import pytest

from collectlab.core.errors import FrameError
from collectlab.measures.recovery import recovery_period

DAY0 = pd.Timestamp("2026-01-01")


def episodes(*rows, **extra):
    """account, first day, entry, exit, outcome, owed."""
    names = ["account_id", "started_on", "entry_day", "exit_day", "outcome", "amount_at_entry"]
    frame = pd.DataFrame(rows, columns=names)
    frame["started_on"] = DAY0 + pd.to_timedelta(frame["started_on"], unit="D")
    return frame.assign(**extra)


def payments(*rows):
    """account, day, amount."""
    frame = pd.DataFrame(rows, columns=["account_id", "paid_on", "amount"])
    frame["paid_on"] = DAY0 + pd.to_timedelta(frame["paid_on"].astype(int), unit="D")
    return frame.astype({"account_id": "object", "amount": float})


SPELLS = episodes(("a", 0, 0, 200, "censored", 100), ("b", 0, 0, 200, "censored", 100))
PAID = payments(("a", 10, 60), ("b", 20, 20), ("b", 100, 20))


def test_quantiles_of_what_comes_back():
    table = recovery_period(SPELLS, PAID, quantiles=(0.25, 0.5, 0.8, 0.9)).table.set_index("measure")
    assert table["estimate"].to_dict() == pytest.approx(
        {"mean": 30, "first 25 %": 10, "median": 10, "first 80 %": 20, "first 90 %": 100}
    )


def test_quantiles_of_what_was_owed_may_not_be_reached():
    table = recovery_period(SPELLS, PAID, quantiles=(0.3, 0.4, 0.6), of="owed").table.set_index("measure")
    assert table["estimate"].to_dict() == pytest.approx(
        {"first 30 %": 10, "first 40 %": 20, "first 60 %": np.nan}, nan_ok=True
    )
    assert "mean" not in table.index


def test_what_was_owed_needs_no_follow_up_to_the_horizon():
    short = episodes(("a", 0, 0, 50, "censored", 100))
    money = payments(("a", 10, 60))
    assert recovery_period(short, money).table["estimate"].isna().all()
    assert recovery_period(short, money, of="owed").table["estimate"].tolist() == [10]


def test_the_interval_of_a_quantile_inverts_that_of_the_curve():
    # 40 accounts pay all on days 1 … 40: half is back on day 20, give or take two errors of a share of a half
    ids = [f"c{i}" for i in range(40)]
    spells = episodes(*[(i, 0, 0, 200, "censored", 100) for i in ids])
    row = recovery_period(
        spells, payments(*[(i, k, 100) for k, i in enumerate(ids, 1)]), of="owed"
    ).table.iloc[0]
    assert row["estimate"] == 20
    assert 10 <= row["conf_low"] < 17 and 23 < row["conf_high"] <= 30


def test_quantiles_that_are_none():
    for wrong in ((), (0,), (1.5,), ("half",)):
        with pytest.raises(FrameError, match="Allowed: numbers between 0 and 1"):
            recovery_period(SPELLS, PAID, quantiles=wrong)
    with pytest.raises(FrameError, match="'recovered', 'owed'"):
        recovery_period(SPELLS, PAID, of="paid")
