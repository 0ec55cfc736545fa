"""What a strategy adds to what would have happened anyway: net, cost per extra cure, cost per extra unit recovered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from collectlab.core.errors import FrameError
from collectlab.core.jackknife import INTERVAL, check_level
from collectlab.core.plots import dots
from collectlab.core.results import Result
from collectlab.core.tables import display_table, readable
from collectlab.measures.worth.incremental_input import pairs_of, told_effects

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Where an effect may come from, and what may be said of its net.
EVIDENCE = {
    "causal": "accounts were drawn by lot",
    "suggestive": "people chose, and what they chose by is allowed for as far as the book holds it",
    "model": "it follows from a fitted model's assumptions",
}
MEASURES = {
    "money": "extra money",
    "cost": "extra cost",
    "net": "extra net",
    "cures": "extra cures",
    "cost_per_extra_cure": "cost per extra cure",
    "cost_per_extra_unit": "cost per extra unit recovered",
    "net_a_month": "extra net a month",
}
_UNITS = {
    "money": "money2", "cost": "money2", "net": "money2", "cures": "points",
    "cost_per_extra_cure": "money", "cost_per_extra_unit": "ratio",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Incremental(Result):
    """Effects on money and cost, and what follows from them; one row per arm × ``measure``.

    ``table``: arm, control, n (where told), measure (a key of :data:`MEASURES`), unit, estimate, std_error, conf_low,
    conf_high, evidence, reading. The standard error of a ratio is left out: its interval is Fieller's.
    """

    population: str = ""
    evidence: str = "causal"
    plottable = True

    def of(self, measure: str, arm: str | None = None) -> pd.Series:
        """The row of a measure, of the first arm unless another is named.

        Parameters
        ----------
        measure : str
            A key of :data:`MEASURES`.
        arm : str, optional

        Returns
        -------
        pandas.Series

        Raises
        ------
        FrameError
            No such row.
        """
        rows = self.table[self.table["measure"] == measure]
        rows = rows if arm is None else rows[rows["arm"] == arm]
        if rows.empty:
            raise FrameError(f"no row {measure!r}{f' of {arm}' if arm else ''} here.")
        return rows.iloc[0]

    def display_table(self) -> pd.DataFrame:
        """The measures in words."""
        shown = self.table.assign(measure=[MEASURES[m] for m in self.table["measure"]])
        return display_table(shown, self.unit, self.formats, self.conf_level)

    def plot(self, ax: Axes | None = None) -> Axes:
        """Extra net of each arm with its interval."""
        rows = self.table[self.table["measure"] == "net"].reset_index(drop=True)
        labels = [str(readable(f"{a} against {c}")) for a, c in zip(rows["arm"], rows["control"])]
        return dots(
            [("", rows)], labels, unit="money", title=self.title, xlabel="Extra net per account", zero=True, ax=ax
        )  # fmt: skip


def incremental(
    effects: Any,
    *,
    population: str,
    money: str = "money",
    cost: str = "cost",
    net: str | None = "net",
    cures: str | None = "cures",
    covariance: Mapping[Any, float] | None = None,
    evidence: str | Mapping[str, str] = "causal",
    control: str = "",
    conf_level: float = 0.95,
) -> Incremental:
    """What an arm brings over and above what would have happened without it, and at which price.

    Estimand, per account of ``population``: Δmoney and Δcost, the effects of the arm against its control (which
    hold what would have been paid anyway, on both sides); the net Δmoney − Δcost; the price of an extra cure,
    Δcost / Δcures; and of an extra unit recovered, Δcost / Δmoney. Nothing here is gross.

    A ratio is given only where the whole interval of its denominator lies above 0; where it holds 0, the ratio has
    no bounded interval (Fieller), and the row says so instead. Where the cost falls, the ratio is below 0: the arm
    saves money and brings more.

    Variance of the net: Var(Δmoney) + Var(Δcost) − 2 Cov. The covariance comes from ``covariance``, else from the
    standard error of a row ``net``; where neither is told, the largest variance that any covariance allows is taken
    (intervals are then too wide rather than too narrow, and the notes say so).

    Parameters
    ----------
    effects : frame
        outcome, estimate, std_error; and where there are several arms, ``arm``; n, control where known. One row per
        outcome and arm, all per account, such as :func:`collectlab.effects.experiment` gives.
    population : str
        Whom the effects are of, in words: "accounts that fell past due in the test, 2025-05 to 2026-07".
    money, cost, net, cures : str or None
        Names of the outcomes. ``net`` and ``cures`` may be absent from the frame.
    covariance : mapping, optional
        ("cost", "cures") → covariance of the two effects, and so on for ("money", "cost"), by the measures' own names; with
        several arms (arm, "cost", "cures").
    evidence : str or mapping
        A key of :data:`EVIDENCE`, or arm → key.
    control : str
        What the arms are compared with, where the frame does not say.
    conf_level : float
        Level of the intervals, where the frame has no ``conf_high``; else the frame's own quantile is used.

    Returns
    -------
    Incremental

    Raises
    ------
    FrameError
        Outcomes that are missing or stand twice, standard errors below 0 or missing, an unknown grade of evidence, an
        empty population, a covariance that the standard errors do not allow; all at once.

    References
    ----------
    Fieller (1954), Journal of the Royal Statistical Society B 16(2), 175–185.

    Examples
    --------
    >>> effects = pd.DataFrame({"outcome": ["money", "cost", "cures"], "estimate": [60.0, 12.0, 0.05],
    ...                         "std_error": [20.0, 1.0, 0.01]})
    >>> found = incremental(effects, population="accounts in the test", covariance={("money", "cost"): 0.0})
    >>> found.table[["measure", "estimate"]].values.tolist()[2:5]
    [['net', 48.0], ['cures', 0.05], ['cost_per_extra_cure', 240.0]]
    """
    check_level(conf_level)
    told = told_effects(effects, [money, cost], [net, cures])
    names = (
        {money: "money", cost: "cost"} | ({net: "net"} if net else {}) | ({cures: "cures"} if cures else {})
    )
    arms = list(dict.fromkeys(told["arm"]))
    faults = (
        []
        if isinstance(population, str) and population.strip()
        else ["population is empty. Needed: whom the effects are of, in words."]
    )
    grades = dict(evidence) if isinstance(evidence, Mapping) else dict.fromkeys(arms, evidence)
    faults += [
        f"evidence of {a or 'the arm'} is {grades.get(a)!r}. Allowed: {', '.join(EVIDENCE)}."
        for a in arms
        if grades.get(a) not in EVIDENCE
    ]
    rows, notes = [], []
    for arm in arms:
        mine = told[told["arm"] == arm].assign(key=lambda t: t["outcome"].map(names)).set_index("key")
        quantile = _quantile(mine, conf_level)
        try:
            pairs = pairs_of(covariance, arm, len(arms), set(names.values()))
            found, said = _of_arm(mine, pairs, quantile)
        except FrameError as error:
            faults += [f"{arm}: {f}" if arm else f for f in error.faults]
            continue
        head = {"arm": arm, "control": mine["control"].iloc[0] or control}
        if "n" in mine and mine["n"].iloc[0] == mine["n"].iloc[0]:
            head["n"] = int(mine["n"].iloc[0])
        rows += [{**head, **row, "evidence": grades.get(arm, "")} for row in found]
        notes += [f"{arm}: {s}" if arm and len(arms) > 1 else s for s in said]
    if faults:
        raise FrameError(faults)
    table = pd.DataFrame(rows)
    table = table[[*(c for c in table.columns if c not in ("evidence", "reading")), "evidence", "reading"]]
    weak = sorted({g for g in grades.values() if g != "causal"})
    notes += [f"{w.capitalize()}: {EVIDENCE[w]}." for w in weak]
    return Incremental(
        table=table,
        estimand=f"Per account, over and above what would have happened without the arm, among {population}",
        unit="money2",
        title="What the strategies add, net of what would have been paid anyway",
        notes=tuple(dict.fromkeys(notes)),
        formats={"n": "count"},
        conf_level=conf_level,
        population=population,
        evidence=grades[arms[0]] if len(set(grades.values())) == 1 else "",
    )


def _quantile(mine: pd.DataFrame, conf_level: float) -> float:
    """That of the frame's own intervals, so that a net agrees with the experiment's; else the normal's."""
    from scipy.special import ndtri

    if "conf_high" in mine:
        reach = mine["conf_high"].to_numpy(float) - mine["estimate"].to_numpy(float)
        error = mine["std_error"].to_numpy(float)
        sound = (error > 0) & np.isfinite(reach)
        if sound.any():
            return float(np.max(reach[sound] / error[sound]))
    return float(ndtri((1 + conf_level) / 2))


def _of_arm(mine: pd.DataFrame, pairs: Mapping[frozenset, float], q: float) -> tuple[list[dict], list[str]]:
    b, e = mine["estimate"].astype(float), mine["std_error"].astype(float)
    known = {frozenset(p): v for p, v in pairs.items()}
    if "net" in mine.index and frozenset(("money", "cost")) not in known:
        known[frozenset(("money", "cost"))] = (e["money"] ** 2 + e["cost"] ** 2 - e["net"] ** 2) / 2
    faults = []
    for pair, value in known.items():
        one, other = sorted(pair)
        if one in e.index and other in e.index and abs(value) > e[one] * e[other] * (1 + 1e-6) + 1e-12:
            faults.append(
                f"the covariance of {one} and {other} is {value:g}, which standard errors of {e[one]:g} and {e[other]:g} do not "
                f"allow. Allowed: up to {e[one] * e[other]:g} in size."
            )
    if faults:
        raise FrameError(faults)
    rows, notes = [_row(m, b[m], e[m], q) for m in ("money", "cost")], []
    cov = known.get(frozenset(("money", "cost")))
    if cov is None:
        cov = -e["money"] * e["cost"]
        if e["cost"] > 0 and e["money"] > 0:
            notes.append(
                "How the effects on money and cost hang together is not told: the interval of the net allows for the worst."
            )
    error = float(np.sqrt(max(e["money"] ** 2 + e["cost"] ** 2 - 2 * cov, 0.0)))
    row = _row("net", b["money"] - b["cost"], error, q)
    row["reading"] = (
        "pays" if row["conf_low"] > 0 else "does not pay" if row["conf_high"] < 0 else "cannot be told"
    )
    rows.append(row)
    for below, name, what in (
        ("cures", "cost_per_extra_cure", "extra cures"),
        ("money", "cost_per_extra_unit", "extra money"),
    ):
        if below not in mine.index:
            continue
        if below == "cures":
            rows.append(_row("cures", b["cures"], e["cures"], q))
        row = _ratio(
            name, what, b["cost"], e["cost"], b[below], e[below], known.get(frozenset(("cost", below))), q
        )
        if (
            row["reading"] == ""
            and frozenset(("cost", below)) not in known
            and e["cost"] > 0
            and e[below] > 0
        ):
            notes.append(
                f"How cost and {what} hang together is not told: the interval of the ratio allows for the worst."
            )
        rows.append(row)
    return rows, notes


def _row(measure: str, estimate: float, error: float, q: float) -> dict[str, Any]:
    values = (estimate, error, estimate - q * error, estimate + q * error)
    return {
        "measure": measure,
        "unit": _UNITS[measure],
        **dict(zip(INTERVAL, map(float, values))),
        "reading": "",
    }


def _ratio(
    name: str, what: str, above: float, above_error: float, below: float, below_error: float,
    cov: float | None, q: float,
) -> dict[str, Any]:  # fmt: skip
    row: dict[str, Any] = {
        "measure": name,
        "unit": _UNITS[name],
        **dict.fromkeys(INTERVAL, np.nan),
        "reading": "",
    }
    low, high = below - q * below_error, below + q * below_error
    if not low > 0:
        row["reading"] = (
            f"no ratio: fewer {what}, not more" if high < 0 else f"no ratio: {what} cannot be told from none"
        )
        return row
    worst = above_error * below_error
    ends = [
        fieller(above, below, above_error**2, c, below_error**2, q)
        for c in ((cov,) if cov is not None else (-worst, worst))
    ]
    row["estimate"] = above / below
    row["conf_low"], row["conf_high"] = min(x for x, _ in ends), max(x for _, x in ends)
    if row["conf_high"] < 0:
        row["reading"] = "costs less and brings more"
    return row


def fieller(
    above: float, below: float, var_above: float, cov: float, var_below: float, quantile: float
) -> tuple[float, float]:
    """Every ratio b with (above − b · below)² ≤ q² · Var(above − b · below): Fieller's interval.

    Parameters
    ----------
    above, below : float
        The two estimates; the ratio is ``above / below``.
    var_above, cov, var_below : float
        Their variances and covariance.
    quantile : float
        q, such as 1.96.

    Returns
    -------
    (float, float)
        Without end on both sides where ``below`` cannot be told from 0.

    References
    ----------
    Fieller (1954), Journal of the Royal Statistical Society B 16(2), 175–185.

    Examples
    --------
    >>> [round(v, 3) for v in fieller(12.0, 60.0, 1.0, 0.0, 100.0, 1.96)]
    [0.143, 0.305]
    """
    a = below**2 - quantile**2 * var_below
    b = above * below - quantile**2 * cov
    c = above**2 - quantile**2 * var_above
    if not a > 0:
        return -np.inf, np.inf
    root = float(np.sqrt(max(b**2 - a * c, 0.0)))
    return (b - root) / a, (b + root) / a
