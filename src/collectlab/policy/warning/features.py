"""What the warning looks at: each feature, its bands, and how a band is said in words."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from types import MappingProxyType

import numpy as np

#: What is warned of, and how it is said.
TARGETS = MappingProxyType(
    {
        "falls": "a current account is past due (or charged off) at the next month-end",
        "rolls": "an account past due is in a worse bucket (or charged off) at the next month-end",
    }
)


#: The band of what is not known, where that means nothing else.
UNKNOWN = "not known"


@dataclass(frozen=True)
class Feature:
    """One thing known of an account at a month-end.

    Attributes
    ----------
    name : str
        The column of :func:`~collectlab.policy.warning.rows.warning_rows`.
    words : str
        A sentence's middle, with ``{}`` where the band stands.
    cuts : tuple of float
        Where bands begin; empty: bands of equal size, cut where the rows that the model learns from lie.
    kind : {"whole", "number", "share", "money", "yes", "text"}
        How a band is written.
    targets : tuple of str
        For which targets it is used unless features are named; none: for the simple rule, or where it is named.
    unknown : str
        What a missing value means, in the same sentence; empty: that it is not known.
    least, most : float, optional
        The values that can occur, where that makes a band's words shorter.
    """

    name: str
    words: str
    cuts: tuple[float, ...] = ()
    kind: str = "whole"
    targets: tuple[str, ...] = ("falls", "rolls")
    unknown: str = ""
    least: int = 0
    most: int | None = None

    def said(self, band: str) -> str:
        """The band in words."""
        if band == UNKNOWN:
            return f"{self.name.replace('_', ' ')} not known"
        if self.kind == "yes":
            return self.words if band == "yes" else f"not {self.words}"
        return self.words.format(band)


_FALLS, _ROLLS = ("falls",), ("rolls",)
_ALL = (
    Feature("days_past_due", "{} days past due", (15, 30, 60, 90, 120), targets=_ROLLS, least=1),
    Feature("months_in_a_row", "past due at {} month-ends in a row", (2, 3, 6), targets=_ROLLS, least=1),
    Feature("months_before", "at the three month-ends before: {}", kind="text", targets=_FALLS),
    Feature("months_since", "last past due {} months ago", (2, 4), targets=(), unknown="7 or more (or never)", least=1, most=6),
    Feature("past_due_12", "past due at {} of the last 12 month-ends", (1, 2, 3, 6)),
    Feature("worst_12", "at worst {} days past due in the last 12 months", (30, 60, 90)),
    Feature("overdue_share", "{} of the balance overdue", (0.02, 0.05, 0.1, 0.25), "share", _ROLLS),
    Feature("balance", "balance {}", (), "money"),
    Feature("balance_change", "balance changed by {} in three months", (-0.1, -0.02, 0.02), "share"),
    Feature("days_since_payment", "last payment {} days ago", (11, 21, 45), unknown="more than 180", most=180),
    Feature("paid_share", "{} of an instalment paid in the last 31 days", (0.01, 0.9, 1.5), "share"),
    Feature("instalment_to_income", "instalment {} of the income", (0.15, 0.3, 0.5), "share"),
    Feature("months_on_book", "{} months on the book", (3, 6, 12, 24, 48)),
    Feature("credit_score", "credit score {}", (), "number"),
    Feature("monthly_income", "monthly income {}", (), "money"),
    Feature("actions_31", "collection actions in the last 31 days: {}", (1, 3)),
    Feature("contacts_92", "times reached in the last 92 days: {}", (1, 3)),
    Feature("broken_184", "promises broken in the last 184 days: {}", (1, 2)),
    Feature("hardship_184", "notes of hardship in the last 184 days: {}", (1,)),
    Feature("plan_active", "in an arrangement", (), "yes"),
    Feature("forborne", "under forbearance", (), "yes"),
    Feature("product", "product {}", (), "text"),
    Feature("origination_channel", "granted through {}", (), "text"),
)  # fmt: skip
FEATURES = MappingProxyType({f.name: f for f in _ALL})

#: What the simple rule ranks by: days past due now, or how long ago; and how often in the last twelve months.
SIMPLE = MappingProxyType(
    {"falls": ("months_since", "past_due_12"), "rolls": ("days_past_due", "past_due_12")}
)


def feature_of(name: str, text: bool) -> Feature:
    """A feature by its name; a column of the accounts that is none of ours is described by its own name."""
    plain = name.replace("_", " ")
    return FEATURES.get(name) or Feature(name, f"{plain} {{}}", kind="text" if text else "number")


def band_labels(edges: np.ndarray, kind: str, least: int = 0, most: int | None = None) -> list[str]:
    """The bands between rising edges as people write them.

    Examples
    --------
    >>> band_labels(np.array([1, 2, 3, 6]), "whole")
    ['0', '1', '2', '3–5', '6 or more']
    >>> band_labels(np.array([11, 45]), "whole", most=180)
    ['0–10', '11–44', '45–180']
    >>> band_labels(np.array([0.5]), "share")
    ['under 50 %', '50 % or more']
    """
    if kind == "whole":
        low = [least, *(int(e) for e in edges)]
        inner = [f"{a}" if b - a == 1 else f"{a}–{b - 1}" for a, b in pairwise(low)]
        return [*inner, f"{low[-1]} or more" if most is None else f"{low[-1]}–{most}"]
    said = [_said(e, kind) for e in edges]
    return [f"under {said[0]}", *(f"{a} to {b}" for a, b in pairwise(said)), f"{said[-1]} or more"]


def _said(value: float, kind: str) -> str:
    text = f"{100 * value:.3g} %" if kind == "share" else f"{value:,.0f}"
    return text.replace("-", "−")
