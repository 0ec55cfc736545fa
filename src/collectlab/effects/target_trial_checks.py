"""What must hold for a target trial's estimate to be an effect: refused where hopeless, told where doubtful."""

from __future__ import annotations

import numpy as np

from collectlab.core.errors import FrameError, first_few
from collectlab.effects.effect_result import Check
from collectlab.effects.target_trial_plan import OUTCOMES, TargetTrial
from collectlab.effects.target_trial_rows import Prepared
from collectlab.effects.target_trial_weights import Starting, clone_weights, even_hazard

#: A level with so many accounts and no start at all separates perfectly.
SEPARATED = 20
#: A day on which fewer than one in so many starts cannot stand for a start.
RARE = 0.001
SHARE_RARE, ONE_WEIGHT, LEAST_EFFECTIVE, LARGEST_DIFFERENCE = 0.05, 0.05, 30.0, 0.10
LEAST_GRACE, LEAST_FOLLOWED, LONGEST_GAP, LEAST_DATED = 0.02, 0.5, 7.0, 0.9


def refuse_hopeless(ready: Prepared, trial: TargetTrial) -> None:
    """Raise where no weighting helps: a constant outcome, a treatment of nobody or everybody, no overlap."""
    sets, faults = ready.sets, []
    happened = sets.event == 1
    words = OUTCOMES[trial.outcome]
    if not happened.any():
        faults.append(
            f"none of {ready.accounts:,} accounts is {words} within {trial.follow_up} days: nothing to compare."
        )
    elif happened.all() and (sets.exit == sets.exit[0]).all():
        faults.append(
            f"all {ready.accounts:,} accounts are {words} on day {sets.exit[0]}: nothing to compare."
        )
    within = (sets.start > 0) & (sets.start <= sets.grace)
    if not within.any():
        faults.append(
            f"none of {ready.accounts:,} eligible accounts starts {trial.thing} within {trial.grace} days. "
            "Allowed: a treatment that some get, or a longer grace period."
        )
    elif (sets.start > 0).all():
        faults.append(
            f"all {ready.accounts:,} eligible accounts start {trial.thing}: nobody shows what happens without. "
            "Allowed: a treatment that some do not get."
        )
    if faults:
        raise FrameError(faults)
    no_start = [
        f"{name} ({int(inside.sum()):,} accounts)"
        for name, inside in ready.levels.items()
        if inside.sum() >= SEPARATED and not (within & inside).any()
    ]
    if no_start:
        raise FrameError(
            f"no overlap: nobody starts {trial.thing} within {trial.grace} days where {first_few(no_start)}. "
            "Leave these accounts out by `eligible`, `strategies` or `days_past_due`; the effect is then of the others."
        )
    if not (sets.at_risk[:, -1] & (sets.start == 0)).any() and sets.at_risk[:, -1].any():
        raise FrameError(
            f"nobody is past due without {trial.thing} on day {trial.follow_up}: 'never' cannot be followed so "
            "far. Allowed: a shorter follow_up."
        )


def checks_of(ready: Prepared, starting: Starting, trial: TargetTrial) -> tuple[Check, ...]:
    """The checks, each with its figures."""
    sets = ready.sets
    chance, given = starting.chances()
    start, never = clone_weights(starting, chance, given, trial.truncate)
    within = (sets.start > 0) & (sets.start <= sets.grace)
    share = float(within.mean())
    return (
        Check(
            name="known_at_start",
            passed=True,
            says="Eligibility, covariates and both strategies are known at time zero: no time is credited to a treatment "
            "before it starts.",
        ),
        Check(
            name="grace",
            passed=share >= LEAST_GRACE,
            says=f"{100 * share:.1f} % of {ready.accounts:,} accounts ({int(within.sum()):,}) start {trial.thing} "
            f"within {trial.grace} days.",
            value=share,
            limit=LEAST_GRACE,
        ),
        Check(
            name="follow_up",
            passed=ready.followed >= LEAST_FOLLOWED,
            says=f"{100 * ready.followed:.1f} % of the accounts ended or were followed for {trial.follow_up} days; the "
            "others count up to the day they were last seen.",
            value=ready.followed,
            limit=LEAST_FOLLOWED,
        ),
        _positivity(ready, starting, chance, trial),
        _weights(ready, start, never),
        _balance(ready, start, never),
        _dates(ready),
    )


def _positivity(ready: Prepared, starting: Starting, chance: np.ndarray, trial: TargetTrial) -> Check:
    sets = ready.sets
    mass = even_hazard(starting) > 0
    possible = mass & sets.at_risk & sets.unstarted
    rare = possible & (chance < RARE)
    rare_share = float(rare.sum() / max(possible.sum(), 1))
    faults = []
    if rare_share > SHARE_RARE:
        worst = [
            name
            for name, inside in ready.levels.items()
            if possible[inside].any() and rare[inside].sum() > 0.5 * possible[inside].sum()
        ]
        faults.append(
            f"on {100 * rare_share:.0f} % of the days on which the strategy may start, fewer than 1 in "
            f"{1 / RARE:,.0f} do" + (f" (mostly where {first_few(worst)})" if worst else "")
        )
    left = sets.at_risk[:, -1]
    none = left & (sets.start == 0)
    emptied = [
        f"{name} ({int((left & inside).sum()):,} past due)"
        for name, inside in ready.levels.items()
        if (left & inside).sum() >= 5 and not (none & inside).any()
    ]
    if emptied:
        faults.append(
            f"nobody is left without {trial.thing} on day {trial.follow_up} where {first_few(emptied)}"
        )
    says = "In every level of the covariates some start within the grace period, and some never do."
    if faults:
        text = "; ".join(faults)
        says = text[0].upper() + text[1:] + "."
    return Check(name="positivity", passed=not faults, says=says, value=rare_share, limit=SHARE_RARE)


def _final(ready: Prepared, weight: np.ndarray, day: int) -> np.ndarray:
    """Each clone's weight on ``day``, or on its last day if that came before; 0 once it left its strategy."""
    at = np.minimum(ready.sets.exit, day) - 1
    return weight[np.arange(len(weight)), at]


def _weights(ready: Prepared, start: np.ndarray, never: np.ndarray) -> Check:
    parts, worst, least = [], 0.0, np.inf
    for name, weight in (("start", start), ("never", never)):
        w = _final(ready, weight, ready.sets.follow_up)
        w = w[w > 0]
        if not len(w):
            return Check(
                name="weights", passed=False, says=f"No account follows the strategy '{name}' to its end."
            )
        effective, largest = w.sum() ** 2 / (w**2).sum(), w.max() / w.sum()
        worst, least = max(worst, largest), min(least, effective)
        parts.append(
            f"{name}: {len(w):,} accounts worth {effective:,.0f}, the largest weight {w.max():,.1f} "
            f"({100 * largest:.1f} % of all)"
        )
    return Check(
        name="weights",
        passed=bool(worst <= ONE_WEIGHT and least >= LEAST_EFFECTIVE),
        says=f"After weighting, {'; '.join(parts)}.",
        value=float(least),
        limit=LEAST_EFFECTIVE,
    )


def _balance(ready: Prepared, start: np.ndarray, never: np.ndarray) -> Check:
    """Covariates at time zero: the weighted followers of either strategy at the end of grace, against all eligible."""
    worst, before, where, least = 0.0, 0.0, "", np.inf
    grace = ready.sets.grace
    within = (ready.sets.start > 0) & (ready.sets.start <= grace)
    spread = ready.at_zero.std(axis=0)
    names = [*ready.columns, *(["stage"] * (ready.at_zero.shape[1] - len(ready.columns)))]
    if not len(names):
        return Check(
            name="balance", passed=None, says="No covariates were given: there is nothing to balance."
        )
    everybody = ready.at_zero.mean(axis=0)
    for arm, weight, raw in (("start", start, within), ("never", never, ready.sets.start == 0)):
        w = _final(ready, weight, grace)
        least = min(least, w.sum() ** 2 / max(float((w**2).sum()), 1e-300))
        for j, name in enumerate(names):
            column = ready.at_zero[:, j]
            if spread[j] == 0 or w.sum() == 0:
                continue
            after = abs(float(np.sum(w * column) / w.sum()) - everybody[j]) / spread[j]
            before = max(before, abs(float(column[raw].mean()) - everybody[j]) / spread[j])
            if after > worst:
                worst, where = after, f"{name}, '{arm}'"
    # Chance alone moves a mean of so few accounts by one over the root of their number.
    limit = max(LARGEST_DIFFERENCE, 2 / np.sqrt(max(least, 1.0)))
    return Check(
        name="balance",
        passed=bool(worst <= limit),
        says=f"The weighted followers of either strategy differ from all eligible accounts by at most {worst:.2f} standard "
        f"deviations{f' ({where})' if where else ''}; unweighted by up to {before:.2f} (limit {limit:.2f}).",
        value=float(worst),
        limit=float(limit),
    )


def _dates(ready: Prepared) -> Check:
    if np.isnan(ready.gap):
        return Check(
            name="outcome_dates",
            passed=None,
            says="How often accounts were looked at is not told; ends are taken as dated to the day.",
        )
    sound = ready.gap <= LONGEST_GAP or ready.dated >= LEAST_DATED
    says = f"Accounts are usually looked at every {ready.gap:.0f} days"
    if ready.gap > LONGEST_GAP:
        says += f", and {100 * ready.dated:.0f} % of the outcomes are dated by payments"
    if not sound:
        says += (
            ". An end between two looks is dated too late or too early, and days after it count as days without a "
            "treatment"
        )
    return Check(name="outcome_dates", passed=sound, says=says + ".", value=ready.gap, limit=LONGEST_GAP)
