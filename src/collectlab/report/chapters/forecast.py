"""What the next months will bring if nothing changes, and how far earlier forecasts were off."""

from __future__ import annotations

import dataclasses

from collectlab.core.errors import NotAvailable
from collectlab.core.results import Result
from collectlab.policy.forecast import Backtest, Forecast, History, Record, history, last_forecast
from collectlab.policy.forecast import backtest as backtested
from collectlab.policy.forecast import forecast as ahead_of
from collectlab.report.month import Month
from collectlab.report.parts import minimum_cell, part

#: Months ahead that the tables show.
SHOWN, BUCKETS_SHOWN, TESTED = (1, 2, 3, 6, 12), (3, 12), (1, 3, 6)
#: Months past that a chart shows.
PAST = 24


@part
def next_months(month: Month) -> Forecast:
    """The next twelve months, if accounts go on as they did."""
    made = _forecast(month)
    return dataclasses.replace(made, table=made.at(SHOWN))


@part(picture=False)
def next_buckets(month: Month) -> Result:
    """Accounts by days past due in three and in twelve months."""
    return _forecast(month).by_bucket(BUCKETS_SHOWN)


@part
def last_month(month: Month) -> Record:
    """What earlier forecasts said of this month, and what happened."""
    counted = _history(month)
    found = last_forecast(counted)
    # A count of few accounts stands in no table.
    lost = counted.series()["charged_off"].iloc[-1]
    table = found.table
    if 0 < lost < minimum_cell(month):
        table = table[table["measure"] != "charged_off"]
    return dataclasses.replace(found, table=table, notes=(*found.says(), *found.notes))


@part(picture=False)
def backtest(month: Month) -> Backtest:
    """Forecasts from past months, against simpler ones."""
    measures = ("past_due", "past_due_30", "amount_overdue", "recovered")
    return backtested(_history(month), months=max(TESTED), measures=measures, at=TESTED).short()


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


__all__ = ["backtest", "last_month", "next_buckets", "next_months"]
