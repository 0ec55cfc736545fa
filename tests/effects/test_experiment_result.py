"""How an experiment's result is shown."""

from __future__ import annotations

import pandas as pd
import pytest

from collectlab.effects.experiment import experiment
from collectlab.effects.experiment_result import label_of


def result(arms: str = "abc", **options):
    frame = pd.DataFrame({"arm": list(arms) * 20, "paid_within_30": [0, 1, 1, 0, 1] * (4 * len(arms))})
    frame["paid_within_60"] = frame["paid_within_30"].where(frame.index % 7 > 0, 1)
    frame["cost_within_60"] = (frame["arm"] != "a").astype(float)
    return experiment(frame, arm="arm", control="a", **options)


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("paid_within_30", "Paid anything within 30 days"),
        ("paid_in_full_within_90", "Paid in full within 90 days"),
        ("net_within_90", "Amount paid less cost within 90 days"),
        ("cured_by_30", "Cured by day 30"),
        ("days_cured_within_30", "Days cured within 30 days"),
        ("ever_paid_jul", "ever_paid_jul"),
        ("resolved_within_30", "resolved_within_30"),
    ],
)
def test_outcomes_are_named_in_words(name, label):
    assert label_of(name) == label


def test_several_arms_show_the_interval_that_holds_for_all_of_them():
    shown = result().display_table()
    assert list(shown.columns)[-2:] == ["95 % interval, all arms", "p-value, all arms"]
    assert shown["95 % interval, all arms"].str.contains("pp to").any()
    assert not any(c.startswith("Sim") for c in shown.columns)


def test_one_arm_has_no_such_columns():
    one = result("ab")
    assert "sim_low" not in one.table
    assert not any("all arms" in c for c in one.display_table().columns)


def test_a_cost_that_is_the_same_for_all_of_an_arm_is_money_and_certain():
    rows = result(outcomes="cost_within_60").table
    assert rows["unit"].tolist() == ["money2", "money2"]
    assert rows["estimate"].tolist() == pytest.approx([1, 1])
    assert rows["std_error"].tolist() == [0, 0]
    assert rows["sim_low"].tolist() == pytest.approx([1, 1])


def test_horizons_of_the_first_outcome_are_drawn_side_by_side():
    ax = result().plot()
    assert [t.get_text() for t in ax.get_legend().get_texts()] == [
        "Paid anything within 30 days",
        "Paid anything within 60 days",
    ]


def test_a_long_table_names_what_it_leaves_out():
    arms = [f"arm {i:02}" for i in range(22)]
    frame = pd.DataFrame({"strategy": arms * 10, "paid_within_30": [0, 1] * 110})
    frame["amount_within_30"] = frame["paid_within_30"] * 7.0
    made = experiment(frame, control="arm 00")
    assert set(made.table["outcome"]) == {"paid_within_30"}
    assert any("Amount paid within 30 days" in note for note in made.notes)
