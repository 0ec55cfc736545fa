"""Cure and what becomes of it: cure within a horizon, re-default after cure, and cure that lasts.

"Cured" means back to current under a named definition of :mod:`collectlab.book.episodes`. It does not mean
the "cured fraction" of mixture-cure models, who never have the event; :func:`mixture_cure` calls those the
never-share. Charge-off, settlement and sale compete with cure: rates are Aalen–Johansen estimates (or, from
snapshots far apart, :func:`between_snapshots`), none the complement of Kaplan–Meier's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import narwhals as nw
import numpy as np

from collectlab.core.columns import as_list
from collectlab.core.engine import require, scan
from collectlab.measures import survival_math as math
from collectlab.measures.cure_after import redefault
from collectlab.measures.cure_between import between_snapshots
from collectlab.measures.cure_calibration import Calibration, calibration
from collectlab.measures.cure_definitions import DefinitionsCompared, definitions_compared
from collectlab.measures.cure_mixture import MixtureCure, mixture_cure
from collectlab.measures.cure_rates import CureRates, listed, rates_within, whole_horizons
from collectlab.measures.survival_cells import Cells, spoken
from collectlab.measures.survival_counting import count_cells, resolve_events
from collectlab.measures.survival_curves import whole_days

__all__ = [
    "Calibration",
    "CureRates",
    "DefinitionsCompared",
    "MixtureCure",
    "between_snapshots",
    "calibration",
    "cure_rate",
    "definitions_compared",
    "midway",
    "mixture_cure",
    "redefault",
]

#: Column that says that ends were moved by :func:`midway`.
MIDWAY = "dated_midway"


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
    names = lazy.collect_schema().names()
    if entry == "entry_day" and "entry_day" not in names:
        entry = None
    horizons = whole_horizons(horizons)
    start = int(whole_days(from_day, "from_day")[0])
    math.normal_quantile(conf_level)
    seen = "seen_day" if duration == "exit_day" and "seen_day" in names and MIDWAY not in names else None
    cells = count_cells(
        lazy, duration=duration, outcome=outcome, entry=entry, by=as_list(by), cluster=cluster, seen=seen
    )
    event = resolve_events(cells, event, outcome)
    others = [o for o in cells.outcomes[:-1] if o not in event]
    zero = "reaching the bucket" if "reached_on" in names else "day 0"
    given = f"day {start:,} | still delinquent then" if start else zero
    against = f", {spoken(others, 'and')} competing" if others else ""
    return rates_within(
        cells.restart(start).with_notes(*_dating_notes(cells, event, horizons, MIDWAY in names)),
        event,
        horizons,
        start,
        conf_level,
        cluster,
        estimand=f"P({spoken(event)} within h days of {given}){against}",
        title=f"{spoken(event).capitalize()} within {listed(horizons)} days of {f'day {start:,}' if start else zero}",
    )


def midway(episodes: Any) -> nw.LazyFrame:
    """Episodes whose ends are dated midway between the last snapshot before and the first one after.

    An end is seen only at the next snapshot; with monthly snapshots a cure on day 12 may be dated day 40, and
    no cure at all falls within 30 days. The truth lies in (seen_day, exit_day]; this moves ``exit_day`` to
    the middle of it (rounded up), as usual for interval-censored times when intervals are short against the
    horizon. Censored episodes stay as they are. Spells too short for any snapshot stay unseen, and with monthly
    snapshots many cures are such: :func:`between_snapshots` allows for both.

    Parameters
    ----------
    episodes : frame
        With whole days ``seen_day`` and ``exit_day``, and ``outcome``, such as ``book.episodes()`` or
        ``book.bucket_entries()``.

    Returns
    -------
    narwhals.LazyFrame
        The same columns with ``exit_day`` moved, and ``dated_midway`` (true), which puts a note under results.

    Examples
    --------
    >>> import pandas as pd
    >>> frame = pd.DataFrame({"seen_day": [10, 5], "exit_day": [41, 5], "outcome": ["cured", "censored"]})
    >>> sorted(midway(frame).collect("pandas").to_native()["exit_day"])
    [5, 26]
    """
    lazy = scan(episodes)
    require(lazy, "seen_day", "exit_day", "outcome")
    seen, end = nw.col("seen_day").cast(nw.Int64), nw.col("exit_day").cast(nw.Int64)
    middle = nw.when(nw.col("outcome") == "censored").then(end).otherwise(end - (end - seen) // 2)
    return lazy.with_columns(middle.alias("exit_day"), nw.lit(True).alias(MIDWAY))


def _dating_notes(cells: Cells, event: tuple, horizons: list[int], moved: bool) -> list[str]:
    """What snapshots far apart do to the dates of the ends."""
    if moved:
        return ["Ends are dated midway between the snapshots before and after them."]
    ended = np.isin(cells.outcome, [i for i, o in enumerate(cells.outcomes) if o in event])
    events = cells.n[ended].sum()
    wait = cells.wait[ended].sum() / events if events else 0.0
    if wait < 5:
        return []
    note = (
        f"An end is dated by the snapshot that first shows it, here on average {wait:,.0f} days after the last "
        "one before: true shares by a given day are higher (between_snapshots() allows for that)."
    )
    if min(horizons) <= wait * 1.1:
        note += (
            f" A horizon of {min(horizons):,} days is shorter than the gap between snapshots and says little."
        )
    return [note]
