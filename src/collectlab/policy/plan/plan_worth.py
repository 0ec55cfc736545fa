"""What a plan brings and takes a month: the expected flow of accounts through the states, and its interval."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Literal

import numpy as np
import pandas as pd

from collectlab.core.errors import FrameError, first_few, nearest
from collectlab.core.jackknife import check_level
from collectlab.core.results import Result
from collectlab.policy.plan.model import DecisionModel

#: Most months that are counted one by one.
_LONGEST = 1_200


@dataclass(frozen=True, kw_only=True)
class Value(Result):
    """A row per measure: net (the model's reward), paid, cost and each use, with intervals.

    ``amounts`` are the same numbers by name, ``draws`` the resampled ones, ``accounts`` the expected number of
    accounts in each state and under each action (S, A), ``entering`` the accounts that begin a month.
    """

    amounts: Mapping[str, float] = field(default_factory=dict)
    draws: Mapping[str, np.ndarray] = field(default_factory=dict)
    accounts: np.ndarray = field(default_factory=lambda: np.zeros((0, 0)))
    entering: float = 0.0

    @property
    def net(self) -> float:
        """Money a month, the model's reward: paid − cost − Σ price × use; where ``unpaid`` is priced, less spent and
        lost (0 at best), since all that is not lost comes in."""
        return self.amounts["net"]


def as_plan(model: DecisionModel, plan: Any) -> np.ndarray:
    """A plan as checked shares (S, A): shares themselves, or the name of one action by state."""
    check_model(model)
    s, a = len(model.states), len(model.actions)
    given = np.asarray(plan)
    if given.ndim == 1 and given.dtype.kind in "OUS":
        place = {name: k for k, name in enumerate(model.actions)}
        if unknown := sorted({str(x) for x in given if str(x) not in place}):
            raise FrameError(f"the plan names {', '.join(unknown)}. Allowed: {', '.join(model.actions)}.")
        share = np.zeros((len(given), a))
        share[np.arange(len(given)), [place[str(x)] for x in given]] = 1
        given = share
    if given.shape != (s, a):
        raise FrameError(
            f"the plan has shape {given.shape}. Needed: {(s, a)}, a row a state; or the name of an action for each state."
        )
    try:
        share = given.astype(float)
    except (TypeError, ValueError) as error:
        raise FrameError(
            "the plan's shares are no numbers. Allowed: shares ≥ 0, or names of actions."
        ) from error
    bad = ~np.isfinite(share).all(axis=1) | (share < -1e-9).any(axis=1)
    bad |= ~(np.abs(share.sum(axis=1) - 1) <= 1e-6)
    if bad.any():
        raise FrameError(
            f"the plan's shares are missing, below 0, or do not sum to 1 in {int(bad.sum()):,} of {s:,} states "
            f"({first_few([model.states[k] for k in np.flatnonzero(bad)])}). Allowed: shares ≥ 0 that sum to 1."
        )
    return share


def check_model(model: Any) -> None:
    """Refuse what is no model, and say how one is made."""
    if not isinstance(model, DecisionModel):
        raise FrameError(
            f"model is a {type(model).__name__}. Needed: decision_model(rows), or DecisionModel.of(move=…)."
        )


def check_capacity(model: DecisionModel, capacity: Any) -> dict[str, float]:
    """Most a month of each use, as numbers; every unknown use and every limit that is none is told at once."""
    check_model(model)
    if not isinstance(capacity, Mapping):
        raise FrameError(f"capacity is {capacity!r}. Allowed: use → most a month; empty: no limit.")
    faults, known = [], ", ".join(model.uses) or "none: the model counts no use"
    for name, limit in capacity.items():
        if name not in model.uses:
            near = nearest(str(name), model.uses)
            hint = f" Did you mean {' or '.join(near)}?" if near else ""
            faults.append(f"capacity: the model has no use {name!r}.{hint} Allowed: {known}.")
        elif (
            isinstance(limit, bool)
            or not isinstance(limit, (int, float, np.number, Decimal))
            or not limit >= 0
        ):
            faults.append(f"capacity: {name} is {limit!r}. Allowed: a number ≥ 0.")
    if faults:
        raise FrameError(faults)
    return {k: float(v) for k, v in capacity.items()}


def occupancy(
    move: np.ndarray, plan: np.ndarray, begin: np.ndarray, discount: float, months: int | None = None
) -> np.ndarray:
    r"""Expected (discounted) accounts by state: :math:`y = b + \gamma P^\top y`, or its first ``months`` terms.

    Parameters
    ----------
    move : float (…, S, A, S)
    plan : float (S, A) or (…, S, A)
    begin : float (…, S)
    discount : float
    months : int, optional

    Returns
    -------
    numpy.ndarray (…, S)

    Examples
    --------
    >>> occupancy(np.array([[[0.5]]]), np.array([[1.0]]), np.array([8.0]), 1.0).tolist()
    [16.0]
    >>> occupancy(np.array([[[0.5]]]), np.array([[1.0]]), np.array([8.0]), 1.0, months=2).tolist()
    [12.0]
    """
    chain = np.matmul(plan[..., :, None, :], move)[..., 0, :]
    if months is None:
        still = np.eye(chain.shape[-1]) - discount * np.swapaxes(chain, -1, -2)
        return np.linalg.solve(still, begin[..., None])[..., 0]
    now, total = begin, np.zeros_like(begin)
    for _ in range(months):
        total = total + now
        now = discount * np.matmul(now[..., None, :], chain)[..., 0, :]
    return total


def value(
    model: DecisionModel,
    plan: Any,
    *,
    months: int | None = None,
    start: Literal["inflow", "stock"] = "inflow",
    per: Literal["month", "account"] = "month",
    conf_level: float = 0.95,
) -> Value:
    """What a plan is expected to bring and take.

    Parameters
    ----------
    model : DecisionModel
    plan : float (S, A), or S names of actions
        What is done in each state; ``model.in_force`` is the strategy in force.
    months : int, optional
        Count only this many months of each account; by default until all have left.
    start : {"inflow", "stock"}
        "inflow": a month once the plan has settled (= all that comes of one month's new accounts); "stock":
        all that comes of the accounts overdue now.
    per : {"month", "account"}
        "account": divided by the accounts that begin.
    conf_level : float

    Returns
    -------
    Value
        Rows ``measure``: net, paid, cost and each use; ``estimate, std_error, conf_low, conf_high``. The interval is
        the estimate ± the normal quantile × the bootstrap's standard deviation; missing without draws.

    Raises
    ------
    FrameError
        The plan does not fit the model, or months is no whole number ≥ 1.

    Examples
    --------
    >>> model = DecisionModel.of(move=[[[0.5], [0.2]]], leave=[[[0.5], [0.8]]], reward=[[10.0, 20.0]],
    ...                          uses={"calls": [[1.0, 3.0]]}, inflow=[100.0])
    >>> value(model, [[1, 0]]).net, value(model, ["a2"]).amounts["calls"]
    (2000.0, 375.0)
    """
    check_level(conf_level)
    share = as_plan(model, plan)
    if months is not None:
        whole = isinstance(months, (int, float, np.number)) and not isinstance(months, bool)
        if not whole or not 1 <= months <= _LONGEST or int(months) != months:
            raise FrameError(f"months is {months!r}. Allowed: a whole number from 1 to {_LONGEST:,}.")
        months = int(months)
    if start not in ("inflow", "stock") or per not in ("month", "account"):
        raise FrameError(
            f'start is {start!r}, per {per!r}. Allowed: start "inflow" or "stock", per "month" or "account".'
        )
    begin = getattr(model, start)
    y = occupancy(model.move, share, begin, model.discount, months)
    x = y[:, None] * share
    by = 1.0 if per == "month" else 1 / max(begin.sum(), 1e-12)
    counted = {"net": model.reward, "paid": model.paid, "cost": model.cost, **model.uses}
    amounts = {k: float((x * v).sum()) * by for k, v in counted.items()}
    drawn: dict[str, np.ndarray] = {}
    if model.draws is not None:
        d = model.draws
        first = d.inflow if start == "inflow" else np.broadcast_to(begin, d.inflow.shape)
        yd = occupancy(d.move, share, first, model.discount, months)
        each = np.ones(len(yd)) if per == "month" else 1 / np.maximum(first.sum(axis=1), 1e-12)
        of = {"net": d.reward, **d.counted}
        drawn = {k: np.einsum("bs,sa,bsa->b", yd, share, of[k]) * each for k in amounts}
    return Value(
        table=_table(amounts, drawn, conf_level),
        estimand="Expected sum over one month's new accounts until they leave"
        if months is None
        else f"Expected sum over {months} months of each new account",
        unit="number",
        title="What the plan brings and takes",
        conf_level=conf_level,
        amounts=amounts,
        draws=drawn,
        accounts=x,
        entering=float(begin.sum()),
    )


def _table(amounts: Mapping[str, float], drawn: Mapping[str, np.ndarray], conf_level: float) -> pd.DataFrame:
    rows = []
    for name, estimate in amounts.items():
        rows.append((name, estimate, *spread(estimate, drawn.get(name), conf_level)))
    return pd.DataFrame(rows, columns=["measure", "estimate", "std_error", "conf_low", "conf_high"])


def spread(estimate: float, drawn: np.ndarray | None, conf_level: float) -> tuple[float, float, float]:
    """Standard error and limits of an estimate from its draws; missing without them."""
    if drawn is None or len(drawn) < 2:
        return float("nan"), float("nan"), float("nan")
    from scipy.special import ndtri

    error = float(np.std(drawn, ddof=1))
    reach = float(ndtri((1 + conf_level) / 2)) * error
    return error, estimate - reach, estimate + reach
