"""The chain that roll rates make: what flows through to charge-off, and where a portfolio will stand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from collectlab.core.errors import FrameError, NotAvailable, first_few
from collectlab.core.jackknife import INTERVAL, jackknife, shares
from collectlab.core.plots import PALETTE, legend, new_axes, percent_axis, titled
from collectlab.core.results import Result
from collectlab.measures.groups import split
from collectlab.measures.roll_matrix import RollRates

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_ASSUMED = (
    "Assumes that next month depends on this month's bucket alone (first-order) and that the rates stay as they "
    "were (stationary); first_order_check tests the former."
)


@dataclass(frozen=True, kw_only=True)
class FlowThrough(Result):
    """``table``: [by…], from_bucket, measured, n (account-months), estimate, std_error, conf_low, conf_high."""

    by: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Projection(Result):
    """``table``: [by…], month (0 = now), state, expected, estimate (share), std_error, conf_low, conf_high."""

    by: tuple[str, ...] = ()
    plottable = True

    def at(self, month: int) -> pd.DataFrame:
        """The states after ``month`` months; no further than was projected."""
        months = self.table["month"].dropna()
        if month not in set(months):
            raise FrameError(f"month is {month!r}. Allowed: whole months from 0 to {int(months.max())}.")
        return self.table[self.table["month"] == month].reset_index(drop=True)

    def plot(self, ax: Axes | None = None, *, state: str | None = None) -> Axes:
        """Share of the portfolio in ``state`` by month (default the one charged off, or the deepest)."""
        states = list(dict.fromkeys(self.table["state"]))
        state = state or ("charged_off" if "charged_off" in states else states[-1])
        if state not in states:
            raise FrameError(f"no state {state!r}. Allowed: {', '.join(states)}.")
        ax = new_axes(ax)
        for i, (label, rows) in enumerate(split(self.table[self.table["state"] == state], self.by)):
            rows, colour = rows[rows["month"].notna()], PALETTE[i % len(PALETTE)]
            ax.plot(rows["month"], rows["estimate"], color=colour, label=label, marker="o", markersize=3)
            ax.fill_between(rows["month"], rows["conf_low"], rows["conf_high"], color=colour, alpha=0.13)
        ax.set_ylim(bottom=0)
        ax.set_xlabel("Months from now")
        ax.set_ylabel(f"Share {state.replace('_', ' ')}")
        if self.by:
            legend(ax)
        return titled(percent_axis(ax), self.title)


def flow_through(
    rolls: RollRates, to: str = "charged_off", observed: RollRates | None = None, conf_level: float = 0.95
) -> FlowThrough:
    r"""Share of each bucket that flows on to charge-off, bucket by bucket: the product of the forward rolls.

    With :math:`f_a` the share of bucket a found in any deeper bucket, or in ``to``, one step later,

    .. math:: F_a = \prod_{b \ge a} f_b .

    It counts only accounts that roll forward at every step; who rests in a bucket, or goes back, before
    rolling on is not in it, so it is no more than the eventual share of :func:`project`. Its months are as many
    as there are buckets to pass.

    Parameters
    ----------
    rolls : RollRates
        From :func:`collectlab.measures.roll_matrix.roll_rates`, over one month.
    observed : RollRates, optional
        The same over N months (``step=12``, say): its share found in ``to`` stands beside the product. A charge-off
        in between counts, so for ``to="charged_off"`` that is the share charged off within N months.
    to : str
        Where the chain ends: a status such as ``"charged_off"``, or a bucket of the matrix such as ``"120+"``.
    conf_level : float
        Level of the intervals: delete-a-group jackknife over accounts, on the logit scale.

    Returns
    -------
    FlowThrough
        One row a delinquent bucket before ``to``, and one more if ``observed``.

    Raises
    ------
    FrameError
        ``to`` is no state of the matrix; ``observed`` has other buckets or groups.

    Examples
    --------
    >>> import pandas as pd
    >>> from collectlab.measures.roll_matrix import roll_rates
    >>> snapshots = pd.DataFrame({
    ...     "account_id": [1, 1, 2, 2, 3, 3, 4, 4],
    ...     "as_of": pd.to_datetime(["2024-01-31", "2024-02-29"] * 4),
    ...     "days_past_due": [10, 40, 12, 0, 40, 70, 45, 71],
    ... })
    >>> flow_through(roll_rates(snapshots, buckets=(0, 1, 30, 60)), to="60+").table["estimate"].tolist()
    [0.5, 1.0]
    """
    groups, counts, labels, states, n = _counts(rolls)
    if to not in states[1:]:
        raise FrameError(f"no state {to!r} in the matrix. Allowed: {', '.join(states[1:])}.")
    goal = states.index(to)
    before = list(range(1, min(goal, len(labels))))
    if not before:
        raise FrameError(f"no delinquent bucket comes before {to!r}.")

    def chain(sums: np.ndarray) -> np.ndarray:
        forward = np.stack(
            [sums[:, a, a + 1 : len(labels)].sum(-1) + (sums[:, a, goal] if goal >= len(labels) else 0) for a in before],
            axis=1,
        )  # fmt: skip
        rates = forward / sums[:, before].sum(-1)
        return np.cumprod(rates[:, ::-1], axis=1)[:, ::-1]

    columns = jackknife(
        counts.sum(0), counts, chain, conf_level, "logit", present=counts[:, :, before].any(-1)
    )
    product = "bucket by bucket"
    rows = []
    for g in range(len(groups)):
        for i, a in enumerate(before):
            key = [*groups.iloc[g], labels[a]]
            rows.append([*key, product, int(n[g, a].sum()), *(c[g, i] for c in columns)])
            if observed is not None:
                rows.append(
                    [*key, f"after {observed.step} months", *_found(observed, rolls, g, a, goal, conf_level)]
                )
    table = pd.DataFrame(rows, columns=[*groups.columns, "from_bucket", "measured", "n", *INTERVAL])
    return FlowThrough(
        table=table,
        estimand=f"Share that flows through from each bucket to {to.replace('_', ' ')}",
        title=f"Flow-through to {to.replace('_', ' ')}",
        notes=(
            "Bucket by bucket, only accounts that roll forward at every step count, not those that rest or go back first.",
        ),
        formats={"n": "count"} | ({"measured": "hidden"} if observed is None else {}),
        conf_level=conf_level,
        by=tuple(groups.columns),
    )


def project(
    rolls: RollRates,
    start: Mapping[str, float],
    months: int = 12,
    *,
    absorbing: tuple[str, ...] = (),
    eventual: bool = True,
    conf_level: float = 0.95,
) -> Projection:
    r"""Where a portfolio stands month by month, and in the end, if accounts keep rolling as they did.

    With P the matrix of ``rolls``, in blocks Q (bucket to bucket) and R (bucket to absorbing state), and s the
    shares at the start,

    .. math:: s_k = s P^k, \qquad s_\infty = s (I - Q)^{-1} R .

    Parameters
    ----------
    rolls : RollRates
        Over steps of one month or more; month k is ``k · rolls.step`` months on.
    start : mapping of bucket to number
        Accounts (or money) in each bucket now.
    months : int
        How many months to project; a multiple of ``rolls.step``.
    absorbing : tuple of str
        Buckets to be taken as left no more, where a book has no charge-offs, say ``("120+",)``.
    eventual : bool
        Whether to add the shares in the end, with ``month`` missing.
    conf_level : float
        Level of the intervals: delete-a-group jackknife over accounts, of the rates; ``start`` is taken as known.

    Returns
    -------
    Projection
        One row a month and state.

    Raises
    ------
    FrameError
        A bucket is unknown; or the end is asked of a matrix from which some bucket never reaches an absorbing
        state.

    Source: Kemeny & Snell (1976), Finite Markov Chains, chapter III; Cyert, Davidson & Thompson (1962),
    Management Science 8(3), for receivables.

    Examples
    --------
    >>> import pandas as pd
    >>> from collectlab.measures.roll_matrix import roll_rates
    >>> snapshots = pd.DataFrame({
    ...     "account_id": [1, 1, 2, 2],
    ...     "as_of": pd.to_datetime(["2024-01-31", "2024-02-29"] * 2),
    ...     "days_past_due": [10, 15, 12, 41],
    ... })
    >>> rolls = roll_rates(snapshots, buckets=(0, 1, 30))
    >>> after = project(rolls, {"1–29": 100}, months=2, absorbing=("30+",))
    >>> after.at(2)["expected"].tolist()
    [25.0, 75.0]
    """
    groups, counts, labels, states, _ = _counts(rolls)
    if isinstance(months, bool) or not isinstance(months, int) or months < 1 or months % rolls.step:
        raise FrameError(f"months is {months!r}. Allowed: whole months, a multiple of the step {rolls.step}.")
    if odd := [b for b in [*start, *absorbing] if b not in labels]:
        raise FrameError(f"no bucket {first_few(odd)}. Allowed: {', '.join(labels)}.")
    given = np.array([float(start.get(s, 0)) for s in states])
    if not (np.isfinite(given).all() and (given >= 0).all() and given.sum() > 0):
        raise FrameError(
            "start holds numbers below 0, or none above. Allowed: accounts or money ≥ 0 by bucket."
        )
    kept = [i for i, s in enumerate(states) if s not in absorbing and i < len(labels)]
    share = given / given.sum()
    total = counts.sum(axis=0)
    empty = [labels[i] for i in kept if not (total[:, i].sum(-1) > 0).all()]
    reached = _reached(total, kept, np.flatnonzero(share), len(states))
    if unknown := [b for b in empty if labels.index(b) in reached]:
        raise NotAvailable(
            f"no steps from {first_few(unknown)} were seen, so nothing can be projected through it."
        )
    if eventual:
        for g in range(len(groups)):
            _refuse_endless(total[g], kept, reached, states)
    steps = months // rolls.step

    def path(sums: np.ndarray) -> np.ndarray:
        p = np.broadcast_to(np.eye(len(states)), (len(sums), len(states), len(states))).copy()
        whole = sums[:, kept].sum(-1, keepdims=True)
        p[:, kept] = np.where(whole > 0, sums[:, kept] / whole, p[:, kept])
        at = np.broadcast_to(share, (len(sums), len(states)))
        out = [at]
        for _ in range(steps):
            at = np.einsum("gi,gij->gj", at, p)
            out.append(at)
        if eventual:
            inner = [i for i in kept if i in reached]
            ends = [i for i in range(len(states)) if i not in kept]
            q, r = p[:, inner][:, :, inner], p[:, inner][:, :, ends]
            end = np.zeros_like(at)
            for g in range(len(sums)):
                try:
                    visits = np.linalg.solve(np.eye(len(inner)) - q[g].T, share[inner])
                except np.linalg.LinAlgError:  # without one replicate group it may never end
                    end[g] = np.nan
                else:
                    end[g, ends] = visits @ r[g] + share[ends]
            out.append(end)
        return np.stack(out, axis=1)

    columns = jackknife(total, counts, path, conf_level, present=counts.any(axis=(2, 3))[:, :, None, None])  # type: ignore[index]
    estimate, error, low, high = columns
    low, high = np.maximum(low, 0), np.minimum(high, 1)
    shown = [i for i in range(len(states)) if i in reached or estimate[:, :, i].any()]
    rows = []
    for g in range(len(groups)):
        for k in range(estimate.shape[1]):
            month = k * rolls.step if k <= steps else np.nan
            rows += [
                [*groups.iloc[g], month, states[i], estimate[g, k, i] * given.sum(), estimate[g, k, i],
                 error[g, k, i], low[g, k, i], high[g, k, i]]
                for i in shown
                if k <= steps or i not in kept
            ]  # fmt: skip
    table = pd.DataFrame(rows, columns=[*groups.columns, "month", "state", "expected", *INTERVAL])
    notes = [_ASSUMED, "Intervals are those of the rates; what is in the portfolio now is taken as known."]
    if eventual:
        notes.append("The rows without a month are where it ends.")
    if absorbing:
        notes.append(f"Taken as never left again: {', '.join(absorbing)}.")
    return Projection(
        table=table,
        estimand=f"Expected share of the portfolio in each state up to {months} months on",
        title="The portfolio if accounts keep rolling as they did",
        notes=tuple(notes),
        formats={"month": "count", "expected": "count"},
        conf_level=conf_level,
        by=tuple(groups.columns),
    )


def _found(
    observed: RollRates, rolls: RollRates, g: int, a: int, goal: int, conf_level: float
) -> tuple[float, ...]:
    """Account-months, and the share of bucket ``a`` found in state ``goal``, with its interval."""
    groups, counts, labels, _, n = _counts(observed)
    if labels != rolls.steps.labels or not groups.equals(_counts(rolls)[0]):
        raise FrameError(
            "observed has other buckets or groups than rolls. Allowed: the same, with another step."
        )
    part, whole = counts[:, g, a, goal], counts[:, g, a].sum(-1)
    size = n[g, a].sum()
    return int(size), *(float(v) for v in shares(part, whole, size, conf_level))


def _counts(rolls: RollRates) -> tuple[pd.DataFrame, np.ndarray, list[str], list[str], np.ndarray]:
    """Groups, weights (replicate, group, from, to), buckets, states, and account-months (group, from, to)."""
    if not isinstance(rolls, RollRates) or rolls.steps is None:
        raise FrameError(f"a {type(rolls).__name__} is no result of roll_rates(), which is asked for here.")
    groups, counts = rolls.steps.arrays(("from_bucket", "n", "month", "state", "expected", *INTERVAL))
    weights = counts["n"] if rolls.steps.weight is None else counts["amount"]
    return groups, weights, rolls.steps.labels, rolls.steps.states, counts["n"].sum(axis=0)


def _reached(total: np.ndarray, kept: list[int], first: np.ndarray, size: int) -> set[int]:
    """The states that can be reached from those of the start, itself included."""
    found, new = set(), set(first.tolist())
    while new:
        found |= new
        new = {j for i in new if i in kept for j in np.flatnonzero(total[:, i].sum(0)).tolist()} - found
    return found


def _refuse_endless(total: np.ndarray, kept: list[int], reached: set[int], states: list[str]) -> None:
    """Refuse what never ends: a bucket from which no absorbing state is reached."""
    leads = set(range(len(states))) - set(kept)
    while more := {i for i in kept if i not in leads and leads & set(np.flatnonzero(total[i]).tolist())}:
        leads |= more
    if endless := sorted(reached - leads):
        raise FrameError(
            f"from {first_few([states[i] for i in endless])} no account ends in an absorbing state (charged off, "
            "settled, sold, closed), so there is no end to project. Use eventual=False, or absorbing=(a bucket,)."
        )
