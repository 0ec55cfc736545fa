"""Chapters 2 and 4: whether the strategy was followed, and how the work runs."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pandas as pd

from collectlab.core.errors import NotAvailable, ParamsError
from collectlab.core.results import Result
from collectlab.core.tables import format_value
from collectlab.measures import process
from collectlab.policy.evidence import evidence as evidence_of
from collectlab.policy.strategy import Strategy, load_strategy
from collectlab.report.chapters.summary import Summary
from collectlab.report.month import Month, months_before
from collectlab.report.parts import part

#: Of several comparisons, what would come up by chance in one report of twenty.
_ERROR = 0.05


def strategy(month: Month) -> Strategy:
    """The strategy in force at the month's end."""
    try:
        return load_strategy(month.params / "strategy.yml").on(month.end)
    except ParamsError as error:
        raise NotAvailable(str(error)) from error


def due_steps(found: Strategy) -> pd.DataFrame:
    """The actions due as :func:`collectlab.measures.process.adherence` takes them."""
    rows = [
        {"stage": s.key, "channel": d.channel, "day": d.day, "dpd_from": s.dpd_from, "dpd_to": s.dpd_to}
        for s in found.stages
        for d in s.due
    ]
    return pd.DataFrame(rows, columns=["stage", "channel", "day", "dpd_from", "dpd_to"])


def stage_channels(found: Strategy) -> dict[int, tuple[str, ...]]:
    """The day on which each later stage begins, with the channels it brings that the stage before has not."""
    begun = [s for s in found.stages if s.dpd_from is not None]
    new = {}
    for before, stage in pairwise(begun):
        brought = tuple(c for c in stage.channels if c not in before.channels)
        if stage.dpd_from > 1 and brought:
            new[stage.dpd_from] = brought
    return new


def _adherence(
    month: Month,
    due: pd.DataFrame | None = None,
    by: str | tuple[str, ...] = "step",
    since: dt.date | None = None,
) -> Result:
    """Counted once for the parts and the evidence, since the strategy holds."""
    _ = month.book.table("actions")
    found = strategy(month)
    _ = month.from_start  # not available where nobody was seen from day 0
    plan = due_steps(found) if due is None else due
    first, last = month.window
    period = (max(since or first, found.since), last)
    return month.shared(
        f"adherence {by} {plan.to_csv()} {period}",
        lambda: process.adherence(month.book, plan, by=by, definition=month.definition, period=period),
    )


@part(folded=True)
def adherence(month: Month) -> Result:
    """The actions the strategy asks for: in time, late, missing."""
    return _adherence(month)


def _by_branch(month: Month) -> pd.DataFrame:
    """Steps not done in time, by stage and branch."""
    if "branch" not in month.book.columns("accounts"):
        raise NotAvailable("the book does not tell the branch of an account.")
    table = _adherence(month, by=("stage", "branch")).table
    return table[table["measure"] == "not_in_time"].reset_index(drop=True)


@part(picture=False)
def adherence_by_branch(month: Month) -> Result:
    """Branches that follow the strategy clearly less than the others."""
    table = _by_branch(month)
    found = pd.concat([_against_others(part) for _, part in table.groupby("stage", sort=False)])
    from scipy.stats import norm

    judged = found["z"].notna()
    line = norm.isf(_ERROR / max(int(judged.sum()), 1))
    worse = found[judged & (found["z"] > line)].sort_values("z", ascending=False, kind="stable")
    if worse.empty:
        return _nobody_worse(found[judged])
    columns = ["stage", "branch", "judged", "estimate", "conf_low", "conf_high", "others"]
    return Result(
        table=worse[columns],
        title="Steps late or missing: branches clearly beyond the others",
        estimand="Of the stage's actions that were due and could be judged, the share late or missing; the other "
        "branches' share beside it",
        formats={"judged": "count", "others": "share", "estimate": "Late or missing"},
        notes=(
            f"Of {int(judged.sum())} comparisons (stage × branch), those that chance would bring up in one report of "
            "twenty at most.",
        ),
    )


def _nobody_worse(judged: pd.DataFrame) -> Summary:
    """That no branch stands out, and by how much one might all the same."""
    told = (
        f"No branch follows the strategy clearly less than the others in any stage: {len(judged)} comparisons "
        f"(stage × branch) over {judged['judged'].sum():,.0f} actions due"
    )
    if judged.empty:
        told = f"No branch has {_SMALLEST} actions due in a stage, so branches are not compared"
    else:
        most = format_value((judged["conf_high"] - judged["others"]).max(), "points")
        told += f"; at the upper end of its interval, the worst lies {most} above the others"
    return Summary(
        table=judged[["stage", "branch", "judged", "estimate", "conf_low", "conf_high", "others"]],
        title="Steps late or missing: branches clearly beyond the others",
        estimand="Of the stage's actions that were due and could be judged, the share late or missing",
        formats={"judged": "count", "others": "share", "estimate": "Late or missing"},
        sentences=(f"{told}.",),
    )


def _against_others(part: pd.DataFrame) -> pd.DataFrame:
    """Each row's z against the others of the table together."""
    n, p, se = (part[c].to_numpy(float) for c in ("judged", "estimate", "std_error"))
    n = np.where(np.isfinite(p) & np.isfinite(se), n, 0)
    p, se = np.where(n > 0, p, 0), np.where(n > 0, se, 0)
    # Under "no different" the error is that of the others' share, and as much above the binomial one as the
    # customers' repeated steps make it in all groups together: a group's own error at 95 of 100 is too small.
    binomial = (p * (1 - p)).sum()
    repeated = max(1.0, (n * se**2).sum() / binomial) if binomial > 0 else 1.0
    with np.errstate(divide="ignore", invalid="ignore"):
        others = ((n * p).sum() - n * p) / (n.sum() - n)
        error = np.sqrt(repeated * others * (1 - others) * (1 / n + 1 / (n.sum() - n)))
        z = np.where(n >= _SMALLEST, (p - others) / error, np.nan)
    return part.assign(others=others, z=np.where(np.isfinite(z), z, np.nan))


#: Months over which branches are compared where few accounts of one come that far.
_FEW = 24
#: Fewer judged steps than this are not compared.
_SMALLEST = 30


def _stages(month: Month) -> dict[int, tuple[str, ...]]:
    """The stages' days and own channels; without a strategy, any action from 30, 60 and 90 days."""
    try:
        return stage_channels(strategy(month))
    except NotAvailable:
        return dict.fromkeys((30, 60, 90), ())


@part(picture=False)
def response_times(month: Month) -> Result:
    """How soon the bank answers: a broken promise, a new stage, hardship"""
    return month.counted(
        process.response_times,
        stages=_stages(month),
        definition=month.definition,
        period=month.window,
    )


@part(folded=True)
def process_map(month: Month) -> Result:
    """What follows what: the actual order of the work."""
    _ = month.book.table("actions"), month.from_start
    try:
        order = list(dict.fromkeys(due_steps(strategy(month))["channel"]))
    except NotAvailable:
        order = []
    return month.counted(process.process_map, order=order, definition=month.definition, period=month.window)


@part(picture=False)
def contactability(month: Month) -> Result:
    """Can the debtor be reached by phone"""
    by = "branch" if "branch" in month.book.columns("accounts") else None
    return month.counted(process.contactability, by=by, period=month.window)


@part(picture=False)
def handovers(month: Month) -> Result:
    """Handovers between teams and agencies"""
    return month.counted(process.handovers, definition=month.definition, period=month.window)


@part(picture=False)
def revisits(month: Month) -> Result:
    """Visits, and visits again"""
    return month.counted(process.revisits, definition=month.definition, period=month.window)


@part(folded=True)
def best_time(month: Month) -> Result:
    """When calls reach the debtor."""
    found = month.counted(process.best_time, period=month.window)
    if found.differs:
        return found
    # a map of one colour, or of noise, would say less than this line
    raw = found.table[found.table["measure"] == "raw"]
    chance = "" if pd.isna(found.p_value) else f" (p = {format_value(found.p_value, 'p_value')})"
    most = "" if pd.isna(found.spread_high) else (
        f"; at most, the share reached differs between times by {100 * found.spread_high:.1f} percentage points "
        "(standard deviation, upper end of its interval)"
    )  # fmt: skip
    return Summary(
        table=raw,
        title=found.title,
        estimand="Share of calls that reach the debtor, by weekday and hour, as it is",
        formats=found.formats,
        sentences=(
            f"No time of the week reaches debtors better than another beyond chance{chance}: {raw['calls'].sum():,} calls "
            f"at {len(raw)} times, compared within the same accounts{most}.",
        ),
    )


@part(picture=False)
def data_problems(month: Month) -> Result:
    """Gaps in the action log"""
    found = month.counted(process.data_problems, definition=month.definition, period=month.window)
    looked, table = found.table, found.table[found.table["found"] > 0]
    columns = ["problem", "checked", "found", "estimate", "conf_low", "conf_high"]
    if table.empty:
        at = looked.loc[looked["checked"].idxmax()]
        kinds = ", ".join(looked["problem"])
        many = f"{len(looked)} kinds of gap" if len(looked) > 1 else "one kind of gap"
        most = looked["conf_high"].max()
        bound = (
            f" So each is in fewer than 1 in {int(1 / most):,} of the rows that could have it."
            if most > 0
            else ""
        )
        return Summary(
            table=looked[columns],
            title=found.title,
            estimand=found.estimand,
            formats={"checked": "count", "found": "count", "estimate": "Share"},
            sentences=(
                f"{at['checked']:,} actions were looked at for {many} ({kinds}); none was found.{bound}",
                *found.notes[1:],
            ),
        )
    note = f"Looked for and not found: {', '.join(looked.loc[looked['found'] == 0, 'problem'])}."
    return Result(
        table=table[columns],
        title=found.title,
        estimand=found.estimand,
        formats={"checked": "count", "found": "count", "estimate": "Share"},
        notes=(*((note,) if len(table) < len(looked) else ()), *found.notes),
    )


# Evidence for findings ----------------------------------------------------------------------------------


def _late_steps(month: Month) -> pd.DataFrame:
    """Accounts still overdue with none of a new stage's own actions by the day its first is due, by branch.

    Of the first stage past due that brings channels the one before has not: calls go on whether or not an
    account has moved on, so they do not tell. Over two years, as few accounts a branch come that far.
    """
    if "branch" not in month.book.columns("accounts"):
        raise NotAvailable("the book does not tell the branch of an account.")
    found = strategy(month)
    for day, channels in stage_channels(found).items():
        stage = found.stage_of(day)
        days = [d.day for d in stage.due if d.channel in channels]
        if days:
            break
    else:
        raise NotAvailable("no stage of the strategy has an action due through a channel of its own.")
    step = pd.DataFrame(
        {"stage": [stage.key], "channel": ["|".join(channels)], "day": [min(days)], "dpd_from": [day],
         "dpd_to": pd.array([stage.dpd_to], dtype="Int64")}
    )  # fmt: skip
    since = months_before(month.end, _FEW) + dt.timedelta(days=1)
    table = _adherence(month, step, by="branch", since=since).table
    table = (
        table[table["measure"] == "not_in_time"].rename(columns={"judged": "n"}).dropna(subset=["estimate"])
    )
    columns = ["branch", "n", "estimate", "std_error", "conf_low", "conf_high", "unit"]
    return table[columns].reset_index(drop=True)


def _unfollowed(month: Month) -> pd.DataFrame:
    """Broken promises that nobody followed up within a week."""
    found = month.counted(
        process.promise_follow_up, by=None, days=7, definition=month.definition, period=month.window
    )
    return evidence_of(found, n="broken", complement=True, measure="followed_up")


def _incomplete(month: Month) -> pd.DataFrame:
    """Attempts of which the result, the party or the agent is not noted."""
    found = month.counted(process.data_problems, definition=month.definition, period=month.window)
    return evidence_of(found, n="checked", problem="incomplete")


SOURCES: dict[str, Callable[[Month], pd.DataFrame]] = {
    "late_step_by_branch": _late_steps,
    "unfollowed_promises": _unfollowed,
    "incomplete_records": _incomplete,
}
