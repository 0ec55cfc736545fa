"""From each missed target to its causes: how much of the gap goes with which, and how much nobody can lay anywhere."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from collectlab.core.errors import FrameError, first_few
from collectlab.core.jackknife import GROUPS as REPLICATES
from collectlab.core.jackknife import check_level, t_quantile
from collectlab.core.results import Result
from collectlab.measures.gap import Cells
from collectlab.policy.diagnosis.families import looked_at
from collectlab.policy.diagnosis.result import COLUMNS, Diagnosis, label_of, said
from collectlab.policy.diagnosis.shares import Shares, shares_of

_CARD = ("kpi", "name", "estimate", "conf_low", "conf_high", "unit", "direction", "target", "status")


def diagnose(
    card: pd.DataFrame | Result,
    cells: Mapping[str, Cells | str],
    *,
    kpis: Sequence[str] | None = None,
    smallest: int = 30,
    false_share: float = 0.05,
    conf_level: float = 0.95,
) -> Diagnosis:
    r"""Lay the gap of each missed KPI to its measured causes, and say what is left over.

    The gap is the KPI minus its target, counted so that a gap above 0 is bad. Its parts add up to it:

    * **groups** (product, origination channel, branch, team, agency, …): what would go if the group did as the
      others of its kind *with the same cases*, in the regression of :mod:`~collectlab.policy.diagnosis.shares`;
    * **mix**: cases harder or easier than the year before (product, origination channel, credit score, age of the
      loan), at today's rates;
    * **contactability and adherence**: steps done less often than the year before, or than the strategy asks,
      times what goes with the step among those still overdue after its day; under a group, its own part of that;
    * **counted otherwise**: the KPI follows cases that are too recent, or were seen late, which cannot be taken apart;
    * **not explained**: the rest. A typical group with last year's cases would still miss the target by that much.

    Hundreds of groups are compared, so some would look bad by chance. Named as causes are those that stand out of
    *all* comparisons of *all* missed KPIs with at most ``false_share`` of the named ones expected to be false
    (Benjamini & Hochberg 1995); their intervals are widened for having been picked, so that ``conf_level`` of the
    intervals of those named hold (Benjamini & Yekutieli 2005). The others stay in ``.table``, not named, and their
    parts in what is not explained. How much that could be is said by family (all branches, all agents, each step),
    of :func:`~collectlab.policy.diagnosis.families.looked_at`: nothing was picked there, so the intervals are plain.

    Two limits of the sum: groups of one kind are each compared with all their others, so two named of one kind are
    told a little too small; and where a product or origination channel is named, what its own growth since the year
    before adds stands in the mix too. Both end in what is not explained, which a named cause picked by luck also
    makes too small.

    Parameters
    ----------
    card : Scorecard, or frame of shape (n_kpis, ≥ 9)
        ``kpi, name, estimate, conf_low, conf_high, unit, direction, target, status``.
    cells : mapping
        KPI → :class:`~collectlab.measures.gap.Cells`, or a text that says why it cannot be taken apart.
    kpis : list of str, optional
        Which KPIs; default: those whose status is "missed".
    smallest : int
        Smallest group that is named (units).
    false_share : float
        Share of false ones among the causes named, at most, on average.
    conf_level : float
        Level of the intervals.

    Returns
    -------
    Diagnosis
        One row per number; ``.tree()`` reads it as text.

    Raises
    ------
    FrameError
        A column or KPI is missing, a share lies outside 0 to 1; all at once.

    References
    ----------
    Benjamini & Yekutieli (2005), "False Discovery Rate-Adjusted Multiple Confidence Intervals for Selected
    Parameters", JASA 100, 71–81.

    Examples
    --------
    >>> from collectlab.measures.gap import GROUPS, Cells
    >>> rows = [(b, r, 20.0, (8.0 if b == "South" else 16.0) - (r * (i + 3)) % 4, 20.0)
    ...         for i, b in enumerate(("North", "East", "South")) for r in range(50)]
    >>> table = pd.DataFrame(rows, columns=["branch", "replicate", "n", "top", "base"]).assign(period="now")
    >>> card = pd.DataFrame([{"kpi": "kept", "name": "Promises kept", "estimate": table.top.sum() / 3000,
    ...     "conf_low": 0.60, "conf_high": 0.63, "unit": "share", "direction": "at_least", "target": 0.85,
    ...     "status": "missed"}])
    >>> print(diagnose(card, {"kept": Cells(table=table, groups=("branch",), unit="promises")}).tree())
    Promises kept 61.7 %, target at least 85.0 %: a gap of 23.3 points (22.0 to 25.0).
    ├─ Branch: South: 14.5 points (14.0 to 15.1), 62 % of the gap
    └─ Not explained: 8.8 points (7.9 to 9.6)
    """
    check_level(conf_level)
    table = card.table if isinstance(card, Result) else card
    _checked(table, kpis, smallest, false_share)
    picked = list(kpis) if kpis is not None else list(table.loc[table["status"] == "missed", "kpi"])
    notes: list[str] = []
    found: dict[str, Shares | str] = {}
    for kpi in picked:
        counted = cells.get(kpi, "nothing was counted for it.")
        if isinstance(counted, str):
            found[kpi] = counted
            continue
        bad = 1.0 if table.set_index("kpi").loc[kpi, "direction"] == "at_most" else -1.0
        found[kpi] = shares_of(counted, smallest, bad)
        notes += [n for n in counted.notes if n not in notes]
    flat = [k for k, s in found.items() if isinstance(s, Shares) and not np.isfinite(s.estimate[1])]
    if flat:
        names = table.set_index("kpi").loc[flat, "name"]
        notes.append(
            f"Without a year before to compare with, the mix is not told: {first_few(list(names), 8)}."
        )
    tests = [_tested(s) if isinstance(s, Shares) else np.array([], int) for s in found.values()]
    p_of = [_p_values(s)[t] if isinstance(s, Shares) else [] for s, t in zip(found.values(), tests)]
    p_all = np.concatenate([np.asarray(p, float) for p in p_of]) if p_of else np.array([])
    adjusted, level = _chosen(p_all, false_share, conf_level)
    rows, at = [], 0
    for kpi, tested in zip(picked, tests):
        line = table[table["kpi"] == kpi].iloc[0]
        p_here = dict(zip(tested.tolist(), adjusted[at : at + len(tested)]))
        at += len(tested)
        rows += _rows(line, found[kpi], cells.get(kpi), p_here, false_share, level, conf_level)
    frame = pd.DataFrame(rows, columns=list(COLUMNS))
    missing = [c for c in ("depth", "n") if c in frame]
    frame[missing] = frame[missing].astype("int64")
    return Diagnosis(
        table=frame,
        estimand="Part of each gap to target that goes with a cause, all causes at the same mix of the others",
        unit="number",
        title="Why targets are missed",
        notes=_notes(picked, len(p_all), false_share, bool((frame["cause"] == "looked at").any()), notes),
        conf_level=conf_level,
    )


def _checked(table: Any, kpis: Sequence[str] | None, smallest: int, false_share: float) -> None:
    faults = []
    if missing := [c for c in _CARD if c not in table.columns]:
        faults.append(
            f"card: no column {first_few(missing)}. Columns here: {first_few(list(table.columns), 20)}."
        )
    elif unknown := [k for k in kpis or () if k not in set(table["kpi"])]:
        faults.append(f"kpis: {first_few(unknown)}. Allowed: {first_few(list(table['kpi']), 20)}.")
    if isinstance(smallest, bool) or not isinstance(smallest, int) or smallest < 2:
        faults.append(f"smallest is {smallest!r}. Allowed: whole numbers of 2 or more.")
    if not (isinstance(false_share, (int, float)) and 0 < false_share < 1):
        faults.append(f"false_share is {false_share!r}. Allowed: between 0 and 1, such as 0.05.")
    if faults:
        raise FrameError(faults)


def _tested(shares: Shares) -> np.ndarray:
    """Positions of the numbers that compete to be named."""
    rows = shares.rows
    skip = {"level", "mix", "_rate", "_aim", "_gain"}
    via = (rows["dimension"] == "step") & (rows["of_dimension"] != "")
    sound = np.isfinite(shares.estimate) & (shares.std_error > 0)
    return np.flatnonzero(~rows["dimension"].isin(skip) & ~via & sound)


def _p_values(shares: Shares) -> np.ndarray:
    from scipy.special import stdtr

    return 2 * stdtr(REPLICATES - 1, -np.abs(shares.t_values()))


def _chosen(p: np.ndarray, share: float, conf_level: float) -> tuple[np.ndarray, float]:
    """Adjusted p-values, and the level at which the intervals of those chosen hold."""
    if not len(p):
        return p, conf_level
    from statsmodels.stats.multitest import multipletests

    reject, adjusted, _, _ = multipletests(p, alpha=share, method="fdr_bh")
    return adjusted, 1 - (1 - conf_level) * max(int(reject.sum()), 1) / len(p)


def _rows(
    line: pd.Series,
    shares: Shares | str,
    cells: Any,
    p_of: dict[int, float],
    share: float,
    level: float,
    plain: float,
) -> list[dict[str, Any]]:
    """All rows of one KPI: the gap, its causes, what lies under them, and what is not explained."""
    bad = 1.0 if line["direction"] == "at_most" else -1.0
    gap = bad * (line["estimate"] - line["target"])
    ends = sorted(bad * (line[c] - line["target"]) for c in ("conf_low", "conf_high"))
    unit = str(line["unit"])
    out: list[dict[str, Any]] = []

    def add(
        depth: int, cause: str, group: str, n: float, values, *, of="", p=math.nan, named=False, says=""
    ) -> None:
        estimate, error, low, high = (float(v) for v in values)
        parts = [v / gap if gap else math.nan for v in (estimate, low, high)]
        if parts[1] > parts[2]:
            parts[1:] = parts[:0:-1]
        out.append(
            dict(zip(COLUMNS, (
                line["kpi"], line["name"], depth, cause, group, of, 0 if math.isnan(n) else int(n), estimate, error,
                low, high, *parts, p, named, unit, says,
            )))
        )  # fmt: skip

    n_all = line.get("n", math.nan)
    add(
        0,
        "gap",
        "",
        n_all,
        (gap, math.nan, *ends),
        says=said(line, gap, ends, getattr(shares, "before", math.nan)),
    )
    if isinstance(shares, str):
        text = f"Cannot be taken apart: {shares}"
        add(1, "not explained", "", n_all, (gap, math.nan, *ends), says=text)
        return out
    rows, estimate, error = shares.rows, bad * shares.estimate, shares.std_error
    wide, narrow = (float(t_quantile(q, np.array(REPLICATES - 1))) for q in (level, plain))

    def number(i: int, q: float) -> tuple[float, float, float, float]:
        low, high = sorted(bad * end for end in shares.interval(i, q))
        return estimate[i], error[i], low, high

    named = {i for i, p in p_of.items() if p <= share and estimate[i] > 0}
    rest = np.zeros(len(rows))
    rest[0] = 1.0
    groups = {(rows["dimension"][i], rows["group"][i]): i for i in named if rows["dimension"][i] != "step"}
    top: dict[tuple[str, str], str] = {}
    for i in sorted(p_of, key=lambda i: (_steps_down(rows, i, groups), -estimate[i], i)):
        row = rows.loc[i]
        inner = row["of_dimension"] != "" and row["dimension"] != "step"
        above = (row["of_dimension"], row["of_group"])
        under = inner and above in groups
        values, weights = number(i, wide), np.zeros(len(rows))
        weights[i] = 1.0
        if row["dimension"] == "step" and i in named:
            # what the named groups owe to the step stands under them
            own = [
                j for j in range(len(rows))
                if rows["dimension"][j] == "step" and rows["group"][j] == row["group"]
                and (rows["of_dimension"][j], rows["of_group"][j]) in groups
            ]  # fmt: skip
            weights[own] = -1.0
            left, spread = _sum(weights, estimate), shares.error(weights)
            values = (left, spread, left - wide * spread, left + wide * spread)
        if i in named and not under:
            rest -= weights
        label = label_of(row["dimension"], row["group"], cells, shares)
        if i in named:
            top[row["dimension"], row["group"]] = top[above] if under else label
        add(
            2 if under else 1,
            _cause(row["dimension"], row["group"], cells),
            row["group"],
            row["n"],
            values,
            of=top[above] if under else label_of(*above, cells, shares) if inner else "",
            p=p_of[i],
            named=i in named,
            says=label,
        )
        if i in named and row["dimension"] != "step":
            for j, p in _through(shares, rows, row, estimate):
                step = rows["group"][j]
                add(2, _cause("step", step, cells), step, rows["n"][j], number(j, wide), of=label, p=p, named=True,
                    says=f"goes with fewer {step}")  # fmt: skip
    if np.isfinite(estimate[1]):
        rest[1] -= 1
        low, high = number(1, narrow)[2:]
        add(1, "mix", "", rows["n"][1], number(1, narrow), named=True, says=_mix(low, high, cells.kind))
    otherwise = bad * (line["estimate"] - shares.estimate[0])
    if abs(otherwise) > 0.005 * abs(gap):
        nothing = (otherwise, math.nan, math.nan, math.nan)
        add(
            1,
            "counted otherwise",
            "",
            n_all,
            nothing,
            named=True,
            says="Too recent or seen late: not taken apart",
        )
    left = _sum(rest, estimate) - bad * line["target"]
    spread = shares.error(rest)
    ends = (left - narrow * spread, left + narrow * spread)
    says = "Not explained" if left >= 0 else "Not explained (the causes exceed the gap)"
    add(1, "not explained", "", n_all, (left, spread, *ends), named=True, says=says)
    told = {(rows["dimension"][i], rows["group"][i]) for i in named}
    for family in looked_at(shares, cells, told, bad, plain):
        add(1, **family)
    return out


def _mix(low: float, high: float, kind: str) -> str:
    """What is said of the mix: only where its interval has one sign that it did something."""
    since = "six months before" if kind == "change" else "the year before"
    if low > 0:
        return f"Mix: harder cases than {since} (widens the gap)"
    if high < 0:
        return f"Mix: easier cases than {since} (narrows the gap)"
    return f"Mix: no sure change since {since}"


def _sum(weights: np.ndarray, values: np.ndarray) -> float:
    """The weighted sum, whatever the values without weight are (some are not known)."""
    return float(weights @ np.where(weights != 0, values, 0.0))


def _steps_down(rows: pd.DataFrame, i: int, named: dict[tuple[str, str], int]) -> int:
    """How many named causes this number lies under."""
    row = rows.loc[i]
    above = (row["of_dimension"], row["of_group"])
    if above not in named or row["dimension"] == "step":
        return 0
    return 1 + _steps_down(rows, named[above], named)


def _through(
    shares: Shares, rows: pd.DataFrame, row: pd.Series, estimate: np.ndarray
) -> list[tuple[int, float]]:
    """Steps that a named group does less often, where that alone stands out (Holm among its steps)."""
    own = np.flatnonzero(
        (rows["dimension"] == "step")
        & (rows["of_dimension"] == row["dimension"])
        & (rows["of_group"] == row["group"])
    )
    own = own[np.isfinite(estimate[own]) & (shares.std_error[own] > 0)]
    if not len(own):
        return []
    from statsmodels.stats.multitest import multipletests

    _, adjusted, _, _ = multipletests(_p_values(shares)[own], method="holm")
    return [(int(j), float(p)) for j, p in zip(own, adjusted) if p <= 0.05 and estimate[j] > 0]


def _cause(dimension: str, group: str, cells: Cells) -> str:
    if dimension != "step":
        return dimension
    return "adherence" if any(p.name == group and p.expected for p in cells.paths) else "contactability"


def _notes(
    picked: Sequence[str], tests: int, share: float, families: bool, counted: Sequence[str]
) -> tuple[str, ...]:
    if not picked:
        return ("No target is missed with its whole interval, so there is nothing to take apart.",)
    notes = [
        "A cause is a comparison at the same mix of everything else the book tells, not an effect: the part of the "
        "gap goes with it. What changing it would do, only a test or a design of chapter 3 can say.",
        f"{tests:,} comparisons were made. Named are those of which at most {100 * share:g} % are expected to be false; "
        "their intervals are widened for having been picked. What is not named counts as not explained.",
        "A part above 0 widens the gap, one below 0 narrows it.",
    ]
    if families:
        notes.append(
            "Looked at, not named: for a family of groups, no more than this would go if those worse than their average "
            "did as the average (less what chance alone shows); the upper end is the most that can hide there. Each "
            "line stands alone and they are not added up; by chance, one family in forty seems to differ."
        )
    return (*notes, *counted)
