"""Parameters: one topic a file; every value has a unit, a source and a date it holds from.

>>> params = read_params('''
... call:
...   name: {en: Cost per outbound call, zh: 单次外呼成本}
...   unit: CNY per call
...   range: [0, 50]
...   values:
...     2025-01-01: {value: 2.40, source: "Operations cost sheet 2024-12"}
...     2026-07-01: {value: 2.65, source: "Vendor contract §4.2"}
... ''')
>>> params.on("2026-06-30")["call"].value
2.4
>>> params.on("2026-07-01")["call"].source
'Vendor contract §4.2'
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import pandas as pd
from pydantic import BeforeValidator, Field

from collectlab.core.errors import ParamsError
from collectlab.core.results import Result
from collectlab.core.written import Strict, as_date, load_yaml, parse_yaml, unknown, validate

__all__ = ["Bilingual", "Dated", "DatedValue", "InForce", "Parameter", "Params", "Values", "as_date"]
__all__ += ["load_params", "load_yaml", "read_params"]

Language = Literal["en", "zh"]
Held = TypeVar("Held")


class Bilingual(Strict):
    """A text in English and Chinese."""

    en: str = Field(min_length=1, description="the English text")
    zh: str = Field(min_length=1, description="the Chinese text")

    def text(self, language: Language = "en") -> str:
        """The text in one of the two languages."""
        return self.zh if language == "zh" else self.en


def _key_to_date(key: Any) -> dt.date:
    try:
        return as_date(key)
    except ParamsError as error:
        raise ValueError(str(error)) from None


def _text_keys(written: Any) -> Any:
    return {str(k): v for k, v in written.items()} if isinstance(written, Mapping) else written


#: ``{date: …}`` as a parameter file writes it.
Dated = Annotated[dict[Annotated[dt.date, BeforeValidator(_key_to_date)], Held], BeforeValidator(_text_keys)]


class DatedValue(Strict):
    """A value and the document it was taken from."""

    value: float = Field(strict=True, description="a number")
    source: str = Field(min_length=1, description="the document the value was taken from")


@dataclass(frozen=True)
class InForce:
    """The value of one parameter on a date: ``value``, its ``unit``, ``source``, and the date it holds from."""

    key: str
    value: float
    unit: str
    since: dt.date
    source: str
    name: Bilingual


class Parameter(Strict):
    """One parameter: its name in both languages, unit, allowed range, and values by the date they hold from."""

    name: Bilingual = Field(description="{en: …, zh: …}")
    unit: str = Field(min_length=1, description="a unit, such as CNY per call")
    range: tuple[float, float] | None = Field(None, description="[lowest, highest]")
    note: Bilingual | None = Field(None, description="{en: …, zh: …}")
    values: Dated[DatedValue] = Field(min_length=1, description="{date: {value: …, source: …}}")

    def on(self, date: str | dt.date, key: str = "") -> InForce:
        """The value in force on ``date``: the latest that holds from that date or before.

        Raises
        ------
        ParamsError
            No value holds yet on ``date``.
        """
        date = as_date(date)
        since = max((d for d in self.values if d <= date), default=None)
        if since is None:
            raise ParamsError(
                f"{key or self.name.en}: no value in force on {date}. The first holds from {min(self.values)}."
            )
        held = self.values[since]
        return InForce(key, held.value, self.unit, since, held.source, self.name)


class Values(Mapping[str, InForce]):
    """The values in force on one date: a mapping from key to :class:`InForce`."""

    def __init__(self, file: str, date: dt.date, held: Mapping[str, InForce], later: Iterable[str] = ()):
        self.file, self.date = file, date
        self._held, self._later = dict(held), tuple(later)

    def __getitem__(self, key: str) -> InForce:
        if key in self._held:
            return self._held[key]
        if key in self._later:
            raise ParamsError(f"{self.file}: {key}: no value in force on {self.date}.")
        raise ParamsError(unknown(self.file, key, self._held))

    def __contains__(self, key: object) -> bool:
        return key in self._held

    def __iter__(self) -> Iterator[str]:
        return iter(self._held)

    def __len__(self) -> int:
        return len(self._held)

    def numbers(self) -> dict[str, float]:
        """Key → number, for a measure that takes a plain mapping."""
        return {key: held.value for key, held in self._held.items()}


@dataclass(frozen=True)
class Params(Mapping[str, Parameter]):
    """The parameters of one file, as a mapping from key to :class:`Parameter`."""

    file: str
    parameters: Mapping[str, Parameter]

    def __getitem__(self, key: str) -> Parameter:
        if key not in self.parameters:
            raise ParamsError(unknown(self.file, key, self.parameters))
        return self.parameters[key]

    def __contains__(self, key: object) -> bool:
        return key in self.parameters

    def __iter__(self) -> Iterator[str]:
        return iter(self.parameters)

    def __len__(self) -> int:
        return len(self.parameters)

    def on(self, date: str | dt.date, *keys: str) -> Values:
        """The values in force on ``date``.

        Parameters
        ----------
        date : date or "YYYY-MM-DD"
        *keys : str
            What is needed. Each must have a value by that date; all that have none are named at once.
            Without keys: every parameter that has one by then; asking the result for another says so.

        Raises
        ------
        ParamsError
            An unknown key (with the nearest names), or no value in force.
        """
        date = as_date(date)
        faults = [unknown(self.file, k, self.parameters) for k in keys if k not in self.parameters]
        held, later = {}, []
        for key in [k for k in keys if k in self.parameters] or ([] if keys else list(self.parameters)):
            try:
                held[key] = self.parameters[key].on(date, key)
            except ParamsError as error:
                later.append(key)
                faults += [f"{self.file}: {fault}" for fault in error.faults] if keys else []
        if faults:
            raise ParamsError(faults)
        return Values(self.file, date, held, later)

    def table(self, date: str | dt.date | None = None, language: Language = "en") -> Result:
        """For the report's appendix: each parameter, its value, unit, the date it holds from, and its source.

        Only the values in force where ``date`` is given; else all, oldest first.
        """
        rows = []
        for key, parameter in self.parameters.items():
            since = sorted(parameter.values)
            if date is not None:
                since = [d for d in since if d <= as_date(date)][-1:]
            rows += [
                (
                    key,
                    parameter.name.text(language),
                    parameter.values[d].value,
                    parameter.unit,
                    d,
                    parameter.values[d].source,
                )
                for d in since
            ]
        columns = ["parameter", "name", "value", "measured_in", "holds_from", "source"]
        return Result(
            table=pd.DataFrame(rows, columns=columns),
            estimand="",
            unit="number",
            title=f"Parameters of {self.file}" + (f", in force on {as_date(date)}" if date else ""),
            formats={"value": "number"},
        )


def load_params(path: str | Path) -> Params:
    """Read and check one parameter file; all faults are collected and raised once.

    Raises
    ------
    ParamsError
        YAML syntax (with the line), duplicate keys, unknown keys (with the nearest names), a missing source,
        a value out of its range, an unparsable date.
    """
    return _check_params(load_yaml(path), Path(path).name)


def read_params(text: str, file: str = "params") -> Params:
    """The same from text."""
    return _check_params(parse_yaml(text, file), file)


def _check_params(written: Mapping[str, Any], file: str) -> Params:
    if not written:
        raise ParamsError(f"{file}: holds no parameters. Needed: key: {{name, unit, values}}.")
    faults: list[str] = []
    parameters = {}
    for key, held in written.items():
        parameters[str(key)] = validate(Parameter, held, f"{file}: {key}", faults)
        faults += range_faults(held, ["values"], f"{file}: {key}")
    if faults:
        raise ParamsError(faults)
    return Params(file, parameters)


def range_faults(written: Any, fields: Iterable[str], where: str) -> list[str]:
    """Values under ``fields`` (each ``{date: {value}}``) outside ``written["range"]``, read from what was written.

    Read before anything else is checked, so that it is told in one go with the other faults.
    """
    match written:
        case {"range": [int() | float() as low, int() | float() as high]}:
            pass
        case _:
            return []
    if low > high:
        return [f"{where}: range [{low:g}, {high:g}] is upside down. Allowed: [lowest, highest]."]
    faults = []
    for field in fields:
        dated = written.get(field)
        for date, held in dated.items() if isinstance(dated, dict) else ():
            value = held.get("value") if isinstance(held, dict) else None
            if isinstance(value, (int, float)) and not low <= value <= high:
                faults.append(
                    f"{where}.{field}.{date}.value: {value:g} is out of range. Allowed: {low:g} to {high:g}."
                )
    return faults
