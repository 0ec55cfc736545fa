"""How far units differ in one skill beyond chance, and how far each lies from the average."""

from __future__ import annotations

import numpy as np
import pandas as pd

from collectlab.effects import _league_math as numbers
from collectlab.effects.league import _cases, _comparable
from collectlab.measures.groups import natural

#: Columns of skill rows that are not part of the mix.
_NOT_MIX = ("account_id", "customer", "y", "among", "owed", "lot")


def compared(
    skill: str, rows: pd.DataFrame, by: str, minimum: int, conf_level: float
) -> tuple[pd.DataFrame, pd.DataFrame, list[str]]:
    """One skill's units by channel, and one row per channel about the spread between them; who was too small.

    As in :func:`collectlab.effects.league.league` (the same mix of cases, by least squares within units; shrunken to
    the average), with what a fair list needs besides: each unit's own error, its reliability τ²/(τ² + error²), the
    one-sided p-value that it is below the average, and the probability of that given the shrinkage.
    """
    from scipy import stats

    mix = [c for c in rows.columns if c not in (*_NOT_MIX, by) and rows[c].nunique() > 1]
    cases, _, _ = _cases(rows, by, "y", 1, None, "", None, mix, "among", None, "customer")
    z = float(stats.norm.ppf((1 + conf_level) / 2))
    tables, between, small = [], [], []
    for group in sorted(cases["group"].unique(), key=natural):
        part, few, _, _ = _comparable(cases[cases["group"] == group], minimum, mix)
        small += [f"{u} ({n:,.0f})" for u, n in few]
        names = sorted(part["unit"].unique(), key=natural)
        if len(names) < 2 or part["y"].min() == part["y"].max():
            continue
        code = pd.Categorical(part["unit"], names).codes.astype(int)
        columns = [
            (c[:, None] == np.unique(c)[1:]).astype(float)
            for c in (part[f"x_{m}"].cat.codes.to_numpy() for m in mix)
        ]
        x = np.hstack([np.zeros((len(part), 0)), *columns])
        y, w = part["y"].to_numpy(float), part["w"].to_numpy(float)
        found = numbers.same_mix(y, w, code, x, pd.factorize(part["customer"])[0])
        pulled = numbers.shrink(found.effect, found.covariance, found.size, conf_level)
        error = np.sqrt(np.clip(np.diag(found.covariance), 0, None))
        noise = float(np.mean(error**2))
        tables.append(
            pd.DataFrame(
                {
                    "skill": skill, "among": group, by: names, "n": np.bincount(code),
                    "observed": np.bincount(code, weights=y) / np.bincount(code),
                    "average": float(w @ y / w.sum()), "unshrunken": found.effect, "own_error": error,
                    "estimate": pulled.estimate, "std_error": pulled.std_error,
                    "conf_low": pulled.estimate - z * pulled.std_error,
                    "conf_high": pulled.estimate + z * pulled.std_error,
                    "p_below": stats.norm.cdf(found.effect / np.where(error > 0, error, np.inf)),
                    "probability": stats.norm.cdf(
                        -pulled.estimate / np.where(pulled.std_error > 0, pulled.std_error, np.inf)
                    ),
                    "reliability": pulled.sd**2 / (pulled.sd**2 + error**2),
                }
            )
        )  # fmt: skip
        # Shares of the spread that is there: no sd between shares is wider than one half.
        high = min(pulled.sd_high, 0.5)
        between.append(
            {
                "skill": skill, "among": group, "units": len(names), "n": len(part),
                "average": float(w @ y / w.sum()), "sd": pulled.sd, "sd_low": pulled.sd_low, "sd_high": high,
                "estimate": pulled.sd**2 / (pulled.sd**2 + noise),
                "conf_low": pulled.sd_low**2 / (pulled.sd_low**2 + noise),
                "conf_high": high**2 / (high**2 + noise), "p_value": pulled.p_value,
            }
        )  # fmt: skip
    empty = pd.DataFrame()
    return (
        pd.concat(tables, ignore_index=True) if tables else empty,
        pd.DataFrame(between) if between else empty,
        small,
    )
