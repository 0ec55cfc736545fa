"""Contact rules as data: one file a jurisdiction, each rule with its citation and how sure that is."""

from __future__ import annotations

import datetime as dt
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import pandas as pd
from pydantic import BeforeValidator, Field, model_validator

from collectlab.book.schema import CHANNELS
from collectlab.core.errors import ParamsError, first_few
from collectlab.core.params import Bilingual, Dated, Language
from collectlab.core.results import Result
from collectlab.core.written import Strict, as_date, load_yaml, validate

Kind = Literal["count", "after", "hours", "party", "hold", "fact"]
Force = Literal["law", "standard", "guideline", "guidance", "presumption", "house"]
Certainty = Literal["read_in_source", "reported", "unconfirmed"]
Counted = Literal["attempt", "connected", "unanswered", "contact", "visit"]
DAYS = ("weekday", "saturday", "sunday", "holiday")

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
_DEFAULT_COUNTS = {"hours": "attempt", "hold": "attempt", "party": "contact"}

_SURE = {
    "read_in_source": ("read in the source", "已核对原文"),
    "reported": ("reported, not read in the source", "据报道，未核对原文"),
    "unconfirmed": ("unconfirmed", "未经证实"),
}
_FORCE = {
    "law": ("law", "法律法规"),
    "standard": ("standard", "国家标准"),
    "guideline": ("guideline", "行业指引"),
    "guidance": ("guidance", "监管指引"),
    "presumption": ("presumption in law", "法律推定"),
    "house": ("house limit", "内部限额"),
}


def _channel(name: Any) -> Any:
    if name not in CHANNELS:
        raise ValueError(f"unknown channel {name!r}. Allowed: {', '.join(CHANNELS)}.")
    return name


def _minutes(written: Any) -> int:
    match = re.fullmatch(r"(\d\d):(\d\d)", written) if isinstance(written, str) else None
    if match is None or not int(match[1]) * 60 + int(match[2]) <= 1440 or int(match[2]) > 59:
        raise ValueError(
            f'found {written!r}. Allowed: a time from "00:00" to "24:00", such as "08:00", in quotes.'
        )
    return int(match[1]) * 60 + int(match[2])


def _span(written: Any) -> tuple[int, int] | None:
    if written is None or written == "none":
        return None
    if not isinstance(written, (list, tuple)) or len(written) != 2:
        raise ValueError(f'found {written!r}. Allowed: [begin, end], such as ["08:00", "21:00"], or none.')
    begin, end = (_minutes(time) for time in written)
    if end <= begin:
        raise ValueError(f"ends ({written[1]}) before it begins ({written[0]}). Allowed: begin before end.")
    return begin, end


Channel = Annotated[str, BeforeValidator(_channel)]
#: Minutes of the day from which, and until which, contact is allowed; None: all day not.
Span = Annotated[tuple[int, int] | None, BeforeValidator(_span)]


class Window(Strict):
    """The stretch of time in which actions are counted: rolling hours, rolling dates, or a calendar period."""

    hours: int | None = Field(None, description="a whole number of hours, at least 1")
    days: int | None = Field(None, description="a whole number of days, at least 1")
    calendar: Literal["day", "week", "month"] | None = Field(None, description="day, week or month")

    @model_validator(mode="after")
    def _one(self) -> Window:
        said = {k: v for k, v in self if v is not None}
        allowed = "Allowed: one of {hours: N}, {days: N}, {calendar: day, week or month}."
        if len(said) != 1:
            told = " and ".join(f"{k}: {v}" for k, v in said.items())
            raise ValueError(
                f"contradictory windows ({told}). {allowed}" if said else f"no window. {allowed}"
            )
        for unit in ("hours", "days"):
            if said.get(unit, 1) < 1:
                raise ValueError(f"{unit} is {said[unit]}. Allowed: a whole number of {unit}, at least 1.")
        return self

    def text(self, language: Language = "en") -> str:
        """The window in words."""
        if self.calendar:
            zh = {"day": "每日", "week": "每自然周", "month": "每自然月"}
            return zh[self.calendar] if language == "zh" else f"each calendar {self.calendar}"
        if language == "zh":
            return f"任意 {self.hours} 小时内" if self.hours else f"连续 {self.days} 日内"
        if self.hours:
            return f"any {self.hours} hours"
        return f"any {self.days} consecutive days" if self.days != 1 else "each day"


class Hours(Strict):
    """When contact is allowed, in local time: begin included, end excluded."""

    weekday: Span = Field(description='["08:00", "21:00"], or none')
    saturday: Span = Field(None, description='["08:00", "21:00"], or none')
    sunday: Span = Field(None, description='["08:00", "21:00"], or none')
    holiday: Span = Field(None, description='["08:00", "21:00"], or none')

    def of(self, day: str) -> tuple[int, int] | None:
        """The span of a type of day; one not written is like a weekday."""
        return getattr(self, day if day in self.model_fields_set else "weekday")


class AllowedAfter(Strict):
    """What must have happened before a third party may be contacted."""

    wrong_number: bool = Field(False, description="true or false")
    unanswered: int | None = Field(None, ge=1, description="a whole number of attempts, at least 1")


class Effective(Strict):
    """First and last day on which a rule holds, both included; no last day: still in force."""

    since: dt.date = Field(alias="from", description="YYYY-MM-DD")
    until: dt.date | None = Field(None, alias="to", description="YYYY-MM-DD, or nothing")

    @model_validator(mode="after")
    def _in_order(self) -> Effective:
        if self.until is not None and self.until < self.since:
            raise ValueError(
                f"ends ({self.until}) before it begins ({self.since}). Allowed: from on or before to."
            )
        return self


class Rule(Strict):
    """One rule of contact, as ``params/contact_rules/<jurisdiction>.yml`` writes it down."""

    key: str = Field(min_length=1, description="a short name, such as us_attempts_7_in_7")
    title: Bilingual = Field(description="{en: …, zh: …}")
    says: Bilingual = Field(description="{en: …, zh: …}, one plain sentence")
    kind: Kind = Field(description="count, after, hours, party, hold or fact")
    force: Force = Field(description="law, standard, guideline, guidance, presumption or house")
    counts: Counted | None = Field(None, description="attempt, connected, unanswered, contact or visit")
    channels: tuple[Channel, ...] | None = Field(None, description="a list of channels")
    per: Literal["account", "customer", "number"] = Field(
        "account", description="account, customer or number"
    )
    window: Window | None = Field(None, description="{hours: N}, {days: N} or {calendar: …}")
    limit: int | None = Field(None, ge=0, description="a whole number, at least 0")
    event: Literal["connected"] | None = Field(None, description="connected")
    allowed: Hours | None = Field(None, description="{weekday: [begin, end], saturday: …, sunday: …}")
    allowed_after: AllowedAfter | None = Field(None, description="{wrong_number: true, unanswered: N}")
    unless: tuple[Literal["consent", "agreed"], ...] = Field((), description="a list of consent, agreed")
    effective: Effective = Field(description="{from: YYYY-MM-DD, to: …}")
    citation: str = Field(min_length=1, description="where the rule is written")
    certainty: Certainty = Field(description="read_in_source, reported or unconfirmed")

    @property
    def counted(self) -> str:
        """What the rule counts."""
        return self.counts or _DEFAULT_COUNTS.get(self.kind, "attempt")

    def holds_on(self, date: dt.date) -> bool:
        """Whether the rule is in force on a date."""
        held = self.effective
        return held.since <= date and (held.until is None or date <= held.until)

    def cited(self, language: Language = "en") -> str:
        """The citation, with a word where it was not read in the source."""
        if self.certainty == "read_in_source":
            return self.citation
        return f"{self.citation} ({_SURE[self.certainty][language == 'zh']})"


@dataclass(frozen=True)
class ContactRules:
    """The contact rules of one jurisdiction.

    Attributes
    ----------
    jurisdiction : str
        As the file is called: ``us``.
    name : Bilingual
    clock : str
        Whose local time the hours are judged by: ``debtor`` or ``bank``.
    holidays : mapping of date to Bilingual
        Public holidays by date, for the rules that need them.
    rules : tuple of Rule
    """

    jurisdiction: str
    name: Bilingual
    clock: str
    holidays: Mapping[dt.date, Bilingual]
    rules: tuple[Rule, ...]

    def on(self, date: str | dt.date) -> ContactRules:
        """Only the rules in force on ``date``."""
        day = as_date(date)
        held = tuple(r for r in self.rules if r.holds_on(day))
        return ContactRules(self.jurisdiction, self.name, self.clock, self.holidays, held)

    def table(self, language: Language = "en") -> Result:
        """Each rule as people read it: what it says, its force, dates, citation and how sure that is.

        Parameters
        ----------
        language : {"en", "zh"}

        Returns
        -------
        Result
            ``rule, says, force, from, until, citation, certainty``.

        Examples
        --------
        >>> rules = load_rules("us", folder="params/contact_rules")
        >>> list(rules.table().table["rule"])[0] == rules.rules[0].title.en
        True
        """
        zh = language == "zh"
        rows = [
            {
                "rule": r.title.text(language),
                "says": r.says.text(language),
                "force": _FORCE[r.force][zh],
                "from": r.effective.since,
                "until": r.effective.until,
                "citation": r.citation,
                "certainty": _SURE[r.certainty][zh],
            }
            for r in self.rules
        ]
        unsure = sum(r.certainty != "read_in_source" for r in self.rules)
        note = (
            f"{len(self.rules)} 条规则中有 {unsure} 条未核对原文。"
            if zh
            else f"{unsure} of {len(self.rules)} rules were not read in the source; they are marked so."
        )
        return Result(
            table=pd.DataFrame(
                rows, columns=["rule", "says", "force", "from", "until", "citation", "certainty"]
            ),
            estimand="",
            title=f"催收联络规则：{self.name.zh}" if zh else f"Contact rules: {self.name.en}",
            notes=(note,) if unsure else (),
        )


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
    if faults or file is None:
        raise ParamsError(faults)
    kept = tuple(r for r in rules if r is not None)
    return ContactRules(file.jurisdiction, file.name, file.clock, dict(sorted(file.holidays.items())), kept)


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
