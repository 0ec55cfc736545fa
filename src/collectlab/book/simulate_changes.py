"""Changes of policy in the simulated bank: branches rolled out, a new routine for all, a rule with a cut.

Each acts from an account's first placement on (see ``Ledger``), never before. Whether an episode lasts to its
first month-end, and so is seen at all, is thereby the same with the change and without it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

import numpy as np

from collectlab.book import simulate_bank as bank
from collectlab.book.simulate_bank import CALL, SMS, Luck, Settings

if TYPE_CHECKING:
    from collectlab.book.simulate_days import Days

#: Changes of policy that can be planted: name -> (where, what changes).
CHANGES = {
    "branch_rollout": (
        "branch",
        "branch by branch, episodes outside the test that begin from the branch's date on get more and "
        "better calls",
    ),
    "bank_wide": (
        "all episodes",
        "episodes that begin from the date on get more and better messages",
    ),
    "threshold": (
        "credit_score",
        "outside the test, accounts with a score below the cut are handled as intensive, the others as "
        "standard, and intensive means a call nearly every other day",
    ),
}

#: The score below which ``threshold`` sends an account to ``intensive``.
CUT = 640
#: Parts of the window at which a wave of three branches moves; the last three branches never do.
WAVES = (3 / 8, 1 / 2, 5 / 8)
BANK_WIDE_AT = 2 / 3

# What is added to the daily chance of an action in each stage, and how much better it works.
_ROLLOUT_CALLS, _ROLLOUT_PUSH = np.array([0.30, 0.25, 0.15, 0.0, 0.0]), 1.25
_BANK_WIDE_SMS, _BANK_WIDE_PUSH = np.array([0.35, 0.30, 0.20, 0.0, 0.0]), 1.6
_THRESHOLD_CALLS = np.array([0.25, 0.20, 0.10, 0.0, 0.0])


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """When and where a bank's changes take place, or would have taken place.

    Attributes
    ----------
    branch_rollout : dict of str to datetime.date or None
        Each branch's first day under the new handling; None for those that never move within the window.
    bank_wide : datetime.date
        First day of the new routine.
    threshold : int
        The credit score below which an account is handled as intensive, from the window's first day on.
    """

    branch_rollout: dict[str, date | None]
    bank_wide: date
    threshold: int


def change_schedule(settings: Settings) -> Schedule:
    """The schedule a bank would keep, whether or not its changes were planted.

    It rests on the seed and the window alone: the same dates can be put to a book with the change and to one
    without it, in which nothing is to be found. The branches' order has nothing to do with their results.

    Parameters
    ----------
    settings : Settings
        ``Simulated.settings``.

    Returns
    -------
    Schedule

    Examples
    --------
    >>> from collectlab.book.simulate import simulate
    >>> bank = simulate(accounts=2, truth_accounts=0)
    >>> plan = change_schedule(bank.settings)
    >>> plan.bank_wide, plan.threshold
    (datetime.date(2026, 3, 1), 640)
    >>> sorted({str(day) for day in plan.branch_rollout.values()})
    ['2025-08-01', '2025-11-01', '2026-02-01', 'None']
    """
    luck = Luck(settings.seed)
    places = np.arange(bank.BRANCHES)
    order = np.argsort(luck.uniform(luck.keys(places, "rollout"), "order"), kind="stable")
    waves = [_month(settings, part) for part in WAVES] + [None]
    per_wave = bank.BRANCHES // len(waves)
    rank = np.argsort(order, kind="stable")
    return Schedule(
        branch_rollout={f"Branch {b + 1:02d}": waves[rank[b] // per_wave] for b in places},
        bank_wide=_month(settings, BANK_WIDE_AT),
        threshold=CUT,
    )


def _month(settings: Settings, part: float) -> date:
    month = bank.month_index(settings.window_start) + int(settings.months * part)
    return date(month // 12, month % 12 + 1, 1)


class Changed:
    """The changes in force in one run, and which accounts' present episodes are under them."""

    def __init__(self, settings: Settings, accounts: int):
        plan, self.on = change_schedule(settings), settings.changes
        days = [np.inf if day is None else bank.ordinal(day) for day in plan.branch_rollout.values()]
        self.rollout_day = np.array(days)
        self.bank_wide_day = bank.ordinal(plan.bank_wide)
        self.first = bank.ordinal(settings.window_start)
        self.rolled = np.zeros(accounts, bool)
        self.messaged = np.zeros(accounts, bool)

    def begin(self, s: Days, i, day: int) -> None:
        """Episodes of accounts ``i`` begin."""
        if "branch_rollout" in self.on:
            self.rolled[i] = ~s.a["tested"][i] & (day >= self.rollout_day[s.a["branch"][i]])
        if "bank_wide" in self.on:
            self.messaged[i] = day >= self.bank_wide_day

    def judged(self, s: Days, i, day: int, strategy: np.ndarray) -> np.ndarray:
        """The strategy of episodes outside the test: the collectors' judgement, or the rule's."""
        if "threshold" not in self.on or day < self.first:
            return strategy
        return np.where(s.a["score"][i] < CUT, bank.INTENSIVE, bank.STANDARD)

    def chances(self, s: Days, i, stage: np.ndarray) -> np.ndarray:
        """Daily chance of each channel, for placed accounts ``i``."""
        chances = bank.DAILY_ACTIONS[s.strategy[i], stage]
        if self.on:
            chances[:, CALL] += _ROLLOUT_CALLS[stage] * self.rolled[i]
            chances[:, SMS] += _BANK_WIDE_SMS[stage] * self.messaged[i]
            if "threshold" in self.on:
                ruled = (s.strategy[i] == bank.INTENSIVE) & (s.began[i] >= self.first)
                chances[:, CALL] += _THRESHOLD_CALLS[stage] * ruled
        return chances

    def push(self, s: Days, i, channel: np.ndarray) -> np.ndarray | float:
        """How much better an action works."""
        if not self.on:
            return 1.0
        placed = s.placed[i]
        better = np.where(placed & self.rolled[i] & (channel == CALL), _ROLLOUT_PUSH, 1.0)
        return better * np.where(placed & self.messaged[i] & (channel == SMS), _BANK_WIDE_PUSH, 1.0)
