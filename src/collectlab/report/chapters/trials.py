"""What the randomised part of the book shows, for chapters 3 to 5."""

from __future__ import annotations

import dataclasses

import narwhals as nw

from collectlab.core import engine
from collectlab.core.errors import NotAvailable
from collectlab.core.results import Result
from collectlab.effects.after_assignment import fell_past_due, first_episodes
from collectlab.effects.assigned import experiment_frame, first_assignments
from collectlab.effects.experiment import experiment
from collectlab.report.month import Month


def strategies(month: Month) -> Result:
    """The experiment of this book, on whichever unit was assigned; counted once for all chapters."""
    return month.shared("strategies", lambda: _strategies(month))


def _strategies(month: Month) -> Result:
    if _mostly_past_due(month):
        frame = experiment_frame(month.book, horizons=(30, 90, 180))
        return experiment(frame, control=month.control or None)
    frame = first_episodes(month.book, month.episodes, horizons=(60, 90))
    have = frame.collect_schema().names()
    wanted = (
        "cured_within_60",
        "cured_within_90",
        "amount_within_90",
        "cost_within_90",
        "complaints_within_90",
    )
    result = experiment(frame, control=month.control or None, outcomes=[c for c in wanted if c in have])
    return dataclasses.replace(
        result,
        title=f"{result.title}: the first episode after it",
        notes=(*result.notes, "Accounts that fell past due after their assignment; days count from day 0."),
    )


def selection(month: Month) -> Result:
    """Whether the arms differ in who falls past due, which would spoil the comparison of those who do."""
    if _mostly_past_due(month):
        raise NotAvailable(
            "the accounts were already past due when they were assigned, so nothing selects them."
        )
    result = experiment(
        fell_past_due(month.book, month.episodes), control=month.control or None, outcomes="fell_past_due"
    )
    return dataclasses.replace(
        result,
        title="Check: do the arms differ in who falls past due?",
        notes=(*result.notes, "If they did, comparing those who do would compare different accounts."),
    )


def _mostly_past_due(month: Month) -> bool:
    """Whether accounts were assigned when already past due (a letter), not before (a strategy in waiting)."""
    given = first_assignments(month.book.table("assignments")).select("account_id", "assigned_on")
    before = month.book.table("snapshots").join(given, on="account_id", how="inner")
    before = before.filter(nw.col("as_of") <= nw.col("assigned_on"))
    last = before.filter(nw.col("as_of") == nw.col("as_of").max().over("account_id"))
    late = engine.collect(last.select(late=(nw.col("days_past_due") > 0).cast(nw.Float64).mean()))["late"][0]
    return late is not None and late > 0.5
