"""What a recommendation should bring, what it costs, and how much longer a test must run."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from collectlab.core.params import InForce
from collectlab.core.tables import format_value
from collectlab.effects.settle import settling
from collectlab.policy.candidates import Finding
from collectlab.policy.finding_arms import outcome_words
from collectlab.policy.remedies import GAINS, Remedy

NOT_KNOWN = "not known from this book"

#: Months beyond which waiting for a test is no plan.
PATIENCE = 24


@dataclass(frozen=True)
class Expected:
    """An effect a month with its interval, what it is counted in, and the sentence that says so."""

    estimate: float
    low: float
    high: float
    of: str
    words: str

    @classmethod
    def nothing(cls, kind: str) -> Expected:
        """No effect can be put in numbers."""
        words = "later reports see more" if kind == "data" else "none until the cause is known"
        return cls(math.nan, math.nan, math.nan, "", words[:1].upper() + words[1:])


def volume_of(f: Finding, of: str, volumes: Mapping[str, float]) -> float:
    """The month's volume of a finding's group; NaN: unknown.

    Its own, where given; else its part of the total, by observations; else, where only the number of months is
    given, the observations behind it a month.
    """
    if f.key in volumes:
        return volumes[f.key]
    if volumes.get("months", 0) > 0 and f.kind != "randomised" and of not in volumes:
        return f.n / volumes["months"]
    if of not in volumes:
        return math.nan
    if not f.group or f.kind == "randomised":
        return volumes[of]
    return volumes[of] * f.n / f.n_all if f.n_all > 0 else math.nan


def effect_of(group: list[Finding], volumes: Mapping[str, float]) -> Expected:
    """The expected effect a month of acting on these findings."""
    first = group[0]
    if first.kind == "randomised":
        return _randomised(first, volumes)
    gain, of = GAINS.get(first.measure, ("", ""))
    if not gain:
        words = f"{_gap_words(group)}; what closing it would bring is {NOT_KNOWN}"
        return Expected(math.nan, math.nan, math.nan, "", words)
    # complaints are counted per 1,000 contacts
    per = 1000.0 if first.measure == "complaints" else 1.0
    known = [volume_of(f, of, volumes) for f in group]
    per_100 = any(math.isnan(v) for v in known)
    if per_100:
        known = [100.0 / len(group)] * len(group)
    estimate = sum(abs(f.gap) * v for f, v in zip(group, known)) / per
    # A gap that was counted has no interval of its own: the whole of it can be closed, or none.
    reach = [max(abs(f.gap_low), abs(f.gap_high)) if not math.isnan(f.gap_low) else abs(f.gap) for f in group]
    high = sum(r * v for r, v in zip(reach, known)) / per
    unit = f"{gain} per 100 {_plural(of)}" if per_100 else f"{gain} a month"
    kind = kind_of(high)
    number, top = format_value(estimate, kind), format_value(high, kind)
    words = f"{number} {unit} if the whole gap could be closed (0 to {top}); not a causal estimate"
    return Expected(estimate, 0.0, high, unit, words)


def _randomised(f: Finding, volumes: Mapping[str, float]) -> Expected:
    volume = volume_of(f, "accounts", volumes)
    per_100 = math.isnan(volume)
    scale = 100.0 if per_100 else volume
    sign = -1.0 if f.rule == "arm_worse" else 1.0
    low, high = sorted((sign * f.gap_low * scale, sign * f.gap_high * scale))
    estimate = sign * f.gap * scale
    outcome = outcome_words(f.measure)
    counted = f"accounts {outcome}" if f.unit == "points" else outcome
    unit = f"{counted} {'per 100 accounts' if per_100 else 'a month'}"
    kind = kind_of(max(abs(low), abs(high)))
    number, ends = _signed(estimate, kind), f"{_signed(low, kind)} to {_signed(high, kind)}"
    by = "" if per_100 else f" × {format_value(volume, 'count')} accounts a month"
    words = f"{number} {unit} ({ends}; interval widened for the number of things compared): the randomised difference{by}"
    return Expected(estimate, low, high, unit, words)


def kind_of(largest: float) -> str:
    """Whole numbers, unless they are small."""
    return "ratio" if largest < 1 else "days" if largest < 10 else "count"


def _signed(value: float, kind: str) -> str:
    text = format_value(value, kind)
    return f"+{text}" if value > 0 and any(c in "123456789" for c in text) else text


def _gap_words(group: list[Finding]) -> str:
    f = group[0]
    kind = "points" if f.unit == "share" else f.unit
    return f"The gap to {f.comparison_of} is {format_value(f.gap, kind)}"


def _plural(of: str) -> str:
    return {
        "delinquent": "delinquent accounts",
        "hardship": "hardship cases",
        "open_accounts": "accounts",
        "amount_overdue": "overdue",
    }.get(of, of)


def cost_of(
    group: list[Finding], remedy: Remedy, volumes: Mapping[str, float], costs: Mapping[str, InForce | float]
) -> tuple[float, str]:
    """Cost a month where a unit cost and a volume are known; else in words what is not."""
    if not remedy.cost:
        return math.nan, NOT_KNOWN
    if remedy.cost not in costs:
        return math.nan, f"{NOT_KNOWN} (no unit cost for {remedy.cost.replace('_', ' ')})"
    held = costs[remedy.cost]
    unit_cost = held.value if isinstance(held, InForce) else float(held)
    unit, source = (held.unit, f"; {held.source}") if isinstance(held, InForce) else ("each", "")
    of = GAINS.get(group[0].measure, ("", ""))[1]
    share = {"all": lambda f: 1.0, "gap": lambda f: abs(f.gap), "affected": _affected}[remedy.each]
    number = sum(volume_of(f, of, volumes) * share(f) for f in group)
    if math.isnan(number):
        return math.nan, f"{unit_cost:g} {unit}{source}; how many a month is {NOT_KNOWN}"
    cost = unit_cost * number
    return cost, f"{cost:,.0f} a month: {number:,.0f} × {unit_cost:g} {unit}{source}"


#: Measure → the price in costs.yml of one unit of what is gained; money itself is worth itself.
_PRICES = {
    "complaints": "complaint",
    "night_contacts": "conduct_breach",
    "hours_breaches": "conduct_breach",
    "frequency_breaches": "conduct_breach",
    "hold_breaches": "conduct_breach",
    "third_party_breaches": "conduct_breach",
}


def net_of(
    group: list[Finding], expected: Expected, cost: float, costs: Mapping[str, InForce | float]
) -> tuple[tuple[float, float, float], str]:
    """What the change should bring a month in money, less its cost; and the words for it."""
    unknown = (math.nan, math.nan, math.nan)
    measure = group[0].measure
    if math.isnan(expected.estimate) or not expected.of.endswith("a month"):
        return unknown, NOT_KNOWN
    if measure == "recovery":
        price, at = 1.0, ""
    else:
        held = costs.get(_PRICES.get(measure, ""))
        if held is None:
            return unknown, f"{NOT_KNOWN}: what is gained has no price in costs.yml"
        price = held.value if isinstance(held, InForce) else float(held)
        at = f", at {price:g} {held.unit}" if isinstance(held, InForce) else f", at {price:g} each"
    less = 0.0 if math.isnan(cost) else cost
    net, low, high = (price * v - less for v in (expected.estimate, expected.low, expected.high))
    before = "before its own cost, which is not known" if math.isnan(cost) else "after its cost"
    ends = f"{format_value(low, 'money')} to {format_value(high, 'money')}"
    words = f"{format_value(net, 'money')} ({ends}){at}, {before}"
    if group[0].kind != "randomised":
        words += "; if the whole gap could be closed"
    return (net, low, high), words


def settled_by(kind: str, group: list[Finding], who: str, volumes: Mapping[str, float]) -> str:
    """The experiment that would settle whether the change works."""
    f = group[0]
    if kind == "breach":
        return "Nothing to settle: a rule is kept, not tested; next month's count shows it."
    if kind == "randomised":
        return "It is settled for accounts like those of the test; a random tenth kept on the control shows whether it lasts."
    if kind != "observed":
        return ""
    volume = volume_of(f, GAINS.get(f.measure, ("", ""))[1], volumes)
    told = ""
    half = abs(f.gap) / 2
    if f.unit == "share" and half > 0:
        # of the two arms, the one with the smaller share
        base = f.estimate - half if f.gap > 0 else f.estimate
        told = settling("the change", "the handling as it is", smallest=half, baseline=base, pace=volume)
    if not told:
        return f"Draw half of the cases of {who} for the change by lot, leave the others as they are, and compare after three months."
    told = told.removeprefix("To settle it: ")
    return f"{told[:1].upper()}{told[1:]} That is half of the gap, among the cases of {who}."


def _affected(f: Finding) -> float:
    # contactability is a share of successes: those to mend are the rest
    return 1 - f.estimate if f.measure == "contactability" else abs(f.estimate)


def until(
    group: list[Finding], volumes: Mapping[str, float], limits: Mapping[str, float]
) -> tuple[str, bool]:
    """How much longer an undecided test must run: until its interval is narrower than the smallest effect.

    The half-width falls with the square root of the accounts: n × (half-width / smallest effect)².
    Also whether any arm would take longer than :data:`PATIENCE` months.
    """
    smallest = limits.get("smallest_effect", math.nan)
    said, too_long = [], False
    for f in group:
        half = (f.gap_high - f.gap_low) / 2
        if f.unit != "points" or math.isnan(smallest) or math.isnan(half):
            continue
        within = f"±{100 * smallest:.1f} pp"
        if half <= smallest:
            said.append(f"{f.row}: already known to {within}; a further month decides only a smaller effect")
            continue
        wanted = f.n * (half / smallest) ** 2
        text = f"{f.row}: until about {wanted:,.0f} accounts in that arm (now {f.n:,.0f}) narrow the interval to {within}"
        monthly = volumes.get(
            f.key, volumes["accounts"] * f.n / f.n_all if "accounts" in volumes and f.n_all else 0.0
        )
        if monthly > 0:
            months = math.ceil((wanted - f.n) / monthly)
            text += f", some {months:,} months at the present pace"
            too_long = too_long or months > PATIENCE
        said.append(text)
    if not said:
        said = ["Keep it running until the interval excludes no difference, or is too narrow to matter"]
    return "; ".join(said), too_long
