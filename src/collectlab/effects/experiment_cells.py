"""What every read-out of an experiment starts from: its arms, its control, and rows that agree counted as one."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

import narwhals as nw
import numpy as np
import pandas as pd

from collectlab.core.engine import collect
from collectlab.core.errors import FrameError, first_few, nearest
from collectlab.effects.target_trial_later import later_faults

#: Arms that are the control when nobody names one, best first; else the largest arm.
USUAL_CONTROLS = ("Holdout", "holdout", "control", "champion")
MAX_LEVELS = 50
_MAYBE_MONEY = {"paid", "recovered", "owed"}
_SURELY_MONEY = {"amount", "cost", "balance", "net", "money"}


def names_of(given: str | Sequence[str] | None) -> list[str]:
    """One name or several, each once."""
    return [given] if isinstance(given, str) else list(dict.fromkeys(given or ()))


def arms_of(data: nw.LazyFrame, arm: str) -> tuple[dict[str, int], list[str]]:
    """Accounts per arm, in the order of the arms' names, and a note of those without."""
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


def control_of(control: str | bool | None, arms: Mapping[str, int], arm: str) -> tuple[str, list[str]]:
    """The arm that the others are compared with, and a note where nobody named it."""
    if control not in (None, ""):
        if isinstance(control, bool):  # as engines write a flag
            control = str(control).lower()
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


def refuse_kinds(data: nw.LazyFrame, columns: Sequence[str], what: str = "outcome") -> None:
    """Outcomes are numbers or true/false."""
    schema = data.collect_schema()
    odd = [c for c in columns if not (schema[c].is_numeric() or schema[c] == nw.Boolean)]
    if odd:
        raise FrameError([f"{what} {c!r} is {schema[c]}. Allowed: numbers or true/false." for c in odd])


def refuse_roles(arm: str, outcomes: Sequence[str], **early: Sequence[str]) -> None:
    """What must be known before the draw is neither the arm, nor an outcome, nor known only later."""
    faults = [f"{arm!r} is the arm and an outcome. Allowed: one of the two."] if arm in outcomes else []
    for role, columns in early.items():
        both = [c for c in columns if c in (arm, *outcomes)]
        if both:
            faults.append(
                f"{role}: {first_few(both)}, which is the arm or an outcome. Allowed: columns known before the "
                "assignment."
            )
        faults += later_faults(role, [c for c in columns if c not in both])
    if faults:
        raise FrameError(faults)


def count_cells(
    data: nw.LazyFrame,
    arm: str,
    values: Mapping[str, nw.Expr],
    covariates: Sequence[str] = (),
    block: str | None = None,
    cluster: str | None = None,
) -> pd.DataFrame:
    """How many rows agree in everything that enters a model; sorted, so that sums have a fixed order.

    Columns: ``arm``, those of ``values``, ``block`` and ``cluster`` where given, ``x0, x1, …`` (the
    covariates) and ``count``. Rows without an arm are left out.
    """
    schema = data.collect_schema()
    wanted = [nw.col(arm).cast(nw.String).alias("arm")]
    wanted += [value.cast(nw.Float64).alias(name) for name, value in values.items()]
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


def usable(
    cells: pd.DataFrame, values: Mapping[str, str], block: str | None, cluster: str | None, whose: str = ""
) -> tuple[pd.DataFrame, list[str]]:
    """The cells in which everything needed is known, and a note for each thing that was not.

    ``values`` says what the columns are called in notes.
    """
    notes = []
    for column, name in values.items():
        infinite = int(cells.loc[np.isinf(cells[column].to_numpy(float)), "count"].sum())
        if infinite:
            raise FrameError(f"{name or whose}: {infinite:,} infinite values. Allowed: finite numbers.")
    total = int(cells["count"].sum())
    wanted = dict(values)
    wanted |= {column: name for column, name in (("block", block), ("cluster", cluster)) if name}
    for column, name in wanted.items():
        gone = cells[column].isna()
        if missing := int(cells.loc[gone, "count"].sum()):
            cells = cells[~gone].reset_index(drop=True)
            notes.append(f"{missing:,} of {total:,} accounts have no {name or 'value'} and are not counted.")
    return cells, notes


def codes_of(cells: pd.DataFrame, cluster: str | None) -> tuple[np.ndarray, np.ndarray | None]:
    """Blocks (all one where there are none) and clusters as 0, 1, …"""
    codes = {c: pd.factorize(cells[c], sort=True)[0] for c in ("block", "cluster") if c in cells}
    if cluster and codes["cluster"].max() < 1:
        raise FrameError(f"{cluster} has one value only. Allowed: at least two clusters.")
    return codes.get("block", np.zeros(len(cells), dtype=int)), codes.get("cluster")


def refuse_lone_clusters(cells: pd.DataFrame, cluster: str | None) -> None:
    """Every arm needs two clusters: from one, nobody can see how clusters differ."""
    if not cluster:
        return
    held = cells.groupby("arm")["cluster"].nunique()
    if lone := [str(a) for a in held.index[held < 2]]:
        raise FrameError(
            f"{cluster} has only one cluster in arm {first_few(lone)}, so no standard error can be had. Allowed: at "
            "least two clusters in each arm."
        )


def design(
    cells: pd.DataFrame, covariates: Sequence[str], count: np.ndarray
) -> tuple[np.ndarray, list[tuple[str, str]]]:
    """Covariates as centred columns: categories as 0/1 (the commonest left out), gaps as mean and flag.

    With them, for each column the covariate and what of it: a category, "missing", or nothing.
    """
    columns: list[np.ndarray] = []
    labels: list[tuple[str, str]] = []
    for i, name in enumerate(covariates):
        values = cells[f"x{i}"]
        if pd.api.types.is_numeric_dtype(values):
            gap = ~np.isfinite(values.to_numpy(float))
            known = np.where(gap, 0.0, values.to_numpy(float))
            mean = np.sum(count * known) / max(np.sum(count[~gap]), 1)
            columns.append(np.where(gap, mean, known))
            labels.append((name, ""))
            if gap.any():
                columns.append(gap.astype(float))
                labels.append((name, "missing"))
        else:
            levels = values.fillna("(missing)").astype(str)
            sizes = pd.Series(count).groupby(levels.to_numpy()).sum().sort_index()
            if len(sizes) > MAX_LEVELS:
                raise FrameError(
                    f"covariate {name!r} has {len(sizes):,} different texts ({first_few(list(sizes.index))}). "
                    f"Allowed: up to {MAX_LEVELS} categories."
                )
            kept = [level for level in sizes.index if level != sizes.idxmax()]
            columns += [(levels == level).to_numpy(float) for level in kept]
            labels += [(name, level) for level in kept]
    if not columns:
        return np.empty((len(cells), 0)), []
    x = np.stack(columns, axis=1)
    return x - np.einsum("i,ij->j", count, x) / count.sum(), labels


def unit_of(outcome: str, values: Iterable[float]) -> str:
    """The unit of a difference: points of 0/1 outcomes, money by the name, else a number."""
    words = set(re.split(r"[^a-z]+", outcome.lower()))
    # "paid" may be a flag or a sum; a cost of 0 or 1 is money all the same.
    if not words & _SURELY_MONEY and set(np.unique(np.asarray(values, dtype=float))) <= {0.0, 1.0}:
        return "points"
    return "money2" if words & (_MAYBE_MONEY | _SURELY_MONEY) else "number"


def apart(data: nw.LazyFrame, arm: str, unit: str) -> tuple[nw.LazyFrame, list[str]]:
    """Rows of the units that stand under one arm only, and the ids of those under several."""
    seen = data.filter(~nw.col(arm).is_null() & ~nw.col(unit).is_null())
    first, last = (getattr(nw.col(arm).cast(nw.String), how)() for how in ("min", "max"))
    spans = seen.group_by(unit).agg(_first=first, _last=last).filter(nw.col("_first") != nw.col("_last"))
    ids = collect(spans.select(nw.col(unit).cast(nw.String).alias("unit")))["unit"]
    if ids.empty:
        return data, []
    rest = data.join(spans.select(unit), on=unit, how="anti")
    return rest, sorted(ids.astype(str))


def refuse_repeats(data: nw.LazyFrame, arm: str, unit: str) -> None:
    """A unit that has several rows would count as several."""
    named = data.filter(~nw.col(arm).is_null() & ~nw.col(unit).is_null())
    counted = named.select(unit=nw.col(unit).cast(nw.String)).group_by("unit").agg(rows=nw.len())
    ids = sorted(collect(counted.filter(nw.col("rows") > 1))["unit"].astype(str))
    if ids:
        raise FrameError(
            f"{len(ids):,} of {unit} have several rows ({first_few(ids)}), which are not independent. Allowed: one row "
            f"for each, or cluster={unit!r}."
        )
