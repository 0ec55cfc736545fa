"""Uncertainty for anything that is a function of counts: the delete-a-group jackknife over customers.

A hash puts each customer into one of R replicate groups; the counts are taken by group; the statistic is
recomputed R times from sums, each time with one group left out. Repeated episodes of one customer fall in
the same group and are thereby respected, and no second pass over the data is needed.

Source: Kott (2001), "The Delete-a-Group Jackknife", Journal of Official Statistics 17(4).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import narwhals as nw
import numpy as np

from collectlab.core.engine import quote, reading, require
from collectlab.core.errors import FrameError

GROUPS = 50
#: The four columns of every estimate, in the order in which the functions here return them.
INTERVAL = ("estimate", "std_error", "conf_low", "conf_high")

#: name -> (g, its derivative, its inverse). The interval is symmetric on the scale of g.
_TRANSFORMS: dict[str, tuple[Callable, Callable, Callable]] = {
    "log": (np.log, lambda p: 1 / p, np.exp),
    "logit": (
        lambda p: np.log(p / (1 - p)),
        lambda p: 1 / (p * (1 - p)),
        lambda x: 1 / (1 + np.exp(-x)),
    ),
    "cloglog": (
        lambda p: np.log(-np.log1p(-p)),
        lambda p: -1 / ((1 - p) * np.log1p(-p)),
        lambda x: -np.expm1(-np.exp(x)),
    ),
}


def replicate_of(key: object, groups: int = GROUPS) -> int:
    """The replicate group 0 … ``groups`` − 1 of one id: its MD5 as a number, modulo ``groups``.

    The id counts as text, so 17 and ``"17"`` fall together. A missing id counts as the empty text.

    >>> replicate_of("A-17"), replicate_of(17) == replicate_of("17")
    (5, True)
    """
    text = "" if key is None else str(key)
    return int(hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()[:8], 16) % groups


def with_replicates(
    frame: nw.LazyFrame, column: str, groups: int = GROUPS, name: str = "_replicate"
) -> nw.LazyFrame:
    """``frame`` with a column ``name`` holding the replicate group 0 … ``groups`` − 1 of each row's id.

    Parameters
    ----------
    frame : narwhals.LazyFrame
        As :func:`collectlab.core.engine.scan` returns it.
    column : str
        The id whose rows belong together (customer, else account). Text or whole numbers.
    groups : int
        Number of replicate groups R.
    name : str
        Name of the new column; a column of that name is replaced.

    Returns
    -------
    narwhals.LazyFrame
        The same groups in every engine and every run (see :func:`replicate_of`). DuckDB and Spark hash
        in place; for Polars the distinct ids are hashed once and joined.

    Examples
    --------
    >>> import pandas as pd
    >>> from collectlab.core.engine import collect, scan
    >>> lazy = scan(pd.DataFrame({"customer_id": ["A-17", "B-3", "A-17"]}))
    >>> sorted(collect(with_replicates(lazy, "customer_id"))["_replicate"])
    [5, 5, 49]
    """
    require(frame, column)
    if groups < 2:
        raise FrameError(f"groups is {groups}. Allowed: at least 2 replicate groups.")
    dtype = frame.collect_schema()[column]
    if not (dtype.is_integer() or dtype in (nw.String, nw.Categorical) or isinstance(dtype, nw.Enum)):
        raise FrameError(f"column {column!r} is {dtype}. Allowed as an id: text or whole numbers.")
    if name in frame.collect_schema().names():
        if name == column:
            raise FrameError(f"name is {name!r}, the id column itself. Allowed: any other name.")
        frame = frame.drop(name)
    if frame.implementation.is_duckdb():
        hexes = f"substr(md5(coalesce(cast({quote(column)} AS VARCHAR), '')), 1, 8)"
        sql = f"*, cast(cast('0x' || {hexes} AS BIGINT) % {groups:d} AS INTEGER) AS {quote(name)}"
        return nw.from_native(frame.to_native().project(sql))
    if frame.implementation.is_pyspark():
        from pyspark.sql import functions as spark

        native = frame.to_native()
        text = spark.coalesce(native[column].cast("string"), spark.lit(""))
        number = spark.conv(spark.substring(spark.md5(text), 1, 8), 16, 10).cast("bigint")
        return nw.from_native(native.withColumn(name, (number % groups).cast("int")))
    if not frame.implementation.is_polars():
        raise FrameError(
            f"a frame of {frame.implementation} cannot be split into replicate groups. "
            "Allowed: DuckDB, Polars, PySpark, or any eager frame."
        )
    import polars as pl

    native = frame.to_native()
    with reading(frame):
        ids = native.select(pl.col(column)).unique().collect().get_column(column)
    of_id = pl.Series(name, [replicate_of(key, groups) for key in ids], dtype=pl.Int32)
    lookup = pl.DataFrame([ids, of_id]).lazy()
    return nw.from_native(native.join(lookup, on=column, how="left", nulls_equal=True))


def jackknife(
    total: np.ndarray,
    by_group: np.ndarray,
    statistic: Callable[[np.ndarray], np.ndarray | float],
    conf_level: float = 0.95,
    transform: str | None = None,
    present: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Estimate, standard error and interval of any function of summed counts.

    With θ = statistic(total) and θ₍ᵣ₎ = statistic(total − by_group[r]),

        var = (R − 1) / R · Σᵣ (θ₍ᵣ₎ − θ)²,    interval = θ ± t(R − 1) · √var,

    R being the number of groups that hold anything. With ``transform`` g the interval is
    g⁻¹(g(θ) ± t · √var · |g′(θ)|).

    Parameters
    ----------
    total : array, shape S
        Summed counts or sums over everybody.
    by_group : array, shape (R,) + S
        The same sums by replicate group; they add up to ``total``.
    statistic : callable
        Takes an array of shape S, returns a number or an array (any shape, always the same).
    conf_level : float
        Level of the interval.
    transform : {None, "log", "logit", "cloglog"}
        Scale on which the interval is symmetric; ``cloglog`` is log(−log(1 − θ)), for shares.
    present : array of bool, shape (R,) + the statistic's shape (or one that spreads to it), optional
        Which groups hold anything. Give it where the statistic is an array over segments and a replicate
        group may be empty in one segment only. Default: any of ``by_group[r]`` differs from 0.

    Returns
    -------
    estimate, std_error, conf_low, conf_high : arrays of the statistic's shape
        The error is NaN where fewer than two groups hold anything or θ₍ᵣ₎ is undefined for one of them;
        a transformed interval is NaN where θ lies on the edge of the scale.

    Examples
    --------
    >>> by_group = np.array([[1.0, 2.0], [2.0, 2.0], [3.0, 2.0]])        # events, episodes
    >>> share, error, low, high = jackknife(by_group.sum(0), by_group, lambda c: c[0] / c[1])
    >>> round(float(share), 3), round(float(error), 4)
    (1.0, 0.2887)
    """
    check_level(conf_level)
    if transform is not None and transform not in _TRANSFORMS:
        raise FrameError(f"transform is {transform!r}. Allowed: None, {', '.join(map(repr, _TRANSFORMS))}.")
    total, by_group = np.asarray(total), np.asarray(by_group)
    with np.errstate(divide="ignore", invalid="ignore"):
        estimate = np.asarray(statistic(total), dtype=float)
        left_out = np.array([np.asarray(statistic(total - part), dtype=float) for part in by_group])
    left_out = left_out.reshape((len(by_group), *estimate.shape))
    if present is None:
        present = (by_group != 0).reshape(len(by_group), -1).any(axis=1)
    present = np.asarray(present, dtype=bool)
    present = present.reshape(present.shape + (1,) * (left_out.ndim - present.ndim))
    present = np.broadcast_to(present, left_out.shape)
    used = present.sum(axis=0)
    squares = np.where(present, (left_out - estimate) ** 2, 0.0).sum(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        std_error = np.sqrt(np.where(used > 1, (used - 1) / used * squares, np.nan))
    low, high = interval(estimate, std_error, t_quantile(conf_level, used - 1), transform)
    return estimate, std_error, low, high


def sums_at(where: tuple[np.ndarray, ...], values: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Zeros of this shape with ``values`` added at their places (say, replicate group × group)."""
    out = np.zeros(shape)
    np.add.at(out, where, np.asarray(values, dtype=float))
    return out


def check_level(conf_level: float) -> None:
    """Refuse a level of confidence that is none."""
    if not (isinstance(conf_level, (int, float)) and 0 < conf_level < 1):
        raise FrameError(f"conf_level is {conf_level}. Allowed: between 0 and 1, such as 0.95.")


def t_quantile(conf_level: float, degrees: np.ndarray) -> np.ndarray:
    """Two-sided quantile of Student's t; NaN where there are no degrees of freedom."""
    from scipy.special import stdtrit

    degrees = np.asarray(degrees, dtype=float)
    return stdtrit(np.where(degrees > 0, degrees, np.nan), (1 + conf_level) / 2)


def interval(
    estimate: np.ndarray, std_error: np.ndarray, quantile: np.ndarray | float, transform: str | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """``estimate`` ± ``quantile`` · ``std_error``, symmetric on the scale of ``transform``."""
    if transform is None:
        return estimate - quantile * std_error, estimate + quantile * std_error
    g, slope, back = _TRANSFORMS[transform]
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        centre, reach = g(estimate), quantile * std_error * np.abs(slope(estimate))
        low, high = back(centre - reach), back(centre + reach)
    sound = np.isfinite(centre) & np.isfinite(reach)
    return np.where(sound, low, np.nan), np.where(sound, high, np.nan)


def wilson(share: np.ndarray, n: np.ndarray, conf_level: float) -> tuple[np.ndarray, np.ndarray]:
    """Wilson's score interval of a share out of ``n`` (NaN where n = 0).

    Source: Wilson (1927), JASA 22, 209–212.
    """
    from scipy.special import ndtri

    z2 = ndtri((1 + conf_level) / 2) ** 2
    share, n = np.asarray(share, dtype=float), np.asarray(n, dtype=float)
    with np.errstate(divide="ignore", invalid="ignore"):
        middle = (share + z2 / (2 * n)) / (1 + z2 / n)
        reach = np.sqrt(z2 * share * (1 - share) / n + z2**2 / (4 * n**2)) / (1 + z2 / n)
    low = np.where(share <= 0, 0.0, np.maximum(middle - reach, 0.0))
    high = np.where(share >= 1, 1.0, np.minimum(middle + reach, 1.0))
    empty = ~(n > 0)
    return np.where(empty, np.nan, low), np.where(empty, np.nan, high)


def shares(
    part: np.ndarray, whole: np.ndarray, n: np.ndarray, conf_level: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Shares part / whole with intervals that respect the recurrence of accounts.

    The standard error is the delete-a-group jackknife's over accounts (axis 0 of ``part`` and ``whole``),
    but at least the binomial one. The interval is Wilson's with the number of observations that would give
    that standard error, n_eff = p (1 − p) / se², never more than ``n``; at 0 and 1 it is ``n`` itself.
    Source: Korn & Graubard (1998), Survey Methodology 24, 193–201 (there for Clopper–Pearson).

    Parameters
    ----------
    part, whole : arrays, shape (R, …)
        Sums by replicate group; ``whole`` may be broader, it is spread over the last axis.
    n : array
        Observations behind each share.
    """
    estimate, error, _, _ = jackknife(
        np.stack([part.sum(axis=0), whole.sum(axis=0)]),
        np.stack([part, whole], axis=1),
        lambda sums: sums[0] / sums[1],
        conf_level,
        present=whole != 0,
    )
    n = np.broadcast_to(np.asarray(n, dtype=float), estimate.shape)
    with np.errstate(divide="ignore", invalid="ignore"):
        binomial = np.sqrt(estimate * (1 - estimate) / n)
        error = np.fmax(error, binomial)
        inner = (estimate > 0) & (estimate < 1) & (error > 0)
        effective = np.where(inner, np.minimum(estimate * (1 - estimate) / error**2, n), n)
    low, high = wilson(estimate, np.where(np.isfinite(estimate), effective, 0), conf_level)
    return estimate, error, low, high
