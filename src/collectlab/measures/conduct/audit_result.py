"""What an audit returns: violations per 1,000 contacts, what was not judged and why, and the actions behind."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from collectlab.core import tables
from collectlab.core.errors import FrameError, first_few, nearest
from collectlab.core.jackknife import INTERVAL
from collectlab.core.plots import dots
from collectlab.core.results import Result
from collectlab.measures.conduct.rules import ContactRules, Rule
from collectlab.measures.groups import MISSING
from collectlab.measures.ratios import Ratio, with_interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True)
class NotJudged:
    """A rule that could not be judged, and why, in one line."""

    rule: Rule
    rules: ContactRules
    why: str


@dataclass(frozen=True, kw_only=True)
class Audit(Result):
    """Violations per 1,000 contacts: one row per rule × group.

    Attributes
    ----------
    table : DataFrame
        ``rule, by, group, contacts, violations`` and ``estimate`` per 1,000 with its interval; ``by`` is ``all``
        for everybody together. Only rules that were judged.
    sorts : DataFrame
        As ``table``, with ``sort`` in place of the rule: actions that break any rule on ``hours``, ``frequency``,
        ``third_party`` or ``hold``, or ``any`` of them, as a share of those that one of them applies to.
    rules : DataFrame
        ``rule, title, jurisdiction, force, citation, certainty, status`` (broken, clean, not judged).
    not_judged : DataFrame
        ``rule, title, why``. Not judged is not the same as not broken.
    set_aside : DataFrame
        ``reason, rows, first, allowed``: rows in = judged in the period or out of it + set aside.
    rows_in, judged : int
        Rows of the log, and those judged.
    """

    sorts: pd.DataFrame = field(default_factory=pd.DataFrame)
    rules: pd.DataFrame = field(default_factory=pd.DataFrame)
    not_judged: pd.DataFrame = field(default_factory=pd.DataFrame)
    set_aside: pd.DataFrame = field(default_factory=pd.DataFrame)
    rows_in: int = 0
    judged: int = 0
    kept: pd.DataFrame = field(default_factory=pd.DataFrame, repr=False)
    plottable = True

    def evidence(self, rule: str | None = None, limit: int | None = None) -> pd.DataFrame:
        """The actions behind the violations, by rule, account and time; personal, for those allowed to see them.

        Parameters
        ----------
        rule : str, optional
            One rule's key; None: all.
        limit : int, optional
            At most so many rows.

        Returns
        -------
        DataFrame
            ``action_id, account_id, at`` (local time), ``channel, rule, counted, limit, since``: so many were
            counted since then, where so many are allowed. Of each rule the first 10,000 by account are kept (a note
            says where there are more); for all of them, audit a part of the accounts or a shorter ``period``.
        """
        if rule is not None and rule not in set(self.rules["rule"]):
            near = nearest(rule, self.rules["rule"]) or list(self.rules["rule"])
            raise FrameError(f"no rule {rule!r} in this audit. Nearest: {first_few(near)}.")
        rows = self.kept if rule is None else self.kept[self.kept["rule"] == rule]
        return (rows if limit is None else rows.head(limit)).reset_index(drop=True)

    def display_table(self) -> pd.DataFrame:
        """Rules broken first, the most often broken on top; then clean ones; then those not judged."""
        everybody = self.table[self.table["by"] == "all"].set_index("rule")
        rows = []
        for r in self.rules.itertuples():
            shown = {"rule": r.title, "where": r.jurisdiction, "status": r.status}
            if r.rule in everybody.index:
                row = everybody.loc[r.rule]
                text = with_interval(row["estimate"], row["conf_low"], row["conf_high"], "number")
                shown |= {
                    "violations": row["violations"],
                    "contacts": row["contacts"],
                    "per_1000_contacts": text,
                }
            rows.append(shown | {"citation": r.citation})
        columns = ["rule", "where", "status", "violations", "contacts", "per_1000_contacts", "citation"]
        table = pd.DataFrame(rows).reindex(columns=columns)
        if table["where"].nunique() < 2:
            table = table.drop(columns="where")
        kinds = dict.fromkeys(("violations", "contacts"), "count") | {"per_1000_contacts": "text"}
        return tables.display_table(table, formats=kinds)

    def plot(self, rule: str | None = None, by: str = "team", ax: Axes | None = None) -> Axes:
        """Violations per 1,000 by rule; or of one rule, by ``by``."""
        titles = dict(zip(self.rules["rule"], self.rules["title"]))
        if rule is None:
            order = [r for r in self.rules["rule"] if r in set(self.table["rule"])]
            table = self.table[self.table["by"] == "all"].set_index("rule").loc[order].reset_index()
            labels, title = [_wrapped(titles[r]) for r in table["rule"]], "Violations of contact rules"
        else:
            if rule not in titles:
                raise FrameError(f"no rule {rule!r} in this audit. Allowed: {first_few(list(titles), 12)}.")
            table = self.table[(self.table["rule"] == rule) & (self.table["by"] == by)]
            if table.empty:
                there = first_few([b for b in dict.fromkeys(self.table["by"]) if b != "all"])
                raise FrameError(
                    f"nothing by {by!r} for {rule}. Allowed: {there or 'no grouping was asked for'}."
                )
            labels, title = table["group"].astype(str).tolist(), titles[rule]
        return dots(
            [("", table)],
            labels,
            unit="number",
            title=title,
            xlabel="per 1,000 contacts it applies to",
            ax=ax,
        )


def _wrapped(text: str, width: int = 38) -> str:
    import textwrap

    return "\n".join(textwrap.wrap(text, width))


def _rate(top: np.ndarray, bottom: np.ndarray, each: float, conf_level: float) -> list[np.ndarray]:
    """Per 1,000 with the jackknife's interval; ``each`` is the mean number of contacts of one customer."""
    values = [
        np.asarray(v, dtype=float) for v in Ratio(top, bottom, "rate", "number", 1000.0).estimate(conf_level)
    ]
    # A customer's contacts go together: none broken among n contacts says no more than none among n / each customers.
    never = (top.sum(axis=0) == 0) & (bottom.sum(axis=0) > 0)
    values[3] = np.where(never, values[3] * max(each, 1.0), values[3])
    values[3] = np.where(
        np.isfinite(values[3]), np.minimum(values[3], np.maximum(1000.0, values[0])), values[3]
    )
    return values


def _groups(
    applies: np.ndarray,
    broken: np.ndarray,
    each: float,
    labels: Sequence[tuple[str, str, object]],
    conf_level: float,
) -> pd.DataFrame:
    """One row per group that a rule applies to, everybody last."""
    values = _rate(broken.astype(float), applies.astype(float), each, conf_level)
    contacts, violations = applies.sum(axis=0), broken.sum(axis=0)
    # Of an agency, the rows that are no agency's say nothing.
    shown = [
        j
        for j in np.flatnonzero(contacts).tolist()
        if not (labels[j][0] == "agency" and labels[j][2] is None)
    ]
    return pd.DataFrame(
        {
            "by": [labels[j][0] for j in shown],
            "group": [MISSING if labels[j][2] is None else labels[j][2] for j in shown],
            "contacts": contacts[shown],
            "violations": violations[shown],
            **{name: v[shown] for name, v in zip(INTERVAL, values)},
        }
    )


def result_of(
    *,
    books: Sequence[ContactRules],
    asked: Sequence[tuple[ContactRules, Rule]],
    applies: np.ndarray,
    broken: np.ndarray,
    customers: np.ndarray,
    sorts: Sequence[str],
    labels: Sequence[tuple[str, str, object]],
    not_judged: Sequence[NotJudged],
    evidence: pd.DataFrame,
    aside: pd.DataFrame,
    rows_in: int,
    judged: int,
    notes: Sequence[str],
    conf_level: float,
    span: tuple[dt.date, dt.date],
) -> Audit:
    """The tidy result from the counts (rule × replicate group × cell)."""
    unjudged = {n.rule.key: n for n in not_judged}
    frames, every = [], len(labels) - 1
    rate: dict[str, float] = {}
    for i, (_, rule) in enumerate(asked):
        if rule.key not in unjudged:
            each = applies[i, :, every].sum() / max(int(customers[i]), 1)
            part = _groups(applies[i], broken[i], each, labels, conf_level)
            rate[rule.key] = float(part["estimate"].iloc[-1])
            frames.append(part.assign(rule=rule.key))
    together = []
    for i, name in enumerate(sorts, start=len(asked)):
        if applies[i, :, every].sum():
            each = applies[i, :, every].sum() / max(int(customers[i]), 1)
            part = _groups(applies[i], broken[i], each, labels, conf_level)
            part[list(INTERVAL)] /= 1000
            together.append(part.assign(sort=name))
    columns = ["rule", "by", "group", "contacts", "violations", *INTERVAL]
    table = pd.concat(frames, ignore_index=True)[columns] if frames else pd.DataFrame(columns=columns)
    columns = ["sort", *columns[1:]]
    of_sorts = pd.concat(together, ignore_index=True)[columns] if together else pd.DataFrame(columns=columns)
    rules = _ranked(books, rate, unjudged)
    unsure = int((rules["certainty"] != "read_in_source").sum())
    doubt = f" ({unsure} of {len(rules)} not read in the source)" if unsure else ""
    said = [f"{n.rule.title.en}: not judged, because {n.why}." for n in not_judged if n.rule.kind != "fact"]
    facts = [n.rule.title.en for n in not_judged if n.rule.kind == "fact"]
    if facts:
        said.append(f"Not to be seen in an action log, look elsewhere: {'; '.join(facts)}.")
    titles = {rule.key: rule.title.en for _, rule in asked}
    kept = evidence["rule"].value_counts()
    found = {rule.key: int(broken[i, :, every].sum()) for i, (_, rule) in enumerate(asked)}
    said += [
        f"{titles[key]}: the first {kept.get(key, 0):,} of {n:,} violations, by account, are kept as evidence."
        for key, n in found.items()
        if kept.get(key, 0) < n
    ]
    return Audit(
        table=table,
        estimand=(
            f"Violations per 1,000 actions that each rule applies to, {span[0]} to {span[1]}; "
            "in a window, each action beyond the limit is one"
        ),
        unit="number",
        title="Contact rules: " + ", ".join(b.name.en for b in books) + doubt,
        notes=(*said, *notes),
        formats={"contacts": "count", "violations": "count", "group": "text"},
        conf_level=conf_level,
        sorts=of_sorts,
        rules=rules,
        not_judged=pd.DataFrame(
            [(n.rule.key, n.rule.title.en, n.why) for n in not_judged], columns=["rule", "title", "why"]
        ),
        set_aside=aside,
        rows_in=rows_in,
        judged=judged,
        kept=evidence,
    )


def _ranked(
    books: Sequence[ContactRules], rate: dict[str, float], unjudged: dict[str, NotJudged]
) -> pd.DataFrame:
    rows: list[tuple[Any, ...]] = []
    for book in books:
        for rule in book.rules:
            found = rate.get(rule.key, math.nan)
            status = "not judged" if rule.key in unjudged else "broken" if found > 0 else "clean"
            rank = {"broken": 0, "clean": 1, "not judged": 2}[status]
            row = (rule.key, rule.title.en, book.name.en, rule.force, rule.cited(), rule.certainty, status)
            rows.append(((rank, -found if found == found else 0.0, len(rows)), *row))
    rows.sort(key=lambda r: r[0])
    columns = ["rule", "title", "jurisdiction", "force", "citation", "certainty", "status"]
    return pd.DataFrame([r[1:] for r in rows], columns=columns)
