"""The numbers behind a league: effects at the same mix of cases, shrinkage, and what is known of the ranks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

#: Classes of difficulty within which the variance of an outcome is pooled over units.
CLASSES = 5
_STEPS = 400
_TINY = 1e-9


@dataclass(frozen=True)
class Units:
    """Effect of each unit on the same mix of cases, with the covariance of the estimates.

    ``effect`` (J,) and ``covariance`` (J, J): differences from the average of all cases. ``size`` (J,): share of
    all cases' weight. ``alike``: intraclass correlation of the cases of one customer. ``lost``: columns of the mix
    that cannot be told from the units.
    """

    effect: np.ndarray
    covariance: np.ndarray
    size: np.ndarray
    alike: float
    lost: int


def same_mix(
    y: np.ndarray, weight: np.ndarray, unit: np.ndarray, mix: np.ndarray, customer: np.ndarray
) -> Units:
    r"""Effects of units by least squares with the mix of cases held fixed.

    .. math:: y_i = \alpha_{u(i)} + \beta \cdot x_i + e_i, \qquad \theta_j = \alpha_j - \sum_k w_k \alpha_k,

    w the share of the weight of each unit, so n_j θ_j is observed minus expected, expected being what the
    average unit gets on the same cases. β comes from comparisons within units only.

    The variance of an outcome is that of all units' cases of about the same difficulty (five classes of
    β·x), not the unit's own: a small unit all of whose cases ended alike would else seem to be known exactly.
    Cases of one customer have correlation ρ, estimated from all pairs of them (at least 0):
    Cov(e_i, e_k) = ρ s_i s_k.

    Parameters
    ----------
    y, weight : ndarray, shape (n,)
    unit, customer : ndarray of int, shape (n,)
        Codes 0, 1, …
    mix : ndarray, shape (n, p)
        Columns of 0 and 1.
    """
    j, (n, p) = int(unit.max()) + 1, mix.shape
    total = np.bincount(unit, weights=weight, minlength=j)

    def means(values: np.ndarray) -> np.ndarray:
        return np.bincount(unit, weights=weight * values, minlength=j) / total

    centre = np.stack([means(mix[:, k]) for k in range(p)], axis=1) if p else np.zeros((j, 0))
    size = total / total.sum()
    inner = mix - centre[unit]
    normal = np.einsum("i,ij,ik->jk", weight, inner, inner)
    inverse = np.linalg.pinv(normal, rcond=_TINY, hermitian=True)
    beta = inverse @ np.einsum("i,ij,i->j", weight, inner, y)
    away = centre - size @ centre
    whole = np.einsum("i,ij,ik->jk", weight, mix - size @ centre, mix - size @ centre)
    lost = _rank(whole) - _rank(normal)
    level = means(y) - away @ beta
    difficulty = mix @ beta
    residual = y - level[unit] - (mix - size @ centre) @ beta
    # Variance by class of difficulty; the degrees of freedom that the fit takes are given back evenly.
    edges = np.quantile(difficulty, np.arange(1, CLASSES) / CLASSES) if p else []
    kind = np.searchsorted(edges, difficulty)
    of_kind = np.bincount(kind, minlength=CLASSES)
    free = n / max(n - j - _rank(normal), 1)
    square = np.bincount(kind, weights=residual**2, minlength=CLASSES) / np.maximum(of_kind, 1) * free
    s = np.sqrt(square)[kind]
    alike = _alike(residual, s, customer)
    # Each case's pull on unit means (first j columns) and on the normal equations (the others).
    meat = np.zeros((j + p, j + p))
    pull = weight * s
    meat[range(j), range(j)] = np.bincount(unit, weights=pull**2, minlength=j) / total**2
    cross = np.stack([np.bincount(unit, weights=pull**2 * inner[:, k], minlength=j) for k in range(p)], 1) if p else np.zeros((j, 0))  # fmt: skip
    meat[:j, j:] = cross / total[:, None]
    meat[j:, :j] = meat[:j, j:].T
    meat[j:, j:] = np.einsum("i,ij,ik->jk", pull**2, inner, inner)
    if alike > 0:
        counts = np.bincount(customer)
        many = np.flatnonzero(counts[customer] > 1)
        who = np.unique(customer[many], return_inverse=True)[1]
        reach = np.zeros((len(many), j + p))
        reach[np.arange(len(many)), unit[many]] = pull[many] / total[unit[many]]
        reach[:, j:] = pull[many, None] * inner[many]
        summed = np.zeros((who.max() + 1, j + p))
        np.add.at(summed, who, reach)
        meat += alike * (np.einsum("ij,ik->jk", summed, summed) - np.einsum("ij,ik->jk", reach, reach))
    to_average = np.eye(j) - size  # θ = (I − 1wᵀ) α
    lift = to_average @ np.hstack([np.eye(j), -away @ inverse])
    return Units(to_average @ level, lift @ meat @ lift.T, size, alike, lost)


def _rank(normal: np.ndarray) -> int:
    scale = np.sqrt(np.clip(np.diag(normal), 0, None))
    scale[scale <= _TINY] = 1.0
    return (
        int(np.linalg.matrix_rank(normal / np.outer(scale, scale), tol=1e-7, hermitian=True))
        if len(scale)
        else 0
    )


def _alike(residual: np.ndarray, s: np.ndarray, customer: np.ndarray) -> float:
    """Mean product of standardised residuals over all pairs of cases of one customer; 0 if below."""
    r = np.where(s > 0, residual / np.where(s > 0, s, 1), 0.0)
    counts = np.bincount(customer)
    pairs = float((counts * (counts - 1.0)).sum())
    if not pairs:
        return 0.0
    products = float((np.bincount(customer, weights=r) ** 2).sum() - (r**2).sum())
    return float(np.clip(products / pairs, 0.0, 1.0))


@dataclass(frozen=True)
class Shrunken:
    """Posterior means and standard deviations (J,); between-unit sd with its interval; test that it is 0."""

    estimate: np.ndarray
    std_error: np.ndarray
    sd: float
    sd_low: float
    sd_high: float
    p_value: float


def shrink(effect: np.ndarray, covariance: np.ndarray, size: np.ndarray, conf_level: float) -> Shrunken:
    r"""Empirical Bayes: effects pulled to their average by as much as they are noise.

    Effects are drawn from N(μ, τ²), estimates scatter around them with the covariance V. In contrasts free
    of μ, turned so that they are independent, z_k ~ N(0, λ_k + τ²). Given τ, the posterior mean of contrast k is
    z_k τ²/(λ_k + τ²); means and variances are averaged over the posterior of τ under a flat prior on τ²,
    so that the intervals count that τ itself is estimated (up to four times the scatter of the estimates). ``sd`` is the REML estimate of τ, its interval Q-profile:
    the τ at which Σ z_k²/(λ_k + τ²) is a plausible χ²(J − 1); the test that τ = 0 is the same sum there. Estimates
    that by luck scatter less than noise alone would have it do not make the upper limit lower: it is then that of
    a scatter of J − 1.

    References
    ----------
    Morris (1983), JASA 78, 47–55. Morris & Tang (2011), Statistical Science 26, 271–287 (why flat on τ², not on τ).
    Viechtbauer (2007), Statistics in Medicine 26, 37–52 (Q-profile).
    """
    from scipy import stats

    j = len(effect)
    basis = np.linalg.qr(np.column_stack([np.ones(j), np.eye(j)[:, : j - 1]]))[0][:, 1:]
    noise, turn = np.linalg.eigh(basis.T @ covariance @ basis)
    noise = np.clip(noise, _TINY * max(float(noise.max()), _TINY), None)
    z = turn.T @ (basis.T @ effect)
    back = (np.eye(j) - size) @ basis @ turn
    top = 4 * np.sqrt(np.mean(z**2) + np.mean(noise))
    taus = np.linspace(0, top, _STEPS + 1)
    spread = noise + taus[:, None] ** 2
    fit = -0.5 * (np.log(spread) + z**2 / spread).sum(axis=1)
    weighed = fit + np.log(np.maximum(taus, _TINY * top))  # flat on τ² is τ on τ
    chance = np.exp(weighed - weighed.max())
    chance[[0, -1]] /= 2
    chance /= chance.sum()
    keep = taus[:, None] ** 2 / spread
    means = (keep * z) @ back.T
    within = (keep * noise) @ (back**2).T
    mean = chance @ means
    deviation = np.sqrt(chance @ (within + (means - mean) ** 2))

    def tau_where(squares: np.ndarray, level: float) -> float:
        """The τ at which Σ squares / (λ + τ²) falls to the level; 0 where it is lower from the start."""
        if (squares / noise).sum() <= level:
            return 0.0
        low, high = 0.0, float(squares.sum() / level)
        for _ in range(80):
            middle = (low + high) / 2
            low, high = (middle, high) if (squares / (noise + middle)).sum() > level else (low, middle)
        return float(np.sqrt(high))

    q = float((z**2 / noise).sum())
    least = z**2 if q >= j - 1 else z**2 * (j - 1) / q if q > 0 else noise
    above, below = stats.chi2.ppf([(1 + conf_level) / 2, (1 - conf_level) / 2], j - 1)
    best = int(np.argmax(fit))
    return Shrunken(
        mean,
        deviation,
        float(taus[best]) if best == 0 else _peak(z, noise, taus, best),
        tau_where(z**2, above),
        tau_where(least, below),
        float(stats.chi2.sf(q, j - 1)),
    )


def _peak(z: np.ndarray, noise: np.ndarray, taus: np.ndarray, best: int) -> float:
    """The REML estimate between the grid's neighbours of its best point, by golden section."""
    low, high = taus[best - 1], taus[min(best + 1, len(taus) - 1)]

    def loss(tau: float) -> float:
        return float((np.log(noise + tau**2) + z**2 / (noise + tau**2)).sum())

    golden = (np.sqrt(5) - 1) / 2
    for _ in range(60):
        a, b = high - golden * (high - low), low + golden * (high - low)
        low, high = (low, b) if loss(a) < loss(b) else (a, high)
    return float((low + high) / 2)


def holm(p_value: np.ndarray) -> np.ndarray:
    """Holm's adjusted p-values: the chance of any false claim among all is at most the level held.

    >>> holm(np.array([0.01, 0.04, 0.03])).round(3).tolist()
    [0.03, 0.06, 0.06]
    """
    p = np.asarray(p_value, dtype=float)
    order = np.argsort(p, kind="stable")
    steps = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    out = np.empty(len(p))
    out[order] = np.minimum(steps, 1.0)
    return out


def rank_intervals(
    effect: np.ndarray, covariance: np.ndarray, conf_level: float
) -> tuple[np.ndarray, np.ndarray]:
    """First and last rank each unit may have (1 = largest effect), right for all units at once.

    Every pair is compared both ways (J (J − 1) one-sided normal tests, Holm). A unit's best rank is one more than
    the units shown to be better, its worst is J less those shown to be worse. Whatever the true effects, ties
    included, all true ranks lie in their intervals with at least ``conf_level``.

    Source: Mogstad, Romano, Shaikh & Wilhelm (2024), Review of Economic Studies 91, 476–518.
    """
    from scipy import stats

    j = len(effect)
    variance = np.diag(covariance)
    error = np.sqrt(np.clip(variance[:, None] + variance[None, :] - 2 * covariance, 0, None))
    gap = effect[:, None] - effect[None, :]
    off = ~np.eye(j, dtype=bool)
    p = stats.norm.sf(gap[off] / np.where(error[off] > 0, error[off], np.inf))
    better = np.zeros((j, j), dtype=bool)  # [a, b]: a is shown to be better than b
    better[off] = holm(p) <= 1 - conf_level
    return 1 + better.sum(axis=0), j - better.sum(axis=1)
