"""What :func:`collectlab.effects.compare.compare` returns: the methods side by side, and its charts."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from collectlab.core.errors import FrameError
from collectlab.core.plots import PALETTE, dots, legend, level_axis, new_axes, percent_axis, titled
from collectlab.core.tables import display_table, format_value, humanise
from collectlab.effects.compare_checks import BALANCE
from collectlab.effects.effect_result import EffectResult
from collectlab.effects.experiment_result import label_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_BINS = 20


@dataclass(frozen=True, kw_only=True, repr=False)
class Comparison(EffectResult):
    """One effect by several methods; the doubly robust row is the headline.

    ``table``: outcome, unit, method, n_treated, n_untreated, mean_without (the mean had nobody been treated), estimate,
    std_error, conf_low, conf_high, p_value.

    Attributes
    ----------
    balance : pandas.DataFrame
        covariate, level, before, after: standardised differences before and after weighting.
    propensity : pandas.DataFrame
        A row for each account: account_id (or its place), treated, propensity (missing in levels with only one kind),
        kept (whether it is in the adjusted estimates).
    words : (str, str)
        What the treated and the untreated got.
    """

    balance: pd.DataFrame = field(default_factory=pd.DataFrame)
    propensity: pd.DataFrame = field(default_factory=pd.DataFrame)
    words: tuple[str, str] = ("treated", "untreated")
    plottable = True

    def display_table(self) -> pd.DataFrame:
        """As in ``table``, with the mean without treatment in the outcome's own unit."""
        shown = self.table.copy()
        shown["outcome"] = [label_of(o) for o in shown["outcome"]]
        shown["mean_without"] = [
            format_value(mean, "share" if unit == "points" else unit)
            for mean, unit in zip(shown["mean_without"], shown["unit"])
        ]
        return display_table(shown, self.unit, self.formats, self.conf_level)

    def beside(self, other: EffectResult) -> Comparison:
        """The same comparison with the rows of another answer to the same question below its own.

        Parameters
        ----------
        other : EffectResult
            Of the same outcome and unit, such as :func:`~collectlab.effects.compare_times.compare_times` gives.

        Returns
        -------
        Comparison

        Raises
        ------
        FrameError
            The other answer is in another unit.
        """
        rows = other.table.reindex(columns=self.table.columns)
        if set(rows["unit"]) != set(self.table["unit"]):
            raise FrameError(
                f"the other answer is in {', '.join(sorted(set(map(str, rows['unit']))))}. "
                f"Allowed: {self.table['unit'].iloc[0]}."
            )
        if "method" not in other.table:
            rows["method"] = other.design
        return replace(
            self,
            table=pd.concat([self.table, rows], ignore_index=True),
            notes=tuple(dict.fromkeys((*self.notes, *other.notes))),
        )

    def plot(self, ax: Axes | None = None) -> Axes:
        """The methods, one below the other, each with its interval; the headline in colour."""
        table, unit = self.table, self.table["unit"].iloc[0]
        words = ", percentage points" if unit == "points" else ""
        return dots(
            [("", table)],
            [humanise(m) for m in table["method"]],
            unit=unit,
            title=self.title,
            xlabel=f"{label_of(table['outcome'].iloc[0])}: {self.words[0]} minus {self.words[1]}{words}",
            colours=[
                PALETTE[0] if i == self.headline else PALETTE[2] if m == "randomised" else "#888888"
                for i, m in enumerate(table["method"])
            ],
            zero=True,
            ax=ax,
        )

    def plot_overlap(self, ax: Axes | None = None) -> Axes:
        """Two mirrored histograms of the propensity; what lies beyond the trimmed range is pale."""
        ax = new_axes(ax)
        edges = np.linspace(0, 1, _BINS + 1)
        known = self.propensity.dropna(subset="propensity")
        top = 0.0
        for up, word, colour in ((True, self.words[0], PALETTE[1]), (False, self.words[1], PALETTE[0])):
            part = known[known["treated"] == up]
            for kept, alpha in ((True, 0.85), (False, 0.3)):
                rows = part.loc[part["kept"] == kept, "propensity"]
                base = np.histogram(part.loc[part["kept"], "propensity"], edges)[0] * (not kept)
                height = np.histogram(rows, edges)[0]
                if not len(rows):
                    continue
                ax.bar(
                    edges[:-1],
                    height if up else -height,
                    width=np.diff(edges),
                    bottom=base if up else -base,
                    align="edge",
                    color=colour,
                    alpha=alpha,
                    edgecolor="white",
                    linewidth=0.5,
                    label=word if kept else f"{word}, left out",
                )
                top = max(top, float((height + base).max()))
        ax.axhline(0, color="#444444", linewidth=0.8)
        ax.set_ylim(-1.08 * top, 1.08 * top)
        ax.yaxis.set_major_formatter(lambda v, _: f"{abs(v):,.0f}")
        ax.set_xlim(0, 1)
        percent_axis(ax, "x")
        ax.set_xlabel(f"Propensity: chance of {self.words[0]}, from the covariates")
        ax.set_ylabel("Accounts")
        legend(ax, outside=True)
        return titled(ax, "Who could have got either")

    def plot_balance(self, ax: Axes | None = None) -> Axes:
        """Standardised differences (absolute) before and after weighting, widest first (a Love plot)."""
        table = self.balance.assign(before=self.balance["before"].abs(), after=self.balance["after"].abs())
        table = table.sort_values("before", kind="stable").tail(25)
        place = np.arange(len(table))
        ax = new_axes(ax, figsize=(7.2, 1.2 + 0.26 * max(len(table), 2)))
        for i, (before, after) in enumerate(zip(table["before"], table["after"])):
            ax.plot([before, after], [i, i], color="#CCCCCC", linewidth=1.2, zorder=1)
        ax.plot(table["before"], place, "o", color=PALETTE[1], markersize=5, label="before")
        ax.plot(table["after"], place, "s", color=PALETTE[0], markersize=5, label="after weighting")
        made = self.check("balance")
        ax.axvline(
            made.limit if made is not None and made.limit > 0 else BALANCE,
            color="#444444",
            linewidth=0.8,
            linestyle="--",
        )
        ax.set_yticks(
            place,
            [
                f"{humanise(c)} {level}"
                if level.startswith("(")
                else f"{humanise(c)}: {level}"
                if level
                else humanise(c)
                for c, level in zip(table["covariate"], table["level"])
            ],
        )
        ax.set_xlim(left=0)
        level_axis(ax)
        ax.set_xlabel("Standardised difference between the two groups (dashed: the limit)")
        legend(ax, outside=True)
        return titled(ax, "How alike the two groups are")
