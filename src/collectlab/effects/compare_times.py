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
from collectlab.effects.compare_checks import one_sided
from collectlab.effects.compare_design import design, read_covariate
from collectlab.effects.compare_estimates import propensity
from collectlab.effects.compare_frame import names_of, refuse_lone_clusters, refuse_separation, typed
from collectlab.effects.effect_result import Check, EffectResult
from collectlab.effects.target_trial_later import later_faults
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
        As known at time zero. Texts of up to 50 levels; rare ones are pooled, and accounts without a value set aside,
        as the notes say.
    horizon : int
        Whole days since time zero, within the follow-up.
    event : outcome or sequence of outcomes
    duration, outcome : str
        Columns with the day of the end, and how it ended.
    steps : mapping, optional
        As in ``proportional_hazards``: ``{"monthly_income": "double"}`` takes logs.
    cluster : str, optional
        What repeats (the customer); at least two on each side.
    conf_level : float

    Returns
    -------
    EffectResult
        One row, ``method`` "grouped hazards"; :meth:`Comparison.beside` puts it below others.

    Raises
    ------
    FrameError
        As ``proportional_hazards``; a treatment without two values; as in
        :func:`~collectlab.effects.compare.compare`, covariates that tell treated from untreated perfectly, that are
        known only after time zero or have too many texts.

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
    _refuse_roles(data.collect_schema(), treatment, duration, outcome, names)
    counted = collect(
        data.select(value=nw.col(treatment))
        .filter(~nw.col("value").is_null())
        .group_by("value")
        .agg(n=row_count())
    ).sort_values("value", ignore_index=True)
    values = list(counted["value"])
    if len(values) != 2 or treated not in values:
        raise FrameError(
            f"{treatment} holds {first_few(values) or 'nothing'}; treated is {treated!r}. Allowed: two values, one of "
            "them the treated."
        )
    known = data.filter(~nw.col(treatment).is_null())
    words = (f"{treatment} = {treated}", f"{treatment} = {next(v for v in values if v != treated)}")
    _refuse_separated(known, nw.col(treatment) == nw.lit(treated), names, cluster, words)
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
    n = dict(zip((v == treated for v in values), counted["n"]))
    pooled = [
        c.name
        for c in ratios.model.patterns.covariates
        if c.labels is not None and c.raw and len(c.labels) == 1 < len(c.raw[0])
    ]
    if lost := [c for c in pooled if c != treatment]:
        raise FrameError(
            f"{first_few(lost)}: all levels are rare, and pooled there is nothing to adjust for. Allowed: fewer and "
            "larger levels."
        )
    points = ratios.in_points(horizon=horizon)
    if treatment not in set(points.table["term"]):
        raise FrameError(
            f"{n[True]:,} treated and {n[False]:,} untreated accounts, and too few of them with all covariates for a "
            "regression of hazards. Allowed: more accounts, or fewer covariates."
        )
    row = points.table[points.table["term"] == treatment].iloc[0]
    up = row["level"] == "treated"
    sign = 1 if up else -1
    ends = sorted(sign * float(row[c]) for c in ("conf_low", "conf_high"))
    hazard = ratios.table[ratios.table["term"] == treatment].iloc[0]
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
            *ratios.model.patterns.notes,
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


def _refuse_roles(
    schema: nw.Schema, treatment: str, duration: str, outcome: str, covariates: Sequence[str]
) -> None:
    dated = [c for c in covariates if schema[c] in (nw.Date, nw.Datetime)]
    faults = [f"covariate {c!r} is a date. Allowed: numbers or texts (say, days before)." for c in dated]
    if not covariates:
        faults.append("covariates is empty. Allowed: at least one column known at time zero.")
    if treatment in (duration, outcome):
        faults.append(f"{treatment!r} is the treatment and says when or how an account ended.")
    if both := [c for c in covariates if c in (treatment, duration, outcome)]:
        faults.append(
            f"covariates holds {first_few(both)}, which is the treatment or says when or how it ended."
        )
    faults += later_faults("covariates", [c for c in covariates if c not in both])
    if faults:
        raise FrameError(faults)


def _refuse_separated(
    data: nw.LazyFrame, treated: nw.Expr, names: Sequence[str], cluster: str | None, words: tuple[str, str]
) -> None:
    """Raise where the covariates, alone or together, tell the treated from the untreated, as ``compare`` does."""
    schema = data.collect_schema()
    wanted = [typed(c, schema[c]).alias(f"x{i}") for i, c in enumerate(names)]
    wanted += [nw.col(cluster).cast(nw.String).alias("cluster")] if cluster else []
    rows = collect(data.select(treated.alias("t"), *wanted))
    rows = rows.sort_values(list(rows), ignore_index=True, kind="stable")
    t = rows["t"].to_numpy(bool)
    if cluster:
        refuse_lone_clusters(t, pd.factorize(rows["cluster"])[0], cluster)
    read = [read_covariate(c, rows[f"x{i}"], []) for i, c in enumerate(names)]
    if all(len(set(c.levels if c.values is None else c.values)) == 1 for c in read):
        raise FrameError(f"none of the covariates {first_few(names)} differs between accounts.")
    refuse_separation(read, t, words)
    named, alone = one_sided(read, t)
    if min(t[~alone].sum(), (~t[~alone]).sum()) < 2:
        raise FrameError(f"no overlap: nobody is left to compare. No overlap at: {first_few(named, 6)}.")
    propensity(design([c.take(~alone) for c in read], t[~alone], []), t[~alone])
