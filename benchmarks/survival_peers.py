"""How each peer of survival.py is asked for the same figures. Imported in a child process, one peer at a time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

INCIDENCE = "Aalen–Johansen with intervals"
HORIZON = 90


def read_frame(file: Path, outcomes: list[str]) -> tuple[Any, float]:
    """The columns in pandas, outcomes as the whole numbers that peers ask for; and how long that took."""
    import pandas as pd

    start = time.perf_counter()
    frame = pd.read_parquet(file, columns=["team", "exit_day", "outcome"])
    frame["outcome"] = pd.Categorical(frame["outcome"], outcomes).codes.astype(np.int64)
    return frame, time.perf_counter() - start


def _by_team(frame: Any) -> Iterator[tuple[Any, Any]]:
    for _, part in frame.groupby("team", sort=True):
        yield part["exit_day"].to_numpy(), part["outcome"].to_numpy()


def _step_at(days: Any, values: Any, day: float = HORIZON) -> float:
    return float(np.asarray(values)[np.searchsorted(np.asarray(days), day, side="right") - 1])


def _statsmodels_incidence(frame: Any) -> float:
    from statsmodels.duration.survfunc import CumIncidenceRight

    fits = [CumIncidenceRight(days, outcome) for days, outcome in _by_team(frame)]
    _ = [(f.cinc[0] - 1.96 * f.cinc_se[0], f.cinc[0] + 1.96 * f.cinc_se[0]) for f in fits]
    return _step_at(fits[0].times, fits[0].cinc[0])


def _statsmodels_km(frame: Any) -> float:
    from statsmodels.duration.survfunc import SurvfuncRight

    fits = [SurvfuncRight(days, (outcome == 1).astype(int)) for days, outcome in _by_team(frame)]
    return _step_at(fits[0].surv_times, fits[0].surv_prob)


def _statsmodels_log_rank(frame: Any) -> float:
    from statsmodels.duration.survfunc import survdiff

    return float(survdiff(frame["exit_day"], (frame["outcome"] == 1).astype(int), frame["team"])[0])


def _sksurv_incidence(frame: Any) -> float:
    from sksurv.nonparametric import cumulative_incidence_competing_risks as incidence

    fits = [incidence(outcome, days, conf_type="log-log") for days, outcome in _by_team(frame)]
    return _step_at(fits[0][0], fits[0][1][1])


def _sksurv_km(frame: Any) -> float:
    from sksurv.nonparametric import kaplan_meier_estimator

    fits = [kaplan_meier_estimator(o == 1, days, conf_type="log-log") for days, o in _by_team(frame)]
    return _step_at(*fits[0][:2])


def _lifelines_incidence(frame: Any) -> float:
    import warnings

    from lifelines import AalenJohansenFitter

    shares = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it adds noise to tied days, and says so
        for days, outcome in _by_team(frame):
            for cause in (1, 2, 3):
                fitter = AalenJohansenFitter(calculate_variance=True, seed=1)
                fit = fitter.fit(days, outcome, event_of_interest=cause)
                curve = fit.cumulative_density_
                shares.append(_step_at(curve.index, curve.iloc[:, 0], HORIZON + 0.5))
    return shares[0]


def _lifelines_km(frame: Any) -> float:
    from lifelines import KaplanMeierFitter

    fits = [KaplanMeierFitter().fit(days, outcome == 1) for days, outcome in _by_team(frame)]
    curve = fits[0].survival_function_
    return _step_at(curve.index, curve.iloc[:, 0])


def _lifelines_log_rank(frame: Any) -> float:
    from lifelines.statistics import multivariate_logrank_test

    test = multivariate_logrank_test(frame["exit_day"], frame["team"], frame["outcome"] == 1)
    return float(test.test_statistic)


#: Peer → (what it is installed as, measure → how it is asked). R's part is in survival.R.
PEERS: dict[str, tuple[str, dict[str, Callable[[Any], float] | str]]] = {
    "statsmodels": (
        "statsmodels",
        {INCIDENCE: _statsmodels_incidence, "Kaplan–Meier": _statsmodels_km, "log-rank": _statsmodels_log_rank},
    ),
    "scikit-survival": ("sksurv", {INCIDENCE: _sksurv_incidence, "Kaplan–Meier": _sksurv_km}),
    "lifelines": (
        "lifelines",
        {INCIDENCE: _lifelines_incidence, "Kaplan–Meier": _lifelines_km, "log-rank": _lifelines_log_rank},
    ),
    "R survival": ("R:survival", {INCIDENCE: "survfit", "log-rank": "survdiff"}),
    "R cmprsk": ("R:cmprsk", {f"{INCIDENCE} and Gray's test": "cuminc"}),
}  # fmt: skip
