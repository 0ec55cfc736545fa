"""Chapter 4: why targets are missed, from each gap to its measured causes."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd

from collectlab.core.errors import FrameError, NotAvailable
from collectlab.measures import gap, gap_accounts, gap_contacts, gap_episodes
from collectlab.measures.gap import Cells, Step
from collectlab.policy.diagnosis import Diagnosis, diagnose
from collectlab.policy.strategy import load_strategy
from collectlab.policy.targets import load_targets
from collectlab.report.chapters import kpis
from collectlab.report.month import Month
from collectlab.report.parts import part

#: Days after the one on which the strategy wants a step that it still counts as done.
GRACE = 7


@part
def tree(month: Month) -> Diagnosis:
    """Why targets are missed: each gap with its causes, and what is not explained."""
    return diagnosis(month)


def diagnosis(month: Month) -> Diagnosis:
    """The tree of the month; counted once for all chapters."""
    return month.shared("diagnosis", lambda: _diagnosed(month))


def _diagnosed(month: Month) -> Diagnosis:
    card = kpis.scorecard(month)
    missed = list(card.table.loc[card.table["status"] == "missed", "kpi"])
    if (card.table["status"] == "not available").all():
        raise NotAvailable("the book supports none of the KPIs.")
    cells: dict[str, Cells | str] = {}
    for kpi in missed:
        try:
            cells[kpi] = CELLS[kpi](month) if kpi in CELLS else "no count by cause exists for it."
        except (NotAvailable, FrameError) as error:
            cells[kpi] = " ".join(str(error).split())
    limits = load_targets(month.params / "targets.yml").limits_on(month.end)
    return diagnose(card, cells, smallest=int(limits.numbers()["minimum_group"]))


def steps(month: Month) -> tuple[Step, ...]:
    """Reached within two weeks, and the first call that the strategy wants in each stage of the first 60 days."""
    found = [gap.REACHED]
    try:
        strategy = load_strategy(month.params / "strategy.yml").on(month.end)
    except (OSError, FrameError):
        return tuple(found)
    for stage in strategy.stages:
        since = stage.dpd_from
        calls = sorted(due.day for due in stage.due if due.channel == "call")
        if since is None or not 1 <= since < kpis.TARGET_DAYS or not calls:
            continue
        by = calls[0] + GRACE
        name = f"called by day {by}" if since <= 1 else f"called from day {since} to {by}"
        found.append(Step(name, "call", by, since if since > 1 else 0))
    return tuple(found)


def _recovery(month: Month) -> Cells:
    actions = month.book.table("actions") if month.book.has("actions") else None
    return gap_episodes.recovery(
        month.episodes,
        month.book.table("payments"),
        actions,
        now=month.window,
        as_of=month.end,
        horizon=kpis.TARGET_DAYS,
        steps=steps(month),
    )


def _cost(month: Month) -> Cells:
    book = month.book
    return gap_episodes.cost(
        month.episodes,
        book.table("payments"),
        book.table("actions"),
        now=month.window,
        as_of=month.end,
        horizon=kpis.TARGET_DAYS,
    )


def _sustained(month: Month) -> Cells:
    actions = month.book.table("actions") if month.book.has("actions") else None
    return gap_episodes.sustained(
        month.episodes, actions, as_of=month.end, horizon=kpis.TARGET_DAYS, steps=steps(month)
    )


CELLS: dict[str, Callable[[Month], Cells]] = {
    "recovery_rate": _recovery,
    "satisfaction": lambda m: gap_contacts.satisfaction(m.book, now=m.window),
    "delinquency_change": lambda m: gap_accounts.delinquency(m.book),
    "new_loan_bad_rate": lambda m: gap_accounts.new_loans(m.book),
    "cost_per_100_recovered": _cost,
    "promise_kept_rate": lambda m: gap_contacts.promises(m.book, now=m.window),
    "complaints_per_1000_contacts": lambda m: gap_contacts.complaints(m.book, now=m.window),
    "sustained_cure_rate": _sustained,
}


def _causes(month: Month) -> pd.DataFrame:
    """What is named as a cause of a missed target, with its share of the gap."""
    table = diagnosis(month).table
    kinds = ["gap", "mix", "counted otherwise", "not explained"]
    return table[table["named"] & (table["estimate"] > 0) & ~table["cause"].isin(kinds)].reset_index(
        drop=True
    )


SOURCES: dict[str, Callable[[Month], pd.DataFrame]] = {"causes_of_gaps": _causes}
