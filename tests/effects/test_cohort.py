"""A cohort starts at one day for everybody, and counts only what followed it."""

import pandas as pd
import pytest

from collectlab.book.open import open_book
from collectlab.core.errors import FrameError, NotAvailable
from collectlab.effects.cohort import cohort

MONTHS = ["2026-01-31", "2026-02-28", "2026-03-31", "2026-04-30", "2026-05-31", "2026-06-30"]


def a_book(dpd: dict[str, list[int]], **tables: pd.DataFrame):
    snapshots = pd.concat(
        pd.DataFrame(
            {"account_id": a, "as_of": MONTHS[: len(d)], "days_past_due": d, "amount_past_due": 100.0}
        )
        for a, d in dpd.items()
    )
    accounts = pd.DataFrame({"account_id": list(dpd), "credit_score": range(len(dpd))})
    return open_book({"accounts": accounts, "snapshots": snapshots, **tables})


def rows(frame) -> pd.DataFrame:
    return frame.collect("pandas").to_native().sort_values("account_id", ignore_index=True)


def test_time_zero_is_the_first_snapshot_past_due_or_a_day_past_due():
    book = a_book({"a": [0, 20, 51, 0, 0, 0]})
    first, later = rows(cohort(book, horizons=[60])), rows(cohort(book, time_zero=30, horizons=[60]))
    assert str(first["time_zero"][0])[:10] == "2026-02-28" and first["days_past_due"][0] == 20
    assert str(later["time_zero"][0])[:10] == "2026-03-10" and later["days_past_due"][0] == 30
    # cured between day 51 and day 81, dated day 66
    assert (first["end_day"][0], later["end_day"][0]) == (46, 36)
    assert first["cured_within_60"][0] == later["cured_within_60"][0] == 1


def test_who_was_first_seen_after_day_30_is_not_in_the_cohort_of_day_30():
    # An episode whose first snapshot is at day 45 is in the book only because it lasted that long.
    book = a_book({"seen": [0, 20, 51, 81, 0, 0], "late": [0, 0, 45, 75, 0, 0]})
    assert rows(cohort(book, time_zero=30, horizons=[30]))["account_id"].tolist() == ["seen"]


def test_an_account_first_seen_past_due_is_not_eligible():
    book = a_book({"old": [40, 68, 99, 0, 0, 0], "new": [0, 10, 41, 0, 0, 0]})
    assert rows(cohort(book))["account_id"].tolist() == ["new"]


def test_each_accounts_first_episode_or_all():
    book = a_book({"a": [0, 10, 0, 12, 0, 0]})
    assert rows(cohort(book, horizons=[30]))["episode"].tolist() == [1]
    every = rows(cohort(book, horizons=[30], first_only=False)).sort_values("episode")
    assert every["prior_episodes"].tolist() == [0, 1]


def test_outcomes_count_from_the_day_after_time_zero_and_are_missing_where_not_followed():
    book = a_book(
        {"a": [0, 20, 51, 0, 0, 0], "b": [0, 0, 0, 0, 10, 41]},
        payments=pd.DataFrame(
            {"account_id": "a", "paid_on": ["2026-02-28", "2026-03-01", "2026-04-29", "2026-04-30"],
             "amount": [1.0, 10.0, 100.0, 1000.0]}
        ),
        actions=pd.DataFrame({"account_id": "a", "at": ["2026-03-05 10:00"], "channel": "call", "cost": 2.5}),
    )  # fmt: skip
    a, b = rows(cohort(book, horizons=[30, 60])).to_dict("records")
    assert (a["amount_within_30"], a["amount_within_60"]) == (10.0, 110.0)
    assert (a["paid_within_60"], a["cost_within_60"], a["net_within_60"]) == (1, 2.5, 107.5)
    assert b["followed"] == 30 and b["amount_within_30"] == 0.0
    assert pd.isna(b["amount_within_60"]) and pd.isna(b["paid_within_60"]) and pd.isna(b["cured_within_60"])
    assert b["cured_within_30"] == 0


def test_an_account_lost_from_view_has_no_outcome():
    book = a_book({"lost": [0, 20], "stays": [0, 20, 51, 81, 112, 142]})
    assert rows(cohort(book, horizons=[60]))["cured_within_60"].isna().tolist() == [True, False]


def test_what_was_paid_before_day_0_is_known_only_where_the_book_reaches_back():
    payments = pd.DataFrame(
        {
            "account_id": "a",
            "paid_on": ["2026-03-05", "2026-05-21", "2026-05-22"],
            "amount": [1.0, 10.0, 100.0],
        }
    )
    book = a_book({"a": [0, 0, 0, 0, 10, 41], "b": [0, 10, 0, 0, 0, 0]}, payments=payments)
    a, b = rows(cohort(book, horizons=[30])).to_dict("records")
    assert str(a["started_on"])[:10] == "2026-05-21"  # day 0 itself no longer counts as before
    assert a["paid_before_90"] == 1.0 and pd.isna(b["paid_before_90"])


def test_the_strategy_in_force_at_time_zero_and_none_where_two_contradict():
    given = pd.DataFrame(
        {"account_id": ["a", "a", "a", "b", "b"],
         "strategy": ["old", "now", "later", "one", "other"],
         "assigned_on": ["2026-01-01", "2026-02-28", "2026-03-01", "2026-02-01", "2026-02-01"],
         "randomised": [False, True, True, True, True]}
    )  # fmt: skip
    book = a_book({"a": [0, 20, 51, 0, 0, 0], "b": [0, 20, 51, 0, 0, 0]}, assignments=given)
    a, b = rows(cohort(book, horizons=[30])).to_dict("records")
    assert a["strategy"] == "now" and a["randomised"] and str(a["assigned_on"])[:10] == "2026-02-28"
    assert pd.isna(b["strategy"])


def test_arguments_that_are_no_days_are_refused():
    book = a_book({"a": [0, 20, 51, 0, 0, 0]})
    with pytest.raises(FrameError, match="horizons"):
        cohort(book, horizons=[0])
    with pytest.raises(FrameError, match="time_zero is 'soon'"):
        cohort(book, time_zero="soon")
    with pytest.raises(NotAvailable, match="past due at time zero"):
        cohort(a_book({"a": [0, 0, 0, 0, 0, 0]}))
