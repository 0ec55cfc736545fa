"""What becomes of a cure: re-default after it, and the share of episodes cured for good."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import narwhals as nw
import numpy as np
import pandas as pd

from collectlab.book.episodes import OUTCOMES
from collectlab.book.open import Book
from collectlab.core.columns import as_list, day_number, free_name
from collectlab.core.engine import require, scan
from collectlab.core.errors import FrameError
from collectlab.core.jackknife import INTERVAL
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
    lazy = _followed(_episodes(book_or_episodes, definition), book_or_episodes)
    return _redefault(lazy, horizons, by, conf_level, cluster, isinstance(book_or_episodes, Book))


def definitions_compared(
    book: Any,
    *,
    horizon: int = 90,
    redefault_horizon: int = 180,
    definitions: Sequence[str] = ("current_once", "current_one_cycle", "eba_three_months"),
    conf_level: float = 0.95,
    cluster: str | None = None,
) -> CureRates:
    """The same accounts under several definitions of cure: cured, re-defaulted after it, cured for good.

    Three figures for each definition, with h = ``horizon`` and r = ``redefault_horizon``:

    - *cured*: P(cured within h days of day 0), as :func:`cure_rate`;
    - *re-defaulted*: P(new episode within r days of the cure | cured), as :func:`redefault`, over all cures;
    - *sustained*: P(cured within h days of day 0, and no new episode within r days of that cure).

    The last is estimated as one event among competing ones on one clock, days since day 0: the verdict
    "sustained" falls r days after the cure (or when a cured account leaves the book, if earlier); "not
    sustained" on the day of the re-default, of charge-off, settlement or sale, or on day h if not cured by
    then; an account last seen before its verdict is censored. Aalen–Johansen on that clock needs only that
    censoring does not depend on the verdict. The product cured × (1 − re-defaulted) would in addition need
    the time to re-default not to depend on the time to cure, and censoring after cure depends on the latter.

    Parameters
    ----------
    book : Book
    horizon, redefault_horizon : int
        h and r, whole days ≥ 1.
    definitions : sequence of str
        Names of definitions. A definition with a probation counts the cure from the end of the probation.
    conf_level, cluster
        As in :func:`cure_rate`.

    Returns
    -------
    CureRates
        ``table``: definition, measure, at_risk, events, estimate, std_error, conf_low, conf_high. Missing,
        with a note, where the follow-up is too short.

    References
    ----------
    Lin, Sun and Ying (1999), Biometrika 86 (why times after a first event are censored dependently).

    Examples
    --------
    >>> import pandas as pd
    >>> from collectlab.book.open import open_book
    >>> book = open_book({
    ...     "accounts": pd.DataFrame({"account_id": ["a", "b"]}),
    ...     "snapshots": pd.DataFrame({
    ...         "account_id": ["a"] * 4 + ["b"] * 4,
    ...         "as_of": ["2026-01-31", "2026-02-28", "2026-03-31", "2026-04-30"] * 2,
    ...         "days_past_due": [0, 9, 0, 0, 0, 12, 40, 71]})})
    >>> both = definitions_compared(book, horizon=60, redefault_horizon=30, definitions=["current_once"])
    >>> both.table["estimate"].tolist()  # cured, re-defaulted, sustained
    [0.5, 0.0, 0.5]
    """
    if not isinstance(book, Book):
        raise FrameError(f"a {type(book).__name__} is no book. Allowed: what open_book returns.")
    h, r = whole_horizons([horizon])[0], whole_horizons([redefault_horizon])[0]
    names = [definitions] if isinstance(definitions, str) else list(dict.fromkeys(definitions))
    if not names:
        raise FrameError("definitions is empty. Allowed: one name or several.")
    tables, notes = [], []
    for name in names:
        episodes = _keep(_followed(book.episodes(definition=name), book), cluster)
        found = {
            f"cured within {h:,} days": lambda e=episodes: _cured(e, h, conf_level, cluster),
            f"re-defaulted within {r:,} days of cure": lambda e=episodes: _redefault(
                e, [r], None, conf_level, cluster, True
            ),
            f"sustained: cured within {h:,} days, no re-default in {r:,}": lambda e=episodes: _sustained(
                e, h, r, conf_level, cluster
            ),
        }
        for measure, compute in found.items():
            try:
                rates = compute()
            except NothingToCount as error:
                notes.append(f"{name}, {measure}: {error}")
                row = pd.DataFrame([dict(at_risk=0, events=0) | dict.fromkeys(INTERVAL, np.nan)])
            else:
                row = rates.table.drop(columns=["from_day", "horizon"], errors="ignore")
                notes += [f"{name}, {measure}: {note}" for note in rates.notes if note.startswith("Missing")]
            row.insert(0, "definition", name)
            row.insert(1, "measure", measure)
            tables.append(row)
    return CureRates(
        table=pd.concat(tables, ignore_index=True),
        estimand=(
            f"Share of episodes cured within {h:,} days of day 0, of cures re-defaulted within {r:,} days, and of "
            "episodes cured in time and not re-defaulted; other outcomes competing"
        ),
        title="Cure, re-default and sustained cure by definition",
        notes=tuple(notes),
        conf_level=conf_level,
        by=("definition",),
        series="measure",
    )


def _episodes(book_or_episodes: Any, definition: str) -> nw.LazyFrame:
    if isinstance(book_or_episodes, Book):
        return book_or_episodes.episodes(definition=definition)
    return scan(book_or_episodes)


def _followed(episodes: nw.LazyFrame, book: Any) -> nw.LazyFrame:
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


def _keep(episodes: nw.LazyFrame, cluster: str | None) -> nw.LazyFrame:
    """The few columns the comparison needs, computed once."""
    columns = [
        "account_id",
        "entry_day",
        "exit_day",
        "observed_day",
        "outcome",
        "_to_last",
        "_to_next",
        "_to_leaving",
    ]
    if cluster is not None:
        require(episodes, cluster)
        columns.append(cluster)
    return scan(episodes.select(*dict.fromkeys(columns)).collect("pyarrow"))


def _redefault(
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


def _sustained(followed: nw.LazyFrame, h: int, r: int, conf_level: float, cluster: str | None) -> CureRates:
    """The verdict on each episode and its day since day 0; see :func:`definitions_compared`."""
    exit_day, to_next, to_last = (nw.col(c) for c in ("exit_day", "_to_next", "_to_last"))
    cured = (nw.col("outcome") == "cured") & (exit_day <= h)
    again = ~to_next.is_null() & (to_next <= r)
    gone = ~nw.col("_to_leaving").is_null() & to_next.is_null() & (nw.col("_to_leaving") < r)
    long = ~to_next.is_null() | (to_last >= r)
    lost = (nw.col("outcome") == "censored") & (exit_day < h)
    after = (
        nw.when(again)
        .then(to_next)
        .otherwise(
            nw.when(gone)
            .then(nw.col("_to_leaving"))
            .otherwise(nw.when(long).then(nw.lit(r)).otherwise(to_last))
        )
    )
    kept = nw.when(gone | long).then(nw.lit("sustained")).otherwise(nw.lit("censored"))
    kept = nw.when(again).then(nw.lit("re-defaulted")).otherwise(kept)
    failed = nw.when(lost).then(nw.lit("censored")).otherwise(nw.lit("not cured"))
    verdicts = followed.with_columns(
        nw.when(cured)
        .then(exit_day + after)
        .otherwise(nw.min_horizontal(exit_day, nw.lit(h)))
        .alias("_verdict_day"),
        nw.when(cured).then(kept).otherwise(failed).alias("_verdict"),
    ).filter(nw.col("entry_day") < nw.col("_verdict_day"))
    reach = followed.select(nw.col("observed_day").max()).collect().item()
    try:
        cells = count_cells(
            verdicts, duration="_verdict_day", outcome="_verdict", entry="entry_day", cluster=cluster
        )
    except NothingToCount as error:
        raise NothingToCount(f"no episode was under observation before day {h:,}.") from error
    return rates_within(
        cells,
        ("sustained",),
        [h + r],
        0,
        conf_level,
        cluster,
        estimand=f"P(cured within {h:,} days of day 0 and not re-defaulted within {r:,} days of the cure)",
        title="Sustained cure",
        followed=int(reach),
    )


def _cured(followed: nw.LazyFrame, h: int, conf_level: float, cluster: str | None) -> CureRates:
    cells = count_cells(followed, duration="exit_day", outcome="outcome", entry="entry_day", cluster=cluster)
    return rates_within(
        cells,
        ("cured",),
        [h],
        0,
        conf_level,
        cluster,
        estimand="P(cured within h days of day 0)",
        title="Cured",
    )
