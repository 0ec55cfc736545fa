"""New loans: how many go bad early, by quarter of origination."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import narwhals as nw
import numpy as np
import pandas as pd

from collectlab.core.columns import as_list, flag, row_count, whole_sum
from collectlab.core.engine import collect
from collectlab.core.errors import FrameError, NotAvailable
from collectlab.core.jackknife import INTERVAL, check_level, wilson
from collectlab.core.plots import PALETTE, legend, new_axes, percent_axis, reach, titled
from collectlab.core.results import Result
from collectlab.measures.groups import by_keys, groups_of, shown_name
from collectlab.measures.snapshots import check_days, is_book

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True, kw_only=True)
class NewLoanBadRate(Result):
    """How many new loans go bad early, by quarter of origination.

    ``table``: [by…], cohort, loans, bad, cohort_status (mature, not yet mature), estimate, std_error,
    conf_low, conf_high (blank until the cohort is mature).
    """

    by: tuple[str, ...] = ()
    plottable = True

    def plot(self, ax: Axes | None = None, **options: Any) -> Axes:
        """The mature cohorts' rates with their intervals."""
        ax = new_axes(ax)
        mature = self.table[self.table["cohort_status"] == "mature"]
        cohorts = list(dict.fromkeys(self.table.sort_values("cohort", kind="stable")["cohort"]))
        place = {c: i for i, c in enumerate(cohorts)}
        parts = list(mature.groupby(list(self.by), sort=False)) if self.by else [((), mature)]
        for i, (key, part) in enumerate(parts[:6]):
            x = part["cohort"].map(place).to_numpy(float) + 0.08 * (i - (min(len(parts), 6) - 1) / 2)
            y = part["estimate"].to_numpy()
            ax.errorbar(
                x, y, yerr=reach(part), color=PALETTE[i], marker="os^Dvx"[i], markersize=4.5, linewidth=1.2,
                elinewidth=0.9, capsize=2, label=shown_name(key) or None,
            )  # fmt: skip
        for cohort in cohorts:
            if not (mature["cohort"] == cohort).any():
                ax.axvspan(place[cohort] - 0.5, place[cohort] + 0.5, color="#EEEEEE", linewidth=0)
                ax.text(
                    place[cohort], 0.5, "not yet mature", rotation=90, ha="center", va="center",
                    color="#555555", fontsize=8.5, transform=ax.get_xaxis_transform(),
                )  # fmt: skip
        ax.set_xticks(range(len(cohorts)), cohorts, rotation=45 if len(cohorts) > 9 else 0)
        ax.set_xlim(-0.6, len(cohorts) - 0.4)
        if len(mature):
            ax.set_ylim(bottom=0)
        percent_axis(ax)
        ax.set_xlabel("Quarter of origination")
        ax.set_ylabel("Share gone bad")
        if self.by:
            legend(ax, outside=True)
        return titled(ax, self.title)


def new_loan_bad_rate(
    book: Any,
    months_on_book: int = 6,
    over: int = 30,
    by: str | Sequence[str] | None = None,
    conf_level: float = 0.95,
) -> NewLoanBadRate:
    """Share of new loans seen at least ``over`` days past due (or charged off) within some months of origination.

    Cohorts are quarters of origination. A cohort is *mature* when the book reaches ``months_on_book``
    months beyond the quarter's end: only then has each of its loans been watched that long. Cohorts not
    yet mature are shown with their size but without a rate; cohorts originated before the book's first
    snapshot are left out, as loans that went bad and left before then cannot be seen.

    Parameters
    ----------
    book : Book
        Its accounts must have ``originated_on``.
    months_on_book : int
        Calendar months from origination.
    over : int
        Days past due that make a loan bad.
    by : str or sequence of str, optional
        Columns of ``accounts`` to group by.
    conf_level : float
        Level of Wilson's interval.

    Raises
    ------
    NotAvailable
        No origination dates, or no loan originated since the book's first snapshot.

    Examples
    --------
    >>> import pandas as pd
    >>> from collectlab.book.open import open_book
    >>> ends = [str(day)[:10] for day in pd.date_range("2025-03-31", periods=10, freq="ME")]
    >>> book = open_book({
    ...     "accounts": pd.DataFrame({"account_id": ["old", "new", "bad"],
    ...                               "originated_on": ["2024-05-01", "2025-04-10", "2025-04-20"]}),
    ...     "snapshots": pd.DataFrame({
    ...         "account_id": ["old"] * 10 + ["new"] * 9 + ["bad"] * 9, "as_of": ends + ends[1:] * 2,
    ...         "days_past_due": [0] * 19 + [0, 0, 20, 50, 0, 0, 0, 0, 0]})})
    >>> new_loan_bad_rate(book, months_on_book=6).table["estimate"].tolist()
    [0.5]
    """
    check_level(conf_level)
    check_days(over)
    check_days(months_on_book, "months_on_book", "months")
    by = as_list(by)
    if not is_book(book):
        raise FrameError("new_loan_bad_rate needs a book: snapshots and accounts with originated_on.")
    accounts = book.table("accounts")
    have = accounts.collect_schema().names()
    if missing := [c for c in ("originated_on", *by) if c not in have]:
        raise NotAvailable(f"this book's accounts have no {', '.join(missing)}.")
    snapshots = book.table("snapshots")
    span = collect(snapshots.select(first=nw.col("as_of").min(), last=nw.col("as_of").max()))
    if pd.isna(span["last"].iloc[0]):
        raise NotAvailable("there are no snapshots.")
    first, last = (pd.Timestamp(span[c].iloc[0]) for c in ("first", "last"))
    counted = _new_loans(accounts, snapshots, by, months_on_book, over, first.replace(day=1).date())
    if counted.empty:
        raise NotAvailable(
            f"no loan was originated in a quarter that lies in the book as a whole (it begins {first.date()})."
        )
    own = ("cohort", "loans", "bad", "cohort_status", *INTERVAL)
    groups, group = groups_of(counted, by, own)
    quarters = [pd.Period(year=int(q) // 4, quarter=int(q) % 4 + 1, freq="Q") for q in counted["quarter"]]
    table = groups.iloc[group].reset_index(drop=True)
    table["cohort"] = [f"{q.year} Q{q.quarter}" for q in quarters]
    mature = np.array(
        [q.end_time.normalize() + pd.DateOffset(months=months_on_book) <= last for q in quarters], dtype=bool
    )
    n, bad = counted["n"].to_numpy(float), counted["bad"].to_numpy(float)
    table["loans"], table["bad"] = counted["n"], np.where(mature, bad, np.nan)
    table["cohort_status"] = np.where(mature, "mature", "not yet mature")
    share = bad / n
    low, high = wilson(share, n, conf_level)
    for name, values in zip(INTERVAL, (share, np.sqrt(share * (1 - share) / n), low, high)):
        table[name] = np.where(mature, values, np.nan)
    order = np.lexsort((counted["quarter"].to_numpy(), group))
    table = table.iloc[order]
    notes = [
        f"Loans of quarters that began before the book's first month ({first:%Y-%m}) are left out: their first "
        "months are not in it.",
    ]
    if not mature.all():
        notes.append(
            f"{int(n[~mature].sum()):,} loans of cohorts not yet {months_on_book} months old (up to {last.date()}) have no rate yet."
        )
    if lost := int(counted.loc[mature, "lost"].sum()):
        notes.append(
            f"{lost:,} loans of mature cohorts left the snapshots before {months_on_book} months without being "
            "closed; they count as not bad."
        )
    if unseen := int(counted.loc[mature, "unseen"].sum()):
        notes.append(
            f"{unseen:,} loans of mature cohorts have no snapshot in that time; they count as not bad."
        )
    return NewLoanBadRate(
        table=table,
        estimand=f"Share of loans {over} days or more past due, or charged off, within {months_on_book} months of origination",
        title=f"New loans gone bad within {months_on_book} months ({over}+ days past due)",
        notes=tuple(notes),
        formats={"loans": "count", "bad": "count"},
        conf_level=conf_level,
        by=tuple(groups.columns),
    )


def _new_loans(
    accounts: nw.LazyFrame, snapshots: nw.LazyFrame, by: list[str], months: int, over: int, since: dt.date
) -> pd.DataFrame:
    """By [by…] and quarter of origination (year · 4 + quarter − 1): n, bad, lost, unseen."""
    columns = snapshots.collect_schema().names()
    status = nw.col("status").cast(nw.String).fill_null("open") if "status" in columns else nw.lit("open")
    opened = nw.col("originated_on").cast(nw.Date)
    # The quarter that holds the book's first month must lie in the book as a whole.
    first_quarter = since.year * 4 + (since.month - 1) // 3 + (0 if since.month % 3 == 1 else 1)
    keys = by_keys(by)
    loans = accounts.select(
        "account_id",
        opened.alias("opened"),
        opened.dt.offset_by(f"{months}mo").cast(nw.Date).alias("until"),
        (opened.dt.year().cast(nw.Int64) * 4 + (opened.dt.month().cast(nw.Int64) - 1) // 3).alias("quarter"),
        *(nw.col(c).alias(k) for c, k in zip(by, keys)),
    ).filter(nw.col("quarter") >= first_quarter)
    seen = (
        snapshots.select("account_id", nw.col("as_of").cast(nw.Date).alias("date"), "days_past_due", status.alias("status"))
        .join(loans.select("account_id", "until"), on="account_id", how="inner")
        .filter(nw.col("date") <= nw.col("until"))
        .with_columns(
            bad=flag(
                ((nw.col("days_past_due") >= over) & (nw.col("status") == "open")).fill_null(False)
                | (nw.col("status") == "charged_off")
            ),
            ended=flag(nw.col("status") != "open"),
            near=flag(nw.col("date").dt.offset_by("31d").cast(nw.Date) >= nw.col("until")),
        )
        .group_by("account_id")
        .agg(nw.col("bad").max(), nw.col("ended").max(), nw.col("near").max())
    )  # fmt: skip
    each = loans.join(seen, on="account_id", how="left").with_columns(
        unseen=flag(nw.col("bad").is_null()),
        lost=flag((nw.col("bad") == 0) & (nw.col("ended") == 0) & (nw.col("near") == 0)),
        bad=nw.col("bad").fill_null(0),
    )
    counted = collect(
        each.group_by(*keys, "quarter").agg(
            row_count().alias("n"),
            *(whole_sum(c).alias(c) for c in ("bad", "lost", "unseen")),
        )
    )
    return counted.sort_values("quarter", kind="stable", ignore_index=True)
