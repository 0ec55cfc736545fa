"""Cure and what becomes of it: cure within a horizon, re-default after cure, and cure that lasts.

"Cured" means back to current under a named definition of :mod:`collectlab.book.episodes`. It does not mean
the "cured fraction" of mixture-cure models, who never have the event. Charge-off, settlement and sale compete
with cure: every figure here is an Aalen–Johansen estimate, none the complement of Kaplan–Meier's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from collectlab.core.engine import scan
from collectlab.measures import survival_math as math
from collectlab.measures._counting import as_list, count_cells, resolve_events
from collectlab.measures._counts import spoken
from collectlab.measures.cure_after import definitions_compared, redefault
from collectlab.measures.cure_rates import CureRates, listed, rates_within, whole_horizons
from collectlab.measures.survival_curves import whole_days

__all__ = ["CureRates", "cure_rate", "definitions_compared", "redefault"]


def cure_rate(
    frame: Any,
    *,
    horizons: Sequence[int] = (30, 60, 90),
    from_day: int = 0,
    by: str | Sequence[str] | None = None,
    duration: str = "exit_day",
    entry: str | None = "entry_day",
    outcome: str = "outcome",
    event: Any = ("cured",),
    conf_level: float = 0.95,
    cluster: str | None = None,
) -> CureRates:
    r"""P(cured within h days of ``from_day`` | still delinquent on ``from_day``), other outcomes competing.

    The Aalen–Johansen estimator started afresh on ``from_day`` d among those whose exit lies after it,

    .. math:: \hat F(h) = \sum_{d < s \le d + h} \hat S(s^-)\, c_s / n_s,

    with :math:`c_s` cures among :math:`n_s` at risk (entry < s ≤ exit) and :math:`\hat S` the Kaplan–Meier
    estimate of being still delinquent, started at 1 on d. Episodes first seen later enter late.

    Parameters
    ----------
    frame : frame
        One row per episode, such as ``book.episodes()``; or per episode and bucket reached,
        ``book.bucket_entries()``, whose days count since the bucket was reached: with ``by="bucket"`` this is
        the cure rate by bucket of days past due, given that the bucket was reached.
    horizons : sequence of int
        h, whole days ≥ 1.
    from_day : int
        d, a whole day ≥ 0. From day 0 on everybody counts, exits on day 0 included.
    by : str or sequence of str, optional
        One estimate a group.
    duration, outcome : str
        Columns of the day of exit and of how it ended.
    entry : str or None
        Column of the day observation began; ``entry_day`` may be absent: then all are seen from the start.
    event : outcome or sequence of outcomes
        What counts as cured.
    conf_level : float
        Level of the intervals.
    cluster : str, optional
        Column of the customer. Episodes of one customer are then taken as belonging together: errors come
        from the delete-a-group jackknife (50 groups). Without it: Greenwood's, as for independent episodes.

    Returns
    -------
    CureRates
        ``table``: [by…], from_day, horizon, at_risk (episodes at risk at some time within the horizon),
        events (cures within it), estimate, std_error, conf_low, conf_high (log(−log(1 − F)) scale). Missing,
        with a note, where the horizon lies beyond a group's follow-up or nobody is at risk for a while.

    Raises
    ------
    FrameError
        As :func:`collectlab.measures.survival.kaplan_meier`.

    References
    ----------
    Andersen et al. (1993), Statistical Models Based on Counting Processes, IV.4; Kott (2001), JOS 17.

    Examples
    --------
    >>> import pandas as pd
    >>> frame = pd.DataFrame({
    ...     "exit_day": [10, 40, 50, 70, 95],
    ...     "outcome": ["cured", "charged_off", "cured", "cured", "censored"],
    ... })
    >>> cure_rate(frame, horizons=(30, 60)).table[["horizon", "at_risk", "events", "estimate"]].values.tolist()
    [[30.0, 5.0, 1.0, 0.2], [60.0, 5.0, 2.0, 0.4]]
    >>> cure_rate(frame, horizons=(30,), from_day=30).table["estimate"].tolist()
    [0.25]
    """
    lazy = scan(frame)
    if entry == "entry_day" and "entry_day" not in lazy.collect_schema().names():
        entry = None
    horizons = whole_horizons(horizons)
    start = int(whole_days(from_day, "from_day")[0])
    math.normal_quantile(conf_level)
    cells = count_cells(
        lazy, duration=duration, outcome=outcome, entry=entry, by=as_list(by), cluster=cluster
    )
    event = resolve_events(cells, event, outcome)
    others = [o for o in cells.outcomes[:-1] if o not in event]
    given = f" of day {start:,} | still delinquent then" if start else " of day 0"
    against = f", {spoken(others, 'and')} competing" if others else ""
    return rates_within(
        cells.restart(start),
        event,
        horizons,
        start,
        conf_level,
        cluster,
        estimand=f"P({spoken(event)} within h days{given}){against}",
        title=f"{spoken(event).capitalize()} within {listed(horizons)} days"
        + (f" of day {start:,}" if start else ""),
    )
