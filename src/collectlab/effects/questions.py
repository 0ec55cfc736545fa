"""What is asked each month of what the strategy caused: ``params/questions.yml``, read and checked."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from collectlab.core.errors import CollectlabError, ParamsError
from collectlab.core.params import Bilingual
from collectlab.core.written import Strict, as_date, load_yaml, validate
from collectlab.effects.plan import ExperimentPlan
from collectlab.effects.target_trial_plan import TargetTrial


def _date(written: Any) -> dt.date:
    try:
        return as_date(written)
    except ParamsError as error:
        raise ValueError(str(error)) from None


Day = Annotated[dt.date, BeforeValidator(_date)]


class Asked(Strict):
    """A question, from when it is asked (until when), and who decided to ask it."""

    question: Bilingual = Field(description="{en: …, zh: …}")
    since: Day = Field(description="a date, YYYY-MM-DD: reports on earlier months do not ask")
    until: Day | None = Field(None, description="a date, YYYY-MM-DD: reports on later months do not ask")
    source: str = Field(min_length=1, description="the document that the question was taken from")


class AskedExperiment(Asked):
    """Of accounts drawn by lot. The plan names the arms, the outcome and the horizon."""

    plan: ExperimentPlan = Field(description="the experiment's plan")
    baseline: tuple[str, ...] = Field(
        (), description="columns known before the draw, in which the arms must be alike"
    )


class AskedChoice(Asked):
    """Of two strategies between which people chose."""

    treatment: str = Field(min_length=1, description="a strategy")
    control: str = Field(min_length=1, description="the strategy that it is compared with")
    outcome: str = Field("cured_within_60", min_length=1, description="an outcome, such as cured_within_60")
    covariates: tuple[str, ...] = Field(
        min_length=1, description="what people went by, as known at the start"
    )
    placebo: tuple[str, ...] = Field((), description="columns fixed before the start, such as paid_before_90")


class AskedTrial(Asked):
    """Of starting a channel within a grace period, against never starting it."""

    treatment: str = Field(min_length=1, description="a channel of the action log, such as call")
    grace: int = Field(ge=1, strict=True, description="whole days ≥ 1")
    follow_up: int = Field(60, ge=1, strict=True, description="whole days ≥ 1")
    outcome: Literal["cured", "charged_off", "paid"] = Field(
        "cured", description="cured, charged_off or paid"
    )
    time_zero: int | Literal["first_seen"] = Field(
        "first_seen", description="first_seen, or whole days past due"
    )
    strategies: tuple[str, ...] = Field((), description="strategies in force at time zero; none: all")
    covariates: tuple[str, ...] = Field((), description="what people went by, as known at time zero")

    def trial(self) -> TargetTrial:
        """The trial, declared; a treatment defined by something later is refused here."""
        names = ("treatment", "grace", "follow_up", "outcome", "time_zero", "strategies", "covariates")
        return TargetTrial(**{name: getattr(self, name) for name in names})


class AskedChange(Asked):
    """Of a change of policy: in branches one after the other, everywhere on a date, or at a threshold."""

    kind: Literal["rollout", "date", "threshold"] = Field(description="rollout, date or threshold")
    what: str = Field(min_length=1, description="what changed, in words that fit: with … instead of before")
    outcome: str = Field("cured_within_60", min_length=1, description="an outcome, such as cured_within_60")
    by: str = Field(
        "branch", min_length=1, description="the column that says what changed one after the other"
    )
    started: dict[str, Day] = Field(
        default_factory=dict, description="{branch: date}; those not named never changed"
    )
    changed_on: Day | None = Field(None, description="a date, YYYY-MM-DD")
    score: str | None = Field(None, description="the column that the rule looks at, such as credit_score")
    cutoff: float | None = Field(None, strict=True, description="the threshold")
    treated: Literal["above", "below"] = Field("below", description="above or below the threshold")
    covariates: tuple[str, ...] = Field((), description="columns that must not jump at the threshold")

    @model_validator(mode="after")
    def _has_what_it_needs(self) -> AskedChange:
        needed = {
            "rollout": {"started": bool(self.started)},
            "date": {"changed_on": self.changed_on is not None},
            "threshold": {"score": self.score is not None, "cutoff": self.cutoff is not None},
        }[self.kind]
        if missing := [key for key, there in needed.items() if not there]:
            raise ValueError(f"kind {self.kind} needs {' and '.join(missing)}.")
        return self


class Questions(Strict):
    """All questions of a file, by key."""

    experiments: dict[str, AskedExperiment] = Field(default_factory=dict)
    choices: dict[str, AskedChoice] = Field(default_factory=dict)
    channels: dict[str, AskedTrial] = Field(default_factory=dict)
    changes: dict[str, AskedChange] = Field(default_factory=dict)
    stage_days: tuple[int, ...] = Field((), description="days past due on which the strategy changes stage")

    def on(self, date: str | dt.date) -> Questions:
        """Those asked on a date."""
        day = as_date(date)

        def asked(section: Mapping[str, Any]) -> dict[str, Any]:
            return {
                k: q for k, q in section.items() if q.since <= day and (q.until is None or day <= q.until)
            }

        sections = ("experiments", "choices", "channels", "changes")
        return self.model_copy(update={s: asked(getattr(self, s)) for s in sections})


def load_questions(path: str | Path) -> Questions:
    """Read a file of questions; all its faults are told at once.

    Parameters
    ----------
    path : path
        A YAML file with the sections ``experiments``, ``choices``, ``channels``, ``changes`` and ``stage_days``; see
        ``params/questions.yml``.

    Returns
    -------
    Questions

    Raises
    ------
    ParamsError
        Unknown keys, values out of range, a treatment defined by something later.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> text = '''
    ... channels:
    ...   calls:
    ...     question: {en: "Do calls work?", zh: 电话有效吗？}
    ...     since: 2024-01-01
    ...     source: Minutes
    ...     treatment: call
    ...     grace: 14
    ... '''
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = pathlib.Path(folder) / "questions.yml"
    ...     _ = file.write_text(text, encoding="utf-8")
    ...     sorted(load_questions(file).on("2026-10-31").channels)
    ['calls']
    """
    file, faults = Path(path).name, []
    read = validate(Questions, load_yaml(path), file, faults)
    for key, asked in (read.channels if read is not None else {}).items():
        try:
            asked.trial()
        except CollectlabError as error:
            faults.append(f"{file}: channels.{key}: {error}")
    if read is None or faults:
        raise ParamsError(faults)
    return read
