r"""How much a whole family of groups (all branches, all agents) could owe, where no one of them is named.

With :math:`K_g` the part of the gap by which group g differs from the average of its family and :math:`w_g` its
share of the family, :math:`V = \sum K_g^2 / w_g` is how much the groups truly differ. If those worse than the average
did as the average, :math:`\sum \max(K_g, 0) = \tfrac12 \sum |K_g| \le \tfrac12 \sqrt{V}` of the gap would go, however
the differences lie (Cauchy and Schwarz). The observed V is larger by chance alone: it is taken as
c · noncentral χ² with c and the degrees of freedom from the jackknife covariance (Satterthwaite 1946), whose
inversion gives an unbiased V and its interval. No group was picked, so nothing needs widening.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
import pandas as pd

from collectlab.core.jackknife import GROUPS as REPLICATES
from collectlab.core.jackknife import t_quantile
from collectlab.core.tables import humanise
from collectlab.measures.gap import Cells
from collectlab.policy.diagnosis.result import label_of
from collectlab.policy.diagnosis.shares import Shares

#: What a manager expects to have been looked at, whether the KPI can be counted by it or not.
EXPECTED = ("product", "branch", "team", "agent", "agency", "strategy")
_PLURAL = {
    "branch": "branches",
    "agency": "agencies",
    "strategy": "strategies",
    "cohort": "quarters of granting",
}
_SKIP = {"level", "mix", "_rate", "_aim", "_gain", "step"}


def looked_at(
    shares: Shares, cells: Cells, named: Collection[tuple[str, str]], bad: float, conf_level: float
) -> list[dict[str, Any]]:
    """What was looked at and not named, one family or step a line, and what the KPI cannot be counted by."""
    lines: list[dict[str, Any]] = []
    families, held = families_of(shares, conf_level), {dimension for dimension, _ in named}
    for family in families.itertuples():
        if family.dimension not in held:
            values = (family.estimate, np.nan, family.conf_low, family.conf_high)
            text = f"{_plural(family.dimension).capitalize()} ({family.groups} compared)"
            lines.append(_line("looked at", family.dimension, family.n, values, text))
    quantile = float(t_quantile(conf_level, np.array(REPLICATES - 1)))
    rows = shares.rows
    told = {name for dimension, name in named if dimension == "step"}
    for i in np.flatnonzero((rows["dimension"] == "step") & (rows["of_dimension"] == "")):
        step = rows["group"][i]
        told |= {step} if np.isfinite(shares.estimate[i]) else set()
        if ("step", step) not in named and np.isfinite(shares.estimate[i]):
            low, high = sorted(bad * end for end in shares.interval(i, quantile))
            values = (bad * shares.estimate[i], shares.std_error[i], low, high)
            text = label_of("step", step, cells, shares)
            lines.append(_line("looked at", step, rows["n"][i], values, text))
    counted = {*cells.groups, *dict(cells.nested)}
    small = [
        d for d in (*EXPECTED, "origination_channel") if d in counted - held - set(families["dimension"])
    ]
    missing = [d for d in EXPECTED if d not in counted]
    missing += [
        name for name, expected in (("adherence", True), ("contactability", False))
        if not any(step.expected is expected and step.name in told for step in cells.paths)
    ]  # fmt: skip
    missing += [] if np.isfinite(shares.estimate[1]) else ["mix"]
    for dimensions, text in ((small, "Too small to compare"), (missing, "This KPI is not counted by")):
        if dimensions:
            names = ", ".join(_plural(d) for d in dimensions)
            lines.append(_line("not counted", names, 0, (np.nan,) * 4, f"{text}: {names}"))
    return lines


def _line(cause: str, group: str, n: int, values: tuple[float, ...], says: str) -> dict[str, Any]:
    return {"cause": cause, "group": group, "n": n, "values": values, "says": says}


def _plural(dimension: str) -> str:
    if dimension in ("adherence", "contactability", "mix"):
        return dimension if dimension != "mix" else "mix against the year before"
    return _PLURAL.get(dimension, f"{humanise(dimension).lower()}s")


def families_of(shares: Shares, conf_level: float) -> pd.DataFrame:
    """One row per family of two or more groups: ``dimension, groups, n, estimate, conf_low, conf_high``.

    Numbers are ½√V in the KPI's unit, never below 0; ``conf_high`` is what the family could owe at most.
    """
    rows = shares.rows
    told = ~rows["dimension"].isin(_SKIP) & ~rows["dimension"].str.contains(" × ", regex=False)
    told &= np.isfinite(shares.estimate) & (shares.std_error > 0) & (rows["against"] > 0)
    found = []
    for dimension, own in rows[told].groupby("dimension", sort=False):
        blocks = [b.index.to_numpy() for _, b in own.groupby("of_group", sort=True) if len(b) > 1]
        if not blocks:
            continue
        at = np.concatenate(blocks)
        size = rows["weight"].to_numpy(float)
        parts = [_centred(shares, rows, block) for block in blocks]
        estimate, left_out = (np.concatenate([p[k] for p in parts], axis=-1) for k in (0, 1))
        scale = np.sqrt(size[at] / size[at].sum())
        found.append(
            {"dimension": dimension, "groups": len(at), "n": int(rows["n"].to_numpy()[at].sum())}
            | _spread(estimate / scale, left_out / scale, len(at) - len(blocks), conf_level)
        )
    columns = ["dimension", "groups", "n", "estimate", "conf_low", "conf_high"]
    return pd.DataFrame(found, columns=columns)


def _centred(shares: Shares, rows: pd.DataFrame, at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each group's part against the average of these groups, itself among them; and without each replicate."""
    size, rest = (rows[c].to_numpy(float)[at] for c in ("weight", "against"))
    # K against the others -> the distance from the average of all -> that of these groups
    distance = rest / (size + rest) / size
    mean = size / size.sum()

    def centred(parts: np.ndarray) -> np.ndarray:
        effect = parts * distance
        return size * (effect - (effect @ mean)[..., None])

    return centred(shares.estimate[at]), centred(shares.left_out[:, at])


def _spread(values: np.ndarray, left_out: np.ndarray, free: int, conf_level: float) -> dict[str, float]:
    """½√V with its interval, of standardised parts and their replicates."""
    from scipy.special import chdtr, chndtrinc

    used = left_out - values
    held = int((used != 0).any(axis=1).sum())
    covariance = (held - 1) / max(held, 1) * used.T @ used
    noise = float(np.trace(covariance))
    if not noise > 0:
        return dict.fromkeys(("estimate", "conf_low", "conf_high"), float("nan"))
    # the squares of an estimated covariance hold its own noise
    squares = (float((covariance**2).sum()) - noise**2 / (held - 1)) / (1 + 1 / (held - 1))
    freedom = min(noise**2 / max(squares, noise**2 / free), float(free))
    unit, tail = noise / freedom, (1 - conf_level) / 2
    seen = float((values**2).sum()) / unit
    low = chndtrinc(seen, freedom, 1 - tail) if chdtr(freedom, seen) > 1 - tail else 0.0
    # fewer differences than chance alone makes do not show that there are none
    high = chndtrinc(max(seen, freedom), freedom, tail)
    ends = {"estimate": seen - freedom, "conf_low": low, "conf_high": high}
    return {name: 0.5 * float(np.sqrt(max(v, 0.0) * unit)) for name, v in ends.items()}
