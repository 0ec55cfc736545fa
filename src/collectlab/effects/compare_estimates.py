"""The four estimates of a comparison, and what each account contributes to their errors."""

from __future__ import annotations

import warnings
from typing import NamedTuple

import numpy as np

from collectlab.core.errors import FrameError

METHODS = ("naive", "adjusted", "weighted", "doubly robust")


class Estimated(NamedTuple):
    """An effect, the mean without the treatment it is measured from, and the influence of each account.

    ``influence`` sums to 0; the variance of the estimate is Σ influence² / n², or that of its cluster sums.
    """

    estimate: float
    without: float
    influence: np.ndarray


def propensity(x: np.ndarray, treated: np.ndarray):
    """Logistic regression of the treatment on the columns (statsmodels' result); raises where none exists."""
    import statsmodels.api as sm

    try:
        # Separation shows as a warning, as no convergence or as fitted chances of 0 and 1: all refused below.
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            found = sm.Logit(treated.astype(float), x).fit(disp=0, maxiter=100)
            chance = found.predict()
    except np.linalg.LinAlgError:
        found = None
    if found is None or not np.isfinite(chance).all() or np.mean((chance > 1e-6) & (chance < 1 - 1e-6)) < 0.5:
        raise FrameError(
            "perfect separation: the covariates together tell the treated from the untreated, so nobody "
            "can be compared. Use fewer covariates, or ask only where both kinds occur."
        )
    return found


def estimates(
    y: np.ndarray, treated: np.ndarray, x: np.ndarray, selected, effect: str = "all"
) -> dict[str, Estimated]:
    """Regression adjustment, inverse-probability weighting and their doubly robust union.

    With e the propensity, m₁ and m₀ least-squares fits of y among treated and untreated, and the target's weight
    h = 1 (effect on all) or e (on the treated; then the first mean below runs over the treated alone):

        adjusted:       mean(m₁ − m₀)
        weighted:       Σ w₁y / Σ w₁ − Σ w₀y / Σ w₀,     w₁ = h·T/e,   w₀ = h·(1 − T)/(1 − e)
        doubly robust:  adjusted + [mean w₁(y − m₁) − mean w₀(y − m₀)] / mean h

    Estimates are those of statsmodels' ``TreatmentEffect`` (which has no doubly robust effect on the treated). Errors
    are from the influence functions of the stacked equations: each estimate's own term, plus its slope in every
    nuisance parameter times that parameter's influence. They equal statsmodels' (GMM) errors, without a numerical
    optimiser, and can be summed within clusters.

    Parameters
    ----------
    y : ndarray of shape (n,)
    treated : ndarray of bool of shape (n,)
    x : ndarray of shape (n, k), an intercept first
    selected : result of :func:`propensity`
    effect : {"all", "treated"}

    References
    ----------
    Lunceford & Davidian (2004), Statistics in Medicine 23, doi:10.1002/sim.1903. Newey & McFadden (1994), Handbook of
    Econometrics 4, section 6.
    """
    import statsmodels.api as sm
    from statsmodels.treatment.treatment_effects import TreatmentEffect

    t = treated.astype(float)
    n = len(y)
    models = TreatmentEffect(sm.OLS(y, x), treated.astype(int), results_select=selected)
    e = np.asarray(selected.predict())
    fits = [np.einsum("ij,j->i", x, np.asarray(r.params)) for r in (models.results0, models.results1)]
    m0, m1 = fits
    nuisance = {
        "e": _influence(x, t - e, e * (1 - e)),
        "m0": _influence(x, (1 - t) * (y - m0), 1 - t),
        "m1": _influence(x, t * (y - m1), t),
    }
    on_all = effect == "all"
    target = np.ones(n) if on_all else t
    w1 = t / e if on_all else t
    w0 = (1 - t) / (1 - e) * (1.0 if on_all else e)
    # Slopes of the weights in the propensity's linear predictor.
    d1 = -t * (1 - e) / e if on_all else np.zeros(n)
    d0 = (1 - t) * e / (1 - e)

    def through(**slopes: np.ndarray) -> np.ndarray:
        parts = (nuisance[k] @ (np.einsum("i,ij->j", v, x) / n) for k, v in slopes.items())
        return np.sum(list(parts), axis=0)

    group = {} if on_all else {"effect_group": 1}
    share = target.mean()
    ra, ra0, _ = models.ra(return_results=False, **group)
    adjusted = (target * (m1 - m0 - ra) + through(m1=target, m0=-target)) / share

    ipw, mu0, mu1 = models.ipw(return_results=False, **group)
    high = (w1 * (y - mu1) + through(e=d1 * (y - mu1))) / w1.mean()
    low = (w0 * (y - mu0) + through(e=d0 * (y - mu0))) / w0.mean()

    terms = target * (m1 - m0) + w1 * (y - m1) - w0 * (y - m0)
    if on_all:
        dr, dr0, _ = models.aipw(return_results=False)
    else:
        dr = terms.mean() / share
        dr0 = (target * m0 + w0 * (y - m0)).mean() / share
    robust = terms - target * dr
    robust += through(m1=target - w1, m0=w0 - target, e=d1 * (y - m1) - d0 * (y - m0))
    return {
        "adjusted": Estimated(float(ra), float(ra0), adjusted),
        "weighted": Estimated(float(ipw), float(mu0), high - low),
        "doubly robust": Estimated(float(dr), float(dr0), robust / share),
    }


def _influence(x: np.ndarray, residual: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Influence of each account on coefficients that solve Σ x·residual = 0: (n, k)."""
    hessian = np.einsum("i,ij,ik->jk", weight, x, x) / len(x)
    return np.linalg.solve(hessian, (x * residual[:, None]).T).T


def naive(y: np.ndarray, treated: np.ndarray) -> Estimated:
    """Difference of two plain means, as everybody computes it; its errors are Welch's."""
    n, n1 = len(y), treated.sum()
    high, low = y[treated].mean(), y[~treated].mean()
    # n₁/(n₁ − 1) makes Σ influence² / n² the variance of a mean with its usual divisor.
    influence = np.where(
        treated,
        (y - high) * n / np.sqrt(n1 * max(n1 - 1, 1)),
        -(y - low) * n / np.sqrt((n - n1) * max(n - n1 - 1, 1)),
    )
    return Estimated(float(high - low), float(low), influence)


def joint_covariance(influences: np.ndarray, cluster: np.ndarray | None) -> np.ndarray:
    """Covariance of estimates from their influences, shape (estimates, n); summed within clusters where given."""
    n = influences.shape[1]
    if cluster is None:
        return np.einsum("ai,bi->ab", influences, influences) / n**2
    groups = int(cluster.max()) + 1
    sums = np.stack([np.bincount(cluster, weights=row, minlength=groups) for row in influences])
    return np.einsum("ag,bg->ab", sums, sums) / n**2 * groups / max(groups - 1, 1)
