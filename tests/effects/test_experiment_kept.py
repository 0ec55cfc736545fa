"""The checks that a book's own tables allow."""

from __future__ import annotations

import datetime as dt

import pandas as pd
import pytest

import collectlab as cl
from collectlab.effects.experiment_kept import book_checks

DAY = dt.date(2026, 3, 1)


def book(**tables):
    """Six accounts drawn on 1 March; ``e`` under two arms that day, ``f`` moved ten days later."""
    ids = list("abcdef")
    assignments = [(i, "new" if i in "abe" else "old", DAY, True) for i in ids]
    assignments += [("e", "old", DAY, True), ("f", "new", DAY + dt.timedelta(10), False)]
    columns = ["account_id", "strategy", "assigned_on", "randomised"]
    standard = {
        "accounts": pd.DataFrame({"account_id": ids}),
        "snapshots": pd.DataFrame({"account_id": ids, "as_of": dt.date(2026, 6, 30), "days_past_due": 0}),
        "assignments": pd.DataFrame(assignments, columns=columns),
    }
    return cl.open_book(standard | tables)


def calls(*rows: tuple[str, str, int]) -> pd.DataFrame:
    return pd.DataFrame(
        [(i, pd.Timestamp(DAY) + pd.Timedelta(days, "D"), "call", agent) for i, agent, days in rows],
        columns=["account_id", "at", "channel", "agent"],
    )


def named(*args, **options):
    return {c.name: c for c in book_checks(*args, **options)}


def test_overlapping_assignments_are_counted_and_named():
    made = named(book())["one_arm"]
    assert made.passed is False and made.value == 2
    assert "1 accounts stand under two arms at once and are kept apart: e" in made.says
    assert "1 of 5 accounts were put under another arm later" in made.says
    assert ": f." in made.says


def test_a_move_after_the_read_out_does_not_count():
    assert "another arm" not in named(book(), days=9)["one_arm"].says
    assert "within 10 days" in named(book(), days=10)["one_arm"].says


@pytest.mark.parametrize(("agents", "share"), [("xxyy", 0.0), ("xyxy", 1.0), ("xxxy", 0.75)])
def test_spillover_from_the_log(agents, share):
    log = calls(*((i, agent, 5) for i, agent in zip("abcd", agents)))
    made = named(book(actions=log))["spillover"]
    assert made.value == pytest.approx(share) and made.passed is (share <= 0.1)


def test_actions_before_the_draw_or_after_the_read_out_spill_nothing():
    log = calls(("a", "x", 5), ("c", "x", -1), ("d", "x", 40))
    assert named(book(actions=log), days=30)["spillover"].value == 0
    assert named(book(actions=log))["spillover"].value == 1


def test_without_agents_it_is_said():
    log = calls(("a", "x", 5)).drop(columns="agent")
    for made in (named(book()), named(book(actions=log))):
        assert made["spillover"].passed is None and "No agents" in made["spillover"].says


def test_assignments_come_first():
    assert named(book())["assignment_first"].passed
    late = pd.DataFrame(
        {
            "account_id": ["a", "b", "c"],
            "strategy": ["new", "old", "old"],
            "assigned_on": [DAY, DAY, dt.date(2026, 6, 30)],
            "randomised": True,
        }
    )
    assert named(book(assignments=late))["assignment_first"].passed
