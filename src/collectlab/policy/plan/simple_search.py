"""The search for the best sheet of rules: a mixed-integer programme, solved by HiGHS through scipy."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import numpy as np
import pandas as pd

from collectlab.core.errors import FrameError, first_few
from collectlab.policy.plan.model import DecisionModel

#: What a change must bring at least, as a share of the largest gain there is.
_PREFER = 1e-5


def _most_months(move: np.ndarray, inflow: np.ndarray, discount: float) -> np.ndarray:
    """The most account-months each state can see under any plan, by value iteration."""
    states = len(inflow)
    visits = np.eye(states)
    for _ in range(5000):
        ahead = np.eye(states) + discount * np.einsum("skt,tg->skg", move, visits).max(axis=1)
        done = np.abs(ahead - visits).max() <= 1e-9 * max(1.0, np.abs(ahead).max())
        visits = ahead
        if done:
            break
    return (inflow @ visits) * (1 + 1e-6) + 1e-9


def best_options(
    model: DecisionModel,
    capacity: Mapping[str, float],
    rules: pd.DataFrame,
    move: np.ndarray,
    reward: np.ndarray,
    uses: Mapping[str, np.ndarray],
    allowed: np.ndarray,
    ranks: np.ndarray | None,
) -> list[int]:
    """The best option of each rule: a mixed-integer programme over months x[state, option], choices z[rule, option].

    Raises
    ------
    FrameError
        No sheet fits the capacity; says which limit is too low.
    """
    from scipy.optimize import Bounds, LinearConstraint, milp
    from scipy.sparse import csr_matrix, hstack, identity, vstack

    states, options = reward.shape
    rule = rules["rule"].to_numpy()
    xs, zs = states * options, allowed.size
    at = np.arange(xs)
    inflow = np.asarray(model.inflow, dtype=float)
    # Months are counted as a share of the most that a state can see: all variables then lie between 0 and 1.
    most = np.maximum(_most_months(move, inflow, model.discount), 1e-9)
    months = np.repeat(most, options)
    flow = np.repeat(np.eye(states), options, axis=1) - model.discount * move.reshape(xs, states).T
    flow = flow * months / most[:, None]
    linked = csr_matrix((np.ones(xs), (at, rule[at // options] * options + at % options)), (xs, zs))
    one = np.repeat(np.eye(len(allowed)), options, axis=1)
    blocks = [
        (hstack([csr_matrix(flow), csr_matrix((states, zs))]), inflow / most, inflow / most),
        (hstack([identity(xs), -linked]), np.full(xs, -np.inf), np.zeros(xs)),
        (hstack([csr_matrix((len(one), xs)), csr_matrix(one)]), np.ones(len(one)), np.ones(len(one))),
    ]
    harder = [] if ranks is None else _monotone(rules, allowed, ranks)
    if len(harder):
        rows = hstack([csr_matrix((len(harder), xs)), csr_matrix(np.array(harder))])
        blocks.append((rows, np.zeros(len(harder)), np.full(len(harder), np.inf)))
    shape = LinearConstraint(
        vstack([b[0] for b in blocks]).tocsc(), *(np.concatenate([b[i] for b in blocks]) for i in (1, 2))
    )
    scale = {name: max(1.0, abs(limit)) for name, limit in capacity.items()}
    used = [np.concatenate([uses[n].ravel() * months / scale[n], np.zeros(zs)]) for n in capacity]
    limits = [LinearConstraint(u, -np.inf, capacity[n] / scale[n]) for n, u in zip(capacity, used)]
    problem = {
        "bounds": Bounds(
            np.zeros(xs + zs), np.concatenate([np.full(xs, np.inf), allowed.ravel().astype(float)])
        ),
        "integrality": np.concatenate([np.zeros(xs), np.ones(zs)]),
    }
    gain = np.concatenate([-reward.ravel() * months, np.zeros(zs)])
    gain /= max(1.0, np.abs(gain).max())
    gain[xs:] = np.where(np.arange(zs) % options == options - 1, 0, _PREFER)  # of equals, what changes least
    # HiGHS writes lines of its own to the output while it carries a solution back through its presolve.
    found = milp(
        gain, constraints=[shape, *limits], options={"mip_rel_gap": 1e-7, "presolve": False}, **problem
    )
    if found.x is not None:
        return [int(k) for k in found.x[xs:].reshape(allowed.shape).argmax(axis=1)]
    faults = []
    for name, u in zip(capacity, used):  # which limit is it? The least that any sheet uses tells
        least = milp(u, constraints=[shape], **problem)
        if least.x is not None and least.fun * scale[name] > capacity[name]:
            faults.append(
                f"capacity: {name} = {capacity[name]:,.1f} a month is too little for any sheet of rules; the least "
                f"that one uses is {least.fun * scale[name]:,.1f}. Allowed: that much or more."
            )
    raise FrameError(
        faults
        or f"capacity: no sheet of rules keeps {first_few(list(capacity))} at once, though it keeps each alone."
    )


def _monotone(rules: pd.DataFrame, allowed: np.ndarray, ranks: np.ndarray) -> list[np.ndarray]:
    """Rows that must be ≥ 0: of the same amounts, a later stage is worked at least as hard as the one before."""
    keys = rules.drop_duplicates("rule").sort_values(["amount", "dpd_from"])
    out = []
    for _, stages in keys.groupby("amount", sort=True):
        numbers = [g for g in stages["rule"] if allowed[g, :-1].any()]
        for early, late in pairwise(numbers):
            for rank in range(1, len(ranks)):
                row = np.zeros(allowed.shape)
                row[late, :-1] += ranks >= rank
                row[early, :-1] -= ranks >= rank
                out.append(row.ravel())
    return out
