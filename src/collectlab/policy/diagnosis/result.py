"""The tree from each missed target to its causes: as a table, as text, as a picture."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from collectlab.core import tables
from collectlab.core.plots import STYLE, new_axes, titled
from collectlab.core.results import Result
from collectlab.core.tables import humanise
from collectlab.policy.targets import say

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLUMNS = (
    "kpi", "name", "depth", "cause", "group", "of", "n", "estimate", "std_error", "conf_low", "conf_high",
    "share", "share_low", "share_high", "p_value", "named", "unit", "says",
)  # fmt: skip

#: More causes of one KPI than this are added up in the text and the picture.
SHOWN = 6

_COLOURS = {"gap": "#333333", "not explained": "#999999", "mix": "#56B4E9", "counted otherwise": "#BBBBBB"}


@dataclass(frozen=True, kw_only=True)
class Diagnosis(Result):
    """Why targets are missed.

    ``table``: ``kpi, name, depth`` (0 the gap, 1 its causes, 2 what lies under a cause), ``cause`` (gap, mix,
    product, branch, …, contactability, adherence, counted otherwise, not explained; *looked at*: a family or step
    of which nothing is named; *not counted*: what the KPI cannot be counted by), ``group, of, n``; ``estimate`` and
    its interval in the KPI's unit, above 0 where it widens the gap; ``share`` of the gap (the gap taken as it is),
    ``p_value`` (adjusted for all comparisons), ``named``, ``unit``, ``says``. The parts named at depth 1 that widen
    the gap, mix, *counted otherwise* and *not explained* add up to the gap; *looked at* bounds what is not explained.
    """

    plottable = True

    def of(self, kpi: str) -> pd.DataFrame:
        """What is said of one KPI, in reading order: the gap, its causes, what is not explained."""
        rows = self.table[self.table["kpi"] == kpi]
        shown = rows[rows["named"] & (rows["depth"] == 1)]
        always = shown["cause"].isin(["mix", "counted otherwise", "not explained"])
        causes = shown[~always & (shown["estimate"] > 0)].sort_values(
            "estimate", ascending=False, kind="stable"
        )
        rest = shown[shown["cause"] == "not explained"]
        if not len(rest):
            rest = rows[rows["cause"] == "not explained"]
        other = shown[always & (shown["cause"] != "not explained")]
        below = rows[rows["named"] & (rows["depth"] == 2) & (rows["estimate"] > 0)]
        blocks = [rows[rows["depth"] == 0]]
        first = len(causes) > 0 and float(rest["estimate"].iloc[0]) > float(causes["estimate"].max())
        if first:
            blocks.append(rest)
        for i in causes.index[:SHOWN]:
            blocks += [causes.loc[[i]], below[below["of"] == causes.at[i, "says"]]]
        if len(more := causes.iloc[SHOWN:]):
            sums = more.iloc[[0]].assign(
                cause="further causes", group="", n=0, says=f"{len(more)} further causes, in .table",
                estimate=more["estimate"].sum(), share=more["share"].sum(),
            )  # fmt: skip
            gone = ["std_error", "conf_low", "conf_high", "share_low", "share_high", "p_value"]
            blocks.append(sums.assign(**dict.fromkeys(gone, math.nan)))
        blocks += [other] if first else [other, rest]
        return pd.concat([b for b in blocks if len(b)], ignore_index=True)

    def looked_at(self, kpi: str) -> pd.DataFrame:
        """What was looked at and is not named for one KPI: how much it could be, at most; the largest first."""
        rows = self.table[self.table["kpi"] == kpi]
        found = rows[rows["cause"] == "looked at"].sort_values("conf_high", ascending=False, kind="stable")
        return pd.concat([found, rows[rows["cause"] == "not counted"]], ignore_index=True)

    def sentence(self, kpi: str) -> str:
        """One KPI's diagnosis in a sentence or two."""
        rows = self.of(kpi)
        parts = [f"{_lower(r.says)} {_value(r)}" for r in rows[rows["depth"] == 1].itertuples()]
        return f"{rows['says'].iloc[0]} Of it: {'; '.join(parts)}."

    def tree(self) -> str:
        """The tree as text."""
        blocks = []
        for kpi in dict.fromkeys(self.table["kpi"]):
            rows = self.of(kpi)
            lines = [rows["says"].iloc[0]]
            top = rows.index[rows["depth"] == 1]
            for i in rows.index[1:]:
                row, last = rows.loc[i], i >= top.max()
                stem = "└─ " if last else "├─ "
                if row["depth"] == 2:
                    stem = "   └─ " if i > top.max() else "│  └─ "
                shared = row["cause"] not in ("not explained", "counted otherwise") and row["depth"] == 1
                part = f", {_share(row['share'])} of the gap" if shared else ""
                lines.append(f"{stem}{row['says']}: {_value(row)}{part}")
            looked = [r for r in self.looked_at(kpi).itertuples() if r.cause == "looked at"]
            if looked:
                lines.append("   Looked at, not named: " + "; ".join(f"{r.says} {_value(r)}" for r in looked))
            blocks.append("\n".join(lines))
        return "\n\n".join(blocks) if blocks else self.notes[0]

    def display_table(self) -> pd.DataFrame:
        return self._shown(list(dict.fromkeys(self.table["kpi"])))

    def _shown(self, kpis: list[str], gap: bool = True) -> pd.DataFrame:
        interval = f"{self.conf_level:.0%} interval".replace("%", " %")
        out = []
        for kpi in kpis:
            for row in self.of(kpi).itertuples():
                if row.depth == 0 and not gap:
                    continue
                text = f"{row.name}: the gap" if row.depth == 0 else "\u2003" * (row.depth - 1) + row.says
                if row.depth == 2:
                    text = "\u2003└ " + row.says
                none = math.isnan(row.conf_low) or math.isnan(row.conf_high)
                low, high = _points(row.conf_low, row.unit, bare=True), _points(row.conf_high, row.unit)
                out.append(
                    {
                        "Cause": text,
                        "Part of the gap": _points(row.estimate, row.unit),
                        interval: "–" if none else f"{low} to {high}",
                        "Share of the gap": _share(row.share),
                        "n": tables.format_value(row.n, "count") if row.n else "–",
                    }
                )
        return pd.DataFrame(
            out, columns=["Cause", "Part of the gap", interval, "Share of the gap", "n"], dtype=object
        )

    def _families(self, kpi: str) -> pd.DataFrame:
        interval = f"{self.conf_level:.0%} interval".replace("%", " %")
        out = []
        for row in self.looked_at(kpi).itertuples():
            if row.cause == "not counted":
                out.append({"Looked at, not named": row.says, "Estimate": "–", interval: "–", "At most": "–",
                            "What it says": "cannot be said"})  # fmt: skip
                continue
            ends = f"{_points(row.conf_low, row.unit, bare=True)} to {_points(row.conf_high, row.unit)}"
            out.append(
                {
                    "Looked at, not named": row.says,
                    "Estimate": _points(row.estimate, row.unit),
                    interval: ends,
                    "At most": f"{_share(max(row.share_high, 0.0))} of the gap",
                    "What it says": _reading(row),
                }
            )
        columns = ["Looked at, not named", "Estimate", interval, "At most", "What it says"]
        return pd.DataFrame(out, columns=columns, dtype=object)

    def _repr_html_(self) -> str:
        blocks = []
        for kpi in dict.fromkeys(self.table["kpi"]):
            heading = self.table.loc[self.table["kpi"] == kpi, "says"].iloc[0]
            blocks.append(tables.to_html(self._shown([kpi], gap=False), title=heading))
            if len(families := self._families(kpi)):
                blocks.append(
                    '<details class="cl-folded"><summary>Looked at and not named: how much it could be'
                    f"</summary>{tables.to_html(families)}</details>"
                )
        return "\n".join([*blocks, tables.to_html(pd.DataFrame(), "", "", self.notes)])

    def plot(self, ax: Axes | None = None, *, kpi: str | None = None, **options: Any) -> Axes:
        """Each gap as 100 %, from the target to where the KPI stands, one step a cause."""
        kpis = [kpi] if kpi else list(dict.fromkeys(self.table["kpi"]))
        lines: list[tuple[str, pd.Series | None, float]] = []
        for k in kpis:
            rows, at = self.of(k), 0.0
            steps = rows[(rows["depth"] == 1)]
            # what is not explained closes the way to the gap, wherever the text says it
            last = steps["cause"] == "not explained"
            lines.append((k, rows.iloc[0], 0.0))
            for _, row in pd.concat([steps[~last], steps[last]]).iterrows():
                lines.append((row["says"], row, at))
                at += row["share"]
            looked = self.looked_at(k)
            looked = looked[looked["cause"] == "looked at"]
            if len(looked):
                lines.append((f"{len(looked)} others looked at, none named", looked.iloc[0], math.nan))
        ax = new_axes(ax, figsize=(9.2, 0.9 + 0.3 * max(len(lines), 3)))
        labels = []
        for y, (text, row, at) in enumerate(lines):
            if math.isnan(
                at
            ):  # what is looked at and not named lies anywhere between the target and its upper end
                most = max(row["share_high"], 0.0)
                ax.plot([0, most], [y, y], color="#999999", linewidth=1.1, linestyle=(0, (1, 1.5)))
                ax.plot([most], [y], "|", color="#999999", markersize=7)
                most_of = f"each at most {_points(max(row['conf_high'], 0.0), row['unit'])}"
                ax.text(
                    1.01,
                    y,
                    most_of,
                    transform=ax.get_yaxis_transform(),
                    va="center",
                    fontsize=8.5,
                    color="#666666",
                )
                labels.append(text)
                continue
            colour = _COLOURS.get(row["cause"], "#D55E00")
            height = 0.62 if row["cause"] == "gap" else 0.5
            ax.barh(y, row["share"], left=at, height=height, color=colour, alpha=0.85)
            end = at + row["share"]
            ends = [at + row["share_low"], at + row["share_high"]] if row["cause"] != "gap" else [1.0, 1.0]
            if not any(math.isnan(e) for e in ends) and row["cause"] != "gap":
                ax.plot(ends, [y, y], color="#222222", linewidth=1.1, clip_on=True)
                ax.plot([end], [y], "o", color="#222222", markersize=3)
            value = f"gap {_value(row)}" if row["cause"] == "gap" else _value(row)
            ax.text(1.01, y, value, transform=ax.get_yaxis_transform(), va="center", fontsize=8.5)
            # the KPI stands in two lines: where it is and should be
            labels.append(
                row["says"].split(": a gap")[0].replace(", target", "\ntarget")
                if row["cause"] == "gap"
                else text
            )
        ax.axvline(0, color="#222222", linewidth=1.0)
        ax.axvline(1, color="#222222", linewidth=1.0, linestyle=(0, (2, 2)))
        ax.set_yticks(range(len(lines)), labels, fontsize=9)
        for tick, (_, row, _at) in zip(ax.get_yticklabels(), lines):
            tick.set_fontweight("bold" if row["cause"] == "gap" else "normal")
        ax.set_ylim(max(len(lines), 1) - 0.4, -0.6)
        low, high = ax.get_xlim()
        ax.set_xlim(max(low, -0.6), min(max(high, 1.1), 1.8))
        ax.set_xticks([0, 1], ["target", "where it stands"], fontsize=9)
        ax.grid(axis="y", visible=False)
        ax.grid(axis="x", visible=True, color=STYLE["grid.color"], linewidth=0.8)
        ax.tick_params(length=0)
        return titled(ax, self.title)


def _reading(row: Any) -> str:
    """What a family's or step's interval says."""
    if " compared)" in row.says:
        return "they seem to differ; no single one stands out" if row.conf_low > 0 else "no sure difference"
    if row.conf_low > 0:
        return "widens the gap, but no more than chance may among all comparisons"
    return "narrows the gap" if row.conf_high < 0 else "either way"


def said(line: pd.Series, gap: float, ends: list[float], before: float) -> str:
    """``Recovery rate 71.2 %, target at least 80.0 %, year before 70.9 %: a gap of 8.8 points (7.1 to 10.4).``"""
    unit, sign = line["unit"], "at least" if line["direction"] == "at_least" else "at most"
    spread = "" if any(math.isnan(e) for e in ends) else (
        f" ({_points(ends[0], unit, bare=True)} to {_points(ends[1], unit, bare=True)})"
    )  # fmt: skip
    earlier = "" if math.isnan(before) else f", year before {_level(before, unit)}"
    return (
        f"{line['name']} {_level(line['estimate'], unit)}, target {sign} {_level(line['target'], unit)}{earlier}: "
        f"a gap of {_points(gap, unit)}{spread}."
    )


def label_of(dimension: str, group: str, cells: Any, shares: Any) -> str:
    """How a cause is called: ``Branch 07``, ``Product: card``, ``Adherence: call by day 14 (62 %, all due)``."""
    if dimension == "step":
        rate, aim = shares.observed.get(group, (math.nan, math.nan))
        step = next((p for p in cells.paths if p.name == group), None)
        if step is not None and step.expected:
            return f"Adherence: {group} ({_share(rate)} of those due)"
        return f"Contactability: {group} ({_share(rate)}, the year before {_share(aim)})"
    if " × " in dimension:
        return "Together: " + ", ".join(str(g).replace("_", " ") for g in group.split(" × "))
    word = dimension.split("_")[-1].lower()
    return group if word in str(group).lower() else f"{humanise(dimension)}: {str(group).replace('_', ' ')}"


def _points(value: float, unit: str, bare: bool = False) -> str:
    """A part of a gap: shares in points."""
    if math.isnan(value):
        return "–"
    if unit == "share":
        text = f"{100 * value:.1f}".replace("-", "−")
        text = "0.0" if text == "−0.0" else text
        return text if bare else f"{text} points"
    return _level(value, unit)


def _level(value: float, unit: str) -> str:
    """A value of the KPI; plain numbers to two places, so that those under each other compare."""
    if unit != "number" or math.isnan(value):
        return say(value, unit)
    text = f"{value:,.2f}".replace("-", "−")
    return "0.00" if text == "−0.00" else text


def _share(value: float) -> str:
    if math.isnan(value):
        return "–"
    text = f"{100 * value:.0f}".replace("-", "−")
    return f"{'0' if text == '−0' else text} %"


def _value(row: Any) -> str:
    """``0.9 points (0.2 to 1.6)``."""
    get = row.__getitem__ if isinstance(row, pd.Series) else lambda name: getattr(row, name)
    value = _points(get("estimate"), get("unit"))
    low, high = get("conf_low"), get("conf_high")
    if math.isnan(low) or math.isnan(high):
        return value
    return f"{value} ({_points(low, get('unit'), bare=True)} to {_points(high, get('unit'), bare=True)})"


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:] if text.startswith(("Not ", "Mix", "Too ")) else text
