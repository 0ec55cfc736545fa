"""The plan: exact on what a hand can solve, duals against finite differences, refusals, and noise kept back."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings

from collectlab.core.errors import FrameError
from collectlab.policy.plan import DecisionModel, Infeasible, allocate, decision_model
from collectlab.policy.plan.limits import Limits, load_limits
from collectlab.policy.plan.model_class import Draws
from collectlab.policy.plan.plan_worth import value
from collectlab.policy.plan.rule_of_thumb import greedy
from collectlab.policy.plan.solve_linear import solve
from collectlab.policy.plan.uncertainty import lucky_gains
from tests.policy.test_plan_model import made, models, two


def knapsack(**options):
    """Two states that every account leaves at once: who gets the dear action?"""
    return DecisionModel.of(
        move=np.zeros((2, 2, 2)),
        leave=np.ones((2, 2, 1)),
        reward=[[0.0, 30.0], [0.0, 40.0]],
        uses={"visits": [[0.0, 1.0], [0.0, 2.0]]},
        inflow=[10.0, 10.0],
        **options,
    )


def test_exact_on_a_knapsack_worked_by_hand():
    # 30 a visit in s1, 20 in s2: all ten of s1, then visits left for one of s2
    plan = allocate(knapsack(), {"visits": 12.0})
    assert np.allclose(plan.share, [[0, 1], [0.9, 0.1]])
    assert plan.value.net == pytest.approx(340)
    assert plan.prices["visits"] == pytest.approx(20)
    assert plan.use["visits"] == pytest.approx(12)


def test_a_two_stage_case_worked_by_hand():
    """A visit in s1 brings 40 at once; left alone, half roll to s2, where 100 come in for nothing."""
    model = DecisionModel.of(
        move=[[[0.0, 0.5], [0.0, 0.0]], [[0.0, 0.0], [0.0, 0.0]]],
        leave=[[[0.5], [1.0]], [[1.0], [1.0]]],
        reward=[[0.0, 40.0], [100.0, 100.0]],
        uses={"visits": [[0.0, 1.0], [0.0, 1.0]]},
        inflow=[10.0, 0.0],
    )
    plan = allocate(model, {"visits": 5.0})
    assert np.allclose(plan.share[0], [1, 0])
    assert plan.value.net == pytest.approx(500)
    # the rule of thumb sees 40 now against nothing, and spends its five visits: 200 + 5 · 50
    thumb = value(model, greedy(model, {"visits": 5.0}))
    assert thumb.amounts["visits"] == pytest.approx(5)
    assert thumb.net == pytest.approx(450, abs=0.01)


def test_without_limits_it_is_the_best_of_all_deterministic_plans():
    model = DecisionModel.of(**two())
    best = max(value(model, list(names)).net for names in product(model.actions, repeat=2))
    assert allocate(model, {}).value.net == pytest.approx(best)


@settings(max_examples=25, deadline=None)
@given(model=models())
def test_no_deterministic_plan_within_the_limits_is_better(model):
    today = value(model, model.in_force)
    capacity = {k: today.amounts[k] for k in ("calls", "visits")}
    plan = allocate(model, capacity)
    scale = 1 + abs(plan.value.net)
    assert plan.value.net >= today.net - 1e-6 * scale  # the strategy in force is always possible
    for k, c in capacity.items():
        assert plan.use[k] <= c * (1 + 1e-6) + 1e-9
    for names in list(product(model.actions, repeat=len(model.states)))[:60]:
        one = value(model, list(names))
        if all(one.amounts[k] <= c for k, c in capacity.items()):
            assert plan.value.net >= one.net - 1e-6 * scale
    assert max(plan.residuals.values()) <= 1e-6


@settings(max_examples=25, deadline=None)
@given(model=models())
def test_the_rule_of_thumb_keeps_the_limits_and_never_beats_the_plan(model):
    least = {k: float(value(model, model.in_force).amounts[k]) * 1.5 for k in ("calls", "visits")}
    share = greedy(model, least)
    assert np.allclose(share.sum(axis=1), 1)
    found = value(model, share)
    fits = all(found.amounts[k] <= c * (1 + 1e-6) for k, c in least.items())
    if fits:
        assert found.net <= allocate(model, least).value.net + 1e-6 * (1 + abs(found.net))


@settings(max_examples=25, deadline=None)
@given(model=models())
def test_the_price_is_what_one_more_unit_brings(model):
    today = value(model, model.in_force).amounts
    capacity = {k: today[k] for k in ("calls", "visits")}
    plan = solve(model, capacity)
    for name in capacity:
        step = 1e-4 * max(capacity[name], 1e-3)
        up = solve(model, {**capacity, name: capacity[name] + step})
        try:
            down = solve(model, {**capacity, name: capacity[name] - step})
        except Infeasible:
            continue
        more, less = (up.objective - plan.objective) / step, (plan.objective - down.objective) / step
        # where the optimum is degenerate the dual lies between the two one-sided changes
        slack = 1e-3 * (1 + abs(less))
        assert more - slack <= plan.prices[name] <= less + slack


def test_the_price_at_a_kink_lies_between_the_two_sides():
    plan = solve(knapsack(), {"visits": 10.0})  # s1 just served: one less costs 30, one more brings 20
    assert 20 - 1e-9 <= plan.prices["visits"] <= 30 + 1e-9


def test_duals_of_whole_units():
    model = knapsack()
    at = [solve(model, {"visits": float(c)}).objective for c in (14, 15, 16)]
    price = solve(model, {"visits": 15.0}).prices["visits"]
    assert at[1] - at[0] == pytest.approx(price)
    assert at[2] - at[1] == pytest.approx(price)


def test_infeasible_capacity_names_the_limit_and_what_it_takes():
    model = DecisionModel.of(
        move=np.zeros((1, 2, 1)),
        leave=np.ones((1, 2, 1)),
        reward=[[1.0, 5.0]],
        uses={"calls": [[2.0, 3.0]], "visits": [[0.0, 1.0]]},
        inflow=[10.0],
    )
    with pytest.raises(Infeasible) as error:
        allocate(model, {"calls": 15.0, "visits": 3.0})
    assert len(error.value.faults) == 1
    assert "calls is 15.0 a month, and no plan needs less than 20.0" in str(error.value)


def test_capacities_that_are_none():
    with pytest.raises(FrameError) as error:
        allocate(knapsack(), {"visit": 5.0, "visits": -1.0})
    assert "Did you mean visits" in error.value.faults[0]
    assert "≥ 0" in error.value.faults[1]


def test_an_action_not_tried_is_not_chosen_beyond_today():
    tried = [[True, False], [True, True]]
    force = [[0.7, 0.3], [1.0, 0.0]]
    plan = allocate(knapsack(tried=tried, in_force=force), {"visits": 100.0})
    assert np.allclose(plan.share, [[0.7, 0.3], [0.0, 1.0]])
    assert plan.untried[["state", "action"]].to_numpy().tolist() == [["s1", "a2"]]


def test_a_state_with_nothing_tried_stays_as_it_is():
    plan = allocate(knapsack(tried=[[False, False], [True, True]], in_force=[[0.4, 0.6], [1.0, 0.0]]), {})
    assert np.allclose(plan.share[0], [0.4, 0.6])


def test_forbidden_and_kept():
    plan = allocate(knapsack(), {}, forbidden=[[False, True], [False, False]])
    assert np.allclose(plan.share, [[1, 0], [0, 1]])
    plan = allocate(knapsack(), {}, keep=["s2"])
    assert np.allclose(plan.share, [[0, 1], [1, 0]])
    with pytest.raises(FrameError, match="every action is forbidden in s1"):
        allocate(knapsack(), {}, forbidden=[[True, True], [False, False]])
    with pytest.raises(FrameError, match="no state s7"):
        allocate(knapsack(), {}, keep=["s7"])


def test_a_contact_rule_forbids_what_has_too_many():
    model = DecisionModel.of(
        move=np.zeros((1, 2, 1)),
        leave=np.ones((1, 2, 1)),
        reward=[[1.0, 5.0]],
        uses={"contacts": [[2.0, 30.0]]},
        inflow=[10.0],
    )
    rule = Limits({}, contacts_week=3).forbidden(model)
    assert allocate(model, {}, forbidden=rule).share.tolist() == [[1.0, 0.0]]


def test_a_change_within_noise_is_not_made():
    """Two actions alike in 6 books: something is changed in none, or by chance in one; 60 books in benchmarks/."""
    changed = 0
    for seed in range(6):
        rows = made(200, np.random.default_rng(seed))
        model = decision_model(rows, draws=30)
        plan = allocate(model, {})
        assert plan.gain["estimate"] <= value(model, plan.best).net - plan.in_force.net + 1e-9
        changed += not np.allclose(plan.share, model.in_force)
    assert changed <= 1


def test_the_luck_of_the_best_is_what_resampling_alone_would_bring():
    """Two draws, two actions: each draw's advantage less the point's, the better of it and nothing."""
    model = DecisionModel.of(
        move=np.zeros((1, 2, 1)), leave=np.ones((1, 2, 1)), reward=[[10.0, 12.0]], inflow=[5.0]
    )
    reward = np.array([[[10.0, 15.0]], [[10.0, 11.0]]])
    still = {k: np.repeat(getattr(model, k)[None], 2, axis=0) for k in ("move", "leave", "inflow")}
    model = replace(model, draws=Draws(reward=reward, counted={}, **still))
    # the advantage is 2; in the draws 5 and 1: 3 more, and 1 less
    assert lucky_gains(model, np.array([[0.0, 1.0]]), {}).tolist() == [[15.0], [0.0]]


def test_a_change_beyond_noise_is_made_and_its_gain_is_what_it_brings():
    rows = made(800, np.random.default_rng(1), effect=40.0)
    model = decision_model(rows, draws=40)
    plan = allocate(model, {})
    assert plan.share[0].tolist() == [0.0, 1.0]
    assert not plan.changes["kept_back"].any()
    assert plan.groups["proven"].all()
    assert plan.gain["conf_low"] > 0
    assert plan.gain["optimism"] >= 0


def test_capacity_that_forces_a_change_is_obeyed():
    rows = made(800, np.random.default_rng(3))
    model = decision_model(rows, draws=40)
    today = value(model, model.in_force).amounts["calls"]
    plan = allocate(model, {"calls": today / 2})
    assert plan.use["calls"] <= today / 2 * (1 + 1e-6)


def test_changes_and_prices_are_tidy():
    model = decision_model(made(800, np.random.default_rng(4), effect=30.0), draws=40)
    plan = allocate(model, {"calls": value(model, model.in_force).amounts["calls"]})
    for table in (plan.changes, plan.groups, plan.price_table):
        assert {"estimate", "std_error", "conf_low", "conf_high"} <= set(table)
    assert "<table" in plan._repr_html_()


def test_a_quick_look_has_no_intervals_and_keeps_nothing_back():
    model = decision_model(made(400, np.random.default_rng(5)), draws=20)
    plan = allocate(model, {}, uncertain=False)
    assert np.allclose(plan.share, plan.best)
    assert plan.changes["std_error"].isna().all()


def test_today_is_always_possible_and_what_is_raised_is_told():
    model = DecisionModel.of(**two())
    today = value(model, model.in_force).amounts["calls"]
    capacity, raised = Limits({"calls": today - 1}).at_least_today(model)
    assert capacity["calls"] == today and raised == ["calls"]
    assert allocate(model, capacity).value.net >= value(model, model.in_force).net - 1e-6


def test_the_example_parameters_load():
    limits = load_limits("params", "2026-10-31")
    assert limits.minutes["minutes_per_call"] > 0
    assert set(limits.prices) == {"complaints", "owed", "lost", "unpaid"}
    assert 0 < limits.prices["lost"] < 1
