"""When, not only whether: effects of an experiment's arms on how soon delinquency ends."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import narwhals as nw
import numpy as np
import pandas as pd

from collectlab.core.engine import collect, require, scan
from collectlab.core.errors import FrameError, first_few
from collectlab.core.jackknife import check_level, t_quantile
from collectlab.effects._least_squares import equal_means
from collectlab.effects.effect_result import Check
from collectlab.effects.experiment_cells import arms_of, control_of, refuse_lone_clusters
from collectlab.effects.experiment_checks import ATTRITION_LIMIT
from collectlab.effects.experiment_result import ALL_ARMS, ExperimentResult
from collectlab.effects.experiment_simultaneous import simultaneous
from collectlab.measures import survival_math as math
from collectlab.measures.survival_cells import Cells, Track, spoken
from collectlab.measures.survival_counting import resolve_events
from collectlab.measures.survival_curves import gap_notes, whole_days
from collectlab.measures.survival_robust import count_for, incidence_influence, left_out

#: Student's t with so many degrees of freedom is the normal.
NORMAL = 1e9


def experiment_curves(
    frame: Any,
    *,
    arm: str = "strategy",
    control: str | None = None,
    duration: str = "exit_day",
    outcome: str = "outcome",
    cause: Any = "cured",
    entry: str | None = None,
    horizons: int | Sequence[int] = (30, 60, 90),
    cluster: str | None = None,
    conf_level: float = 0.95,
    checks: Sequence[Check] = (),
) -> ExperimentResult:
    """Effect of each arm on the share that has ended with ``cause`` by each horizon, and on the days it took.

    With F the Aalen–Johansen cumulative incidence of ``cause`` (other outcomes compete; episodes still under
    way count as long as they are seen), the rows are, for each horizon h,

    - ``<cause>_by_h``: F_arm(h) − F_control(h);
    - ``days_<cause>_within_h``: ∫₀ʰ F_arm − ∫₀ʰ F_control, the days gained by more and earlier cures (the
      restricted mean time lost to ``cause``).

    Nothing is assumed of the hazards. Everybody counts in the arm assigned (intention to treat).

    Parameters
    ----------
    frame : frame
        One row per episode, as :meth:`Book.episodes` gives them, with the arm.
    arm, control
        As in :func:`~collectlab.effects.experiment.experiment`.
    duration, outcome, entry : str
        As in :func:`~collectlab.measures.survival.cumulative_incidence`: the day of exit (whole days since
        day 0), how it ended, and, where episodes are seen from a later day on, that day. Day 0 must lie after
        the assignment and be the same event in all arms (say, falling past due, or the assignment itself).
    cause : outcome or sequence of outcomes
        What the curves are of.
    horizons : int or sequence of int
        Whole days ≥ 1, within the follow-up of every arm. Those by which nobody has the cause are left out and
        named in the notes.
    cluster : str, optional
        Column with the customer, where one has several episodes; at least two in each arm.
    conf_level : float
        Level of the intervals.
    checks : sequence of Check
        Checks made elsewhere, kept with the result.

    Returns
    -------
    ExperimentResult
        ``table``: outcome, horizon, arm, n (episodes), control_n, control_mean, unit, estimate, std_error,
        conf_low, conf_high, p_value; with several arms sim_low, sim_high, p_adjusted. Standard errors are the
        infinitesimal jackknife's, or with ``cluster`` the delete-a-group jackknife's of the difference. The check
        ``attrition`` compares the shares that left observation before the longest horizon.

    Raises
    ------
    FrameError
        No such column, control or cause; fewer than two arms; horizons beyond the follow-up; nobody
        with the cause by the longest of them; one cluster only in an arm.

    References
    ----------
    Andersen (2013), Statistics in Medicine 32 (years lost to a cause). Zhao, Tian, Uno et al. (2016), Clinical
    Trials 13. Therneau & Grambsch (2000), Modeling Survival Data, ch. 2 and 7.

    Examples
    --------
    >>> import pandas as pd
    >>> episodes = pd.DataFrame({"arm": ["call"] * 4 + ["none"] * 4, "exit_day": [1, 1, 3, 9, 2, 3, 9, 9],
    ...                          "outcome": ["cured"] * 3 + ["sold", "cured", "sold", "cured", "sold"]})
    >>> experiment_curves(episodes, arm="arm", control="none", horizons=4).table[
    ...     ["outcome", "control_mean", "estimate"]]
                   outcome  control_mean  estimate
    0           cured_by_4          0.25      0.50
    1  days_cured_within_4          0.50      1.25
    """
    check_level(conf_level)
    days = whole_days(horizons, "horizons")
    if days.min() < 1:
        raise FrameError(f"horizons are {first_few(list(days))}. Allowed: whole days ≥ 1.")
    days = np.unique(days)
    data = scan(frame)
    require(data, arm, duration, outcome, *[c for c in (entry, cluster) if c is not None])
    arms, notes = arms_of(data, arm)
    control, chosen = control_of(control, arms, arm)
    kept = data.filter(~nw.col(arm).is_null()).with_columns(nw.col(arm).cast(nw.String))
    if cluster:
        held = kept.select(nw.col(arm).alias("arm"), cluster=nw.col(cluster).cast(nw.String))
        refuse_lone_clusters(collect(held.group_by("arm", "cluster").agg(rows=nw.len())), cluster)
    cells = count_for(kept, duration, outcome, entry, [arm], None, cluster is None, cluster)
    event = resolve_events(cells, cause, outcome)
    others = tuple((o,) for o in cells.outcomes[:-1] if o not in event)
    cells = cells.merge(event, *others)
    labels = [cells.label(g) for g in range(len(cells.groups))]
    tracks = cells.tracks()
    _within_follow_up(labels, tracks, days)
    first = min((int(t.days[t.exits[0] > 0][0]) for t in tracks if t.exits[0].any()), default=None)
    if first is None or first > days[-1]:
        when = f" The first is on day {first:,}." if first is not None else ""
        raise FrameError(f"nobody is {spoken(event)} by day {days[-1]:,}: nothing to compare.{when}")
    if early := [int(day) for day in days if day < first]:
        notes.append(f"Left out: day {first_few(early)}; nobody is {spoken(event)} by then.")
        days = days[days >= first]
    estimate, covariance, freedom = _estimates(cells, days, cluster)
    name = "_".join(str(e) for e in event)
    base = labels.index(control)
    contrasts = np.delete(np.eye(len(labels)), base, axis=0)
    contrasts[:, base] = -1
    rows: list[dict[str, Any]] = []
    for j, (kind, day) in enumerate([(kind, day) for day in days for kind in ("share", "days")]):
        about = {
            "outcome": f"{name}_by_{day}" if kind == "share" else f"days_{name}_within_{day}",
            "horizon": int(day),
            "unit": "points" if kind == "share" else "days",
        }
        sizes = [int(track.entered.sum()) for track in tracks]
        rows += _rows(about, labels, base, sizes, estimate[j], covariance[j], contrasts, freedom, conf_level)
    table = pd.DataFrame(rows)
    own = {"attrition": _attrition(labels, tracks, int(days[-1]))} | {c.name: c for c in checks}
    notes += [*chosen, *cells.notes, *gap_notes(cells), *([ALL_ARMS] if len(labels) > 2 else [])]
    notes += [f"Check failed: {c.says}" for c in own.values() if c.passed is False]
    longest = table.index[table["outcome"] == f"{name}_by_{days[-1]}"]
    return ExperimentResult(
        table=table,
        estimand=(
            f"Share {spoken(event)} by each day, and mean days since, if assigned to the arm, minus the same if "
            f"assigned to {control}; other outcomes compete (intention to treat)"
        ),
        unit="number",
        title=f"How soon {spoken(event)}: effect of assignment, against {control}",
        notes=tuple(dict.fromkeys(notes)),
        formats={"n": "count"},
        conf_level=conf_level,
        control=control,
        design="experiment",
        checks=tuple(own.values()),
        headline=int(longest[0]),
    )


def _estimates(cells: Cells, days: np.ndarray, cluster: str | None) -> tuple[np.ndarray, np.ndarray, float]:
    """For each statistic the estimates of all arms, (s, arms), their covariance, (s, arms, arms), and degrees."""

    def statistics(track: Track) -> np.ndarray:
        curve = math.incidence(track, 0)[0]
        at = np.concatenate([[0.0], curve])[np.searchsorted(track.days, days, side="right")]
        areas = [math.area_lost(track, int(day), 0)[0] for day in days]
        return np.stack([at, areas], axis=1).ravel()

    tracks = cells.tracks()
    estimate = np.stack([statistics(track) for track in tracks], axis=1)
    if cluster is None:
        errors = []
        for g, track in enumerate(tracks):
            influence = incidence_influence(cells, g, track, 0)
            on_days = np.concatenate([[0.0], influence.errors()])
            at = on_days[np.searchsorted(track.days, days, side="right")]
            areas = [influence.area_error(int(day)) for day in days]
            errors.append(np.stack([at, areas], axis=1).ravel())
        return estimate, np.stack([np.diag(e**2) for e in np.stack(errors, axis=1)]), NORMAL
    without = [left_out(cells, g, track.days, statistics) for g, track in enumerate(tracks)]
    every = np.unique(np.concatenate([found for _, found in without]))
    off = np.zeros((len(every), *estimate.shape))
    for g, (values, found) in enumerate(without):
        off[np.searchsorted(every, found), :, g] = values - estimate[:, g]
    used = len(every)
    covariance = np.einsum("rsg,rsh->sgh", off, off) * (used - 1) / used
    return estimate, covariance if used > 1 else covariance * np.nan, used - 1.0


def _rows(
    about: dict[str, Any],
    labels: list[str],
    base: int,
    sizes: list[int],
    estimate: np.ndarray,
    covariance: np.ndarray,
    contrasts: np.ndarray,
    freedom: float,
    conf_level: float,
) -> list[dict[str, Any]]:
    from scipy.special import stdtr

    difference = np.einsum("ag,g->a", contrasts, estimate)
    joint = np.einsum("ag,gh,bh->ab", contrasts, covariance, contrasts)
    error = np.sqrt(np.clip(np.diag(joint), 0, None))
    reach = float(t_quantile(conf_level, np.array(freedom))) * error
    with np.errstate(divide="ignore", invalid="ignore"):
        p_value = 2 * stdtr(max(freedom, 1), -np.abs(difference / error))
    treated = [g for g in range(len(labels)) if g != base]
    columns: dict[str, Any] = {
        "arm": [labels[g] for g in treated],
        "n": [sizes[g] for g in treated],
        "control_n": sizes[base],
        "control_mean": estimate[base],
        "unit": about["unit"],
        "estimate": difference,
        "std_error": error,
        "conf_low": difference - reach,
        "conf_high": difference + reach,
        "p_value": p_value,
    }
    if len(treated) > 1:
        together = simultaneous(difference, joint, freedom, conf_level)
        columns |= dict(zip(("sim_low", "sim_high", "p_adjusted"), together))
    first = {"outcome": about["outcome"], "horizon": about["horizon"]}
    return pd.DataFrame(first | columns, index=range(len(treated))).to_dict("records")


def _within_follow_up(labels: list[str], tracks: list[Track], days: np.ndarray) -> None:
    faults = []
    for day in days:
        short = [
            f"{label} up to day {track.last_day:,}"
            for label, track in zip(labels, tracks)
            if track.last_day < day and not track.all_left
        ]
        if short:
            faults.append(f"horizon {day:,} lies beyond the follow-up ({first_few(short)}).")
    if faults:
        raise FrameError([*faults[:-1], f"{faults[-1]} Allowed: horizons within it."])


def _attrition(labels: list[str], tracks: list[Track], day: int) -> Check:
    """Whether arms differ in who left observation before the horizon."""
    gone = np.array([track.exits[-1][track.days < day].sum() for track in tracks])
    total = np.array([track.entered.sum() for track in tracks])
    shares = ", ".join(f"{a} {g / n:.1%}".replace("%", " %") for a, g, n in zip(labels, gone, total))
    says = f"Left observation before day {day}, not ended: {shares}"
    if not gone.any():
        says = f"Every episode was seen to its end or to day {day}."
        return Check(name="attrition", passed=True, says=says, value=1.0, limit=ATTRITION_LIMIT)
    arm = np.tile(np.arange(len(labels)), 2)
    treated = (arm[:, None] == np.arange(1, len(labels))).astype(float)
    value = np.repeat([1.0, 0.0], len(labels))[:, None]
    test = equal_means(value, treated, np.concatenate([gone, total - gone]), np.zeros(len(arm), dtype=int))
    if np.isnan(test.p_value):
        return Check(
            name="attrition", passed=None, says=f"{says}; too few to compare.", limit=ATTRITION_LIMIT
        )
    passed = test.p_value >= ATTRITION_LIMIT
    says += " (no more than chance would do)." if passed else ": the arms differ more than chance would do."
    return Check(name="attrition", passed=passed, says=says, value=test.p_value, limit=ATTRITION_LIMIT)
