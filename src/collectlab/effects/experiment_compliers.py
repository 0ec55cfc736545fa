"""What the treatment did to those it reached because they were assigned to it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import narwhals as nw
import numpy as np
import pandas as pd

from collectlab.core.engine import require, scan
from collectlab.core.errors import FrameError, first_few
from collectlab.core.jackknife import check_level
from collectlab.core.tables import format_value
from collectlab.effects._least_squares import Fit, fit
from collectlab.effects.effect_result import Check, EffectResult
from collectlab.effects.experiment_cells import (
    arms_of,
    codes_of,
    control_of,
    count_cells,
    design,
    names_of,
    refuse_kinds,
    refuse_lone_clusters,
    refuse_roles,
    unit_of,
    usable,
)
from collectlab.measures.worth.incremental import fieller

#: Below this F of the first stage the usual interval is not to be trusted (Staiger & Stock 1997).
WEAK = 10.0


def complier_effect(
    frame: Any,
    *,
    received: str,
    outcome: str,
    arm: str = "strategy",
    control: str | None = None,
    covariates: str | Sequence[str] = (),
    block: str | None = None,
    cluster: str | None = None,
    conf_level: float = 0.95,
) -> EffectResult:
    """Effect of being reached, for those who are reached if assigned and not otherwise (the compliers).

    Not everyone assigned to a call is reached by one, and those who are differ from those who are not; so
    accounts reached must not be compared with accounts not reached. With Z = 1 for the arm, 0 for the control,
    D = ``received``, Y = the outcome, and π_Y, π_D the coefficients of Z in least squares of Y and of D (with
    blocks and covariates), the estimate is Wald's, which is two-stage least squares with Z as instrument:

        β = π_Y / π_D,    Var β = (V_YY − 2 β V_YD + β² V_DD) / π_D²,

    with V the joint covariance of the two coefficients, HC3 or robust to dependence within ``cluster``. The
    Anderson–Rubin interval holds every b with (π_Y − b π_D)² ≤ t² (V_YY − 2 b V_YD + b² V_DD): it covers
    rightly however weak the instrument is, and is unbounded where assignment hardly moves who is reached.

    It is the compliers' effect if assignment was random (the checks of
    :func:`~collectlab.effects.experiment_checks.experiment_checks`), if assignment acts on the outcome through
    ``received`` alone (exclusion; it cannot be tested), and if nobody is reached *because* he is in the control.

    Parameters
    ----------
    frame : frame
        One row per unit assigned.
    received : str
        Column with 1 or true where the treatment was received, whatever the arm. It may be the number of
        contacts; then the effect is per contact, averaged over those whom assignment moves.
    outcome : str
        Numeric or boolean column.
    arm, control, covariates, block, cluster, conf_level
        As in :func:`~collectlab.effects.experiment.experiment`; covariates are not interacted with the arms.

    Returns
    -------
    EffectResult
        One row per arm: outcome, arm, n, control_n, received, control_received (means), first_stage_f,
        unit, estimate, std_error, conf_low, conf_high, p_value, ar_low, ar_high. Where F < 10, ``conf_low`` and
        ``conf_high`` are Anderson–Rubin's, and so is the p-value. Checks: ``first_stage`` (F ≥ 10 in every
        arm), ``exclusion`` (never made, said), ``one_sided`` (nobody in the control was reached).

    Raises
    ------
    FrameError
        No such column or control; a constant outcome; ``received`` that is the same for all accounts; an arm
        without accounts, or with one cluster only; a covariate that is the arm, the outcome, ``received`` or known
        only later.

    References
    ----------
    Imbens & Angrist (1994), Econometrica 62(2). Anderson & Rubin (1949), Annals of Mathematical Statistics
    20(1). Andrews, Stock & Sun (2019), Annual Review of Economics 11.

    Examples
    --------
    Half of the arm was reached; assignment raised payment by 20 points, so reaching someone did by 40.

    >>> import pandas as pd
    >>> calls = pd.DataFrame({
    ...     "arm": ["call"] * 100 + ["none"] * 100, "reached": [1, 0] * 50 + [0] * 100,
    ...     "paid": [1] * 60 + [0] * 40 + [1] * 40 + [0] * 60})
    >>> complier_effect(calls, arm="arm", control="none", received="reached", outcome="paid").table[
    ...     ["arm", "received", "estimate", "std_error"]].round(3)
        arm  received  estimate  std_error
    0  call       0.5       0.4      0.146
    """
    check_level(conf_level)
    covariates = names_of(covariates)
    data = scan(frame)
    given = [c for c in (block, cluster) if c is not None]
    require(data, arm, received, outcome, *covariates, *given)
    refuse_kinds(data, [outcome])
    refuse_kinds(data, [received], "received")
    blocks = [c for c in (block,) if c not in (None, arm)]
    refuse_roles(arm, [outcome, received], covariates=covariates, block=blocks)
    arms, notes = arms_of(data, arm)
    control, chosen = control_of(control, arms, arm)
    cells = count_cells(data, arm, {"y": nw.col(outcome), "d": nw.col(received)}, covariates, block, cluster)
    cells, dropped = usable(cells, {"y": outcome, "d": received}, block, cluster)
    notes += chosen + dropped
    if empty := [a for a in arms if a not in set(cells["arm"])]:
        raise FrameError(f"no accounts in arm {first_few(empty)}. {' '.join(notes) or 'None was given.'}")
    for column, name in (("y", outcome), ("d", received)):
        if cells[column].nunique() == 1:
            raise FrameError(
                f"{name} is {cells[column].iloc[0]:g} for all {int(cells['count'].sum()):,} accounts: "
                "nothing to compare."
            )
    refuse_lone_clusters(cells, cluster)
    rows = [
        _row(
            cells[cells["arm"].isin([a, control])].reset_index(drop=True),
            a,
            control,
            covariates,
            cluster,
            conf_level,
        )
        for a in arms
        if a != control
    ]
    unit = unit_of(outcome, cells["y"])
    share = "share" if set(cells["d"].unique()) <= {0.0, 1.0} else "number"
    table = pd.DataFrame(rows)
    table.insert(0, "outcome", outcome)
    table.insert(table.columns.get_loc("estimate"), "unit", unit)
    weak = [str(a) for a in table.loc[~(table["first_stage_f"] >= WEAK), "arm"]]
    if weak:
        notes.append(
            f"{first_few(weak)}: interval and p-value are Anderson–Rubin's, as the instrument is weak."
        )
    if np.isinf(table[["ar_low", "ar_high"]].to_numpy(float)).any():
        notes.append("An interval without end: the data rule out hardly any effect of being reached.")
    notes += [
        f"{row.arm}: Anderson–Rubin interval {format_value(row.ar_low, unit)} to {format_value(row.ar_high, unit)}."
        for row in table.itertuples()
        if row.arm not in weak
    ]
    notes.append(
        f"Assumed, and not to be tested: assignment acts on {outcome} only through {received}; nobody is reached "
        "because he is in the control."
    )
    kind = f"robust to dependence within {cluster}" if cluster else "HC3"
    notes.append(f"Standard errors are {kind}." + (" Compared within blocks." if block else ""))
    return EffectResult(
        table=table,
        estimand=(
            f"Mean {outcome} if {received}, minus mean if not, among the accounts that have {received} if assigned "
            f"to the arm and not if assigned to {control} (compliers)"
        ),
        unit=unit,
        title=f"Effect of {received.replace('_', ' ')}, by assignment",
        notes=tuple(dict.fromkeys(notes)),
        formats={
            "received": share,
            "control_received": share,
            "first_stage_f": "hidden",
            "ar_low": "hidden",
            "ar_high": "hidden",
            "control_n": "count",
        },
        conf_level=conf_level,
        design="experiment",
        checks=_checks(table, received, control),
    )


def _row(
    cells: pd.DataFrame,
    arm: str,
    control: str,
    covariates: list[str],
    cluster: str | None,
    conf_level: float,
) -> dict[str, Any]:
    from scipy.special import stdtr, stdtrit

    count, y, d = (cells[c].to_numpy(float) for c in ("count", "y", "d"))
    z = (cells["arm"] == arm).to_numpy(float)
    adjust, _ = design(cells, covariates, count)
    x = np.hstack([z[:, None], adjust])
    codes = codes_of(cells, cluster)
    # The joint covariance of two coefficients from three fits: Var(a + b) = Var a + Var b + 2 Cov(a, b).
    # On one scale, so that no digits are lost where the outcome is money and the treatment is 0 or 1.
    scale = float(np.std(y)) or 1.0
    of_y, of_d, of_sum = (fit(v, x, count, *codes) for v in (y / scale, d, y / scale + d))
    if not of_d.identified[0]:
        raise FrameError(f"arm {arm} cannot be told from {control} within blocks or from the covariates.")
    yy, dd = _variance(of_y), _variance(of_d)
    yd = (_variance(of_sum) - yy - dd) / 2
    effect, moved = float(of_y.estimate[0]), float(of_d.estimate[0])
    freedom = max(of_y.freedom, 1)
    quantile = float(stdtrit(freedom, (1 + conf_level) / 2))
    with np.errstate(divide="ignore", invalid="ignore"):
        first_f = float(np.divide(moved**2, dd))
        estimate = float(np.divide(effect, moved)) if abs(moved) > 1e-12 else float("nan")
        error = float(np.sqrt(max(yy - 2 * estimate * yd + estimate**2 * dd, 0)) / abs(moved))
        ar_low, ar_high = fieller(effect, moved, yy, yd, dd, quantile)
        by_wald, by_ar = (
            float(2 * stdtr(freedom, -abs(t))) for t in (estimate / error, effect / np.sqrt(yy))
        )
    if of_y.freedom <= 0:
        error = ar_low = ar_high = by_wald = by_ar = float("nan")
    strong = first_f >= WEAK
    low, high = (estimate - quantile * error, estimate + quantile * error) if strong else (ar_low, ar_high)
    treated, rest = count * z, count * (1 - z)
    return {
        "arm": arm,
        "n": int(treated.sum()),
        "control_n": int(rest.sum()),
        "received": float((treated * d).sum() / treated.sum()),
        "control_received": float((rest * d).sum() / rest.sum()),
        "first_stage_f": first_f,
        "estimate": estimate * scale,
        "std_error": error * scale,
        "conf_low": low * scale,
        "conf_high": high * scale,
        "p_value": by_wald if strong else by_ar,
        "ar_low": ar_low * scale,
        "ar_high": ar_high * scale,
    }


def _variance(found: Fit) -> float:
    return float(max(found.covariance[0, 0], 0.0))


def _checks(table: pd.DataFrame, received: str, control: str) -> tuple[Check, ...]:
    weakest = table.loc[table["first_stage_f"].fillna(0).idxmin()]
    strength = float(weakest["first_stage_f"])
    strong = bool(strength >= WEAK)
    says = (
        f"Assignment to {weakest['arm']} moves {received} from {weakest['control_received']:.2f} to "
        f"{weakest['received']:.2f} (F = {strength:,.1f}): "
        + ("enough to go by." if strong else "too little; the interval that allows for it is given.")
    )
    reached = float(table["control_received"].max())
    one_sided = (
        f"Nobody assigned to {control} has {received}."
        if reached == 0
        else f"{received} is {reached:.2f} on average in {control} too: the effect is of those whom assignment moved."
    )
    exclusion = (
        f"That assignment acts only through {received} cannot be checked: a letter that is announced, or an agent "
        "who tries in vain, may act as well."
    )
    return (
        Check(name="first_stage", passed=strong, says=says, value=strength, limit=WEAK),
        Check(name="exclusion", passed=None, says=exclusion),
        Check(name="one_sided", passed=reached == 0, says=one_sided, value=reached, limit=0.0),
    )
