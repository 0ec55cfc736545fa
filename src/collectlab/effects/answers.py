"""From a question to its verdict: the rows, the estimates, the checks, the experiment that would settle it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import narwhals as nw
import pandas as pd

from collectlab.core.engine import collect, scan
from collectlab.core.errors import FrameError, NotAvailable
from collectlab.effects.cohort import cohort
from collectlab.effects.compare import Comparison, compare, compare_times
from collectlab.effects.differences import differences
from collectlab.effects.discontinuity import discontinuity
from collectlab.effects.effect_result import EffectResult
from collectlab.effects.policy_panel import branch_months, never_drawn, series_months
from collectlab.effects.questions import AskedChange, AskedChoice, AskedTrial
from collectlab.effects.series import interrupted_series
from collectlab.effects.settle import settling
from collectlab.effects.target_trial import target_trial
from collectlab.effects.verdict import Verdict, verdict

if TYPE_CHECKING:
    from collectlab.book.open import Book

#: Days of a month on average.
MONTH = 365.25 / 12


def days_of(outcome: str, unless: int = 60) -> int:
    """Days within which an outcome counts, by its name.

    >>> days_of("cured_within_60"), days_of("cured")
    (60, 60)
    """
    last = outcome.rsplit("_", 1)[-1]
    return int(last) if last.isdigit() else unless


def answer_choice(
    book: Book, asked: AskedChoice, episodes: Any = None, *, smallest: float = 0.02
) -> tuple[Verdict, Comparison | None]:
    """What a strategy did that people chose, graded; with the comparison behind it.

    Parameters
    ----------
    book : Book
        With ``assignments``.
    asked : AskedChoice
    episodes : frame, optional
        As :meth:`Book.episodes` gives them.
    smallest : float
        The smallest difference that matters, in the outcome's own unit.

    Returns
    -------
    (Verdict, Comparison or None)
        None where nothing could be compared; the verdict then says why.

    Examples
    --------
    >>> from collectlab.book.open import open_book
    >>> from collectlab.book.simulate import simulate
    >>> book = open_book(simulate(accounts=1500, months=12, truth_accounts=0).book_tables)
    >>> asked = AskedChoice(question={"en": "Does intensive cure more?", "zh": "?"}, since="2024-01-01", source="-",
    ...                     treatment="intensive", control="standard", covariates=["credit_score"])
    >>> answer_choice(book, asked)[0].grade in ("suggestive", "not identifiable from this book")
    True
    """
    arms = [asked.treatment, asked.control]
    question, words = asked.question.en, {"treatment": asked.treatment, "control": asked.control}
    rows = _cohort(book, episodes, asked.outcome, first_only=False)
    if "strategy" not in rows.collect_schema().names():
        return verdict(question, [], refused="The book has no assignments.", **words), None
    rows = rows.filter(nw.col("strategy").is_in(arms))
    if "randomised" in rows.collect_schema().names():
        rows = rows.filter(~nw.col("randomised").fill_null(False))
    have = rows.collect_schema().names()
    covariates = [c for c in asked.covariates if c in have]
    lost = [c for c in asked.covariates if c not in have]
    refused = ""
    try:
        if not covariates:
            raise FrameError(f"the book has none of {', '.join(asked.covariates)}, by which people chose.")
        found = compare(
            rows,
            treatment="strategy",
            treated=asked.treatment,
            outcome=asked.outcome,
            covariates=covariates,
            decided_on="assigned_on",
            time_zero="time_zero",
            cluster="customer_id",
            placebo=[c for c in asked.placebo if c in have],
        )
        if asked.outcome.startswith("cured_within_"):
            found = _with_hazards(rows, asked, covariates, found)
    except (FrameError, NotAvailable) as error:
        found, refused = None, _one_line(error)
    if lost:
        refused += f" Not in the book: {', '.join(lost)}." if refused else ""
    settle = _settle(rows, "time_zero", asked.outcome, found, smallest, arms)
    results = [] if found is None else [found]
    return verdict(question, results, smallest=smallest, refused=refused, settle=settle, **words), found


def _with_hazards(
    rows: nw.LazyFrame, asked: AskedChoice, covariates: list[str], found: Comparison
) -> Comparison:
    """The same question by grouped hazards beside it, which take everybody for as long as they were followed."""
    try:
        hazards = compare_times(
            rows,
            treatment="strategy",
            treated=asked.treatment,
            covariates=covariates,
            horizon=days_of(asked.outcome),
            cluster="customer_id",
        )
    except (FrameError, NotAvailable):
        return found
    return found.beside(hazards)


def answer_channel(
    book: Book, asked: AskedTrial, *, definition: str = "current_once", smallest: float = 0.02
) -> tuple[Verdict, EffectResult | None]:
    """What starting a channel did, graded; with the target trial behind it.

    Parameters
    ----------
    book : Book
        With ``actions``.
    asked : AskedTrial
    definition : str
        What cured means.
    smallest : float
        The smallest difference that matters (0.02 = 2 percentage points).

    Returns
    -------
    (Verdict, EffectResult or None)
        None where no trial could be emulated; the verdict then says why.

    Examples
    --------
    >>> from collectlab.book.open import open_book
    >>> from collectlab.book.simulate import simulate
    >>> book = open_book(simulate(accounts=300, months=6, truth_accounts=0).book_tables)
    >>> asked = AskedTrial(question={"en": "Do parcels help?", "zh": "?"}, since="2024-01-01", source="-",
    ...                    treatment="parcel", grace=14)
    >>> answer_channel(book, asked)[0].grade
    'not identifiable from this book'
    """
    trial = asked.trial()
    name = {"sms": "an SMS", "legal": "legal action", "agency": "an agency"}.get(
        asked.treatment, f"a{'n' * (asked.treatment[0] in 'aeiou')} {asked.treatment}"
    )
    words = {"treatment": f"{name} within {asked.grace} days", "control": "none"}
    try:
        found, refused = target_trial(book, trial, definition=definition), ""
    except (FrameError, NotAvailable) as error:
        found, refused = None, _one_line(error)
    settle = ""
    if found is not None:
        first = found.table.loc[found.headline]
        pace = float(first["accounts"]) / _months_of(book)
        settle = settling(
            words["treatment"],
            words["control"],
            smallest=smallest,
            baseline=float(first["without_risk"]),
            pace=pace,
            horizon=asked.follow_up,
        )
    results = [] if found is None else [found]
    return verdict(
        asked.question.en, results, smallest=smallest, refused=refused, settle=settle, **words
    ), found


def answer_change(
    book: Book, asked: AskedChange, episodes: Any = None, *, smallest: float = 0.02
) -> tuple[Verdict, EffectResult | None]:
    """What a change of policy did, graded; with the estimate behind it.

    Parameters
    ----------
    book : Book
    asked : AskedChange
    episodes : frame, optional
        As :meth:`Book.episodes` gives them.
    smallest : float
        The smallest difference that matters, in the outcome's own unit.

    Returns
    -------
    (Verdict, EffectResult or None)
        None where nothing could be estimated; the verdict then says why.

    Examples
    --------
    >>> from collectlab.book.open import open_book
    >>> from collectlab.book.simulate import simulate
    >>> book = open_book(simulate(accounts=300, months=6, truth_accounts=0).book_tables)
    >>> asked = AskedChange(question={"en": "Did the reminder help?", "zh": "?"}, since="2024-01-01", source="-",
    ...                     kind="date", what="the earlier reminder", changed_on="2026-10-01")
    >>> answer_change(book, asked)[0].grade
    'not identifiable from this book'
    """
    rows = never_drawn(book, _cohort(book, episodes, asked.outcome, first_only=False))
    control = "the handling before" if asked.kind == "date" else "the handling without it"
    words = {"treatment": asked.what, "control": control}
    found, refused = None, ""
    try:
        found = _changed(rows, asked)
    except (FrameError, NotAvailable) as error:
        refused = _one_line(error)
    settle = _settle(rows, "time_zero", asked.outcome, None, smallest, [asked.what, control])
    results = [] if found is None else [found]
    return verdict(
        asked.question.en, results, smallest=smallest, refused=refused, settle=settle, **words
    ), found


def _changed(rows: nw.LazyFrame, asked: AskedChange) -> EffectResult:
    if asked.kind == "rollout":
        here = collect(rows.select(asked.by).unique())[asked.by].dropna()
        since = {str(b): asked.started.get(str(b)) for b in here}
        panel = branch_months(rows, outcome=asked.outcome, by=asked.by, since=since)
        return differences(
            panel,
            unit=asked.by,
            time="month",
            outcome=asked.outcome,
            treated_from="treated_from",
            weight="episodes",
        )
    if asked.kind == "date":
        months = series_months(rows, outcome=asked.outcome)
        return interrupted_series(
            months, time="month", outcome=asked.outcome, changed_on=asked.changed_on, weight="episodes"
        )
    return discontinuity(
        rows,
        score=asked.score,
        cutoff=asked.cutoff,
        outcome=asked.outcome,
        treated=asked.treated,
        covariates=asked.covariates,
        cluster="customer_id",
    )


def _cohort(book: Book, episodes: Any, outcome: str, *, first_only: bool) -> nw.LazyFrame:
    rows = cohort(book, episodes, horizons=[days_of(outcome)], first_only=first_only)
    have = rows.collect_schema().names()
    if outcome not in have:
        told = [c for c in have if "_within_" in c]
        raise FrameError(f"no outcome {outcome!r} can be counted from this book. Allowed: {', '.join(told)}.")
    return rows


def _settle(
    rows: nw.LazyFrame, day: str, outcome: str, found: Comparison | None, smallest: float, arms: list[str]
) -> str:
    """The experiment that would settle it, from how often the outcome comes and how many accounts come a month."""
    told = collect(rows.select(day, outcome))
    values, days = told[outcome].dropna().astype(float), pd.to_datetime(told[day])
    if values.empty:
        return ""
    share = set(values.unique()) <= {0.0, 1.0}
    base = float(values.mean())
    if found is not None and share:
        base = float(found.table.loc[found.headline, "mean_without"])
    months = max(((days.max() - days.min()).days + 1) / MONTH, 1.0)
    return settling(
        arms[0],
        arms[1],
        smallest=smallest,
        unit="points" if share else "money2",
        baseline=base if share else None,
        sd=None if share else float(values.std()),
        pace=len(told) / months,
        horizon=days_of(outcome),
    )


def _months_of(book: Book) -> float:
    first = pd.Timestamp(
        collect(scan(book.table("snapshots")).select(first=nw.col("as_of").min()))["first"][0]
    )
    return max((pd.Timestamp(book.as_of) - first).days / MONTH, 1.0)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
