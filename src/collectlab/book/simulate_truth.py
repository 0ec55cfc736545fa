"""The truth of a simulated bank: the same accounts lived twice, with the same luck, one lever apart."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import numpy as np
import pandas as pd

from collectlab.book import simulate_bank as bank
from collectlab.book.simulate_bank import Luck, Settings, draw_accounts
from collectlab.book.simulate_days import Days

CHUNK = 50_000

#: Late channels are judged from the first month-end beyond these days past due, the others from the first.
IN_USE_FROM = {"legal": 60, "agency": 90}
SCORE_BANDS = ((0, 600, "under 600"), (600, 660, "600–659"), (660, 10_000, "660 and over"))

#: Outcome -> (unit, what it is). All count from the first month-end at which an episode is seen.
OUTCOMES = {
    "cured_60d": ("points", "back to current within 60 days"),
    "paid_90d": ("money", "CNY paid within 90 days"),
    "cost_90d": ("money", "CNY spent on actions within 90 days while not yet cured"),
    "complaints_90d": ("number", "complaints within 90 days while not yet cured"),
}


def _lived(settings: Settings, accounts: int, anchor: date, anchor_dpd: int = 0) -> pd.DataFrame:
    """One row per account: its first placement, as ``Days`` defines it, and what came of it."""
    luck, parts = Luck(settings.seed), []
    for first in range(0, accounts, CHUNK):
        a = draw_accounts(settings, luck, first, min(first + CHUNK, accounts))
        d = Days(settings, luck, a, keep=False, anchor=anchor, anchor_dpd=anchor_dpd).run()
        cured = (d.t_cured >= 0) & (d.t_cured - d.t_placed <= 60)
        parts.append(
            pd.DataFrame(
                {
                    # 90 days of follow-up inside the window, for everybody.
                    "followed": (d.t_placed >= 0) & (d.t_placed <= d.last - 90),
                    "tested": a["tested"],
                    "arm": a["arm"],
                    "strategy": d.t_strategy,
                    "channels": d.t_channels,
                    "product": np.array(bank.PRODUCTS)[a["product"]],
                    "score": a["score"],
                    "cured_60d": cured.astype(float),
                    "paid_90d": d.t_paid / 100,
                    "cost_90d": d.t_cost / 100,
                    "complaints_90d": d.t_complaints.astype(float),
                }
            )
        )
    return pd.concat(parts, ignore_index=True)


def effects_truth(settings: Settings, accounts: int) -> pd.DataFrame:
    """What each strategy and channel causes, by segment.

    Estimand: mean over episodes of Y(with) − Y(without), Y counted from the first month-end at which the
    episode is seen overdue; the episodes are each account's first one begun on or after the start of the
    window (of the test, for champion and challenger), with 90 days of follow-up. Both outcomes of each
    episode come from running the bank twice with the same random numbers, so up to that month-end the
    two lives are the same, and ``std_error`` (of the mean difference) is only the Monte-Carlo error.

    ``population`` is ``all`` (each such episode) or ``received`` (those that did receive it). ``naive`` is
    what the plain comparison of those who received it with those who did not gives in the same episodes.
    For channels, *without* switches the channel off from that month-end on; *received* means at least one
    action of the channel within 60 days while not yet cured. Legal action is counted from the first
    month-end beyond 60 days past due, agencies from the first beyond 90.
    """
    start = settings.window_start
    fact = _lived(settings, accounts, start)
    rows = []
    with_challenger, with_champion = (
        _lived(replace(settings, force=arm), accounts, settings.test_start)
        for arm in (bank.CHALLENGER, bank.CHAMPION)
    )
    challenged = with_challenger["arm"] == bank.CHALLENGER
    test_fact = with_champion.where(~challenged, with_challenger)
    inside = (test_fact["followed"] & test_fact["tested"]).astype(bool)
    rows += _rows(
        ("strategy", "challenger", "champion"),
        with_challenger, with_champion, test_fact, inside, challenged, ("all",),
    )  # fmt: skip
    hard, soft = (
        _lived(replace(settings, force=s), accounts, start) for s in (bank.INTENSIVE, bank.STANDARD)
    )
    inside = fact["followed"] & ~fact["tested"]
    received = fact["strategy"] == bank.INTENSIVE
    rows += _rows(
        ("strategy", "intensive", "standard"), hard, soft, fact, inside, received, ("all", "received")
    )
    stages = {0: fact, 60: _lived(settings, accounts, start, 60), 90: _lived(settings, accounts, start, 90)}
    for code, channel in enumerate(bank.CHANNELS):
        fact = stages[IN_USE_FROM.get(channel, 0)]
        without = _lived(replace(settings, channel_off=code), accounts, start, IN_USE_FROM.get(channel, 0))
        received = (fact["channels"] // 2**code) % 2 == 1
        rows += _rows(
            ("channel", channel, "none"), fact, without, fact, fact["followed"], received, ("all", "received")
        )
    return pd.DataFrame(rows)


def _rows(what, with_it, without, fact, inside, received, populations) -> list[dict]:
    rows = []
    for population in populations:
        members = inside & received if population == "received" else inside
        for by, segment, mask in _segments(fact):
            chosen, compared = members & mask, inside & mask
            n = int(chosen.sum())
            if n < 2:
                continue
            for outcome, (unit, meaning) in OUTCOMES.items():
                gain = with_it.loc[chosen, outcome] - without.loc[chosen, outcome]
                got, not_got = (fact.loc[compared & side, outcome] for side in (received, ~received))
                rows.append(
                    {
                        "kind": what[0],
                        "name": what[1],
                        "versus": what[2],
                        "outcome": outcome,
                        "meaning": meaning,
                        "unit": unit,
                        "population": population,
                        "segment_by": by,
                        "segment": segment,
                        "episodes": n,
                        "estimate": round(gain.mean(), 5),
                        "std_error": round(gain.std(ddof=1) / np.sqrt(n), 5),
                        "without": round(without.loc[chosen, outcome].mean(), 5),
                        "naive": round(got.mean() - not_got.mean(), 5),
                    }
                )
    return rows


def _segments(fact: pd.DataFrame):
    yield "all", "all", pd.Series(True, index=fact.index)
    for product in bank.PRODUCTS:
        yield "product", product, fact["product"] == product
    for low, high, label in SCORE_BANDS:
        yield "credit_score", label, (fact["score"] >= low) & (fact["score"] < high)


def problems_truth(settings: Settings) -> pd.DataFrame:
    """What was planted: where, what is wrong there, how strongly, and the level elsewhere."""
    return pd.DataFrame(
        [
            {
                "problem": name,
                "planted": name in settings.problems,
                "where_column": where,
                "where": place,
                "what": what,
                "level": level if name in settings.problems else elsewhere,
                "level_elsewhere": elsewhere,
            }
            for name, (where, place, what, level, elsewhere) in bank.PROBLEMS.items()
        ]
    )
