"""The picture of a case: days past due above, what was done below, one row per channel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from collectlab.core.plots import PALETTE, STYLE, new_axes, titled

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from collectlab.measures.cases.timeline import CaseFile

_BLUE, _RED, _GREEN, _PINK, _AMBER, _, _GREY, _BROWN = PALETTE
#: Outcome → marker, colour, filled, size and name; told apart in grey print by the marker.
_OUTCOMES: dict[str, tuple[str, str, bool, float, str]] = {
    "promise": ("D", _GREEN, True, 5.0, "promise"),
    "contact": ("o", _BLUE, True, 4.5, "contact"),
    "hardship": ("v", _AMBER, True, 6.0, "hardship told"),
    "dispute": ("s", _PINK, True, 5.0, "dispute"),
    "refusal": ("X", _RED, True, 6.0, "refusal"),
    "wrong_number": ("x", _BROWN, True, 5.0, "wrong number"),
    "no_answer": ("o", _GREY, False, 4.0, "no answer"),
    "": ("|", _GREY, True, 7.0, "sent or made, answer not known"),
}
_CHANNELS = (
    "sms",
    "email",
    "app",
    "chat",
    "robot_call",
    "call",
    "letter",
    "visit",
    "agency",
    "legal",
    "other",
)


def draw(files: Sequence[CaseFile]) -> Axes:
    """One pair of panels per case in one figure; returns the first panel."""
    rows = [_channels(one.table) for one in files]
    heights = [h for channels in rows for h in (1.45, 0.17 * max(len(channels), 1) + 0.22)]
    first = new_axes(figsize=(7.6, sum(heights) + 0.75 * len(files) + 0.45))
    figure: Any = first.figure
    figure.delaxes(first)
    grid = figure.add_gridspec(len(heights), 1, height_ratios=heights)
    import matplotlib as mpl

    used: set[str] = set()
    with mpl.rc_context(STYLE):
        first = figure.add_subplot(grid[0], axes_class=type(first))
        for i, (one, channels) in enumerate(zip(files, rows)):
            top = first if i == 0 else figure.add_subplot(grid[2 * i])
            below = figure.add_subplot(grid[2 * i + 1], sharex=top)
            _above(top, one)
            used |= _below(below, one, channels)
        below.set_xlabel("days since the first day past due")
    _legend(figure, files, used)
    return first


def _channels(table: pd.DataFrame) -> list[str]:
    found = set(table.loc[table["event"] == "action", "detail"].str.removesuffix(" (third party)"))
    return [c for c in _CHANNELS if c in found]


def _above(ax: Axes, one: CaseFile) -> None:
    table = one.table
    seen = table[table["event"] == "snapshot"]
    day, late = seen["day"].to_numpy(float), seen["days_past_due"].to_numpy(float)
    if one.entry_day == 0 and len(day) and day[0] > 0:
        day, late = [0.0, *day], [0.0, *late]
    top = max([*late, 10.0])
    ax.fill_between(day, late, color=_BLUE, alpha=0.15, linewidth=0)
    ax.plot(day, late, color=_BLUE, linewidth=1.5, marker="o", markersize=2.5)
    ax.set_ylim(0, top * 1.45)
    ax.set_ylabel("days past due", fontsize=8.5)
    paid = table.loc[table["event"] == "payment", "day"]
    if len(paid):  # an empty line that is not clipped has no extent, and the layout gives up
        ax.plot(
            paid, [0] * len(paid), "^", color=_GREEN, markersize=6.5, markeredgecolor="white",
            markeredgewidth=0.6, clip_on=False, zorder=5,
        )  # fmt: skip
    _plans(ax, table, one, top)
    for row in table[table["event"] == "complaint"].itertuples():
        ax.axvline(row.day, color=_RED, linewidth=1.1, linestyle="--")
        ax.annotate(
            row.result, (row.day, top * 1.43), xytext=(-2, 0), textcoords="offset points",
            rotation=90, ha="right", va="top", fontsize=7, color=_RED,
        )  # fmt: skip
    ends = table[table["event"] == "end"].iloc[0]
    ax.axvline(ends["day"], color="#222222", linewidth=1.1)
    ax.annotate(
        ends["detail"], (ends["day"], top * 1.43), xytext=(-2, 0), textcoords="offset points",
        rotation=90, ha="right", va="top", fontsize=7.5,
    )  # fmt: skip
    ax.tick_params(labelbottom=False, labelsize=8)
    ax.set_xlim(min(0, int(table["day"].min())) - 2, max(int(table["day"].max()), one.exit_day) + 3)
    titled(ax, f"{one.case.name} · rank {one.case.rank:,} of {one.case.candidates:,}")


def _plans(ax: Axes, table: pd.DataFrame, one: CaseFile, top: float) -> None:
    """A bar over the days of each plan, with what it was and what became of it."""
    rows = table[table["event"] == "plan"]
    last = max(int(table["day"].max()), one.exit_day)
    for row in rows[rows["result"] == "agreed"].itertuples():
        over = rows[(rows["detail"] == row.detail) & (rows["result"] != "agreed") & (rows["day"] >= row.day)]
        until, how = (over["day"].iloc[0], over["result"].iloc[0]) if len(over) else (last, "running")
        ax.plot(
            [row.day, max(until, row.day + 1)],
            [top * 1.08] * 2,
            color=_AMBER,
            linewidth=5,
            solid_capstyle="butt",
        )
        ax.annotate(
            f"{row.detail.replace('_', ' ')}, {how}", (row.day, top * 1.12), xytext=(0, 2),
            textcoords="offset points", fontsize=7.5, va="bottom",
        )  # fmt: skip


def _below(ax: Axes, one: CaseFile, channels: Sequence[str]) -> set[str]:
    acts = one.table[one.table["event"] == "action"]
    for row in one.table[one.table["event"] == "complaint"].itertuples():
        ax.axvline(row.day, color=_RED, linewidth=1.1, linestyle="--")
    ax.axvline(one.exit_day, color="#222222", linewidth=1.1)
    place = {channel: len(channels) - 1 - i for i, channel in enumerate(channels)}
    channel = acts["detail"].str.removesuffix(" (third party)")
    used = set(acts["result"])
    for outcome, (marker, colour, filled, size, _) in reversed(_OUTCOMES.items()):
        these = acts["result"] == outcome
        ax.plot(
            acts.loc[these, "day"], channel[these].map(place), marker, color=colour, markersize=size,
            markerfacecolor=colour if filled else "white", linestyle="none",
        )  # fmt: skip
    ax.set_yticks(list(place.values()), [c.replace("_", " ") for c in place], fontsize=8)
    ax.set_ylim(-0.6, len(channels) - 0.4)
    ax.tick_params(labelsize=8)
    ax.grid(axis="y", visible=True)
    if not channels:
        ax.set_yticks([])
        ax.annotate(
            "no actions recorded",
            (0.5, 0.5),
            xycoords="axes fraction",
            ha="center",
            va="center",
            fontsize=8,
        )
    return used


def _legend(figure: Any, files: Sequence[CaseFile], used: set[str]) -> None:
    from matplotlib.lines import Line2D

    marks: list[Any] = []
    for outcome, (marker, colour, filled, size, name) in _OUTCOMES.items():
        if outcome in used:
            marks.append(
                Line2D([], [], marker=marker, color=colour, markersize=size, linestyle="none", label=name,
                       markerfacecolor=colour if filled else "white")
            )  # fmt: skip
    events = {event for one in files for event in one.table["event"]}
    if "payment" in events:
        marks.append(
            Line2D([], [], marker="^", color=_GREEN, markersize=6.5, linestyle="none", label="payment")
        )
    if "plan" in events:
        marks.append(Line2D([], [], color=_AMBER, linewidth=5, label="plan"))
    if "complaint" in events:
        marks.append(Line2D([], [], color=_RED, linestyle="--", linewidth=1.1, label="complaint"))
    marks.append(Line2D([], [], color="#222222", linewidth=1.1, label="end"))
    figure.legend(handles=marks, loc="outside lower center", ncols=5, fontsize=8, frameon=False)
