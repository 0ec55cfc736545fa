"""Where the legal cases stand: the bank's own words, in the usual order of a case."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import narwhals as nw
import numpy as np
import pandas as pd

from collectlab.core import engine
from collectlab.core.columns import row_count
from collectlab.core.errors import first_few
from collectlab.core.jackknife import GROUPS, INTERVAL, check_level, sums_at
from collectlab.measures.actions_rows import Period
from collectlab.measures.legal.cases import STEPS, read_cases, step_words
from collectlab.measures.ratios import Measures, Ratio, given, measured


def stages(
    book: Any,
    *,
    names: Mapping[str, str] | None = None,
    period: Period = None,
    conf_level: float = 0.95,
) -> Measures:
    """Legal cases by the stage they stand at: how many, how long open, what they cost and brought so far.

    One row per ``stage`` in the bank's own words, in the usual order of a case (``step``: lawyer's letter, suit,
    hearing, judgment, enforcement, auction, closed); words that are none of the usual ones come last and are named.
    Sizes: ``cases``, ``open`` (no decision by the end of the book), ``cost`` and ``recovered`` (money, so far).
    Measures:

    * ``share`` — of all cases;
    * ``open_days`` — median days since filing of the open ones (interval by order statistics);
    * ``cost_without_recovery`` — of the decided cases: share of the cost that went into those that brought nothing.

    A stage says where a case stands today. Days to a decision and success by stage would be conditioned on what came
    later: see :func:`~collectlab.measures.legal.decisions.decisions`.

    Parameters
    ----------
    book : Book
        With legal_cases.
    names : mapping, optional
        The bank's own words: word → one of letter, suit, hearing, judgment, enforcement, auction, closed.
    period : (date, date), optional
        First and last day of filing; None is the whole book.
    conf_level : float
        Level of the intervals.

    Returns
    -------
    Measures

    Raises
    ------
    FrameError
        ``names`` leads to a step that is none.
    NotAvailable
        There are no cases.

    Examples
    --------
    >>> import pandas as pd
    >>> from collectlab.book.open import open_book
    >>> book = open_book({
    ...     "accounts": pd.DataFrame({"account_id": ["a", "b", "c"]}),
    ...     "snapshots": pd.DataFrame({"account_id": ["a"], "as_of": ["2026-06-30"], "days_past_due": [95]}),
    ...     "legal_cases": pd.DataFrame({"account_id": ["a", "b", "c"], "filed_on": ["2026-01-01"] * 3,
    ...         "stage": ["auction", "lawsuit", "lawsuit"], "decided_on": ["2026-03-02", None, None],
    ...         "cost": [500.0, 100.0, 100.0], "recovered": [2000.0, None, None]})})
    >>> stages(book).wide()[["stage", "cases", "open", "open_days", "cost_without_recovery"]].values.tolist()
    [['lawsuit', 2, 2, 180.0, nan], ['auction', 1, 0, nan, 0.0]]
    """
    check_level(conf_level)
    words = step_words(names)
    cases, _, notes = read_cases(book, None, period)
    stage = cases["stage"].fillna("(missing)")
    step = stage.str.strip().str.lower().map(words)
    order = {s: i for i, s in enumerate(STEPS)}
    cases = cases.assign(stage=stage, step=step.fillna("other"), __order=step.map(order).fillna(len(order)))
    groups = cases[["__order", "stage", "step"]].drop_duplicates().sort_values(["__order", "stage"])
    if odd := groups.loc[(groups["step"] == "other") & (groups["stage"] != "(missing)"), "stage"].tolist():
        notes.append(
            f"Not among the usual stages: {first_few(odd)}. They stand last; names= gives them a step."
        )
    labels = groups["stage"].tolist()
    place = cases["stage"].map({s: i for i, s in enumerate(labels)}).to_numpy(int)
    rep, shape = cases["__rep"].to_numpy(int), (GROUPS, len(labels))

    def sums(values: np.ndarray) -> np.ndarray:
        return sums_at((rep, place), values, shape)

    one = sums(np.ones(len(cases)))
    still = ~cases["decided"].to_numpy()
    cost, back = (cases[c].to_numpy(float, na_value=np.nan) for c in ("cost", "back"))
    spent, got = np.nan_to_num(cost), np.nan_to_num(back)
    whole = np.broadcast_to(one.sum(axis=1, keepdims=True), one.shape)
    found: dict[str, Any] = {
        "share": Ratio(one, whole),
        "open_days": given(
            [
                _median(cases.loc[still & (place == g), "days"].to_numpy(float), conf_level)
                for g in range(len(labels))
            ],
            "days",
        ),
    }
    if np.isfinite(cost).any():
        found["cost_without_recovery"] = Ratio(
            sums(np.where(still | (got > 0), 0, spent)), sums(np.where(still, 0, spent)), "part"
        )
    sizes = {"cases": one.sum(axis=0), "open": sums(still.astype(float)).sum(axis=0)}
    if np.isfinite(cost).any():
        sizes["cost"] = np.rint(sums(spent).sum(axis=0) / 100)
    if np.isfinite(back).any():
        sizes["recovered"] = np.rint(sums(got).sum(axis=0) / 100)
    notes.append("A stage says where a case stands at the end of the book; open cases may still bring money.")
    return measured(
        pd.DataFrame({"stage": labels, "step": groups["step"].tolist()}),
        ["stage", "step"],
        found,
        sizes,
        conf_level,
        estimand="Legal cases by stage: share of all cases, median days that the open ones have been open, and of the decided "
        "cases' cost the share spent on cases that brought nothing",
        title="Legal cases by stage",
        notes=(*notes, *_letters(book, cases, period)),
    )  # fmt: skip


def _letters(book: Any, cases: pd.DataFrame, period: Period) -> list[str]:
    """The legal actions in the log, such as lawyers' letters, which are no cases."""
    if not book.has("actions") or "channel" not in book.columns("actions"):
        return []
    log = book.table("actions").filter(nw.col("channel") == "legal")
    if period is not None:
        first, last = period
        log = log.filter((nw.col("at").cast(nw.Date) >= first) & (nw.col("at").cast(nw.Date) <= last))
    per = engine.collect(log.group_by("account_id").agg(n=row_count()))
    if per.empty:
        return []
    filed = int(per["account_id"].isin(set(cases["__account"])).sum())
    return [
        f"The action log holds {int(per['n'].sum()):,} legal actions, such as lawyers' letters, on {len(per):,} "
        f"accounts, {filed:,} of which have a case; they are not counted here."
    ]


def _median(values: np.ndarray, conf_level: float) -> dict[str, float]:
    """The median with the interval between two order statistics (binomial, at least ``conf_level``)."""
    from scipy.stats import binom

    x = np.sort(values[np.isfinite(values) & (values >= 0)])
    if not len(x):
        return dict.fromkeys(INTERVAL, np.nan)
    low = int(binom.ppf((1 - conf_level) / 2, len(x), 0.5))
    # Too few for any two of them to hold the median so often: no interval.
    ends = (x[low - 1], x[len(x) - low]) if low >= 1 else (np.nan, np.nan)
    return dict(zip(INTERVAL, (float(np.median(x)), np.nan, *map(float, ends))))
