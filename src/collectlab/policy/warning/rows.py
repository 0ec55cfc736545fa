"""One row per account and month-end: what was known that day, and what had come of it a month later."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import narwhals as nw
import numpy as np
import pandas as pd

from collectlab.core.columns import day_number, flag
from collectlab.core.engine import collect, fetch
from collectlab.core.errors import FrameError, NotAvailable, first_few, nearest
from collectlab.measures.snapshots import CENTS, as_date, by_month, is_book, snapshots_of
from collectlab.policy.warning.checks import names_of
from collectlab.policy.warning.features import FEATURES, TARGETS
from collectlab.policy.warning.rows_events import events_of

#: Lower edges of the buckets; the last has no next one.
BUCKETS = (1, 30, 60, 90, 120, 150)
#: Months back in which a last time past due is told from none.
RECENT = 6
#: Columns of the rows that are no features.
KEYS = ("account_id", "customer_id", "on", "month")
LATER = ("outcome", "off_after", "seen_after")


def warning_rows(
    book: Any,
    *,
    target: str = "falls",
    since: dt.date | str | None = None,
    until: dt.date | str | None = None,
    buckets: Sequence[int] = BUCKETS,
    columns: Sequence[str] = (),
) -> pd.DataFrame:
    """Accounts at month-ends with what was known of them then, and whether the target came true a month later.

    *Falls*: open accounts with 0 days past due; the outcome is 1 where the account is past due or charged off at
    the next month-end. *Rolls*: open accounts past due, below the last bucket; 1 where it is in a worse bucket or
    charged off. Closed, settled or sold by then counts as 0. An account that is not seen a month later has no
    outcome (missing), so that the last month's rows are those to be scored.

    Parameters
    ----------
    book : Book or frame
        A book; or a frame of snapshots (account_id, as_of, days_past_due, perhaps status, balance,
        amount_past_due), of any kind that Narwhals takes.
    target : {"falls", "rolls"}
    since, until : date or text, optional
        First and last month-end of the rows; what happened before ``since`` is looked at all the same.
    buckets : sequence of int
        Rising lower edges of the buckets of *rolls*, in days past due; the last one has no next.
    columns : sequence of str
        Columns of the snapshots (as texts) or of the accounts to keep besides those the features need: for
        fairness, or as features. What the accounts say is taken as known all the time.

    Returns
    -------
    pandas.DataFrame
        ``account_id, customer_id, on`` (date), ``month`` (year · 12 + month − 1), the features of
        :data:`~collectlab.policy.warning.features.FEATURES` that the book can tell (missing where not known), and
        what came later: ``outcome`` (1, 0, missing), ``off_after`` (months until charged off, missing if not),
        ``seen_after`` (months the account was followed). Sorted by account and date.

    Raises
    ------
    FrameError
        Unknown target, buckets that do not rise, a column that is not there, two snapshots of an account on one day.
    NotAvailable
        No account is current (falls) or past due (rolls) at any month-end; only one month is there.

    Examples
    --------
    >>> snapshots = pd.DataFrame({"account_id": [1, 1, 1], "days_past_due": [0, 0, 12],
    ...     "as_of": pd.to_datetime(["2026-01-31", "2026-02-28", "2026-03-31"])})
    >>> warning_rows(snapshots)[["month", "outcome", "past_due_12"]].to_numpy().tolist()
    [[24312.0, 0.0, 0.0], [24313.0, 1.0, 0.0]]
    """
    _check(target, buckets)
    columns = names_of(columns, "columns")
    for name, day in (("since", since), ("until", until)):
        if day is not None and not isinstance(day, (str, dt.date)):
            raise FrameError(f"{name} is {day!r}. Allowed: a date, such as 2026-10-31.")
    base = _snapshots(book, until, columns)
    if base.month.min() == base.month.max():
        raise NotAvailable("the book has one month only; a warning is learned from what came a month later.")
    dpd, late = base.dpd, base.dpd >= 1
    if target == "falls":
        chosen = base.open & ~late
    else:
        chosen = base.open & late & (dpd < buckets[-1])
    if since is not None:
        first = as_date(since)
        chosen = chosen & (base.month >= first.year * 12 + first.month - 1)
    if not chosen.any():
        what = "current" if target == "falls" else f"1 to {buckets[-1] - 1} days past due"
        raise NotAvailable(f"no open account is {what} at any month-end, so nothing can be learned.")
    row = np.flatnonzero(chosen)
    table = pd.DataFrame(
        {
            "account_id": pd.Categorical.from_codes(base.code[row], base.ids),
            "on": pd.to_datetime(base.day[row], unit="D", origin="1900-01-01"),
            "month": base.month[row],
        }
    )
    for name, values in _from_snapshots(base, row, target).items():
        table[name] = values
    for name, held in base.more.items():
        table[name] = held.take(row)
    if is_book(book):
        table = _from_accounts(book, base, row, table, columns)
        for name, values in events_of(book, base, row).items():
            table[name] = values
        table = _ratios(book, base, row, table)
    elif missing := [c for c in columns if c not in table]:
        raise FrameError(f"columns: no column {first_few(missing)} in the snapshots.")
    if "customer_id" not in table:
        table.insert(1, "customer_id", table["account_id"])
    for name, values in _later(base, row, target, buckets).items():
        table[name] = values
    front = [*KEYS, *(f for f in FEATURES if f in table)]
    rest = [c for c in table.columns if c not in (*front, *LATER)]
    return table[[*front, *rest, *LATER]]


def _check(target: str, buckets: Sequence[int]) -> None:
    faults = []
    if target not in TARGETS:
        near = nearest(str(target), TARGETS)
        hint = f" Did you mean {near[0]}?" if near else ""
        faults.append(f"target is {target!r}.{hint} Allowed: {', '.join(TARGETS)}.")
    buckets = buckets if isinstance(buckets, Sequence | np.ndarray) else [buckets]
    whole = all(isinstance(b, (int, np.integer)) and not isinstance(b, bool) and b >= 1 for b in buckets)
    if len(buckets) < 2 or not whole or list(buckets) != sorted(set(buckets)):
        faults.append(
            f"buckets are {list(buckets)}. Allowed: two or more rising whole days ≥ 1, such as {BUCKETS}."
        )
    if faults:
        raise FrameError(faults)


@dataclass(frozen=True)
class Base:
    """All snapshots, the last of each month, sorted by account and month."""

    ids: pd.Index
    code: np.ndarray
    day: np.ndarray
    month: np.ndarray
    dpd: np.ndarray
    status: np.ndarray
    money: dict[str, np.ndarray]
    forborne: np.ndarray | None
    more: dict[str, pd.Categorical]

    @property
    def open(self) -> np.ndarray:
        return self.status == "open"

    def shifted(self, row: np.ndarray, by: int) -> np.ndarray:
        """The place of the same account's snapshot ``by`` months on (before, if negative); −1 where there is none."""
        key = self.code * _SPAN + self.month
        wanted = key[row] + by
        place = np.searchsorted(key, wanted)
        place[place == len(key)] = 0
        return np.where(key[place] == wanted, place, -1)


#: More than the months that any date of the contract can count.
_SPAN = 40_000


def _snapshots(book: Any, until: dt.date | str | None, columns: Sequence[str]) -> Base:
    have = snapshots_of(book).collect_schema().names()
    more = [c for c in columns if c in have]
    money = [c for c in ("balance", "amount_past_due") if c in have]
    kept = ["forborne"] if "forborne" in have else []
    rows = by_month(book, by=[*kept, *more], money=money, end=until)
    asked = {"id": nw.col("id"), "day": day_number("date"), "month": nw.col("month"), "dpd": nw.col("dpd"),
             "status": nw.col("status")}  # fmt: skip
    asked |= {c: nw.col(f"money{i}") for i, c in enumerate(money)}
    if kept:
        asked["forborne"] = flag(nw.col("by0").cast(nw.Boolean))
    texts = {f"more{i}": nw.col(f"by{i + len(kept)}").cast(nw.String) for i in range(len(more))}
    found = fetch(rows.select(**asked, **texts).sort("id", "day")).to_arrow()
    if found.num_rows == 0:
        raise NotAvailable("there are no snapshots.")
    ids = found["id"].combine_chunks().dictionary_encode()
    number = {c: found[c].to_numpy() for c in asked if c not in ("id", "status")}
    status = found["status"].combine_chunks().dictionary_encode()
    code = ids.indices.to_numpy(zero_copy_only=False).astype(np.int64)
    twice = (code[1:] == code[:-1]) & (number["month"][1:] == number["month"][:-1])
    index = pd.Index(ids.dictionary.to_pandas())
    if twice.any():
        examples = [str(index[c]) for c in code[1:][twice][:5]]
        raise FrameError(
            f"{int(twice.sum()):,} times an account has several snapshots on one day (account {first_few(examples)}). "
            "Allowed: one row an account and date; which one holds cannot be told."
        )
    # What is not open has no days past due of its own; it is told by its status.
    dpd = np.nan_to_num(number["dpd"].astype(float)).astype(np.int64)
    names = status.dictionary.to_numpy(zero_copy_only=False)
    return Base(
        ids=index,
        code=code,
        day=number["day"].astype(np.int64),
        month=number["month"].astype(np.int64),
        dpd=dpd,
        status=names[status.indices.to_numpy(zero_copy_only=False)],
        money={c: number[c].astype(float) / CENTS for c in money},
        forborne=number["forborne"].astype(float) if kept else None,
        more={c: pd.Categorical(found[f"more{i}"].to_pandas()) for i, c in enumerate(more)},
    )


def _from_snapshots(base: Base, row: np.ndarray, target: str) -> dict[str, np.ndarray]:
    late = (base.open & (base.dpd >= 1)) | (base.status == "charged_off")
    key = base.code * _SPAN + base.month
    code, month = base.code[row], base.month[row]
    total = np.concatenate([[0], np.cumsum(late)])

    first = np.searchsorted(key, code * _SPAN + month - 12, side="right")
    out = {"past_due_12": (total[row + 1] - total[first]).astype(float), "worst_12": _worst(base, row)}
    if target == "rolls":
        out["days_past_due"] = base.dpd[row].astype(float)
        out["months_in_a_row"] = _in_a_row(base, late)[row].astype(float)
    else:
        place = np.maximum.accumulate(np.where(late, np.arange(len(late)), -1))[row]
        ago = month - base.month[place]
        known = (place >= 0) & (base.code[place] == code) & (ago <= RECENT)
        out["months_since"] = np.where(known, ago, np.nan)
        out["months_before"] = _before(base, row, late)
    if "balance" in base.money:
        out["balance"] = base.money["balance"][row]
        before = base.shifted(row, -3)
        old = np.where(before >= 0, base.money["balance"][before], np.nan)
        out["balance_change"] = _ratio(out["balance"] - old, old)
        if "amount_past_due" in base.money and target == "rolls":
            out["overdue_share"] = _ratio(base.money["amount_past_due"][row], out["balance"])
    if base.forborne is not None:
        out["forborne"] = base.forborne[row]
    return out


def _before(base: Base, row: np.ndarray, late: np.ndarray) -> pd.Categorical:
    """Whether the account was past due at each of the three month-ends before, the nearest first."""
    said = ("current", "past due", "not seen")
    code = np.zeros(len(row), dtype=np.int64)
    for back in (1, 2, 3):
        place = base.shifted(row, -back)
        code = code * 3 + np.where(place < 0, 2, late[place])
    return pd.Categorical.from_codes(code, [", ".join(three) for three in product(said, repeat=3)])


def _worst(base: Base, row: np.ndarray) -> np.ndarray:
    """Most days past due at the last twelve month-ends."""
    worst = np.zeros(len(row))
    for back in range(12):
        place = np.maximum(row - back, 0)
        near = (base.code[place] == base.code[row]) & (base.month[place] > base.month[row] - 12)
        worst = np.where(near, np.maximum(worst, base.dpd[place]), worst)
    return worst


def _in_a_row(base: Base, late: np.ndarray) -> np.ndarray:
    """Month-ends past due in a row up to each snapshot, a missing month breaking the row."""
    n = np.arange(len(late))
    near = np.zeros(len(late), dtype=bool)
    near[1:] = (base.code[1:] == base.code[:-1]) & (base.month[1:] == base.month[:-1] + 1) & late[:-1]
    start = np.maximum.accumulate(np.where(late & near, -1, n))
    return np.where(late, n - start + 1, 0)


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(whole > 0, part / whole, np.nan)


def _from_accounts(
    book: Any, base: Base, row: np.ndarray, table: pd.DataFrame, columns: Sequence[str]
) -> pd.DataFrame:
    have = book.columns("accounts")
    if missing := [c for c in columns if c not in have and c not in table]:
        raise FrameError(
            f"columns: no column {first_few(missing)} in accounts. There: {first_few(have, 30)}."
        )
    wanted = [
        "customer_id",
        "originated_on",
        "credit_score",
        "monthly_income",
        "product",
        "origination_channel",
    ]
    wanted = list(dict.fromkeys([c for c in (*wanted, *columns) if c in have and c not in table]))
    if not wanted:
        return table
    held = collect(book.table("accounts").select("account_id", *wanted))
    place = pd.Index(held["account_id"]).get_indexer(base.ids)[base.code[row]]
    there = place >= 0
    for name in wanted:
        values = held[name]
        if name == "originated_on":
            day = pd.to_datetime(values)
            since = (day.dt.year * 12 + day.dt.month - 1).to_numpy(float)
            age = base.month[row] - since[place]
            # First seen before it was granted: no age that could be believed.
            table["months_on_book"] = np.where(there & (age >= 0), age, np.nan)
        elif pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values):
            table[name] = np.where(there, values.to_numpy(float, na_value=np.nan)[place], np.nan)
        else:
            codes, levels = pd.factorize(values.astype(object).where(values.notna(), None), sort=False)
            order = np.argsort([str(v) for v in levels], kind="stable")
            rank = np.empty(len(levels) + 1, dtype=np.int64)
            rank[order], rank[-1] = np.arange(len(levels)), -1
            chosen = np.where(there, rank[codes][place], -1)
            table[name] = pd.Categorical.from_codes(chosen, [str(levels[i]) for i in order])
    if "customer_id" in table:
        unknown = table["customer_id"].isna()
        if unknown.any():
            own = table["account_id"].astype(str)
            table["customer_id"] = pd.Categorical(table["customer_id"].astype(object).where(~unknown, own))
    return table


def _ratios(book: Any, base: Base, row: np.ndarray, table: pd.DataFrame) -> pd.DataFrame:
    """What takes the instalment: of the income, and how much of it was paid."""
    if "instalment" not in book.columns("accounts"):
        return table.drop(columns="paid_31", errors="ignore")
    held = collect(book.table("accounts").select("account_id", "instalment"))
    place = pd.Index(held["account_id"]).get_indexer(base.ids)[base.code[row]]
    instalment = np.where(place >= 0, held["instalment"].to_numpy(float)[place], np.nan)
    if "monthly_income" in table:
        table["instalment_to_income"] = _ratio(instalment, table["monthly_income"].to_numpy(float))
    if "paid_31" in table:
        table["paid_share"] = _ratio(table.pop("paid_31").to_numpy(float), instalment)
    return table


def _later(base: Base, row: np.ndarray, target: str, buckets: Sequence[int]) -> dict[str, np.ndarray]:
    """What came later: the outcome a month on, and whether and when the account was charged off."""
    following = base.shifted(row, 1)
    seen = following >= 0
    off = base.status == "charged_off"
    bad = off.copy()
    if target == "falls":
        bad |= base.open & (base.dpd >= 1)
        came = bad[following]
    else:
        bucket = np.searchsorted(buckets, base.dpd, side="right")
        came = off[following] | (base.open[following] & (bucket[following] > bucket[row]))
    first_off = np.full(len(base.ids), np.iinfo(np.int64).max)
    np.minimum.at(first_off, base.code[off], base.month[off])
    ahead = first_off[base.code[row]] - base.month[row]
    return {
        "outcome": np.where(seen, came.astype(float), np.nan),
        "off_after": np.where(first_off[base.code[row]] < np.iinfo(np.int64).max, ahead, np.nan),
        "seen_after": (base.month.max() - base.month[row]).astype(float),
    }
