"""The same comparison for times: how many more end so by a day, from grouped hazards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import narwhals as nw
import numpy as np
import pandas as pd

from collectlab.core.columns import row_count
from collectlab.core.engine import collect, require, scan
from collectlab.core.errors import FrameError, first_few
from collectlab.core.jackknife import check_level
from collectlab.effects.compare_frame import names_of
from collectlab.effects.effect_result import Check, EffectResult
from collectlab.measures.drivers_hazards import proportional_hazards


def compare_times(
    frame: Any,
    *,
    treatment: str,
    treated: Any,
    covariates: str | Sequence[str],
    horizon: int,
    event: Any = "cured",
    duration: str = "end_day",
    outcome: str = "outcome",
    steps: Mapping[str, float | str] | None = None,
    cluster: str | None = None,
    conf_level: float = 0.95,
) -> EffectResult:
    """Difference in the chance of an event by a day, from hazards adjusted for the covariates.

    Estimand: P(event by day ``horizon``) had all been treated, minus the same had nobody been, other outcomes
    competing, averaged over the accounts with all covariates. Proportional hazards of each outcome on treatment and
    covariates, turned into incidences (:func:`collectlab.measures.drivers.proportional_hazards` and its
    ``in_points``). It uses accounts that were not followed to the horizon too, and rests on the effect being one
    ratio of hazards on all days up to the horizon; nothing is trimmed.

    Parameters
    ----------
    frame : frame
        One row per account, whose clock starts at time zero.
    treatment : str
        Text, true/false or number with two values.
    treated : optional
        The value that means treated.
    covariates : str or list of str
    horizon : int
        Whole days since time zero, within the follow-up.
    event : outcome or sequence of outcomes
    duration, outcome : str
        Columns with the day of the end, and how it ended.
    steps : mapping, optional
        As in ``proportional_hazards``: ``{"monthly_income": "double"}`` takes logs.
    cluster : str, optional
        What repeats (the customer).
    conf_level : float

    Returns
    -------
    EffectResult
        One row, ``method`` "grouped hazards"; :meth:`Comparison.beside` puts it below others.

    Raises
    ------
    FrameError
        As ``proportional_hazards``; a treatment without two values.

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> n = np.arange(400)
    >>> ends = pd.DataFrame({"called": n % 2, "band": np.where(n % 3, "low", "high"), "end_day": 5 + n * 7 % 31,
    ...                      "outcome": np.where(n % 5, "cured", "censored")})
    >>> found = compare_times(ends, treatment="called", treated=1, covariates="band", horizon=25)
    >>> found.table[["method", "n_treated", "n_untreated"]].values.tolist()
    [['grouped hazards', 200, 200]]
    """
    check_level(conf_level)
    names = names_of(covariates)
    if isinstance(horizon, bool) or not isinstance(horizon, (int, np.integer)) or horizon < 1:
        raise FrameError(f"horizon is {horizon!r}. Allowed: whole days ≥ 1.")
    data = scan(frame)
    used = [treatment, duration, outcome, *names, *([cluster] if cluster else [])]
    require(data, *used)
    counted = collect(
        data.filter(~nw.col(treatment).is_null()).group_by(treatment).agg(n=row_count())
    ).sort_values(treatment, ignore_index=True)
    values = list(counted[treatment])
    if len(values) != 2 or treated not in values:
        raise FrameError(
            f"{treatment} holds {first_few(values) or 'nothing'}; treated is {treated!r}. Allowed: two values, one of "
            "them the treated."
        )
    # What comes after the horizon has no say in it: one ratio of hazards need hold up to there only.
    data = data.with_columns(
        nw.when(nw.col(duration) > horizon)
        .then(nw.lit("censored"))
        .otherwise(nw.col(outcome).cast(nw.String))
        .alias(outcome),
        nw.when(nw.col(duration) > horizon)
        .then(nw.lit(horizon))
        .otherwise(nw.col(duration))
        .cast(nw.Int64)
        .alias(duration),
    )
    # As a level whose name sorts so that the reference is known: hazards take the most frequent one for it.
    flagged = data.filter(~nw.col(treatment).is_null()).with_columns(
        nw.when(nw.col(treatment) == nw.lit(treated))
        .then(nw.lit("treated"))
        .otherwise(nw.lit("untreated"))
        .alias(treatment)
    )
    ratios = proportional_hazards(
        flagged.select(dict.fromkeys(used)),
        covariates=[treatment, *names],
        event=event,
        duration=duration,
        outcome=outcome,
        steps=steps,
        cluster=cluster,
        conf_level=conf_level,
    )
    points = ratios.in_points(horizon=horizon)
    row = points.table[points.table["term"] == treatment].iloc[0]
    up = row["level"] == "treated"
    sign = 1 if up else -1
    ends = sorted(sign * float(row[c]) for c in ("conf_low", "conf_high"))
    hazard = ratios.table[ratios.table["term"] == treatment].iloc[0]
    n = dict(zip((v == treated for v in values), counted["n"]))
    table = pd.DataFrame(
        [
            {
                "outcome": f"{ratios.event}_within_{horizon}",
                "unit": "points",
                "method": "grouped hazards",
                "n_treated": int(n[True]),
                "n_untreated": int(n[False]),
                "mean_without": float(row["share_reference"] if up else row["share"]),
                "estimate": sign * float(row["estimate"]),
                "std_error": float(row["std_error"]),
                "conf_low": ends[0],
                "conf_high": ends[1],
                "p_value": float(hazard["p_value"]),
            }
        ]
    )
    return EffectResult(
        table=table,
        estimand=f"P({ratios.event} by day {horizon}) if treated, minus if not, other outcomes competing",
        unit="points",
        title=f"{ratios.event} by day {horizon}: {treatment}",
        notes=(
            *ratios.notes[:1],
            *ratios.model.notes,
            "One ratio of hazards on all days up to the horizon is assumed.",
        ),
        formats={"n_treated": "count", "n_untreated": "count"},
        conf_level=conf_level,
        design="comparison",
        checks=(
            Check(
                name="known_at_start",
                passed=None,
                says=f"Nothing shows here that {treatment} was decided before the clock started.",
            ),
        ),
    )
