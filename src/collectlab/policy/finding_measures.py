"""What the rules know how to judge: each measure's wording, its bad direction, and who can mend it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Measure:
    """How a measure is spoken of, which direction is bad, and whether groups face the others or a limit."""

    noun: str
    worse: str = "higher"
    limit: str = ""
    area: str = ""
    unit: str = "share"
    breach: bool = False
    grouped: str = "others"


MEASURES = {
    "cure": Measure("cure rate", "lower"),
    "sustained_cure": Measure("rate of sustained cure", "lower"),
    "recovery": Measure("recovery rate", "lower"),
    "promises_kept": Measure("share of promises kept", "lower"),
    "contactability": Measure("share of attempts that reach the debtor", "lower", area="technology"),
    "satisfaction": Measure("mean satisfaction score", "lower", unit="number"),
    "complaints": Measure("number of complaints per 1,000 contacts", unit="number"),
    "redefault": Measure("share of cured episodes past due again", limit="redefault_rate", area="strategy"),
    "bad_rate": Measure("bad rate of new loans", area="credit_approval"),
    "delinquency": Measure("delinquency rate", area="credit_approval"),
    "wrong_numbers": Measure(
        "share of accounts called at a wrong number", limit="wrong_number_share", area="technology"
    ),
    "night_contacts": Measure(
        "share of contacts at night", limit="night_contact_share", area="legal", breach=True, grouped="limit"
    ),
    "unrecorded": Measure(
        "share of contacts of which no record was kept",
        limit="unrecorded_share",
        area="process",
        breach=True,
        grouped="limit",
    ),
    "hours_breaches": Measure(
        "share of contacts outside the permitted hours",
        limit="night_contact_share",
        area="legal",
        breach=True,
        grouped="limit",
    ),
    "frequency_breaches": Measure(
        "share of contacts beyond the permitted number",
        limit="contact_breach_share",
        area="legal",
        breach=True,
        grouped="limit",
    ),
    "hold_breaches": Measure(
        "share of contacts while the account was on hold",
        limit="contact_breach_share",
        area="legal",
        breach=True,
        grouped="limit",
    ),
    "third_party_breaches": Measure(
        "share of contacts made with a third party although the debtor was not lost", area="legal"
    ),
    "late_step": Measure(
        "share of accounts still overdue without any of the stage's own actions by the day the first is due",
        area="process",
    ),
    "early_escalation": Measure(
        "share of actions through a channel that opens only in a later stage",
        limit="early_escalation_share",
        area="process",
        grouped="limit",
    ),
    "unfollowed_promises": Measure(
        "share of broken promises that nobody followed up within a week",
        limit="unfollowed_promise_share",
        area="process",
        grouped="limit",
    ),
    "incomplete_records": Measure(
        "share of attempts whose result, party or agent is not noted",
        limit="incomplete_record_share",
        area="process",
        grouped="limit",
    ),
    "hardship_pressure": Measure(
        "number of calls and visits a week to an account that told of hardship", unit="ratio", area="training"
    ),
    "uncovered": Measure(
        "share of delinquent accounts without any action",
        limit="uncovered_share",
        area="strategy",
        grouped="limit",
    ),
    "late_first_contact": Measure(
        "share of episodes first contacted later than the strategy says",
        limit="late_contact_share",
        area="process",
        grouped="limit",
    ),
    "hardship_unserved": Measure(
        "share of hardship cases without an arrangement",
        limit="hardship_unserved_share",
        area="strategy",
        grouped="limit",
    ),
}

#: Who can mend a group's gap, where the measure itself does not say.
AREA_OF_GROUP = {
    "team": "training",
    "agent": "training",
    "collector": "training",
    "agency": "process",
    "branch": "process",
    "cohort": "credit_approval",
    "product": "credit_approval",
}

#: Groups that may face harder cases than others.
MIXED = ("team", "agent", "collector", "agency", "branch", "channel", "strategy")
CASE_MIX = "Compared as they are: harder cases, or another kind of work, would look the same."
