"""Placements with an agency, a team or a strategy, from a log of events."""

from __future__ import annotations

from typing import Any

import narwhals as nw

from collectlab.core import engine
from collectlab.core.columns import day_number, number_to_date
from collectlab.core.engine import same_engine


def placements(
    events: Any,
    snapshots: Any,
    accounts: Any = None,
    *,
    by: str = "agency",
    on: str = "at",
    amount: str = "amount_past_due",
) -> nw.LazyFrame:
    """Placements from a log of events: whenever ``by`` names another one than the account's event before.

    Parameters
    ----------
    events : frame
        account_id, ``on`` and ``by``, such as a book's actions (``by="agency"`` or ``"team"``) or assignments
        (``by="strategy", on="assigned_on"``). Events without a value of ``by`` are no placement and end none.
    snapshots : frame
        account_id, as_of and ``amount``: what is placed is the amount of the account's last snapshot up to the day.
    accounts : frame, optional
        account_id and customer_id, so that accounts of one customer are known to belong together.
    by, on, amount : str
        Column names.

    Returns
    -------
    narwhals.LazyFrame
        account_id, placed_on, ``by``, amount (missing where there was no snapshot yet), customer_id if known. Of
        several on a day the last stands.

    Examples
    --------
    >>> import pandas as pd
    >>> actions = pd.DataFrame({"account_id": ["a"] * 4, "agency": [None, "X", "X", "Y"],
    ...                         "at": pd.to_datetime(["2026-01-02", "2026-02-03", "2026-02-20", "2026-03-04"])})
    >>> snapshots = pd.DataFrame({"account_id": ["a", "a"], "amount_past_due": [80.0, 70.0],
    ...                           "as_of": pd.to_datetime(["2026-01-31", "2026-02-28"])})
    >>> made = placements(actions, snapshots).collect("pandas").to_native().sort_values("placed_on")
    >>> made[["agency", "amount"]].values.tolist()
    [['X', 80.0], ['Y', 70.0]]
    """
    log, seen = same_engine(engine.scan(events), engine.scan(snapshots))
    engine.require(log, "account_id", on, by)
    engine.require(seen, "account_id", "as_of", amount)
    log = log.filter(~nw.col(by).is_null()).select(
        "account_id", __by=nw.col(by), __at=nw.col(on), __on=day_number(on)
    )
    before = nw.col("__by").shift(1).over("account_id", order_by=["__at", "__by"])
    log = log.with_columns(__before=before).filter(
        nw.col("__before").is_null() | (nw.col("__before") != nw.col("__by"))
    )
    log = log.unique(subset=["account_id", "__on"], keep="last", order_by=["__at", "__by"])
    seen = seen.select("account_id", __seen=day_number("as_of"), __amount=nw.col(amount))
    known = (
        log.select("account_id", "__on")
        .join(seen, on="account_id", how="inner")
        .filter(nw.col("__seen") <= nw.col("__on"))
        .unique(subset=["account_id", "__on"], keep="last", order_by=["__seen"])
        .select("account_id", "__on", "__amount")
    )
    made = log.select("account_id", "__on", "__by").join(known, on=["account_id", "__on"], how="left")
    owner = []
    if accounts is not None:
        made, owners = same_engine(made, engine.scan(accounts))
        engine.require(owners, "account_id", "customer_id")
        made, owner = (
            made.join(owners.select("account_id", "customer_id"), on="account_id", how="left"),
            ["customer_id"],
        )
    return made.select(
        "account_id",
        number_to_date(nw.col("__on")).alias("placed_on"),
        nw.col("__by").alias(by),
        nw.col("__amount").alias("amount"),
        *owner,
    )
