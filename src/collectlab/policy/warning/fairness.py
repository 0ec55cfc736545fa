"""Whether the warning, which does not look at them, treats groups of people alike."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pandas as pd

from collectlab.core.errors import FrameError, NotAvailable, first_few
from collectlab.core.jackknife import GROUPS, check_level, jackknife, shares, sums_at
from collectlab.core.results import Result
from collectlab.measures.worth.checks import plain_number
from collectlab.policy.warning.bands import bands_of
from collectlab.policy.warning.checks import check_kind, names_of
from collectlab.policy.warning.figures import FIGURES, replicates, with_intervals
from collectlab.policy.warning.validate import Validation

#: Ages are looked at in these groups; of texts, the most frequent so many.
AGES, MOST = (25, 35, 45, 60), 6


def fairness(
    validation: Validation, attributes: Sequence[str], *, warned_share: float = 0.1, conf_level: float = 0.95
) -> Result:
    """Warned share, false alarms, AUC and calibration by attributes that the warning must not use.

    Those warned of are the ``warned_share`` of all account-months with the highest chances. A *false alarm* is one of
    those without the event who was warned of.

    Parameters
    ----------
    validation : Validation
        Of :func:`~collectlab.policy.warning.validate.rolling`, on rows that hold the attributes.
    attributes : sequence of str
        Columns to look at.
    warned_share : float
        Between 0 and 1.
    conf_level : float

    Returns
    -------
    Result
        Table: attribute, group, n, events, measure (warned, false_alarms, missed, auc, observed_expected), estimate,
        std_error, conf_low, conf_high (jackknife over customers), and ``difference`` from all others' figure with
        ``diff_low`` and ``diff_high`` for warned and false_alarms.

    Raises
    ------
    NotAvailable
        The book holds none of the attributes.
    FrameError
        A share warned of that does not lie between 0 and 1.

    Examples
    --------
    >>> fairness(validation, ["gender", "age"]).table  # doctest: +SKIP
    """
    check_kind(validation, Validation, "validation", "a validation, as rolling gives it")
    check_level(conf_level)
    attributes = names_of(attributes, "attributes")
    if not 0 < plain_number(warned_share) < 1:
        raise FrameError(f"warned_share is {warned_share!r}. Allowed: between 0 and 1, such as 0.1.")
    scored = validation.scored
    there = [a for a in attributes if a in scored]
    if not there:
        raise NotAvailable(f"the book holds none of {first_few(list(attributes), 20)}.")
    chance, y = scored["chance"].to_numpy(), scored["outcome"].to_numpy(float)
    warned = chance >= np.quantile(chance, 1 - warned_share)
    replicate = replicates(scored["customer_id"])
    rows: list[dict] = []
    for attribute in there:
        labels, code = _groups(scored[attribute])
        if len(labels) < 2:
            continue
        for measure, part, whole in (
            ("warned", warned, np.ones(len(y), dtype=bool)),
            ("false_alarms", warned & (y == 0), y == 0),
            ("missed", ~warned & (y == 1), y == 1),
        ):
            rows += _shares(attribute, labels, code, measure, part, whole, replicate, y, conf_level)
        for g, label in enumerate(labels):
            mine = code == g
            found = with_intervals(chance[mine], y[mine], replicate[mine], conf_level, fine=100)
            for measure in ("auc", "observed_expected"):
                i = list(FIGURES).index(measure)
                rows.append(_row(attribute, label, y[mine], measure, *(f[i] for f in found)))
    if not rows:
        raise NotAvailable(f"{first_few(there)}: all accounts are in one group.")
    return Result(
        table=pd.DataFrame(rows),
        estimand=f"Out of time, by attributes the warning does not use; warned of: the top {warned_share:.0%}".replace("%", " %"),
        unit="number",
        title="Whether groups are warned of alike",
        notes=(
            "warned: share warned of. false_alarms: warned of, among those without the event. missed: not warned of, "
            "among those with it. difference: from all others.",
            "Groups that fall past due more often are warned of more often by any warning that works; false alarms and "
            "calibration say whether that goes too far. Not using an attribute does not make a warning blind to it.",
        ),
        conf_level=conf_level,
    )  # fmt: skip


def _row(attribute: str, label: str, y: np.ndarray, measure: str, *found: float) -> dict:
    names = ("estimate", "std_error", "conf_low", "conf_high")
    return {"attribute": attribute, "group": label, "n": len(y), "events": int(y.sum()), "measure": measure,
            **dict(zip(names, map(float, found))), "difference": np.nan, "diff_low": np.nan, "diff_high": np.nan}  # fmt: skip


def _groups(values: pd.Series) -> tuple[list[str], np.ndarray]:
    """The groups of an attribute, and each row's (−1: not known)."""
    if pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values):
        number = values.to_numpy(float)
        if values.name == "age":
            low = [0, *AGES]
            labels = [
                f"under {AGES[0]}",
                *(f"{a} to {b - 1}" for a, b in pairwise(low[1:])),
                f"{AGES[-1]} or more",
            ]
            code = np.searchsorted(AGES, number, side="right")
        else:
            found = bands_of(values, str(values.name), (np.arange(len(values)) % 2).astype(float))
            if found is None:
                return [], np.full(len(values), -1)
            labels, code = list(found.labels), found.code(values)
        code = np.where(np.isnan(number), -1, code)
    else:
        counts = values.value_counts()
        labels = sorted(str(v) for v in counts[counts > 0].index[:MOST])
        code = pd.Index(labels).get_indexer(values.astype(str))
    present = [g for g in range(len(labels)) if (code == g).any()]
    place = np.full(len(labels) + 1, -1)
    place[present] = np.arange(len(present))
    return [labels[g] for g in present], place[code]


def _shares(
    attribute: str, labels: list[str], code: np.ndarray, measure: str, part: np.ndarray, whole: np.ndarray,
    replicate: np.ndarray, y: np.ndarray, conf_level: float,
) -> list[dict]:  # fmt: skip
    known = (code >= 0) & whole
    size = (GROUPS, len(labels))
    bottom = sums_at((replicate[known], code[known]), np.ones(int(known.sum())), size)
    top = sums_at((replicate[known], code[known]), part[known].astype(float), size)
    estimate, error, low, high = shares(top, bottom, bottom.sum(axis=0), conf_level)

    def apart(c: np.ndarray) -> np.ndarray:
        t, b = c
        return t / b - (t.sum() - t) / (b.sum() - b)

    both = np.stack([top, bottom], axis=1)
    gap, _, gap_low, gap_high = jackknife(both.sum(axis=0), both, apart, conf_level)
    out = []
    for g, label in enumerate(labels):
        row = _row(attribute, label, y[code == g], measure, estimate[g], error[g], low[g], high[g])
        out.append(row | {"difference": gap[g], "diff_low": gap_low[g], "diff_high": gap_high[g]})
    return out
