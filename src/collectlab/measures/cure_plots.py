"""Shares with their intervals: a row a group, a colour a horizon (or a measure)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from collectlab.core.plots import PALETTE, legend, level_axis, new_axes, percent_axis, titled
from collectlab.measures.groups import group_labels

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from collectlab.measures.cure_rates import CureRates

_MARKERS = "osD^vP"


def draw_rates(rates: CureRates, ax: Axes | None, max_groups: int) -> Axes:
    """Dots and whiskers; of more than ``max_groups`` groups the largest, and the chart says so."""
    table, by = rates.table, list(rates.by)
    names = group_labels(table, by) if by else [""] * len(table)
    groups = list(dict.fromkeys(names))
    size = {g: table["at_risk"][[n == g for n in names]].max() for g in groups}
    shown = sorted(groups, key=lambda g: -size[g])[:max_groups]
    shown = [g for g in groups if g in shown]
    series = list(dict.fromkeys(table[rates.series]))
    height = 1.5 + max(len(shown) * (0.16 * len(series) + 0.2), 0.9)
    ax = new_axes(ax, (7.2, height))
    for j, value in enumerate(series):
        rows = [
            (shown.index(n), i) for i, n in enumerate(names) if n in shown and table[rates.series][i] == value
        ]
        y = np.array([k for k, _ in rows]) + (j - (len(series) - 1) / 2) * 0.62 / max(len(series), 2)
        part = table.iloc[[i for _, i in rows]]
        centre = part["estimate"].to_numpy(dtype=float)
        low, high = (part[c].to_numpy(dtype=float) for c in ("conf_low", "conf_high"))
        colour = PALETTE[j % len(PALETTE)]
        label = f"{value:,} days" if rates.series == "horizon" else str(value)
        ax.hlines(y, low, high, color=colour, linewidth=1.6, alpha=0.75)
        ax.plot(centre, y, _MARKERS[j % len(_MARKERS)], color=colour, markersize=5, label=label)
    ax.set_yticks(range(len(shown)), [g if len(g) <= 30 else g[:29] + "…" for g in shown])
    ax.set_ylim(len(shown) - 0.45, -0.55)
    level_axis(ax)
    ax.set_xlim(0, None)
    percent_axis(ax, "x")
    title = rates.title
    if len(shown) < len(groups):
        title += f": the {len(shown)} largest of {len(groups):,} groups"
    titled(ax, title)
    if by:
        ax.set_ylabel(", ".join(by))
    if len(series) > 1:
        from matplotlib.transforms import ScaledTranslation

        below = ax.transAxes + ScaledTranslation(0, -24 / 72, ax.figure.dpi_scale_trans)
        columns = 1 if max(len(str(v)) for v in series) > 20 else min(len(series), 4)
        legend(ax, loc="upper left", bbox_to_anchor=(0, 0), bbox_transform=below, ncols=columns)
    return ax
