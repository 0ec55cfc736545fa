"""Who of those in hardship was given relief, of which kind, and how soon."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import narwhals as nw

from collectlab.core.columns import day_of, flag
from collectlab.core.errors import FrameError, NotAvailable
from collectlab.measures.actions_rows import Period, shown
from collectlab.measures.groups import by_keys
from collectlab.measures.ratios import Measures, Ratio, count, measured
from collectlab.measures.relief.cases import HARDSHIP_REASONS, RELIEF, hardship_cases, with_relief


def relief_offered(
    book: Any,
    *,
    by: str | Sequence[str] | None = None,
    period: Period = None,
    days: Sequence[int] = (5, 30),
    kinds: Sequence[str] = RELIEF,
    reasons: Sequence[str] = HARDSHIP_REASONS,
    definition: str = "current_once",
    conf_level: float = 0.95,
) -> Measures:
    """Share of hardship cases that were given relief within so many days of the note, by kind, and who was not.

    A case is an episode in which hardship was noted (by an action's outcome, or by one of ``reasons``); its clock
    starts at the first note. An arrangement that runs at the note counts as given on day 0. Only cases that
    could be followed for the longest of ``days`` are counted, so that the last three measures add up to 1:

    * ``within_5_days``, ``within_30_days`` — relief begun by then / cases;
    * one measure per kind of arrangement — first relief within the longest of ``days`` / cases;
    * ``ended_first`` — no relief, and the episode ended (mostly by paying) within the longest of ``days``;
    * ``unserved`` — no relief, and still past due then.

    The book holds what was agreed, not what was offered and turned down.

    Parameters
    ----------
    book : Book
        With arrangements, and with outcomes of actions or reasons.
    by : str or list of str, optional
        ``month`` (of the note), ``team`` (in charge at the note), ``age_band``, or a column of accounts.
    period : (date, date), optional
        First and last day of the note; None is the whole book.
    days : sequence of int
        Whole days after the note.
    kinds : sequence of str
        Arrangements that count as relief.
    reasons : sequence of str
        Reasons that note hardship.
    definition : str
        The named definition of cure, for the ends of the episodes.
    conf_level : float
        Level of the intervals.

    Returns
    -------
    Measures

    Raises
    ------
    NotAvailable
        No hardship noted, no arrangements, or nothing that could be followed for so long.
    FrameError
        ``days`` or ``kinds`` that are none.

    Examples
    --------
    >>> import pandas as pd
    >>> from collectlab.book.open import open_book
    >>> book = open_book({
    ...     "accounts": pd.DataFrame({"account_id": ["a", "b"]}),
    ...     "snapshots": pd.DataFrame({"account_id": ["a", "b"] * 4, "days_past_due": [0, 0, 20, 20, 50, 50, 80, 80],
    ...                                "as_of": sorted(["2026-01-31", "2026-02-28", "2026-03-31", "2026-04-30"] * 2)}),
    ...     "reasons": pd.DataFrame({"account_id": ["a", "b"], "noted_on": ["2026-03-02"] * 2,
    ...                              "reason": ["illness", "income_loss"]}),
    ...     "arrangements": pd.DataFrame({"account_id": ["a"], "kind": ["deferral"], "started_on": ["2026-03-05"]})})
    >>> relief_offered(book).wide()[["cases", "within_5_days", "deferral", "unserved"]].values.tolist()
    [[2.0, 0.5, 0.5, 0.5]]
    """
    horizons = sorted(set(days))
    if not horizons or any(not isinstance(d, int) or isinstance(d, bool) or d < 0 for d in horizons):
        raise FrameError(f"days is {tuple(days)}. Allowed: whole days ≥ 0, such as (5, 30).")
    longest = horizons[-1]
    cases, by, notes = hardship_cases(book, by=by, period=period, reasons=reasons, definition=definition)
    last = day_of(book.as_of)
    cases = with_relief(book, cases, kinds).with_columns(__known=flag(nw.col("__on") + longest <= last))
    served = (nw.col("__wait") <= longest).fill_null(False)
    gone = ~served & (nw.col("__ended") != "censored") & (nw.col("__exit") <= longest)
    keys = by_keys(by, "__by")
    known = cases.filter(nw.col("__known") == 1)
    counts = count(
        known,
        keys,
        {
            "cases": nw.lit(1),
            **{f"within_{d}_days": flag(nw.col("__wait") <= d) for d in horizons},
            **{kind: flag(served & (nw.col("__kind") == kind)) for kind in kinds},
            "ended_first": flag(gone),
            "unserved": flag(~served & ~gone),
        },
    )
    total = int(counts["cases"].sum())
    every = int(count(cases, [], {"n": nw.lit(1)})["n"].sum())
    if not total:
        raise NotAvailable(f"none of {every:,} hardship cases could be followed for {longest:,} days.")
    if every > total:
        notes += (
            f"{every - total:,} cases were noted less than {longest:,} days before the book ends: not counted.",
        )
    names = [n for n in counts.sums if n != "cases"]
    names = [n for n in names if n not in kinds or counts[n].sum()]
    return measured(
        shown(counts, by),
        by,
        {name: Ratio(counts[name], counts["cases"]) for name in names},
        {"cases": counts.total("cases")},
        conf_level,
        estimand=f"Of the episodes with hardship noted: given relief within so many days of the note; by day {longest}: given "
        "which kind, ended before any was given, given none",
        title="Relief for those in hardship",
        shown=(f"within_{longest}_days", "ended_first", "unserved"),
        notes=(*notes, "What was offered and turned down is not in the book: it counts as not given."),
    )
