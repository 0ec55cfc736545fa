"""What starting a treatment causes, from the logs: the target trial, emulated so that no time is credited wrongly."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from collectlab.core.errors import first_few
from collectlab.core.jackknife import check_level, jackknife
from collectlab.effects.target_trial_checks import checks_of, refuse_hopeless
from collectlab.effects.target_trial_later import LaterTreatment, refuse_later
from collectlab.effects.target_trial_plan import OUTCOMES, TargetTrial
from collectlab.effects.target_trial_result import TargetTrialResult
from collectlab.effects.target_trial_rows import Prepared, book_rows, prepare
from collectlab.effects.target_trial_weights import Starting, clone_weights, incidence, logistic

if TYPE_CHECKING:
    from collectlab.book.open import Book

__all__ = ["LaterTreatment", "TargetTrial", "refuse_later", "target_trial", "target_trial_rows"]

GROUPS = 50
#: method -> what the table says of it.
METHODS = {
    "clone_censor_weight": "start within the grace period, against never: clones, censored and weighted",
    "landmark": "still past due at the end of the grace period: started by then or not, weighted",
    "ever_treated_weighted": "ever treated in the follow-up, weighted: immortal time, no effect",
    "ever_treated": "ever treated in the follow-up, as it stands: immortal time and choice, no effect",
}


def target_trial(
    book: Book,
    trial: TargetTrial,
    *,
    definition: str = "current_once",
    conf_level: float = 0.95,
    groups: int = GROUPS,
) -> TargetTrialResult:
    """Effect of starting a treatment within a grace period, against never starting it, from a book's logs.

    Estimand: P(outcome within ``follow_up`` days) had every eligible account started the treatment within
    ``grace`` days of time zero (on a day spread evenly over those on which anybody starts; an account that ends
    before its day has not started), minus that probability had none started it; other ends compete. Everything
    else is left as it was. It is an effect if the covariates, the days past due on each day and the calendar
    hold all that people went by when they chose whom to treat when.

    Each account has a clone in both strategies, which is censored on the day on which the account departs from the
    strategy; the clones that stay are weighted by the inverse of their chance to (a pooled logistic model of
    starting on a day, by covariates, stage of days past due, days since time zero and weekday). No time before a
    treatment is credited to it.

    Parameters
    ----------
    book : Book
        With ``actions``. ``payments`` date the cures between two snapshots; where snapshots are months apart and
        there are none, days after an unseen cure count as days without the treatment, and the estimate is biased
        against it (the check ``outcome_dates`` then fails).
    trial : TargetTrial
        Eligibility, time zero, strategies, follow-up, outcome and covariates.
    definition : str
        What cured means.
    conf_level : float
        Level of the intervals.
    groups : int
        Replicate groups of customers for the standard errors.

    Returns
    -------
    TargetTrialResult
        An ``EffectResult``; ``design`` is ``target_trial``; one row per ``method`` (:data:`METHODS`): the headline ``clone_censor_weight``;
        ``landmark``, among those still past due at the end of the grace period; and two that are shown because
        they are usual and wrong (immortal time). Columns: outcome, unit, method, accounts, with_n, without_n (accounts
        that followed each strategy), with_risk, without_risk, estimate, std_error, conf_low, conf_high, p_value.

    Raises
    ------
    LaterTreatment
        The treatment is defined by something after time zero.
    FrameError
        No eligible account; nobody or everybody starts; a constant outcome; no overlap, and where; a horizon
        beyond the follow-up; no such column.
    NotAvailable
        The book has no actions.

    References
    ----------
    Hernán & Robins (2016), Am. J. Epidemiology 183(8), 758–764. Cain et al. (2010), Int. J. Biostatistics 6(2), 18.
    Wanis, Sarvet, Wen, Block, Rifas-Shiman, Robins & Young (2024), Statistics in Medicine, on grace periods.

    Examples
    --------
    >>> from collectlab.book.open import open_book
    >>> from collectlab.book.simulate import simulate
    >>> book = open_book(simulate(accounts=2500, months=12, truth_accounts=0).book_tables)
    >>> trial = TargetTrial(treatment="call", grace=14, follow_up=30, covariates=("strategy",),
    ...                     strategies=("champion", "standard"))
    >>> result = target_trial(book, trial)
    >>> result.table["method"].tolist()
    ['clone_censor_weight', 'landmark', 'ever_treated_weighted', 'ever_treated']
    """
    rows, actions, seen, notes = book_rows(book, trial, definition)
    return target_trial_rows(
        rows,
        actions,
        trial,
        seen=seen,
        conf_level=conf_level,
        groups=groups,
        known_until=book.as_of,
        notes=notes,
    )


def target_trial_rows(
    rows: Any,
    actions: Any,
    trial: TargetTrial,
    *,
    seen: Any = None,
    conf_level: float = 0.95,
    groups: int = GROUPS,
    known_until: Any = None,
    notes: tuple[str, ...] = (),
) -> TargetTrialResult:
    """The same from frames, for whoever has exact dates of their own.

    Parameters
    ----------
    rows : frame
        One row per eligible account: account_id, time_zero (date), days_past_due (then), end_day and outcome
        (days from time zero to the end; ``censored`` where it was not seen), the covariates, and where there
        customer_id and ``first_paid_day``.
    actions : frame
        account_id, day (days since time zero), channel: one row per action. An account treated on day 0 or
        before is not eligible.
    trial : TargetTrial
        ``eligible``, ``strategies`` and ``days_past_due`` are applied here.
    seen : frame, optional
        account_id, day, days_past_due at the end of days ≥ 0, for the stage; between two, the count goes on.
    conf_level : float
        Level of the intervals.
    groups : int
        Replicate groups of customers for the standard errors.
    known_until : date, optional
        The last day known; default: as far as ``rows`` go.
    notes : tuple of str
        To be put before the result's own.

    Returns
    -------
    TargetTrialResult
        As :func:`target_trial`.

    Examples
    --------
    >>> import pandas as pd
    >>> rng = np.random.default_rng(1)
    >>> rows = pd.DataFrame({"account_id": range(400), "time_zero": pd.Timestamp("2026-01-31"), "days_past_due": 10,
    ...                      "end_day": rng.integers(1, 40, 400), "outcome": "cured"})
    >>> calls = pd.DataFrame({"account_id": range(400), "day": rng.integers(1, 60, 400), "channel": "call"})
    >>> trial = TargetTrial(treatment="call", grace=7, follow_up=20)
    >>> result = target_trial_rows(rows, calls, trial)
    >>> bool(result.table["conf_low"][0] < 0 < result.table["conf_high"][0])  # calls that do nothing
    True
    """
    check_level(conf_level)
    ready = prepare(rows, actions, trial, seen=seen, groups=groups, known_until=known_until)
    refuse_hopeless(ready, trial)
    starting = Starting(ready.sets)
    whole = _risks(ready, starting, trial)
    risks = whole[0]
    replicates = np.unique(ready.sets.group)

    def effects(keep: np.ndarray) -> np.ndarray:
        """The jackknife takes one replicate group out of a row of ones; the weights are then refitted without it."""
        gone = np.flatnonzero(keep == 0)
        found = whole if not len(gone) else _risks(ready, starting, trial, int(replicates[gone[0]]))
        return np.concatenate([found[0][0] - found[0][1], found[1].ravel()])

    many = len(replicates)
    found = jackknife(np.ones(many), np.eye(many), effects, conf_level)
    estimate, error, low, high = (part[: len(METHODS)] for part in found)
    curves = _curves([part[len(METHODS) :] for part in found], trial.follow_up)
    from scipy import stats

    with np.errstate(divide="ignore", invalid="ignore"):
        p_value = 2 * stats.t.sf(np.abs(estimate / error), max(many - 1, 1))
    with_n, without_n = _followers(ready)
    table = pd.DataFrame(
        {
            "outcome": f"{trial.outcome}_within_{trial.follow_up}",
            "unit": "points",
            "method": list(METHODS),
            "accounts": ready.accounts,
            "with_n": with_n,
            "without_n": without_n,
            "with_risk": risks[0],
            "without_risk": risks[1],
            "estimate": estimate,
            "std_error": error,
            "conf_low": low,
            "conf_high": high,
            "p_value": p_value,
        }
    )
    table.loc[table["method"] == "landmark", "accounts"] = with_n[1] + without_n[1]
    return TargetTrialResult(
        table=table,
        estimand=(
            f"P({OUTCOMES[trial.outcome]} within {trial.follow_up} days) if {trial.thing} is started within "
            f"{trial.grace} days of {trial.zero_words}, minus if none ever is; other ends compete"
        ),
        unit="points",
        title=f"Starting {trial.thing}, as a target trial",
        notes=(*notes, *ready.notes, *_notes(starting, trial)),
        formats={"accounts": "count", "with_n": "count", "without_n": "count"}
        | {"with_risk": "share", "without_risk": "share"},
        conf_level=conf_level,
        design="target_trial",
        checks=checks_of(ready, starting, trial),
        headline=0,
        curves=curves,
        words=(
            f"start {trial.thing} within {trial.grace} days",
            "never start it",
            f"Share {OUTCOMES[trial.outcome]}",
        ),
    )


def _risks(
    ready: Prepared, starting: Starting, trial: TargetTrial, left_out: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """(with, without) × method: the probability of the outcome; and by day for the first method.

    All weights are fitted without the replicate group that is left out.
    """
    sets = ready.sets
    kept = np.ones(len(sets.exit), bool) if left_out is None else sets.group != left_out
    chance, given = starting.chances(left_out)
    out = np.full((2, len(METHODS)), np.nan)
    clones = clone_weights(starting, chance, given, trial.truncate)
    by_day = np.stack([incidence(weight[kept], sets.exit[kept], sets.event[kept]) for weight in clones])
    out[:, 0] = by_day[:, -1]
    at_risk = sets.at_risk & kept[:, None]
    by_landmark = (sets.start > 0) & (sets.start <= sets.grace)
    past_due = kept & (sets.exit > sets.grace)
    ever = sets.start > 0
    plain = np.ones(len(kept))
    weighted = _inverse_chance(ready.at_zero, ever, kept)
    for method, (treated, weight, among, first) in enumerate(
        (
            (by_landmark, _inverse_chance(ready.at_zero, by_landmark, past_due), past_due, sets.grace + 1),
            (ever, weighted, kept, 1),
            (ever, plain, kept, 1),
        ),
        start=1,
    ):
        for arm, side in enumerate((treated, ~treated)):
            mine = among & side
            if mine.any():
                w = at_risk[mine] * weight[mine][:, None]
                out[arm, method] = incidence(w, sets.exit[mine], sets.event[mine], first)[-1]
    return out, by_day


def _curves(found: list[np.ndarray], follow_up: int) -> pd.DataFrame:
    """Both strategies by day, tidy."""
    estimate, error, low, high = found
    return pd.DataFrame(
        {
            "strategy": np.repeat(["start", "never"], follow_up),
            "day": np.tile(np.arange(1, follow_up + 1), 2),
            "estimate": estimate,
            "std_error": error,
            "conf_low": np.clip(low, 0, 1),
            "conf_high": np.clip(high, 0, 1),
        }
    )


def _inverse_chance(x: np.ndarray, treated: np.ndarray, among: np.ndarray) -> np.ndarray:
    """1 / P(treated) or 1 / P(not), by a logistic regression on covariates at time zero."""
    design = np.hstack([np.ones((len(x), 1)), x])
    if not among.any():
        return np.ones(len(x))
    b = logistic(design[among], np.ones(among.sum()), treated[among].astype(float))
    p = 1 / (1 + np.exp(-np.clip(np.einsum("ij,j->i", design, b), -30, 30)))
    return 1 / np.where(treated, p, 1 - p)


def _followers(ready: Prepared) -> tuple[list[int], list[int]]:
    """Accounts seen to follow each side, by method."""
    sets = ready.sets
    within = (sets.start > 0) & (sets.start <= sets.grace)
    ever = sets.start > 0
    past = sets.exit > sets.grace
    with_n = [within.sum(), (within & past).sum(), ever.sum(), ever.sum()]
    without_n = [(~ever).sum(), (~within & past).sum(), (~ever).sum(), (~ever).sum()]
    return [int(n) for n in with_n], [int(n) for n in without_n]


def _notes(starting: Starting, trial: TargetTrial) -> list[str]:
    notes = [
        "Landmark: among those still past due at the end of the grace period, started by then or not yet; whom the start "
        "has already cured is left out of it.",
        "Ever treated: shown because it is usual. An account has to stay past due to be treated later, so those rows are "
        "no effects, adjusted or not.",
    ]
    if len(starting.closed):
        names = ("Mondays", "Tuesdays", "Wednesdays", "Thursdays", "Fridays", "Saturdays", "Sundays")
        notes.append(
            f"Nobody ever starts on {first_few([names[d] for d in starting.closed])}: no start is put there."
        )
    if starting.exclusive:
        notes.append(
            f"No {trial.treatment} ever starts on a day with another action: it takes the place of "
            "another, and where it is not started nothing is done instead."
        )
    if trial.truncate is not None:
        notes.append(f"Weights are cut at their quantile {trial.truncate:g}.")
    notes.append(
        "The strategies differ in the start only: what is done afterwards, further treatments included, is as it was."
    )
    return notes
