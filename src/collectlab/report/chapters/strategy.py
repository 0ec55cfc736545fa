"""Chapter 2: what was planned, and what was done."""

from __future__ import annotations

import narwhals as nw

from collectlab.core import engine
from collectlab.core.errors import NotAvailable, ParamsError
from collectlab.core.results import Result
from collectlab.core.tables import format_value
from collectlab.measures import actions
from collectlab.policy.strategy import load_strategy
from collectlab.report.chapters import caused
from collectlab.report.chapters.summary import Summary
from collectlab.report.month import Month
from collectlab.report.parts import part


@part
def in_short(month: Month) -> Summary:
    """What was done in the month, in a few sentences."""
    table = month.counted(actions.channels, period=(month.start, month.end)).table
    table = table.drop_duplicates("channel")
    total = table["actions"].sum()
    busiest = table.sort_values("actions", ascending=False).iloc[0]
    sentences = [
        f"{total:,.0f} actions were recorded in {month.label}, most of them by {busiest['channel']} "
        f"({format_value(busiest['actions'] / total, 'share')}).",
    ]
    cost = table["cost"].sum() if "cost" in table else 0
    if cost > 0:
        dearest = table.sort_values("cost", ascending=False).iloc[0]
        sentences.append(
            f"They cost {format_value(cost, 'money')}; the largest part went to {dearest['channel']} "
            f"({format_value(dearest['cost'] / cost, 'share')})."
        )
    return Summary(table=table, estimand="", sentences=tuple(sentences))


@part
def in_force(month: Month) -> Result:
    """The staged strategy in force."""
    try:
        return load_strategy(month.params / "strategy.yml").on(month.end).table()
    except ParamsError as error:
        raise NotAvailable(str(error)) from error


@part
def assignment(month: Month) -> Result:
    """Accounts by strategy, and how they came to it."""
    given = month.book.table("assignments")
    if "randomised" not in month.book.columns("assignments"):
        given = given.with_columns(randomised=nw.lit(None).cast(nw.Boolean))
    counts = engine.collect(
        given.group_by("strategy", "randomised").agg(
            accounts=nw.col("account_id").n_unique(),
            first=nw.col("assigned_on").min(),
            last=nw.col("assigned_on").max(),
        )
    )
    counts["assigned"] = (
        counts["randomised"].map({True: "by chance", False: "by choice"}).fillna("not recorded")
    )
    table = counts[["strategy", "assigned", "accounts", "first", "last"]]
    table = table.sort_values(["strategy", "assigned"]).rename(columns={"first": "from", "last": "until"})
    return Result(
        table=table,
        title="Accounts by strategy",
        estimand="Accounts ever put under each strategy, by how they came to it.",
    )


@part(folded=True)
def timeline(month: Month) -> Result:
    """Actions by month and channel."""
    return actions.timeline(month.book)


@part(picture=False)
def channels(month: Month) -> Result:
    """Channels in the month: how many, to whom, with what answer."""
    return month.counted(actions.channels, period=(month.start, month.end))


@part(picture=False)
def channels_brought(month: Month) -> Result:
    """What each channel brings."""
    found = [v for v, _ in caused.channels(month)]
    return caused.table(
        found,
        "What each channel brings",
        "params/questions.yml asks of no channel, or the book has no actions.",
    )


@part(folded=True)
def coverage(month: Month) -> Result:
    """Coverage and intensity by stage."""
    return month.counted(actions.coverage_by_stage, period=(month.start, month.end))


@part(picture=False)
def first_contact(month: Month) -> Result:
    """Time from the first day past due to the first contact."""
    _ = month.from_start  # not available where nobody was seen from day 0
    return month.counted(actions.time_to_first_contact, definition=month.definition, period=month.window)
