"""Schemes of provisioning classes, as ``params/provisions.yml`` writes them: days past due, probation, coverage."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pydantic import Field

from collectlab.book.episodes import load_definitions
from collectlab.core.errors import ParamsError
from collectlab.core.params import Bilingual, Dated, DatedValue
from collectlab.core.results import Result
from collectlab.core.written import Strict, as_date, load_yaml, unknown, validate


class _Class(Strict):
    name: Bilingual = Field(description="{en: …, zh: …}")
    from_dpd: int = Field(ge=0, strict=True, description="whole days past due ≥ 0")
    coverage: Dated[DatedValue] = Field(min_length=1, description="{date: {value: …, source: …}}")


class _Probation(Strict):
    like: str | None = Field(None, description="a definition of definitions.yml")
    months: int | None = Field(None, ge=0, le=120, strict=True, description="whole months from 0 to 120")
    months_forborne: int | None = Field(
        None, ge=0, le=120, strict=True, description="whole months from 0 to 120"
    )


class _Forborne(Strict):
    at_least: str = Field(description="one of the classes")
    months: int = Field(ge=0, le=120, strict=True, description="whole months from 0 to 120")


class _Scheme(Strict):
    name: Bilingual = Field(description="{en: …, zh: …}")
    source: str = Field(min_length=1, description="the rule the classes come from")
    impaired_from: str = Field(description="one of the classes")
    probation: _Probation = Field(description="{like: …} or {months: …, months_forborne: …}")
    forborne: _Forborne | None = Field(None, description="{at_least: …, months: …}")
    classes: dict[str, _Class] = Field(
        min_length=2, description="{class: {name, from_dpd, coverage}}, two or more"
    )


@dataclass(frozen=True, kw_only=True)
class Scheme:
    """A scheme of classes, from good to bad.

    Attributes
    ----------
    key, name, source : str
    classes, labels : tuple of str
        Keys and names of the classes, from good to bad.
    from_dpd : tuple of int
        Days past due from which an account is at least in the class.
    impaired : int
        Position of the first impaired class.
    probation, probation_forborne : int
        Whole months seen current before an impaired account may leave; the same under forbearance.
    forborne_class, forborne_months : int
        The class a forborne account is at least in, and for how many months; 0 months: no such rule.
    coverage : mapping
        Class → {date: (ratio, source)}.
    """

    key: str
    name: str
    source: str
    classes: tuple[str, ...]
    labels: tuple[str, ...]
    from_dpd: tuple[int, ...]
    impaired: int
    probation: int
    probation_forborne: int
    forborne_class: int = 0
    forborne_months: int = 0
    coverage: Mapping[str, Mapping[dt.date, tuple[float, str]]]

    def ratios(self, date: dt.date | str) -> np.ndarray:
        """Coverage ratio of each class in force on ``date``.

        Raises
        ------
        ParamsError
            A class has none yet.
        """
        date = as_date(date)
        found, faults = [], []
        for key in self.classes:
            since = max((d for d in self.coverage[key] if d <= date), default=None)
            if since is None:
                faults.append(
                    f"{self.key}.{key}: no coverage ratio in force on {date}. The first holds from "
                    f"{min(self.coverage[key])}."
                )
            else:
                found.append(self.coverage[key][since][0])
        if faults:
            raise ParamsError(faults)
        return np.array(found)

    def table(self, date: dt.date | str) -> Result:
        """The classes with the days and the ratio in force on ``date``, for the appendix."""
        ratios, date = self.ratios(date), as_date(date)
        rows = [
            {
                "class": label, "days_past_due_from": low, "coverage": ratio,
                "holds_from": (since := max(d for d in self.coverage[key] if d <= date)),
                "source": self.coverage[key][since][1],
            }
            for key, label, low, ratio in zip(self.classes, self.labels, self.from_dpd, ratios)
        ]  # fmt: skip
        return Result(
            table=pd.DataFrame(rows),
            estimand=self.source + ".",
            title=f"Coverage ratios: {self.name}",
            formats={"coverage": "share"},
        )


def load_schemes(path: str | Path, definitions: str | Path | None = None) -> dict[str, Scheme]:
    """Read and check ``provisions.yml``.

    Parameters
    ----------
    path : path
        The file.
    definitions : path, optional
        ``definitions.yml``, for a probation that is like a definition's; default the one beside ``path``.

    Returns
    -------
    dict of str to Scheme

    Raises
    ------
    ParamsError
        All faults at once: a ratio out of 0–1 or lower than that of a better class on some date, days past due that
        do not rise from 0, an unknown class or definition, a missing source.

    Examples
    --------
    >>> schemes = load_schemes("params/provisions.yml")
    >>> schemes["ifrs9"].from_dpd, schemes["five_class"].ratios("2026-10-31").tolist()
    ((0, 31, 90), [0.01, 0.02, 0.25, 0.5, 1.0])
    """
    path = Path(path)
    written = load_yaml(path)
    faults: list[str] = [] if written else [f"{path.name}: holds no scheme."]
    found = {}
    beside = Path(definitions) if definitions is not None else path.parent / "definitions.yml"
    known = load_definitions(beside) if beside.is_file() else {}
    for key, held in written.items():
        where = f"{path.name}: {key}"
        scheme = validate(_Scheme, held, where, faults)
        if scheme is not None and not (own := _scheme_faults(scheme, where, known)):
            found[str(key)] = _scheme(str(key), scheme, known)
        elif scheme is not None:
            faults += own
    if faults:
        raise ParamsError(faults)
    return found


def _scheme_faults(scheme: _Scheme, where: str, definitions: Mapping[str, Any]) -> list[str]:
    faults = []
    names, parts = list(scheme.classes), list(scheme.classes.values())
    for key in (scheme.impaired_from, *([scheme.forborne.at_least] if scheme.forborne else [])):
        if key not in names:
            faults.append(unknown(where, key, names))
    if scheme.impaired_from == names[0]:
        faults.append(f"{where}.impaired_from: {names[0]} is the best class. Allowed: any other.")
    days = [part.from_dpd for part in parts]
    if days[0] != 0 or any(b <= a for a, b in pairwise(days)):
        faults.append(f"{where}.classes: from_dpd is {days}. Allowed: rising whole days, the first 0.")
    dates = sorted({d for part in parts for d in part.coverage})
    for key, part in scheme.classes.items():
        faults += [
            f"{where}.{key}.coverage.{d}: {held.value:g} is out of range. Allowed: 0 to 1."
            for d, held in part.coverage.items()
            if not 0 <= held.value <= 1
        ]
    for date in dates:
        held = [(k, p.coverage[max(d for d in p.coverage if d <= date)].value) for k, p in scheme.classes.items()
                if any(d <= date for d in p.coverage)]  # fmt: skip
        faults += [
            f"{where}: on {date} the coverage of {worse} ({b:g}) is below that of {better} ({a:g}). "
            "Allowed: not falling from class to class."
            for (better, a), (worse, b) in pairwise(held)
            if b < a
        ]
    probation = scheme.probation
    if (probation.like is None) == (probation.months is None):
        faults.append(
            f"{where}.probation: needs like or months, one of the two. Allowed: {{like: a definition}} or {{months: 3}}."
        )
    elif probation.like is not None and probation.like not in definitions:
        faults.append(unknown(f"{where}.probation.like", probation.like, definitions))
    return faults


def _scheme(key: str, held: _Scheme, definitions: Mapping[str, Any]) -> Scheme:
    if held.probation.like is not None:
        like = definitions[held.probation.like]
        months, forborne = like.probation_months, like.probation_months_forborne
    else:
        months, forborne = held.probation.months, held.probation.months_forborne
    names = list(held.classes)
    return Scheme(
        key=key,
        name=held.name.en,
        source=" ".join(held.source.split()),
        classes=tuple(names),
        labels=tuple(c.name.en for c in held.classes.values()),
        from_dpd=tuple(c.from_dpd for c in held.classes.values()),
        impaired=names.index(held.impaired_from),
        probation=months,
        probation_forborne=max(months, forborne or 0),
        forborne_class=names.index(held.forborne.at_least) if held.forborne else 0,
        forborne_months=held.forborne.months if held.forborne else 0,
        coverage={
            k: {d: (v.value, v.source) for d, v in c.coverage.items()} for k, c in held.classes.items()
        },
    )
