"""Episodes: one row per spell of delinquency, the unit of analysis. Written once, in Narwhals.

A spell is found as an island of snapshots between two *breaks* (a cure, or a terminal status). Two passes
over the accounts that were ever delinquent do it, the second over the delinquent rows alone; a definition
with a probation needs two more. Dates are whole days since 1900 inside, because engines agree on
whole numbers and not on intervals.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any

import narwhals as nw

from collectlab.book.episodes_definitions import (
    DEFINITIONS,
    Definition,
    definition_named,
    load_definitions,
)
from collectlab.book.episodes_spells import DELINQUENT, OUTCOMES, spells_of
from collectlab.core.columns import number_to_date
from collectlab.core.errors import ParamsError

__all__ = [
    "DEFINITIONS",
    "OUTCOMES",
    "Definition",
    "bucket_entries",
    "bucket_labels",
    "definition_named",
    "episodes",
    "load_definitions",
    "seen_again",
]


def bucket_labels(buckets: Sequence[int], zero: str = "current") -> dict[int, str]:
    """Lower bound → label: ``(0, 1, 30)`` gives ``{0: "current", 1: "1–29", 30: "30+"}``.

    Raises
    ------
    ParamsError
        If the bounds are not whole days ≥ 0 in rising order.
    """
    bounds = list(buckets)
    whole = all(isinstance(b, int) and not isinstance(b, bool) and b >= 0 for b in bounds)
    if not bounds or not whole or bounds != sorted(set(bounds)):
        raise ParamsError(
            f"buckets are {tuple(bounds)}. Allowed: rising whole days ≥ 0, such as (1, 30, 60, 90)."
        )
    labels = {}
    for low, following in zip(bounds, [*bounds[1:], None]):
        if low == 0 and following == 1:
            labels[low] = zero
        elif following is None:
            labels[low] = f"{low}+"
        else:
            labels[low] = f"{low}" if following == low + 1 else f"{low}–{following - 1}"
    return labels


def episodes(
    snapshots: Any,
    accounts: Any = None,
    *,
    definition: str | Definition = "current_once",
    as_of: dt.date | str | None = None,
    definitions: Mapping[str, Definition] | None = None,
    observe: str = "every",
) -> nw.LazyFrame:
    r"""One row per spell of delinquency, lazily, in no particular row order.

    Day 0 is the due date that was missed: ``as_of − days_past_due`` of the first snapshot seen
    delinquent, so that a spell's day count *is* its days past due; but never before the previous snapshot,
    if that was seen current (a jump of the counter cannot reach back beyond it). A snapshot is delinquent
    when its status is open (or not given) and ``days_past_due`` is at least the definition's
    ``entry_dpd``; a ``closed`` account counts as current.

    Parameters
    ----------
    snapshots : frame
        ``account_id, as_of, days_past_due`` and, where there, ``balance, amount_past_due, status,
        forborne``; one row per account and date. Rows without days past due while open are not used.
    accounts : frame, optional
        One row per ``account_id``; its columns become covariates, and ``originated_on`` tells the
        accounts that were new from those that were already delinquent when first seen.
    definition : str or Definition
        What "cured" means: a name in ``definitions``.
    as_of : date, optional
        Use only snapshots up to this date.
    definitions : mapping, optional
        Name → :class:`Definition`; default the built-in ones (see :func:`load_definitions`).
    observe : {"every", "month_end"}
        ``month_end`` keeps each account's last snapshot of a calendar month, so that daily and monthly
        snapshots of the same accounts give the same episodes.

    Returns
    -------
    narwhals.LazyFrame
        ``account_id``; ``customer_id`` (the account where the book has none); ``episode`` (1, 2, …);
        ``started_on`` (day 0); then whole days since day 0: ``entry_day`` (0 if the account was under
        observation at day 0: an earlier snapshot, or originated since the book's previous snapshot date;
        otherwise the day it was first seen: left truncation), ``first_seen_day`` (of the first snapshot
        seen delinquent), ``seen_day`` (last snapshot before the end: the outcome came in
        ``(seen_day, exit_day]``; equals ``exit_day`` if censored), ``exit_day``, ``observed_day`` (the
        account's last snapshot: follow-up for money after the exit); ``outcome`` (cured, charged_off,
        settled, sold, censored); ``ended_on`` (date of ``exit_day``; for a censored spell the day it was
        last seen); ``amount_at_entry`` (amount past due when first seen, else balance, else null),
        ``balance_at_entry``, ``max_days_past_due``, ``definition``, ``months_on_book`` (whole months from
        origination to day 0, if known), and the columns of ``accounts`` (suffixed ``_account`` if the
        name is taken).

    Raises
    ------
    FrameError
        A column is missing, is no date or number, a status is unknown, or an account stands twice in
        ``accounts``.
    ParamsError
        Unknown definition or option.

    Notes
    -----
    ``exit_day > entry_day`` but for one case: an account first seen delinquent on its last snapshot is
    kept as censored with ``exit_day == entry_day``. It holds no information on durations; estimators drop
    and count it. A terminal status that follows a current snapshot directly makes no spell: it was never
    seen delinquent. A spell that begins and ends between two snapshots is never seen either; to allow for
    that (length-biased sampling) use ``first_seen_day`` as the entry time instead of ``entry_day``.

    Examples
    --------
    >>> import pandas as pd
    >>> snapshots = pd.DataFrame({
    ...     "account_id": ["a"] * 4,
    ...     "as_of": pd.to_datetime(["2024-01-31", "2024-02-29", "2024-03-31", "2024-04-30"]).date,
    ...     "days_past_due": [0, 10, 41, 0],
    ... })
    >>> spell = episodes(snapshots).collect("pandas").to_native().iloc[0]
    >>> f"{spell.started_on:%Y-%m-%d}: {spell.outcome} in ({spell.seen_day}, {spell.exit_day}]"
    '2024-02-19: cured in (41, 71]'
    """
    _, spells, held = spells_of(snapshots, accounts, definition, as_of, definitions, observe)
    return spells.select(
        "account_id",
        held.customer.alias("customer_id"),
        "episode",
        number_to_date(nw.col("started_number")).alias("started_on"),
        *_days_since("started_number", first_seen="first_number"),
        "outcome",
        number_to_date(nw.col("exit_number")).alias("ended_on"),
        "amount_at_entry",
        "balance_at_entry",
        "max_days_past_due",
        "definition",
        *held.columns(),
    )


def seen_again(episodes: nw.LazyFrame) -> nw.LazyFrame:
    """Episodes without those first seen by the last snapshot, of which nothing was seen since.

    One that began as late and ended sooner is not in the book at all, so they would only make the newest
    episodes look slow until the next snapshot.
    """
    return episodes.filter(
        (nw.col("outcome") != "censored") | (nw.col("exit_day") > nw.col("first_seen_day"))
    )


def _days_since(day_0: str, first_seen: str) -> list[nw.Expr]:
    columns = {
        "entry_day": "entry_number",
        "first_seen_day": first_seen,
        "seen_day": "seen_number",
        "exit_day": "exit_number",
        "observed_day": "last_number",
    }
    return [(nw.col(c) - nw.col(day_0)).cast(nw.Int64).alias(name) for name, c in columns.items()]


def bucket_entries(
    snapshots: Any,
    accounts: Any = None,
    *,
    definition: str | Definition = "current_once",
    buckets: Sequence[int] = (1, 30, 60, 90),
    as_of: dt.date | str | None = None,
    definitions: Mapping[str, Definition] | None = None,
    observe: str = "every",
) -> nw.LazyFrame:
    """One row per spell × bucket of days past due it reached, timed from the day it reached the bucket.

    A spell reaches bucket ``b`` at its first snapshot with ``days_past_due ≥ b``; ``reached_on`` is that
    date less ``days_past_due − b``, but after the previous snapshot, which was not yet there. Skipped
    buckets count as reached. Spells are those of :func:`episodes` with the same arguments.

    Parameters
    ----------
    buckets : sequence of int
        Rising lower bounds in days past due, each ≥ 1.

    Returns
    -------
    narwhals.LazyFrame
        ``account_id, customer_id, episode, bucket`` (such as ``30–59``), ``bucket_from, reached_on``; whole
        days since ``reached_on``: ``entry_day`` (> 0 where the account was first seen deeper: left
        truncation), ``first_seen_day, seen_day, exit_day, observed_day``; ``outcome, ended_on``,
        ``amount_at_entry`` and ``balance_at_entry`` (at the first snapshot in the bucket or beyond),
        ``definition`` and the covariates of :func:`episodes`. A spell may leave a bucket and stay open:
        the exit is the spell's, not the bucket's.

    Examples
    --------
    >>> import pandas as pd
    >>> snapshots = pd.DataFrame({
    ...     "account_id": ["a"] * 4,
    ...     "as_of": pd.to_datetime(["2024-01-31", "2024-02-29", "2024-03-31", "2024-04-30"]).date,
    ...     "days_past_due": [0, 10, 41, 0],
    ... })
    >>> reached = bucket_entries(snapshots).collect("pandas").to_native().sort_values("bucket_from")
    >>> reached[["bucket", "entry_day", "exit_day", "outcome"]].values.tolist()
    [['1–29', 0, 70, 'cured'], ['30–59', 0, 41, 'cured']]
    """
    labels = bucket_labels(buckets)
    if min(labels) < 1:
        raise ParamsError(
            "buckets start at 0. Allowed here: whole days ≥ 1; an account enters a bucket past due."
        )
    rows, spells, held = spells_of(snapshots, accounts, definition, as_of, definitions, observe)
    names = {low: f"reached_{low}" for low in labels}
    wide = (
        rows.filter(nw.col("state") == DELINQUENT)
        .with_columns(
            *(nw.when(nw.col("dpd") >= low).then(nw.col("day")).alias(name) for low, name in names.items())
        )
        .group_by("account_id", "episode")
        .agg(*(nw.col(name).min() for name in names.values()))
    )
    first_days = nw.concat(
        [
            wide.filter(~nw.col(name).is_null()).select(
                "account_id", "episode", nw.col(name).alias("day"), nw.lit(low).cast(nw.Int64).alias("low")
            )
            for low, name in names.items()
        ]
    )
    here = rows.select("account_id", "day", "dpd", "previous_day", "amount", "balance")
    entered = first_days.join(here, on=["account_id", "day"], how="inner").join(
        spells.drop("amount_at_entry", "balance_at_entry"), on=["account_id", "episode"], how="inner"
    )
    low, day = nw.col("low"), nw.col("day")
    # The spell's first snapshot is the one that may lack a predecessor; later ones always have one.
    unseen = (day == nw.col("first_number")) & (nw.col("entry_number") > nw.col("started_number"))
    entered = (
        entered.with_columns(
            nw.max_horizontal(
                day - (nw.col("dpd") - low), nw.col("previous_day") + 1, nw.col("started_number") + 1
            )
            .cast(nw.Int64)
            .alias("reached_number")
        )
        .with_columns(nw.when(unseen).then(day).otherwise(nw.col("reached_number")).alias("entry_number"))
        .with_columns(
            nw.max_horizontal(nw.col("seen_number"), nw.col("reached_number")).alias("seen_number"),
        )
    )
    label = nw.lit(labels[max(labels)])
    for bound, text in labels.items():
        label = nw.when(low == bound).then(nw.lit(text)).otherwise(label)
    return entered.select(
        "account_id",
        held.customer.alias("customer_id"),
        "episode",
        label.alias("bucket"),
        low.alias("bucket_from"),
        number_to_date(nw.col("reached_number")).alias("reached_on"),
        *_days_since("reached_number", first_seen="day"),
        "outcome",
        number_to_date(nw.col("exit_number")).alias("ended_on"),
        nw.coalesce("amount", "balance").alias("amount_at_entry"),
        nw.col("balance").alias("balance_at_entry"),
        "definition",
        *held.columns(),
    )
