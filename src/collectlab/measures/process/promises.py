"""Promises that were broken, and whether anybody followed them up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import narwhals as nw

from collectlab.core import engine
from collectlab.core.columns import as_list, day_number, day_of, flag, whole_money, whole_sum
from collectlab.core.errors import FrameError, NotAvailable
from collectlab.measures.actions_rows import Period, need_column, need_rows, rows, shown, within
from collectlab.measures.flows import UNIT, as_money
from collectlab.measures.groups import by_keys
from collectlab.measures.process._rows import log, spells, whole, within_spells
from collectlab.measures.ratios import Measures, Ratio, count, measured


def promise_follow_up(
    book: Any,
    *,
    by: str | Sequence[str] | None = "team",
    days: int = 3,
    share: float = 0.9,
    grace: int = 3,
    definition: str = "current_once",
    period: Period = None,
    conf_level: float = 0.95,
) -> Measures:
    """Of the promises broken, the share followed by an action within ``days`` days.

    A promise is broken on the day after its ``grace`` if less than ``share`` of its amount was paid from the
    day it was given (as in :func:`collectlab.measures.actions.promises`). Judged are those broken in an
    episode that is known to have lasted ``days`` days more. Any action of any team on that day or the ``days`` after it
    follows it up; ``by_a_person`` leaves out messages.

    Per group: ``broken`` (judged), ``not_known`` (the account may have cured, or the book ended, before), and the
    shares ``followed_up`` and ``by_a_person``.

    Parameters
    ----------
    book : Book
        With actions (outcome, promised_amount, promised_on) and payments.
    by : str or list of str, optional
        ``team`` (that took the promise; falls back on the agency), ``month`` (of the promise), or a column of
        actions or accounts.
    days : int
        Whole days after the promise broke.
    share, grace
        When a promise counts as kept, see above.
    definition : str
        The named definition of cure.
    period : (date, date), optional
        First and last day on which promises broke; None is the whole book.
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
    ...     "payments": pd.DataFrame({"account_id": ["a"], "paid_on": ["2026-01-05"], "amount": [95.0]}),
    ...     "actions": pd.DataFrame({
    ...         "account_id": ["a", "a"], "at": ["2026-01-23 10:00", "2026-02-02 10:00"], "team": ["T1", "T1"],
    ...         "channel": ["call", "call"], "outcome": ["promise", "no_answer"],
    ...         "promised_amount": [100.0, None], "promised_on": ["2026-01-27", None]})})
    >>> promise_follow_up(book).wide()[["team", "broken", "followed_up"]].values.tolist()
    [['T1', 1, 1.0]]
    """
    whole("days", days, 1)
    by = as_list(by)
    lost = broken(book, by, share=share, grace=grace)
    acts, _ = log(book)
    episodes, _ = spells(book, definition, None)
    lost = within_spells(episodes.drop("__rep", "__customer"), within(lost, "__on", period))
    lost, acts = engine.same_engine(engine.computed(lost), acts)
    one = ["__account", "__start", "__on", "__number"]
    acts = acts.select(
        "__account", __then=nw.col("__on"), __person=flag(~nw.col("__channel").is_in(["sms", "email"]))
    )
    after = (
        lost.select(*one)
        .join(acts, on="__account", how="inner")
        .filter((nw.col("__then") >= nw.col("__on")) & (nw.col("__then") <= nw.col("__on") + days))
        .group_by(*one)
        .agg(__any=nw.len(), __person=nw.col("__person").max())
    )
    found = lost.join(after, on=one, how="left")
    known = nw.col("__seen") >= nw.col("__day") + days
    counts = count(
        found,
        by_keys(by, "__by"),
        {
            "broken": flag(known),
            "not_known": flag(~known),
            "followed": flag(known & (nw.col("__any") > 0)),
            "person": flag(known & (nw.col("__person") == 1)),
        },
    )
    need_rows(counts, "broken", "broken promises that can be judged")
    return measured(
        shown(counts, by), by,
        {
            "followed_up": Ratio(counts["followed"], counts["broken"]),
            "by_a_person": Ratio(counts["person"], counts["broken"]),
        },
        {"broken": counts.total("broken"), "not_known": counts.total("not_known")},
        conf_level,
        estimand=f"Share of broken promises followed by an action within {days} days, of accounts still overdue then",
        title="Broken promises followed up",
        notes=("Not known: whether the account was still overdue at the end of those days.",),
    )  # fmt: skip


def broken(book: Any, by: Sequence[str], *, share: float = 0.9, grace: int = 3) -> nw.LazyFrame:
    """Promises that broke by the end of the book: ``__account, __on`` (the day it broke), ``__number``, ``__rep``, by."""
    if not 0 < share <= 1 or grace < 0:
        raise FrameError(f"share is {share}, grace {grace}. Allowed: 0 < share ≤ 1 and days of grace ≥ 0.")
    frame, by = rows(book, "actions", "at", by, None)
    need_column(frame, "actions", "outcome", "promised_amount", "promised_on")
    if not book.has("payments"):
        raise NotAvailable("this book has no payments, so whether a promise was kept cannot be told.")
    given = frame.filter(nw.col("outcome") == "promise").select(
        *by_keys(by, "__by"),
        "__account",
        "__rep",
        __given=nw.col("__on"),
        __amount=whole_money("promised_amount", UNIT),
        __until=day_number("promised_on") + grace,
    )
    given = given.filter((nw.col("__amount") > 0) & (nw.col("__until") < day_of(book.as_of)))
    one = ["__account", "__given", "__until", "__amount"]  # the same promise noted twice is one promise
    given, money = engine.same_engine(given, as_money(book.table("payments"), "paid_on", "amount"))
    given = given.unique(subset=one, keep="first", order_by=by_keys(by, "__by") or ["__rep"])
    paid = (
        given.select(*one)
        .join(money.rename({"__on": "__day", "__amount": "__paid"}), on="__account", how="inner")
        .filter((nw.col("__day") >= nw.col("__given")) & (nw.col("__day") <= nw.col("__until")))
        .group_by(*one)
        .agg(__paid=whole_sum("__paid"))
    )
    lost = given.join(paid, on=one, how="left").filter(
        nw.col("__paid").fill_null(0).cast(nw.Float64) < share * nw.col("__amount").cast(nw.Float64)
    )
    lost = lost.with_columns(
        __on=nw.col("__until") + 1, __number=nw.col("__given") * 100_000 + nw.col("__until")
    )
    return engine.computed(lost.drop("__given", "__until", "__amount", "__paid"))
