"""Looking every day: an interval for the difference of two arms that holds at all looks together.

A fixed interval is right at one look, chosen beforehand. Looked at daily until it excludes zero, it does so
far more often than it says. A confidence sequence holds at every look at once, so a test may be stopped, or
prolonged, because of what it shows.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import narwhals as nw
import numpy as np
import pandas as pd

from collectlab.core.columns import day_number, day_of, row_count
from collectlab.core.engine import collect, require, scan
from collectlab.core.errors import FrameError, first_few, nearest
from collectlab.core.jackknife import check_level, t_quantile
from collectlab.core.plots import PALETTE, legend, new_axes, titled, unit_axis
from collectlab.core.written import as_date
from collectlab.effects.design_dates import no_date
from collectlab.effects.effect_result import Check, EffectResult
from collectlab.effects.experiment_result import label_of
from collectlab.effects.sequential_math import FIRST_EVENTS, FIRST_LOOK, limits, ready

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Looks of each arm that the table shows.
SHOWN = 12

_MONEY_WORDS = {"amount", "recovered", "cost", "balance", "owed", "net", "money"}


@dataclass(frozen=True, kw_only=True)
class ConfidenceSequence(EffectResult):
    """The difference of each arm from the control on every day on which more became known.

    ``table``: ``outcome, unit, arm, as_of, n, control_n, control_mean, estimate, std_error, conf_low, conf_high,
    p_value`` (all of them valid at every look), and ``fixed_low, fixed_high``: the interval that would hold had this
    been the only look. ``control`` names the arm that all are compared with.
    """

    control: str = ""
    plottable = True

    def at(self, as_of: str | dt.date | None = None) -> pd.DataFrame:
        """The last look of each arm on or before a date (default: the last of all)."""
        seen = self.table
        if as_of is not None:
            seen = seen[seen["as_of"] <= pd.Timestamp(as_date(as_of))]
        if seen.empty:
            raise FrameError(
                f"no outcome was known on {as_of}. The first was on {self.table['as_of'].min():%Y-%m-%d}."
            )
        return seen.groupby("arm", sort=False).tail(1).reset_index(drop=True)

    def display_table(self) -> pd.DataFrame:
        """A dozen looks of each arm, evenly spaced, the last one among them; ``table`` has all."""
        parts = []
        for _, part in self.table.groupby("arm", sort=False):
            step = -(-len(part) // SHOWN)
            parts.append(part.iloc[(len(part) - 1) % step :: step])
        shown = pd.concat(parts, ignore_index=True).drop(columns=["fixed_low", "fixed_high", "control_mean"])
        shown["outcome"] = [label_of(o) for o in shown["outcome"]]
        return EffectResult(
            table=shown, estimand="", unit=self.unit, conf_level=self.conf_level
        ).display_table()

    def plot(self, ax: Axes | None = None, arm: str | None = None) -> Axes:
        """The band of one arm over the days, the fixed interval as thin lines inside it (default: the first arm)."""
        arms = list(dict.fromkeys(self.table["arm"]))
        arm = arms[0] if arm is None else str(arm)
        if arm not in arms:
            raise FrameError(f"no arm {arm!r} in this result. Allowed: {first_few(arms, 20)}.")
        part = self.table[self.table["arm"] == arm].dropna(subset="conf_low")
        if part.empty:
            raise FrameError(f"{arm}: no interval yet, so nothing to draw.")
        from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

        ax = new_axes(ax)
        days, colour = part["as_of"].to_numpy(), PALETTE[0]
        ax.fill_between(
            days,
            part["conf_low"],
            part["conf_high"],
            color=colour,
            alpha=0.15,
            linewidth=0,
            label="holds at every look",
        )
        for bound in ("fixed_low", "fixed_high"):
            label = "holds at one look only" if bound == "fixed_low" else None
            ax.plot(days, part[bound], "--", color=colour, linewidth=0.8, label=label)
        ax.plot(days, part["estimate"], color=colour, linewidth=1.7, label="estimate")
        ax.axhline(0, color="#444444", linewidth=0.8)
        # The first looks are wide: the axis is made for the later half, which is what people read.
        late = part.iloc[len(part) // 3 :]
        low, high = min(0.0, late["conf_low"].min()), max(0.0, late["conf_high"].max())
        ax.set_ylim(low - 0.1 * (high - low), high + 0.1 * (high - low))
        locator = AutoDateLocator(minticks=3, maxticks=8)
        ax.xaxis.set_major_locator(locator)
        ax.xaxis.set_major_formatter(ConciseDateFormatter(locator))
        unit = part["unit"].iloc[0]
        unit_axis(ax, unit, "y")
        points = ", percentage points" if unit == "points" else ""
        ax.set_ylabel(f"{label_of(part['outcome'].iloc[0])}:\n{arm} minus {self.control}{points}")
        legend(ax)
        return titled(ax, self.title)


def confidence_sequence(
    frame: Any,
    *,
    outcome: str,
    control: str,
    planned_per_arm: float,
    arm: str = "strategy",
    assigned_on: str = "assigned_on",
    horizon: int = 0,
    as_of: str | dt.date | None = None,
    conf_level: float = 0.95,
) -> ConfidenceSequence:
    """The difference of each arm from the control, day by day, with intervals that hold at all looks together.

    Estimand: as in an experiment, the mean outcome had everybody been assigned to the arm, minus the mean had
    everybody been assigned to the control. The probability that *any* day's interval misses it is at most
    1 − ``conf_level``. So looking daily, stopping early and going on longer than planned are all allowed.

    On each day those accounts count whose ``horizon`` is over, whatever their outcome. Counting an account on
    the day it pays would let the quick payers in first. The arms must be drawn in the same proportions all the time.

    The method is Robbins' normal mixture with running variances (:func:`limits`): an asymptotic confidence
    sequence. It holds in large samples for shares and for skewed money alike; no interval is given before
    each arm has 50 known outcomes, and both together 10 of the rarer kind (for money: that are not zero). Intervals of
    different days are not intersected, so each day's row can be read on its own.

    Parameters
    ----------
    frame : frame
        One row per unit that was drawn by lot. (Where customers were drawn, one row per customer.)
    outcome : str
        Column with numbers or true/false; missing values are left out and counted in the notes.
    control : str
        The arm that the others are compared with.
    planned_per_arm : float
        Accounts planned in each arm (of unequal arms, the harmonic mean), fixed before the first look: it is there
        that the interval is made to be narrow. It holds whatever is given here.
    arm : str
        Column with the arm.
    assigned_on : str
        Column with the date from which the outcome's days are counted.
    horizon : int
        Days after ``assigned_on`` on which the outcome is known. 0: the date given is already that day.
    as_of : date or str, optional
        The last day looked at; accounts known later do not count. None: all.
    conf_level : float
        Level over all looks, and, with several arms, over all arms together (Bonferroni).

    Returns
    -------
    ConfidenceSequence
        One row per arm and day; ``.at()`` is the last, ``.plot()`` the band.

    Raises
    ------
    FrameError
        No such column or arm; an arm without accounts; an outcome that is constant or no number; nobody's outcome known.

    References
    ----------
    Waudby-Smith, Arbour, Sinha, Kennedy & Ramdas (2024), Annals of Statistics 52, "Time-uniform central limit
    theory and asymptotic confidence sequences". Robbins (1970), Annals of Mathematical Statistics 41. Jennison &
    Turnbull (1997), JASA 92, for the joint law of a difference of means over looks.

    Examples
    --------
    >>> import pandas as pd
    >>> days = pd.date_range("2026-01-01", periods=60).repeat(4)
    >>> people = pd.DataFrame({"strategy": ["call", "none"] * 120, "on": days, "paid": [1, 0, 1, 1] * 60})
    >>> looks = confidence_sequence(
    ...     people, outcome="paid", control="none", planned_per_arm=120, assigned_on="on", horizon=30)
    >>> looks.at()[["as_of", "n", "control_n", "estimate", "conf_low", "conf_high"]].round(3)
           as_of    n  control_n  estimate  conf_low  conf_high
    0 2026-03-31  120        120       0.5     0.329      0.671
    """
    check_level(conf_level)
    data = scan(frame, [arm, outcome, assigned_on])
    require(data, arm, outcome, assigned_on)
    _refuse(data, outcome, assigned_on, horizon, planned_per_arm)
    cells = _cells(data, arm, outcome, assigned_on, int(horizon))
    cells, notes = _known(cells, arm, outcome, assigned_on, as_of)
    arms = sorted(set(cells["arm"]))
    if str(control) not in arms:
        near = nearest(str(control), arms)
        hint = f" Did you mean {' or '.join(near)}?" if near else ""
        raise FrameError(
            f"{arm}: no known outcome in an arm {str(control)!r}.{hint} Arms with some: {first_few(arms, 20)}."
        )
    others = [a for a in arms if a != str(control)]
    if not others:
        raise FrameError(f"{arm}: only {control} has known outcomes. Allowed: two arms or more.")
    if cells["y"].nunique() < 2:
        raise FrameError(
            f"{outcome} is {cells['y'].iloc[0]:g} for all {int(cells['count'].sum()):,} accounts: nothing to compare."
        )
    share = set(cells["y"]) <= {0.0, 1.0}
    unit = "points" if share else "money2" if _MONEY_WORDS & set(outcome.lower().split("_")) else "number"
    alpha = (1 - conf_level) / len(others)
    running = {a: _running(cells, a, share) for a in arms}
    parts = [
        _looks(running[a], running[str(control)], planned_per_arm, alpha).assign(
            outcome=outcome, unit=unit, arm=a
        )
        for a in others
    ]
    table = pd.concat(parts, ignore_index=True)
    table["p_value"] = np.minimum(1.0, table["p_value"] * len(others))
    order = ["outcome", "unit", "arm", "as_of", "n", "control_n", "control_mean", "estimate", "std_error"]
    table = table[[*order, "conf_low", "conf_high", "p_value", "fixed_low", "fixed_high"]]
    if len(others) > 1:
        notes.append(
            f"{len(others)} arms are compared with {control}: every interval is at level {1 - alpha:.2%} "
            "(Bonferroni), so that all hold together.".replace("%", " %")
        )
    notes += _first_told(table, others)
    return ConfidenceSequence(
        table=table,
        estimand=(
            f"Mean of {label_of(outcome)} if all were assigned to the arm minus if all were to {control}; the intervals "
            "hold at all looks together."
        ),
        unit=unit,
        title=f"{label_of(outcome)}, looked at every day",
        notes=tuple(notes),
        conf_level=conf_level,
        design="experiment",
        checks=_checks(table, others),
        headline=int(np.flatnonzero(table["arm"] == others[0])[-1]),
        control=str(control),
    )


def _refuse(data: nw.LazyFrame, outcome: str, assigned_on: str, horizon: Any, planned: Any) -> None:
    faults = [told] if (told := no_date(data, assigned_on)) else []
    kind = data.collect_schema()[outcome]
    if not (kind.is_numeric() or kind == nw.Boolean):
        faults.append(f"outcome {outcome!r} is {kind}. Allowed: numbers or true/false.")
    if not isinstance(horizon, (int, np.integer)) or horizon < 0:
        faults.append(f"horizon is {horizon!r}. Allowed: whole days ≥ 0.")
    if not isinstance(planned, (int, float, np.number)) or not 0 < planned < np.inf:
        faults.append(f"planned_per_arm is {planned!r}. Allowed: a number of accounts > 0.")
    if faults:
        raise FrameError(faults)


def _cells(data: nw.LazyFrame, arm: str, outcome: str, assigned_on: str, horizon: int) -> pd.DataFrame:
    """How many accounts of each arm became known on each day with each value."""
    picked = data.select(
        nw.col(arm).cast(nw.String).alias("arm"),
        (day_number(assigned_on) + horizon).alias("day"),
        nw.col(outcome).cast(nw.Float64).alias("y"),
    )
    cells = collect(picked.group_by("arm", "day", "y").agg(row_count().alias("count")))
    return cells.sort_values(["arm", "day", "y"], ignore_index=True, kind="stable")


def _known(
    cells: pd.DataFrame, arm: str, outcome: str, assigned_on: str, as_of: str | dt.date | None
) -> tuple[pd.DataFrame, list[str]]:
    """The accounts that can be looked at, and what was left out of them."""
    notes = []
    later = cells["day"] > (np.inf if as_of is None else day_of(as_date(as_of)))
    for out, why in (
        (cells["arm"].isna(), f"without {arm}"),
        (cells["day"].isna(), f"without {assigned_on}"),
        (later, f"whose {outcome} is known only after {as_of}"),
        (cells["y"].isna(), f"without {outcome} (not known yet, or lost)"),
    ):
        if lost := int(cells.loc[out.reindex(cells.index), "count"].sum()):
            notes.append(f"{lost:,} accounts {why} are not counted.")
            cells = cells[~out.reindex(cells.index)]
    if np.isinf(cells["y"]).any():
        raise FrameError(
            f"{outcome} is infinite in {int(np.isinf(cells['y']).sum()):,} rows. Allowed: finite numbers."
        )
    if cells.empty:
        raise FrameError([f"no account's {outcome} is known yet: nothing to look at.", *notes])
    return cells.reset_index(drop=True), notes


def _running(cells: pd.DataFrame, arm: str, share: bool) -> pd.DataFrame:
    """By day known: accounts, mean, variance and how many were not zero (for shares: also how many were), so far."""
    part = cells[cells["arm"] == arm]
    centre = float(
        np.average(part["y"], weights=part["count"])
    )  # so that squares do not swallow the variance
    count, y = part["count"].to_numpy(float), part["y"].to_numpy(float) - centre
    sums = pd.DataFrame(
        {
            "day": part["day"].astype(int),
            "n": count,
            "sum": count * y,
            "square": count * y**2,
            "some": count * (part["y"] != 0),
            "none": count * (part["y"] == 0) if share else count,
        }
    )
    so_far = sums.groupby("day", sort=True).sum().cumsum()
    mean = so_far["sum"] / so_far["n"]
    with np.errstate(divide="ignore", invalid="ignore"):
        variance = (so_far["square"] - so_far["n"] * mean**2) / (so_far["n"] - 1)
    so_far["mean"], so_far["variance"] = mean + centre, variance.clip(lower=0)
    return so_far.drop(columns=["sum", "square"])


def _looks(own: pd.DataFrame, control: pd.DataFrame, planned: float, alpha: float) -> pd.DataFrame:
    """One row per day on which either of the two arms knew more."""
    days = own.index.union(control.index)
    own, control = own.reindex(days).ffill(), control.reindex(days).ffill()
    both = own["n"].notna() & control["n"].notna()
    own, control, days = own[both], control[both], days[both]
    found = limits(
        own["n"],
        own["mean"],
        own["variance"],
        control["n"],
        control["mean"],
        control["variance"],
        planned_per_arm=planned,
        alpha=alpha,
    )
    hc3 = found.pop("hc3")
    look = pd.DataFrame(found, index=range(len(days)))
    look["as_of"] = pd.Timestamp("1900-01-01") + pd.to_timedelta(days.to_numpy(), unit="D")
    look["n"], look["control_n"] = own["n"].to_numpy(int), control["n"].to_numpy(int)
    look["control_mean"] = control["mean"].to_numpy()
    fixed = t_quantile(1 - alpha, (own["n"] + control["n"] - 2).to_numpy()) * hc3
    look["fixed_low"], look["fixed_high"] = look["estimate"] - fixed, look["estimate"] + fixed
    rarer = np.minimum(own["some"] + control["some"], own["none"] + control["none"]).to_numpy()
    early = ~ready(look["n"], look["control_n"], rarer)
    look.loc[early, ["std_error", "conf_low", "conf_high", "p_value", "fixed_low", "fixed_high"]] = np.nan
    return look


def _first_told(table: pd.DataFrame, others: Sequence[str]) -> list[str]:
    notes = []
    for a in others:
        told = table[(table["arm"] == a) & ((table["conf_low"] > 0) | (table["conf_high"] < 0))]
        if len(told):
            notes.append(f"{a}: the interval first excluded zero on {told['as_of'].iloc[0]:%Y-%m-%d}.")
        else:
            notes.append(f"{a}: the interval has not excluded zero.")
    return notes


def _checks(table: pd.DataFrame, others: Sequence[str]) -> tuple[Check, ...]:
    last = table.groupby("arm", sort=False).tail(1)
    fewest = int(last[["n", "control_n"]].to_numpy().min())
    early = [str(a) for a in last.loc[last["conf_low"].isna(), "arm"]]
    need = f"{FIRST_LOOK} known outcomes in each arm and {FIRST_EVENTS} of the rarer kind"
    return (
        Check(
            name="peeking",
            passed=True,
            says="The interval holds at every look together, so looking daily and stopping early do not spoil it.",
        ),
        Check(
            name="enough_known",
            passed=not early,
            says=f"{first_few(early)}: no interval yet; it needs {need}."
            if early
            else f"There are at least {need}, from which an interval is given.",
            value=float(fewest),
            limit=float(FIRST_LOOK),
        ),
    )
