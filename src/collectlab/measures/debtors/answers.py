"""Whether refusals, disputes and hardship claims become more frequent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import narwhals as nw
import numpy as np
import pandas as pd

from collectlab.core.columns import flag, month_text
from collectlab.core.errors import FrameError, NotAvailable
from collectlab.core.jackknife import INTERVAL, jackknife
from collectlab.core.results import Result
from collectlab.measures.actions_reactions import REACTIONS
from collectlab.measures.actions_rows import Period, need_column, rows
from collectlab.measures.costs_touch import contact_made
from collectlab.measures.ratios import count

LEAST_MONTHS = 4
PER = 1000


def reaction_change(
    book: Any,
    *,
    outcomes: Sequence[str] = ("refusal", "dispute", "hardship"),
    period: Period = None,
    conf_level: float = 0.95,
) -> Result:
    """Refusals, disputes and hardship claims per 1,000 contacts: the second half of the months against the first.

    Contacts are actions with a known outcome that reached somebody. Per outcome: the rate of the first half of the
    months, that of the second, and their ratio (``estimate``, interval on the log scale, by the jackknife over customers),
    its p-value, and ``trend``: the change per month of the rate (weighted least squares on the monthly rates, weights
    the contacts) with its own interval and p-value. ``clear`` where Holm's test over all outcomes says that the halves
    differ. With an odd number of months the middle one is in the second half.

    :func:`collectlab.measures.actions.reactions` shows the months themselves.

    Parameters
    ----------
    book : Book
        With actions that tell their outcome.
    outcomes : sequence of str
        Outcomes looked at.
    period : (date, date), optional
        First and last day of the actions; None is the whole book.
    conf_level : float
        Level of the intervals; 1 − it is the level of the test.

    Returns
    -------
    Result
        outcome, contacts, n, first_half, second_half, estimate, std_error, conf_low, conf_high, p_value, clear,
        trend, trend_low, trend_high, trend_p.

    Raises
    ------
    NotAvailable
        Fewer than four months with contacts, or no outcomes.
    FrameError
        An unknown outcome.

    Examples
    --------
    >>> import pandas as pd
    >>> from collectlab.book.open import open_book
    >>> book = open_book({
    ...     "accounts": pd.DataFrame({"account_id": ["a", "b", "c", "d"]}),
    ...     "snapshots": pd.DataFrame({"account_id": ["a"], "as_of": ["2026-04-30"], "days_past_due": [5]}),
    ...     "actions": pd.DataFrame({"account_id": list("abcd") * 4, "channel": "call",
    ...         "at": [f"2026-0{m}-10 10:00" for m in (1, 2, 3, 4) for _ in "abcd"],
    ...         "outcome": ["refusal", "contact", "contact", "contact"] * 2 + ["refusal", "refusal", "contact", "contact"] * 2})})
    >>> reaction_change(book, outcomes=["refusal"]).table[["first_half", "second_half", "estimate"]].values.tolist()
    [[250.0, 500.0, 2.0]]
    """
    if odd := [o for o in outcomes if o not in REACTIONS]:
        raise FrameError(f"outcomes holds {', '.join(map(repr, odd))}. Allowed: {', '.join(REACTIONS)}.")
    frame, _ = rows(book, "actions", "at", ["month"], period)
    need_column(frame, "actions", "outcome")
    told = frame.filter(~nw.col("outcome").is_null())
    told = told.filter(contact_made(told.collect_schema().names()))
    counts = count(
        told, ["__by0"], {"contacts": nw.lit(1), **{o: flag(nw.col("outcome") == o) for o in outcomes}}
    )
    months = counts.groups["__by0"].to_numpy(float) if len(counts.groups) else np.zeros(0)
    if len(months) < LEAST_MONTHS:
        raise NotAvailable(f"contacts fall in {len(months)} months; a change over time needs {LEAST_MONTHS}.")
    late = np.arange(len(months)) >= len(months) // 2
    found = []
    for outcome in outcomes:
        by_group = np.stack([counts["contacts"], counts[outcome]], axis=1)  # R × 2 × months
        total = by_group.sum(axis=0)
        if not total[1].sum():
            continue
        halves = [PER * total[1][side].sum() / total[0][side].sum() for side in (~late, late)]
        ratio = [float(v) for v in jackknife(total, by_group, lambda s: _ratio(s, late), conf_level, "log")]
        slope = [float(v) for v in jackknife(total, by_group, lambda s: _slope(s, months), conf_level)]
        used = int((by_group != 0).any(axis=(1, 2)).sum())
        row = dict(zip(INTERVAL, ratio))
        with np.errstate(divide="ignore", invalid="ignore"):
            z = np.log(ratio[0]) / (ratio[1] / ratio[0]) if ratio[0] > 0 else np.nan
            found.append(
                {
                    "outcome": outcome,
                    "contacts": int(total[0].sum()),
                    "n": int(total[1].sum()),
                    "first_half": halves[0],
                    "second_half": halves[1],
                    **row,
                    "p_value": _p(z, used),
                    "trend": slope[0],
                    "trend_low": slope[2],
                    "trend_high": slope[3],
                    "trend_p": _p(np.divide(slope[0], slope[1]), used),
                }
            )
    if not found:
        raise NotAvailable("none of these outcomes was ever noted in this book or period.")
    table = pd.DataFrame(found)
    table.insert(
        table.columns.get_loc("p_value") + 1, "clear", _holm(table["p_value"].to_numpy()) <= 1 - conf_level
    )
    first, middle, last = (month_text(m) for m in (months[0], months[late][0], months[-1]))
    clear = table.loc[table["clear"]]
    said = [
        f"{row.outcome.capitalize()}s per 1,000 contacts went from {row.first_half:.0f} to {row.second_half:.0f}."
        for row in clear.itertuples()
    ] or ["None of them changed by more than chance would bring."]
    return Result(
        table=table,
        estimand=f"Answers per 1,000 contacts: the second half ({middle} to {last}) over the first (from {first})",
        unit="ratio",
        title="Refusals, disputes and hardship claims: the second half of the months against the first",
        notes=(*said, "“Clear” holds for all outcomes at once (Holm). Trend: change of the rate per month."),
        formats={
            "contacts": "count", "n": "count", "estimate": "Second over first", "trend_p": "hidden", "trend_low": "hidden",
            "trend_high": "hidden", **dict.fromkeys(("first_half", "second_half", "trend"), "number"),
        },
        conf_level=conf_level,
    )  # fmt: skip


def _ratio(sums: np.ndarray, late: np.ndarray) -> float:
    contacts, events = sums
    return (events[late].sum() / contacts[late].sum()) / (events[~late].sum() / contacts[~late].sum())


def _slope(sums: np.ndarray, months: np.ndarray) -> float:
    contacts, events = sums
    centred = months - (contacts * months).sum() / contacts.sum()
    return PER * float((centred * events).sum() / (contacts * centred**2).sum())


def _p(z: float, groups: int) -> float:
    from scipy import stats

    return float(2 * stats.t.sf(abs(z), groups - 1)) if np.isfinite(z) and groups > 1 else float("nan")


def _holm(p: np.ndarray) -> np.ndarray:
    """Holm's (1979) adjusted p-values; a missing one stays missing and counts in the number of tests."""
    order = np.argsort(np.where(np.isnan(p), np.inf, p))
    stepped = np.maximum.accumulate(np.minimum(1, p[order] * (len(p) - np.arange(len(p)))))
    out = np.empty(len(p))
    out[order] = stepped
    return out
