"""Rows that a decision model is made of: of any kind of frame, in the order of their keys, numbers where numbers belong."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from collectlab.core.engine import collect, scan
from collectlab.core.errors import FrameError, NotAvailable, first_few
from collectlab.measures.worth.checks import with_days, with_numbers


def checked_rows(rows: Any, needed: Sequence[str], counted: Sequence[str]) -> pd.DataFrame:
    """Rows as :func:`~collectlab.policy.plan.rows.decision_rows` gives them, sorted; all faults at once.

    Parameters
    ----------
    rows : frame
    needed : sequence of str
        Columns that must be there.
    counted : sequence of str
        Of these, the amounts and counts: finite and, but for ``paid``, not below 0.

    Returns
    -------
    pandas.DataFrame

    Raises
    ------
    FrameError
        Columns that are not there, texts for numbers or dates, missing states or amounts, amounts below 0.
    NotAvailable
        There are no rows.

    Examples
    --------
    >>> rows = pd.DataFrame({"account_id": ["b", "a"], "on": pd.Timestamp("2026-01-31"), "paid": [1, 2]})
    >>> checked_rows(rows, ["on", "paid"], ["paid"])["account_id"].tolist()
    ['a', 'b']
    """
    table = rows if isinstance(rows, pd.DataFrame) else collect(scan(rows))
    if missing := [c for c in needed if c not in table]:
        raise FrameError(f"no column {first_few(missing)}. Needed: rows as decision_rows gives them.")
    if table.empty:
        raise NotAvailable("there is no overdue account to plan for.")
    keys = [c for c in ("account_id", "on") if c in table]
    table = table.sort_values(keys, kind="stable", ignore_index=True)
    numbers = [
        *counted,
        "days_past_due",
        "amount_past_due",
        "balance",
        "credit_score",
        "monthly_income",
        "propensity",
    ]
    table = with_days(with_numbers(table, numbers), ["on"])
    if "customer_id" in table and table["customer_id"].isna().any() and "account_id" in table:
        owner = table["customer_id"].astype(object)
        table["customer_id"] = owner.where(owner.notna(), table["account_id"].astype(object))
    faults = []
    under = table["action"].notna() if "action" in table else pd.Series(True, table.index)
    seen = (
        under & table["next_state"].notna() if "next_state" in table else under
    )  # later is known of these only
    for column in [*counted, "state"]:
        held = under if column == "state" else seen
        if column in table and (n := int((table[column].isna() & held).sum())):
            faults.append(f"{column} is missing in {n:,} of {len(table):,} rows. Allowed: a value in each.")
    for column in (c for c in counted if c in table):
        values = table[column].to_numpy()
        if n := int(np.isinf(values).sum()):
            faults.append(f"{column} is infinite in {n:,} of {len(table):,} rows. Allowed: finite numbers.")
        if column != "paid" and (n := int((values < 0).sum())):
            faults.append(f"{column} is below 0 in {n:,} of {len(table):,} rows. Allowed: numbers ≥ 0.")
    if faults:
        raise FrameError(faults)
    return table


def whole_from(value: Any, name: str, least: int, most: int) -> int:
    """A whole number from ``least`` to ``most``, or a FrameError."""
    whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    if not whole or not least <= value <= most:
        raise FrameError(f"{name} is {value!r}. Allowed: a whole number from {least} to {most:,}.")
    return int(value)


def day_or_none(value: Any, name: str) -> dt.date | None:
    """A date, text such as ``2026-10-31``, or None."""
    if value is None:
        return None
    try:
        day = pd.Timestamp(value) if isinstance(value, (str, dt.date)) else pd.NaT
    except ValueError:
        day = pd.NaT
    if pd.isna(day):
        raise FrameError(f"{name} is {value!r}. Allowed: a date, such as 2026-10-31.")
    return day.date()
