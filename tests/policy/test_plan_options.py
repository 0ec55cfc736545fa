"""The plan as an option of chapter 5: put forward where it is beyond noise, each figure in its published table."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from collectlab.policy.plan import allocate, decision_model
from collectlab.policy.plan.limits import Limits
from collectlab.policy.plan.plan_worth import value
from collectlab.policy.plan.rule_of_thumb import greedy
from collectlab.report.chapters import plan as chapter
from tests.policy.test_plan_model import made


def month(effect, hour_cost=1.0):
    rows = made(1500, np.random.default_rng(1), effect=effect)
    rows["calls"] = np.where(rows["action"] == "b", 3.0, 1.0)
    model = decision_model(rows, capacity_params={"minutes_per_call": 6}, draws=60)
    limits = Limits(
        {"agent_hours": value(model, model.in_force).amounts["agent_hours"] * 1.2},
        prices={"complaints": 1.0, "owed": 0.0, "lost": 0.0},
        hour_cost=hour_cost,
    )
    plan = allocate(model, limits.capacity)
    done = chapter.Worked(limits, model, plan, greedy(model, limits.capacity), ())
    return SimpleNamespace(shared=lambda key, make: done), done


@pytest.fixture(scope="module")
def strong():
    return month(effect=60.0)


def test_a_plan_within_noise_is_no_option():
    assert chapter.options(month(effect=0.0)[0]) == []


def test_the_plan_and_the_hours_it_lacks_are_options(strong):
    found = {o.key: o for o in chapter.options(strong[0])}
    assert set(found) == {"plan", "hours"}
    assert all(o.sure for o in found.values())
    assert found["plan"].net == strong[1].plan.gain["estimate"]
    assert found["hours"].cost == pytest.approx(0.05 * strong[1].limits.capacity["agent_hours"] * 1.0)


def test_hours_that_cost_more_than_they_bring_are_not_asked_for(strong):
    done = replace(strong[1], limits=replace(strong[1].limits, hour_cost=1e6))
    dear = SimpleNamespace(shared=lambda key, make: done)
    assert [o.key for o in chapter.options(dear)] == ["plan"]


def test_every_figure_stands_in_its_table(strong):
    tables = {
        "plan_worth": chapter._worth(strong[1]),
        "plan_capacity": chapter.capacity.__wrapped__(strong[0]).table,
    }
    for option in chapter.options(strong[0]):
        for figure in option.figures:
            table = tables[figure.part]
            for column, held in figure.where.items():
                table = table[table[column] == held]
            assert len(table) == 1
            assert table[figure.column].iloc[0] == pytest.approx(figure.value)
