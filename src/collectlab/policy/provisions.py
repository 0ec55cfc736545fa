"""Provisions: the class each account stands in, what is set aside for it, and what moved it within the month.

A scheme (IFRS 9 stages, the Chinese five classes) is a list of classes with the days past due from which they hold,
a probation before an impaired account may go up again, and a coverage ratio a class. The bridge takes the provision
at the end of last month to that of this month in steps that add up to the cent.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import narwhals as nw
import numpy as np
import pandas as pd

from collectlab.core.columns import as_list, month_text
from collectlab.core.engine import collect
from collectlab.core.errors import FrameError, NotAvailable, first_few
from collectlab.core.results import Result
from collectlab.measures.groups import by_keys, groups_of
from collectlab.measures.snapshots import CENTS, by_month, check_days, snapshots_of
from collectlab.policy.provisions_scheme import Scheme, load_schemes

__all__ = ["STEPS", "Bridge", "Scheme", "classified", "load_schemes", "provision_bridge"]

#: The steps of the bridge, in order. Their signs: opening and closing are levels, all else adds.
STEPS = (
    "opening", "new", "migrated worse", "migrated better", "balance changed", "coverage changed", "repaid", "charged off",
    "sold", "no longer seen", "closing",
)  # fmt: skip
_EXITS = {"closed": "repaid", "settled": "repaid", "charged_off": "charged off", "sold": "sold"}


def classified(
    source: Any, scheme: Scheme, *, by: str | Sequence[str] | None = None, end: dt.date | str | None = None
) -> pd.DataFrame:
    """Each account's class at the end of each month.

    An open account is in the worst of three classes: that of its days past due; the first impaired class, from the
    month it was seen impaired until it has been seen current (0 days past due) for the probation, counted in whole
    months from the first month-end seen current without a relapse; and the scheme's class for forborne accounts, for
    its number of months from the first month-end seen forborne. Accounts no longer open have no class.

    Parameters
    ----------
    source : Book or frame of snapshots
        account_id, as_of, days_past_due; status, balance and forborne where there.
    scheme : Scheme
    by : str or list of str, optional
        Columns to group by; of a book, also of its accounts.
    end : date, optional
        Look at snapshots up to that date only.

    Returns
    -------
    pandas.DataFrame
        One row per account and month, by account and month: ``id, month`` (year · 12 + month − 1), ``date, status,
        dpd, cents`` (balance in cents, at least 0; missing where the book has none), ``class`` (position in
        ``scheme.classes``; −1 where not open), ``by0…``.

    Raises
    ------
    FrameError
        A column is missing, a status is unknown, or an account stands twice on a date.
    NotAvailable
        There are no snapshots.

    Examples
    --------
    >>> scheme = load_schemes("params/provisions.yml")["ifrs9"]
    >>> rows = classified(pd.DataFrame({
    ...     "account_id": ["a"] * 6, "as_of": pd.date_range("2026-01-31", periods=6, freq="ME"),
    ...     "days_past_due": [0, 45, 95, 0, 0, 0]}), scheme)
    >>> [scheme.classes[k] for k in rows["class"]]
    ['stage_1', 'stage_2', 'stage_3', 'stage_3', 'stage_3', 'stage_3']
    """
    if not isinstance(scheme, Scheme):
        raise FrameError(f"scheme is a {type(scheme).__name__}. Needed: one of load_schemes(provisions.yml).")
    by = as_list(by)
    frame = snapshots_of(source, by)
    have = frame.collect_schema().names()
    money = ["balance"] if "balance" in have else []
    options: dict[str, Any] = {"by": by, "money": money, "end": end}
    known = frame
    if "forborne" in have:
        known = frame.with_columns(nw.col("forborne").cast(nw.Boolean).cast(nw.Int64).alias("_forborne"))
        options["money"] = [*money, "_forborne"]
    rows = collect(by_month(known, **options))
    if rows.empty:
        raise NotAvailable("there are no snapshots, so no account has a class.")
    rows = rows.sort_values(["id", "month"], kind="stable", ignore_index=True)
    if (twice := rows.duplicated(["id", "month"])).any():
        names = first_few([f"{a} {d}"[:40] for a, d in rows.loc[twice, ["id", "date"]].to_numpy()])
        raise FrameError(f"{int(twice.sum()):,} accounts stand twice on a date ({names}). Allowed: once.")
    cents = rows[by_keys(money, "money")[0]] if money else pd.Series(np.nan, index=rows.index)
    forborne = np.zeros(len(rows), bool)
    if "forborne" in have:
        forborne = rows[f"money{len(money)}"].fillna(0).to_numpy(float) > 0
    rows = rows.assign(cents=cents.clip(lower=0), **{"class": _classes(rows, forborne, scheme)})
    return rows[["id", "month", "date", "status", "dpd", "cents", "class", *by_keys(by)]]


def _classes(rows: pd.DataFrame, forborne: np.ndarray, scheme: Scheme) -> np.ndarray:
    """The class of each row of accounts in order of account and month."""
    dpd, month = rows["dpd"].fillna(0).to_numpy(int), rows["month"].to_numpy(int)
    is_open = (rows["status"] == "open").to_numpy()
    place = np.arange(len(rows))
    first = np.r_[True, rows["id"].to_numpy()[1:] != rows["id"].to_numpy()[:-1]]
    start = np.maximum.accumulate(np.where(first, place, 0))

    def last(event: np.ndarray) -> np.ndarray:
        """Position of the account's last row with the event, up to this one; −1 where there was none."""
        at = np.maximum.accumulate(np.where(event, place, -1))
        return np.where(at >= start, at, -1)

    by_days = np.searchsorted(scheme.from_dpd, dpd, side="right") - 1
    late = dpd > 0
    # The run of current months this row is in began after the last late row, or with the account.
    began = np.minimum(np.where(last(late) >= 0, last(late) + 1, start), place)
    months = np.where(forborne, scheme.probation_forborne, scheme.probation)
    served = ~late & (month - month[began] >= months)
    impaired = is_open & (by_days >= scheme.impaired)
    on_probation = last(impaired) > last(served)
    out = np.maximum(by_days, np.where(on_probation, scheme.impaired, 0))
    if scheme.forborne_months:
        seen = np.cumsum(forborne)
        since_start = seen - np.where(start > 0, seen[np.maximum(start - 1, 0)], 0)
        marked = last(forborne & (since_start == 1))  # the first month-end seen forborne
        watched = forborne & (marked >= 0) & (month - month[marked] < scheme.forborne_months)
        out = np.maximum(out, np.where(watched, scheme.forborne_class, 0))
    return np.where(is_open, out, -1)


@dataclass(frozen=True, kw_only=True)
class Bridge(Result):
    """The provision from month to month; ``table``: [by…], month, step, accounts, balance, estimate (the provision).

    ``by_class``: [by…], month, class, accounts, balance, coverage, provision at each month's end.
    """

    by_class: pd.DataFrame
    scheme: Scheme
    by: tuple[str, ...] = ()

    def step(self, month: str, step: str) -> float:
        """The provision of one step of a month, over all groups."""
        rows = self.table[(self.table["month"] == month) & (self.table["step"] == step)]
        if rows.empty:
            raise FrameError(
                f"no step {step!r} in {month}. Months: {first_few(list(dict.fromkeys(self.table['month'])))}; steps: {', '.join(STEPS)}."
            )
        return float(rows["estimate"].sum())


def provision_bridge(
    source: Any,
    scheme: Scheme,
    *,
    by: str | Sequence[str] | None = None,
    months: int | None = None,
    end: dt.date | str | None = None,
) -> Bridge:
    r"""The provision at the end of last month to that of this month, in steps that add up exactly.

    With b the balance, k the class and c the coverage ratio of an account at the end of last (0) and this (1) month,
    an account open at both ends adds

    .. math:: c_1(k_1) b_1 - c_0(k_0) b_0 = [c_0(k_1) - c_0(k_0)] b_0 + c_0(k_1) [b_1 - b_0] + [c_1(k_1) - c_0(k_1)] b_1

    to ``migrated worse`` (or ``better``), ``balance changed`` and ``coverage changed``. Accounts that appear add
    c₁(k₁) b₁ to ``new``; those that leave take off c₀(k₀) b₀: ``repaid`` (closed or settled), ``charged off``, ``sold``,
    ``no longer seen``. Each product is rounded to whole cents, so the sums are exact. A census, not a sample: there is
    no interval.

    Parameters
    ----------
    source, by, end
        As in :func:`classified`.
    scheme : Scheme
    months : int, optional
        The last so many months only. An account's class rests on all of its history.

    Returns
    -------
    Bridge

    Raises
    ------
    NotAvailable
        One month of history. Without a balance the accounts are counted and the money is missing.
    ParamsError
        A coverage ratio not yet in force at one of the months' ends.

    Examples
    --------
    >>> scheme = load_schemes("params/provisions.yml")["five_class"]
    >>> found = provision_bridge(pd.DataFrame({
    ...     "account_id": ["a", "a", "b"], "as_of": pd.to_datetime(["2026-01-31", "2026-02-28", "2026-02-28"]),
    ...     "days_past_due": [88, 116, 0], "balance": [1000.0, 1000.0, 500.0]}), scheme)
    >>> found.table.loc[found.table["estimate"] != 0, ["step", "estimate"]].values.tolist()
    [['opening', 20.0], ['new', 5.0], ['migrated worse', 230.0], ['closing', 255.0]]
    """
    if months is not None:
        check_days(months, "months", "months")
    by = as_list(by)
    rows = classified(source, scheme, by=by, end=end)
    has_money = bool(rows["cents"].notna().any())
    calendar = np.sort(rows["month"].unique())
    if len(calendar) < 2:
        raise NotAvailable(
            f"a bridge needs two months of snapshots; this book has {month_text(calendar[0])} only."
        )
    dates = {m: pd.Timestamp(d).date() for m, d in rows.groupby("month")["date"].max().items()}
    kept = calendar[-(months + 1) :] if months is not None else calendar
    ratio = {m: scheme.ratios(dates[m]) for m in kept}
    groups, code = groups_of(
        rows,
        by,
        ("month", "step", "accounts", "balance", "class", "coverage", "provision", "estimate", "move"),
    )
    rows = rows.assign(group=code, cents=rows["cents"].fillna(0).astype("int64"))
    steps, standing = [], [_standing(rows, kept[0], ratio[kept[0]])]
    for before, now in pairwise(kept):
        steps.append(_one_month(rows, before, now, ratio[before], ratio[now]))
        standing.append(_standing(rows, now, ratio[now]))
    table = pd.concat(steps, ignore_index=True)
    by_class = pd.concat(standing, ignore_index=True)
    notes = [
        "Counted, not estimated: every open account is in it. The ratios are those in force at each month's end.",
        f"Accounts that left impairment before {month_text(calendar[0])} cannot be told from others: the first "
        f"{scheme.probation_forborne} months show too few on probation.",
    ]
    if not has_money:
        notes.append("The book has no balance: accounts are counted, and there is no provision.")
    elif missing := int((rows["cents"].eq(0) & (rows["class"] >= scheme.impaired)).sum()):
        notes.append(f"{missing:,} impaired account-months without a balance add nothing.")
    labels = dict(enumerate(scheme.labels))

    def finish(found: pd.DataFrame, columns: list[str]) -> pd.DataFrame:
        found = found.assign(month=found["month"].map(month_text))
        for c in ("balance", "estimate", "provision"):
            if c in found:
                found[c] = found[c] / CENTS if has_money else np.nan
        head = groups.iloc[found["group"].to_numpy()].reset_index(drop=True)
        return pd.concat([head, found[columns].reset_index(drop=True)], axis=1)

    by_class["class"] = by_class["class"].map(labels)
    return Bridge(
        table=finish(table, ["month", "step", "accounts", "balance", "estimate"]),
        estimand=f"Provision under the stated coverage ratios ({scheme.name}), from one month's end to the next",
        unit="money",
        title=f"Provision bridge: {scheme.name}",
        notes=tuple(notes),
        formats={"accounts": "count", "balance": "money", "estimate": "Provision"},
        by_class=finish(by_class, ["month", "class", "accounts", "balance", "coverage", "provision"]),
        scheme=scheme,
        by=tuple(groups.columns),
    )


def _products(ratio: np.ndarray, classes: np.ndarray, cents: np.ndarray) -> np.ndarray:
    return np.round(ratio[classes] * cents).astype(np.int64)


def _standing(rows: pd.DataFrame, month: int, ratio: np.ndarray) -> pd.DataFrame:
    """Accounts, balance and provision by group and class at a month's end; every class of every group."""
    now = rows[(rows["month"] == month) & (rows["class"] >= 0)]
    now = now.assign(provision=_products(ratio, now["class"].to_numpy(), now["cents"].to_numpy()))
    every = pd.MultiIndex.from_product(
        [np.unique(rows["group"]), range(len(ratio))], names=["group", "class"]
    )
    found = (
        now.groupby(["group", "class"])
        .agg(accounts=("id", "size"), balance=("cents", "sum"), provision=("provision", "sum"))
        .reindex(every, fill_value=0)
        .reset_index()
    )
    return found.assign(month=month, coverage=ratio[found["class"].to_numpy()])


def _one_month(
    rows: pd.DataFrame, before: int, now: int, ratio0: np.ndarray, ratio1: np.ndarray
) -> pd.DataFrame:
    """The steps of one month by group. An account that changed its group leaves one and is new in the other."""
    both = _pairs(rows, before, now)
    k0, k1 = (both[c].fillna(-1).to_numpy(int) for c in ("class_0", "class_1"))
    b0, b1 = (both[c].fillna(0).to_numpy(np.int64) for c in ("cents_0", "cents_1"))
    was, stays, comes = k0 >= 0, (k0 >= 0) & (k1 >= 0), (k0 < 0) & (k1 >= 0)
    at0, at1 = np.maximum(k0, 0), np.maximum(k1, 0)
    opening, closing = _products(ratio0, at0, b0), _products(ratio1, at1, b1)
    moved, grown = _products(ratio0, at1, b0), _products(ratio0, at1, b1)
    leaves = both["status_1"].map(_EXITS).where(both["status_1"].notna(), "no longer seen").to_numpy(object)
    pieces = [
        ("opening", was, b0, opening),
        ("new", comes, b1, closing),
        ("migrated worse", stays & (k1 > k0), 0 * b0, moved - opening),
        ("migrated better", stays & (k1 < k0), 0 * b0, moved - opening),
        ("balance changed", stays, b1 - b0, grown - moved),
        ("coverage changed", stays, 0 * b0, closing - grown),
        *((name, was & (k1 < 0) & (leaves == name), -b0, -opening) for name in STEPS[6:10]),
        ("closing", k1 >= 0, b1, closing),
    ]
    group, size = both["group"].to_numpy(int), int(rows["group"].max()) + 1
    out = []
    for name, which, balance, provision in pieces:
        sums = [np.zeros(size, np.int64) for _ in range(3)]
        for total, values in zip(sums, (np.ones(len(both), np.int64), balance, provision)):
            np.add.at(total, group[which], values[which])
        # Balance and coverage change for nearly everybody: the accounts say nothing there.
        n = sums[0] if name not in ("balance changed", "coverage changed") else np.full(size, -1)
        out.append(
            pd.DataFrame(
                {
                    "group": range(size),
                    "month": now,
                    "step": name,
                    "accounts": n,
                    "balance": sums[1],
                    "estimate": sums[2],
                }
            )
        )
    table = pd.concat(out, ignore_index=True)
    table["accounts"] = table["accounts"].where(table["accounts"] >= 0).astype("Int64")
    return table.sort_values("group", kind="stable", ignore_index=True)


def _pairs(rows: pd.DataFrame, before: int, now: int) -> pd.DataFrame:
    """Accounts at the ends of two months side by side."""
    keep = ["id", "group", "class", "cents", "status"]
    return rows.loc[rows["month"] == before, keep].merge(
        rows.loc[rows["month"] == now, keep], on=["id", "group"], how="outer", suffixes=("_0", "_1")
    )
