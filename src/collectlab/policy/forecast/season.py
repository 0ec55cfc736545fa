"""Month-of-year effects, shrunk towards none by how far they stand out from the months' own noise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from collectlab.policy.forecast.history import History

#: Steps from month to month that a season needs: each month of the year twice.
MIN_SEASON = 24


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


def seasons(history: History, paid: np.ndarray) -> dict[str, Season]:
    """Effects on falling behind, on coming back and on paying, from all steps of a history; none below two years.

    A step belongs to the month it leads to.
    """
    steps, b = history.steps, len(history.bounds)
    to = history.months[steps] + 1
    moves = history.moves[steps].astype(float)
    current, late = moves[:, 0], moves[:, 1:].sum(axis=1)
    out = {
        "fall": shrunk(_log_odds(current[:, 1:b].sum(axis=1), current.sum(axis=1)), to),
        "back": shrunk(_log_odds(late[:, 0], late.sum(axis=1)), to),
        "pay": None,
    }
    if paid.any() and history.paid is not None:
        known = (to >= history.paid_known[0]) & (to <= history.paid_known[1])
        per = history.paid[steps][:, 1:].sum(axis=1) / np.maximum(history.stock[steps][:, 1:].sum(axis=1), 1)
        logs = np.log(np.maximum(per, 1.0))
        out["pay"] = shrunk(np.where(known, logs, np.nan), to)
    none = Season(np.zeros(12), np.zeros(12), 0.0)
    return {} if out["fall"] is None or out["back"] is None else {k: s or none for k, s in out.items()}


def _log_odds(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.where(whole > 0, np.log((part + 0.5) / (np.maximum(whole - part, 0) + 0.5)), np.nan)


def odds_times(share: np.ndarray, effect: np.ndarray) -> np.ndarray:
    """By what a share is to be multiplied for its log-odds to rise by ``effect``.

    Examples
    --------
    >>> float(odds_times(np.array(0.5), np.log(3.0)))
    1.5
    """
    up = np.exp(effect)
    return up / (1 - share + share * up)
