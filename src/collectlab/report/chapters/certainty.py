"""Chapter 5: what it takes to pay, which assumption the answer hangs on, and what knowing more would be worth."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pandas as pd

from collectlab.core.errors import NotAvailable, ParamsError
from collectlab.core.results import Result
from collectlab.core.tables import format_value
from collectlab.effects.design import minimum_detectable_effect
from collectlab.measures.worth.acceptability import Acceptability, acceptability
from collectlab.measures.worth.information import evppi
from collectlab.measures.worth.next_experiment import sample_information
from collectlab.measures.worth.sensitivity import Sensitivity, sensitivity
from collectlab.policy.options import Figure, Option
from collectlab.report.chapters.certainty_arms import DAYS, DRAWS, MONTH, WORDS, arms, inflow
from collectlab.report.chapters.certainty_channels import by_channel
from collectlab.report.chapters.shown import across, cell, on_page, plain
from collectlab.report.month import Month
from collectlab.report.parts import part

#: Months for which a choice of strategy stands, within which an experiment must pay for itself.
STANDS = 24
#: What an extra cure may be worth, in the book's currency: from nothing to far beyond its cost.
CURE_WORTH = (0, 100, 200, 300, 500, 750, 1000, 1500, 2000, 3000)


# What it takes to pay


@part(picture=False)
def break_even(month: Month) -> Result:
    """From which amount overdue on a channel pays."""
    return on_page(by_channel(month), _brief)


def _brief(found: Result) -> pd.DataFrame:
    """In the words of the page: what a treatment costs, what it does, and from which amount on it pays."""
    grade = [str(g).removesuffix(" from this book") for g in found.table["grade"]]
    heads = {"Number": "Accounts treated", "Cost": "Cost per account", "Median owed": "Owed (median)",
             "Effect needed": "Effect needed there"}  # fmt: skip
    channel = [f"{c}, {f}" for c, f in zip(found.table["channel"], found.table["from"])]
    return plain(found, found.table.assign(grade=grade, channel=channel).drop(columns="from"), heads)


# The decision of the test


@part
def tornado(month: Month) -> Result:
    """Which assumption the choice of strategy hangs on"""
    return _tornado(month)


def _tornado(month: Month) -> Sensitivity:
    found = arms(month)
    arm = found.best()
    ranges = {}
    for outcome in ("amount", "cost", "complaints"):
        if outcome in found.outcomes:
            at, error = found.difference(arm, outcome)
            ranges[WORDS[outcome]] = (at - 1.96 * error, at, at + 1.96 * error)
    if found.price:
        ranges[WORDS["price"]] = (found.price / 2, found.price, 2 * found.price)

    def net(**at: float) -> float:
        price = at.get(WORDS["price"], 0.0)
        return at[WORDS["amount"]] - at[WORDS["cost"]] - price * at.get(WORDS["complaints"], 0.0)

    result = sensitivity(
        net,
        ranges,
        estimand=f"Net value per account of {found.names[arm]} over {found.names[0]}, within {DAYS} days",
        title=f"What the choice of {found.names[arm]} hangs on",
    )
    says = [
        f"{found.names[arm].capitalize()} is worth more than {found.names[0]} only where the {r.parameter} is "
        f"{'above' if r.at_high > r.at_low else 'below'} {format_value(r.threshold, 'number')}; the estimate is "
        f"{format_value(r.value, 'number')}."
        for r in result.table.itertuples()
        if r.flips
    ] or ["No assumption alone turns the decision within its range."]
    says.append(
        "Per account, the arm less the control, over the 95 % interval of each difference; the price of a complaint "
        "over half to twice the one in force."
    )
    first = result.table.iloc[0]
    ends = sorted((first["at_low"], first["at_high"]))
    if ends[0] <= result.against < ends[1]:
        says.insert(
            0,
            f"Not sure: over what is known of the {first['parameter']}, {found.names[arm]} is worth from "
            f"{format_value(ends[0], 'money')} to {format_value(ends[1], 'money')} an account more than {found.names[0]}.",
        )
    return on_page(dataclasses.replace(result, notes=tuple(says)), _hangs_on)


def _hangs_on(found: Sensitivity) -> pd.DataFrame:
    """Each assumption with its range, and the answer at the ends of it, in whole money."""
    table = found.table
    money = {WORDS["amount"], WORDS["cost"], WORDS["price"]}
    kinds = ["money" if p in money else "ratio" for p in table["parameter"]]
    ends = ("value", "low", "high")
    said = [cell(v, low, high, k) for v, low, high, k in zip(*(table[c] for c in ends), kinds)]
    turns = [
        f"yes, at {format_value(v, k)}" if flips else "no"
        for v, flips, k in zip(table["threshold"], table["flips"], kinds)
    ]
    return pd.DataFrame(
        {
            "Assumption": table["parameter"].astype(str),
            "Estimate and range": said,
            "Net at the low end": [format_value(v, "money") for v in table["at_low"]],
            "Net at the high end": [format_value(v, "money") for v in table["at_high"]],
            "Turns the choice": turns,
        },
        dtype=object,
    )


@part(folded=True)
def best_by_price(month: Month) -> Result:
    """How often each strategy is the best one, by what an extra cure is worth"""
    found = arms(month)
    drawn = found.draws()
    cured = drawn[:, :, found.outcomes.index("cured")]
    spent = drawn[:, :, found.outcomes.index("cost")]
    if "complaints" in found.outcomes:
        spent = spent + found.price * drawn[:, :, found.outcomes.index("complaints")]
    effects, costs = (dict(zip(found.names, v.T)) for v in (cured, spent))
    result = acceptability(
        effects, costs, CURE_WORTH, of="an extra cure", title="How often each strategy is the best one"
    )
    turned = [f"{o} from {format_value(at, 'money')} on" for at, o in _leaders(result.table)]
    result = dataclasses.replace(
        result,
        notes=(
            f"Better on the whole: {'; '.join(turned)}. Near one half, that is a toss-up; only near 100 % is it sure. The "
            "frontier in the chart follows the one that is better on the whole.",
            f"A cure is one within {DAYS} days; the cost is that of actions and complaints. What was paid is not "
            "counted here: the worth of a cure stands for it.",
        ),
    )
    return on_page(result, _by_worth)


def _leaders(table: pd.DataFrame) -> list[tuple[float, str]]:
    """The strategy of the highest mean net, and from which worth of a cure on."""
    best = table[table["frontier"].astype(bool)].sort_values("willingness_to_pay")
    new = best["option"] != best["option"].shift()
    return list(zip(best.loc[new, "willingness_to_pay"], best.loc[new, "option"]))


def _by_worth(result: Acceptability) -> pd.DataFrame:
    """A row for each worth of a cure, a column for each strategy."""
    texts = [format_value(v, "share") for v in result.table["estimate"]]
    table = result.table.assign(
        willingness_to_pay=[format_value(v, "money") for v in result.table["willingness_to_pay"]]
    )
    return across(
        table, rows="willingness_to_pay", columns="option", texts=texts, head="What an extra cure is worth"
    )


# What knowing more is worth


@part
def knowing_more(month: Month) -> Result:
    """What knowing more before choosing would be worth."""
    return on_page(month.shared("knowing more", lambda: _knowing_more(month)), _knowing)


def _knowing_more(month: Month) -> Result:
    found = arms(month)
    drawn = found.draws()
    net = pd.DataFrame(drawn @ found.weights(), columns=list(found.names))
    groups, parameters = {}, {}
    for j, outcome in enumerate(found.outcomes):
        if found.weights()[j]:
            columns = {
                f"{outcome} {a}": drawn[:, i, j] - drawn[:, 0, j] for i, a in enumerate(found.names) if i
            }
            parameters |= columns
            groups[WORDS[outcome]] = list(columns)
    coming, pace = inflow(month, found)
    known = evppi(net, pd.DataFrame(parameters), groups, decisions=coming)
    table = known.table.drop(columns="share").rename(columns={"total": "a_month"})
    arm = found.best()
    means, variances = found.net()
    error = math.sqrt(variances[arm] / (found.n[arm] - 1) + variances[0] / (found.n[0] - 1))
    sizes = {"sd": math.sqrt(variances[0]), "sd_arm": math.sqrt(variances[arm])}
    next_one = sample_information(
        float(means[arm] - means[0]),
        error,
        **sizes,
        accounts_a_month=coming,
        months=STANDS,
        pace=pace,
        follow_up=DAYS / MONTH,
    )
    best = next_one.best
    shown = next_one.table.loc[next_one.table["gain"].idxmax()] if best is None else best
    table = pd.concat(
        [
            table.assign(more_accounts=np.nan, months=np.nan, net_benefit=np.nan),
            pd.DataFrame(
                {
                    "what": ["the next experiment"],
                    "estimate": shown["evsi"],
                    "a_month": shown["evsi"] * coming,
                    "more_accounts": shown["n_total"],
                    "months": shown["months"],
                    "net_benefit": shown["estimate"],
                }
            ),
        ],
        ignore_index=True,
    )
    share = float((net.to_numpy().argmax(axis=1) == arm).mean())
    more, worth = f"{shown['n_total']:,.0f} more accounts", shown["estimate"]
    seen = minimum_detectable_effect(int(shown["n_arm"]), **sizes).table["effect"].iloc[0]
    says = (
        f"The next experiment is of {more}, the size at which it is worth most: {format_value(worth, 'money')} net."
        if best is not None
        else f"No further experiment is worth its cost, against choosing today. The answer of the one shown, {more}, is "
        f"worth {format_value(shown['gain'], 'money')} to the accounts that come after it; those in the arm that looks "
        f"worse today would forgo {format_value(shown['forgone'], 'money')}.",
        f"{found.names[arm].capitalize()} brings {format_value(float(means[arm] - means[0]), 'money2')} more per "
        f"account than {found.names[0]} (standard error {format_value(error, 'money2')}), and is the best choice in "
        f"{format_value(share, 'share')} of {DRAWS:,} draws.",
        f"On its own it would tell a difference of {format_value(float(seen), 'money2')} per account from none (power "
        "80 %).",
        f"A month, {coming:,.0f} accounts of the tested strategies fall past due, and {pace:,.0f} can enter the test; "
        f"an answer takes {DAYS} days more, and the choice stands for {STANDS} months. Estimates are taken as normal, "
        "with nothing known before the test.",
    )
    return dataclasses.replace(
        known,
        table=table,
        title="What knowing more would be worth",
        estimand="Expected gain per account from knowing this before the strategy is chosen",
        formats={
            **known.formats,
            "estimate": "Per account",
            "a_month": "money",
            "more_accounts": "count",
            "months": "days",
            "net_benefit": "money",
        },
        notes=says,
    )


def _knowing(made: Result) -> pd.DataFrame:
    heads = {
        "Months": "Known after months",
        "Net benefit": f"Net over {STANDS} months",
        "A month": "All accounts, a month",
    }
    return plain(made, made.table, heads, estimate="Worth per account")


# What could be done


def options(month: Month) -> list[Option]:
    """A channel kept for amounts from which it pays; an experiment where its answer is worth its cost."""
    out = []
    for make in (_keep_for_larger, _experiment):
        try:
            out += make(month)
        except (NotAvailable, ParamsError):
            continue
    return out


def _keep_for_larger(month: Month) -> list[Option]:
    out = []
    for row in break_even(month).table.to_dict("records"):
        if not row["saving_low"] > 0:  # missing where few are below, or no amount can be told
            continue
        where = {"channel": row["channel"], "from": row["from"]}
        channel, least = row["channel"], format_value(row["conf_low"], "money")
        names = {"pays above": "conf_low", "saved a month": "saving", "left alone a month": "treated_below"}
        out.append(
            Option(
                key=f"break_even_{channel}",
                what=f"Do not treat accounts by {channel} that owe less than {least}.",
                whom=f"{channel}, from {row['from']} on: {row['treated_below']:,.1f} accounts a month",
                area="strategy",
                net=row["saving"],
                low=row["saving_low"],
                high=row["saving_high"],
                words=(
                    f"Below {least} overdue a {channel} costs more than it brings, even at the upper end of its "
                    f"effect: {format_value(row['saving'], 'money2')} a month saved."
                ),
                grade=row["grade"],
                evidence=(
                    f"The effect of the {channel} on cure, {format_value(row['effect'], 'points')}, and what the "
                    "treatment of an account costs."
                ),
                cost=0.0,
                cost_words="Nothing but the rule.",
                legal_risk="None: fewer contacts.",
                customer_risk="None: those who owe little are contacted less.",
                failing="Cure among accounts below the amount falls by more than the effect's upper end.",
                settle=f"Draw lots between the rule and the present practice among accounts near {least} overdue.",
                figures=tuple(
                    Figure(name=n, value=row[c], part="certainty_break_even", where=where, column=c)
                    for n, c in {**names, "effect": "effect"}.items()
                ),
            )
        )
    return out


def _experiment(month: Month) -> list[Option]:
    table = knowing_more(month).table
    row = table[table["what"] == "the next experiment"].iloc[0]
    if not row["net_benefit"] > 0:
        return []
    found = arms(month)
    arm, control = found.names[found.best()], found.names[0]
    accounts = format_value(row["more_accounts"], "count")
    where = {"what": "the next experiment"}
    names = {"accounts": "more_accounts", "months": "months", "net benefit": "net_benefit"}
    return [
        Option(
            key="experiment",
            what=f"Go on drawing lots between {arm} and {control} until {accounts} more accounts have been followed.",
            whom="accounts of the tested strategies that fall past due",
            area="strategy",
            net=row["net_benefit"] / STANDS,
            words=(
                f"The answer is worth {format_value(row['net_benefit'], 'money')} net over {STANDS} months, known "
                f"after {format_value(row['months'], 'days')} months."
            ),
            grade="model",
            evidence="The present estimate and its error, taken as normal; the value of sample information.",
            cost_words="What the accounts in the arm that looks worse today would forgo is counted.",
            legal_risk="None beyond those of the two strategies.",
            customer_risk=f"Half of the accounts go on under {control}, half under {arm}.",
            failing="The interval of the net difference does not narrow as planned.",
            settle=f"This is the experiment: {accounts} accounts.",
            figures=tuple(
                Figure(name=n, value=row[c], part="certainty_knowing_more", where=where, column=c)
                for n, c in names.items()
            ),
        )
    ]
