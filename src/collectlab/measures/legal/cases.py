"""Legal cases as rows: the bank's words mapped to steps and results, days, money, and the size of the claim."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import narwhals as nw
import numpy as np
import pandas as pd

from collectlab.core import engine
from collectlab.core.columns import day_number, day_of, whole_money
from collectlab.core.engine import same_engine
from collectlab.core.errors import FrameError, NotAvailable, first_few, nearest
from collectlab.measures.actions_rows import Period, rows

#: The usual steps of a case, in their order, with the words banks use for them. Words are compared in lower case.
STEPS: dict[str, tuple[str, ...]] = {
    "letter": ("letter", "lawyer's letter", "lawyers_letter", "lawyer_letter", "demand", "律师函", "催告"),
    "suit": ("suit", "filed", "lawsuit", "litigation", "claim", "起诉", "立案", "诉讼"),
    "hearing": ("hearing", "trial", "mediation", "开庭", "审理", "诉前调解"),
    "judgment": ("judgment", "judgement", "decided", "decision", "判决", "裁决", "已判决"),
    "enforcement": ("enforcement", "execution", "seizure", "garnishment", "执行", "强制执行"),
    "auction": ("auction", "foreclosure", "foreclosure_sale", "拍卖", "司法拍卖"),
    "closed": ("closed", "ended", "结案", "终结"),
}
#: Words for a result in the bank's favour, and for one that is not.
WON = (
    "judgment",
    "judgement",
    "won",
    "granted",
    "court_settlement",
    "settlement",
    "settled",
    "paid",
    "default_judgment",
)
WON += ("胜诉", "支持", "调解", "和解")
LOST = ("withdrawn", "dismissed", "lost", "rejected", "denied", "struck_out", "败诉", "驳回", "撤诉")

BANDS = 3


def step_words(names: Mapping[str, str] | None) -> dict[str, str]:
    """Word → step, the bank's own words (``names``) first."""
    words = {word: step for step, usual in STEPS.items() for word in (step, *usual)}
    if names:
        if odd := sorted(f"{w!r} → {s!r}" for w, s in names.items() if s not in STEPS):
            raise FrameError(f"names: no such step in {first_few(odd)}. Allowed: {', '.join(STEPS)}.")
        words |= {str(w).strip().lower(): s for w, s in names.items()}
    return words


def result_words(won: Sequence[str] | None, lost: Sequence[str] | None) -> dict[str, str]:
    """Word → ``won`` or ``lost``."""
    if isinstance(won, str) or isinstance(lost, str):
        raise FrameError("won and lost are lists of words, such as won=['judgment'].")
    words = dict.fromkeys(LOST, "lost") | dict.fromkeys(WON, "won")
    own = [{str(w).strip().lower() for w in given or ()} for given in (won, lost)]
    if both := sorted(own[0] & own[1]):
        raise FrameError(f"{first_few(both)}: in won and in lost. Allowed: in one of them.")
    return words | dict.fromkeys(own[0], "won") | dict.fromkeys(own[1], "lost")


def read_cases(
    book: Any,
    by: str | Sequence[str] | None = None,
    period: Period = None,
    won: Sequence[str] | None = None,
    lost: Sequence[str] | None = None,
) -> tuple[pd.DataFrame, list[str], list[str]]:
    """One row a case, sorted; ``by``; and what has to be said of the rows.

    Rows loaded twice, and cases decided before they were filed, were set aside when the book was opened.

    Columns: ``__by0 …``, __account, __rep, __on, stage, result (the bank's words), decided, days (to the decision, or
    so far), ended (won, lost, unclear or censored), cost, back (cents; missing where not written down).
    """
    asked = [by] if isinstance(by, str) else list(by or ())
    known = [b for b in asked if b != "amount_band"]
    frame, known = rows(book, "legal_cases", "filed_on", known, period)
    names = frame.collect_schema().names()

    def text(name: str) -> nw.Expr:
        return nw.col(name).cast(nw.String) if name in names else nw.lit(None, nw.String)

    def money(name: str) -> nw.Expr:
        return whole_money(name) if name in names else nw.lit(None, nw.Int64)

    end = day_number("decided_on") if "decided_on" in names else nw.lit(None, nw.Int64)
    cases = engine.collect(
        frame.select(
            *(f"__by{i}" for i in range(len(known))), "__account", "__rep", "__on",
            __stage=text("stage"), __result=text("result"), __end=end, __cost=money("cost"),
            __back=money("recovered"),
        )
    ).rename(columns={f"__{c}": c for c in ("stage", "result", "cost")} | {"__back": "back"})  # fmt: skip
    if cases.empty:
        raise NotAvailable("there are no legal cases in this book or period.")
    # Only what the caller groups by may name a customer's other columns; the order is that of the keys.
    cases = cases.sort_values(
        ["__account", "__on", "__end", "stage", "result", "cost", "back"], ignore_index=True
    )
    notes = []
    last = day_of(book.as_of)
    end = cases["__end"].to_numpy(float, na_value=np.nan)
    filed = cases["__on"].to_numpy(float)
    decided = np.isfinite(end) & (end <= last)
    words = result_words(won, lost)
    said = cases["result"].str.strip().str.lower()
    ended = said.map(words).fillna("unclear").to_numpy(object)
    cases["decided"] = decided
    cases["days"] = np.where(decided, end, last) - filed
    cases["ended"] = np.where(decided, ended, "censored")
    undated = ~decided & said.isin(list(words)).to_numpy()
    if undated.any():
        notes.append(
            f"{int(undated.sum()):,} cases have a result and no day of decision: they count as open."
        )
    if odd := sorted(set(said[decided & (ended == "unclear")].dropna())):
        near = {w: nearest(w, words, 1) for w in odd}
        hint = "".join(f" ({w}: like {n[0]}?)" for w, n in near.items() if n)
        notes.append(
            f"Results neither won nor lost by their words: {first_few(odd)}{hint}. They count as neither."
        )
    for i, name in enumerate(asked):
        if name == "amount_band":
            cases.insert(i, "__band", _bands(book, cases))
    cases.columns = [
        *(f"__by{i}" for i in range(len(asked))), *cases.columns[len(asked) :]
    ]  # fmt: skip
    return cases, asked, notes


def claims(book: Any, cases: pd.DataFrame) -> pd.Series:
    """What was owed at filing (cents): the balance, else the amount past due, of the last snapshot up to then."""
    have = book.columns("snapshots")
    column = next((c for c in ("balance", "amount_past_due") if c in have), None)
    if column is None:
        raise NotAvailable("the size of a claim needs balance or amount_past_due in the snapshots.")
    wanted = cases[["__account", "__on"]].drop_duplicates()
    left, seen = same_engine(
        engine.scan(wanted),
        book.table("snapshots").select(
            __account=nw.col("account_id"), __seen=day_number("as_of"), __owed=whole_money(column)
        ),
    )
    found = (
        left.join(seen, on="__account", how="inner")
        .filter(nw.col("__seen") <= nw.col("__on"))
        .unique(subset=["__account", "__on"], keep="last", order_by=["__seen"])
    )
    known = engine.collect(found.select("__account", "__on", "__owed"))
    return cases[["__account", "__on"]].merge(known, on=["__account", "__on"], how="left")["__owed"]


def _bands(book: Any, cases: pd.DataFrame) -> pd.Categorical:
    """Claims in bands of about equal numbers of cases, with edges of two figures."""
    owed = claims(book, cases).to_numpy(float, na_value=np.nan) / 100
    known = owed[np.isfinite(owed)]
    if not len(known):
        raise NotAvailable("no case has a snapshot before it was filed: the size of the claims is not known.")
    inner = np.quantile(known, np.arange(1, BANDS) / BANDS)
    edges = sorted({float(f"{e:.2g}") for e in inner})
    labels = [f"up to {edges[0]:,.0f}"]
    labels += [f"{a:,.0f} to {b:,.0f}" for a, b in pairwise(edges)]
    labels += [f"over {edges[-1]:,.0f}"]
    return pd.cut(owed, [-np.inf, *edges, np.inf], labels=labels)
