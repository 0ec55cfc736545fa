"""Whether a test was kept as it was drawn: one arm a unit, outcomes after the draw, arms with collectors of their own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import narwhals as nw

from collectlab.core.columns import day_number
from collectlab.core.engine import collect, same_engine
from collectlab.core.errors import first_few
from collectlab.effects.assigned import first_assignments
from collectlab.effects.effect_result import Check

if TYPE_CHECKING:
    from collectlab.book.open import Book

#: Spillover: the share of contacts by agents with several arms, and the part of an agent's work that counts.
SHARED_LIMIT, OWN_WORK = 0.10, 0.05


def book_checks(book: Book, *, days: int | None = None) -> tuple[Check, ...]:
    """The checks that a book's own tables allow: ``one_arm``, ``assignment_first``, ``spillover``.

    Parameters
    ----------
    book : Book
        With ``assignments`` (column ``randomised``); ``actions`` where there are any.
    days : int, optional
        How long after the assignment outcomes are read; actions and later assignments up to then count.
        None: to the end of the book.

    Returns
    -------
    tuple of Check
        ``one_arm``: accounts put under two strategies on the day of the draw (they are in no comparison), or
        under another strategy within ``days`` (they count in the arm they were drawn into, and dilute it).
        ``assignment_first`` holds because :func:`~collectlab.effects.assigned.experiment_frame` counts from
        the day after; it fails where an account was assigned after the book's end. ``spillover``: as in
        :func:`~collectlab.effects.experiment_checks.experiment_checks`.

    Examples
    --------
    >>> import pandas as pd
    >>> from collectlab.book.open import open_book
    >>> book = open_book({
    ...     "accounts": pd.DataFrame({"account_id": ["a", "b"]}),
    ...     "snapshots": pd.DataFrame({"account_id": ["a", "b"], "as_of": "2026-03-31", "days_past_due": [0, 20]}),
    ...     "assignments": pd.DataFrame({"account_id": ["a", "b"], "strategy": ["letter", "none"],
    ...                                  "assigned_on": "2026-01-01", "randomised": True})})
    >>> [(check.name, check.passed) for check in book_checks(book)]
    [('one_arm', True), ('assignment_first', True), ('spillover', None)]
    """
    table = book.table("assignments")
    drawn = first_assignments(table).select("account_id", "strategy", "assigned_on")
    every = table.select("account_id", other=nw.col("strategy"), _on=nw.col("assigned_on"))
    both = every.join(drawn, on="account_id", how="inner").filter(nw.col("_on") >= nw.col("assigned_on"))
    if days is not None:
        both = both.filter(nw.col("_on") <= nw.col("assigned_on").dt.offset_by(f"{days}d"))
    moved = collect(both.filter(nw.col("other") != nw.col("strategy")).select("account_id"))["account_id"]
    at_random = table.filter(nw.col("randomised").fill_null(False))
    twice = collect(at_random.join(drawn, on="account_id", how="anti").select("account_id"))["account_id"]
    moved, twice = (sorted(set(ids.astype(str))) for ids in (moved, twice))
    total = int(collect(drawn.select(n=nw.len()))["n"].iloc[0])
    within = f"within {days} days" if days is not None else "later"
    made = [
        one_arm(twice, "accounts", moved, total, within),
        _dated(book, drawn, total),
    ]
    if not book.has("actions") or "agent" not in book.columns("actions"):
        says = "No agents are known for the actions, so it cannot be seen whether arms share collectors."
        return (*made, Check(name="spillover", passed=None, says=says, limit=SHARED_LIMIT))
    actions = book.table("actions").select("account_id", "agent", _at=nw.col("at").cast(nw.Date))
    after = actions.join(drawn, on="account_id", how="inner").filter(nw.col("_at") >= nw.col("assigned_on"))
    if days is not None:
        after = after.filter(nw.col("_at") <= nw.col("assigned_on").dt.offset_by(f"{days}d"))
    made.append(spillover(drawn, after.select("account_id", "agent"), arm="strategy", unit="account_id"))
    return tuple(made)


def spillover(
    assigned: nw.LazyFrame, contacts: nw.LazyFrame, *, arm: str, unit: str, agent: str = "agent"
) -> Check:
    """The share of contacts made by agents who work in several arms."""
    assigned, contacts = same_engine(assigned, contacts)
    arms = assigned.filter(~nw.col(arm).is_null()).select(unit, _arm=nw.col(arm).cast(nw.String))
    both = contacts.select(unit, _agent=nw.col(agent).cast(nw.String)).join(arms, on=unit, how="inner")
    counted = collect(both.group_by("_agent", "_arm").agg(n=nw.len()))
    known = counted.dropna(subset="_agent")
    if known.empty:
        says = "No agents are known for the contacts, so it cannot be seen whether arms share collectors."
        return Check(name="spillover", passed=None, says=says, limit=SHARED_LIMIT)
    work = known.pivot_table(index="_agent", columns="_arm", values="n", aggfunc="sum", fill_value=0)
    total = work.sum(axis=1)
    several = (total - work.max(axis=1)) / total >= OWN_WORK
    share = float(total[several].sum() / total.sum())
    says = (
        f"{share:.0%} of {int(total.sum()):,} contacts with a known agent are by {int(several.sum()):,} of "
        f"{len(total):,} agents who work in more than one arm"
    ).replace("%", " %")
    passed = share <= SHARED_LIMIT
    says += "." if passed else ": what is done in one arm may rub off on another and dilute the effect."
    return Check(name="spillover", passed=passed, says=says, value=share, limit=SHARED_LIMIT)


def one_arm(
    doubled: Sequence[str], what: str, moved: Sequence[str] = (), total: int = 0, within: str = ""
) -> Check:
    """Units under two arms on the day of the draw, and those put under another arm afterwards."""
    parts = []
    if doubled:
        parts.append(
            f"{len(doubled):,} {what} stand under two arms at once and are kept apart: {first_few(doubled)}"
        )
    if moved:
        parts.append(
            f"{len(moved):,} of {total:,} {what} were put under another arm {within}; they count in the arm drawn "
            f"first, which dilutes the effect: {first_few(moved)}"
        )
    says = ". ".join(parts) + "." if parts else f"All {what} stand under one arm only."
    number = float(len(doubled) + len(moved))
    return Check(name="one_arm", passed=not parts, says=says, value=number, limit=0.0)


def assignment_first(data: nw.LazyFrame, unit: str | None, assigned_on: str, outcome_from: str) -> Check:
    """Units whose outcome begins before their assignment."""
    late = data.filter(day_number(assigned_on) > day_number(outcome_from))
    name = nw.col(unit) if unit else nw.col(assigned_on)
    ids = collect(late.select(name.cast(nw.String).alias("unit")))["unit"]
    if ids.empty:
        says = "Every unit was assigned before its outcome could begin."
        return Check(name="assignment_first", passed=True, says=says, value=0.0, limit=0.0)
    listed = first_few(sorted(ids.astype(str)))
    says = (
        f"{len(ids):,} units have an outcome that begins before their assignment "
        f"({unit or assigned_on} {listed}): what came first cannot be an effect."
    )
    return Check(name="assignment_first", passed=False, says=says, value=float(len(ids)), limit=0.0)


def _dated(book: Book, drawn: nw.LazyFrame, total: int) -> Check:
    late = collect(drawn.filter(nw.col("assigned_on") > nw.lit(book.as_of)).select("account_id"))[
        "account_id"
    ]
    if late.empty:
        says = f"Outcomes of all {total:,} accounts are counted from their assignment on."
        return Check(name="assignment_first", passed=True, says=says, value=0.0, limit=0.0)
    ids = sorted(late.astype(str))
    says = f"{len(ids):,} of {total:,} accounts are assigned after the book ends ({first_few(ids)})."
    return Check(name="assignment_first", passed=False, says=says, value=float(len(ids)), limit=0.0)
