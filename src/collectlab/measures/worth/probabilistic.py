"""All assumptions at once: each drawn from what is known of it, and what follows for every option."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import narwhals as nw
import numpy as np
import pandas as pd

from collectlab.core.engine import collect, scan
from collectlab.core.errors import FrameError, first_few
from collectlab.core.jackknife import check_level
from collectlab.core.results import Result
from collectlab.measures.worth.checks import check_model, check_seed, with_numbers

#: Distributions, each told by its mean and standard deviation.
KINDS = ("normal", "beta", "gamma", "lognormal")


def draw(parameters: Mapping[str, Any], *, draws: int = 2000, seed: int = 1) -> pd.DataFrame:
    """Draws of parameters, one column each.

    Every family is told by its mean m and standard deviation s: normal; beta with a = m·k, b = (1 − m)·k,
    k = m(1 − m)/s² − 1, for shares; gamma with shape m²/s² and scale s²/m, for costs; lognormal with log-variance
    ln(1 + s²/m²), for ratios. Each parameter has a stream of its own, of the seed and its name: adding one does not
    change the others.

    Parameters
    ----------
    parameters : mapping
        Name → (family, mean, standard deviation), such as ``("beta", 0.30, 0.02)``; or a number, which is taken as
        known; or draws, as many as ``draws``. Parameters that go together are given as draws.
    draws : int
        How many, at least 100.
    seed : int

    Returns
    -------
    pandas.DataFrame
        One row per draw.

    Raises
    ------
    FrameError
        An unknown family, a mean or deviation that it cannot have, draws that are missing or of another length; all
        told at once.

    Examples
    --------
    >>> found = draw({"cost": ("gamma", 180.0, 20.0), "cured": ("beta", 0.3, 0.02), "price": 320.0}, draws=4000)
    >>> found.mean().round(2).tolist(), found["price"].nunique()
    ([180.51, 0.3, 320.0], 1)
    """
    if not isinstance(draws, int | np.integer) or draws < 100:
        raise FrameError(f"draws is {draws!r}. Allowed: a whole number from 100.")
    if not parameters:
        raise FrameError("parameters: there are none. Needed: name → (family, mean, standard deviation).")
    if not isinstance(parameters, Mapping):
        raise FrameError(
            f"parameters is a {type(parameters).__name__}. Allowed: name → (family, mean, standard deviation)."
        )
    seed = check_seed(seed)
    faults, out = [], {}
    for name, spec in parameters.items():
        try:
            out[str(name)] = _column(str(name), spec, int(draws), seed)
        except FrameError as error:
            faults += [f"{name}: {fault}" for fault in error.faults]
    if faults:
        raise FrameError(faults)
    return pd.DataFrame(out)


def _column(name: str, spec: Any, draws: int, seed: int) -> np.ndarray:
    if isinstance(spec, int | float | np.number) and not isinstance(spec, bool):
        if not np.isfinite(spec):
            raise FrameError(f"{spec!r} is not finite. Allowed: a number.")
        return np.full(draws, float(spec))
    if isinstance(spec, tuple | list) and 0 < len(spec) <= 4 and isinstance(spec[0], str):
        if len(spec) != 3:
            raise FrameError(f"{spec!r}. Allowed: (family, mean, standard deviation).")
        stream = int(hashlib.md5(f"{seed} {name}".encode(), usedforsecurity=False).hexdigest()[:16], 16)
        kind, mean, sd = spec
        return _family(kind, mean, sd, draws, np.random.default_rng(stream))
    try:
        given = np.asarray([] if isinstance(spec, str | bool) or spec is None else spec, dtype=float)
        texts = np.asarray(spec).dtype.kind in "US"
    except (TypeError, ValueError):
        given, texts = np.zeros(0), True
    if texts or not given.size:
        said = repr(spec) if len(repr(spec)) < 60 else f"{repr(spec)[:60]}…"
        raise FrameError(
            f"{said}. Allowed: (family, mean, standard deviation), a number, or {draws:,} draws."
        )
    if given.ndim != 1 or len(given) != draws:
        raise FrameError(f"{given.size:,} draws. Allowed: {draws:,}, as many as of the others.")
    if bad := int((~np.isfinite(given)).sum()):
        raise FrameError(f"{bad:,} of {draws:,} draws are missing or not finite. Allowed: numbers.")
    return given


def _family(kind: str, mean: Any, sd: Any, draws: int, random: np.random.Generator) -> np.ndarray:
    try:
        mean, sd = float(mean), float(sd)
    except (TypeError, ValueError):
        mean = sd = np.nan
    if kind not in KINDS:
        raise FrameError(f"family {kind!r}. Allowed: {', '.join(KINDS)}.")
    if not (np.isfinite(mean) and np.isfinite(sd) and sd >= 0):
        raise FrameError(f"mean {mean:g}, standard deviation {sd:g}. Allowed: finite, the latter ≥ 0.")
    if kind == "beta" and not (0 < mean < 1 and sd**2 < mean * (1 - mean)):
        raise FrameError(
            f"a beta of mean {mean:g} and standard deviation {sd:g}. Allowed: a probability strictly between 0 and 1, "
            "and a variance below mean · (1 − mean)."
        )
    if kind in ("gamma", "lognormal") and not mean > 0:
        raise FrameError(f"a {kind} of mean {mean:g}. Allowed: means above 0.")
    if sd == 0:
        return np.full(draws, mean)
    if kind == "normal":
        return random.normal(mean, sd, draws)
    if kind == "beta":
        size = mean * (1 - mean) / sd**2 - 1
        return random.beta(mean * size, (1 - mean) * size, draws)
    if kind == "gamma":
        return random.gamma(mean**2 / sd**2, sd**2 / mean, draws)
    spread = np.log1p((sd / mean) ** 2)
    return random.lognormal(np.log(mean) - spread / 2, np.sqrt(spread), draws)


@dataclass(frozen=True, kw_only=True)
class Probabilistic(Result):
    """What the options cost and bring over the draws; rows option × ``measure`` (effect, cost).

    Attributes
    ----------
    parameters : pandas.DataFrame
        The draws of the parameters.
    effects, costs : pandas.DataFrame
        What each option brings and costs in each draw, one column per option.
    """

    parameters: pd.DataFrame = field(default_factory=pd.DataFrame)
    effects: pd.DataFrame = field(default_factory=pd.DataFrame)
    costs: pd.DataFrame = field(default_factory=pd.DataFrame)

    def net(self, willingness: float = 1.0) -> pd.DataFrame:
        """Net benefit by draw and option: ``willingness`` · effect − cost."""
        return self.effects * willingness - self.costs


def probabilistic(
    model: Callable[..., Mapping[str, Any]],
    parameters: Mapping[str, Any] | pd.DataFrame,
    *,
    draws: int = 2000,
    seed: int = 1,
    conf_level: float = 0.95,
    unit: str = "number",
) -> Probabilistic:
    """Probabilistic sensitivity: the model run on draws of all its parameters at once.

    Parameters
    ----------
    model : callable
        Takes the parameters by name, each an array of draws; returns option → (effect, cost), each an array of as
        many (or one number). The effect is in money, or in whatever the willingness to pay is for.
    parameters : mapping or pandas.DataFrame
        As :func:`draw` takes them; or its result.
    draws, seed : int
        As in :func:`draw`.
    conf_level : float
        Level of the intervals, which are quantiles of the draws.
    unit : str
        Unit of the effect.

    Returns
    -------
    Probabilistic

    Raises
    ------
    FrameError
        As :func:`draw`; a model that gives fewer than two options, other lengths, or numbers that are missing.

    References
    ----------
    Briggs, Claxton & Sculpher (2006), Decision Modelling for Health Economic Evaluation, ch. 4.

    Examples
    --------
    >>> def letters(effect, cost):
    ...     return {"none": (0.0, 0.0), "letter": (effect, cost)}
    >>> found = probabilistic(letters, {"effect": ("normal", 0.02, 0.01), "cost": ("gamma", 9.0, 1.0)})
    >>> found.table.query("option == 'letter'")["estimate"].round(2).tolist()
    [0.02, 9.01]
    >>> found.net(1000).mean().round(1).tolist()
    [0.0, 11.2]
    """
    check_level(conf_level)
    level = conf_level
    if isinstance(parameters, pd.DataFrame):
        if parameters.empty:
            raise FrameError("parameters: no draws. Needed: a column per parameter, a row per draw.")
        drawn = with_numbers(parameters, list(parameters.columns), "")
    else:
        drawn = draw(parameters, draws=draws, seed=seed)
    check_model(model, [str(name) for name in drawn])
    found = model(**{str(name): drawn[name].to_numpy(float) for name in drawn})
    if not isinstance(found, Mapping) or len(found) < 2:
        raise FrameError("the model gives fewer than two options. Allowed: option → (effect, cost).")
    effects, costs, faults = {}, {}, []
    for option, pair in found.items():
        try:
            effect, cost = (np.broadcast_to(np.asarray(v, dtype=float), len(drawn)) for v in pair)
        except (TypeError, ValueError):
            faults.append(f"{option}: is not (effect, cost) of {len(drawn):,} draws each.")
            continue
        if bad := int((~np.isfinite(effect) | ~np.isfinite(cost)).sum()):
            faults.append(f"{option}: {bad:,} of {len(drawn):,} draws give no number.")
        effects[str(option)], costs[str(option)] = effect, cost
    if faults:
        raise FrameError(faults)
    of_effects, of_costs = pd.DataFrame(effects), pd.DataFrame(costs)
    rows = []
    for option in of_effects:
        for measure, values, kind in (
            ("effect", of_effects[option], unit),
            ("cost", of_costs[option], "money2"),
        ):
            low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
            rows.append((option, measure, kind, values.mean(), values.std(), low, high))
    columns = ["option", "measure", "unit", "estimate", "std_error", "conf_low", "conf_high"]
    return Probabilistic(
        table=pd.DataFrame(rows, columns=columns),
        estimand=f"Mean effect and cost of each option over {len(drawn):,} draws of the parameters",
        unit=unit,
        title="What the options bring and cost",
        conf_level=level,
        parameters=drawn,
        effects=of_effects,
        costs=of_costs,
    )


def in_order(frame: Any) -> pd.DataFrame:
    """A small frame in memory, its rows in their own order; what has none (a path, a lazy frame) sorted by its text.

    The embedded engine keeps no order of rows, and draws belong together by it.
    """
    if isinstance(frame, pd.DataFrame):
        return frame.reset_index(drop=True)
    if not isinstance(frame, str | Path):
        try:
            return nw.from_native(frame, eager_only=True).to_pandas().reset_index(drop=True)
        except TypeError:
            pass  # lazy, or no frame at all: scan tells which
    rows = collect(scan(frame))
    keys = [c for c in rows.columns if not pd.api.types.is_float_dtype(rows[c])] or list(rows.columns)
    return rows.sort_values(keys, ignore_index=True)


def options_frame(values: Any, what: str) -> pd.DataFrame:
    """Draws × options as a frame of floats; all faults at once."""
    plain = isinstance(values, Mapping | np.ndarray | list | tuple)
    try:
        frame = pd.DataFrame(_columns(values, what)) if plain else in_order(values)
        frame = frame.astype(float)
    except (TypeError, ValueError) as error:
        raise FrameError(f"{what}: not all numbers. Allowed: one column of numbers per option.") from error
    frame.columns = [str(c) for c in frame.columns]
    if frame.shape[1] < 2:
        raise FrameError(f"{what}: {frame.shape[1]} options. Allowed: two or more.")
    if len(frame) < 2:
        raise FrameError(f"{what}: {len(frame)} draws. Allowed: two or more.")
    bad = (~np.isfinite(frame)).sum()
    if bad.any():
        listed = [f"{c} ({n:,})" for c, n in bad.items() if n]
        raise FrameError(
            f"{what}: draws that are missing or not finite: {first_few(listed)}. Allowed: numbers."
        )
    return frame


def _columns(values: Any, what: str) -> dict[str, np.ndarray]:
    if isinstance(values, Mapping):
        columns = {str(k): np.atleast_1d(np.asarray(v, dtype=float)) for k, v in values.items()}
        lengths = {k: len(v) for k, v in columns.items()}
        if len(set(lengths.values())) > 1:
            listed = [f"{k} has {n:,}" for k, n in lengths.items()]
            raise FrameError(
                f"{what}: draws of unequal length: {first_few(listed)}. Allowed: as many of each."
            )
        return columns
    matrix = np.asarray(values, dtype=float)
    if matrix.ndim != 2:
        raise FrameError(f"{what}: {matrix.ndim} dimensions. Allowed: draws × options.")
    return {f"option {j + 1}": matrix[:, j] for j in range(matrix.shape[1])}
