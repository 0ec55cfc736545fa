"""What if: a change in some states, its worth, what it takes, and the refusal where the log says nothing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from collectlab.core.errors import FrameError, NotAvailable, ParamsError
from collectlab.policy.plan.explore import open_desk, priced, restated
from collectlab.policy.plan.model import DecisionModel, Draws
from collectlab.policy.plan.plan_worth import value
from collectlab.policy.plan.rows import EXITS, decision_rows
from collectlab.policy.plan.solve import Infeasible
from collectlab.policy.plan.states import States
from collectlab.policy.plan.what_if import Change, changed_states, load_changes, what_if

STATES = ("1–14 | large", "1–14 | small", "15–29 | large", "15–29 | small", "30+ | large", "30+ | small")


def change(**fields) -> Change:
    told = {
        "name": {"en": "Call from day 15", "zh": "早"},
        "since": "2026-01-01",
        "source": "a test",
        "use": "call",
    }
    return Change(**(told | fields))


def by_hand(draws: int = 0, **changed) -> DecisionModel:
    """Half of the accounts of a stage move on; a call brings 10 and takes 0.1 hours and 0.01 complaints."""
    move = np.zeros((6, 2, 6))
    for s, t in ((0, 2), (1, 3), (2, 4), (3, 5)):
        move[s, :, t] = 0.5
    arrays = {
        "inflow": [40, 80, 0, 0, 0, 0],
        "reward": np.tile([0.0, 9.0], (6, 1)),
        "cost": np.tile([0.0, 1.0], (6, 1)),
        "uses": {"agent_hours": np.tile([0, 0.1], (6, 1)), "complaints": np.tile([0, 0.01], (6, 1))},
        "in_force": np.tile([1.0, 0.0], (6, 1)),
        **changed,
    }
    model = DecisionModel.of(
        states=STATES, actions=("letter", "call"), exits=("gone",), move=move,
        leave=1 - move.sum(axis=2, keepdims=True), **arrays,
    )  # fmt: skip
    if not draws:
        return model
    noise = np.random.default_rng(1).normal(0, 2, (draws, 1, 1))
    plus = np.array([0.0, 1.0])  # only the call's worth is uncertain
    counted = {"paid": model.paid + noise * plus, "cost": np.repeat(model.cost[None], draws, 0)}
    counted |= {k: np.repeat(v[None], draws, 0) for k, v in model.uses.items()}
    held = Draws(
        move=np.repeat(move[None], draws, 0),
        leave=np.repeat(model.leave[None], draws, 0),
        reward=model.reward + noise * plus,
        counted=counted,
        inflow=np.repeat(model.inflow[None], draws, 0),
    )
    return replace(model, draws=held)


def test_the_figures_by_hand():
    found = what_if(by_hand(), change(dpd_from=15, dpd_to=29), capacity={"agent_hours": 5})
    rows = found.table.set_index("measure")
    # 60 accounts come from 1–14 into 15–29 a month: 60 calls' worth
    assert rows.loc["net", "estimate"] == pytest.approx(540)
    assert rows.loc["paid", "estimate"] == pytest.approx(600)
    assert rows.loc["cost", "estimate"] == pytest.approx(60)
    assert rows.loc["agent_hours", "changed"] == pytest.approx(6)
    assert rows.loc["complaints", "estimate"] == pytest.approx(0.6)
    assert found.capacity.to_dict("records") == [
        {"resource": "agent_hours", "limit": 5.0, "now": 0.0, "changed": pytest.approx(6), "enough": False}
    ]
    assert not found.enough and any("does not suffice: agent_hours" in n for n in found.notes)


def test_only_accounts_with_all_the_words():
    found = what_if(by_hand(), change(dpd_from=15, among=["large"]))
    assert found.gain()["estimate"] == pytest.approx(9 * (20 + 10))  # 15–29 and 30+
    assert changed_states(by_hand(), change(dpd_from=15, among=["large"])).tolist() == [2, 4]


def test_the_interval_is_of_the_difference_alone():
    model = by_hand(draws=200)
    found = what_if(model, change(dpd_from=15, dpd_to=29))
    spread = np.random.default_rng(1).normal(0, 2, 200).std(ddof=1)
    assert found.gain()["std_error"] == pytest.approx(60 * spread)
    assert found.gain()["conf_low"] == pytest.approx(540 - 1.959964 * 60 * spread, rel=1e-5)
    nothing = what_if(replace(model, in_force=np.tile([0.0, 1.0], (6, 1))), change(dpd_from=15))
    assert nothing.gain()["estimate"] == pytest.approx(0) and nothing.gain()["std_error"] == pytest.approx(0)


def test_it_is_refused_where_the_action_was_not_tried():
    tried = np.ones((6, 2), bool)
    tried[2, 1] = False  # a third of those that come into 15–29
    with pytest.raises(NotAvailable, match=r"refused. call was never tried, .* 1 of 2 states .* 33 %"):
        what_if(by_hand(tried=tried), change(dpd_from=15, dpd_to=29))
    found = what_if(
        by_hand(tried=tried), change(dpd_from=1)
    )  # a ninth of all: those stay as now, and it is said
    assert any("9.5 % of the account-months concerned" in n for n in found.notes)
    assert found.share[2].tolist() == [1, 0] and found.share[3].tolist() == [0, 1]


def test_the_log_behind_it_is_counted():
    model = replace(by_hand(), n=np.full((6, 2), 40), effective=np.full((6, 2), 25.0))
    rows = pd.DataFrame(
        {
            "action": ["call", "call", "letter", "call"],
            "state": ["15–29 | large", "15–29 | small", "15–29 | small", "15–29 | small"],
            "next_state": ["cured", "cured", "cured", None],
            "randomised": [True, False, True, True],
        }
    )
    found = what_if(model, change(dpd_from=15, dpd_to=29), rows=rows)
    assert found.support["n"].tolist() == [40, 40] and not found.support["supported"].any()
    assert found.support["share_by_lot"].tolist() == [1.0, 0.0]
    assert found.grade == "model"  # two thirds of the account-months rest on what people chose
    by_lot = what_if(model, change(dpd_from=15, dpd_to=29), rows=rows.assign(randomised=True))
    assert by_lot.grade == "suggestive"


def test_what_is_wrong_with_a_change_is_told_at_once():
    with pytest.raises(FrameError) as error:
        what_if(by_hand(), change(use="visit", dpd_from=10, dpd_to=20, among=["huge"]))
    told = str(error.value)
    assert "'visit' is no action. Allowed: letter, call" in told
    assert "10 begins no stage. Allowed: 1, 15, 30" in told
    assert "20 ends no stage. Allowed: 14, 29, or left out" in told
    assert "huge in no state. Allowed: large, small" in told
    with pytest.raises(FrameError, match="the model has no use 'cars'"):
        what_if(by_hand(), change(), capacity={"cars": 1})
    with pytest.raises(NotAvailable, match="no account comes into the states concerned"):
        what_if(by_hand(inflow=[1, 0, 0, 0, 0, 0]), change(among=["small"]))


def test_the_file_is_dated_and_checked(tmp_path):
    path = tmp_path / "what_if.yml"
    path.write_text(
        "changes:\n"
        "  a: {name: {en: A, zh: 甲}, since: 2026-01-01, until: 2026-06-30, source: s, use: call}\n"
        "  b: {name: {en: B, zh: 乙}, since: 2026-05-01, source: s, use: call, dpd_from: 15, among: [large]}\n"
    )
    assert list(load_changes(path, "2026-05-15")) == ["a", "b"]
    assert list(load_changes(path, "2026-10-31")) == ["b"]
    path.write_text(
        "changes:\n  a: {name: {en: A, zh: 甲}, since: 2026-01-01, source: s, use: call, dpd_from: 30, dpd_to: 15}\n"
    )
    with pytest.raises(ParamsError, match="dpd_to 15 is before dpd_from 30"):
        load_changes(path, "2026-05-15")
    path.write_text("changes:\n  a: {since: 2026-01-01, use: call, day: 3}\n")
    with pytest.raises(ParamsError) as error:
        load_changes(path, "2026-05-15")
    assert "day" in str(error.value) and "source" in str(error.value)


@pytest.fixture(scope="module")
def book():
    from collectlab.book.open import open_book
    from collectlab.book.simulate import simulate

    return open_book(simulate(accounts=800, months=10, problems=(), truth_accounts=0).book_tables)


def test_stages_cut_anew_are_those_counted_from_the_book(book):
    """What the explorer does when a stage slider is moved, against counting the book again."""
    cuts = (1, 22, 30, 60, 75, 180)
    moved = restated(decision_rows(book), cuts)
    again = decision_rows(book, states=States(days_past_due=cuts))
    pd.testing.assert_series_equal(moved["state"], again["state"])
    pd.testing.assert_series_equal(moved["next_state"], again["next_state"])
    assert moved["next_state"].isin(EXITS).any() and moved.attrs["states"].days_past_due == cuts


def test_the_explorers_plan_moves_with_its_limits(book):
    desk = open_desk(book, "params")
    assert desk.look().table.equals(desk.look().table)
    hours = desk.start.agent_hours
    net = {
        h: desk.look(agent_hours=h).values.set_index("plan").loc["best plan", "estimate"]
        for h in (hours, 2 * hours)
    }
    assert net[2 * hours] >= net[hours]
    dearer = desk.look(agent_hour=desk.start.agent_hour + 10).values.set_index("plan")["estimate"]
    today = desk.look().values.set_index("plan")["estimate"]
    model = desk.model()
    assert today["as now"] - dearer["as now"] == pytest.approx(
        10 * value(model, model.in_force).amounts["agent_hours"]
    )
    assert desk.look(second_stage=22).table["days_past_due"].tolist()[:2] == ["1–21", "22–29"]
    with pytest.raises(Infeasible, match="agent_hours"):
        desk.look(agent_hours=0)


def test_an_hour_dearer_is_paid_in_every_draw():
    model = by_hand(draws=3)
    dear = priced(model, {}, 2.0)
    assert np.allclose(model.reward - dear.reward, 2 * model.uses["agent_hours"])
    assert dear.draws is not None and model.draws is not None
    assert np.allclose(dear.draws.reward, model.draws.reward - 2 * model.draws.counted["agent_hours"])
