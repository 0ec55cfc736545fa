"""Fees that go by tiers: of the age of a debt and of its amount, each age and amount covered once."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Literal

import numpy as np
from pydantic import Field

from collectlab.core.params import Bilingual, Dated
from collectlab.core.written import Strict


class Tier(Strict):
    """One tier of a schedule: for debts of this age and amount, a fixed sum and a share."""

    from_days: int = Field(0, ge=0, description="days past due from which the tier holds, a whole number ≥ 0")
    until_days: int | None = Field(None, ge=1, description="days past due at which it ends (not included)")
    from_amount: float = Field(0.0, ge=0, description="money from which the tier holds, ≥ 0")
    until_amount: float | None = Field(None, gt=0, description="money at which it ends (not included)")
    fixed: float = Field(0.0, ge=0, description="money ≥ 0 for each case of the tier")
    rate: float = Field(0.0, ge=0, description="a share ≥ 0 of the money")

    @property
    def box(self) -> tuple[float, float, float, float]:
        """From and until, in days and in money; without an end: infinite."""
        return (
            self.from_days,
            np.inf if self.until_days is None else self.until_days,
            self.from_amount,
            np.inf if self.until_amount is None else self.until_amount,
        )


class Tiers(Strict):
    """The tiers in force from one date."""

    source: str = Field(min_length=1, description="the document the tiers were taken from")
    tiers: list[Tier] = Field(min_length=1, description="[{from_days, until_days, from_amount, …, rate}]")


class Schedule(Strict):
    """A fee that goes by tiers.

    ``of: whole`` charges all the money at the rate of the tier that the amount falls in; ``of: part`` charges each
    part of the money at the rate of its own tier, as courts and tax offices do.
    """

    name: Bilingual = Field(description="{en: …, zh: …}")
    unit: str = Field(min_length=1, description="a unit, such as share of the amount recovered")
    of: Literal["whole", "part"] = Field("whole", description="whole or part")
    range: tuple[float, float] = Field((0.0, 1.0), description="[lowest, highest] rate")
    note: Bilingual | None = Field(None, description="{en: …, zh: …}")
    values: Dated[Tiers] = Field(min_length=1, description="{date: {source: …, tiers: […]}}")

    def fees(self, amount: Any, on: Any, *, age: Any = 0, base: Any = None) -> tuple[np.ndarray, np.ndarray]:
        """Fee of each case, and whether a schedule was in force on its day.

        Parameters
        ----------
        amount : array of float, shape (n,)
            Money that the tiers go by.
        on : array of datetime64, shape (n,)
            The day of each case: the schedule in force then counts.
        age : array of int, shape (n,), or int
            Days past due that the tiers go by.
        base : array of float, shape (n,), optional
            Money that the rate is charged on (``of: whole`` only); default: ``amount``.

        Returns
        -------
        fee, known : arrays, shape (n,)
            Money, NaN where no schedule was in force; and whether one was.

        Examples
        --------
        >>> from collectlab.measures.worth.prices import load_prices
        >>> prices = load_prices("params/costs.yml", "params/fees.yml")
        >>> fee, known = prices.schedules["legal_fee"].fees([8_000, 30_000], ["2026-05-01"] * 2)
        >>> fee.tolist(), known.tolist()
        ([50.0, 550.0], [True, True])
        """
        amount = np.atleast_1d(np.asarray(amount, dtype=float))
        age = np.broadcast_to(np.asarray(age, dtype=float), amount.shape)
        base = amount if base is None else np.broadcast_to(np.asarray(base, dtype=float), amount.shape)
        on = np.broadcast_to(np.asarray(on, dtype="datetime64[D]"), amount.shape)
        fee, known = np.full(amount.shape, np.nan), np.zeros(amount.shape, dtype=bool)
        dates = sorted(self.values)
        for since, until in zip(dates, [*dates[1:], None]):
            rows = on >= np.datetime64(since)
            if until is not None:
                rows &= on < np.datetime64(until)
            known |= rows
            fee[rows] = _fee(self.values[since].tiers, self.of, amount[rows], age[rows], base[rows])
        return fee, known & np.isfinite(fee)


def _fee(tiers: Sequence[Tier], of: str, amount: np.ndarray, age: np.ndarray, base: np.ndarray) -> np.ndarray:
    total = np.where(np.isfinite(amount), 0.0, np.nan)
    for tier in tiers:
        old, older, low, high = tier.box
        aged = (age >= old) & (age < older)
        if of == "whole":
            inside = aged & (amount >= low) & (amount < high)
            total = total + np.where(inside, tier.fixed + tier.rate * base, 0.0)
        else:
            reached = aged & ((amount > low) | (low == 0))
            part = np.clip(amount, low, high) - low
            total = total + np.where(reached, tier.fixed + tier.rate * part, 0.0)
    return total


def words_of(tier: Tier) -> str:
    """A tier's ages and amounts: ``90 to under 180 days, 10,000 and over``."""
    old, older, low, high = tier.box
    parts = []
    for lower, upper, unit in ((old, older, " days"), (low, high, "")):
        if lower == 0 and np.isinf(upper):
            continue
        if np.isinf(upper):
            parts.append(f"{lower:,.0f}{unit} and over")
        elif lower == 0:
            parts.append(f"under {upper:,.0f}{unit}")
        else:
            parts.append(f"{lower:,.0f} to under {upper:,.0f}{unit}")
    return ", ".join(parts) or "all"


def schedule_faults(schedule: Schedule, where: str) -> list[str]:
    """What is wrong with a schedule: rates out of range, tiers upside down, gaps and overlaps."""
    low, high = schedule.range
    faults = []
    if not 0 <= low <= high:
        faults.append(f"{where}.range: [{low:g}, {high:g}]. Allowed: [lowest, highest], from 0 up.")
    for since, held in sorted(schedule.values.items()):
        here = f"{where}.values.{since}"
        ends = []
        for i, tier in enumerate(held.tiers):
            if not low <= tier.rate <= high:
                faults.append(
                    f"{here}.tiers.{i}.rate: {tier.rate:g} is out of range. Allowed: {low:g} to {high:g}."
                )
            old, older, small, large = tier.box
            if older <= old or large <= small:
                ends.append(
                    f"{here}.tiers.{i}: {words_of(tier)} ends before it begins. Allowed: until > from."
                )
        faults += ends or _cover_faults(held.tiers, here)
    return faults


def _cover_faults(tiers: Sequence[Tier], where: str) -> list[str]:
    """Ages and amounts that no tier covers, or more than one."""
    boxes = np.array([t.box for t in tiers])
    days, amounts = (np.unique(np.append(boxes[:, c], [0.0, np.inf])) for c in ((0, 1), (2, 3)))
    faults = []
    for a, b in pairwise(days):
        for c, d in pairwise(amounts):
            held = int(
                ((boxes[:, 0] <= a) & (boxes[:, 1] >= b) & (boxes[:, 2] <= c) & (boxes[:, 3] >= d)).sum()
            )
            if held != 1:
                place = Tier.model_construct(
                    from_days=int(a), until_days=None if np.isinf(b) else int(b),
                    from_amount=float(c), until_amount=None if np.isinf(d) else float(d),
                )  # fmt: skip
                problem = "no tier covers" if held == 0 else f"{held} tiers overlap for"
                faults.append(
                    f"{where}.tiers: {problem} {words_of(place)}. Allowed: each age and amount once."
                )
    return faults
