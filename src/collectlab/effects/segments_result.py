"""What :func:`collectlab.effects.segments.by_segment` returns: its table as people read it, and its chart."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pandas as pd

from collectlab.core.errors import FrameError, first_few
from collectlab.core.plots import PALETTE, dots, legend
from collectlab.core.tables import display_table
from collectlab.effects.effect_result import EffectResult
from collectlab.effects.experiment_result import label_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: How a segment's effect stands to that in the others of its column.
LARGER, SMALLER, ALIKE = "larger than in the rest", "smaller than in the rest", "no sign that it differs"


@dataclass(frozen=True, kw_only=True)
class Segments(EffectResult):
    """An effect by segment: the first row of each outcome and arm is everybody, the others are segments.

    ``table``: outcome, arm, segment_by, segment, n, control_n, unit, estimate, std_error, conf_low, conf_high, p_value,
    shrunken (the estimate pulled to the mean of its segments), rest (effect in the other segments), p_differs,
    reading. Intervals and p-values of segments hold for all segments at once.

    Attributes
    ----------
    tests : pandas.DataFrame
        One row per question: outcome, arm, segment_by, segments, q, df, p_value, p_adjusted, sd (between segments).
    says : tuple of str
        One sentence per question.
    """

    tests: pd.DataFrame = field(default_factory=pd.DataFrame, repr=False)
    says: tuple[str, ...] = ()
    plottable = True

    def display_table(self) -> pd.DataFrame:
        """Estimates with their intervals, and whether the segment differs; the outcome and arm where several."""
        shown = self.table.drop(columns=["p_value", "rest", "p_differs", "shrunken", "control_n"])
        shown = shown.assign(
            outcome=[label_of(o) for o in shown["outcome"]],
            segment_by=[str(s).replace("_", " ") for s in shown["segment_by"]],
        )
        # The title names an outcome or an arm that is the only one.
        shown = shown.drop(columns=[c for c in ("outcome", "arm") if shown[c].nunique() == 1])
        return display_table(shown, self.unit, {**self.formats, "reading": "text"}, self.conf_level)

    def plot(self, ax: Axes | None = None, outcome: str | None = None, arm: str | None = None) -> Axes:
        """A dot per segment with its simultaneous interval; the dashed line is the effect in everybody."""
        rows = self.table
        for column, wanted in (("outcome", outcome), ("arm", arm)):
            known = list(dict.fromkeys(rows[column]))
            wanted = known[0] if wanted is None else wanted
            if wanted not in known:
                raise FrameError(f"no {column} {wanted!r} in this result. Allowed: {first_few(known, 20)}.")
            rows = rows[rows[column] == wanted]
        whole, parts = rows.iloc[0], rows.iloc[1:].reset_index(drop=True)
        if parts.empty:
            raise FrameError("no segment could be reported, so there is nothing to draw.")
        labels = [f"{str(b).replace('_', ' ')}: {s}" for b, s in zip(parts["segment_by"], parts["segment"])]
        colours = [PALETTE[6] if r == ALIKE else PALETTE[0] for r in parts["reading"]]
        words = ", percentage points" if whole["unit"] == "points" else ""
        name = label_of(whole["outcome"]) + (f", {whole['arm']}" if whole["arm"] else "")
        ax = dots(
            [("", parts)], labels, unit=whole["unit"], title=self.title, colours=colours, zero=True, ax=ax,
            xlabel=f"Effect on: {name}{words}",
        )  # fmt: skip
        ax.axvline(whole["estimate"], color="#444444", linewidth=0.8, linestyle="--", label="everybody")
        for reading, colour in ((ALIKE, PALETTE[6]), ("differs from the rest", PALETTE[0])):
            if colour in colours:
                ax.plot([], [], "o", color=colour, markersize=5, label=reading)
        legend(ax, outside=True)
        return ax
