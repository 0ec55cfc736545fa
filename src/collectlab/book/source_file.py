"""``source.yml``: what a source is, which files it expects, what it assumes, what may be set; and where it is."""

from __future__ import annotations

import datetime as dt
import re
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from collectlab.book.rawfiles import RawFile
from collectlab.core.errors import ParamsError, first_few, nearest
from collectlab.core.written import Strict, load_yaml, validate

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")


class Setting(Strict):
    """A value that the SQL reads with ``getvariable('name')`` and a user may override."""

    kind: Literal["date", "month", "int", "float", "text"]
    default: Any
    description: str = Field(min_length=1)

    @model_validator(mode="after")
    def _default_fits(self) -> Setting:
        self.parse(self.default)
        return self

    def parse(self, value: Any) -> Any:
        """``value`` in this setting's kind; ValueError says what is allowed."""
        text = str(value).strip()
        try:
            match self.kind:
                case "date":
                    return dt.date.fromisoformat(text)
                case "month":
                    return dt.datetime.strptime(text, "%Y-%m").date()
                case "int":
                    return int(text)
                case "float":
                    return float(text)
                case _:
                    return text
        except ValueError as error:
            allowed = {
                "date": "a date such as 2015-06-15",
                "month": "a month such as 2020-02",
                "int": "a whole number",
                "float": "a number",
            }[self.kind]
            raise ValueError(f"{text!r} is no {self.kind}. Allowed: {allowed}") from error


class BookFacts(Strict):
    """What the rest of the program must know of the book and cannot see in its rows."""

    synthetic: bool = False
    currency: str | None = None
    snapshot_frequency: Literal["daily", "weekly", "monthly", "irregular"]
    exact_dpd: bool


class Source(Strict):
    """``source.yml``, checked."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")
    title: str = Field(min_length=1)
    description: str = Field(min_length=1)
    files: dict[str, RawFile] = Field(min_length=1)
    licence: str = Field(min_length=1)
    url: str | None = None
    citation: str | None = None
    assumptions: list[str] = Field(default_factory=list)
    figures: dict[str, str] = Field(default_factory=dict)
    settings: dict[str, Setting] = Field(default_factory=dict)
    book: BookFacts

    @model_validator(mode="after")
    def _plain_names(self) -> Source:
        odd = [n for n in (*self.files, *self.settings, *self.figures) if not _NAME.fullmatch(n)]
        if odd:
            raise ValueError(
                f"names of files, settings and figures are letters, digits and _: not {first_few(odd)}"
            )
        return self


def source_folders() -> list[Path]:
    """Every source under ``params/sources``, here or beside the installed checkout."""
    folders = {}
    for params in (Path("params"), Path(__file__).parents[3] / "params"):
        for path in sorted((params / "sources").glob("*/source.yml")):
            folders.setdefault(path.parent.name, path.parent)
    return [folders[name] for name in sorted(folders)]


def find_source(source: str | Path) -> Path:
    """The folder of a source given by path or name."""
    path = Path(source)
    if (path / "source.yml").is_file():
        return path
    known = {folder.name: folder for folder in source_folders()}
    if str(source) in known:
        return known[str(source)]
    if path.is_dir():
        raise ParamsError(
            f"{path}: no source.yml there. Allowed: a folder with source.yml and one .sql per table."
        )
    near = nearest(str(source), known)
    hint = f" Did you mean {' or '.join(near)}?" if near else ""
    raise ParamsError(
        f"no source {str(source)!r}.{hint} Known: {', '.join(known) or 'none'}; or give its folder."
    )


def read_source(folder: Path) -> Source:
    """``source.yml`` of a source folder, with every fault named at once."""
    faults: list[str] = []
    spec = validate(Source, load_yaml(folder / "source.yml"), f"{folder.name}/source.yml", faults)
    if spec is None:
        raise ParamsError(faults)
    return spec
