"""Chapter 5: when to stop collecting, and sell, write off or sue instead."""

from __future__ import annotations

import math
import re
from typing import Any

import pandas as pd

from collectlab.core.engine import collect
from collectlab.core.errors import FrameError, NotAvailable, first_few
from collectlab.core.params import load_params
from collectlab.core.results import Result
from collectlab.core.tables import display_table, format_value, readable
from collectlab.effects.legal import against_not_sued
from collectlab.effects.verdict import Verdict
from collectlab.measures.worth.prices import load_prices
from collectlab.measures.worth.prices_laid import price_cases
from collectlab.policy.options import Figure, Option
from collectlab.policy.stop import (
    NO_COLLATERAL,
    SMALLEST,
    Stopping,
    Terms,
    load_terms,
    money_range,
    stop_rows,
    stopping,
)
from collectlab.policy.stop_segment import FEW_LOSSES
from collectlab.policy.stop_sue import SUED
from collectlab.policy.stop_value import SELL, WRITE_OFF
from collectlab.report.chapters import legal
from collectlab.report.month import Month
from collectlab.report.parts import part

#: Months after which an experiment on stopping is read.
READ_AFTER = 6


def _terms(month: Month) -> Terms:
    file = month.params / "stop.yml"
    if not file.is_file():
        raise NotAvailable("the parameters hold no stop.yml with sale prices and fees.")
    if later := [key for key, held in load_params(file).items() if min(held.values) > month.end]:
        raise NotAvailable(f"stop.yml has no {first_few(later)} in force on {month.end}.")
    return load_terms(month.params, month.end)


def _case_costs(month: Month) -> pd.DataFrame | None:
    """Every court case with its cost: the book's own first, else the schedule of fees; None without cases."""
    if not month.book.has("legal_cases"):
        return None
    costs, fees = month.params / "costs.yml", month.params / "fees.yml"
    if not costs.is_file():
        raise NotAvailable("the parameters hold no costs.yml.")
    prices = load_prices(costs, fees if fees.is_file() else None)
    return price_cases(collect(month.book.table("legal_cases")), prices)


def found(month: Month) -> Stopping:
    """The best points to stop, by product (and by whether it is secured, where one product is both)."""

    def make() -> Stopping:
        terms = _terms(month)
        by = [c for c in ("product",) if c in month.book.columns("accounts")]
        costs = month.params / "costs.yml"
        prices = load_params(costs).on(month.end).numbers() if costs.is_file() else None
        try:
            cases = _case_costs(month)
        except (FrameError, NotAvailable):  # told where suing is shown
            cases = None
        rows = stop_rows(month.book, by=by, unit_costs=prices, complaint=terms.complaint, case_costs=cases)
        kinds = rows.groupby(by)["market"] if by else None
        mixed = rows["market"].nunique() > 1 if kinds is None else bool((kinds.nunique() > 1).any())
        return stopping(rows, terms, by=[*by, "market"] if mixed else by)

    return month.shared("when to stop", make)


@part
def points(month: Month) -> Stopping:
    """The best day past due to stop, and what today's practice loses."""
    return found(month)


@part(picture=False, folded=True)
def worth(month: Month) -> Result:
    """Going on against selling and writing off, by days past due."""
    held = found(month)
    keys = [*held.by, "day", "accounts"]
    wide = held.steps[held.steps["option"] == "go on"].drop(columns="option")
    for name, option in (("sell", SELL), ("write_off", WRITE_OFF)):
        other = held.steps[held.steps["option"] == option].set_index(keys)["estimate"]
        wide = wide.join(other.rename(name), on=keys)
    return Result(
        table=wide,
        estimand="Present value per 100 of the balance of accounts still past due at that day: going on by the best plan, selling, "
        "writing off",
        unit="share",
        title="What going on is worth, and stopping",
        notes=(
            f"Sale prices and fees are those of stop.yml ({_prices_said(month)}). Selling and writing off include the tax "
            "saved on the loss.",
            f"Recoveries after a write-off are the segment's own from {FEW_LOSSES} write-offs on, else all segments'.",
        ),
        formats={"day": "count", "accounts": "count", "estimate": "Going on", "sell": "share", "write_off": "share"},
        conf_level=held.conf_level,
    )  # fmt: skip


def _pays(month: Month) -> Verdict:
    """Whether suing brings more than it costs: accounts sued against comparable ones not sued, as chapter 4 tells."""
    verdict, _ = month.shared("suing", lambda: against_not_sued(month.book, horizon=legal.HORIZON))
    return verdict


@part(picture=False)
def suing(month: Month) -> Result:
    """Suing against the best plan without it."""
    if not month.book.has("legal_cases"):
        raise NotAvailable("this book has no legal_cases.")
    try:
        _case_costs(month)
    except FrameError as error:  # cases without a known cost would look too good
        raise NotAvailable(
            "what some court cases cost is not known, or below 0: the book tells no cost, and no fee in force goes by the "
            "amount claimed."
        ) from error
    held = found(month)
    if held.suing.empty:
        raise NotAvailable(
            f"nowhere were {SMALLEST} cases filed at one age early enough to be followed for {SUED} months."
        )
    verdict = _pays(month)
    said = (
        "The comparison with accounts not sued bears it out."
        if verdict.direction == "raises"
        else "As the comparison with accounts not sued does not show that suing pays, it is not advised anywhere."
    )
    return Suing(
        table=held.suing,
        estimand=f"Present value of what accounts bring after a case is filed, followed for {SUED} months and then by the best "
        "plan, less that of the best plan without a suit; per 100 of their balance at filing",
        unit="share",
        title="Suing instead",
        notes=(
            "Those sued were chosen, and may have been the better or the worse payers: this is no effect. "
            f"{verdict.question} {verdict.grade[:1].upper()}{verdict.grade[1:]}: {verdict.sentence} {said}",
            "What the court recovered is among the payments. Money a month: if every account that gets to that age were sued. "
            "Intervals are simultaneous over all that is compared.",
        ),
        formats={
            "cases": "count", "court_cost": "share", "court_back": "share", "worth_sued": "share", "worth_without": "share",
            "estimate": "Sued less not", "gain": "text", "gain_low": "hidden", "gain_high": "hidden",
        },
        conf_level=held.conf_level,
    )  # fmt: skip


class Suing(Result):
    """Suing by segment and age, as a manager reads it."""

    def display_table(self) -> pd.DataFrame:
        """With the money a month and its interval in one column."""
        gain = [money_range(*row) for row in self.table[["gain", "gain_low", "gain_high"]].to_numpy(float)]
        table = self.table.assign(gain=gain)
        if "verdict" in table:
            table["verdict"] = table["verdict"].replace(NO_COLLATERAL, "not told")
        table = table.drop(columns=["worth_sued", "worth_without"], errors="ignore")
        shown = display_table(table, self.unit, self.formats, self.conf_level)
        return shown.rename(
            columns={"Age": "Days past due", "Court back": "Court brought", "Gain": "Gain a month"}
        )


def options(month: Month) -> list[Option]:
    """Stopping at another point, or suing, in each segment where that is surely better; never where debt is secured."""
    shown = points(month)
    if shown.result is None or "gain_low" not in shown.table:
        return []
    rows = _sure(shown.table).sort_values("gain", ascending=False)
    rests = _prices_said(month)
    stops = [_option(shown.result, row, rests) for _, row in rows.iterrows()]
    sued = suing(month)
    if sued.result is None or "gain_low" not in sued.table or _pays(month).direction != "raises":
        return stops
    rows = _sure(sued.table).sort_values("gain", ascending=False)
    return stops + [_to_sue(month, shown.result, row) for _, row in rows.iterrows()]


def _sure(table: pd.DataFrame) -> pd.DataFrame:
    """Rows whose gain is above nothing, of debt that is not secured."""
    return table[(table["gain_low"] > 0).fillna(False) & (table["verdict"] != NO_COLLATERAL)]


def _prices_said(month: Month) -> str:
    """Where the sale prices in force come from."""
    held = load_params(month.params / "stop.yml").on(month.end)
    sources = [v.source for k, v in held.items() if re.fullmatch(r"sale_.+_[0-9]+", k)]
    return "; ".join(dict.fromkeys(sources))


def _segment(held: Stopping, row: Any) -> tuple[dict[str, Any], str]:
    where = {c: row[c] for c in held.by}
    return where, ", ".join(str(readable(v)) for v in where.values()) or "all products"


def _figures(part_name: str, where: dict[str, Any], row: Any, names: dict[str, str]) -> tuple[Figure, ...]:
    return tuple(
        Figure(name=name, value=float(row[column]), part=part_name, column=column, where=where)
        for name, column in names.items()
    )


_MONEY = {"gain a month": "gain", "from": "gain_low", "to": "gain_high", "worth per 1 of balance": "estimate"}


def _option(held: Stopping, row: Any, rests: str) -> Option:
    where, segment = _segment(held, row)
    n, gain, floor = float(row["accounts"]), float(row["estimate"]), float(row["price_floor"])
    narrow = held.policies
    for column, value in {**where, "policy": row["advised"]}.items():
        narrow = narrow[narrow[column] == value]
    sd = float(narrow["gain_error"].iloc[0]) * math.sqrt(n)
    arm = max(math.ceil(2 * (2.8 * sd / gain) ** 2), 30)
    sold, today = row["advised"].startswith("sell"), not math.isnan(row["today_day"])
    untold = row["grade"] != "model"
    names = dict(_MONEY)
    if today:
        names["days past due at which it ends today"] = "today_day"
    rest = ""
    if sold:
        rest = f" It rests on the sale prices in stop.yml ({rests})"
        if not math.isnan(floor):
            names["share of the prices"] = "price_floor"
            rest += f" and holds while buyers pay more than {format_value(floor, 'share')} of them"
        rest += "."
    unsecured = " The book does not say whether they are secured: secured ones stay out." if untold else ""
    return Option(
        key=f"stop_{'_'.join(str(v) for v in where.values()) or 'all'}",
        what=f"{row['advised'].capitalize()} past due"
        + (f" (now at {row['today_day']:.0f} days on average)" if today else ""),
        whom=f"{segment}: {'unsecured ' if untold else ''}accounts still past due at that point",
        area="strategy",
        net=float(row["gain"]),
        low=float(row["gain_low"]),
        high=float(row["gain_high"]),
        words=f"Worth {money_range(row['gain'], row['gain_low'], row['gain_high'])} a month more than today's practice: "
        f"{format_value(gain, 'share')} of the balance that gets to the first point.{rest}",
        grade=str(row["grade"]),
        evidence=f"Payments, costs and cures of {n:,.0f} accounts followed past the first point, and the stated prices and "
        f"fees; accounts stopped early are taken to be like the others.{unsecured}",
        cost_words="The costs of the sale or the write-off are in the gain.",
        legal_risk="A debtor must be told of a sale; the buyer has to keep to the same contact rules. Written-off debt needs "
        "the evidence the tax rules ask for.",
        customer_risk="A buyer may press harder than the bank would: bind it by contract." if sold else "None beyond today's.",
        failing=f"The price offered falls below {format_value(floor, 'share')} of the stated one, or the accounts kept cure "
        "more often than those before." if "share of the prices" in names else "The accounts kept cure more often than those before.",
        settle=f"Draw by chance which accounts stop there and which go on: {arm:,} in each arm, read after "
        f"{READ_AFTER} months by money in, net of cost.",
        figures=_figures("stop_points", where, row, names),
    )  # fmt: skip


def _to_sue(month: Month, held: Stopping, row: Any) -> Option:
    where, segment = _segment(held, row)
    told = held.table
    for column, value in where.items():
        told = told[told[column] == value]
    untold = not told["grade"].eq("model").all()
    where["age"] = row["age"]
    verdict = _pays(month)
    return Option(
        key=f"sue_{'_'.join(str(v).replace(' ', '_') for v in where.values())}",
        what=f"Sue at {row['age']} past due",
        whom=f"{segment}: {'unsecured ' if untold else ''}accounts past due that long, against which a case can be proved",
        area="strategy",
        net=float(row["gain"]),
        low=float(row["gain_low"]),
        high=float(row["gain_high"]),
        words=f"Worth {money_range(row['gain'], row['gain_low'], row['gain_high'])} a month more than the best plan without, "
        f"if all were sued: {format_value(row['estimate'], 'share')} of their balance.",
        grade=verdict.grade,
        evidence=f"{row['cases']:,.0f} cases followed for {SUED} months. {verdict.sentence}",
        cost_words=f"The court's costs, {format_value(row['court_cost'], 'share')} of the balance, are in the gain.",
        legal_risk="Every claim must be provable, within its limitation period, and no hardship relief may be running.",
        customer_risk="A suit burdens a debtor who cannot pay: check for hardship first.",
        failing=f"Cases filed bring less in {SUED} months, net of cost, than accounts of that age not sued.",
        settle=verdict.settle or "None needed: what suing brings is decided.",
        figures=_figures("stop_suing", where, row, {**_MONEY, "court's cost per 1 of balance": "court_cost"}),
    )
