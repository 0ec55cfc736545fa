"""The amount above which one more treatment pays: by hand, against Fieller's and draws' intervals, and in words."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collectlab.core.errors import FrameError
from collectlab.measures.worth.break_even import break_even
from collectlab.measures.worth.information import unit_normal_loss

CHANNELS = pd.DataFrame(
    {
        "channel": ["call", "letter", "visit", "legal", "agency"],
        "days_past_due": [0, 30, 30, 60, 90],
        "estimate": [0.10, 0.02, np.nan, -0.15, 0.04],
        "std_error": [0.02, 0.02, np.nan, 0.03, np.nan],
        "cost": [8.0, 9.0, 180.0, 1500.0, 12.0],
        "complaints": [0.05, 0.0, 0.0, 0.0, 0.0],
        "amount": [400.0, 1000.0, 2000.0, 5000.0, 300.0],
    }
)


def test_by_hand():
    rows = break_even(CHANNELS, complaint_cost=320.0, share=0.5).table.set_index("channel")
    # a call: (8 + 0.05 · 320) / (0.10 · 0.5)
    assert rows.loc["call", "estimate"] == pytest.approx(480.0)
    assert rows.loc["call", "effect_needed"] == pytest.approx(24 / (0.5 * 400))
    # with costs known for sure, its ends are the cost over the ends of the effect
    ends = 24 / (0.5 * (0.10 + np.array([1, -1]) * 1.959964 * 0.02))
    assert rows.loc["call", ["conf_low", "conf_high"]].tolist() == pytest.approx(ends.tolist(), rel=1e-6)
    assert rows.loc["agency", "estimate"] == pytest.approx(600.0)
    assert rows.loc["agency", ["conf_low", "conf_high"]].isna().all()


def test_no_number_where_the_effect_is_not_told_from_nothing():
    rows = break_even(CHANNELS, complaint_cost=320.0).table.set_index("channel")
    for channel in ("letter", "visit", "legal"):
        assert rows.loc[channel, ["estimate", "std_error", "conf_low", "conf_high"]].isna().all(), channel
    # 9 / (0.02 + 1.96 · 0.02)
    assert rows.loc["letter", "reading"].startswith(
        "Cannot be told: the effect's interval holds 0. Below 152 it does not pay"
    )
    assert rows.loc["visit", "reading"] == (
        "Not known: there is no effect to go by. To pay at 2,000 it must raise the outcome by 9.0 pp."
    )
    assert rows.loc["legal", "reading"].startswith("It brings nothing back, so no amount is high enough.")
    assert "how sure that is, is not known" in rows.loc["agency", "reading"]
    assert "nan" not in break_even(CHANNELS)._repr_html_().lower()


def test_a_free_treatment_pays_at_any_amount():
    row = break_even(0.02, 0.0, std_error=0.005).table.iloc[0]
    assert row["estimate"] == 0 and row["conf_low"] == 0 and row["conf_high"] == 0
    assert "pays at any amount" in row["reading"]


def test_fieller_covers_with_uncertain_costs():
    # true break-even 200 / 0.05 = 4000; both estimates are normal around the truth
    random = np.random.default_rng(4)
    effects, costs = random.normal(0.05, 0.012, 3000), random.normal(200.0, 40.0, 3000)
    frame = pd.DataFrame({"run": [f"r{i}" for i in range(3000)], "estimate": effects, "std_error": 0.012})
    found = break_even(frame.assign(cost=costs, cost_std_error=40.0)).table
    told = found["conf_low"].notna()
    covered = ((found["conf_low"] <= 4000) & (found["conf_high"] >= 4000))[told].mean()
    assert told.mean() > 0.97 and 0.93 <= covered <= 0.98


def test_draws_agree_with_fieller_where_the_effect_is_normal():
    random = np.random.default_rng(5)
    drawn = random.normal(0.05, 0.01, (1, 200_000))
    by_draws = break_even(0.05, 180.0, draws=drawn).table.iloc[0]
    by_formula = break_even(0.05, 180.0, std_error=0.01).table.iloc[0]
    for column in ("estimate", "conf_low", "conf_high"):
        assert by_draws[column] == pytest.approx(by_formula[column], rel=0.01), column
    with_costs = pd.DataFrame({"estimate": [0.05], "std_error": 0.01, "cost": 180.0, "cost_std_error": 30.0})
    fieller, quantiles = (
        break_even(with_costs).table.iloc[0],
        break_even(with_costs, draws=drawn).table.iloc[0],
    )
    for column in ("conf_low", "conf_high"):
        assert quantiles[column] == pytest.approx(fieller[column], rel=0.02), column


def test_draws_that_hold_nothing_give_no_number():
    drawn = np.linspace(-0.02, 0.08, 1000)
    row = break_even(pd.DataFrame({"estimate": [0.03], "cost": [9.0]}), draws=drawn).table.iloc[0]
    assert np.isnan(row["estimate"]) and row["reading"].startswith("Cannot be told")


@given(
    effect=st.floats(0.01, 0.9),
    error=st.floats(0.0, 0.3),
    cost=st.floats(0.5, 5000),
    factor=st.floats(1.1, 5),
)
@settings(max_examples=60, deadline=None)
def test_dearer_or_weaker_needs_more(effect, error, cost, factor):
    one = break_even(effect, cost, std_error=error).table.iloc[0]
    dearer = break_even(effect, cost * factor, std_error=error).table.iloc[0]
    if np.isnan(one["estimate"]):
        assert np.isnan(dearer["estimate"]) and effect - 1.959964 * error <= 1e-9
        return
    assert one["conf_low"] <= one["estimate"] * (1 + 1e-9) and one["estimate"] <= one["conf_high"] * (
        1 + 1e-9
    )
    assert dearer["estimate"] == pytest.approx(factor * one["estimate"])


def test_any_frame_and_own_group_columns():
    from_polars = break_even(pl.from_pandas(CHANNELS), by=["channel", "days_past_due"], complaint_cost=320.0)
    assert from_polars.table.columns[:2].tolist() == ["channel", "days_past_due"]
    pd.testing.assert_series_equal(
        from_polars.table["estimate"], break_even(CHANNELS, complaint_cost=320.0).table["estimate"]
    )


def test_every_fault_is_told_at_once():
    bad = CHANNELS.assign(cost=[-1.0, np.nan, 180.0, 1500.0, 12.0], amount=[0.0, 1, 1, 1, 1], estimate=1.5)
    with pytest.raises(FrameError) as error:
        break_even(bad, complaint_cost=-5.0)
    text = str(error.value)
    for part in (
        "no cost: letter", "cost below 0: call", "amount not above 0: call", "effect outside −1 to 1", "complaint_cost",
    ):  # fmt: skip
        assert part in text
    for draws, says in (
        ([[0.1] * 200], "for 5 effects"),
        ([[0.1] * 100, [0.1] * 99], "not equally many"),
        (np.full((5, 100), np.nan), "not finite"),
    ):
        with pytest.raises(FrameError, match=says):
            break_even(CHANNELS, draws=draws)
    with pytest.raises(FrameError, match="no rows"):
        break_even(CHANNELS.iloc[:0])
    with pytest.raises(FrameError, match="no cost"):
        break_even(0.05)
    with pytest.raises(FrameError, match="estimate"):
        break_even(pd.DataFrame({"channel": ["call"]}))


def test_a_published_break_even_and_its_value_of_information():
    # Render, Stair & Hanna, Quantitative Analysis for Management, module 3 (Barclay Brothers): break-even at 6,000
    # games, demand normal with mean 8,000 and standard deviation 2,885, six dollars a game: D = 0.69, N(D) = 0.1453,
    # and the expected opportunity loss 6 · 2,885 · 0.1453 = 2,515.14 dollars.
    assert break_even(1.0, 36_000.0, share=6.0).table["estimate"][0] == pytest.approx(6000)
    assert unit_normal_loss(0.69) == pytest.approx(0.1453, abs=5e-5)
    assert 6 * 2885 * round(unit_normal_loss(0.69), 4) == pytest.approx(2515.14, abs=0.01)


def test_draws_belong_to_their_rows_whatever_the_frame(tmp_path):
    effects = pd.DataFrame({"channel": [f"c{i}" for i in range(8)], "estimate": 0.1, "cost": 10.0})
    drawn = np.outer(np.arange(1, 9) / 100, np.linspace(0.9, 1.1, 200))
    expected = [10 / (k / 100) for k in range(1, 9)]
    effects.to_parquet(tmp_path / "effects.parquet")
    for frame in (effects, pl.from_pandas(effects), tmp_path / "effects.parquet"):
        assert break_even(frame, draws=drawn).table["estimate"].tolist() == pytest.approx(expected)
