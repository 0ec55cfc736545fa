"""What an audit of the contact rules costs: 10 to 100 million simulated actions, all rules of three jurisdictions.

    python benchmarks/conduct_audit.py --millions 10 100

writes logs of simulated actions (some 40 an account, a fifth of the customers with two accounts) into a temporary
folder, sorted by account and time as a frozen book is, and once more in no order. Each is audited in a process of
its own, under the rules of China, the United States and Australia together, broken down by team, agency, channel
and month, with intervals. Printed: wall time, the processor's time (of all cores), wall time as a multiple of a bare scan of the same columns, the peak
memory of the process, and whether violations equal those of a plain loop over a sample of accounts.
"""

from __future__ import annotations

import argparse
import json
import runpy
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from check_and_episodes import machine, peak_megabytes

from collectlab.core.engine import connection
from collectlab.measures.conduct import audit, load_rules

ROOT = Path(__file__).parents[1]
JURISDICTIONS = ("cn", "us", "au")
EACH = 40
SAMPLE = 300


def write_log(folder: Path, rows: int, ordered: bool) -> None:
    """Actions and accounts; everything from hashes, so that each run writes the same."""
    con = connection()
    con.execute(f"SET preserve_insertion_order = {str(ordered).lower()}")
    accounts = rows // EACH
    con.execute(f"""
        COPY (SELECT 'L' || lpad(CAST(a AS VARCHAR), 8, '0') AS account_id,
                     'C' || lpad(CAST(CASE WHEN a % 5 = 4 THEN a - 1 ELSE a END AS VARCHAR), 8, '0') AS customer_id,
                     DATE '2024-01-01' AS originated_on
              FROM range({accounts}) t(a)) TO '{folder / "accounts.parquet"}' (FORMAT parquet)""")
    # An account's actions come in spells: three to a day, every two to seven days.
    source = (
        f"range({rows}) t(r)" if ordered else f"(SELECT (r * 7919) % {rows} AS r FROM range({rows}) t(r))"
    )
    con.execute(f"""
        COPY (
            SELECT 'A' || CAST(r AS VARCHAR) AS action_id, 'L' || lpad(CAST(a AS VARCHAR), 8, '0') AS account_id,
                   TIMESTAMP '2025-03-01' + to_minutes(
                       CAST((hash(a) % 300) * 1440 + (k // 3) * 1440 * (2 + hash(a, 7) % 6) + (k % 3) * 250
                            + 470 + h % 190 AS BIGINT)) AS "at",
                   channel, CASE WHEN channel = 'agency' THEN NULL ELSE 'Team ' || CAST(hash(a, k // 8) % 8 + 1 AS VARCHAR)
                   END AS team,
                   CASE WHEN channel = 'agency' THEN 'Agency ' || CAST(hash(a, 3) % 4 + 1 AS VARCHAR) END AS agency,
                   CASE WHEN voice AND NOT connected THEN NULL
                        WHEN h // 1000 % 25 = 0 THEN 'third_party' ELSE 'debtor' END AS party,
                   CASE WHEN voice THEN connected END AS connected,
                   CASE WHEN voice AND connected THEN 'contact'
                        WHEN voice THEN CASE WHEN h // 7 % 20 = 0 THEN 'wrong_number' ELSE 'no_answer' END END AS outcome,
                   h // 100000 % 10 = 0 AS consent
            FROM (SELECT *, channel IN ('call', 'visit', 'agency') AS voice, h // 11 % 5 = 0 AS connected
                  FROM (SELECT r, r // {EACH} AS a, r % {EACH} AS k, hash(r) AS h,
                               ['call', 'call', 'call', 'sms', 'sms', 'email', 'letter', 'visit', 'agency', 'call']
                               [1 + CAST(hash(r, 1) % 10 AS INTEGER)] AS channel FROM {source}))
            WHERE a < {accounts}
            {'ORDER BY account_id, "at", channel' if ordered and rows <= 20_000_000 else ""}
        ) TO '{folder / "actions.parquet"}' (FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE 122880)""")
    con.execute("SET preserve_insertion_order = false")


COLUMNS = 'account_id, "at", channel, team, agency, party, connected, outcome, consent, action_id'


def scan_seconds(file: Path) -> float:
    """A bare scan of the columns an audit reads."""
    begun = time.perf_counter()
    hashes = ", ".join(f"bit_xor(hash({c}))" for c in COLUMNS.split(", "))
    connection().execute(f"SELECT {hashes} FROM '{file}'").fetchall()
    return time.perf_counter() - begun


def one(folder: Path) -> None:
    """Audit one log in this process and print what it cost as JSON."""
    loop = runpy.run_path(str(ROOT / "tests" / "measures" / "conduct_loop.py"))["loop"]

    rules = [load_rules(j, folder=ROOT / "params" / "contact_rules") for j in JURISDICTIONS]
    bare = scan_seconds(folder / "actions.parquet")
    begun, worked = time.perf_counter(), time.process_time()
    found = audit(folder / "actions.parquet", rules, accounts=folder / "accounts.parquet")
    seconds, cpu, peak = time.perf_counter() - begun, time.process_time() - worked, peak_megabytes()
    # Customers at even distances, all their accounts: audited alone, and by the plain loop.
    con = connection()
    con.execute(f"""CREATE TEMP TABLE chosen AS SELECT * FROM '{folder / "accounts.parquet"}' WHERE customer_id IN
        (SELECT DISTINCT customer_id FROM '{folder / "accounts.parquet"}' ORDER BY hash(customer_id) LIMIT {SAMPLE})""")
    some = con.execute(f"""SELECT * FROM '{folder / "actions.parquet"}' WHERE account_id IN
        (SELECT account_id FROM chosen)""").df()
    owners = con.execute("SELECT * FROM chosen").df()
    ours = audit(some, rules, accounts=owners)
    plain = {key: len(broken) for key, (_, broken) in loop(some, rules, owners).items()}
    counted = ours.table[ours.table["by"] == "all"].set_index("rule")["violations"].to_dict()
    equal = all(counted.get(key, 0) == n for key, n in plain.items())
    everybody = found.table[found.table["by"] == "all"]
    print(
        json.dumps(
            {
                "rows": found.judged, "seconds": seconds, "cpu": cpu, "bare": bare, "peak": peak, "equal": equal,
                "sample": len(some), "broken": sum(plain.values()), "rules": len(everybody),
                "violations": int(everybody["violations"].sum()), "aside": found.rows_in - found.judged,
            }
        )
    )  # fmt: skip


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--millions", type=int, nargs="+", default=[10, 100])
    asked.add_argument("--one", type=Path, help=argparse.SUPPRESS)
    given = asked.parse_args()
    if given.one:
        return one(given.one)
    print(machine())
    print(
        f"Rules of {', '.join(JURISDICTIONS)}; by team, agency, channel and month; jackknife over customers."
    )
    head = f"{'actions':>12} {'order':>9} {'rules':>6} {'seconds':>8} {'of CPU':>7} {'x scan':>7} {'peak GiB':>9} {'violations':>12}"
    print(f"{head}  loop on a sample")
    for millions in given.millions:
        for ordered in (True, False):
            with tempfile.TemporaryDirectory() as folder:
                write_log(Path(folder), millions * 1_000_000, ordered)
                told = subprocess.run(
                    [sys.executable, __file__, "--one", folder], check=True, capture_output=True, text=True
                )
            r = json.loads(told.stdout.strip().splitlines()[-1])
            equal = "equal" if r["equal"] else "DIFFERS"
            print(
                f"{r['rows']:>12,} {'sorted' if ordered else 'none':>9} {r['rules']:>6} {r['seconds']:>8.1f} "
                f"{r['cpu']:>7.1f} "
                f"{r['seconds'] / r['bare']:>7.1f} {r['peak'] / 1024:>9.2f} {r['violations']:>12,}  "
                f"{equal} on {r['sample']:,} actions with {r['broken']:,} violations",
                flush=True,
            )


if __name__ == "__main__":
    main()
