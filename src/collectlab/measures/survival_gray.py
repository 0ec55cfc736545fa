"""Gray's test of whether groups differ in the cumulative incidence of one of several competing outcomes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from collectlab.core.errors import FrameError, first_few
from collectlab.measures.survival_cells import Track, spoken
from collectlab.measures.survival_compare import (
    GroupTest,
    arranged,
    check_groups,
    chi_square,
    compared_table,
    events_on,
    method_notes,
    verdict,
)
from collectlab.measures.survival_counting import count_cells, resolve_events


@dataclass(frozen=True, kw_only=True, repr=False)
class GrayTest(GroupTest):
    """What :func:`gray_test` returns."""


def gray_test(
    frame: Any,
    *,
    duration: str = "exit_day",
    outcome: str = "outcome",
    cause: Any = ("cured",),
    by: str | Sequence[str],
    entry: str | None = None,
    strata: str | Sequence[str] | None = None,
    weight: str | None = None,
    rho: float = 0.0,
) -> GrayTest:
    r"""Gray's test that the cumulative incidence of ``cause`` is the same in all groups.

    Those whom another outcome has taken can no longer have this one, and stay in the risk set as such. With
    :math:`n_g` at risk on a day in group g, :math:`S_g` its Kaplan–Meier estimate of being free of all
    outcomes and :math:`F_g` its Aalen–Johansen estimate of ``cause``, both just before the day, that risk
    set is :math:`R_g = n_g (1 - F_g) / S_g`. With :math:`d_g` events of ``cause`` on the day and
    :math:`d = \sum_g d_g`, the scores are

    .. math:: z_g = \sum_s w_s \left( d_{gs} - d_s \frac{R_{gs}}{\sum_h R_{hs}} \right), \qquad
        w_s = (1 - F_0(s^-))^\rho .

    :math:`F_0`, the common incidence, rises by :math:`d_s / T_s` a day, where :math:`T = \sum_g t_g` and
    :math:`t_g = n_g / S_g`. For the covariance let

    .. math:: a_{gk} = w\, t_k (1[g = k] - t_g / T), \quad
        b_{gk}(s) = \sum_{r > s} \frac{a_{gk}(r)\, d_r}{T_r (1 - F_0(r^-))}, \quad
        \varphi_k = \frac{1 - F_0}{S_k} \text{ (after the day)} .

    Then, summed over groups k and days s,

    .. math:: V_{gh} = \sum_{k, s} u_{gk} u_{hk} \frac{S_k d}{T n_k} \left(1 - \frac{d - 1}{T S_k - 1}\right)
        + \varphi_k^2 b_{gk} b_{hk} \frac{S_k^2 e_k}{n_k^2} \left(1 - \frac{e_k - 1}{n_k - 1}\right),
        \quad u_{gk} = a_{gk} + (1 - \varphi_k) b_{gk},

    with :math:`e_k` the other outcomes in group k on the day. :math:`z^\top V^- z` is compared with χ² on as
    many degrees of freedom as V has rank (groups − 1). Counts are added up in floating point, group × day,
    so nothing overflows in a large book.

    Parameters
    ----------
    frame, duration, outcome, weight
        As in :func:`cumulative_incidence`.
    cause : outcome or sequence of outcomes
        The outcome whose incidence is compared; all others but censoring compete with it.
    by : str or sequence of str
        The groups: at least two.
    entry : str, optional
        Column of the day observation began. The test stands on n, S and F alone, and those allow for late
        entry, if in every group somebody is watched from early on.
    strata : str or sequence of str, optional
        Groups are compared only within these.
    rho : float
        0: every event counts alike. Larger: early events count more. Any number ≥ 0.

    Returns
    -------
    GrayTest
        ``statistic, df, p_value``, and ``table``: [by…], episodes, observed, expected (weighted, if ρ > 0).

    Raises
    ------
    FrameError
        As in :func:`cumulative_incidence`; also if there are fewer than two groups, nobody has the
        outcome, or a group's risk set is empty for a while (late entry only).

    References
    ----------
    Gray (1988), Annals of Statistics 16, 1141–1154; as R's ``cmprsk::cuminc`` while its counts do not
    overflow. Late entry: Geskus (2011), Biometrics 67.

    Examples
    --------
    >>> import pandas as pd
    >>> frame = pd.DataFrame({
    ...     "exit_day": [1, 2, 3, 4, 5, 6, 7, 8], "team": list("AAAABBBB"),
    ...     "outcome": ["cured", "cured", "sold", "cured", "sold", "cured", "cured", "censored"]})
    >>> test = gray_test(frame, by="team")
    >>> round(test.statistic, 3), test.df, round(test.p_value, 3)
    (3.774, 1, 0.052)
    """
    by, strata = check_groups(by, strata, rho)
    cells = count_cells(
        frame, duration=duration, outcome=outcome, entry=entry, by=[*by, *strata], weight=weight
    )
    event = resolve_events(cells, cause, outcome)
    others = tuple(o for o in cells.outcomes[:-1] if o not in event)
    if broken := [cells.name(g) for g, t in enumerate(cells.tracks()) if t.gap is not None]:
        raise FrameError(
            f"nobody is at risk for a while in {first_few(broken)}, so its incidence is not known. Allowed: "
            "groups that are watched without a gap."
        )
    groups, blocks = arranged(cells.merge(event, others), by)
    if not any(track.exits[0].any() for _, tracks in blocks for track in tracks):
        raise FrameError(f"nobody is {spoken(event)}: nothing to compare. Allowed: at least one event.")
    size = len(groups.groups)
    observed, expected, variance = np.zeros(size), np.zeros(size), np.zeros((size, size))
    for where, tracks in blocks:
        o, e, v = _stratum(tracks, rho)
        np.add.at(observed, where, o)
        np.add.at(expected, where, e)
        np.add.at(variance, (where[:, None], where), v)
    statistic, df, p_value = chi_square(observed - expected, variance)
    against = f", {spoken(others, 'and')} competing" if others else ""
    return GrayTest(
        table=compared_table(groups, blocks, observed, expected),
        estimand=f"Number {spoken(event)} to expect if the share by day t were the same in all groups{against}",
        unit="number",
        title=f"Gray's test: {spoken(event)} by {first_few(list(groups.groups.columns))}",
        notes=(verdict(statistic, df, p_value), *method_notes(strata, rho, "the share"), *groups.notes),
        formats={"observed": "days" if rho else "count", "expected": "days"},
        statistic=statistic,
        df=df,
        p_value=p_value,
    )


def _stratum(tracks: Sequence[Track], rho: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Observed, expected and the covariance of their difference in one stratum; formulas in :func:`gray_test`."""
    size = len(tracks)
    days, (d, e) = events_on(tracks, (0, 1))
    if not d.any():
        return np.zeros(size), np.zeros(size), np.zeros((size, size))
    n = np.array([track.at_risk_on(days) for track in tracks])
    at_risk = np.where(n > 0, n, 1.0)
    free_after = np.cumprod(1 - (d + e) / at_risk, axis=1)
    free = _before(free_after, 1.0)
    incidence = _before(np.cumsum(free * d / at_risk, axis=1), 0.0)
    t = np.where(n > 0, n / np.where(free > 0, free, 1.0), 0.0)
    T, events = t.sum(axis=0), d.sum(axis=0)
    common_after = np.cumsum(np.where(T > 0, events / np.where(T > 0, T, 1.0), 0.0))
    common = _before(common_after, 0.0)

    # Where the common incidence reaches 1 there is nothing left to compare (small groups that empty early).
    use = (T > 0) & (common < 1 - 1e-12)
    t, T, n, d, e, events, at_risk = (
        t[:, use],
        T[use],
        n[:, use],
        d[:, use],
        e[:, use],
        events[use],
        at_risk[:, use],
    )
    free, free_after, incidence = free[:, use], free_after[:, use], incidence[:, use]
    common, common_after = common[use], common_after[use]

    w = (1 - common) ** rho
    R = t * (1 - incidence)
    total = R.sum(axis=0)
    expected = (w * events * R / np.where(total > 0, total, 1.0)).sum(axis=1)

    here = n > 0
    left = np.where(free_after > 0, free_after, 1.0)
    phi = np.where(free_after > 0, (1 - common_after) / left, 0.0)
    ties = np.where(events > 1, 1 - (events - 1) / np.where(events > 1, T * free - 1, 1.0), 1.0)
    cause = np.where(here, ties * free * events / (T * at_risk), 0.0)
    ties = np.where(e > 1, 1 - (e - 1) / np.where(e > 1, at_risk - 1, 1.0), 1.0)
    other = np.where(here & (free_after > 0), ties * free**2 * e / at_risk**2, 0.0)

    variance = np.zeros((size, size))
    rise = events / (T * (1 - common))
    for k in range(size):
        a = -(w * t[k] / T) * t
        a[k] = w * t[k] * (T - t[k]) / T
        ahead = np.cumsum((a * rise)[:, ::-1], axis=1)[:, ::-1] - a * rise
        u, v = a + (1 - phi[k]) * ahead, phi[k] * ahead
        variance += (u * cause[k]) @ u.T + (v * other[k]) @ v.T
    return d @ w, expected, variance


def _before(after: np.ndarray, first: float) -> np.ndarray:
    """The left-continuous version of a step function along the last axis."""
    return np.concatenate([np.full((*after.shape[:-1], 1), first), after[..., :-1]], axis=-1)
