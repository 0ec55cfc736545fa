"""Gaps and oddities in the action log, as what they are: problems of the process."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import narwhals as nw
import numpy as np
import pandas as pd

from collectlab.core import engine
from collectlab.core.columns import flag, row_count
from collectlab.core.errors import NotAvailable
from collectlab.measures.actions_rows import Period, rows, shown
from collectlab.measures.costs_touch import contact_made
from collectlab.measures.groups import by_keys
from collectlab.measures.process._rows import spells
from collectlab.measures.process.contactability import IN_PERSON
from collectlab.measures.ratios import Measures, Ratio, count, measured

#: A message may go out this many days before the due date that is then missed.
_BEFORE = 10


def data_problems(
    book: Any,
    *,
    by: str | Sequence[str] | None = None,
    definition: str = "current_once",
    period: Period = None,
    conf_level: float = 0.95,
) -> Measures:
    """What the action log lacks or contradicts, as shares of the actions that could have it.

    Each is counted where the book has the columns. Of *attempts* (calls, visits, agency contacts):

    * ``no result`` — neither connected nor an outcome is noted;
    * ``no party`` — somebody was reached, and not noted who (debtor or third party);
    * ``nobody named`` — neither agent nor agency;
    * ``incomplete`` — any of these three;
    * ``recording not noted`` — of calls that reached somebody: neither recorded nor noted as not;
    * ``no time of day`` — noted at midnight sharp;
    * ``account not overdue`` — outside every episode of its account (a message may come ten days before).

    Of all actions: ``no team`` (nor agency), ``same minute`` (repeats an action of the same account, channel and
    minute). Of promises: ``promise without amount or date``.

    The notes count agents who act for two teams, and rows set aside when the book was opened (actions before the loan,
    in the future, or twice under one id among them).

    Parameters
    ----------
    book : Book
        With actions.
    by : str or list of str, optional
        ``team`` (falls back on the agency), ``month``, or a column of actions or accounts.
    definition : str
        The named definition of cure.
    period : (date, date), optional
        First and last day of the actions; None is the whole book.
    conf_level : float
        Level of the intervals.

    Returns
    -------
    Measures
        One measure, ``share``, per group and ``problem``; ``checked`` and ``found`` are the rows behind it.

    Examples
    --------
    >>> import pandas as pd
    >>> from collectlab.book.open import open_book
    >>> book = open_book({
    ...     "accounts": pd.DataFrame({"account_id": ["a"]}),
    ...     "snapshots": pd.DataFrame({"account_id": ["a"] * 2, "days_past_due": [0, 11],
    ...                                "as_of": ["2025-12-31", "2026-01-31"]}),
    ...     "actions": pd.DataFrame({"account_id": ["a"] * 2, "channel": ["call"] * 2, "outcome": ["contact", None],
    ...                              "at": ["2026-01-22 10:00", "2026-01-24 00:00"]})})
    >>> found = data_problems(book).table
    >>> found[["problem", "checked", "found"]].values.tolist()[:2]
    [['no result', 2, 1], ['no time of day', 2, 1]]
    """
    frame, by = rows(book, "actions", "at", by, period)
    keys = by_keys(by, "__by")
    names = frame.collect_schema().names()
    checks = _checks(names)
    frame = engine.computed(_placed(book, frame, definition))
    sums = {}
    for i, (checked, wrong) in enumerate(checks.values()):
        sums[f"of{i}"] = flag(checked)
        sums[f"is{i}"] = flag(checked & wrong)
    counts = count(frame, keys, sums)
    groups, top, bottom = [], [], []
    plain = shown(counts, by)
    for i, problem in enumerate(checks):
        some = counts.total(f"of{i}") > 0
        groups.append(
            plain[some].assign(problem=problem) if by else pd.DataFrame({"problem": [problem] * int(some[0])})
        )
        top.append(counts[f"is{i}"][:, some])
        bottom.append(counts[f"of{i}"][:, some])
    every = pd.concat(groups, ignore_index=True)
    if every.empty:
        raise NotAvailable("there are no actions in this book or period.")
    found, checked = np.concatenate(top, axis=1), np.concatenate(bottom, axis=1)
    return measured(
        every, list(every.columns),
        {"share": Ratio(found, checked)},
        {"checked": checked.sum(axis=0), "found": found.sum(axis=0)},
        conf_level,
        estimand="Share of the actions that could have each problem which have it",
        title="Gaps in the action log",
        notes=(
            "An account overdue only between two snapshots is not seen overdue.",
            *_aside(book),
            *_two_teams(frame, names),
        ),
    )  # fmt: skip


def _checks(names: Sequence[str]) -> dict[str, tuple[nw.Expr, nw.Expr]]:
    """Problem → the rows it is looked for in, and where it is."""
    attempt = nw.col("channel").is_in(list(IN_PERSON))
    everything, nothing = ~nw.col("account_id").is_null(), nw.lit(False)
    found: dict[str, tuple[nw.Expr, nw.Expr]] = {}
    told, any_told = nothing, {"connected", "outcome"} & set(names)
    for column in ("connected", "outcome"):
        told = told | ~nw.col(column).is_null() if column in names else told
    parts = []
    if any_told:
        parts.append(~told)
        found["no result"] = (attempt, ~told)
    if any_told and "party" in names:
        silent = told & contact_made(names) & nw.col("party").is_null()
        parts.append(silent)
        found["no party"] = (attempt & told & contact_made(names), silent)
    who = [c for c in ("agent", "agency") if c in names]
    if "agent" in names:
        nobody = nw.col("agent").is_null()
        nobody = nobody & nw.col("agency").is_null() if len(who) == 2 else nobody
        parts.append(nobody)
        found["nobody named"] = (attempt, nobody)
    if len(parts) > 1:
        some = nothing
        for one in parts:
            some = some | one
        found["incomplete"] = (attempt, some)
    if any_told and "recorded" in names:
        call = nw.col("channel") == "call"
        found["recording not noted"] = (call & told & contact_made(names), nw.col("recorded").is_null())
    at = nw.col("at").dt
    midnight = (at.hour() == 0) & (at.minute() == 0) & (at.second() == 0)
    found["no time of day"] = (attempt, midnight)
    found["account not overdue"] = (attempt, nw.col("__overdue") == 0)
    teams = [c for c in ("team", "agency") if c in names]
    if teams:
        missing = ~nothing
        for column in teams:
            missing = missing & nw.col(column).is_null()
        found["no team"] = (everything, missing)
    found["same minute"] = (everything, nw.col("__nth") > 1)
    if {"outcome", "promised_amount", "promised_on"} <= set(names):
        bare = nw.col("promised_amount").is_null() | nw.col("promised_on").is_null()
        promise = (nw.col("outcome") == "promise").fill_null(False)
        found["promise without amount or date"] = (promise, bare)
    return found


def _placed(book: Any, frame: nw.LazyFrame, definition: str) -> nw.LazyFrame:
    """The actions with ``__overdue`` (in an episode of the account) and ``__nth`` of their minute."""
    episodes, _ = spells(book, definition, None)
    days = frame.select("__account", "__on").unique(keep="any")
    episodes, days = engine.same_engine(episodes.select("__account", "__start", "__exit"), days)
    inside = (
        days.join(episodes, on="__account", how="inner")
        .filter(
            (nw.col("__on") >= nw.col("__start") - _BEFORE)
            & (nw.col("__on") <= nw.col("__start") + nw.col("__exit"))
        )
        .select("__account", "__on")
        .unique(keep="any")
        .with_columns(__overdue=nw.lit(1))
    )
    minute = ["__account", "channel", "__minute"]
    frame, inside = engine.same_engine(frame.with_columns(__minute=nw.col("at").dt.truncate("1m")), inside)
    return frame.join(inside, on=["__account", "__on"], how="left").with_columns(
        __overdue=nw.col("__overdue").fill_null(0),
        __nth=nw.col("at").rank("ordinal").over(*minute),
    )


def _aside(book: Any) -> list[str]:
    """The rows set aside when the book was opened, table by table."""
    table = book.reconciliation
    return [
        f"{row.quarantined:,} of {row.rows_in:,} rows of {row.table} were set aside when the book was opened."
        for row in table[table["quarantined"] > 0].itertuples()
    ]


def _two_teams(frame: nw.LazyFrame, names: Sequence[str]) -> list[str]:
    """How many agents act for more than one team."""
    if not {"agent", "team"} <= set(names):
        return []
    known = frame.filter(~nw.col("agent").is_null() & ~nw.col("team").is_null())
    teams = known.select("agent", "team").unique(keep="any").group_by("agent").agg(n=row_count())
    n = engine.collect(teams.select(all=nw.len(), two=flag(nw.col("n") > 1).sum()))
    everyone, two = int(n["all"].iloc[0] or 0), int(n["two"].fillna(0).iloc[0])
    return [f"{two:,} of {everyone:,} agents act for more than one team."] if two else []
