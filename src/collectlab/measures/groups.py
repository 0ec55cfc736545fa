"""Groups of counted rows: in a natural order, under names that clash with nothing, and in words."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

import numpy as np
import pandas as pd

MISSING = "(missing)"


def natural(value: object) -> tuple:
    """A sort key under which S2 comes before S10 and numbers before text."""
    if isinstance(value, str):
        parts = re.split(r"(\d+)", value)
        return (1, tuple((0, int(p), "") if p.isdigit() else (1, 0, p) for p in parts if p), value)
    return (0, value)


def distinct_groups(cells: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """The groups in reading order: S2 before S10, categories in their own order, missing last.

    One row without columns if ``by`` is empty.
    """
    if not by:
        return pd.DataFrame(index=[0])
    groups = cells[list(by)].drop_duplicates()
    ranks = [_ranks(groups[column]) for column in by]
    order = sorted(range(len(groups)), key=lambda i: [rank[i] for rank in ranks])
    return groups.iloc[order].reset_index(drop=True)


def _ranks(column: pd.Series) -> list[int]:
    if isinstance(column.dtype, pd.CategoricalDtype):
        values = list(column.cat.categories)
    else:
        values = sorted(column.dropna().drop_duplicates().tolist(), key=natural)
    rank = {value: i for i, value in enumerate(values)}
    return [len(rank) if pd.isna(value) else rank[value] for value in column.tolist()]


def group_codes(cells: pd.DataFrame, groups: pd.DataFrame, by: Sequence[str]) -> np.ndarray:
    """Row number in ``groups`` of each row of ``cells`` (missing values match missing values)."""
    key = np.zeros(len(cells) + len(groups), dtype=np.int64)
    for column in by:
        both = pd.concat([cells[column], groups[column]], ignore_index=True)
        codes, values = pd.factorize(both, use_na_sentinel=False)
        key = np.unique(key * (len(values) + 1) + codes, return_inverse=True)[1]
    row = np.empty(len(key), dtype=int)
    row[key[len(cells) :]] = np.arange(len(groups))
    return row[key[: len(cells)]]


def coded_groups(
    cells: pd.DataFrame, by: Sequence[str], text: Collection[str] = ()
) -> tuple[pd.DataFrame, np.ndarray]:
    """:func:`distinct_groups` and :func:`group_codes` at once, for tables of many rows and few groups.

    ``text`` names columns that are held as categories only to save room, in no order of their own.
    """
    if not by:
        return pd.DataFrame(index=[0]), np.zeros(len(cells), dtype=int)
    key = np.zeros(len(cells), dtype=np.int64)
    for column in by:
        codes, values = pd.factorize(cells[column], use_na_sentinel=False)
        key = pd.factorize(key * (len(values) + 1) + codes)[0]
    few = cells[list(by)].iloc[np.unique(key, return_index=True)[1]]
    for column in by:
        if column in text:
            few = few.assign(**{column: few[column].astype(object).where(few[column].notna(), None)})
    ranks = [_ranks(few[column]) for column in by]
    order = sorted(range(len(few)), key=lambda i: [rank[i] for rank in ranks])
    place = np.empty(len(few), dtype=int)
    place[order] = np.arange(len(few))
    return few.iloc[order].reset_index(drop=True), place[key]


def groups_of(
    counted: pd.DataFrame, by: Sequence[str], taken: Collection[str] = ()
) -> tuple[pd.DataFrame, np.ndarray]:
    """The groups of the columns ``by0, by1, …`` under the names of ``by``, and each counted row's position."""
    inner = by_keys(by)
    groups, code = coded_groups(counted, inner)
    return named(groups, by, taken), code


def by_keys(by: Sequence[str], prefix: str = "by") -> list[str]:
    """Names of grouping columns inside a count, which cannot clash with anybody's: ``by0, by1, …``"""
    return [f"{prefix}{i}" for i in range(len(by))]


def own_names(by: Sequence[str], taken: Collection[str]) -> list[str]:
    """A grouping column named like one of the result's own columns gets ``by_`` before its name."""
    return [f"by_{column}" if column in taken else column for column in by]


def named(groups: pd.DataFrame, by: Sequence[str], taken: Collection[str] = ()) -> pd.DataFrame:
    """The groups under the names shown, missing as "(missing)"."""
    if not by:
        return groups
    shown = groups.astype(object).where(groups.notna(), MISSING).infer_objects()
    return shown.set_axis(own_names(by, taken), axis=1)


def shown_name(key: Sequence[object]) -> str:
    """A group's name in a chart: ``small business, North``."""
    return ", ".join(str(k).replace("_", " ") for k in key)


def group_labels(table: pd.DataFrame, by: Sequence[str]) -> list[str]:
    """The rows' names on an axis: ``S2, North``."""
    if not by:
        return ["all"] * len(table)
    text = table[list(by)].astype(object).where(table[list(by)].notna(), MISSING).astype(str)
    return text.agg(", ".join, axis=1).tolist()


def split(table: pd.DataFrame, by: Sequence[str]) -> list[tuple[str, pd.DataFrame]]:
    """The table's parts by group, in table order, each with its label."""
    labels = pd.Series(group_labels(table, by), index=table.index, dtype=object)
    return [(label, table[labels == label]) for label in labels.unique()]
