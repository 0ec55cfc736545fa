"""Chapter 4: what is off target, and the evidence."""

from __future__ import annotations

from collectlab.core.results import Result
from collectlab.measures import actions, cure
from collectlab.policy.evidence import evidence as evidence_of
from collectlab.report.chapters import evidence
from collectlab.report.month import Month
from collectlab.report.parts import part


@part
def findings(month: Month) -> Result:
    """Findings, gravest first."""
    return evidence.findings(month)


@part(folded=True)
def reactions(month: Month) -> Result:
    """How debtors answered, month by month."""
    return actions.reactions(month.book, by="month", period=month.window)


@part
def complaints(month: Month) -> Result:
    """Complaints per 1,000 contacts."""
    return actions.complaints(month.book, by="month", period=month.window)


@part
def records(month: Month, by: str) -> Result:
    """Contacts of which a record was kept"""
    return actions.records_kept(month.book, by=by, period=month.window)


@part
def coverage_gaps(month: Month) -> Result:
    """Accounts of a stage that nobody acted on."""
    result = month.counted(actions.coverage_by_stage, period=month.window)
    table = evidence_of(result, complement=True, measure="covered", channel="any")
    return Result(
        table=table[["stage", "account_months", "estimate", "conf_low", "conf_high"]],
        title="Overdue account-months without any action",
        estimand="Share of the stage's account-months in which no action of any channel was recorded.",
        formats={"account_months": "count"},
    )


@part(folded=True)
def redefault(month: Month) -> Result:
    """Re-default after cure."""
    by = "product" if "product" in month.book.columns("accounts") else None
    return cure.redefault(month.episodes, horizons=(90, 180), by=by)
