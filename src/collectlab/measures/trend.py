"""Whether a monthly measure moves: a straight line with errors that allow for autocorrelation."""

from __future__ import annotations

import numpy as np
import pandas as pd

from collectlab.core.errors import FrameError, first_few
from collectlab.core.results import Result
from collectlab.measures.groups import natural


def trend(
    table: pd.DataFrame,
    *,
    time: str,
    value: str = "estimate",
    by: str | None = None,
    unit: str = "points",
    conf_level: float = 0.95,
) -> Result:
    """Straight-line trend of a measure over time, per 30 days, with errors that allow for autocorrelation.

    value = a + b · (days since the first date) / 30 + error, by ordinary least squares; the error of b is
    Newey and West's (1987) with ⌊4 (n / 100)^(2/9)⌋ lags and the small-sample factor n / (n − 2), its
    interval Student's with n − 2 degrees of freedom. Each date counts once, whatever it rests on.

    Parameters
    ----------
    table : pandas.DataFrame
        One row per date (and group), such as the ``table`` of a monthly measure.
    time, value : str
        The columns with the dates and the measure; rows without a value are not used.
    by : str, optional
        A trend for each value of this column.
    unit : str
        Unit of the change per 30 days (``points`` for a share).
    conf_level : float
        Level of the interval.

    Returns
    -------
    Result
        [by], periods, estimate (change per 30 days), std_error, conf_low, conf_high, p_value. Fewer than 4
        dates give no estimate.

    Examples
    --------
    >>> import pandas as pd
    >>> monthly = pd.DataFrame({"as_of": pd.date_range("2026-01-01", periods=6, freq="30D"),
    ...                         "estimate": [0.10, 0.12, 0.13, 0.15, 0.16, 0.18]})
    >>> trend(monthly, time="as_of").table[["periods", "estimate"]].round(4).values.tolist()
    [[6.0, 0.0154]]
    """
    missing = [c for c in (time, value, by) if c is not None and c not in table.columns]
    if missing:
        raise FrameError(
            f"no column {first_few(missing)}. Columns here: {first_few(list(table.columns), 20)}."
        )
    rows = []
    parts = [((), table)] if by is None else sorted(table.groupby(by), key=lambda item: natural(item[0]))
    for key, part in parts:
        used = part.dropna(subset=[time, value]).sort_values(time)
        numbers = _slope(pd.to_datetime(used[time]), used[value].to_numpy(float), conf_level)
        rows.append({**({by: key} if by else {}), "periods": len(used), **numbers})
    return Result(
        table=pd.DataFrame(rows),
        estimand=f"Straight-line change of {value} per 30 days",
        unit=unit,
        title="Trend",
        notes=("Errors allow for autocorrelation (Newey–West); a straight line may not fit.",),
        formats={"periods": "count"},
        conf_level=conf_level,
    )


def _slope(dates: pd.Series, values: np.ndarray, conf_level: float) -> dict[str, float]:
    from scipy.stats import t

    n = len(values)
    x = (dates - dates.min()).dt.days.to_numpy(float) / 30 if n else np.zeros(0)
    names = ("estimate", "std_error", "conf_low", "conf_high", "p_value")
    if n < 4 or np.ptp(x) == 0:
        return dict.fromkeys(names, np.nan)
    X = np.column_stack([np.ones(n), x])
    inverse = np.linalg.inv(X.T @ X)
    beta = inverse @ X.T @ values
    score = X * (values - X @ beta)[:, None]
    meat = score.T @ score
    lags = int(4 * (n / 100) ** (2 / 9))
    for lag in range(1, lags + 1):
        cross = score[lag:].T @ score[:-lag]
        meat += (1 - lag / (lags + 1)) * (cross + cross.T)
    error = float(np.sqrt(max((inverse @ meat @ inverse)[1, 1], 0.0) * n / (n - 2)))
    reach = t.ppf((1 + conf_level) / 2, n - 2) * error
    p_value = 2 * t.sf(abs(beta[1] / error), n - 2) if error > 0 else np.nan
    return dict(zip(names, (float(beta[1]), error, beta[1] - reach, beta[1] + reach, float(p_value))))
