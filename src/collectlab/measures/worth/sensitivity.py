"""Which assumption moves the answer most, one at a time, and where it would turn the decision."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from collectlab.core.engine import require, scan
from collectlab.core.errors import FrameError, first_few
from collectlab.core.plots import PALETTE, level_axis, new_axes, titled, unit_axis
from collectlab.core.results import Result
from collectlab.core.tables import readable
from collectlab.measures.worth.checks import check_model, plain_number
from collectlab.measures.worth.probabilistic import in_order

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Points over a range at which the answer is looked at, its ends among them.
STEPS = 33


@dataclass(frozen=True, kw_only=True)
class Sensitivity(Result):
    """One row per parameter, the one that moves the answer most first.

    ``table``: parameter, value, low, high (its range), at_low, at_high (the answer there), swing (largest less
    smallest over the range), flips (whether the decision changes somewhere in the range) and threshold (the value
    nearest to the present one at which it does).

    Attributes
    ----------
    base : float
        The answer with every parameter at its value.
    against : float
        Above it the decision is for the option, at it or below against.
    """

    base: float = math.nan
    against: float = 0.0
    plottable = True

    def plot(self, ax: Axes | None = None) -> Axes:
        """The tornado: a bar per parameter from the answer at its low end to that at its high end."""
        shown = self.table
        ax = new_axes(ax, figsize=(7.2, 1.2 + 0.42 * max(len(shown), 2)))
        place = np.arange(len(shown))[::-1]
        for column, colour, label in (
            ("at_low", PALETTE[5], "at its low end"),
            ("at_high", PALETTE[1], "at its high end"),
        ):
            ax.barh(place, shown[column] - self.base, left=self.base, height=0.6, color=colour, label=label)
        ax.axvline(self.base, color="#444444", linewidth=0.8)
        ax.axvline(self.against, color="#444444", linewidth=0.8, linestyle=":")
        ax.set_yticks(place, [str(readable(p)) for p in shown["parameter"]])
        ax.set_ylim(-0.7, len(shown) - 0.3)
        level_axis(ax)
        ax.set_xlabel(self.estimand)
        unit_axis(ax, self.unit)
        ax.legend(frameon=False, fontsize=8.5, loc="lower right")
        return titled(ax, self.title)


def sensitivity(
    model: Callable[..., float],
    ranges: Mapping[str, Sequence[float]] | Any,
    *,
    against: float = 0.0,
    fixed: Mapping[str, float] | None = None,
    estimand: str = "Net value",
    unit: str = "money2",
    title: str = "What moves the answer most",
) -> Sensitivity:
    """One-way sensitivity: the answer as each parameter goes through its range, the others at their values.

    With f the model, θ the values and [l, h] the range of parameter j, the swing of j is max f − min f over
    θ_j ∈ [l, h]; the threshold is the θ_j nearest to its value with f = ``against``. Ranges are looked at in 32 equal
    steps, so that a bend inside is seen, and a threshold between two steps is found by bisection.

    Parameters
    ----------
    model : callable
        Takes the parameters by name, one number each; returns the net value, one number.
    ranges : mapping or frame
        Parameter → (low, value, high); or a frame with the columns parameter, estimate, conf_low, conf_high, such as
        a table of estimates with their intervals.
    against : float
        The decision is for the option where the model lies above it.
    fixed : mapping, optional
        Parameters that are not varied.
    estimand, unit, title : str
        What the model gives, for the table and the chart.

    Returns
    -------
    Sensitivity

    Raises
    ------
    FrameError
        A range that is reversed, does not hold its value, or is not finite; a model that gives no number. All ranges
        at fault are told at once.

    References
    ----------
    Briggs, Claxton & Sculpher (2006), Decision Modelling for Health Economic Evaluation, ch. 4, on what it leaves out.

    Examples
    --------
    >>> net = lambda amount, effect, cost: amount * effect - cost
    >>> found = sensitivity(net, {"amount": (500, 1000, 4000), "effect": (0.01, 0.05, 0.09), "cost": (30, 40, 45)})
    >>> found.base, found.table["parameter"].tolist(), found.table["flips"].tolist()
    (10.0, ['amount', 'effect', 'cost'], [True, True, False])
    >>> found.table["threshold"].round(3).tolist()
    [800.0, 0.04, nan]
    """
    spans = _ranges(ranges)
    faults = [
        f"fixed: {name} is {value!r}. Allowed: a number."
        for name, value in (fixed or {}).items()
        if not math.isfinite(plain_number(value))
    ]
    if both := sorted(set(spans) & set(fixed or {})):
        faults.append(f"fixed: {first_few(both)} also has a range. Allowed: one of the two.")
    if not math.isfinite(plain_number(against)):
        faults.append(f"against is {against!r}. Allowed: a number.")
    if faults:
        raise FrameError(faults)
    values = {name: value for name, (_, value, _) in spans.items()} | dict(fixed or {})
    check_model(model, values)

    def answer(name: str, at: float) -> float:
        return _number(model, {**values, name: at}, f"{name} = {at:g}")

    base = _number(model, values, "the values as given")
    rows = []
    for name, (low, value, high) in spans.items():
        grid = np.unique([*np.linspace(low, high, STEPS), value])
        found = np.array([answer(name, float(at)) for at in grid])
        beyond = functools.partial(answer, name)
        threshold = _threshold(beyond, against, grid, found, value)
        rows.append(
            (
                name, value, low, high, found[0], found[-1], found.max() - found.min(),
                bool(((found > against) != (base > against)).any()), threshold,
            )
        )  # fmt: skip
    columns = ["parameter", "value", "low", "high", "at_low", "at_high", "swing", "flips", "threshold"]
    table = pd.DataFrame(rows, columns=columns)
    table = table.iloc[np.lexsort((table["parameter"], -table["swing"]))]
    money = dict.fromkeys(("at_low", "at_high", "swing"), unit)
    numbers = dict.fromkeys(("value", "low", "high", "threshold"), "number")
    return Sensitivity(
        table=table,
        estimand=estimand,
        unit=unit,
        title=title,
        formats={**money, **numbers},
        base=base,
        against=against,
    )


def _ranges(ranges: Any) -> dict[str, tuple[float, float, float]]:
    if isinstance(ranges, Mapping):
        given = {
            str(name): list(span) if isinstance(span, Iterable) and not isinstance(span, str) else [span]
            for name, span in ranges.items()
        }
    else:
        rows = in_order(ranges)
        require(scan(rows), "parameter", "estimate", "conf_low", "conf_high")
        told = rows[["parameter", "conf_low", "estimate", "conf_high"]]
        if doubled := told["parameter"][told["parameter"].duplicated()].tolist():
            raise FrameError(
                f"ranges: {doubled[0]} stands there more than once. Allowed: one row per parameter."
            )
        given = {str(row[0]): list(row[1:]) for row in told.itertuples(index=False)}
    if not given:
        raise FrameError("ranges: there are none. Needed: parameter → (low, value, high).")
    faults = []
    for name, span in given.items():
        try:
            numbers = [float(v) for v in span]
        except (TypeError, ValueError):
            numbers = []
        if len(numbers) != 3 or not all(math.isfinite(v) for v in numbers):
            faults.append(f"{name}: {span} is no range. Allowed: (low, value, high), finite numbers.")
        elif numbers[0] > numbers[2]:
            faults.append(
                f"{name}: {numbers[0]:g} to {numbers[2]:g} is reversed. Allowed: (low, value, high)."
            )
        elif not numbers[0] <= numbers[1] <= numbers[2]:
            faults.append(
                f"{name}: its value {numbers[1]:g} lies outside {numbers[0]:g} to {numbers[2]:g}. "
                "Allowed: a range that holds it."
            )
        given[name] = numbers
    if faults:
        raise FrameError(faults)
    return {name: (v[0], v[1], v[2]) for name, v in given.items()}


def _number(model: Callable[..., float], values: Mapping[str, float], where: str) -> float:
    found = model(**values)
    try:
        number = float(found)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise FrameError(f"the model gives {found!r} at {where}. Allowed: a finite number over every range.")
    return number


def _threshold(
    answer: Callable[[float], float], against: float, grid: np.ndarray, found: np.ndarray, value: float
) -> float:
    """The place nearest to ``value`` where the answer crosses; missing where it does not."""
    from scipy.optimize import brentq

    over = found - against
    places = [float(at) for at, f in zip(grid, over) if f == 0]
    for left, right, f_left, f_right in zip(grid, grid[1:], over, over[1:]):
        if f_left * f_right < 0:
            places.append(float(brentq(lambda at: answer(at) - against, left, right)))
    return min(places, key=lambda at: abs(at - value), default=math.nan)
