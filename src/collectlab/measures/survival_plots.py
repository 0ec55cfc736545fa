"""Step curves with their bands, and the numbers at risk under the axis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from collectlab.core.plots import OUTCOME_COLOURS, PALETTE, legend, new_axes, percent_axis, titled
from collectlab.measures.groups import split
from collectlab.measures.survival_cells import Track, spoken

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from collectlab.measures.survival_curves import Curves, Step
    from collectlab.measures.survival_hazard import Hazards

_DASHES = ("-", "--", "-.", ":")


def draw_curves(
    curves: Curves, steps: Sequence[Step], ax: Axes | None, max_groups: int, at_risk: bool
) -> Axes:
    """Draw ``steps`` (one a group, or the outcomes of one group) and return the Axes."""
    several_outcomes = len({step.outcome for step in steps}) > 1
    groups = len(curves.cells.groups)
    steps = _largest(steps, max_groups) if groups > 1 else list(steps)
    end = max(step.track.last_day for step in steps)
    rows = {step.group: (curves.cells.label(step.group), step.track, "#444444") for step in steps}
    ax = new_axes(ax, (7.2, 3.6 + 0.19 * (len(rows) + 1) * at_risk))
    for i, step in enumerate(steps):
        colour = PALETTE[i % len(PALETTE)]
        dash = _DASHES[i // len(PALETTE) % len(_DASHES)]
        label = curves.cells.label(step.group)
        if groups == 1:
            colour = OUTCOME_COLOURS.get(step.outcome, "#444444" if step.outcome is None else colour)
            label = spoken([step.outcome]) if several_outcomes else None
        else:
            rows[step.group] = (label, step.track, colour)
        _draw_step(ax, step, end if step.track.all_left else step.track.last_day, colour, dash, label)
    ticks = _ticks(steps)
    ax.set_xlim(0, ticks[-1])
    ax.set_xticks(ticks)
    ax.set_ylim(0, 1.02 if steps[0].before[0] else None)
    percent_axis(ax)
    ax.set_xlabel("Days since day 0")
    title = curves.title
    if not several_outcomes and steps[0].outcome is not None:
        title = f"{spoken([steps[0].outcome]).capitalize()} by day t (Aalen–Johansen)"
    if len(steps) < groups and not several_outcomes:
        title += f": the {len(steps)} largest of {groups:,} groups"
    titled(ax, title)
    if several_outcomes or groups > 1:
        legend(ax, ", ".join(map(str, curves.by)) if groups > 1 else "")
    if at_risk:
        _write_at_risk(ax, ticks, list(rows.values()))
    return ax


def _largest(steps: Sequence[Step], limit: int) -> list[Step]:
    """The ``limit`` groups with the most episodes, in their own order."""
    size = sorted(range(len(steps)), key=lambda i: (-steps[i].track.entered.sum(), i))
    return [steps[i] for i in sorted(size[:limit])]


def _draw_step(ax: Axes, step: Step, end: int, colour: str, dash: str, label: str | None) -> None:
    days = np.concatenate([[0], step.track.days, [end]])
    line, low, high = (
        np.concatenate([[first], step.values[name], step.values[name][-1:]])
        for name, first in zip(("estimate", "conf_low", "conf_high"), np.take(step.before, [0, 2, 3]))
    )
    ax.step(days, line, where="post", color=colour, linestyle=dash, linewidth=1.6, label=label)
    ax.fill_between(days, low, high, step="post", color=colour, alpha=0.16, linewidth=0)


def _ticks(steps: Sequence[Step]) -> np.ndarray:
    """At most nine round days, as far as all but the last few in a thousand episodes: long tails say little."""
    days = np.concatenate([step.track.days for step in steps])
    counts = np.concatenate([step.track.exits.sum(axis=0) for step in steps])
    order = np.argsort(days, kind="stable")
    reached = np.cumsum(counts[order]) / counts.sum()
    end = max(int(days[order][np.searchsorted(reached, 0.995)]), 1)
    gap = next((g for g in (1, 2, 5, 10, 15, 30, 60, 90, 180) if g * 8 >= end), 360 * -(-end // (360 * 8)))
    return np.arange(0, end + gap, gap)


def _write_at_risk(ax: Axes, ticks: np.ndarray, rows: list[tuple[str, Track, str]]) -> None:
    """A small table of the episodes still at risk under the ticks."""
    numbers = [track.at_risk_on(ticks) for _, track, _ in rows]
    for row, (_, track, _) in zip(numbers, rows):
        row[0] = track.entered[track.entry_days <= 0].sum()
    below = {"xycoords": ("data", "axes fraction"), "textcoords": "offset points", "annotation_clip": False}
    style = {"fontsize": 8, "va": "top"}
    top, line, several = -38, 12, len(rows) > 1
    left = -8 - 2.5 * max(len(f"{row[0]:,.0f}") for row in numbers)
    ax.annotate(
        "At risk", (0, 0), (left, top), ha="right", fontweight="bold", color="#444444", **below, **style
    )
    for i, ((label, _, colour), row) in enumerate(zip(rows, numbers)):
        y = top - line * (i + several)
        if several:
            name = label if len(label) <= 22 else label[:21] + "…"
            ax.annotate(name, (0, 0), (left, y), ha="right", color=colour, **below, **style)
        for tick, number in zip(ticks, row):
            ax.annotate(f"{number:,.0f}", (tick, 0), (0, y), ha="center", color="#444444", **below, **style)


def draw_hazards(hazards: Hazards, ax: Axes | None, max_groups: int) -> Axes:
    """Draw daily hazards with their bands, and a line with its name where each stage begins."""
    ax = new_axes(ax, (7.2, 3.8))
    groups = split(hazards.table, hazards.by)
    drawn = sorted(sorted(range(len(groups)), key=lambda g: (-hazards.sizes[g], g))[:max_groups])
    for i, g in enumerate(drawn):
        label, part = groups[g]
        colour = PALETTE[i % len(PALETTE)] if len(groups) > 1 else "#444444"
        style = {"color": colour, "linestyle": _DASHES[i // len(PALETTE) % len(_DASHES)], "linewidth": 1.6}
        ax.plot(part["day"], part["estimate"], label=label, **style)
        low, high = part["conf_low"].fillna(0), part["conf_high"].fillna(0)
        ax.fill_between(part["day"], low, high, color=colour, alpha=0.16, linewidth=0)
    # The thin end, where few are left and the bands are wide, must not squeeze the rest; the table has it.
    shown = [part[part["at_risk"] >= 0.02 * part["at_risk"].max()] for part in (groups[g][1] for g in drawn)]
    end = max(int(part["day"].iloc[-1]) for part in shown)
    top = max(float(part["estimate"].max()) for part in shown)
    bulk = max(float(part["conf_high"].fillna(0).quantile(0.9)) for part in shown)
    ax.set_ylim(0, max(top, bulk) * (1.25 if hazards.stages else 1.06) or 1.0)
    ax.set_xlim(0, end)
    for i, (name, day) in enumerate((n, d) for n, d in hazards.stages.items() if d <= end):
        ax.axvline(day, color="#777777", linewidth=0.9, linestyle=(0, (4, 3)), zorder=1)
        ax.annotate(
            name,
            (day, 1),
            (3, -3 - 11 * (i % 3)),
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
            fontsize=8,
            va="top",
            color="#444444",
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 0.8},
        )
    percent_axis(ax)
    ax.set_xlabel("Days since day 0")
    ax.set_ylabel("Share of those still delinquent, a day")
    title = hazards.title
    if len(drawn) < len(groups):
        title += f": the {len(drawn)} largest of {len(groups):,} groups"
    titled(ax, title)
    if len(groups) > 1:
        legend(ax, ", ".join(hazards.by), outside=True)
    return ax
