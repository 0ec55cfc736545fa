"""What the next experiment is worth, what it costs, and how large it should be."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from collectlab.core.errors import FrameError
from collectlab.core.plots import PALETTE, new_axes, titled, unit_axis
from collectlab.core.results import Result
from collectlab.measures.worth.checks import is_above
from collectlab.measures.worth.information import refuse_normal, unit_normal_loss

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True, kw_only=True)
class SampleInformation(Result):
    """What an experiment of each size is worth; one row per size.

    ``table``: n_arm, n_control, n_total; months (until its answer is known); evsi (value of its answer per account);
    gain (for the accounts that come after the answer); cost (of running it) and forgone (in the arm that looks worse
    today); ``estimate`` (expected net benefit of sampling: gain less the two); best (the size at which that is
    largest; none where it is nowhere above 0).
    """

    plottable = True

    @property
    def best(self) -> pd.Series | None:
        """The row of the best size; None where no experiment is worth its cost."""
        rows = self.table[self.table["best"]]
        return rows.iloc[0] if len(rows) else None

    def plot(self, ax: Axes | None = None) -> Axes:
        """Expected net benefit of sampling by accounts in the experiment."""
        ax = new_axes(ax)
        ax.plot(self.table["n_total"], self.table["estimate"], color=PALETTE[0], marker="o", markersize=3)
        ax.axhline(0, color="#444444", linewidth=0.8)
        ax.set_xlabel("Accounts in the experiment")
        ax.set_ylabel("Expected net benefit")
        unit_axis(ax, "money", "y")
        return titled(ax, self.title)


def sample_information(
    mean: float,
    std_error: float,
    *,
    sd: float,
    accounts_a_month: float,
    months: float,
    n: Sequence[int] | int | None = None,
    sd_arm: float | None = None,
    control_ratio: float = 1.0,
    pace: float | None = None,
    follow_up: float = 0.0,
    cost_per_account: float = 0.0,
    fixed_cost: float = 0.0,
) -> SampleInformation:
    """Expected value of the next experiment of two arms, its expected net benefit, and its best size.

    What is known now of the difference in net value per account is normal with mean m and standard error s (a flat
    prior and an estimate give that). n accounts in the arm and r·n in the control add an estimate with variance
    V = σ₁²/n + σ₀²/(r n); seen from today its posterior mean is normal around m with variance s*² = s⁴/(s² + V), so

        EVSI = s* · L(|m| / s*)                                  per account, L the unit normal loss,
        ENBS = EVSI · A · max(T − t(n), 0) − c(n) − |m| · w(n),

    with A accounts a month over the T months for which the decision stands, t(n) the months until the answer is known
    (enrolment and follow-up), c the cost of the experiment and w the accounts in the arm that looks worse today.
    Until then everybody else gets what looks better today.

    Parameters
    ----------
    mean, std_error : float
        m and s > 0: net value of the option less that of the alternative, per account.
    sd, sd_arm : float
        Standard deviation of one account's net value in the control, and in the arm (None: the same).
    accounts_a_month, months : float
        A and T, both above 0.
    n : int or list of int, optional
        Accounts in the arm, 2 or more; none given: from few to as many as could be known in time.
    control_ratio : float
        r: accounts of the control per account of the arm.
    pace : float, optional
        Accounts a month that can enter; none given: all that come.
    follow_up : float
        Months from the last account's entry until the answer.
    cost_per_account, fixed_cost : float
        Of running the experiment, each ≥ 0.

    Returns
    -------
    SampleInformation

    Raises
    ------
    FrameError
        Arguments out of range, all told at once.

    References
    ----------
    Raiffa & Schlaifer (1961), Applied Statistical Decision Theory, ch. 5; Willan & Pinto (2005), Statistics in
    Medicine 24, 1791–1806.

    Examples
    --------
    >>> found = sample_information(20.0, 50.0, sd=600, accounts_a_month=400, months=24, follow_up=3, n=[100, 400])
    >>> found.table[["n_arm", "months", "evsi", "estimate"]].round(2).values.tolist()
    [[100.0, 3.5, 3.12, 23558.26], [400.0, 5.0, 7.26, 47142.99]]
    >>> found = sample_information(20.0, 50.0, sd=600, accounts_a_month=400, months=24, follow_up=3)
    >>> int(found.best["n_arm"])
    518
    """
    _refuse_sampling(**locals())
    given = {
        "mean": mean, "std_error": std_error, "sd": sd, "sd_arm": sd_arm or sd, "ratio": control_ratio,
        "inflow": accounts_a_month, "months": months, "pace": pace or accounts_a_month, "follow_up": follow_up,
        "per": cost_per_account, "fixed": fixed_cost,
    }  # fmt: skip
    largest = max(int((months - follow_up) * given["pace"] / (1 + control_ratio)), 3)
    if n is None:
        sizes = np.unique(np.geomspace(2, largest, 25).round().astype(int)).tolist()
        sizes = sorted({*sizes, _best(given, largest)})
    else:
        sizes = sorted({int(v) for v in np.atleast_1d(n)})
    table = pd.DataFrame([_sampled(size, given) for size in sizes])
    place = int(table["estimate"].idxmax())
    table["best"] = (table.index == place) & (table["estimate"] > 0)
    return SampleInformation(
        table=table,
        estimand="Expected net benefit of the experiment: value of its answer less what it costs",
        unit="money",
        title="What the next experiment is worth",
        formats={
            "estimate": "Net benefit", "n_arm": "count", "n_control": "count", "n_total": "count", "months": "days",
            "evsi": "money2", "gain": "money", "cost": "money", "forgone": "money",
        },
    )  # fmt: skip


def _sampled(n: int, of: Mapping[str, float]) -> dict[str, float]:
    control = max(round(n * of["ratio"]), 1)
    variance = of["sd_arm"] ** 2 / n + of["sd"] ** 2 / control
    moves = of["std_error"] ** 2 / math.sqrt(of["std_error"] ** 2 + variance)
    evsi = moves * unit_normal_loss(abs(of["mean"]) / moves)
    until = (n + control) / of["pace"] + of["follow_up"]
    gain = evsi * of["inflow"] * max(of["months"] - until, 0.0)
    cost = of["fixed"] + of["per"] * (n + control)
    forgone = abs(of["mean"]) * (control if of["mean"] > 0 else n)
    return {
        "n_arm": n,
        "n_control": control,
        "n_total": n + control,
        "months": until,
        "evsi": evsi,
        "gain": gain,
        "cost": cost,
        "forgone": forgone,
        "estimate": gain - cost - forgone,
    }


def _best(of: Mapping[str, float], largest: int) -> int:
    """The size with the largest net benefit: a coarse look first, then every size around its best."""
    low, high = 2, largest
    while True:
        tried = np.unique(np.linspace(low, high, 60).round().astype(int))
        at = int(tried[int(np.argmax([_sampled(int(v), of)["estimate"] for v in tried]))])
        step = (high - low) // 59 + 1
        if step == 1:
            return at
        low, high = max(2, at - step), min(largest, at + step)


def _refuse_sampling(**of: Any) -> None:
    faults = []
    try:
        refuse_normal(of["mean"], of["std_error"])
    except FrameError as error:
        faults += error.faults
    above = ("sd", "accounts_a_month", "months", "control_ratio")
    for name in (*above, *(k for k in ("sd_arm", "pace") if of[k] is not None)):
        if not is_above(of[name]):
            faults.append(f"{name} is {of[name]!r}. Allowed: a finite number above 0.")
    for name in ("follow_up", "cost_per_account", "fixed_cost"):
        if not is_above(of[name], equal=True):
            faults.append(f"{name} is {of[name]!r}. Allowed: a finite number ≥ 0.")
    sizes = [] if of["n"] is None else np.atleast_1d(of["n"]).tolist()
    whole = all(is_above(v, 2, equal=True) and v == int(v) for v in sizes)
    if of["n"] is not None and not (sizes and whole):
        faults.append(f"n is {of['n']!r}. Allowed: whole numbers ≥ 2.")
    if not faults and of["n"] is None and of["follow_up"] >= of["months"]:
        faults.append(
            f"follow_up of {of['follow_up']:g} months is no shorter than the {of['months']:g} months for which the "
            "decision stands, so no answer would come in time."
        )
    if faults:
        raise FrameError(faults)
