"""Does the bucket before matter, given the bucket now? The test of what every chain of roll rates assumes."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from collectlab.core.errors import NotAvailable
from collectlab.core.jackknife import INTERVAL, check_level, jackknife
from collectlab.core.plots import dots
from collectlab.core.results import Result
from collectlab.measures.roll_count import count_steps

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True, kw_only=True)
class FirstOrderCheck(Result):
    """One row a bucket: whether the month before still tells, and by how much.

    ``table``: bucket, n (steps with a month before), statistic, design_effect, df, p_value (of the statistic
    over its design effect), p_value_holm, compared, estimate (difference of the roll-forward shares, in
    points), std_error, conf_low, conf_high. ``counts``: before, bucket, to, n.
    """

    counts: pd.DataFrame
    plottable = True

    def plot(self, ax: Axes | None = None) -> Axes:
        """The difference in the share rolling forward, bucket by bucket."""
        rows = self.table[self.table["estimate"].notna()]
        labels = [f"{b} ({c})" for b, c in zip(rows["bucket"], rows["compared"])]
        return dots(
            [("", rows)], labels, unit="points", title=self.title, zero=True, ax=ax,
            xlabel="Difference in the share rolling forward (percentage points)",
        )  # fmt: skip


def first_order_check(
    snapshots: Any,
    buckets: Sequence[int] = (0, 1, 30, 60, 90, 120),
    *,
    period: tuple[dt.date | str | None, dt.date | str | None] | None = None,
    account: str = "account_id",
    date: str = "as_of",
    dpd: str = "days_past_due",
    status: str = "status",
    conf_level: float = 0.95,
) -> FirstOrderCheck:
    r"""Test, bucket by bucket, whether the next month depends on the month before as well as on this one.

    With :math:`n_{abc}` the account-months in bucket b that came from a and went to c, the likelihood ratio
    against first order is, for each b,

    .. math:: G^2_b = 2 \sum_{a,c} n_{abc} \log \frac{n_{abc} n_{\cdot b \cdot}}{n_{ab\cdot} n_{\cdot bc}} ,

    with (rows − 1)(columns − 1) degrees of freedom over the rows and columns that hold anything. Because the
    same accounts recur, it is divided by the mean design effect of its shares (delete-a-group jackknife over
    accounts; at least 1) before it is compared with χ². The p-values are adjusted over the buckets by Holm's
    method. In a large book every difference is significant: read the estimate, which is in percentage points.

    Parameters
    ----------
    snapshots : Book or frame
        One row an account and date.
    buckets, period, account, date, dpd, status
        As in :func:`collectlab.measures.roll_matrix.roll_rates`.
    conf_level : float
        Level of the intervals (delete-a-group jackknife over accounts).

    Returns
    -------
    FirstOrderCheck
        ``estimate`` is the share that rolls forward (to a deeper bucket or charged off) of those who came from
        a worse bucket, minus that of those who came from a better one; where a bucket has no worse, or no
        better, those who were in it already stand in.

    Raises
    ------
    NotAvailable
        No account is seen in three adjacent months.

    Source: Anderson & Goodman (1957), Annals of Mathematical Statistics 28, 89–110, section 3; Rao & Scott
    (1981), JASA 76, 221–230, for the design effect.

    Examples
    --------
    >>> import pandas as pd
    >>> ends = [str(d.date()) for d in pd.date_range("2024-01-31", periods=4, freq="ME")]
    >>> histories = {i: [0, 10, 40, 10] if i % 2 else [40, 10, 0, 0] for i in range(40)}
    >>> frame = pd.DataFrame([(a, d, x) for a, h in histories.items() for d, x in zip(ends, h)],
    ...                      columns=["account_id", "as_of", "days_past_due"]).astype({"as_of": "datetime64[s]"})
    >>> first_order_check(frame, (0, 1, 30)).table[["bucket", "compared", "estimate"]].values.tolist()[1]
    ['1–29', 'worse − better', -1.0]
    """
    check_level(conf_level)
    steps = count_steps(
        snapshots, buckets, before=True, period=period, account=account, date=date, dpd=dpd, status=status
    )
    if steps.cells.empty:
        raise NotAvailable(
            "no open account is seen in three adjacent months, so the month before cannot be looked at."
        )
    n = steps.arrays()[1]["n"][:, 0]  # replicate, before, bucket, to
    rows = []
    for b, label in enumerate(steps.labels):
        table = n[:, :, b]
        if not (total := table.sum()):
            continue
        statistic, effect, df = _ratio_test(table)
        compared, estimate = _difference(table, b, len(steps.labels), conf_level)
        rows.append(
            [label, int(total), statistic, effect, df, _p_value(statistic / effect, df), compared, *estimate]
        )
    columns = ["bucket", "n", "statistic", "design_effect", "df", "p_value", "compared", *INTERVAL]
    table = pd.DataFrame(rows, columns=columns)
    table.insert(6, "p_value_holm", _holm(table["p_value"].to_numpy(float)))
    where = np.argwhere(n.sum(axis=0) > 0)
    counts = pd.DataFrame(
        [
            (steps.labels[a], steps.labels[b], steps.states[c], int(n[:, a, b, c].sum()))
            for a, b, c in where[np.lexsort((where[:, 2], where[:, 0], where[:, 1]))]
        ],
        columns=["before", "bucket", "to", "n"],
    )
    return FirstOrderCheck(
        table=table,
        counts=counts,
        estimand="Share rolling forward of those who came from a worse bucket, minus those from a better one",
        unit="points",
        title="Does the month before still tell? (first-order check)",
        notes=(
            "Under first order the differences are 0. In a large book any difference is significant: its size in "
            "points says whether it matters.",
            "The statistic is divided by its design effect, as the same accounts recur from month to month.",
        ),
        formats={
            "n": "count",
            "statistic": "hidden",
            "design_effect": "hidden",
            "df": "hidden",
            "p_value": "hidden",
            "p_value_holm": "p_value",
        },
        conf_level=conf_level,
    )


def _ratio_test(table: np.ndarray) -> tuple[float, float, int]:
    """G², its mean design effect and its degrees of freedom, of counts (replicate, before, to)."""
    counts = table.sum(axis=0)
    rows, columns = counts.sum(axis=1) > 0, counts.sum(axis=0) > 0
    table, counts = table[:, rows][:, :, columns], counts[rows][:, columns]
    df = (len(counts) - 1) * (counts.shape[1] - 1)
    if not df:
        return 0.0, 1.0, 0
    size, share = counts.sum(axis=1, keepdims=True), counts.sum(axis=0) / counts.sum()
    with np.errstate(divide="ignore", invalid="ignore"):
        parts = np.where(counts > 0, counts * np.log(counts / (size * share)), 0.0)
        own = counts / size
        error = jackknife(counts, table, lambda c: c / c.sum(axis=1, keepdims=True))[1]
        inflation = error**2 / (own * (1 - own) / size)
    weight = (1 - size / size.sum()) * (1 - share)
    known = np.isfinite(inflation)
    effect = (weight * inflation)[known].sum() / weight[known].sum() if known.any() else 1.0
    return float(2 * parts.sum()), max(float(effect), 1.0), df


def _p_value(statistic: float, df: int) -> float:
    from scipy.special import chdtrc

    return float(chdtrc(df, statistic)) if df else np.nan


def _holm(p: np.ndarray) -> np.ndarray:
    """Holm (1979): rising p-values times the number of tests left, never falling; missing ones are no tests."""
    out = np.full(len(p), np.nan)
    order = [i for i in np.argsort(p, kind="stable") if np.isfinite(p[i])]
    highest = 0.0
    for k, i in enumerate(order):
        highest = max(highest, min((len(order) - k) * p[i], 1.0))
        out[i] = highest
    return out


def _difference(
    table: np.ndarray, bucket: int, buckets: int, conf_level: float
) -> tuple[str, tuple[float, ...]]:
    """Which rows are compared, and the difference of their roll-forward shares with its interval."""
    counts = table.sum(axis=0)
    sets = {"better": range(bucket), "same": [bucket], "worse": range(bucket + 1, buckets)}
    held = [name for name in ("worse", "same", "better") if counts[list(sets[name])].sum() > 0]
    charged_off = buckets  # the first of the absorbing states
    ahead = [*range(bucket + 1, buckets), charged_off]
    if len(held) < 2 or not counts[:, ahead].sum():
        return "–", (np.nan,) * 4
    first, second = held[0], held[-1]

    def difference(c: np.ndarray) -> float:
        one, other = (c[list(sets[name])] for name in (first, second))
        return one[:, ahead].sum() / one.sum() - other[:, ahead].sum() / other.sum()

    return f"{first} − {second}", tuple(float(v) for v in jackknife(counts, table, difference, conf_level))
