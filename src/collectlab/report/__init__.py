"""The monthly report: run the notebooks, render, and keep what a replay needs."""

from __future__ import annotations

import importlib
from typing import Any

# Imported at once: importing the submodule of the same name later would otherwise take the name over.
from collectlab.report.run import run

__all__ = ["Month", "open_month", "run"]


def __getattr__(name: str) -> Any:
    if name not in ("Month", "open_month"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module("collectlab.report.month"), name)
