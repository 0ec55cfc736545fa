"""What could be done next: one option, its expected net gain, its evidence, and where each figure comes from.

Whatever works out a change worth making (a plan under limits, a warning acted on, a point to stop) states it as
an :class:`Option`; chapter 5 ranks them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

#: Grades of evidence, from strong to weak. ``model``: follows from a fitted model's assumptions.
GRADES = ("causal", "suggestive", "model", "counted", "not identifiable")


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One figure of an option, and the cell of the published table that holds it.

    ``part`` is the name of a part of the report (the table's file name), ``where`` picks one row of it by
    columns' values, ``column`` is the column.
    """

    name: str
    value: float
    part: str
    column: str
    where: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Option:
    """A change that could be made next month.

    Attributes
    ----------
    key : str
        Short name, such as ``plan`` or ``warning``.
    what, whom : str
        The change as an order a manager can give, and for whom.
    area : str
        strategy, technology, training, process or credit_approval.
    net, low, high : float
        Expected net gain a month in the book's currency, with its interval; missing where no money can be put on it,
        though the evidence stands.
    words : str
        The expected effect in one sentence, its figures included.
    grade : str
        One of :data:`GRADES`.
    evidence : str
        What the effect rests on, in one sentence.
    cost : float
        What it costs a month; missing where it is not known. ``cost_words`` says it.
    legal_risk, customer_risk, failing, settle : str
        The risks, what would show it failing, and the experiment that would settle it (with its size and length).
    figures : tuple of Figure
        Every figure in ``words`` and ``cost_words``.
    """

    key: str
    what: str
    whom: str
    area: str
    net: float = math.nan
    low: float = math.nan
    high: float = math.nan
    words: str
    grade: str
    evidence: str
    cost: float = math.nan
    cost_words: str
    legal_risk: str
    customer_risk: str
    failing: str
    settle: str
    figures: tuple[Figure, ...] = ()

    @property
    def sure(self) -> bool:
        """Whether the whole interval of the net gain lies above nothing; without a net gain, its evidence stands.

        A gain without an interval is an expectation already (the worth of an experiment, say).
        """
        return math.isnan(self.net) or (self.net > 0 if math.isnan(self.low) else self.low > 0)
