"""Thin cells drawn towards coarser ones: transitions by Dirichlet, means by normal empirical Bayes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_STRENGTHS = (2.0, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0, 640.0)
#: Rows' worth of the band's pattern that a state's own (all actions together) is mixed with.
STATE_PRIOR = 5.0


@dataclass(frozen=True)
class Layout:
    """How states coarsen: ``band`` (S,) the band of each state, ``kind`` (D,) the coarse class of each destination
    (its band, or the exit), and ``near`` (S, D) whether a destination is one the state could reach (same score).
    """

    band: np.ndarray
    kind: np.ndarray
    near: np.ndarray

    @property
    def bands(self) -> int:
        """Number of bands."""
        return int(self.band.max(initial=-1)) + 1


@dataclass(frozen=True)
class Strength:
    """How many rows the coarser level counts for: ``move`` of cells, ``tilt`` of bands, ``mean`` by measure."""

    move: float
    tilt: float
    mean: dict[str, float]


def transitions(
    counts: np.ndarray, layout: Layout, strength: Strength | None
) -> tuple[np.ndarray, float, float]:
    """Shrunk chances (S, A, D) of each destination, from weighted ``counts`` (S, A, D).

    A cell's own counts are mixed with the state's pattern over all actions, tilted by what the
    action does to the coarse outcome in the state's whole band. Without ``strength`` the two strengths are
    those with the greatest Dirichlet-multinomial likelihood; they are returned.
    """
    state = len(counts)
    total = counts.sum(axis=(1, 2))
    pooled = counts.sum(axis=1)
    base = _base(pooled, layout)
    common = (pooled + STATE_PRIOR * base) / (total + STATE_PRIOR)[:, None]
    kinds = int(layout.kind.max()) + 1
    coarse = np.zeros((counts.shape[2], kinds))
    coarse[np.arange(counts.shape[2]), layout.kind] = 1
    cell = counts.sum(axis=2)
    seen = counts @ coarse
    expected = cell[:, :, None] * (common @ coarse)[:, None, :]
    member = np.zeros((layout.bands, state))
    member[layout.band, np.arange(state)] = 1
    seen_band = np.einsum("bs,sak->bak", member, seen)
    like_band = np.einsum("bs,sak->bak", member, expected)
    with np.errstate(invalid="ignore", divide="ignore"):
        like_band = np.nan_to_num(like_band / like_band.sum(axis=2, keepdims=True))
    tilt_by = strength.tilt if strength else _best(seen_band, like_band)
    size = seen_band.sum(axis=2, keepdims=True)
    drawn = (seen_band + tilt_by * like_band) / (size + tilt_by)
    tilt = np.divide(drawn, like_band, out=np.ones_like(drawn), where=like_band > 0)
    prior = common[:, None, :] * tilt[layout.band][:, :, layout.kind]
    scale = prior.sum(axis=2, keepdims=True)
    prior = np.divide(
        prior, scale, out=np.broadcast_to(common[:, None, :], prior.shape).copy(), where=scale > 0
    )
    move_by = strength.move if strength else _best(seen, prior @ coarse)
    chances = (counts + move_by * prior) / (cell[:, :, None] + move_by)
    return chances / chances.sum(axis=2, keepdims=True), move_by, tilt_by


def _base(pooled: np.ndarray, layout: Layout) -> np.ndarray:
    """What the states of a band do, sent to the destinations each state could reach."""
    of_band = np.zeros((layout.bands, pooled.shape[1]))
    np.add.at(of_band, layout.band, pooled)
    base = of_band[layout.band] * layout.near
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
    size: np.ndarray, sums: np.ndarray, squares: np.ndarray | None, layout: Layout, strength: float | None
) -> tuple[np.ndarray, float]:
    """Shrunk means (S, A) from weighted ``size``, ``sums`` and ``squares`` (S, A).

    A cell's own mean is mixed with the state's mean over all actions plus what the action adds in
    the whole band. Without ``strength`` it is the ratio of the variance within cells to that between them, by moments.
    """
    n_state, total = size.sum(axis=1), sums.sum(axis=1)
    n_band, t_band = np.zeros(layout.bands), np.zeros(layout.bands)
    np.add.at(n_band, layout.band, n_state)
    np.add.at(t_band, layout.band, total)
    overall = total.sum() / max(n_state.sum(), 1e-9)
    of_band = np.where(n_band > 0, t_band / np.maximum(n_band, 1e-9), overall)[layout.band]
    common = (total + STATE_PRIOR * of_band) / (n_state + STATE_PRIOR)
    excess = sums - size * common[:, None]
    n_action, e_action = np.zeros((layout.bands, size.shape[1])), np.zeros((layout.bands, size.shape[1]))
    np.add.at(n_action, layout.band, size)
    np.add.at(e_action, layout.band, excess)
    own = np.divide(sums, size, out=np.zeros_like(sums), where=size > 0)
    if strength is None:
        assert squares is not None
        within = max(float((squares - size * own**2).sum() / max((size - 1).clip(0).sum(), 1)), 0.0)
        added = np.divide(e_action, n_action, out=np.zeros_like(e_action), where=n_action > 0)
        gap = (own - common[:, None] - added[layout.band]) ** 2
        used = size >= 2
        between = float(
            (size * (gap - within / np.maximum(size, 1)))[used].sum() / max(size[used].sum(), 1e-9)
        )
        strength = float(np.clip(within / between, 2.0, 640.0)) if between > 0 else 640.0
    added = e_action / (n_action + strength)
    prior = common[:, None] + added[layout.band]
    return (sums + strength * prior) / (size + strength), strength
