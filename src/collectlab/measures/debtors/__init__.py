"""How debtors react: promises from attempt to money, answers over time, non-response, reasons and remedies."""

from collectlab.measures.debtors.agents import kept_by_agent
from collectlab.measures.debtors.answers import reaction_change
from collectlab.measures.debtors.funnel import promise_funnel, promises_kept
from collectlab.measures.debtors.nonresponse import satisfaction_bounds
from collectlab.measures.debtors.reasons import REASON_GROUPS, cure_by_reason
from collectlab.measures.debtors.remedies import remedy_match, right_remedies

__all__ = [
    "REASON_GROUPS",
    "cure_by_reason",
    "kept_by_agent",
    "promise_funnel",
    "promises_kept",
    "reaction_change",
    "remedy_match",
    "right_remedies",
    "satisfaction_bounds",
]
