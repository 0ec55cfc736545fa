"""Teams and agencies at the same mix of cases, for chapter 3 and the findings."""

from __future__ import annotations

from collectlab.core.errors import NotAvailable
from collectlab.effects.league import League, league
from collectlab.report.month import Month


def teams(month: Month) -> League:
    """Teams that work by the same channel; counted once for all chapters."""
    if "team" not in month.book.columns("actions"):
        raise NotAvailable("the book's actions name no team.")
    return month.shared(
        "league of teams",
        lambda: league(
            month.book,
            by="team",
            horizon=month.horizon,
            definition=month.definition,
            period=month.window,
        ),
    )


def agencies(month: Month) -> League:
    """Agencies, over all placements that have reached the horizon."""
    if "agency" not in month.book.columns("actions"):
        raise NotAvailable("the book's actions name no agency.")
    return month.shared("league of agencies", lambda: league(month.book, by="agency", horizon=month.horizon))
