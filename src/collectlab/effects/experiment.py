"""What a randomised strategy caused: the intention-to-treat effect of each arm against a control."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import narwhals as nw
import numpy as np
import pandas as pd

from collectlab.core.engine import require, scan
from collectlab.core.errors import FrameError, first_few
from collectlab.core.jackknife import check_level
from collectlab.core.tables import MAX_ROWS
from collectlab.effects._least_squares import fit
from collectlab.effects.assigned import experiment_frame
from collectlab.effects.effect_result import Check
from collectlab.effects.experiment_cells import (
    apart,
    arms_of,
    codes_of,
    control_of,
    count_cells,
    design,
    names_of,
    refuse_kinds,
    refuse_lone_clusters,
    refuse_repeats,
    refuse_roles,
    unit_of,
    usable,
)
from collectlab.effects.experiment_checks import experiment_checks
from collectlab.effects.experiment_result import ALL_ARMS, HORIZON, OUTCOME_WORDS, ExperimentResult, label_of
from collectlab.effects.experiment_simultaneous import simultaneous

__all__ = ["ExperimentResult", "experiment", "experiment_frame"]


def experiment(
    frame: Any,
    *,
    arm: str = "strategy",
    control: str | None = None,
    outcomes: str | Sequence[str] = (),
    covariates: str | Sequence[str] = (),
    block: str | None = None,
    cluster: str | None = None,
    conf_level: float = 0.95,
    unit: str | None = None,
    shares: Mapping[str, float] | None = None,
    baseline: str | Sequence[str] = (),
    checks: Sequence[Check] = (),
) -> ExperimentResult:
    """Intention-to-treat effect of each arm of an experiment on each outcome.

    Estimand: the mean outcome had everybody been assigned to the arm, minus the mean had everybody been
    assigned to the control. Everybody counts in the arm they were assigned to, whatever was done to them
    afterwards. The estimate is the coefficient τ of the arm in least squares of

        y = α_block + Σ_arm τ_arm · 1[arm] + γ · (x − x̄) + Σ_arm δ_arm · 1[arm] · (x − x̄) + e,

    without covariates and blocks simply the difference of two means. It is causal because arms were drawn
    at random; on arms chosen by people the same numbers would be no effects.

    Parameters
    ----------
    frame : frame
        One row per unit assigned (account or customer). Rows without an arm are left out and counted.
    arm : str
        Column with the arm.
    control : str, optional
        The arm to compare with. None or "": ``Holdout``, ``control`` or ``champion`` where there is one,
        else the largest arm.
    outcomes : str or list of str
        Numeric or boolean columns. Missing values are left out of that outcome, and counted in the notes.
        None given: those of :func:`experiment_frame`: ``paid_within_…`` at each horizon, and at the
        longest that can be compared also ``current_after_…``, ``amount_within_…`` and so on, as far as people
        still read the table (with many arms the last of them are only named in the notes).
    covariates : str or list of str
        Columns known before assignment. They can only sharpen the comparison: centred and interacted with
        the arms (Lin 2013). Text is taken as categories; missing numbers as the mean with a flag.
    block : str, optional
        Column with the block of the randomisation; comparisons are then made within blocks.
    cluster : str, optional
        Column with the unit that was randomised where it has several rows (say, the customer); at least two
        in each arm.
    conf_level : float
        Level of the intervals, strictly between 0 and 1.
    unit : str, optional
        Column that names what was drawn (say, the account). Units under two arms are left out and counted; a
        unit with several rows in one arm is refused, unless ``cluster`` allows for it.
    shares : mapping of str to float, optional
        How the arms should have been shared out, such as ``{"firm": 1, "none": 2}``: every arm and its part.
        None: a column ``propensity`` where the frame has one.
    baseline : str or list of str
        Columns known before assignment on which the arms are checked for balance. None given: ``covariates``.
    checks : sequence of Check
        Checks made elsewhere (:func:`~collectlab.effects.experiment_checks.book_checks`); they are kept with
        the result, in place of one of the same name that is made here.

    Returns
    -------
    ExperimentResult
        Standard errors are HC3, or robust to dependence within ``cluster``; intervals and p-values use
        Student's t. With two arms or more beside the control also ``sim_low``, ``sim_high`` and
        ``p_adjusted``: intervals that hold for all arms of an outcome at once
        (:func:`~collectlab.effects.experiment_simultaneous.simultaneous`). Checks: ``sample_ratio``,
        ``balance``, ``attrition``, ``one_arm``, as far as the arguments allow.

    Raises
    ------
    FrameError
        No such column or control; an arm without accounts; an outcome that is constant or no number;
        blocks within which an arm cannot be compared with the control; one cluster only in an arm; a unit with
        several rows; a covariate, baseline or block that is the arm, an outcome or known only later.

    References
    ----------
    Lin (2013), Annals of Applied Statistics 7(1), doi:10.1214/12-AOAS583. MacKinnon & White (1985),
    Journal of Econometrics 29.

    Examples
    --------
    >>> import pandas as pd
    >>> people = pd.DataFrame({
    ...     "letter": ["none"] * 4 + ["firm"] * 4, "paid": [0, 0, 1, 0, 1, 1, 0, 1]})
    >>> result = experiment(people, arm="letter", control="none", outcomes="paid")
    >>> result.table[["outcome", "arm", "n", "control_mean", "estimate", "std_error"]].round(3)
      outcome   arm  n  control_mean  estimate  std_error
    0    paid  firm  4          0.25       0.5      0.408
    """
    check_level(conf_level)
    asked = names_of(outcomes)
    covariates = names_of(covariates)
    data = scan(frame)
    given = [c for c in (block, cluster, unit) if c is not None]
    require(data, arm, *asked, *covariates, *names_of(baseline), *given)
    refuse_kinds(data, asked)
    blocks = [c for c in (block,) if c not in (None, arm)]
    refuse_roles(arm, asked, covariates=covariates, baseline=names_of(baseline), block=blocks)
    whole = data
    data, doubled = apart(data, arm, unit) if unit else (data, [])
    if unit and not cluster:
        refuse_repeats(data, arm, unit)
    arms, notes = arms_of(data, arm)
    control, chosen_note = control_of(control, arms, arm)
    notes += chosen_note
    if doubled:
        notes.append(f"{len(doubled):,} of {unit} are under two arms and left out: {first_few(doubled)}.")

    rows: list[dict[str, Any]] = []
    said: dict[str, list[str]] = {}
    others = len(arms) - 1
    for family in [asked] if asked else _usual_outcomes(data):
        if not asked and rows and len(rows) + others > MAX_ROWS:
            notes.append(f"Not shown, for length: {label_of(family[0])}. Named in outcomes, it is.")
            continue
        for outcome in family:
            try:
                more, remarks = _effects(
                    data, arm, control, arms, outcome, covariates, block, cluster, conf_level
                )
            except FrameError as error:
                if asked:
                    raise
                notes.append(f"Left out: {error}")
                continue
            rows += more
            for remark in remarks:
                said.setdefault(remark, []).append(label_of(outcome))
            if not asked and rows[0]["outcome"] not in family:
                break  # of each further family the longest horizon will do: a table that people still read
    if not rows:
        raise FrameError(["no outcome can be compared.", *notes])
    notes += [f"{', '.join(labels)}: {remark}" for remark, labels in said.items()]
    if len(rows) > 5:
        by_chance = len(rows) * (1 - conf_level)
        notes.append(
            f"{len(rows)} comparisons: about {by_chance:.1f} of the intervals would miss 0 by chance "
            "if no arm had any effect."
        )
    if "sim_low" in rows[0]:
        notes.append(ALL_ARMS)
    own = experiment_checks(
        whole,
        arm=arm,
        outcomes=list(dict.fromkeys(row["outcome"] for row in rows)),
        baseline=names_of(baseline) or covariates,
        shares=shares,
        unit=unit,
        block=block,
        cluster=cluster,
    )
    named = {c.name: c for c in (*own, *checks)}
    notes += [f"Check failed: {c.says}" for c in named.values() if c.passed is False]
    kind = f"robust to dependence within {cluster}" if cluster else "HC3"
    notes.append(f"Standard errors are {kind}." + (" Compared within blocks." if block else ""))
    return ExperimentResult(
        table=pd.DataFrame(rows),
        estimand=(
            f"Mean outcome if assigned to the arm, minus mean if assigned to {control} (intention to treat: "
            "everyone counts in the arm assigned)"
        ),
        unit="points" if all(row["unit"] == "points" for row in rows) else "number",
        title=f"Effect of assignment, against {control}",
        notes=tuple(dict.fromkeys(notes)),
        formats={"n": "count"},
        conf_level=conf_level,
        control=control,
        design="experiment",
        checks=tuple(named.values()),
    )


def _effects(
    data: nw.LazyFrame,
    arm: str,
    control: str,
    arms: dict[str, int],
    outcome: str,
    covariates: list[str],
    block: str | None,
    cluster: str | None,
    conf_level: float,
) -> tuple[list[dict[str, Any]], list[str]]:
    """Rows of the table for one outcome, and what has to be said about them."""
    cells = count_cells(data, arm, {"y": nw.col(outcome)}, covariates, block, cluster)
    cells, notes = usable(cells, {"y": ""}, block, cluster, whose=outcome)
    sizes = cells.groupby("arm")["count"].sum()
    if empty := [a for a in arms if a not in sizes.index]:
        why = " ".join(notes) or "None was given."
        raise FrameError(f"{outcome}: no accounts in arm {first_few(empty)}. {why}")
    if cells["y"].nunique() == 1:
        raise FrameError(
            f"{outcome} is {cells['y'].iloc[0]:g} for all {int(sizes.sum()):,} accounts: nothing to compare."
        )
    refuse_lone_clusters(cells, cluster)
    others = [a for a in arms if a != control]
    treated = np.stack([(cells["arm"] == a).to_numpy(float) for a in others], axis=1)
    count = cells["count"].to_numpy(float)
    adjust, _ = design(cells, covariates, count)
    x = np.hstack([treated, adjust, *(treated[:, [j]] * adjust for j in range(len(others)))])
    y = cells["y"].to_numpy(float)
    found = fit(y, x, count, *codes_of(cells, cluster))
    if lost := [a for a, ok in zip(others, found.identified) if not ok]:
        raise FrameError(
            f"{outcome}: arm {first_few(lost)} cannot be told from {control} or the covariates"
            + (f" within {block}: no block holds both." if block else ".")
        )
    from scipy import stats

    k = len(others)
    error = np.sqrt(np.clip(np.diag(found.covariance)[:k], 0, None))
    error[error < 1e-12 * np.std(y)] = 0.0  # a constant within each arm, such as the cost of a letter
    lonely = [a for a in arms if sizes[a] < 2]
    if lonely or found.freedom <= 0:
        notes.append(f"an arm with one account ({first_few(lonely or others)}) has no standard error.")
        error = np.where(
            [a in lonely or control in lonely or found.freedom <= 0 for a in others], np.nan, error
        )
    reach = stats.t.ppf((1 + conf_level) / 2, max(found.freedom, 1)) * error
    with np.errstate(divide="ignore", invalid="ignore"):
        p_value = 2 * stats.t.sf(np.abs(found.estimate[:k] / error), max(found.freedom, 1))
    together: list[dict[str, float]] = [{}] * k
    if k > 1:
        covariance = found.covariance[:k, :k] * np.where(error > 0, 1.0, error)[:, None]
        covariance = covariance * np.where(error > 0, 1.0, error)
        sims = simultaneous(found.estimate[:k], covariance, found.freedom, conf_level)
        together = [dict(zip(("sim_low", "sim_high", "p_adjusted"), map(float, sim))) for sim in zip(*sims)]
    unit = unit_of(outcome, y)
    of_control = (cells["arm"] == control).to_numpy()
    control_mean = float(np.sum(count[of_control] * y[of_control]) / count[of_control].sum())
    rows = [
        {
            "outcome": outcome,
            "arm": a,
            "n": int(sizes[a]),
            "control_n": int(sizes[control]),
            "control_mean": control_mean,
            "unit": unit,
            "estimate": float(found.estimate[j]),
            "std_error": float(error[j]),
            "conf_low": float(found.estimate[j] - reach[j]),
            "conf_high": float(found.estimate[j] + reach[j]),
            "p_value": float(p_value[j]),
            **together[j],
        }
        for j, a in enumerate(others)
    ]
    return rows, notes


def _usual_outcomes(data: nw.LazyFrame) -> list[list[str]]:
    """Families of outcomes that differ in the horizon only: the first rising, the others falling."""
    families: dict[str, list[tuple[int, str]]] = {}
    for name in data.collect_schema().names():
        if match := HORIZON.fullmatch(name):
            families.setdefault(match[1], []).append((int(match[3]), name))
    if not families:
        raise FrameError(
            "no outcomes given. Allowed: names of numeric columns, or a frame of experiment_frame()."
        )
    first, *others = [families[kind] for kind in OUTCOME_WORDS if kind in families]
    return [[n for _, n in sorted(first)], *([n for _, n in sorted(f, reverse=True)] for f in others)]
