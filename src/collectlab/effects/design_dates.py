"""How fast accounts come, and the date on which a test can answer."""

from __future__ import annotations

import datetime as dt
import itertools
import math
from typing import Any

import narwhals as nw
import numpy as np
import pandas as pd

from collectlab.core.columns import day_number, day_of, row_count
from collectlab.core.engine import collect, require, scan
from collectlab.core.errors import FrameError
from collectlab.core.results import Result
from collectlab.core.written import as_date
from collectlab.effects.design_math import listed, out_of, refuse

#: Days of a month on average, in which paces are told.
MONTH = 365.25 / 12


def no_date(data: nw.LazyFrame, column: str) -> str:
    """What to say where a column cannot hold dates; nothing where it can."""
    kind = data.collect_schema()[column]
    if kind in (nw.Date, nw.String) or isinstance(kind, nw.Datetime):
        return ""
    return f"{column!r} is {kind}. Allowed: dates, or text of the form YYYY-MM-DD."


def enrolment_pace(frame: Any, *, on: str, as_of: str | dt.date | None = None, days: int = 91) -> Result:
    """Accounts a month that could enter an experiment, from a book's own rows.

    Parameters
    ----------
    frame : frame
        One row per account or episode that would be eligible, such as ``book.episodes()``.
    on : str
        Column with the date on which it becomes eligible, such as ``started_on``.
    as_of : date or str, optional
        The last day counted; None: the last date in the column.
    days : int
        How many days are counted, that one included.

    Returns
    -------
    Result
        One row: ``first_day, last_day, accounts``, and accounts a month (of 30.44 days) with its exact Poisson interval.

    Raises
    ------
    FrameError
        No such column, no dates in it, or no whole number of days.

    Examples
    --------
    >>> import pandas as pd
    >>> spells = pd.DataFrame({"started_on": pd.date_range("2026-01-01", "2026-06-30")})
    >>> enrolment_pace(spells, on="started_on", days=91).table[["accounts", "estimate"]].round(1)
       accounts  estimate
    0        91      30.4
    """
    if not isinstance(days, (int, np.integer)) or days < 1:
        raise FrameError(f"days is {days!r}. Allowed: whole days ≥ 1.")
    data = scan(frame, [on])
    require(data, on)
    refuse([no_date(data, on)])
    counted = collect(
        data.select(day=day_number(on)).group_by("day").agg(row_count().alias("count"))
    ).dropna()
    if counted.empty:
        raise FrameError(f"{on}: no dates. Allowed: a column with dates.")
    last = int(counted["day"].max()) if as_of is None else day_of(as_date(as_of))
    inside = counted["day"].between(last - days + 1, last)
    accounts = int(counted.loc[inside, "count"].sum())
    from scipy.stats import chi2

    month = MONTH / days
    start = pd.Timestamp("1900-01-01")
    row = {
        "first_day": start + pd.Timedelta(days=last - days + 1),
        "last_day": start + pd.Timedelta(days=last),
        "accounts": accounts,
        "estimate": accounts * month,
        "std_error": math.sqrt(accounts) * month,
        "conf_low": float(chi2.ppf(0.025, 2 * accounts)) / 2 * month if accounts else 0.0,
        "conf_high": float(chi2.ppf(0.975, 2 * accounts + 2)) / 2 * month,
    }
    return Result(
        table=pd.DataFrame([row]),
        estimand=f"Accounts a month by {on}, as in the days counted.",
        unit="count",
        title="Pace of enrolment",
        notes=("The interval is Poisson's: it holds if accounts come independently and the pace stays.",),
    )


def answer_date(
    needed: Any,
    *,
    pace: Any,
    as_of: str | dt.date,
    enrolled: Any = 0,
    horizon_days: Any = 0,
    minimum_days: Any = 0,
    started_on: str | dt.date | None = None,
) -> Result:
    """The date on which a running or planned test can answer.

        enrolled_on = as_of + (needed − enrolled) / pace,
        answer_on   = max(enrolled_on + horizon_days, started_on + minimum_days)

    Parameters
    ----------
    needed : int, list or Result
        Accounts needed in all arms together; or what :func:`~collectlab.effects.design.sample_size` gave.
    pace : float or list
        Accounts a month that enter, in all arms together (:func:`enrolment_pace`).
    as_of : date or str
        The day from which the rest is counted.
    enrolled : int or list
        Accounts that entered by then.
    horizon_days : int or list
        Days after which one account's outcome is known.
    minimum_days : int or list
        Days after the start before which there is no verdict, however many accounts there are.
    started_on : date or str, optional
        The day the test started; None: ``as_of``.

    Returns
    -------
    Result
        One row per combination: ``enrolled_on``, ``answer_on`` and ``weeks`` from ``as_of`` to it; missing where
        nobody enters any more, or not within a hundred years.

    Raises
    ------
    FrameError
        Arguments out of range, all told at once.

    Examples
    --------
    >>> from collectlab.effects.design import sample_size
    >>> when = answer_date(sample_size(0.06, baseline=0.30), pace=800, as_of="2026-11-02", horizon_days=60)
    >>> when.table[["needed", "enrolled_on", "answer_on", "weeks"]].round(1)
       needed enrolled_on  answer_on  weeks
    0    1928  2027-01-15 2027-03-16   19.1
    """
    today = pd.Timestamp(as_date(as_of))
    start = today if started_on is None else pd.Timestamp(as_date(started_on))
    if isinstance(needed, Result):
        needed = needed.table["n_total"].tolist()
    given = {"needed": needed, "enrolled": enrolled, "pace": pace}
    given |= {"horizon_days": horizon_days, "minimum_days": minimum_days}
    lists = {name: listed(value) for name, value in given.items()}
    refuse([out_of(name, v, v >= 0, "≥ 0") for name, values in lists.items() for v in values])
    rows = []
    for values in itertools.product(*lists.values()):
        row = dict(zip(lists, values))
        rest = max(row["needed"] - row["enrolled"], 0)
        wait = 0.0 if rest == 0 else rest / row["pace"] * MONTH if row["pace"] else math.inf
        far = wait > 36_525
        full = pd.NaT if far else today + pd.Timedelta(days=math.ceil(wait))
        known = full + pd.Timedelta(days=math.ceil(row["horizon_days"]))
        answer = pd.NaT if far else max(known, start + pd.Timedelta(days=math.ceil(row["minimum_days"])))
        rows.append({**row, "enrolled_on": full, "answer_on": answer, "weeks": (answer - today).days / 7})
    table = pd.DataFrame(rows)
    never = int(table["answer_on"].isna().sum())
    return Result(
        table=table,
        estimand="Date on which enough accounts have entered, their outcomes are known and the minimum is over.",
        title="When the test can answer",
        notes=(f"{never} of {len(table)} would not be answered within a hundred years.",) if never else (),
        formats={"needed": "count", "enrolled": "count", "pace": "count", "weeks": "days"}
        | {"horizon_days": "count", "minimum_days": "count"},
    )
