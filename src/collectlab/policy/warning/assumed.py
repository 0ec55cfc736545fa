"""What ``params/warning.yml`` says: columns that must not be used, and what acting on a warning is taken to bring."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import Field

from collectlab.core.errors import FrameError, ParamsError
from collectlab.core.params import Bilingual, Parameter, Params, range_faults
from collectlab.core.written import Strict, as_date, load_yaml, unknown, validate
from collectlab.policy.warning.features import TARGETS


class Forbidden(Strict):
    """A column that must not be used, from when on, and by what rule."""

    name: Bilingual = Field(description="{en: …, zh: …}")
    since: dt.date = Field(description="a date, such as 2026-01-31")
    source: str = Field(min_length=1, description="the document the rule was taken from")


@dataclass(frozen=True, kw_only=True)
class Acting:
    """What acting on a warning is taken to bring.

    Attributes
    ----------
    cost : float
        Money per account warned of.
    effect, effect_low, effect_high : float
        Share of the events that acting prevents, with its range. An assumption, unless an experiment says it.
    loss : float
        Share of the balance lost for good through one event, where the book cannot tell.
    given_off : float
        Share of a charged-off balance that is never recovered.
    warned_share : float
        Share of the accounts that is warned of.
    source : str
        Where the effect was taken from.
    """

    cost: float
    effect: float
    effect_low: float
    effect_high: float
    loss: float
    given_off: float
    warned_share: float
    source: str = "an assumption"

    def __post_init__(self) -> None:
        names = ("cost", "effect", "effect_low", "effect_high", "loss", "given_off", "warned_share")
        faults = [
            f"{name} is {value!r}. Allowed: a number."
            for name in names
            if not isinstance(value := getattr(self, name), (int, float, np.number))
            or isinstance(value, bool)
        ]
        if faults:
            raise FrameError(faults)
        if not 0 <= self.effect_low <= self.effect <= self.effect_high <= 1:
            faults.append(
                f"effect is {self.effect:g}, from {self.effect_low:g} to {self.effect_high:g}. "
                "Allowed: shares of the events, the lowest first."
            )
        if not self.cost >= 0:
            faults.append(f"cost is {self.cost:g}. Allowed: money ≥ 0.")
        for name in ("loss", "given_off", "warned_share"):
            if not 0 <= getattr(self, name) <= 1:
                faults.append(f"{name} is {getattr(self, name):g}. Allowed: a share from 0 to 1.")
        if faults:
            raise FrameError(faults)


@dataclass(frozen=True)
class WarningParams:
    """The file: ``forbidden`` columns and ``assumptions``."""

    file: str
    forbidden: Mapping[str, Forbidden]
    assumptions: Params

    def forbidden_on(self, date: str | dt.date) -> tuple[str, ...]:
        """The columns that must not be used on a date."""
        return tuple(key for key, held in self.forbidden.items() if held.since <= as_date(date))

    def acting(self, target: str, date: str | dt.date) -> Acting:
        """What acting on warnings of ``target`` is taken to bring on a date."""
        if target not in TARGETS:
            raise FrameError(f"target is {target!r}. Allowed: {', '.join(TARGETS)}.")
        own = ("cost", "effect", "effect_low", "effect_high", "loss")
        held = self.assumptions.on(date, *(f"{target}_{k}" for k in own), "loss_given_off", "warned_share")
        try:
            return Acting(
                **{k: held[f"{target}_{k}"].value for k in own},
                given_off=held["loss_given_off"].value,
                warned_share=held["warned_share"].value,
                source=held[f"{target}_effect"].source,
            )
        except FrameError as error:
            raise ParamsError([f"{self.file}: {target}: {fault}" for fault in error.faults]) from None


def load_warning(path: str | Path) -> WarningParams:
    """Read and check ``warning.yml``; all faults at once.

    Parameters
    ----------
    path : path
        The file; the one in ``params/`` says what each part means.

    Returns
    -------
    WarningParams
        ``.forbidden_on(date)`` and ``.acting(target, date)`` give what is in force.

    Raises
    ------
    ParamsError
        As :func:`collectlab.core.params.load_params`.

    Examples
    --------
    >>> params = load_warning("params/warning.yml")
    >>> "gender" in params.forbidden_on("2026-10-31"), params.acting("falls", "2026-10-31").effect
    (True, 0.08)
    """
    file, written = Path(path).name, load_yaml(path)
    parts = ("forbidden", "assumptions")
    faults = [unknown(file, str(k), parts) for k in written if k not in parts]
    faults += [
        f"{file}: {part}: missing. Needed: {' and '.join(parts)}." for part in parts if part not in written
    ]
    found: dict[str, dict] = {part: {} for part in parts}
    for part, model in (("forbidden", Forbidden), ("assumptions", Parameter)):
        section = written.get(part) or {}
        if not isinstance(section, dict):
            faults.append(f"{file}: {part}: found {section!r}. Needed: keys and values.")
            continue
        for key, held in section.items():
            found[part][str(key)] = validate(model, held, f"{file}: {part}.{key}", faults)
            faults += range_faults(held, ["values"], f"{file}: {part}.{key}")
    if faults:
        raise ParamsError(faults)
    return WarningParams(file, found["forbidden"], Params(file, found["assumptions"]))
