"""Counts in sentences: "4 of 169 episodes" becomes "fewer than 5 of 169 episodes".

Only counts of people and what is theirs (accounts, episodes, plans, promises …) are coarsened. Thresholds
("at least 3 accounts"), counts of rows, days, groups or comparisons, and what is 0 or enough stay as they are.
"""

from __future__ import annotations

import re

_NOUN = (
    r"(?P<noun>accounts?|customers?|debtors?|borrowers?|people|persons?|episodes?|cases?|plans?|loans?|promises?"
    r"|complaints?|arrangements?|deferrals?|placements?|surveys?|violations?|payers?|treated|untreated)\b"
)
#: Words that may stand between the number and the noun are any but these.
_BETWEEN = (
    r"(?:(?!(?:of|in|to|or|and|per|by|days?|weeks?|months?|years?|hours?|times|largest|rare|more|most|kinds?|levels?"
    r"|teams?|agents?|agenc(?:y|ies)|branch(?:es)?|products?|groups?|arms?|successes|problem)\b)[a-z-]+ ){0,2}?"
)
#: Before a number, these say that it is a limit, a name or a part of a rule.
_LIMIT = re.compile(
    r"(?:\b(?:at least|at most|fewer than|less than|more than|under|over|than|up to|every|first|last|minimum|needs?|"
    r"team|agency|branch|stage|day|month|week|case|region|level|chapter|quarter|and|or|one|per|≥|≤|<|>)|[–−-])\s*$",
    re.IGNORECASE,
)
_START = r"(?<![\w.,%])"
_NUMBER = r"[1-9][\d,]*"
_OF = re.compile(
    rf"{_START}(?P<some>{_NUMBER}) of (?:the |all )?(?P<all>{_NUMBER}) {_BETWEEN}{_NOUN}(?P<share> \([\d.]+ %\))?"
)
_SHARE = re.compile(
    rf"{_START}(?P<share>\d+(?:\.\d+)?) % of (?:the |all )?(?P<all>{_NUMBER}) {_BETWEEN}{_NOUN}"
)
_LONE = re.compile(
    rf"{_START}(?P<every>all )?(?P<some>{_NUMBER}) (?P<between>{_BETWEEN}){_NOUN}(?P<verb> (?:was|is|has)\b)?"
)
_MANY = {" was": " were", " is": " are", " has": " have"}


def coarse(text: str, minimum: int) -> str:
    """The text without counts of people from 1 to ``minimum`` − 1, nor what they could be worked out from.

    >>> coarse("4 of 169 episodes have no follow-up; 1 plan was kept.", 5)
    'Fewer than 5 of 169 episodes have no follow-up; fewer than 5 plans were kept.'
    >>> coarse("66 of 68 accounts (97.1 %) are left out. At least 3 accounts are needed.", 5)
    'All but fewer than 5 of 68 accounts are left out. At least 3 accounts are needed.'
    """
    if not any(c.isdigit() for c in text):
        return text
    few = f"fewer than {minimum}"

    def limit(found: re.Match[str]) -> bool:
        return bool(_LIMIT.search(found.string[: found.start()]))

    def some_of(found: re.Match[str]) -> str:
        some, whole = _number(found["some"]), _number(found["all"])
        if limit(found):
            return found[0]
        end = found[0][found.end("all") - found.start() :].removesuffix(found["share"] or "")
        if 0 < whole < minimum:
            return few + _plural(end, found["noun"])
        if 0 < some < minimum:
            return f"{few} of {found['all']}{end}"
        if 0 < whole - some < minimum:
            return f"all but {few} of {found['all']}{end}"
        return found[0]

    def share_of(found: re.Match[str]) -> str:
        whole = _number(found["all"])
        some = round(float(found["share"]) / 100 * whole)
        if 0 < min(some, whole - some) < minimum or 0 < whole < minimum:
            which = "few" if 2 * some <= whole else "most"
            return which + found[0][found.end("share") + 2 - found.start() :]
        return found[0]

    def alone(found: re.Match[str]) -> str:
        if not 0 < _number(found["some"]) < minimum or limit(found):
            return found[0]
        verb = _MANY.get(found["verb"] or "", "")
        every = "all, " if found["every"] else ""
        comma = "," if found["every"] else ""
        return f"{every}{few}{comma} {found['between']}{_plural(found['noun'], found['noun'])}{verb}"

    out = _SHARE.sub(share_of, _OF.sub(some_of, text))
    out = _LONE.sub(alone, out)
    return _capitals(text, out)


def _number(text: str) -> int:
    return int(text.replace(",", ""))


def _plural(text: str, noun: str) -> str:
    lone = noun.endswith(("s", "people", "treated"))
    return text if lone else text + "s"


def _capitals(before: str, after: str) -> str:
    """A sentence that began with a number begins with a capital now."""
    if before == after:
        return before
    return re.sub(
        r"(^|[.!?] )(fewer than|all but|all, fewer|few of|most of)", lambda m: m[1] + m[2].capitalize(), after
    )


__all__ = ["coarse"]
