"""A change for everybody at once: an interrupted time series."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from collectlab.core.errors import FrameError
from collectlab.core.jackknife import check_level
from collectlab.core.plots import PALETTE, legend, new_axes, titled, unit_axis
from collectlab.effects._panel_inputs import p_said, said, table_in_words, title_of, unit_of, words_of
from collectlab.effects._series_fit import (
    CORRELATIONS,
    Fit,
    averaged,
    fit_path,
    matrix,
    p_value_of,
    plain,
    prepared,
    waves_of,
    whiteners,
)
from collectlab.effects.effect_result import Check, EffectResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["SeriesResult", "interrupted_series"]

FEWEST_POINTS = 8
LIMIT = 0.05
#: A wave needs so many periods a year.
FEWEST_SEASON = 3
#: The test for a rhythm left over rejects too often on short series: fewer periods are not tested, others at 1 %.
FEWEST_FOR_RHYTHM, LIMIT_RHYTHM = 36, 0.01


@dataclass(frozen=True, kw_only=True)
class SeriesResult(EffectResult):
    """What changed on the date, and the series with its path.

    ``table``: outcome, unit, method (``level change``, ``slope change``, ``mean effect after``, ``after minus
    before``), n_untreated, n_treated, estimate, std_error, conf_low, conf_high, p_value. ``path``: time, value,
    fitted, projected (without the change), after.
    """

    path: pd.DataFrame = field(default_factory=pd.DataFrame)
    plottable = True

    display_table = table_in_words

    def plot(self, ax: Axes | None = None) -> Axes:
        """The series, the path fitted to it, and the path it would have taken."""
        ax = new_axes(ax)
        path, after = self.path, self.path["after"]
        ax.plot(path["time"], path["value"], "o", color=PALETTE[6], markersize=4, label="seen")
        for side in (~after, after):
            label = "fitted" if side is after else None
            ax.plot(path["time"][side], path["fitted"][side], color=PALETTE[0], linewidth=1.7, label=label)
        ax.plot(
            path["time"][after], path["projected"][after], "--", color=PALETTE[1], label="without the change"
        )
        ax.axvline(path["time"][after].iloc[0], color="#444444", linewidth=0.8, linestyle="--")
        unit_axis(ax, "share" if self.unit == "points" else self.unit, "y")
        ax.set_ylabel(title_of(str(self.table["outcome"].iloc[0])))
        legend(ax)
        return titled(ax, self.title)


def interrupted_series(
    series: Any,
    *,
    time: str,
    outcome: str,
    changed_on: Any,
    weight: str | None = None,
    season: int | None = 12,
    comparison: str | None = None,
    conf_level: float = 0.95,
) -> SeriesResult:
    r"""What a change for everybody on one date did, against the path the series was on.

    Estimand: the outcome in the first period after the change minus what the path before it would have given
    (``level change``, the headline); beside it the change of slope per period, and the mean over all periods after
    (which leans harder on the straight line). With t counted from the first period after the change,

    .. math:: y_t = a + b t + c\,1[t \ge 0] + d\,t\,1[t \ge 0] + \text{season}_t + u_t, \qquad
        \mathrm{corr}(u_s, u_t) = \rho^{|s - t|}.

    Season is one wave of a year (two with four years or more). Few points tell little about ρ, and errors that pretend
    to know it are too small: Newey and West's cover 71–91 % on series of two to five years, generalised least squares
    at the best ρ 88–96 %. So the answer is averaged over ρ: a mixture of Student's t distributions, one for each ρ on a
    grid, weighted by the restricted likelihood of the data (a flat prior on the coefficients, log σ and ρ).

    Parameters
    ----------
    series : frame
        One row per period.
    time : str
        Column with the period: dates (one a month counts as monthly), or whole numbers.
    outcome : str
        Column with a number. Periods without it are left out and counted; a gap is no harm.
    changed_on : date or number
        First day, or period, with the change. A month in which it comes after the first day is left out.
    weight : str, optional
        Column with the accounts behind each period; the variance is taken as 1 / weight.
    season : int or None
        Periods in a year, 3 or more; used from two years on. None: no season.
    comparison : str, optional
        Column with the same outcome where nothing changed; its movements are taken off.
    conf_level : float
        Level of the intervals.

    Returns
    -------
    SeriesResult
        Checks: ``points`` (8 or more on each side), ``autocorrelation`` (none left: Ljung–Box), ``placebo_date`` (no
        break on earlier dates, with Bonferroni), ``season`` (a full year before the change), ``comparison`` (a series
        without the change moves alike; without one, whatever else happened on the date counts as the change).

    Raises
    ------
    FrameError
        A column is missing or of the wrong kind; two rows for a period; a date outside the series; too few periods on
        a side (4); a constant outcome.

    References
    ----------
    Bernal, Cummins & Gasparrini (2017), International Journal of Epidemiology 46(1). Turner et al. (2021), BMC Medical
    Research Methodology 21:134 (short series). Zellner & Tiao (1964), JASA 59 (averaging over ρ).

    Examples
    --------
    >>> import pandas as pd
    >>> noise = [0, 1, -1, 2, 0, -2, 1, 0, 1, -1, 0, 2, -1, 0, 1, -2, 0, 1, 0, -1]
    >>> monthly = pd.DataFrame({"month": pd.date_range("2024-01-01", periods=20, freq="MS"),
    ...     "cured": [0.5 + 0.001 * t + 0.1 * (t >= 10) + 0.002 * e for t, e in enumerate(noise)]})
    >>> result = interrupted_series(monthly, time="month", outcome="cured", changed_on="2024-11-01", season=None)
    >>> result.table[["method", "estimate"]].round(2).values.tolist()[:2]
    [['level change', 0.1], ['slope change', -0.0]]
    """
    check_level(conf_level)
    whole = isinstance(season, (int, float, np.number)) and not isinstance(season, bool)
    if season is not None and not (whole and FEWEST_SEASON <= season < np.inf):
        raise FrameError(
            f"season is {season!r}. Allowed: {FEWEST_SEASON} or more periods in a year, or None."
        )
    data, notes = prepared(series, time, outcome, changed_on, weight, comparison)
    place, y = data["place"].to_numpy(), data["y"].to_numpy()
    waves = waves_of(place, season)
    x = matrix(place, 0, waves)
    if len(y) < x.shape[1] + 3:
        raise FrameError(
            f"{len(y)} periods are too few for a path of {x.shape[1]} coefficients. Allowed: {x.shape[1] + 3} or more."
        )
    root = np.sqrt(data["weight"].to_numpy() / data["weight"].mean())
    white = whiteners(place)
    fit = fit_path(y, x, root, white)
    after = place >= 0
    contrast = np.zeros((3, x.shape[1]))
    contrast[0, 2] = contrast[1, 3] = contrast[2, 2] = 1.0
    contrast[2, 3] = np.average(place[after], weights=data["weight"].to_numpy()[after])
    kind = unit_of(outcome, data["seen"].to_numpy())
    sizes = {"n_untreated": int((~after).sum()), "n_treated": int(after.sum())}
    names = ("level change", "slope change", "mean effect after")
    found = [{"method": n, **sizes, **averaged(fit, c, conf_level)} for n, c in zip(names, contrast)]
    found.append({"method": "after minus before", **sizes, **plain(y, after, conf_level)})
    table = pd.DataFrame([{"outcome": outcome, "unit": kind, **row} for row in found])
    beta = fit.mean_beta
    path = pd.DataFrame({"time": data["time"], "value": y, "fitted": x @ beta, "after": after})
    path["projected"] = path["fitted"] - after * (beta[2] + beta[3] * place)
    return SeriesResult(
        table=table,
        path=path,
        estimand=f"{title_of(outcome)} in the first period after the change, minus what its path before would have given",
        unit=kind,
        title=f"{title_of(outcome)} before and after the change"
        + (f", less {words_of(comparison)}" if comparison else ""),
        notes=(
            *notes,
            "'After minus before' is what a plain comparison of means would say; it takes trend and season for effect.",
            "Intervals are averaged over the autocorrelations that the series allows.",
        ),
        formats={"n_untreated": "count", "n_treated": "count"},
        conf_level=conf_level,
        design="series",
        checks=(
            _points(sizes),
            _left_over(fit, y, x, root, white),
            _placebo(y, place, waves, root),
            _seasons(place, waves, season),
            _beside(data, x, root, white, comparison),
        ),
    )


def _points(sizes: dict[str, int]) -> Check:
    fewest = min(sizes.values())
    return Check(
        name="points",
        passed=fewest >= FEWEST_POINTS,
        says=f"{sizes['n_untreated']} periods before the change and {sizes['n_treated']} after; a path can be told from "
        f"{FEWEST_POINTS} on each side.",
        value=float(fewest),
        limit=float(FEWEST_POINTS),
    )


def _left_over(
    fit: Fit, y: np.ndarray, x: np.ndarray, root: np.ndarray, white: tuple[np.ndarray, np.ndarray]
) -> Check:
    from statsmodels.stats.diagnostic import acorr_ljungbox

    if len(y) < FEWEST_FOR_RHYTHM:
        return Check(
            name="autocorrelation",
            passed=None,
            says=f"{len(y)} periods are too few to see whether a rhythm is left in them ({FEWEST_FOR_RHYTHM} are wanted).",
            limit=LIMIT_RHYTHM,
        )
    best = int(fit.share.argmax())
    rest = white[0][best] @ ((y - x @ fit.beta[best]) * root)
    lags = min(6, len(y) // 5)
    p_value = float(acorr_ljungbox(rest, lags=[lags], model_df=1)["lb_pvalue"].iloc[0])
    return Check(
        name="autocorrelation",
        passed=p_value >= LIMIT_RHYTHM,
        says=f"Neighbouring periods are correlated at about {CORRELATIONS[best]:.2f}, which the interval allows for; beyond "
        f"that {'none is' if p_value >= LIMIT_RHYTHM else 'some is'} left (Ljung–Box over {lags} periods, {p_said(p_value)}).",
        value=p_value,
        limit=LIMIT_RHYTHM,
    )


def _placebo(y: np.ndarray, place: np.ndarray, waves: np.ndarray, root: np.ndarray) -> Check:
    """The same question on each earlier date that leaves six periods on either side, before the change."""
    early = place < 0
    place, y, root, waves = place[early], y[early], root[early], waves[early]
    contrast = np.eye(4 + waves.shape[1])[2]
    dates = place[6:-5] if len(place) >= 12 else place[:0]
    if not len(dates) or len(place) < 8 + waves.shape[1]:
        return Check(
            name="placebo_date",
            passed=None,
            says=f"{len(place)} periods before the change are too few to look for breaks on earlier dates.",
            limit=LIMIT,
        )
    white = whiteners(place)
    found = [p_value_of(fit_path(y, matrix(place, d, waves), root, white), contrast) for d in dates]
    p_value = min(1.0, len(found) * min(found))
    return Check(
        name="placebo_date",
        passed=p_value >= LIMIT,
        says=f"{'No' if p_value >= LIMIT else 'A'} break shows on {len(found)} earlier dates tried (smallest p "
        f"{min(found):.3f}, {p_value:.3f} with so many tried).",
        value=p_value,
        limit=LIMIT,
    )


def _seasons(place: np.ndarray, waves: np.ndarray, season: int | None) -> Check:
    before = int((place < 0).sum())
    if not season:
        return Check(
            name="season", passed=None, says="No season was asked for; one would count as part of the change."
        )
    if not waves.shape[1]:
        says = f"The series is shorter than two years ({season} periods each): season cannot be told from the change."
        return Check(name="season", passed=False, says=says, value=float(before), limit=float(season))
    return Check(
        name="season",
        passed=before >= season,
        says=f"Season is taken off as a smooth wave of {season} periods, with {before} periods seen before the change; a "
        "single odd month in the year is not.",
        value=float(before),
        limit=float(season),
    )


def _beside(
    data: pd.DataFrame,
    x: np.ndarray,
    root: np.ndarray,
    white: tuple[np.ndarray, np.ndarray],
    comparison: str | None,
) -> Check:
    if comparison is None:
        return Check(
            name="comparison",
            passed=None,
            says="There is no series without the change: whatever else happened on that date counts as its effect.",
        )
    contrast = np.eye(x.shape[1])[2]
    fit = fit_path(data["beside"].to_numpy(), x, root, white)
    own = averaged(fit, contrast, 0.95)
    kind = unit_of(comparison, data["beside"].to_numpy())
    return Check(
        name="comparison",
        passed=own["p_value"] >= LIMIT,
        says=f"{title_of(comparison)}, which did not change, moved by {said(own['estimate'], kind)} on the date "
        f"({p_said(own['p_value'])}); its movements are taken off.",
        value=own["p_value"],
        limit=LIMIT,
    )
