"""What knowing more is worth: everything, a group of parameters, or the result of one more experiment."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from collectlab.core.columns import as_list
from collectlab.core.errors import FrameError, first_few, nearest
from collectlab.core.plots import PALETTE, new_axes, titled, unit_axis
from collectlab.core.results import Result
from collectlab.measures.worth.probabilistic import options_frame

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_FORMATS = {"total": "money", "share": "share", "std_error": "hidden"}
#: Coefficients drawn for the error of a partial value.
_REDRAWS = 200


def unit_normal_loss(z: float) -> float:
    """Expected amount by which a standard normal variable exceeds z: L(z) = φ(z) − z · (1 − Φ(z)).

    Parameters
    ----------
    z : float

    Returns
    -------
    float

    References
    ----------
    Raiffa & Schlaifer (1961), Applied Statistical Decision Theory, §5.5 and its table.

    Examples
    --------
    >>> [round(unit_normal_loss(z), 4) for z in (0.0, 0.5, 1.0, 2.0)]
    [0.3989, 0.1978, 0.0833, 0.0085]
    """
    from scipy.stats import norm

    return float(norm.pdf(z) - z * norm.sf(z))


def evpi_normal(mean: float, std_error: float) -> float:
    """Expected value of perfect information on a choice of two, where their difference is normal.

    EVPI = s · L(|m| / s), with m the expected difference in net value, s its standard error and L the unit normal
    loss (:func:`unit_normal_loss`).

    Parameters
    ----------
    mean, std_error : float
        m, and s > 0, per decision.

    Returns
    -------
    float
        Per decision, in the unit of the mean.

    Raises
    ------
    FrameError
        A mean that is not finite, a standard error that is not above 0.

    Examples
    --------
    >>> round(evpi_normal(6 * 2000, 6 * 2885))
    2502
    """
    _refuse_normal(mean, std_error)
    return std_error * unit_normal_loss(abs(mean) / std_error)


def evpi(net: Any, *, decisions: float = 1.0) -> Result:
    """Expected value of perfect information, from draws of each option's net value.

    EVPI = E[max_d N_d] − max_d E[N_d]: what is lost on average by having to choose once, for all draws.

    Parameters
    ----------
    net : frame, mapping or array
        Draws × options, net value (in money) of each option in each draw.
    decisions : float
        How often the choice is made: the accounts it applies to in a month, say.

    Returns
    -------
    Result
        One row: what, ``estimate`` (per decision), its Monte-Carlo ``std_error, conf_low, conf_high``, and ``total``
        for all decisions.

    Raises
    ------
    FrameError
        As :func:`~collectlab.measures.worth.acceptability.acceptability`.

    References
    ----------
    Claxton (1999), Journal of Health Economics 18, 341–364.

    Examples
    --------
    >>> evpi({"keep": [0, 0, 0, 0], "switch": [30, -10, 20, -20]}, decisions=100).table[["estimate", "total"]]
       estimate  total
    0       7.5  750.0
    """
    frame = options_frame(net, "net")
    _refuse_decisions(decisions)
    row = {"what": "everything", **_loss(frame.to_numpy(), decisions)}
    return Result(
        table=pd.DataFrame([row]),
        estimand="Expected gain per decision from knowing everything before deciding",
        unit="money2",
        title="Value of perfect information",
        formats=_FORMATS,
    )


def evppi(
    net: Any,
    parameters: pd.DataFrame,
    groups: Mapping[str, str | Sequence[str]] | None = None,
    *,
    decisions: float = 1.0,
    seed: int = 1,
) -> Result:
    """Expected value of partial perfect information: of knowing some of the parameters, the rest as unsure as now.

    EVPPI(φ) = E_φ[max_d E[N_d | φ]] − max_d E[N_d]. The inner expectation is the regression of each option's net value
    on φ over the draws (Strong, Oakley & Brennan 2014), here by least squares on all products of Hermite polynomials
    of the parameters up to degree 3 (2 from four parameters on, 1 from eleven). The standard error allows for that of
    the coefficients and for the number of draws. A model with sharp bends needs a finer regression than this one.

    Parameters
    ----------
    net : frame, mapping or array
        As :func:`evpi`.
    parameters : pandas.DataFrame
        Draws of the parameters behind ``net``, row by row.
    groups : mapping, optional
        What to call a group → its columns; none given: each parameter that varies on its own.
    decisions : float
        As :func:`evpi`.
    seed : int
        Of the draws behind the standard error.

    Returns
    -------
    Result
        One row per group and one for everything, the most valuable first: what, ``estimate, std_error, conf_low,
        conf_high``, ``share`` (of the value of knowing everything), ``total``.

    Raises
    ------
    FrameError
        Draws of unequal length or missing, an unknown parameter, too few draws for the regression.

    References
    ----------
    Strong, Oakley & Brennan (2014), Medical Decision Making 34(3), 311–326.

    Examples
    --------
    >>> from collectlab.measures.worth.probabilistic import draw
    >>> drawn = draw({"effect": ("normal", 1.0, 1.0), "cost": ("normal", 0.0, 2.0)}, draws=20_000)
    >>> net = {"keep": 0 * drawn["effect"], "switch": drawn["effect"] - drawn["cost"]}
    >>> evppi(net, drawn).table[["what", "estimate", "share"]].round(1).values.tolist()
    [['everything', 0.5, 1.0], ['cost', 0.4, 0.8], ['effect', 0.1, 0.2]]
    """
    frame = options_frame(net, "net")
    _refuse_decisions(decisions)
    if not isinstance(parameters, pd.DataFrame):
        raise FrameError(
            f"parameters: a {type(parameters).__name__}. Allowed: a pandas frame, a column each."
        )
    drawn = parameters.reset_index(drop=True)
    wanted = groups or {c: [c] for c in drawn.columns if drawn[c].nunique() > 1}
    named = {str(what): as_list(columns) for what, columns in wanted.items()}
    faults = []
    if len(drawn) != len(frame):
        faults.append(
            f"draws of unequal length: {len(frame):,} of the net value, {len(drawn):,} of the parameters."
        )
    for what, columns in named.items():
        for column in columns:
            if column not in drawn.columns:
                known = first_few(nearest(column, drawn.columns) or list(drawn.columns))
                faults.append(f"{what}: no parameter {column!r}. Nearest: {known}.")
            elif bad := int((~np.isfinite(drawn[column].astype(float))).sum()):
                faults.append(f"{column}: {bad:,} draws are missing or not finite. Allowed: numbers.")
    if not named:
        faults.append("groups: no parameter varies, so there is nothing to know.")
    if faults:
        raise FrameError(list(dict.fromkeys(faults)))
    values = frame.to_numpy()
    all_of_it = _loss(values, decisions)
    rows = [{"what": "everything", **all_of_it, "share": 1.0 if all_of_it["estimate"] > 0 else math.nan}]
    for what, columns in named.items():
        found = _partial(values, drawn[columns].to_numpy(float), what, decisions, seed)
        share = found["estimate"] / all_of_it["estimate"] if all_of_it["estimate"] > 0 else math.nan
        rows.append({"what": what, **found, "share": share})
    table = pd.DataFrame(rows)
    table = pd.concat(
        [table.iloc[:1], table.iloc[1:].sort_values(["estimate", "what"], ascending=[False, True])]
    )
    return Result(
        table=table[["what", "estimate", "std_error", "conf_low", "conf_high", "share", "total"]],
        estimand="Expected gain per decision from knowing these parameters before deciding",
        unit="money2",
        title="Value of knowing more",
        formats=_FORMATS,
    )


def _loss(net: np.ndarray, decisions: float, extra: float = 0.0) -> dict[str, float]:
    """Mean of the best less the best mean, with its Monte-Carlo error."""
    chosen = net[:, int(net.mean(axis=0).argmax())]
    lost = net.max(axis=1) - chosen
    value = float(lost.mean())
    error = float(np.hypot(lost.std(ddof=1) / math.sqrt(len(lost)), extra))
    return {
        "estimate": value,
        "std_error": error,
        "conf_low": max(value - 1.96 * error, 0.0),
        "conf_high": value + 1.96 * error,
        "total": value * decisions,
    }


def _partial(
    net: np.ndarray, parameters: np.ndarray, what: str, decisions: float, seed: int
) -> dict[str, float]:
    varies = parameters.std(axis=0) > 0
    standard = parameters[:, varies]
    standard = (standard - standard.mean(axis=0)) / standard.std(axis=0)
    basis = _hermite(standard)
    if len(basis) < 10 * basis.shape[1]:
        raise FrameError(
            f"{what}: {len(basis):,} draws for a regression of {basis.shape[1]} terms. Needed: ten draws a term."
        )
    # Against the option that is best on average: only differences between options matter, and they are smoother.
    against = net - net[:, [int(net.mean(axis=0).argmax())]]
    factor, upper = np.linalg.qr(basis)
    if np.abs(np.diag(upper)).min() < 1e-8 * np.abs(np.diag(upper)).max():
        factor = np.linalg.svd(basis, full_matrices=False)[0][:, : int(np.linalg.matrix_rank(basis))]
    scores = factor.T @ against
    fitted = factor @ scores
    residual = against - fitted
    spread = residual.T @ residual / max(len(basis) - factor.shape[1], 1)
    root = np.linalg.cholesky(spread + 1e-12 * max(np.trace(spread), 1e-12) * np.eye(len(spread)))
    random = np.random.default_rng(seed)
    redrawn = []
    for _ in range(_REDRAWS):
        moved = factor @ (scores + random.standard_normal(scores.shape) @ root.T)
        redrawn.append(moved.max(axis=1).mean() - moved.mean(axis=0).max())
    return _loss(fitted, decisions, extra=float(np.std(redrawn)))


def _hermite(standard: np.ndarray) -> np.ndarray:
    """All products of Hermite polynomials of the columns up to the degree that their number allows."""
    width = standard.shape[1]
    degree = 3 if width <= 3 else 2 if width <= 10 else 1
    single = [np.ones_like(standard), standard, standard**2 - 1, standard**3 - 3 * standard]
    terms = []
    for powers in itertools.product(range(degree + 1), repeat=width) if width <= 3 else _low(width, degree):
        if sum(powers) <= degree:
            terms.append(
                np.prod([single[p][:, j] for j, p in enumerate(powers)] or [np.ones(len(standard))], axis=0)
            )
    return np.column_stack(terms)


def _low(width: int, degree: int) -> list[tuple[int, ...]]:
    """Powers of at most ``degree`` in all, without going through every combination."""
    chosen = itertools.chain.from_iterable(
        itertools.combinations_with_replacement(range(width), d) for d in range(degree + 1)
    )
    return [tuple(pick.count(j) for j in range(width)) for pick in chosen]


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


def _refuse_normal(mean: float, std_error: float) -> None:
    faults = []
    if not math.isfinite(mean):
        faults.append(f"mean is {mean!r}. Allowed: a finite number.")
    if not (math.isfinite(std_error) and std_error > 0):
        faults.append(f"std_error is {std_error!r}. Allowed: a finite number above 0.")
    if faults:
        raise FrameError(faults)


def _refuse_decisions(decisions: float) -> None:
    if not (math.isfinite(decisions) and decisions > 0):
        raise FrameError(f"decisions is {decisions!r}. Allowed: a number above 0.")


def _refuse_sampling(**of: Any) -> None:
    faults = []
    try:
        _refuse_normal(of["mean"], of["std_error"])
    except FrameError as error:
        faults += error.faults
    above = ("sd", "accounts_a_month", "months", "control_ratio")
    for name in (*above, *(k for k in ("sd_arm", "pace") if of[k] is not None)):
        if not (math.isfinite(of[name]) and of[name] > 0):
            faults.append(f"{name} is {of[name]!r}. Allowed: a finite number above 0.")
    for name in ("follow_up", "cost_per_account", "fixed_cost"):
        if not (math.isfinite(of[name]) and of[name] >= 0):
            faults.append(f"{name} is {of[name]!r}. Allowed: a finite number ≥ 0.")
    sizes = [] if of["n"] is None else np.atleast_1d(of["n"]).tolist()
    if of["n"] is not None and (not sizes or any(v != v or v < 2 or v != int(v) for v in sizes)):
        faults.append(f"n is {of['n']!r}. Allowed: whole numbers ≥ 2.")
    if not faults and of["n"] is None and of["follow_up"] >= of["months"]:
        faults.append(
            f"follow_up of {of['follow_up']:g} months is no shorter than the {of['months']:g} months for which the "
            "decision stands, so no answer would come in time."
        )
    if faults:
        raise FrameError(faults)
