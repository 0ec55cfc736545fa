"""Chapter 5: the plan under limits, what it is worth, what capacity is worth, and what could not be considered."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from collectlab.core.errors import NotAvailable, ParamsError
from collectlab.core.results import Result
from collectlab.core.tables import format_value
from collectlab.policy.options import Figure, Option
from collectlab.policy.plan.limits import Limits, load_limits
from collectlab.policy.plan.model import DecisionModel, decision_model
from collectlab.policy.plan.plan_worth import spread, value
from collectlab.policy.plan.rows import decision_rows
from collectlab.policy.plan.rule_of_thumb import greedy
from collectlab.policy.plan.solve import Plan, allocate
from collectlab.report.chapters.shown import across, cell, on_page, plain
from collectlab.report.month import Month
from collectlab.report.parts import minimum_cell, part

#: Capacities in words, and the unit of one.
_SAID = {
    "agent_hours": ("agent-hours", "agent-hour"),
    "visits": ("visits", "visit"),
    "legal": ("legal cases", "legal case"),
    "budget": ("budget", "unit of budget"),
}


@dataclass(frozen=True)
class Worked:
    """The model, the plan and the rule of thumb of one month."""

    limits: Limits
    model: DecisionModel
    plan: Plan
    greedy: np.ndarray
    raised: tuple[str, ...]


def worked(month: Month) -> Worked:
    """The plan of the month, worked out once for all parts."""
    return month.shared("plan under limits", lambda: _worked(month))


def _worked(month: Month) -> Worked:
    try:
        limits = load_limits(month.params, month.end)
    except ParamsError as error:
        raise NotAvailable(str(error)) from error
    rows = decision_rows(month.book, unit_costs=limits.unit_costs)
    model = decision_model(
        rows, capacity_params=limits.minutes, prices=limits.prices, annual_rate=limits.annual_rate
    )
    # A strategy with more contacts than the house rule allows is not given to more accounts than have it today.
    model = replace(model, tried=model.tried & ~limits.forbidden(model))
    capacity, raised = limits.at_least_today(model)
    plan = allocate(model, capacity)
    return Worked(limits, model, plan, greedy(model, capacity), tuple(raised))


def rough(words: str, n: float, minimum: int) -> str:
    """A mix in words, ``champion 62 %, standard 38 %``, to 5 %; strategies of few of the ``n`` account-months are "others"."""
    told = re.findall(r"(.+?) (\d+) ?%(?:, |$)", words)
    if not told:
        return words
    least = max(5.0, 100 * minimum / n) if n > 0 else 101.0
    shown = [f"{name} {5 * round(int(share) / 5)} %" for name, share in told if int(share) >= least]
    return ", ".join(shown + ["others"] * (len(shown) < len(told)))


@part(picture=False)
def states(month: Month) -> Result:
    """The plan: what would be done otherwise, by days past due."""
    done = worked(month)
    model, plan = done.model, done.plan
    table = plan.groups.copy()
    bands = np.array([s.split(" | ")[0] for s in model.states])
    changed = np.abs(plan.best - model.in_force).max(axis=1) > 0
    more = np.array([model.actions[k] for k in (plan.best - model.in_force).argmax(axis=1)])
    if table.empty:
        raise NotAvailable("the best plan is the strategy in force: nothing gains within the limits.")
    table["account_months"] = [
        int(model.n[changed & (bands == b) & (more == a)].sum()) for b, a in zip(table["band"], table["more"])
    ]
    minimum = minimum_cell(month)
    table["now"] = [rough(w, n, minimum) for w, n in zip(table["now"], table["account_months"])]
    table["decision"] = [
        ("keep: not sure as one of many" if low > 0 else "keep: within noise")
        if kept
        else "change"
        if sure
        else "change, as part of the whole"
        for kept, sure, low in zip(table["kept_back"], table["proven"], table["conf_low"])
    ]
    names = ["band", "more", "account_months", "now", "plan", "decision"]
    table = table[[*names, "estimate", "std_error", "conf_low", "conf_high"]]
    table = table.rename(columns={"band": "days_past_due", "more": "strategy"})
    limited = ", ".join(_SAID[k][0] for k in plan.capacity) or "none"
    put = int((~plan.groups["kept_back"]).sum())
    means = (
        f"Of {len(table)} groups {put} would change; in the others nothing is gained beyond noise, and the strategy in "
        "force stays. A group that changes as part of the whole is not sure on its own."
        if put
        else f"Nothing changes: no gain is beyond noise once all {len(table)} groups are looked at, so the strategy in force stays."
    )
    made = Result(
        table=table,
        estimand="Gain a month against the strategy in force, net of what capacity is worth elsewhere, corrected for optimism",
        unit="money",
        title="The plan, group by group",
        formats={"estimate": "Gain a month"},
        conf_level=plan.conf_level,
        notes=(
            means,
            f"Shown: the groups that would change, those that gain most first, and of those kept the {KEPT_SHOWN} that gain "
            "most; all stand in the file, with the account-months behind each.",
            f"Limits: {limited}. Accounts are told apart by days past due, amount, score and whether they were reached in "
            "90 days; a group holds the states of a band that the best plan gives more of the same strategy.",
            "The intervals are each group's own; the decision allows for the number of groups.",
            *_words(n for n in plan.notes if n not in model.notes),
        ),
    )
    return on_page(made, _groups)


def _words(notes: Iterable[str]) -> list[str]:
    """Notes with the names of columns as words."""
    return [re.sub(r"[a-z]+(_[a-z]+)+", lambda m: m[0].replace("_", " "), n) for n in notes]


#: Groups that would change, and groups kept as they are, on the page.
CHANGED_SHOWN, KEPT_SHOWN = 10, 4


def _groups(made: Result) -> pd.DataFrame:
    """The groups that would change, then the nearest of those that would not."""
    table = made.table.sort_values("estimate", ascending=False, kind="stable")
    kept = table["decision"].str.startswith("keep")
    table = pd.concat([table[~kept].head(CHANGED_SHOWN), table[kept].head(KEPT_SHOWN)])
    heads = {"Strategy": "More of", "Now": "Now by", "Plan": "Planned"}
    return plain(made, table.drop(columns="account_months"), heads)


@part(picture=False)
def worth(month: Month) -> Result:
    """What the plan is worth a month, beside the strategy in force and the rule of thumb."""
    done = worked(month)
    table = _worth(done)
    prices, gain = done.limits.prices, done.plan.gain
    said = cell(gain["estimate"], gain["conf_low"], gain["conf_high"], "money")
    means = (
        f"The plan put forward is worth {said} more a month than the strategy in force, beyond noise."
        if gain["conf_low"] > 0
        else "Nothing beyond noise: the strategy in force stays."
    )
    made = Result(
        table=table,
        estimand="Net a month: less cost, complaints, funding of what is past due, what is never paid, and what is lost on charge-off",
        unit="money",
        title="The plan's worth",
        formats={"estimate": "Money a month"},
        conf_level=done.plan.conf_level,
        notes=(
            means,
            "Once the plan has settled, at equal capacity. Rule of thumb: next month's gain per scarce unit, looking no "
            f"further. Net counts what is spent and lost, so it lies below 0: what is not lost comes in. Plans are judged by the "
            f"gain. Prices: {format_value(prices['complaints'], 'money')} a "
            f"complaint; {format_value(12 * prices['owed'], 'share')} a year for funding what is past due; "
            f"{format_value(prices['lost'], 'share')} of what is charged off or sold, beyond the amount first past due, is lost.",
            "The best plan's gain as estimated is too good: it was picked for looking best. The corrected one is what to "
            f"expect; {format_value(done.plan.gain['optimism'], 'money')} are taken off the gain of the plan put forward.",
            "The plan put forward keeps the strategy in force wherever a change is within noise.",
        ),
    )
    return on_page(made, lambda held: plain(held, held.table, {"What": "Strategy", "Measure": "Net or gain"}))


def _worth(done: Worked) -> pd.DataFrame:
    plan, model = done.plan, done.model
    level = plan.conf_level
    force = plan.in_force
    shown = {
        "strategy in force": force,
        "rule of thumb": value(model, done.greedy, conf_level=level),
        "best plan, as estimated": value(model, plan.best, conf_level=level),
        "plan put forward": plan.value,
    }
    rows = []
    for name, held in shown.items():
        rows.append((name, "net", held.net, *spread(held.net, held.draws.get("net"), level)))
    for name, held in shown.items():
        if held is force:
            continue
        gain = held.net - force.net
        both = held.draws["net"] - force.draws["net"]
        rows.append((name, "gain", gain, *spread(gain, both, level)))
    gained = plan.gain
    rows.append(
        (
            "plan put forward",
            "gain, corrected",
            *(gained[k] for k in ("estimate", "std_error", "conf_low", "conf_high")),
        )
    )
    return pd.DataFrame(rows, columns=["what", "measure", "estimate", "std_error", "conf_low", "conf_high"])


@part(picture=False)
def capacity(month: Month) -> Result:
    """What capacity is used, and what one more unit is worth."""
    done = worked(month)
    table = done.plan.price_table.copy()
    if table.empty:
        raise NotAvailable("capacity.yml names no limit.")
    table["use"] = [_SAID[k][0] for k in table["use"]]
    table = table.rename(columns={"use": "what", "used": "used_by_plan"})
    own = table.set_index("what")
    scarce = own.index[own["conf_low"] > 0]
    notes = [
        _scarce(list(scarce), bool(done.plan.gain["conf_low"] > 0)),
        "Price: what one more unit a month would bring, on top of what it costs to use, if the best plan were followed; 0 where "
        "not all is used. It holds for a small change; its interval comes from solving resampled books.",
    ]
    if done.raised:
        said = ", ".join(_SAID[k][0] for k in done.raised)
        notes.append(
            f"The strategy in force takes more than capacity.yml allows of {said}; what it takes is the limit here."
        )
    return Result(
        table=table,
        estimand="What one more unit of capacity a month is worth, in money a month (dual of the linear programme)",
        unit="money",
        title="Capacity and its price",
        formats={
            "estimate": "Worth of one more",
            "capacity": "amount",
            "used_in_force": "amount",
            "used_by_plan": "amount",
        }
        | {c: "number" for c in ("capacity", "used_in_force", "used_by_plan")},
        conf_level=done.plan.conf_level,
        notes=tuple(notes),
    )


def _scarce(scarce: list[str], put: bool) -> str:
    if not scarce:
        return "Nothing is surely scarce: more capacity is not surely worth anything."
    said = " and ".join(scarce)
    if put:
        return f"Scarce under the best plan: {said}. More of the rest is not surely worth anything."
    return f"Under the best plan {said} would be scarce; it is not put forward, so none need be added on its account."


@part(picture=False)
def not_considered(month: Month) -> Result:
    """Where a strategy was tried too little to be chosen."""
    done = worked(month)
    model = done.model
    bands = [s.split(" | ")[0] for s in model.states]
    table = pd.DataFrame(
        {
            "days_past_due": [b for b in bands for _ in model.actions],
            "strategy": [a for _ in bands for a in model.actions],
            "account_months": model.n.ravel(),
            "tried": model.tried.ravel(),
        }
    )
    order = list(dict.fromkeys(bands))
    found = table.groupby(["days_past_due", "strategy"], sort=False).agg(
        account_months=("account_months", "sum"), tried=("tried", "mean")
    )
    found = found.reset_index().rename(columns={"tried": "share_of_states_tried"})
    found["account_months"] = found["account_months"].astype(int)
    found = found.sort_values(
        "days_past_due", key=lambda c: c.map({b: k for k, b in enumerate(order)}), kind="stable"
    )
    made = Result(
        table=found,
        estimand="Share of the states in which a strategy was tried on enough accounts to be chosen",
        unit="share",
        title="What could not be considered",
        formats={"share_of_states_tried": "share"},
        notes=(
            "Below 100 %, part of the accounts could not be offered more of the strategy: there nothing is extrapolated, and "
            "it is not given to more accounts of a state than it has today. To learn more, draw lots there.",
            *_words(model.notes),
        ),
    )
    return on_page(made, _by_strategy)


def _by_strategy(made: Result) -> pd.DataFrame:
    """A row for each band of days past due, a column for each strategy."""
    texts = [format_value(v, "share") for v in made.table["share_of_states_tried"]]
    return across(made.table, rows="days_past_due", columns="strategy", texts=texts)


def options(month: Month) -> list[Option]:
    """The plan, where its corrected gain is beyond noise; more capacity, where it is worth more than it costs."""
    done = worked(month)
    plan = done.plan
    if not plan.gain["conf_low"] > 0:
        return []
    found = [_plan_option(done)]
    prices = plan.price_table.set_index("use")
    if "agent_hours" in prices.index:
        row = prices.loc["agent_hours"]
        if row["conf_low"] > done.limits.hour_cost:
            found.append(_hours_option(done, row))
    return found


def _plan_option(done: Worked) -> Option:
    plan = done.plan
    gain = plan.gain
    kept = plan.groups[~plan.groups["kept_back"]]
    groups = "; ".join(
        f"more {more} at {', '.join(own['band'])} days past due"
        for more, own in kept.groupby("more", sort=False)
    )
    more = plan.value.amounts["cost"] - plan.in_force.amounts["cost"]
    said = [format_value(gain[k], "money") for k in ("estimate", "conf_low", "conf_high")]
    where = {"what": "plan put forward", "measure": "gain, corrected"}
    figures = tuple(
        Figure(name=name, value=gain[column], part="plan_worth", column=column, where=where)
        for name, column in (("gain a month", "estimate"), ("from", "conf_low"), ("to", "conf_high"))
    )
    return Option(
        key="plan",
        what=f"Give strategies by the plan: {groups}",
        whom="Overdue accounts, state by state, within today's capacity",
        area="strategy",
        net=gain["estimate"],
        low=gain["conf_low"],
        high=gain["conf_high"],
        words=f"{said[0]} more a month ({said[1]} to {said[2]}), corrected for having been picked as the best.",
        grade="model",
        evidence="A Markov model of the book's own months, each strategy weighted to the same mix of accounts; tested accounts by lot.",
        cost=more,
        cost_words="Within the capacity and budget there are.",
        legal_risk="None beyond the strategies in force: no account has more contacts than the house rule allows.",
        customer_risk="Complaints are priced in the plan; watch them by strategy.",
        failing="Paid less cost per entering account falls below that of the accounts left as they are.",
        settle="Give the plan to half of the new accounts by lot for six months.",
        figures=figures,
    )


def _hours_option(done: Worked, row: pd.Series) -> Option:
    cost = done.limits.hour_cost
    said = [format_value(row[k], "money") for k in ("estimate", "conf_low", "conf_high")]
    figures = tuple(
        Figure(name=name, value=float(row[c]), part="plan_capacity", column=c, where={"what": "agent-hours"})
        for name, c in (("worth of an hour", "estimate"), ("from", "conf_low"), ("to", "conf_high"))
    )
    extra = 0.05 * float(row["capacity"])
    return Option(
        key="hours",
        what="Staff a twentieth more agent-hours",
        whom="Contact centre",
        area="process",
        net=extra * (float(row["estimate"]) - cost),
        low=extra * (float(row["conf_low"]) - cost),
        high=extra * (float(row["conf_high"]) - cost),
        words=f"One more agent-hour a month is worth {said[0]} ({said[1]} to {said[2]}) under the best plan.",
        grade="model",
        evidence="The dual of the plan's linear programme, solved on resampled books.",
        cost=extra * cost,
        cost_words="At the price of an agent-hour in costs.yml.",
        legal_risk="More contacts: the limit a week holds in the plan.",
        customer_risk="More calls may bring more complaints; they are priced in the plan.",
        failing="The added hours are not used within two months.",
        settle="Add the hours in half of the teams by lot for three months.",
        figures=figures,
    )


__all__ = ["capacity", "not_considered", "options", "states", "worked", "worth"]
