"""Findings: problems with their evidence. No data behind it, no finding."""

from __future__ import annotations

import dataclasses
import datetime as dt
import html
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import NormalDist
from typing import Any

import pandas as pd

from collectlab.core.errors import FrameError, first_few, nearest
from collectlab.core.results import Result
from collectlab.policy import finding_rules as rules
from collectlab.policy.candidates import Candidate, Context, Finding
from collectlab.policy.finding_arms import arms
from collectlab.policy.finding_data import quarantined, table_missing
from collectlab.policy.targets import Targets, load_targets

__all__ = ["Finding", "Findings", "find", "rule_for"]

Rule = Callable[[str, pd.DataFrame, Context], Iterator[Candidate]]

#: Evidence read under its full name.
_NAMED: dict[str, Rule] = {
    "scorecard": rules.kpi_missed,
    "roll_rates": rules.roll_worse,
    "experiment": arms,
    "reconciliation": quarantined,
    "missing_tables": table_missing,
}
_COMPANIONS = ("roll_rates_before",)
_TABLE = [
    "key",
    "rule",
    "measure",
    "area",
    "statement",
    "grade",
    "severity",
    "how_sure",
    "kind",
    "table",
    "row",
]
_TABLE += [
    "estimate",
    "conf_low",
    "conf_high",
    "unit",
    "comparison",
    "comparison_of",
    "gap",
    "gap_low",
    "gap_high",
]
_TABLE += ["n", "p_adjusted", "caution"]


@dataclass(frozen=True, kw_only=True)
class Findings(Result):
    """Findings, gravest first; iterate to get each :class:`Finding`.

    ``table``: one row per finding, with its statement, where its evidence stands (``table``, ``row``), its
    numbers, and how sure and how grave it is.
    """

    items: tuple[Finding, ...] = ()
    limits: Mapping[str, float] = field(default_factory=dict, repr=False)

    def __iter__(self) -> Iterator[Finding]:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)

    def where(self, **wanted: Any) -> tuple[Finding, ...]:
        """The findings whose attributes have these values, e.g. ``where(area="training")``."""
        return tuple(f for f in self.items if all(getattr(f, k) == v for k, v in wanted.items()))

    def display_table(self) -> pd.DataFrame:
        """Statement, area, severity, how sure, and the table the evidence stands in."""
        rows = [
            {
                "Finding": f"{f.statement} {f.caution}".strip(),
                "Area": f.area.replace("_", " "),
                "Severity": f.grade,
                "How sure": f.how_sure,
                "Evidence": f"{f.table} [{f.row}]".replace("_", " "),
            }
            for f in self.items
        ]
        return pd.DataFrame(
            rows, columns=["Finding", "Area", "Severity", "How sure", "Evidence"], dtype=object
        )

    def _repr_html_(self) -> str:
        if self.items:
            return super()._repr_html_()
        notes = "".join(f'<p class="cl-note">{html.escape(n)}</p>' for n in self.notes)
        return f'<div class="cl-result"><p>No finding stands on this evidence.</p>{notes}</div>'

    def _repr_markdown_(self) -> str:
        if self.items:
            return super()._repr_markdown_()
        return "\n\n".join(["No finding stands on this evidence.", *self.notes]) + "\n"


def rule_for(name: str) -> Rule | None:
    """The rule that reads an evidence table of this name; None where no rule does."""
    if name in _NAMED:
        return _NAMED[name]
    measure, by, group = name.partition("_by_")
    if measure == "concentration" and group:
        return rules.concentrated
    if measure not in rules.MEASURES or bool(by) != bool(group):
        return None
    known = rules.MEASURES[measure]
    if by and known.grouped == "others":
        return rules.outlying_group
    return rules.beyond_limit


def find(
    evidence: Mapping[str, Result | pd.DataFrame | None],
    *,
    targets: Targets | str | Path,
    on: str | dt.date,
    conf_level: float = 0.95,
) -> Findings:
    """Run every rule on the evidence it knows how to read.

    A finding compares an estimate with the other groups, a target, a limit, the period before, or a control.
    It is *certain enough* only where the interval excludes the comparison after Holm's correction over all
    the comparisons made here, whatever table they come from: with nothing wrong anywhere, the chance of even
    one finding by accident is at most 1 − conf_level. Only then is it listed; a missed KPI is listed
    anyway, and marked. Groups below the minimum size in targets.yml, and gaps too small to matter, are not.

    Severity is size × scope. Size: the gap as a share of the comparison (a KPI: of the way from target to
    poor limit; where nothing is allowed: of 1 %), at most 1. Scope: the share of the observations it concerns
    (a KPI: its share of the weight). High from 0.10, medium from 0.02.

    Parameters
    ----------
    evidence : mapping of str to Result or DataFrame
        By name; which rule reads it follows from the name, see :mod:`collectlab.policy.finding_rules`. None
        (a table this book cannot give) is passed over. Any subset will do.
    targets : Targets, or the path of targets.yml
        Gives the limits.
    on : date or "YYYY-MM-DD"
        The day whose limits are in force.
    conf_level : float
        Level of the intervals handed in, and of the whole list.

    Returns
    -------
    Findings

    Raises
    ------
    FrameError
        A name no rule reads (with the nearest), a missing column, several rows for one group; all at once.

    Examples
    --------
    >>> teams = pd.DataFrame({"team": ["A", "B", "C"], "n": [900, 900, 900],
    ...                       "estimate": [0.60, 0.61, 0.40], "std_error": [0.016, 0.016, 0.016]})
    >>> found = find({"cure_by_team": teams}, targets="params/targets.yml", on="2026-10-31")
    >>> found.items[0].statement
    'Team C: the cure rate is 40.0 %; that of the others is 60.5 %.'
    """
    targets = targets if isinstance(targets, Targets) else load_targets(targets)
    given = {str(k): v for k, v in evidence.items() if v is not None}
    tables = {k: v.table if isinstance(v, Result) else v for k, v in given.items()}
    units = {k: v.unit for k, v in given.items() if isinstance(v, Result)}
    context = Context(
        evidence=tables,
        units=units,
        limits=targets.limits_on(on).numbers(),
        goals=targets.on(on),
        conf_level=conf_level,
    )
    faults: list[str] = []
    candidates: list[Candidate] = []
    for name, table in tables.items():
        rule = rule_for(name)
        if rule is None:
            if name not in _COMPANIONS:
                faults.append(_unread(name))
            continue
        try:
            candidates += list(rule(name, table, context)) if len(table) else []
        except FrameError as error:
            faults += error.faults
    if faults:
        raise FrameError(faults)
    return _settle(candidates, context)


def _unread(name: str) -> str:
    allowed = [
        *_NAMED,
        *_COMPANIONS,
        *rules.MEASURES,
        *(f"{m}_by_…" for m in (*rules.MEASURES, "concentration")),
    ]
    near = nearest(name, allowed)
    hint = f"Nearest: {', '.join(near)}" if near else f"Allowed: {first_few(allowed, 60)}"
    return f"evidence {name!r}: no rule reads it. {hint}."


def _settle(candidates: list[Candidate], context: Context) -> Findings:
    """Holm's correction over every comparison; then the findings that stand, gravest first."""
    alpha = 1 - context.conf_level
    compared = sorted(
        (c for c in candidates if c.error is not None and not c.instead),
        key=lambda c: (c.p_value, c.finding.key, c.finding.rule),
    )
    m = len(compared)
    adjusted: dict[str, tuple[float, float]] = {}
    running, left = 0.0, m
    for rank, candidate in enumerate(compared):
        # Intervals take Holm's own step while it rejects, and then the step at which it stopped.
        left = m - rank if running < alpha else left
        running = min(1.0, max(running, (m - rank) * candidate.p_value))
        adjusted[candidate.finding.key] = (running, NormalDist().inv_cdf(1 - alpha / (2 * left)))
    standing, leads = [], []
    for candidate in candidates:
        found = candidate.finding
        if candidate.error is None:
            standing += [found] if candidate.noteworthy else []
            continue
        p, z = adjusted[found.key]
        sure = p < alpha
        found = dataclasses.replace(
            found,
            gap_low=found.gap - z * candidate.error,
            gap_high=found.gap + z * candidate.error,
            p_adjusted=p,
            sure=sure,
        )
        if candidate.instead:
            standing += [] if sure else [dataclasses.replace(found, sure=found.rule == "arm_equal")]
        elif candidate.noteworthy and (sure or candidate.keep):
            standing.append(found)
        elif candidate.noteworthy and candidate.p_value < alpha and found.kind != "randomised":
            leads.append(found.key)
    standing.sort(key=lambda f: (-round(f.severity, 12), f.key))
    notes = [
        f"{m:,} comparisons were made; certain enough means: still beyond its comparison at "
        f"{context.conf_level:.0%}".replace("%", " %")
        + f" after Holm's correction for all {m:,}."
    ]
    if leads:
        notes.append(
            f"Left out, as so many comparisons throw up a few by chance: {first_few(sorted(leads), 8)}. "
            "Each lies beyond its comparison only when looked at alone."
        )
    if context.unjudged:
        notes.append(f"Not judged, as they came without an interval: {first_few(context.unjudged, 8)}.")
    rows = [{c: getattr(f, c) for c in _TABLE} for f in standing]
    return Findings(
        table=pd.DataFrame(rows, columns=_TABLE),
        estimand="Problems that the evidence of this book supports, gravest first.",
        unit="number",
        title="Findings",
        notes=tuple(notes if m or leads or context.unjudged else ()),
        conf_level=context.conf_level,
        items=tuple(standing),
        limits=dict(context.limits),
    )
