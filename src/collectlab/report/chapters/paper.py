"""A test as the results section of a paper has it: a row an arm, a column an outcome, and what they say in words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd

from collectlab.core.results import Result
from collectlab.core.tables import format_value
from collectlab.effects.experiment_result import HORIZON, OUTCOME_WORDS, ExperimentResult, label_of
from collectlab.report.chapters.summary import Summary

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Differences this unlikely by chance, all arms counted, are marked and named.
TOLD = 0.05


@dataclass(frozen=True, kw_only=True)
class PaperTable(Result):
    """Effects with their standard errors in brackets; the control's own level in the first row."""

    control: str = ""
    whole: ExperimentResult | None = None
    plottable = True

    def plot(self, ax: Axes | None = None) -> Axes:
        """The first kind of outcome at its horizons: a point and its interval for each arm."""
        return self.whole.plot(ax=ax)

    def display_table(self) -> pd.DataFrame:
        table = self.table
        arms = list(dict.fromkeys(table["arm"]))
        rows: dict[str, list[str]] = {self.control: [], **{a: [] for a in arms}}
        columns = []
        for outcome, part in table.groupby("outcome", sort=False):
            columns.append(_heading(str(outcome)))
            unit = _short(part.iloc[0])
            rows[self.control].append(
                format_value(part["control_mean"].iloc[0], "share" if unit == "points" else unit)
            )
            told = part.set_index("arm")
            for a in arms:
                rows[a].append(_cell(told.loc[a]) if a in told.index else "–")
        sizes = {a: int(table.loc[table["arm"] == a, "n"].max()) for a in arms}
        sizes[self.control] = int(table["control_n"].max())
        shown = pd.DataFrame(list(rows.values()), columns=columns)
        shown.insert(0, "Arm (accounts)", [f"{a} ({format_value(sizes[a], 'count')})" for a in rows])
        return shown


def _heading(outcome: str) -> str:
    """``paid_within_30`` as ``Paid, 30 d``."""
    match = HORIZON.fullmatch(outcome)
    return f"{match[1].replace('_', ' ').capitalize()}, {match[3]} d" if match else label_of(outcome)


def _short(row: pd.Series) -> str:
    """Money without cents, where it is in the hundreds."""
    return "money" if row["unit"] == "money2" and abs(row["control_mean"]) >= 100 else str(row["unit"])


def _cell(row: pd.Series) -> str:
    unit = _short(row)
    value, error = format_value(row["estimate"], unit), format_value(row["std_error"], unit)
    if unit == "points":
        value, error = value.removesuffix(" pp"), error.removesuffix(" pp").lstrip("+")
    return f"{value} ({error}){'*' if _p(row) < TOLD else ''}"


def _p(row: pd.Series) -> float:
    p = row.get("p_adjusted", float("nan"))
    return float(p if pd.notna(p) else row["p_value"])


def paper_table(result: ExperimentResult) -> PaperTable:
    """The test's whole table, as wide as a paper's."""
    kept = [
        o for o in result.table["outcome"] if not o.startswith(("cost_", "net_"))
    ]  # the arm's worth tells them
    return PaperTable(
        table=result.table[result.table["outcome"].isin(kept)],
        estimand=f"{result.estimand}. First row: {result.control} itself. Current: not past due; d: days.",
        title=f"Effect of each arm against {result.control}: percentage points or money (standard error)",
        notes=(
            f"* p < {TOLD:g}, all arms of an outcome counted. Standard errors in brackets.",
            *(n for n in result.notes if "sim_low" not in n),
        ),
        conf_level=result.conf_level,
        control=result.control,
        whole=result,
    )


def in_words(result: ExperimentResult, worth: ExperimentResult | None = None) -> Summary:
    """What the table says: for each kind of outcome the control's level, the largest difference, and who differs."""
    table = result.table.assign(p=[_p(row) for _, row in result.table.iterrows()])
    arms = list(dict.fromkeys(table["arm"]))
    total = int(table["control_n"].max()) + sum(int(table.loc[table["arm"] == a, "n"].max()) for a in arms)
    sentences = [
        f"{total:,} accounts were drawn by lot into {len(arms) + 1} arms; the {len(arms)} others are compared with "
        f"{result.control} as drawn, whatever was done afterwards."
        if len(arms) > 1
        else f"{total:,} accounts were drawn by lot between {arms[0]} and {result.control}, and are compared as drawn."
    ]
    kinds: dict[str, list[str]] = {}
    for outcome in dict.fromkeys(table["outcome"]):
        match = HORIZON.fullmatch(outcome)
        kinds.setdefault(match[1] if match else outcome, []).append(outcome)
    # What an arm spent, and what is left of what it brought in, is told by its worth.
    for kind in ("cost", "net") if worth is not None else ():
        kinds.pop(kind, None)
    for kind, outcomes in kinds.items():
        sentences.append(_of_kind(table, kind, outcomes, result.control))
    if worth is not None:
        sentences += [_worth_of(row) for _, row in worth.table.iterrows() if _p(row) < TOLD]
        if not any(_p(row) < TOLD for _, row in worth.table.iterrows()):
            sentences.append("Net of its cost no arm's difference is beyond chance.")
    return Summary(table=result.table, estimand="", sentences=tuple(sentences))


def _of_kind(table: pd.DataFrame, kind: str, outcomes: list[str], control: str) -> str:
    parts = [table[table["outcome"] == o] for o in outcomes]
    days = [m[3] if (m := HORIZON.fullmatch(o)) else "" for o in outcomes]
    unit = parts[0]["unit"].iloc[0]
    levels = [format_value(p["control_mean"].iloc[0], "share" if unit == "points" else unit) for p in parts]
    at = f" by day {_and(days)}" if days[0] else ""
    text = f"{OUTCOME_WORDS.get(kind, label_of(kind))}{at}: {_and(levels)} in {control}."
    last = parts[-1] if len(parts) < 3 else parts[1]
    best = last.loc[last["estimate"].abs().idxmax(), "arm"]
    told = [p.set_index("arm").loc[best] for p in parts if best in set(p["arm"])]
    changes = _and(
        [
            f"{_signed(r['estimate'], unit)} (SE {format_value(r['std_error'], unit).lstrip('+')})"
            for r in told
        ]
    )
    only = len(set(table["arm"])) == 1
    text += f" With {best}{'' if only else ', furthest from it,'} {changes}."
    if only:
        return text + ("" if any(r["p"] < TOLD for r in told) else " That is within chance.")
    found = []
    for day, part in zip(days, parts):
        clear = part.loc[part["p"] < TOLD, "arm"]
        found.append(f"{_and(list(clear)) or 'none'}{f' by day {day}' if day else ''}")
    return text + f" Beyond chance, all arms counted: {'; '.join(found)}."


def _worth_of(row: pd.Series) -> str:
    back = row.get("back_per_unit", float("nan"))
    more = f", {format_value(back, 'money2')} for each unit spent" if pd.notna(back) else ""
    return (
        f"Net of its cost {row['arm']} brought {_signed(row['estimate'], 'money2')} per account "
        f"({_signed(row['conf_low'], 'money2')} to {_signed(row['conf_high'], 'money2')}){more}."
    )


def _signed(value: float, unit: str) -> str:
    text = format_value(value, unit)
    return f"+{text}" if value > 0 and text[:1] != "+" else text


def _and(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}" if words else ""
