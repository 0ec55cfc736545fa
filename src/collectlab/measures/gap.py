"""What a KPI's gap to its target can be laid to: the KPI's own numerator and denominator, counted by cause.

The functions of :mod:`~collectlab.measures.gap_episodes`, :mod:`~collectlab.measures.gap_contacts` and
:mod:`~collectlab.measures.gap_accounts` count one KPI of the scorecard each, once, beside the data, into *cells*:
sums of the numerator (``top``) and the denominator (``base``) by replicate group of customers and by everything
the gap may be laid to. :func:`collectlab.policy.diagnosis.diagnose` does the rest on the cells.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import narwhals as nw
import pandas as pd

from collectlab.core import engine
from collectlab.core.columns import row_count, step_of, whole_sum
from collectlab.core.engine import same_engine
from collectlab.core.errors import NotAvailable
from collectlab.core.jackknife import with_replicates

#: Causes that may be named one by one, where the book has the column.
GROUPS = ("product", "origination_channel", "branch", "team", "agency", "strategy")
#: What only makes cases harder or easier: column -> lower bounds of its bands.
MIX = {"credit_score": tuple(range(400, 801, 50)), "months_on_book": (0, 6, 12, 24, 48)}
#: What belongs to the cases, not to who works them: its change since the year before is "mix".
CASES = ("product", "origination_channel", *MIX)


@dataclass(frozen=True)
class Step:
    """A step of the strategy: done by day ``by``, of those still overdue after that day.

    ``channel`` None means any contact with the debtor in person. ``expected``: the strategy asks it of every
    account, so the aim is all; else the aim is what was reached the year before.
    """

    name: str
    channel: str | None
    by: int
    since: int = 0
    expected: bool = True


#: Reached in person within thirty days, judged among those still overdue then.
REACHED = Step("reached by day 30", None, 30, expected=False)


@dataclass(frozen=True, kw_only=True)
class Cells:
    """One KPI counted by cause.

    Attributes
    ----------
    table : pandas.DataFrame
        One row per cell: the columns of ``groups`` and ``mix``; those of ``paths`` (1 done, 0 not, missing
        where not asked); ``period`` (now, before), ``replicate``; then the sums ``n, top, base`` and, for each
        path, ``later_<path>`` (the part of ``top`` that came after the path was judged).
    groups, mix, paths : tuple
        Causes that may be named one by one; what only makes cases harder; steps done and not done.
    nested : tuple of (str, str)
        Part and whole: parts are compared with the other parts of the same whole only (agents of a team).
    crossed : tuple of tuples of str
        Groups that may go wrong together only (partner loans of one product and quarter).
    rare : bool
        Whether ``top`` counts rare events, whose errors are even on the scale of the square root only.
    weight : {"base", "n"}
        What a unit counts in the comparison of groups.
    unit : str
        What a unit is: episodes, loans, promises, …
    kind : {"level", "change"}
        ``change``: the KPI is now / before − 1.
    """

    table: pd.DataFrame
    groups: tuple[str, ...]
    mix: tuple[str, ...] = ()
    paths: tuple[Step, ...] = ()
    nested: tuple[tuple[str, str], ...] = ()
    crossed: tuple[tuple[str, ...], ...] = ()
    rare: bool = False
    weight: str = "base"
    unit: str = "episodes"
    kind: str = "level"
    notes: tuple[str, ...] = ()


def counted(
    rows: nw.LazyFrame,
    *,
    paths: Sequence[Step] = (),
    extra: Sequence[str] = (),
    nested: Sequence[tuple[str, str]] = (),
    parts: int = 1,
    times: int = 1,
    **about: Any,
) -> Cells:
    """Sums of ``__top, __base`` (and ``__later_…``) by everything in ``rows`` that may be a cause.

    They are whole numbers, of which ``parts`` make one; ``top`` is taken ``times`` that.
    """
    names = rows.collect_schema().names()
    inner = [(part, whole) for part, whole in nested if {part, whole} <= set(names)]
    within = [part for part, _ in inner]
    groups = [c for c in (*GROUPS, *extra) if c in names and c not in within]
    mix = [c for c in MIX if c in names]
    bands = {c: step_of(c, MIX[c]) for c in mix}
    later = {f"later_{p.name}": f"__later_{p.name}" for p in paths}
    rows = with_replicates(
        rows.with_columns(nw.col("__id").cast(nw.String), **bands), "__id", name="replicate"
    )
    keys = [*groups, *within, *mix, *(p.name for p in paths), "period", "replicate"]
    sums = {"top": "__top", "base": "__base", **later}
    rows = rows.select(*keys, *(nw.col(c).cast(nw.Int64).alias(name) for name, c in sums.items()))
    table = engine.collect(
        rows.group_by(*keys).agg(row_count().alias("n"), *(whole_sum(s).alias(s) for s in sums))
    )
    if table.empty or not (table.loc[table["period"] == "now", "base"].sum() > 0):
        raise NotAvailable(f"no {about.get('unit', 'episodes')} are old enough to be taken apart.")
    for name in sums:
        table[name] = table[name] * (1 if name == "base" else times) / parts
    # floats are added in the order of the keys, so that the same book gives the same bytes
    table = table.sort_values(keys, kind="stable", ignore_index=True)
    for column in (*groups, *within, *mix):
        text = table[column].astype(object).where(table[column].notna(), None)
        table[column] = [None if v is None else str(v) for v in text]
    return Cells(
        table=table,
        groups=tuple(groups),
        mix=tuple(mix),
        paths=tuple(paths),
        nested=tuple(inner),
        **about,
    )


def owned(book: Any, rows: nw.LazyFrame) -> nw.LazyFrame:
    """``rows`` with the customer and the causes that the accounts tell."""
    accounts = book.table("accounts")
    have = accounts.collect_schema().names()
    taken = rows.collect_schema().names()
    kept = [c for c in (*GROUPS, *MIX) if c in have and c not in taken]
    who = "customer_id" if "customer_id" in have else "account_id"
    owners = accounts.select(*kept, account_id=nw.col("account_id"), __owner=nw.col(who).cast(nw.String))
    rows, owners = same_engine(rows, owners)
    rows = rows.join(owners, on="account_id", how="left")
    return rows.with_columns(__id=nw.coalesce(nw.col("__owner"), nw.col("account_id").cast(nw.String)))
