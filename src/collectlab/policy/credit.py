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

from collectlab.core.columns import as_list, month_number
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
from collectlab.measures.snapshots import by_month, check_days, is_book
from collectlab.policy.credit_lives import counts, cured_share, lives_of, lost_money, reached

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["CreditLoss", "credit_loss"]

#: Fewer loans than this are not compared; fewer bad ones tell no cure rate of their own.
SMALLEST, FEW_BAD = 30, 20
_OWN = (
    "loans",
    "bad",
    "bad_rate",
    "cured_for_good",
    "expected",
    "difference",
    "net_loss",
    "verdict",
    *INTERVAL,
)


@dataclass(frozen=True, kw_only=True)
class CreditLoss(Result):
    """One row per origination segment.

    ``table``: [by…], loans, bad (of these, seen so), bad_rate, cured_for_good, estimate … (loans not cured for good),
    expected (of others' loans in the same score bands), difference, difference_low, difference_high (simultaneous over
    the segments), net_loss (share of the principal), verdict (higher, lower, cannot tell, too few).
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
            [label.replace("_", " ") for label in group_labels(told, self.by)],
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
    lives = lives_of(loans, rows, last, over)
    shape = (len(groups), int(band.max()) + 1, months_on_book, clean, horizon)
    by_group = [
        *counts(loans, lives, code, band, shape),
        lost_money(book, loans, lives, code, len(groups), loss_age),
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
        p = reached(at_risk.sum(axis=1), gone.sum(axis=1))
        everybody = cured_share(followed.sum(axis=0), cured.sum(axis=0), lost.sum(axis=0))
        s = np.where(own, cured_share(followed, cured, lost), everybody)
        others = cured_share(
            followed.sum(axis=0) - followed, cured.sum(axis=0) - cured, lost.sum(axis=0) - lost
        )
        others = np.where(own, others, everybody)
        elsewhere = reached(at_risk.sum(axis=0) - at_risk, gone.sum(axis=0) - gone)
        mix = at_risk[:, :, 0] / at_risk[:, :, 0].sum(axis=1, keepdims=True)
        expected = (mix * np.where(mix > 0, elsewhere, 0.0)).sum(axis=1) * (1 - others)
        adjusted = p * (1 - s)
        return np.stack([p, s, adjusted, expected, adjusted - expected, money[:, 1] / money[:, 0]], axis=0)

    found = jackknife(total, vector, statistic, conf_level)
    table = pd.DataFrame(groups.to_numpy(), columns=own_names(names, _OWN))
    table["loans"] = n.astype(int)
    table["bad"] = start[1].sum(axis=(1, 2)).astype(int)
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
            "loans": "count", "bad": "count", "bad_rate": "share", "cured_for_good": "share", "expected": "share", "difference": "points",
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
