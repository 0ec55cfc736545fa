"""KPIs against their targets: met, missed or cannot tell, judged by the interval; and an overall rating."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from collectlab.core.errors import FrameError, first_few
from collectlab.core.params import Language
from collectlab.core.plots import new_axes
from collectlab.core.results import Result
from collectlab.core.written import as_date
from collectlab.policy.targets import Goal, Kpi, Rating, Targets, load_targets, say, target_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: From good to bad; ``not available`` stands outside.
STATUSES = ("met", "cannot tell", "missed", "not available")

_NUMBERS = ("estimate", "conf_low", "conf_high", "n", "previous", "previous_low", "previous_high")
_STATUS_COLOURS = {
    "met": "#009E73",
    "cannot tell": "#777777",
    "missed": "#D55E00",
    "not available": "#BBBBBB",
}


def status(direction: str, target: float, estimate: float, conf_low: float, conf_high: float) -> str:
    """One KPI's status.

    ``met``: the whole interval lies on the good side of the target (the target itself counts as good);
    ``missed``: the whole interval lies on the bad side; ``cannot tell``: it straddles the target, or there is
    no interval; ``not available``: there is no estimate.

    >>> status("at_least", 0.80, 0.84, 0.81, 0.87)
    'met'
    >>> status("at_most", 0.01, 0.014, 0.009, 0.019)
    'cannot tell'
    """
    if math.isnan(estimate):
        return "not available"
    if math.isnan(conf_low) or math.isnan(conf_high):
        return "cannot tell"
    if direction == "at_most":
        target, conf_low, conf_high = -target, -conf_high, -conf_low
    if conf_low >= target:
        return "met"
    return "missed" if conf_high < target else "cannot tell"


@dataclass(frozen=True, kw_only=True)
class Scorecard(Result):
    """KPIs, their status, and the overall rating.

    Attributes
    ----------
    table : pandas.DataFrame
        One row per KPI of the targets file, in its order: ``kpi, name, estimate, conf_low, conf_high, unit, n,
        direction, target, poor, status, beyond_poor, weight, previous, change, definition, source``.
        ``beyond_poor``: the whole interval lies beyond the poor limit. ``change``: better, worse, no clear
        change (against ``previous``; independent periods assumed), or empty.
    rating : str
        good, average, poor, or cannot be rated.
    rule : str
        The published rule, in words, with its numbers.
    reached : str
        How the rating was reached from this table.
    """

    rating: str = "cannot be rated"
    rule: str = ""
    reached: str = ""
    goals: Mapping[str, Goal] = field(default_factory=dict, repr=False)
    plottable = True

    def kpi(self, key: str) -> pd.Series:
        """One KPI's row."""
        rows = self.table.loc[self.table["kpi"] == key]
        if rows.empty:
            raise FrameError(
                f"no KPI {key!r} on this scorecard. Allowed: {first_few(list(self.table['kpi']), 20)}."
            )
        return rows.iloc[0]

    def display_table(self) -> pd.DataFrame:
        interval = f"{self.conf_level:.0%}".replace("%", " % interval")
        rows = []
        for row in self.table.itertuples():
            low, high = say(row.conf_low, row.unit), say(row.conf_high, row.unit)
            none = math.isnan(row.conf_low) or math.isnan(row.conf_high)
            limit = say(row.poor, row.unit)
            rows.append(
                {
                    "KPI": row.name,
                    "Estimate": say(row.estimate, row.unit),
                    interval: "–" if none else f"{low} to {high}",
                    "Target": target_text(self.goals[row.kpi].kpi, row.target),
                    "Status": f"{row.status}, beyond the poor limit of {limit}"
                    if row.beyond_poor
                    else row.status,
                    "Before": say(row.previous, row.unit),
                    "Change": row.change or "–",
                    "Weight": say(row.weight, "number"),
                }
            )
        shown = pd.DataFrame(rows, dtype=object)
        if not (self.table["previous"].notna().any()):
            shown = shown.drop(columns=["Before", "Change"], errors="ignore")
        return shown

    def plot(self, ax: Axes | None = None, **options: Any) -> Axes:
        """Each interval against its target, on one axis: 0 is the target, −1 the poor limit, right is better."""
        have = self.table.loc[self.table["status"] != "not available"]
        ax = new_axes(ax, figsize=(7.2, 1.3 + 0.42 * max(len(have), 1)))
        reach = 1.5
        for y, row in enumerate(have.itertuples()):
            good = 1 if row.direction == "at_least" else -1
            scale = good / abs(row.target - row.poor)
            ends = sorted((v - row.target) * scale for v in (row.conf_low, row.conf_high))
            point = (row.estimate - row.target) * scale
            colour = _STATUS_COLOURS[row.status]
            if not any(math.isnan(e) for e in ends):
                low, high = (min(max(e, -reach), reach) for e in ends)
                ax.plot([low, high], [y, y], color=colour, linewidth=7, alpha=0.4, solid_capstyle="butt")
            marker = "<" if point < -reach else ">" if point > reach else "o"
            ax.plot([min(max(point, -reach), reach)], [y], marker, color=colour, markersize=5, clip_on=False)
            text = f"{say(row.estimate, row.unit)} ({target_text(self.goals[row.kpi].kpi, row.target)})"
            ax.text(1.03, y, text, transform=ax.get_yaxis_transform(), va="center", color=colour, fontsize=9)
        ax.axvline(0, color="#222222", linewidth=1.2)
        ax.axvline(-1, color="#222222", linewidth=1.0, linestyle=(0, (2, 2)))
        ax.set_xlim(-reach, reach)
        ax.set_ylim(max(len(have), 1) - 0.5, -0.5)
        ax.set_yticks(range(len(have)), list(have["name"]), fontsize=9)
        ax.set_xticks([-1, 0], ["poor limit", "target"], fontsize=9)
        ax.tick_params(length=0)
        ax.grid(False)
        ax.set_xlabel("better →", loc="right", fontsize=9)
        ax.set_title(self.title, loc="left", fontsize=10.5, fontweight="bold")
        return ax


def scorecard(
    kpis: pd.DataFrame | Result,
    targets: Targets | str | Path,
    *,
    on: str | dt.date,
    language: Language = "en",
    conf_level: float = 0.95,
) -> Scorecard:
    """Judge KPIs against the targets in force on a date.

    Parameters
    ----------
    kpis : frame of shape (n_kpis, ≥ 4), or a Result
        Tidy, one row per KPI: ``kpi`` (a name of the targets file), ``estimate``, ``conf_low``, ``conf_high``;
        optionally ``unit`` (must be the target's), ``n`` (0 = no data), ``previous``, ``previous_low``,
        ``previous_high``. KPIs of the targets file that have no row are "not available".
    targets : Targets, or the path of targets.yml
    on : date or "YYYY-MM-DD"
        The day judged: the last day of the month.
    language : {"en", "zh"}
        Of the names and the rating.
    conf_level : float
        Level of the intervals given.

    Returns
    -------
    Scorecard
        One row per KPI of the targets file, and the overall rating.

    Raises
    ------
    FrameError
        A missing column, a KPI listed twice, an interval upside down or without its estimate in it, an
        infinite estimate, another unit than the target's; all at once.

    Notes
    -----
    A KPI without a target (or before its first target) is not judged; a note says so.

    Examples
    --------
    >>> kpis = pd.DataFrame({"kpi": ["recovery_rate"], "estimate": [0.70], "conf_low": [0.68], "conf_high": [0.72]})
    >>> card = scorecard(kpis, "params/targets.yml", on="2026-10-31")
    >>> card.kpi("recovery_rate")["status"]
    'missed'
    """
    targets = targets if isinstance(targets, Targets) else load_targets(targets)
    date = as_date(on)
    goals = targets.on(date)
    given = _checked(kpis.table if isinstance(kpis, Result) else kpis, targets.kpis)
    rows = [_row(goal, given.get(key, {}), conf_level, language) for key, goal in goals.items()]
    table = pd.DataFrame(rows, columns=_COLUMNS)
    rating, reached = rate(table, targets.rating)
    notes = [f"Rule. {targets.rating.sentence(language)} ({targets.rating.source})", reached]
    if left := [k for k in given if k not in goals]:
        notes.append(f"Not judged, as no target is in force on {date}: {first_few(left, 12)}.")
    return Scorecard(
        table=table,
        estimand="Status by the whole interval: met, missed, or cannot tell where it straddles the target.",
        unit="number",
        title=f"Scorecard on {date}: {rating}",
        notes=tuple(notes),
        conf_level=conf_level,
        rating=rating,
        rule=targets.rating.sentence(language),
        reached=reached,
        goals=goals,
    )


_COLUMNS = ["kpi", "name", "estimate", "conf_low", "conf_high", "unit", "n", "direction", "target", "poor"]
_COLUMNS += ["status", "beyond_poor", "weight", "previous", "change", "definition", "source"]


def _checked(frame: pd.DataFrame, known: Mapping[str, Kpi]) -> dict[str, dict[str, Any]]:
    """KPI → its numbers; every fault at once."""
    missing = [c for c in ("kpi", "estimate", "conf_low", "conf_high") if c not in frame.columns]
    if missing:
        raise FrameError(
            f"kpis: no column {first_few(missing)}. Columns here: {first_few(list(frame.columns), 20)}."
        )
    faults, given = [], {}
    for record in frame.to_dict("records"):
        key = str(record["kpi"])
        if key in given:
            faults.append(f"kpis: {key} has more than one row. Allowed: one row per KPI.")
            continue
        row: dict[str, Any] = {"unit": record.get("unit")}
        for column in _NUMBERS:
            try:
                value = record.get(column)
                row[column] = math.nan if value is None or pd.isna(value) else float(value)
            except (TypeError, ValueError):
                faults.append(f"kpis: {key}: {column} is {value!r}. Allowed: a number.")
                row[column] = math.nan
        given[key] = row
        estimate, low, high = row["estimate"], row["conf_low"], row["conf_high"]
        slack = 1e-9 * max(1.0, abs(estimate)) if math.isfinite(estimate) else 0.0
        if math.isinf(estimate):
            faults.append(f"kpis: {key}: the estimate is infinite. Allowed: a number, or none.")
        elif low > high or low > estimate + slack or high < estimate - slack:
            faults.append(
                f"kpis: {key}: estimate {estimate:g} with interval {low:g} to {high:g}. "
                "Allowed: conf_low ≤ estimate ≤ conf_high."
            )
        unit = row["unit"]
        if key in known and isinstance(unit, str) and unit != known[key].unit:
            faults.append(f"kpis: {key}: unit {unit!r}. Allowed: {known[key].unit!r}, as its target.")
    if faults:
        raise FrameError(faults)
    return given


def _row(goal: Goal, numbers: Mapping[str, Any], conf_level: float, language: Language) -> dict[str, Any]:
    estimate, low, high, n, previous, previous_low, previous_high = (
        numbers.get(c, math.nan) for c in _NUMBERS
    )
    if n == 0:
        estimate = low = high = math.nan
    kpi = goal.kpi
    beyond = status(kpi.direction, goal.poor, estimate, low, high) == "missed"
    return {
        "kpi": goal.key,
        "name": kpi.name.text(language),
        "estimate": estimate,
        "conf_low": low,
        "conf_high": high,
        "unit": kpi.unit,
        "n": n,
        "direction": kpi.direction,
        "target": goal.target,
        "poor": goal.poor,
        "status": status(kpi.direction, goal.target, estimate, low, high),
        "beyond_poor": beyond,
        "weight": kpi.weight,
        "previous": previous,
        "change": _change(kpi.direction, (estimate, low, high), (previous, previous_low, previous_high)),
        "definition": kpi.definition(language),
        "source": goal.source,
    }


def _change(direction: str, now: tuple[float, ...], before: tuple[float, ...]) -> str:
    """better / worse / no clear change.

    The interval of now − before has half-widths √(a² + b²) of the two intervals' own, side by side (Zou and
    Donner's MOVER, Statistics in Medicine 27, 2008), the two periods taken as independent.
    """
    if any(math.isnan(v) for v in (*now, *before)):
        return ""
    gap = now[0] - before[0]
    low = gap - math.hypot(now[0] - now[1], before[2] - before[0])
    high = gap + math.hypot(now[2] - now[0], before[0] - before[1])
    if direction == "at_most":
        low, high = -high, -low
    return "better" if low > 0 else "worse" if high < 0 else "no clear change"


def rate(table: pd.DataFrame, rule: Rating) -> tuple[str, str]:
    """The overall rating by the file's rule, and how it was reached."""
    total = float(table["weight"].sum())
    if total == 0:
        return "cannot be rated", "No target is in force."
    share = {s: float(table.loc[table["status"] == s, "weight"].sum()) / total for s in STATUSES}
    unknown = share["cannot tell"] + share["not available"]
    beyond = list(table.loc[table["beyond_poor"], "name"])
    parts = [f"{s} {share[s]:.0%}".replace("%", " %") for s in STATUSES if share[s]]
    reached = f"Reached by weight: {', '.join(parts)}"
    reached += f"; beyond the poor limit: {', '.join(beyond)}." if beyond else "; none beyond its poor limit."
    if unknown > rule.unknown_above:
        rating = "cannot be rated"
    elif beyond or share["missed"] >= rule.missed_at_least:
        rating = "poor"
    elif share["missed"] == 0 and share["met"] >= rule.met_at_least:
        rating = "good"
    else:
        rating = "average"
    return rating, f"{reached} Hence: {rating}."
