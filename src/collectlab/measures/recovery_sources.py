"""Recovery by where the money came from: curves that add up to the whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from collectlab.core.errors import NotAvailable
from collectlab.core.jackknife import INTERVAL
from collectlab.core.plots import PALETTE, legend, new_axes, percent_axis, titled
from collectlab.core.tables import humanise
from collectlab.measures.groups import own_names as free_of
from collectlab.measures.recovery_curves import (
    RecoveryCurves,
    basis,
    count_payments,
    curve_rows,
    notes_of,
    own_columns,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_TAKEN = ("day", "episodes", *INTERVAL)


@dataclass(frozen=True, kw_only=True)
class RecoveryBySource(RecoveryCurves):
    """Share of the overdue amount recovered by each day from each source; one row per group × source × day.

    On every day the sources' estimates add up to that of :func:`collectlab.measures.recovery.recovery_curve`.
    """

    def plot(self, ax: Axes | None = None) -> Axes:
        """The sources on top of each other; of several groups, one line for each group and source."""
        if len(self.by) > 1:
            return super().plot(ax)
        source = self.by[-1]
        names = list(dict.fromkeys(self.table[source]))
        wide = self.table.pivot(index="day", columns=source, values="estimate")[names].dropna()
        ax = new_axes(ax)
        colours = [PALETTE[i % len(PALETTE)] for i in range(len(names))]
        ax.stackplot(wide.index, wide.T.to_numpy(), labels=names, colors=colours, alpha=0.75)
        ax.set_xlabel("Days since the first day past due")
        ax.set_ylabel("Recovered")
        ax.set_xlim(0, self.table["day"].max())
        ax.set_ylim(bottom=0)
        # the uppermost band first
        legend(ax, humanise(source), loc="upper left", bbox_to_anchor=(1.0, 1.0), reverse=True)
        return percent_axis(titled(ax, self.title))


def recovery_by_source(
    episodes: Any,
    payments: Any,
    *,
    source: str,
    by: str | Sequence[str] | None = None,
    horizon: int = 180,
    amount: str = "amount_at_entry",
    cap: bool = True,
    conf_level: float = 0.95,
    cluster: str = "customer_id",
    as_of: date | None = None,
    columns: Mapping[str, str] | None = None,
) -> RecoveryBySource:
    """Share of the overdue amount recovered by each day, by a column of the payments.

    Estimand and estimator are those of :func:`collectlab.measures.recovery.recovery_curve`, with the payments of
    one source in place of all of them: of each unit of money overdue at entry, the share paid by day t from that
    source. At any day the sources add up to the curve of all payments. The payment that reaches the amount owed
    (``cap``) counts up to it; of several sources on that day the first by name.

    Parameters
    ----------
    source : str
        Column of ``payments`` (up to 40 values): who paid, by which channel, after which kind of contact. Missing
        values are a source of their own.
    episodes, payments, by, horizon, amount, cap, conf_level, cluster, as_of, columns
        As in ``recovery_curve``.

    Returns
    -------
    RecoveryBySource
        [by…], source, day, episodes, estimate, std_error, conf_low, conf_high. A source that has paid nothing
        yet has an estimate of 0 without an interval.

    Raises
    ------
    FrameError
        As ``recovery_curve``; also where ``source`` has more than 40 values.
    NotAvailable
        As ``recovery_curve``; also where no payment falls in an episode.

    Examples
    --------
    >>> import pandas as pd
    >>> episodes = pd.DataFrame({
    ...     "account_id": ["a", "b"], "started_on": pd.to_datetime(["2026-01-01", "2026-01-01"]),
    ...     "entry_day": [0, 0], "exit_day": [60, 60], "outcome": ["censored", "censored"],
    ...     "amount_at_entry": [100.0, 300.0]})
    >>> payments = pd.DataFrame({
    ...     "account_id": ["a", "b"], "paid_on": pd.to_datetime(["2026-01-11", "2026-01-31"]),
    ...     "amount": [100.0, 60.0], "method": ["transfer", "cash"]})
    >>> recovery_by_source(episodes, payments, source="method", horizon=60).at(30)[["method", "estimate"]]
         method  estimate
    0      cash      0.15
    1  transfer      0.25
    """
    flows = count_payments(
        episodes, payments, by, horizon, amount, cap, cluster, as_of, columns, source=source
    )
    if not flows.parts:
        raise NotAvailable("no payment falls in an episode, so there is no source to tell apart.")
    name = free_of([source], {*_TAKEN, *flows.by})[0]
    tables = []
    for part in flows.parts:
        found = flows.estimate(lambda curve, part=part: curve["payments", part], conf_level, "logit")  # type: ignore[misc]
        tables.append(curve_rows(flows.groups, flows.active, found, [(name, part)]))
    table = pd.concat(tables, ignore_index=True)
    if flows.by:  # the groups together, their sources one after the other
        order = np.arange(len(table)).reshape(len(tables), len(flows.groups), -1).swapaxes(0, 1).ravel()
        table = table.iloc[order].reset_index(drop=True)
    return RecoveryBySource(
        table=table,
        estimand=f"Share of the amount overdue at entry recovered by day t from each {name}{basis(cap)}",
        title=f"Recovery by {humanise(name).lower()}",
        notes=notes_of(flows, found[0]),
        conf_level=conf_level,
        by=(*own_columns(flows.by), name),
        accounting=flows.accounting,
    )
