"""What relief did to people in hardship: a target trial, with re-ageing and immortal time kept out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from collectlab.core.errors import FrameError, NotAvailable
from collectlab.core.results import Result
from collectlab.effects.effect_result import Check, EffectResult
from collectlab.effects.relief.rows import OUTCOMES, SOUND_DAYS, SOUND_LIMIT, Trial, trial_rows
from collectlab.effects.target_trial import target_trial_rows
from collectlab.effects.target_trial_plan import TargetTrial
from collectlab.effects.verdict import Verdict, verdict, verdicts
from collectlab.measures.relief.cases import RELIEF

FOLLOW_UP = 180
#: Shares below which the checks of grace, of follow-up and of dates fail.
LEAST_SHARE, LEAST_JUDGED, LEAST_DATED = 0.02, 0.8, 0.9


def relief_effect(
    book: Any,
    *,
    outcome: str = "sound",
    follow_up: int = FOLLOW_UP,
    grace: int | None = None,
    kinds: Sequence[str] = RELIEF,
    reasons: Sequence[str] | None = None,
    covariates: Sequence[str] | None = None,
    definition: str = "current_once",
    conf_level: float = 0.95,
    groups: int = 50,
) -> EffectResult:
    """Effect of agreeing on relief within ``grace`` days of hardship being noted, against not in that time.

    Estimand: P(outcome) had every eligible account been given relief in that time, minus that probability had none
    been, and relief later been as it was. Eligible: the first case of each account in which hardship was noted in an episode, not given
    relief before, and noted early enough to be followed. Two traps are kept out:

    * Re-ageing. Relief makes an account current by decree, so that being cured says nothing. Outcomes are ``sound``
      (not lost, and never more than 30 days past due in the last 90 of ``follow_up`` days; paid off counts) and
      ``paid`` (paid at least what was past due at the note within ``follow_up`` days). Both are taken at the horizon.
      While a deferral runs nothing falls due: with less than 180 days ``sound`` would measure just that.
    * Immortal time. An account has to stay past due until relief is agreed. Both strategies start on the day of the
      note; accounts are cloned, censored when they depart from a strategy, and weighted by the inverse of their chance
      not to (:func:`~collectlab.effects.target_trial.target_trial`). ``as_it_stands`` is shown beside it: those given
      relief in time against the others, unweighted.

    What remains is choice: those who agree to a plan were reached and willing, and collectors may offer it to those
    who can keep it. It is an effect only as far as the covariates and the days past due hold what they went by, and
    the verdict is never better than suggestive.

    Parameters
    ----------
    book : Book
        With arrangements, and with outcomes of actions or reasons.
    outcome : {"sound", "paid"}
        See above. ``paid`` needs payments and ``amount_past_due``.
    follow_up : int
        Days from the note to the horizon, at least 120.
    grace : int, optional
        Days from the note (1: the same day). Default: the shortest of 1, 5, 14, 30 by which four fifths of the
        reliefs of the first 30 days had begun; outcomes play no part in it.
    kinds : sequence of str
        Arrangements that count as relief.
    reasons : sequence of str, optional
        Reasons that note hardship besides the outcome ``hardship``; default none, unless actions tell no outcomes.
    covariates : sequence of str, optional
        Columns of accounts; default product, credit_score, monthly_income, where there.
    definition : str
        What cured means, for the ends of the episodes.
    conf_level : float
        Level of the intervals.
    groups : int
        Replicate groups of customers for the standard errors.

    Returns
    -------
    EffectResult
        Of design ``target_trial``; ``table``: outcome, unit, method (``clone_censor_weight``, ``as_it_stands``), accounts,
        with_n, without_n, with_risk, without_risk, estimate, std_error, conf_low, conf_high, p_value.

    Raises
    ------
    NotAvailable
        No hardship noted, no relief, or no case followed for so long.
    FrameError
        As :func:`~collectlab.effects.target_trial.target_trial_rows`; parameters that are none.

    References
    ----------
    Hernán & Robins (2016), Am. J. Epidemiology 183(8), 758–764.

    Examples
    --------
    >>> from collectlab.book.open import open_book
    >>> from collectlab.book.simulate import simulate
    >>> book = open_book(simulate(accounts=3000, months=18, truth_accounts=0).book_tables)
    >>> result = relief_effect(book)
    >>> result.design, result.table["method"][0]
    ('target_trial', 'clone_censor_weight')
    """
    faults = []
    if outcome not in OUTCOMES:
        faults.append(f"outcome is {outcome!r}. Allowed: {', '.join(OUTCOMES)}.")
    if not isinstance(follow_up, int) or follow_up < 120:
        faults.append(f"follow_up is {follow_up!r}. Allowed: whole days from 120 on.")
    if grace is not None and (not isinstance(grace, int) or isinstance(grace, bool) or grace < 1):
        faults.append(f"grace is {grace!r}. Allowed: whole days ≥ 1, or None.")
    if faults:
        raise FrameError(faults)
    found = trial_rows(book, outcome, follow_up, grace, kinds, reasons, covariates, definition)
    return estimate(found, outcome, follow_up, book.as_of, conf_level, groups)


def estimate(
    found: Trial, outcome: str, follow_up: int, known_until: Any, conf_level: float, groups: int
) -> EffectResult:
    """The effect from rows; see :func:`relief_effect`."""
    grace = found.grace
    trial = TargetTrial(treatment="relief", grace=grace, follow_up=grace, covariates=found.covariates)
    made = target_trial_rows(
        found.rows, found.starts, trial, seen=found.seen, conf_level=conf_level, groups=groups,
        known_until=known_until, notes=found.notes,
    )  # fmt: skip
    words = OUTCOMES[outcome].format(h=follow_up, limit=SOUND_LIMIT, last=SOUND_DAYS)
    short = (
        f"Sound after {follow_up} days"
        if outcome == "sound"
        else f"Paid what was due within {follow_up} days"
    )
    # With the clock stopped at the end of the grace period the other rows of a target trial say nothing of their own.
    table = made.table[made.table["method"].isin(["clone_censor_weight", "ever_treated"])].reset_index(
        drop=True
    )
    table = table.assign(outcome=short, method=["clone_censor_weight", "as_it_stands"])
    share = float(table["with_n"][0]) / max(int(table["accounts"][0]), 1)
    own = {
        "grace": Check(
            name="grace",
            passed=share >= LEAST_SHARE,
            says=f"{100 * share:.1f} % of {table['accounts'][0]:,} accounts were given relief on {within(grace)}.",
            value=share,
            limit=LEAST_SHARE,
        ),
        "follow_up": Check(
            name="follow_up",
            passed=found.judged >= LEAST_JUDGED,
            says=f"{100 * found.judged:.0f} % of the cases were seen at the horizon; the others are not counted.",
            value=found.judged,
            limit=LEAST_JUDGED,
        ),
        "outcome_dates": Check(
            name="outcome_dates",
            passed=grace == 1 or found.dated >= LEAST_DATED,
            says=f"The outcome is taken on one day for all, {follow_up} days after the note"
            + (
                "."
                if grace == 1
                else f"; of the episodes that ended before relief could begin, {100 * found.dated:.0f} % are dated by payments."
            ),
            value=found.dated,
            limit=LEAST_DATED,
        ),
    }
    dropped = ("The strategies differ", "Landmark:", "Ever treated:")
    return EffectResult(
        table=table,
        estimand=f"P({words}) if relief is agreed on {within(grace)}, minus if it is not",
        unit="points",
        title=f"Relief in hardship: {short.lower()}",
        notes=(
            *(n for n in made.notes if not n.startswith(dropped)),
            "Being current is no outcome here: relief makes an account current by decree. What is left is choice: those "
            "who agree to relief were reached and willing.",
        ),
        formats=made.formats,
        conf_level=conf_level,
        design="target_trial",
        checks=tuple(own.get(c.name, c) for c in made.checks),
    )


def within(grace: int) -> str:
    """The grace period in words.

    Parameters
    ----------
    grace : int
        Days, the day of the note being the first.

    Returns
    -------
    str

    Examples
    --------
    >>> within(1), within(5)
    ('the day of the note', 'the day of the note or the 4 days after it')
    """
    return "the day of the note" + (f" or the {grace - 1} days after it" if grace > 1 else "")


def relief_verdicts(
    book: Any, *, outcomes: Sequence[str] = ("sound", "paid"), smallest: float = 0.02, **options: Any
) -> Result:
    """What relief did, graded by the published rule: a row for each outcome.

    Where no estimate can be made, the row says why.

    Parameters
    ----------
    book : Book
        As :func:`relief_effect`.
    outcomes : sequence of str
        Of :func:`relief_effect`.
    smallest : float
        The smallest difference that matters.
    **options
        As :func:`relief_effect`.

    Returns
    -------
    Result
        As :func:`collectlab.effects.verdict.verdicts`.

    Raises
    ------
    NotAvailable
        The book notes no hardship or has no arrangements.

    Examples
    --------
    >>> from collectlab.book.open import open_book
    >>> from collectlab.book.simulate import simulate
    >>> book = open_book(simulate(accounts=3000, months=18, truth_accounts=0).book_tables)
    >>> relief_verdicts(book, outcomes=["paid"]).table["grade"][0] != "causal"
    True
    """
    if not book.has("arrangements"):
        raise NotAvailable("this book has no arrangements.")
    found, refused = [], []
    for outcome in outcomes:
        try:
            found.append(_verdict(book, outcome, smallest, options))
        except NotAvailable as error:  # of one outcome only: the other can be told
            refused.append(error)
    if refused and not found:
        raise refused[0]
    table = verdicts(found, "What relief did to those in hardship")
    return replace(table, notes=(*table.notes, *(str(error) for error in refused)))


def _verdict(book: Any, outcome: str, smallest: float, options: dict[str, Any]) -> Verdict:
    horizon = options.get("follow_up", FOLLOW_UP)
    what = {
        "sound": f"keep accounts sound {horizon} days later",
        "paid": f"bring in what was past due within {horizon} days",
    }.get(outcome, outcome)
    question = f"Does relief in hardship {what}?"
    settle = (
        "To settle it: offer relief to a randomly drawn half of the hardship cases at once, to the others when the "
        "usual rule does, and compare all offered with all not."
    )
    words = {
        "treatment": "relief when hardship was noted",
        "control": "none",
        "smallest": smallest,
        "settle": settle,
    }
    try:
        result = relief_effect(book, outcome=outcome, **options)
    except FrameError as error:
        refused = " ".join(str(error).split())
        return verdict(question, [], refused=refused, **words)
    return verdict(question, [result], **words)
