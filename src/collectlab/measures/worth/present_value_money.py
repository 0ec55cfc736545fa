"""The money of collection as dated flows: what came in, and each kind of cost at the price of its day."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import narwhals as nw
import pandas as pd

from collectlab.core import engine
from collectlab.core.columns import day_number, flag, own_names, row_count, whole_money, whole_sum
from collectlab.core.engine import same_engine
from collectlab.core.errors import FrameError, NotAvailable
from collectlab.measures.costs_touch import contact_made
from collectlab.measures.flows import UNIT
from collectlab.measures.worth.checks import check_prices
from collectlab.measures.worth.prices import DEBTOR, Prices
from collectlab.measures.worth.prices_laid import agency_placements, commissions, price_actions, price_cases

#: Kind of flow → whether it adds to the bank's net (+1), takes from it (−1), or is the debtor's own (0).
SIGNS = {"paid": 1, "actions": -1, "commission": -1, "legal": -1, "complaints": -1, "debtor": 0}


@dataclass(frozen=True)
class MoneyFlows:
    """Money by account and day: kind (a key of :data:`SIGNS`) → lazy frame of ``__account, __on, __amount``.

    Amounts are in whole 1/:data:`~collectlab.measures.flows.UNIT`, all of them ≥ 0 but for reversed payments;
    ``__on`` is a :func:`~collectlab.core.columns.day_number`.
    """

    flows: Mapping[str, nw.LazyFrame]
    notes: tuple[str, ...] = ()

    @property
    def societal(self) -> bool:
        """Whether the debtor's own charges are among them."""
        return "debtor" in self.flows

    def totals(self) -> pd.Series:
        """All the money of each kind, in the book's currency.

        Returns
        -------
        pandas.Series
        """
        found = {
            k: engine.collect(f.select(n=whole_sum("__amount")))["n"].iloc[0] for k, f in self.flows.items()
        }
        return pd.Series({k: float(v) / UNIT for k, v in found.items()}, dtype=float)


def check_flows(flows: Any) -> MoneyFlows:
    """Flows of money, or a FrameError that says how they are made.

    Examples
    --------
    >>> check_flows(MoneyFlows({})).societal
    False
    """
    if not isinstance(flows, MoneyFlows):
        raise FrameError(
            f"flows is a {type(flows).__name__}. Needed: money_flows(payments, actions, prices=…) or book_flows(book, prices)."
        )
    return flows


def money_flows(
    payments: Any,
    actions: Any = None,
    *,
    prices: Prices,
    complaints: Any = None,
    cases: Any = None,
    placed: Any = None,
    contracts: Any = None,
    columns: Mapping[str, str] | None = None,
) -> MoneyFlows:
    """All the money that collection brings and costs, by account and day.

    ``paid``; ``actions`` (:func:`price_actions`); ``commission`` (:func:`commissions`); ``legal``
    (:func:`price_cases`); ``complaints`` (``complaint`` each, and ``complaint_upheld`` where upheld); and, where the prices
    have any ``debtor_`` key, ``debtor``: what contacts (where the log says so: those marked as connected), cases
    and complaints cost the debtor beyond the debt.

    Parameters
    ----------
    payments : frame
        account_id, paid_on, amount.
    actions, complaints, cases, placed : frame, optional
        As in the functions named. A table that is not given adds nothing, which the notes say.
    prices : Prices
    contracts : frame, optional
        As in :func:`commissions`.
    columns : mapping, optional
        What your payments and actions call account_id, paid_on, amount, at, channel, cost, where it differs.

    Returns
    -------
    MoneyFlows

    Raises
    ------
    FrameError
        All that the prices do not cover, at once.

    Examples
    --------
    >>> paid = pd.DataFrame({"account_id": ["a"], "paid_on": pd.to_datetime(["2026-03-20"]), "amount": [400.0]})
    >>> log = pd.DataFrame({"account_id": ["a"], "channel": ["call"], "at": pd.to_datetime(["2026-03-01 10:00"])})
    >>> money_flows(paid, log, prices=Prices.of({"call": 2.4, "debtor_contact": 3})).totals().to_dict()
    {'paid': 400.0, 'actions': 2.4, 'debtor': 3.0}
    """
    check_prices(prices)
    lazy = own_names(payments, columns, ("account_id", "paid_on", "amount"))
    engine.require(lazy, "account_id", "paid_on", "amount")
    flows = {"paid": _flow(lazy, "paid_on", whole_money("amount", UNIT))}
    faults: list[str] = []
    absent, debtor = [], []
    if actions is None:
        absent.append("actions")
    else:
        spent = own_names(actions, columns, ("account_id", "at", "channel", "connected", "cost"))
        if "connected" in spent.collect_schema().names():
            spent = spent.with_columns(nw.col("connected").cast(nw.Boolean))
        try:
            spent = price_actions(spent, prices)
            flows["actions"] = _flow(spent, "at", whole_money("cost", UNIT))
        except FrameError as error:
            faults += error.faults
        else:
            have = spent.collect_schema().names()
            made = spent.filter(contact_made(have))
            if "connected" in have:  # a message takes nobody's time as a call or a visit does
                made = made.filter(_true("connected"))
            debtor.append(("debtor_contact", made, "at"))
    if placed is not None:
        try:
            earned = commissions(lazy, placed, prices, contracts=contracts)
            flows["commission"] = _flow(engine.scan(earned), "paid_on", whole_money("commission", UNIT))
        except FrameError as error:
            faults += error.faults
    if cases is None:
        absent.append("legal_cases")
    else:
        try:
            filed = price_cases(cases, prices)
        except FrameError as error:
            faults += error.faults
        else:
            flows["legal"] = _flow(engine.scan(filed), "filed_on", whole_money("cost", UNIT))
            debtor.append(("debtor_case", engine.scan(filed), "filed_on"))
    if complaints is None:
        absent.append("complaints")
    else:
        made = engine.scan(complaints)
        engine.require(made, "account_id", "at")
        try:
            each = _stepped(prices, "complaint", made, "at", True)
            if "upheld" in made.collect_schema().names() and prices.steps("complaint_upheld"):
                more = _stepped(prices, "complaint_upheld", made, "at", False)
                each = each + nw.when(_true("upheld")).then(more).otherwise(nw.lit(0))
            flows["complaints"] = _flow(made, "at", each)
        except FrameError as error:
            faults += error.faults
        debtor.append(("debtor_complaint", made, "at"))
    if faults:
        raise FrameError(faults)
    own = [
        _flow(frame, on, _stepped(prices, key, frame, on, False))
        for key, frame, on in debtor
        if prices.steps(key)
    ]
    if own:
        text = [f.with_columns(__account=nw.col("__account").cast(nw.String)) for f in own]
        first, *rest = same_engine(*text)
        flows["debtor"] = nw.concat([first, *rest]) if rest else first
    notes = []
    if absent:
        notes.append(
            f"Not in the book, so not in the cost: {', '.join(a.replace('_', ' ') for a in absent)}."
        )
    if own:
        used = [k.removeprefix("debtor_") for k in DEBTOR if prices.steps(k)]
        notes.append(
            f"Society's point of view adds what the debtor bears beyond the debt ({', '.join(used)}); what is paid counts "
            "as the return of money lent, not as a mere transfer."
        )
    return MoneyFlows(flows, tuple(notes))


def _true(column: str) -> nw.Expr:
    """True where a column of flags, numbers or texts such as "true" and "0" says so; else false."""
    return nw.col(column).cast(nw.Boolean).fill_null(False)


def _flow(frame: nw.LazyFrame, on: str, amount: nw.Expr) -> nw.LazyFrame:
    return frame.select(
        __account=nw.col("account_id"), __on=day_number(on), __amount=amount.cast(nw.Int64)
    ).filter(~nw.col("__amount").is_null())


def _stepped(prices: Prices, key: str, frame: nw.LazyFrame, on: str, needed: bool) -> nw.Expr:
    """The price of each row's day in 1/UNIT; days before the first price are a fault where it is needed, else free."""
    steps, value, day = prices.steps(key), nw.lit(None, nw.Int64), day_number(on)
    for since, price in steps:
        value = nw.when(day >= since).then(nw.lit(round(price * UNIT))).otherwise(value)
    if needed:
        told = frame.with_columns(__price=value.cast(nw.Int64))
        bare = engine.collect(
            told.select(n=whole_sum(flag(nw.col("__price").is_null())), all=row_count())
        ).iloc[0]
        if bare["n"]:
            raise FrameError(
                f"no price {key!r} is in force for {int(bare['n']):,} of {int(bare['all']):,} complaints. Add one (0 if it "
                "costs nothing)."
            )
    return value.fill_null(0).cast(nw.Int64)


def book_flows(book: Any, prices: Prices, *, contracts: Any = None) -> MoneyFlows:
    """:func:`money_flows` of everything that a book has.

    Parameters
    ----------
    book : Book
        With payments; actions, complaints, legal_cases where there.
    prices : Prices
    contracts : frame, optional
        As in :func:`commissions`.

    Returns
    -------
    MoneyFlows

    Raises
    ------
    NotAvailable
        The book has no payments.
    FrameError
        All that the prices do not cover.

    Examples
    --------
    >>> from collectlab.book.open import open_book
    >>> from collectlab.book.simulate import simulate
    >>> from collectlab.measures.worth.prices import load_prices
    >>> book = open_book(simulate(accounts=300, months=12, truth_accounts=0).book_tables)
    >>> flows = book_flows(book, load_prices("params/costs.yml", "params/fees.yml"))
    >>> sorted(flows.flows)
    ['actions', 'commission', 'complaints', 'debtor', 'legal', 'paid']
    """
    if not book.has("payments"):
        raise NotAvailable("what collection is worth needs a table payments.")
    tables = {t: book.table(t) if book.has(t) else None for t in ("actions", "complaints", "legal_cases")}
    placed = None
    seen = book.columns("snapshots")
    if tables["actions"] is not None and "agency" in book.columns("actions") and "amount_past_due" in seen:
        placed = agency_placements(tables["actions"], book.table("snapshots"))
    cases = tables["legal_cases"]
    if (
        cases is not None
        and "amount_claimed" not in book.columns("legal_cases")
        and "balance" in seen
        and prices.schedules.get("legal_fee")
    ):
        cases = _with_claim(cases, book.table("snapshots"))
    return money_flows(
        book.table("payments"), tables["actions"], prices=prices, complaints=tables["complaints"],
        cases=cases, placed=placed, contracts=contracts,
    )  # fmt: skip


def _with_claim(cases: nw.LazyFrame, snapshots: nw.LazyFrame) -> nw.LazyFrame:
    """Cases with the account's balance in the last snapshot up to the filing, as the amount claimed."""
    cases, seen = same_engine(cases, snapshots.select("account_id", __seen="as_of", amount_claimed="balance"))
    known = (
        cases.select("account_id", "filed_on")
        .unique()
        .join(seen, on="account_id", how="inner")
        .filter(nw.col("__seen") <= nw.col("filed_on"))
        .unique(subset=["account_id", "filed_on"], keep="last", order_by=["__seen"])
        .select("account_id", "filed_on", "amount_claimed")
    )
    return cases.join(known, on=["account_id", "filed_on"], how="left")
