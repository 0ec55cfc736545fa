"""Can the debtor be reached: right-party contacts, accounts reached, dead numbers, revisits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import narwhals as nw

from collectlab.core import engine
from collectlab.core.columns import day_of, flag
from collectlab.core.errors import FrameError, NotAvailable
from collectlab.measures.actions_rows import Period, need_rows, rows, shown, within
from collectlab.measures.costs_touch import contact_made
from collectlab.measures.groups import by_keys
from collectlab.measures.process._rows import spells, spoken, whole, within_spells
from collectlab.measures.ratios import Measures, Ratio, count, measured

#: Channels that try to speak to somebody.
IN_PERSON = ("call", "visit", "agency")


def contactability(
    book: Any,
    *,
    by: str | Sequence[str] | None = None,
    channels: Sequence[str] = ("call",),
    days: int = 30,
    period: Period = None,
    conf_level: float = 0.95,
) -> Measures:
    """How often an attempt reaches the debtor, how many accounts are reached, and how many numbers are dead.

    An attempt is an action of ``channels``; it is ``unknown`` if neither ``connected`` nor ``outcome`` tells what
    came of it, or if somebody was reached and the book does not tell whom.

    * ``right_party`` — attempts that reached the debtor in person / attempts whose result is known;
    * ``reached_in_<days>_days`` — accounts reached within ``days`` days of their first attempt in the period /
      accounts with a first attempt that many days before the end of the book;
    * ``dead_numbers`` — accounts of which a wrong number was told, and nobody was reached since / accounts tried;
    * ``tried_again`` — attempts on a later day than a wrong number was told, nobody reached in between /
      attempts: work that could not succeed.

    Grouped by what an attempt has (``team``, ``month``), an account counts in each group that tried it.

    Parameters
    ----------
    book : Book
        With actions.
    by : str or list of str, optional
        ``team`` (falls back on the agency), ``month``, or a column of actions or accounts such as ``branch``.
    channels : sequence of str
        What counts as an attempt.
    days : int
        Whole days after an account's first attempt.
    period : (date, date), optional
        First and last day of the attempts; None is the whole book.
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
    ...     "accounts": pd.DataFrame({"account_id": ["a", "b"]}),
    ...     "snapshots": pd.DataFrame({"account_id": ["a", "b"], "as_of": ["2026-02-28"] * 2, "days_past_due": [60, 60]}),
    ...     "actions": pd.DataFrame({"account_id": ["a", "b", "b"], "channel": ["call"] * 3,
    ...                              "at": ["2026-01-20 10:00", "2026-01-20 10:00", "2026-01-22 10:00"],
    ...                              "outcome": ["contact", "wrong_number", "no_answer"]})})
    >>> contactability(book).wide()[["attempts", "dead_numbers", "tried_again"]].round(2).values.tolist()
    [[3.0, 0.5, 0.33]]
    """
    whole("days", days, 1)
    frame, by = rows(book, "actions", "at", by, period)
    names = frame.collect_schema().names()
    if not {"connected", "outcome"} & set(names):
        raise NotAvailable("this book's actions have neither connected nor outcome.")
    frame = frame.filter(nw.col("channel").is_in(_listed(channels)))
    reached, wrong = spoken(names), nw.lit(False)
    told = nw.lit(False)
    for column in ("connected", "outcome"):
        told = told | ~nw.col(column).is_null() if column in names else told
    if "party" in names:
        told = told & ~((nw.col("party").is_null()) & contact_made(names))
    if "outcome" in names:
        wrong = (nw.col("outcome") == "wrong_number").fill_null(False)
    keys = by_keys(by, "__by")
    frame = frame.select(
        *keys, "__account", "__rep", "__on",
        __told=flag(told), __reached=flag(reached & told), __wrong=flag(wrong),
    )  # fmt: skip
    frame = engine.computed(frame)
    of_account = frame.group_by("__account").agg(
        __first=nw.col("__on").min(),
        __first_reached=nw.when(nw.col("__reached") == 1).then(nw.col("__on")).min(),
        __last_reached=nw.when(nw.col("__reached") == 1).then(nw.col("__on")).max(),
        __last_wrong=nw.when(nw.col("__wrong") == 1).then(nw.col("__on")).max(),
    )
    tried = frame.join(_wrong_so_far(frame), on=["__account", "__on"], how="left")
    attempts = count(
        tried,
        keys,
        {
            "attempts": nw.lit(1),
            "known": nw.col("__told"),
            "reached": nw.col("__reached"),
            "again": nw.col("__again").fill_null(0),
        },
    )
    need_rows(attempts, "attempts", f"attempts through {', '.join(channels)}")
    long_ago = nw.col("__first") <= day_of(book.as_of) - days
    dead = nw.col("__last_reached").is_null() | (nw.col("__last_wrong") > nw.col("__last_reached"))
    accounts = count(
        frame.select("__account", "__rep", *keys).unique(keep="any").join(of_account, on="__account", how="left"),
        keys,
        {
            "accounts": nw.lit(1),
            "judged": flag(long_ago),
            "reached": flag(long_ago & (nw.col("__first_reached") <= nw.col("__first") + days)),
            "dead": flag(dead & ~nw.col("__last_wrong").is_null()),
        },
        attempts.groups,
    )  # fmt: skip
    found = {
        "right_party": Ratio(attempts["reached"], attempts["known"]),
        f"reached_in_{days}_days": Ratio(accounts["reached"], accounts["judged"]),
    }
    if "outcome" in names:
        found["dead_numbers"] = Ratio(accounts["dead"], accounts["accounts"])
        found["tried_again"] = Ratio(attempts["again"], attempts["attempts"])
    total = attempts.total("attempts")
    return measured(
        shown(attempts, by), by, found,
        {"attempts": total, "unknown": total - attempts.total("known"), "accounts": accounts.total("accounts")},
        conf_level,
        estimand="Right party: attempts that reach the debtor, of those with a known result; of the accounts tried: reached "
        f"within {days} days of the first attempt, number dead; tried again: attempts made on dead numbers, of all",
        title="Can the debtor be reached",
        notes=(
            "Dead: a wrong number was told and nobody was reached since. Unknown: attempts without a noted result.",
        ),
        formats={"attempts": "count", "unknown": "count", "accounts": "count"},
    )  # fmt: skip


def _wrong_so_far(frame: nw.LazyFrame) -> nw.LazyFrame:
    """Account-days on which a wrong number had been told on an earlier day, and nobody reached since then."""
    days = frame.group_by("__account", "__on").agg(nw.col("__reached").max(), nw.col("__wrong").max())
    until = {"order_by": ["__on"]}
    state = nw.when(nw.col("__reached") == 1).then(nw.lit(0)).when(nw.col("__wrong") == 1).then(nw.lit(1))
    days = days.with_columns(__turn=flag(~state.is_null()), __state=state)
    days = days.with_columns(__block=nw.col("__turn").cum_sum().over("__account", **until))
    days = days.with_columns(
        # the block that a day with news opens is told only after that day
        __before=nw.col("__block") - nw.col("__turn")
    )
    news = days.filter(nw.col("__turn") == 1).select(
        "__account", __before=nw.col("__block"), __again=nw.col("__state")
    )
    return days.join(news, on=["__account", "__before"], how="inner").select("__account", "__on", "__again")


def revisits(
    book: Any,
    *,
    by: str | Sequence[str] | None = "team",
    days: int = 30,
    channel: str = "visit",
    definition: str = "current_once",
    period: Period = None,
    conf_level: float = 0.95,
) -> Measures:
    """Visits to overdue customers, and how many are visited again.

    * ``revisited`` — visits followed by another to the same account within ``days`` days / visits of episodes
      known to have lasted those days (``judged``);
    * ``contact`` — visits that met the debtor / visits whose result is known;
    * ``contact_at_revisit`` — the same of visits that came within ``days`` days of one before.

    Parameters
    ----------
    book : Book
        With actions.
    by : str or list of str, optional
        ``team`` (of the visit; falls back on the agency), ``month``, or a column of actions or accounts.
    days : int
        Whole days within which another visit is a revisit.
    channel : str
        What counts as a visit.
    definition : str
        The named definition of cure.
    period : (date, date), optional
        First and last day of the visits; None is the whole book.
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
    ...     "snapshots": pd.DataFrame({"account_id": ["a"] * 3, "as_of": ["2025-12-31", "2026-01-31", "2026-02-28"],
    ...                                "days_past_due": [0, 20, 48]}),
    ...     "actions": pd.DataFrame({"account_id": ["a", "a"], "at": ["2026-01-20 10:00", "2026-01-29 10:00"],
    ...                              "channel": ["visit", "visit"], "outcome": ["no_answer", "contact"]})})
    >>> revisits(book, by=None).wide()[["visits", "judged", "revisited", "contact_at_revisit"]].values.tolist()
    [[2.0, 2.0, 0.5, 1.0]]
    """
    whole("days", days, 1)
    frame, by = rows(book, "actions", "at", by, None)
    names = frame.collect_schema().names()
    keys = by_keys(by, "__by")
    known = nw.lit(False)
    for column in ("connected", "outcome"):
        known = known | ~nw.col(column).is_null() if column in names else known
    visits = frame.filter(nw.col("channel") == channel).with_columns(
        __known=flag(known), __met=flag(spoken(names))
    )
    visits = visits.group_by("__account", "__on", "__rep", *keys).agg(
        nw.col("__known").max(), nw.col("__met").max()
    )
    episodes, _ = spells(book, definition, None)
    visits = engine.computed(within_spells(episodes.drop("__rep", "__customer"), visits))
    one = ["__account", "__on"]
    other = visits.select("__account", __other=nw.col("__on")).unique(keep="any")
    near = visits.select(*one).unique(keep="any").join(other, on="__account", how="inner")
    gap = nw.col("__other") - nw.col("__on")
    near = near.group_by(*one).agg(
        __after=flag((gap > 0) & (gap <= days)).max(), __before=flag((gap < 0) & (gap >= -days)).max()
    )
    visits = visits.join(near, on=one, how="left")
    followed = nw.col("__seen") >= nw.col("__day") + days
    counts = count(
        within(visits, "__on", period),
        keys,
        {
            "visits": nw.lit(1),
            "judged": flag(followed),
            "revisited": flag(followed & (nw.col("__after") == 1)),
            "known": nw.col("__known"),
            "met": nw.col("__met"),
            "again_known": flag((nw.col("__before") == 1) & (nw.col("__known") == 1)),
            "again_met": flag((nw.col("__before") == 1) & (nw.col("__met") == 1)),
        },
    )
    need_rows(counts, "visits", "visits of accounts seen overdue")
    return measured(
        shown(counts, by), by,
        {
            "revisited": Ratio(counts["revisited"], counts["judged"]),
            "contact": Ratio(counts["met"], counts["known"]),
            "contact_at_revisit": Ratio(counts["again_met"], counts["again_known"]),
        },
        {"visits": counts.total("visits"), "judged": counts.total("judged")},
        conf_level,
        estimand=f"Share of visits followed by another within {days} days, of accounts still overdue then; visits that met the debtor",
        title="Visits and revisits",
        notes=("One visit an account, team and day.",),
    )  # fmt: skip


def _listed(channels: Sequence[str]) -> list[str]:
    if isinstance(channels, str) or not list(channels):
        raise FrameError(f"channels is {channels!r}. Allowed: a list of at least one channel.")
    return list(channels)
