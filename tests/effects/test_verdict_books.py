"""Each verdict's grade, on simulated books built to deserve it."""

from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from collectlab.book.open import open_book
from collectlab.book.simulate import simulate
from collectlab.book.simulate_changes import change_schedule
from collectlab.effects.answers import answer_change, answer_channel, answer_choice
from collectlab.effects.questions import AskedChange, AskedChoice, AskedTrial
from collectlab.effects.target_trial import LaterTreatment, TargetTrial
from collectlab.effects.verdict_rule import CAUSAL, NOT_IDENTIFIABLE, SUGGESTIVE
from collectlab.report.chapters import caused
from collectlab.report.month import open_month

PARAMS = Path(__file__).parents[2] / "params"
SAID = {"question": {"en": "What did it do?", "zh": "?"}, "since": "2024-01-01", "source": "test"}
KNOWN = ("credit_score", "monthly_income", "product", "days_past_due", "amount_past_due", "prior_episodes")


@cache
def bank(accounts: int = 6000, seed: int = 11, **options):
    return simulate(accounts=accounts, seed=seed, problems=(), truth_accounts=0, **options)


@cache
def book(**options):
    return open_book(bank(**options).book_tables)


def changed(tables: dict[str, pa.Table], name: str, change) -> dict[str, pa.Table]:
    return tables | {name: pa.Table.from_pandas(change(tables[name].to_pandas()), preserve_index=False)}


def test_verdict(month):
    (found,) = caused.experiments(month)
    return found


test_verdict.__test__ = False


def the_month(tables, label="2026-10"):
    return open_month(open_book(tables), label, params=PARAMS)


# Drawn by lot --------------------------------------------------------------------------------------------


def test_a_test_that_was_drawn_kept_and_read_at_its_horizon_is_causal():
    found = test_verdict(the_month(bank().book_tables))
    assert found.grade == CAUSAL, found.notes
    assert found.direction in ("raises", "not decided")


def test_before_the_plans_horizon_the_same_test_has_no_verdict():
    found = test_verdict(the_month(bank().book_tables, "2025-11"))
    assert found.grade == NOT_IDENTIFIABLE and found.against[0].name == "horizon"
    assert found.direction == ""


def test_a_test_that_lost_accounts_from_one_arm_has_no_verdict():
    def lose(given: pd.DataFrame) -> pd.DataFrame:
        number = given["account_id"].str[1:].astype(int)
        return given[(given["strategy"] != "challenger") | (number % 4 != 0)]

    found = test_verdict(the_month(changed(bank().book_tables, "assignments", lose)))
    assert found.grade == NOT_IDENTIFIABLE and found.against[0].name == "sample_ratio"


# Chosen by people ----------------------------------------------------------------------------------------

INTENSIVE = AskedChoice(
    **SAID,
    treatment="intensive",
    control="standard",
    outcome="paid_within_60",
    covariates=KNOWN,
    placebo=["paid_before_90"],
)


def test_a_choice_by_what_the_book_holds_is_suggestive():
    found, compared = answer_choice(book(), INTENSIVE)
    assert found.grade == SUGGESTIVE, found.notes
    naive = compared.table.set_index("method").loc["naive", "estimate"]
    assert naive < 0 < found.table["estimate"].iloc[0]


@pytest.mark.parametrize("hidden", [1.0, 2.0])
def test_a_choice_by_what_the_book_does_not_hold_is_never_called_causal(hidden):
    found, _ = answer_choice(book(hidden_confounding=hidden), INTENSIVE)
    assert found.grade != CAUSAL


def test_a_strategy_that_everybody_gets_is_not_identifiable():
    def everybody(given: pd.DataFrame) -> pd.DataFrame:
        return given.assign(strategy=given["strategy"].where(given["randomised"], "intensive"))

    tables = changed(bank().book_tables, "assignments", everybody)
    found, compared = answer_choice(open_book(tables), INTENSIVE)
    assert found.grade == NOT_IDENTIFIABLE and compared is None and "intensive" in found.sentence


def test_a_choice_without_overlap_is_not_identifiable_and_says_where():
    found, _ = answer_choice(book(changes=("threshold",)), INTENSIVE)
    assert found.grade == NOT_IDENTIFIABLE and "credit_score" in found.sentence


# Channels, from the logs ---------------------------------------------------------------------------------

CALL = AskedTrial(
    **SAID,
    treatment="call",
    grace=14,
    follow_up=30,
    strategies=["champion", "standard"],
    covariates=["strategy", "credit_score", "monthly_income", "days_past_due"],
)


def test_a_channel_started_when_people_chose_is_suggestive_where_the_ever_called_look_worse():
    found, trial = answer_channel(book(), CALL)
    assert found.grade == SUGGESTIVE, found.notes
    rows = trial.table.set_index("method")["estimate"]
    assert rows["ever_treated"] < 0 < rows["clone_censor_weight"]


def test_a_channel_that_nobody_goes_without_is_not_identifiable():
    always = CALL.model_copy(update={"strategies": ("challenger", "intensive"), "follow_up": 60})
    found, _ = answer_channel(book(), always)
    assert found.grade == NOT_IDENTIFIABLE


@pytest.mark.parametrize("treatment", ["was visited", "reached_60", "kept a promise", "paid", "ever called"])
def test_what_happens_after_time_zero_is_refused_with_a_question_that_can_be_answered(treatment):
    with pytest.raises(LaterTreatment) as refused:
        TargetTrial(treatment=treatment, follow_up=60)
    assert "within" in refused.value.nearest_question


# Changes of policy ---------------------------------------------------------------------------------------


def threshold(**more):
    cut = change_schedule(bank(changes=("threshold",)).settings).threshold
    return AskedChange(
        **SAID,
        kind="threshold",
        what="intensive handling",
        outcome="paid_within_60",
        score="credit_score",
        cutoff=float(cut),
        treated="below",
        covariates=["monthly_income", "amount_past_due"],
        **more,
    )


def test_a_rule_with_a_threshold_is_causal_there():
    found, _ = answer_change(book(changes=("threshold",)), threshold())
    assert found.grade == CAUSAL, found.notes
    assert "just on either side of the threshold" in found.sentence or found.direction == "not decided"


def test_a_threshold_around_which_scores_were_moved_is_not_identifiable():
    def moved(accounts: pd.DataFrame) -> pd.DataFrame:
        near = accounts["credit_score"].between(640, 652)
        return accounts.assign(
            credit_score=np.where(near, 639 - accounts["credit_score"] * 7 % 20, accounts["credit_score"])
        )

    tables = changed(bank(changes=("threshold",)).book_tables, "accounts", moved)
    found, _ = answer_change(open_book(tables), threshold())
    assert found.grade == NOT_IDENTIFIABLE and found.against[0].name == "density"


def rollout(started, **more):
    return AskedChange(
        **SAID, kind="rollout", what="more calls", outcome="paid_within_60", started=started, **more
    )


def test_branches_that_moved_one_after_the_other_are_suggestive():
    plan = change_schedule(bank(changes=("branch_rollout",)).settings).branch_rollout
    started = {b: day for b, day in plan.items() if day is not None}
    found, _ = answer_change(book(changes=("branch_rollout",)), rollout(started))
    assert found.grade == SUGGESTIVE, found.notes


def test_branches_that_all_moved_at_once_are_not_identifiable():
    plan = change_schedule(bank().settings).branch_rollout
    found, _ = answer_change(book(), rollout(dict.fromkeys(plan, "2026-01-01")))
    assert found.grade == NOT_IDENTIFIABLE


def test_a_change_everywhere_on_one_date_is_at_most_suggestive():
    three_years = {"accounts": 3000, "months": 36, "changes": ("bank_wide",)}
    day = change_schedule(bank(**three_years).settings).bank_wide
    asked = AskedChange(
        **SAID, kind="date", what="earlier messages", outcome="paid_within_60", changed_on=day
    )
    found, _ = answer_change(book(**three_years), asked)
    assert found.grade == SUGGESTIVE, found.notes
    late = asked.model_copy(update={"changed_on": pd.Timestamp("2026-09-01").date()})
    assert answer_change(book(), late)[0].grade == NOT_IDENTIFIABLE


def test_every_verdict_below_causal_says_what_experiment_would_settle_it():
    found, _ = answer_choice(book(), INTENSIVE)
    assert found.settle.startswith("To settle it: draw lots between intensive and standard.")
    assert "accounts in each arm show a difference of 2.0 pp" in found.settle


def test_what_collectors_share_is_a_caution_not_a_verdict():
    found = test_verdict(the_month(bank().book_tables))
    assert any(note.startswith("Caution:") and "rub off" in note for note in found.notes)
