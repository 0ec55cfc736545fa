"""How groups differ in their mean days within a horizon."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from collectlab.core.columns import as_list
from collectlab.core.errors import FrameError, first_few
from collectlab.core.jackknife import INTERVAL, t_quantile
from collectlab.core.results import Result
from collectlab.measures import survival_math as math
from collectlab.measures.survival_cells import Cells, rename_groups, spoken, stack, whole
from collectlab.measures.survival_counting import one_event, plain
from collectlab.measures.survival_curves import gap_notes
from collectlab.measures.survival_means import (
    Mean,
    competing_counts,
    free_of,
    jackknife_error,
    means_of,
    whole_horizon,
)
from collectlab.measures.survival_robust import count_for


def restricted_mean_difference(
    frame: Any,
    *,
    by: str | Sequence[str],
    horizon: int,
    reference: Any = None,
    duration: str = "exit_day",
    outcome: str = "outcome",
    event: Any = ("cured",),
    entry: str | None = None,
    weight: str | None = None,
    robust: bool = False,
    cluster: str | None = None,
    conf_level: float = 0.95,
) -> Result:
    r"""How many days more a group stays free of ``event`` than the reference group, within ``horizon`` days.

    The difference of two :func:`restricted_mean`, with variance the sum of the two (with ``cluster``: the
    jackknife of the difference, since a customer may have episodes in both groups).

    Parameters
    ----------
    by : str or sequence of str
        The groups: at least two.
    reference : value, or one value a column of ``by``
        The group the others are compared with. Default: the first.
    horizon, frame, duration, outcome, event, entry, weight, robust, cluster, conf_level
        As in :func:`restricted_mean`.

    Returns
    -------
    Result
        ``table``: [by…], reference, horizon, episodes, estimate, std_error, conf_low, conf_high, p_value
        (normal, two-sided); one row for each group but the reference. No correction for many comparisons.

    Raises
    ------
    FrameError
        As in :func:`restricted_mean`; also if there is one group, or no group ``reference``.

    References
    ----------
    Royston and Parmar (2013), BMC Medical Research Methodology 13.

    Examples
    --------
    >>> import pandas as pd
    >>> frame = pd.DataFrame({"exit_day": [1, 3, 2, 4], "outcome": "cured", "team": ["A", "A", "B", "B"]})
    >>> restricted_mean_difference(frame, by="team", horizon=4).table[["team", "reference", "estimate"]]
      team reference  estimate
    0    B         A       1.0
    """
    math.normal_quantile(conf_level)
    horizon = whole_horizon(horizon)
    cells = count_for(frame, duration, outcome, entry, by, weight, robust, cluster)
    cells, event = one_event(cells, duration, outcome, event, None, None, None)
    base = _reference(cells, by, reference)
    cells = rename_groups(cells, ("reference", "horizon", "episodes", *INTERVAL, "p_value"))
    means = means_of(cells, horizon, (0,), False, robust, cluster)
    return Result(
        table=_difference_table(cells, means, horizon, base, conf_level),
        estimand=f"Difference from the reference group in mean days {free_of(event, horizon)}",
        unit="days",
        title=f"Difference in days not yet {spoken(event)} within {horizon:,} days, from {cells.label(base)}",
        notes=(*cells.notes, *gap_notes(cells)),
        conf_level=conf_level,
    )


def time_lost_difference(
    frame: Any,
    *,
    by: str | Sequence[str],
    horizon: int,
    reference: Any = None,
    duration: str = "exit_day",
    outcome: str = "outcome",
    entry: str | None = None,
    weight: str | None = None,
    robust: bool = False,
    cluster: str | None = None,
    conf_level: float = 0.95,
) -> Result:
    r"""How many days more a group loses to each outcome than the reference group, within ``horizon`` days.

    The difference of two :func:`time_lost`: for ``cured``, days gained by earlier and more cures.

    Parameters
    ----------
    by, reference, horizon, frame, duration, outcome, entry, weight, robust, cluster, conf_level
        As in :func:`restricted_mean_difference`.

    Returns
    -------
    Result
        ``table``: [by…], outcome, reference, horizon, episodes, estimate, std_error, conf_low, conf_high,
        p_value.

    Examples
    --------
    >>> import pandas as pd
    >>> frame = pd.DataFrame({"exit_day": [1, 3, 2, 4], "team": ["A", "A", "B", "B"],
    ...                       "outcome": ["cured", "sold", "cured", "sold"]})
    >>> time_lost_difference(frame, by="team", horizon=4).table[["team", "outcome", "estimate"]]
      team outcome  estimate
    0    B   cured      -0.5
    1    B    sold      -0.5
    """
    math.normal_quantile(conf_level)
    horizon = whole_horizon(horizon)
    cells, outcomes = competing_counts(frame, duration, outcome, entry, by, weight, robust, cluster)
    base = _reference(cells, by, reference)
    cells = rename_groups(cells, ("outcome", "reference", "horizon", "episodes", *INTERVAL, "p_value"))
    means = means_of(cells, horizon, tuple(range(len(outcomes))), True, robust, cluster)
    return Result(
        table=_difference_table(cells, means, horizon, base, conf_level, outcomes),
        estimand=f"Difference from the reference group in mean days lost to each outcome within {horizon:,} days",
        unit="days",
        title=f"Difference in days lost to each outcome within {horizon:,} days, from {cells.label(base)}",
        notes=(*cells.notes, *gap_notes(cells)),
        conf_level=conf_level,
    )


def _difference_table(
    cells: Cells, means: list[Mean], horizon: int, base: int, conf_level: float, outcomes: tuple = ()
) -> pd.DataFrame:
    from scipy.special import ndtr, stdtr

    tracks, parts, groups = cells.tracks(), [], []
    z = math.normal_quantile(conf_level)
    for g, (track, mean) in enumerate(zip(tracks, means)):
        if g == base:
            continue
        against = means[base]
        estimate, error, quantile = mean.estimate - against.estimate, np.hypot(mean.error, against.error), z
        if mean.without is not None:
            both = sorted({*mean.without, *against.without})
            others = [
                mean.without.get(r, mean.estimate) - against.without.get(r, against.estimate) for r in both
            ]
            error = jackknife_error(estimate, others)
            quantile = float(t_quantile(conf_level, np.array(len(both) - 1)))
        with np.errstate(divide="ignore", invalid="ignore"):
            far = -np.abs(estimate / error)
            p_value = 2 * (ndtr(far) if mean.without is None else stdtr(len(both) - 1, far))
        part: dict[str, Any] = {"outcome": list(outcomes)} if outcomes else {}
        part |= {"reference": cells.label(base), "horizon": horizon}
        part |= {"episodes": whole(track.entered.sum(keepdims=True))[0]}
        interval = (estimate, error, estimate - quantile * error, estimate + quantile * error)
        parts.append(part | dict(zip(INTERVAL, interval)) | {"p_value": p_value})
        groups.append(g)
    return stack(cells, parts, groups)


def _reference(cells: Cells, by: Any, reference: Any) -> int:
    """The number of the reference group."""
    size = len(cells.groups)
    if size < 2:
        raise FrameError(f"by={first_few(as_list(by))} makes one group. Allowed: at least two to compare.")
    if reference is None:
        return 0
    several = len(cells.groups.columns) > 1
    wanted = tuple(reference) if several and np.iterable(reference) else (reference,)
    for g, row in enumerate(cells.groups.itertuples(index=False)):
        if tuple(plain(v) for v in row) == wanted:
            return g
    names = [cells.label(g) for g in range(size)]
    raise FrameError(f"reference {reference!r} is no group. Allowed: {first_few(names, 20)}.")
