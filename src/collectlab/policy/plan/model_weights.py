"""Weights that let each action's rows in a state stand for the state's whole mix of accounts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

#: No row weighs more than this many times what it would without weighting.
CLIP = 10.0
#: Ridge on the standardised coefficients: where a class is separated, they stay finite.
RIDGE = 1.0
_TRAITS = ("credit_score", "monthly_income", "amount_past_due", "balance")


@dataclass(frozen=True)
class Weights:
    """``weight`` (rows), the share of rows ``clipped``, and the ``columns`` that the chances rest on."""

    weight: np.ndarray
    clipped: float
    columns: tuple[str, ...]


def row_weights(rows: pd.DataFrame, state: np.ndarray, action: np.ndarray, actions: int) -> Weights:
    r"""Stabilised inverse-probability weights: :math:`w_i = P(a_i \mid s_i) / P(a_i \mid s_i, x_i)`.

    The chances come from a multinomial logit on days past due, score, income, amount, balance and product over
    the *ways* an action is given: by lot (all drawn together, times the logged propensity), or
    by judgement (one class an action). P(a | s) is the mean of P(a | x) over the state's rows.

    Parameters
    ----------
    rows : pandas.DataFrame
        As :func:`~collectlab.policy.plan.rows.decision_rows` gives them.
    state, action : int, shape (n,)
        Places in the model's lists.
    actions : int
        Number of actions.

    Returns
    -------
    Weights

    Examples
    --------
    >>> rows = pd.DataFrame({"days_past_due": [5, 5, 5, 5]})
    >>> row_weights(rows, np.zeros(4, int), np.array([0, 0, 1, 1]), 2).weight.round(3).tolist()
    [1.0, 1.0, 1.0, 1.0]
    """
    n = len(rows)
    lot = np.zeros(n, bool)
    logged = np.full(n, np.nan)
    if "randomised" in rows:
        logged = pd.to_numeric(rows["propensity"]).to_numpy(float) if "propensity" in rows else logged
        lot = rows["randomised"].fillna(False).to_numpy(bool) & (logged > 0)
    design, columns = _design(rows)
    way = np.where(lot, actions, action)
    ways, code = np.unique(way, return_inverse=True)
    chances = _logit(design, code, len(ways))
    of_way = np.zeros((n, actions + 1))
    of_way[:, ways] = chances
    by_lot = np.array(
        [logged[lot & (action == a)].mean() if (lot & (action == a)).any() else 0.0 for a in range(actions)]
    )
    of_action = of_way[:, :actions] + of_way[:, [actions]] * by_lot
    of_action /= of_action.sum(axis=1, keepdims=True)
    sums = np.zeros((state.max(initial=-1) + 1, actions))
    np.add.at(sums, state, of_action)
    size = np.bincount(state, minlength=len(sums))
    expected = (sums / np.maximum(size, 1)[:, None])[state, action]
    weight = expected / np.maximum(of_action[np.arange(n), action], 1e-9)
    return Weights(np.clip(weight, 1 / CLIP, CLIP), float((weight > CLIP).mean()) if n else 0.0, columns)


def _design(rows: pd.DataFrame) -> tuple[np.ndarray, tuple[str, ...]]:
    """An intercept, log days past due, each trait and its square (standardised), and dummies of the product."""
    parts, names = [np.ones(len(rows))], ["days_past_due"]
    parts += _bent(np.log1p(rows["days_past_due"].to_numpy(float)))
    for name in _TRAITS:
        if name not in rows:
            continue
        value = pd.to_numeric(rows[name]).to_numpy(float)
        if np.isfinite(value).sum() < 2 or np.nanstd(value) == 0:
            continue
        if name != "credit_score":
            value = np.log1p(np.maximum(value, 0))
        names.append(name)
        if np.isnan(value).any():
            parts.append(np.isnan(value).astype(float))
            value = np.where(np.isnan(value), np.nanmean(value), value)
        parts += _bent(value)
    if "product" in rows and rows["product"].nunique() > 1:
        names.append("product")
        parts += list(pd.get_dummies(rows["product"].astype(str), drop_first=True).to_numpy(float).T)
    if "reached" in rows:
        names.append("reached")
        parts.append(rows["reached"].to_numpy(float))
    return np.column_stack(parts), tuple(names)


def _bent(value: np.ndarray) -> list[np.ndarray]:
    spread = value.std()
    if not spread > 0:
        return []
    z = (value - value.mean()) / spread
    return [z, z * z]


def _logit(x: np.ndarray, code: np.ndarray, classes: int) -> np.ndarray:
    """Chances of a ridge multinomial logit. (statsmodels' has no penalty and fails where a class is separated.)"""
    from scipy.optimize import minimize

    n, p = x.shape
    if classes == 1:
        return np.ones((n, 1))
    own = np.zeros((n, classes))
    own[np.arange(n), code] = 1

    def fit(beta: np.ndarray) -> tuple[float, np.ndarray]:
        b = beta.reshape(p, classes)
        z = x @ b
        z -= z.max(axis=1, keepdims=True)
        total = np.log(np.exp(z).sum(axis=1))
        loss = (total - (z * own).sum(axis=1)).sum() + RIDGE / 2 * (b[1:] ** 2).sum()
        slope = x.T @ (np.exp(z - total[:, None]) - own)
        slope[1:] += RIDGE * b[1:]
        return loss / n, slope.ravel() / n

    beta = minimize(fit, np.zeros(p * classes), jac=True, method="L-BFGS-B", options={"maxiter": 300}).x
    z = x @ beta.reshape(p, classes)
    z = np.exp(z - z.max(axis=1, keepdims=True))
    return z / z.sum(axis=1, keepdims=True)
