"""Hardship: who was given relief, how long plans last, what relief did, and who was pressed all the same."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import narwhals as nw
import pandas as pd

from collectlab.core import engine
from collectlab.core.columns import row_count
from collectlab.core.errors import NotAvailable, ParamsError
from collectlab.core.results import Result
from collectlab.effects.relief import relief_verdicts
from collectlab.measures import relief
from collectlab.measures.relief.pressed import ALLOWED, PRESSURE
from collectlab.policy.evidence import evidence as evidence_of
from collectlab.policy.strategy import load_strategy
from collectlab.report.month import Month
from collectlab.report.parts import part

#: Teams whose main channel is none of these are not compared with those who call, or visit.
_OTHER = "other"

#: Teams with fewer cases of hardship than this are not shown.
_FEWEST = 10


@part(picture=False)
def offered(month: Month, by: str | None = None) -> Result:
    """Who of those in hardship was given relief."""
    if by is not None and by not in month.book.columns("accounts"):
        raise NotAvailable(f"the book does not tell the {by} of an account.")
    return relief.relief_offered(month.book, by=by, period=month.window, definition=month.definition)


@part(folded=True)
def plan_survival(month: Month) -> Result:
    """How long plans last."""
    return relief.plan_survival(month.book)


@part(picture=False)
def relief_effect(month: Month) -> Result:
    """What relief did."""
    return month.shared("what relief did", lambda: relief_verdicts(month.book, definition=month.definition))


@part(picture=False)
def pressed(month: Month) -> Result:
    """Hardship noted, and pressed all the same."""
    by = "team" if {"team", "agency"} & set(month.book.columns("actions")) else None
    found = _pressed(month, by)
    few = found.table["cases"] < _FEWEST
    if by is None or not few.any() or few.all():
        return found
    note = f"Teams with fewer than {_FEWEST} such cases are left out."
    return replace(found, table=found.table[~few].reset_index(drop=True), notes=(*found.notes, note))


def _pressed(month: Month, by: str | None) -> Result:
    return month.counted(
        relief.hardship_pressed,
        by=by,
        period=month.window,
        channels=_channels(month),
        definition=month.definition,
    )


def _channels(month: Month) -> tuple[str, ...]:
    """What the strategy in force allows while hardship is noted; the shipped example where there is none."""
    try:
        handling = load_strategy(month.params / "strategy.yml").on(month.end).hardship
    except ParamsError:
        return ALLOWED
    return tuple(handling.channels) if handling else ALLOWED


def _pressed_by_team(month: Month) -> pd.DataFrame:
    """By team, among teams of the same main channel: who visits is not compared with who calls."""
    if not {"team", "agency"} & set(month.book.columns("actions")):
        raise NotAvailable("the actions name no team.")
    table = evidence_of(_pressed(month, "team"), n="cases", measure="pressed").dropna(subset=["estimate"])
    acts = month.book.table("actions")
    names = [nw.col(c).cast(nw.String) for c in ("team", "agency") if c in month.book.columns("actions")]
    acts = acts.filter(nw.col("channel").is_in(list(PRESSURE))).with_columns(__team=nw.coalesce(*names))
    counts = engine.collect(acts.group_by("__team", "channel").agg(n=row_count()))
    main = counts.sort_values(["n", "channel"]).groupby("__team")["channel"].last()
    return table.assign(among=table["team"].map(main).fillna(_OTHER))


def _unserved(month: Month) -> pd.DataFrame:
    """Those who said so themselves: a reason that a collector took down may be wrong, and is no plea."""
    said = month.book.has("actions") and "outcome" in month.book.columns("actions")
    options = {"reasons": ()} if said else {}
    result = relief.relief_offered(month.book, period=month.window, definition=month.definition, **options)
    return evidence_of(result, n="cases", measure="unserved").dropna(subset=["estimate"])


#: Evidence for findings, under the names the rules know.
SOURCES: dict[str, Callable[[Month], pd.DataFrame]] = {
    "hardship_pressed_by_team": _pressed_by_team,
    "hardship_unserved": _unserved,
}
