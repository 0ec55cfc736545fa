"""What may be done about each kind of finding: the change, for whom, its risk, and what would show it failing.

Words only. Every number of a recommendation comes from the finding, the volumes and the costs.
"""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Remedy:
    """``{who}`` in a text is filled with the groups the findings name.

    ``cost`` is a key of costs.yml, spent on ``each``: ``all`` of the monthly volume, the ``gap`` (those brought
    to the comparison) or the ``affected`` (the estimate's share of the volume). ``settle`` stands where no lot may be
    drawn, or none is needed.
    """

    area: str
    change: str
    whom: str
    legal: str
    customer: str
    failing: str
    cost: str = ""
    each: str = "affected"
    settle: str = ""


_NO_LOT = "No lot is drawn over people in hardship: all get it, and the months before and after are compared."
_PRESSURE = "Coaching towards the number alone raises pressure; complaints must be watched with it."
_HARDER = "The group may face harder cases; pressing it, or moving its work, would then be wrong."

#: Where a group lags: by who can mend it.
_LAGGING = {
    "training": Remedy(
        area="training",
        change="Review a sample of cases of {who} with the best of the others, and coach on what differs",
        whom="{who}",
        legal="None of its own; a target by numbers alone invites breaches of the contact rules.",
        customer=f"{_HARDER} {_PRESSURE}",
        failing="The gap to the others on like cases is not smaller after three months, or complaints rise.",
    ),
    "process": Remedy(
        area="process",
        change="Put the yearly evaluation of {who} forward: same case mix, same contract terms, then decide on volume",
        whom="{who} and whoever manages it",
        legal="An outside party's conduct is the bank's own liability; volume is moved only as the contract allows.",
        customer=_HARDER,
        failing="With a random share of the same cases, {who} does as well as the others.",
    ),
    "credit_approval": Remedy(
        area="credit_approval",
        change="Feed {who} back to credit approval: review the rules under which it was granted",
        whom="credit approval",
        legal="A stricter rule may fall on a protected group: it needs a fairness check before it is used.",
        customer="Only granted loans are seen; a stricter rule turns good customers away too.",
        failing="Cohorts granted under the reviewed rule are no better at the same age.",
    ),
    "strategy": Remedy(
        area="strategy",
        change="Test a different treatment for {who} at random against the one in force",
        whom="{who}",
        legal="The draw must be recorded, and no arm may break a contact rule.",
        customer="Customers in like positions are treated differently while the test runs.",
        failing="The tested treatment's interval includes no difference at the planned size.",
    ),
    "technology": Remedy(
        area="technology",
        change="Refresh contact data for {who}: verify numbers at each contact and search lawfully for dead ones",
        whom="{who}, and the owner of the customer master data",
        legal="Searching for numbers touches privacy law; third parties must not learn of the debt.",
        customer="A new number may be that of somebody else: verify before the debt is named.",
        failing="The share of attempts that reach the debtor does not rise within two months.",
        cost="address_search",
    ),
}

#: measure → (what is gained by closing the gap, the monthly volume the gap is a share of).
GAINS = {
    "cure": ("episodes cured", "episodes"),
    "sustained_cure": ("episodes cured for good", "episodes"),
    "recovery": ("money recovered", "amount_overdue"),
    "promises_kept": ("promises kept", "promises"),
    "contactability": ("attempts that reach the debtor", "attempts"),
    "wrong_numbers": ("wrong numbers mended", "attempts"),
    "bad_rate": ("new loans that do not turn bad", "loans"),
    "delinquency": ("accounts not past due", "open_accounts"),
    "redefault": ("relapses avoided", "cures"),
    "complaints": ("complaints avoided", "contacts"),
    "night_contacts": ("contacts at night avoided", "attempts"),
    "hours_breaches": ("contacts outside the permitted hours avoided", "contacts"),
    "frequency_breaches": ("contacts beyond the permitted number avoided", "contacts"),
    "unfollowed_promises": ("broken promises followed up", "promises"),
    "incomplete_records": ("attempts noted in full", "attempts"),
    "unrecorded": ("contacts recorded", "contacts"),
    "uncovered": ("delinquent accounts acted upon", "delinquent"),
    "late_first_contact": ("episodes contacted in time", "episodes"),
    "hardship_unserved": ("hardship cases with an arrangement", "hardship"),
    "roll_rates": ("accounts that do not roll deeper", "open_accounts"),
}

_LOCK = Remedy(
    area="technology",
    change="Lock the dialler outside the permitted hours, and review the contacts made at night",
    whom="{who}",
    legal="Each contact at night is a breach that a regulator can sanction; the lock itself carries none.",
    customer="None: people are left alone at night.",
    failing="Any contact in the locked hours in next month's action log.",
)
_COUNT = Remedy(
    area="technology",
    change="Let the dialler refuse what the contact rules forbid, and review the contacts that broke them",
    whom="{who}",
    legal="Each is a breach that a regulator can sanction; a count per account must span all channels and agencies.",
    customer="None: fewer contacts beyond what is allowed.",
    failing="Any further violation in next month's action log.",
)

#: By measure, where the measure itself says what to do.
_BY_MEASURE = {
    "night_contacts": _LOCK,
    "hours_breaches": _LOCK,
    "frequency_breaches": _COUNT,
    "hold_breaches": _COUNT,
    "third_party_breaches": Remedy(
        area="training",
        change="Have {who} try the debtor first and speak to others only as the rules allow; listen to a sample of such calls",
        whom="{who}",
        legal="Telling a third party of a debt is a breach of privacy that cannot be taken back.",
        customer="Fewer third parties may mean that some debtors are reached later.",
        failing="The share of contacts with third parties does not fall within two months.",
    ),
    "late_step": Remedy(
        area="process",
        change="Hand accounts of {who} to the next stage on its day, with a list each morning of those that entered it",
        whom="{who}",
        legal="The new stage's channels must be open to the account by the strategy and the contact rules.",
        customer="Harder work sooner also reaches people about to pay; watch complaints.",
        failing="The share without the stage's own actions by their day is not that of the others after two months.",
    ),
    "early_escalation": Remedy(
        area="process",
        change="Bar channels of later stages for accounts of {who} until the strategy opens them",
        whom="{who}",
        legal="Steps before their time may be held disproportionate.",
        customer="A few cases justify it (fraud, flight): let them through by name and reason.",
        failing="Actions through barred channels in next month's log.",
    ),
    "unfollowed_promises": Remedy(
        area="process",
        change="Put each broken promise on the next day's work list",
        whom="whoever took the promise",
        legal="The calls count towards the contact rules.",
        customer="A payment under way may cross with the call: wait out the days of grace.",
        failing="The share not followed up within a week stays above the limit next month.",
    ),
    "incomplete_records": Remedy(
        area="technology",
        change="Make result, party and agent required before an attempt can be closed",
        whom="the owner of the collection system",
        legal="An incomplete record cannot be defended; a wrong one misleads: check a sample.",
        customer="None known.",
        failing="The share incomplete stays above the limit next month.",
    ),
    "hardship_pressure": Remedy(
        area="training",
        change="Stop standard pressure by {who} on accounts that told of hardship, and hand them to the hardship desk the same day",
        whom="{who}",
        legal="Pressing people in hardship is what regulators look at first.",
        customer="Less pressure on people in hardship; some will claim it to be left alone.",
        failing="Calls and visits a week to such accounts are not those of the other teams next month.",
        settle=_NO_LOT,
    ),
    "unrecorded": Remedy(
        area="technology",
        change="Make the record a condition of closing the contact, and pay no commission for contacts without one",
        whom="{who}",
        legal="A contact without a record cannot be defended; recordings need consent and a retention rule.",
        customer="People are to be told that they are recorded.",
        failing="The share of contacts without a record stays above the limit next month.",
    ),
    "uncovered": Remedy(
        area="strategy",
        change="Put accounts of {who} that had no action on the work list as the strategy asks",
        whom="whoever holds {who}",
        legal="Accounts under a hold or in dispute must stay out.",
        customer="Some have no action for good reason (hardship, a plan that is kept); they must stay out.",
        failing="The share without any action stays above the limit, or complaints rise with the added contacts.",
        cost="call",
        each="gap",
    ),
    "late_first_contact": Remedy(
        area="process",
        change="Bring the first contact forward to the day the strategy sets, with an alert the day before",
        whom="{who}",
        legal="The calls count towards the contact rules.",
        customer="More early contacts reach people who would have paid by themselves.",
        failing="The share contacted late stays above the limit, or cure within 30 days does not move.",
        cost="call",
        each="gap",
    ),
    "hardship_unserved": Remedy(
        area="strategy",
        change="Offer an arrangement whenever hardship is noted ({who}), and stop standard pressure until it is answered",
        whom="the hardship desk",
        legal="Hardship noted and not answered is what regulators look at first.",
        customer="Less pressure on people in hardship; arrangements may attract those who could pay.",
        failing="The share without an arrangement stays above the limit, or arrangements break within three months.",
        settle=_NO_LOT,
        cost="arrangement",
        each="gap",
    ),
    "redefault": Remedy(
        area="strategy",
        change="Follow cured accounts up through their next two due dates, and judge cure by its lasting",
        whom="{who}",
        legal="Reminders need consent to the channel.",
        customer="Reminders to people who are paying can annoy; keep them to one before each due date.",
        failing="The share past due again does not fall within six months.",
        cost="sms",
        each="all",
    ),
    "roll_rates": Remedy(
        area="strategy",
        change="Look into what changed for accounts that roll {who}: capacity, mix, channel; act on that before the stage ends",
        whom="whoever holds that stage",
        legal="None known.",
        customer="The mix of accounts may have changed rather than the handling.",
        failing="The roll stays above the earlier period's for two more months.",
    ),
    "concentration": Remedy(
        area="strategy",
        change="Set a watch list and a limit for {who}, and treat its largest accounts one by one",
        whom="{who} and credit approval",
        legal="A limit must not fall on a protected group by another name.",
        customer="A limit set on a group can turn away good customers of it.",
        failing="Its share of the overdue amount does not fall within six months.",
    ),
    "complaints": Remedy(
        area="training",
        change="Read the complaints about {who} with the contacts behind them, and coach on conduct",
        whom="{who}",
        legal="Complaints left alone become legal cases.",
        customer="Better treated; fewer contacts may lower recovery.",
        failing="Complaints per 1,000 contacts do not fall within two months.",
    ),
    "promises_kept": Remedy(
        area="training",
        change="Coach {who} to agree on amounts that can be paid, and remind the day before",
        whom="{who}",
        legal="A promise pressed out of somebody is none.",
        customer="Fewer, more honest promises look like worse contacts at first.",
        failing="The share kept does not rise within two months.",
        cost="sms",
        each="all",
    ),
    "quarantined": Remedy(
        area="technology",
        change="Mend the extract of {who}: the rows set aside are listed with their rule",
        whom="the owner of the data",
        legal="Figures rest on the rows that remain; the others may not be like them.",
        customer="None known.",
        failing="The share set aside stays above the limit next month.",
    ),
    "table_missing": Remedy(
        area="technology",
        change="Supply the missing data: {who}",
        whom="the owner of the data",
        legal="What is not seen cannot be defended.",
        customer="None known.",
        failing="The table is absent again next month.",
    ),
}

SWITCH = Remedy(
    area="strategy",
    change="Move accounts like those of the test from the control to {who}",
    whom="the accounts the test stood for",
    legal="None of its own: the arm kept to the rules while it was tested.",
    customer="The effect may fade once everyone gets it; keep a random tenth on the control.",
    failing="The kept control does as well, over as many accounts as the test had.",
)
WITHDRAW = Remedy(
    area="strategy",
    change="Withdraw {who}",
    whom="the accounts now under it",
    legal="None: the control is the treatment already in force.",
    customer="Little: the control is the treatment already in force.",
    failing="Accounts moved back do no better than they did under it.",
)
EQUAL = Remedy(
    area="strategy",
    change="End the test of {who} and keep whichever is cheaper and gentler",
    whom="the owner of the test",
    legal="None known.",
    customer="A part of the customers may still differ; the whole does not.",
    failing="",
)
WAIT = Remedy(
    area="strategy",
    change="Keep the test of {who} running; do not switch on this evidence",
    whom="the owner of the test",
    legal="None known.",
    customer="Waiting costs the difference, if there is one; switching on noise costs as much.",
    failing="The interval still includes no difference at that size: then take the cheaper arm.",
)
ENLARGE = replace(
    WAIT,
    change="Enlarge the test of {who}, or settle for a coarser answer; do not switch on this evidence",
    legal="More accounts under test is more to watch.",
    customer="At the present pace no answer comes in useful time.",
)
LOCATE = Remedy(
    area="process",
    change="Find the cause before changing anything: no group, stage or step in this book explains the miss of {who}",
    whom="the analysts",
    legal="None known.",
    customer="Changing the strategy without a located cause may make it worse.",
    failing="",
)
_ARMS = {"arm_better": SWITCH, "arm_worse": WITHDRAW, "arm_equal": EQUAL, "arm_undecided": WAIT}

#: Missed KPI → measures whose findings would account for it.
EXPLAINED_BY = {
    "recovery_rate": {
        "recovery",
        "cure",
        "uncovered",
        "late_first_contact",
        "contactability",
        "wrong_numbers",
        "late_step",
        "arm",
    },
    "sustained_cure_rate": {"cure", "sustained_cure", "redefault", "hardship_unserved", "uncovered", "arm"},
    "promise_kept_rate": {"promises_kept", "hardship_unserved"},
    "satisfaction": {
        "satisfaction",
        "complaints",
        "night_contacts",
        "hours_breaches",
        "hardship_unserved",
        "hardship_pressure",
    },
    "complaints_per_1000_contacts": {"complaints", "night_contacts", "hours_breaches", "hardship_pressure"},
    "violations_per_1000_contacts": {
        "night_contacts",
        "hours_breaches",
        "frequency_breaches",
        "third_party_breaches",
        "hold_breaches",
        "hardship_pressure",
    },
    "new_loan_bad_rate": {"bad_rate"},
    "delinquency_rate": {"delinquency", "roll_rates", "redefault", "bad_rate", "concentration"},
    "delinquency_change": {"delinquency", "roll_rates", "redefault", "bad_rate", "concentration"},
    "cost_per_100_recovered": {"wrong_numbers", "contactability", "arm"},
}


def remedy_for(rule: str, measure: str, area: str) -> Remedy:
    """The remedy for a finding."""
    if rule in _ARMS:
        return _ARMS[rule]
    if rule == "kpi_missed":
        return LOCATE
    if measure in _BY_MEASURE:
        return _BY_MEASURE[measure]
    return _LAGGING.get(area, _LAGGING["strategy"])
