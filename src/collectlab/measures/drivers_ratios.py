"""What a regression of hazards returns: ratios, and what they mean in shares and percentage points."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from collectlab.core.jackknife import INTERVAL
from collectlab.core.plots import PALETTE, dots
from collectlab.core.results import Result
from collectlab.core.tables import humanise
from collectlab.measures import drivers_predict as predict
from collectlab.measures.drivers_model import Model
from collectlab.measures.survival_cells import spoken

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ASSOCIATION = "It describes who ends so, not what would change it."


@dataclass(frozen=True, kw_only=True, repr=False)
class HazardRatios(Result):
    """One row per term (and stage): hazard ratio against the reference; ``std_error`` is of its log."""

    model: Model
    event: str
    plottable = True

    def plot(self, ax: Axes | None = None) -> Axes:
        """Hazard ratios with their intervals on a log scale, one line per term."""
        table = self.table[self.table["conf_low"].notna()].reset_index(drop=True)
        sure = (table["conf_low"] > 1) | (table["conf_high"] < 1)
        colours = [PALETTE[0] if s else "#888888" for s in sure]
        ax = dots(
            [("", table)],
            _labels(table),
            unit="ratio",
            title=self.title,
            xlabel="Hazard ratio, log scale (above 1: sooner)",
            colours=colours,
            ax=ax,
        )
        return _log_axis(ax, table)

    def baseline(self) -> Result:
        """Hazard per day of the event by interval, every covariate at its reference or mean.

        Table: first_day, last_day, days_at_risk and events (over everybody), estimate, std_error, conf_low,
        conf_high (symmetric on the scale of log(−log(1 − h))).
        """
        model, fit = self.model, self.model.event
        J = len(fit.alpha)
        error = model.errors([(np.eye(J), np.zeros((len(model.design.columns), J)))])
        hazard = -np.expm1(-np.exp(fit.alpha))
        z = model.quantile(self.conf_level)
        with np.errstate(invalid="ignore", over="ignore"):
            low, high = (-np.expm1(-np.exp(fit.alpha + s * z * error)) for s in (-1, 1))
            slope = np.where(fit.active, np.exp(fit.alpha - np.exp(fit.alpha)), np.nan)
        edges = model.patterns.edges
        table = pd.DataFrame(
            {
                "first_day": edges[:-1] + 1,
                "last_day": edges[1:],
                "days_at_risk": model.patterns.at_risk.sum(axis=0).astype(np.int64),
                "events": model.patterns.events[0].sum(axis=0).astype(np.int64),
                "estimate": hazard,
                "std_error": error * slope,
                "conf_low": np.where(fit.active, low, np.nan),
                "conf_high": np.where(fit.active, high, np.nan),
            }
        )
        at = [
            f"{c.name} = {c.labels[c.reference]}" if c.labels is not None else f"{c.name} at its mean"
            for c in model.patterns.covariates
        ]
        return Result(
            table=table,
            estimand=f"Hazard of {self.event} per day at {', '.join(at)}",
            title=f"Baseline hazard of {self.event} by day",
            formats={"first_day": "count", "last_day": "count", "days_at_risk": "count"},
            notes=("Days on which nobody at risk had the event have the hazard 0.",),
            conf_level=self.conf_level,
        )

    def incidence(self, profiles: Mapping[str, Mapping], *, horizon: int = 90) -> predict.PredictedCurves:
        """P(ended by day t with each outcome) for named profiles, all outcomes' hazards together.

        Parameters
        ----------
        profiles : mapping
            Name → covariates, such as ``{"new card": {"product": "card", "age": 25}}``. A covariate that a
            profile does not name is at its reference level or its mean.
        horizon : int
            Last day, within the follow-up.

        Returns
        -------
        PredictedCurves
            profile, outcome, day, estimate, std_error, conf_low, conf_high (delta method over the hazards of
            all outcomes; symmetric on the scale of log(−log(1 − F))). ``.at(days)``, ``.plot(outcome)``.
        """
        profiles = (
            {str(n): dict(p) for n, p in profiles.items()} if isinstance(profiles, Mapping) else profiles
        )
        table = predict.profile_curves(self.model, profiles, horizon, self.conf_level)
        return predict.PredictedCurves(
            table=table,
            estimand=f"P(ended by day t) for each profile, by outcome: {spoken(self.model.patterns.outcomes)}",
            title="Predicted cumulative incidence",
            notes=(*self._span(), *self.model.notes, "Associations: profiles differ in more than is named."),
            conf_level=self.conf_level,
        )

    def survival(self, profiles: Mapping[str, Mapping], *, horizon: int = 90) -> predict.PredictedCurves:
        """P(not yet the event after day t) for named profiles, as if nothing else ended an episode.

        exp(−Σμ) of the event's hazard alone; while other outcomes compete, 1 − S is no share of anybody:
        :meth:`incidence` gives that. Parameters and columns as there, without ``outcome``.
        """
        profiles = (
            {str(n): dict(p) for n, p in profiles.items()} if isinstance(profiles, Mapping) else profiles
        )
        return predict.PredictedCurves(
            table=predict.event_free(self.model, profiles, horizon, self.conf_level),
            estimand=f"P(not yet {self.event} after day t) for each profile, as if nothing else ended an episode",
            title=f"Predicted share not yet {self.event}",
            notes=self._span(),
            conf_level=self.conf_level,
        )

    def in_points(self, *, horizon: int = 90) -> InPoints:
        """What the hazards mean by a day, in percentage points: standardised cumulative incidences compared.

        Estimand, for each term: P(event by day ``horizon``), the other outcomes competing, were everybody at
        this level, minus the same were everybody at the reference, the rest as it is (for a number: everybody
        one step higher against as it is). Standardised over the episodes counted (g-computation on the
        patterns). A difference between groups made alike in the other covariates; not the effect of a change.

        Returns
        -------
        InPoints
            term, level, reference, episodes, share and share_reference (the two standardised incidences),
            estimate, std_error, conf_low, conf_high in points (delta method over the hazards of all outcomes,
            clustered where the regression is).
        """
        rows, model, seen = [], self.model, set()
        told = set(zip(self.table["term"], self.table["level"]))
        shares: dict[tuple, Any] = {(): predict.standardised(model, 0, horizon)}

        def share(i: int, code: int | None):
            if (i, code) not in shares:
                shares[i, code] = predict.standardised(model, 0, horizon, _everybody(model, i, code))
            return shares[i, code]

        z = model.quantile(self.conf_level)
        for i, k, _ in model.design.columns:
            c = model.patterns.covariates[i]
            if (i, k) in seen or (c.name, c.contrasts[k]) not in told:
                continue
            seen.add((i, k))
            if c.labels is None:
                level, reference, (low, base), n = c.word, "", shares[()], int(c.episodes.sum())
                high, slope = share(i, None)
            else:
                code = [x for x in range(len(c.labels)) if x != c.reference][k]
                level, reference, n = c.labels[code], c.labels[c.reference], int(c.episodes[code])
                (high, slope), (low, base) = share(i, code), share(i, c.reference)
            error = float(model.errors(predict.minus(slope, base))[0])
            ends = (high - low - z * error, high - low + z * error)
            values = (c.name, level, reference, n, high, low, high - low, error, *ends)
            rows.append(values)
        names = ("term", "level", "reference", "episodes", "share", "share_reference", *INTERVAL)
        return InPoints(
            table=pd.DataFrame(rows, columns=list(names)),
            estimand=f"Difference in P({self.event} by day {horizon}), other outcomes competing, "
            "the other characteristics as they are",
            unit="points",
            title=f"{humanise(self.event)} by day {horizon}: what goes with it",
            formats={"episodes": "count", "share": "share", "share_reference": "share"},
            notes=(*self.notes[:1], *self._span(), *model.notes, ASSOCIATION),
            conf_level=self.conf_level,
        )

    def _span(self) -> tuple[str, ...]:
        first = int(self.model.patterns.edges[0])
        return (
            (f"Of those still delinquent after day {first}: nobody was seen earlier.",) if first > 0 else ()
        )


@dataclass(frozen=True, kw_only=True, repr=False)
class InPoints(Result):
    """One row per term: two standardised shares and their difference in points."""

    plottable = True

    def plot(self, ax: Axes | None = None) -> Axes:
        """Differences in points with their intervals, one line per term."""
        sure = (self.table["conf_low"] > 0) | (self.table["conf_high"] < 0)
        return dots(
            [("", self.table)],
            _labels(self.table),
            unit="points",
            title=self.title,
            xlabel="Percentage points, other characteristics held",
            colours=[PALETTE[0] if s else "#888888" for s in sure],
            zero=True,
            ax=ax,
        )


def _everybody(model: Model, i: int, code: int | None):
    """A change of covariate ``i``: everybody at a level, or one step higher."""
    c = model.patterns.covariates[i]

    def change(parts: list[np.ndarray], codes: np.ndarray):
        codes = codes.copy()
        if code is None:
            parts[i] = parts[i] + 1.0
        else:
            codes[:, i] = code
            parts[i] = c.columns(codes[:, i])
        return parts, codes

    return change


def _labels(table: pd.DataFrame) -> list[str]:
    stage = [f", {s}" for s in table["stage"]] if "stage" in table else [""] * len(table)
    keys = table[["term", "level", "reference"]].itertuples(index=False)
    return [
        f"{humanise(term)}: {level}" + (f" (vs {reference})" if reference else "") + more
        for (term, level, reference), more in zip(keys, stage)
    ]


def _log_axis(ax: Axes, table: pd.DataFrame) -> Axes:
    """A log scale around 1 with ticks that can be read."""
    low = float(np.nanmin([0.8, *table["conf_low"]]))
    high = float(np.nanmax([1.25, *table["conf_high"]]))
    ax.set_xscale("log")
    ax.set_xlim(low / 1.05, high * 1.05)
    ticks = [
        t
        for t in (
            0.01,
            0.02,
            0.05,
            0.1,
            0.2,
            0.35,
            0.5,
            0.7,
            0.8,
            0.9,
            1,
            1.1,
            1.25,
            1.5,
            2,
            3,
            5,
            10,
            20,
            50,
        )
    ]
    inside = [t for t in ticks if low / 1.05 <= t <= high * 1.05]
    while len(inside) > 8:
        inside = [t for k, t in enumerate(inside) if t == 1 or k % 2 == inside.index(1) % 2]
    ax.set_xticks(inside, [f"{t:g}" for t in inside])
    ax.set_xticks([], minor=True)
    ax.axvline(1, color="#444444", linewidth=0.8)
    return ax
