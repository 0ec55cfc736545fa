"""A part of the report: one result, shown, kept as files when a run asks for it, or left out in one line."""

from __future__ import annotations

import base64
import dataclasses
import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from collectlab.core import plots
from collectlab.core.errors import FrameError, NotAvailable, ParamsError
from collectlab.core.results import Result
from collectlab.core.suppression import MINIMUM, Suppressed, suppress
from collectlab.core.suppression_words import coarse
from collectlab.effects.effect_result import Check
from collectlab.measures.survival_cells import Track
from collectlab.policy.findings import Findings

if TYPE_CHECKING:
    import pandas as pd

    from collectlab.measures.survival_curves import Step
    from collectlab.report.month import Month

#: Columns that say what a rule, a term or a parameter is: their numbers count nobody.
_RULES = frozenset({"says", "citation", "definition", "meaning", "source", "value", "assumption", "rule"})


@dataclass(frozen=True)
class Part:
    """One result as a chapter shows it.

    ``result`` is None where the book cannot support the part; ``left_out`` then says why in one line.
    """

    name: str
    result: Any = None
    left_out: str = ""
    picture: bytes | None = None
    folded: bool = False

    @property
    def table(self):
        """The tidy table of the result."""
        if self.result is None:
            raise NotAvailable(self.left_out)
        return self.result.table

    def plot(self, ax=None, **options):
        """The chart of the result."""
        if self.result is None:
            raise NotAvailable(self.left_out)
        return self.result.plot(ax=ax, **options)

    def __repr__(self) -> str:
        return self.left_out or repr(self.result)

    def _repr_html_(self) -> str:
        if self.left_out:
            import html

            return f'<p class="cl-left-out">{html.escape(self.left_out)}</p>'
        shown = self.result._repr_html_()
        if self.folded:
            return (
                f'<details class="cl-folded"><summary>The figures behind the chart</summary>{shown}</details>'
            )
        return shown

    def _ipython_display_(self) -> None:
        from IPython.display import display

        display({"text/html": self._repr_html_(), "text/plain": repr(self)}, raw=True)
        if self.picture is not None:
            # The text must not depend on the machine; the picture itself is not compared by nbval.
            display(
                {"image/png": base64.b64encode(self.picture).decode(), "text/plain": f"<figure {self.name}>"},
                raw=True,
                metadata={"collectlab": {"figure": self.name}},
            )


def part(
    function: Callable[..., Result] | None = None, *, picture: bool = True, folded: bool = False
) -> Callable[..., Any]:
    """Make a chapter's function a part of the report.

    The function takes a :class:`~collectlab.report.month.Month` and returns a Result. A part that the book
    cannot support (no such table, too little data) says so in one line instead of stopping the report.

    Parameters
    ----------
    picture : bool
        Whether to draw the result's chart, where it has one.
    folded : bool
        Whether the table is folded away, for charts that say all a reader needs.
    """
    if function is None:
        return functools.partial(part, picture=picture, folded=folded)
    chapter = function.__module__.rsplit(".", 1)[-1]
    name = f"{chapter}_{function.__name__}"
    heading = (function.__doc__ or function.__name__).strip().split("\n")[0].rstrip(".")

    @functools.wraps(function)
    def shown(month: Month, *args: Any, **options: Any) -> Part:
        key = name + "".join(f"_{v}" for v in (*args, *options.values()) if isinstance(v, str))
        try:
            result, written = month.once(
                key, lambda: _published(function(month, *args, **options), minimum_cell(month))
            )
            drawn = picture and result.plottable and _may_be_drawn(result, written)
            axes = _as_it_can(result, lambda r: r.plot())[1] if drawn else None
        except (NotAvailable, FrameError) as error:
            reason = coarse(" ".join(str(error).split()), minimum_cell(month))
            return Part(key, left_out=f"Left out: {heading[:1].lower()}{heading[1:]} – {reason}")
        return Part(
            key,
            result=result,
            picture=_keep(month, key, written, axes),
            folded=folded and axes is not None,
        )

    return shown


def minimum_cell(month: Month) -> int:
    """The smallest count that the report shows: ``minimum_cell`` among the limits in targets.yml, or 5."""

    def found() -> int:
        from collectlab.policy.targets import load_targets

        try:
            limits = load_targets(month.params / "targets.yml").limits_on(month.end)
        except ParamsError:  # Told where the targets themselves are shown.
            return MINIMUM
        return int(limits["minimum_cell"].value) if "minimum_cell" in limits else MINIMUM

    return month.once("the smallest count shown", found)


def _published(result: Result, minimum: int) -> tuple[Result, pd.DataFrame]:
    """The result without the cells that are too small to publish, and its table as it is written.

    Whatever is shown, drawn or kept is made of what this returns; so its sentences lose small counts, too.
    """
    if hasattr(result, "files"):  # Case files show single accounts by nature, without names and rounded.
        return result, result.table
    if isinstance(
        result, Findings
    ):  # Each rests on a group of at least minimum_group, as the rule that found it.
        found = Suppressed(result.table, np.zeros(len(result.table), dtype=bool))
    else:
        found = suppress(result.table, **getattr(result, "disclosure", {}), minimum=minimum)
    result = _worded(result, minimum)
    found = dataclasses.replace(found, table=_worded_table(found.table, minimum))
    changes: dict[str, Any] = {} if found.table is result.table else {"table": found.table}
    if found.notes:
        changes["notes"] = (*result.notes, *found.notes)
    if hasattr(result, "steps") and hasattr(result, "cells") and found.rows.any():
        changes["steps"] = _cut(result.steps, found, minimum)
    shown = dataclasses.replace(result, **changes) if changes else result
    return _as_it_can(shown, lambda r: r._repr_html_())[0], found.to_write()


def _as_it_can(result: Result, use: Callable[[Result], Any]) -> tuple[Result, Any]:
    """The result and what ``use`` makes of it; with gaps as NaN where its own code takes no others."""
    gaps = [c for c in result.table.columns if str(result.table[c].dtype) == "Int64"]
    try:
        return result, use(result)
    except (TypeError, ValueError):
        if not gaps:
            raise
    result = dataclasses.replace(result, table=result.table.astype(dict.fromkeys(gaps, float)))
    return result, use(result)


def _worded(value: Any, minimum: int) -> Any:
    """A result's sentences without small counts: its strings, and those of the checks it holds."""
    if isinstance(value, str):
        return coarse(value, minimum)
    if isinstance(value, tuple) and value and isinstance(value[0], str | Check):
        return tuple(_worded(v, minimum) for v in value)
    if not isinstance(value, Result | Check):
        return value
    there = {f.name: getattr(value, f.name) for f in dataclasses.fields(value) if f.init}
    worded = {name: _worded(v, minimum) for name, v in there.items() if not isinstance(v, Result)}
    changed = {name: v for name, v in worded.items() if isinstance(v, str | tuple) and v != there[name]}
    return dataclasses.replace(value, **changed) if changed else value


def _worded_table(table: pd.DataFrame, minimum: int) -> pd.DataFrame:
    """The same of a table's texts; what a rule or a parameter says is no count."""
    out = table
    for column in table.columns:
        if column in _RULES or not table[column].map(lambda v: isinstance(v, str) and " " in v).any():
            continue
        worded = table[column].map(lambda v: coarse(v, minimum) if isinstance(v, str) else v)
        if (worded != table[column])[table[column].notna()].any():
            out = out.assign(**{str(column): worded})
    return out


@dataclass(frozen=True)
class _Few(Track):
    """A track that does not tell how many were left where they were few."""

    minimum: int = MINIMUM

    def at_risk_on(self, days: Any) -> Any:
        """As ever, but missing where few are left."""
        left = super().at_risk_on(days)
        return np.where((left > 0) & (left < self.minimum), np.nan, left)


def _cut(steps: Sequence[Step], found: Suppressed, minimum: int) -> tuple[Step, ...]:
    """The curves as they are drawn and read by day, with the gaps of their table."""
    out, start = [], 0
    for step in steps:
        end = start + len(step.track.days)
        hidden = found.rows[start:end]
        values = {k: np.where(hidden, np.nan, v) for k, v in step.values.items()}
        track = _Few(
            **{f.name: getattr(step.track, f.name) for f in dataclasses.fields(Track)}, minimum=minimum
        )
        out.append(dataclasses.replace(step, track=track, values=values))
        start = end
    if start != len(found.rows):
        raise NotAvailable("few are left on some days, and the curve cannot be drawn without them.")
    return tuple(out)


def _may_be_drawn(result: Result, written: pd.DataFrame) -> bool:
    """A chart that is not drawn from the table would show what the table leaves out."""
    return "suppressed" not in written or getattr(result, "comparison", None) is None


def _blank_gaps(axes: Any) -> None:
    """A number that is not shown is a dash in a figure, too."""
    for text in getattr(axes, "texts", ()):
        if text.get_text() in ("nan", "<NA>"):
            text.set_text("–")


def _keep(month: Month, key: str, table: pd.DataFrame, axes: Any) -> bytes | None:
    """Write the table and figure where a run asked for them; return the picture to display."""
    if month.output is not None:
        folder = month.output / "tables"
        folder.mkdir(parents=True, exist_ok=True)
        table.to_csv(folder / f"{key}.csv", index=False, lineterminator="\n")
        table.to_parquet(folder / f"{key}.parquet", index=False)
    if axes is None:
        return None
    _blank_gaps(axes)
    if month.output is not None:
        folder = month.output / "figures"
        folder.mkdir(parents=True, exist_ok=True)
        plots.save_svg(axes, folder / f"{key}.svg")
    return axes._repr_png_()
