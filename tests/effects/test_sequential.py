"""Intervals that hold at every look: the boundary by its definition, rows against sums, and a small simulation."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import brentq

from collectlab.core.errors import FrameError
from collectlab.effects.experiment import experiment
from collectlab.effects.sequential import confidence_sequence
from collectlab.effects.sequential_math import critical_value, limits, ready


def people(n: int = 1200, seed: int = 1, effect: float = 0.0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({"strategy": rng.choice(["call", "none"], n)})
    frame["assigned_on"] = pd.Timestamp("2026-01-01") + pd.to_timedelta(rng.integers(0, 90, n), unit="D")
    frame["paid"] = (rng.random(n) < 0.3 + effect * (frame["strategy"] == "call")).astype(int)
    return frame


def looks(frame: pd.DataFrame, **options):
    given = {"outcome": "paid", "control": "none", "planned_per_arm": 600} | options
    return confidence_sequence(frame, **given)


def test_the_boundary_is_robbins():
    # The mixture martingale √(λ/(I+λ)) exp(S²/(2(I+λ))) reaches 1/α where S/√I is the critical value.
    alpha, progress = 0.05, np.array([0.03, 0.4, 1.0, 7.0])
    x = brentq(lambda x: (1 + x) * np.exp(-x) - alpha**2, 1, 50)
    z, u = critical_value(progress, alpha), progress * x
    martingale = np.exp(z**2 * u / (2 * (1 + u))) / np.sqrt(1 + u)
    assert martingale == pytest.approx(1 / alpha, rel=1e-9)


def test_no_other_tuning_is_narrower_at_the_planned_end():
    planned = float(critical_value(1.0, 0.05))
    others = [float(critical_value(progress, 0.05)) for progress in (0.2, 0.5, 0.8, 1.3, 2, 5)]
    assert planned < min(others)
    assert planned == pytest.approx(3.035, abs=0.001)


def test_a_brownian_motion_leaves_the_boundary_as_seldom_as_it_says():
    rng = np.random.default_rng(0)
    steps = np.concatenate([np.full(200, 0.002), np.full(180, 0.02), np.full(100, 0.5)])
    path = np.cumsum(rng.normal(size=(4000, len(steps))) * np.sqrt(steps), axis=1)
    time = np.cumsum(steps)
    left = (np.abs(path) / np.sqrt(time) > critical_value(time, 0.2)).any(axis=1).mean()
    assert 0.10 < left < 0.20  # never reached exactly: the path is seen at steps, and time ends


def test_limits_by_hand():
    found = limits(101, 0.5, 0.25, 201, 0.4, 0.24, planned_per_arm=200)
    hc3 = np.sqrt(0.25 / 100 + 0.24 / 200)
    together = (100 * 0.25 + 200 * 0.24 + 0.1**2 / (1 / 101 + 1 / 201)) / 301
    error = max(hc3, np.sqrt(together * (1 / 100 + 1 / 200)))
    progress = 1 / (1 / 101 + 1 / 201) / 100
    assert found["hc3"] == pytest.approx(hc3)
    assert found["std_error"] == pytest.approx(error)
    assert found["conf_high"] == pytest.approx(0.1 + error * float(critical_value(progress)))


def test_a_small_arm_in_which_nobody_paid_yet_does_not_look_precise():
    found = limits(60, 0.0, 0.0, 5000, 0.04, 0.0384, planned_per_arm=1000)
    assert found["hc3"] < 0.003
    assert found["std_error"] > 0.02
    assert found["conf_low"] < 0 < found["conf_high"]


def test_arms_that_differ_altogether_have_an_interval_of_some_width():
    frame = people().assign(paid=lambda f: (f["strategy"] == "call").astype(int))
    last = looks(frame).at().iloc[0]
    assert last["estimate"] == 1
    # All together half have paid: an error of about √(¼ · 4 / 1,200).
    assert last["std_error"] == pytest.approx(np.sqrt(1 / 1200), rel=0.01)
    assert last["conf_low"] < 1 < last["conf_high"]


def test_the_variance_is_that_of_all_accounts_together():
    frame = people(effect=0.1)
    last = looks(frame).at().iloc[0]
    spread = frame["paid"].var() * (1 / (last["n"] - 1) + 1 / (last["control_n"] - 1))
    assert last["std_error"] == pytest.approx(np.sqrt(spread), rel=1e-9)


def test_the_p_value_says_what_the_interval_says():
    means = np.linspace(0.2, 0.6, 41)
    found = limits(400, means, 0.24, 400, 0.4, 0.24, planned_per_arm=700)
    outside = (found["conf_low"] > 0) | (found["conf_high"] < 0)
    assert outside.any() and not outside.all()
    np.testing.assert_array_equal(found["p_value"] < 0.05, outside)


def test_each_day_counts_whose_horizon_is_over():
    frame = people()
    table = looks(frame, horizon=30).table
    row = table[table["as_of"] == pd.Timestamp("2026-03-20")].iloc[0]
    seen = (
        frame[frame["assigned_on"] <= pd.Timestamp("2026-02-18")]
        .groupby("strategy")["paid"]
        .agg(["count", "mean", "var"])
    )
    assert (row["n"], row["control_n"]) == (seen.loc["call", "count"], seen.loc["none", "count"])
    expected = limits(*seen.loc["call"], *seen.loc["none"], planned_per_arm=600)
    for column in ("estimate", "std_error", "conf_low", "conf_high", "p_value"):
        assert row[column] == pytest.approx(float(expected[column]), rel=1e-9)


def test_the_fixed_interval_beside_it_is_the_experiments():
    frame = people()
    last = looks(frame).at().iloc[0]
    row = experiment(frame, arm="strategy", control="none", outcomes="paid").table.iloc[0]
    assert last["estimate"] == pytest.approx(row["estimate"], rel=1e-12)
    assert last["fixed_low"] == pytest.approx(row["conf_low"], rel=1e-9)
    assert last["fixed_high"] == pytest.approx(row["conf_high"], rel=1e-9)
    assert last["conf_low"] < last["fixed_low"] and last["fixed_high"] < last["conf_high"]


def test_yesterdays_row_stays_as_it_was():
    frame = people()
    whole, part = looks(frame, horizon=30).table, looks(frame, horizon=30, as_of="2026-03-10").table
    before = whole[whole["as_of"] <= "2026-03-10"].reset_index(drop=True)
    pd.testing.assert_frame_equal(before, part, rtol=1e-9)


def test_the_order_and_kind_of_frame_do_not_matter():
    import polars as pl

    frame = people(400)
    once = looks(frame).table
    pd.testing.assert_frame_equal(once, looks(frame.sample(frac=1, random_state=2)).table, check_exact=True)
    pd.testing.assert_frame_equal(once, looks(pl.from_pandas(frame).lazy()).table, check_exact=True)


def test_no_interval_before_enough_is_known():
    result = looks(people())
    early = result.table[(result.table[["n", "control_n"]].min(axis=1) < 50)]
    assert len(early) and early["conf_low"].isna().all() and early["p_value"].isna().all()
    assert result.check("enough_known").passed and result.check("peeking").passed
    few = looks(people(60))
    assert few.table["conf_low"].isna().all()
    assert few.check("enough_known").passed is False
    rare = people().assign(paid=0)
    rare.loc[:8, "paid"] = 1
    assert looks(rare).table["conf_low"].isna().all()
    assert ready(50, 50, 10) and not ready(49, 500, 100) and not ready(500, 500, 9)


def test_several_arms_share_alpha():
    frame = people(2000)
    frame.loc[frame.index % 3 == 0, "strategy"] = "sms"
    result = looks(frame)
    assert list(result.at()["arm"]) == ["call", "sms"]
    both = frame[frame["strategy"] != "sms"]
    alone = looks(both, conf_level=0.975)
    pd.testing.assert_series_equal(result.at()["conf_low"].iloc[:1], alone.at()["conf_low"], rtol=1e-9)
    assert result.at()["p_value"].iloc[0] == pytest.approx(min(1, 2 * alone.at()["p_value"].iloc[0]))
    assert any("Bonferroni" in note for note in result.notes)
    assert result.table.loc[result.headline, "as_of"] == result.table.query("arm == 'call'")["as_of"].max()


def test_money_has_its_unit_and_does_not_lose_its_variance_to_its_size():
    rng = np.random.default_rng(3)
    frame = people().assign(amount_within_60=1e7 + np.round(rng.normal(0, 1, 1200), 2))
    last = looks(frame, outcome="amount_within_60").at().iloc[0]
    spread = frame.groupby("strategy")["amount_within_60"].agg(["var", "count"])
    hc3 = np.sqrt((spread["var"] / (spread["count"] - 1)).sum())
    assert last["unit"] == "money2"
    assert (last["fixed_high"] - last["fixed_low"]) / 2 == pytest.approx(1.96 * hc3, rel=2e-3)


def test_what_is_left_out_is_told():
    frame = people(600).astype({"paid": float})
    frame.loc[:9, "paid"] = np.nan
    frame.loc[10:12, "strategy"] = None
    frame.loc[13:14, "assigned_on"] = pd.NaT
    result = looks(frame)
    told = " ".join(result.notes)
    assert "10 accounts without paid" in told
    assert "3 accounts without strategy" in told
    assert "2 accounts without assigned_on" in told
    assert result.at()[["n", "control_n"]].sum(axis=1).iloc[0] == 585


def test_an_effect_is_told_with_the_day():
    result = looks(people(3000, effect=0.2))
    told = [n for n in result.notes if "first excluded zero" in n]
    first = result.table[result.table["conf_low"] > 0]["as_of"].iloc[0]
    assert len(told) == 1 and f"{first:%Y-%m-%d}" in told[0]


def test_the_table_shown_is_a_dozen_looks_with_the_last():
    result = looks(people())
    shown = result.display_table()
    assert len(shown) <= 12
    assert shown["As of"].iloc[-1] == "2026-03-31"
    assert "2026-03-31" in result._repr_html_()


def test_at_a_day_is_the_last_look_before_it():
    result = looks(people())
    assert result.at("2026-02-14")["as_of"].iloc[0] == pd.Timestamp("2026-02-14")
    with pytest.raises(FrameError, match="no outcome was known on 2025-12-31"):
        result.at("2025-12-31")


def test_the_chart_has_band_zero_and_fixed_lines():
    ax = looks(people()).plot()
    assert [t.get_text() for t in ax.get_legend().get_texts()] == [
        "holds at every look",
        "holds at one look only",
        "estimate",
    ]
    low, high = ax.get_ylim()
    assert low < 0 < high
    with pytest.raises(FrameError, match="no arm 'visit'"):
        looks(people()).plot(arm="visit")
    with pytest.raises(FrameError, match="nothing to draw"):
        looks(people(60)).plot()


@pytest.mark.parametrize(
    ("change", "options", "says"),
    [
        ({}, {"outcome": "payd"}, "no column 'payd'. Did you mean paid"),
        ({}, {"control": "nobody"}, "no known outcome in an arm 'nobody'"),
        ({"strategy": "none"}, {}, "only none has known outcomes"),
        ({"paid": 1}, {}, "paid is 1 for all 1,200 accounts"),
        ({"paid": "yes"}, {}, "Allowed: numbers or true/false"),
        ({"paid": np.inf}, {}, "infinite in 1,200 rows|infinite"),
        ({}, {"as_of": "2025-01-01"}, "no account's paid is known yet"),
        ({"assigned_on": 3}, {}, "'assigned_on' is Int64. Allowed: dates"),
        ({}, {"conf_level": 95}, "conf_level is 95"),
    ],
)
def test_bad_input_is_told(change, options, says):
    with pytest.raises(FrameError, match=says):
        looks(people().assign(**change), **options)


def test_all_faults_of_the_arguments_are_told_at_once():
    with pytest.raises(FrameError) as told:
        looks(people(), horizon=-1, planned_per_arm=0)
    assert len(told.value.faults) == 2


def test_an_empty_frame_is_told():
    with pytest.raises(FrameError, match="nothing to look at"):
        looks(people().iloc[:0])


@pytest.mark.parametrize(("pace", "share"), [((10, 10), 0.3), ((16, 4), 0.05)])
def test_daily_looks_exclude_zero_seldom_where_there_is_no_effect(pace, share):
    # The small version of benchmarks/experiments.py.
    rng = np.random.default_rng(11)
    running = []
    rarer = 0
    for mean in pace:
        n = rng.poisson(mean, (1500, 100))
        paid = rng.binomial(n, share).cumsum(axis=1)
        n = n.cumsum(axis=1)
        p = paid / np.maximum(n, 1)
        running += [n, p, p * (1 - p) * n / np.maximum(n - 1, 1)]
        rarer = rarer + np.minimum(paid, n - paid)
    planned = 100 * 2 / (1 / pace[0] + 1 / pace[1])
    found = limits(*running, planned_per_arm=planned)
    can = ready(running[0], running[3], rarer)
    anytime = (can & ((found["conf_low"] > 0) | (found["conf_high"] < 0))).any(axis=1).mean()
    naive = (can & (np.abs(found["estimate"]) > 1.96 * found["hc3"])).any(axis=1).mean()
    assert anytime <= 0.035
    assert naive > 0.2
