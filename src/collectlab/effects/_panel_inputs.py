"""What the modules on policy changes ask of a frame before they compute: columns, periods, units."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import narwhals as nw
import numpy as np
import pandas as pd

from collectlab.core.engine import collect, require, scan
from collectlab.core.errors import FrameError, first_few
from collectlab.core.tables import display_table, humanise
from collectlab.effects.experiment_result import label_of

if TYPE_CHECKING:
    from collectlab.effects.effect_result import EffectResult

_MONEY_WORDS = {"amount", "paid", "recovered", "cost", "balance", "owed", "net", "money"}


def rows_of(frame: Any, numbers: Sequence[str], others: Sequence[str] = ()) -> pd.DataFrame:
    """The columns asked for in memory, numbers as floats (NaN where missing or not finite)."""
    numbers, others = list(dict.fromkeys(numbers)), list(dict.fromkeys(others))
    lazy = scan(frame, [*numbers, *others])
    require(lazy, *dict.fromkeys([*numbers, *others]))
    schema = lazy.collect_schema()
    odd = [c for c in numbers if not (schema[c].is_numeric() or schema[c] == nw.Boolean)]
    if odd:
        kinds = ["empty" if schema[c] == nw.Unknown else schema[c] for c in odd]
        raise FrameError([f"{c!r} is {k}. Allowed: numbers or true/false." for c, k in zip(odd, kinds)])
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


def one_part_each(**parts: str | Sequence[str] | None) -> None:
    """Refuse a column that plays two parts: ``one_part_each(score="dpd", outcome="dpd")``."""
    faults, seen = [], {}
    for part, given in parts.items():
        for column in [given] if isinstance(given, str) else given or ():
            if seen.setdefault(column, part) != part:
                faults.append(f"{column!r} is both {seen[column]} and {part}. Allowed: one of the two.")
    if faults:
        raise FrameError(faults)


def title_of(outcome: str) -> str:
    """An outcome as the heading of a table or axis: ``Paid anything within 60 days``, ``Share cured``."""
    label = label_of(outcome)
    return humanise(outcome) if label == outcome else label


def words_of(column: str) -> str:
    """A column in the middle of a sentence: ``paid anything within 60 days``, ``credit score``."""
    text = title_of(column)
    return text if text[1:2].isupper() else text[:1].lower() + text[1:]


def table_in_words(result: EffectResult) -> pd.DataFrame:
    """The table as people read it, outcomes by their names in words."""
    shown = result.table.assign(outcome=[title_of(o) for o in result.table["outcome"]])
    return display_table(shown, result.unit, result.formats, result.conf_level)


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
