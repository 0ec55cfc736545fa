"""Roll rates: where accounts stand a month after they were seen in a bucket of days past due."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from collectlab.core.errors import FrameError, NotAvailable
from collectlab.core.jackknife import check_level, shares
from collectlab.core.plots import new_axes, titled
from collectlab.core.results import Result
from collectlab.measures.groups import shown_name
from collectlab.measures.roll_count import Steps, count_steps
from collectlab.measures.snapshots import CENTS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_OWN = ("from_bucket", "to_bucket", "n", "amount", "estimate", "std_error", "conf_low", "conf_high")


@dataclass(frozen=True, kw_only=True)
class RollRates(Result):
    """Transitions between buckets of days past due, ``step`` months apart; one row a from-bucket × to-state.

    ``table``: [by…], from_bucket, to_bucket, n (account-months that went that way), [amount], estimate
    (share of the from-bucket), std_error, conf_low, conf_high. ``steps`` are the counts behind it, by
    replicate group.
    """

    by: tuple[str, ...] = ()
    step: int = 1
    steps: Steps | None = field(default=None, repr=False, compare=False)
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
        ax.set_xlabel(f"Days past due {_later(self.step)} (% of the row)")
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
    step: int = 1,
    account: str = "account_id",
    date: str = "as_of",
    dpd: str = "days_past_due",
    status: str = "status",
    conf_level: float = 0.95,
    period: tuple[dt.date | str | None, dt.date | str | None] | None = None,
) -> RollRates:
    r"""Share of the accounts (or money) of a bucket that is found in each state some months later.

    With :math:`w_{im}` the weight of account i in month m (1, or its balance then) and k the ``step``,

    .. math:: p_{ab} = \sum_{i,m} w_{im} 1[b_{i,m} = a, b_{i,m+k} = b] \big/
              \sum_{i,m} w_{im} 1[b_{i,m} = a, i \text{ seen in } m + k].

    Each account counts with its last snapshot of a calendar month. An account-month without a snapshot
    ``step`` months later is in no share, and the notes count them; but an account charged off, settled, sold
    or closed in between and not seen again is found in that state.

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
    step : int
        Calendar months from the one to the other: 1, or 3, 6, 12.
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
        A column is missing or of the wrong type; a status is unknown; an account has two snapshots on one
        day; ``by`` makes more than 1,000 groups.
    NotAvailable
        No account is seen in two months that far apart.

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
    steps = count_steps(
        snapshots, buckets, weight=weight, by=by, step=step, period=period,
        account=account, date=date, dpd=dpd, status=status,
    )  # fmt: skip
    if steps.cells.empty:
        ahead = "two adjacent months" if step == 1 else f"two months {step} apart"
        raise NotAvailable(f"no open account is seen in {ahead}, so nothing can roll.")
    groups, counts = steps.arrays(_OWN)
    amount = None if weight is None else counts["amount"]
    table = _table(groups, steps.labels, steps.states, counts["n"], amount, conf_level)
    what = "accounts" if weight is None else str(weight)
    return RollRates(
        table=table,
        estimand=f"Share of the {what} of a bucket found in each state {_calendar(step)} later",
        title=f"Roll rates by month ({what})" if step == 1 else f"Roll rates over {step} months ({what})",
        notes=_notes(steps),
        formats={"n": "count", "amount": "money"},
        conf_level=conf_level,
        by=tuple(groups.columns),
        step=step,
        steps=steps,
    )


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


def _notes(steps: Steps) -> tuple[str, ...]:
    total, weight = int(steps.cells["all"].sum()), steps.weight
    apart = "to the next" if steps.step == 1 else f"to the one {steps.step} months later"
    notes = [f"{total:,} steps of open accounts from one calendar month {apart}."]
    if steps.gone:
        notes.append(
            f"Not seen: {steps.gone:,} account-months have no later snapshot although the book goes on; in no share."
            if steps.step == 1
            else f"Not seen: {steps.gone:,} account-months have no snapshot {steps.step} months later or after, "
            "although the book goes on; in no share."
        )
    if steps.gap:
        missing = "a missing month" if steps.step == 1 else f"a month missing {steps.step} months later"
        notes.append(
            f"Gaps: {steps.gap:,} account-months are followed by {missing}; that is no step, in no share."
        )
    if weight is not None and (left := total - int(steps.cells["n"].sum())):
        notes.append(f"{left:,} steps without a positive {weight} in the from-month weigh nothing.")
    notes.append("Intervals allow for the same accounts recurring from month to month.")
    return tuple(notes)


def _calendar(step: int) -> str:
    return "one calendar month" if step == 1 else f"{step} calendar months"


def _later(step: int) -> str:
    return "a month later" if step == 1 else f"{step} months later"
