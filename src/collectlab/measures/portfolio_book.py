"""The overdue book on one date: by bucket, by product or region, how long, and its largest accounts."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any

import narwhals as nw
import numpy as np
import pandas as pd

from collectlab.book.episodes import bucket_labels
from collectlab.core.columns import as_list, flag, row_count, whole_sum
from collectlab.core.engine import collect
from collectlab.core.errors import FrameError, NotAvailable
from collectlab.core.jackknife import GROUPS, INTERVAL, check_level, jackknife, sums_at, with_replicates
from collectlab.core.results import Result
from collectlab.measures.groups import MISSING, by_keys, groups_of
from collectlab.measures.portfolio_results import Concentration, DaysPastDue, OverdueByBucket
from collectlab.measures.snapshots import CENTS, at_date, check_days, is_book, snapshots_of

_MONEY = ("balance", "amount_past_due")


def overdue_by_bucket(
    book: Any, as_of: dt.date | str | None = None, buckets: Sequence[int] = (0, 1, 30, 60, 90, 120)
) -> OverdueByBucket:
    """The open accounts, their balance and amount past due, by bucket of days past due, on one date.

    Parameters
    ----------
    book : Book or frame of snapshots
    as_of : date, optional
        Each account counts with its last snapshot of that month up to that day; default the last month.
    buckets : sequence of int
        Rising lower bounds in days past due; 0 is the current book.

    Returns
    -------
    OverdueByBucket
        ``share_of_overdue`` is the share of the amount past due. Money columns the book lacks are left out.

    Examples
    --------
    >>> import pandas as pd
    >>> snapshots = pd.DataFrame({
    ...     "account_id": [1, 2, 3],
    ...     "as_of": pd.to_datetime(["2024-01-31"] * 3),
    ...     "days_past_due": [0, 12, 45],
    ...     "amount_past_due": [0.0, 100.0, 300.0],
    ... })
    >>> overdue_by_bucket(snapshots, buckets=(0, 1, 30)).table.set_index("days_past_due")["share_of_overdue"].tolist()
    [0.0, 0.25, 0.75]
    """
    bounds = list(buckets) if buckets and buckets[0] == 0 else [0, *buckets]
    labels = list(bucket_labels(bounds).values())
    money = _money(book)
    rows, day = at_date(book, as_of, money=money)
    sums = collect(
        rows.with_columns(dpd=nw.max_horizontal(nw.col("dpd").fill_null(0), nw.lit(0)))
        .with_columns(open=flag(nw.col("status") == "open"))
        .group_by("open", "dpd")
        .agg(row_count().alias("n"), *_sums(len(money)))
    ).sort_values(["open", "dpd"])
    gone = int(sums.loc[sums["open"] == 0, "n"].sum())
    sums = sums[sums["open"] == 1]
    place = np.searchsorted(bounds, sums["dpd"].to_numpy(int), side="right") - 1
    size = len(bounds)
    n = np.bincount(place, weights=sums["n"], minlength=size)
    table = pd.DataFrame(
        {"days_past_due": labels, "days_past_due_from": bounds, "accounts": n.astype(np.int64)}
    )
    table["share_of_accounts"] = _share(n)
    for i, column in enumerate(money):
        values = np.bincount(place, weights=sums[f"money{i}"], minlength=size) / CENTS
        table[column] = values
        table["share_of_balance" if column == "balance" else "share_of_overdue"] = _share(values)
    table["median_days"] = [
        _quantile(sums["dpd"].to_numpy()[place == b], sums["n"].to_numpy()[place == b], 0.5)
        for b in range(size)
    ]
    notes = []
    if gone:
        notes.append(f"Not in the table: {gone:,} accounts charged off, settled, sold or closed by then.")
    return OverdueByBucket(
        table=table,
        estimand=f"Open accounts by days past due on {day}; a count of the whole book, not an estimate",
        unit="count",
        title=f"The book by days past due, {day}",
        notes=tuple(notes),
        formats={
            "days_past_due_from": "hidden", "accounts": "count", "balance": "money", "amount_past_due": "money",
            "share_of_accounts": "share", "share_of_balance": "share", "share_of_overdue": "share",
            "median_days": "count",
        },
    )  # fmt: skip


def concentration(
    book: Any,
    by: str | Sequence[str],
    as_of: dt.date | str | None = None,
    over: int = 1,
    conf_level: float = 0.95,
) -> Concentration:
    r"""Share of the overdue amount by group, against the group's share of the balance.

    .. math:: \text{ratio}_g = \frac{O_g / O}{B_g / B}

    with O the amount past due of open accounts at least ``over`` days past due (their balance where the
    book has no amounts; their number where it has neither) and B the balance of all open accounts (or
    their number). Above 1: more overdue than its weight in the book.

    Parameters
    ----------
    book : Book or frame of snapshots
    by : str or sequence of str
        One column, or several to be crossed; of a book, columns of ``accounts`` as well.
    as_of : date, optional
        As in :func:`overdue_by_bucket`.
    over : int
        Days past due from which an account counts as overdue.
    conf_level : float
        Level of the interval (delete-a-group jackknife over accounts, on the log scale).

    Returns
    -------
    Concentration
        The Herfindahl–Hirschman index Σ share² of the overdue amount and of the balance is in the notes.

    Examples
    --------
    >>> import pandas as pd
    >>> snapshots = pd.DataFrame({
    ...     "account_id": [1, 2, 3, 4], "region": ["N", "N", "S", "S"], "balance": [100.0] * 4,
    ...     "as_of": pd.to_datetime(["2024-01-31"] * 4),
    ...     "days_past_due": [0, 12, 45, 60], "amount_past_due": [0.0, 10.0, 20.0, 10.0],
    ... })
    >>> concentration(snapshots, "region").table[["region", "share_of_overdue", "estimate"]].values.tolist()
    [['S', 0.75, 1.5], ['N', 0.25, 0.5]]
    """
    check_level(conf_level)
    check_days(over)
    by = as_list(by)
    if not by:
        raise FrameError("by is empty. Allowed: a column or several, such as 'product'.")
    money = _money(book)
    rows, day = at_date(book, as_of, by=by, money=money)
    rows = _overdue_money(rows.filter(nw.col("status") == "open"), money, over)
    keys = by_keys(by)
    counted = collect(
        with_replicates(rows, "id", name="replicate")
        .group_by(*keys, "replicate")
        .agg(
            row_count().alias("n"),
            *(whole_sum(c).alias(c) for c in ("late", "base", "overdue")),
        )
    )
    if counted.empty or not counted["overdue"].sum():
        raise NotAvailable(f"no open account is {over} days or more past due on {day}.")
    own = ("accounts", "overdue_accounts", "base", "overdue", "share_of_base", "share_of_overdue", *INTERVAL)
    groups, group = groups_of(counted, by, own)
    where = (counted["replicate"].to_numpy(int), group)
    columns = [sums_at(where, counted[c], (GROUPS, len(groups))) for c in ("n", "late", "base", "overdue")]
    sums = np.stack(columns, axis=1)

    def ratio(s: np.ndarray) -> np.ndarray:
        base, overdue = s
        return (overdue / overdue.sum()) / (base / base.sum())

    total = sums.sum(axis=0)
    found = jackknife(total[2:], sums[:, 2:], ratio, conf_level, "log", sums[:, 0].any(axis=1))
    table = groups.copy()
    scale = CENTS if money else 1
    table["accounts"], table["overdue_accounts"] = (v.astype(np.int64) for v in total[:2])
    table["base"], table["overdue"] = total[2] / scale, total[3] / scale
    table["share_of_base"], table["share_of_overdue"] = _share(total[2]), _share(total[3])
    table[list(INTERVAL)] = np.column_stack(found)
    table = table.sort_values("share_of_overdue", ascending=False, kind="stable", ignore_index=True)
    base = "balance" if "balance" in money else "overdue amount" if money else "number of accounts"
    hhi = [float((table[c] ** 2).sum()) for c in ("share_of_overdue", "share_of_base")]
    named = " and ".join(c.replace("_", " ") for c in by)
    return Concentration(
        table=table,
        estimand=f"Share of the overdue amount by {named} over the share of the {base}, open accounts on {day}",
        unit="ratio",
        title=f"Overdue amount by {named}, {day}",
        notes=(
            f"Herfindahl–Hirschman index (1 = all in one group): overdue {hhi[0]:.3f}, {base} {hhi[1]:.3f}; "
            f"as concentrated as {1 / hhi[0]:.1f} equal groups out of {len(table)}.",
        ),
        formats={
            "accounts": "count", "overdue_accounts": "count", "base": "money", "overdue": "money",
            "share_of_base": "share", "share_of_overdue": "share",
        },
        conf_level=conf_level,
        by=tuple(groups.columns),
        base=base,
    )  # fmt: skip


def largest_accounts(book: Any, n: int = 10, as_of: dt.date | str | None = None) -> Result:
    """The open accounts with the largest amount past due (else balance), and their share of all of it.

    Parameters
    ----------
    book : Book or frame of snapshots
        It must have ``amount_past_due`` or ``balance``.
    n : int
        How many.
    as_of : date, optional
        As in :func:`overdue_by_bucket`.

    Returns
    -------
    Result
        account_id, product, region, branch (those the accounts have), days_past_due, balance,
        amount_past_due, share_of_overdue, cumulative_share; equal amounts in the order of the ids.

    Examples
    --------
    >>> import pandas as pd
    >>> from collectlab.book.open import open_book
    >>> book = open_book({
    ...     "accounts": pd.DataFrame({"account_id": ["a", "b", "c"]}),
    ...     "snapshots": pd.DataFrame({"account_id": ["a", "b", "c"], "as_of": "2026-01-31",
    ...                                "days_past_due": [5, 40, 0], "amount_past_due": [100.0, 300.0, 0.0]})})
    >>> largest_accounts(book).table[["account_id", "share_of_overdue"]].values.tolist()
    [['b', 0.75], ['a', 0.25]]
    """
    if isinstance(n, bool) or not isinstance(n, int) or n < 1:
        raise FrameError(f"n is {n!r}. Allowed: a whole number ≥ 1.")
    money = _money(book)
    if not money:
        raise NotAvailable("the largest accounts need amount_past_due or balance in the snapshots.")
    have = [c for c in ("product", "region", "branch") if c in _columns(book)]
    rows, day = at_date(book, as_of, by=have, money=money)
    rows = _overdue_money(rows.filter(nw.col("status") == "open"), money, 1).filter(nw.col("late") == 1)
    whole = collect(rows.select(row_count().alias("n"), whole_sum("overdue").alias("overdue")))
    count, total = int(whole["n"].iloc[0]), whole["overdue"].iloc[0]
    if not count or not total:
        raise NotAvailable(f"no open account has an amount past due on {day}.")
    top = collect(rows.sort("overdue", "id", descending=[True, False]).head(n))
    top = top.sort_values(["overdue", "id"], ascending=[False, True], ignore_index=True)
    table = pd.DataFrame({"account_id": top["id"]})
    for i, column in enumerate(have):
        table[column] = top[f"by{i}"].fillna(MISSING) if top[f"by{i}"].dtype == object else top[f"by{i}"]
    table["days_past_due"] = top["dpd"]
    for i, column in enumerate(money):
        table[column] = top[f"money{i}"] / CENTS
    table["share_of_overdue"] = top["overdue"] / float(total)
    table["cumulative_share"] = top["overdue"].cumsum() / float(total)
    together = float(table["cumulative_share"].iloc[-1])
    return Result(
        table=table,
        estimand=f"Largest overdue open accounts on {day} and their share of the whole overdue amount",
        unit="count",
        title=f"Largest overdue accounts, {day}",
        notes=(f"These {len(table):,} of {count:,} overdue accounts hold {100 * together:.1f} % of the overdue amount.",),
        formats={
            "days_past_due": "count", "balance": "money", "amount_past_due": "money",
            "share_of_overdue": "share", "cumulative_share": "share",
        },
    )  # fmt: skip


def how_long(
    book: Any,
    as_of: dt.date | str | None = None,
    by: str | Sequence[str] | None = None,
    conf_level: float = 0.95,
) -> DaysPastDue:
    """How many days past due the overdue open accounts are, on one date.

    Parameters
    ----------
    book : Book or frame of snapshots
    as_of : date, optional
        As in :func:`overdue_by_bucket`.
    by : str or sequence of str, optional
        Columns to group by; of a book, columns of ``accounts`` as well.
    conf_level : float
        Level of the median's interval (order statistics, binomial).

    Returns
    -------
    DaysPastDue
        In days. A quantile is the smallest number of days that at least that share of accounts does not
        exceed.

    Examples
    --------
    >>> import pandas as pd
    >>> from collectlab.book.open import open_book
    >>> book = open_book({
    ...     "accounts": pd.DataFrame({"account_id": ["a", "b", "c"]}),
    ...     "snapshots": pd.DataFrame({"account_id": ["a", "b", "c"], "as_of": "2026-01-31",
    ...                                "days_past_due": [5, 40, 0]})})
    >>> how_long(book).table["estimate"].tolist()
    [5.0]
    """
    from scipy.stats import binom

    check_level(conf_level)
    by = as_list(by)
    rows, day = at_date(book, as_of, by=by)
    keys = by_keys(by)
    late = rows.filter((nw.col("status") == "open") & (nw.col("dpd") >= 1))
    counted = collect(late.group_by(*keys, "dpd").agg(row_count().alias("n")))
    if counted.empty:
        raise NotAvailable(f"no open account is past due on {day}.")
    own = ("days", "accounts", "lower_quartile", "upper_quartile", "nine_in_ten_within", "longest", *INTERVAL)
    groups, group = groups_of(counted, by, own)
    order = np.lexsort((counted["dpd"].to_numpy(), group))
    counts = groups.iloc[group[order]].reset_index(drop=True)
    counts["days"], counts["accounts"] = (counted[c].to_numpy()[order].astype(np.int64) for c in ("dpd", "n"))
    records = []
    for g in range(len(groups)):
        own_rows = counts[group[order] == g]
        days, n = own_rows["days"].to_numpy(), own_rows["accounts"].to_numpy()
        total = int(n.sum())
        low = int(binom.ppf((1 - conf_level) / 2, total, 0.5))
        high = total - low + 1
        upto = np.cumsum(n)
        records.append(
            {
                "accounts": total,
                "lower_quartile": _quantile(days, n, 0.25),
                "estimate": _quantile(days, n, 0.5),
                "std_error": np.nan,
                "conf_low": float(days[np.searchsorted(upto, low)]) if low >= 1 else np.nan,
                "conf_high": float(days[np.searchsorted(upto, high)]) if low >= 1 else np.nan,
                "upper_quartile": _quantile(days, n, 0.75),
                "nine_in_ten_within": _quantile(days, n, 0.9),
                "longest": float(days[-1]),
            }
        )
    return DaysPastDue(
        table=pd.concat([groups, pd.DataFrame(records)], axis=1),
        estimand=f"Median days past due of the open accounts past due on {day}",
        unit="days",
        title=f"How long the overdue accounts have been overdue, {day}",
        notes=(
            "Half the accounts are between the quartiles; a tenth are past due for longer than nine in ten.",
        ),
        formats=dict.fromkeys(("lower_quartile", "upper_quartile", "nine_in_ten_within", "longest"), "days"),
        conf_level=conf_level,
        counts=counts,
        by=tuple(groups.columns),
    )


# ---------------------------------------------------------------------------------------------- inside


def _columns(book: Any) -> list[str]:
    names = snapshots_of(book).collect_schema().names()
    if is_book(book) and book.has("accounts"):
        names = [*names, *book.table("accounts").collect_schema().names()]
    return names


def _money(book: Any) -> list[str]:
    have = snapshots_of(book).collect_schema().names()
    return [c for c in _MONEY if c in have]


def _sums(count: int) -> list[nw.Expr]:
    return [whole_sum(f"money{i}").alias(f"money{i}") for i in range(count)]


def _overdue_money(rows: nw.LazyFrame, money: list[str], over: int) -> nw.LazyFrame:
    """Adds ``late`` (0/1), ``base`` and ``overdue`` (cents; accounts where the book has no money at all)."""
    late = flag(nw.col("dpd") >= over)

    def at_least_zero(column: str) -> nw.Expr:
        return nw.max_horizontal(nw.col(column).fill_null(0), nw.lit(0))

    # Without balances the overdue amount is compared with the number of accounts, counted as money.
    owed = at_least_zero(f"money{len(money) - 1}") if money else nw.lit(1)
    base = at_least_zero("money0") if "balance" in money else nw.lit(CENTS if money else 1)
    return rows.with_columns(late=late, base=base, owed=owed).with_columns(
        overdue=nw.col("late") * nw.col("owed")
    )


def _share(values: np.ndarray) -> np.ndarray:
    total = values.sum()
    return values / total if total else np.full(len(values), np.nan)


def _quantile(days: np.ndarray, n: np.ndarray, share: float) -> float:
    """Smallest day that at least ``share`` of the accounts do not exceed; ``days`` rising, ``n`` accounts each."""
    if not n.sum():
        return np.nan
    upto = np.cumsum(n)
    return float(days[np.searchsorted(upto, share * upto[-1] * (1 - 1e-12))])
