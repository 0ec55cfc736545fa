"""Chapter 4: performance by team and agent, what of it is real, and who would gain from what training."""

from __future__ import annotations

from dataclasses import replace

from collectlab.core.results import Result
from collectlab.effects.training import TrainingNeeds, performance, training_needs
from collectlab.effects.training.rows import need_agents
from collectlab.policy.targets import load_targets
from collectlab.report.month import Month
from collectlab.report.parts import part


def needs(month: Month) -> TrainingNeeds:
    """The list and what it rests on; counted once for all chapters."""
    return month.shared(
        "training needs",
        lambda: training_needs(
            month.book, minimum_cases=_minimum(month), definition=month.definition, period=month.window
        ),
    )


def _minimum(month: Month) -> int:
    """The smallest group that may be named, from the targets; 30 where they have none."""
    file = month.params / "targets.yml"
    held = load_targets(file).limits_on(month.end) if file.is_file() else {}
    return int(held["minimum_group"].value) if "minimum_group" in held else 30


@part(picture=False)
def team_performance(month: Month, by: str) -> Result:
    """Cases, cure, money, days and satisfaction, as they are"""
    need_agents(month.book, by)
    return month.counted(
        performance,
        by=by,
        minimum_cases=_minimum(month),
        definition=month.definition,
        period=month.window,
    )


@part(picture=False)
def what_is_real(month: Month) -> Result:
    """What of the differences between teams and agents is real."""
    return needs(month).what_is_real()


@part(picture=False)
def training_list(month: Month) -> Result:
    """Who would gain from what training."""
    found = needs(month)
    # what an empty list rests on is said beside what is real
    return found if len(found.table) else replace(found, notes=())
