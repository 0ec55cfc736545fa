"""How a part's table stands on the page where the whole one is longer or wider than a reader needs."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pandas as pd

from collectlab.core import tables
from collectlab.core.results import Result
from collectlab.core.tables import format_value, readable


def on_page(result: Any, show: Callable[[Any], pd.DataFrame]) -> Any:
    """The same result, with its table on the page as ``show`` makes it of the result.

    The file keeps the whole table; ``show`` is given the result as it is published, without small counts.
    """
    of = type(result)
    kind = type(
        of.__name__, (of,), {"display_table": show, "__module__": of.__module__, "__doc__": of.__doc__}
    )
    return kind(**{f.name: getattr(result, f.name) for f in dataclasses.fields(result) if f.init})


def plain(
    result: Result, table: pd.DataFrame, heads: Mapping[str, str] | None = None, **formats: str
) -> pd.DataFrame:
    """A table with the result's units, its columns called as ``heads`` has them."""
    out = tables.display_table(table, result.unit, {**result.formats, **formats}, result.conf_level)
    return out.rename(columns=dict(heads or {}))


def cell(estimate: Any, low: Any, high: Any, kind: str) -> str:
    """``0.78 (0.76 to 0.80)``; without an interval the estimate alone."""
    said = format_value(estimate, kind)
    if said == "–" or pd.isna(low) or pd.isna(high):
        return said
    return f"{said} ({format_value(low, kind)} to {format_value(high, kind)})"


def cells(
    table: pd.DataFrame, kind: str, ends: Sequence[str] = ("estimate", "conf_low", "conf_high")
) -> list[str]:
    """The cell of each row, from the columns of the estimate and its ends; ``unit`` in the table overrides ``kind``."""
    units = table["unit"] if "unit" in table else [kind] * len(table)
    return [cell(e, low, high, unit) for e, low, high, unit in zip(*(table[c] for c in ends), units)]


def across(
    table: pd.DataFrame, *, rows: str, columns: str, texts: Sequence[str], head: str | None = None
) -> pd.DataFrame:
    """One row per value of ``rows`` and one column per value of ``columns``, each in the order they come."""
    wide = table.assign(_text=list(texts)).pivot(index=rows, columns=columns, values="_text")
    wide = wide.reindex(index=table[rows].drop_duplicates(), columns=table[columns].drop_duplicates())
    out = wide.fillna("–").reset_index()
    out[rows] = [str(readable(v)) for v in out[rows]]
    out.columns = [head or tables.humanise(rows), *(str(readable(c)) for c in wide.columns)]
    return out.astype(object)
