"""Power and sizes: against statsmodels, against the test itself by simulation, and back from one to the other."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collectlab.core.errors import FrameError
from collectlab.effects._least_squares import fit
from collectlab.effects.design import (
    answer_date,
    enrolment_pace,
    minimum_detectable_effect,
    power,
    sample_size,
)


def one(result, column: str) -> float:
    assert len(result.table) == 1
    return float(result.table[column].iloc[0])


@pytest.mark.parametrize("ratio", [1, 0.5, 3])
def test_means_agree_with_statsmodels(ratio):
    from statsmodels.stats.power import TTestIndPower

    theirs = TTestIndPower().power(effect_size=0.2, nobs1=400, ratio=ratio, alpha=0.05)
    # HC3's variance of a mean is s²/(n − 1), the t-test's s²/n.
    assert one(power(400, 20, sd=100, control_ratio=ratio), "power") == pytest.approx(theirs, abs=2e-3)


def test_large_shares_agree_with_the_textbook():
    from scipy.stats import norm

    n, p, q = 40_000, 0.31, 0.30
    error = np.sqrt((p * (1 - p) + q * (1 - q)) / n)
    textbook = norm.sf(norm.isf(0.025) - 0.01 / error)
    assert one(power(n, 0.01, baseline=0.30), "power") == pytest.approx(textbook, abs=2e-3)


def test_few_accounts_by_hand():
    # 2 and 2: only (2, 0) and (0, 2) differ, and there both variances are 0, so the test rejects.
    p, q = 0.7, 0.2
    assert one(power(2, 0.5, baseline=q), "power") == pytest.approx(p**2 * (1 - q) ** 2 + (1 - p) ** 2 * q**2)


def simulated(n: int, p: float, control_n: int, q: float, reps: int = 4000) -> float:
    """How often the least squares inside ``experiment`` rejects."""
    from scipy.special import stdtrit

    rng = np.random.default_rng(4)
    drawn = np.stack([rng.binomial(n, p, reps), rng.binomial(control_n, q, reps)], axis=1)
    told = 0
    for (paid, control_paid), times in zip(*np.unique(drawn, axis=0, return_counts=True)):
        count = np.array([paid, n - paid, control_paid, control_n - control_paid], dtype=float)
        keep = count > 0
        y, x = np.array([1.0, 0, 1, 0])[keep], np.array([[1.0], [1], [0], [0]])[keep]
        found = fit(y, x, count[keep], np.zeros(keep.sum(), dtype=int))
        error = np.sqrt(found.covariance[0, 0])
        reach = stdtrit(found.freedom, 0.975) * error
        told += times * (error > 0 and abs(found.estimate[0]) > reach)
    return told / reps


@pytest.mark.parametrize(
    ("n", "effect", "control_n", "baseline"),
    [
        (600, 0.02, 600, 0.02),
        (250, 0.02, 1000, 0.02),
        (1000, 0.02, 250, 0.02),
        (300, 0.1, 300, 0.4),
        (500, -0.03, 400, 0.05),
    ],
)
def test_shares_are_within_two_points_of_the_test_itself(n, effect, control_n, baseline):
    formula = one(power(n, effect, baseline=baseline, control_ratio=control_n / n), "power")
    assert formula == pytest.approx(simulated(n, baseline + effect, control_n, baseline), abs=0.02)


@pytest.mark.parametrize(("n", "control_n", "share"), [(500, 500, 0.05), (1600, 400, 0.3)])
def test_at_one_look_no_effect_is_called_one_five_times_in_a_hundred(n, control_n, share):
    # The small version of benchmarks/experiments.py.
    assert 0.04 < simulated(n, share, control_n, share) < 0.06


def test_exact_and_normal_meet_where_one_hands_over(monkeypatch):
    from collectlab.effects import design_math

    row = {
        "n": 3000,
        "control_ratio": 1.0,
        "effect": 0.03,
        "baseline": 0.2,
        "sd": None,
        "arms": 1,
        "alpha": 0.05,
    }
    row |= {"multiplicity": "none", "cluster_size": 1, "icc": 0.0, "r_squared": 0.0}
    for peeking in (False, True):
        monkeypatch.setattr(design_math, "_PAIRS", 10**8)
        exact = design_math.power_of(row | {"peeking": peeking})
        monkeypatch.setattr(design_math, "_PAIRS", 0)
        assert design_math.power_of(row | {"peeking": peeking}) == pytest.approx(exact, abs=3e-3)


@settings(max_examples=10, deadline=None)
@given(st.floats(0.02, 0.9), st.floats(0.01, 0.09), st.sampled_from([0.5, 1.0, 2.0]))
def test_the_sample_found_has_the_power_and_a_smaller_one_has_not(baseline, effect, ratio):
    found = sample_size(effect, baseline=baseline, control_ratio=ratio)
    n = int(one(found, "n_arm"))
    assert one(found, "power") >= 0.8
    assert one(power(n, effect, baseline=baseline, control_ratio=ratio), "power") == one(found, "power")
    fewer = one(power(max(int(0.97 * n) - 2, 2), effect, baseline=baseline, control_ratio=ratio), "power")
    assert fewer < 0.81
    back = one(minimum_detectable_effect(n, baseline=baseline, control_ratio=ratio), "effect")
    assert back == pytest.approx(effect, rel=0.02)


def test_means_back_and_forth():
    n = one(sample_size(40, sd=600, sd_arm=700), "n_arm")
    assert n == pytest.approx((600**2 + 700**2) * (1.95996 + 0.84162) ** 2 / 40**2, rel=1e-3)
    assert one(minimum_detectable_effect(int(n), sd=600, sd_arm=700), "effect") == pytest.approx(40, rel=1e-3)
    assert one(
        minimum_detectable_effect(int(n), sd=600, sd_arm=700, decrease=True), "effect"
    ) == pytest.approx(-40, rel=1e-3)


def test_clusters_and_covariates_change_the_size_by_their_factor():
    plain = one(sample_size(40, sd=600), "n_arm")
    assert one(sample_size(40, sd=600, r_squared=0.5), "n_arm") == pytest.approx(plain / 2, rel=0.01)
    clustered = one(sample_size(40, sd=600, cluster_size=5, icc=0.1), "n_arm")
    assert clustered == pytest.approx(1.4 * plain, rel=0.01)
    assert clustered % 5 == 0
    shares = [one(sample_size(0.05, baseline=0.3, cluster_size=5, icc=icc), "n_arm") for icc in (0.0, 0.1)]
    assert shares[1] == pytest.approx(1.4 * shares[0], rel=0.02)


def test_several_arms_divide_alpha_unless_told_not_to():
    several = one(sample_size(0.06, baseline=0.3, arms=3), "n_arm")
    assert several == pytest.approx(one(sample_size(0.06, baseline=0.3, alpha=0.05 / 3), "n_arm"), rel=5e-3)
    assert one(sample_size(0.06, baseline=0.3, arms=3, multiplicity="none"), "n_arm") == pytest.approx(
        one(sample_size(0.06, baseline=0.3), "n_arm"), rel=5e-3
    )
    assert one(sample_size(0.06, baseline=0.3, arms=3), "n_total") == 4 * several


def test_looking_costs_accounts():
    fixed, looked = (one(sample_size(0.06, baseline=0.3, peeking=p), "n_arm") for p in (False, True))
    # At the last look alone it would be ((3.035 + 0.842) / (1.960 + 0.842))² = 1.91.
    assert looked / fixed == pytest.approx(1.69, abs=0.03)


def test_lists_make_a_grid():
    result = power([500, 1000], [0.02, 0.04, 0.06], baseline=[0.3, 0.5])
    assert len(result.table) == 12
    assert (
        result.table.groupby(["baseline", "effect"])["power"].apply(lambda p: p.is_monotonic_increasing).all()
    )
    assert list(result.table.columns) == ["baseline", "effect", "n_arm", "n_control", "n_total", "power"]
    assert "alpha" in power(500, 0.05, baseline=0.3, alpha=[0.05, 0.1]).table
    assert "+2.0 pp" in result._repr_markdown_()
    assert np.array_equal(power(np.array([500, 1000]), 0.02, baseline=0.3).table["n_arm"], [500, 1000])


def test_a_share_that_cannot_change_that_much_has_no_smallest_effect():
    result = minimum_detectable_effect([20, 2000], baseline=0.97)
    assert result.table["effect"].isna().tolist() == [True, False]


def test_all_faults_are_told_at_once():
    with pytest.raises(FrameError) as told:
        power([1, 100], 0, baseline=1.2, alpha=0, control_ratio=-1, icc=2, multiplicity="holm")
    assert len(told.value.faults) == 7
    assert "n is 1. Allowed: whole numbers ≥ 2." in told.value.faults


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: power(100, 0.1), "neither baseline nor sd"),
        (lambda: power(100, 0.5, baseline=0.7), "a share of 1.2"),
        (lambda: power("many", 0.1, baseline=0.3), "n is 'many'"),
        (lambda: power([], 0.1, baseline=0.3), "empty list"),
        (lambda: sample_size(0.1, baseline=0.3, power=0.03), "power is 0.03"),
        (lambda: sample_size(1e-6, baseline=0.3), "no number of accounts up to"),
        (lambda: answer_date(100, pace=-1, as_of="2026-01-01"), "pace is -1"),
    ],
)
def test_bad_input_is_told(call, says):
    with pytest.raises(FrameError, match=says):
        call()


def test_the_answer_waits_for_the_last_of_three():
    # 1,200 more at 400 a month are three months, 91.3 days: on day 92.
    later = answer_date(2000, enrolled=800, pace=400, as_of="2026-01-01", horizon_days=30).table.iloc[0]
    assert later["enrolled_on"] == pd.Timestamp(dt.date(2026, 1, 1) + dt.timedelta(days=92))
    assert later["answer_on"] == later["enrolled_on"] + pd.Timedelta(days=30)
    assert later["weeks"] == pytest.approx(122 / 7)
    least = answer_date(
        2000,
        enrolled=2000,
        pace=0,
        as_of="2026-01-01",
        horizon_days=30,
        minimum_days=180,
        started_on="2025-12-01",
    )
    assert least.table["answer_on"].iloc[0] == pd.Timestamp("2026-05-30")
    never = answer_date([10, 2000], enrolled=10, pace=0, as_of="2026-01-01")
    assert never.table["answer_on"].isna().tolist() == [False, True]
    assert "–" in never._repr_markdown_()


def test_the_pace_is_that_of_the_days_counted():
    frame = pd.DataFrame(
        {"since": pd.to_datetime(["2026-01-01"] * 50 + ["2026-06-01"] * 30 + ["2026-06-30"] * 30)}
    )
    row = enrolment_pace(frame, on="since", as_of="2026-06-30", days=30).table.iloc[0]
    assert (row["accounts"], row["first_day"]) == (60, pd.Timestamp("2026-06-01"))
    assert row["estimate"] == pytest.approx(60 * 30.4375 / 30)
    assert row["conf_low"] == pytest.approx(45.79 * 30.4375 / 30, abs=0.02)  # Garwood's interval of 60
    assert row["conf_high"] == pytest.approx(77.23 * 30.4375 / 30, abs=0.02)
    none = enrolment_pace(frame, on="since", as_of="2026-12-31", days=30).table.iloc[0]
    assert (none["estimate"], none["conf_low"]) == (0, 0) and none["conf_high"] > 0
    with pytest.raises(FrameError, match="no dates"):
        enrolment_pace(frame.iloc[:0], on="since")
    with pytest.raises(FrameError, match="days is 0"):
        enrolment_pace(frame, on="since", days=0)
