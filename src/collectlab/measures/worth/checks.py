"""What is handed over as a number, a day or a seed is one; else an error that says what was found."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd

from collectlab.core.errors import FrameError, ParamsError, first_few
from collectlab.measures.worth.prices import Prices

#: The longest time looked at: a hundred years of days.
LONGEST = 36_525


def plain_number(value: Any) -> float:
    """A single number as a float; NaN for anything else (a text, None, true or false).

    Examples
    --------
    >>> plain_number(3), plain_number("3"), plain_number(True)
    (3.0, nan, nan)
    """
    known = isinstance(value, (int, float, np.integer, np.floating, Decimal))
    return float(value) if known and not isinstance(value, bool) else float("nan")


def is_above(value: Any, least: float = 0.0, *, equal: bool = False) -> bool:
    """Whether a value is a finite number above ``least`` (or equal to it).

    Examples
    --------
    >>> is_above(1), is_above(0), is_above(0, equal=True), is_above("1")
    (True, False, True, False)
    """
    number = plain_number(value)
    return bool(np.isfinite(number) and (number > least or (equal and number == least)))


def check_whole(value: Any, name: str, what: str = "days", most: int = LONGEST) -> int:
    """A whole number from 1 to ``most``, or a FrameError.

    Examples
    --------
    >>> check_whole(90.0, "horizon")
    90
    """
    number = plain_number(value)
    if not (number == np.floor(number) and 1 <= number <= most):
        raise FrameError(f"{name} is {value!r}. Allowed: whole {what} ≥ 1, up to {most:,}.")
    return int(number)


def check_seed(seed: Any) -> int:
    """A whole number ≥ 0 to draw from, or a FrameError.

    Examples
    --------
    >>> check_seed(1)
    1
    """
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or seed < 0:
        raise FrameError(f"seed is {seed!r}. Allowed: a whole number ≥ 0.")
    return int(seed)


def check_model(model: Any, names: Iterable[str]) -> None:
    """A function that takes these parameters by name, or a FrameError that says which it lacks or does not know.

    Examples
    --------
    >>> check_model(lambda effect, cost: effect - cost, ["effect", "cost"])
    """
    if not callable(model):
        raise FrameError(f"model is {model!r}. Allowed: a function of the parameters, by name.")
    try:
        known = inspect.signature(model)
    except (TypeError, ValueError):  # built in: nothing is known of what it takes
        return
    try:
        known.bind(**dict.fromkeys(names))
    except TypeError as error:
        raise FrameError(
            f"model: {error}. It takes {first_few(list(known.parameters), 20) or 'nothing'}; given are "
            f"{first_few(list(names), 20) or 'none'}. Needed: one parameter for each, by name."
        ) from error


def check_prices(prices: Any) -> Prices:
    """Prices, or a ParamsError that says how they are made.

    Examples
    --------
    >>> check_prices(Prices.of({"call": 2.4})).known("call")
    True
    """
    if not isinstance(prices, Prices):
        raise ParamsError(
            f"prices is a {type(prices).__name__}. Needed: load_prices(costs.yml, fees.yml), or Prices.of({{'call': 2.4}})."
        )
    return prices


def with_numbers(frame: pd.DataFrame, columns: Sequence[str], key: str = "account_id") -> pd.DataFrame:
    """The frame with these columns (those it has) as floats; all that hold something else are told at once.

    Examples
    --------
    >>> with_numbers(pd.DataFrame({"account_id": ["a"], "amount": ["1.5"]}), ["amount"])["amount"].tolist()
    [1.5]
    """
    faults, made = [], {}
    for column in dict.fromkeys(c for c in columns if c in frame):
        values = frame[column]
        made[column] = (
            pd.to_numeric(values, errors="coerce").astype("Float64").to_numpy(float, na_value=np.nan)
        )
        _told(faults, frame, column, values.notna().to_numpy() & np.isnan(made[column]), key, "numbers")
    if faults:
        raise FrameError(faults)
    return frame.assign(**made)


def with_days(frame: pd.DataFrame, columns: Sequence[str], key: str = "account_id") -> pd.DataFrame:
    """The frame with these columns (those it has) as dates without a time zone; all that hold others are told at once.

    Examples
    --------
    >>> with_days(pd.DataFrame({"account_id": ["a"], "on": ["2026-03-01"]}), ["on"])["on"].dt.day.tolist()
    [1]
    """
    faults, made = [], {}
    for column in dict.fromkeys(c for c in columns if c in frame):
        values = frame[column]
        if isinstance(values.dtype, np.dtype) and values.dtype.kind == "M":
            continue
        if pd.api.types.is_numeric_dtype(values.dtype) and values.notna().any():
            days = pd.Series(pd.NaT, index=frame.index)  # a number is no date: pandas would count nanoseconds
        else:
            with warnings.catch_warnings():
                # pandas warns that texts differ in form; those it cannot read are told below.
                warnings.simplefilter("ignore", UserWarning)
                days = pd.to_datetime(values.astype(object), errors="coerce", utc=_zoned(values))
        made[column] = days.dt.tz_localize(None) if getattr(days.dt, "tz", None) is not None else days
        _told(
            faults, frame, column, (values.notna() & days.isna()).to_numpy(), key, "dates, such as 2026-03-31"
        )
    if faults:
        raise FrameError(faults)
    return frame.assign(**made)


def _zoned(values: pd.Series) -> bool:
    return isinstance(values.dtype, pd.DatetimeTZDtype) or "tz=" in str(values.dtype)


def _told(
    faults: list[str], frame: pd.DataFrame, column: str, odd: np.ndarray, key: str, allowed: str
) -> None:
    if odd.any():
        shown = [repr(v) for v in frame.loc[odd, column].head(3)]
        whose = f" ({key} {first_few(frame.loc[odd, key].astype(str).tolist(), 3)})" if key in frame else ""
        faults.append(
            f"{column}: {int(odd.sum()):,} of {len(frame):,} are none ({first_few(shown)}){whose}. Allowed: {allowed}."
        )
