"""A target trial is checked as a whole when it is declared."""

import dataclasses

import pytest

from collectlab.core.errors import FrameError, ParamsError
from collectlab.effects.target_trial_later import LaterTreatment
from collectlab.effects.target_trial_plan import TargetTrial


def test_all_faults_at_once():
    with pytest.raises(FrameError) as refused:
        TargetTrial(
            treatment="call", grace=0, follow_up=-1, outcome="happy", time_zero="then", days_past_due=(30, 1),
            truncate=1.5, covariates=("end_day",), eligible="outcome = 'cured' AND region = 'outcome'",
        )  # fmt: skip
    told = " ".join(refused.value.faults)
    for name in (
        "grace",
        "follow_up",
        "outcome",
        "time_zero",
        "days_past_due",
        "truncate",
        "covariates",
        "eligible",
    ):
        assert name in told
    assert len(refused.value.faults) == 8


def test_words_inside_a_text_are_no_columns():
    assert TargetTrial(treatment="call", grace=3, eligible="region = 'outcome'").eligible


def test_grace_longer_than_follow_up():
    with pytest.raises(FrameError, match="shorter than grace"):
        TargetTrial(treatment="call", grace=30, follow_up=20)


def test_frozen_and_lists_become_tuples():
    trial = TargetTrial.from_mapping(
        {
            "treatment": "call",
            "grace": 7,
            "days_past_due": [1, 30],
            "strategies": ["a", "b"],
            "covariates": "score",
        }
    )
    assert (trial.days_past_due, trial.strategies, trial.covariates) == ((1, 30), ("a", "b"), ("score",))
    with pytest.raises(dataclasses.FrozenInstanceError):
        trial.grace = 3


def test_unknown_and_missing_keys_are_named():
    with pytest.raises(FrameError, match=r"no such key 'grase'. Nearest: grace") as refused:
        TargetTrial.from_mapping({"grase": 7})
    assert "treatment: missing" in str(refused.value)


def test_from_a_file(tmp_path):
    file = tmp_path / "visits.yml"
    file.write_text("treatment: visit\ngrace: 14\ntime_zero: 30\nstrategies: [intensive]\n", encoding="utf-8")
    trial = TargetTrial.load(file)
    assert trial == TargetTrial(treatment="visit", grace=14, time_zero=30, strategies=("intensive",))
    assert "a visit within 14 days of 30 days past due" in trial.question
    with pytest.raises(ParamsError, match="no such file"):
        TargetTrial.load(tmp_path / "none.yml")


def test_ever_is_refused_with_the_trial_s_own_days():
    with pytest.raises(LaterTreatment) as refused:
        TargetTrial(treatment="call", time_zero=30)
    assert refused.value.nearest_question.startswith("start a call within 14 days of being 30 days past due")
