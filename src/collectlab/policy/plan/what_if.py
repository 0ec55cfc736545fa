"""What if the policy were changed here: one action in place of what is in force, in some of the states."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pydantic import Field

from collectlab.core.engine import collect, require, scan
from collectlab.core.errors import FrameError, NotAvailable, ParamsError, first_few
from collectlab.core.jackknife import check_level
from collectlab.core.params import Bilingual
from collectlab.core.results import Result
from collectlab.core.written import Strict, as_date, load_yaml, validate
from collectlab.policy.plan.compare import COVERED, state_parts
from collectlab.policy.plan.model import DecisionModel
from collectlab.policy.plan.plan_worth import check_capacity, occupancy, spread, value

#: A cell with fewer effective rows than this supports no figure of its own.
SUPPORTED = 30


#: What of a month is money.
MONEY = frozenset({"net", "paid", "cost", "budget", "lost", "owed"})


class Change(Strict):
    """A change of policy: in states of these days past due and words, ``use`` this action."""

    name: Bilingual = Field(description="{en: …, zh: …}")
    since: dt.date = Field(description="the day from which it is asked, YYYY-MM-DD")
    until: dt.date | None = Field(None, description="the last day on which it is asked, YYYY-MM-DD")
    source: str = Field(min_length=1, description="the document that proposes the change")
    use: str = Field(min_length=1, description="the strategy to follow, such as challenger")
    dpd_from: int = Field(1, ge=1, description="first day past due, a whole number ≥ 1")
    dpd_to: int | None = Field(None, ge=1, description="last day past due; left out: open above")
    among: tuple[str, ...] = Field((), description="words of the states, such as [large, reached]")


class _File(Strict):
    changes: dict[str, Change] = Field(min_length=1, description="{key: {name, since, source, use, …}}")


@dataclass(frozen=True, kw_only=True)
class WhatIf(Result):
    """What a change of policy would bring a month, what it takes, and how far the log supports it.

    Attributes
    ----------
    table : pandas.DataFrame
        measure, unit, now, changed, estimate (the difference), std_error, conf_low, conf_high: net, paid, cost and
        each thing the model counts (calls, visits, agent_hours, complaints …), a month.
    capacity : pandas.DataFrame
        resource, limit, now, changed, enough.
    support : pandas.DataFrame
        state, n (rows under the new action), effective_n, account_months, share_by_lot, supported: one row a changed
        state.
    grade : str
        suggestive where the rows of the new action were mostly drawn by lot, else model.
    enough : bool
        Whether every limit still suffices.
    share : numpy.ndarray, (states, actions)
        The changed plan.
    """

    capacity: pd.DataFrame
    support: pd.DataFrame
    grade: str
    enough: bool
    share: np.ndarray

    def gain(self) -> pd.Series:
        """The row of the net money.

        Returns
        -------
        pandas.Series
        """
        return self.table.set_index("measure").loc["net"]


def load_changes(path: str | Path, on: str | dt.date) -> dict[str, Change]:
    """The changes of ``what_if.yml`` that are asked about on a date.

    Parameters
    ----------
    path : path
    on : date or str

    Returns
    -------
    dict of str to Change

    Raises
    ------
    ParamsError
        All faults at once: unknown keys, no source, days upside down.

    Examples
    --------
    >>> load_changes("params/what_if.yml", "2026-10-31")["calls_from_15"].dpd_from
    15
    """
    file = Path(path).name
    faults: list[str] = []
    written = validate(_File, load_yaml(path), file, faults)
    for key, change in written.changes.items() if written is not None else ():
        where = f"{file}: changes.{key}"
        if change.dpd_to is not None and change.dpd_to < change.dpd_from:
            faults.append(
                f"{where}: dpd_to {change.dpd_to} is before dpd_from {change.dpd_from}. Allowed: the same or later."
            )
        if change.until is not None and change.until < change.since:
            faults.append(f"{where}: ends on {change.until}, before {change.since}. Allowed: until ≥ since.")
    if written is None or faults:
        raise ParamsError(faults)
    on = as_date(on)
    return {k: c for k, c in written.changes.items() if c.since <= on and (c.until is None or on <= c.until)}


def what_if(
    model: DecisionModel,
    change: Change | Mapping[str, Any],
    *,
    capacity: Mapping[str, float] | None = None,
    rows: pd.DataFrame | None = None,
    conf_level: float = 0.95,
) -> WhatIf:
    r"""What a change of policy brings a month against the strategy in force, with its interval.

    Both plans :math:`\pi` run on the same estimated moves; with the account-months
    :math:`x^\pi = b + \delta P_\pi^\top x^\pi`, each figure is :math:`\sum_{s,a} x^\pi_s \pi_{sa} f_{sa}`; the
    difference is taken draw by draw, so that what both share cancels out.

    Parameters
    ----------
    model : DecisionModel
        Its states must begin with their days past due.
    change : Change or mapping
        Where, and which action instead; a mapping as in what_if.yml.
    capacity : mapping of str to float, optional
        Units a month that there are.
    rows : pandas.DataFrame, optional
        The rows the model was made of (``decision_rows``): for the share drawn by lot.
    conf_level : float

    Returns
    -------
    WhatIf

    Raises
    ------
    FrameError
        An unknown action or word, days that are no edges of the model's stages.
    NotAvailable
        Refused: the action was not tried in states that hold more than a quarter of the account-months concerned, or
        nothing would change.

    Examples
    --------
    >>> import numpy as np
    >>> from collectlab.policy.plan.model import DecisionModel
    >>> stay = np.zeros((2, 2, 2)); stay[0, :, 1] = [0.5, 0.3]
    >>> model = DecisionModel.of(
    ...     states=("1–29", "30+"), actions=("letter", "call"), exits=("cured",), move=stay,
    ...     leave=1 - stay.sum(axis=2, keepdims=True), reward=[[5, 15], [2, 2]],
    ...     uses={"agent_hours": [[0, 1], [0, 1]]}, inflow=[40, 0], in_force=[[1, 0], [1, 0]])
    >>> call = Change(name={"en": "Call at once", "zh": "立即外呼"}, since="2026-01-01", source="an example",
    ...               use="call", dpd_from=1, dpd_to=29)
    >>> found = what_if(model, call, capacity={"agent_hours": 30})
    >>> round(float(found.gain()["estimate"]), 1), found.enough
    (384.0, False)
    """
    check_level(conf_level)
    change = _change(change)
    limited = check_capacity(model, capacity or {})
    if rows is not None:
        needed = ("action", "state", "next_state", "randomised")
        require(scan(rows), *needed)
        rows = collect(scan(rows).select(*needed))
    at = changed_states(model, change)
    action = list(model.actions).index(change.use)
    force = np.asarray(model.in_force, dtype=float)
    months = occupancy(model.move, force, model.inflow, model.discount)
    at, left = _supported(model, change, at, action, months)
    share = force.copy()
    share[at] = np.eye(len(model.actions))[action]
    table = _table(model, force, share, conf_level)
    limits = _limits(table, limited)
    support = _support(model, rows, at, action, months)
    by_lot = _weighted(support["share_by_lot"], support["account_months"])
    notes = ["The strategy in force goes on everywhere else. A month of the steady state, discounted."]
    if left > 0.0005:
        notes.append(
            f"{change.use} was not tried enough in states with {100 * left:.1f} % of the account-months concerned: "
            "they stay as now."
        )
    short = limits.loc[~limits["enough"], "resource"].tolist()
    if short:
        notes.append(f"The capacity does not suffice: {first_few(short)}.")
    return WhatIf(
        table=table,
        estimand=f"{change.name.en}: {change.use} instead of what is in force, difference a month",
        unit="number",
        title=change.name.en,
        notes=tuple(notes),
        formats={"now": "number", "changed": "number", "estimate": "Difference"},
        conf_level=conf_level,
        capacity=limits,
        support=support,
        grade="suggestive" if by_lot >= 0.5 else "model",
        enough=not short,
        share=share,
    )


def _change(given: Any) -> Change:
    if isinstance(given, Change):
        return given
    if not isinstance(given, Mapping):
        raise ParamsError(f"change is a {type(given).__name__}. Needed: a Change, or its keys and values.")
    faults: list[str] = []
    made = validate(Change, dict(given), "change", faults)
    if made is None or faults:
        raise ParamsError(faults)
    return made


def changed_states(model: DecisionModel, change: Change) -> np.ndarray:
    """Which states a change is for: their numbers.

    Parameters
    ----------
    model : DecisionModel
    change : Change

    Returns
    -------
    numpy.ndarray of int

    Raises
    ------
    FrameError
        All at once: an unknown action, unknown words, days that are no edges of stages, no state at all.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> model = SimpleNamespace(states=("1–14 | large", "15+ | large"), actions=("call",))
    >>> change = Change(name={"en": "a", "zh": "b"}, since="2026-01-01", source="c", use="call", dpd_from=15)
    >>> changed_states(model, change)
    array([1])
    """
    parts = state_parts(model.states)
    faults = []
    if change.use not in model.actions:
        faults.append(f"use: {change.use!r} is no action. Allowed: {first_few(list(model.actions), 10)}.")
    words = sorted({w for own in parts["words"] for w in own})
    unknown = [w for w in change.among if w not in words]
    if unknown:
        faults.append(
            f"among: {first_few(unknown)} in no state. Allowed: {first_few(words, 12) or 'none: the states have no words'}."
        )
    starts, ends = sorted(set(parts["dpd_from"])), sorted(set(parts["dpd_to"]))
    top = np.inf if change.dpd_to is None else change.dpd_to
    if change.dpd_from not in starts:
        faults.append(f"dpd_from: {change.dpd_from} begins no stage. Allowed: {first_few(starts, 10)}.")
    if np.isfinite(top) and top not in ends:
        shown = [f"{e:.0f}" for e in ends if np.isfinite(e)]
        faults.append(f"dpd_to: {top:.0f} ends no stage. Allowed: {first_few(shown, 10)}, or left out.")
    if faults:
        raise FrameError(faults)
    kept = (parts["dpd_from"] >= change.dpd_from) & (parts["dpd_to"] <= top)
    kept &= parts["words"].map(lambda own: set(change.among) <= set(own))
    if not kept.any():
        raise FrameError("the change is for no state: no account has all its words on those days past due.")
    return np.flatnonzero(kept.to_numpy())


def _supported(
    model, change: Change, at: np.ndarray, action: int, months: np.ndarray
) -> tuple[np.ndarray, float]:
    """The states where the action was tried, and the share of the account-months left as now; or a refusal."""
    total = months[at].sum()
    if not total > 0:
        raise NotAvailable(f"{change.name.en}: no account comes into the states concerned.")
    tried = np.asarray(model.tried)[at, action]
    without = float(months[at[~tried]].sum() / total)
    if without > 1 - COVERED + 1e-12:
        names = [model.states[s] for s in at[~tried]]
        raise NotAvailable(
            f"{change.name.en}: refused. {change.use} was never tried, or too rarely, in {len(names):,} of {len(at):,} "
            f"states ({first_few(names, 3)}), with {100 * without:.0f} % of the account-months concerned. "
            "Try it there first, on a part drawn by lot."
        )
    return at[tried], without


def _table(model: DecisionModel, force: np.ndarray, share: np.ndarray, conf_level: float) -> pd.DataFrame:
    before, after = value(model, force), value(model, share)
    rows = []
    for name, now in before.amounts.items():
        difference = after.amounts[name] - now
        drawn = after.draws[name] - before.draws[name] if name in before.draws else None
        unit = "money" if name in MONEY else "number"
        rows.append(
            (name, unit, now, after.amounts[name], difference, *spread(difference, drawn, conf_level))
        )
    columns = ["measure", "unit", "now", "changed", "estimate", "std_error", "conf_low", "conf_high"]
    return pd.DataFrame(rows, columns=columns)


def _limits(table: pd.DataFrame, capacity: Mapping[str, float]) -> pd.DataFrame:
    known = table.set_index("measure")
    rows = [
        (
            name,
            float(limit),
            known.loc[name, "now"],
            known.loc[name, "changed"],
            known.loc[name, "changed"] <= limit * (1 + 1e-9),
        )
        for name, limit in capacity.items()
    ]
    out = pd.DataFrame(rows, columns=["resource", "limit", "now", "changed", "enough"])
    return out.astype({"enough": bool})


def _support(
    model, rows: pd.DataFrame | None, at: Sequence[int], action: int, months: np.ndarray
) -> pd.DataFrame:
    """How many rows of the log lie under the new action in each changed state, and how many they are worth."""
    out = pd.DataFrame(
        {
            "state": [model.states[s] for s in at],
            "n": np.asarray(model.n)[at, action].astype(int),
            "effective_n": np.asarray(model.effective, dtype=float)[at, action],
            "account_months": months[at],
            "share_by_lot": np.nan,
        }
    )
    if rows is not None:
        mine = rows[(rows["action"] == model.actions[action]) & rows["next_state"].notna()]
        out["share_by_lot"] = out["state"].map(mine.groupby("state")["randomised"].mean())
    return out.assign(supported=out["effective_n"] >= SUPPORTED)


def _weighted(values: pd.Series, weights: pd.Series) -> float:
    known = values.notna()
    total = weights[known].sum()
    return float((values[known] * weights[known]).sum() / total) if total > 0 else 0.0
