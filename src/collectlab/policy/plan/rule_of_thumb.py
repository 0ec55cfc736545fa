"""The rule of thumb a plan has to beat: spend what is scarce where it brings most next month."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from collectlab.policy.plan.model import DecisionModel
from collectlab.policy.plan.plan_worth import check_capacity


def greedy(model: DecisionModel, capacity: Mapping[str, float]) -> np.ndarray:
    """Shares (S, A) of the greedy rule: one month's gain per scarce unit, looking no further.

    Every state begins with its tried action that takes least of what is scarce (each use counted as a share of its
    capacity). Then the state × action with the greatest gain of next month's reward per unit is taken,
    for all its accounts, as long as capacity lasts. As accounts then move otherwise than before, the last moves
    are taken back in part until the capacity holds.

    Parameters
    ----------
    model : DecisionModel
    capacity : mapping
        Use → most a month.

    Returns
    -------
    numpy.ndarray (S, A)

    Raises
    ------
    FrameError
        An unknown use, or a capacity that is no number ≥ 0; all at once.

    Examples
    --------
    >>> model = DecisionModel.of(move=[[[0.0], [0.0]]], leave=[[[1.0], [1.0]]], reward=[[10.0, 20.0]],
    ...                          uses={"calls": [[1.0, 3.0]]}, inflow=[100.0])
    >>> greedy(model, {"calls": 200}).round(3).tolist()
    [[0.5, 0.5]]
    """
    capacity = {k: v for k, v in check_capacity(model, capacity).items() if np.isfinite(v)}
    s = len(model.states)
    limits = np.array([max(float(c), 1e-12) for c in capacity.values()])
    uses = np.stack([model.uses[k] for k in capacity]) if capacity else np.zeros((0, *model.reward.shape))
    scarce = (uses / limits[:, None, None]).sum(axis=0)
    may = model.tried | (~model.tried.any(axis=1, keepdims=True) & (model.in_force > 0))
    # of those that take equally little, the one that brings most
    least = np.where(may, scarce, np.inf)
    base = np.array([_first(least[k], model.reward[k]) for k in range(s)])
    share = np.zeros_like(model.reward)
    share[np.arange(s), base] = 1

    gain = model.reward - model.reward[np.arange(s), base][:, None]
    extra = scarce - scarce[np.arange(s), base][:, None]
    per = np.where(may & (gain > 0), gain / np.maximum(extra, 1e-12), -np.inf)
    order = np.argsort(-per, axis=None, kind="stable")
    chain = np.einsum("sa,sat->st", share, model.move)
    inverse = np.linalg.inv(np.eye(s) - model.discount * chain.T)
    y = inverse @ model.inflow
    own = np.einsum("ksa,sa->ks", uses, share)  # what one account takes in each state
    for cell in order[np.isfinite(per.ravel()[order])]:
        k, act = divmod(int(cell), share.shape[1])
        if share[k] @ model.reward[k] >= model.reward[k, act]:
            continue
        # only state k's row of the chain changes, so the new flow needs no new solution (Sherman-Morrison)
        shift = model.discount * (inverse @ (model.move[k, act] - chain[k]))
        extra_use = uses[:, k, act] - own[:, k]

        low = _affordable(y, shift, k, own, extra_use, limits)
        if low < 1e-6:
            continue
        y = _moved(y, shift, k, low)
        row = inverse[k].copy()
        inverse += np.outer(shift, row) * (low / (1 - low * shift[k]))
        chain[k] += low * (model.move[k, act] - chain[k])
        own[:, k] += low * extra_use
        share[k] *= 1 - low
        share[k, act] += low
    return share


def _first(least: np.ndarray, reward: np.ndarray) -> int:
    equal = least <= least.min() + 1e-12
    return int(np.argmax(np.where(equal, reward, -np.inf)))


def _moved(y: np.ndarray, shift: np.ndarray, k: int, part: float) -> np.ndarray:
    """The flow once ``part`` of state k's accounts are treated otherwise."""
    return y + shift * (part * y[k] / (1 - part * shift[k]))


def _affordable(
    y: np.ndarray, shift: np.ndarray, k: int, own: np.ndarray, extra: np.ndarray, limits: np.ndarray
) -> float:
    """The greatest part of state k's accounts that the limits allow."""

    def fits(part: float) -> bool:
        flow = _moved(y, shift, k, part)
        return bool((own @ flow + part * extra * flow[k] <= limits * (1 + 1e-9)).all())

    low, high = (1.0, 1.0) if fits(1.0) else (0.0, 1.0)
    while high - low > 1e-6:
        half = (low + high) / 2
        low, high = (half, high) if fits(half) else (low, half)
    return low
