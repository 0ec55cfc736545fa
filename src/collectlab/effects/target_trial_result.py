"""What :func:`collectlab.effects.target_trial.target_trial` returns: its table in words, and its chart."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pandas as pd

from collectlab.core.plots import legend, lines
from collectlab.core.tables import display_table
from collectlab.effects.effect_result import EffectResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: method -> how a table calls it.
METHOD_WORDS = {
    "clone_censor_weight": "Target trial (clones, weighted)",
    "landmark": "Landmark, weighted",
    "ever_treated_weighted": "Ever treated, weighted (immortal time)",
    "ever_treated": "Ever treated, as it stands (immortal time)",
}


@dataclass(frozen=True, kw_only=True)
class TargetTrialResult(EffectResult):
    """Estimates of a target trial, and the curves of the two strategies behind the headline.

    Attributes
    ----------
    curves : pandas.DataFrame
        strategy (``start``, ``never``), day, estimate, std_error, conf_low, conf_high: the share with the
        outcome by that day, had all followed the strategy.
    """

    curves: pd.DataFrame = field(default_factory=pd.DataFrame)
    #: How the chart calls the two strategies and the outcome.
    words: tuple[str, str, str] = ("start", "never", "outcome")
    plottable = True

    def display_table(self) -> pd.DataFrame:
        """As in ``table``, with the methods in words."""
        shown = self.table.drop(columns=["outcome", "accounts"])
        shown["method"] = [METHOD_WORDS.get(m, m) for m in shown["method"]]
        return display_table(shown, self.unit, self.formats, self.conf_level)

    def plot(self, ax: Axes | None = None, **options: object) -> Axes:
        """The outcome by day under either strategy, with its interval."""
        zero = pd.DataFrame({"day": [0], "estimate": [0.0], "conf_low": [0.0], "conf_high": [0.0]})
        groups = [
            (label, pd.concat([zero, self.curves[self.curves["strategy"] == strategy]], ignore_index=True))
            for strategy, label in zip(("start", "never"), self.words)
        ]
        ax = lines(groups, "day", unit="share", title=self.title, ylabel=self.words[2], ax=ax)
        ax.set_xlabel("Days since time zero")
        legend(ax)
        return ax
