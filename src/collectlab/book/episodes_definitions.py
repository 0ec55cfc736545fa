"""What "cured" means: named definitions, built in here and documented in ``params/definitions.yml``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from collectlab.core.errors import ParamsError, first_few, nearest


@dataclass(frozen=True, kw_only=True)
class Definition:
    """One definition of a spell of delinquency and of its cure.

    Attributes
    ----------
    name : str
    label : mapping
        ``{"en": …, "zh": …}``.
    meaning : mapping
        One sentence, ``{"en": …, "zh": …}``.
    probation_months : int
        Whole calendar months an account must be seen current, counted from the first snapshot seen
        current, before the spell counts as cured (0: cured when first seen current).
    probation_months_forborne : int or None
        The same for an account that was forborne on the last snapshot seen delinquent or on the first
        seen current (None: no other rule for them).
    entry_dpd : int
        Days past due from which a snapshot counts as delinquent.
    source : str
        Where the definition comes from.
    """

    name: str
    label: Mapping[str, str]
    meaning: Mapping[str, str]
    probation_months: int = 0
    probation_months_forborne: int | None = None
    entry_dpd: int = 1
    source: str = ""


DEFINITIONS: dict[str, Definition] = {
    d.name: d
    for d in (
        Definition(
            name="current_once",
            label={"en": "Current once", "zh": "一次还清逾期"},
            meaning={
                "en": "Cured at the first snapshot seen with nothing past due, or when the account is closed.",
                "zh": "首次观察到无逾期金额，或账户结清关闭，即视为恢复正常。",
            },
            source="House rule: the loosest definition in use; a relapse starts a new spell.",
        ),
        Definition(
            name="current_one_cycle",
            label={"en": "Current for one cycle", "zh": "连续一个账期正常"},
            meaning={
                "en": "Cured when still current one calendar month after it was first seen current.",
                "zh": "首次恢复正常后满一个自然月仍无逾期，视为恢复正常。",
            },
            probation_months=1,
            source="House rule: one billing cycle without relapse.",
        ),
        Definition(
            name="eba_three_months",
            label={"en": "Three months of probation (EBA)", "zh": "三个月观察期（EBA）"},
            meaning={
                "en": "Cured when three months have passed without relapse since it was first seen current.",
                "zh": "首次恢复正常后满三个月无再次逾期，视为恢复正常。",
            },
            probation_months=3,
            source=(
                "EBA/GL/2016/07 §71(a): at least three months since the conditions of default ceased to be met. "
                "Applied here to the spell of delinquency from its first day."
            ),
        ),
        Definition(
            name="restructured_one_year",
            label={"en": "One year after restructuring (EBA)", "zh": "重组后一年观察期（EBA）"},
            meaning={
                "en": "As three months of probation, but one year for an account under forbearance.",
                "zh": "同三个月观察期；但处于展期、重组等宽限安排的账户须满一年。",
            },
            probation_months=3,
            probation_months_forborne=12,
            source="EBA/GL/2016/07 §72: at least one year after a distressed restructuring.",
        ),
    )
}


def definition_named(name: str, definitions: Mapping[str, Definition] | None = None) -> Definition:
    """The definition called ``name``, or a :class:`ParamsError` with the nearest names."""
    known = DEFINITIONS if definitions is None else definitions
    if name in known:
        return known[name]
    near = nearest(str(name), known)
    hint = f" Did you mean {' or '.join(near)}?" if near else ""
    raise ParamsError(f"no cure definition {name!r}.{hint} Allowed: {', '.join(known)}.")


def load_definitions(path: str | Path) -> dict[str, Definition]:
    """The built-in definitions, overridden and extended by a YAML file.

    Parameters
    ----------
    path : path of a YAML mapping from name to the fields of :class:`Definition`.

    Returns
    -------
    dict
        Name → :class:`Definition`, the built-in ones first.

    Raises
    ------
    ParamsError
        With every fault of the file at once: unknown or missing key, wrong type, value out of range.
    """
    from collectlab.core.written import load_yaml

    path = Path(path)
    raw = load_yaml(path)
    faults: list[str] = []
    found = {}
    for name, entry in raw.items():
        wrong = _faults(entry)
        faults += [f"{path.name}: {name}: {fault}" for fault in wrong]
        if not wrong:
            found[str(name)] = Definition(name=str(name), **entry)
    if faults:
        raise ParamsError(faults)
    return {**DEFINITIONS, **found}


def _faults(entry: Any) -> list[str]:
    allowed = [f.name for f in fields(Definition) if f.name != "name"]
    if not isinstance(entry, dict):
        return [f"expected a mapping. Allowed keys: {', '.join(allowed)}."]
    faults = []
    for key in entry:
        if key not in allowed:
            near = nearest(str(key), allowed)
            hint = f" Did you mean {near[0]}?" if near else ""
            faults.append(f"unknown key {key!r}.{hint} Allowed: {', '.join(allowed)}.")
    for key in ("label", "meaning"):
        text = entry.get(key)
        if not isinstance(text, dict) or not text or not all(isinstance(v, str) and v for v in text.values()):
            faults.append(f"{key} must give a text for each language, such as {{en: …, zh: …}}.")
        elif missing := [lang for lang in ("en", "zh") if lang not in text]:
            faults.append(f"{key} lacks the language {first_few(missing)}.")
    if not isinstance(entry.get("source"), str) or not entry["source"].strip():
        faults.append("source is missing: say where the definition comes from.")
    ranges = {"probation_months": (0, 60), "probation_months_forborne": (0, 60), "entry_dpd": (1, 365)}
    for key, (low, high) in ranges.items():
        value = entry.get(key, low)
        if key == "probation_months_forborne" and value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            faults.append(f"{key} is {value!r}. Allowed: a whole number from {low} to {high}.")
    return faults
