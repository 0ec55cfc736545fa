"""What a treatment that people chose may have caused: naive, adjusted, weighted and doubly robust, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from collectlab.core.errors import FrameError, first_few
from collectlab.core.jackknife import check_level
from collectlab.core.results import Result
from collectlab.core.tables import format_value
from collectlab.effects import compare_checks as checks
from collectlab.effects.compare_design import design
from collectlab.effects.compare_estimates import Estimated, estimates, joint_covariance, naive, propensity
from collectlab.effects.compare_frame import (
    Sample,
    lone_clusters,
    names_of,
    read_sample,
    refuse_lone_clusters,
    unit_of,
)
from collectlab.effects.compare_result import Comparison
from collectlab.effects.compare_times import compare_times
from collectlab.effects.effect_result import Check
from collectlab.effects.target_trial_later import later_faults

__all__ = ["Comparison", "compare", "compare_times"]

_ADJUSTED = ("adjusted", "weighted", "doubly robust")


def compare(
    frame: Any,
    *,
    treatment: str,
    outcome: str,
    covariates: str | Sequence[str],
    treated: Any = None,
    decided_on: str | None = None,
    time_zero: str | None = None,
    cluster: str | None = None,
    effect: str = "all",
    placebo: str | Sequence[str] = (),
    placebo_date: str | None = None,
    negative_controls: str | Sequence[str] = (),
    randomised: Result | None = None,
    trim: float | None = 0.05,
    conf_level: float = 0.95,
) -> Comparison:
    """Effect of a treatment that people chose, allowing for what they chose by as far as the frame holds it.

    Estimand: the mean outcome had all been treated, minus the mean had nobody been, over the accounts that could
    have got either (``effect="treated"``: over those of them that were treated). It holds if, among accounts alike in
    the covariates, the choice had nothing to do with what would have followed. No figure can show that; the checks
    show where it fails, if they can: on simulated books whose collectors went by a trait that no column shows, the
    placebos failed in one book of ten, though the estimates were wrong in most (benchmarks/comparisons.txt). Four
    estimates, ``doubly robust`` being the headline:

    - naive: the plain difference of everybody treated and everybody not;
    - adjusted: least squares of the outcome on the covariates in each group, averaged over all (regression adjustment);
    - weighted: means weighted by the inverse of the propensity, a logistic regression on the same columns;
    - doubly robust: both (augmented inverse-probability weighting), right if either model is.

    Numbers enter both models as restricted cubic splines with four knots (in logs where positive and skewed), texts as
    levels. The models of 0/1 outcomes are linear too: a difference of means is what is asked for, the doubly robust
    estimate does not rest on their shape alone, and statsmodels has no other here.

    Parameters
    ----------
    frame : frame
        One row per account, such as :func:`~collectlab.effects.cohort.cohort` gives; anything Narwhals takes.
    treatment : str
        Column with two values. Rows without a value are left out and counted.
    outcome : str
        Numeric or true/false column.
    covariates : str or list of str
        What the choice was made by, as known at time zero: numbers, texts, true/false. Missing numbers enter as the
        mean with a flag, missing texts as a level; both are counted in the notes.
    treated : optional
        The value of ``treatment`` that means treated. Not needed for true/false and 0/1.
    decided_on, time_zero : str, optional
        Columns with the dates of the decision and of the start of the outcome's clock. A decision after time zero is
        refused. Without them the check ``known_at_start`` cannot be made.
    cluster : str, optional
        Column with what repeats (the customer): errors are robust to dependence within it. At least two on each
        side.
    effect : {"all", "treated"}
        Whose effect.
    placebo : str or list of str
        Columns fixed before time zero (``prior_episodes``). Each is taken as the outcome, adjusted for the other
        covariates; it must show no effect.
    placebo_date : str, optional
        The outcome itself, counted over a window that ended before the choice (``paid_before_90`` for money paid): the
        comparison as it would look at that earlier date. It must show no effect.
    negative_controls : str or list of str
        Outcomes after time zero that the treatment cannot touch. They must show no effect.
    randomised : Result, optional
        The same effect where accounts were drawn by lot; shown beside and compared.
    trim : float or None
        Accounts with a propensity below it or above 1 − it are left out, and the models are fitted again
        (``effect="treated"``: only above 1 − it). Accounts in levels that hold only one kind are always left out.
        Crump and others (2009) advise 0.1 where precision counts most; the default keeps more of the accounts in the
        question.
    conf_level : float
        Level of the intervals and, as 1 − level, of the tests among the checks.

    Returns
    -------
    Comparison
        Errors come from the influence of each account, the propensity and outcome models' own uncertainty
        included; intervals and p-values use Student's t with accounts (or clusters) − 1 degrees of freedom.
        ``checks``: known_at_start, overlap, balance, agreement, robustness (E-values), and where asked for
        placebo_outcome, placebo_date, negative_control, agrees_with_randomised. ``.plot()``, ``.plot_overlap()``,
        ``.plot_balance()``, ``.beside(other)``.

    Raises
    ------
    FrameError
        Missing columns; a treatment that everybody or nobody has, with more than two values, or decided after time
        zero; a constant outcome; covariates that tell treated from untreated perfectly; nobody left to compare; one
        column in two roles; covariates and placebos known only after time zero; one cluster only on a side.

    References
    ----------
    Lunceford & Davidian (2004), doi:10.1002/sim.1903. Crump, Hotz, Imbens & Mitnik (2009), Biometrika 96,
    doi:10.1093/biomet/asn055. VanderWeele & Ding (2017), doi:10.7326/M16-2607. Lipsitch, Tchetgen & Cohen (2010),
    Epidemiology 21, doi:10.1097/EDE.0b013e3181d61eeb (negative controls).

    Examples
    --------
    Collectors call those with low scores, who pay less; within each score, those called pay more.

    >>> import pandas as pd
    >>> cells = [("low", 1, 1, 40), ("low", 1, 0, 40), ("low", 0, 1, 6), ("low", 0, 0, 14),
    ...          ("high", 1, 1, 16), ("high", 1, 0, 4), ("high", 0, 1, 48), ("high", 0, 0, 32)]
    >>> frame = pd.DataFrame([c[:3] for c in cells for _ in range(c[3])], columns=["score", "called", "paid"])
    >>> result = compare(frame, treatment="called", outcome="paid", covariates="score")
    >>> result.table[["method", "estimate", "std_error"]].round(3)
              method  estimate  std_error
    0          naive      0.02      0.071
    1       adjusted      0.20      0.078
    2       weighted      0.20      0.078
    3  doubly robust      0.20      0.078
    """
    check_level(conf_level)
    covariates, placebo, negative = names_of(covariates), names_of(placebo), names_of(negative_controls)
    if effect not in ("all", "treated"):
        raise FrameError(f"effect is {effect!r}. Allowed: 'all', 'treated'.")
    if not (trim is None or (isinstance(trim, (int, float)) and 0 <= trim < 0.5)):
        raise FrameError(f"trim is {trim!r}. Allowed: None, or from 0 to less than 0.5, such as 0.05.")
    if late := later_faults("placebo", placebo):
        raise FrameError(late)
    others = [*placebo, *negative, *([placebo_date] if placebo_date else [])]
    sample = read_sample(
        frame,
        treatment=treatment,
        outcome=outcome,
        covariates=covariates,
        treated=treated,
        decided_on=decided_on,
        time_zero=time_zero,
        cluster=cluster,
        others=list(dict.fromkeys(others)),
    )
    if not sample.covariates:
        raise FrameError(f"none of the covariates {first_few(covariates)} differs between accounts.")
    chance, kept, overlap = _common(sample, trim or 0.0, effect)
    used = sample.take(kept)
    refuse_lone_clusters(used.treated, used.cluster, cluster)
    notes = list(sample.notes)
    x = design(used.covariates, used.treated, notes)
    selected = propensity(x, used.treated)
    found = estimates(used.y, used.treated, x, selected, effect)
    unit = unit_of(sample.y, outcome)
    head = {"outcome": outcome, "unit": unit}
    rows = [_row(head, "naive", sample, naive(sample.y, sample.treated), conf_level)]
    rows += [_row(head, m, used, found[m], conf_level) for m in _ADJUSTED]
    headline = len(rows) - 1

    alpha = 1 - conf_level
    weights = _weights(used.treated, np.asarray(selected.predict()), effect)
    spread = checks.balance_table(used.covariates, used.treated, weights)
    influences = np.stack([found[m].influence for m in _ADJUSTED])
    made = [
        sample.start,
        overlap,
        checks.balance(spread, weights),
        checks.agreement(
            np.array([found[m].estimate for m in _ADJUSTED]),
            joint_covariance(influences, used.cluster),
            alpha,
        ),
        checks.robustness(used, rows[headline], used.covariates),
    ]
    for name, columns, what in (
        ("placebo_outcome", placebo, "what was fixed before time zero"),
        ("placebo_date", names_of(placebo_date), "the same outcome at an earlier date"),
        ("negative_control", negative, "what the treatment cannot touch"),
    ):
        if columns:
            made.append(_without_effect(name, what, used, columns, effect, conf_level))
    if randomised is not None:
        rows.append(_randomised(randomised, head))
        made.append(checks.agrees_with_randomised(rows[headline], rows[-1], alpha))
    who = "" if effect == "all" else ", over the treated"
    notes.append(
        f"{len(used.y):,} of {len(sample.y):,} accounts are in the adjusted estimates; the naive row has all. Errors are "
        + (f"robust to dependence within {cluster}." if cluster else "robust to unequal variances.")
    )
    if unit == "points":
        notes.append("The outcome models are linear; single fitted shares may lie outside 0 to 1.")
    return Comparison(
        table=pd.DataFrame(rows),
        estimand=(
            f"Mean {outcome} if {sample.words[0]}, minus mean if {sample.words[1]}{who}, among accounts alike in "
            f"{first_few(covariates, 8)} that could have got either"
        ),
        unit=unit,
        title=f"{sample.words[0]} against {sample.words[1]}, as people chose",
        notes=tuple(dict.fromkeys(notes)),
        formats={"n_treated": "count", "n_untreated": "count"},
        conf_level=conf_level,
        design="comparison",
        checks=tuple(made),
        headline=headline,
        balance=spread,
        propensity=pd.DataFrame(
            {"account_id": sample.ids, "treated": sample.treated, "propensity": chance, "kept": kept}
        ),
        words=sample.words,
    )


def _common(sample: Sample, trim: float, effect: str) -> tuple[np.ndarray, np.ndarray, Check]:
    """Each account's propensity, whether it is kept, and the check of overlap; raises where nobody is left."""
    named, alone = checks.one_sided(sample.covariates, sample.treated)
    inside = ~alone
    chance = np.full(len(sample.y), np.nan)
    where = f" No overlap at: {first_few(named, 6)}." if named else ""
    if min(sample.treated[inside].sum(), (~sample.treated[inside]).sum()) < 2:
        raise FrameError(f"no overlap: nobody is left to compare.{where}")
    part = sample.take(inside)
    try:
        chance[inside] = propensity(design(part.covariates, part.treated, []), part.treated).predict()
    except FrameError as error:
        raise FrameError([*error.faults, *([where.strip()] if where else [])]) from error
    kept = inside & (chance <= 1 - trim)
    rule = f"Trimmed at a propensity of {1 - trim:g}" if trim else "Not trimmed"
    if trim and effect == "all":
        kept &= chance >= trim
        rule = f"Trimmed to propensities from {trim:g} to {1 - trim:g}"
    left = [int((kept & side).sum()) for side in (sample.treated, ~sample.treated)]
    columns = 1 + len(sample.covariates)
    if min(left) <= columns or np.ptp(sample.y[kept]) == 0:
        raise FrameError(
            f"no overlap: after trimming {left[0]:,} treated and {left[1]:,} untreated accounts are left, too few "
            f"to compare.{where}"
        )
    return chance, kept, checks.overlap(chance, sample.treated, kept, named, rule)


def _weights(treated: np.ndarray, chance: np.ndarray, effect: str) -> tuple[np.ndarray, np.ndarray]:
    target = 1.0 if effect == "all" else chance
    return treated * target / chance, ~treated * target / (1 - chance)


def _row(head: dict, method: str, sample: Sample, found: Estimated, conf_level: float) -> dict:
    from scipy import stats

    error = float(np.sqrt(joint_covariance(found.influence[None, :], sample.cluster)[0, 0]))
    freedom = (len(sample.y) if sample.cluster is None else int(sample.cluster.max()) + 1) - 1
    reach = float(stats.t.ppf((1 + conf_level) / 2, freedom)) * error if freedom > 0 else np.nan
    p = float(2 * stats.t.sf(abs(found.estimate) / error, freedom)) if error > 0 and freedom > 0 else np.nan
    return {
        **head,
        "method": method,
        "n_treated": int(sample.treated.sum()),
        "n_untreated": int((~sample.treated).sum()),
        "mean_without": found.without,
        "estimate": found.estimate,
        "std_error": error,
        "conf_low": found.estimate - reach,
        "conf_high": found.estimate + reach,
        "p_value": p,
    }


def _without_effect(
    name: str, what: str, used: Sample, columns: list[str], effect: str, conf_level: float
) -> Check:
    """The doubly robust estimate on outcomes that can have no effect, each adjusted for the other covariates."""
    told, silent = [], []
    for column in columns:
        y = used.others[column]
        here = np.isfinite(y)
        part = used.take(here)
        others = [c for c in part.covariates if c.name != column]
        sizes = part.treated.sum(), (~part.treated).sum()
        if (
            min(sizes) <= 1 + len(others)
            or np.ptp(y[here]) == 0
            or not others
            or (lone_clusters(part.treated, part.cluster))
        ):
            silent.append(f"{column} is known and varies for too few accounts ({len(part.y):,})")
            continue
        x = design(others, part.treated, [])
        try:
            found = estimates(y[here], part.treated, x, propensity(x, part.treated), effect)["doubly robust"]
        except FrameError as error:
            silent.append(f"{column}: {error}")
            continue
        row = _row({}, "", part, found, conf_level)
        told.append((column, row["p_value"], format_value(row["estimate"], unit_of(y, column))))
    if not told:
        return Check(name=name, passed=None, says=f"Could not be made: {'; '.join(silent)}.")
    check = checks.no_effect(name, what, told, 1 - conf_level)
    return replace(check, says=f"{check.says} Could not be made: {'; '.join(silent)}.") if silent else check


def _randomised(result: Result, head: dict) -> dict:
    table = result.table
    if "outcome" in table and (table["outcome"] == head["outcome"]).sum() == 1:
        row = table[table["outcome"] == head["outcome"]].iloc[0]
    else:
        row = table.iloc[getattr(result, "headline", 0)]
    unit = row.get("unit", result.unit)
    if unit != head["unit"]:
        raise FrameError(
            f"the randomised estimate is in {unit}, {head['outcome']} in {head['unit']}. Allowed: the same outcome."
        )
    return {
        **head,
        "method": "randomised",
        "n_treated": row.get("n_treated", row.get("n", np.nan)),
        "n_untreated": row.get("n_untreated", row.get("control_n", np.nan)),
        "mean_without": row.get("mean_without", row.get("control_mean", np.nan)),
        **{c: row.get(c, np.nan) for c in ("estimate", "std_error", "conf_low", "conf_high", "p_value")},
    }
