"""What :func:`collectlab.effects.experiment.experiment` returns: its table as people read it, and its chart."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd

from collectlab.core.errors import FrameError, first_few
from collectlab.core.plots import dots
from collectlab.core.tables import display_table, format_value
from collectlab.effects.effect_result import EffectResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ALL_ARMS = (
    "“All arms”: the intervals of all arms of an outcome hold at once, and the p-value counts the arms "
    "(sim_low, sim_high, p_adjusted)."
)
#: Outcomes of a book's experiment: what, (within or after), how many days. Most wanted first.
HORIZON = re.compile(r"(paid|paid_in_full|cured|current|amount|cost|net|complaints)_(within|after)_(\d+)")
#: Of curves: ``cured_by_30`` and ``days_cured_within_30``.
CURVE = re.compile(r"(?:days_(.+)_within|(.+)_by)_(\d+)")
OUTCOME_WORDS = {
    "paid": "Paid anything",
    "cured": "Cured",
    "current": "Not past due",
    "amount": "Amount paid",
    "net": "Amount paid less cost",
    "complaints": "Complaints",
    "paid_in_full": "Paid in full",
    "cost": "Spent",
}


def label_of(outcome: str) -> str:
    """``paid_within_30`` as ``Paid anything within 30 days``; other names as they are."""
    if match := HORIZON.fullmatch(outcome):
        return f"{OUTCOME_WORDS[match[1]]} {match[2]} {match[3]} days"
    if match := CURVE.fullmatch(outcome):
        what = (match[1] or match[2]).replace("_", " ")
        return f"Days {what} within {match[3]} days" if match[1] else f"{what.capitalize()} by day {match[3]}"
    return outcome


def _family(outcome: str) -> str | None:
    """What an outcome shares with the same one at other horizons; None for names of other kinds."""
    match = HORIZON.fullmatch(outcome) or CURVE.fullmatch(outcome)
    return outcome[: match.start(match.lastindex or 0)] if match else None


@dataclass(frozen=True, kw_only=True)
class ExperimentResult(EffectResult):
    """Effects of assignment; one row per outcome × arm.

    ``table``: outcome, arm, n (accounts of the arm), control_n, control_mean, unit, estimate, std_error,
    conf_low, conf_high, p_value; with several arms also sim_low, sim_high, p_adjusted. ``control`` names the
    arm that all are compared with.
    """

    control: str = ""
    plottable = True

    def display_table(self) -> pd.DataFrame:
        """As in ``table``, with the control's mean in the outcome's own unit."""
        shown = self.table.drop(columns="control_n").copy()
        shown["outcome"] = [label_of(o) for o in shown["outcome"]]
        shown["control_mean"] = [
            format_value(mean, "share" if unit == "points" else unit)
            for mean, unit in zip(shown["control_mean"], shown["unit"])
        ]
        if "sim_low" in shown:
            together = [
                "–" if pd.isna(low) else f"{format_value(low, unit)} to {format_value(high, unit)}"
                for low, high, unit in zip(shown["sim_low"], shown["sim_high"], shown["unit"])
            ]
            level = f"{self.conf_level:.0%} interval, all arms".replace("%", " %")
            shown.insert(shown.columns.get_loc("sim_low"), level, together)
            shown = shown.rename(columns={"p_adjusted": "p_value, all arms"})
        hidden = {"sim_low": "hidden", "sim_high": "hidden", "p_value, all arms": "p_value"}
        return display_table(shown, self.unit, {**hidden, **self.formats}, self.conf_level)

    def plot(self, ax: Axes | None = None, outcomes: str | Sequence[str] | None = None) -> Axes:
        """A forest plot: a point and its interval for each arm; outcomes of one unit side by side.

        By default the first outcome, with the other horizons of the same one.
        """
        every = list(dict.fromkeys(self.table["outcome"]))
        if outcomes is None:
            family = _family(every[0])
            chosen = [o for o in every if family and _family(o) == family] or every[:1]
        else:
            chosen = [outcomes] if isinstance(outcomes, str) else list(outcomes)
        if unknown := [o for o in chosen if o not in every]:
            raise FrameError(f"no outcome {unknown[0]!r} in this result. Allowed: {first_few(every, 20)}.")
        part = self.table[self.table["outcome"].isin(chosen)]
        if part["unit"].nunique() > 1:
            raise FrameError(f"{first_few(chosen)} are in different units. Allowed: outcomes of one unit.")
        arms = list(dict.fromkeys(part["arm"]))
        unit = part["unit"].iloc[0]
        series = [(label_of(o), part[part["outcome"] == o].set_index("arm").reindex(arms)) for o in chosen]
        words = ", percentage points" if unit == "points" else ""
        xlabel = f"Difference from {self.control}{words}"
        ax = dots(series, arms, unit=unit, title=self.title, xlabel=xlabel, zero=True, ax=ax)
        if len(chosen) == 1:
            ax.set_ylabel(label_of(chosen[0]))
        return ax
