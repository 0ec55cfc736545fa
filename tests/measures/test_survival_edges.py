"""Every survival measure on odd frames: an answer or a clear refusal, never a crash or a wrong number."""

import warnings

import numpy as np
import pandas as pd
import pytest

from collectlab.core.errors import FrameError
from collectlab.measures import survival

ONE_GROUP = {
    "kaplan_meier": survival.kaplan_meier,
    "cumulative_incidence": survival.cumulative_incidence,
    "nelson_aalen": survival.nelson_aalen,
    "hazard": survival.hazard,
    "restricted_mean": lambda frame, **a: survival.restricted_mean(frame, horizon=2, **a),
    "time_lost": lambda frame, **a: survival.time_lost(frame, horizon=2, **a),
}
GROUPS = {
    "log_rank": survival.log_rank,
    "gray_test": survival.gray_test,
    "restricted_mean_difference": lambda f, **a: survival.restricted_mean_difference(f, horizon=2, **a),
    "time_lost_difference": lambda f, **a: survival.time_lost_difference(f, horizon=2, **a),
}
EVERY = ONE_GROUP | {name: lambda f, m=m, **a: m(f, by="team", **a) for name, m in GROUPS.items()}


def book(days, outcomes, **columns):
    return pd.DataFrame({"exit_day": days, "outcome": outcomes, **columns})


TWO = {"team": ["A", "B"] * 2}


@pytest.fixture(autouse=True)
def no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        yield


@pytest.mark.parametrize("name", ONE_GROUP)
@pytest.mark.parametrize(
    "frame",
    [
        book([3], "cured"),
        book([3] * 4, "cured"),
        book([3] * 4, ["cured", "sold", "censored", "censored"]),
        book([2, 5], ["sold", "censored"]),
        book([2, 5, 5], ["cured", "cured", "censored"]),
    ],
    ids=["one account", "all on one day", "one distinct day", "nobody cured", "nearly nobody"],
)
def test_odd_frames(name, frame):
    for options in ({}, {"robust": True}, {"cluster": "id"}):
        if name == "hazard" and options:
            continue
        result = ONE_GROUP[name](frame.assign(id=range(len(frame))), **options)
        values = result.table["estimate"].to_numpy()
        assert np.isfinite(values).all() and (values >= 0).all()
        low, high = result.table["conf_low"].to_numpy(), result.table["conf_high"].to_numpy()
        known = ~np.isnan(low)
        assert (low[known] <= values[known] + 1e-12).all() and (high[known] >= values[known] - 1e-12).all()
        assert result._repr_html_() and result._repr_markdown_()


@pytest.mark.parametrize("name", EVERY)
def test_a_group_without_events_and_one_of_one_account(name):
    frame = book(
        [2, 3, 4, 5, 6, 2], ["cured", "censored", "sold", "censored", "cured", "cured"], team=list("ABABAC")
    )
    options = {"by": "team"} if name in ONE_GROUP else {}
    table = EVERY[name](frame, **options).table
    assert {"A", "B", "C"} >= set(table["team"]) and len(table)


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("weight", [0, -1, np.inf, np.nan])
def test_weights_that_are_none_are_refused(name, weight):
    frame = book([2, 3, 4, 5], ["cured", "sold", "cured", "censored"], w=[1, 1, 1, weight], **TWO)
    with pytest.raises(FrameError, match="1 of 4 rows have a 'w'"):
        EVERY[name](frame, weight="w")


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"exit_day": [-1, 3, 4, 5]}, "'exit_day' < 0"),
        ({"exit_day": [1.5, 3, 4, 5]}, "no whole day"),
        ({"outcome": [None, "cured", "sold", "censored"]}, "no 'outcome'"),
    ],
)
def test_bad_rows_are_refused(name, change, words):
    frame = book([2, 3, 4, 5], ["cured", "sold", "cured", "censored"], **TWO)
    with pytest.raises(FrameError, match=words):
        EVERY[name](frame.assign(**change))


@pytest.mark.parametrize("name", EVERY)
def test_no_rows(name):
    with pytest.raises(FrameError, match="no rows"):
        EVERY[name](book([2], "cured", team="A").iloc[:0])


@pytest.mark.parametrize("name", EVERY)
def test_rows_in_any_order_give_the_same_bytes(name):
    rng = np.random.default_rng(0)
    n = 200
    frame = book(
        rng.integers(1, 30, n), rng.choice(["cured", "sold", "censored"], n), team=rng.choice(["A", "B"], n)
    )
    frame["w"] = rng.random(n) + 0.1
    ours, shuffled = (EVERY[name](f, weight="w") for f in (frame, frame.sample(frac=1, random_state=1)))
    pd.testing.assert_frame_equal(ours.table, shuffled.table, check_exact=True)
    assert ours._repr_html_() == shuffled._repr_html_()


@pytest.mark.parametrize("cluster", [None, "id"])
def test_at_refuses_beyond_the_follow_up_whatever_the_errors(cluster):
    frame = book([3, 8], ["cured", "censored"], id=[1, 2])
    for curves in (
        survival.kaplan_meier(frame, cluster=cluster),
        survival.cumulative_incidence(frame, cluster=cluster),
    ):
        with pytest.raises(FrameError, match="everybody up to day 8"):
            curves.at(9)
        assert np.isnan(curves.at(9, beyond="nan")["estimate"]).all()
