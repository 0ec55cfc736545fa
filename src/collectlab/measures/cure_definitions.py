"""Definitions of cure side by side, on the same accounts: cured, re-defaulted after it, and cured for good."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import narwhals as nw
import numpy as np
import pandas as pd

from collectlab.book.open import Book
from collectlab.core.engine import require, scan
from collectlab.core.errors import FrameError, first_few
from collectlab.core.jackknife import INTERVAL
from collectlab.core.tables import format_value
from collectlab.measures.cure_after import followed_up, redefaulted
from collectlab.measures.cure_rates import CureRates, listed, rates_within, whole_horizons
from collectlab.measures.survival_counting import NothingToCount, count_cells

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True, kw_only=True, repr=False)
class DefinitionsCompared(CureRates):
    """A row a definition and measure; shown with one line a definition, sustained cure first."""

    def display_table(self) -> pd.DataFrame:
        """One line a definition; each measure with its interval."""
        shown = []
        for name, rows in self.table.groupby("definition", sort=False):
            line = {"Definition": str(name), "Episodes": format_value(int(rows["at_risk"].max()), "count")}
            for row in rows.itertuples(index=False):
                head = row.measure.partition(":")[0] if row.measure.startswith("sustained") else row.measure
                text = format_value(row.estimate, "share")
                if row.conf_low == row.conf_low and row.conf_high == row.conf_high:
                    text += (
                        f" ({format_value(row.conf_low, 'share')} to {format_value(row.conf_high, 'share')})"
                    )
                line[head[:1].upper() + head[1:]] = text
            shown.append(line)
        return pd.DataFrame(shown, dtype=object)

    def plot(self, ax: Axes | None = None, *, max_groups: int = 20) -> Axes:
        """Draw sustained cure, cure and re-default within the longest horizons; return the Axes."""
        from collectlab.measures.cure_plots import draw_rates

        kind = self.table["measure"].str.split().str[0]
        last = [rows["measure"].iloc[-1] for _, rows in self.table.groupby(kind, sort=False)]
        table = self.table[self.table["measure"].isin(last)]
        return draw_rates(CureRates(**{**self.__dict__, "table": table}), ax, max_groups)


def definitions_compared(
    book: Any,
    *,
    horizon: int | Sequence[int] = (90, 180),
    redefault_horizon: int | Sequence[int] = (90, 180),
    definitions: Sequence[str] = ("current_once", "current_one_cycle", "eba_three_months"),
    conf_level: float = 0.95,
    cluster: str | None = None,
) -> DefinitionsCompared:
    """The same accounts under several definitions of cure: cured for good, cured, re-defaulted after it.

    Three figures for each definition, with h = ``horizon`` and r = ``redefault_horizon``, the first the headline:

    - *sustained*: P(cured within h days of day 0, and no new episode within r days of that cure), r the longest;
    - *cured*: P(cured within h days of day 0), as :func:`cure_rate`;
    - *re-defaulted*: P(new episode within r days of the cure | cured), as :func:`redefault`, over all cures.

    The first is estimated as one event among competing ones on one clock, days since day 0: the verdict
    "sustained" falls r days after the cure (or when a cured account leaves the book, if earlier); "not
    sustained" on the day of the re-default, of charge-off, settlement or sale, or on day h if not cured by
    then; an account last seen before its verdict is censored. Aalen–Johansen on that clock needs only that
    censoring does not depend on the verdict. The product cured × (1 − re-defaulted) would in addition need
    the time to re-default not to depend on the time to cure, and censoring after cure depends on the latter.

    Parameters
    ----------
    book : Book
    horizon, redefault_horizon : int or sequence of int
        h and r, whole days ≥ 1; one or several of each.
    definitions : sequence of str
        Names of definitions. A definition with a probation counts the cure from the end of the probation, so
        that nobody can be cured before it is over; a relapse within it does not end the episode.
    conf_level, cluster
        As in :func:`cure_rate`.

    Returns
    -------
    DefinitionsCompared
        ``table``: definition, measure, at_risk, events, estimate, std_error, conf_low, conf_high; shown with
        one line a definition. Missing, with a note, where the follow-up is too short.

    References
    ----------
    Lin, Sun and Ying (1999), Biometrika 86 (why times after a first event are censored dependently).

    Examples
    --------
    >>> import pandas as pd
    >>> from collectlab.book.open import open_book
    >>> book = open_book({
    ...     "accounts": pd.DataFrame({"account_id": ["a", "b"]}),
    ...     "snapshots": pd.DataFrame({
    ...         "account_id": ["a"] * 4 + ["b"] * 4,
    ...         "as_of": ["2026-01-31", "2026-02-28", "2026-03-31", "2026-04-30"] * 2,
    ...         "days_past_due": [0, 9, 0, 0, 0, 12, 40, 71]})})
    >>> both = definitions_compared(book, horizon=60, redefault_horizon=30, definitions=["current_once"])
    >>> both.table["estimate"].tolist()  # sustained, cured, re-defaulted
    [0.5, 0.5, 0.0]
    """
    if not isinstance(book, Book):
        raise FrameError(f"a {type(book).__name__} is no book. Allowed: what open_book returns.")
    within = whole_horizons([horizon] if np.ndim(horizon) == 0 else horizon)
    after = whole_horizons([redefault_horizon] if np.ndim(redefault_horizon) == 0 else redefault_horizon)
    within, after, r = sorted(within), sorted(after), max(after)
    names = [definitions] if isinstance(definitions, str) else list(dict.fromkeys(definitions))
    if not names:
        raise FrameError("definitions is empty. Allowed: one name or several.")
    tables, notes, never = [], [], []
    for name in names:
        episodes = _keep(followed_up(book.episodes(definition=name), book), cluster)
        for measure, compute in {
            f"sustained within {{h:,}} days: no re-default in {r:,} days of the cure": lambda e: [
                _sustained(e, h, r, conf_level, cluster) for h in within
            ],
            "cured within {h:,} days": lambda e: [_cured(e, within, conf_level, cluster)],
            "re-defaulted within {h:,} days of cure": lambda e: [
                redefaulted(e, after, None, conf_level, cluster, True)
            ],
        }.items():
            days = after if measure.startswith("re-") else within
            labels = [measure.format(h=h) for h in days]
            try:
                found = compute(episodes)
            except NothingToCount as error:
                notes.append(f"{name}, {measure.split()[0]}: {error}")
                rows = pd.DataFrame([dict(at_risk=0, events=0) | dict.fromkeys(INTERVAL, np.nan)] * len(days))
            else:
                rows = pd.concat([rates.table for rates in found], ignore_index=True)
                rows = rows.drop(columns=["from_day", "horizon"], errors="ignore")
                notes += [
                    f"{name}, {label}: {note}"
                    for label, rates in zip(labels if len(found) > 1 else [measure.split()[0]], found)
                    for note in rates.notes
                    if note.startswith("Missing")
                ]
                if measure.startswith("cured"):
                    never += [f"{name} within {h:,} days" for h, n in zip(days, rows["events"]) if n == 0]
            rows.insert(0, "definition", name)
            rows.insert(1, "measure", labels)
            tables.append(rows)
    if never:
        notes.append(
            f"Nobody is cured: {first_few(never)}. A definition with a probation counts the cure from its end."
        )
    return DefinitionsCompared(
        table=pd.concat(tables, ignore_index=True),
        estimand=(
            f"Of the same accounts' episodes, the share cured within {listed(within)} days of day 0 and not "
            f"re-defaulted within {r:,} days of the cure (sustained), the share cured so soon, and of all cures "
            f"the share re-defaulted within {listed(after)} days; other outcomes competing"
        ),
        title="Cure by definition: sustained, at first, and re-default after it",
        notes=tuple(notes),
        conf_level=conf_level,
        by=("definition",),
        series="measure",
    )


def _keep(episodes: nw.LazyFrame, cluster: str | None) -> nw.LazyFrame:
    """The few columns the comparison needs, computed once."""
    columns = [
        "account_id",
        "entry_day",
        "exit_day",
        "observed_day",
        "outcome",
        "_to_last",
        "_to_next",
        "_to_leaving",
    ]
    if cluster is not None:
        require(episodes, cluster)
        columns.append(cluster)
    return scan(episodes.select(*dict.fromkeys(columns)).collect("pyarrow"))


def _sustained(followed: nw.LazyFrame, h: int, r: int, conf_level: float, cluster: str | None) -> CureRates:
    """The verdict on each episode and its day since day 0; see :func:`definitions_compared`."""
    exit_day, to_next, to_last = (nw.col(c) for c in ("exit_day", "_to_next", "_to_last"))
    cured = (nw.col("outcome") == "cured") & (exit_day <= h)
    again = ~to_next.is_null() & (to_next <= r)
    gone = ~nw.col("_to_leaving").is_null() & to_next.is_null() & (nw.col("_to_leaving") < r)
    long = ~to_next.is_null() | (to_last >= r)
    lost = (nw.col("outcome") == "censored") & (exit_day < h)
    after = (
        nw.when(again)
        .then(to_next)
        .otherwise(
            nw.when(gone)
            .then(nw.col("_to_leaving"))
            .otherwise(nw.when(long).then(nw.lit(r)).otherwise(to_last))
        )
    )
    kept = nw.when(gone | long).then(nw.lit("sustained")).otherwise(nw.lit("censored"))
    kept = nw.when(again).then(nw.lit("re-defaulted")).otherwise(kept)
    failed = nw.when(lost).then(nw.lit("censored")).otherwise(nw.lit("not cured"))
    verdicts = followed.with_columns(
        nw.when(cured)
        .then(exit_day + after)
        .otherwise(nw.min_horizontal(exit_day, nw.lit(h)))
        .alias("_verdict_day"),
        nw.when(cured).then(kept).otherwise(failed).alias("_verdict"),
    ).filter(nw.col("entry_day") < nw.col("_verdict_day"))
    reach = followed.select(nw.col("observed_day").max()).collect().item()
    try:
        cells = count_cells(
            verdicts, duration="_verdict_day", outcome="_verdict", entry="entry_day", cluster=cluster
        )
    except NothingToCount as error:
        raise NothingToCount(f"no episode was under observation before day {h:,}.") from error
    return rates_within(
        cells,
        ("sustained",),
        [h + r],
        0,
        conf_level,
        cluster,
        estimand=f"P(cured within {h:,} days of day 0 and not re-defaulted within {r:,} days of the cure)",
        title="Sustained cure",
        followed=int(reach),
    )


def _cured(followed: nw.LazyFrame, horizons: list[int], conf_level: float, cluster: str | None) -> CureRates:
    cells = count_cells(followed, duration="exit_day", outcome="outcome", entry="entry_day", cluster=cluster)
    return rates_within(
        cells,
        ("cured",),
        horizons,
        0,
        conf_level,
        cluster,
        estimand="P(cured within h days of day 0)",
        title="Cured",
    )
