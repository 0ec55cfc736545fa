"""When to stop: up to which day past due going on collecting is worth more than selling, writing off or suing.

Going on, selling and writing off are compared per unit of balance, segment by segment, in a Markov chain over days past
due whose moves, payments and costs are counted from the account-months of accounts still delinquent at that point
(:mod:`~collectlab.policy.stop_value`); suing is set beside them (:mod:`~collectlab.policy.stop_sue`). Graded *model*: it
takes accounts that were sold, sued or charged off to be like the others at the same days past due in the same segment.
What a collateral would bring is not in a book, so no verdict is given on secured debt.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from collectlab.core.columns import as_list
from collectlab.core.engine import collect, require, scan
from collectlab.core.errors import FrameError, NotAvailable, ParamsError, first_few
from collectlab.core.jackknife import check_level
from collectlab.core.plots import PALETTE, legend, new_axes, reach, titled
from collectlab.core.results import Result
from collectlab.core.tables import display_table, format_value
from collectlab.measures.groups import MISSING, group_labels, own_names
from collectlab.measures.worth.checks import check_whole, plain_number, with_days, with_numbers
from collectlab.policy.stop_rows import COURT, ENDS, stop_rows
from collectlab.policy.stop_segment import NO_COLLATERAL, first_day, segment
from collectlab.policy.stop_terms import UNSECURED, UNTOLD, Terms, load_terms
from collectlab.policy.stop_value import after_loss

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["EDGES", "NO_COLLATERAL", "Stopping", "Terms", "load_terms", "stop_rows", "stopping"]

#: Heads of the columns as they are shown.
_HEADS = {"Today day": "Stopped today at day", "Worth today": "Worth of today's practice", "Advised": "Point compared",
          "Gain": "Gain a month"}  # fmt: skip
#: Steps of days past due: a month each up to a year.
EDGES = (1, 30, 60, 90, 120, 150, 180, 210, 240, 270, 300, 330, 360)
#: A step in which fewer accounts than this were worked is not one that can be told of.
SMALLEST = 10
_NEEDED = ("account_id", "on", "charged_off", "days_past_due", "balance", "next", "next_days", "next_balance", "paid",
           "cost")  # fmt: skip
_OWN = ("accounts", "best", "as_good", "today_day", "advised", "worth_advised", "worth_today", "balance_a_month", "price_floor", "gain", "gain_low", "gain_high", "verdict", "grade", "policy", "day", "how", "option", "of", "age", "cases", "court_cost", "court_back", "worth_sued", "worth_without")  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Stopping(Result):
    """The best point to stop by segment.

    Attributes
    ----------
    table : pandas.DataFrame
        [by…], accounts, best (the point with the highest worth, in words), as_good (the points that cannot be told from
        it), today_day (mean days past due at which accounts are sold or charged off now), worth_today (per 1 of the balance
        that gets to the first point), advised (the point that is most surely better than today's practice; the best
        where none is), worth_advised, estimate … (advised less today, simultaneous over all points and segments),
        balance_a_month, gain, gain_low, gain_high (money a month), price_floor (share of the stated prices at which the
        gain is nothing), verdict (stop earlier, stop later, sell or write off instead, cannot tell; none where any of the
        debt is secured), grade (model; not identifiable where the debt is secured or the book does not say).
    policies : pandas.DataFrame
        [by…], policy, day, how, worth with its interval, and ``behind``: best less this one.
    steps : pandas.DataFrame
        [by…], day, accounts, option (go on, sell, write off), worth per 1 of balance with its interval.
    suing : pandas.DataFrame
        [by…], age (days past due at filing), cases, court_cost and court_back (share of the balance), worth_sued,
        worth_without (the best plan without a suit, for the same accounts), estimate … (the difference, simultaneous), gain,
        gain_low, gain_high (money a month, if all who get to that age were sued), verdict (brings more, brings less,
        cannot tell; none on secured debt).
    """

    policies: pd.DataFrame
    steps: pd.DataFrame
    suing: pd.DataFrame
    by: tuple[str, ...] = ()

    def display_table(self) -> pd.DataFrame:
        """As a manager reads it: the point compared, what it would gain per 100 and a month, and the verdict."""
        gain = [money_range(*row) for row in self.table[["gain", "gain_low", "gain_high"]].to_numpy(float)]
        table = self.table.assign(gain=gain, verdict=self.table["verdict"].replace(NO_COLLATERAL, "not told"))
        table = table.drop(columns="worth_today", errors="ignore")
        shown = display_table(table, self.unit, self.formats, self.conf_level)
        return shown.rename(columns=_HEADS)

    @property
    def plottable(self) -> bool:  # type: ignore[override]
        """Where a segment has a verdict: the chart leaves secured debt out."""
        return bool(self._drawn().any())

    def _drawn(self) -> pd.Series:
        """Segments whose figures are shown, of debt that is not secured."""
        return (self.table["verdict"] != NO_COLLATERAL) & self.table["estimate"].notna()

    def plot(self, ax: Axes | None = None, **options: Any) -> Axes:
        """Worth of stopping at each day, by segment that is not secured, as the distance to today's practice."""
        ax = new_axes(ax)
        labels = pd.Series(group_labels(self.policies, self.by))
        keys = group_labels(self.table[self._drawn()], self.by)[:6]
        for i, key in enumerate(keys):
            part = self.policies[(labels == key).to_numpy() & (self.policies["policy"] != "today")]
            top = part.loc[part.groupby("day")["gain"].idxmax().dropna()].dropna(subset=["day"])
            ax.errorbar(
                top["day"] + 1.6 * (i - (len(keys) - 1) / 2),
                100 * top["gain"],
                yerr=100 * reach(top.assign(estimate=top["gain"], conf_low=top["gain_low"], conf_high=top["gain_high"])),
                color=PALETTE[i % len(PALETTE)], marker="osD^vx"[i % 6], markersize=4.5, linewidth=1.2, capsize=2, label=key.replace("_", " "),
            )  # fmt: skip
        ax.axhline(0, color="#444444", linewidth=0.8)
        days = self.policies.loc[labels.isin(keys).to_numpy(), "day"].dropna().unique()
        ax.set_xticks(sorted(float(d) for d in days))
        ax.set_xlabel("Stop from this day past due on")
        ax.set_ylabel("Gain against today's practice,\nper 100 of balance")
        if self.by:
            legend(ax, outside=True)
        return titled(ax, self.title)


def stopping(
    rows: Any,
    terms: Terms,
    *,
    by: str | Sequence[str] | None = None,
    edges: Sequence[int] = EDGES,
    smallest: int = SMALLEST,
    conf_level: float = 0.95,
) -> Stopping:
    r"""The day past due from which to stop collecting, by segment, and what it is worth against today's practice.

    For each policy "collect until day x, then sell (or write off)" the worth V at the first step from which a sale or a
    write-off is allowed solves the equations of :mod:`~collectlab.policy.stop_value`; the best policy is the one
    with the highest. Payments, costs and moves are those of accounts still delinquent at that step (so each is
    conditional on having got there), with cure, settlement and repayment as competing exits, and accounts not seen again
    left out of that step only (right censoring). Where a step is worked in fewer than ``smallest`` accounts, going on
    through it has not been tried: no policy goes beyond it.

    Suing is told of at each age at which ``smallest`` cases were followed; it is no policy of its own, as those sued were
    chosen: whether it pays is for :func:`collectlab.effects.legal.against_not_sued`.

    Standard errors are the delete-a-group jackknife over customers. The intervals of ``estimate`` and of ``gain`` are
    simultaneous (Bonferroni) over all points and segments, as the best point is picked among them.

    Parameters
    ----------
    rows : frame
        As :func:`stop_rows` returns: one row per account and month's end. ``market`` (all unsecured), ``customer_id`` (the
        account) and what tells of court cases (none) may be left out.
    terms : Terms
        Prices and fees.
    by : str or list of str, optional
        Columns that make a segment.
    edges : sequence of int
        Rising days past due at which a step begins.
    smallest : int
        Fewest accounts of a step.
    conf_level : float
        Level of the intervals.

    Returns
    -------
    Stopping

    Raises
    ------
    FrameError
        Missing columns, unknown ends, negative balances, payments or costs; edges that do not rise.
    ParamsError
        No price is stated for a market.
    NotAvailable
        No segment has enough accounts that far past due.

    References
    ----------
    Puterman (1994), Markov Decision Processes, ch. 7 (optimal stopping).

    Examples
    --------
    >>> rows = pd.DataFrame({
    ...     "account_id": [f"a{i}" for i in range(40)], "on": pd.Timestamp("2026-01-31"), "charged_off": False,
    ...     "days_past_due": [95] * 20 + [125] * 20, "balance": 100.0, "next": "open",
    ...     "next_days": [125.0] * 20 + [155.0] * 20, "next_balance": [90.0] * 20 + [99.0] * 20,
    ...     "paid": [10.0] * 20 + [1.0] * 20, "cost": 2.0})
    >>> found = stopping(rows, Terms(prices={"unsecured": {90: 0.30}}), edges=(90, 120, 150))
    >>> print(found.table["best"][0], round(found.policies["estimate"][1], 9))        # 0.10 − 0.02 + 0.90 · 0.30
    sell at 120 days 0.35
    """
    check_level(conf_level)
    if not isinstance(terms, Terms):
        raise ParamsError(
            f"terms is a {type(terms).__name__}. Needed: load_terms(folder, date), or Terms(…)."
        )
    smallest = check_whole(smallest, "smallest", "accounts", 1_000_000_000)
    names = as_list(by)
    frame = _checked(rows, names, edges)
    points = np.asarray(edges, dtype=float)
    shown = own_names(names, _OWN)
    keys = frame[names].astype(object).where(frame[names].notna(), MISSING) if names else None
    groups = sorted(keys.drop_duplicates().itertuples(index=False, name=None), key=str) if names else [()]
    pooled = after_loss(frame)
    parts = []
    for key in groups:
        mine = frame if keys is None else frame[(keys == list(key)).all(axis=1)]
        if found := segment(mine, terms, points, smallest, pooled):
            parts.append((key, found))
    if not parts:
        raise NotAvailable(
            f"no segment has {smallest} accounts followed at {first_day(terms):g} days past due, from which stopping is allowed."
        )
    compared = sum(len(found.policies) + len(found.bands) for _, found in parts)
    level = 1 - (1 - conf_level) / compared
    tables: list[list[pd.DataFrame]] = [[], [], [], []]
    for key, found in parts:
        head = dict(zip(shown, key))
        for store, table in zip(tables, found.tables(terms, conf_level, level)):
            store.append(pd.concat([pd.DataFrame([head] * len(table), columns=shown), table], axis=1))
    table, policies, steps, suing = (pd.concat(t, ignore_index=True) for t in tables)
    left_out = [", ".join(map(str, k)) for k in groups if k not in {key for key, _ in parts}]
    notes = [
        "Worth: present value. Point compared: the one most surely better than today's practice; the best where none is. "
        "Intervals are simultaneous over all points and segments.",
        "Model: accounts sold or charged off are taken to be like the others at the same days past due; suing is part of "
        "going on, as it is practised now.",
        f"No point is compared beyond the first age at which fewer than {smallest} accounts were worked.",
        *_of_collateral(parts),
    ]
    if left_out:
        notes.append(
            f"Left out, with fewer than {smallest} accounts at the first point: {first_few(left_out)}."
        )
    if not (pooled["base"].sum() > 0):
        notes.append("Nothing is written off in this book: what comes in afterwards is the stated share.")
    return Stopping(
        table=table,
        estimand="Worth of stopping at the point compared, less that of today's practice, per 100 of the balance that gets to the "
        "first point",
        unit="share",
        title="When to stop",
        notes=tuple(notes),
        formats={
            "today_day": "count", "worth_advised": "hidden", "worth_today": "share", "accounts": "count",
            "balance_a_month": "hidden", "price_floor": "hidden", "best": "hidden", "as_good": "hidden", "grade": "hidden",
            "gain": "text", "gain_low": "hidden", "gain_high": "hidden", "estimate": "Gain per 100 of balance",
        },
        conf_level=conf_level,
        policies=policies,
        steps=steps,
        suing=suing,
        by=tuple(shown),
    )  # fmt: skip


def _of_collateral(parts: list[tuple[Any, Any]]) -> list[str]:
    said = []
    if any(found.secured for _, found in parts):
        said.append(
            "What a collateral would bring is not in the book: for secured debt, going on counts payments only, so nothing is "
            "advised, and the chart leaves it out."
        )
    if any(UNTOLD in found.layout.markets for _, found in parts):
        said.append(
            "The book does not say of all debt whether it is secured. Such debt stands at the prices of unsecured debt, and what "
            "is said of it holds only where it is unsecured: not identifiable."
        )
    return said


def money_range(value: float, low: float, high: float) -> str:
    """``12,000 (3,000 to 21,000)``."""
    said = format_value(value, "money")
    return (
        said if np.isnan(low) else f"{said} ({format_value(low, 'money')} to {format_value(high, 'money')})"
    )


def _checked(rows: Any, by: list[str], edges: Sequence[int]) -> pd.DataFrame:
    lazy = scan(rows)
    require(lazy, *_NEEDED, *by)
    have = lazy.collect_schema().names()
    faults = []
    cuts = [plain_number(e) for e in edges] if isinstance(edges, Sequence | np.ndarray) else []
    if len(cuts) < 2 or not np.isfinite(cuts).all() or (np.diff(cuts) <= 0).any():
        faults.append(f"edges is {edges!r}. Allowed: two or more rising days past due.")
    also = [c for c in ("customer_id", "market", *COURT) if c in have]
    frame = collect(lazy.select(*dict.fromkeys([*_NEEDED, *also, *by])))
    if "customer_id" not in frame:
        frame["customer_id"] = frame["account_id"]
    frame["customer_id"] = (
        frame["customer_id"]
        .astype(object)
        .where(frame["customer_id"].notna(), frame["account_id"].astype(object))
    )
    numbers = ["days_past_due", "balance", "next_days", "next_balance", "paid", "cost"]
    try:
        frame = with_days(with_numbers(frame, numbers), ["on"])
    except FrameError as error:
        raise FrameError([*faults, *error.faults]) from error
    if "market" not in frame:
        frame["market"] = UNSECURED
    for column in COURT:
        frame[column] = frame[column].fillna(0.0) if column in frame else 0.0
    if odd := sorted(set(frame["next"].dropna()) - {"open", *ENDS}):
        faults.append(f"next holds {first_few(odd)}. Allowed: open, {', '.join(ENDS)}.")
    for column in ("paid", "cost"):
        if (bad := frame[column].isna() & frame["next"].notna()).any():
            faults.append(f"{column} is missing in {int(bad.sum()):,} rows. Allowed: money ≥ 0.")
    for column in numbers:
        if (bad := np.isinf(frame[column])).any():
            faults.append(f"{column} is infinite in {int(bad.sum()):,} rows. Allowed: finite numbers.")
    for column in ("balance", "next_balance", "paid", "cost"):
        if (bad := frame[column] < 0).any():
            faults.append(
                f"{column} < 0 in {int(bad.sum()):,} rows (account_id {first_few(frame.loc[bad, 'account_id'].tolist())}). Allowed: ≥ 0."
            )
    if faults:
        raise FrameError(faults)
    if frame.empty:
        raise NotAvailable("there are no account-months past due.")
    return frame.sort_values(["account_id", "on"], kind="stable", ignore_index=True)
