"""What became of each delinquent account within a month: the rows that the point to stop is worked out from."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any

import narwhals as nw
import numpy as np
import pandas as pd

from collectlab.core.columns import as_list, day_number, day_of, whole_money
from collectlab.core.engine import collect
from collectlab.core.errors import FrameError, NotAvailable, first_few
from collectlab.measures.costs_touch import with_cost
from collectlab.measures.flows import UNIT
from collectlab.measures.snapshots import CENTS, by_month, is_book
from collectlab.policy.stop_terms import SECURED, UNSECURED, UNTOLD

#: What a month may end in, beside staying past due.
ENDS = ("cured", "settled", "closed", "charged_off", "sold")
#: What the account-month in which a case was filed holds of it.
COURT = ("filed", "court_cost", "court_back")


def stop_rows(
    book: Any,
    *,
    by: str | Sequence[str] | None = None,
    unit_costs: Mapping[str, float] | None = None,
    complaint: float = 0.0,
    case_costs: pd.DataFrame | None = None,
    end: dt.date | str | None = None,
) -> pd.DataFrame:
    """One row per open account past due (or charged off) at a month's end, with what the next month brought.

    Parameters
    ----------
    book : Book
        Snapshots with a balance; payments; actions (their costs), legal_cases (theirs) and complaints where there.
    by : str or list of str, optional
        Columns of the accounts to keep.
    unit_costs : mapping, optional
        Channel → cost of an action that has none of its own.
    complaint : float
        Money a complaint.
    case_costs : pandas.DataFrame, optional
        account_id, filed_on, cost of every court case, such as
        :func:`~collectlab.measures.worth.prices_laid.price_cases` gives; default: the book's own costs.
    end : date, optional
        Look at snapshots up to that date only.

    Returns
    -------
    pandas.DataFrame
        By account and date: ``account_id, customer_id, on, charged_off`` (whether it was already), ``days_past_due,
        balance, market`` (secured, unsecured, or not told), ``next`` (open, or one of cured, settled, closed, charged_off,
        sold; missing where the account was not seen again), ``next_days, next_balance, paid, cost`` (from the day after
        ``on`` to the next snapshot), ``filed`` (1 where the account's first court case was filed in that time),
        ``court_cost, court_back`` (of that case: its cost, and what it has recovered by now), and the columns of ``by``.

    Raises
    ------
    NotAvailable
        No balance, no payments, one month of history, or nobody past due.
    FrameError
        A column of ``by`` is missing, or a channel has no cost.

    Examples
    --------
    >>> from collectlab.book.open import open_book
    >>> rows = stop_rows(open_book("data/example"), by="product")
    >>> sorted(rows["next"].dropna().unique())
    ['charged_off', 'closed', 'cured', 'open', 'settled', 'sold']
    """
    if not is_book(book):
        raise FrameError(f"stop_rows needs a book, as open_book gives it; found a {type(book).__name__}.")
    by = as_list(by)
    if "balance" not in book.columns("snapshots"):
        raise NotAvailable("when to stop needs a balance in the snapshots.")
    if not book.has("payments"):
        raise NotAvailable("when to stop needs payments: this book has none.")
    rows = collect(by_month(book, money=["balance"], end=end))
    if rows["month"].nunique() < 2:
        raise NotAvailable("when to stop needs two months of snapshots or more.")
    rows = rows.sort_values(["id", "month"], kind="stable", ignore_index=True)
    rows["day"] = [day_of(pd.Timestamp(d).date()) for d in rows["date"]]
    same = rows["id"].shift(-1) == rows["id"]
    for name in ("status", "dpd", "money0", "day", "month"):
        rows[f"next_{name}"] = rows[name].shift(-1).where(same)
    late = (rows["status"] == "open") & (rows["dpd"] > 0)
    rows = rows[late | (rows["status"] == "charged_off")].reset_index(drop=True)
    if not (rows["status"] == "open").any():
        raise NotAvailable("no open account is past due in this book.")
    # A gap in the months hides what happened in it: the account counts as not seen again.
    seen = (rows["next_month"] == rows["month"] + 1).to_numpy()
    following = rows["next_status"].to_numpy(object)
    following = np.where((following == "open") & (rows["next_dpd"] == 0).to_numpy(), "cured", following)
    out = pd.DataFrame(
        {
            "account_id": rows["id"],
            "on": rows["date"],
            "day": rows["day"],
            "charged_off": rows["status"] == "charged_off",
            "days_past_due": rows["dpd"].fillna(0).astype(int),
            "balance": rows["money0"].clip(lower=0).fillna(0) / CENTS,
            "next": pd.Series(following, dtype=object).where(pd.Series(seen), None),
            "next_day": rows["next_day"].where(seen, rows["day"]),
            "next_days": rows["next_dpd"].where(seen),
            "next_balance": rows["next_money0"].where(seen).clip(lower=0) / CENTS,
        }
    )
    out["paid"] = _laid(out, book, "payments", "paid_on", whole_money("amount")) / CENTS if len(out) else 0.0
    cases = _cases(book, case_costs)
    out["cost"] = _costs(out, book, unit_costs, complaint, cases)
    first = cases.drop_duplicates("account_id")
    for name in COURT:
        out[name] = _sum_within(out, first.rename(columns={name: "value"}))
    return _with_facts(out, book, by).drop(columns=["day", "next_day"])


def _laid(rows: pd.DataFrame, book: Any, table: str, on: str, value: nw.Expr) -> np.ndarray:
    """The sum of a table's money within (snapshot, next snapshot] of each row."""
    return _sum_within(rows, collect(book.table(table).select("account_id", at=day_number(on), value=value)))


def _sum_within(rows: pd.DataFrame, events: pd.DataFrame) -> np.ndarray:
    events = events.dropna(subset=["account_id", "at", "value"])
    events = events[events["account_id"].isin(set(rows["account_id"]))]
    if events.empty:
        return np.zeros(len(rows))
    left = events.astype({"at": "int64"}).sort_values(["at", "account_id"], kind="stable")
    right = rows[["account_id", "day", "next_day"]].reset_index(names="row")
    right = right.astype({"day": "int64", "next_day": "int64"}).sort_values(
        ["day", "account_id"], kind="stable"
    )
    met = pd.merge_asof(left, right, left_on="at", right_on="day", by="account_id", allow_exact_matches=False)
    met = met[met["at"] <= met["next_day"]]
    out = np.zeros(len(rows))
    np.add.at(out, met["row"].to_numpy(int), met["value"].to_numpy(float))
    return out


def _costs(
    rows: pd.DataFrame,
    book: Any,
    unit_costs: Mapping[str, float] | None,
    complaint: float,
    cases: pd.DataFrame,
) -> np.ndarray:
    spent = np.zeros(len(rows))
    if book.has("actions"):
        costed, _ = with_cost(book.table("actions"), unit_costs)
        log = collect(costed.select("account_id", at=day_number("at"), value=nw.col("__cost")))
        spent += _sum_within(rows, log) / UNIT
    spent += _sum_within(rows, cases.rename(columns={"court_cost": "value"}))
    if complaint and book.has("complaints"):
        spent += complaint * _laid(rows, book, "complaints", "at", nw.lit(1, nw.Int64))
    return spent


def _cases(book: Any, costs: pd.DataFrame | None) -> pd.DataFrame:
    """account_id, at (day filed) and :data:`COURT` of every case, by account and day; costs not told count nothing."""
    if not book.has("legal_cases"):
        return pd.DataFrame({"account_id": [], "at": [], **{c: [] for c in COURT}})
    have = book.columns("legal_cases")
    money = {c: whole_money(c) if c in have else nw.lit(0, nw.Int64) for c in ("cost", "recovered")}
    told = collect(book.table("legal_cases").select("account_id", at=day_number("filed_on"), **money))
    told = told.dropna(subset=["account_id", "at"]).astype({"at": "int64"})
    own = told["cost"].fillna(0).astype(float) / CENTS
    told = told.assign(
        filed=1.0, court_cost=own, court_back=told["recovered"].fillna(0).astype(float) / CENTS
    )
    if costs is not None:
        day = [day_of(pd.Timestamp(d).date()) for d in costs["filed_on"]]
        spent = costs.assign(at=day).groupby(["account_id", "at"])["cost"].sum()
        once = told.groupby(["account_id", "at"], as_index=False, sort=True)[["filed", "court_back"]].sum()
        key = pd.MultiIndex.from_frame(once[["account_id", "at"]])
        told = once.assign(filed=1.0, court_cost=spent.reindex(key).fillna(0).to_numpy(float))
    return told.sort_values(["account_id", "at"], kind="stable", ignore_index=True)[
        ["account_id", "at", *COURT]
    ]


def _with_facts(rows: pd.DataFrame, book: Any, by: list[str]) -> pd.DataFrame:
    have = book.columns("accounts")
    if missing := [c for c in by if c not in have]:
        raise FrameError(f"accounts: no column {first_few(missing)}. Columns here: {first_few(have, 20)}.")
    if taken := [c for c in by if c in rows and c != "account_id"]:
        raise FrameError(f"by holds {first_few(taken)}, a column of the rows themselves.")
    owner = "customer_id" if "customer_id" in have else "account_id"
    wanted = list(dict.fromkeys(c for c in (owner, "secured", *by) if c in have and c != "account_id"))
    facts = collect(book.table("accounts").select("account_id", *wanted))
    rows = rows.merge(facts, on="account_id", how="left", validate="m:1")
    if "customer_id" not in rows:
        rows["customer_id"] = rows["account_id"]
    rows["customer_id"] = rows["customer_id"].fillna(rows["account_id"])
    if "secured" in rows:
        told, secured = rows["secured"].notna(), rows["secured"].astype("boolean").fillna(False).astype(bool)
        rows["market"] = np.where(secured, SECURED, np.where(told, UNSECURED, UNTOLD))
    else:
        rows["market"] = UNTOLD
    return rows.sort_values(["account_id", "on"], kind="stable", ignore_index=True)
