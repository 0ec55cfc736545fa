"""The sheet and the named changes in the report: traced figures where they stand, one line where a book cannot tell."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from collectlab.book.simulate import simulate
from collectlab.policy.plan import DecisionModel, allocate
from collectlab.policy.plan.limits import Limits
from collectlab.policy.plan.model import Draws
from collectlab.policy.plan.what_if import Change, what_if
from collectlab.report.chapters import what_if as chapter
from collectlab.report.chapters.plan import Worked
from collectlab.report.month import Month, open_month

PARAMS = Path(__file__).parents[2] / "params"
STATES = ("1–14 | large", "1–14 | small", "15–29 | large", "15–29 | small")


@pytest.fixture(scope="module")
def bank():
    return simulate(accounts=300, months=8, problems=(), truth_accounts=0).book_tables


def model(noise: float) -> DecisionModel:
    """A call brings 10 more than a letter, give or take ``noise``, and takes a tenth of an hour."""
    from dataclasses import replace

    move = np.zeros((4, 2, 4))
    move[0, :, 2] = move[1, :, 3] = 0.5
    made = DecisionModel.of(
        states=STATES, actions=("letter", "call"), exits=("cured",), move=move,
        leave=1 - move.sum(axis=2, keepdims=True), reward=np.tile([5.0, 15.0], (4, 1)),
        uses={"agent_hours": np.tile([0, 0.1], (4, 1))}, inflow=[40, 80, 0, 0],
    )  # fmt: skip
    draws = 40
    plus = np.random.default_rng(2).normal(0, noise, (draws, 1, 1)) * np.array([0.0, 1.0])
    again = lambda v: np.repeat(v[None], draws, 0)  # noqa: E731
    counted = {
        "paid": made.paid + plus,
        "cost": again(made.cost),
        "agent_hours": again(made.uses["agent_hours"]),
    }
    held = Draws(again(move), again(made.leave), made.reward + plus, counted, again(made.inflow))
    return replace(made, draws=held, n=np.full((4, 2), 200), effective=np.full((4, 2), 180.0))


def month(bank, noise: float, hours: float = 100) -> Month:
    """A month whose plan rests on the model above."""
    this = open_month(bank, params=PARAMS)
    made = model(noise)
    capacity = {"agent_hours": hours}
    done = Worked(Limits(capacity), made, allocate(made, capacity), made.in_force, ())
    this._cache["plan under limits"] = done
    late = Change(
        name={"en": "Call from day 15", "zh": "早"}, since="2026-01-01", source="s", use="call", dpd_from=15
    )
    found = what_if(made, late, capacity=capacity)
    this._cache["what if"] = [
        chapter.Asked("late", late, found, stands=found.gain()["conf_low"] > 0),
        chapter.Asked("never", late, None, "refused. call was never tried."),
    ]
    return this


def test_what_stands_becomes_an_option_and_each_of_its_figures_is_a_cell_of_a_part(bank):
    this = month(bank, noise=1.0)
    tables = {p.name: p.table for p in (chapter.sheet(this), chapter.simplicity(this), chapter.changes(this))}
    found = chapter.options(this)
    assert [o.key for o in found] == ["sheet", "what_if_late"] and all(o.sure for o in found)
    for option in found:
        for figure in option.figures:
            rows = tables[figure.part]
            for column, wanted in figure.where.items():
                rows = rows[rows[column] == wanted]
            assert rows[figure.column].iloc[0] == pytest.approx(figure.value), figure
    assert "1–29 days past due: call" in found[0].what
    assert found[1].net == pytest.approx(10 * 60) and "6" in found[1].cost_words


def test_within_noise_nothing_is_recommended(bank):
    assert chapter.options(month(bank, noise=30.0)) == []


def test_a_refused_change_is_shown_with_its_reason_and_a_short_capacity_with_its_name(bank):
    this = month(bank, noise=1.0, hours=3)
    table = chapter.changes(this).table
    assert table["decision"].tolist() == ["beyond noise; needs more agent-hours", "refused: not tried"]
    assert any("call was never tried" in n for n in chapter.changes(this).result.notes)


def test_books_that_cannot_tell_leave_the_parts_out_in_one_line(bank):
    few = {k: v for k, v in bank.items() if k in ("accounts", "snapshots")}
    snapshots = (
        bank["snapshots"].to_pandas() if hasattr(bank["snapshots"], "to_pandas") else bank["snapshots"]
    )
    last = snapshots[snapshots["as_of"] == snapshots["as_of"].max()]
    for book in (few, {**few, "snapshots": last}, {**dict(bank), "snapshots": last}):
        this = open_month(book, params=PARAMS)
        for part in (chapter.sheet, chapter.simplicity, chapter.changes):
            assert part(this).left_out.startswith("Left out: ")
        assert chapter.options(this) == []
