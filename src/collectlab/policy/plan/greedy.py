"""The rule of thumb a plan has to beat: spend what is scarce where it brings most next month."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from collectlab.policy.plan.model import DecisionModel
from collectlab.policy.plan.value import occupancy


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

    Examples
    --------
    >>> model = DecisionModel.of(move=[[[0.0], [0.0]]], leave=[[[1.0], [1.0]]], reward=[[10.0, 20.0]],
    ...                          uses={"calls": [[1.0, 3.0]]}, inflow=[100.0])
    >>> greedy(model, {"calls": 200}).round(3).tolist()
    [[0.5, 0.5]]
    """
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

    def fits(plan: np.ndarray) -> bool:
        y = occupancy(model.move, plan, model.inflow, model.discount)
        return bool(((uses * (y[:, None] * plan)).sum(axis=(1, 2)) <= limits * (1 + 1e-9)).all())

    gain = model.reward - model.reward[np.arange(s), base][:, None]
    extra = scarce - scarce[np.arange(s), base][:, None]
    per = np.where(may & (gain > 0), gain / np.maximum(extra, 1e-12), -np.inf)
    order = np.argsort(-per, axis=None, kind="stable")
    for cell in order[np.isfinite(per.ravel()[order])]:
        k, act = divmod(int(cell), share.shape[1])
        if share[k] @ model.reward[k] >= model.reward[k, act]:
            continue
        step = np.zeros_like(share[k])
        step[act] = 1
        trial = share.copy()
        trial[k] = step
        if fits(trial):
            share = trial
            continue
        low, high = 0.0, 1.0
        for _ in range(20):
            half = (low + high) / 2
            trial[k] = (1 - half) * share[k] + half * step
            low, high = (half, high) if fits(trial) else (low, half)
        share[k] = (1 - low) * share[k] + low * step
    return share


def _first(least: np.ndarray, reward: np.ndarray) -> int:
    equal = least <= least.min() + 1e-12
    return int(np.argmax(np.where(equal, reward, -np.inf)))
