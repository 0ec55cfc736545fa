"""What every comparison of effects returns: estimates, the checks made on them, and the design behind both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from collectlab.core.errors import FrameError, first_few
from collectlab.core.results import Result

#: How treated and untreated came apart; what each may claim is written down in the verdict's rule.
DESIGNS = {
    "experiment": "accounts were drawn by lot",
    "discontinuity": "a rule assigns at a threshold",
    "differences": "branches changed at different times",
    "series": "everybody changed on one date",
    "stage_jump": "the strategy changes stage on a day past due",
    "comparison": "people chose, and what they chose by is measured in part",
    "target_trial": "people chose when to act, and what they chose by is measured in part",
}


@dataclass(frozen=True, kw_only=True)
class Check:
    """One thing that must hold for an estimate to mean what it says.

    Attributes
    ----------
    name : str
        Short key, such as ``sample_ratio``, ``balance``, ``overlap``; the verdict's rule refers to it.
    passed : bool or None
        None: the check could not be made, or does not apply; ``says`` gives the reason.
    says : str
        One plain sentence with its figures, for a reader who never heard of the check.
    value, limit : float
        What was measured, and the limit it was held against; NaN where there is no one number.
    """

    name: str
    passed: bool | None
    says: str
    value: float = float("nan")
    limit: float = float("nan")

    def __post_init__(self) -> None:
        # numpy's False is not False, and a check that failed must not pass for one that was not made.
        if self.passed is not None:
            object.__setattr__(self, "passed", bool(self.passed))


@dataclass(frozen=True, kw_only=True)
class EffectResult(Result):
    """Estimates of one effect, or of several arms and outcomes, with the checks made on them.

    ``table``: ``outcome`` and ``unit`` (of the row's estimate: ``points``, ``money2``, ``number``), columns that tell
    the rows apart (``arm``, ``method``, …), numbers of accounts, ``estimate, std_error, conf_low, conf_high, p_value``.
    ``estimate`` is always *with* the treatment minus *without*.

    Attributes
    ----------
    design : str
        A key of :data:`DESIGNS`.
    checks : tuple of Check
    headline : int
        The row of ``table`` that answers the question, where the result has a row that does so on its own.
    """

    design: str = ""
    checks: tuple[Check, ...] = ()
    headline: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.design and self.design not in DESIGNS:
            raise FrameError(f"design {self.design!r}. Allowed: {first_few(list(DESIGNS), 20)}.")

    def check(self, name: str) -> Check | None:
        """The check of that name, or None."""
        return next((c for c in self.checks if c.name == name), None)

    def checks_table(self) -> Result:
        """The checks as a table: check, result, what it says."""
        return checks_table(self.checks)


def checks_table(checks: Sequence[Check], title: str = "Checks") -> Result:
    """Checks as a table: check, result (holds, fails, not made), what it says.

    Parameters
    ----------
    checks : sequence of Check
    title : str

    Returns
    -------
    Result

    Examples
    --------
    >>> checks_table([Check(name="sample_ratio", passed=True, says="As drawn.")]).table.values.tolist()
    [['sample ratio', 'holds', 'As drawn.']]
    """
    words = {True: "holds", False: "fails", None: "not made"}
    rows = [(c.name.replace("_", " "), words[c.passed], c.says) for c in checks]
    return Result(
        table=pd.DataFrame(rows, columns=["check", "result", "what it says"]),
        title=title,
        estimand="What must hold for the estimate to be an effect.",
    )
