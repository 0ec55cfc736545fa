"""How fast: the cumulative hazard of Nelson and Aalen, and the daily hazard, smoothed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from collectlab.core.errors import FrameError
from collectlab.core.jackknife import INTERVAL, interval
from collectlab.core.results import Result
from collectlab.core.tables import display_table
from collectlab.measures import survival_math as math
from collectlab.measures.survival_cells import Track, rename_groups, spoken, stack, whole
from collectlab.measures.survival_counting import count_cells, one_event
from collectlab.measures.survival_curves import gap_notes, whole_days
from collectlab.measures.survival_robust import clustered, count_for, hazard_influence

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: A hazard is shown as long as so many are at risk.
FEWEST_AT_RISK = 10
_SUMMARY_DAYS = (7, 30, 60, 90, 180, 360)


def nelson_aalen(
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
) -> Result:
    r"""Nelson–Aalen estimate of the cumulative cause-specific hazard of ``event``.

    .. math:: \hat H(t) = \sum_{s \le t} \frac{d_s}{n_s}, \qquad
        \widehat{\mathrm{var}}\,\hat H(t) = \sum_{s \le t} \frac{d_s}{n_s^2}

    (Aalen's variance, as R's ``survfit``); the interval is symmetric on the scale of log H.

    Parameters
    ----------
    frame, duration, outcome, event, entry, by, weight, robust, cluster, conf_level
        As in :func:`kaplan_meier`.

    Returns
    -------
    Result
        ``table``: [by…], day, at_risk, events, estimate, std_error, conf_low, conf_high.

    Examples
    --------
    >>> import pandas as pd
    >>> frame = pd.DataFrame({"exit_day": [1, 2, 2, 4], "outcome": ["cured", "cured", "censored", "cured"]})
    >>> [round(h, 3) for h in nelson_aalen(frame).table["estimate"]]
    [0.25, 0.583, 1.583]
    """
    z = math.normal_quantile(conf_level)
    cells = count_for(frame, duration, outcome, entry, by, weight, robust, cluster)
    cells, event = one_event(cells, duration, outcome, event, None, None, None)
    cells = rename_groups(cells, ("day", "at_risk", "events", *INTERVAL))
    parts = []
    for g, track in enumerate(cells.tracks()):
        total, error = math.cumulative_hazard(track)
        quantile = z
        if robust:
            error = hazard_influence(cells, g, track).errors()
        elif cluster is not None:
            error, quantile = clustered(
                cells, g, track, lambda t: math.cumulative_hazard(t)[0], total, conf_level
            )
        values = (total, error, *math.share_interval(total, error, quantile, "log", top=np.inf))
        counts = {"day": track.days, "at_risk": whole(track.at_risk), "events": whole(track.exits[0])}
        parts.append(counts | dict(zip(INTERVAL, values)))
    return Result(
        table=stack(cells, parts),
        estimand=f"Cumulative cause-specific hazard of {spoken(event)} by day t",
        unit="number",
        title=f"Cumulative hazard of {spoken(event)} (Nelson–Aalen)",
        notes=(*cells.notes, *gap_notes(cells)),
        conf_level=conf_level,
    )


@dataclass(frozen=True, kw_only=True, repr=False)
class Hazards(Result):
    """Daily hazards by group; see :func:`hazard`. ``stages`` are the days on which stages begin, by name."""

    by: tuple[str, ...] = ()
    stages: Mapping[str, int]
    sizes: tuple[float, ...]  #: episodes in each group

    plottable = True

    def display_table(self) -> pd.DataFrame:
        """The hazard on the first day of each stage, or on days 7, 30, 60, 90, 180 and 360."""
        days = sorted(set(self.stages.values())) or _SUMMARY_DAYS
        return display_table(
            self.table[self.table["day"].isin(days)], self.unit, self.formats, self.conf_level
        )

    def plot(self, ax: Axes | None = None, *, max_groups: int = 6) -> Axes:
        """Draw the hazards with their bands and a labelled line where each stage begins; return the Axes.

        Of more than ``max_groups`` groups the largest are drawn, and the chart says so.
        """
        from collectlab.measures.survival_plots import draw_hazards

        return draw_hazards(self, ax, max_groups)


def hazard(
    frame: Any,
    *,
    duration: str = "exit_day",
    outcome: str = "outcome",
    event: Any = ("cured",),
    entry: str | None = None,
    by: str | Sequence[str] | None = None,
    weight: str | None = None,
    bandwidth: int = 7,
    stages: Sequence[int] | Mapping[str, int] | None = None,
    conf_level: float = 0.95,
) -> Hazards:
    r"""Daily hazard of ``event``: the share of those still delinquent that has it on day t, smoothed.

    .. math:: \hat h(t) = \sum_s K_t(s) \frac{d_s}{n_s}, \qquad
        \widehat{\mathrm{var}}\,\hat h(t) = \sum_s K_t(s)^2 \frac{d_s}{n_s^2}

    with weights :math:`K_t(s) \propto (1 - x^2)(\alpha_t + \beta_t x)`, x = (s − t) / (bandwidth + 1), |x| < 1:
    Epanechnikov's kernel with a boundary correction of Müller and Wang's kind. α and β are such that, over the
    days there are, the weights add up to 1 and are centred on t; so a constant or straight hazard is found
    exactly, also near day 0 and near the end. Other outcomes count as censored (a cause-specific hazard).

    Parameters
    ----------
    frame, duration, outcome, event, entry, by, weight, conf_level
        As in :func:`kaplan_meier`.
    bandwidth : int
        Days to each side that are averaged. Default 7: a fortnight and a day, so that weekdays and paydays
        even out and stages of a week or two remain visible. 0: the raw shares of each day. Where snapshots are a
        month apart, take 30.
    stages : sequence of days, or mapping of name to day, optional
        The days on which stages of the strategy begin, marked in the chart.

    Returns
    -------
    Hazards
        ``table``: [by…], day, at_risk, events (of that day), estimate, std_error, conf_low, conf_high, for each
        day from 1 (or 0, if somebody left then) to the last on which 10 are at risk (where
        there are 10 at all). The interval is
        symmetric on the scale of log h; missing where h is 0.

    Raises
    ------
    FrameError
        As in :func:`kaplan_meier`; also if ``bandwidth`` is no whole number of days from 0 to 365, or a stage
        no whole day.

    References
    ----------
    Ramlau-Hansen (1983), Annals of Statistics 11; Müller and Wang (1994), Biometrics 50; Klein and
    Moeschberger (2003), section 6.2.

    Examples
    --------
    >>> import pandas as pd
    >>> frame = pd.DataFrame({"exit_day": [1, 2, 2, 3], "outcome": ["cured", "cured", "censored", "cured"]})
    >>> [round(h, 3) for h in hazard(frame, bandwidth=0).table["estimate"]]
    [0.25, 0.333, 1.0]
    """
    z = math.normal_quantile(conf_level)
    marks = _stage_days(stages)
    if isinstance(bandwidth, bool) or bandwidth not in range(366):
        raise FrameError(f"bandwidth is {bandwidth!r}. Allowed: whole days from 0 to 365.")
    cells = count_cells(frame, duration=duration, outcome=outcome, entry=entry, by=by, weight=weight)
    cells, event = one_event(cells, duration, outcome, event, None, None, None)
    cells = rename_groups(cells, ("day", "at_risk", "events", *INTERVAL))
    parts = []
    for track in cells.tracks():
        days, n, d = _daily(track)
        estimate, error = _smooth(n, d, int(bandwidth))
        last = int(np.flatnonzero(n >= (FEWEST_AT_RISK if n.max() >= FEWEST_AT_RISK else 1e-12))[-1]) + 1
        values = (estimate, error, *interval(estimate, error, z, "log"))
        part = {"day": days, "at_risk": whole(n), "events": whole(d)} | dict(zip(INTERVAL, values))
        parts.append({name: column[:last] for name, column in part.items()})
    return Hazards(
        table=stack(cells, parts),
        estimand=f"P({spoken(event)} on day t | still delinquent), averaged over {2 * bandwidth + 1} days around t",
        title=f"Daily hazard: {spoken(event)}",
        notes=(*cells.notes, *gap_notes(cells), *_stage_notes(marks)),
        conf_level=conf_level,
        by=tuple(cells.groups.columns),
        stages=marks,
        sizes=tuple(float(track.entered.sum()) for track in cells.tracks()),
    )


def _stage_days(stages: Any) -> dict[str, int]:
    if stages is None:
        return {}
    named = isinstance(stages, Mapping)
    days = whole_days(list(stages.values()) if named else stages, "stages").tolist()
    names = [str(name) for name in stages] if named else [f"day {day:,}" for day in days]
    return dict(sorted(zip(names, days), key=lambda stage: stage[1]))


def _stage_notes(stages: Mapping[str, int]) -> list[str]:
    return (
        [
            f"Stages begin: {', '.join(f'{n} (day {d:,})' if n != f'day {d:,}' else n for n, d in stages.items())}."
        ]
        if stages
        else []
    )


def _daily(track: Track) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Every day of the follow-up, how many were at risk on it, and how many had the event."""
    first = min(1, int(track.days[0]), int(track.last_day))
    days = np.arange(max(first, 0), track.last_day + 1)
    events = np.zeros(len(days))
    events[track.days - days[0]] = track.exits[0]
    return days, track.at_risk_on(days), events


def _smooth(n: np.ndarray, d: np.ndarray, bandwidth: int) -> tuple[np.ndarray, np.ndarray]:
    """ĥ and its standard error on consecutive days; days on which nobody is at risk count for nothing."""
    here = n > 0
    share = np.where(here, d / np.where(here, n, 1.0), 0.0)
    noise = np.where(here, d / np.where(here, n, 1.0) ** 2, 0.0)
    offsets = np.arange(-bandwidth, bandwidth + 1)
    x = offsets / (bandwidth + 1)
    kernel = 1 - x**2

    def around(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
        return np.convolve(values, weights[::-1])[bandwidth : bandwidth + len(values)]

    s0, s1, s2 = (around(here.astype(float), kernel * x**p) for p in range(3))
    spread = s0 * s2 - s1**2
    straight = spread > 1e-12 * np.maximum(s0, 1e-300) ** 2
    scale = np.where(straight, spread, np.where(s0 > 0, s0, 1.0))
    alpha, beta = np.where(straight, s2, 1.0) / scale, np.where(straight, -s1, 0.0) / scale
    estimate = alpha * around(share, kernel) + beta * around(share, kernel * x)
    squares = [around(noise, kernel**2 * x**p) for p in range(3)]
    variance = alpha**2 * squares[0] + 2 * alpha * beta * squares[1] + beta**2 * squares[2]
    known = s0 > 0
    error = np.sqrt(np.maximum(variance, 0.0))
    return np.where(known, np.maximum(estimate, 0.0), np.nan), np.where(known, error, np.nan)
