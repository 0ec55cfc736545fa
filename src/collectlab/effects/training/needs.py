"""Who would gain from what training: only where the differences are real, and nobody on few cases."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from collectlab.core.errors import FrameError, NotAvailable, first_few
from collectlab.core.jackknife import check_level
from collectlab.core.results import Result
from collectlab.core.tables import display_table, format_value
from collectlab.effects._league_math import holm
from collectlab.effects.league_says import plural
from collectlab.effects.training.rows import (
    CHANNELS,
    HORIZON,
    SKILLS,
    roster,
    rule_rows,
    share_kept,
    skill_rows,
    starts,
)  # fmt: skip
from collectlab.effects.training.units import compared
from collectlab.measures.actions_rows import Period
from collectlab.measures.ratios import with_interval

if TYPE_CHECKING:
    from collectlab.book.open import Book

_LIST = [
    "level",
    "who",
    "team",
    "among",
    "skill",
    "training",
    "n",
    "observed",
    "average",
    "estimate",
    "std_error",
]
_LIST += ["conf_low", "conf_high", "probability", "reliability"]
_REAL = [
    "level",
    "skill",
    "among",
    "units",
    "n",
    "average",
    "sd",
    "sd_low",
    "sd_high",
    "estimate",
    "conf_low",
]
_REAL += ["conf_high", "p_value", "real"]


@dataclass(frozen=True, kw_only=True)
class TrainingNeeds(Result):
    """The list, often empty; what it rests on stands beside it.

    ``table``: level (team, agent), who, team, among (channel), skill, training, n (cases, attempts, promises or
    contacts), observed, average, ``estimate`` (gap to the average on the same mix, shrunken, with interval),
    ``probability`` (of being truly below the average, given the shrinkage), ``reliability`` (share of the unit's own
    figure that is no noise).

    Attributes
    ----------
    real : pandas.DataFrame
        What of the differences is real, by level, skill and channel: units, n, average, sd between units with its interval,
        ``estimate`` (share of the variation of the units' figures that is real) with interval, p_value (adjusted for all
        of these) and ``real``.
    units : pandas.DataFrame
        Every unit that could be compared, named on the list or not.
    attributed : dict
        Share of the actions on a case within the horizon that were made by whoever the case is attributed to, by level.
    """

    real: pd.DataFrame = field(default_factory=pd.DataFrame, repr=False)
    units: pd.DataFrame = field(default_factory=pd.DataFrame, repr=False)
    attributed: dict[str, float] = field(default_factory=dict)

    def what_is_real(self) -> Result:
        """The spread between teams and between agents, and how much of it is real.

        Returns
        -------
        Result
        """
        return WhatIsReal(
            table=self.real[_REAL].assign(p_value=self.real["p_value"].astype(float)),
            estimand="How much of the differences between teams, and between agents, is theirs, at the same mix of cases: "
            "the rest is chance",
            title="What of the differences is real",
            unit="share",
            formats={"units": "count", "average": "share", **dict.fromkeys(("sd", "sd_low", "sd_high"), "points")},
            notes=self.notes,
            conf_level=self.conf_level,
        )  # fmt: skip

    def display_table(self) -> pd.DataFrame:
        if self.table.empty:
            return pd.DataFrame(
                {"Training": ["Nobody is named: no difference is shown to be real and theirs."]}
            )
        # the training last, after the figures it rests on
        shown = self.table.drop(columns=["std_error", "training"]).assign(training=self.table["training"])
        shown = shown.rename(columns={"among": "works by", "n": "cases"})
        formats = {**self.formats, "cases": "count", "estimate": "Gap to the average, shrunken"}
        return display_table(shown, "points", formats, self.conf_level)


@dataclass(frozen=True, kw_only=True)
class WhatIsReal(Result):
    """How much of the differences of a skill is real: a row per level, skill and channel."""

    def display_table(self) -> pd.DataFrame:
        """In a reader's words; each figure with its interval."""
        level = f"({self.conf_level:.0%} interval)".replace("%", " %")
        rows = [
            {
                "Level": r.level,
                "Skill": str(r.skill).replace("_", " "),
                "Works by": r.among,
                "Units": format_value(r.units, "count"),
                "Cases": format_value(r.n, "count"),
                "Average": format_value(r.average, "share"),
                f"Share of the variation that is real {level}": with_interval(
                    r.estimate, r.conf_low, r.conf_high, "share"
                ),
                f"Typical difference, in points {level}": _spread(r.sd, r.sd_low, r.sd_high),
                "p-value": format_value(r.p_value, "p_value"),
            }
            for r in self.table.itertuples()
        ]
        return pd.DataFrame(rows, dtype=object)


def _spread(sd: float, low: float, high: float) -> str:
    """A standard deviation between units, in percentage points; it has no sign."""
    told = [format_value(100 * v, "days") for v in (sd, low, high)]
    return told[0] if pd.isna(low) or pd.isna(high) else f"{told[0]} ({told[1]} to {told[2]})"


def training_needs(
    book: Book,
    *,
    minimum_cases: int = 30,
    horizon: int = HORIZON,
    channels: Sequence[str] = CHANNELS,
    violations: Any = None,
    definition: str = "current_once",
    period: Period = None,
    conf_level: float = 0.95,
) -> TrainingNeeds:
    r"""Teams and agents who would gain from a training, where the difference is real and theirs.

    Skills: cases ``cured`` within ``horizon`` days; attempts that ``reached`` somebody; ``promises_kept``; contacts
    ``recorded``; contacts ``within_rules`` (with ``violations``). Each is compared among units of one channel at the
    same mix of cases (stage, amount, product, credit score, quarter; of attempts, promises and contacts: product,
    score, quarter), with rows of one customer allowed to go together.

    **Whose a case is.** An episode belongs, once for each channel, to whoever made its first action through it: known
    before anything follows, so it cannot depend on the outcome. By share of contacts, or by the last one, hard cases
    would drift to those who come later, and quick cures to whoever was first. Where agents rotate, later contacts are
    others' work: that makes differences smaller, never larger, and ``attributed`` says how much of the work within the
    horizon was the attributed agent's. Promises and contacts belong to whoever made them.

    **Who is named.** A unit is on the list if (1) the differences of its skill and channel are more than chance (Q test,
    Holm over all skills, channels and levels, at half of 1 − ``conf_level``), (2) it is itself below the average (one-sided,
    Holm over all units of those skills and channels, at the other half), and (3) it has ``minimum_cases``. So where no
    differences are real, anybody at all is named in at most 1 − ``conf_level`` of the books. The gap shown is shrunken.

    Not causal: who gets which case is by no lot, and cases alike on paper may differ.

    Parameters
    ----------
    book : Book
        With actions that name agents or teams.
    minimum_cases : int
        Units with fewer cases (attempts, promises, contacts) are not compared and not named; at least 2.
    horizon : int
        Whole days a case is followed.
    channels : sequence of str
        Channels whose agents are compared, each within itself.
    violations : frame, optional
        agent (or team), violations, contacts, and ``among`` (the channel) where there are several: of the conduct audit.
    definition : str
        What cured means.
    period : (date, date), optional
        Of the first action, attempt, promise or contact.
    conf_level : float
        Level of the intervals; 1 − it bounds the chance of any false naming.

    Returns
    -------
    TrainingNeeds

    Raises
    ------
    FrameError
        ``minimum_cases`` or ``violations`` that are none.
    NotAvailable
        No agent or team has enough cases to be compared with another.

    References
    ----------
    Spiegelhalter (2005), Statistics in Medicine 24, 1185–1202. Goldstein & Spiegelhalter (1996), JRSS A 159, 385–443.

    Examples
    --------
    >>> from collectlab.book.open import open_book
    >>> from collectlab.book.simulate import simulate
    >>> book = open_book(simulate(accounts=800, months=12, truth_accounts=0).book_tables)
    >>> needs = training_needs(book)     # simulated agents are all alike
    >>> len(needs.table)
    0
    """
    check_level(conf_level)
    if (
        isinstance(minimum_cases, bool)
        or not isinstance(minimum_cases, (int, np.integer))
        or minimum_cases < 2
    ):
        raise FrameError(f"minimum_cases is {minimum_cases!r}. Allowed: whole numbers ≥ 2.")
    if not book.has("actions") or not {"agent", "team"} & set(book.columns("actions")):
        raise NotAvailable("this book's actions name no agent and no team.")
    levels = [c for c in ("team", "agent") if c in book.columns("actions")]
    teams, torn, notes = roster(book, channels, period) if "agent" in levels else ({}, (), ())
    told, few, between, units, attributed = list(notes), [], [], [], {}
    how = {"channels": channels, "horizon": horizon, "definition": definition, "period": period}
    ruled = set() if violations is None else {c for c in levels if c in _columns(violations)}
    for level in levels:
        for skill in SKILLS:
            try:
                if skill == "within_rules":
                    if level not in ruled:
                        continue
                    rows = rule_rows(violations, level)
                else:
                    rows, _ = skill_rows(book, skill, level, **how)
                rows = rows[~rows[level].astype(str).isin(torn)] if level == "agent" else rows
                found, spread, small = compared(skill, rows, level, int(minimum_cases), conf_level)
            except (NotAvailable, FrameError) as error:
                if skill == "within_rules" and isinstance(error, FrameError):
                    raise
                told.append(f"{level}, {skill.replace('_', ' ')}: {' '.join(str(error).split())}")
                continue
            if small:
                few.append(
                    f"{skill.replace('_', ' ')}: {len(small)} {plural(level) if len(small) > 1 else level}"
                )
            if len(found):
                units.append(found.rename(columns={level: "who"}).assign(level=level))
                between.append(spread.assign(level=level))
        if "cured" in {s for u in units if u["level"].iloc[0] == level for s in u["skill"]}:
            begun = starts(book, level, channels, definition, period)
            attributed[level] = share_kept(book, begun, level, horizon)[0]
    if few:
        told.append(f"With fewer than {minimum_cases}, and so not compared: {'; '.join(few)}.")
    if not units:
        raise NotAvailable(" ".join(["no agents or teams with enough cases can be compared.", *told]))
    real = pd.concat(between, ignore_index=True)
    real, alone = named(real, pd.concat(units, ignore_index=True), conf_level)
    alone["team"] = [t if lv == "team" else teams.get(t, "") for lv, t in zip(alone["level"], alone["who"])]
    alone["training"] = alone["skill"].map({s: words[1] for s, words in SKILLS.items()})
    listed = alone[alone["named"]].sort_values(["level", "estimate"], ascending=[False, True], kind="stable")
    return TrainingNeeds(
        table=listed[_LIST],
        estimand="Gap to the average on the same mix of cases, shrunken; only where it is shown to be real and the unit's own",
        unit="points",
        title="Who would gain from what training",
        notes=(*_says(real, listed, attributed, horizon, conf_level), *told),
        formats={
            "n": "count",
            **dict.fromkeys(("observed", "average", "probability", "reliability"), "share"),
        },
        conf_level=conf_level,
        real=real[_REAL],
        units=alone,
        attributed=attributed,
    )  # fmt: skip


def named(real: pd.DataFrame, units: pd.DataFrame, conf_level: float) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Which differences are real, and who may be named; both errors together at most 1 − ``conf_level``.

    Parameters
    ----------
    real, units : DataFrame
        As :func:`~collectlab.effects.training.units.compared` gives them, with ``level``.
    conf_level : float

    Returns
    -------
    real, units : DataFrame
        With ``p_value`` adjusted and ``real``; with ``named``.

    Examples
    --------
    >>> real = pd.DataFrame({"level": "agent", "skill": "cured", "among": ["call", "visit"], "p_value": [0.001, 0.02]})
    >>> units = pd.DataFrame({"level": "agent", "skill": "cured", "among": ["call", "call", "visit"],
    ...                       "p_below": [0.001, 0.5, 1e-9]})
    >>> named(real, units, 0.95)[1]["named"].tolist()
    [True, False, True]
    """
    half = (1 - conf_level) / 2
    real = real.assign(p_value=holm(real["p_value"].to_numpy(float)))
    real["real"] = real["p_value"] <= half
    key = ["level", "skill", "among"]
    opened = units[key].merge(real[[*key, "real"]], on=key, how="left")["real"].to_numpy(bool)
    found = np.zeros(len(units), dtype=bool)
    if opened.any():
        found[opened] = holm(units["p_below"].to_numpy(float)[opened]) <= half
    return real, units.assign(named=found)


def _columns(frame: Any) -> set[str]:
    from collectlab.core.engine import scan

    return set(scan(frame).collect_schema().names())


def _says(
    real: pd.DataFrame, listed: pd.DataFrame, attributed: dict[str, float], horizon: int, conf_level: float
) -> list[str]:
    shown = real[real["real"]]
    words = [
        f"{r.skill.replace('_', ' ')} of {r.among} {plural(r.level)} ({format_value(r.estimate, 'share')} of the variation)"
        for r in shown.itertuples()
    ]
    alpha = f"{100 * (1 - conf_level):.0f} %"
    says = [
        f"Real, beyond chance: {first_few(words, 8)}."
        if words
        else f"In none of {len(real)} comparisons are the differences more than chance would make."
    ]
    if words and listed.empty:
        says.append("Whose they are cannot be told: nobody is named.")
    says.append(
        f"Where nothing is real, anybody at all would be named in at most {alpha} of the reports. Not causal unless "
        "cases were given by lot."
    )
    if "agent" in attributed and np.isfinite(attributed["agent"]):
        says.append(
            f"A case is its first agent's; of the actions on it in the {horizon} days that follow, "
            f"{format_value(attributed['agent'], 'share')} were made by that agent, so real differences show smaller "
            "than they are."
        )
    return says
