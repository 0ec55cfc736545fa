"""The jump of the daily hazard on the days of a new stage."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from collectlab.core.errors import FrameError, NotAvailable
from collectlab.effects.stage_jump import _fit, _rows, stage_jump


def daily(seed: int = 0, ratio: float = 1.0, last: int = 60, n: float = 20_000.0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    rows, open_ = [], n
    for day in range(1, last + 1):
        hazard = (0.004 + 0.03 * np.exp(-day / 40)) * (ratio if day >= 30 else 1.0)
        events = float(rng.binomial(int(open_), hazard))
        rows.append((day, open_, events))
        open_ -= events
    return pd.DataFrame(rows, columns=["day", "at_risk", "events"])


def episodes(counts: pd.DataFrame, **columns) -> pd.DataFrame:
    cured = np.repeat(counts["day"], counts["events"].astype(int))
    left = int(counts["at_risk"].iloc[0] - len(cured))
    exit_day = np.concatenate([cured, np.full(left, counts["day"].max() + 1)])
    outcome = ["cured"] * len(cured) + ["censored"] * left
    return pd.DataFrame({"exit_day": exit_day, "outcome": outcome, **columns})


def flat(levels: dict[int, float], last: int = 60) -> pd.DataFrame:
    """Exact counts: a hazard of so many per thousand from each day on, 100,000 at risk at first."""
    rows, open_, level = [], 100_000.0, 0.0
    for day in range(1, last + 1):
        level = levels.get(day, level)
        events = round(open_ * level)
        rows.append((day, open_, float(events)))
        open_ -= events
    return pd.DataFrame(rows, columns=["day", "at_risk", "events"])


def test_a_known_jump_comes_back():
    result = stage_jump(episodes(flat({1: 0.010, 30: 0.015})), days=30, seen=None)
    table = result.table.set_index("method")
    assert table.loc["daily hazard", "estimate"] == pytest.approx(0.005, abs=2e-4)
    assert table.loc["hazard ratio", "estimate"] == pytest.approx(1.5, abs=0.02)
    assert table.loc["daily hazard", "conf_low"] > 0
    assert result.check("only_change").passed is None and result.check("heaping").passed


def test_counts_are_those_of_the_rows():
    counts = flat({1: 0.01})
    result = stage_jump(episodes(counts), days=30, seen=None)
    hazard = result.hazard[result.hazard["day"] <= 60]
    np.testing.assert_allclose(hazard["events"], counts["events"])
    np.testing.assert_allclose(hazard["at_risk"], counts["at_risk"])
    row = result.table.iloc[0]
    assert row["events_before"] == counts.query("16 <= day < 30")["events"].sum()
    assert row["at_risk"] == counts.loc[29, "at_risk"]


def test_late_entries_are_at_risk_from_then_on_only():
    frame = episodes(flat({1: 0.01}), entry_day=0)
    frame.loc[frame.index[-40_000:], "entry_day"] = 20
    result = stage_jump(frame, days=30, seen=None).hazard.set_index("day")["at_risk"]
    assert result[21] - result[20] > 39_000


def test_heaps_on_other_days_are_seen():
    counts = flat({1: 0.010})
    counts.loc[counts["day"] >= 45, "events"] = np.round(counts["events"] * 1.6)
    assert not stage_jump(episodes(counts), days=20, window=10, seen=None).check("heaping").passed


def test_monthly_snapshots_are_refused_and_daily_ones_pass():
    frame = episodes(flat({1: 0.01}))
    with pytest.raises(NotAvailable, match=r"0 % of .* are dated to the day"):
        stage_jump(frame.assign(seen_day=frame["exit_day"] - 31), days=30)
    exact = stage_jump(frame.assign(seen_day=frame["exit_day"] - 1), days=30).check("dates_exact")
    assert exact.passed and exact.value == 1
    assert stage_jump(frame, days=30).check("dates_exact").passed is None


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"days": 200}, "day 200: 0 days before and 0 after"),
        ({"days": 59}, "day 59: 14 days before and 3 after"),
        ({"days": (30, 40)}, "less than two windows"),
        ({"days": 1.5}, "whole days"),
        ({"days": ()}, "empty"),
        ({"window": 2}, "window is 2"),
        ({"cause": "curd"}, "Did you mean"),
        ({"duration": "exit"}, "no column 'exit'"),
        ({"duration": "outcome"}, "'outcome' is both duration and outcome"),
    ],
)
def test_bad_input_is_refused(options, said):
    with pytest.raises(FrameError, match=said):
        stage_jump(episodes(flat({1: 0.01})), **({"days": 30, "seen": None} | options))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda f: f.head(0), "no rows"),
        (lambda f: f.assign(outcome=None), "'outcome' has no value in any row"),
        (lambda f: f.assign(exit_day=None), "'exit_day' has no value in any row"),
    ],
)
def test_frames_with_nothing_in_them_are_refused(change, said):
    with pytest.raises(FrameError, match=said):
        stage_jump(change(episodes(flat({1: 0.01}))), days=30, seen=None)


def test_days_without_an_event_are_refused():
    counts = flat({1: 0.01})
    counts.loc[counts["day"] >= 30, "events"] = 0.0
    with pytest.raises(FrameError, match="fewer than 2 events"):
        stage_jump(episodes(counts), days=30, seen=None)


@pytest.mark.parametrize("ratio", [1.0, 1.3])
def test_the_interval_keeps_its_level(ratio):
    """Small version of benchmarks/policy_changes.py."""
    truth = (0.004 + 0.03 * np.exp(-30 / 40)) * (ratio - 1)
    rows = []
    for seed in range(200):
        counts = daily(seed, ratio)
        rows.append(_rows(counts, 30, 14, _fit(counts, 30, 14), "cured", 0.95)[0])
    table = pd.DataFrame(rows)
    held = (table["conf_low"] <= truth) & (truth <= table["conf_high"])
    gap = table["estimate"] - truth
    assert 0.9 <= held.mean() <= 0.995
    assert abs(gap.mean()) < 4 * gap.std() / np.sqrt(200)


def test_the_chart_shows_each_stage():
    result = stage_jump(episodes(daily(1, 1.3)), days=30, seen=None)
    assert result.title == "Share per day that ends as cured, around the changes of stage"
    ax = result.plot()
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["each day", "fitted"]
