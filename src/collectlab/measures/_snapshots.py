"""What roll rates and portfolio measures share: snapshots by calendar month, and shares with intervals."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any

import narwhals as nw
import numpy as np
import pandas as pd

from collectlab.core.engine import collect, require, scan
from collectlab.core.errors import FrameError, NotAvailable, first_few
from collectlab.core.jackknife import jackknife
from collectlab.measures._counting import as_list, natural

STATUSES = ("open", "charged_off", "settled", "sold", "closed")
#: Money is counted in whole hundredths, so that sums do not depend on the order of rows.
CENTS = 100


def is_book(source: Any) -> bool:
    """Whether ``source`` is a book rather than a frame of snapshots."""
    return hasattr(source, "table") and hasattr(source, "has")


def by_month(
    source: Any,
    *,
    by: str | Sequence[str] | None = None,
    money: Sequence[str] = (),
    account: str = "account_id",
    date: str = "as_of",
    dpd: str = "days_past_due",
    status: str = "status",
    start: dt.date | str | None = None,
    end: dt.date | str | None = None,
) -> nw.LazyFrame:
    """Each account's last snapshot of each calendar month, under internal names.

    ``source`` is a book or a frame of snapshots; ``by`` may name columns of the book's accounts as well.
    Columns returned: ``id, date, month`` (year · 12 + month − 1), ``dpd`` (≥ 0), ``status``, ``by0…``,
    ``money0…`` (whole cents, null where missing). Open rows without days past due are left out.
    """
    by = as_list(by)
    frame = snapshots_of(source, by, account)
    require(frame, account, date, dpd, *by, *money)
    schema = frame.collect_schema()
    faults = [f"column {c!r} holds no values." for c in (date, dpd, *money) if schema[c] == nw.Unknown]
    if not faults and schema[date] not in (nw.Date, nw.Datetime):
        faults.append(f"column {date!r} is {schema[date]}. Allowed: dates or timestamps.")
    faults += [
        f"column {column!r} is {schema[column]}. Allowed: numbers."
        for column in (dpd, *money)
        if schema[column] != nw.Unknown and not schema[column].is_numeric()
    ]
    if faults:
        raise FrameError(faults)
    if status in schema:
        found = collect(frame.select(status=nw.col(status).cast(nw.String)).unique())["status"]
        if unknown := sorted(set(found.dropna()) - set(STATUSES)):
            raise FrameError(f"column {status!r} holds {first_few(unknown)}. Allowed: {', '.join(STATUSES)}.")
    day = nw.col(date).cast(nw.Date)
    counter = nw.col(dpd)
    if schema[dpd].is_float():
        counter = nw.when(~counter.is_nan()).then(counter)
    rows = frame.select(
        nw.col(account).alias("id"),
        day.alias("date"),
        (day.dt.year().cast(nw.Int64) * 12 + day.dt.month().cast(nw.Int64) - 1).alias("month"),
        counter.cast(nw.Int64).alias("dpd"),
        (nw.col(status).cast(nw.String).fill_null("open") if status in schema else nw.lit("open")).alias(
            "status"
        ),
        *(nw.col(c).alias(f"by{i}") for i, c in enumerate(by)),
        *(cents(c, schema[c]).alias(f"money{i}") for i, c in enumerate(money)),
    ).filter(~nw.col("date").is_null() & (~nw.col("dpd").is_null() | (nw.col("status") != "open")))
    for bound, keep in ((start, nw.col("date").__ge__), (end, nw.col("date").__le__)):
        if bound is not None:
            rows = rows.filter(keep(nw.lit(as_date(bound)).cast(nw.Date)))
    last = rows.group_by("id", "month").agg(nw.col("date").max()).select("id", "date")
    return rows.join(last, on=["id", "date"], how="semi")


def snapshots_of(source: Any, by: Sequence[str] = (), account: str = "account_id") -> nw.LazyFrame:
    """The snapshots of a book, with the columns of ``by`` that stand in its accounts; or the frame itself."""
    if not is_book(source):
        return scan(source)
    frame = source.table("snapshots")
    wanted = [c for c in by if c not in frame.collect_schema().names()]
    if not wanted:
        return frame
    accounts = source.table("accounts")
    if missing := [c for c in wanted if c not in accounts.collect_schema().names()]:
        raise NotAvailable(f"this book's accounts have no {first_few(missing)}.")
    return frame.join(accounts.select(account, *wanted), on=account, how="left")


def cents(column: str, dtype: Any) -> nw.Expr:
    """Money in whole hundredths; NaN becomes missing."""
    value = nw.col(column)
    if dtype.is_float():
        value = nw.when(value.is_finite()).then(value)
    return (value.cast(nw.Float64) * CENTS).round(0).cast(nw.Int64)


def as_date(value: dt.date | str) -> dt.date:
    """A date, given as one or as text such as ``2026-10-31``."""
    if isinstance(value, str):
        try:
            return dt.date.fromisoformat(value)
        except ValueError as error:
            raise FrameError(f"{value!r} is no date. Allowed: a date, such as 2026-10-31.") from error
    return value.date() if isinstance(value, dt.datetime) else value


def at_date(source: Any, as_of: dt.date | str | None, **options: Any) -> tuple[nw.LazyFrame, dt.date]:
    """Each account's last snapshot of the month of ``as_of`` (default: the last month), and its last date."""
    rows = by_month(source, end=as_of, **options)
    last = collect(rows.select(nw.col("date").max(), nw.col("month").max()))
    if pd.isna(last["month"].iloc[0]):
        raise NotAvailable(f"there are no snapshots{'' if as_of is None else f' up to {as_of}'}.")
    day = pd.Timestamp(last["date"].iloc[0]).date()
    if as_of is not None:
        asked = as_date(as_of)
        if (asked.year, asked.month) != (day.year, day.month):
            raise NotAvailable(
                f"there are no snapshots in the month of {asked}; the last before are of {day}."
            )
    return rows.filter(nw.col("month") == int(last["month"].iloc[0])), day


def month_end(month: int) -> dt.date:
    """The last day of a month counted as year · 12 + month − 1."""
    following = dt.date((month + 1) // 12, (month + 1) % 12 + 1, 1)
    return following - dt.timedelta(days=1)


def groups_of(
    counted: pd.DataFrame, by: Sequence[str], taken: Sequence[str] = ()
) -> tuple[pd.DataFrame, np.ndarray]:
    """The distinct groups in reading order, under their own names, and each counted row's position.

    A grouping column named like one of the result's own columns gets ``by_`` before its name.
    """
    columns = [f"by{i}" for i in range(len(by))]
    names = [f"by_{c}" if c in taken else c for c in by]
    if not by:
        return pd.DataFrame(index=[0]), np.zeros(len(counted), dtype=int)
    keys = [tuple(None if pd.isna(v) else v for v in row) for row in counted[columns].itertuples(index=False)]
    ordered = sorted(
        set(keys), key=lambda key: [(v is None, natural(v) if v is not None else ()) for v in key]
    )
    place = {key: i for i, key in enumerate(ordered)}
    shown = [["(missing)" if v is None else v for v in key] for key in ordered]
    return pd.DataFrame(shown, columns=names), np.array([place[key] for key in keys], dtype=int)


def wilson(share: np.ndarray, n: np.ndarray, conf_level: float) -> tuple[np.ndarray, np.ndarray]:
    """Wilson's score interval of a share out of ``n`` (NaN where n = 0).

    Source: Wilson (1927), JASA 22, 209–212.
    """
    from scipy.special import ndtri

    z2 = ndtri((1 + conf_level) / 2) ** 2
    share, n = np.asarray(share, dtype=float), np.asarray(n, dtype=float)
    with np.errstate(divide="ignore", invalid="ignore"):
        middle = (share + z2 / (2 * n)) / (1 + z2 / n)
        reach = np.sqrt(z2 * share * (1 - share) / n + z2**2 / (4 * n**2)) / (1 + z2 / n)
    low = np.where(share <= 0, 0.0, np.maximum(middle - reach, 0.0))
    high = np.where(share >= 1, 1.0, np.minimum(middle + reach, 1.0))
    empty = ~(n > 0)
    return np.where(empty, np.nan, low), np.where(empty, np.nan, high)


def shares(
    part: np.ndarray, whole: np.ndarray, n: np.ndarray, conf_level: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Shares part / whole with intervals that respect the recurrence of accounts.

    The standard error is the delete-a-group jackknife's over accounts (axis 0 of ``part`` and ``whole``),
    but at least the binomial one. The interval is Wilson's with the number of observations that would give
    that standard error, n_eff = p (1 − p) / se², never more than ``n``; at 0 and 1 it is ``n`` itself.
    Source: Korn & Graubard (1998), Survey Methodology 24, 193–201 (there for Clopper–Pearson).

    Parameters
    ----------
    part, whole : arrays, shape (R, …)
        Sums by replicate group; ``whole`` may be broader, it is spread over the last axis.
    n : array
        Observations behind each share.
    """
    estimate, error, _, _ = jackknife(
        np.stack([part.sum(axis=0), whole.sum(axis=0)]),
        np.stack([part, whole], axis=1),
        lambda sums: sums[0] / sums[1],
        conf_level,
        present=whole != 0,
    )
    n = np.broadcast_to(np.asarray(n, dtype=float), estimate.shape)
    with np.errstate(divide="ignore", invalid="ignore"):
        binomial = np.sqrt(estimate * (1 - estimate) / n)
        error = np.fmax(error, binomial)
        inner = (estimate > 0) & (estimate < 1) & (error > 0)
        effective = np.where(inner, np.minimum(estimate * (1 - estimate) / error**2, n), n)
    low, high = wilson(estimate, np.where(np.isfinite(estimate), effective, 0), conf_level)
    return estimate, error, low, high


def check_level(conf_level: float) -> None:
    """Refuse a level of confidence that is none."""
    if not 0 < conf_level < 1:
        raise FrameError(f"conf_level is {conf_level}. Allowed: between 0 and 1, such as 0.95.")


def check_days(value: int, name: str = "over", what: str = "days past due") -> None:
    """Refuse what is no whole number of days or months from 1 up."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise FrameError(f"{name} is {value!r}. Allowed: whole {what} ≥ 1.")


def shown_name(key: Sequence[object]) -> str:
    """A group's name in a chart: ``small business, North``."""
    return ", ".join(str(k).replace("_", " ") for k in key)
