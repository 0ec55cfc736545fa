"""Predictions that come true, predictions that are off by a known amount, and what must be refused."""

import numpy as np
import pandas as pd
import polars as pl
import pytest

from collectlab.core.errors import FrameError
from collectlab.measures.cure_calibration import calibration


def bank(n=20_000, seed=1):
    """Cause-specific hazards constant per episode: the chance of cure within h days is known exactly."""
    rng = np.random.default_rng(seed)
    cure, loss = np.exp(rng.normal(-4.2, 0.7, n)), np.exp(rng.normal(-5.5, 0.3, n))
    day = np.ceil(rng.exponential(1 / (cure + loss))).astype(int)
    follow = rng.integers(20, 300, n)
    kind = np.where(rng.random(n) < cure / (cure + loss), "cured", "charged_off")
    chance = {h: cure / (cure + loss) * -np.expm1(-(cure + loss) * h) for h in (30, 90)}
    return pd.DataFrame(
        {
            "exit_day": np.minimum(day, follow),
            "outcome": np.where(day <= follow, kind, "censored"),
            "p30": chance[30],
            "p90": chance[90],
            "customer_id": np.arange(n) // 2,
        }
    )


def test_true_predictions_come_true():
    found = calibration(bank(), predicted={30: "p30", 90: "p90"})
    assert found.table.groupby("horizon")["group"].apply(list).tolist() == [list(range(1, 11))] * 2
    z = (found.table["estimate"] - found.table["predicted"]) / found.table["std_error"]
    assert z.abs().max() < 3.5 and (z.abs() < 1.96).mean() > 0.8
    summary = found.summary.table.set_index(["horizon", "measure"])
    for h in (30, 90):
        ratio = summary.loc[(h, "observed / expected")]
        assert ratio["conf_low"] < 1 < ratio["conf_high"]
        assert ratio["p_value"] > 0.01
        assert summary.loc[(h, "integrated difference"), "estimate"] < 0.015


def test_predictions_off_by_a_known_amount():
    frame = (
        bank()
        .query("p90 < 0.95")
        .assign(high=lambda f: f["p90"] + 0.05, twice=lambda f: (2 * f["p30"]).clip(upper=1))
    )
    high = calibration(frame, predicted="high", horizon=90).summary.table.set_index("measure")
    assert high.loc["integrated difference", "estimate"] == pytest.approx(0.05, abs=0.01)
    assert high.loc["observed / expected", "p_value"] < 1e-6
    twice = calibration(frame, predicted="twice", horizon=30)
    assert twice.table["ratio"].iloc[:8].tolist() == pytest.approx([0.5] * 8, rel=0.12)
    assert "observed / expected 0.5" in twice.notes[-1]


def test_ignoring_competition_or_censoring_would_be_off():
    frame = bank()
    dropped = frame[frame["outcome"] != "censored"]
    assert calibration(frame, predicted="p90", horizon=90).summary.table["p_value"].min() > 0.01
    assert calibration(dropped, predicted="p90", horizon=90).summary.table["p_value"].min() < 1e-6


def test_by_hand_and_ties_stay_together():
    frame = pd.DataFrame(
        {
            "exit_day": [5, 50, 70, 9, 8, 7, 6, 90],
            "outcome": ["cured", "cured", "cured", "sold", "cured", "cured", "cured", "censored"],
            "p": [0.2] * 4 + [0.8] * 4,
        }
    )
    table = calibration(frame, predicted="p", horizon=60).table
    assert table["group"].tolist() == [1, 2]
    assert table["predicted"].tolist() == pytest.approx([0.2, 0.8])
    assert table["estimate"].tolist() == pytest.approx([0.5, 0.75])
    assert table["ratio"].tolist() == pytest.approx([2.5, 0.9375])


def test_engines_clusters_and_charts():
    frame = bank(3_000)
    one = calibration(frame, predicted={30: "p30", 90: "p90"}, cluster="customer_id")
    two = calibration(pl.from_pandas(frame).lazy(), predicted={30: "p30", 90: "p90"}, cluster="customer_id")
    pd.testing.assert_frame_equal(one.table, two.table)
    ax = one.plot()
    assert [t.get_text() for t in ax.get_legend().get_texts()][1:] == ["within 30 days", "within 90 days"]
    assert "Observed / expected" not in one._repr_markdown_() and "observed / expected" in one.notes[-1]


def test_beyond_the_follow_up_is_missing_and_said():
    found = calibration(bank(2_000), predicted={30: "p30", 900: "p90"})
    assert found.table.query("horizon == 900")["estimate"].isna().any()
    assert found.table.query("horizon == 30")["estimate"].notna().all()
    assert "not every group is followed so far" in found.notes[-1]
    found.plot()
    late = calibration(
        bank(200).query("exit_day > 19").assign(entry_day=19), predicted="p90", horizon=90, groups=2
    )
    assert late.table["estimate"].isna().all()


def test_one_prediction_one_account():
    frame = bank(500).assign(p=0.5)
    assert len(calibration(frame, predicted="p", horizon=30).table) == 1
    single = calibration(frame.iloc[:1].assign(exit_day=9, outcome="cured"), predicted="p", horizon=30)
    assert single.table["estimate"].tolist() == [1.0]


@pytest.mark.parametrize(
    ("change", "options", "words"),
    [
        ({"p30": 1.2}, {}, "missing or outside 0 to 1"),
        ({"p30": np.nan}, {}, "2 of 50 rows have a 'p30'"),
        ({"exit_day": -1}, {}, "have 'exit_day' < 0"),
        ({"exit_day": 2.5}, {}, "no whole day"),
        ({}, {"predicted": "p"}, "no column 'p'"),
        ({}, {"predicted": "outcome"}, "Allowed: numbers from 0 to 1"),
        ({}, {"horizon": None}, "horizon is missing"),
        ({}, {"horizon": 0}, "whole days ≥ 1"),
        ({}, {"groups": 1}, "groups is 1"),
        ({}, {"predicted": {30: "p30"}}, "one or the other"),
        ({}, {"event": "cure"}, "Did you mean 'cured'"),
    ],
)
def test_bad_input_is_named(change, options, words):
    frame = bank(50).astype({"exit_day": float})
    for column, value in change.items():
        frame[column] = frame[column].where(np.arange(50) > 1, value)
    with pytest.raises(FrameError, match=words):
        calibration(frame, **{"predicted": "p30", "horizon": 30} | options)


def test_no_events_and_no_rows():
    frame = bank(50)
    nobody = calibration(frame.assign(outcome="censored", exit_day=90), predicted="p30", horizon=30, groups=2)
    assert nobody.table["estimate"].tolist() == [0, 0]
    with pytest.raises(FrameError, match="no rows"):
        calibration(frame.iloc[:0], predicted="p30", horizon=30)
