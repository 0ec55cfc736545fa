"""What earlier forecasts said of this month, what happened, and how often they were right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from collectlab.core.errors import FrameError, NotAvailable
from collectlab.core.jackknife import check_level
from collectlab.core.results import Result
from collectlab.core.tables import format_value
from collectlab.policy.forecast.backtest import origins_of
from collectlab.policy.forecast.history import BUCKETS, History, history
from collectlab.policy.forecast.model import LAST_STEPS
from collectlab.policy.forecast.result import MEASURES, SEED, WORDS, forecast, in_words

PATHS = 1_000
AHEAD = (1, 3, 6)


@dataclass(frozen=True, kw_only=True)
class Record(Result):
    """``table``: measure, ahead, made (the month the forecast was made in), estimate, std_error, conf_low, conf_high,
    happened, inside (whether the interval holds it), forecasts (forecasts so far ahead over the last months) and held
    (how many of their intervals held what happened), unit. ``months`` has a row for each of them.
    """

    months: pd.DataFrame = field(default_factory=pd.DataFrame, repr=False)
    month: str = ""

    def display_table(self) -> pd.DataFrame:
        """The table as people read it, what happened in its own unit."""
        told = [format_value(v, u) for v, u in zip(self.table["happened"], self.table["unit"])]
        shown = replace(self, table=self.table.assign(happened=told))
        return in_words(Result.display_table(shown))

    def says(self) -> tuple[str, ...]:
        """In words: last month's forecasts that missed, and the record of those one month ahead."""
        rows = self.table[self.table["ahead"] == 1]
        missed = rows[~rows["inside"].astype(bool)]
        said = "Last month's intervals hold all that happened." if missed.empty else (
            f"Outside last month's interval: {'; '.join(_way(r) for r in missed.itertuples())}."
        )  # fmt: skip
        forecasts, held = int(rows["forecasts"].sum()), int(rows["held"].sum())
        return (
            said,
            f"One month ahead, {held} of the last {forecasts} intervals held what happened; at {self.conf_level:.0%} "
            f"about {self.conf_level * forecasts:.0f} would.".replace("%", " %"),
        )


def last_forecast(
    book: Any,
    *,
    ahead: Sequence[int] = AHEAD,
    record: int = 12,
    conf_level: float = 0.95,
    last: int = LAST_STEPS,
    buckets: Sequence[int] = BUCKETS,
    paths: int = PATHS,
    seed: int = SEED,
) -> Record:
    """What last month's forecast (and those further back) said of the last month, and what happened.

    Nothing is kept from run to run: the earlier forecasts are made again from what was known then, with the same
    seed, so they are the figures that the earlier reports held if the book's past has not been rewritten since.

    Parameters
    ----------
    book : Book, frame of snapshots or History
    ahead : sequence of int
        How many months earlier the forecasts were made.
    record : int
        Over how many months, up to the last, to count how often the intervals held what happened.
    conf_level, last, buckets, paths, seed
        As in :func:`~collectlab.policy.forecast.forecast`.

    Returns
    -------
    Record

    Raises
    ------
    NotAvailable
        A month ago fewer than six steps from one month to the next were known.
    FrameError
        ``ahead`` or ``record`` is out of range.

    Examples
    --------
    >>> from collectlab.book.open import open_book
    >>> from collectlab.book.simulate import simulate as simulated
    >>> book = open_book(simulated(accounts=300, months=14, problems=(), truth_accounts=0).book_tables, name="bank")
    >>> past = last_forecast(book, ahead=(1, 3))
    >>> past.month, past.table["made"].unique().tolist()
    ('2026-10', ['2026-09', '2026-07'])
    """
    check_level(conf_level)
    ahead = [ahead] if isinstance(ahead, (int, float)) else list(dict.fromkeys(ahead))
    if not ahead or any(
        isinstance(a, bool) or not isinstance(a, (int, np.integer)) or not 1 <= a <= 60 for a in ahead
    ):
        raise FrameError(f"ahead is {ahead!r}. Allowed: whole months from 1 to 60.")
    if isinstance(record, bool) or not isinstance(record, int) or not 1 <= record <= 120:
        raise FrameError(f"record is {record!r}. Allowed: whole months from 1 to 120.")
    counted = book if isinstance(book, History) else history(book, buckets=buckets)
    happened = counted.series()
    places = origins_of(counted, record + max(ahead) - 1)
    now = int(counted.months[-1])
    rows = []
    for place in places:
        made = forecast(
            counted.until(place), months=max(ahead), conf_level=conf_level, last=last, paths=paths, seed=seed
        )
        for row in made.at(ahead).itertuples(index=False):
            target = int(counted.months[place]) + row.ahead
            at = np.flatnonzero(counted.months == target)
            if not len(at) or now - target >= record:
                continue
            seen = float(happened[row.measure].iloc[at[0]])
            if np.isfinite(seen):
                inside = bool(row.conf_low <= seen <= row.conf_high)
                rows.append([row.measure, row.ahead, made.origin, row.month, row.estimate, row.std_error,
                             row.conf_low, row.conf_high, seen, inside, row.unit])  # fmt: skip
    columns = ["measure", "ahead", "made", "month", "estimate", "std_error", "conf_low", "conf_high", "happened",
               "inside", "unit"]  # fmt: skip
    months = pd.DataFrame(rows, columns=columns)
    this = str(happened["month"].iloc[-1])
    table = months[months["month"] == this].drop(columns="month")
    if not (table["ahead"] == 1).any():
        raise NotAvailable(
            f"no forecast of {this} could have been made a month before: too few months were known, or the month "
            "before has no snapshots."
            if 1 in ahead
            else f"no forecast of {this} could have been made so long before."
        )
    counts = months.groupby(["measure", "ahead"])["inside"].agg(forecasts="size", held="sum").reset_index()
    table = table.merge(counts, on=["measure", "ahead"], how="left")
    table = table.sort_values(
        ["measure", "ahead"], key=lambda c: c.map(list(MEASURES).index) if c.name == "measure" else c
    )
    return Record(
        table=table[[*[c for c in columns if c not in ("month", "unit")], "forecasts", "held", "unit"]],
        estimand=f"What was forecast for {this} one month and more before, from what was known then",
        unit="number",
        title=f"Earlier forecasts of {this}, and what happened",
        notes=(
            f"Held: how many of the intervals of forecasts so far ahead, over the last {record} months, held what happened.",
        ),
        formats={"ahead": "count", "estimate": "Forecast", "forecasts": "count", "held": "count"},
        conf_level=conf_level,
        months=months,
        month=this,
    )


def _way(row: Any) -> str:
    below = row.happened < row.conf_low
    return f"{WORDS[row.measure][:1].lower()}{WORDS[row.measure][1:]} ({'below' if below else 'above'})"
