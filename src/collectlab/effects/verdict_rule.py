"""The published rule: what a design may claim at best, and which checks it stands or falls by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from collectlab.core.results import Result
from collectlab.effects.effect_result import DESIGNS, Check, EffectResult

CAUSAL, SUGGESTIVE, NOT_IDENTIFIABLE = GRADES = (
    "causal",
    "suggestive",
    "not identifiable from this book",
)


@dataclass(frozen=True, kw_only=True)
class Claim:
    """What one design may claim.

    Attributes
    ----------
    best : str
        The grade where all holds.
    fatal : tuple of str
        Checks that must not fail: failing one, nothing can be told.
    must : tuple of str
        Checks that must have been made and must hold: else one grade lower.
    should : tuple of str
        Checks that lower the grade by one where they fail; not made, they do not count.
    """

    best: str
    fatal: tuple[str, ...] = ()
    must: tuple[str, ...] = ()
    should: tuple[str, ...] = ()


#: By design. Nobody can check that people chose by nothing else than what the book holds: a comparison of what
#: people chose is never called causal, however well its checks turn out. A check that stands nowhere here (such as
#: collectors shared between arms, which only dilutes) is told as a caution where it fails.
RULE: dict[str, Claim] = {
    "experiment": Claim(
        best=CAUSAL,
        fatal=("assignment_first", "sample_ratio", "horizon"),
        should=("one_arm", "attrition", "balance", "selection", "peeking"),
    ),
    "discontinuity": Claim(
        best=CAUSAL,
        fatal=("enough", "density"),
        must=("density", "covariates"),
        should=("placebo_cutoffs",),
    ),
    "differences": Claim(
        best=SUGGESTIVE,
        fatal=("never_or_later",),
        must=("pre_trend",),
        should=("clusters", "composition", "anticipation"),
    ),
    "target_trial": Claim(
        best=SUGGESTIVE,
        fatal=("known_at_start",),
        must=("known_at_start", "positivity", "balance", "weights", "outcome_dates"),
        should=("grace", "follow_up"),
    ),
    "comparison": Claim(
        best=SUGGESTIVE,
        fatal=("known_at_start", "overlap"),
        must=("known_at_start", "overlap", "balance"),
        should=("agreement", "placebo_outcome", "placebo_date", "negative_control", "agrees_with_randomised"),
    ),
    "series": Claim(
        best=SUGGESTIVE,
        fatal=("points",),
        must=("points", "placebo_date"),
        should=("autocorrelation",),
    ),
    "stage_jump": Claim(
        best=SUGGESTIVE,
        fatal=("dates_exact",),
        must=("dates_exact", "heaping"),
    ),
}


def grade(result: EffectResult, more: Sequence[Check] = ()) -> tuple[str, tuple[Check, ...]]:
    """The grade of one result by the published rule, and the checks that lowered it.

    Parameters
    ----------
    result : EffectResult
    more : sequence of Check
        Further checks made on the question, such as that a test has reached the horizon of its plan. Of the same
        name, these count.

    Returns
    -------
    (str, tuple of Check)
        One of ``causal``, ``suggestive``, ``not identifiable from this book``; the checks that failed, or that the
        rule asks for and that were not made.

    Examples
    --------
    >>> import pandas as pd
    >>> row = pd.DataFrame({"estimate": [0.1]})
    >>> grade(EffectResult(table=row, estimand="", design="experiment"))
    ('causal', ())
    >>> uneven = Check(name="sample_ratio", passed=False, says="900 and 600 accounts where equal numbers were planned.")
    >>> grade(EffectResult(table=row, estimand="", design="experiment", checks=(uneven,)))[0]
    'not identifiable from this book'
    """
    claim = RULE[result.design]
    made = {c.name: c for c in (*result.checks, *more)}
    level, against = GRADES.index(claim.best), []
    for name in dict.fromkeys((*claim.fatal, *claim.must, *claim.should)):
        check = made.get(name)
        failed = check is not None and check.passed is False
        missing = name in claim.must and (check is None or check.passed is None)
        if not failed and not missing:
            continue
        words = f"The check “{name.replace('_', ' ')}” could not be made."
        against.append(check or Check(name=name, passed=None, says=words))
        level = len(GRADES) - 1 if failed and name in claim.fatal else level + 1
    return GRADES[min(level, len(GRADES) - 1)], tuple(against)


def rule() -> Result:
    """The rule as a table: a row for each design.

    Returns
    -------
    Result
        ``design``, ``may say at best``, the checks that forbid an answer where they fail, those that must have been
        made and hold, and those that lower the grade by one where they fail.

    Examples
    --------
    >>> rule().table.loc[0, ["design", "may say at best"]].tolist()
    ['experiment: accounts were drawn by lot', 'causal']
    """
    rows = [
        {
            "design": f"{design.replace('_', ' ')}: {DESIGNS[design]}",
            "may say at best": claim.best,
            "no answer where it fails": _list(claim.fatal),
            "must be made and hold, else one grade lower": _list(claim.must),
            "one grade lower where it fails": _list(claim.should),
        }
        for design, claim in RULE.items()
    ]
    return Result(
        table=pd.DataFrame(rows),
        title="How a question is graded",
        estimand=(
            "Causal: an effect of what was done. Suggestive: what is measured is allowed for, what is not could still "
            "explain it. Not identifiable from this book: no figure of it should be used."
        ),
    )


def _list(names: Sequence[str]) -> str:
    return ", ".join(n.replace("_", " ") for n in names) or "–"
