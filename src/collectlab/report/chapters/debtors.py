"""How debtors reacted: from the attempt to the money, why they fell behind, and who did not answer."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd

from collectlab.core.errors import NotAvailable
from collectlab.core.results import Result
from collectlab.measures import debtors
from collectlab.policy.evidence import evidence as evidence_of
from collectlab.report.month import Month
from collectlab.report.parts import part


@part(picture=False)
def funnel(month: Month) -> Result:
    """From the attempt to the money, step by step."""
    return debtors.promise_funnel(month.book, period=month.window)


@part
def kept_by(month: Month, by: str) -> Result:
    """Which promises hold."""
    return debtors.promises_kept(month.book, by=by, period=month.window)


@part(picture=False)
def change(month: Month) -> Result:
    """Refusals, disputes and hardship claims: more of them, or fewer?"""
    return debtors.reaction_change(month.book, period=month.window)


@part(picture=False)
def reasons_and_cure(month: Month) -> Result:
    """Who cannot pay, who will not, and who cures."""
    return debtors.cure_by_reason(month.book, definition=month.definition, horizon=month.horizon)


@part(picture=False)
def satisfaction_with_nonresponse(month: Month) -> Result:
    """Satisfaction, and those who did not answer."""
    return debtors.satisfaction_bounds(month.book, period=month.window)


@part(picture=False)
def remedy_match(month: Month, by: str | None = None) -> Result:
    """The right remedy for the right reason."""
    return _remedies(month, by)


def _remedies(month: Month, by: str | None) -> Result:
    return month.counted(debtors.remedy_match, by=by, definition=month.definition, period=month.window)


def _mismatched_by_team(month: Month) -> pd.DataFrame:
    return evidence_of(_remedies(month, "team"), n="judged", complement=True, measure="matched").dropna(
        subset=["estimate"]
    )


def _kept_by_agent(month: Month) -> pd.DataFrame:
    """Agents only where they differ by more than chance, and only those who may be named."""
    result = debtors.kept_by_agent(month.book, period=month.window)
    if result.p_value > 1 - result.conf_level:
        raise NotAvailable("agents cannot be told apart by the promises kept.")
    table = result.table[result.table["named"]]
    return table.rename(columns={"due": "n"}).drop(columns=["named", "observed"])


#: Evidence for findings, under the names the rules know.
SOURCES: dict[str, Callable[[Month], pd.DataFrame]] = {
    "remedy_mismatch_by_team": _mismatched_by_team,
    "promises_kept_by_agent": _kept_by_agent,
}
