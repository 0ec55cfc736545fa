"""How hard accounts are pressed: actions per account-week overdue, escalations, and hardship under pressure.

Time at risk is counted in days, not at month ends: an account-week is seven days overdue. Every action counts,
answered or not, as the debtor's telephone rings for each.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import narwhals as nw
import numpy as np
import pandas as pd

from collectlab.core import engine
from collectlab.core.columns import row_count
from collectlab.core.engine import same_engine
from collectlab.core.errors import FrameError, NotAvailable
from collectlab.core.jackknife import check_level
from collectlab.measures.actions_rows import Period
from collectlab.measures.groups import by_keys, group_codes, named
from collectlab.measures.intensity_days import (
    met,
    overdue_spans,
    owned,
    plain_actions,
    stage_frame,
    weekly_pieces,
)
from collectlab.measures.intensity_escalations import escalations
from collectlab.measures.intensity_hardship import hardship_pressure
from collectlab.measures.ratios import Given, Measures, Ratio, count, measured

__all__ = ["escalations", "hardship_pressure", "intensity"]

QUANTILES = {"median": 0.5, "p90": 0.9, "p99": 0.99}


def intensity(
    book: Any,
    stages: Sequence[int] | pd.DataFrame = (1, 30, 60, 90),
    by: str | Sequence[str] | None = None,
    period: Period = None,
    *,
    more_than: int = 3,
    conf_level: float = 0.95,
) -> Measures:
    """Actions per account-week overdue, by stage and channel, and how they are spread.

    Per group, stage and channel ("any": all):

    * ``per_week`` — 7 · actions on days overdue in the stage / days overdue in the stage;
    * ``median``, ``p90``, ``p99`` — of the actions in one account-week, over the calendar weeks (Monday to Sunday)
      spent wholly in the stage. Whole numbers, so without intervals;
    * ``over`` — share of those weeks with more than ``more_than`` actions.

    Days past due are counted from snapshot to snapshot (:func:`~collectlab.measures.intensity_days.overdue_spans`).

    Parameters
    ----------
    book : Book
        With actions.
    stages : sequence of int or DataFrame
        Rising lower bounds in days past due, or ``stage, dpd_from, dpd_to`` as a strategy's ``stage_table()`` gives it.
    by : str or list of str, optional
        Columns of ``accounts``.
    period : (date, date), optional
        First and last day; None is the whole book.
    more_than : int
        Actions in a week that are still not too many.
    conf_level : float
        Level of the intervals (delete-a-group jackknife over customers).

    Returns
    -------
    Measures
        [by…], stage, channel, measure, account_weeks, actions, estimate and interval.

    Raises
    ------
    NotAvailable
        No actions, or nobody overdue on a day of the period; no such column in accounts.
    FrameError
        Stages or ``more_than`` that are none.

    Examples
    --------
    Overdue from Monday 2 March to Sunday 29 March; one call a week.

    >>> import pandas as pd
    >>> from collectlab.book.open import open_book
    >>> book = open_book({
    ...     "accounts": pd.DataFrame({"account_id": ["a"]}),
    ...     "snapshots": pd.DataFrame({"account_id": ["a"] * 2, "days_past_due": [1, 29],
    ...                                "as_of": ["2026-03-01", "2026-03-29"]}),
    ...     "actions": pd.DataFrame({"account_id": ["a"] * 4, "channel": ["call"] * 4,
    ...                              "at": ["2026-03-02", "2026-03-09", "2026-03-16", "2026-03-23"]})})
    >>> intensity(book).wide().query("channel == 'any'")[["stage", "account_weeks", "per_week", "p90"]].values.tolist()
    [['1–29', 4, 1.0, 1.0]]
    """
    check_level(conf_level)
    if isinstance(more_than, bool) or not isinstance(more_than, int) or more_than < 0:
        raise FrameError(f"more_than is {more_than!r}. Allowed: a whole number ≥ 0.")
    table = stage_frame(stages)
    pieces, by = owned(weekly_pieces(overdue_spans(book, period), table), book, by)
    pieces = engine.computed(pieces)
    keys = [*by_keys(by, "__by"), "__stage"]
    days = nw.col("__last") - nw.col("__first") + 1
    time = count(pieces, keys, {"days": days})
    if time.groups.empty or not time["days"].sum():
        raise NotAvailable("no account is overdue on a day of this period.")
    cells = ["__account", "__week", *keys, "__rep"]
    weeks = pieces.group_by(*cells).agg(__days=(nw.col("__last") - nw.col("__first") + 1).sum())
    weeks = engine.computed(weeks.filter(nw.col("__days") == 7))
    done = met(pieces, plain_actions(book))
    by_channel = done.group_by(*cells, "__channel").agg(__n=row_count())
    anyone = done.group_by(*cells).agg(__n=row_count()).with_columns(__channel=nw.lit("any"))
    order = [*cells, "__channel", "__n"]
    done = engine.computed(nw.concat([by_channel.select(order), anyone.select(order)]))
    found = engine.collect(done.select("__channel").unique())["__channel"]
    if found.empty:
        raise NotAvailable("no action fell on a day on which its account was overdue.")
    channels = ["any", *sorted(set(found) - {"any"})]
    grid = time.groups.merge(pd.DataFrame({"__channel": channels}), how="cross")
    wide = [*keys, "__channel"]
    actions = count(done, wide, {"actions": nw.col("__n")}, grid)
    alone = ["__account", "__week", "__stage"]
    whole, told = same_engine(weeks.select(alone), done)
    full = engine.computed(told.join(whole, on=alone, how="inner"))
    weeks_of = count(weeks, keys, {"weeks": nw.lit(1)}, time.groups)["weeks"]
    counted = engine.collect(full.group_by(*wide, "__n").agg(__weeks=row_count()))
    over = count(full.filter(nw.col("__n") > more_than), wide, {"over": nw.lit(1)}, grid)["over"]
    at_risk, all_weeks = (np.repeat(v, len(channels), axis=1) for v in (time["days"], weeks_of))
    measures: dict[str, Ratio | Given] = {
        "per_week": Ratio(actions["actions"], at_risk, "rate", "ratio", 7.0)
    }
    for name, values in _quantiles(grid, counted, wide, all_weeks.sum(axis=0)).items():
        measures[name] = Given([values, *[np.full(len(grid), np.nan)] * 3], "count")
    measures["over"] = Ratio(over, all_weeks)
    shown = grid.assign(__stage=grid["__stage"].map(dict(enumerate(table["stage"].astype(str)))))
    names = [*by, "stage", "channel"]
    return measured(
        named(shown, names),
        names,
        measures,
        {
            "account_weeks": np.rint(at_risk.sum(axis=0) / 7),
            "actions": actions.total("actions"),
        },
        conf_level,
        estimand=(
            "Actions per account and week overdue in the stage; median, 90th and 99th percentile of an account-week; "
            f"above the limit: account-weeks with more than {more_than}"
        ),
        title="Actions per account-week, by stage",
        notes=(
            "Every action counts, answered or not. Time is counted in days overdue, between month ends too.",
            "The percentiles are of calendar weeks spent wholly in one stage; they are whole numbers and have no interval.",
        ),
    )


def _quantiles(
    grid: pd.DataFrame, counted: pd.DataFrame, keys: list[str], weeks: np.ndarray
) -> dict[str, np.ndarray]:
    """The smallest number of actions that a share q of the weeks does not exceed, for each row of ``grid``."""
    row = group_codes(counted, grid, keys) if len(counted) else np.zeros(0, int)
    most = int(counted["__n"].max()) if len(counted) else 0
    table = np.zeros((len(grid), most + 1))
    np.add.at(table, (row, counted["__n"].to_numpy(int)), counted["__weeks"].to_numpy(float))
    table[:, 0] = weeks - table[:, 1:].sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        reached = np.cumsum(table, axis=1) / weeks[:, None]
    return {
        name: np.where(weeks > 0, (reached < q - 1e-12).sum(axis=1).astype(float), np.nan)
        for name, q in QUANTILES.items()
    }
