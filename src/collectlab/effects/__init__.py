"""What the strategy caused: experiments, target trials, comparisons, policy changes, and the verdict on each."""

from collectlab.effects.answers import answer_change, answer_channel, answer_choice
from collectlab.effects.cohort import cohort
from collectlab.effects.compare import Comparison, compare, compare_times
from collectlab.effects.design import (
    answer_date,
    enrolment_pace,
    minimum_detectable_effect,
    power,
    sample_size,
)
from collectlab.effects.differences import differences
from collectlab.effects.discontinuity import discontinuity
from collectlab.effects.effect_result import Check, EffectResult
from collectlab.effects.experiment import ExperimentResult, experiment, experiment_frame
from collectlab.effects.experiment_checks import book_checks, experiment_checks
from collectlab.effects.experiment_compliers import complier_effect
from collectlab.effects.experiment_times import experiment_curves
from collectlab.effects.experiment_worth import worth
from collectlab.effects.league import League, league
from collectlab.effects.league_cases import league_cases
from collectlab.effects.legal import against_not_sued
from collectlab.effects.plan import ExperimentPlan, read_plan
from collectlab.effects.plan_status import status
from collectlab.effects.policy_panel import branch_months, never_drawn, payment_days, series_months
from collectlab.effects.pressure import dose_response, where_it_stops
from collectlab.effects.questions import load_questions
from collectlab.effects.relief import relief_effect, relief_verdicts
from collectlab.effects.segments import Segments, by_segment
from collectlab.effects.sequential import ConfidenceSequence, confidence_sequence
from collectlab.effects.series import interrupted_series
from collectlab.effects.settle import settling
from collectlab.effects.stage_jump import stage_jump
from collectlab.effects.target_trial import (
    LaterTreatment,
    TargetTrial,
    refuse_later,
    target_trial,
)
from collectlab.effects.training import training_needs
from collectlab.effects.verdict import Verdict, grade, rule, verdict, verdicts

__all__ = [
    "Check",
    "Comparison",
    "ConfidenceSequence",
    "EffectResult",
    "ExperimentPlan",
    "ExperimentResult",
    "LaterTreatment",
    "League",
    "Segments",
    "TargetTrial",
    "Verdict",
    "against_not_sued",
    "answer_change",
    "answer_channel",
    "answer_choice",
    "answer_date",
    "book_checks",
    "branch_months",
    "by_segment",
    "cohort",
    "compare",
    "compare_times",
    "complier_effect",
    "confidence_sequence",
    "differences",
    "discontinuity",
    "dose_response",
    "enrolment_pace",
    "experiment",
    "experiment_checks",
    "experiment_curves",
    "experiment_frame",
    "grade",
    "interrupted_series",
    "league",
    "league_cases",
    "load_questions",
    "minimum_detectable_effect",
    "never_drawn",
    "payment_days",
    "power",
    "read_plan",
    "refuse_later",
    "relief_effect",
    "relief_verdicts",
    "rule",
    "sample_size",
    "series_months",
    "settling",
    "stage_jump",
    "status",
    "target_trial",
    "training_needs",
    "verdict",
    "verdicts",
    "where_it_stops",
    "worth",
]
