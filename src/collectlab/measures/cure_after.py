"""What becomes of a cure: re-default after it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import narwhals as nw

from collectlab.book.episodes import OUTCOMES
from collectlab.book.open import Book
from collectlab.core.columns import as_list, day_number, free_name
from collectlab.core.engine import require, scan
from collectlab.measures.cure_rates import CureRates, listed, rates_within, whole_horizons
from collectlab.measures.survival_counting import NothingToCount, count_cells


def redefault(
    book_or_episodes: Any,
    *,
    horizons: Sequence[int] = (90, 180),
    by: str | Sequence[str] | None = None,
    definition: str = "current_once",
    conf_level: float = 0.95,
    cluster: str | None = None,
) -> CureRates:
    """P(a new episode begins within h days of the cure), among cured episodes.

    Days count from the cure (``exit_day`` of the cured episode) to day 0 of the account's next episode, and
    end without one at the account's last snapshot (censored). Where a book is given and its snapshots hold
    ``status``, an account that leaves (closed, settled, sold, charged off) cannot re-default any more: leaving
    competes. From a frame of episodes that cannot be known; such accounts count as censored when last seen,
    that is, as if they were like those that stayed.

    Parameters
    ----------
    book_or_episodes : Book or frame
        A book, or episodes as :func:`collectlab.book.episodes.episodes` returns them (account_id, episode,
        exit_day, observed_day, outcome): all of an account's episodes.
    horizons : sequence of int
        h, whole days ≥ 1.
    by : str or sequence of str, optional
        Columns of the cured episode.
    definition : str
        What cured means, where a book is given.
    conf_level, cluster
        As in :func:`cure_rate`.

    Returns
    -------
    CureRates
        ``table``: [by…], horizon, at_risk (cures followed up), events (re-defaults within h), estimate,
        std_error, conf_low, conf_high.

    Raises
    ------
    FrameError
        As :func:`cure_rate`; also if no episode was cured.

    Notes
    -----
    Censoring is taken as independent of the time from cure to re-default, given ``by``. Cures of long
    episodes are followed for less time; if they re-default at another pace, group ``by`` what drives that.

    Examples
    --------
    >>> import pandas as pd
    >>> episodes = pd.DataFrame({
    ...     "account_id": [1, 1, 2, 3],
    ...     "episode": [1, 2, 1, 1],
    ...     "exit_day": [20, 10, 30, 15],
    ...     "observed_day": [300, 200, 300, 300],
    ...     "outcome": ["cured", "censored", "cured", "cured"],
    ... })
    >>> redefault(episodes).table[["horizon", "at_risk", "events", "estimate"]].round(3).values.tolist()
    [[90.0, 3.0, 1.0, 0.333], [180.0, 3.0, 1.0, 0.333]]
    """
    horizons = whole_horizons(horizons)
    lazy = followed_up(_episodes(book_or_episodes, definition), book_or_episodes)
    return redefaulted(lazy, horizons, by, conf_level, cluster, isinstance(book_or_episodes, Book))


def _episodes(book_or_episodes: Any, definition: str) -> nw.LazyFrame:
    if isinstance(book_or_episodes, Book):
        return book_or_episodes.episodes(definition=definition)
    return scan(book_or_episodes)


def followed_up(episodes: nw.LazyFrame, book: Any) -> nw.LazyFrame:
    """Episodes with days from their end to the last snapshot, to leaving the book, and to the next episode."""
    require(episodes, "account_id", "episode", "exit_day", "observed_day", "outcome")
    day = {c: nw.col(c).cast(nw.Int64) for c in ("observed_day", "exit_day")}
    following = day["observed_day"].shift(-1).over("account_id", order_by="episode")
    out = episodes.with_columns(
        _to_last=day["observed_day"] - day["exit_day"],
        _to_next=day["observed_day"] - day["exit_day"] - following,
    )
    if not isinstance(book, Book) or "status" not in book.columns("snapshots"):
        return out.with_columns(_to_leaving=nw.lit(None, dtype=nw.Int64))
    left = nw.col("status").is_in(["closed", *OUTCOMES[1:4]])
    seen = book.table("snapshots").select("account_id", "status", _day=day_number("as_of"))
    last = seen.group_by("account_id").agg(_last=nw.col("_day").max())
    first = seen.filter(left).group_by("account_id").agg(_left=nw.col("_day").min())
    gone = first.join(last, on="account_id", how="inner").select(
        "account_id", _since=nw.col("_last") - nw.col("_left")
    )
    out = out.join(gone, on="account_id", how="left")
    to_leaving = nw.col("_to_last") - nw.col("_since").cast(nw.Int64)
    return out.with_columns(_to_leaving=nw.when(to_leaving >= 0).then(to_leaving)).drop("_since")


def redefaulted(
    followed: nw.LazyFrame,
    horizons: Sequence[int],
    by: Any,
    conf_level: float,
    cluster: str | None,
    leaving: bool,
) -> CureRates:
    cured = followed.filter(nw.col("outcome") == "cured")
    names = cured.collect_schema().names()
    days, then = free_name("_days", names), free_name("_then", names)
    again, gone = ~nw.col("_to_next").is_null(), ~nw.col("_to_leaving").is_null()
    cured = cured.with_columns(
        nw.when(again)
        .then(nw.col("_to_next"))
        .otherwise(nw.coalesce(nw.col("_to_leaving"), nw.col("_to_last")))
        .alias(days),
        nw.when(again)
        .then(nw.lit("re-defaulted"))
        .otherwise(nw.when(gone).then(nw.lit("left")).otherwise(nw.lit("censored")))
        .alias(then),
    )
    by = as_list(by)
    require(cured, *by, *([cluster] if cluster else []))
    cured = cured.select(*dict.fromkeys([*by, *([cluster] if cluster else []), days, then]))
    try:
        cells = count_cells(cured, duration=days, outcome=then, by=by, cluster=cluster)
    except NothingToCount as error:
        raise NothingToCount("no episode was cured. Allowed: at least one cure to follow up.") from error
    # All are watched from the start, so an exit and its entry stand in the same place of both tables.
    later = (cells.day > 0) | (cells.outcome != len(cells.outcomes) - 1)
    seen = cells.pick(later, later)
    lost = int(cells.n.sum() - seen.n.sum())
    if not len(seen.n):
        raise NothingToCount(
            "no episode is followed up after its cure. Allowed: at least one later snapshot."
        )
    notes = [f"{lost:,} of {int(cells.n.sum()):,} cures have no later snapshot."] if lost else []
    if not leaving:
        notes.append("Accounts that left after their cure count as last seen then: episodes do not tell.")
    rates = rates_within(
        seen.with_notes(*notes),
        ("re-defaulted",),
        horizons,
        0,
        conf_level,
        cluster,
        estimand="P(new episode within h days of the cure | cured)"
        + (", leaving the book competing" if leaving else ""),
        title=f"Re-defaulted within {listed(horizons)} days of cure",
    )
    return CureRates(**{**rates.__dict__, "table": rates.table.drop(columns="from_day")})
