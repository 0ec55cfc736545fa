"""Plans side by side: what each is worth a month, what it uses, and the differences with their intervals."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from collectlab.core.errors import FrameError, first_few

#: An action can be used throughout a stage only if it was tried in this share of its account-months; in the rest of
#: the states everything stays as it is.
COVERED = 0.75

if TYPE_CHECKING:
    from collectlab.policy.plan.model import DecisionModel


def state_parts(states: Sequence[str]) -> pd.DataFrame:
    """The states taken apart: the days past due a state covers, and its other words.

    Parameters
    ----------
    states : sequence of str
        Such as ``"15–29 | large | score 600–659 | reached"``.

    Returns
    -------
    pandas.DataFrame
        state, band (the first word), dpd_from, dpd_to (infinite where open above), words (a tuple), one row a state.

    Raises
    ------
    FrameError
        States whose first word is no range of days past due.

    Examples
    --------
    >>> state_parts(["15–29 | large", "180+ | small"])[["dpd_from", "dpd_to", "words"]].values.tolist()
    [[15, 29.0, ('large',)], [180, inf, ('small',)]]
    """
    rows, wrong = [], []
    for state in states:
        band, *words = [word.strip() for word in str(state).split("|")]
        found = re.fullmatch(r"(\d+)(?:\s*[–-]\s*(\d+)|\s*\+)?|below (\d+)", band)
        if found is None:
            wrong.append(state)
            continue
        low = int(found[1]) if found[1] else 1
        high = np.inf if band.endswith("+") else float(found[3]) - 1 if found[3] else float(found[2] or low)
        rows.append((state, band, low, high, tuple(words)))
    if wrong:
        raise FrameError(
            f"states: {len(wrong):,} do not begin with their days past due ({first_few(wrong)}). "
            "Allowed: such as '15–29 | large' or '180+'."
        )
    return pd.DataFrame(rows, columns=["state", "band", "dpd_from", "dpd_to", "words"])


def account_months(move: np.ndarray, share: np.ndarray, inflow: np.ndarray, discount: float) -> np.ndarray:
    """Discounted account-months a month in each state under a plan: the solution of x = inflow + discount · Pᵀx.

    Parameters
    ----------
    move : array (…, states, actions, states)
    share : array (states, actions)
    inflow : array (…, states)
    discount : float

    Returns
    -------
    numpy.ndarray, (…, states)

    Examples
    --------
    >>> account_months(np.array([[[0.5]]]), np.array([[1.0]]), np.array([10.0]), 1.0)
    array([20.])
    """
    moved = np.einsum("...sat,sa->...st", move, share)
    system = np.eye(moved.shape[-1]) - discount * np.swapaxes(moved, -1, -2)
    return np.linalg.solve(system, np.asarray(inflow, dtype=float)[..., None])[..., 0]


def per_month(model: DecisionModel, share: np.ndarray) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """What a plan brings, costs and uses a month, and the same in each of the model's draws.

    Parameters
    ----------
    model : DecisionModel
    share : array (states, actions)

    Returns
    -------
    (dict of str to float, dict of str to array (draws,))
        net, paid, cost and every use; the second is empty where the model has no draws.

    Examples
    --------
    >>> from collectlab.policy.plan.model import DecisionModel
    >>> model = DecisionModel.of(move=[[[0.5]]], leave=[[[0.5]]], reward=[[10.0]], inflow=[10.0])
    >>> per_month(model, np.array([[1.0]]))[0]["net"]
    200.0
    """
    months = account_months(model.move, share, model.inflow, model.discount)[:, None] * share
    told = {"net": model.reward, "paid": model.paid, "cost": model.cost, **model.uses}
    point = {name: float((months * values).sum()) for name, values in told.items()}
    if model.draws is None:
        return point, {}
    drawn = account_months(model.draws.move, share, model.draws.inflow, model.discount)[:, :, None] * share
    many = {"net": model.draws.reward, **model.draws.counted}
    return point, {name: (drawn * many[name]).sum(axis=(1, 2)) for name in told if name in many}


def plan_values(
    model: DecisionModel,
    plans: Mapping[str, np.ndarray],
    pairs: Sequence[tuple[str, str]] = (),
    conf_level: float = 0.95,
) -> pd.DataFrame:
    """Net money a month under each plan, and the differences of the pairs, draw by draw.

    Parameters
    ----------
    model : DecisionModel
    plans : mapping of str to array (states, actions)
    pairs : sequence of (str, str)
        Names in ``plans``: the first less the second.
    conf_level : float

    Returns
    -------
    pandas.DataFrame
        plan, estimate, std_error (over the draws), conf_low, conf_high; the last three missing without draws.

    Examples
    --------
    >>> from collectlab.policy.plan.model import DecisionModel
    >>> model = DecisionModel.of(move=[[[0.5], [0.0]]], leave=[[[0.5], [1.0]]], reward=[[10.0, 15.0]], inflow=[10.0])
    >>> plans = {"now": np.array([[1.0, 0.0]]), "then": np.array([[0.0, 1.0]])}
    >>> plan_values(model, plans, [("then", "now")])["estimate"].tolist()
    [200.0, 150.0, -50.0]
    """
    found = {name: per_month(model, np.asarray(share, dtype=float)) for name, share in plans.items()}
    rows = [(name, point["net"], drawn.get("net")) for name, (point, drawn) in found.items()]
    for one, other in pairs:
        (a, drawn_a), (b, drawn_b) = found[one], found[other]
        drawn = drawn_a["net"] - drawn_b["net"] if drawn_a else None
        rows.append((f"{one} less {other}", a["net"] - b["net"], drawn))
    return with_interval(pd.DataFrame(rows, columns=["plan", "estimate", "draws"]), conf_level)


def with_interval(table: pd.DataFrame, conf_level: float = 0.95) -> pd.DataFrame:
    """``estimate`` ± z · std_error, the standard deviation of the ``draws`` (missing where there are none).

    Parameters
    ----------
    table : pandas.DataFrame
        estimate, draws (an array or None a row).
    conf_level : float

    Returns
    -------
    pandas.DataFrame

    Examples
    --------
    >>> with_interval(pd.DataFrame({"estimate": [1.0], "draws": [np.array([0.0, 2.0])]}))["std_error"].round(2).tolist()
    [1.41]
    """
    from scipy.stats import norm

    z = float(norm.ppf((1 + conf_level) / 2))
    error = np.array(
        [np.nan if d is None or len(d) < 2 else float(np.std(d, ddof=1)) for d in table["draws"]]
    )
    return table.drop(columns="draws").assign(
        std_error=error,
        conf_low=table["estimate"] - z * error,
        conf_high=table["estimate"] + z * error,
    )
