"""The search for the best sheet of rules: a mixed-integer programme, solved by HiGHS through scipy."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from collectlab.core.errors import FrameError, first_few
from collectlab.policy.plan.compare import COVERED
from collectlab.policy.plan.model import DecisionModel
from collectlab.policy.plan.plan_worth import occupancy

#: What a rule says where nothing is changed.
AS_NOW = "as now"
#: Draws in which the best sheet is looked for anew.
RESOLVED = 20
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


@dataclass(frozen=True)
class Shape:
    """What sheets of rules there are.

    Attributes
    ----------
    rule : int (states,)
        Each state's rule.
    options : tuple of str
        The actions, then "as now".
    tried : bool (states, actions)
        Where an action may be chosen; elsewhere an option stays as now.
    allowed : bool (rules, options)
    pairs, ranks
        Rules of which the second must be worked at least as hard as the first, and how hard each action is.
    """

    rule: np.ndarray
    options: tuple[str, ...]
    tried: np.ndarray
    force: np.ndarray
    allowed: np.ndarray
    pairs: tuple[tuple[int, int], ...] = ()
    ranks: np.ndarray | None = None

    def spread(self, values: np.ndarray) -> np.ndarray:
        """From actions (states, actions, …) to options: what is not tried stays as now, which is the last option."""
        values = np.asarray(values, dtype=float)
        now = np.einsum("sa,sa...->s...", self.force, values)[:, None]
        kept = self.tried.reshape(*self.tried.shape, *[1] * (values.ndim - 2))
        return np.concatenate([np.where(kept, values, now), now], axis=1)


def shaped(
    model: DecisionModel,
    rule: np.ndarray,
    pairs: tuple[tuple[int, int], ...] = (),
    ranks: np.ndarray | None = None,
) -> Shape:
    """The sheets a model allows: an action is an option where it was tried in enough of the rule's account-months.

    Parameters
    ----------
    model : DecisionModel
    rule : int (states,)
    pairs, ranks
        For sheets that must be worked harder from stage to stage; "as now" is then left only to rules with no action.

    Returns
    -------
    Shape

    Examples
    --------
    >>> model = DecisionModel.of(move=[[[0.5], [0.2]]], leave=[[[0.5], [0.8]]], reward=[[10.0, 20.0]], inflow=[100.0],
    ...                          tried=[[True, False]])
    >>> shaped(model, np.array([0])).allowed.tolist()
    [[True, False, True]]
    """
    force, tried = np.asarray(model.in_force, dtype=float), np.asarray(model.tried, dtype=bool)
    months = occupancy(model.move, force, model.inflow, model.discount)
    allowed = []
    for number in range(int(rule.max()) + 1):
        mine = rule == number
        weight = months[mine] if months[mine].sum() > 0 else np.ones(mine.sum())
        allowed.append(weight @ tried[mine] >= COVERED * weight.sum() - 1e-12)
    may = np.array(allowed)
    now = ~may.any(axis=1) if ranks is not None else np.ones(len(may), dtype=bool)
    return Shape(rule, (*model.actions, AS_NOW), tried, force, np.column_stack([may, now]), pairs, ranks)


def optimism(model: DecisionModel, shape: Shape, chosen: list[int], prices: Mapping[str, float]) -> float:
    """What chance adds to the best sheet's gain a month: the mean, over draws, of own gain less gain at the estimate.

    In each draw the best sheet is looked for rule by rule from the chosen one on, at the prices of capacity.

    Parameters
    ----------
    model : DecisionModel
    shape : Shape
    chosen : list of int
        The option of each rule.
    prices : mapping
        Use → price of one unit.

    Returns
    -------
    float
        0 at least; missing without draws.

    Examples
    --------
    >>> model = DecisionModel.of(move=[[[0.5]]], leave=[[[0.5]]], reward=[[10.0]], inflow=[1.0])
    >>> optimism(model, shaped(model, np.array([0])), [0], {})
    nan
    """
    if model.draws is None:
        return float("nan")
    d, now = model.draws, len(shape.options) - 1
    spent = sum((p * model.uses[k] for k, p in prices.items()), np.zeros(model.reward.shape))
    point = _Worth(shape, model.move, model.reward - spent, model.inflow, model.discount)
    as_now = [now] * len(chosen)
    over = []
    for b in range(min(RESOLVED, len(d.move))):
        spent = sum((p * d.counted[k][b] for k, p in prices.items()), np.zeros(model.reward.shape))
        own = _Worth(shape, d.move[b], d.reward[b] - spent, d.inflow[b], model.discount)
        best = own.best(chosen)
        over.append(own.of(best) - own.of(as_now) - point.of(best) + point.of(as_now))
    return max(float(np.mean(over)), 0.0)


class _Worth:
    """What sheets are worth under one set of chances and rewards."""

    def __init__(self, shape: Shape, move, reward, inflow, discount: float):
        self.shape, self.inflow, self.discount = shape, inflow, discount
        self.move, self.reward = shape.spread(move), shape.spread(reward)
        self.at = np.arange(len(inflow))

    def of(self, options: list[int]) -> float:
        """Net a month of one sheet."""
        picked = np.asarray(options)[self.shape.rule]
        system = np.eye(len(self.at)) - self.discount * self.move[self.at, picked]
        return float(self.inflow @ np.linalg.solve(system, self.reward[self.at, picked]))

    def best(self, options: list[int]) -> list[int]:
        """The best sheet that changing one rule at a time leads to."""
        held, worth = list(options), self.of(options)
        for _ in range(5):
            before = worth
            for rule, may in enumerate(self.shape.allowed):
                for option in np.flatnonzero(may):
                    trial = [*held[:rule], int(option), *held[rule + 1 :]]
                    if (found := self.of(trial)) > worth + 1e-9:
                        held, worth = trial, found
            if worth <= before + 1e-9:
                break
        return held


def best_options(model: DecisionModel, capacity: Mapping[str, float], shape: Shape) -> list[int]:
    """The best option of each rule: a mixed-integer programme over months x[state, option], choices z[rule, option].

    Parameters
    ----------
    model : DecisionModel
    capacity : mapping
        Use → most a month.
    shape : Shape

    Returns
    -------
    list of int

    Raises
    ------
    FrameError
        A use the model does not know, a negative capacity; no sheet fits the capacity (says which limit is too low).

    Examples
    --------
    >>> model = DecisionModel.of(move=[[[0.5], [0.2]]], leave=[[[0.5], [0.8]]], reward=[[10.0, 20.0]], inflow=[100.0])
    >>> best_options(model, {}, shaped(model, np.array([0])))
    [1]
    """
    faults = [
        f"capacity: the model has no use {k!r}. Allowed: {first_few(list(model.uses), 12)}."
        for k in capacity
        if k not in model.uses
    ]
    faults += [f"capacity: {k} is {v!r}. Allowed: a number ≥ 0." for k, v in capacity.items() if not v >= 0]
    if faults:
        raise FrameError(faults)
    from scipy.optimize import Bounds, LinearConstraint, milp
    from scipy.sparse import csr_matrix, hstack, identity, vstack

    capacity = {k: float(v) for k, v in capacity.items() if np.isfinite(v)}
    move, reward, allowed, rule = (
        shape.spread(model.move),
        shape.spread(model.reward),
        shape.allowed,
        shape.rule,
    )
    uses = {k: shape.spread(model.uses[k]) for k in capacity}
    states, options = reward.shape
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
    harder = [] if shape.ranks is None else _monotone(shape)
    if len(harder):
        rows = hstack([csr_matrix((len(harder), xs)), csr_matrix(np.array(harder))])
        blocks.append((rows, np.zeros(len(harder)), np.full(len(harder), np.inf)))
    sheets = LinearConstraint(
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
    with _quiet():
        found = milp(gain, constraints=[sheets, *limits], options={"mip_rel_gap": 1e-7}, **problem)
    if found.x is not None:
        return [int(k) for k in found.x[xs:].reshape(allowed.shape).argmax(axis=1)]
    faults = []
    for name, u in zip(capacity, used):  # which limit is it? The least that any sheet uses tells
        with _quiet():
            least = milp(u, constraints=[sheets], **problem)
        if least.x is not None and least.fun * scale[name] > capacity[name]:
            faults.append(
                f"capacity: {name} = {capacity[name]:,.1f} a month is too little for any sheet of rules; the least "
                f"that one uses is {least.fun * scale[name]:,.1f}. Allowed: that much or more."
            )
    raise FrameError(
        faults
        or f"capacity: no sheet of rules keeps {first_few(list(capacity))} at once, though it keeps each alone."
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """Nothing on the process's output: whatever it is told, HiGHS 1.x prints a line each time it mends a solution."""
    try:
        flush = ctypes.CDLL(None).fflush  # what C has buffered must go where it belongs, before and after
    except (OSError, TypeError):
        yield
        return
    sys.stdout.flush()
    flush(None)
    kept, nowhere = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 1)
        yield
    finally:
        flush(None)
        os.dup2(kept, 1)
        os.close(kept)
        os.close(nowhere)


def _monotone(shape: Shape) -> list[np.ndarray]:
    """Rows that must be ≥ 0: of the same amounts, a later stage is worked at least as hard as the one before."""
    out = []
    for early, late in shape.pairs:
        if not (shape.allowed[early, :-1].any() and shape.allowed[late, :-1].any()):
            continue
        for rank in range(1, len(shape.ranks)):
            row = np.zeros(shape.allowed.shape)
            row[late, :-1] += shape.ranks >= rank
            row[early, :-1] -= shape.ranks >= rank
            out.append(row.ravel())
    return out
