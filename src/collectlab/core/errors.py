"""What a user's mistake looks like: no traceback at the command line, and an exit code of its own."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


class CollectlabError(Exception):
    """Base of every mistake that the user can mend.

    Bugs are left as ordinary exceptions and keep their traceback. ``exit_code`` is what the command line
    returns for this family of mistakes.
    """

    exit_code = 2

    def __init__(self, faults: str | Iterable[str]):
        self.faults: tuple[str, ...] = (faults,) if isinstance(faults, str) else tuple(faults)
        super().__init__("\n".join(self.faults))


class BookError(CollectlabError):
    """The book of accounts cannot be read, or a rule on it is broken beyond setting rows aside."""

    exit_code = 3


class ParamsError(CollectlabError):
    """A parameter file or a parameter override is wrong."""

    exit_code = 4


class FrameError(CollectlabError):
    """A frame handed to a measure lacks a column, or holds values the measure cannot use."""

    exit_code = 5


class ReportError(CollectlabError):
    """The report could not be made."""

    exit_code = 6


class NotAvailable(CollectlabError):
    """A part of the report needs something this book does not have. The report says so in one line."""

    exit_code = 7


def first_few(values: Sequence[object], limit: int = 5) -> str:
    """The first few of many, for an error message: ``a, b, c, … (12 in all)``."""
    shown = ", ".join(str(v) for v in values[:limit])
    return shown if len(values) <= limit else f"{shown}, … ({len(values):,} in all)"


def nearest(name: str, allowed: Iterable[str], limit: int = 3) -> list[str]:
    """The allowed names that look most like ``name``."""
    from difflib import get_close_matches

    return get_close_matches(name, list(allowed), n=limit, cutoff=0.5)
