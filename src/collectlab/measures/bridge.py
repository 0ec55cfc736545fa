"""From last month's figure to this month's, in steps that add up to the cent.

Between two months a figure changes for reasons that have nothing to do with each other:

* **restatement**: late and corrected data change what last month's figure is;
* **maturity**: last month's accounts were not yet watched long enough, and now they are;
* **volume** (totals only): more or less is owed;
* **mix**: segments make up other shares of the portfolio than before;
* **rate**: within the segments, things got better or worse. This is what managers mean by performance;
* **definition**: from now on something else is counted.

:func:`month_on_month` takes the difference apart into these, in this order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import pandas as pd

from collectlab.book.open import Book, open_book
from collectlab.core.columns import as_list
from collectlab.core.errors import FrameError, nearest
from collectlab.core.jackknife import INTERVAL, check_level
from collectlab.measures.bridge_figures import (
    FIGURES,
    Figure,
    cost_per_100_recovered,
    cure_rate,
    delinquency_rate,
    recovered,
    recovery_rate,
)
from collectlab.measures.bridge_math import Tally, union
from collectlab.measures.bridge_own import ratio, total
from collectlab.measures.bridge_results import Bridge, BridgeSegments, change_text, rounded_steps
from collectlab.measures.bridge_steps import by_segment, steps_of
from collectlab.measures.groups import by_keys
from collectlab.measures.snapshots import is_book

__all__ = [
    "Bridge",
    "BridgeSegments",
    "Figure",
    "cost_per_100_recovered",
    "cure_rate",
    "delinquency_rate",
    "month_on_month",
    "ratio",
    "recovered",
    "recovery_rate",
    "total",
]


def month_on_month(
    before: Any,
    after: Any,
    *,
    measure: str | Figure = "delinquency_rate",
    segments: str | Sequence[str] | None = None,
    measure_before: str | Figure | None = None,
    restated: Any = None,
    matured: Any = None,
    labels: tuple[str, str] | None = None,
    conf_level: float = 0.95,
) -> Bridge:
    r"""Bridge a figure from one month to the next, in steps that add up exactly.

    The steps are differences of figures along one path:

    ======================  ==========================  ==================  ===================
    figure                  data                        accounts of         definition
    ======================  ==========================  ==================  ===================
    before                  as known last month         last month          last month's
    restated                as known now, cut at the    last month          last month's
                            end of last month
    matured                 as known now                last month          last month's
    (same definition)       as known now                this month          last month's
    after                   as known now                this month          this month's
    ======================  ==========================  ==================  ===================

    restatement = restated − before; maturity = matured − restated; definition = after − (same definition).
    Between *matured* and *(same definition)* lie mix and rate. With w_s the share of segment s, r_s its rate,
    and a bar for the mean of the two months,

    .. math:: mix = \sum_s \Delta w_s (\bar r_s - \bar R), \qquad rate = \sum_s \bar w_s \Delta r_s,

    so neither goes first. A new or vanished segment is all mix. A total (money recovered) is volume × average
    rate; its volume step is ΔW · R̄.

    *By hand.* Last month 10 of 50 auto loans and 20 of 50 cards are past due: 30 %. This month 5 of 25 and 27 of
    75: 32 %. Auto stays at 20 %, cards go from 40 % to 36 %. Mix: cards' share rises by 25 points, and their mean
    rate lies 18 points above auto's: 0.25 · 0.18 = +4.5 points. Rate: cards' mean share 62.5 % times −4 points =
    −2.5 points. Together +2.0: collections got better, the portfolio got riskier.

    Parameters
    ----------
    before, after : Book, mapping of tables, or frame
        Two books (or what ``open_book`` takes as tables): last month's as it was frozen then, or
        ``after.until(date)``, and this month's. Each is bridged at its own last date. Or two frames that the
        measure can count; then ``restated`` and ``matured`` are frames too, and steps without a frame are left
        out.
    measure : str or Figure
        ``"delinquency_rate"``, ``"cure_rate"``, ``"recovery_rate"``, ``"recovered"``,
        ``"cost_per_100_recovered"``, or one of these functions of this module with its options, such as
        ``delinquency_rate(over=90, weight="balance")``. For frames of your own: :func:`ratio`, :func:`total`.
    segments : str or list of str, optional
        Columns whose mix is told apart (up to 200 segments). Without any, mix and rate are one step.
    measure_before : str or Figure, optional
        Last month's definition, where it was another one.
    restated, matured : frame, optional
        Last month's frame as known now, cut at the end of last month; the same accounts followed up to now.
    labels : pair of str, optional
        What the two figures are called; default: the months, or "before" and "after".
    conf_level : float
        Level of the intervals: delete-a-group jackknife over customers, the same ones left out of both months.
        A restatement is a correction and has none.

    Returns
    -------
    Bridge
        ``table``, ``segments`` (what each segment adds), ``exact`` (fractions), ``plot()`` (a waterfall).

    Raises
    ------
    FrameError
        An unknown measure or column, books in the wrong order, more than 200 segments, a negative base.
    NotAvailable
        A figure cannot be told, say because nobody was followed that long.

    References
    ----------
    Kitagawa (1955), Components of a difference between two rates, JASA 50, 1168–1194.

    Examples
    --------
    >>> import pandas as pd
    >>> june = pd.DataFrame({"product": ["auto", "card"], "late": [10, 20], "loans": [50, 50]})
    >>> july = pd.DataFrame({"product": ["auto", "card"], "late": [5, 27], "loans": [25, 75]})
    >>> found = month_on_month(june, july, measure=ratio("late", "loans"), segments="product")
    >>> found.table[["step", "rounded"]]
         step  rounded
    0  before    0.300
    1     mix    0.045
    2    rate   -0.025
    3   after    0.320
    """
    check_level(conf_level)
    now = _figure(measure)
    then = now if measure_before is None else _figure(measure_before)
    if (now.unit, now.total) != (then.unit, then.total):
        raise FrameError(
            f"{then.title!r} and {now.title!r} have different units. Allowed: one figure, redefined."
        )
    by = as_list(segments)
    if ids := [c for c in by if c in ("account_id", "customer_id")]:
        raise FrameError(f"segments holds {ids[0]!r}. Allowed: columns that group accounts.")
    sources, notes, found_labels = _path_of(before, after, then, now, restated, matured)
    tallies: dict[str, Tally] = {}
    kept: dict = {}
    for name, (figure, source, at) in sources.items():
        tallies[name] = figure.count(source, at, by, kept)
    laid = dict(zip(tallies, union(list(tallies.values()), by_keys(by))))
    steps, jack = steps_of(laid, {n: s[0] for n, s in sources.items()}, bool(by), conf_level)
    change = jack.pop("change")
    labels = labels or found_labels
    table = _table(steps, jack, now, bool(by), labels)
    notes += [n for t in tallies.values() for n in t.notes]
    rounded = dict(zip(table["step"], table["rounded"]))
    low, high = (change_text(v, now.unit) for v in change[2:])
    between = "" if np.isnan(change[2]) else f" ({low} to {high})"
    notes = [f"Change: {change_text(rounded['after'] - rounded['before'], now.unit)}{between}.", *notes]
    return Bridge(
        table=table,
        estimand=now.estimand,
        unit=now.unit,
        title=f"{now.title}: from {labels[0]} to {labels[1]}",
        notes=tuple(dict.fromkeys(notes)),
        formats={"meaning": "text", "rounded": "hidden"},
        conf_level=conf_level,
        exact=steps,
        segments=by_segment(laid, by, now, rounded, labels, conf_level) if by else None,
        labels=labels,
    )


def _figure(measure: str | Figure) -> Figure:
    if isinstance(measure, Figure):
        return measure
    if measure not in FIGURES:
        near = nearest(str(measure), FIGURES)
        hint = f" Did you mean {' or '.join(map(repr, near))}?" if near else ""
        raise FrameError(
            f"measure is {measure!r}.{hint} Allowed: {', '.join(FIGURES)}, ratio(top, base) or total(top)."
        )
    return FIGURES[measure]()


def _path_of(before: Any, after: Any, then: Figure, now: Figure, restated: Any, matured: Any) -> tuple:
    """Name → (figure, source, date) for the figures on the path, notes, and the labels of the ends."""
    before, after = (_opened(s) for s in (before, after))
    if is_book(before) != is_book(after):
        raise FrameError("one of before and after is a book, the other a frame. Allowed: two of a kind.")
    if not is_book(after):
        path = {"before": (then, before, None)}
        path |= {"restated": (then, restated, None)} if restated is not None else {}
        path |= {"matured": (then, matured, None)} if matured is not None else {}
        path |= {"same_definition": (then, after, None)}
        if then is not now:
            path |= {"after": (now, after, None)}
        return path, [], ("before", "after")
    if restated is not None or matured is not None:
        raise FrameError("restated and matured go with frames; of two books they are counted.")
    cut, end = before.as_of, after.as_of
    if cut >= end:
        raise FrameError(f"before ends on {cut}, after on {end}. Allowed: before is the earlier one.")
    path = {"before": (then, before, cut)}
    known = after.until(cut)
    notes = []
    if dict(known.queries) == dict(before.queries):
        notes.append(
            "Both figures come from the same data, so nothing is restated; compare with the book frozen last month "
            "to see what late data change."
        )
    else:
        path["restated"] = (then, known, cut)
    if then.follows:
        path["matured"] = (then, after, cut)
    path["same_definition"] = (then, after, end)
    if then is not now:
        path["after"] = (now, after, end)
    return path, notes, (f"{cut:%Y-%m}", f"{end:%Y-%m}")


def _opened(source: Any) -> Any:
    if isinstance(source, Book) or not isinstance(source, Mapping) or "episodes" in source:
        return source
    return open_book(source)


def _table(
    steps: Mapping[str, Fraction],
    jack: Mapping[str, tuple],
    figure: Figure,
    told_apart: bool,
    labels: tuple[str, str],
) -> pd.DataFrame:
    words = {
        "before": f"the figure for {labels[0]}, as known then",
        "restatement": f"late and corrected data: {labels[0]} as it is known now",
        "maturity": f"the same {'episodes' if figure.follows else 'accounts'} of {labels[0]}, followed for longer",
        "volume": f"more or less {figure.of}",
        "mix": f"segments have other shares of the {figure.of} than before",
        "rate": "changed within the segments" if told_apart else "changed from one month to the next",
        "definition": "something else is counted from now on",
        "after": f"the figure for {labels[1]}",
    }
    rounded = rounded_steps(steps, figure.unit)
    rows = []
    for step, value in steps.items():
        _, error, low, high = jack[step]
        if step == "restatement":
            error = low = high = np.nan
        unit = "points" if figure.unit == "share" and step not in ("before", "after") else figure.unit
        interval = dict(zip(INTERVAL, (float(value), error, low, high)))
        rows.append(
            {"step": step, "meaning": words[step], **interval, "rounded": rounded[step], "unit": unit}
        )
    return pd.DataFrame(rows)
