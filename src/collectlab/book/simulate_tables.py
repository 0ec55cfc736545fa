"""From the simulator's arrays to the contract's tables, as Arrow."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from collectlab.book import simulate_bank as bank
from collectlab.book.simulate_bank import AGENCY, CALL, EMAIL, LEGAL, SMS, VISIT
from collectlab.book.simulate_days import Days
from collectlab.book.simulate_ledger import NEVER

STATUSES = ("open", "charged_off", "settled", "sold", "closed")
OUTCOMES = ("no_answer", "contact", "promise", "refusal", "dispute", "hardship", "wrong_number")
KINDS = ("payment_plan", "deferral", "rate_cut", "restructuring", "settlement")
COMPLAINTS = ("too_many_contacts", "rudeness", "wrong_charge", "slow_process", "privacy")
RESULTS = ("judgment", "court_settlement", "withdrawn")
TEAMS = (
    "Digital",
    "Call team 1",
    "Call team 2",
    "Call team 3",
    "Mail room",
    "Field team 1",
    "Field team 2",
    "Legal desk",
)


def _names(codes: np.ndarray, names) -> pa.Array:
    """Texts for whole-number codes; a negative code is a null."""
    codes = np.asarray(codes)
    return pa.array([*names], pa.string()).take(pa.array(codes, pa.int64(), mask=codes < 0))


def _money(cents: np.ndarray, mask: np.ndarray | None = None) -> pa.Array:
    return pa.array(np.asarray(cents) / 100, pa.float64(), mask=mask)


def _dates(days: np.ndarray) -> pa.Array:
    days = np.asarray(days)
    return pa.array(days.astype(np.int32), pa.int32(), mask=days < 0).cast(pa.date32())


def _times(days: np.ndarray, minutes: np.ndarray) -> pa.Array:
    micros = (np.asarray(days, np.int64) * 1440 + np.asarray(minutes, np.int64)) * 60_000_000
    return pa.array(micros, pa.int64()).cast(pa.timestamp("us"))


def account_names(index: np.ndarray) -> pa.Array:
    return pa.array([f"L{i + 1:07d}" for i in index], pa.string())


def tables_of(days: Days, action_offset: int) -> dict[str, pa.Table]:
    """The ten contract tables of one chunk, sorted by account and date."""
    events, a = days.events, days.a
    names = account_names(a["index"])
    tables = {
        "accounts": _accounts(days, names),
        "snapshots": _snapshots(days, names),
    }

    def ids(i: np.ndarray) -> pa.Array:
        return names.take(pa.array(i, pa.int64()))

    i, day, cents = _ordered(events.columns("payments", 3), 2)
    tables["payments"] = pa.table({"account_id": ids(i), "paid_on": _dates(day), "amount": _money(cents)})
    tables["actions"] = _actions(days, ids, action_offset)
    tables["assignments"] = _assignments(days, ids)
    tables["arrangements"] = _arrangements(days, ids)

    i, day, minute, kind, upheld = _ordered(events.columns("complaints", 5), 3)
    tables["complaints"] = pa.table(
        {
            "account_id": ids(i),
            "at": _times(day, minute),
            "kind": _names(kind, COMPLAINTS),
            "upheld": pa.array(upheld.astype(bool)),
        }
    )
    i, day, minute, score = _ordered(events.columns("surveys", 4), 3)
    tables["surveys"] = pa.table(
        {"account_id": ids(i), "at": _times(day, minute), "score": pa.array(score, pa.float64())}
    )
    tables["legal_cases"] = _legal_cases(days, ids)
    i, day, reason = _ordered(events.columns("reasons", 3), 2)
    tables["reasons"] = pa.table(
        {"account_id": ids(i), "noted_on": _dates(day), "reason": _names(reason, bank.REASONS)}
    )
    return tables


def _ordered(columns: list[np.ndarray], keys: int) -> list[np.ndarray]:
    """Rows sorted by the first ``keys`` columns."""
    order = np.lexsort(tuple(columns[k] for k in reversed(range(keys))))
    return [column[order] for column in columns]


def _originated(days: Days) -> np.ndarray:
    """The true day of origination (the ledger's own is cut at the start of the simulation)."""
    start = (days.a["month"] - 1970 * 12).astype("datetime64[M]").astype("datetime64[D]").astype(np.int64)
    return start + days.a["day_of_month"] - 1


def _accounts(days: Days, names: pa.Array) -> pa.Table:
    a = days.a
    card = a["product"] == 1
    return pa.table(
        {
            "account_id": names,
            "customer_id": pa.array([f"C{i + 1:07d}" for i in a["customer"]], pa.string()),
            "product": _names(a["product"], bank.PRODUCTS),
            "secured": pa.array(a["secured"]),
            "originated_on": _dates(_originated(days)),
            "origination_channel": _names(a["origination"], bank.ORIGINATION),
            "principal": _money(a["principal"]),
            "annual_rate": pa.array(a["rate"]),
            "term_months": pa.array(a["term"], pa.int32(), mask=card),
            "instalment": _money(a["instalment"]),
            "branch": _names(a["branch"], [f"Branch {b + 1:02d}" for b in range(bank.BRANCHES)]),
            "region": _names(a["region"], bank.REGIONS),
            "credit_score": pa.array(a["score"], pa.int32()),
            "age": pa.array(a["age"], pa.int32()),
            "gender": _names(a["gender"], ("male", "female")),
            "occupation": _names(a["occupation"], bank.OCCUPATIONS),
            "monthly_income": _money(a["income"]),
        }
    )


def _snapshots(days: Days, names: pa.Array) -> pa.Table:
    days_, parts = [s[0] for s in days.snapshots], [s[1:] for s in days.snapshots]
    columns = [np.concatenate(c) for c in zip(*parts)]
    day = np.repeat(np.array(days_, np.int32), [len(p[0]) for p in parts])
    days.snapshots.clear()
    # Already in date order: a stable sort by account is enough.
    order = np.argsort(columns[0], kind="stable")
    i, dpd, due, balance, status, forborne = (c[order] for c in columns)
    return pa.table(
        {
            "account_id": names.take(pa.array(i)),
            "as_of": _dates(day[order]),
            "days_past_due": pa.array(dpd, pa.int32()),
            "balance": _money(balance),
            "amount_past_due": _money(due),
            "status": _names(status, STATUSES),
            "forborne": pa.array(forborne),
        }
    )


def _actions(days: Days, ids, offset: int) -> pa.Table:
    a = days.a
    columns = _ordered(days.events.columns("actions", 12), 3)
    i, day, minute, channel, connected, outcome, third, agency, recorded, cost, promised_on, promised = (
        columns
    )
    connected, third = connected.astype(bool), third.astype(bool)
    voice = np.isin(channel, (CALL, VISIT, AGENCY))
    team = np.array([0, 0, 1, 4, 5, 7, NEVER])[channel]
    team = team + np.where(channel == CALL, a["team"][i], 0)
    team = team + np.where(channel == VISIT, a["region"][i] // 2, 0)
    crew = max(4, days.settings.accounts // 2_000)
    slot = (a["index"][i] * 7 + day // 7) % crew
    agent = np.where(np.isin(channel, (CALL, VISIT, LEGAL)), team * crew + slot, NEVER)
    spoken = voice & connected
    party = np.where(third, 1, np.where(voice & ~connected, NEVER, 0))
    asked = np.isin(channel, (SMS, EMAIL, CALL, AGENCY)) & ~third
    return pa.table(
        {
            "action_id": pa.array([f"N{k + 1:09d}" for k in range(offset, offset + len(i))], pa.string()),
            "account_id": ids(i),
            "at": _times(day, minute),
            "channel": _names(channel, bank.CHANNELS),
            "team": _names(team, TEAMS),
            "agent": _names(agent, [f"A{k + 1:03d}" for k in range(crew * len(TEAMS))]),
            "agency": _names(
                np.where(channel == AGENCY, agency, NEVER), ("Agency 1", "Agency 2", "Agency 3")
            ),
            "party": _names(party, ("debtor", "third_party")),
            "connected": pa.array(connected, mask=~voice),
            "outcome": _names(outcome, OUTCOMES),
            "promised_amount": _money(promised, mask=promised_on < 0),
            "promised_on": _dates(promised_on),
            "recorded": pa.array(recorded.astype(bool), mask=~spoken),
            "consent": pa.array(a["consent"][i], mask=~asked),
            "cost": _money(cost),
        }
    )


def _assignments(days: Days, ids) -> pa.Table:
    """The test's arms, known from the test's first day; elsewhere one row an episode, by judgement.

    Before the test all its accounts were handled as champion, and a row that is not randomised says so.
    """
    a = days.a
    i, day, strategy = days.events.columns("assignments", 3)
    standing = np.flatnonzero((days.began_before >= 0) & ~a["tested"])
    tested = np.flatnonzero(a["tested"])
    granted = _originated(days)
    before = tested[granted[tested] < days.test]
    columns = [
        np.concatenate(parts)
        for parts in (
            (i, standing, before, tested),
            (
                day,
                days.began_before[standing],
                granted[before],
                np.maximum(granted[tested], days.test),
            ),
            (
                strategy,
                days.strategy_before[standing],
                np.full(len(before), bank.CHAMPION),
                a["arm"][tested],
            ),
            (
                np.zeros(len(i) + len(standing) + len(before), bool),
                np.ones(len(tested), bool),
            ),
        )
    ]
    i, day, strategy, randomised = _ordered(columns, 2)
    return pa.table(
        {
            "account_id": ids(i),
            "strategy": _names(strategy, bank.STRATEGIES),
            "assigned_on": _dates(day),
            "randomised": pa.array(randomised),
            "propensity": pa.array(np.full(len(i), 0.5), mask=~randomised),
            "block": _names(np.where(randomised, a["region"][i], NEVER), bank.REGIONS),
        }
    )


def _lookup(keys: np.ndarray, facts: list[np.ndarray], wanted: np.ndarray) -> list[np.ndarray]:
    """For each of ``wanted``, the columns of ``facts`` whose key it is; NEVER where there is none."""
    if not len(keys):
        return [np.full(len(wanted), NEVER) for _ in facts]
    order = np.argsort(keys, kind="stable")
    at = np.minimum(np.searchsorted(keys[order], wanted), len(keys) - 1)
    found = keys[order][at] == wanted
    return [np.where(found, fact[order][at].astype(np.int64), NEVER) for fact in facts]


def _arrangements(days: Days, ids) -> pa.Table:
    i, number, kind, day, reason = _ordered(days.events.columns("arrangements", 5), 2)
    keys, ended, kept = days.events.columns("arrangement ends", 3)
    ended_on, kept = _lookup(keys, [ended, kept], number)
    return pa.table(
        {
            "account_id": ids(i),
            "kind": _names(kind, KINDS),
            "started_on": _dates(day),
            "ended_on": _dates(ended_on),
            "reason": _names(reason, bank.REASONS),
            "status": _names(np.where(kept < 0, 0, 2 - kept), ("active", "kept", "broken")),
        }
    )


def _legal_cases(days: Days, ids) -> pa.Table:
    i, number, day, cost = _ordered(days.events.columns("cases", 4), 2)
    keys, *facts = days.events.columns("decisions", 4)
    decided_on, verdict, recovered = _lookup(keys, facts, number)
    pending = decided_on < 0
    hearing = pending & (days.last - day > 45)
    return pa.table(
        {
            "account_id": ids(i),
            "filed_on": _dates(day),
            "stage": _names(np.where(pending, hearing, 2), ("filed", "hearing", "decided")),
            "decided_on": _dates(decided_on),
            "result": _names(verdict, RESULTS),
            "cost": _money(cost),
            "recovered": _money(np.maximum(recovered, 0), mask=pending),
        }
    )
