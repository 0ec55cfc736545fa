"""Covariates as columns of a design matrix: levels against a reference, numbers by sensible steps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from collectlab.core.errors import FrameError, NotAvailable
from collectlab.measures.groups import natural

_RARE = 30
_RARE_SHARE = 0.01
_REST, _MISSING = "other", "missing"


@dataclass
class Term:
    """Columns of the design matrix that stand for one covariate, and the contrasts read off them."""

    name: str
    matrix: np.ndarray
    #: (level, reference, episodes, cured, index of the column, numeric?)
    contrasts: list[tuple[str, str, int, int, int, bool]]


def design(data: pd.DataFrame, covariates: list[str], cured: np.ndarray, steps: Mapping):
    """One term per covariate; and which rows stay (a level that is all or none cured is left out)."""
    notes: list[str] = []
    levels: dict[str, pd.Series] = {}
    numeric: dict[str, np.ndarray] = {}
    kept = np.ones(len(data), dtype=bool)
    for name in covariates:
        column = data[name]
        values = pd.to_numeric(column, errors="coerce") if _is_number(column) else None
        if values is not None and values.dropna().nunique() > 2:
            numeric[name] = values.to_numpy(float)
            continue
        pooled, note = _pool(name, column, cured)
        levels[name] = pooled
        notes += note
        share = pd.Series(cured).groupby(pooled.to_numpy()).agg(["mean", "size"])
        sure = share.index[(share["mean"].isin([0.0, 1.0])) & (len(share) > 1)]
        for level in sorted(sure):
            word = "cured" if share.loc[level, "mean"] else "not cured"
            notes.append(
                f"{name} = {level}: all {int(share.loc[level, 'size']):,} episodes are {word}; left out."
            )
        kept &= ~pooled.isin(sure).to_numpy()
    if len(set(cured[kept])) < 2:
        raise NotAvailable(
            "the characteristics tell the cured from the others perfectly; there is no rate to compare."
        )
    terms = []
    for name in covariates:
        made = (
            _number_term(name, numeric[name][kept], steps.get(name), notes)
            if name in numeric
            else _level_term(name, levels[name][kept].reset_index(drop=True), cured[kept])
        )
        if made is None:
            notes.append(f"{name} is the same in all episodes used; left out.")
        else:
            terms.append(made)
    return terms, kept, notes


def _is_number(column: pd.Series) -> bool:
    if pd.api.types.is_bool_dtype(column):
        return False
    if pd.api.types.is_numeric_dtype(column):
        return True
    known = column.dropna()
    return (
        len(known) > 0 and not isinstance(known.iloc[0], (str, bool)) and hasattr(known.iloc[0], "__float__")
    )


def _pool(name: str, column: pd.Series, cured: np.ndarray) -> tuple[pd.Series, list[str]]:
    """The levels as text; rare ones as "other", missing ones as "missing"."""
    text = column.map(lambda v: _MISSING if pd.isna(v) else str(v))
    sizes = text.value_counts()
    floor = max(_RARE, _RARE_SHARE * len(text))
    rare = [v for v in sizes.index if sizes[v] < floor]
    if len(rare) < 2 and len(sizes) <= 2:
        return text, []
    if not rare or (len(rare) == 1 and rare[0] in (_REST, _MISSING)):
        return text, []
    note = f"{name}: {len(rare)} rare levels ({int(sizes[rare].sum()):,} episodes) pooled as other."
    return text.where(~text.isin(rare), _REST), [note]


def _level_term(name: str, text: pd.Series, cured: np.ndarray) -> Term | None:
    sizes = text.value_counts()
    if len(sizes) < 2:
        return None
    last = {_REST: 1, _MISSING: 2}
    reference = min(sizes.index, key=lambda v: (v in last, -sizes[v], natural(v)))
    others = sorted((v for v in sizes.index if v != reference), key=lambda v: (last.get(v, 0), natural(v)))
    matrix = np.column_stack([(text == v).to_numpy(float) for v in others])
    contrasts = [
        (v, reference, int(sizes[v]), int(cured[(text == v).to_numpy()].sum()), k, False)
        for k, v in enumerate(others)
    ]
    return Term(name, matrix, contrasts)


def _number_term(name: str, values: np.ndarray, step: float | str | None, notes: list[str]) -> Term | None:
    if step is not None and step != "double" and not (isinstance(step, (int, float)) and step > 0):
        raise FrameError(f"step of {name}: {step!r}. Allowed: a number > 0, or 'double'.")
    if step == "double":
        with np.errstate(invalid="ignore", divide="ignore"):
            values, word = np.where(values > 0, np.log2(values), np.nan), "doubled"
    elif step is None:
        spread = np.nanstd(values)
        if not spread > 0:
            return None
        values, word = values / spread, f"+ 1 standard deviation ({spread:.3g})"
    else:
        values, word = values / step, f"+ {step:g}"
    known = np.isfinite(values)
    if not known.any() or np.ptp(values[known]) == 0:
        return None
    middle = values[known].mean()
    columns = [np.where(known, values - middle, 0.0)]
    contrasts = [(word, "", int(known.sum()), -1, 0, True)]
    if gone := int((~known).sum()):
        notes.append(f"{name}: {gone:,} missing values set to the mean.")
        if gone >= _RARE:
            columns.append((~known).astype(float))
            contrasts.append((_MISSING, "known", gone, -1, 1, False))
    return Term(name, np.column_stack(columns), contrasts)


def independent(terms: list[Term]) -> tuple[list[Term], list[str]]:
    """The terms without columns that the ones before them already determine."""
    notes, kept, basis = [], [], None
    for term in terms:
        if basis is None:
            n = len(term.matrix)
            basis = np.ones((n, 1)) / np.sqrt(n)
        use = []
        for contrast in term.contrasts:
            column = term.matrix[:, contrast[4]]
            rest = column - basis @ (basis.T @ column)
            rest -= basis @ (basis.T @ rest)
            if np.linalg.norm(rest) <= 1e-8 * max(float(np.linalg.norm(column)), 1e-300):
                notes.append(
                    f"{term.name} = {contrast[0]} follows from the characteristics before it; left out."
                )
                continue
            basis = np.column_stack([basis, rest / np.linalg.norm(rest)])
            use.append(contrast)
        if use:
            matrix = term.matrix[:, [c[4] for c in use]]
            kept.append(Term(term.name, matrix, [(*c[:4], k, c[5]) for k, c in enumerate(use)]))
    return kept, notes
