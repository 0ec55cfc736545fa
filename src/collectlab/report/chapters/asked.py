"""What ``params/questions.yml`` asks in the month."""

from __future__ import annotations

from collectlab.effects.questions import AskedExperiment, Questions, load_questions
from collectlab.report.month import Month


def questions(month: Month) -> Questions:
    """The questions that the month asks; none where the file is not there."""
    path = month.params / "questions.yml"
    if not path.exists():
        return Questions(stage_days=())
    return month.once("questions", lambda: load_questions(path).on(month.end))


def plans(month: Month, strategies: set[str]) -> list[AskedExperiment]:
    """The tests asked about that compare some of the strategies accounts were drawn for."""
    every = questions(month).experiments.values()
    return [a for a in every if set(a.plan.arms) & strategies and a.plan.control in strategies]
