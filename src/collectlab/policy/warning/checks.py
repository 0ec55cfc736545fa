"""What the warning is handed is what it takes; else an error that says what was found and what is needed."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

import numpy as np
import pandas as pd

from collectlab.core.engine import require, scan
from collectlab.core.errors import FrameError, first_few
from collectlab.measures.worth.checks import with_numbers
from collectlab.measures.worth.probabilistic import in_order
from collectlab.policy.warning.features import TARGETS


def rows_of(rows: Any, *needed: str) -> pd.DataFrame:
    """Rows of :func:`~collectlab.policy.warning.rows.warning_rows`, of any kind of frame, in memory and checked.

    Parameters
    ----------
    rows : frame
    *needed : str
        Columns that must be there.

    Returns
    -------
    pandas.DataFrame

    Raises
    ------
    FrameError
        No frame, columns that are not there, outcomes other than 1, 0 and missing.

    Examples
    --------
    >>> rows_of(pd.DataFrame({"outcome": [1, None]}), "outcome")["outcome"].tolist()
    [1.0, nan]
    """
    table = rows if isinstance(rows, pd.DataFrame) else in_order(rows)
    if missing := [c for c in needed if c not in table]:
        if len(table.columns):
            require(scan(table.head(1)), *missing)
        raise FrameError(f"rows lack {first_few(missing)}. Needed: rows as warning_rows gives them.")
    if "outcome" in needed:
        known = table["outcome"].dtype == np.float64
        table = table if known else with_numbers(table, ["outcome"])
        odd = ~table["outcome"].isin((0.0, 1.0)) & table["outcome"].notna()
        if odd.any():
            found = first_few(sorted({f"{v:g}" for v in table.loc[odd, "outcome"]}))
            raise FrameError(
                f"outcome is {found} in {int(odd.sum()):,} of {len(table):,} rows. Allowed: 1, 0, or missing."
            )
    return table


def customers_of(rows: pd.DataFrame) -> pd.Series:
    """Whose rows these are: the customer, else the account; each row without either stands alone."""
    if "customer_id" not in rows:
        return rows["account_id"] if "account_id" in rows else pd.Series(np.arange(len(rows)), rows.index)
    owner = rows["customer_id"]
    if owner.isna().any():
        other = rows["account_id"] if "account_id" in rows else pd.Series(np.arange(len(rows)), rows.index)
        owner = owner.astype(object).where(owner.notna(), other.astype(str))
    return owner


def names_of(given: Any, what: str) -> list[str]:
    """Column names: one, or several."""
    if isinstance(given, str):
        return [given]
    if not isinstance(given, Iterable) or (odd := [c for c in given if not isinstance(c, str)]):
        raise FrameError(
            f"{what} holds {first_few(odd) if isinstance(given, Iterable) else given!r}. Allowed: column names."
        )
    return list(given)


def check_target(target: Any, known: Collection[str] = tuple(TARGETS)) -> None:
    """Refuse an unknown target."""
    if target not in known:
        raise FrameError(f"target is {target!r}. Allowed: {', '.join(known)}.")


def check_kind(value: Any, kind: type, name: str, needed: str) -> None:
    """Refuse what is not of a kind, and say which function gives it."""
    if not isinstance(value, kind):
        raise FrameError(f"{name} is a {type(value).__name__}. Needed: {needed}.")
