"""What looks like free text, or like a person's details: told from a column's name and from its values."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from collectlab.book.check_types import family
from collectlab.core.engine import connection, quote, quote_text

#: A text of this many letters, or words, that few rows share is no category.
LONG, WORDS = 40, 6
#: A value on fewer rows than this is rare.
RARE = 5
#: More different values than this are no category to compare groups by.
MANY = 200

_PERSONAL = (
    r"(?i)(^|[_\W\d])(surname|firstname|lastname|fullname|forename|nickname|phone|telephone|tel|mobile|cell|cellphone|"
    r"fax|e_?mail|mail|address|addr|street|note|notes|comment|comments|remark|remarks|memo|transcript|message|body|"
    r"free_?text|description|details|narrative|ssn|passport|iban|national_?id|id_?card|id_?number|id_?no|tax_?id|nin|"
    r"plate|birth\w*|dob|birthday|wechat|whatsapp|ip|latitude|longitude|lat|lon|lng|gps)($|[_\W\d])"
    r"|姓名|电话|手机|邮箱|地址|住址|备注|身份证|生日|微信|描述|说明"
)
_NAMES = r"(?i)(^|[_\W])name($|[_\W\d])"
_NAMES_OF_THINGS = (
    r"(?i)(product|branch|region|team|agency|strategy|channel|campaign|segment|category|stage|brand|file)"
)
_EMAIL = r"[^\s@]+@[^\s@]+\.[^\s@]+"
#: Eight digits or more, with what is written between the digits of a telephone or identity number.
_NUMBER = r"\d([\s().-]?\d){7,}"


@dataclass(frozen=True)
class _Seen:
    """How the values of one column look."""

    rows: int
    different: int
    accounts: int
    long_rare: int
    rare: int
    emails: int
    numbers: int
    ids: int


def why_left_out(query: str, column: str, engine_type: str, maps: Mapping[str, str]) -> str | None:
    """Why a column that the contract does not name must not leave, or None."""
    come = family(engine_type)
    # camelCase and PascalCase are read as words, too.
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", column)
    personal = re.search(_PERSONAL, words)
    personal = personal or (re.search(_NAMES, words) and not re.search(_NAMES_OF_THINGS, words))
    if personal and come != "bool":
        return "its name says that it holds a person’s details or free text"
    if come == "other":
        return f"its type ({engine_type.split('(')[0].lower()}) may hold anything"
    if come not in ("text", "whole", "real"):
        return None
    seen = _look(query, column, come, maps)
    if come == "text" and seen.emails:
        return "it holds e-mail addresses"
    if seen.numbers > 0.01 * seen.rows:
        return "it holds telephone, account or identity numbers"
    if come == "real":
        return None
    if seen.ids > 0.5 * seen.different:
        return "it holds identifiers of accounts"
    nearly_unique = seen.different > 20 and seen.different > 0.5 * seen.accounts
    if nearly_unique and (
        come == "text" or re.search(r"(?i)(^|_)(id|no|nr|num|number|code|ref|key)$", words)
    ):
        return "nearly every account has its own value"
    if come == "whole":
        return None
    if seen.long_rare:
        return "it holds long texts that few rows share"
    if seen.different > MANY:
        return f"it has {seen.different:,} different values, too many for a category"
    return None


def _text_of(column: str, come: str) -> str:
    """The value as text; of a number only where it is whole, without its decimals."""
    raw = quote(column)
    if come == "real":
        return f"CASE WHEN {raw} = floor({raw}) THEN CAST(TRY_CAST({raw} AS HUGEINT) AS VARCHAR) END"
    return f"trim(CAST({raw} AS VARCHAR))"


#: A Chinese character says about as much as three letters.
_LENGTH = r"(length(v) + 2 * length(regexp_replace(v, '[^\x{3040}-\x{9fff}\x{ac00}-\x{d7af}]', '', 'g')))"
WORDS_IN = r"(1 + length(regexp_replace(v, '\S+', '', 'g')))"
_LONG_RARE = f"(n < {RARE} AND ({_LENGTH} > {LONG} OR {WORDS_IN} >= {WORDS}))"
HAS_EMAIL = f"regexp_matches(v, {quote_text(_EMAIL)})"
#: Dates, times and amounts are written in digits, too.
HAS_NUMBER = (
    f"(regexp_matches(v, {quote_text(_NUMBER)}) AND TRY_CAST(v AS TIMESTAMP) IS NULL "
    r"AND NOT regexp_full_match(v, '-?\d+\.\d+'))"
)


def _look(query: str, column: str, come: str, maps: Mapping[str, str]) -> _Seen:
    numbers = HAS_NUMBER
    if come != "text":
        # Telephone and identity numbers have the same length nearly always; amounts do not.
        numbers = r"(regexp_full_match(v, '\d{9,18}'))"
    answer = (
        connection()
        .execute(
            f"""
        WITH values AS (
            SELECT {_text_of(column, come)} AS v, count(*) AS n FROM ({query}) GROUP BY 1
        )
        SELECT coalesce(sum(n), 0), count(*),
               (SELECT count(DISTINCT account_id) FROM ({query})),
               count(*) FILTER ({_LONG_RARE}), count(*) FILTER (n < {RARE}),
               coalesce(sum(n) FILTER ({HAS_EMAIL}), 0), coalesce(sum(n) FILTER ({numbers}), 0),
               {f"count(*) FILTER (v IN (SELECT id FROM {maps['account']}))" if come == "text" else "0"},
               max(CASE WHEN {numbers} THEN length(v) END) - min(CASE WHEN {numbers} THEN length(v) END)
        FROM values WHERE v IS NOT NULL AND v <> ''
        """
        )
        .fetchall()[0]
    )
    rows, different, accounts, long_rare, rare, emails, found, ids, spread = (int(a or 0) for a in answer)
    if come != "text" and (spread > 1 or found < 0.9 * rows or different < 0.5 * accounts):
        found = 0
    return _Seen(rows, different, accounts, long_rare, rare, emails, found, ids)


def free_values(name: str, query: str, column: str, maps: dict[str, str]) -> tuple[int, str]:
    """On how many rows a value of the column stands that looks like free text, and the table of those values.

    A value does that holds an e-mail address or a long number, or is long and rare. Where a tenth of the rare
    values do, the column is free text altogether, and every rare value of more than one word goes.
    """
    con = connection()
    values = f"collectlab_values_{name}_{column}"
    con.execute(
        f"CREATE OR REPLACE TEMP TABLE {values} AS SELECT value, trim(value) AS v, count(*) AS n "
        f"FROM (SELECT {quote(column)} AS value FROM ({query})) WHERE value IS NOT NULL GROUP BY value"
    )
    maps[values] = values
    one = f"({HAS_EMAIL} OR {HAS_NUMBER} OR {_LONG_RARE})"
    counted = f"SELECT count(*) FILTER ({one}), count(*) FILTER (n < {RARE}) FROM {values}"
    like, rare = con.execute(counted).fetchall()[0]
    if like >= RARE and like >= 0.1 * rare:
        one = f"({one} OR (n < {RARE} AND {WORDS_IN} > 1))"
    con.execute(f"DELETE FROM {values} WHERE NOT {one}")
    rows = con.execute(f"SELECT coalesce(sum(n), 0) FROM {values}").fetchall()[0][0]
    return int(rows), f"(SELECT value FROM {values})"


__all__ = ["HAS_EMAIL", "HAS_NUMBER", "LONG", "WORDS_IN", "free_values", "why_left_out"]
