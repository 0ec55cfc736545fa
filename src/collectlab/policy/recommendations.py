"""Recommendations: what to change, for whom, what it should bring and how sure that is. No finding, none."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from collectlab.core.errors import FrameError, first_few, nearest
from collectlab.core.params import InForce, Params
from collectlab.core.results import Result
from collectlab.core.tables import format_value
from collectlab.policy.advice import COLUMNS as ADVICE
from collectlab.policy.advice import Recommendation, Recommendations
from collectlab.policy.candidates import Finding
from collectlab.policy.expected import NOT_KNOWN, Expected, cost_of, effect_of, net_of, settled_by, until
from collectlab.policy.finding_arms import COLUMNS, more_is_worse, outcome_words, unit_of
from collectlab.policy.findings import Findings
from collectlab.policy.options import Option
from collectlab.policy.remedies import ENLARGE, EXPLAINED_BY, Remedy, remedy_for

MOST = 7

#: Kinds of recommendation in the order they are ranked; inside a kind, the gravest findings first.
RANKS = ("breach", "gain", "randomised", "counted", "observed", "test", "data", "unexplained")
RANKING = (
    "Ranked: broken rules first, whatever they cost; then changes whose net gain is above nothing with its whole "
    "interval, by that gain; then what a randomised test has shown, what is counted beyond noise, gaps observed, tests to "
    "go on, data to mend, and "
    "misses without a located cause, each by severity (size × scope) of the gravest finding. Gains do not add up: "
    "several of them act on the same accounts."
)
_GRADES = {
    "breach": "rule breach",
    "randomised": "randomised",
    "observed": "observed",
    "test": "randomised, not decided",
    "data": "counted",
    "unexplained": "observed",
}


def recommend(
    findings: Findings | Iterable[Finding],
    *,
    effects: Result | pd.DataFrame | None = None,
    costs: Mapping[str, InForce | float] | None = None,
    volumes: Mapping[str, float] | None = None,
    options: Iterable[Option] = (),
) -> Recommendations:
    """What to change, each carried by the findings that it names.

    The expected effect is, where a randomised test stands behind it, the intention-to-treat difference times
    the accounts a month; where only a gap was observed, the gap to the comparison times the volume, *if the
    whole gap could be closed; not a causal estimate* – its lower bound is 0. Intervals are those of the
    findings: widened for the number of things compared. A difference within noise is not acted on: the
    recommendation is then to keep the test running, and until when.

    Parameters
    ----------
    findings : Findings, or an iterable of Finding
    effects : Result or DataFrame, optional
        The experiment's table with all its outcomes: side effects of an arm (complaints, cost, …) are then
        told with the recommendation. Columns: outcome, arm, n, estimate, conf_low, conf_high; optional unit.
    costs : mapping, optional
        Unit costs in force: ``load_params("params/costs.yml").on(date)``, or plain numbers.
    volumes : mapping of str to float, optional
        How many a month. Keys: ``accounts`` (which a switch would reach), ``episodes``, ``contacts``,
        ``attempts``, ``promises``, ``cures``, ``loans``, ``delinquent``, ``hardship``, ``open_accounts``
        (all in the book), ``amount_overdue`` (money); or the key of a finding, for that finding's group alone. A group's part of a total is its
        share of the observations. ``months`` (that the evidence covers) stands in for totals not given: the
        observations themselves, a month. Without a volume, effects are told per 100.
    options : iterable of Option
        Changes worked out elsewhere (a plan under limits, a warning, a point to stop). Those whose net gain is not
        surely above nothing are not recommended, and a note names them.

    Returns
    -------
    Recommendations
        At most seven, ranked by the rule in :data:`RANKING`.

    Raises
    ------
    FrameError
        A negative or unknown volume, a cost that is no number, a missing column in ``effects``.

    Examples
    --------
    >>> from collectlab.policy.findings import find
    >>> teams = pd.DataFrame({"team": ["A", "B", "C"], "n": [900, 900, 900],
    ...                       "estimate": [0.60, 0.61, 0.40], "std_error": [0.016, 0.016, 0.016]})
    >>> found = find({"cure_by_team": teams}, targets="params/targets.yml", on="2026-10-31")
    >>> [r.findings for r in recommend(found, volumes={"episodes": 300})]
    [('cure_by_team: C',)]
    """
    limits = findings.limits if isinstance(findings, Findings) else {}
    found = list(findings)
    volumes = _checked_volumes(volumes or {}, found)
    costs = _checked_costs(costs or {})
    side = _checked_effects(effects)
    missed = [f for f in found if f.rule == "kpi_missed"]
    helped: set[str] = set()
    drafts = []
    for group in _groups(f for f in found if f.rule != "kpi_missed"):
        serves = [k for k in missed if any(_explains(f, k) for f in group)]
        helped |= {k.key for k in serves}
        drafts.append(_draft(group, serves, volumes, costs, limits, side))
    lost = [k for k in missed if k.key not in helped and k.sure]
    if lost:
        drafts.append(_draft(lost, [], volumes, costs, limits, side))
    options = list(options)
    drafts += [_chosen(o) for o in options if o.sure]
    drafts.sort(key=_order)
    items = tuple(Recommendation(rank=i + 1, **fields) for i, (_, fields) in enumerate(drafts[:MOST]))
    notes = [RANKING] if items else []
    if len(drafts) > MOST:
        rest = [fields["what"] for _, fields in drafts[MOST:]]
        notes.append(f"Not shown, ranked below the first {MOST}: {'; '.join(rest[:10])}.")
    if unsure := [o.what for o in options if not o.sure]:
        notes.append(f"Worked out and not recommended, as the gain is within noise: {'; '.join(unsure)}.")
    rows = [
        {c: getattr(r, c) for c in ADVICE}
        | {"because": "; ".join(r.because), "findings": "; ".join(r.findings)}
        for r in items
    ]
    return Recommendations(
        table=pd.DataFrame(rows, columns=ADVICE),
        estimand="What to change next, each carried by the findings it names.",
        unit="number",
        title="Recommendations",
        notes=tuple(notes),
        items=items,
    )


def _order(draft: tuple[str, dict[str, Any]]) -> tuple[Any, ...]:
    kind, fields = draft
    weight = fields["net"] if kind == "gain" else fields["severity"]
    return RANKS.index(kind), -round(weight, 12), fields["findings"]


def _chosen(o: Option) -> tuple[str, dict[str, Any]]:
    """A change worked out elsewhere, as a recommendation."""
    known = not math.isnan(o.net)
    said = format_value(o.net, "money") if known else NOT_KNOWN
    if not math.isnan(o.low):
        said += f" ({format_value(o.low, 'money')} to {format_value(o.high, 'money')})"
    fields = {
        "what": o.what,
        "whom": o.whom,
        "area": o.area,
        "grade": o.grade,
        "findings": (o.key,),
        "because": (o.evidence,),
        "serves": (),
        "estimate": o.net,
        "conf_low": o.low,
        "conf_high": o.high,
        "effect_of": "net gain a month" if known else "",
        "effect": o.words,
        "net": o.net,
        "net_low": o.low,
        "net_high": o.high,
        "net_words": said,
        "cost": o.cost,
        "cost_words": o.cost_words,
        "legal_risk": o.legal_risk,
        "customer_risk": o.customer_risk,
        "failing": o.failing,
        "settle": _sentence(o.settle.removeprefix("To settle it: ")),
        "severity": 0.0,
        "figures": o.figures,
    }
    return "gain" if known else "counted", fields


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _kind(f: Finding) -> str:
    if f.rule in ("arm_undecided", "arm_equal"):
        return "test"
    if f.rule == "kpi_missed":
        return "unexplained"
    if f.rule in ("quarantined", "table_missing"):
        return "data"
    return {"breach": "breach", "randomised": "randomised"}.get(f.kind, "observed")


def _remedy(f: Finding) -> Remedy:
    return remedy_for(f.rule, f.measure, f.area)


def _groups(found: Iterable[Finding]) -> list[list[Finding]]:
    """Findings that call for the same change to groups of the same kind make one recommendation."""
    groups: dict[tuple[str, str, str, str], list[Finding]] = {}
    for f in found:
        table = f.table if f.kind == "randomised" else ""
        groups.setdefault((_kind(f), _remedy(f).change, f.group, table), []).append(f)
    return [sorted(g, key=lambda f: (-round(f.severity, 12), f.key)) for g in groups.values()]


def _explains(cause: Finding, kpi: Finding) -> bool:
    measures = EXPLAINED_BY.get(kpi.measure, set())
    return cause.measure in measures or (cause.rule in ("arm_better", "arm_worse") and "arm" in measures)


def _draft(
    group: list[Finding],
    serves: list[Finding],
    volumes: Mapping[str, float],
    costs: Mapping[str, InForce],
    limits: Mapping[str, float],
    side: pd.DataFrame | None,
) -> tuple[str, dict[str, Any]]:
    kind, remedy = _kind(group[0]), _remedy(group[0])
    if group[0].rule == "arm_better":  # one treatment can be the next: the largest effect, the others named
        group = sorted(group, key=lambda f: (-abs(f.estimate), f.key))
    who = _who(group)
    parts = [[f for f in group if f.measure == m] for m in dict.fromkeys(f.measure for f in group)]
    if kind in ("data", "unexplained"):
        effects = [Expected.nothing(kind)]
    else:
        effects = [effect_of(part, volumes) for part in parts]
    expected, words = effects[0], "; ".join(e.words for e in effects)
    if group[0].rule == "arm_better" and len(group) > 1:
        others = first_few([f.row for f in group[1:]])
        words += f". Also better than the control: {others}; which of them is best was not tested"
    if group[0].rule == "arm_undecided":
        wait, too_long = until(group, volumes, limits)
        words, remedy = f"{words}. {wait}", ENLARGE if too_long else remedy
    cost, cost_words = cost_of(parts[0], remedy, volumes, costs)
    risks = [_side_effects(group, side), remedy.customer]
    if "harder cases" not in remedy.customer:
        risks += dict.fromkeys(f.caution for f in group)
    net, net_words = net_of(parts[0], expected, cost, costs)
    fields = {
        "what": remedy.change.format(who=who),
        "whom": remedy.whom.format(who=who)[:1].upper() + remedy.whom.format(who=who)[1:],
        "area": remedy.area,
        "grade": _GRADES[kind],
        "findings": tuple(f.key for f in [*group, *serves]),
        "because": tuple(f.statement for f in group),
        "serves": tuple(f.subject for f in serves),
        "estimate": expected.estimate,
        "conf_low": expected.low,
        "conf_high": expected.high,
        "effect_of": expected.of,
        "effect": f"{words}.",
        "net": net[0],
        "net_low": net[1],
        "net_high": net[2],
        "net_words": net_words,
        "cost": cost,
        "cost_words": cost_words,
        "legal_risk": remedy.legal,
        "customer_risk": " ".join(r for r in risks if r),
        "failing": remedy.failing.format(who=who),
        "settle": remedy.settle or settled_by(kind, parts[0], who, volumes),
        "severity": max(f.severity for f in group),
    }
    return kind, fields


def _who(group: list[Finding]) -> str:
    """``team C and team D``; of arms that are better, the best alone."""
    if group[0].rule == "arm_better":
        return group[0].subject
    names = list(dict.fromkeys(f.subject for f in group))
    if len(names) > 5:
        names = [*names[:5], f"{len(names) - 5} more"]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _side_effects(group: list[Finding], side: pd.DataFrame | None) -> str:
    """What else the arm did, by the same test: each other outcome with its interval."""
    first = group[0]
    if side is None or first.kind != "randomised":
        return ""
    said = []
    for i in range(len(side)):
        outcome, arm = str(side["outcome"].iloc[i]), str(side["arm"].iloc[i])
        if arm != first.row or outcome == first.measure:
            continue
        estimate, low, high = (float(side[c].iloc[i]) for c in ("estimate", "conf_low", "conf_high"))
        if any(math.isnan(v) for v in (estimate, low, high)):
            continue
        unit = unit_of(side, i)
        sign = -1 if more_is_worse(outcome) else 1
        verdict = "within noise" if low <= 0 <= high else "better" if sign * estimate > 0 else "worse"
        text = f"{outcome_words(outcome)} {format_value(estimate, unit)}"
        said.append(f"{text} ({format_value(low, unit)} to {format_value(high, unit)}, {verdict})")
    return f"Besides, in the same test: {'; '.join(said)}." if said else ""


def _checked_effects(effects: Result | pd.DataFrame | None) -> pd.DataFrame | None:
    if effects is None:
        return None
    table = effects.table if isinstance(effects, Result) else effects
    if missing := [c for c in COLUMNS if c not in table.columns]:
        raise FrameError(f"effects: no column {first_few(missing)}. Wanted: {', '.join(COLUMNS)}.")
    return table


_VOLUMES = (
    "accounts",
    "episodes",
    "contacts",
    "attempts",
    "promises",
    "cures",
    "loans",
    "delinquent",
    "hardship",
    "amount_overdue",
    "open_accounts",
    "months",
)


def _checked_volumes(volumes: Mapping[str, float], found: list[Finding]) -> dict[str, float]:
    faults = []
    allowed = {*_VOLUMES, *(f.key for f in found)}
    for key, value in volumes.items():
        if key not in allowed and ": " not in key:
            near = nearest(key, _VOLUMES)
            faults.append(
                f"volumes: {key!r} is not known.{f' Nearest: {first_few(near)}.' if near else ''}"
                f" Allowed: {', '.join(_VOLUMES)}, or the key of a finding."
            )
        elif not isinstance(value, (int, float)) or not math.isfinite(value) or value < 0:
            faults.append(f"volumes: {key} is {value!r}. Allowed: a number of 0 or more, a month.")
    if faults:
        raise FrameError(faults)
    return {k: float(v) for k, v in volumes.items()}


def _checked_costs(costs: Mapping[str, InForce | float]) -> dict[str, InForce | float]:
    if isinstance(costs, Params):
        raise FrameError("costs: parameters of many dates. Allowed: those in force, load_params(…).on(date).")
    faults = [
        f"costs: {key} is {value!r}. Allowed: a number of 0 or more."
        for key, value in costs.items()
        if not isinstance(value, InForce) and (not isinstance(value, (int, float)) or not value >= 0)
    ]
    if faults:
        raise FrameError(faults)
    return dict(costs)
