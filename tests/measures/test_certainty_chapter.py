"""The parts on what it takes to pay and how sure the choice is, on a small simulated bank and on planted answers."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from collectlab.book.open import open_book
from collectlab.book.simulate import simulate
from collectlab.core.errors import NotAvailable
from collectlab.effects.verdict_rule import NOT_IDENTIFIABLE
from collectlab.measures.worth.information import evpi_normal
from collectlab.report.chapters import certainty, certainty_arms, certainty_channels, trials
from collectlab.report.chapters.asked import questions
from collectlab.report.chapters.certainty_arms import Arms
from collectlab.report.month import Month, open_month

PARTS = (certainty.break_even, certainty.tornado, certainty.best_by_price, certainty.knowing_more)


@pytest.fixture(scope="module")
def book():
    bank = simulate(accounts=1200, months=16, problems=(), truth_accounts=0)
    return open_book(bank.book_tables)


@pytest.fixture(scope="module")
def bank(book) -> Month:
    this = open_month(book, f"{pd.Timestamp(book.as_of):%Y-%m}", params="params")
    if not this.book.about.currency:  # frames carry no currency of their own
        about = this.book.about.model_copy(update={"currency": "CNY"})
        this = dataclasses.replace(this, book=dataclasses.replace(this.book, about=about))
    asked = questions(this)
    two = {key: asked.channels[key] for key in ("call", "letter")}
    this = dataclasses.replace(
        this, _cache={**this._cache, "questions": asked.model_copy(update={"channels": two})}
    )
    return answered(this, call=(0.094, 0.032))


def planted(bank: Month, **cache) -> Month:
    """The same month with answers of our own, and nothing kept that was worked out from others."""
    ours = ("certainty_", "knowing more", "break-even by channel", "arms of the test")
    kept = {key: value for key, value in bank._cache.items() if not key.startswith(ours)}
    return dataclasses.replace(bank, _cache={**kept, **cache})


def answered(month: Month, grade="suggestive", **known) -> Month:
    """The month with verdicts of our own on the channels: (effect, standard error) where known."""
    found = []
    for question in questions(month).channels.values():
        effect, told = known.get(question.treatment), None
        if effect:
            told = SimpleNamespace(
                table=pd.DataFrame([effect], columns=["estimate", "std_error"]), headline=0
            )
        found.append((SimpleNamespace(grade=grade if effect else NOT_IDENTIFIABLE), told))
    return planted(month, **{"verdicts of channels": found})


def test_the_arms_are_those_of_the_test(bank):
    found = certainty_arms.arms(bank)
    published = trials.worth_of(bank)
    row = published.table.iloc[0]
    arm = found.names.index(row["arm"])
    assert found.names[0] == published.control
    assert (int(found.n[arm]), int(found.n[0])) == (row["n"], row["control_n"])
    estimate, error = found.difference(arm, "amount")
    assert estimate == pytest.approx(row["amount_effect"])
    assert estimate + 1.96 * error == pytest.approx(row["amount_high"], abs=0.05 * error)
    assert found.difference(arm, "cost")[0] == pytest.approx(row["cost_effect"])
    drawn = found.draws()
    assert drawn.shape == (certainty_arms.DRAWS, len(found.names), len(found.outcomes))
    assert np.array_equal(drawn, found.draws())
    wanted = found.spread[0] / (found.n[0] - 1)
    scale = np.sqrt(np.diag(wanted))
    off = (np.cov(drawn[:, 0], rowvar=False) - wanted)[np.ix_(scale > 0, scale > 0)]
    assert np.abs(off / np.outer(scale[scale > 0], scale[scale > 0])).max() < 0.1
    assert (drawn[:, 0, scale == 0] == found.means[0, scale == 0]).all()


def test_every_part_has_a_table_or_says_why_not(bank):
    for part in PARTS:
        shown = part(bank)
        assert shown.result is not None, shown.left_out
        html = shown._repr_html_()
        assert "nan" not in html and len(shown.table)
    table = certainty.break_even(bank).table
    unknown = table[table["grade"].str.startswith("not identifiable")]
    assert unknown[["effect", "estimate", "conf_low", "conf_high", "saving"]].isna().all(axis=None)
    assert (table["effect_needed"] > 0).all()


def test_knowing_more_agrees_with_the_closed_form(bank):
    found = certainty_arms.arms(bank)
    means, variances = found.net()
    arm = found.best()
    error = (variances[arm] / (found.n[arm] - 1) + variances[0] / (found.n[0] - 1)) ** 0.5
    row = certainty.knowing_more(bank).table.iloc[0]
    exact = evpi_normal(means[arm] - means[0], error)
    assert row["what"] == "everything"
    assert abs(row["estimate"] - exact) < 4 * row["std_error"]


def hand_made(mean, sd, n=400):
    """Two arms whose money recovered differs by ``mean``, with a standard deviation of ``sd`` an account."""
    spread = np.diag([sd**2, 1.0, 0.0004, 0.24])
    means = np.array([[1000.0, 30.0, 0.02, 0.5], [1000.0 + mean, 30.0, 0.02, 0.55]])
    return Arms(
        names=("champion", "challenger"),
        outcomes=("amount", "cost", "complaints", "cured"),
        means=means,
        spread=np.array([spread, spread]),
        n=np.array([n, n]),
        price=320.0,
        cured="cured_within_90",
    )


def traced(month, option):
    """Each figure of an option is the cell it points at, of a part of this chapter."""
    parts = {f"certainty_{p.__name__}": p for p in PARTS}
    for figure in option.figures:
        table = parts[figure.part](month).table
        for column, value in figure.where.items():
            table = table[table[column] == value]
        assert len(table) == 1 and table[figure.column].iloc[0] == pytest.approx(figure.value), figure.name
    assert option.figures


def test_an_experiment_is_proposed_where_its_answer_is_worth_its_cost(bank):
    close = planted(bank, **{"arms of the test": hand_made(mean=0.5, sd=4000.0)})
    (option,) = [o for o in certainty.options(close) if o.key == "experiment"]
    assert option.net > 0 and option.grade == "model"
    traced(close, option)
    sure = planted(bank, **{"arms of the test": hand_made(mean=900.0, sd=2000.0)})
    assert not [o for o in certainty.options(sure) if o.key == "experiment"]
    row = certainty.knowing_more(sure).table.query("what == 'the next experiment'").iloc[0]
    assert row["net_benefit"] < 0
    assert "No assumption alone turns" in certainty.tornado(sure).result.notes[0]
    shown = certainty.tornado(close).result
    assert shown.notes[0].startswith("Not sure: over what is known of the money recovered")
    assert "only where the money recovered is above" in shown.notes[1]
    assert shown.display_table()["Turns the choice"].iloc[0].startswith("yes, at ")


def test_small_amounts_are_left_alone_only_where_that_surely_saves(bank):
    weak = answered(bank, call=(0.006, 0.001))
    table = certainty.break_even(weak).table.set_index("channel")
    call = table.loc["call"]
    assert call["treated_below"] > 0.8 and 0 < call["saving_low"] < call["saving"] < call["saving_high"]
    (option,) = [o for o in certainty.options(weak) if o.key.startswith("break_even")]
    assert option.sure and option.grade == "suggestive"
    traced(weak, option)
    for other in (
        answered(bank, call=(0.006, 0.02)),
        answered(bank, NOT_IDENTIFIABLE, call=(0.006, 0.001)),
    ):
        assert not [o for o in certainty.options(other) if o.key.startswith("break_even")]
        assert np.isnan(certainty.break_even(other).table.set_index("channel").loc["call", "estimate"])


def test_books_without_what_is_needed_are_told_in_one_line(book, tmp_path):
    last = f"{pd.Timestamp(book.as_of):%Y-%m}"
    tables = {name: book.table(name) for name in ("accounts", "snapshots")}
    bare = open_month(open_book(tables), last, params="params")
    one = open_month(open_book(tables).until(pd.Timestamp(book.as_of).date()), last, params=tmp_path)
    for month in (bare, one):
        for part in PARTS:
            shown = part(month)
            assert shown.result is None and "\n" not in shown.left_out, part.__name__
        assert certainty.options(month) == []
    with pytest.raises(NotAvailable, match="currency"):
        certainty_channels.prices_in_force(bare)
