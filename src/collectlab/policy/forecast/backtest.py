"""Forecasts made at each past month from what was known then, against what happened and against simpler rivals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from collectlab.core.errors import FrameError, NotAvailable, first_few
from collectlab.core.plots import PALETTE, legend, new_axes, titled
from collectlab.core.results import Result
from collectlab.policy.forecast.history import BUCKETS, History, history
from collectlab.policy.forecast.model import LAST_STEPS, MIN_STEPS
from collectlab.policy.forecast.result import MEASURES, MOST_MONTHS, SEED, WORDS, forecast, in_words
from collectlab.policy.forecast.rivals import RIVALS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

OWN = "roll-forward"
#: Steps that must be known at the first origin.
FIRST_STEPS = 11
PATHS = 600


@dataclass(frozen=True, kw_only=True)
class Backtest(Result):
    """How far forecasts were off.

    ``table``: measure, ahead, method, forecasts (how many), estimate (mean absolute error), rmse, bias (mean of
    forecast − happened), scaled (mean absolute error ÷ mean absolute
    month-to-month change up to the origin), of_naive (mean absolute error ÷ naive's), inside_80 and inside_95 (share
    of what happened inside the roll-forward's intervals), unit. ``errors`` has a row for each forecast: measure, origin, month, ahead, method,
    forecast, happened, scale, and the ends of the roll-forward's intervals.
    """

    errors: pd.DataFrame = field(default_factory=pd.DataFrame, repr=False)
    plottable = True

    def display_table(self) -> pd.DataFrame:
        """The table as people read it."""
        return in_words(super().display_table())

    def short(self) -> Backtest:
        """A row for each measure and horizon: the roll-forward's error, and every method's ÷ naive's."""
        own = self.table[self.table["method"] == OWN].set_index(["measure", "ahead"])
        wide = self.table.pivot_table(
            index=["measure", "ahead"], columns="method", values="of_naive", sort=False
        )
        wide = wide.reindex(columns=[OWN, *(name for name in RIVALS if name != "naive")], index=own.index)
        wide.columns = [str(c).replace(" ", "_").replace("-", "_") for c in wide.columns]
        kept = own[["forecasts", "estimate", "inside_80", "inside_95", "unit"]]
        table = pd.concat(
            [kept[["forecasts", "estimate"]], wide, kept[["inside_80", "inside_95", "unit"]]], axis=1
        )
        told = (
            "A method's column is its mean absolute error ÷ that of the last value (naive): below 1 is nearer. Inside: "
            "how often the roll-forward's intervals of 80 % and 95 % held what happened. Errors of neighbouring months "
            "hang together, so small differences mean little."
        )
        said = tuple(self.says(measure) for measure in dict.fromkeys(self.table["measure"]))
        formats = {c: "ratio" for c in wide.columns} | {
            "ahead": "count", "forecasts": "count", "estimate": "Mean absolute error", "inside_80": "share",
            "inside_95": "share",
        }  # fmt: skip
        return replace(self, table=table.reset_index(), notes=(*said, told), formats=formats)

    def says(self, measure: str) -> str:
        """In a sentence, how far ahead the roll-forward is nearer than the naive forecast, and where it is not."""
        rows = self.table[(self.table["measure"] == measure) & (self.table["method"] == OWN)]
        ratio = rows.set_index("ahead")["of_naive"].dropna()
        better, worse = (list(ratio.index[at]) for at in (ratio < 1, ratio >= 1))
        name = WORDS[measure]
        if not worse:
            return f"{name}: the roll-forward was nearer than the last value {_ahead(better)}."
        if not better:
            return f"{name}: the last value (naive) was as near or nearer {_ahead(worse)}."
        return (
            f"{name}: the roll-forward was nearer {_ahead(better)}; the last value (naive) was as near or nearer "
            f"{_ahead(worse)}."
        )

    def plot(self, ax: Axes | None = None, *, measure: str = "past_due") -> Axes:
        """Mean absolute error by months ahead, a line for each method."""
        table = _summary(self.errors)
        rows = table[table["measure"] == measure]
        if rows.empty:
            raise FrameError(
                f"no measure {measure!r}. Allowed: {first_few(list(dict.fromkeys(table['measure'])))}."
            )
        ax = new_axes(ax)
        for i, (method, part) in enumerate(rows.groupby("method", sort=False)):
            shown = {"color": PALETTE[i], "linewidth": 2.2 if method == OWN else 1.3, "marker": "osD^v"[i]}
            ax.plot(part["ahead"], part["of_naive"], markersize=4, label=str(method), **shown)
        ax.axhline(1, color="#444444", linewidth=0.8)
        ax.set_ylim(bottom=0)
        ax.set_xlabel("Months ahead")
        ax.set_ylabel("Mean absolute error ÷ naive's")
        legend(ax, outside=True)
        return titled(ax, f"Backtest: {WORDS[measure][:1].lower()}{WORDS[measure][1:]}")


def backtest(
    book: Any,
    *,
    months: int = 12,
    origins: int = 12,
    measures: Sequence[str] = tuple(MEASURES),
    at: Sequence[int] | None = None,
    last: int = LAST_STEPS,
    buckets: Sequence[int] = BUCKETS,
    paths: int = PATHS,
    seed: int = SEED,
) -> Backtest:
    r"""Forecast from each of the last months with what was known then, and compare with what happened.

    With :math:`e_{o,h}` the error of the forecast made at origin o for h months ahead,

    .. math:: \text{MAE}_h = \operatorname{mean}_o |e_{o,h}|, \quad
              \text{RMSE}_h = \sqrt{\operatorname{mean}_o e_{o,h}^2}, \quad
              \text{scaled}_h = \operatorname{mean}_o \frac{|e_{o,h}|}{\operatorname{mean}_{m \le o} |y_m - y_{m-1}|} .

    Rivals: the last value (naive), the value of the same month a year before (seasonal naive), the line from first
    to last (drift), and statsmodels' exponential smoothing with a damped trend. A method that cannot forecast yet at
    some origin has no error there, and is left out at that horizon of all methods' comparison with naive.

    Parameters
    ----------
    book : Book, frame of snapshots or History
        Each origin's forecast sees its snapshots and payments up to that month only.
    months : int
        Longest horizon.
    origins : int
        How many of the months before the last are origins, as far as eleven steps were known then.
    measures : sequence of str
        Of ``past_due, past_due_30, amount_overdue, recovered, charged_off``; those the book lacks are left out.
    at : sequence of int, optional
        Horizons to show; all by default.
    last, buckets, paths, seed
        As in :func:`~collectlab.policy.forecast.forecast`.

    Returns
    -------
    Backtest

    Raises
    ------
    NotAvailable
        No month before the last had eleven steps behind it.
    FrameError
        A measure is unknown, or a number is out of range.

    Source: Tashman (2000), International Journal of Forecasting 16, 437–450, for rolling origins; Hyndman & Koehler
    (2006), International Journal of Forecasting 22, 679–688, for the scaled error.

    Examples
    --------
    >>> from collectlab.book.open import open_book
    >>> from collectlab.book.simulate import simulate as simulated
    >>> book = open_book(simulated(accounts=300, months=16, problems=(), truth_accounts=0).book_tables, name="bank")
    >>> test = backtest(book, months=2, measures=("past_due",))
    >>> test.table[["ahead", "method", "forecasts"]].head(3).values.tolist()
    [[1, 'roll-forward', 4], [1, 'naive', 4], [1, 'seasonal naive', 4]]
    """
    measures = [measures] if isinstance(measures, str) else list(measures)
    at = [at] if isinstance(at, (int, float)) else at
    faults = []
    if not measures or (unknown := [m for m in measures if m not in MEASURES]):
        faults.append(
            f"measures holds {first_few(unknown) if measures else 'none'}. Allowed: {', '.join(MEASURES)}."
        )
    for name, value, most in (("origins", origins, 600), ("months", months, MOST_MONTHS)):
        whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
        if not whole or not 1 <= value <= most:
            faults.append(f"{name} is {value!r}. Allowed: whole months from 1 to {most}.")
    if not faults and at is not None and (odd := [h for h in at if h not in range(1, months + 1)]):
        faults.append(f"at holds {first_few(odd)}. Allowed: whole months from 1 to {months}.")
    if faults:
        raise FrameError(faults)
    counted = book if isinstance(book, History) else history(book, buckets=buckets)
    places = origins_of(counted, origins, FIRST_STEPS)
    if not places:
        raise NotAvailable(
            f"a backtest needs {FIRST_STEPS + 2} months in a row or so, of which the last is held back; this book has "
            f"{len(counted.months)}."
        )
    rows = []
    for place in places:
        rows += _errors(counted, place, months, measures, last, paths, seed)
    errors = pd.DataFrame(
        rows,
        columns=["measure", "origin", "month", "ahead", "method", "forecast", "happened", "scale",
                 "low_80", "high_80", "low_95", "high_95"],
    )  # fmt: skip
    table = _summary(errors)
    if at is not None:
        table = table[table["ahead"].isin(list(at))]
    return Backtest(
        table=table,
        estimand="Mean absolute error of forecasts made at past months from what was known then",
        unit="number",
        title=f"Backtest from {len(places)} past months",
        notes=(
            "Scaled: mean absolute error ÷ the mean change from month to month known at the time; of naive: ÷ the "
            "error of the last value. Errors of neighbouring months hang together, so small differences mean little.",
        ),
        formats={
            "ahead": "count", "forecasts": "count", "estimate": "Mean absolute error", "rmse": "hidden", "bias": "hidden",
            "scaled": "ratio", "of_naive": "ratio", "inside_80": "share", "inside_95": "share",
        },
        errors=errors,
    )  # fmt: skip


def origins_of(counted: History, most: int, steps: int = MIN_STEPS) -> list[int]:
    """Positions of the last months, but the very last, that had ``steps`` steps behind them."""
    known = [int((counted.steps < place).sum()) for place in range(len(counted.months) - 1)]
    return [place for place, n in enumerate(known) if n >= steps][-most:]


def _errors(
    counted: History, place: int, months: int, measures: Sequence[str], last: int, paths: int, seed: int
) -> list[list[Any]]:
    """A row for each measure, month ahead and method of the forecasts made at one month."""
    ahead = counted.months[place + 1 :] - counted.months[place]
    ahead = ahead[ahead <= months]
    happened = counted.series().iloc[place + 1 : place + 1 + len(ahead)]
    known = counted.until(place)
    made = forecast(known, months=months, last=last, paths=paths, seed=seed)
    before = known.series()
    rows: list[list[Any]] = []
    for measure in measures:
        if measure not in made.paths:
            continue
        own = made.paths[measure]
        values = before[measure].to_numpy(float)
        # From the last missing month on: what the rivals can use.
        gap = np.flatnonzero(~np.isfinite(values))
        values = values[gap[-1] + 1 if len(gap) else 0 :]
        if len(values) < 2:
            continue
        scale = float(np.abs(np.diff(values)).mean())
        ends = np.quantile(own, [0.1, 0.9, 0.025, 0.975], axis=0)
        means = {OWN: own.mean(axis=0)} | {name: make(values, months) for name, make in RIVALS.items()}
        for h, month, seen in zip(ahead, happened["month"], happened[measure]):
            if np.isfinite(seen):
                rows += [
                    [measure, made.origin, month, int(h), name, float(mean[h - 1]), float(seen), scale,
                     *(float(e) if name == OWN else np.nan for e in ends[:, h - 1])]
                    for name, mean in means.items()
                ]  # fmt: skip
    return rows


def _summary(errors: pd.DataFrame) -> pd.DataFrame:
    """One row a measure, horizon and method."""
    rows = []
    for (measure, ahead), cell in errors.groupby(["measure", "ahead"], sort=False):
        plain = cell[cell["method"] == "naive"].set_index("origin")
        for method, part in cell.groupby("method", sort=False):
            part = part[np.isfinite(part["forecast"])]
            if part.empty:
                continue
            error = part["forecast"] - part["happened"]
            same = plain.loc[part["origin"]]
            of = float((same["forecast"] - same["happened"]).abs().mean())
            own = method == OWN
            inside = [
                float(part["happened"].between(part[f"low_{c}"], part[f"high_{c}"]).mean()) if own else np.nan
                for c in (80, 95)
            ]
            scaled = error.abs() / part["scale"].where(part["scale"] > 0)
            rows.append(
                [measure, ahead, method, len(part), float(error.abs().mean()), float(np.sqrt((error**2).mean())),
                 float(error.mean()), float(scaled.mean()), float(error.abs().mean()) / of if of > 0 else np.nan,
                 *inside, MEASURES[str(measure)]]
            )  # fmt: skip
    columns = ["measure", "ahead", "method", "forecasts", "estimate", "rmse", "bias", "scaled", "of_naive", "inside_80",
               "inside_95", "unit"]  # fmt: skip
    table = pd.DataFrame(rows, columns=columns)
    order = {m: i for i, m in enumerate(MEASURES)}
    return table.sort_values(
        ["measure", "ahead"], key=lambda c: c.map(order) if c.name == "measure" else c, kind="stable"
    ).reset_index(drop=True)


def _ahead(horizons: list[int]) -> str:
    words = [str(h) for h in horizons]
    listed = words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
    return f"{listed} month{'' if horizons == [1] else 's'} ahead"
