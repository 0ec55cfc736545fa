"""Covariates as a few codes each, made in the engine: levels of text, bins or distinct values of numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import narwhals as nw
import numpy as np
import pandas as pd

from collectlab.core.columns import row_count
from collectlab.core.engine import collect
from collectlab.core.errors import FrameError, NotAvailable, first_few, nearest
from collectlab.measures.groups import natural

#: Up to so many episodes every distinct value of a number stays as it is.
EXACT_ROWS = 20_000
#: Patterns that binned numbers may make, at most, together with the levels of everything else.
_PATTERNS = 15_000
_FEWEST, _MOST = 4, 20
_LEVELS, _RARE, _RARE_SHARE = 30, 30, 0.01
_CELLS = 2**16
_REST = "other"


@dataclass(frozen=True)
class Covariate:
    """One covariate: what its codes stand for, and the columns of the design matrix that they make."""

    name: str
    expr: nw.Expr | None  #: the code of a row, missing where the value is; None: the value itself is the key
    labels: tuple[str, ...] | None  #: of the levels; None for a number
    values: np.ndarray | None  #: of the codes of a number, as the column holds them
    episodes: np.ndarray  #: by code; missing values are in none
    raw: tuple = ()  #: of each label, the values that fall under it
    cuts: tuple[float, ...] | None = None
    step: float | str = 1.0
    word: str = ""
    centre: float = 0.0

    @property
    def reference(self) -> int | None:
        """The most frequent level, never "other"; None for a number."""
        if self.labels is None:
            return None
        keys = [(label == _REST, -n, natural(label)) for label, n in zip(self.labels, self.episodes)]
        return min(range(len(keys)), key=keys.__getitem__)

    @property
    def contrasts(self) -> tuple[str, ...]:
        """What each column of the design matrix stands for."""
        if self.labels is None:
            return (self.word,)
        return tuple(label for i, label in enumerate(self.labels) if i != self.reference)

    def columns(self, codes: np.ndarray) -> np.ndarray:
        """(n, columns) of the design matrix for these codes."""
        if self.labels is None:
            return (self.scaled(self.values) - self.centre)[codes][:, None]
        others = [i for i in range(len(self.labels)) if i != self.reference]
        return (codes[:, None] == np.array(others, dtype=int)[None, :]).astype(float)

    def scaled(self, values: np.ndarray) -> np.ndarray:
        """Numbers in steps: halves and doubles, or multiples of the step."""
        return np.log2(values) if self.step == "double" else values / self.step

    def row(self, value: Any) -> np.ndarray:
        """(columns,) for one value, as a profile names it."""
        if self.labels is None:
            try:
                number = float(value)
            except (TypeError, ValueError):
                number = np.nan
            if not np.isfinite(number) or (self.step == "double" and number <= 0):
                raise FrameError(f"profile: {self.name} is {value!r}. Allowed: a number.")
            return np.atleast_1d(self.scaled(np.array([number])) - self.centre)
        if self.cuts is not None and isinstance(value, (int, float)) and not isinstance(value, bool):
            return self.columns(np.array([int(np.searchsorted(self.cuts, value, side="right"))]))[0]
        return self.columns(np.array([self.level(value)]))[0]

    def level(self, value: Any) -> int:
        """The code of a level, by its label or by a value pooled under it."""
        if str(value) in self.labels:
            return self.labels.index(str(value))
        for code, members in enumerate(self.raw):
            if value in members or str(value) in map(str, members):
                return code
        near = nearest(str(value), self.labels)
        hint = f" Did you mean {' or '.join(map(repr, near))}?" if near else ""
        raise FrameError(
            f"{self.name} has no level {str(value)!r}.{hint} Allowed: {first_few(self.labels, 12)}."
        )


def code_covariates(
    frame: nw.LazyFrame, names: Sequence[str], rows: int, steps: Mapping, bins: Any
) -> tuple[list[Covariate], list[str]]:
    """One pass over each column; and notes of what was pooled, binned or left out.

    Parameters
    ----------
    frame : narwhals.LazyFrame
        Only episodes with follow-up.
    rows : int
        How many they are.
    steps : mapping
        Numeric covariate → a number or "double".
    bins : None, int, "exact" or mapping
        As in :func:`~collectlab.measures.drivers.proportional_hazards`.
    """
    schema = frame.collect_schema()
    _check(names, schema, steps, bins)
    found: dict[str, Covariate] = {}
    counted: dict[str, pd.DataFrame] = {}
    notes: list[str] = []
    numbers = _numbers(frame, [n for n in names if schema[n].is_numeric()], steps)
    for name in names:
        if name not in numbers:
            value = nw.col(name).cast(nw.String)
            levels = collect(frame.select(value=value).group_by("value").agg(n=row_count()))
            found[name] = _levels(name, value, levels[levels["value"].notna()], rows, notes)
            continue
        x = numbers[name]
        if np.isnan(x.low):
            raise NotAvailable(f"{name} has no value that can be used.")
        if x.low == x.high:
            known = int(collect(frame.select(n=x.expr.count()))["n"].iloc[0])
            cells = pd.DataFrame({"low": [x.low], "high": [x.high], "n": [known]})
        else:
            cells = _cells(frame, x)
        if len(cells) <= 2 and _cuts_of(bins, name) is None:
            found[name] = _levels(name, x.expr, cells.rename(columns={"low": "value"}), rows, notes)
        else:
            counted[name] = cells
    free = {n for n in counted if _cuts_of(bins, n) is None}
    each = _bins_each(free, counted, found, rows)
    for name, cells in counted.items():
        x = numbers[name].expr
        if (cuts := _cuts_of(bins, name)) is not None:
            found[name] = _classes(name, x, cells, cuts, notes)
        else:
            wanted = bins.get(name) if isinstance(bins, Mapping) else bins
            found[name] = _binned(name, x, cells, wanted or each, steps.get(name), notes)
    for name in names:
        if missing := rows - int(found[name].episodes.sum()):
            why = "missing or ≤ 0" if steps.get(name) == "double" else "missing"
            notes.append(f"{missing:,} of {rows:,} episodes set aside: {name} is {why}.")
    return [found[name] for name in names], notes


def _check(names: Sequence[str], schema: Any, steps: Mapping, bins: Any) -> None:
    faults = []
    for name, step in steps.items():
        if step != "double" and not (isinstance(step, (int, float)) and 0 < step < np.inf):
            faults.append(f"step of {name}: {step!r}. Allowed: a number > 0, or 'double'.")
    given = bins if isinstance(bins, Mapping) else dict.fromkeys(names, bins)
    if unknown := [n for n in given if n not in names]:
        faults.append(f"bins names {first_few(unknown)}. Allowed: {first_few(list(names), 12)}.")
    for name, how in given.items():
        cuts = None if isinstance(how, str) or not np.iterable(how) else list(how)
        if cuts is not None:
            good = len(cuts) > 0 and all(isinstance(c, (int, float)) and np.isfinite(c) for c in cuts)
            good = good and all(a < b for a, b in pairwise(cuts))
            good = good and isinstance(bins, Mapping) and name in schema and schema[name].is_numeric()
        else:
            good = (
                how is None
                or how == "exact"
                or (isinstance(how, int) and not isinstance(how, bool) and how >= 2)
            )
        if not good:
            faults.append(
                f"bins of {name}: {how!r}. Allowed: a whole number ≥ 2, 'exact', or by covariate also rising "
                "bounds of classes of a number, such as {'age': (30, 45, 60)}."
            )
            if not isinstance(bins, Mapping):
                break
    for name in names:
        dtype = schema[name]
        text = dtype in (nw.String, nw.Categorical, nw.Boolean) or isinstance(dtype, nw.Enum)
        if not (dtype.is_numeric() or text):
            faults.append(f"column {name!r} is {dtype}. Allowed for a covariate: numbers, text or booleans.")
    if faults:
        raise FrameError(faults)


def _cuts_of(bins: Any, name: str) -> tuple[float, ...] | None:
    how = bins.get(name) if isinstance(bins, Mapping) else None
    return None if how is None or isinstance(how, (str, int)) else tuple(how)


@dataclass(frozen=True)
class _Number:
    """A numeric column: how far its usable values reach, and as an expression, missing where it is not usable."""

    expr: nw.Expr
    low: float
    high: float
    whole: bool


def _numbers(frame: nw.LazyFrame, names: list[str], steps: Mapping) -> dict[str, _Number]:
    """In one scan. Only columns that hold NaN, infinite or (to be doubled) values ≤ 0 pay for looking at each."""
    if not names:
        return {}
    schema = frame.collect_schema()
    plain = {n: nw.col(n) if schema[n].is_integer() else nw.col(n).cast(nw.Float64) for n in names}
    found = _reach(frame, plain)
    guarded = {}
    for n, (low, high, total) in found.items():
        if not np.isfinite([low, high, total]).all() or (steps.get(n) == "double" and low <= 0):
            x = nw.col(n).cast(nw.Float64)
            sound = x.is_finite() & (x > 0) if steps.get(n) == "double" else x.is_finite()
            guarded[n] = nw.when(sound).then(x)
    found |= _reach(frame, guarded)
    return {
        n: _Number(guarded.get(n, plain[n]), *found[n][:2], schema[n].is_integer() and n not in guarded)
        for n in names
    }


def _reach(frame: nw.LazyFrame, columns: Mapping[str, nw.Expr]) -> dict[str, tuple[float, float, float]]:
    """(min, max, sum) of each; the sum is finite only if every value is."""
    if not columns:
        return {}
    asked = [
        (f"{what}{i}", x, what) for i, x in enumerate(columns.values()) for what in ("min", "max", "sum")
    ]
    asked = [
        getattr(x if what != "sum" else x.cast(nw.Float64), what)().alias(alias) for alias, x, what in asked
    ]
    got = collect(frame.select(*asked)).iloc[0].astype(float)
    return {n: (got[f"min{i}"], got[f"max{i}"], got[f"sum{i}"]) for i, n in enumerate(columns)}


def _cells(frame: nw.LazyFrame, x: _Number, deeper: int = 3) -> pd.DataFrame:
    """How the values lie: (low, high, n) of narrow cells in rising order, finer where many of them lie."""
    if x.whole and x.high - x.low < _CELLS:
        cells = collect(frame.select(low=x.expr).group_by("low").agg(n=row_count()))
        cells = cells[cells["low"].notna()].assign(high=cells["low"])
        return (
            cells[["low", "high", "n"]]
            .sort_values("low", ignore_index=True)
            .astype({"low": float, "high": float})
        )
    inside = frame.select(x=x.expr.cast(nw.Float64))
    if deeper < 3:
        inside = inside.filter((nw.col("x") >= x.low) & (nw.col("x") <= x.high))
    place = (nw.col("x") - x.low) * (_CELLS / (x.high - x.low))
    counted = (
        inside.with_columns(cell=place.floor().cast(nw.Int32))
        .group_by("cell")
        .agg(n=row_count(), low=nw.col("x").min(), high=nw.col("x").max())
    )
    cells = collect(counted)[["low", "high", "n"]].dropna().sort_values("low", ignore_index=True)
    heavy = cells[(cells["n"] > cells["n"].sum() / 1000) & (cells["low"] < cells["high"])]
    if deeper and len(heavy) and heavy["high"].max() - heavy["low"].min() < (x.high - x.low) / 2:
        a, b = float(heavy["low"].min()), float(heavy["high"].max())
        inner = _cells(frame, replace(x, low=a, high=b, whole=False), deeper - 1)
        cells = pd.concat([cells[cells["high"] < a], inner, cells[cells["low"] > b]], ignore_index=True)
    return cells


def _levels(name: str, x: nw.Expr, counted: pd.DataFrame, rows: int, notes: list[str]) -> Covariate:
    """Text, booleans and numbers with up to two values: the frequent levels, the others pooled."""
    if counted.empty:
        raise NotAvailable(f"{name} has no value that can be used.")
    counted = counted.assign(label=[v if isinstance(v, str) else f"{v:g}" for v in counted["value"]])
    counted = counted.sort_values("n", ascending=False, kind="stable")
    size, floor = counted["n"].to_numpy(), max(_RARE, _RARE_SHARE * rows)
    order = sorted(range(len(size)), key=lambda i: (-size[i], natural(counted["label"].iloc[i])))
    rare = [i for place, i in enumerate(order) if place >= _LEVELS or size[i] < floor]
    if len(rare) < 2:
        rare = []
    members = [
        [i]
        for i in sorted((i for i in order if i not in rare), key=lambda i: natural(counted["label"].iloc[i]))
    ]
    labels = [counted["label"].iloc[m[0]] for m in members]
    if rare:
        members.append(rare)
        labels.append(_REST if _REST not in labels else f"{_REST} levels")
        notes.append(f"{name}: {len(rare)} rare levels ({int(size[rare].sum()):,} episodes) pooled as other.")
    raw = tuple(tuple(counted["value"].iloc[m]) for m in members)
    code = nw.lit(len(members) - 1, nw.Int64)
    for k, group in list(enumerate(raw))[:-1]:
        code = nw.when(x == group[0]).then(nw.lit(k, nw.Int64)).otherwise(code)
    if counted["n"].sum() < rows:
        code = nw.when(~x.is_null()).then(code)
    return Covariate(name, code, tuple(labels), None, np.array([size[m].sum() for m in members]), raw=raw)


def _bins_each(free: set, numbers: Mapping, found: Mapping, rows: int) -> int | str:
    """How many bins a number gets where nothing else is asked for."""
    if rows <= EXACT_ROWS:
        return "exact"
    levels = np.prod([len(c.labels) for c in found.values()], dtype=float)
    few = [len(numbers[n]) for n in free if _distinct(numbers[n], _FEWEST * 2)]
    many = len(free) - len(few)
    room = _PATTERNS / max(levels * np.prod(few, dtype=float), 1)
    return int(np.clip(room ** (1 / many), _FEWEST, _MOST)) if many else _MOST


def _distinct(cells: pd.DataFrame, limit: int) -> bool:
    return len(cells) <= limit and bool((cells["low"] == cells["high"]).all())


def _binned(
    name: str, x: nw.Expr, cells: pd.DataFrame, bins: int | str, step: Any, notes: list[str]
) -> Covariate:
    """A number by its distinct values or by bins of about equal size, each with its mean as the value."""
    n, middle = cells["n"].to_numpy(), (cells["low"] / 2 + cells["high"] / 2).to_numpy()
    mean = np.average(middle, weights=n)
    spread = float(np.sqrt(np.average((middle - mean) ** 2, weights=n)))
    word = (
        "doubled"
        if step == "double"
        else f"+ 1 standard deviation ({spread:.3g})"
        if step is None
        else f"+ {step:g}"
    )
    step = spread if step is None else step
    shared = {"name": name, "labels": None, "step": step, "word": word}
    if bins == "exact" and not _distinct(cells, 2 * _MOST):
        # The distinct values come with the count itself; until then only the centre is known.
        centre = np.average(np.log2(middle) if step == "double" else middle / step, weights=n)
        return Covariate(expr=None, values=None, episodes=np.array([n.sum()]), centre=float(centre), **shared)
    if bins == "exact" or _distinct(cells, max(bins, _FEWEST * 2)):
        bounds = np.arange(len(cells))
    else:
        share = (np.cumsum(n) - n / 2) / n.sum()
        bounds = np.unique(np.searchsorted(share, np.arange(1, bins + 1) / bins, side="left") - 1)  # type: ignore[operator]
        bounds = np.union1d(bounds[bounds >= 0], len(cells) - 1)
        notes.append(
            f"{name}: counted in {len(bounds)} bins of about equal size, each read as the mean of its values."
        )
    first = np.concatenate([[0], bounds[:-1] + 1])
    size = np.add.reduceat(n, first)
    on_scale = np.log2(middle) if step == "double" else middle
    means = np.add.reduceat(n * on_scale, first) / size
    centre = float(np.average(means if step == "double" else means / step, weights=size))
    upper = cells["high"].to_numpy()[bounds[:-1]]
    code = (x > float(upper[0])).cast(nw.Int64)  # there are at least two bins; missing stays missing
    for bound in upper[1:]:
        code = code + (x > float(bound)).cast(nw.Int64)
    values = 2.0**means if step == "double" else means
    return Covariate(expr=code, values=values, episodes=size, centre=centre, **shared)


def _classes(name: str, x: nw.Expr, cells: pd.DataFrame, cuts: tuple, notes: list[str]) -> Covariate:
    """A number as classes between bounds: below the first, from each bound on."""
    code = (x >= float(cuts[0])).cast(nw.Int64)
    for cut in cuts[1:]:
        code = code + (x >= float(cut)).cast(nw.Int64)
    got = np.searchsorted(cuts, cells["low"].to_numpy(), side="right")
    size = np.bincount(got, weights=cells["n"].to_numpy(), minlength=len(cuts) + 1).astype(int)
    labels = [f"< {cuts[0]:g}"]
    labels += [f"{a:g} to < {b:g}" for a, b in pairwise(cuts)] + [f"≥ {cuts[-1]:g}"]
    notes.append(f"{name}: taken in classes ({', '.join(labels)}).")
    return Covariate(name, code, tuple(labels), None, size, cuts=cuts)
