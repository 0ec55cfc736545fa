"""What the next months will bring if nothing changes, and how far earlier forecasts were off."""

from __future__ import annotations

import dataclasses

import pandas as pd

from collectlab.core.errors import NotAvailable
from collectlab.core.tables import format_value
from collectlab.policy.forecast import Backtest, Forecast, History, Record, history, last_forecast
from collectlab.policy.forecast import backtest as backtested
from collectlab.policy.forecast import forecast as ahead_of
from collectlab.policy.forecast.result import WORDS
from collectlab.report.chapters.shown import across, cell, cells, on_page, plain
from collectlab.report.month import Month
from collectlab.report.parts import minimum_cell, part

#: Months ahead that the tables show.
SHOWN, TESTED = (1, 3, 6, 12), (1, 3, 6)
#: Of these, the months that fit the page.
ON_PAGE = (1, 3, 12)
#: Months past that a chart shows.
PAST = 24


@part
def next_months(month: Month) -> Forecast:
    """The next twelve months, if accounts go on as they did."""
    made = _forecast(month)
    return on_page(
        dataclasses.replace(made, table=made.at(SHOWN), notes=(_outlook(made), *made.notes)), _by_month
    )


def _outlook(made: Forecast) -> str:
    """Whether a rise or fall of the share past due is foreseen."""
    now = float(made.past["past_due"].iloc[-1])
    row = made.table[made.table["measure"] == "past_due"].iloc[-1]
    way = "lower" if row["conf_high"] < now else "higher" if row["conf_low"] > now else "about as now"
    said = cell(row["estimate"], row["conf_low"], row["conf_high"], "share")
    return (
        f"If nothing changes, the share of accounts past due in {row['ahead']} months will be {way}: {said}, "
        f"against {format_value(now, 'share')} now{'; a change is within noise' if way.startswith('about') else ''}."
    )


def _by_month(made: Forecast) -> pd.DataFrame:
    table = made.table[made.table["ahead"].isin(ON_PAGE)]
    table = table.assign(measure=table["measure"].map(WORDS))
    return across(table, rows="measure", columns="month", texts=cells(table, "number"))


@part
def last_month(month: Month) -> Record:
    """What earlier forecasts said of this month, and what happened."""
    counted = _history(month)
    found = last_forecast(counted)
    # A count of few accounts stands in no table and no sentence.
    lost = counted.series()["charged_off"].iloc[-1]
    if 0 < lost < minimum_cell(month):
        found = dataclasses.replace(found, table=found.table[found.table["measure"] != "charged_off"])
    notes = (
        *found.says(),
        "In brackets: the 95 % interval of the forecast. The file has the record of each.",
    )
    return on_page(dataclasses.replace(found, notes=notes), _against)


def _against(found: Record) -> pd.DataFrame:
    """A row for each measure: what happened, and what was said of it so many months before."""
    table = found.table
    said = [
        text if inside else f"{text}: outside"
        for text, inside in zip(cells(table, "number"), table["inside"])
    ]
    before = table["ahead"].map(lambda a: f"Said {a} month{'s' if a > 1 else ''} before")
    out = across(
        table.assign(measure=table["measure"].map(WORDS), before=before),
        rows="measure", columns="before", texts=said,
    )  # fmt: skip
    first = table.drop_duplicates("measure")
    happened = [format_value(v, u) for v, u in zip(first["happened"], first["unit"])]
    out.insert(1, "Happened", pd.Series(happened, dtype=object))
    return out


@part(picture=False)
def backtest(month: Month) -> Backtest:
    """Forecasts from past months, against simpler ones."""
    measures = ("past_due", "past_due_30", "amount_overdue", "recovered")
    found = backtested(_history(month), months=max(TESTED), measures=measures, at=TESTED).short()
    return on_page(found, _nearer)


def _nearer(found: Backtest) -> pd.DataFrame:
    """Each measure named once; the same month of the year before, and the intervals of 80 %, stand in the file."""
    left = [c for c in ("forecasts", "seasonal_naive", "inside_80") if c in found.table]
    names = found.table["measure"].map(WORDS)
    table = found.table.drop(columns=left).assign(measure=names.where(~names.duplicated(), ""))
    heads = {"Ahead": "Months ahead", "Roll forward": "Roll-forward", "Inside 95": "Inside 95 % interval"}
    return plain(found, table, heads)


def _forecast(month: Month) -> Forecast:
    counted = _history(month)
    return month.once("forecast", lambda: ahead_of(counted))


def _history(month: Month) -> History:
    """The book's months, where none of the last ones rests on so few accounts that they could be told apart."""
    counted = month.shared("forecast history", lambda: history(month.book))
    late = counted.stock[-PAST:, 1:].sum(axis=1)
    deep = counted.stock[-PAST:, [i for i, low in enumerate(counted.bounds) if low >= 30]].sum(axis=1)
    minimum = minimum_cell(month)
    # What happened last month is told of both, so the accounts between them are told, too.
    few = [((n > 0) & (n < minimum)).any() for n in (late, deep, late[-1:] - deep[-1:])]
    if any(few):
        raise NotAvailable(
            f"in some month fewer than {minimum} accounts were past due, or 30 days or more past due, or less than that."
        )
    return counted


__all__ = ["backtest", "last_month", "next_months"]
