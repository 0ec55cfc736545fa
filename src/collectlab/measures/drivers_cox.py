"""Which account characteristics go with cure on each day: a Cox regression, by lifelines."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import narwhals as nw
import numpy as np
import pandas as pd

from collectlab.core import engine
from collectlab.core.errors import FrameError, NotAvailable, first_few
from collectlab.core.jackknife import with_replicates
from collectlab.core.results import Result
from collectlab.measures.drivers_design import design, independent

_ENOUGH = 10
#: lifelines holds all rows in memory; beyond this, a fixed part of the accounts is taken.
MOST = 20_000
_PARTS = 1000


@dataclass(frozen=True, kw_only=True)
class CoxRegression(Result):
    """One row per term: level against reference, hazard ratio (``estimate``); ``std_error`` is of its log."""


def cox_regression(
    episodes: Any,
    *,
    covariates: Sequence[str],
    event: str = "cured",
    duration: str = "exit_day",
    entry: str = "entry_day",
    outcome: str = "outcome",
    steps: Mapping[str, float | str] | None = None,
    cluster: str | None = "customer_id",
    conf_level: float = 0.95,
) -> CoxRegression:
    """Cause-specific Cox regression of ``event``: hazard ratios, open and late-seen episodes included.

    Estimand: exp(β) in h(t | x) = h₀(t) exp(βx), the hazard of the event on day t among the episodes still
    delinquent; the other outcomes end an episode as censoring does. Unlike a logistic regression of cure by a
    day it uses every episode for as long as it was followed (risk set: entry < t ≤ exit). Ties: Efron.

    Parameters
    ----------
    episodes : frame
        One row per episode; whole days ``duration`` and ``entry``; ``outcome``; the covariates.
    covariates : sequence of str
        Text and booleans become levels against the most frequent one; missing values as in
        :func:`~collectlab.measures.drivers.cure_regression`.
    event : str
        The outcome whose hazard is meant.
    steps : mapping, optional
        Numeric covariate → the step its ratio is read for: a number, or "double".
    cluster : str or None
        Errors are robust (sandwich) to dependence within it; None or an absent column: model-based errors.
    conf_level : float
        Level of the interval, symmetric on the log scale.

    Returns
    -------
    CoxRegression
        term, level, reference, episodes, estimate (hazard ratio), std_error (of the log), conf_low,
        conf_high, p_value.

    Raises
    ------
    FrameError
        A missing column, or covariates that are not given.
    NotAvailable
        Fewer than 10 events, nothing that differs, or a fit that does not converge.

    Notes
    -----
    Fitted by :class:`lifelines.CoxPHFitter`, which holds all rows in memory: of more than 20,000 episodes those
    of a fixed part of the accounts are used, and the notes say so.

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> n = np.arange(200)
    >>> spells = pd.DataFrame({"exit_day": 20 + n % 50 + 30 * (n % 2), "entry_day": 0,
    ...                        "outcome": np.where(n % 5, "cured", "charged_off"),
    ...                        "product": np.where(n % 2, "card", "auto")})
    >>> cox_regression(spells, covariates=["product"]).table[["term", "level", "reference"]].values.tolist()
    [['product', 'card', 'auto']]
    """
    covariates = list(dict.fromkeys(covariates))
    if not covariates:
        raise FrameError("covariates is empty. Allowed: at least one column.")
    frame = engine.scan(episodes)
    engine.require(frame, duration, entry, outcome, *covariates)
    data, clustered, notes = _rows(frame, covariates, duration, entry, outcome, cluster)
    happened = (data["_outcome"] == event).to_numpy(float)
    if happened.sum() < _ENOUGH:
        raise NotAvailable(
            f"a Cox regression needs at least {_ENOUGH} episodes that end as {event!r}; here {happened.sum():.0f} of "
            f"{len(data):,} do. Outcomes here: {first_few(sorted(data['_outcome'].unique()))}."
        )
    inputs = data[[f"_x{i}" for i in range(len(covariates))]].set_axis(covariates, axis=1)
    terms, kept, more = design(inputs, covariates, happened, dict(steps or {}))
    terms, less = independent(terms)
    notes += [*more, *less]
    if not terms:
        raise NotAvailable("no characteristic differs between the episodes, so there is nothing to compare.")
    matrix = pd.DataFrame(np.column_stack([t.matrix for t in terms])).add_prefix("x")
    rows = data[kept].reset_index(drop=True)
    matrix = matrix.assign(_event=happened[kept], _entry=rows["_entry"], _exit=rows["_exit"])
    if clustered:
        matrix["_cluster"] = rows["_cluster"]
    summary = _fit(matrix, clustered, conf_level)
    return CoxRegression(
        table=_table(terms, summary),
        estimand=f"Ratio of the daily hazard of {event}, other characteristics held; other outcomes as censoring",
        unit="ratio",
        title=f"Hazard ratios of {event} (Cox)",
        notes=(
            f"{len(rows):,} episodes, {int(happened[kept].sum()):,} of them {event}.",
            *notes,
            "Above 1: sooner. It describes who cures, not what would change it.",
        ),
        formats={"episodes": "count"},
        conf_level=conf_level,
    )


def _rows(
    frame: nw.LazyFrame, covariates: list[str], duration: str, entry: str, outcome: str, cluster: str | None
):
    names = frame.collect_schema().names()
    group = cluster if cluster in names else None
    notes = []
    n = int(engine.collect(frame.select(n=nw.len()))["n"][0])
    if n > MOST and "account_id" in names:
        part = max(1, _PARTS * MOST // n)
        frame = with_replicates(frame, "account_id", _PARTS, "_part").filter(nw.col("_part") < part)
        notes.append(
            f"Of {n:,} episodes those of {part / _PARTS:.1%} of the accounts were used.".replace("%", " %")
        )
    order = [c for c in ("account_id", "episode") if c in names]
    data = engine.collect(
        frame.select(
            *(nw.col(c).alias(f"_x{i}") for i, c in enumerate(covariates)),
            *(nw.col(c).alias(f"_o{i}") for i, c in enumerate(order)),
            _entry=nw.col(entry).cast(nw.Float64),
            _exit=nw.col(duration).cast(nw.Float64),
            _outcome=nw.col(outcome).cast(nw.String),
            _cluster=nw.col(group).cast(nw.String) if group else nw.lit(None, nw.String),
        )
    )
    followed = data["_exit"] > data["_entry"]
    if left := int((~followed).sum()):
        notes.append(f"{left:,} episodes have no follow-up after they were first seen.")
    keys = [f"_o{i}" for i in range(len(order))] or ["_exit", "_entry", "_outcome"]
    data = data[followed].sort_values(keys, kind="stable").reset_index(drop=True)
    if data.empty:
        raise NotAvailable("there are no episodes with follow-up.")
    return data, group is not None, notes


def _fit(matrix: pd.DataFrame, clustered: bool, conf_level: float) -> pd.DataFrame:
    from lifelines import CoxPHFitter
    from lifelines.exceptions import ConvergenceError

    fitter = CoxPHFitter(alpha=1 - conf_level)
    options = {"cluster_col": "_cluster"} if clustered else {}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            fitter.fit(
                matrix,
                duration_col="_exit",
                event_col="_event",
                entry_col="_entry",
                fit_options={"precision": 1e-9},
                **options,
            )
    except ConvergenceError as error:
        raise NotAvailable(
            "the Cox regression does not converge: some level is nearly all or nearly none. Use fewer covariates."
        ) from error
    return fitter.summary


def _table(terms: list, summary: pd.DataFrame) -> pd.DataFrame:
    rows, first = [], 0
    for term in terms:
        for level, reference, episodes, _, k, _ in term.contrasts:
            fit = summary.iloc[first + k]
            rows.append(
                {
                    "term": term.name,
                    "level": level,
                    "reference": reference,
                    "episodes": episodes,
                    "estimate": float(fit["exp(coef)"]),
                    "std_error": float(fit["se(coef)"]),
                    "conf_low": float(np.exp(fit.filter(like="coef lower").iloc[0])),
                    "conf_high": float(np.exp(fit.filter(like="coef upper").iloc[0])),
                    "p_value": float(fit["p"]),
                }
            )
        first += term.matrix.shape[1]
    return pd.DataFrame(rows)
