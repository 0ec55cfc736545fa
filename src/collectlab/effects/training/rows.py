"""Whose a case, a promise or a contact is, and the rows by which each skill is judged."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import narwhals as nw
import numpy as np
import pandas as pd

from collectlab.core import engine
from collectlab.core.columns import day_number, day_of, flag, row_count, whole_money, whole_sum
from collectlab.core.engine import same_engine
from collectlab.core.errors import FrameError, NotAvailable, first_few
from collectlab.effects.league_cases import FACTS, league_cases
from collectlab.measures.actions_rows import Period, rows, within
from collectlab.measures.costs_touch import contact_made
from collectlab.measures.flows import UNIT, as_money, spells_with_windows

if TYPE_CHECKING:
    from collectlab.book.open import Book

CHANNELS = ("call", "visit")
#: Days a case is followed. Long horizons mix in the work of those who take it over.
HORIZON = 30
#: Rows of one skill kept in memory; beyond, whole groups of customers are left out by their hash.
MOST_ROWS = 2_000_000

#: Skill → what is counted, and the training that is about it.
SKILLS = {
    "cured": ("cases cured within the horizon", "working a case to its end: coaching on whole cases"),
    "reached": ("attempts that reach somebody", "when and how to call: reaching debtors"),
    "promises_kept": (
        "promises due that were kept",
        "agreeing promises that can be kept, and following them up",
    ),
    "recorded": ("contacts recorded", "keeping the record of a contact"),
    "within_rules": ("contacts within the contact rules", "the contact rules"),
}


def need_agents(book: Book, by: str = "agent") -> None:
    """One line where the book names nobody."""
    if not book.has("actions") or by not in book.columns("actions"):
        raise NotAvailable(f"this book's actions name no {by}.")


def roster(
    book: Book, channels: Sequence[str] = CHANNELS, period: Period = None
) -> tuple[dict[str, str], tuple[str, ...], tuple[str, ...]]:
    """Each agent's team; agents that stand in two teams; and what has to be said of them.

    Returns
    -------
    teams : dict
        Agent → team; missing where the actions name no team.
    torn : tuple of str
        Agents in two teams: nobody can say whose cases theirs are, so they are left out, never merged.
    notes : tuple of str
    """
    if "team" not in book.columns("actions"):
        return {}, (), ()
    frame, _ = rows(book, "actions", "at", ["agent", "team"], period)
    frame = frame.filter(nw.col("channel").is_in(list(channels)) & ~nw.col("__by0").is_null())
    pairs = engine.collect(frame.group_by("__by0", "__by1").agg(n=row_count())).dropna()
    pairs = pairs.astype({"__by0": str, "__by1": str}).sort_values(["__by0", "__by1"])
    many = pairs.groupby("__by0")["__by1"].nunique()
    torn = tuple(many.index[many > 1])
    notes = []
    if torn:
        named = [f"{a} ({', '.join(pairs.loc[pairs['__by0'] == a, '__by1'])})" for a in torn]
        lost = int(pairs.loc[pairs["__by0"].isin(torn), "n"].sum())
        notes.append(
            f"{len(torn):,} agents stand in two teams: {first_few(named)}. They and their {lost:,} actions are left out. "
            "Allowed: one team an agent within the period."
        )
    kept = pairs[~pairs["__by0"].isin(torn)]
    return dict(zip(kept["__by0"], kept["__by1"])), torn, tuple(notes)


def starts(book: Book, by: str, channels: Sequence[str], definition: str, period: Period) -> pd.DataFrame:
    """Episodes by channel with whoever made the first action through it, as :func:`league_cases` has them.

    account_id, among, unit, on (day number), left (days from then to the end), ended, rep. Of all episodes, however
    short they were followed, so that days can be counted with censoring.
    """
    spells = spells_with_windows(
        book.episodes(definition=definition), by=[], amount="amount_at_entry", cluster="customer_id",
        as_of=book.as_of,
    ).filter(~nw.col("__late") & nw.col("__lasts"))  # fmt: skip
    acts, _ = rows(book, "actions", "at", by, None)
    acts = acts.filter(nw.col("channel").is_in(list(channels)) & ~nw.col("__by0").is_null())
    acts = acts.select(
        "__account",
        "__on",
        __unit=nw.col("__by0").cast(nw.String),
        __at=nw.col("at"),
        __channel=nw.col("channel"),
    )
    spells, acts = same_engine(spells, acts)
    first = (
        spells.join(acts, on="__account", how="inner")
        .with_columns(__since=nw.col("__on") - nw.col("__start"))
        .filter((nw.col("__since") >= 1) & (nw.col("__since") < nw.col("__exit")))
        .unique(
            subset=["__account", "__start", "__channel"], keep="first", order_by=["__on", "__at", "__unit"]
        )
    )
    found = engine.collect(
        within(first, "__on", period).select(
            account_id=nw.col("__account"), among=nw.col("__channel"), unit=nw.col("__unit"), on=nw.col("__on"),
            left=nw.col("__exit") - nw.col("__since"), ended=nw.col("__outcome"), rep=nw.col("__rep"),
        )
    )  # fmt: skip
    return found.sort_values(["account_id", "among", "on"], ignore_index=True)


def share_kept(book: Book, begun: pd.DataFrame, by: str, horizon: int) -> tuple[float, pd.DataFrame]:
    """Of the actions on a case within the horizon, the share by whoever it is attributed to; and both numbers by case."""
    keys = begun.reset_index(names="__row")[["__row", "account_id", "among", "unit", "on", "left"]]
    acts, _ = rows(book, "actions", "at", by, None)
    acts = acts.select(
        "account_id", among=nw.col("channel"), __who=nw.col("__by0").cast(nw.String), __day=nw.col("__on")
    )
    left, acts = same_engine(engine.scan(keys), acts)
    both = left.join(acts, on=["account_id", "among"], how="inner").with_columns(
        __since=nw.col("__day") - nw.col("on")
    )
    both = both.filter(
        (nw.col("__since") >= 0) & (nw.col("__since") <= horizon) & (nw.col("__since") < nw.col("left"))
    )
    own = flag(nw.col("__who") == nw.col("unit"))
    per = engine.collect(both.group_by("__row").agg(n=row_count(), own=whole_sum(own)))
    per = per.set_index("__row").reindex(begun.index).fillna(0)
    total = float(per["n"].sum())
    return (float(per["own"].sum()) / total if total else float("nan")), per


def skill_rows(
    book: Book, skill: str, by: str, *, channels: Sequence[str], horizon: int, definition: str, period: Period
) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """One row per case, attempt, promise or contact: ``by``, among (channel), customer, y, and what makes rows alike."""
    if skill == "cured":
        cases, notes = league_cases(
            book,
            by=by,
            outcome="cured",
            horizon=horizon,
            channels=channels,
            definition=definition,
            period=period,
        )
        return cases.rename(columns={"cured": "y"}).assign(lot=None), notes
    frame, _ = rows(book, "actions", "at", by, period)
    names = frame.collect_schema().names()
    frame = frame.filter(nw.col("channel").is_in(list(channels)) & ~nw.col("__by0").is_null())
    if skill == "recorded":
        if "recorded" not in names:
            raise NotAvailable("this book's actions have no recorded.")
        frame = frame.filter(~nw.col("recorded").is_null()).with_columns(__y=flag(nw.col("recorded")))
    elif skill == "reached":
        if "outcome" not in names and "connected" not in names:
            raise NotAvailable("this book's actions have no outcome and no connected.")
        told = [~nw.col(c).is_null() for c in ("outcome", "connected") if c in names]
        frame = frame.filter(told[0] | told[-1]).with_columns(__y=flag(contact_made(names)))
    elif skill == "promises_kept":
        frame = _promises(book, frame, names)
    else:
        raise FrameError(f"skill is {skill!r}. Allowed: {', '.join(SKILLS)}.")
    facts = [c for c in FACTS if c in book.columns("accounts")]
    owner = ["customer_id"] if "customer_id" in book.columns("accounts") else []
    frame, notes = _fewer(frame)
    found = engine.collect(
        frame.select("account_id", "__on", y=nw.col("__y"), among=nw.col("channel"), unit=nw.col("__by0"))
    ).rename(columns={"unit": by})  # fmt: skip
    known = engine.collect(book.table("accounts").select("account_id", *owner, *facts))
    found = found.merge(known, on="account_id", how="left", validate="m:1")
    found["customer"] = found["customer_id"].fillna(found["account_id"]) if owner else found["account_id"]
    day = pd.Timestamp("1900-01-01") + pd.to_timedelta(found["__on"], unit="D")
    found["quarter"] = day.dt.year.astype(str) + " Q" + day.dt.quarter.astype(str)
    return found.drop(columns=["__on", *owner]), notes


def _promises(book: Book, frame: nw.LazyFrame, names: list[str]) -> nw.LazyFrame:
    """Promises that are due; kept: nine tenths paid by three days after, as :func:`measures.actions.promises` has it."""
    if gone := [c for c in ("outcome", "promised_amount", "promised_on") if c not in names]:
        raise NotAvailable(f"this book's actions have no {first_few(gone)}.")
    if not book.has("payments"):
        raise NotAvailable("whether promises are kept needs payments.")
    due = frame.filter(nw.col("outcome") == "promise").select(
        "account_id", "channel", "__by0", "__account", "__on", "__rep",
        __amount=whole_money("promised_amount", UNIT), __until=day_number("promised_on") + 3,
    )  # fmt: skip
    due = due.filter((nw.col("__amount") > 0) & (nw.col("__until") <= day_of(book.as_of)))
    one = ["__account", "__on", "__until", "__amount"]
    due = due.unique(subset=one, keep="first", order_by=["channel", "__by0"])
    due, money = same_engine(due, as_money(book.table("payments"), "paid_on", "amount"))
    due = engine.computed(due)
    paid = (
        due.select(*one)
        .join(money.rename({"__on": "__day", "__amount": "__paid"}), on="__account", how="inner")
        .filter((nw.col("__day") >= nw.col("__on")) & (nw.col("__day") <= nw.col("__until")))
        .group_by(*one)
        .agg(__paid=whole_sum("__paid"))
    )
    due = due.join(paid, on=one, how="left")
    enough = nw.col("__paid").fill_null(0).cast(nw.Float64) >= 0.9 * nw.col("__amount").cast(nw.Float64)
    return due.with_columns(__y=flag(enough))


def _fewer(frame: nw.LazyFrame) -> tuple[nw.LazyFrame, tuple[str, ...]]:
    """At most MOST_ROWS rows: whole replicate groups of customers, so that nobody's choice of rows matters."""
    per = engine.collect(frame.group_by("__rep").agg(n=row_count())).sort_values("__rep")
    total = per["n"].cumsum().to_numpy()
    if not len(per) or total[-1] <= MOST_ROWS:
        return frame, ()
    kept = max(int((total <= MOST_ROWS).sum()), 2)
    groups = per["__rep"].tolist()[:kept]
    says = f"{int(total[min(kept, len(total)) - 1]):,} of {int(total[-1]):,} rows, of customers drawn by their hash."
    return frame.filter(nw.col("__rep").is_in(groups)), (says,)


def rule_rows(violations: Any, by: str) -> pd.DataFrame:
    """Contacts within the rules (1) and not (0) from counts by unit; channel where the frame has ``among``."""
    lazy = engine.scan(violations)
    engine.require(lazy, by, "violations", "contacts")
    told = engine.collect(lazy)
    many, base = told["violations"].to_numpy(float), told["contacts"].to_numpy(float)
    bad = ~(np.isfinite(many) & np.isfinite(base) & (many >= 0) & (many <= base))
    if bad.any():
        raise FrameError(
            f"violations: {int(bad.sum()):,} rows ({first_few(told.loc[bad, by].tolist())}) hold no counts. "
            "Allowed: 0 ≤ violations ≤ contacts."
        )
    parts = []
    for name, counts in (("0", many), ("1", base - many)):
        take = np.repeat(np.arange(len(told)), counts.astype(int))
        parts.append(told.iloc[take].assign(y=int(name)))
    found = pd.concat(parts, ignore_index=True)
    found["among"] = found["among"].astype(str) if "among" in found else "all"
    return found.assign(customer=np.arange(len(found)).astype(str))[[by, "among", "customer", "y"]]
