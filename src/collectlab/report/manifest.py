"""What a report was made of: hashes of the data, parameters, notebooks, code and tables, and the versions.

The manifest holds no time and no place on a machine: the same inputs give the same manifest.
"""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from collectlab.core.errors import ReportError
from collectlab.report.config import PLACES, Plan

#: Packages that can change a figure.
PACKAGES = (
    "duckdb",
    "lifelines",
    "matplotlib",
    "narwhals",
    "numpy",
    "pandas",
    "papermill",
    "pyarrow",
    "scipy",
    "statsmodels",
)

REPLAY = (
    "Install these versions, then run in this folder: "
    "collectlab report params/report.yml --out <another folder>. The tables come out with the same hashes. "
    "No key of the pseudonyms is needed: the book here holds them already. From the bank's own book, the same key is."
)

NAME = "manifest.json"


def file_hash(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def folder_hashes(folder: Path, pattern: str = "**/*") -> dict[str, str]:
    """Relative path -> SHA-256 of each file below ``folder``, in order of path."""
    files = sorted(p for p in folder.glob(pattern) if p.is_file()) if folder.is_dir() else []
    return {p.relative_to(folder).as_posix(): file_hash(p) for p in files}


def combined(hashes: dict[str, str]) -> str:
    """One hash over many files, names included."""
    text = "".join(f"{digest}  {name}\n" for name, digest in sorted(hashes.items()))
    return hashlib.sha256(text.encode()).hexdigest()


def data_version(book: Path) -> str:
    """Twelve characters that name the data of a frozen book: its tables, not its paperwork."""
    return combined(folder_hashes(book, "*.parquet"))[:12]


def notebook_hash(path: Path) -> str:
    """SHA-256 over a notebook's cells as written: outputs and injected parameters do not count."""
    import nbformat

    cells = [
        [cell.cell_type, cell.source]
        for cell in nbformat.read(path, as_version=4).cells
        if "injected-parameters" not in cell.metadata.get("tags", ())
    ]
    return hashlib.sha256(json.dumps(cells, ensure_ascii=False).encode()).hexdigest()


def versions() -> dict[str, str]:
    """Python, collectlab and the packages that can change a figure."""
    import collectlab

    found = {"python": platform.python_version(), "collectlab": collectlab.__version__}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:  # a source tree on the path
            continue
    return found


def build(folder: Path, plan: Plan, month: str) -> dict[str, Any]:
    """The manifest of a report that lies complete in ``folder``."""
    import collectlab

    package = Path(collectlab.__file__).parent
    config = {k: v for k, v in plan.config.model_dump().items() if k not in PLACES}
    return {
        "title": config["title"],
        "month": month,
        "definition": config["definition"],
        "synthetic": bool(_about(folder / "book").get("synthetic")),
        "pseudonyms": _about(folder / "book").get("privacy") or "none: the book is synthetic",
        "config": {**config, "month": month},
        # Where things lay on this machine is nobody's business later.
        # Where the report was put is no input of it.
        "overrides": {
            k: Path(v).name if k in PLACES else v for k, v in sorted(plan.overrides.items()) if k != "out"
        },
        "data_version": data_version(folder / "book"),
        "book": folder_hashes(folder / "book"),
        "params": folder_hashes(folder / "params"),
        "notebooks": {p.stem: notebook_hash(folder / "notebooks" / p.name) for p in plan.notebooks},
        "code": combined(folder_hashes(package, "**/*.py")),
        "tables": folder_hashes(folder / "tables"),
        "figures": folder_hashes(folder / "figures"),
        "versions": versions(),
        "replay": REPLAY,
    }


def _about(book: Path) -> dict[str, Any]:
    import yaml

    try:
        said = yaml.safe_load((book / "book.yml").read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError):
        return {}
    return said if isinstance(said, dict) else {}


def other_keys(target: Path, fingerprint: str) -> list[str]:
    """The reports beside ``target``, or in its place, whose pseudonyms come of another key."""
    found = []
    for path in sorted(target.parent.glob(f"*/{NAME}")):
        try:
            made_of = json.loads(path.read_text(encoding="utf-8"))["pseudonyms"]["key"]
        except (OSError, ValueError, KeyError, TypeError):
            continue
        if made_of != fingerprint:
            found.append(f"{path.parent.name} ({made_of})")
    return found


def write(manifest: dict[str, Any], folder: Path) -> None:
    """Write ``manifest.json``."""
    text = json.dumps(manifest, indent=2, ensure_ascii=False, sort_keys=False)
    (folder / NAME).write_text(text + "\n", encoding="utf-8")


def verify(folder: str | Path) -> list[str]:
    """What has changed in a report's folder since it was made; an empty list says nothing has.

    Raises
    ------
    ReportError
        When the folder holds no manifest.
    """
    folder = Path(folder)
    try:
        manifest = json.loads((folder / NAME).read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError) as error:
        raise ReportError(f"{folder}: no {NAME} that can be read ({error}).") from None
    changes: list[str] = []
    for part in ("book", "params", "tables", "figures"):
        changes += _differences(part, manifest[part], folder_hashes(folder / part))
    there = {p.stem: notebook_hash(p) for p in sorted((folder / "notebooks").glob("*.ipynb"))}
    changes += _differences("notebooks", manifest["notebooks"], there)
    return changes


def _differences(part: str, was: dict[str, str], now: dict[str, str]) -> Iterable[str]:
    for name in sorted({*was, *now}):
        if name not in now:
            yield f"{part}/{name} is missing"
        elif name not in was:
            yield f"{part}/{name} was added"
        elif was[name] != now[name]:
            yield f"{part}/{name} was changed"
