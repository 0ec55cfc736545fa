"""The forecast: delinquency, charge-offs, amount overdue and money recovered over the next months."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from collectlab.core.columns import month_text
from collectlab.core.errors import FrameError
from collectlab.core.jackknife import check_level
from collectlab.core.plots import PALETTE, month_ticks, new_axes, titled, unit_axis
from collectlab.core.results import Result
from collectlab.policy.forecast.history import BUCKETS, History, history
from collectlab.policy.forecast.model import LAST_STEPS, Model, fit, simulate

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PATHS, SEED, MOST_MONTHS = 2_000, 20_261_031, 60
#: What is forecast, and its unit.
MEASURES = {
    "past_due": "share",
    "past_due_30": "share",
    "amount_overdue": "money",
    "recovered": "money",
    "charged_off": "count",
}
WORDS = {
    "past_due": "Share of open accounts past due",
    "past_due_30": "Share of open accounts 30 days or more past due",
    "amount_overdue": "Amount overdue",
    "recovered": "Money recovered in the month",
    "charged_off": "Accounts charged off in the month",
}


@dataclass(frozen=True, kw_only=True)
class Forecast(Result):
    """The next months.

    ``table``: measure, ahead (months from the last one known), month, estimate, std_error, conf_low, conf_high,
    unit. ``past`` holds what happened up to the last month known, as :meth:`History.series` has it; ``paths`` the
    simulated paths (paths, months) by measure, and ``buckets`` those of the accounts by bucket.
    """

    past: pd.DataFrame
    origin: str
    labels: tuple[str, ...] = ()
    paths: Mapping[str, np.ndarray] = field(default_factory=dict, repr=False, compare=False)
    buckets: np.ndarray = field(default_factory=lambda: np.zeros((0, 0, 0)), repr=False, compare=False)
    plottable = True

    @property
    def measures(self) -> tuple[str, ...]:
        """What this book allows to be forecast."""
        return tuple(self.paths)

    def at(self, ahead: int | Sequence[int]) -> pd.DataFrame:
        """The rows of so many months ahead; no further than was forecast."""
        asked = [ahead] if isinstance(ahead, (int, float)) else list(ahead)
        most = int(self.table["ahead"].max())
        if odd := [a for a in asked if a not in range(1, most + 1)]:
            raise FrameError(f"ahead is {odd[0]!r}. Allowed: whole months from 1 to {most}.")
        return self.table[self.table["ahead"].isin(asked)].reset_index(drop=True)

    def level(self, conf_level: float) -> Forecast:
        """The same forecast with prediction intervals of another level."""
        check_level(conf_level)
        return replace(self, table=_table(self.paths, self.origin, conf_level), conf_level=conf_level)

    def display_table(self) -> pd.DataFrame:
        """The table as people read it."""
        return in_words(super().display_table())

    def by_bucket(self, ahead: Sequence[int] = (1, 3, 6, 12)) -> Result:
        """Accounts by bucket so many months ahead, those beyond the forecast left out."""
        rows = []
        for a in ahead:
            if a > self.buckets.shape[1]:
                continue
            for i, label in enumerate(self.labels):
                rows.append(
                    [a, _later(self.origin, a), label, *_spread(self.buckets[:, a - 1, i], self.conf_level)]
                )
        columns = ["ahead", "month", "days_past_due", "estimate", "std_error", "conf_low", "conf_high"]
        return Result(
            table=pd.DataFrame(rows, columns=columns),
            estimand="Open accounts by days past due at the end of the month",
            unit="count",
            title="Accounts by days past due, forecast",
            formats={"ahead": "count", "estimate": "Accounts expected"},
            conf_level=self.conf_level,
        )

    def plot(self, ax: Axes | None = None, *, measure: str = "past_due") -> Axes:
        """What happened, what is forecast, and intervals of 80 % and of ``conf_level``."""
        if measure not in self.paths:
            raise FrameError(f"no measure {measure!r}. Allowed: {', '.join(self.paths)}.")
        ax = new_axes(ax)
        past, paths = self.past.tail(24), self.paths[measure]
        n, ahead = len(past), paths.shape[1]
        now = past[measure].to_numpy(float)
        ax.plot(range(n), now, color="#444444", linewidth=1.7, marker="o", markersize=3, label="happened")
        x = np.arange(n - 1, n + ahead)
        found = {level: np.array([_spread(p, level) for p in paths.T]) for level in (self.conf_level, 0.8)}
        for shade, (level, spread) in zip((0.13, 0.22), found.items()):
            low, high = (np.concatenate([now[-1:], spread[:, i]]) for i in (2, 3))
            label = f"{level:.0%} interval".replace("%", " %")
            ax.fill_between(x, low, high, color=PALETTE[0], alpha=shade, linewidth=0, label=label)
        mean = np.concatenate([now[-1:], found[self.conf_level][:, 0]])
        ax.plot(x, mean, "--", color=PALETTE[0], linewidth=1.7, label="forecast")
        months = [*past["month"], *(_later(self.origin, a + 1) for a in range(ahead))]
        ax.set_ylim(bottom=0)
        month_ticks(ax, months)
        unit_axis(ax, MEASURES[measure], "y")
        ax.legend(frameon=False, fontsize=8.5, loc="lower left")
        return titled(ax, f"{WORDS[measure]}: the next {ahead} months")


def forecast(
    book: Any,
    *,
    months: int = 12,
    conf_level: float = 0.95,
    last: int = LAST_STEPS,
    buckets: Sequence[int] = BUCKETS,
    paths: int = PATHS,
    seed: int = SEED,
) -> Forecast:
    r"""Delinquency and money recovered over the next months, if accounts go on as in the last ones.

    With :math:`n_m` the open accounts by bucket at the end of month m, P the roll rates over the last months (their
    last columns charge-off and other exits) and e the accounts a month brings,

    .. math:: E[n_{m+1}] = n_m P_{s(m+1)} + e, \qquad
              E[a_{m+1}] = a_m G_{s(m+1)} + n_{m,0} g + e_a, \qquad
              E[r_{m+1}] = \sum_b n_{m,b} \, \rho_b \, e^{\text{season}},

    a being the amount overdue by bucket with its own rates G (weighted by amount), g what a current account brings
    newly overdue, :math:`\rho_b` the money paid in the next month by an account of bucket b. Falling behind, coming
    back and paying have month-of-year effects where two years are known, shrunk towards none.

    Rates count a month half as much for every three months that it lies further back.

    Prediction intervals are quantiles of simulated paths. Each path has rates of its own: the months are weighted
    anew (a Bayesian bootstrap of whole months), and falling behind, coming back, rolling on and paying wander from
    month to month as much as they were seen to (:func:`~collectlab.policy.forecast.season.wander`). Each month of a
    path has noise drawn from how far the whole months of the past were from what the rates around them say, all
    buckets, amounts and money together (Student's t with their covariance), so that it is as much larger than that of
    independent accounts as it was seen to be.

    Parameters
    ----------
    book : Book, frame of snapshots or History
        A book cut at a date (``book.until``) is forecast from that date. A frame has no payments. A
        :class:`History` is not counted again.
    months : int
        How many months ahead, 1 to 60.
    conf_level : float
        Level of the prediction intervals.
    last : int
        How many of the last steps from month to month the rates rest on; at least 6. Seasons use all.
    buckets : sequence of int
        Rising lower bounds in days past due; not used with a History.
    paths : int
        Number of simulated paths, 200 to 100,000.
    seed : int
        The same seed gives the same forecast.

    Returns
    -------
    Forecast
        ``past_due``, ``past_due_30`` (shares of open accounts at the end of the month), ``charged_off`` (accounts in
        the month, where any was), ``amount_overdue`` (open accounts, money) and ``recovered`` (money paid in the
        month by accounts past due at the end of the month before). ``estimate`` is the mean of the paths.

    Raises
    ------
    NotAvailable
        Fewer than six steps from one month to the next.
    FrameError
        ``months``, ``last`` or ``paths`` is out of range; a column is missing or of the wrong type.

    Source: Cyert, Davidson & Thompson (1962), Management Science 8(3), 287–303, for the roll-forward; Rubin (1981),
    Annals of Statistics 9, 130–134, for the Bayesian bootstrap; Hyndman & Athanasopoulos (2021), Forecasting:
    Principles and Practice, 3rd ed., ch. 5, for prediction intervals from paths.

    Examples
    --------
    >>> from collectlab.book.open import open_book
    >>> from collectlab.book.simulate import simulate as simulated
    >>> book = open_book(simulated(accounts=300, months=14, problems=(), truth_accounts=0).book_tables, name="bank")
    >>> ahead = forecast(book, months=3)
    >>> ahead.origin, ahead.measures
    ('2026-10', ('past_due', 'past_due_30', 'amount_overdue', 'recovered', 'charged_off'))
    >>> ahead.at(3)["month"].unique().tolist()
    ['2027-01']
    """
    check_level(conf_level)
    faults = [
        f"{name} is {value!r}. Allowed: whole numbers from {low} to {high:,}."
        for name, value, low, high in (
            ("months", months, 1, MOST_MONTHS), ("last", last, 6, 600), ("paths", paths, 200, 100_000),
        )
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or not low <= value <= high
    ]  # fmt: skip
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or seed < 0:
        faults.append(f"seed is {seed!r}. Allowed: a whole number ≥ 0.")
    if faults:
        raise FrameError(faults)
    counted = book if isinstance(book, History) else history(book, buckets=buckets)
    model = fit(counted, last)
    origin = str(month_text(int(counted.months[-1])))
    drawn = simulate(model, months, paths, np.random.default_rng([seed, int(counted.months[-1])]))
    found = _measures(counted, drawn)
    return Forecast(
        table=_table(found, origin, conf_level),
        estimand=f"What the next months bring if accounts go on as in the {len(model.used)} months to {origin}",
        unit="number",
        title=f"Forecast from {origin}",
        notes=_notes(model),
        formats={"ahead": "count", "estimate": "Forecast"},
        conf_level=conf_level,
        past=counted.series(),
        origin=origin,
        labels=tuple(counted.labels),
        paths=found,
        buckets=drawn["accounts"],
    )


def in_words(shown: pd.DataFrame) -> pd.DataFrame:
    """A table for people with the measures' full names."""
    names = {key.replace("_", " "): words for key, words in WORDS.items()}
    return shown.assign(Measure=[names.get(v, v) for v in shown["Measure"]]) if "Measure" in shown else shown


def _measures(counted: History, drawn: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The paths (paths, months) of each measure, in the order of MEASURES."""
    accounts = drawn["accounts"]
    whole = np.maximum(accounts.sum(axis=2), 1)
    late30 = [i for i, low in enumerate(counted.bounds) if low >= 30]
    out = {"past_due": accounts[:, :, 1:].sum(axis=2) / whole}
    if late30:
        out["past_due_30"] = accounts[:, :, late30].sum(axis=2) / whole
    if "due" in drawn:
        out["amount_overdue"] = drawn["due"][:, :, 1:].sum(axis=2)
    if "recovered" in drawn:
        out["recovered"] = drawn["recovered"]
    if counted.moves[:, :, len(counted.bounds)].any():
        out["charged_off"] = drawn["charged_off"]
    return out


def _table(paths: Mapping[str, np.ndarray], origin: str, conf_level: float) -> pd.DataFrame:
    rows = [
        [name, ahead + 1, _later(origin, ahead + 1), *_spread(values, conf_level), MEASURES[name]]
        for name, by_month in paths.items()
        for ahead, values in enumerate(by_month.T)
    ]
    columns = ["measure", "ahead", "month", "estimate", "std_error", "conf_low", "conf_high", "unit"]
    return pd.DataFrame(rows, columns=columns)


def _spread(values: np.ndarray, conf_level: float) -> tuple[float, float, float, float]:
    tail = (1 - conf_level) / 2
    low, high = np.quantile(values, [tail, 1 - tail])
    return float(values.mean()), float(values.std(ddof=1)), float(low), float(high)


def _later(origin: str, ahead: int) -> str:
    return str(month_text(int(origin[:4]) * 12 + int(origin[5:]) - 1 + ahead))


def _notes(model: Model) -> tuple[str, ...]:
    h = model.history
    notes = [
        f"Rests on {len(model.used)} steps from month to month. The intervals hold what those months show: their "
        "noise and the uncertainty of their rates, not a change of policy or of the times that they have not seen."
    ]
    if h.gaps:
        few = f"{', '.join(h.gaps[:3])}{', …' if len(h.gaps) > 3 else ''}"
        notes.append(f"Months without snapshots are no steps: {few}.")
    if not model.seasons:
        notes.append("No seasons: they need each month of the year at least twice.")
    else:
        of = {"fall": "falling behind", "back": "coming back", "on": "rolling on", "pay": "paying"}
        told = [
            f"{of[n]} (about ±{100 * s.strength:.0f} %)"
            for n, s in model.seasons.items()
            if s.strength > 0.005
        ]
        notes.append(
            f"Month-of-year effects, shrunk towards none: {', '.join(told)}."
            if told
            else "No month-of-year effect stands out from the months' own noise, so none is used."
        )
    if h.paid is None:
        notes.append("The book has no payments of accounts past due, so money recovered is left out.")
    elif not model.paid_used.any():
        notes.append("Payments are known of too few months, so money recovered is left out.")
    if h.due is None:
        notes.append("The book has no amounts past due, so the amount overdue is left out.")
    return tuple(notes)
