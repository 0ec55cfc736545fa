"""What the month is judged by: KPIs with their targets, the rating rule, and the limits findings compare with."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pandas as pd
from pydantic import Field

from collectlab.core.errors import ParamsError
from collectlab.core.params import (
    Bilingual,
    Dated,
    DatedValue,
    Language,
    Parameter,
    Params,
    Values,
    range_faults,
)
from collectlab.core.results import Result
from collectlab.core.tables import format_value
from collectlab.core.written import Strict, as_date, load_yaml, unknown, validate

Unit = Literal["share", "points", "money", "money2", "days", "count", "ratio", "number"]


class Kpi(Strict):
    """One KPI: how it is counted, which direction is good, and its dated target and poor limit."""

    name: Bilingual = Field(description="{en: …, zh: …}")
    unit: Unit = Field(description="one of share, points, money, money2, days, count, ratio, number")
    direction: Literal["at_least", "at_most"] = Field(description="at_least or at_most")
    weight: float = Field(gt=0, description="a number above 0")
    range: tuple[float, float] | None = Field(None, description="[lowest, highest]")
    numerator: Bilingual = Field(description="{en: …, zh: …}")
    denominator: Bilingual = Field(description="{en: …, zh: …}")
    target: Dated[DatedValue] = Field(min_length=1, description="{date: {value: …, source: …}}")
    poor: Dated[DatedValue] = Field(min_length=1, description="{date: {value: …, source: …}}")

    def definition(self, language: Language = "en") -> str:
        """``numerator ÷ denominator`` in words."""
        return f"{self.numerator.text(language)} ÷ {self.denominator.text(language)}"


class Rating(Strict):
    """The numbers of the rating rule, and its text, which takes the numbers from here."""

    source: str = Field(min_length=1, description="the document the rule was taken from")
    unknown_above: float = Field(ge=0, le=1, description="a share of the weight, 0 to 1")
    missed_at_least: float = Field(gt=0, le=1, description="a share of the weight, above 0 and at most 1")
    met_at_least: float = Field(gt=0, le=1, description="a share of the weight, above 0 and at most 1")
    text: Bilingual = Field(
        description="{en: …, zh: …}, with {unknown_above} and the others where they stand"
    )

    def sentence(self, language: Language = "en") -> str:
        """The rule in words, with its numbers."""
        numbers = {k: f"{getattr(self, k):.0%}".replace("%", " %") for k in _RATING_NUMBERS}
        return self.text.text(language).format(**numbers)


_RATING_NUMBERS = ("unknown_above", "missed_at_least", "met_at_least")


@dataclass(frozen=True)
class Goal:
    """One KPI's target on a date."""

    key: str
    kpi: Kpi
    target: float
    poor: float
    since: dt.date
    source: str


@dataclass(frozen=True)
class Targets:
    """The targets file: ``kpis``, the ``rating`` rule and the ``limits`` of findings."""

    file: str
    kpis: Mapping[str, Kpi]
    rating: Rating
    limits: Params

    def on(self, date: str | dt.date) -> dict[str, Goal]:
        """The targets in force on ``date``; a KPI whose first target holds only later is left out."""
        date = as_date(date)
        goals = {}
        for key, kpi in self.kpis.items():
            targets, poors = ([d for d in held if d <= date] for held in (kpi.target, kpi.poor))
            if targets and poors:
                since, held = max(targets), kpi.target[max(targets)]
                goals[key] = Goal(key, kpi, held.value, kpi.poor[max(poors)].value, since, held.source)
        return goals

    def limits_on(self, date: str | dt.date) -> Values:
        """The limits in force on ``date``."""
        return self.limits.on(date)

    def table(self, date: str | dt.date, language: Language = "en") -> Result:
        """For the appendix: each KPI, its definition, target, poor limit, weight and source."""
        rows = [
            {
                "KPI": goal.kpi.name.text(language),
                "counted_as": goal.kpi.definition(language),
                "target": target_text(goal.kpi, goal.target),
                "poor_limit": say(goal.poor, goal.kpi.unit),
                "weight": goal.kpi.weight,
                "holds_from": goal.since,
                "source": goal.source,
            }
            for goal in self.on(date).values()
        ]
        columns = ["KPI", "counted_as", "target", "poor_limit", "weight", "holds_from", "source"]
        return Result(
            table=pd.DataFrame(rows, columns=columns),
            estimand="",
            title=f"Targets in force on {as_date(date)}",
            notes=(f"Rating. {self.rating.sentence(language)} Source: {self.rating.source}.",),
        )


def target_text(kpi: Kpi, value: float) -> str:
    """``≥ 80.0 %``."""
    return f"{'≥' if kpi.direction == 'at_least' else '≤'} {say(value, kpi.unit)}"


def say(value: float, unit: str) -> str:
    """A value in its unit; a plain number to three figures, since more digits would pretend precision.

    >>> say(78.731, "number"), say(85.0, "number"), say(-0.05, "share")
    ('78.7', '85', '−5.0 %')
    """
    if unit == "number" and isinstance(value, (int, float)) and math.isfinite(value) and abs(value) < 1000:
        return f"{value:.3g}".replace("-", "−", 1) if "e" not in f"{value:.3g}" else format_value(value, unit)
    return format_value(value, unit)


def load_targets(path: str | Path) -> Targets:
    """Read and check ``targets.yml``; all faults at once.

    Parameters
    ----------
    path : path
        The file; how to write one: ``params/README.md``.

    Returns
    -------
    Targets
        ``.on(date)`` and ``.limits_on(date)`` give what is in force.

    Raises
    ------
    ParamsError
        As :func:`collectlab.core.params.load_params`; also a poor limit on the good side of its target, and a
        rating text that names a number the rule does not have.

    Examples
    --------
    >>> targets = load_targets("params/targets.yml")
    >>> goal = targets.on("2026-10-31")["recovery_rate"]
    >>> goal.kpi.direction, 0 < goal.poor < goal.target < 1
    ('at_least', True)
    """
    file = Path(path).name
    written = load_yaml(path)
    parts = ("kpis", "rating", "limits")
    faults = [unknown(file, str(k), parts) for k in written if k not in parts]
    faults += [
        f"{file}: {part}: missing. Needed: kpis, rating and limits." for part in parts if part not in written
    ]
    kpis, limits = {}, {}
    for part, model, into, fields in (
        ("kpis", Kpi, kpis, ("target", "poor")),
        ("limits", Parameter, limits, ("values",)),
    ):
        section = written.get(part) or {}
        if not isinstance(section, dict):
            faults.append(f"{file}: {part}: found {section!r}. Needed: keys and values.")
            continue
        for key, held in section.items():
            into[str(key)] = validate(model, held, f"{file}: {part}.{key}", faults)
            faults += range_faults(held, fields, f"{file}: {part}.{key}")
    rating = validate(Rating, written["rating"], f"{file}: rating", faults) if "rating" in written else None
    for key, kpi in kpis.items():
        faults += _upside_down(kpi, f"{file}: kpis.{key}") if kpi is not None else []
    if rating is not None:
        for language in ("en", "zh"):
            try:
                rating.sentence(language)
            except (KeyError, IndexError, ValueError, AttributeError) as error:
                allowed = ", ".join(f"{{{name}}}" for name in _RATING_NUMBERS)
                faults.append(f"{file}: rating.text.{language}: no such number {error}. Allowed: {allowed}.")
    if faults:
        raise ParamsError(faults)
    return Targets(file, kpis, rating, Params(file, limits))


def _upside_down(kpi: Kpi, where: str) -> list[str]:
    good = 1 if kpi.direction == "at_least" else -1
    faults = []
    for date in sorted({*kpi.target, *kpi.poor}):
        targets, poors = ([d for d in held if d <= date] for held in (kpi.target, kpi.poor))
        if targets and poors:
            target, poor = kpi.target[max(targets)].value, kpi.poor[max(poors)].value
            if good * (target - poor) <= 0:
                side = "below" if good > 0 else "above"
                faults.append(
                    f"{where}: from {date} the poor limit is {poor:g} and the target {target:g} ({kpi.direction}). "
                    f"Allowed: a poor limit {side} the target."
                )
    return faults
