"""collectlab: what happened to the overdue accounts, what it cost, what goes wrong, what to do next.

>>> import collectlab as cl
>>> book = cl.open_book("data/example")                      # doctest: +SKIP
>>> cl.cure.cure_rate(book.episodes(), horizons=(30, 90))    # doctest: +SKIP
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# Name -> module (and attribute); loaded on first use, so that `import collectlab` stays cheap.
_PUBLIC = {
    "open_book": ("collectlab.book.open", "open_book"),
    "simulate": ("collectlab.book.simulate", None),
    "survival": ("collectlab.measures.survival", None),
    "cure": ("collectlab.measures.cure", None),
    "roll_rates": ("collectlab.measures.roll_rates", None),
    "portfolio": ("collectlab.measures.portfolio", None),
    "recovery": ("collectlab.measures.recovery", None),
    "costs": ("collectlab.measures.costs", None),
    "drivers": ("collectlab.measures.drivers", None),
    "bridge": ("collectlab.measures.bridge", None),
    "actions": ("collectlab.measures.actions", None),
    "conduct": ("collectlab.measures.conduct", None),
    "process": ("collectlab.measures.process", None),
    "debtors": ("collectlab.measures.debtors", None),
    "relief": ("collectlab.measures.relief", None),
    "legal": ("collectlab.measures.legal", None),
    "cases": ("collectlab.measures.cases", None),
    "effects": ("collectlab.effects", None),
    "policy": ("collectlab.policy", None),
    "report": ("collectlab.report", None),
}

__all__ = ["__version__", *_PUBLIC]

if TYPE_CHECKING:
    from collectlab.book.open import open_book  # noqa: F401


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'collectlab' has no attribute {name!r}")
    module, attribute = _PUBLIC[name]
    loaded = importlib.import_module(module)
    value = getattr(loaded, attribute) if attribute else loaded
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
