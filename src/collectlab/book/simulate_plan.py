"""What becomes of the simulated bank's accounts when a plan, not the bank, decides who is treated how.

The plan decides at each month's end, for each account past due, with what is known then. Accounts meet the same
luck under every plan, so two plans can be compared account by account.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import numpy as np
import pandas as pd

from collectlab.book import simulate_bank as bank
from collectlab.book.simulate_bank import AGENCY, CALL, EMAIL, LETTER, SMS, VISIT, Luck, Settings
from collectlab.book.simulate_days import Days
from collectlab.book.simulate_ledger import CHARGED_OFF, CLOSED, NEVER, OPEN, SETTLED, SOLD
from collectlab.book.simulate_tables import account_names
from collectlab.core.errors import BookError, first_few

__all__ = ["Warm", "lived", "warm_up"]

CHUNK = 20_000
#: A contact counts as recent for so many days.
RECENT = 90
#: More than any day number, so that account × SPAN + day orders by account and then by day.
SPAN = 100_000

#: The actions that are counted by kind.
CHANNELS = {"calls": (CALL,), "visits": (VISIT,), "agency": (AGENCY,), "messages": (SMS, EMAIL, LETTER)}
SUMS = ("paid", "received", "cost", "complaints", *CHANNELS, "legal", "lost", "unpaid")
STATE = (
    "days_past_due",
    "amount_past_due",
    "balance",
    "credit_score",
    "monthly_income",
    "secured",
    "reached",
)
ENDS = {CHARGED_OFF: "charged_off", SETTLED: "settled", SOLD: "sold", CLOSED: "closed"}

Choose = Callable[[pd.DataFrame], Any]


class _Planned(Days):
    """Days whose strategies are set by ``choose`` at each month's end from ``plan_from`` on."""

    choose: Choose | None = None
    plan_from: int = np.iinfo(np.int64).max
    #: The accounts past due at each month's end; since the plan's start, each account's latest placement and how
    #: many it had.
    rows: list[pd.DataFrame]
    entry: np.ndarray
    placements: np.ndarray
    #: Whether the last month's end showed each account past due.
    shown: np.ndarray

    def planned(self, choose: Choose | None, plan_from: int, last: int) -> _Planned:
        """A copy, run from ``plan_from`` to ``last``."""
        other = copy.copy(self)
        for name, value in vars(self).items():
            if isinstance(value, np.ndarray):
                setattr(other, name, value.copy())
        other.events = copy.copy(self.events)
        other.events.rows = {kind: list(rows) for kind, rows in self.events.rows.items()}
        other.choose, other.plan_from, other.begin, other.last = choose, plan_from, plan_from, last
        other.rows = []
        other.entry = np.full(len(self.a["key"]), NEVER)
        other.placements = np.zeros(len(self.a["key"]), np.int64)
        other.run()
        return other

    def _month_end(self, day: int, today: date) -> None:
        super()._month_end(day, today)
        i = np.flatnonzero(self.overdue)
        dpd = self._days_past_due(i, day)
        i, dpd = i[dpd > 0], dpd[dpd > 0]
        before, self.shown = self.shown, np.zeros(len(self.overdue), bool)
        self.shown[i] = True
        if day < self.plan_from:
            return
        new = i[~before[i]]
        self.entry[new] = day
        self.placements[new] += 1
        frame = self._frame(i, dpd, day)
        if self.choose is not None and len(i):
            self.strategy[i] = _codes(self.choose(frame.drop(columns=["i", "entry", "episode"])), len(i))
            frame["strategy"] = np.array(bank.STRATEGIES)[self.strategy[i]]
        self.rows.append(frame)

    def _frame(self, i: np.ndarray, dpd: np.ndarray, day: int) -> pd.DataFrame:
        """What is known of the accounts ``i`` at the end of ``day``."""
        spoken = np.zeros(len(self.a["key"]), bool)
        for part in reversed(self.events.rows.get("actions", [])):
            who, on, _, channel, connected, _, third = part[:7]
            if on[0] <= day - RECENT:
                break
            spoken[who[connected & ~third & np.isin(channel, (CALL, VISIT, AGENCY))]] = True
        return pd.DataFrame(
            {
                "i": i,
                "account_id": account_names(self.a["index"][i]).to_pandas(),
                "customer_id": [f"C{c + 1:07d}" for c in self.a["customer"][i]],
                "on": np.full(len(i), np.datetime64(day, "D")).astype("datetime64[us]"),
                "days_past_due": dpd,
                "amount_past_due": self._arrears(i, day, inclusive=False) / 100,
                "balance": self._balance(i, day) / 100,
                "credit_score": self.a["score"][i],
                "monthly_income": self.a["income"][i] / 100,
                "secured": self.a["secured"][i],
                "reached": spoken[i],
                "strategy": np.array(bank.STRATEGIES)[self.strategy[i]],
                "entry": self.entry[i],
                "episode": self.placements[i],
                "luck": self.luck.uniform(self.a["key"][i], "plan", day),
            }
        )


@dataclass(frozen=True, kw_only=True)
class Warm:
    """A simulated bank brought up to the day before a plan starts; :func:`lived` runs plans from there.

    Attributes
    ----------
    settings : Settings
        Whose bank it is; its window must reach as far as any plan is to be followed.
    start : datetime.date
        The first month's end at which a plan decides.
    """

    settings: Settings
    start: date
    chunks: tuple[_Planned, ...]


def warm_up(settings: Settings, start: date, accounts: int | range | None = None) -> Warm:
    """The bank up to the day before ``start``, as it was, for several plans to be run from there.

    Parameters
    ----------
    settings : Settings
        ``Simulated.settings``.
    start : datetime.date
        The first month's end at which a plan decides; at least 92 days into the window.
    accounts : int or range, optional
        How many accounts of the bank, or which: ``range(6_000, 60_000)`` leaves out those of a book of 6,000.
        The book's own by default.

    Returns
    -------
    Warm

    Examples
    --------
    >>> from datetime import date
    >>> from collectlab.book.simulate import simulate
    >>> bank = simulate(accounts=300, months=9, truth_accounts=0)
    >>> warm_up(bank.settings, date(2026, 7, 31)).start
    datetime.date(2026, 7, 31)
    """
    which = range(settings.accounts) if accounts is None else accounts
    which = range(which) if isinstance(which, int) else which
    faults = []
    if (start + timedelta(days=1)).day != 1 or start < settings.window_start + timedelta(days=RECENT + 2):
        faults.append(
            f"start = {start}. Allowed: the last day of a month, at least {RECENT + 2} days after the window's "
            f"first day, {settings.window_start}."
        )
    if start > settings.end:
        faults.append(f"start = {start}. Allowed: up to the window's last day, {settings.end}.")
    if len(which) < 1 or which.start < 0 or which.step != 1 or which.start % 2:
        faults.append(
            f"accounts = {accounts}. Allowed: one or more, a range from an even number by steps of 1."
        )
    if faults:
        raise BookError(faults)
    luck, chunks = Luck(settings.seed), []
    day = bank.ordinal(start)
    for first in range(which.start, which.stop, CHUNK):
        a = bank.draw_accounts(settings, luck, first, min(first + CHUNK, which.stop))
        days = _Planned(settings, luck, a, keep=False)
        days.shown = np.zeros(len(a["key"]), bool)
        days.last = day - RECENT - 1
        days.run()
        days.events.kept = True
        days.begin, days.last = days.last + 1, day - 1
        days.run()
        chunks.append(days)
    return Warm(settings=settings, start=start, chunks=tuple(chunks))


def lived(
    settings: Settings | Warm,
    choose: Choose | None,
    *,
    start: date | None = None,
    months: int = 12,
    accounts: int | range | None = None,
    monthly: bool = False,
    every: bool = False,
    until: date | None = None,
) -> pd.DataFrame:
    """Run the bank with a plan from ``start`` on, and tell what came of each account's first placement since.

    At each month's end from ``start`` on, every account one day or more past due is put under the strategy that
    ``choose`` names for it, until the next month's end. An account is followed from the first month's end, from
    ``start`` on, that sees an episode of it for the first time, until a month's end no longer sees it past due or
    ``months`` months are over (as in the book: a cure and a new miss between two month-ends do not show). Only accounts that can be followed for ``months`` months within the window are returned, so the window
    (``settings.end``) has to reach that far.

    The accounts a bank has depend on its window. To set a plan against a book known at an earlier date,
    simulate the longer window once and cut the analyst's book with ``book.until(date)``.

    Parameters
    ----------
    settings : Settings or Warm
        ``Simulated.settings``; or :func:`warm_up`'s result, which several plans can share.
    choose : callable or None
        Takes a frame with ``account_id, customer_id, on, days_past_due, amount_past_due, balance, credit_score,
        monthly_income, secured, reached`` (spoken to within 90 days), ``strategy`` (at present) and ``luck`` (uniform in
        (0, 1), the account's own in that month: for plans that mix); returns one strategy name a row
        (champion, challenger, standard, intensive). None leaves the bank as it is.
    start : datetime.date
        The first month's end at which ``choose`` decides; needed with Settings, left out with Warm.
    months : int
        How long each account is followed at most.
    accounts : int or range, optional
        As in :func:`warm_up`.
    monthly : bool
        One row a month followed, with the state at its beginning, instead of one row an account.
    every : bool
        Follow every placement since ``start``, not only each account's first: one row an account and
        ``episode`` (1 is the first).
    until : datetime.date, optional
        Run no further than this day; by default to the window's end.

    Returns
    -------
    pandas.DataFrame
        ``account_id, episode, customer_id, on`` (the month's end at which the row begins), the state's columns then,
        ``strategy``; then, up to the month's end that sees the episode over: ``paid`` (money, no more than the one instalment past due at
        the first month's end), ``received`` (all money paid in), ``cost`` (of actions and of cases filed in court),
        ``complaints``, the numbers of ``calls, visits, agency`` contacts and ``messages`` (letters among them),
        ``legal`` (cases filed), ``lost`` (on charge-off or sale: the last balance less the part of the amount at
        entry that is still unpaid), ``unpaid`` (that part, on charge-off, sale or settlement); ``exit`` (cured, charged_off, settled,
        sold, closed; missing where the account is past due to the last). One row an account has ``months``
        (followed while past due); one row a month has ``month`` (0 is the first).

    Raises
    ------
    BookError
        For a start that is no month's end of the window, a window too short, or names that are no strategies.

    Examples
    --------
    >>> from datetime import date
    >>> from collectlab.book.simulate import simulate
    >>> bank = simulate(accounts=600, months=12, truth_accounts=0)
    >>> one = lived(bank.settings, lambda frame: ["intensive"] * len(frame), start=date(2026, 4, 30), months=3)
    >>> set(one["strategy"])
    {'intensive'}
    """
    if isinstance(settings, Warm):
        warm = settings
        if (start is not None and start != warm.start) or accounts is not None:
            raise BookError("start and accounts are those of the warmed-up bank. Allowed: leave them out.")
    else:
        if start is None:
            raise BookError("start is missing. Allowed: the month's end at which the plan first decides.")
        warm = warm_up(settings, start, accounts)
    end = min(warm.settings.end, until or warm.settings.end)
    last_entry = _months_after(warm.start, months)
    if isinstance(months, bool) or not isinstance(months, int) or months < 1 or last_entry > end:
        raise BookError(
            f"months = {months!r}: {warm.start} and {months!r} months lie not within the window, which ends on "
            f"{end}. Allowed: whole months from 1; simulate a longer window with a later end."
        )
    last = bank.ordinal(end)
    runs = (d.planned(choose, bank.ordinal(warm.start), last) for d in warm.chunks)
    parts = [_followed(d, months, every) for d in runs]
    rows = pd.concat(parts, ignore_index=True)
    return rows if monthly else _by_account(rows)


def _codes(names: Any, n: int) -> np.ndarray:
    """Strategies' numbers for their names."""
    given = np.asarray(names, dtype=object)
    if given.shape != (n,):
        raise BookError(f"choose gave {given.shape} for {n} accounts. Allowed: one strategy for each.")
    known = {name: code for code, name in enumerate(bank.STRATEGIES)}
    codes = np.array([known.get(name, NEVER) for name in given], np.int8)
    if (codes == NEVER).any():
        odd = sorted({str(name) for name in given[codes == NEVER]})
        raise BookError(f"choose gave unknown strategies: {first_few(odd)}. Allowed: {', '.join(known)}.")
    return codes


def _months_after(day: date, months: Any) -> date:
    try:
        index = bank.month_index(day) + int(months) + 1
    except (TypeError, ValueError):
        return date.max
    return date(index // 12, index % 12 + 1, 1) - timedelta(days=1)


def _month(day: np.ndarray) -> np.ndarray:
    return day.astype("datetime64[D]").astype("datetime64[M]").astype(np.int64)


def _followed(d: _Planned, months: int, every: bool) -> pd.DataFrame:
    """The months of each placement, with what was paid and done in each."""
    rows = pd.concat(d.rows, ignore_index=True)
    entry = rows["entry"].to_numpy()
    rows["on_day"] = rows["on"].to_numpy().astype("datetime64[D]").astype(np.int64)
    rows["month"] = _month(rows["on_day"].to_numpy()) - _month(entry)
    whole = _month(entry) + months <= _month(np.array([d.last]))[0]
    kept = (entry != NEVER) & whole & (rows["month"].to_numpy() <= months)
    kept &= (rows["episode"].to_numpy() == 1) | every
    rows = rows[kept].sort_values(["i", "on_day"], kind="stable").reset_index(drop=True)
    i, episode, on = (rows[name].to_numpy() for name in ("i", "episode", "on_day"))
    # As a book of month-ends shows it: past due at one month's end after the other.
    stays = np.append((i[1:] == i[:-1]) & (episode[1:] == episode[:-1]), False)[: len(i)]
    kept = rows["month"].to_numpy() < months
    rows, i, on, stays = rows[kept].reset_index(drop=True), i[kept], on[kept], stays[kept]

    until = (_month(on) + 2).astype("datetime64[M]").astype("datetime64[D]").astype(np.int64) - 1
    lost = ~stays & (d.status[i] != OPEN) & (d.ended[i] > on) & (d.ended[i] <= until)
    until = np.where(lost, d.ended[i], until)
    how = np.array([ENDS.get(int(code), "") for code in d.status[i]], dtype=object)
    rows["exit"] = np.where(stays, None, np.where(lost, how, "cured"))

    keys = i.astype(np.int64) * SPAN + on

    def summed(who: np.ndarray, day: np.ndarray, amount: Any) -> np.ndarray:
        at = np.searchsorted(keys, who.astype(np.int64) * SPAN + day, side="left") - 1
        place = np.maximum(at, 0)
        if not len(keys):
            return np.zeros(0)
        inside = (at >= 0) & (i[place] == who) & (day <= until[place])
        return np.bincount(
            place[inside], weights=np.broadcast_to(amount, who.shape)[inside], minlength=len(keys)
        )

    rows["received"] = summed(*d.events.columns("payments", 3)) / 100
    who, day, _, channel, *rest = d.events.columns("actions", 12)
    rows["cost"] = summed(who, day, rest[5]) / 100
    for name, codes in CHANNELS.items():
        rows[name] = summed(who, day, np.isin(channel, codes).astype(float))
    who, day = d.events.columns("complaints", 5)[:2]
    rows["complaints"] = summed(who, day, 1.0)
    who, _, day, cents = d.events.columns("cases", 4)
    rows["legal"] = summed(who, day, 1.0)
    rows["cost"] += summed(who, day, cents) / 100

    spell = rows.groupby(["i", "episode"], sort=False)
    # Seen late for the first time with more than one instalment due, an account owes one of them anew.
    owed = spell["amount_past_due"].transform("first") / (1 + spell["days_past_due"].transform("first") // 31)
    after = spell["received"].cumsum()
    rows["paid"] = (np.minimum(after, owed) - np.minimum(after - rows["received"], owed)).round(2)
    gone = rows["exit"].isin(["charged_off", "sold"])
    short = np.maximum(owed - after, 0)
    rows["lost"] = np.where(gone, np.maximum(rows["balance"] - short, 0), 0.0)
    rows["unpaid"] = np.where(gone | (rows["exit"] == "settled"), short, 0.0).round(2)
    return rows.drop(columns=["i", "luck", "entry", "on_day"])


def _by_account(rows: pd.DataFrame) -> pd.DataFrame:
    groups = rows.groupby(["account_id", "episode"], sort=True)
    first = groups[["customer_id", "on", *STATE, "strategy"]].first()
    sums = groups[list(SUMS)].sum()
    first = first.join(sums).join(groups.size().rename("months")).join(groups["exit"].last())
    return first.reset_index()
