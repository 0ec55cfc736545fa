"""Which account characteristics go with cure: hazards on each day, and a logistic regression read in points.

Drivers are associations: they say who cures, other characteristics held, not what would change if a
characteristic were changed. :func:`proportional_hazards` takes any number of episodes (it works on counts),
:func:`cox_regression` is the same question answered by lifelines on a sample, :func:`agreement` lays the two side
by side, :func:`cure_regression` asks for cure by one day.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import narwhals as nw
import numpy as np
import pandas as pd

from collectlab.book.episodes import OUTCOMES
from collectlab.core import engine
from collectlab.core.columns import day_number, own_names, row_count
from collectlab.core.errors import FrameError, NotAvailable, first_few
from collectlab.core.plots import PALETTE, dots
from collectlab.core.results import Result
from collectlab.core.tables import humanise
from collectlab.measures.drivers_agreement import Agreement, agreement
from collectlab.measures.drivers_cox import CoxRegression, cox_regression
from collectlab.measures.drivers_design import Term, design, independent
from collectlab.measures.drivers_hazards import proportional_hazards
from collectlab.measures.drivers_predict import PredictedCurves
from collectlab.measures.drivers_ratios import HazardRatios, InPoints
from collectlab.measures.flows import EPISODE
from collectlab.measures.trend import trend

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = [
    "COVARIATES",
    "Agreement",
    "CoxRegression",
    "CureRegression",
    "HazardRatios",
    "InPoints",
    "PredictedCurves",
    "agreement",
    "cox_regression",
    "cure_regression",
    "proportional_hazards",
    "trend",
]

COVARIATES = ("age", "gender", "occupation", "credit_score", "amount_at_entry", "product")
#: Step in which a numeric covariate is read: a number, "double", or (default) a standard deviation.
STEPS: Mapping[str, float | str] = {
    "age": 10,
    "credit_score": 50,
    "amount_at_entry": "double",
    "balance_at_entry": "double",
    "principal": "double",
    "monthly_income": "double",
}
_ENOUGH = 10


@dataclass(frozen=True, kw_only=True)
class CureRegression(Result):
    """One row per term: level against reference, odds ratio, and average effect in points."""

    plottable = True

    def plot(self, ax: Axes | None = None) -> Axes:
        """Average marginal effects with their intervals, one line per term."""
        table = self.table
        sure = (table["conf_low"] > 0) | (table["conf_high"] < 0)
        labels = [
            f"{humanise(term)}: {level}" + (f" (vs {reference})" if reference else "")
            for term, level, reference in table[["term", "level", "reference"]].itertuples(index=False)
        ]
        return dots(
            [("", table)],
            labels,
            unit="points",
            title=self.title,
            xlabel="Percentage points of cure, other characteristics held",
            colours=[PALETTE[0] if s else "#888888" for s in sure],
            zero=True,
            ax=ax,
        )


def cure_regression(
    episodes: Any,
    *,
    covariates: Sequence[str] | None = None,
    horizon: int = 90,
    steps: Mapping[str, float | str] | None = None,
    cluster: str = "customer_id",
    conf_level: float = 0.95,
    columns: Mapping[str, str] | None = None,
) -> CureRegression:
    """Logistic regression of cure within ``horizon`` days of day 0 on characteristics at the start.

    Estimand, for each term: the average over the episodes used of

        P(cured within horizon | level, the rest as it is) − P(… | reference, the rest as it is),

    or, for a number, of P at one step more − P as it is. It describes who cures, other things equal; it is
    not the effect of changing the characteristic.

    Only episodes begun early enough to be followed for the horizon at the end of the book are used, so that
    who is in does not depend on how the episode went: the book's end censors everybody on a day that is known
    from the start, and no weights for censoring (or pseudo-observations, which would stand for the same
    episodes with more noise) are needed. :func:`proportional_hazards` uses the younger ones too, and its
    ``in_points`` answers the same question with all of them. Within it, a charge-off, settlement or sale is
    "not cured". Left out and counted: episodes first seen after day 0 (their quick cures are not in the
    book), those begun too late, and those whose account vanished before the horizon.

    Parameters
    ----------
    episodes : frame
        started_on, entry_day, exit_day, outcome, the covariates and, where there, observed_day and
        ``cluster``.
    covariates : sequence of str, optional
        Default: those of age, gender, occupation, credit_score, amount_at_entry and product that are
        there. Text and booleans become levels against the most frequent one; levels with fewer than 30
        episodes or 1 % are pooled as "other"; a missing text is a level of its own. A missing number is
        set to the mean and marked by a term of its own.
    horizon : int
        Days since day 0.
    steps : mapping, optional
        Numeric covariate → the step its effect is read for: a number, or "double" (the base-2 logarithm
        is taken; values ≤ 0 count as missing). Default: age 10, credit_score 50, amounts and incomes
        double, others one standard deviation.
    cluster : str
        Errors are robust to dependence within it (the account where the column is absent).
    conf_level : float
        Level of the interval (normal quantile, delta method).
    columns : mapping, optional
        What your frames call the columns named here, where it differs: ``{"account_id": "Loan no."}``.

    Returns
    -------
    CureRegression
        term, level, reference, episodes, cured (share at that level, unadjusted; missing for numbers),
        odds_ratio, estimate (points, as a share), std_error, conf_low, conf_high, p_value.

    Raises
    ------
    FrameError
        A column named in ``covariates`` is missing.
    NotAvailable
        None of the default covariates is there; fewer than 10 cured or not cured; or the characteristics
        tell the cured from the others perfectly.

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> n = np.arange(400)
    >>> episodes = pd.DataFrame({
    ...     "account_id": n, "started_on": pd.Timestamp("2026-01-01"), "entry_day": 0,
    ...     "exit_day": np.where(n % 4 == 0, 120, 30), "observed_day": 200,
    ...     "outcome": np.where((n % 4 == 0) | (n % 10 == 1), "charged_off", "cured"),
    ...     "product": np.where(n < 200, "card", "auto")})
    >>> result = cure_regression(episodes, covariates=["product"])
    >>> result.table[["term", "level", "reference", "episodes"]].values.tolist()
    [['product', 'card', 'auto', 200]]
    """
    frame = own_names(episodes, columns, (*EPISODE, *(covariates or COVARIATES)))
    names = frame.collect_schema().names()
    if covariates is None:
        covariates = [c for c in COVARIATES if c in names]
        if not covariates:
            raise NotAvailable(f"this book has none of the characteristics {', '.join(COVARIATES)}.")
    covariates = list(dict.fromkeys(covariates))
    if not covariates:
        raise FrameError("covariates is empty. Allowed: at least one column.")
    data, cured, clusters, notes = _mature(frame, names, covariates, horizon, cluster)
    terms, kept, more = design(data, covariates, cured, {**STEPS, **(steps or {})})
    notes += more
    cured, clusters = cured[kept], clusters[kept]
    terms, more = independent(terms)
    notes += more
    if not terms:
        raise NotAvailable("no characteristic differs between the episodes, so there is nothing to compare.")
    X = np.column_stack([np.ones(len(cured)), *(t.matrix for t in terms)])
    beta, covariance = _fit(X, cured, clusters)
    table = _effects(terms, X, beta, covariance, conf_level)
    return CureRegression(
        table=table,
        estimand=f"Average difference in P(cured within {horizon} days of day 0), other characteristics held",
        unit="points",
        title=f"Who cures within {horizon} days",
        notes=(
            f"{len(cured):,} episodes of {len(np.unique(clusters)):,} customers, {cured.mean():.1%} cured".replace(
                "%", " %"
            )
            + f" within {horizon} days.",
            *notes,
            "It describes who cures, not what would change it.",
        ),
        formats={"cured": "share", "odds_ratio": "ratio", "episodes": "count"},
        conf_level=conf_level,
    )


def _mature(frame: nw.LazyFrame, names: list[str], covariates: list[str], horizon: int, cluster: str):
    """The covariates of the episodes that can be judged, whether each was cured, its cluster, and notes."""
    engine.require(frame, "started_on", "entry_day", "exit_day", "outcome", *covariates)
    group = next((c for c in (cluster, "account_id") if c in names), None)
    seen = [nw.col(c).cast(nw.Int64) for c in ("observed_day", "exit_day") if c in names]
    order = [c for c in ("account_id", "episode", "started_on") if c in names]
    base = frame.select(
        *(nw.col(c).alias(f"__x{i}") for i, c in enumerate(covariates)),
        *(nw.col(c).alias(f"__o{i}") for i, c in enumerate(order)),
        __start=day_number("started_on"),
        __entry=nw.col("entry_day").cast(nw.Int64),
        __exit=nw.col("exit_day").cast(nw.Int64),
        __outcome=nw.col("outcome").cast(nw.String),
        __seen=nw.coalesce(*seen),
        __cluster=nw.col(group).cast(nw.String) if group else nw.lit(None, nw.String),
    )
    found = engine.collect(
        base.group_by("__outcome").agg(n=row_count(), last=(nw.col("__start") + nw.col("__seen")).max())
    )
    if found.empty:
        raise NotAvailable("there are no episodes.")
    if unknown := sorted({str(o) for o in found["__outcome"]} - set(OUTCOMES)):
        raise FrameError(f"outcome holds {first_few(unknown)}. Allowed: {', '.join(OUTCOMES)}.")
    last = int(found["last"].max())
    late = nw.col("__entry") > 0
    young = nw.lit(last) - nw.col("__start") < horizon
    lost = (nw.col("__outcome") == "censored") & (nw.col("__exit") < horizon)
    why = (
        nw.when(late)
        .then(nw.lit(1))
        .when(young)
        .then(nw.lit(2))
        .when(lost)
        .then(nw.lit(3))
        .otherwise(nw.lit(0))
    )
    base = base.with_columns(__why=why)
    left_out = engine.collect(base.group_by("__why").agg(n=row_count())).set_index("__why")["n"]
    reasons = {
        1: "were first seen after day 0",
        2: f"began less than {horizon} days before the end of the book",
        3: "vanished from the book before the horizon",
    }
    notes = [
        f"{int(left_out[k]):,} episodes left out: they {text}."
        for k, text in reasons.items()
        if k in left_out
    ]
    if left_out.get(1, 0) > 0.1 * left_out.sum():
        notes.append("Results hold for episodes watched from their first day; old cases may differ.")
    data = engine.collect(base.filter(nw.col("__why") == 0))
    data = data.sort_values([f"__o{i}" for i in range(len(order))], kind="stable").reset_index(drop=True)
    cured = ((data["__outcome"] == "cured") & (data["__exit"] <= horizon)).to_numpy(float)
    few = int(min(cured.sum(), len(cured) - cured.sum()))
    if few < _ENOUGH:
        raise NotAvailable(
            f"a regression of cure needs at least {_ENOUGH} cured and {_ENOUGH} not cured; "
            f"here {int(cured.sum()):,} of {len(cured):,} episodes followed for {horizon} days are cured."
        )
    clusters = pd.factorize(data["__cluster"])[0] if group else np.arange(len(data))
    inputs = data[[f"__x{i}" for i in range(len(covariates))]].set_axis(covariates, axis=1)
    return inputs, cured, clusters, notes


def _fit(X: np.ndarray, cured: np.ndarray, clusters: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Coefficients of the logistic regression and their cluster-robust covariance."""
    import statsmodels.api as sm

    many = len(np.unique(clusters)) > 1
    kind = {"cov_type": "cluster", "cov_kwds": {"groups": clusters}} if many else {"cov_type": "HC1"}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            fit = sm.Logit(cured, X).fit(disp=0, maxiter=100, **kind)
        sound = fit.mle_retvals["converged"] and np.isfinite(fit.cov_params()).all()
        with np.errstate(over="ignore"):
            predicted = fit.predict(X)
        sound = sound and not (np.minimum(predicted, 1 - predicted) < 1e-8).mean() > 0.02
    except np.linalg.LinAlgError:
        sound = False
    if not sound:
        raise NotAvailable(
            "the characteristics tell the cured from the others perfectly (or nearly), so their effects have "
            "no finite estimate. Use fewer covariates or a longer book."
        )
    return np.asarray(fit.params), np.asarray(fit.cov_params())


def _effects(
    terms: list[Term], X: np.ndarray, beta: np.ndarray, covariance: np.ndarray, conf_level: float
) -> pd.DataFrame:
    """Average marginal effects by the delta method, and odds ratios."""
    from scipy.special import expit, ndtr, ndtri

    z = ndtri((1 + conf_level) / 2)
    rows, first = [], 1
    for term in terms:
        width = term.matrix.shape[1]
        span = slice(first, first + width)
        for level, reference, episodes, cured, k, numeric in term.contrasts:
            high, low = X.copy(), X
            if numeric:
                high[:, first + k] += 1
            else:
                low = X.copy()
                dummies = [c[4] for c in term.contrasts if not c[5]]
                for frame in (high, low):
                    frame[:, [first + d for d in dummies]] = 0
                high[:, first + k] = 1
            p_high, p_low = expit(high @ beta), expit(low @ beta)
            effect = (p_high - p_low).mean()
            slope = ((p_high * (1 - p_high))[:, None] * high - (p_low * (1 - p_low))[:, None] * low).mean(
                axis=0
            )
            error = float(np.sqrt(slope @ covariance @ slope))
            b, se = beta[span][k], np.sqrt(covariance[first + k, first + k])
            rows.append(
                {
                    "term": term.name,
                    "level": level,
                    "reference": reference,
                    "episodes": episodes,
                    "cured": cured / episodes if cured >= 0 else np.nan,
                    "odds_ratio": float(np.exp(b)),
                    "estimate": float(effect),
                    "std_error": error,
                    "conf_low": effect - z * error,
                    "conf_high": effect + z * error,
                    "p_value": float(2 * ndtr(-abs(b / se))),
                }
            )
        first += width
    return pd.DataFrame(rows)
