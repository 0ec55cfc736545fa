"""The list of recommendations: what each one says, and how it is shown."""

from __future__ import annotations

import html
import math
from collections.abc import Iterator
from dataclasses import dataclass

import pandas as pd

from collectlab.core.results import Result
from collectlab.core.tables import format_value
from collectlab.policy.options import Figure


@dataclass(frozen=True, kw_only=True)
class Recommendation:
    """One recommendation.

    ``findings`` are the keys of the findings that carry it (or the key of the option), ``because`` the statements of
    the causes, ``serves`` the missed KPIs it would help. ``effect`` says the expected effect in words; its numbers are
    ``estimate, conf_low, conf_high`` in ``effect_of`` (such as "episodes cured a month"). ``net, net_low, net_high``
    is what it should bring a month in money, less what it costs; missing where that is not known, and ``net_words``
    says why.
    """

    rank: int
    what: str
    whom: str
    area: str
    grade: str
    findings: tuple[str, ...]
    because: tuple[str, ...]
    serves: tuple[str, ...]
    estimate: float
    conf_low: float
    conf_high: float
    effect_of: str
    effect: str
    net: float
    net_low: float
    net_high: float
    net_words: str
    cost: float
    cost_words: str
    legal_risk: str
    customer_risk: str
    failing: str
    settle: str
    severity: float
    figures: tuple[Figure, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Recommendations(Result):
    """At most seven recommendations, ranked; iterate to get each :class:`Recommendation`.

    ``table``: :data:`COLUMNS`; ``because`` and ``findings`` (keys) are joined by "; ".
    """

    items: tuple[Recommendation, ...] = ()

    def __iter__(self) -> Iterator[Recommendation]:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)

    def display_table(self) -> pd.DataFrame:
        """The list in brief: what, for whom, the expected effect, the grade of the evidence."""
        rows = [
            {
                "Rank": str(r.rank),
                "What": r.what,
                "For whom": r.whom,
                "Net gain a month": net_of(r),
                "Expected": r.effect,
                "Evidence": r.grade,
            }
            for r in self.items
        ]
        return pd.DataFrame(
            rows,
            columns=["Rank", "What", "For whom", "Net gain a month", "Expected", "Evidence"],
            dtype=object,
        )

    def _repr_html_(self) -> str:
        parts = ['<div class="cl-result cl-recommendations">']
        if self.title:
            parts.append(f'<p class="cl-title"><strong>{html.escape(self.title)}</strong></p>')
        if not self.items:
            parts.append("<p>Nothing is recommended: no finding stands on this evidence.</p>")
        else:
            parts.append("<ol>")
            for r in self.items:
                lines = "".join(f"<br>\n<em>{k}:</em> {html.escape(v)}" for k, v in _lines(r))
                parts.append(f"<li><p><strong>{html.escape(r.what)}.</strong>{lines}</p></li>")
            parts.append("</ol>")
        parts.extend(f'<p class="cl-note">{html.escape(note)}</p>' for note in self.notes)
        parts.append("</div>")
        return "\n".join(parts)

    def _repr_markdown_(self) -> str:
        parts = [f"**{self.title}**", ""] if self.title else []
        if not self.items:
            parts += ["Nothing is recommended: no finding stands on this evidence.", ""]
        for r in self.items:
            parts.append(f"{r.rank}. **{_md(r.what)}.**")
            parts += [f"   - *{k}:* {_md(v)}" for k, v in _lines(r)]
            parts.append("")
        parts += [f"{_md(note)}\n" for note in self.notes]
        return "\n".join(parts).rstrip() + "\n"


COLUMNS = [
    "rank",
    "what",
    "whom",
    "area",
    "grade",
    "estimate",
    "conf_low",
    "conf_high",
    "effect_of",
    "effect",
]
COLUMNS += ["net", "net_low", "net_high", "net_words", "cost", "cost_words", "legal_risk", "customer_risk"]
COLUMNS += ["failing", "settle", "severity", "because", "findings"]


def net_of(r: Recommendation) -> str:
    """The net gain with its interval, or that it is not known."""
    if math.isnan(r.net):
        return "not known"
    net = format_value(r.net, "money")
    if math.isnan(r.net_low):
        return net
    return f"{net} ({format_value(r.net_low, 'money')} to {format_value(r.net_high, 'money')})"


def _lines(r: Recommendation) -> list[tuple[str, str]]:
    lines = [("For", f"{r.whom} ({r.area.replace('_', ' ')})"), ("Because", " ".join(r.because))]
    if r.serves:
        lines.append(("Helps with", ", ".join(r.serves)))
    lines += [("Expected", r.effect), ("Net gain a month", r.net_words), ("Cost", r.cost_words)]
    lines += [("Legal risk", r.legal_risk), ("Customer risk", r.customer_risk)]
    if r.failing:
        lines.append(("Would show it failing", r.failing))
    if r.settle:
        lines.append(("To settle it", r.settle))
    return [*lines, ("Evidence", f"{r.grade}; {', '.join(r.findings)}")]


def _md(text: str) -> str:
    return html.escape(text, quote=False).replace("*", "\\*")
