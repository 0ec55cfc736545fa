"""Least squares on counted cells: rows that agree in everything are one cell with a count.

The estimates and both kinds of standard error are those of the rows themselves, to rounding.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

_TINY = 1e-9


class Fit(NamedTuple):
    """Coefficients of the columns of interest, their covariance, and the t distribution's degrees of freedom."""

    estimate: np.ndarray
    covariance: np.ndarray
    freedom: float
    identified: np.ndarray


def fit(
    y: np.ndarray,
    x: np.ndarray,
    count: np.ndarray,
    block: np.ndarray,
    cluster: np.ndarray | None = None,
) -> Fit:
    """Ordinary least squares of ``y`` on ``x`` with one intercept per block.

    With X̃ the columns taken as deviations from their block's mean, A = X̃ᵀX̃ and e the residuals:

        HC3:      V = A⁻¹ (Σᵢ x̃ᵢ x̃ᵢᵀ eᵢ² / (1 − hᵢ)²) A⁻¹,   hᵢ = 1/n(block of i) + x̃ᵢᵀ A⁻¹ x̃ᵢ
        cluster:  V = A⁻¹ (Σ_g s_g s_gᵀ) A⁻¹ · G/(G−1) · (N−1)/(N−K),   s_g = Σ_{i∈g} x̃ᵢ eᵢ

    Parameters
    ----------
    y, count : ndarray of shape (cells,)
        Value and number of rows of each cell.
    x : ndarray of shape (cells, k)
        Columns; a column that depends on others gets no coefficient of its own (``identified`` is False).
    block, cluster : ndarray of int of shape (cells,)
        Codes 0, 1, …; ``cluster`` None gives HC3.

    Returns
    -------
    Fit

    References
    ----------
    MacKinnon & White (1985), J. Econometrics 29; Liang & Zeger (1986), Biometrika 73.
    """
    rows = float(count.sum())
    size = np.bincount(block, weights=count)
    x = x - _means(x, count, block, size)[block]
    y = y - _means(y[:, None], count, block, size)[block, 0]
    # einsum rather than @: the same digits whatever number of threads the linear algebra library takes.
    scale = np.sqrt(np.einsum("i,ij,ij->j", count, x, x))
    scale[scale <= _TINY] = 1.0
    x = x / scale
    normal = np.einsum("i,ij,ik->jk", count, x, x)
    inverse = np.linalg.pinv(normal, rcond=_TINY, hermitian=True)
    projection = inverse @ normal
    coefficients = inverse @ np.einsum("i,ij,i->j", count, x, y)
    residual = y - np.einsum("ij,j->i", x, coefficients)
    rank = round(float(np.trace(projection))) + len(size)
    if cluster is None:
        leverage = 1 / size[block] + np.einsum("ij,jk,ik->i", x, inverse, x)
        free = leverage < 1 - _TINY  # a row that fits itself has no residual to speak of
        weight = np.where(free, (residual / np.where(free, 1 - leverage, 1.0)) ** 2, 0.0)
        meat = np.einsum("i,ij,ik->jk", count * weight, x, x)
        freedom = rows - rank
    else:
        groups = int(cluster.max()) + 1
        score = np.stack(
            [
                np.bincount(cluster, weights=count * residual * x[:, j], minlength=groups)
                for j in range(x.shape[1])
            ]
        )
        meat = np.einsum("jg,kg->jk", score, score)
        meat *= groups / max(groups - 1, 1) * (rows - 1) / max(rows - rank, 1)
        freedom = groups - 1.0
    covariance = inverse @ meat @ inverse / np.outer(scale, scale)
    identified = np.abs(np.diag(projection) - 1) < 1e-6
    return Fit(coefficients / scale, covariance, freedom, identified)


def _means(values: np.ndarray, count: np.ndarray, block: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Mean of each column in each block, of shape (blocks, columns)."""
    return np.stack(
        [np.bincount(block, weights=count * values[:, j]) / size for j in range(values.shape[1])], axis=1
    )


class ChiSquared(NamedTuple):
    """A chi-squared test."""

    statistic: float
    degrees: int
    p_value: float


def equal_means(
    values: np.ndarray,
    treated: np.ndarray,
    count: np.ndarray,
    block: np.ndarray,
    cluster: np.ndarray | None = None,
) -> ChiSquared:
    """Score test that several values have the same means in all arms, within blocks.

    With t̃ᵢ, ṽᵢ the arms' indicators and the values as deviations from their block's mean, and sᵢ = t̃ᵢ ⊗ ṽᵢ:

        (Σ sᵢ)ᵀ V⁺ (Σ sᵢ)  ~  χ² with rank(V) degrees of freedom,    V = Σ_b (Σ t̃ t̃ᵀ)_b ⊗ (Σ ṽ ṽᵀ)_b / (n_b − 1),

    V being the variance of Σ s if the arms were drawn again within the blocks, exactly, whatever the values'
    distribution (Hansen & Bowers 2008); for one value of 0 and 1 it is Pearson's test. With clusters the variance
    is Σ_g s_g s_gᵀ, of the sums within clusters.

    Parameters
    ----------
    values : ndarray of shape (cells, p)
    treated : ndarray of shape (cells, k)
        1 where the cell is in the arm, one column for each arm but one.
    count, block, cluster
        As in :func:`fit`.

    Returns
    -------
    ChiSquared
        Its p-value is NaN where nothing varies, or where there are fewer than five units a degree of freedom.
    """
    from scipy.special import chdtrc

    size = np.bincount(block, weights=count)
    # To one scale, so that what is 0 to rounding can be told from what is small.
    values = values / np.maximum(np.sqrt(np.einsum("i,ij->j", count, values**2) / count.sum()), _TINY)
    v = values - _means(values, count, block, size)[block]
    t = treated - _means(treated, count, block, size)[block]
    score = (t[:, :, None] * v[:, None, :]).reshape(len(count), -1)
    total = np.einsum("i,ij->j", count, score)
    units = float(count.sum())
    if cluster is None:
        spread = np.zeros((len(total), len(total)))
        for b in np.flatnonzero(size > 1):
            here = block == b
            of_t = np.einsum("i,ij,ik->jk", count[here], t[here], t[here])
            of_v = np.einsum("i,ij,ik->jk", count[here], v[here], v[here])
            spread += np.kron(of_t, of_v) / (size[b] - 1)
    else:
        units = int(cluster.max()) + 1
        sums = np.stack([np.bincount(cluster, weights=count * s, minlength=units) for s in score.T])
        spread = np.einsum("jg,kg->jk", sums, sums)
    scale = np.sqrt(np.diag(spread))
    varies = scale > _TINY * np.sqrt(count.sum())
    total, spread = total[varies] / scale[varies], spread[np.ix_(varies, varies)]
    spread = spread / np.outer(scale[varies], scale[varies])
    degrees = (
        int(np.linalg.matrix_rank(spread, tol=_TINY * len(spread), hermitian=True)) if len(spread) else 0
    )
    if not degrees or units < 5 * degrees:
        return ChiSquared(float("nan"), degrees, float("nan"))
    inverse = np.linalg.pinv(spread, rcond=_TINY, hermitian=True)
    statistic = float(np.einsum("i,ij,j->", total, inverse, total))
    return ChiSquared(statistic, degrees, float(chdtrc(degrees, statistic)))
