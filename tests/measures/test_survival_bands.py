"""Critical values against published ones and simulation, and bands on curves."""

import numpy as np
import pandas as pd
import pytest

from collectlab.core.errors import FrameError
from collectlab.measures.survival import kaplan_meier
from collectlab.measures.survival_bands import (
    equal_precision,
    hall_wellner,
    stays_equal_precision,
    stays_hall_wellner,
)


@pytest.mark.parametrize(
    ("high", "critical"),
    [(0.1, 0.682), (0.25, 1.014), (0.4, 1.198), (0.5, 1.273), (0.6, 1.321), (0.75, 1.354), (0.9, 1.358)],
)
def test_hall_and_wellners_table(high, critical):
    """From day 0 on, as tabulated in Hall and Wellner (1980)."""
    assert hall_wellner(0.0, high) == pytest.approx(critical, abs=6e-4)


@pytest.mark.parametrize(("level", "critical"), [(0.9, 1.2238), (0.95, 1.3581), (0.99, 1.6276)])
def test_over_everything_it_is_kolmogorovs(level, critical):
    assert hall_wellner(0.0, 1 - 1e-9, level) == pytest.approx(critical, abs=1e-4)


@pytest.mark.parametrize("ratio", [20, 81, 361, 9801])
def test_equal_precision_near_its_asymptotic_formula(ratio):
    """Miller and Siegmund's tail: 4 φ(c) / c + φ(c) (c − 1 / c) log ratio, good in the tail."""
    for level in (0.95, 0.99):
        c = equal_precision(ratio, level)
        density = np.exp(-(c**2) / 2) / np.sqrt(2 * np.pi)
        assert 4 * density / c + density * (c - 1 / c) * np.log(ratio) == pytest.approx(1 - level, rel=0.04)


def test_one_day_alone_is_the_normal_quantile():
    assert equal_precision(1.0) == pytest.approx(1.959964)
    assert equal_precision(1 + 1e-7) == pytest.approx(1.96, abs=0.01)


def test_the_more_days_the_wider():
    assert np.all(np.diff([equal_precision(r) for r in (1.1, 2, 10, 1e3, 1e6)]) > 0)
    assert np.all(np.diff([hall_wellner(0.2, b) for b in (0.2001, 0.3, 0.6, 0.9)]) > 0)
    assert hall_wellner(1e-6, 0.5) == pytest.approx(hall_wellner(0, 0.5), abs=1e-6)


def test_against_simulated_paths():
    rng = np.random.default_rng(8)
    a = np.linspace(0.2, 0.7, 1001)
    steps = rng.standard_normal((4_000, len(a))) * np.sqrt(np.diff(a, prepend=0.0))
    at = np.cumsum(steps, axis=1)
    end = at[:, -1] + rng.standard_normal(len(at)) * np.sqrt(1 - a[-1])
    bridge = at - a * end[:, None]
    # A path seen at steps misses some of its excursions: as if the limits were this much wider (Siegmund).
    missed = 0.583 * np.sqrt(a[1] - a[0])
    seen = (np.abs(bridge).max(axis=1) <= 1.1).mean()
    assert seen == pytest.approx(stays_hall_wellner(1.1 + missed, 0.2, 0.7), abs=0.02)
    scaled = np.abs(bridge) / np.sqrt(a * (1 - a))
    ratio = 0.7 * 0.8 / (0.2 * 0.3)
    seen = (scaled.max(axis=1) <= 2.2).mean()
    shift = 0.583 * np.sqrt((a[1] - a[0]) * np.mean(1 / (a * (1 - a))))
    assert seen == pytest.approx(stays_equal_precision(2.2 + shift, ratio), abs=0.02)


def uniform(n=100, **columns):
    return pd.DataFrame({"exit_day": range(1, n + 1), "outcome": "cured", **columns})


@pytest.mark.parametrize("conf_type", ["log-log", "log", "plain"])
@pytest.mark.parametrize("kind", ["equal-precision", "hall-wellner"])
def test_bands_hold_the_pointwise_limits(kind, conf_type):
    curve = kaplan_meier(uniform(), conf_type=conf_type)
    band = curve.band(kind, from_day=20, to_day=80)
    inner, outer = curve.at(range(20, 81)), band.at(range(20, 81))
    assert (outer["conf_low"] <= inner["conf_low"]).all() and (outer["conf_high"] >= inner["conf_high"]).all()
    assert outer["estimate"].tolist() == inner["estimate"].tolist()
    assert band.at([5, 95])["conf_low"].isna().all()
    assert "Simultaneous" in band.notes[0]
    assert band.table["conf_low"].notna().sum() == 61


def test_equal_precision_by_hand():
    band = kaplan_meier(uniform(), conf_type="plain").band(from_day=20, to_day=80).at(50)
    clock = {t: (1 / (100 - t) - 1 / 100) for t in (20, 80)}  # Greenwood's sum telescopes
    critical = equal_precision(clock[80] / clock[20])
    assert (band["conf_high"] - 0.5).iloc[0] == pytest.approx(critical * 0.5 * np.sqrt(1 / 50 - 1 / 100))


def test_hall_wellner_by_hand():
    band = kaplan_meier(uniform(), conf_type="plain").band("hall-wellner", from_day=20, to_day=80).at(50)
    # Without censoring a = 1 − S, and the band on S is k / √n everywhere.
    assert (band["conf_high"] - 0.5).iloc[0] == pytest.approx(hall_wellner(0.2, 0.8) / 10)


def test_bands_by_group_and_where_nobody_leaves_on_the_first_day():
    frame = pd.DataFrame({"exit_day": [5, 20, 30, 40] * 2, "outcome": "cured", "team": list("AAAABBBB")})
    band = kaplan_meier(frame, by="team").band(from_day=10, to_day=35)
    at = band.at([10, 35]).set_index(["team", "day"])
    assert at["conf_low"].notna().all()
    assert band.plot() is not None
    assert band.quantiles(0.5).table["estimate"].tolist() == [25, 25]


@pytest.mark.parametrize(
    ("options", "arguments", "words"),
    [
        ({}, {"kind": "nair"}, "kind is 'nair'. Allowed: 'equal-precision'"),
        ({}, {"from_day": 50, "to_day": 20}, "from_day 50 lies after to_day 20"),
        ({}, {"from_day": 1.5}, "whole days"),
        ({"robust": True}, {}, "Greenwood"),
        ({"event": "sold"}, {}, "no event between these days in everybody"),
    ],
)
def test_bad_questions_are_refused(options, arguments, words):
    with pytest.raises(FrameError, match=words):
        kaplan_meier(uniform(), **options).band(**arguments)
