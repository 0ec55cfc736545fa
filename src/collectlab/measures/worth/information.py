"""What knowing more is worth: everything, or a group of parameters."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from collectlab.core.columns import as_list
from collectlab.core.errors import FrameError, first_few, nearest
from collectlab.core.results import Result
from collectlab.measures.worth.checks import check_seed, is_above, plain_number, with_numbers
from collectlab.measures.worth.probabilistic import in_order, options_frame

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
    refuse_normal(mean, std_error)
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
    parameters: Any,
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
    parameters : frame
        Draws of the parameters, a column each, behind ``net``, row by row.
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
    seed = check_seed(seed)
    drawn = in_order(parameters)
    wanted = groups or {c: [c] for c in drawn.columns if drawn[c].nunique() > 1}
    named = {str(what): as_list(columns) for what, columns in wanted.items()}
    drawn = with_numbers(drawn, [c for columns in named.values() for c in columns], "")
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


def refuse_normal(mean: float, std_error: float) -> None:
    """A mean and a standard error that can be used."""
    faults = []
    if not math.isfinite(plain_number(mean)):
        faults.append(f"mean is {mean!r}. Allowed: a finite number.")
    if not is_above(std_error):
        faults.append(f"std_error is {std_error!r}. Allowed: a finite number above 0.")
    if faults:
        raise FrameError(faults)


def _refuse_decisions(decisions: float) -> None:
    if not is_above(decisions):
        raise FrameError(f"decisions is {decisions!r}. Allowed: a number above 0.")
