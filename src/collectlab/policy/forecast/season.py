"""Month-of-year effects, shrunk towards none by how far they stand out from the months' own noise; and wandering."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

#: Steps from month to month that a season needs: each month of the year twice.
MIN_SEASON = 24
#: Months apart over which a rate's wandering is told from its noise.
APART = 8


@dataclass(frozen=True)
class Season:
    """Effects by month of the year (12), on a log or log-odds scale, each with its standard error.

    ``strength`` is the standard deviation of the true effects over the year: 0 where the months' own noise explains
    all that was seen.
    """

    effect: np.ndarray
    error: np.ndarray
    strength: float

    def draw(self, paths: int, rng: np.random.Generator) -> np.ndarray:
        """Effects (paths, 12) within their uncertainty."""
        return self.effect + self.error * rng.standard_normal((paths, 12))


def shrunk(values: np.ndarray, months: np.ndarray) -> Season | None:
    r"""Effects of the month of the year on ``values``, after a straight line is taken out.

    With :math:`\bar x_s` the mean of the :math:`n_s` residuals in month of the year s, :math:`\sigma^2` their
    variance within months of the year and :math:`\tau^2` what the variance between exceeds it by,

    .. math:: \hat e_s = \bar x_s \, \tau^2 / (\tau^2 + \sigma^2 / n_s).

    Parameters
    ----------
    values : float array (K,)
    months : int array (K,)
        As year · 12 + month − 1.

    Returns
    -------
    Season or None
        None with fewer than 24 values, or a month of the year seen less than twice.

    Source: Efron & Morris (1973), JASA 68, 117–130; Miller & Williams (2003), International Journal of Forecasting
    19, 669–684, for shrunk seasonal factors.

    Examples
    --------
    >>> season = shrunk(np.tile([1.0, -1.0], 18), np.arange(36))
    >>> season.effect.round(2).tolist()[:3]
    [1.0, -1.0, 1.0]
    """
    seen = np.isfinite(values)
    values, months = np.asarray(values, float)[seen], np.asarray(months)[seen]
    of_year = months % 12
    n = np.bincount(of_year, minlength=12)
    if len(values) < MIN_SEASON or n.min() < 2:
        return None
    # The line is fitted beside the twelve months, lest a rise within a year look like a season.
    dummies = np.eye(12)[of_year]
    time = (months - months.mean()) / 12
    fitted, *_ = np.linalg.lstsq(np.column_stack([dummies, time]), values, rcond=None)
    means = fitted[:12] - np.average(fitted[:12], weights=n)
    rest = values - np.column_stack([dummies, time]) @ fitted
    variance = float((rest**2).sum() / (len(values) - 13))
    between = max(float(means.var(ddof=1)) - variance * float((1 / n).mean()), 0.0)
    if between + variance == 0:
        return Season(np.zeros(12), np.zeros(12), 0.0)
    keep = between / (between + variance / n)
    return Season(means * keep, np.sqrt(between * (1 - keep)), float(np.sqrt(between)))


def odds_times(share: np.ndarray, effect: np.ndarray) -> np.ndarray:
    """By what a share is to be multiplied for its log-odds to rise by ``effect``.

    Examples
    --------
    >>> round(float(odds_times(np.array(0.5), np.log(3.0))), 6)
    1.5
    """
    up = np.exp(effect)
    return up / (1 - share + share * up)


def wander(values: np.ndarray, months: np.ndarray) -> float:
    r"""Variance by which a rate's level moves on in a month, told from the noise around it.

    If level and noise are independent, with noise variance :math:`\sigma^2` and steps of variance w,
    :math:`E (x_{m+k} - x_m)^2 = 2 \sigma^2 + k w`: w is the slope of the mean squared difference over k = 1 … 8,
    shrunk towards none by how sure it is: times :math:`\max(0, 1 - s^2 / w^2)`.

    Parameters
    ----------
    values : float array (K,)
        On a log or log-odds scale; missing values are skipped.
    months : int array (K,)
        As year · 12 + month − 1, rising.

    Returns
    -------
    float
        Not below 0; 0 where fewer than three distances are seen.

    Source: Matheron (1963), Economic Geology 58, 1246–1266: the variogram, here linear with a nugget.

    Examples
    --------
    >>> round(wander(np.arange(20.0) % 2, np.arange(20)), 3)
    0.0
    """
    seen = np.isfinite(values)
    values, months = np.asarray(values, float)[seen], np.asarray(months)[seen]
    distance = months[None, :] - months[:, None]
    squares = (values[None, :] - values[:, None]) ** 2
    apart = [k for k in range(1, APART + 1) if (distance == k).sum() >= 4]
    if len(apart) < 3:
        return 0.0
    mean = np.array([squares[distance == k].mean() for k in apart])
    pairs = np.array([float((distance == k).sum()) for k in apart])
    k = np.array(apart, float)
    centred = k - np.average(k, weights=pairs)
    slope = float((pairs * centred * mean).sum() / (pairs * centred**2).sum())
    if slope <= 0:
        return 0.0
    # Of pure noise the slope's standard deviation is about 2 / n times the noise's variance (by simulation).
    unsure = (
        2
        / len(values)
        * max(float(np.average(mean, weights=pairs) - slope * np.average(k, weights=pairs)), 0)
        / 2
    )
    return slope * max(0.0, 1 - (unsure / slope) ** 2)
