"""How far an experiment has come by its plan, and whether the plan allows a verdict yet."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import narwhals as nw
import numpy as np
import pandas as pd

from collectlab.core.columns import day_number, day_of, row_count
from collectlab.core.engine import collect, require, scan
from collectlab.core.errors import FrameError, first_few
from collectlab.core.results import Result
from collectlab.core.written import as_date
from collectlab.effects.design_dates import no_date
from collectlab.effects.effect_result import Check
from collectlab.effects.plan import ExperimentPlan

_START = pd.Timestamp("1900-01-01")


@dataclass(frozen=True, kw_only=True)
class PlanStatus(Result):
    """How far an experiment has come by its plan.

    ``table``: ``arm, planned, assigned, known`` (accounts whose horizon is over), ``complete_on`` (the day on which the
    planned number is known; a forecast where ``forecast``: not all have been assigned yet), ``share, expected_share``. ``answer_on``: the first day on
    which the plan allows a verdict, None where nobody can say. ``checks``: ``horizon`` and ``peeking``.
    """

    plan: ExperimentPlan
    as_of: dt.date
    answer_on: dt.date | None = None
    checks: tuple[Check, ...] = ()

    def check(self, name: str) -> Check | None:
        """The check of that name, or None."""
        return next((c for c in self.checks if c.name == name), None)


def status(
    plan: ExperimentPlan,
    accounts: Any,
    as_of: str | dt.date,
    *,
    arm: str = "strategy",
    assigned_on: str = "assigned_on",
    interval: Literal["fixed", "anytime"] = "fixed",
) -> PlanStatus:
    """Whether the plan allows a verdict on a date, and when it will.

    A fixed interval may decide once ``minimum_days`` are over and the planned number of accounts of every arm is known.
    A plan with ``peeking`` may be decided sooner, by the confidence sequence alone: from ``minimum_days`` on.

    Parameters
    ----------
    plan : ExperimentPlan
        The plan.
    accounts : frame or mapping
        One row per account assigned, with ``arm`` and ``assigned_on``; or how many accounts of each arm are known by
        ``as_of``, ``{arm: number}``.
    as_of : date or str
        The day of the look; what was assigned later does not count.
    arm, assigned_on : str
        Columns of the frame.
    interval : str
        What the look decides by: ``fixed`` (as :func:`~collectlab.effects.experiment.experiment` gives) or ``anytime``
        (:func:`~collectlab.effects.sequential.confidence_sequence`).

    Returns
    -------
    PlanStatus
        ``checks``: ``horizon`` fails before the plan allows a verdict; ``peeking`` fails where a fixed interval is read
        before the planned end, or of a plan that may be stopped by a look.

    Raises
    ------
    FrameError
        No such column; arms of the plan without accounts, or arms that are not in it.

    Examples
    --------
    >>> from collectlab.effects.plan import read_plan
    >>> plan = read_plan({
    ...     "name": "Early calls", "arms": ["call"], "control": "none", "outcome": "cured_within_60",
    ...     "horizon_days": 60, "minimum_days": 90, "smallest_effect": 0.03, "accounts_per_arm": 2000,
    ...     "started_on": "2026-03-01", "source": "Minutes 2026-02-12"})
    >>> now = status(plan, {"call": 1010, "none": 1000}, "2026-06-30")
    >>> now.check("horizon").passed, now.answer_on
    (False, datetime.date(2026, 8, 31))
    """
    today = as_date(as_of)
    if interval not in ("fixed", "anytime"):
        raise FrameError(f"interval is {interval!r}. Allowed: fixed, anytime.")
    notes = [f"Plan: {plan.source}."]
    if isinstance(accounts, Mapping):
        table = _from_counts(plan, accounts, today)
    else:
        table, early = _from_rows(plan, accounts, today, arm, assigned_on)
        if early:
            notes.append(
                f"{early:,} accounts assigned before the plan's start, {plan.started_on}, are not counted."
            )
    total = max(int(table["assigned"].sum()), 1)
    table["share"] = table["assigned"] / total
    table["expected_share"] = [plan.shares[a] for a in table["arm"]]
    sooner = plan.peeking and interval == "anytime"
    last = [pd.Timestamp(plan.earliest), *([] if sooner else table["complete_on"])]
    answer = None if any(day is pd.NaT for day in last) else max(last).date()
    return PlanStatus(
        table=table,
        estimand=f"Accounts of {plan.name} on {today}: planned, assigned, and with {plan.outcome} known.",
        title=f"{plan.name}: where it stands",
        unit="count",
        notes=tuple(notes),
        formats=dict.fromkeys(("planned", "assigned", "known"), "count") | {"expected_share": "share"},
        plan=plan,
        as_of=today,
        answer_on=answer,
        checks=(_horizon(plan, table, today, answer, sooner), _peeking(plan, table, today, interval)),
    )


def _from_counts(plan: ExperimentPlan, counts: Mapping[str, Any], today: dt.date) -> pd.DataFrame:
    """Known accounts by arm; the rest forecast by how fast they became known so far."""
    _refuse_arms(plan, {str(a): n for a, n in counts.items()}, "accounts")
    first = plan.started_on + dt.timedelta(days=plan.horizon_days)
    rows = []
    for a, planned in plan.planned.items():
        known = int(counts[a])
        rows.append(_row(a, planned, known, known, (today - first).days + 1, today))
    return pd.DataFrame(rows)


def _from_rows(
    plan: ExperimentPlan, frame: Any, today: dt.date, arm: str, assigned_on: str
) -> tuple[pd.DataFrame, int]:
    """Assigned and known accounts by arm; the day the plan is full is read off where enough have been assigned."""
    data = scan(frame, [arm, assigned_on])
    require(data, arm, assigned_on)
    if told := no_date(data, assigned_on):
        raise FrameError(told)
    picked = data.select(arm=nw.col(arm).cast(nw.String), day=day_number(assigned_on))
    counted = collect(picked.group_by("arm", "day").agg(row_count().alias("count"))).dropna()
    counted = counted.sort_values(["arm", "day"], ignore_index=True)
    _refuse_arms(plan, counted.groupby("arm")["count"].sum().to_dict(), arm)
    early = counted["day"] < day_of(plan.started_on)
    inside = counted[~early & (counted["day"] <= day_of(today))]
    rows = []
    for a, planned in plan.planned.items():
        part = inside[inside["arm"] == a]
        so_far = part["count"].cumsum().to_numpy(int)
        assigned = int(part["count"].sum())
        days = part["day"].to_numpy(int) + plan.horizon_days
        known = int(part.loc[days <= day_of(today), "count"].sum())
        row = _row(a, planned, assigned, known, (today - plan.started_on).days + 1, today)
        if assigned >= planned:
            full = _START + pd.Timedelta(days=int(days[np.searchsorted(so_far, planned)]))
            row["complete_on"] = full
        elif row["complete_on"] is not pd.NaT:
            row["complete_on"] += pd.Timedelta(days=plan.horizon_days)
        rows.append(row)
    return pd.DataFrame(rows), int(counted.loc[early, "count"].sum())


def _row(arm: str, planned: int, so_far: int, known: int, days: int, today: dt.date) -> dict[str, Any]:
    """One arm; complete when the rest has come at the pace so far."""
    rest = max(planned - so_far, 0)
    wait = 0 if not rest else math.ceil(rest * days / so_far) if so_far and days > 0 else None
    complete = pd.NaT if wait is None or wait > 36_525 else pd.Timestamp(today) + pd.Timedelta(days=wait)
    return {
        "arm": arm,
        "planned": planned,
        "assigned": so_far,
        "known": known,
        "complete_on": complete,
        "forecast": rest > 0,
    }


def _refuse_arms(plan: ExperimentPlan, have: Mapping[str, Any], where: str) -> None:
    faults = [
        f"{where}: {n!r} for arm {a}. Allowed: whole numbers ≥ 0."
        for a, n in have.items()
        if not isinstance(n, (int, np.integer)) or n < 0
    ]
    if missing := [a for a in plan.planned if a not in have]:
        faults.append(f"{where}: no accounts in arm {first_few(missing)}, which the plan {plan.name!r} has.")
    if extra := [a for a in have if a not in plan.planned]:
        faults.append(
            f"{where}: arm {first_few(extra)} is not in the plan {plan.name!r}. Allowed: {first_few(list(plan.planned), 20)}."
        )
    if faults:
        raise FrameError(faults)


def _horizon(
    plan: ExperimentPlan, table: pd.DataFrame, today: dt.date, answer: dt.date | None, sooner: bool
) -> Check:
    """Whether the plan allows a verdict today."""
    short = table[table["known"] < table["planned"]]
    reasons = []
    if today < plan.earliest:
        reasons.append(f"the plan has none before {plan.earliest} ({plan.minimum_days} days after the start)")
    if len(short) and not sooner:
        worst = (
            short.assign(part=short["known"] / short["planned"]).sort_values("part", kind="stable").iloc[0]
        )
        reasons.append(
            f"{plan.outcome} is known of {worst['known']:,} of {worst['planned']:,} accounts planned in {worst['arm']}"
        )
    part = float((table["known"] / table["planned"]).min())
    if not reasons:
        enough = (
            "the confidence sequence may decide from then on"
            if sooner and len(short)
            else "all planned accounts are known"
        )
        return Check(
            name="horizon",
            passed=True,
            says=f"The minimum of {plan.minimum_days} days is over and {enough}.",
            value=part,
            limit=1.0,
        )
    if answer is None:
        when = "At the pace so far nobody can say when there will be one."
    else:
        guess = " at the pace so far" if not sooner and bool(table["forecast"].any()) and len(short) else ""
        when = f"There can be one on {max(answer, today)}{guess}."
    return Check(
        name="horizon",
        passed=False,
        says=f"No verdict yet: {'; '.join(reasons)}. {when}",
        value=part,
        limit=1.0,
    )


def _peeking(plan: ExperimentPlan, table: pd.DataFrame, today: dt.date, interval: str) -> Check:
    """Whether the interval read today holds, given when the plan looks."""
    early = today < plan.earliest or bool((table["known"] < table["planned"]).any())
    if interval == "anytime":
        return Check(
            name="peeking",
            passed=True,
            says="The interval holds at every look, so looking early does not spoil it.",
        )
    if plan.peeking:
        return Check(
            name="peeking",
            passed=False,
            says="The plan lets a look stop the test, so a fixed interval errs more often than it says: read the "
            "confidence sequence.",
        )
    if early:
        return Check(
            name="peeking",
            passed=False,
            says="This is a look before the planned end: a fixed interval read now errs more often than it says. Wait, "
            "or read the confidence sequence.",
        )
    return Check(
        name="peeking", passed=True, says="The planned end is reached, and the plan has no look before it."
    )
