"""Hardship cases as a target trial takes them: when relief began, when it could no longer begin, how it went."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import narwhals as nw
import numpy as np
import pandas as pd

from collectlab.core import engine
from collectlab.core.columns import day_number, day_of
from collectlab.core.engine import same_engine
from collectlab.core.errors import FrameError, NotAvailable
from collectlab.effects.target_trial_rows import _date_cures
from collectlab.measures.relief.cases import HARDSHIP_REASONS, hardship_cases, plans

OUTCOMES = {
    "sound": "sound {h} days after hardship was noted (never more than {limit} days past due in the last {last} of them)",
    "paid": "paid what was past due at the note within {h} days",
}
#: Days past due from which an account is not sound, and the days before the horizon in which that is looked for.
SOUND_LIMIT, SOUND_DAYS = 30, 90
#: An account not seen in so many days before the horizon, and not known to have left, is not judged.
SEEN_WITHIN = 62
#: What is taken as known of an account when hardship was noted, where the book has it.
COVARIATES = ("product", "credit_score", "monthly_income")
_GRACES, _MOST, _LATEST = (1, 5, 14, 30), 0.8, 30


@dataclass(frozen=True, kw_only=True)
class Trial:
    """``rows``, ``starts`` and ``seen`` as ``target_trial_rows`` takes them; the grace period; notes.

    ``judged``: share of the cases seen at the horizon. ``dated``: share of the episodes that ended within the grace
    period whose end is dated by a payment.
    """

    rows: pd.DataFrame
    starts: pd.DataFrame
    seen: pd.DataFrame
    grace: int
    covariates: tuple[str, ...]
    notes: tuple[str, ...]
    judged: float = 1.0
    dated: float = 1.0


def trial_rows(
    book: Any,
    outcome: str,
    follow_up: int,
    grace: int | None,
    kinds: Sequence[str],
    reasons: Sequence[str] | None,
    covariates: Sequence[str] | None,
    definition: str,
) -> Trial:
    """One row per account, its first hardship case that could be followed; day 1 is the day of the note."""
    cases, notes = _cases(book, reasons, definition)
    last = day_of(book.as_of)
    short = cases["on"] - 1 + follow_up > last
    if short.all():
        raise NotAvailable(f"none of {len(cases):,} hardship cases could be followed for {follow_up:,} days.")
    notes += (
        [f"{int(short.sum()):,} cases could not be followed for {follow_up:,} days: not counted."]
        if short.any()
        else []
    )
    cases = cases[~short].sort_values(["account", "on"]).drop_duplicates("account").reset_index(drop=True)
    cases, began, said = _relief(book, cases, kinds)
    notes += said
    if not len(began):
        raise NotAvailable("no hardship case that could be followed was given relief.")
    grace = grace or _grace(began)
    # Time zero is the eve of the note, so that relief agreed on the very day is a start on day 1.
    cases["zero"] = cases["on"] - 1
    events = _events(book, cases, follow_up)
    label = _labels(events, cases, outcome, follow_up)
    rows = pd.DataFrame(
        {
            "account_id": cases["account"],
            "time_zero": pd.to_datetime("1900-01-01") + pd.to_timedelta(cases["zero"], unit="D"),
            "days_past_due": (cases["zero"] - cases["start"]).clip(lower=0),
            "end_day": cases["exit"] + 1.0,
            "outcome": cases["ended"],
            "label": label,
        }
    )
    rows["dated"] = True
    if "paid" in events and "amount_past_due" in events["seen"]:
        cured = set(rows.loc[rows["outcome"] == "cured", "account_id"])
        if events["paid"]["account_id"].isin(cured).any():
            rows, _ = _date_cures(rows, events["seen"], events["paid"])
    # What counts is known at the horizon only, but after the grace period nobody can depart from a strategy any more, so
    # that the trial's clock stops there and carries the outcome of the horizon. Until then, who has not been given
    # relief can be given it as long as the episode lasts; who has been is followed on: that relief made the
    # account current by decree is no end.
    started = rows["account_id"].isin(began.index[began <= grace])
    early = (rows["outcome"] != "censored") & (rows["end_day"] <= grace) & ~started
    dated = float(rows.loc[early, "dated"].fillna(False).mean()) if early.any() else 1.0
    rows["end_day"] = rows["end_day"].where(early, grace).clip(lower=1)
    rows["dated"] = True
    rows["outcome"] = rows["label"]
    unknown = rows["outcome"].isna()
    if unknown.any():
        why = (
            "were not seen at the horizon"
            if outcome == "sound"
            else "show no amount past due before the note"
        )
        notes.append(f"{int(unknown.sum()):,} accounts {why}: not counted.")
    rows = rows[~unknown].reset_index(drop=True)
    rows, chosen = _with_covariates(book, rows, covariates)
    began = began[began.index.isin(rows["account_id"])]
    if later := int((began > grace).sum()):
        notes.append(
            f"{later:,} accounts were given relief later in the episode: they count as not given it in time."
        )
    began = began[began <= grace]
    starts = pd.DataFrame({"account_id": began.index, "day": began.to_numpy(int), "channel": "relief"})
    notes += _by_decree(rows, starts, events["seen"], outcome)
    looks = events["seen"][["account_id", "day", "days_past_due"]]
    judged = float(1 - unknown.mean())
    return Trial(
        rows=rows, starts=starts, seen=looks, grace=grace, covariates=chosen, notes=tuple(notes), judged=judged, dated=dated
    )  # fmt: skip


def _cases(book: Any, reasons: Sequence[str] | None, definition: str) -> tuple[pd.DataFrame, list[str]]:
    said = book.has("actions") and "outcome" in book.columns("actions")
    if reasons is None:
        reasons = () if said else HARDSHIP_REASONS
    lazy, _, _ = hardship_cases(book, reasons=reasons, definition=definition)
    frame = engine.collect(lazy.select("__account", "__start", "__on", "__exit", "__ended"))
    frame = frame.rename(columns=lambda c: c.removeprefix("__"))
    words = "said to somebody who noted it as the outcome of an action" if not reasons else "noted"
    return frame.astype({"start": "int64", "on": "int64", "exit": "int64"}), [f"Cases: hardship {words}."]


def _relief(
    book: Any, cases: pd.DataFrame, kinds: Sequence[str]
) -> tuple[pd.DataFrame, pd.Series, list[str]]:
    """Cases without relief before the note; the day of the first relief after it, within the episode, by account."""
    agreed = engine.collect(plans(book, kinds).select("__account", "__began"))
    both = cases.merge(agreed.rename(columns=lambda c: c.removeprefix("__")), on="account")
    before = set(both.loc[both["began"] < both["on"], "account"])
    kept = cases[~cases["account"].isin(before)].reset_index(drop=True)
    both = both[~both["account"].isin(before) & (both["began"] - both["on"] <= both["exit"])]
    began = (both["began"] - both["on"] + 1).groupby(both["account"]).min()
    notes = [f"{len(before):,} accounts had relief before the note: not eligible."] if before else []
    return kept, began, notes


def _grace(began: pd.Series) -> int:
    """The shortest of a few periods that holds most starts of the first month: chosen without a look at outcomes."""
    early = began[began <= _LATEST]
    for days in _GRACES:
        if len(early) and (early <= days).mean() >= _MOST:
            return days
    return _GRACES[-1]


def _events(book: Any, cases: pd.DataFrame, follow_up: int) -> dict[str, pd.DataFrame]:
    """Snapshots and payments of the accounts with their day since time zero."""
    spine = engine.scan(cases[["account", "zero"]])
    out = {}
    wanted = [c for c in ("amount_past_due", "status") if c in book.columns("snapshots")]
    plans_of = [("seen", "snapshots", "as_of", ["days_past_due", *wanted], -SEEN_WITHIN)]
    if book.has("payments"):
        plans_of.append(("paid", "payments", "paid_on", ["amount"], -SEEN_WITHIN))
    for name, table, date, columns, first in plans_of:
        left, events = same_engine(
            spine, book.table(table).select("account_id", *columns, __on=day_number(date))
        )
        both = events.join(left, left_on="account_id", right_on="account", how="inner").with_columns(
            day=nw.col("__on") - nw.col("zero")
        )
        both = both.filter((nw.col("day") >= first) & (nw.col("day") <= follow_up + 31))
        frame = engine.collect(both.select("account_id", "day", *columns))
        out[name] = frame.sort_values(["account_id", "day", *columns], ignore_index=True)
    return out


def _labels(events: dict[str, pd.DataFrame], cases: pd.DataFrame, outcome: str, follow_up: int) -> np.ndarray:
    """What became of each case by the horizon: ``cured`` (the outcome), ``other``, or None (not known)."""
    seen = events["seen"]
    seen = seen[(seen["day"] <= follow_up)]
    if outcome == "paid":
        if "paid" not in events or "amount_past_due" not in seen:
            raise NotAvailable("this book has no payments, or no amount_past_due in its snapshots.")
        owed = (
            seen[(seen["day"] <= 0) & (seen["amount_past_due"] > 0)]
            .groupby("account_id")["amount_past_due"]
            .last()
        )
        paid = events["paid"]
        paid = paid[(paid["day"] >= 1) & (paid["day"] <= follow_up)]
        total = (paid["amount"] * 100).round().groupby(paid["account_id"]).sum()
        due = (cases["account"].map(owed) * 100).round()
        good = cases["account"].map(total).fillna(0) >= due
        return np.where(due.isna(), None, np.where(good, "cured", "other"))
    late = seen[seen["day"] > follow_up - SOUND_DAYS]
    worst = cases["account"].map(late.groupby("account_id")["days_past_due"].max())
    final = seen.groupby("account_id").tail(1).set_index("account_id")
    when = cases["account"].map(final["day"])
    status = (
        cases["account"].map(final["status"]) if "status" in final else pd.Series(None, index=cases.index)
    )
    lost = status.isin(["charged_off", "settled", "sold"])
    closed = status == "closed"
    known = lost | closed | (when > follow_up - SEEN_WITHIN)
    sound = closed | (~lost & (worst <= SOUND_LIMIT))
    return np.where(~known, None, np.where(sound, "cured", "other"))


def _with_covariates(
    book: Any, rows: pd.DataFrame, covariates: Sequence[str] | None
) -> tuple[pd.DataFrame, tuple[str, ...]]:
    have = book.columns("accounts")
    chosen = tuple(c for c in COVARIATES if c in have) if covariates is None else tuple(covariates)
    if missing := [c for c in chosen if c not in have]:
        raise FrameError(f"covariates: the accounts have no {', '.join(missing)}.")
    wanted = list(dict.fromkeys(["account_id", *chosen, *(c for c in ("customer_id",) if c in have)]))
    ids = rows["account_id"].tolist()
    facts = engine.collect(book.table("accounts").select(wanted).filter(nw.col("account_id").is_in(ids)))
    chosen = tuple(c for c in chosen if facts[c].notna().any() and facts[c].nunique() > 1)
    return rows.merge(facts, on="account_id", how="left"), chosen


def _by_decree(rows: pd.DataFrame, starts: pd.DataFrame, seen: pd.DataFrame, outcome: str) -> list[str]:
    """Of those given relief, how many were current at the next look, and how many had the outcome."""
    after = seen.merge(starts.rename(columns={"day": "began"})[["account_id", "began"]], on="account_id")
    after = after[after["day"] >= after["began"]].groupby("account_id")["days_past_due"].first()
    mine = rows[rows["account_id"].isin(starts["account_id"])]
    if not len(after) or not len(mine) or outcome != "sound":
        return []
    return [
        f"Of the {len(mine):,} accounts given relief, {100 * (after <= 0).mean():.0f} % were current at the next snapshot, "
        f"by decree, and {100 * (mine['outcome'] == 'cured').mean():.0f} % sound at the horizon."
    ]
