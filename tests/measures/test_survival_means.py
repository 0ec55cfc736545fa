"""Mean days within a horizon, and their differences, by hand."""

import numpy as np
import pandas as pd
import pytest

from collectlab.core.errors import FrameError
from collectlab.measures.survival import (
    restricted_mean,
    restricted_mean_difference,
    time_lost,
    time_lost_difference,
)


def book(days, outcomes, **columns):
    return pd.DataFrame({"exit_day": days, "outcome": outcomes, **columns})


MIXED = book(
    [1, 2, 3, 4, 6, 8] * 2,
    ["cured", "sold", "censored", "cured", "cured", "censored", "sold", "cured", "cured", "censored"]
    + ["sold"] * 2,
    team=["A"] * 6 + ["B"] * 6,
)


def test_time_lost_and_time_left_make_the_horizon():
    lost = time_lost(MIXED, horizon=7, by="team").table.groupby("team")["estimate"].sum()
    left = restricted_mean(MIXED, horizon=7, by="team", event=("cured", "sold")).table.set_index("team")[
        "estimate"
    ]
    assert (lost + left).tolist() == pytest.approx([7, 7])


def test_time_lost_by_hand():
    # F of cure is 1/2 from day 2 on; nobody else leaves before the horizon.
    table = time_lost(book([2, 2, 9, 9], ["cured", "cured", "sold", "censored"]), horizon=6).table
    assert table.set_index("outcome")["estimate"].to_dict() == {"cured": 2.0, "sold": 0.0}
    # Four days × the error of one half out of four.
    assert table["std_error"].tolist() == pytest.approx([4 * np.sqrt(0.25 / 4), 0])


def test_with_one_outcome_the_errors_agree():
    frame = MIXED.assign(outcome=MIXED["outcome"].replace("sold", "censored"))
    lost, left = time_lost(frame, horizon=7).table, restricted_mean(frame, horizon=7).table
    assert lost["std_error"].tolist() == pytest.approx(left["std_error"].tolist())


def test_differences_against_the_reference():
    means = restricted_mean(MIXED, horizon=7, by="team").table
    table = restricted_mean_difference(MIXED, by="team", horizon=7, reference="B").table
    assert table[["team", "reference", "episodes"]].values.tolist() == [["A", "B", 6]]
    assert table["estimate"].iloc[0] == pytest.approx(-means["estimate"].diff().iloc[1])
    assert table["std_error"].iloc[0] == pytest.approx(np.hypot(*means["std_error"]))
    z = abs(table["estimate"] / table["std_error"]).iloc[0]
    from scipy.special import ndtr

    assert table["p_value"].iloc[0] == pytest.approx(2 * ndtr(-z))
    turned = restricted_mean_difference(MIXED, by="team", horizon=7).table
    assert turned["estimate"].iloc[0] == pytest.approx(-table["estimate"].iloc[0])


def test_time_lost_differences_have_a_row_an_outcome():
    table = time_lost_difference(MIXED, by="team", horizon=7).table
    each = time_lost(MIXED, horizon=7, by="team").table.pivot(
        index="outcome", columns="team", values="estimate"
    )
    assert table["outcome"].tolist() == ["cured", "sold"] and set(table["team"]) == {"B"}
    assert table["estimate"].tolist() == pytest.approx((each["B"] - each["A"]).tolist())


def test_reference_of_two_columns_and_of_whole_numbers():
    frame = MIXED.assign(year=[2023, 2024] * 6)
    table = restricted_mean_difference(frame, by=["team", "year"], horizon=3, reference=("B", 2023)).table
    assert table[["team", "year"]].values.tolist() == [["A", 2023], ["A", 2024], ["B", 2024]]
    assert set(table["reference"]) == {"B, 2023"}
    assert len(restricted_mean_difference(frame, by="year", horizon=3, reference=2024).table) == 1


@pytest.mark.parametrize("measure", [restricted_mean_difference, time_lost_difference])
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"by": "team", "reference": "C"}, "reference 'C' is no group. Allowed: A, B"),
        ({"by": []}, "one group"),
        ({"by": "team", "horizon": 9}, "team=A up to day 8"),
        ({"by": "team", "horizon": 0}, "horizon is 0"),
        ({"by": "team", "horizon": 2.5}, "whole days"),
        ({"by": "team", "conf_level": 2}, "conf_level is 2"),
    ],
)
def test_bad_questions_are_refused(measure, arguments, words):
    with pytest.raises(FrameError, match=words):
        measure(MIXED, **({"horizon": 7} | arguments))


def test_time_lost_needs_an_outcome():
    with pytest.raises(FrameError, match="every 'outcome' is censored"):
        time_lost(book([1, 2], "censored"), horizon=1)


def test_a_group_without_events_and_one_account():
    frame = pd.concat([MIXED, book([9], "censored", team=["C"])])
    table = restricted_mean_difference(frame, by="team", horizon=7, reference="C").table
    assert (table["estimate"] < 0).all() and (table["std_error"] > 0).all()
