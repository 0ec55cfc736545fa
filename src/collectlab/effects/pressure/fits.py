"""One more contact, compared within the same history: chances, expected outcomes, residuals on residuals."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd

#: Columns that are codes or words, not amounts.
WORDS = ("dpd_band", "weekday", "dose", "product", "branch", "strategy")
#: Levels of a word with fewer rows than this are one level.
RARE = 200
_STEPS = 25
_RIDGE = 1e-6


def design(covariates: pd.DataFrame, without: tuple[str, ...] = ()) -> tuple[np.ndarray, list[str]]:
    """Intercept, indicators of the words, amounts as standard deviations from their mean, strategy × stage.

    An amount that is missing stands at the mean, and an indicator says so.
    """
    columns: list[np.ndarray] = [np.ones(len(covariates))]
    names = ["intercept"]
    flags: dict[str, list[np.ndarray]] = {}
    for name in covariates.columns:
        if name in without:
            continue
        values = covariates[name]
        if name in WORDS:
            codes, levels = pd.factorize(values, sort=True)
            counts = np.bincount(codes, minlength=len(levels))
            shown = [k for k in range(len(levels)) if counts[k] >= RARE and k != counts.argmax()]
            flags[name] = [(codes == k).astype(float) for k in shown]
            columns += flags[name]
            names += [f"{name} {levels[k]}" for k in shown]
            continue
        number = values.to_numpy(float)
        gone = ~np.isfinite(number)
        if gone.all():
            continue
        number = np.where(gone, number[~gone].mean(), number)
        if number.std() > 1e-12:
            columns.append((number - number.mean()) / number.std())
            names.append(name)
        if gone.any():
            columns.append(gone.astype(float))
            names.append(f"{name} missing")
    for i, a in enumerate(flags.get("strategy", [])):
        for j, b in enumerate(flags.get("dpd_band", [])):
            both = a * b
            if both.sum() >= RARE:
                columns.append(both)
                names.append(f"strategy {i} × dpd_band {j}")
    return np.stack(columns, axis=1), names


def chances(
    x: np.ndarray, treated: np.ndarray, start: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """P(treated | x) by logistic regression (Newton's steps, a ridge of 1e-6 per row), and the coefficients."""
    rate = treated.mean()
    b = np.zeros(x.shape[1]) if start is None else start
    if start is None:
        b[0] = np.log(rate / (1 - rate))
    ridge = _RIDGE * len(x) * np.eye(x.shape[1])
    ridge[0, 0] = 0
    for _ in range(_STEPS):
        p = 1 / (1 + np.exp(-np.clip(x @ b, -30, 30)))
        slope = x.T @ (treated - p) - ridge @ b
        step = np.linalg.solve((x * (p * (1 - p))[:, None]).T @ x + ridge, slope)
        b = b + step
        if np.abs(step).max() < 1e-4:
            break
    return 1 / (1 + np.exp(-np.clip(x @ b, -30, 30))), b


def expected(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """E[y | x] by least squares; ``y`` of shape (rows, outcomes)."""
    normal = x.T @ x
    normal[np.diag_indices_from(normal)] += 1e-9 * len(x)
    return x @ np.linalg.solve(normal, x.T @ y)


class Effects(NamedTuple):
    """Effects of shape (groups, outcomes), and the covariance of all of them, in that order, flattened."""

    estimate: np.ndarray
    covariance: np.ndarray


def effects(
    y: np.ndarray, m: np.ndarray, treated: np.ndarray, e: np.ndarray, group: np.ndarray, cluster: np.ndarray
) -> Effects:
    r"""Effect of the treatment in each group of rows, residuals on residuals.

    With :math:`v = A - e(x)` and :math:`u = Y - m(x)`, for group k

    .. math:: \beta_k = \sum_{i \in k} v_i u_i \Big/ \sum_{i \in k} v_i^2,

    the mean effect weighted by e(1 − e): by how much it could have gone either way. Errors in e and in m enter only
    as their product (Robinson 1988; Chernozhukov et al. 2018). The covariance is of the sums by cluster.

    Parameters
    ----------
    y, m : ndarray of shape (rows, outcomes)
    treated, e : ndarray of shape (rows,)
    group, cluster : ndarray of int of shape (rows,)
        Codes; a negative group is left out.
    """
    v, u = treated - e, y - m
    groups, outcomes = int(group.max()) + 1, y.shape[1]
    used = group >= 0
    weight = np.bincount(group[used], weights=v[used] ** 2, minlength=groups)
    estimate = np.full((groups, outcomes), np.nan)
    codes, clusters = np.unique(cluster, return_inverse=True)
    score = np.zeros((len(codes), groups, outcomes))
    for k in range(outcomes):
        top = np.bincount(group[used], weights=(v * u[:, k])[used], minlength=groups)
        with np.errstate(divide="ignore", invalid="ignore"):
            estimate[:, k] = np.where(weight > 0, top / weight, np.nan)
        rest = v * (u[:, k] - np.nan_to_num(estimate[:, k])[np.maximum(group, 0)] * v)
        cell = clusters[used] * groups + group[used]
        sums = np.bincount(cell, weights=rest[used], minlength=len(codes) * groups)
        score[:, :, k] = sums.reshape(len(codes), groups) / np.where(weight > 0, weight, np.inf)
    flat = score.reshape(len(codes), -1)
    n = len(codes)
    return Effects(estimate, flat.T @ flat * n / max(n - 1, 1))


def imbalance(x: np.ndarray, treated: np.ndarray, e: np.ndarray) -> np.ndarray:
    """Differences of weighted means in standard deviations: contacted by 1 − e, the others by e."""
    spread = x.std(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        means = [(x * w[:, None]).sum(axis=0) / w.sum() for w in (treated * (1 - e), (1 - treated) * e)]
        return np.where(spread > 1e-9, np.abs(means[0] - means[1]) / spread, 0.0)
