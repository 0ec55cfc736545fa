"""Teams compared on the same mix of cases, so that who got the easy ones does not pass for performance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import narwhals as nw
import numpy as np
import pandas as pd

from collectlab.book.episodes import bucket_labels
from collectlab.core import engine
from collectlab.core.columns import day_of, flag, row_count, step_of, whole_sum
from collectlab.core.engine import same_engine
from collectlab.core.errors import FrameError, NotAvailable
from collectlab.core.jackknife import GROUPS, jackknife, shares, sums_at
from collectlab.measures.actions_rows import Period, rows, within
from collectlab.measures.flows import as_money, lay_on_days, spells_with_windows
from collectlab.measures.groups import groups_of
from collectlab.measures.ratios import Given, Measures, measured

_EPISODES, _CURED, _OWED, _BACK = range(4)


def team_comparison(
    book: Any,
    *,
    by: str = "team",
    channels: Sequence[str] = ("call", "visit", "agency"),
    horizon: int = 90,
    stages: Sequence[int] = (1, 30, 60, 90),
    bands: int = 3,
    definition: str = "current_once",
    period: Period = None,
    conf_level: float = 0.95,
) -> Measures:
    r"""Cure and recovery by team, as they are and directly standardised for the mix of cases.

    An episode belongs to the team of its first action through ``channels`` (only episodes watched from
    their first day); the clock starts at that action. Cases are split into strata: days since day 0 at that
    action (``stages``) × band of the amount overdue at entry (``bands`` equal parts of all cases). With
    p(team, s) the share cured in stratum s and w(s) the stratum's share of all cases of all teams,

    .. math:: \text{standardised} = \sum_s w_s \, p_{\text{team}, s} \Big/ \sum_s w_s

    over the strata in which the team has cases; ``covered`` is Σ w(s) there. Below one half no
    standardised figure is given, since it would compare other cases. For recovery, cases are weighted by
    amount. It is not causal: teams may still differ in cases alike on paper.

    Parameters
    ----------
    book : Book
        With accounts, snapshots and actions; recovery also needs payments.
    by : str
        ``team`` (falls back on the agency) or another column of actions or accounts.
    channels, horizon, stages, bands
        See above; ``horizon`` in whole days.
    definition : str
        The named definition of cure.
    period : (date, date), optional
        Of the first action.
    conf_level : float
        Level of the intervals.

    Returns
    -------
    Measures
        Per team ``episodes``, ``cured, cured_standardised, covered`` and, where there are payments,
        ``recovered, recovered_standardised``. Cases whose ``horizon`` reaches beyond the book are left out.

    Examples
    --------
    >>> from collectlab.book.simulate import simulate
    >>> from collectlab.book.open import open_book
    >>> book = open_book(simulate(accounts=400, months=12, truth_accounts=0).book_tables)
    >>> teams = team_comparison(book)
    >>> sorted(set(teams.table["measure"]))
    ['covered', 'cured', 'cured_standardised', 'recovered', 'recovered_standardised']
    """
    if not isinstance(by, str):
        raise FrameError(f"by is {by!r}. Allowed: one column.")
    if bands < 1 or horizon < 1:
        raise FrameError(f"bands is {bands}, horizon {horizon}. Allowed: whole numbers ≥ 1.")
    labels = bucket_labels(stages)
    acts, _ = rows(book, "actions", "at", by, None)
    acts = acts.filter(nw.col("channel").is_in(list(channels))).select(
        "__account", "__on", "__by0", __at=nw.col("at")
    )
    episodes = book.episodes(definition=definition)
    amount = "amount_at_entry"
    spells = spells_with_windows(episodes, by=[], amount=amount, cluster="customer_id", as_of=book.as_of)
    spells, acts = same_engine(spells, acts)
    last = day_of(book.as_of)
    first = (
        spells.filter(~nw.col("__late") & nw.col("__lasts"))
        .join(acts, on="__account", how="inner")
        .with_columns(__since=nw.col("__on") - nw.col("__start"))
        .filter((nw.col("__since") >= min(labels)) & (nw.col("__since") < nw.col("__exit")))
        .unique(subset=["__account", "__start"], keep="first", order_by=["__on", "__at", "__by0"])
    )
    first = within(first, "__on", period)
    young = nw.col("__on") > last - horizon
    lost = (nw.col("__outcome") == "censored") & (nw.col("__exit") < nw.col("__since") + horizon)
    judged = (nw.col("__outcome") == "cured") & (nw.col("__exit") <= nw.col("__since") + horizon)
    first = first.select(
        "__account", "__start", "__rep", "__by0", "__since", "__cap", "__owes", __stage=step_of("__since", labels),
        __why=nw.when(young).then(nw.lit(1)).when(lost).then(nw.lit(2)).otherwise(nw.lit(0)),
        __cured=flag(judged),
    )  # fmt: skip
    first = engine.computed(first)
    left_out = engine.collect(first.group_by("__why").agg(n=row_count())).set_index("__why")["n"]
    cases = first.filter(nw.col("__why") == 0)
    has_money = book.has("payments")
    if has_money:
        money = as_money(book.table("payments"), "paid_on", "amount")
        spells, money = same_engine(spells, money)
        laid = lay_on_days(spells, money, by=[], capped=True).select(
            "__account", "__start", "__day", "__counted"
        )
        joined = cases.select("__account", "__start", "__since").join(
            laid, on=["__account", "__start"], how="inner"
        )
        before = nw.when(nw.col("__day") < nw.col("__since")).then(nw.col("__counted")).otherwise(nw.lit(0))
        after = (nw.col("__day") >= nw.col("__since")) & (nw.col("__day") <= nw.col("__since") + horizon)
        back = nw.when(after).then(nw.col("__counted")).otherwise(nw.lit(0))
        paid = joined.group_by("__account", "__start").agg(__before=whole_sum(before), __back=whole_sum(back))
        cases = cases.join(paid, on=["__account", "__start"], how="left")
    else:
        cases = cases.with_columns(__before=nw.lit(0), __back=nw.lit(0))
    left = nw.col("__cap") - nw.col("__before").fill_null(0)
    owed = nw.when(nw.col("__owes")).then(left).otherwise(nw.lit(0))
    cases = cases.with_columns(__owed=owed, __back=nw.col("__back").fill_null(0))
    cells = engine.collect(
        cases.group_by("__by0", "__rep", "__stage", "__cap").agg(
            episodes=row_count(), cured=whole_sum("__cured"),
            owed=whole_sum("__owed"), back=whole_sum("__back"),
        )
    )  # fmt: skip
    if cells.empty:
        raise NotAvailable(f"no episode has a first action followed for {horizon} days.")
    counts, groups = _strata(cells, by, bands)
    found = _found(counts, has_money, conf_level)
    notes = ["Not causal: cases alike on paper may still differ between teams."]
    reasons = {
        1: f"had their first action less than {horizon} days before the end of the book",
        2: "vanished from the book",
    }
    notes += [
        f"{int(left_out[k]):,} cases left out: they {text}." for k, text in reasons.items() if k in left_out
    ]
    if any(found["covered"].values[0] < 1):
        notes.append("Covered: share of all cases that are of a kind the team has; standardised over those.")
    return measured(
        groups,
        [by],
        found,
        {"episodes": counts[..., _EPISODES].sum(axis=(0, 2))},
        conf_level,
        estimand=f"P(cured within {horizon} days of the team's first action), as it is and at the mix of cases of all teams",
        title=f"Cured within {horizon} days by team",
        shown=("cured", "cured_standardised"),
        notes=tuple(notes),
    )


def _strata(cells: pd.DataFrame, by: str, bands: int) -> tuple[np.ndarray, pd.DataFrame]:
    """Counts [replicate, team, stratum, what]; bands of equal numbers of cases by amount at entry."""
    amounts = cells.groupby("__cap", dropna=True)["episodes"].sum().sort_index()
    place = amounts.cumsum() - amounts
    band = dict(
        zip(amounts.index, np.minimum((place * bands / max(amounts.sum(), 1)).astype(int), bands - 1))
    )
    cells = cells.assign(band=cells["__cap"].map(band).fillna(-1).astype(int))
    groups, team = groups_of(cells.rename(columns={"__by0": "by0"}), [by])
    _, stratum = np.unique(cells[["__stage", "band"]].to_numpy(float), axis=0, return_inverse=True)
    where = (cells["__rep"].to_numpy(int), team, stratum.ravel())
    shape = (GROUPS, len(groups), stratum.max() + 1)
    counts = [sums_at(where, cells[c], shape) for c in ("episodes", "cured", "owed", "back")]
    return np.stack(counts, axis=-1), groups


def _standardised(counts: np.ndarray, top: int, bottom: int) -> np.ndarray:
    """Σ w p / Σ w over the strata where the team has cases; NaN where these are less than half of all."""
    weights = counts[..., bottom].sum(axis=0)
    there = counts[..., bottom] > 0
    rate = np.where(there, counts[..., top] / np.where(there, counts[..., bottom], 1), 0.0)
    covered = (there * weights).sum(axis=1)
    out = (rate * weights).sum(axis=1) / covered
    return np.where(covered >= 0.5 * weights.sum(), out, np.nan)


def _covered(counts: np.ndarray) -> np.ndarray:
    weights = counts[..., _EPISODES].sum(axis=0)
    return ((counts[..., _EPISODES] > 0) * weights).sum(axis=1) / weights.sum()


def _found(counts: np.ndarray, has_money: bool, conf_level: float) -> dict[str, Given]:
    total = counts.sum(axis=0)
    present = counts[..., _EPISODES].sum(axis=2) > 0

    def crude(top: int, bottom: int):
        return lambda c: c[..., top].sum(axis=1) / c[..., bottom].sum(axis=1)

    statistics = {
        "cured": crude(_CURED, _EPISODES),  # its interval is replaced below
        "cured_standardised": lambda c: _standardised(c, _CURED, _EPISODES),
    }
    if has_money:
        statistics["recovered"] = crude(_BACK, _OWED)
        statistics["recovered_standardised"] = lambda c: _standardised(c, _BACK, _OWED)
    # a standardised figure moves with the other teams' cases too, so every replicate group counts for it
    anyone = np.broadcast_to(present.any(axis=1, keepdims=True), present.shape)
    found = {}
    for name, statistic in statistics.items():
        here = anyone if name.endswith("standardised") else present
        found[name] = jackknife(total, counts, statistic, conf_level, "logit", here)
    cases = counts[..., _EPISODES].sum(axis=2)
    found["cured"] = shares(counts[..., _CURED].sum(axis=2), cases, cases.sum(axis=0), conf_level)
    nothing = np.full(len(total), np.nan)
    found["covered"] = (_covered(total), nothing, nothing, nothing)
    return {name: Given(values) for name, values in found.items()}
