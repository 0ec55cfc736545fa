"""What the estimators return: frozen step functions that can be read on any day within the follow-up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from collectlab.core import tables
from collectlab.core.errors import FrameError, first_few, nearest
from collectlab.core.jackknife import INTERVAL
from collectlab.core.results import Result
from collectlab.measures.survival_cells import Cells, Track, spoken, stack, whole
from collectlab.measures.survival_math import crossing, kaplan_meier, survival_interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SUMMARY_DAYS = (30, 60, 90, 180, 360)


@dataclass(frozen=True)
class Step:
    """One curve: its values from each of its days on, and before the first."""

    group: int
    track: Track
    values: dict[str, np.ndarray]  #: estimate, std_error, conf_low, conf_high
    before: tuple[float, float, float, float]
    outcome: Any = None

    def at(self, days: np.ndarray) -> dict[str, Any]:
        """The step function on ``days``, missing past the follow-up."""
        position = np.searchsorted(self.track.days, days, side="right")
        unknown = (days > self.track.last_day) & (not self.track.all_left)
        out = {} if self.outcome is None else {"outcome": self.outcome}
        out |= {"day": days, "at_risk": whole(self.track.at_risk_on(days))}
        for name, first in zip(INTERVAL, self.before):
            out[name] = np.where(unknown, np.nan, np.concatenate([[first], self.values[name]])[position])
        return out


@dataclass(frozen=True, kw_only=True, repr=False)
class Curves(Result):
    """Step functions of whole days, one or several for each group."""

    cells: Cells
    steps: tuple[Step, ...]

    plottable = True

    @property
    def by(self) -> tuple[str, ...]:
        """Names of the grouping columns in the table."""
        return tuple(self.cells.groups.columns)

    @property
    def follow_up(self) -> pd.DataFrame:
        """[by…], episodes, first_day (0 unless everybody was first seen later), last_day."""
        parts = []
        for track in self.cells.tracks():
            first = max(int(track.entry_days[0]), 0)
            episodes = whole(track.entered.sum(keepdims=True))
            parts.append({"episodes": episodes, "first_day": first, "last_day": track.last_day})
        return stack(self.cells, parts)

    def at(self, days: int | Sequence[int], *, beyond: str = "raise") -> pd.DataFrame:
        """The curves on given days, tidy: [by…], (outcome,) day, at_risk, estimate and its interval.

        Parameters
        ----------
        days : int or sequence of int
            Whole days ≥ 0.
        beyond : {"raise", "nan"}
            What to do past a group's last day of follow-up: refuse, or leave the figures missing. A curve
            after whose last day nobody was still delinquent is known to be flat, and goes on.

        Raises
        ------
        FrameError
            A day lies beyond the follow-up (each such group and its last day are named) or is no whole day.
        """
        days = whole_days(days, "days")
        if beyond not in ("raise", "nan"):
            raise FrameError(f"beyond is {beyond!r}. Allowed: 'raise', 'nan'.")
        short = {
            step.group: f"{self.cells.name(step.group) or 'everybody'} up to day {step.track.last_day:,}"
            for step in self.steps
            if days.max() > step.track.last_day and not step.track.all_left
        }
        if short and beyond == "raise":
            raise FrameError(
                f"day {days.max():,} lies beyond the follow-up ({first_few(list(short.values()))}). "
                "Allowed: days within it, or beyond='nan' for missing figures there."
            )
        columns = [c for c in self.table.columns if c not in ("events", "censored")]
        parts = [pd.DataFrame(step.at(days)) for step in self.steps]
        groups = np.repeat([step.group for step in self.steps], len(days))
        keys = self.cells.groups.iloc[groups].reset_index(drop=True)
        return pd.concat([keys, pd.concat(parts, ignore_index=True)], axis=1)[columns]

    def display_table(self) -> pd.DataFrame:
        """The curves on a few days: 30, 60, 90, 180 and 360, as far as the follow-up goes."""
        last = max(step.track.last_day for step in self.steps)
        fits = [
            wanted
            for wanted in (SUMMARY_DAYS, (30, 90, 180))
            if len(wanted) * len(self.steps) <= tables.MAX_ROWS
        ]
        days = [d for d in (fits[0] if fits else (90,)) if d <= last] or [last]
        return tables.display_table(self.at(days, beyond="nan"), self.unit, self.formats, self.conf_level)


@dataclass(frozen=True, kw_only=True, repr=False)
class SurvivalCurves(Curves):
    """Kaplan–Meier curves; see :func:`collectlab.measures.survival.kaplan_meier`."""

    event: tuple
    conf_type: str = "log-log"
    greenwood: bool = True  #: whether the errors are Greenwood's, on which simultaneous bands stand

    def quantiles(self, p: float | Sequence[float] = (0.25, 0.5, 0.75)) -> Result:
        """Days by which a share ``p`` has had the event: [by…], p, estimate and interval.

        The first day on which S(t) ≤ 1 − p; where the curve is flat exactly there, the middle of the flat
        stretch (as R's ``quantile.survfit``). The interval is read off the curve's own band. Missing where
        the curve, or the band, does not fall so far.
        """
        shares = np.atleast_1d(np.asarray(p, dtype=float))
        if not ((shares > 0) & (shares < 1)).all():
            raise FrameError(f"p is {p}. Allowed: shares above 0 and below 1.")
        parts = [
            {
                "p": shares,
                "estimate": crossing(step.track.days, step.values["estimate"], shares),
                "std_error": np.nan,
                "conf_low": crossing(step.track.days, step.values["conf_low"], shares),
                "conf_high": crossing(step.track.days, step.values["conf_high"], shares),
            }
            for step in self.steps
        ]
        return Result(
            table=stack(self.cells, parts),
            estimand=f"Days by which a share p has {spoken(self.event)}, as if nothing else ended an episode",
            unit="days",
            title=f"Days until {spoken(self.event)}",
            formats={"p": "share"},
            conf_level=self.conf_level,
            notes=self.notes,
        )

    def band(
        self, kind: str = "equal-precision", *, from_day: int | None = None, to_day: int | None = None
    ) -> SurvivalCurves:
        r"""The same curves with simultaneous limits: the whole curve lies within them with ``conf_level``.

        The pointwise limits hold for one day named beforehand; to say something of the curve as a whole (where
        it departs from another one, say), take these. With :math:`\sigma^2(t) = \sum d / (n (n - d))`, z is
        replaced by c ("equal-precision", wider by the same factor everywhere) or :math:`z \sigma(t)` by
        :math:`k (1 + n \sigma^2(t)) / \sqrt n` ("hall-wellner", n episodes in all; wider where little is
        known), on the scale the curves were asked for (``conf_type``). c and k are computed for the days covered.

        Parameters
        ----------
        kind : {"equal-precision", "hall-wellner"}
            Nair's or Hall and Wellner's band.
        from_day, to_day : int, optional
            The days to cover; fewer days give a narrower band. Default: from the first event to the last exit,
            as far as S > 0. Outside them the limits are missing.

        Returns
        -------
        SurvivalCurves
            With ``.at()``, ``.quantiles()`` and ``.plot()`` as before.

        Raises
        ------
        FrameError
            An unknown kind, days in the wrong order, no event in the days, or curves whose errors are robust or
            clustered: the theory stands on Greenwood's.

        References
        ----------
        Hall and Wellner (1980), Biometrika 67; Nair (1984), Technometrics 26; Klein and Moeschberger (2003),
        section 4.4.

        Examples
        --------
        >>> import pandas as pd
        >>> from collectlab.measures.survival import kaplan_meier
        >>> frame = pd.DataFrame({"exit_day": range(1, 101), "outcome": "cured"})
        >>> curve = kaplan_meier(frame)
        >>> curve.band(from_day=10, to_day=90).at(50)[["estimate", "conf_low", "conf_high"]].round(3).values.tolist()
        [[0.5, 0.341, 0.64]]
        """
        return with_bands(self, kind, from_day, to_day)

    def plot(self, ax: Axes | None = None, *, max_groups: int = 6, at_risk: bool = True) -> Axes:
        """Draw the curves with their bands, the numbers at risk below, and return the Axes.

        Of more than ``max_groups`` groups the largest are drawn, and the chart says so.
        """
        from collectlab.measures.survival_plots import draw_curves

        return draw_curves(self, self.steps, ax, max_groups, at_risk)


@dataclass(frozen=True, kw_only=True, repr=False)
class IncidenceCurves(Curves):
    """Cumulative incidence curves; see :func:`collectlab.measures.survival.cumulative_incidence`."""

    @property
    def outcomes(self) -> tuple:
        """The competing outcomes."""
        return self.cells.outcomes[:-1]

    def plot(
        self, outcome: Any = None, ax: Axes | None = None, *, max_groups: int = 6, at_risk: bool = True
    ) -> Axes:
        """Draw one outcome by group or, of a single group, all outcomes together; return the Axes.

        With several groups ``outcome=None`` means ``cured`` if there is such an outcome, else the first.
        """
        from collectlab.measures.survival_plots import draw_curves

        if outcome is not None and outcome not in self.outcomes:
            near = nearest(str(outcome), map(str, self.outcomes))
            hint = f" Did you mean {' or '.join(near)}?" if near else ""
            raise FrameError(f"outcome {outcome!r} is not here.{hint} Allowed: {first_few(self.outcomes)}.")
        if outcome is None and len(self.cells.groups) > 1:
            outcome = "cured" if "cured" in self.outcomes else self.outcomes[0]
        steps = [s for s in self.steps if outcome is None or s.outcome == outcome]
        return draw_curves(self, steps, ax, max_groups, at_risk)


def whole_days(days: Any, name: str) -> np.ndarray:
    """``days`` as an array of whole days ≥ 0; refuses anything else."""
    try:
        values = np.atleast_1d(np.asarray(list(days) if np.iterable(days) else days, dtype=float))
    except (TypeError, ValueError):
        values = np.array([np.nan])
    if (
        values.ndim != 1
        or not len(values)
        or not ((values >= 0) & (values < 2**31) & (values % 1 == 0)).all()
    ):
        raise FrameError(f"{name} is {days!r}. Allowed: whole days ≥ 0.")
    return values.astype(np.int64)


def gap_notes(cells: Cells) -> list[str]:
    """What a reader must know where late entry leaves nobody at risk for a while."""
    late, broken = [], []
    for g, track in enumerate(cells.tracks()):
        name = cells.name(g) or "everybody"
        if track.entry_days[0] > 0:
            late.append(f"{name} from day {track.entry_days[0]:,}")
        if track.gap is not None:
            broken.append(f"{name} after day {track.gap:,}")
    notes = []
    if late:
        notes.append(
            f"Nobody was seen earlier, so the curve holds for those still delinquent then: {first_few(late)}."
        )
    if broken:
        notes.append(f"Nobody is at risk for a while, so the curve is unreliable: {first_few(broken)}.")
    return notes


def with_bands(curves: SurvivalCurves, kind: str, from_day: int | None, to_day: int | None) -> SurvivalCurves:
    """See :meth:`SurvivalCurves.band`."""
    from collectlab.measures.survival_bands import check_kind, limits_between

    first, last = (
        None if d is None else int(whole_days(d, "from_day/to_day")[0]) for d in (from_day, to_day)
    )
    check_kind(kind, (first, last))
    if not curves.greenwood:
        raise FrameError(
            "bands stand on Greenwood's errors. Allowed: curves without robust=True and without cluster."
        )
    steps, empty = [], []
    for step in curves.steps:
        survival, log_error = kaplan_meier(step.track)
        inside, width, critical = limits_between(
            step.track,
            log_error,
            survival,
            kind,
            curves.conf_level,
            0 if first is None else first,
            step.track.last_day if last is None else last,
        )
        if not inside.any():
            empty.append(curves.cells.name(step.group) or "everybody")
        limits = survival_interval(survival, width, critical, curves.conf_type)
        low, high = (np.where(inside, values, np.nan) for values in limits)
        values = step.values | {"conf_low": low, "conf_high": high}
        steps.append(replace(step, values=values, before=(1.0, 0.0, np.nan, np.nan)))
    if empty:
        raise FrameError(f"no event between these days in {first_few(empty)}. Allowed: days with an event.")
    limits = {c: np.concatenate([s.values[c] for s in steps]) for c in ("conf_low", "conf_high")}
    name = {"equal-precision": "equal-precision", "hall-wellner": "Hall–Wellner"}[kind]
    covered = "" if first is None and last is None else f", days {first or 0:,} to {last or 'the last'}"
    return replace(
        curves,
        table=curves.table.assign(**limits),
        steps=tuple(steps),
        notes=(f"Simultaneous {name} band{covered}: it covers the whole curve, not each day.", *curves.notes),
    )
