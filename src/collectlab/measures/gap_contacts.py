"""The KPIs of the action log by cause: promises kept, complaints per 1,000 contacts, satisfaction."""

from __future__ import annotations

import datetime as dt
from typing import Any

import narwhals as nw

from collectlab.core import engine
from collectlab.core.columns import day_number, day_of, distinct, flag, whole_money, whole_sum
from collectlab.core.engine import same_engine
from collectlab.measures.actions_rows import days_of, need_column
from collectlab.measures.costs_touch import contact_made, last_touch
from collectlab.measures.flows import UNIT, as_money
from collectlab.measures.gap import Cells, counted, owned

Window = tuple[dt.date | str, dt.date | str]

#: An action older than this is not what a complaint or an answer is about.
WINDOW = 30
_OWN = ("team", "agency", "agent", "channel")
#: A team is compared with those that work by the same channel, an agent with those of the same team.
_NESTED = (("team", "channel"), ("agency", "channel"), ("agent", "team"))


def promises(book: Any, *, now: Window, share: float = 0.9, grace: int = 3) -> Cells:
    """Promises kept by cause: of those due, as :func:`collectlab.measures.actions.promises` judges them.

    Parameters
    ----------
    book : Book
        With actions and payments.
    now : (date, date)
        First and last day of the promises; those of the year before are "before".
    share, grace
        Share of the amount paid by so many days after the promised day.

    Returns
    -------
    Cells

    Examples
    --------
    >>> import pandas as pd
    >>> from collectlab.book.open import open_book
    >>> book = open_book({
    ...     "accounts": pd.DataFrame({"account_id": ["a"], "branch": ["North"]}),
    ...     "snapshots": pd.DataFrame({"account_id": ["a"], "as_of": ["2026-02-28"], "days_past_due": [5]}),
    ...     "payments": pd.DataFrame({"account_id": ["a"], "paid_on": ["2026-01-28"], "amount": [95.0]}),
    ...     "actions": pd.DataFrame({
    ...         "account_id": ["a", "a"], "at": ["2026-01-20 10:00", "2026-02-01 10:00"],
    ...         "channel": ["call", "call"], "outcome": ["promise", "promise"],
    ...         "promised_amount": [100.0, 100.0], "promised_on": ["2026-01-25", "2026-02-05"]})})
    >>> promises(book, now=("2026-01-01", "2026-02-28")).table[["n", "top"]].values.tolist()
    [[2.0, 1.0]]
    """
    frame = _acts(book, now)
    need_column(frame, "actions", "outcome", "promised_amount", "promised_on")
    own = [c for c in _OWN if c in frame.collect_schema().names()]
    given = frame.filter(nw.col("outcome") == "promise").select(
        "account_id",
        "period",
        *own,
        __account=nw.col("account_id"),
        __on=nw.col("__on"),
        __amount=whole_money("promised_amount", UNIT),
        __until=day_number("promised_on") + grace,
    )
    given = given.filter((nw.col("__amount") > 0) & (nw.col("__until") <= day_of(book.as_of)))
    given, money = same_engine(given, as_money(book.table("payments"), "paid_on", "amount"))
    one = ["__account", "__on", "__until", "__amount"]  # the same promise noted twice is one promise
    given = engine.computed(given.unique(subset=one, keep="first", order_by=own or one))
    paid = (
        given.select(*one)
        .join(money.rename({"__on": "__day", "__amount": "__paid"}), on="__account", how="inner")
        .filter((nw.col("__day") >= nw.col("__on")) & (nw.col("__day") <= nw.col("__until")))
        .group_by(*one)
        .agg(__paid=whole_sum("__paid"))
    )
    due = given.join(paid, on=one, how="left")
    enough = nw.col("__paid").fill_null(0).cast(nw.Float64) >= share * nw.col("__amount").cast(nw.Float64)
    due = due.with_columns(__top=flag(enough), __base=nw.lit(1))
    return counted(owned(book, due), extra=("channel",), nested=_NESTED, unit="promises")


def complaints(book: Any, *, now: Window) -> Cells:
    """Complaints per 1,000 contacts by cause.

    A complaint is laid to the last contact of the account within 30 days before it; the others count for
    nobody, and stand in the difference to the KPI.

    Parameters
    ----------
    book : Book
        With actions and complaints.
    now : (date, date)
        First and last day; the year before is "before".

    Returns
    -------
    Cells

    Examples
    --------
    >>> import pandas as pd
    >>> from collectlab.book.open import open_book
    >>> book = open_book({
    ...     "accounts": pd.DataFrame({"account_id": ["a", "b"]}),
    ...     "snapshots": pd.DataFrame({"account_id": ["a"], "as_of": ["2026-02-28"], "days_past_due": [5]}),
    ...     "actions": pd.DataFrame({"account_id": ["a", "a"], "at": ["2026-01-20 10:00", "2026-01-21 10:00"],
    ...                              "channel": ["call", "sms"]}),
    ...     "complaints": pd.DataFrame({"account_id": ["a"], "at": ["2026-01-22 10:00"]})})
    >>> complaints(book, now=("2026-01-01", "2026-01-31")).table[["channel", "top", "base"]].values.tolist()
    [['call', 0.0, 1.0], ['sms', 1000.0, 1.0]]
    """
    told = book.table("complaints")
    contacts = _acts(book, now)
    names = contacts.collect_schema().names()
    contacts = contacts.filter(contact_made(names))
    own = [c for c in ("team", "agency", "channel") if c in names]
    first, last = days_of(now)
    lodged = told.select(__account=nw.col("account_id"), __on=day_number("at"))
    lodged = lodged.filter((nw.col("__on") > first - 366) & (nw.col("__on") <= last))
    touches = contacts.select(*own, __account=nw.col("account_id"), __on=nw.col("__on"), __at=nw.col("at"))
    touches, lodged = same_engine(touches, lodged)
    touches = touches.join(distinct(lodged.select("__account")), on="__account", how="semi")
    lodged = last_touch(touches, lodged, own, WINDOW).filter(nw.col("__credited") == 1)
    lodged = lodged.select(
        *own,
        account_id=nw.col("__account"),
        period=_period(first),
        __top=nw.lit(1, nw.Int64),
        __base=nw.lit(0, nw.Int64),
    )
    made = contacts.select(
        *own, "account_id", "period", __top=nw.lit(0, nw.Int64), __base=nw.lit(1, nw.Int64)
    )
    made, lodged = same_engine(made, lodged)
    both = nw.concat([made.select(*lodged.collect_schema().names()), lodged])
    return counted(
        owned(book, both), extra=("channel",), nested=_NESTED, times=1000, unit="contacts", rare=True
    )


def satisfaction(book: Any, *, now: Window) -> Cells:
    """The mean survey score by cause; the team is that of the last action within 30 days before the answer.

    Parameters
    ----------
    book : Book
        With surveys; with actions, teams are told too.
    now : (date, date)
        First and last day of the answers; those of the year before are "before".

    Returns
    -------
    Cells

    Examples
    --------
    >>> import pandas as pd
    >>> from collectlab.book.open import open_book
    >>> book = open_book({
    ...     "accounts": pd.DataFrame({"account_id": ["a", "b"], "branch": ["North", "South"]}),
    ...     "snapshots": pd.DataFrame({"account_id": ["a"], "as_of": ["2026-02-28"], "days_past_due": [5]}),
    ...     "surveys": pd.DataFrame({"account_id": ["a", "b"], "at": ["2026-01-20", "2026-01-21"],
    ...                              "score": [50.0, 80.0]})})
    >>> satisfaction(book, now=("2026-01-01", "2026-01-31")).table[["branch", "top"]].values.tolist()
    [['North', 50.0], ['South', 80.0]]
    """
    first, last = days_of(now)
    frame = book.table("surveys")
    need_column(frame, "surveys", "score")
    frame = frame.select(
        __account=nw.col("account_id"), __on=day_number("at"), __score=whole_money("score", UNIT)
    ).filter((nw.col("__on") > first - 366) & (nw.col("__on") <= last) & ~nw.col("__score").is_null())
    own: list[str] = []
    if book.has("actions"):
        acts = _acts(book, now)
        own = [c for c in ("team", "agency", "channel") if c in acts.collect_schema().names()]
        if "team" in own:  # mass messages have a team too; only people can be met kindly or not
            acts = acts.filter(~nw.col("channel").is_in(["sms", "email"]).fill_null(False)) if (
                "channel" in acts.collect_schema().names()) else acts  # fmt: skip
        if own:
            touches = acts.select(
                *own, __account=nw.col("account_id"), __on=nw.col("__on"), __at=nw.col("at")
            )
            touches, frame = same_engine(touches, frame)
            frame = last_touch(touches, frame, own, WINDOW)
            near = nw.col("__credited") == 1
            frame = frame.with_columns(**{c: nw.when(near).then(nw.col(c)) for c in own})
    rows = frame.select(
        *own,
        account_id=nw.col("__account"),
        period=_period(first),
        __top=nw.col("__score"),
        __base=nw.lit(UNIT, nw.Int64),
    )
    return counted(owned(book, rows), extra=("channel",), nested=_NESTED, parts=UNIT, unit="answers")


def _period(first: int) -> nw.Expr:
    return nw.when(nw.col("__on") >= first).then(nw.lit("now")).otherwise(nw.lit("before"))


def _acts(book: Any, now: Window) -> nw.LazyFrame:
    """Actions of the window and of the year before it, with their day and period."""
    first, last = days_of(now)
    acts = book.table("actions")
    engine.require(acts, "account_id", "at")
    names = acts.collect_schema().names()
    text = {c: nw.col(c).cast(nw.String) for c in _OWN if c in names}
    acts = acts.with_columns(__on=day_number("at"), **text)
    acts = acts.filter((nw.col("__on") > first - 366) & (nw.col("__on") <= last))
    return acts.with_columns(period=_period(first))
