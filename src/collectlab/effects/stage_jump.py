"""The days on which the strategy changes stage: does the daily rate of cure jump there?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import narwhals as nw
import numpy as np
import pandas as pd

from collectlab.core.columns import flag, row_count, whole_sum
from collectlab.core.engine import collect, require, scan
from collectlab.core.errors import FrameError, NotAvailable, first_few
from collectlab.core.jackknife import check_level
from collectlab.core.plots import PALETTE, legend, new_axes, percent_axis, titled
from collectlab.effects._panel_inputs import one_part_each, p_said, words_of
from collectlab.effects.effect_result import Check, EffectResult
from collectlab.measures.survival_counting import one_event

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["StageJump", "stage_jump"]

#: Events wanted on each side of a day, and the share of events that must be dated to the day.
FEWEST_EVENTS = 30
EXACT = 0.95
LIMIT = 0.05


@dataclass(frozen=True, kw_only=True)
class StageJump(EffectResult):
    """The jump of the daily hazard on each day asked for.

    ``table``: outcome, unit, day, method (``daily hazard``: difference; ``hazard ratio``), at_risk (on that day),
    events_before, events_after (inside the window), estimate, std_error, conf_low, conf_high, p_value. ``hazard``: day,
    at_risk, events, estimate, fitted (NaN outside the windows).
    """

    hazard: pd.DataFrame = field(default_factory=pd.DataFrame)
    plottable = True

    def plot(self, ax: Axes | None = None) -> Axes:
        """The daily hazard, with the lines fitted before and from each day."""
        ax = new_axes(ax)
        days = list(dict.fromkeys(self.table["day"]))
        shown = self.hazard[self.hazard["day"] <= max(days) + 30]
        ax.plot(
            shown["day"],
            shown["estimate"],
            "o",
            color=PALETTE[6],
            markersize=2.5,
            alpha=0.7,
            label="each day",
        )
        label: str | None = "fitted"
        for stage in sorted(days):
            for side in (shown["day"] < stage, shown["day"] >= stage):
                part = shown[side & (shown["stage"] == stage)]
                ax.plot(part["day"], part["fitted"], color=PALETTE[0], linewidth=2, label=label)
                label = None
            ax.axvline(stage - 0.5, color="#444444", linewidth=0.8, linestyle="--")
        ax.set_xlabel("Days past due")
        ax.set_ylabel("Share per day, of those at risk")
        ax.set_ylim(bottom=0)
        percent_axis(ax)
        legend(ax)
        return titled(ax, self.title)


def stage_jump(
    episodes: Any,
    *,
    days: int | Sequence[int] = (30, 60, 90),
    cause: str = "cured",
    window: int = 14,
    duration: str = "exit_day",
    outcome: str = "outcome",
    entry: str | None = "entry_day",
    seen: str | None = "seen_day",
    conf_level: float = 0.95,
) -> StageJump:
    r"""By how much the daily hazard of ``cause`` jumps on the days on which the strategy changes stage.

    Estimand: for those still past due on the day, the hazard that day with the new stage minus what the hazard of the days
    before leads to. From counts by day, events :math:`d_t` among :math:`n_t` at risk, on ``window`` days either side of c,

    .. math:: \log E[d_t / n_t] = a + b (t - c) + J\,1[t \ge c] + k (t - c) 1[t \ge c],

    a Poisson model whose errors are widened by the dispersion left (never narrowed), with Student's t(2 · window − 4). The
    jump is :math:`e^{a + J} - e^{a}`, by the delta method; beside it the ratio :math:`e^J`.

    It is a jump on that day, no more: those who reach the day are the ones whom earlier stages did not cure, and on the same
    day other things change (the next instalment falls due, provisions are taken, the credit bureau is told).

    Parameters
    ----------
    episodes : frame
        One row per episode, with exact days: daily snapshots, or days of payment (see
        :func:`collectlab.effects.policy_panel.payment_days`).
    days : int or list of int
        First day past due of each new stage.
    cause : str
        The outcome whose hazard is looked at; others are censoring.
    window : int
        Days on either side; at least 4.
    duration, outcome, entry : str
        Columns as :meth:`Book.episodes` names them. ``entry`` None: all were watched from day 0.
    seen : str or None
        Column with the last day seen before the exit, which tells how exactly the exit is dated. None: exact.
    conf_level : float
        Level of the intervals.

    Returns
    -------
    StageJump
        Checks: ``dates_exact``; ``heaping`` (no jump on other days, with Bonferroni); ``enough`` (events on each side);
        ``only_change``, which a log of cures cannot make and is never passed.

    Raises
    ------
    NotAvailable
        Cures are dated to an interval only, as by monthly snapshots: a jump on a day cannot be seen.
    FrameError
        Columns missing; days beyond follow-up or closer to each other than the window; no events on a side.

    References
    ----------
    Hahn, Todd & Van der Klaauw (2001), Econometrica 69(1); Hausman & Rapson (2018), Annual Review of Resource Economics 10
    (discontinuity in time).

    Examples
    --------
    >>> import pandas as pd
    >>> left = [d for d in range(1, 61) for _ in range(50 if d < 30 else 100)]
    >>> episodes = pd.DataFrame({"exit_day": left + [61] * 50_000, "outcome": ["cured"] * len(left) + ["censored"] * 50_000})
    >>> result = stage_jump(episodes, days=30, seen=None)
    >>> result.table[["day", "method", "estimate"]].round(3).values.tolist()
    [[30, 'daily hazard', 0.001], [30, 'hazard ratio', 2.0]]
    """
    check_level(conf_level)
    stages = _stages(days, window)
    one_part_each(duration=duration, outcome=outcome, entry=entry)
    lazy = scan(episodes)
    have = lazy.collect_schema().names()
    entry = None if entry == "entry_day" and entry not in have else entry
    exact = _exact(
        lazy,
        duration,
        outcome,
        cause,
        None if seen == "seen_day" and seen not in have else seen,
        seen is None,
    )
    cells, _ = one_event(lazy, duration, outcome, cause, entry, None, None)
    track = cells.track(0)
    if track is None:
        raise FrameError("no episode has any follow-up.")
    daily = _daily(track)
    _refuse_short(daily, stages, window)
    rows, parts, checks = [], [], []
    for stage in stages:
        found = _fit(daily, stage, window)
        rows += _rows(daily, stage, window, found, cause, conf_level)
        parts.append(pd.DataFrame({"day": found.days, "stage": stage, "fitted": found.fitted}))
    hazard = daily.assign(estimate=daily["events"] / daily["at_risk"]).merge(
        pd.concat(parts), on="day", how="left"
    )
    checks = [exact, _heaping(daily, stages, window), _enough(rows), _only_change(stages)]
    return StageJump(
        table=pd.DataFrame(rows),
        hazard=hazard,
        estimand=f"Daily hazard of {words_of(cause)} on the first day of the stage, minus where the days before lead to",
        unit="points",
        title=f"Share per day that ends as {words_of(cause)}, around the changes of stage",
        notes=(
            *cells.notes,
            "Those who reach the day are the ones whom earlier stages did not cure, and other things change on it too: a jump "
            "shows that something acts on that day, not which part of the stage.",
        ),
        formats={"events_before": "count", "events_after": "count"},
        conf_level=conf_level,
        design="stage_jump",
        checks=tuple(checks),
    )


def _stages(days: int | Sequence[int], window: int) -> list[int]:
    stages = sorted(set(days) if isinstance(days, Sequence) else {days})
    whole = all(isinstance(d, (int, np.integer)) and not isinstance(d, bool) and d >= 2 for d in stages)
    faults = []
    if not stages or not whole:
        faults.append(f"days are {first_few(stages) or 'empty'}. Allowed: whole days ≥ 2.")
    if not isinstance(window, (int, np.integer)) or isinstance(window, bool) or window < 4:
        faults.append(f"window is {window!r}. Allowed: whole days ≥ 4.")
    elif whole and (close := [b for a, b in pairwise(stages) if b - a < 2 * window]):
        faults.append(
            f"day {first_few(close)} comes less than two windows ({2 * window} days) after the one before. Allowed: days further "
            "apart, or a smaller window."
        )
    if faults:
        raise FrameError(faults)
    return [int(d) for d in stages]


def _exact(
    lazy: nw.LazyFrame, duration: str, outcome: str, cause: str, seen: str | None, told: bool
) -> Check:
    require(lazy, duration, outcome, *([seen] if seen else []))
    if not int(collect(lazy.select(n=row_count()))["n"].iloc[0]):
        raise FrameError("the frame has no rows. Allowed: one row or more.")
    schema = lazy.collect_schema()
    if bare := [c for c in (duration, outcome, seen) if c and schema[c] == nw.Unknown]:
        raise FrameError([f"{c!r} has no value in any row: nothing to compare." for c in bare])
    if seen is None:
        says = (
            "Days are taken to be exact." if told else "The frame does not say how exactly exits are dated."
        )
        return Check(name="dates_exact", passed=True if told else None, says=says, limit=EXACT)
    events = lazy.filter(nw.col(outcome).cast(nw.String) == cause)
    counted = collect(
        events.select(n=row_count(), exact=whole_sum(flag(nw.col(duration) - nw.col(seen) <= 1)))
    )
    n, exact = int(counted["n"].iloc[0]), int(counted["exact"].iloc[0])
    share = exact / n if n else 0.0
    if n and share < EXACT:
        raise NotAvailable(
            f"only {100 * share:.0f} % of {n:,} exits by {cause} are dated to the day; the others lie somewhere between two snapshots, "
            "so a jump on one day cannot be seen. Daily snapshots show it, or days of payment (payment_days)."
        )
    says = f"{100 * share:.0f} % of {n:,} exits by {cause} are dated to the day."
    return Check(name="dates_exact", passed=bool(n), says=says, value=share, limit=EXACT)


def _daily(track: Any) -> pd.DataFrame:
    """Each day from the first to the last with anybody at risk: at risk, events."""
    days = np.arange(1, track.last_day + 1)
    events = np.zeros(len(days))
    inside = track.days >= 1
    events[track.days[inside] - 1] = track.exits[0][inside]
    daily = pd.DataFrame({"day": days, "at_risk": track.at_risk_on(days), "events": events})
    return daily[daily["at_risk"] > 0].reset_index(drop=True)


def _refuse_short(daily: pd.DataFrame, stages: list[int], window: int) -> None:
    faults = []
    for stage in stages:
        near = daily[(daily["day"] >= stage - window) & (daily["day"] < stage + window)]
        before = near["day"] < stage
        if min(before.sum(), (~before).sum()) < 4:
            faults.append(
                f"day {stage}: {before.sum()} days before and {(~before).sum()} after it have anybody at risk (the last is day "
                f"{int(daily['day'].max()) if len(daily) else 0}). Allowed: 4 or more on each side."
            )
        elif min(near.loc[before, "events"].sum(), near.loc[~before, "events"].sum()) < 2:
            faults.append(
                f"day {stage}: fewer than 2 events within {window} days before or after it. Allowed: a larger window."
            )
    if faults:
        raise FrameError(faults)


class _Fit(NamedTuple):
    days: np.ndarray
    fitted: np.ndarray
    beta: np.ndarray
    covariance: np.ndarray
    freedom: int


def _fit(daily: pd.DataFrame, stage: int, window: int) -> _Fit:
    import statsmodels.api as sm

    near = daily[(daily["day"] >= stage - window) & (daily["day"] < stage + window)]
    day = near["day"].to_numpy()
    t, after = (day - stage).astype(float), (day >= stage).astype(float)
    x = np.column_stack([np.ones(len(t)), after, t, after * t])
    model = sm.GLM(
        near["events"].to_numpy(), x, family=sm.families.Poisson(), exposure=near["at_risk"].to_numpy()
    )
    found = model.fit()
    freedom = len(day) - 4
    spread = max(1.0, float(found.pearson_chi2) / freedom)
    fitted = found.fittedvalues / near["at_risk"].to_numpy()
    return _Fit(day, fitted, found.params[:2], spread * found.cov_params()[:2, :2], freedom)


def _rows(
    daily: pd.DataFrame, stage: int, window: int, found: _Fit, cause: str, conf_level: float
) -> list[dict[str, Any]]:
    from scipy import stats

    near = daily[(daily["day"] >= stage - window) & (daily["day"] < stage + window)]
    before = (near["day"] < stage).to_numpy()
    low, high = np.exp(found.beta[0]), np.exp(found.beta.sum())
    slope = np.array([high - low, high])
    error, log_error = (
        float(np.sqrt(slope @ found.covariance @ slope)),
        float(np.sqrt(found.covariance[1, 1])),
    )
    quantile = stats.t.ppf((1 + conf_level) / 2, found.freedom)
    same = {
        "outcome": cause,
        "day": stage,
        "at_risk": int(daily.loc[daily["day"] == stage, "at_risk"].sum()),
        "events_before": int(near["events"][before].sum()),
        "events_after": int(near["events"][~before].sum()),
    }
    numbers = {
        "daily hazard": (
            "points",
            high - low,
            error,
            high - low - quantile * error,
            high - low + quantile * error,
        ),
        "hazard ratio": (
            "ratio",
            np.exp(found.beta[1]),
            np.exp(found.beta[1]) * log_error,
            np.exp(found.beta[1] - quantile * log_error),
            np.exp(found.beta[1] + quantile * log_error),
        ),
    }
    p_value = float(2 * stats.t.sf(abs(found.beta[1]) / log_error, found.freedom))
    names = ("estimate", "std_error", "conf_low", "conf_high")
    return [
        {
            "outcome": same["outcome"],
            "unit": unit,
            "day": stage,
            "method": method,
            **{k: v for k, v in same.items() if k not in ("outcome", "day")},
            **dict(zip(names, map(float, values))),
            "p_value": p_value,
        }
        for method, (unit, *values) in numbers.items()
    ]


def _heaping(daily: pd.DataFrame, stages: list[int], window: int) -> Check:
    """The same fit, with half the window, on days whose window holds no change of stage."""
    from scipy import stats

    half = max(4, window // 2)
    last = min(int(daily["day"].max()) - half + 1, max(stages) + 4 * window)
    places = [d for d in range(half + 1, last + 1) if all(d <= s - half or d >= s + half for s in stages)]
    found = {}
    for day in places:
        near = daily[(daily["day"] >= day - half) & (daily["day"] < day + half)]
        before = near["day"] < day
        if (
            len(near) < 2 * half
            or min(near["events"][before].sum(), near["events"][~before].sum()) < FEWEST_EVENTS
        ):
            continue
        fit = _fit(daily, day, half)
        found[day] = float(2 * stats.t.sf(abs(fit.beta[1]) / np.sqrt(fit.covariance[1, 1]), fit.freedom))
    if len(found) < 5:
        says = "Too few days without a change of stage have events enough to look for jumps there."
        return Check(name="heaping", passed=None, says=says, limit=LIMIT)
    worst = min(found, key=lambda d: (found[d], d))
    p_value = min(1.0, len(found) * found[worst])
    return Check(
        name="heaping",
        passed=p_value >= LIMIT,
        says=f"Of {len(found)} days without a change of stage, day {worst} jumps most ({p_said(found[worst])}, {p_value:.3f} with "
        "so many looked at); jumps there would come from the rhythm of payments.",
        value=p_value,
        limit=LIMIT,
    )


def _enough(rows: list[dict[str, Any]]) -> Check:
    fewest = min(min(r["events_before"], r["events_after"]) for r in rows)
    return Check(
        name="enough",
        passed=fewest >= FEWEST_EVENTS,
        says=f"At least {fewest:,} events lie on each side of each day; {FEWEST_EVENTS} are wanted.",
        value=float(fewest),
        limit=float(FEWEST_EVENTS),
    )


def _only_change(stages: list[int]) -> Check:
    return Check(
        name="only_change",
        passed=None,
        says=f"What else changes on day {', '.join(map(str, stages))} (the next instalment falls due, other letters, provisions) "
        "cannot be told apart from the stage.",
    )
