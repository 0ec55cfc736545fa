"""Chapter 5: when to stop collecting, and sell or write off instead."""

from __future__ import annotations

import math
from dataclasses import replace

from collectlab.core.errors import NotAvailable, first_few
from collectlab.core.params import load_params
from collectlab.core.results import Result
from collectlab.core.tables import format_value, readable
from collectlab.policy.options import Figure, Option
from collectlab.policy.stop import Stopping, Terms, load_terms, stop_rows, stopping
from collectlab.policy.stop_segment import FEW_LOSSES
from collectlab.report.month import Month
from collectlab.report.parts import part

#: What makes a segment, where the accounts have it.
SEGMENTS = ("product", "secured")
#: Months after which an experiment on stopping is read.
READ_AFTER = 6


def _terms(month: Month) -> Terms:
    file = month.params / "stop.yml"
    if not file.is_file():
        raise NotAvailable("the parameters hold no stop.yml with sale prices and fees.")
    if later := [key for key, held in load_params(file).items() if min(held.values) > month.end]:
        raise NotAvailable(f"stop.yml has no {first_few(later)} in force on {month.end}.")
    return load_terms(month.params, month.end)


def found(month: Month) -> Stopping:
    """The best points to stop, by product; counted once for all parts."""

    def make() -> Stopping:
        terms = _terms(month)
        by = [c for c in SEGMENTS if c in month.book.columns("accounts")][:1]
        costs = month.params / "costs.yml"
        prices = load_params(costs).on(month.end).numbers() if costs.is_file() else None
        rows = stop_rows(month.book, by=by, unit_costs=prices, complaint=terms.complaint)
        return stopping(rows, terms, by=by)

    return month.shared("when to stop", make)


@part
def points(month: Month) -> Stopping:
    """The best day past due to stop, and what today's practice loses."""
    result = found(month)
    if {"secured", "product"} & set(month.book.columns("accounts")):
        said = "What a collateral would bring is not in the book: for secured debt, going on counts payments only."
        result = replace(result, notes=(*result.notes, said))
    return result


@part(picture=False, folded=True)
def worth(month: Month) -> Result:
    """Going on against selling and writing off, by days past due."""
    held = found(month)
    return Result(
        table=held.steps,
        estimand="Present worth per 1 of balance of accounts still past due at that day: going on by the best plan, selling, "
        "writing off",
        unit="share",
        title="What going on is worth, and stopping",
        notes=(f"Recoveries after a write-off are the segment's own from {FEW_LOSSES} write-offs on, else all segments'.",),
        formats={"day": "count", "accounts": "count", "estimate": "Worth"},
        conf_level=held.conf_level,
    )  # fmt: skip


def options(month: Month) -> list[Option]:
    """Stopping at another point, in each segment where that is surely better."""
    shown = points(month)
    if shown.result is None or "gain_low" not in shown.table:
        return []
    held = shown.result
    rows = shown.table[shown.table["gain_low"].notna() & (shown.table["gain_low"] > 0)]
    return [_option(held, row) for _, row in rows.sort_values("gain", ascending=False).iterrows()]


def _option(held: Stopping, row) -> Option:
    where = {c: row[c] for c in held.by}
    segment = ", ".join(str(readable(v)) for v in where.values()) or "all products"
    n, gain = float(row["accounts"]), float(row["estimate"])
    narrow = held.policies
    for column, value in {**where, "policy": row["advised"]}.items():
        narrow = narrow[narrow[column] == value]
    sd = float(narrow["gain_error"].iloc[0]) * math.sqrt(n)
    arm = max(math.ceil(2 * (2.8 * sd / gain) ** 2), 30)
    sold = row["advised"].startswith("sell")
    today = "" if math.isnan(row["today_day"]) else f" (now at {row['today_day']:.0f} days on average)"

    def figure(name: str, column: str) -> Figure:
        return Figure(name=name, value=float(row[column]), part="stop_points", column=column, where={**where})

    worth = f"{format_value(row['gain'], 'money')} a month ({format_value(row['gain_low'], 'money')} to {format_value(row['gain_high'], 'money')})"
    floor = row["price_floor"]
    holds = (
        f" It holds down to {format_value(floor, 'share')} of the stated prices."
        if sold and floor == floor
        else ""
    )
    figures = [
        figure("gain a month", "gain"),
        figure("from", "gain_low"),
        figure("to", "gain_high"),
        figure("worth per 1 of balance", "estimate"),
    ]
    if today:
        figures.append(figure("days past due at which it ends today", "today_day"))
    if holds:
        figures.append(figure("share of the prices", "price_floor"))
    return Option(
        key=f"stop_{'_'.join(str(v) for v in where.values()) or 'all'}",
        what=f"{row['advised'].capitalize()} past due{today}",
        whom=f"{segment}: accounts still past due at that point",
        area="strategy",
        net=float(row["gain"]),
        low=float(row["gain_low"]),
        high=float(row["gain_high"]),
        words=f"Worth {worth} more than today's practice, {format_value(gain, 'share')} of the balance that gets "
        f"to the first point.{holds}",
        grade="model",
        evidence=f"Payments, costs and cures of {n:,.0f} accounts followed past the first point, and the stated prices and "
        "fees; accounts stopped early are taken to be like the others.",
        cost_words="The costs of the sale or the write-off are in the gain.",
        legal_risk="A debtor must be told of a sale; the buyer has to keep to the same contact rules. Written-off debt needs "
        "the evidence the tax rules ask for.",
        customer_risk="A buyer may press harder than the bank would: bind it by contract." if sold else "None beyond today's.",
        failing=f"The price offered falls below {format_value(floor, 'share')} of the stated one, or the accounts kept cure "
        "more often than those before." if holds else "The accounts kept cure more often than those before.",
        settle=f"Draw by chance which accounts stop there and which go on: {arm:,} in each arm, read after "
        f"{READ_AFTER} months by money in, net of cost.",
        figures=tuple(figures),
    )  # fmt: skip
