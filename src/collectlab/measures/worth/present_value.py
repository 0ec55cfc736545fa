"""Net present value of an account by strategy over time: the mean-cumulative curve of discounted money."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import TYPE_CHECKING, Any

import narwhals as nw
import numpy as np
import pandas as pd

from collectlab.core import engine
from collectlab.core.columns import as_list, row_count, whole_sum
from collectlab.core.engine import same_engine
from collectlab.core.errors import FrameError, NotAvailable, first_few
from collectlab.core.jackknife import GROUPS, jackknife, sums_at
from collectlab.core.plots import PALETTE, legend, new_axes, titled, unit_axis
from collectlab.core.tables import display_table, readable
from collectlab.measures.flows import (
    UNIT,
    Flows,
    at_risk,
    count_flows,
    lay_on_days,
    mean_cumulative,
    spells_with_windows,
)
from collectlab.measures.groups import group_codes, split
from collectlab.measures.recovery_curves import curve_rows, own_columns
from collectlab.measures.recovery_net import NetCurves
from collectlab.measures.snapshots import as_date
from collectlab.measures.worth.checks import check_whole
from collectlab.measures.worth.present_value_money import SIGNS, MoneyFlows, check_flows
from collectlab.measures.worth.present_value_rows import YEAR, discount
from collectlab.measures.worth.prices import check_rate

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: A value over time needs accounts that were followed for longer than this.
MONTH = 31
_WORDS = {
    "paid": "paid", "actions": "cost of actions", "commission": "agencies' commission", "legal": "court cases",
    "complaints": "complaints", "funding": "funding", "debtor": "borne by the debtor", "net": "net",
    "society": "net, society",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class PresentValue(NetCurves):
    """Present value per account by day; one row per group × ``measure`` × day.

    ``measure``: each kind of money (``paid, actions, commission, legal, complaints, funding, debtor``, as far as there),
    ``net`` (the bank's) and ``society``. ``differences`` holds the same rows against ``control``, where one was named.
    """

    per: str = "episode"
    horizon: int = 180
    rate: float = 0.0
    funding_rate: float = 0.0
    control: str = ""
    differences: pd.DataFrame = field(default_factory=pd.DataFrame)

    def display_table(self) -> pd.DataFrame:
        """Each measure at the horizon."""
        last = self.table[self.table["day"] == self.table["day"].max()]
        shown = last.assign(measure=[_WORDS[m] for m in last["measure"]])
        return display_table(shown, self.unit, self.formats, self.conf_level)

    def plot(self, measure: str = "net", ax: Axes | None = None) -> Axes:
        """The net value of each group by day, with its band."""
        known = list(dict.fromkeys(self.table["measure"]))
        if measure not in known:
            raise FrameError(f"measure is {measure!r}. Allowed: {first_few(known, 12)}.")
        ax = new_axes(ax)
        for i, (label, part) in enumerate(split(self.table[self.table["measure"] == measure], self.by[:-1])):
            colour = PALETTE[i % len(PALETTE)]
            ax.plot(
                part["day"], part["estimate"], ("-", "--", ":")[i % 3], color=colour,
                label=str(readable(label)), linewidth=1.7,
            )  # fmt: skip
            ax.fill_between(
                part["day"], part["conf_low"], part["conf_high"], color=colour, alpha=0.13, linewidth=0
            )
        ax.axhline(0, color="#444444", linewidth=0.8)
        ax.set_ylabel("Money per account")
        ax.set_xlabel("Days since the first day past due")
        ax.set_xlim(0, self.table["day"].max())
        unit_axis(ax, "money", "y")
        legend(ax)
        return titled(ax, self.title)


def present_value(
    episodes: Any,
    flows: MoneyFlows,
    *,
    rate: float,
    funding_rate: float = 0.0,
    by: str | Sequence[str] | None = "strategy",
    control: str | None = None,
    horizon: int = 180,
    through: str = "episode",
    amount: str = "amount_at_entry",
    conf_level: float = 0.95,
    cluster: str = "customer_id",
    as_of: date | None = None,
) -> PresentValue:
    """Net present value per account by each day since day 0, by strategy.

    Estimand: with v = (1 + rate)^(−1/365), the mean by day t of

        Σ_{s ≤ t} v^s · (paid − actions − commission − legal − complaints − funding)(s),

    estimated by the mean-cumulative function Σ_{s ≤ t} v^s · S(s−) · money(s) / at_risk(s)
    (:func:`collectlab.measures.flows.mean_cumulative`), so that accounts not yet followed for t days are neither left
    out nor taken for unpaid. Funding on day s is ``funding_rate`` / 365 of what was still outstanding before it.
    It is gross: what happened under a strategy, not what it caused, unless accounts were drawn by lot and ``control`` is
    named; then ``differences`` are effects of the strategy.

    Parameters
    ----------
    episodes : frame
        As in :func:`collectlab.measures.recovery.recovery_curve`.
    flows : MoneyFlows
        Of the same accounts.
    rate : float
        Discount rate, a share a year, 0 to 1.
    funding_rate : float
        What money outstanding costs, a share a year. If the discount rate already holds the cost of funds, leave this
        at 0, or the wait counts twice.
    by : str, list of str or None
        Columns of ``episodes``.
    control : str, optional
        The level of ``by`` (one column) to subtract.
    horizon : int
        Whole days.
    through : {"episode", "follow_up"}
        ``episode``: money of the episode, what is paid up to the amount owed at entry; it stops when the account is cured,
        settled or sold. ``follow_up``: all that is paid and spent from day 0 on, whatever became of the episode, which
        must be one for each account: the window then does not depend on what the strategy did.
    amount : str
        Column with what is owed at entry: the limit of what is paid in an episode, and what is outstanding.
    conf_level, cluster, as_of
        As in ``recovery_curve``. Intervals are the delete-a-group jackknife over customers.

    Returns
    -------
    PresentValue
        [by…], measure, day, episodes, estimate, std_error, conf_low, conf_high, in money per account.

    Raises
    ------
    FrameError
        A rate out of range, an unknown control, an account with several episodes (``through="follow_up"``), and what
        :func:`collectlab.measures.flows.count_flows` finds.
    NotAvailable
        No episode has an amount owed, or none was followed for more than a month.

    References
    ----------
    Ghosh & Lin (2000), Nonparametric analysis of recurrent events and death, Biometrics 56, 554–562.

    Examples
    --------
    >>> from collectlab.measures.worth.present_value_money import money_flows
    >>> from collectlab.measures.worth.prices import Prices
    >>> episodes = pd.DataFrame({
    ...     "account_id": ["a", "b"], "started_on": pd.to_datetime(["2026-01-01", "2026-01-01"]),
    ...     "entry_day": [0, 0], "exit_day": [60, 60], "outcome": ["censored", "censored"],
    ...     "amount_at_entry": [100.0, 300.0]})
    >>> paid = pd.DataFrame({
    ...     "account_id": ["a"], "paid_on": pd.to_datetime(["2026-01-11"]), "amount": [80.0]})
    >>> log = pd.DataFrame({"account_id": ["a", "b"], "at": pd.to_datetime(["2026-01-05", "2026-01-20"]),
    ...                     "channel": ["call", "call"]})
    >>> found = present_value(episodes, money_flows(paid, log, prices=Prices.of({"call": 2})), rate=0, by=None, horizon=60)
    >>> found.at([10, 60]).query("measure == 'net'")[["day", "estimate"]].values.tolist()
    [[10.0, 39.0], [60.0, 38.0]]
    """
    rate, funding_rate = check_rate(rate, "rate"), check_rate(funding_rate, "funding_rate")
    if through not in ("episode", "follow_up"):
        raise FrameError(f"through is {through!r}. Allowed: 'episode', 'follow_up'.")
    check_flows(flows)
    horizon = check_whole(horizon, "horizon")
    if as_of is not None:
        as_of = as_date(as_of)
    if by is not None and not isinstance(by, (str, Sequence)):
        raise FrameError(f"by is {by!r}. Allowed: a column, a list of columns, or None.")
    by = as_list(by)
    if control is not None and len(by) != 1:
        raise FrameError(f"control is {control!r}, but by is {by}. Allowed with a control: one column.")
    spells = engine.scan(episodes)
    whole = through == "follow_up"
    if whole:
        spells = _for_good(spells)
    kinds = [k for k in SIGNS if k in flows.flows]
    counted = count_flows(
        spells, {k: flows.flows[k] for k in kinds}, by=by, horizon=horizon, amount=amount, cluster=cluster,
        weight="episode", cap=() if whole else ("paid",), as_of=as_of,
    )  # fmt: skip
    followed = np.flatnonzero(counted.active.sum(axis=0) > 0)
    if not len(followed) or followed[-1] <= MONTH:
        raise NotAvailable(
            f"accounts were followed for {int(followed[-1]) if len(followed) else 0} days at most: what they are worth over "
            "time needs more than one month of history."
        )
    money = {k: counted.flow[k] for k in kinds}
    if funding_rate:
        left = _outstanding(spells, flows.flows["paid"], counted, amount, cluster, as_of)
        money["funding"] = funding_rate / YEAR * left
    names = [*(k for k in money if k != "debtor"), "net"]
    if "debtor" in money:
        names += ["debtor", "society"]
    worth = discount(np.arange(int(horizon) + 1), rate) / UNIT
    parts = np.stack(
        [counted.enter, counted.end, counted.final, *(m * worth for m in money.values())], axis=1
    )

    def statistic(counts: np.ndarray) -> np.ndarray:
        enter, end, final, *rest = counts
        curve = {k: mean_cumulative(enter, end, final, f) for k, f in zip(money, rest)}
        curve["net"] = curve["paid"] - sum(c for k, c in curve.items() if k not in ("paid", "debtor"))
        if "debtor" in curve:
            curve["society"] = curve["net"] - curve["debtor"]
        return np.stack([curve[n] for n in names], axis=1)  # group, measure, day

    present = np.asarray(counted.enter.any(axis=2))
    values = jackknife(parts.sum(axis=0), parts, statistic, conf_level, present=present)
    differences = pd.DataFrame()
    if control is not None:
        at = _control(counted, by[0], control)
        rest = [g for g in range(len(counted.groups)) if g != at]
        either = present | present[:, [at]]
        gap = jackknife(
            parts.sum(axis=0),
            parts,
            lambda counts: (found := statistic(counts))[rest] - found[[at]],
            conf_level,
            present=either[:, rest],
        )
        others = counted.groups.iloc[rest].reset_index(drop=True)
        differences = _rows(others, counted.active[rest], gap, names)
    table = _rows(counted.groups, counted.active, values, names)
    return PresentValue(
        table=table,
        estimand=(
            "Mean present value by day t per account, from its first day past due"
            + ("" if whole else ", of the money of its episode")
            + ("; not what the strategy caused" if control is None else "")
        ),
        unit="money2",
        title="Net present value per account" + (" by " + " × ".join(by) if by else ""),
        notes=(*counted.notes, *flows.notes, *_said(rate, funding_rate, values[0])),
        conf_level=conf_level,
        by=(*own_columns(by), "measure"),
        accounting=counted.accounting,
        horizon=int(horizon),
        rate=rate,
        funding_rate=funding_rate,
        control=control or "",
        differences=differences,
    )


def _for_good(spells: nw.LazyFrame) -> nw.LazyFrame:
    """Episodes that end only where the book does, so that all that follows counts; one for each account."""
    engine.require(spells, "account_id", "observed_day")
    again = engine.collect(
        spells.group_by("account_id").agg(n=row_count()).filter(nw.col("n") > 1).select("account_id").head(6)
    )["account_id"]
    if len(again):
        raise FrameError(
            f"through='follow_up': accounts with several episodes ({first_few(sorted(map(str, again)))}). Allowed: one for "
            "each account, or the same money would count twice."
        )
    return spells.with_columns(outcome=nw.lit("censored"), exit_day=nw.col("observed_day"))


def _outstanding(
    spells: nw.LazyFrame, paid: nw.LazyFrame, counted: Flows, amount: str, cluster: str, as_of: date | None
) -> np.ndarray:
    """Money still owed before each day by those at risk on it, in 1/UNIT: shape (replicate, group, day)."""
    by, groups, horizon = counted.by, counted.groups, counted.enter.shape[2] - 1
    windows = spells_with_windows(spells, by=by, amount=amount, cluster=cluster, as_of=as_of)
    windows, paid = same_engine(windows, paid)
    windows = engine.computed(windows)
    windows, paid = same_engine(windows, paid)
    clip = nw.lit(horizon + 1)
    end = nw.min_horizontal(nw.col("__end"), clip)
    cells = engine.collect(
        windows.filter(nw.col("__owes") & nw.col("__lasts"))
        .with_columns(__from=nw.min_horizontal(nw.col("__entry"), clip), __to=end)
        .group_by(*by, "__rep", "__from", "__to")
        .agg(__owed=whole_sum("__cap"))
    )
    daily = lay_on_days(windows, paid, by=[*by, "__end"], capped=True)
    back = engine.collect(
        daily.filter(nw.col("__day") <= horizon)
        .with_columns(__to=end)
        .group_by(*by, "__rep", "__day", "__to")
        .agg(__counted=whole_sum("__counted"))
    )

    def lay(cells: pd.DataFrame, day: str, values: pd.Series) -> np.ndarray:
        where = (cells["__rep"].to_numpy(int), group_codes(cells, groups, by), cells[day].to_numpy(int))
        return sums_at(where, values, (GROUPS, len(groups), horizon + 2))[..., : horizon + 1]

    owed = at_risk(lay(cells, "__from", cells["__owed"]), lay(cells, "__to", cells["__owed"]))
    gone = at_risk(lay(back, "__day", back["__counted"]), lay(back, "__to", back["__counted"]))
    left: np.ndarray = owed - gone
    left[..., 0] = 0.0  # a day's wait is charged from day 1 on
    return left


def _control(counted: Flows, by: str, control: str) -> int:
    levels = counted.groups[by].astype(str).tolist()
    if control not in levels:
        raise FrameError(f"control is {control!r}. Allowed: {first_few(levels, 20)}.")
    return levels.index(control)


def _rows(
    groups: pd.DataFrame, active: np.ndarray, values: Sequence[np.ndarray], names: Sequence[str]
) -> pd.DataFrame:
    tables = [
        curve_rows(groups, active, [v[:, m] for v in values], [("measure", name)])
        for m, name in enumerate(names)
    ]
    table = pd.concat(tables, ignore_index=True)
    order = np.arange(len(table)).reshape(len(tables), len(groups), -1).swapaxes(0, 1).ravel()
    return table.iloc[order].reset_index(drop=True)


def _said(rate: float, funding_rate: float, values: np.ndarray) -> list[str]:
    said = [
        f"Discounted at {100 * rate:g} % a year"
        + (f"; what is outstanding costs {100 * funding_rate:g} % a year on top." if funding_rate else ".")
    ]
    if np.isnan(values).any():
        said.append("Missing (–): nobody of the group was followed that long.")
    return said
