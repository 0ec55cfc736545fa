"""Tests of whether groups differ in time to an event."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from collectlab.core.columns import as_list
from collectlab.core.errors import FrameError, first_few
from collectlab.core.results import Result
from collectlab.measures.survival_cells import rename_groups, spoken, stack, whole
from collectlab.measures.survival_counting import one_event


@dataclass(frozen=True, kw_only=True, repr=False)
class LogRank(Result):
    """What :func:`log_rank` returns: observed and expected events a group, and the test."""

    statistic: float
    df: int
    p_value: float


def log_rank(
    frame: Any,
    *,
    duration: str = "exit_day",
    outcome: str = "outcome",
    event: Any = ("cured",),
    by: str | Sequence[str],
    entry: str | None = None,
) -> LogRank:
    r"""Log-rank test that the (cause-specific) hazard of ``event`` is the same in all groups.

    With :math:`d_s` events among :math:`n_s` at risk on day s, of which :math:`d_{gs}` and :math:`n_{gs}` in
    group g, :math:`E_g = \sum_s d_s n_{gs} / n_s` and the hypergeometric covariance

    .. math:: V = \sum_s d_s \frac{n_s - d_s}{n_s - 1} \left(\mathrm{diag}(p_s) - p_s p_s^\top\right),
        \quad p_{gs} = n_{gs} / n_s,

    the statistic :math:`(O - E)^\top V^- (O - E)` is compared with χ² on (groups − 1) degrees of freedom.

    Parameters
    ----------
    frame, duration, outcome, event, entry
        As in :func:`kaplan_meier`; late entry is respected. Other outcomes count as censored, so this
        compares cause-specific hazards, not cumulative incidences.
    by : str or sequence of str
        The groups: at least two.

    Returns
    -------
    LogRank
        ``statistic, df, p_value``, and ``table``: [by…], episodes, observed, expected.

    Raises
    ------
    FrameError
        As in :func:`kaplan_meier`; also if there are fewer than two groups, or no event.

    References
    ----------
    Mantel (1966); Peto and Peto (1972), JRSS A 135; as R's ``survdiff``.

    Examples
    --------
    >>> import pandas as pd
    >>> frame = pd.DataFrame({"exit_day": [1, 2, 3, 4], "outcome": "cured", "team": ["A", "A", "B", "B"]})
    >>> test = log_rank(frame, by="team")
    >>> round(test.statistic, 3), test.df, round(test.p_value, 3)
    (2.882, 1, 0.09)
    """
    cells, event = one_event(frame, duration, outcome, event, entry, by, None)
    cells = rename_groups(cells, ("episodes", "observed", "expected"))
    tracks = cells.tracks()
    if len(tracks) < 2:
        raise FrameError(f"by={first_few(as_list(by))} makes one group. Allowed: at least two to compare.")
    days = np.unique(cells.exit[cells.outcome == 0])
    if not len(days):
        raise FrameError(f"nobody is {spoken(event)}: nothing to compare. Allowed: at least one event.")
    n = np.array([track.at_risk_on(days) for track in tracks])
    d = np.zeros_like(n)
    np.add.at(
        d,
        (cells.group[cells.outcome == 0], np.searchsorted(days, cells.exit[cells.outcome == 0])),
        cells.n[cells.outcome == 0],
    )
    total, events = n.sum(axis=0), d.sum(axis=0)
    share = n / total
    observed, expected = d.sum(axis=1), (share * events).sum(axis=1)
    weight = np.where(total > 1, events * (total - events) / np.maximum(total - 1, 1), 0.0)
    variance = np.diag(share @ weight) - (share * weight) @ share.T
    used = np.flatnonzero(expected > 0)
    statistic, df = 0.0, len(used) - 1
    if df > 0 and weight.any():
        z = (observed - expected)[used][:-1]
        statistic = float(z @ np.linalg.pinv(variance[np.ix_(used, used)][:-1, :-1], hermitian=True) @ z)
    from scipy.special import chdtrc

    p_value = float(chdtrc(df, statistic)) if df > 0 else float("nan")
    parts = [
        {"episodes": whole(t.entered.sum(keepdims=True)), "observed": int(o), "expected": e}
        for t, o, e in zip(tracks, observed, expected)
    ]
    shown = "p < 0.001" if p_value < 0.001 else f"p = {p_value:.3f}"
    return LogRank(
        table=stack(cells, parts),
        estimand=f"Number {spoken(event)} to expect if all groups had the same hazard on each day (log-rank)",
        unit="number",
        title=f"Log-rank test: {spoken(event)} by {first_few(list(cells.groups.columns))}",
        notes=(f"χ² = {statistic:,.2f} on {df} degrees of freedom, {shown}.", *cells.notes),
        formats={"observed": "count", "expected": "days"},
        statistic=statistic,
        df=df,
        p_value=p_value,
    )
