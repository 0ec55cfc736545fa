"""The experiment that would settle a question, in words."""

import pytest

from collectlab.effects.design import minimum_detectable_effect, sample_size
from collectlab.effects.settle import PATIENCE, settling


def test_arms_accounts_and_weeks_are_those_of_the_design():
    wanted = int(sample_size(0.05, baseline=0.6, power=0.8).table["n_arm"].iloc[0])
    said = settling("calls", "none", smallest=0.05, baseline=0.6, pace=1000, horizon=70)
    weeks = -(-(2 * wanted / 1000 * 365.25 / 12 / 7 + 10) // 1)
    assert f"{wanted:,} accounts in each arm" in said and f"takes {weeks:.0f} weeks" in said


def test_a_test_that_would_take_years_says_what_a_year_could_show():
    said = settling("calls", "none", smallest=0.02, baseline=0.6, pace=50, horizon=60)
    in_a_year = int(50 * (12 - 60 / 30.44) / 2)
    shown = minimum_detectable_effect(in_a_year, baseline=0.6, power=0.8).table["effect"].iloc[0]
    assert "more than come in two years at 50 a month" in said and f"{100 * shown:.1f} pp" in said
    assert PATIENCE == 104


def test_a_running_test_goes_on_from_what_it_has():
    said = settling("new", "old", smallest=0.05, baseline=0.6, pace=1000, horizon=60, have=1000)
    assert said.startswith("To settle it: go on; 1,000 accounts are in the smaller arm.")
    assert "takes 13 weeks" in said  # 471 more in each arm, and 60 days


def test_money_needs_its_spread_and_nothing_is_said_without():
    assert "difference of 100.00" in settling("a", "b", smallest=100.0, unit="money2", sd=2000.0, pace=5000)
    assert settling("a", "b", smallest=100.0, unit="money2") == ""


@pytest.mark.parametrize("baseline", [None, 0.0, 1.0, float("nan")])
def test_a_share_of_none_or_all_tells_no_size(baseline):
    assert settling("a", "b", smallest=0.02, baseline=baseline) == ""
