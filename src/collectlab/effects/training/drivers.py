"""What goes with better results among agents: promises kept, records, reaching people, attempts, the rules."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from collectlab.core.errors import FrameError, NotAvailable
from collectlab.core.jackknife import check_level
from collectlab.core.results import Result
from collectlab.effects._league_math import holm
from collectlab.effects.training.performance import _replicates
from collectlab.effects.training.rows import (
    CHANNELS,
    HORIZON,
    need_agents,
    roster,
    rule_rows,
    share_kept,
    skill_rows,
    starts,
)
from collectlab.effects.training.units import compared
from collectlab.measures.actions_rows import Period

if TYPE_CHECKING:
    from collectlab.book.open import Book

#: Fewer agents than this show nothing but chance.
LEAST_AGENTS = 8


def agent_drivers(
    book: Book,
    *,
    by: str = "agent",
    minimum_cases: int = 30,
    horizon: int = HORIZON,
    channels: Sequence[str] = CHANNELS,
    violations: Any = None,
    definition: str = "current_once",
    period: Period = None,
    conf_level: float = 0.95,
) -> Result:
    r"""What goes with curing more, among agents: one driver at a time, on different customers.

    The agents' cure at the same mix of cases is taken on one half of the customers, their drivers on the other half
    (``within_rules``, handed in as counts, on all). On the same customers they would go together by chance alone:
    the agent whose cases happened to pay has more promises kept as well. With agent j's effect θ_j (error e_j, spread τ
    between agents) and driver d_j, both less their channel's weighted mean,

    .. math:: \theta_j = \beta \, d_j / \mathrm{sd}(d) + u_j, \qquad w_j = 1 / (\tau^2 + e_j^2),

    by weighted least squares; the error is scaled by the residuals (Knapp & Hartung) and has J − channels − 1 degrees of freedom.
    ``estimate``: difference in cure, in points, that goes with one standard deviation more of the driver.

    Half of the cases makes drivers noisy and the slopes too small. And it is what goes together: whether training in one would
    change the other it does not say.

    Parameters
    ----------
    book : Book
        With actions that name agents.
    by : str
    minimum_cases : int
        Agents with fewer cases in all are left out; of each half at least half as many are needed.
    horizon : int
    channels : sequence of str
    violations : frame, optional
        agent, violations, contacts.
    definition : str
    period : (date, date), optional
    conf_level : float

    Returns
    -------
    Result
        ``table``: driver, agents, sd (of the driver), estimate, std_error, conf_low, conf_high, p_value (Holm over drivers).

    Raises
    ------
    NotAvailable
        Fewer than 8 agents.

    References
    ----------
    Knapp & Hartung (2003), Statistics in Medicine 22, 2693–2710.

    Examples
    --------
    >>> from collectlab.book.open import open_book
    >>> agent_drivers(open_book("data/example")).table["driver"].tolist()
    ['attempts_per_case', 'promises_kept', 'reached', 'recorded']
    """
    check_level(conf_level)
    need_agents(book, by)
    if (
        isinstance(minimum_cases, bool)
        or not isinstance(minimum_cases, (int, np.integer))
        or minimum_cases < 2
    ):
        raise FrameError(f"minimum_cases is {minimum_cases!r}. Allowed: whole numbers ≥ 2.")
    how: dict[str, Any] = {
        "horizon": horizon,
        "channels": channels,
        "definition": definition,
        "period": period,
    }
    _, torn, notes = roster(book, channels, period) if by == "agent" else ({}, (), ())
    cases, _ = skill_rows(book, "cured", by, **how)
    cases = cases[~cases[by].astype(str).isin(torn)]
    mine = cases[_replicates(cases["customer"]) % 2 == 0]
    least = max(int(minimum_cases) // 2, 2)
    units, _, _ = compared("cured", mine, by, least, conf_level)
    total = cases.groupby(["among", by]).size()
    if len(units):
        enough = [total.get((g, u), 0) >= minimum_cases for g, u in zip(units["among"], units[by])]
        units = units[enough]
    if len(units) < LEAST_AGENTS:
        raise NotAvailable(
            f"{len(units)} {by}s have {minimum_cases} cases: among fewer than {LEAST_AGENTS}, what goes with what is chance."
        )
    rows = []
    for driver, values in sorted(_drivers(book, by, violations, how).items()):
        joined = units.merge(values, left_on=["among", by], right_index=True, how="inner").dropna(
            subset=["d"]
        )
        line = _slope(joined, conf_level)
        if line is not None:
            rows.append({"driver": driver, **line})
    if not rows:
        raise NotAvailable("no driver differs among enough agents.")
    table = pd.DataFrame(rows)
    table["p_value"] = holm(table["p_value"].to_numpy())
    found = table.loc[table["p_value"] <= 1 - conf_level, "driver"].str.replace("_", " ").tolist()
    says = f"Goes with cure: {', '.join(found)}." if found else "Nothing here is shown to go with cure."
    return Result(
        table=table,
        estimand="Difference in cure at the same mix of cases that goes with one standard deviation more of the driver, among agents",
        unit="points",
        title="What goes with results among agents",
        notes=(
            says,
            f"Cure and driver are taken on different halves of the customers; p-values hold for all {len(table)} drivers.",
            "What goes together need not be cause and effect.",
            *notes,
        ),
        formats={"agents": "count", "sd": "number"},
        conf_level=conf_level,
    )  # fmt: skip


def _drivers(book: Book, by: str, violations: Any, how: dict[str, Any]) -> dict[str, pd.DataFrame]:
    """Driver → mean by channel and unit (column ``d``), on the other half of the customers."""
    found = {}
    for skill in ("promises_kept", "recorded", "reached"):
        try:
            part, _ = skill_rows(book, skill, by, **how)
        except NotAvailable:
            continue
        part = part[_replicates(part["customer"]) % 2 == 1]
        found[skill] = part.groupby(["among", by])["y"].mean().rename("d").to_frame()
    begun = starts(book, by, how["channels"], how["definition"], how["period"])
    begun = begun[begun["rep"] % 2 == 1].reset_index(drop=True)
    _, per = share_kept(book, begun, by, how["horizon"])
    begun = begun.assign(d=per["own"].to_numpy(float)).rename(columns={"unit": by})
    found["attempts_per_case"] = begun.groupby(["among", by])["d"].mean().to_frame()
    if violations is not None:
        part = rule_rows(violations, by)
        share = part.groupby(by)["y"].mean()
        pairs = pd.MultiIndex.from_tuples(
            [(g, u) for g in how["channels"] for u in share.index], names=["among", by]
        )
        found["within_rules"] = pd.DataFrame({"d": [share[u] for _, u in pairs]}, index=pairs)
    return found


def _slope(units: pd.DataFrame, conf_level: float) -> dict[str, float] | None:
    """Weighted slope within channels with Knapp and Hartung's error; None where there is nothing to fit."""
    from scipy import stats

    if len(units) < LEAST_AGENTS:
        return None
    # The spread between agents by the method of moments over all channels: weights only, not the error, rest on it.
    e2 = units["own_error"].to_numpy(float) ** 2
    tau2 = max(float(np.var(units["unshrunken"], ddof=1) - e2.mean()), 0.0)
    w = 1 / (tau2 + e2)
    group = pd.factorize(units["among"])[0]
    mean = np.bincount(group, weights=w)

    def inside(values: pd.Series) -> np.ndarray:
        v = values.to_numpy(float)
        return v - (np.bincount(group, weights=w * v) / mean)[group]

    y, d = inside(units["unshrunken"]), inside(units["d"])
    free = len(units) - len(mean) - 1
    sd = float(np.sqrt((d**2).sum() / max(len(units) - len(mean), 1)))
    if free < 3 or sd <= 1e-12:
        return None
    x = d / sd
    weight = float((w * x**2).sum())
    slope = float((w * x * y).sum() / weight)
    scale = float((w * (y - slope * x) ** 2).sum() / free)
    error = float(np.sqrt(scale / weight))
    reach = float(stats.t.ppf((1 + conf_level) / 2, free)) * error
    p = float(2 * stats.t.sf(abs(slope) / error, free)) if error > 0 else np.nan
    return {
        "agents": len(units), "sd": sd, "estimate": slope, "std_error": error, "conf_low": slope - reach,
        "conf_high": slope + reach, "p_value": p,
    }  # fmt: skip
