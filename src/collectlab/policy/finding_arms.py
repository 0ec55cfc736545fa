"""What a randomised test says about its arms: better, worse, no difference worth having, or not decided."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator

import numpy as np
import pandas as pd

from collectlab.core.tables import format_value
from collectlab.policy.candidates import Candidate, Context, Finding, need, numbers, size_of, with_interval

#: Words in an outcome's name that make more of it worse.
BAD_WORDS = (
    "complaint",
    "charged",
    "charge_off",
    "redefault",
    "default",
    "cost",
    "refus",
    "dispute",
    "delinquen",
)

COLUMNS = ("outcome", "arm", "n", "estimate", "conf_low", "conf_high")


def more_is_worse(outcome: str) -> bool:
    """Whether a higher value of the outcome is a bad thing, by its name."""
    return any(word in str(outcome).lower() for word in BAD_WORDS)


def outcome_words(outcome: str) -> str:
    """``paid_within_90`` → ``paid within 90 days``."""
    return re.sub(r"within (\d+)$", r"within \1 days", str(outcome).replace("_", " "))


def unit_of(table: pd.DataFrame, i: int, default: str = "points") -> str:
    """The unit of one row's effect."""
    unit = table["unit"].iloc[i] if "unit" in table.columns else None
    return unit if isinstance(unit, str) and unit else default


def arms(name: str, table: pd.DataFrame, context: Context) -> Iterator[Candidate]:
    """Each arm against the control on the first outcome; better and worse only where certain enough."""
    need(name, table, *COLUMNS)
    if table.empty:
        return
    main = table["outcome"].iloc[0]
    sign = -1 if more_is_worse(main) else 1
    smallest = context.limit("smallest_effect")
    for i in range(len(table)):
        if table["outcome"].iloc[i] != main:
            continue
        row = {
            c: float(numbers(table, c)[i]) for c in ("n", "estimate", "std_error", "conf_low", "conf_high")
        }
        estimate, low, high = row["estimate"], row["conf_low"], row["conf_high"]
        if math.isnan(estimate) or row["n"] < context.limit("minimum_group"):
            continue
        error = row["std_error"] if row["std_error"] > 0 else (high - low) / (2 * context.z)
        if not error > 0:
            context.unjudged.append(f"{name}: {table['arm'].iloc[i]}")
            continue
        unit = unit_of(table, i, context.units.get(name) or "points")
        text = with_interval(estimate, low, high, unit)
        control = numbers(table, "control_mean")[i]
        inside = unit == "points" and -smallest < low and high < smallest
        arm = str(table["arm"].iloc[i])
        n_all = float(pd.to_numeric(table.loc[table["outcome"] == main, "n"]).sum())
        n_all += float(np.nan_to_num(numbers(table, "control_n")[i]))
        common = {
            "measure": str(main), "area": "strategy", "table": name, "row": arm, "subject": arm,
            "kind": "randomised", "group": "arm", "estimate": estimate, "conf_low": low, "conf_high": high,
            "unit": unit, "comparison": 0.0, "comparison_of": "the control", "gap": estimate,
            "n": row["n"], "n_all": n_all, "scope": row["n"] / n_all,
        }  # fmt: skip
        scale = abs(control) if control and not math.isnan(control) else None
        size = size_of(estimate, 0.0, scale) if scale else size_of(estimate, 1.0)
        level = (
            "" if math.isnan(control) else f" {format_value(control, 'share' if unit == 'points' else unit)}"
        )
        whose = f"the control's{level}" if level else "the control"
        said = f"Randomised test, {outcome_words(main)}: {arm} differs from {whose} by {text}"
        key = f"{name}: {arm}"
        better = sign * estimate >= 0
        yield Candidate(
            Finding(
                key=key,
                rule="arm_better" if better else "arm_worse",
                statement=f"{said}: {'better' if better else 'worse'}.",
                size=size,
                **common,
            ),
            error=error,
        )
        small = f"less than {smallest:.1%} either way".replace("%", " %")
        undecided = Finding(
            key=key,
            rule="arm_equal" if inside else "arm_undecided",
            statement=f"{said}: {small if inside else 'not decided yet'}.",
            size=0.05,
            **common,
        )
        yield Candidate(undecided, error=error, instead=True)
