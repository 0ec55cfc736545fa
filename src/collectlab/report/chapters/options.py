"""What could be done next month: the changes that the other chapters' analyses have worked out, in one list."""

from __future__ import annotations

import importlib
import math

from collectlab.core.errors import FrameError, NotAvailable, ParamsError
from collectlab.policy.options import Option
from collectlab.report.month import Month

#: Chapters that may have something to propose; each has ``options(month)``.
_CHAPTERS = ("plan", "what_if", "worth", "certainty", "warning", "stop", "credit")

#: Chapters whose proposals are ways of doing the same thing: only the best of them is put forward.
_SAME = ({"plan", "what_if"},)


def options(month: Month) -> list[Option]:
    """Every change worked out from this book; of several ways to do the same thing, the surest gain."""
    return month.shared("options", lambda: _collected(month))


def _collected(month: Month) -> list[Option]:
    found: dict[str, list[Option]] = {}
    for name in _CHAPTERS:
        chapter = importlib.import_module(f"collectlab.report.chapters.{name}")
        try:
            found[name] = chapter.options(month)
        except (NotAvailable, FrameError, ParamsError):  # its own parts say why
            found[name] = []
    for same in _SAME:
        alike = [o for name in _CHAPTERS if name in same for o in found[name] if o.area == "strategy"]
        if alike:
            best = max(alike, key=lambda o: (o.low if not math.isnan(o.low) else -math.inf, o.key))
            for name in same:
                found[name] = [o for o in found[name] if o.area != "strategy" or o is best]
    return [o for name in _CHAPTERS for o in found[name]]
