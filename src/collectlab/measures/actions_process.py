"""Legal cases, plans agreed, and the reasons of delinquency."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import narwhals as nw
import numpy as np
import pandas as pd

from collectlab.core import engine
from collectlab.core.columns import day_number, day_of, flag, row_count, whole_money
from collectlab.core.engine import same_engine
from collectlab.core.errors import NotAvailable
from collectlab.core.jackknife import INTERVAL
from collectlab.measures.actions_rows import Period, need_rows, rows, shown, within
from collectlab.measures.flows import UNIT
from collectlab.measures.groups import by_keys, group_codes
from collectlab.measures.ratios import Counts, Given, Measures, Ratio, count, given, measured

_NONE = dict.fromkeys(INTERVAL, np.nan)


def legal_cases(
    book: Any, *, by: str | Sequence[str] | None = None, period: Period = None, conf_level: float = 0.95
) -> Measures:
    """Legal cases: how many are decided, how long it takes, what they bring.

    Per group: ``cases, open``, and

    * ``median_days`` — days from filing until half the cases are decided (Kaplan–Meier, open cases
      censored at the end of the book);
    * ``success`` — share of the decided cases that recovered anything;
    * ``cost_per_1_recovered`` — cost of the decided cases / money they recovered.

    ``by`` may be ``result``, ``stage``, ``month`` (of filing) or a column of accounts; ``period`` is of filing.

    Parameters
    ----------
    book : Book
        With legal_cases.
    by, period
        See above.
    conf_level : float
        Level of the intervals.

    Examples
    --------
    >>> import pandas as pd
    >>> from collectlab.book.open import open_book
    >>> book = open_book({
    ...     "accounts": pd.DataFrame({"account_id": ["a", "b"]}),
    ...     "snapshots": pd.DataFrame({"account_id": ["a"], "as_of": ["2026-06-30"], "days_past_due": [95]}),
    ...     "legal_cases": pd.DataFrame({"account_id": ["a", "b"], "filed_on": ["2026-01-01", "2026-01-01"],
    ...         "decided_on": ["2026-03-02", "2026-03-02"], "cost": [500.0, 100.0], "recovered": [2000.0, 0.0]})})
    >>> legal_cases(book).wide().values.tolist()
    [[2.0, 0.0, 60.0, 0.5, 0.3]]
    """
    from collectlab.measures.survival import kaplan_meier

    frame, by = rows(book, "legal_cases", "filed_on", by, period)
    names = frame.collect_schema().names()
    last = day_of(book.as_of)
    end = day_number("decided_on") if "decided_on" in names else nw.lit(None, nw.Int64)
    frame = frame.with_columns(__end=nw.when(end <= last).then(end)).with_columns(
        __days=nw.coalesce(nw.col("__end"), nw.lit(last).cast(nw.Int64)) - nw.col("__on"),
        __outcome=nw.when(nw.col("__end").is_null()).then(nw.lit("censored")).otherwise(nw.lit("decided")),
        __cost=(whole_money("cost", UNIT) if "cost" in names else nw.lit(None, nw.Int64)),
        __back=(whole_money("recovered", UNIT) if "recovered" in names else nw.lit(None, nw.Int64)),
    )
    decided = ~nw.col("__end").is_null()
    both = decided & ~nw.col("__cost").is_null() & ~nw.col("__back").is_null()
    inner = by_keys(by, "__by")
    counts = count(
        frame,
        inner,
        {
            "cases": nw.lit(1),
            "decided": flag(decided),
            "known": flag(decided & ~nw.col("__back").is_null()),
            "won": flag(decided & (nw.col("__back") > 0)),
            "cost": nw.when(both).then(nw.col("__cost")),
            "back": nw.when(both).then(nw.col("__back")),
        },
    )
    need_rows(counts, "cases", "legal cases")
    cases = engine.collect(frame.select(*inner, "__days", "__outcome"))

    def median_days(part: pd.DataFrame) -> dict[str, float]:
        if not (part["__outcome"] == "decided").any():
            return _NONE
        curve = kaplan_meier(
            part, duration="__days", outcome="__outcome", event=("decided",), conf_level=conf_level
        )
        return curve.quantiles(0.5).table.iloc[0][list(INTERVAL)].to_dict()

    found: dict[str, Ratio | Given] = {
        "median_days": given([median_days(part) for part in _by_group(cases, counts)], "days")
    }
    if "recovered" in names:
        found["success"] = Ratio(counts["won"], counts["known"])
    if {"cost", "recovered"} <= set(names):
        found["cost_per_1_recovered"] = Ratio(counts["cost"], counts["back"], "ratio", "ratio")
    total = counts.total("cases")
    return measured(
        shown(counts, by), by, found, {"cases": total, "open": total - counts.total("decided")}, conf_level,
        estimand="Days from filing to decision; share of decided cases that recovered anything; cost per unit recovered",
        title="Legal cases",
        notes=("Open cases count in the days (as censored), not in success or cost.",),
    )  # fmt: skip


def _by_group(rows: pd.DataFrame, counts: Counts) -> list[pd.DataFrame]:
    """Durations that are none (an end before the begin) left out, the rows of each group in turn."""
    code = group_codes(rows, counts.groups, list(counts.groups.columns))
    kept = rows["__days"] >= 0
    return [rows.loc[kept & (code == g), ["__days", "__outcome"]] for g in range(len(counts.groups))]


def arrangements(
    book: Any,
    *,
    by: str | Sequence[str] | None = "kind",
    period: Period = None,
    horizon: int = 90,
    conf_level: float = 0.95,
) -> Measures:
    """Plans agreed with debtors: how many, kept and broken, and the share broken within ``horizon`` days.

    Per group: ``agreed, active``, ``kept`` (share of the plans that ended, kept rather than broken), and
    ``broken_within_…_days`` (Aalen–Johansen from the start, plans kept competing, running ones censored at
    the end of the book). ``period`` is of the start.

    Parameters
    ----------
    book : Book
        With arrangements.
    by : str or list of str, optional
        ``kind``, ``reason``, ``month`` (of the start) or a column of accounts.
    period : (date, date), optional
        First and last day of the start; None is the whole book.
    horizon : int
        Whole days after the start.
    conf_level : float
        Level of the intervals.

    Examples
    --------
    >>> import pandas as pd
    >>> from collectlab.book.open import open_book
    >>> book = open_book({
    ...     "accounts": pd.DataFrame({"account_id": ["a", "b"]}),
    ...     "snapshots": pd.DataFrame({"account_id": ["a"], "as_of": ["2026-06-30"], "days_past_due": [95]}),
    ...     "arrangements": pd.DataFrame({"account_id": ["a", "b"], "kind": ["payment_plan"] * 2,
    ...         "started_on": ["2026-01-01"] * 2, "ended_on": ["2026-02-01", "2026-05-01"],
    ...         "status": ["broken", "kept"]})})
    >>> arrangements(book).wide().values.tolist()
    [['payment_plan', 2, 0, 0.5, 0.5]]
    """
    from collectlab.measures.survival import cumulative_incidence

    frame, by = rows(book, "arrangements", "started_on", by, period)
    names = frame.collect_schema().names()
    last = day_of(book.as_of)
    status = nw.col("status").fill_null("active") if "status" in names else nw.lit("active")
    end = day_number("ended_on") if "ended_on" in names else nw.lit(None, nw.Int64)
    over = status.is_in(["kept", "broken"]) & (end <= last).fill_null(False)
    day = nw.min_horizontal(nw.coalesce(end, nw.lit(last).cast(nw.Int64)), nw.lit(last).cast(nw.Int64))
    frame = frame.with_columns(
        __outcome=nw.when(over).then(status).otherwise(nw.lit("censored")),
        __days=day - nw.col("__on"),
        __status=status,
    )
    inner = by_keys(by, "__by")
    ended = nw.col("__status").is_in(["kept", "broken"])
    counts = count(
        frame,
        inner,
        {"agreed": nw.lit(1), "ended": flag(ended), "kept": flag(nw.col("__status") == "kept")},
    )
    need_rows(counts, "agreed", "arrangements")
    plans = engine.collect(frame.select(*inner, "__days", "__outcome"))

    def share_broken(part: pd.DataFrame) -> dict[str, float]:
        if not (part["__outcome"] != "censored").any():
            return _NONE
        curve = cumulative_incidence(part, duration="__days", outcome="__outcome", conf_level=conf_level).at(
            horizon, beyond="nan"
        )
        found = curve[curve["outcome"] == "broken"]
        return found.iloc[0][list(INTERVAL)].to_dict() if len(found) else {**_NONE, "estimate": 0.0}

    agreed = counts.total("agreed")
    return measured(
        shown(counts, by), by,
        {
            "kept": Ratio(counts["kept"], counts["ended"]),
            f"broken_within_{horizon}_days": given([share_broken(p) for p in _by_group(plans, counts)]),
        },
        {"agreed": agreed, "active": agreed - counts.total("ended")},
        conf_level,
        estimand=f"Share of ended plans that were kept; share broken within {horizon} days of the start",
        title="Plans agreed",
    )  # fmt: skip


def reasons(
    book: Any,
    *,
    definition: str = "current_once",
    horizon: int = 90,
    period: Period = None,
    conf_level: float = 0.95,
) -> Measures:
    """Why accounts fell overdue, and how many cured within ``horizon`` days of the reason being noted.

    One row per reason: its ``share`` among the episodes with a reason noted (the first one in the episode;
    of several on a day the first by name), and ``cured_within_…_days`` of the note (Aalen–Johansen, other
    endings competing). The clock starts at the note because reasons are learnt from those who stay overdue
    long enough to be asked. ``period`` is that of the episodes' first day.

    Parameters
    ----------
    book : Book
        With reasons.
    definition : str
        The named definition of cure.
    horizon : int
        Whole days after the note.
    period : (date, date), optional
        First and last day of day 0; None is the whole book.
    conf_level : float
        Level of the intervals.

    Examples
    --------
    >>> import pandas as pd
    >>> from collectlab.book.open import open_book
    >>> book = open_book({
    ...     "accounts": pd.DataFrame({"account_id": ["a"]}),
    ...     "snapshots": pd.DataFrame({"account_id": ["a"] * 3, "days_past_due": [0, 11, 0],
    ...                                "as_of": ["2025-12-31", "2026-01-31", "2026-02-28"]}),
    ...     "reasons": pd.DataFrame({"account_id": ["a"], "noted_on": ["2026-01-25"], "reason": ["forgot"]})})
    >>> reasons(book).wide().values.tolist()
    [['forgot', 1, 1.0, 1.0]]
    """
    from collectlab.measures.cure import cure_rate

    noted, _ = rows(book, "reasons", "noted_on", None, None)
    episodes = book.episodes(definition=definition).select(
        "outcome", __account=nw.col("account_id"), __start=day_number("started_on"),
        __exit=nw.col("exit_day").cast(nw.Int64), __entry=nw.col("entry_day").cast(nw.Int64),
    )  # fmt: skip
    episodes = engine.computed(within(episodes, "__start", period))
    episodes, noted = same_engine(episodes, noted.select("__account", "__on", "__rep", "reason"))
    first = (
        episodes.join(noted, on="__account", how="inner")
        .with_columns(__day=nw.col("__on") - nw.col("__start"))
        .filter((nw.col("__day") >= nw.col("__entry")) & (nw.col("__day") < nw.col("__exit")))
        .unique(subset=["__account", "__start"], keep="first", order_by=["__on", "reason"])
        .with_columns(__left=nw.col("__exit") - nw.col("__day"))
    )
    counts = count(first, ["reason"], {"episodes": nw.lit(1)})
    if not len(counts.groups) or not counts["episodes"].sum():
        raise NotAvailable("no episode of this book or period has a reason noted.")
    everything = np.broadcast_to(counts["episodes"].sum(axis=1, keepdims=True), counts["episodes"].shape)
    cured = cure_rate(
        first.select("reason", "outcome", "__left"), horizons=(horizon,), by="reason", duration="__left",
        entry=None, conf_level=conf_level,
    ).table  # fmt: skip
    cured = counts.groups.merge(cured, on="reason", how="left")
    total = engine.collect(episodes.select(n=row_count()))["n"].iloc[0]
    return measured(
        counts.groups, ["reason"],
        {
            "share": Ratio(counts["episodes"], everything),
            f"cured_within_{horizon}_days": Given([cured[name].to_numpy() for name in INTERVAL]),
        },
        {"episodes": counts.total("episodes")},
        conf_level,
        estimand=f"Share of episodes with each reason; P(cured within {horizon} days of the note), other endings competing",
        title="Reasons of delinquency",
        notes=(
            f"A reason was noted in {int(counts['episodes'].sum()):,} of {int(total):,} episodes, more often in "
            "long ones: quick cures are never asked.",
        ),
    )  # fmt: skip
