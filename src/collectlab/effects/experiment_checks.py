"""What must hold before an experiment's answer is looked at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import narwhals as nw
import numpy as np

from collectlab.core.engine import collect, require, scan
from collectlab.core.errors import FrameError, first_few
from collectlab.effects._least_squares import equal_means
from collectlab.effects.effect_result import Check
from collectlab.effects.experiment_cells import (
    apart,
    arms_of,
    codes_of,
    control_of,
    count_cells,
    design,
    names_of,
)
from collectlab.effects.experiment_kept import assignment_first, book_checks, one_arm, spillover

__all__ = ["book_checks", "experiment_checks"]

#: A check fails where chance alone would seldom do it: the p-value below which it does.
SAMPLE_RATIO_LIMIT, BALANCE_LIMIT, ATTRITION_LIMIT = 0.001, 0.01, 0.01


def experiment_checks(
    frame: Any,
    *,
    arm: str = "strategy",
    control: str | None = None,
    outcomes: str | Sequence[str] = (),
    baseline: str | Sequence[str] = (),
    shares: Mapping[str, float] | None = None,
    unit: str | None = None,
    assigned_on: str | None = None,
    outcome_from: str | None = None,
    contacts: Any = None,
    agent: str = "agent",
    block: str | None = None,
    cluster: str | None = None,
) -> tuple[Check, ...]:
    """Whether a test was drawn, kept and measured as it should be; as many checks as the arguments allow.

    ``sample_ratio``
        The arms have the sizes they should have (χ² of Pearson; fails at p < 0.001). A miss means that
        accounts were lost or moved after the draw, and then no other number can be trusted.
    ``balance``
        What was known before the draw does not differ between arms: one test of all columns and arms
        (:func:`~collectlab.effects._least_squares.equal_means`; fails at p < 0.01), with the largest
        standardised difference (mₐ − m₀) / √((s²ₐ + s²₀) / 2) named.
    ``attrition``
        Outcomes are not missing more often in one arm (same test; fails at p < 0.01).
    ``one_arm``
        No unit stands under two arms.
    ``assignment_first``
        No outcome begins before the assignment.
    ``spillover``
        At most 10 % of contacts are made by agents of whose contacts 5 % or more are in arms other than their
        main one. Where collectors are shared, what is done in one arm may rub off on another, and the
        intention-to-treat effect is diluted.

    Parameters
    ----------
    frame : frame
        One row per unit assigned.
    arm, control, outcomes, block, cluster
        As in :func:`~collectlab.effects.experiment.experiment`.
    baseline : str or list of str
        Columns known before the assignment. Text is taken as categories; gaps get a column of their own.
    shares : mapping of str to float, optional
        Every arm and its part, such as ``{"letter": 1, "none": 2}``. None: the column ``propensity`` (the
        probability of the arm that the unit was given), where the frame has one.
    unit : str, optional
        Column that names what was drawn. Units under two arms are kept out of the other checks.
    assigned_on, outcome_from : str, optional
        Columns with the date of assignment, and the first date that counts in the outcome.
    contacts : frame, optional
        One row per contact (or action), with ``unit`` (required then) and ``agent``.
    agent : str
        Column of ``contacts`` that says who made it; rows without one are left out.

    Returns
    -------
    tuple of Check

    Raises
    ------
    FrameError
        No such column; ``shares`` that name an arm without accounts, or leave one out.

    References
    ----------
    Fabijan et al. (2019), Diagnosing sample ratio mismatch, KDD. Hansen & Bowers (2008), Statistical
    Science 23(2). Kohavi, Tang & Xu (2020), Trustworthy Online Controlled Experiments.

    Examples
    --------
    >>> import pandas as pd
    >>> people = pd.DataFrame({"letter": ["none"] * 300 + ["firm"] * 400, "paid": [0, 1] * 350})
    >>> for check in experiment_checks(people, arm="letter", outcomes="paid", shares={"none": 1, "firm": 1}):
    ...     print(check.name, check.passed, check.says)
    sample_ratio False Arms are not as large as drawn: firm 400 of 350 expected, none 300 of 350 (p < 0.001).
    attrition True No outcome is missing.
    """
    outcomes, baseline = names_of(outcomes), names_of(baseline)
    data = scan(frame)
    given = [c for c in (unit, assigned_on, outcome_from, block, cluster) if c is not None]
    require(data, arm, *outcomes, *baseline, *given)
    made: list[Check] = []
    rest, doubled = apart(data, arm, unit) if unit else (data, [])
    arms, _ = arms_of(rest, arm)
    if shares is not None or "propensity" in data.collect_schema().names():
        made.append(_sample_ratio(rest, arm, arms, shares, block))
    if baseline:
        made.append(_balance(rest, arm, control_of(control, arms, arm)[0], arms, baseline, block, cluster))
    if outcomes:
        made.append(_attrition(rest, arm, arms, outcomes, block, cluster))
    if unit:
        made.append(one_arm(doubled, f"units ({unit})"))
    if assigned_on and outcome_from:
        made.append(assignment_first(data, unit, assigned_on, outcome_from))
    if contacts is not None:
        if unit is None:
            raise FrameError("contacts are given without unit. Allowed: unit, a column of both frames.")
        lazy = scan(contacts)
        require(lazy, unit, agent)
        made.append(spillover(rest, lazy, arm=arm, unit=unit, agent=agent))
    return tuple(made)


def _sample_ratio(
    data: nw.LazyFrame,
    arm: str,
    arms: Mapping[str, int],
    shares: Mapping[str, float] | None,
    block: str | None,
) -> Check:
    if shares is not None:
        expected, spread = _told(arms, shares, arm)
        observed = np.array([arms[a] for a in arms], dtype=float)
    else:
        found = _recorded(data, arm, list(arms), block)
        if isinstance(found, str):
            return Check(name="sample_ratio", passed=None, says=found, limit=SAMPLE_RATIO_LIMIT)
        observed, expected, spread = found
    from scipy.special import chdtrc

    # The counts add up, so that their covariance lacks one rank; with one set of shares this is Pearson's χ².
    miss = (observed - expected)[:-1]
    statistic = float(miss @ np.linalg.pinv(spread[:-1, :-1], hermitian=True) @ miss)
    p_value = float(chdtrc(len(arms) - 1, statistic))
    passed = p_value >= SAMPLE_RATIO_LIMIT
    text = ", ".join(
        f"{a} {o:,.0f} of {e:,.0f}{' expected' if i == 0 else ''}"
        for i, (a, o, e) in enumerate(zip(arms, observed, expected))
    )
    says = f"Arms are {'' if passed else 'not '}as large as drawn: {text} ({_p(p_value)})."
    return Check(name="sample_ratio", passed=passed, says=says, value=p_value, limit=SAMPLE_RATIO_LIMIT)


def _told(arms: Mapping[str, int], shares: Mapping[str, float], arm: str) -> tuple[np.ndarray, np.ndarray]:
    """Expected sizes and their covariance, with shares as the plan has them."""
    named = {str(a): float(s) for a, s in shares.items()}
    faults = []
    if empty := [a for a in named if a not in arms]:
        faults.append(
            f"shares: no accounts in arm {first_few(empty)}. Arms there: {first_few(list(arms), 20)}."
        )
    if unnamed := [a for a in arms if a not in named]:
        faults.append(f"shares leave out arm {first_few(unnamed)}. Allowed: every arm of {arm} and its part.")
    if odd := [f"{a}: {s:g}" for a, s in named.items() if not (np.isfinite(s) and s > 0)]:
        faults.append(f"shares hold {first_few(odd)}. Allowed: numbers above 0.")
    if faults:
        raise FrameError(faults)
    p = np.array([named[a] for a in arms]) / sum(named.values())
    n = sum(arms.values())
    return n * p, n * (np.diag(p) - np.outer(p, p))


def _recorded(
    data: nw.LazyFrame, arm: str, arms: list[str], block: str | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray] | str:
    """Observed and expected sizes and their covariance, with the recorded probabilities; or why there are none."""
    wanted = [nw.col(arm).cast(nw.String).alias("arm"), nw.col("propensity").cast(nw.Float64).alias("p")]
    if block:
        wanted.append(nw.col(block).cast(nw.String).alias("block"))
    picked = data.select(*wanted).filter(~nw.col("arm").is_null())
    keys = picked.collect_schema().names()
    cells = collect(picked.group_by(keys).agg(n=nw.len())).sort_values(keys, ignore_index=True)
    if odd := int(cells.loc[~(cells["p"] > 0) | (cells["p"] > 1), "n"].sum()):
        return (
            f"The probability of the arm is not recorded for {odd:,} of {int(cells['n'].sum()):,} accounts."
        )
    observed = cells.groupby("arm")["n"].sum().reindex(arms).to_numpy(float)
    expected, spread = np.zeros(len(arms)), np.zeros((len(arms), len(arms)))
    if len(arms) == 2:
        first = np.where(cells["arm"] == arms[0], cells["p"], 1 - cells["p"])
        strata = [(float(n), np.array([p, 1 - p])) for n, p in zip(cells["n"], first)]
    else:
        strata = []
        for name, part in cells.groupby("block" if block else lambda _: 0):
            known = part.groupby("arm")["p"].agg(["min", "max"]).reindex(arms)
            if not np.allclose(known["min"], known["max"]) or abs(known["min"].sum() - 1) > 0.01:
                where = f" in {block} {name}" if block else ""
                return f"The recorded probabilities of the arms are not one set that adds up to 1{where}."
            strata.append((float(part["n"].sum()), known["min"].to_numpy() / known["min"].sum()))
    for n, p in strata:
        expected += n * p
        spread += n * (np.diag(p) - np.outer(p, p))
    return observed, expected, spread


def _balance(
    data: nw.LazyFrame,
    arm: str,
    control: str,
    arms: Mapping[str, int],
    baseline: list[str],
    block: str | None,
    cluster: str | None,
) -> Check:
    cells = count_cells(data, arm, {}, baseline, block, cluster)
    cells = cells.dropna(subset=[c for c in ("block", "cluster") if c in cells]).reset_index(drop=True)
    count = cells["count"].to_numpy(float)
    x, labels = design(cells, baseline, count)
    if not np.any(np.abs(x) > 0):
        says = f"{first_few(baseline)}: the same for all accounts, so there is nothing to compare."
        return Check(name="balance", passed=None, says=says, limit=BALANCE_LIMIT)
    others = [a for a in arms if a != control]
    member = {a: (cells["arm"] == a).to_numpy(float) for a in arms}
    test = equal_means(x, np.stack([member[a] for a in others], axis=1), count, *codes_of(cells, cluster))
    mean = {a: np.einsum("i,ij->j", count * m, x) / max(np.sum(count * m), 1) for a, m in member.items()}
    square = {a: np.einsum("i,ij->j", count * m, x**2) / max(np.sum(count * m), 1) for a, m in member.items()}
    spread = {a: np.clip(square[a] - mean[a] ** 2, 0, None) for a in arms}
    with np.errstate(divide="ignore", invalid="ignore"):
        differences = np.nan_to_num(
            [(mean[a] - mean[control]) / np.sqrt((spread[a] + spread[control]) / 2) for a in others],
            posinf=0.0,
            neginf=0.0,
        )
    worst = np.unravel_index(int(np.argmax(np.abs(differences))), differences.shape)
    (name, level), largest = labels[worst[1]], differences[worst]
    largest_of = f"{name} ({level})" if level else name
    ending = f"the largest difference is {abs(largest):.2f} standard deviations, in {largest_of}, arm {others[worst[0]]}"
    if np.isnan(test.p_value):
        says = f"Too few accounts to test {len(labels)} columns in {len(arms)} arms; {ending}."
        return Check(name="balance", passed=None, says=says, limit=BALANCE_LIMIT)
    passed = test.p_value >= BALANCE_LIMIT
    alike = "alike" if passed else "not alike"
    says = f"Before the draw the arms were {alike} in {first_few(baseline)} ({_p(test.p_value)}); {ending}."
    return Check(name="balance", passed=passed, says=says, value=test.p_value, limit=BALANCE_LIMIT)


def _attrition(
    data: nw.LazyFrame,
    arm: str,
    arms: Mapping[str, int],
    outcomes: list[str],
    block: str | None,
    cluster: str | None,
) -> Check:
    # Two casts: a boolean becomes a whole number first, which every engine can do.
    gone = {f"gone{i}": _unknown(data, o).cast(nw.Int64) for i, o in enumerate(outcomes)}
    cells = count_cells(data, arm, gone, (), block, cluster)
    cells = cells.dropna(subset=[c for c in ("block", "cluster") if c in cells]).reset_index(drop=True)
    count, flags = cells["count"].to_numpy(float), cells[list(gone)].to_numpy(float)
    if not flags.any():
        return Check(
            name="attrition", passed=True, says="No outcome is missing.", value=1.0, limit=ATTRITION_LIMIT
        )
    treated = np.stack([(cells["arm"] == a).to_numpy(float) for a in list(arms)[1:]], axis=1)
    test = equal_means(flags, treated, count, *codes_of(cells, cluster))
    share = {
        a: np.einsum("i,ij->j", count * (cells["arm"] == a), flags)
        / max(np.sum(count * (cells["arm"] == a)), 1)
        for a in arms
    }
    apart_by = np.ptp(np.stack(list(share.values())), axis=0)
    worst = int(np.argmax(apart_by)) if apart_by.any() else int(np.argmax(flags.sum(axis=0)))
    text = ", ".join(f"{a} {share[a][worst]:.1%}".replace("%", " %") for a in arms)
    missing = f"{outcomes[worst]} is missing in {text}"
    if np.isnan(test.p_value):
        says = f"{missing}; that tells nothing about the arms."
        return Check(name="attrition", passed=None, says=says, limit=ATTRITION_LIMIT)
    passed = test.p_value >= ATTRITION_LIMIT
    ending = "no more than chance would do" if passed else "the arms differ, so those left are not comparable"
    says = f"{missing} ({_p(test.p_value)}): {ending}."
    return Check(name="attrition", passed=passed, says=says, value=test.p_value, limit=ATTRITION_LIMIT)


def _unknown(data: nw.LazyFrame, column: str) -> nw.Expr:
    kind = data.collect_schema()[column]
    return nw.col(column).is_null() | nw.col(column).is_nan() if kind.is_float() else nw.col(column).is_null()


def _p(p_value: float) -> str:
    return "p < 0.001" if p_value < 0.001 else f"p = {p_value:.3f}"
