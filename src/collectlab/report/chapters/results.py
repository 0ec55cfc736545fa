"""Chapter 3: what happened, and what it cost."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import narwhals as nw
import pandas as pd

from collectlab.core import engine
from collectlab.core.errors import FrameError, NotAvailable
from collectlab.core.results import Result
from collectlab.effects.effect_result import checks_table
from collectlab.measures import actions, costs, cure, survival
from collectlab.measures import drivers as regression
from collectlab.measures import recovery as money
from collectlab.measures import roll_rates as rolls
from collectlab.report.chapters import caused, changes, leagues, paper, trials
from collectlab.report.chapters.summary import Summary, with_interval
from collectlab.report.month import Month
from collectlab.report.parts import part

HORIZONS = (30, 60, 90)


def _grouped(month: Month, by: str) -> nw.LazyFrame:
    """The month's recent episodes, where they have the column asked for."""
    spells = month.from_start
    if by not in spells.collect_schema().names():
        raise NotAvailable(f"the book does not tell the {by} of an account.")
    return spells.filter(~nw.col(by).is_null())


def _cured(
    month: Month, spells: nw.LazyFrame, horizons: Sequence[int] = HORIZONS, by: str | None = None
) -> cure.CureRates:
    """Cure within horizons, allowing for what snapshots far apart hide wherever day 0 is known to the day."""
    if month.book.about.exact_dpd:
        return cure.between_snapshots(spells, horizons=horizons, by=by)
    return cure.cure_rate(cure.midway(spells), horizons=horizons, by=by)


@part
def in_short(month: Month) -> Summary:
    """Results in a few sentences."""
    sentences, tables = [], []

    def say(words: str, measure: Callable[[], Result]) -> None:
        try:
            table = measure().table
        except (NotAvailable, FrameError):
            return
        if table["estimate"].notna().any():
            tables.append(table)
            sentences.append(words.format(with_interval(table.iloc[0])))

    say(
        f"Of the episodes that began in the twelve months to {month.label}, {{}} were current again "
        f"within {month.horizon} days.",
        lambda: _cured(month, month.from_start, horizons=(month.horizon,)),
    )
    say(
        f"{{}} of the amount overdue at entry was paid within {month.horizon} days.",
        lambda: money.recovery_rate(
            month.from_start, month.book.table("payments"), horizons=(month.horizon,)
        ),
    )
    say(
        "Of those who cured, {} were past due again within 180 days.",
        lambda: cure.redefault(month.episodes, horizons=(180,)),
    )
    for found in caused.experiments(month)[:1]:
        tables.append(found.table)
        sentences.append(f"{found.question} {found.grade[:1].upper()}{found.grade[1:]}: {found.sentence}")
    if not sentences:
        raise NotAvailable("neither cure nor recovery can be told from this book; see below.")
    return Summary(table=pd.concat(tables), estimand="", sentences=tuple(sentences))


@part
def recovery(month: Month) -> Result:
    """Share of the overdue amount recovered by day."""
    return money.recovery_curve(month.from_start, month.book.table("payments"))


@part(folded=True)
def recovered_by_horizon(month: Month) -> Result:
    """Recovered within 30, 60 and 90 days, by product."""
    by = "product" if "product" in month.book.columns("accounts") else None
    return money.recovery_rate(month.from_start, month.book.table("payments"), horizons=HORIZONS, by=by)


@part
def recovery_period(month: Month) -> Result:
    """Recovery period."""
    return money.recovery_period(month.from_start, month.book.table("payments"))


@part(folded=True)
def outcomes(month: Month) -> Result:
    """How episodes end: cured, charged off, settled, sold."""
    return survival.cumulative_incidence(
        month.from_start, duration="exit_day", outcome="outcome", entry="entry_day"
    )


@part
def cure_by_bucket(month: Month) -> Result:
    """Cure within 30, 60 and 90 days of reaching a bucket."""
    return _cured(month, month.bucket_entries, by="bucket")


@part
def definitions(month: Month) -> Result:
    """Cure under each definition, with re-default."""
    _ = month.from_start  # not available where nobody was seen from day 0
    # A probation of three months leaves nearly nobody cured by day 90.
    return cure.definitions_compared(month.book, horizon=180, redefault_horizon=180)


@part
def against_last_month(month: Month) -> Result:
    """What moved the recovery rate since last month."""
    return changes.recovery(month)


def _rolls(month: Month) -> rolls.RollRates:
    return month.counted(rolls.roll_rates, period=month.window)


@part(folded=True)
def roll_rates(month: Month) -> Result:
    """Roll rates between consecutive months."""
    return _rolls(month)


@part
def flow_through(month: Month) -> Result:
    """What flows through to charge-off."""
    try:
        year = rolls.roll_rates(month.book.table("snapshots"), step=12)
    except NotAvailable:
        year = None
    return rolls.flow_through(_rolls(month), observed=year)


@part(picture=False)
def history(month: Month) -> Result:
    """Whether the month before still tells."""
    return rolls.first_order_check(month.book.table("snapshots"), period=month.window)


@part(folded=True)
def cure_by(month: Month, by: str) -> Result:
    """Cure rates compared"""
    return _cured(month, _grouped(month, by), by=by)


@part(folded=True)
def recovery_by(month: Month, by: str) -> Result:
    """Recovery rates compared"""
    return money.recovery_rate(_grouped(month, by), month.book.table("payments"), horizons=HORIZONS, by=by)


@part
def teams(month: Month) -> Result:
    """Teams on the same mix of cases."""
    return leagues.teams(month)


@part(picture=False)
def verdicts(month: Month) -> Result:
    """What the strategy caused."""
    found = [
        *caused.experiments(month),
        *(v for v, _ in caused.choices(month)),
        *(v for v, _ in caused.changes(month)),
    ]
    return caused.table(
        found,
        "What the strategy caused",
        "nothing was drawn by lot, and params/questions.yml asks nothing that this book could answer.",
    )


@part
def experiment_in_words(month: Month) -> Summary:
    """The test in words."""
    try:
        worth = trials.worth_of(month)
    except (NotAvailable, FrameError):
        worth = None
    return paper.in_words(trials.strategies(month), worth)


@part
def experiment(month: Month) -> Result:
    """What the randomised part of the book shows."""
    return paper.paper_table(trials.strategies(month))


@part(picture=False)
def experiment_times(month: Month) -> Result:
    """How much sooner accounts of an arm cure."""
    return trials.times(month)


@part(picture=False)
def experiment_checks(month: Month) -> Result:
    """The checks made on the test."""
    found = caused.experiments(month)
    if not found:
        raise NotAvailable("no account was assigned at random.")
    return checks_table(found[0].checks, "Checks of the test")


@part(picture=False)
def segments(month: Month) -> Result:
    """For whom the test's effect is larger or smaller."""
    return caused.by_segments(month)


@part(folded=True)
def looks(month: Month) -> Result:
    """The running test at every look."""
    return caused.looks(month)


@part
def chosen(month: Month) -> Result:
    """What people chose."""
    return caused.Told.of(caused.choices(month), "params/questions.yml asks of no choice that people made.")


@part(folded=True)
def chosen_overlap(month: Month) -> Result:
    """Who could have got either strategy."""
    return caused.Drawn.of(month, "overlap")


@part(folded=True)
def chosen_balance(month: Month) -> Result:
    """Whether those compared are alike."""
    return caused.Drawn.of(month, "balance")


@part
def changed(month: Month) -> Result:
    """What changes of policy did."""
    found = caused.changes(month)
    if not found:
        says = "No change of policy is asked about in this month (params/questions.yml)."
        return Summary(table=pd.DataFrame({"change": [says]}), estimand="", sentences=(says,))
    return caused.Told.of(found, "")


@part(folded=True)
def stage_days(month: Month) -> Result:
    """The days on which the strategy changes stage."""
    return caused.stages(month)


@part(picture=False)
def cost_by_channel(month: Month) -> Result:
    """What each channel cost."""
    whole = costs.cost_benefit(
        month.from_start,
        month.book.table("payments"),
        month.book.table("actions"),
        by="channel",
        horizon=month.horizon,
    )
    table = whole.table[whole.table["measure"] == "cost"].drop(columns="measure")
    table = table.assign(**{"per action": table["estimate"] / table["actions"]})
    return Result(
        table=table,
        estimand=f"Cost of the actions within {month.horizon} days of the first day past due.",
        unit="money",
        title="What each channel cost",
        notes=(
            "What a channel brings is told by its verdict (chapter 2), not by what followed its contacts.",
        ),
        formats={"actions": "count", "contacts": "count", "per action": "money2"},
        conf_level=whole.conf_level,
    )


@part(folded=True)
def net(month: Month) -> Result:
    """Recovered, spent and net, day by day."""
    return money.net_curve(month.from_start, month.book.table("payments"), month.book.table("actions"))


@part
def agencies_compared(month: Month) -> Result:
    """Agencies on the same mix of placements."""
    return leagues.agencies(month)


@part
def agencies(month: Month) -> Result:
    """What outside agencies collected of what they were given."""
    book = month.book
    if "agency" not in book.columns("actions"):
        raise NotAvailable("the book's actions name no agency.")
    placed = money.placements(book.table("actions"), book.table("snapshots"), book.table("accounts"))
    return money.liquidation(placed, book.table("payments"), by="agency", as_of=month.end).compare()


@part
def satisfaction(month: Month) -> Result:
    """Satisfaction, month by month."""
    return month.counted(actions.satisfaction, by="month", period=month.window)


def _model(month: Month) -> regression.HazardRatios:
    have = month.episodes.collect_schema().names()
    covariates = [c for c in regression.COVARIATES if c in have]
    told = engine.collect(month.episodes.select(nw.col(c).n_unique() for c in covariates))
    covariates = [c for c in covariates if told[c][0] > 1]
    if not covariates:
        raise NotAvailable(f"this book has none of the characteristics {', '.join(regression.COVARIATES)}.")
    customer = "customer_id" if "customer_id" in have else "account_id"
    return month.once(
        "hazards",
        lambda: regression.proportional_hazards(
            cure.midway(month.episodes),
            covariates=covariates,
            entry="entry_day",
            steps=regression.STEPS,
            cluster=customer,
        ),
    )


@part(folded=True)
def drivers(month: Month) -> Result:
    """What goes with cure, in percentage points."""
    return _model(month).in_points(horizon=month.horizon)


@part(picture=False)
def hazards(month: Month) -> Result:
    """Hazard ratios of cure."""
    return _model(month)
