"""Chapter 5: what to change, and what can be concluded."""

from __future__ import annotations

from collections.abc import Mapping

import narwhals as nw
import pandas as pd

from collectlab.book.episodes import load_definitions
from collectlab.core import engine
from collectlab.core.errors import FrameError, NotAvailable
from collectlab.core.params import InForce, load_params
from collectlab.core.results import Result
from collectlab.effects.verdict_rule import rule
from collectlab.policy.recommendations import recommend
from collectlab.policy.targets import load_targets
from collectlab.report.chapters import caused, evidence, kpis, trials
from collectlab.report.chapters.options import options
from collectlab.report.chapters.summary import Summary
from collectlab.report.month import WINDOW_MONTHS, Month
from collectlab.report.parts import part


def _recommended(month: Month) -> Result:
    try:
        effects = trials.strategies(month)
    except (NotAvailable, FrameError):
        effects = None
    return recommend(
        evidence.findings(month),
        effects=effects,
        costs=_costs(month),
        volumes=_volumes(month),
        options=options(month),
    )


def _costs(month: Month) -> Mapping[str, InForce]:
    """Unit costs in force, where they are in the book's own currency."""
    currency = month.book.about.currency
    if not currency:
        return {}
    costs = load_params(month.params / "costs.yml").on(month.end)
    return {key: cost for key, cost in costs.items() if currency in cost.unit or cost.unit == "share"}


def _volumes(month: Month) -> Mapping[str, float]:
    """How many of each a month, over the window: what an expected effect is multiplied by."""
    months = WINDOW_MONTHS
    cured = (nw.col("outcome") == "cured").cast(nw.Int64).sum()
    counted = engine.collect(
        month.recent.select(n=nw.len(), owed=nw.col("amount_at_entry").sum(), cured=cured)
    )
    volumes = {
        "months": float(months),
        "episodes": float(counted["n"][0]) / months,
        "accounts": float(counted["n"][0]) / months,
        "cures": float(counted["cured"].fillna(0)[0]) / months,
    }
    if pd.notna(counted["owed"][0]):
        volumes["amount_overdue"] = float(counted["owed"][0]) / months
    return volumes


@part
def recommended(month: Month) -> Result:
    """Recommendations, ranked."""
    return month.shared("recommended", lambda: _recommended(month))


@part
def figures(month: Month) -> Result:
    """Where each figure of the recommendations stands."""
    advice = recommended(month).result
    found = {f.key: f for f in evidence.findings(month)}
    rows = []
    for r in advice:
        own = {
            "net gain a month": "net",
            "its lower end": "net_low",
            "its upper end": "net_high",
            "cost": "cost",
        }
        own |= {r.effect_of: "estimate"} if not r.figures and r.effect_of else {}
        rows += [
            (r.rank, name, getattr(r, column), "recommendations_recommended", f"rank = {r.rank}", column)
            for name, column in own.items()
            if pd.notna(getattr(r, column))
        ]
        for key in r.findings:
            if key in found:
                value = found[key].estimate
                rows.append(
                    (r.rank, found[key].subject, value, "problems_findings", f"key = {key}", "estimate")
                )
        for f in r.figures:
            where = "; ".join(f"{column} = {value}" for column, value in f.where.items())
            rows.append((r.rank, f.name, f.value, f.part, where, f.column))
    if not rows:
        raise NotAvailable("nothing is recommended.")
    columns = ["rank", "figure", "value", "table", "row", "column"]
    return Result(
        table=pd.DataFrame(rows, columns=columns),
        title="Where each figure of the recommendations stands",
        estimand="The cell of the tables kept with this report that holds it.",
        unit="number",
    )


@part
def conclusion(month: Month) -> Summary:
    """What can be concluded."""
    card, found, advice = kpis.scorecard(month), evidence.findings(month), recommended(month).result
    status = card.table.groupby("status")["name"].apply(list)
    sentences = []
    if len(card.table):
        sentences.append(f"{month.label} is rated “{card.rating}”. {card.reached}")
    else:
        sentences.append(f"{month.label} is not rated: no target is in force.")
    if "met" in status:
        sentences.append(f"On target: {', '.join(status['met'])}.")
    if "missed" in status:
        sentences.append(f"Off target: {', '.join(status['missed'])}.")
    if "cannot tell" in status:
        sentences.append(f"The data cannot decide: {', '.join(status['cannot tell'])}.")
    sentences.append(
        f"{len(found)} findings stand on their evidence and carry {len(advice)} recommendations."
        if len(found)
        else "No finding stands on its evidence, so nothing is recommended."
    )
    if len(advice):
        sentences.append(f"First: {advice.items[0].what.rstrip('.')}.")
    return Summary(table=card.table, estimand="", sentences=tuple(sentences))


@part
def questions(month: Month) -> Summary:
    """Questions this book cannot answer yet."""
    card = kpis.scorecard(month).table
    sentences = [
        f"{row['name']}: the interval straddles the target. A longer period or a larger sample would decide it."
        for _, row in card[card["status"] == "cannot tell"].iterrows()
    ]
    asked = [
        *caused.experiments(month),
        *(v for v, _ in (*caused.choices(month), *caused.channels(month), *caused.changes(month))),
    ]
    sentences += [f"{v.question} {v.settle}" for v in asked if v.settle]
    absent = evidence.evidence(month).get("missing_tables")
    if absent is not None:
        sentences += [
            f"A table {row['table']} would allow: {row['switches_off']}." for _, row in absent.iterrows()
        ]
    if not month.book.has("assignments"):
        sentences.append("What the strategy caused cannot be told: no account was assigned to it by chance.")
    if not sentences:
        raise NotAvailable("none were left open by this month's figures.")
    return Summary(table=pd.DataFrame({"question": sentences}), estimand="", sentences=tuple(sentences))


@part
def definitions(month: Month) -> Result:
    """Cure definitions, and the KPIs as they are counted."""
    known = load_definitions(month.params / "definitions.yml")
    chosen = known[month.definition]
    kpi = kpis.scorecard(month).table[["name", "definition"]]
    first = pd.DataFrame({"name": [f"Cure ({month.definition})"], "definition": [str(chosen.meaning["en"])]})
    return Result(
        table=pd.concat([first, kpi], ignore_index=True),
        title="Definitions",
        estimand="Numerators and denominators.",
    )


@part
def grading(month: Month) -> Result:
    """How a question is graded."""
    return rule()


@part
def targets(month: Month) -> Result:
    """Targets in force."""
    result = load_targets(month.params / "targets.yml").table(month.end)
    if result.table.empty:
        raise NotAvailable(f"targets.yml has no target in force on {month.end}.")
    return result


@part
def data(month: Month) -> Result:
    """The book: what it is, and what it assumes."""
    about = month.book.about
    facts = {"book": month.book.name, "as of": str(month.book.as_of), "description": month.book.description}
    for key in ("currency", "licence", "snapshot_frequency"):
        if value := getattr(about, key, None):
            facts[key.replace("_", " ")] = str(value)
    rows = list(facts.items()) + [("assumption", a) for a in getattr(about, "assumptions", ())]
    return Result(table=pd.DataFrame(rows, columns=["what", "value"]), title="The book", estimand="")
