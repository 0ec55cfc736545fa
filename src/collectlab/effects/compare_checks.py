"""The checks on a comparison of what people chose: overlap, balance, agreement, robustness, placebos."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from collectlab.core.errors import first_few
from collectlab.core.tables import format_value
from collectlab.effects.compare_design import Covariate
from collectlab.effects.compare_frame import Sample
from collectlab.effects.effect_result import Check

#: Beyond these propensities an account has hardly anyone to be compared with; what is said, not what is trimmed.
EDGES = (0.05, 0.95)
#: An estimate for fewer than half the accounts is no answer to the question about them.
LEFT_OUT = 0.5
BALANCE = 0.1
_BIN = 10


def one_sided(covariates: Sequence[Covariate], treated: np.ndarray) -> tuple[list[str], np.ndarray]:
    """Cells of one covariate that hold only treated or only untreated accounts, and the rows of such levels.

    Levels as they are, numbers in tenths. A tenth of a number is named only: the propensity judges its rows.
    """
    named, rows = [], np.zeros(len(treated), dtype=bool)
    for c in covariates:
        if c.levels is not None:
            cells = c.levels.astype(str)
        else:
            edges = np.unique(np.quantile(c.values, np.arange(0.1, 1, 0.1)))
            cells = np.searchsorted(edges, c.values, side="left")
        for cell in np.unique(cells):
            inside = cells == cell
            share = treated[inside].mean()
            if share not in (0.0, 1.0) or (c.levels is None and inside.sum() < _BIN):
                continue
            word = "treated" if share else "untreated"
            named.append(f"{c.name} {_range(c, inside, cell)} (all {int(inside.sum()):,} {word})")
            if c.levels is not None:
                rows |= inside
    return named, rows


def _range(c: Covariate, inside: np.ndarray, cell: object) -> str:
    if c.levels is not None:
        return f"= {cell}"
    ends = c.values[inside].min(), c.values[inside].max()
    low, high = np.exp(ends) if c.logged else ends
    return f"{low:,.6g} to {high:,.6g}"


def overlap(chance: np.ndarray, treated: np.ndarray, kept: np.ndarray, named: list[str], rule: str) -> Check:
    """Whether like can be compared with like; ``chance`` is NaN for rows of one-sided levels."""
    known = np.isfinite(chance)
    outside = np.mean(~known | (chance < EDGES[0]) | (chance > EDGES[1]))
    left_out = 1 - kept.mean()
    ends = [
        f"{np.nanmin(chance[side]):.2f} to {np.nanmax(chance[side]):.2f} among the {word}"
        for side, word in ((treated, "treated"), (~treated, "untreated"))
        if np.isfinite(chance[side]).any()
    ]
    says = (
        f"The propensity runs from {' and from '.join(ends)}; {_percent(outside)} of the accounts lie outside "
        f"{EDGES[0]:g} to {EDGES[1]:g}. {rule}: {int((~kept).sum()):,} of {len(kept):,} accounts "
        f"({_percent(left_out)}) are left out, and the estimates are for the others."
    )
    if named:
        says += f" No overlap at: {first_few(named, 6)}."
    return Check(name="overlap", passed=bool(left_out <= LEFT_OUT), says=says, value=left_out, limit=LEFT_OUT)


def balance_table(
    covariates: Sequence[Covariate], treated: np.ndarray, weights: tuple[np.ndarray, np.ndarray]
) -> pd.DataFrame:
    """covariate, level, before, after: standardised differences, treated minus untreated.

    Among the accounts in the estimates: (mean₁ − mean₀) / √((s₁² + s₀²)/2), with weighted means after, with the
    unweighted spreads both times. Skewed numbers in logs, as they enter the models. Source: Austin (2009), Statistics in Medicine 28, doi:10.1002/sim.3697.
    """
    rows = []
    for c in covariates:
        if c.levels is not None:
            parts = [(name, (c.levels == name).astype(float)) for name in sorted(set(c.levels))]
        else:
            parts = [("(logarithm)" if c.logged else "", c.values)]
            parts += [("(missing)", c.gap.astype(float))] if c.gap.any() else []
        for level, x in parts:
            spread = np.sqrt((x[treated].var() + x[~treated].var()) / 2)
            if spread > 0:
                plain = x[treated].mean() - x[~treated].mean()
                high, low = (np.sum(w * x) / np.sum(w) for w in weights)
                rows.append((c.name, level, plain / spread, (high - low) / spread))
    return pd.DataFrame(rows, columns=["covariate", "level", "before", "after"])


def balance(table: pd.DataFrame, weights: tuple[np.ndarray, np.ndarray]) -> Check:
    """Whether weighting made the two groups alike in what was measured.

    The limit is 0.1, or two standard errors of such a difference where the groups (by Kish's effective numbers) are so
    small that chance alone leaves more.
    """
    if table.empty:
        return Check(name="balance", passed=None, says="No covariate differs between accounts.")
    before, after = table["before"].abs(), table["after"].abs()
    worst = table.loc[after.idxmax()]
    where = " ".join(w for w in (worst["covariate"], worst["level"]) if w)
    value = float(after.max())
    effective = [np.sum(w) ** 2 / np.sum(w**2) for w in weights]
    limit = max(BALANCE, 2 * float(np.sqrt(sum(1 / n for n in effective))))
    return Check(
        name="balance",
        passed=value <= limit,
        says=f"After weighting the largest standardised difference is {value:.2f} ({where}); before it was "
        f"{before.max():.2f}. Up to {limit:.2f} counts as alike.",
        value=value,
        limit=limit,
    )


def agreement(values: np.ndarray, covariance: np.ndarray, alpha: float) -> Check:
    """Wald test that the adjusted, weighted and doubly robust estimates differ by chance only."""
    from scipy.stats import chi2

    contrast = np.array([[1.0, 0.0, -1.0], [0.0, 1.0, -1.0]])
    apart = contrast @ values
    spread = contrast @ covariance @ contrast.T
    # Where two methods give the same numbers by construction, their difference has no spread and no say.
    rank = np.linalg.matrix_rank(spread, tol=1e-12 * max(np.trace(covariance), 1e-300), hermitian=True)
    if not rank:
        return Check(
            name="agreement", passed=True, says="The three estimates are the same number.", value=1.0
        )
    statistic = apart @ np.linalg.pinv(spread, rcond=1e-10, hermitian=True) @ apart
    p = float(chi2.sf(statistic, rank))
    differ = "differ by more than chance: a model misses something" if p < alpha else "agree within chance"
    return Check(
        name="agreement",
        passed=p >= alpha,
        says=f"The adjusted, weighted and doubly robust estimates {differ} (p {_p(p)}).",
        value=p,
        limit=alpha,
    )


def e_value(ratio: float) -> float:
    """E-value of a ratio of risks: RR + √(RR·(RR − 1)), of 1/RR below 1 (VanderWeele & Ding 2017)."""
    ratio = max(ratio, 1 / ratio) if ratio > 0 else np.inf
    return float(ratio + np.sqrt(ratio * (ratio - 1)))


def robustness(sample: Sample, row: dict, covariates: Sequence[Covariate]) -> Check:
    """How strong an unmeasured trait would have to be, beside the strongest measured one.

    Risk ratios of a 0/1 outcome come from the two means; of other outcomes from exp(0.91·d), d the effect in standard
    deviations. Source: VanderWeele & Ding (2017), Annals of Internal Medicine 167, doi:10.7326/M16-2607.
    """
    low, high, estimate = row["conf_low"], row["conf_high"], row["estimate"]
    if not (low > 0 or high < 0):
        return Check(
            name="robustness",
            passed=None,
            says="The interval holds 0: there is no effect that a hidden trait would have to explain away.",
        )
    end = low if low > 0 else high
    binary, without = row["unit"] == "points", row["mean_without"]
    spread = float(sample.y.std())

    def ratio(effect: float) -> float:
        return (
            max((without + effect) / without, 1e-9)
            if binary and without > 0
            else np.exp(0.91 * effect / spread)
        )

    e_point, e_end = e_value(ratio(estimate)), e_value(ratio(end))
    strongest, strength, sides = _yardstick(sample, covariates, binary, spread)
    says = (
        f"To explain the estimate away, a trait the book does not hold would have to be {e_point:.2f} times as frequent "
        f"on one side and change the risk of the outcome {e_point:.2f}-fold, beyond what is adjusted for; "
        f"{e_end:.2f} would do to move the interval to 0."
    )
    if strongest:
        says += (
            f" The strongest measured one, {strongest}, has {sides[0]:.2f} and {sides[1]:.2f}, "
            f"so {'more than' if e_end > strength else 'no more than'} any measured trait would be needed."
        )
    return Check(name="robustness", passed=bool(e_end > strength), says=says, value=e_end, limit=strength)


def _yardstick(
    sample: Sample, covariates: Sequence[Covariate], binary: bool, spread: float
) -> tuple[str, float, tuple[float, float]]:
    """The measured trait whose weaker side is the strongest: ratios with the treatment and the outcome."""
    best, strength, sides = "", 1.0, (1.0, 1.0)
    y, t = sample.y, sample.treated
    for c in covariates:
        if c.levels is None:
            middle = np.median(c.values)
            edge = np.exp(middle) if c.logged else middle
            parts = [(f"{c.name} above {edge:,.6g}", c.values > middle)]
        else:
            parts = [(f"{c.name} = {level}", c.levels == level) for level in sorted(set(c.levels))]
        for name, inside in parts:
            groups = [t & inside, t & ~inside, ~t & inside, ~t & ~inside]
            if min(g.sum() for g in groups) < _BIN:
                continue
            with_it, rest = inside[t].mean(), inside[~t].mean()
            prevalence = max(with_it / rest, rest / with_it)
            high, low = y[~t & inside].mean(), y[~t & ~inside].mean()
            if binary:
                risk = max(high / low, low / high) if min(high, low) > 0 else np.inf
            else:
                risk = float(np.exp(0.91 * abs(high - low) / spread))
            if min(prevalence, risk) > strength:
                best, strength, sides = name, float(min(prevalence, risk)), (float(prevalence), float(risk))
    return best, strength, sides


def no_effect(name: str, what: str, found: list[tuple[str, float, str]], alpha: float) -> Check:
    """That outcomes on which there can be no effect show none: (outcome, p, its effect in words) each.

    Several are held together at ``alpha`` by Bonferroni's division.
    """
    limit = alpha / len(found)
    worst = min(found, key=lambda f: f[1])
    passed = worst[1] >= limit
    told = "; ".join(f"{outcome}: {effect}, p {_p(p)}" for outcome, p, effect in found)
    meaning = (
        "as it should be" if passed else "so the two groups differ in something that is not adjusted for"
    )
    return Check(
        name=name,
        passed=passed,
        says=f"On {what} there is {'no' if passed else 'an'} “effect”, {meaning} ({told}).",
        value=worst[1],
        limit=limit,
    )


def agrees_with_randomised(row: dict, other: dict, alpha: float) -> Check:
    """Whether the comparison gives what the draw by lot gave."""
    from scipy.special import ndtr

    apart = row["estimate"] - other["estimate"]
    z = apart / np.hypot(row["std_error"], other["std_error"])
    p = float(2 * ndtr(-abs(z)))
    verb = "agrees with" if p >= alpha else "differs by more than chance from"
    return Check(
        name="agrees_with_randomised",
        passed=p >= alpha,
        says=f"The comparison {verb} what the accounts drawn by lot show: {format_value(row['estimate'], row['unit'])} "
        f"against {format_value(other['estimate'], row['unit'])} (p {_p(p)}).",
        value=p,
        limit=alpha,
    )


def _percent(share: float) -> str:
    return format_value(share, "share")


def _p(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"= {p:.3f}"
