"""The staged collection strategy in force, as ``params/strategy.yml`` writes it down."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import Field

from collectlab.core.errors import FrameError, ParamsError
from collectlab.core.params import Bilingual, Dated, Language
from collectlab.core.results import Result
from collectlab.core.written import Strict, as_date, load_yaml, validate


class Due(Strict):
    """An action the strategy asks for, and the last day past due by which it should be done."""

    channel: str = Field(min_length=1, description="a channel, such as call")
    day: int = Field(description="a whole day past due (negative: before the due date)")
    what: Bilingual = Field(description="{en: …, zh: …}")


class Handling(Strict):
    """How accounts are handled: channels allowed, actions due, who does it, when it goes further."""

    name: Bilingual = Field(description="{en: …, zh: …}")
    channels: tuple[str, ...] = Field(min_length=1, description="a list of channels, such as [sms, call]")
    due: tuple[Due, ...] = Field((), description="a list of {channel, day, what}")
    who: Bilingual = Field(description="{en: …, zh: …}")
    escalation: Bilingual = Field(description="{en: …, zh: …}")


class Stage(Handling):
    """A stage: handling from ``dpd_from`` to ``dpd_to`` days past due, both included."""

    key: str = Field(min_length=1, description="a short name")
    dpd_from: int | None = Field(None, description="a whole number of days; none: open below")
    dpd_to: int | None = Field(None, description="a whole number of days; none: open above")

    def covers(self, dpd: float) -> bool:
        """Whether ``dpd`` days past due lie in this stage."""
        return (self.dpd_from is None or dpd >= self.dpd_from) and (self.dpd_to is None or dpd <= self.dpd_to)


class Version(Strict):
    """The strategy as it holds from one date."""

    source: str = Field(min_length=1, description="the document the strategy was taken from")
    stages: tuple[Stage, ...] = Field(min_length=1, description="a list of stages")
    hardship: Handling | None = Field(None, description="handling while hardship is noted")


class _File(Strict):
    versions: Dated[Version] = Field(min_length=1, description="{date: {source, stages, hardship}}")


@dataclass(frozen=True)
class Strategy:
    """The strategy in force on a date."""

    since: dt.date
    source: str
    stages: tuple[Stage, ...]
    hardship: Handling | None = None

    def stage_of(self, dpd: float) -> Stage:
        """The stage of an account ``dpd`` days past due.

        Raises
        ------
        FrameError
            ``dpd`` is missing or no number.
        """
        for stage in self.stages:
            if isinstance(dpd, (int, float)) and not pd.isna(dpd) and stage.covers(int(dpd // 1)):
                return stage
        raise FrameError(f"days past due: found {dpd!r}. Allowed: a number.")

    def stage_table(self) -> pd.DataFrame:
        """For counting: ``stage, dpd_from, dpd_to, first_due_day, channels``, in order.

        Missing bounds are open; ``channels`` is a tuple.
        """
        return pd.DataFrame(
            {
                "stage": [s.key for s in self.stages],
                "dpd_from": pd.array([s.dpd_from for s in self.stages], dtype="Int64"),
                "dpd_to": pd.array([s.dpd_to for s in self.stages], dtype="Int64"),
                "first_due_day": pd.array(
                    [min((d.day for d in s.due), default=None) for s in self.stages], dtype="Int64"
                ),
                "channels": [s.channels for s in self.stages],
            }
        )

    def table(self, language: Language = "en") -> Result:
        """The strategy as people read it: one row per stage, hardship last."""
        rows = []
        handlings: list[Any] = [*self.stages, *([self.hardship] if self.hardship else [])]
        for h in handlings:
            rows.append(
                {
                    "stage": h.name.text(language),
                    "days_past_due": _span(h) if isinstance(h, Stage) else "any, while noted",
                    "channels": ", ".join(h.channels),
                    "due": "; ".join(
                        f"day {d.day}: {d.channel} – {d.what.text(language)}" for d in h.due
                    ).replace("day -", "day −"),
                    "who": h.who.text(language),
                    "escalation": h.escalation.text(language),
                }
            )
        return Result(
            table=pd.DataFrame(rows),
            estimand="",
            title=f"Strategy in force from {self.since}",
            notes=(f"Source: {self.source}.",),
        )


def _span(stage: Stage) -> str:
    if stage.dpd_from is None:
        return f"up to {stage.dpd_to}"
    return f"{stage.dpd_from} and more" if stage.dpd_to is None else f"{stage.dpd_from} to {stage.dpd_to}"


@dataclass(frozen=True)
class Strategies:
    """The strategy file: every version by the date it holds from."""

    file: str
    versions: Mapping[dt.date, Version]

    def on(self, date: str | dt.date) -> Strategy:
        """The strategy in force on a date.

        Raises
        ------
        ParamsError
            No version is in force on that date.
        """
        date = as_date(date)
        since = max((d for d in self.versions if d <= date), default=None)
        if since is None:
            first = min(self.versions)
            raise ParamsError(f"{self.file}: no strategy in force on {date}. The first holds from {first}.")
        version = self.versions[since]
        return Strategy(since, version.source, version.stages, version.hardship)


def load_strategy(path: str | Path) -> Strategies:
    """Read and check ``strategy.yml``.

    Parameters
    ----------
    path : path
        The file; how to write one: ``params/README.md``.

    Returns
    -------
    Strategies
        All versions; ``.on(date)`` gives the :class:`Strategy` in force.

    Raises
    ------
    ParamsError
        All faults of the file at once: also overlapping stages, and days that no stage covers.

    Examples
    --------
    >>> strategy = load_strategy("params/strategy.yml").on("2026-10-31")
    >>> strategy.stage_of(45) in strategy.stages
    True
    """
    file = Path(path).name
    faults: list[str] = []
    written = validate(_File, load_yaml(path), file, faults)
    if written is not None:
        for date, version in written.versions.items():
            faults += _gaps(version, f"{file}: versions.{date}")
    if faults:
        raise ParamsError(faults)
    return Strategies(file, written.versions)


def _gaps(version: Version, where: str) -> list[str]:
    """Overlaps, and days from 0 on that no stage covers."""
    faults = []
    keys = [s.key for s in version.stages]
    faults += [
        f"{where}: stage {k!r} stands twice. Allowed: once."
        for k in sorted({k for k in keys if keys.count(k) > 1})
    ]
    faults += [
        f"{where}: stage {s.key!r} runs from {s.dpd_from} to {s.dpd_to}. Allowed: dpd_from ≤ dpd_to."
        for s in version.stages
        if s.dpd_from is not None and s.dpd_to is not None and s.dpd_from > s.dpd_to
    ]
    lowest, open_above = float("-inf"), float("inf")
    spans = sorted(
        (lowest if s.dpd_from is None else s.dpd_from, open_above if s.dpd_to is None else s.dpd_to, s.key)
        for s in version.stages
    )
    if spans[0][0] > 0:
        faults.append(f"{where}: no stage covers 0 to {spans[0][0] - 1:g} days past due.")
    for (_, end, before), (start, _, after) in pairwise(spans):
        if start <= end:
            faults.append(f"{where}: stages {before!r} and {after!r} overlap at {start:g} days past due.")
        elif start > end + 1:
            faults.append(f"{where}: no stage covers {end + 1:g} to {start - 1:g} days past due.")
    if spans[-1][1] != open_above:
        faults.append(f"{where}: no stage covers {spans[-1][1] + 1:g} days past due and more.")
    return faults
