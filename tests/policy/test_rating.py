"""The rating under other rules."""

from pathlib import Path

import pandas as pd
import pytest

from collectlab.core.errors import NotAvailable
from collectlab.policy import load_targets, rating_sensitivity, scorecard

TARGETS = load_targets(Path(__file__).parents[2] / "params" / "targets.yml")
GOALS = TARGETS.on("2026-10-31")


def card(where):
    """KPI → steps from the target towards good (1 is the distance to the poor limit), tightly known."""
    rows = []
    for key, step in where.items():
        goal = GOALS[key]
        middle = goal.target + step * (goal.target - goal.poor)
        width = 0.01 * abs(goal.target - goal.poor)
        rows.append((key, middle, middle - width, middle + width))
    frame = pd.DataFrame(rows, columns=["kpi", "estimate", "conf_low", "conf_high"])
    return scorecard(frame, TARGETS, on="2026-10-31")


def rated(found, what):
    return found.table.set_index("what")["rating"][what]


def test_a_clear_month_is_good_under_every_rule():
    found = rating_sensitivity(card(dict.fromkeys(GOALS, 0.9)), TARGETS)
    assert found.rating == "good"
    assert set(found.table["rating"]) == {"good"}
    assert "stands under all" in found.notes[0]


def test_one_kpi_beyond_its_poor_limit_makes_the_rating_and_the_table_says_which():
    where = dict.fromkeys(GOALS, 0.9) | {"satisfaction": -2.0}
    found = rating_sensitivity(card(where), TARGETS)
    assert found.rating == "poor"
    assert rated(found, "without the poor limits") == "average"
    name = GOALS["satisfaction"].kpi.name.text("en")
    assert rated(found, f"without “{name}”") == "good"
    moved = found.table[found.table["changed"] == "yes"]
    assert set(moved["what"]) == {"without the poor limits", f"without “{name}”"}


def test_estimates_taken_for_certain_decide_what_intervals_left_open():
    goal = GOALS["recovery_rate"]
    rows = [
        (key, g.target + 0.1 * (g.target - g.poor), *sorted((g.poor, g.target + (g.target - g.poor))))
        for key, g in GOALS.items()
    ]
    frame = pd.DataFrame(rows, columns=["kpi", "estimate", "conf_low", "conf_high"])
    open_card = scorecard(frame, TARGETS, on="2026-10-31")
    assert open_card.kpi("recovery_rate")["target"] == goal.target
    found = rating_sensitivity(open_card, TARGETS)
    assert found.rating == "cannot be rated"
    assert rated(found, "by the estimates alone, as if they were certain") == "good"


def test_no_kpi_no_rating():
    empty = scorecard(
        pd.DataFrame(columns=["kpi", "estimate", "conf_low", "conf_high"]), TARGETS, on="2015-01-01"
    )
    with pytest.raises(NotAvailable):
        rating_sensitivity(empty, TARGETS)
