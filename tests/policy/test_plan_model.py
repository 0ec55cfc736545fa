"""The decision model: weights, shrinking, checks, values; small hand-made rows in, the answer out."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collectlab.core.errors import FrameError, NotAvailable
from collectlab.policy.plan import DecisionModel, decision_model
from collectlab.policy.plan.model_shrink import Layout, means, transitions
from collectlab.policy.plan.model_weights import row_weights
from collectlab.policy.plan.plan_worth import value
from collectlab.policy.plan.rows import COUNTED
from collectlab.policy.plan.uncertainty import drawn_gains, gains, holm


def made(n, rng, *, effect=0.0, confounded=True, months=12):
    """Accounts of one state that cure or stay; the hard cases (low score) get action b more often."""
    score = rng.normal(size=n)
    chance = 1 / (1 + np.exp(1.5 * score)) if confounded else np.full(n, 0.5)
    b = rng.random(n) < chance
    paid = 100 + 40 * score + effect * b + rng.normal(0, 20, n)
    cured = rng.random(n) < 1 / (1 + np.exp(-score))
    rows = pd.DataFrame(
        {
            "account_id": np.arange(n).astype(str),
            "customer_id": np.arange(n).astype(str),
            "on": pd.Timestamp("2026-01-31") + pd.to_timedelta(30 * (np.arange(n) % months), unit="D"),
            "days_past_due": 5,
            "amount_past_due": 100.0,
            "credit_score": 620 + 50 * score,
            "action": np.where(b, "b", "a"),
            "state": "1–14",
            "next_state": np.where(cured, "cured", "1–14"),
            "entry": True,
            "randomised": False,
            "propensity": np.nan,
        }
    )
    for name in COUNTED:
        rows[name] = 0.0
    return rows.assign(paid=paid, calls=b.astype(float))


def two():
    """Two states, two actions."""
    return {
        "move": [[[0.2, 0.3], [0.1, 0.2]], [[0.1, 0.6], [0.1, 0.3]]],
        "leave": [[[0.5], [0.7]], [[0.3], [0.6]]],
        "reward": [[10.0, 8.0], [4.0, 12.0]],
        "uses": {"calls": [[1.0, 2.0], [1.0, 4.0]]},
        "inflow": [100.0, 20.0],
    }


@st.composite
def models(draw):
    seed = draw(st.integers(0, 10_000))
    rng = np.random.default_rng(seed)
    s, a = draw(st.integers(1, 5)), draw(st.integers(1, 3))
    chances = rng.dirichlet(np.ones(s + 1) * 0.7, size=(s, a))
    chances[..., -1] += 0.05
    chances /= chances.sum(axis=2, keepdims=True)
    return DecisionModel.of(
        move=chances[:, :, :s],
        leave=chances[:, :, s:],
        reward=rng.normal(10, 5, (s, a)),
        uses={"calls": rng.random((s, a)) * 4, "visits": rng.random((s, a))},
        inflow=rng.random(s) * 100,
        in_force=rng.dirichlet(np.ones(a), size=s),
        discount=draw(st.sampled_from([1.0, 0.99])),
    )


def test_weights_undo_a_choice_that_rests_on_the_score():
    rows = made(4000, np.random.default_rng(1))
    naive = rows.groupby("action")["paid"].mean()
    assert naive["a"] - naive["b"] > 30  # the good payers get a
    found = decision_model(rows, draws=0)
    assert abs(found.paid[0, 0] - found.paid[0, 1]) < 4
    assert abs(found.paid[0].mean() - 100) < 3


def test_the_effect_is_found_beyond_the_choice():
    found = decision_model(made(4000, np.random.default_rng(2), effect=20.0), draws=0)
    assert found.paid[0, 1] - found.paid[0, 0] == pytest.approx(20, abs=4)


def test_rows_given_by_lot_take_the_logged_propensity():
    rows = made(2000, np.random.default_rng(3), confounded=False).assign(randomised=True)
    b = rows["action"].to_numpy() == "b"
    rows = rows[~b | (np.arange(len(rows)) % 4 == 0)].assign(  # b drawn a fifth of the time
        propensity=lambda r: np.where(r["action"] == "b", 0.2, 0.8)
    )
    action = (rows["action"] == "b").to_numpy(int)
    found = row_weights(rows.reset_index(drop=True), np.zeros(len(rows), int), action, 2)
    assert np.allclose(found.weight, 1)  # nobody chose: every row stands for the same mix


def test_weights_are_clipped_and_told():
    rows = made(3000, np.random.default_rng(4))
    rows["credit_score"] = np.where(rows["action"] == "b", 500.0, 700.0)
    rows.loc[:4, "credit_score"] = 700.0
    rows.loc[:4, "action"] = "b"
    action = (rows["action"] == "b").to_numpy(int)
    found = row_weights(rows, np.zeros(len(rows), int), action, 2)
    assert found.clipped > 0
    assert found.weight.max() == 10.0


def layout(bands=(0,), exits=1):
    """The states' bands are the only level; an account stays or leaves."""
    many = len(bands) + exits
    return Layout(
        (np.array(bands),),
        np.broadcast_to(np.arange(many) >= len(bands), (len(bands), many)).astype(int),
        np.ones((len(bands), many), bool),
    )


def test_many_rows_speak_for_themselves_and_no_rows_take_the_coarser_level():
    counts = np.zeros((1, 3, 2))
    counts[0, 0] = [60_000, 40_000]
    counts[0, 1] = [20_000, 80_000]
    chances, strength = transitions(counts, layout(), None)
    assert np.allclose(chances.sum(axis=2), 1)
    assert chances[0, 0, 0] == pytest.approx(0.6, abs=0.01)
    assert chances[0, 1, 0] == pytest.approx(0.2, abs=0.01)
    assert chances[0, 2, 0] == pytest.approx(0.4, abs=0.01)  # never seen: all actions together
    assert all((by > 0).all() for by in strength)


def test_a_thin_cell_lies_between_its_own_share_and_its_bands():
    counts = np.zeros((2, 2, 3))
    counts[0, 0], counts[0, 1] = [300, 0, 700], [150, 0, 850]
    counts[1, 0], counts[1, 1] = [0, 300, 700], [0, 0, 3]
    chances, _ = transitions(counts, layout((0, 0)), None)
    assert 0.72 < chances[1, 1, 2] < 0.95


def test_means_shrink_by_the_ratio_of_variances():
    size = np.array([[1000.0, 4.0]])
    sums = np.array([[10_000.0, 400.0]])
    squares = np.array([[200_000.0, 90_000.0]])
    found, strength = means(size, sums, squares, layout())
    assert all(by > 0 for by in strength)
    assert found[0, 0] == pytest.approx(10, abs=0.5)
    assert 10 < found[0, 1] < 100


def test_the_same_rows_give_the_same_model_whatever_their_order():
    rows = made(300, np.random.default_rng(5))
    one, other = decision_model(rows, draws=3), decision_model(rows.sample(frac=1, random_state=1), draws=3)
    assert np.allclose(one.move, other.move) and np.allclose(one.paid, other.paid)
    assert np.allclose(one.draws.reward, decision_model(rows, draws=3).draws.reward)


def test_draws_resample_customers_not_rows():
    rows = made(400, np.random.default_rng(6))
    twice = pd.concat([rows, rows], ignore_index=True)  # each customer's month seen twice: no more is known
    one, other = (decision_model(r, draws=50) for r in (rows, twice))
    spread = [np.std(m.draws.counted["paid"][:, 0, 0]) for m in (one, other)]
    assert spread[1] == pytest.approx(spread[0], rel=0.25)


def test_too_few_rows_are_not_tried():
    rows = made(400, np.random.default_rng(7))
    rows.loc[:4, "action"] = "c"
    found = decision_model(rows, draws=0)
    assert dict(zip(found.actions, found.tried[0].tolist())) == {"a": True, "b": True, "c": False}


def test_agent_hours_follow_the_minutes():
    rows = made(400, np.random.default_rng(8))
    found = decision_model(rows, capacity_params={"minutes_per_call": 30}, draws=0)
    assert np.allclose(found.uses["agent_hours"], found.uses["calls"] / 2)
    with pytest.raises(FrameError, match="minutes"):
        decision_model(rows, capacity_params={"minutes_per_call": -1}, draws=0)


def test_prices_enter_the_reward():
    rows = made(400, np.random.default_rng(9)).assign(complaints=0.5)
    plain, priced = decision_model(rows, draws=2), decision_model(rows, prices={"complaints": 10.0}, draws=2)
    assert np.allclose(plain.reward - priced.reward, 5.0)
    assert np.allclose(plain.priced({"complaints": 10.0}).reward, priced.reward)
    assert np.allclose(plain.priced({"complaints": 10.0}).draws.reward, priced.draws.reward)
    with pytest.raises(FrameError, match="lawyers"):
        decision_model(rows, prices={"lawyers": 1.0}, draws=0)
    with pytest.raises(FrameError, match="below 0"):
        plain.priced({"complaints": -1.0})


def test_where_unpaid_is_priced_what_is_paid_is_not_counted_again():
    rows = made(400, np.random.default_rng(12)).assign(cost=3.0)
    paid = decision_model(rows, draws=2)
    exits = paid.priced({"unpaid": 1.0, "lost": 0.5})
    assert np.allclose(paid.reward, paid.paid - 3.0)
    assert np.allclose(exits.reward, -3.0) and np.allclose(exits.draws.reward, -3.0)


def test_what_is_lost_comes_with_the_exit_whatever_the_action():
    """Three of ten of a's accounts are charged off and one of ten of b's, each with 500 and 100 unpaid."""
    rows = made(4000, np.random.default_rng(13), confounded=False)
    luck = np.random.default_rng(14).random(len(rows))
    gone = luck < np.where(rows["action"] == "a", 0.3, 0.1)
    rows["next_state"] = np.where(gone, "charged_off", "cured")
    rows["lost"], rows["unpaid"] = np.where(gone, 500.0, 0.0), np.where(gone, 100.0, 0.0)
    found = decision_model(rows, draws=0)
    off = found.leave[0, :, found.exits.index("charged_off")]
    assert off == pytest.approx([0.3, 0.1], abs=0.03)
    assert np.allclose(found.uses["lost"][0], 500 * off)
    assert np.allclose(found.uses["unpaid"][0], 100 * off)


def test_an_effect_is_found_where_the_actions_mix_differs_by_state():
    """b cures 20 points more in each of two states; in the one nearly all have b, in the other nearly none."""
    rng = np.random.default_rng(15)
    n = 6000
    late = rng.random(n) < 0.5
    b = rng.random(n) < np.where(late, 0.9, 0.1)
    cured = rng.random(n) < 0.3 + 0.2 * b
    rows = made(n, rng, confounded=False).drop(columns=["credit_score"])
    rows = rows.assign(
        action=np.where(b, "b", "a"),
        state=np.where(late, "15–29", "1–14"),
        days_past_due=np.where(late, 20, 5),
        next_state=np.where(cured, "cured", "15–29"),
        calls=2.0 + 3.0 * b,
    )
    found = decision_model(rows, draws=0)
    off = found.leave[:, :, found.exits.index("cured")]
    assert off[:, 1] - off[:, 0] == pytest.approx([0.2, 0.2], abs=0.06)
    calls = found.uses["calls"]
    assert calls[:, 1] - calls[:, 0] == pytest.approx([3.0, 3.0], abs=0.1)


def test_rows_that_cannot_be_used():
    rows = made(50, np.random.default_rng(10))
    with pytest.raises(NotAvailable, match="a month later"):
        decision_model(rows.assign(next_state=None))
    with pytest.raises(NotAvailable):
        decision_model(rows.assign(action=None))
    with pytest.raises(FrameError, match="paid"):
        decision_model(rows.drop(columns="paid"))
    with pytest.raises(FrameError, match="annual_rate"):
        decision_model(rows, annual_rate=1.5)


def test_every_fault_of_a_hand_made_model_at_once():
    wrong = two()
    wrong["move"] = [[[0.2, 0.4], [0.1, 0.2]], [[0.1, 0.6], [0.1, 0.3]]]
    with pytest.raises(FrameError) as error:
        DecisionModel.of(**wrong, cost=[[-1.0, 0.0], [0.0, 0.0]], discount=1.2)
    text = "\n".join(error.value.faults)
    assert "do not sum to 1: s1 × a1" in text
    assert "cost is below 0: s1 × a1" in text
    assert "discount is 1.2" in text


def test_shapes_and_negative_uses():
    with pytest.raises(FrameError, match="inflow has shape"):
        DecisionModel.of(**{**two(), "inflow": [1.0]})
    with pytest.raises(FrameError, match="use of calls is below 0"):
        DecisionModel.of(**{**two(), "uses": {"calls": [[1.0, -2.0], [1.0, 4.0]]}})


def test_absorbing_states_without_exit_are_named():
    with pytest.raises(FrameError, match="no exit from s2"):
        DecisionModel.of(
            move=[[[0.5, 0.2]], [[0.0, 1.0]]],
            leave=[[[0.3]], [[0.0]]],
            reward=[[1.0], [1.0]],
            inflow=[1.0, 0.0],
        )


def test_a_choice_that_never_leaves_needs_a_discount():
    forever = {"move": [[[1.0], [0.5]]], "leave": [[[0.0], [0.5]]], "reward": [[1.0, 1.0]], "inflow": [1.0]}
    with pytest.raises(FrameError, match="never leaves s1"):
        DecisionModel.of(**forever)
    assert DecisionModel.of(**forever, discount=0.9).discount == 0.9


def test_value_by_hand():
    model = DecisionModel.of(**two())
    # a1 everywhere: y1 = 100 + .2 y1 + .1 y2, y2 = 20 + .3 y1 + .6 y2
    y = np.linalg.solve([[0.8, -0.1], [-0.3, 0.4]], [100, 20])
    found = value(model, ["a1", "a1"])
    assert found.net == pytest.approx(10 * y[0] + 4 * y[1])
    assert found.amounts["calls"] == pytest.approx(y.sum())
    assert value(model, ["a1", "a1"], per="account").net == pytest.approx(found.net / 120)
    assert value(model, ["a1", "a1"], months=1).net == 1080
    # a second month: 100·.2 + 20·.1 in s1, 100·.3 + 20·.6 in s2
    assert value(model, ["a1", "a1"], months=2).net == pytest.approx(1080 + 10 * 22 + 4 * 42)


def test_value_of_the_stock():
    model = DecisionModel.of(**two(), stock=[0.0, 10.0])
    assert value(model, ["a1", "a1"], months=1, start="stock").net == 40


@pytest.mark.parametrize(
    ("plan", "says"),
    [
        ([[1.0, 0.0]], "shape"),
        ([[0.5, 0.0], [1.0, 0.0]], "sum to 1"),
        (["a1", "a9"], "a9"),
    ],
)
def test_plans_that_do_not_fit(plan, says):
    with pytest.raises(FrameError, match=says):
        value(DecisionModel.of(**two()), plan)


def test_months_are_whole():
    with pytest.raises(FrameError, match="months"):
        value(DecisionModel.of(**two()), ["a1", "a1"], months=0)


@settings(max_examples=25, deadline=None)
@given(model=models(), seed=st.integers(0, 1000))
def test_gains_by_state_add_up_to_the_difference_in_value(model, seed):
    plan = np.random.default_rng(seed).dirichlet(np.ones(len(model.actions)), size=len(model.states))
    apart = value(model, plan).net - value(model, model.in_force).net
    assert gains(model, plan, {}).sum() == pytest.approx(apart, abs=1e-6)
    prices = {"calls": 2.0}
    used = value(model, plan).amounts["calls"] - value(model, model.in_force).amounts["calls"]
    assert gains(model, plan, prices).sum() == pytest.approx(apart - 2 * used, abs=1e-6)


def test_drawn_gains_add_up_as_well():
    model = decision_model(made(500, np.random.default_rng(11)), draws=4)
    plan = np.array([[0.0, 1.0]])
    apart = value(model, plan).draws["net"] - value(model, model.in_force).draws["net"]
    assert drawn_gains(model, plan, {}).sum(axis=1) == pytest.approx(apart)


def test_holm_stops_at_the_first_that_fails():
    assert holm(np.array([2.2, 2.0, 5.0]), 0.025).tolist() == [False, False, True]
    assert holm(np.array([]), 0.025).tolist() == []


def test_the_interval_covers_the_true_value():
    """12 samples of 150 accounts from a known state: net per account of an arm, by closed form."""
    truth, covered = 200.0, 0  # 100 a month, half leave: two months on average
    for seed in range(12):
        rng = np.random.default_rng(seed)
        rows = made(150, rng, confounded=False)
        rows["paid"] = 100 + rng.normal(0, 60, len(rows))
        rows["next_state"] = np.where(rng.random(len(rows)) < 0.5, "cured", "1–14")
        model = decision_model(rows, draws=25, annual_rate=0.0)
        row = value(model, model.in_force, per="account").table.set_index("measure").loc["net"]
        covered += row["conf_low"] <= truth <= row["conf_high"]
    assert covered >= 9  # 95 % of 12 is 11; 9 is three standard errors below
