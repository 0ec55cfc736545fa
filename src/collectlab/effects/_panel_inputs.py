"""What the modules on policy changes ask of a frame before they compute: columns, periods, units."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import narwhals as nw
import numpy as np
import pandas as pd

from collectlab.core.engine import collect, require, scan
from collectlab.core.errors import FrameError, first_few

_MONEY_WORDS = {"amount", "paid", "recovered", "cost", "balance", "owed", "net", "money"}


def rows_of(frame: Any, numbers: Sequence[str], others: Sequence[str] = ()) -> pd.DataFrame:
    """The columns asked for in memory, numbers as floats (NaN where missing or not finite)."""
    numbers, others = list(dict.fromkeys(numbers)), list(dict.fromkeys(others))
    lazy = scan(frame, [*numbers, *others])
    require(lazy, *dict.fromkeys([*numbers, *others]))
    schema = lazy.collect_schema()
    odd = [c for c in numbers if not (schema[c].is_numeric() or schema[c] == nw.Boolean)]
    if odd:
        raise FrameError([f"{c!r} is {schema[c]}. Allowed: numbers or true/false." for c in odd])
    picked = lazy.select(
        *(nw.col(c).cast(nw.Float64) for c in numbers), *(nw.col(c) for c in others if c not in numbers)
    )
    rows = collect(picked)
    if rows.empty:
        raise FrameError("the frame has no rows. Allowed: one row or more.")
    for c in numbers:
        values = rows[c].to_numpy(dtype=float, na_value=np.nan)
        rows[c] = np.where(np.isfinite(values), values, np.nan)
    return rows


def times_of(values: pd.Series, name: str) -> pd.Series:
    """Periods as numbers or as dates; text is read as dates (2026-10, 2026-10-31)."""
    if pd.api.types.is_bool_dtype(values):
        raise FrameError(f"{name} holds true/false. Allowed: dates or whole numbers of periods.")
    if pd.api.types.is_numeric_dtype(values):
        return values.astype(float)
    read = pd.to_datetime(values, errors="coerce", format="ISO8601")
    wrong = values[read.isna() & values.notna()]
    if len(wrong):
        raise FrameError(
            f"{name}: {len(wrong):,} of {len(values):,} values are no dates ({first_few(sorted(set(map(str, wrong))))}). "
            "Allowed: dates or whole numbers of periods."
        )
    return read.dt.tz_localize(None) if getattr(read.dt, "tz", None) is not None else read


def same_kind(first: pd.Series, second: pd.Series) -> bool:
    """Whether both are dates or both numbers (a column with nothing in it is either)."""
    if second.isna().all() or first.isna().all():
        return True
    return pd.api.types.is_datetime64_any_dtype(first) == pd.api.types.is_datetime64_any_dtype(second)


def unit_of(outcome: str, values: np.ndarray) -> str:
    """Unit of a difference: points where the outcome is a share or yes/no, money or a number otherwise."""
    known = values[np.isfinite(values)]
    if len(known) and known.min() >= 0 and known.max() <= 1:
        return "points"
    return "money2" if _MONEY_WORDS & set(re.split(r"[^a-z]+", outcome.lower())) else "number"


def said(value: float, unit: str) -> str:
    """A difference in writing, for the sentence of a check."""
    from collectlab.core.tables import format_value

    return format_value(value, unit)


def p_said(p_value: float) -> str:
    """A p-value in the sentence of a check: ``p = 0.123``, ``p < 0.001``."""
    return "p < 0.001" if p_value < 0.001 else f"p = {p_value:.3f}"
