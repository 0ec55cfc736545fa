"""What the strategy caused: each question asked in the month, graded by the published rule."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from collectlab.core import engine
from collectlab.core.errors import CollectlabError, FrameError, NotAvailable, first_few
from collectlab.core.results import Result
from collectlab.effects.answers import answer_change, answer_channel, answer_choice, days_of
from collectlab.effects.effect_result import Check, EffectResult
from collectlab.effects.experiment_result import label_of
from collectlab.effects.plan import ExperimentPlan
from collectlab.effects.plan_status import status
from collectlab.effects.policy_panel import payment_days
from collectlab.effects.questions import AskedExperiment
from collectlab.effects.segments import by_segment
from collectlab.effects.segments_result import LARGER, SMALLER
from collectlab.effects.sequential import ConfidenceSequence, confidence_sequence
from collectlab.effects.settle import settling
from collectlab.effects.stage_jump import stage_jump
from collectlab.effects.verdict import Verdict, verdict, verdicts
from collectlab.effects.verdict_rule import CAUSAL, grade
from collectlab.policy.targets import load_targets
from collectlab.report.chapters import trials
from collectlab.report.chapters.asked import plans, questions
from collectlab.report.chapters.summary import Summary
from collectlab.report.month import Month

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: The chance by which a check of the arms' selection may fail where nothing is wrong.
SELECTION_LIMIT = 0.01
#: Days with a new outcome from which on a test has a history to show.
FEWEST_LOOKS = 10


def smallest(month: Month) -> float:
    """The smallest difference that matters, by the limits of ``targets.yml``."""
    limits = load_targets(month.params / "targets.yml").limits_on(month.end)
    return float(limits["smallest_effect"].value) if "smallest_effect" in limits else 0.02


def experiments(month: Month) -> list[Verdict]:
    """A verdict for each arm of the test: of its plan's outcome, where there is a plan."""
    return month.shared("verdicts of experiments", lambda: _experiments(month))


def _experiments(month: Month) -> list[Verdict]:
    try:
        result = trials.strategies(month)
    except (NotAvailable, FrameError):
        return []
    arms = list(dict.fromkeys(result.table["arm"]))
    planned = plans(month, {result.control, *arms})
    if not planned:
        return [_of_arm(month, result, a, result.table["outcome"].iloc[0], None) for a in arms]
    return [_of_arm(month, result, a, p.plan.outcome, p) for p in planned for a in p.plan.arms]


def _of_arm(month: Month, result: Any, arm: str, outcome: str, planned: AskedExperiment | None) -> Verdict:
    if planned is not None:
        question = planned.question.en + (f" ({arm})" if len(planned.plan.arms) > 1 else "")
    else:
        question = f"{label_of(outcome)}: does {arm} do better than {result.control}?"
    limit = abs(planned.plan.smallest_effect) if planned else smallest(month)
    rows = result.table[(result.table["arm"] == arm) & (result.table["outcome"] == outcome)]
    if rows.empty or (planned and planned.plan.control != result.control):
        told = first_few(list(dict.fromkeys(result.table["outcome"])), 20)
        why = f"the book has no comparison of {arm} with {planned.plan.control if planned else result.control} on {outcome}. It has: {told}, against "
        refused = f"{why}{result.control}."
        return verdict(question, [], treatment=arm, control=result.control, refused=refused)
    row = rows.iloc[0]
    frame = trials.frame(month)
    drawn = (planned.baseline, planned.plan.shares) if planned else ()
    more = [*trials.checks(month, *drawn), *_selection(month)]
    if planned is not None:
        try:
            by = "anytime" if planned.plan.peeking else "fixed"
            day = trials.day_one(month)
            more += status(planned.plan, frame, month.end, assigned_on=day, interval=by).checks
        except FrameError as error:
            more.append(Check(name="horizon", passed=False, says=" ".join(str(error).split())))
    share = row["unit"] == "points"
    days = engine.collect(frame.select(trials.day_one(month)))[trials.day_one(month)]
    span = ((pd.to_datetime(days).max() - pd.to_datetime(days).min()).days + 1) / (365.25 / 12)
    running = span > 1
    settle = settling(
        arm,
        result.control,
        smallest=limit,
        unit=row["unit"],
        baseline=float(row["control_mean"]) if share else None,
        sd=None if share else float(row["std_error"] / (1 / row["n"] + 1 / row["control_n"]) ** 0.5),
        pace=len(days) / span if running else None,
        horizon=days_of(outcome, month.horizon),
        have=int(min(row["n"], row["control_n"])) if running else 0,
    )
    # A test that may be decided by a look is decided by the interval that holds at every look.
    peeked = planned is not None and planned.plan.peeking
    answer = _at_the_last_look(month, planned.plan) if peeked else result
    return verdict(
        question,
        [answer],
        treatment=arm,
        control=result.control,
        arm=arm,
        outcome=outcome,
        smallest=limit,
        more=more,
        settle=settle,
    )


def _selection(month: Month) -> list[Check]:
    """Whether the arms differ in who fell past due, among whom they are compared."""
    try:
        found = trials.selection_result(month).table
    except (NotAvailable, FrameError):
        return []
    worst = found.loc[found["p_value"].idxmin()]
    passed = bool(worst["p_value"] >= SELECTION_LIMIT / len(found))
    says = (
        f"{'As many' if passed else 'Not as many'} accounts fell past due in either arm (difference "
        f"{100 * worst['estimate']:+.1f} pp, p = {worst['p_value']:.3f}), so that those compared are "
        f"{'alike' if passed else 'not alike'}."
    ).replace("-", "−")
    return [Check(name="selection", passed=passed, says=says, value=worst["p_value"], limit=SELECTION_LIMIT)]


def choices(month: Month) -> list[tuple[Verdict, Any]]:
    """A verdict for each choice that people made, with the comparison behind it."""
    limit = smallest(month)
    return _each(month, "choices", lambda q: answer_choice(month.book, q, month.episodes, smallest=limit))


def channels(month: Month) -> list[tuple[Verdict, Any]]:
    """A verdict for each channel, with the target trial behind it."""
    if not month.book.has("actions"):
        return []
    limit = smallest(month)
    return _each(
        month,
        "channels",
        lambda q: answer_channel(month.book, q, definition=month.definition, smallest=limit),
    )


def changes(month: Month) -> list[tuple[Verdict, Any]]:
    """A verdict for each change of policy, with the estimate behind it."""
    limit = smallest(month)
    return _each(month, "changes", lambda q: answer_change(month.book, q, month.episodes, smallest=limit))


def _each(month: Month, section: str, answer: Any) -> list[tuple[Verdict, Any]]:
    """The answers of a section; a question whose rows the book does not have is left out."""

    def made() -> list[tuple[Verdict, Any]]:
        found = []
        for question in getattr(questions(month), section).values():
            try:
                found.append(answer(question))
            except CollectlabError as error:
                why = " ".join(str(error).split())
                found.append(
                    (verdict(question.question.en, [], treatment="it", control="", refused=why), None)
                )
        return found

    return month.shared(f"verdicts of {section}", made)


def table(found: Sequence[Verdict], title: str, nothing: str) -> Result:
    """Verdicts as one table; where nothing was asked, that is said."""
    if not found:
        raise NotAvailable(nothing)
    result = verdicts(found, title)
    return dataclasses.replace(result, conf_level=found[0].conf_level)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Told(Result):
    """Verdicts one under the other, each with its estimates."""

    verdicts: tuple[Verdict, ...] = ()

    @classmethod
    def of(cls, found: Sequence[tuple[Verdict, Any]], nothing: str) -> Told:
        """Of answers as :func:`choices` gives them."""
        if not found:
            raise NotAvailable(nothing)
        parts = [v.table.assign(question=v.question) for v, _ in found]
        return cls(table=pd.concat(parts), estimand="", verdicts=tuple(v for v, _ in found))

    @property
    def plottable(self) -> bool:  # type: ignore[override]
        """Where the first question has estimates to set side by side."""
        return bool(self.verdicts) and self.verdicts[0].plottable

    def plot(self, ax: Axes | None = None) -> Axes:
        """The estimates of the first question."""
        return self.verdicts[0].plot(ax=ax)

    def _repr_html_(self) -> str:
        return "\n".join(v._repr_html_() for v in self.verdicts)

    def _repr_markdown_(self) -> str:
        return "\n".join(v._repr_markdown_() for v in self.verdicts)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Drawn(Result):
    """A chart of the first choice, with the figures behind it."""

    comparison: Any = None
    chart: str = ""
    plottable = True

    @classmethod
    def of(cls, month: Month, chart: str) -> Drawn:
        """``overlap`` or ``balance`` of the first choice that could be compared."""
        comparison = next((c for _, c in choices(month) if c is not None), None)
        if comparison is None:
            raise NotAvailable("no choice that people made could be compared.")
        if chart == "balance":
            table, says = comparison.balance, "Standardised differences before and after weighting."
        else:
            counted = comparison.propensity.assign(
                propensity=pd.cut(comparison.propensity["propensity"], [i / 10 for i in range(11)]).astype(
                    str
                )
            )
            table = counted.groupby(["propensity", "treated", "kept"], as_index=False).size()
            table = table.rename(columns={"size": "accounts"})
            says = "Accounts by their chance of the treatment, as the covariates tell it."
        return cls(
            table=table, estimand=says, comparison=comparison, chart=chart, formats={"accounts": "count"}
        )

    def plot(self, ax: Axes | None = None) -> Axes:
        """The chart."""
        return getattr(self.comparison, f"plot_{self.chart}")(ax=ax)


def by_segments(month: Month) -> Result:
    """Whether the test's effect differs by what was known of an account before it."""
    result = trials.strategies(month)
    verdict_ = next(iter(experiments(month)), None)
    if verdict_ is None or verdict_.grade != CAUSAL:
        raise NotAvailable("the test has no causal answer yet, and its parts have less.")
    planned = plans(month, {result.control, *result.table["arm"]})
    outcome = planned[0].plan.outcome if planned else result.table["outcome"].iloc[0]
    rows = trials.frame(month)
    have = rows.collect_schema().names()
    columns = [c for c in (planned[0].baseline if planned else ()) if c in have]
    if not columns:
        raise NotAvailable("the plan names nothing that was known of an account before the draw (baseline).")
    found = by_segment(rows, columns, control=result.control, outcomes=outcome)
    if found.table["reading"].isin([LARGER, SMALLER]).any():
        return found
    # Where no segment differs, that is the answer; the segments' own figures would only invite to look for one.
    whole = tuple(n for n in found.notes if n.startswith("No sign")) or found.says
    rule_ = tuple(n for n in found.notes if n.startswith("A segment is reported"))
    return Summary(table=found.table, estimand=found.estimand, sentences=(*whole, *rule_))


def looks(month: Month) -> Result:
    """The test day by day, with intervals that hold at every look, so that looking does no harm."""
    result = trials.strategies(month)
    plan = next((a.plan for a in plans(month, {result.control, *result.table["arm"]})), None)
    if plan is None:
        raise NotAvailable("params/questions.yml holds no plan of a test in force.")
    found = _looks(month, plan)
    if found.table["as_of"].nunique() < FEWEST_LOOKS:
        raise NotAvailable("all accounts were drawn at much the same time, so there is one look only.")
    return found


def _looks(month: Month, plan: ExperimentPlan) -> ConfidenceSequence:
    sizes = list(plan.planned.values())
    return confidence_sequence(
        trials.frame(month),
        outcome=plan.outcome,
        control=plan.control,
        planned_per_arm=len(sizes) / sum(1 / n for n in sizes),
        assigned_on=trials.day_one(month),
        horizon=plan.horizon_days,
        as_of=month.end,
    )


def _at_the_last_look(month: Month, plan: ExperimentPlan) -> EffectResult:
    found = _looks(month, plan)
    return dataclasses.replace(found, table=found.at(), headline=0)


def stages(month: Month) -> Result:
    """Whether the daily rate of payment jumps on the days on which the strategy changes stage."""
    days = questions(month).stage_days
    if not days:
        raise NotAvailable("params/questions.yml names no stage_days.")
    if not month.book.about.exact_dpd:
        raise NotAvailable(
            "days past due are only a bucket's lower bound, so nothing can be told of single days."
        )
    found = stage_jump(payment_days(month.book, month.episodes), days=days, cause="paid")
    level, against = grade(found)
    why = f": {against[0].says}" if against else "."
    return dataclasses.replace(
        found, notes=(f"By the published rule a jump here is {level}{why}", *found.notes)
    )
