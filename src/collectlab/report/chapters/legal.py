"""Chapter 4: legal cases, what suing brought, and the agencies' yearly sheets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pandas as pd

from collectlab.core.errors import FrameError, NotAvailable
from collectlab.core.results import Result
from collectlab.effects.legal import against_not_sued
from collectlab.measures.legal import decisions, evaluation_sheet, stages
from collectlab.measures.legal.sheet import EvaluationSheet
from collectlab.policy.agencies import load_agencies
from collectlab.report.chapters import conduct, leagues
from collectlab.report.month import Month
from collectlab.report.parts import part

#: Days within which suing must have paid for itself.
HORIZON = 180


@part(picture=False)
def legal_stages(month: Month) -> Result:
    """Where the legal cases stand."""
    return month.counted(stages)


@part(picture=False)
def legal_results(month: Month, by: str) -> Result:
    """What decided cases brought, and how soon"""
    return month.counted(decisions, by=by)


@part(picture=False)
def legal_effect(month: Month) -> Result:
    """Suing against not suing, net of cost."""
    found, _ = month.shared("suing", lambda: against_not_sued(month.book, horizon=HORIZON))
    if found.table.empty and not month.book.has("legal_cases"):
        raise NotAvailable("this book has no legal_cases.")
    return found


@part(picture=False)
def agency_sheets(month: Month) -> Result:
    """Each agency's year against its contract."""
    return sheet(month)


def sheet(month: Month) -> EvaluationSheet:
    """The agencies' sheet of the month's calendar year, so far; violations are those of the audit's twelve months."""

    def make() -> EvaluationSheet:
        file = month.params / "agencies.yml"
        terms = load_agencies(file).terms(month.end) if file.is_file() else None
        broken = _violations(month)
        found = evaluation_sheet(
            month.book, month.end.year, terms=terms, league=_same_mix(month), violations=broken,
            horizon=month.horizon,
        )  # fmt: skip
        if broken is None:
            return found
        first, last = month.window
        return replace(found, notes=(*found.notes, f"Violations of the contact rules: {first} to {last}."))

    return month.shared("agencies' sheets", make)


def _violations(month: Month) -> pd.DataFrame | None:
    """Actions against the contact rules by agency; None where no rules hold or none was judged.

    An action that breaks several rules counts once; contacts are those that any rule applies to.
    """
    try:
        sorts = conduct.audited(month).sorts
    except (NotAvailable, FrameError):
        return None
    mine = sorts[(sorts["by"] == "agency") & (sorts["sort"] == "any")]
    if mine.empty:
        return None
    found = mine[["group", "violations", "contacts"]].reset_index(drop=True)
    return found.rename(columns={"group": "agency"})


def _same_mix(month: Month) -> pd.DataFrame | None:
    """Agencies' rates over all placements at the same mix of cases, shrunken; None where they cannot be compared."""
    try:
        found = leagues.agencies(month)
    except (NotAvailable, FrameError):
        return None
    level = found.between["average"].iloc[0]
    return found.table[["agency", "n", "std_error"]].assign(
        **{c: (level + found.table[c]).clip(0, 1) for c in ("estimate", "conf_low", "conf_high")}
    )


def _terms_missed(month: Month) -> pd.DataFrame:
    """Terms that an agency missed by its whole interval; records are among the findings by team already."""
    missed = sheet(month).missed()
    missed = missed[missed["measure"] != "recorded"]
    return missed[["agency", "measure", "n", "estimate", "conf_low", "conf_high", "term"]].reset_index(
        drop=True
    )


SOURCES: dict[str, Callable[[Month], pd.DataFrame]] = {"agency_terms": _terms_missed}
