"""A cohort to compare: episodes from one declared day on, what was known then, and what followed."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import narwhals as nw
import numpy as np

from collectlab.core.columns import day_number, day_of, flag, number_to_date, whole_money, whole_sum
from collectlab.core.engine import collect, materialise, same_engine
from collectlab.core.errors import FrameError, NotAvailable, first_few
from collectlab.measures.cure import midway

if TYPE_CHECKING:
    from collectlab.book.open import Book

#: Days before day 0 in which what an account paid, and what was done to it, is known before any choice.
BEFORE = 90


def cohort(
    book: Book,
    episodes: Any = None,
    *,
    time_zero: str | int = "first_seen",
    horizons: Sequence[int] = (60, 90),
    definition: str = "current_once",
    period: tuple[dt.date, dt.date] | None = None,
    first_only: bool = True,
) -> nw.LazyFrame:
    """One row per account that was past due at its time zero, with what was known then and what followed.

    Whatever is compared among these rows starts at one and the same day for all, so that no time before a
    treatment can be credited to it. Only episodes seen from their first day are eligible; an episode that was
    first seen after its time zero is not, since it is known only because it lasted.

    Parameters
    ----------
    book : Book
        ``payments``, ``actions``, ``complaints`` and ``assignments`` are used where they are there.
    episodes : frame, optional
        As :meth:`Book.episodes` gives them; default: those of ``definition``.
    time_zero : "first_seen" or int
        The first snapshot that shows the episode past due; or that many days past due.
    horizons : sequence of int
        Whole days after time zero.
    definition : str
        What cured means.
    period : (date, date), optional
        First and last day on which time zero may lie.
    first_only : bool
        Each account's first eligible episode only, so that rows are accounts; else every eligible episode.

    Returns
    -------
    narwhals.LazyFrame
        account_id, customer_id, episode, started_on, ``time_zero`` (date), ``days_past_due`` (at time zero),
        ``amount_past_due`` (when first seen past due), ``prior_episodes``, ``paid_before_90`` and
        ``actions_before_90`` (money paid and actions in the 90 days before day 0; missing where the book
        begins later), ``strategy, assigned_on, randomised`` (in force at time zero; missing where there is none, or
        two of that day contradict each other), ``followed`` (days from time zero to the book's last),
        ``end_day`` and ``outcome`` (days from time zero to the end; dated midway between the snapshots around
        it), and for each horizon h ``cured_within_h`` (0/1; missing where the account was not followed to day h),
        ``paid_within_h`` (0/1), ``amount_within_h``, ``cost_within_h``, ``net_within_h`` (amount − cost) and
        ``complaints_within_h``, counted after time zero up to and including day h; then the account's columns.

    Raises
    ------
    FrameError
        ``time_zero`` or ``horizons`` are no whole days.
    NotAvailable
        No episode is eligible.

    Examples
    --------
    >>> import pandas as pd
    >>> from collectlab.book.open import open_book
    >>> book = open_book({
    ...     "accounts": pd.DataFrame({"account_id": ["a"]}),
    ...     "snapshots": pd.DataFrame({"account_id": "a", "days_past_due": [0, 20, 0, 0],
    ...                                "as_of": ["2026-01-31", "2026-02-28", "2026-03-31", "2026-04-30"]}),
    ...     "payments": pd.DataFrame({"account_id": ["a"], "paid_on": ["2026-03-10"], "amount": [50.0]})})
    >>> rows = cohort(book, horizons=[30]).collect("pandas").to_native()
    >>> rows[["days_past_due", "end_day", "outcome", "cured_within_30", "amount_within_30"]].values.tolist()
    [[20, 16, 'cured', 1, 50.0]]
    """
    days = sorted(set(horizons))
    if not days or any(not isinstance(h, (int, np.integer)) or isinstance(h, bool) or h < 1 for h in days):
        raise FrameError(f"horizons are {first_few(list(horizons)) or 'empty'}. Allowed: whole days ≥ 1.")
    fixed = isinstance(time_zero, (int, np.integer)) and not isinstance(time_zero, bool) and time_zero >= 0
    if time_zero != "first_seen" and not fixed:
        raise FrameError(
            f"time_zero is {time_zero!r}. Allowed: 'first_seen', or whole days past due, such as 30."
        )
    spells = midway(book.episodes(definition=definition) if episodes is None else episodes)
    zero = nw.col("first_seen_day") if time_zero == "first_seen" else nw.lit(int(time_zero), nw.Int64)
    spells = spells.with_columns(__zero=zero)
    # Last seen on that very day: still past due then, with nothing known of what followed.
    last_seen = (nw.col("outcome") == "censored") & (nw.col("exit_day") == nw.col("__zero"))
    spells = spells.filter(
        (nw.col("entry_day") == 0)
        & (nw.col("first_seen_day") <= nw.col("__zero"))
        & ((nw.col("exit_day") > nw.col("__zero")) | last_seen)
    )
    spells = spells.with_columns(__day=day_number("started_on") + nw.col("__zero"))
    if period is not None:
        first, last = (day_of(d) for d in period)
        spells = spells.filter((nw.col("__day") >= first) & (nw.col("__day") <= last))
    if first_only:
        spells = spells.filter(nw.col("episode") == nw.col("episode").min().over("account_id"))
    followed = nw.lit(day_of(book.as_of)) - nw.col("__day")
    frame = spells.with_columns(
        time_zero=number_to_date(nw.col("__day")),
        days_past_due=nw.col("__zero"),
        prior_episodes=nw.col("episode") - 1,
        followed=followed,
        end_day=nw.col("exit_day") - nw.col("__zero"),
    ).rename({"amount_at_entry": "amount_past_due"})
    frame = materialise(_with_strategy(book, frame))
    if not int(collect(frame.select(n=nw.len()))["n"].iloc[0]):
        raise NotAvailable("no episode was seen from its first day and still past due at time zero.")
    cured, end = nw.col("outcome") == "cured", nw.col("end_day")
    known = {h: (followed >= h) & ((nw.col("outcome") != "censored") | (end >= h)) for h in days}
    told = {f"cured_within_{h}": nw.when(known[h]).then(flag(cured & (end <= h))) for h in days}
    result = frame.with_columns(**told)
    for table, date, value, names in (
        ("payments", "paid_on", "amount", ("amount", "paid_before")),
        ("actions", "at", "cost", ("cost", "")),
        ("actions", "at", None, ("", "actions_before")),
        ("complaints", "at", None, ("complaints", "")),
    ):
        if book.has(table) and (value is None or value in book.columns(table)):
            result = _with_sums(book, result, frame, table, date, value, names, days, followed)
    have = result.collect_schema().names()
    if "amount_within_" + str(days[0]) in have:
        amount = {h: nw.col(f"amount_within_{h}") for h in days}
        result = result.with_columns(
            **{f"paid_within_{h}": nw.when(~amount[h].is_null()).then(flag(amount[h] > 0)) for h in days}
        )
        if "cost_within_" + str(days[0]) in have:
            result = result.with_columns(
                **{f"net_within_{h}": amount[h] - nw.col(f"cost_within_{h}") for h in days}
            )
    gone = [
        "__zero",
        "__day",
        "entry_day",
        "first_seen_day",
        "seen_day",
        "exit_day",
        "ended_on",
        "definition",
    ]
    have = result.collect_schema().names()
    return materialise(result.drop([c for c in (*gone, "max_days_past_due", "observed_day") if c in have]))


def _with_strategy(book: Book, frame: nw.LazyFrame) -> nw.LazyFrame:
    """The assignment in force at time zero; what the accounts table calls so gives way to it."""
    if not book.has("assignments"):
        return frame
    columns = ["strategy", *(c for c in ("randomised",) if c in book.columns("assignments"))]
    taken = [c for c in (*columns, "assigned_on") if c in frame.collect_schema().names()]
    frame, given = same_engine(frame.drop(taken), book.table("assignments"))
    given = given.select("account_id", *columns, __given=day_number("assigned_on"))
    key = ["account_id", "episode"]
    known = frame.select(*key, "__day").join(given, on="account_id", how="inner")
    known = known.filter(nw.col("__given") <= nw.col("__day"))
    known = known.filter(nw.col("__given") == nw.col("__given").max().over(*key))
    known = known.group_by(*key, "__given").agg(
        *(nw.col(c).min() for c in columns), __other=nw.col("strategy").max()
    )
    known = known.filter(nw.col("strategy") == nw.col("__other"))
    known = known.select(*key, *columns, assigned_on=number_to_date(nw.col("__given")))
    return frame.join(known, on=key, how="left")


def _with_sums(
    book: Book,
    result: nw.LazyFrame,
    cohort: nw.LazyFrame,
    table: str,
    date: str,
    value: str | None,
    names: tuple[str, str],
    days: Sequence[int],
    followed: nw.Expr,
) -> nw.LazyFrame:
    """Sums of a table's events after time zero by horizon, and in the days before day 0."""
    after, before = names
    cents = nw.lit(100, nw.Int64) if value is None else whole_money(value)
    rows, events = same_engine(
        cohort.select("account_id", "episode", "__day", "__zero"),
        book.table(table).select("account_id", __on=day_number(date), __cents=cents),
    )
    both = rows.join(events, on="account_id", how="inner").with_columns(
        __since=nw.col("__on") - nw.col("__day"), __of=nw.col("__on") - nw.col("__day") + nw.col("__zero")
    )
    windows = {
        f"{after}_within_{h}": (nw.col("__since") > 0) & (nw.col("__since") <= h) for h in days if after
    }
    if before:
        windows[f"{before}_{BEFORE}"] = (nw.col("__of") < 0) & (nw.col("__of") >= -BEFORE)
    sums = both.group_by("account_id", "episode").agg(
        **{
            name: whole_sum(nw.when(inside).then(nw.col("__cents")).otherwise(nw.lit(0, nw.Int64)))
            for name, inside in windows.items()
        }
    )
    whole = value is None
    joined = result.join(sums, on=["account_id", "episode"], how="left")
    start = collect(book.table("snapshots").select(first=day_number("as_of").min()))["first"].iloc[0]
    seen = {f"{after}_within_{h}": followed >= h for h in days if after}
    seen[f"{before}_{BEFORE}"] = nw.col("__day") - nw.col("__zero") - BEFORE >= int(start)

    def written(name: str) -> nw.Expr:
        number = nw.col(name).fill_null(0)
        return nw.when(seen[name]).then(number // 100 if whole else number.cast(nw.Float64) / 100)

    return joined.with_columns(**{name: written(name) for name in windows})
