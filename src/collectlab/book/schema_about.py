"""What ``book.yml`` may say of a book."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Any

from pydantic import BaseModel, ConfigDict, model_validator


class About(BaseModel):
    """What ``book.yml`` says of a book. Words of one's own are kept in ``more``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str | None = None
    description: str = ""
    synthetic: bool = False
    currency: str | None = None
    licence: str | None = None
    assumptions: tuple[str, ...] = ()
    snapshot_frequency: str | None = None
    exact_dpd: bool = True
    encoding: str = "utf-8"
    more: dict[str, Any] = {}

    @model_validator(mode="before")
    @classmethod
    def _keep_own_words(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            raise ValueError("keys with values are expected")
        known = [name for name in cls.model_fields if name != "more"]
        more = dict(given.get("more") or {})
        for key in given:
            if key in known or key == "more":
                continue
            if near := get_close_matches(str(key), known, n=1, cutoff=0.8):
                raise ValueError(f"unknown key {key!r}; did you mean {near[0]!r}?")
            more[str(key)] = given[key]
        return {**{key: value for key, value in given.items() if key in known}, "more": more}
