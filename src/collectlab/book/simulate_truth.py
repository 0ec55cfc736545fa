"""The truth of a simulated bank: the same accounts lived twice, with the same luck, one lever apart."""

from __future__ import annotations

import numpy as np
import pandas as pd

from collectlab.book import simulate_bank as bank
from collectlab.book.simulate_bank import Luck, Settings, draw_accounts
from collectlab.book.simulate_days import Days
from collectlab.book.simulate_ledger import NEVER

CHUNK = 20_000

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


def _lived(settings: Settings, luck: Luck, a: dict[str, np.ndarray], runs: list[dict]) -> list[pd.DataFrame]:
    """Live the same accounts once for each run (its levers: force, off, anchor, anchor_dpd), side by side.

    Returns, for each run, one row per account: its first placement, as ``Ledger`` defines it, and what came
    of it. The runs share one pass over the days, because a pass costs much the same for few accounts.
    """
    n = len(a["key"])
    stacked = {name: np.tile(column, len(runs)) for name, column in a.items()}
    for r, run in enumerate(runs):
        for lever, value in run.items():
            stacked[lever][r * n : (r + 1) * n] = value
    d = Days(settings, luck, stacked, keep=False).run()
    cured = (d.t_cured >= 0) & (d.t_cured - d.t_placed <= 60)
    frame = pd.DataFrame(
        {
            # 90 days of follow-up inside the window, for everybody.
            "followed": (d.t_placed >= 0) & (d.t_placed <= d.last - 90),
            "strategy": d.t_strategy,
            "channels": d.t_channels,
            "cured_60d": cured.astype(float),
            "paid_90d": d.t_paid / 100,
            "cost_90d": d.t_cost / 100,
            "complaints_90d": d.t_complaints.astype(float),
        }
    )
    return [frame.iloc[r * n : (r + 1) * n].reset_index(drop=True) for r in range(len(runs))]


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
    luck, parts = Luck(settings.seed), []
    for first in range(0, accounts, CHUNK):
        a = draw_accounts(settings, luck, first, min(first + CHUNK, accounts))
        parts.append(_lives(settings, luck, a))
    lives = {name: pd.concat([p[name] for p in parts], ignore_index=True) for name in parts[0]}
    a = lives.pop("accounts")

    # In the test, what was done is what one of the two forced runs did.
    challenged = a["arm"] == bank.CHALLENGER
    with_it, without = lives["challenger"], lives["champion"]
    fact = without.where(~challenged, with_it)
    inside = with_it["followed"] & a["tested"]
    rows = _rows(
        ("strategy", "challenger", "champion"), a, with_it, without, fact, inside, challenged, ("all",)
    )
    fact = lives["as it was, 0"]
    inside, received = fact["followed"] & ~a["tested"], fact["strategy"] == bank.INTENSIVE
    both = lives["intensive"], lives["standard"]
    rows += _rows(
        ("strategy", "intensive", "standard"), a, *both, fact, inside, received, ("all", "received")
    )
    for code, channel in enumerate(bank.CHANNELS):
        fact = lives[f"as it was, {IN_USE_FROM.get(channel, 0)}"]
        received = (fact["channels"] // 2**code) % 2 == 1
        both = fact, lives[channel]
        rows += _rows(
            ("channel", channel, "none"), a, *both, fact, fact["followed"], received, ("all", "received")
        )
    return pd.DataFrame(rows)


def _lives(settings: Settings, luck: Luck, a: dict[str, np.ndarray]) -> dict[str, pd.DataFrame]:
    """Each run's outcomes for the accounts of one chunk that are ever placed, and their segments."""
    test = {"anchor": bank.ordinal(settings.test_start)}
    (seen,) = _lived(settings, luck, a, [{}])
    placed = np.flatnonzero(seen["followed"] | (seen["strategy"] != NEVER))
    a = {name: column[placed] for name, column in a.items()}
    runs = {
        "as it was, 0": {},
        "as it was, 60": {"anchor_dpd": 60},
        "as it was, 90": {"anchor_dpd": 90},
        "challenger": {"force": bank.CHALLENGER, **test},
        "champion": {"force": bank.CHAMPION, **test},
        "intensive": {"force": bank.INTENSIVE},
        "standard": {"force": bank.STANDARD},
    }
    for code, channel in enumerate(bank.CHANNELS):
        runs[channel] = {"off": code, "anchor_dpd": IN_USE_FROM.get(channel, 0)}
    lives = dict(zip(runs, _lived(settings, luck, a, list(runs.values()))))
    lives["accounts"] = pd.DataFrame(
        {
            "tested": a["tested"],
            "arm": a["arm"],
            "product": np.array(bank.PRODUCTS)[a["product"]],
            "score": a["score"],
        }
    )
    return lives


def _rows(what, a, with_it, without, fact, inside, received, populations) -> list[dict]:
    rows = []
    for population in populations:
        members = inside & received if population == "received" else inside
        for by, segment, mask in _segments(a):
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


def _segments(a: pd.DataFrame):
    yield "all", "all", pd.Series(True, index=a.index)
    for product in bank.PRODUCTS:
        yield "product", product, a["product"] == product
    for low, high, label in SCORE_BANDS:
        yield "credit_score", label, (a["score"] >= low) & (a["score"] < high)


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
