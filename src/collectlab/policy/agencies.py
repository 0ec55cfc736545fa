"""The contracts with outside agencies, as ``params/agencies.yml`` writes them down."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pandas as pd
from pydantic import Field

from collectlab.core.errors import ParamsError
from collectlab.core.params import Dated
from collectlab.core.results import Result
from collectlab.core.written import Strict, as_date, load_yaml, validate

#: Key of a contract → the sheet's measure, and which side of it is good.
_TERMS = {
    "minimum_recovery": ("recovery_rate", "at_least"),
    "maximum_complaints": ("complaints_per_1000", "at_most"),
    "maximum_violations": ("violations_per_1000", "at_most"),
    "minimum_recorded": ("recorded", "at_least"),
    "commission": ("commission_share", ""),
}


class Contract(Strict):
    """One contract: what the agency gets, and what it has to keep to."""

    until: dt.date = Field(description="the last day on which the contract holds, YYYY-MM-DD")
    source: str = Field(min_length=1, description="the document the terms were taken from")
    commission: float = Field(ge=0, le=1, strict=True, description="a share of what is recovered, 0 to 1")
    minimum_recovery: float | None = Field(
        None, ge=0, le=1, strict=True, description="a share of what is placed, 0 to 1"
    )
    maximum_complaints: float | None = Field(
        None, ge=0, le=1000, strict=True, description="complaints per 1,000 contacts"
    )
    maximum_violations: float | None = Field(
        None, ge=0, strict=True, description="violations per 1,000 contacts"
    )
    minimum_recorded: float | None = Field(
        None, ge=0, le=1, strict=True, description="a share of the contacts, 0 to 1"
    )


class _Agency(Strict):
    contracts: Dated[Contract] = Field(
        min_length=1, description="{first day: {until, source, commission, …}}"
    )


class _File(Strict):
    agencies: dict[str, _Agency] = Field(min_length=1, description="{name of the agency: {contracts}}")


@dataclass(frozen=True)
class Agencies:
    """The file: the contracts of each agency by their first day."""

    file: str
    contracts: Mapping[str, Mapping[dt.date, Contract]]

    def on(self, date: str | dt.date) -> dict[str, tuple[dt.date, Contract]]:
        """The contract in force on a date, with its first day, of each agency that has one.

        Parameters
        ----------
        date : date or str

        Returns
        -------
        dict
        """
        date = as_date(date)
        found = {}
        for agency, held in self.contracts.items():
            since = max((d for d in held if d <= date), default=None)
            if since is not None and date <= held[since].until:
                found[agency] = (since, held[since])
        return found

    def terms(self, date: str | dt.date) -> pd.DataFrame:
        """For :func:`collectlab.measures.legal.agencies.evaluation_sheet`: the terms in force on a date.

        Parameters
        ----------
        date : date or str

        Returns
        -------
        pandas.DataFrame
            agency, measure, direction (at_least, at_most; empty for the commission), limit, source.
        """
        rows = [
            (agency, measure, direction, float(value), contract.source)
            for agency, (_, contract) in sorted(self.on(date).items())
            for key, (measure, direction) in _TERMS.items()
            if (value := getattr(contract, key)) is not None
        ]
        return pd.DataFrame(rows, columns=["agency", "measure", "direction", "limit", "source"])

    def table(self, date: str | dt.date) -> Result:
        """The contracts in force as people read them.

        Parameters
        ----------
        date : date or str

        Returns
        -------
        Result
        """
        rows = [
            {"agency": agency, "from": since, **contract.model_dump()}
            for agency, (since, contract) in sorted(self.on(date).items())
        ]
        columns = ["agency", "from", *Contract.model_fields]
        return Result(
            table=pd.DataFrame(rows, columns=columns),
            estimand="",
            title=f"Contracts in force on {as_date(date)}",
            formats={"commission": "share", "minimum_recovery": "share", "minimum_recorded": "share"},
        )


def load_agencies(path: str | Path) -> Agencies:
    """Read and check ``agencies.yml``.

    Parameters
    ----------
    path : path
        The file.

    Returns
    -------
    Agencies
        ``.on(date)``, ``.terms(date)``, ``.table(date)``.

    Raises
    ------
    ParamsError
        All faults at once: unknown keys, missing sources, limits out of range, a contract that ends before it begins,
        and contracts of one agency that overlap.

    Examples
    --------
    >>> agencies = load_agencies("params/agencies.yml")
    >>> since, contract = agencies.on("2026-10-31")["Agency 1"]
    >>> 0 < contract.commission < 1, since < contract.until
    (True, True)
    """
    file = Path(path).name
    faults: list[str] = []
    written = validate(_File, load_yaml(path), file, faults)
    if written is not None:
        for name, agency in written.agencies.items():
            where = f"{file}: agencies.{name}"
            held = sorted(agency.contracts.items())
            faults += [
                f"{where}: the contract of {since} ends on {c.until}, before it begins. Allowed: until ≥ the first day."
                for since, c in held
                if c.until < since
            ]
            faults += [
                f"{where}: the contracts of {a} (until {c.until}) and {b} overlap. Allowed: one at a time."
                for (a, c), (b, _) in pairwise(held)
                if c.until >= b
            ]
    if written is None or faults:
        raise ParamsError(faults)
    return Agencies(file, {name: agency.contracts for name, agency in written.agencies.items()})
