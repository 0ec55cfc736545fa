"""The logistic regression on bands: alike rows put together, fitted by statsmodels, errors robust to customers."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from collectlab.policy.warning.bands import Bands

#: A log odds ratio beyond this is on its way to no end; then coefficients are drawn to 0 as by a normal prior with
#: the precision ``RIDGE``.
FARTHEST, RIDGE = 15.0, 0.1


def fit_bands(
    codes: np.ndarray, bands: Sequence[Bands], y: np.ndarray, customer: pd.Series
) -> tuple[np.ndarray, np.ndarray]:
    """Coefficients of intercept and every band (0 for references and what follows from others), with errors."""
    import statsmodels.api as sm

    sizes = [len(b.labels) for b in bands]
    key = np.zeros(len(y), dtype=np.int64)
    for size, code in zip(sizes, codes.T):
        key = key * size + code
    _, first, pattern = np.unique(key, return_index=True, return_inverse=True)
    n, events = np.bincount(pattern), np.bincount(pattern, y)
    for code, size in zip(codes[first].T, sizes):
        events = events + _half(code, size, n, events)
    offsets = np.cumsum([1, *sizes])
    x = np.zeros((len(n), offsets[-1]))
    x[:, 0] = 1
    for start, code in zip(offsets, codes[first].T):
        x[np.arange(len(n)), start + code] = 1
    kept = _independent(x, n, [start + b.reference for start, b in zip(offsets, bands)])
    model = sm.GLM(np.column_stack([events, n - events]), x[:, kept], family=sm.families.Binomial())
    params = _converged(model)
    chance = 1 / (1 + np.exp(-np.clip(x[:, kept] @ params, -30, 30)))
    beta = np.zeros(x.shape[1])
    beta[kept] = params
    # Sandwich over customers: sums of (y − p) x by customer, band by band.
    residual = y - chance[pattern]
    who, _ = pd.factorize(customer)
    count = int(who.max()) + 1
    score = np.column_stack(
        [np.bincount(who, residual, count)]
        + [np.bincount(who * s + c, residual, count * s).reshape(count, s) for s, c in zip(sizes, codes.T)]
    )[:, kept]
    bread = np.linalg.pinv(x[:, kept].T @ (x[:, kept] * (n * chance * (1 - chance))[:, None]))
    variance = bread @ (score.T @ score) @ bread * (count / max(count - 1, 1))
    errors = np.full(x.shape[1], np.nan)
    errors[kept] = np.sqrt(np.maximum(np.diag(variance), 0))
    return beta, errors


def _half(code: np.ndarray, size: int, n: np.ndarray, events: np.ndarray) -> np.ndarray:
    """Half an event for a band without any, half an event less for one that has nothing else: else it has no end."""
    rows, came = np.bincount(code, n, size), np.bincount(code, events, size)
    more = np.where(came <= 0, 0.5, np.where(came >= rows, -0.5, 0.0)) / np.maximum(rows, 1)
    return more[code] * n


def _converged(model: Any) -> np.ndarray:
    """The coefficients by statsmodels' Newton steps from near the top.

    Where bands together tell all events apart there is no top; then the coefficients are drawn a little to 0.
    """
    from statsmodels.tools.sm_exceptions import ConvergenceWarning

    x, share, n = model.exog, model.endog, model.n_trials
    with warnings.catch_warnings():
        # Whether it has converged is asked below; on the way to no top it overflows.
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.simplefilter("ignore", RuntimeWarning)
        begin = _near(x, share, n)
        if np.abs(begin).max() < FARTHEST:
            fitted = model.fit(start_params=begin, method="newton", disp=0, maxiter=15)
            if fitted.mle_retvals["converged"] and np.abs(fitted.params).max() < FARTHEST:
                return fitted.params
    return _near(x, share, n, steps=50, ridge=RIDGE)


def _near(
    x: np.ndarray, share: np.ndarray, n: np.ndarray, steps: int = 12, ridge: float = 1e-9
) -> np.ndarray:
    """Newton's steps from the overall share, halved as long as the likelihood falls: where a fit may begin."""
    beta = np.zeros(x.shape[1])
    beta[0] = np.log((n * share).sum() / (n * (1 - share)).sum())

    def likelihood(b: np.ndarray) -> tuple[float, np.ndarray]:
        z = x @ b
        return float((n * (share * z - np.logaddexp(0, z))).sum() - ridge * (b[1:] @ b[1:]) / 2), z

    held = ridge * np.eye(len(beta))
    held[0, 0] = 0
    best, z = likelihood(beta)
    for _ in range(steps):
        p = 1 / (1 + np.exp(-z))
        step = np.linalg.solve(
            x.T @ (x * (n * p * (1 - p))[:, None]) + held, x.T @ (n * (share - p)) - held @ beta
        )
        new, new_z = likelihood(beta + step)
        while new < best and np.abs(step).max() > 1e-6:
            step = step / 2
            new, new_z = likelihood(beta + step)
        beta, best, z = beta + step, new, new_z
        if np.abs(step).max() < 1e-4:
            break
    return beta


def _independent(x: np.ndarray, n: np.ndarray, references: Sequence[int]) -> list[int]:
    """Columns that do not follow from those before them; references are none of them."""
    gram = x.T @ (x * n[:, None])
    kept: list[int] = []
    for j in range(x.shape[1]):
        if j in references:
            continue
        rest = gram[j, j]
        if kept:
            rest -= gram[j, kept] @ np.linalg.solve(gram[np.ix_(kept, kept)], gram[kept, j])
        if rest > 1e-9 * max(gram[j, j], 1):
            kept.append(j)
    return kept
