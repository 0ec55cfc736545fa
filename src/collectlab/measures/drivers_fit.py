r"""Grouped proportional hazards: a binomial model with complementary log-log link on counted cells.

In pattern p and interval j (stage s) with n days at risk and d events,

.. math:: d_{pj} \sim \mathrm{Bin}(n_{pj}, h_{pj}), \qquad h = 1 - e^{-\mu}, \qquad
    \mu_{pj} = \exp(\alpha_j + x_{ps}^\top \beta).

One α for each interval makes the information matrix an arrow (diagonal in α), and μ is a product of a part of the
pattern and a part of the interval. Newton's method with both costs a few products of matrices, where a general
GLM would hold a column for every interval. The estimates are those of ``statsmodels.GLM`` (it is the judge in the
tests); the standard errors are from the observed information, as Cox regression's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from collectlab.core.errors import NotAvailable
from collectlab.measures.drivers_covariates import Covariate
from collectlab.measures.drivers_patterns import Patterns

_BLOCK = 400_000
_ROUNDS = 40
#: Standard error, per standard deviation of a covariate, that only (near) separation brings about.
_SEPARATED = 5.0


@dataclass(frozen=True)
class Design:
    """Columns of the regression: (covariate, its column, stage or None for all stages)."""

    covariates: tuple[Covariate, ...]
    columns: tuple[tuple[int, int, int | None], ...]
    stages: int
    stage_of: np.ndarray  #: (J,)

    def matrices(self, parts: Sequence[np.ndarray]) -> np.ndarray:
        """(stages, n, columns) from each covariate's own (n, columns)."""
        X = np.zeros((self.stages, len(parts[0]), len(self.columns)))
        for at, (i, k, stage) in enumerate(self.columns):
            X[slice(None) if stage is None else stage, :, at] = parts[i][:, k]
        return X


def make_design(patterns: Patterns, varying: Sequence[str], stages: Sequence[int]) -> Design:
    """One column for each contrast, or one for each contrast and stage where the effect varies."""
    count = len(stages) + 1 if varying else 1
    columns: list[tuple[int, int, int | None]] = []
    for i, c in enumerate(patterns.covariates):
        for k in range(len(c.contrasts)):
            columns += [(i, k, s) for s in range(count)] if c.name in varying else [(i, k, None)]
    last = patterns.edges[1:]
    stage_of = np.searchsorted(np.array(stages), last, side="right") if varying else np.zeros(len(last), int)
    return Design(patterns.covariates, tuple(columns), count, stage_of)


@dataclass(frozen=True)
class Arrow:
    """A symmetric matrix over (α, β): diagonal in α."""

    a: np.ndarray  #: (J,)
    b: np.ndarray  #: (J, q)
    c: np.ndarray  #: (q, q)

    def schur(self) -> np.ndarray:
        """(q, q) what is left for β."""
        return self.c - self.b.T @ (self.b / self.a[:, None])

    def solve(self, alpha: np.ndarray, beta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The inverse times (α, β); columns of several right sides at once."""
        flat = alpha.ndim == 1
        alpha, beta = (alpha[:, None], beta[:, None]) if flat else (alpha, beta)
        scaled = alpha / self.a[:, None]
        x = np.linalg.solve(self.schur(), beta - self.b.T @ scaled) if len(self.c) else beta
        y = scaled - (self.b @ x) / self.a[:, None]
        return (y[:, 0], x[:, 0]) if flat else (y, x)

    def times(self, alpha: np.ndarray, beta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The matrix times (α, β); columns of several vectors at once."""
        return self.a[:, None] * alpha + self.b @ beta, self.b.T @ alpha + self.c @ beta


@dataclass(frozen=True)
class Fit:
    """One outcome's fitted hazard. ``alpha`` is −∞ (+∞) where no (every) day at risk brought the event."""

    outcome: object
    alpha: np.ndarray  #: (J,)
    beta: np.ndarray  #: (q,), 0 where a column was left out
    kept: np.ndarray  #: (q,) bool
    dead: np.ndarray  #: (levels of all covariates, stages) bool: levels without any event
    active: np.ndarray  #: (J,) bool: α is finite
    information: Arrow  #: over the kept columns
    log_likelihood: float
    rounds: int

    def mu(self, X: np.ndarray, dead: np.ndarray, stage_of: np.ndarray) -> np.ndarray:
        """(n, J) −log(1 − hazard) for rows of a design (stages, n, q); ``dead`` (n, stages) have none."""
        of_row = np.where(dead.T, 0.0, np.exp(X @ self.beta))  # (S, n)
        with np.errstate(invalid="ignore"):
            out = of_row[stage_of].T * np.exp(self.alpha)
        return np.where(of_row[stage_of].T > 0, out, 0.0)


def level_offsets(covariates: Sequence[Covariate]) -> np.ndarray:
    """Where each covariate's levels begin in :attr:`Fit.dead`; numbers have none."""
    return np.cumsum([0, *(len(c.labels or ()) for c in covariates)])


def dead_rows(dead: np.ndarray, covariates: Sequence[Covariate], codes: np.ndarray) -> np.ndarray:
    """(n, stages): rows that have a level without any event in that stage. Codes < 0: none."""
    start = level_offsets(covariates)
    out = np.zeros((len(codes), dead.shape[1]), dtype=bool)
    for i, c in enumerate(covariates):
        if c.labels is not None:
            out |= dead[start[i] + codes[:, i]] & (codes[:, i] >= 0)[:, None]
    return out


def fit_cause(patterns: Patterns, design: Design, X: np.ndarray, k: int, varying: Sequence[str]) -> Fit:
    """Fit outcome ``k``; raises NotAvailable if there is no finite estimate."""
    d, n = patterns.events[k], patterns.at_risk
    dead = _without_events(patterns, design, d, varying)
    gone = dead_rows(dead, patterns.covariates, patterns.codes)
    if gone.any():
        staying = ~gone[:, design.stage_of]
        d, n = d * staying, n * staying
    events, days = d.sum(axis=0), n.sum(axis=0)
    active = (events > 0) & (events < days)
    kept = _independent(X, n * active, design.stage_of)
    Z = X[:, :, kept]
    alpha = np.full(len(days), -np.inf)
    alpha[(events > 0) & ~active] = np.inf
    if not active.any():
        empty = Arrow(np.ones(len(days)), np.zeros((len(days), 0)), np.zeros((0, 0)))
        none = np.zeros(len(kept), dtype=bool)
        return Fit(patterns.outcomes[k], alpha, np.zeros(len(kept)), none, dead, active, empty, 0.0, 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        start = np.log(-np.log1p(-events[active] / days[active]))
    counts = _Counts.of(d[:, active], np.ascontiguousarray(n[:, active]), design.stage_of[active])
    a, b, info, likelihood, rounds = _newton(counts, Z, start, patterns.outcomes[k])
    alpha[active] = a
    beta = np.zeros(len(kept))
    beta[kept] = b
    full = Arrow(np.ones(len(days)), np.zeros((len(days), kept.sum())), info.c)
    full.a[active], full.b[active] = info.a, info.b
    return Fit(patterns.outcomes[k], alpha, beta, kept, dead, active, full, likelihood, rounds)


def _without_events(patterns: Patterns, design: Design, d: np.ndarray, varying: Sequence[str]) -> np.ndarray:
    """(levels, stages) of the covariates: no event of this outcome, so the hazard's estimate is 0."""
    by_stage = np.stack([d[:, design.stage_of == s].sum(axis=1) for s in range(design.stages)], axis=1)
    rows = [np.zeros((0, design.stages), dtype=bool)]
    for i, c in enumerate(patterns.covariates):
        if c.labels is None:
            continue
        found = np.stack(
            [np.bincount(patterns.codes[:, i], by_stage[:, s], len(c.labels)) for s in range(design.stages)],
            1,
        )
        if c.name not in varying:
            found = np.repeat(found.sum(axis=1, keepdims=True), design.stages, axis=1)
        some = by_stage.sum(axis=0) > 0
        rows.append((found == 0) & some)
    return np.concatenate(rows)


def _independent(X: np.ndarray, n: np.ndarray, stage_of: np.ndarray) -> np.ndarray:
    """(q,) columns that the intercepts and the columns before them do not determine."""
    q = X.shape[2]
    gram = np.zeros((q, q))
    for s in range(len(X)):
        w = n[:, stage_of == s].sum(axis=1)
        if w.sum() > 0:
            centred = X[s] - np.average(X[s], axis=0, weights=w)
            gram += (centred * w[:, None]).T @ centred
    kept = np.zeros(q, dtype=bool)
    scale = max(n.sum(), 1.0) * np.maximum((X**2).max(axis=(0, 1), initial=0.0), 1e-300)
    for j in range(q):
        use = np.flatnonzero(kept)
        rest = gram[j, j]
        if len(use):
            rest -= gram[j, use] @ np.linalg.solve(gram[np.ix_(use, use)], gram[use, j])
        kept[j] = rest > 1e-9 * max(gram[j, j], 1e-3 * scale[j] / max(n.sum(), 1.0))
    return kept


@dataclass(frozen=True)
class _Counts:
    """What the likelihood needs: days at risk of all cells, events where there are any."""

    n: np.ndarray  #: (P, J)
    p: np.ndarray  #: pattern, interval and events of the cells with events
    j: np.ndarray
    d: np.ndarray
    stage_of: np.ndarray

    @classmethod
    def of(cls, d: np.ndarray, n: np.ndarray, stage_of: np.ndarray) -> _Counts:
        """From dense arrays."""
        p, j = np.nonzero(d)
        return cls(n, p, j, d[p, j], stage_of)


def _newton(
    counts: _Counts, Z: np.ndarray, alpha: np.ndarray, outcome: object
) -> tuple[np.ndarray, np.ndarray, Arrow, float, int]:
    """Newton's method with step halving; the log-likelihood is concave."""
    beta = np.zeros(Z.shape[2])
    likelihood, score, info = _sums(counts, Z, alpha, beta)
    for rounds in range(1, _ROUNDS + 1):
        try:
            up, step = info.solve(*score)
        except np.linalg.LinAlgError:
            break
        gain = float(up @ score[0] + step @ score[1])
        if not np.isfinite(gain) or np.abs(step).max(initial=0.0) > 50:
            break
        for _ in range(20):
            new = _sums(counts, Z, alpha + up, beta + step)
            if new[0] >= likelihood - 1e-10 * abs(likelihood):
                break
            up, step = up / 2, step / 2
        alpha, beta = alpha + up, beta + step
        likelihood, score, info = new
        if gain < 1e-10:
            if _separated(Z, counts, info):
                break
            return alpha, beta, info, likelihood, rounds
    raise NotAvailable(
        f"the hazard of {outcome} has no finite estimate: some mix of covariates tells (nearly) perfectly who "
        f"ends as {outcome}. Use fewer covariates, or wider classes."
    )


def _separated(Z: np.ndarray, counts: _Counts, info: Arrow) -> bool:
    if not Z.shape[2]:
        return False
    w = np.stack([counts.n[:, counts.stage_of == s].sum(axis=1) for s in range(len(Z))])
    mean = np.einsum("sp,spq->q", w, Z) / w.sum()
    spread = np.sqrt(np.maximum(np.einsum("sp,spq->q", w, Z**2) / w.sum() - mean**2, 0))
    with np.errstate(invalid="ignore"):
        error = np.sqrt(np.diag(np.linalg.inv(info.schur())))
    return bool(~np.all(error * spread < _SEPARATED))


def _sums(
    counts: _Counts, Z: np.ndarray, alpha: np.ndarray, beta: np.ndarray
) -> tuple[float, tuple[np.ndarray, np.ndarray], Arrow]:
    """Log-likelihood Σ d (log h + μ) − n μ, its score and observed information.

    The part with n is a product of matrices, μ being a pattern's part times an interval's; only cells with
    events need a look of their own.
    """
    from scipy.sparse import csr_array

    p, j, stage_of = counts.p, counts.j, counts.stage_of
    J, q = len(alpha), Z.shape[2]
    of_row, of_day = np.exp(np.clip(Z @ beta, -300.0, 300.0)), np.exp(np.clip(alpha, -300.0, 300.0))
    mu = np.clip(of_row[stage_of[j], p] * of_day[j], 1e-300, 500.0)
    h = -np.expm1(-mu)
    ratio = mu / h
    gained = counts.d * ratio
    curve = gained * (1 - ratio * (1 - h))
    likelihood = float((counts.d * (np.log(h) + mu)).sum())
    score_a, a = np.bincount(j, gained, J), -np.bincount(j, curve, J)
    score_b, b, c = np.zeros(q), np.zeros((J, q)), np.zeros((q, q))
    for s in np.unique(stage_of):
        days = slice(*np.searchsorted(stage_of, [s, s + 1]))
        n, z, part = counts.n[:, days], Z[s], of_row[s]
        m = (n.T @ np.column_stack([part, part[:, None] * z])) * of_day[days, None]
        row = part * (n @ of_day[days])
        likelihood -= float(row.sum())
        score_a[days] -= m[:, 0]
        a[days] += m[:, 0]
        b[days] += m[:, 1:]
        here = slice(None) if len(Z) == 1 else stage_of[j] == s
        at, on = p[here], j[here]
        score_b += z.T @ (np.bincount(at, gained[here], len(part)) - row)
        c += (z * (row - np.bincount(at, curve[here], len(part)))[:, None]).T @ z
        first = np.searchsorted(at, np.arange(len(part) + 1))  # cells stand by row
        b -= csr_array((curve[here], on, first), shape=(len(part), J)).T @ z
    return likelihood, (score_a, score_b), Arrow(np.maximum(a, 1e-300), b, c)


def cross(patterns: Patterns, design: Design, X: np.ndarray, one: Fit, other: Fit) -> Arrow:
    """Covariance of the scores of two outcomes: on one day an episode ends at most one way, −n h₁ h₂ in a cell."""
    J, q1, q2 = len(one.alpha), int(one.kept.sum()), int(other.kept.sum())
    both = one.active & other.active
    a, b, c = np.zeros(J), np.zeros((J, q1)), np.zeros((q1, q2))
    transposed = np.zeros((J, q2))
    block = max(1, _BLOCK // J)
    for first in range(0, len(patterns.size), block):
        rows = slice(first, first + block)
        mus = []
        for fit in (one, other):
            gone = dead_rows(fit.dead, patterns.covariates, patterns.codes[rows])
            mus.append(fit.mu(X[:, rows], gone, design.stage_of))
        with np.errstate(invalid="ignore"):
            # μ is the score's derivative: s = μ / h, so that s₁ s₂ h₁ h₂ = μ₁ μ₂.
            w = np.where(both, -patterns.at_risk[rows] * mus[0] * mus[1], 0.0)
        a += w.sum(axis=0)
        for s in range(design.stages):
            there = design.stage_of == s
            z1, z2 = X[s, rows][:, one.kept], X[s, rows][:, other.kept]
            b[there] += w[:, there].T @ z1
            transposed[there] += w[:, there].T @ z2
            c += (z1 * w[:, there].sum(axis=1)[:, None]).T @ z2
    return CrossArrow(a, b, c, transposed)


@dataclass(frozen=True)
class CrossArrow(Arrow):
    """A block between two outcomes: rows (α, β) of the one, columns of the other."""

    d: np.ndarray  #: (J, q2)

    def times(self, alpha: np.ndarray, beta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The block times the other outcome's (α, β)."""
        return self.a[:, None] * alpha + self.d @ beta, self.b.T @ alpha + self.c @ beta


def cluster_scores(
    patterns: Patterns, design: Design, X: np.ndarray, fit: Fit
) -> tuple[np.ndarray, np.ndarray]:
    """(R, J) and (R, q): the score of each replicate group of clusters; over all groups they sum to 0."""
    counts, J, k = patterns.clustered, len(fit.alpha), patterns.outcomes.index(fit.outcome)
    gone = dead_rows(fit.dead, patterns.covariates, patterns.codes)
    mu = np.where(fit.active, fit.mu(X, gone, design.stage_of), 0.0)
    lengths, Z = patterns.lengths, X[:, :, fit.kept]
    score_a, score_b = np.zeros((counts.groups, J)), np.zeros((counts.groups, int(fit.kept.sum())))
    for cells, sign in ((counts.exits, -1.0), (counts.entries, 1.0)):
        r, p, j, n, offset = (
            cells[c].to_numpy() for c in ("replicate", "pattern", "interval", "n", "offset")
        )
        for s in range(design.stages):
            there = design.stage_of == s
            of_row = np.where(gone[:, s], 0.0, np.exp(X[s] @ fit.beta))
            passed = np.bincount(r * J + j, n * of_row[p], counts.groups * J).reshape(-1, J)
            inside = np.bincount(r * J + j, offset * of_row[p], counts.groups * J).reshape(-1, J)
            beyond = passed.sum(axis=1, keepdims=True) - np.cumsum(passed, axis=1)
            use = there & fit.active
            score_a[:, use] += sign * (inside + beyond * lengths)[:, use] * np.exp(fit.alpha[use])
            stage_mu = np.where(there, mu, 0.0)
            before = np.cumsum(stage_mu * lengths, axis=1) - stage_mu * lengths
            total = sign * (n * before[p, j] + offset * stage_mu[p, j])
            score_b += _by_group(r, p, total, Z[s], counts.groups)
    cells = counts.exits[counts.exits["outcome"] == k]
    r, p, j, n = (cells[c].to_numpy() for c in ("replicate", "pattern", "interval", "n"))
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = np.where(mu > 0, mu / -np.expm1(-mu), 0.0)
    gained = n * ratio[p, j]
    score_a += np.bincount(r * J + j, gained, counts.groups * J).reshape(-1, J)
    for s in range(design.stages):
        score_b += _by_group(r, p, np.where(design.stage_of[j] == s, gained, 0.0), Z[s], counts.groups)
    return score_a, score_b


def _by_group(r: np.ndarray, p: np.ndarray, amount: np.ndarray, z: np.ndarray, groups: int) -> np.ndarray:
    """(R, q) Σ amount · z over the cells of each replicate group."""
    out = np.zeros((groups, z.shape[1]))
    for q in range(z.shape[1]):
        out[:, q] = np.bincount(r, amount * z[p, q], groups)
    return out
