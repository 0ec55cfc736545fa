"""Plans side by side: what each is worth a month, what it uses, and the differences with their intervals."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from collectlab.core.errors import FrameError, first_few
from collectlab.policy.plan.model import DecisionModel
from collectlab.policy.plan.plan_worth import spread, value

#: An action can be used throughout a stage only if it was tried in this share of its account-months; in the rest of
#: the states everything stays as it is.
COVERED = 0.75


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
    found = {name: value(model, share) for name, share in plans.items()}
    rows = [(name, one.net, one.draws.get("net")) for name, one in found.items()]
    for name, other in pairs:
        a, b = found[name], found[other]
        drawn = a.draws["net"] - b.draws["net"] if a.draws else None
        rows.append((f"{name} less {other}", a.net - b.net, drawn))
    return pd.DataFrame(
        [(name, estimate, *spread(estimate, drawn, conf_level)) for name, estimate, drawn in rows],
        columns=["plan", "estimate", "std_error", "conf_low", "conf_high"],
    )
