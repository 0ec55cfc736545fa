"""Pressure on those who told of hardship: how often they are still called, by who works them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import narwhals as nw
import numpy as np

from collectlab.core import engine
from collectlab.core.columns import day_number, row_count
from collectlab.core.engine import same_engine
from collectlab.core.errors import FrameError, NotAvailable
from collectlab.core.jackknife import check_level
from collectlab.measures.actions_rows import Period
from collectlab.measures.groups import named
from collectlab.measures.intensity_days import (
    met,
    overdue_spans,
    owned,
    plain_actions,
    stage_frame,
    weekly_pieces,
)
from collectlab.measures.ratios import Measures, Ratio, count, measured

#: How hardship comes to be known: told in a conversation, noted as a reason, or shown by a snapshot.
NOTED = ("told", "reason", "forborne")
_WORDS = {
    "told": "told in a conversation",
    "reason": "noted as a reason (income loss, illness)",
    "forborne": "forborne",
}
#: Reasons noted that count as hardship.
REASONS = ("income_loss", "illness")
#: What is done to a person by a person.
PERSONAL = ("call", "visit", "agency")


def hardship_pressure(
    book: Any,
    *,
    by: str = "team",
    period: Period = None,
    days: int = 60,
    noted: Sequence[str] = NOTED,
    conf_level: float = 0.95,
) -> Measures:
    """Personal contacts per account-week overdue of accounts with hardship noted, by team.

    Hardship is noted on an account from the day after it is told in a conversation (outcome ``hardship``), after a
    reason of income loss or illness is noted, or while a snapshot shows it forborne, and for ``days`` days. Calls,
    visits and agency contacts count, answered or not. An account belongs to the team (or agency) that made most of
    its personal contacts; accounts without any are left out.

    * ``per_week`` — 7 · personal contacts / days overdue with hardship noted;
    * ``per_week_else`` — the same teams' rate on their other days overdue.

    Parameters
    ----------
    book : Book
        With actions.
    by : str
        ``team``, or a column of ``accounts``.
    period : (date, date), optional
        First and last day; None is the whole book.
    days : int
        How long hardship counts as noted.
    noted : sequence of str
        Which notes count: ``told``, ``reason``, ``forborne``.
    conf_level : float

    Returns
    -------
    Measures
        [by], measure, accounts (with hardship noted), account_weeks, contacts, estimate and interval.

    Raises
    ------
    NotAvailable
        No actions, no team in them, or no hardship noted on a day overdue.

    Examples
    --------
    Hardship was told on 2 March; in the next two weeks there were two calls more.

    >>> import pandas as pd
    >>> from collectlab.book.open import open_book
    >>> book = open_book({
    ...     "accounts": pd.DataFrame({"account_id": ["a"]}),
    ...     "snapshots": pd.DataFrame({"account_id": ["a"] * 2, "days_past_due": [1, 17],
    ...                                "as_of": ["2026-02-28", "2026-03-16"]}),
    ...     "actions": pd.DataFrame({"account_id": ["a"] * 3, "channel": ["call"] * 3, "team": ["T1"] * 3,
    ...                              "outcome": ["hardship", "no_answer", "contact"],
    ...                              "at": ["2026-03-02 10:00", "2026-03-05 10:00", "2026-03-12 10:00"]})})
    >>> hardship_pressure(book).wide()[["team", "account_weeks", "contacts", "per_week"]].values.tolist()
    [['T1', 2, 2, 1.0]]
    """
    check_level(conf_level)
    if isinstance(days, bool) or not isinstance(days, int) or days < 1:
        raise FrameError(f"days is {days!r}. Allowed: whole days ≥ 1.")
    if isinstance(noted, str) or not noted or set(noted) - set(NOTED):
        raise FrameError(f"noted is {noted!r}. Allowed: some of {', '.join(NOTED)}.")
    actions = engine.computed(plain_actions(book))
    teams = by == "team" and "team" not in book.columns("accounts")
    if teams and not {"team", "agency"} & set(book.columns("actions")):
        raise NotAvailable("this book's actions name no team.")
    personal = actions.filter(nw.col("__channel").is_in(PERSONAL))
    every = stage_frame((1,))
    spans = overdue_spans(book, period)
    if "forborne" not in noted:
        spans = spans.with_columns(__forborne=nw.lit(0).cast(nw.Int64))
    pieces = weekly_pieces(spans, every)
    pieces, _ = owned(pieces, book, [] if teams else [by])
    if teams:
        pieces, of = same_engine(pieces, _main_team(personal))
        pieces = pieces.join(of, on="__account", how="inner")
    pieces = engine.computed(pieces)
    key = "__by0"
    told = engine.computed(_noted(book, actions, noted))
    pieces = engine.computed(_split(pieces, told, days))
    done = engine.computed(met(pieces, personal.select("__account", "__on")))
    length = nw.col("__last") - nw.col("__first") + 1
    time = count(pieces, [key], {"days": length * nw.col("__hard"), "else": length * (1 - nw.col("__hard"))})
    contacts = count(done, [key], {"in": nw.col("__hard"), "else": 1 - nw.col("__hard")}, time.groups)
    if time.groups.empty or not time["days"].sum():
        raise NotAvailable("no hardship is noted on a day overdue of this period.")
    hard = pieces.filter(nw.col("__hard") == 1).group_by("__account", key).agg(n=row_count())
    reached = engine.collect(hard.group_by(key).agg(n=row_count()))
    accounts = time.groups.merge(reached, on=key, how="left")["n"].fillna(0).to_numpy()
    return measured(
        named(time.groups, [by]),
        [by],
        {
            "per_week": Ratio(contacts["in"], time["days"], "rate", "ratio", 7.0),
            "per_week_else": Ratio(contacts["else"], time["else"], "rate", "ratio", 7.0),
        },
        {
            "accounts": accounts,
            "account_weeks": np.rint(time["days"].sum(axis=0) / 7),
            "contacts": contacts.total("in"),
        },
        conf_level,
        estimand=(
            "Calls, visits and agency contacts per week overdue of an account with hardship noted in the last "
            f"{days} days, and of the others"
        ),
        title="Personal contacts on accounts with hardship noted",
        notes=(
            f"Hardship: {' or '.join(_WORDS[n] for n in NOTED if n in noted)}.",
            *(["An account belongs to the team that made most of its personal contacts."] if teams else []),
        ),
        formats={"accounts": "count", "account_weeks": "count", "contacts": "count"},
    )


def _main_team(personal: nw.LazyFrame) -> nw.LazyFrame:
    """The team that made most of an account's personal contacts; of several, the first by name."""
    made = personal.filter(~nw.col("__team").is_null())
    made = made.group_by("__account", "__team").agg(__n=row_count())
    made = made.filter(nw.col("__n") == nw.col("__n").max().over("__account"))
    return made.group_by("__account").agg(__by0=nw.col("__team").min())


def _noted(book: Any, actions: nw.LazyFrame, noted: Sequence[str]) -> nw.LazyFrame:
    """Days on which hardship was told: ``__account, __told``."""
    said = actions.filter((nw.col("__outcome") == "hardship") & nw.lit("told" in noted))
    parts = [said.select("__account", __told=nw.col("__on"))]
    if book.has("reasons") and "reason" in noted:
        why = book.table("reasons").filter(nw.col("reason").cast(nw.String).is_in(REASONS))
        parts.append(why.select(__account=nw.col("account_id"), __told=day_number("noted_on")))
    first, *rest = same_engine(*parts)
    return nw.concat([first, *rest]).unique()


def _split(pieces: nw.LazyFrame, told: nw.LazyFrame, days: int) -> nw.LazyFrame:
    """Pieces cut where hardship is noted or has lapsed, with ``__hard``."""
    # One row per piece × the last note before its end: within a week, so cut at most once at each end.
    pieces, told = same_engine(pieces, told)
    near = pieces.select("__account", "__first", "__last").join(told, on="__account", how="inner")
    near = near.filter((nw.col("__told") < nw.col("__last")) & (nw.col("__told") + days >= nw.col("__first")))
    near = near.group_by("__account", "__first").agg(
        __from=nw.col("__told").min(), __to=nw.col("__told").max()
    )
    pieces, near = same_engine(pieces, near)
    pieces = pieces.join(near, on=["__account", "__first"], how="left")
    first, last = nw.col("__first"), nw.col("__last")
    always = nw.col("__forborne") == 1
    from_ = nw.when(always).then(first).otherwise(nw.max_horizontal(first, nw.col("__from") + 1))
    to = nw.when(always).then(last).otherwise(nw.min_horizontal(last, nw.col("__to") + days))
    hard = always | ~nw.col("__from").is_null()
    pieces = pieces.with_columns(__a=nw.when(hard).then(from_), __b=nw.when(hard).then(to))
    names = [c for c in pieces.collect_schema().names() if c not in ("__a", "__b", "__from", "__to")]
    inside = pieces.filter(hard).with_columns(__first=nw.col("__a"), __last=nw.col("__b"))
    before = pieces.with_columns(__last=nw.when(hard).then(nw.col("__a") - 1).otherwise(last))
    after = pieces.filter(hard).with_columns(__first=nw.col("__b") + 1)
    parts = [
        part.select(*names, __hard=nw.lit(value).cast(nw.Int64))
        for part, value in ((inside, 1), (before, 0), (after, 0))
    ]
    return nw.concat(parts).filter(nw.col("__first") <= nw.col("__last"))
