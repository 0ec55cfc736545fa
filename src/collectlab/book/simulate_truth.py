"""The truth of a simulated bank: the same accounts lived twice, with the same luck, one lever apart."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pandas as pd

from collectlab.book import simulate_bank as bank
from collectlab.book.simulate_bank import Luck, Settings, draw_accounts
from collectlab.book.simulate_changes import CHANGES, CUT, change_schedule
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


#: Accounts whose score is this close to the cut count for the effect at the cut.
BAND = 20
#: The truth of a change concerns a part of the accounts only, so more of them are lived.
MORE = 3

#: More than any day number, so that account × SPAN + day orders by account and then by day.
SPAN = 100_000

#: Outcome -> (unit, what it is). All count from the first month-end at which an episode is seen.
EPISODE_OUTCOMES = {
    "cured_60d": OUTCOMES["cured_60d"],
    "paid_60d": ("points", "paid anything within 60 days"),
    "paid_90d": OUTCOMES["paid_90d"],
}
CHANGE_COLUMNS = [
    *("change", "what", "where_column", "where", "outcome", "meaning", "unit", "population"),
    *("episodes", "estimate", "std_error", "without"),
]


def changes_truth(settings: Settings, accounts: int) -> pd.DataFrame:
    """What each planted change of policy causes, the other changes staying as planted.

    The bank is lived twice with the same luck, once with the change and once without it. ``branch_rollout``:
    episodes outside the test that begin in a branch's new regime; ``bank_wide``: episodes that begin from the
    date on; ``threshold``: episodes outside the test of accounts whose score is within ``BAND`` of the cut, all
    handled as intensive in one life and as standard in the other.

    Estimand, by ``population``: ``first``, the mean over each account's first such episode (the same one in
    both lives) of Y(with) − Y(without); ``episodes``, the mean of Y over all such episodes of the one life
    less that of the other, which later episodes share in that the change itself brought about or spared.
    Episodes have 90 days of follow-up from the first month-end that shows them. ``std_error`` is the
    Monte-Carlo error, by account.
    """
    luck, rows = Luck(settings.seed), []
    for change in settings.changes:
        parts: list[tuple[pd.DataFrame, pd.DataFrame]] = []
        for first in range(0, accounts * MORE, CHUNK):
            a = draw_accounts(settings, luck, first, min(first + CHUNK, accounts * MORE))
            parts.append(_two_lives(settings, luck, a, change))
        with_it, without = (pd.concat(sides, ignore_index=True) for sides in zip(*parts))
        rows += _change_rows(settings, change, with_it, without)
    return pd.DataFrame(rows, columns=CHANGE_COLUMNS)


def _two_lives(
    settings: Settings, luck: Luck, a: dict[str, np.ndarray], change: str
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The episodes under ``change``, of the accounts it can concern, with it and without it."""
    start = np.full(len(a["key"]), bank.ordinal(settings.window_start))
    concerned = np.ones(len(start), bool)
    if change == "bank_wide":
        start[:] = bank.ordinal(change_schedule(settings).bank_wide)
    elif change == "threshold":
        concerned = ~a["tested"] & (a["score"] >= CUT - BAND) & (a["score"] < CUT + BAND)
    else:
        days = change_schedule(settings).branch_rollout.values()
        day = np.array([-1 if d is None else bank.ordinal(d) for d in days])[a["branch"]]
        concerned, start = ~a["tested"] & (day >= 0), day
    a = {name: column[concerned] for name, column in a.items()}
    start = start[concerned]
    if change == "threshold":
        forced = ({**a, "force": np.full(len(start), code)} for code in (bank.INTENSIVE, bank.STANDARD))
        lives = [Days(settings, luck, accounts).run() for accounts in forced]
    else:
        rest = tuple(name for name in settings.changes if name != change)
        lives = [Days(s, luck, a).run() for s in (settings, replace(settings, changes=rest))]
    return tuple(_episodes(d, start) for d in lives)  # type: ignore[return-value]


def _episodes(d: Days, start: np.ndarray) -> pd.DataFrame:
    """One row per episode begun on or after its account's ``start``, and what came of it."""
    i, placed, began = d.events.columns("placements", 3)
    followed = (began >= start[i]) & (placed <= d.last - 90)
    order = np.lexsort((placed[followed], i[followed]))
    i, placed = i[followed][order], placed[followed][order]
    account = i.astype(np.int64) * SPAN
    cures = np.sort(np.append(_moments(d, "cures", 2), np.iinfo(np.int64).max))
    cured_on = cures[np.searchsorted(cures, account + placed, side="right")]

    who, day, cents = d.events.columns("payments", 3)
    paid = who.astype(np.int64) * SPAN + day
    in_order = np.argsort(paid, kind="stable")
    paid, total = paid[in_order], np.append(0, np.cumsum(cents[in_order]))
    sums = {}
    for days in (60, 90):
        low, high = (np.searchsorted(paid, account + placed + more, side="right") for more in (0, days))
        sums[days] = total[high] - total[low]
    return pd.DataFrame(
        {
            "account": d.a["index"][i],
            "first": np.append(True, i[1:] != i[:-1])[: len(i)],
            "cured_60d": (cured_on <= account + placed + 60).astype(float),
            "paid_60d": (sums[60] > 0).astype(float),
            "paid_90d": sums[90] / 100,
        }
    )


def _moments(d: Days, kind: str, width: int) -> np.ndarray:
    i, day = d.events.columns(kind, width)[:2]
    return i.astype(np.int64) * SPAN + day


def _change_rows(
    settings: Settings, change: str, with_it: pd.DataFrame, without: pd.DataFrame
) -> Iterator[dict]:
    plan = change_schedule(settings)
    column, what = CHANGES[change]
    if change == "branch_rollout":
        where = "; ".join(f"{b} from {day}" for b, day in plan.branch_rollout.items() if day is not None)
    elif change == "bank_wide":
        where = f"all from {plan.bank_wide}"
    else:
        where = f"under {plan.threshold} from {settings.window_start}"
    for population in ("first", "episodes"):
        sides = [side[side["first"]] if population == "first" else side for side in (with_it, without)]
        if min(len(side) for side in sides) < 2:
            continue
        for outcome, (unit, meaning) in EPISODE_OUTCOMES.items():
            means = [side[outcome].mean() for side in sides]
            # Each account's share in the difference of the two means.
            shares = [
                ((side[outcome] - mean) / len(side)).groupby(side["account"]).sum()
                for side, mean in zip(sides, means)
            ]
            error = np.sqrt((shares[0].sub(shares[1], fill_value=0.0) ** 2).sum())
            yield {
                "change": change,
                "what": what,
                "where_column": column,
                "where": where,
                "outcome": outcome,
                "meaning": meaning,
                "unit": unit,
                "population": population,
                "episodes": len(sides[0]),
                "estimate": round(means[0] - means[1], 5),
                "std_error": round(float(error), 5),
                "without": round(means[1], 5),
            }
