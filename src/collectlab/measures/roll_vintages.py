"""Vintage curves: by period of origination, the share of accounts gone bad by months on book."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import narwhals as nw
import numpy as np
import pandas as pd

from collectlab.core.columns import flag, month_number, row_count, whole_money, whole_sum
from collectlab.core.engine import collect, require, same_engine, scan
from collectlab.core.errors import FrameError, NotAvailable, first_few
from collectlab.core.jackknife import (
    GROUPS,
    check_level,
    jackknife,
    sums_at,
    wilson,
    with_replicates,
)
from collectlab.core.plots import legend, new_axes, percent_axis, titled
from collectlab.core.results import Result
from collectlab.measures.groups import groups_of
from collectlab.measures.snapshots import CENTS, by_month, check_days, is_book
from collectlab.measures.survival_checks import refuse_many_groups

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_PERIODS = {"month": 1, "quarter": 3, "year": 12}
_BAD, _ENDED, _OPEN = 1, 2, 0


@dataclass(frozen=True, kw_only=True)
class Vintages(Result):
    """One row a vintage × month on book, as far as all of the vintage has been watched.

    ``table``: vintage, month (on book), accounts (all of the vintage that count), at_risk, events, estimate,
    std_error, conf_low, conf_high.
    """

    plottable = True

    def at(self, month: int, *, mature_only: bool = False) -> pd.DataFrame:
        """The vintages side by side after ``month`` months on book.

        Refused while some of them are not that old, unless ``mature_only`` leaves those out.
        """
        ages = self.table.groupby("vintage", sort=False)["month"].max()
        young = [v for v, age in ages.items() if age < month]
        if young and not (mature_only and len(young) < len(ages)):
            raise FrameError(
                f"at month {month} on book these vintages are not mature: {first_few(young)}. Allowed: up to "
                f"{int(ages.min())} months for all{', or mature_only=True' * (len(young) < len(ages))}."
            )
        return self.table[self.table["month"] == month].reset_index(drop=True)

    def plot(self, ax: Axes | None = None) -> Axes:
        """One line a vintage, the older the darker; each ends where its youngest accounts have been watched."""
        import matplotlib as mpl

        parts = list(self.table.groupby("vintage", sort=False))
        ax = new_axes(ax, figsize=(7.2, 3.9))
        shades = mpl.colormaps["viridis"](np.linspace(0.0, 0.88, max(len(parts), 2)))
        named = set(np.linspace(0, len(parts) - 1, min(len(parts), 12)).round().astype(int))
        for i, (label, rows) in enumerate(parts):
            ax.plot(
                rows["month"], rows["estimate"], color=shades[i], linewidth=1.6,
                label=str(label) if i in named else None,
            )  # fmt: skip
            ax.plot(
                rows["month"].iloc[[-1]], rows["estimate"].iloc[[-1]], "o", color=shades[i], markersize=3.5
            )
        ax.set_xlim(left=0)
        ax.set_ylim(bottom=0)
        ax.set_xlabel("Months on book")
        ax.set_ylabel("Share gone bad")
        legend(ax, title="Originated" if len(named) == len(parts) else "Originated (some)", outside=True)
        return titled(percent_axis(ax), self.title)


def vintage(
    snapshots: Any,
    accounts: Any = None,
    *,
    over: int = 30,
    cohort: str = "quarter",
    weight: str | None = None,
    months: int | None = None,
    originated: str = "originated_on",
    account: str = "account_id",
    date: str = "as_of",
    dpd: str = "days_past_due",
    status: str = "status",
    conf_level: float = 0.95,
) -> Vintages:
    r"""By vintage, the share of accounts that have ever been ``over`` days past due, by months on book.

    Per vintage, :math:`F(t) = \sum_{s \le t} S(s-1)\, d_s / r_s` (Aalen–Johansen), where :math:`r_s` are the
    accounts at risk in month s on book, :math:`d_s` those of them first seen bad then, and S the share neither
    bad nor ended before. Where all accounts are watched from the start it is the plain share gone bad.

    Parameters
    ----------
    snapshots : Book or frame
        A book whose accounts have ``originated_on``; or a frame of snapshots, with ``accounts``.
    accounts : frame, optional
        One row an account: ``account`` and ``originated``.
    over : int
        Days past due that make an account bad at a month's last snapshot; a charge-off always does.
    cohort : str
        ``"month"``, ``"quarter"`` or ``"year"`` of origination, or a column of the accounts.
    weight : str, optional
        A column of the accounts, such as ``"principal"``: the curve is then of that amount.
    months : int, optional
        Show no more than that many months on book.
    originated, account, date, dpd, status : str
        Column names.
    conf_level : float
        Level of the intervals: delete-a-group jackknife over accounts, on the log(−log) scale.

    Returns
    -------
    Vintages
        A curve ends where the youngest accounts of its vintage have been watched. Accounts closed, settled or
        sold stay in the share as not bad; those that leave the snapshots without a word are watched until then.
        Accounts first seen more than a month after origination count from then on (left truncation) if they
        are not bad then; vintages none of whose accounts is seen from the start are left out.

    Raises
    ------
    NotAvailable
        No origination dates, or no vintage is in the book from its start.
    FrameError
        Unknown columns; more than 1,000 vintages.

    Examples
    --------
    >>> import pandas as pd
    >>> ends = pd.date_range("2024-01-31", periods=4, freq="ME")
    >>> accounts = pd.DataFrame({"account_id": [1, 2], "originated_on": pd.to_datetime(["2024-01-05", "2024-01-20"])})
    >>> snapshots = pd.DataFrame({"account_id": [1] * 4 + [2] * 4, "as_of": [*ends, *ends],
    ...                           "days_past_due": [0, 0, 10, 40, 0, 0, 0, 0]})
    >>> vintage(snapshots, accounts).at(3)[["vintage", "estimate"]].values.tolist()
    [['2024 Q1', 0.5]]
    """
    check_level(conf_level)
    check_days(over)
    if months is not None:
        check_days(months, "months", "months")
    if is_book(snapshots):
        snapshots, accounts = snapshots.table("snapshots"), snapshots.table("accounts")
    elif accounts is None:
        raise FrameError(
            "vintage needs the accounts, which hold the dates of origination: vintage(snapshots, accounts)."
        )
    accounts = scan(accounts)
    have = accounts.collect_schema()
    if originated not in have or have[originated] == nw.Unknown:
        raise NotAvailable(f"the accounts have no {originated}, so there are no vintages.")
    if have[originated] not in (nw.Date, nw.Datetime):
        raise FrameError(f"column {originated!r} is {have[originated]}. Allowed: dates or timestamps.")
    require(accounts, account, *([] if cohort in _PERIODS else [cohort]), *([weight] if weight else []))
    if weight and not have[weight].is_numeric():
        raise FrameError(f"column {weight!r} is {have[weight]}. Allowed: numbers.")
    rows = by_month(snapshots, account=account, date=date, dpd=dpd, status=status)
    last = collect(rows.select(nw.col("month").max()))["month"].iloc[0]
    if pd.isna(last):
        raise NotAvailable("there are no snapshots.")
    cells = _count(rows, accounts, account, originated, cohort, weight, over)
    return _curves(cells, int(last), over, cohort, weight, months, conf_level)


def _count(
    rows: nw.LazyFrame, accounts: nw.LazyFrame, account: str, originated: str, cohort: str, weight: str | None,
    over: int,
) -> pd.DataFrame:  # fmt: skip
    """By by0 (the vintage), entry, exit (months on book), event and replicate: n, amount, youngest origination."""
    born = month_number(originated)
    size = _PERIODS.get(cohort)
    loans = accounts.select(
        id=nw.col(account),
        born=born,
        by0=(born // size) * size if size else nw.col(cohort),
        amount=whole_money(weight, CENTS) if weight else nw.lit(1),
    ).filter(~nw.col("born").is_null())
    rows, loans = same_engine(rows, loans)
    bad = ((nw.col("dpd") >= over) & (nw.col("status") == "open")).fill_null(False) | (
        nw.col("status") == "charged_off"
    )
    age = nw.col("month") - nw.col("born")
    each = (
        rows.join(loans, on="id", how="inner")
        .with_columns(age=age, bad_age=nw.when(bad).then(age), done=flag(~nw.col("status").is_in(["open", "charged_off"])))
        .group_by("id", "by0", "born", "amount")
        .agg(first=nw.col("age").min(), last=nw.col("age").max(), bad=nw.col("bad_age").min(), done=nw.col("done").max())
    )  # fmt: skip
    gone_bad = ~nw.col("bad").is_null()
    event = (
        nw.when(gone_bad)
        .then(nw.lit(_BAD))
        .when(nw.col("done") == 1)
        .then(nw.lit(_ENDED))
        .otherwise(nw.lit(_OPEN))
    )
    each = with_replicates(each, "id", name="replicate").with_columns(
        event=event,
        exit=nw.when(gone_bad).then(nw.col("bad")).otherwise(nw.col("last")),
        entry=nw.col("first"),
    )
    counted = collect(
        each.group_by("by0", "entry", "exit", "event", "replicate").agg(
            row_count().alias("n"),
            whole_sum("amount").alias("amount"),
            nw.col("born").max().alias("youngest"),
        )
    )
    return counted.sort_values(["entry", "exit", "event", "replicate"], ignore_index=True)


def _curves(
    cells: pd.DataFrame, last: int, over: int, cohort: str, weight: str | None, months: int | None, conf_level: float
) -> Vintages:  # fmt: skip
    notes = []
    early = cells["entry"] < 0
    if early.any():
        notes.append(
            f"{int(cells.loc[early, 'n'].sum()):,} accounts have snapshots from before their origination; left out."
        )
    cells = cells[~early]
    late = cells["entry"] > 1
    known_bad = late & (cells["event"] == _BAD) & (cells["exit"] == cells["entry"])
    seen = cells[~late].groupby("by0", dropna=False)["n"].sum()
    whole = cells["by0"].isin(seen.index)
    if (~whole).any():
        notes.append(
            f"{cells.loc[~whole, 'by0'].nunique(dropna=False):,} vintages "
            f"({int(cells.loc[~whole, 'n'].sum()):,} accounts) are left out: none of their accounts is in the "
            "book within a month of origination."
        )
    if n := int(cells.loc[whole & known_bad, "n"].sum()):
        notes.append(
            f"{n:,} accounts were bad already when first seen, more than a month after origination; left out."
        )
    if n := int(cells.loc[whole & late & ~known_bad, "n"].sum()):
        notes.append(
            f"{n:,} accounts were first seen more than a month after origination; they count from then on."
        )
    cells = cells[whole & ~known_bad]
    if cells.empty:
        raise NotAvailable("no vintage is in the book from its start, so no curve can begin.")
    refuse_many_groups(cells[["by0"]].drop_duplicates(), [cohort])
    groups, group = groups_of(cells, [cohort])
    names = [_shown(v, cohort) for v in groups.iloc[:, 0]]
    youngest = pd.Series(cells["youngest"].to_numpy()).groupby(group).max().to_numpy(int)
    watched = last - youngest
    horizon = int(watched.max()) + 1 if months is None else min(int(watched.max()), months) + 1
    shape = (GROUPS, len(groups), horizon + 2)
    replicate, value = cells["replicate"].to_numpy(int), cells["amount" if weight else "n"].fillna(0)
    # Entry −1: at risk from month 0 on; day t is at index t + 1.
    entry = np.where(cells["entry"] <= 1, -1, cells["entry"]).clip(max=horizon).astype(int) + 1
    leave = cells["exit"].clip(upper=horizon).to_numpy(int) + 1
    into = sums_at((replicate, group, entry), value, shape)
    out = np.stack(
        [
            sums_at((replicate, group, leave), value * (cells["event"] == e), shape)
            for e in (_OPEN, _BAD, _ENDED)
        ],
        1,
    )
    sums = np.concatenate([into[:, None], out], axis=1)
    estimate, error, low, high = jackknife(
        sums.sum(0),
        sums,
        _share_bad,
        conf_level,
        "cloglog",
        present=into.any(-1)[:, :, None],  # type: ignore[index]
    )
    count = {
        "into": sums_at((group, entry), cells["n"], shape[1:]),
        "out": sums_at((group, leave), cells["n"], shape[1:]),
        "bad": sums_at((group, leave), cells["n"] * (cells["event"] == _BAD), shape[1:]),
    }
    risk = _at_risk(count["into"], count["out"])
    flat = estimate == 0
    size = count["into"].sum(axis=1)
    low, high = (
        np.where(flat, 0.0, low),
        np.where(flat, wilson(np.zeros_like(estimate), size[:, None], conf_level)[1], high),
    )
    tables = []
    for g, name in enumerate(names):
        end = min(int(watched[g]), horizon - 1)
        t = np.arange(end + 1)[risk[g, 1 : end + 2] > 0] if end >= 0 else np.arange(0)
        t = t[: np.argmax(np.diff(t) > 1) + 1] if (np.diff(t) > 1).any() else t
        tables.append(
            pd.DataFrame(
                {
                    "vintage": name, "month": t, "accounts": int(size[g]),
                    "at_risk": risk[g, t + 1].astype(np.int64), "events": count["bad"][g, t + 1].astype(np.int64),
                    "estimate": estimate[g, t], "std_error": error[g, t], "conf_low": low[g, t], "conf_high": high[g, t],
                }
            )
        )  # fmt: skip
    what = f"{weight} of the accounts" if weight else "accounts"
    return Vintages(
        table=pd.concat(tables, ignore_index=True),
        estimand=f"Share of the {what} of a vintage ever {over} days or more past due, or charged off, by months on book",
        title=f"Gone bad by months on book ({over}+ days past due{', by ' + weight if weight else ''})",
        notes=("A curve ends where the youngest accounts of its vintage have been watched.", *notes),
        formats={"month": "count"},
        conf_level=conf_level,
    )


def _at_risk(into: np.ndarray, out: np.ndarray) -> np.ndarray:
    """At risk at index t: entered before t, not left before t."""
    before = np.cumsum(into - out, axis=-1)
    # Who enters at index 0 is at risk from index 1 on.
    return np.concatenate([np.zeros_like(before[..., :1]), before[..., :-1]], axis=-1)


def _share_bad(sums: np.ndarray) -> np.ndarray:
    into, left, bad, ended = sums
    risk = _at_risk(into, left + bad + ended)
    with np.errstate(divide="ignore", invalid="ignore"):
        stay = np.where(risk > 0, 1 - (bad + ended) / risk, 1.0)
        before = np.cumprod(stay, axis=-1)
        before = np.concatenate([np.ones_like(before[..., :1]), before[..., :-1]], axis=-1)
        step = np.where(risk > 0, before * bad / risk, 0.0)
    return np.cumsum(step, axis=-1)[..., 1:-1]


def _shown(value: Any, cohort: str) -> Any:
    if cohort not in _PERIODS:
        return value
    year, month = int(value) // 12, int(value) % 12
    return {"month": f"{year}-{month + 1:02d}", "quarter": f"{year} Q{month // 3 + 1}", "year": str(year)}[
        cohort
    ]
