"""Standard errors that take nothing for granted but that episodes, or customers, are independent.

``robust``: the infinitesimal jackknife. What one episode more or less changes in an estimate is its influence;
the variance is the sum of the squares of weight × influence. It is right for sampling and inverse-probability
weights, where counting a row of weight 2 as two rows would not be. Source: Therneau and Grambsch (2000),
Modeling Survival Data, ch. 2 and 7; as R's ``survfit(robust = TRUE)``.

``cluster``: the delete-a-group jackknife over customers (:mod:`collectlab.core.jackknife`).

Why sums suffice. With H the sum of d / (n (n − d)), the influence of an episode on F_k(t) is, while it is under
observation, α(t) − u F_k(t) + v, and after it has left, r + c F_k(t): α depends on the day alone, and u, v, r, c
on the episode's own entry, exit and outcome. Sums of w² times products of these, accumulated over days, give
the variance on every day at once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from collectlab.core.errors import FrameError
from collectlab.core.jackknife import t_quantile
from collectlab.measures.survival_cells import Cells, Track
from collectlab.measures.survival_counting import count_cells


def count_for(
    frame: Any,
    duration: str,
    outcome: str,
    entry: str | None,
    by: Any,
    weight: str | None,
    robust: bool,
    cluster: str | None,
) -> Cells:
    """The counts with what these standard errors need, and a note that says which they are."""
    if robust and cluster is not None:
        raise FrameError(
            f"both robust and cluster={cluster!r} are given. Allowed: one of them; cluster is right for weights too."
        )
    cells = count_cells(
        frame,
        duration=duration,
        outcome=outcome,
        entry=entry,
        by=by,
        weight=weight,
        cluster=cluster,
        squares=robust,
    )
    if robust:
        return cells.with_notes("Robust standard errors (infinitesimal jackknife).")
    if cluster is not None:
        return cells.with_notes(
            f"Intervals allow for several episodes of one {cluster} (delete-a-group jackknife)."
        )
    return cells


@dataclass(frozen=True)
class Influence:
    """The influence of each joint cell of one group on a curve; see the top of this file for the letters."""

    days: np.ndarray
    squares: np.ndarray  #: sums of w² in the cells
    entry: np.ndarray
    exit: np.ndarray
    alpha: np.ndarray  #: on each day
    curve: np.ndarray  #: F on each day (0 for a cumulative hazard)
    u: np.ndarray
    v: np.ndarray
    r: np.ndarray
    c: np.ndarray

    def errors(self) -> np.ndarray:
        """The standard error on each day."""
        came = np.searchsorted(self.days, self.entry, side="right")
        left = np.searchsorted(self.days, self.exit)
        q, u, v, r, c = self.squares, self.u, self.v, self.r, self.c
        size = len(self.days)

        def inside(moment: np.ndarray) -> np.ndarray:
            moves = np.bincount(came, moment, size) - np.bincount(left, moment, size)
            return np.cumsum(moves)

        def gone(moment: np.ndarray) -> np.ndarray:
            return np.cumsum(np.bincount(left, moment, size))

        alpha, curve = self.alpha, self.curve
        watched = alpha**2 * inside(q)
        if u.any() or v.any():
            watched = watched + curve**2 * inside(q * u**2) + inside(q * v**2)
            watched += 2 * (alpha * inside(q * v) - alpha * curve * inside(q * u) - curve * inside(q * u * v))
        after = gone(q * r**2) + 2 * curve * gone(q * r * c) + curve**2 * gone(q * c**2)
        return np.sqrt(np.maximum(watched + after, 0.0))

    def area_error(self, horizon: float) -> float:
        """The standard error of the area under the curve from 0 to the horizon."""
        end = np.minimum(self.exit, horizon)
        start = np.clip(self.entry, 0, horizon)
        alpha, curve = (_areas(self.days, values, horizon) for values in (self.alpha, self.curve))
        watched = alpha(end) - alpha(start) - self.u * (curve(end) - curve(start)) + self.v * (end - start)
        after = self.r * (horizon - end) + self.c * (curve(np.full(len(end), horizon)) - curve(end))
        return float(np.sqrt((self.squares * (watched + after) ** 2).sum()))


def _areas(days: np.ndarray, values: np.ndarray, horizon: float) -> Callable[[np.ndarray], np.ndarray]:
    """The area under a step function from 0 up to any day."""
    knots = np.concatenate([[0.0], days, [max(horizon, days[-1]) + 1.0]])
    total = np.concatenate([[0.0], np.cumsum(np.diff(knots) * np.concatenate([[0.0], values]))])
    return lambda at: np.interp(at, knots, total)


def incidence_influence(cells: Cells, group: int, track: Track, k: int) -> Influence:
    """Of the cumulative incidence of outcome ``k``; with a single outcome, of 1 − Kaplan–Meier."""
    joint, days = cells.joint, track.days
    here = joint.group == group
    squares, entry, left, code = (
        getattr(joint, name)[here] for name in ("squares", "entry", "exit", "outcome")
    )
    n, d, dk = track.at_risk, track.exits[:-1].sum(axis=0), track.exits[k]
    before = np.concatenate([[1.0], np.cumprod(1 - d / n)[:-1]])
    rises = before * dk / n
    curve = np.cumsum(rises)
    with np.errstate(divide="ignore"):
        # Where all leave at once nothing rises any more, so that what happens to S does not matter.
        hazard = np.cumsum(np.where(n > d, d / (n * (n - d)), 0.0))
        own = np.where(n > d, 1 / (n - d), 0.0)
    alpha = np.cumsum(np.concatenate([[0.0], hazard[:-1]]) * rises) - np.cumsum(rises / n)

    came, x = np.searchsorted(days, entry, side="right"), np.searchsorted(days, left)
    u, on_entry, started = (np.concatenate([[0.0], values])[came] for values in (hazard, curve, alpha))
    v = u * on_entry - started
    c = hazard[x] - u - own[x] * (code < len(track.exits) - 1)
    r = alpha[x] - u * curve[x] + v + (code == k) * before[x] / n[x] - c * curve[x]
    return Influence(days, squares, entry, left, alpha, curve, u, v, r, c)


def hazard_influence(cells: Cells, group: int, track: Track) -> Influence:
    """Of the cumulative hazard of the first outcome."""
    joint, days = cells.joint, track.days
    here = joint.group == group
    squares, entry, left, code = (
        getattr(joint, name)[here] for name in ("squares", "entry", "exit", "outcome")
    )
    n, d = track.at_risk, track.exits[0]
    alpha = -np.cumsum(d / n**2)
    came, x = np.searchsorted(days, entry, side="right"), np.searchsorted(days, left)
    v = -np.concatenate([[0.0], alpha])[came]
    none = np.zeros(len(v))
    return Influence(
        days, squares, entry, left, alpha, 0 * alpha, none, v, alpha[x] + v + (code == 0) / n[x], none
    )


def left_out(
    cells: Cells, group: int, days: np.ndarray, statistic: Callable[[Track], np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """The statistic of one group without each replicate group in turn, (R, …), and the numbers of these."""
    counts = cells.by_replicate(group, days)
    total = counts.sum(axis=0)
    found = np.unique(cells.replicate[cells.group == group])
    # Who entered before the first exit day after entry is at risk on it: the day before it will do.
    return np.array([statistic(Track(days, rest[1:], days - 1, rest[0])) for rest in total - counts]), found


def clustered(
    cells: Cells,
    group: int,
    track: Track,
    statistic: Callable[[Track], np.ndarray],
    estimate: np.ndarray,
    conf_level: float,
) -> tuple[np.ndarray, float]:
    """The delete-a-group jackknife's standard error and Student's quantile, as ``core.jackknife`` has them."""
    others, found = left_out(cells, group, track.days, statistic)
    if len(found) < 2:
        return np.full(np.shape(estimate), np.nan), float("nan")
    error = np.sqrt((len(found) - 1) / len(found) * ((others - estimate) ** 2).sum(axis=0))
    return error, float(t_quantile(conf_level, np.array(len(found) - 1)))
