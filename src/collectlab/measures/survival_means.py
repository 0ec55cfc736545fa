"""Mean days within a horizon: free of an event, and lost to each outcome."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from collectlab.core.errors import FrameError, first_few
from collectlab.core.jackknife import INTERVAL, t_quantile
from collectlab.core.results import Result
from collectlab.measures import survival_math as math
from collectlab.measures.survival_cells import Cells, Track, rename_groups, spoken, stack, whole
from collectlab.measures.survival_counting import one_event
from collectlab.measures.survival_curves import gap_notes, whole_days
from collectlab.measures.survival_robust import count_for, incidence_influence, left_out


def restricted_mean(
    frame: Any,
    *,
    horizon: int,
    duration: str = "exit_day",
    outcome: str = "outcome",
    event: Any = ("cured",),
    entry: str | None = None,
    by: str | Sequence[str] | None = None,
    weight: str | None = None,
    robust: bool = False,
    cluster: str | None = None,
    conf_level: float = 0.95,
) -> Result:
    r"""Restricted mean time free of ``event`` within ``horizon`` days: the area under Kaplan–Meier's curve.

    .. math:: \hat\mu = \int_0^\tau \hat S(t)\,dt, \qquad \widehat{\mathrm{var}}\,\hat\mu =
        \sum_{s < \tau} \left(\int_s^\tau \hat S(t)\,dt\right)^2 \frac{d_s}{n_s (n_s - d_s)}

    Parameters
    ----------
    horizon : int
        τ, whole days ≥ 1, within the follow-up of every group.
    frame, duration, outcome, event, entry, by, weight, robust, cluster, conf_level
        As in :func:`kaplan_meier`. Give all outcomes as ``event`` for the mean days delinquent.

    Returns
    -------
    Result
        ``table``: [by…], horizon, episodes, estimate, std_error, conf_low, conf_high, in days; a plain
        normal interval.

    Raises
    ------
    FrameError
        As in :func:`kaplan_meier`; also if a group's follow-up ends before the horizon.

    References
    ----------
    Klein and Moeschberger (2003), section 4.5; as R's ``print.survfit(rmean = τ)``.

    Examples
    --------
    >>> import pandas as pd
    >>> frame = pd.DataFrame({"exit_day": [1, 2, 2, 4], "outcome": ["cured", "cured", "censored", "cured"]})
    >>> restricted_mean(frame, horizon=4).table["estimate"].tolist()
    [2.75]
    """
    z = math.normal_quantile(conf_level)
    horizon = whole_horizon(horizon)
    cells = count_for(frame, duration, outcome, entry, by, weight, robust, cluster)
    cells, event = one_event(cells, duration, outcome, event, None, None, None)
    cells = rename_groups(cells, ("horizon", "episodes", *INTERVAL))
    means = means_of(cells, horizon, (0,), False, robust, cluster)
    return Result(
        table=_mean_table(cells, means, horizon, z, conf_level),
        estimand=f"Mean days {free_of(event, horizon)}",
        unit="days",
        title=f"Days not yet {spoken(event)} within {horizon:,} days",
        notes=(*cells.notes, *gap_notes(cells)),
        conf_level=conf_level,
    )


def time_lost(
    frame: Any,
    *,
    horizon: int,
    duration: str = "exit_day",
    outcome: str = "outcome",
    entry: str | None = None,
    by: str | Sequence[str] | None = None,
    weight: str | None = None,
    robust: bool = False,
    cluster: str | None = None,
    conf_level: float = 0.95,
) -> Result:
    r"""Mean days lost to each outcome within ``horizon`` days: the area under its cumulative incidence.

    .. math:: \hat L_k = \int_0^\tau \hat F_k(t)\,dt

    Of ``horizon`` days an episode spends :math:`\hat L_k` after having ended with outcome k, on average; with
    the mean days still delinquent they add up to the horizon. The variance is the Greenwood-type one of
    :func:`cumulative_incidence`, integrated: with :math:`A_s = \int_s^\tau \hat F_k(t) - \hat F_k(s)\,dt`
    and :math:`B_s = (\tau - s) \hat S(s^-)`,

    .. math:: \widehat{\mathrm{var}}\,\hat L_k = \sum_{s < \tau} \frac{A_s^2 d_s}{n_s (n_s - d_s)}
        + \frac{B_s^2 d_{ks} (n_s - d_{ks})}{n_s^3} - \frac{2 A_s B_s d_{ks}}{n_s^2}

    Parameters
    ----------
    horizon : int
        τ, whole days ≥ 1, within the follow-up of every group.
    frame, duration, outcome, entry, by, weight, robust, cluster, conf_level
        As in :func:`cumulative_incidence`.

    Returns
    -------
    Result
        ``table``: [by…], outcome, horizon, episodes, estimate, std_error, conf_low, conf_high, in days. The
        interval is symmetric on the scale of log(−log(1 − L / τ)), since days lost to a rare outcome are skewed
        (a plain one covers 92 % where it says 95 %); missing where nothing is lost.

    Raises
    ------
    FrameError
        As in :func:`cumulative_incidence`; also if a group's follow-up ends before the horizon.

    References
    ----------
    Andersen (2013), Decomposition of number of life years lost according to causes of death, Statistics in
    Medicine 32.

    Examples
    --------
    >>> import pandas as pd
    >>> frame = pd.DataFrame({"exit_day": [1, 2, 3, 4], "outcome": ["cured", "sold", "censored", "cured"]})
    >>> time_lost(frame, horizon=4).table[["outcome", "estimate"]].values.tolist()
    [['cured', 0.75], ['sold', 0.5]]
    """
    z = math.normal_quantile(conf_level)
    horizon = whole_horizon(horizon)
    cells, outcomes = competing_counts(frame, duration, outcome, entry, by, weight, robust, cluster)
    cells = rename_groups(cells, ("outcome", "horizon", "episodes", *INTERVAL))
    means = means_of(cells, horizon, tuple(range(len(outcomes))), True, robust, cluster)
    return Result(
        table=_mean_table(cells, means, horizon, z, conf_level, outcomes),
        estimand=f"Mean days lost to each outcome ({spoken(outcomes)}) within {horizon:,} days",
        unit="days",
        title=f"Days lost to each outcome within {horizon:,} days",
        notes=(*cells.notes, *gap_notes(cells)),
        conf_level=conf_level,
    )


@dataclass(frozen=True)
class Mean:
    """One group's areas: estimates and errors an outcome, and the estimates without each replicate group."""

    estimate: np.ndarray
    error: np.ndarray
    without: dict[int, np.ndarray] | None


def means_of(
    cells: Cells, horizon: int, outcomes: tuple[int, ...], lost: bool, robust: bool, cluster: str | None
) -> list[Mean]:
    area = math.area_lost if lost else math.area
    tracks = cells.tracks()
    _within_follow_up(cells, tracks, horizon)
    means = []
    for g, track in enumerate(tracks):
        estimate, error = np.array([area(track, horizon, k) for k in outcomes]).T
        without = None
        if robust:
            # The area under S and the one under 1 − S err alike.
            influences = (incidence_influence(cells, g, track, k) for k in outcomes)
            error = np.array([influence.area_error(horizon) for influence in influences])
        elif cluster is not None:
            values, found = left_out(
                cells, g, track.days, lambda t: np.array([area(t, horizon, k)[0] for k in outcomes])
            )
            without = dict(zip(found.tolist(), values))
            error = jackknife_error(estimate, list(without.values()))
        means.append(Mean(estimate, error, without))
    return means


def jackknife_error(estimate: np.ndarray, others: list[np.ndarray]) -> np.ndarray:
    if len(others) < 2:
        return np.full(len(estimate), np.nan)
    return np.sqrt((len(others) - 1) / len(others) * ((np.array(others) - estimate) ** 2).sum(axis=0))


def _mean_table(
    cells: Cells, means: list[Mean], horizon: int, z: float, conf_level: float, outcomes: tuple = ()
) -> pd.DataFrame:
    parts = []
    for track, mean in zip(cells.tracks(), means):
        reach = z if mean.without is None else float(t_quantile(conf_level, np.array(len(mean.without) - 1)))
        if outcomes:
            # Days lost to a rare outcome are skewed: as a share of the horizon, F's own scale holds the level.
            parts_of = (mean.estimate / horizon, mean.error / horizon)
            low, high = (horizon * v for v in math.share_interval(*parts_of, reach, "log-log"))
        else:
            low = np.maximum(mean.estimate - reach * mean.error, 0.0)
            high = np.minimum(mean.estimate + reach * mean.error, float(horizon))
        part: dict[str, Any] = {"outcome": list(outcomes)} if outcomes else {}
        part |= {"horizon": horizon, "episodes": whole(track.entered.sum(keepdims=True))[0]}
        parts.append(part | dict(zip(INTERVAL, (mean.estimate, mean.error, low, high))))
    return stack(cells, parts)


def whole_horizon(horizon: int) -> int:
    day = int(whole_days(horizon, "horizon")[0])
    if day < 1:
        raise FrameError("horizon is 0. Allowed: whole days ≥ 1.")
    return day


def _within_follow_up(cells: Cells, tracks: Sequence[Track], horizon: int) -> None:
    short = [
        f"{cells.name(g) or 'everybody'} up to day {track.last_day:,}"
        for g, track in enumerate(tracks)
        if track.last_day < horizon and not track.all_left
    ]
    if short:
        raise FrameError(
            f"horizon {horizon:,} lies beyond the follow-up ({first_few(short)}). Allowed: a horizon within it."
        )


def competing_counts(frame, duration, outcome, entry, by, weight, robust, cluster) -> tuple[Cells, tuple]:
    cells = count_for(frame, duration, outcome, entry, by, weight, robust, cluster)
    if not cells.outcomes[:-1]:
        raise FrameError(f"every {outcome!r} is censored. Allowed: at least one row with another outcome.")
    return cells, cells.outcomes[:-1]


def free_of(event: tuple, horizon: int) -> str:
    return f"not yet {spoken(event)} within {horizon:,} days, as if nothing else ended an episode"
