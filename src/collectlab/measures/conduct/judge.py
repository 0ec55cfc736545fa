"""Which of a log's actions a rule applies to, and which of them break it: on arrays, one rule at a time.

Rows lie sorted by account and time, the accounts of one customer side by side. A limit of L in a window is
broken by the row whose L-th predecessor of the same account still lies in the window, so no window is ever
summed: one comparison a row.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from collectlab.book.schema import CHANNELS
from collectlab.measures.conduct.rules import DAYS, Rule, Window

DAY = 86_400_000_000
HOUR = 3_600_000_000
EPOCH = dt.date(1970, 1, 1).toordinal()
#: Reached only when somebody answered; of the others, a message sent is one delivered unless told otherwise.
VOICE = tuple(CHANNELS.index(c) for c in ("call", "robot_call", "visit", "agency"))
DEBTOR, THIRD_PARTY = 1, 2


@dataclass(frozen=True)
class Rows:
    """Actions as arrays of one length, sorted by account and time.

    ``at`` is elapsed time and ``local`` local time, both in microseconds since 1970; ``connected`` is 1, 0 or
    −1 (not known); ``party`` 0 (not known), 1 (debtor) or 2 (third party).
    """

    account: np.ndarray
    customer: np.ndarray
    number: np.ndarray
    at: np.ndarray
    local: np.ndarray
    channel: np.ndarray
    connected: np.ndarray
    wrong: np.ndarray
    party: np.ndarray
    consent: np.ndarray
    agreed: np.ndarray

    @property
    def day(self) -> np.ndarray:
        """Local days since 1970."""
        return self.local // DAY


@dataclass(frozen=True)
class Judged:
    """Positions of the rows that a rule applies to, and of those that break it.

    ``counted`` and ``since`` (microseconds since 1970, local) say of each broken row what was counted, and from
    when; ``unknown`` marks the rows that could not be judged because a field was empty, ``exempt`` those an exception
    frees.
    """

    applies: np.ndarray
    broken: np.ndarray
    counted: np.ndarray
    since: np.ndarray
    unknown: np.ndarray
    exempt: np.ndarray


class Found(NamedTuple):
    """The first four of :class:`Judged`."""

    applies: np.ndarray
    broken: np.ndarray
    counted: np.ndarray
    since: np.ndarray


_NONE = np.iinfo(np.int64).min


def judge(
    rule: Rule,
    rows: Rows,
    *,
    holidays: Mapping[dt.date, object],
    holds: tuple[np.ndarray, np.ndarray, np.ndarray] | None = None,
) -> Judged:
    """One rule on rows that hold whole customers.

    ``holds`` are account, first and last day of each hold, sorted by account and first day, none overlapping.
    """
    mine = _in_force(rule, rows)
    if rule.kind == "party":
        return _party(rule, rows, mine)
    whole = mine & _is(rule.counted, rows)
    chosen = whole & ~_exempt(rule, rows)
    unknown = np.zeros(len(rows.at), dtype=bool)
    if rule.counted != "attempt" and rule.counted != "visit":
        unknown = mine & _voice(rows) & (rows.connected < 0)
    if rule.kind == "hours":
        found = _hours(rule, rows, np.flatnonzero(chosen), holidays)
    elif rule.kind == "hold":
        assert holds is not None
        found = _hold(rows, np.flatnonzero(chosen), holds)
    elif rule.kind == "after":
        found = _after(rule, rows, mine, chosen)
    else:
        found = _count(rule, rows, np.flatnonzero(chosen))
    return Judged(*found, unknown, whole & ~chosen)


def _in_force(rule: Rule, rows: Rows) -> np.ndarray:
    """Rows in the rule's channels and dates."""
    first = (rule.effective.since.toordinal() - EPOCH) * DAY
    mine = rows.local >= first
    if rule.effective.until is not None:
        mine &= rows.local < (rule.effective.until.toordinal() - EPOCH + 1) * DAY
    if rule.channels is not None:
        wanted = np.zeros(len(CHANNELS), dtype=bool)
        wanted[[CHANNELS.index(c) for c in rule.channels]] = True
        mine &= wanted[rows.channel]
    return mine


def _is(counted: str, rows: Rows) -> np.ndarray:
    """Whether a row is what the rule counts."""
    if counted == "connected":  # a conversation with somebody else is none with the debtor
        return (rows.connected == 1) & (rows.party != THIRD_PARTY)
    if counted == "unanswered":
        return rows.connected == 0
    if counted == "contact":
        return (rows.connected == 1) | ((rows.connected < 0) & ~_voice(rows))
    if counted == "visit":
        return rows.channel == CHANNELS.index("visit")
    return np.ones(len(rows.at), dtype=bool)


def _voice(rows: Rows) -> np.ndarray:
    voice = np.zeros(len(CHANNELS), dtype=bool)
    voice[list(VOICE)] = True
    return voice[rows.channel]


def _exempt(rule: Rule, rows: Rows) -> np.ndarray:
    free = np.zeros(len(rows.at), dtype=bool)
    if "consent" in rule.unless:
        free |= rows.consent
    if "agreed" in rule.unless:
        free |= rows.agreed
    return free


def _ordered(rule: Rule, rows: Rows, index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """``index`` in the order of what the rule is counted per, and the key of each."""
    if rule.per == "account":
        return index, rows.account[index]
    customer = rows.customer[index]
    if rule.per == "customer":
        one = rows.account[index]
        if len(one) < 2 or not ((customer[1:] == customer[:-1]) & (one[1:] != one[:-1])).any():
            return index, customer  # nobody with two accounts: in order already
        index = index[np.lexsort((rows.at[index], customer))]
        return index, rows.customer[index]
    index = index[np.lexsort((rows.at[index], rows.number[index], customer))]
    customer, number = rows.customer[index], rows.number[index]
    new = np.ones(len(index), dtype=bool)
    new[1:] = (customer[1:] != customer[:-1]) | (number[1:] != number[:-1])
    return index, np.cumsum(new)


def _clock(window: Window, rows: Rows, index: np.ndarray) -> tuple[np.ndarray, int]:
    """A time for each row, and the length of the window in it; 0: equal times share a calendar window."""
    if window.hours:
        return rows.at[index], window.hours * HOUR
    if window.days:
        return rows.day[index], window.days
    return _period(window.calendar or "day", rows.day[index]), 0


def _period(calendar: str, day: np.ndarray) -> np.ndarray:
    if calendar == "week":  # 1970-01-01 was a Thursday
        return (day + 3) // 7
    if calendar == "month":
        return day.astype("datetime64[D]").astype("datetime64[M]").astype(np.int64)
    return day


def _since(window: Window, local: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Where the window that ends with each row begins, in local time."""
    day = local // DAY
    if window.hours:
        return local - window.hours * HOUR
    if window.days:
        return (day - window.days + 1) * DAY
    if window.calendar == "week":
        return ((day + 3) // 7 * 7 - 3) * DAY
    if window.calendar == "month":
        month = day.astype("datetime64[D]").astype("datetime64[M]")
        return month.astype("datetime64[D]").astype(np.int64) * DAY
    return day * DAY


def _count(rule: Rule, rows: Rows, index: np.ndarray) -> Found:
    assert rule.window is not None and rule.limit is not None
    index, key = _ordered(rule, rows, index)
    time, length = _clock(rule.window, rows, index)
    n, limit = len(index), rule.limit
    over = np.zeros(n, dtype=bool)
    if limit == 0:
        over[:] = True
    elif n > limit:
        before, now = time[:-limit], time[limit:]
        near = before == now if length == 0 else before > now - length
        over[limit:] = near & (key[:-limit] == key[limit:])
    place = np.flatnonzero(over)
    # How many lie in the window: the few over the limit are walked back together, one step a time.
    counted = np.full(len(place), limit + 1, dtype=np.int64)
    still = np.arange(len(place))
    while len(still):
        back = place[still] - counted[still]
        still, back = still[back >= 0], back[back >= 0]
        now = place[still]
        inside = time[back] == time[now] if length == 0 else time[back] > time[now] - length
        still = still[inside & (key[back] == key[now])]
        counted[still] += 1
    broken = index[place]
    return Found(index, broken, counted, _since(rule.window, rows.local[broken], rows.at[broken]))


def _after(rule: Rule, rows: Rows, mine: np.ndarray, chosen: np.ndarray) -> Found:
    """Contacts too soon after a conversation: the last one of the same key before each row."""
    assert rule.window is not None
    talk = mine & (rows.connected == 1) & (rows.party != THIRD_PARTY)
    index, key = _ordered(rule, rows, np.flatnonzero(chosen | talk))
    time, length = _clock(rule.window, rows, index)
    last = np.where(talk[index], np.arange(len(index)), -1)
    last = np.maximum.accumulate(last) if len(last) else last
    last = np.concatenate([[-1], last[:-1]])[: len(index)]  # before this row
    near = time[last] == time if length == 0 else time[last] > time - length
    over = (last >= 0) & (key[last] == key) & near & chosen[index]
    broken = index[over]
    return Found(index[chosen[index]], broken, np.ones(len(broken), np.int64), rows.local[index[last[over]]])


def _hours(rule: Rule, rows: Rows, index: np.ndarray, holidays: Mapping[dt.date, object]) -> Found:
    assert rule.allowed is not None
    nothing = np.array([], dtype=np.int64)
    if not len(index):
        return Found(index, index, nothing, nothing)
    local = rows.local[index]
    day = local // DAY
    minute = (local - day * DAY) // 60_000_000
    first = int(day.min())
    spans = np.array([rule.allowed.of(name) or (0, 0) for name in DAYS], dtype=np.int64)
    all_days = np.arange(first, int(day.max()) + 1)
    weekday = (all_days + 3) % 7
    kind = np.where(weekday == 6, 2, np.where(weekday == 5, 1, 0))
    off = [d.toordinal() - EPOCH - first for d in holidays]
    kind[[d for d in off if 0 <= d < len(kind)]] = 3
    begin, end = spans[kind].T
    over = (minute < begin[day - first]) | (minute >= end[day - first])
    broken = index[over]
    return Found(index, broken, np.ones(len(broken), np.int64), np.full(len(broken), _NONE))


def _party(rule: Rule, rows: Rows, mine: np.ndarray) -> Judged:
    """Contacts with others than the debtor, since the last time the debtor answered."""
    index, key = _ordered(rule, rows, np.flatnonzero(mine))
    n = len(index)
    party, connected, wrong = rows.party[index], rows.connected[index], rows.wrong[index]
    contact = _is(rule.counted, rows)[index]
    free = _exempt(rule, rows)[index]
    unknown, exempt = np.zeros((2, len(rows.at)), dtype=bool)
    unknown[index], exempt[index] = contact & (party == 0), contact & (party > 0) & free
    known = contact & (party > 0) & ~free
    third = known & (party == THIRD_PARTY)
    place = np.arange(n)
    new = np.ones(n, dtype=bool)
    new[1:] = key[1:] != key[:-1]
    # The first row that counts for each: that after the debtor's last answer, or the first of the key.
    answered = (party == DEBTOR) & (connected == 1)
    start = np.where(new, place, 0)
    start[1:] = np.where(answered[:-1] & ~new[1:], place[1:], start[1:])
    start = np.maximum.accumulate(start) if n else start
    failed = np.concatenate([[0], np.cumsum((connected == 0) & (party != THIRD_PARTY))])
    invalid = np.concatenate([[0], np.cumsum(wrong)])
    failures = failed[place] - failed[start]
    after = rule.allowed_after
    fine = np.zeros(n, dtype=bool)
    if after is not None and after.wrong_number:
        fine |= invalid[place] > invalid[start]
    if after is not None and after.unanswered is not None:
        fine |= failures >= after.unanswered
    over = third & ~fine
    broken = index[over]
    return Judged(index[known], broken, failures[over], rows.local[index[start[over]]], unknown, exempt)


def _hold(rows: Rows, index: np.ndarray, holds: tuple[np.ndarray, np.ndarray, np.ndarray]) -> Found:
    account, first, last = holds
    day, mine = rows.day[index], rows.account[index].astype(np.int64)
    # Account and day as one number, so that one search finds the latest hold begun by then.
    wide = 10_000_000
    found = np.searchsorted(account * wide + first, mine * wide + day, side="right") - 1
    there = found >= 0
    held = np.maximum(found, 0)
    if len(account):
        over = there & (account[held] == mine) & (day <= last[held])
    else:
        over = np.zeros(len(index), dtype=bool)
    broken = index[over]
    since = first[held[over]] * DAY if len(account) else np.array([], dtype=np.int64)
    return Found(index, broken, np.ones(len(broken), np.int64), since)
