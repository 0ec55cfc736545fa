"""The frozen result: a tidy table, the estimand in words, its unit, its notes.

Every number a user sees comes out of a :class:`Result`. Its tidy columns are always ``estimate,
std_error, conf_low, conf_high``. The HTML and Markdown are the same bytes for the same numbers: no id, no
time, no path, so nbval can compare them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pandas as pd

from collectlab.core import tables

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True, kw_only=True)
class Result:
    """What a measure returns.

    Attributes
    ----------
    table : pandas.DataFrame
        Tidy: one row per number. Interval columns are ``estimate, std_error, conf_low, conf_high``.
    estimand : str
        What is estimated, in one line, with the population and the competing outcomes named.
    unit : str
        Unit of ``estimate`` and its interval: ``share``, ``money``, ``days``, ``count``, ``points``
        (difference of shares), ``ratio`` or ``number``.
    title : str
        A heading for the table or figure.
    notes : tuple of str
        What a reader must know to read the numbers rightly (rows left out, methods, cautions).
    formats : mapping
        Display kind of other columns, same words as ``unit`` (default: guessed from the column name).
    conf_level : float
        Level of the interval.
    """

    table: pd.DataFrame
    estimand: str
    unit: str = "share"
    title: str = ""
    notes: tuple[str, ...] = ()
    formats: Mapping[str, str] = field(default_factory=dict)
    conf_level: float = 0.95

    #: Whether :meth:`plot` draws something worth a reader's look.
    plottable = False

    def __init_subclass__(cls, **options: Any) -> None:
        # A dataclass writes its own repr, with every number to its last digit, unless the class has one.
        super().__init_subclass__(**options)
        if "__repr__" not in cls.__dict__:
            cls.__repr__ = cls.__repr__  # type: ignore[method-assign]

    def __post_init__(self) -> None:
        object.__setattr__(self, "table", self.table.reset_index(drop=True))

    def plot(self, ax: Axes | None = None, **options: Any) -> Axes:
        """Draw the result and return the Axes. Results without a chart worth seeing raise TypeError."""
        raise TypeError(f"{type(self).__name__} has no chart; its table says it better.")

    def display_table(self) -> pd.DataFrame:
        """The table as people read it: rounded, units written, interval in one column."""
        return tables.display_table(self.table, self.unit, self.formats, self.conf_level)

    def _repr_html_(self) -> str:
        return tables.to_html(self.display_table(), self.title, self.estimand, self.notes)

    def _repr_markdown_(self) -> str:
        return tables.to_markdown(self.display_table(), self.title, self.estimand, self.notes)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.estimand}; {len(self.table):,} rows>"
