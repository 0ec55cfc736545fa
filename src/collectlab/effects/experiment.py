"""What a randomised strategy caused: the intention-to-treat effect of each arm against a control."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import narwhals as nw
import numpy as np
import pandas as pd

from collectlab.core.engine import collect, require, scan
from collectlab.core.errors import FrameError, first_few, nearest
from collectlab.core.jackknife import check_level
from collectlab.effects._least_squares import fit
from collectlab.effects.assigned import experiment_frame
from collectlab.effects.experiment_result import HORIZON, OUTCOME_WORDS, ExperimentResult, label_of

__all__ = ["ExperimentResult", "experiment", "experiment_frame"]

#: Arms that are the control when nobody names one, best first; else the largest arm.
USUAL_CONTROLS = ("Holdout", "holdout", "control", "champion")
MAX_LEVELS = 50
_MONEY_WORDS = {"amount", "paid", "recovered", "cost", "balance", "owed", "net", "money"}


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
        longest that can be compared also ``current_after_…`` and ``amount_within_…``.
    covariates : str or list of str
        Columns known before assignment. They can only sharpen the comparison: centred and interacted with
        the arms (Lin 2013). Text is taken as categories; missing numbers as the mean with a flag.
    block : str, optional
        Column with the block of the randomisation; comparisons are then made within blocks.
    cluster : str, optional
        Column with the unit that was randomised where it has several rows (say, the customer).
    conf_level : float
        Level of the intervals, strictly between 0 and 1.

    Returns
    -------
    ExperimentResult
        Standard errors are HC3, or robust to dependence within ``cluster``; intervals and p-values use
        Student's t.

    Raises
    ------
    FrameError
        No such column or control; an arm without accounts; an outcome that is constant or no number;
        blocks within which an arm cannot be compared with the control.

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
    asked = _names(outcomes)
    covariates = _names(covariates)
    data = scan(frame)
    given = [c for c in (block, cluster) if c is not None]
    require(data, arm, *asked, *covariates, *given)
    _refuse_kinds(data, asked)
    arms, notes = _arms(data, arm)
    control, chosen_note = _control(control, arms, arm)
    notes += chosen_note

    rows: list[dict[str, Any]] = []
    said: dict[str, list[str]] = {}
    for family in [asked] if asked else _usual_outcomes(data):
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
    cells = _cells(data, arm, outcome, covariates, block, cluster)
    notes = []
    if infinite := int(cells.loc[np.isinf(cells["y"]), "count"].sum()):
        raise FrameError(f"{outcome}: {infinite:,} infinite values. Allowed: finite numbers.")
    total = int(cells["count"].sum())
    cells, missing = _drop(cells, cells["y"].isna())
    if missing:
        notes.append(f"{missing:,} of {total:,} accounts have no value and are not counted.")
    for column, name in (("block", block), ("cluster", cluster)):
        if name:
            cells, missing = _drop(cells, cells[column].isna())
            if missing:
                notes.append(f"{missing:,} of {total:,} accounts have no {name} and are not counted.")
    sizes = cells.groupby("arm")["count"].sum()
    if empty := [a for a in arms if a not in sizes.index]:
        why = " ".join(notes) or "None was given."
        raise FrameError(f"{outcome}: no accounts in arm {first_few(empty)}. {why}")
    if cells["y"].nunique() == 1:
        raise FrameError(
            f"{outcome} is {cells['y'].iloc[0]:g} for all {int(sizes.sum()):,} accounts: nothing to compare."
        )
    others = [a for a in arms if a != control]
    treated = np.stack([(cells["arm"] == a).to_numpy(float) for a in others], axis=1)
    count = cells["count"].to_numpy(float)
    adjust = _design(cells, covariates, count)
    x = np.hstack([treated, adjust, *(treated[:, [j]] * adjust for j in range(len(others)))])
    y = cells["y"].to_numpy(float)
    codes = {c: pd.factorize(cells[c], sort=True)[0] for c in ("block", "cluster") if c in cells}
    if cluster and codes["cluster"].max() < 1:
        raise FrameError(f"{cluster} has one value only. Allowed: at least two clusters.")
    found = fit(y, x, count, codes.get("block", np.zeros(len(cells), dtype=int)), codes.get("cluster"))
    if lost := [a for a, ok in zip(others, found.identified) if not ok]:
        raise FrameError(
            f"{outcome}: arm {first_few(lost)} cannot be told from {control} or the covariates"
            + (f" within {block}: no block holds both." if block else ".")
        )
    from scipy import stats

    k = len(others)
    error = np.sqrt(np.clip(np.diag(found.covariance)[:k], 0, None))
    lonely = [a for a in arms if sizes[a] < 2]
    if lonely or found.freedom <= 0:
        notes.append(f"an arm with one account ({first_few(lonely or others)}) has no standard error.")
        error = np.where(
            [a in lonely or control in lonely or found.freedom <= 0 for a in others], np.nan, error
        )
    reach = stats.t.ppf((1 + conf_level) / 2, max(found.freedom, 1)) * error
    with np.errstate(divide="ignore", invalid="ignore"):
        p_value = 2 * stats.t.sf(np.abs(found.estimate[:k] / error), max(found.freedom, 1))
    unit = "points" if set(np.unique(y)) <= {0.0, 1.0} else _unit(outcome)
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
        }
        for j, a in enumerate(others)
    ]
    return rows, notes


def _cells(
    data: nw.LazyFrame, arm: str, outcome: str, covariates: list[str], block: str | None, cluster: str | None
) -> pd.DataFrame:
    """How many rows agree in everything that enters the model; sorted, so that sums have a fixed order."""
    schema = data.collect_schema()
    wanted = [nw.col(arm).cast(nw.String).alias("arm"), nw.col(outcome).cast(nw.Float64).alias("y")]
    if block:
        wanted.append(nw.col(block).cast(nw.String).alias("block"))
    if cluster:
        wanted.append(nw.col(cluster).cast(nw.String).alias("cluster"))
    for i, name in enumerate(covariates):
        kind = nw.Float64 if schema[name].is_numeric() else nw.String
        wanted.append(nw.col(name).cast(kind).alias(f"x{i}"))
    picked = data.select(*wanted).filter(~nw.col("arm").is_null())
    keys = picked.collect_schema().names()
    cells = collect(picked.group_by(keys).agg(nw.len().alias("count")))
    return cells.sort_values(keys, ignore_index=True, kind="stable")


def _design(cells: pd.DataFrame, covariates: list[str], count: np.ndarray) -> np.ndarray:
    """Covariates as centred columns: categories as 0/1 (the commonest left out), gaps as mean and flag."""
    columns = []
    for i, name in enumerate(covariates):
        values = cells[f"x{i}"]
        if pd.api.types.is_numeric_dtype(values):
            gap = ~np.isfinite(values.to_numpy(float))
            known = np.where(gap, 0.0, values.to_numpy(float))
            mean = np.sum(count * known) / max(np.sum(count[~gap]), 1)
            columns.append(np.where(gap, mean, known))
            if gap.any():
                columns.append(gap.astype(float))
        else:
            levels = values.fillna("(missing)").astype(str)
            sizes = pd.Series(count).groupby(levels.to_numpy()).sum().sort_index()
            if len(sizes) > MAX_LEVELS:
                raise FrameError(
                    f"covariate {name!r} has {len(sizes):,} different texts ({first_few(list(sizes.index))}). "
                    f"Allowed: up to {MAX_LEVELS} categories."
                )
            columns += [(levels == level).to_numpy(float) for level in sizes.index if level != sizes.idxmax()]
    if not columns:
        return np.empty((len(cells), 0))
    x = np.stack(columns, axis=1)
    return x - np.einsum("i,ij->j", count, x) / count.sum()


def _drop(cells: pd.DataFrame, out: pd.Series) -> tuple[pd.DataFrame, int]:
    return cells[~out].reset_index(drop=True), int(cells.loc[out, "count"].sum())


def _names(given: str | Sequence[str] | None) -> list[str]:
    return [given] if isinstance(given, str) else list(dict.fromkeys(given or ()))


def _refuse_kinds(data: nw.LazyFrame, outcomes: list[str]) -> None:
    schema = data.collect_schema()
    odd = [o for o in outcomes if not (schema[o].is_numeric() or schema[o] == nw.Boolean)]
    if odd:
        raise FrameError([f"outcome {o!r} is {schema[o]}. Allowed: numbers or true/false." for o in odd])


def _arms(data: nw.LazyFrame, arm: str) -> tuple[dict[str, int], list[str]]:
    """Accounts per arm, in the order of the arms' names."""
    counted = collect(
        data.select(nw.col(arm).cast(nw.String).alias("arm")).group_by("arm").agg(nw.len().alias("count"))
    )
    missing = int(counted.loc[counted["arm"].isna(), "count"].sum())
    counted = counted.dropna(subset="arm").sort_values("arm")
    arms = {str(a): int(n) for a, n in zip(counted["arm"], counted["count"])}
    if len(arms) < 2:
        have = f"only {first_few(list(arms))}" if arms else "no rows with an arm"
        raise FrameError(f"{arm}: {have}. Allowed: two arms or more.")
    return arms, [f"{missing:,} rows without {arm} are not counted."] if missing else []


def _control(control: str | None, arms: dict[str, int], arm: str) -> tuple[str, list[str]]:
    if control not in (None, ""):
        if str(control) in arms:
            return str(control), []
        near = nearest(str(control), arms)
        hint = f" Did you mean {' or '.join(near)}?" if near else ""
        raise FrameError(f"{arm}: no arm {str(control)!r}.{hint} Arms there: {first_few(list(arms), 20)}.")
    usual = next((name for name in USUAL_CONTROLS if name in arms), None)
    if usual:
        return usual, []
    largest = min(arms, key=lambda a: (-arms[a], a))
    return largest, [f"No control was named: {largest} is the largest arm and is taken."]


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


def _unit(outcome: str) -> str:
    return "money2" if _MONEY_WORDS & set(re.split(r"[^a-z]+", outcome.lower())) else "number"
