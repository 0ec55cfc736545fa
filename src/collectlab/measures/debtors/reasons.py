"""Cure by reason of delinquency: those who cannot pay against those who will not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import narwhals as nw
import numpy as np

from collectlab.core import engine
from collectlab.core.columns import day_number, day_of, flag, row_count
from collectlab.core.engine import same_engine
from collectlab.core.errors import FrameError, NotAvailable
from collectlab.core.jackknife import INTERVAL
from collectlab.measures.actions_rows import Period, rows, within
from collectlab.measures.ratios import Given, Measures, Ratio, count, measured

#: What each reason says of the debtor; a reason that stands nowhere here is shown under its own name.
REASON_GROUPS: Mapping[str, str] = {
    "income_loss": "ability",
    "illness": "ability",
    "unwilling": "willingness",
    "dispute": "dispute or bank",
    "product_terms": "dispute or bank",
    "bank_error": "dispute or bank",
    "forgot": "forgot",
}


def noted_episodes(book: Any, definition: str, period: Period) -> nw.LazyFrame:
    """Episodes with the first reason noted in them, followed up after a cure.

    __account, __start, __on (day of the note), __exit (days from the note to the end), outcome, reason, __rep,
    __again (days from the end to the next episode), __seen (days from the end to the last snapshot), __gone.
    """
    from collectlab.measures.cure_after import followed_up

    noted, _ = rows(book, "reasons", "noted_on", None, None)
    spells = followed_up(book.episodes(definition=definition), book).select(
        "outcome", __account=nw.col("account_id"), __start=day_number("started_on"),
        __first=nw.col("entry_day").cast(nw.Int64), __length=nw.col("exit_day").cast(nw.Int64),
        __again=nw.col("_to_next"), __seen=nw.col("_to_last"), __gone=nw.col("_to_leaving"),
    )  # fmt: skip
    spells = engine.computed(within(spells, "__start", period))
    spells, noted = same_engine(spells, noted.select("__account", "__on", "__rep", "reason"))
    day = nw.col("__on") - nw.col("__start")
    return engine.computed(
        spells.join(noted, on="__account", how="inner")
        .filter((day >= nw.col("__first")) & (day < nw.col("__length")) & ~nw.col("reason").is_null())
        .unique(subset=["__account", "__start"], keep="first", order_by=["__on", "reason"])
        .with_columns(__exit=nw.col("__length") - day)
    )


def grouped(groups: Mapping[str, str]) -> nw.Expr:
    """``reason`` as its group; others under their own name."""
    group = nw.col("reason").cast(nw.String)
    for reason, name in groups.items():
        group = nw.when(nw.col("reason") == reason).then(nw.lit(name)).otherwise(group)
    return group


def cure_by_reason(
    book: Any,
    *,
    by: str = "group",
    definition: str = "current_once",
    horizon: int = 90,
    stay: int = 180,
    groups: Mapping[str, str] = REASON_GROUPS,
    period: Period = None,
    conf_level: float = 0.95,
) -> Measures:
    """Cure and sustained cure by the reason of delinquency, from the day on which the reason was noted.

    Per group of reasons (or per reason):

    * ``share`` — of the episodes with a reason noted (the first one in the episode);
    * ``cured_within_90_days`` of the note (Aalen–Johansen, other ends competing);
    * ``sustained`` — cured within that time and not past due again within ``stay`` days of the cure / episodes whose
      note lies at least ``horizon`` + ``stay`` days before the end of the book, and which were seen that long.

    The clock starts at the note because only those who stay overdue long enough are asked. Relief that makes an
    account current counts as a cure here: the sustained one is the safer figure. Reasons are what the debtor said
    or the collector took down; groups differ in much else, so that the difference is not what the reason does.

    Parameters
    ----------
    book : Book
        With reasons.
    by : {"group", "reason"}
        Rows.
    definition : str
        The named definition of cure.
    horizon, stay : int
        Whole days after the note, and after the cure.
    groups : mapping
        Reason → group (default :data:`REASON_GROUPS`: ability, willingness, dispute or bank, forgot).
    period : (date, date), optional
        First and last day of day 0 of the episodes; None is the whole book.
    conf_level : float
        Level of the intervals.

    Returns
    -------
    Measures
        With ``episodes`` and ``followed`` (those that ``sustained`` is of).

    Raises
    ------
    NotAvailable
        No reasons in the book or period.
    FrameError
        ``by``, ``horizon`` or ``stay`` that are none.

    Examples
    --------
    >>> import pandas as pd
    >>> from collectlab.book.open import open_book
    >>> book = open_book({
    ...     "accounts": pd.DataFrame({"account_id": ["a"]}),
    ...     "snapshots": pd.DataFrame({"account_id": ["a"] * 5, "days_past_due": [0, 11, 0, 0, 0],
    ...         "as_of": ["2025-12-31", "2026-01-31", "2026-02-28", "2026-06-30", "2026-12-31"]}),
    ...     "reasons": pd.DataFrame({"account_id": ["a"], "noted_on": ["2026-01-25"], "reason": ["forgot"]})})
    >>> cure_by_reason(book).wide().values.tolist()
    [['forgot', 1, 1, 1.0, 1.0, 1.0]]
    """
    from collectlab.measures.cure import cure_rate

    if by not in ("group", "reason"):
        raise FrameError(f"by is {by!r}. Allowed: 'group', 'reason'.")
    if not isinstance(horizon, int) or not isinstance(stay, int) or horizon < 1 or stay < 1:
        raise FrameError(f"horizon is {horizon}, stay {stay}. Allowed: whole days ≥ 1.")
    noted = noted_episodes(book, definition, period)
    noted = noted.with_columns(__by0=grouped(groups) if by == "group" else nw.col("reason").cast(nw.String))
    last = day_of(book.as_of)
    cured = (nw.col("outcome") == "cured") & (nw.col("__exit") <= horizon)
    again = (nw.col("__again") <= stay).fill_null(False)
    gone = (nw.col("__gone") <= stay).fill_null(False)
    known = again | gone | (nw.col("__seen") >= stay) | ~nw.col("__again").is_null()
    failed = ~cured & ~((nw.col("outcome") == "censored") & (nw.col("__exit") < horizon))
    judged = (nw.col("__on") + horizon + stay <= last) & (failed | (cured & known))
    counts = count(
        noted,
        ["__by0"],
        {"episodes": nw.lit(1), "judged": flag(judged), "sustained": flag(judged & cured & ~again)},
    )
    if not len(counts.groups) or not counts["episodes"].sum():
        raise NotAvailable("no episode of this book or period has a reason noted.")
    rates = cure_rate(
        noted.select("__by0", "outcome", "__exit"), horizons=(horizon,), by="__by0", duration="__exit",
        entry=None, conf_level=conf_level,
    ).table  # fmt: skip
    rates = counts.groups.merge(rates, on="__by0", how="left")
    every = np.broadcast_to(counts["episodes"].sum(axis=1, keepdims=True), counts["episodes"].shape)
    spells = book.episodes(definition=definition).select(__start=day_number("started_on"))
    total = int(engine.collect(within(spells, "__start", period).select(n=row_count()))["n"].iloc[0])
    return measured(
        counts.groups.set_axis([by], axis=1), [by],
        {
            "share": Ratio(counts["episodes"], every),
            f"cured_within_{horizon}_days": Given([rates[name].to_numpy() for name in INTERVAL]),
            "sustained": Ratio(counts["sustained"], counts["judged"]),
        },
        {"episodes": counts.total("episodes"), "followed": counts.total("judged")},
        conf_level,
        estimand=f"Share of the episodes with a reason noted; of those, cured within {horizon} days of the note; cured so and "
        f"not past due again within {stay} days (of those followed for so long)",
        title="Reasons of delinquency, and who cures",
        shown=(f"cured_within_{horizon}_days", "sustained"),
        notes=(
            f"A reason was noted in {int(counts['episodes'].sum()):,} of {total:,} episodes, more often in long ones: "
            "quick cures are never asked, so these rates are lower than those of all episodes.",
            "Relief that makes an account current counts as a cure; sustained cure is the safer figure.",
        ),
    )  # fmt: skip
