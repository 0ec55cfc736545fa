"""Plans in the report: what they name is counted, and what cannot be counted is refused in words."""

import shutil
from pathlib import Path

import pytest
import yaml

from collectlab.book.simulate import simulate
from collectlab.effects.verdict_rule import CAUSAL, NOT_IDENTIFIABLE
from collectlab.report.chapters import caused, results, strategy
from collectlab.report.month import open_month

PARAMS = Path(__file__).parents[2] / "params"


@pytest.fixture(scope="module")
def bank():
    return simulate(accounts=3000, seed=4, problems=(), truth_accounts=0).book_tables


def month(bank, place, **plan):
    """The month of a bank whose plan of the test is changed; no other questions."""
    folder = place / "params"
    shutil.copytree(PARAMS, folder)
    asked = yaml.safe_load((PARAMS / "questions.yml").read_text(encoding="utf-8"))
    test = asked["experiments"]["champion_challenger"]
    test["plan"] |= {"accounts_per_arm": 50} | plan
    written = yaml.safe_dump({"experiments": {"test": test}}, allow_unicode=True)
    (folder / "questions.yml").write_text(written, encoding="utf-8")
    return open_month(bank, params=folder)


def test_a_plans_own_outcome_and_horizon_are_counted(bank, tmp_path):
    (found,) = caused.experiments(month(bank, tmp_path, outcome="cured_within_45", horizon_days=45))
    assert found.grade == CAUSAL and found.estimand.startswith("Cured within 45 days")


def test_a_plan_on_what_the_book_does_not_tell_is_refused_in_words(bank, tmp_path):
    (found,) = caused.experiments(month(bank, tmp_path, outcome="smiles_within_60"))
    assert found.grade == NOT_IDENTIFIABLE and "smiles_within_60" in found.sentence


def test_a_plan_that_names_an_arm_nobody_is_in_has_no_verdict_on_it(bank, tmp_path):
    plan = {"arms": ["challenger", "ghost"], "allocation": None}
    first, second = caused.experiments(month(bank, tmp_path, **plan))
    assert first.grade == second.grade == NOT_IDENTIFIABLE
    assert "ghost" in first.sentence and "ghost" in second.sentence


def test_a_plan_that_may_be_stopped_by_a_look_is_decided_by_the_interval_that_holds_at_every_look(
    bank, tmp_path
):
    this = month(bank, tmp_path, peeking=True)
    (found,) = caused.experiments(this)
    looked = results.looks(this).result.at().iloc[0]
    assert found.table["conf_low"].iloc[0] == looked["conf_low"] < looked["fixed_low"]


def test_without_questions_each_arm_is_still_judged_and_channels_are_not_asked_about(bank, tmp_path):
    folder = tmp_path / "params"
    shutil.copytree(PARAMS, folder)
    (folder / "questions.yml").unlink()
    this = open_month(bank, params=folder)
    assert [v.grade for v in caused.experiments(this)] == [CAUSAL]
    assert caused.channels(this) == caused.choices(this) == caused.changes(this) == []
    assert "asks of no channel" in strategy.channels_brought(this).left_out
