"""The steps of a bridge from its counts: exactly, and with the jackknife's errors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import pandas as pd

from collectlab.core.errors import NotAvailable
from collectlab.core.jackknife import INTERVAL, jackknife
from collectlab.measures.bridge_figures import Figure
from collectlab.measures.bridge_math import Tally, decompose, exact, level
from collectlab.measures.bridge_results import BridgeSegments, rounded_segments
from collectlab.measures.groups import named

_TAKEN = ("step", "share_before", "share_after", "rate_before", "rate_after", "rounded", *INTERVAL)


def steps_of(
    tallies: Mapping[str, Tally], figures: Mapping[str, Figure], told_apart: bool, conf_level: float
) -> tuple[dict[str, Fraction], dict[str, tuple[float, ...]]]:
    """Every step exactly, and with its jackknife error and interval."""
    names = list(tallies)
    start = "matured" if "matured" in names else "restated" if "restated" in names else "before"
    is_total = figures["before"].total

    def walk(spread: Mapping[str, tuple], scale: Any) -> dict:
        height = {n: level(spread[n][0], spread[n][1], is_total, scale(figures[n].scale)) for n in names}
        change = decompose(spread[start], spread["same_definition"], is_total, scale(figures[start].scale))
        out = {"before": height["before"]}
        if "restated" in names:
            out["restatement"] = height["restated"] - height["before"]
        if "matured" in names:
            out["maturity"] = height["matured"] - height["restated" if "restated" in names else "before"]
        if is_total:
            out["volume"] = change.volume
        if told_apart:
            out["mix"] = change.mix.sum()
        out["rate"] = change.rate.sum() + (0 if told_apart else change.mix.sum())
        if "after" in names:
            out["definition"] = height["after"] - height["same_definition"]
        out["after"] = height[names[-1]]
        return out

    whole = {n: t.spread(t.sums.sum(axis=0)) for n, t in tallies.items()}
    for name, (top, base) in whole.items():
        if not np.isfinite(top).all():
            raise NotAvailable(
                f"{figures[name].title} cannot be told for {_where(name)}: nobody is followed that long."
            )
        if not base.sum() > 0:
            raise NotAvailable(
                f"{figures[name].title} cannot be told for {_where(name)}: there is nothing to share."
            )
    steps = walk({n: (exact(top), exact(base)) for n, (top, base) in whole.items()}, fraction)

    summed, parts, unpack = packed(tallies, is_total)

    def jack_of(picked: Sequence[str], transform: str | None) -> dict[str, tuple[float, ...]]:
        def statistic(sums: np.ndarray) -> np.ndarray:
            found = walk(unpack(sums), float)
            found["change"] = found["after"] - found["before"]
            return np.array([found[step] for step in picked], dtype=float)

        found = jackknife(summed, parts, statistic, conf_level, transform)
        return {step: tuple(float(v[i]) for v in found) for i, step in enumerate(picked)}

    ends = ("before", "after")
    # a ratio of money is no share and may lie beyond 1
    scale = "logit" if figures["before"].unit == "share" and all(0 < steps[e] < 1 for e in ends) else None
    jack = jack_of(ends, scale) | jack_of([s for s in steps if s not in ends], None)
    return steps, jack | {"change": jack_of(["change"], None)["change"]}


def packed(tallies: Mapping[str, Tally], is_total: bool) -> tuple:
    """All counts in one row per replicate group, and how to unpack a sum of rows into each figure's parts.

    Totals carry a row of ones, by which a sum that lacks a replicate group is scaled up.
    """
    replicates = next(iter(tallies.values())).sums.shape[0]
    flat = [t.sums.reshape(replicates, -1) for t in tallies.values()]
    parts = np.concatenate([*flat, np.full((replicates, int(is_total)), 1.0)], axis=1)
    ends = np.cumsum([0, *(f.shape[1] for f in flat)])

    def unpack(sums: np.ndarray) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        up = replicates / sums[-1] if is_total else 1.0
        return {
            n: t.spread(up * sums[low:high].reshape(t.sums.shape[1:]))
            for (n, t), low, high in zip(tallies.items(), ends, ends[1:])
        }

    return parts.sum(axis=0), parts, unpack


def fraction(value: float) -> Fraction:
    """1/10,000 is meant as such, not as the float nearest to it."""
    return Fraction(value).limit_denominator(10**9)


def _where(name: str) -> str:
    return {"before": "last month", "after": "this month", "same_definition": "this month"}.get(
        name, f"last month, {name}"
    )


def by_segment(
    tallies: Mapping[str, Tally],
    by: list[str],
    figure: Figure,
    rounded: Mapping[str, float],
    labels: tuple,
    conf_level: float,
) -> BridgeSegments:
    names = list(tallies)
    start = names[names.index("same_definition") - 1]
    ends = {n: tallies[n] for n in (start, "same_definition")}
    whole = [t.spread(t.sums.sum(axis=0)) for t in ends.values()]
    was, now = ((exact(top), exact(base)) for top, base in whole)
    change = decompose(was, now, figure.total, fraction(figure.scale))
    total, parts, unpack = packed(ends, figure.total)

    def statistic(sums: np.ndarray) -> np.ndarray:
        was, now = unpack(sums).values()
        found = decompose(was, now, figure.total, figure.scale)
        return np.stack([found.mix, found.rate]).astype(float)

    jack = jackknife(total, parts, statistic, conf_level)
    segments = named(ends[start].segments, by, _TAKEN)
    with np.errstate(invalid="ignore", divide="ignore"):
        share = [base / base.sum() for _, base in whole]
        rate = [np.where(base > 0, top / np.where(base > 0, base, 1), np.nan) for top, base in whole]
    scale = 1.0 if figure.total else figure.scale
    rows = []
    for k, (step, values) in enumerate((("mix", change.mix), ("rate", change.rate))):
        part = segments.copy()
        part["step"] = step
        part["share_before"], part["share_after"] = share
        part["rate_before"], part["rate_after"] = rate[0] * scale, rate[1] * scale
        part["estimate"] = values.astype(float)
        for name, column in zip(INTERVAL[1:], jack[1:]):
            part[name] = column[k]
        part["rounded"] = rounded_segments(list(values), rounded[step], figure.unit)
        rows.append(part)
    return BridgeSegments(
        table=pd.concat(rows, ignore_index=True),
        estimand=f"What each segment adds to mix and rate; shares are of the {figure.of}",
        unit="points" if figure.unit == "share" else figure.unit,
        title=f"{figure.title}: the segments, {labels[0]} to {labels[1]}",
        notes=("Mix: a segment that grows adds if its rate lies above the average. Rate: its own change.",),
        conf_level=conf_level,
        by=tuple(segments.columns),
        of=figure.of,
        figure_unit=figure.unit,
        rate_unit=figure.rate_unit or figure.unit,
    )
