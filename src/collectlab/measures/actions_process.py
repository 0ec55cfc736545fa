"""Legal cases, plans agreed, and the reasons of delinquency."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import narwhals as nw
import numpy as np
import pandas as pd

from collectlab.core import engine
from collectlab.core.errors import NotAvailable
from collectlab.measures.actions_rows import Period, inner, need_rows, number, rows, shown
from collectlab.measures.flows import day_number, fixed, same_engine
from collectlab.measures.ratios import INTERVAL, Measures, Ratio, count, flag, measured


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
    last = number(book.as_of)
    end = day_number("decided_on") if "decided_on" in names else nw.lit(None, nw.Int64)
    frame = frame.with_columns(__end=nw.when(end <= last).then(end)).with_columns(
        __days=nw.coalesce(nw.col("__end"), nw.lit(last).cast(nw.Int64)) - nw.col("__on"),
        __outcome=nw.when(nw.col("__end").is_null()).then(nw.lit("censored")).otherwise(nw.lit("decided")),
        __cost=(fixed("cost") if "cost" in names else nw.lit(None, nw.Int64)),
        __back=(fixed("recovered") if "recovered" in names else nw.lit(None, nw.Int64)),
    )
    decided = ~nw.col("__end").is_null()
    both = decided & ~nw.col("__cost").is_null() & ~nw.col("__back").is_null()
    keys = inner(by)
    counts = count(
        frame,
        keys,
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
    groups = shown(counts, by)
    ratios = {}
    if "recovered" in names:
        ratios["success"] = Ratio(counts["won"], counts["known"])
    if {"cost", "recovered"} <= set(names):
        ratios["cost_per_1_recovered"] = Ratio(counts["cost"], counts["back"], "ratio", "ratio")
    sizes = {"cases": counts.total("cases"), "open": counts.total("cases") - counts.total("decided")}
    table, shown_by = measured(groups, by, ratios, sizes, conf_level)
    cases = engine.collect(frame.select(*keys, "__days", "__outcome"))
    durations = []
    for g in range(len(counts.groups)):
        part = cases
        for key in keys:
            value = counts.groups[key].iloc[g]
            part = part[part[key].isna()] if pd.isna(value) else part[part[key] == value]
        part = part[part["__days"] >= 0]
        found = dict.fromkeys(INTERVAL, np.nan)
        if (part["__outcome"] == "decided").any():
            curve = kaplan_meier(
                part[["__days", "__outcome"]],
                duration="__days",
                outcome="__outcome",
                event=("decided",),
                conf_level=conf_level,
            )
            found = curve.quantiles(0.5).table[list(INTERVAL)].iloc[0].to_dict()
        durations.append(
            {
                **(groups.iloc[g].to_dict() if by else {}),
                "measure": "median_days",
                **{n: v[g] for n, v in sizes.items()},
                **found,
                "unit": "days",
            }
        )
    extra = pd.DataFrame(durations).rename(columns=dict(zip(by, shown_by)))
    return Measures(
        table=_in_group_order(pd.concat([extra, table], ignore_index=True), len(groups)),
        estimand="Days from filing to decision; share of decided cases that recovered anything; cost per unit recovered",
        title="Legal cases",
        notes=("Open cases count in the days (as censored), not in success or cost.",),
        formats={"cases": "count", "open": "count"},
        conf_level=conf_level,
        by=shown_by,
    )


def _in_group_order(table: pd.DataFrame, groups: int) -> pd.DataFrame:
    """First the rows of one measure for all groups, then …: sorted to group by group, measures in order."""
    position = []
    first, rest = range(groups), range(groups, len(table))
    width = len(rest) // groups if groups else 0
    for g in first:
        position += [g, *(groups + g * width + k for k in range(width))]
    return table.iloc[position].reset_index(drop=True)


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
    last = number(book.as_of)
    status = nw.col("status").fill_null("active") if "status" in names else nw.lit("active")
    end = day_number("ended_on") if "ended_on" in names else nw.lit(None, nw.Int64)
    over = status.is_in(["kept", "broken"]) & (end <= last).fill_null(False)
    day = nw.min_horizontal(nw.coalesce(end, nw.lit(last).cast(nw.Int64)), nw.lit(last).cast(nw.Int64))
    frame = frame.with_columns(
        __outcome=nw.when(over).then(status).otherwise(nw.lit("censored")),
        __days=day - nw.col("__on"),
        __status=status,
    )
    keys = inner(by)
    ended = nw.col("__status").is_in(["kept", "broken"])
    counts = count(
        frame,
        keys,
        {"agreed": nw.lit(1), "ended": flag(ended), "kept": flag(nw.col("__status") == "kept")},
    )
    need_rows(counts, "agreed", "arrangements")
    groups = shown(counts, by)
    sizes = {"agreed": counts.total("agreed"), "active": counts.total("agreed") - counts.total("ended")}
    table, shown_by = measured(
        groups, by, {"kept": Ratio(counts["kept"], counts["ended"])}, sizes, conf_level
    )
    plans = engine.collect(frame.select(*keys, "__days", "__outcome"))
    parts = []
    for g in range(len(groups)):
        part = plans
        for key in keys:
            value = counts.groups[key].iloc[g]
            part = part[part[key].isna()] if pd.isna(value) else part[part[key] == value]
        part = part[part["__days"] >= 0]
        found = dict.fromkeys(INTERVAL, np.nan)
        if (part["__outcome"] != "censored").any():
            curve = cumulative_incidence(
                part[["__days", "__outcome"]], duration="__days", outcome="__outcome", conf_level=conf_level
            ).at(horizon, beyond="nan")
            broken = curve[curve["outcome"] == "broken"]
            found = broken[list(INTERVAL)].iloc[0].to_dict() if len(broken) else {**found, "estimate": 0.0}
        name = f"broken_within_{horizon}_days"
        parts.append(
            {
                **(groups.iloc[g].to_dict() if by else {}), "measure": name,
                **{n: v[g] for n, v in sizes.items()}, **found, "unit": "share",
            }
        )  # fmt: skip
    extra = pd.DataFrame(parts).rename(columns=dict(zip(by, shown_by)))
    return Measures(
        table=_in_group_order(pd.concat([table, extra], ignore_index=True), len(groups)),
        estimand=f"Share of ended plans that were kept; share broken within {horizon} days of the start",
        title="Plans agreed",
        formats={"agreed": "count", "active": "count"},
        conf_level=conf_level,
        by=shown_by,
    )


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
    if period is not None:
        from collectlab.measures.actions_rows import within

        episodes = within(episodes, "__start", period)
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
    sizes = {"episodes": counts.total("episodes")}
    table, names = measured(
        counts.groups, ["reason"], {"share": Ratio(counts["episodes"], everything)}, sizes, conf_level
    )
    name = f"cured_within_{horizon}_days"
    cured = cure_rate(
        first.select("reason", "outcome", "__left"), horizons=(horizon,), by="reason", duration="__left",
        entry=None, conf_level=conf_level,
    ).table  # fmt: skip
    cured = counts.groups.merge(cured, on="reason", how="left")
    extra = cured[["reason", *INTERVAL]].assign(measure=name, unit="share", episodes=sizes["episodes"])
    total = engine.collect(episodes.select(n=nw.len()))["n"].iloc[0]
    noted_in = int(counts["episodes"].sum())
    return Measures(
        table=_in_group_order(
            pd.concat([table, extra[table.columns]], ignore_index=True), len(counts.groups)
        ),
        estimand=f"Share of episodes with each reason; P(cured within {horizon} days of the note), other endings competing",
        title="Reasons of delinquency",
        notes=(
            f"A reason was noted in {noted_in:,} of {int(total):,} episodes, more often in long ones: quick cures are never asked.",
        ),
        formats={"episodes": "count"},
        conf_level=conf_level,
        by=names,
    )
