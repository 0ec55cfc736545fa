"""The data contract: what a book's tables hold, declared once.

The declarations say what is allowed; :mod:`collectlab.book.checks` turns them into one SQL pass a table.
Columns that are not named here are kept and usable as covariates.

>>> TABLES["snapshots"].keys
('account_id', 'as_of')
>>> [column.name for column in TABLES["payments"].columns if column.required]
['account_id', 'paid_on', 'amount']
"""

from __future__ import annotations

import datetime as dt
from types import MappingProxyType
from typing import Literal

import pandas as pd
from pydantic import BaseModel, ConfigDict, model_validator

STATUSES = ("open", "charged_off", "settled", "sold", "closed")
CHANNELS = (
    "sms",
    "email",
    "app",
    "chat",
    "robot_call",
    "call",
    "letter",
    "visit",
    "legal",
    "agency",
    "other",
)
OUTCOMES = ("no_answer", "contact", "promise", "refusal", "dispute", "hardship", "wrong_number")
PARTIES = ("debtor", "third_party")
ARRANGEMENTS = ("payment_plan", "deferral", "rate_cut", "restructuring", "settlement")
ARRANGEMENT_STATUSES = ("active", "kept", "broken")

#: A date outside these is a typing mistake or a stand-in for "none", not a day in a loan's life.
EARLIEST, LATEST = dt.date(1900, 1, 1), dt.date(2199, 12, 31)

Kind = Literal["id", "text", "date", "timestamp", "int", "float", "bool"]

#: How each kind is described to a person who has to mend a column.
KIND_WORDS: MappingProxyType[str, str] = MappingProxyType(
    {
        "id": "text or whole numbers",
        "text": "text",
        "date": "dates such as 2026-01-31",
        "timestamp": "local date and time without zone, such as 2026-01-31 14:30:00",
        "int": "whole numbers",
        "float": "numbers",
        "bool": "true or false",
    }
)


class _Declared(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Column(_Declared):
    """One column of the contract.

    ``allowed`` lists the only values (compared in lower case, without outer blanks); ``ge`` and ``le``
    bound numbers; ``may_be_later`` is for dates that may rightly lie after the book's last date.
    """

    name: str
    kind: Kind
    required: bool = False
    allowed: tuple[str, ...] = ()
    ge: float | None = None
    le: float | None = None
    may_be_later: bool = False

    @property
    def words(self) -> str:
        """What is allowed, in words."""
        if self.allowed:
            return ", ".join(self.allowed)
        words = KIND_WORDS[self.kind]
        if self.kind == "int" and self.name.startswith("days"):
            words = "whole days"
        if self.ge is not None and self.le is not None:
            return f"{words} from {self.ge:g} to {self.le:g}"
        if self.ge is not None:
            return f"{words} ≥ {self.ge:g}"
        return words


class Rule(_Declared):
    """A rule across columns. ``broken`` is SQL that is true where a row breaks it.

    ``{column}`` stands for a column of the row, ``{accounts.column}`` for one of its account. A rule
    whose columns a book lacks does not apply.
    """

    reason: str
    broken: str
    allowed: str
    shows: str | None = None


class Table(_Declared):
    """One table of the contract.

    ``date`` is the column that says when a row became known. ``keys`` (where all those columns are there)
    name a row once; without keys, only exact copies are duplicates, and ``copies_kept`` says that even
    those may be real. ``later`` are facts filled in after the row's own date: ``(column, dated by)``.
    """

    name: str
    one_row_is: str
    columns: tuple[Column, ...]
    keys: tuple[str, ...] = ()
    required: bool = False
    date: str
    sort: tuple[str, ...]
    rules: tuple[Rule, ...] = ()
    copies_kept: bool = False
    later: tuple[tuple[str, str], ...] = ()

    @model_validator(mode="after")
    def _names_exist(self) -> Table:
        have = {column.name for column in self.columns}
        asked = {*self.keys, *self.sort, self.date, *(name for pair in self.later for name in pair)}
        if unknown := asked - have:
            raise ValueError(f"{self.name} declares no column {sorted(unknown)}")
        return self

    def column(self, name: str) -> Column | None:
        """The declared column of that name, or None."""
        return next((column for column in self.columns if column.name == name), None)


def _columns(*declared: Column | str, **kinds: Kind) -> tuple[Column, ...]:
    """Columns from declarations, with plain ones as ``name=kind``; ``account_id`` always leads."""
    account = Column(name="account_id", kind="id", required=True)
    plain = tuple(Column(name=name, kind=kind) for name, kind in kinds.items())
    return (account, *declared, *plain)  # type: ignore[arg-type]


_ACCOUNTS = Table(
    name="accounts",
    one_row_is="an account",
    required=True,
    keys=("account_id",),
    sort=("account_id",),
    date="originated_on",
    columns=_columns(
        Column(name="principal", kind="float", ge=0),
        Column(name="annual_rate", kind="float", ge=0),
        Column(name="term_months", kind="int", ge=0),
        Column(name="age", kind="float", ge=0, le=120),
        Column(name="monthly_income", kind="float", ge=0),
        customer_id="id",
        product="text",
        originated_on="date",
        branch="text",
        region="text",
        credit_score="float",
        gender="text",
        occupation="text",
    ),
)

_SNAPSHOTS = Table(
    name="snapshots",
    one_row_is="an account on a date",
    required=True,
    keys=("account_id", "as_of"),
    sort=("account_id", "as_of"),
    date="as_of",
    columns=_columns(
        Column(name="as_of", kind="date", required=True),
        Column(name="days_past_due", kind="int", required=True, ge=0),
        Column(name="balance", kind="float"),
        Column(name="amount_past_due", kind="float", ge=0),
        Column(name="status", kind="text", allowed=STATUSES),
        forborne="bool",
    ),
    rules=(
        Rule(
            reason="status charged_off with days_past_due = 0",
            broken="{status} = 'charged_off' AND {days_past_due} = 0",
            allowed="charged_off only when past due",
        ),
        Rule(
            reason="status closed with days_past_due > 0",
            broken="{status} = 'closed' AND {days_past_due} > 0",
            allowed="closed (paid off) only with days_past_due = 0",
            shows="days_past_due",
        ),
        Rule(
            reason="balance < 0 while past due",
            broken="{balance} < 0 AND {days_past_due} > 0",
            allowed="balance ≥ 0, or a credit balance with days_past_due = 0",
            shows="balance",
        ),
        Rule(
            reason="as_of before the account's originated_on",
            broken="{as_of} < {accounts.originated_on}",
            allowed="as_of on or after originated_on",
            shows="as_of",
        ),
    ),
)

_PAYMENTS = Table(
    name="payments",
    one_row_is="a payment",
    keys=("payment_id",),
    sort=("account_id", "paid_on", "amount"),
    date="paid_on",
    copies_kept=True,
    columns=_columns(
        Column(name="paid_on", kind="date", required=True),
        Column(name="amount", kind="float", required=True, ge=0),
        payment_id="id",
    ),
)

_ACTIONS = Table(
    name="actions",
    one_row_is="a collection action",
    keys=("action_id",),
    sort=("account_id", "at", "channel"),
    date="at",
    columns=_columns(
        Column(name="at", kind="timestamp", required=True),
        Column(name="channel", kind="text", required=True, allowed=CHANNELS),
        Column(name="party", kind="text", allowed=PARTIES),
        Column(name="outcome", kind="text", allowed=OUTCOMES),
        Column(name="promised_amount", kind="float", ge=0),
        Column(name="promised_on", kind="date", may_be_later=True),
        Column(name="cost", kind="float", ge=0),
        action_id="id",
        team="text",
        agent="text",
        agency="text",
        connected="bool",
        recorded="bool",
        consent="bool",
        agreed="bool",
        number="id",
    ),
    rules=(
        Rule(
            reason="promised_on before the action",
            broken="{promised_on} < CAST({at} AS DATE)",
            allowed="promised_on on or after the day of the action",
            shows="promised_on",
        ),
        Rule(
            reason="at before the account's originated_on",
            broken="CAST({at} AS DATE) < {accounts.originated_on}",
            allowed="at on or after originated_on",
            shows="at",
        ),
    ),
)

_ASSIGNMENTS = Table(
    name="assignments",
    one_row_is="an account put under a strategy",
    sort=("account_id", "assigned_on", "strategy"),
    date="assigned_on",
    columns=_columns(
        Column(name="strategy", kind="text", required=True),
        Column(name="assigned_on", kind="date", required=True),
        Column(name="propensity", kind="float", ge=0, le=1),
        randomised="bool",
        block="text",
    ),
)

_ARRANGEMENTS = Table(
    name="arrangements",
    one_row_is="a plan agreed",
    sort=("account_id", "started_on", "kind"),
    date="started_on",
    columns=_columns(
        Column(name="kind", kind="text", required=True, allowed=ARRANGEMENTS),
        Column(name="started_on", kind="date", required=True),
        Column(name="ended_on", kind="date", may_be_later=True),
        Column(name="status", kind="text", allowed=ARRANGEMENT_STATUSES),
        reason="text",
    ),
    rules=(
        Rule(
            reason="ended_on before started_on",
            broken="{ended_on} < {started_on}",
            allowed="ended_on on or after started_on",
            shows="ended_on",
        ),
    ),
    later=(("ended_on", "ended_on"), ("status", "ended_on")),
)

_COMPLAINTS = Table(
    name="complaints",
    one_row_is="a complaint",
    sort=("account_id", "at"),
    date="at",
    columns=_columns(Column(name="at", kind="timestamp", required=True), kind="text", upheld="bool"),
)

_SURVEYS = Table(
    name="surveys",
    one_row_is="an answer",
    sort=("account_id", "at"),
    date="at",
    columns=_columns(
        Column(name="at", kind="timestamp", required=True),
        Column(name="score", kind="float", ge=0, le=100),
    ),
)

_LEGAL_CASES = Table(
    name="legal_cases",
    one_row_is="a case",
    sort=("account_id", "filed_on"),
    date="filed_on",
    columns=_columns(
        Column(name="filed_on", kind="date", required=True),
        Column(name="decided_on", kind="date", may_be_later=True),
        Column(name="cost", kind="float", ge=0),
        Column(name="recovered", kind="float", ge=0),
        stage="text",
        result="text",
    ),
    rules=(
        Rule(
            reason="decided_on before filed_on",
            broken="{decided_on} < {filed_on}",
            allowed="decided_on on or after filed_on",
            shows="decided_on",
        ),
    ),
    later=(
        ("decided_on", "decided_on"),
        ("result", "decided_on"),
        ("recovered", "decided_on"),
        ("stage", "decided_on"),
    ),
)

_REASONS = Table(
    name="reasons",
    one_row_is="why an episode began",
    sort=("account_id", "noted_on", "reason"),
    date="noted_on",
    columns=_columns(
        Column(name="noted_on", kind="date", required=True),
        Column(name="reason", kind="text", required=True),
    ),
)

TABLES: MappingProxyType[str, Table] = MappingProxyType(
    {
        table.name: table
        for table in (
            _ACCOUNTS,
            _SNAPSHOTS,
            _PAYMENTS,
            _ACTIONS,
            _ASSIGNMENTS,
            _ARRANGEMENTS,
            _COMPLAINTS,
            _SURVEYS,
            _LEGAL_CASES,
            _REASONS,
        )
    }
)


def contract() -> pd.DataFrame:
    """The contract as a table: one row per declared column, with what is allowed.

    >>> contract().query("table == 'payments' and required")["column"].tolist()
    ['account_id', 'paid_on', 'amount']
    """
    return pd.DataFrame(
        [
            {
                "table": table.name,
                "one_row_is": table.one_row_is,
                "column": column.name,
                "kind": column.kind,
                "required": column.required,
                "allowed": column.words,
            }
            for table in TABLES.values()
            for column in table.columns
        ]
    )
