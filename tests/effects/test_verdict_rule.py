"""The published rule, word by word, on results made up to deserve each grade."""

import numpy as np
import pandas as pd
import pytest

from collectlab.core.errors import FrameError
from collectlab.effects.effect_result import DESIGNS, Check, EffectResult
from collectlab.effects.verdict import verdict, verdicts
from collectlab.effects.verdict_rule import CAUSAL, GRADES, NOT_IDENTIFIABLE, RULE, SUGGESTIVE, grade, rule


def result(design="experiment", estimate=0.05, error=0.01, **checks: bool | None) -> EffectResult:
    table = pd.DataFrame(
        {
            "outcome": ["cured_within_60"],
            "unit": ["points"],
            "method": ["any"],
            "n": [1000],
            "estimate": [estimate],
            "std_error": [error],
            "conf_low": [estimate - 1.96 * error],
            "conf_high": [estimate + 1.96 * error],
            "p_value": [0.01],
        }
    )
    made = tuple(Check(name=n, passed=p, says=f"About {n}.") for n, p in checks.items())
    return EffectResult(table=table, estimand="", design=design, checks=made)


def holding(design: str, **other: bool | None) -> EffectResult:
    """A result of this design all of whose checks hold, but for the ones named."""
    claim = RULE[design]
    names = dict.fromkeys((*claim.fatal, *claim.must, *claim.should), True)
    return result(design, **(names | other))


def test_every_design_has_a_claim():
    assert set(RULE) == set(DESIGNS)


@pytest.mark.parametrize("design", list(RULE))
def test_where_all_checks_hold_the_best_grade_is_given(design):
    assert grade(holding(design)) == (RULE[design].best, ())


@pytest.mark.parametrize(("design", "name"), [(d, n) for d, c in RULE.items() for n in c.fatal])
def test_a_fatal_check_that_fails_forbids_an_answer(design, name):
    level, against = grade(holding(design, **{name: False}))
    assert level == NOT_IDENTIFIABLE and [c.name for c in against] == [name]


@pytest.mark.parametrize(("design", "name"), [(d, n) for d, c in RULE.items() for n in c.should])
def test_a_lesser_check_that_fails_costs_one_grade_and_one_not_made_costs_none(design, name):
    one_down = GRADES[GRADES.index(RULE[design].best) + 1]
    assert grade(holding(design, **{name: False}))[0] == one_down
    assert grade(holding(design, **{name: None}))[0] == RULE[design].best


@pytest.mark.parametrize(("design", "name"), [(d, n) for d, c in RULE.items() for n in c.must])
def test_a_check_that_must_be_made_costs_a_grade_where_it_was_not(design, name):
    one_down = GRADES[GRADES.index(RULE[design].best) + 1]
    assert grade(holding(design, **{name: None}))[0] == one_down


@pytest.mark.parametrize("design", ["comparison", "target_trial", "differences", "series", "stage_jump"])
def test_what_people_chose_or_what_changed_on_a_date_is_never_called_causal(design):
    assert RULE[design].best == SUGGESTIVE


def test_the_better_graded_result_answers_and_what_contradicts_it_is_named():
    chosen = holding("comparison")
    wrong = EffectResult(
        table=chosen.table.assign(estimate=-0.2, conf_low=-0.22, conf_high=-0.18),
        estimand="",
        design="comparison",
        checks=chosen.checks,
    )
    found = verdict("Q?", [wrong, holding("experiment")], treatment="calls", control="no calls")
    assert found.grade == CAUSAL and found.table["design"].tolist() == ["experiment", "comparison"]
    assert found.notes == ("The estimate by comparison says otherwise and is not believed.",)
    assert found.sentence == (
        "Cured within 60 days: +5.0 pp (+3.0 pp to +7.0 pp) with calls instead of no calls. Accounts were drawn by "
        "lot, so this is what calls caused."
    )


def test_one_sentence_for_each_grade_and_direction():
    def said(found, **options):
        return verdict("Q?", [found], treatment="A", control="B", **options)

    assert said(result()).direction == "raises"
    assert said(result(estimate=-0.05)).direction == "lowers"
    open_ = said(result(error=0.04), settle="Draw lots.")
    assert open_.direction == "not decided" and open_.settle == "Draw lots."
    assert open_.sentence.endswith("Which of the two is better is not decided.")
    small = said(result(estimate=0.001, error=0.002), settle="Draw lots.")
    assert small.direction == "no effect that matters" and "less than 2.0 pp either way" in small.sentence
    assert small.settle == ""  # it is settled
    spoilt = said(result(sample_ratio=False), settle="Draw lots.")
    assert spoilt.sentence == "What A caused cannot be told from this book: about sample_ratio."
    assert (spoilt.direction, spoilt.settle) == ("", "Draw lots.")
    weaker = said(result(attrition=False))
    assert weaker.grade == SUGGESTIVE and weaker.sentence.endswith(
        "It is not called causal: about attrition."
    )


def test_a_check_outside_the_rule_is_told_as_a_caution():
    found = verdict("Q?", [holding("experiment", spillover=False)], treatment="A", control="B")
    assert found.grade == CAUSAL and found.notes == ("Caution: About spillover.",)


def test_a_test_short_of_its_plans_horizon_has_no_verdict():
    early = Check(name="horizon", passed=False, says="The plan names day 60; it is reached on 2026-12-30.")
    found = verdict("Q?", [holding("experiment", horizon=None)], treatment="A", control="B", more=[early])
    assert found.grade == NOT_IDENTIFIABLE and "2026-12-30" in found.sentence


def test_what_was_refused_is_not_identifiable_and_says_why():
    found = verdict(
        "Q?", [], treatment="visits", control="none", refused="A visit is decided after time zero."
    )
    assert found.grade == NOT_IDENTIFIABLE and len(found.table) == 0
    assert (
        found.sentence
        == "What visits caused cannot be told from this book: a visit is decided after time zero."
    )
    assert "visits" in found._repr_html_() and "visits" in found._repr_markdown_()


def test_the_table_of_verdicts_gives_no_figure_where_nothing_can_be_told():
    told = verdict("One?", [result()], treatment="A", control="B")
    spoilt = verdict("Two?", [result(sample_ratio=False)], treatment="A", control="B")
    table = verdicts([told, spoilt]).table
    assert table["grade"].tolist() == [CAUSAL, NOT_IDENTIFIABLE]
    assert table["estimate"].isna().tolist() == [False, True]


def test_a_check_that_failed_in_numpys_words_has_failed():
    assert Check(name="density", passed=np.False_, says="").passed is False
    assert Check(name="density", passed=None, says="").passed is None


def test_an_unknown_arm_or_outcome_is_named():
    with pytest.raises(FrameError, match=r"no outcome .paid. in this result\. Allowed: cured_within_60"):
        verdict("Q?", [result()], treatment="A", control="B", outcome="paid")


def test_the_rule_is_published_whole():
    table = rule().table
    assert len(table) == len(RULE) and "sample ratio" in table.iloc[0, 2]
