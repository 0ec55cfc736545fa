"""Replicate groups are the same everywhere; the interval is the textbook one where there is a textbook."""

import hashlib

import numpy as np
import pandas as pd
import polars as pl
import pytest
from scipy import stats

from collectlab.core.engine import collect, scan
from collectlab.core.errors import FrameError
from collectlab.core.jackknife import interval, jackknife, replicate_of, t_quantile, with_replicates


def test_group_is_the_md5_of_the_id_as_text():
    assert replicate_of("A-17", 50) == int(hashlib.md5(b"A-17").hexdigest()[:8], 16) % 50


@pytest.mark.parametrize("column", ["customer id", 'the "id"'])
@pytest.mark.parametrize("values", [["x", 'é"', "q'", None, "<script>", "x"], [1, 2, 3, None, -5, 1]])
def test_engines_agree_whatever_the_ids(column, values):
    frame = pd.DataFrame({"row": range(6), column: pd.Series(values, dtype=object)})
    if isinstance(values[0], int):
        frame[column] = frame[column].astype("Int64")
    lazy = pl.from_pandas(frame).lazy()
    duck = collect(with_replicates(scan(frame), column)).sort_values("row")["_replicate"].tolist()
    polars = collect(with_replicates(scan(lazy), column)).sort_values("row")["_replicate"].tolist()
    assert duck == polars == [replicate_of(v) for v in values]


def test_whole_number_and_its_text_fall_together():
    number = with_replicates(scan(pd.DataFrame({"id": [5008804, 17]})), "id", groups=7)
    text = with_replicates(scan(pd.DataFrame({"id": ["5008804", "17"]})), "id", groups=7)
    assert sorted(collect(number)["_replicate"]) == sorted(collect(text)["_replicate"])


def test_groups_are_of_like_size():
    ids = scan(pd.DataFrame({"id": range(20_000)}))
    sizes = collect(with_replicates(ids, "id", groups=10))["_replicate"].value_counts()
    assert len(sizes) == 10
    assert sizes.between(1_800, 2_200).all()


@pytest.mark.parametrize(
    ("frame", "column", "groups", "words"),
    [
        (pd.DataFrame({"customer": [1]}), "custmer", 50, "Did you mean customer"),
        (pd.DataFrame({"id": [1.5]}), "id", 50, "text or whole numbers"),
        (pd.DataFrame({"id": [1]}), "id", 1, "at least 2"),
    ],
)
def test_bad_input_is_named(frame, column, groups, words):
    with pytest.raises(FrameError, match=words):
        with_replicates(scan(frame), column, groups)


def test_mean_of_one_customer_a_group_has_the_textbook_error():
    x = np.array([3.0, 5.0, 4.0, 8.0, 1.0, 7.0])
    by_group = np.column_stack([x, np.ones(6)])
    estimate, error, low, high = jackknife(by_group.sum(0), by_group, lambda c: c[0] / c[1], 0.9)
    assert estimate == pytest.approx(x.mean())
    assert error == pytest.approx(x.std(ddof=1) / np.sqrt(6))
    assert (float(low), float(high)) == pytest.approx(
        stats.t.interval(0.9, 5, x.mean(), x.std(ddof=1) / np.sqrt(6))
    )


def test_empty_groups_do_not_count():
    x = np.array([[3.0, 1], [5.0, 1], [4.0, 1]])
    padded = np.vstack([x, np.zeros((47, 2))])
    share = lambda c: c[0] / c[1]  # noqa: E731
    np.testing.assert_allclose(jackknife(x.sum(0), x, share), jackknife(padded.sum(0), padded, share))


def test_array_statistic_with_a_group_empty_in_one_segment():
    x = np.array([[[3.0, 1], [2.0, 1]], [[5.0, 1], [0.0, 0]], [[4.0, 1], [6.0, 1]]])  # group × segment × sums
    share = lambda c: c[:, 0] / c[:, 1]  # noqa: E731
    both = jackknife(x.sum(0), x, share, present=x[:, :, 1] > 0)
    second = jackknife(x[[0, 2], 1:].sum(0), x[[0, 2], 1:], share)
    np.testing.assert_allclose(np.array(both)[:, 1], np.array(second)[:, 0])


def test_one_group_has_no_error():
    estimate, error, low, high = jackknife(np.array([2.0, 4]), np.array([[2.0, 4]]), lambda c: c[0] / c[1])
    assert estimate == 0.5
    assert np.isnan([error, low, high]).all()


@pytest.mark.parametrize("transform", ["log", "logit", "cloglog"])
def test_transformed_interval_stays_in_range_and_covers(transform):
    low, high = interval(np.array([0.02, 0.5, 0.97]), np.array([0.02, 0.1, 0.03]), 1.96, transform)
    assert (low > 0).all()
    assert (low < [0.02, 0.5, 0.97]).all()
    assert (high > [0.02, 0.5, 0.97]).all()
    if transform != "log":
        assert (high < 1).all()


def test_edge_of_the_scale_gives_no_interval():
    low, high = interval(np.array([0.0, 1.0]), np.array([0.0, 0.0]), 1.96, "cloglog")
    assert np.isnan([low, high]).all()


def test_t_quantile():
    np.testing.assert_allclose(t_quantile(0.95, np.array([49.0])), stats.t.ppf(0.975, 49))
    assert np.isnan(t_quantile(0.95, np.array([0.0]))).all()


@pytest.mark.parametrize(
    ("option", "words"), [({"conf_level": 95}, "conf_level"), ({"transform": "lgo"}, "logit")]
)
def test_wrong_options_are_refused(option, words):
    with pytest.raises(FrameError, match=words):
        jackknife(np.ones(2), np.ones((2, 2)), lambda c: c[0], **option)


def test_interval_covers_the_truth_with_repeated_episodes():
    """200 books of 300 customers, 1–4 like episodes each: the interval covers about as often as it says."""
    rng = np.random.default_rng(7)
    hits = 0
    for _ in range(200):
        p = rng.beta(2, 2, 300)
        n = rng.integers(1, 5, 300)
        events = rng.binomial(n, p)
        sums = np.zeros((50, 2))
        np.add.at(sums, rng.integers(0, 50, 300), np.column_stack([events, n]))
        _, _, low, high = jackknife(sums.sum(0), sums, lambda c: c[0] / c[1], transform="cloglog")
        hits += low <= 0.5 <= high
    assert 0.90 <= hits / 200 <= 0.99
