"""One look for every chart, and the same bytes for the same numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

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
        return figure.subplots()


def percent_axis(ax: Axes, axis: str = "y") -> Axes:
    """Write an axis of shares as percentages."""
    from matplotlib.ticker import PercentFormatter

    getattr(ax, f"{axis}axis").set_major_formatter(PercentFormatter(1.0, decimals=0))
    return ax


def save_svg(ax: Axes, target) -> None:
    """Write the figure of ``ax`` as SVG, without the date that would make each run differ."""
    import matplotlib as mpl

    with mpl.rc_context(STYLE):
        ax.figure.savefig(target, format="svg", metadata={"Date": None, "Creator": None})
