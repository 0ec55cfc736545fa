"""Was the strategy followed: each action due, done by its day, late, missing, or out of order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import narwhals as nw
import pandas as pd

from collectlab.core import engine
from collectlab.core.columns import as_list, day_number, flag, month_number, month_text, number_to_date
from collectlab.core.errors import FrameError, NotAvailable, first_few
from collectlab.core.plots import PALETTE, legend, level_axis, new_axes, percent_axis, titled
from collectlab.measures.actions_rows import Period, days_of, need_rows
from collectlab.measures.groups import by_keys, group_labels, named
from collectlab.measures.process._rows import log, log_begins, spells, whole, within_spells
from collectlab.measures.ratios import Measures, Ratio, count, measured

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Grouping columns that come from the plan of steps instead of the accounts.
_OF_STEP = ("stage", "step", "month")
#: An action due before the due date may be done this many days before its own day.
_EARLY = 7
_STATES = ("done", "late", "missing")


@dataclass(frozen=True, kw_only=True)
class Adherence(Measures):
    """Steps due: the shares done in time, late and missing, and those done out of order."""

    def plot(self, ax: Axes | None = None, **options: Any) -> Axes:  # type: ignore[override]
        """One bar a step or group: in time, late, missing; over months, lines."""
        if "month" in self.by:
            return super().plot(ax=ax, **options)
        wide = self.wide().dropna(subset=["done"]).reset_index(drop=True)  # unpublished: not drawn
        labels = [
            text.replace(f"{stage}, ", "", 1)
            for text, stage in zip(group_labels(wide, self.by), wide.get("stage", [""] * len(wide)))
        ]
        ax = new_axes(ax, figsize=(7.2, 1.1 + 0.32 * max(len(wide), 2)))
        place = range(len(wide))[::-1]
        floor = pd.Series(0.0, index=wide.index)
        for state, colour, hatch in zip(_STATES, (PALETTE[2], PALETTE[4], PALETTE[1]), ("", "//", "xx")):
            ax.barh(place, wide[state], left=floor, color=colour, hatch=hatch, edgecolor="white", label=state)
            floor = floor + wide[state]
        ax.set_yticks(place, [f"{label}  (n = {n:,.0f})" for label, n in zip(labels, wide["judged"])])
        ax.set_xlim(0, 1)
        level_axis(ax)
        percent_axis(ax, "x")
        legend(ax, outside=True)
        return titled(ax, self.title)


def adherence(
    book: Any,
    due: Any,
    *,
    by: str | Sequence[str] | None = "step",
    grace: int = 3,
    definition: str = "current_once",
    period: Period = None,
    conf_level: float = 0.95,
) -> Adherence:
    """Was the strategy followed: of the actions due, how many were done in time, late, or not at all.

    An action is *due* on day ``day`` past due (negative: before the due date), through its ``channel``. The
    second step of a channel within a stage asks for a second action on another day. Only actions within the
    stage's days past due count for its steps (for a stage open below: from a week before the step's day).
    A step of an episode is judged where

    * the account is known to have still been overdue ``grace`` days after the step's day: one that cured before
      is not missing, and one of which that is not known (its cure was seen at the next snapshot only, or the
      book ends before) is counted apart, as ``not_known``;
    * the episode was watched since the stage began, and that was not before the first month of the log;
    * no hardship was noted, and no arrangement was in force, before it was done: those are ``exempt``.

    Of the steps ``judged``:

    * ``done`` — by ``grace`` days after the step's day;
    * ``late`` — later, but within the stage and while still overdue;
    * ``missing`` — neither;
    * ``not_in_time`` — late or missing;
    * ``out_of_order`` — of those done or late: before the step that comes before it in its stage, or without it.

    Parameters
    ----------
    book : Book
        With actions.
    due : frame
        One row per step: ``stage, channel, day, dpd_from, dpd_to`` (bounds may be missing: open). Where any
        of several channels will do, ``channel`` names them all: ``letter|visit``.
    by : str or list of str, optional
        ``step`` (stage and step), ``stage``, ``month`` (of the step's day), or columns of accounts such as
        ``branch``; None pools all steps.
    grace : int
        Whole days.
    definition : str
        The named definition of cure.
    period : (date, date), optional
        First and last of the steps' days; None is the whole book.
    conf_level : float
        Level of the intervals, which respect the customers.

    Returns
    -------
    Adherence

    Raises
    ------
    FrameError
        ``due`` lacks a column or holds days that are none; all faults at once.
    NotAvailable
        The book has no actions, or no step can be judged.

    Examples
    --------
    >>> import pandas as pd
    >>> from collectlab.book.open import open_book
    >>> book = open_book({
    ...     "accounts": pd.DataFrame({"account_id": ["a", "b"]}),
    ...     "snapshots": pd.DataFrame({"account_id": ["a", "b"] * 3, "days_past_due": [0, 0, 20, 20, 48, 48],
    ...                                "as_of": ["2025-12-31"] * 2 + ["2026-01-31"] * 2 + ["2026-02-28"] * 2}),
    ...     "actions": pd.DataFrame({"account_id": ["a", "b"], "at": ["2026-01-17 10:00", "2026-01-25 10:00"],
    ...                              "channel": ["call", "call"]})})
    >>> due = pd.DataFrame({"stage": ["early"], "channel": ["call"], "day": [7], "dpd_from": [1], "dpd_to": [29]})
    >>> adherence(book, due).wide()[["step", "judged", "done", "late", "missing"]].values.tolist()
    [['day 7: call', 2, 0.5, 0.5, 0.0]]
    """
    whole("grace", grace)
    plan = steps(due)
    by = as_list(by)
    of_account = [b for b in by if b not in _OF_STEP]
    of_step = [b for b in _OF_STEP if b in by]
    if "step" in of_step and "stage" not in of_step:
        of_step.insert(0, "stage")
    acts, names = log(book)
    first_logged = log_begins(acts)
    episodes, of_account = spells(book, definition, of_account)
    acted = _done(episodes, acts, plan, names, book)
    rows = nw.concat([_judged(acted, plan, i, grace, first_logged, of_account) for i in range(len(plan))])
    if period is not None:
        low, high = days_of(period)
        rows = rows.filter((nw.col("__due") >= low) & (nw.col("__due") <= high))
    rows = engine.computed(rows)
    keys = [f"__{name}" for name in of_step] + by_keys(of_account, "__by")
    judged = nw.col("__state") <= 2
    in_time, late = nw.col("__state") == 0, nw.col("__state") == 1
    counts = count(
        rows.with_columns(__month=month_number(number_to_date(nw.col("__due")))),
        keys,
        {
            "judged": flag(judged),
            "done": flag(in_time),
            "late": flag(late),
            "missing": flag(nw.col("__state") == 2),
            "followed": flag((in_time | late) & ~nw.col("__out").is_null()),
            "out": flag((in_time | late) & nw.col("__out")),
            "exempt": flag(nw.col("__state") == 3),
            "not_known": flag(nw.col("__state") == 4),
        },
    )
    need_rows(counts, "judged", "steps that can be judged")
    words = {
        "__stage": dict(enumerate(dict.fromkeys(plan["stage"]))).get,
        "__step": plan["step"].to_dict().get,
        "__month": month_text,
    }
    shown = counts.groups.assign(**{k: counts.groups[k].map(words[k]) for k in keys if k in words})
    shown = named(shown, [*of_step, *of_account])
    return measured(
        shown,
        list(shown.columns),
        {
            **{state: Ratio(counts[state], counts["judged"]) for state in _STATES},
            "not_in_time": Ratio(counts["late"] + counts["missing"], counts["judged"]),
            "out_of_order": Ratio(counts["out"], counts["followed"]),
        },
        {name: counts.total(name) for name in ("judged", "exempt", "not_known")},
        conf_level,
        kind=Adherence,
        estimand=f"Of the actions due and judged: done by {grace} days after their day, late, missing; of those done, "
        "the share out of order",
        title="Was the strategy followed",
        shown=("done",),
        notes=(
            "Judged: still overdue when the grace ended, and watched since the stage began. Exempt: hardship noted or an "
            "arrangement in force before it was done. Not known: whether the account was still overdue then.",
            "Missing is missing so far where the stage still runs at the end of the book.",
        ),
    )


def steps(due: Any) -> pd.DataFrame:
    """The steps in order, checked: stage, channel, day, low, high (days past due that count), nth of its kind."""
    lazy = engine.scan(due)
    engine.require(lazy, "stage", "channel", "day", "dpd_from", "dpd_to")
    plan = engine.collect(lazy.select("stage", "channel", "day", "dpd_from", "dpd_to"))
    if plan.empty:
        raise NotAvailable("the strategy names no action that is due.")
    faults = []
    for column in ("day", "dpd_from", "dpd_to"):
        values = pd.to_numeric(plan[column], errors="coerce")
        given = plan[column].notna()
        wrong = plan.index[(given & (values.isna() | (values % 1 != 0))) | ((column == "day") & ~given)]
        if len(wrong):
            found = first_few(plan.loc[wrong, column].tolist())
            faults.append(
                f"due: {column} is {found} in {len(wrong)} of {len(plan)} steps. Allowed: whole days."
            )
        plan[column] = values
    for column in ("stage", "channel"):
        if n := int(plan[column].isna().sum()):
            faults.append(f"due: {n} of {len(plan)} steps have no {column}. Allowed: text.")
    outside = (plan["day"] < plan["dpd_from"]) | (plan["day"] > plan["dpd_to"])
    if not faults and outside.any():
        found = first_few([f"{r.stage} day {r.day:g}" for r in plan[outside].itertuples()])
        faults.append(f"due: {found} lies outside its stage. Allowed: dpd_from ≤ day ≤ dpd_to.")
    twice = plan.duplicated(["stage", "channel", "day"])
    if not faults and twice.any():
        found = first_few([f"{r.stage} day {r.day:g} {r.channel}" for r in plan[twice].itertuples()])
        faults.append(f"due: {found} stands twice. Allowed: once.")
    if faults:
        raise FrameError(faults)
    plan = plan.assign(place=pd.factorize(plan["stage"])[0])
    plan = plan.sort_values(["place", "day", "channel"], kind="stable").reset_index(drop=True)
    day = plan["day"].astype(int)
    return plan.assign(
        day=day,
        low=plan["dpd_from"].fillna(day - _EARLY).astype(int),
        high=plan["dpd_to"].fillna(100_000).astype(int),
        nth=plan.groupby(["stage", "channel"]).cumcount() + 1,
        stage_number=pd.factorize(plan["stage"])[0],
        step=[
            f"day {d}: {c}".replace("day -", "day −").replace("|", " or ")
            for d, c in zip(day, plan["channel"])
        ],
    )


def _done(
    episodes: nw.LazyFrame, acts: nw.LazyFrame, plan: pd.DataFrame, names: list[str], book: Any
) -> nw.LazyFrame:
    """The episodes with ``__done<i>``, the day on which step i was done, and since when they are exempt."""
    spell = ["__account", "__start"]
    hardship = (nw.col("outcome") == "hardship").fill_null(False) if "outcome" in names else nw.lit(False)
    days = acts.with_columns(__pleads=flag(hardship))
    days = days.group_by("__account", "__on", "__channel").agg(nw.col("__pleads").max())
    inside = within_spells(episodes.select(*spell, "__exit"), days, before=max(0, -int(plan["low"].min())))
    inside = engine.computed(inside.select(*spell, "__day", "__channel", "__pleads"))
    found = episodes
    for (_, channel), part in plan.groupby(["stage", "channel"], sort=False):
        low, high = int(part["low"].min()), int(part["high"].max())
        here = inside.filter(
            nw.col("__channel").is_in(channel.split("|"))
            & (nw.col("__day") >= low)
            & (nw.col("__day") <= high)
        )
        if "|" in channel:  # two of them on one day are one action
            here = here.unique(subset=[*spell, "__day"], keep="any")
        here = here.with_columns(__nth=nw.col("__day").rank("ordinal").over(*spell))
        nth = {
            f"__done{i}": nw.when(nw.col("__nth") == n).then(nw.col("__day")).min()
            for i, n in part["nth"].items()
        }
        found = found.join(here.group_by(*spell).agg(**nth), on=spell, how="left")
    pleaded = nw.when((nw.col("__pleads") == 1) & (nw.col("__day") >= 0)).then(nw.col("__day")).min()
    found = found.join(inside.group_by(*spell).agg(__hardship=pleaded), on=spell, how="left")
    return engine.computed(_with_plans(found, book))


def _with_plans(found: nw.LazyFrame, book: Any) -> nw.LazyFrame:
    """With the first arrangement that touches the episode: ``__plan`` (day it began) and ``__plan_end``."""
    if not book.has("arrangements"):
        missing = nw.lit(None, nw.Int64)
        return found.with_columns(__plan=missing, __plan_end=missing)
    spell = ["__account", "__start"]
    plans = book.table("arrangements")
    ended = "ended_on" in plans.collect_schema().names()
    plans = plans.select(
        __account=nw.col("account_id"),
        __on=day_number("started_on"),
        __until=day_number("ended_on") if ended else nw.lit(None, nw.Int64),
    )
    found, plans = engine.same_engine(found, plans)
    touching = (
        found.select(*spell, "__exit")
        .join(plans, on="__account", how="inner")
        .with_columns(
            __plan=nw.col("__on") - nw.col("__start"),
            __plan_end=nw.coalesce(nw.col("__until") - nw.col("__start"), nw.lit(100_000).cast(nw.Int64)),
        )
        .filter((nw.col("__plan") <= nw.col("__exit")) & (nw.col("__plan_end") >= 0))
        .unique(subset=spell, keep="first", order_by=["__plan", "__plan_end"])
        .select(*spell, "__plan", "__plan_end")
    )
    return found.join(touching, on=spell, how="left")


def _judged(
    acted: nw.LazyFrame, plan: pd.DataFrame, i: int, grace: int, first_logged: int, by: list[str]
) -> nw.LazyFrame:
    """One row per episode in which step i fell due: ``__state`` 0 done … 2 missing, 3 exempt, 4 not known."""
    step = plan.loc[i]
    day, low, high = int(step["day"]), int(step["low"]), int(step["high"])
    last = max(day + grace, 0)
    done = nw.col(f"__done{i}")
    # nothing done after the last day the account is known to have been overdue counts as late
    here = ~done.is_null() & (done <= high) & (done <= nw.max_horizontal(nw.col("__seen"), nw.lit(last)))
    in_time = here & (done <= day + grace)
    hardship = (nw.col("__hardship") <= last).fill_null(False)
    plan_on = ((nw.col("__plan") <= last) & (nw.col("__plan_end") >= day)).fill_null(False)
    since = nw.min_horizontal(
        nw.when(hardship).then(nw.col("__hardship")), nw.when(plan_on).then(nw.col("__plan"))
    )
    exempt = (hardship | plan_on) & ~(in_time & (done <= since)).fill_null(False)
    known = nw.col("__seen") >= last
    state = (
        nw.when(~known).then(nw.lit(4))
        .when(exempt).then(nw.lit(3))
        .when(in_time).then(nw.lit(0))
        .when(here).then(nw.lit(1))
        .otherwise(nw.lit(2))
    )  # fmt: skip
    before = nw.lit(None, nw.Boolean)  # the first step of a stage follows none
    if i and plan.loc[i - 1, "stage"] == step["stage"]:
        previous = nw.col(f"__done{i - 1}")
        before = previous.is_null() | (previous > done).fill_null(False)
    # still overdue on the day itself, or perhaps: the others cured before and owe nothing
    reached = (nw.col("__exit") > max(day, 0)) | (nw.col("__seen") >= max(day, 0))
    watched = (nw.col("__entry") <= max(low, 0)) & (nw.col("__start") + low >= first_logged)
    return acted.filter(reached & watched).select(
        *(f"__by{k}" for k in range(len(by))),
        "__rep",
        __step=nw.lit(i).cast(nw.Int64),
        __stage=nw.lit(int(step["stage_number"])).cast(nw.Int64),
        __due=(nw.col("__start") + day).cast(nw.Int64),
        __state=state.cast(nw.Int64),
        __out=before,
    )
