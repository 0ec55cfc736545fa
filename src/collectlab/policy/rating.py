"""How much of the rating is the rule's doing: the same KPIs rated under other rules one might have written."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from collectlab.core.errors import FrameError, NotAvailable
from collectlab.core.results import Result
from collectlab.policy.scorecard import Scorecard, rate, status
from collectlab.policy.targets import Rating, Targets, load_targets

#: How far the numbers of the rule are moved, in shares of the weight; and the targets, in shares of their value.
STEP, EASE = 0.10, 0.05

#: Half-widths of a normal interval of 90 and 99 %, over those of one of 95 %.
_WIDTHS = {"90 %": 1.6448536 / 1.9599640, "99 %": 2.5758293 / 1.9599640}


@dataclass(frozen=True, kw_only=True)
class RatingSensitivity(Result):
    """``rule, what, rating, changed``: one row per rule tried; the published one first."""

    rating: str = ""


def rating_sensitivity(card: Scorecard, targets: Targets | str | Path) -> RatingSensitivity:
    """The rating under other rules: other limits, equal weights, one KPI less, estimates without intervals.

    One thing is changed at a time. What moves the rating is a matter of the rule, not of the month.

    Parameters
    ----------
    card : Scorecard
    targets : Targets, or the path of targets.yml
        With the published rule.

    Returns
    -------
    RatingSensitivity
        ``rule`` (what is changed), ``what`` (in words), ``rating``, ``changed`` (yes or no).

    Raises
    ------
    NotAvailable
        The scorecard has no KPI.

    Examples
    --------
    >>> from collectlab.policy.scorecard import scorecard
    >>> kpis = pd.DataFrame({"kpi": ["recovery_rate"], "estimate": [0.7], "conf_low": [0.68], "conf_high": [0.72]})
    >>> card = scorecard(kpis, "params/targets.yml", on="2026-10-31")
    >>> found = rating_sensitivity(card, "params/targets.yml")
    >>> found.rating, found.table["rating"].iloc[0]
    ('cannot be rated', 'cannot be rated')
    """
    targets = targets if isinstance(targets, Targets) else load_targets(targets)
    if card.table.empty:
        raise NotAvailable("no target is in force, so there is no rating.")
    if missing := [k for k in card.table["kpi"] if k not in targets.kpis]:
        raise FrameError(f"targets: no KPI {missing}. Allowed: the targets that the scorecard was made with.")
    rows = []
    for rule, what, table, used in _variants(card.table, targets.rating):
        rating, _ = rate(table, used)
        rows.append({"rule": rule, "what": what, "rating": rating})
    table = pd.DataFrame(rows)
    own = table["rating"].iloc[0]
    table["changed"] = ["yes" if r != own else "no" for r in table["rating"]]
    moved = table[table["changed"] == "yes"]
    tried = len(table) - 1
    if moved.empty:
        note = f"The rating “{own}” stands under all {tried} other rules tried."
    else:
        to = "; ".join(
            f"“{r}” with this rule: {', '.join(part['what'])}"
            for r, part in moved.groupby("rating", sort=False)
        )
        note = (
            f"The rating “{own}” stands under {tried - len(moved)} of {tried} other rules, each changed in one thing. "
            f"It would be {to}."
        )
    return RatingSensitivity(
        table=table,
        estimand="The rating of the same KPIs when one thing of the rule is changed",
        unit="number",
        title=f"How far the rating “{own}” hangs on its rule",
        notes=(note,),
        rating=own,
    )


def _variants(table: pd.DataFrame, rule: Rating) -> Iterator[tuple[str, str, pd.DataFrame, Rating]]:
    yield "published", "as published", table, rule
    for name, words in (
        ("missed_at_least", "poor from {} of the weight missed"),
        ("met_at_least", "good from {} of the weight met"),
        ("unknown_above", "no rating above {} of the weight unknown"),
    ):
        for step in (-STEP, STEP):
            value = min(max(getattr(rule, name) + step, 0.01), 1.0)
            said = words.format(f"{value:.0%}".replace("%", " %"))
            yield name, said, table, rule.model_copy(update={name: value})
    yield "poor limits", "without the poor limits", table.assign(beyond_poor=False), rule
    yield "weights", "with equal weights", table.assign(weight=1.0), rule
    alone = table.assign(conf_low=table["estimate"], conf_high=table["estimate"])
    yield "intervals", "by the estimates alone, as if they were certain", _judged(alone), rule
    for level, width in _WIDTHS.items():
        wide = table.assign(
            conf_low=table["estimate"] - width * (table["estimate"] - table["conf_low"]),
            conf_high=table["estimate"] + width * (table["conf_high"] - table["estimate"]),
        )
        yield "intervals", f"with intervals of {level}", _judged(wide), rule
    for sign, words in ((1.0, "easier"), (-1.0, "harder")):
        moved = table["target"].abs() * EASE * sign
        eased = [
            t + m if d == "at_most" else t - m for t, m, d in zip(table["target"], moved, table["direction"])
        ]
        yield "targets", f"with targets {EASE:.0%} {words}".replace("%", " %"), _judged(table, eased), rule
    for kpi, name in zip(table["kpi"], table["name"]):
        yield f"without {kpi}", f"without “{name}”", table[table["kpi"] != kpi], rule


def _judged(table: pd.DataFrame, target: list[float] | None = None) -> pd.DataFrame:
    """The KPIs judged anew, where they had been judged by an interval."""
    goals = table["target"] if target is None else target
    found, beyond = [], []
    for row, goal in zip(table.itertuples(), goals):
        low, high = row.conf_low, row.conf_high
        found.append(status(row.direction, goal, row.estimate, low, high))
        beyond.append(
            not math.isnan(row.estimate)
            and status(row.direction, row.poor, row.estimate, low, high) == "missed"
        )
    return table.assign(status=found, beyond_poor=beyond)
