"""How long the bank takes to answer what happens: a promise broken, a stage entered, hardship noted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import narwhals as nw
import numpy as np
import pandas as pd

from collectlab.core import engine
from collectlab.core.columns import as_list, day_number, flag, row_count
from collectlab.core.errors import FrameError, NotAvailable
from collectlab.core.jackknife import INTERVAL
from collectlab.measures.actions_rows import Period, within
from collectlab.measures.groups import by_keys, groups_of
from collectlab.measures.process._rows import log, log_begins, spells, within_spells
from collectlab.measures.process.promises import broken
from collectlab.measures.ratios import Measures, given, measured
from collectlab.measures.survival import cumulative_incidence

_SPELL = ("__account", "__start")


def response_times(
    book: Any,
    *,
    stages: Mapping[int, Sequence[str]] | Sequence[int] = (30, 60, 90),
    by: str | Sequence[str] | None = None,
    targets: Sequence[int] = (3, 7),
    definition: str = "current_once",
    period: Period = None,
    conf_level: float = 0.95,
) -> Measures:
    """How soon the bank answers: from an event to the action that should follow.

    Three kinds of clock, those of them that the book supports:

    * ``promise broken → next action`` — from the day after a promise's grace, any channel;
    * ``day <d> → stage action`` — from the episode's reaching ``d`` days past due to the first action, through one
      of the stage's channels where ``stages`` names them;
    * ``hardship noted → arrangement`` — from the first hardship noted in the episode to the first arrangement begun.

    Clocks that start before the first month of the log are left out. ``within <n> days`` is the cumulative incidence of the action (Aalen–Johansen), the end of the
    episode competing and the end of the book censoring; ``days until half`` the day by which half were answered
    (missing where fewer than half ever are). Time from default to first contact:
    :func:`collectlab.measures.actions.time_to_first_contact`.

    Parameters
    ----------
    book : Book
        With actions.
    stages : mapping or sequence of int
        Days past due at which a stage begins, with the channels that count as its action; a bare
        sequence counts any.
    by : str or list of str, optional
        Columns of accounts, such as ``branch``.
    targets : sequence of int
        Days within which the answer should come.
    definition : str
        The named definition of cure.
    period : (date, date), optional
        First and last day on which clocks start; None is the whole book.
    conf_level : float
        Level of the intervals.

    Returns
    -------
    Measures

    Examples
    --------
    >>> import pandas as pd
    >>> from collectlab.book.open import open_book
    >>> book = open_book({
    ...     "accounts": pd.DataFrame({"account_id": ["a"]}),
    ...     "snapshots": pd.DataFrame({"account_id": ["a"] * 3, "days_past_due": [0, 11, 39],
    ...                                "as_of": ["2025-12-31", "2026-01-31", "2026-02-28"]}),
    ...     "actions": pd.DataFrame({"account_id": ["a", "a"], "at": ["2026-02-20 10:00", "2026-02-24 10:00"],
    ...                              "channel": ["sms", "letter"]})})
    >>> response_times(book, stages={30: ["letter"]}).wide()[["clock", "started", "within 7 days"]].values.tolist()
    [['day 30 → stage action', 1, 1.0]]
    """
    days = sorted({d for d in targets})
    if not days or any(isinstance(d, bool) or not isinstance(d, int) or d < 0 for d in days):
        raise FrameError(f"targets are {list(targets)}. Allowed: at least one whole day ≥ 0.")
    entries = dict(stages) if isinstance(stages, Mapping) else dict.fromkeys(stages, ())
    if wrong := [d for d in entries if isinstance(d, bool) or not isinstance(d, int) or d < 1]:
        raise FrameError(f"stages begin at {wrong}. Allowed: whole days ≥ 1.")
    by = as_list(by)
    acts, names = log(book)
    episodes, by = spells(book, definition, by)
    begun = log_begins(acts)
    inside = within_spells(episodes, acts.select("__account", "__on", "__channel", *_pleads(names)))
    inside = engine.computed(inside)
    clocks: dict[str, nw.LazyFrame] = {}
    try:
        lost = within_spells(episodes, broken(book, []).select("__account", "__on"))
        clocks["promise broken → next action"] = _answered(lost, inside.select(*_SPELL, __then="__day"))
    except NotAvailable:
        pass
    for day, channels in sorted(entries.items()):
        reached = episodes.filter((nw.col("__entry") <= day) & (nw.col("__exit") > day))
        reached = reached.with_columns(__day=nw.lit(day).cast(nw.Int64), __on=nw.col("__start") + day)
        counted = inside.filter(nw.col("__channel").is_in(list(channels))) if channels else inside
        clocks[f"day {day} → stage action"] = _answered(reached, counted.select(*_SPELL, __then="__day"))
    if "outcome" in names and book.has("arrangements"):
        pleads = inside.filter(nw.col("__pleads") == 1).unique(
            subset=list(_SPELL), keep="first", order_by=["__day"]
        )
        plans = book.table("arrangements").select(
            __account=nw.col("account_id"), __on=day_number("started_on")
        )
        offered = within_spells(episodes.select(*_SPELL, "__exit"), plans)
        clocks["hardship noted → arrangement"] = _answered(pleads, offered.select(*_SPELL, __then="__day"))
    blocks, sizes, found = [], [], []
    for name, clock in clocks.items():
        cells = engine.collect(
            within(clock, "__on", period).filter(nw.col("__on") >= begun)
            .group_by(*by_keys(by, "__by"), "days", "end").agg(n=row_count())
        ).rename(columns=dict(zip(by_keys(by, "__by"), by_keys(by))))  # fmt: skip
        if cells.empty:
            continue
        shown, place = groups_of(cells, by, ("clock",))
        blocks.append(shown.assign(clock=name))
        for g in range(len(shown)):
            sizes.append(cells.loc[place == g, "n"].sum())
            found.append(_of_group(cells[place == g], days, conf_level))
    if not blocks:
        raise NotAvailable("nothing happened in this book or period that asks for an answer.")
    shown = pd.concat(blocks, ignore_index=True)
    shown = shown[["clock", *(c for c in shown.columns if c != "clock")]]
    shares = [f"within {d} days" for d in days]
    measures = {name: given([row[name] for row in found]) for name in shares}
    measures["days until half"] = given([row["days until half"] for row in found], "days")
    return measured(
        shown, list(shown.columns), measures, {"started": np.array(sizes)}, conf_level,
        estimand="Share of the events answered within so many days, an account that cured or left before counting as not "
        "answered; days until half were answered",
        title="How soon the bank answers",
        shown=tuple(shares),
        notes=("A clock runs from what is named before the arrow to the first of what is named after it.",),
    )  # fmt: skip


def _pleads(names: Sequence[str]) -> list[nw.Expr]:
    if "outcome" not in names:
        return []
    return [flag((nw.col("outcome") == "hardship").fill_null(False)).alias("__pleads")]


def _answered(begun: nw.LazyFrame, answers: nw.LazyFrame) -> nw.LazyFrame:
    """Each clock's ``days`` and ``end`` (reached, ended, censored) from ``__day`` to its first answer."""
    begun, answers = engine.same_engine(begun, answers)
    clock = [*_SPELL, "__day"]
    first = (
        begun.select(*clock).unique(subset=clock, keep="any")
        .join(answers, on=list(_SPELL), how="inner")
        .filter(nw.col("__then") >= nw.col("__day"))
        .group_by(*clock).agg(__then=nw.col("__then").min())
    )  # fmt: skip
    return begun.join(first, on=clock, how="left").with_columns(
        days=(nw.coalesce(nw.col("__then"), nw.col("__exit")) - nw.col("__day")).cast(nw.Int64),
        end=nw.when(~nw.col("__then").is_null()).then(nw.lit("reached"))
        .when(nw.col("__open")).then(nw.lit("censored")).otherwise(nw.lit("ended")),
    )  # fmt: skip


def _of_group(part: pd.DataFrame, days: list[int], conf_level: float) -> dict[str, dict[str, float]]:
    """Measure → estimate and interval."""
    missing = dict.fromkeys(INTERVAL, np.nan)
    if not (part["end"] == "reached").any():
        last = part["days"].max()
        shares = [{**missing, "estimate": 0.0 if d <= last else np.nan} for d in days]
        return {f"within {d} days": share for d, share in zip(days, shares)} | {"days until half": missing}
    curve = cumulative_incidence(
        part[["days", "end", "n"]], duration="days", outcome="end", weight="n", conf_level=conf_level
    )
    at = curve.at(days, beyond="nan")
    shares = at[at["outcome"] == "reached"][list(INTERVAL)].to_dict("records")
    steps = curve.table[curve.table["outcome"] == "reached"]
    # the interval is where the band crosses one half
    crossed = {
        "estimate": "estimate", "conf_low": "conf_high", "conf_high": "conf_low"
    }  # fmt: skip
    half = {to: steps.loc[steps[of] >= 0.5, "day"].min() for to, of in crossed.items()}
    if pd.isna(half["estimate"]):
        half = dict.fromkeys(half, np.nan)
    return {f"within {d} days": share for d, share in zip(days, shares)} | {"days until half": missing | half}
