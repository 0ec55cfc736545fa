"""One question, its estimates side by side, and what may be said: causal, suggestive, or not identifiable."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from collectlab.core.errors import FrameError, first_few
from collectlab.core.plots import PALETTE, dots
from collectlab.core.results import Result
from collectlab.core.tables import display_table, format_value, humanise, to_html, to_markdown
from collectlab.effects.effect_result import Check, EffectResult
from collectlab.effects.experiment_result import label_of
from collectlab.effects.verdict_rule import CAUSAL, GRADES, NOT_IDENTIFIABLE, RULE, SUGGESTIVE, grade, rule

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Verdict", "grade", "rule", "verdict", "verdicts"]

#: How each design says why its answer is an effect, or why it might be none.
_WHY = {
    "experiment": "Accounts were drawn by lot, so this is what {treatment} caused",
    "discontinuity": (
        "Accounts just on either side of the threshold are alike, so this is what {treatment} caused for them; "
        "further from it the book does not tell"
    ),
    "differences": (
        "It rests on branches that changed later going on as they did; whatever else changed in the same branches "
        "at the same time is in it"
    ),
    **dict.fromkeys(
        ("target_trial", "comparison"),
        "People chose, so that what they went by and the book does not hold could still explain it; what it holds is "
        "allowed for",
    ),
    "series": "Everything else that changed on that date is in it",
    "stage_jump": "Several things change on that day, and only those still past due reach it",
}

#: In which order results of one grade are believed.
_ORDER = tuple(RULE)

_COLUMNS = [
    "design",
    "method",
    "n",
    "estimate",
    "std_error",
    "conf_low",
    "conf_high",
    "p_value",
    "unit",
    "grade",
]


@dataclass(frozen=True, kw_only=True)
class Verdict(Result):
    """One question and what may be said of it.

    ``table``: a row for each estimate: ``design, method, n, estimate, std_error, conf_low, conf_high, unit, grade``;
    the first row answers.

    Attributes
    ----------
    question, grade, sentence, settle : str
        The question; one of :data:`~collectlab.effects.verdict_rule.GRADES`; one plain sentence; the experiment that
        would settle it (empty where the answer is causal and decided).
    direction : str
        ``raises``, ``lowers``, ``no effect that matters`` or ``not decided``; empty where nothing can be told.
    against : tuple of Check
        What lowered the grade.
    checks : tuple of Check
        All checks of the result that answers.
    """

    question: str = ""
    grade: str = NOT_IDENTIFIABLE
    sentence: str = ""
    settle: str = ""
    direction: str = ""
    against: tuple[Check, ...] = ()
    checks: tuple[Check, ...] = field(default=(), repr=False)

    @property
    def plottable(self) -> bool:  # type: ignore[override]
        """Where there are estimates to set side by side."""
        return len(self.table) > 1 and self.table["unit"].nunique() == 1

    def display_table(self) -> pd.DataFrame:
        return display_table(self.table, self.unit, self.formats, self.conf_level)

    def _lines(self) -> list[str]:
        return [f"{self.grade[:1].upper()}{self.grade[1:]}. {self.sentence}", *filter(None, [self.settle])]

    def _repr_html_(self) -> str:
        first, *rest = self._lines()
        head = (
            f'<p class="cl-verdict"><strong>{html.escape(self.question)}</strong><br>{html.escape(first)}</p>'
        )
        body = to_html(self.display_table(), "", self.estimand, (*rest, *self.notes))
        return f'<div class="cl-result">{head}{body}</div>'

    def _repr_markdown_(self) -> str:
        notes = (*self._lines(), *self.notes)
        return to_markdown(self.display_table(), self.question, self.estimand, notes)

    def plot(self, ax: Axes | None = None) -> Axes:
        """The estimates side by side, the one that answers on top."""
        methods, designs = self.table["method"], self.table["design"]
        alone = designs.nunique() == 1
        labels = [
            humanise(m) if m and alone else f"{humanise(m or d)} ({d})" for m, d in zip(methods, designs)
        ]
        unit = self.table["unit"].iloc[0]
        words = f"{self.estimand}, percentage points" if unit == "points" else self.estimand
        colours = [PALETTE[0] if g != "–" else "#888888" for g in self.table["grade"]]
        return dots(
            [("", self.table)],
            labels,
            unit=unit,
            title="The same question, answered in several ways",
            xlabel=words,
            colours=colours,
            zero=True,
            ax=ax,
        )


def verdict(
    question: str,
    results: Sequence[EffectResult],
    *,
    treatment: str,
    control: str,
    arm: str | None = None,
    outcome: str | None = None,
    smallest: float = 0.02,
    more: Sequence[Check] = (),
    refused: str = "",
    settle: str = "",
) -> Verdict:
    """Grade one question by the published rule, and say in one sentence what may be said of it.

    The result with the best grade answers (of one grade, the design that stands first in the rule); the others stand
    beside it. What contradicts a causal answer is named and not believed. :func:`rule` shows the rule.

    Parameters
    ----------
    question : str
        As a manager asks it.
    results : sequence of EffectResult
        Estimates of that one effect; none where the library refused to make one, and ``refused`` says why.
    treatment, control : str
        What is compared with what, in words that fit "with … instead of …".
    arm : str, optional
        The arm's name, where a result has several.
    outcome : str, optional
        The outcome's column, such as ``cured_within_60``, where a result has several; default its headline.
    smallest : float
        The smallest difference that matters, in the outcome's own unit (0.02 = 2 percentage points).
    more : sequence of Check
        Checks made on the question rather than on one estimate: that the plan's horizon is reached, that the arms
        do not differ in who fell past due. They count for experiments.
    refused : str
        Why no estimate was made.
    settle : str
        The experiment that would settle it (see :func:`collectlab.effects.settle.settling`); kept unless the answer is
        causal and decided.

    Returns
    -------
    Verdict

    Raises
    ------
    FrameError
        A result has no row for the arm or the outcome.

    Examples
    --------
    >>> import pandas as pd
    >>> from collectlab.effects.experiment import experiment
    >>> frame = pd.DataFrame({"strategy": ["new", "old"] * 200, "kept": [1, 0, 1, 1, 1, 0, 0, 1] * 50})
    >>> found = verdict("Is new better?", [experiment(frame, control="old", outcomes="kept")],
    ...                 treatment="new", control="old")
    >>> found.grade, found.direction
    ('causal', 'raises')
    """
    rows, graded = [], []
    for result in results:
        level, against = grade(result, more if result.design == "experiment" else ())
        answer, others = _rows(result, arm, outcome)
        design = {"design": result.design.replace("_", " ")}
        rows.append([answer | design | {"grade": level}, *(o | design | {"grade": "–"} for o in others)])
        graded.append((GRADES.index(level), _ORDER.index(result.design), result, against))
    if not rows:
        return Verdict(
            table=pd.DataFrame(columns=_COLUMNS),
            estimand="",
            question=question,
            sentence=f"What {treatment} caused cannot be told from this book: {_lower(refused)}",
            settle=settle,
        )
    order = sorted(range(len(rows)), key=lambda i: (*graded[i][:2], i))
    table = pd.DataFrame([*(rows[i][0] for i in order), *(row for i in order for row in rows[i][1:])])
    level, _, answer, against = graded[order[0]]
    first, told = table.iloc[0], GRADES[level]
    notes = [f"{'Failed' if c.passed is False else 'Not made'}: {c.says}" for c in against]
    made = {c.name: c for c in (*answer.checks, *(more if answer.design == "experiment" else ()))}
    ruled = {c.name for c in against}
    notes += [f"Caution: {c.says}" for c in made.values() if c.passed is False and c.name not in ruled]
    if "sim_low" in answer.table.columns:
        notes.append("The interval holds for all arms of the test at once.")
    if told == CAUSAL and (odd := _contradicting(table.head(len(rows)))):
        notes.append(f"The estimate by {odd} says otherwise and is not believed.")
    direction = "" if told == NOT_IDENTIFIABLE else _direction(first, smallest)
    return Verdict(
        table=table[_COLUMNS],
        estimand=f"{label_of(str(first['outcome']))}: {treatment} minus {control}",
        unit=str(first["unit"]),
        question=question,
        grade=told,
        sentence=_sentence(first, answer.design, told, treatment, control, smallest, against),
        settle="" if told == CAUSAL and direction != "not decided" else settle,
        direction=direction,
        against=against,
        checks=tuple(made.values()),
        notes=tuple(notes),
        conf_level=answer.conf_level,
        formats={"n": "count", "grade": "text", "p_value": "hidden"},
    )


@dataclass(frozen=True, kw_only=True)
class Verdicts(Result):
    """Verdicts, a row each. The answer says the estimate in words, so that the figures' own columns are not shown."""

    def display_table(self) -> pd.DataFrame:
        shown = self.table[["question", "grade", "answer", "what would settle it"]]
        return shown.rename(columns=humanise)


def verdicts(found: Sequence[Verdict], title: str = "What the strategy caused") -> Result:
    """Several verdicts as one table: a row for each question.

    Parameters
    ----------
    found : sequence of Verdict
    title : str

    Returns
    -------
    Result
        ``question, grade, estimate, conf_low, conf_high, unit, answer, what would settle it``; without an estimate
        where the grade forbids one.

    Examples
    --------
    >>> verdicts([]).table.shape[0]
    0
    """
    rows = []
    for v in found:
        told = v.grade != NOT_IDENTIFIABLE and len(v.table) > 0
        first = v.table.iloc[0] if told else {}
        rows.append(
            {
                "question": v.question,
                "grade": v.grade,
                **{c: first.get(c, math.nan) for c in ("estimate", "conf_low", "conf_high")},
                "unit": first.get("unit", "points"),
                "answer": v.sentence,
                "what would settle it": _sentence_case(v.settle.removeprefix("To settle it: ")) or "–",
            }
        )
    columns = [
        "question",
        "grade",
        "estimate",
        "conf_low",
        "conf_high",
        "unit",
        "answer",
        "what would settle it",
    ]
    return Verdicts(
        table=pd.DataFrame(rows, columns=columns),
        title=title,
        estimand="With it, minus without it; graded by the published rule.",
        unit="points",
    )


def _rows(result: EffectResult, arm: str | None, outcome: str | None) -> tuple[dict, list[dict]]:
    """The one row of a result that answers, and the other methods' rows of the same arm and outcome."""
    table = result.table
    for column, wanted in (("arm", arm), ("outcome", outcome)):
        if wanted is None or column not in table.columns:
            continue
        if not (table[column] == wanted).any():
            have = list(dict.fromkeys(table[column]))
            raise FrameError(f"no {column} {wanted!r} in this result. Allowed: {first_few(have, 20)}.")
        table = table[table[column] == wanted]
    at = result.headline if result.headline in table.index else table.index[0]
    others = table.drop(index=at) if "method" in table.columns else table.head(0)
    keys = [c for c in ("arm", "outcome") if c in others.columns]
    same = (others[keys] == table.loc[at, keys]).all(axis=1)
    picked = [_plain(row, result.unit) for _, row in others[same].iterrows()]
    return _plain(table.loc[at], result.unit), picked


def _plain(row: pd.Series, unit: str) -> dict:
    numbers = ("estimate", "std_error", "conf_low", "conf_high", "p_value")
    # Of several arms against one control, the interval that holds for all of them at once.
    joint = {"sim_low": "conf_low", "sim_high": "conf_high", "p_adjusted": "p_value"}
    if _joint(row):
        row = row.drop(list(joint.values())).rename(joint)
    parts = [row[c] for c in ("n", "control_n", "n_treated", "n_untreated") if c in row.index]
    parts = parts or [row[c] for c in ("accounts",) if c in row.index]
    return {
        "outcome": row.get("outcome", "outcome"),
        "method": str(row.get("method", "")).replace("_", " "),
        "n": float(sum(parts)) if parts else math.nan,
        **{c: float(row.get(c, math.nan)) for c in numbers},
        "unit": str(row.get("unit", unit)),
    }


def _joint(row: pd.Series) -> bool:
    return "sim_low" in row.index and pd.notna(row["sim_low"])


def _direction(row: pd.Series, smallest: float) -> str:
    low, high = row["conf_low"], row["conf_high"]
    if math.isnan(low) or math.isnan(high):
        return "not decided"
    if -smallest < low and high < smallest:
        return "no effect that matters"
    return "raises" if low > 0 else "lowers" if high < 0 else "not decided"


def _contradicting(table: pd.DataFrame) -> str:
    """Estimates further from the first than chance allows (their errors taken as independent)."""
    first, rest = table.iloc[0], table.iloc[1:]
    far = (rest["estimate"] - first["estimate"]).abs() > 1.96 * np.hypot(
        rest["std_error"], first["std_error"]
    )
    return first_few([d for d, odd in zip(rest["design"], far) if odd])


def _signed(value: float, unit: str) -> str:
    text = format_value(value, unit)
    return f"+{text}" if value > 0 and text[:1] != "+" and any(c in "123456789" for c in text) else text


def _amount(row: pd.Series) -> str:
    low, high = (_signed(row[c], str(row["unit"])) for c in ("conf_low", "conf_high"))
    return f"{_signed(row['estimate'], str(row['unit']))} ({low} to {high})"


def _sentence(
    row: pd.Series,
    design: str,
    level: str,
    treatment: str,
    control: str,
    smallest: float,
    against: Sequence[Check],
) -> str:
    if level == NOT_IDENTIFIABLE:
        return f"What {treatment} caused cannot be told from this book: {_lower(against[0].says)}"
    told = f"{label_of(str(row['outcome']))}: {_amount(row)} with {treatment} instead of {control}."
    direction = _direction(row, smallest)
    why = f" {_WHY[design].format(treatment=treatment)}."
    if direction == "not decided":
        return f"{told} Which of the two is better is not decided."
    if direction == "no effect that matters":
        told += f" That is less than {format_value(smallest, str(row['unit'])).lstrip('+')} either way."
    if level == SUGGESTIVE and RULE[design].best == CAUSAL:
        return f"{told} It is not called causal: {_lower(against[0].says)}"
    return told + why


def _sentence_case(text: str) -> str:
    return text[:1].upper() + text[1:]


def _lower(text: str) -> str:
    """The first letter small, unless the word is an abbreviation or a name of one letter."""
    return text[:1].lower() + text[1:] if text[1:2].islower() or text[1:2] == " " else text
