"""The numbers of an interrupted series: places in time, the path, and the answer averaged over autocorrelations."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from collectlab.core.errors import FrameError, first_few
from collectlab.effects._panel_inputs import one_part_each, rows_of, same_kind, times_of, words_of

#: Autocorrelations from one period to the next over which the answer is averaged, all alike beforehand.
CORRELATIONS = np.round(np.arange(-0.6, 0.961, 0.04), 2)


def prepared(
    series: Any, time: str, outcome: str, changed_on: Any, weight: str | None, comparison: str | None
) -> tuple[pd.DataFrame, list[str]]:
    one_part_each(time=time, outcome=outcome, weight=weight, comparison=comparison)
    numbers = [c for c in (outcome, weight, comparison) if c]
    rows = rows_of(series, numbers, [time])
    when = times_of(rows[time], time)
    change = times_of(pd.Series([changed_on]), "changed_on")
    faults, notes = [], []
    if not same_kind(when, change) or change.isna().any():
        raise FrameError(f"changed_on is {changed_on!r}. Allowed: what {time} holds, a date or a number.")
    data = pd.DataFrame({"time": when, "seen": rows[outcome], "y": rows[outcome], "weight": 1.0})
    if weight:
        data["weight"] = rows[weight]
        if wrong := int((~(data["weight"] > 0)).sum()):
            faults.append(f"{wrong:,} rows have a {weight} that is missing or not above 0.")
    if comparison:
        data["beside"] = rows[comparison]
        data["y"] = data["seen"] - data["beside"]
    if gone := int(data["time"].isna().sum()):
        faults.append(f"{gone:,} rows have no {time}.")
    data = data.sort_values("time", ignore_index=True)
    if len(twice := data.loc[data["time"].duplicated(), "time"].unique()):
        faults.append(
            f"{time} {first_few([str(t)[:10] for t in twice])}: several rows. Allowed: one a period."
        )
    if faults:
        raise FrameError(faults)
    if missing := int(data["y"].isna().sum()):
        if missing == len(data):
            raise FrameError(f"{outcome} is missing in all {missing:,} periods: nothing to compare.")
        notes.append(f"{missing:,} of {len(data):,} periods have no {words_of(outcome)} and are left out.")
        data = data.dropna(subset="y").reset_index(drop=True)
    data["place"], mixed = _places(data["time"], change.iloc[0])
    if mixed.any():
        notes.append(f"{str(change.iloc[0])[:7]} is left out: the change came in the middle of it.")
        data = data[~mixed].reset_index(drop=True)
    before, after = int((data["place"] < 0).sum()), int((data["place"] >= 0).sum())
    if min(before, after) < 4:
        raise FrameError(
            f"{before} periods before {str(changed_on)[:10]} and {after} after. Allowed: 4 or more on each side."
        )
    if np.ptp(data["y"]) == 0:
        raise FrameError(f"{outcome} is constant: nothing to compare.")
    return data, notes


def _places(when: pd.Series, change: Any) -> tuple[np.ndarray, np.ndarray]:
    """Whole periods since the change, and which period has the change inside it."""
    mixed = np.zeros(len(when), dtype=bool)
    if not pd.api.types.is_datetime64_any_dtype(when):
        if len(odd := when[when != when.round()]):
            raise FrameError(
                f"periods {first_few(list(odd))} are not whole. Allowed: dates or whole numbers."
            )
        return (when - np.ceil(change)).to_numpy().astype(np.int64), mixed
    months = (when.dt.year * 12 + when.dt.month).to_numpy()
    if len(np.unique(months)) == len(months):
        month = change.year * 12 + change.month
        if change.day > 1:
            mixed, month = months == month, month + 1
        return months - month, mixed
    step = when.diff().min()
    place = np.rint((when - when.iloc[0]) / step).to_numpy().astype(np.int64)
    after = np.flatnonzero(when >= change)
    return place - (place[after[0]] if len(after) else place[-1] + 1), mixed


def waves_of(place: np.ndarray, season: int | None) -> np.ndarray:
    """Waves of a year: none in less than two years, two from four years on (a year of five periods can tell two)."""
    if not season or np.ptp(place) + 1 < 2 * season:
        return np.zeros((len(place), 0))
    angle = 2 * np.pi * place / season
    many = range(1, 3 if np.ptp(place) + 1 >= 4 * season and season >= 5 else 2)
    return np.stack([f(k * angle) for k in many for f in (np.sin, np.cos)], axis=1)


def matrix(place: np.ndarray, cut: int, waves: np.ndarray) -> np.ndarray:
    t, after = (place - cut).astype(float), place >= cut
    return np.column_stack([np.ones(len(t)), t, after, after * t, waves])


class Fit(NamedTuple):
    """For each ρ: its weight, coefficients, and their covariance; degrees of freedom."""

    share: np.ndarray
    beta: np.ndarray
    covariance: np.ndarray
    freedom: int

    @property
    def mean_beta(self) -> np.ndarray:
        return self.share @ self.beta


def whiteners(place: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each ρ the matrix that takes the correlation ρ^|s − t| off, (R, n, n), and log |R|, (R,)."""
    apart = np.abs(place[:, None] - place)
    lower = np.linalg.cholesky(CORRELATIONS[:, None, None] ** apart)
    logs = 2 * np.log(np.diagonal(lower, axis1=1, axis2=2)).sum(axis=1)
    return np.linalg.inv(lower), logs


def fit_path(y: np.ndarray, x: np.ndarray, root: np.ndarray, white: tuple[np.ndarray, np.ndarray]) -> Fit:
    """Generalised least squares at each ρ, and the share of each ρ by the restricted likelihood."""
    n, k = x.shape
    matrices, logs = white
    both = matrices @ (np.column_stack([x, y]) * root[:, None])
    a, b = both[:, :, :k], both[:, :, k:]
    turned = a.transpose(0, 2, 1)
    inverse = np.linalg.inv(turned @ a)
    beta = inverse @ (turned @ b)
    s2 = np.maximum(((b - a @ beta) ** 2).sum(axis=(1, 2)) / (n - k), np.finfo(float).tiny)
    likelihood = -0.5 * logs + 0.5 * np.linalg.slogdet(inverse)[1] - 0.5 * (n - k) * np.log(s2)
    share = np.exp(likelihood - likelihood.max())
    return Fit(share / share.sum(), beta[:, :, 0], s2[:, None, None] * inverse, n - k)


def p_value_of(fit: Fit, contrast: np.ndarray) -> float:
    """Twice the smaller part of the mixture on either side of 0."""
    from scipy.special import stdtr

    middle = fit.beta @ contrast
    error = np.sqrt(np.einsum("i,rij,j->r", contrast, fit.covariance, contrast))
    below = float(fit.share @ stdtr(fit.freedom, -middle / error))
    return 2 * min(below, 1 - below)


def averaged(fit: Fit, contrast: np.ndarray, conf_level: float) -> dict[str, float]:
    """A contrast of coefficients as a mixture of t distributions: mean, spread, quantiles."""
    from scipy import optimize
    from scipy.special import stdtr, stdtrit

    middle = fit.beta @ contrast
    error = np.sqrt(np.einsum("i,rij,j->r", contrast, fit.covariance, contrast))
    estimate = float(fit.share @ middle)
    spread = float(np.sqrt(fit.share @ (error**2 + (middle - estimate) ** 2)))

    def below(value: float) -> float:
        return float(fit.share @ stdtr(fit.freedom, (value - middle) / error))

    tail = (1 - conf_level) / 2
    far = stdtrit(fit.freedom, 1 - tail) * error
    ends = float((middle - far).min()) - 1e-12, float((middle + far).max()) + 1e-12
    low, high = (optimize.brentq(lambda v, q=q: below(v) - q, *ends, xtol=1e-12) for q in (tail, 1 - tail))
    return {
        "estimate": estimate,
        "std_error": spread,
        "conf_low": float(low),
        "conf_high": float(high),
        "p_value": p_value_of(fit, contrast),
    }


def plain(y: np.ndarray, after: np.ndarray, conf_level: float) -> dict[str, float]:
    from scipy import stats

    found = stats.ttest_ind(y[after], y[~after], equal_var=False)
    estimate = float(y[after].mean() - y[~after].mean())
    low, high = found.confidence_interval(conf_level)
    error = float(np.sqrt(y[after].var(ddof=1) / after.sum() + y[~after].var(ddof=1) / (~after).sum()))
    return {
        "estimate": estimate,
        "std_error": error,
        "conf_low": float(low),
        "conf_high": float(high),
        "p_value": float(found.pvalue),
    }
