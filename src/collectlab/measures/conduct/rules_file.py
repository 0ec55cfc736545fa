"""Files of contact rules read and checked, one file a jurisdiction: every fault told at once."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from itertools import combinations
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from collectlab.core.errors import ParamsError, first_few
from collectlab.core.params import Bilingual, Dated
from collectlab.core.written import Strict, load_yaml, validate
from collectlab.measures.conduct.rules import ContactRules, Rule, overlapping

#: What a rule of each kind must say, and what it may say beyond what every rule says.
_NEEDS = {
    "count": ("counts", "channels", "per", "window", "limit"),
    "after": ("counts", "channels", "per", "window", "event"),
    "hours": ("channels", "allowed"),
    "party": (),
    "hold": ("channels",),
    "fact": (),
}
_MAY = {
    "hours": ("counts",),
    "party": ("counts", "channels", "allowed_after", "per"),
    "hold": ("counts",),
}
_ALWAYS = {"key", "title", "says", "kind", "force", "effective", "citation", "certainty", "unless"}


class _File(Strict):
    jurisdiction: str = Field(min_length=1, description="the name of the file")
    name: Bilingual = Field(description="{en: …, zh: …}")
    clock: Literal["debtor", "bank"] = Field("debtor", description="debtor or bank")
    holidays: Dated[Bilingual] = Field(default_factory=dict, description="{date: {en: …, zh: …}}")


def load_rules(
    rules: str | Path, on: str | dt.date | None = None, *, folder: str | Path = "params/contact_rules"
) -> ContactRules:
    """Read and check the contact rules of one jurisdiction.

    Parameters
    ----------
    rules : str or path
        A jurisdiction, such as ``"us"``, whose file lies in ``folder``; or the path of a file.
    on : date, optional
        Only the rules in force on that day. None: all, each with its own dates.
    folder : path
        Where the files of the jurisdictions lie.

    Returns
    -------
    ContactRules

    Raises
    ------
    ParamsError
        A jurisdiction not shipped (with those that are), or all faults of the file at once: a missing
        citation, contradictory windows, unknown words, hours or dates that end before they begin.

    Examples
    --------
    >>> rules = load_rules("us", folder="params/contact_rules")
    >>> rules.jurisdiction, len(rules.rules) > 0
    ('us', True)
    """
    if not isinstance(rules, (str, Path)):
        raise ParamsError(
            f"rules: found {rules!r}. Allowed: a jurisdiction such as 'us', or the path of a file."
        )
    path = Path(rules)
    if path.suffix not in (".yml", ".yaml"):
        shipped = sorted(p.stem for p in Path(folder).glob("*.yml"))
        if str(rules) not in shipped:
            there = f"Shipped in {folder}: {', '.join(shipped)}." if shipped else f"{folder} holds no rules."
            raise ParamsError(
                f"no contact rules for {str(rules)!r}. {there} Or give the path of a file of your own."
            )
        path = Path(folder) / f"{rules}.yml"
    found = _checked(load_yaml(path), path)
    return found if on is None else found.on(on)


def _checked(written: dict[str, Any], path: Path) -> ContactRules:
    faults: list[str] = []
    rest = {k: v for k, v in written.items() if k != "rules"}
    file = validate(_File, rest, path.name, faults)
    given = written.get("rules")
    if not isinstance(given, list) or not given:
        faults.append(
            f"{path.name}: rules: {'missing' if given is None else 'no list'}. Needed: a list of rules."
        )
        given = []
    rules = []
    for i, one in enumerate(given):
        key = one.get("key") if isinstance(one, dict) else None
        where = f"{path.name}: {key if isinstance(key, str) and key else f'rules.{i}'}"
        rules.append(validate(Rule, one, where, faults))
        faults += _by_kind(one, where) if isinstance(one, dict) else []
    keys = Counter(one["key"] for one in given if isinstance(one, dict) and isinstance(one.get("key"), str))
    faults += [f"{path.name}: rule {k!r} stands {n} times. Allowed: once." for k, n in keys.items() if n > 1]
    if file is not None and file.jurisdiction != path.stem:
        faults.append(
            f"{path.name}: jurisdiction is {file.jurisdiction!r}. Allowed: the name of the file, {path.stem!r}."
        )
    if file is not None and not file.holidays:
        needy = [
            r.key for r in rules if r is not None and r.allowed and "holiday" in r.allowed.model_fields_set
        ]
        if needy:
            faults.append(
                f"{path.name}: {first_few(needy)} speaks of holidays, but the file lists none. "
                "Needed: holidays: {date: {en: …, zh: …}}."
            )
    kept = tuple(r for r in rules if r is not None)
    faults += _two_versions(kept, path.name)
    if faults or file is None:
        raise ParamsError(faults)
    return ContactRules(file.jurisdiction, file.name, file.clock, dict(sorted(file.holidays.items())), kept)


def _two_versions(rules: tuple[Rule, ...], file: str) -> list[str]:
    """Rules of one force that ask the same thing on the same days: which of them holds?"""
    return [
        f"{file}: {a.key} and {b.key} are two versions of one rule, both in force from "
        f"{max(a.effective.since, b.effective.since)}. Allowed: one at a time (end the earlier with to: …), or "
        "windows, channels or what is counted that differ."
        for a, b in combinations(rules, 2)
        if a.force == b.force and a.key != b.key and overlapping(a, b)
    ]


def _by_kind(written: dict[str, Any], where: str) -> list[str]:
    """What a rule of its kind lacks, and what it says that no rule of its kind can mean."""
    kind = written.get("kind")
    if kind not in _NEEDS:
        return []
    needs = set(_NEEDS[kind])
    faults = [
        f"{where}: {field}: missing. Needed in a rule of kind {kind}: {Rule.model_fields[field].description}."
        for field in _NEEDS[kind]
        if written.get(field) in (None, [])
    ]
    odd = sorted((set(written) & set(Rule.model_fields)) - needs - set(_MAY.get(kind, ())) - _ALWAYS)
    if odd:
        allowed = ", ".join(sorted(needs | set(_MAY.get(kind, ())))) or "nothing but the words for people"
        faults.append(
            f"{where}: {first_few(odd)} means nothing in a rule of kind {kind}. Allowed there: {allowed}."
        )
    return faults
