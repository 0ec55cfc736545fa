"""What stopping brings and costs, as ``params/stop.yml`` and ``params/costs.yml`` write it."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from collectlab.core.errors import ParamsError
from collectlab.core.params import load_params
from collectlab.measures.worth.checks import plain_number

SECURED, UNSECURED = "secured", "unsecured"
#: Debt of which the book does not say whether it is secured: the price is that of unsecured debt.
UNTOLD = "not told"
_SALE = re.compile(r"sale_(.+)_(\d+)")
_FIELDS = (
    "sale_from", "sale_cost", "write_off_from", "write_off_cost", "after_write_off", "upkeep", "tax_rate", "cured_value",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Terms:
    """Prices and fees in force on one day.

    Attributes
    ----------
    prices : mapping
        Market → {days past due from which: price per 1 of balance}. A market with an empty mapping is not for sale.
    sale_from, write_off_from : float
        Days past due from which a debt may be sold, written off.
    sale_cost, write_off_cost : float
        Money an account.
    upkeep : float
        Money an account and month.
    complaint : float
        Money a complaint.
    tax_rate : float
        Tax saved per 1 of loss realised.
    cured_value : float
        Value of a cured account per 1 of balance.
    after_write_off : float or None
        Present value recovered per 1 written off, for a book that shows nothing written off.
    discount : float
        Share a year by which later money counts less: funding included.
    """

    prices: Mapping[str, Mapping[int, float]] = field(default_factory=dict)
    sale_from: float = 90
    sale_cost: float = 0.0
    write_off_from: float = 180
    write_off_cost: float = 0.0
    upkeep: float = 0.0
    complaint: float = 0.0
    tax_rate: float = 0.0
    cured_value: float = 1.0
    after_write_off: float | None = None
    discount: float = 0.0

    def __post_init__(self) -> None:
        faults = self._no_numbers()
        if faults:
            raise ParamsError(faults)
        for name in ("sale_from", "write_off_from", "sale_cost", "write_off_cost", "upkeep", "complaint"):
            if not (np.isfinite(value := getattr(self, name)) and value >= 0):
                faults.append(f"{name} is {value:g}. Allowed: 0 or more.")
        ends = {"tax_rate": 1.0, "cured_value": 1.5, "after_write_off": 1.0, "discount": 1.0}
        for name, high in ends.items():
            value = getattr(self, name)
            if value is not None and not 0 <= value <= high:
                faults.append(f"{name} is {value:g}. Allowed: 0 to {high:g}.")
        for market, held in self.prices.items():
            for day, price in held.items():
                if not 0 <= price <= 1:
                    faults.append(
                        f"the price of {market} debt from {day} days past due is {price:g}. Allowed: 0 to 1 per 1 of balance."
                    )
                if day < 0:
                    faults.append(f"{market}: a price from {day} days past due. Allowed: days ≥ 0.")
        if faults:
            raise ParamsError(faults)

    def _no_numbers(self) -> list[str]:
        names = ("sale_from", "write_off_from", "sale_cost", "write_off_cost", "upkeep", "complaint", "tax_rate", "cured_value", "after_write_off", "discount")  # fmt: skip
        faults = [
            f"{name} is {value!r}. Allowed: a number."
            for name in names
            if (value := getattr(self, name)) is not None and np.isnan(plain_number(value))
        ]
        told = "Allowed: market → {days past due from which: price per 1 of balance}."
        if not isinstance(self.prices, Mapping):
            return [*faults, f"prices is {self.prices!r}. {told}"]
        for market, held in self.prices.items():
            if not isinstance(held, Mapping):
                faults.append(f"prices of {market} is {held!r}. {told}")
            elif bad := [
                k for k, v in held.items() if np.isnan(plain_number(k)) or np.isnan(plain_number(v))
            ]:
                faults.append(
                    f"prices of {market}: no number from {', '.join(map(str, bad))} days on. {told}"
                )
        return faults

    def price(self, market: np.ndarray, days: np.ndarray) -> np.ndarray:
        """Price per 1 of balance of each debt; missing where it cannot be sold (yet).

        Raises
        ------
        ParamsError
            Markets for which no price is stated at all.
        """
        market = np.asarray(market, dtype=object).astype(str)
        market = np.where((market == UNTOLD) & (UNTOLD not in self.prices), UNSECURED, market)
        names = [str(m) for m in np.unique(market)]
        if missing := [n for n in names if n not in self.prices]:
            raise ParamsError(
                f"no sale price is stated for {', '.join(missing)} debt. Stated: {', '.join(self.prices) or 'none'}. "
                "Needed: a price for each market (sale_<market>_<days> in stop.yml), or an empty one: not for sale."
            )
        out = np.full(len(days), np.nan)
        for name in names:
            for day, price in sorted(self.prices[name].items()):
                out[(market == name) & (days >= max(day, self.sale_from))] = price
        return out


def load_terms(folder: str | Path, date: dt.date | str) -> Terms:
    """The terms in force on ``date``, of ``stop.yml`` and ``costs.yml`` in ``folder``.

    ``complaint``, ``discount_rate`` and ``funding_rate`` come from costs.yml, where they are there; the two rates are
    added up.

    Parameters
    ----------
    folder : path
        The folder of parameters.
    date : date or str

    Returns
    -------
    Terms

    Raises
    ------
    ParamsError
        A fault of a file, a missing key, or a value out of range.

    Examples
    --------
    >>> terms = load_terms("params", "2026-10-31")
    >>> terms.prices["unsecured"]
    {90: 0.1, 180: 0.07, 360: 0.04}
    """
    folder = Path(folder)
    params = load_params(folder / "stop.yml")
    if odd := [key for key in params if key not in _FIELDS and not _SALE.fullmatch(key)]:
        raise ParamsError(
            [f"stop.yml: no such key {key!r}. Allowed: sale_<market>_<days>, {', '.join(_FIELDS)}." for key in odd]
        )  # fmt: skip
    if missing := [key for key in _FIELDS if key not in params and key != "after_write_off"]:
        raise ParamsError(f"stop.yml: {', '.join(missing)} missing.")
    held = params.on(date, *(k for k in _FIELDS if k in params))
    prices: dict[str, dict[int, float]] = {}
    for key, value in params.on(date).items():
        if found := _SALE.fullmatch(key):
            prices.setdefault(found[1], {})[int(found[2])] = value.value
    costs = folder / "costs.yml"
    shared = load_params(costs).on(date).numbers() if costs.is_file() else {}
    return Terms(
        prices={market: dict(sorted(days.items())) for market, days in sorted(prices.items())},
        complaint=shared.get("complaint", 0.0),
        discount=shared.get("discount_rate", 0.0) + shared.get("funding_rate", 0.0),
        **{key: found.value for key, found in held.items()},
    )
