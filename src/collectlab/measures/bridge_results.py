"""A bridge as people read it: a table whose rounded parts add up, a waterfall, the segments behind it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from collectlab.core.plots import PALETTE, level_axis, new_axes, titled, unit_axis
from collectlab.core.results import Result
from collectlab.core.tables import display_table, humanise
from collectlab.measures.bridge_math import round_half_up, rounded_to_sum

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Parts of one unit that a figure is shown in: hundredths of a percentage point, cents, four decimals.
PARTS = {"share": 10_000, "money2": 100, "number": 10_000}


@dataclass(frozen=True, kw_only=True)
class BridgeSegments(Result):
    """What each segment adds to mix and rate; one row per segment × step.

    ``table``: [segments…], step, share_before, share_after, rate_before, rate_after, estimate, std_error,
    conf_low, conf_high, rounded.
    """

    by: tuple[str, ...] = ()
    of: str = ""
    figure_unit: str = "share"
    rate_unit: str = "share"

    def display_table(self) -> pd.DataFrame:
        """One row per segment: mix and rate side by side, rounded so that they add up to the bridge's steps."""
        rows = {
            step: self.table[self.table["step"] == step].reset_index(drop=True) for step in ("mix", "rate")
        }
        shown = rows["mix"][[*self.by, "share_before", "share_after", "rate_before", "rate_after"]].copy()
        for step, part in rows.items():
            shown[step] = [change_text(v, self.figure_unit) for v in part["rounded"]]
        both = rows["mix"]["rounded"] + rows["rate"]["rounded"]
        shown["mix and rate"] = [change_text(v, self.figure_unit) for v in both]
        rate = self.rate_unit
        formats = {"share_before": "share", "share_after": "share", "rate_before": rate, "rate_after": rate}
        return display_table(
            shown, formats={**formats, **dict.fromkeys(("mix", "rate", "mix and rate"), "text")}
        )


@dataclass(frozen=True, kw_only=True)
class Bridge(Result):
    """From last month's figure to this month's; one row per step, the two figures first and last.

    Attributes
    ----------
    table : pandas.DataFrame
        step (before, restatement, maturity, volume, mix, rate, definition, after; those that apply), meaning,
        estimate, std_error, conf_low, conf_high, rounded (the estimate in whole hundredths of a point, cents, …
        such that the steps add up to the difference), unit.
    exact : mapping
        Step → fraction, without any rounding: before + all steps = after.
    segments : BridgeSegments or None
        What each segment adds to mix and rate.
    labels : pair of str
        What the two figures are called.
    """

    exact: Mapping[str, Fraction] = field(default_factory=dict)
    segments: BridgeSegments | None = None
    labels: tuple[str, str] = ("before", "after")
    plottable = True

    @property
    def difference(self) -> Fraction:
        """What the steps add up to."""
        return self.exact["after"] - self.exact["before"]

    def display_table(self) -> pd.DataFrame:
        """The steps rounded so that they add up, each with its interval."""
        rows = self._shown()
        return pd.DataFrame(
            {
                "Step": rows["label"],
                "Estimate": rows["text"],
                f"{100 * self.conf_level:g} % interval": rows["interval"],
                "What it is": rows["meaning"],
            }
        )

    def _shown(self) -> pd.DataFrame:
        out = []
        for row in self.table.to_dict("records"):
            is_level = row["step"] in ("before", "after")
            text = level_text if is_level else change_text
            low, high = (text(row[c], self.unit) for c in ("conf_low", "conf_high"))
            out.append(
                {
                    "label": self.labels[row["step"] == "after"] if is_level else humanise(row["step"]),
                    "text": text(row["rounded"], self.unit),
                    "interval": "–" if pd.isna(row["conf_low"]) else f"{low} to {high}",
                    "meaning": row["meaning"],
                }
            )
        return pd.DataFrame(out)

    def plot(self, ax: Axes | None = None) -> Axes:
        """A waterfall: the two figures as points, the steps as bars between them.

        Bars whose interval includes no change are pale; the intervals themselves are in the table.
        """
        rows, shown = self.table, self._shown()
        ax = new_axes(ax, figsize=(7.2, 1.3 + 0.42 * len(rows)))
        place = np.arange(len(rows))[::-1]
        at = rows["estimate"].iloc[0]
        reached, pale = [], False
        for i, row in enumerate(rows.itertuples(index=False)):
            if row.step in ("before", "after"):
                at = row.estimate
                ax.plot([at], [place[i]], "D", color="black", markersize=5.5)
            else:
                unsure = bool(row.conf_low <= 0 <= row.conf_high)
                pale |= unsure
                colour = PALETTE[0] if row.estimate >= 0 else PALETTE[1]
                ax.barh(
                    place[i], row.estimate, left=at, height=0.55, color=colour, alpha=0.4 if unsure else 1
                )
                at += row.estimate
            reached.append(at)
            if i + 1 < len(rows):
                ax.plot([at, at], [place[i] - 0.28, place[i + 1] + 0.28], color="#888888", linewidth=0.8)
        width = (max(reached) - min(reached)) or abs(at) or 1.0
        ax.set_xlim(min(reached) - 0.08 * width, max(reached) + 0.35 * width)
        for i, text in enumerate(shown["text"]):
            ax.annotate(
                text,
                (0.99, place[i]),
                xycoords=ax.get_yaxis_transform(),
                ha="right",
                va="center",
                fontsize=8.5,
            )
        ax.set_yticks(place, shown["label"])
        ax.set_ylim(-0.6, len(rows) - 0.4)
        if pale:
            ax.set_xlabel(f"Pale: the {100 * self.conf_level:g} % interval includes no change")
        level_axis(ax)
        unit_axis(ax, self.unit)
        return titled(ax, self.title)


def level_text(value: float, unit: str) -> str:
    """A figure in the parts it is rounded to: ``41.23 %``."""
    if pd.isna(value):
        return "–"
    number = f"{100 * value:,.2f} %" if unit == "share" else f"{value:,.{2 if unit == 'money2' else 4}f}"
    return _minus(number)


def change_text(value: float, unit: str) -> str:
    """A change in the same parts: ``+0.32 pp``."""
    if pd.isna(value):
        return "–"
    number = f"{100 * value:+,.2f} pp" if unit == "share" else f"{value:+,.{2 if unit == 'money2' else 4}f}"
    return _minus(number)


def _minus(text: str) -> str:
    if not any(c in "123456789" for c in text):
        return text.lstrip("+-")
    return text.replace("-", "−", 1)


def rounded_steps(exact: Mapping[str, Fraction], unit: str) -> dict[str, float]:
    """Every step in whole parts of its unit; before + the steps = after holds for them too."""
    parts = PARTS[unit]
    first, last = (round_half_up(exact[name] * parts) for name in ("before", "after"))
    steps = [name for name in exact if name not in ("before", "after")]
    whole = rounded_to_sum([exact[name] * parts for name in steps], last - first)
    return {name: v / parts for name, v in zip(["before", *steps, "after"], [first, *whole, last])}


def rounded_segments(values: Sequence[Fraction], step: float, unit: str) -> list[float]:
    """The segments' parts of a step, adding up to the step as it is shown."""
    parts = PARTS[unit]
    return [v / parts for v in rounded_to_sum([v * parts for v in values], round(step * parts))]
