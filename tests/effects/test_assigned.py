"""More of what followed a random assignment: paid in full, money spent, what is left, complaints."""

from __future__ import annotations

import datetime as dt

import pandas as pd

import collectlab as cl
from collectlab.core.engine import collect
from collectlab.effects.assigned import experiment_frame, first_assignments
from collectlab.effects.experiment import experiment

DAY = dt.date(2025, 3, 1)


def on(days: int) -> dt.date:
    return DAY + dt.timedelta(days)


def book(**changed):
    """Four accounts drawn on 1 March with 100, 50, nothing and an unknown sum past due; followed to 30 June."""
    ids = list("abcd")
    tables = {
        "accounts": pd.DataFrame({"account_id": ids}),
        "snapshots": pd.DataFrame(
            [("a", on(-30), 5, 70.0), ("a", on(0), 33, 100.0), ("a", on(20), 53, 20.0)]
            + [("b", on(-1), 10, 50.0), ("c", on(0), 0, 0.0), ("d", on(0), 10, None)]
            + [(i, dt.date(2025, 6, 30), 0, 0.0) for i in ids],
            columns=["account_id", "as_of", "days_past_due", "amount_past_due"],
        ),
        "payments": pd.DataFrame(
            [
                ("a", on(0), 500.0),
                ("a", on(10), 60.1),
                ("a", on(40), 39.9),
                ("b", on(30), 49.99),
                ("c", on(5), 10.0),
                ("d", on(5), 10.0),
            ],
            columns=["account_id", "paid_on", "amount"],
        ),
        "actions": pd.DataFrame(
            [
                ("a", on(-1), 9.0),
                ("a", on(0), 1.25),
                ("a", on(30), 2.5),
                ("b", on(31), 4.0),
                ("b", on(5), None),
            ],
            columns=["account_id", "at", "cost"],
        ).assign(at=lambda f: pd.to_datetime(f["at"]) + pd.Timedelta("9h"), channel="call"),
        "complaints": pd.DataFrame(
            {
                "account_id": ["a", "a", "b"],
                "at": pd.to_datetime([on(0), on(3), on(60)]) + pd.Timedelta("20h"),
            }
        ),
        "assignments": pd.DataFrame(
            {
                "account_id": ids,
                "strategy": ["new", "old", "new", "old"],
                "assigned_on": DAY,
                "randomised": True,
                "propensity": [0.25, 0.75, 0.25, 0.75],
            }
        ),
    } | changed
    return cl.open_book({name: table for name, table in tables.items() if table is not None})


def followed(*horizons: int, **changed) -> pd.DataFrame:
    frame = collect(experiment_frame(book(**changed), horizons=horizons or (30, 60)))
    return frame.sort_values("account_id").set_index("account_id")


def listed(column: pd.Series) -> list:
    return [None if pd.isna(v) else v for v in column]


def test_paid_in_full_is_what_was_past_due_at_the_draw():
    frame = followed()
    # a owed 100 on the day (not 70 a month before) and had paid 60.10 by day 30, 100.00 by day 60.
    assert listed(frame["paid_in_full_within_30"]) == [0, 0, None, None]
    assert listed(frame["paid_in_full_within_60"]) == [1, 0, None, None]


def test_costs_and_complaints_count_from_the_day_itself():
    frame = followed()
    assert listed(frame["cost_within_30"]) == [3.75, 0, 0, 0]
    assert listed(frame["cost_within_60"]) == [3.75, 4, 0, 0]
    assert listed(frame["complaints_within_30"]) == [2, 0, 0, 0]
    assert listed(frame["complaints_within_60"]) == [2, 1, 0, 0]


def test_net_is_the_amount_less_the_cost():
    frame = followed()
    assert listed(frame["net_within_30"]) == [56.35, 49.99, 10, 10]
    assert listed(frame["net_within_60"]) == [96.25, 45.99, 10, 10]


def test_beyond_the_book_all_are_missing():
    frame = followed(400)
    assert frame[[c for c in frame if c.endswith("_400")]].isna().all().all()
    assert sum(c.endswith("_400") for c in frame) == 7


def test_tables_that_are_not_there_add_no_columns():
    columns = set(followed(actions=None, complaints=None, payments=None))
    assert {c for c in columns if c.endswith("_30")} == {"current_after_30"}
    assert "net_within_30" not in followed(payments=None)
    assert "cost_within_30" in followed(payments=None)


def test_the_probability_of_the_arm_is_carried_and_checked():
    assert followed()["propensity"].tolist() == [0.25, 0.75, 0.25, 0.75]
    result = experiment(experiment_frame(book(), horizons=(30,)), control="old")
    assert result.check("sample_ratio").passed
    assert "paid_within_30" not in set(result.table["outcome"])  # all paid: nothing to compare, and said
    assert "net_within_30" in set(result.table["outcome"])


def test_the_first_assignment_counts_and_two_on_one_day_do_not():
    assignments = pd.DataFrame(
        [
            ("a", "new", on(5), True),
            ("a", "old", on(0), True),
            ("b", "new", on(0), True),
            ("b", "old", on(0), True),
            ("c", "new", on(0), None),
        ],
        columns=["account_id", "strategy", "assigned_on", "randomised"],
    )
    first = collect(first_assignments(book(assignments=assignments).table("assignments")))
    assert first["account_id"].tolist() == ["a"] and first["strategy"].tolist() == ["old"]
