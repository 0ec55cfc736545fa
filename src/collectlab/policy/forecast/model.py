"""Paths of the next months: roll rates of whole months, drawn anew for each path, and each month's own noise."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from collectlab.core.errors import NotAvailable
from collectlab.measures.snapshots import CENTS
from collectlab.policy.forecast.history import History
from collectlab.policy.forecast.season import Season, odds_times, seasons

#: Steps from month to month that a forecast needs at least, and how many of the last it rests on.
MIN_STEPS, LAST_STEPS = 6, 24
#: Months over which the roll rates' deviations may hang together.
HANG = 3
#: Months after which a month counts half.
HALF_LIFE = 4.0
#: A month's money is never taken to differ from what was expected by more than this factor.
FACTOR = 20.0


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
        Month-of-year effects of falling behind, of coming back and of paying; empty below two years.
    noise : float array (k, F)
        How far each month was from expected: buckets, charge-offs, amounts by bucket, money.
    """

    history: History
    used: np.ndarray
    entries: np.ndarray
    due_entries: np.ndarray | None
    paid_used: np.ndarray
    seasons: dict[str, Season] = field(default_factory=dict)
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


def fit(history: History, last: int = LAST_STEPS) -> Model:
    """The model of a history's last ``last`` steps from month to month."""
    steps = history.steps
    if len(steps) < MIN_STEPS:
        n = len(history.months)
        known = "one month" if n == 1 else f"{n} months, {len(steps)} of them followed by the next"
        raise NotAvailable(f"this book has {known}; a forecast needs {MIN_STEPS} steps from one month to the next.")
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
    model = Model(history, used, entries, due_entries, paid_used)
    found = seasons(history, paid_used)
    model = Model(history, used, entries, due_entries, paid_used, found)
    return Model(history, used, entries, due_entries, paid_used, found, _noise(model))


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

    ``tilt`` holds the season's effects by path: on the log-odds of falling behind and of coming back, and on the
    log of the money paid.
    """
    b = stock.shape[1]
    move, brought = r.move, r.due
    if tilt:
        move, brought = move.copy(), None if brought is None else brought.copy()
        fell = 1 - move[:, 0, 0] - move[:, 0, b:].sum(axis=1)
        times = odds_times(fell, tilt["fall"])
        move[:, 0, 1:b] *= times[:, None]
        move[:, 0, 0] += fell * (1 - times)
        back = move[:, 1:, 0]
        new = back * odds_times(back, tilt["back"][:, None])
        move[:, 1:, 1:] *= np.where(back < 1, (1 - new) / np.where(back < 1, 1 - back, 1), 1)[:, :, None]
        if brought is not None:
            brought[:, 0] *= times[:, None]
            brought[:, 1:] *= np.where(back < 1, (1 - new) / np.where(back < 1, 1 - back, 1), 1)[:, :, None]
        move[:, 1:, 0] = new
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


def _tilt(model: Model, month: int, draws: dict[str, np.ndarray] | None = None, paths: int = 1):
    """The season's effects on the flows into ``month``, for each path."""
    if not model.seasons:
        return {}
    of_year = month % 12
    return {
        name: np.full(paths, s.effect[of_year]) if draws is None else draws[name][:, of_year]
        for name, s in model.seasons.items()
    }


def _noise(model: Model) -> np.ndarray:
    """How far each used month was from what all used months' rates say, made comparable across sizes."""
    h, used = model.history, model.used
    k, b = len(used), len(h.bounds)
    pooled = rates(model, model.recency[None])
    rows = []
    for j, m in enumerate(used):
        due = None if h.due is None else h.due[m][None].astype(float)
        stock = h.stock[m][None].astype(float)
        after, owed, paid = expected(pooled, stock, due, _tilt(model, int(h.months[m]) + 1))
        seen = np.append(h.stock[m + 1], h.moves[m][:, b].sum())
        row = [(seen - after[0, : b + 1]) / np.sqrt(np.maximum(after[0, : b + 1], 1))]
        if owed is not None and h.due is not None:
            row.append(_log_ratio(h.due[m + 1][1:], owed[0, 1:]))
        if paid is not None and h.paid is not None:
            ratio = _log_ratio(h.paid[m][1:].sum(keepdims=True), paid)
            row.append(ratio if model.paid_used[j] else np.zeros(1))
        rows.append(np.concatenate(row))
    # The rates were counted on these very months, so they lie closer to them than to the next.
    return np.array(rows) * np.sqrt(k / (k - 1))


def _log_ratio(seen: np.ndarray, mean: np.ndarray) -> np.ndarray:
    small = 1.0  # a cent
    return np.clip(np.log((seen + small) / (mean + small)), -np.log(FACTOR), np.log(FACTOR))


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
    # Weights of the months whose correlation falls off over HANG months (a Bayesian bootstrap of blocks): what the
    # rates' uncertainty must be where good months follow good months. Mean 1, variance 1.
    parts = rng.gamma(1 / HANG, size=(paths, k + HANG - 1))
    weights = np.asarray(sum(parts[:, i : i + k] for i in range(HANG))) + 1e-9
    r = rates(model, weights * model.recency)
    drawn = {name: s.draw(paths, rng) for name, s in model.seasons.items()}
    stock = np.broadcast_to(h.stock[-1].astype(float), (paths, b))
    due = None if r.due is None or h.due is None else np.broadcast_to(h.due[-1].astype(float), (paths, b))
    spread = np.sqrt((k - 1) / rng.chisquare(k - 1, size=(paths, 1)))  # their size is not known either: Student's t
    out: dict[str, list[np.ndarray]] = {"accounts": [], "charged_off": [], "due": [], "recovered": []}
    for step in range(1, months + 1):
        tilt = _tilt(model, int(h.months[-1]) + step, drawn, paths)
        after, owed, paid = expected(r, stock, due, tilt)
        z = spread * (rng.standard_normal((paths, k)) @ model.noise) / np.sqrt(k)
        mean = after[:, : b + 1]
        reached = np.maximum(mean + np.sqrt(np.maximum(mean, 0)) * z[:, : b + 1], 0)
        stock = reached[:, :b]
        out["accounts"].append(stock)
        out["charged_off"].append(reached[:, b])
        if owed is not None:
            late = owed[:, 1:] * _mean_one(z[:, b + 1 : 2 * b])
            due = np.concatenate([owed[:, :1], late], axis=1)
            out["due"].append(due / CENTS)
        if paid is not None:
            out["recovered"].append(paid * _mean_one(z[:, -1:])[:, 0] / CENTS)
    return {name: np.stack(values, axis=1) for name, values in out.items() if values}


def _mean_one(z: np.ndarray) -> np.ndarray:
    """Factors with these logs, of mean 1: what was expected was counted as a mean, not as a median."""
    factors = np.exp(np.clip(z, -np.log(FACTOR), np.log(FACTOR)))
    return factors / factors.mean(axis=0)
