"""Paths of the next months: roll rates of whole months, drawn anew for each path, and each month's own noise."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from collectlab.core.errors import NotAvailable
from collectlab.measures.snapshots import CENTS
from collectlab.policy.forecast.history import History
from collectlab.policy.forecast.season import Season, odds_times, shrunk, wander

#: Steps from month to month that a forecast needs at least, and how many of the last it rests on.
MIN_STEPS, LAST_STEPS = 6, 24
#: Months after which a month counts half.
HALF_LIFE = 3.0
#: Steps over which the wandering of the flows is measured.
LEVEL_STEPS = 24
#: The flows that have seasons and wander: falling behind, coming back, rolling on, paying.
FLOWS = ("fall", "back", "on", "pay")
#: A bucket's money in a month is taken to have a standard deviation of no more than so many times its mean.
MOST_RATIO = 2.0


@dataclass(frozen=True)
class Model:
    """What was counted over the last k months, and how far each month was from what its rates say.

    Attributes
    ----------
    history : History
        Up to the month from which is forecast.
    used : int array (k,)
        Positions of the months whose steps to the next month are used.
    entries, due_entries : float arrays (k, B)
        Accounts (and their amount overdue) found at the end of the next month that were not open before.
    seasons : dict of str to Season
        Month-of-year effects by FLOWS; empty below two years.
    wander : dict of str to float
        Variance by which the level of each of FLOWS moves on in a month.
    noise : float array (k, F)
        How far each month was from expected, over the square root of what was expected: buckets, charge-offs,
        amounts by bucket, money.
    """

    history: History
    used: np.ndarray
    entries: np.ndarray
    due_entries: np.ndarray | None
    paid_used: np.ndarray
    seasons: dict[str, Season] = field(default_factory=dict)
    wander: dict[str, float] = field(default_factory=dict)
    noise: np.ndarray = field(default_factory=lambda: np.zeros((0, 0)))

    @property
    def recency(self) -> np.ndarray:
        """Weight of each used month: half as much for every HALF_LIFE months that it lies further back."""
        months = self.history.months[self.used]
        return np.exp2((months - months[-1]) / HALF_LIFE)


@dataclass(frozen=True)
class Rates:
    """Rates of P paths, each from its own weighting of the months."""

    move: np.ndarray  # (P, B, S)
    enter: np.ndarray  # (P, B)
    due: np.ndarray | None  # (P, B, B): of the amount overdue; from bucket 0, per account
    due_enter: np.ndarray | None  # (P, B)
    paid: np.ndarray | None  # (P, B), cents per account

    def of(self, path: int) -> Rates:
        """Those of one path, as one."""
        own = (
            None if v is None else v[path : path + 1]
            for v in (self.move, self.enter, self.due, self.due_enter, self.paid)
        )
        return Rates(*own)  # type: ignore[arg-type]


def fit(history: History, last: int = LAST_STEPS) -> Model:
    """The model of a history's last ``last`` steps from month to month."""
    steps = history.steps
    if len(steps) < MIN_STEPS:
        n = len(history.months)
        known = "one month" if n == 1 else f"{n} months, {len(steps)} of them followed by the next"
        raise NotAvailable(
            f"this book has {known}; a forecast needs {MIN_STEPS} steps from one month to the next."
        )
    used = steps[-last:]
    b = len(history.bounds)
    entries = history.stock[used + 1] - history.moves[used][:, :, :b].sum(axis=1)
    due_entries = None
    if history.due is not None and history.due_moved is not None:
        due_entries = history.due[used + 1] - history.due_moved[used][:, :, :b].sum(axis=1)
    to = history.months[used] + 1
    paid_used = (to >= history.paid_known[0]) & (to <= history.paid_known[1]) & (history.paid is not None)
    if paid_used.sum() < MIN_STEPS:
        paid_used[:] = False
    series, to = _levels(history, paid_used)
    found = {name: shrunk(values, to) for name, values in series.items()}
    none = Season(np.zeros(12), np.zeros(12), 0.0)
    known = {} if found["fall"] is None else {name: season or none for name, season in found.items()}
    moves = {}
    for name, values in series.items():
        rest = values - known[name].effect[to % 12] if known else values
        moves[name] = wander(rest[-LEVEL_STEPS:], to[-LEVEL_STEPS:])
    model = Model(history, used, entries, due_entries, paid_used, known, moves)
    return replace(model, noise=_noise(model))


def _levels(history: History, paid: np.ndarray) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """How strong each of FLOWS was at each step, on the scale on which it is tilted; and the months led to."""
    steps, b = history.steps, len(history.bounds)
    to = history.months[steps] + 1
    moves = history.moves[steps]
    out = {}
    for name, (row, event) in _events(b, moves.shape[2]).items():
        part, whole = (moves * event).sum(axis=(1, 2)), moves[:, row].sum(axis=(1, 2))
        out[name] = np.where(whole > 0, np.log((part + 0.5) / (whole - part + 0.5)), np.nan)
    out["pay"] = np.full(len(steps), np.nan)
    if paid.any() and history.paid is not None:
        known = (to >= history.paid_known[0]) & (to <= history.paid_known[1])
        per = history.paid[steps][:, 1:].sum(axis=1) / np.maximum(history.stock[steps][:, 1:].sum(axis=1), 1)
        out["pay"] = np.where(known & (per > 0), np.log(np.maximum(per, 1.0)), np.nan)
    return out, to


def _events(buckets: int, states: int) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """For falling behind, coming back and rolling on: which buckets it happens to (B,), and the moves (B, S)."""
    rows = np.arange(buckets)[:, None]
    cols = np.arange(states)[None, :]
    late = np.arange(buckets) > 0
    fall = (rows == 0) & (cols > 0) & (cols < buckets)
    back = (rows > 0) & (cols == 0)
    on = (rows > 0) & (cols > rows) & (cols <= buckets)  # into a deeper bucket, or charged off
    return {"fall": (~late, fall), "back": (late, back), "on": (late, on)}


def rates(model: Model, weights: np.ndarray) -> Rates:
    """Pooled rates of the used months under each row of ``weights`` (P, k)."""
    h, used = model.history, model.used
    b = len(h.bounds)
    whole = weights.sum(axis=1)
    moves, stock = h.moves[used], h.stock[used]
    counts = np.einsum("pj,jas->pas", weights, moves)
    base = counts.sum(axis=2, keepdims=True)
    stay = np.broadcast_to(np.eye(b, moves.shape[2]), counts.shape)
    move = np.where(base > 0, counts / np.where(base > 0, base, 1), stay)
    enter = weights @ model.entries / whole[:, None]
    due = due_enter = paid = None
    if h.due is not None and h.due_moved is not None:
        # Current accounts owe nothing overdue: what they bring is counted per account.
        owed = np.concatenate([stock[:, :1], h.due[used][:, 1:]], axis=1)
        under = (weights @ owed)[:, :, None]
        brought = np.einsum("pj,jab->pab", weights, h.due_moved[used][:, :, :b])
        due = np.where(under > 0, brought / np.where(under > 0, under, 1), 0.0)
        due_enter = weights @ model.due_entries / whole[:, None]
    if model.paid_used.any() and h.paid is not None:
        w = weights * model.paid_used
        under = w @ stock
        paid = np.where(under > 0, (w @ h.paid[used]) / np.where(under > 0, under, 1), 0.0)
    return Rates(move, enter, due, due_enter, paid)


def expected(r: Rates, stock: np.ndarray, due: np.ndarray | None, tilt: dict[str, np.ndarray]):
    """Next month's states (P, S), amounts overdue (P, B) and money paid (P,) expected of this month's.

    ``tilt`` holds, by path, what is added to the log-odds of FLOWS, and to the log of the money paid.
    """
    b = stock.shape[1]
    move, brought = r.move, r.due
    if tilt:
        for name, (_, event) in _events(b, move.shape[2]).items():
            share = (move * event).sum(axis=2)  # (P, B)
            times = odds_times(share, tilt[name][:, None])
            rest = np.where(share < 1, (1 - share * times) / np.where(share < 1, 1 - share, 1), 1)
            happens = np.asarray(event.any(axis=1))[None, :, None]
            factor = np.where(event, times[:, :, None], np.where(happens, rest[:, :, None], 1.0))
            move = move * factor
            brought = None if brought is None else brought * factor[:, :, :b]
    after = np.einsum("pa,pas->ps", stock, move)
    after[:, :b] = np.maximum(after[:, :b] + r.enter, 0)
    owed = None
    if brought is not None and due is not None and r.due_enter is not None:
        base = np.concatenate([stock[:, :1], due[:, 1:]], axis=1)
        owed = np.maximum(np.einsum("pa,pab->pb", base, brought) + r.due_enter, 0)
    paid = None
    if r.paid is not None:
        paid = (stock[:, 1:] * r.paid[:, 1:]).sum(axis=1)
        if tilt:
            paid = paid * np.exp(tilt["pay"])
    return after, owed, paid


def _season(model: Model, month: int) -> dict[str, np.ndarray]:
    """The season's effects on the flows into ``month``."""
    return {name: np.full(1, s.effect[month % 12]) for name, s in model.seasons.items()}


def _noise(model: Model) -> np.ndarray:
    """How far each used month was from what all used months' rates say, made comparable across sizes."""
    h, used = model.history, model.used
    b = len(h.bounds)
    # Against the rates of the months around it: where rates wander, those of today say nothing of its noise.
    months = h.months[used]
    near = np.exp2(-np.abs(months[:, None] - months[None, :]) / HALF_LIFE)
    local = rates(model, near)
    shares = near / near.sum(axis=1, keepdims=True)
    # The month itself is among them, so it lies closer to them than the next would.
    closer = np.sqrt(1 - 2 * np.diag(shares) + (shares**2).sum(axis=1))
    rows = []
    for j, m in enumerate(used):
        due = None if h.due is None else h.due[m][None].astype(float)
        stock = h.stock[m][None].astype(float)
        after, owed, paid = expected(local.of(j), stock, due, _season(model, int(h.months[m]) + 1))
        seen = np.append(h.stock[m + 1], h.moves[m][:, b].sum())
        row = [(seen - after[0, : b + 1]) / np.sqrt(np.maximum(after[0, : b + 1], 1))]
        if owed is not None and h.due is not None:
            row.append((h.due[m + 1][1:] - owed[0, 1:]) / np.sqrt(np.maximum(owed[0, 1:], 1)))
        if paid is not None and h.paid is not None:
            row.append((h.paid[m][1:].sum() - paid) / np.sqrt(np.maximum(paid, 1)) * model.paid_used[j])
        rows.append(np.concatenate(row))
    return np.array(rows) / closer[:, None]


def simulate(model: Model, months: int, paths: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Paths of the next months.

    Returns
    -------
    dict of str to float array
        ``accounts`` (paths, months, B), ``charged_off`` (paths, months), and with amounts ``due`` (paths, months, B)
        and with payments ``recovered`` (paths, months), in money.
    """
    h = model.history
    k, b = len(model.used), len(h.bounds)
    r = rates(model, rng.exponential(size=(paths, k)) * model.recency)  # a Bayesian bootstrap of the months
    drawn = {name: s.draw(paths, rng) for name, s in model.seasons.items()}
    # Rates that wander have moved on since the months they were counted in, and will. Half the variance is taken
    # off, so that what the wandering multiplies keeps its mean.
    behind = 1 / (np.exp2(2 / HALF_LIFE) - 1)
    levels = {
        name: np.sqrt(behind * w) * rng.standard_normal(paths) - behind * w / 2
        for name, w in model.wander.items()
    }
    stock = np.broadcast_to(h.stock[-1].astype(float), (paths, b))
    due = None if r.due is None or h.due is None else np.broadcast_to(h.due[-1].astype(float), (paths, b))
    spread = np.sqrt(
        (k - 1) / rng.chisquare(k - 1, size=(paths, 1))
    )  # their size is not known either: Student's t
    out: dict[str, list[np.ndarray]] = {"accounts": [], "charged_off": [], "due": [], "recovered": []}
    for step in range(1, months + 1):
        tilt = {}
        for name, level in levels.items():
            w = model.wander[name]
            level += np.sqrt(w) * rng.standard_normal(paths) - w / 2
            tilt[name] = level + (drawn[name][:, (int(h.months[-1]) + step) % 12] if drawn else 0)
        after, owed, paid = expected(r, stock, due, tilt)
        z = spread * (rng.standard_normal((paths, k)) @ model.noise) / np.sqrt(k)
        mean = after[:, : b + 1]
        reached = np.maximum(mean + np.sqrt(np.maximum(mean, 0)) * z[:, : b + 1], 0)
        stock = reached[:, :b]
        out["accounts"].append(stock)
        out["charged_off"].append(reached[:, b])
        if owed is not None:
            late = _positive(owed[:, 1:], z[:, b + 1 : 2 * b])
            due = np.concatenate([owed[:, :1], late], axis=1)
            out["due"].append(due / CENTS)
        if paid is not None:
            out["recovered"].append(_positive(paid, z[:, -1]) / CENTS)
    return {name: np.stack(values, axis=1) for name, values in out.items() if values}


def _positive(mean: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Sums of money of these means, whose standard deviation is the square root of the mean times that of ``z``.

    Lognormal, so never below 0; like those of a sum of many accounts' money, variances grow as the means do.
    """
    sd = z.std(axis=0)
    ratio = np.minimum(sd / np.sqrt(np.maximum(mean, 1)), MOST_RATIO)
    width = np.sqrt(np.log1p(ratio**2))
    factor = np.exp(width * z / np.where(sd > 0, sd, 1))
    return mean * factor / factor.mean(axis=0)
