"""Feedback to credit approval: how loans of each origination segment end, adjusted for cures that last.

Loans are compared at equal age, whenever they were granted, and against what other segments' loans of the same score
band do, so that a segment is not blamed for its mix. Only loans that were granted are seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from collectlab.core.columns import as_list, month_number, whole_money
from collectlab.core.engine import collect
from collectlab.core.errors import FrameError, NotAvailable, first_few
from collectlab.core.jackknife import (
    GROUPS,
    INTERVAL,
    check_level,
    interval,
    jackknife,
    replicate_of,
    t_quantile,
    wilson,
)
from collectlab.core.plots import dots
from collectlab.core.results import Result
from collectlab.measures.groups import MISSING, coded_groups, group_labels, own_names
from collectlab.measures.snapshots import CENTS, by_month, check_days, is_book

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["CreditLoss", "credit_loss"]

#: Fewer loans than this are not compared; fewer bad ones tell no cure rate of their own.
SMALLEST, FEW_BAD = 30, 20
_LOST = ("charged_off", "sold", "settled")
_OWN = ("loans", "bad_rate", "cured_for_good", "expected", "difference", "net_loss", "verdict", *INTERVAL)


@dataclass(frozen=True, kw_only=True)
class CreditLoss(Result):
    """One row per origination segment.

    ``table``: [by…], loans, bad_rate, cured_for_good, estimate … (loans not cured for good), expected (of others' loans in
    the same score bands), difference, difference_low, difference_high (simultaneous over the segments), net_loss (share
    of the principal), verdict (higher, lower, cannot tell, too few).
    """

    by: tuple[str, ...] = ()
    plottable = True

    def plot(self, ax: Axes | None = None, **options: Any) -> Axes:
        """Each segment's difference to what is expected of its score bands."""
        told = self.table.dropna(subset=["difference"]).reset_index(drop=True)
        rows = told.assign(
            estimate=told["difference"], conf_low=told["difference_low"], conf_high=told["difference_high"]
        )
        return dots(
            [("difference", rows)],
            group_labels(told, self.by),
            unit="points",
            title=self.title,
            xlabel="Against other segments' loans of the same score bands (percentage points)",
            zero=True,
            ax=ax,
        )


def credit_loss(
    book: Any,
    by: str | Sequence[str],
    *,
    months_on_book: int = 6,
    over: int = 30,
    clean: int = 6,
    horizon: int = 12,
    loss_age: int = 12,
    score: str = "credit_score",
    bands: int = 3,
    conf_level: float = 0.95,
) -> CreditLoss:
    r"""Share of new loans that go bad early and are not cured for good, by origination segment.

    .. math:: A_g = p_g \cdot (1 - s_g)

    with p_g the share ``over`` or more days past due (or lost) within ``months_on_book`` months of origination, by
    Kaplan–Meier over age in months: loans paid off early stay in, as they cannot go bad, and loans too young are
    censored. s_g is the share of those cured for good within ``horizon`` months: seen current and not past due again
    for ``clean`` months, with loss (charged off, sold, settled) competing; follow-up ends ``clean`` months early for
    all, so that who is cured for good is known of everybody counted (Aalen–Johansen). A segment with fewer than 20 bad
    loans takes the s of all.

    ``expected`` is what loans of the other segments do at this segment's mix of score bands,
    Σ_b w_gb p_{−g,b} (1 − s_{−g}); ``difference`` is A_g less that. Standard errors are the delete-a-group jackknife
    over customers; the differences' intervals are simultaneous over the segments (Bonferroni).

    ``net_loss`` is the balance charged off, sold or settled by ``loss_age`` months of age less what was paid after the
    loss, per principal granted, of loans that are old enough. What a sale brought is not in the book and not taken off.

    Parameters
    ----------
    book : Book
        accounts with ``originated_on`` and the columns of ``by``; snapshots.
    by : str or sequence of str
        Columns of ``accounts`` known when a loan is granted.
    months_on_book, over, clean, horizon, loss_age
        As above; whole months, and days past due.
    score : str
        Column of ``accounts`` with the score at origination; where the book has none, nothing is held equal.
    bands : int
        Number of score bands, each with as many loans.
    conf_level : float
        Level of the intervals.

    Returns
    -------
    CreditLoss

    Raises
    ------
    NotAvailable
        No origination dates or columns, no loan granted since the first snapshot, one month of history, one segment.
    FrameError
        An argument out of range.

    References
    ----------
    Aalen & Johansen (1978), Scandinavian Journal of Statistics 5, 141–150.

    Examples
    --------
    >>> from collectlab.book.open import open_book
    >>> found = credit_loss(open_book("data/example"), "origination_channel")
    >>> sorted(found.table["origination_channel"])
    ['branch', 'online', 'partner']
    """
    check_level(conf_level)
    for name, value in (
        ("months_on_book", months_on_book), ("clean", clean), ("horizon", horizon), ("loss_age", loss_age), ("bands", bands),
    ):  # fmt: skip
        check_days(value, name, "bands" if name == "bands" else "months")
    check_days(over)
    names = as_list(by)
    if not names:
        raise FrameError("by is empty. Allowed: columns of accounts that make a segment.")
    loans, rows, last = _loans(book, names, score)
    groups, code = coded_groups(loans, names)
    groups = groups.astype(object).where(groups.notna(), MISSING)
    if len(groups) < 2:
        raise NotAvailable("all new loans are of one segment: nothing to compare it with.")
    band = _bands(loans[score], bands) if score in loans else np.zeros(len(loans), dtype=int)
    lives = _lives(loans, rows, last, over)
    shape = (len(groups), int(band.max()) + 1, months_on_book, clean, horizon)
    by_group = [
        *_counts(loans, lives, code, band, shape),
        _lost_money(book, loans, lives, code, len(groups), loss_age),
    ]
    sizes = [part.shape[1:] for part in by_group]
    vector = np.concatenate([part.reshape(GROUPS, -1) for part in by_group], axis=1)
    cuts = np.cumsum([int(np.prod(s)) for s in sizes])[:-1]
    total = vector.sum(axis=0)
    start = [part.reshape(s) for part, s in zip(np.split(total, cuts), sizes)]
    n, bad = start[0][:, :, 0].sum(axis=1), start[2][:, 0]
    own = bad >= FEW_BAD

    def statistic(v: np.ndarray) -> np.ndarray:
        at_risk, gone, followed, cured, lost, money = (p.reshape(s) for p, s in zip(np.split(v, cuts), sizes))
        p = _reached(at_risk.sum(axis=1), gone.sum(axis=1))
        everybody = _cured(followed.sum(axis=0), cured.sum(axis=0), lost.sum(axis=0))
        s = np.where(own, _cured(followed, cured, lost), everybody)
        others = _cured(followed.sum(axis=0) - followed, cured.sum(axis=0) - cured, lost.sum(axis=0) - lost)
        others = np.where(own, others, everybody)
        elsewhere = _reached(at_risk.sum(axis=0) - at_risk, gone.sum(axis=0) - gone)
        mix = at_risk[:, :, 0] / at_risk[:, :, 0].sum(axis=1, keepdims=True)
        expected = (mix * np.where(mix > 0, elsewhere, 0.0)).sum(axis=1) * (1 - others)
        adjusted = p * (1 - s)
        return np.stack([p, s, adjusted, expected, adjusted - expected, money[:, 1] / money[:, 0]], axis=0)

    found = jackknife(total, vector, statistic, conf_level)
    table = pd.DataFrame(groups.to_numpy(), columns=own_names(names, _OWN))
    table["loans"] = n.astype(int)
    few = np.minimum(n, n.sum() - n) < SMALLEST  # of the segment, or of what it is compared with
    compared = max(int((~few).sum()), 1)
    replicas = max(len(np.unique(loans["rep"])) - 1, 1)
    # Where hardly a loan went bad the jackknife sees no error: at least that of a share as large as expected.
    with np.errstate(invalid="ignore", divide="ignore"):
        error = np.fmax(found[1][4], np.sqrt(found[0][3] * (1 - found[0][3]) / n))
    low, high = interval(found[0][4], error, t_quantile(1 - (1 - conf_level) / compared, np.array(replicas)))
    for i, name in ((0, "bad_rate"), (1, "cured_for_good")):
        table[name] = np.where(few, np.nan, found[0][i])
    for k, name in enumerate(INTERVAL):
        table[name] = np.where(few, np.nan, found[k][2])
    none = ~few & (found[0][0] == 0)
    upper = wilson(np.zeros(len(n)), n, conf_level)[1] * (1 - found[0][1])
    table["conf_high"] = np.where(none, upper, table["conf_high"])
    table["std_error"] = table["std_error"].mask(none)
    table["conf_low"] = table["conf_low"].clip(lower=0)
    table["expected"], table["difference"] = (np.where(few, np.nan, found[0][i]) for i in (3, 4))
    table["difference_low"], table["difference_high"] = (
        np.where(few, np.nan, low),
        np.where(few, np.nan, high),
    )
    table["net_loss"] = np.where(few, np.nan, found[0][5])
    table["verdict"] = np.select(
        [few, low > 0, high < 0], ["too few", "higher", "lower"], default="cannot tell"
    )
    notes = [
        "Only loans that were granted are seen: what the refused would have done is not known, and a segment granted more "
        "strictly looks better for it.",
        f"Compared at equal age and within {int(band.max()) + 1} bands of {score.replace('_', ' ')}; the intervals of the "
        f"differences are simultaneous over {compared} segments."
        if score in loans
        else "The book has no score: a segment's mix of risks is not held equal.",
    ]
    if not own.all():
        notes.append(
            f"Segments with fewer than {FEW_BAD} bad loans take the share cured for good of all segments."
        )
    return CreditLoss(
        table=table.sort_values("difference", ascending=False, kind="stable", na_position="last"),
        estimand=f"Share of new loans {over} or more days past due within {months_on_book} months and not cured for good "
        f"within {horizon} months (current for {clean} months)",
        title="New loans gone bad and not cured for good",
        notes=tuple(notes),
        formats={
            "loans": "count", "bad_rate": "share", "cured_for_good": "share", "expected": "share", "difference": "points",
            "difference_low": "hidden", "difference_high": "hidden", "net_loss": "share", "estimate": "Not cured for good",
        },
        conf_level=conf_level,
        by=tuple(own_names(names, _OWN)),
    )  # fmt: skip


def _loans(book: Any, by: list[str], score: str) -> tuple[pd.DataFrame, pd.DataFrame, int]:
    """Loans granted since the book's first month, their month-ends, and the last month."""
    if not is_book(book):
        raise FrameError("credit_loss needs a book: snapshots and accounts with originated_on.")
    have = book.columns("accounts")
    if missing := [c for c in ("originated_on", *by) if c not in have]:
        raise NotAvailable(f"this book's accounts have no {first_few(missing)}.")
    more = [c for c in ("customer_id", "principal", score) if c in have and c not in by]
    loans = collect(
        book.table("accounts").select(
            "account_id", *dict.fromkeys([*by, *more]), born=month_number("originated_on")
        )
    )
    money = ["balance"] if "balance" in book.columns("snapshots") else []
    rows = collect(by_month(book, money=money))
    if rows.empty or rows["month"].nunique() < 2:
        raise NotAvailable("how loans end needs two months of snapshots or more.")
    first, last = int(rows["month"].min()), int(rows["month"].max())
    loans = (
        loans[loans["born"] >= first].sort_values("account_id", ignore_index=True).astype({"born": "int64"})
    )
    if loans.empty:
        raise NotAvailable("no loan was granted since the book's first month.")
    owner = loans["customer_id"] if "customer_id" in loans else loans["account_id"]
    loans["rep"] = owner.fillna(loans["account_id"]).map(replicate_of)
    rows = rows[rows["id"].isin(set(loans["account_id"]))].copy()
    rows["cents"] = rows["money0"].clip(lower=0).fillna(0) if money else 0
    return loans, rows, last


def _bands(score: pd.Series, bands: int) -> np.ndarray:
    """Score bands with as many loans each; a missing score is a band of its own."""
    known = score.dropna()
    cuts = np.unique(np.quantile(known, np.arange(1, bands) / bands)) if len(known) else np.zeros(0)
    band = np.searchsorted(cuts, score.to_numpy(float), side="right")
    band = np.where(score.isna(), len(cuts) + 1, band)
    return np.unique(band, return_inverse=True)[1]


def _lives(loans: pd.DataFrame, rows: pd.DataFrame, last: int, over: int) -> dict[str, np.ndarray]:
    """What became of each loan, by age in whole months; ages that never come are a large number."""
    place = pd.Series(np.arange(len(loans)), index=loans["account_id"])
    i = rows["id"].map(place).to_numpy(int)
    born = loans["born"].to_numpy(int)
    age = rows["month"].to_numpy(int) - born[i]
    kept = age >= 0
    rows, i, age = rows[kept], i[kept], age[kept]
    span = last - int(born.min()) + 1
    never = span + 10_000
    status = rows["status"].to_numpy(object)
    dpd = rows["dpd"].fillna(0).to_numpy(int)
    is_open, gone = status == "open", np.isin(status, _LOST)

    def first(which: np.ndarray) -> np.ndarray:
        out = np.full(len(loans), never)
        np.minimum.at(out, i[which], age[which])
        return out

    seen = np.full(len(loans), -1)
    np.maximum.at(seen, i, age)
    ended = first(gone | (status == "closed")) < never
    off = np.zeros((len(loans), span), dtype=bool)  # past due or lost at that age
    off[i, age] = (is_open & (dpd > 0)) | gone
    current = np.zeros_like(off)
    current[i, age] = (is_open & (dpd == 0)) | (status == "closed")
    cents = np.zeros((len(loans), span))
    cents[i, age] = rows["cents"].to_numpy(float)
    ages = np.where(off, np.arange(span), never)
    following = np.minimum.accumulate(ages[:, ::-1], axis=1)[:, ::-1]
    return {
        "end": np.where(ended, last - born, seen),
        "admin": last - born,
        "bad": first((is_open & (dpd >= over)) | gone),
        "lost": first(gone),
        "current": current,
        "off_next": following,
        "cents": cents,
        "never": np.array(never),
    }


def _counts(
    loans: pd.DataFrame,
    lives: dict[str, np.ndarray],
    code: np.ndarray,
    band: np.ndarray,
    shape: tuple[int, int, int, int, int],
) -> list[np.ndarray]:
    """By replicate group and segment: reached bad (by band and age), and cured or lost since."""
    groups, bands, months, clean, horizon = shape
    rep, end, bad = loans["rep"].to_numpy(int), lives["end"], lives["bad"]
    at_risk, gone = (np.zeros((GROUPS, groups, bands, months + 1)) for _ in range(2))
    for a in range(months + 1):
        here = (end >= a) & (bad >= a)
        np.add.at(at_risk[..., a], (rep[here], code[here], band[here]), 1)
        now = here & (bad == a)
        np.add.at(gone[..., a], (rep[now], code[now], band[now]), 1)
    followed, cured, lost = (np.zeros((GROUPS, groups, horizon + 1)) for _ in range(3))
    span = lives["current"].shape[1]
    ages = np.arange(span)
    lasting = lives["current"] & (lives["off_next"] > ages + clean) & (ages <= (end - clean)[:, None])
    lasting &= ages >= bad[:, None]
    cure = np.where(lasting.any(axis=1), lasting.argmax(axis=1), lives["never"])
    was_bad = bad <= months
    until = np.minimum(np.minimum(cure, lives["lost"]), end - clean) - bad
    for h in range(horizon + 1):
        here = was_bad & (until >= h)
        np.add.at(followed[..., h], (rep[here], code[here]), 1)
        for store, when in ((cured, cure), (lost, lives["lost"])):
            now = here & (when - bad == h) & (when <= end - clean)
            np.add.at(store[..., h], (rep[now], code[now]), 1)
    return [at_risk, gone, followed, cured, lost]


def _lost_money(
    book: Any, loans: pd.DataFrame, lives: dict[str, np.ndarray], code: np.ndarray, groups: int, loss_age: int
) -> np.ndarray:
    """By replicate group and segment: principal of loans old enough, and what of it is lost by then."""
    money, rep = np.zeros((GROUPS, groups, 2)), loans["rep"].to_numpy(int)
    if "principal" in loans:
        old = (lives["admin"] >= loss_age) & loans["principal"].notna().to_numpy()
        np.add.at(money[..., 0], (rep[old], code[old]), loans["principal"].to_numpy(float)[old])
        hit = old & (lives["lost"] <= loss_age)
        net = np.maximum(_balance_at_loss(lives) - _paid_after(book, loans, lives["lost"], loss_age, hit), 0)
        np.add.at(money[..., 1], (rep[hit], code[hit]), net[hit] / CENTS)
    return money


def _balance_at_loss(lives: dict[str, np.ndarray]) -> np.ndarray:
    """The balance when lost; a sold or settled account shows none any more, so the last one before counts."""
    size = lives["cents"].shape[1]
    at = np.minimum(lives["lost"], size - 1)
    i = np.arange(len(at))
    now, before = lives["cents"][i, at], lives["cents"][i, np.maximum(at - 1, 0)]
    return np.where(now > 0, now, before)


def _paid_after(
    book: Any, loans: pd.DataFrame, lost: np.ndarray, loss_age: int, hit: np.ndarray
) -> np.ndarray:
    """Cents paid in the months after the loss (for sold or settled ones in its month, too), up to the age."""
    out = np.zeros(len(loans))
    if not hit.any() or not book.has("payments"):
        return out
    ids = loans.loc[hit, "account_id"]
    place = pd.Series(np.flatnonzero(hit), index=ids)
    paid = collect(
        book.table("payments").select(
            "account_id", month=month_number("paid_on"), cents=whole_money("amount")
        )
    )
    paid = paid[paid["account_id"].isin(set(ids))].dropna()
    at = paid["account_id"].map(place).to_numpy(int)
    age = paid["month"].to_numpy(int) - loans["born"].to_numpy(int)[at]
    after = (age > lost[at]) & (age <= loss_age)
    np.add.at(out, at[after], paid["cents"].to_numpy(float)[after])
    return out


def _reached(at_risk: np.ndarray, gone: np.ndarray) -> np.ndarray:
    """1 − Kaplan–Meier over the last axis."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return 1 - np.prod(np.where(at_risk > 0, 1 - gone / at_risk, 1.0), axis=-1)


def _cured(followed: np.ndarray, cured: np.ndarray, lost: np.ndarray) -> np.ndarray:
    """Aalen–Johansen incidence of the cure, at the end of the last axis; 0 where nobody is followed."""
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.where(followed > 0, cured / followed, 0.0)
        out = np.where(followed > 0, (cured + lost) / followed, 0.0)
    left = np.cumprod(1 - out, axis=-1)
    before = np.concatenate([np.ones_like(left[..., :1]), left[..., :-1]], axis=-1)
    return (before * share).sum(axis=-1)
