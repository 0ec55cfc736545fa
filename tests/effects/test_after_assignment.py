"""What followed the first episode after a random assignment."""

from __future__ import annotations

import datetime as dt

import pandas as pd
import pytest

import collectlab as cl
from collectlab.core.engine import collect
from collectlab.core.errors import NotAvailable
from collectlab.effects.after_assignment import fell_past_due, first_episodes

DRAWN, ZERO = dt.date(2025, 1, 1), dt.date(2025, 2, 1)


def on(days: int) -> dt.date:
    return ZERO + dt.timedelta(days)


def book(**changed):
    """Three accounts drawn on 1 January; a and b fall past due on 1 February, c never; a is cured by day 27."""
    rows = [(i, dt.date(2025, 1, 31), 0) for i in "abc"]
    rows += [("a", on(27), 0), ("b", on(27), 27), ("c", on(27), 0)]
    rows += [("a", on(58), 0), ("b", on(58), 58), ("c", on(58), 0)]
    rows += [("a", on(88), 0), ("b", on(88), 0), ("c", on(88), 0)]
    # One snapshot of a within the month shows its episode.
    rows += [("a", on(10), 10)]
    tables = {
        "accounts": pd.DataFrame({"account_id": list("abc")}),
        "snapshots": pd.DataFrame(rows, columns=["account_id", "as_of", "days_past_due"]),
        "payments": pd.DataFrame(
            [("a", on(-1), 7.0), ("a", on(20), 30.1), ("b", on(40), 5.0)],
            columns=["account_id", "paid_on", "amount"],
        ),
        "actions": pd.DataFrame(
            [("a", on(-5), 9.0), ("a", on(3), 0.2), ("b", on(3), 0.2), ("b", on(35), 8.0)],
            columns=["account_id", "at", "cost"],
        ).assign(at=lambda f: pd.to_datetime(f["at"]), channel="call"),
        "assignments": pd.DataFrame(
            {
                "account_id": list("abc"),
                "strategy": ["new", "old", "new"],
                "assigned_on": DRAWN,
                "randomised": True,
            }
        ),
    } | changed
    return cl.open_book({name: table for name, table in tables.items() if table is not None})


def frame_of(**changed) -> pd.DataFrame:
    opened = book(**changed)
    made = collect(first_episodes(opened, opened.episodes(), horizons=(30, 60)))
    return made.sort_values("account_id").set_index("account_id")


def test_what_followed_counts_from_day_0():
    frame = frame_of()
    assert frame.index.tolist() == ["a", "b"]
    assert frame["started_on"].astype(str).str[:10].tolist() == ["2025-02-01"] * 2
    assert frame["cured_within_30"].tolist() == [1, 0]
    assert frame["amount_within_30"].tolist() == [30.1, 0]
    assert frame["cost_within_60"].tolist() == [0.2, 8.2]
    assert frame["net_within_60"].tolist() == [29.9, -3.2]


def test_without_costs_there_is_no_net():
    assert not {"cost_within_30", "net_within_30"} & set(frame_of(actions=None))


def test_who_fell_past_due():
    opened = book()
    made = collect(fell_past_due(opened, opened.episodes())).sort_values("account_id")
    assert made["fell_past_due"].tolist() == [1, 1, 0]


def test_nobody_past_due_afterwards_is_said():
    late = pd.DataFrame(
        {"account_id": list("ab"), "strategy": ["new", "old"], "assigned_on": on(80), "randomised": True}
    )
    with pytest.raises(NotAvailable, match="fell past due afterwards"):
        frame_of(assignments=late)
