"""What the decisions' functions are handed and cannot use: told in one error, of this library, with what is allowed."""

from decimal import Decimal

import numpy as np
import pandas as pd
import pytest

from collectlab.core.errors import CollectlabError, FrameError, ParamsError
from collectlab.measures.worth import Prices, incremental, money_flows, present_value, price_actions
from collectlab.measures.worth.break_even import break_even
from collectlab.measures.worth.checks import with_days, with_numbers
from collectlab.measures.worth.probabilistic import draw
from collectlab.measures.worth.sensitivity import sensitivity
from collectlab.policy.plan import DecisionModel, States, allocate, greedy, value
from collectlab.policy.plan.checks import checked_rows
from collectlab.policy.stop import Terms, stopping
from collectlab.policy.warning import Acting, fit_warning

MODEL = DecisionModel.of(
    move=[[[0.5], [0.2]]],
    leave=[[[0.5], [0.8]]],
    reward=[[10.0, 20.0]],
    uses={"calls": [[1.0, 3.0]]},
    inflow=[100.0],
)
LOG = pd.DataFrame({"account_id": ["a"], "channel": ["call"], "at": pd.to_datetime(["2026-03-01 10:00"])})
EFFECTS = pd.DataFrame({"outcome": ["money", "cost"], "estimate": [60.0, 12.0], "std_error": [20.0, 1.0]})


def refused(call, *words):
    with pytest.raises(CollectlabError) as caught:
        call()
    for word in words:
        assert word in str(caught.value)


def test_prices_tell_all_faults_and_take_any_number():
    refused(
        lambda: Prices.of({"call": -1, "sms": "x", "discount_rate": 3}), "call", "sms is 'x'", "discount_rate"
    )
    assert Prices.of({"call": Decimal("2.4")}).price("call", "2026-10-31") == 2.4
    refused(lambda: price_actions(LOG, {"call": 2.4}), "Needed: load_prices")
    refused(
        lambda: price_actions(LOG.assign(at=[pd.NaT]), Prices.of({"call": 1.0})), "at is missing in 1 of 1"
    )
    refused(lambda: present_value(LOG, None, rate=0.1), "Needed: money_flows")
    refused(lambda: money_flows(LOG, prices=None), "Needed: load_prices")


def test_texts_for_numbers_and_dates_are_counted_and_shown():
    frame = pd.DataFrame({"account_id": ["a", "b"], "cost": ["1", "x"], "on": ["2026-01-31", "soon"]})
    refused(lambda: with_numbers(frame, ["cost"]), "cost: 1 of 2 are none ('x') (account_id b)")
    refused(lambda: with_days(frame, ["on"]), "on: 1 of 2 are none ('soon') (account_id b)")
    refused(lambda: with_days(frame.assign(on=[1, 2]), ["on"]), "2 of 2")
    zoned = pd.to_datetime(["2026-01-31"] * 2).tz_localize("UTC")
    assert with_days(frame.assign(on=zoned), ["on"])["on"].dt.tz is None


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: incremental(EFFECTS.assign(std_error=np.inf), population="x"), "infinite"),
        (lambda: incremental(EFFECTS, population="x", covariance={("mony", "cost"): 1}), "Allowed: (measure"),
        (lambda: break_even(0.05, "x"), "cost is 'x'"),
        (lambda: break_even(0.05, 1.0, std_error=np.inf), "std_error not finite"),
        (lambda: sensitivity(lambda a: a, {"b": (0, 1, 2)}), "It takes a; given are b"),
        (lambda: draw({"a": ("normal", 0, 1)}, seed=1.5), "seed is 1.5"),
        (lambda: Acting(cost="x", effect=0.1, effect_low=0, effect_high=1, loss=0, given_off=0, warned_share=0), "cost"),
        (lambda: fit_warning(LOG), "outcome"),
        (lambda: Terms(prices={"u": 0.3}, discount="x"), "discount is 'x'"),
        (lambda: stopping(LOG, None), "Needed: load_terms"),
    ],
)  # fmt: skip
def test_arguments_that_are_none_of_what_is_needed(call, words):
    refused(call, words)


@pytest.mark.parametrize(
    "plan", [[[0.5, 0.6]], [[np.nan, 1]], [[-1, 2]], [["x", "y"]], ["a3"], "a1", None, [[1]]]
)
def test_plans_that_are_none(plan):
    refused(lambda: value(MODEL, plan))


@pytest.mark.parametrize("limit", [-1, np.nan, "5", None, True])
def test_capacities_that_are_none(limit):
    for solve in (allocate, greedy):
        refused(
            lambda solve=solve: solve(MODEL, {"call": 1, "calls": limit}),
            "Did you mean calls?",
            f"calls is {limit!r}",
        )


def test_a_capacity_too_small_is_named():
    refused(lambda: allocate(MODEL, {"calls": 0}), "calls is 0.0 a month, and no plan needs less than")
    refused(lambda: allocate(MODEL, {}, forbidden=[[0.5, 0.0]]), "forbidden holds 0.5")
    for months in (0, -1, 1.5, "x", np.nan, 10**9):
        refused(lambda months=months: value(MODEL, ["a1"], months=months), "Allowed: a whole number from 1")


def test_models_and_states_that_are_none():
    given = dict(move=[[[0.5]], [[0.5]]], leave=[[[0.5]], [[0.5]]], reward=[[1.0], [1.0]], inflow=[1, 1])
    with pytest.raises(FrameError, match="no numbers"):
        DecisionModel.of(**given | {"inflow": "x"})
    with pytest.raises(ParamsError) as caught:
        States(days_past_due=5, score=("x",), amount="x")
    assert len(caught.value.faults) == 3


def test_rows_of_a_plan_are_sorted_and_their_faults_told_together():
    rows = pd.DataFrame(
        {"account_id": ["b", "a"], "on": "2026-01-31", "action": "x", "state": ["s", None], "next_state": "s",
         "cost": [-1.0, np.nan]}
    )  # fmt: skip
    refused(
        lambda: checked_rows(rows, ["on"], ["cost"]),
        "state is missing in 1",
        "cost is missing",
        "cost is below 0",
    )
    sound = checked_rows(rows.assign(state="s", cost=1.0), ["on"], ["cost"])
    assert sound["account_id"].tolist() == ["a", "b"]
