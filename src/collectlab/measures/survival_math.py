"""The estimators themselves: numpy on the counts of one group (:class:`~collectlab.measures.survival_cells.Track`)."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np

from collectlab.core.errors import FrameError
from collectlab.core.jackknife import interval
from collectlab.measures.survival_cells import Track

CONF_TYPES = ("log-log", "log", "plain")


def normal_quantile(conf_level: float, conf_type: str = "plain") -> float:
    """Two-sided quantile of the normal distribution; refuses a level or an interval type that is none."""
    faults = []
    if not (isinstance(conf_level, (int, float)) and 0 < conf_level < 1):
        faults.append(f"conf_level is {conf_level}. Allowed: between 0 and 1, such as 0.95.")
    if conf_type not in CONF_TYPES:
        faults.append(f"conf_type is {conf_type!r}. Allowed: {', '.join(map(repr, CONF_TYPES))}.")
    if faults:
        raise FrameError(faults)
    return NormalDist().inv_cdf((1 + conf_level) / 2)


def kaplan_meier(track: Track, k: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """S on each exit day and the standard error of log S (Greenwood) for outcome ``k``."""
    n, d = _at_risk(track), track.exits[k]
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.cumprod(1 - d / n), np.sqrt(np.cumsum(d / (n * (n - d))))


def _at_risk(track: Track) -> np.ndarray:
    """At risk on each exit day; 1 where nobody is, as when a jackknife leaves out whoever was."""
    n = track.at_risk
    return np.where(n > 0, n, 1.0)


def cumulative_hazard(track: Track, k: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Nelson and Aalen's H on each exit day for outcome ``k``, and Aalen's standard error."""
    n, d = _at_risk(track), track.exits[k]
    return np.cumsum(d / n), np.sqrt(np.cumsum(d / n**2))


def survival_interval(
    survival: np.ndarray, log_error: np.ndarray, z: float, conf_type: str
) -> tuple[np.ndarray, np.ndarray]:
    """The interval of S as in R's ``survfit``: missing at S = 0, and at S = 1 for log-log."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        if conf_type == "log-log":
            power = np.exp(z * log_error / np.log(survival))  # log S < 0, so this is the lower power
            low, high = survival ** (1 / power), survival**power
            low = np.where(survival < 1, low, np.nan)
            high = np.where(survival < 1, high, np.nan)
        elif conf_type == "log":
            low = survival * np.exp(-z * log_error)
            high = np.minimum(survival * np.exp(z * log_error), 1.0)
        else:
            reach = z * survival * log_error
            low, high = np.maximum(survival - reach, 0.0), np.minimum(survival + reach, 1.0)
    return np.where(survival > 0, low, np.nan), np.where(survival > 0, high, np.nan)


def incidence(track: Track, k: int) -> tuple[np.ndarray, np.ndarray]:
    """F of outcome ``k`` on each exit day and its Greenwood-type standard error (all but the last compete)."""
    n, before, a, sum_a = track.kept("competing", _competing)
    dk = track.exits[k]
    c = before * dk / n**2
    share = np.cumsum(c * n)
    b = before * c * (n - dk) / n
    variance = (
        share**2 * sum_a
        - 2 * share * np.cumsum(share * a)
        + np.cumsum(share**2 * a)
        + np.cumsum(b)
        - 2 * (share * np.cumsum(c) - np.cumsum(share * c))
    )
    return share, np.sqrt(np.maximum(variance, 0.0))


def _competing(track: Track) -> tuple[np.ndarray, ...]:
    """What the incidences of all outcomes share: at risk, S before the day, Greenwood's terms and their sum."""
    n, d = _at_risk(track), track.exits[:-1].sum(axis=0)
    before = np.concatenate([[1.0], np.cumprod(1 - d / n)[:-1]])
    with np.errstate(divide="ignore"):
        # Where all leave at once S becomes 0 and F stays: the factor F(t) − F(s) is 0 from there on.
        a = np.where(n > d, d / (n * (n - d)), 0.0)
    return n, before, a, np.cumsum(a)


def share_interval(
    share: np.ndarray, error: np.ndarray, z: float, conf_type: str, top: float = 1.0
) -> tuple[np.ndarray, np.ndarray]:
    """The interval of a cumulative incidence; missing at 0 (and at 1 for log-log) unless plain."""
    if conf_type == "log-log":
        return interval(share, error, z, "cloglog")
    low, high = interval(share, error, z, "log" if conf_type == "log" else None)
    return np.where(low < 0, 0.0, low), np.where(high > top, top, high)


def crossing(days: np.ndarray, survival: np.ndarray, p: np.ndarray) -> np.ndarray:
    """First day on which 1 − survival ≥ p; the middle of a flat stretch exactly there; NaN if never."""
    tolerance = np.sqrt(np.finfo(float).eps)
    sound = ~np.isnan(survival)
    days, gone = days[sound], 1 - survival[sound]
    if not len(days):
        return np.full(len(p), np.nan)
    reached = np.searchsorted(gone, p - tolerance)
    passed = np.minimum(np.searchsorted(gone, p + tolerance), len(days) - 1)
    middle = (days[np.minimum(reached, len(days) - 1)] + days[passed]) / 2
    return np.where(reached < len(days), middle, np.nan)


def area(track: Track, horizon: float, k: int = 0) -> tuple[float, float]:
    """∫₀^horizon S dt and its Greenwood standard error for outcome ``k``."""
    survival, _ = kaplan_meier(track, k)
    inside = track.days < horizon
    edges = np.concatenate([[0.0], track.days[inside], [horizon]])
    pieces = np.diff(edges) * np.concatenate([[1.0], survival[inside]])
    ahead = np.cumsum(pieces[::-1])[::-1][1:]  # the area still to come after each exit day
    n, d = _at_risk(track)[inside], track.exits[k][inside]
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(n > d, ahead**2 * d / (n * (n - d)), 0.0)
    return float(pieces.sum()), float(np.sqrt(terms.sum()))


def area_lost(track: Track, horizon: float, k: int) -> tuple[float, float]:
    """∫₀^horizon F_k dt, the mean time after outcome ``k``, and its Greenwood-type standard error.

    The variance is that of :func:`incidence` with each curve's area ahead in place of its height.
    """
    share, _ = incidence(track, k)
    inside = track.days < horizon
    days, share = track.days[inside], share[inside]
    n, dk = _at_risk(track)[inside], track.exits[k][inside]
    d = track.exits[:-1].sum(axis=0)[inside]
    before = np.concatenate([[1.0], np.cumprod(1 - d / n)[:-1]])
    left = horizon - days
    widths = np.diff(np.concatenate([days, [horizon]]))
    ahead = np.cumsum((share * widths)[::-1])[::-1] - share * left  # ∫ F(t) − F(s) dt from s on
    with np.errstate(divide="ignore"):
        a = np.where(n > d, d / (n * (n - d)), 0.0)
    reach = before * left
    terms = ahead**2 * a + reach**2 * dk * (n - dk) / n**3 - 2 * ahead * reach * dk / n**2
    return float((share * widths).sum()), float(np.sqrt(max(terms.sum(), 0.0)))
