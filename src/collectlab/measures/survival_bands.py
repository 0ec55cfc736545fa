"""Simultaneous bands: limits within which the whole curve lies, not each day for itself.

Kaplan–Meier's log S is, in large samples, Brownian motion run by the clock σ²(t) = Σ d / (n (n − d)). The critical
values are those of its suprema, computed here rather than read from tables.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np

from collectlab.core.errors import FrameError
from collectlab.measures.survival_cells import Track

KINDS = ("equal-precision", "hall-wellner")
#: Terms of the series; what they leave out is below 1e-6 unless the stretch of days is next to nothing (1e-3).
_TERMS = 30


def limits_between(
    track: Track,
    log_error: np.ndarray,
    survival: np.ndarray,
    kind: str,
    conf_level: float,
    first: int,
    last: int,
) -> tuple[np.ndarray, np.ndarray, float]:
    """Which exit days the band covers, the band's half-width in log S over its critical value, and that value.

    Days before the first event and after S has reached 0 are outside every band.
    """
    # The value in force on the first day may have been reached before it.
    start = max(int(np.searchsorted(track.days, first, side="right")) - 1, 0)
    inside = (np.arange(len(track.days)) >= start) & (track.days <= last) & (survival > 0) & (log_error > 0)
    if not inside.any():
        return inside, log_error, float("nan")
    clock = log_error**2
    low, high = clock[inside][[0, -1]]
    if kind == "equal-precision":
        return inside, log_error, equal_precision(high / low, conf_level)
    size = track.entered.sum()
    critical = hall_wellner(size * low / (1 + size * low), size * high / (1 + size * high), conf_level)
    return inside, (1 + size * clock) / np.sqrt(size), critical


@functools.lru_cache(maxsize=1024)
def equal_precision(ratio: float, conf_level: float = 0.95) -> float:
    """c with P(|B(v)| ≤ c √v for all v from 1 to ``ratio``) = ``conf_level``, B being Brownian motion.

    B(v) / √v on the scale of ½ log v is the stationary Ornstein–Uhlenbeck process; the chance that it stays
    within ±c is found from the eigenvalues of its generator on that interval. In Nair's (1984) terms the ratio
    is a_U (1 − a_L) / (a_L (1 − a_U)).

    >>> round(equal_precision(1.0), 3), round(equal_precision(81.0), 3)
    (1.96, 3.052)
    """
    return _solve(lambda c: stays_equal_precision(c, ratio), conf_level)


def stays_equal_precision(c: float, ratio: float) -> float:
    """The chance that |B(v)| ≤ c √v for all v from 1 to ``ratio``."""
    from scipy.special import ndtr

    span = 0.5 * np.log(ratio)
    if span < 1e-9:
        return float(2 * ndtr(c) - 1)
    # −f″ + (x²/4 − ½) f on [−c, c], f = 0 at its ends, in the even functions cos((k + ½) π x / c).
    k = np.arange(_TERMS) + 0.5
    minus, plus = k[:, None] - k, k[:, None] + k
    with np.errstate(divide="ignore", invalid="ignore"):
        squares = np.where(minus == 0, 1 / 3, 2 * np.cos(np.pi * minus) / (np.pi * minus) ** 2)
    squares = squares + 2 * np.cos(np.pi * plus) / (np.pi * plus) ** 2
    operator = np.diag((k * np.pi / c) ** 2 - 0.5) + c**2 / 4 * squares
    values, vectors = np.linalg.eigh(operator)
    nodes, weights, waves, _ = _grid()
    start = waves @ (weights * np.exp(-((c * nodes) ** 2) / 4)) * np.sqrt(c) / (2 * np.pi) ** 0.25
    parts = (vectors.T @ start) ** 2
    beyond = 2 * ndtr(c) - 1 - parts.sum()  # what the terms left out hold at the start; it fades fastest
    return float((parts * np.exp(-values * span)).sum() + beyond * np.exp(-values[-1] * span))


@functools.lru_cache(maxsize=1024)
def hall_wellner(low: float, high: float, conf_level: float = 0.95) -> float:
    """k with P(|W(a)| ≤ k for all a from ``low`` to ``high``) = ``conf_level``, W being the Brownian bridge.

    >>> round(hall_wellner(0.0, 1 - 1e-9), 3), round(hall_wellner(0.0, 0.5), 3)
    (1.358, 1.273)
    """
    return _solve(lambda k: stays_hall_wellner(k, low, high), conf_level)


def stays_hall_wellner(k: float, low: float, high: float) -> float:
    """The chance that |W(a)| ≤ k for all a from ``low`` to ``high``; 0 ≤ low ≤ high < 1.

    Brownian motion in [−k, k], killed at the ends, expanded in sines: it starts where W(low) is, lives for
    high − low, and is then tied to 0 at 1.
    """
    m = np.arange(1, 2 * _TERMS, 2)  # the even functions; odd ones drop out
    nodes, weights, _, waves = _grid()

    def against_normal(variance: float) -> np.ndarray:
        """∫ of the normal density of this variance times each wave over [−k, k]."""
        if variance < (k / 9) ** 2:  # nothing of it reaches the ends
            return np.sin(m * np.pi / 2) * np.exp(-((m * np.pi / k) ** 2) * variance / 8)
        density = np.exp(-((k * nodes) ** 2) / (2 * variance)) / np.sqrt(2 * np.pi * variance)
        return waves @ (weights * density) * k

    living = np.exp(-((m * np.pi / k) ** 2) * (high - low) / 8) / k
    return float((against_normal(low) * living * against_normal(1 - high)).sum() * np.sqrt(2 * np.pi))


@functools.cache
def _grid() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Nodes and weights of an integral from −1 to 1, and the waves of both series on the nodes."""
    nodes, weights = np.polynomial.legendre.leggauss(6 * _TERMS)
    k = np.arange(_TERMS) + 0.5
    m = np.arange(1, 2 * _TERMS, 2)
    waves = np.cos(np.outer(k, np.pi * nodes)), np.sin(np.outer(m * np.pi / 2, nodes + 1))
    return nodes, weights, *waves


def _solve(chance: Callable[[float], float], level: float) -> float:
    """Where a rising function reaches ``level``."""
    from scipy.optimize import brentq

    high = 1.0
    while chance(high) < level:
        high *= 2
    return float(brentq(lambda x: chance(x) - level, 1e-3, high, xtol=1e-7))


def check_kind(kind: str, days: tuple[int | None, int | None]) -> None:
    """Refuse an unknown kind of band, or days in the wrong order."""
    faults = []
    if kind not in KINDS:
        faults.append(f"kind is {kind!r}. Allowed: {', '.join(map(repr, KINDS))}.")
    first, last = days
    if first is not None and last is not None and first > last:
        faults.append(f"from_day {first:,} lies after to_day {last:,}. Allowed: the other way round.")
    if faults:
        raise FrameError(faults)
