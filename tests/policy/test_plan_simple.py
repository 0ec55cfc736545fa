"""The plan as a sheet: the best of all sheets, within capacity, and what its simplicity costs."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collectlab.core.errors import FrameError
from collectlab.policy.plan.compare import plan_values, state_parts
from collectlab.policy.plan.model import DecisionModel, Draws
from collectlab.policy.plan.plan_worth import occupancy, value
from collectlab.policy.plan.simple import simple_plan
from collectlab.policy.plan.simple_search import optimism, shaped
from collectlab.policy.plan.solve import Infeasible, allocate

BANDS = ("1–29", "30–59", "60+")
STATES = tuple(f"{b} | {a}" for b in BANDS for a in ("large", "small"))


def random_model(seed: int, actions: int = 3, draws: int = 0, **changed) -> DecisionModel:
    """Six states in three stages, moves to the next stage or out."""
    rng = np.random.default_rng(seed)
    s = len(STATES)
    move = np.zeros((s, actions, s))
    for k in range(s):
        ahead = [t for t in range(s) if t // 2 == min(k // 2 + 1, 2)]
        move[k][:, ahead] = rng.dirichlet(np.ones(len(ahead)), actions) * rng.uniform(0.2, 0.8, (actions, 1))
    arrays = {
        "move": move,
        "reward": rng.normal(50, 20, (s, actions)),
        "uses": {"agent_hours": rng.uniform(0, 2, (s, actions)), "visits": rng.uniform(0, 1, (s, actions))},
        "inflow": np.array([20.0, 30.0, 3.0, 2.0, 0.0, 0.0]),
        "in_force": rng.dirichlet(np.ones(actions), s),
        **changed,
    }
    arrays["leave"] = 1 - arrays["move"].sum(axis=2, keepdims=True)
    model = DecisionModel.of(
        states=STATES, actions=("light", "usual", "hard")[:actions], exits=("gone",), discount=0.99, **arrays
    )
    if draws:
        noise = rng.normal(0, 10, (draws, *model.reward.shape))
        held = {"paid": model.paid + noise, "cost": np.repeat(model.cost[None], draws, 0)}
        held |= {k: np.repeat(v[None], draws, 0) for k, v in model.uses.items()}
        several = Draws(
            move=np.repeat(model.move[None], draws, 0),
            leave=np.repeat(model.leave[None], draws, 0),
            reward=model.reward + noise,
            counted=held,
            inflow=np.repeat(model.inflow[None], draws, 0),
        )
        object.__setattr__(model, "draws", several)
    return model


def all_sheets(model: DecisionModel, by_amount: bool = True) -> list[dict[str, float]]:
    """What each of all sheets brings and uses."""
    rule = np.arange(6) if by_amount else np.arange(6) // 2
    found = []
    for sheet in itertools.product(range(len(model.actions) + 1), repeat=int(rule.max()) + 1):
        share = model.in_force.copy()
        for s in range(6):
            if sheet[rule[s]] < len(model.actions):
                share[s] = np.eye(len(model.actions))[sheet[rule[s]]]
        months = occupancy(model.move, share, model.inflow, model.discount)[:, None] * share
        told = {"net": model.reward, **model.uses}
        found.append({k: float((months * v).sum()) for k, v in told.items()})
    return found


def best_of(sheets: list[dict[str, float]], capacity: dict[str, float]) -> float:
    fit = [f["net"] for f in sheets if all(f[k] <= c + 1e-9 for k, c in capacity.items())]
    return max(fit, default=-np.inf)


@pytest.mark.parametrize("seed", range(3))
def test_it_is_the_best_of_all_sheets_that_fit(seed):
    model = random_model(seed, actions=2)
    today = value(model, model.in_force).amounts
    sheets = all_sheets(model)
    for share in (0.8, 1.0, 5.0):
        capacity = {k: share * today[k] for k in ("agent_hours", "visits")}
        want = best_of(sheets, capacity)
        if np.isfinite(want):
            plan = simple_plan(model, capacity)
            assert value(model, plan.share).net == pytest.approx(
                want, abs=0.5
            )  # the least gain that is looked for
            assert all(plan.use[k] <= c * (1 + 1e-6) for k, c in capacity.items())
            assert max(plan.residuals.values()) < 1e-6


def test_without_amounts_there_is_one_action_a_stage():
    model = random_model(7)
    today = value(model, model.in_force).amounts["agent_hours"]
    plan = simple_plan(model, {"agent_hours": today}, by_amount=False)
    assert value(model, plan.share).net == pytest.approx(
        best_of(all_sheets(model, by_amount=False), {"agent_hours": today}), abs=0.5
    )
    assert set(plan.table["amount"]) == {"any"}


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.6, 1.5))
def test_simplicity_never_brings_more_than_the_full_plan_and_fits_the_same_capacity(seed, share):
    model = random_model(seed, actions=2)
    limit = share * value(model, model.in_force).amounts["agent_hours"]
    try:
        plan = simple_plan(model, {"agent_hours": limit})
    except (FrameError, Infeasible) as error:
        assert "agent_hours" in str(error)
        return
    rows = plan.values.set_index("plan")["estimate"]
    assert rows["full plan less simple plan"] >= -1e-6
    assert rows["full plan"] == pytest.approx(allocate(model, {"agent_hours": limit}).value.net)
    assert plan.use["agent_hours"] <= limit * (1 + 1e-6)
    if share >= 1:
        assert rows["simple plan less as now"] >= -0.5


def test_a_later_stage_is_worked_at_least_as_hard_where_asked():
    stay = np.zeros((6, 3, 6))
    stay[[0, 1, 2, 3], :, [2, 3, 4, 5]] = 0.5
    reward = np.array([[0, 0, 9], [0, 0, 9], [9, 0, 0], [9, 0, 0], [0, 9, 0], [0, 9, 0]], float)
    model = random_model(3, move=stay, reward=reward)
    order = ["light", "usual", "hard"]
    assert simple_plan(model, {}).share.argmax(axis=1).tolist() == [2, 2, 0, 0, 1, 1]
    plan = simple_plan(model, {}, monotone=True, order=order)
    hard = plan.share.argmax(axis=1)
    assert (hard[2:] >= hard[:-2]).all()  # the same amounts, one stage on
    assert hard.tolist() == [2, 2, 2, 2, 2, 2]  # what the first stage brings outweighs the rest
    assert simple_plan(model, {}, monotone=True, order=order[::-1]).share.argmax(axis=1).tolist() == [
        2,
        2,
        0,
        0,
        0,
        0,
    ]
    with pytest.raises(FrameError, match=r"order: .*must name each action once"):
        simple_plan(model, {}, monotone=True, order=["light", "hard"])


def test_the_sheet_in_words_draws_neighbours_together():
    stay = np.zeros((6, 2, 6))
    reward = np.array([[0, 9], [0, 9], [0, 9], [9, 0], [9, 0], [9, 0]], float)
    model = random_model(0, actions=2, move=stay, reward=reward, in_force=np.tile([0.5, 0.5], (6, 1)))
    plan = simple_plan(model, {})
    assert plan.sheet().splitlines() == [
        "1–29 days past due: usual",
        "30–59 days past due, large amounts: usual",
        "30–59 days past due, small amounts: light",
        "60+ days past due: as now",  # nobody comes there
    ]
    assert plan.table["now"].tolist()[0] == "light 50 %, usual 50 %"
    assert plan.table["account_months"].tolist() == [50, 3, 2, 0]


def test_what_was_not_tried_stays_as_now():
    tried = np.ones((6, 2), bool)
    tried[0, 1] = False  # the best action, untried with large amounts in the first stage
    reward = np.tile([0.0, 9.0], (6, 1))
    force = np.tile([1.0, 0.0], (6, 1))
    gone = np.zeros((6, 2, 6))
    inflow = np.array([20.0, 30.0, 1, 1, 1, 1])
    model = random_model(0, actions=2, move=gone, reward=reward, tried=tried, in_force=force, inflow=inflow)
    by_amount = simple_plan(model, {})
    assert by_amount.share[0].tolist() == [1, 0] and by_amount.share[1].tolist() == [0, 1]
    inflow = np.array([2.0, 48.0, 1, 1, 1, 1])
    model = random_model(0, actions=2, move=gone, reward=reward, tried=tried, in_force=force, inflow=inflow)
    one = simple_plan(model, {}, by_amount=False)  # 4 % of the first stage: the rule stands, they stay as now
    assert one.table["action"].iloc[0] == "usual" and one.share[0].tolist() == [1, 0]
    assert any("never tried enough" in note for note in one.notes)
    forbidden = np.zeros((6, 2), bool)
    forbidden[:, 1] = True
    assert simple_plan(model, {}, forbidden=forbidden).share.tolist() == force.tolist()


def test_too_little_capacity_names_the_limit():
    model = random_model(1)
    with pytest.raises(FrameError, match=r"capacity: agent_hours = 1\.0 a month is too little .* the least"):
        simple_plan(model, {"agent_hours": 1, "visits": 1000}, full=allocate(model, {}))
    with pytest.raises(FrameError, match="no use 'cars'"):
        simple_plan(model, {"cars": 1})
    with pytest.raises(FrameError, match="Allowed: a number ≥ 0"):
        simple_plan(model, {"visits": -1})


def test_intervals_come_from_the_draws_and_the_gain_is_corrected_for_having_been_picked():
    model = random_model(5, draws=40, in_force=np.tile([1.0, 0.0, 0.0], (6, 1)))
    plan = simple_plan(model, {})
    rows = plan.values.set_index("plan")
    plain, corrected = rows.loc["simple plan less as now"], rows.loc["simple plan less as now, corrected"]
    assert corrected["std_error"] == plain["std_error"] > 0
    assert corrected["estimate"] < plain["estimate"]
    both = plan_values(model, {"a": plan.share, "b": model.in_force}, [("a", "b")]).set_index("plan")
    assert both.loc["a less b", "std_error"] == pytest.approx(plain["std_error"])
    still = value(model, plan.share).draws["net"] - value(model, model.in_force).draws["net"]
    assert plain["conf_high"] - plain["conf_low"] == pytest.approx(2 * 1.959964 * still.std(ddof=1))


def test_the_correction_takes_off_about_what_chance_adds():
    """All actions are alike: what the best sheet seems to gain is chance alone, and is taken off on average."""
    seeming, corrected = [], []
    for seed in range(16):
        rng = np.random.default_rng(seed)
        base = random_model(11)
        alike = np.repeat(base.move[:, :1], 3, axis=1)
        noisy = 50 + rng.normal(0, 10, base.reward.shape)
        model = random_model(11, draws=20, move=alike, reward=noisy)
        shape = shaped(model, np.arange(6))
        plan = simple_plan(model, {})
        rows = plan.values.set_index("plan")["estimate"]
        seeming.append(rows["simple plan less as now"])
        corrected.append(rows["simple plan less as now, corrected"])
        assert optimism(model, shape, [0] * 6, {}) >= 0
    error = np.std(corrected) / 4
    assert np.mean(seeming) > 5 * error
    assert abs(np.mean(corrected)) < 0.35 * np.mean(seeming)


def test_states_without_days_past_due_are_refused():
    with pytest.raises(FrameError, match=r"2 do not begin with their days past due \(new, old\)"):
        state_parts(["new", "old"])
    low = state_parts(["below 15 | large", "15+"])
    assert low[["dpd_from", "dpd_to"]].values.tolist() == [[1, 14], [15, np.inf]]
    assert isinstance(low, pd.DataFrame)
