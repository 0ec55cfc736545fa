"""The arithmetic behind power, sample size and smallest effect: one combination of arguments at a time."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from collectlab.core.errors import FrameError
from collectlab.effects.sequential_math import critical_value, limits, power_by_the_end

#: Pairs of counts that are gone through one by one; above, the normal distribution is as good.
_PAIRS = 250_000
_LARGEST = 10**9


def power_of(row: Mapping[str, Any]) -> float:
    """The power of one combination."""
    n, control_n = row["n"], math.ceil(row["n"] * row["control_ratio"])
    alpha = row["alpha"] / (row["arms"] if row["multiplicity"] == "bonferroni" else 1)
    total = row["arms"] * n + control_n
    inflation = (1 + (row["cluster_size"] - 1) * row["icc"]) * (1 - row["r_squared"])
    freedom = total - row["arms"] - 1 if row["cluster_size"] == 1 else total / row["cluster_size"] - 1
    if freedom < 1:
        return float("nan")
    if row["sd"] is None:
        first, base = row["baseline"] + row["effect"], row["baseline"]
        spread = math.sqrt(first * (1 - first)), math.sqrt(base * (1 - base))
        own, other = max(round(n / inflation), 2), max(round(control_n / inflation), 2)
        if _width(own, first) * _width(other, base) <= _PAIRS:
            found = _exact(own, first, other, base, alpha, freedom, row["peeking"])
            return _at_some_look(found, alpha) if row["peeking"] else found
    else:
        spread = row["sd_arm"] or row["sd"], row["sd"]
    error = math.sqrt(inflation * (spread[0] ** 2 / (n - 1) + spread[1] ** 2 / (control_n - 1)))
    if not row["peeking"]:
        from statsmodels.stats.power import ttest_power

        found = float(ttest_power(row["effect"] / error, 1, alpha, df=freedom))
        return found if math.isfinite(found) else 1.0  # so far out that the non-central t gives up
    from scipy.stats import norm

    of_arm = n / (n + control_n)
    within = of_arm * spread[0] ** 2 + (1 - of_arm) * spread[1] ** 2
    together = within + of_arm * (1 - of_arm) * row["effect"] ** 2
    wide = max(1.0, math.sqrt(inflation * together * (1 / (n - 1) + 1 / (control_n - 1))) / error)
    reach = float(critical_value(1, alpha)) * wide
    last = float(norm.sf(reach - row["effect"] / error) + norm.cdf(-reach - row["effect"] / error))
    return _at_some_look(last, alpha)


def _at_some_look(last: float, alpha: float) -> float:
    """From the power at the last look to that at any: by the drift of a Brownian motion that has the former."""
    from scipy.stats import norm

    drift = float(critical_value(1, alpha)) + float(norm.ppf(min(max(last, 1e-9), 1 - 1e-9)))
    return float(power_by_the_end(max(drift, 0.0), alpha))


def _width(n: float, share: float) -> float:
    """How many counts of ``n`` accounts with this share have a probability that matters."""
    return 16 * math.sqrt(n * share * (1 - share)) + 16


@lru_cache(maxsize=4096)
def _exact(
    n: int, share: float, control_n: int, base: float, alpha: float, freedom: float, peeking: bool
) -> float:
    """The probability that the test of two shares rejects, summed over what may be counted."""
    from scipy.stats import binom, t

    counts, weights = [], []
    for size, p in ((n, share), (control_n, base)):
        middle, half = size * p, _width(size, p) / 2
        counts.append(np.arange(max(0, math.floor(middle - half)), min(size, math.ceil(middle + half)) + 1))
        weights.append(binom.pmf(counts[-1], size, p))
    own, other = counts[0][:, None] / n, counts[1][None, :] / control_n
    variance, control_variance = (
        own * (1 - own) * n / (n - 1),
        other * (1 - other) * control_n / (control_n - 1),
    )
    found = limits(
        n,
        own,
        variance,
        control_n,
        other,
        control_variance,
        planned_per_arm=2 / (1 / n + 1 / control_n),
        alpha=alpha,
    )
    if peeking:
        told = (found["conf_low"] > 0) | (found["conf_high"] < 0)
    else:
        told = np.abs(found["estimate"]) > t.ppf(1 - alpha / 2, freedom) * found["hc3"]
    return float(np.einsum("i,ij,j->", weights[0], told.astype(float), weights[1]))


def smallest(row: Mapping[str, Any]) -> int:
    """The smallest number per arm with the power asked for."""
    step = max(row["cluster_size"], 1)

    def enough(clusters: int) -> bool:
        n = math.ceil(clusters * step)
        return n >= 2 and power_of({**row, "n": n}) >= row["power"]

    high = 2
    while not enough(high):
        high *= 2
        if high * step > _LARGEST:
            raise FrameError(
                f"effect {row['effect']:g}: no number of accounts up to {_LARGEST:,} gives a power of {row['power']:g}."
            )
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return math.ceil(high * step)


def detectable(row: Mapping[str, Any], sign: float) -> float:
    from scipy.optimize import brentq

    def lacking(size: float) -> float:
        return power_of({**row, "effect": sign * size}) - row["power"]

    if row["sd"] is None:
        largest = (row["baseline"] if sign < 0 else 1 - row["baseline"]) * (1 - 1e-9)
    else:
        largest = row["sd"]
        while lacking(largest) < 0 and largest < 1e6 * row["sd"]:
            largest *= 2
    if not lacking(largest) >= 0:
        return float("nan")
    return sign * float(brentq(lacking, largest * 1e-9, largest, xtol=largest * 1e-7))


def listed(value: Any) -> list[Any]:
    if isinstance(value, (str, bool)) or value is None or not hasattr(value, "__iter__"):
        return [value]
    return list(value)


def grid(given: Mapping[str, Any], first: Sequence[str]) -> list[dict[str, Any]]:
    """One dict per combination, the arguments ``first`` varying slowest; all faults at once."""
    order = [*first, *(k for k in given if k not in first)]
    rows = [dict(zip(order, v)) for v in itertools.product(*(listed(given[k]) for k in order))]
    if not rows:
        raise FrameError("an argument is an empty list: nothing to compute. Allowed: a number or some.")
    refuse([fault for row in rows for fault in _faults(row)])
    return rows


def _faults(row: Mapping[str, Any]) -> list[str]:
    rules: dict[str, tuple[Callable[[Any], bool], str]] = {
        "n": (lambda v: v >= 2 and v == int(v), "whole numbers ≥ 2"),
        "effect": (lambda v: v != 0, "any number but 0"),
        "power": (lambda v: row["alpha"] < v < 1, "between alpha and 1"),
        "baseline": (lambda v: row["sd"] is not None or 0 < v < 1, "a share strictly between 0 and 1"),
        "sd": (lambda v: v > 0, "> 0"),
        "sd_arm": (lambda v: v > 0, "> 0"),
        "control_ratio": (lambda v: v > 0, "> 0"),
        "arms": (lambda v: v >= 1 and v == int(v), "whole numbers ≥ 1"),
        "alpha": (lambda v: 0 < v < 1, "strictly between 0 and 1"),
        "cluster_size": (lambda v: v >= 1, "≥ 1"),
        "icc": (lambda v: 0 <= v <= 1, "0 to 1"),
        "r_squared": (lambda v: 0 <= v < 1, "0 to below 1"),
    }
    told = []
    for name, (holds, allowed) in rules.items():
        if name in row and not (row[name] is None and name in ("baseline", "sd", "sd_arm")):
            number = isinstance(row[name], (int, float, np.number)) and not isinstance(row[name], bool)
            told.append(
                out_of(name, row[name], number and math.isfinite(row[name]) and holds(row[name]), allowed)
            )
    if row["multiplicity"] not in ("bonferroni", "none"):
        told.append(f"multiplicity is {row['multiplicity']!r}. Allowed: bonferroni, none.")
    if row["baseline"] is None and row["sd"] is None:
        told.append(
            "neither baseline nor sd is given. Needed: baseline (the control's share), or sd for a mean."
        )
    if (
        not any(told)
        and row["sd"] is None
        and "effect" in row
        and not 0 < row["baseline"] + row["effect"] < 1
    ):
        told.append(
            f"baseline {row['baseline']:g} with effect {row['effect']:g} is a share of "
            f"{row['baseline'] + row['effect']:g}. Allowed: strictly between 0 and 1."
        )
    return [t for t in told if t]


def out_of(name: str, value: Any, holds: bool, allowed: str) -> str:
    return "" if holds else f"{name} is {value!r}. Allowed: {allowed}."


def refuse(faults: Sequence[str]) -> None:
    if told := list(dict.fromkeys(f for f in faults if f)):
        raise FrameError(told)
