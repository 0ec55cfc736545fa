"""Weights worked out by hand, and the parts that a library knows too."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collectlab.effects.target_trial_weights import (
    RiskSets,
    Starting,
    clone_weights,
    even_hazard,
    incidence,
    logistic,
)
from collectlab.measures.survival import cumulative_incidence


def sets(exit_day, event, start, follow_up=4, grace=2, weekday=0, other=None, x=None):
    n = len(exit_day)
    return RiskSets(
        exit=np.array(exit_day), event=np.array(event), start=np.array(start),
        x=np.empty((n, 0)) if x is None else np.asarray(x, float), stage=np.zeros((n, follow_up), np.int8),
        other=np.zeros((n, follow_up), bool) if other is None else other,
        weekday=np.full(n, weekday), group=np.arange(n) % 5, grace=grace, follow_up=follow_up,
    )  # fmt: skip


def test_weights_by_hand():
    # Every day 20 % of those not yet called are; the first starts on day 1, the second on day 2, the third on day 4,
    # the fourth never, the fifth is cured on day 1.
    r = sets([4, 4, 4, 4, 1], [0, 0, 0, 0, 1], [1, 2, 4, 0, 0])
    starting = Starting(r)
    starting.open[:] = True
    p = np.full((5, 4), 0.2)
    start, never = clone_weights(starting, p, p)
    stay = 1 / 0.8
    assert never.tolist() == pytest.approx(
        np.array([[0, 0, 0, 0], [stay, 0, 0, 0], [stay, stay**2, stay**3, 0],
                  [stay, stay**2, stay**3, stay**4], [stay, 0, 0, 0]])
    )  # fmt: skip
    half = 0.5  # an even start over two days: 1/2 on the first, then certain
    assert start == pytest.approx(
        np.array([[half / 0.2] * 4, [half * stay, half * stay / 0.2, half * stay / 0.2, half * stay / 0.2],
                  [half * stay, 0, 0, 0], [half * stay, 0, 0, 0], [half * stay, 0, 0, 0]])
    )  # fmt: skip


def test_truncation_cuts_the_largest():
    r = sets([4] * 5, [0] * 5, [1, 2, 4, 0, 0])
    starting, p = Starting(r), np.full((5, 4), 0.2)
    whole, cut = (clone_weights(starting, p, p, t)[1] for t in (None, 0.5))
    assert cut.max() == pytest.approx(np.median(whole[whole > 0])) and cut.max() < whole.max()


@settings(max_examples=40, deadline=None)
@given(weekday=st.integers(0, 6), grace=st.integers(2, 20), closed=st.sets(st.integers(0, 6), max_size=5))
def test_an_even_start_has_the_same_mass_on_each_possible_day(weekday, grace, closed):
    r = sets([20], [0], [1], follow_up=20, grace=grace, weekday=weekday)
    starting = Starting(r)
    starting.open = ~np.isin((weekday + r.days) % 7, list(closed))[None, :]
    h = even_hazard(starting)[0]
    mass = h * np.concatenate([[1], np.cumprod(1 - h)[:-1]])
    possible = starting.open[0] & (r.days <= grace)
    if possible.any():
        np.testing.assert_allclose(mass, possible / possible.sum(), atol=1e-12)


def test_days_without_starts_get_no_mass():
    rng = np.random.default_rng(1)
    start = rng.integers(1, 21, 300)
    start[(3 + start) % 7 == 6] = 0  # time zero on Thursdays; never on Sundays
    starting = Starting(sets([20] * 300, [0] * 300, start, follow_up=20, grace=14, weekday=3))
    assert starting.closed.tolist() == [6]
    chance, _ = starting.chances()
    sundays = (3 + np.arange(1, 21)) % 7 == 6
    assert (chance[:, sundays] == 0).all() and (even_hazard(starting)[:, sundays] == 0).all()


def test_a_treatment_that_takes_the_place_of_others_is_told_by_their_days():
    rng = np.random.default_rng(2)
    draw = rng.random((2000, 4))
    first = np.where((draw < 0.1).any(axis=1), (draw < 0.1).argmax(axis=1) + 1, 0)
    starting = Starting(sets([4] * 2000, [0] * 2000, first, other=draw > 0.5))
    assert starting.exclusive
    chance, given_other = starting.chances()
    open_ = starting.risk
    assert chance[open_].mean() == pytest.approx(0.1, abs=0.01)
    assert (given_other[open_ & starting.sets.other] == 0).all()
    assert given_other[open_ & ~starting.sets.other].mean() == pytest.approx(0.2, abs=0.02)


def test_logistic_is_the_library_s():
    import statsmodels.api as sm

    rng = np.random.default_rng(3)
    x = np.hstack([np.ones((40, 1)), rng.normal(size=(40, 3))])
    n = rng.integers(5, 50, 40).astype(float)
    y = rng.binomial(n.astype(int), 1 / (1 + np.exp(-(x @ [-1.0, 0.5, -0.3, 0.0])))).astype(float)
    ours = logistic(x, n, y, ridge=0.0)
    theirs = sm.GLM(np.stack([y, n - y], axis=1), x, family=sm.families.Binomial()).fit().params
    np.testing.assert_allclose(ours, theirs, atol=1e-5)
    np.testing.assert_allclose(logistic(x, n, y, first=ours + 0.1, ridge=0.0), theirs, atol=1e-5)


def test_a_pattern_without_starts_keeps_a_finite_coefficient():
    x = np.array([[1.0, 0.0], [1.0, 1.0]])
    b = logistic(x, np.array([100.0, 100.0]), np.array([20.0, 0.0]))
    p = 1 / (1 + np.exp(-x @ b))
    assert np.isfinite(b).all() and p[0] == pytest.approx(0.2, abs=0.01) and p[1] < 0.005


def test_the_replicate_s_fit_is_that_of_the_others():
    rng = np.random.default_rng(4)
    n = 500
    x = rng.normal(size=(n, 1))
    start = np.where(rng.random(n) < 0.4 + 0.1 * (x[:, 0] > 0), rng.integers(1, 5, n), 0)
    full = sets([4] * n, [0] * n, start, x=x)
    starting = Starting(full)
    starting.chances()
    kept = full.group != 2
    alone = sets([4] * kept.sum(), [0] * kept.sum(), start[kept], x=x[kept])
    np.testing.assert_allclose(
        starting.chances(left_out=2)[0][kept], Starting(alone).chances()[0], rtol=2e-3
    )  # the penalty is on columns standardised over all


def test_incidence_is_aalen_johansen():
    rng = np.random.default_rng(5)
    exit_day, kind = rng.integers(1, 31, 200), rng.integers(0, 3, 200)
    at_risk = (np.arange(1, 31) <= exit_day[:, None]).astype(float)
    ours = incidence(at_risk, exit_day, kind)
    frame = pd.DataFrame(
        {"exit_day": exit_day, "outcome": np.array(["censored", "cured", "charged_off"])[kind]}
    )
    curve = cumulative_incidence(frame, duration="exit_day", outcome="outcome").table
    cured = curve[(curve["outcome"] == "cured") & (curve["day"].between(1, 30))].set_index("day")["estimate"]
    cured = cured.reindex(range(1, 31)).ffill()
    np.testing.assert_allclose(ours[:25], cured.to_numpy()[:25], atol=1e-12)


def test_incidence_is_unknown_once_nobody_is_left():
    found = incidence(np.array([[1.0, 0.0, 0.0]]), np.array([1]), np.array([0]))
    assert found[0] == 0 and np.isnan(found[2])
