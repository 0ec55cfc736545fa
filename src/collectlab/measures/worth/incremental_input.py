"""What :func:`~collectlab.measures.worth.incremental.incremental` is handed: effects by outcome and arm, and covariances."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from collectlab.core import engine
from collectlab.core.errors import FrameError, first_few
from collectlab.core.results import Result
from collectlab.measures.worth.checks import plain_number, with_numbers

#: The measures whose effects have a covariance.
MEASURES_OF = ("money", "cost", "net", "cures")


def told_effects(effects: Any, needed: Sequence[str], wanted: Sequence[str | None]) -> pd.DataFrame:
    """The effects asked for, one row per outcome and arm; all faults at once."""
    lazy = engine.scan(effects.table if isinstance(effects, Result) else effects)
    engine.require(lazy, "outcome", "estimate", "std_error")
    told = engine.collect(lazy).reset_index(drop=True)
    if "arm" not in told:
        told["arm"] = ""
    if "control" not in told:
        told["control"] = ""
    told = told.assign(
        outcome=told["outcome"].astype(str),
        arm=told["arm"].astype(str),
        control=told["control"].fillna("").astype(str),
    )
    told = told[told["outcome"].isin([n for n in (*needed, *wanted) if n])]
    faults: list[str] = []
    try:
        told = with_numbers(told, ["estimate", "std_error", "conf_high", "n"], "outcome")
    except FrameError as error:
        faults += error.faults
    for arm in list(dict.fromkeys(told["arm"])) or [""]:
        mine = told[told["arm"] == arm]
        where = f" of {arm}" if arm else ""
        faults += [
            f"no row with outcome {n!r}{where}. Needed: {', '.join(map(repr, needed))}."
            for n in needed
            if n not in set(mine["outcome"])
        ]
        twice = mine.loc[mine["outcome"].duplicated(), "outcome"].tolist()
        faults += [
            f"outcome {n!r}{where} stands more than once. Allowed: one row per outcome and arm."
            for n in dict.fromkeys(twice)
        ]
    size, error = (pd.to_numeric(told[c], errors="coerce").to_numpy(float) for c in ("estimate", "std_error"))
    bad = told[~np.isfinite(size) | ~(np.isfinite(error) & (error >= 0))]
    if len(bad):
        faults.append(
            f"{len(bad):,} rows have no estimate, or a standard error that is missing, infinite or below 0 "
            f"({first_few(bad['outcome'].tolist())}). Allowed: finite numbers, errors ≥ 0."
        )  # fmt: skip
    if faults:
        raise FrameError(faults)
    return told


def pairs_of(
    covariance: Mapping[Any, float] | None, arm: str, arms: int, known: Collection[str]
) -> dict[frozenset, float]:
    """The covariances of an arm by their two measures; keys that name none, and values that are no numbers, are faults."""
    found, faults = {}, []
    for key, value in (covariance or {}).items():
        names = key if isinstance(key, tuple) else (key,)
        pair = names[-2:]
        if len(names) not in (2, 3) or len(set(pair)) < 2 or not set(pair) <= {*MEASURES_OF}:
            faults.append(
                f"covariance of {key!r}. Allowed: (measure, measure), or (arm, measure, measure), of {', '.join(MEASURES_OF)}."
            )
        elif not np.isfinite(plain_number(value)):
            faults.append(f"covariance of {', '.join(map(str, pair))} is {value!r}. Allowed: a number.")
        elif (str(names[0]) == arm if len(names) == 3 else arms == 1) and set(pair) <= set(known):
            found[frozenset(pair)] = plain_number(value)
    if faults:
        raise FrameError(faults)
    return found
