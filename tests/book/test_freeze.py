"""A frozen book: whole or not at all, the same bytes each time, and it says when it was touched."""

import errno
import json
import os
import signal
import subprocess
import sys
import time

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from collectlab.book import freeze as module
from collectlab.book.freeze import freeze, verify
from collectlab.book.open import open_book
from collectlab.core.engine import collect, connection
from collectlab.core.errors import BookError


def frames(later=False):
    snapshots = [
        (account, f"2026-0{month}-28", 30 * (account % 4), 1.0 * account)
        for account in range(40)
        for month in range(1, 4 + later)
    ]
    snapshots += [(99, "2026-01-28", 5, 1.0), (1, "2026-01-10", -5, 1.0), (2, "whenever", 5, 1.0)]
    return {
        "accounts": pd.DataFrame({"account_id": range(40), "group": "a", "originated_on": "2025-01-01"}),
        "snapshots": pd.DataFrame(snapshots, columns=["account_id", "as_of", "days_past_due", "balance"]),
        "payments": pd.DataFrame(
            {
                "account_id": [3, 3, 5],
                "paid_on": ["2026-01-05", "2026-01-05", "2026-03-01"],
                "amount": [5, 5, 7.25],
            }
        ),
    }


def prints(folder):
    """The bytes of every file."""
    return {
        p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()
    }


def test_the_frozen_book_holds_rows_reasons_and_reconciliation(tmp_path):
    book = freeze(frames(), tmp_path / "frozen")
    assert book.reconciliation.values.tolist() == [
        ["accounts", 40, 40, 0], ["snapshots", 123, 120, 3], ["payments", 3, 3, 0]
    ]  # fmt: skip
    assert sorted(prints(tmp_path / "frozen")) == [
        "accounts.parquet", "book.yml", "manifest.json", "payments.parquet",
        "quarantine/snapshots.parquet", "snapshots.parquet",
    ]  # fmt: skip
    aside = pq.read_table(tmp_path / "frozen/quarantine/snapshots.parquet").to_pylist()
    assert {(row["as_of"], row["reasons"][0]) for row in aside} == {
        ("2026-01-28", "account_id is not in accounts"),
        ("2026-01-10", "days_past_due < 0"),
        ("whenever", "as_of is no date"),
    }
    schema = pq.read_schema(tmp_path / "frozen/snapshots.parquet")
    assert schema.field("as_of").type == pa.date32()
    assert schema.field("days_past_due").type == pa.int64()


def test_an_opened_frozen_book_is_the_book_that_was_frozen(tmp_path):
    book = open_book(frames(), name="bank")
    freeze(book, tmp_path / "anything")
    again = open_book(tmp_path / "anything")
    assert (again.name, again.as_of) == ("bank", book.as_of)
    pd.testing.assert_frame_equal(again.reconciliation, book.reconciliation)
    pd.testing.assert_frame_equal(again.quarantine, book.quarantine)
    assert again.remarks == book.remarks
    for table in book.tables:
        by = book.columns(table)
        pd.testing.assert_frame_equal(
            collect(again.table(table)).sort_values(by, ignore_index=True),
            collect(book.table(table)).sort_values(by, ignore_index=True),
        )


def test_the_same_input_gives_the_same_bytes_whatever_its_order_form_or_threads(tmp_path):
    once = freeze(frames(), tmp_path / "once").name
    shuffled = {name: frame.sample(frac=1, random_state=3) for name, frame in frames().items()}
    con = connection()
    threads = con.execute("SELECT current_setting('threads')").fetchall()[0][0]
    con.execute("SET threads = 1")
    try:
        freeze(open_book(shuffled, name=once), tmp_path / "shuffled")
    finally:
        con.execute(f"SET threads = {threads}")
    (tmp_path / "parquet").mkdir()
    for name, frame in frames().items():
        frame.to_parquet(tmp_path / "parquet" / f"{name}.parquet")
    freeze(open_book(tmp_path / "parquet", name=once), tmp_path / "other")
    freeze(tmp_path / "once", tmp_path / "again")
    assert prints(tmp_path / "once") == prints(tmp_path / "shuffled")
    assert prints(tmp_path / "once") == prints(tmp_path / "other")
    assert prints(tmp_path / "once") == prints(tmp_path / "again")


def test_rows_are_sorted_and_in_groups(tmp_path):
    con = duckdb.connect()
    con.execute(
        "CREATE TABLE s AS SELECT a AS account_id, DATE '2026-01-31' + CAST(31 * m AS INT) AS as_of, m AS days_past_due "
        "FROM range(50000) x(a), range(6) y(m) ORDER BY hash(a, m)"
    )
    accounts = con.sql("SELECT DISTINCT account_id FROM s").to_arrow_table()
    freeze({"accounts": accounts, "snapshots": con.table("s").to_arrow_table()}, tmp_path / "f")
    file = pq.ParquetFile(tmp_path / "f/snapshots.parquet")
    sizes = [file.metadata.row_group(i).num_rows for i in range(file.metadata.num_row_groups)]
    assert sizes == [122_880, 122_880, 54_240]
    rows = file.read().to_pandas()
    assert rows.equals(rows.sort_values(["account_id", "as_of"], ignore_index=True))


def test_a_month_frozen_later_is_the_month_frozen_then(tmp_path):
    freeze(open_book(frames(), name="b"), tmp_path / "then")
    freeze(open_book(frames(later=True), name="b"), tmp_path / "later", until="2026-03-28")
    then, later = prints(tmp_path / "then"), prints(tmp_path / "later")
    assert {k: v for k, v in then.items() if k.endswith("parquet")} == {
        k: v for k, v in later.items() if k.endswith("parquet")
    }


def test_the_manifest_holds_no_time_and_no_place(tmp_path):
    freeze(frames(), tmp_path / "frozen")
    text = (tmp_path / "frozen/manifest.json").read_text()
    assert str(tmp_path) not in text
    manifest = json.loads(text)
    assert manifest["as_of"] == "2026-03-28"
    entry = manifest["tables"]["snapshots"]
    assert (entry["rows_in"], entry["accepted"], entry["quarantined"]) == (123, 120, 3)
    assert entry["columns"] == {
        "account_id": "BIGINT", "as_of": "DATE", "days_past_due": "BIGINT", "balance": "DOUBLE"
    }  # fmt: skip


def test_book_yml_is_carried_over(tmp_path):
    (tmp_path / "bank").mkdir()
    for name, frame in frames().items():
        frame.to_csv(tmp_path / "bank" / f"{name}.csv", index=False)
    (tmp_path / "bank/book.yml").write_text(
        "description: 银行\nsynthetic: true\nassumptions: [one, two]\nseed: 7\n"
    )
    freeze(tmp_path / "bank", tmp_path / "frozen")
    book = open_book(tmp_path / "frozen")
    assert (book.name, book.description, book.synthetic) == ("bank", "银行", True)
    assert (book.about.assumptions, book.about.more) == (("one", "two"), {"seed": 7})


def test_verify_says_what_was_touched(tmp_path):
    folder = tmp_path / "frozen"
    freeze(frames(), folder)
    assert verify(folder) == []
    data = bytearray((folder / "payments.parquet").read_bytes())
    data[10] ^= 1
    (folder / "payments.parquet").write_bytes(bytes(data))
    (folder / "quarantine/snapshots.parquet").unlink()
    (folder / "surveys.parquet").write_bytes(b"x")
    with (folder / "book.yml").open("a") as file:
        file.write("currency: CNY\n")
    said = " ".join(verify(folder))
    assert "payments.parquet was changed" in said
    assert "quarantine/snapshots.parquet is missing" in said
    assert "surveys.parquet was added" in said
    assert "book.yml has" in said
    with pytest.raises(BookError, match="is not as it was frozen"):
        open_book(folder)


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        '{"format": 1}',
        '{"format": 99, "book": {"file": "b", "sha256": "", "bytes": 0}, "tables": {}}',
    ],
)
def test_a_broken_manifest_is_told(tmp_path, text):
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(BookError, match=r"manifest\.json"):
        open_book(tmp_path)


def test_a_folder_that_is_no_frozen_book_cannot_be_verified(tmp_path):
    with pytest.raises(BookError, match="no frozen book"):
        verify(tmp_path)


# --- whole or not at all ----------------------------------------------------------------------------------


def test_what_is_there_already_is_left_alone(tmp_path):
    (tmp_path / "frozen").mkdir()
    (tmp_path / "frozen/mine.txt").write_text("mine")
    with pytest.raises(BookError, match="is there already"):
        freeze(frames(), tmp_path / "frozen")
    assert [p.name for p in tmp_path.rglob("*")] == ["frozen", "mine.txt"]


@pytest.mark.parametrize(
    ("fault", "raised", "said"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), BookError, "the disk is full"),
        (OSError(errno.EACCES, "Permission denied"), BookError, "Permission denied"),
        (duckdb.IOException("Could not write file: No space left on device"), BookError, "the disk is full"),
        (duckdb.IOException("Corrupted"), BookError, "cannot be frozen"),
        (KeyboardInterrupt(), KeyboardInterrupt, "^$"),
        (ZeroDivisionError(), ZeroDivisionError, "^$"),
    ],
)
def test_nothing_is_left_of_a_freeze_that_fails(tmp_path, monkeypatch, fault, raised, said):
    copy, done = module._copy, []

    def fails_at_the_third(query, file, order):
        done.append(file)
        if len(done) == 3:
            raise fault
        copy(query, file, order)

    monkeypatch.setattr(module, "_copy", fails_at_the_third)
    with pytest.raises(raised, match=said):
        freeze(frames(), tmp_path / "frozen")
    assert len(done) == 3
    assert list(tmp_path.iterdir()) == []


def test_a_really_full_disk_is_told(tmp_path):
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", str(small)], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("a small disk cannot be mounted here")
    try:
        con = duckdb.connect()
        accounts = con.sql("SELECT range AS account_id, hash(range) AS x FROM range(100000)").to_arrow_table()
        snapshots = con.sql(
            "SELECT range AS account_id, DATE '2026-01-31' AS as_of, 0 AS days_past_due FROM range(100000)"
        ).to_arrow_table()
        with pytest.raises(BookError, match="the disk is full"):
            freeze({"accounts": accounts, "snapshots": snapshots}, small / "frozen")
        assert list(small.iterdir()) == []
    finally:
        subprocess.run(["umount", str(small)], check=True)


@pytest.mark.slow
def test_an_interrupted_run_leaves_nothing(tmp_path):
    script = """
import sys, duckdb
from collectlab.book.freeze import freeze
con = duckdb.connect()
accounts = con.sql("SELECT range AS account_id FROM range(100000)").to_arrow_table()
snapshots = con.sql(
    "SELECT a AS account_id, DATE '2020-01-31' + CAST(31 * m AS INT) AS as_of, 0 AS days_past_due, "
    "hash(a, m) AS x FROM range(100000) t(a), range(40) u(m)"
).to_arrow_table()
freeze({"accounts": accounts, "snapshots": snapshots}, sys.argv[1])
"""
    run = subprocess.Popen([sys.executable, "-c", script, str(tmp_path / "frozen")], stderr=subprocess.PIPE)
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob(".frozen.partial-*/snapshots.parquet")) and time.monotonic() < deadline:
        assert run.poll() is None, run.stderr.read().decode()
        time.sleep(0.01)
    os.kill(run.pid, signal.SIGINT)
    run.wait(60)
    assert run.returncode != 0
    assert list(tmp_path.iterdir()) == []
