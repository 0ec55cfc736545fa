"""What is checked of a table of counted episodes: days, outcomes, groups; with how many and which."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from collectlab.book.episodes import OUTCOMES
from collectlab.core.errors import FrameError, first_few
from collectlab.measures.groups import by_keys, coded_groups, natural

MAX_GROUPS = 1_000


@dataclass
class Check:
    """Faults of the counted table, each with how many rows and the first few values."""

    cells: pd.DataFrame
    rows: np.ndarray
    faults: list[str] = field(default_factory=list)
    total: float = 0.0  #: rows in the whole frame

    def __post_init__(self) -> None:
        self.total = self.total or float(self.rows.sum())

    def whole_days(self, column: str, *, negative: bool) -> np.ndarray:
        days = self.cells["day"].to_numpy(dtype=float, na_value=np.nan)
        allowed = "whole days" if negative else "whole days ≥ 0"
        missing = np.isnan(days)
        self.refuse(missing, None, f"have no {column!r}", allowed)
        if not negative:
            self.refuse(days < 0, days, f"have {column!r} < 0", allowed)
        odd = ~missing & ((days != np.floor(days)) | (np.abs(days) > 2**31))
        self.refuse(odd & (negative | (days >= 0)), days, f"have a {column!r} that is no whole day", allowed)
        return days

    def refuse(self, wrong: np.ndarray, values: Iterable | None, what: str, allowed: str) -> None:
        examples = None
        if values is not None and wrong.any():
            found = [v for v, bad in zip(values, wrong) if bad]
            examples = [f"{v:g}" if isinstance(v, float) else v for v in sorted(set(found))]
        self.refuse_rows(int(self.rows[wrong].sum()), what, allowed, examples)

    def refuse_rows(self, count: int, what: str, allowed: str, examples: Sequence | None = None) -> None:
        if count:
            shown = f" ({first_few(examples)})" if examples else ""
            self.faults.append(f"{count:,} of {int(self.total):,} rows {what}{shown}. Allowed: {allowed}.")


def outcome_codes(column: pd.Series, name: str, faults: list[str]) -> tuple[tuple, np.ndarray]:
    """The outcomes found, in the house's order, censoring last, and each cell's code."""
    position, values = pd.factorize(column)
    found = [plain(v) for v in values]
    if odd := [
        v for v in found if isinstance(v, str) and v != "censored" and v.strip().lower().startswith("cens")
    ]:
        faults.append(f"column {name!r} holds {first_few([repr(v) for v in odd])}. Did you mean 'censored'?")
    censored = [v for v in found if is_censored(v)]
    rank = {v: i for i, v in enumerate(OUTCOMES)}
    others = sorted(
        (v for v in found if not is_censored(v)),
        key=lambda v: (rank.get(v, len(rank)), natural(v)),  # type: ignore[call-overload]
    )
    outcomes = (*others, censored[0] if censored else "censored")
    code = {v: i for i, v in enumerate(others)}
    codes = np.array([code.get(v, len(others)) for v in found] + [-1], dtype=np.int64)
    return outcomes, codes[position]


def grouped(
    cells: pd.DataFrame, by: list[str], faults: list[str], text: Sequence[str] = ()
) -> tuple[pd.DataFrame, np.ndarray]:
    """The groups in reading order, under their own names, and each cell's code."""
    groups, code = coded_groups(cells, by_keys(by), text)
    try:
        refuse_many_groups(groups, by)
    except FrameError as error:
        faults.extend(error.faults)
    return groups.set_axis(by, axis=1), code


def refuse_many_groups(groups: pd.DataFrame, by: Sequence[str], *, so_far: bool = False) -> None:
    """Refuse a grouping into more than 1,000 groups, such as by an account's id; one row of ``groups`` a group."""
    if len(groups) > MAX_GROUPS:
        first = groups.sort_values(list(groups.columns), kind="stable").head(3)
        examples = ", ".join("/".join(map(str, row)) for row in first.itertuples(index=False))
        raise FrameError(
            f"by={first_few(by)} makes {len(groups):,} groups{' among the first rows alone' * so_far} "
            f"({examples}, …). Allowed: up to {MAX_GROUPS:,}; a column that tells episodes or accounts apart is "
            "no grouping."
        )


def plain(value: object) -> object:
    """A numpy scalar as the Python value it holds."""
    return value.item() if hasattr(value, "item") else value


def is_censored(value: object) -> bool:
    """``censored``, or 0 or False where outcomes are coded."""
    return value == "censored" if isinstance(value, str) else value == 0
