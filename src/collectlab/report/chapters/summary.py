"""Sentences whose numbers come out of tables."""

from __future__ import annotations

import html
from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from collectlab.core.results import Result
from collectlab.core.tables import format_value


@dataclass(frozen=True, kw_only=True)
class Summary(Result):
    """A few sentences, and beneath them the table every number in them came from."""

    sentences: tuple[str, ...] = ()

    def _repr_html_(self) -> str:
        items = "".join(f"<li>{html.escape(s)}</li>" for s in self.sentences)
        head = f'<p class="cl-title"><strong>{html.escape(self.title)}</strong></p>' if self.title else ""
        return f'<div class="cl-result cl-summary">{head}<ul>{items}</ul></div>'

    def _repr_markdown_(self) -> str:
        return "\n".join(f"- {s}" for s in self.sentences) + "\n"


def with_interval(row: Mapping[str, object] | pd.Series, unit: str = "share") -> str:
    """``64.2 % (61.0 % to 67.3 %)``."""
    text = format_value(row["estimate"], unit)
    if pd.isna(row["conf_low"]) or pd.isna(row["conf_high"]):
        return f"{text} (no interval)"
    return f"{text} ({format_value(row['conf_low'], unit)} to {format_value(row['conf_high'], unit)})"
