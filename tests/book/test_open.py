"""Opening what people have: folders of CSV or Parquet, a DuckDB file, frames; and cutting a book in time."""

import datetime as dt
import gzip

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from collectlab.book.open import open_book
from collectlab.core.engine import collect, connection
from collectlab.core.errors import BookError, NotAvailable

ACCOUNTS = "account_id,customer_id,originated_on,region,score\n007,c1,2025-01-01,north,1.5\n8,c2,2026-02-10,south,2\n"
SNAPSHOTS = (
    "account_id,as_of,days_past_due,status\n"
    "007,2026-01-31,0,open\n007,2026-02-28,12,open\n8,2026-02-28,0,open\n007,2026-03-31,40,open\n"
)


@pytest.fixture
def folder(tmp_path):
    place = tmp_path / "bank"
    place.mkdir()
    (place / "accounts.csv").write_text(ACCOUNTS)
    (place / "snapshots.csv").write_text(SNAPSHOTS)
    return place


def frames(**more):
    return {
        "accounts": pd.DataFrame({"account_id": [1, 2], "originated_on": ["2025-01-01", "2026-02-10"]}),
        "snapshots": pd.DataFrame(
            {
                "account_id": [1, 1, 2, 1],
                "as_of": ["2026-01-31", "2026-02-28", "2026-02-28", "2026-03-31"],
                "days_past_due": [0, 12, 0, 40],
            }
        ),
        **more,
    }


def counts(book):
    return dict(zip(book.reconciliation["table"], book.reconciliation["accepted"]))


# --- sources ----------------------------------------------------------------------------------------------


def test_a_folder_of_csv_is_a_book(folder):
    book = open_book(folder)
    assert (book.name, book.synthetic, book.as_of) == ("bank", False, dt.date(2026, 3, 31))
    accounts = collect(book.table("accounts").sort("account_id"))
    assert accounts["account_id"].tolist() == ["007", "8"]
    assert accounts["score"].tolist() == [1.5, 2.0]
    assert counts(book) == {"accounts": 2, "snapshots": 4}


def test_gzip_semicolons_and_a_byte_order_mark_are_read(folder):
    (folder / "accounts.csv").unlink()
    text = "\ufeff" + ACCOUNTS.replace(",", ";")
    (folder / "accounts.csv.gz").write_bytes(gzip.compress(text.encode()))
    assert counts(open_book(folder)) == {"accounts": 2, "snapshots": 4}


@pytest.mark.parametrize("kind", ["pandas", "polars", "lazy", "arrow", "duckdb", "parquet", "database"])
def test_the_same_tables_are_the_same_book_in_any_form(kind, tmp_path):
    tables = frames()
    if kind == "polars":
        tables = {name: pl.from_pandas(frame) for name, frame in tables.items()}
    elif kind == "lazy":
        tables = {name: pl.from_pandas(frame).lazy() for name, frame in tables.items()}
    elif kind == "arrow":
        tables = {name: pa.Table.from_pandas(frame) for name, frame in tables.items()}
    elif kind == "duckdb":
        tables = {name: connection().from_arrow(pa.Table.from_pandas(f)) for name, f in tables.items()}
    elif kind == "parquet":
        for name, frame in tables.items():
            frame.to_parquet(tmp_path / f"{name}.parquet")
        tables = tmp_path
    elif kind == "database":
        with duckdb.connect(str(tmp_path / "bank.duckdb")) as con:
            for name, frame in tables.items():
                con.from_arrow(pa.Table.from_pandas(frame)).create(name)
        tables = tmp_path / "bank.duckdb"
    book = open_book(tables)
    assert counts(book) == {"accounts": 2, "snapshots": 4}
    rows = collect(book.table("snapshots").sort("account_id", "as_of"))
    assert rows["days_past_due"].tolist() == [0, 12, 40, 0]
    assert book.as_of == dt.date(2026, 3, 31)


def test_ids_in_csv_take_the_type_they_have_elsewhere(folder):
    pd.DataFrame({"account_id": [7, 8], "as_of": dt.date(2026, 1, 31), "days_past_due": 0}).to_parquet(
        folder / "snapshots.parquet"
    )
    (folder / "snapshots.csv").unlink()
    (folder / "accounts.csv").write_text("account_id\n7\n8\nnine\n")
    book = open_book(folder)
    assert collect(book.table("accounts"))["account_id"].sort_values().tolist() == [7, 8]
    assert book.quarantine["rule"].tolist() == ["account_id is no whole number"]


def test_one_account_is_a_book():
    book = open_book(
        {"accounts": pd.DataFrame({"account_id": ["a"]}), "snapshots": pd.DataFrame(
            {"account_id": ["a"], "as_of": ["2026-01-31"], "days_past_due": [0]})}
    )  # fmt: skip
    assert counts(book) == {"accounts": 1, "snapshots": 1}


def test_ids_may_hold_markup_and_columns_any_name(tmp_path):
    (tmp_path / "accounts.csv").write_text(
        'account_id,group,"a ""b"" c",,\n<script>alert(1)</script>,x,1,y,z\n'
    )
    (tmp_path / "snapshots.csv").write_text(
        "account_id,as_of,days_past_due\n<script>alert(1)</script>,2026-01-31,-1\n"
        "<script>alert(1)</script>,2026-02-28,1\n"
    )
    book = open_book(tmp_path, name="<b>bank</b>")
    assert book.columns("accounts") == ["account_id", "group", 'a "b" c', "column4", "column5"]
    assert "<script>alert(1)</script> (-1)" in book.quarantine["examples"].item()
    assert "<b>" not in book._repr_html_()
    sub = book.where('"group" = \'x\' AND "a ""b"" c" = 1')
    assert counts(sub) == {"accounts": 1, "snapshots": 1}


# --- faults -----------------------------------------------------------------------------------------------


def test_lines_that_are_no_rows_are_set_aside_with_their_text(folder):
    (folder / "snapshots.csv").write_text(SNAPSHOTS + "007,2026-04-30\n007,2026-05-31,0,open,more\n")
    book = open_book(folder)
    assert book.reconciliation.loc[1].tolist() == ["snapshots", 6, 4, 2]
    kept = (
        connection().execute(f"SELECT original_line FROM ({book.aside['snapshots']}) ORDER BY 1").fetchall()
    )
    assert kept == [("007,2026-04-30",), ("007,2026-05-31,0,open,more",)]
    assert "snapshots: 1 of 6 rows: line is no row: missing columns (line 6)." in book.remarks[0]


def test_csv_in_another_encoding_is_refused_until_book_yml_names_it(folder):
    chinese = ACCOUNTS.replace("north", "北方").encode("gb18030")
    (folder / "accounts.csv").write_bytes(chinese)
    with pytest.raises(
        BookError, match=r"accounts\.csv is not utf-8: line 2 holds bytes .*encoding: gb18030"
    ):
        open_book(folder)
    (folder / "book.yml").write_text("encoding: gb18030\nsynthetic: true\n")
    book = open_book(folder)
    assert "北方" in collect(book.table("accounts"))["region"].tolist()
    assert book.synthetic


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("encoding: klingon\n", "unknown encoding 'klingon'"),
        ("synthetik: true\n", "did you mean 'synthetic'"),
        ("name: [\n", "book.yml cannot be read"),
        ("just words\n", "keys with values are expected"),
        ("exact_dpd: sometimes\n", "exact_dpd: "),
    ],
)
def test_a_faulty_book_yml_is_told(folder, text, said):
    (folder / "book.yml").write_text(text)
    with pytest.raises(BookError) as raised:
        open_book(folder)
    assert said in str(raised.value)


def test_files_that_cannot_be_read_are_all_told(folder):
    (folder / "accounts.csv").write_bytes(b"")
    (folder / "snapshots.csv").unlink()
    pd.DataFrame({"account_id": range(5000)}).to_parquet(folder / "snapshots.parquet")
    whole = (folder / "snapshots.parquet").read_bytes()
    (folder / "snapshots.parquet").write_bytes(whole[: len(whole) // 2])
    (folder / "payments.csv.gz").write_bytes(gzip.compress(ACCOUNTS.encode() * 100)[:-20])
    with pytest.raises(BookError) as raised:
        open_book(folder)
    assert [fault.split(" ")[0] for fault in raised.value.faults] == [
        "accounts.csv",
        "snapshots.parquet",
        "payments.csv.gz",
    ]
    assert "cut short" in raised.value.faults[1]
    assert str(folder) not in str(raised.value)


def test_parquet_whose_pages_are_damaged_is_told(folder):
    (folder / "snapshots.csv").unlink()
    frame = pd.DataFrame(
        {"account_id": [str(i) for i in range(20000)], "as_of": "2026-01-31", "days_past_due": 1}
    )
    frame.to_parquet(folder / "snapshots.parquet")
    whole = bytearray((folder / "snapshots.parquet").read_bytes())
    whole[100:20000] = b"\xff" * 19900
    (folder / "snapshots.parquet").write_bytes(bytes(whole))
    with pytest.raises(BookError, match="cannot be read to its end"):
        open_book(folder)


def test_a_table_there_twice_is_refused(folder):
    (folder / "accounts.CSV.gz").write_bytes(gzip.compress(ACCOUNTS.encode()))
    with pytest.raises(BookError, match="accounts is there twice"):
        open_book(folder)


@pytest.mark.parametrize("source", [3, None, pd.DataFrame({"account_id": [1]})])
def test_what_is_no_book_is_refused(source):
    with pytest.raises(BookError, match="is no book"):
        open_book(source)


def test_a_file_that_is_no_database_is_refused(tmp_path):
    (tmp_path / "bank.duckdb").write_text("hello " * 5000)
    with pytest.raises(BookError, match=r"bank\.duckdb cannot be opened"):
        open_book(tmp_path / "bank.duckdb")


def test_mixed_types_in_a_frame_are_told_apart_row_by_row():
    tables = frames()
    tables["snapshots"]["days_past_due"] = [0, "twelve", 3.5, None]
    book = open_book(tables)
    assert dict(zip(book.quarantine["rule"], book.quarantine["rows"])) == {
        "days_past_due is missing": 1, "days_past_due is no whole number": 2
    }  # fmt: skip


# --- the book's own questions -----------------------------------------------------------------------------


def test_an_absent_table_is_said_in_one_line():
    book = open_book(frames())
    with pytest.raises(NotAvailable, match=r"^this book has no payments; .*$"):
        book.table("payments")
    assert not book.has("payments")
    assert book.columns("payments") == []
    with pytest.raises(BookError, match="no table 'payment'"):
        book.table("payment")


def test_where_keeps_the_accounts_and_their_rows():
    book = open_book(frames()).where("originated_on < DATE '2026-01-01'")
    assert counts(book) == {"accounts": 1, "snapshots": 3}
    with pytest.raises(
        BookError, match=r"where\('colour = 1'\).*Columns of accounts: account_id, originated_on"
    ):
        book.where("colour = 1")


def test_a_sub_book_of_no_accounts_has_no_last_date():
    book = open_book(frames()).where("false")
    assert counts(book) == {"accounts": 0, "snapshots": 0}
    with pytest.raises(BookError, match="no snapshots are left"):
        _ = book.as_of


def test_until_leaves_out_what_came_later():
    payments = pd.DataFrame({"account_id": 1, "paid_on": ["2026-01-31", "2026-02-01"], "amount": 5})
    actions = pd.DataFrame(
        {"account_id": 1, "at": ["2026-01-31 23:59:59", "2026-02-01 00:00:00"], "channel": "sms"}
    )
    book = open_book(frames(payments=payments, actions=actions)).until("2026-01-31")
    assert counts(book) == {"accounts": 1, "snapshots": 1, "payments": 1, "actions": 1}
    assert book.as_of == dt.date(2026, 1, 31)


def test_until_blanks_facts_that_were_filled_in_later():
    arrangements = pd.DataFrame(
        {
            "account_id": 1,
            "kind": ["deferral", "payment_plan", "settlement", "rate_cut", "restructuring"],
            "started_on": "2026-01-10",
            "ended_on": ["2026-01-20", "2026-03-01", None, None, "2026-04-30"],
            "status": ["kept", "broken", "active", "kept", "kept"],
        }
    )
    cases = pd.DataFrame(
        {
            "account_id": 1,
            "filed_on": ["2026-01-02", "2026-01-03", "2026-01-04"],
            "stage": ["judgment", "judgment", "hearing"],
            "decided_on": ["2026-01-31", "2026-02-01", None],
            "result": ["won", "lost", None],
            "recovered": [100.0, 50.0, 20.0],
        }
    )
    book = open_book(frames(arrangements=arrangements, legal_cases=cases))
    now = collect(book.table("arrangements").sort("kind"))
    assert now["status"].tolist() == [
        "kept",
        "broken",
        "kept",
        "active",
        "active",
    ]  # the last ends after the book
    cut = book.until("2026-01-31")
    then = collect(cut.table("arrangements").sort("kind")).astype(object).where(lambda f: f.notna(), None)
    assert then["status"].tolist() == ["kept", "active", None, "active", "active"]
    assert then["ended_on"].notna().tolist() == [True, False, False, False, False]
    then = collect(cut.table("legal_cases").sort("filed_on")).astype(object).where(lambda f: f.notna(), None)
    assert then["result"].tolist() == ["won", None, None]
    assert then["recovered"].tolist() == [100.0, None, None]
    assert then["stage"].tolist() == ["judgment", None, None]


def test_until_cuts_the_quarantine_too():
    tables = frames()
    tables["snapshots"] = pd.concat(
        [tables["snapshots"], pd.DataFrame(
            {"account_id": [1, 1, 1], "as_of": ["2026-01-15", "2026-03-15", "never"], "days_past_due": -1})]
    )  # fmt: skip
    book = open_book(tables)
    assert book.reconciliation.loc[1].tolist() == ["snapshots", 7, 4, 3]
    assert book.until("2026-02-01").reconciliation.loc[1].tolist() == ["snapshots", 3, 1, 2]


def test_a_date_before_the_first_snapshot_is_refused():
    with pytest.raises(
        BookError, match=r"no snapshots up to 2025-12-31\. Its snapshots run from 2026-01-31 to 2026-03-31"
    ):
        open_book(frames(), as_of="2025-12-31")
    with pytest.raises(BookError, match="'31 January' is no date"):
        open_book(frames(), as_of="31 January")


def test_as_of_keeps_dates_that_look_like_mistakes_without_it():
    tables = frames()
    tables["snapshots"].loc[3, "as_of"] = "2031-03-31"
    assert open_book(tables).as_of == dt.date(2026, 2, 28)
    assert open_book(tables, as_of="2031-12-31").as_of == dt.date(2031, 3, 31)


def test_a_book_opened_twice_is_the_same_book():
    book = open_book(frames())
    assert open_book(book, as_of="2026-02-28").as_of == dt.date(2026, 2, 28)
    assert "as of 2026-03-31" in book._repr_html_()
    assert book._repr_html_() == open_book(frames())._repr_html_()
