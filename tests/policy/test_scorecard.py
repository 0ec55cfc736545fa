"""The scorecard: met, missed or cannot tell, by the interval; the rating by the published rule."""

from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectlab.core.errors import FrameError
from collectlab.policy import load_targets, scorecard
from collectlab.policy.scorecard import status

TARGETS = load_targets(Path(__file__).parents[2] / "params" / "targets.yml")
GOALS = TARGETS.on("2026-10-31")
ORDER = {"missed": 0, "cannot tell": 1, "met": 2}


def card(rows, **options):
    columns = ["kpi", "estimate", "conf_low", "conf_high"]
    return scorecard(pd.DataFrame(rows, columns=columns), TARGETS, on="2026-10-31", **options)


def all_kpis(where):
    """Every KPI met (+1), on the target (0) or missed between target and poor limit (−1), tightly."""
    rows = []
    for key, goal in GOALS.items():
        step = where * (goal.target - goal.poor) * 0.5
        middle, width = goal.target + step, abs(goal.target - goal.poor) * 0.1
        rows.append((key, middle, middle - width, middle + width))
    return rows


@pytest.mark.parametrize(
    ("kpi", "estimate", "low", "high", "expected"),
    [
        ("recovery_rate", 0.84, 0.81, 0.87, "met"),
        ("recovery_rate", 0.84, 0.80, 0.88, "met"),  # the target itself is good enough
        ("recovery_rate", 0.84, 0.79, 0.89, "cannot tell"),
        ("recovery_rate", 0.76, 0.73, 0.79, "missed"),
        ("recovery_rate", 0.84, None, None, "cannot tell"),
        ("recovery_rate", None, None, None, "not available"),
        ("new_loan_bad_rate", 0.005, 0.001, 0.010, "met"),
        ("new_loan_bad_rate", 0.014, 0.009, 0.019, "cannot tell"),
        ("new_loan_bad_rate", 0.020, 0.015, 0.025, "missed"),
        ("delinquency_change", -0.08, -0.10, -0.06, "met"),
        ("delinquency_change", -0.08, -0.12, -0.04, "cannot tell"),
    ],
)
def test_the_interval_decides_not_the_estimate(kpi, estimate, low, high, expected):
    assert card([(kpi, estimate, low, high)]).kpi(kpi)["status"] == expected


def test_a_kpi_without_a_row_or_without_observations_is_not_available():
    frame = pd.DataFrame(
        {"kpi": ["recovery_rate"], "estimate": [0.9], "conf_low": [0.8], "conf_high": [1.0], "n": [0]}
    )
    table = scorecard(frame, TARGETS, on="2026-10-31").table
    assert set(table["status"]) == {"not available"}
    assert list(table["kpi"]) == list(GOALS)


finite = st.floats(-2, 3, allow_nan=False)


@given(st.sampled_from(["at_least", "at_most"]), finite, finite, finite, st.floats(0, 2), st.floats(0, 2))
def test_moving_an_interval_in_the_good_direction_never_worsens_the_status(
    direction, target, a, b, step_a, step_b
):
    low, high = sorted((a, b))
    good = 1 if direction == "at_least" else -1
    moved_low, moved_high = low + good * step_a, high + good * step_b
    if moved_low > moved_high:
        return
    before = status(direction, target, (low + high) / 2, low, high)
    after = status(direction, target, (moved_low + moved_high) / 2, moved_low, moved_high)
    assert ORDER[after] >= ORDER[before]


@given(finite, finite, st.floats(0, 1), st.floats(0, 1))
def test_a_wider_interval_is_never_surer(target, middle, narrow, more):
    tight = status("at_least", target, middle, middle - narrow, middle + narrow)
    wide = status("at_least", target, middle, middle - narrow - more, middle + narrow + more)
    assert wide in (tight, "cannot tell")


@pytest.mark.parametrize(("where", "rating"), [(1, "good"), (-1, "poor"), (0, "cannot be rated")])
def test_the_rating_when_all_kpis_stand_alike(where, rating):
    assert card(all_kpis(where)).rating == rating


def test_one_missed_kpi_keeps_a_card_from_being_good():
    rows = all_kpis(1)
    missed = dict((r[0], r) for r in all_kpis(-1))
    rows[1] = missed[rows[1][0]]
    found = card(rows)
    assert found.rating == "average"
    assert "missed 7 %" in found.reached


def test_one_kpi_beyond_its_poor_limit_makes_the_card_poor():
    rows = [
        ("new_loan_bad_rate", 0.05, 0.04, 0.06) if r[0] == "new_loan_bad_rate" else r for r in all_kpis(1)
    ]
    found = card(rows)
    assert found.rating == "poor"
    assert "beyond the poor limit: Bad rate of new loans" in found.reached
    almost = [
        ("new_loan_bad_rate", 0.05, 0.029, 0.06) if r[0] == "new_loan_bad_rate" else r for r in all_kpis(1)
    ]
    assert card(almost).rating == "average"


def test_most_of_the_weight_unknown_cannot_be_rated():
    found = card([("recovery_rate", 0.9, 0.88, 0.92)])
    assert found.rating == "cannot be rated"
    assert "met 21 %" in found.reached and "not available 79 %" in found.reached


def test_the_rule_and_how_it_was_reached_stand_under_the_table():
    found = card(all_kpis(1))
    shown = found._repr_html_()
    assert TARGETS.rating.sentence() in shown.replace("&#x27;", "'")
    assert "Reached by weight: met 100 %; none beyond its poor limit. Hence: good." in shown


def test_the_table_as_read_has_units_and_the_target():
    shown = card([("recovery_rate", 0.761, 0.73, 0.79)]).display_table().iloc[0]
    assert shown[["Estimate", "95 % interval", "Target", "Status"]].tolist() == [
        "76.1 %",
        "73.0 % to 79.0 %",
        "≥ 80.0 %",
        "missed",
    ]


@pytest.mark.parametrize(
    ("kpi", "now", "before", "change"),
    [
        ("recovery_rate", (0.80, 0.79, 0.81), (0.70, 0.69, 0.71), "better"),
        ("recovery_rate", (0.70, 0.69, 0.71), (0.80, 0.79, 0.81), "worse"),
        ("recovery_rate", (0.71, 0.69, 0.73), (0.70, 0.68, 0.72), "no clear change"),
        ("new_loan_bad_rate", (0.02, 0.018, 0.022), (0.01, 0.009, 0.011), "worse"),
        ("recovery_rate", (0.71, 0.69, 0.73), (None, None, None), ""),
    ],
)
def test_the_change_against_before_is_judged_by_both_intervals(kpi, now, before, change):
    columns = ["kpi", "estimate", "conf_low", "conf_high", "previous", "previous_low", "previous_high"]
    frame = pd.DataFrame([(kpi, *now, *before)], columns=columns)
    assert scorecard(frame, TARGETS, on="2026-10-31").kpi(kpi)["change"] == change


def test_wrong_input_is_refused_all_at_once():
    frame = pd.DataFrame(
        [
            ("recovery_rate", 0.9, 0.95, 0.99, "share"),
            ("recovery_rate", 0.9, 0.8, 0.99, "share"),
            ("satisfaction", "high", 0.8, 0.9, "number"),
            ("new_loan_bad_rate", 1.2, 1.0, 1.4, "points"),
            ("promise_kept_rate", float("inf"), 0, 1, "share"),
        ],
        columns=["kpi", "estimate", "conf_low", "conf_high", "unit"],
    )
    with pytest.raises(FrameError) as error:
        scorecard(frame, TARGETS, on="2026-10-31")
    found = str(error.value)
    assert "recovery_rate: estimate 0.9 with interval 0.95 to 0.99" in found
    assert "recovery_rate has more than one row" in found
    assert "satisfaction: estimate is 'high'" in found
    assert "new_loan_bad_rate: unit 'points'. Allowed: 'share'" in found
    assert "promise_kept_rate: the estimate is infinite" in found
    with pytest.raises(FrameError, match="no column conf_low, conf_high"):
        scorecard(frame.drop(columns=["conf_low", "conf_high"]), TARGETS, on="2026-10-31")


def test_a_kpi_without_a_target_is_not_judged_and_named():
    found = card([("roll_rate", 0.1, 0.05, 0.15)])
    assert "roll_rate" not in set(found.table["kpi"])
    assert any("Not judged" in note and "roll_rate" in note for note in found.notes)


def test_before_any_target_nothing_is_rated():
    frame = pd.DataFrame({"kpi": ["recovery_rate"], "estimate": [0.9], "conf_low": [0.8], "conf_high": [1.0]})
    found = scorecard(frame, TARGETS, on="1999-01-31")
    assert (found.rating, len(found.table)) == ("cannot be rated", 0)
    assert found._repr_html_() and found._repr_markdown_()


def test_the_chart_marks_each_kpi_that_has_data():
    ax = card([("recovery_rate", 0.76, 0.73, 0.79), ("satisfaction", 99, None, None)]).plot()
    assert [t.get_text() for t in ax.get_yticklabels()] == [
        "Recovery rate",
        "Satisfaction of those contacted",
    ]
    assert [t.get_text() for t in ax.get_xticklabels()] == ["poor limit", "target"]
