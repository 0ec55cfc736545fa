"""Weights and scores by which logged months speak for a plan that was not followed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from collectlab.policy.plan.model import DecisionModel
from collectlab.policy.plan.model_class import net
from collectlab.policy.plan.model_weights import _design, _logit
from collectlab.policy.plan.rows import COUNTED

#: What a state's mean weight is worth against its band's, in rows.
SHRINK = 10.0
#: A change of action within an episode counts as seen from this share of the changes' months on.
SEEN = 0.005
UNSEEN = -1
#: Chances below this count as this, so that no single month outweighs all others.
LEAST_CHANCE = 0.02


@dataclass(frozen=True)
class Cohort:
    """The months of episodes seen from their first month-end on, in order; one entry an account-month.

    ``to`` is the next state's place, or ``UNSEEN`` after an exit. ``known`` says whether the month was seen to its
    end under a known action; the last month of an episode cut off by the end of the log was not.
    """

    rows: pd.DataFrame
    episode: np.ndarray
    customer: np.ndarray
    month: np.ndarray
    state: np.ndarray
    action: np.ndarray
    to: np.ndarray
    known: np.ndarray
    reward: np.ndarray

    @property
    def episodes(self) -> int:
        return int(self.episode.max()) + 1 if len(self.episode) else 0


def cohort(rows: pd.DataFrame, model: DecisionModel, months: int) -> Cohort:
    """The episodes of ``rows`` that were seen from their first month-end on."""
    rows = rows.sort_values(["account_id", "on"], kind="stable").reset_index(drop=True)
    first = rows["entry"].fillna(False).to_numpy(bool)
    when = rows["on"].dt.year * 12 + rows["on"].dt.month
    goes_on = (rows["account_id"] == rows["account_id"].shift()) & (when == when.shift() + 1)
    if "episode" in rows:
        goes_on &= rows["episode"] == rows["episode"].shift()
    chain = np.cumsum(~(goes_on.to_numpy() & ~first))
    began = pd.Series(first).groupby(chain).transform("first").to_numpy()
    place = {state: k for k, state in enumerate(model.states)}
    known = rows["next_state"].notna() & rows["action"].isin(model.actions) & rows["state"].isin(place)
    # After a month that is not known nothing more is.
    before = (~known).astype(int).groupby(chain).cumsum() - (~known).astype(int)
    month = rows.groupby(chain).cumcount().to_numpy()
    kept = began & (before.to_numpy() == 0) & (month < months)
    rows, known = rows[kept].reset_index(drop=True), known.to_numpy()[kept]
    owed = rows.get("amount_past_due", 0.0)
    brought = net({**{k: rows[k] for k in COUNTED}, "owed": owed}, model.prices)
    return Cohort(
        rows=rows,
        episode=np.unique(chain[kept], return_inverse=True)[1],
        customer=pd.factorize(rows["customer_id"], sort=True)[0],
        month=month[kept],
        state=rows["state"].map(place).fillna(UNSEEN).to_numpy(int),
        action=pd.Index(model.actions).get_indexer(rows["action"].astype(str)),
        to=rows["next_state"].map(place).fillna(UNSEEN).to_numpy(int),
        known=known,
        reward=np.where(known, brought.to_numpy(float), 0.0),
    )


def horizon_values(
    move: np.ndarray, reward: np.ndarray, share: np.ndarray, discount: float, months: int
) -> tuple[np.ndarray, np.ndarray]:
    """Values with 0 … ``months`` months to go, ``V`` (months + 1, S), and ``Q`` (months + 1, S, A)."""
    value = np.zeros((months + 1, reward.shape[0]))
    by_action = np.zeros((months + 1, *reward.shape))
    for left in range(1, months + 1):
        by_action[left] = reward + discount * move @ value[left - 1]
        value[left] = (share * by_action[left]).sum(axis=1)
    return value, by_action


def occupancy(model: DecisionModel, share: np.ndarray, start: np.ndarray, months: int) -> np.ndarray:
    """Expected months in each state and action, per entering account, over the horizon (S, A)."""
    total, here = np.zeros_like(share), start.astype(float)
    for _ in range(months):
        done = here[:, None] * share
        total += done
        here = np.einsum("sa,sat->t", done, model.move)
    return total


def chances(c: Cohort, actions: int) -> np.ndarray:
    """The chance of the action that was taken, given what the month's beginning shows.

    In an episode's first month an action by lot has its logged propensity times the chance to be in the draw; what
    was chosen has its chance by multinomial logit. Later months are estimated throughout: those still past due
    are no longer the mix that was drawn.
    """
    rows, found = c.rows, np.ones(len(c.rows))
    design, _ = _design(rows)
    late = np.log1p(c.month)
    first = c.known & (c.month == 0)
    propensity = pd.to_numeric(rows["propensity"]).to_numpy(float) if "propensity" in rows else np.nan
    lot = (
        rows["randomised"].fillna(False).to_numpy(bool) if "randomised" in rows else np.zeros(len(rows), bool)
    )
    lot = lot & np.isfinite(propensity)
    propensity = np.where(lot, propensity, 0.0)
    if first.any():
        way = np.where(lot, actions, c.action)[first]
        ways, code = np.unique(way, return_inverse=True)
        of_way = np.zeros((int(first.sum()), actions + 1))
        of_way[:, ways] = _logit(design[first], code, len(ways))
        drawn = np.zeros(actions)
        for a in range(actions):
            own = lot & first & (c.action == a)
            drawn[a] = propensity[own].mean() if own.any() else 0.0
        by_lot = np.where(lot[first], propensity[first], drawn[c.action[first]])
        found[first] = of_way[np.arange(len(way)), c.action[first]] + of_way[:, actions] * by_lot
    if (later := c.known & (c.month > 0)).any():
        # Of all months, since those far into an episode are few.
        taken, code = np.unique(c.action[c.known], return_inverse=True)
        x = np.column_stack([design[c.known], late[c.known], late[c.known] ** 2])
        own = _logit(x, code, len(taken))[np.arange(len(code)), code]
        found[later] = own[later[c.known]]
    return np.maximum(found, LEAST_CHANCE)


@dataclass(frozen=True)
class Weighted:
    """Each month's weight under the plan: by the mix of states, and by the episode's whole course.

    ``supported`` is the least share, over the months, of the plan's months whose action the log ever took after
    the course up to then.
    """

    by_state: np.ndarray
    by_course: np.ndarray
    seen: np.ndarray
    supported: float


def weigh(c: Cohort, share: np.ndarray, chance: np.ndarray, bands: np.ndarray, months: int) -> Weighted:
    """The weights, month after month; see :class:`Weighted`.

    By state: the plan's mix of states in month t over the log's, times π(a | s) / b(a | s, x) (marginalised
    importance sampling). By course: the product of π / b over the months so far, b given the action before.
    Both are scaled, each month, to the weight that entered it; ``seen`` is 1 over the share of months so far that
    were seen to their end.
    """
    n, actions = len(c.month), share.shape[1]
    by_state, by_course, seen = np.zeros(n), np.zeros(n), np.zeros(n)
    steps = _steps(c, actions)
    mix = np.ones(share.shape[0])
    last = np.ones(c.episodes)
    before = np.full(c.episodes, UNSEEN)
    followed, supported = 1.0, 1.0
    for t in range(months):
        here = np.flatnonzero(c.month == t)
        at = here[c.known[here]]
        if not len(at):
            break
        followed *= len(at) / len(here)
        seen[at] = 1 / followed
        plan = share[c.state[at], c.action[at]]
        into = mix[c.state[at]]
        by_state[at] = _scaled(into * plan / chance[at], into)

        into = last[c.episode[at]]
        prior = before[c.episode[at]]
        odds = chance[at] if t == 0 else steps[prior, c.action[at]]
        by_course[at] = _scaled(into * plan / np.maximum(odds, 1e-6), into)
        if t and into.sum() > 0:
            possible = (share[c.state[at]] * (steps[prior] >= SEEN)).sum(axis=1)
            weight = into.sum() / max(last.sum(), 1e-12)
            supported = min(supported, 1 - weight * (1 - np.average(possible, weights=into)))
        last = last.copy()
        last[c.episode[here]] = 0.0
        last[c.episode[at]] = by_course[at]
        before[c.episode[at]] = c.action[at]
        mix = _mix(c, at, by_state, bands, len(mix))
    return Weighted(by_state, by_course, seen, supported)


def _scaled(weight: np.ndarray, into: np.ndarray) -> np.ndarray:
    total = weight.sum()
    return weight * (into.sum() / total) if total > 0 else weight


def _mix(c: Cohort, at: np.ndarray, weight: np.ndarray, bands: np.ndarray, states: int) -> np.ndarray:
    """How much more often the plan than the log is in each state a month later; thin states lean on their band."""
    moved = at[c.to[at] != UNSEEN]
    to = c.to[moved]
    sums, size = np.bincount(to, weight[moved], states), np.bincount(to, minlength=states)
    band_sums, band_size = np.bincount(bands, sums), np.bincount(bands, size)
    whole = sums.sum() / max(size.sum(), 1)
    by_band = np.divide(band_sums, band_size, out=np.full(len(band_sums), whole), where=band_size > 0)
    return (sums + SHRINK * by_band[bands]) / (size + SHRINK)


def _steps(c: Cohort, actions: int) -> np.ndarray:
    """P(action | the month before's action), from the log."""
    at = np.flatnonzero((c.month > 0) & c.known)
    counts = np.zeros((actions, actions))
    np.add.at(counts, (c.action[at - 1], c.action[at]), 1)
    size = counts.sum(axis=1, keepdims=True)
    return np.divide(counts, size, out=np.eye(actions), where=size > 0)


def scores(
    c: Cohort,
    weight: np.ndarray,
    seen: np.ndarray,
    tables: list[tuple[np.ndarray, np.ndarray]] | None,
    fold: np.ndarray,
    discount: float,
    months: int,
) -> np.ndarray:
    r"""Each episode's score; their mean is the estimate.

    .. math:: V_0(s_0) + \sum_t \gamma^t w_t \,[\, r_t + \gamma V_{t+1}(s_{t+1}) - Q_t(s_t, a_t)\,]

    with the values of the folds that the episode's customer is not in; without ``tables``, Σ γᵗ w r.
    """
    total = np.zeros(c.episodes)
    k = np.flatnonzero(c.known)
    left = months - c.month
    term = c.reward.copy()
    if tables is not None:
        for number, (value, by_action) in enumerate(tables):
            own = k[fold[k] == number]
            after = np.where(c.to[own] == UNSEEN, 0.0, value[left[own] - 1, c.to[own]])
            term[own] += discount * after - by_action[left[own], c.state[own], c.action[own]]
            first = np.flatnonzero((fold == number) & (c.month == 0) & (c.state != UNSEEN))
            total[c.episode[first]] += value[months, c.state[first]]
    np.add.at(total, c.episode[k], (discount**c.month * weight * seen * term)[k])
    return total
