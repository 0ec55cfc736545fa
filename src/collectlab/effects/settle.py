"""The experiment that would settle a question: arms, accounts, weeks."""

from __future__ import annotations

import math

from collectlab.core.tables import format_value
from collectlab.effects.design import minimum_detectable_effect, sample_size

#: Weeks after which waiting for a test is no plan: then it is told what a year could show.
PATIENCE = 104
_WEEKS_A_MONTH = 365.25 / 12 / 7


def settling(
    treatment: str,
    control: str,
    *,
    smallest: float,
    unit: str = "points",
    baseline: float | None = None,
    sd: float | None = None,
    pace: float | None = None,
    horizon: int = 90,
    power: float = 0.8,
    have: int = 0,
) -> str:
    """The experiment of two equal arms that would settle a question, in one or two sentences.

    Parameters
    ----------
    treatment, control : str
        The two arms.
    smallest : float
        The smallest difference that matters, in the outcome's own unit.
    unit : str
        ``points`` (a difference of shares), ``money2`` or ``number``.
    baseline, sd : float, optional
        The share without the treatment; or the standard deviation of one account's outcome, where it is no share.
    pace : float, optional
        Accounts a month that could enter.
    horizon : int
        Days after the last account's entry when the outcome is read.
    power : float
        Chance to tell a difference of ``smallest`` from none.
    have : int
        Accounts that each arm of a running test has already; 0: there is no test yet.

    Returns
    -------
    str
        Empty where neither ``baseline`` nor ``sd`` is known.

    Examples
    --------
    >>> print(settling("calls", "no calls", smallest=0.05, baseline=0.6, pace=400, horizon=60))
    To settle it: draw lots between calls and no calls. 1,471 accounts in each arm show a difference of 5.0 pp (power 80 %); at 400 accounts a month that takes 41 weeks with the 60 days of follow-up.
    """
    known = {"baseline": baseline} if unit == "points" else {"sd": sd}
    value = next(iter(known.values()))
    if value is None or not math.isfinite(value) or (unit == "points" and not 0 < value < 1) or value <= 0:
        return ""
    if unit == "points":
        smallest = min(smallest, 0.9 * max(value, 1 - value))
    wanted = int(sample_size(smallest, power=power, **known).table["n_arm"].iloc[0])
    size = format_value(smallest, unit).lstrip("+")
    first = (
        f"draw lots between {treatment} and {control}."
        if not have
        else f"go on; {have:,} accounts are in the smaller arm."
    )
    text = f"To settle it: {first} {wanted:,} accounts in each arm show a difference of {size} (power {power:.0%})"
    text = text.replace("%)", " %)")
    wanted = max(wanted - have, 0)
    if not pace or not math.isfinite(pace) or pace <= 0:
        return text + "."
    weeks = math.ceil(2 * wanted / pace * _WEEKS_A_MONTH + horizon / 7)
    if weeks <= PATIENCE:
        return f"{text}; at {pace:,.0f} accounts a month that takes {weeks:,} weeks with the {horizon} days of follow-up."
    text += f", more than come in two years at {pace:,.0f} a month."
    in_a_year = have + int(pace * max(12 - horizon / 30.44, 1) / 2)
    if in_a_year < 2:
        return text
    shown = minimum_detectable_effect(in_a_year, power=power, **known).table["effect"].iloc[0]
    return f"{text} In a year it could show one of {format_value(shown, unit).lstrip('+')}."
