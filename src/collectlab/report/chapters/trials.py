"""What the randomised part of the book shows, for chapters 3 to 5."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import narwhals as nw

from collectlab.core import engine
from collectlab.core.errors import FrameError, NotAvailable
from collectlab.core.results import Result
from collectlab.effects.after_assignment import fell_past_due, first_episodes
from collectlab.effects.answers import days_of
from collectlab.effects.assigned import experiment_frame, first_assignments
from collectlab.effects.effect_result import Check
from collectlab.effects.experiment import experiment
from collectlab.effects.experiment_checks import book_checks, experiment_checks
from collectlab.effects.experiment_result import ExperimentResult
from collectlab.effects.experiment_times import experiment_curves
from collectlab.effects.experiment_worth import worth
from collectlab.measures.cure import midway
from collectlab.measures.drivers import COVARIATES
from collectlab.report.chapters.asked import plans
from collectlab.report.month import Month

#: Outcomes of a strategy in waiting, and of a letter that went out; those that the book tells.
AFTER_DAY_0 = ("cured_within_60", "cured_within_90", "amount_within_90", "cost_within_90", "net_within_90")
AFTER_DAY_0 += ("complaints_within_90",)
HORIZONS = (30, 90, 180)


def strategies(month: Month) -> ExperimentResult:
    """The experiment of this book, on whichever unit was assigned; counted once for all chapters."""
    return month.shared("strategies", lambda: _strategies(month))


def _strategies(month: Month) -> ExperimentResult:
    rows = frame(month)
    have = rows.collect_schema().names()
    control = month.control or None
    planned = [o for o in planned_outcomes(month) if o in have]
    if at_assignment(month):
        result = experiment(rows, control=control)
        # Whether the debt is gone is told by the snapshots: payments alone do not show interest and fees.
        told = [
            *_by_horizon("paid", have),
            *_by_horizon("current", have, "after"),
            *_by_horizon("amount", have),
            *_by_horizon("complaints", have)[-1:],
        ]
        outcomes = [o for o in dict.fromkeys([*told, *planned]) if _varies(rows, o)]
        return experiment(rows, control=control, outcomes=outcomes) if outcomes else result
    told = [c for c in (*AFTER_DAY_0, *planned) if c in have]
    result = experiment(rows, control=control, outcomes=list(dict.fromkeys(told)))
    return dataclasses.replace(
        result,
        title=f"{result.title}: the first episode after it",
        notes=(*result.notes, "Accounts that fell past due after their assignment; days count from day 0."),
    )


def _by_horizon(kind: str, have: list[str], when: str = "within") -> list[str]:
    return [c for c in (f"{kind}_{when}_{h}" for h in HORIZONS) if c in have]


def _varies(rows: nw.LazyFrame, outcome: str) -> bool:
    values = engine.collect(rows.select(low=nw.col(outcome).min(), high=nw.col(outcome).max()))
    return bool((values["low"] < values["high"]).iloc[0])


def worth_of(month: Month) -> ExperimentResult:
    """What each arm brought in net of its cost, at the longest horizon."""
    rows = frame(month)
    have = rows.collect_schema().names()
    days = HORIZONS[-1] if at_assignment(month) else 90
    if f"cost_within_{days}" not in have or f"amount_within_{days}" not in have:
        raise NotAvailable("the book does not tell both what was paid and what the actions cost.")
    return month.once(
        "worth of the arms",
        lambda: worth(
            rows,
            amount=f"amount_within_{days}",
            cost=f"cost_within_{days}",
            control=month.control or None,
        ),
    )


def times(month: Month) -> ExperimentResult:
    """How much sooner accounts of an arm cure, over everybody for as long as they were followed."""
    if at_assignment(month):
        raise NotAvailable("accounts were past due when they were assigned, and their days count from there.")
    return experiment_curves(
        midway(frame(month)), control=month.control or None, entry="entry_day", horizons=(30, 60, 90)
    )


def frame(month: Month) -> nw.LazyFrame:
    """One row per account of the test that the answer counts."""

    def made() -> nw.LazyFrame:
        days = {days_of(outcome) for outcome in planned_outcomes(month)}
        if at_assignment(month):
            return experiment_frame(month.book, horizons=sorted({*HORIZONS, *days}))
        return first_episodes(month.book, month.episodes, horizons=sorted({60, 90, *days}))

    return month.once("frame of the test", made)


def planned_outcomes(month: Month) -> list[str]:
    """The outcomes that the plans in force are decided by."""
    drawn = engine.collect(first_assignments(month.book.table("assignments")).select("strategy"))["strategy"]
    return [asked.plan.outcome for asked in plans(month, set(drawn))]


def day_one(month: Month) -> str:
    """The column of :func:`frame` with the day from which an account's outcome counts."""
    return "assigned_on" if at_assignment(month) else "started_on"


def checks(
    month: Month, baseline: Sequence[str] = (), shares: Mapping[str, float] | None = None
) -> list[Check]:
    """Whether the test was drawn and kept as it should be: over all accounts assigned, past due or not.

    ``baseline`` names what was known of an account before the draw; none given: the usual characteristics.
    ``shares`` are those that the arms should have; none given: as the assignments record them.
    """

    def made() -> list[Check]:
        drawn = first_assignments(month.book.table("assignments"))
        accounts = month.book.table("accounts")
        have = accounts.collect_schema().names()
        known = [c for c in (baseline or COVARIATES) if c in have]
        drawn, accounts = engine.same_engine(drawn, accounts.select("account_id", *known))
        rows = drawn.join(accounts, on="account_id", how="left")
        found = list(book_checks(month.book))
        try:
            found = [
                *experiment_checks(rows, control=month.control or None, baseline=known, shares=shares),
                *found,
            ]
        except FrameError as error:
            says = f"Balance could not be looked at: {' '.join(str(error).split())}"
            found.append(Check(name="balance", passed=None, says=says))
        return found

    return month.shared(f"checks of the test {tuple(baseline)}", made)


def selection_result(month: Month) -> ExperimentResult:
    """Whether the arms differ in who falls past due, which would spoil the comparison of those who do."""
    if at_assignment(month):
        raise NotAvailable(
            "the accounts were already past due when they were assigned, so nothing selects them."
        )
    rows = fell_past_due(month.book, month.episodes)
    return month.once(
        "selection", lambda: experiment(rows, control=month.control or None, outcomes="fell_past_due")
    )


def selection(month: Month) -> Result:
    """The same as a part of the report."""
    result = selection_result(month)
    return dataclasses.replace(
        result,
        title="Check: do the arms differ in who falls past due?",
        notes=(*result.notes, "If they did, comparing those who do would compare different accounts."),
    )


def at_assignment(month: Month) -> bool:
    """Whether accounts were assigned when already past due (a letter), not before (a strategy in waiting)."""
    return month.once("past due at assignment", lambda: _mostly_past_due(month))


def _mostly_past_due(month: Month) -> bool:
    given = first_assignments(month.book.table("assignments")).select("account_id", "assigned_on")
    before = month.book.table("snapshots").join(given, on="account_id", how="inner")
    before = before.filter(nw.col("as_of") <= nw.col("assigned_on"))
    last = before.filter(nw.col("as_of") == nw.col("as_of").max().over("account_id"))
    late = engine.collect(last.select(late=(nw.col("days_past_due") > 0).cast(nw.Float64).mean()))["late"][0]
    return late is not None and late > 0.5
