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
