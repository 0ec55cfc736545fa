"""How often each option is the best one, by what an extra unit of its effect is worth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from collectlab.core.errors import FrameError, first_few
from collectlab.core.plots import PALETTE, legend, new_axes, percent_axis, short_money, titled
from collectlab.core.results import Result
from collectlab.measures.worth.checks import plain_number
from collectlab.measures.worth.probabilistic import options_frame

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True, kw_only=True)
class Acceptability(Result):
    """One row per willingness to pay × option.

    ``table``: willingness_to_pay, option, ``estimate`` (share of draws in which the option is best) with its Monte-Carlo
    ``std_error``, net (its expected net benefit), frontier (whether that is the highest) and
    perfect_information (what that is worth per decision, at that willingness).

    Attributes
    ----------
    of : str
        What a unit of the effect is called.
    """

    of: str = "one more"
    plottable = True

    def frontier(self) -> pd.DataFrame:
        """The acceptability frontier: the option of highest expected net benefit, and how often it is best."""
        return self.table[self.table["frontier"]].drop(columns="frontier").reset_index(drop=True)

    def plot(self, ax: Axes | None = None) -> Axes:
        """A curve per option; the frontier is drawn over it in black."""
        ax = new_axes(ax)
        for i, (option, rows) in enumerate(self.table.groupby("option", sort=False)):
            ax.plot(
                rows["willingness_to_pay"],
                rows["estimate"],
                color=PALETTE[i % len(PALETTE)],
                label=str(option),
            )
        for i, (_, rows) in enumerate(self.table.groupby("option", sort=False)):
            # a gap where the best option changes: the frontier jumps there
            best = rows["estimate"].where(rows["frontier"])
            label = None if i else "frontier"
            ax.plot(rows["willingness_to_pay"], best, "k:", linewidth=2.4, label=label)
        ax.set_ylim(0, 1)
        percent_axis(ax)
        ax.xaxis.set_major_formatter(short_money)
        ax.set_xlabel(f"What {self.of} is worth")
        ax.set_ylabel("Share of draws in which it is best")
        legend(ax)
        return titled(ax, self.title)


def acceptability(
    effects: Any,
    costs: Any,
    willingness: Sequence[float] | float,
    *,
    of: str = "one more",
    title: str = "How often each option is the best one",
) -> Acceptability:
    """Cost-effectiveness acceptability curves, and their frontier.

    With e_d, c_d the effect and cost of option d in a draw and λ the willingness to pay for a unit of effect (an
    extra cure, say), d is best in the draw where λ e_d − c_d is largest. The curve of d is the share of draws in which
    it is, by λ; draws in which several are equally good are shared between them. The frontier is the curve of the
    option with the largest *expected* net benefit at each λ, which need not be the one that is best most often.

    Parameters
    ----------
    effects, costs : frame, mapping or array
        Draws × options: a column per option, or option → draws. The same options and draws in both.
    willingness : float or list of float
        λ, each ≥ 0.
    of, title : str
        What a unit of the effect is called (an extra cure), and the heading.

    Returns
    -------
    Acceptability

    Raises
    ------
    FrameError
        Draws that are missing or of unequal length, other options in the two, a negative willingness.

    References
    ----------
    Fenwick, Claxton & Sculpher (2001), Health Economics 10, 779–787.

    Examples
    --------
    >>> found = acceptability({"none": [0, 0, 0, 0], "visit": [1, 2, 3, 4]}, {"none": [0] * 4, "visit": [5] * 4}, [1, 2])
    >>> found.table.query("option == 'visit'")["estimate"].tolist()
    [0.0, 0.5]
    >>> found.frontier()["option"].tolist()
    ['none', 'none']
    """
    gains, spent = options_frame(effects, "effects"), options_frame(costs, "costs")
    faults = []
    if list(gains) != list(spent):
        faults.append(f"effects have the options {first_few(list(gains))}, costs {first_few(list(spent))}.")
    if len(gains) != len(spent):
        faults.append(f"draws of unequal length: {len(gains):,} of the effects, {len(spent):,} of the costs.")
    given = np.atleast_1d(np.asarray(willingness, dtype=object))
    prices = np.array([plain_number(v) for v in given.ravel()])
    if not len(prices) or not (np.isfinite(prices) & (prices >= 0)).all():
        faults.append(f"willingness is {first_few(list(given)) or 'empty'}. Allowed: numbers ≥ 0.")
    if faults:
        raise FrameError(faults)
    rows = []
    for price in np.unique(prices):
        net = price * gains.to_numpy() - spent.to_numpy()
        best = net.max(axis=1)
        ties = net == best[:, None]
        share = (ties / ties.sum(axis=1, keepdims=True)).mean(axis=0)
        means = net.mean(axis=0)
        evpi = best.mean() - means.max()
        for j, option in enumerate(gains):
            error = float(np.sqrt(share[j] * (1 - share[j]) / len(net)))
            rows.append((price, option, share[j], error, means[j], j == int(means.argmax()), evpi))
    columns = [
        "willingness_to_pay",
        "option",
        "estimate",
        "std_error",
        "net",
        "frontier",
        "perfect_information",
    ]
    return Acceptability(
        table=pd.DataFrame(rows, columns=columns),
        estimand=f"Share of {len(gains):,} draws in which the option is best",
        unit="share",
        title=title,
        of=of,
        formats={
            "estimate": "Best in", "willingness_to_pay": "money", "net": "money2", "perfect_information": "money2",
        },
    )  # fmt: skip
