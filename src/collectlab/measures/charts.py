"""The few chart shapes the measures share: points with intervals, and lines over time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from collectlab.core.plots import PALETTE, new_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def titled(ax: Axes, title: str) -> Axes:
    """The house's title: left, bold."""
    ax.set_title(title, loc="left", fontsize=10.5, fontweight="bold")
    return ax


def legend(ax: Axes, title: str | None = None, outside: bool = False) -> None:
    """A frameless legend, beside the axes where it would cover them."""
    place = {"loc": "upper left", "bbox_to_anchor": (1.0, 1.0)} if outside else {"loc": "best"}
    shown = ax.legend(frameon=False, fontsize=8.5, **place)
    if title:
        shown.set_title(title, prop={"size": 8.5})


def short_money(value: float, _: object = None) -> str:
    """1,250,000 → 1.25M, −40,000 → −40k."""
    for size, letter in ((1e9, "bn"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:,.4g}{letter}".replace("-", "−")
    return f"{value:,.4g}".replace("-", "−")


def unit_axis(ax: Axes, unit: str, axis: str = "x") -> None:
    """Write the ticks of an axis in a unit of :mod:`collectlab.core.tables`."""
    if unit == "share":
        from matplotlib.ticker import PercentFormatter

        getattr(ax, f"{axis}axis").set_major_formatter(PercentFormatter(1.0))
    elif unit == "points":
        getattr(ax, f"{axis}axis").set_major_formatter(
            lambda v, _: f"{100 * v:+.3g}".replace("-", "−") if abs(v) > 1e-9 else "0"
        )
    elif unit.startswith("money"):
        getattr(ax, f"{axis}axis").set_major_formatter(short_money)


def reach(rows: pd.DataFrame) -> np.ndarray:
    """Lengths of the error bars (2, n); none where there is no interval."""
    lengths = rows[["conf_low", "conf_high"]].to_numpy(float).T - rows["estimate"].to_numpy(float)
    return np.nan_to_num(np.abs(lengths))


def dots(
    series: Sequence[tuple[str, pd.DataFrame]],
    labels: Sequence[str],
    *,
    unit: str,
    title: str,
    xlabel: str,
    colours: Sequence[str] | None = None,
    zero: bool = False,
    ax: Axes | None = None,
) -> Axes:
    """One line per label: the estimate as a point with its interval, first on top; several series side by side.

    ``colours`` are those of the rows, if there is one series.
    """
    ax = new_axes(ax, figsize=(7.2, 1.1 + (0.3 + 0.12 * (len(series) - 1)) * max(len(labels), 2)))
    place = np.arange(len(labels))[::-1]
    lowest = 0.0
    for k, (name, rows) in enumerate(series):
        bars, shift = reach(rows), (k - (len(series) - 1) / 2) * 0.22
        lowest = min(lowest, float(np.nanmin([0.0, *rows["estimate"], *rows["conf_low"]])))
        for i in range(len(rows)):
            ax.errorbar(
                rows["estimate"].iloc[[i]],
                place[[i]] - shift,
                xerr=bars[:, [i]],
                fmt="osD^v"[k % 5],
                color=colours[i] if colours else PALETTE[k % len(PALETTE)],
                capsize=2.5,
                markersize=5 if len(series) == 1 else 4,
                label=name if i == 0 and len(series) > 1 else None,
                clip_on=False,
            )
    if zero:
        ax.axvline(0, color="#444444", linewidth=0.8)
    elif lowest >= 0:
        ax.set_xlim(left=0)
    ax.set_yticks(place, labels)
    ax.set_ylim(-0.7, len(labels) - 0.3)
    ax.grid(axis="y", visible=False)
    ax.grid(axis="x", visible=True)
    ax.set_xlabel(xlabel)
    unit_axis(ax, unit)
    if len(series) > 1:
        legend(ax, outside=True)
    return titled(ax, title)


def month_ticks(ax: Axes, months: Sequence[str]) -> None:
    """At most eight months written on the x axis, whose positions are 0, 1, …"""
    step = -(-len(months) // 8)
    ax.set_xticks(range(0, len(months), step), list(months)[::step])


def lines(
    table: pd.DataFrame,
    x: str,
    groups: Sequence[tuple[str, pd.DataFrame]],
    *,
    unit: str,
    title: str,
    ylabel: str,
    ax: Axes | None = None,
) -> Axes:
    """One line per group over ``x``, with its band where there is one."""
    ax = new_axes(ax)
    for i, (label, part) in enumerate(groups):
        colour = PALETTE[i % len(PALETTE)]
        style = ("-", "--", ":")[i // len(PALETTE) % 3]
        many = part[x].nunique() > 40
        ax.plot(
            part[x],
            part["estimate"],
            style,
            color=colour,
            label=label,
            linewidth=1.7,
            marker=None if many else "o",
            markersize=3,
        )
        if {"conf_low", "conf_high"} <= set(part.columns):
            ax.fill_between(
                part[x], part["conf_low"], part["conf_high"], color=colour, alpha=0.13, linewidth=0
            )
    ax.set_ylabel(ylabel)
    ax.set_ylim(bottom=0)
    unit_axis(ax, unit, "y")
    return titled(ax, title)
