"""A change of a figure taken apart into steps that add up exactly, and rounded so that they still do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import floor
from typing import Any

import numpy as np
import pandas as pd

from collectlab.measures.groups import distinct_groups, group_codes


@dataclass(frozen=True)
class Tally:
    """What one figure is made of, counted by replicate group of customers (R) and segment (S).

    ``sums`` has shape (R, K, S, …). ``spread`` takes the sum over replicate groups, (K, S, …), and returns
    ``top`` and ``base``, each (S,): the figure is Σ top / Σ base, or Σ top where it is a total.
    """

    segments: pd.DataFrame
    sums: np.ndarray
    spread: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
    notes: tuple[str, ...] = ()

    def spread_over(self, segments: pd.DataFrame) -> Tally:
        """The same counts laid on all the segments of a bridge; 0 in those that this figure lacks."""
        by = list(self.segments.columns)
        where = group_codes(self.segments, segments, by)
        laid = np.zeros((*self.sums.shape[:2], len(segments), *self.sums.shape[3:]))
        laid[:, :, where] = self.sums
        return Tally(segments, laid, self.spread, self.notes)


def ratio_of_sums(sums: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """``spread`` of a figure that is one sum over another."""
    return sums[0], sums[1]


def curve_at_end(sums: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """``spread`` of a mean cumulative curve at its last day, from (enter, end, final, flow) by segment × day.

    The curve of everybody is M = Σ_t S(t−) · flow(t) / at_risk(t). Each day's flow is the sum of the segments'
    flows, so each segment's part of M is Σ_t S(t−) · flow_s(t) / at_risk(t), and the parts add up to M. A part
    over the segment's share of the weight is its rate, with the censoring of everybody taken out.
    """
    from collectlab.measures.flows import at_risk, staying_before

    enter, end, final, flow = sums
    risk = at_risk(enter.sum(axis=0), end.sum(axis=0))
    stay = staying_before(risk, final.sum(axis=0))
    with np.errstate(invalid="ignore", divide="ignore"):
        step = np.where(risk > 0, stay * flow / risk, 0.0)
    known = not ((risk <= 0) & (stay > 0)).any()
    base = enter.sum(axis=1)
    return (step.sum(axis=1) if known else np.full(len(base), np.nan)) * base.sum(), base


def union(tallies: Sequence[Tally], by: Sequence[str]) -> list[Tally]:
    """The tallies laid on the segments that any of them has."""
    if not by:
        return list(tallies)
    found = distinct_groups(pd.concat([t.segments for t in tallies], ignore_index=True), by)
    return [t.spread_over(found) for t in tallies]


def exact(values: np.ndarray) -> np.ndarray:
    """Each number as the fraction it is; sums and products of them are without rounding."""
    return np.array([Fraction(float(v)) for v in values], dtype=object)


@dataclass(frozen=True)
class Change:
    """What mix and rate (and for totals volume) make of the difference, by segment where they have one."""

    volume: object
    mix: np.ndarray
    rate: np.ndarray


def level(top: np.ndarray, base: np.ndarray, total: bool, scale: Any) -> Any:
    """The figure: a ratio, or a total."""
    return top.sum() * scale if total else top.sum() * scale / base.sum()


def decompose(
    before: tuple[np.ndarray, np.ndarray], after: tuple[np.ndarray, np.ndarray], total: bool, scale: Any
) -> Change:
    r"""Mix and rate by the mean of both months, so that neither goes first.

    With w the segment's share of the base, r its rate, R the rate of all, and a bar for the mean of before and
    after,

    .. math:: mix_s = \Delta w_s (\bar r_s - \bar R), \qquad rate_s = \bar w_s \Delta r_s,

    which add up to ΔR over the segments. A segment that is new or has vanished has the rate of the month in
    which it is there: all it changes is mix. A total T = W · R is W̄ · ΔR, split like this, and R̄ · ΔW, the
    volume. Works on floats and on fractions alike.

    Source: Kitagawa (1955), Components of a difference between two rates, JASA 50, 1168–1194.
    """
    (top0, base0), (top1, base1) = before, after
    all0, all1 = base0.sum(), base1.sum()
    part0, part1, share0, share1 = top0 / all0, top1 / all1, base0 / all0, base1 / all1
    whole0, whole1 = part0.sum(), part1.sum()
    here0, here1 = base0 > 0, base1 > 0
    zero = whole0 * 0
    rate0 = np.where(here0, part0 / np.where(here0, share0, 1), zero)
    rate1 = np.where(here1, part1 / np.where(here1, share1, 1), zero)
    middle = (rate0 + rate1) / np.where(here0 & here1, 2, 1)
    mix = (share1 - share0) * (middle - (whole0 + whole1) / 2)
    rate = part1 - part0 - (share1 - share0) * middle
    volume = zero
    if total:
        volume = (all1 - all0) * (whole0 + whole1) / 2
        mix, rate = mix * ((all0 + all1) / 2), rate * ((all0 + all1) / 2)
    return Change(volume * scale, mix * scale, rate * scale)


def round_half_up(value: Fraction) -> int:
    """The nearest whole number, halves upwards, so that x + 1 always rounds to one more than x."""
    return floor(value + Fraction(1, 2))


def rounded_to_sum(values: Sequence[Fraction], target: int) -> list[int]:
    """Whole numbers near ``values`` that add up to ``target``: those cut off most are raised first.

    >>> rounded_to_sum([Fraction(4, 10), Fraction(4, 10), Fraction(12, 10)], 2)
    [1, 0, 1]
    """
    out = [floor(v) for v in values]
    left = target - sum(out)
    cut = [v - low for v, low in zip(values, out)]
    step = 1 if left > 0 else -1
    # whole values are touched last: what is nothing is to stay nothing
    order = sorted(range(len(out)), key=lambda i: (cut[i] == 0, -step * cut[i], i))
    for k in range(abs(left)):
        out[order[k % len(order)]] += step
    return out
