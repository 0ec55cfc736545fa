"""From a measure's result to the plain table a rule reads."""

from __future__ import annotations

import pandas as pd

from collectlab.core.errors import FrameError, first_few
from collectlab.core.results import Result


def evidence(
    result: Result | pd.DataFrame, *, n: str = "", complement: bool = False, **keep: object
) -> pd.DataFrame:
    """Pick the rows a rule should read, name their observations, and turn a good share into the bad one.

    Parameters
    ----------
    result : Result or DataFrame
        Tidy; its unit is kept in the column ``unit`` unless it has one.
    n : str
        The column that holds the observations; renamed to ``n``.
    complement : bool
        1 − estimate, with the interval turned round (recorded → unrecorded).
    **keep
        Column = value: only these rows, e.g. ``measure="recorded"``, ``horizon=90``.

    Returns
    -------
    DataFrame

    Raises
    ------
    FrameError
        A column that is not there, or no row left.

    Examples
    --------
    >>> kept = pd.DataFrame({"agency": ["A"], "measure": ["recorded"], "contacts": [400],
    ...                      "estimate": [0.6], "std_error": [0.02], "conf_low": [0.56], "conf_high": [0.64]})
    >>> evidence(kept, measure="recorded", n="contacts", complement=True)[["agency", "n", "estimate"]].values.tolist()
    [['A', 400, 0.4]]
    """
    table = result.table if isinstance(result, Result) else result
    wanted = [*keep, *([n] if n else []), *(["estimate"] if complement else [])]
    if missing := [c for c in wanted if c not in table.columns]:
        there = first_few(list(table.columns), 20)
        raise FrameError(f"evidence: no column {first_few(missing)}. Columns here: {there}.")
    for column, value in keep.items():
        left = table[table[column] == value]
        if left.empty and len(table):
            found = first_few(list(dict.fromkeys(table[column])))
            raise FrameError(f"evidence: no row with {column} = {value!r}. Found: {found}.")
        table = left
    table = table.reset_index(drop=True)
    if n and n != "n":
        table = table.drop(columns="n", errors="ignore").rename(columns={n: "n"})
    if complement:
        turned = {"estimate": 1 - table["estimate"]}
        if {"conf_low", "conf_high"} <= set(table.columns):
            turned |= {"conf_low": 1 - table["conf_high"], "conf_high": 1 - table["conf_low"]}
        table = table.assign(**turned)
    if "unit" not in table.columns and isinstance(result, Result):
        table = table.assign(unit=result.unit)
    return table
