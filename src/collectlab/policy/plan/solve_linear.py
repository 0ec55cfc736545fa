"""The linear programme of a plan: built, solved by HiGHS, and every condition of an optimum worked out again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from collectlab.core.errors import CollectlabError, FrameError
from collectlab.policy.plan.model_class import DecisionModel

#: Largest residual, relative to the size of what it is a residual of, with which a solution is accepted.
TOLERANCE = 1e-6


class Infeasible(CollectlabError):
    """No plan keeps to the capacity; the message says which limits stand in the way, and by how much."""

    exit_code = 8


@dataclass(frozen=True, kw_only=True)
class Solution:
    """One solved programme: occupancies ``x`` (S, A), the ``objective``, ``prices`` by use, and ``residuals``."""

    x: np.ndarray
    objective: float
    prices: dict[str, float]
    residuals: dict[str, float]


def solve(
    model: DecisionModel,
    capacity: Mapping[str, float],
    *,
    may: np.ndarray | None = None,
    fixed: np.ndarray | None = None,
    draw: int | None = None,
) -> Solution:
    """The linear programme alone, solved and rechecked.

    Parameters
    ----------
    model : DecisionModel
    capacity : mapping
        Use → most a month.
    may : bool (S, A), optional
        What is allowed at all.
    fixed : bool (S,), optional
        States in which the strategy in force stays.
    draw : int, optional
        Solve this draw of the model instead of the point estimate.

    Returns
    -------
    Solution

    Raises
    ------
    Infeasible, FrameError

    Examples
    --------
    >>> model = DecisionModel.of(move=[[[0.5]]], leave=[[[0.5]]], reward=[[10.0]], inflow=[3.0])
    >>> solve(model, {}).x.tolist()
    [[6.0]]
    """
    from scipy.optimize import linprog
    from scipy.sparse import csr_array, vstack

    s, a = model.reward.shape
    if draw is None or model.draws is None:
        move, reward, inflow, uses = model.move, model.reward, model.inflow, model.uses
    else:
        d = model.draws
        move, reward, inflow, uses = d.move[draw], d.reward[draw], d.inflow[draw], d.counted
        uses = {k: uses[k][draw] for k in capacity}
    ok = np.ones((s, a), bool) if may is None else may
    held = np.zeros(s, bool) if fixed is None else fixed
    flow = np.repeat(np.eye(s), a, axis=1) - model.discount * move.reshape(s * a, s).T
    names = list(capacity)
    scale = np.array([max(capacity[k], 1.0) for k in names])
    takes = np.stack([uses[k].ravel() for k in names]) if names else np.zeros((0, s * a))
    upper = np.where(ok.ravel(), np.inf, 0.0)
    as_now, only_now = _tied(model, ok, held)
    rows_eq = [csr_array(flow), *([as_now] if as_now.shape[0] else [])]
    rows_ub = [csr_array(takes / scale[:, None]), only_now]
    equal = np.concatenate([inflow, np.zeros(as_now.shape[0])])
    most = np.concatenate([np.array([capacity[k] for k in names]) / scale, np.zeros(only_now.shape[0])])
    size = max(float(np.abs(reward).max()), 1e-9)
    bounds = np.column_stack([np.zeros(s * a), upper])
    found = linprog(
        -reward.ravel() / size,
        A_ub=vstack(rows_ub) if len(most) else None,
        b_ub=most if len(most) else None,
        A_eq=vstack(rows_eq),
        b_eq=equal,
        bounds=bounds,
        method="highs",
    )
    if found.status == 2:
        raise Infeasible(_in_the_way(rows_ub, rows_eq, most, equal, bounds, names, scale, capacity))
    if found.status != 0:
        raise FrameError(f"the plan could not be solved: {found.message}")
    x = found.x.reshape(s, a)
    duals = -found.ineqlin.marginals * size if len(most) else np.zeros(0)
    objective = float((x * reward).sum())
    residuals = _residuals(found, size, takes, scale, most, names, flow, inflow, objective, equal)
    if worst := {k: v for k, v in residuals.items() if not v <= TOLERANCE}:
        told = ", ".join(f"{k} {v:.1e}" for k, v in worst.items())
        raise FrameError(f"the solution does not hold: {told}. Allowed: {TOLERANCE:.0e}.")
    prices = {k: float(max(duals[i] / scale[i], 0.0)) for i, k in enumerate(names)}
    return Solution(x=np.maximum(x, 0), objective=objective, prices=prices, residuals=residuals)


def _tied(model: DecisionModel, ok: np.ndarray, held: np.ndarray) -> tuple[Any, Any]:
    """Rows that hold states at the strategy in force, and untried actions at no more than their share there."""
    from scipy.sparse import csr_array

    s, a = model.reward.shape
    force = model.in_force
    forced = held | ~(model.tried & ok).any(axis=1)
    equal, less = [], []
    for k in range(s):
        for j in range(a):
            row = {(k * a + i): -force[k, j] for i in range(a) if force[k, j]}
            row[k * a + j] = row.get(k * a + j, 0.0) + 1
            if forced[k] and (force[k] <= ok[k]).all():
                equal.append(row)
            elif not model.tried[k, j] and ok[k, j]:
                less.append(row)

    def matrix(rows: list[dict[int, float]]) -> Any:
        places = [(i, j, v) for i, row in enumerate(rows) for j, v in row.items()]
        i, j, v = zip(*places) if places else ((), (), ())
        return csr_array((np.array(v, float), (np.array(i, int), np.array(j, int))), shape=(len(rows), s * a))

    return matrix(equal), matrix(less)


def _residuals(found, size, takes, scale, most, names, flow, inflow, objective, equal) -> dict[str, float]:
    """Each condition of an optimum, worked out again from x and the duals."""
    x = found.x
    total = max(float(np.abs(x).sum()), 1.0)
    used = takes @ x / scale
    limit = most[: len(names)]
    slack = np.maximum(limit - used, 0)
    duals = -found.ineqlin.marginals if len(most) else np.zeros(0)
    dual = (
        float(most @ duals - equal @ found.eqlin.marginals) * size
        if len(most)
        else float(-equal @ found.eqlin.marginals * size)
    )
    worth = max(abs(objective), size)
    return {
        "flow": float(np.abs(flow @ x - inflow).max(initial=0)) / total,
        "capacity": float(np.maximum(used - limit, 0).max(initial=0)),
        "sign": float(max(-x.min(initial=0), 0)) / total,
        "slackness": float(np.abs(slack * duals[: len(names)]).max(initial=0)) * size / worth,
        "gap": abs(objective - dual) / worth,
    }


def _in_the_way(rows_ub, rows_eq, most, equal, bounds, names, scale, capacity) -> list[str]:
    """Which limits stand in the way: the least excess, in shares of the capacities, that makes a plan possible."""
    from scipy.optimize import linprog
    from scipy.sparse import csr_array, hstack, vstack

    k, n = len(names), bounds.shape[0]
    loose = csr_array((-np.ones(k), (np.arange(k), np.arange(k))), shape=(len(most), k))
    found = linprog(
        np.concatenate([np.zeros(n), scale / np.maximum([capacity[c] for c in names], 1e-9)])
        if k
        else np.zeros(n),
        A_ub=hstack([vstack(rows_ub), loose]),
        b_ub=most,
        A_eq=hstack([vstack(rows_eq), csr_array((len(equal), k))]),
        b_eq=equal,
        bounds=np.vstack([bounds, np.column_stack([np.zeros(k), np.full(k, np.inf)])]),
        method="highs",
    )
    if found.status != 0:
        return ["no plan is possible, whatever the capacity: what is forbidden or kept leaves none."]
    excess = found.x[n:] * scale
    return [
        f"capacity: {name} is {capacity[name]:,.1f} a month, and no plan needs less than {capacity[name] + e:,.1f}. "
        "Allowed: that much, or a cheaper action in some state."
        for name, e in zip(names, excess)
        if e > 1e-6 * max(capacity[name], 1)
    ]
