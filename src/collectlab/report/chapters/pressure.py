"""Chapter 4: how hard accounts are pressed, what one more contact does, and where it stops paying."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Callable

import narwhals as nw
import pandas as pd

from collectlab.core import engine
from collectlab.core.errors import FrameError, NotAvailable, ParamsError
from collectlab.core.results import Result
from collectlab.core.tables import format_value
from collectlab.effects.pressure import DoseResponse, dose_response, randomised, where_it_stops
from collectlab.effects.verdict_rule import grade
from collectlab.measures.intensity import escalations as count_escalations
from collectlab.measures.intensity import hardship_pressure
from collectlab.measures.intensity import intensity as count_intensity
from collectlab.measures.ratios import Measures
from collectlab.policy.evidence import evidence as evidence_of
from collectlab.policy.strategy import load_strategy
from collectlab.report.month import Month, months_before
from collectlab.report.parts import part

#: Channels with fewer actions a week than this in a stage are in the table of the run only.
SHOWN = 0.05
#: Teams with fewer accounts that told of hardship are left out.
FEW = 10
#: Months looked back on for what happens to few accounts a month: stages entered, hardship told.
LOOK_BACK = 24


def _window(month: Month) -> tuple[dt.date, dt.date]:
    return months_before(month.end, LOOK_BACK) + dt.timedelta(days=1), month.end


def stages(month: Month) -> pd.DataFrame:
    """The strategy's stages, with the day past due by which each must have begun its own channels."""
    try:
        strategy = load_strategy(month.params / "strategy.yml").on(month.end)
    except ParamsError as error:
        raise NotAvailable(str(error)) from error
    table = strategy.stage_table()
    due, before = [], ()
    for stage in strategy.stages:
        own = [c for c in stage.channels if c not in before] or list(stage.channels)
        due.append(min((d.day for d in stage.due if d.channel in own), default=None))
        before = stage.channels
    return table.assign(escalate_by=pd.array(due, dtype="Int64"))


@part(picture=False)
def intensity(month: Month) -> Result:
    """Actions per account-week, by stage of the strategy."""
    try:
        by_stage = stages(month)[["stage", "dpd_from", "dpd_to"]]
    except NotAvailable:
        by_stage = (1, 30, 60, 90)
    found = month.shared(
        "pressure intensity", lambda: count_intensity(month.book, by_stage, period=month.window)
    )
    rates = found.table[found.table["measure"] == "per_week"]
    busy = rates.loc[rates["estimate"] >= SHOWN, ["stage", "channel"]]
    return dataclasses.replace(found, table=found.table.merge(busy, on=["stage", "channel"], how="inner"))


def response(month: Month) -> DoseResponse:
    """The dose-response of one more call, over the whole book; counted once for all parts."""
    return month.counted(dose_response)


@part
def dose(month: Month) -> Result:
    """What one more call does to cure, payment and complaint"""
    found = response(month)
    level, against = grade(found)
    notes = [f"Grade: {level}. " + " ".join(c.says for c in against)]
    try:
        notes.append(_by_lot(month))
    except (NotAvailable, FrameError):
        notes.append("No arms of a test differ in calls, so there is nothing by lot to compare with.")
    return dataclasses.replace(found, notes=(*(n.strip() for n in notes), *found.notes))


def _by_lot(month: Month) -> str:
    lot = month.shared("pressure by lot", lambda: randomised(month.book, control=month.control or None))
    row = lot.table.iloc[0]
    values = (format_value(row[c], "points") for c in ("estimate", "conf_low", "conf_high"))
    return (
        "By lot, from the test's arms ({arm} {more:.1f} calls, {control:.1f} without): {0} cured in 60 days per further "
        "call ({1} to {2}), if the arms differ in calls alone."
    ).format(*values, arm=row["arm"], more=row["received"], control=row["control_received"])


@part(picture=False)
def stops(month: Month) -> Result:
    """Where one more call stops paying."""
    return where_it_stops(response(month))


@part(picture=False)
def escalations(month: Month) -> Result:
    """Escalations too early and too late against the strategy."""
    found = _escalations(month, None)
    return dataclasses.replace(found, notes=(*found.notes, _over(month)))


def _over(month: Month) -> str:
    return f"Counted over the {LOOK_BACK} months to {month.end}, as it happens to few accounts a month."


def _escalations(month: Month, by: str | None) -> Measures:
    key = f"pressure escalations by {by}"
    period = _window(month)
    return month.shared(key, lambda: count_escalations(month.book, stages(month), by=by, period=period))


@part(picture=False)
def hardship(month: Month) -> Result:
    """Calls and visits to those who told of hardship."""
    found = _hardship(month)
    table = found.table[found.table["accounts"] >= FEW]
    if table.empty:
        raise NotAvailable(f"no team has {FEW} accounts that told of hardship.")
    note = f"Teams with fewer than {FEW} such accounts are left out."
    return dataclasses.replace(found, table=table, notes=(*found.notes, note, _over(month)))


def _hardship(month: Month) -> Measures:
    """Hardship told in a conversation: what should make the calls fewer from that day on."""
    return month.counted(hardship_pressure, period=_window(month), noted=("told",))


def _late_by_branch(month: Month) -> pd.DataFrame:
    """Own actions per account-week in the first weeks of a stage past the first, a row per branch and stage.

    The pace counts every account for as long as it was there, so it tells branches apart that shares cannot.
    """
    table = evidence_of(_escalations(month, "branch"), n="entered", measure="own_per_week")
    first = stages(month).query("dpd_to.isna() or dpd_to >= 1")["stage"].iloc[0]
    table = table[table["stage"] != first].dropna(subset="estimate")
    return table.assign(branch=[f"{b}, stage {s}" for b, s in zip(table["branch"], table["stage"])]).rename(
        columns={"stage": "among"}
    )


def _early_by_branch(month: Month) -> pd.DataFrame:
    """Actions through a channel that opens only later, in the stage where most of them are."""
    table = evidence_of(_escalations(month, "branch"), n="actions", measure="too_early")
    table = table.dropna(subset="estimate")
    if table.empty or not table["estimate"].max() > 0:
        raise NotAvailable("no action came too early.")
    most = (table["estimate"] * table["n"]).groupby(table["stage"]).sum().idxmax()
    return table[table["stage"] == most].drop(columns="stage").reset_index(drop=True)


def _hardship_by_team(month: Month) -> pd.DataFrame:
    """Compared among teams that work by the same channel."""
    if "team" not in month.book.columns("actions"):
        raise NotAvailable("the actions name no team.")
    table = evidence_of(_hardship(month), n="accounts", measure="per_week").dropna(subset="estimate")
    done = month.book.table("actions").filter(~nw.col("team").is_null())
    counts = engine.collect(done.group_by("team", "channel").agg(n=nw.len()))
    main = counts.sort_values(["n", "channel"]).groupby("team")["channel"].last()
    return table.assign(among=table["team"].map(main).fillna("agency"))


#: Evidence that findings are looked for in, by name.
SOURCES: dict[str, Callable[[Month], pd.DataFrame]] = {
    "late_escalation_by_branch": _late_by_branch,
    "early_escalation_by_branch": _early_by_branch,
    "hardship_pressure_by_team": _hardship_by_team,
}
