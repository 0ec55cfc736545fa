"""A bank with a known truth: simulate a book of accounts, and what each strategy and channel really does.

The bank has customers with latent ability and willingness to pay, five products, twelve branches, staged
collection, promises, hardship relief, complaints, courts and losses. Half the customers are in a randomised
champion/challenger test; in the other half collectors choose, and give the hard cases the calls and visits,
so that the naive comparison misleads. Nobody in it is real.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from collectlab.book.partial import partial_folder, publish
from collectlab.book.simulate_bank import PROBLEMS, Luck, Settings, draw_accounts
from collectlab.book.simulate_changes import CHANGES, Schedule, change_schedule
from collectlab.book.simulate_days import Days
from collectlab.book.simulate_tables import tables_of
from collectlab.book.simulate_truth import changes_truth, effects_truth, problems_truth
from collectlab.core.errors import BookError, first_few, nearest

__all__ = ["CHANGES", "PROBLEMS", "Schedule", "Simulated", "change_schedule", "simulate", "write_book"]

SEED = 20261031
CHUNK = 50_000
ROW_GROUP = 120_000
MILD = tuple(PROBLEMS)


@dataclass(frozen=True, kw_only=True)
class Simulated:
    """A simulated book and its truth.

    Attributes
    ----------
    book_tables : dict of str to pyarrow.Table
        The tables of the data contract, each sorted by account and date. ``open_book`` takes them as
        they are.
    truth : dict of str to pandas.DataFrame
        ``effects``: what each strategy and channel causes, by segment, from counterfactual re-runs;
        ``problems``: what was planted, where, and how strongly; ``changes``, where changes of policy were
        planted: what each causes.
    settings : Settings
        What it was made with.
    """

    book_tables: dict[str, pa.Table]
    truth: dict[str, pd.DataFrame]
    settings: Settings
    snapshots: str = "month_end"

    def write(self, folder: str | Path) -> pd.DataFrame:
        """Write the book, ``book.yml`` and ``truth/`` into ``folder``; returns rows and bytes by table."""
        return _write(Path(folder), self.settings, self.snapshots, iter([self.book_tables]), self.truth)


def simulate(
    accounts: int = 3_000,
    months: int = 24,
    seed: int = SEED,
    end: str | date = "2026-10-31",
    *,
    problems: tuple[str, ...] = MILD,
    hidden_confounding: float = 0.0,
    changes: tuple[str, ...] = (),
    snapshots: str = "month_end",
    truth_accounts: int | None = None,
) -> Simulated:
    """Simulate a bank's collection book in memory.

    Parameters
    ----------
    accounts : int
        Number of accounts. The first thousand of a larger book are the smaller book's.
    months : int
        Length of the window in months; snapshots are taken at each month's end.
    seed : int
        The same seed gives the same book, whatever the machine or the number of accounts.
    end : str or datetime.date
        Last day of the window; the last day of a month.
    problems : tuple of str
        Names from ``PROBLEMS`` to plant; all of them, mildly, by default.
    hidden_confounding : float
        Weight of the latent traits, which no column shows, in the collectors' choice of strategy. At 0
        the choice rests on ``credit_score`` and ``monthly_income`` alone.
    changes : tuple of str
        Names from ``CHANGES`` to plant; none by default. ``change_schedule(bank.settings)`` says where and
        when, for a book without the change as well. Two things move the book's level besides: the planted
        problem ``loose_partner_loans`` in the last months (leave problems out), and the champion/challenger
        test from ``Settings.test_start`` on (take the accounts outside it).
    snapshots : {"month_end", "daily"}
        Daily snapshots of the same accounts, for small books.
    truth_accounts : int, optional
        How many accounts of the same bank the truth is computed on; by default the book's own number, at
        least 20,000 and at most 60,000 (three times as many for changes). 0 leaves the effects out.

    Returns
    -------
    Simulated

    Raises
    ------
    BookError
        If an argument is out of range or names an unknown problem or change.

    Examples
    --------
    >>> bank = simulate(accounts=200, months=6, truth_accounts=0)
    >>> bank.book_tables["accounts"].num_rows
    200
    """
    settings = _settings(accounts, months, seed, end, problems, hidden_confounding, changes, snapshots)
    chunks = list(_chunks(settings, snapshots))
    tables = {name: pa.concat_tables([chunk[name] for chunk in chunks]) for name in chunks[0]}
    return Simulated(
        book_tables=tables, truth=_truth(settings, truth_accounts), settings=settings, snapshots=snapshots
    )


def write_book(
    folder: str | Path,
    accounts: int = 3_000,
    months: int = 24,
    seed: int = SEED,
    end: str | date = "2026-10-31",
    *,
    problems: tuple[str, ...] = MILD,
    hidden_confounding: float = 0.0,
    changes: tuple[str, ...] = (),
    snapshots: str = "month_end",
    truth_accounts: int | None = None,
) -> pd.DataFrame:
    """Simulate a book straight into a folder, a chunk of accounts at a time, in bounded memory.

    Parameters as in :func:`simulate`. The folder appears whole or not at all, and holds one Parquet file a
    table, ``book.yml`` and ``truth/*.csv``.

    Returns
    -------
    pandas.DataFrame
        ``table, rows, bytes``.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as place:
    ...     written = write_book(place + "/bank", accounts=200, months=6, truth_accounts=0)
    >>> written.query("table == 'accounts'")["rows"].tolist()
    [200]
    """
    settings = _settings(accounts, months, seed, end, problems, hidden_confounding, changes, snapshots)
    truth = _truth(settings, truth_accounts)
    return _write(Path(folder), settings, snapshots, _chunks(settings, snapshots), truth)


def _settings(accounts, months, seed, end, problems, hidden_confounding, changes, snapshots) -> Settings:
    faults = []
    for name, value, low, high in (
        ("accounts", accounts, 1, 10_000_000),
        ("months", months, 1, 120),
        ("seed", seed, 0, 2**63),
    ):
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            faults.append(f"{name} = {value!r}. Allowed: whole numbers from {low:,} to {high:,}.")
    try:
        last = date.fromisoformat(str(end)[:10])
        if (last + timedelta(days=1)).day != 1:
            faults.append(f"end = {end}. Allowed: the last day of a month, such as 2026-10-31.")
        elif not 1990 <= last.year <= 2100:
            faults.append(f"end = {end}. Allowed: from 1990 to 2100.")
    except ValueError:
        last = None
        faults.append(f"end = {end!r} is no date. Allowed: the last day of a month, such as 2026-10-31.")
    for kind, names, known in (("problem", problems, PROBLEMS), ("change", changes, CHANGES)):
        if isinstance(names, str):
            faults.append(
                f"{kind}s = {names!r} is one text. Allowed: a tuple of names, such as ({names!r},)."
            )
            continue
        for name in names:
            if name not in known:
                near = nearest(name, known)
                hint = f" Did you mean {' or '.join(near)}?" if near else ""
                faults.append(f"unknown {kind} {name!r}.{hint} Allowed: {first_few(list(known), 20)}.")
    if snapshots not in ("month_end", "daily"):
        faults.append(f"snapshots = {snapshots!r}. Allowed: month_end, daily.")
    elif not faults and snapshots == "daily" and accounts * months > 500_000:
        faults.append(
            f"daily snapshots of {accounts:,} accounts over {months} months are too many. "
            "Allowed: accounts × months up to 500,000."
        )
    if faults:
        raise BookError(faults)
    return Settings(
        seed=seed,
        accounts=accounts,
        months=months,
        end=last,
        problems=tuple(sorted(problems)),
        hidden_confounding=float(hidden_confounding),
        changes=tuple(sorted(set(changes))),
    )


def _chunks(settings: Settings, snapshots: str) -> Iterator[dict[str, pa.Table]]:
    luck, actions = Luck(settings.seed), 0
    for first in range(0, settings.accounts, CHUNK):
        accounts = draw_accounts(settings, luck, first, min(first + CHUNK, settings.accounts))
        tables = tables_of(Days(settings, luck, accounts, daily=snapshots == "daily").run(), actions)
        actions += tables["actions"].num_rows
        yield tables


def _truth(settings: Settings, accounts: int | None) -> dict[str, pd.DataFrame]:
    if accounts is None:
        accounts = min(max(settings.accounts, 20_000), 60_000)
    truth = {"problems": problems_truth(settings)}
    if accounts:
        truth["effects"] = effects_truth(settings, accounts)
        if settings.changes:
            truth["changes"] = changes_truth(settings, accounts)
    return truth


def _write(
    folder: Path,
    settings: Settings,
    snapshots: str,
    chunks: Iterator[dict[str, pa.Table]],
    truth: dict[str, pd.DataFrame],
) -> pd.DataFrame:
    if folder.exists() and not _simulated(folder) and (not folder.is_dir() or any(folder.iterdir())):
        raise BookError(
            f"{folder} exists and is not a simulated book. Allowed: a new or empty folder, or an "
            "earlier simulated book, which is then replaced."
        )
    with partial_folder(folder) as place:
        building = place / "book"
        building.mkdir()
        summary = _fill(building, settings, snapshots, chunks, truth)
        publish(building, folder)
    return summary


def _simulated(folder: Path) -> bool:
    """Whether an earlier run wrote the folder: not someone's own synthetic book, nor a frozen one."""
    try:
        about = yaml.safe_load((folder / "book.yml").read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError, UnicodeDecodeError):
        return False
    return isinstance(about, dict) and "rebuilt_by" in about and not (folder / "manifest.json").exists()


def _fill(
    building: Path,
    settings: Settings,
    snapshots: str,
    chunks: Iterator[dict[str, pa.Table]],
    truth: dict[str, pd.DataFrame],
) -> pd.DataFrame:
    writers: dict[str, pq.ParquetWriter] = {}
    rows: dict[str, int] = {}
    try:
        for tables in chunks:
            for name, table in tables.items():
                if name not in writers:
                    writers[name] = pq.ParquetWriter(
                        building / f"{name}.parquet",
                        table.schema,
                        compression="zstd",
                        compression_level=9 if settings.accounts <= CHUNK else 3,
                    )
                writers[name].write_table(table, row_group_size=ROW_GROUP)
                rows[name] = rows.get(name, 0) + table.num_rows
    finally:
        for writer in writers.values():
            writer.close()
    (building / "truth").mkdir()
    for name, frame in truth.items():
        frame.to_csv(building / "truth" / f"{name}.csv", index=False, lineterminator="\n")
    (building / "book.yml").write_text(_about(settings, snapshots), encoding="utf-8")
    return pd.DataFrame(
        [
            {"table": name, "rows": count, "bytes": (building / f"{name}.parquet").stat().st_size}
            for name, count in rows.items()
        ]
    )


def _about(settings: Settings, snapshots: str) -> str:
    changes = rebuilt = also = ""
    if settings.changes:
        plan = change_schedule(settings)
        changes = f"changes: [{', '.join(settings.changes)}]\nchange_schedule:\n"
        if "branch_rollout" in settings.changes:
            days = ", ".join(f"{branch}: {day or 'null'}" for branch, day in plan.branch_rollout.items())
            changes += f"  branch_rollout: {{{days}}}\n"
        if "bank_wide" in settings.changes:
            changes += f"  bank_wide: {plan.bank_wide}\n"
        if "threshold" in settings.changes:
            changes += f"  threshold: {plan.threshold}\n"
        also = ", that of the changes of policy in truth/changes.csv"
        rebuilt = "".join(f" --change {name}" for name in settings.changes)
    return f"""\
name: Example bank (synthetic)
description: >-
  SYNTHETIC. A simulated retail bank; no account, customer, agent, branch or agency in it is real.
  The known truth is in truth/effects.csv and truth/problems.csv{also}.
synthetic: true
currency: CNY
licence: Apache-2.0
snapshot_frequency: {snapshots}
exact_dpd: true
assumptions:
  - Instalments are equal; interest on arrears and late fees are left out.
  - Settled, sold and closed accounts have one last snapshot; charged-off ones go on.
  - Deferral, rate cut and restructuring make an account current again, and forborne from then on.
seed: {settings.seed}
accounts: {settings.accounts}
months: {settings.months}
end: {settings.end.isoformat()}
problems: [{", ".join(settings.problems)}]
hidden_confounding: {settings.hidden_confounding:g}
{changes}rebuilt_by: >-
  collectlab simulate FOLDER --accounts {settings.accounts} --months {settings.months}
  --seed {settings.seed} --end {settings.end.isoformat()}{rebuilt}
"""
