"""How soon the money comes back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

import numpy as np
import pandas as pd

from collectlab.core.errors import FrameError, first_few
from collectlab.core.jackknife import INTERVAL, t_quantile
from collectlab.core.results import Result
from collectlab.measures.recovery_curves import count_payments, notes_of


def recovery_period(
    episodes: Any,
    payments: Any,
    *,
    horizon: int = 180,
    quantiles: Sequence[float] = (0.5,),
    of: str = "recovered",
    by: str | Sequence[str] | None = None,
    amount: str = "amount_at_entry",
    cap: bool = True,
    conf_level: float = 0.95,
    cluster: str = "customer_id",
    as_of: date | None = None,
    columns: Mapping[str, str] | None = None,
) -> Result:
    """Days until the money comes back: their mean, median and other quantiles, weighted by amount.

    With M the curve of :func:`collectlab.measures.recovery.recovery_curve` and F(t) = M(t) / M(horizon), of the
    money that comes back within ``horizon`` days

        mean = Σ_t t · (F(t) − F(t−1)),     quantile q = first day t with F(t) ≥ q,

    so each unit of money counts once and short follow-up is handled by the curve. With ``of="owed"`` the quantiles
    are those of all that was owed, the first day with M(t) ≥ q: how long until half of the debt is back. They do
    not need the follow-up to reach the horizon, but may never be reached; there is no mean then. The interval of
    the mean is the jackknife's; that of a quantile inverts the interval of the curve there (Woodruff 1952).

    Parameters
    ----------
    horizon : int
        Days since day 0 within which money counts.
    quantiles : sequence of float
        Between 0 and 1; 0.5 is the median.
    of : {"recovered", "owed"}
        Shares of what comes back within the horizon, or of all that was owed.
    episodes, payments, by, amount, cap, conf_level, cluster, as_of, columns
        As in ``recovery_curve``.

    Returns
    -------
    Result
        One row per group × ``measure`` (mean, median, or such as "first 75 %"), in days, with ``share`` =
        M(horizon). Missing where follow-up ends before the horizon or nothing was recovered; an upper limit of ∞
        is not reached within the horizon.

    Raises
    ------
    FrameError, NotAvailable
        As ``recovery_curve``; also for quantiles that are none.

    References
    ----------
    Woodruff (1952), Confidence intervals for medians and other position measures, JASA 47, 635–646.

    Examples
    --------
    >>> import pandas as pd
    >>> episodes = pd.DataFrame({
    ...     "account_id": ["a"], "started_on": pd.to_datetime(["2026-01-01"]), "entry_day": [0],
    ...     "exit_day": [200], "outcome": ["censored"], "amount_at_entry": [100.0]})
    >>> payments = pd.DataFrame({
    ...     "account_id": ["a", "a"], "paid_on": pd.to_datetime(["2026-01-11", "2026-02-20"]),
    ...     "amount": [60.0, 20.0]})
    >>> recovery_period(episodes, payments).table[["measure", "share", "estimate"]]
      measure  share  estimate
    0    mean    0.8      20.0
    1  median    0.8      10.0
    """
    wanted = list(quantiles)
    if not wanted or any(not isinstance(q, (int, float)) or not 0 < q < 1 for q in wanted):
        raise FrameError(f"quantiles are {first_few(wanted) or 'none'}. Allowed: numbers between 0 and 1.")
    if of not in ("recovered", "owed"):
        raise FrameError(f"of is {of!r}. Allowed: 'recovered', 'owed'.")
    flows = count_payments(episodes, payments, by, horizon, amount, cap, cluster, as_of, columns)

    def mean_days(curve: dict[str, np.ndarray]) -> np.ndarray:
        m = curve["payments"]
        steps = np.diff(m, axis=-1, prepend=0.0)
        with np.errstate(invalid="ignore", divide="ignore"):
            return (steps * np.arange(m.shape[-1])).sum(axis=-1) / m[:, -1]

    def shape(curve: dict[str, np.ndarray]) -> np.ndarray:
        m = curve["payments"]
        with np.errstate(invalid="ignore", divide="ignore"):
            return m if of == "owed" else m / m[:, -1:]

    whole = flows.estimate(lambda curve: curve["payments"][:, -1], conf_level)[0]
    mean = flows.estimate(mean_days, conf_level, "log") if of == "recovered" else None
    share, error, _, _ = flows.estimate(shape, conf_level)
    t = t_quantile(conf_level, flows.enter.any(axis=2).sum(axis=0) - 1)
    rows = []
    for g in range(len(flows.groups)):
        key = flows.groups.loc[g].to_dict()
        found = {} if mean is None else {"mean": [m[g] for m in mean]}
        for q in dict.fromkeys(wanted):
            name = "median" if q == 0.5 and of == "recovered" else f"first {100 * q:g} %"
            found[name] = _days_to(q, share[g], error[g], float(t[g]), of == "owed")
        for name, values in found.items():
            numbers = dict(zip(INTERVAL, values))
            rows.append({**key, "measure": name, "episodes": flows.episodes[g], "share": whole[g], **numbers})
    among = (
        f"among what is recovered within {horizon} days"
        if of == "recovered"
        else "as a part of all that was owed"
    )
    return Result(
        table=pd.DataFrame(rows),
        estimand=f"Days from day 0 until the money is recovered, {among}, weighted by amount",
        unit="days",
        title="Recovery period",
        notes=(*notes_of(flows, whole), f"Share: what is recovered within {horizon} days at all."),
        conf_level=conf_level,
    )


def _days_to(q: float, share: np.ndarray, error: np.ndarray, t: float, open_ended: bool) -> list[float]:
    """First day with ``share`` ≥ q and the interval that inverts share(day) ± t · error.

    The share of what is recovered ends at 1; the share of what is owed (``open_ended``) may end below q.
    """

    def first(level: float) -> float:
        there = share >= level - 1e-12
        return float(np.argmax(there)) if there.any() else np.inf

    if not open_ended and not np.isfinite(share[-1]):
        return [np.nan] * 4
    middle = first(q)
    if not np.isfinite(middle):
        return [np.nan] * 4
    reach = t * error[int(middle)]
    if not np.isfinite(reach):
        return [middle, np.nan, np.nan, np.nan]
    low, high = min(first(max(q - reach, 0.0)), middle), first(q + reach)
    high = high if open_ended else min(high, len(share) - 1)
    high = max(high, middle)
    return [middle, (high - low) / (2 * t) if np.isfinite(high) else np.nan, low, high]
