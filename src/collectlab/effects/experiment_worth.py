"""Whether an arm pays: what it brought in, what it cost, and what is left of one after the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import narwhals as nw
import numpy as np

from collectlab.core.columns import free_name
from collectlab.core.engine import collect, require, scan
from collectlab.core.errors import FrameError, first_few
from collectlab.core.tables import format_value
from collectlab.effects.experiment import experiment
from collectlab.effects.experiment_cells import arms_of, control_of, names_of, refuse_roles
from collectlab.effects.experiment_result import ExperimentResult
from collectlab.measures.worth.incremental import fieller


def worth(
    frame: Any,
    *,
    amount: str,
    cost: str | float | Mapping[str, float],
    arm: str = "strategy",
    control: str | None = None,
    covariates: str | Sequence[str] = (),
    block: str | None = None,
    cluster: str | None = None,
    conf_level: float = 0.95,
) -> ExperimentResult:
    """What each arm brings in net of its cost, per account assigned, against the control.

    Three effects of assignment on everybody assigned: on the amount paid, on the cost, and on their difference
    (the answer). Money back per unit of cost is the first over the second, with Fieller's interval, which uses the
    covariance of the two.

    Parameters
    ----------
    frame : frame
        One row per account assigned, such as :func:`~collectlab.effects.assigned.experiment_frame` gives.
    amount : str
        Column with the money paid.
    cost : str, float or mapping
        Column with the money spent on the account; or what an account assigned to an arm costs more than one
        in the control: one number for all arms (a letter), or one for each.
    arm, control, covariates, block, cluster, conf_level
        As in :func:`~collectlab.effects.experiment.experiment`.

    Returns
    -------
    ExperimentResult
        One row per arm: outcome (``net``), arm, n, control_n, control_mean, amount_effect, amount_low, amount_high,
        cost_effect, unit, estimate, std_error, conf_low, conf_high, p_value (of the net effect), back_per_unit,
        back_low, back_high; with several arms sim_low, sim_high, p_adjusted of the net effect.
        ``back_per_unit`` is missing where the arm costs no more than the control.

    Raises
    ------
    FrameError
        As :func:`~collectlab.effects.experiment.experiment`; an arm without a cost, or in which nobody's
        amount and cost are both known.

    References
    ----------
    Fieller (1954), Journal of the Royal Statistical Society B 16(2).

    Examples
    --------
    >>> import pandas as pd
    >>> people = pd.DataFrame({"letter": ["none"] * 4 + ["firm"] * 4, "paid": [0, 20, 0, 40, 30, 0, 50, 60]})
    >>> worth(people, arm="letter", control="none", amount="paid", cost=1.0).table[
    ...     ["arm", "amount_effect", "cost_effect", "estimate", "back_per_unit"]]
        arm  amount_effect  cost_effect  estimate  back_per_unit
    0  firm           20.0          1.0      19.0           20.0
    """
    data = scan(frame)
    money_columns = [amount, *([cost] if isinstance(cost, str) else [])]
    require(data, arm, *money_columns)
    refuse_roles(arm, money_columns, covariates=names_of(covariates))
    arms, _ = arms_of(data, arm)
    base, _ = control_of(control, arms, arm)
    have = data.collect_schema().names()
    spent, net = free_name("cost", have), free_name("net", have)
    data = data.with_columns(_cost(data, cost, arm, base, arms).cast(nw.Float64).alias(spent))
    data = data.with_columns((nw.col(amount).cast(nw.Float64) - nw.col(spent)).alias(net))
    whole, data = data, data.filter(~nw.col(net).is_null() & ~nw.col(net).is_nan())
    _refuse_unknown(whole, data, arm, arms, amount, spent)
    common = {
        "arm": arm,
        "control": control,
        "covariates": covariates,
        "block": block,
        "cluster": cluster,
        "conf_level": conf_level,
    }
    of_net = experiment(data, outcomes=net, **common)
    brought = experiment(data, outcomes=amount, **common).table
    try:
        paid_out = experiment(data, outcomes=spent, **common).table
    except FrameError as error:  # the same cost in all arms: nothing is spent that would not be otherwise
        if "nothing to compare" not in str(error):
            raise
        paid_out = brought.assign(estimate=0.0, std_error=0.0)
    table = of_net.table.copy()
    table["outcome"] = "net"
    table["unit"] = "money2"
    place = table.columns.get_loc("unit")
    for column, values in (
        ("amount_effect", brought["estimate"]),
        ("amount_low", brought["conf_low"]),
        ("amount_high", brought["conf_high"]),
        ("cost_effect", paid_out["estimate"]),
    ):
        table.insert(place, column, values.to_numpy(float))
        place += 1
    back = [_back(*rows) for rows in zip(brought.itertuples(), paid_out.itertuples(), table.itertuples())]
    end = table.columns.get_loc("p_value") + 1
    for i, column in enumerate(("back_per_unit", "back_low", "back_high")):
        table.insert(end + i, column, [b[i] for b in back])
    notes = [
        f"{row.arm}: {_total(row.n, row.estimate)} net ({_total(row.n, row.conf_low)} to "
        f"{_total(row.n, row.conf_high)}) for the {row.n:,} accounts assigned."
        for row in table.itertuples()
    ]
    left_out = sum(arms.values()) - int(table["n"].sum()) - int(table["control_n"].iloc[0])
    if left_out:
        notes.append(f"{left_out:,} accounts have no {amount} or no cost and are not counted.")
    money = ("amount_effect", "cost_effect", "back_per_unit")
    hidden = ("amount_low", "amount_high", "back_low", "back_high")
    return replace(
        of_net,
        table=table,
        estimand=(
            f"Mean of {amount} less cost, per account assigned to the arm, minus the same for {of_net.control} "
            "(intention to treat)"
        ),
        unit="money2",
        title=f"What each arm is worth, against {of_net.control}",
        notes=(*of_net.notes, *notes),
        formats={**of_net.formats, **dict.fromkeys(money, "money2"), **dict.fromkeys(hidden, "hidden")},
    )


def _refuse_unknown(
    whole: nw.LazyFrame, known: nw.LazyFrame, arm: str, arms: Mapping[str, int], amount: str, spent: str
) -> None:
    """An arm in which nobody's amount and cost are both known."""
    name = nw.col(arm).cast(nw.String)
    there = set(collect(known.select(arm=name).group_by("arm").agg(rows=nw.len()))["arm"])
    if not (empty := [a for a in arms if a not in there]):
        return
    values = whole.filter(name.is_in(empty)).select(
        amount=nw.col(amount).cast(nw.Float64), cost=nw.col(spent)
    )
    counted = values.select(
        nw.len().alias("rows"), *((~_unknown(c)).sum().alias(c) for c in ("amount", "cost"))
    )
    rows, paid, cost = (int(v) for v in collect(counted)[["rows", "amount", "cost"]].iloc[0])
    raise FrameError(
        f"none of the {rows:,} accounts in arm {first_few(empty)} has both: {amount} is missing for {rows - paid:,}, "
        f"the cost for {rows - cost:,}."
    )


def _unknown(column: str) -> nw.Expr:
    return nw.col(column).is_null() | nw.col(column).is_nan()


def _total(n: int, each: float) -> str:
    return format_value(n * each, "money")


def _cost(
    data: nw.LazyFrame,
    cost: str | float | Mapping[str, float],
    arm: str,
    control: str,
    arms: Mapping[str, int],
) -> nw.Expr:
    if isinstance(cost, str):
        return nw.col(cost)
    if isinstance(cost, Mapping):
        each = {str(a): float(c) for a, c in cost.items()}
        each.setdefault(control, 0.0)
        if missing := [a for a in arms if a not in each]:
            raise FrameError(f"cost: none for arm {first_few(missing)}. Allowed: a cost for every arm.")
    else:
        each = {a: 0.0 if a == control else float(cost) for a in arms}
    if odd := [f"{a}: {c:g}" for a, c in each.items() if not np.isfinite(c)]:
        raise FrameError(f"cost: {first_few(odd)}. Allowed: finite numbers.")
    expression = nw.lit(None, nw.Float64)
    for a, c in each.items():
        expression = nw.when(nw.col(arm).cast(nw.String) == a).then(nw.lit(c)).otherwise(expression)
    return expression


def _back(amount: Any, cost: Any, net: Any) -> tuple[float, float, float]:
    """Money back per unit of cost, with Fieller's interval, from one arm's rows of the three effects."""
    if not cost.estimate > 0:
        return float("nan"), float("nan"), float("nan")
    of_amount, of_cost = amount.std_error**2, cost.std_error**2
    joint = (of_amount + of_cost - net.std_error**2) / 2
    quantile = (amount.conf_high - amount.estimate) / amount.std_error
    low, high = fieller(amount.estimate, cost.estimate, of_amount, joint, of_cost, quantile)
    return amount.estimate / cost.estimate, low, high
