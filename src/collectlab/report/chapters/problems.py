"""Chapter 4: what is off target, and the evidence."""

from __future__ import annotations

from collectlab.core.errors import NotAvailable
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


@part(picture=False)
def promises(month: Month) -> Result:
    """Promises to pay: made, due, kept."""
    return month.counted(actions.promises, period=month.window)


@part
def complaints(month: Month) -> Result:
    """Complaints per 1,000 contacts."""
    return actions.complaints(month.book, by="month", period=month.window)


@part
def satisfaction(month: Month) -> Result:
    """Satisfaction of those who answered."""
    return month.counted(actions.satisfaction, by="month", period=month.window)


@part
def contact_hours(month: Month, by: str) -> Result:
    """Calls, messages and visits at night."""
    return month.counted(actions.contact_hours, by=by, period=month.window)


@part
def records(month: Month, by: str) -> Result:
    """Contacts of which a record was kept"""
    return actions.records_kept(month.book, by=by, period=month.window)


@part(picture=False)
def third_parties(month: Month) -> Result:
    """Contacts with somebody other than the debtor."""
    return actions.third_party_contacts(month.book, period=month.window)


@part
def legal_cases(month: Month) -> Result:
    """Legal cases: how many, how long, what came of them."""
    return actions.legal_cases(month.book)


@part(picture=False)
def wrong_numbers(month: Month, by: str) -> Result:
    """Attempts at a wrong number, and the other answers"""
    if by not in month.book.columns("accounts") and by not in month.book.columns("actions"):
        raise NotAvailable(f"the book does not tell the {by} of an account.")
    return actions.reactions(month.book, by=by, period=month.window)


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


@part(picture=False)
def reasons(month: Month) -> Result:
    """Reasons noted, and cure by reason."""
    return actions.reasons(
        month.book, definition=month.definition, horizon=month.horizon, period=month.window
    )


@part(folded=True)
def redefault(month: Month) -> Result:
    """Re-default after cure."""
    by = "product" if "product" in month.book.columns("accounts") else None
    return cure.redefault(month.episodes, horizons=(90, 180), by=by)
