"""Covariates as columns that bend: what a comparison adjusts for, from whatever columns are given."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd

from collectlab.core.errors import FrameError, first_few

MAX_LEVELS = 50
#: Levels with fewer accounts, or a smaller share of them, are pooled: they carry no comparison of their own.
RARE, RARE_SHARE = 30, 0.01
FEW_VALUES = 5
#: Quantiles of the four knots, as Harrell advises.
KNOTS = (0.05, 0.35, 0.65, 0.95)
#: A curve costs three columns a number; below so many accounts a column in the smaller group, straight lines.
ENOUGH = 10
MISSING, OTHER = "(missing)", "(other)"


class Covariate(NamedTuple):
    """One covariate: ``levels`` (text) or ``values`` (numbers, gaps filled, ``gap`` says where)."""

    name: str
    levels: np.ndarray | None
    values: np.ndarray | None
    gap: np.ndarray
    logged: bool = False

    def take(self, rows: np.ndarray) -> Covariate:
        """The same covariate for some of the rows."""
        return self._replace(
            levels=None if self.levels is None else self.levels[rows],
            values=None if self.values is None else self.values[rows],
            gap=self.gap[rows],
        )


def read_covariate(name: str, column: pd.Series, notes: list[str]) -> Covariate:
    """A column as levels or numbers; what was missing, pooled or taken in logs goes to ``notes``."""
    if pd.api.types.is_bool_dtype(column) or not pd.api.types.is_numeric_dtype(column):
        return _levels(name, column.astype(object), notes)
    values = column.to_numpy(float)
    gap = ~np.isfinite(values)
    known = values[~gap]
    if len(np.unique(known)) <= FEW_VALUES:
        return _levels(name, column.map(lambda v: f"{v:g}", na_action="ignore").astype(object), notes)
    logged = bool(known.min() > 0 and _skewness(known) > 1)
    if logged:
        values, known = np.log(np.where(gap, 1.0, values)), np.log(known)
    if gap.any():
        notes.append(
            f"{name}: {int(gap.sum()):,} of {len(gap):,} accounts have no value; they enter at the "
            f"{'geometric ' if logged else ''}mean, with a flag of their own."
        )
    return Covariate(name, None, np.where(gap, known.mean(), values), gap, logged)


def _levels(name: str, column: pd.Series, notes: list[str]) -> Covariate:
    gap = column.isna().to_numpy()
    text = np.where(gap, MISSING, column.astype(str).to_numpy()).astype(object)
    sizes = pd.Series(text).value_counts()
    if len(sizes) > MAX_LEVELS:
        raise FrameError(
            f"covariate {name!r} has {len(sizes):,} different texts ({first_few(sorted(sizes.index))}). "
            f"Allowed: up to {MAX_LEVELS} categories."
        )
    floor = min(RARE, max(RARE_SHARE * len(text), 2))
    rare = sorted(sizes.index[(sizes < floor) & (sizes.index != MISSING)])
    if rare:
        notes.append(
            f"{name}: {first_few(rare)} with {int(sizes[rare].sum()):,} accounts in all pooled as other."
        )
        text = np.where(np.isin(text, rare), OTHER, text)
    if gap.any():
        notes.append(
            f"{name}: {int(gap.sum()):,} of {len(gap):,} accounts have no value: a level of its own."
        )
    return Covariate(name, text, None, gap)


def _skewness(values: np.ndarray) -> float:
    spread = values.std()
    return float(np.mean(((values - values.mean()) / spread) ** 3)) if spread > 0 else 0.0


def design(covariates: list[Covariate], treated: np.ndarray, notes: list[str]) -> np.ndarray:
    """Columns of the models, an intercept first.

    Numbers enter as restricted cubic splines with four knots: straight beyond the outer two, so that a few
    extreme accounts do not bend the fit, and with two bends between, which is all that choices by people
    have been seen to need. Skewed positive numbers enter in logs; levels as 0/1. A column that the ones before it
    determine, among the treated or among the untreated, is left out.

    Source: Harrell (2015), Regression Modeling Strategies, section 2.4.
    """
    curves = [_columns(c, True) for c in covariates]
    smaller = min(treated.sum(), (~treated).sum())
    if smaller < ENOUGH * (1 + sum(len(c) for c in curves)):
        curves = [_columns(c, False) for c in covariates]
        if any(c.values is not None for c in covariates):
            notes.append(f"Numbers enter as straight lines: the smaller group has only {smaller:,} accounts.")
    columns = [np.ones(len(treated)), *(column for c in curves for column in c)]
    return np.column_stack(_independent(columns, treated))


def _columns(covariate: Covariate, curve: bool) -> list[np.ndarray]:
    if covariate.levels is not None:
        names, sizes = np.unique(covariate.levels.astype(str), return_counts=True)
        return [
            (covariate.levels == n).astype(float) for i, n in enumerate(names) if i != int(np.argmax(sizes))
        ]
    x = covariate.values
    flag = [covariate.gap.astype(float)] if covariate.gap.any() else []
    knots = np.quantile(x[~covariate.gap], KNOTS) if (~covariate.gap).any() else np.zeros(4)
    spread = x.std() or 1.0
    line = (x - x.mean()) / spread
    if not curve:
        return [line, *flag]
    if np.min(np.diff(knots)) <= 1e-9 * spread:  # most accounts share a value: no room for four knots
        return [line, line**2 - 1, *flag]
    return [line, *_bends(x, knots), *flag]


def _bends(x: np.ndarray, k: np.ndarray) -> list[np.ndarray]:
    """The non-linear columns of a restricted cubic spline, each with standard deviation 1."""
    cubes = np.maximum(x[:, None] - k, 0.0) ** 3
    out = []
    for j in range(len(k) - 2):
        column = cubes[:, j]
        column = column - cubes[:, -2] * (k[-1] - k[j]) / (k[-1] - k[-2])
        column = column + cubes[:, -1] * (k[-2] - k[j]) / (k[-1] - k[-2])
        out.append((column - column.mean()) / (column.std() or 1.0))
    return out


def _independent(columns: list[np.ndarray], treated: np.ndarray) -> list[np.ndarray]:
    sides = (treated, ~treated)
    bases: list[list[np.ndarray]] = [[], []]
    kept = []
    for column in columns:
        rests = []
        for side, basis in zip(sides, bases):
            rest = column[side].astype(float)
            size = float(np.linalg.norm(rest))
            for _ in range(2):  # twice: once leaves rounding behind
                for b in basis:
                    rest = rest - np.sum(b * rest) * b
            rests.append((rest, np.linalg.norm(rest) > 1e-7 * max(size, 1e-300)))
        if all(new for _, new in rests):
            for (rest, _), basis in zip(rests, bases):
                basis.append(rest / np.linalg.norm(rest))
            kept.append(column)
    return kept
