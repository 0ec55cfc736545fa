"""People in hardship who go on being pressed as everybody else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import narwhals as nw

from collectlab.core import engine
from collectlab.core.columns import day_of, flag, row_count
from collectlab.core.engine import same_engine
from collectlab.core.errors import FrameError, NotAvailable
from collectlab.measures.actions_rows import Period, need_column, rows, shown
from collectlab.measures.groups import by_keys
from collectlab.measures.ratios import Measures, Ratio, count, measured
from collectlab.measures.relief.cases import HARDSHIP_REASONS, hardship_cases

#: Channels by which a person is pressed to pay; a message or a letter is no call.
PRESSURE = ("call", "visit", "legal", "agency")
#: What the example strategy allows while hardship is noted.
ALLOWED = ("call", "letter")


def hardship_pressed(
    book: Any,
    *,
    by: str | Sequence[str] | None = None,
    period: Period = None,
    days: int = 60,
    per_week: int = 2,
    channels: Sequence[str] = ALLOWED,
    pressure: Sequence[str] = PRESSURE,
    reasons: Sequence[str] | None = None,
    definition: str = "current_once",
    conf_level: float = 0.95,
) -> Measures:
    """Hardship cases that went on being pressed in the days after hardship was noted.

    For each episode with hardship noted, the actions of the ``days`` after the day of the note are looked at:

    * ``too_often`` — cases with more than ``per_week`` actions of ``pressure`` in some 7 consecutive days / cases;
    * ``other_channel`` — cases with any action of ``pressure`` that is not among ``channels`` / cases;
    * ``pressed`` — cases with either / cases;
    * ``pressure_per_week`` — actions of ``pressure`` per case and week.

    The note itself and what was done on its day do not count: the call on which hardship was told is no mistake.
    Cases noted less than ``days`` before the end of the book are not counted. By ``team``, a case is that of the
    team in charge at the note (its last call, visit or agency's action up to then), and only that team's own
    actions afterwards count, so that nobody answers for what others did.

    Parameters
    ----------
    book : Book
        With actions.
    by : str or list of str, optional
        ``team``, ``month`` (of the note), ``age_band``, or a column of accounts.
    period : (date, date), optional
        First and last day of the note; None is the whole book.
    days : int
        Days after the note.
    per_week : int
        Actions of ``pressure`` allowed in any 7 consecutive days.
    channels : sequence of str
        What the strategy allows while hardship is noted (strategy.yml, ``hardship``).
    pressure : sequence of str
        Channels that count as pressure.
    reasons : sequence of str, optional
        Reasons that note hardship besides the outcome ``hardship``. Default none, unless actions tell no outcomes: a
        reason taken down may be wrong, but who was told of hardship on a call knows of it.
    definition : str
        The named definition of cure, for the ends of the episodes.
    conf_level : float
        Level of the intervals.

    Returns
    -------
    Measures

    Raises
    ------
    NotAvailable
        No actions, no hardship noted, or no case followed for so long.
    FrameError
        ``days`` or ``per_week`` that are none.

    Examples
    --------
    >>> import pandas as pd
    >>> from collectlab.book.open import open_book
    >>> book = open_book({
    ...     "accounts": pd.DataFrame({"account_id": ["a"]}),
    ...     "snapshots": pd.DataFrame({"account_id": ["a"] * 5, "days_past_due": [0, 20, 50, 80, 110],
    ...         "as_of": ["2026-01-31", "2026-02-28", "2026-03-31", "2026-04-30", "2026-05-31"]}),
    ...     "actions": pd.DataFrame({"account_id": ["a"] * 3, "channel": ["call"] * 3,
    ...         "at": ["2026-03-02 10:00", "2026-03-04 10:00", "2026-03-06 10:00"],
    ...         "outcome": ["hardship", "no_answer", "refusal"]})})
    >>> hardship_pressed(book, per_week=1).wide()[["cases", "too_often", "other_channel"]].values.tolist()
    [[1.0, 1.0, 0.0]]
    """
    if not isinstance(days, int) or days < 1 or not isinstance(per_week, int) or per_week < 0:
        raise FrameError(f"days is {days}, per_week {per_week}. Allowed: whole days ≥ 1, whole actions ≥ 0.")
    if reasons is None:
        said = book.has("actions") and "outcome" in book.columns("actions")
        reasons = () if said else HARDSHIP_REASONS
    cases, by, notes = hardship_cases(book, by=by, period=period, reasons=reasons, definition=definition)
    last = day_of(book.as_of)
    every = engine.collect(cases.select(n=row_count()))["n"].iloc[0]
    cases = cases.filter(nw.col("__on") + days <= last)
    acts, _ = rows(book, "actions", "at", "team" if "team" in by else None)
    need_column(acts, "actions", "channel")
    own = f"__by{by.index('team')}" if "team" in by else None
    acts = acts.filter(nw.col("channel").is_in(list(pressure))).select(
        "__account", "channel", "at", __day=nw.col("__on"), **({"__team": nw.col("__by0")} if own else {})
    )
    cases, acts = same_engine(cases, acts)
    after = (
        cases.select("__account", "__on", *([own] if own else []))
        .join(acts, on="__account", how="inner")
        .filter((nw.col("__day") > nw.col("__on")) & (nw.col("__day") <= nw.col("__on") + days))
    )
    if own:
        after = after.filter(nw.col(own) == nw.col("__team"))
    # More than k in some 7 days: an action whose k-th predecessor lies less than 7 days back.
    back = nw.col("__day").shift(per_week).over("__account", "__on", order_by=["__day", "at", "channel"])
    after = engine.computed(after).with_columns(
        __often=flag(nw.col("__day") - back < 7), __other=flag(~nw.col("channel").is_in(list(channels)))
    )
    sums = after.group_by("__account", "__on").agg(
        __n=row_count(), __often=nw.col("__often").max(), __other=nw.col("__other").max()
    )
    cases = engine.computed(cases.join(sums, on=["__account", "__on"], how="left"))
    often, other = (nw.col(c).fill_null(0) for c in ("__often", "__other"))
    keys = by_keys(by, "__by")
    counts = count(
        cases,
        keys,
        {
            "cases": nw.lit(1),
            "too_often": often,
            "other_channel": other,
            "pressed": nw.max_horizontal(often, other),
            "actions": nw.col("__n").fill_null(0),
        },
    )
    total = int(counts["cases"].sum())
    if not total:
        raise NotAvailable(f"none of {every:,} hardship cases could be followed for {days:,} days.")
    if every > total:
        notes += (
            f"{every - total:,} cases were noted less than {days:,} days before the book ends: not counted.",
        )
    if own:
        notes += ("A case is that of the team in charge at the note; only its own actions afterwards count.",)
    return measured(
        shown(counts, by),
        by,
        {
            "pressed": Ratio(counts["pressed"], counts["cases"]),
            "too_often": Ratio(counts["too_often"], counts["cases"]),
            "other_channel": Ratio(counts["other_channel"], counts["cases"]),
            "pressure_per_week": Ratio(counts["actions"], counts["cases"], "rate", "number", 7 / days),
        },
        {"cases": counts.total("cases"), "mistreated": counts.total("pressed")},
        conf_level,
        estimand=(
            f"Of the episodes with hardship noted, in the {days} days after the note: more than {per_week} personal "
            f"contacts ({', '.join(pressure)}) in some 7 days (too often); one by a channel that the strategy does not "
            f"allow then (allowed: {', '.join(channels)}); pressed: either"
        ),
        title="Hardship noted, and pressed all the same",
        shown=("too_often", "other_channel"),
        notes=notes,
    )
