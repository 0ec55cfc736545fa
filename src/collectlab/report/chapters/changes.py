"""From last month's figures to this month's."""

from __future__ import annotations

from collectlab.core.errors import BookError, NotAvailable
from collectlab.core.results import Result
from collectlab.measures import bridge
from collectlab.report.month import Month, months_before


def delinquency(month: Month) -> Result:
    """The share of accounts 30 days or more past due."""
    return _bridge(month, bridge.delinquency_rate(over=30))


def recovery(month: Month) -> Result:
    """The share of the overdue amount recovered within the report's horizon."""
    _ = month.from_start  # not available where nobody was seen from day 0
    return _bridge(month, bridge.recovery_rate(horizon=month.horizon, definition=month.definition))


def _bridge(month: Month, figure: bridge.Figure) -> Result:
    by = "product" if "product" in month.book.columns("accounts") else None
    try:
        before = month.book.until(months_before(month.end, 1))
    except BookError as error:
        raise NotAvailable("the book has no snapshots of the month before.") from error
    return bridge.month_on_month(before, month.book, measure=figure, segments=by)
