"""Thin cells drawn towards coarser ones, level by level: transitions by Dirichlet, means by normal empirical Bayes.

What an action does otherwise than the others is estimated by stage first, then by band of days past due, and band ×
security; each level is drawn towards the one above, the stages towards no difference. So an action's effect varies smoothly between
neighbouring states, and where the data show no difference between them there is none.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_STRENGTHS = tuple(5.0 * 2.0**k for k in range(13))
#: Rows' worth of the group's pattern that a state's own (all actions together) is mixed with.
STATE_PRIOR = 5.0
#: Times that the states' own pattern and the actions' effects are fitted in turn.
ROUNDS = 5
#: The least and the most rows that a level above counts for, of means.
_LEAST, _MOST = 2.0, 20_000.0


@dataclass(frozen=True)
class Layout:
    """How states coarsen.

    ``levels``: tuples (S,) of group numbers, from coarse to fine, over which an action's effect is pooled; the last is
    also the group whose pattern thin states take. ``outcome`` (S, D): the coarse class of each destination as seen from each
    state (0 cured, 1 further past due or failed, 2 held): an action moves these; what else there is, is the state's own. ``near`` (S, D): whether a destination is one the state could reach (same score).
    """

    levels: tuple[np.ndarray, ...]
    outcome: np.ndarray
    near: np.ndarray


@dataclass(frozen=True)
class Strength:
    """How many rows the level above counts for, level by level, the last one of cells: by group for the stages, else one
    number; ``mean`` by measure."""

    move: tuple[np.ndarray, ...]
    mean: dict[str, tuple[float, ...]]


def transitions(
    counts: np.ndarray, layout: Layout, strength: tuple[np.ndarray, ...] | None
) -> tuple[np.ndarray, tuple[np.ndarray, ...]]:
    """Shrunk chances (S, A, D) of each destination, from weighted ``counts`` (S, A, D).

    A state's pattern over all actions is tilted by what the action does to the coarse outcome, by stage, then
    by each finer level; a cell's own counts are mixed with the result. Without ``strength`` the strengths
    are those with the greatest Dirichlet-multinomial likelihood; they are returned.
    """
    total = counts.sum(axis=(1, 2))
    pooled = counts.sum(axis=1)
    target = (pooled + STATE_PRIOR * _base(pooled, layout)) / (total + STATE_PRIOR)[:, None]
    cell = counts.sum(axis=2)
    classes = int(layout.outcome.max(initial=0)) + 1
    coarse = (layout.outcome[:, :, None] == np.arange(classes)).astype(float)
    seen = counts @ coarse
    own = target
    for _ in range(ROUNDS):
        prior, found = _tilted(own, seen, cell, coarse, layout, strength)
        if strength and len(strength[0]) == 0:  # found anew once
            strength = (found[0], *strength[1:])
        # the states' own pattern: what all actions together show, less what their mix of actions makes of it
        made = np.einsum("sa,sad->sd", cell, prior)
        size = made.sum(axis=1, keepdims=True)
        own = own * np.where(size > 0, _divided(target * size, made), 1.0)
        own /= own.sum(axis=1, keepdims=True)
    prior, found = _tilted(own, seen, cell, coarse, layout, strength)
    by = strength[-1] if strength else np.array([_best(seen, prior @ coarse)])
    chances = (counts + by * prior) / (cell[:, :, None] + by)
    return chances / chances.sum(axis=2, keepdims=True), (*found, by)


def _tilted(own, seen, cell, coarse, layout, strength) -> tuple[np.ndarray, list[np.ndarray]]:
    """The states' own pattern (S, D) under each action, level after level."""
    prior = np.repeat(own[:, None, :], cell.shape[1], axis=1)
    found: list[np.ndarray] = []
    for k, level in enumerate(layout.levels):
        member = _member(level)
        like = cell[:, :, None] * (prior @ coarse)
        seen_here, like_here = (np.tensordot(member, x, 1) for x in (seen, like))
        size = seen_here.sum(axis=2, keepdims=True)
        like_here = _divided(like_here, like_here.sum(axis=2, keepdims=True))
        if strength and len(strength[k]):
            by = strength[k]
        elif k:
            by = np.array([_best(seen_here, like_here)])
        else:
            # a draw's counts hold the sample's noise and the draw's: they tell half as much
            less = 2.0 if strength else 1.0
            by = np.array([_best(x / less, y) for x, y in zip(seen_here, like_here)])
        drawn = (seen_here + by[:, None, None] * like_here) / (size + by[:, None, None])
        tilt = np.divide(drawn, like_here, out=np.ones_like(drawn), where=like_here > 0)
        prior = prior * np.take_along_axis(
            tilt[level], np.broadcast_to(layout.outcome[:, None, :], prior.shape), axis=2
        )
        prior /= prior.sum(axis=2, keepdims=True)
        found.append(by)
    return prior, found


def _member(level: np.ndarray) -> np.ndarray:
    member = np.zeros((int(level.max(initial=0)) + 1, len(level)))
    member[level, np.arange(len(level))] = 1
    return member


def _divided(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    return np.divide(above, below, out=np.zeros_like(above), where=below > 0)


def _base(pooled: np.ndarray, layout: Layout) -> np.ndarray:
    """What the states of a group do, sent to the destinations each state could reach."""
    group = layout.levels[-1]
    of_group = _member(group) @ pooled
    base = of_group[group] * layout.near
    empty = base.sum(axis=1) == 0
    if empty.any():
        base[empty] = pooled.sum(axis=0) * layout.near[empty]
    total = base.sum(axis=1, keepdims=True)
    return np.divide(base, total, out=np.full_like(base, 1 / base.shape[1]), where=total > 0)


def _best(counts: np.ndarray, prior: np.ndarray) -> float:
    """The Dirichlet strength of greatest marginal likelihood, of a few."""
    from scipy.special import gammaln

    seen = counts.reshape(-1, counts.shape[-1])
    mean = np.maximum(prior.reshape(seen.shape), 1e-9)
    size = seen.sum(axis=1)
    mean, seen, size = mean[size > 0], seen[size > 0], size[size > 0]

    def log_likelihood(k: float) -> float:
        a = k * mean
        each = (gammaln(seen + a) - gammaln(a)).sum(axis=1)
        return float((gammaln(a.sum(axis=1)) - gammaln(a.sum(axis=1) + size) + each).sum())

    return max(_STRENGTHS, key=log_likelihood)


def means(
    size: np.ndarray,
    sums: np.ndarray,
    squares: np.ndarray,
    layout: Layout,
    noise: float = 1.0,
) -> tuple[np.ndarray, tuple[float, ...]]:
    """Shrunk means (S, A) from weighted ``size``, ``sums`` and ``squares`` (S, A).

    A state's mean over all actions plus what the action adds, by stage and then by each finer level; a cell's own
    mean is mixed with the result. How many rows the level above counts for is the ratio of the variance
    within cells to that between groups, by moments; ``noise`` is 2 in draws, whose sums hold the sample's noise and the
    draw's.
    """
    group = layout.levels[-1]
    member = _member(group)
    n_state, total = size.sum(axis=1), sums.sum(axis=1)
    n_group, t_group = member @ n_state, member @ total
    overall = total.sum() / max(n_state.sum(), 1e-9)
    of_group = np.where(n_group > 0, t_group / np.maximum(n_group, 1e-9), overall)[group]
    target = (total + STATE_PRIOR * of_group) / (n_state + STATE_PRIOR)
    own = _divided(sums, size)
    within = max(float((squares - size * own**2).sum() / max((size - 1).clip(0).sum(), 1)), 0.0)
    common, mix = target, size / np.maximum(n_state, 1e-9)[:, None]
    finer = [(level, _member(level)) for level in (*layout.levels, np.arange(len(size)))]
    sizes = [many @ size for _, many in finer]
    for _ in range(ROUNDS + 1):
        prior, found = np.repeat(common[:, None], size.shape[1], axis=1), []
        for (level, many), n in zip(finer, sizes):
            excess = many @ (sums - size * prior)
            by = _ratio(n, excess, within, noise)
            prior = prior + (excess / (n + by))[level]
            found.append(by)
        common = common + np.where(n_state > 0, target - (mix * prior).sum(axis=1), 0.0)
    return prior, tuple(found)


def _ratio(n: np.ndarray, excess: np.ndarray, within: float, noise: float) -> float:
    """Variance within ÷ between: rows that the level above counts for."""
    used = n >= 2
    between = float(
        ((excess**2 / np.maximum(n, 1e-9))[used] - noise * within).sum() / max(float(n[used].sum()), 1e-9)
    )
    return float(np.clip(within / between, _LEAST, _MOST)) if between > 0 else _MOST
