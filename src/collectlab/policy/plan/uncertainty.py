"""Which parts of a plan are beyond noise: paired gains by state over the draws, and what chance added to the best."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from collectlab.policy.plan.model import DecisionModel
from collectlab.policy.plan.plan_worth import occupancy


def gains(model: DecisionModel, plan: np.ndarray, prices: Mapping[str, float]) -> np.ndarray:
    r"""What each state adds to plan − strategy in force, a month: point (S,).

    By the performance-difference identity, :math:`V^\pi - V^0 = \sum_s y^\pi_s \sum_a \pi_{sa} A^0_{sa}` with the
    advantage over the strategy in force :math:`A^0_{sa} = r_{sa} + \gamma \sum_t p_{sat} v^0_t - v^0_s`. Rewards are
    net of capacity at ``prices``, so that what one state takes from the others is counted against it.

    Parameters
    ----------
    model : DecisionModel
    plan : float (S, A)
    prices : mapping
        Use → price of one unit.

    Returns
    -------
    numpy.ndarray (S,)

    Examples
    --------
    >>> model = DecisionModel.of(move=[[[0.5], [0.2]]], leave=[[[0.5], [0.8]]], reward=[[10.0, 30.0]],
    ...                          uses={"calls": [[1.0, 3.0]]}, inflow=[100.0])
    >>> gains(model, np.array([[0.0, 1.0]]), {}).round(6).tolist()  # 100 / 0.8 · 30 − 100 / 0.5 · 10
    [1750.0]
    """
    lowered = model.reward - sum((p * model.uses[k] for k, p in prices.items()), np.zeros(()))
    return _gains(model.move, lowered, model.inflow, plan, model.in_force, model.discount)


def drawn_gains(
    model: DecisionModel, plan: np.ndarray, prices: Mapping[str, float], which: slice = slice(None)
) -> np.ndarray:
    """The same for each draw: (B, S).

    Parameters
    ----------
    model : DecisionModel
        With draws.
    plan : float (S, A)
    prices : mapping
    which : slice
        Of these draws only.

    Returns
    -------
    numpy.ndarray (B, S)

    Examples
    --------
    >>> model = DecisionModel.of(move=[[[0.5]]], leave=[[[0.5]]], reward=[[10.0]], inflow=[1.0])
    >>> drawn_gains(model, np.array([[1.0]]), {}).shape
    (0, 1)
    """
    if model.draws is None:
        return np.zeros((0, len(model.states)))
    d = model.draws
    lowered = d.reward[which] - sum((p * d.counted[k][which] for k, p in prices.items()), np.zeros(()))
    return _gains(d.move[which], lowered, d.inflow[which], plan, model.in_force, model.discount)


def lucky_gains(model: DecisionModel, plan: np.ndarray, prices: Mapping[str, float]) -> np.ndarray:
    """What the best choice would seem to gain in each draw if no action differed from the strategy in force: (B, S).

    White's reality check: each draw's advantages, less those of the point estimate, are what chance alone does; the best
    of them in each state, for the accounts that the plan brings there.

    Parameters
    ----------
    model : DecisionModel
        With draws.
    plan : float (S, A)
    prices : mapping

    Returns
    -------
    numpy.ndarray (B, S)

    References
    ----------
    White (2000), A reality check for data snooping, Econometrica 68.

    Examples
    --------
    >>> model = DecisionModel.of(move=[[[0.5]]], leave=[[[0.5]]], reward=[[10.0]], inflow=[1.0])
    >>> lucky_gains(model, np.array([[1.0]]), {}).shape
    (0, 1)
    """
    if model.draws is None:
        return np.zeros((0, len(model.states)))
    d = model.draws
    point = model.reward - sum((p * model.uses[k] for k, p in prices.items()), np.zeros(()))
    drawn = d.reward - sum((p * d.counted[k] for k, p in prices.items()), np.zeros(()))
    apart = _advantage(d.move, drawn, model.in_force, model.discount)
    apart = apart - _advantage(model.move, point, model.in_force, model.discount)
    best = np.where(model.tried, apart, 0.0).max(axis=-1).clip(0)
    return occupancy(model.move, plan, model.inflow, model.discount) * best


def charged(
    model: DecisionModel, plan: np.ndarray, prices: Mapping[str, float], capacity: Mapping[str, float]
) -> dict[str, float]:
    """The prices that states pay for what they use more: only what must be taken from other states is paid for.

    Of what the plan's states use more than today, the part that today's spare capacity covers is free.

    Parameters
    ----------
    model : DecisionModel
    plan : float (S, A)
    prices, capacity : mapping

    Returns
    -------
    dict

    Examples
    --------
    >>> model = DecisionModel.of(move=[[[0.0], [0.0]]], leave=[[[1.0], [1.0]]], reward=[[10.0, 20.0]],
    ...                          uses={"calls": [[1.0, 3.0]]}, inflow=[100.0])
    >>> charged(model, np.array([[0.5, 0.5]]), {"calls": 5.0}, {"calls": 150.0})  # 100 more, 50 to spare
    {'calls': 2.5}
    """
    y = occupancy(model.move, model.in_force, model.inflow, model.discount)
    found = {}
    for name, price in prices.items():
        use = model.uses[name]
        more = _gains(model.move, use, model.inflow, plan, model.in_force, model.discount).clip(0).sum()
        spare = max(capacity[name] - float((y[:, None] * model.in_force * use).sum()), 0.0)
        found[name] = float(price * (1 - min(spare / more, 1.0))) if more > 1e-12 else price
    return found


def _gains(move, reward, inflow, plan, force, discount) -> np.ndarray:
    advantage = _advantage(move, reward, force, discount)
    y = occupancy(move, plan, inflow, discount)
    return y * (plan * advantage).sum(axis=-1)


def _advantage(move, reward, force, discount) -> np.ndarray:
    """What an action brings more than the strategy in force, once, with the latter ever after."""
    chain = np.matmul(force[..., :, None, :], move)[..., 0, :]
    brings = (force * reward).sum(axis=-1)
    still = np.eye(chain.shape[-1]) - discount * chain
    worth = np.linalg.solve(still, brings[..., None])[..., 0]
    after = np.matmul(move, worth[..., None, :, None])[..., 0]
    return reward + discount * after - worth[..., None]


def holm(z: np.ndarray, level: float) -> np.ndarray:
    """Which of several one-sided z values stand, by Holm's step-down at ``level`` in all.

    Parameters
    ----------
    z : float (k,)
    level : float
        Chance of any false one.

    Returns
    -------
    numpy.ndarray of bool (k,)

    Examples
    --------
    >>> holm(np.array([4.0, 1.8, 2.5]), 0.025).tolist()
    [True, False, True]
    """
    from scipy.special import ndtr

    p = 1 - ndtr(z)
    order = np.argsort(p, kind="stable")
    stands = np.zeros(len(z), bool)
    for rank, k in enumerate(order):
        if not p[k] <= level / (len(z) - rank):
            break
        stands[k] = True
    return stands
