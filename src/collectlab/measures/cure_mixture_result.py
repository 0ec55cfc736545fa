"""What a mixture cure model answers: coefficients, the never-share of profiles, the fitted curve."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from collectlab.core.errors import FrameError, first_few, nearest
from collectlab.core.jackknife import INTERVAL, interval
from collectlab.core.results import Result
from collectlab.measures import survival_math as math
from collectlab.measures.cure_mixture_fit import Fit, Sample, log_survival
from collectlab.measures.groups import group_labels, natural
from collectlab.measures.survival_cells import Track, spoken
from collectlab.measures.survival_curves import whole_days

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLUMNS = ("part", "term", "unit", "ratio", "day", *INTERVAL)
_CONSTANT = "(constant)"


@dataclass(frozen=True)
class Design:
    """Covariates as columns: a constant, numbers as they are, levels against the most frequent one."""

    names: tuple[str, ...]
    keys: tuple[Any, ...]  #: the columns of the cells
    levels: tuple[tuple | None, ...]  #: of each covariate, the reference first; None: a number

    @classmethod
    def of(cls, cells: pd.DataFrame, all_names: Sequence[str], names: Sequence[str]) -> Design:
        keys, levels = [all_names.index(n) for n in names], []
        for key in keys:
            column = cells[key]
            if pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column):
                levels.append(None)
                continue
            size = cells.groupby(column.astype(str))["n"].sum()
            most = min(size.index, key=lambda v: (-size[v], natural(v)))
            levels.append((most, *sorted((v for v in size.index if v != most), key=natural)))
        return cls(tuple(names), tuple(keys), tuple(levels))

    @property
    def terms(self) -> list[str]:
        """Names of the matrix's columns."""
        out = [_CONSTANT]
        for name, levels in zip(self.names, self.levels):
            out += [name] if levels is None else [f"{name} = {v} (against {levels[0]})" for v in levels[1:]]
        return out

    def matrix(self, cells: pd.DataFrame, keys: Sequence[Any] | None = None) -> np.ndarray:
        """(rows, terms), of the columns ``keys``."""
        columns = [np.ones(len(cells))]
        for key, levels in zip(self.keys if keys is None else keys, self.levels):
            if levels is None:
                columns.append(cells[key].to_numpy(float))
            else:
                columns += [(cells[key].astype(str) == v).to_numpy(float) for v in levels[1:]]
        return np.column_stack(columns)

    def faults(self, profiles: pd.DataFrame) -> list[str]:
        """What is wrong with values asked for."""
        faults = []
        for name, levels in zip(self.names, self.levels):
            if name not in profiles:
                near = nearest(name, map(str, profiles.columns))
                faults.append(
                    f"profiles lack {name!r}{f' (did you mean it by {near[0]!r}?)' if near else ''}."
                )
            elif levels is None:
                values = pd.to_numeric(profiles[name], errors="coerce")
                if not np.isfinite(values.to_numpy(float)).all():
                    faults.append(f"profiles: {name} holds values that are no numbers. Allowed: numbers.")
            elif odd := sorted(set(profiles[name].astype(str)) - set(levels), key=natural):
                faults.append(f"profiles: {name} is {first_few(odd)}. Allowed: {first_few(levels, 20)}.")
        return faults


@dataclass(frozen=True)
class Fitted:
    """One group's counts and maximum (None: there is none)."""

    sample: Sample
    fit: Fit | None

    def estimate(self, function: Callable[[np.ndarray], np.ndarray], z: float) -> list[np.ndarray]:
        """A function of β with shares as values: itself, its error by the delta method, a logit interval."""
        value = function(self.fit.beta)
        steps = 1e-5 * np.maximum(np.sqrt(np.diag(self.fit.covariance)), 1e-6)
        slopes = np.column_stack(
            [
                (function(self.fit.beta + s * e) - function(self.fit.beta - s * e)) / (2 * s)
                for s, e in zip(steps, np.eye(len(steps)))
            ]
        )
        error = np.sqrt(np.einsum("ij,jk,ik->i", slopes, self.fit.covariance, slopes))
        return [value, error, *interval(value, error, z, "logit")]

    def never(self, beta: np.ndarray, whether: np.ndarray) -> np.ndarray:
        """ν of each row of a design."""
        return 1 / (1 + np.exp(whether @ beta[: whether.shape[1]]))

    def staying(self, beta: np.ndarray, timing: np.ndarray, day: float) -> np.ndarray:
        """S(day) of those who have the event, for each row of a design."""
        if day <= 0:
            return np.ones(len(timing))
        mu = timing @ beta[-1 - timing.shape[1] : -1]
        return np.exp(log_survival(np.exp(beta[-1]) * (np.log(day) - mu), self.sample.lognormal)[0])

    def still_to_come(self, day: float) -> float:
        """Of those who have the event at some time, the share that has it after ``day``."""
        s, beta = self.sample, self.fit.beta
        ever = s.n * (1 - self.never(beta, s.whether))
        return float(ever @ self.staying(beta, s.timing, day) / ever.sum())


def coefficient_rows(fitted: Fitted, whether: Design, timing: Design, z: float) -> pd.DataFrame:
    """The table of one group: the never-share of its episodes, then the coefficients."""
    sample, fit = fitted.sample, fitted.fit
    shape = ("log sigma", -1) if sample.lognormal else ("log shape", 1)
    parts = ["never returns"] + ["never returns (log odds)"] * len(whether.terms)
    parts += ["time to return (log days)"] * len(timing.terms) + ["time to return"]
    frame = {
        "part": parts,
        "term": ["all episodes", *whether.terms, *timing.terms, shape[0]],
        "unit": ["share"] + ["number"] * (len(parts) - 1),
    }
    blank = np.full(len(parts), np.nan)
    if fit is None:
        return pd.DataFrame(frame | dict.fromkeys(INTERVAL, blank) | {"ratio": blank})
    weights = sample.n / sample.n.sum()
    first = fitted.estimate(lambda b: np.atleast_1d(weights @ fitted.never(b, sample.whether)), z)
    # The likelihood speaks of those who have the event; the table of those who never have it.
    sign = np.concatenate([-np.ones(len(whether.terms)), np.ones(len(timing.terms)), [shape[1]]])
    beta, error = sign * fit.beta, np.sqrt(np.diag(fit.covariance))
    rest = (beta, error, beta - z * error, beta + z * error)
    values = {name: np.concatenate([a, b]) for name, a, b in zip(INTERVAL, first, rest)}
    ratio = np.exp(values["estimate"])
    has_ratio = [t != "all episodes" and t != _CONSTANT and "log s" not in t for t in frame["term"]]
    return pd.DataFrame(frame | values | {"ratio": np.where(has_ratio, ratio, np.nan)})


@dataclass(frozen=True, kw_only=True, repr=False)
class MixtureCure(Result):
    """A mixture cure model; see :func:`collectlab.measures.cure_mixture.mixture_cure`."""

    groups: pd.DataFrame
    fitted: tuple[Fitted, ...]
    whether: Design
    timing: Design
    event: tuple

    plottable = True

    @property
    def loglik(self) -> list[float]:
        """The maximum of the log-likelihood, of each group."""
        return [np.nan if f.fit is None else f.fit.loglik for f in self.fitted]

    def never_share(self, profiles: Any = None) -> Result:
        """Share that never has the event, of each profile; of the episodes as they are if none is given.

        Parameters
        ----------
        profiles : mapping, sequence of mappings or DataFrame, optional
            Values of ``covariates``, a row a profile.

        Returns
        -------
        Result
            [by…], the profiles' columns, estimate, std_error, conf_low, conf_high.
        """
        shown, designs = self._profiles(profiles, [self.whether])
        parts = []
        for f in self.fitted:
            weights, whether = (_averaging(f), f.sample.whether) if designs is None else (None, designs[0])

            def never(b: np.ndarray, f=f, weights=weights, whether=whether) -> np.ndarray:
                return f.never(b, whether) if weights is None else weights @ f.never(b, whether)

            values = self._values(f, never, len(shown))
            parts.append(pd.concat([shown, pd.DataFrame(dict(zip(INTERVAL, values)))], axis=1))
        return self._result(
            parts,
            f"Share never {in_words(self.event)}, however long one waits, as if nothing else ended an episode",
            f"Never {in_words(self.event)}",
        )

    def survival(self, days: int | Sequence[int], profiles: Any = None) -> Result:
        """P(not yet had the event by day t), those who never have it included.

        Parameters
        ----------
        days : int or sequence of int
            Whole days ≥ 0; also beyond the follow-up, where the model extrapolates.
        profiles : as in :meth:`never_share`, with values of ``covariates`` and ``latency``.

        Returns
        -------
        Result
            [by…], the profiles' columns, day, estimate, std_error, conf_low, conf_high.
        """
        days = whole_days(days, "days")
        shown, designs = self._profiles(profiles, [self.whether, self.timing])
        parts = []
        for f in self.fitted:
            whether, timing = (f.sample.whether, f.sample.timing) if designs is None else designs
            weights = _averaging(f) if designs is None else np.eye(len(shown))
            for day in days:

                def open_(b: np.ndarray, f=f, whether=whether, timing=timing, weights=weights, day=day):
                    never = f.never(b, whether)
                    return weights @ (never + (1 - never) * f.staying(b, timing, day))

                values = self._values(f, open_, len(shown))
                part = pd.DataFrame({"day": int(day)} | dict(zip(INTERVAL, values)))
                parts.append(pd.concat([shown, part], axis=1))
        return self._result(
            parts,
            f"P(not yet {in_words(self.event)} after day t), as if nothing else ended an episode",
            f"Not yet {in_words(self.event)} (mixture model)",
        )

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the fitted curve of each group over Kaplan–Meier's steps, its never-share as a line.

        No steps where ends are only known to lie between snapshots: Kaplan–Meier would be off by those gaps.
        """
        from collectlab.core.plots import PALETTE, legend, new_axes, percent_axis, titled

        ax = new_axes(ax)
        labels = group_labels(self.groups, list(self.groups.columns)) or ["all"]
        few = len(self.fitted) == 1
        for i, (f, label) in enumerate(zip(self.fitted[: len(PALETTE)], labels)):
            colour = PALETTE[i]
            track = _track(f.sample)
            if (f.sample.upper - f.sample.lower).max() <= 1:
                ax.step(
                    np.concatenate([[0], track.days]),
                    np.concatenate([[1.0], math.kaplan_meier(track)[0]]),
                    where="post",
                    color=colour,
                    linewidth=1.0,
                    alpha=0.55,
                    label="observed (Kaplan–Meier)" if few else None,
                )
            if f.fit is None:
                continue
            grid = np.unique(np.linspace(0, track.last_day, 200).astype(int))
            weights = f.sample.n / f.sample.n.sum()
            never = f.never(f.fit.beta, f.sample.whether)
            curve = [
                weights @ (never + (1 - never) * f.staying(f.fit.beta, f.sample.timing, d)) for d in grid
            ]
            ax.plot(grid, curve, "--", color=colour, linewidth=1.8, label="model" if few else label)
            share = float(weights @ never)
            ax.axhline(
                share,
                color=colour,
                linewidth=1.0,
                linestyle=":",
                label=f"never: {share:.1%}".replace("%", " %") if few else None,
            )
        ax.set_ylim(0, 1)
        ax.set_xlim(left=0)
        percent_axis(ax)
        ax.set_xlabel("Days")
        ax.set_ylabel(f"Not yet {in_words(self.event)}")
        legend(ax, loc="upper right")
        left_out = len(self.fitted) - len(PALETTE)
        return titled(ax, self.title + (f": the first {len(PALETTE)} groups" if left_out > 0 else ""))

    def _values(self, f: Fitted, function: Callable, rows: int) -> list[np.ndarray]:
        if f.fit is None:
            return [np.full(rows, np.nan)] * 4
        return f.estimate(function, math.normal_quantile(self.conf_level))

    def _profiles(self, profiles: Any, designs: list[Design]) -> tuple[pd.DataFrame, list | None]:
        if profiles is None:
            return pd.DataFrame(index=[0]), None
        shown = pd.DataFrame([profiles] if isinstance(profiles, Mapping) else profiles).reset_index(drop=True)
        if faults := list(dict.fromkeys(f for d in designs for f in d.faults(shown))) or (
            ["profiles is empty. Allowed: one row or several."] if shown.empty else []
        ):
            raise FrameError(faults)
        return shown, [d.matrix(shown, d.names) for d in designs]

    def _result(self, parts: list[pd.DataFrame], estimand: str, title: str) -> Result:
        table = pd.concat(parts, ignore_index=True)
        if len(self.groups.columns):
            rows = np.repeat(np.arange(len(self.groups)), len(table) // len(self.groups))
            table = pd.concat([self.groups.iloc[rows].reset_index(drop=True), table], axis=1)
        return Result(
            table=table, estimand=estimand, title=title, notes=self.notes, conf_level=self.conf_level
        )


def _averaging(fitted: Fitted) -> np.ndarray:
    """(1, cells): each cell's share of the episodes."""
    return (fitted.sample.n / fitted.sample.n.sum())[None]


def in_words(event: tuple) -> str:
    """``cured``; of outcomes that are codes, ``having outcome 1``."""
    return spoken(event) if all(isinstance(e, str) for e in event) else f"having outcome {spoken(event)}"


def _track(sample: Sample) -> Track:
    """The group's counts for Kaplan–Meier, events dated by the day given."""
    days, at = np.unique(sample.upper.astype(np.int64), return_inverse=True)
    exits = np.zeros((2, len(days)))
    np.add.at(exits, (np.where(sample.event, 0, 1), at), sample.n)
    entry_days, entry = np.unique(sample.entry.astype(np.int64), return_inverse=True)
    entry_days = np.where(entry_days == 0, -1, entry_days)
    return Track(days, exits, entry_days, np.bincount(entry, weights=sample.n))
