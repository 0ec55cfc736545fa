"""Time to the end of delinquency: curves, hazards, restricted means and the tests that compare groups.

Day 0 is the first day past due. An episode is at risk on day t if entry < t ≤ exit; on a tie, events come
before censorings; curves are right-continuous step functions of whole days. Outcomes compete: 1 −
Kaplan–Meier is no cure rate while charge-off competes; :func:`cumulative_incidence` gives it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from collectlab.core.errors import FrameError
from collectlab.measures import survival_math as math
from collectlab.measures.survival_cells import Track, rename_groups, spoken, stack, whole
from collectlab.measures.survival_compare import LogRank, log_rank
from collectlab.measures.survival_counting import count, one_event
from collectlab.measures.survival_curves import INTERVAL, IncidenceCurves, Step, SurvivalCurves, gap_notes
from collectlab.measures.survival_differences import restricted_mean_difference, time_lost_difference
from collectlab.measures.survival_gray import GrayTest, gray_test
from collectlab.measures.survival_hazard import Hazards, hazard, nelson_aalen
from collectlab.measures.survival_means import restricted_mean, time_lost
from collectlab.measures.survival_robust import clustered, count_for, incidence_influence

__all__ = [
    "GrayTest",
    "Hazards",
    "IncidenceCurves",
    "LogRank",
    "SurvivalCurves",
    "count",
    "cumulative_incidence",
    "gray_test",
    "hazard",
    "kaplan_meier",
    "log_rank",
    "nelson_aalen",
    "restricted_mean",
    "restricted_mean_difference",
    "time_lost",
    "time_lost_difference",
]


def kaplan_meier(
    frame: Any,
    *,
    duration: str = "exit_day",
    outcome: str = "outcome",
    event: Any = ("cured",),
    entry: str | None = None,
    by: str | Sequence[str] | None = None,
    weight: str | None = None,
    robust: bool = False,
    cluster: str | None = None,
    conf_level: float = 0.95,
    conf_type: str = "log-log",
) -> SurvivalCurves:
    r"""Kaplan–Meier estimate of staying free of ``event``, everything else taken as censoring.

    .. math:: \hat S(t) = \prod_{s \le t} \left(1 - \frac{d_s}{n_s}\right), \qquad
        \widehat{\mathrm{var}}\,\hat S(t) = \hat S(t)^2 \sum_{s \le t} \frac{d_s}{n_s (n_s - d_s)}

    with :math:`d_s` events on day s and :math:`n_s` at risk (Greenwood's variance).

    Parameters
    ----------
    frame : frame
        One row per episode; anything Narwhals takes.
    duration : str
        Column of the day of exit: whole days ≥ 0.
    outcome : str
        Column of how it ended: names such as ``cured`` and ``censored``, or codes (0 or False: censored).
    event : outcome or sequence of outcomes
        What counts as the event.
    entry : str, optional
        Column of the day observation began (whole days): the row is at risk on entry < t ≤ exit. Without
        it everybody is at risk from the start, and events on day 0 count. Rows with entry = exit carry
        nothing; they are counted in the notes.
    by : str or sequence of str, optional
        One curve a group, up to 1,000 groups; rows without a value are a group.
    weight : str, optional
        Column of weights. Frequency weights, unless ``robust`` or ``cluster`` is given: a row of weight 2
        stands for two rows.
    robust : bool
        Standard errors by the infinitesimal jackknife (as R's ``survfit(robust = TRUE)``): the right ones for
        sampling and inverse-probability weights.
    cluster : str, optional
        Column of the customer: standard errors by the delete-a-group jackknife, which allows for several
        episodes of one customer, and for weights of any kind. Intervals then use Student's t.
    conf_level : float
        Level of the intervals.
    conf_type : {"log-log", "log", "plain"}
        Scale on which the interval is symmetric, as in R's ``survfit``: log(−log S), log S or S.

    Returns
    -------
    SurvivalCurves
        ``table``: [by…], day, at_risk, events, censored, estimate, std_error, conf_low, conf_high; one row
        per group and day on which somebody left. ``.at(days)``, ``.quantiles(p)``, ``.plot()``. As in R
        the log-log interval is missing while S = 1, and error and interval once S = 0.

    Raises
    ------
    FrameError
        All faults at once: columns that are missing; days that are negative, missing or fractional;
        entry after exit; weights not above 0; unknown outcomes; too many groups; no rows.

    References
    ----------
    Kaplan and Meier (1958), JASA 53; Greenwood (1926); Klein and Moeschberger (2003), ch. 4.

    Examples
    --------
    >>> import pandas as pd
    >>> frame = pd.DataFrame({"exit_day": [1, 2, 2, 4], "outcome": ["cured", "cured", "censored", "cured"]})
    >>> kaplan_meier(frame).table[["day", "at_risk", "events", "estimate"]].values.tolist()
    [[1.0, 4.0, 1.0, 0.75], [2.0, 3.0, 1.0, 0.5], [4.0, 1.0, 1.0, 0.0]]
    """
    z = math.normal_quantile(conf_level, conf_type)
    cells = count_for(frame, duration, outcome, entry, by, weight, robust, cluster)
    cells, event = one_event(cells, duration, outcome, event, None, None, None)
    cells = rename_groups(cells, ("day", "at_risk", "events", "censored", *INTERVAL))
    edge = np.nan if conf_type == "log-log" else 1.0
    steps, parts = [], []
    for g, track in enumerate(cells.tracks()):
        survival, log_error = math.kaplan_meier(track)
        quantile = z
        with np.errstate(divide="ignore", invalid="ignore"):
            if robust:
                log_error = incidence_influence(cells, g, track, 0).errors() / survival
            elif cluster is not None:
                error, quantile = clustered(
                    cells, g, track, lambda t: math.kaplan_meier(t)[0], survival, conf_level
                )
                log_error = error / survival
            values = dict(zip(INTERVAL, (survival, np.where(survival > 0, survival * log_error, np.nan))))
        values |= dict(zip(INTERVAL[2:], math.survival_interval(survival, log_error, quantile, conf_type)))
        steps.append(Step(g, track, values, (1.0, 0.0, edge, edge)))
        counts = {"at_risk": track.at_risk, "events": track.exits[0], "censored": track.exits[1]}
        parts.append({"day": track.days} | {k: whole(v) for k, v in counts.items()} | values)
    return SurvivalCurves(
        table=stack(cells, parts),
        estimand=f"P(not yet {spoken(event)} after day t), as if nothing else ended an episode",
        title=f"Not yet {spoken(event)} (Kaplan–Meier)",
        notes=(*cells.notes, *gap_notes(cells)),
        conf_level=conf_level,
        cells=cells,
        steps=tuple(steps),
        event=event,
        conf_type=conf_type,
        greenwood=not robust and cluster is None,
    )


def cumulative_incidence(
    frame: Any,
    *,
    duration: str = "exit_day",
    outcome: str = "outcome",
    entry: str | None = None,
    by: str | Sequence[str] | None = None,
    weight: str | None = None,
    robust: bool = False,
    cluster: str | None = None,
    conf_level: float = 0.95,
    conf_type: str = "log-log",
) -> IncidenceCurves:
    r"""Aalen–Johansen estimate of the share that has ended by day t with each of the competing outcomes.

    .. math:: \hat F_k(t) = \sum_{s \le t} \hat S(s^-) \frac{d_{ks}}{n_s}

    with :math:`\hat S` the Kaplan–Meier estimate of being still delinquent. All outcomes but ``censored``
    (0 or False, where outcomes are codes) compete. The standard error is the Greenwood-type one of
    Andersen, Borgan, Gill and Keiding (1993), eq. 4.4.19, as in R's ``etm`` and ``prodlim``:

    .. math:: \widehat{\mathrm{var}}\,\hat F_k(t) = \sum_{s \le t}
        \frac{(\hat F_k(t) - \hat F_k(s))^2 d_s}{n_s (n_s - d_s)}
        + \frac{\hat S(s^-)^2 d_{ks} (n_s - d_{ks})}{n_s^3}
        - \frac{2 (\hat F_k(t) - \hat F_k(s)) \hat S(s^-) d_{ks}}{n_s^2}

    (``cmprsk`` uses Aalen's form, which differs by about 0.1 %.)

    Parameters
    ----------
    frame, duration, outcome, entry, by, weight, robust, cluster, conf_level
        As in :func:`kaplan_meier`.
    conf_type : {"log-log", "log", "plain"}
        Scale on which the interval is symmetric: log(−log(1 − F)) (with a single outcome the same
        interval as Kaplan–Meier's), log F or F.

    Returns
    -------
    IncidenceCurves
        ``table``: [by…], outcome, day, at_risk, events, estimate, std_error, conf_low, conf_high; ``.at(days)``,
        ``.plot(outcome)``. On each day a group's estimates add up to 1 − S.

    Raises
    ------
    FrameError
        As in :func:`kaplan_meier`; also if every row is censored.

    References
    ----------
    Aalen and Johansen (1978), Scand. J. Statist. 5; Andersen et al. (1993), Statistical Models Based on
    Counting Processes; Allignol, Schumacher and Beyersmann (2010), Biometrical Journal 52.

    Examples
    --------
    >>> import pandas as pd
    >>> frame = pd.DataFrame({"exit_day": [1, 2, 3, 4], "outcome": ["cured", "sold", "censored", "cured"]})
    >>> cumulative_incidence(frame).at(3)[["outcome", "estimate"]].values.tolist()
    [['cured', 0.25], ['sold', 0.25]]
    """
    z = math.normal_quantile(conf_level, conf_type)
    cells = count_for(frame, duration, outcome, entry, by, weight, robust, cluster)
    if not (outcomes := cells.outcomes[:-1]):
        raise FrameError(f"every {outcome!r} is censored. Allowed: at least one row with another outcome.")
    cells = rename_groups(cells, ("outcome", "day", "at_risk", "events", *INTERVAL))
    edge = 0.0 if conf_type == "plain" else np.nan
    steps, parts = [], []
    for g, track in enumerate(cells.tracks()):
        at_risk = whole(track.at_risk)
        for k, name in enumerate(outcomes):
            share, error = math.incidence(track, k)
            quantile = z
            if robust:
                error = incidence_influence(cells, g, track, k).errors()
            elif cluster is not None:
                without = partial(_share, k=k)
                error, quantile = clustered(cells, g, track, without, share, conf_level)
            low, high = math.share_interval(share, error, quantile, conf_type)
            values = dict(zip(INTERVAL, (share, error, low, high)))
            steps.append(Step(g, track, values, (0.0, 0.0, edge, edge), name))
            counts = {"outcome": name, "day": track.days, "at_risk": at_risk, "events": whole(track.exits[k])}
            parts.append(counts | values)
    return IncidenceCurves(
        table=stack(cells, parts, [step.group for step in steps]),
        estimand=f"P({spoken(outcomes)} by day t)"
        + (", each competing with the others" * (len(outcomes) > 1)),
        title="How episodes ended (Aalen–Johansen)",
        notes=(*cells.notes, *gap_notes(cells)),
        conf_level=conf_level,
        cells=cells,
        steps=tuple(steps),
    )


def _share(track: Track, k: int) -> np.ndarray:
    return math.incidence(track, k)[0]
