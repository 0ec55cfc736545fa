"""A map of what really happens in an episode: which step follows which, how often, and how soon."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import narwhals as nw
import numpy as np
import pandas as pd

from collectlab.core import engine
from collectlab.core.columns import flag, row_count
from collectlab.core.errors import FrameError, NotAvailable
from collectlab.core.jackknife import GROUPS, INTERVAL, shares, sums_at
from collectlab.core.plots import OUTCOME_COLOURS, PALETTE, new_axes, titled
from collectlab.core.results import Result
from collectlab.core.tables import display_table, format_value
from collectlab.measures.actions_rows import Period, within
from collectlab.measures.process._rows import log, spells, within_spells
from collectlab.measures.process.handovers import changes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

START = "overdue"
_WORDS = {"censored": "still overdue"}
_SPELL = ["__account", "__start"]
#: A variant is told apart by its first steps.
_STEPS = 8
#: Moves of fewer than this share of the episodes are in the table only.
_OFTEN = 0.05
#: How high an arc to the next step rises, and the room of a label, in the chart's units.
_RISE = 0.72
_WIDE, _TALL = 0.62, 0.5


@dataclass(frozen=True, kw_only=True)
class ProcessMap(Result):
    """Which step follows which. ``table``: one row per step → next step.

    Attributes
    ----------
    variants : pandas.DataFrame
        The whole sequences, most frequent first: variant, episodes, and the share with its interval.
    in_order : dict
        The share of episodes whose steps began in the order given, with interval; empty if none was given.
    first_days : dict
        Step → median day past due of its first time in an episode.
    """

    variants: pd.DataFrame = field(default_factory=pd.DataFrame)
    in_order: dict[str, float] = field(default_factory=dict)
    first_days: dict[str, float] = field(default_factory=dict)

    @property
    def plottable(self) -> bool:  # type: ignore[override]
        """Whether two moves at least may be shown: one alone is no map."""
        return int(self.table["episodes"].notna().sum()) > 1

    def plot(self, top: int = 12, ax: Axes | None = None) -> Axes:  # type: ignore[override]
        """Steps from left to right as they come; arcs above go on, arcs below go back; thick = often.

        The ``top`` moves of those that a twentieth of the episodes make, and the most frequent one into every step
        (into every ending, where a twentieth come to it). Moves whose figures are not published are not drawn, nor steps that none leads to.
        """
        from matplotlib.patches import FancyArrowPatch
        from matplotlib.path import Path

        known = self.table.dropna(subset=["episodes"]).reset_index(drop=True)
        begun = known.loc[known["step"] == START, "episodes"].sum()
        often = known["episodes"] >= _OFTEN * begun
        leads = ~known.duplicated("next_step") & (often | known["next_step"].isin(list(self.first_days)))
        drawn = known[(often & (known.index < top)) | leads]
        steps = sorted(
            {*drawn["step"], *drawn["next_step"]} & {*self.first_days}, key=lambda s: (self.first_days[s], s)
        )
        ends = sorted({*drawn["next_step"]} - {*steps}, key=[*OUTCOME_COLOURS, *drawn["next_step"]].index)
        place = {name: i for i, name in enumerate([START, *steps, *ends])}
        moves = [(place[r.step], place[r.next_step], r) for r in drawn[::-1].itertuples()]
        reach = [max([abs(b - a) for a, b, _ in moves if (b > a) == on], default=0) for on in (True, False)]
        above, below = (0.95 + _RISE * span**0.75 for span in reach)
        ax = new_axes(ax, figsize=(7.2, 0.6 + 0.58 * (above + below)))
        taken: list[tuple[float, float]] = []
        for a, b, row in sorted(moves, key=lambda move: abs(move[1] - move[0])):
            side = 1 if b > a else -1
            low, high = 0.42 * side, side * (0.42 + _RISE * abs(b - a) ** 0.75)
            into = PALETTE[0] if side > 0 else PALETTE[1]
            near = 0.1 * side  # arcs leave to the right of a box's middle and arrive to the left of it
            points = np.array([(a + near, low), ((a + b) / 2, 2 * high - low), (b - near, low)])
            width = 0.6 + 4 * row.episodes / drawn["episodes"].max()
            ax.add_patch(
                FancyArrowPatch(
                    path=Path(points, [1, 3, 3]), arrowstyle="-|>,head_length=4,head_width=2",
                    mutation_scale=1 + width / 8, color=OUTCOME_COLOURS.get(row.next_step, into), alpha=0.85,
                    linewidth=width, zorder=1,
                )
            )  # fmt: skip
            days = "" if pd.isna(row.median_days) else f"\n{row.median_days:.0f} d"
            x, y = _free(points, taken)
            ax.text(
                x, y, f"{row.episodes:,.0f}{days}", ha="center", va="center", fontsize=7.5, zorder=3, linespacing=1.0,
                bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.6, "alpha": 0.9},
            )  # fmt: skip
        for name, x in place.items():
            day = f"\nday {self.first_days[name]:.0f}" if name in self.first_days else ""
            ax.text(
                x, 0, _WORDS.get(name, name).replace("_", " ").replace(" ", "\n") + day,
                ha="center", va="center", fontsize=8, zorder=4,
                bbox={
                    "boxstyle": "round,pad=0.3",
                    "facecolor": "white" if day else "#F2F2F2",
                    "edgecolor": OUTCOME_COLOURS.get(name, "#444444"),
                },
            )  # fmt: skip
        ax.set_xlim(-0.5, len(place) - 0.5)
        ax.set_ylim(-below, above)
        ax.axis("off")
        return titled(ax, self.title)

    def display_table(self) -> pd.DataFrame:
        """The moves that a twentieth of the episodes make; the table holds them all."""
        known = self.table.dropna(subset=["episodes"])
        begun = known.loc[known["step"] == START, "episodes"].sum()
        shown = known[known["episodes"] >= _OFTEN * begun].replace({"next_step": _WORDS})
        shown = display_table(shown, self.unit, self.formats, self.conf_level)
        return shown.rename(columns={"Times": "Times in all"})


def _free(points: np.ndarray, taken: list[tuple[float, float]]) -> tuple[float, float]:
    """Where on an arc its label covers none of those before it, as near the middle as there is room."""
    for t in (0.5, 0.42, 0.58, 0.34, 0.66, 0.26, 0.74, 0.5):
        x, y = (1 - t) ** 2 * points[0] + 2 * t * (1 - t) * points[1] + t**2 * points[2]
        if all(abs(x - u) > _WIDE or abs(y - v) > _TALL for u, v in taken):
            break
    taken.append((float(x), float(y)))
    return taken[-1]


def process_map(
    book: Any,
    *,
    activity: str = "channel",
    order: Sequence[str] = (),
    outcome: str | None = None,
    definition: str = "current_once",
    period: Period = None,
    conf_level: float = 0.95,
) -> ProcessMap:
    """Which step follows which in an episode, how often and after how many days.

    The steps of an episode are its actions in the order of their time, those of the same ``activity`` in a row
    being one step; before the first stands ``overdue``, after the last the episode's outcome (``censored``:
    still overdue at the end of the book). Episodes seen from day 0 only. For each step and next step:
    ``episodes`` with that move, ``times``, ``median_days`` between the last action before and the first after,
    and the share of the step's episodes that make it.

    Parameters
    ----------
    book : Book
        With actions.
    activity : {"channel", "team"}
        What tells steps apart; ``team`` falls back on the agency.
    order : sequence of str, optional
        The activities in the order the strategy has them: ``in_order`` is then the share of
        episodes whose activities, each by its first time, came in that order (those never done are skipped).
    outcome : str, optional
        Only episodes that ended so.
    definition : str
        The named definition of cure.
    period : (date, date), optional
        First and last day of the episodes' day 0; None is the whole book.
    conf_level : float
        Level of the intervals, which respect the customers.

    Returns
    -------
    ProcessMap

    Examples
    --------
    >>> import pandas as pd
    >>> from collectlab.book.open import open_book
    >>> book = open_book({
    ...     "accounts": pd.DataFrame({"account_id": ["a"]}),
    ...     "snapshots": pd.DataFrame({"account_id": ["a"] * 3, "days_past_due": [0, 11, 0],
    ...                                "as_of": ["2025-12-31", "2026-01-31", "2026-02-28"]}),
    ...     "actions": pd.DataFrame({"account_id": ["a"] * 3, "channel": ["sms", "sms", "call"],
    ...                              "at": ["2026-01-22 10:00", "2026-01-24 10:00", "2026-02-01 10:00"]})})
    >>> found = process_map(book, order=["sms", "call"])
    >>> found.table[["step", "next_step", "episodes", "median_days"]].values.tolist()
    [['call', 'cured', 1, nan], ['overdue', 'sms', 1, 2.0], ['sms', 'call', 1, 8.0]]
    >>> found.variants["variant"].tolist(), found.in_order["estimate"]
    (['sms → call → cured'], 1.0)
    """
    if activity not in ("channel", "team"):
        raise FrameError(f"activity is {activity!r}. Allowed: channel, team.")
    if isinstance(order, str) or len(set(order)) < len(list(order)):
        raise FrameError(f"order is {order!r}. Allowed: a list of different activities.")
    acts, names = log(book)
    if activity == "team" and not {"team", "agency"} & set(names):
        raise NotAvailable("this book's actions have no team or agency.")
    episodes, _ = spells(book, definition, None)
    episodes = within(episodes, "__start", period).filter((nw.col("__entry") <= 0) & (nw.col("__exit") > 0))
    if outcome is not None:
        episodes = episodes.filter(nw.col("__outcome") == outcome)
    acts = acts.with_columns(__what=nw.col(f"__{activity}")).filter(~nw.col("__what").is_null())
    inside = within_spells(episodes, acts.select("__account", "__on", "__at", "__what"))
    steps = changes(inside.select(*_SPELL, "__rep", "__outcome", "__at", "__day", "__what"), "__what")
    steps = engine.computed(steps.filter(nw.col("__moved") | nw.col("__before").is_null()))
    total = engine.collect(episodes.group_by("__rep").agg(n=row_count()))
    if total.empty or not len(engine.collect(steps.head(1))):
        raise NotAvailable("no episode of this book or period, seen from its first day, was acted on.")
    table, first_days = _moves(steps, conf_level)
    all_of = sums_at((total["__rep"].to_numpy(int),), total["n"].to_numpy(), (GROUPS,))
    in_order = _in_order(steps, list(order), conf_level) if order else {}
    acted = int(engine.collect(steps.select(*_SPELL).unique(keep="any").select(n=row_count()))["n"].iloc[0])
    everyone = int(all_of.sum())
    notes = [
        "In the chart: episodes that make the move, and the median days (d) it takes; under a step, the median day of "
        "its first time. Moves that fewer than 5 % of the episodes make are in the table's file only, but for the most "
        "frequent one into a step.",
        f"{acted:,} of {everyone:,} episodes were acted on at all; actions of one kind in a row are one step.",
    ]
    if in_order:
        notes.append(
            f"{format_value(in_order['estimate'], 'share')} ({format_value(in_order['conf_low'], 'share')} to "
            f"{format_value(in_order['conf_high'], 'share')}) of the episodes with two kinds or more began them in the order "
            f"{', '.join(order)}."
        )
    return ProcessMap(
        table=table,
        estimand="Of the episodes that take a step, the share that takes each next step, at least once",
        title="What follows what"
        + ("" if outcome is None else f", episodes that ended {outcome.replace('_', ' ')}"),
        notes=tuple(notes),
        formats={"times": "count", "median_days": "number", "estimate": "Share of the step's episodes"},
        conf_level=conf_level,
        variants=_variants(steps, conf_level),
        in_order=in_order,
        first_days=first_days,
    )


def _moves(steps: nw.LazyFrame, conf_level: float) -> tuple[pd.DataFrame, dict[str, float]]:
    """The table of moves, most frequent first, and each step's median first day."""
    begun = nw.col("__before").is_null()
    between = steps.select(
        *_SPELL, "__rep",
        step=nw.when(begun).then(nw.lit(START)).otherwise(nw.col("__before")),
        next_step=nw.col("__what"),
        gap=nw.when(begun).then(nw.col("__day")).otherwise(nw.col("__gap")).cast(nw.Int64),
    )  # fmt: skip
    last = steps.unique(subset=_SPELL, keep="last", order_by=["__at", "__what"]).select(
        *_SPELL, "__rep", step=nw.col("__what"), next_step=nw.col("__outcome"),
        gap=nw.lit(None, nw.Int64),  # the day of the end is known to a month only
    )  # fmt: skip
    moves = engine.computed(nw.concat([between, last]))
    pair = ["step", "next_step"]
    gaps = engine.collect(moves.group_by(*pair, "gap").agg(n=row_count()))
    once = engine.collect(
        moves.group_by(*_SPELL, "__rep", *pair).agg(k=row_count())
        .group_by("__rep", *pair).agg(n=row_count())
    )  # fmt: skip
    took = engine.collect(
        moves.select(*_SPELL, "__rep", "step").unique(keep="any").group_by("__rep", "step").agg(n=row_count())
    )
    table = gaps.groupby(pair)["n"].sum().rename("times").reset_index()
    table = table.merge(once.groupby(pair)["n"].sum().rename("episodes").reset_index(), on=pair)
    medians = [
        (*key, _median(part["gap"].to_numpy(float), part["n"].to_numpy()))
        for key, part in gaps.dropna(subset=["gap"]).groupby(pair)
    ]
    table = table.merge(pd.DataFrame(medians, columns=[*pair, "median_days"]), on=pair, how="left")
    table = table.sort_values(["episodes", *pair], ascending=[False, True, True], kind="stable").reset_index(
        drop=True
    )
    edge = {tuple(k): i for i, k in enumerate(table[pair].to_numpy().tolist())}
    at = np.array([edge[k] for k in zip(once["step"], once["next_step"])], dtype=int)
    top = sums_at((once["__rep"].to_numpy(int), at), once["n"].to_numpy(), (GROUPS, len(table)))
    whole_of = took.pivot_table(index="__rep", columns="step", values="n", aggfunc="sum", fill_value=0)
    whole_of = whole_of.reindex(range(GROUPS), fill_value=0)[table["step"]].to_numpy(float)
    found = shares(top, whole_of, whole_of.sum(axis=0), conf_level)
    table = table[[*pair, "episodes", "times", "median_days"]].assign(**dict(zip(INTERVAL, found)))
    first = engine.collect(
        steps.group_by(*_SPELL, "__what").agg(day=nw.col("__day").min())
        .group_by("__what", "day").agg(n=row_count())
    )  # fmt: skip
    days = {
        str(what): _median(part["day"].to_numpy(float), part["n"].to_numpy())
        for what, part in first.groupby("__what")
    }
    return table, days


def _median(values: np.ndarray, n: np.ndarray) -> float:
    """The lower median of values that occur n times each."""
    order = np.argsort(values, kind="stable")
    return float(values[order][np.searchsorted(np.cumsum(n[order]), n.sum() / 2)])


def _variants(steps: nw.LazyFrame, conf_level: float) -> pd.DataFrame:
    """Whole sequences with their shares among the episodes acted on."""
    ranked = steps.with_columns(
        __place=flag(~nw.col("__what").is_null()).cum_sum().over(*_SPELL, order_by=["__at", "__what"])
    )
    names = [f"s{k}" for k in range(1, _STEPS + 1)]
    wide = ranked.group_by(*_SPELL, "__rep", "__outcome").agg(
        **{
            name: nw.when(nw.col("__place") == k).then(nw.col("__what")).max()
            for k, name in enumerate(names, 1)
        },
        long=nw.col("__place").max(),
    )
    wide = wide.with_columns(long=flag(nw.col("long") > _STEPS))
    cells = engine.collect(wide.group_by("__rep", "__outcome", "long", *names).agg(n=row_count()))
    path = cells[names].apply(lambda row: " → ".join(row.dropna()), axis=1)
    tail = np.where(cells["long"] == 1, " → …", "")
    cells["variant"] = path + tail + " → " + cells["__outcome"]
    sizes = cells.groupby("variant")["n"].sum().reset_index()
    sizes = sizes.sort_values(["n", "variant"], ascending=[False, True], kind="stable").reset_index(drop=True)
    at = cells["variant"].map({v: i for i, v in enumerate(sizes["variant"])}).to_numpy()
    top = sums_at((cells["__rep"].to_numpy(int), at), cells["n"].to_numpy(), (GROUPS, len(sizes)))
    everything = np.repeat(top.sum(axis=1, keepdims=True), len(sizes), axis=1)
    found = shares(top, everything, everything.sum(axis=0), conf_level)
    return sizes.rename(columns={"n": "episodes"}).assign(**dict(zip(INTERVAL, found)))


def _in_order(steps: nw.LazyFrame, order: list[str], conf_level: float) -> dict[str, float]:
    """Share of the episodes with two activities of the order or more that began them in it."""
    names = [f"f{k}" for k in range(len(order))]
    wide = steps.group_by(*_SPELL, "__rep").agg(
        **{
            name: nw.when(nw.col("__what") == what).then(nw.col("__day")).min()
            for name, what in zip(names, order)
        }
    )
    wrong, several = nw.lit(False), nw.lit(0)
    for k, name in enumerate(names):
        several = several + flag(~nw.col(name).is_null())
        for earlier in names[:k]:
            wrong = wrong | (nw.col(name) < nw.col(earlier)).fill_null(False)
    cells = engine.collect(
        wide.with_columns(__several=several, __wrong=flag(wrong))
        .filter(nw.col("__several") >= 2).group_by("__rep", "__wrong").agg(n=row_count())
    )  # fmt: skip
    if cells.empty:
        return {}
    rep, n = cells["__rep"].to_numpy(int), cells["n"].to_numpy()
    right = sums_at((rep,), n * (cells["__wrong"].to_numpy() == 0), (GROUPS,))[:, None]
    everything = sums_at((rep,), n, (GROUPS,))[:, None]
    found = shares(right, everything, everything.sum(axis=0), conf_level)
    return {name: float(value[0]) for name, value in zip(INTERVAL, found)}
