"""How large an experiment must be, what it can see, and when it can answer.

All figures are for the test that :func:`~collectlab.effects.experiment.experiment` makes: a difference of two means
with HC3 (or cluster-robust) errors, two-sided. Every argument may be a list: the result then has one row for each
combination.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from collectlab.core.errors import first_few
from collectlab.core.results import Result
from collectlab.effects.design_dates import answer_date, enrolment_pace
from collectlab.effects.design_math import detectable, grid, power_of, smallest

__all__ = ["answer_date", "enrolment_pace", "minimum_detectable_effect", "power", "sample_size"]

_UNLESS_GIVEN = {
    "control_ratio": 1.0,
    "arms": 1,
    "multiplicity": "bonferroni",
    "alpha": 0.05,
    "cluster_size": 1.0,
    "icc": 0.0,
    "r_squared": 0.0,
    "peeking": False,
}
_FORMATS = {"power": "share", "r_squared": "number", "cluster_size": "number", "alpha": "number"}


def power(
    n: Any,
    effect: Any,
    *,
    baseline: Any = None,
    sd: Any = None,
    sd_arm: Any = None,
    control_ratio: Any = 1.0,
    arms: Any = 1,
    multiplicity: str = "bonferroni",
    alpha: Any = 0.05,
    cluster_size: Any = 1.0,
    icc: Any = 0.0,
    r_squared: Any = 0.0,
    peeking: bool = False,
) -> Result:
    """How often a difference of this size will be told from none.

    Shares: the test itself, for every pair of counts (x₁, x₀) times its binomial probability, because at small shares
    textbook formulas are off by up to seven points where the arms are unequal; where there are very many pairs, and for
    means, with δ the effect, V = σ₁²/(n₁−1) + σ₀²/(n₀−1) and Student's non-central t,

        P(|T| > t(1−α/2)),   T ~ t(δ / √V).

    Clusters multiply V by 1 + (m − 1)·ICC, covariates by 1 − R².

    Parameters
    ----------
    n : int or list
        Accounts in each arm other than the control.
    effect : float or list
        With minus without: a difference of shares (0.03 is three points), or of means in their own unit.
    baseline : float or list, optional
        The control's share; with ``sd``, the control's mean (shown, not used).
    sd : float or list, optional
        Standard deviation of one account's outcome in the control. Given: the outcome is a mean, such as money.
    sd_arm : float or list, optional
        The same in the arm; None: as in the control.
    control_ratio : float or list
        Accounts of the control per account of an arm.
    arms : int or list
        Arms compared with the control.
    multiplicity : str
        ``bonferroni``: alpha is divided by the number of arms; ``none``: each arm is tested at alpha.
    alpha : float or list
        Two-sided.
    cluster_size : float or list
        Accounts per unit drawn by lot, on average, where that is a customer or a branch.
    icc : float or list
        Correlation of two accounts of one cluster, 0 to 1.
    r_squared : float or list
        Share of the outcome's variance that the covariates explain, 0 to below 1.
    peeking : bool
        The test is looked at as it runs, with a confidence sequence, and stopped when that excludes zero. The power is
        that of some look among a hundred up to the planned end.

    Returns
    -------
    Result
        One row per combination: the arguments that vary or matter, ``n_arm, n_control, n_total`` (all arms), ``power``.

    Raises
    ------
    FrameError
        Arguments out of range, all told at once.

    References
    ----------
    Cohen (1988), Statistical Power Analysis; Donner & Klar (2000) for clusters. The non-central t is statsmodels'.

    Examples
    --------
    >>> power([500, 1000], 0.06, baseline=0.30).table[["n_arm", "n_total", "power"]].round(3)
       n_arm  n_total  power
    0    500     1000  0.522
    1   1000     2000  0.814
    """
    given = dict(locals())
    rows = [{**row, "power": power_of(row)} for row in grid(given, ("n", "effect"))]
    return _result(
        rows, "power", "P(the test tells the arm from the control), if the effect is as given.", "Power"
    )


def sample_size(
    effect: Any,
    *,
    power: Any = 0.80,
    baseline: Any = None,
    sd: Any = None,
    sd_arm: Any = None,
    control_ratio: Any = 1.0,
    arms: Any = 1,
    multiplicity: str = "bonferroni",
    alpha: Any = 0.05,
    cluster_size: Any = 1.0,
    icc: Any = 0.0,
    r_squared: Any = 0.0,
    peeking: bool = False,
) -> Result:
    """How many accounts tell a difference of this size from none, with this power.

    The smallest n whose :func:`power` is what is asked for; with clusters, whole ones.

    Parameters
    ----------
    effect, baseline, sd, sd_arm, control_ratio, arms, multiplicity, alpha, cluster_size, icc, r_squared, peeking
        As in :func:`power`.
    power : float or list
        How often a true effect of this size shall be told, between alpha and 1.

    Returns
    -------
    Result
        One row per combination: ``n_arm, n_control, n_total`` (all arms), and the ``power`` they give.

    Raises
    ------
    FrameError
        Arguments out of range; a size beyond a thousand million accounts, or with too few clusters to ever do.

    Examples
    --------
    >>> sample_size([0.06, 0.03], baseline=0.30).table[["effect", "n_arm", "n_total", "power"]].round(3)
       effect  n_arm  n_total  power
    0    0.06    964     1928    0.8
    1    0.03   3763     7526    0.8
    >>> sample_size(40, sd=600, arms=2).table[["n_arm", "n_control", "n_total"]]
       n_arm  n_control  n_total
    0   4280       4280    12840
    """
    wanted = dict(locals())
    rows = []
    for row in grid(wanted, ("effect", "power")):
        found = {**row, "n": smallest(row)}
        rows.append({**found, "power": power_of(found)})
    says = "Smallest number of accounts with which the test tells an effect of this size with this power."
    return _result(rows, "n", says, "Accounts needed")


def minimum_detectable_effect(
    n: Any,
    *,
    power: Any = 0.80,
    decrease: bool = False,
    baseline: Any = None,
    sd: Any = None,
    sd_arm: Any = None,
    control_ratio: Any = 1.0,
    arms: Any = 1,
    multiplicity: str = "bonferroni",
    alpha: Any = 0.05,
    cluster_size: Any = 1.0,
    icc: Any = 0.0,
    r_squared: Any = 0.0,
    peeking: bool = False,
) -> Result:
    """The smallest difference that so many accounts tell from none, with this power.

    Parameters
    ----------
    n, baseline, sd, sd_arm, control_ratio, arms, multiplicity, alpha, cluster_size, icc, r_squared, peeking
        As in :func:`power`.
    power : float or list
        As in :func:`sample_size`.
    decrease : bool
        The arm is expected to lower the outcome (a share's variance differs above and below).

    Returns
    -------
    Result
        One row per combination, with ``effect``: missing where even the largest possible difference of a share would
        be told too seldom.

    Raises
    ------
    FrameError
        Arguments out of range, all told at once.

    Examples
    --------
    >>> minimum_detectable_effect([500, 2000], baseline=0.30).table[["n_arm", "effect"]].round(4)
       n_arm  effect
    0    500  0.0840
    1   2000  0.0413
    """
    given = dict(locals())
    sign = -1.0 if given.pop("decrease") else 1.0
    rows = [{**row, "effect": detectable(row, sign)} for row in grid(given, ("n", "power"))]
    return _result(
        rows, "effect", "Smallest effect that the test tells with this power.", "Smallest effect seen"
    )


def _result(rows: Sequence[Mapping[str, Any]], answer: str, says: str, title: str) -> Result:
    """A tidy table of the arguments that vary or are not as usual, the sizes, and the answer."""
    table = pd.DataFrame(rows)
    share = rows[0]["sd"] is None
    table["n_arm"] = table["n"]
    table["n_control"] = [math.ceil(n * r) for n, r in zip(table["n"], table["control_ratio"])]
    table["n_total"] = table["n_arm"] * table["arms"] + table["n_control"]
    settings = [c for c in ("baseline", "sd", "sd_arm") if table[c].notna().any()]
    unusual = [c for c, usual in _UNLESS_GIVEN.items() if (table[c] != usual).any()]
    columns = [*settings, "effect", *unusual, "n_arm", "n_control", "n_total", "power"]
    columns = [c for c in columns if c != answer or c == "power"]
    if answer == "effect":
        columns.append("effect")
    notes = [f"Two-sided, alpha {first_few(sorted(set(table['alpha'])))}" + (", HC3." if share else ".")]
    several = table["arms"].max() > 1 and table["multiplicity"].iloc[0] == "bonferroni"
    if several:
        notes.append("Alpha is divided by the number of arms (Bonferroni).")
    if table["peeking"].any():
        notes.append(
            "Looked at as it runs: the power is the confidence sequence's, at some look up to the planned end."
        )
    if not share:
        notes.append(
            "Of a mean: where it is very skewed and the arms are unequal, the smaller arm needs thousands of accounts for it to hold."
        )
    kinds = {"effect": "points", "baseline": "share"} if share else {"effect": "money2", "baseline": "money2"}
    kinds |= {} if share else {"sd": "money2", "sd_arm": "money2"}
    sizes = {c: "count" for c in ("n_arm", "n_control", "n_total", "arms")}
    return Result(
        table=table[list(dict.fromkeys(columns))],
        estimand=says,
        title=title,
        notes=tuple(notes),
        formats=_FORMATS | kinds | sizes,
    )
