"""What must hold for the dose–response to mean what it says."""

from __future__ import annotations

import numpy as np

from collectlab.effects.effect_result import Check
from collectlab.effects.pressure import fits
from collectlab.effects.pressure.days import ContactDays

#: Chances outside these bounds leave hardly anybody to compare with; share of contacts that must lie inside.
CHANCE, INSIDE = (0.01, 0.99), 0.8
#: Largest difference of weighted means, in standard deviations.
ALIKE = 0.1
#: Standard errors that the largest of some hundred differences may reach by chance.
NOISE = 4.0
#: Largest "effect" on a payment of the week before, as a share.
PLACEBO = 0.01
COMPLAINTS = 50


def checks(
    days: ContactDays,
    x: np.ndarray,
    names: list[str],
    e: np.ndarray,
    b: np.ndarray,
    enough: int,
    horizon: int,
) -> tuple[Check, ...]:
    """The checks of a dose–response; those the verdict's rule asks of a comparison go by its names."""
    return (
        Check(
            name="known_at_start",
            passed=True,
            says="Days are compared by what was known that morning: nothing of the day itself or later.",
        ),
        _overlap(days, e, enough),
        _balance(days, x, names, e, enough),
        _placebo(days, x, names, b),
        _complaints(days, horizon),
        Check(
            name="hours",
            passed=None,
            says=(
                "Payments bear no hour: who pays in the morning is not called at noon, which would make a call look "
                "less useful than it is."
            ),
        ),
    )


def _told(days: ContactDays, enough: int) -> list[int]:
    made = np.bincount(days.dose.astype(int), weights=days.treated)
    return [k for k in range(len(made)) if made[k] >= enough]


def _overlap(days: ContactDays, e: np.ndarray, enough: int) -> Check:
    """In each step, most contacts were made on days that might have passed without one, and not by a miracle."""
    told = _told(days, enough)
    if not told:
        return Check(name="overlap", passed=False, says=f"No step has {enough} account-days with a contact.")
    inside = (e > CHANCE[0]) & (e < CHANCE[1])
    shares = [float(inside[(days.dose == k) & (days.treated == 1)].mean()) for k in told]
    worst = int(np.argmin(shares))
    return Check(
        name="overlap",
        passed=shares[worst] >= INSIDE,
        says=(
            f"In every step at least {shares[worst]:.0%} of the contacts were made on days on which the chance of one "
            f"lay between {CHANCE[0]:.0%} and {CHANCE[1]:.0%}; at least {INSIDE:.0%} is asked."
        ).replace("%", " %"),
        value=shares[worst],
        limit=INSIDE,
    )


def _balance(days: ContactDays, x: np.ndarray, names: list[str], e: np.ndarray, enough: int) -> Check:
    worst, where = 0.0, ""
    for k in _told(days, enough):
        here = days.dose == k
        found = fits.imbalance(x[here], days.treated[here], e[here])
        # of few contacts, some hundred means differ by chance: that much is no imbalance
        chance = NOISE / np.sqrt(max(float(days.treated[here].sum()), 1.0))
        found = np.where(found > chance, found, np.minimum(found, ALIKE))
        if found.max() > worst:
            worst, where = float(found.max()), names[int(found.argmax())]
    return Check(
        name="balance",
        passed=worst <= ALIKE if where else None,
        says=(
            f"After weighting, days with and without a contact differ most in {where.replace('_', ' ')}: "
            f"{worst:.2f} standard deviations; at most {ALIKE} is asked."
            if where
            else "No step has enough contacts to compare by."
        ),
        value=worst,
        limit=ALIKE,
    )


def _placebo(days: ContactDays, x: np.ndarray, names: list[str], b: np.ndarray) -> Check:
    """Today's contact cannot have caused last week's payment."""
    kept = [i for i, name in enumerate(names) if name != "paid_7"]
    x = x[:, kept]
    e, _ = fits.chances(x, days.treated, b[kept])
    y = days.paid_before[:, None]
    found = fits.effects(y, fits.expected(x, y), days.treated, e, np.zeros(len(e), int), days.cluster)
    effect, error = float(found.estimate[0, 0]), float(np.sqrt(found.covariance[0, 0]))
    passed = abs(effect) <= PLACEBO or abs(effect) <= 2 * error
    return Check(
        name="placebo_outcome",
        passed=passed,
        says=(
            f"Today's contact “changes” the share that paid in the week before by {100 * effect:+.1f} percentage points "
            f"(± {100 * 1.96 * error:.1f}); it cannot, so it should be within {100 * PLACEBO:.0f} of none."
        ).replace("-", "−"),
        value=effect,
        limit=PLACEBO,
    )


def _complaints(days: ContactDays, horizon: int) -> Check:
    if "complaint" not in days.outcomes:
        return Check(name="complaints", passed=None, says="This book has no complaints.")
    return Check(
        name="complaints",
        passed=days.complaints >= COMPLAINTS,
        says=(
            f"{days.complaints:,} complaints came from these accounts; with fewer than {COMPLAINTS} the effect on "
            "complaints cannot be told."
        ),
        value=float(days.complaints),
        limit=float(COMPLAINTS),
    )
