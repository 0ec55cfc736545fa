"""What rules hand over: a finding in the making, with the comparison that decides whether it stands."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from statistics import NormalDist

import numpy as np
import pandas as pd

from collectlab.core.errors import FrameError, first_few
from collectlab.policy.targets import Goal, say

#: What the column of observations may be called.
COUNTED = (
    "n",
    "at_risk",
    "overdue_accounts",
    "contacts",
    "actions",
    "episodes",
    "account_months",
    "loans",
    "accounts",
)

#: Where nothing is allowed, this much counts as the full size of a problem.
FULL_BREACH = 0.01


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A problem and its evidence.

    Attributes
    ----------
    key : str
        ``<evidence table>: <row>``; unique among the findings.
    rule : str
        The rule that found it.
    measure : str
        What was measured, such as ``cure`` or ``night_contacts``.
    area : str
        strategy, technology, training, credit_approval, process or legal.
    statement : str
        One plain sentence; its numbers come from the evidence.
    kind : str
        ``observed`` (a gap seen), ``randomised`` (caused, by a fair test), ``breach`` (a rule broken) or
        ``fact`` (a count that needs no inference).
    table, row : str
        The evidence: name of the table and key of its row.
    group : str
        The grouping column, where the row is a group; else empty.
    subject : str
        What it is about, in words: "team C", "Recovery rate".
    estimate, conf_low, conf_high, unit
        The evidence's own numbers, with their own interval.
    comparison, comparison_of
        What the estimate is compared with: the others, a target, a limit, before, or a control.
    gap, gap_low, gap_high
        estimate − comparison, its interval widened for the number of things compared.
    n, n_all : float
        Observations behind the estimate, and behind the whole table.
    p_adjusted : float
        Holm's p-value over everything compared; missing for facts.
    sure : bool
        The interval excludes the comparison after Holm's correction, or it is a fact.
    size, scope : float
        How far from the comparison (0 to 1), and how much of the whole it concerns (0 to 1).
    caution : str
        What else could explain it.
    """

    key: str
    rule: str
    measure: str
    area: str
    statement: str
    table: str
    row: str
    kind: str = "observed"
    group: str = ""
    subject: str = ""
    estimate: float = math.nan
    conf_low: float = math.nan
    conf_high: float = math.nan
    unit: str = "number"
    comparison: float = math.nan
    comparison_of: str = ""
    gap: float = math.nan
    gap_low: float = math.nan
    gap_high: float = math.nan
    n: float = math.nan
    n_all: float = math.nan
    p_adjusted: float = math.nan
    sure: bool = True
    size: float = 0.0
    scope: float = 1.0
    caution: str = ""

    @property
    def severity(self) -> float:
        """size × scope, 0 to 1."""
        return self.size * self.scope

    @property
    def grade(self) -> str:
        """high from 0.10, medium from 0.02, else low."""
        return "high" if self.severity >= 0.10 else "medium" if self.severity >= 0.02 else "low"

    @property
    def how_sure(self) -> str:
        """In words."""
        if self.kind == "fact" or math.isnan(self.p_adjusted):
            return "counted"
        return "certain enough" if self.sure else "not certain"


@dataclass(frozen=True)
class Candidate:
    """One comparison a rule made.

    ``error`` is the standard error of ``finding.gap``; None for a fact. ``noteworthy``: in the bad direction
    and big enough to be named. ``keep``: shown, as not certain, even where the correction does not confirm it.
    ``instead``: no comparison of its own; shown where the comparison of the same key is not certain.
    """

    finding: Finding
    error: float | None = None
    noteworthy: bool = True
    keep: bool = False
    instead: bool = False

    @property
    def p_value(self) -> float:
        """Two-sided, normal."""
        return two_sided(self.finding.gap, self.error)


@dataclass(frozen=True)
class Context:
    """What rules may look at besides their own table."""

    evidence: Mapping[str, pd.DataFrame]
    units: Mapping[str, str]
    limits: Mapping[str, float]
    goals: Mapping[str, Goal]
    conf_level: float = 0.95
    unjudged: list[str] = field(default_factory=list)

    @cached_property
    def z(self) -> float:
        """Normal quantile of the intervals handed in."""
        return NormalDist().inv_cdf(0.5 + self.conf_level / 2)

    def limit(self, key: str) -> float:
        """A limit in force; NaN where none is."""
        return float(self.limits.get(key, math.nan))


def two_sided(gap: float, error: float | None) -> float:
    """P(|Z| ≥ |gap| / error); 1 where there is no gap, NaN where there is no error."""
    if error is None or math.isnan(error) or math.isnan(gap):
        return math.nan
    if error <= 0:
        return 0.0 if gap else 1.0
    return math.erfc(abs(gap) / error / math.sqrt(2))


def need(name: str, table: pd.DataFrame, *columns: str) -> None:
    """Raise where an evidence table lacks a column its rule wants."""
    missing = [c for c in columns if c not in table.columns]
    if missing:
        have = first_few(list(table.columns), 20)
        raise FrameError(
            f"evidence {name!r}: no column {first_few(missing)}. Wanted: {', '.join(columns)}. There: {have}."
        )


def label_of(value: object) -> str:
    """A group's name as text; a missing one is ``(none)``."""
    if value is None or (isinstance(value, float) and math.isnan(value)) or value is pd.NaT or value is pd.NA:
        return "(none)"
    return str(value)


def counts(name: str, table: pd.DataFrame) -> np.ndarray:
    """Observations behind each row: the first column of :data:`COUNTED` that is there."""
    for column in COUNTED:
        if column in table.columns:
            return pd.to_numeric(table[column]).fillna(0).to_numpy(float)
    raise FrameError(f"evidence {name!r}: no column of observations. Allowed: {', '.join(COUNTED)}.")


def numbers(table: pd.DataFrame, column: str) -> np.ndarray:
    """A column as floats; NaN throughout where it is not there."""
    if column not in table.columns:
        return np.full(len(table), np.nan)
    return pd.to_numeric(table[column]).to_numpy(float, na_value=np.nan)


def error_towards(
    estimate: float,
    std_error: float,
    low: float,
    high: float,
    comparison: float,
    n: float,
    unit: str,
    z: float,
) -> float:
    """Standard error of an estimate, as seen from what it is compared with.

    The largest of: the standard error given; the half of the interval that faces the comparison, over z
    (intervals need not be symmetric); and, for a share, the standard error it would have if the comparison
    were true, with the same design effect – so that a small group with no event is not taken for certain.
    NaN where none of them is known.
    """
    side = (estimate - low if comparison < estimate else high - estimate) / z
    known = [v for v in (std_error, side) if math.isfinite(v) and v >= 0]
    error = max(known, default=math.nan)
    if unit == "share" and 0 <= estimate <= 1 and n > 0:
        seen, null = estimate * (1 - estimate) / n, _variance(comparison, n)
        # A bound of an interval near 0 or 1 is no standard error: where one is given, that tells the design.
        spread = std_error if math.isfinite(std_error) and std_error > 0 else error
        design = (spread * spread / seen) if seen > 0 and spread > 0 else 1.0
        floor = math.sqrt(null * max(design, 1.0)) if math.isfinite(null) else math.nan
        error = max((v for v in (error, floor) if math.isfinite(v)), default=math.nan)
    return error


def _variance(p: float, n: float) -> float:
    if not 0 <= p <= 1:
        return math.nan
    p = (n * p + 0.5) / (n + 1)
    return p * (1 - p) / n


def size_of(gap: float, comparison: float, scale: float | None = None) -> float:
    """The gap as a share of the comparison (of 1 % where nothing is allowed), at most 1."""
    scale = abs(comparison) if scale is None else scale
    return min(1.0, abs(gap) / (scale if scale > 0 else FULL_BREACH))


def with_interval(estimate: float, low: float, high: float, unit: str) -> str:
    """``41.2 % (38.9 % to 43.5 %)``."""
    text = say(estimate, unit)
    if math.isnan(low) or math.isnan(high):
        return text
    return f"{text} ({say(low, unit)} to {say(high, unit)})"
