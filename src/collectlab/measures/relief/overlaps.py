"""Plans of one account that run at the same time: found, listed, and how they are counted."""

from __future__ import annotations

from typing import Any

import narwhals as nw
import pandas as pd

from collectlab.core import engine
from collectlab.core.columns import number_to_date
from collectlab.core.results import Result
from collectlab.measures.relief.cases import RELIEF, plans

#: What every measure of plans does with them, said where there are any.
COUNTED = "where one begins while another runs, the earlier counts until that day and is then censored"


def overlapping_plans(book: Any, *, kinds: tuple[str, ...] = (*RELIEF, "settlement")) -> Result:
    """Plans that began while another plan of the same account ran.

    A plan runs from its start to its end, both included, or on if no end is told; one that begins on the day on
    which another ends follows it and is no overlap. In :func:`~collectlab.measures.relief.survival.plan_survival`
    the earlier plan counts until the day on which the later begins, and is then censored.

    Parameters
    ----------
    book : Book
        With arrangements.
    kinds : tuple of str
        Arrangements looked at.

    Returns
    -------
    Result
        A row per pair that follow one another: account_id, kind, started_on, ended_on, next_kind,
        next_started_on. No rows where there are none. ``estimand`` tells how many.

    Examples
    --------
    >>> import pandas as pd
    >>> from collectlab.book.open import open_book
    >>> book = open_book({
    ...     "accounts": pd.DataFrame({"account_id": ["a"]}),
    ...     "snapshots": pd.DataFrame({"account_id": ["a"], "as_of": ["2026-06-30"], "days_past_due": [95]}),
    ...     "arrangements": pd.DataFrame({"account_id": ["a", "a"], "kind": ["payment_plan", "deferral"],
    ...         "started_on": ["2026-01-01", "2026-02-01"], "ended_on": ["2026-03-01", "2026-05-01"]})})
    >>> overlapping_plans(book).table[["kind", "next_kind"]].values.tolist()
    [['payment_plan', 'deferral']]
    """
    spans = replaced(book, kinds)
    every = len(spans)
    pairs = spans[spans["overlaps"]].sort_values(["account", "began", "kind"], ignore_index=True)
    table = pd.DataFrame(
        {
            "account_id": pairs["account"],
            "kind": pairs["kind"],
            "started_on": pairs["started_on"],
            "ended_on": pairs["ended_on"],
            "next_kind": pairs["next_kind"],
            "next_started_on": pairs["next_started_on"],
        }
    )
    accounts = table["account_id"].nunique()
    return Result(
        table=table,
        title="Plans that overlap",
        estimand=f"{len(table):,} of {every:,} plans, of {accounts:,} accounts, were running when another began.",
        notes=(f"Counted so: {COUNTED}.",) if len(table) else (),
    )


def replaced(book: Any, kinds: tuple[str, ...]) -> pd.DataFrame:
    """Plans in memory, each with the next of its account: account, kind, status, began, until, next, overlaps."""
    lazy = plans(book, kinds).with_columns(
        started_on=number_to_date(nw.col("__began")), ended_on=number_to_date(nw.col("__until"))
    )
    frame = engine.collect(lazy).rename(columns=lambda c: c.removeprefix("__"))
    frame = frame.sort_values(["account", "began", "until", "kind", "status"], ignore_index=True)
    after = frame.groupby("account", sort=False)
    frame["next"] = after["began"].shift(-1)
    frame["next_kind"] = after["kind"].shift(-1)
    frame["next_started_on"] = after["started_on"].shift(-1)
    frame["overlaps"] = frame["next"].notna() & (frame["until"].isna() | (frame["next"] < frame["until"]))
    return frame
