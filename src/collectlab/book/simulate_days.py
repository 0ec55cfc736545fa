"""The bank's days, one after the other, vectorised over accounts; only overdue accounts cost time.

A year before the window is simulated and thrown away, so that the book opens with a settled stock of
overdue accounts; losses in that year are written back as current accounts.
"""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np

from collectlab.book import simulate_bank as bank
from collectlab.book import simulate_care as care
from collectlab.book.simulate_bank import AGENCY, CALL, EMAIL, SMS
from collectlab.book.simulate_care import CONTACT, DISPUTE, HARDSHIP, NO_ANSWER, PROMISE, REFUSAL, WRONG
from collectlab.book.simulate_ledger import CHARGED_OFF, CLOSED, NEVER, OPEN, SOLD, Ledger

_VOICE = np.array([False, False, True, False, True, False, True])
_EPOCH = date(1970, 1, 1).toordinal()


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


class Days(Ledger):
    """One chunk of accounts, run from a year before the window to its end.

    Levers, for counterfactual runs; each is an array of the accounts, and −1 leaves the bank as it is:

    ``force``
        The strategy of each episode, instead of the test's arm or the collectors' judgement.
    ``off``
        A channel the account gets no action of once it is placed (see ``Ledger``).
    ``start_channel``, ``start_day``
        A channel, and a day counted from the account's first placement (day 1 is the first on which it can
        be acted on). In the episode of that placement no action of the channel is taken before that day;
        if the account is still overdue on it, one is, in place of whatever the day would have brought;
        later days are as usual. Nothing is forced where the bank would not act at all: a call, letter,
        visit, legal letter or agency contact on a Sunday or within 90 days of hardship relief, or an agency
        contact on an account no agency holds. That action is then not made up for later. A start day past
        the window means never.
    """

    def run(self) -> Days:
        """All days; returns itself."""
        for day in range(self.begin, self.last + 1):
            today = date.fromordinal(day + _EPOCH)
            self.m, self.dom = bank.month_index(today) - self.base, today.day
            if day == self.first:
                self.began_before = np.where(self.overdue, self.began, NEVER)
                self.strategy_before = self.strategy.copy()
                self.events.kept = self.keep
            self._remind(day)
            self._fall_due(day, today)
            i = np.flatnonzero(self.overdue)
            if len(i):
                self._collect(i, day, today)
            care.recover_after_loss(self, day)
            if self.cases:
                care.decide_cases(self, day)
            care.answer_surveys(self, day)
            care.keep_arrangements(self, day)
            month_end = (today + timedelta(days=1)).day == 1
            if month_end:
                self._month_end(day, today)
            if day >= self.first and self.keep and (month_end or self.daily):
                self._snapshot(day)
        return self

    def _remind(self, day: int) -> None:
        """A message three days before the due date, to those overdue in the last half year."""
        dom = date.fromordinal(day + 3 + _EPOCH).day
        i = self.by_due[dom]
        i = i[(self.last_cure[i] > day - 180) & (self.status[i] == OPEN) & ~self.overdue[i]]
        if len(i):
            self.reminded[i] = day
            care.log(
                self, i, np.full(len(i), SMS), day, np.ones(len(i), bool), np.full(len(i), NEVER, np.int8)
            )

    def _fall_due(self, day: int, today: date) -> None:
        a, luck = self.a, self.luck
        i = self.by_due[self.dom]
        due = self.m - self.due0[i]
        i = i[
            (self.status[i] == OPEN)
            & ~self.overdue[i]
            & (due >= 0)
            & (due == self.k[i])
            & (due < self.term[i])
        ]
        if not len(i):
            return
        age = self.m - (a["month"][i] - self.base)
        product = np.array([0.15, 0.20, -0.35, -0.90, 0.10])[a["product"][i]]
        risk = -3.20 - 0.75 * a["ability"][i] - 0.55 * a["willingness"][i] + product
        risk += 0.8 * (self.last_cure[i] > day - 120) + 0.5 * self.forborne[i] - 1.5 * np.exp(-age / 8)
        risk += 0.15 * (today.month == 2) - 0.20 * (self.reminded[i] == day - 3)
        missed = luck.uniform(a["key"][i], "miss", day) < _sigmoid(risk)
        paid, i = i[~missed], i[missed]
        self._paid(paid, self.inst[paid], day)
        self.k[paid] += 1
        over = paid[self.k[paid] >= self.term[paid]]
        self.status[over] = CLOSED
        self.ended[over] = day
        if not len(i):
            return
        self.overdue[i] = True
        self.began[i] = day
        self.placed[i] = False
        self.contacts[i] *= 0.5
        self.complained[i] = False
        care.break_arrangements(self, i, day)
        ability, willingness = a["ability"][i], a["willingness"][i]
        weight = np.tile(bank.REASON_WEIGHT, (len(i), 1))
        weight[:, 0] *= np.exp(0.5 * ability + 0.2 * willingness)
        weight[:, 1] *= np.exp(-0.6 * ability)
        weight[:, 3] *= np.exp(-0.9 * willingness)
        edges = np.cumsum(weight, axis=1)
        u = luck.uniform(a["key"][i], "reason", day) * edges[:, -1]
        self.reason[i] = np.minimum((u[:, None] >= edges).sum(axis=1), len(bank.REASONS) - 1)
        self._assign(i, day)
        self.changed.begin(self, i, day)

    def _assign(self, i, day: int) -> None:
        """Who handles the episode: the test's arm, or (outside the test) the collectors' judgement."""
        a, force = self.a, self.a["force"][i]
        in_test, arm = a["tested"][i], a["arm"][i]
        arm = np.where((force == bank.CHAMPION) | (force == bank.CHALLENGER), force, arm)
        tested = np.where(day >= self.test, arm, bank.CHAMPION)
        hard = 0.85 * (620 - a["score"][i]) / 52 - 0.25 * np.log(a["income"][i] / 8.1e5)
        hard -= self.settings.hidden_confounding * (a["ability"][i] + a["willingness"][i])
        intensive = self.luck.uniform(a["key"][i], "judgement", day) < _sigmoid(-0.3 + 2.8 * hard)
        judged = np.where(intensive, bank.INTENSIVE, bank.STANDARD)
        judged = self.changed.judged(self, i, day, judged)
        if day >= self.first:
            judged = np.where((force == bank.STANDARD) | (force == bank.INTENSIVE), force, judged)
        self.strategy[i] = np.where(in_test, tested, judged)
        rest = i[~in_test]
        self.events.add("assignments", rest, day, self.strategy[rest])

    def _collect(self, i, day: int, today: date) -> None:
        """Actions, promises, payments and hardship among overdue accounts ``i``."""
        a, luck = self.a, self.luck
        key, dpd, arrears = a["key"][i], self._days_past_due(i, day), self._arrears(i, day)
        self.push[i] *= 0.93
        self.contacts[i] *= 0.97
        hardship = self._act(i, dpd, arrears, day, today)

        pay = np.zeros(len(i), np.int64)
        promised = self.promise_on[i] == day
        if promised.any():
            chance = _sigmoid(0.5 + 0.6 * a["ability"][i] + 0.6 * a["willingness"][i] - dpd / 150)
            chance = np.where(self.plan_left[i] > 0, 0.45 + 0.55 * chance, chance)
            keeps = promised & (luck.uniform(key, "keep", day) < chance)
            pay[keeps] = np.minimum(self.promise_cents[i[keeps]], arrears[keeps])
            self.promise_on[i[promised]] = NEVER
            care.step_plans(self, i[promised & (self.plan_left[i] > 0)], i[keeps], day)
        shape = 1 / (1 + dpd / 50)
        drive = bank.PAY[self.reason[i]] * shape
        drive *= np.exp(0.35 * a["ability"][i] + 0.35 * a["willingness"][i] + self.push[i])
        pays = (pay == 0) & (luck.uniform(key, "pay", day) < 1 - np.exp(-drive))
        whole = luck.uniform(key, "whole", day) < _sigmoid(
            1.6 + 0.5 * a["ability"][i] + 0.9 * (self.reason[i] == 0) - dpd / 70
        )
        share = 0.2 + 0.7 * luck.uniform(key, "share", day)
        some = np.maximum(np.round(arrears * share / 100), 1).astype(np.int64) * 100
        pay = np.where(pays, np.where(whole, arrears, np.minimum(some, arrears)), pay)
        # No payment stops between "all that was overdue" and "what falls due today as well".
        overdue_only = self._arrears(i, day, inclusive=False)
        pay = np.where(pay >= overdue_only, np.where(pay > 0, arrears, 0), pay)
        paying = pay > 0
        self._credit(i[paying], pay[paying], day)
        cured = paying & (pay >= arrears)
        self._current(i[cured], day)
        left = ~cured
        idle = left & ~paying
        care.relieve(self, i[idle], hardship[idle], day)
        care.settle(self, i[idle], dpd[idle], day)
        care.file_cases(self, i[left], dpd[left], day)

    def _act(self, i, dpd, arrears, day: int, today: date) -> np.ndarray:
        """At most one action an account a day. Returns who pleaded hardship."""
        a, luck = self.a, self.luck
        stage = np.searchsorted([30, 60, 90, 180], dpd, side="left")
        stage[self._worked_late(i, dpd)] = 0
        pressed = self._pressed(i, day)
        chances = self.changed.chances(self, i, stage)
        chances[:, CALL] += bank.PROBLEMS["pressed_hardship"][3] * pressed
        edges = np.cumsum(chances, axis=1)
        channel = (luck.uniform(a["key"][i], "act", day)[:, None] >= edges).sum(axis=1)
        automatic = np.where((dpd == 3) | (dpd == 10), SMS, np.where(dpd == 7, EMAIL, 7))
        placed = self.placed[i]
        channel = np.where(placed, channel, automatic)
        starts = (a["start_channel"][i] >= 0) & (day - self.t_placed[i] == a["start_day"][i])
        starts &= (self.t_placed[i] >= 0) & (self.t_cured[i] == NEVER)
        channel = np.where(starts, a["start_channel"][i], channel)
        human = channel >= CALL
        channel[human & (today.weekday() == 6)] = 7
        channel[human & (self.quiet_until[i] >= day) & ~(pressed & (channel == CALL))] = 7
        channel[(channel == AGENCY) & (self.agency[i] < 0)] = 7
        channel[self.held_back(i, channel, day)] = 7
        at = np.flatnonzero(channel < 7)
        hardship = np.zeros(len(i), bool)
        if not len(at):
            return hardship
        j, channel = i[at], channel[at]
        key, reason = a["key"][j], self.reason[j]
        voice = _VOICE[channel]
        reach = np.array([1, 1, 0.46, 1, 0.5, 1, 0.42])[channel] * np.where(voice, a["reach"][j], 1)
        wrong = a["wrong_number"][j] & ((channel == CALL) | (channel == AGENCY))
        connected = (luck.uniform(key, "connect", day) < reach) & ~wrong
        third = connected & voice & (luck.uniform(key, "third", day) < 0.04)
        spoke = connected & voice & ~third
        outcome = self._outcome(j, key, reason, spoke, day)
        outcome[voice & ~connected] = NO_ANSWER
        outcome[wrong & (luck.uniform(key, "told wrong", day) < 0.7)] = WRONG
        outcome[third] = CONTACT

        effect = bank.PUSH[channel, reason] * np.where(connected | ~voice, 1.0, 0.10) * ~third
        effect *= np.where(outcome == REFUSAL, 0.5, 1.0) * 0.90 ** self.contacts[j]
        effect *= np.where(
            (channel == SMS) & self.placed[j] & (self.strategy[j] == bank.CHALLENGER), 1.5, 1.0
        )
        effect *= np.where((a["team"][j] == 0) & (channel == CALL), 1.15, 1.0)
        effect *= self.changed.push(self, j, channel)
        self.push[j] = np.minimum(self.push[j] + effect, 1.9)
        self.contacts[j] += np.where(voice, np.where(connected, 1.0, 0.3), 0.05)

        gives = (outcome == PROMISE) & spoke
        free = gives & (self.promise_on[j] == NEVER)
        outcome[gives & ~free] = CONTACT
        p = j[free]
        self.promise_on[p] = (
            day + 3 + np.floor(8 * luck.uniform(key[free], "promise day", day)).astype(np.int64)
        )
        part = np.where(luck.uniform(key[free], "promise part", day) < 0.65, 1.0, 0.5)
        self.promise_cents[p] = np.maximum(np.round(arrears[at][free] * part / 100), 1).astype(np.int64) * 100
        hardship[at[(outcome == HARDSHIP) & spoke]] = True
        self.pleaded[j[(outcome == HARDSHIP) & spoke]] = day
        care.log(self, j, channel, day, connected, outcome, third)
        care.note_reasons(self, j[spoke], day)
        care.complain(self, j, channel, third, day)
        return hardship

    def _worked_late(self, i, dpd) -> np.ndarray:
        """Whether accounts ``i`` have reached the second stage and are still worked as in the first."""
        if "late_stage" not in self.settings.problems:
            return np.zeros(len(i), bool)
        return (self.a["branch"][i] == 3) & (dpd <= bank.PROBLEMS["late_stage"][3])

    def _pressed(self, i, day: int) -> np.ndarray:
        """Whether accounts ``i`` have told of hardship and are called all the more."""
        if "pressed_hardship" not in self.settings.problems:
            return np.zeros(len(i), bool)
        told = (self.pleaded[i] >= self.began[i]) & (day - self.pleaded[i] <= 60)
        return told & (self.a["team"][i] == 0) & self.placed[i]

    def held_back(self, i, channel, day: int) -> np.ndarray:
        """Whether a lever keeps ``channel`` from accounts ``i`` on ``day``."""
        a, placed = self.a, self.t_placed[i]
        later = (channel == a["start_channel"][i]) & (day - placed < a["start_day"][i])
        return (placed >= 0) & ((channel == a["off"][i]) | (later & (self.t_cured[i] == NEVER)))

    def _outcome(self, j, key, reason, spoke, day: int) -> np.ndarray:
        """What was said, where someone was reached."""
        a = self.a
        pleads = np.where((reason == 1) | (reason == 2), 0.16, 0.005)
        disputes = np.where(reason == 4, 0.45, 0.015)
        refuses = np.where(reason == 3, 0.35, 0.05)
        promises = 0.65 * _sigmoid(0.3 * a["ability"][j] + 0.6 * a["willingness"][j])
        u = self.luck.uniform(key, "outcome", day)
        edges = np.cumsum(np.stack([pleads, disputes, refuses, promises], axis=1), axis=1)
        said = np.array([HARDSHIP, DISPUTE, REFUSAL, PROMISE, CONTACT])[(u[:, None] >= edges).sum(axis=1)]
        return np.where(spoke, said, NEVER).astype(np.int8)

    # The month's end ----------------------------------------------------------------------------------

    def _month_end(self, day: int, today: date) -> None:
        """Put new cases on the work list, hand old ones to agencies, charge off, sell."""
        a, luck = self.a, self.luck
        i = np.flatnonzero(self.overdue)
        dpd, key, product = self._days_past_due(i, day), a["key"][i], a["product"][i]
        new = i[(dpd > 0) & ~self.placed[i]]
        self.placed[new] = True
        self.events.add("placements", new, day, self.began[new])
        first = i[
            (dpd > a["anchor_dpd"][i]) & (self.t_placed[i] == NEVER) & (self.began[i] >= a["anchor"][i])
        ]
        self.t_placed[first] = day
        self.t_strategy[first] = self.strategy[first]

        given = i[
            (dpd > 90) & (self.agency[i] < 0) & ~a["secured"][i] & (luck.uniform(key, "give", day) < 0.5)
        ]
        self.agency[given] = a["agency"][given]
        limit = np.array([180, 180, 300, 450, 210])[product]
        off = (dpd >= limit) & (luck.uniform(key, "charge off", day) < 0.9)
        sold = (
            (dpd >= 120) & ~a["secured"][i] & (today.month % 3 == 0) & (luck.uniform(key, "sell", day) < 0.12)
        )
        self._terminate(i[off], day, CHARGED_OFF)
        self._terminate(i[sold & ~off], day, SOLD)
        care.ask_unhappy(self, i[(dpd > 0) & ~off & ~sold], day)

    def _snapshot(self, day: int) -> None:
        """Open and charged-off accounts; settled, sold and closed ones to the end of that month only."""
        previous = self.month_start[self.m] - 1
        shown = (self.originated <= day) & (
            (self.status == OPEN) | (self.status == CHARGED_OFF) | (self.ended > previous)
        )
        i = np.flatnonzero(shown)
        status = self.status[i]
        dpd = np.where(status <= CHARGED_OFF, self._days_past_due(i, day), 0)
        due = np.where(status == OPEN, self._arrears(i, day, inclusive=False), 0)
        balance = np.where(status == OPEN, self._balance(i, day), 0)
        lost = status == CHARGED_OFF
        due[lost] = balance[lost] = self.written_off[i[lost]]
        kinds = (np.int32, np.int32, np.int64, np.int64, np.int8, bool)
        columns: tuple[np.ndarray, ...] = (i, dpd, due, balance, status, self.forborne[i])
        self.snapshots.append((day, *(c.astype(k) for c, k in zip(columns, kinds))))
