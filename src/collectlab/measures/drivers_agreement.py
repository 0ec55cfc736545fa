"""Two regressions of the same hazards side by side: the counted one against Cox's by lifelines."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from collectlab.core.errors import FrameError, first_few
from collectlab.core.plots import PALETTE, new_axes, titled
from collectlab.core.results import Result
from collectlab.core.tables import humanise

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_SHARED = ["term", "level", "reference"]


@dataclass(frozen=True, kw_only=True, repr=False)
class Agreement(Result):
    """One row per term: both hazard ratios and their distance on the log scale."""

    plottable = True

    def plot(self, ax: Axes | None = None) -> Axes:
        """The one ratio over the other with both intervals; they agree where the point lies on the diagonal."""
        table = self.table
        ax = new_axes(ax, figsize=(8.2, 4.8))
        ends = table[["conf_low", "conf_high", "other_low", "other_high"]].to_numpy(float)
        low, high = np.nanmin([*ends.ravel(), 0.9]) / 1.08, np.nanmax([*ends.ravel(), 1.1]) * 1.08
        ax.plot([low, high], [low, high], color="#999999", linewidth=1, zorder=1)
        for i, row in enumerate(table.itertuples()):
            name = f"{humanise(row.term)}: {row.level}" + (f" (vs {row.reference})" if row.reference else "")
            ax.errorbar(
                row.other,
                row.estimate,
                xerr=[[row.other - row.other_low], [row.other_high - row.other]],
                yerr=[[row.estimate - row.conf_low], [row.conf_high - row.estimate]],
                fmt="osD^v"[i // len(PALETTE) % 5],
                color=PALETTE[i % len(PALETTE)],
                capsize=2.5,
                markersize=5,
                label=name,
            )
        ticks = [
            t for t in (0.05, 0.1, 0.2, 0.35, 0.5, 0.7, 0.85, 1, 1.2, 1.5, 2, 3, 5, 10) if low <= t <= high
        ]
        for axis in (ax.xaxis, ax.yaxis):
            getattr(ax, f"set_{axis.axis_name}scale")("log")
            axis.set_ticks(ticks, [f"{t:g}" for t in ticks])
            axis.set_ticks([], minor=True)
        ax.set_xlim(low, high)
        ax.set_ylim(low, high)
        ax.set_aspect("equal")
        ax.set_xlabel("Hazard ratio, Cox (log scale)")
        ax.set_ylabel("Hazard ratio, grouped (log scale)")
        ax.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0))
        return titled(ax, self.title)


def agreement(ours: Result, other: Result) -> Agreement:
    """Compare the hazard ratios of two regressions with the same terms.

    Both estimate the same parameter. Asked of the same episodes they differ only by how ties are treated
    and, where numbers were counted in bins, by the bins (towards 1); asked of a sample, by chance as well.

    Parameters
    ----------
    ours : HazardRatios
        From :func:`~collectlab.measures.drivers.proportional_hazards`.
    other : CoxRegression
        From :func:`~collectlab.measures.drivers.cox_regression`, with the same ``steps``.

    Returns
    -------
    Agreement
        term, level, reference, estimate with its interval, other, other_low, other_high, ``distance``: the
        difference of the logs in units of the other's standard error. ``.plot()``.

    Raises
    ------
    FrameError
        No term in common, or effects that vary by stage.

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> from collectlab.measures.drivers import cox_regression, proportional_hazards
    >>> n = np.arange(300)
    >>> spells = pd.DataFrame({"exit_day": 20 + n % 50 + 30 * (n % 2), "entry_day": 0,
    ...                        "outcome": np.where(n % 5, "cured", "charged_off"),
    ...                        "product": np.where(n % 4 < 2, "card", "auto")})
    >>> both = agreement(proportional_hazards(spells, covariates=["product"], entry="entry_day"),
    ...                  cox_regression(spells, covariates=["product"], cluster=None))
    >>> bool(both.table["distance"].abs().max() < 0.1)
    True
    """
    if "stage" in ours.table:
        raise FrameError("the effects vary by stage; Cox's ratios are for all days. Leave out varying.")
    left = ours.table[[*_SHARED, "estimate", "std_error", "conf_low", "conf_high"]]
    right = other.table[[*_SHARED, "estimate", "std_error", "conf_low", "conf_high"]].set_axis(
        [*_SHARED, "other", "other_error", "other_low", "other_high"], axis=1
    )
    table = left.merge(right, on=_SHARED, how="inner")
    if table.empty:
        raise FrameError(
            f"no term in common: {first_few(left['term'].unique())} against {first_few(right['term'].unique())}. "
            "Allowed: the same covariates with the same steps."
        )
    table["distance"] = np.log(table["estimate"] / table["other"]) / table["other_error"]
    alone = len(left) + len(right) - 2 * len(table)
    return Agreement(
        table=table.drop(columns="other_error"),
        estimand="Hazard ratios of the same terms by two estimators",
        unit="ratio",
        title="Grouped hazards against Cox",
        formats={"other": "ratio", "other_low": "ratio", "other_high": "ratio", "distance": "number"},
        notes=(
            f"The logs differ by at most {table['distance'].abs().max():.2f} standard errors of the other.",
            *([f"{alone:,} terms stand in one of the two only."] if alone else []),
        ),
        conf_level=ours.conf_level,
    )
