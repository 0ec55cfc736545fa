r"""Cumulative incidences out of cause-specific hazards, and their gradients.

With h_k(t) the hazard of outcome k on day t and H = Σ_k h_k,

.. math:: F_k(\tau) = \sum_{t \le \tau} S(t^-) h_k(t), \qquad S(t) = \prod_{s \le t} (1 - H(s)),

which is Aalen–Johansen's estimate with the model's hazards in place of the raw ones, and

.. math:: \frac{\partial F_k(\tau)}{\partial h_l(t)} = S(t^-)\,1[k = l] - \frac{F_k(\tau) - F_k(t)}{1 - H(t)}.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from collectlab.core import tables
from collectlab.core.errors import FrameError, first_few
from collectlab.core.jackknife import interval
from collectlab.core.plots import PALETTE, legend, new_axes, percent_axis, titled
from collectlab.core.results import Result
from collectlab.measures.drivers_model import Model
from collectlab.measures.survival_curves import SUMMARY_DAYS, whole_days

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_BLOCK = 400_000


@dataclass(frozen=True, kw_only=True, repr=False)
class PredictedCurves(Result):
    """Curves of named profiles: profile, (outcome,) day, estimate, std_error, conf_low, conf_high."""

    plottable = True

    def at(self, days: int | Sequence[int]) -> pd.DataFrame:
        """The rows of these days; refuses a day beyond the horizon asked for."""
        days = whole_days(days, "days")
        first, last = self.table["day"].min(), self.table["day"].max()
        if days.max() > last or days.min() < first:
            raise FrameError(f"days is {first_few(days.tolist())}. Allowed: day {first:,} to day {last:,}.")
        return self.table[self.table["day"].isin(days)].reset_index(drop=True)

    def display_table(self) -> pd.DataFrame:
        """A few days: 30, 60, 90, 180 and 360 as far as the curves go."""
        last = self.table["day"].max()
        days = [d for d in SUMMARY_DAYS if d <= last] or [last]
        return tables.display_table(
            self.table[self.table["day"].isin(days)], self.unit, self.formats, self.conf_level
        )

    def plot(self, outcome: Any = None, ax: Axes | None = None) -> Axes:
        """One line with its band for each profile; of ``outcome`` (default: the first)."""
        table = self.table
        if "outcome" in table:
            outcome = table["outcome"].iloc[0] if outcome is None else outcome
            if outcome not in set(table["outcome"]):
                raise FrameError(
                    f"outcome {outcome!r} is not here. Allowed: {first_few(table['outcome'].unique())}."
                )
            table = table[table["outcome"] == outcome]
        ax = new_axes(ax)
        for i, (name, rows) in enumerate(table.groupby("profile", sort=False)):
            colour = PALETTE[i % len(PALETTE)]
            ax.step(rows["day"], rows["estimate"], where="post", color=colour, label=str(name), linewidth=1.7)
            band = rows.dropna(subset=["conf_low", "conf_high"])
            ax.fill_between(
                band["day"],
                band["conf_low"],
                band["conf_high"],
                step="post",
                color=colour,
                alpha=0.15,
                linewidth=0,
            )
        ax.set_xlabel("Days since day 0")
        word = str(outcome).replace("_", " ") if "outcome" in table else "still without the event"
        ax.set_ylabel(f"Share {word}")
        ax.set_ylim(bottom=0)
        ax.set_xlim(left=max(0, table["day"].min() - 1))
        percent_axis(ax)
        legend(ax)
        return titled(ax, f"Predicted share {word}")


def days_to(model: Model, horizon: Any) -> np.ndarray:
    """The days up to ``horizon`` on which somebody can be at risk; refuses to go beyond the follow-up."""
    edges = model.patterns.edges
    horizon = int(whole_days(horizon, "horizon")[0])
    if not edges[0] < horizon <= edges[-1]:
        raise FrameError(
            f"horizon is {horizon:,}. Allowed: day {edges[0] + 1:,} to day {edges[-1]:,}, the follow-up."
        )
    return np.arange(edges[0] + 1, horizon + 1)


def incidence(mus: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """From daily −log(1 − h), K × (n, D): h (K, n, D), F (K, n, D), S(t−) and H (n, D)."""
    h = -np.expm1(-np.stack(mus))
    total = np.minimum(h.sum(axis=0), 1.0)
    stay = np.cumprod(1 - total, axis=1)
    before = np.concatenate([np.ones_like(stay[:, :1]), stay[:, :-1]], axis=1)
    return h, np.cumsum(before * h, axis=2), before, total


def profile_curves(model: Model, profiles: dict, horizon: Any, conf_level: float) -> pd.DataFrame:
    """profile, outcome, day and the interval on the scale of log(−log(1 − F))."""
    days = days_to(model, horizon)
    parts, codes = model.profile_rows(profiles)
    j = np.searchsorted(model.patterns.edges, days) - 1
    mus = [m[:, j] for m in model.mus(parts, codes)]
    _, F, before, total = incidence(mus)
    X, stage = model.design.matrices(parts), model.design.stage_of[j]
    slopes = [_slope(m) for m in mus]
    D, J, z = len(days), len(model.patterns.edges) - 1, model.quantile(conf_level)
    upto = days[:, None] <= days[None, :]  # (t, τ)
    out = []
    for p, name in enumerate(profiles):
        with np.errstate(divide="ignore", invalid="ignore"):
            share_left = np.where(total[p] < 1, 1 / (1 - total[p]), 0.0)
        for k, outcome in enumerate(model.patterns.outcomes):
            gradient = []
            lost = (F[k, p][None, :] - F[k, p][:, None]) * share_left[:, None]
            for l_ in range(len(mus)):
                by_day = (before[p][:, None] * (l_ == k) - lost) * slopes[l_][p][:, None] * upto
                alpha = np.zeros((J, D))
                np.add.at(alpha, j, by_day)
                beta = sum(
                    np.outer(X[s, p], by_day[stage == s].sum(axis=0)) for s in range(model.design.stages)
                )
                gradient.append((alpha, beta))
            error = model.errors(gradient)
            low, high = interval(F[k, p], error, z, "cloglog")
            out.append(
                pd.DataFrame(
                    {
                        "profile": name,
                        "outcome": outcome,
                        "day": days,
                        "estimate": F[k, p],
                        "std_error": error,
                    }
                ).assign(conf_low=low, conf_high=high)
            )
    return pd.concat(out, ignore_index=True)


def event_free(model: Model, profiles: dict, horizon: Any, conf_level: float) -> pd.DataFrame:
    """profile, day and exp(−Σμ) of the event alone, with its log-log interval."""
    days = days_to(model, horizon)
    parts, codes = model.profile_rows(profiles)
    j = np.searchsorted(model.patterns.edges, days) - 1
    mu = model.mus(parts, codes, causes=1)[0][:, j]
    X, stage = model.design.matrices(parts), model.design.stage_of[j]
    D, J, z = len(days), len(model.patterns.edges) - 1, model.quantile(conf_level)
    upto = days[:, None] <= days[None, :]
    out = []
    for p, name in enumerate(profiles):
        by_day = np.where(upto, np.where(np.isfinite(mu[p]), mu[p], 0.0)[:, None], 0.0)
        alpha = np.zeros((J, D))
        np.add.at(alpha, j, by_day)
        beta = sum(np.outer(X[s, p], by_day[stage == s].sum(axis=0)) for s in range(model.design.stages))
        total = np.cumsum(mu[p])
        survival = np.exp(-total)
        error = survival * model.errors([(alpha, beta)])  # type: ignore[list-item]
        high, low = (1 - x for x in interval(1 - survival, error, z, "cloglog"))
        out.append(
            pd.DataFrame({"profile": name, "day": days, "estimate": survival, "std_error": error}).assign(
                conf_low=low, conf_high=high
            )
        )
    return pd.concat(out, ignore_index=True)


def _slope(mu: np.ndarray) -> np.ndarray:
    """dh/dη = μ e^−μ; 0 where the hazard is 0 or 1 for good."""
    finite = np.where(np.isfinite(mu), mu, 0.0)
    return finite * np.exp(-finite)


def standardised(
    model: Model, k: int, horizon: Any, change: Callable[[list[np.ndarray], np.ndarray], tuple] | None = None
) -> tuple[float, list[tuple[np.ndarray, np.ndarray]]]:
    """Mean F_k(horizon) over the episodes counted, after a change of their covariates, and its gradient."""
    days = days_to(model, horizon)
    patterns, design = model.patterns, model.design
    j = np.searchsorted(patterns.edges, days) - 1
    J, K = len(patterns.edges) - 1, len(patterns.outcomes)
    intervals, first = np.unique(j, return_index=True)
    weight = patterns.size / patterns.size.sum()
    mean = 0.0
    gradient = [(np.zeros((J, 1)), np.zeros((len(design.columns), 1))) for _ in range(K)]
    block = max(1, _BLOCK // len(days))
    for start in range(0, len(weight), block):
        rows = slice(start, start + block)
        codes = patterns.codes[rows]
        parts = model.parts(codes)
        if change is not None:
            parts, codes = change(parts, codes)
        mus = [m[:, j] for m in model.mus(parts, codes)]
        _, F, before, total = incidence(mus)
        X, w = design.matrices(parts), weight[rows]
        mean += float(w @ F[k, :, -1])
        with np.errstate(divide="ignore", invalid="ignore"):
            lost = np.where(total < 1, (F[k, :, -1:] - F[k]) / (1 - total), 0.0)
        for l_ in range(K):
            g = (before * (l_ == k) - lost) * _slope(mus[l_]) * w[:, None]
            alpha, beta = gradient[l_]
            by_interval = np.add.reduceat(g, first, axis=1)
            alpha[intervals, 0] += by_interval.sum(axis=0)
            for s in range(design.stages):
                beta[:, 0] += X[s].T @ by_interval[:, design.stage_of[intervals] == s].sum(axis=1)
    return mean, gradient


def minus(one: list, other: list) -> list:
    """The gradient of a difference."""
    return [(a - c, b - d) for (a, b), (c, d) in zip(one, other)]
