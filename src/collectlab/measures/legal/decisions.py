"""What legal cases lead to: how soon they are decided, how often won, and what they bring for what they cost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from collectlab.core.errors import FrameError
from collectlab.core.jackknife import GROUPS, INTERVAL, check_level, sums_at
from collectlab.measures.actions_rows import Period, shown
from collectlab.measures.groups import by_keys, distinct_groups, group_codes
from collectlab.measures.legal.cases import read_cases
from collectlab.measures.ratios import Counts, Given, Measures, Ratio, given, measured

_NONE = dict.fromkeys(INTERVAL, np.nan)


def decisions(
    book: Any,
    *,
    by: str | Sequence[str] | None = None,
    days: Sequence[int] = (90, 180, 365),
    won: Sequence[str] | None = None,
    lost: Sequence[str] | None = None,
    period: Period = None,
    conf_level: float = 0.95,
) -> Measures:
    r"""Time to a decision, success, and money for money, of legal cases.

    Sizes: ``cases``, and of the whole book ``open``, ``won``, ``lost``. Measures:

    * ``median_days`` — days from filing by which half the cases are decided (Kaplan–Meier);
    * ``won_within_…_days`` — P(decided and won by that day), other decisions competing (Aalen–Johansen). Open cases are
      censored at the end of the book, never dropped: among decided cases alone the quick ones are over-represented;
    * ``success`` — share won of the decided cases whose result is won or lost;
    * ``recovered_per_case, net_per_case`` — money, and money minus cost, per decided case;
    * ``cost_per_1_recovered`` — Σ cost / Σ recovered over decided cases;
    * ``cost_without_recovery`` — share of their cost that went into cases that brought nothing.

    Money counts over decided cases of which both cost and recovered are written down.

    Parameters
    ----------
    book : Book
        With legal_cases.
    by : str or list of str, optional
        ``amount_band`` (three bands of what was owed at filing), ``result``, ``month`` (of filing), or a column of
        accounts such as ``product``.
    days : sequence of int
        Whole days after filing.
    won, lost : sequence of str, optional
        The bank's own words of ``result``, besides the usual ones
        (:data:`~collectlab.measures.legal.cases.WON`, ``LOST``).
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
        Days that are none; a word both in ``won`` and ``lost``.
    NotAvailable
        There are no cases, or no such column.

    Examples
    --------
    >>> import pandas as pd
    >>> from collectlab.book.open import open_book
    >>> book = open_book({
    ...     "accounts": pd.DataFrame({"account_id": ["a", "b", "c"]}),
    ...     "snapshots": pd.DataFrame({"account_id": ["a"], "as_of": ["2026-06-30"], "days_past_due": [95]}),
    ...     "legal_cases": pd.DataFrame({"account_id": ["a", "b", "c"], "filed_on": ["2026-01-01"] * 3,
    ...         "decided_on": ["2026-03-02", "2026-04-01", None], "result": ["judgment", "withdrawn", None],
    ...         "cost": [500.0, 100.0, 100.0], "recovered": [2000.0, 0.0, None]})})
    >>> found = decisions(book, days=[90]).wide().round(3)
    >>> found[["cases", "open", "won_within_90_days", "success", "cost_per_1_recovered", "net_per_case"]].values.tolist()
    [[3.0, 1.0, 0.333, 0.5, 0.3, 700.0]]
    """
    check_level(conf_level)
    horizons = sorted(set(days))
    if not horizons or any(
        not isinstance(d, (int, np.integer)) or isinstance(d, bool) or d < 1 for d in horizons
    ):
        raise FrameError(f"days are {list(days)!r}. Allowed: whole days ≥ 1.")
    cases, by, notes = read_cases(book, by, period, won, lost)
    keys = by_keys(by, "__by")
    groups = distinct_groups(cases, keys)
    code = group_codes(cases, groups, keys)
    shape = (GROUPS, len(groups))
    where = cases["__rep"].to_numpy(int), code

    def sums(values: Any) -> np.ndarray:
        return sums_at(where, np.asarray(values, dtype=float), shape)

    decided = cases["decided"].to_numpy()
    ended = cases["ended"].to_numpy(object)
    cost, back = (cases[c].to_numpy(float, na_value=np.nan) for c in ("cost", "back"))
    both = decided & np.isfinite(cost) & np.isfinite(back)
    spent, got = np.where(both, cost, 0) / 100, np.where(both, back, 0) / 100
    clear = sums(np.isin(ended, ["won", "lost"]))
    counted = sums(both)
    parts = [cases[code == g] for g in range(len(groups))]
    found: dict[str, Ratio | Given] = {
        "median_days": given([_median_days(part, conf_level) for part in parts], "days")
    }
    wins = [_wins(part, horizons, conf_level) for part in parts]
    found |= {f"won_within_{h}_days": given([w[h] for w in wins]) for h in horizons}
    if clear.any():
        found["success"] = Ratio(sums(ended == "won"), clear)
    if both.any():
        found["recovered_per_case"] = Ratio(sums(got), counted, "mean", "money")
        found["net_per_case"] = Ratio(sums(got - spent), counted, "mean", "money")
        found["cost_per_1_recovered"] = Ratio(sums(spent), sums(got), "ratio", "ratio")
        found["cost_without_recovery"] = Ratio(sums(np.where(got > 0, 0, spent)), sums(spent), "part")
    sizes = {"cases": sums(np.ones(len(cases))).sum(axis=0)}
    if not by:  # by groups these would be handfuls of people
        sizes |= {"open": sums(~decided).sum(axis=0)}
        sizes |= {word: sums(ended == word).sum(axis=0) for word in ("won", "lost")}
    notes.append("Open cases count in the days and in won within (as censored), not in success or money.")
    return measured(
        shown(Counts(groups, {}), by), by, found,
        sizes,
        conf_level,
        estimand="Days from filing to decision; share of the cases won by so many days after filing; of the decided cases: won, "
        "and the money they brought and cost",
        title="What legal cases lead to",
        shown=("success",),
        notes=tuple(notes),
    )  # fmt: skip


def _median_days(part: pd.DataFrame, conf_level: float) -> dict[str, float]:
    from collectlab.measures.survival import kaplan_meier

    if not part["decided"].any():
        return _NONE
    rows = pd.DataFrame({"days": part["days"], "outcome": np.where(part["decided"], "decided", "censored")})
    curve = kaplan_meier(rows, duration="days", outcome="outcome", event=("decided",), conf_level=conf_level)
    return curve.quantiles(0.5).table.iloc[0][list(INTERVAL)].to_dict()


def _wins(part: pd.DataFrame, days: Sequence[int], conf_level: float) -> dict[int, dict[str, float]]:
    """P(won by each day); missing beyond the follow-up. Where nothing was won and all are known, 0."""
    from collectlab.measures.survival import cumulative_incidence

    if not part["decided"].any():
        return dict.fromkeys(days, _NONE)
    curve = cumulative_incidence(
        part[["days", "ended"]], duration="days", outcome="ended", conf_level=conf_level
    ).at(list(days), beyond="nan")  # fmt: skip
    mine = curve[curve["outcome"] == "won"].set_index("day")
    if mine.empty:
        last = part["days"].max()
        return {d: {**_NONE, "estimate": 0.0} if d <= last else _NONE for d in days}
    return {d: mine.loc[d, list(INTERVAL)].to_dict() for d in days}
