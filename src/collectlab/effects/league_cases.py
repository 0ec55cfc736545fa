"""The cases that a league of teams or agencies is made of, one row each, with what followed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import narwhals as nw
import numpy as np
import pandas as pd

from collectlab.book.episodes import bucket_labels
from collectlab.core import engine
from collectlab.core.columns import day_number, day_of, flag, row_count, step_of, whole_money, whole_sum
from collectlab.core.engine import same_engine
from collectlab.core.errors import FrameError, NotAvailable
from collectlab.measures.actions_rows import Period, rows, within
from collectlab.measures.flows import UNIT, as_money, lay_on_days, spells_with_windows
from collectlab.measures.recovery_placements import placements

if TYPE_CHECKING:
    from collectlab.book.open import Book

#: Days past due at the start of a case, in bands.
STAGES = (0, 1, 30, 60, 90, 180)
#: Facts about an account that cases are alike in, where the book has them.
FACTS = ("product", "credit_score")
_FAR = 10_000_000


def league_cases(
    book: Book,
    *,
    by: str = "team",
    outcome: str = "cured",
    horizon: int = 90,
    channels: Sequence[str] | None = None,
    definition: str = "current_once",
    period: Period = None,
    facts: Sequence[str] = FACTS,
) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """One row per case of a team, agent, agency or branch, followed for ``horizon`` days.

    Whose a case is, and when its clock starts:

    - a column of the actions (``team``, ``agent``, …): an episode counts once for each channel, with whoever made
      its first action through it; the clock starts at that action, ``among`` is the channel;
    - ``agency`` with ``outcome="recovered"``: a placement (:func:`~collectlab.measures.recovery_placements.placements`);
      the clock starts on its day, and money counts to the day before the account's next placement;
    - a column of the accounts (``branch``, …): an episode, from its day 0.

    Every case is followed for the same number of days: those that the book does not follow so far are left out
    and counted, so young placements do not pull an agency down.

    Parameters
    ----------
    book : Book
        With accounts and snapshots; actions unless ``by`` is a column of the accounts; payments for ``recovered``.
    by : str
        See above.
    outcome : {"cured", "recovered"}
        ``recovered`` is the share of what was owed at the start that was paid within ``horizon``.
    horizon : int
        Whole days.
    channels : sequence of str, optional
        Channels whose first action makes a case. Default: call and visit; for agencies ``agency``.
    definition : str
        The named definition of cure.
    period : (date, date), optional
        Of the start of the case.
    facts : sequence of str
        Columns of the accounts to take along, where the book has them.

    Returns
    -------
    cases : pandas.DataFrame
        ``by``, among, account_id, customer, days_past_due (band at the start), amount (overdue at entry, or placed),
        the facts, quarter (of the start), owed, cured or recovered, lot (whether the account was given
        by lot: True, False, or None where the book does not say).
    notes : tuple of str
        What was left out.

    Raises
    ------
    FrameError
        An outcome or horizon that is none.
    NotAvailable
        The book lacks the column, the table, or any case followed so far.

    Examples
    --------
    >>> from collectlab.book.open import open_book
    >>> from collectlab.book.simulate import simulate
    >>> book = open_book(simulate(accounts=400, months=12, truth_accounts=0).book_tables)
    >>> cases, _ = league_cases(book)
    >>> sorted(cases["among"].unique())
    ['call', 'visit']
    """
    if outcome not in ("cured", "recovered"):
        raise FrameError(f"outcome is {outcome!r}. Allowed of a book: 'cured', 'recovered'.")
    if isinstance(horizon, bool) or not isinstance(horizon, (int, np.integer)) or horizon < 1:
        raise FrameError(f"horizon is {horizon!r}. Allowed: whole days ≥ 1.")
    if outcome == "recovered" and not book.has("payments"):
        raise NotAvailable("what was recovered needs payments, which this book has not.")
    given = book.has("actions") and by in book.columns("actions")
    if not given and by not in book.columns("accounts"):
        raise NotAvailable(f"neither the actions nor the accounts of this book have a column {by!r}.")
    if by == "agency" and given and outcome == "recovered":
        cases, young, lost, other = _placed(book, horizon, period)
    else:
        usual = ("agency",) if by == "agency" else ("call", "visit")
        worked = tuple(channels or usual) if given else None
        cases, young, lost, other = _episodes(book, by, worked, horizon, definition, period, outcome)
    notes = [
        f"{n:,} cases left out: {why}."
        for n, why in (
            (young, f"they began less than {horizon} days before the end of the book"),
            (lost, "they vanished from the book"),
            (other, "no amount was owed"),
        )
        if n
    ]
    if cases.empty:
        raise NotAvailable(" ".join([f"no case has been followed for {horizon} days.", *notes]))
    known_facts = [c for c in facts if c != by and c in book.columns("accounts")]
    owner = ["customer_id"] if "customer_id" in book.columns("accounts") else []
    known = engine.collect(book.table("accounts").select("account_id", *owner, *known_facts))
    cases = cases.merge(known, on="account_id", how="left", validate="m:1")
    cases["customer"] = cases["customer_id"].fillna(cases["account_id"]) if owner else cases["account_id"]
    day = pd.Timestamp("1900-01-01") + pd.to_timedelta(cases["start"], unit="D")
    cases["quarter"] = day.dt.year.astype(str) + " Q" + day.dt.quarter.astype(str)
    labels = bucket_labels(STAGES, zero="0")
    cases["days_past_due"] = pd.Categorical(cases["stage"].map(labels), list(labels.values()))
    cases["lot"] = _by_lot(book, cases["account_id"], cases["unit"])
    cases = cases.rename(columns={"unit": by}).sort_values(
        ["among", "account_id", "start"], ignore_index=True
    )
    first = [by, "among", "account_id", "customer", "days_past_due", "amount"]
    return cases[[*first, *known_facts, "quarter", "owed", outcome, "lot"]], tuple(notes)


def _episodes(book, by, channels, horizon, definition, period, outcome):
    """Episodes with their first action through each channel (or from day 0), as team_comparison counts them."""
    spells = spells_with_windows(
        book.episodes(definition=definition),
        by=[],
        amount="amount_at_entry",
        cluster="customer_id",
        as_of=book.as_of,
    ).filter(~nw.col("__late") & nw.col("__lasts"))
    if channels is None:
        owners = book.table("accounts").select(__account=nw.col("account_id"), __by0=nw.col(by))
        spells, owners = same_engine(spells, owners)
        first = spells.join(owners, on="__account", how="inner").with_columns(
            __since=nw.lit(0, nw.Int64), __on=nw.col("__start"), __channel=nw.lit("all")
        )
    else:
        acts, _ = rows(book, "actions", "at", by, None)
        acts = acts.filter(nw.col("channel").is_in(list(channels)) & ~nw.col("__by0").is_null())
        acts = acts.select("__account", "__on", "__by0", __at=nw.col("at"), __channel=nw.col("channel"))
        spells, acts = same_engine(spells, acts)
        first = (
            spells.join(acts, on="__account", how="inner")
            .with_columns(__since=nw.col("__on") - nw.col("__start"))
            .filter((nw.col("__since") >= 1) & (nw.col("__since") < nw.col("__exit")))
            .unique(
                subset=["__account", "__start", "__channel"],
                keep="first",
                order_by=["__on", "__at", "__by0"],
            )
        )
    first = within(first.filter(~nw.col("__by0").is_null()), "__on", period)
    stop = nw.col("__since") + horizon
    young = nw.col("__on") > day_of(book.as_of) - horizon
    lost = (nw.col("__outcome") == "censored") & (nw.col("__exit") < stop)
    first = engine.computed(
        first.select(
            "__account", "__start", "__channel", "__by0", "__since", "__on", "__cap", "__owes",
            __stage=step_of("__since", STAGES),
            __why=nw.when(young).then(nw.lit(1)).when(lost).then(nw.lit(2)).otherwise(nw.lit(0)),
            __cured=flag((nw.col("__outcome") == "cured") & (nw.col("__exit") <= stop)),
        )
    )  # fmt: skip
    why = engine.collect(first.group_by("__why").agg(n=row_count())).set_index("__why")["n"]
    kept = first.filter(nw.col("__why") == 0)
    if outcome == "recovered":
        money = as_money(book.table("payments"), "paid_on", "amount")
        spells, money = same_engine(spells, money)
        laid = lay_on_days(spells, money, by=[], capped=True)
        laid = laid.select("__account", "__start", "__day", "__counted")
        unit = ["__account", "__start", "__channel"]
        joined = kept.select(*unit, "__since").join(laid, on=unit[:2], how="inner")
        before = nw.col("__day") < nw.col("__since")
        after = ~before & (nw.col("__day") <= nw.col("__since") + horizon)
        sums = {
            name: whole_sum(nw.when(when).then(nw.col("__counted")).otherwise(nw.lit(0)))
            for name, when in (("__before", before), ("__back", after))
        }
        kept = kept.join(joined.group_by(*unit).agg(**sums), on=unit, how="left")
    else:
        kept = kept.with_columns(__before=nw.lit(0), __back=nw.lit(0))
    cases = engine.collect(kept)
    cap, paid = cases["__cap"].fillna(0), cases["__before"].fillna(0)
    owed = np.where(cases["__owes"].astype(bool), cap - paid, 0)
    found = pd.DataFrame(
        {
            "unit": cases["__by0"].astype(str), "among": cases["__channel"].astype(str),
            "account_id": cases["__account"], "start": cases["__on"], "stage": cases["__stage"],
            "amount": cases["__cap"] / UNIT, "owed": owed / UNIT,
        }
    )  # fmt: skip
    if outcome == "cured":
        return found.assign(cured=cases["__cured"]), int(why.get(1, 0)), int(why.get(2, 0)), 0
    found["recovered"] = cases["__back"].fillna(0) / np.where(owed > 0, owed, 1)
    owes = owed > 0
    return found[owes], int(why.get(1, 0)), int(why.get(2, 0)), int((~owes).sum())


def _placed(book, horizon, period):
    """Placements followed for ``horizon`` days each, whatever their batch."""
    log = book.table("actions"), book.table("snapshots")
    made = placements(*log, by="agency")
    if not {"amount_past_due"} <= set(book.columns("snapshots")):
        raise NotAvailable("placements need amount_past_due in the snapshots.")
    late = placements(*log, by="agency", amount="days_past_due")
    late = late.select("account_id", "placed_on", dpd=nw.col("amount"))
    made, late, paid = same_engine(made, late, book.table("payments"))
    made = made.join(late, on=["account_id", "placed_on"], how="left").with_columns(
        __on=day_number("placed_on")
    )
    following = nw.col("__on").shift(-1).over("account_id", order_by="__on").fill_null(_FAR)
    made = engine.computed(
        within(made.with_columns(__next=following), "__on", period).select(
            "account_id", "__on", "__next", unit=nw.col("agency"), stage=step_of("dpd", STAGES),
            cap=whole_money("amount"),
        )
    )  # fmt: skip
    paid = paid.select("account_id", __day=day_number("paid_on"), __cents=whole_money("amount"))
    made, paid = same_engine(made, paid)
    window = (
        (nw.col("__day") >= nw.col("__on"))
        & (nw.col("__day") < nw.col("__next"))
        & (nw.col("__day") <= nw.col("__on") + horizon)
    )
    back = made.join(paid, on="account_id", how="inner").filter(window)
    back = back.group_by("account_id", "__on").agg(back=whole_sum("__cents"))
    cases = engine.collect(made.join(back, on=["account_id", "__on"], how="left"))
    young = cases["__on"] > day_of(book.as_of) - horizon
    owes = cases["cap"].fillna(0) > 0
    kept = cases[~young & owes]
    cents = kept["cap"].astype(float)
    share = np.clip(kept["back"].fillna(0).astype(float), 0, cents) / cents
    found = pd.DataFrame(
        {
            "unit": kept["unit"].astype(str), "among": "agency", "account_id": kept["account_id"],
            "start": kept["__on"], "stage": kept["stage"], "amount": cents / 100, "owed": cents / 100,
            "recovered": share,
        }
    )  # fmt: skip
    return found.reset_index(drop=True), int(young.sum()), 0, int((~young & ~owes).sum())


def _by_lot(book: Book, accounts: pd.Series, units: pd.Series) -> list[bool | None]:
    """Whether the assignments say that the account was given to the unit by lot; None where they do not say."""
    unsaid: list[bool | None] = [None] * len(accounts)
    if not book.has("assignments") or "randomised" not in book.columns("assignments"):
        return unsaid
    log = book.table("assignments").filter(nw.col("strategy").cast(nw.String).is_in(sorted(set(units))))
    said = engine.collect(
        log.group_by("account_id", "strategy").agg(lot=nw.col("randomised").cast(nw.Int64).min())
    )
    if said.empty:
        return unsaid
    by_pair = {(a, str(s)): v for a, s, v in said.itertuples(index=False)}
    found = [by_pair.get(pair) for pair in zip(accounts, units)]
    return [None if pd.isna(v) else bool(v) for v in found]
