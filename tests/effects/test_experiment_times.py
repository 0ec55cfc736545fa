"""Curves of an experiment: by hand, against the survival measures, and by simulation."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from collectlab.core.errors import FrameError
from collectlab.effects.effect_result import Check
from collectlab.effects.experiment_times import experiment_curves
from collectlab.measures import survival


def episodes(n: int = 400, seed: int = 1, factor: float = 1.0, arms: int = 2) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    arm = rng.permutation(n) % arms
    cure, off = 0.01 * np.where(arm == 1, factor, 1.0), 0.004
    end = np.ceil(rng.exponential(1 / (cure + off)))
    how = np.where(rng.random(n) < cure / (cure + off), "cured", "charged_off")
    watched = rng.integers(60, 150, n)
    return pd.DataFrame(
        {
            "arm": pd.Series(arm).map(dict(enumerate("abcd"))),
            "exit_day": np.minimum(end, watched).astype(int),
            "outcome": np.where(end > watched, "censored", how),
            "who": rng.integers(0, n // 2, n),
            "late": np.where(rng.random(n) < 0.2, np.minimum(end, watched) // 3, 0).astype(int),
        }
    )


OPTIONS = {"arm": "arm", "control": "a"}


def test_by_hand():
    frame = pd.DataFrame(
        {
            "arm": ["b"] * 4 + ["a"] * 4,
            "exit_day": [1, 1, 3, 9, 2, 3, 9, 9],
            "outcome": ["cured"] * 3 + ["sold", "cured", "sold", "cured", "sold"],
        }
    )
    table = experiment_curves(frame, horizons=(1, 4), **OPTIONS).table
    assert table["outcome"].tolist() == [
        "cured_by_1",
        "days_cured_within_1",
        "cured_by_4",
        "days_cured_within_4",
    ]
    assert table["unit"].tolist() == ["points", "days"] * 2
    # Nobody is censored: shares of four. Within 4 days, b: 3 + 3 + 1 days cured; a: 2.
    assert table["estimate"].tolist() == pytest.approx([0.5, 0.0, 0.5, 7 / 4 - 2 / 4])
    assert table["control_mean"].tolist() == pytest.approx([0, 0, 0.25, 0.5])
    # The variance of a share of n, p (1 − p) / n, in each arm.
    assert table["std_error"].iloc[2] == pytest.approx(np.sqrt((0.75 * 0.25 + 0.25 * 0.75) / 4))
    assert (table["n"].iloc[0], table["control_n"].iloc[0]) == (4, 4)


@pytest.mark.parametrize("cluster", [None, "who"])
@pytest.mark.parametrize("entry", [None, "late"])
def test_agrees_with_the_survival_measures(cluster, entry):
    frame = episodes(factor=1.5)
    made = experiment_curves(frame, horizons=(30, 60), cluster=cluster, entry=entry, **OPTIONS)
    table = made.table.set_index("outcome")
    how = {"entry": entry, "cluster": cluster, "robust": cluster is None}
    for day in (30, 60):
        rows = survival.cumulative_incidence(frame, by="arm", **how).at(day)
        rows = rows[rows["outcome"] == "cured"].set_index("arm")
        row = table.loc[f"cured_by_{day}"]
        assert row["estimate"] == pytest.approx(rows.loc["b", "estimate"] - rows.loc["a", "estimate"])
        if cluster is None:
            assert row["std_error"] == pytest.approx(np.hypot(*rows["std_error"]))
        lost = survival.time_lost_difference(frame, by="arm", horizon=day, reference="a", **how).table
        lost = lost[lost["outcome"] == "cured"].iloc[0]
        row = table.loc[f"days_cured_within_{day}"]
        for column in ("estimate", "std_error", "conf_low", "conf_high", "p_value"):
            assert row[column] == pytest.approx(lost[column], rel=1e-6), column


def test_several_arms_hold_together():
    table = experiment_curves(episodes(arms=3, factor=1.5), horizons=60, **OPTIONS).table
    assert table["arm"].tolist() == ["b", "c"] * 2
    assert (table["sim_low"] < table["conf_low"]).all() and (table["p_adjusted"] >= table["p_value"]).all()
    assert "sim_low" not in experiment_curves(episodes(), horizons=60, **OPTIONS).table


def test_the_headline_is_the_share_at_the_longest_horizon():
    made = experiment_curves(episodes(), horizons=(30, 60), **OPTIONS)
    assert made.table["outcome"].iloc[made.headline] == "cured_by_60"
    assert made.design == "experiment"


def test_other_causes_and_several():
    frame = episodes()
    off = experiment_curves(frame, cause="charged_off", horizons=60, **OPTIONS).table
    both = experiment_curves(frame, cause=("cured", "charged_off"), horizons=60, **OPTIONS).table
    cured = experiment_curves(frame, horizons=60, **OPTIONS).table
    assert both["estimate"].tolist() == pytest.approx((off["estimate"] + cured["estimate"]).tolist())


def test_attrition_is_who_left_before_the_horizon():
    frame = episodes()
    assert experiment_curves(frame, horizons=60, **OPTIONS).check("attrition").passed
    cut = frame.copy()
    early = (cut["arm"] == "b") & (cut.index % 3 == 0)
    cut.loc[early, "exit_day"] = np.minimum(cut.loc[early, "exit_day"], 20)
    cut.loc[early, "outcome"] = "censored"
    made = experiment_curves(
        cut, horizons=60, checks=[Check(name="spillover", passed=None, says="–")], **OPTIONS
    )
    assert made.check("attrition").passed is False and made.check("spillover") is not None
    assert any(note.startswith("Check failed: Left observation before day 60") for note in made.notes)


def test_any_frame_and_any_order():
    import polars as pl

    frame = episodes()
    once = experiment_curves(frame, cluster="who", **OPTIONS).table
    other = experiment_curves(
        pl.from_pandas(frame.sample(frac=1, random_state=3)).lazy(), cluster="who", **OPTIONS
    )
    pd.testing.assert_frame_equal(once, other.table, check_exact=True)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"horizons": (30, 400, 500)}, "horizon 400 lies beyond the follow-up"),
        ({"horizons": 0}, "whole days"),
        ({"cause": "curd"}, "Did you mean"),
        ({"control": "z"}, "no arm 'z'"),
        ({"duration": "exit"}, "Did you mean exit_day"),
        ({"conf_level": 0}, "between 0 and 1"),
    ],
)
def test_what_cannot_be_read_off_is_refused(change, said):
    with pytest.raises(FrameError, match=said):
        experiment_curves(episodes(), **OPTIONS | change)


@pytest.mark.parametrize("rows", [0, 1])
def test_fewer_than_two_arms_is_refused(rows):
    with pytest.raises(FrameError, match="two arms or more"):
        experiment_curves(episodes()[:rows], **OPTIONS)


def test_the_intervals_cover_the_planted_difference():
    days = np.arange(61)
    share = [c / (c + 0.004) * -np.expm1(-(c + 0.004) * days) for c in (0.01, 0.015)]
    truth = {
        "cured_by_60": share[1][60] - share[0][60],
        "days_cured_within_60": (share[1] - share[0])[:60].sum(),
    }
    inside = dict.fromkeys(truth, 0)
    for seed in range(60):
        table = experiment_curves(episodes(250, seed, 1.5), horizons=60, **OPTIONS).table
        for row in table.itertuples():
            inside[row.outcome] += row.conf_low <= truth[row.outcome] <= row.conf_high
    assert all(count / 60 >= 0.86 for count in inside.values())  # 95 %, with a Monte-Carlo error of 3 points


def test_days_by_which_nobody_has_the_cause_are_left_out_or_refused():
    frame = episodes()
    frame["exit_day"] += 20
    late = experiment_curves(frame, horizons=(5, 10, 60), **OPTIONS)
    assert set(late.table["horizon"]) == {60}
    assert "Left out: day 5, 10; nobody is cured by then." in late.notes
    with pytest.raises(
        FrameError, match=r"nobody is cured by day 10: nothing to compare\. The first is on day 2"
    ):
        experiment_curves(frame, horizons=(5, 10), **OPTIONS)
    with pytest.raises(FrameError, match=r"nobody is cured by day 60: nothing to compare\.$"):
        experiment_curves(frame.assign(outcome="charged_off"), horizons=60, **OPTIONS)
