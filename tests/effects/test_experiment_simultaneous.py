"""Intervals that hold for all arms at once: against quadrature, Dunnett's table, and by simulation."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collectlab.effects.experiment import experiment
from collectlab.effects.experiment_simultaneous import simultaneous


def shared_control(k: int, rho: float = 0.5) -> np.ndarray:
    return np.full((k, k), rho) + (1 - rho) * np.eye(k)


def quadrature(k: int, freedom: float, rho: float = 0.5) -> float:
    """The 95 % point of max |T| with one common correlation: a double integral over the shared part and the scale."""
    from scipy import optimize, stats

    nodes, weights = np.polynomial.hermite_e.hermegauss(80)
    scale = np.sqrt(stats.chi2.ppf((np.arange(1_000) + 0.5) / 1_000, freedom) / freedom)

    def miss(c: float) -> float:
        a = c * scale[:, None]
        shift = np.sqrt(rho) * nodes
        inside = stats.norm.cdf((a - shift) / np.sqrt(1 - rho)) - stats.norm.cdf(
            (-a - shift) / np.sqrt(1 - rho)
        )
        return float((inside**k).mean(axis=0) @ weights / weights.sum()) - 0.95

    return optimize.brentq(miss, 1.5, 6)


@pytest.mark.parametrize(("k", "freedom"), [(2, 20), (3, 20), (7, 20_000), (7, 10)])
def test_the_width_is_that_of_quadrature(k, freedom):
    _, high, _ = simultaneous(np.zeros(k), shared_control(k), freedom)
    assert np.ptp(high) < 1e-12
    assert high[0] == pytest.approx(quadrature(k, freedom), abs=0.01)


def test_dunnetts_table():
    # Dunnett (1964), two-sided, 20 degrees of freedom: 2.38 for two arms, 2.54 for three.
    for k, c in ((2, 2.38), (3, 2.54)):
        assert simultaneous(np.zeros(k), shared_control(k), 20)[1][0] == pytest.approx(c, abs=0.01)


def test_one_arm_is_the_plain_interval():
    from scipy import stats

    _, high, p = simultaneous(np.array([1.0]), np.array([[0.25]]), 30)
    assert high[0] == pytest.approx(1 + stats.t.ppf(0.975, 30) / 2, abs=0.005)
    assert p[0] == pytest.approx(2 * stats.t.sf(2, 30), abs=1e-9)  # at most k times the plain one: equal here


def test_arms_without_a_spread_do_not_disturb_the_others():
    covariance = np.full((3, 3), 0.5) + 0.5 * np.eye(3)
    covariance[1], covariance[:, 1] = np.nan, np.nan
    low, high, p = simultaneous(np.array([0.0, 1.0, 0.0]), covariance, 20)
    assert np.isnan(low[1]) and np.isnan(p[1])
    assert high[0] == pytest.approx(2.38, abs=0.01)
    certain = simultaneous(np.array([1.0, 0.0]), np.diag([0.0, 1.0]), 20)
    assert (certain[0][0], certain[1][0], certain[2][0]) == (1, 1, 0)


@settings(max_examples=40, deadline=None)
@given(
    st.integers(2, 8),
    st.integers(3, 500),
    st.lists(st.floats(-6, 6), min_size=8, max_size=8),
    st.floats(0, 0.95),
)
def test_between_the_plain_interval_and_bonferronis(k, freedom, t, rho):
    from scipy import stats

    estimate = np.array(t[:k])
    _, high, p = simultaneous(estimate, shared_control(k, rho), freedom)
    plain = 2 * stats.t.sf(np.abs(estimate), freedom)
    assert (p >= plain - 1e-12).all() and (p <= np.minimum(1, k * plain) + 1e-12).all()
    reach = high - estimate
    slack = 0.02 * reach  # of the quadrature
    assert (reach >= stats.t.ppf(0.975, freedom) - slack).all()
    assert (reach <= stats.t.ppf(1 - 0.025 / k, freedom) + slack).all()
    order = np.argsort(np.abs(estimate))
    assert (np.diff(p[order]) <= 1e-9).all()


def test_all_arms_are_covered_together_as_often_as_said():
    from collectlab.effects._least_squares import fit

    rng = np.random.default_rng(11)
    sizes = np.array([120, 60, 60, 60, 60])
    arm = np.repeat(np.arange(5), sizes)
    x = (arm[:, None] == np.arange(1, 5)).astype(float)
    together = plain = 0
    for _ in range(400):
        y = rng.exponential(1 + (arm == 2), len(arm)) - (arm == 2)
        found = fit(y, x, np.ones(len(arm)), np.zeros(len(arm), dtype=int))
        error = np.sqrt(np.diag(found.covariance))
        low, high, _ = simultaneous(found.estimate, found.covariance, found.freedom)
        together += bool(((low <= 0) & (high >= 0)).all())
        plain += bool((np.abs(found.estimate) <= 1.966 * error).all())
    assert 0.92 <= together / 400 <= 0.975  # 95 % with a Monte-Carlo error of 1.1 points
    assert plain / 400 < 0.90


def test_the_same_every_time_and_in_the_table():
    rng = np.random.default_rng(5)
    frame = pd.DataFrame({"arm": list("abcd") * 50, "paid": rng.integers(0, 2, 200)})
    tables = [experiment(frame, arm="arm", control="a", outcomes="paid").table for _ in range(2)]
    pd.testing.assert_frame_equal(*tables, check_exact=True)
    assert (tables[0]["sim_low"] < tables[0]["conf_low"]).all()
    assert (tables[0]["p_adjusted"] >= tables[0]["p_value"]).all()
