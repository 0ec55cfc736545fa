"""What each action does in each state of an overdue account, estimated from the months of a book."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from collectlab.core.errors import FrameError, NotAvailable, first_few
from collectlab.measures.worth.prices import check_rate
from collectlab.policy.plan import model_shrink as shrink
from collectlab.policy.plan.checks import checked_rows, whole_from
from collectlab.policy.plan.model_class import DecisionModel, Draws, net
from collectlab.policy.plan.model_weights import row_weights
from collectlab.policy.plan.rows import CHANNELS, COUNTED, EXITS, FAILED

__all__ = ["DecisionModel", "decision_model"]

#: Fewer rows than this (effective, after weighting), and an action counts as not tried in a state.
MIN_ROWS = 10
#: Months whose rows tell the strategy in force and the inflow.
RECENT = 12
#: What comes with an exit, and is estimated from the exits: the chance times the mean of those that left by it.
CARRIED = ("lost", "unpaid")
#: Days past due at which the stages begin over which an action's effect is pooled.
STAGES = (30, 90, 180)
#: Where the late part begins, for the coarsest level.
LATE = 90
_KINDS = ("secured", "unsecured", "security unknown")


def decision_model(
    rows: pd.DataFrame,
    *,
    capacity_params: Mapping[str, Any] | None = None,
    prices: Mapping[str, float] | None = None,
    annual_rate: float = 0.06,
    min_rows: float = MIN_ROWS,
    draws: int = 100,
    seed: int = 20261031,
) -> DecisionModel:
    r"""Estimate what each action does in each state.

    Within a state each action's rows are weighted to stand for the state's whole mix
    (:func:`~collectlab.policy.plan.model_weights.row_weights`), so that actions chosen on what the rows show
    (score, income, amount, …) are compared like with like. Chances and means of a cell are the state's own over all
    actions plus what the action does before and from day 90, by stage, by band of days past due, by security and in the cell itself, each
    level drawn towards the one above (:mod:`~collectlab.policy.plan.model_shrink`); the strengths come from the
    data. What is lost and unpaid is the chance of the exit times the mean of those that left by it, which is the same for all
    actions.

    Parameters
    ----------
    rows : pandas.DataFrame
        As :func:`~collectlab.policy.plan.rows.decision_rows` gives them.
    capacity_params : mapping, optional
        ``minutes_per_call``, ``minutes_per_visit``, …: minutes an agent spends on one, for the use
        ``agent_hours`` (numbers, or :class:`~collectlab.core.params.InForce`). By default 6 minutes a call.
    prices : mapping, optional
        Use → money for one: ``complaints``; ``owed`` (funding cost of one unit past due a month); ``lost`` (share of
        what is charged off that is lost for good); ``unpaid`` (1, as a rule). Reward = paid − cost − Σ price × use;
        where ``unpaid`` is priced, ``paid`` is left out, since both are the same money: all of an episode's first
        arrears less what is never paid, known at the exit. Net is then what is not lost and spent, and below 0.
    annual_rate : float
        For the discount, 1 / (1 + rate)^(1/12); 0 to 1.
    min_rows : float
        Effective rows from which an action counts as tried in a state.
    draws : int
        Bootstrap draws of customers. The chances of the actions and the strengths of shrinking transitions
        within the two coarsest groups stay fixed in them.
    seed : int

    Returns
    -------
    DecisionModel

    Raises
    ------
    NotAvailable
        No month of any account is seen to its end, or no action is known.
    FrameError
        A column is missing, or a rate, price or minute is out of range.

    Examples
    --------
    >>> from collectlab.book.open import open_book
    >>> from collectlab.book.simulate import simulate
    >>> from collectlab.policy.plan.rows import decision_rows
    >>> bank = simulate(accounts=400, months=8, truth_accounts=0)
    >>> model = decision_model(decision_rows(open_book(bank.book_tables)), draws=5)
    >>> bool(np.allclose(model.move.sum(axis=2) + model.leave.sum(axis=2), 1))
    True
    """
    needed = ["customer_id", "on", "days_past_due", "action", "state", "next_state", "entry", *COUNTED]
    rows = checked_rows(rows, needed, COUNTED)
    check_rate(annual_rate, "annual_rate")
    draws, seed = whole_from(draws, "draws", 0, 10_000), whole_from(seed, "seed", 0, 2**63)
    known = rows[rows["action"].notna()].reset_index(drop=True)
    used = known["next_state"].notna().to_numpy()
    if not used.any():
        raise NotAvailable("no overdue account under a known strategy is seen a month later.")
    states, place = _states(known)
    actions = tuple(sorted(known["action"].astype(str).unique()))
    s = place[known["state"]].to_numpy()
    a = pd.Index(actions).get_indexer(known["action"].astype(str))
    part = known[used].reset_index(drop=True)
    weights = row_weights(part, s[used], a[used], len(actions))
    customer = pd.factorize(known["customer_id"], sort=True)[0]
    data = _Data(part, s[used], a[used], states, actions, place, weights.weight, _lowest(known, states))
    minutes = _minutes(capacity_params)
    recent = known["on"] > known["on"].max() - pd.DateOffset(months=RECENT)
    months = max(known.loc[recent, "on"].nunique(), 1)
    entry = (known["entry"] & recent).to_numpy(float) / months

    def inflow_of(times: np.ndarray) -> np.ndarray:
        return np.bincount(s, entry * times, len(states))

    ones = np.ones(len(known))
    point, strength = _fit(data, np.ones(len(part)), None, minutes)
    held = dict(prices or {})
    if unknown := [k for k in held if k not in point[2]]:
        raise FrameError(f"prices: {first_few(unknown)}. Allowed: {', '.join(point[2])}.")
    random = np.random.default_rng(seed)
    many = customer.max() + 1
    sampled = []
    for _ in range(draws):
        times = np.bincount(random.integers(0, many, many), minlength=many)[customer].astype(float)
        sampled.append((*_fit(data, times[used], strength, minutes)[0], inflow_of(times)))
    force = np.zeros((len(states), len(actions)))
    np.add.at(force, (s[recent.to_numpy()], a[recent.to_numpy()]), 1)
    every = np.zeros_like(force)
    np.add.at(every, (s, a), 1)
    force = np.where(force.sum(axis=1, keepdims=True) > 0, force, every)
    force = np.where(force.sum(axis=1, keepdims=True) > 0, force, every.sum(axis=0))
    force /= force.sum(axis=1, keepdims=True)
    last = known["on"] == known["on"].max()
    exits = tuple(e for e in EXITS if (part["next_state"] == e).any()) or EXITS[:1]
    counted = point[2]
    dropped = len(rows) - len(known)
    notes = [
        f"{len(part):,} account-months of {known['customer_id'].nunique():,} customers; weighted by chances that rest on "
        f"{', '.join(weights.columns)}; {100 * weights.clipped:.1f} % of the weights clipped.",
        "Thin cells are shrunk: what an action does before or from day 90, in the stage, the band and the group counts for "
        f"{', '.join(f'{float(x[0]):g}' for x in strength.move[1:])} rows of the level below (transitions).",
        *([f"{dropped:,} account-months under no known strategy are left out."] if dropped else []),
    ]
    stacked = None
    if draws:
        stacked = Draws(
            np.stack([d[0] for d in sampled]),
            np.stack([d[1] for d in sampled]),
            np.stack([net(d[2], held) for d in sampled]),
            {k: np.stack([d[2][k] for d in sampled]) for k in counted},
            np.stack([d[3] for d in sampled]),
        )
    return DecisionModel(
        states=states,
        actions=actions,
        exits=exits,
        move=point[0],
        leave=point[1],
        reward=net(counted, held),
        paid=counted["paid"],
        cost=counted["cost"],
        uses={k: v for k, v in counted.items() if k not in ("paid", "cost")},
        n=data.rows,
        effective=data.effective,
        tried=data.effective >= min_rows,
        inflow=inflow_of(ones),
        stock=np.bincount(s[last], minlength=len(states)).astype(float),
        in_force=force,
        discount=float((1 + annual_rate) ** (-1 / 12)),
        draws=stacked,
        grid=rows.attrs.get("states"),
        notes=tuple(notes),
        prices=held,
    )


def _lowest(known: pd.DataFrame, states: tuple[str, ...]) -> np.ndarray:
    """The lowest days past due of each state's band."""
    low = known.groupby(known["state"].map(_band))["days_past_due"].min()
    return np.array([low.get(_band(k), np.inf) for k in states], float)


def _states(known: pd.DataFrame) -> tuple[tuple[str, ...], pd.Series]:
    """All states seen, from low to high, and the place of each."""
    seen = set(known["state"]) | {x for x in known["next_state"].dropna().unique() if x not in EXITS}
    names = tuple(sorted(seen))
    low = dict(zip(names, _lowest(known, names)))
    order = sorted(names, key=lambda k: (low[k], k))
    return tuple(order), pd.Series(range(len(order)), index=order)


def _band(state: str) -> str:
    return state.split(" | ")[0]


def _word(state: str, of: Callable[[str], bool]) -> str:
    return next((part for part in state.split(" | ")[1:] if of(part)), "")


def _layout(states: tuple[str, ...], low: np.ndarray, exits: list[str]) -> shrink.Layout:
    kind = np.array([_word(k, _KINDS.__contains__) for k in states])
    score = np.array([_word(k, lambda part: part.startswith("score")) for k in states])
    near = np.ones((len(states), len(states) + len(exits)), bool)
    for word in (kind, score):
        near[:, : len(states)] &= (
            (word[:, None] == word[None, :]) | (word[:, None] == "") | (word[None, :] == "")
        )
    band = np.unique([_band(k) for k in states], return_inverse=True)[1]
    both = np.unique([f"{_band(k)} | {w}" for k, w in zip(states, kind)], return_inverse=True)[1]
    stage = np.unique(np.searchsorted(STAGES, low, side="right"), return_inverse=True)[1]
    outcome = np.zeros((len(states), len(states) + len(exits)), int)
    outcome[:, : len(states)] = np.where(low[None, :] > low[:, None], 1, 2)
    outcome[:, len(states) :] = [0 if e in ("cured", "closed") else 1 for e in exits]
    late = np.unique(low >= LATE, return_inverse=True)[1]
    levels = (late.ravel(), stage.ravel(), band.ravel(), both.ravel())
    return shrink.Layout(levels, outcome, near)


class _Data:
    """The rows as arrays, laid out for a fast count under any multiplicity of customers."""

    def __init__(self, part, s, a, states, actions, place, weight, low):
        exits = [e for e in EXITS if (part["next_state"] == e).any()] or list(EXITS[:1])
        where = {**place.to_dict(), **{e: len(states) + k for k, e in enumerate(exits)}}
        self.to = part["next_state"].map(where).to_numpy(int)
        self.shape = (len(states), len(actions), len(states) + len(exits))
        self.cell = s * len(actions) + a
        cells = len(states) * len(actions)
        sums = np.bincount(self.cell, weight, cells)
        squares = np.bincount(self.cell, weight**2, cells)
        self.rows = np.bincount(self.cell, minlength=cells).reshape(self.shape[:2])
        self.effective = np.divide(sums**2, squares, out=np.zeros(cells), where=squares > 0).reshape(
            self.shape[:2]
        )
        # scaled so that a cell's weights sum to what its rows are worth
        self.weight = weight * np.divide(sums, squares, out=np.zeros(cells), where=squares > 0)[self.cell]
        self.layout = _layout(states, low, exits)
        self.state = s
        self.carried = {k: part[k].to_numpy(float) for k in CARRIED}
        self.failed = [len(states) + k for k, e in enumerate(exits) if e in FAILED]
        self.values = {k: part[k].to_numpy(float) for k in COUNTED if k not in CARRIED}
        owed = part["amount_past_due"] if "amount_past_due" in part else pd.Series(0.0, index=part.index)
        self.values["owed"] = pd.to_numeric(owed).fillna(0).to_numpy(float)


def _fit(data: _Data, times: np.ndarray, strength: shrink.Strength | None, minutes: Mapping[str, float]):
    """Transitions, exits and means, each customer counted ``times``."""
    s, a, d = data.shape
    w = data.weight * times
    counts = np.bincount(data.cell * d + data.to, w, s * a * d).reshape(s, a, d)
    # in draws, how much the coarsest level is drawn to no difference is found anew: it decides what an action does
    held = (np.zeros(0), *strength.move[1:]) if strength else None
    chances, move_by = shrink.transitions(counts, data.layout, held)
    size = counts.sum(axis=2)
    found: dict[str, np.ndarray] = {}
    by: dict[str, tuple[float, ...]] = {}
    for name, value in data.values.items():
        if not value.any():
            found[name], by[name] = np.zeros((s, a)), ()
            continue
        sums = np.bincount(data.cell, w * value, s * a).reshape(s, a)
        squares = np.bincount(data.cell, w * value**2, s * a).reshape(s, a)
        mean, by[name] = shrink.means(size, sums, squares, data.layout, 2.0 if strength else 1.0)
        found[name] = np.maximum(mean, 0.0)
    found |= {k: _carried(data, w, value, chances) for k, value in data.carried.items()}
    found["agent_hours"] = sum(m / 60 * found[k] for k, m in minutes.items()) + np.zeros((s, a))
    found["contacts"] = found["calls"] + found["visits"] + found["agency"]
    found["budget"] = found["cost"]
    return (chances[:, :, :s], chances[:, :, s:], found), strength or shrink.Strength(move_by, by)


def _carried(data: _Data, w: np.ndarray, value: np.ndarray, chances: np.ndarray) -> np.ndarray:
    """What is lost by an exit: its chance × its mean in the state, drawn towards that of the group and of all."""
    states, total = data.shape[0], np.zeros(data.shape[:2])
    group = data.layout.levels[-1]
    for exit_ in data.failed:
        left = data.to == exit_
        n = np.bincount(data.state[left], w[left], states)
        sums = np.bincount(data.state[left], (w * value)[left], states)
        mean = sums.sum() / max(n.sum(), 1e-9)
        of_group = (np.bincount(group, sums) + shrink.STATE_PRIOR * mean) / (
            np.bincount(group, n) + shrink.STATE_PRIOR
        )
        own = (sums + shrink.STATE_PRIOR * of_group[group]) / (n + shrink.STATE_PRIOR)
        total += chances[:, :, exit_] * own[:, None]
    return total


def _minutes(capacity_params: Mapping[str, Any] | None) -> dict[str, float]:
    """Use → minutes an agent spends on one."""
    singular = {f"minutes_per_{k[:-1] if k.endswith('s') else k}": k for k in CHANNELS}
    found = {}
    for key, use in singular.items():
        if capacity_params is not None and key in capacity_params:
            held = capacity_params[key]
            found[use] = float(getattr(held, "value", held))
    if bad := [f"{k} {v}" for k, v in found.items() if not 0 <= v < float("inf")]:
        raise FrameError(f"minutes of {first_few(bad)}. Allowed: minutes ≥ 0.")
    return found or {"calls": 6.0}
