"""The amount overdue above which one more treatment pays, and the least effect with which it would."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd

from collectlab.core.columns import as_list
from collectlab.core.engine import require, scan
from collectlab.core.errors import FrameError, first_few
from collectlab.core.jackknife import check_level
from collectlab.core.results import Result
from collectlab.core.tables import format_value
from collectlab.measures.worth.checks import is_above, with_numbers
from collectlab.measures.worth.incremental import fieller
from collectlab.measures.worth.probabilistic import in_order

_NUMBERS = (int, float, np.number, Decimal)
#: Columns that must not be below 0; a missing one counts as 0, a missing standard error as known for sure.
_COSTS = ("cost", "cost_std_error", "complaints", "complaints_std_error")


@dataclass(frozen=True, kw_only=True)
class BreakEven(Result):
    """Break-even amounts; one row per group of the effects.

    ``table``: the groups, ``cost`` (of one treated account, complaints included), ``effect, effect_low,
    effect_high``, ``amount`` and ``effect_needed`` (the least effect that pays at that amount), ``estimate, std_error,
    conf_low, conf_high`` (the break-even amount) and ``reading`` (one sentence).
    """


def break_even(
    effects: Any,
    cost: float | None = None,
    *,
    by: str | Sequence[str] = (),
    std_error: float | None = None,
    draws: Any = None,
    complaint_cost: float = 0.0,
    share: float = 1.0,
    amount: float | None = None,
    conf_level: float = 0.95,
) -> BreakEven:
    """The amount overdue from which on one more treatment brings back more than it costs.

    With e the effect of the treatment on the share of the amount overdue that comes back (or on the share cured,
    where ``share`` says what part of the amount a cure brings), C its cost per treated account, k the complaints it
    adds and p their price, it is worth e · share · A − C − k · p to an account that owes A, which is nothing at

        A* = (C + k · p) / (e · share).

    The interval is Fieller's (with the errors of effect, cost and complaints independent), or the quantiles of the
    same ratio over ``draws`` of the effect. Where the effect's own interval holds 0 there is no such amount: it has
    no upper end, and no number is given. The table then says in words below which amount the treatment does not pay
    even if its effect were at the upper end of its interval.

    Parameters
    ----------
    effects : frame or float
        One row per channel, band of days past due, …: ``estimate`` (a share: 0.03 is three points; missing where it
        is not known), ``std_error``, ``cost`` per treated account; where there: ``cost_std_error``, ``complaints``
        per treated account, ``complaints_std_error``, ``share``, ``amount`` (a typical amount overdue). Or one number.
    cost : float, optional
        Cost per treated account, where ``effects`` is a number or has no column of that name.
    by : str or list of str
        Columns that name the rows, such as channel and days past due; none: all other text columns.
    std_error : float, optional
        Of the effect, where it is one number.
    draws : array, optional
        Draws of the effect, one row for each row of ``effects``, in their order (of a path or a lazy frame, which have
        none: in that of its group columns). Used in place of ``std_error``.
    complaint_cost : float
        Price of one complaint.
    share : float
        Part of the amount overdue that a unit of the effect brings, above 0; a column of that name comes first.
    amount : float, optional
        A typical amount overdue, at which the least effect that pays is told; a column comes first.
    conf_level : float
        Level of the intervals.

    Returns
    -------
    BreakEven

    Raises
    ------
    FrameError
        Negative costs, a row without a cost, shares not above 0, effects outside −1 to 1, NaN or too few draws, draws
        that are not one row for each effect; all told at once.

    References
    ----------
    Fieller (1954), Journal of the Royal Statistical Society B 16(2), 175–185.

    Examples
    --------
    >>> found = break_even(0.05, 180.0, std_error=0.01, amount=2000.0)
    >>> found.table[["estimate", "conf_low", "conf_high", "effect_needed"]].round(2).values.tolist()
    [[3600.0, 2586.22, 5920.98, 0.09]]
    >>> print(break_even(0.02, 180.0, std_error=0.02).table["reading"][0])
    Cannot be told: the effect's interval holds 0. Below 3,041 it does not pay even at the upper end of that interval.
    """
    rows, names = _rows(effects, by, cost, std_error, share, amount)
    matrix = _draws(draws, len(rows))
    _refuse(rows, names, matrix, complaint_cost)
    check_level(conf_level)
    level = conf_level
    from scipy.stats import norm

    quantile = float(norm.ppf((1 + level) / 2))
    out = []
    for i, row in enumerate(rows.to_dict("records")):
        out.append(_one(row, None if matrix is None else matrix[i], complaint_cost, quantile, level))
    table = pd.concat([rows[names].reset_index(drop=True), pd.DataFrame(out)], axis=1)
    return BreakEven(
        table=table,
        estimand="Amount overdue above which one more treatment brings back more than it costs",
        unit="money",
        title="Break-even amount",
        formats=_FORMATS,
        conf_level=level,
    )


_FORMATS = {
    "estimate": "Pays above",
    "cost": "money2",
    "effect": "points",
    "effect_low": "hidden",
    "effect_high": "hidden",
    "effect_needed": "points",
}


def _rows(
    effects: Any,
    by: str | Sequence[str],
    cost: float | None,
    std_error: float | None,
    share: float,
    amount: float | None,
) -> tuple[pd.DataFrame, list[str]]:
    given = {"cost": cost, "std_error": std_error, "share": share, "amount": amount}
    faults = [
        f"{name} is {value!r}. Allowed: a number."
        for name, value in given.items()
        if value is not None and not isinstance(value, _NUMBERS)
    ]
    if isinstance(effects, bool | list | tuple | dict):
        faults.append(f"effects is {effects!r}. Allowed: a number, or a frame.")
    if faults:
        raise FrameError(faults)
    if isinstance(effects, _NUMBERS) or effects is None:
        effect = np.nan if effects is None else float(effects)
        rows = pd.DataFrame({"estimate": [effect]})
        if std_error is not None:
            rows["std_error"] = float(std_error)
        names: list[str] = []
    else:
        names = as_list(by)
        rows = in_order(effects)
        require(scan(rows), "estimate", *names)
        if rows.empty:
            raise FrameError("effects: no rows. Needed: one for each treatment.")
        known = {"estimate", "std_error", "share", "amount", *_COSTS}
        names = names or [
            c for c in rows.columns if c not in known and not pd.api.types.is_numeric_dtype(rows[c])
        ]
    for column, value in (("cost", cost), ("std_error", np.nan), ("share", share), ("amount", amount)):
        if column not in rows:
            rows[column] = np.nan if value is None else value
    for column in _COSTS[1:]:
        if column not in rows:
            rows[column] = 0.0
    numbers = ["estimate", "std_error", "share", "amount", *_COSTS]
    rows = with_numbers(rows, numbers, names[0] if names else "")
    rows[list(_COSTS[1:])] = rows[list(_COSTS[1:])].fillna(0.0)
    return rows, names


def _draws(draws: Any, rows: int) -> np.ndarray | None:
    if draws is None:
        return None
    try:
        matrix = np.atleast_2d(np.asarray(draws, dtype=float))
    except ValueError as error:
        raise FrameError(
            "draws: not equally many for each effect. Allowed: one row of as many draws each."
        ) from error
    if matrix.ndim != 2 or len(matrix) != rows or matrix.shape[1] < 100:
        raise FrameError(
            f"draws: {' × '.join(map(str, matrix.shape))} for {rows} effects. Allowed: one row for each effect, of "
            "at least 100 draws."
        )
    if bad := int((~np.isfinite(matrix)).sum()):
        raise FrameError(f"draws: {bad:,} of {matrix.size:,} are not finite. Allowed: numbers.")
    return matrix


def _refuse(rows: pd.DataFrame, names: list[str], draws: np.ndarray | None, complaint_cost: float) -> None:
    told = [" / ".join(map(str, key)) for key in rows[names].to_numpy()] if names else [""] * len(rows)
    where = [f" ({t})" if t else "" for t in told]
    faults = []

    def fault(bad: Any, says: str, allowed: str) -> None:
        listed = [w.strip(" ()") or "the effect" for w, b in zip(where, np.asarray(bad)) if b]
        if listed:
            faults.append(f"{says}: {first_few(listed)}. Allowed: {allowed}.")

    fault(rows["cost"].isna(), "no cost", "a cost per treated account for every row (0 if it is free)")
    for column in _COSTS:
        fault(rows[column] < 0, f"{column} below 0", "numbers ≥ 0")
        fault(np.isinf(rows[column]), f"{column} not finite", "numbers ≥ 0")
    fault(rows["std_error"] < 0, "std_error below 0", "numbers ≥ 0")
    fault(np.isinf(rows["std_error"]), "std_error not finite", "numbers ≥ 0, or missing")
    fault(np.isinf(rows["amount"]), "amount not finite", "money above 0, or missing")
    fault(~(rows["share"] > 0) | ~np.isfinite(rows["share"]), "share not above 0", "a share above 0")
    fault(rows["amount"] <= 0, "amount not above 0", "money above 0")
    fault(rows["estimate"].abs() > 1, "effect outside −1 to 1", "a difference of shares, such as 0.03")
    if not is_above(complaint_cost, equal=True):
        faults.append(f"complaint_cost is {complaint_cost!r}. Allowed: a number ≥ 0.")
    if faults:
        raise FrameError(faults)


def _one(
    row: dict[str, Any], draws: np.ndarray | None, price: float, quantile: float, level: float
) -> dict[str, Any]:
    cost = row["cost"] + row["complaints"] * price
    of_cost = float(np.hypot(row["cost_std_error"], row["complaints_std_error"] * price))
    effect, error = row["estimate"], row["std_error"]
    if draws is not None:
        effect, error = float(draws.mean()), float(draws.std(ddof=1))
        low, high = (float(v) for v in np.quantile(draws, [(1 - level) / 2, (1 + level) / 2]))
    else:
        low, high = effect - quantile * error, effect + quantile * error
    found = {
        "cost": cost,
        "effect": effect,
        "effect_low": low,
        "effect_high": high,
        "amount": row["amount"],
        "effect_needed": cost / (row["share"] * row["amount"]),
        "estimate": np.nan,
        "std_error": np.nan,
        "conf_low": np.nan,
        "conf_high": np.nan,
    }
    if low > 0 or (np.isnan(low) and effect > 0):
        per = row["share"]
        point = cost / (effect * per)
        found["estimate"] = point
        if np.isfinite(error):
            relative = of_cost / cost if cost > 0 else 0.0
            found["std_error"] = point * float(np.hypot(relative, error / effect))
            if draws is None:
                low, high = fieller(cost, effect * per, of_cost**2, 0.0, (error * per) ** 2, quantile)
                ends = max(low, 0.0), high
            else:
                ends = _quantiles(cost, of_cost, draws * per, level)
            found["conf_low"], found["conf_high"] = ends
    return {**found, "reading": _reading(found, row["share"])}


def _quantiles(cost: float, of_cost: float, effects: np.ndarray, level: float) -> tuple[float, float]:
    """Quantiles of the ratio over draws; where the effect is not above 0 no amount is high enough."""
    from scipy.stats import norm

    # The cost at evenly spread quantiles, in an order that has nothing to do with that of the effect's draws.
    steps = (np.arange(len(effects)) + 0.5) / len(effects)
    spent = cost + of_cost * norm.ppf(np.random.default_rng(len(effects)).permutation(steps))
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(effects > 0, np.maximum(spent, 0.0) / effects, np.inf)
    low, high = np.quantile(ratio, [(1 - level) / 2, (1 + level) / 2], method="inverted_cdf")
    return float(low), float(high)


def _reading(found: dict[str, Any], share: float) -> str:
    money = lambda value: format_value(value, "money")  # noqa: E731
    needed = ""
    if np.isfinite(found["effect_needed"]):
        points = format_value(found["effect_needed"], "points").lstrip("+")
        needed = f" To pay at {money(found['amount'])} it must raise the outcome by {points}."
    if np.isnan(found["effect"]):
        return f"Not known: there is no effect to go by.{needed}"
    if found["cost"] == 0:
        return "It costs nothing, so it pays at any amount unless it does harm."
    if found["effect_high"] <= 0 or (np.isnan(found["effect_high"]) and found["effect"] <= 0):
        return f"It brings nothing back, so no amount is high enough.{needed}"
    if np.isnan(found["estimate"]):
        least = found["cost"] / (share * found["effect_high"])
        return (
            f"Cannot be told: the effect's interval holds 0. Below {money(least)} it does not pay even at the upper "
            f"end of that interval.{needed}"
        )
    if np.isnan(found["conf_low"]):
        return f"Pays above {money(found['estimate'])}; how sure that is, is not known."
    end = money(found["conf_high"]) if np.isfinite(found["conf_high"]) else "no upper end"
    return f"Pays above {money(found['estimate'])} ({money(found['conf_low'])} to {end})."
