"""What a comparison is made from: the rows that can be compared, and the faults that forbid one."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import narwhals as nw
import numpy as np
import pandas as pd

from collectlab.core.columns import day_number
from collectlab.core.engine import collect, require, scan
from collectlab.core.errors import FrameError, first_few
from collectlab.effects.compare_design import Covariate, read_covariate
from collectlab.effects.effect_result import Check
from collectlab.effects.target_trial_later import later_faults

_MONEY_WORDS = {"amount", "paid", "recovered", "cost", "balance", "owed", "net", "money"}


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One row per account: outcome ``y``, whether treated, covariates, other outcomes, cluster codes, ids."""

    y: np.ndarray
    treated: np.ndarray
    covariates: list[Covariate]
    others: dict[str, np.ndarray]
    cluster: np.ndarray | None
    ids: np.ndarray
    words: tuple[str, str]
    start: Check
    notes: list[str] = field(default_factory=list)

    def take(self, rows: np.ndarray) -> Sample:
        """The same for some of the rows."""
        codes = None if self.cluster is None else pd.factorize(self.cluster[rows])[0]
        return replace(
            self,
            y=self.y[rows],
            treated=self.treated[rows],
            covariates=[c.take(rows) for c in self.covariates],
            others={k: v[rows] for k, v in self.others.items()},
            cluster=codes,
            ids=self.ids[rows],
        )


def names_of(given: str | Sequence[str] | None) -> list[str]:
    """One name or several as a list without repeats."""
    return [given] if isinstance(given, str) else list(dict.fromkeys(given or ()))


def read_sample(
    frame: Any,
    *,
    treatment: str,
    outcome: str,
    covariates: Sequence[str],
    treated: Any,
    decided_on: str | None,
    time_zero: str | None,
    cluster: str | None,
    others: Sequence[str],
) -> Sample:
    """The columns of a comparison in memory, sorted; raises for what cannot be compared."""
    data = scan(frame)
    given = [c for c in (decided_on, time_zero, cluster) if c is not None]
    require(data, treatment, outcome, *covariates, *others, *given)
    schema = data.collect_schema()
    _refuse(schema, treatment, outcome, covariates, others, decided_on, time_zero)
    key = "account_id" if "account_id" in schema.names() else None
    coded = schema[treatment].is_numeric() or schema[treatment] == nw.Boolean
    wanted = [
        nw.col(treatment).cast(nw.Float64 if coded else nw.String).alias("t"),
        *(nw.col(o).cast(nw.Float64).alias(f"y{i}") for i, o in enumerate((outcome, *others))),
        *(typed(c, schema[c]).alias(f"x{i}") for i, c in enumerate(covariates)),
        *([day_number(decided_on).alias("decided")] if decided_on else []),
        *([day_number(time_zero).alias("zero")] if time_zero else []),
        *([nw.col(cluster).cast(nw.String).alias("cluster")] if cluster else []),
        *([nw.col(key).cast(nw.String).alias("id")] if key else []),
    ]
    rows = collect(data.select(*wanted))
    # Sorted, so that sums have one order whatever the engine's.
    order = [c for c in ("id", "t", "y0") if c in rows] + [c for c in rows if c not in ("id", "t", "y0")]
    rows = rows.sort_values(order, ignore_index=True, kind="stable")
    if rows.empty:
        raise FrameError("the frame has no rows, so there is nothing to compare.")
    notes: list[str] = []
    for column, name in (("t", treatment), ("y0", outcome), *([("cluster", cluster)] if cluster else [])):
        gone = rows[column].isna().to_numpy()
        if gone.any():
            notes.append(f"{name}: {int(gone.sum()):,} of {len(rows):,} accounts have none and are left out.")
            rows = rows[~gone].reset_index(drop=True)
    if rows.empty:
        raise FrameError(f"no account has both {treatment} and {outcome}. {' '.join(notes)}")
    if key and not cluster and (again := int(rows["id"].duplicated().sum())):
        notes.append(
            f"{again:,} of {len(rows):,} rows repeat an account and are taken as independent; cluster= allows for it."
        )
    is_treated, words = _sides(rows["t"], treatment, treated, coded)
    start = _known_at_start(rows, is_treated, treatment, decided_on, time_zero)
    y = rows["y0"].to_numpy(float)
    if np.isinf(y).any():
        raise FrameError(f"{outcome}: {int(np.isinf(y).sum()):,} infinite values. Allowed: finite numbers.")
    if np.ptp(y) == 0:
        raise FrameError(f"{outcome} is {y[0]:g} for all {len(y):,} accounts: nothing to compare.")
    read = [read_covariate(c, rows[f"x{i}"], notes) for i, c in enumerate(covariates)]
    same = [c.name for c in read if len(set(c.levels if c.values is None else c.values)) == 1]
    if same:
        notes.append(f"{first_few(same)}: the same for all accounts; nothing to adjust for.")
    refuse_separation(read, is_treated, words)
    if min(is_treated.sum(), (~is_treated).sum()) < 2:
        raise FrameError(
            f"{int(is_treated.sum()):,} treated and {int((~is_treated).sum()):,} untreated accounts. "
            "Allowed: at least two of each."
        )
    codes = pd.factorize(rows["cluster"], sort=True)[0] if cluster else None
    refuse_lone_clusters(is_treated, codes, cluster)
    return Sample(
        y=y,
        treated=is_treated,
        covariates=[c for c in read if c.name not in same],
        others={o: rows[f"y{i + 1}"].to_numpy(float) for i, o in enumerate(others)},
        cluster=codes,
        ids=rows["id"].to_numpy() if key else np.arange(len(rows)),
        words=words,
        start=start,
        notes=notes,
    )


def unit_of(values: np.ndarray, name: str) -> str:
    """Unit of a difference: points of a 0/1 outcome, money by its name, else a number."""
    if set(np.unique(values[np.isfinite(values)])) <= {0.0, 1.0}:
        return "points"
    return "money2" if _MONEY_WORDS & set(re.split(r"[^a-z]+", name.lower())) else "number"


def lone_clusters(treated: np.ndarray, cluster: np.ndarray | None) -> list[str]:
    """The sides that lie in one cluster only."""
    if cluster is None:
        return []
    sides = (("treated", treated), ("untreated", ~treated))
    return [name for name, side in sides if len(np.unique(cluster[side])) < 2]


def refuse_lone_clusters(treated: np.ndarray, cluster: np.ndarray | None, name: str | None) -> None:
    """Both sides need two clusters: from one, nobody can see how clusters differ."""
    if lone := lone_clusters(treated, cluster):
        raise FrameError(
            f"{name} has only one cluster among the {' and among the '.join(lone)}, so no standard error can be had. "
            "Allowed: at least two clusters on each side."
        )


def typed(name: str, kind: Any) -> nw.Expr:
    """A covariate as it is read: numbers as they are, anything else as text."""
    if kind == nw.Boolean:
        return nw.when(nw.col(name)).then(nw.lit("yes")).when(~nw.col(name)).then(nw.lit("no"))
    return nw.col(name).cast(nw.Float64 if kind.is_numeric() else nw.String)


def _refuse(schema, treatment, outcome, covariates, others, decided_on, time_zero) -> None:
    faults = [
        f"{o!r} is {schema[o]}. Allowed as an outcome: numbers or true/false."
        for o in (outcome, *others)
        if not (schema[o].is_numeric() or schema[o] == nw.Boolean)
    ]
    dated = [c for c in covariates if schema[c] in (nw.Date, nw.Datetime)]
    faults += [f"covariate {c!r} is a date. Allowed: numbers or texts (say, days before)." for c in dated]
    faults += [
        f"{c!r} is {schema[c]}. Allowed: dates."
        for c in (decided_on, time_zero)
        if c is not None and schema[c] not in (nw.Date, nw.Datetime)
    ]
    if not covariates:
        faults.append(
            "covariates is empty. Allowed: at least one column known before the choice; without any, a "
            "comparison of what people chose is the plain difference, and no effect."
        )
    if both := [c for c in covariates if c in (treatment, outcome, decided_on, time_zero)]:
        faults.append(f"covariates holds {first_few(both)}, which is the treatment, the outcome or a date.")
    faults += later_faults("covariates", [c for c in covariates if c not in both])
    if treatment == outcome:
        faults.append(f"{treatment!r} is the treatment and the outcome. Allowed: one of the two.")
    if both := [c for c in others if c in (treatment, outcome)]:
        faults.append(
            f"{first_few(both)} is the treatment or the outcome, and no placebo or negative control."
        )
    if (decided_on is None) != (time_zero is None):
        faults.append("decided_on and time_zero belong together. Allowed: both, or neither.")
    if faults:
        raise FrameError(faults)


def _sides(
    values: pd.Series, treatment: str, treated: Any, coded: bool
) -> tuple[np.ndarray, tuple[str, str]]:
    found = sorted(values.unique())
    spoken = [f"{v:g}" if coded else str(v) for v in found]
    if len(found) > 2:
        raise FrameError(
            f"{treatment} holds {len(found):,} values: {first_few(spoken)}. Allowed: two; keep the rows of the two "
            "to be compared."
        )
    if treated is None:
        if not (coded and set(found) <= {0.0, 1.0}):
            raise FrameError(
                f"{treatment} holds {first_few(spoken)}, and treated says not which of them is the treatment."
            )
        treated = 1.0
    try:
        wanted = float(treated) if coded else str(treated)
    except (TypeError, ValueError) as error:
        raise FrameError(
            f"treated is {treated!r}, but {treatment} holds numbers: {first_few(spoken)}. Allowed: one of them."
        ) from error
    if wanted not in found:
        raise FrameError(
            f"nobody is treated: no account has {treatment} = {treated}. Values there: {first_few(spoken)}."
        )
    if len(found) == 1:
        raise FrameError(
            f"everybody is treated: all {len(values):,} accounts have {treatment} = {spoken[0]}. What would have "
            "happened without it cannot be told from this book; a later start in some branches, or a hold-out "
            "drawn by lot, could tell."
        )
    other = next(s for v, s in zip(found, spoken) if v != wanted)
    both = (f"{treatment} = {wanted:g}", f"{treatment} = {other}") if coded else (str(treated), other)
    return (values == wanted).to_numpy(), both


def _known_at_start(
    rows: pd.DataFrame, treated: np.ndarray, treatment: str, decided_on: str | None, time_zero: str | None
) -> Check:
    if decided_on is None:
        return Check(
            name="known_at_start",
            passed=None,
            says=f"No dates were given: nothing shows that {treatment} was decided before the outcome began.",
        )
    decided, zero = rows["decided"].to_numpy(float), rows["zero"].to_numpy(float)
    late = decided > zero
    if late.any():
        which = f" (account_id {first_few(list(rows.loc[late, 'id']))})" if "id" in rows else ""
        middle = np.median((decided - zero)[late])
        raise FrameError(
            f"{int(late.sum()):,} of {len(rows):,} accounts were decided on after time zero, {middle:,.0f} days in the "
            f"median{which}. They had to stay past due until then, and that time would be credited to the "
            f"treatment. Valid questions near it: start everybody's clock later, at a day past due by which "
            f"{treatment} is decided, among those still past due then; or compare strategies with a grace period "
            "as a target trial."
        )
    unknown = int((~np.isfinite(decided) | ~np.isfinite(zero)).sum())
    if unknown:
        return Check(
            name="known_at_start",
            passed=None,
            says=f"{unknown:,} of {len(rows):,} accounts lack {decided_on} or {time_zero}: for them nothing shows "
            "that the choice came first.",
            value=float(unknown),
            limit=0.0,
        )
    return Check(
        name="known_at_start",
        passed=True,
        says=f"For all {len(rows):,} accounts {decided_on} is on or before {time_zero}.",
        value=0.0,
        limit=0.0,
    )


def refuse_separation(covariates: list[Covariate], treated: np.ndarray, words: tuple[str, str]) -> None:
    """Raise for each covariate that alone tells the treated from the untreated."""
    faults = []
    for c in covariates:
        if c.levels is not None:
            sides = pd.Series(treated).groupby(c.levels.astype(str)).agg(["all", "any"])
            if len(sides) > 1 and (sides["all"] | ~sides["any"]).all():
                faults.append(
                    f"perfect separation by {c.name}: each of its levels holds only one of the two."
                )
            continue
        high, low = c.values[treated & ~c.gap], c.values[~treated & ~c.gap]
        if len(high) and len(low) and (high.min() > low.max() or high.max() < low.min()):
            above = high.min() > low.max()
            cut = low.max() if above else high.max()
            cut = np.exp(cut) if c.logged else cut
            faults.append(
                f"perfect separation by {c.name}: all with {cut:,.6g} or less are "
                f"{words[1] if above else words[0]}, all above {words[0] if above else words[1]}. Nobody can be "
                "compared; where a rule assigns at a threshold, ask with a regression discontinuity."
            )
    if faults:
        raise FrameError(faults)
