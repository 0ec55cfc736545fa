"""From which amount overdue on each channel pays, from the verdicts on the channels and what a treatment costs."""

from __future__ import annotations

import dataclasses
import functools
import math

import narwhals as nw
import numpy as np
import pandas as pd

from collectlab.core.columns import day_of
from collectlab.core.errors import CollectlabError, NotAvailable
from collectlab.effects.questions import AskedTrial
from collectlab.effects.verdict_rule import NOT_IDENTIFIABLE
from collectlab.measures.worth.break_even import BreakEven
from collectlab.measures.worth.break_even import break_even as amounts
from collectlab.measures.worth.prices import Prices, load_prices
from collectlab.measures.worth.treated import FEWEST, Treated, laid_complaints, per_treated
from collectlab.report.chapters import caused
from collectlab.report.chapters.asked import questions
from collectlab.report.month import WINDOW_MONTHS, Month

#: What accounts below the lower end of a break-even amount cost more than they bring, by month: with the effect, at the
#: upper and at the lower end of its interval.
_SAVED = ("treated_below", "saving", "saving_low", "saving_high")
_ENDS = ("effect", "effect_high", "effect_low")


def _loaded(month: Month) -> Prices:
    file, fees = month.params / "costs.yml", month.params / "fees.yml"
    if not month.book.about.currency or not file.is_file():
        raise NotAvailable("no prices are known in the book's own currency.")
    return load_prices(file, fees if fees.is_file() else None)


def prices_in_force(month: Month) -> dict[str, float]:
    """Prices in force, where they are in the book's own currency."""
    loaded, currency = _loaded(month), month.book.about.currency
    found = {}
    for key in loaded.priced():
        steps = [price for since, price in loaded.steps(key) if since <= day_of(month.end)]
        if steps and (not loaded.known(key) or currency in loaded.params[key].unit):
            found[key] = steps[-1]
    if not found:
        raise NotAvailable(f"costs.yml has no price in force on {month.end} in {currency}.")
    return found


def _commission(month: Month, amount: float, from_day: int) -> float:
    """What an outside agency keeps of what it recovers, of a debt of this amount and age."""
    schedule = _loaded(month).schedules.get("agency_commission")
    if schedule is None:
        return 0.0
    fee, known = schedule.fees([amount], [month.end], age=[from_day], base=[1.0])
    return float(fee[0]) if known[0] else 0.0


def by_channel(month: Month) -> BreakEven:
    """One row per channel asked about, counted once."""
    return month.shared("break-even by channel", lambda: _by_channel(month))


def _by_channel(month: Month) -> BreakEven:
    for table in ("actions", "payments"):
        if not month.book.has(table):
            raise NotAvailable(f"the book has no {table}.")
    prices = prices_in_force(month)
    asked = questions(month).channels
    if not asked:
        raise NotAvailable("params/questions.yml asks nothing about a channel.")
    rows, treated, notes = [], [], []
    for (verdict, found), question in zip(caused.channels(month), asked.values()):
        channel = question.treatment
        count = functools.partial(_treated, month, question, prices)
        one = month.once(f"treated {question.trial().question}", count)
        if isinstance(one, str):
            notes.append(f"{channel.capitalize()}: {one}")
            continue
        told = found is not None and verdict.grade != NOT_IDENTIFIABLE and question.outcome == "cured"
        effect = found.table.loc[found.headline] if told else {"estimate": math.nan, "std_error": math.nan}
        zero = question.time_zero
        cost, cost_error = one.mean("cost")
        complaints, complaints_error = one.mean("complaints")
        treated.append(one)
        median, share = float(one.rows["amount"].median()), one.share
        if channel == "agency":
            share *= 1 - _commission(month, median, 0 if zero == "first_seen" else int(zero))
        rows.append(
            {
                "channel": channel,
                "from": "first seen" if zero == "first_seen" else f"day {zero}",
                "n": len(one.rows),
                "estimate": float(effect["estimate"]),
                "std_error": float(effect["std_error"]),
                "cost": cost,
                "cost_std_error": cost_error,
                "complaints": complaints,
                "complaints_std_error": complaints_error,
                "share": share,
                "amount": median,
                "grade": verdict.grade,
            }
        )
    if not rows:
        raise NotAvailable(" ".join(notes))
    frame = pd.DataFrame(rows)
    found = amounts(frame, by=["channel", "from"], complaint_cost=prices.get("complaint", 0.0))
    return _dressed(found, frame, treated, notes)


def _treated(month: Month, question: AskedTrial, prices: dict[str, float]) -> Treated | str:
    """What treating accounts by the channel asked about costs and brings; or why that cannot be counted."""
    episodes = month.recent
    if question.strategies and "strategy" in episodes.collect_schema().names():
        episodes = episodes.filter(nw.col("strategy").is_in(list(question.strategies)))
    zero, channel = question.time_zero, question.treatment
    try:
        return per_treated(
            episodes,
            month.book.table("actions"),
            month.book.table("payments"),
            channel=channel,
            from_day="first_seen_day" if zero == "first_seen" else zero,
            grace=question.grace,
            follow_up=question.follow_up,
            unit_costs={channel: prices[channel]} if channel in prices else None,
            complaints=month.once("complaints laid", lambda: _laid(month)),
        )
    except CollectlabError as error:
        return " ".join(str(error).split())


def _laid(month: Month) -> pd.DataFrame | None:
    if not month.book.has("complaints"):
        return None
    return laid_complaints(month.book.table("complaints"), month.book.table("actions"))


def _dressed(found: BreakEven, frame: pd.DataFrame, treated: list[Treated], notes: list[str]) -> BreakEven:
    """The table with the grades, and what leaving the smallest amounts alone would save a month."""
    table = found.table.copy()
    saved: list[tuple[float, ...]] = []
    says: list[str] = []
    unknown: list[str] = []
    for row, share, one in zip(table.to_dict("records"), frame["share"], treated):
        owed = one.rows["amount"].to_numpy()
        below = owed[owed < row["conf_low"]] if np.isfinite(row["conf_low"]) else owed[:0]
        if len(below) >= FEWEST:
            worth = [row["cost"] * len(below) - row[e] * share * below.sum() for e in _ENDS]
            saved.append((len(below) / WINDOW_MONTHS, *(v / WINDOW_MONTHS for v in worth)))
        else:
            saved.append((math.nan,) * 4)
        if np.isfinite(row["estimate"]) or np.isfinite(row["conf_low"]):
            says.append(f"{row['channel'].capitalize()} ({row['from']}): {row['reading']}")
        else:
            unknown.append(f"{row['channel']} ({row['from']})")
    table.insert(2, "n", frame["n"].to_numpy())
    table[list(_SAVED)] = saved
    table["grade"] = frame["grade"].to_numpy()
    table = table.drop(columns="reading").rename(columns={"amount": "median_owed"})
    return dataclasses.replace(
        found,
        table=table,
        title="From which amount overdue on a channel pays",
        formats={**found.formats, **dict.fromkeys(_SAVED, "hidden"), "n": "count", "cost": "money2"},
        notes=(
            *says,
            *(
                [
                    f"Not known of {', '.join(unknown)}: there is no effect to go by. What it would need is told."
                ]
                if unknown
                else []
            ),
            *notes,
            f"Number and cost: accounts treated in the last {WINDOW_MONTHS} months, all actions of the channel in the "
            "follow-up, and the complaints that followed it within a week; an account that pays before it is reached "
            "costs less. An agency's commission is off what it brings. Amounts are those overdue at entry. A cure "
            "counts for what the cured paid of that amount in the follow-up beyond those not cured, taken as known; "
            "what it saves later is not in it.",
        ),
    )
