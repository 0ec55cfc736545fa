"""Daily hazards by hand, their smoothing where it must be exact, and their chart."""

import numpy as np
import pandas as pd
import pytest

from collectlab.core.errors import FrameError
from collectlab.measures.survival import hazard
from collectlab.measures.survival_hazard import _smooth


def book(days, outcomes, **columns):
    return pd.DataFrame({"exit_day": days, "outcome": outcomes, **columns})


def simulated(n=4_000, seed=1):
    rng = np.random.default_rng(seed)
    frame = book(np.minimum(rng.geometric(0.02, n), 120), "cured", team=rng.choice(list("AB"), n))
    return frame.assign(outcome=np.where(frame["exit_day"] == 120, "censored", "cured"))


def test_raw_shares_by_hand():
    table = hazard(book([1, 3, 3, 4, 6], ["cured", "cured", "sold", "cured", "censored"]), bandwidth=0).table
    assert table["day"].tolist() == [1, 2, 3, 4, 5, 6]
    assert table["at_risk"].tolist() == [5, 4, 4, 2, 1, 1]
    assert table["estimate"].tolist() == pytest.approx([1 / 5, 0, 1 / 4, 1 / 2, 0, 0])
    assert table["std_error"].tolist() == pytest.approx([1 / 5, 0, 1 / 4, 1 / 2, 0, 0])
    assert table["conf_low"].isna().tolist() == [False, True, False, False, True, True]


def test_interior_weights_are_epanechnikovs():
    n, d = np.full(41, 100.0), np.zeros(41)
    d[20] = 10
    estimate, error = _smooth(n, d, 3)
    x = np.arange(-3, 4) / 4
    weights = (1 - x**2) / (1 - x**2).sum()
    assert estimate[17:24] == pytest.approx(0.1 * weights)
    assert error[17:24] == pytest.approx(np.sqrt(10) / 100 * weights)
    assert not estimate[:17].any() and not estimate[24:].any()


@pytest.mark.parametrize("bandwidth", [1, 7, 30, 365])
def test_straight_hazards_are_found_exactly_also_at_the_ends(bandwidth):
    n = np.full(60, 1e6)
    line = 0.01 + 0.0005 * np.arange(60)
    estimate, _ = _smooth(n, n * line, bandwidth)
    assert estimate == pytest.approx(line, rel=1e-9)


def test_days_without_anybody_at_risk_count_for_nothing():
    n = np.array([10.0] * 5 + [0] * 20 + [10.0] * 5)
    estimate, _ = _smooth(n, n / 10, 2)
    assert np.isnan(estimate[8:20]).all()
    assert estimate[n > 0] == pytest.approx(0.1)


def test_a_constant_hazard_lies_in_its_interval():
    table = hazard(simulated()).table
    covered = (table["conf_low"] < 0.02) & (table["conf_high"] > 0.02)
    assert covered.mean() > 0.85
    raw = hazard(simulated(), bandwidth=0).table
    smoother = table["std_error"].median() / raw["std_error"].median()
    # Σ K² of Epanechnikov's weights over 15 days: the error of a mean over some 13 days.
    assert smoother == pytest.approx(np.sqrt(0.0756), rel=0.15)
    assert table["estimate"].mean() == pytest.approx(0.02, rel=0.1)


def test_a_hazard_ends_where_few_are_left():
    assert hazard(simulated(200)).table["at_risk"].min() >= 10
    assert len(hazard(book([1, 2, 3], "cured")).table) == 3


def test_day_0_counts_if_somebody_left_on_it():
    assert hazard(book([0, 2], "cured"), bandwidth=0).table["estimate"].tolist() == [0.5, 0, 1]


def test_late_entry():
    table = hazard(book([3, 5], "cured", e=[0, 2]), entry="e", bandwidth=0).table
    assert table["at_risk"].tolist() == [1, 1, 2, 1, 1]


def test_chart_marks_the_stages():
    result = hazard(simulated(), by="team", stages={"SMS": 1, "Call": 15, "Visit": 60, "Court": 400})
    ax = result.plot()
    assert [t.get_text() for t in ax.texts] == ["SMS", "Call", "Visit"]
    assert [line.get_xdata()[0] for line in ax.get_lines()[-3:]] == [1, 15, 60]
    assert any("Court (day 400)" in note for note in result.notes)
    assert len(result.display_table()) == 6
    assert list(hazard(simulated(), stages=[30, 8]).stages) == ["day 8", "day 30"]
    assert "2 largest of 4" in hazard(simulated().assign(team=lambda f: f.index % 4), by="team").plot(
        max_groups=2
    ).get_title("left")


def test_nobody_and_one_account():
    assert hazard(book([4, 5], "censored")).table["estimate"].tolist() == [0] * 5
    assert hazard(book([4], "cured")).plot() is not None
    assert hazard(book([0], "cured")).table["day"].tolist() == [0]
    assert hazard(book([4, 5], "censored")).plot() is not None


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"bandwidth": -1}, "bandwidth is -1"),
        ({"bandwidth": 2.5}, "bandwidth is 2.5"),
        ({"stages": [1.5]}, "stages is"),
        ({"stages": {"SMS": -3}}, "stages is"),
        ({"event": "curd"}, "Did you mean 'cured'"),
    ],
)
def test_bad_questions_are_refused(arguments, words):
    with pytest.raises(FrameError, match=words):
        hazard(book([1], "cured"), **arguments)
