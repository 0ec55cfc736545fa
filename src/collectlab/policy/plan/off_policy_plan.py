"""A plan in any of the forms people write it in: as shares of actions by state, and as a rule to live by."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from collectlab.core.errors import FrameError, first_few
from collectlab.policy.plan.model import DecisionModel
from collectlab.policy.plan.rows import States

__all__ = ["as_choice", "plan_shares"]


def plan_shares(model: DecisionModel, plan: Any) -> np.ndarray:
    """The shares of the actions in each state.

    Parameters
    ----------
    model : DecisionModel
        Names the states and the actions.
    plan : mapping, DataFrame, array or Plan
        State → action, or state → {action: share} (states left out keep the strategy in force); a frame with a
        row for each state (its index) and a column for each action; an array (S, A); or what has ``.share``.

    Returns
    -------
    numpy.ndarray
        Shape (S, A), rows that sum to 1.

    Raises
    ------
    FrameError
        Unknown states or actions, shares below 0 or that do not sum to 1; all at once.

    Examples
    --------
    >>> model = DecisionModel.of(move=[[[0.5], [0.2]]], leave=[[[0.5], [0.8]]], reward=[[10.0, 20.0]],
    ...                          inflow=[100.0], states=["late"], actions=["letter", "visit"])
    >>> plan_shares(model, {"late": {"letter": 0.25, "visit": 0.75}}).tolist()
    [[0.25, 0.75]]
    """
    plan = getattr(plan, "share", plan)
    shape = (len(model.states), len(model.actions))
    faults: list[str] = []
    if isinstance(plan, pd.DataFrame):
        plan = {state: dict(row.dropna()) for state, row in plan.iterrows()}
    if isinstance(plan, Mapping):
        share = model.in_force.astype(float).copy()
        if unknown := [s for s in plan if s not in model.states]:
            faults.append(f"unknown states: {first_few(unknown)}. Allowed: {first_few(model.states, 3)}.")
        for state, what in plan.items():
            if state not in model.states:
                continue
            what = {what: 1.0} if isinstance(what, str) else what
            if odd := [a for a in what if a not in model.actions]:
                faults.append(
                    f"{state}: the log has no {first_few(odd)}. Allowed: {', '.join(model.actions)}."
                )
                continue
            row = np.zeros(shape[1])
            for action, part in what.items():
                row[model.actions.index(action)] = part
            share[model.states.index(state)] = row
    else:
        share = np.asarray(plan, float)
        if share.shape != shape:
            raise FrameError(f"the plan has shape {share.shape}. Needed: {shape}, states by actions.")
    wrong = ~np.isfinite(share).all(axis=1) | (share < 0).any(axis=1) | (abs(share.sum(axis=1) - 1) > 1e-6)
    if wrong.any():
        where = [model.states[k] for k in np.flatnonzero(wrong)]
        faults.append(f"shares that are below 0 or do not sum to 1 in {first_few(where)}.")
    if faults:
        raise FrameError(faults)
    return share


def as_choice(
    model: DecisionModel, plan: Any, *, states: States | None = None
) -> Callable[[pd.DataFrame], Any]:
    """The plan as a rule that names one action for each account, for ``collectlab.book.simulate_plan.lived``.

    Parameters
    ----------
    model : DecisionModel
        Names the states and the actions.
    plan : mapping, DataFrame, array or Plan
        As in :func:`plan_shares`.
    states : States, optional
        How accounts are put into states; the model's own by default.

    Returns
    -------
    callable
        Takes a frame with the states' columns, ``strategy`` (at present) and ``luck`` (uniform, which draws where the
        plan mixes); gives one action a row. In a state the model does not have, the present strategy stays.

    Raises
    ------
    FrameError
        As :func:`plan_shares`; or the model does not say how its states were cut.

    Examples
    --------
    >>> model = DecisionModel.of(move=[[[0.5], [0.2]]], leave=[[[0.5], [0.8]]], reward=[[10.0, 20.0]],
    ...                          inflow=[100.0], states=["1+"], actions=["letter", "visit"])
    >>> rule = as_choice(model, {"1+": "visit"}, states=States((1,), amount=float("inf"), score=(), reached=False))
    >>> rule(pd.DataFrame({"days_past_due": [3], "strategy": ["letter"], "luck": [0.4]})).tolist()
    ['visit']
    """
    grid = states or model.grid
    if grid is None:
        raise FrameError("the model does not say how its states were cut. Needed: states=States(…).")
    upto = np.cumsum(plan_shares(model, plan), axis=1)
    place = {state: k for k, state in enumerate(model.states)}
    names = np.array(model.actions, dtype=object)

    def choose(frame: pd.DataFrame) -> np.ndarray:
        at = np.array([place.get(key, -1) for key in grid.key(frame)], int)
        drawn = (frame["luck"].to_numpy()[:, None] >= upto[at]).sum(axis=1)
        named = names[np.minimum(drawn, len(names) - 1)]
        return np.where(at >= 0, named, frame["strategy"].to_numpy(object))

    return choose
