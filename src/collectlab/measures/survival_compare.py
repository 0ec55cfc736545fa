"""Tests of whether groups differ in time to an event: the log-rank family, counted once, stratum by stratum."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from collectlab.core.columns import as_list
from collectlab.core.errors import FrameError, first_few
from collectlab.core.results import Result
from collectlab.measures.survival_cells import Cells, Track, rename_groups, spoken, stack, whole
from collectlab.measures.survival_counting import one_event

#: Columns of the table of a test.
_COLUMNS = ("episodes", "observed", "expected")


@dataclass(frozen=True, kw_only=True, repr=False)
class GroupTest(Result):
    """What a test of several groups returns: observed and expected events a group, and the test."""

    statistic: float
    df: int
    p_value: float


@dataclass(frozen=True, kw_only=True, repr=False)
class LogRank(GroupTest):
    """What :func:`log_rank` returns."""


def log_rank(
    frame: Any,
    *,
    duration: str = "exit_day",
    outcome: str = "outcome",
    event: Any = ("cured",),
    by: str | Sequence[str],
    entry: str | None = None,
    strata: str | Sequence[str] | None = None,
    weight: str | None = None,
    rho: float = 0.0,
) -> LogRank:
    r"""Log-rank test that the (cause-specific) hazard of ``event`` is the same in all groups.

    With :math:`d_s` events among :math:`n_s` at risk on day s, of which :math:`d_{gs}` and :math:`n_{gs}` in
    group g, and weights :math:`w_s = \hat S(s^-)^\rho` from the Kaplan–Meier estimate of everybody together,

    .. math:: O_g = \sum_s w_s d_{gs}, \quad E_g = \sum_s w_s d_s p_{gs}, \quad
        V = \sum_s w_s^2 d_s \frac{n_s - d_s}{n_s - 1} \left(\mathrm{diag}(p_s) - p_s p_s^\top\right),
        \quad p_{gs} = n_{gs} / n_s,

    and :math:`(O - E)^\top V^- (O - E)` is compared with χ² on as many degrees of freedom as V has rank
    (groups − 1). With ``strata`` O, E and V are summed over the strata, each with weights of its own.

    Parameters
    ----------
    frame, duration, outcome, event, entry, weight
        As in :func:`kaplan_meier`; late entry is respected. Other outcomes count as censored, so this
        compares cause-specific hazards, not cumulative incidences (:func:`gray_test` does).
    by : str or sequence of str
        The groups: at least two.
    strata : str or sequence of str, optional
        Groups are compared only within these, so that a difference between strata is not taken for one
        between groups.
    rho : float
        0: every event counts alike (log-rank). 1: early events count more (Peto and Peto's Wilcoxon test).
        Any number ≥ 0 (Fleming and Harrington's G^ρ family).

    Returns
    -------
    LogRank
        ``statistic, df, p_value``, and ``table``: [by…], episodes, observed, expected (weighted, if ρ > 0).

    Raises
    ------
    FrameError
        As in :func:`kaplan_meier`; also if there are fewer than two groups, no event, a column is both in
        ``by`` and in ``strata``, or ρ is negative.

    References
    ----------
    Mantel (1966); Peto and Peto (1972), JRSS A 135; Harrington and Fleming (1982), Biometrika 69; as R's
    ``survdiff``.

    Examples
    --------
    >>> import pandas as pd
    >>> frame = pd.DataFrame({"exit_day": [1, 2, 3, 4], "outcome": "cured", "team": ["A", "A", "B", "B"]})
    >>> test = log_rank(frame, by="team")
    >>> round(test.statistic, 3), test.df, round(test.p_value, 3)
    (2.882, 1, 0.09)
    """
    by, strata = check_groups(by, strata, rho)
    cells, event = one_event(frame, duration, outcome, event, entry, [*by, *strata], weight)
    groups, blocks = arranged(cells, by)
    size = len(groups.groups)
    observed, expected, variance = np.zeros(size), np.zeros(size), np.zeros((size, size))
    for where, tracks in blocks:
        o, e, v = _stratum(tracks, rho)
        np.add.at(observed, where, o)
        np.add.at(expected, where, e)
        np.add.at(variance, (where[:, None], where), v)
    if not any(track.exits[0].any() for _, tracks in blocks for track in tracks):
        raise FrameError(f"nobody is {spoken(event)}: nothing to compare. Allowed: at least one event.")
    statistic, df, p_value = chi_square(observed - expected, variance)
    name = {0: "Log-rank test", 1: "Peto–Peto test"}.get(
        int(rho) if rho in (0, 1) else -1, f"Weighted log-rank test (ρ = {rho:g})"
    )
    return LogRank(
        table=compared_table(groups, blocks, observed, expected),
        estimand=f"Number {spoken(event)} to expect if all groups had the same hazard on each day (log-rank)",
        unit="number",
        title=f"{name}: {spoken(event)} by {first_few(list(groups.groups.columns))}",
        notes=(verdict(statistic, df, p_value), *method_notes(strata, rho, "the share"), *groups.notes),
        formats={"observed": "days" if rho else "count", "expected": "days"},
        statistic=statistic,
        df=df,
        p_value=p_value,
    )


def _stratum(tracks: Sequence[Track], rho: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """O, E and V of one stratum."""
    days, (d,) = events_on(tracks, (0,))
    if not len(days):
        size = len(tracks)
        return np.zeros(size), np.zeros(size), np.zeros((size, size))
    n = np.array([track.at_risk_on(days) for track in tracks])
    total, events = n.sum(axis=0), d.sum(axis=0)
    staying = np.cumprod(1 - events / total)
    w = np.concatenate([[1.0], staying[:-1]]) ** rho
    share = n / total
    spread = np.where(total > 1, w**2 * events * (total - events) / np.where(total > 1, total - 1, 1), 0.0)
    # V is what is left on the diagonal so that each row adds up to 0: no small difference of large numbers.
    variance = -(share * spread) @ share.T
    np.fill_diagonal(variance, 0.0)
    np.fill_diagonal(variance, -variance.sum(axis=1))
    return d @ w, share @ (w * events), variance


def check_groups(by: Any, strata: Any, rho: float) -> tuple[list[str], list[str]]:
    """The grouping and the stratifying columns, different from each other."""
    by, strata = as_list(by), as_list(strata)
    faults = []
    if both := [c for c in by if c in strata]:
        faults.append(f"column {first_few(both)} is both in by and in strata. Allowed: one of the two.")
    if not (isinstance(rho, (int, float)) and 0 <= rho < np.inf):
        faults.append(f"rho is {rho!r}. Allowed: a number ≥ 0, such as 0 or 1.")
    if faults:
        raise FrameError(faults)
    return by, strata


def arranged(cells: Cells, by: Sequence[str]) -> tuple[Cells, list[tuple[np.ndarray, list[Track]]]]:
    """Cells of groups × strata as (cells under the groups' names, [(groups, their tracks) a stratum])."""
    names = list(cells.groups.columns)
    by, strata = names[: len(by)], names[len(by) :]
    group, stratum = (_codes(cells, columns) for columns in (by, strata))
    first = np.unique(group, return_index=True)[1]
    groups = replace(cells, groups=cells.groups.iloc[first][by].reset_index(drop=True))
    if len(first) < 2:
        raise FrameError(f"by={first_few(by)} makes one group. Allowed: at least two to compare.")
    tracks = cells.tracks()
    blocks = [
        (group[stratum == s], [tracks[i] for i in np.flatnonzero(stratum == s)]) for s in np.unique(stratum)
    ]
    return rename_groups(groups, _COLUMNS), blocks


def _codes(cells: Cells, columns: list[str]) -> np.ndarray:
    if not columns:
        return np.zeros(len(cells.groups), dtype=int)
    return cells.groups.groupby(columns, dropna=False, sort=False, observed=True).ngroup().to_numpy()


def events_on(tracks: Sequence[Track], outcomes: Sequence[int]) -> tuple[np.ndarray, list[np.ndarray]]:
    """The days on which anybody has one of these outcomes, and (groups, days) events for each of them."""
    wanted = list(outcomes)
    hit = [track.exits[wanted].any(axis=0) for track in tracks]
    days = np.unique(np.concatenate([track.days[h] for track, h in zip(tracks, hit)]))
    counts = np.zeros((len(wanted), len(tracks), len(days)))
    for g, (track, h) in enumerate(zip(tracks, hit)):
        counts[:, g, np.searchsorted(days, track.days[h])] = track.exits[wanted][:, h]
    return days, list(counts)


def chi_square(score: np.ndarray, variance: np.ndarray) -> tuple[float, int, float]:
    """score′ V⁻ score, the rank of V and the p-value; the rank is lower than the number of groups."""
    from scipy.special import chdtrc

    # The largest group is the one whose entries suffer from rounding; the others hold all there is to know.
    largest = int(np.argmax(np.diag(variance)))
    keep = np.flatnonzero((np.diag(variance) > 0) & (np.arange(len(score)) != largest))
    if not len(keep):
        return 0.0, 0, float("nan")
    scale = np.sqrt(np.diag(variance)[keep])
    values, vectors = np.linalg.eigh(variance[np.ix_(keep, keep)] / np.outer(scale, scale))
    sound = values > 1e-11 * values.max()
    parts = (vectors.T @ (score[keep] / scale))[sound]
    statistic, df = float((parts**2 / values[sound]).sum()), int(sound.sum())
    return statistic, df, float(chdtrc(df, statistic))


def compared_table(groups: Cells, blocks: Sequence, observed: np.ndarray, expected: np.ndarray) -> Any:
    """[by…], episodes, observed, expected."""
    episodes = np.zeros(len(observed))
    for where, tracks in blocks:
        np.add.at(episodes, where, [track.entered.sum() for track in tracks])
    parts = zip(whole(episodes), whole(observed), expected)
    return stack(groups, [dict(zip(_COLUMNS, ([n], [o], [e]))) for n, o, e in parts])


def verdict(statistic: float, df: int, p_value: float) -> str:
    """The test in one sentence."""
    if not df:
        return "The groups are never at risk together when something happens: there is no test."
    shown = "p < 0.001" if p_value < 0.001 else f"p = {p_value:.3f}"
    return f"χ² = {statistic:,.2f} on {df} {'degrees' if df > 1 else 'degree'} of freedom, {shown}."


def method_notes(strata: Sequence[str], rho: float, weighted_by: str) -> list[str]:
    """What was done beyond the plain test."""
    notes = [f"Compared within {first_few(strata)}, then summed."] if strata else []
    if rho:
        notes.append(
            f"Observed and expected are weighted: early events count more ({weighted_by} still free of the event, to the power {rho:g})."
        )
    return notes
