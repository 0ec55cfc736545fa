"""Chapter 1: the case."""

from __future__ import annotations

import dataclasses

import narwhals as nw
import pandas as pd

from collectlab.book.schema import TABLES
from collectlab.core.errors import NotAvailable
from collectlab.core.results import Result
from collectlab.core.suppression import suppress
from collectlab.core.tables import format_value
from collectlab.measures import actions, portfolio
from collectlab.measures import roll_rates as rolls
from collectlab.policy.rating import rating_sensitivity
from collectlab.report.chapters import changes, kpis
from collectlab.report.chapters.summary import Summary, with_interval
from collectlab.report.month import WINDOW_MONTHS, Month
from collectlab.report.parts import minimum_cell, part

_BANDS = {
    "age": ((0, 30, "under 30"), (30, 45, "30–44"), (45, 60, "45–59"), (60, None, "60 and over")),
    "credit_score": (
        (0, 580, "under 580"),
        (580, 660, "580–659"),
        (660, 740, "660–739"),
        (740, None, "740 and over"),
    ),
}


_STATUS_WORDS = {
    "met": "were met",
    "missed": "were missed",
    "cannot tell": "the data cannot decide",
    "not available": "have no data",
}


@part
def in_short(month: Month) -> Summary:
    """The month in a few sentences."""
    buckets = month.counted(portfolio.overdue_by_bucket).table
    over = buckets[buckets["days_past_due_from"] > 0]
    rate = month.counted(portfolio.delinquency_rate).table.iloc[-1]
    card = kpis.scorecard(month)
    status = card.table["status"].value_counts()
    late, minimum = int(over["accounts"].sum()), minimum_cell(month)
    some = f"fewer than {minimum}" if 0 < late < minimum else f"{late:,}"
    told = "" if some != f"{late:,}" else f": {with_interval(rate)}"
    sentences = [
        f"At the end of {month.label}, {some} of {buckets['accounts'].sum():,} open accounts were past due{told}."
    ]
    if len(card.table):
        counted = [f"{status[name]} {words}" for name, words in _STATUS_WORDS.items() if name in status]
        sentences.append(f"The overall rating is “{card.rating}”: of the targets, {', '.join(counted)}.")
    # The sum of a bucket that is not shown could be told from this sentence.
    hidden = suppress(buckets, minimum=minimum).rows[(buckets["days_past_due_from"] >= 60).to_numpy()]
    if (
        "amount_past_due" in over
        and over["amount_past_due"].sum() > 0
        and not hidden.any()
        and not (0 < late < minimum)
    ):
        deep = over[over["days_past_due_from"] >= 60]["amount_past_due"].sum()
        total = over["amount_past_due"].sum()
        sentences.insert(
            1,
            f"They owed {format_value(total, 'money')} overdue, {format_value(deep / total, 'share')} of it "
            "60 days or more past due.",
        )
    facts = pd.DataFrame({"fact": [f"sentence {i + 1}" for i in range(len(sentences))], "text": sentences})
    return Summary(table=facts, estimand="", sentences=tuple(sentences))


@part
def scorecard(month: Month) -> Result:
    """Scorecard against the targets in force."""
    card = kpis.scorecard(month)
    if card.table.empty:
        raise NotAvailable(f"targets.yml has no target in force on {month.end}.")
    return card


@part
def rating(month: Month) -> Summary:
    """How far the rating hangs on its rule."""
    found = rating_sensitivity(kpis.scorecard(month), month.params / "targets.yml")
    table = found.table[["what", "rating", "changed"]]
    return Summary(table=table, title=found.title, estimand=found.estimand, sentences=found.notes)


@part
def supplied(month: Month) -> Result:
    """What data was supplied, and what was set aside."""
    counts = month.book.reconciliation.set_index("table")
    rows = []
    for name, table in TABLES.items():
        there = name in counts.index
        rows.append(
            {
                "table": name,
                "one_row_is": table.one_row_is,
                "supplied": there,
                "rows_in": counts["rows_in"].get(name, pd.NA),
                "accepted": counts["accepted"].get(name, pd.NA),
                "set_aside": counts["quarantined"].get(name, pd.NA),
            }
        )
    notes = ["Rows in = rows accepted + rows set aside, for each table."]
    if month.book.synthetic:
        notes.append("The book is synthetic: written by a simulator, not by a bank.")
    return Result(
        table=pd.DataFrame(rows),
        title="Data supplied",
        estimand="Rows handed over, accepted and set aside, by table.",
        notes=tuple(notes),
        formats={"rows_in": "count", "accepted": "count", "set_aside": "count"},
    )


@part
def set_aside(month: Month) -> Result:
    """Rows set aside, by reason."""
    reasons = month.book.quarantine
    if reasons.empty:
        return Summary(table=reasons, estimand="", sentences=("No row was set aside.",))
    return Result(table=reasons, title="Rows set aside, by reason", estimand="", formats={"rows": "count"})


@part
def by_bucket(month: Month) -> Result:
    """Accounts, balance and overdue amount by days past due."""
    return month.counted(portfolio.overdue_by_bucket)


@part(picture=False)
def delinquency(month: Month) -> Result:
    """Delinquency rate, at the end of each of the last months."""
    rates = month.counted(portfolio.delinquency_rate)
    return dataclasses.replace(rates, table=rates.table.tail(WINDOW_MONTHS + 1))


@part
def trend(month: Month) -> Result:
    """Change of the delinquency rate over six months."""
    return month.counted(portfolio.delinquency_trend)


@part
def borrowers(month: Month) -> Result:
    """Share past due by characteristics of the borrower."""
    have = month.book.columns("accounts")
    wanted = [c for c in ("age", "gender", "occupation", "credit_score", "product") if c in have]
    if not wanted:
        raise NotAvailable("the accounts table has no age, gender, occupation, credit score or product.")
    accounts = month.book.table("accounts").select("account_id", *wanted)
    last = month.book.table("snapshots").filter(nw.col("as_of") >= month.start)
    tables = []
    for column in wanted:
        groups = accounts.select("account_id", _level=_banded(column))
        frame = last.join(groups, on="account_id", how="inner")
        rates = portfolio.delinquency_rate(frame, by="_level").table
        rates = rates[rates["as_of"] == rates["as_of"].max()]
        tables.append(
            rates.rename(columns={"_level": "level"}).assign(characteristic=column.replace("_", " "))
        )
    table = pd.concat(tables, ignore_index=True)
    first = ["characteristic", "level"]
    return Result(
        table=table[first + [c for c in table.columns if c not in (*first, "as_of")]],
        title=f"Share past due at the end of {month.label}",
        estimand="Share of open accounts with at least one day past due, by group; not adjusted for anything else.",
    )


def _banded(column: str) -> nw.Expr:
    value = nw.col(column)
    if column not in _BANDS:
        return value.cast(nw.String).fill_null("not known")
    label = nw.lit("not known")
    for low, high, name in reversed(_BANDS[column]):
        inside = (value >= low) if high is None else ((value >= low) & (value < high))
        label = nw.when(inside).then(nw.lit(name)).otherwise(label)
    return label


@part(folded=True)
def concentration(month: Month, by: str) -> Result:
    """Concentration of the overdue amount"""
    if by not in month.book.columns("accounts"):
        raise NotAvailable(f"the accounts table has no column {by!r}.")
    result = month.counted(portfolio.concentration, by)
    if len(result.table) < 2:
        raise NotAvailable(f"all overdue accounts are of one {by}.")
    return result


@part
def largest(month: Month) -> Result:
    """The largest overdue accounts."""
    found = portfolio.largest_accounts(month.book, n=10)
    # One account's exact balance would tell who it is to whoever has seen it elsewhere.
    table = found.table.copy()
    for column in ("balance", "amount_past_due", "share_of_overdue"):
        if column in table:
            table[column] = [rounded(v) for v in table[column]]
    table["cumulative_share"] = table["share_of_overdue"].cumsum().round(4)
    notes = (*found.notes, "Money and shares of single accounts are rounded to two significant figures.")
    return dataclasses.replace(found, table=table, notes=notes)


def rounded(value: float) -> float:
    """A number of two significant figures.

    >>> [rounded(v) for v in (15_649.0, 0.0, 0.04567)]
    [16000.0, 0.0, 0.046]
    """
    return float(f"{value:.2g}")


@part(picture=False)
def prior_action(month: Month) -> Result:
    """Action taken in the month on accounts past due."""
    covered = month.counted(actions.coverage_by_stage, period=(month.start, month.end))
    return dataclasses.replace(covered, table=covered.table[covered.table["channel"] == "any"])


@part
def causes(month: Month) -> Result:
    """Reasons noted for falling behind."""
    return actions.reasons(month.book, definition=month.definition, period=month.window)


@part
def against_last_month(month: Month) -> Result:
    """What moved the share 30 days or more past due since last month."""
    return changes.delinquency(month)


@part
def new_loans(month: Month) -> Result:
    """Bad rate of newly granted loans."""
    return month.counted(portfolio.new_loan_bad_rate)


@part(folded=True)
def vintages(month: Month) -> Result:
    """Loans gone bad by months on book, by the quarter in which they were granted."""
    return month.counted(rolls.vintage)


__all__ = [
    "against_last_month",
    "borrowers",
    "by_bucket",
    "causes",
    "concentration",
    "delinquency",
    "in_short",
    "largest",
    "new_loans",
    "prior_action",
    "rating",
    "scorecard",
    "set_aside",
    "supplied",
    "trend",
]
