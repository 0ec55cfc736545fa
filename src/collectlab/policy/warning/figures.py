"""How well chances warn: figures of counts by score, with a jackknife over customers."""

from __future__ import annotations

from types import MappingProxyType

import numpy as np
import pandas as pd

from collectlab.core.jackknife import GROUPS, jackknife, replicate_of

#: The figures in their order: name → (in words, unit).
FIGURES = MappingProxyType(
    {
        "auc": ("AUC", "number"),
        "ks": ("KS", "number"),
        "slope": ("Calibration slope (1 = right)", "number"),
        "intercept": ("Calibration in the large (0 = right)", "number"),
        "observed_expected": ("Observed ÷ expected events (1 = right)", "ratio"),
        "brier": ("Brier score", "number"),
        "top_5": ("Share of events in the top 5 %", "share"),
        "top_10": ("Share of events in the top 10 %", "share"),
        "top_20": ("Share of events in the top 20 %", "share"),
    }
)
TOP = (0.05, 0.1, 0.2)
#: Bands of score that the jackknife counts by; the figures themselves are taken score by score.
FINE = 1000


def figures_of(n: np.ndarray, events: np.ndarray, chance: np.ndarray) -> np.ndarray:
    """The figures of :data:`FIGURES` from counts by score.

    With scores sorted from high to low, E events and N others in all, e and f those of one score, E₊ and N₊ those of
    all higher scores,

        AUC = Σ f · (E₊ + e / 2) / (E · N),    KS = max |E₊ / E − N₊ / N| (the score itself counted in),
        Brier = Σ [e (1 − p)² + f p²] / (E + N),    observed ÷ expected = E / Σ (e + f) p,

    slope b and intercept from the logistic regressions  logit P = a + b · logit p  and  logit P = a + logit p,
    and the share of events among the account-months with the highest scores (a score that lies across the line
    counts in part).

    Parameters
    ----------
    n, events : array, shape (B,)
        Account-months and events by score; zeros allowed.
    chance : array, shape (B,)
        The scores, falling.

    Returns
    -------
    array, shape (9,)
        NaN where there is only one class.

    Examples
    --------
    >>> figures_of(np.array([2, 2]), np.array([2, 0]), np.array([0.8, 0.1]))[:2].tolist()
    [1.0, 1.0]
    """
    n, events = np.asarray(n, dtype=float), np.asarray(events, dtype=float)
    rest = n - events
    total, others = events.sum(), rest.sum()
    out = np.full(len(FIGURES), np.nan)
    if not (total > 0 and others > 0):
        return out
    above = np.cumsum(events)
    beside = np.cumsum(rest)
    out[0] = (rest * (above - events / 2)).sum() / (total * others)
    out[1] = np.abs(above / total - beside / others).max()
    there = n > 0
    out[2], out[3] = _calibration(n[there], events[there], chance[there])
    out[4] = total / (n * chance).sum()
    out[5] = (events * (1 - chance) ** 2 + rest * chance**2).sum() / n.sum()
    seen = np.concatenate([[0.0], np.cumsum(n)]) / n.sum()
    caught = np.concatenate([[0.0], above]) / total
    out[6:] = np.interp(TOP, seen, caught)
    return out


def _calibration(n: np.ndarray, events: np.ndarray, chance: np.ndarray) -> tuple[float, float]:
    """Slope of the two-parameter calibration, and intercept where the slope is held at 1."""
    x = np.log(chance / (1 - chance))
    fixed = 0.0
    for _ in range(25):
        p = 1 / (1 + np.exp(-np.clip(fixed + x, -30, 30)))
        step = (events - n * p).sum() / (n * p * (1 - p)).sum()
        fixed += step
        if abs(step) < 1e-9:
            break
    if np.ptp(x) < 1e-9:
        return np.nan, fixed
    a, b = fixed, 1.0
    for _ in range(25):
        p = 1 / (1 + np.exp(-np.clip(a + b * x, -30, 30)))
        w, r = n * p * (1 - p), events - n * p
        s0, s1, s2 = w.sum(), (w * x).sum(), (w * x * x).sum()
        g0, g1 = r.sum(), (r * x).sum()
        size = s0 * s2 - s1 * s1
        if not size > 1e-12 * s0 * s2:
            return np.nan, fixed
        step_a, step_b = (s2 * g0 - s1 * g1) / size, (s0 * g1 - s1 * g0) / size
        a, b = a + step_a, b + step_b
        if abs(step_a) + abs(step_b) < 1e-9:
            break
    return b, fixed


def replicates(customer: pd.Series) -> np.ndarray:
    """The jackknife group of each row's customer."""
    codes, ids = pd.factorize(customer)
    return np.array([replicate_of(i) for i in ids])[codes]


def by_score(
    chance: np.ndarray, outcome: np.ndarray, group: np.ndarray | None = None, fine: int = FINE
) -> tuple[np.ndarray, np.ndarray]:
    """Counts by score, high scores first: (groups, B, 2) of n and events, and the mean score of each.

    Without ``group``, one count for every different score; with it, for at most ``fine`` bands of score.
    """
    if group is None:
        scores, place = np.unique(-chance, return_inverse=True)
        counts = np.stack([np.bincount(place), np.bincount(place, outcome)], axis=-1)
        return counts[None].astype(float), -scores
    scores, place, times = np.unique(-chance, return_inverse=True, return_counts=True)
    if len(scores) > fine:
        place = ((np.cumsum(times) - 1) * fine // len(chance))[place]
        place = np.unique(place, return_inverse=True)[1]
    size = int(place.max()) + 1
    mean = np.bincount(place, chance) / np.bincount(place)
    at = group * size + place
    shape = (GROUPS, size)
    counts = [np.bincount(at, w, GROUPS * size).reshape(shape) for w in (None, outcome)]
    return np.stack(counts, axis=-1).astype(float), mean


def with_intervals(
    chance: np.ndarray, outcome: np.ndarray, group: np.ndarray, conf_level: float = 0.95, fine: int = FINE
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The figures with standard errors and intervals: jackknife over customers, exact estimates."""
    whole, scores = by_score(chance, outcome)
    estimate = figures_of(whole[0, :, 0], whole[0, :, 1], scores)
    counts, mean = by_score(chance, outcome, group, fine)
    rough, error, low, high = jackknife(
        counts.sum(axis=0), counts, lambda c: figures_of(c[:, 0], c[:, 1], mean), conf_level
    )
    shift = estimate - rough
    return estimate, error, low + shift, high + shift


def stability(then: np.ndarray, now: np.ndarray, bands: int = 10) -> float:
    """Population stability index of scores against those the model was learned from.

    PSI = Σ (q − p) ln(q / p) over bands that hold equal parts of the old scores. By custom, under 0.1 is stable and
    over 0.25 is not.

    Parameters
    ----------
    then, now : arrays
        Scores.
    bands : int

    Returns
    -------
    float

    Examples
    --------
    >>> stability(np.linspace(0, 1, 1000), np.linspace(0, 1, 500)) < 0.001
    True
    """
    edges = np.unique(np.quantile(then, np.arange(1, bands) / bands))
    p, q = (
        np.bincount(np.searchsorted(edges, s, side="left"), minlength=len(edges) + 1) / len(s)
        for s in (then, now)
    )
    floor = 0.5 / max(len(now), 1)
    p, q = np.maximum(p, floor), np.maximum(q, floor)
    return float(((q - p) * np.log(q / p)).sum())
