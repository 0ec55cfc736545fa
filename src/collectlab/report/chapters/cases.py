"""Case files: three successes and three problems, picked by a stated rule, without names."""

from __future__ import annotations

import pandas as pd

from collectlab.core.errors import FrameError, NotAvailable, ParamsError
from collectlab.core.results import Result
from collectlab.measures.cases import files, pick
from collectlab.measures.conduct import audit
from collectlab.report.chapters import conduct
from collectlab.report.month import Month
from collectlab.report.parts import part

#: Cases of each kind, and the days without arrears after which a cure counts as lasting.
CASES, SUSTAINED = 3, 90


@part
def successes(month: Month) -> Result:
    """Three successes: cured for good from furthest behind."""
    found = pick(
        month.book,
        "success",
        number=CASES,
        definition=month.definition,
        period=month.window,
        sustained=SUSTAINED,
    )
    return files(month.book, found)


@part
def problems(month: Month) -> Result:
    """Three problem cases: much pressure, no payment."""
    found = pick(
        month.book,
        "problem",
        number=CASES,
        definition=month.definition,
        period=month.window,
        violations=_violations(month),
    )
    return files(month.book, found)


def _violations(month: Month) -> pd.DataFrame | None:
    """Actions that broke a contact rule; None where they cannot all be told, or no rules are named."""
    try:
        audited = audit(month.book, conduct._rules(month), by=None)
    except (NotAvailable, FrameError, ParamsError):
        return None
    rows = audited.evidence()
    counted = audited.table.loc[audited.table["by"] == "all", "violations"].sum()
    return rows if len(rows) == counted else None  # only the first thousands of a rule are kept
