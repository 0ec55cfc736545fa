"""The figures a bridge can explain: what each counts, of a book on a date or of an analyst's own frame."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import narwhals as nw
import numpy as np
import pandas as pd

from collectlab.core import engine
from collectlab.core.columns import flag, month_number, row_count, whole_sum
from collectlab.core.errors import FrameError, NotAvailable, first_few
from collectlab.core.jackknife import GROUPS, sums_at
from collectlab.measures.bridge_math import Tally, curve_at_end
from collectlab.measures.bridge_rows import (
    begun,
    customer,
    keyed,
    month_end,
    month_of,
    overdue_words,
    paid_in_month,
    segments_of,
    tallied,
)
from collectlab.measures.costs_touch import with_cost
from collectlab.measures.cure import midway
from collectlab.measures.flows import FINAL, UNIT, as_money, count_flows
from collectlab.measures.groups import by_keys
from collectlab.measures.snapshots import check_days, is_book

#: Outcomes after which an episode cannot be cured any more.
_ENDED = (*FINAL, "charged_off")


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A figure that can be bridged from month to month. Made by the functions of this module.

    Attributes
    ----------
    title, estimand : str
    unit : str
        ``share``, ``money2`` or ``number``.
    total : bool
        Whether it is a total, which also changes by volume, rather than a ratio.
    scale : float
        What the ratio or total of the counted numbers is multiplied by.
    follows : bool
        Whether it follows accounts over time, so that last month's figure may still mature.
    of : str
        What the shares of the segments are shares of.
    rate_unit : str
        Unit of a segment's rate, where it is not the figure's (of a total: what one of ``of`` brings).
    """

    title: str
    estimand: str
    unit: str = "share"
    total: bool = False
    scale: float = 1.0
    follows: bool = False
    of: str = "accounts"
    rate_unit: str = ""
    #: (source, date, segments, episodes computed already) → counts
    count: Callable[[Any, dt.date | None, Sequence[str], dict], Tally] = field(repr=False)


def delinquency_rate(over: int = 30, weight: str | None = None) -> Figure:
    """Share of open accounts (or of their ``weight``, such as balance) ``over`` days or more past due.

    Counted at each account's last snapshot of the month. Source: a book, or a frame of snapshots.

    Returns
    -------
    Figure
        To give :func:`collectlab.measures.bridge.month_on_month` as ``measure``.

    Examples
    --------
    >>> delinquency_rate(over=90, weight="balance").title
    'Share 90 days or more past due (by balance)'
    """
    check_days(over)

    def count(source: Any, at: dt.date | None, segments: Sequence[str], kept: dict) -> Tally:
        who = customer(source, "snapshots")
        rows = month_end(source, at, [*segments, who], [weight] if weight else [])
        rows = rows.filter(nw.col("status") == "open")
        each = nw.max_horizontal(nw.col("money0").fill_null(0), nw.lit(0)) if weight else nw.lit(1)
        late = flag(nw.col("dpd") >= over)
        rows = keyed(rows, by_keys(segments), nw.col(f"by{len(segments)}"), base=each, late=late)
        return tallied(rows.with_columns(__top=nw.col("__base") * nw.col("__late")), segments)

    what = "open accounts" if weight is None else f"the {weight} of open accounts"
    return Figure(
        title=f"Share {over} days or more past due" + (f" (by {weight})" if weight else ""),
        estimand=f"Share of {what} {over} days or more past due at the month's end",
        of="open accounts" if weight is None else weight,
        count=count,
    )


def cure_rate(horizon: int = 90, definition: str = "current_once", months: int = 12) -> Figure:
    """Share of episodes cured within ``horizon`` days of day 0, charge-off, settlement and sale competing.

    Aalen–Johansen over the episodes that began in the ``months`` calendar months up to the date, ends dated
    midway between snapshots: the ``cure_rate`` of :mod:`collectlab.measures.cure`. Source: a book, or a frame of
    episodes (all of which count, as they are dated).

    ``definition`` says what cured means, as in ``book.episodes``.

    Returns
    -------
    Figure
        To give :func:`collectlab.measures.bridge.month_on_month` as ``measure``.

    Examples
    --------
    >>> cure_rate(horizon=60).title
    'Cured within 60 days'
    """
    check_days(horizon, "horizon", "days")

    def count(source: Any, at: dt.date | None, segments: Sequence[str], kept: dict) -> Tally:
        if is_book(source):
            source = midway(begun(source, at, definition, months, segments, kept))
        lazy = engine.scan(source)
        engine.require(lazy, "account_id", "exit_day", "outcome", *segments)
        names = lazy.collect_schema().names()
        clip = nw.lit(horizon + 1)
        entry = nw.col("entry_day") if "entry_day" in names else nw.lit(0)
        who = "customer_id" if "customer_id" in names else "account_id"
        days = {
            "from": nw.min_horizontal(entry.cast(nw.Int64), clip),
            "to": nw.min_horizontal(nw.col("exit_day").cast(nw.Int64), clip),
            "outcome": nw.col("outcome").cast(nw.String),
        }
        rows = keyed(lazy.filter(nw.col("exit_day") > entry), segments, nw.col(who), **days)
        cells = engine.collect(
            rows.group_by(*by_keys(segments), "__rep", "__outcome", "__from", "__to").agg(__n=row_count())
        )
        if cells.empty:
            raise NotAvailable("no episode is under observation for a day or more.")
        if odd := sorted({str(o) for o in cells["__outcome"]} - {*_ENDED, "censored"}):
            raise FrameError(f"outcome: found {first_few(odd)}. Allowed: {', '.join([*_ENDED, 'censored'])}.")
        found, code = segments_of(cells, segments)

        def lay(day: str, n: pd.Series) -> np.ndarray:
            where = (cells["__rep"].to_numpy(int), code, cells[day].to_numpy(int))
            return sums_at(where, n, (GROUPS, len(found), horizon + 2))[..., : horizon + 1]

        n, outcome = cells["__n"], cells["__outcome"]
        parts = [lay("__from", n), *(lay("__to", n * mark) for mark in (
            1, outcome.isin(_ENDED), outcome == "cured"))]  # fmt: skip
        return Tally(found, np.stack(parts, axis=1), curve_at_end)

    return Figure(
        title=f"Cured within {horizon} days",
        estimand=f"P(cured within {horizon} days of the first day past due), charge-off, settlement and sale competing",
        follows=True,
        of="episodes",
        count=count,
    )


def recovery_rate(
    horizon: int = 90, definition: str = "current_once", months: int = 12, amount: str = "amount_at_entry"
) -> Figure:
    """Share of the amount overdue at entry recovered within ``horizon`` days.

    :func:`collectlab.measures.recovery.recovery_rate` of the episodes that began in the ``months`` calendar
    months up to the date. Source: a book with payments, or a mapping with the frames ``episodes`` (all of which
    count) and ``payments``.

    ``definition`` says what cured means, as in ``book.episodes``; ``amount`` names the column of what was owed.

    Returns
    -------
    Figure
        To give :func:`collectlab.measures.bridge.month_on_month` as ``measure``.

    Examples
    --------
    >>> recovery_rate(horizon=60).title
    'Recovered within 60 days'
    """
    check_days(horizon, "horizon", "days")

    def count(source: Any, at: dt.date | None, segments: Sequence[str], kept: dict) -> Tally:
        if is_book(source):
            frames = {
                "episodes": begun(source, at, definition, months, [amount, *segments], kept),
                "payments": source.table("payments"),
            }
            last = source.as_of
        elif isinstance(source, Mapping) and {"episodes", "payments"} <= set(source):
            frames, last = source, source.get("as_of")
        else:
            raise FrameError("recovery needs a book, or a mapping with the frames episodes and payments.")
        flows = count_flows(
            frames["episodes"],
            {"payments": as_money(frames["payments"], "paid_on", "amount")},
            by=segments, horizon=horizon, amount=amount, cluster="customer_id", weight="amount",
            cap=("payments",), as_of=last,
        )  # fmt: skip
        sums = np.stack([flows.enter, flows.end, flows.final, flows.flow["payments"]], axis=1)
        found, _ = segments_of(flows.groups, segments, segments)
        return Tally(found, sums, curve_at_end, flows.notes)

    return Figure(
        title=f"Recovered within {horizon} days",
        estimand=f"Share of the amount overdue at entry recovered within {horizon} days, no more than was owed",
        follows=True,
        of="amount owed",
        count=count,
    )


def recovered(over: int = 1) -> Figure:
    """Money paid in the month on what was past due when it began.

    Of each account open and ``over`` days or more past due at the end of the month before, the payments of the
    month, up to the amount past due then. It changes with how much is past due (volume), with who owes it (mix)
    and with the share that each segment pays (rate). Source: a book with payments and ``amount_past_due``.

    Returns
    -------
    Figure
        To give :func:`collectlab.measures.bridge.month_on_month` as ``measure``.

    Examples
    --------
    >>> recovered(over=30).of
    'amount past due'
    """
    check_days(over)

    def count(source: Any, at: dt.date | None, segments: Sequence[str], kept: dict) -> Tally:
        return tallied(paid_in_month(source, at, segments, over), segments)

    return Figure(
        title="Recovered in the month",
        estimand=f"Paid in the month by accounts {overdue_words(over)} when it began, no more than was past due",
        unit="money2",
        total=True,
        scale=1 / UNIT,
        of="amount past due",
        rate_unit="share",
        count=count,
    )


def cost_per_100_recovered(over: int = 1, unit_costs: Mapping[str, float] | None = None) -> Figure:
    """What all actions of the month cost, per 100 of :func:`recovered`.

    The shares of the segments are shares of the money recovered. Source: a book with payments, actions and
    ``amount_past_due``; ``unit_costs`` as in :func:`collectlab.measures.costs.cost_benefit`.

    ``over`` is the least number of days past due, as in :func:`recovered`.

    Returns
    -------
    Figure
        To give :func:`collectlab.measures.bridge.month_on_month` as ``measure``.

    Examples
    --------
    >>> cost_per_100_recovered().of
    'money recovered'
    """
    check_days(over)

    def count(source: Any, at: dt.date | None, segments: Sequence[str], kept: dict) -> Tally:
        paid = paid_in_month(source, at, segments, over)
        spent = source.table("actions").filter(month_number("at") == month_of(at))
        spent, notes = with_cost(spent, unit_costs)
        spent = spent.group_by("account_id").agg(__cost=whole_sum("__cost"))
        who = customer(source, "accounts")
        accounts = source.table("accounts")
        engine.require(accounts, *segments)
        accounts = accounts.select("account_id", *(nw.col(s).alias(k) for s, k in zip(segments, by_keys(segments))),
                                   __id=nw.col(who).cast(nw.String))  # fmt: skip
        spent = spent.join(accounts, on="account_id", how="left").select(
            *by_keys(segments),
            __id=nw.coalesce(nw.col("__id"), nw.col("account_id").cast(nw.String)),
            __base=nw.lit(0, nw.Int64),
            __top=nw.col("__cost"),
        )
        paid = paid.select(*by_keys(segments), "__id", __base=nw.col("__top"), __top=nw.lit(0, nw.Int64))
        spent, paid = (f.with_columns(nw.col("__base").cast(nw.Int64), nw.col("__top").cast(nw.Int64))
                       for f in (spent, paid))  # fmt: skip
        found = tallied(nw.concat([spent, paid]), segments)
        return Tally(found.segments, found.sums, found.spread, tuple(notes))

    return Figure(
        title="Cost per 100 recovered in the month",
        estimand=f"Cost of the month's actions per 100 paid in it by accounts {overdue_words(over)} when it began",
        unit="money2",
        scale=100.0,
        of="money recovered",
        count=count,
    )


#: Figures by name, as they are by default.
FIGURES: dict[str, Callable[[], Figure]] = {
    f.__name__: f for f in (delinquency_rate, cure_rate, recovery_rate, recovered, cost_per_100_recovered)
}
