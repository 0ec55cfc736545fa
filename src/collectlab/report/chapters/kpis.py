"""The KPIs of the scorecard, each from the measure that counts it, with its interval."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import pandas as pd

from collectlab.core.errors import FrameError, NotAvailable
from collectlab.measures import actions, costs, cure, portfolio, recovery
from collectlab.policy.scorecard import Scorecard
from collectlab.policy.scorecard import scorecard as judge
from collectlab.report.chapters import conduct
from collectlab.report.month import Month

#: Days by which the targets judge recovery and cure, whatever the report's own horizon.
TARGET_DAYS = 90


def scorecard(month: Month) -> Scorecard:
    """All KPIs of the month against the targets in force; counted once for all chapters."""
    return month.shared("kpis", lambda: _judged(month))


def _judged(month: Month) -> Scorecard:
    card = judge(_collect(month), month.params / "targets.yml", on=month.end)
    first, last = month.window
    span = (
        f"Recovery, cost, promises, complaints and satisfaction: {first} to {last}. New loans and sustained cure: "
        "all of the book that has been observed long enough."
    )
    return dataclasses.replace(card, notes=(*card.notes, span))


def _collect(month: Month) -> pd.DataFrame:
    rows = []
    for name, measure in KPIS.items():
        try:
            rows.append({"kpi": name, **measure(month)})
        except (NotAvailable, FrameError):
            rows.append(
                {"kpi": name, "estimate": math.nan, "conf_low": math.nan, "conf_high": math.nan, "n": 0}
            )
    return pd.DataFrame(rows)


def _numbers(row: Any, n: str) -> dict[str, float]:
    return {
        "estimate": float(row["estimate"]),
        "conf_low": float(row["conf_low"]),
        "conf_high": float(row["conf_high"]),
        "n": float(row[n]),
    }


def _recovery(month: Month) -> dict[str, float]:
    table = recovery.recovery_rate(
        month.from_start, month.book.table("payments"), horizons=(TARGET_DAYS,)
    ).table
    return _numbers(table.iloc[0], "episodes")


def _satisfaction(month: Month) -> dict[str, float]:
    table = actions.satisfaction(month.book, period=month.window).table
    return _numbers(table[table["measure"] == "mean_score"].iloc[0], "answers")


def _delinquency_change(month: Month) -> dict[str, float]:
    return _numbers(month.counted(portfolio.delinquency_trend).table.iloc[0], "months")


def _delinquency(month: Month) -> dict[str, float]:
    table = month.counted(portfolio.delinquency_rate).table
    if table.empty:
        raise NotAvailable("no account is open.")
    return _numbers(table.iloc[-1], "accounts")


def _violations(month: Month) -> dict[str, float]:
    sorts = conduct.audited(month).sorts
    rows = sorts[(sorts["sort"] == "any") & (sorts["by"] == "all")]
    if rows.empty:
        raise NotAvailable("no contact rule could be judged.")
    found = _numbers(rows.iloc[0], "contacts")
    return {name: value if name == "n" else 1000 * value for name, value in found.items()}


def _new_loans(month: Month) -> dict[str, float]:
    table = month.counted(portfolio.new_loan_bad_rate).table
    mature = table[table["cohort_status"] == "mature"]
    loans, bad = int(mature["loans"].sum()), int(mature["bad"].sum())
    if loans == 0:
        raise NotAvailable("no quarter of new loans is old enough.")
    from statsmodels.stats.proportion import proportion_confint

    low, high = proportion_confint(bad, loans, method="wilson")
    return {"estimate": bad / loans, "conf_low": low, "conf_high": high, "n": loans}


def _cost(month: Month) -> dict[str, float]:
    table = costs.cost_benefit(
        month.from_start,
        month.book.table("payments"),
        month.book.table("actions"),
        by=None,
        horizon=TARGET_DAYS,
    ).table
    return _numbers(table[table["measure"] == "cost_per_100_recovered"].iloc[0], "episodes")


def _promises(month: Month) -> dict[str, float]:
    table = month.counted(actions.promises, period=month.window).table
    return _numbers(table[table["measure"] == "kept"].iloc[0], "due")


def _complaints(month: Month) -> dict[str, float]:
    table = actions.complaints(month.book, by=None, period=month.window).table
    return _numbers(table[table["measure"] == "per_1000_contacts"].iloc[0], "contacts")


def _sustained(month: Month) -> dict[str, float]:
    _ = month.from_start  # not available where nobody was seen from day 0
    table = cure.definitions_compared(month.book, horizon=TARGET_DAYS, definitions=(month.definition,)).table
    return _numbers(table[table["measure"].str.startswith("sustained")].iloc[0], "at_risk")


KPIS: dict[str, Callable[[Month], dict[str, float]]] = {
    "recovery_rate": _recovery,
    "satisfaction": _satisfaction,
    "delinquency_rate": _delinquency,
    "delinquency_change": _delinquency_change,
    "new_loan_bad_rate": _new_loans,
    "cost_per_100_recovered": _cost,
    "promise_kept_rate": _promises,
    "complaints_per_1000_contacts": _complaints,
    "violations_per_1000_contacts": _violations,
    "sustained_cure_rate": _sustained,
}
