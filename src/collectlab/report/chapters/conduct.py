"""Chapter 4: whether contact kept to the rules that apply here, and who broke them."""

from __future__ import annotations

import datetime as dt
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import narwhals as nw
import numpy as np
import pandas as pd

from collectlab.core import engine
from collectlab.core.errors import NotAvailable, ParamsError
from collectlab.core.plots import legend, lines, month_ticks
from collectlab.core.results import Result
from collectlab.measures.conduct import Audit, ContactRules, audit, load_rules
from collectlab.report.month import Month
from collectlab.report.parts import part

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Fewer violations than this single nobody out.
_FEWEST = 5


def _jurisdiction(month: Month) -> str:
    if not month.contact_rules:
        raise NotAvailable("report.yml names no contact rules (contact_rules: cn, say).")
    return month.contact_rules


def _rules(month: Month) -> ContactRules:
    try:
        return load_rules(_jurisdiction(month), folder=month.params / "contact_rules")
    except ParamsError as error:
        raise NotAvailable(str(error)) from error


def audited(month: Month) -> Audit:
    """The audit of the twelve months, counted once for all chapters; without the actions behind it."""

    def make() -> Audit:
        found = audit(month.book, _rules(month), period=month.window)
        return replace(found, kept=found.kept.iloc[:0], notes=_unnamed(found))

    return month.shared(f"contact rules {_jurisdiction(month)}", make)


def _unnamed(found: Audit) -> tuple[str, ...]:
    """The notes without the accounts and agents that they name to those who run the audit themselves."""
    aside = "; ".join(f"{r.rows:,} {r.reason}" for r in found.set_aside.itertuples())
    notes = []
    for note in found.notes:
        if "were set aside: " in note:
            note = f"{note.split('were set aside: ')[0]}were set aside: {aside}."
        note = re.sub(r" \(account_id .*\)", "", note)
        notes.append(re.sub(r"(in more than one team) \(.*\);", r"\1;", note))
    return tuple(notes)


@part
def rules(month: Month) -> Result:
    """Contact rules in force."""
    found = _rules(month).on(month.end).table()
    t = found.table
    until = t["until"].map(lambda day: f" until {day}" if isinstance(day, dt.date) else "")
    table = pd.DataFrame(
        {
            "rule": t["rule"] + ": " + t["says"],
            "in_force": t["force"] + ", from " + t["from"].astype(str) + until,
            "source": t["citation"] + " – " + t["certainty"],
        }
    )
    return replace(found, table=table)


@part
def violations(month: Month) -> Audit:
    """Contact rules broken, kept, and not to be judged."""
    found = audited(month)
    first, last = month.window
    key = found.rules["rule"].iloc[0]
    how = (
        "For those allowed to see them, the actions behind a rule: "
        f'cl.conduct.audit(book, "{_jurisdiction(month)}", period=("{first}", "{last}")).evidence("{key}"); '
        "its .rules lists the keys. No such action is in this report."
    )
    return replace(found, notes=(*found.notes, how))


@dataclass(frozen=True, kw_only=True)
class ByMonth(Result):
    """Actions that break any rule of a sort, month by month: ``sort, month, contacts, violations`` and the rate."""

    plottable = True

    def plot(self, ax: Axes | None = None) -> Axes:
        """One line for each sort of rule."""
        months = sorted(self.table["month"].unique())
        place = self.table.assign(at=self.table["month"].map(months.index))
        groups = [(sort, rows) for sort, rows in place.groupby("sort", sort=False)]
        ax = lines(groups, "at", unit="number", title=self.title, ylabel="per 1,000 contacts", ax=ax)
        month_ticks(ax, months)
        legend(ax)
        return ax


def _any_rule(month: Month, by: str) -> pd.DataFrame:
    """Per 1,000 actions that a rule of the sort applies to, of each group: an action counts once, however many it breaks."""
    table = audited(month).sorts
    table = table[(table["by"] == by) & (table["sort"] != "any")]
    table = table.rename(columns={"group": by}).drop(columns="by")
    ever = table.groupby("sort")["violations"].transform("sum") > 0
    if not ever.any():
        raise NotAvailable("no contact rule was broken, so there is no difference to show.")
    rates = ["estimate", "std_error", "conf_low", "conf_high"]
    return table[ever].assign(**{c: 1000 * table[c] for c in rates}).reset_index(drop=True)


_ONCE = (
    "Actions that break any rule of the sort (hours, frequency, third party, hold), per 1,000 that one of them "
    "applies to; an action counts once, however many rules it breaks"
)


@part(folded=True)
def trend(month: Month) -> ByMonth:
    """Contact rules broken, month by month."""
    return ByMonth(
        table=_any_rule(month, "month"),
        unit="number",
        title="Contact rules broken, by month",
        estimand=_ONCE,
        formats={"contacts": "count", "violations": "count"},
    )


@part
def channels(month: Month) -> Result:
    """Contact rules broken, by channel."""
    return Result(
        table=_any_rule(month, "channel"),
        unit="number",
        title="Contact rules broken, by channel",
        estimand=_ONCE,
        formats={"contacts": "count", "violations": "count"},
    )


@part
def who(month: Month) -> Result:
    """Who breaks a contact rule more often than the others."""
    found = audited(month)
    titles = dict(zip(found.rules["rule"], found.rules["title"]))
    shown = _beyond_the_rest(found, _main_channel(month))
    table = shown.assign(rule=shown["rule"].map(titles))
    return Result(
        table=table,
        unit="number",
        title="Teams and agencies that break a rule more often than others of their channel",
        estimand=(
            "Violations per 1,000 contacts the rule applies to, where they are at least five, and beyond those of all "
            "others who mostly work by the same channel by more than chance would bring among so many comparisons"
        ),
        notes=_cautions(found, shown) if len(shown) else ("Nobody stands out.",),
        formats={"contacts": "count", "violations": "count", "others": "number"},
    )


def _cautions(found: Audit, shown: pd.DataFrame) -> tuple[str, ...]:
    """What to know before anybody is spoken to: citations nobody read, rules that count the same action."""
    named = found.rules[found.rules["rule"].isin(set(shown["rule"]))]
    unsure = named.loc[named["certainty"] != "read_in_source", "title"].tolist()
    notes = [n for n in found.notes if n.startswith("One action can break both")]
    if unsure:
        notes.append(f"Not read in the source, so check the wording before acting: {'; '.join(unsure)}.")
    return tuple(notes)


def _main_channel(month: Month) -> dict[str, str]:
    """The channel that each team and agency mostly works by: call teams are not compared with mass mailings."""

    def make() -> dict[str, str]:
        names = [c for c in ("team", "agency") if c in month.book.columns("actions")]
        if not names:
            raise NotAvailable("the actions name no team and no agency.")
        worker = nw.coalesce(*(nw.col(c).cast(nw.String) for c in names))
        done = (
            month.book.table("actions").select("channel", worker=worker).filter(~nw.col("worker").is_null())
        )
        counts = engine.collect(done.group_by("worker", "channel").agg(n=nw.len()))
        return counts.sort_values(["n", "channel"]).groupby("worker")["channel"].last().to_dict()

    return month.once("main channel of teams and agencies", make)


def _beyond_the_rest(found: Audit, channel: Mapping[str, str]) -> pd.DataFrame:
    """Groups whose rate is beyond that of all others of their channel together, most first within each rule."""
    from scipy.special import ndtri

    groups = found.table[
        found.table["by"] == "team"
    ].copy()  # an agency stands among them where there is no team
    groups["by"] = groups["group"].map(channel)
    together = groups.groupby(["rule", "by"])[["contacts", "violations"]].transform("sum")
    contacts, violations = (together[c] - groups[c] for c in ("contacts", "violations"))
    compared = contacts > 0
    chance = 0.025 / max(int(compared.sum()), 1)  # Bonferroni: as many comparisons as there are
    with np.errstate(divide="ignore", invalid="ignore"):
        groups["others"] = 1000 * violations / contacts
        # At least as wide as the count alone would have it: few violations, few customers.
        error = np.fmax(
            groups["std_error"] / groups["estimate"], np.sqrt(1 / groups["violations"] + 1 / violations)
        )
        apart = np.log(groups["estimate"] / groups["others"]) / error > ndtri(1 - chance)
        # Nobody else did it: the group's share of the contacts, to the power of the violations.
        share = groups["contacts"] / together["contacts"]
        alone = groups["violations"] * np.log(share) < math.log(chance)
    out = compared & (groups["violations"] >= _FEWEST) & np.where(violations == 0, alone, apart)
    columns = ["rule", "group", "by", "contacts", "violations", "estimate", "conf_low", "conf_high", "others"]
    order = {rule: i for i, rule in enumerate(found.rules["rule"])}
    shown = groups.loc[out, columns].sort_values(
        ["rule", "estimate"], ascending=[True, False], key=lambda c: c.map(order) if c.name == "rule" else c
    )
    return shown.rename(columns={"by": "works_by"}).reset_index(drop=True)


def _broken(sort: str, by: str) -> Callable[[Month], pd.DataFrame]:
    def make(month: Month) -> pd.DataFrame:
        table = audited(month).sorts
        table = table[(table["sort"] == sort) & (table["by"] == by)]
        if table.empty:
            raise NotAvailable(f"no rule on {sort.replace('_', ' ')} was judged by {by}.")
        table = table.rename(columns={"group": by, "contacts": "n"}).drop(
            columns=["sort", "by", "violations"]
        )
        return table.assign(unit="share", among=table[by].map(_main_channel(month))).reset_index(drop=True)

    return make


SOURCES: dict[str, Callable[[Month], pd.DataFrame]] = {
    f"{sort}_breaches_by_{by}": _broken(sort, by)
    for sort in ("hours", "frequency", "third_party", "hold")
    for by in ("team", "agency")
}
