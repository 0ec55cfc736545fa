"""The exact ledger of a simulated book, and the state each account is in.

An account has a due day; instalment ``j`` falls due in month ``due0 + j``, ``k`` instalments are paid in
full and ``part`` cents are paid into the next. Days past due on any date follow from these.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, timedelta

import numpy as np

from collectlab.book import simulate_bank as bank
from collectlab.book.simulate_bank import Luck, Settings
from collectlab.book.simulate_changes import Changed

OPEN, CHARGED_OFF, SETTLED, SOLD, CLOSED = range(5)
BURN_IN_DAYS = 365
NEVER = -1


@dataclass
class Events:
    """What happened, as a list of equally long arrays for each kind of event."""

    rows: dict[str, list[tuple]] = field(default_factory=dict)
    kept: bool = True

    def add(self, kind: str, *columns) -> None:
        """Columns are arrays of one length; a scalar is repeated."""
        if not self.kept or not len(columns[0]):
            return
        n = len(columns[0])
        self.rows.setdefault(kind, []).append(
            tuple(np.broadcast_to(np.asarray(column), (n,)) for column in columns)
        )

    def columns(self, kind: str, width: int) -> list[np.ndarray]:
        """The columns of a kind, joined; empty ones if nothing of the kind happened."""
        rows = self.rows.pop(kind, [])
        if not rows:
            return [np.zeros(0, np.int64)] * width
        return [np.concatenate(parts) for parts in zip(*rows)]


class Ledger:
    """One chunk of accounts.

    For the truth, each account is followed from its first placement: the first month-end at which an
    episode begun on or after its ``anchor`` is seen more than ``anchor_dpd`` days past due. ``events`` and
    ``snapshots`` are what the book is written from.
    """

    def __init__(
        self,
        settings: Settings,
        luck: Luck,
        accounts: dict[str, np.ndarray],
        *,
        keep: bool = True,
        daily: bool = False,
    ):
        self.settings, self.luck, self.a, self.daily = settings, luck, accounts, daily
        self.changed = Changed(settings, len(accounts["key"]))
        self.events = Events(kept=False)
        self.keep = keep
        self.first = bank.ordinal(settings.window_start)
        self.last = bank.ordinal(settings.end)
        self.test = bank.ordinal(settings.test_start)
        self.snapshots: list[tuple[int, np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]] = []

        begin = settings.window_start - timedelta(days=BURN_IN_DAYS)
        self.begin = bank.ordinal(begin)
        self.base = bank.month_index(begin)
        span = np.arange(self.base, self.base + 1600)
        months = (span - 1970 * 12).astype("datetime64[M]")
        self.month_start = months.astype("datetime64[D]").astype(np.int64)
        self._start_ledger()
        self._start_state()

    def _start_ledger(self) -> None:
        a, n = self.a, len(self.a["key"])
        month = a["month"] - self.base
        self.originated = np.where(
            month >= 0, self.month_start[np.maximum(month, 0)] + a["day_of_month"] - 1, self.begin - 1
        )
        later = a["due_day"] < a["day_of_month"]
        self.due0 = month + 1 + later
        self.term = a["term"].copy()
        self.inst = a["instalment"].copy()
        day = date.fromordinal(self.begin + date(1970, 1, 1).toordinal())
        # What fell due before the first simulated day was paid in time.
        self.k = np.clip(-self.due0 + (a["due_day"] < day.day), 0, self.term)
        self.part = np.zeros(n, np.int64)
        self.ratio = np.ones(n)
        self.by_due = [np.flatnonzero(a["due_day"] == d) for d in range(32)]
        loan = np.maximum(a["term"], 1)
        self.growth = np.where(a["product"] == 1, 0.01, a["rate"] / 12)
        self.full = (1 + self.growth) ** np.minimum(loan, 400)

    def _start_state(self) -> None:
        n = len(self.a["key"])
        self.status = np.zeros(n, np.int8)
        self.ended = np.full(n, NEVER)
        self.overdue = np.zeros(n, bool)
        self.began = np.full(n, NEVER)
        self.reason = np.zeros(n, np.int8)
        self.noted = np.zeros(n, bool)
        self.push = np.zeros(n)
        self.contacts = np.zeros(n)
        self.placed = np.zeros(n, bool)
        self.strategy = np.zeros(n, np.int8)
        self.last_cure = np.full(n, -10_000)
        self.reminded = np.full(n, NEVER)
        self.promise_on = np.full(n, NEVER)
        self.promise_cents = np.zeros(n, np.int64)
        self.plan_left = np.zeros(n, np.int8)
        self.arrangement = np.full(n, NEVER)
        self.arrangement_end = np.full(n, NEVER)
        self.arrangements = 0
        self.quiet_until = np.full(n, NEVER)
        self.pleaded = np.full(n, NEVER)
        self.forborne = np.zeros(n, bool)
        self.complained = np.zeros(n, bool)
        self.agency = np.full(n, NEVER, np.int8)
        self.case = np.full(n, NEVER)
        self.decision_on = np.full(n, NEVER)
        self.cases = 0
        self.written_off = np.zeros(n, np.int64)
        self.survey_on = np.full(n, NEVER)
        # The truth's memory of the first placement.
        self.t_placed = np.full(n, NEVER)
        self.t_strategy = np.full(n, NEVER, np.int8)
        self.t_cured = np.full(n, NEVER)
        self.t_paid = np.zeros(n, np.int64)
        self.t_cost = np.zeros(n, np.int64)
        self.t_complaints = np.zeros(n, np.int64)
        self.t_channels = np.zeros(n, np.int64)

    # The ledger -------------------------------------------------------------------------------------

    def _fallen_due(self, i, day: int, inclusive: bool) -> np.ndarray:
        """Instalments due before ``day`` (or by it), for accounts ``i``."""
        due_day = self.a["due_day"][i]
        this_month = due_day <= self.dom if inclusive else due_day < self.dom  # type: ignore[attr-defined]
        return np.clip(self.m - self.due0[i] + this_month, 0, self.term[i])  # type: ignore[attr-defined]

    def _days_past_due(self, i, day: int) -> np.ndarray:
        count = self._fallen_due(i, day, inclusive=False)
        oldest = self.month_start[np.maximum(self.due0[i] + self.k[i], 0)] + self.a["due_day"][i] - 1
        return np.where(count > self.k[i], day - oldest, 0)

    def _arrears(self, i, day: int, inclusive: bool = True) -> np.ndarray:
        count = self._fallen_due(i, day, inclusive)
        return np.where(count > self.k[i], (count - self.k[i]) * self.inst[i] - self.part[i], 0)

    def _balance(self, i, day: int) -> np.ndarray:
        """Outstanding principal, P·((1+r)ⁿ − (1+r)ˣ)/((1+r)ⁿ − 1) after x instalments, plus what is overdue."""
        a = self.a
        term = a["term"][i]
        done = np.clip(
            term - (self.term[i] - self.k[i] - self.part[i] / self.inst[i]) * self.ratio[i], 0, term
        )
        power = (1 + self.growth[i]) ** np.minimum(done, 400)
        loan = a["principal"][i] * (self.full[i] - power) / (self.full[i] - 1)
        wiggle = 0.9 + 0.2 * self.luck.uniform(a["key"][i], "card use", self.m)  # type: ignore[attr-defined]
        arrears = self._arrears(i, day, inclusive=False)
        card = a["principal"][i] * a["utilisation"][i] * wiggle + arrears
        return np.maximum(np.round(np.where(a["product"][i] == 1, card, loan)).astype(np.int64), arrears)

    def _credit(self, i, cents, day: int) -> None:
        """Book money against the oldest unpaid instalments and note what became of the episode."""
        total = self.part[i] + cents
        whole = total // self.inst[i]
        self.k[i] += whole
        self.part[i] = total - whole * self.inst[i]
        self._paid(i, cents, day)

    def _paid(self, i, cents, day: int) -> None:
        self.events.add("payments", i, day, cents)
        since = day - self.t_placed[i]
        counted = (self.t_placed[i] >= 0) & (since > 0) & (since <= 90)
        self.t_paid[i] += np.where(counted, cents, 0)

    def _current(self, i, day: int) -> None:
        """The episode of accounts ``i`` is over: back to current, paid off, or settled."""
        self.overdue[i] = False
        self.last_cure[i] = day
        self.events.add("cures", i, day)
        first = i[(self.t_placed[i] >= 0) & (self.t_cured[i] == NEVER)]
        self.t_cured[first] = day
        done = i[self.arrangement[i] >= 0]
        done = done[self.plan_left[done] > 0]
        self.end_arrangement(done, day, kept=True)
        asked = i[self.placed[i] & (self.luck.uniform(self.a["key"][i], "survey", day) < 0.55)]
        self.survey_on[asked] = day + 7
        for state, value in (
            (self.placed, False),
            (self.push, 0.0),
            (self.promise_on, NEVER),
            (self.noted, False),
        ):
            state[i] = value
        self.plan_left[i] = 0
        self.agency[i] = NEVER
        paid_off = i[self.k[i] >= self.term[i]]
        self.status[paid_off] = CLOSED
        self.ended[paid_off] = day

    def _terminate(self, i, day: int, status: int) -> None:
        """Charge off, settle or sell. Before the window, the loss is replaced by a current account."""
        if not len(i):
            return
        self.end_arrangement(i[self.arrangement[i] >= 0], day, kept=status == SETTLED)
        self.overdue[i] = False
        self.promise_on[i] = NEVER
        self.plan_left[i] = 0
        if day < self.first:
            self.k[i] = self._fallen_due(i, day, inclusive=True)
            self.part[i] = 0
            self.placed[i] = False
            self.case[i] = NEVER
            self.decision_on[i] = NEVER
            return
        if status == CHARGED_OFF:
            self.written_off[i] = self._balance(i, day)
        self.status[i] = status
        self.ended[i] = day

    def end_arrangement(self, i, day: int, kept: bool) -> None:
        """The arrangement of accounts ``i`` was kept or broken on ``day``."""
        self.events.add("arrangement ends", self.arrangement[i], day, kept)
        self.arrangement[i] = NEVER
        self.arrangement_end[i] = NEVER
        self.plan_left[i] = 0
