"""A part of the report: one result, shown, kept as files when a run asks for it, or left out in one line."""

from __future__ import annotations

import base64
import dataclasses
import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from collectlab.core import plots
from collectlab.core.errors import FrameError, NotAvailable, ParamsError
from collectlab.core.results import Result
from collectlab.core.suppression import MINIMUM, suppress

if TYPE_CHECKING:
    import pandas as pd

    from collectlab.report.month import Month


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
            axes = result.plot() if picture and result.plottable and _may_be_drawn(result, written) else None
        except (NotAvailable, FrameError) as error:
            reason = " ".join(str(error).split())
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

    Whatever is shown, drawn or kept is made of what this returns.
    """
    found = suppress(result.table, **getattr(result, "disclosure", {}), minimum=minimum)
    if not found.rows.any():
        return result, found.to_write()
    shown = dataclasses.replace(result, table=found.table, notes=(*result.notes, *found.notes))
    return shown, found.to_write()


def _may_be_drawn(result: Result, written: pd.DataFrame) -> bool:
    """A chart that is not drawn from the table would show what the table leaves out."""
    return "suppressed" not in written or getattr(result, "comparison", None) is None


def _keep(month: Month, key: str, table: pd.DataFrame, axes: Any) -> bytes | None:
    """Write the table and figure where a run asked for them; return the picture to display."""
    if month.output is not None:
        folder = month.output / "tables"
        folder.mkdir(parents=True, exist_ok=True)
        table.to_csv(folder / f"{key}.csv", index=False, lineterminator="\n")
        table.to_parquet(folder / f"{key}.parquet", index=False)
    if axes is None:
        return None
    if month.output is not None:
        folder = month.output / "figures"
        folder.mkdir(parents=True, exist_ok=True)
        plots.save_svg(axes, folder / f"{key}.svg")
    return axes._repr_png_()
