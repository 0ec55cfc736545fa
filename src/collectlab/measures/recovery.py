"""How much of the overdue money comes back, and how soon."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

import numpy as np

from collectlab.core.errors import FrameError
from collectlab.core.jackknife import INTERVAL
from collectlab.measures.recovery_batches import Liquidation
from collectlab.measures.recovery_curves import (
    RecoveryCurves,
    RecoveryRates,
    basis,
    count_payments,
    curve_rows,
    notes_of,
    own_columns,
)
from collectlab.measures.recovery_liquidation import liquidation
from collectlab.measures.recovery_net import NetCurves, net_curve
from collectlab.measures.recovery_period import recovery_period
from collectlab.measures.recovery_placements import placements
from collectlab.measures.recovery_sources import RecoveryBySource, recovery_by_source

__all__ = [
    "Liquidation",
    "NetCurves",
    "RecoveryBySource",
    "RecoveryCurves",
    "RecoveryRates",
    "liquidation",
    "net_curve",
    "placements",
    "recovery_by_source",
    "recovery_curve",
    "recovery_period",
    "recovery_rate",
]


def recovery_curve(
    episodes: Any,
    payments: Any,
    *,
    by: str | Sequence[str] | None = None,
    horizon: int = 180,
    amount: str = "amount_at_entry",
    cap: bool = True,
    conf_level: float = 0.95,
    cluster: str = "customer_id",
    as_of: date | None = None,
    columns: Mapping[str, str] | None = None,
) -> RecoveryCurves:
    """Share of the overdue amount at entry recovered by each day since day 0.

    Estimand: of each unit of money overdue at entry, the share paid by day t. With A(s) the amount of
    the episodes delinquent and under observation on day s, P(s) what they paid that day, and S the
    amount-weighted Kaplan–Meier share not yet cured, settled or sold,

        M(t) = Σ_{s ≤ t} S(s−) · P(s) / A(s).

    Episodes followed for less than t days thus count for as long as they are followed (censored ones
    are not taken for unpaid), and episodes first seen late count from then on. If all are followed to
    the end M(t) is simply the money paid by day t over the amount owed.

    Parameters
    ----------
    episodes : frame
        One row per episode: account_id, started_on, entry_day, exit_day, outcome, the ``amount`` column and,
        where there, observed_day and the ``cluster`` column. One row per episode × bucket reached
        (``bucket_entries``) also works with ``by="bucket"``; days then count from reaching the bucket.
    payments : frame
        account_id, paid_on, amount.
    by : str or list of str, optional
        Column(s) of ``episodes`` to compare.
    horizon : int
        Last day of the curve.
    amount : str
        Column of ``episodes`` with the money owed at entry. Rows where it is missing or ≤ 0 are left out
        and counted in the notes.
    cap : bool
        Count no more for an episode than it owed at entry, so that instalments falling due later and
        early repayment do not push the share beyond what was overdue.
    conf_level : float
        Level of the interval: delete-a-group jackknife over ``cluster`` on the logit scale.
    cluster : str
        Whose episodes belong together; without that column the account is its own customer.
    as_of : date, optional
        Last day of the book; default: the latest day on which any episode's account was seen. Payments
        after a charge-off count up to it.
    columns : mapping, optional
        What your frames call the columns named here, where it differs: ``{"account_id": "Loan no."}``.

    Returns
    -------
    RecoveryCurves

    Raises
    ------
    FrameError
        A column is missing or an outcome is unknown.
    NotAvailable
        No episode has an amount owed, or none is under observation.

    References
    ----------
    Ghosh & Lin (2000), Nonparametric analysis of recurrent events and death, Biometrics 56, 554–562.

    Examples
    --------
    >>> import pandas as pd
    >>> episodes = pd.DataFrame({
    ...     "account_id": ["a", "b"], "started_on": pd.to_datetime(["2026-01-01", "2026-01-01"]),
    ...     "entry_day": [0, 0], "exit_day": [20, 60], "outcome": ["cured", "censored"],
    ...     "amount_at_entry": [100.0, 300.0]})
    >>> payments = pd.DataFrame({
    ...     "account_id": ["a", "b"], "paid_on": pd.to_datetime(["2026-01-11", "2026-01-31"]),
    ...     "amount": [120.0, 60.0]})
    >>> recovery_curve(episodes, payments, horizon=60).at([10, 30])[["day", "estimate"]]
       day  estimate
    0   10      0.25
    1   30      0.40
    """
    flows = count_payments(episodes, payments, by, horizon, amount, cap, cluster, as_of, columns)
    found = flows.estimate(lambda curve: curve["payments"], conf_level, "logit")
    return RecoveryCurves(
        table=curve_rows(flows.groups, flows.active, found),
        estimand=f"Share of the amount overdue at entry recovered by day t, weighted by amount{basis(cap)}",
        title="Recovery of the overdue amount",
        notes=notes_of(flows, found[0]),
        conf_level=conf_level,
        by=tuple(own_columns(flows.by)),
        accounting=flows.accounting,
    )


def recovery_rate(
    episodes: Any,
    payments: Any,
    *,
    horizons: Sequence[int] = (30, 60, 90),
    by: str | Sequence[str] | None = None,
    amount: str = "amount_at_entry",
    cap: bool = True,
    conf_level: float = 0.95,
    cluster: str = "customer_id",
    as_of: date | None = None,
    columns: Mapping[str, str] | None = None,
) -> RecoveryRates:
    """Share of the overdue amount at entry recovered within each horizon: :func:`recovery_curve` at a few days.

    Parameters and errors are those of :func:`recovery_curve`; ``horizons`` are whole days ≥ 1. The table
    has one row per group × horizon with ``episodes`` and ``owed`` (money overdue at entry) of the group.

    Examples
    --------
    >>> import pandas as pd
    >>> episodes = pd.DataFrame({
    ...     "account_id": ["a"], "started_on": pd.to_datetime(["2026-01-01"]), "entry_day": [0],
    ...     "exit_day": [90], "outcome": ["censored"], "amount_at_entry": [100.0]})
    >>> payments = pd.DataFrame({
    ...     "account_id": ["a"], "paid_on": pd.to_datetime(["2026-02-15"]), "amount": [25.0]})
    >>> recovery_rate(episodes, payments, horizons=(30, 60)).table[["horizon", "owed", "estimate"]]
       horizon   owed  estimate
    0       30  100.0      0.00
    1       60  100.0      0.25
    """
    days = sorted({int(h) for h in horizons})
    if not days or days[0] < 1:
        raise FrameError(f"horizons are {list(horizons)}. Allowed: at least one whole day ≥ 1.")
    flows = count_payments(episodes, payments, by, days[-1], amount, cap, cluster, as_of, columns)
    found = flows.estimate(lambda curve: curve["payments"][:, days], conf_level, "logit")
    table = flows.groups.loc[np.repeat(np.arange(len(flows.groups)), len(days))].reset_index(drop=True)
    table["horizon"] = np.tile(days, len(flows.groups))
    table["episodes"] = np.repeat(flows.episodes, len(days))
    table["owed"] = np.repeat(flows.owed, len(days))
    for name, values in zip(INTERVAL, found):
        table[name] = values.ravel()
    return RecoveryRates(
        table=table,
        estimand=f"Share of the amount overdue at entry recovered within the horizon{basis(cap)}",
        title="Recovery rate",
        notes=notes_of(flows, found[0]),
        conf_level=conf_level,
        by=tuple(flows.by),
    )
