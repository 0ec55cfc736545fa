"""What :func:`collectlab.effects.league.league` returns: its table as people read it, its sentences, its chart."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pandas as pd

from collectlab.core import tables
from collectlab.core.errors import FrameError, first_few
from collectlab.core.plots import PALETTE, dots, legend
from collectlab.core.results import Result
from collectlab.effects.effect_result import Check, EffectResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Places of a unit, and the colour of its dot.
ABOVE, BELOW, ALIKE = "above", "below", "cannot be told apart"
_COLOURS = {ABOVE: PALETTE[2], BELOW: PALETTE[1], ALIKE: PALETTE[6]}


@dataclass(frozen=True, kw_only=True)
class League(Result):
    """Teams, agencies, agents or branches on the same mix of cases; best first within each group.

    ``table``: among, the unit's column, n (cases), observed, expected (what the average unit gets on these cases),
    unshrunken (observed − expected), estimate (the same, shrunken), std_error, conf_low, conf_high, p_value (of the
    unshrunken, adjusted for the number of units), rank, rank_low, rank_high, standing.

    Attributes
    ----------
    between : pandas.DataFrame
        One row per group: among, units, n, average, sd (between units, after the mix), sd_low, sd_high, p_value.
    says : tuple of str
        What the table comes to, one sentence per group.
    checks : tuple of Check
        ``assigned``, ``overlap``, ``enough``.
    """

    by: str = "team"
    between: pd.DataFrame = field(default_factory=pd.DataFrame, repr=False)
    says: tuple[str, ...] = ()
    checks: tuple[Check, ...] = ()
    plottable = True

    def check(self, name: str) -> Check | None:
        """The check of that name, or None."""
        return next((c for c in self.checks if c.name == name), None)

    checks_table = EffectResult.checks_table

    def display_table(self) -> pd.DataFrame:
        """Observed and expected, the shrunken difference with its interval, the ranks in one column."""
        shown = self.table.drop(columns=["unshrunken", "p_value", "rank"])
        first, last = shown.pop("rank_low"), shown.pop("rank_high")
        standing = shown.pop("standing")
        shown = shown.drop(columns="among").assign(**{self.by: self._names()})
        text = tables.display_table(shown, self.unit, self.formats, self.conf_level)
        text["Rank"] = [f"{a}" if a == b else f"{a} to {b}" for a, b in zip(first, last)]
        text["Against the average"] = list(standing)
        return text

    def _names(self, rows: pd.DataFrame | None = None) -> list[str]:
        """Units, with their group where there are several: ``Call team 1 (call)``."""
        rows = self.table if rows is None else rows
        several = rows["among"].nunique() > 1
        return [f"{u} ({g})" if several else str(u) for u, g in zip(rows[self.by], rows["among"])]

    def plot(self, ax: Axes | None = None, among: str | None = None) -> Axes:
        """A caterpillar: shrunken differences from the average (the line), the crude ones as faint crosses."""
        groups = list(dict.fromkeys(self.table["among"]))
        if among is not None and among not in groups:
            raise FrameError(f"among is {among!r}. Allowed: {first_few(groups, 20)}.")
        rows = self.table if among is None else self.table[self.table["among"] == among]
        rows = rows.reset_index(drop=True)
        average = rows["among"].map(self.between.set_index("among")["average"])
        crude = rows["observed"] - average
        labels = self._names(rows)
        words = ", percentage points" if self.unit == "points" else ""
        ax = dots(
            [("", rows)],
            labels,
            unit=self.unit,
            title=self.title,
            xlabel=f"Difference from the average at the same mix of cases{words}",
            colours=[_COLOURS[s] for s in rows["standing"]],
            zero=True,
            ax=ax,
        )
        ax.plot(
            crude, range(len(rows))[::-1], "x", color="#AAAAAA", markersize=5, label="crude", zorder=1,
        )  # fmt: skip
        for standing in (ABOVE, ALIKE, BELOW):
            if (rows["standing"] == standing).any():
                ax.plot([], [], "o", color=_COLOURS[standing], markersize=5, label=standing)
        legend(ax, outside=True)
        return ax
