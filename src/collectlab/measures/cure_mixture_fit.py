"""The likelihood of a mixture cure model on counted cells, its gradient, and how it is maximised.

An account has the event at all with probability π = 1 / (1 + exp(−η)); given that it has, its log time is
μ + noise / k. With w = k (log t − μ) the conditional survival is exp(−eʷ) (Weibull) or Φ(−w) (lognormal).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

DISTRIBUTIONS = ("weibull", "lognormal")
_STARTS = 6
_SEED = 20261031


@dataclass(frozen=True)
class Sample:
    """Counted cells: each array has one place a cell."""

    upper: np.ndarray  #: day of the event, or of censoring
    lower: np.ndarray  #: the event came in (lower, upper]; equal to upper: exactly then
    entry: np.ndarray  #: day observation began (0: from the start)
    event: np.ndarray  #: whether it is an event
    n: np.ndarray
    whether: np.ndarray  #: (cells, p) design of η
    timing: np.ndarray  #: (cells, q) design of μ
    lognormal: bool = False


@dataclass(frozen=True)
class Fit:
    """A maximum: η's coefficients, μ's, and log k (Weibull: log shape; lognormal: −log σ)."""

    beta: np.ndarray
    covariance: np.ndarray
    loglik: float
    gradient: float  #: largest |∂ log L / ∂β| divided by the number of episodes, on standardised columns
    agreeing: int  #: starts that end at this maximum
    starts: int
    problem: str  #: why it is no proper maximum; empty if it is one


def log_survival(w: np.ndarray, lognormal: bool) -> tuple[np.ndarray, np.ndarray]:
    """log S and d log S / dw."""
    from scipy.special import log_ndtr

    if not lognormal:
        hazard = np.exp(w)
        return -hazard, -hazard
    tail = log_ndtr(-w)
    return tail, -np.exp(-0.5 * w**2 - 0.5 * np.log(2 * np.pi) - tail)


def loglik(beta: np.ndarray, data: Sample) -> tuple[float, np.ndarray]:
    """log L and its gradient.

    An event on day t exactly: log π + log f(t); in (a, b]: log π + log(S(a) − S(b)); censored after t:
    log(1 − π + π S(t)). Late entry on day e takes log(1 − π + π S(e)) away.
    """
    p, q = data.whether.shape[1], data.timing.shape[1]
    eta, mu, rate = data.whether @ beta[:p], data.timing @ beta[p : p + q], np.exp(beta[-1])
    log_pi, log_never = -np.logaddexp(0, -eta), -np.logaddexp(0, eta)
    pi = np.exp(log_pi)
    value = np.zeros(len(eta))
    d_eta, d_mu, d_rate = np.zeros(len(eta)), np.zeros(len(eta)), np.zeros(len(eta))

    def staying(days: np.ndarray, rows: np.ndarray, sign: int) -> None:
        """Add sign · log(1 − π + π S(days)) on ``rows``."""
        w = rate * (np.log(days) - mu[rows])
        log_s, slope = log_survival(w, data.lognormal)
        joint = log_pi[rows] + log_s
        total = np.logaddexp(log_never[rows], joint)
        share = np.exp(joint - total)  # P(has the event, still without it) / P(without it)
        value[rows] += sign * total
        d_eta[rows] += sign * (share - pi[rows])
        d_mu[rows] -= sign * share * slope * rate
        d_rate[rows] += sign * share * slope * w

    staying(data.upper[(rows := np.flatnonzero(~data.event & (data.upper > 0)))], rows, 1)
    staying(data.entry[(rows := np.flatnonzero(data.entry > 0))], rows, -1)

    rows = np.flatnonzero(data.event & (data.lower == data.upper))
    w = rate * (np.log(data.upper[rows]) - mu[rows])
    if data.lognormal:
        log_f, slope = -0.5 * w**2 - 0.5 * np.log(2 * np.pi), -w
    else:
        log_f, slope = w - np.exp(w), 1 - np.exp(w)
    value[rows] += log_pi[rows] + log_f + beta[-1] - np.log(data.upper[rows])
    d_eta[rows] += 1 - pi[rows]
    d_mu[rows] -= slope * rate
    d_rate[rows] += 1 + slope * w

    rows = np.flatnonzero(data.event & (data.lower < data.upper))
    later = rate * (np.log(data.upper[rows]) - mu[rows])
    end, end_slope = log_survival(later, data.lognormal)
    with np.errstate(divide="ignore"):
        earlier = rate * (np.log(data.lower[rows]) - mu[rows])
    start, start_slope = log_survival(earlier, data.lognormal)
    earlier = np.where(data.lower[rows] > 0, earlier, 0.0)  # S(0) = 1 whatever the parameters
    start_slope = np.where(data.lower[rows] > 0, start_slope, 0.0)
    inside = start + np.log(-np.expm1(np.minimum(end - start, -1e-300)))
    at_start, at_end = np.exp(start - inside) * start_slope, np.exp(end - inside) * end_slope
    value[rows] += log_pi[rows] + inside
    d_eta[rows] += 1 - pi[rows]
    d_mu[rows] -= rate * (at_start - at_end)
    d_rate[rows] += at_start * earlier - at_end * later

    n = data.n
    gradient = [data.whether.T @ (n * d_eta), data.timing.T @ (n * d_mu), [n @ d_rate]]
    return float(n @ value), np.concatenate(gradient)


def hessian(beta: np.ndarray, gradient: Callable[[np.ndarray], np.ndarray], step: float = 1e-5) -> np.ndarray:
    """Second derivatives: the analytic gradient by central differences, extrapolated once (error of order h⁴)."""
    rows = []
    for unit in np.eye(len(beta)):
        wide, fine = (
            (gradient(beta + h * unit) - gradient(beta - h * unit)) / (2 * h) for h in (step * 20, step * 10)
        )
        rows.append((4 * fine - wide) / 3)
    second = np.array(rows)
    return (second + second.T) / 2


def fit(data: Sample) -> Fit:
    """Maximise from several seeded starts, polish by Newton's method, and judge the maximum found."""
    from scipy.optimize import minimize

    n = data.n.sum()
    whether, of_whether = _standardised(data.whether, data.n)
    timing, of_timing = _standardised(data.timing, data.n)
    scaled = Sample(**{**data.__dict__, "whether": whether, "timing": timing})

    def negative(beta: np.ndarray) -> tuple[float, np.ndarray]:
        with np.errstate(over="ignore", invalid="ignore"):
            value, gradient = loglik(beta, scaled)
        if not (np.isfinite(value) and np.isfinite(gradient).all()):
            return 1e10, np.zeros(len(beta))
        return -value / n, -gradient / n

    p, q = whether.shape[1], timing.shape[1]
    rng = np.random.default_rng(_SEED)
    share = np.clip((data.n @ data.event) / n, 0.05, 0.9)
    middle = np.average(np.log(data.upper[data.event]), weights=data.n[data.event])
    first = np.concatenate([[np.log(share / (1 - share))], np.zeros(p - 1), [middle], np.zeros(q)])
    found = []
    for s in range(_STARTS):
        begin = first + (rng.normal(0, 0.5, len(first)) if s else 0.0)
        end = minimize(negative, begin, jac=True, method="BFGS", options={"maxiter": 1000, "gtol": 1e-7})
        found.append((end.fun, end.x))
    best = min(found, key=lambda f: f[0])
    beta = best[1]
    for _ in range(5):
        curvature = hessian(beta, lambda b: negative(b)[1])
        if np.linalg.eigvalsh(curvature)[0] <= 1e-10:
            break
        move = np.linalg.solve(curvature, negative(beta)[1])
        if np.abs(move).max() > 1 or negative(beta - move)[0] > negative(beta)[0] + 1e-12:
            break
        beta = beta - move
        if np.abs(move).max() < 1e-10:
            break
    value, gradient = negative(beta)
    curvature = hessian(beta, lambda b: negative(b)[1])
    back = np.eye(len(beta))
    back[:p, :p], back[p : p + q, p : p + q] = of_whether, of_timing
    problem = _problem(beta, np.abs(gradient).max(), curvature, whether @ beta[:p])
    covariance = np.full_like(back, np.nan) if problem else back @ np.linalg.inv(curvature * n) @ back.T
    return Fit(
        beta=back @ beta,
        covariance=covariance,
        loglik=-value * n,
        gradient=float(np.abs(gradient).max()),
        agreeing=sum((f[0] - value) * n < 1e-3 for f in found),
        starts=_STARTS,
        problem=problem,
    )


def _problem(beta: np.ndarray, gradient: float, curvature: np.ndarray, eta: np.ndarray) -> str:
    """Why a point is no proper maximum in the inside of the parameter space."""
    if eta.min() > 8:
        return "the likelihood is highest where nobody never has the event (a never-share of 0)"
    if eta.max() < -8:
        return "the likelihood is highest where nobody ever has the event (a never-share of 1)"
    if abs(beta[-1]) > 6:
        return "the shape of the timing runs off to an edge"
    if np.abs(eta).max() > 25:
        return "a covariate tells those who never have the event perfectly"
    if np.linalg.eigvalsh(curvature)[0] <= 1e-8:
        return "the likelihood is flat at its top: the data do not tell the never-share from late events"
    if gradient > 1e-6:
        return f"the search did not converge (gradient {gradient:.1e})"
    return ""


def _standardised(design: np.ndarray, n: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The design with centred columns of unit spread (the first is constant), and the matrix that takes
    coefficients of it to coefficients of the design given."""
    mean = np.average(design, axis=0, weights=n)
    spread = np.sqrt(np.average((design - mean) ** 2, axis=0, weights=n))
    mean[0], spread[0] = 0.0, 1.0
    spread = np.where(spread > 0, spread, 1.0)
    back = np.diag(1 / spread)
    back[0] -= np.concatenate([[0.0], mean[1:] / spread[1:]])
    return (design - mean) / spread, back
