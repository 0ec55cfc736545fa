"""What surrounds payment in the simulated bank: logs, complaints, surveys, hardship, settlement, courts.

Each function takes the running :class:`~collectlab.book.simulate_days.Days` as ``s`` and accounts ``i``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from collectlab.book import simulate_bank as bank
from collectlab.book.simulate_bank import AGENCY, CALL, LEGAL
from collectlab.book.simulate_ledger import CHARGED_OFF, NEVER, SETTLED

if TYPE_CHECKING:
    from collectlab.book.simulate_days import Days

NO_ANSWER, CONTACT, PROMISE, REFUSAL, DISPUTE, HARDSHIP, WRONG = range(7)
PLAN, DEFERRAL, RATE_CUT, RESTRUCTURING, SETTLEMENT = range(5)
JUDGMENT, COURT_SETTLEMENT, DISMISSED = range(3)


def log(s: Days, i, channel, day: int, connected, outcome, third=None) -> None:
    """Write actions down, with their time of day and cost, and add the cost to the truth's memory."""
    key, u = s.a["key"][i], s.luck.uniform
    third = np.zeros(len(i), bool) if third is None else third
    in_house = (channel == CALL) & (s.a["team"][i] == 2)
    night = (
        in_house & (u(key, "night", day) < bank.PROBLEMS["night_calls"][3])
        if "night_calls" in s.settings.problems
        else np.zeros(len(i), bool)
    )
    minute = np.where(
        channel <= 1, 9 * 60 + 120 * u(key, "minute", day), 9 * 60 + 600 * u(key, "minute", day)
    )
    minute = np.where(night, 21 * 60 + 120 * u(key, "minute", day), minute).astype(np.int64)
    agency = np.where(channel == AGENCY, s.agency[i], NEVER)
    skips = np.where(
        (agency == 1) & ("unrecorded_calls" in s.settings.problems),
        bank.PROBLEMS["unrecorded_calls"][3],
        0.02,
    )
    recorded = u(key, "record", day) >= skips
    cost = bank.COST[channel] + np.where(connected, bank.COST_CONNECTED[channel], 0)
    promised = outcome == PROMISE
    s.events.add(
        "actions",
        i,
        day,
        minute,
        channel,
        connected,
        outcome,
        third,
        agency,
        recorded,
        cost,
        np.where(promised, s.promise_on[i], NEVER),
        np.where(promised, s.promise_cents[i], 0),
    )
    since = day - s.t_placed[i]
    within = (s.t_placed[i] >= 0) & (since > 0) & (s.t_cured[i] == NEVER)
    s.t_cost[i] += np.where(within & (since <= 90), cost, 0)
    s.t_channels[i] |= np.where(within & (since <= 60), 1 << channel, 0)


def note_reasons(s: Days, i, day: int) -> None:
    """The first time the debtor is spoken to in an episode, a reason is noted; one in eight is wrong."""
    i = i[~s.noted[i]]
    s.noted[i] = True
    key = s.a["key"][i]
    other = np.floor(len(bank.REASONS) * s.luck.uniform(key, "other reason", day)).astype(np.int8)
    said = np.where(s.luck.uniform(key, "true reason", day) < 0.86, s.reason[i], other)
    s.events.add("reasons", i, day, said)


def complain(s: Days, i, channel, third, day: int) -> None:
    """Complaints grow with pressure: with the number of recent contacts, and faster than it."""
    weight = np.array([0.05, 0.02, 1.0, 0.2, 2.0, 1.0, 1.8])[channel]
    key = s.a["key"][i]
    chance = 0.0018 * weight * (1 + s.contacts[i]) ** 1.3 + 0.03 * third
    if "night_calls" in s.settings.problems:
        night = s.luck.uniform(key, "night", day) < bank.PROBLEMS["night_calls"][3]
        chance = chance + 0.02 * (night & (channel == CALL) & (s.a["team"][i] == 2))
    hit = s.luck.uniform(key, "complain", day) < chance
    i, key, third = i[hit], key[hit], third[hit]
    kind = np.floor(4 * s.luck.uniform(key, "complaint kind", day)).astype(np.int8)
    kind = np.where(third, 4, np.where(s.contacts[i] > 3, 0, kind))
    minute = (8 * 60 + 14 * 60 * s.luck.uniform(key, "complaint minute", day)).astype(np.int64)
    s.events.add("complaints", i, day, minute, kind, s.luck.uniform(key, "upheld", day) < 0.35)
    s.complained[i] = True
    s.t_complaints[i] += (s.t_placed[i] >= 0) & (s.t_cured[i] == NEVER) & (day - s.t_placed[i] <= 90)


# Surveys ------------------------------------------------------------------------------------------------


def ask_unhappy(s: Days, i, day: int) -> None:
    """One in twenty of those still overdue at a month's end is asked too (a week later)."""
    asked = i[s.luck.uniform(s.a["key"][i], "ask overdue", day) < 0.05]
    s.survey_on[asked] = day + 7


def answer_surveys(s: Days, day: int) -> None:
    """Satisfaction falls with contacts and complaints; both the angry and the pleased answer more often."""
    i = np.flatnonzero(s.survey_on == day)
    if not len(i):
        return
    key = s.a["key"][i]
    score = 84 - 2.0 * s.contacts[i] - 24 * s.complained[i] - 9 * s.overdue[i] + 6 * s.forborne[i]
    score = np.clip(np.round(score + 10 * s.luck.normal(key, "mood", day)), 0, 100).astype(np.int64)
    answers = s.luck.uniform(key, "answer", day) < 0.30 + 0.010 * np.abs(score - 78)
    minute = (10 * 60 + 600 * s.luck.uniform(key, "survey minute", day)).astype(np.int64)
    s.events.add("invitations", i, day, score)
    s.events.add("surveys", i[answers], day, minute[answers], score[answers])


# Hardship and other arrangements ------------------------------------------------------------------------


def _start(s: Days, i, kind, day: int) -> None:
    number = s.arrangements + np.arange(len(i))
    s.arrangements += len(i)
    s.arrangement[i] = number
    s.events.add("arrangements", i, number, kind, day, s.reason[i])


def keep_arrangements(s: Days, day: int) -> None:
    """Those who stayed current to the end of theirs kept it."""
    if s.arrangements:
        s.end_arrangement(np.flatnonzero(s.arrangement_end == day), day, kept=True)


def break_arrangements(s: Days, i, day: int) -> None:
    """A missed instalment breaks a running arrangement."""
    s.end_arrangement(i[s.arrangement[i] >= 0], day, kept=False)


def step_plans(s: Days, due, kept, day: int) -> None:
    """A payment plan goes on to its next instalment where this one was kept, else it is broken."""
    keeps = np.isin(due, kept)
    broken = due[~keeps]
    s.end_arrangement(broken[s.arrangement[broken] >= 0], day, kept=False)
    goes = due[keeps & (s.plan_left[due] > 1)]
    s.plan_left[goes] -= 1
    s.promise_on[goes] = day + 30
    rest = s._arrears(goes, day) - s.promise_cents[goes] + s.inst[goes]
    s.promise_cents[goes] = np.ceil(rest / np.maximum(s.plan_left[goes], 1) / 100).astype(np.int64) * 100


def relieve(s: Days, i, pleads, day: int) -> None:
    """Grant relief to those who plead hardship, or apply for it, once; most kinds make the account current."""
    a, luck = s.a, s.luck
    key = a["key"][i]
    applies = (
        ((s.reason[i] == 1) | (s.reason[i] == 2)) & s.placed[i] & (luck.uniform(key, "apply", day) < 0.0015)
    )
    i = i[(pleads | applies) & (s.arrangement[i] == NEVER) & ~s.forborne[i]]
    i = i[luck.uniform(a["key"][i], "grant", day) < 0.5]
    if not len(i):
        return
    u = luck.uniform(a["key"][i], "relief", day)
    kind = np.searchsorted([0.45, 0.72, 0.84], u, side="right")
    kind = np.where((a["product"][i] == 1) & (kind > DEFERRAL), PLAN, kind)
    _start(s, i, kind, day)
    s.quiet_until[i] = day + 90
    plan = i[kind == PLAN]
    s.plan_left[plan] = 4
    s.promise_on[plan] = day + 10
    s.promise_cents[plan] = np.ceil((s._arrears(plan, day) + 3 * s.inst[plan]) / 400).astype(np.int64) * 100

    eased, kind = i[kind != PLAN], kind[kind != PLAN]
    left = np.maximum(s.term[eased] - s.k[eased], 1)
    longer = np.where(kind == RESTRUCTURING, np.ceil(left / 0.7).astype(np.int64), left)
    share = np.choose(kind, [1.0, 1.0, 0.85, 0.7])
    s.ratio[eased] *= left / longer
    s.term[eased] = s.k[eased] + longer
    s.inst[eased] = np.maximum(np.round(s.inst[eased] * share), 2_000).astype(np.int64)
    s.part[eased] = np.minimum(s.part[eased], s.inst[eased] - 1)
    wait = np.where(kind == DEFERRAL, 3, 0)
    due = s.m + (a["due_day"][eased] <= s.dom) + wait
    s.due0[eased] = due - s.k[eased]
    s.forborne[eased] = True
    s.arrangement_end[eased] = day + 120 + 30 * wait
    s._current(eased, day)


def settle(s: Days, i, dpd, day: int) -> None:
    """From 90 days past due a lump sum of 55–80 % of an unsecured balance may close the account."""
    a, luck = s.a, s.luck
    i = i[(dpd > 90) & ~a["secured"][i] & (s.arrangement[i] == NEVER)]
    drive = 0.0016 * np.exp(0.4 * a["ability"][i] + 0.5 * s.push[i])
    i = i[luck.uniform(a["key"][i], "settle", day) < drive]
    if not len(i):
        return
    _start(s, i, SETTLEMENT, day)
    paid = s._balance(i, day) * (0.55 + 0.25 * luck.uniform(a["key"][i], "lump sum", day))
    s._paid(i, np.round(paid / 100).astype(np.int64) * 100, day)
    s._terminate(i, day, SETTLED)


# Courts and losses --------------------------------------------------------------------------------------


def file_cases(s: Days, i, dpd, day: int) -> None:
    """From 105 days past due larger debts go to court."""
    a = s.a
    i = i[(dpd > 105) & (s.case[i] == NEVER) & s.placed[i]]
    i = i[s.luck.uniform(a["key"][i], "file", day) < 0.006]
    i = i[s._balance(i, day) >= 1_500_000]
    i = i[~s.held_back(i, np.full(len(i), LEGAL), day)]
    if not len(i):
        return
    s.case[i] = s.cases + np.arange(len(i))
    s.cases += len(i)
    s.decision_on[i] = (
        day + 50 + np.floor(120 * s.luck.uniform(a["key"][i], "court days", day)).astype(np.int64)
    )
    s.push[i] = np.minimum(s.push[i] + bank.PUSH[LEGAL, s.reason[i]], 1.9)
    cost = 60_000 + np.round(0.01 * s._balance(i, day) / 100).astype(np.int64) * 100
    s.events.add("cases", i, s.case[i], day, cost)


def decide_cases(s: Days, day: int) -> None:
    """The court decides; what it brings in is paid in that day."""
    i = np.flatnonzero(s.decision_on == day)
    if not len(i):
        return
    a, u = s.a, s.luck.uniform
    open_debt = s.overdue[i] | (s.status[i] == CHARGED_OFF)
    verdict = np.searchsorted([0.72, 0.90], u(a["key"][i], "verdict", day), side="right")
    verdict = np.where(open_debt, verdict, DISMISSED)
    share = np.clip(0.35 + 0.25 * a["ability"][i], 0.05, 0.9) * u(a["key"][i], "execution", day)
    owed = np.where(s.status[i] == CHARGED_OFF, s.written_off[i], s._arrears(i, day))
    recovered = np.round(owed * share * (verdict != DISMISSED) / 100).astype(np.int64) * 100
    recovered = np.minimum(recovered, owed * 95 // 100)
    s.events.add("decisions", s.case[i], day, verdict, recovered)
    lost = s.status[i] == CHARGED_OFF
    s.written_off[i[lost]] -= recovered[lost]
    s._paid(i[recovered > 0], recovered[recovered > 0], day)
    standing = ~lost & (recovered > 0)
    j, cents = i[standing], recovered[standing]
    total = s.part[j] + cents
    s.k[j] += total // s.inst[j]
    s.part[j] = total % s.inst[j]
    now_current = s.k[j] >= s._fallen_due(j, day, inclusive=True)
    s._current(j[now_current], day)
    s.decision_on[i] = NEVER
    s.case[i] = NEVER


def recover_after_loss(s: Days, day: int) -> None:
    """Charged-off debt still brings in a little."""
    i = np.flatnonzero(s.status == CHARGED_OFF)
    if not len(i):
        return
    a = s.a
    i = i[s.luck.uniform(a["key"][i], "late", day) < 0.0016 * np.exp(0.4 * a["ability"][i])]
    cents = np.round(s.written_off[i] * (0.02 + 0.2 * s.luck.uniform(a["key"][i], "late share", day)) / 100)
    cents = cents.astype(np.int64) * 100
    i, cents = i[cents > 0], cents[cents > 0]
    s.written_off[i] -= cents
    s._paid(i, cents, day)
