"""Figures of an analyst's own frames: a ratio or a total of two columns."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from typing import Any

import narwhals as nw

from collectlab.core import engine
from collectlab.core.columns import flag, row_count, whole_money, whole_sum
from collectlab.core.errors import FrameError, first_few
from collectlab.measures.bridge_figures import FIGURES, Figure
from collectlab.measures.bridge_math import Tally
from collectlab.measures.bridge_rows import keyed, tallied
from collectlab.measures.flows import UNIT
from collectlab.measures.snapshots import is_book


def ratio(
    top: str, base: str, *, unit: str = "share", scale: float = 1.0, cluster: str | None = None
) -> Figure:
    """Σ ``top`` / Σ ``base`` · ``scale`` over the rows of an analyst's own frame.

    ``base`` must not be negative; rows where it is missing are left out, a missing ``top`` counts as 0. Numbers
    are taken to four decimals. ``cluster`` names the column whose rows belong together (default: customer_id or
    account_id where there; without one there are no intervals).

    ``unit`` says how the figure is shown: share, number, money, money2, days.

    Returns
    -------
    Figure
        To give :func:`collectlab.measures.bridge.month_on_month` as ``measure``.

    Examples
    --------
    >>> ratio("late", "loans").title
    'late / loans'
    """
    return Figure(
        title=f"{top} / {base}" + (f" × {scale:g}" if scale != 1 else ""),
        estimand=f"Sum of {top} over sum of {base}" + (f", times {scale:g}" if scale != 1 else ""),
        unit=unit,
        scale=scale,
        of=base,
        count=_columns(top, base, cluster),
    )


def total(top: str, base: str | None = None, *, unit: str = "money2", cluster: str | None = None) -> Figure:
    """Σ ``top`` over the rows of an analyst's own frame, seen as Σ ``base`` times ``top`` per ``base``.

    Without ``base`` the volume is the number of rows. Otherwise as :func:`ratio`.

    ``unit`` and ``cluster`` as there.

    Returns
    -------
    Figure
        To give :func:`collectlab.measures.bridge.month_on_month` as ``measure``.

    Examples
    --------
    >>> total("paid").title
    'Paid'
    """
    return Figure(
        title=top.replace("_", " ").capitalize(),
        estimand=f"Sum of {top}",
        unit=unit,
        total=True,
        scale=1 / UNIT,
        of=base or "rows",
        rate_unit="number",
        count=_columns(top, base, cluster),
    )


def _columns(top: str, base: str | None, cluster: str | None) -> Callable:
    def count(source: Any, at: dt.date | None, segments: Sequence[str], kept: dict) -> Tally:
        if is_book(source):
            raise FrameError(
                f"a book has no columns {top!r}. Give two frames, or one of the figures {first_few(list(FIGURES), 9)}."
            )
        lazy = engine.scan(source)
        engine.require(lazy, top, *([base] if base else []), *segments, *([cluster] if cluster else []))
        names = lazy.collect_schema().names()
        who = cluster or next((c for c in ("customer_id", "account_id") if c in names), None)
        numbers = {"top": whole_money(top, UNIT), "base": whole_money(base, UNIT) if base else nw.lit(UNIT)}
        rows = keyed(lazy, segments, nw.lit("") if who is None else nw.col(who), **numbers)
        found = engine.collect(
            rows.select(
                n=row_count(),
                missing=whole_sum(flag(nw.col("__base").is_null())),
                without=whole_sum(flag(nw.col("__top").is_null())),
                negative=whole_sum(flag(nw.col("__base") < 0)),
                least=nw.col("__base").min(),
            )
        ).iloc[0]
        if found["negative"]:
            raise FrameError(
                f"{base}: {int(found['negative']):,} of {int(found['n']):,} rows are below 0 (the least "
                f"{found['least'] / UNIT:,.2f}). Allowed: numbers ≥ 0, as shares are taken of it."
            )
        notes = []
        if found["missing"]:
            notes.append(f"{int(found['missing']):,} rows without {base} are left out.")
        if found["without"]:
            notes.append(f"{int(found['without']):,} rows without {top} count as 0.")
        if who is None:
            notes.append("No intervals: no column says which rows belong to one customer (cluster).")
        rows = rows.filter(~nw.col("__base").is_null()).with_columns(nw.col("__top").fill_null(0))
        made = tallied(rows, segments)
        return Tally(made.segments, made.sums, made.spread, tuple(notes))

    return count
