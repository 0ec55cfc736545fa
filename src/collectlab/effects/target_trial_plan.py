"""A target trial, declared: who is eligible, when the clock starts, what is started, how long it is followed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from collectlab.core.errors import FrameError, first_few, nearest
from collectlab.core.written import load_yaml
from collectlab.effects.target_trial_later import later_faults, refuse_later, thing_of

#: Outcome -> how a table calls it.
OUTCOMES = {"cured": "cured", "charged_off": "charged off", "paid": "paid anything"}


@dataclass(frozen=True, kw_only=True)
class TargetTrial:
    """The trial one would run if one could; checked as a whole when it is made.

    Parameters
    ----------
    treatment : str
        A channel of the action log (call, visit, letter, sms, legal, agency, …).
    grace : int
        Days after time zero within which the treatment starts, spread evenly over the days on which it can.
        The other strategy is never to start it during the follow-up.
    follow_up : int
        Days after time zero over which the outcome counts.
    outcome : {"cured", "charged_off", "paid"}
        Of an account past due; the other ends compete with it. ``paid`` is the first payment of any amount.
    time_zero : "first_seen" or int
        The first snapshot that shows the episode past due, or that many days past due.
    days_past_due : (int, int), optional
        Lowest and highest days past due at time zero.
    strategies : tuple of str
        Collection strategies in force at time zero; none given: all.
    eligible : str, optional
        SQL condition over what was known at time zero (the columns of ``accounts``, days_past_due, strategy …).
    covariates : tuple of str
        What those who choose when to act go by, known at time zero; numbers or categories.
    truncate : float, optional
        Quantile at which weights are cut, such as 0.99; by default they are not.

    Raises
    ------
    FrameError
        With every fault at once; its subclass :class:`~collectlab.effects.target_trial_later.LaterTreatment`
        where the treatment is defined by something after time zero.

    Examples
    --------
    >>> trial = TargetTrial(treatment="visit", grace=14, follow_up=60, time_zero=30, covariates=("credit_score",))
    >>> print(trial.question)
    Does starting a visit within 14 days of 30 days past due change who is cured within 60 days, against never starting one?
    """

    treatment: str
    grace: int | None = None
    follow_up: int = 60
    outcome: str = "cured"
    time_zero: str | int = "first_seen"
    days_past_due: tuple[int, int] | None = None
    strategies: tuple[str, ...] = ()
    eligible: str | None = None
    covariates: tuple[str, ...] = ()
    truncate: float | None = None

    def __post_init__(self) -> None:
        for name in ("strategies", "covariates"):
            given = getattr(self, name)
            object.__setattr__(self, name, (given,) if isinstance(given, str) else tuple(given or ()))
        if isinstance(self.days_past_due, list):
            object.__setattr__(self, "days_past_due", tuple(self.days_past_due))
        zero = self.time_zero if _whole(self.time_zero) else None
        if self.grace is None or not isinstance(self.treatment, str) or _whole(self.grace):
            refuse_later(self.treatment, self.grace, zero)  # type: ignore[arg-type]
        if faults := self._faults():
            raise FrameError(faults)

    def _faults(self) -> list[str]:
        faults = []
        if not isinstance(self.treatment, str) or not self.treatment.strip():
            faults.append(
                f"treatment is {self.treatment!r}. Allowed: a channel of the action log, such as call."
            )
        if not _whole(self.grace) or self.grace < 1:  # type: ignore[operator]
            faults.append(f"grace is {self.grace!r}. Allowed: whole days ≥ 1.")
        if not _whole(self.follow_up) or self.follow_up < 1:
            faults.append(f"follow_up is {self.follow_up!r}. Allowed: whole days ≥ 1.")
        elif _whole(self.grace) and self.follow_up < self.grace:  # type: ignore[operator]
            faults.append(
                f"follow_up is {self.follow_up}, shorter than grace ({self.grace}). Allowed: at least it."
            )
        if self.outcome not in OUTCOMES:
            faults.append(f"outcome is {self.outcome!r}. Allowed: {', '.join(OUTCOMES)}.")
        if self.time_zero != "first_seen" and not (_whole(self.time_zero) and int(self.time_zero) >= 0):
            faults.append(f"time_zero is {self.time_zero!r}. Allowed: 'first_seen', or whole days past due.")
        if self.days_past_due is not None:
            span = self.days_past_due
            if len(span) != 2 or not all(_whole(d) and d >= 0 for d in span) or span[0] > span[1]:
                faults.append(f"days_past_due is {span}. Allowed: lowest and highest, such as (1, 30).")
        if self.truncate is not None and not (
            isinstance(self.truncate, (int, float)) and 0.5 <= self.truncate < 1
        ):
            faults.append(
                f"truncate is {self.truncate!r}. Allowed: a quantile from 0.5 to below 1, such as 0.99."
            )
        faults += later_faults("covariates", self.covariates)
        if self.eligible is not None:
            without_texts = re.sub(r"'[^']*'", "", self.eligible)
            faults += later_faults("eligible", dict.fromkeys(re.findall(r"[A-Za-z_]\w*", without_texts)))
        return faults

    @classmethod
    def from_mapping(cls, written: Mapping[str, Any], where: str = "trial") -> TargetTrial:
        """A trial from keys and values, as a YAML file holds them; an unknown key is a fault.

        Parameters
        ----------
        written : mapping
            The parameters by name.
        where : str
            What the faults call it.

        Returns
        -------
        TargetTrial

        Examples
        --------
        >>> TargetTrial.from_mapping({"treatment": "call", "grace": 7, "follow_up": 30}).grace
        7
        """
        allowed = [f.name for f in fields(cls)]
        faults = [
            f"{where}: no such key {key!r}. Nearest: {', '.join(nearest(str(key), allowed)) or first_few(allowed, 12)}."
            for key in written
            if key not in allowed
        ]
        if "treatment" not in written:
            faults.append(f"{where}: treatment: missing. Needed: a channel of the action log.")
        if faults:
            raise FrameError(faults)
        return cls(**written)

    @classmethod
    def load(cls, path: str | Path) -> TargetTrial:
        """A trial from a YAML file of its own.

        Parameters
        ----------
        path : path
            A file of keys and values, named as the parameters.

        Returns
        -------
        TargetTrial

        Examples
        --------
        >>> import tempfile, pathlib
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = pathlib.Path(folder) / "calls.yml"
        ...     _ = file.write_text("treatment: call\\ngrace: 7\\nstrategies: [champion]\\n")
        ...     TargetTrial.load(file).strategies
        ('champion',)
        """
        return cls.from_mapping(load_yaml(path), Path(path).name)

    @property
    def thing(self) -> str:
        """What is started, with its article: ``a call``, ``an SMS``."""
        return thing_of(self.treatment)

    @property
    def zero_words(self) -> str:
        """Time zero in words."""
        if self.time_zero == "first_seen":
            return "being first seen past due"
        return f"{self.time_zero} days past due"

    @property
    def question(self) -> str:
        """The question the trial answers, in one sentence."""
        outcome = OUTCOMES[self.outcome]
        verb = f"is {outcome}" if self.outcome != "paid" else "pays anything"
        return (
            f"Does starting {self.thing} within {self.grace} days of {self.zero_words} change who {verb} "
            f"within {self.follow_up} days, against never starting one?"
        )


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
