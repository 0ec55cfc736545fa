"""The command line: ``collectlab report | simulate | import | freeze | check | identify``.

A user's mistake ends in one plain message on stderr and the exit code of its family. Heavy modules are
imported inside the commands, so that ``collectlab --help`` answers at once.
"""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from collectlab.core.errors import CollectlabError, ReportError

app = typer.Typer(
    help="From a book of delinquent accounts to this month's case-analysis report.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

STOPPED = (130, 143)  # by Ctrl-C, by SIGTERM
BUG = 70
FULL = (errno.ENOSPC, errno.EDQUOT)
UNWRITABLE = (errno.EACCES, errno.EPERM, errno.EROFS)

_debug = False


def _version(wanted: bool) -> None:
    if wanted:
        import collectlab

        print(f"collectlab {collectlab.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", help="Show the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    global _debug
    _debug = debug


@app.command()
def report(
    params: Annotated[Path, typer.Argument(help="The month's parameters, such as params/report.yml.")],
    month: Annotated[str | None, typer.Option(help="The month, such as 2026-10.")] = None,
    p: Annotated[
        list[str] | None, typer.Option("-p", metavar="NAME=VALUE", help="Override a parameter; repeatable.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The folder that holds the months' folders.")] = None,
    jobs: Annotated[int | None, typer.Option(min=1, help="Notebooks executed at a time.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but the result.")] = False,
) -> None:
    """Make the month's report: executed notebooks, report.html, tables, figures, manifest."""
    from collectlab.report.config import split_overrides
    from collectlab.report.run import run

    folder = run(
        params, month=month, overrides=split_overrides(p or ()), out=out, jobs=jobs, progress=not quiet
    )
    print(_short(folder / "report.html"))


@app.command()
def simulate(
    target: Annotated[Path, typer.Argument(help="The folder to write the book to.")],
    accounts: Annotated[int, typer.Option(help="Number of accounts.")] = 3_000,
    months: Annotated[int, typer.Option(help="Length in months.")] = 24,
    seed: Annotated[int | None, typer.Option(help="The same seed gives the same bytes.")] = None,
    end: Annotated[str, typer.Option(help="The last day.")] = "2026-10-31",
    change: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Plant a change of policy, such as bank_wide.")
    ] = None,
) -> None:
    """Write a synthetic book whose truth is known."""
    from collectlab.book.simulate import SEED, write_book

    seed = SEED if seed is None else seed
    written = write_book(target, accounts, months, seed, end, changes=tuple(change or ()))
    for row in written.itertuples():
        print(f"{row.table:<14}{row.rows:>14,} rows")
    print(_short(target))


@app.command("import")
def import_(
    source: Annotated[
        str, typer.Argument(help="A source: a folder with source.yml and one .sql a table, or its name.")
    ],
    raw: Annotated[Path, typer.Argument(help="The folder with the raw files.")],
    target: Annotated[Path, typer.Argument(help="The folder to write the book to.")],
    s: Annotated[
        list[str] | None, typer.Option("-s", metavar="NAME=VALUE", help="Override a setting of the source.")
    ] = None,
) -> None:
    """Turn someone's raw files into a book."""
    from collectlab.book.sources import import_source
    from collectlab.report.config import split_overrides

    print(import_source(source, raw, target, split_overrides(s or ())))


@app.command()
def freeze(
    book: Annotated[
        Path, typer.Argument(help="A book: a folder of Parquet or CSV tables, or a DuckDB file.")
    ],
    target: Annotated[Path, typer.Argument(help="The folder to write the frozen book to.")],
    until: Annotated[
        str | None, typer.Option(help="Only what was known on this day, such as 2026-10-31.")
    ] = None,
) -> None:
    """Write the frozen book: typed Parquet, checksums, quarantine with reasons, reconciliation."""
    from collectlab.book.freeze import freeze as freeze_book

    freeze_book(
        book, target, until=_day(until), progress=lambda line: print(line, file=sys.stderr, flush=True)
    )
    _print_checks(target)


@app.command()
def check(
    book: Annotated[
        Path, typer.Argument(help="A book: a folder of Parquet or CSV tables, or a DuckDB file.")
    ],
) -> None:
    """Check a book. Exit code 0: nothing set aside; 1: some rows set aside; 3: it cannot be used."""
    raise typer.Exit(1 if _print_checks(book, written=False) else 0)


@app.command()
def identify(
    pseudonyms: Annotated[
        list[str], typer.Argument(help="Pseudonyms from a report, such as a04275fd6a48ce542.")
    ],
    book: Annotated[Path, typer.Option(help="The book as the bank has it.")],
    params: Annotated[
        Path, typer.Option(help="The folder that holds .pseudonym_key, unless COLLECTLAB_KEY is set.")
    ] = Path("params"),
) -> None:
    """Print whom pseudonyms stand for: for those who hold the key and the book. Nothing is written."""
    from collectlab.book.freeze_private import identified

    for pseudonym, identifier in identified(pseudonyms, book, params).items():
        print(f"{pseudonym}  {identifier}")


def _day(text: str | None) -> Any:
    import datetime as dt

    from collectlab.core.errors import ParamsError

    try:
        return dt.date.fromisoformat(text) if text else None
    except ValueError:
        raise ParamsError(f"--until: {text!r} is no day. Allowed: YYYY-MM-DD, such as 2026-10-31.") from None


def _print_checks(place: Path, written: bool = True) -> int:
    """Print the reconciliation and the reasons of quarantine; return how many rows were set aside."""
    from collectlab.book import check_told
    from collectlab.book.open import open_book

    book = open_book(place)
    counts = book.reconciliation
    print(f"{'table':<14}{'rows in':>14}{'accepted':>14}{'set aside':>14}")
    for row in counts.itertuples():
        print(f"{row.table:<14}{row.rows_in:>14,}{row.accepted:>14,}{row.quarantined:>14,}")
    for line in check_told.remarks(book.quarantine, counts, book.equal_kept, book.last, written):
        print(line)
    return int(counts["quarantined"].sum())


def _short(path: Path) -> str:
    """A path as seen from here, if it lies below."""
    path = Path(path).resolve()
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit."""
    sys.exit(_run(arguments))


def _run(arguments: list[str] | None) -> int:
    from collectlab.report.staging import stoppable

    try:
        try:
            with stoppable():
                app(arguments, prog_name="collectlab")
        except SystemExit as stop:
            sys.stdout.flush()
            code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
            if code in STOPPED:
                return _fail("Stopped; what was half made has been removed.", code)
            return code
        return 0
    except CollectlabError as error:
        _traceback(error)
        return _fail(f"Error: {error}", error.exit_code)
    except KeyboardInterrupt:
        return _fail("Stopped; what was half made has been removed.", STOPPED[0])
    except BrokenPipeError:
        # The reader of our output has gone; the interpreter would complain once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        _traceback(error)
        number = error.errno if isinstance(error, OSError) else None
        if number in FULL or "No space left on device" in str(error):
            return _fail(
                "Error: the disk is full. Nothing half-written was kept. Make room and run again.",
                ReportError.exit_code,
            )
        if number in UNWRITABLE:
            return _fail(f"Error: cannot read or write: {error}", ReportError.exit_code)
        text = " ".join(str(error).split())[:300]
        return _fail(
            f"Error: {type(error).__name__}: {text}\nThis is a bug in collectlab, not your mistake. "
            "Run again with `collectlab --debug …` and report what it shows.",
            BUG,
        )


def _fail(message: str, code: int) -> int:
    print(message, file=sys.stderr)
    return code


def _traceback(error: BaseException) -> None:
    if not _debug:
        return
    import traceback

    print(getattr(error, "notebook_traceback", ""), file=sys.stderr)
    traceback.print_exception(error, file=sys.stderr)


if __name__ == "__main__":
    main()
