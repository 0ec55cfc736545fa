"""Chapter 5: the plan as a sheet that people can run, what its simplicity costs, and what named changes would bring."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from collectlab.core.errors import FrameError, NotAvailable, ParamsError
from collectlab.core.results import Result
from collectlab.core.tables import format_value
from collectlab.policy.options import Figure, Option
from collectlab.policy.plan import decision_rows
from collectlab.policy.plan.simple import SimplePlan, simple_plan
from collectlab.policy.plan.uncertainty import holm
from collectlab.policy.plan.what_if import Change, WhatIf, load_changes, what_if
from collectlab.report.chapters.plan import Worked, rough, worked
from collectlab.report.chapters.shown import cell, on_page, plain
from collectlab.report.month import Month
from collectlab.report.parts import minimum_cell, part


@dataclass(frozen=True)
class Asked:
    """One named change: what it would bring, or why that cannot be told; ``stands`` allows for how many were asked."""

    key: str
    change: Change
    found: WhatIf | None
    refused: str = ""
    stands: bool = False


def simple(month: Month) -> SimplePlan:
    """The best sheet of the month, within the plan's capacity; found once for all parts."""
    done = worked(month)
    return month.shared(
        "plan as a sheet",
        lambda: simple_plan(done.model, done.plan.capacity, forbidden=_forbidden(done), full=done.plan),
    )


def asked(month: Month) -> list[Asked]:
    """The changes of what_if.yml that are asked about this month; worked out once for all parts."""
    return month.shared("what if", lambda: _asked(month))


def _forbidden(done: Worked) -> np.ndarray:
    return done.limits.forbidden(done.model) & ~(done.model.in_force > 0)


def _asked(month: Month) -> list[Asked]:
    try:
        changes = load_changes(month.params / "what_if.yml", month.end)
    except ParamsError as error:
        raise NotAvailable(str(error)) from error
    done = worked(month)
    model = replace(done.model, tried=done.model.tried & ~_forbidden(done))
    rows = decision_rows(month.book, unit_costs=done.limits.unit_costs)
    out = []
    for key, change in changes.items():
        try:
            found = what_if(model, change, capacity=done.plan.capacity, rows=rows)
            out.append(Asked(key, change, found))
        except (NotAvailable, FrameError) as error:
            said = " ".join(str(error).split())
            out.append(Asked(key, change, None, said.removeprefix(f"{change.name.en}: ")))
    told = [a for a in out if a.found is not None]
    z = np.array([a.found.gain()["estimate"] / a.found.gain()["std_error"] for a in told])
    stands = dict(zip([a.key for a in told], holm(np.nan_to_num(z), 0.025))) if told else {}
    return [replace(a, stands=bool(stands.get(a.key, False))) for a in out]


@part(picture=False)
def sheet(month: Month) -> Result:
    """The best plan with one strategy for each stage and amount, as a team leader can hang it up."""
    found, log = simple(month), worked(month).model.n.sum()
    table = found.table
    rows = log * table["account_months"] / table["account_months"].sum()  # of the log, about
    now = [rough(w, n, minimum_cell(month)) for w, n in zip(table["now"], rows)]
    made = Result(**_base(found))
    made = replace(
        made,
        table=table.assign(now=now),
        estimand=_sentence(made.estimand),
        title="The plan as a sheet: one strategy for each stage and amount",
        formats={"account_months": "count"},
        notes=(_hang_up(found), *made.notes),
    )
    heads = {"Action": "Strategy", "Now": "Now by", "Account months": "Accounts in it a month"}
    return on_page(made, lambda held: plain(held, held.table, heads))


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _hang_up(found: SimplePlan) -> str:
    """Whether the sheet is fit to be followed, in a sentence."""
    gain = found.values.set_index("plan").loc["simple plan less as now, corrected"]
    said = cell(gain["estimate"], gain["conf_low"], gain["conf_high"], "money")
    if gain["conf_low"] > 0:
        return f"Followed, the sheet is worth {said} more a month than what is in force, beyond noise."
    return (
        f"Not to be followed yet: its gain over what is in force, {said} a month, is within noise. It shows what "
        "a test by lot could try."
    )


@part(picture=False)
def simplicity(month: Month) -> Result:
    """What the sheet is worth beside the full plan, and what its simplicity costs."""
    found = simple(month)
    made = found.cost_of_simplicity()
    more = found.values.set_index("plan").loc["full plan less simple plan"]
    said = cell(more["estimate"], more["conf_low"], more["conf_high"], "money")
    lead = "beyond noise" if more["conf_low"] > 0 else "within noise"
    means = f"{_hang_up(found)} The full plan's lead over the sheet, {said} a month, is {lead}."
    return replace(made, estimand=_sentence(made.estimand), notes=(means, *made.notes))


def _base(found: SimplePlan) -> dict:
    return {k: getattr(found, k) for k in ("table", "estimand", "unit", "title", "notes", "conf_level")}


@part(picture=False)
def changes(month: Month) -> Result:
    """What named changes of policy would bring, what they take, and whether the log supports them."""
    told = asked(month)
    if not told:
        raise NotAvailable("what_if.yml asks about no change this month.")
    refused = tuple(f"{a.change.name.en}: {a.refused}" for a in told if a.found is None)
    left = tuple(
        f"{a.change.name.en}: {note}"
        for a in told
        if a.found is not None
        for note in a.found.notes
        if "stay as now" in note
    )
    stand = [f"“{a.change.name.en}”" for a in told if a.stands]
    made = Result(
        table=pd.DataFrame([_row(a) for a in told]),
        estimand="Net money a month with the change less net money as now, everything else as it is",
        unit="money",
        title="What named changes would bring",
        formats={
            "account_months": "count",
            "effective_rows": "count",
            "share_by_lot": "share",
            "more_cost": "money",
            "estimate": "Net a month",
        },
        notes=(
            f"Beyond noise: {', '.join(stand)}."
            if stand
            else "No change asked about stands beyond noise: none is put forward.",
            "Account-months: those of the log under the strategy, on those days past due. By lot: the share of them that was "
            "drawn. More: the difference a month, once the change has settled.",
            "The intervals are each change's own; whether one stands allows for how many are asked.",
            *(n.replace(" | ", " / ") for n in (*left, *refused)),
        ),
    )
    return on_page(made, _in_brief)


def _in_brief(made: Result) -> pd.DataFrame:
    """Each change with what it takes and brings; how well the log supports it stands in the file."""
    hidden = ["strategy", "effective_rows", "more_calls", "more_complaints", "days_past_due"]
    heads = {"Account months": "Account-months", "Share by lot": "By lot", "More agent hours": "More hours"}
    return plain(made, made.table.drop(columns=hidden), heads)


def _row(a: Asked) -> dict[str, object]:
    top = "+" if a.change.dpd_to is None else f"–{a.change.dpd_to}"
    out: dict[str, object] = {
        "change": a.change.name.en,
        "strategy": a.change.use,
        "days_past_due": f"{a.change.dpd_from}{top}" + "".join(f", {w}" for w in a.change.among),
    }
    if a.found is None:
        blank = dict.fromkeys(
            (
                "account_months",
                "effective_rows",
                "share_by_lot",
                "more_cost",
                "more_calls",
                "more_agent_hours",
                "more_complaints",
            ),
            np.nan,
        )
        ends = dict.fromkeys(("estimate", "std_error", "conf_low", "conf_high"), np.nan)
        return {**out, **blank, "decision": "refused: not tried", **ends}
    support, rows = a.found.support, a.found.table.set_index("measure")
    more = rows["estimate"]
    short = a.found.capacity.loc[~a.found.capacity["enough"], "resource"].str.replace("_", "-")
    decision = "beyond noise" if a.stands else "within noise"
    decision += f"; needs more {' and '.join(short)}" if len(short) else "; capacity suffices"
    gain = a.found.gain()
    return {
        **out,
        "account_months": int(support["n"].sum()),
        "effective_rows": float(support["effective_n"].sum()),
        "share_by_lot": float(
            np.average(support["share_by_lot"].fillna(0), weights=np.maximum(support["n"], 1))
        ),
        "more_cost": more["cost"],
        "more_calls": more.get("calls", np.nan),
        "more_agent_hours": more.get("agent_hours", np.nan),
        "more_complaints": more.get("complaints", np.nan),
        "decision": decision,
        **{k: gain[k] for k in ("estimate", "std_error", "conf_low", "conf_high")},
    }


def options(month: Month) -> list[Option]:
    """The sheet, where its corrected gain is beyond noise and the full plan adds nothing sure; changes that stand."""
    found: list[Option] = []
    for make in (_of_sheet, _of_changes):
        try:
            found += make(month)
        except NotAvailable:
            continue
    return found


def _of_sheet(month: Month) -> list[Option]:
    plan = simple(month)
    rows = plan.values.set_index("plan")
    gain, more = rows.loc["simple plan less as now, corrected"], rows.loc["full plan less simple plan"]
    if not gain["conf_low"] > 0 or more["conf_low"] > 0:
        return []
    done = worked(month)
    said = [format_value(gain[k], "money") for k in ("estimate", "conf_low", "conf_high")]
    extra = [format_value(more[k], "money") for k in ("estimate", "conf_low", "conf_high")]
    where = {"plan": "simple plan less as now, corrected"}
    other = {"plan": "full plan less simple plan"}
    figures = tuple(
        Figure(name=name, value=float(row[column]), part="what_if_simplicity", column=column, where=place)
        for row, place, kind in ((gain, where, "gain a month"), (more, other, "full plan's lead"))
        for name, column in ((kind, "estimate"), (f"{kind}, from", "conf_low"), (f"{kind}, to", "conf_high"))
    )
    return [
        Option(
            key="sheet",
            what=f"Work by the sheet: {'; '.join(plan.sheet().splitlines())}",
            whom="Overdue accounts by days past due and amount, within today's capacity",
            area="strategy",
            net=float(gain["estimate"]),
            low=float(gain["conf_low"]),
            high=float(gain["conf_high"]),
            words=f"{said[0]} more a month ({said[1]} to {said[2]}), corrected for having been picked as the best; the full "
            f"plan's lead over it, {extra[0]} ({extra[1]} to {extra[2]}), is within noise.",
            grade="model",
            evidence="A Markov model of the book's own months, each strategy weighted to the same mix of accounts.",
            cost=float(plan.use.get("budget", np.nan) - done.plan.in_force.amounts.get("budget", np.nan)),
            cost_words="Within the capacity and budget there are.",
            legal_risk="None beyond the strategies in force: no account has more contacts than the house rule allows.",
            customer_risk="Complaints are priced in the sheet; watch them by strategy.",
            failing="Paid less cost per entering account falls below that of the accounts left as they are.",
            settle="Give the sheet to half of the new accounts by lot for six months.",
            figures=figures,
        )
    ]


def _of_changes(month: Month) -> list[Option]:
    table = changes(month).table  # as it is published: a change tried on few is not put forward
    told = set(table.loc[table["estimate"].notna(), "change"])
    return [
        _of_change(a) for a in asked(month) if a.stands and a.found is not None and a.change.name.en in told
    ]


def _of_change(a: Asked) -> Option:
    assert a.found is not None
    gain, where = a.found.gain(), {"change": a.change.name.en}
    more = a.found.table.set_index("measure")["estimate"]
    said = [format_value(gain[k], "money") for k in ("estimate", "conf_low", "conf_high")]
    hours = format_value(more.get("agent_hours", np.nan), "number")
    figures = tuple(
        Figure(name=name, value=float(value), part="what_if_changes", column=column, where=where)
        for name, value, column in (
            ("net a month", gain["estimate"], "estimate"),
            ("from", gain["conf_low"], "conf_low"),
            ("to", gain["conf_high"], "conf_high"),
            ("cost a month", more["cost"], "more_cost"),
            ("agent-hours a month", more.get("agent_hours", np.nan), "more_agent_hours"),
        )
    )
    top = " on" if a.change.dpd_to is None else f" to {a.change.dpd_to}"
    among = f", {' and '.join(a.change.among)}" if a.change.among else ""
    short = a.found.capacity.loc[~a.found.capacity["enough"], "resource"].str.replace("_", "-")
    room = (
        f"More {' and '.join(short)} than there are must be found first."
        if len(short)
        else "The capacity suffices."
    )
    return Option(
        key=f"what_if_{a.key}",
        what=f"{a.change.name.en}: {a.change.use} instead of what is in force",
        whom=f"Accounts from {a.change.dpd_from}{top} days past due{among}",
        area="strategy",
        net=float(gain["estimate"]),
        low=float(gain["conf_low"]),
        high=float(gain["conf_high"]),
        words=f"{said[0]} more net a month ({said[1]} to {said[2]}).",
        grade=a.found.grade,
        evidence=f"{int(a.found.support['n'].sum()):,} account-months of the log under the strategy there, in a Markov model.",
        cost=float(more["cost"]),
        cost_words=f"{format_value(more['cost'], 'money')} a month and {hours} agent-hours. {room}",
        legal_risk="The contact rules hold as before; check the number of contacts a week.",
        customer_risk="More contacts may bring more complaints; they are priced in the figure.",
        failing="Net money per account that comes into those days falls below that of the accounts left as they are.",
        settle="Give the change to half of the accounts that come into those days, by lot, for six months.",
        figures=figures,
    )
