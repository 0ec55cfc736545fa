"""Episodes and the actions within them, as the process measures count them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import narwhals as nw
import pandas as pd

from collectlab.core import engine
from collectlab.core.columns import as_list, day_number
from collectlab.core.errors import FrameError, NotAvailable, nearest
from collectlab.core.jackknife import with_replicates
from collectlab.measures.actions_rows import rows
from collectlab.measures.costs_touch import contact_made
from collectlab.measures.groups import by_keys


def spells(book: Any, definition: str, by: str | Sequence[str] | None) -> tuple[nw.LazyFrame, list[str]]:
    """One row per episode, days as numbers: ``__account, __start, __entry, __seen, __exit``; and ``by``.

    ``__seen`` is the last day on which the episode is known to have lasted, ``__exit`` the day by which it
    was seen to have ended (both since day 0), with ``__outcome``; ``__open``: its end was not seen. ``by`` are columns of
    the episodes as ``__by0…``; ``__rep`` is the customer's replicate group.
    """
    by = as_list(by)
    frame = book.episodes(definition=definition)
    have = frame.collect_schema().names()
    for name in by:
        if name not in have:
            near = nearest(name, have)
            hint = f" Did you mean {' or '.join(near)}?" if near else ""
            raise NotAvailable(f"this book has no column {name!r} in accounts.{hint}")
    frame = frame.select(
        *(nw.col(name).alias(key) for name, key in zip(by, by_keys(by, "__by"))),
        __account=nw.col("account_id"),
        __customer=nw.col("customer_id").cast(nw.String),
        __start=day_number("started_on"),
        __entry=nw.col("entry_day").cast(nw.Int64),
        __seen=nw.col("seen_day").cast(nw.Int64),
        __exit=nw.col("exit_day").cast(nw.Int64),
        __open=nw.col("outcome") == "censored",
        __outcome=nw.col("outcome").cast(nw.String),
    )
    return engine.computed(with_replicates(frame, "__customer", name="__rep")), by


def log(book: Any) -> tuple[nw.LazyFrame, list[str]]:
    """The actions: ``__account, __on`` (day), ``__at``, ``__channel``, ``__team``; and the table's columns.

    ``__team`` falls back on the agency. ``__debtor`` is true for a contact with the debtor in person.
    """
    frame, _ = rows(book, "actions", "at", None, None)
    names = frame.collect_schema().names()
    team = [nw.col(c).cast(nw.String) for c in ("team", "agency") if c in names]
    return frame.with_columns(
        __at=nw.col("at"),
        __channel=nw.col("channel").cast(nw.String),
        __team=nw.coalesce(*team) if team else nw.lit(None, nw.String),
        __debtor=spoken(names),
    ), names


def log_begins(acts: nw.LazyFrame) -> int:
    """First day (as a number) of the first month of the log; before it, silence says nothing."""
    month = nw.col("__on") - nw.col("__at").dt.day() + 1
    first = engine.collect(acts.select(first=month.min()))["first"].iloc[0]
    if pd.isna(first):
        raise NotAvailable("there are no actions in this book or period.")
    return int(first)


def spoken(names: Sequence[str]) -> nw.Expr:
    """Whether the debtor was reached in person: connected or an outcome told, and no third party."""
    told = nw.lit(False)
    if "connected" in names:
        told = told | nw.col("connected").fill_null(False)
    if "outcome" in names:
        told = told | ~nw.col("outcome").is_null()
    told = told & contact_made(names)
    if "party" in names:
        told = told & ~(nw.col("party") == "third_party").fill_null(False)
    return told


def within_spells(episodes: nw.LazyFrame, dated: nw.LazyFrame, before: int = 0) -> nw.LazyFrame:
    """The ``dated`` rows that fall in an episode of their account, with ``__day`` since its day 0.

    From ``before`` days before day 0 to the last day on which the episode is known to have lasted (its exit,
    if that is not known): what happened after a cure that is only seen at the month's end does not count twice.
    """
    episodes, dated = engine.same_engine(episodes, dated)
    return (
        episodes.join(dated, on="__account", how="inner")
        .with_columns(__day=nw.col("__on") - nw.col("__start"))
        .filter((nw.col("__day") >= -before) & (nw.col("__day") <= nw.col("__exit")))
    )


def whole(name: str, value: object, least: int = 0) -> int:
    """A whole number of at least ``least``, or one line that says so."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise FrameError(f"{name} is {value!r}. Allowed: a whole number ≥ {least}.")
    return value
