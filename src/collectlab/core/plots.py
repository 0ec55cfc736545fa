"""One look for every chart, and the same bytes for the same numbers."""

from __future__ import annotations

import functools
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from collectlab.core.tables import readable

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Colour-blind-safe (Okabe-Ito), dark enough on white, told apart in grey print by the markers in use.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#555555", "#8C510A")

#: An outcome keeps its colour through the whole report.
OUTCOME_COLOURS = {
    "cured": "#009E73",
    "charged_off": "#D55E00",
    "settled": "#0072B2",
    "sold": "#8C510A",
    "censored": "#999999",
}

STYLE = {
    "figure.figsize": (7.2, 3.6),
    "figure.dpi": 100,
    "savefig.dpi": 100,
    "font.family": "DejaVu Sans",
    "font.size": 9.5,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": "#E3E3E3",
    "grid.linewidth": 0.8,
    "legend.frameon": False,
    "svg.hashsalt": "collectlab",
    "svg.fonttype": "path",
}


def new_axes(ax: Axes | None = None, figsize: tuple[float, float] | None = None) -> Axes:
    """The axes given, or fresh ones in the house style, not tied to pyplot's list of open figures."""
    if ax is not None:
        return ax
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with mpl.rc_context(STYLE):
        figure = Figure(figsize=figsize or STYLE["figure.figsize"], layout="constrained")
        FigureCanvasAgg(figure)
        return figure.add_subplot(axes_class=_shown_axes())


@functools.cache
def _shown_axes() -> type[Axes]:
    """Axes that show their picture as the last line of a notebook cell, with a text that never differs."""
    from matplotlib.axes import Axes as Plain

    class ShownAxes(Plain):
        def _repr_png_(self) -> bytes:
            buffer = io.BytesIO()
            self.figure.savefig(buffer, format="png", metadata={"Software": None})  # type: ignore[union-attr]
            return buffer.getvalue()

        def __repr__(self) -> str:
            return f"<chart: {self.get_title(loc='left') or self.get_title() or 'untitled'}>"

    return ShownAxes


def titled(ax: Axes, title: str) -> Axes:
    """The house's title; the style of :func:`new_axes` does not reach titles and legends drawn later."""
    ax.set_title(title, loc="left", fontsize=STYLE["axes.titlesize"], fontweight=STYLE["axes.titleweight"])
    return ax


def legend(ax: Axes, title: str = "", outside: bool = False, **place: Any) -> None:
    """A frameless legend, where ``place`` says, or beside the axes where it would cover them."""
    if outside:
        place = {"loc": "upper left", "bbox_to_anchor": (1.0, 1.0)}
    ax.legend(
        frameon=False, fontsize=8.5, title=title or None, title_fontsize=8.5, **({"loc": "best"} | place)
    )


def percent_axis(ax: Axes, axis: str = "y") -> Axes:
    """Write an axis of shares as percentages."""
    getattr(ax, f"{axis}axis").set_major_formatter(lambda share, _: f"{100 * share:.3g}%")
    return ax


def unit_axis(ax: Axes, unit: str, axis: str = "x") -> None:
    """Write the ticks of an axis in a unit of :mod:`collectlab.core.tables`."""
    ticks = getattr(ax, f"{axis}axis")
    if unit == "share":
        percent_axis(ax, axis)
    elif unit == "points":
        ticks.set_major_formatter(lambda v, _: f"{100 * v:+.3g}".replace("-", "−") if abs(v) > 1e-9 else "0")
    elif unit.startswith("money"):
        ticks.set_major_formatter(short_money)


def level_axis(ax: Axes) -> None:
    """For bars and points in rows: lines that run down from the values, none along the rows."""
    ax.grid(axis="y", visible=False)
    ax.grid(axis="x", visible=True, color=STYLE["grid.color"], linewidth=STYLE["grid.linewidth"])


def short_money(value: float, _: object = None) -> str:
    """1,250,000 → 1.25M, −40,000 → −40k."""
    for size, letter in ((1e9, "bn"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:,.4g}{letter}".replace("-", "−")
    return f"{value:,.4g}".replace("-", "−")


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
    ax.set_yticks(place, [str(readable(label)) for label in labels])
    ax.set_ylim(-0.7, len(labels) - 0.3)
    level_axis(ax)
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
    groups: Sequence[tuple[str, pd.DataFrame]],
    x: str,
    *,
    unit: str,
    title: str,
    ylabel: str,
    ax: Axes | None = None,
) -> Axes:
    """One line with its band per group over ``x``."""
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
            label=str(readable(label)),
            linewidth=1.7,
            marker=None if many else "o",
            markersize=3,
        )
        ax.fill_between(part[x], part["conf_low"], part["conf_high"], color=colour, alpha=0.13, linewidth=0)
    ax.set_ylabel(ylabel)
    ax.set_ylim(bottom=0)
    unit_axis(ax, unit, "y")
    return titled(ax, title)


def save_svg(ax: Axes, target) -> None:
    """Write the figure of ``ax`` as SVG, without the date that would make each run differ."""
    import matplotlib as mpl

    with mpl.rc_context(STYLE):
        ax.figure.savefig(target, format="svg", metadata={"Date": None, "Creator": None})  # type: ignore[union-attr]
