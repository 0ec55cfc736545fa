"""How much of the overdue money comes back, and how soon."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from collectlab.core.columns import own_names
from collectlab.core.errors import FrameError
from collectlab.core.jackknife import INTERVAL, t_quantile
from collectlab.core.plots import PALETTE, legend, lines, new_axes, percent_axis, reach, titled
from collectlab.core.results import Result
from collectlab.core.tables import display_table, humanise
from collectlab.measures.flows import EPISODE, PAYMENT, Flows, as_money, count_flows
from collectlab.measures.groups import split

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_DISPLAY_DAYS = 30


@dataclass(frozen=True, kw_only=True)
class RecoveryCurves(Result):
    """Share of the overdue amount recovered by each day; one row per group × day.

    ``table``: [by…], day, episodes (delinquent and under observation that day), estimate, std_error,
    conf_low, conf_high. ``accounting`` says where every payment went, in money.
    """

    by: tuple[str, ...] = ()
    accounting: pd.Series | None = None
    plottable = True

    def at(self, days: int | Sequence[int]) -> pd.DataFrame:
        """The rows of these days; refuses days beyond the horizon that was asked for."""
        wanted = [days] if np.isscalar(days) else list(days)
        last = int(self.table["day"].max())
        if beyond := [d for d in wanted if d not in range(last + 1)]:
            raise FrameError(f"day {beyond[0]} is outside the curve. Allowed: whole days 0 to {last}.")
        return self.table[self.table["day"].isin(wanted)].reset_index(drop=True)

    def display_table(self) -> pd.DataFrame:
        """Every 30th day (all days are in ``table``)."""
        last = self.table["day"].max()
        shown = self.table[(self.table["day"] % _DISPLAY_DAYS == 0) | (self.table["day"] == last)]
        return display_table(shown[shown["day"] > 0], self.unit, self.formats, self.conf_level)

    def plot(self, ax: Axes | None = None) -> Axes:
        """One line with its band for each group."""
        groups = split(self.table, self.by)
        ax = lines(groups, "day", unit="share", title=self.title, ylabel="Recovered", ax=ax)
        ax.set_xlabel("Days since the first day past due")
        ax.set_xlim(0, self.table["day"].max())
        if self.by:
            legend(ax, " × ".join(map(humanise, self.by)), outside=len(groups) > 4)
        return ax


@dataclass(frozen=True, kw_only=True)
class RecoveryRates(Result):
    """Share recovered within a few horizons; one row per group × horizon."""

    by: tuple[str, ...] = ()
    plottable = True

    def plot(self, ax: Axes | None = None) -> Axes:
        """A point with its interval for each group and horizon."""
        ax = new_axes(ax)
        horizons = sorted(self.table["horizon"].unique())
        groups = split(self.table, self.by)
        for j, horizon in enumerate(horizons):
            rows = pd.concat([part[part["horizon"] == horizon] for _, part in groups])
            place = np.arange(len(groups)) + (j - (len(horizons) - 1) / 2) * 0.18
            marker = "osD^v"[j % 5]
            ax.errorbar(
                place,
                rows["estimate"],
                yerr=reach(rows),
                fmt=marker,
                color=PALETTE[j % len(PALETTE)],
                capsize=2.5,
                label=f"{horizon} days",
            )
        ax.set_xticks(range(len(groups)), [label for label, _ in groups])
        ax.set_xlim(-0.5, len(groups) - 0.5)
        ax.set_ylabel("Recovered")
        ax.set_ylim(bottom=0)
        legend(ax, "Within", outside=True)
        return percent_axis(titled(ax, self.title))


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
    flows = _count(episodes, payments, by, horizon, amount, cap, cluster, as_of, columns)
    estimate, error, low, high = flows.estimate(lambda curve: curve["payments"], conf_level, "logit")
    n_groups, n_days = estimate.shape
    table = flows.groups.loc[np.repeat(np.arange(n_groups), n_days)].reset_index(drop=True)
    table["day"] = np.tile(np.arange(n_days), n_groups)
    table["episodes"] = flows.active.astype("int64").ravel()
    for name, values in zip(INTERVAL, (estimate, error, low, high)):
        table[name] = values.ravel()
    return RecoveryCurves(
        table=table,
        estimand=f"Share of the amount overdue at entry recovered by day t, weighted by amount{_basis(cap)}",
        title="Recovery of the overdue amount",
        notes=_notes(flows, estimate),
        conf_level=conf_level,
        by=tuple(flows.by),
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
    flows = _count(episodes, payments, by, days[-1], amount, cap, cluster, as_of, columns)
    found = flows.estimate(lambda curve: curve["payments"][:, days], conf_level, "logit")
    table = flows.groups.loc[np.repeat(np.arange(len(flows.groups)), len(days))].reset_index(drop=True)
    table["horizon"] = np.tile(days, len(flows.groups))
    table["episodes"] = np.repeat(flows.episodes, len(days))
    table["owed"] = np.repeat(flows.owed, len(days))
    for name, values in zip(INTERVAL, found):
        table[name] = values.ravel()
    return RecoveryRates(
        table=table,
        estimand=f"Share of the amount overdue at entry recovered within the horizon{_basis(cap)}",
        title="Recovery rate",
        notes=_notes(flows, found[0]),
        conf_level=conf_level,
        by=tuple(flows.by),
    )


def recovery_period(
    episodes: Any,
    payments: Any,
    *,
    horizon: int = 180,
    by: str | Sequence[str] | None = None,
    amount: str = "amount_at_entry",
    cap: bool = True,
    conf_level: float = 0.95,
    cluster: str = "customer_id",
    as_of: date | None = None,
    columns: Mapping[str, str] | None = None,
) -> Result:
    """Mean and median days until the money comes back, among what comes back within ``horizon`` days.

    With M the curve of :func:`recovery_curve` and F(t) = M(t) / M(horizon),

        mean = Σ_t t · (F(t) − F(t−1)),     median = first day t with F(t) ≥ ½,

    so each unit of money counts once and short follow-up is handled by the curve. The interval of the
    mean is the jackknife's; that of the median inverts the interval of F at the median (Woodruff 1952).

    Parameters and errors are those of :func:`recovery_curve`. The table has one row per group ×
    ``measure`` (mean, median), in days, with ``share`` = M(horizon). Where follow-up ends before the
    horizon or nothing was recovered the estimate is missing.

    Examples
    --------
    >>> import pandas as pd
    >>> episodes = pd.DataFrame({
    ...     "account_id": ["a"], "started_on": pd.to_datetime(["2026-01-01"]), "entry_day": [0],
    ...     "exit_day": [200], "outcome": ["censored"], "amount_at_entry": [100.0]})
    >>> payments = pd.DataFrame({
    ...     "account_id": ["a", "a"], "paid_on": pd.to_datetime(["2026-01-11", "2026-02-20"]),
    ...     "amount": [60.0, 20.0]})
    >>> recovery_period(episodes, payments).table[["measure", "share", "estimate"]]
      measure  share  estimate
    0    mean    0.8      20.0
    1  median    0.8      10.0
    """
    flows = _count(episodes, payments, by, horizon, amount, cap, cluster, as_of, columns)

    def mean_days(curve: dict[str, np.ndarray]) -> np.ndarray:
        m = curve["payments"]
        steps = np.diff(m, axis=-1, prepend=0.0)
        with np.errstate(invalid="ignore", divide="ignore"):
            return (steps * np.arange(m.shape[-1])).sum(axis=-1) / m[:, -1]

    def shape(curve: dict[str, np.ndarray]) -> np.ndarray:
        m = curve["payments"]
        with np.errstate(invalid="ignore", divide="ignore"):
            return m / m[:, -1:]

    whole = flows.estimate(lambda curve: curve["payments"][:, -1], conf_level)[0]
    mean = flows.estimate(mean_days, conf_level, "log")
    share, error, _, _ = flows.estimate(shape, conf_level)
    replicates = flows.enter.any(axis=2).sum(axis=0)
    median = [_median_days(f, e, t) for f, e, t in zip(share, error, t_quantile(conf_level, replicates - 1))]
    rows = []
    for g in range(len(flows.groups)):
        key = flows.groups.loc[g].to_dict()
        for name, values in (("mean", [m[g] for m in mean]), ("median", median[g])):
            numbers = dict(zip(INTERVAL, values))
            rows.append({**key, "measure": name, "episodes": flows.episodes[g], "share": whole[g], **numbers})
    return Result(
        table=pd.DataFrame(rows),
        estimand=f"Days from day 0 until the money is recovered, among what is recovered within {horizon} days, weighted by amount",
        unit="days",
        title="Recovery period",
        notes=(*_notes(flows, whole), f"Share: what is recovered within {horizon} days at all."),
        conf_level=conf_level,
    )


def _median_days(share: np.ndarray, error: np.ndarray, quantile: float) -> list[float]:
    """Median of the distribution F and the interval that inverts F(median) ± t · error."""
    if not np.isfinite(share[-1]):
        return [np.nan] * 4
    middle = int(np.argmax(share >= 0.5 - 1e-12))
    reach = quantile * error[middle]
    if not np.isfinite(reach):
        return [middle, np.nan, np.nan, np.nan]
    low = int(np.argmax(share >= max(0.5 - reach, 0.0) - 1e-12))
    above = share >= 0.5 + reach - 1e-12
    high = int(np.argmax(above)) if above.any() else len(share) - 1
    low, high = min(low, middle), max(high, middle)
    return [middle, (high - low) / (2 * quantile), low, high]


def _count(episodes, payments, by, horizon, amount, cap, cluster, as_of, columns) -> Flows:
    episodes = own_names(episodes, columns, EPISODE)
    payments = own_names(payments, columns, PAYMENT)
    return count_flows(
        episodes,
        {"payments": as_money(payments, "paid_on", "amount")},
        by=by,
        horizon=horizon,
        amount=amount,
        cluster=cluster,
        weight="amount",
        cap=("payments",) if cap else (),
        as_of=as_of,
    )


def _basis(cap: bool) -> str:
    return (
        ", no more than was owed counted for an episode" if cap else ", payments above what was owed included"
    )


def _notes(flows: Flows, estimate: np.ndarray) -> tuple[str, ...]:
    notes = list(flows.notes)
    money = flows.accounting
    if over := money["payments: above the amount owed"]:
        notes.append(f"{over:,.0f} paid beyond the amount owed at entry is not counted as recovered.")
    if np.isnan(estimate).any():
        notes.append("Missing (–): no episode is followed that long.")
    return tuple(notes)
