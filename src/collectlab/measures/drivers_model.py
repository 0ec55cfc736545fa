"""The fitted hazards of all outcomes, and the standard error of whatever is computed from them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np

from collectlab.core.errors import FrameError, NotAvailable, first_few, nearest
from collectlab.core.jackknife import t_quantile
from collectlab.measures.drivers_fit import cluster_scores, cross, dead_rows, fit_cause, make_design
from collectlab.measures.drivers_patterns import Patterns

_ENOUGH = 10
#: Gradient of a statistic: one (J, m) and one (q, m) for each outcome's α and β.
Gradient = Sequence[tuple[np.ndarray, np.ndarray]]


class Model:
    """Counted patterns and, when first asked for, one hazard for each outcome. Outcome 0 is the event meant."""

    def __init__(self, patterns: Patterns, varying: Sequence[str], stages: Sequence[int]):
        self.patterns = patterns
        self.varying = tuple(varying)
        self.design = make_design(patterns, varying, stages)
        self.X = self.design.matrices(self.parts(patterns.codes))
        self.event = fit_cause(patterns, self.design, self.X, 0, varying)
        self.notes: list[str] = []

    def parts(self, codes: np.ndarray) -> list[np.ndarray]:
        """Each covariate's columns of the design for (n, covariates) codes."""
        return [c.columns(codes[:, i]) for i, c in enumerate(self.patterns.covariates)]

    @cached_property
    def fits(self) -> list:
        """One fit for each outcome; of the rare ones the hazard by interval alone."""
        fits = [self.event]
        for k in range(1, len(self.patterns.outcomes)):
            X, name, events = self.X, self.patterns.outcomes[k], self.patterns.events[k].sum()
            try:
                if events < _ENOUGH:
                    raise NotAvailable("too few events")
                fits.append(fit_cause(self.patterns, self.design, X, k, self.varying))
            except NotAvailable:
                fits.append(fit_cause(self.patterns, self.design, X * 0, k, self.varying))
                self.notes.append(
                    f"{name} ({int(events):,} episodes) is taken to come at the same rate whatever the covariates."
                )
        return fits

    @cached_property
    def scores(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """By outcome, the scores of the replicate groups that hold anything."""
        there = np.unique(self.patterns.clustered.exits["replicate"])
        found = [cluster_scores(self.patterns, self.design, self.X, fit) for fit in self.fits]
        return [(a[there], b[there]) for a, b in found]

    @cached_property
    def event_scores(self) -> tuple[np.ndarray, np.ndarray]:
        """The same for the event alone, without fitting the others."""
        there = np.unique(self.patterns.clustered.exits["replicate"])
        a, b = cluster_scores(self.patterns, self.design, self.X, self.event)
        return a[there], b[there]

    @cached_property
    def _crosses(self) -> dict:
        fits = self.fits
        pairs = [(i, j) for j in range(len(fits)) for i in range(j)]
        return {(i, j): cross(self.patterns, self.design, self.X, fits[i], fits[j]) for i, j in pairs}

    def errors(self, gradient: Gradient) -> np.ndarray:
        """(m,) standard errors of statistics with this gradient, by the delta method.

        Without clusters the variance is gᵀ I⁻¹ g, with the covariance of the outcomes' scores. With clusters
        it is R / (R − 1) · Σᵣ (gᵀ I⁻¹ Uᵣ)², Uᵣ being the score of one replicate group of clusters.
        """
        fits = self.fits if len(gradient) > 1 else [self.event]
        solved, variance = [], 0.0
        for fit, (alpha, beta) in zip(fits, gradient):
            alpha, beta = np.where(fit.active[:, None], alpha, 0.0), beta[fit.kept]
            up, step = fit.information.solve(alpha, beta)
            solved.append((np.where(fit.active[:, None], up, 0.0), step))
            variance = variance + (alpha * up).sum(axis=0) + (beta * step).sum(axis=0)
        if self.patterns.clustered is not None:
            scores = self.scores if len(gradient) > 1 else [self.event_scores]
            influence = sum(a @ up + b @ step for (a, b), (up, step) in zip(scores, solved))
            groups = len(influence)
            return np.sqrt(groups / max(groups - 1, 1) * (influence**2).sum(axis=0)) if groups > 1 else np.nan  # type: ignore[return-value]
        if len(gradient) > 1:
            for (i, j), block in self._crosses.items():
                up, step = block.times(*solved[j])
                variance = variance + 2 * (
                    (solved[i][0] * up).sum(axis=0) + (solved[i][1] * step).sum(axis=0)
                )
        return np.sqrt(np.maximum(variance, 0.0))

    def quantile(self, conf_level: float) -> float:
        """Two-sided: normal, or Student's t with R − 1 degrees of freedom for clusters."""
        from scipy.special import ndtri

        if self.patterns.clustered is None:
            return float(ndtri((1 + conf_level) / 2))
        groups = self.patterns.clustered.exits["replicate"].nunique()
        return float(t_quantile(conf_level, np.array(groups - 1)))

    def profile_rows(self, profiles: dict) -> tuple[list[np.ndarray], np.ndarray]:
        """Columns and codes of named profiles; what a profile does not name is at its reference or mean."""
        if (
            not isinstance(profiles, dict)
            or not profiles
            or not all(isinstance(p, dict) for p in profiles.values())
        ):
            raise FrameError(
                "profiles must map a name to its covariates, such as {'young': {'age': 25}, 'old': {'age': 60}}."
            )
        covariates = self.patterns.covariates
        known = [c.name for c in covariates]
        faults = []
        for name, profile in profiles.items():
            for column in profile:
                if column not in known:
                    near = nearest(str(column), known)
                    hint = f" Did you mean {' or '.join(near)}?" if near else ""
                    faults.append(
                        f"profile {name!r}: no covariate {column!r}.{hint} Covariates: {first_few(known, 12)}."
                    )
        if faults:
            raise FrameError(faults)
        parts, codes = [], np.full((len(profiles), len(covariates)), -1)
        for i, c in enumerate(covariates):
            rows = []
            for p, profile in enumerate(profiles.values()):
                if c.name in profile:
                    rows.append(c.row(profile[c.name]))
                    if c.labels is not None:
                        codes[p, i] = _code_of(c, rows[-1])
                else:
                    rows.append(np.zeros(len(c.contrasts)))
                    codes[p, i] = -1 if c.labels is None else c.reference
            parts.append(np.stack(rows))
        return parts, codes

    def mus(self, parts: list[np.ndarray], codes: np.ndarray, causes: int | None = None) -> list[np.ndarray]:
        """By outcome, (n, J) −log(1 − hazard) of rows."""
        X = self.design.matrices(parts)
        fits = self.fits if causes is None else [self.event]
        covariates = self.patterns.covariates
        return [f.mu(X, dead_rows(f.dead, covariates, codes), self.design.stage_of) for f in fits]


def _code_of(covariate, row: np.ndarray) -> int:
    """The level of one row of the design."""
    others = [i for i in range(len(covariate.labels)) if i != covariate.reference]
    return others[int(np.argmax(row))] if row.any() else covariate.reference
