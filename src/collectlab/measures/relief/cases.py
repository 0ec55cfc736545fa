"""Hardship cases: one row per episode in which hardship was noted, and what was agreed after the note."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import narwhals as nw

from collectlab.core import engine
from collectlab.core.columns import as_list, day_number, day_of, month_number, number_to_date, row_count
from collectlab.core.engine import same_engine
from collectlab.core.errors import FrameError, NotAvailable, first_few, nearest
from collectlab.measures.actions_rows import Period, rows, within

#: Reasons of delinquency that count as hardship.
HARDSHIP_REASONS = ("income_loss", "illness")
#: Arrangements that ease what is owed when; a settlement ends the debt and is no relief.
RELIEF = ("payment_plan", "deferral", "rate_cut", "restructuring")
#: First age of each band but the youngest.
AGES = (30, 45, 60)


def hardship_cases(
    book: Any,
    *,
    by: str | Sequence[str] | None = None,
    period: Period = None,
    reasons: Sequence[str] = HARDSHIP_REASONS,
    definition: str = "current_once",
) -> tuple[nw.LazyFrame, list[str], tuple[str, ...]]:
    """One row per episode with hardship noted, from the day of the first note on; ``by``; and notes.

    Hardship is noted by an action with the outcome ``hardship`` or by one of ``reasons``. Columns: __account,
    __start (day 0), __on (day of the note), __exit (days from the note to the end of the episode), __ended
    (outcome of the episode), __told (1: said in an action), __rep, __by0 …
    """
    parts, last = [], day_of(book.as_of)
    if book.has("actions") and "outcome" in book.columns("actions"):
        said, _ = rows(book, "actions", "at", None)
        parts.append(
            said.filter(nw.col("outcome") == "hardship").select(
                "__account", "__on", "__rep", __told=nw.lit(1)
            )
        )
    if book.has("reasons") and "reason" in book.columns("reasons"):
        noted, _ = rows(book, "reasons", "noted_on", None)
        parts.append(
            noted.filter(nw.col("reason").is_in(list(reasons))).select(
                "__account", "__on", "__rep", __told=nw.lit(0)
            )
        )
    if not parts:
        raise NotAvailable(
            "this book has neither outcomes of actions nor reasons: nothing in it notes hardship."
        )
    if len(parts) > 1:
        parts = same_engine(*parts)
    noted = nw.concat(parts) if len(parts) > 1 else parts[0]
    episodes = book.episodes(definition=definition).select(
        __account=nw.col("account_id"), __start=day_number("started_on"),
        __end=day_number("started_on") + nw.col("exit_day").cast(nw.Int64), __ended=nw.col("outcome"),
    )  # fmt: skip
    episodes, noted = same_engine(episodes, noted)
    first = (
        noted.join(episodes, on="__account", how="inner")
        .filter(
            (nw.col("__on") >= nw.col("__start"))
            & (nw.col("__on") <= nw.col("__end"))
            & (nw.col("__on") <= last)
        )
        .with_columns(__silent=1 - nw.col("__told"))
        .unique(subset=["__account", "__start"], keep="first", order_by=["__on", "__silent"])
        .unique(subset=["__account", "__on"], keep="first", order_by=["__start"])
        .with_columns(__exit=nw.col("__end") - nw.col("__on"))
    )
    first, by = with_groups(book, engine.computed(within(first, "__on", period)), as_list(by))
    counted = engine.collect(first.select(n=row_count()))["n"].iloc[0]
    if not counted:
        raise NotAvailable("there is no hardship noted in this book or period.")
    words = (
        ", or by the reasons " + ", ".join(str(r).replace("_", " ") for r in reasons) if len(reasons) else ""
    )
    return first, by, (f"Hardship is noted by the outcome of an action{words}.",)


def with_groups(book: Any, cases: nw.LazyFrame, by: list[str]) -> tuple[nw.LazyFrame, list[str]]:
    """``cases`` with __by0 …: month of the note, age band, team in charge at the note, or a column of accounts."""
    names = book.columns("accounts")
    columns: dict[str, nw.Expr] = {}
    for i, name in enumerate(by):
        key = f"__by{i}"
        if name == "month":
            cases = cases.with_columns(month_of_day("__on").alias(key))
        elif name == "team":
            cases = team_in_charge(book, cases, key)
        elif name == "age_band" and "age" in names and "age_band" not in names:
            columns[key] = age_band()
        elif name in names:
            columns[key] = nw.col(name)
        else:
            near = nearest(name, [*names, "month", "team", "age_band"])
            hint = f" Did you mean {' or '.join(near)}?" if near else ""
            raise NotAvailable(f"hardship cases cannot be told apart by {name!r} in this book.{hint}")
    if columns:
        cases, owners = same_engine(
            cases, book.table("accounts").select(__account=nw.col("account_id"), **columns)
        )
        cases = cases.join(owners, on="__account", how="left")
    return engine.computed(cases), by


def month_of_day(column: str) -> nw.Expr:
    """The calendar month, year · 12 + month − 1, of a day number."""
    return month_number(number_to_date(nw.col(column)))


def age_band() -> nw.Expr:
    """``age`` in bands."""
    age, low = nw.col("age"), AGES[0]
    band = nw.when(age < low).then(nw.lit(f"0–{low - 1}"))
    for first, then in pairwise(AGES):
        band = nw.when((age >= first) & (age < then)).then(nw.lit(f"{first}–{then - 1}")).otherwise(band)
    return nw.when(age >= AGES[-1]).then(nw.lit(f"{AGES[-1]} and over")).otherwise(band)


def team_in_charge(book: Any, cases: nw.LazyFrame, name: str) -> nw.LazyFrame:
    """``cases`` with the team (or agency) of the account's last action of a person up to the note.

    Messages and letters that a machine sends put nobody in charge.
    """
    if not book.has("actions") or not {"team", "agency"} & set(book.columns("actions")):
        raise NotAvailable("this book's actions name no team.")
    acts, _ = rows(book, "actions", "at", "team")
    acts = acts.filter(~nw.col("__by0").is_null() & ~nw.col("channel").is_in(["sms", "email", "letter"]))
    acts, cases = same_engine(acts.select("__account", "at", "__by0", __day=nw.col("__on")), cases)
    last = (
        cases.select("__account", "__on", "__start")
        .join(acts, on="__account", how="inner")
        .filter((nw.col("__day") <= nw.col("__on")) & (nw.col("__day") >= nw.col("__start")))
        .unique(subset=["__account", "__on"], keep="last", order_by=["__day", "at", "__by0"])
        .select("__account", "__on", nw.col("__by0").alias(name))
    )
    return cases.join(last, on=["__account", "__on"], how="left")


def plans(book: Any, kinds: Sequence[str]) -> nw.LazyFrame:
    """Arrangements of these kinds: __account, __began, __until (missing: still running), __kind, __status."""
    lazy = book.table("arrangements")
    engine.require(lazy, "account_id", "started_on", "kind")
    there = sorted(str(k) for k in engine.collect(lazy.group_by("kind").agg(n=row_count()))["kind"].dropna())
    if odd := [k for k in kinds if k not in (*RELIEF, "settlement", *there)]:
        raise FrameError(
            f"no kind of arrangement {first_few(odd)}. Allowed: {first_few([*RELIEF, 'settlement'], 9)}."
        )
    names = lazy.collect_schema().names()
    return lazy.filter(nw.col("kind").is_in(list(kinds))).select(
        __account=nw.col("account_id"), __began=day_number("started_on"), __kind=nw.col("kind"),
        __until=day_number("ended_on") if "ended_on" in names else nw.lit(None, nw.Int64),
        __status=nw.col("status").fill_null("active") if "status" in names else nw.lit("active"),
    )  # fmt: skip


def with_relief(book: Any, cases: nw.LazyFrame, kinds: Sequence[str] = RELIEF) -> nw.LazyFrame:
    """``cases`` with the first relief that ran at the note or began later: __wait (days, 0 if it ran), __kind."""
    cases, agreed = same_engine(cases, plans(book, kinds))
    wait = nw.col("__began") - nw.col("__on")
    found = (
        cases.select("__account", "__on")
        .join(agreed, on="__account", how="inner")
        .with_columns(__wait=nw.when(wait > 0).then(wait).otherwise(nw.lit(0)))
        .filter((wait >= 0) | nw.col("__until").is_null() | (nw.col("__until") >= nw.col("__on")))
        .unique(subset=["__account", "__on"], keep="first", order_by=["__wait", "__began", "__kind"])
        .select("__account", "__on", "__wait", "__kind", "__began")
    )
    return engine.computed(cases.join(found, on=["__account", "__on"], how="left"))
