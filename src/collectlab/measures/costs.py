"""What collection costs and brings: by strategy or channel, at present value, more than without it; and how sure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any

import narwhals as nw
import numpy as np

from collectlab.core import engine
from collectlab.core.columns import as_list, day_number, flag, own_names, row_count, whole_sum
from collectlab.core.engine import same_engine
from collectlab.core.errors import FrameError
from collectlab.core.jackknife import GROUPS, jackknife, sums_at, with_replicates
from collectlab.core.plots import PALETTE, legend, level_axis, new_axes, reach, titled, unit_axis
from collectlab.measures.costs_touch import contact_made, last_touch, with_cost, with_strategy
from collectlab.measures.flows import (
    ACTION,
    EPISODE,
    PAYMENT,
    UNIT,
    as_money,
    count_flows,
    lay_on_days,
    refuse_many,
    spells_with_windows,
)
from collectlab.measures.groups import by_keys, distinct_groups, group_codes, group_labels
from collectlab.measures.ratios import Given, Measures, measured
from collectlab.measures.recovery_net import cost_curve, net_curve
from collectlab.measures.worth.acceptability import acceptability
from collectlab.measures.worth.break_even import break_even
from collectlab.measures.worth.incremental import incremental
from collectlab.measures.worth.information import evpi, evppi
from collectlab.measures.worth.next_experiment import sample_information
from collectlab.measures.worth.present_value import present_value
from collectlab.measures.worth.prices import load_prices
from collectlab.measures.worth.prices_laid import price_actions
from collectlab.measures.worth.probabilistic import draw, probabilistic
from collectlab.measures.worth.sensitivity import sensitivity

__all__ = [
    "CostBenefit",
    "acceptability",
    "break_even",
    "cost_benefit",
    "cost_curve",
    "draw",
    "evpi",
    "evppi",
    "incremental",
    "load_prices",
    "net_curve",
    "present_value",
    "price_actions",
    "probabilistic",
    "sample_information",
    "sensitivity",
    "with_strategy",
]

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True, kw_only=True)
class CostBenefit(Measures):
    """Cost, recovery and net by group; one row per group × ``measure``.

    ``basis`` is "episode" (means per episode within the horizon) or "contact" (totals, and money that
    followed a contact).
    """

    basis: str = "episode"

    def plot(self, ax: Axes | None = None) -> Axes:
        """Recovered and cost as bars, net as a point with its interval."""
        labels = group_labels(self.wide(), self.by)
        ax = new_axes(ax, figsize=(7.2, 1.2 + 0.55 * len(labels)))
        place = np.arange(len(labels))[::-1]
        per = "_per_episode" if self.basis == "episode" else ""
        part = {
            m: self.table[self.table["measure"] == m + per].reset_index(drop=True)
            for m in ("cost", "recovered", "net")
        }
        ax.barh(place, part["recovered"]["estimate"], height=0.55, color=PALETTE[5], label="recovered")
        ax.barh(place, -part["cost"]["estimate"], height=0.55, color=PALETTE[1], label="cost")
        net = part["net"]
        ax.errorbar(
            net["estimate"],
            place,
            xerr=reach(net),
            fmt="D",
            color="black",
            markersize=4.5,
            capsize=3,
            label=f"net ({100 * self.conf_level:g} % interval)",
        )
        ax.axvline(0, color="#444444", linewidth=0.8)
        ax.set_yticks(place, labels)
        level_axis(ax)
        ax.set_xlabel("Money per episode" if self.basis == "episode" else "Money")
        unit_axis(ax, "money")
        legend(ax, outside=True)
        return titled(ax, self.title)


def cost_benefit(
    episodes: Any,
    payments: Any,
    actions: Any,
    *,
    by: str | Sequence[str] | None = "strategy",
    unit_costs: Mapping[str, float] | None = None,
    horizon: int = 90,
    window: int = 7,
    amount: str = "amount_at_entry",
    conf_level: float = 0.95,
    cluster: str = "customer_id",
    as_of: date | None = None,
    columns: Mapping[str, str] | None = None,
) -> CostBenefit:
    """Cost, recovery, net, and cost per 100 recovered, by group.

    Two bases, chosen by where ``by`` is found:

    * a column of ``episodes`` (strategy, region, …; also None): mean cost and recovery *per episode*
      within ``horizon`` days of day 0, M(horizon) of :func:`collectlab.measures.flows.mean_cumulative`
      with each episode counting once, so that short follow-up is neither left out nor taken for unpaid.
    * otherwise a column of ``actions`` (channel, team, agency): *totals*. A payment goes to the account's
      last contact on or before its day, if that was at most ``window`` days earlier (last touch); it is
      gross: what followed, not what was caused. All actions cost, only contacts are credited; a contact
      is an action that is not marked as not connected, no answer or wrong number.

    Recovered money is what is paid in an episode, up to the amount owed at entry.

    Parameters
    ----------
    episodes, payments : frame
        As in :func:`collectlab.measures.recovery.recovery_curve`.
    actions : frame
        account_id, at, and channel or cost; outcome and connected where there.
    by : str, list of str or None
        See above. All columns must be in the same one of the two frames.
    unit_costs : mapping, optional
        Channel → cost of one action, for actions whose own ``cost`` is missing.
    horizon : int
        Days since day 0 (basis "episode" only).
    window : int
        Days after a contact (basis "contact" only).
    amount, cluster, as_of, conf_level
        As in ``recovery_curve``. The interval is the delete-a-group jackknife over customers.
    columns : mapping, optional
        What your frames call the columns named here, where it differs: ``{"account_id": "Loan no."}``.

    Returns
    -------
    CostBenefit
        Rows [by…], measure: ``cost_per_episode, recovered_per_episode, net_per_episode`` or ``cost,
        recovered, net``; and ``cost_per_100_recovered`` (cost as a percentage of what came back).

    Raises
    ------
    FrameError
        A column is missing, or a channel has neither costs of its own nor a unit cost.
    NotAvailable
        There are no actions, or no episode has an amount owed.

    Examples
    --------
    >>> import pandas as pd
    >>> episodes = pd.DataFrame({
    ...     "account_id": ["a", "b"], "started_on": pd.to_datetime(["2026-01-01", "2026-01-01"]),
    ...     "entry_day": [0, 0], "exit_day": [90, 90], "outcome": ["cured", "censored"],
    ...     "amount_at_entry": [100.0, 100.0]})
    >>> payments = pd.DataFrame({
    ...     "account_id": ["a"], "paid_on": pd.to_datetime(["2026-01-20"]), "amount": [100.0]})
    >>> actions = pd.DataFrame({
    ...     "account_id": ["a", "b"], "at": pd.to_datetime(["2026-01-15 10:00", "2026-01-16 10:00"]),
    ...     "channel": ["call", "call"]})
    >>> cost_benefit(episodes, payments, actions, by=None, unit_costs={"call": 2.5}).wide().round(2).T
                               0
    episodes                 2.0
    cost_per_episode         2.5
    recovered_per_episode   50.0
    net_per_episode         47.5
    cost_per_100_recovered   5.0
    """
    names = as_list(by)
    episodes = own_names(episodes, columns, EPISODE)
    payments = own_names(payments, columns, PAYMENT)
    spent = own_names(actions, columns, ACTION)
    engine.require(spent, "account_id", "at")
    spent, notes = with_cost(spent, unit_costs)
    if names and not set(names) <= set(engine.scan(episodes).collect_schema().names()):
        have = spent.collect_schema().names()
        if not set(names) <= set(have):
            engine.require(engine.scan(episodes), *names)
        return _by_contact(
            episodes, payments, spent, names, window, amount, cluster, conf_level, as_of, notes
        )
    return _by_episode(episodes, payments, spent, names, horizon, amount, cluster, conf_level, as_of, notes)


def _by_episode(
    episodes, payments, spent, by, horizon, amount, cluster, conf_level, as_of, notes
) -> CostBenefit:
    flows = count_flows(
        episodes,
        {
            "payments": as_money(payments, "paid_on", "amount"),
            "costs": as_money(spent, "at", nw.col("__cost")),
        },
        by=by,
        horizon=horizon,
        amount=amount,
        cluster=cluster,
        weight="episode",
        cap=("payments",),
        as_of=as_of,
    )
    found = {}
    for name, (unit, of) in _MEASURES.items():

        def statistic(curve: dict[str, np.ndarray], of=of) -> np.ndarray:
            return of(curve["costs"][:, -1] / UNIT, curve["payments"][:, -1] / UNIT)

        label = name if name == "cost_per_100_recovered" else f"{name}_per_episode"
        found[label] = Given(flows.estimate(statistic, conf_level), unit)
    outside = flows.accounting["costs: in no episode"] + flows.accounting["costs: before first seen"]
    if outside:
        notes = [
            *notes,
            f"{outside:,.0f} spent outside the episodes (reminders, before first seen) is not counted.",
        ]
    if any(np.isnan(measure.values[0]).any() for measure in found.values()):
        notes = [*notes, f"Missing (–): no episode is followed for {horizon} days, or nothing was recovered."]
    return measured(
        flows.groups,
        by,
        found,
        {"episodes": flows.episodes},
        conf_level,
        kind=CostBenefit,
        estimand=f"Mean cost and recovery per episode within {horizon} days of the first day past due",
        unit="money2",
        title=f"Cost and benefit within {horizon} days",
        notes=(
            *flows.notes,
            *notes,
            "Recovered: payments in the episode, no more than was overdue at entry.",
        ),
    )


def _by_contact(
    episodes, payments, spent, by, window, amount, cluster, conf_level, as_of, notes
) -> CostBenefit:
    if int(window) != window or window < 0:
        raise FrameError(f"window is {window!r}. Allowed: whole days ≥ 0.")
    spells = spells_with_windows(episodes, by=[], amount=amount, cluster=cluster, as_of=as_of)
    spells, money, spent = same_engine(spells, as_money(payments, "paid_on", "amount"), spent)
    inner = by_keys(by, "__by")
    deeds = spent.select(
        *(nw.col(b).alias(i) for b, i in zip(by, inner)),
        __account=nw.col("account_id"),
        __at=nw.col("at"),
        __on=day_number("at"),
        __cost=nw.col("__cost"),
        __reached=flag(contact_made(spent.collect_schema().names())),
    )
    per_account = deeds.group_by("__account", *inner).agg(
        __cost=whole_sum("__cost"),
        __actions=row_count(),
        __contacts=whole_sum("__reached"),
    )
    owners = spells.select("__account", "__rep").unique(subset=["__account"], keep="any")
    # an account with actions but no episode stands for itself
    own = with_replicates(
        per_account.with_columns(__id=nw.col("__account").cast(nw.String)), "__id", name="__own"
    )
    own, owners = same_engine(own, owners)
    spent_cells = engine.collect(
        own.join(owners, on="__account", how="left")
        .with_columns(__rep=nw.coalesce("__rep", "__own"))
        .group_by(*inner, "__rep")
        .agg(*(whole_sum(c).alias(c) for c in ("__cost", "__actions", "__contacts")))
    )
    paid = lay_on_days(spells, money, by=[], capped=True).select(
        "__account", "__rep", __on=nw.col("__start") + nw.col("__day"), __counted=nw.col("__counted")
    )
    paid_cells = engine.collect(
        last_touch(deeds.filter(nw.col("__reached") == 1), paid, inner, window)
        .group_by(*inner, "__rep", "__credited")
        .agg(__counted=whole_sum("__counted"))
    )
    refuse_many(spent_cells[inner].drop_duplicates(), by)
    groups = distinct_groups(spent_cells, inner)
    credited = paid_cells[paid_cells["__credited"] == 1]
    sums = []
    for cells, column in ((spent_cells, "__cost"), (credited, "__counted")):
        where = (cells["__rep"].to_numpy(int), group_codes(cells, groups, inner))
        sums.append(sums_at(where, cells[column], (GROUPS, len(groups))))
    # the ones scale up the sums that lack a replicate group
    counts = np.stack([*sums, np.ones((GROUPS, len(groups)))], axis=-1)
    found = {}
    for name, (unit, of) in _MEASURES.items():

        def statistic(sums: np.ndarray, of=of) -> np.ndarray:
            up = GROUPS / sums[..., 2] / UNIT
            return of(sums[..., 0] * up, sums[..., 1] * up)

        found[name] = Given(jackknife(counts.sum(axis=0), counts, statistic, conf_level), unit)
    where = group_codes(spent_cells, groups, inner)
    sizes = {
        name: np.bincount(where, spent_cells[f"__{name}"].to_numpy(float), len(groups)).astype("int64")
        for name in ("actions", "contacts")
    }
    total, followed = paid_cells["__counted"].sum() / UNIT, credited["__counted"].sum() / UNIT
    return measured(
        groups,
        by,
        found,
        sizes,
        conf_level,
        kind=CostBenefit,
        estimand=f"Cost of all actions, and money recovered within {window} days after the last contact",
        unit="money",
        title=f"Cost and benefit by {' × '.join(by)}",
        notes=(
            *notes,
            "Gross: what followed a contact, not what was caused by it; a payment counts for the last contact only.",
            f"{total - followed:,.0f} of {total:,.0f} recovered followed no contact within {window} days.",
        ),
        basis="contact",
    )


def _per_100(cost: np.ndarray, recovered: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(recovered > 0, 100 * cost / recovered, np.nan)


#: Measure → (unit, function of cost and recovered).
_MEASURES = {
    "cost": ("money2", lambda cost, recovered: cost),
    "recovered": ("money2", lambda cost, recovered: recovered),
    "net": ("money2", lambda cost, recovered: recovered - cost),
    "cost_per_100_recovered": ("money2", _per_100),
}
