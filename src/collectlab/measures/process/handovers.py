"""Handovers between teams and agencies within an episode."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import narwhals as nw

from collectlab.core import engine
from collectlab.core.columns import flag, whole_sum
from collectlab.core.errors import NotAvailable
from collectlab.measures.actions_rows import Period, need_rows, shown, within
from collectlab.measures.groups import by_keys
from collectlab.measures.process._rows import log, spells, within_spells
from collectlab.measures.process.contactability import _listed
from collectlab.measures.ratios import Measures, Ratio, count, measured

#: Work that somebody does on one account; mass mailings are no change of hands.
BY_HAND = ("call", "visit", "agency", "legal")


def handovers(
    book: Any,
    *,
    by: str | Sequence[str] | None = None,
    channels: Sequence[str] = BY_HAND,
    definition: str = "current_once",
    period: Period = None,
    conf_level: float = 0.95,
) -> Measures:
    """How often an episode changes hands between teams and agencies.

    A handover is an action by another team (or agency) than the episode's action before it. Per group:
    ``episodes`` with an action by a known team, ``handovers``, and

    * ``per_episode`` — handovers / episodes;
    * ``three_or_more`` — share of episodes with three or more;
    * ``back_again`` — share of episodes that went from one team to another and straight back (A → B → A);
    * ``gap_days`` — mean days between the last action before a handover and the first after it.

    Long episodes change hands more often: this counts work, and says nothing on whether handing over helps.

    Parameters
    ----------
    book : Book
        With actions that name a team or an agency.
    by : str or list of str, optional
        Columns of accounts, such as ``branch``.
    channels : sequence of str
        Whose actions count; messages are left out by default.
    definition : str
        The named definition of cure.
    period : (date, date), optional
        First and last day of the episodes' day 0; None is the whole book.
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
    ...     "actions": pd.DataFrame({"account_id": ["a"] * 3, "channel": ["call"] * 3, "team": ["T1", "T2", "T1"],
    ...                              "at": ["2026-01-22 10:00", "2026-01-26 10:00", "2026-02-01 10:00"]})})
    >>> handovers(book).wide().values.tolist()
    [[1.0, 2.0, 2.0, 0.0, 1.0, 5.0]]
    """
    acts, names = log(book)
    if not {"team", "agency"} & set(names):
        raise NotAvailable("this book's actions have no team or agency.")
    episodes, by = spells(book, definition, by)
    keys = by_keys(by, "__by")
    acts = acts.filter(nw.col("__channel").is_in(_listed(channels)) & ~nw.col("__team").is_null())
    inside = within_spells(
        within(episodes, "__start", period), acts.select("__account", "__on", "__at", "__team")
    )
    moves = changes(inside.select("__account", "__start", "__rep", *keys, "__at", "__day", "__team"))
    each = moves.group_by("__account", "__start", "__rep", *keys).agg(
        __n=whole_sum(flag(nw.col("__moved"))),
        __back=flag(nw.col("__moved") & (nw.col("__team") == nw.col("__before_last"))).max(),
        __gap=whole_sum(nw.when(nw.col("__moved")).then(nw.col("__gap"))),
    )
    counts = count(
        each,
        keys,
        {
            "episodes": nw.lit(1),
            "handovers": nw.col("__n"),
            "many": flag(nw.col("__n") >= 3),
            "back": nw.col("__back"),
            "gap": nw.col("__gap"),
        },
    )
    need_rows(counts, "episodes", "episodes with an action by a known team")
    return measured(
        shown(counts, by), by,
        {
            "per_episode": Ratio(counts["handovers"], counts["episodes"], "mean", "number"),
            "three_or_more": Ratio(counts["many"], counts["episodes"]),
            "back_again": Ratio(counts["back"], counts["episodes"]),
            "gap_days": Ratio(counts["gap"], counts["handovers"], "mean", "days"),
        },
        {"episodes": counts.total("episodes"), "handovers": counts.total("handovers")},
        conf_level,
        estimand="Changes of team or agency within an episode; episodes with three or more, and there and back; mean days in between",
        title="Handovers between teams and agencies",
        notes=("Long episodes change hands more often; nothing is said on whether handing over helps.",),
        formats={"episodes": "count", "handovers": "count"},
    )  # fmt: skip


def changes(inside: nw.LazyFrame, what: str = "__team") -> nw.LazyFrame:
    """Actions in order with ``__moved`` (another ``what`` than before), ``__gap`` days, ``__before``, ``__before_last``.

    ``__before_last`` is what stood before the run of equal ones that ends here.
    """
    spell, order = ["__account", "__start"], ["__at", what]
    found = inside.with_columns(
        __before=nw.col(what).shift(1).over(*spell, order_by=order),
        __gap=nw.col("__day") - nw.col("__day").shift(1).over(*spell, order_by=order),
    )
    moved = (nw.col(what) != nw.col("__before")).fill_null(False)
    found = found.with_columns(__moved=moved)
    turns = found.filter(nw.col("__moved")).with_columns(
        __before_last=nw.col("__before").shift(1).over(*spell, order_by=order)
    )
    stays = found.filter(~nw.col("__moved")).with_columns(__before_last=nw.lit(None, nw.String))
    return engine.computed(nw.concat([turns, stays]))
