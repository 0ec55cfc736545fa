"""Time overdue, day by day: which account was how many days past due when, and so when which action met it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import narwhals as nw
import pandas as pd

from collectlab.book.episodes import bucket_labels
from collectlab.core import engine
from collectlab.core.columns import as_list, day_number, flag, whole_money
from collectlab.core.engine import same_engine
from collectlab.core.errors import FrameError, NotAvailable, first_few
from collectlab.core.jackknife import with_replicates
from collectlab.measures.actions_rows import Period, days_of

#: Kinds of arrangement that make an account current again without a payment.
RELIEF = ("deferral", "rate_cut", "restructuring")
#: Above every count of days past due.
OPEN_ABOVE = 1_000_000


def overdue_spans(book: Any, period: Period = None) -> nw.LazyFrame:
    """Stretches of days on which an account was overdue, counted day by day between its snapshots.

    From an overdue snapshot on, days past due grow by one a day until the next snapshot (``seen`` = 1). Before the
    first overdue snapshot of a spell they are counted back to day 1, if the account was under observation then
    (``seen`` = 0). An account that the next snapshot shows current was overdue until its payments since reached
    the amount then past due, or until relief made it current; where neither is in the book, until that snapshot.

    Parameters
    ----------
    book : Book
    period : (date, date), optional
        First and last day; stretches are cut to it.

    Returns
    -------
    narwhals.LazyFrame
        ``__account, __spell, __first, __last`` (day numbers, both included), ``__dpd`` (on ``__first``), ``__amount``
        (cents past due at the snapshot it follows; missing where ``__seen`` is 0), ``__forborne``, ``__ends`` (``cured``
        on ``__last``, a terminal status, or empty: it goes on or is seen no more), ``__seen``.

    Examples
    --------
    >>> import pandas as pd
    >>> from collectlab.book.open import open_book
    >>> book = open_book({
    ...     "accounts": pd.DataFrame({"account_id": ["a"]}),
    ...     "snapshots": pd.DataFrame({"account_id": ["a"] * 3, "days_past_due": [0, 10, 0],
    ...                                "as_of": ["2026-01-31", "2026-02-28", "2026-03-31"]})})
    >>> spans = overdue_spans(book).collect("pandas").to_native().sort_values("__first")
    >>> (spans["__last"] - spans["__first"] + 1).tolist(), spans["__dpd"].tolist(), spans["__ends"].tolist()
    ([10, 31], [1, 11], ['', 'cured'])
    """
    limits = None if period is None else days_of(period)
    snapshots = book.table("snapshots")
    engine.require(snapshots, "account_id", "as_of", "days_past_due")
    names = snapshots.collect_schema().names()
    money = next((c for c in ("amount_past_due", "balance") if c in names), None)
    forborne = nw.col("forborne").fill_null(False) if "forborne" in names else nw.lit(False)
    rows = snapshots.select(
        __account=nw.col("account_id"),
        __day=day_number("as_of"),
        __dpd=nw.col("days_past_due").cast(nw.Int64),
        __status=nw.col("status").cast(nw.String).fill_null("open") if "status" in names else nw.lit("open"),
        __amount=whole_money(money) if money else nw.lit(None, nw.Int64),
        __forborne=flag(forborne),
    ).filter(~nw.col("__day").is_null() & (~nw.col("__dpd").is_null() | (nw.col("__status") != "open")))
    rows = rows.with_columns(__late=flag((nw.col("__status") == "open") & (nw.col("__dpd") > 0)))
    rows = rows.with_columns(
        __next=_beside("__day", -1),
        __next_late=_beside("__late", -1),
        __next_status=_beside("__status", -1),
        __before=_beside("__day", 1),
        __before_late=_beside("__late", 1),
    )
    begins = (nw.col("__late") == 1) & (nw.col("__before_late").fill_null(0) == 0)
    rows = rows.with_columns(__begins=flag(begins)).with_columns(
        __spell=nw.col("__begins").cum_sum().over("__account", order_by="__day").cast(nw.Int64)
    )
    rows = engine.computed(rows.filter(nw.col("__late") == 1))
    spans = nw.concat([_from_snapshots(rows, book), _before_first(rows, book)])
    if limits is not None:
        first, last = (nw.lit(day) for day in limits)
        from_ = nw.max_horizontal("__first", first)
        ends = nw.when(nw.col("__last") <= last).then(nw.col("__ends")).otherwise(nw.lit(""))
        spans = spans.with_columns(
            __dpd=nw.col("__dpd") + from_ - nw.col("__first"),
            __first=from_,
            __ends=ends,
            __last=nw.min_horizontal("__last", last),
        ).filter(nw.col("__first") <= nw.col("__last"))
    return engine.computed(spans)


def _beside(column: str, step: int) -> nw.Expr:
    return nw.col(column).shift(step).over("__account", order_by="__day")


def _from_snapshots(rows: nw.LazyFrame, book: Any) -> nw.LazyFrame:
    """From each overdue snapshot to the next, or to the cure in between."""
    gone = ~nw.col("__next_status").is_in(["open", "closed"])
    ends = nw.when(nw.col("__next_late") == 1).then(nw.lit(""))
    ends = ends.otherwise(nw.when(gone).then(nw.col("__next_status")).otherwise(nw.lit("cured")))
    spans = rows.filter(~nw.col("__next").is_null()).select(
        "__account",
        "__spell",
        "__amount",
        "__forborne",
        __first=nw.col("__day") + 1,
        __last=nw.col("__next"),
        __dpd=nw.col("__dpd") + 1,
        __ends=ends,
        __seen=nw.lit(1).cast(nw.Int64),
    )
    cures = []
    ending = engine.computed(
        spans.filter(nw.col("__ends") == "cured").select("__account", "__first", "__last", "__amount")
    )
    inside = (nw.col("__on") >= nw.col("__first")) & (nw.col("__on") <= nw.col("__last"))
    if book.has("payments"):
        paid = book.table("payments").select(
            __account=nw.col("account_id"), __on=day_number("paid_on"), __cents=whole_money("amount")
        )
        known, paid = same_engine(ending.filter(nw.col("__amount") > 0), paid)
        paid = known.join(paid, on="__account", how="inner").filter(inside)
        paid = paid.group_by("__account", "__first", "__on", "__amount").agg(__cents=nw.col("__cents").sum())
        so_far = nw.col("__cents").cum_sum().over("__account", "__first", order_by="__on")
        cures.append(paid.with_columns(__so_far=so_far).filter(nw.col("__so_far") >= nw.col("__amount")))
    if book.has("arrangements") and {"kind", "started_on"} <= set(book.columns("arrangements")):
        eased = book.table("arrangements").filter(nw.col("kind").cast(nw.String).is_in(RELIEF))
        eased = eased.select(__account=nw.col("account_id"), __on=day_number("started_on"))
        known, eased = same_engine(ending, eased)
        cures.append(known.join(eased, on="__account", how="inner").filter(inside))
    if not cures:
        return _in_order(spans)
    found = nw.concat([c.select("__account", "__first", "__on") for c in cures])
    found = found.group_by("__account", "__first").agg(__cured=nw.col("__on").min())
    spans, found = same_engine(spans, found)
    spans = spans.join(found, on=["__account", "__first"], how="left")
    return _in_order(spans.with_columns(__last=nw.coalesce("__cured", "__last")))


def _before_first(rows: nw.LazyFrame, book: Any) -> nw.LazyFrame:
    """From day 1 to the first overdue snapshot of a spell, as far back as the account was watched."""
    rows = rows.filter(nw.col("__begins") == 1)
    watched = ~nw.col("__before").is_null()
    day_0 = nw.col("__day") - nw.col("__dpd")
    if "originated_on" in book.columns("accounts"):
        opened = book.table("accounts").select(
            __account=nw.col("account_id"), __opened=day_number("originated_on")
        )
        start = engine.collect(book.table("snapshots").select(n=day_number("as_of").min()))["n"][0]
        rows, opened = same_engine(rows, opened)
        rows = rows.join(opened, on="__account", how="left")
        watched = watched | (nw.col("__opened") >= (0 if pd.isna(start) else int(start))).fill_null(False)
    first = nw.max_horizontal(day_0, nw.coalesce("__before", day_0)) + 1
    spans = rows.filter(watched).with_columns(__first=first).filter(nw.col("__first") <= nw.col("__day"))
    return _in_order(
        spans.with_columns(
            __dpd=nw.col("__dpd") - (nw.col("__day") - nw.col("__first")),
            __last=nw.col("__day"),
            __amount=nw.lit(None, nw.Int64),
            __ends=nw.lit(""),
            __seen=nw.lit(0).cast(nw.Int64),
        )
    )


_COLUMNS = (
    "__account",
    "__spell",
    "__first",
    "__last",
    "__dpd",
    "__amount",
    "__forborne",
    "__ends",
    "__seen",
)


def _in_order(spans: nw.LazyFrame) -> nw.LazyFrame:
    whole = ("__spell", "__first", "__last", "__dpd", "__amount", "__forborne", "__seen")
    return spans.select(*_COLUMNS).with_columns(nw.col(*whole).cast(nw.Int64))


def stage_frame(stages: Any) -> pd.DataFrame:
    """Stages as a frame ``stage, dpd_from, dpd_to`` (whole days ≥ 1, open above), from bounds or a strategy's table.

    Raises
    ------
    FrameError
        Stages that overlap, stand twice or hold no day past due.
    """
    if not isinstance(stages, pd.DataFrame):
        labels = bucket_labels(stages)
        if min(labels) < 1:
            raise FrameError("stages start at 0. Allowed: whole days ≥ 1; only overdue accounts are counted.")
        lows = list(labels)
        return pd.DataFrame(
            {
                "stage": list(labels.values()),
                "dpd_from": lows,
                "dpd_to": [*(low - 1 for low in lows[1:]), OPEN_ABOVE],
            }
        )
    if missing := [c for c in ("stage", "dpd_from", "dpd_to") if c not in stages.columns]:
        raise FrameError(f"stages: no column {first_few(missing)}. Allowed: stage, dpd_from, dpd_to.")
    table = stages.assign(
        dpd_from=pd.to_numeric(stages["dpd_from"]).fillna(1).clip(lower=1).astype("int64"),
        dpd_to=pd.to_numeric(stages["dpd_to"]).fillna(OPEN_ABOVE).astype("int64"),
    )
    table = table[table["dpd_from"] <= table["dpd_to"]].sort_values("dpd_from", kind="stable")
    table = table.reset_index(drop=True)
    faults = []
    if table.empty:
        faults.append("stages: none of them holds a day past due. Allowed: at least one.")
    if len(twice := table.loc[table["stage"].duplicated(), "stage"].tolist()):
        faults.append(f"stages: {first_few(twice)} stand twice. Allowed: once.")
    over = (table["dpd_from"].iloc[1:].to_numpy() <= table["dpd_to"].iloc[:-1].to_numpy()).nonzero()[0]
    faults += [f"stages: {table['stage'][i]} and {table['stage'][i + 1]} overlap." for i in over]
    if faults:
        raise FrameError(faults)
    return table


def weekly_pieces(spans: nw.LazyFrame, stages: pd.DataFrame) -> nw.LazyFrame:
    """Each stretch cut at Mondays and at the stages' bounds: ``__week``, ``__stage`` (its number), ``__first``, ``__last``."""
    longest = engine.collect(spans.select(n=(nw.col("__last") // 7 - nw.col("__first") // 7).max()))["n"][0]
    # For each number of Mondays between, the weeks to lay out: one long gap does not multiply all the others.
    most = 0 if pd.isna(longest) else int(longest)
    laid = [(n, step) for n in range(most + 1) for step in range(n + 1)]
    steps = pd.DataFrame(laid, columns=["__mondays", "__step"], dtype="int64")
    bounds = pd.DataFrame(
        {"__stage": range(len(stages)), "__from": stages["dpd_from"], "__to": stages["dpd_to"]},
        dtype="int64",
    )
    spans, steps_, bounds_ = same_engine(spans, engine.scan(steps), engine.scan(bounds))
    day_0 = nw.col("__first") - nw.col("__dpd")
    cut = spans.join(bounds_, how="cross").with_columns(
        __a=nw.max_horizontal("__first", day_0 + nw.col("__from")),
        __b=nw.min_horizontal("__last", day_0 + nw.col("__to")),
    )
    cut = cut.filter(nw.col("__a") <= nw.col("__b"))
    cut = cut.with_columns(__mondays=nw.col("__b") // 7 - nw.col("__a") // 7)
    cut = cut.join(steps_, on="__mondays", how="inner")
    cut = cut.with_columns(__week=nw.col("__a") // 7 + nw.col("__step"))
    first = nw.max_horizontal("__a", nw.col("__week") * 7)
    last = nw.min_horizontal("__b", nw.col("__week") * 7 + 6)
    return cut.select(
        "__account",
        "__spell",
        "__week",
        "__stage",
        "__forborne",
        __dpd=nw.col("__dpd") + first - nw.col("__first"),
        __first=first,
        __last=last,
    )


def met(pieces: nw.LazyFrame, actions: nw.LazyFrame) -> nw.LazyFrame:
    """The actions (``__account, __on``, …) that fell on a day of a piece, with its columns and the day's ``__dpd``."""
    pieces, actions = same_engine(pieces, actions.with_columns(__week=nw.col("__on") // 7))
    taken = set(pieces.collect_schema().names())
    actions = actions.select(
        [c for c in actions.collect_schema().names() if c not in taken or c in ("__account", "__week")]
    )
    both = pieces.join(actions, on=["__account", "__week"], how="inner")
    both = both.filter((nw.col("__on") >= nw.col("__first")) & (nw.col("__on") <= nw.col("__last")))
    return both.with_columns(__dpd=nw.col("__dpd") + nw.col("__on") - nw.col("__first"))


def owned(frame: nw.LazyFrame, book: Any, by: str | Sequence[str] | None) -> tuple[nw.LazyFrame, list[str]]:
    """``frame`` with the columns ``__by0…`` of its accounts and the replicate group ``__rep`` of its customers."""
    by = as_list(by)
    have = book.columns("accounts")
    if missing := [c for c in by if c not in have]:
        raise NotAvailable(f"this book's accounts have no {first_few(missing)}.")
    customer = nw.col("customer_id").cast(nw.String) if "customer_id" in have else nw.lit(None, nw.String)
    columns = {f"__by{i}": nw.col(c) for i, c in enumerate(by)}
    owners = book.table("accounts").select(__account=nw.col("account_id"), __customer=customer, **columns)
    frame, owners = same_engine(frame, owners)
    frame = frame.join(owners, on="__account", how="left").with_columns(
        __customer=nw.coalesce(nw.col("__customer"), nw.col("__account").cast(nw.String))
    )
    return with_replicates(frame, "__customer", name="__rep").drop("__customer"), by


def plain_actions(book: Any) -> nw.LazyFrame:
    """Actions as ``__account, __on, __channel``, and what else is told of them."""
    actions = book.table("actions")
    engine.require(actions, "account_id", "at", "channel")
    names = actions.collect_schema().names()
    team = [nw.col(c).cast(nw.String) for c in ("team", "agency") if c in names]
    return actions.select(
        __account=nw.col("account_id"),
        __on=day_number("at"),
        __channel=nw.col("channel").cast(nw.String).fill_null("(missing)"),
        __team=nw.coalesce(*team) if team else nw.lit(None, nw.String),
        __outcome=nw.col("outcome").cast(nw.String) if "outcome" in names else nw.lit(None, nw.String),
    )
