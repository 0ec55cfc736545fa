"""The plan of an experiment, written before it starts; how far it has come: :mod:`collectlab.effects.plan_status`."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any

from pydantic import Field, field_validator, model_validator

from collectlab.core.errors import ParamsError, first_few
from collectlab.core.written import Strict, as_date, validate


class ExperimentPlan(Strict):
    """What an experiment is to find out, fixed before its first account: as a section of a parameter file has it.

    Attributes
    ----------
    name : str
        What the experiment is called.
    arms : tuple of str
        The arms that are compared with the control, without it.
    control : str
        The arm they are compared with.
    outcome : str
        Column that decides, such as ``cured_within_60``.
    horizon_days : int
        Days after an account's assignment on which its outcome is known.
    minimum_days : int
        Days after ``started_on`` before which there is no verdict; at least ``horizon_days``.
    smallest_effect : float
        The smallest difference worth finding, with minus without, in the outcome's own unit (0.03: three points).
    accounts_per_arm : int or mapping
        Accounts planned: one number for every arm, control included, or one for each by name.
    started_on : date
        The day of the first assignment.
    source : str
        The document the plan was taken from.
    alpha, power : float
        With which ``smallest_effect`` was to be found.
    allocation : mapping, optional
        Expected share of each arm, control included; none: as in ``accounts_per_arm``.
    peeking : bool
        True: it may be stopped by what a look shows, so only the confidence sequence decides.
    """

    name: str = Field(min_length=1, description="a short name")
    arms: tuple[str, ...] = Field(min_length=1, description="a list of arms, without the control")
    control: str = Field(min_length=1, description="the arm that the others are compared with")
    outcome: str = Field(min_length=1, description="a column, such as cured_within_60")
    horizon_days: int = Field(ge=0, strict=True, description="whole days ≥ 0")
    minimum_days: int = Field(ge=0, strict=True, description="whole days ≥ horizon_days")
    smallest_effect: float = Field(
        strict=True, description="a number other than 0, such as 0.03 for three points"
    )
    accounts_per_arm: int | dict[str, int] = Field(
        description="a whole number ≥ 2, or one for each arm by name"
    )
    started_on: dt.date = Field(description="a date, YYYY-MM-DD")
    source: str = Field(min_length=1, description="the document the plan was taken from")
    alpha: float = Field(0.05, gt=0, lt=1, strict=True, description="strictly between 0 and 1, such as 0.05")
    power: float = Field(
        0.80, gt=0, lt=1, strict=True, description="strictly between alpha and 1, such as 0.80"
    )
    allocation: dict[str, float] | None = Field(None, description="{arm: share}, which add up to 1")
    peeking: bool = Field(False, strict=True, description="true or false")

    @field_validator("started_on", mode="before")
    @classmethod
    def _a_date(cls, written: Any) -> dt.date:
        try:
            return as_date(written)
        except ParamsError as error:
            raise ValueError(f"found {error}") from None

    @model_validator(mode="after")
    def _fits_together(self) -> ExperimentPlan:
        every = {*self.arms, self.control}
        faults = []
        if self.control in self.arms:
            faults.append(f"control {self.control!r} stands among arms. Allowed: arms without the control.")
        if twice := sorted({a for a in self.arms if self.arms.count(a) > 1}):
            faults.append(f"arms: {first_few(twice)} stands twice. Allowed: once.")
        if self.minimum_days < self.horizon_days:
            faults.append(
                f"minimum_days is {self.minimum_days}, horizon_days {self.horizon_days}. Allowed: minimum_days ≥ "
                "horizon_days, because no outcome is known before."
            )
        if not self.smallest_effect:
            faults.append("smallest_effect is 0. Allowed: any other number.")
        if not self.alpha < self.power:
            faults.append(f"power is {self.power:g}, alpha {self.alpha:g}. Allowed: power > alpha.")
        for key in ("accounts_per_arm", "allocation"):
            given = getattr(self, key)
            if isinstance(given, dict) and set(given) != every:
                faults.append(
                    f"{key} names {first_few(sorted(given)) or 'no arm'}. Needed: {first_few(sorted(every), 20)}."
                )
        sizes = self.accounts_per_arm
        if few := [n for n in (sizes.values() if isinstance(sizes, dict) else [sizes]) if n < 2]:
            faults.append(f"accounts_per_arm has {first_few(few)}. Allowed: whole numbers ≥ 2.")
        if self.allocation is not None:
            shares = list(self.allocation.values())
            if not all(0 < s < 1 for s in shares) or abs(sum(shares) - 1) > 1e-6:
                faults.append(f"allocation adds up to {sum(shares):g}. Allowed: shares > 0 that add up to 1.")
        if faults:
            raise ValueError(" ".join(faults))
        return self

    @property
    def planned(self) -> dict[str, int]:
        """Accounts planned, by arm; the control last."""
        sizes = self.accounts_per_arm
        return {a: sizes[a] if isinstance(sizes, dict) else sizes for a in (*self.arms, self.control)}

    @property
    def shares(self) -> dict[str, float]:
        """Expected share of the accounts, by arm; the control last."""
        given = self.allocation or {a: n / sum(self.planned.values()) for a, n in self.planned.items()}
        return {a: given[a] for a in self.planned}

    @property
    def earliest(self) -> dt.date:
        """The first day on which there may be a verdict."""
        return self.started_on + dt.timedelta(days=self.minimum_days)


def read_plan(written: Mapping[str, Any], where: str = "plan") -> ExperimentPlan:
    """A section of a parameter file as a plan.

    Parameters
    ----------
    written : mapping
        Keys and values as YAML gives them; which ones: :class:`ExperimentPlan`.
    where : str
        What faults call the section, such as ``report.yml: experiments.calls``.

    Returns
    -------
    ExperimentPlan

    Raises
    ------
    ParamsError
        Unknown or missing keys, values out of range: all at once; then what does not fit together.

    Examples
    --------
    >>> plan = read_plan({
    ...     "name": "Early calls", "arms": ["call"], "control": "none", "outcome": "cured_within_60",
    ...     "horizon_days": 60, "minimum_days": 90, "smallest_effect": 0.03, "accounts_per_arm": 2000,
    ...     "started_on": "2026-03-01", "source": "Minutes 2026-02-12"})
    >>> plan.earliest, plan.shares
    (datetime.date(2026, 5, 30), {'call': 0.5, 'none': 0.5})
    """
    faults: list[str] = []
    if not isinstance(written, Mapping):
        raise ParamsError(f"{where}: found {type(written).__name__}. Needed: keys and values.")
    plan = validate(ExperimentPlan, dict(written), where, faults)
    if plan is None:
        raise ParamsError(faults)
    return plan
