"""Columns cut into a few kinds of case, by themselves and before any outcome is looked at."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pandas as pd

from collectlab.core.errors import FrameError
from collectlab.core.tables import format_value
from collectlab.measures.groups import MISSING, natural


def cut(values: pd.Series, bands: int, edges: Sequence[float] | None = None) -> pd.Categorical:
    """A column as ordered categories: text as it is, numbers in bands of equal numbers of rows.

    Parameters
    ----------
    values : Series, shape (n,)
        Numbers with no more than ``bands`` different values, booleans and text are taken as they are.
    bands : int
        Number of bands for other numbers; ties can make them fewer.
    edges : sequence of float, optional
        Rising bounds instead: a band holds what is above the bound before it, up to and with its own.

    Returns
    -------
    pandas.Categorical
        Missing values are a category of their own, the last.

    Examples
    --------
    >>> cut(pd.Series([1.0, 2.0, 3.0, 4.0, None]), 2).tolist()
    ['up to 2', 'up to 2', 'over 2', 'over 2', '(missing)']
    """
    if not isinstance(bands, (int, np.integer)) or isinstance(bands, bool) or bands < 2:
        raise FrameError(f"bands is {bands!r}. Allowed: whole numbers ≥ 2.")
    numeric = pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values)
    if edges is not None and not numeric:
        raise FrameError(f"column {values.name!r} is no number. Allowed: bounds for columns of numbers.")
    known = values.dropna()
    if not numeric or (edges is None and known.nunique() <= bands):
        if isinstance(values.dtype, pd.CategoricalDtype):
            order = list(values.cat.categories)
        else:
            order = sorted(known.unique().tolist(), key=natural)
        names = [_text(v) for v in order]
        code = pd.Index(order).get_indexer(values)
        return pd.Categorical.from_codes(
            np.where(code < 0, len(names), code), [*names, MISSING]
        ).remove_unused_categories()
    numbers = values.to_numpy(float, na_value=np.nan)
    if edges is None:
        places = np.arange(1, bands) / bands
        edges = np.unique(np.quantile(known.to_numpy(float), places, method="inverted_cdf"))
        # Where most rows share the highest value, those below it are the other band.
        edges = edges[edges < known.max()] if edges[0] < known.max() else [known[known < known.max()].max()]
    bounds = [float(e) for e in edges]
    if not bounds or bounds != sorted(set(bounds)):
        raise FrameError(f"bounds of {values.name!r} are {tuple(bounds)}. Allowed: rising numbers.")
    said = [format_value(b, "number") for b in bounds]
    names = [f"up to {said[0]}", *(f"{a} to {b}" for a, b in pairwise(said)), f"over {said[-1]}"]
    code = np.where(np.isnan(numbers), len(names), np.searchsorted(bounds, numbers, side="left"))
    return pd.Categorical.from_codes(code, [*names, MISSING]).remove_unused_categories()


def _text(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
