"""The portfolio: how much of it is past due, which way that moves, where and with whom it sits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import narwhals as nw
import numpy as np
import pandas as pd

from collectlab.core.columns import as_list, flag, row_count, whole_sum
from collectlab.core.engine import collect
from collectlab.core.errors import NotAvailable
from collectlab.core.jackknife import (
    GROUPS,
    INTERVAL,
    check_level,
    jackknife,
    shares,
    sums_at,
    t_quantile,
    with_replicates,
)
from collectlab.measures.groups import by_keys, groups_of, shown_name
from collectlab.measures.portfolio_book import (
    concentration,
    how_long,
    largest_accounts,
    overdue_by_bucket,
)
from collectlab.measures.portfolio_new import NewLoanBadRate, new_loan_bad_rate
from collectlab.measures.portfolio_results import (
    Concentration,
    DaysPastDue,
    DelinquencyRate,
    DelinquencyTrend,
    OverdueByBucket,
)
from collectlab.measures.snapshots import CENTS, by_month, check_days

__all__ = [
    "Concentration",
    "DaysPastDue",
    "DelinquencyRate",
    "DelinquencyTrend",
    "NewLoanBadRate",
    "OverdueByBucket",
    "concentration",
    "delinquency_rate",
    "delinquency_trend",
    "how_long",
    "largest_accounts",
    "new_loan_bad_rate",
    "overdue_by_bucket",
]

#: Fewer months than this say nothing about how much a rate wobbles from month to month.
MIN_MONTHS = 8


def delinquency_rate(
    snapshots: Any,
    by: str | Sequence[str] | None = None,
    over: int = 1,
    weight: str | None = None,
    *,
    account: str = "account_id",
    date: str = "as_of",
    dpd: str = "days_past_due",
    status: str = "status",
    conf_level: float = 0.95,
) -> DelinquencyRate:
    r"""Share of open accounts (or of their balance) at least ``over`` days past due, month by month.

    .. math:: p_m = \sum_i w_{im} 1[d_{im} \ge \text{over}] \big/ \sum_i w_{im}

    over the accounts open at their last snapshot of month m; charged-off, settled, sold and closed
    accounts are in neither sum.

    Parameters
    ----------
    snapshots : Book or frame
        One row an account and date. Of a book, ``by`` may name columns of ``accounts``.
    by : str or sequence of str, optional
        Columns to group by.
    over : int
        Days past due from which an account counts.
    weight : str, optional
        None counts accounts; ``"balance"`` or any column weighs them. Negative weights count as 0.
    account, date, dpd, status : str
        Column names.
    conf_level : float
        Level of the intervals: the accounts are taken as a sample of accounts such as these.

    Returns
    -------
    DelinquencyRate
        ``as_of`` is the book's last snapshot date of the month.

    Examples
    --------
    >>> import pandas as pd
    >>> snapshots = pd.DataFrame({
    ...     "account_id": [1, 2, 3, 4],
    ...     "as_of": pd.to_datetime(["2024-01-31"] * 4),
    ...     "days_past_due": [0, 0, 12, 45],
    ... })
    >>> float(delinquency_rate(snapshots).table["estimate"][0])
    0.5
    """
    check_level(conf_level)
    by = as_list(by)
    columns = {"account": account, "date": date, "dpd": dpd, "status": status}
    found = _Series.count(snapshots, by, over, weight, **columns)
    return DelinquencyRate(
        table=found.table(conf_level),
        estimand=f"Share of {_what(weight)} {_late(over)}, at each month's end",
        title=f"Share {_late(over)}" + ("" if weight is None else f" (by {weight})"),
        notes=("Charged-off, settled, sold and closed accounts are not counted.",),
        formats=_FORMATS,
        conf_level=conf_level,
        by=tuple(found.groups.columns),
    )


def delinquency_trend(
    snapshots: Any,
    months: int = 6,
    over: int = 1,
    weight: str | None = None,
    by: str | Sequence[str] | None = None,
    *,
    account: str = "account_id",
    date: str = "as_of",
    dpd: str = "days_past_due",
    status: str = "status",
    conf_level: float = 0.95,
) -> DelinquencyTrend:
    r"""Relative change of the delinquency rate over the last ``months`` months.

    .. math:: p_T / p_{T-k} - 1

    Its interval is symmetric on the log scale and takes the larger of two standard errors of
    log(p_T / p_{T−k}): the delete-a-group jackknife over accounts, which respects that mostly the same
    accounts stand in both months; and √(k · λ), λ being the long-run variance (Newey–West, Bartlett
    weights) of the monthly changes of log p around their mean, which says how far the rate wanders in k
    months by its usual, autocorrelated wobble.

    Parameters
    ----------
    months : int
        Length k of the change.
    snapshots, over, weight, by, account, date, dpd, status, conf_level
        As in :func:`delinquency_rate`.

    Returns
    -------
    DelinquencyTrend
        ``trend`` is ``rising`` or ``falling`` if the interval excludes no change, else ``cannot tell``. A
        series shorter than eight months, a month missing, or a rate of 0 at either end has no interval.

    References
    ----------
    Newey & West (1987), Econometrica 55, 703–708.

    Examples
    --------
    >>> import pandas as pd
    >>> snapshots = pd.DataFrame({
    ...     "account_id": [1, 2] * 2,
    ...     "as_of": pd.to_datetime(["2024-01-31"] * 2 + ["2024-07-31"] * 2),
    ...     "days_past_due": [0, 12, 9, 45],
    ... })
    >>> delinquency_trend(snapshots).table[["level_before", "level", "estimate", "trend"]].values.tolist()
    [[0.5, 1.0, 1.0, 'cannot tell']]
    """
    check_level(conf_level)
    check_days(months, "months", "months")
    by = as_list(by)
    columns = {"account": account, "date": date, "dpd": dpd, "status": status}
    found = _Series.count(snapshots, by, over, weight, **columns)
    table, short = found.changes(months, conf_level)
    notes = [
        "The interval covers both which accounts happen to be in the book and the rate's usual wobble from "
        "month to month; seasons are not taken out.",
    ]
    if short:
        notes.append(
            f"Cannot tell ({short}): at least {MIN_MONTHS} months without a gap and a rate above 0 are needed."
        )
    return DelinquencyTrend(
        table=table,
        estimand=f"Relative change over {months} months of the share of {_what(weight)} {_late(over)}",
        title=f"Share {_late(over)}" + ("" if weight is None else f" (by {weight})"),
        notes=tuple(notes),
        formats={**_FORMATS, "level_before": "share", "level": "share", "months": "count"},
        conf_level=conf_level,
        series=found.table(conf_level),
        by=tuple(found.groups.columns),
    )


_FORMATS = {"accounts": "count", "overdue": "count", "amount": "money", "amount_overdue": "money"}


def _what(weight: str | None) -> str:
    return "open accounts" if weight is None else f"the {weight} of open accounts"


def _late(over: int) -> str:
    return "past due" if over == 1 else f"{over} days or more past due"


@dataclass(frozen=True)
class _Series:
    """Counts by replicate group (R), group (G) and month (M); ``part`` of ``whole`` is past due."""

    groups: pd.DataFrame
    months: np.ndarray  #: (M,) year · 12 + month − 1, rising
    dates: list  #: (M,) the book's last snapshot date of each
    part: np.ndarray
    whole: np.ndarray
    n: np.ndarray  #: (R, G, M) open accounts
    late: np.ndarray
    weighted: bool

    @classmethod
    def count(cls, snapshots: Any, by: list[str], over: int, weight: str | None, **columns: str) -> _Series:
        check_days(over)
        weighted = weight is not None
        rows = by_month(snapshots, by=by, money=[weight] if weighted else [], **columns)
        late = flag(nw.col("dpd") >= over)
        each = nw.max_horizontal(nw.col("money0").fill_null(0), nw.lit(0)) if weighted else nw.lit(1)
        counted = collect(
            with_replicates(rows.filter(nw.col("status") == "open"), "id", name="replicate")
            .with_columns(late=late, weight=each)
            .with_columns(part=nw.col("late") * nw.col("weight"))
            .group_by(*by_keys(by), "month", "replicate")
            .agg(
                row_count().alias("n"),
                *(whole_sum(c).alias(c) for c in ("late", "weight", "part")),
                nw.col("date").max().alias("date"),
            )
        )
        if counted.empty:
            raise NotAvailable("there is no snapshot of an open account.")
        taken = ("as_of", "since", "accounts", "overdue", "amount", "amount_overdue", "months", "level")
        groups, group = groups_of(counted, by, (*taken, *INTERVAL))
        months, month = np.unique(counted["month"].to_numpy(int), return_inverse=True)
        last = counted.groupby("month")["date"].max()
        where, shape = (counted["replicate"].to_numpy(int), group, month), (GROUPS, len(groups), len(months))
        arrays = [sums_at(where, counted[c], shape) for c in ("part", "weight", "n", "late")]
        return cls(groups, months, [pd.Timestamp(last[m]).date() for m in months], *arrays, weighted)  # type: ignore[call-arg]

    def table(self, conf_level: float) -> pd.DataFrame:
        n = self.n.sum(axis=0)
        columns = shares(self.part, self.whole, n, conf_level)
        where = [(g, m) for g in range(len(self.groups)) for m in range(len(self.months)) if n[g, m]]
        g, m = (np.array(side, dtype=int) for side in zip(*where))
        out = self.groups.iloc[g].reset_index(drop=True)
        out["as_of"] = [self.dates[i] for i in m]
        out["accounts"] = n[g, m].astype(np.int64)
        out["overdue"] = self.late.sum(axis=0)[g, m].astype(np.int64)
        if self.weighted:
            out["amount"] = self.whole.sum(axis=0)[g, m] / CENTS
            out["amount_overdue"] = self.part.sum(axis=0)[g, m] / CENTS
        for name, values in zip(INTERVAL, columns):
            out[name] = values[g, m]
        return out

    def changes(self, k: int, conf_level: float) -> tuple[pd.DataFrame, str]:
        """The table of :func:`delinquency_trend`, and which groups have no interval."""
        part, whole = self.part.sum(axis=0), self.whole.sum(axis=0)
        with np.errstate(divide="ignore", invalid="ignore"):
            rate = part / whole
            logs = np.where(rate > 0, np.log(rate), np.nan)
        rows, short = [], []
        for g in range(len(self.groups)):
            seen = np.flatnonzero(whole[g] > 0)
            last = seen[-1] if len(seen) else len(self.months) - 1
            then = np.flatnonzero(self.months == self.months[last] - k)
            level = rate[g, last]
            before = rate[g, then[0]] if len(then) else np.nan
            row = {
                "since": self.dates[then[0]] if len(then) else None,
                "as_of": self.dates[last],
                "level_before": before,
                "level": level,
                "months": len(seen),
                **dict.fromkeys(INTERVAL, np.nan),
                "trend": "cannot tell",
            }
            if before > 0 and np.isfinite(level):
                row["estimate"] = level / before - 1
            if (error := self._log_error(g, then, last, logs[g, : last + 1], k)) is None:
                short.append(shown_name(tuple(self.groups.iloc[g])) or f"{len(seen)} months")
            else:
                change = logs[g, last] - logs[g, then[0]]
                reach = float(t_quantile(conf_level, np.array(error[1]))) * error[0]
                row["std_error"] = np.exp(change) * error[0]
                row["conf_low"], row["conf_high"] = np.expm1(change - reach), np.expm1(change + reach)
                if row["conf_low"] > 0:
                    row["trend"] = "rising"
                elif row["conf_high"] < 0:
                    row["trend"] = "falling"
            rows.append(row)
        return pd.concat([self.groups, pd.DataFrame(rows)], axis=1), "; ".join(short)

    def _log_error(
        self, g: int, then: np.ndarray, last: int, logs: np.ndarray, k: int
    ) -> tuple[float, int] | None:
        """Standard error of the log change and its degrees of freedom; None where it cannot be had."""
        # Positions at the end of the series that are a month apart from each other and have a rate above 0.
        sound = np.isfinite(logs) & (self.months[: last + 1] - self.months[last] == np.arange(-last, 1))
        run = len(sound) if sound.all() else int(np.argmin(sound[::-1]))
        if run < max(MIN_MONTHS, k + 1):
            return None
        ends = [then[0], last]
        sums = np.stack([self.part[:, g, ends], self.whole[:, g, ends]], axis=1)
        _, sampled, _, _ = jackknife(
            sums.sum(axis=0),
            sums,
            lambda s: np.log(s[0, 1] / s[1, 1]) - np.log(s[0, 0] / s[1, 0]),
            present=(sums[:, 1] > 0).any(axis=1),
        )
        steps = np.diff(logs[-run:])
        wobble = np.sqrt(k * long_run_variance(steps))
        return float(np.fmax(wobble, sampled)), len(steps) - 1


def long_run_variance(steps: np.ndarray) -> float:
    """Newey–West long-run variance of a series around its mean (Bartlett weights, ⌊4 (n/100)^(2/9)⌋ lags)."""
    n = len(steps)
    off = steps - steps.mean()
    lags = min(int(4 * (n / 100) ** (2 / 9)), n - 2)
    total = off @ off
    for lag in range(1, lags + 1):
        total += 2 * (1 - lag / (lags + 1)) * (off[lag:] @ off[:-lag])
    return max(float(total) / (n - 1), 0.0)
