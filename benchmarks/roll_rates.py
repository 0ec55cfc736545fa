"""What roll rates cost beside a bare scan of the columns they read, from 1 to 100 million account-months.

    python benchmarks/roll_rates.py --millions 1 10 100

writes the snapshots of a synthetic frozen book (24 months an account, sorted by account and date, one account in
five delinquent at times, as ``freeze`` writes them) into a temporary folder, runs each way in a process of its
own and prints the best wall time of ``--repeats`` runs, that time as a multiple of the bare scan timed in the same
process right before it, and the peak memory of the process. ``--text`` gives the accounts ids of text.

Ours come with their intervals (jackknife over accounts); the others are counts alone. The window form and the
peers that hold everything in memory run up to ``--small`` million rows. The package roll-rate-analysis takes part
where it is installed.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

from check_and_episodes import best, machine, peak_megabytes

import collectlab as cl
from collectlab.core.engine import connection
from collectlab.measures import roll_count

COLUMNS = "account_id, as_of, days_past_due, status"
STATE = """CASE WHEN status <> 'open' THEN 6 ELSE (days_past_due >= 1)::INT + (days_past_due >= 30)::INT
    + (days_past_due >= 60)::INT + (days_past_due >= 90)::INT + (days_past_due >= 120)::INT END"""


def write_book(file: Path, rows: int, text: bool) -> None:
    account = "'L' || lpad(CAST(r // 24 AS VARCHAR), 9, '0')" if text else "r // 24"
    connection().execute("SET preserve_insertion_order = true")
    connection().execute(f"""
        COPY (
            SELECT account_id, as_of, status, balance, CASE
                WHEN status = 'charged_off' THEN 150 WHEN hash(a) % 5 > 0 THEN 0
                ELSE greatest(0, 30 * ((m + hash(a, 1) % 24) % (3 + hash(a, 2) % 7)) - 45 + (h % 30)::INT)
            END::BIGINT AS days_past_due
            FROM (
                SELECT {account} AS account_id, r // 24 AS a, (r % 24)::INT AS m, hash(r) AS h,
                    last_day(DATE '2022-01-15' + to_months(m)) AS as_of, (h % 1000000) / 100 AS balance,
                    CASE WHEN m = 23 AND hash(a) % 50 = 0 THEN 'charged_off' ELSE 'open' END AS status
                FROM range({rows}) AS t(r)
            )
            WHERE h // 1000000 % 200 > 0
        ) TO '{file}' (FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE 122880)""")
    connection().execute("SET preserve_insertion_order = false")


def frame(file: Path):
    return connection().sql(f"SELECT * FROM read_parquet('{file}')")


def scan(file: Path) -> None:
    """Read every value of the columns once; the hash keeps the engine from answering out of statistics."""
    connection().execute(f"SELECT bit_xor(hash(r)) FROM (SELECT {COLUMNS} FROM '{file}') AS r").fetchall()


def stream(file: Path) -> None:
    cl.roll_rates.roll_rates(frame(file))


def window(file: Path) -> None:
    roll_count.stream_steps = lambda *_, **__: None
    cl.roll_rates.roll_rates(frame(file))


def duckdb_lag(file: Path) -> None:
    connection().execute(f"""
        SELECT "from", "to", count(*) FROM (
            SELECT state AS "from", lead(state) OVER w AS "to", month, lead(month) OVER w AS next
            FROM (
                SELECT account_id, as_of, {STATE} AS state, year(as_of) * 12 + month(as_of) AS month FROM '{file}'
            )
            WINDOW w AS (PARTITION BY account_id ORDER BY as_of)
        )
        WHERE next = month + 1 GROUP BY ALL""").fetchall()


def pandas_shift(file: Path) -> None:
    import pandas as pd

    rows = pd.read_parquet(file, columns=COLUMNS.split(", ")).sort_values(["account_id", "as_of"])
    state = pd.cut(rows["days_past_due"], [-1, 0, 29, 59, 89, 119, 10**6], labels=False)
    rows["from"] = state.where(rows["status"] == "open", 6)
    rows["month"] = rows["as_of"].astype("datetime64[s]").dt.to_period("M").astype("int64")
    ahead = rows.groupby("account_id", sort=False)[["from", "month"]].shift(-1)
    step = ahead["month"] == rows["month"] + 1
    pd.crosstab(rows.loc[step, "from"], ahead.loc[step, "from"])


def roll_rate_analysis(file: Path) -> None:
    import polars as pl
    from roll_rate_analysis import MOMRollRateTable

    rows = pl.scan_parquet(file).select(
        "account_id", "as_of", delinquency=(pl.col("days_past_due") + 29) // 30
    )
    months = rows.select(pl.col("as_of").unique().sort()).collect()["as_of"].to_list()
    for one, following in pairwise(months):
        pair = (rows.filter(pl.col("as_of") == month) for month in (one, following))
        MOMRollRateTable(
            *pair, unique_key_col="account_id", delinquency_col="delinquency", max_delq=5
        ).compute()


WAYS: dict[str, tuple[Callable[[Path], None], bool]] = {
    "roll_rates, stream": (stream, False),
    "plain DuckDB lag": (duckdb_lag, False),
    "roll_rates, window form": (window, True),
    "pandas shift": (pandas_shift, True),
    "roll-rate-analysis": (roll_rate_analysis, True),
}


def measure(way: str, file: Path, repeats: int) -> dict[str, float]:
    """In the child process: the scan's time, the way's time, and the peak memory."""
    scanned = best(lambda _: scan(file), repeats)
    wall = best(lambda _: WAYS[way][0](file), repeats)
    return {"scan": scanned, "wall": wall, "peak": peak_megabytes()}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--millions", type=int, nargs="+", default=[1, 10, 100])
    parser.add_argument("--small", type=int, default=10, help="most million rows for the slower ways")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--text", action="store_true")
    parser.add_argument("--way", choices=list(WAYS), help=argparse.SUPPRESS)
    parser.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.way:
        print(json.dumps(measure(given.way, given.file, given.repeats)))
        return
    print(f"machine: {machine()}")
    print(f"accounts have ids of {'text' if given.text else 'whole numbers'}; best of {given.repeats} runs\n")
    print(f"{'rows':>12}  {'':<26}{'wall, s':>9}{'scan, s':>9}{'ratio':>8}{'peak, MB':>10}")
    for millions in given.millions:
        with tempfile.TemporaryDirectory() as place:
            file = Path(place) / "snapshots.parquet"
            write_book(file, millions * 1_000_000, given.text)
            rows = connection().execute(f"SELECT count(*) FROM '{file}'").fetchall()[0][0]
            for way, (_, small) in WAYS.items():
                missing = way == "roll-rate-analysis" and not importlib.util.find_spec("roll_rate_analysis")
                if missing or (small and millions > given.small):
                    continue
                command = [sys.executable, __file__, "--way", way, "--file", str(file)]
                child = subprocess.run(
                    [*command, "--repeats", str(given.repeats)],
                    stdout=subprocess.PIPE,
                    text=True,
                    check=True,
                )
                found = json.loads(child.stdout.splitlines()[-1])
                print(
                    f"{rows:>12,}  {way:<26}{found['wall']:>9.2f}{found['scan']:>9.2f}"
                    f"{found['wall'] / found['scan']:>8.1f}{found['peak']:>10,.0f}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
