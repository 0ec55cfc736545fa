"""The decision model: states, actions, chances, rewards, uses; made from a book or by hand, and checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from collectlab.core.errors import FrameError, first_few
from collectlab.policy.plan.states import States

_TINY = 1e-9


@dataclass(frozen=True)
class Draws:
    """Resampled models, stacked along the first axis; ``counted`` has paid, cost and every use."""

    move: np.ndarray
    leave: np.ndarray
    reward: np.ndarray
    counted: dict[str, np.ndarray]
    inflow: np.ndarray


@dataclass(frozen=True, kw_only=True)
class DecisionModel:
    """A Markov decision process of overdue accounts, a month a step.

    Attributes
    ----------
    states, actions, exits : tuple of str
        Their names: S states, A actions, E exits.
    move, leave : float, shapes (S, A, S) and (S, A, E)
        Chances to be in each state, or gone by each exit, a month later; together they sum to 1.
    reward : float (S, A)
        Money a month: paid − cost − Σ price × use; without ``paid`` where ``unpaid`` is priced (both are the
        same money, known when it comes or when the account leaves without it).
    paid, cost : float (S, A)
        Money a month.
    uses : mapping of str to float (S, A)
        What else a month takes or brings: calls, visits, agent_hours, budget, complaints, lost, owed, …
    n, effective : (S, A)
        Rows, and what they are worth after weighting.
    tried : bool (S, A)
        Whether an action may be chosen in a state.
    inflow, stock : float (S,)
        New accounts a month by their first state, and accounts now.
    in_force : float (S, A)
        The strategy in force, as shares that sum to 1 in each state.
    discount : float
        Worth now of one unit of money a month later.
    draws : Draws or None
        The same, resampled by customers.
    grid : States or None
        How the states were cut.
    notes : tuple of str
    """

    states: tuple[str, ...]
    actions: tuple[str, ...]
    exits: tuple[str, ...]
    move: np.ndarray
    leave: np.ndarray
    reward: np.ndarray
    paid: np.ndarray
    cost: np.ndarray
    uses: Mapping[str, np.ndarray]
    n: np.ndarray
    effective: np.ndarray
    tried: np.ndarray
    inflow: np.ndarray
    stock: np.ndarray
    in_force: np.ndarray
    discount: float = 1.0
    draws: Draws | None = None
    grid: States | None = None
    notes: tuple[str, ...] = ()
    prices: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if faults := _faults(self):
            raise FrameError(faults)

    @classmethod
    def of(
        cls,
        *,
        move: Any,
        leave: Any,
        reward: Any,
        uses: Mapping[str, Any] | None = None,
        inflow: Any,
        in_force: Any = None,
        states: Sequence[str] | None = None,
        actions: Sequence[str] | None = None,
        exits: Sequence[str] | None = None,
        paid: Any = None,
        cost: Any = None,
        tried: Any = None,
        stock: Any = None,
        discount: float = 1.0,
    ) -> DecisionModel:
        """A model made by hand, checked.

        Parameters
        ----------
        move, leave, reward, uses, inflow, in_force, paid, cost, tried, stock, discount
            As the attributes; ``in_force`` is by default the first action, ``tried`` everywhere, ``paid`` the
            reward plus ``cost``, ``cost`` 0.
        states, actions, exits : sequence of str, optional
            Names; by default s1, s2, …, a1, a2, …, and e1, e2, ….

        Returns
        -------
        DecisionModel

        Raises
        ------
        FrameError
            Shapes that do not fit, chances that do not sum to 1, negative costs or uses, states with no exit, a
            discount out of range; all at once.

        Examples
        --------
        >>> model = DecisionModel.of(move=[[[0.5], [0.2]]], leave=[[[0.5], [0.8]]], reward=[[10.0, 20.0]],
        ...                          uses={"calls": [[1.0, 3.0]]}, inflow=[100.0])
        >>> model.states, model.actions
        (('s1',), ('a1', 'a2'))
        """
        given = {
            "move": move, "leave": leave, "reward": reward, "inflow": inflow, "in_force": in_force, "paid": paid,
            "cost": cost, "stock": stock, "discount": discount,
        }  # fmt: skip
        if not isinstance(uses or {}, Mapping):
            raise FrameError(f"uses is {uses!r}. Allowed: use → numbers (S, A).")
        given |= {f"uses[{k!r}]": v for k, v in (uses or {}).items()}
        if odd := [name for name, values in given.items() if values is not None and not _numbers(values)]:
            raise FrameError(
                f"{first_few(odd)}: no numbers. Allowed: arrays of numbers, as the attributes say."
            )
        move, leave = np.asarray(move, float), np.asarray(leave, float)
        reward = np.asarray(reward, float)
        if move.ndim != 3 or leave.ndim != 3 or reward.ndim != 2:
            raise FrameError("move and leave have 3 dimensions (state, action, next or exit), reward has 2.")
        s, a, e = reward.shape[0], reward.shape[1], leave.shape[2]
        costs = np.zeros((s, a)) if cost is None else np.asarray(cost, float)
        if in_force is None:
            in_force = np.zeros((s, a))
            in_force[:, 0] = 1
        return cls(
            states=tuple(states or (f"s{k + 1}" for k in range(s))),
            actions=tuple(actions or (f"a{k + 1}" for k in range(a))),
            exits=tuple(exits or (f"e{k + 1}" for k in range(e))),
            move=move,
            leave=leave,
            reward=reward,
            paid=reward + costs if paid is None else np.asarray(paid, float),
            cost=costs,
            uses={k: np.asarray(v, float) for k, v in (uses or {}).items()},
            n=np.zeros((s, a), int),
            effective=np.zeros((s, a)),
            tried=np.ones((s, a), bool) if tried is None else np.asarray(tried, bool),
            inflow=np.asarray(inflow, float),
            stock=np.zeros(s) if stock is None else np.asarray(stock, float),
            in_force=np.asarray(in_force, float),
            discount=float(discount),
        )

    def priced(self, prices: Mapping[str, float]) -> DecisionModel:
        """The same model with other prices: reward = paid − cost − Σ price × use (no paid where unpaid is priced).

        Parameters
        ----------
        prices : mapping
            Use → money for one unit, such as ``{"complaints": 320, "owed": 0.004, "visits": 20}`` (on top of
            ``cost``).

        Returns
        -------
        DecisionModel

        Examples
        --------
        >>> model = DecisionModel.of(move=[[[0.5]]], leave=[[[0.5]]], reward=[[10.0]],
        ...                          uses={"calls": [[2.0]]}, inflow=[1.0])
        >>> model.priced({"calls": 1.5}).reward.tolist()
        [[7.0]]
        """
        if unknown := [k for k in prices if k not in self.uses]:
            raise FrameError(f"prices: {first_few(unknown)}. Allowed: {', '.join(self.uses)}.")
        if wrong := [f"{k} {v}" for k, v in prices.items() if not 0 <= v < float("inf")]:
            raise FrameError(f"prices below 0: {first_few(wrong)}. Allowed: money ≥ 0.")
        counted = {"paid": self.paid, "cost": self.cost, **self.uses}
        draws = self.draws and replace(self.draws, reward=net(self.draws.counted, prices))
        return replace(self, reward=net(counted, prices), draws=draws, prices=dict(prices))


def _numbers(values: Any) -> bool:
    try:
        return np.asarray(values).dtype.kind not in "US" and np.asarray(values, float) is not None
    except (TypeError, ValueError):
        return False


def net(counted: Mapping[str, Any], prices: Mapping[str, float]) -> Any:
    """paid − cost − Σ price × use; without ``paid`` where ``unpaid`` has a price: both are the same money."""
    paid = 0.0 if prices.get("unpaid") else counted["paid"]
    return paid - counted["cost"] - sum((p * counted[k] for k, p in prices.items()), 0.0)


def _faults(model: DecisionModel) -> list[str]:
    s, a, e = len(model.states), len(model.actions), len(model.exits)
    shapes = {
        "move": (model.move, (s, a, s)),
        "leave": (model.leave, (s, a, e)),
        "inflow": (model.inflow, (s,)),
        "stock": (model.stock, (s,)),
        **{k: (getattr(model, k), (s, a)) for k in ("reward", "paid", "cost", "tried", "in_force")},
        **{f"uses[{k!r}]": (v, (s, a)) for k, v in model.uses.items()},
    }
    faults = [
        f"{name} has shape {np.shape(value)}. Needed: {shape}."
        for name, (value, shape) in shapes.items()
        if np.shape(value) != shape
    ]
    for what, names in (("states", model.states), ("actions", model.actions), ("exits", model.exits)):
        if twice := sorted({str(n) for n in names if names.count(n) > 1}):
            faults.append(f"{what}: {first_few(twice)} stands more than once. Allowed: each name once.")
    if not s or not a:
        faults.append("the model has no state or no action.")
    if faults:
        return faults
    for name, (value, _) in shapes.items():
        if not np.isfinite(value).all():
            faults.append(f"{name} holds numbers that are not finite.")
    named = [(x, y) for x in range(s) for y in range(a)]
    total = model.move.sum(axis=2) + model.leave.sum(axis=2)

    def tell(bad: np.ndarray, what: str) -> None:
        if bad.any():
            cells = [f"{model.states[x]} × {model.actions[y]}" for x, y in named if bad[x, y]]
            faults.append(f"{what}: {first_few(cells)}.")

    tell(np.abs(total - 1) > 1e-6, "move and leave do not sum to 1")
    tell((model.move < -_TINY).any(axis=2) | (model.leave < -_TINY).any(axis=2), "chances below 0")
    tell(model.cost < -_TINY, "the cost is below 0")
    for name, use in model.uses.items():
        tell(use < -_TINY, f"the use of {name} is below 0")
    for name in ("inflow", "stock"):
        if (getattr(model, name) < 0).any():
            faults.append(f"{name} is below 0.")
    if (np.abs(model.in_force.sum(axis=1) - 1) > 1e-6).any() or (model.in_force < -_TINY).any():
        faults.append("in_force: the shares of each state are ≥ 0 and sum to 1.")
    if not 0 < model.discount <= 1:
        faults.append(f"discount is {model.discount:g} a month. Allowed: above 0, at most 1.")
    faults += _no_way_out(model)
    return faults


def _no_way_out(model: DecisionModel) -> list[str]:
    """States with no exit: under every action, or, undiscounted, under a choice of actions for ever."""
    leaks = model.leave.sum(axis=2) > 1e-12
    out = leaks.any(axis=1)
    while True:
        more = out | ((model.move > 1e-12) & out[None, None, :]).any(axis=(1, 2))
        if (more == out).all():
            break
        out = more
    if not out.all():
        stuck = [model.states[k] for k in np.flatnonzero(~out)]
        return [f"no exit from {first_few(stuck)}. Needed: a way out under some action."]
    if model.discount < 1:
        return []
    inside = np.ones(len(model.states), bool)
    while inside.any():
        stays = ~leaks & ~((model.move > 1e-12) & ~inside[None, None, :]).any(axis=2)
        fewer = inside & stays.any(axis=1)
        if (fewer == inside).all():
            stuck = [model.states[k] for k in np.flatnonzero(inside)]
            return [
                f"without discount there is a choice of actions that never leaves {first_few(stuck)}. Needed: a way "
                "out under every action, or a discount below 1."
            ]
        inside = fewer
    return []
