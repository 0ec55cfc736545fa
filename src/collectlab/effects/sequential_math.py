"""The boundary behind a confidence sequence, on running means and variances: numbers in, numbers out."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

#: No interval before each arm has so many known outcomes …
FIRST_LOOK = 50
#: … and both together so many of the rarer kind (paid, or not; for money: not zero). The method is asymptotic.
FIRST_EVENTS = 10
#: Looks that the power of a test that is looked at is worked out for; twice as many hardly change it.
LOOKS = 100


def critical_value(progress: Any, alpha: float = 0.05) -> np.ndarray:
    """How many standard errors a difference must be from zero, at any of all looks, to be told from it.

    The boundary of Robbins' normal mixture. With r the share of the planned information that has come in,

        z(r)² = (1 + 1/u) · log((1 + u) / α²),   u = r · x,   x solving (1 + x) e⁻ˣ = α²,

    a standard Brownian motion W satisfies P(|W(t)|/√t ≥ z(t/t*) for some t > 0) ≤ α. No other x
    gives a smaller z(1).

    Parameters
    ----------
    progress : number or array
        r > 0: information so far by information planned; 1 at the planned end.
    alpha : float
        How often zero is excluded at some look where there is no difference.

    Returns
    -------
    ndarray
        Of the shape of ``progress``.

    References
    ----------
    Robbins (1970), Annals of Mathematical Statistics 41. Howard, Ramdas, McAuliffe & Sekhon (2021), Annals of
    Statistics 49, for the choice of x.

    Examples
    --------
    >>> critical_value([0.1, 0.5, 1, 2]).round(2).tolist()
    [3.82, 3.08, 3.04, 3.06]
    """
    u = np.asarray(progress, dtype=float) * _tuned(alpha)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.sqrt((1 + 1 / u) * np.log((1 + u) / alpha**2))


def _tuned(alpha: float) -> float:
    from scipy.special import lambertw

    return float(-lambertw(-(alpha**2) / np.e, -1).real - 1)


def power_by_the_end(drift: Any, alpha: float = 0.05) -> np.ndarray:
    """How often a difference is told at some look up to the planned end.

    By Armitage, McPherson and Rowe's recursion for :data:`LOOKS` looks, equally spaced in information: with f₀ the
    density of a driftless Brownian motion that stayed inside the boundary at all of them, and θ the drift,

        P(told) = 1 − ∫ f₀(w) · exp(θw − θ²/2) dw.

    Parameters
    ----------
    drift : number or array
        θ: the true difference in standard errors at the planned end.
    alpha : float
        As in :func:`critical_value`.

    Returns
    -------
    ndarray
        Of the shape of ``drift``.

    References
    ----------
    Armitage, McPherson & Rowe (1969), Journal of the Royal Statistical Society A 132.

    Examples
    --------
    >>> power_by_the_end([0.0, 2.8, 3.88]).round(2).tolist()
    [0.01, 0.52, 0.86]
    """
    place, inside, step = _stayed(alpha)
    drift = np.asarray(drift, dtype=float)
    tilted = np.exp(drift[..., None] * place - drift[..., None] ** 2 / 2)
    return np.clip(1 - np.einsum("...i,i->...", tilted, inside) * step, 0.0, 1.0)


@lru_cache(maxsize=64)
def _stayed(alpha: float) -> tuple[np.ndarray, np.ndarray, float]:
    """Where a driftless motion is at the planned end if it never left: places, density, and their distance."""
    looks = np.arange(1, LOOKS + 1) / LOOKS
    bound = critical_value(looks, alpha) * np.sqrt(looks)
    place = np.linspace(-bound.max(), bound.max(), 801)
    step = float(place[1] - place[0])
    spread = np.sqrt(1 / LOOKS)
    kernel = np.exp(-(((place[:, None] - place[None, :]) / spread) ** 2) / 2) / (spread * np.sqrt(2 * np.pi))
    density = np.exp(-((place / spread) ** 2) / 2) / (spread * np.sqrt(2 * np.pi))
    for i, edge in enumerate(bound):
        if i:
            density = np.einsum("ij,j->i", kernel, density) * step
        # The cell at the edge counts by the part of it that lies inside.
        density = density * np.clip((edge - np.abs(place)) / step + 0.5, 0, 1)
    return place, density, step


def limits(
    n: Any,
    mean: Any,
    variance: Any,
    control_n: Any,
    control_mean: Any,
    control_variance: Any,
    *,
    planned_per_arm: float,
    alpha: float = 0.05,
) -> dict[str, np.ndarray]:
    """The confidence sequence from running means and variances; numbers or arrays of one shape.

    With d the difference of the means and n₁, n₀ the accounts so far,

        d ± z(r) · √V,   V = max(s₁²/(n₁−1) + s₀²/(n₀−1),  s²(1/(n₁−1) + 1/(n₀−1))),   s² the variance of all together,

    and r the information 1/(1/n₁ + 1/n₀) by that of the plan, ``planned_per_arm``/2. The first V is HC3's. The second
    keeps a small arm, whose variance is badly known, from looking precise because nobody, or everybody, has paid in it
    so far. Where there is no effect the two agree in large samples; where there is one, the second errs on the safe side.

    Parameters
    ----------
    n, mean, variance, control_n, control_mean, control_variance : numbers or arrays
        Of the arm and of the control so far; variances with n − 1.
    planned_per_arm : float
        Accounts planned in each arm (of unequal arms, the harmonic mean). No other tuning gives a narrower interval
        there; the interval holds whatever is given, as long as it was fixed before the first look.
    alpha : float
        1 − level.

    Returns
    -------
    dict
        ``estimate, std_error, conf_low, conf_high, p_value``, and ``hc3`` (the fixed interval's standard error).
        ``p_value`` is the smallest alpha whose sequence, with this tuning, excludes zero at this look.

    Examples
    --------
    >>> at = limits([500, 2000], 0.36, 0.23, [500, 2000], 0.30, 0.21, planned_per_arm=2000)
    >>> at["conf_low"].round(3).tolist(), at["conf_high"].round(3).tolist()
    ([-0.037, 0.015], [0.157, 0.105])
    """
    n, control_n = np.asarray(n, dtype=float), np.asarray(control_n, dtype=float)
    variance, control_variance = np.asarray(variance, dtype=float), np.asarray(control_variance, dtype=float)
    with np.errstate(divide="ignore", invalid="ignore"):
        hc3 = np.sqrt(variance / (n - 1) + control_variance / (control_n - 1))
        estimate = np.asarray(mean, dtype=float) - np.asarray(control_mean, dtype=float)
        between = estimate**2 / (1 / n + 1 / control_n)
        within = (n - 1) * variance + (control_n - 1) * control_variance
        together = (within + between) / (n + control_n - 1)
        error = np.maximum(hc3, np.sqrt(together * (1 / (n - 1) + 1 / (control_n - 1))))
        progress = 2 / planned_per_arm / (1 / n + 1 / control_n)
        reach = critical_value(progress, alpha) * error
        u = progress * _tuned(alpha)
        p_value = np.minimum(1.0, np.sqrt(1 + u) * np.exp(-((estimate / error) ** 2) * u / (2 * (1 + u))))
    return {
        "estimate": estimate,
        "std_error": error,
        "conf_low": estimate - reach,
        "conf_high": estimate + reach,
        "p_value": p_value,
        "hc3": hc3,
    }


def ready(n: Any, control_n: Any, rarer: Any) -> np.ndarray:
    """Whether there is enough for a first interval: the accounts of each arm, and outcomes of the rarer kind."""
    return (np.minimum(n, control_n) >= FIRST_LOOK) & (np.asarray(rarer) >= FIRST_EVENTS)
