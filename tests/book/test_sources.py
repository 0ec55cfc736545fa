"""Raw files as downloaded become a book, or a message that says what is wrong; never half a book."""

from __future__ import annotations

import datetime as dt
import gzip
import sqlite3
import zipfile
from pathlib import Path

import duckdb
import pytest

import collectlab as cl
from collectlab.book.sources import find_source, import_source, read_source, source_folders
from collectlab.core.errors import BookError, CollectlabError, ParamsError

SHARED = Path(__file__).parents[2].parent / "shared" / "data"

CSV = "acct,month,late\n7,0,0\n7,1,35\n8,0,0\n8,1,0\n"

YML = """
name: tiny
title: A tiny panel
description: Two accounts, two months.
licence: made up for this test
files:
  panel:
    file: panel.csv*
    columns: {acct: BIGINT, month: INTEGER, late: INTEGER}
settings:
  anchor: {kind: month, default: 2020-01, description: month 0}
  product: {kind: text, default: "card", description: what they are}
book: {snapshot_frequency: monthly, exact_dpd: true}
figures:
  late: SELECT count(*) FROM panel WHERE late > 0
assumptions:
  - "{late} rows are late, counted from {anchor}."
"""

ACCOUNTS = (
    "SELECT DISTINCT acct AS account_id, getvariable('product') AS product FROM panel -- a comment last"
)
SNAPSHOTS = """
SELECT acct AS account_id, last_day(CAST(getvariable('anchor') + to_months(month) AS DATE)) AS as_of,
       late AS days_past_due
FROM panel;
"""


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    source = tmp_path / "tiny"
    source.mkdir()
    (source / "source.yml").write_text(YML)
    (source / "accounts.sql").write_text(ACCOUNTS)
    (source / "snapshots.sql").write_text(SNAPSHOTS)
    raw = tmp_path / "raw"
    raw.mkdir()
    (raw / "panel.csv").write_text(CSV)
    return source


def run(source: Path, **overrides: str):
    return import_source(source, source.parent / "raw", source.parent / "book", overrides)


def refused(source: Path, kind: type[CollectlabError], **overrides: str) -> str:
    """The message of a refused import, which must have written nothing at all."""
    before = sorted(source.parent.rglob("*"))
    with pytest.raises(kind) as caught:
        run(source, **overrides)
    assert sorted(source.parent.rglob("*")) == before
    return str(caught.value)


def rows(book: Path, table: str) -> list[tuple]:
    return duckdb.sql(f"SELECT * FROM '{book / table}.parquet'").fetchall()


def test_a_source_becomes_a_book_that_opens(tiny):
    summary = run(tiny)
    book = tiny.parent / "book"
    assert rows(book, "accounts") == [(7, "card"), (8, "card")]
    assert rows(book, "snapshots") == [
        (7, dt.date(2020, 1, 31), 0),
        (7, dt.date(2020, 2, 29), 35),
        (8, dt.date(2020, 1, 31), 0),
        (8, dt.date(2020, 2, 29), 0),
    ]
    assert dict(summary.rows.itertuples(index=False)) == {"accounts": 2, "snapshots": 4}
    assert "snapshots" in str(summary) and "4 rows" in str(summary)
    opened = cl.open_book(book)
    assert opened.name == "tiny"
    assert opened.as_of == dt.date(2020, 2, 29)
    assert summary.assumptions == ("1 rows are late, counted from 2020-01.",)
    assert not any(p.name.startswith(".") for p in tiny.parent.iterdir())


def test_a_setting_can_be_changed(tiny):
    summary = run(tiny, anchor="2019-12", product="it's a loan")
    book = tiny.parent / "book"
    assert rows(book, "snapshots")[0][1] == dt.date(2019, 12, 31)
    assert rows(book, "accounts")[0][1] == "it's a loan"
    assert summary.settings == {"anchor": "2019-12", "product": "it's a loan"}


@pytest.mark.parametrize("packing", ["gz", "zip", "both"])
def test_packed_files_give_the_same_bytes(tiny, packing):
    run(tiny)
    book, raw = tiny.parent / "book", tiny.parent / "raw"
    plain = {p.name: p.read_bytes() for p in book.iterdir()}
    if packing == "gz":
        (raw / "panel.csv.gz").write_bytes(gzip.compress(CSV.encode()))
    else:
        with zipfile.ZipFile(raw / "panel.csv.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("panel.csv", CSV)
            archive.writestr("__MACOSX/._panel.csv", "noise")
    if packing != "both":
        (raw / "panel.csv").unlink()
    run(tiny)
    assert {p.name: p.read_bytes() for p in book.iterdir()} == plain


def test_a_missing_file_is_named_with_what_is_there(tiny):
    (tiny.parent / "raw" / "panel.csv").rename(tiny.parent / "raw" / "pannel.csv")
    message = refused(tiny, BookError)
    assert "'panel.csv*'" in message and "Did you mean pannel.csv" in message


@pytest.mark.parametrize("suffix", ["gz", "zip"])
def test_a_cut_archive_is_refused(tiny, suffix):
    raw = tiny.parent / "raw"
    packed = raw / f"panel.csv.{suffix}"
    if suffix == "gz":
        packed.write_bytes(gzip.compress(CSV.encode() * 500))
    else:
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("panel.csv", CSV * 500)
    packed.write_bytes(packed.read_bytes()[:-30])
    (raw / "panel.csv").unlink()
    message = refused(tiny, BookError)
    assert f"panel.csv.{suffix} cannot be unpacked" in message and "bytes" in message


def test_a_zip_with_two_files_is_refused(tiny):
    raw = tiny.parent / "raw"
    with zipfile.ZipFile(raw / "panel.csv.zip", "w") as archive:
        archive.writestr("a.csv", CSV)
        archive.writestr("b.csv", CSV)
    (raw / "panel.csv").unlink()
    assert "a.csv, b.csv" in refused(tiny, BookError)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "empty"),
        ("acct,month,lates\n7,0,0\n", "no column 'late'. Did you mean lates"),
        ("acct,month,late\n7,0,soon\n", "late"),
        ("acct,month,late\n7,0,0\n8,0,0,9,9\n", "Expected Number of Columns: 3"),
        ("acct,month,late\n7,0,0\n8,0\n", "Line: 3"),
        ("acct,acct,month,late\n7,7,0,0\n", "column acct stands twice"),
    ],
)
def test_a_raw_file_that_is_not_as_expected(tiny, content, said):
    (tiny.parent / "raw" / "panel.csv").write_text(content)
    message = refused(tiny, BookError)
    assert said in message and "panel.csv" in message


def test_another_encoding_has_to_be_named(tiny):
    (tiny.parent / "raw" / "panel.csv").write_bytes("acct,month,late,née\n7,0,0,Zoë\n".encode("latin-1"))
    assert "panel.csv cannot be read" in refused(tiny, BookError)
    named = YML.replace("file: panel.csv*", "file: panel.csv*\n    options: {encoding: latin-1}")
    (tiny / "source.yml").write_text(named)
    assert run(tiny).rows["rows"].tolist() == [1, 1]


def test_sql_at_fault_is_named(tiny):
    (tiny / "accounts.sql").write_text("SELECT acct AS account_id, nonsense FROM panel")
    message = refused(tiny, BookError)
    assert "tiny/accounts.sql" in message and "nonsense" in message


def test_sql_that_does_not_parse_is_named(tiny):
    (tiny / "accounts.sql").write_text("SELEC acct")
    assert "accounts.sql" in refused(tiny, BookError)


def test_sql_must_give_the_columns_of_the_contract(tiny):
    (tiny / "snapshots.sql").write_text("SELECT acct AS account_id, late AS day_past_due FROM panel")
    message = refused(tiny, BookError)
    assert "as_of" in message and "'day_past_due' meant for 'days_past_due'" in message


@pytest.mark.parametrize("text", ["DROP TABLE panel", "SELECT 1; SELECT 2", "COPY panel TO 'x.csv'", ""])
def test_only_one_select_is_run(tiny, text):
    (tiny / "accounts.sql").write_text(text)
    assert "one SELECT" in refused(tiny, ParamsError)


def test_tables_outside_the_contract_and_missing_ones_are_told_together(tiny):
    (tiny / "accounts.sql").rename(tiny / "acounts.sql")
    message = refused(tiny, ParamsError)
    assert "Did you mean accounts" in message and "accounts.sql is missing" in message


def test_unknown_settings_and_bad_values_are_told_together(tiny):
    message = refused(tiny, ParamsError, ancor="2020-01", anchor="January")
    assert "Did you mean anchor" in message and "a month such as 2020-02" in message


def test_an_unknown_source_lists_the_nearest():
    with pytest.raises(ParamsError, match="Did you mean cards"):
        find_source("card")


def test_every_fault_of_source_yml_is_told(tiny):
    (tiny / "source.yml").write_text(YML.replace("licence:", "license:").replace("kind: month", "kind: moon"))
    message = refused(tiny, ParamsError)
    assert "'license'" in message and "licence" in message and "anchor.kind" in message


def test_a_setting_that_only_the_sql_knows_is_refused(tiny):
    (tiny / "accounts.sql").write_text(ACCOUNTS.replace("'product'", "'produkt'"))
    message = refused(tiny, ParamsError)
    assert "accounts.sql" in message and "Did you mean product" in message


def test_several_files_of_one_shape_are_read_as_one(tiny):
    raw = tiny.parent / "raw"
    (raw / "panel.csv").rename(raw / "panel_1.csv")
    (raw / "panel_2.csv").write_text("acct,month,late\n9,0,3\n")
    (tiny / "source.yml").write_text(YML.replace("panel.csv*", "panel_*.csv"))
    assert "2 files" in refused(tiny, BookError)
    (tiny / "source.yml").write_text(YML.replace("panel.csv*", "panel_*.csv\n    many: true"))
    assert run(tiny).rows["rows"].tolist() == [3, 5]
    (raw / "panel_2.csv").write_text("acct,late,month\n9,0,3\n")
    with pytest.raises(BookError, match=r"panel_2\.csv has other columns"):
        run(tiny)


def test_an_assumption_may_only_quote_known_figures(tiny):
    (tiny / "source.yml").write_text(YML.replace("{late} rows", "{lats} rows"))
    assert "'lats'" in refused(tiny, ParamsError)


def test_a_failed_import_leaves_the_earlier_book(tiny):
    run(tiny)
    (tiny.parent / "raw" / "panel.csv").write_text("acct,month,late\n9,0,x\n")
    refused(tiny, BookError)
    assert len(rows(tiny.parent / "book", "accounts")) == 2


def test_a_folder_of_something_else_is_left_alone(tiny):
    (tiny.parent / "book").mkdir()
    (tiny.parent / "book" / "thesis.txt").write_text("mine")
    assert "not empty" in refused(tiny, BookError)


@pytest.mark.parametrize("kind", ["duckdb", "sqlite"])
def test_databases_are_read_as_schemas(tiny, kind):
    (tiny.parent / "raw" / "panel.csv").unlink()
    path = tiny.parent / "raw" / "bank.db"
    con = duckdb.connect(str(path)) if kind == "duckdb" else sqlite3.connect(path)
    con.execute("CREATE TABLE panel (acct INTEGER, month INTEGER, late INTEGER)")
    con.execute("INSERT INTO panel VALUES (7, 0, 0), (7, 1, 35)")
    con.commit()
    con.close()
    text = YML.replace("panel:\n    file: panel.csv*", f"core:\n    file: bank.db\n    format: {kind}")
    text = text.replace("FROM panel", "FROM core.panel").replace(
        "    columns: {acct: BIGINT, month: INTEGER, late: INTEGER}\n", ""
    )
    (tiny / "source.yml").write_text(text)
    for file in ("accounts.sql", "snapshots.sql"):
        (tiny / file).write_text((tiny / file).read_text().replace("FROM panel", "FROM core.panel"))
    assert run(tiny).rows["rows"].tolist() == [1, 2]
    assert rows(tiny.parent / "book", "snapshots")[1] == (7, dt.date(2020, 2, 29), 35)


def test_the_shipped_sources_are_well_formed():
    assert {f.name for f in source_folders()} >= {"cards", "letters"}
    for folder in source_folders():
        assert read_source(folder).name == folder.name


# --- the real files ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cards(tmp_path_factory) -> Path:
    return _real("cards", tmp_path_factory)


@pytest.fixture(scope="module")
def letters(tmp_path_factory) -> Path:
    return _real("letters", tmp_path_factory)


def _real(name: str, tmp_path_factory) -> Path:
    if not (SHARED / name).is_dir():
        pytest.skip(f"../shared/data/{name} is not here: the real {name} cannot be imported")
    book = tmp_path_factory.mktemp("books") / name
    import_source(name, SHARED / name, book)
    return book


@pytest.mark.shared
def test_the_card_panel_keeps_its_counts(cards):
    assert duckdb.sql(
        f"SELECT count(*), count(DISTINCT account_id) FROM '{cards}/accounts.parquet'"
    ).fetchall() == [(45_985, 45_985)]
    counts = duckdb.sql(
        f"SELECT bucket_code, days_past_due, count(*) FROM '{cards}/snapshots.parquet' GROUP BY ALL ORDER BY 1"
    ).fetchall()
    assert counts == [
        ("0", 1, 383_120),
        ("1", 30, 11_090),
        ("2", 60, 868),
        ("3", 90, 320),
        ("4", 120, 223),
        ("5", 150, 1_693),
        ("C", 0, 442_031),
        ("X", 0, 209_230),
    ]


@pytest.mark.shared
def test_the_card_panel_keeps_its_transitions(cards):
    steps = duckdb.sql(
        f"""
        SELECT a.bucket_code || b.bucket_code AS step, count(*)
        FROM '{cards}/snapshots.parquet' a JOIN '{cards}/snapshots.parquet' b
        ON a.account_id = b.account_id AND b.as_of = last_day(a.as_of + 1) GROUP BY 1
        """
    ).fetchall()
    known = {"01": 7_057, "10": 5_363, "12": 559, "23": 257, "34": 185, "45": 145, "05": 44}
    assert {step: n for step, n in steps if step in known} == known


@pytest.mark.shared
def test_the_card_panel_opens_with_nothing_set_aside(cards):
    book = cl.open_book(cards)
    assert book.as_of == dt.date(2020, 2, 29)
    assert not book.synthetic
    assert book.reconciliation["quarantined"].sum() == 0


@pytest.mark.shared
def test_the_letters_keep_every_owner_and_dollar(letters):
    accounts, letters_sent, paid, by_september = duckdb.sql(
        f"""
        SELECT (SELECT count(*) FROM '{letters}/accounts.parquet'),
               (SELECT count(*) FROM '{letters}/actions.parquet'),
               (SELECT count(*) FILTER (amount <= 0) FROM '{letters}/payments.parquet'),
               (SELECT round(sum(amount)) FROM '{letters}/payments.parquet' WHERE paid_on <= DATE '2015-09-13')
        """
    ).fetchall()[0]
    assert (accounts, letters_sent, paid) == (21_468, 19_361, 0)
    (total,) = duckdb.sql(f"SELECT round(sum(total_paid_sep)) FROM '{letters}/accounts.parquet'").fetchall()[
        0
    ]
    assert by_september == total == 18_431_719


@pytest.mark.shared
def test_payments_within_three_months_agree_with_the_files_flag(letters):
    (off,) = duckdb.sql(
        f"""
        SELECT count(*) FROM '{letters}/accounts.parquet'
        LEFT JOIN (SELECT account_id, sum(amount) AS paid FROM '{letters}/payments.parquet'
                   WHERE paid_on <= DATE '2015-09-13' GROUP BY 1) USING (account_id)
        WHERE ever_paid_sep <> (coalesce(paid, 0) > 0)::INT
        """
    ).fetchall()[0]
    assert off == 0


@pytest.mark.shared
def test_the_letters_open_with_nothing_set_aside(letters):
    book = cl.open_book(letters)
    assert book.reconciliation["quarantined"].sum() == 0
    assert book.as_of == dt.date(2015, 12, 12)
