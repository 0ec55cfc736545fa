"""Shares within horizons by Aalen–Johansen, with Greenwood's or the jackknife's errors: counts in, rates out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from collectlab.core.errors import FrameError, first_few
from collectlab.core.jackknife import INTERVAL, jackknife
from collectlab.core.results import Result
from collectlab.measures import survival_math as math
from collectlab.measures.survival_cells import Cells, Track, rename_groups, stack, whole
from collectlab.measures.survival_curves import whole_days

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLUMNS = ("from_day", "horizon", "at_risk", "events", *INTERVAL)


@dataclass(frozen=True, kw_only=True, repr=False)
class CureRates(Result):
    """Shares within horizons; ``by`` names the columns that tell the rows of one horizon apart."""

    by: tuple[str, ...] = ()
    series: str = "horizon"

    plottable = True

    def plot(self, ax: Axes | None = None, *, max_groups: int = 20) -> Axes:
        """Draw the shares with their intervals, a row a group and a colour a horizon; return the Axes."""
        from collectlab.measures.cure_plots import draw_rates

        return draw_rates(self, ax, max_groups)


def rates_within(
    cells: Cells,
    event: tuple,
    horizons: Sequence[int],
    start: int,
    conf_level: float,
    cluster: str | None,
    *,
    estimand: str,
    title: str,
    followed: int | None = None,
) -> CureRates:
    """Aalen–Johansen within each horizon of ``start`` for every group; ``followed`` overrides the last day."""
    others = tuple(o for o in cells.outcomes[:-1] if o not in event)
    cells = rename_groups(cells.merge(event, others), _COLUMNS)
    z = math.normal_quantile(conf_level)
    ends = start + np.asarray(horizons)
    parts, missing = [], []
    for g in range(len(cells.groups)):
        part = {"from_day": start, "horizon": list(horizons)}
        track = cells.track(g)
        if track is None:
            missing.append(f"{cells.name(g) or 'everybody'} (nobody was still delinquent on day {start:,})")
            parts.append(part | {"at_risk": 0, "events": 0} | dict.fromkeys(INTERVAL, np.nan))
            continue
        came = np.concatenate([[0.0], np.cumsum(track.entered)])
        had = np.concatenate([[0.0], np.cumsum(track.exits[0])])
        part["at_risk"] = whole(came[np.searchsorted(track.entry_days, ends)])
        part["events"] = whole(had[np.searchsorted(track.days, ends, side="right")])
        limit, why = _known_until(track, start, followed)
        known = ends <= limit
        if not known.all():
            missing.append(f"{cells.name(g) or 'everybody'} ({why})")
        if cluster is None:
            share, error = (_on(track.days, v, ends) for v in math.incidence(track, 0))
            low, high = math.share_interval(share, error, z, "log-log")
        else:
            counts = cells.by_replicate(g, track.days)
            share, error, low, high = jackknife(
                counts.sum(axis=0), counts, _within(track.days, ends), conf_level, "cloglog"
            )
        parts.append(
            part | dict(zip(INTERVAL, (np.where(known, v, np.nan) for v in (share, error, low, high))))
        )
    notes = list(cells.notes)
    if missing:
        notes.append(f"Missing where the data do not reach: {first_few(missing)}.")
    if cluster is not None:
        notes.append(f"Intervals allow for several episodes of one {cluster} (delete-a-group jackknife).")
    return CureRates(
        table=stack(cells, parts),
        estimand=estimand,
        title=title,
        notes=tuple(notes),
        conf_level=conf_level,
        by=tuple(cells.groups.columns),
    )


def _known_until(track: Track, start: int, followed: int | None) -> tuple[float, str]:
    """The last day on which the estimate stands on data, and what ends it."""
    if track.entry_days[0] > start:
        return -np.inf, f"first seen on day {track.entry_days[0]:,}"
    if track.gap is not None:
        return track.gap, f"nobody at risk after day {track.gap:,} for a while"
    if track.all_left:
        return np.inf, ""
    last = track.last_day if followed is None else max(followed, track.last_day)
    return last, f"followed up to day {last:,}"


def _on(days: np.ndarray, values: np.ndarray, at: np.ndarray) -> np.ndarray:
    """A step function that starts at 0."""
    return np.concatenate([[0.0], values])[np.searchsorted(days, at, side="right")]


def _within(days: np.ndarray, ends: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """The same incidence as a function of counts (entered, events, others, censored) × days."""

    def share(counts: np.ndarray) -> np.ndarray:
        exits = counts[1:].sum(axis=0)
        at_risk = np.cumsum(counts[0]) - np.cumsum(exits) + exits
        n = np.where(at_risk > 0, at_risk, 1.0)
        staying = np.cumprod(1 - (counts[1] + counts[2]) / n)
        before = np.concatenate([[1.0], staying[:-1]])
        return _on(days, np.cumsum(before * counts[1] / n), ends)

    return share


def whole_horizons(horizons: Any) -> list[int]:
    days = whole_days(horizons, "horizons")
    if not (days >= 1).all():
        raise FrameError(f"horizons is {horizons!r}. Allowed: whole days ≥ 1.")
    return [int(d) for d in dict.fromkeys(days)]


def listed(horizons: Sequence[int]) -> str:
    return "/".join(f"{h:,}" for h in horizons)
