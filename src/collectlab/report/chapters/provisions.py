"""Chapter 5: provisions under the stated coverage ratios, what moved them, and what a strategy does to them."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from collectlab.core.errors import NotAvailable, ParamsError
from collectlab.core.plots import PALETTE, level_axis, new_axes, titled, unit_axis
from collectlab.core.results import Result
from collectlab.core.suppression import suppress
from collectlab.core.tables import format_value
from collectlab.policy.provisions import STEPS, Bridge, Scheme, load_schemes, provision_bridge
from collectlab.policy.provisions_effect import provision_effect
from collectlab.report.chapters.shown import cell, on_page, plain
from collectlab.report.month import WINDOW_MONTHS, Month
from collectlab.report.parts import minimum_cell, part

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True, kw_only=True)
class Waterfall(Result):
    """One month's bridge: ``step, accounts, estimate``."""

    plottable = True

    def plot(self, ax: Axes | None = None, **options: object) -> Axes:
        """The steps from the opening to the closing provision."""
        told = self.table[self.table["estimate"].notna()]  # a step of a few accounts is not published
        shown = told[(told["estimate"] != 0) | told["step"].isin((STEPS[0], STEPS[-1]))]
        value = shown["estimate"].to_numpy(float)
        level = shown["step"].isin((STEPS[0], STEPS[-1])).to_numpy()
        after = np.where(level, value, np.cumsum(np.where(shown["step"] == STEPS[-1], 0, value)))
        left = np.where(level, 0, np.minimum(after, after - value))
        colours = np.where(level, PALETTE[6], np.where(value > 0, PALETTE[1], PALETTE[2]))
        place = np.arange(len(shown))[::-1]
        ax = new_axes(ax, figsize=(7.2, 1.0 + 0.32 * len(shown)))
        ax.barh(place, np.where(level, value, np.abs(value)), left=left, color=colours, height=0.62)
        lowest = float(np.min(np.where(level, np.inf, left), initial=value[0]))
        highest = float(np.max(left + np.where(level, value, np.abs(value))))
        for y, right, v, flat in zip(place, left + np.where(level, value, np.abs(value)), value, level):
            text = format_value(v, "money")
            ax.text(
                right, y, f"  {text if flat or v < 0 else '+' + text}", va="center", fontsize=8.5, color="#333333"
            )  # fmt: skip
        room = highest - lowest
        ax.set_xlim(max(0.0, lowest - 0.6 * room), highest + 0.25 * room)
        ax.set_yticks(place, [str(s).capitalize() for s in shown["step"]])
        level_axis(ax)
        unit_axis(ax, "money")
        ax.set_xlabel("Provision (the axis does not begin at 0)" if ax.get_xlim()[0] > 0 else "Provision")
        return titled(ax, self.title)


def schemes(month: Month) -> dict[str, Scheme]:
    """The schemes of provisions.yml; a part that needs them is left out where there is no such file."""

    def read() -> dict[str, Scheme]:
        file = month.params / "provisions.yml"
        if not file.is_file():
            raise NotAvailable("the parameters hold no provisions.yml with coverage ratios.")
        return load_schemes(file)

    return month.once("provisioning schemes", read)


def _scheme(month: Month, key: str) -> Scheme:
    known = schemes(month)
    if key not in known:
        raise NotAvailable(f"provisions.yml has no scheme {key}; it has {', '.join(known)}.")
    return known[key]


def bridged(month: Month, key: str) -> Bridge:
    """The bridges of the window's months under one scheme."""
    scheme = _scheme(month, key)

    def made() -> Bridge:
        try:
            return provision_bridge(month.book, scheme, months=WINDOW_MONTHS)
        except ParamsError as error:  # the file itself is in order: a ratio begins to hold only later
            raise NotAvailable(error.faults[0]) from None

    return month.shared(f"provision bridge {key}", made)


#: Steps by which accounts leave, all but the first: how many are charged off stands in other tables, too.
_OFF, _LEFT = "charged off", tuple(s for s in STEPS[6:10] if s != "charged off")
_MOVED = ("migrated worse", "migrated better")


def told_together(table: pd.DataFrame, minimum: int) -> pd.DataFrame:
    """The steps, those of fewer than ``minimum`` accounts in one with others: a gap could be filled from the sum."""
    n = table.set_index("step")["accounts"].fillna(0).astype(int)

    def few(count: int) -> bool:
        return 0 < count < minimum

    if few(n[STEPS[0]]) or few(n[STEPS[-1]]):
        return table.assign(
            accounts=pd.array([pd.NA] * len(table), dtype="Int64"), balance=np.nan, estimate=np.nan
        )
    left, gone = int(n[list(_LEFT)].sum()), int(n[[*_LEFT, _OFF]].sum())
    if few(n["new"]) or few(left) or few(gone):
        table = _joined(table, ["new", *_LEFT, _OFF], "new, less those that left", minimum)
        # Otherwise the count of those that came less those that left would follow.
        table["accounts"] = table["accounts"].mask(table["step"] == STEPS[0])
    elif any(few(n[s]) for s in (*_LEFT, _OFF)):
        table = _joined(table, [*_LEFT, _OFF], "left the book", minimum)
    if few(int(n[list(_MOVED)].sum())):
        table = _joined(table, [*_MOVED, "balance changed"], "class or balance changed", minimum)
    elif any(few(n[s]) for s in _MOVED):
        table = _joined(table, list(_MOVED), "migrated", minimum)
    return table


def _joined(table: pd.DataFrame, steps: list[str], name: str, minimum: int) -> pd.DataFrame:
    own = table["step"].isin(steps)
    rows = table[own]
    count = rows["accounts"].sum(min_count=len(rows))
    if "new" in steps:  # some come and some go
        count = pd.NA
    one = rows.head(1).assign(
        step=name, accounts=pd.array([count], dtype="Int64"), balance=[rows["balance"].sum(min_count=1)],
        estimate=[rows["estimate"].sum(min_count=1)],
    )  # fmt: skip
    return pd.concat([table[~own], one]).sort_index(ignore_index=True)


@part
def bridge(month: Month, scheme: str) -> Result:
    """Provision, from last month's end to this month's."""
    found = bridged(month, scheme)
    last = found.table["month"].iloc[-1]
    table = found.table[found.table["month"] == last].drop(columns="month").reset_index(drop=True)
    table = told_together(table, minimum_cell(month))
    fields = {f.name for f in dataclasses.fields(Result)}
    kept = {k: getattr(found, k) for k in fields} | {"table": table, "title": f"{found.title}, {last}"}
    kept["notes"] = (*_moved(table), *found.notes)
    return on_page(Waterfall(**kept) if table["estimate"].notna().any() else Result(**kept), _without_nothing)


def _moved(table: pd.DataFrame) -> list[str]:
    """By how much the provision rose or fell, and by what most, in a sentence."""
    money = table.dropna(subset=["estimate"]).set_index("step")["estimate"].astype(float)
    if not {STEPS[0], STEPS[-1]} <= set(money.index) or not money[STEPS[0]] > 0:
        return []
    by = float(money[STEPS[-1]] - money[STEPS[0]])
    steps = money.drop([STEPS[0], STEPS[-1]])
    said = f"The provision {'rose' if by > 0 else 'fell'} by {format_value(abs(by), 'money')} in the month"
    said += f" ({format_value(abs(by) / money[STEPS[0]], 'share')})" if by else ""
    if steps.empty or not steps.abs().max() > 0:
        return [f"{said}."]
    most = steps.abs().idxmax()
    return [f"{said}; the largest step: {most}, {format_value(steps[most], 'money')}."]


def _without_nothing(found: Result) -> pd.DataFrame:
    """The steps by which anything changed; the others stand in the file."""
    table = found.table
    ends = table["step"].isin((STEPS[0], STEPS[-1]))
    nothing = (table["estimate"] == 0) & (table["balance"] == 0) & (table["accounts"].fillna(0) == 0)
    return plain(found, table[ends | ~nothing.fillna(False)].reset_index(drop=True))


@part(picture=False)
def classes(month: Month) -> Result:
    """Accounts, balance and provision by class: now, last month and a year ago."""
    tables = []
    for key, scheme in schemes(month).items():
        held = bridged(month, key).by_class
        months = list(dict.fromkeys(held["month"]))
        # What was provided for a class of few accounts then is not told now.
        held = pd.concat([suppress(of, minimum=minimum_cell(month)).table.astype({"provision": float}) if then != months[-1] else of
                          for then, of in held.groupby("month", sort=False)])  # fmt: skip
        wide = held[held["month"] == months[-1]].drop(columns="month").reset_index(drop=True)
        for back, name in ((-2, "provision_last_month"), (-13, "provision_a_year_ago")):
            if len(months) >= -back:
                then = held[held["month"] == months[back]].set_index("class")["provision"]
                wide[name] = wide["class"].map(then)
        tables.append(wide.assign(scheme=scheme.name))
    table = pd.concat(tables, ignore_index=True)
    head = ["scheme", "class", "accounts", "balance", "coverage", "provision"]
    return Result(
        table=table[[*head, *(c for c in table if c not in head)]],
        estimand="Open accounts by class at the month's end, and their provision under the stated ratios",
        title=f"Classes and provisions at the end of {month.label}",
        notes=(
            "The coverage ratios stand in provisions.yml with their sources. The two schemes are alternatives, not parts "
            "of one sum.",
        ),
        formats={"coverage": "share", "balance": "money", "accounts": "count"}
        | {c: "money" for c in table if str(c).startswith("provision")},
    )


@part(picture=False)
def strategy(month: Month, scheme: str) -> Result:
    """What the strategy does to provisions."""
    held = _scheme(month, scheme)

    def made() -> Result:
        try:
            return provision_effect(month.book, held, control=month.control or None)
        except ParamsError as error:
            raise NotAvailable(error.faults[0]) from None

    found = month.shared(f"provisions by strategy {scheme}", made)
    ahead = found.table[found.table["measure"].str.startswith("provision and write-offs in")]
    notes = [_within(row) for _, row in ahead.iterrows() if pd.notna(row["conf_low"])]
    return dataclasses.replace(found, notes=(*notes, *found.notes))


def _within(row: pd.Series) -> str:
    """Whether a strategy's effect on provisions and write-offs is a reason to change it, in a sentence."""
    said = cell(row["estimate"], row["conf_low"], row["conf_high"], "money")
    arm = str(row["arm"]).capitalize()
    if row["conf_low"] <= 0 <= row["conf_high"]:
        return (
            f"No reason to change the strategy: {row['measure']} under {row['arm']} differ by {said}, within noise, "
            "whatever a part of the sum says."
        )
    return f"{arm} {'adds' if row['estimate'] > 0 else 'saves'} {row['measure']} beyond noise: {said}."
