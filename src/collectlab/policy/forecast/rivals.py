"""What a forecast must beat: the last value, the value a year before, a straight line, exponential smoothing."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np

#: Values that exponential smoothing needs, and that a season of its own needs.
MIN_SMOOTHED, MIN_SEASONAL = 10, 30


def naive(values: np.ndarray, months: int) -> np.ndarray:
    """The last value, for every month to come.

    >>> naive(np.array([1.0, 3.0]), 2).tolist()
    [3.0, 3.0]
    """
    return np.full(months, values[-1])


def seasonal_naive(values: np.ndarray, months: int) -> np.ndarray:
    """The value of the same month a year before; missing where less than a year is known.

    >>> seasonal_naive(np.arange(13.0), 2).tolist()
    [1.0, 2.0]
    """
    if len(values) < 12:
        return np.full(months, np.nan)
    return np.resize(values[-12:], months)


def drift(values: np.ndarray, months: int) -> np.ndarray:
    """The straight line from the first value to the last, drawn on.

    >>> drift(np.array([1.0, 2.0, 3.0]), 2).tolist()
    [4.0, 5.0]
    """
    slope = (values[-1] - values[0]) / (len(values) - 1)
    return values[-1] + slope * np.arange(1, months + 1)


def smoothed(values: np.ndarray, months: int) -> np.ndarray:
    """Statsmodels' exponential smoothing with a damped trend, and an additive season from 30 months on.

    Values are scaled to a mean of 1 first, on which its search for the weights depends. Missing where fewer than ten
    values are known.
    """
    if len(values) < MIN_SMOOTHED or not np.isfinite(values).all():
        return np.full(months, np.nan)
    if np.ptp(values) == 0:
        return naive(values, months)
    from statsmodels.tools.sm_exceptions import ConvergenceWarning
    from statsmodels.tsa.holtwinters import ExponentialSmoothing

    scale = float(np.abs(values).mean())
    season = "add" if len(values) >= MIN_SEASONAL else None
    model = ExponentialSmoothing(
        values / scale,
        trend="add",
        damped_trend=True,
        seasonal=season,
        seasonal_periods=12 if season else None,
        initialization_method="heuristic" if len(values) >= 24 else "estimated",
    )
    with warnings.catch_warnings():
        # A rival's search that stops short of its optimum still gives the forecast its users would have had.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return np.asarray(model.fit(use_brute=False).forecast(months)) * scale


RIVALS: Mapping[str, Callable[[np.ndarray, int], np.ndarray]] = MappingProxyType(
    {"naive": naive, "seasonal naive": seasonal_naive, "drift": drift, "exponential smoothing": smoothed}
)
