"""What a parameter file says, checked: safe YAML, and every fault told at once in the house's words."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from collectlab.core.errors import ParamsError, first_few, nearest

Model = TypeVar("Model", bound=BaseModel)


class Strict(BaseModel):
    """Base of everything read from a parameter file: frozen, and no key that is not known."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def load_yaml(path: str | Path) -> dict[str, Any]:
    """A YAML file's keys and values; safe, and a key written twice is refused.

    Dates stay dates; only ``true`` and ``false`` are booleans (``on``, ``no`` and ``yes`` are words).
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        there = sorted(p.name for p in path.parent.glob("*.yml"))
        hint = f" In {path.parent.name or '.'}/: {first_few(there)}." if there else ""
        raise ParamsError(f"{path}: no such file.{hint}") from None
    except UnicodeDecodeError as error:
        line = path.read_bytes()[: error.start].count(b"\n") + 1
        raise ParamsError(f"{path.name}, line {line}: not UTF-8. Allowed: text saved as UTF-8.") from None
    except OSError as error:
        raise ParamsError(f"{path}: cannot be read ({error.strerror}).") from None
    return parse_yaml(text, path.name)


def parse_yaml(text: str, file: str) -> dict[str, Any]:
    """As :func:`load_yaml`, from text; ``file`` is what the faults call it."""
    loader = None
    try:
        loader = _Loader(text)
        written = loader.get_single_data()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise ParamsError(f"{file}{where}: not YAML: {error.problem or error.context}.") from None
    except (yaml.YAMLError, RecursionError) as error:
        raise ParamsError(f"{file}: not YAML: {str(error).splitlines()[0]}.") from None
    finally:
        if loader is not None:
            loader.dispose()
    if loader.twice:
        raise ParamsError([f"{file}, {fault}" for fault in loader.twice])
    if written is None:
        return {}
    if not isinstance(written, dict):
        raise ParamsError(f"{file}: holds a {type(written).__name__}. Allowed: keys and values (key: value).")
    return written


class _Loader(yaml.SafeLoader):
    """SafeLoader that collects keys written twice, and leaves an impossible date as the text it is."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - pyyaml's own name
        letter: [(tag, regexp) for tag, regexp in resolvers if not tag.endswith(":bool") or letter in "tTfF"]
        for letter, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def __init__(self, stream: str):
        super().__init__(stream)
        self.twice: list[str] = []

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        first: dict[str, int] = {}
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                line = key.start_mark.line + 1
                before = first.setdefault(key.value, line)
                fault = (
                    f"line {line}: key {key.value!r} stands twice (first on line {before}). Allowed: once."
                )
                if before != line and fault not in self.twice:
                    self.twice.append(fault)
        return super().construct_mapping(node, deep)

    def construct_date(self, node: yaml.ScalarNode) -> Any:
        try:
            return self.construct_yaml_timestamp(node)
        except ValueError:
            return node.value


_Loader.add_constructor("tag:yaml.org,2002:timestamp", _Loader.construct_date)


def validate(model: type[Model], written: Any, where: str, faults: list[str]) -> Model | None:
    """``written`` as ``model``; or None, with every fault added to ``faults`` in the house's words."""
    try:
        return model.model_validate(written)
    except ValidationError as error:
        faults += [_explain(model, dict(fault), where) for fault in error.errors()]
        return None


def _explain(model: type[BaseModel], fault: dict[str, Any], where: str) -> str:
    # pydantic marks a mapping's faulty key with "[key]"; a date in a path is clearer without its quotes.
    path = [str(p) for p in fault["loc"] if p != "[key]"]
    parent, field = _field_at(model, path)
    place = ".".join([where, *path]) if ": " in where else ": ".join([where, ".".join(path)])
    place = place.rstrip(": ")
    allowed = f" Needed: {field.description}." if field is not None and field.description else ""
    match fault["type"]:
        case "extra_forbidden":
            return unknown(
                place.removesuffix(f".{path[-1]}"), path[-1], parent.model_fields if parent else ()
            )
        case "missing":
            return f"{place}: missing.{allowed}"
        case "model_type" | "dict_type" | "model_attributes_type":
            return f"{place}: found {_short(fault['input'])}.{allowed or ' Needed: keys and values.'}"
        case "value_error":
            return f"{place}: {fault['ctx']['error']!s}"
        case _:
            return f"{place}: found {_short(fault['input'])}. {fault['msg']}.{allowed}"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "…"


def _field_at(model: type[BaseModel], path: list[str]) -> tuple[type[BaseModel] | None, Any]:
    """The model that holds the last step of ``path``, and its field, as far as they can be followed."""
    parent: Any = model
    field = None
    for i, step in enumerate(path):
        fields = getattr(parent, "model_fields", None)
        if fields is None:  # inside a list or mapping: this step is an index or a key
            parent = _model_in(parent)
            if i == len(path) - 1:
                return None, field
            continue
        if step not in fields:
            return parent, None
        field = fields[step]
        if i == len(path) - 1:
            return parent, field
        inside = _model_in(field.annotation)
        held = (
            isinstance(field.annotation, type) or inside is None or type(None) in get_args(field.annotation)
        )
        parent = inside if held else field.annotation
    return None, field


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """The model inside ``list[M]``, ``dict[date, M]`` or ``M | None``."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((m for m in map(_model_in, get_args(annotation)) if m is not None), None)


def unknown(where: str, name: str, allowed: Iterable[str]) -> str:
    """The fault for a name that is not known, with the nearest that are."""
    allowed = sorted(allowed)
    near = nearest(name, allowed)
    hint = f"Nearest: {', '.join(near)}" if near else f"Allowed: {first_few(allowed, 12)}"
    return f"{where}: no such key {name!r}. {hint}."


def as_date(date: Any) -> dt.date:
    """A date, or text of the form YYYY-MM-DD, as a date."""
    if isinstance(date, dt.datetime):
        return date.date()
    if isinstance(date, dt.date):
        return date
    try:
        parsed = dt.date.fromisoformat(date)
        if parsed.isoformat() != date:  # 20250101 and 2025-W01-1 are ISO dates too, and easily misread
            raise ValueError(date)
        return parsed
    except (TypeError, ValueError):
        raise ParamsError(f"{date!r} is no date. Allowed: YYYY-MM-DD, such as 2025-01-01.") from None
