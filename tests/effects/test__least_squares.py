"""The score test of equal means: against a formula, the rows themselves, and by simulation."""

from __future__ import annotations

import numpy as np
import pytest

from collectlab.effects._least_squares import equal_means


def ones(n: int) -> tuple[np.ndarray, np.ndarray]:
    return np.ones(n), np.zeros(n, dtype=int)


def test_one_value_and_two_arms_by_hand():
    # x − mean: −1.5 −0.5 0.5 1.5; t − mean: −½ −½ ½ ½; Σ t x = 2, Σ t² = 1, Σ x² = 5; each row three times.
    test = equal_means(np.arange(4.0)[:, None], np.array([0, 0, 1, 1.0])[:, None], 3 * ones(4)[0], ones(4)[1])
    assert test.statistic == pytest.approx((3 * 2) ** 2 / (3 * 1 * 3 * 5 / 11))
    assert test.degrees == 1


def test_counts_are_rows():
    rng = np.random.default_rng(1)
    value, arm, times = rng.normal(size=(40, 3)), rng.integers(0, 3, 40), rng.integers(1, 4, 40)
    block = rng.integers(0, 2, 40)
    treated = (arm[:, None] == [1, 2]).astype(float)
    counted = equal_means(value, treated, times.astype(float), block)
    rows = np.repeat(np.arange(40), times)
    plain = equal_means(value[rows], treated[rows], np.ones(len(rows)), block[rows])
    assert counted.statistic == pytest.approx(plain.statistic)
    assert counted.degrees == plain.degrees == 6


def test_clusters_of_equal_rows_count_once():
    rng = np.random.default_rng(2)
    value, arm = rng.normal(size=(60, 2)), np.tile([0.0, 1.0], 30)[:, None]
    once = equal_means(value, arm, *ones(60), cluster=np.arange(60))
    assert once.p_value == pytest.approx(equal_means(value, arm, *ones(60)).p_value, abs=0.1)
    rows = np.repeat(np.arange(60), 5)
    five = equal_means(value[rows], arm[rows], *ones(300), cluster=rows)
    assert five.p_value == pytest.approx(once.p_value)


def test_flags_in_arms_are_pearsons_test():
    from scipy import stats

    table = np.array([[12, 88], [25, 75], [9, 141]])
    arm = np.repeat(np.arange(3), 2)
    treated = (arm[:, None] == [1, 2]).astype(float)
    test = equal_means(np.array([1.0, 0] * 3)[:, None], treated, table.ravel().astype(float), ones(6)[1])
    pearson = stats.chi2_contingency(table, correction=False)
    assert test.statistic == pytest.approx(pearson.statistic * (350 - 1) / 350)
    assert test.degrees == pearson.dof == 2


def test_the_same_column_twice_adds_nothing():
    rng = np.random.default_rng(3)
    value, arm = rng.normal(size=(50, 1)), np.tile([0.0, 1.0], 25)[:, None]
    once, twice = (
        equal_means(value, arm, *ones(50)),
        equal_means(np.hstack([value, 2 * value]), arm, *ones(50)),
    )
    assert twice.degrees == 1 and twice.statistic == pytest.approx(once.statistic)


def test_nothing_to_test():
    arm = np.tile([0.0, 1.0], 10)[:, None]
    assert np.isnan(equal_means(np.ones((20, 1)), arm, *ones(20)).p_value)
    many = np.random.default_rng(4).normal(size=(20, 5))
    assert np.isnan(equal_means(many, arm, *ones(20)).p_value)  # four units a degree of freedom


def test_it_rejects_as_often_as_it_says_and_finds_what_is_there():
    rng = np.random.default_rng(6)
    false = true = 0
    for _ in range(400):
        arm = rng.integers(0, 3, 300)
        value = rng.exponential(size=(300, 4))
        treated = (arm[:, None] == [1, 2]).astype(float)
        false += equal_means(value, treated, *ones(300)).p_value < 0.05
        value[:, 0] += 0.5 * (arm == 1)
        true += equal_means(value, treated, *ones(300)).p_value < 0.05
    assert false / 400 < 0.085
    assert true / 400 > 0.6
