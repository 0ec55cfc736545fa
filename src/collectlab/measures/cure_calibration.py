"""Whether predicted chances of cure come true: predicted against observed, in tenths of the prediction."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import narwhals as nw
import numpy as np
import pandas as pd

from collectlab.core.columns import free_name, row_count, step_of
from collectlab.core.engine import collect, require, scan
from collectlab.core.errors import FrameError
from collectlab.core.jackknife import INTERVAL, interval
from collectlab.core.results import Result
from collectlab.measures import survival_math as math
from collectlab.measures.cure_rates import rates_within, whole_horizons
from collectlab.measures.survival_cells import spoken
from collectlab.measures.survival_counting import NothingToCount, count_cells, resolve_events

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_PARTS = 1_000_000


def calibration(
    frame: Any,
    *,
    predicted: str | Mapping[int, str],
    horizon: int | None = None,
    groups: int = 10,
    duration: str = "exit_day",
    entry: str | None = "entry_day",
    outcome: str = "outcome",
    event: Any = ("cured",),
    cluster: str | None = None,
    conf_level: float = 0.95,
) -> Calibration:
    r"""Predicted chances of cure within a horizon against what happened, in groups of like predictions.

    Episodes are ranked by the prediction and cut into ``groups`` of equal size (episodes with the same
    prediction stay together, so there may be fewer). In each, the mean prediction :math:`\bar p_g` stands
    beside the Aalen–Johansen share :math:`\hat F_g(h)`, in which charge-off and other outcomes compete and
    episodes still open count for as long as they were followed. In all:

    - observed / expected :math:`= \sum_g w_g \hat F_g / \sum_g w_g \bar p_g`, with :math:`w_g` the share of episodes;
    - integrated difference :math:`= \sum_g w_g |\hat F_g - \bar p_g|` (also called ICI or E-average), largest
      difference :math:`= \max_g |\hat F_g - \bar p_g|`;
    - a test that all is chance: :math:`\sum_g ((\hat F_g - \bar p_g) / \mathrm{se}_g)^2`, χ² with as many degrees
      of freedom as groups. Use it on episodes that the model was not fitted to.

    Parameters
    ----------
    frame : frame
        One row per episode, with its predictions.
    predicted : str or mapping of int to str
        Column of the predicted probability (0 to 1) of ``event`` within ``horizon`` days of day 0, the other
        outcomes competing; or horizon → column, for several.
    horizon : int, optional
        Whole days ≥ 1, where ``predicted`` is one column.
    groups : int
        2 to 100.
    duration, outcome, entry, event, cluster, conf_level
        As in :func:`collectlab.measures.cure.cure_rate`.

    Returns
    -------
    Calibration
        ``table``: horizon, group (1: lowest predictions), episodes, events, predicted, estimate (observed),
        std_error, conf_low, conf_high, ratio (observed / predicted). ``.summary`` has the figures for all groups
        together; ``.plot()`` draws observed over predicted, a colour a horizon.

    Raises
    ------
    FrameError
        As :func:`~collectlab.measures.survival.kaplan_meier`; predictions missing or outside 0 to 1.

    References
    ----------
    D'Agostino and Nam (2003), Handbook of Statistics 23, 1–25 (groups under censoring); Austin and Steyerberg
    (2019), Statistics in Medicine 38 (integrated calibration index); Gerds, Andersen and Kattan (2014),
    Statistics in Medicine 33 (competing risks).

    Examples
    --------
    >>> import pandas as pd
    >>> frame = pd.DataFrame({"exit_day": [10, 20, 30, 99] * 2, "outcome": ["cured"] * 3 + ["censored"] + ["sold"] * 4,
    ...                       "chance": [0.7] * 4 + [0.1] * 4})
    >>> found = calibration(frame, predicted="chance", horizon=60, groups=2)
    >>> found.table[["group", "episodes", "predicted", "estimate"]].values.tolist()
    [[1.0, 4.0, 0.1, 0.0], [2.0, 4.0, 0.7, 0.75]]
    """
    columns = _asked(predicted, horizon, groups)
    z = math.normal_quantile(conf_level)
    lazy = scan(frame)
    names = lazy.collect_schema().names()
    if entry == "entry_day" and "entry_day" not in names:
        entry = None
    used = [duration, outcome, *columns.values(), *(c for c in (entry, cluster) if c is not None)]
    require(lazy, *dict.fromkeys(used))
    mark, tenth = free_name("_part", names), free_name("_tenth", names)
    parts, notes, faults = [], [], []
    for h, column in columns.items():
        binned = lazy.with_columns(_whole(lazy, column).alias(mark))
        found, wrong = _predictions(binned, column, mark)
        faults += wrong
        if wrong:
            continue
        starts = _starts(found, groups)
        if starts[0] == starts[-1]:
            notes.append(f"{column} is the same on every row: one group.")
        cells = count_cells(
            binned.with_columns(step_of(mark, starts).alias(tenth)),
            duration=duration,
            outcome=outcome,
            entry=entry,
            by=[tenth],
            cluster=cluster,
        )
        event = resolve_events(cells, event, outcome)
        rates = rates_within(cells, event, [h], 0, conf_level, cluster, estimand="", title="")
        notes += [n.replace(f"{tenth}=", "predictions from 1e-6 × ") for n in rates.notes if n not in notes]
        parts.append(_rows(rates.table, found, np.array(starts), tenth, h))
    if faults:
        raise FrameError(list(dict.fromkeys(faults)))
    table = pd.concat(parts, ignore_index=True)
    return Calibration(
        table=table,
        estimand=f"P({spoken(event)} within the horizon), predicted (mean) and observed (Aalen–Johansen), by "
        "group of the prediction, 1 the lowest",
        title="Predicted and observed chance of cure",
        notes=(*notes, *_in_words(table, z)),
        formats={"predicted": "share", "ratio": "ratio", "group": "count"},
        conf_level=conf_level,
    )


@dataclass(frozen=True, kw_only=True, repr=False)
class Calibration(Result):
    """Predicted against observed; see :func:`calibration`."""

    plottable = True

    @property
    def summary(self) -> Result:
        """[horizon, measure, unit, estimate, interval, p_value]: the figures for all groups together."""
        z = math.normal_quantile(self.conf_level)
        return Result(
            table=_summary(self.table, z),
            estimand=self.estimand,
            title="How well predictions come true",
            notes=tuple(n for n in self.notes if not n.startswith("Within ")),
            conf_level=self.conf_level,
        )

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw observed shares with intervals over mean predictions, a colour a horizon; return the Axes."""
        from collectlab.core.plots import PALETTE, legend, new_axes, percent_axis, reach, titled

        ax = new_axes(ax, (5.6, 5.0))
        top = np.nanmax(self.table[["predicted", "estimate", "conf_high"]].to_numpy(float), initial=0.05)
        top = min(1.0, 1.05 * top)
        ax.plot([0, top], [0, top], color="#888888", linewidth=1.0, linestyle="--", label="as predicted")
        for i, (h, rows) in enumerate(self.table.groupby("horizon", sort=False)):
            colour = PALETTE[i % len(PALETTE)]
            ax.errorbar(
                rows["predicted"],
                rows["estimate"],
                yerr=reach(rows),
                fmt="o-sD^v"[0] if i == 0 else "sD^v"[(i - 1) % 4],
                color=colour,
                markersize=5,
                capsize=2.5,
                linewidth=1.2,
                label=f"within {h:,} days",
            )
        ax.set_xlim(0, top)
        ax.set_ylim(0, top)
        ax.set_aspect("equal")
        ax.set_xlabel("Predicted (mean of the group)")
        ax.set_ylabel("Observed")
        percent_axis(ax, "x")
        percent_axis(ax, "y")
        legend(ax, loc="upper left")
        return titled(ax, self.title)


def _asked(predicted: str | Mapping[int, str], horizon: int | None, groups: int) -> dict[int, str]:
    faults = []
    if isinstance(predicted, Mapping):
        if horizon is not None:
            faults.append("horizon is given, and so are those in predicted. Allowed: one or the other.")
        if not predicted:
            faults.append("predicted is empty. Allowed: a column, or horizon → column.")
        days, columns = list(predicted), list(predicted.values())
    elif horizon is None:
        faults.append("horizon is missing. Allowed: whole days ≥ 1 beside one column of predictions.")
        days, columns = [], []
    else:
        days, columns = [horizon], [predicted]
    if isinstance(groups, bool) or not isinstance(groups, int) or not 2 <= groups <= 100:
        faults.append(f"groups is {groups!r}. Allowed: whole numbers from 2 to 100.")
    if odd := [c for c in columns if not isinstance(c, str)]:
        faults.append(f"predicted holds {odd!r}. Allowed: names of columns.")
    if faults:
        raise FrameError(faults)
    return {whole_horizons([day])[0]: column for day, column in zip(days, columns)}


def _whole(lazy: nw.LazyFrame, column: str) -> nw.Expr:
    """A probability in whole millionths; −1 where it is none."""
    if not lazy.collect_schema()[column].is_numeric():
        raise FrameError(
            f"column {column!r} is {lazy.collect_schema()[column]}. Allowed: numbers from 0 to 1."
        )
    value = nw.col(column).cast(nw.Float64)
    sound = (value.is_finite() & (value >= 0) & (value <= 1)).fill_null(False)
    return nw.when(sound).then((value * _PARTS).round(0)).otherwise(nw.lit(-1.0)).cast(nw.Int64)


def _predictions(lazy: nw.LazyFrame, column: str, mark: str) -> tuple[pd.DataFrame, list[str]]:
    """[part, n] of the predictions, and what is wrong with them."""
    counted = lazy.select(part=nw.col(mark)).group_by("part").agg(row_count().alias("n"))
    found = collect(counted).sort_values("part", ignore_index=True)
    if found.empty:
        raise NothingToCount("the frame has no rows. Allowed: at least one episode.")
    if bad := int(found.loc[found["part"] < 0, "n"].sum()):
        return found, [
            f"{bad:,} of {int(found['n'].sum()):,} rows have a {column!r} that is missing or outside 0 to 1. "
            "Allowed: probabilities from 0 to 1 (not percentages)."
        ]
    return found, []


def _starts(found: pd.DataFrame, groups: int) -> list[int]:
    """Where each group of predictions begins, in millionths."""
    n = found["n"].to_numpy(float)
    middle = (np.cumsum(n) - n / 2) / n.sum()
    group = np.minimum((middle * groups).astype(int), groups - 1)
    first = np.concatenate([[True], np.diff(group) > 0])
    return [int(v) for v in found["part"].to_numpy()[first]]


def _rows(rates: pd.DataFrame, found: pd.DataFrame, starts: np.ndarray, tenth: str, h: int) -> pd.DataFrame:
    group = np.searchsorted(starts, found["part"], side="right") - 1
    n = np.bincount(group, found["n"], len(starts))
    mean = np.bincount(group, found["n"] * found["part"].to_numpy(float), len(starts)) / n / _PARTS
    at = np.searchsorted(starts, rates[tenth].to_numpy(float))
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(mean[at] > 0, rates["estimate"] / mean[at], np.nan)
    front = pd.DataFrame(
        {
            "horizon": h,
            "group": at + 1,
            "episodes": n[at].astype(np.int64),
            "events": rates["events"].to_numpy(),
            "predicted": mean[at],
        }
    )
    return pd.concat([front, rates[list(INTERVAL)]], axis=1).assign(ratio=ratio)


def _summary(table: pd.DataFrame, z: float) -> pd.DataFrame:
    from scipy.special import chdtrc

    out = []
    for h, rows in table.groupby("horizon", sort=False):
        w = rows["episodes"].to_numpy(float) / rows["episodes"].sum()
        seen, said, error = (rows[c].to_numpy(float) for c in ("estimate", "predicted", "std_error"))
        observed, expected = w @ seen, w @ said
        spread = np.sqrt(w**2 @ error**2)
        off = np.abs(seen - said)
        blank = dict.fromkeys(INTERVAL[1:], np.nan) | {"p_value": np.nan}
        values = [np.asarray(v) for v in (observed, spread)]
        low, high = interval(values[0], values[1], z, "cloglog")
        sound = error > 0
        test = chdtrc(int(sound.sum()), ((off[sound] / error[sound]) ** 2).sum()) if sound.any() else np.nan
        if np.isnan(seen).any():
            test = np.nan
        share = {"horizon": h, "unit": "share"}
        ratio = {"horizon": h, "unit": "ratio"}
        full = dict(zip(INTERVAL, (observed, spread, float(low), float(high))))
        out += [
            share | {"measure": "observed"} | full | {"p_value": np.nan},
            share | {"measure": "expected", "estimate": expected} | blank,
            ratio
            | {"measure": "observed / expected"}
            | {k: v / expected if expected > 0 else np.nan for k, v in full.items()}
            | {"p_value": test},
            share | {"measure": "integrated difference", "estimate": w @ off} | blank,
            share | {"measure": "largest difference", "estimate": off.max()} | blank,
        ]
    return pd.DataFrame(out)[["horizon", "measure", "unit", *INTERVAL, "p_value"]]


def _in_words(table: pd.DataFrame, z: float) -> list[str]:
    notes = []
    for h, rows in _summary(table, z).groupby("horizon", sort=False):
        value = rows.set_index("measure")["estimate"]
        if value.isna().any():
            notes.append(f"Within {h:,} days: not every group is followed so far.")
            continue
        test = rows["p_value"].dropna()
        chance = (
            f"; if all were chance, p {'< 0.001' if test.iloc[0] < 0.001 else f'= {test.iloc[0]:.3f}'}"
            if len(test)
            else ""
        )
        notes.append(
            f"Within {h:,} days: observed / expected {value['observed / expected']:.2f}, off by "
            f"{100 * value['integrated difference']:.1f} points on average and "
            f"{100 * value['largest difference']:.1f} at most{chance}."
        )
    return notes
