"""Chapter 5: what collection tells credit approval."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd

from collectlab.core.errors import NotAvailable
from collectlab.core.tables import format_value, readable
from collectlab.policy.credit import CreditLoss, credit_loss
from collectlab.policy.options import Figure, Option
from collectlab.report.chapters.shown import on_page, plain
from collectlab.report.month import Month
from collectlab.report.parts import minimum_cell, part

#: What a segment is made of, where the accounts have it; else the region.
SEGMENTS = ("product", "origination_channel")


@part
def segments(month: Month) -> CreditLoss:
    """New loans gone bad and not cured for good, by origination segment."""
    have = month.book.columns("accounts")
    by = [c for c in SEGMENTS if c in have] or [c for c in ("region",) if c in have]
    if not by:
        raise NotAvailable("the accounts table has no product, origination channel or region.")
    found = _without_few(month.counted(credit_loss, by=by), minimum_cell(month))
    few = int((found.table["verdict"] == "too few").sum())
    left = (
        f"{few} of {len(found.table)} segments have too few loans gone bad to be judged; they stand in the file.",
    )
    return on_page(replace(found, notes=(_told(found), *(left if few else ()), *found.notes)), _in_brief)


def _told(found: CreditLoss) -> str:
    """Which segments approval should look at, in a sentence."""
    table = found.table
    worse = table[table["verdict"] == "higher"]
    if worse.empty:
        return (
            "Nothing for approval to change: no segment is surely worse than other loans of the same score bands; the "
            "order of the rows is within noise."
        )
    names = "; ".join(", ".join(str(readable(v)) for v in row) for row in worse[list(found.by)].to_numpy())
    return f"To be looked at by approval, as surely worse than other loans of the same score bands: {names}."


def _in_brief(found: CreditLoss) -> pd.DataFrame:
    """Without segments of too few loans, and without the share cured for good where it is the same for all."""
    few = found.table["verdict"] == "too few"
    table = found.table[~few] if not few.all() else found.table
    left = [c for c in ("cured_for_good",) if c in table and table[c].nunique() == 1]
    heads = {"Bad rate": "Went bad", "Expected": "Others of like score", "Net loss": "Net loss of principal"}
    return plain(found, table.drop(columns=left), heads)


def _without_few(found: CreditLoss, minimum: int) -> CreditLoss:
    """No rates where fewer than ``minimum`` loans went bad: 1 ÷ 29 is told from 0.0345. How many did stands nowhere."""
    few = found.table["bad"].between(1, minimum - 1)
    table = found.table.drop(columns="bad")
    rates = [c for c in table.select_dtypes("number") if c not in ("loans", *found.by)]
    table[rates] = table[rates].mask(few)
    table["verdict"] = table["verdict"].mask(few, "too few")
    note = f"Rates and verdicts of segments in which fewer than {minimum} loans went bad are not shown."
    return replace(found, table=table, notes=(*found.notes, note) if few.any() else found.notes)


def options(month: Month) -> list[Option]:
    """A review of each origination segment that is surely worse than its score bands."""
    shown = segments(month)
    if shown.result is None or "difference_low" not in shown.table:
        return []
    rows = shown.table[shown.table["difference_low"].notna() & (shown.table["difference_low"] > 0)]
    return [_option(shown.result, row) for _, row in rows.iterrows()]


def _option(held: CreditLoss, row) -> Option:
    where = {c: row[c] for c in held.by}
    segment = ", ".join(str(readable(v)) for v in where.values())

    def figure(name: str, column: str) -> Figure:
        return Figure(name=name, value=float(row[column]), part="credit_segments", column=column, where=where)

    share, expected = (format_value(row[c], "share") for c in ("estimate", "expected"))
    low, high = (format_value(row[c], "points") for c in ("difference_low", "difference_high"))
    return Option(
        key=f"credit_{'_'.join(str(v) for v in where.values())}",
        what="Review how these loans are approved, and hold back their growth until it is done",
        whom=f"new loans: {segment}",
        area="credit_approval",
        words=f"{share} of these loans go bad early and are not cured for good; loans of the same score bands in other "
        f"segments: {expected} (difference {low} to {high}).",
        grade="counted",
        evidence=f"{row['loans']:,.0f} loans at equal age, within score bands; only granted loans are seen, so it says where to "
        "look, not what approval caused.",
        cost_words="The reviewers' time, and loans not granted meanwhile.",
        legal_risk="A rule that follows from the review must not rest on protected characteristics.",
        customer_risk="Good applicants of the segment wait or are refused during the review.",
        failing="The next two quarters' loans of the segment do as others' of their score bands.",
        settle="Grant by the present and by the reviewed rule, drawn by chance at the margin of approval, and compare after "
        "six months on book.",
        figures=(
            figure("not cured for good", "estimate"),
            figure("expected", "expected"),
            figure("difference from", "difference_low"),
            figure("difference to", "difference_high"),
            figure("loans", "loans"),
        ),
    )  # fmt: skip
