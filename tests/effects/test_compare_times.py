"""Comparisons of times: grouped hazards turned into a difference by a day."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from collectlab.core.errors import FrameError
from collectlab.effects.compare import compare
from collectlab.effects.compare_times import compare_times


def ends(n: int = 3000, seed: int = 1) -> pd.DataFrame:
    """Low bands are called and are slow; a call raises the daily hazard of cure by half."""
    rng = np.random.default_rng(seed)
    low = rng.random(n) < 0.5
    called = rng.random(n) < np.where(low, 0.8, 0.2)
    day = rng.geometric(np.where(low, 0.01, 0.03) * np.where(called, 1.5, 1.0))
    watched = rng.integers(30, 120, n)
    return pd.DataFrame(
        {
            "called": called,
            "band": np.where(low, "low", "high"),
            "end_day": np.minimum(day, watched),
            "outcome": np.where(day <= watched, "cured", "censored"),
        }
    )


def truth(day: int) -> float:
    return float(np.mean([(1 - h) ** day - (1 - 1.5 * h) ** day for h in (0.01, 0.03)]))


@pytest.mark.parametrize("treated", [True, False])
def test_the_difference_by_a_day_is_recovered_with_either_side_as_treated(treated):
    found = compare_times(
        ends(), treatment="called", treated=treated, covariates="band", horizon=25
    ).table.iloc[0]
    expected = truth(25) * (1 if treated else -1)
    assert found["conf_low"] < expected < found["conf_high"]
    assert found["std_error"] < 0.03
    other = compare_times(
        ends(), treatment="called", treated=not treated, covariates="band", horizon=25
    ).table.iloc[0]
    assert found["estimate"] == pytest.approx(-other["estimate"])
    assert found["mean_without"] == pytest.approx(other["mean_without"] + other["estimate"])
    assert found["n_treated"] == other["n_untreated"]


def test_it_stands_beside_a_comparison_of_the_same_outcome():
    frame = ends()
    frame = frame.assign(
        cured_within_25=((frame["end_day"] <= 25) & (frame["outcome"] == "cured")).astype(int)
    )
    hazards = compare_times(frame, treatment="called", treated=True, covariates="band", horizon=25)
    result = compare(frame, treatment="called", outcome="cured_within_25", covariates="band").beside(hazards)
    assert list(result.table["method"])[-1] == "grouped hazards"
    # Everybody is followed for 25 days: both ask the same, and hazards use all days of it.
    assert result.table["estimate"].iloc[-1] == pytest.approx(result.table["estimate"].iloc[3], abs=0.02)
    money = frame.assign(amount=np.arange(len(frame), dtype=float))
    with pytest.raises(FrameError, match="points"):
        compare(money, treatment="called", outcome="amount", covariates="band").beside(hazards)


def test_refused():
    with pytest.raises(FrameError, match="two values"):
        compare_times(
            ends().assign(called=True), treatment="called", treated=True, covariates="band", horizon=25
        )
    with pytest.raises(FrameError, match="horizon is 500"):
        compare_times(ends(), treatment="called", treated=True, covariates="band", horizon=500)


ASKED = {"treatment": "called", "treated": True, "horizon": 25}


def test_covariates_that_tell_the_treated_from_the_untreated_are_refused():
    frame = ends()
    frame["copy"] = frame["called"].astype(int)
    frame["said"] = np.where(frame["called"], "yes", "no")
    frame["above"] = np.arange(len(frame)) + 10_000 * frame["called"]
    for name in ("copy", "said", "above"):
        with pytest.raises(FrameError, match=f"perfect separation by {name}"):
            compare_times(frame, covariates=["band", name], **ASKED)
    noise = np.random.default_rng(3).normal(size=len(frame))
    both = frame.assign(one=noise, other=noise + frame["called"])
    with pytest.raises(FrameError, match="the covariates together"):
        compare_times(both, covariates=["one", "other"], **ASKED)


def test_levels_follow_the_rule_of_compare_and_what_is_pooled_is_said():
    frame = ends()
    number = np.arange(len(frame))
    with pytest.raises(FrameError, match="'many' has 300 different texts"):
        compare_times(frame.assign(many=[f"k{i % 300}" for i in number]), covariates="many", **ASKED)
    with pytest.raises(FrameError, match="rare: all levels are rare"):
        compare_times(frame[:800].assign(rare=[f"k{i % 40}" for i in range(800)]), covariates="rare", **ASKED)
    some = frame.assign(some=np.where(number < 20, [f"k{i % 2}" for i in number], frame["band"]))
    notes = compare_times(some, covariates="some", **ASKED).notes
    assert "some: 2 rare levels (20 episodes) pooled as other." in notes


def test_missing_covariates_are_counted():
    frame = ends()
    frame["band"] = frame["band"].where(np.arange(len(frame)) % 10 > 0)
    notes = compare_times(frame, covariates="band", **ASKED).notes
    assert "300 of 3,000 episodes set aside: band is missing." in notes


@pytest.mark.parametrize("name", ["n", "value", "t", "x0", "term"])
def test_the_treatment_may_have_any_name(name):
    plain = compare_times(ends(), covariates="band", **ASKED).table
    named = compare_times(
        ends().rename(columns={"called": name}), covariates="band", **ASKED | {"treatment": name}
    ).table
    pd.testing.assert_frame_equal(named, plain)


def test_covariates_that_adjust_for_nothing_are_refused():
    for covariates, said in (([], "covariates is empty"), ("same", "none of the covariates same differs")):
        with pytest.raises(FrameError, match=said):
            compare_times(ends().assign(same=1), covariates=covariates, **ASKED)
    with pytest.raises(FrameError, match="too few of them"):
        compare_times(ends(45).assign(x=np.arange(45) % 7), covariates="x", **ASKED)
