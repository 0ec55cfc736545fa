"""Roll rates: where accounts stand a month after they were seen in a bucket of days past due."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import narwhals as nw
import numpy as np
import pandas as pd

from collectlab.book.episodes import bucket_labels
from collectlab.book.schema import STATUSES
from collectlab.core.columns import as_list, flag, row_count, whole_sum
from collectlab.core.engine import collect
from collectlab.core.errors import FrameError, NotAvailable
from collectlab.core.jackknife import GROUPS, check_level, shares, sums_at, with_replicates
from collectlab.core.plots import new_axes, titled
from collectlab.core.results import Result
from collectlab.measures.groups import by_keys, groups_of, shown_name
from collectlab.measures.snapshots import CENTS, by_month

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_OWN = ("from_bucket", "to_bucket", "n", "amount", "estimate", "std_error", "conf_low", "conf_high")
#: States that can be entered and are not left again as far as the matrix is concerned.
ABSORBING = STATUSES[1:]
_GONE, _GAP, _LAST = -1, -2, -3


@dataclass(frozen=True, kw_only=True)
class RollRates(Result):
    """A month's transitions between buckets of days past due; one row a from-bucket × to-state.

    ``table``: [by…], from_bucket, to_bucket, n (account-months that went that way), [amount], estimate
    (share of the from-bucket), std_error, conf_low, conf_high.
    """

    by: tuple[str, ...] = ()
    plottable = True

    def matrix(self, column: str = "estimate") -> pd.DataFrame:
        """One row a from-bucket, one column a to-state, in the order of severity; ``column`` fills it."""
        if column not in self.table.columns:
            raise FrameError(f"no column {column!r}. Allowed: {', '.join(self.table.columns)}.")
        rows = list(dict.fromkeys(self.table[[*self.by, "from_bucket"]].itertuples(index=False, name=None)))
        columns = self._states()
        wide = self.table.pivot(index=[*self.by, "from_bucket"], columns="to_bucket", values=column)
        order = rows if self.by else [row[0] for row in rows]
        return wide.reindex(index=order, columns=columns)

    def _states(self) -> list[str]:
        return list(dict.fromkeys(self.table["to_bucket"]))

    def plot(self, ax: Axes | None = None, *, group: Any = None) -> Axes:
        """The matrix as a heat map with its shares written in.

        ``group`` is one value of the grouping column (a tuple for several); default the one with most
        account-months.
        """
        shown, title = self, self.title
        if self.by:
            sizes = self.table.groupby(list(self.by), sort=False)["n"].sum()
            group = sizes.idxmax() if group is None else group
            if group not in sizes.index:
                raise FrameError(f"no group {group!r}. Allowed: {', '.join(map(str, sizes.index))}.")
            named = group if isinstance(group, tuple) else (group,)
            here = (self.table[list(self.by)] == list(named)).all(axis=1)
            shown = replace(self, table=self.table[here], by=())
            title = f"{title}: {shown_name(named)}"
        wide = shown.matrix()
        ax = new_axes(ax, figsize=(max(1.6 + 0.82 * len(wide.columns), 4.6), 1.5 + 0.45 * len(wide)))
        values = wide.to_numpy(dtype=float)
        # Light enough at the dark end for the figures to be read in grey print.
        ax.imshow(values, cmap="Blues", vmin=0, vmax=1.25, aspect="auto")
        for i, row in enumerate(values):
            for j, share in enumerate(row):
                if np.isfinite(share):
                    text = f"{100 * share:.1f}" if share >= 0.0005 else ("0" if share == 0 else "<0.1")
                    stays = wide.index[i] == wide.columns[j]
                    ax.text(
                        j, i, text, ha="center", va="center",
                        color="white" if share > 0.75 else "#222222",
                        fontweight="bold" if stays else "normal",
                    )  # fmt: skip
        words = [str(c).replace("_", " ") for c in wide.columns]
        tilt = 0 if max(map(len, words)) < 9 and len(words) <= 8 else 30
        ax.set_xticks(range(len(words)), words, rotation=tilt, ha="right" if tilt else "center")
        ax.set_yticks(range(len(wide)), [str(r) for r in wide.index])
        ax.set_xlabel("Days past due a month later (% of the row)")
        ax.set_ylabel("Days past due")
        ax.grid(visible=False)
        ax.tick_params(length=0)
        ax.spines[:].set_visible(False)
        return titled(ax, title)


def roll_rates(
    snapshots: Any,
    buckets: Sequence[int] = (0, 1, 30, 60, 90, 120),
    weight: str | None = None,
    by: str | Sequence[str] | None = None,
    *,
    account: str = "account_id",
    date: str = "as_of",
    dpd: str = "days_past_due",
    status: str = "status",
    conf_level: float = 0.95,
    period: tuple[dt.date | str | None, dt.date | str | None] | None = None,
) -> RollRates:
    r"""Share of the accounts (or money) of a bucket that is found in each state the month after.

    With :math:`w_{im}` the weight of account i in month m (1, or its balance then),

    .. math:: p_{ab} = \sum_{i,m} w_{im} 1[b_{i,m} = a, b_{i,m+1} = b] \big/
              \sum_{i,m} w_{im} 1[b_{i,m} = a, i \text{ seen in } m + 1].

    Each account counts with its last snapshot of a calendar month; only adjacent months make a step. An
    account-month without a snapshot the month after is in no share; the notes count them.

    Parameters
    ----------
    snapshots : Book or frame
        One row an account and date. Of a book, ``by`` may name columns of ``accounts``.
    buckets : sequence of int
        Rising lower bounds in days past due.
    weight : str, optional
        None counts accounts; ``"balance"`` or any column weighs them by what it holds in the from-month.
    by : str or sequence of str, optional
        Columns to group by, as they stand in the from-month.
    account, date, dpd, status : str
        Column names. Without a ``status`` column all rows are open.
    conf_level : float
        Level of the intervals.
    period : (start, end), optional
        Use only snapshots from ``start`` to ``end``, both included; None leaves a side open.

    Returns
    -------
    RollRates
        From-buckets are of open accounts; ``charged_off, settled, sold, closed`` are to-states only.
        Intervals: Wilson's on an effective number of account-months that allows for the same accounts
        recurring (delete-a-group jackknife over accounts), never narrower than the plain one.

    Raises
    ------
    FrameError
        A column is missing or of the wrong type; a status is unknown.
    NotAvailable
        No account is seen in two adjacent months.

    Examples
    --------
    >>> import pandas as pd
    >>> snapshots = pd.DataFrame({
    ...     "account_id": [1, 1, 2, 2],
    ...     "as_of": pd.to_datetime(["2024-01-31", "2024-02-29"] * 2),
    ...     "days_past_due": [10, 0, 12, 41],
    ... })
    >>> roll_rates(snapshots, buckets=(0, 1, 30)).matrix().loc["1–29"].to_dict()
    {'current': 0.5, '30+': 0.5}
    """
    check_level(conf_level)
    by = as_list(by)
    bounds = list(buckets) if buckets and buckets[0] == 0 else [0, *buckets]
    labels = list(bucket_labels(bounds).values())
    states = [*labels, *ABSORBING]
    start, end = period or (None, None)
    rows = by_month(
        snapshots, by=by, money=[] if weight is None else [weight],
        account=account, date=date, dpd=dpd, status=status, start=start, end=end,
    )  # fmt: skip
    counted = _count(rows, by, bounds, weight is not None)
    steps = counted[counted["to"] >= 0]
    if steps.empty:
        raise NotAvailable("no open account is seen in two adjacent months, so nothing can roll.")
    groups, group = groups_of(steps, by, _OWN)
    shape = (GROUPS, len(groups), len(labels), len(states))
    cell = (steps["replicate"].to_numpy(int), group, steps["from"].to_numpy(int), steps["to"].to_numpy(int))
    n = sums_at(cell, steps["n"], shape)
    amount = None if weight is None else sums_at(cell, steps["amount"], shape)
    table = _table(groups, labels, states, n, amount, conf_level)
    what = "accounts" if weight is None else str(weight)
    return RollRates(
        table=table,
        estimand=f"Share of the {what} of a bucket found in each state one calendar month later",
        title=f"Roll rates by month ({what})",
        notes=_notes(counted, weight),
        formats={"n": "count", "amount": "money"},
        conf_level=conf_level,
        by=tuple(groups.columns),
    )


def _count(rows: nw.LazyFrame, by: list[str], bounds: list[int], weighted: bool) -> pd.DataFrame:
    """Account-months by [by…], from, to (negative: not seen), replicate: n, amount, and those unweighted."""
    bucket = nw.lit(0)
    for low in bounds[1:]:
        bucket = bucket + flag(nw.col("dpd") >= low)
    state = nw.when(nw.col("status") == "open").then(bucket)
    for i, name in enumerate(ABSORBING):
        state = state.when(nw.col("status") == name).then(nw.lit(len(bounds) + i))
    rows = with_replicates(rows.with_columns(state=state.otherwise(nw.lit(0))), "id", name="replicate")
    ahead = {
        f"next_{c}": nw.col(c).shift(-1).over("id", order_by=["month", "state", "dpd"])
        for c in ("month", "state")
    }
    last = collect(rows.select(nw.col("month").max()))["month"].iloc[0]
    last = 0 if pd.isna(last) else int(last)
    to = (
        nw.when(nw.col("next_month") == nw.col("month") + 1)
        .then(nw.col("next_state"))
        .when(~nw.col("next_month").is_null())
        .then(nw.lit(_GAP))
        .when(nw.col("month") == last)
        .then(nw.lit(_LAST))
        .otherwise(nw.lit(_GONE))
    )
    steps = rows.with_columns(**ahead).filter(nw.col("status") == "open").with_columns(to=to)
    weight = nw.col("money0") if weighted else nw.lit(1)
    usable = (weight > 0).fill_null(False) if weighted else nw.lit(True)
    steps = steps.with_columns(
        one=flag(usable),
        amount=nw.when(usable).then(weight).otherwise(nw.lit(0)),
    )
    keys = by_keys(by)
    counted = collect(
        steps.rename({"state": "from"})
        .group_by(*keys, "from", "to", "replicate")
        .agg(
            whole_sum("one").alias("n"),
            whole_sum("amount").alias("amount"),
            row_count().alias("all"),
        )
    )
    return counted.sort_values([*keys, "from", "to", "replicate"], ignore_index=True)


def _table(
    groups: pd.DataFrame,
    labels: list[str],
    states: list[str],
    n: np.ndarray,
    amount: np.ndarray | None,
    conf_level: float,
) -> pd.DataFrame:
    counts = n.sum(axis=0)
    part = n if amount is None else amount
    whole = np.broadcast_to(part.sum(axis=-1, keepdims=True), part.shape)
    size = counts.sum(axis=-1, keepdims=True)
    estimate, error, low, high = shares(part, whole, size, conf_level)
    reached = counts.sum(axis=(0, 1)) > 0
    frames = []
    for g in range(len(groups)):
        for a, label in enumerate(labels):
            if size[g, a, 0] == 0:
                continue
            block = pd.DataFrame(
                {"from_bucket": label, "to_bucket": [s for s, r in zip(states, reached) if r]}
            )
            for column in reversed(groups.columns):
                block.insert(0, column, groups[column].iloc[g])
            block["n"] = counts[g, a, reached].astype(np.int64)
            if amount is not None:
                block["amount"] = amount.sum(axis=0)[g, a, reached] / CENTS
            for name, values in (
                ("estimate", estimate), ("std_error", error), ("conf_low", low), ("conf_high", high)
            ):  # fmt: skip
                block[name] = values[g, a, reached]
            frames.append(block)
    return pd.concat(frames, ignore_index=True)


def _notes(counted: pd.DataFrame, weight: str | None) -> tuple[str, ...]:
    of = {code: int(counted.loc[counted["to"] == code, "all"].sum()) for code in (_GONE, _GAP)}
    steps = counted[counted["to"] >= 0]
    total = int(steps["all"].sum())
    notes = [f"{total:,} steps of open accounts from one calendar month to the next."]
    if of[_GONE]:
        notes.append(
            f"Not seen: {of[_GONE]:,} account-months have no later snapshot although the book goes on; in no share."
        )
    if of[_GAP]:
        notes.append(
            f"Gaps: {of[_GAP]:,} account-months are followed by a missing month; that is no step, in no share."
        )
    if weight is not None and (left := total - int(steps["n"].sum())):
        notes.append(f"{left:,} steps without a positive {weight} in the from-month weigh nothing.")
    notes.append("Intervals allow for the same accounts recurring from month to month.")
    return tuple(notes)
