"""The best plan under limits: a constrained Markov decision process, solved as a linear programme."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from collectlab.core.errors import FrameError, first_few
from collectlab.core.jackknife import check_level
from collectlab.core.results import Result
from collectlab.policy.plan.model import DecisionModel
from collectlab.policy.plan.plan_worth import Value, check_capacity, occupancy, spread, value
from collectlab.policy.plan.solve_linear import Infeasible, Solution, solve
from collectlab.policy.plan.uncertainty import charged, drawn_gains, gains, holm, lucky_gains

__all__ = ["Infeasible", "Plan", "Solution", "allocate", "solve"]

#: Shares that differ by less are the same.
SAME = 0.02
#: Draws that are solved anew, for what chance adds to the best.
RESOLVED = 30


@dataclass(frozen=True, kw_only=True)
class Plan(Result):
    """What to do in each state; the table is :attr:`changes`, a row per state that the best plan would change.

    Attributes
    ----------
    share : float (S, A)
        The plan: the best one, with the action in force kept wherever its gain is within noise.
    best : float (S, A)
        The best plan before anything is kept back.
    use, prices : mapping
        Capacity used a month, and what one more unit a month is worth (dual of the best plan).
    price_table : pandas.DataFrame
        Rows ``use``: capacity, used, used_in_force, estimate (the price) with its interval.
    value, in_force : Value
        Of the plan, and of the strategy in force.
    gain : mapping
        ``estimate`` (corrected), ``std_error, conf_low, conf_high``, ``optimism`` (what was taken off), a month.
    residuals : mapping
        flow, capacity, sign, slackness, gap: the rechecked solution, relative.
    changes, groups : pandas.DataFrame
        By state, and by band of days past due × action (``proven``: beyond noise by itself, by Holm).
    untried : pandas.DataFrame
        State × action not considered, with the rows there are.
    """

    model: DecisionModel
    capacity: Mapping[str, float]
    share: np.ndarray
    best: np.ndarray
    use: Mapping[str, float]
    prices: Mapping[str, float]
    price_table: pd.DataFrame
    value: Value
    in_force: Value
    gain: Mapping[str, float]
    residuals: Mapping[str, float]
    groups: pd.DataFrame
    untried: pd.DataFrame = field(default_factory=pd.DataFrame)

    @property
    def changes(self) -> pd.DataFrame:
        """A row per state that the best plan would change."""
        return self.table


def allocate(
    model: DecisionModel,
    capacity: Mapping[str, float],
    *,
    forbidden: Any = None,
    keep: Sequence[str] | None = None,
    uncertain: bool = True,
    conf_level: float = 0.95,
) -> Plan:
    r"""The plan that brings most within the capacity, kept back where its gain is within noise.

    .. math:: \max_{x \ge 0} \sum x_{sa} r_{sa} \quad \text{s.t.} \quad
        \sum_a x_{ta} = b_t + \gamma \sum_{s,a} x_{sa} p_{sat}, \quad \sum x_{sa} u^k_{sa} \le c_k

    over the expected accounts :math:`x_{sa}` in state s under action a a month; HiGHS via scipy. An
    action that is not tried in a state is not chosen there beyond what is done of it today. The price of a capacity is the
    dual of its row: what one more unit a month is worth.

    With draws, the gain of each state against the strategy in force (net of the price of the capacity that it takes
    from other states, :func:`~collectlab.policy.plan.uncertainty.gains`) is corrected for optimism: the best of many noisy plans
    looks better than it is, by the mean over draws of (gain in the draw it was best in − gain in the point
    estimate). The plan as a whole is judged first: where its corrected gain is beyond noise, only groups of states
    (band of days past due × action) that gain nothing are kept back; otherwise each group must be beyond noise by
    itself (Holm). Both one-sided, at (1 − level) / 4, so that nothing is changed for nothing but once in 1 / (1 −
    level) / 2. What is kept back keeps the strategy in force, and the rest is solved again.

    Parameters
    ----------
    model : DecisionModel
    capacity : mapping
        Use → most a month; any of ``model.uses``. Empty: no limit.
    forbidden : bool (S, A), optional
        What may not be done at all (a contact rule, say).
    keep : sequence of str, optional
        States, or bands of days past due, in which the strategy in force stays.
    uncertain : bool
        False: no intervals and nothing kept back, for a quick look.
    conf_level : float

    Returns
    -------
    Plan

    Raises
    ------
    Infeasible
        No plan keeps to the capacity.
    FrameError
        An unknown use or state, a negative capacity, a shape that does not fit, a solution with residuals.

    References
    ----------
    Altman (1999), *Constrained Markov Decision Processes*, ch. 3; Efron & Gong (1983) on optimism.

    Examples
    --------
    >>> model = DecisionModel.of(move=[[[0.0], [0.0]]], leave=[[[1.0], [1.0]]], reward=[[10.0, 20.0]],
    ...                          uses={"calls": [[1.0, 3.0]]}, inflow=[100.0])
    >>> plan = allocate(model, {"calls": 200})
    >>> plan.share.round(6).tolist(), round(plan.prices["calls"], 6), round(plan.value.net, 6)
    ([[0.5, 0.5]], 5.0, 1500.0)
    """
    check_level(conf_level)
    limits = _limits(model, capacity)
    may = ~_mask(model, forbidden)
    fixed = _kept(model, keep)
    found = solve(model, limits, may=may, fixed=fixed)
    best = _shares(model, found.x)
    force = model.in_force
    prices = charged(model, best, found.prices, limits)
    draws = model.draws if uncertain else None
    optimism = np.zeros(len(model.states))
    price_draws: dict[str, np.ndarray] = {}
    if draws is not None:
        optimism, price_draws = _optimism(model, limits, may, fixed, prices)
    share, back = best, np.zeros(len(model.states), bool)
    if draws is not None:
        share, back = _kept_back(model, limits, may, fixed, best, prices, optimism, conf_level)
    changes = _changes(model, best, prices, optimism, back, draws is not None, conf_level)
    groups = _groups(model, best, prices, optimism, back, draws is not None, conf_level)
    mine, today = value(model, share, conf_level=conf_level), value(model, force, conf_level=conf_level)
    changed = _differs(share, force)
    over = max(float(optimism[changed].sum()), 0.0)
    apart = mine.net - today.net - over
    both = mine.draws["net"] - today.draws["net"] if draws is not None and mine.draws else None
    error, low, high = spread(apart, both, conf_level)
    use = {k: mine.amounts[k] for k in limits}
    notes = [
        *model.notes,
        "An action with too few effective rows in a state is not chosen there beyond what is done of it today.",
    ]
    if draws is not None:
        notes.append(
            f"The best plan's gain is corrected for optimism by re-solving {min(RESOLVED, len(draws.move))} draws; "
            "changes stay where the whole plan is beyond noise and their group gains, or the group is beyond noise itself."
        )
    return Plan(
        table=changes,
        estimand="Gain a month against the strategy in force, net of the price of capacity taken from other states",
        unit="money",
        title="The plan",
        notes=tuple(notes),
        conf_level=conf_level,
        model=model,
        capacity=limits,
        share=share,
        best=best,
        use=use,
        prices=found.prices,
        price_table=_price_table(limits, use, today, found.prices, price_draws, conf_level),
        value=mine,
        in_force=today,
        gain={"estimate": apart, "std_error": error, "conf_low": low, "conf_high": high, "optimism": over},
        residuals=found.residuals,
        groups=groups,
        untried=_untried(model),
    )


def _limits(model: DecisionModel, capacity: Mapping[str, float]) -> dict[str, float]:
    return {k: v for k, v in check_capacity(model, capacity).items() if np.isfinite(v)}


def _mask(model: DecisionModel, forbidden: Any) -> np.ndarray:
    shape = model.reward.shape
    if forbidden is None:
        return np.zeros(shape, bool)
    given = np.asarray(forbidden)
    if given.shape == shape and not np.isin(given, (0, 1)).all():
        odd = sorted({str(v) for v in given.ravel() if v not in (0, 1)})
        raise FrameError(f"forbidden holds {first_few(odd)}. Allowed: true or false.")
    mask = given.astype(bool)
    if mask.shape != shape:
        raise FrameError(f"forbidden has shape {mask.shape}. Needed: {shape}.")
    if mask.all(axis=1).any():
        none = [model.states[k] for k in np.flatnonzero(mask.all(axis=1))]
        raise FrameError(f"every action is forbidden in {first_few(none)}. Needed: one that may be done.")
    return mask


def _kept(model: DecisionModel, keep: Sequence[str] | None) -> np.ndarray:
    if keep is not None and not isinstance(keep, (str, Sequence, set, frozenset, np.ndarray)):
        raise FrameError(f"keep is {keep!r}. Allowed: a sequence of states, or of bands of days past due.")
    names = [] if keep is None else [keep] if isinstance(keep, str) else list(keep)
    bands = [s.split(" | ")[0] for s in model.states]
    if unknown := [k for k in names if k not in model.states and k not in bands]:
        raise FrameError(
            f"keep: no state {first_few(unknown)}. Allowed: {first_few(model.states)}, or a band."
        )
    return np.array([s in names or b in names for s, b in zip(model.states, bands)], bool)


def _shares(model: DecisionModel, x: np.ndarray) -> np.ndarray:
    """Occupancies as shares; states that no account reaches keep the strategy in force."""
    total = x.sum(axis=1, keepdims=True)
    share = np.divide(x, total, out=model.in_force.copy(), where=total > 1e-9)
    share[share < 1e-9] = 0
    share /= share.sum(axis=1, keepdims=True)
    same = np.abs(share - model.in_force).max(axis=1) < 1e-9
    share[same] = model.in_force[same]
    return share


def _differs(share: np.ndarray, force: np.ndarray) -> np.ndarray:
    return np.abs(share - force).max(axis=1) > SAME


def _optimism(model, limits, may, fixed, prices) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """By state, what the best plan of a draw gains more in its own draw than in the point estimate; and the prices."""
    total, solved = np.zeros(len(model.states)), 0
    seen: dict[str, list[float]] = {k: [] for k in limits}
    for draw in range(min(RESOLVED, len(model.draws.move))):
        try:
            one = solve(model, limits, may=may, fixed=fixed, draw=draw)
        except (Infeasible, FrameError):
            continue
        plan = _shares(model, one.x)
        solved += 1
        own = drawn_gains(model, plan, prices, slice(draw, draw + 1))[0]
        total += own - gains(model, plan, prices)
        for k in limits:
            seen[k].append(one.prices[k])
    return total / max(solved, 1), {k: np.array(v) for k, v in seen.items()}


def _label(model: DecisionModel, share: np.ndarray) -> list[str]:
    """A state's actions in words: one, or those with their shares."""
    told = []
    for row in share:
        parts = [(v, name) for v, name in zip(row, model.actions) if v > SAME]
        parts.sort(key=lambda p: -p[0])
        told.append(parts[0][1] if len(parts) == 1 else ", ".join(f"{name} {v:.0%}" for v, name in parts))
    return told


def _members(model: DecisionModel, plan: np.ndarray) -> dict[tuple[str, str], np.ndarray]:
    """States that the plan changes, by band of days past due × the action most of them then have."""
    groups: dict[tuple[str, str], list[int]] = {}
    for k in np.flatnonzero(_differs(plan, model.in_force)):
        more = model.actions[int(np.argmax(plan[k] - model.in_force[k]))]
        groups.setdefault((model.states[k].split(" | ")[0], more), []).append(int(k))
    return {key: np.array(v) for key, v in groups.items()}


def _kept_back(
    model, limits, may, fixed, best, prices, optimism, conf_level
) -> tuple[np.ndarray, np.ndarray]:
    """The plan with the strategy in force kept wherever the change is within noise.

    First the plan as a whole: where its corrected gain is beyond noise, only the groups that gain nothing are
    kept back. Otherwise each group must be beyond noise by itself. Each of the two ways has half the chance of a
    false change.
    """
    half = (1 - conf_level) / 4
    states = len(model.states)

    chance = lucky_gains(model, best, {})

    def judged(plan: np.ndarray, groups: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray, bool]:
        point = gains(model, plan, prices) - optimism
        drawn = drawn_gains(model, plan, prices)
        every = np.concatenate(groups)
        sums = np.array([point[g].sum() for g in groups])
        z = sums / np.maximum([np.std(drawn[:, g].sum(axis=1), ddof=1) for g in groups], 1e-12)
        apart = drawn_gains(model, plan, {}).sum(axis=1)
        raw = gains(model, plan, {})
        whole = (raw.sum() - optimism[every].sum()) / max(np.std(apart, ddof=1), 1e-12)
        # and more than the best of nothing but chance would seem to bring
        whole = min(whole, _beyond(raw.sum(), chance.sum(axis=1)))
        z = np.minimum(z, [_beyond(raw[g].sum(), chance[:, g].sum(axis=1)) for g in groups])
        return sums, z, bool(holm(np.array([whole]), half)[0])

    def narrowed(together: bool) -> tuple[np.ndarray, np.ndarray] | None:
        back, plan = np.zeros(states, bool), best
        for _ in range(6):
            groups = list(_members(model, plan).values())
            if not groups:
                return plan, back
            sums, z, stands = judged(plan, groups)
            if together and not stands:
                return None
            keep = sums > 0 if together else holm(z, half)
            if keep.all():
                return plan, back
            back[np.concatenate([g for g, k in zip(groups, keep) if not k])] = True
            plan = _shares(model, solve(model, limits, may=may, fixed=fixed | back).x)
        return None if together else (plan, back)

    try:
        found = narrowed(True) or narrowed(False)
    except Infeasible:  # what is in force no longer fits the capacity: the limits force the change
        return best, np.zeros(states, bool)
    assert found is not None
    return found


def _beyond(gain: float, chance: np.ndarray) -> float:
    """How many standard deviations a gain lies beyond what chance alone brings."""
    return float((gain - chance.mean()) / max(np.std(chance, ddof=1), 1e-12))


def _changes(model, best, prices, optimism, back, drawn, conf_level) -> pd.DataFrame:
    point = gains(model, best, prices) - optimism
    each = drawn_gains(model, best, prices) if drawn else None
    y = occupancy(model.move, best, model.inflow, model.discount)
    old, new = _label(model, model.in_force), _label(model, best)
    rows = []
    for k in np.flatnonzero(_differs(best, model.in_force)):
        limits = spread(float(point[k]), None if each is None else each[:, k], conf_level)
        rows.append((model.states[k], old[k], new[k], float(y[k]), float(point[k]), *limits, bool(back[k])))
    names = ["state", "now", "plan", "accounts_a_month", "estimate", "std_error", "conf_low", "conf_high"]
    return pd.DataFrame(rows, columns=[*names, "kept_back"])


def _groups(model, best, prices, optimism, back, drawn, conf_level) -> pd.DataFrame:
    point = gains(model, best, prices) - optimism
    each = drawn_gains(model, best, prices) if drawn else None
    y = occupancy(model.move, best, model.inflow, model.discount)
    rows = []
    for (band, to), g in _members(model, best).items():
        gain = float(point[g].sum())
        limits = spread(gain, None if each is None else each[:, g].sum(axis=1), conf_level)
        weight = y[g] / max(y[g].sum(), 1e-12)
        now, then = (_label(model, (weight @ share[g])[None, :])[0] for share in (model.in_force, best))
        kept = int(back[g].sum())
        rows.append((band, to, len(g), float(y[g].sum()), now, then, gain, *limits, kept == len(g)))
    names = ["band", "more", "states", "accounts_a_month", "now", "plan"]
    table = pd.DataFrame(
        rows, columns=[*names, "estimate", "std_error", "conf_low", "conf_high", "kept_back"]
    )
    z = (table["estimate"] / table["std_error"].where(table["std_error"] > 0)).fillna(-np.inf).to_numpy(float)
    table["proven"] = holm(z, (1 - conf_level) / 2)
    return table


def _price_table(limits, use, today, prices, drawn, conf_level) -> pd.DataFrame:
    rows = [
        (k, limits[k], today.amounts[k], use[k], prices[k], *spread(prices[k], drawn.get(k), conf_level))
        for k in limits
    ]
    names = ["use", "capacity", "used_in_force", "used", "estimate", "std_error", "conf_low", "conf_high"]
    return pd.DataFrame(rows, columns=names)


def _untried(model: DecisionModel) -> pd.DataFrame:
    rows = [
        (model.states[k], model.actions[j], int(model.n[k, j]), float(model.effective[k, j]))
        for k, j in zip(*np.nonzero(~model.tried))
    ]
    return pd.DataFrame(rows, columns=["state", "action", "n", "effective"])
