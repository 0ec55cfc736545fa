"""How long plans last, and what becomes of accounts after relief."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import narwhals as nw
import numpy as np
import pandas as pd

from collectlab.core import engine
from collectlab.core.columns import day_number, day_of
from collectlab.core.engine import same_engine
from collectlab.core.errors import FrameError, NotAvailable
from collectlab.core.jackknife import INTERVAL
from collectlab.measures.actions_rows import Period, days_of
from collectlab.measures.groups import natural
from collectlab.measures.ratios import Measures
from collectlab.measures.relief.cases import RELIEF, plans
from collectlab.measures.relief.overlaps import COUNTED, replaced

#: Days of a month of a plan.
MONTH = 30
STATES = ("active", "kept", "broken")


def plan_survival(
    book: Any,
    *,
    by: str | None = "kind",
    months: Sequence[int] = (1, 2, 3, 6, 12),
    period: Period = None,
    kinds: tuple[str, ...] = RELIEF,
    conf_level: float = 0.95,
) -> Measures:
    """Share of plans broken, kept to the end, and still running so many months (of 30 days) after their start.

    Broken and kept compete (Aalen–Johansen): a plan that was kept to its term cannot break any more. Plans that
    run at the end of the book are censored there; plans begun before the book's first snapshot are known only
    because they lasted, and count from that day on (left truncation). Where a plan begins while another of the
    account runs, the earlier is censored on that day (:func:`~collectlab.measures.relief.overlaps.overlapping_plans`).

    Parameters
    ----------
    book : Book
        With arrangements that tell ``status`` and ``ended_on``.
    by : {"kind", None} or str
        ``kind``, or a column of accounts; None takes all plans together.
    months : sequence of int
        Months of 30 days after the start.
    period : (date, date), optional
        First and last day of the start; None is the whole book.
    kinds : tuple of str
        Arrangements counted; settlements are left out: they end the debt at once.
    conf_level : float
        Level of the intervals.

    Returns
    -------
    Measures
        A row per group × month × state (``measure``: broken, kept, active), with ``agreed`` (plans of the group).

    Raises
    ------
    NotAvailable
        No arrangements, none of which the end is told, or no status.
    FrameError
        ``months`` that are none.

    Examples
    --------
    >>> import pandas as pd
    >>> from collectlab.book.open import open_book
    >>> book = open_book({
    ...     "accounts": pd.DataFrame({"account_id": ["a", "b"]}),
    ...     "snapshots": pd.DataFrame({"account_id": ["a", "a"], "as_of": ["2025-12-31", "2026-06-30"],
    ...                                "days_past_due": [5, 95]}),
    ...     "arrangements": pd.DataFrame({"account_id": ["a", "b"], "kind": ["payment_plan"] * 2,
    ...         "started_on": ["2026-01-01"] * 2, "ended_on": ["2026-02-01", "2026-05-01"],
    ...         "status": ["broken", "kept"]})})
    >>> plan_survival(book, months=[3]).table[["measure", "estimate"]].values.tolist()
    [['broken', 0.5], ['kept', 0.0], ['active', 0.5]]
    """
    from collectlab.measures.survival import cumulative_incidence, kaplan_meier

    days = _month_days(months)
    have = book.table("arrangements").collect_schema().names()
    if missing := [c for c in ("status", "ended_on") if c not in have]:
        raise NotAvailable(f"this book's arrangements have no {' and no '.join(missing)}.")
    frame, notes = _spans(book, kinds, period)
    frame["group"] = _groups(book, frame, by)
    rows: list[dict[str, Any]] = []
    for name in sorted(frame["group"].dropna().unique(), key=natural):
        part = frame.loc[frame["group"] == name, ["days", "outcome", "entry"]]
        if not (part["outcome"] != "censored").any():
            notes.append(f"{str(name).replace('_', ' ')}: none of {len(part):,} plans has ended yet.")
            continue
        told = {"duration": "days", "outcome": "outcome", "entry": "entry", "conf_level": conf_level}
        ended = cumulative_incidence(part, **told).at(days, beyond="nan")
        ends = tuple(sorted(set(part["outcome"]) - {"censored"}))
        left = kaplan_meier(part, event=ends, **told).at(days, beyond="nan")
        for day in days:
            for state in STATES[::-1]:
                at = (left if state == "active" else ended).query("day == @day")
                at = at if state == "active" else at[at["outcome"] == state]
                found = at.iloc[0] if len(at) else {**dict.fromkeys(INTERVAL, np.nan), "estimate": 0.0}
                rows.append(
                    {
                        **({by: name} if by else {}),
                        "month": str(day // MONTH),
                        "measure": state,
                        "agreed": len(part),
                        **{c: float(found[c]) for c in INTERVAL},
                        "unit": "share",
                    }
                )
    if not rows:
        raise NotAvailable(" ".join(["no plan of this book or period has ended.", *notes]))
    table = pd.DataFrame(rows).dropna(subset=["estimate"], ignore_index=True)
    return PlanSurvival(
        table=table,
        by=(*([by] if by else []), "month"),
        estimand="Of the plans agreed: broken, kept to their end, and still running so many months after their start, "
        "broken and kept competing",
        title="How long plans last",
        conf_level=conf_level,
        formats={"agreed": "count"},
        shown=("broken",),
        notes=tuple(notes),
    )


class PlanSurvival(Measures):
    """Plans by state over the months since their start."""

    def display_table(self) -> pd.DataFrame:
        """A row per group and month."""
        return (
            super()
            .display_table()
            .rename(columns={"Month": "Months since the start", "Active": "Still running"})
        )

    def plot(self, measure: Any = None, ax: Any = None) -> Any:
        """Share broken by month since the start, a line per group."""
        from collectlab.core.plots import legend, lines

        state = measure or "broken"
        if state not in STATES:
            raise FrameError(f"measure is {state!r}. Allowed: {', '.join(STATES)}.")
        rows = (
            self.table[self.table["measure"] == state]
            .dropna(subset=["estimate"])
            .assign(month=lambda t: t["month"].astype(int))
        )
        own = [b for b in self.by if b != "month"]
        groups = (
            [(str(name).replace("_", " "), part) for name, part in rows.groupby(own[0])]
            if own
            else [("", rows)]
        )
        groups = [(name, part.sort_values("month").reset_index(drop=True)) for name, part in groups]
        ax = lines(groups, "month", unit="share", title=self.title, ylabel=f"Plans {state}", ax=ax)
        ax.set_xlabel("Months since the start")
        if own:
            legend(ax)
        return ax


def _month_days(months: Sequence[int]) -> list[int]:
    wanted = sorted(set(months))
    if not wanted or any(not isinstance(m, int) or isinstance(m, bool) or m < 1 for m in wanted):
        raise FrameError(f"months is {tuple(months)}. Allowed: whole months ≥ 1, such as (1, 3, 6).")
    return [m * MONTH for m in wanted]


def _spans(book: Any, kinds: tuple[str, ...], period: Period) -> tuple[pd.DataFrame, list[str]]:
    """A row per plan: account, kind, days, outcome (broken, kept, censored), entry; and notes."""
    last = day_of(book.as_of)
    first = int(
        engine.collect(book.table("snapshots").select(first=day_number("as_of").min()))["first"].iloc[0]
    )
    frame, notes = replaced(book, kinds), []
    if period is not None:
        start, end = days_of(period)
        frame = frame[frame["began"].between(start, end)].reset_index(drop=True)
    if not len(frame):
        raise NotAvailable("there are no arrangements in this book or period.")
    over = frame["status"].isin(["kept", "broken"]) & (frame["until"] <= last)
    stop = frame["until"].where(over, last).clip(upper=last).astype("int64")
    cut = frame["overlaps"] & (frame["next"] < stop)
    stop = stop.where(~cut, frame["next"].fillna(0).astype("int64"))
    frame["outcome"] = frame["status"].where(over & ~cut, "censored")
    frame["days"] = stop - frame["began"]
    frame["entry"] = (first - frame["began"]).clip(lower=0)
    if n := int(cut.sum()):
        notes.append(f"{n:,} plans overlap with the next of their account: {COUNTED}.")
    if n := int((frame["entry"] > 0).sum()):
        notes.append(f"{n:,} plans began before the book's first snapshot and count from that day on.")
    unseen = (frame["days"] <= frame["entry"]) & ((frame["entry"] > 0) | (frame["days"] < 0))
    if n := int(unseen.sum()):
        notes.append(f"{n:,} plans ended before they were under observation: not counted.")
    unclear = frame["status"].isin(["kept", "broken"]) & frame["until"].isna()
    if n := int(unclear.sum()):
        notes.append(
            f"{n:,} plans are kept or broken on a day that is not told: censored at the end of the book."
        )
    return frame[~unseen].reset_index(drop=True), notes


def _groups(book: Any, frame: pd.DataFrame, by: str | None) -> pd.Series:
    if by is None or by == "kind":
        return frame["kind"] if by else pd.Series("all", index=frame.index)
    if by not in book.columns("accounts"):
        raise NotAvailable(f"this book's accounts have no {by}.")
    owners = book.table("accounts").select("account_id", by)
    ids = frame["account"].unique()
    owners = engine.collect(owners.filter(nw.col("account_id").is_in(ids.tolist())))
    return frame["account"].map(owners.set_index("account_id")[by]).astype(object)


def redefault_after_relief(
    book: Any,
    *,
    horizons: Sequence[int] = (90, 180),
    period: Period = None,
    kinds: tuple[str, ...] = RELIEF,
    definition: str = "current_once",
    conf_level: float = 0.95,
) -> Any:
    """P(past due again within h days of being current), for episodes that ended with relief and for the others.

    Relief re-ages: a restructured account is current by decree, so that "cured" says nothing of it. What says
    something is whether it falls behind again. Rows are by ``relief``: the kind of the last arrangement that began in
    the episode (or on the day on which it ended), ``no arrangement`` otherwise. While a deferral runs nothing falls due: compare
    at 180 days, not at 90. These are observed rates, not effects: see
    :func:`~collectlab.effects.relief.effect.relief_effect`.

    Parameters
    ----------
    book : Book
        With arrangements.
    horizons : sequence of int
        Whole days after the cure.
    period : (date, date), optional
        First and last day of day 0 of the episodes; None is the whole book.
    kinds : tuple of str
        Arrangements counted.
    definition : str
        What cured means.
    conf_level : float
        Level of the intervals.

    Returns
    -------
    CureRates
        As :func:`collectlab.measures.cure_after.redefault`, by ``relief``.

    Examples
    --------
    >>> from collectlab.book.open import open_book
    >>> from collectlab.book.simulate import simulate
    >>> book = open_book(simulate(accounts=1500, months=18, truth_accounts=0).book_tables)
    >>> result = redefault_after_relief(book, horizons=[180])
    >>> "no arrangement" in set(result.table["relief"])
    True
    """
    from collectlab.measures.cure_after import redefault

    agreed = plans(book, kinds)
    spells = book.episodes(definition=definition)
    spells, agreed = same_engine(spells, agreed)
    start = day_number("started_on")
    span = spells.select(
        "account_id", "episode", __account=nw.col("account_id"), __first=start,
        __last=start + nw.col("exit_day").cast(nw.Int64),
    )  # fmt: skip
    inside = (
        span.join(agreed, on="__account", how="inner")
        .filter((nw.col("__began") >= nw.col("__first")) & (nw.col("__began") <= nw.col("__last")))
        .unique(subset=["account_id", "episode"], keep="last", order_by=["__began", "__kind"])
        .select("account_id", "episode", relief=nw.col("__kind"))
    )
    spells = spells.drop([c for c in ("relief",) if c in spells.collect_schema().names()])
    spells = spells.join(inside, on=["account_id", "episode"], how="left")
    spells = spells.with_columns(relief=nw.col("relief").fill_null("no arrangement"))
    if period is not None:
        first, last = days_of(period)
        kept = (start >= first) & (start <= last)
        # The episode that follows has to stay, to be seen as a re-default; it is none of those counted.
        spells = spells.with_columns(
            outcome=nw.when(kept).then(nw.col("outcome")).otherwise(nw.lit("censored"))
        )
    days = as_list_of_days(horizons)
    found = redefault(
        engine.computed(spells),
        horizons=tuple(days),
        by="relief",
        conf_level=conf_level,
        cluster="customer_id",
    )
    return replace(
        found,
        title="Past due again, after relief and without it",
        estimand=f"Of the accounts that became current: past due again within {' and '.join(map(str, days))} days, by the "
        "relief they were given",
        formats={**found.formats, "at_risk": "count", "estimate": "Past due again"},
    )


def as_list_of_days(horizons: Sequence[int]) -> list[int]:
    """Horizons as a list, one number allowed."""
    return [horizons] if isinstance(horizons, int) else list(horizons)
