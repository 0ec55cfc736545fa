"""How a tidy table is shown to people: units written, intervals in one column, text escaped."""

from __future__ import annotations

import html
import math
import re
from collections.abc import Mapping, Sequence

import pandas as pd

MAX_ROWS = 40

#: Columns with these endings or names are shown in these units unless a result says otherwise.
_GUESSES = {
    "share": "share",
    "rate": "share",
    "p_value": "p_value",
    "at_risk": "count",
    "events": "count",
    "accounts": "count",
    "episodes": "count",
    "rows": "count",
    "n": "count",
    "day": "count",
    "horizon": "count",
    "from_day": "count",
    "balance": "money",
    "amount": "money",
    "cost": "money",
    "recovered": "money",
    "owed": "money",
    "net": "money",
    "id": "text",
}

#: Names whose letters alone say nothing to a reader.
_HEADS = {
    "n": "Number",
    "sd": "Standard deviation",
    "p90": "90th percentile",
    "p99": "99th percentile",
    "conf_low": "Interval from",
    "conf_high": "Interval to",
    "account_weeks": "Account-weeks",
    "earlier_only": "Worked as in earlier stages only",
    "ended_first": "Ended before that",
    "mistreated": "Cases pressed",
    "cost_without_recovery": "Cost spent without recovery",
    "open_days": "Median days open",
    "of_before": "Of the step before",
    "of_first": "Of the first step",
    "other_channel": "By a channel not allowed",
    "over": "Above the limit",
    "own_per_week": "Through own channels, per account-week",
    "per_week_else": "Per week, all others",
    "pressure_per_week": "Personal contacts per week",
    "right_party": "Attempts that reach the debtor",
    "sustained": "Cured and stayed so",
    "too_often": "Too often",
    "unserved": "Given none",
}

#: Columns that tell a reader which name to look for in the data: written as they are.
_NAMES = frozenset({"column", "columns", "table", "field", "file", "parameter", "definition"})
_SNAKE = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)+")


def format_value(value: object, kind: str) -> str:
    """One value in the unit ``kind``; a missing one is a dash."""
    if value is None or value is pd.NaT or value is pd.NA or (isinstance(value, float) and math.isnan(value)):
        return "–"
    if isinstance(value, (bool,)) or str(type(value).__name__) == "bool_":
        return "yes" if value else "no"
    if isinstance(value, pd.Timestamp) or hasattr(value, "isoformat"):
        return str(value)[:10]
    if kind == "text" or isinstance(value, str) or not _is_number(value):
        return str(value)
    number = float(value)
    if math.isinf(number):
        return "∞" if number > 0 else "−∞"
    match kind:
        case "share":
            text = f"{100 * number:,.1f} %"
        case "points":
            text = f"{100 * number:+,.1f} pp"
        case "money":
            text = f"{number:,.0f}"
        case "money2":  # cents say nothing beside thousands
            text = f"{number:,.2f}" if abs(number) < 1000 else f"{number:,.0f}"
        case "days":
            text = f"{number:,.1f}"
        case "count":
            text = f"{number:,.0f}"
        case "ratio":
            text = f"{number:,.2f}"
        case "p_value":
            text = "< 0.001" if number < 0.001 else f"{number:.3f}"
        case _:
            # Three figures that matter: 0.123, 1.23, 12.3, 123.
            places = 0 if number == int(number) or abs(number) >= 100 else 1 if abs(number) >= 10 else 2
            text = f"{number:,.{places + (abs(number) < 1 and places > 0)}f}"
    # "-0.0 %" is noise in the last digit, and would differ between machines.
    if text.startswith(("-0", "+0")) and not any(c in "123456789" for c in text):
        text = text[1:]
    return text.replace("-", "−", 1) if text.startswith("-") else text


def _is_number(value: object) -> bool:
    try:
        float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return False
    return True


def humanise(column: str) -> str:
    """``days_past_due`` → ``Days past due``; a name that is a mere letter in words."""
    if str(column) in _HEADS:
        return _HEADS[str(column)]
    text = str(column).replace("_", " ").strip()
    text = text[:1].upper() + text[1:]
    for short, long in (("Dpd", "DPD"), (" dpd", " DPD"), ("Kpi", "KPI"), ("P value", "p-value")):
        text = text.replace(short, long)
    return text


def readable(value: object) -> object:
    """A key of the data as a reader's words: ``payment_plan`` → ``payment plan``; all else as it is.

    Examples
    --------
    >>> readable("payment_plan"), readable("Call team 1"), readable(3)
    ('payment plan', 'Call team 1', 3)
    """
    return value.replace("_", " ") if isinstance(value, str) and _SNAKE.fullmatch(value) else value


def guess_kind(column: str) -> str:
    """Display unit of a column from its name."""
    if column in _GUESSES:
        return _GUESSES[column]
    return _GUESSES.get(column.rsplit("_", 1)[-1], "number")


def display_table(
    table: pd.DataFrame,
    unit: str = "number",
    formats: Mapping[str, str] | None = None,
    conf_level: float = 0.95,
) -> pd.DataFrame:
    """All text: each column in its unit, ``conf_low``/``conf_high`` merged into one interval column.

    A column named ``unit`` in the table overrides the unit of ``estimate`` and its interval row by row. As the
    unit of ``estimate`` is told, ``formats["estimate"]`` is its column's head.
    """
    formats = dict(formats or {})
    out: dict[str, list[str]] = {}
    row_units = list(table["unit"]) if "unit" in table.columns else [unit] * len(table)
    ends = [c for c in ("estimate", "conf_low", "conf_high") if c in table.columns]
    if "money2" in row_units and (table.loc[[u == "money2" for u in row_units], ends].abs() >= 1000).any(
        axis=None
    ):
        row_units = ["money" if u == "money2" else u for u in row_units]
    for column in table.columns:
        if column in ("std_error", "conf_low", "conf_high", "unit"):
            continue
        if column == "estimate":
            out[formats.get(column, "Estimate")] = [
                format_value(v, u) for v, u in zip(table[column], row_units)
            ]
            if {"conf_low", "conf_high"} <= set(table.columns):
                out[f"{conf_level:.0%} interval".replace("%", " %")] = [
                    "–" if pd.isna(lo) or pd.isna(hi) else f"{format_value(lo, u)} to {format_value(hi, u)}"
                    for lo, hi, u in zip(table["conf_low"], table["conf_high"], row_units)
                ]
            continue
        kind = formats.get(column) or guess_kind(column)
        if kind == "hidden":
            continue
        as_it_is = kind == "text" or column in _NAMES
        out[humanise(column)] = [format_value(v if as_it_is else readable(v), kind) for v in table[column]]
    return pd.DataFrame(out, index=range(len(table)), dtype=object)


def to_html(shown: pd.DataFrame, title: str = "", estimand: str = "", notes: Sequence[str] = ()) -> str:
    """A plain, escaped table with its heading, estimand and notes; the same bytes for the same content."""
    parts = ['<div class="cl-result">']
    if title:
        parts.append(f'<p class="cl-title"><strong>{html.escape(title)}</strong></p>')
    if len(shown.columns):
        numeric = [all(_looks_numeric(v) for v in shown[c]) for c in shown.columns]
        parts.append('<table class="cl-table"><thead><tr>')
        for column, right in zip(shown.columns, numeric):
            parts.append(f"<th{_align(right)}>{html.escape(str(column))}</th>")
        parts.append("</tr></thead><tbody>")
        for row in shown.head(MAX_ROWS).itertuples(index=False):
            cells = (
                f"<td{_align(right)}>{html.escape(_glued(str(v)))}</td>" for v, right in zip(row, numeric)
            )
            parts.append("<tr>" + "".join(cells) + "</tr>")
        parts.append("</tbody></table>")
        if len(shown) > MAX_ROWS:
            parts.append(
                f'<p class="cl-more">… and {len(shown) - MAX_ROWS:,} more rows in <code>.table</code></p>'
            )
    if estimand:
        parts.append(f'<p class="cl-estimand"><em>{html.escape(estimand)}</em></p>')
    parts.extend(f'<p class="cl-note">{html.escape(note)}</p>' for note in notes)
    parts.append("</div>")
    return "\n".join(parts)


def _glued(text: str) -> str:
    """Short texts and the parts of ``64.2 % (61.0 % to 67.3 %; n 34), met`` stay on one line; between them it may break."""
    if len(text) <= 24:
        return text.replace(" ", "\u00a0")
    parts = re.split(r"(?<=[,;]) | (?=\()", text)  # of prose, nothing is glued
    return " ".join(p.replace(" ", "\u00a0") if len(p) <= 24 and re.search(r"\d", p) else p for p in parts)


def _align(right: bool, whole: bool = False) -> str:
    if not right:
        return ' style="text-align:left"'
    return ' style="text-align:right;white-space:nowrap"' if whole else ' style="text-align:right"'


def _looks_numeric(text: str) -> bool:
    return not text or text[0] in "0123456789−+–∞<-" or text[:1] == "."


def to_markdown(shown: pd.DataFrame, title: str = "", estimand: str = "", notes: Sequence[str] = ()) -> str:
    """The same table in GitHub Markdown."""
    lines = [f"**{title}**", ""] if title else []
    if len(shown.columns):
        lines.append("| " + " | ".join(_md(c) for c in shown.columns) + " |")
        lines.append("|" + " --- |" * len(shown.columns))
        lines.extend(
            "| " + " | ".join(_md(v) for v in row) + " |"
            for row in shown.head(MAX_ROWS).itertuples(index=False)
        )
        if len(shown) > MAX_ROWS:
            lines += ["", f"… and {len(shown) - MAX_ROWS:,} more rows in `.table`"]
    if estimand:
        lines += ["", f"*{_md(estimand)}*"]
    for note in notes:
        lines += ["", _md(note)]
    return "\n".join(lines) + "\n"


def _md(value: object) -> str:
    return html.escape(str(value), quote=False).replace("|", "\\|").replace("\n", " ")
