"""Cure when accounts are looked at only now and then: ends lie between snapshots, and short spells are not seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from collectlab.core.engine import scan
from collectlab.core.errors import FrameError, first_few
from collectlab.core.jackknife import INTERVAL, check_level, interval, t_quantile
from collectlab.measures.cure_counts import Counted, count, refuse_disorder
from collectlab.measures.cure_rates import CureRates, listed, whole_horizons
from collectlab.measures.survival_cells import spoken
from collectlab.measures.survival_counting import NothingToCount

_COLUMNS = ("horizon", "at_risk", "events", *INTERVAL)
_TOLERANCE = 1e-6
#: For the estimate, and for those with a group left out, which start from it.
_STEPS, _STEPS_LEFT_OUT = 1_000, 100


def between_snapshots(
    frame: Any,
    *,
    horizons: Sequence[int] = (30, 60, 90),
    by: str | Sequence[str] | None = None,
    first_seen: str = "first_seen_day",
    seen: str = "seen_day",
    duration: str = "exit_day",
    outcome: str = "outcome",
    event: Any = ("cured",),
    cluster: str | None = None,
    conf_level: float = 0.95,
) -> CureRates:
    r"""P(cured within h days of day 0) from snapshots far apart, other outcomes competing.

    With month-end snapshots two things are hidden. An end is only known to lie in (seen, exit]; dating it by
    the snapshot that shows it makes cure look late. And a spell that begins and ends between two snapshots is
    not in the data; most of those are quick cures. An episode is here *because* it was still delinquent when
    first seen on day a, so it counts from there on. The likelihood of an episode that ended with outcome k is

    .. math:: \frac{F_k(\mathrm{exit}) - F_k(\mathrm{seen})}{S(a)}, \qquad
        \text{of a censored one } \frac{S(\mathrm{exit})}{S(a)},

    with :math:`F_k(t) = \sum_{s \le t} S(s-1) h_k(s)` and :math:`S = 1 - \sum_k F_k`. The daily hazards
    :math:`h_k` are any that are constant within pieces of a third of the usual gap between snapshots (longer ones
    later); with daily snapshots a piece is a day, and this is Aalen–Johansen with entry at first sight. They
    are found by EM: each end is spread over the days on which it may have fallen in proportion to the
    hazards, the hazards are computed anew from those counts and from the episodes at risk on each day (day
    > a), until nothing changes.

    That the days before a first snapshot can be known at all rests on episodes beginning on different days
    before a snapshot, and on the course of a spell not depending on which day that is.

    Parameters
    ----------
    frame : frame
        One row per episode, as ``book.episodes()`` (or ``book.bucket_entries()``, days then counting since
        the bucket was reached).
    horizons : sequence of int
        h, whole days ≥ 1.
    by : str or sequence of str, optional
        One estimate a group.
    first_seen, seen, duration : str
        Columns of whole days since day 0: first snapshot seen delinquent; last snapshot before the end; end,
        or last snapshot if censored.
    outcome : str
        Column of how it ended.
    event : outcome or sequence of outcomes
        What counts as cured.
    cluster : str, optional
        Column whose episodes belong together; default ``customer_id``, else ``account_id``.
    conf_level : float
        Level of the intervals: delete-a-group jackknife (50 groups), on the scale log(−log(1 − F)).

    Returns
    -------
    CureRates
        ``table``: [by…], horizon, at_risk (episodes first seen before the horizon), events (of those, with an
        end that may lie within it), estimate, std_error, conf_low, conf_high. Missing, with a note, where the
        horizon lies beyond a group's follow-up or all were first seen too late.

    Raises
    ------
    FrameError
        Columns missing; days missing, negative, fractional or out of order; unknown outcomes; no rows.

    Notes
    -----
    The population are the spells past due at the end of a day at least once. Where ``days_past_due`` is a
    bucket's lower bound, day 0 itself is not known, every spell seems to begin just before a snapshot, and
    nothing is gained.

    A cure and a new spell between two snapshots look like one long spell; that is not undone here and leaves
    the figures somewhat low. On eight simulated banks of 6,000 accounts, daily snapshots give 80.5 % cured within
    90 days on average; month-ends as they stand 62.3 %, dated midway 66.9 %, and this 78.2 % (within 30 days:
    57.3 %, 0 %, 27.7 % and 52.1 %); five of the eight intervals hold the daily figure. Without that confusion it is
    unbiased: its error was below 0.3 points, and 93 to 94 % of its 95 % intervals held the truth (150 samples of
    4,000 spells).

    References
    ----------
    Turnbull (1976), JRSS B 38, 290–295 (interval censoring and truncation); Hudgens, Satten and Longini
    (2001), Biometrics 57, 74–80 (competing risks); Lindsey and Ryan (1998), Statistics in Medicine 17 (hazards
    constant in pieces); Varadhan and Roland (2008), Scand. J. Statist. 35 (the acceleration of EM).

    Examples
    --------
    >>> import pandas as pd
    >>> spells = pd.DataFrame({
    ...     "account_id": range(8), "first_seen_day": [2, 9, 16, 23] * 2, "seen_day": [2, 9, 16, 23, 32, 39, 46, 53],
    ...     "exit_day": [32, 39, 46, 53, 62, 69, 76, 83], "outcome": ["cured"] * 8})
    >>> between_snapshots(spells, horizons=(60,)).table[["at_risk", "events"]].values.tolist()
    [[8, 8]]
    """
    horizons = whole_horizons(horizons)
    check_level(conf_level)
    lazy = scan(frame)
    names = lazy.collect_schema().names()
    if cluster is None:
        cluster = next((c for c in ("customer_id", "account_id") if c in names), None)
        if cluster is None:
            raise FrameError("no column 'customer_id' or 'account_id'. Allowed: name one with cluster=.")
    days = {"first": first_seen, "seen": seen, "exit": duration}
    counted = count(lazy, days, outcome=outcome, event=event, by=by, taken=_COLUMNS, cluster=cluster)
    cells = counted.cells
    faults = refuse_disorder(cells, "first", "seen", days) + refuse_disorder(cells, "seen", "exit", days)
    if faults:
        raise FrameError(faults)
    if (cells["exit"] == cells["first"]).all():
        raise NothingToCount("no episode has any follow-up (first seen on its last day, every one).")
    ended = cells["outcome"].isin([*counted.event, *counted.others])
    waits = (cells["exit"] - cells["seen"])[ended].to_numpy()
    gap = max(_median(waits, cells["n"][ended].to_numpy()), 1) if ended.any() else int(cells["exit"].max())
    parts, missing, late = [], [], []
    for g in range(len(counted.groups)):
        spells = _spells(counted, g, max(horizons), gap)
        if spells is None:
            missing.append(f"{counted.name(g)} (no follow-up)")
            parts.append(_rows(horizons, np.zeros(len(horizons), int), np.zeros(len(horizons), int)))
            continue
        parts.append(_estimate(spells, horizons, conf_level, counted.name(g), missing, late))
    table = pd.concat(parts, ignore_index=True)
    if len(counted.groups.columns):
        keys = counted.groups.iloc[np.repeat(np.arange(len(parts)), len(horizons))].reset_index(drop=True)
        table = pd.concat([keys, table], axis=1)
    notes = [
        "Ends are spread over the days between two snapshots, and spells too short to be seen are allowed for.",
        f"Intervals: delete-a-group jackknife over {cluster}.",
    ]
    if late:
        notes.append(
            "Most were first seen on the same day after day 0, as where days past due are only known by bucket: "
            "what happens between two snapshots then rests on the assumption of an even course, and spells that "
            f"were never seen cannot be allowed for: {first_few(late)}."
        )
    if missing:
        notes.append(f"Missing where the data do not reach: {first_few(missing)}.")
    zero = "reaching the bucket" if "reached_on" in names else "day 0"
    what = spoken(counted.event)
    against = f", {spoken(counted.others, 'and')} competing" if counted.others else ""
    return CureRates(
        table=table,
        estimand=f"P({what} within h days of {zero}){against}, spells not seen at a snapshot included",
        title=f"{what.capitalize()} within {listed(horizons)} days of {zero}, unseen spells allowed for",
        notes=tuple(notes),
        conf_level=conf_level,
        by=tuple(counted.groups.columns),
    )


@dataclass(frozen=True)
class _Spells:
    """One group's cells, and the pieces of the days 1 … D."""

    first: np.ndarray
    lower: np.ndarray  #: it ended after this day (censored: nothing more is known)
    upper: np.ndarray
    kind: np.ndarray  #: 0 the event, 1 another outcome, 2 censored
    n: np.ndarray  #: (R + 1, cells): all, and with each replicate group left out
    piece: np.ndarray  #: (D,)
    last: float  #: follow-up ends after this day; without end if nobody was open then
    reach: int  #: the largest horizon


def _spells(counted: Counted, g: int, reach: int, gap: int) -> _Spells | None:
    """The cells of one group up to a year of snapshots, or to ``reach`` if that is later, and its pieces."""
    rows = counted.cells[(counted.group == g) & (counted.cells["exit"] > counted.cells["first"]).to_numpy()]
    if rows.empty:
        return None
    keys = ["first", "seen", "exit", "kind"]
    outcome = rows["outcome"]
    kind = np.where(outcome.isin(counted.event), 0, np.where(outcome.isin(counted.others), 1, 2))
    cells = rows.assign(kind=kind).groupby([*keys, "replicate"], as_index=False)["n"].sum()
    where = cells.groupby(keys).ngroup().to_numpy()
    unique = cells.drop_duplicates(keys)
    present, replicate = np.unique(cells["replicate"], return_inverse=True)
    parts = np.zeros((len(present), len(unique)))
    np.add.at(parts, (replicate, where), cells["n"].to_numpy(float))
    everyone = parts.sum(axis=0)
    first, seen, end, kind = (unique[k].to_numpy() for k in keys)
    lower = np.where(kind == 2, end, np.minimum(seen, end - 1))
    lower = np.maximum(lower, first)
    last = int(end.max()) if (kind[end == end.max()] == 2).any() else np.inf
    # What comes much later says next to nothing on the days asked about, but costs time.
    cut = max(reach, 12 * gap)
    keep, later = first < cut, lower >= cut
    lower, end, kind = (np.where(later, v, w) for v, w in ((cut, lower), (cut, end), (2, kind)))
    first, lower, end, kind = (v[keep] for v in (first, lower, end, kind))
    n = np.vstack([everyone, everyone - parts])[:, keep]
    return (
        _Spells(first, lower, end, kind, n, _pieces(int(end.max()), gap), last, reach) if keep.any() else None
    )


def _median(values: np.ndarray, n: np.ndarray) -> int:
    order = np.argsort(values, kind="stable")
    return int(values[order][np.searchsorted(np.cumsum(n[order]), n.sum() / 2)])


def _pieces(last: int, gap: int) -> np.ndarray:
    """The piece each day belongs to: a third of the gap wide up to three gaps, then one gap, then three.

    Day 1 is a piece of its own when snapshots are apart: nobody is seen before the end of it.
    """
    if gap <= 2:
        return np.arange(last)
    third = max(round(gap / 3), 1)
    ends = [*range(third, 3 * gap + 1, third), *range(4 * gap, 12 * gap + 1, gap)]
    ends += range(15 * gap, last + 3 * gap, 3 * gap)
    return np.searchsorted(ends, np.arange(1, last + 1))


def _estimate(
    spells: _Spells,
    horizons: list[int],
    conf_level: float,
    name: str,
    missing: list[str],
    late: list[str],
) -> pd.DataFrame:
    h = np.asarray(horizons)
    n, last, limit = spells.n[0], len(spells.piece), spells.last
    event = spells.kind == 0
    at_risk = np.array([n[spells.first < d].sum() for d in h])
    events = np.array([n[event & (spells.lower < d)].sum() for d in h])
    hazard = _em(spells, spells.n[:1], None)
    earliest = int(spells.first.min())
    if earliest > max(np.flatnonzero(spells.piece == spells.piece[0]).max() + 1, 1):
        limit, why = -np.inf, f"first seen on day {earliest:,}"
    else:
        why = f"followed up to day {spells.last:,}"
    if (h > limit).any():
        missing.append(f"{name} ({why})")
    same = np.bincount(spells.first, n)
    if same.max() > n.sum() / 2 and spells.piece[-1] < last - 1:
        late.append(f"{name} on day {int(same.argmax()):,}")
    days = np.minimum(h, last)
    estimate = _incidence(hazard)[0, 0, days]
    left_out = _incidence(_em(spells, spells.n[1:], hazard))[:, 0, days]
    groups = len(left_out)
    error = np.full(len(h), np.nan)
    if groups > 1:
        error = np.sqrt((groups - 1) / groups * ((left_out - estimate) ** 2).sum(axis=0))
    low, high = interval(estimate, error, t_quantile(conf_level, np.full(len(h), groups - 1)), "cloglog")
    known = h <= limit
    return _rows(
        horizons, at_risk, events, [np.where(known, v, np.nan) for v in (estimate, error, low, high)]
    )


def _rows(horizons: list[int], at_risk: np.ndarray, events: np.ndarray, values: Any = None) -> pd.DataFrame:
    values = [np.full(len(horizons), np.nan)] * 4 if values is None else values
    counts = {"horizon": horizons, "at_risk": at_risk.astype(np.int64), "events": events.astype(np.int64)}
    return pd.DataFrame(counts | dict(zip(INTERVAL, values)))


def _incidence(hazard: np.ndarray) -> np.ndarray:
    """(…, 2, D + 1): F of the event and of all other outcomes on days 0 … D, from (…, 2, D) hazards."""
    staying = np.cumprod(1 - hazard.sum(axis=-2), axis=-1)
    before = np.concatenate([np.ones_like(staying[..., :1]), staying[..., :-1]], axis=-1)
    shares = np.cumsum(hazard * before[..., None, :], axis=-1)
    return np.concatenate([np.zeros_like(shares[..., :1]), shares], axis=-1)


def _em(spells: _Spells, n: np.ndarray, start: np.ndarray | None) -> np.ndarray:
    """(B, 2, D) daily hazards for B sets of weights: EM over where in its interval each end fell.

    Accelerated by SQUAREM (scheme S3), each set for itself; a leap that loses likelihood is taken back.
    """
    once = _Step(spells, n)
    size = len(n), 2, len(spells.piece)
    hazard = np.full(size, 0.25 / max(size[2], 30)) if start is None else np.broadcast_to(start, size)
    hazard = np.where(once.silent, 0.0, hazard)
    one, value = once(hazard)
    for _ in range(_STEPS if start is None else _STEPS_LEFT_OUT):
        two, _ = once(one)
        if np.abs(_incidence(two) - _incidence(one))[:, 0, : spells.reach + 1].max() < _TOLERANCE:
            break
        first, second = one - hazard, (two - one) - (one - hazard)
        length = np.sqrt((second**2).sum(axis=(1, 2)))
        jump = np.sqrt((first**2).sum(axis=(1, 2))) / np.where(length > 0, length, np.inf)
        jump = np.maximum(jump, 1.0)[:, None, None]
        leap = np.maximum(hazard + 2 * jump * first + jump**2 * second, two / 100)
        too_far = (leap.sum(axis=1) > 1).any(axis=1)
        hazard = np.where(too_far[:, None, None], two, leap)
        one, new = once(hazard)
        lost = new < value - 1e-9 * np.abs(value)
        if lost.any():
            hazard = np.where(lost[:, None, None], two, hazard)
            one, new = once(hazard)
        value = new
    return two


class _Step:
    """One EM step for B sets of weights at once."""

    def __init__(self, spells: _Spells, n: np.ndarray):
        from scipy.sparse import csr_array

        days, cells = len(spells.piece), len(spells.first)
        self.starts = np.flatnonzero(np.diff(spells.piece, prepend=-1))
        self.widths = np.diff([*self.starts, days])
        # Seen past due on day 1 at the earliest: nothing is known of day 1, and no spell ends on it.
        self.silent = np.arange(1, days + 1) <= min(int(spells.first.min()), 1)
        ended = spells.kind < 2
        self.kind, self.lower, self.upper = (v[ended] for v in (spells.kind, spells.lower, spells.upper))
        self.n = n[:, ended]

        def placed(at: np.ndarray, width: int, rows: np.ndarray) -> csr_array:
            return csr_array((np.ones(len(at)), (at, rows)), shape=(width, cells))

        # At risk on days 1 … D if nobody but the censored ever left; an exit day D + 1 is never reached.
        came = placed(spells.first, days + 1, np.arange(cells)) @ n.T
        open_ = np.flatnonzero(~ended)
        left = placed(spells.lower[open_], days + 1, open_) @ n.T
        self.present = np.cumsum(came - left, axis=0)[:days].T
        #: the censored's log S(exit) less everybody's log S(first)
        self.fixed = (left - came).T
        wide = 2 * (days + 1)
        rows, at = np.arange(len(self.kind)), self.kind * (days + 1)
        data = np.concatenate([np.ones(len(rows)), -np.ones(len(rows))])
        place = np.concatenate([at + self.lower, at + self.upper]), np.tile(rows, 2)
        self.spread = csr_array((data, place), shape=(wide, len(rows)))

    def __call__(self, hazard: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The next hazards, and the log-likelihood of these."""
        sets, _, days = hazard.shape
        shares = _incidence(hazard)
        inside = np.maximum(shares[:, self.kind, self.upper] - shares[:, self.kind, self.lower], 1e-300)
        factor = np.cumsum((self.spread @ (self.n / inside).T).T.reshape(sets, 2, days + 1), axis=2)
        ends = np.diff(shares, axis=2) * factor[:, :, :days]
        gone = np.cumsum(ends.sum(axis=1), axis=1)
        at_risk = self.present - np.concatenate([np.zeros((sets, 1)), gone[:, :-1]], axis=1)
        exposed = np.add.reduceat(np.where(self.silent, 0.0, np.maximum(at_risk, 0.0)), self.starts, axis=1)
        counts = np.add.reduceat(ends, self.starts, axis=2)
        pieces = np.where(
            exposed > 1e-9, np.clip(counts.transpose(1, 0, 2), 0, None) / np.maximum(exposed, 1e-9), 0.0
        )
        pieces = (pieces / np.maximum(pieces.sum(axis=0), 1.0)).transpose(1, 0, 2)
        stays = np.log(np.maximum(1 - hazard.sum(axis=1), 1e-300))
        logs = np.concatenate([np.zeros((sets, 1)), np.cumsum(stays, axis=1)], axis=1)
        value = (self.n * np.log(inside)).sum(axis=1) + (self.fixed * logs).sum(axis=1)
        return np.where(self.silent, 0.0, np.repeat(pieces, self.widths, axis=2)), value
