"""How contact was made: at night, with third parties, recorded or not. By team unless asked otherwise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import narwhals as nw

from collectlab.core.columns import flag
from collectlab.core.errors import FrameError
from collectlab.measures.actions_rows import Period, need_column, need_rows, rows, shown
from collectlab.measures.costs_touch import contact_made
from collectlab.measures.groups import by_keys
from collectlab.measures.ratios import Counts, Measures, Ratio, count, measured

#: Channels in which a debtor is disturbed at the hour of the action.
DISTURBING = ("call", "robot_call", "sms", "visit", "agency", "chat", "app")


def contact_hours(
    book: Any,
    *,
    by: str | Sequence[str] | None = "team",
    night: tuple[int, int] = (22, 8),
    period: Period = None,
    channels: Sequence[str] = DISTURBING,
    conf_level: float = 0.95,
) -> Measures:
    """Share of calls, messages and visits begun in the night, by team.

    ``night`` = (first hour, hour at which it ends), local time: (22, 8) is 22:00 up to, not including,
    08:00. ``channels`` are those that disturb at the time of the action; letters and e-mails do not.

    Parameters
    ----------
    book : Book
        With actions.
    by : str or list of str, optional
        ``team`` (falls back on the agency), ``month``, or a column of actions or accounts.
    night, channels
        See above.
    period : (date, date), optional
        First and last day of the actions; None is the whole book.
    conf_level : float
        Level of the intervals.

    Examples
    --------
    >>> import pandas as pd
    >>> from collectlab.book.open import open_book
    >>> book = open_book({
    ...     "accounts": pd.DataFrame({"account_id": ["a"]}),
    ...     "snapshots": pd.DataFrame({"account_id": ["a"], "as_of": ["2026-02-28"], "days_past_due": [5]}),
    ...     "actions": pd.DataFrame({"account_id": ["a", "a"], "at": ["2026-01-20 21:59", "2026-02-21 22:00"],
    ...                              "channel": ["call", "call"], "team": ["T1", "T1"]})})
    >>> contact_hours(book).wide()[["team", "actions", "at_night"]].values.tolist()
    [['T1', 2, 0.5]]
    """
    first, last = night
    if not all(isinstance(h, int) and 0 <= h <= 24 for h in night):
        raise FrameError(f"night is {night!r}. Allowed: two whole hours from 0 to 24, such as (22, 8).")
    frame, by = rows(book, "actions", "at", by, period)
    hour = nw.col("at").dt.hour()
    dark = (hour >= first) | (hour < last) if first > last else (hour >= first) & (hour < last)
    frame = frame.filter(nw.col("channel").is_in(list(channels)))
    counts = count(frame, by_keys(by, "__by"), {"actions": nw.lit(1), "dark": flag(dark)})
    need_rows(counts, "actions", f"actions through {', '.join(channels)}")
    return _one_share(
        counts, by, "at_night", "dark", "actions", conf_level,
        estimand=f"Share of {', '.join(channels)} begun between {first}:00 and {last}:00 (local time)",
        title="Contact at night",
    )  # fmt: skip


def third_party_contacts(
    book: Any, *, by: str | Sequence[str] | None = "team", period: Period = None, conf_level: float = 0.95
) -> Measures:
    """Share of contacts with somebody other than the debtor, among contacts whose ``party`` is known.

    Parameters
    ----------
    book : Book
        With actions.
    by : str or list of str, optional
        ``team`` (falls back on the agency), ``month``, or a column of actions or accounts.
    period : (date, date), optional
        First and last day of the actions; None is the whole book.
    conf_level : float
        Level of the intervals.

    Examples
    --------
    >>> import pandas as pd
    >>> from collectlab.book.open import open_book
    >>> book = open_book({
    ...     "accounts": pd.DataFrame({"account_id": ["a"]}),
    ...     "snapshots": pd.DataFrame({"account_id": ["a"], "as_of": ["2026-02-28"], "days_past_due": [5]}),
    ...     "actions": pd.DataFrame({"account_id": ["a", "a"], "at": ["2026-01-20 10:00", "2026-01-21 10:00"],
    ...                              "channel": ["call", "call"], "team": ["T1", "T1"],
    ...                              "party": ["debtor", "third_party"]})})
    >>> third_party_contacts(book).wide()[["team", "contacts", "third_party"]].values.tolist()
    [['T1', 2, 0.5]]
    """
    frame, by = rows(book, "actions", "at", by, period)
    need_column(frame, "actions", "party")
    names = frame.collect_schema().names()
    spoken = nw.col("connected").fill_null(False) if "connected" in names else contact_made(names)
    frame = frame.filter(spoken & ~nw.col("party").is_null())
    counts = count(
        frame, by_keys(by, "__by"), {"contacts": nw.lit(1), "third": flag(nw.col("party") == "third_party")}
    )
    need_rows(counts, "contacts", "contacts with a known party")
    return _one_share(
        counts, by, "third_party", "third", "contacts", conf_level,
        estimand="Share of contacts made with a third party instead of the debtor",
        title="Contacts with third parties",
    )  # fmt: skip


def records_kept(
    book: Any, *, by: str | Sequence[str] | None = "team", period: Period = None, conf_level: float = 0.95
) -> Measures:
    """Share of contacts that were recorded, among those for which ``recorded`` is known.

    Parameters
    ----------
    book : Book
        With actions.
    by : str or list of str, optional
        ``team`` (falls back on the agency), ``month``, or a column of actions or accounts.
    period : (date, date), optional
        First and last day of the actions; None is the whole book.
    conf_level : float
        Level of the intervals.

    Examples
    --------
    >>> import pandas as pd
    >>> from collectlab.book.open import open_book
    >>> book = open_book({
    ...     "accounts": pd.DataFrame({"account_id": ["a"]}),
    ...     "snapshots": pd.DataFrame({"account_id": ["a"], "as_of": ["2026-02-28"], "days_past_due": [5]}),
    ...     "actions": pd.DataFrame({"account_id": ["a", "a"], "at": ["2026-01-20 10:00", "2026-01-21 10:00"],
    ...                              "channel": ["call", "call"], "team": ["T1", "T1"],
    ...                              "recorded": [True, False]})})
    >>> records_kept(book).wide()[["team", "contacts", "recorded"]].values.tolist()
    [['T1', 2, 0.5]]
    """
    frame, by = rows(book, "actions", "at", by, period)
    need_column(frame, "actions", "recorded")
    frame = frame.filter(~nw.col("recorded").is_null())
    counts = count(frame, by_keys(by, "__by"), {"contacts": nw.lit(1), "recorded": flag(nw.col("recorded"))})
    need_rows(counts, "contacts", "contacts with a note on recording")
    return _one_share(
        counts, by, "recorded", "recorded", "contacts", conf_level,
        estimand="Share of contacts that were recorded",
        title="Recordings kept",
    )  # fmt: skip


def _one_share(
    counts: Counts,
    by: list[str],
    name: str,
    top: str,
    bottom: str,
    conf_level: float,
    *,
    estimand: str,
    title: str,
) -> Measures:
    ratios = {name: Ratio(counts[top], counts[bottom])}
    sizes = {bottom: counts.total(bottom)}
    return measured(shown(counts, by), by, ratios, sizes, conf_level, estimand=estimand, title=title)
