"""Risk sets by day, the chance of starting on each, and the weights that make two strategies out of one book.

Each account has a clone in either strategy. A clone leaves the risk set on the day on which the account does
what its strategy forbids, and the clones that stay are weighted up for those that left.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

#: Last day of each band of days since time zero; the chance of starting differs by band.
BANDS = (7, 14, 28, 56, 112)
#: Penalty on standardised coefficients (a prior with standard deviation 10): a pattern in which nobody starts
#: keeps a finite coefficient, and nothing else moves.
RIDGE = 0.01
#: Starts for each coefficient before the covariates may act differently at each stage.
STARTS_PER_TERM = 10
#: So many starts expected on days with another action, and none seen: the one takes the other's place.
EXPECTED = 5


@dataclass(frozen=True, kw_only=True)
class RiskSets:
    """Eligible accounts by day since time zero; day 1 is the day after it.

    ``exit``: last day at risk (of the end, or last day followed), 1 … follow_up. ``event``: 0 none by then, 1 the
    outcome, 2 another end. ``start``: day of the first treatment, 0 if none by ``exit``. ``x`` (n × p): covariates.
    ``stage`` (n × follow_up): code of the days past due. ``other`` (n × follow_up): an action of another channel that
    day. ``weekday``: of time zero, Monday 0. ``group``: replicate group of the customer. A start counts as
    earlier on its day than an end on the same day.
    """

    exit: np.ndarray
    event: np.ndarray
    start: np.ndarray
    x: np.ndarray
    stage: np.ndarray
    other: np.ndarray
    weekday: np.ndarray
    group: np.ndarray
    grace: int
    follow_up: int

    @property
    def days(self) -> np.ndarray:
        return np.arange(1, self.follow_up + 1)

    @property
    def at_risk(self) -> np.ndarray:
        """(n × follow_up): still past due at the start of the day."""
        return self.days <= self.exit[:, None]

    @property
    def unstarted(self) -> np.ndarray:
        """(n × follow_up): not started before that day."""
        return (self.start[:, None] == 0) | (self.days <= self.start[:, None])


def logistic(
    x: np.ndarray, n: np.ndarray, y: np.ndarray, first: np.ndarray | None = None, ridge: float = RIDGE
) -> np.ndarray:
    """Coefficients of a binomial regression of ``y`` successes of ``n`` on the columns of ``x``, by Newton's steps.

    The first column is the intercept and carries no penalty. Own code rather than a library's because it is
    refitted for each replicate from the coefficients before (``first``): two steps instead of fifteen.
    """
    if first is None:
        first = np.zeros(x.shape[1])
        mean = min(max(y.sum() / max(n.sum(), 1), 1e-9), 1 - 1e-9)
        first[0] = np.log(mean / (1 - mean))
    b, penalty = first.copy(), np.full(x.shape[1], ridge)
    penalty[0] = 0.0

    def loss(b: np.ndarray) -> float:
        eta = np.einsum("ij,j->i", x, b)
        return float(np.sum(n * np.logaddexp(0, eta) - y * eta) + 0.5 * np.sum(penalty * b * b))

    now = loss(b)
    for _ in range(50):
        p = _expit(np.einsum("ij,j->i", x, b))
        slope = np.einsum("ij,i->j", x, y - n * p) - penalty * b
        bend = np.einsum("ij,ik->jk", x * (n * p * (1 - p))[:, None], x) + np.diag(penalty)
        step = np.linalg.lstsq(bend, slope, rcond=1e-12)[0]
        size = 1.0
        while (then := loss(b + size * step)) > now + 1e-12 * abs(now) and size > 1e-4:
            size /= 2
        b, before, now = b + size * step, now, then
        if before - now <= 1e-10 * max(abs(now), 1):
            break
    return b


def _expit(eta: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-np.clip(eta, -500, 500)))


class Starting:
    """The pooled model of starting on a day, counted in cells so that each replicate is a refit of few rows.

    Cells are covariate pattern × stage × band of days × weekday. ``open`` (n × follow_up): days on which anybody
    ever starts. ``exclusive``: nobody ever starts on a day with another action.
    """

    def __init__(self, sets: RiskSets):
        self.sets = sets
        day, risk = sets.days, sets.at_risk & sets.unstarted
        starts = risk & (day == sets.start[:, None])
        weekday = (sets.weekday[:, None] + day) % 7
        self.closed = np.flatnonzero(np.bincount(weekday[starts], minlength=7) == 0)
        self.open = ~np.isin(weekday, self.closed)
        risk &= self.open
        shared = int((starts & sets.other).sum())
        expected = starts.sum() * (risk & sets.other).sum() / max(risk.sum(), 1)
        self.exclusive = shared == 0 and expected >= EXPECTED
        pattern = np.unique(sets.x, axis=0, return_inverse=True)[1].reshape(-1)
        band = np.searchsorted(BANDS, day)
        code = ((pattern[:, None] * 16 + sets.stage) * 8 + band) * 7 + weekday
        self.risk, self.cell = risk, np.full(risk.shape, -1)
        _, first, self.cell[risk] = np.unique(code[risk], return_index=True, return_inverse=True)
        account, at = (where[first] for where in np.nonzero(risk))
        self.design, self.interacted = _design(
            sets.x[account], sets.stage[account, at], band[at], weekday[account, at], int(starts.sum())
        )
        self.models = [self._counted(risk, starts)]
        if self.exclusive:
            self.models.append(self._counted(risk & ~sets.other, starts))
        self.full: list[np.ndarray] = []

    def _counted(self, risk: np.ndarray, starts: np.ndarray) -> tuple[np.ndarray, ...]:
        """Cell, replicate group, days at risk and starts of each cell × group that holds anything."""
        groups = int(self.sets.group.max()) + 1
        group = np.broadcast_to(self.sets.group[:, None], risk.shape)[risk]
        both, inverse = np.unique(self.cell[risk] * groups + group, return_inverse=True)
        days = np.bincount(inverse).astype(float)
        begun = np.bincount(inverse, weights=starts[risk])
        return both // groups, both % groups, days, begun

    def chances(self, left_out: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Chance of starting on each day (n × follow_up, 0 where it cannot), and the one given what else was done.

        ``left_out``: a replicate group that the models are fitted without.
        """
        fitted, found = [], []
        for k, (cell, group, days, begun) in enumerate(self.models):
            kept = group != left_out if left_out is not None else np.ones(len(group), bool)
            n = np.bincount(cell[kept], days[kept], len(self.design))
            y = np.bincount(cell[kept], begun[kept], len(self.design))
            some = n > 0
            b = logistic(self.design[some], n[some], y[some], self.full[k] if self.full else None)
            found.append(b)
            p = _expit(np.einsum("ij,j->i", self.design, b))
            fitted.append(np.where(self.risk, p[self.cell], 0.0))
        if not self.full:
            self.full = found
        given = np.where(self.sets.other, 0.0, fitted[1]) if self.exclusive else fitted[0]
        return fitted[0], given


def _design(
    x: np.ndarray, stage: np.ndarray, band: np.ndarray, weekday: np.ndarray, starts: int
) -> tuple[np.ndarray, bool]:
    """Intercept, covariates, stage, band, weekday; and covariates × stage where the starts suffice."""

    def flags(codes: np.ndarray) -> np.ndarray:
        return (codes[:, None] == np.unique(codes)[1:]).astype(float)

    stages = flags(stage)
    main = np.hstack([x, stages, flags(band), flags(weekday)])
    cross = (x[:, :, None] * stages[:, None, :]).reshape(len(x), -1)
    interacted = bool(cross.shape[1]) and starts >= STARTS_PER_TERM * (main.shape[1] + cross.shape[1] + 1)
    columns = np.hstack([main, cross]) if interacted else main
    spread = columns.std(axis=0)
    columns = columns[:, spread > 1e-12]
    columns = (columns - columns.mean(axis=0)) / columns.std(axis=0)
    return np.hstack([np.ones((len(x), 1)), columns]), interacted


def even_hazard(starting: Starting) -> np.ndarray:
    """(n × follow_up): chance of starting on a day, if not started, of a start spread evenly over the grace period.

    With m possible days left in the grace period, the day itself included, it is 1/m; on the last it is 1.
    """
    possible = starting.open & (starting.sets.days <= starting.sets.grace)
    left = possible[:, ::-1].cumsum(axis=1)[:, ::-1]
    return np.where(possible, 1 / np.maximum(left, 1), 0.0)


def clone_weights(
    starting: Starting, chance: np.ndarray, given: np.ndarray, truncate: float | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Weights (n × follow_up) of the clones that start within the grace period, and of those that never start.

    With p the chance of starting that day (p′: given what else was done), and h the strategy's (even_hazard),

        never:   ∏ 1 / (1 − p′)                                           until the start, then 0
        start:   ∏ (1 − h) / (1 − p′) before the start, × h / p on its day, constant after it

    and 0 where the clone is not at risk. Source: Wanis et al. (2024), grace periods with an even strategy.
    """
    sets = starting.sets
    here = sets.days == sets.start[:, None]
    before = sets.unstarted & ~here
    stay = 1 / np.maximum(1 - given, 1e-12)
    never = np.cumprod(np.where(before, stay, 1.0), axis=1) * (sets.at_risk & before)
    h = even_hazard(starting)
    step = np.where(before, (1 - h) * stay, np.where(here, h / np.maximum(chance, 1e-12), 1.0))
    # Past the grace period whoever has not started is no longer in the strategy.
    step = np.where(before & (sets.days > sets.grace), 0.0, step)
    start = np.cumprod(step, axis=1) * sets.at_risk
    if truncate is not None:
        start, never = (
            np.minimum(w, np.quantile(w[w > 0], truncate)) if (w > 0).any() else w for w in (start, never)
        )
    return start, never


def incidence(weight: np.ndarray, exit_day: np.ndarray, event: np.ndarray, first: int = 1) -> np.ndarray:
    """P(the outcome by each day), other ends competing: Aalen–Johansen with weights that change by day.

        F(t) = Σ_{s ≤ t} S(s − 1) · d₁(s)/Y(s),   S(t) = ∏_{s ≤ t} (1 − (d₁(s) + d₂(s))/Y(s)),

    Y the weights at risk on a day, d₁ and d₂ those that end on it. NaN from the day on which nobody is left
    at risk while some should be.

    Parameters
    ----------
    weight : ndarray of shape (n, days)
        0 where not at risk.
    exit_day, event : ndarray of shape (n,)
        Last day at risk; 0 none, 1 the outcome, 2 another end.
    first : int
        The first day that counts.

    Returns
    -------
    ndarray of shape (days,)

    Examples
    --------
    >>> incidence(np.ones((2, 2)) * [[1, 0], [1, 1]], np.array([1, 2]), np.array([1, 2]))
    array([0.5, 0.5])
    """
    days = weight.shape[1]
    at_risk = weight.sum(axis=0)
    held = weight[np.arange(len(weight)), exit_day - 1]
    ends = [np.bincount(exit_day - 1, held * (event == kind), days) for kind in (1, 2)]
    with np.errstate(divide="ignore", invalid="ignore"):
        hazard = [np.where(at_risk > 0, e / at_risk, np.nan) for e in ends]
    out, survival, total = np.zeros(days), 1.0, 0.0
    for t in range(first - 1, days):
        if survival > 1e-12:
            total += survival * hazard[0][t]
            survival *= 1 - hazard[0][t] - hazard[1][t]
        out[t] = total
    return out
