"""The promise-to-pay funnel: attempt → contact → promise → kept → amount, and what makes promises hold."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import narwhals as nw
import numpy as np
import pandas as pd

from collectlab.core import engine
from collectlab.core.columns import day_number, flag, row_count, whole_money
from collectlab.core.engine import same_engine
from collectlab.core.errors import FrameError, NotAvailable
from collectlab.core.jackknife import jackknife
from collectlab.core.tables import format_value
from collectlab.measures.actions_rows import Period, need_rows, shown
from collectlab.measures.costs_touch import contact_made
from collectlab.measures.debtors.promise_rows import paid_of_it, promise_rows
from collectlab.measures.flows import UNIT
from collectlab.measures.groups import by_keys
from collectlab.measures.ratios import Given, Measures, Ratio, count, measured

STEPS = ("attempt", "contact", "promise", "promise kept")
#: Days from the promise to the promised day, first of each band.
WAITS = (0, 4, 8, 15)
#: Promised amount over the amount past due at the snapshot before, first of each band.
PARTS = (0.0, 0.5, 0.9, 1.1)
PART_WORDS = ("under half", "half to 90 %", "about all of it", "more than it")
#: Snapshots older than that do not tell what was overdue at the promise.
SEEN_WITHIN = 62


def promise_funnel(
    book: Any,
    *,
    period: Period = None,
    channels: Sequence[str] | None = None,
    share: float = 0.9,
    grace: int = 3,
    conf_level: float = 0.95,
) -> Measures:
    """From attempt to money, step by step: how many, of the step before, of the attempts.

    Steps are attempts (actions with a known outcome), contacts, promises, promises kept, as in
    :func:`collectlab.measures.actions.promises`. Promises not yet due are neither kept nor broken: the share
    kept is that of the due ones, and kept per attempt is promises / attempts × kept / due. The last step is money: paid
    of what was promised and due (promise by promise, no more than promised).

    Parameters
    ----------
    book : Book
        With actions and payments.
    period : (date, date), optional
        First and last day of the attempts; None is the whole book.
    channels : sequence of str, optional
        Only attempts by these; None is all.
    share, grace
        As in :func:`collectlab.measures.actions.promises`.
    conf_level : float
        Level of the intervals.

    Returns
    -------
    Measures
        A row per ``step`` × ``of_before``, ``of_first``; ``n`` counts the step (for money: the sum, in money).

    Raises
    ------
    NotAvailable
        No attempts, contacts or promises.

    Examples
    --------
    >>> import pandas as pd
    >>> from collectlab.book.open import open_book
    >>> book = open_book({
    ...     "accounts": pd.DataFrame({"account_id": ["a"]}),
    ...     "snapshots": pd.DataFrame({"account_id": ["a"], "as_of": ["2026-02-28"], "days_past_due": [5]}),
    ...     "payments": pd.DataFrame({"account_id": ["a"], "paid_on": ["2026-01-28"], "amount": [95.0]}),
    ...     "actions": pd.DataFrame({
    ...         "account_id": ["a"] * 3, "at": ["2026-01-18 10:00", "2026-01-20 10:00", "2026-02-01 10:00"],
    ...         "channel": ["call"] * 3, "outcome": ["no_answer", "promise", "promise"],
    ...         "promised_amount": [None, 100.0, 100.0], "promised_on": [None, "2026-01-25", "2026-02-05"]})})
    >>> promise_funnel(book).wide()[["step", "n", "of_before"]].round(2).values.tolist()[1:4]
    [['contact', 2, 0.67], ['promise', 2, 1.0], ['promise kept', 1, 0.5]]
    """
    told, due, notes = promise_rows(book, (), period, share, grace, ("channel",))
    if channels is not None:
        told, due = (f.filter(nw.col("channel").is_in(list(channels))) for f in (told, due))
    tried = count(
        told,
        [],
        {
            "attempts": nw.lit(1),
            "contacts": flag(contact_made(told.collect_schema().names())),
            "promises": flag(nw.col("outcome") == "promise"),
        },
    )
    need_rows(tried, "attempts", "actions with an outcome")
    need_rows(tried, "promises", "promises to pay")
    judged = count(
        due,
        [],
        {"due": nw.lit(1), "kept": nw.col("__kept"), "promised": nw.col("__amount"), "paid": paid_of_it()},
        tried.groups,
    )
    a, c, p = (tried[x] for x in ("attempts", "contacts", "promises"))
    d, k, promised, paid = (judged[x] for x in ("due", "kept", "promised", "paid"))
    before = [_nothing(), _share(c, a, conf_level), _share(p, c, conf_level), _share(k, d, conf_level)]
    before += [
        _nothing(),
        [float(v[0]) for v in Ratio(paid / UNIT, promised / UNIT, "part").estimate(conf_level)],
    ]
    first = [
        _nothing(),
        before[1],
        _share(p, a, conf_level),
        _per_attempt(a, p, d, k, conf_level),
        _nothing(),
        _nothing(),
    ]
    n = [x.sum() for x in (a, c, p, k)] + [promised.sum() / UNIT, paid.sum() / UNIT]
    steps = pd.DataFrame({"step": [*STEPS, "money promised and due", "money paid of it"]})
    return measured(
        steps, ["step"],
        {"of_before": Given(list(np.array(before).T)), "of_first": Given(list(np.array(first).T))},
        {"n": np.rint(np.array(n)).astype("int64"), "due": np.full(len(steps), int(d.sum()))},
        conf_level, kind=Funnel,
        estimand="How many reach each step, as a share of the step before and of the attempts; kept: of the promises due",
        title="From the attempt to the money",
        notes=(*notes, f"{int(d.sum()):,} promises were due; the last two rows are money."),
        formats={"n": "count", "due": "hidden"},
    )  # fmt: skip


class Funnel(Measures):
    """The steps of the funnel."""

    def display_table(self) -> pd.DataFrame:
        """Counts and, in the last two rows, sums of money under one head."""
        return super().display_table().rename(columns={"Number": "Number, or sum"})

    def plot(self, measure: Any = None, ax: Any = None) -> Any:
        """Each step as a share of the one before."""
        from collectlab.core.plots import dots

        rows = self.table[(self.table["measure"] == "of_before") & self.table["estimate"].notna()]
        labels = [f"{step} ({n:,})" for step, n in zip(rows["step"], rows["n"])]
        rows = rows.reset_index(drop=True)
        return dots([("", rows)], labels, unit="share", title=self.title, xlabel="Of the step before", ax=ax)


def _nothing() -> list[float]:
    return [np.nan] * 4


def _share(top: np.ndarray, bottom: np.ndarray, conf_level: float) -> list[float]:
    return [float(v[0]) for v in Ratio(top, bottom).estimate(conf_level)]


def _per_attempt(
    a: np.ndarray, p: np.ndarray, d: np.ndarray, k: np.ndarray, conf_level: float
) -> list[float]:
    by_group = np.stack([a, p, d, k], axis=1)

    def kept(s: np.ndarray) -> np.ndarray:
        return s[1] / s[0] * s[3] / s[2]

    found = jackknife(by_group.sum(axis=0), by_group, kept, conf_level, "logit", present=a != 0)
    return [float(v[0]) for v in found]


def promises_kept(
    book: Any,
    *,
    by: str = "size",
    period: Period = None,
    share: float = 0.9,
    grace: int = 3,
    sizes: Sequence[float] | None = None,
    conf_level: float = 0.95,
) -> Measures:
    """Promises kept of those due, and money paid of what was promised, by what kind of promise it was.

    ``by`` is one of

    * ``size`` — the promised amount, in the bands ``sizes`` (default: the quarters of the book's own promises);
    * ``part`` — the promised amount over the amount past due at the last snapshot before the promise (bands: under
      half, half to 90 %, about all of it, more); promises without such a snapshot are left out and counted;
    * ``wait`` — days from the promise to the promised day (0–3, 4–7, 8–14, 15 and more);
    * or a column of actions or accounts (``team``, ``product``, ``month``).

    Larger promises are made by other people than small ones: the rates say which promises hold, not that asking
    for less would make one hold.

    Parameters
    ----------
    book : Book
        With actions and payments; ``part`` also needs ``amount_past_due`` in snapshots.
    by : str
        See above.
    period : (date, date), optional
        First and last day of the promises; None is the whole book.
    share, grace
        As in :func:`collectlab.measures.actions.promises`.
    sizes : sequence of float, optional
        First amount of each band but the lowest, rising.
    conf_level : float
        Level of the intervals.

    Returns
    -------
    Measures
        ``kept`` and ``paid_of_promised`` per group, with ``due`` promises.

    Raises
    ------
    NotAvailable
        No due promise, or a column that the book does not have.

    Examples
    --------
    >>> import pandas as pd
    >>> from collectlab.book.open import open_book
    >>> book = open_book({
    ...     "accounts": pd.DataFrame({"account_id": ["a"]}),
    ...     "snapshots": pd.DataFrame({"account_id": ["a"], "as_of": ["2026-02-28"], "days_past_due": [5]}),
    ...     "payments": pd.DataFrame({"account_id": ["a"], "paid_on": ["2026-01-22"], "amount": [100.0]}),
    ...     "actions": pd.DataFrame({"account_id": ["a", "a"], "at": ["2026-01-20 10:00", "2026-02-01 10:00"],
    ...         "channel": ["call"] * 2, "outcome": ["promise"] * 2, "promised_amount": [100.0, 900.0],
    ...         "promised_on": ["2026-01-22", "2026-02-12"]})})
    >>> promises_kept(book, by="wait").wide()[["wait", "due", "kept"]].values.tolist()
    [['0–3 days', 1, 1.0], ['8–14 days', 1, 0.0]]
    """
    own = by in ("size", "part", "wait")
    _, due, notes = promise_rows(book, () if own else (by,), period, share, grace)
    total = int(engine.collect(due.select(n=row_count()))["n"].iloc[0])
    if not total:
        raise NotAvailable("there are no promises due in this book or period.")
    if by == "size":
        due, labels = _by_size(due, sizes)
    elif by == "part":
        due, labels = _by_part(book, due), list(PART_WORDS)
        known = int(engine.collect(due.select(n=row_count()))["n"].iloc[0])
        if not known:
            raise NotAvailable("what was past due is known for no promise of this book or period.")
        if known < total:
            notes += (
                f"{total - known:,} promises without an overdue snapshot in the {SEEN_WITHIN} days before: left out.",
            )
    elif by == "wait":
        due, labels = due.with_columns(__by0=_band("__wait", WAITS)), [_days(i) for i in range(len(WAITS))]
        due = due.filter(~nw.col("__by0").is_null())
        known = int(engine.collect(due.select(n=row_count()))["n"].iloc[0])
        if known < total:
            notes += (f"{total - known:,} promises for a day before they were made: left out.",)
    sums = {"due": nw.lit(1), "kept": nw.col("__kept"), "promised": nw.col("__amount"), "paid": paid_of_it()}
    counts = count(due, by_keys([by], "__by"), sums)
    groups = shown(counts, [by])
    if own:
        groups = pd.DataFrame({by: [labels[int(i)] for i in counts.groups["__by0"]]})
    return measured(
        groups, [by],
        {
            "kept": Ratio(counts["kept"], counts["due"]),
            "paid_of_promised": Ratio(counts["paid"] / UNIT, counts["promised"] / UNIT, "part"),
        },
        {"due": counts.total("due")},
        conf_level,
        estimand="Promises kept of promises due; money paid of the money promised and due",
        title=f"Promises kept, by {by.replace('_', ' ')}",
        notes=notes,
    )  # fmt: skip


def _band(column: str, firsts: Sequence[float]) -> nw.Expr:
    """The number of the band, 0 … , by the first value of each; missing below the lowest."""
    band = nw.lit(None, nw.Int64)
    for i, first in enumerate(firsts):
        band = nw.when(nw.col(column) >= first).then(nw.lit(i)).otherwise(band)
    return band


def _days(i: int) -> str:
    return f"{WAITS[i]}–{WAITS[i + 1] - 1} days" if i + 1 < len(WAITS) else f"{WAITS[i]} days and more"


def _by_size(due: nw.LazyFrame, sizes: Sequence[float] | None) -> tuple[nw.LazyFrame, list[str]]:
    if sizes is None:
        amounts = engine.collect(due.group_by("__amount").agg(n=row_count())).sort_values("__amount")
        reached = amounts["n"].cumsum() / amounts["n"].sum()
        quarters = [float(amounts["__amount"][reached >= q].iloc[0]) / UNIT for q in (0.25, 0.5, 0.75)]
        edges = sorted({_round(q) for q in quarters} - {0.0})
    else:
        edges = [float(s) for s in sizes]
        if edges != sorted(set(edges)) or not edges or edges[0] <= 0:
            raise FrameError(f"sizes is {tuple(sizes)}. Allowed: rising amounts above 0.")
    words = [format_value(e, "money") for e in edges]
    labels = [f"under {words[0]}"] if edges else ["all"]
    labels += [f"{low} to under {high}" for low, high in pairwise(words)]
    labels += [f"{words[-1]} and more"] if edges else []
    due = due.with_columns(__by0=_band("__amount", [0.0, *(round(e * UNIT) for e in edges)]))
    return due, labels


def _round(value: float) -> float:
    """To two leading digits: bands that can be spoken of."""
    from math import floor, log10

    return float(round(value, 1 - floor(log10(value)))) if value > 0 else 0.0


def _by_part(book: Any, due: nw.LazyFrame) -> nw.LazyFrame:
    if "amount_past_due" not in book.columns("snapshots"):
        raise NotAvailable("this book's snapshots have no amount_past_due.")
    seen = book.table("snapshots").select(
        __account=nw.col("account_id"),
        __seen=day_number("as_of"),
        __owed=whole_money("amount_past_due", UNIT),
    )
    due, seen = same_engine(due, seen)
    key = ["__account", "__on", "__until", "__amount"]
    last = (
        due.select(*key)
        .join(seen, on="__account", how="inner")
        .filter((nw.col("__seen") <= nw.col("__on")) & (nw.col("__seen") >= nw.col("__on") - SEEN_WITHIN))
        .unique(subset=key, keep="last", order_by=["__seen"])
        .filter(nw.col("__owed") > 0)
        .select(*key, __part=nw.col("__amount").cast(nw.Float64) / nw.col("__owed").cast(nw.Float64))
    )
    return engine.computed(due.join(last, on=key, how="inner").with_columns(__by0=_band("__part", PARTS)))
