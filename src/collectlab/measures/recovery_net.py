"""Recovered, spent and net by day: the same episodes, the same risk set, one interval of the difference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any

import narwhals as nw
import numpy as np
import pandas as pd

from collectlab.core.columns import own_names
from collectlab.core.errors import FrameError
from collectlab.core.plots import PALETTE, legend, lines, new_axes, titled, unit_axis
from collectlab.measures.costs_touch import with_cost
from collectlab.measures.flows import ACTION, EPISODE, PAYMENT, UNIT, Flows, as_money, count_flows
from collectlab.measures.groups import split
from collectlab.measures.recovery_curves import RecoveryCurves, curve_rows, own_columns

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PER = ("owed", "episode")
_COLOURS = {"recovered": PALETTE[0], "cost": PALETTE[1], "net": "black"}


@dataclass(frozen=True, kw_only=True)
class NetCurves(RecoveryCurves):
    """Mean cumulative recovery, cost and net; one row per group × ``measure`` × day.

    ``per`` is "owed" (shares of the amount overdue at entry) or "episode" (money per episode).
    """

    per: str = "owed"

    def plot(self, ax: Axes | None = None) -> Axes:
        """Recovered, cost and net of everybody; of several groups, the net (or the only) curve of each."""
        names = list(dict.fromkeys(self.table["measure"]))
        groups = split(self.table, self.by[:-1])
        if len(groups) > 1:
            shown = [(g, part[part["measure"] == names[-1]]) for g, part in groups]
            ax = lines(shown, "day", unit=self.unit, title=self.title, ylabel=names[-1].capitalize(), ax=ax)
            legend(ax, outside=len(shown) > 4)
        else:
            ax = new_axes(ax)
            for name in names:
                part = self.table[self.table["measure"] == name]
                ax.plot(part["day"], part["estimate"], color=_COLOURS[name], label=name, linewidth=1.7)
                ax.fill_between(
                    part["day"],
                    part["conf_low"],
                    part["conf_high"],
                    color=_COLOURS[name],
                    alpha=0.13,
                    linewidth=0,
                )
            ax.axhline(0, color="#444444", linewidth=0.8)
            unit_axis(ax, self.unit, "y")
            ax.set_ylabel("Share of the amount owed" if self.per == "owed" else "Money per episode")
            legend(ax)
            titled(ax, self.title)
        ax.set_xlabel("Days since the first day past due")
        ax.set_xlim(0, self.table["day"].max())
        return ax


def net_curve(
    episodes: Any,
    payments: Any,
    actions: Any,
    *,
    by: str | Sequence[str] | None = None,
    per: str = "owed",
    unit_costs: Mapping[str, float] | None = None,
    horizon: int = 180,
    amount: str = "amount_at_entry",
    cap: bool = True,
    conf_level: float = 0.95,
    cluster: str = "customer_id",
    as_of: date | None = None,
    columns: Mapping[str, str] | None = None,
) -> NetCurves:
    """Recovered, spent, and net by each day since day 0.

    Estimand: net(t) = recovered(t) − cost(t), both mean cumulative flows by day t of the same episodes with the
    same risk set (see :func:`collectlab.measures.recovery.recovery_curve`), so that accounts not yet watched for
    t days count in neither. The interval of the net is one jackknife of the difference: those who cost more also
    pay more, and two separate intervals would not know.

    Parameters
    ----------
    episodes, payments : frame
        As in ``recovery_curve``.
    actions : frame
        account_id, at, and channel or cost, as in :func:`collectlab.measures.costs.cost_benefit`.
    per : {"owed", "episode"}
        Shares of the amount overdue at entry (each unit of money counts once), or money per episode (each
        episode counts once).
    unit_costs : mapping, optional
        Channel → cost of one action, for actions whose own ``cost`` is missing.
    by, horizon, amount, cap, conf_level, cluster, as_of, columns
        As in ``recovery_curve``.

    Returns
    -------
    NetCurves
        [by…], measure (recovered, cost, net), day, episodes, estimate, std_error, conf_low, conf_high.

    Raises
    ------
    FrameError
        A column is missing, an outcome unknown, a channel without any cost, a cost below 0.
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
    ...     "entry_day": [0, 0], "exit_day": [60, 60], "outcome": ["censored", "censored"],
    ...     "amount_at_entry": [100.0, 300.0]})
    >>> payments = pd.DataFrame({
    ...     "account_id": ["a"], "paid_on": pd.to_datetime(["2026-01-11"]), "amount": [80.0]})
    >>> actions = pd.DataFrame({
    ...     "account_id": ["a", "b"], "at": pd.to_datetime(["2026-01-05 10:00", "2026-01-20 10:00"]),
    ...     "channel": ["call", "call"]})
    >>> found = net_curve(episodes, payments, actions, unit_costs={"call": 2.0}, horizon=60)
    >>> found.at([10, 60])[["measure", "day", "estimate"]].values.tolist()
    [['recovered', 10, 0.2], ['recovered', 60, 0.2], ['cost', 10, 0.005], ['cost', 60, 0.01], ['net', 10, 0.195], ['net', 60, 0.19]]
    """
    payments = own_names(payments, columns, PAYMENT)
    money = {"payments": as_money(payments, "paid_on", "amount")}
    flows, notes = _count(
        episodes, money, actions, by, per, unit_costs, horizon, amount, cap, cluster, as_of, columns
    )
    found = {
        "recovered": lambda curve: curve["payments"],
        "cost": lambda curve: curve["costs"],
        "net": lambda curve: curve["payments"] - curve["costs"],
    }
    return _curves(flows, found, notes, per, conf_level, "Recovered, spent and net")


def cost_curve(
    episodes: Any,
    actions: Any,
    *,
    by: str | Sequence[str] | None = None,
    per: str = "episode",
    unit_costs: Mapping[str, float] | None = None,
    horizon: int = 180,
    amount: str = "amount_at_entry",
    conf_level: float = 0.95,
    cluster: str = "customer_id",
    as_of: date | None = None,
    columns: Mapping[str, str] | None = None,
) -> NetCurves:
    """Mean cumulative cost by each day since day 0.

    Estimand: what has been spent on an episode by day t, on average (``per="episode"``), or on each unit of money
    overdue at entry (``per="owed"``); the estimator is that of
    :func:`collectlab.measures.recovery.recovery_curve`, so short follow-up is not taken for thrift.

    Parameters, errors and the rows returned (``measure`` is "cost") are those of :func:`net_curve`.

    Examples
    --------
    >>> import pandas as pd
    >>> episodes = pd.DataFrame({
    ...     "account_id": ["a", "b"], "started_on": pd.to_datetime(["2026-01-01", "2026-01-01"]),
    ...     "entry_day": [0, 0], "exit_day": [60, 10], "outcome": ["censored", "censored"],
    ...     "amount_at_entry": [100.0, 300.0]})
    >>> actions = pd.DataFrame({
    ...     "account_id": ["a", "b"], "at": pd.to_datetime(["2026-01-05 10:00", "2026-01-05 10:00"]),
    ...     "cost": [2.0, 3.0]})
    >>> cost_curve(episodes, actions, horizon=60).at([3, 4])["estimate"].tolist()
    [0.0, 2.5]
    """
    flows, notes = _count(
        episodes, {}, actions, by, per, unit_costs, horizon, amount, False, cluster, as_of, columns
    )
    return _curves(
        flows, {"cost": lambda curve: curve["costs"]}, notes, per, conf_level, "Cost of collection"
    )


def _count(
    episodes, money, actions, by, per, unit_costs, horizon, amount, cap, cluster, as_of, columns
) -> tuple[Flows, list[str]]:
    if per not in PER:
        raise FrameError(f"per is {per!r}. Allowed: {', '.join(map(repr, PER))}.")
    spent, notes = with_cost(own_names(actions, columns, ACTION), unit_costs)
    flows = count_flows(
        own_names(episodes, columns, EPISODE),
        money | {"costs": as_money(spent, "at", nw.col("__cost"))},
        by=by,
        horizon=horizon,
        amount=amount,
        cluster=cluster,
        weight="amount" if per == "owed" else "episode",
        cap=("payments",) if cap else (),
        as_of=as_of,
    )
    found = flows.accounting
    if outside := found["costs: in no episode"] + found["costs: before first seen"]:
        notes = [
            *notes,
            f"{outside:,.0f} spent outside the episodes (reminders, before first seen) is not counted.",
        ]
    if over := found.get("payments: above the amount owed", 0.0):
        notes = [*notes, f"{over:,.0f} paid beyond the amount owed at entry is not counted as recovered."]
    return flows, notes


def _curves(flows: Flows, found, notes, per: str, conf_level: float, title: str) -> NetCurves:
    unit = 1.0 if per == "owed" else 1.0 / UNIT
    tables, missing = [], False
    for name, of in found.items():
        values = flows.estimate(lambda curve, of=of: unit * of(curve), conf_level)  # type: ignore[misc]
        missing |= bool(np.isnan(values[0]).any())
        tables.append(curve_rows(flows.groups, flows.active, values, [("measure", name)]))
    table = pd.concat(tables, ignore_index=True)
    order = np.arange(len(table)).reshape(len(tables), len(flows.groups), -1).swapaxes(0, 1).ravel()
    if missing:
        notes = [*notes, "Missing (–): no episode is followed that long."]
    what = "the amount overdue at entry" if per == "owed" else "each episode"
    words = " and ".join(found) if len(found) < 3 else "recovered, cost and net"
    return NetCurves(
        table=table.iloc[order].reset_index(drop=True),
        estimand=f"Mean cumulative {words} by day t, per {what}".replace("per the", "as a share of the"),
        unit="share" if per == "owed" else "money2",
        title=title,
        notes=(*flows.notes, *notes),
        conf_level=conf_level,
        by=(*own_columns(flows.by), "measure"),
        accounting=flows.accounting,
        per=per,
    )
