"""Contact rules as data: each rule a record with its citation and how sure that is."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import pandas as pd
from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints, model_validator

from collectlab.book.schema import CHANNELS
from collectlab.core.params import Bilingual, Language
from collectlab.core.results import Result
from collectlab.core.written import Strict, as_date

Kind = Literal["count", "after", "hours", "party", "hold", "fact"]
Force = Literal["law", "standard", "guideline", "guidance", "presumption", "house"]
Certainty = Literal["read_in_source", "reported", "unconfirmed"]
Counted = Literal["attempt", "connected", "unanswered", "contact", "visit"]
DAYS = ("weekday", "saturday", "sunday", "holiday")

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


def _once(names: tuple[str, ...] | None) -> tuple[str, ...] | None:
    if twice := sorted({n for n in names or () if (names or ()).count(n) > 1}):
        raise ValueError(f"{', '.join(twice)} stands twice. Allowed: each channel once.")
    return names


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

    hours: int | None = Field(
        None, ge=1, le=8784, strict=True, description="a whole number of hours, 1 to 8784 (a year)"
    )
    days: int | None = Field(None, ge=1, le=366, strict=True, description="a whole number of days, 1 to 366")
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

    wrong_number: bool = Field(False, strict=True, description="true or false")
    unanswered: int | None = Field(
        None, ge=1, le=1000, strict=True, description="a whole number of attempts, 1 to 1,000"
    )


def _date(written: Any) -> dt.date:
    if isinstance(written, dt.date) and not isinstance(written, dt.datetime):
        return written
    raise ValueError(f"found {str(written)!r}. Allowed: a date that exists, YYYY-MM-DD, without a time.")


Date = Annotated[dt.date, BeforeValidator(_date)]


class Effective(Strict):
    """First and last day on which a rule holds, both included; no last day: still in force."""

    since: Date = Field(alias="from", description="YYYY-MM-DD")
    until: Date | None = Field(None, alias="to", description="YYYY-MM-DD, or nothing")

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
    channels: Annotated[tuple[Channel, ...] | None, AfterValidator(_once)] = Field(
        None, description="a list of channels"
    )
    per: Literal["account", "customer", "number"] = Field(
        "account", description="account, customer or number"
    )
    window: Window | None = Field(None, description="{hours: N}, {days: N} or {calendar: …}")
    limit: int | None = Field(None, ge=0, le=10_000, strict=True, description="a whole number, 0 to 10,000")
    event: Literal["connected"] | None = Field(None, description="connected")
    allowed: Hours | None = Field(None, description="{weekday: [begin, end], saturday: …, sunday: …}")
    allowed_after: AllowedAfter | None = Field(None, description="{wrong_number: true, unanswered: N}")
    unless: tuple[Literal["consent", "agreed"], ...] = Field((), description="a list of consent, agreed")
    effective: Effective = Field(description="{from: YYYY-MM-DD, to: …}")
    citation: Annotated[str, StringConstraints(strip_whitespace=True)] = Field(
        min_length=1, description="where the rule is written"
    )
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
        >>> from collectlab.measures.conduct import load_rules
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
        many = (
            f"{unsure}/{len(self.rules)} 未核对原文"
            if zh
            else f"{unsure} of {len(self.rules)} not read in the source"
        )
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
            title=(f"催收联络规则：{self.name.zh}" if zh else f"Contact rules: {self.name.en}")
            + (f" ({many})" if unsure else ""),
            notes=(note,) if unsure else (),
        )


def overlapping(a: Rule, b: Rule) -> bool:
    """Whether two rules ask the same thing of the same actions on some day, so that one action breaks both.

    The same thing: the same kind and window (or hours), of what is counted alike per the same, through a channel
    in common; the limits may differ.
    """
    if a.kind == "fact" or a.kind != b.kind:
        return False
    if (a.counted, a.per, a.window) != (b.counted, b.per, b.window):
        return False
    if a.channels is not None and b.channels is not None and not set(a.channels) & set(b.channels):
        return False
    ends = [r.effective.until or dt.date.max for r in (a, b)]
    return max(a.effective.since, b.effective.since) <= min(ends)
