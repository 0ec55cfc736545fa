"""The monthly report: run the notebooks, render, and keep what a replay needs."""

from __future__ import annotations

import importlib
from typing import Any

_PUBLIC = {
    "open_month": ("collectlab.report.month", "open_month"),
    "Month": ("collectlab.report.month", "Month"),
    "run": ("collectlab.report.run", "run"),
}

__all__ = list(_PUBLIC)  # noqa: PLE0605


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _PUBLIC[name]
    return getattr(importlib.import_module(module), attribute)
