"""What limits a plan and what its units are worth, read from the parameter files."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from collectlab.core.params import load_params
from collectlab.policy.plan.model_class import DecisionModel
from collectlab.policy.plan.plan_worth import value

#: Keys of capacity.yml that are limits a month.
LIMITED = ("agent_hours", "visits", "legal", "budget")
#: Weeks in a month.
WEEKS = 365.25 / 12 / 7


@dataclass(frozen=True)
class Limits:
    """What a plan is made with.

    Attributes
    ----------
    capacity : mapping
        Use → most a month.
    minutes : mapping
        ``minutes_per_call`` and so on, for ``decision_model(capacity_params=…)``.
    prices : mapping
        Use → money for one, for ``decision_model(prices=…)``.
    unit_costs : mapping
        Channel → cost of one action, for ``decision_rows(unit_costs=…)``.
    annual_rate : float
    contacts_week : float
        Most contacts an account may have a week under an action.
    hour_cost : float
        What one more agent-hour costs.
    """

    capacity: Mapping[str, float]
    minutes: Mapping[str, float] = field(default_factory=dict)
    prices: Mapping[str, float] = field(default_factory=dict)
    unit_costs: Mapping[str, float] = field(default_factory=dict)
    annual_rate: float = 0.0
    contacts_week: float = float("inf")
    hour_cost: float = float("nan")

    def forbidden(self, model: DecisionModel) -> np.ndarray:
        """State × action with more contacts than allowed; where all have, the one with fewest may be done.

        Parameters
        ----------
        model : DecisionModel

        Returns
        -------
        numpy.ndarray of bool (S, A)

        Examples
        --------
        >>> model = DecisionModel.of(move=[[[0.5], [0.2]]], leave=[[[0.5], [0.8]]], reward=[[10.0, 20.0]],
        ...                          uses={"contacts": [[4.0, 20.0]]}, inflow=[100.0])
        >>> Limits({}, contacts_week=3).forbidden(model).tolist()
        [[False, True]]
        """
        if "contacts" not in model.uses:
            return np.zeros(model.reward.shape, bool)
        many = model.uses["contacts"] / WEEKS
        over = many > self.contacts_week
        return over & ~(over.all(axis=1, keepdims=True) & (many == many.min(axis=1, keepdims=True)))

    def at_least_today(self, model: DecisionModel) -> tuple[dict[str, float], list[str]]:
        """The capacity, raised to what the strategy in force takes where that is more, and which were raised.

        Parameters
        ----------
        model : DecisionModel

        Returns
        -------
        dict, list of str

        Examples
        --------
        >>> model = DecisionModel.of(move=[[[0.5]]], leave=[[[0.5]]], reward=[[10.0]],
        ...                          uses={"visits": [[4.0]]}, inflow=[100.0])
        >>> Limits({"visits": 700.0}).at_least_today(model)
        ({'visits': 800.0}, ['visits'])
        """
        today = value(model, model.in_force).amounts
        raised = [k for k, c in self.capacity.items() if today.get(k, 0.0) > c]
        return {k: max(c, today.get(k, 0.0)) for k, c in self.capacity.items()}, raised


def load_limits(params: str | Path, date: dt.date | str) -> Limits:
    """What capacity.yml and costs.yml say on a date.

    Parameters
    ----------
    params : path
        The folder of both files.
    date : date

    Returns
    -------
    Limits

    Raises
    ------
    ParamsError
        A file is missing or wrong.

    Examples
    --------
    >>> sorted(load_limits("params", "2026-10-31").capacity)
    ['agent_hours', 'budget', 'legal', 'visits']
    """
    folder = Path(params)
    held = load_params(folder / "capacity.yml").on(date).numbers()
    costs = load_params(folder / "costs.yml").on(date).numbers()
    prices = {
        "complaints": costs.get("complaint", 0.0),
        "owed": costs.get("funding_rate", 0.0) / 12,
        "lost": held.get("charge_off_loss", 0.0),
        "unpaid": 1.0,
    }
    channels = ("sms", "email", "call", "letter", "visit", "legal", "agency")
    return Limits(
        capacity={k: held[k] for k in LIMITED if k in held},
        minutes={k: v for k, v in held.items() if k.startswith("minutes_per_")},
        prices=prices,
        unit_costs={k: costs[k] for k in channels if k in costs},
        annual_rate=costs.get("discount_rate", 0.0),
        contacts_week=held.get("contacts_week", float("inf")),
        hour_cost=costs.get("agent_hour", float("nan")),
    )
