"""What things cost on a day: unit prices from ``costs.yml``, and fees that go by tiers from ``fees.yml``.

A unit price is a flat, dated parameter. A fee that depends on the amount or on the age of a debt (an agency's
commission, a court's fee) is a schedule: tiers that cover every amount and age once.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from collectlab.core.columns import day_of
from collectlab.core.errors import FrameError, ParamsError, first_few
from collectlab.core.params import Bilingual, DatedValue, Language, Parameter, Params, load_params
from collectlab.core.results import Result
from collectlab.core.written import as_date, load_yaml, validate
from collectlab.measures.worth.prices_tiers import Schedule, schedule_faults, words_of

#: Schedules that are known, and what each is laid on.
SCHEDULES = {
    "agency_commission": "what an agency recovers, by age and amount of the debt when it was placed",
    "legal_fee": "the amount claimed",
}
#: Rates a year; shares from 0 to 1.
RATES = ("discount_rate", "funding_rate")
#: What collection costs the debtor beyond the debt: counted from society's point of view only.
DEBTOR = ("debtor_contact", "debtor_case", "debtor_complaint")
_GIVEN = dt.date(1900, 1, 1)


@dataclass(frozen=True)
class Prices:
    """Dated prices: flat parameters by key, and schedules of tiers.

    A key that is a channel of the action log is the price of one such action. A channel without a key of its own is
    priced by ``<channel>_minutes`` × ``agent_hour`` / 60, where both are there.
    """

    params: Params
    schedules: Mapping[str, Schedule] = field(default_factory=dict)

    @classmethod
    def of(cls, numbers: Mapping[str, float], **schedules: Schedule) -> Prices:
        """Prices from plain numbers, in force from the beginning; for tests, and to try other prices.

        Parameters
        ----------
        numbers : mapping of str to float
            Key → number ≥ 0.
        **schedules : Schedule
            Fees that go by tiers.

        Returns
        -------
        Prices

        Raises
        ------
        ParamsError
            A price below 0 or none, a rate out of range.

        Examples
        --------
        >>> Prices.of({"call": 2.4}).price("call", "2026-10-31")
        2.4
        """
        said = Bilingual(en="Given as a number", zh="直接给出的数值")
        if not isinstance(numbers, Mapping):
            raise ParamsError(f"prices is a {type(numbers).__name__}. Allowed: key → number.")
        faults = [
            f"{k!r} is no key. Allowed: text, such as 'call'." for k in numbers if not isinstance(k, str)
        ]
        faults += [f"{k} is {v!r}. Allowed: a number." for k, v in numbers.items() if not _is_number(v)]
        faults += [
            f"{k} is a {type(s).__name__}. Allowed: a Schedule, for {first_few(list(SCHEDULES))}."
            for k, s in schedules.items()
            if k not in SCHEDULES or not isinstance(s, Schedule)
        ]
        sound = {k: v for k, v in numbers.items() if isinstance(k, str) and _is_number(v)}
        held = {
            k: Parameter(
                name=said,
                unit="money",
                range=None,
                note=None,
                values={_GIVEN: DatedValue(value=float(v), source="given")},
            )
            for k, v in sound.items()
        }
        made = cls(Params("prices", held), schedules)
        if faults := [*faults, *_below_zero(made.params), *_rates(made.params)]:
            raise ParamsError(faults)
        return made

    def price(self, key: str, on: str | dt.date) -> float:
        """The flat price of a key on a date.

        Parameters
        ----------
        key : str
            Such as ``call``, ``complaint`` or ``discount_rate``.
        on : date or "YYYY-MM-DD"

        Returns
        -------
        float

        Raises
        ------
        ParamsError
            No such key, or no value in force yet.

        Examples
        --------
        >>> load_prices("params/costs.yml").price("visit", "2026-10-31")
        180.0
        """
        return self.params.on(on, key)[key].value

    def known(self, key: str) -> bool:
        """Whether there is a flat price of this name.

        Parameters
        ----------
        key : str

        Returns
        -------
        bool
        """
        return key in self.params

    def steps(self, key: str) -> list[tuple[int, float]]:
        """The flat price of a key or channel as steps: from which day (:func:`day_number`) it is how much.

        Parameters
        ----------
        key : str
            A key of the file, or a channel that is priced by its minutes.

        Returns
        -------
        list of (int, float)
            In order of time; empty where there is no such price.

        Examples
        --------
        >>> [price for _, price in Prices.of({"chat_minutes": 6, "agent_hour": 50}).steps("chat")]
        [5.0]
        """
        own = self.params[key].values if self.known(key) else {}
        found = {since: held.value for since, held in own.items()}
        if not own and self.known(f"{key}_minutes") and self.known("agent_hour"):
            minutes, hour = self.params[f"{key}_minutes"].values, self.params["agent_hour"].values
            first = max(min(minutes), min(hour))
            for since in sorted(d for d in {*minutes, *hour, first} if d >= first):
                found[since] = self.price(f"{key}_minutes", since) * self.price("agent_hour", since) / 60
        return [(day_of(since), price) for since, price in sorted(found.items())]

    def priced(self) -> list[str]:
        """Names that have a flat price: keys, and channels priced by their minutes.

        Returns
        -------
        list of str
        """
        minutes = [k.removesuffix("_minutes") for k in self.params if k.endswith("_minutes")]
        return sorted({*self.params, *minutes})

    def societal(self, on: str | dt.date) -> bool:
        """Whether any charge on the debtor is in force, so that society's point of view can be told.

        Parameters
        ----------
        on : date or "YYYY-MM-DD"

        Returns
        -------
        bool
        """
        day = day_of(as_date(on))
        return any(self.steps(key) and self.steps(key)[0][0] <= day for key in DEBTOR)

    def table(self, on: str | dt.date, language: Language = "en") -> Result:
        """Every price in force on a date: the flat ones, then each tier of each schedule.

        Parameters
        ----------
        on : date or "YYYY-MM-DD"
        language : {"en", "zh"}

        Returns
        -------
        Result
            parameter, name, applies_to (a tier's ages and amounts), value (money or share), fixed, measured_in, holds_from,
            source.

        Examples
        --------
        >>> found = load_prices("params/costs.yml", "params/fees.yml").table("2026-10-31").table
        >>> found.loc[found["parameter"] == "agency_commission", "applies_to"].tolist()[:2]
        ['all', 'under 180 days, under 10,000']
        """
        flat = self.params.table(on, language).table.assign(applies_to="all", fixed=np.nan)
        rows = []
        for key, schedule in self.schedules.items():
            since = max((d for d in schedule.values if d <= as_date(on)), default=None)
            if since is None:
                continue
            held = schedule.values[since]
            rows += [
                (key, schedule.name.text(language), words_of(t), t.rate, t.fixed or np.nan, schedule.unit, since, held.source)
                for t in held.tiers
            ]  # fmt: skip
        columns = ["parameter", "name", "applies_to", "value", "fixed", "measured_in", "holds_from", "source"]
        tiers = pd.DataFrame(rows, columns=columns)
        parts = [part for part in (flat[columns], tiers) if len(part)]
        return Result(
            table=pd.concat(parts, ignore_index=True) if parts else tiers,
            estimand="",
            unit="number",
            title=f"Prices in force on {as_date(on)}",
            notes=(
                "The log's own cost of an action or a case comes first; these prices stand in where it is missing.",
            ),
            formats={"value": "number", "fixed": "number"},
        )


def load_prices(costs: str | Path, fees: str | Path | None = None) -> Prices:
    """Read and check ``costs.yml``, and ``fees.yml`` where there is one.

    Parameters
    ----------
    costs : path
        Flat prices, as :func:`collectlab.core.params.load_params` reads them.
    fees : path, optional
        Schedules: ``agency_commission`` and ``legal_fee``.

    Returns
    -------
    Prices

    Raises
    ------
    ParamsError
        All faults of both files at once: what ``load_params`` finds; negative prices; a discount or funding rate that
        is no share from 0 to 1; unknown schedules; tiers that leave a gap, overlap or end before they begin; a rate
        out of its schedule's range.

    Examples
    --------
    >>> prices = load_prices("params/costs.yml", "params/fees.yml")
    >>> prices.price("discount_rate", "2026-10-31") < 1, sorted(prices.schedules)
    (True, ['agency_commission', 'legal_fee'])
    """
    faults: list[str] = []
    params = Params(Path(costs).name, {})
    try:
        params = load_params(costs)
        faults += [*_below_zero(params), *_rates(params)]
    except ParamsError as error:
        faults += error.faults
    schedules = {}
    if fees is not None:
        try:
            written = load_yaml(fees)
        except ParamsError as error:
            written = {}
            faults += error.faults
        file = Path(fees).name
        for key, held in written.items():
            if key not in SCHEDULES:
                faults.append(f"{file}: no such schedule {key!r}. Allowed: {first_few(list(SCHEDULES))}.")
                continue
            schedule = validate(Schedule, held, f"{file}: {key}", faults)
            if schedule is not None:
                faults += schedule_faults(schedule, f"{file}: {key}")
                schedules[str(key)] = schedule
    if faults:
        raise ParamsError(faults)
    return Prices(params, schedules)


def _is_number(value: Any) -> bool:
    known = isinstance(value, (int, float, np.integer, np.floating, Decimal)) and not isinstance(value, bool)
    return known and bool(np.isfinite(float(value)))


def _below_zero(params: Params) -> list[str]:
    return [
        f"{params.file}: {key}.values.{since}.value: {held.value:g} is negative. Allowed: a price ≥ 0."
        for key, parameter in params.items()
        for since, held in sorted(parameter.values.items())
        if held.value < 0
    ]


def _rates(params: Params) -> list[str]:
    return [
        f"{params.file}: {key}.values.{since}.value: {held.value:g} a year is out of range. "
        "Allowed: a share from 0 to 1, such as 0.08."
        for key in RATES
        if key in params
        for since, held in sorted(params[key].values.items())
        if held.value > 1
    ]


def check_rate(rate: float, name: str) -> float:
    """A rate a year as a share from 0 to 1.

    Parameters
    ----------
    rate : float
    name : str
        What the error calls it.

    Returns
    -------
    float

    Raises
    ------
    FrameError
        It is none.

    Examples
    --------
    >>> check_rate(0.08, "rate")
    0.08
    """
    if not _is_number(rate) or not 0 <= rate <= 1:
        raise FrameError(f"{name} is {rate!r}. Allowed: a share a year from 0 to 1, such as 0.08.")
    return float(rate)
