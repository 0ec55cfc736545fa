"""The action log against the contact rules: how often each is broken, by whom, and which actions did it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import narwhals as nw
import numpy as np
import pandas as pd

from collectlab.book.open import Book
from collectlab.core import engine
from collectlab.core.columns import as_list, day_of
from collectlab.core.engine import connection, scan
from collectlab.core.errors import FrameError, NotAvailable, ParamsError, first_few
from collectlab.core.jackknife import check_level
from collectlab.measures.actions_rows import Period, days_of
from collectlab.measures.conduct.aside import COPY, few, holidays_missing, names_of, overlaps, told, two_teams
from collectlab.measures.conduct.audit_result import Audit, NotJudged, result_of
from collectlab.measures.conduct.count import SORTS, Asked, Counts, Plan, count, evidence
from collectlab.measures.conduct.judge import VOICE
from collectlab.measures.conduct.lay import CHANNELS, Laid, laid
from collectlab.measures.conduct.rules import ContactRules, Rule
from collectlab.measures.conduct.rules_file import load_rules
from collectlab.measures.snapshots import as_date

#: What an audit is broken down by unless asked otherwise; of these, what the log has.
BY = ("team", "agency", "channel", "month")
_SHIFT = day_of(dt.date(1970, 1, 1))


def audit(
    actions: Any,
    rules: str | Path | ContactRules | Sequence[str | Path | ContactRules] = "cn",
    by: str | Sequence[str] | None = BY,
    *,
    accounts: Any = None,
    holds: Any = None,
    time_zone: str | None = None,
    period: Period = None,
    as_of: dt.date | str | None = None,
    folder: str | Path = "params/contact_rules",
    conf_level: float = 0.95,
) -> Audit:
    r"""Violations of contact rules per 1,000 contacts, by rule and by team, agency, channel and month.

    For each rule: ``contacts`` are the actions it applies to (its channels, its dates, what it counts, without
    those its exceptions free), ``violations`` those that break it, and

    .. math:: 1000 \cdot \text{violations} / \text{contacts}.

    With a limit of 7 the eighth action in a window is one violation, the ninth a second. Windows look back
    before ``period``, and before no rule's first day. The interval is the jackknife's over customers; where no
    violation was found its upper end is that of zero cases among as many customers as the contacts stand for.

    Parameters
    ----------
    actions : Book or frame
        A book with actions; or a frame (any that Narwhals takes, or a path) with ``account_id, at, channel`` and,
        where there, ``action_id, connected, outcome, party, consent, agreed, number, team, agency, agent``.
    rules : str, path, ContactRules, or a list of these
        A jurisdiction such as ``"cn"``, or rules of your own.
    by : str or list of str, optional
        Columns of actions or accounts, or ``month``. ``team`` falls back on the agency.
    accounts : frame, optional
        ``account_id`` and, where there, ``customer_id, originated_on``; a book brings its own.
    holds : frame, optional
        ``account_id, from, to``: when contact with an account is on hold, both days included; no ``to``: still.
    time_zone : str, optional
        ``at`` without a zone is local time already. Where it is UTC or has a zone: the debtors' time zone, or the
        column of ``accounts`` that holds it. Hours of the day and dates are then local, and windows in hours are
        elapsed time, so that a change to summer time is right.
    period : (date, date), optional
        First and last day judged, both included; None is all.
    as_of : date, optional
        Later actions are set aside; a book brings its own.
    folder : path
        Where the files of the jurisdictions lie.
    conf_level : float
        Level of the intervals.

    Returns
    -------
    Audit
        ``table``: rule, by, group, contacts, violations, estimate (per 1,000) and interval. ``rules``: each with
        its citation and how sure that is. ``not_judged``: why. ``evidence()``: the actions behind.

    Raises
    ------
    FrameError
        Columns missing, times with and without a zone, an unknown ``by``.
    NotAvailable
        No action in the log or period.
    ParamsError
        What is wrong with a file of rules.

    Examples
    --------
    >>> import pandas as pd
    >>> log = pd.DataFrame({"account_id": ["a"] * 2, "channel": ["call"] * 2, "team": ["T1"] * 2,
    ...                     "at": pd.to_datetime(["2026-03-02 20:59", "2026-03-02 21:00"])})
    >>> found = audit(log, "us", by="team")
    >>> found.evidence("us_hours")["at"].astype(str).tolist()
    ['2026-03-02 21:00:00']
    """
    check_level(conf_level)
    books = _rules(rules, folder)
    is_book = isinstance(actions, Book)
    if isinstance(actions, Book):
        book = actions
        actions, as_of = book.table("actions"), as_of or book.as_of
        accounts = book.table("accounts") if accounts is None else accounts
    groups = _named(by)
    if by is BY:
        groups = _there(groups, actions)
    first, last = (None, None) if period is None else (d - _SHIFT for d in days_of(period))
    cut = None if as_of is None else as_date(as_of)
    with laid(actions, accounts, groups, time_zone=time_zone, as_of=cut, checked=is_book) as log:
        if log.last_day < log.first_day:
            raise NotAvailable(_nothing(log))
        held, lost = (None, []) if holds is None else _holds(holds, log, accounts is not None)
        plan = Plan(log, groups, first, last, held)
        asked, not_judged, notes = _askable(books, plan, time_zone)
        notes += lost
        counts = count(plan, asked)
        if not counts.judged:
            raise NotAvailable("there are no actions in this book or period.")
        kept = evidence(plan, asked, counts)
        aside = _with_copies(log, counts)
        notes = _said(log, books, aside, counts, asked, plan.span) + notes
        out = counts.applies.sum(axis=1), counts.broken.sum(axis=1)
        for i, (book_of, rule) in enumerate(asked):
            if not out[0][i][plan.all]:
                not_judged.append(NotJudged(rule, book_of, _why_none(rule, int(counts.unknown[i]))))
        return result_of(
            books=books, asked=asked, sorts=list(SORTS), applies=counts.applies, broken=counts.broken, customers=counts.customers,
            labels=plan.labels, not_judged=not_judged, evidence=kept, aside=aside, rows_in=log.rows_in,
            judged=counts.judged, notes=notes, conf_level=conf_level, span=plan.span,
        )  # fmt: skip


def _rules(rules: Any, folder: str | Path) -> tuple[ContactRules, ...]:
    many = rules if isinstance(rules, (list, tuple)) else [rules]
    found, faults = [], []
    for one in many:
        try:
            found.append(one if isinstance(one, ContactRules) else load_rules(one, folder=folder))
        except ParamsError as error:
            faults += error.faults
    keys = [r.key for book in found for r in book.rules]
    faults += [
        f"rules: {k!r} stands in several files. Allowed: once."
        for k in sorted(set(keys))
        if keys.count(k) > 1
    ]
    if faults or not found:
        raise ParamsError(faults or "rules: none given. Allowed: a jurisdiction, a file, or several.")
    return tuple(found)


def _named(by: Any) -> list[str]:
    if by is not None and not isinstance(by, (str, list, tuple)):
        raise FrameError(f"by is {by!r}. Allowed: a column, a list of columns, or None.")
    return as_list(by)


def _there(by: Sequence[str], actions: Any) -> list[str]:
    have = scan(actions).collect_schema().names()
    return [b for b in by if b in have or b == "month" or (b == "team" and "agency" in have)]


def _nothing(log: Laid) -> str:
    if not log.rows_in:
        return "there are no actions in this book or period."
    return f"none of {log.rows_in:,} actions can be judged: {told(log.aside)}."


def _holds(holds: Any, log: Laid, whole: bool) -> tuple[tuple[np.ndarray, np.ndarray, np.ndarray], list[str]]:
    """Account, first and last day of each hold, those of an account that overlap made one; and those of nobody."""
    frame = scan(holds)
    engine.require(frame, "account_id", "from", "to")
    table = engine.collect(frame.select("account_id", *(nw.col(c).cast(nw.String) for c in ("from", "to"))))
    days = {c: pd.to_datetime(table[c].str[:10], format="%Y-%m-%d", errors="coerce") for c in ("from", "to")}
    wrong = days["from"].isna() | (days["to"] < days["from"]) | (table["to"].notna() & days["to"].isna())
    if wrong.any():
        raise FrameError(
            f"holds: {int(wrong.sum()):,} of {len(table):,} have no date in from or to, or end before they begin "
            f"(account_id {first_few(table.loc[wrong, 'account_id'].tolist(), 3)}). Allowed: dates, from on or before "
            "to; no to: still on hold."
        )
    owners = engine.collect(
        scan(connection().sql(f"SELECT CAST(account_id AS VARCHAR) AS id, __account FROM {log.owners}"))
    )
    number = dict(zip(owners["id"], owners["__account"]))
    epoch = pd.Timestamp(0)
    rows = sorted(
        (number[str(i)], (a - epoch).days, 9_000_000 if pd.isna(b) else (b - epoch).days)
        for i, a, b in zip(table["account_id"], days["from"], days["to"])
        if str(i) in number
    )
    merged: list[list[int]] = []
    for account, start, end in rows:
        if merged and merged[-1][0] == account and start <= merged[-1][2] + 1:
            merged[-1][2] = max(merged[-1][2], end)
        else:
            merged.append([account, start, end])
    array = np.array(merged, dtype=np.int64).reshape(-1, 3)
    lost = [str(i) for i in table["account_id"] if str(i) not in number]
    said = []
    if lost and (whole or not rows):
        said = [
            f"{len(lost):,} of {len(table):,} holds are of accounts that are not known here (account_id "
            f"{first_few(sorted(set(lost)), 3)}). Allowed: account_id as in the log."
        ]
    return (array[:, 0], array[:, 1], array[:, 2]), said


def _askable(
    books: Sequence[ContactRules], plan: Plan, time_zone: str | None
) -> tuple[Asked, list[NotJudged], list[str]]:
    asked: Asked = []
    not_judged: list[NotJudged] = []
    missing: dict[str, list[str]] = {}
    have, (first, last) = plan.log.columns, plan.span
    linked = {"connected", "outcome"} & have
    of_accounts = time_zone is not None and plan.log.zoned and "/" not in time_zone and time_zone != "UTC"
    for book in books:
        for rule in book.rules:
            why = ""
            voice = rule.channels is not None and all(CHANNELS.index(c) in VOICE for c in rule.channels)
            if rule.kind == "fact":
                why = "the action log cannot show it"
            elif rule.effective.since > last or (rule.effective.until or last) < first:
                why = f"not in force from {first} to {last}"
            elif rule.kind == "hold" and plan.holds is None:
                why = "no holds were given"
            elif rule.kind == "party" and "party" not in have:
                why = "the actions have no party"
            elif not linked and (
                rule.kind == "after" or rule.counted in ("connected", "unanswered")
                or (rule.counted == "contact" and voice)
            ):  # fmt: skip
                why = "the actions have neither connected nor outcome"
            elif not plan.log.has_hours and (rule.kind == "hours" or (rule.window and rule.window.hours)):
                why = "at has dates only, no hours"
            elif book.clock == "bank" and of_accounts and rule.kind == "hours":
                why = "its hours are the bank's; give the bank's time_zone"
            if why:
                not_judged.append(NotJudged(rule, book, why))
                continue
            asked.append((book, rule))
            if rule.per == "number" and "number" not in have:
                missing.setdefault("the actions have no number, so it is counted per account", []).append(
                    rule.title.en
                )
            gone = [w for w in rule.unless if w not in have]
            if gone:
                what = {"agreed": "agreement", "consent": "consent"}
                said = f"the actions have no column {' or '.join(gone)}, so no {what[gone[0]]} to it could be seen"
                missing.setdefault(said, []).append(rule.title.en)
    return asked, not_judged, [f"{'; '.join(titles)}: {said}." for said, titles in missing.items()]


def _why_none(rule: Rule, unknown: int) -> str:
    if unknown:
        what = "for whom they were" if rule.kind == "party" else "whether they were answered"
        return f"of the {unknown:,} actions it applies to it is not known {what}"
    through = f" through {', '.join(rule.channels)}" if rule.channels else ""
    return f"no action it applies to{through}"


def _with_copies(log: Laid, counts: Counts) -> pd.DataFrame:
    """The rows set aside, those found to be copies while counting among them."""
    if not counts.copies:
        return log.aside
    first = f"account_id {few(names_of(log.owners, sorted(counts.copied)))}"
    copies = pd.DataFrame([(COPY, counts.copies, first, "each action once")], columns=log.aside.columns)
    return pd.concat([log.aside, copies], ignore_index=True)


def _said(
    log: Laid, books: Sequence[ContactRules], aside: pd.DataFrame, counts: Counts, asked: Asked,
    span: tuple[dt.date, dt.date],
) -> list[str]:  # fmt: skip
    """What a reader must know: rows set aside or not known, holidays not listed, agents in two teams."""
    notes = []
    if len(aside):
        notes.append(
            f"{int(aside['rows'].sum()):,} of {log.rows_in:,} actions were set aside: {told(aside)}."
        )
    if counts.alike:
        first = few(names_of(log.owners, sorted(counts.resembling)))
        notes.append(
            f"{counts.alike:,} actions are like another in account, time, channel and result, with an action_id of "
            f"their own (account_id {first}): perhaps a reload under new ids. They were judged as they stand."
        )
    notes += log.said
    some = counts.applies.any(axis=(1, 2))
    for (_, rule), unknown, judged in zip(asked, counts.unknown, some):
        if unknown and judged:
            what = "party" if rule.kind == "party" else "answer"
            notes.append(f"{rule.title.en}: {unknown:,} actions whose {what} is not known were not judged.")
    for (_, rule), exempt in zip(asked, counts.exempt):
        if exempt:
            words = " or ".join({"consent": "consent", "agreed": "agreement"}[u] for u in rule.unless)
            notes.append(f"{rule.title.en}: {exempt:,} actions with {words} noted are free and not counted.")
    notes += overlaps(books, [rule for (_, rule), judged in zip(asked, some) if judged])
    notes += holidays_missing(books, *span)
    if {"agent", "team"} <= log.columns:
        notes += two_teams(log.source)
    return notes
