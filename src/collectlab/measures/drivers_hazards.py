"""Which characteristics go with an outcome on each day: grouped proportional hazards on counted cells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from collectlab.core import engine
from collectlab.core.errors import FrameError, NotAvailable, first_few
from collectlab.core.jackknife import INTERVAL, interval
from collectlab.measures.drivers_fit import level_offsets
from collectlab.measures.drivers_model import Model
from collectlab.measures.drivers_patterns import check_stages, count_patterns, spoken_stages
from collectlab.measures.drivers_ratios import ASSOCIATION, HazardRatios
from collectlab.measures.survival_cells import spoken
from collectlab.measures.survival_counting import count_cells, resolve_events
from collectlab.measures.survival_math import normal_quantile

_ENOUGH = 10


def proportional_hazards(
    frame: Any,
    *,
    covariates: Sequence[str],
    event: Any = "cured",
    duration: str = "exit_day",
    outcome: str = "outcome",
    entry: str | None = None,
    varying: Sequence[str] = (),
    stages: Sequence[int] = (30, 60),
    steps: Mapping[str, float | str] | None = None,
    bins: Any = None,
    intervals: Any = None,
    cluster: str | None = None,
    conf_level: float = 0.95,
) -> HazardRatios:
    r"""Cause-specific proportional hazards of ``event`` from counted cells, at any number of episodes.

    .. math:: h(t \mid x) = 1 - \exp\left(-\exp(\alpha_{j(t)} + x^\top \beta)\right)

    is the chance that an episode still open before day t ends with the event on day t, j(t) the interval of
    days that t lies in. exp(β) is then the ratio of the (continuous) hazards, the same parameter as Cox's
    (Prentice and Gloeckler 1978): the binomial model with complementary log-log link is the exact likelihood
    of proportional hazards seen in whole days. The other outcomes end an episode as censoring does. The
    episodes are counted once, covariate pattern × interval × outcome, in the engine they live in; everything
    else is computed from the counts. exp(β) describes who ends so; it is not an effect of changing x.

    Parameters
    ----------
    frame : frame
        One row per episode; anything Narwhals takes, or the path of a Parquet file.
    covariates : sequence of str
        Text, booleans and numbers with two values become levels against the most frequent one; levels with
        fewer than 30 episodes or 1 % are pooled as "other". Other numbers enter linearly. Episodes with a
        missing covariate are set aside and counted in the notes.
    event : outcome or sequence of outcomes
        What counts as the event; several are taken together.
    duration, outcome, entry : str
        Columns of the day of exit, of how it ended, and (optional) of the day observation began: at risk on
        the days entry < t ≤ exit. On a tie, events come before censorings.
    varying : sequence of str
        Covariates whose effect may differ between the stages of delinquency.
    stages : sequence of int
        First days of the stages after the first: (30, 60) is before day 30, days 30–59, day 60 on.
    steps : mapping, optional
        Numeric covariate → the step its ratio is read for: a number, or "double" (log₂; values ≤ 0 count as
        missing). Default: one standard deviation.
    bins : int, "exact" or mapping, optional
        How numbers become patterns. Default: every distinct value up to 20,000 episodes; beyond, bins of about
        equal size (4 to 20, so many that some 15,000 patterns come out) whose value is the mean inside; bins
        draw all ratios a little towards 1 (4 bins of each of 4 numbers: logs by 2 %). A whole
        number sets the number of bins, "exact" keeps distinct values, a mapping tells covariates apart and may
        hold bounds of classes, ``{"age": (30, 45, 60)}``, which become levels.
    intervals : "days" or sequence of int, optional
        First days of the intervals in which the baseline hazard per day is constant. Default: every day while
        pattern × day makes no more than 2 million cells; beyond, days up to 60, then weeks to about 180, then 30 days.
        Days at risk are counted exactly whatever the interval, so nothing is assumed about censorings inside.
    cluster : str, optional
        Id of what repeats (customer): errors robust to dependence within it, from the scores of 200 replicate
        groups of ids, with Student's t. Default: model-based errors.
    conf_level : float
        Level of the intervals, symmetric on the log scale.

    Returns
    -------
    HazardRatios
        ``table``: term, level, reference, (stage,) episodes, events, estimate (hazard ratio), std_error (of its
        log), conf_low, conf_high, p_value. ``events`` are those of the level (of all, for a number). A level
        without events has the ratio 0 and no interval. ``.plot()``, ``.baseline()``, ``.incidence(profiles)``,
        ``.survival(profiles)``, ``.in_points(horizon=90)``.

    Raises
    ------
    FrameError
        Missing columns, bad durations, unknown events or options, too many patterns.
    NotAvailable
        Fewer than 10 events, nothing that differs between episodes, or no finite estimate (separation).

    References
    ----------
    Prentice and Gloeckler (1978), Biometrics 34, 57–67; Kalbfleisch and Prentice (2002), sections 2.4 and 5.8;
    Allison (1982), Sociological Methodology 13.

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> n = np.arange(200)
    >>> spells = pd.DataFrame({"exit_day": 20 + n % 50 + 30 * (n % 2),
    ...                        "outcome": np.where(n % 5, "cured", "charged_off"),
    ...                        "product": np.where(n % 2, "card", "auto")})
    >>> ratios = proportional_hazards(spells, covariates=["product"])
    >>> ratios.table[["term", "level", "reference", "episodes", "events"]].values.tolist()
    [['product', 'card', 'auto', 100, 80]]
    >>> ratios.in_points(horizon=60).table[["share", "share_reference"]].round(2).values.tolist()
    [[0.14, 0.68]]
    """
    normal_quantile(conf_level)  # refuses a level that is none
    covariates = [covariates] if isinstance(covariates, str) else list(dict.fromkeys(covariates))
    varying = [varying] if isinstance(varying, str) else list(dict.fromkeys(varying))
    stages = check_stages(stages) if varying else ()
    lazy = engine.scan(frame)
    _check_names(lazy, covariates, varying, (duration, outcome, entry, cluster))
    used = [*covariates, *(c for c in (duration, outcome, entry, cluster) if c is not None)]
    lazy = lazy.select(dict.fromkeys(used))
    if not isinstance(frame, (str, Path)):
        lazy = engine.computed(lazy)
    cells = count_cells(lazy, duration=duration, outcome=outcome, entry=entry)
    events = resolve_events(cells, event, outcome)
    name = spoken(events)
    track = cells.track(0)
    happened = sum(float(track.exits[cells.outcomes.index(e)].sum()) for e in events if e in cells.outcomes)
    if happened < _ENOUGH:
        raise NotAvailable(
            f"a regression of hazards needs at least {_ENOUGH} episodes that end as {name}; here "
            f"{happened:.0f} of {int(track.entered.sum()):,} do. Outcomes here: {first_few(cells.outcomes)}."
        )
    patterns = count_patterns(
        lazy,
        cells,
        (events, *((o,) for o in cells.outcomes[:-1] if o not in events)),
        covariates=covariates,
        duration=duration,
        outcome=outcome,
        entry=entry,
        steps=dict(steps or {}),
        bins=bins,
        intervals=intervals,
        stages=stages,
        cluster=cluster,
    )
    if patterns.events[0].sum() < _ENOUGH:
        raise NotAvailable(
            f"fewer than {_ENOUGH} episodes with all covariates end as {name}. {' '.join(patterns.notes)}"
        )
    model = Model(patterns, varying, stages)
    table, notes = _table(model, stages, conf_level)
    late = [n for n in cells.notes if "no follow-up" in n or "entry_day was not used" in n]
    size = f"{int(patterns.size.sum()):,} episodes, {int(patterns.events[0].sum()):,} of them {name}"
    return HazardRatios(
        table=table,
        estimand=f"Ratio of the hazard of {name} on a day, other characteristics held; other outcomes as censoring",
        unit="ratio",
        title=f"Hazard ratios of {name}",
        notes=(
            f"{size}; {len(patterns.size):,} covariate patterns × {len(patterns.edges) - 1:,} intervals.",
            *late,
            *patterns.notes,
            *notes,
            f"Above 1: sooner. {ASSOCIATION}",
        ),
        formats={"episodes": "count", "events": "count"},
        conf_level=conf_level,
        model=model,
        event=name,
    )


def _check_names(lazy: Any, covariates: list, varying: list, others: Sequence) -> None:
    if not covariates:
        raise FrameError("covariates is empty. Allowed: at least one column.")
    engine.require(lazy, *dict.fromkeys([*covariates, *(c for c in others if c is not None)]))
    faults = []
    if both := [c for c in covariates if c in others[:3]]:
        faults.append(f"covariates holds {first_few(both)}, which says when or how an episode ended.")
    if unknown := [v for v in varying if v not in covariates]:
        faults.append(f"varying names {first_few(unknown)}. Allowed: {first_few(covariates, 12)}.")
    if faults:
        raise FrameError(faults)


def _table(model: Model, stages: Sequence[int], conf_level: float) -> tuple[pd.DataFrame, list[str]]:
    fit, design, patterns = model.event, model.design, model.patterns
    J, q = len(fit.alpha), len(design.columns)
    wanted = np.flatnonzero(fit.kept)
    if not len(wanted):
        raise NotAvailable("no characteristic differs between the episodes, so there is nothing to compare.")
    gradient = np.zeros((q, len(wanted)))
    gradient[wanted, np.arange(len(wanted))] = 1.0
    error = np.full(q, np.nan)
    error[wanted] = model.errors([(np.zeros((J, len(wanted))), gradient)])
    z = model.quantile(conf_level)
    offsets, names = level_offsets(patterns.covariates), spoken_stages(stages) if stages else ()
    rows, notes = [], []
    for at, (i, k, stage) in enumerate(design.columns):
        c = patterns.covariates[i]
        s = 0 if stage is None else stage
        label, reference, n, ratio = c.contrasts[k], "", c.episodes.sum(), float(np.exp(fit.beta[at]))
        counted = patterns.events[0] if stage is None else patterns.events[0][:, design.stage_of == stage]
        where = f" ({names[s]})" if stage is not None else ""
        if c.labels is not None:
            code = [x for x in range(len(c.labels)) if x != c.reference][k]
            reference, n = c.labels[c.reference], c.episodes[code]
            counted = counted[patterns.codes[:, i] == code]
            if fit.dead[offsets[i] + c.reference, s]:
                raise NotAvailable(
                    f"{c.name} = {reference}{where}, the most frequent level, has no episode that ends as "
                    f"{fit.outcome}, so nothing can be compared with it. Leave {c.name} out."
                )
            if fit.dead[offsets[i] + code, s]:
                ratio = 0.0
                notes.append(f"{c.name} = {label}{where}: none of its episodes ends as {fit.outcome}.")
        if not fit.kept[at] and ratio != 0.0:
            same = len(c.contrasts) == 1 and c.labels is not None and (c.episodes > 0).sum() < 2
            why = "is the same in all episodes used" if same else "follows from the characteristics before it"
            notes.append(f"{c.name} = {label}{where} {why}; left out.")
            continue
        low, high = (float(x) for x in interval(np.array(ratio), ratio * error[at], z, "log"))
        p = 2 * _upper_tail(abs(fit.beta[at]) / error[at], model) if ratio > 0 else np.nan
        values = (c.name, label, reference, names[s] if stage is not None else "all days")
        values += (int(n), int(counted.sum()), ratio, error[at], low, high, p)
        rows.append(values)
    notes += [
        f"{c.name} is the same in all episodes used; left out."
        for c in patterns.covariates
        if not c.contrasts
    ]
    head = ["term", "level", "reference", "stage", "episodes", "events", *INTERVAL, "p_value"]
    table = pd.DataFrame(rows, columns=head)
    return (table if stages else table.drop(columns="stage")), notes


def _upper_tail(statistic: float, model: Model) -> float:
    from scipy.special import ndtr, stdtr

    if model.patterns.clustered is None:
        return float(ndtr(-statistic))
    return float(stdtr(model.patterns.clustered.exits["replicate"].nunique() - 1, -statistic))
