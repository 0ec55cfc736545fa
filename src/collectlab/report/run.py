"""The month's run: freeze the book, execute the notebooks, render one page, keep what it was made of."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from collectlab.core.errors import ParamsError, ReportError, first_few
from collectlab.report.execute import Workers
from collectlab.report.staging import staged, stop_if_told, stoppable

if TYPE_CHECKING:
    from collectlab.core.privacy import Key
    from collectlab.report.config import Plan


def run(
    params_file: str | Path,
    *,
    month: str | None = None,
    overrides: Mapping[str, Any] | None = None,
    out: str | Path | None = None,
    jobs: int | None = None,
    progress: bool = True,
) -> Path:
    """Make the month's report and return its folder, ``<out>/<month>``.

    The folder appears whole or not at all: ``report.html``, ``notebooks/`` as executed, ``tables/`` (CSV and
    Parquet), ``figures/`` (SVG), the frozen ``book/``, the ``params/`` in force and ``manifest.json``. An
    older report of the month is replaced only when the new one is whole.

    Parameters
    ----------
    params_file : path
        ``report.yml``; its fields are those of :class:`collectlab.report.config.ReportConfig`.
    month : str, optional
        ``YYYY-MM``; without it the file's ``month``, and without that the last month of the book.
    overrides : mapping, optional
        Any field of the file, or any parameter of a notebook, by name.
    out : path, optional
        The folder that holds the months' folders.
    jobs : int, optional
        Notebooks executed at a time; default: as many as there are processors or notebooks.
    progress : bool
        Show what is being done on stderr.

    Raises
    ------
    ParamsError
        For every fault in the file, the overrides and the notebooks' parameters cells, at once.
    ReportError
        For a month without data, a notebook that fails, a full disk, or another run of the same month.

    Examples
    --------
    >>> import collectlab as cl
    >>> cl.report.run("params/report.yml", month="2026-10")    # doctest: +SKIP
    PosixPath('outputs/2026-10')
    """
    from collectlab.report import config, manifest, render

    plan = config.load(params_file, overrides, month=month, out=out)
    from collectlab.report.month import SHELF, month_bounds

    with _Progress(progress) as shown:
        shown.say(f"reading and checking the book {plan.book.name}")
        book, month = _open(plan)
    target = plan.out / month
    with stoppable(), staged(target) as folder:
        scratch = folder / ".scratch"
        count = max(1, min(jobs or os.cpu_count() or 1, len(plan.notebooks)))
        for part in ("params", "notebooks", "tables", "figures"):
            (folder / part).mkdir()
        (folder / SHELF).mkdir(parents=True)
        with Workers(count, scratch) as workers, _Progress(progress) as shown:
            last_day = month_bounds(month)[1]
            shown.say(f"{month}: freezing the book as it was known on {last_day}")
            key = _key(book, plan, target, shown.say)
            _freeze(book, folder / "book", last_day, key, plan, lambda line: shown.say(f"  {line}"))
            _keep_params(plan, folder, month)
            shown.say(f"{month}: {len(plan.notebooks)} notebooks, {count} at a time")
            shown.chapters([p.stem for p in plan.notebooks])
            workers.execute({p.stem: _request(plan, p, folder, month) for p in plan.notebooks}, shown.cell)
        shutil.rmtree(scratch)
        made_of = manifest.build(folder, plan, month)
        render.render(folder, [p.name for p in plan.notebooks], made_of)
        manifest.write(made_of, folder)
        stop_if_told()
    return target


def _open(plan: Plan) -> tuple[Any, str]:
    """The book, and the month to report: the one asked for, or the last the book has."""
    import narwhals as nw

    from collectlab.book.open import open_book
    from collectlab.core import engine
    from collectlab.core.columns import distinct

    book = part = open_book(plan.book)
    of = ""
    if plan.config.population:
        # A mistake in it is told now rather than by every notebook.
        part = book.where(plan.config.population)
        of = f" of the accounts with {plan.config.population}"
        _some_account(part, plan.config.population)
    months = engine.collect(
        distinct(
            part.table("snapshots").select(year=nw.col("as_of").dt.year(), month=nw.col("as_of").dt.month())
        )
    )
    there = sorted(f"{int(y):04d}-{int(m):02d}" for y, m in zip(months["year"], months["month"]) if y == y)
    if not there:
        raise ReportError(
            f"the book {plan.book.name} has no dated snapshot{of}: there is no month to report."
        )
    month = plan.config.month or there[-1]
    if month not in there:
        inside = there[0] < month < there[-1]
        raise ReportError(
            f"no snapshot in {month}{of}: the book's snapshots run from {there[0]} to {there[-1]}"
            + (", with this month missing. " if inside else ". ")
            + "Allowed: a month that has snapshots."
        )
    return book, month


def _some_account(part: Any, population: str) -> None:
    import duckdb

    from collectlab.book.check_read import plain

    try:
        some = part.has("accounts")
    except duckdb.Error as error:  # Such as a text that is no number, found only when the rows are read.
        raise ParamsError(f"population: {population!r} fails on the accounts: {plain(error)}") from error
    if not some:
        raise ParamsError(
            f"population: no account satisfies {population!r}. Allowed: a condition over the columns of accounts "
            f"that some satisfy; those columns are {first_few(part.columns('accounts'), 20)}."
        )


def _key(book: Any, plan: Plan, target: Path, say: Callable[[str], None]) -> Key | None:
    """The key of the pseudonyms; None for a book of nobody's, or one that has pseudonyms already."""
    from collectlab.book.freeze_private import is_private
    from collectlab.core.privacy import VARIABLE, find_key
    from collectlab.report import manifest

    if book.synthetic:
        say("  the book is synthetic: no one stands behind its identifiers, and they are kept as they are")
        return None
    if is_private(book):
        say("  the book was frozen with pseudonyms, and keeps them")
        return None
    if (plan.params.parent / manifest.NAME).is_file() and VARIABLE not in os.environ:
        raise ParamsError(
            f"params: {plan.params.parent.name}/ is a finished report, and the key of the pseudonyms is not kept in "
            f"one. Allowed: the project's own params, or the key in the environment variable {VARIABLE}."
        )
    key, where = find_key(plan.params)
    say(f"  {where}")
    if others := manifest.other_keys(target, key.fingerprint):
        say(f"  made with another key, so that their pseudonyms are others: {', '.join(others)}")
    return key


def _freeze(
    book: Any, target: Path, last_day: Any, key: Key | None, plan: Plan, progress: Callable[[str], None]
) -> None:
    """Freeze, such that freezing the frozen book again gives the same bytes: what a replay's hashes rest on."""
    from collectlab.book.freeze import freeze
    from collectlab.core.engine import connection

    # DuckDB marks a Parquet column as never null where it happens to know so, which differs by input format.
    connection().execute("SET disabled_optimizers = 'statistics_propagation'")
    try:
        keep = plan.config.keep_columns
        frozen = freeze(book, target, until=last_day, progress=progress, key=key, keep=keep)
        if key is not None and plan.config.population:
            _still_there(frozen, plan.config.population)
    finally:
        connection().execute("SET disabled_optimizers = ''")


def _still_there(frozen: Any, population: str) -> None:
    """A population must not name an account, or a column that is left out: the report shows the condition."""
    from collectlab.core.errors import BookError

    try:
        some = frozen.where(population).has("accounts")
    except BookError:
        some = False
    if not some:
        raise ParamsError(
            f"population: {population!r} picks no account once identifiers are replaced by pseudonyms and free text "
            "is left out. Allowed: a condition over columns that stay; keep_columns in report.yml keeps one more."
        )


def _keep_params(plan: Plan, folder: Path, month: str) -> None:
    """Copy the parameter files, and write ``report.yml`` as it held, so that the folder can be run again."""
    import yaml

    for path in sorted([*plan.params.glob("*.yml"), *plan.params.glob("*/*.yml")]):
        copy = folder / "params" / path.relative_to(plan.params)
        if copy.parent.name != "sources":
            copy.parent.mkdir(exist_ok=True)
            shutil.copyfile(path, copy)
    held = plan.config.model_dump()
    held |= {"book": "book", "params": "params", "notebooks": "notebooks", "out": "replay", "month": month}
    held["sections"] = [p.stem for p in plan.notebooks]
    text = "# As it held in this run, overrides included.\n" + yaml.safe_dump(
        held, sort_keys=False, allow_unicode=True
    )
    (folder / "params" / "report.yml").write_text(text, encoding="utf-8")


def _request(plan: Plan, notebook: Path, folder: Path, month: str) -> dict[str, Any]:
    return {
        "input": str(notebook),
        "output": str(folder / "notebooks" / notebook.name),
        "cwd": str(folder / "notebooks"),
        "parameters": plan.parameters(notebook.stem, month),
    }


class _Progress:
    """A bar for each chapter on a terminal, a line for each elsewhere, nothing when quiet."""

    def __init__(self, wanted: bool):
        self._wanted = wanted
        self._bars: Any = None
        self._tasks: dict[str, Any] = {}
        if wanted and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

            self._bars = Progress(
                TextColumn("{task.description:<20}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("cells"),
                TimeElapsedColumn(),
                console=Console(stderr=True),
            )

    def __enter__(self) -> _Progress:
        if self._bars:
            self._bars.start()
        return self

    def __exit__(self, *exc: object) -> None:
        if self._bars:
            self._bars.stop()

    def say(self, text: str) -> None:
        if self._bars:
            self._bars.console.print(text, highlight=False, markup=False)
        elif self._wanted:
            print(text, file=sys.stderr, flush=True)

    def chapters(self, names: list[str]) -> None:
        if self._bars:
            self._tasks = {name: self._bars.add_task(name, total=None, start=False) for name in names}

    def cell(self, name: str, done: int, of: int) -> None:
        if self._bars:
            self._bars.start_task(self._tasks[name]) if done == 1 else None
            self._bars.update(self._tasks[name], completed=done, total=of)
        elif self._wanted and done == of:
            print(f"  {name}: {of} cells", file=sys.stderr, flush=True)
