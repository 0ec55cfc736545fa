"""What a league comes to in words, and the checks made on it."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from collectlab.core.errors import first_few
from collectlab.core.tables import format_value
from collectlab.effects._panel_inputs import words_of
from collectlab.effects.effect_result import Check
from collectlab.effects.league_plot import ABOVE, ALIKE, BELOW
from collectlab.measures.groups import natural

#: A kind of case can be compared where other units have so many (how few they are, the errors count). Others are
#: left out; a unit of whose cases less than half is left is left out itself; below 90 % the check fails.
OTHERS, HALF, COMPARABLE = 3, 0.5, 0.9


def sentence(row: dict, rows: pd.DataFrame, by: str, unit: str, conf_level: float) -> str:
    """What the table of one group comes to."""
    kind = "" if row["among"] in ("all", by) else f"{row['among']} "
    told = []
    for standing in (ABOVE, BELOW):
        if names := rows.loc[rows["standing"] == standing, "unit"].tolist():
            told.append(
                f"{first_few(sorted(names, key=natural), 10)} {'is' if len(names) == 1 else 'are'} {standing}"
            )
    who = f"Of {row['units']} {kind}{plural(by)}"
    if told:
        rest = int((rows["standing"] == ALIKE).sum())
        text = f"{who}, {' and '.join(told)} the average" + (
            f"; {rest} cannot be told from it." if rest else "."
        )
    else:
        text = f"{who} none can be told from the average."
    if row["units"] == 2:
        return text
    sd, low, high = (format_value(row[k], unit).removeprefix("+") for k in ("sd", "sd_low", "sd_high"))
    if row["sd"] == 0:
        return f"{text} The best estimate of the spread between them is none at all (sd 0, up to {high})."
    return (
        f"{text} The sd between them is put at {sd} ({conf_level:.0%}".replace("%", " %")
        + f" interval {low} to {high})."
    )


def plural(by: str) -> str:
    """A column's name for several of its units.

    >>> plural("agency"), plural("branch"), plural("call_team")
    ('agencies', 'branches', 'call teams')
    """
    word = by.replace("_", " ")
    if word.endswith("y") and word[-2:-1] not in "aeiou":
        return f"{word[:-1]}ies"
    return f"{word}es" if word.endswith(("s", "x", "ch", "sh")) else f"{word}s"


def named(units: Sequence[tuple]) -> list[str]:
    """Units with cases that no other unit has the like of."""
    return [
        f"{u}: {1 - share:.0%} of its cases are of kinds that hardly anyone else has (most of them {kind})".replace(
            "%", " %"
        )
        + (", so it is left out." if share < HALF else ", and are left out.")
        for _, u, kind, share in units
    ]


def assigned(cases: pd.DataFrame, by: str) -> Check:
    known = [v for v in cases["lot"] if v is not None and not pd.isna(v)]
    share = sum(map(bool, known)) / len(cases)
    if not known:
        says = f"The data do not say how cases were given to each {words_of(by)}, so what the table does not hold alike may differ."
        return Check(name="assigned", passed=None, says=says, limit=1.0)
    says = f"{share:.0%} of {len(cases):,} cases were given to their {words_of(by)} by lot.".replace(
        "%", " %"
    )
    return Check(name="assigned", passed=share == 1, says=says, value=share, limit=1.0)


def overlap(narrow: list, lost: list[str], table: pd.DataFrame, by: str) -> Check:
    worst = min((share for *_, share in narrow), default=1.0)
    if lost:
        says = (
            f"In {first_few(lost)} some kinds of case are worked by units that have nothing else in common."
        )
        return Check(name="overlap", passed=False, says=says, value=worst, limit=COMPARABLE)
    if worst < COMPARABLE:
        says = " ".join(named([unit for unit in narrow if unit[-1] < COMPARABLE]))
        return Check(name="overlap", passed=False, says=says, value=worst, limit=COMPARABLE)
    says = f"At least {COMPARABLE:.0%} of the cases of each have counterparts in the others.".replace("%", " %")  # fmt: skip
    return Check(name="overlap", passed=True, says=says, value=worst, limit=COMPARABLE)


def enough(left_out: list, table: pd.DataFrame, by: str, least: int) -> Check:
    fewest = float(table["n"].min())
    if not left_out:
        says = f"Each {words_of(by)} has at least {int(fewest):,} cases."
        return Check(name="enough", passed=True, says=says, value=fewest, limit=least)
    names = first_few([f"{u} ({n:,.0f})" for _, u, n in left_out])
    says = f"Left out with fewer than {least} cases that count: {names}."
    value = float(min(n for *_, n in left_out))
    return Check(name="enough", passed=False, says=says, value=value, limit=least)
