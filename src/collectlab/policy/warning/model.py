"""The warning model: a logistic regression on bands, so that every score can be said in words."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd

from collectlab.core.errors import FrameError, NotAvailable, ParamsError, first_few, nearest
from collectlab.core.jackknife import check_level
from collectlab.core.results import Result
from collectlab.policy.warning.bands import Bands, bands_of
from collectlab.policy.warning.checks import check_target, customers_of, names_of, rows_of
from collectlab.policy.warning.features import FEATURES, TARGETS
from collectlab.policy.warning.model_fit import fit_bands
from collectlab.policy.warning.rows import KEYS, LATER

#: A model learns from at least so many events, and rows without.
FEWEST_EVENTS = 30


@dataclass(frozen=True, kw_only=True)
class WarningModel:
    """A fitted warning model.

    Attributes
    ----------
    target : str
        ``falls`` or ``rolls``.
    bands : tuple of Bands
        The features that are used.
    intercept : float
        Log odds with every feature in its reference band.
    weights : tuple of numpy.ndarray
        For each feature, the log odds ratio of each band against the reference (0 there).
    errors : tuple of numpy.ndarray
        Their standard errors, robust to repeated rows of a customer (NaN for the reference).
    counts : tuple of pandas.DataFrame
        For each feature and band: n, events.
    n, events : int
        Account-months and events it was learned from.
    left_out : tuple of str
        Features that were there and could not be used, with the reason.
    """

    target: str
    bands: tuple[Bands, ...]
    intercept: float
    weights: tuple[np.ndarray, ...]
    errors: tuple[np.ndarray, ...]
    counts: tuple[pd.DataFrame, ...]
    n: int
    events: int
    left_out: tuple[str, ...] = ()

    def codes(self, rows: pd.DataFrame) -> np.ndarray:
        """Each row's band of each feature: int, shape (rows, features)."""
        rows = rows_of(rows)
        names = [b.feature.name for b in self.bands]
        if missing := [n for n in names if n not in rows]:
            raise FrameError(f"rows lack {first_few(missing)}. Needed: {first_few(names, 30)}.")
        return np.column_stack([b.code(rows[b.feature.name]) for b in self.bands]).astype(np.int64)

    def score(self, rows: pd.DataFrame) -> np.ndarray:
        """The chance of the event for each row, as the model sees it: float, shape (rows,)."""
        codes = self.codes(rows)
        total = np.full(len(codes), self.intercept)
        for weights, code in zip(self.weights, codes.T):
            total += weights[code]
        return 1 / (1 + np.exp(-total))

    def contributions(self, rows: pd.DataFrame) -> np.ndarray:
        """What each feature adds to a row's log odds against the average of these rows: shape (rows, features)."""
        parts = np.column_stack([w[c] for w, c in zip(self.weights, self.codes(rows).T)])
        return parts - parts.mean(axis=0) if len(parts) else parts

    def drivers(self, conf_level: float = 0.95) -> Drivers:
        """Odds ratios of each band against the feature's reference, others held equal.

        Table: feature, band (in words), n, events, share, estimate (odds ratio), std_error (of its log),
        conf_low, conf_high; ``reference`` names the band compared with.
        """
        check_level(conf_level)
        from scipy.special import ndtri

        z, parts = ndtri((1 + conf_level) / 2), []
        for bands, weights, errors, counts in zip(self.bands, self.weights, self.errors, self.counts):
            one = counts.assign(
                feature=bands.feature.name.replace("_", " "),
                band=[bands.feature.said(label) for label in bands.labels],
                reference=bands.feature.said(bands.labels[bands.reference]),
                share=counts["events"] / counts["n"],
                estimate=np.exp(weights),
                std_error=errors,
                conf_low=np.exp(weights - z * errors),
                conf_high=np.exp(weights + z * errors),
            )
            parts.append(one[~np.isnan(errors)])
        names = ["feature", "band", "reference", "n", "events", "share", "estimate", "std_error", "conf_low", "conf_high"]  # fmt: skip
        table = pd.concat(parts, ignore_index=True)[names]
        strength = table["estimate"].map(np.log).abs().groupby(table["feature"]).transform("max")
        order = np.lexsort((np.arange(len(table)), -strength.to_numpy()))
        return Drivers(
            table=table.iloc[order],
            estimand=f"Odds ratio: {TARGETS[self.target]}, against the reference band, other features equal",
            unit="ratio",
            title="What goes with it",
            notes=(
                "Associations: they say who it happens to, not what would prevent it. What collections did "
                "(actions, contacts) is among them.",
                *self.left_out,
            ),
            conf_level=conf_level,
        )


@dataclass(frozen=True, kw_only=True, repr=False)
class Drivers(Result):
    """One row per band: odds ratio against the feature's reference band; ``std_error`` is of its log."""


def usable(
    rows: pd.DataFrame,
    target: str,
    features: Sequence[str] | None = None,
    forbidden: Collection[str] = (),
) -> list[str]:
    """The features to use: those asked for, else all the rows hold; never a forbidden one.

    Parameters
    ----------
    rows : pandas.DataFrame
        As :func:`~collectlab.policy.warning.rows.warning_rows` gives them.
    target : {"falls", "rolls"}
    features : sequence of str, optional
        Names asked for. Default: every feature meant for the target.
    forbidden : collection of str
        Columns that must not be used.

    Returns
    -------
    list of str

    Raises
    ------
    ParamsError
        A forbidden one is asked for.
    FrameError
        One that is not there, or that the rows' keys and outcomes are.

    Examples
    --------
    >>> rows = pd.DataFrame({"past_due_12": [0.0], "gender": ["female"], "outcome": [1.0]})
    >>> usable(rows, "falls", forbidden=["gender"])
    ['past_due_12']
    """
    check_target(target)
    rows = rows_of(rows)
    forbidden = names_of(forbidden, "forbidden")
    barred = {f.lower() for f in forbidden}
    if features is None:
        known = [f.name for f in FEATURES.values() if target in f.targets]
        return [name for name in known if name in rows and name.lower() not in barred]
    features = names_of(features, "features")
    faults: list[str] = []
    if bad := [f for f in features if f.lower() in barred]:
        raise ParamsError(
            f"features: {first_few(bad)} must not be used for warnings (params/warning.yml, forbidden). "
            f"Forbidden: {first_few(sorted(forbidden), 30)}."
        )
    allowed = [c for c in rows.columns if c not in (*KEYS, *LATER) and c.lower() not in barred]
    for name in features:
        if name not in allowed:
            near = nearest(name, allowed)
            hint = f" Did you mean {' or '.join(near)}?" if near else ""
            faults.append(f"features: no feature {name!r}.{hint} Allowed: {first_few(allowed, 40)}.")
    if not features:
        faults.append(f"features: none named. Allowed: one or more of {first_few(allowed, 40)}.")
    if faults:
        raise FrameError(faults)
    return list(dict.fromkeys(features))


def fit_warning(
    rows: pd.DataFrame,
    *,
    target: str = "falls",
    features: Sequence[str] | None = None,
    forbidden: Collection[str] = (),
) -> WarningModel:
    """Logistic regression of the outcome on the features' bands.

    log p / (1 − p) = α + Σ_f β_f[band of f],  β of the band with the most rows = 0.

    Rows alike in all bands are put together and fitted by statsmodels' binomial GLM. Bands in which fewer than
    ten rows of either outcome would be expected join a neighbour; in a band where all had the same outcome, half a row
    counts for the other. The standard errors are robust to repeated rows of a customer
    (sandwich over customers).

    Parameters
    ----------
    rows : pandas.DataFrame
        As :func:`~collectlab.policy.warning.rows.warning_rows` gives them; rows without outcome are left aside.
    target : {"falls", "rolls"}
    features : sequence of str, optional
        Columns of the rows; default: every feature meant for the target that is there.
    forbidden : collection of str
        Columns that must not be used: left out silently, refused where asked for.

    Returns
    -------
    WarningModel

    Raises
    ------
    NotAvailable
        Fewer than 30 events, or than 30 rows without; or no feature tells any two rows apart.
    ParamsError, FrameError
        As :func:`usable`.

    Examples
    --------
    >>> rows = pd.DataFrame({"past_due_12": [0.0] * 100 + [1.0] * 100, "outcome": [0.0] * 80 + [1.0] * 40 + [0.0] * 80,
    ...     "account_id": range(200), "customer_id": range(200)})
    >>> model = fit_warning(rows, features=["past_due_12"])
    >>> model.score(rows.iloc[[0, 199]]).round(3).tolist()
    [0.2, 0.2]
    """
    rows = rows_of(rows, "outcome")
    names = usable(rows, target, features, forbidden)
    rows = rows[rows["outcome"].notna()]
    y = rows["outcome"].to_numpy(float)
    events = int(y.sum())
    if min(events, len(y) - events) < FEWEST_EVENTS:
        raise NotAvailable(
            f"of {len(y):,} account-months with a known outcome, {events:,} had the event and {len(y) - events:,} had "
            f"not; a warning is learned from at least {FEWEST_EVENTS} of each."
        )
    bands, left_out = [], []
    for name in names:
        found = bands_of(rows[name], name, y)
        if found is None:
            left_out.append(name)
        else:
            bands.append(found)
    if not bands:
        raise NotAvailable(f"no feature tells the account-months apart ({first_few(left_out, 10)}).")
    codes = np.column_stack([b.code(rows[b.feature.name]) for b in bands]).astype(np.int64)
    beta, errors = fit_bands(codes, bands, y, customers_of(rows))
    starts = np.cumsum([1, *(len(b.labels) for b in bands)])
    return WarningModel(
        target=target,
        bands=tuple(bands),
        intercept=float(beta[0]),
        weights=tuple(beta[a:b] for a, b in pairwise(starts)),
        errors=tuple(errors[a:b] for a, b in pairwise(starts)),
        counts=tuple(
            pd.DataFrame(
                {"n": np.bincount(c, minlength=len(b.labels)), "events": np.bincount(c, y, len(b.labels)).astype(int)}
            )
            for b, c in zip(bands, codes.T)
        ),
        n=len(y),
        events=events,
        left_out=(f"Not used, as they tell too few rows apart: {first_few(left_out, 20)}.",) if left_out else (),
    )  # fmt: skip
