"""What a month's run is told: ``report.yml``, the overrides, and the parameters the notebooks take."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from collectlab.book.episodes_definitions import definition_named
from collectlab.core.errors import ParamsError, first_few, nearest

SECTIONS = ("1_overview", "2_strategy", "3_results", "4_problems", "5_recommendations")

#: What the run itself hands to each notebook; relative, so that the finished folder can be moved.
SUPPLIED = {"book": "../book", "params": "../params", "output": ".."}

#: Fields that hold a place on this machine.
PLACES = ("book", "params", "notebooks", "out")


class ReportConfig(BaseModel):
    """The fields of ``report.yml``.

    Places in the file are relative to the project: the folder above ``params/`` (or the file's own folder,
    if that has another name). Places in an override are relative to where the command is run.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    title: str = Field("Collection strategy: case analysis", min_length=1)
    bank: str = ""
    author: str = ""
    book: str = Field(min_length=1)
    month: str = Field("", pattern=r"^(\d{4}-(0[1-9]|1[0-2]))?$")
    definition: str = Field("current_once", min_length=1)
    horizon: int = Field(90, ge=1, le=3650)
    population: str = ""
    control: str = ""
    contact_rules: str = ""
    params: str = ""
    notebooks: str = "notebooks"
    sections: list[str] = Field(default_factory=lambda: list(SECTIONS), min_length=1)
    out: str = "outputs"
    keep_columns: list[str] = []


@dataclass(frozen=True)
class Plan:
    """A validated run: the configuration, its places found, and what each notebook will be given.

    Attributes
    ----------
    config : ReportConfig
        ``report.yml`` with the overrides applied.
    book, params, out : Path
        Places on this machine.
    notebooks : tuple of Path
        In reading order.
    takes : dict
        Notebook name -> its parameters with their defaults.
    overrides : dict
        What was overridden, by name.
    """

    config: ReportConfig
    book: Path
    params: Path
    out: Path
    notebooks: tuple[Path, ...]
    takes: dict[str, dict[str, Any]]
    overrides: dict[str, Any]

    def parameters(self, notebook: str, month: str) -> dict[str, Any]:
        """What ``notebook`` is run with: each name that it takes, and no other."""
        given = {**self.config.model_dump(), **self.overrides, "month": month, **SUPPLIED}
        return {name: given.get(name, default) for name, default in self.takes[notebook].items()}


def split_overrides(texts: Iterable[str]) -> dict[str, str]:
    """``["month=2026-10", …]`` → ``{"month": "2026-10", …}``.

    >>> split_overrides(["horizon=60", "population=region = 'North'"])
    {'horizon': '60', 'population': "region = 'North'"}
    """
    pairs: dict[str, str] = {}
    faults = []
    for text in texts:
        name, equals, value = text.partition("=")
        name = name.strip()
        if not equals or not name:
            faults.append(f"-p {text}: not of the form name=value, such as horizon=60.")
        elif name in pairs:
            faults.append(f"-p {name}: given twice, as {pairs[name]!r} and {value!r}.")
        pairs[name] = value
    if faults:
        raise ParamsError(faults)
    return pairs


def load(
    path: str | Path,
    overrides: Mapping[str, Any] | None = None,
    *,
    month: str | None = None,
    out: str | Path | None = None,
) -> Plan:
    """Read and check ``report.yml`` with its overrides and the notebooks it names; all faults at once.

    Raises
    ------
    ParamsError
        An unknown field or override (with the nearest names), a value of the wrong type, a place or a
        notebook that is not there.
    """
    path = Path(path)
    written = _read_yaml(path)
    overrides = dict(overrides or {})
    if month is not None:
        overrides["month"] = str(month)
    if out is not None:
        overrides["out"] = str(out)

    faults: list[str] = []
    fields = ReportConfig.model_fields
    mine = {k: _as_field(k, v, faults) for k, v in overrides.items() if k in fields}
    try:
        config = ReportConfig.model_validate({**written, **mine})
    except ValidationError as error:
        raise ParamsError(faults + _explain(error, path.name, mine)) from None

    root = path.resolve().parent
    root = root.parent if root.name == "params" else root

    def place(name: str) -> Path:
        value = Path(getattr(config, name)).expanduser()
        if value.is_absolute():
            return value
        here, there = Path.cwd() / value, root / value
        first, second = (here, there) if name in mine else (there, here)
        return second if second.exists() and not first.exists() else first

    try:
        definition_named(config.definition)
    except ParamsError as error:
        faults.extend(error.faults)
    params = place("params") if config.params else path.resolve().parent
    if not params.is_dir():
        faults.append(f"params: no folder {config.params!r} here or beside {path.name}.")
    elif config.contact_rules:
        faults.extend(_contact_rules(params / "contact_rules", config.contact_rules))
    folder = place("notebooks")
    notebooks, takes = _read_notebooks(folder, config.sections, faults)

    extra = {k: v for k, v in overrides.items() if k not in fields}
    extra = _check_extra(extra, takes, faults)
    if faults:
        raise ParamsError(faults)
    return Plan(config, place("book"), params, place("out"), notebooks, takes, {**mine, **extra})


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        near = sorted(p.name for p in path.parent.glob("*.yml")) if path.parent.is_dir() else []
        hint = f" In {path.parent}: {first_few(near)}." if near else ""
        raise ParamsError(f"{path}: no such file.{hint}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ParamsError(f"{path} cannot be read: {error}") from None
    try:
        written = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ParamsError(f"{path.name} is not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(written, dict):
        raise ParamsError(f"{path.name} holds no fields. Needed: at least `book: <folder>`.")
    return written


def _explain(error: ValidationError, file: str, overridden: Mapping[str, Any]) -> list[str]:
    """pydantic's faults in the house's words."""
    faults = []
    for fault in error.errors():
        name = str(fault["loc"][0])
        where = f"-p {name}" if name in overridden else f"{file}: {name}"
        match fault["type"]:
            case "extra_forbidden":
                faults.append(f"{where}: no such field.{_nearest(name, ReportConfig.model_fields)}")
            case "missing":
                faults.append(f"{where}: needed, and not there.")
            case "string_pattern_mismatch":
                faults.append(f"{where}: {fault['input']!r} is no month. Allowed: YYYY-MM, such as 2026-10.")
            case _:
                faults.append(f"{where}: found {fault['input']!r}. {fault['msg']}.")
    return faults


def _nearest(name: str, allowed: Iterable[str]) -> str:
    allowed = sorted(allowed)
    near = nearest(name, allowed)
    return f" Nearest: {', '.join(near)}." if near else f" Allowed: {', '.join(allowed)}."


def _as_field(name: str, value: Any, faults: list[str]) -> Any:
    """An override's text as the type of the field; text fields take it as it stands."""
    if not isinstance(value, str) or ReportConfig.model_fields[name].annotation is str:
        return value
    return _scalar(name, value, faults)


def _scalar(name: str, text: str, faults: list[str]) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        faults.append(f"-p {name}: {text!r} is no YAML value.")
        return None


def _check_extra(
    extra: Mapping[str, Any], takes: Mapping[str, Mapping[str, Any]], faults: list[str]
) -> dict[str, Any]:
    """Overrides of parameters that only notebooks have: known, and of the type of the default."""
    defaults: dict[str, Any] = {}
    for parameters in takes.values():
        defaults.update({k: v for k, v in parameters.items() if k not in defaults})
    known = (set(defaults) - set(SUPPLIED)) | set(ReportConfig.model_fields)
    checked = {}
    for name, value in extra.items():
        if name not in known:
            faults.append(f"-p {name}: no such parameter.{_nearest(name, known)}")
            continue
        default = defaults[name]
        if isinstance(value, str) and not isinstance(default, str):
            value = _scalar(name, value, faults)
        if not _same_type(value, default):
            faults.append(
                f"-p {name}: found {value!r}, a {type(value).__name__}. "
                f"Allowed: a {type(default).__name__}, such as {default!r}."
            )
        checked[name] = value
    return checked


def _same_type(value: Any, default: Any) -> bool:
    if default is None or value is None:
        return default is None
    if isinstance(value, bool) or isinstance(default, bool):
        return isinstance(value, bool) and isinstance(default, bool)
    if isinstance(default, float):
        return isinstance(value, (int, float))
    return isinstance(value, type(default))


def _contact_rules(folder: Path, name: str) -> list[str]:
    """A jurisdiction that has no rules here is told before the run, not by a chapter that then lacks them."""
    shipped = sorted(p.stem for p in folder.glob("*.yml"))
    if name in shipped:
        return []
    return [
        f"contact_rules: {name!r} has no rules in {folder.name}/. Allowed: {first_few(shipped, 40) or 'none'}."
    ]


def _read_notebooks(
    folder: Path, sections: Iterable[str], faults: list[str]
) -> tuple[tuple[Path, ...], dict[str, dict[str, Any]]]:
    if not folder.is_dir():
        faults.append(f"notebooks: no folder {folder.name!r} here or beside the parameter file.")
        return (), {}
    there = sorted(p.stem for p in folder.glob("*.ipynb"))
    found, takes = [], {}
    for section in sections:
        stem = section.removesuffix(".ipynb")
        path = folder / f"{stem}.ipynb"
        if stem in takes:
            faults.append(f"sections: {stem} is listed twice.")
            continue
        if "/" in stem or "\\" in stem or stem not in there:
            hint = _nearest(stem, there) if there else " The folder holds no notebook."
            faults.append(f"sections: no notebook {stem}.ipynb.{hint}")
            continue
        try:
            takes[stem] = notebook_parameters(path)
        except ParamsError as error:
            faults.extend(error.faults)
            takes[stem] = {}
        found.append(path)
    return tuple(found), takes


def notebook_parameters(path: Path) -> dict[str, Any]:
    """The names and default values in the cell tagged ``parameters``: literals only.

    In a notebook that a run has executed, the values it was run with count, so that it can be run again.
    """
    import nbformat

    try:
        notebook = nbformat.read(path, as_version=4)
    except Exception as error:  # nbformat raises its own, json's and Unicode's errors
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ParamsError(f"{path.name} cannot be read as a notebook: {reason}") from None
    tagged = [c for c in notebook.cells if "parameters" in c.metadata.get("tags", ())]
    if len(tagged) != 1:
        raise ParamsError(f"{path.name}: {len(tagged)} cells are tagged `parameters`. Needed: exactly one.")
    tagged += [c for c in notebook.cells if "injected-parameters" in c.metadata.get("tags", ())]
    found = {}
    try:
        for line in ast.parse("\n".join(c.source for c in tagged)).body:
            target = line.targets[0] if isinstance(line, ast.Assign) else getattr(line, "target", None)
            found[target.id] = ast.literal_eval(line.value)  # type: ignore[union-attr, attr-defined]
    except (SyntaxError, ValueError, AttributeError):
        raise ParamsError(
            f"{path.name}: the cell tagged `parameters` holds something other than name = literal."
        ) from None
    return found
