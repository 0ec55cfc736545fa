"""Small faulty tables in; what is accepted, what is set aside and why, out."""

import datetime as dt
import time

import duckdb
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collectlab.book.open import open_book
from collectlab.core.engine import collect, connection
from collectlab.core.errors import BookError

ACCOUNTS = pd.DataFrame({"account_id": [1, 2, 3]})


def snapshots(**columns):
    """Three accounts seen on one date, with columns replaced."""
    return pd.DataFrame(
        {"account_id": [1, 2, 3], "as_of": "2026-01-31", "days_past_due": [0, 10, 40]} | columns
    )


def opened(accounts=ACCOUNTS, given=None, **tables):
    return open_book({"accounts": accounts, "snapshots": snapshots() if given is None else given, **tables})


def why(book, table="snapshots"):
    """rule -> rows, of one table."""
    quarantine = book.quarantine.query("table == @table")
    return dict(zip(quarantine["rule"], quarantine["rows"]))


def adds_up(book):
    counts = book.reconciliation
    return (counts["rows_in"] == counts["accepted"] + counts["quarantined"]).all()


@pytest.mark.parametrize(
    ("columns", "rule"),
    [
        ({"days_past_due": [0, -3, 40]}, "days_past_due < 0"),
        ({"days_past_due": [0, 1.5, 40]}, "days_past_due is no whole number"),
        ({"days_past_due": [0, "many", 40]}, "days_past_due is no whole number"),
        ({"days_past_due": [0, None, 40]}, "days_past_due is missing"),
        ({"days_past_due": [0, float("inf"), 40]}, "days_past_due is no whole number"),
        ({"as_of": ["2026-01-31", "31/12/2025", "2026-01-31"]}, "as_of is no date"),
        ({"as_of": ["2026-01-31", None, "2026-01-31"]}, "as_of is missing"),
        ({"as_of": ["2026-01-31", "0001-01-01", "2026-01-31"]}, "as_of is an impossible date"),
        (
            {"as_of": ["2026-01-31", "2126-01-31", "2026-01-31"]},
            "as_of after the book's last snapshot (2026-01-31)",
        ),
        ({"amount_past_due": [0, -0.01, 5]}, "amount_past_due < 0"),
        ({"amount_past_due": [0, "12,50", 5]}, "amount_past_due is no number"),
        ({"balance": [-5.0, -5.0, 5]}, "balance < 0 while past due"),
        ({"status": ["open", "dead", "open"]}, "status is unknown"),
        ({"status": ["charged_off", "open", "open"]}, "status charged_off with days_past_due = 0"),
        ({"status": ["closed", "closed", "open"]}, "status closed with days_past_due > 0"),
        ({"forborne": [True, "perhaps", None]}, "forborne is neither true nor false"),
        ({"account_id": [1, 9, 3]}, "account_id is not in accounts"),
        ({"account_id": [1, None, 3]}, "account_id is missing"),
    ],
)
def test_one_row_at_fault_is_set_aside_with_its_reason(columns, rule):
    book = opened(given=snapshots(**columns))
    assert why(book) == {rule: 1}
    assert book.reconciliation.values.tolist() == [["accounts", 3, 3, 0], ["snapshots", 3, 2, 1]]


@pytest.mark.parametrize(
    ("columns", "column", "values"),
    [
        ({"days_past_due": ["0", "10.0", " 40 "]}, "days_past_due", [0, 10, 40]),
        ({"as_of": ["20260131", "2026/01/31", "2026-01-31 00:00:00"]}, "as_of", [dt.date(2026, 1, 31)] * 3),
        ({"status": ["Open", " SOLD ", "open"]}, "status", ["open", "sold", "open"]),
        ({"balance": ["1e3", "NA", "7"]}, "balance", [1000, None, 7]),
        ({"forborne": ["yes", "0", "False"]}, "forborne", [True, False, False]),
        ({"balance": [-5.0, 1.0, 2.0]}, "balance", [-5, 1, 2]),
    ],
)
def test_what_is_the_same_thing_written_otherwise_is_taken_over(columns, column, values):
    book = opened(given=snapshots(**columns))
    rows = book.table("snapshots").sort("account_id").collect("pyarrow")
    assert rows[column].to_list() == values
    assert book.quarantine.empty


def test_a_row_is_told_with_all_its_reasons_once():
    faulty = snapshots(days_past_due=[0, -1, 40], status=["open", "gone", "open"], account_id=[1, 9, 3])
    book = opened(given=faulty)
    assert why(book) == {
        "days_past_due < 0": 1,
        "status is unknown": 1,
        "account_id is not in accounts": 1,
    }
    assert book.reconciliation["quarantined"].tolist() == [0, 1]


def test_the_remark_says_what_how_many_which_and_what_is_allowed():
    book = opened(given=snapshots(days_past_due=[0, -3, 40]))
    assert book.remarks == (
        "snapshots: 1 of 3 rows: days_past_due < 0 (account_id 2 (-3)). Allowed: whole days ≥ 0. "
        "Set aside in quarantine/snapshots.parquet; 2 rows remain.",
    )


def test_the_original_words_are_kept():
    book = opened(given=snapshots(days_past_due=[0, "many", 40]))
    kept = connection().execute(f"SELECT days_past_due, reasons FROM ({book.aside['snapshots']})").fetchall()
    assert kept == [("many", ["days_past_due is no whole number"])]


# --- duplicates -------------------------------------------------------------------------------------------


def test_of_exact_copies_one_is_kept():
    twice = pd.concat([snapshots(), snapshots()])
    book = opened(given=twice)
    assert why(book) == {"exact copy of another row": 3}
    assert adds_up(book)


def test_rows_with_one_key_and_other_facts_are_all_set_aside():
    rows = pd.concat([snapshots(), snapshots(days_past_due=[0, 11, 40]).iloc[[1]]])
    book = opened(given=rows)
    assert why(book) == {"same account_id, as_of as another row, with other facts": 2}
    assert collect(book.table("snapshots"))["account_id"].sort_values().tolist() == [1, 3]


def test_a_row_at_fault_does_not_pull_a_good_one_with_it():
    rows = pd.concat([snapshots(), snapshots(days_past_due=[0, -1, 40]).iloc[[1]]])
    book = opened(given=rows)
    assert why(book) == {
        "days_past_due < 0": 1,
        "same account_id, as_of as another row, with other facts": 1,
    }
    assert collect(book.table("snapshots"))["days_past_due"].sum() == 50


def test_a_good_row_is_kept_where_its_copy_differs_only_by_a_faulty_value():
    rows = pd.concat([snapshots(status=[None, "dead", "open"]), snapshots(status=None).iloc[[1]]])
    book = opened(given=rows)
    assert sorted(collect(book.table("snapshots"))["account_id"]) == [1, 2, 3]


def test_equal_payments_are_kept_unless_they_have_a_number():
    equal = pd.DataFrame({"account_id": [1, 1], "paid_on": "2026-01-05", "amount": 50.0})
    book = opened(payments=equal)
    assert book.reconciliation.iloc[2].tolist() == ["payments", 2, 2, 0]
    assert "payments: 1 rows equal another" in book.remarks[0]
    book = opened(payments=equal.assign(payment_id=[7, 7]))
    assert why(book, "payments") == {"exact copy of another row": 1}


def test_an_account_that_stands_twice_takes_its_history_with_it():
    book = opened(pd.DataFrame({"account_id": [1, 2, 2, 3], "age": [30, 40, 41, 50]}))
    assert why(book, "accounts") == {"same account_id as another row, with other facts": 2}
    assert why(book) == {"its account was set aside": 1}
    assert adds_up(book)


# --- across tables ----------------------------------------------------------------------------------------


def test_other_tables_are_checked_against_accounts_and_the_last_snapshot():
    book = opened(
        payments=pd.DataFrame(
            {"account_id": [1, 7, 1, 1], "paid_on": ["2026-01-05", "2026-01-05", "2026-02-05", "2026-01-06"],
             "amount": [5, 5, 5, -5]}
        ),
        actions=pd.DataFrame(
            {"account_id": 1, "at": ["2026-01-05 10:00:00", "2026-01-31 23:59:59", "2026-02-01 00:00:00"],
             "channel": ["Call", "pigeon", "sms"]}
        ),
        surveys=pd.DataFrame({"account_id": 1, "at": "2026-01-05", "score": [100, 101]}),
        arrangements=pd.DataFrame(
            {"account_id": 1, "kind": "deferral", "started_on": "2026-01-05", "ended_on": ["2026-01-04", "2026-01-06"]}
        ),
    )  # fmt: skip
    late = "after the book's last snapshot (2026-01-31)"
    assert why(book, "payments") == {
        "amount < 0": 1, f"paid_on {late}": 1, "account_id is not in accounts": 1
    }  # fmt: skip
    assert why(book, "actions") == {f"at {late}": 1, "channel is unknown": 1}
    assert why(book, "surveys") == {"score > 100": 1}
    assert why(book, "arrangements") == {"ended_on before started_on": 1}
    assert adds_up(book)


def test_a_snapshot_before_the_account_began_is_impossible():
    accounts = ACCOUNTS.assign(originated_on=["2025-01-01", "2026-02-01", None])
    later = snapshots(as_of=["2026-01-31", "2026-01-31", "2026-02-28"])
    book = opened(accounts, later)
    assert why(book) == {"as_of before the account's originated_on": 1}


def test_columns_of_any_name_stay_apart_from_the_checks_own():
    odd = snapshots(**{"group": "x", 'a "b" c': 1, "reasons": "r", "row": 2, "r": 3, "known": 4,
                       "originated_on": "2020-01-01", "rowid": 5, "faults": 6, "line": 7,
                       "days_past_due": [0, -1, 40]})  # fmt: skip
    book = opened(ACCOUNTS.assign(group="g", originated_on="2020-01-01"), odd)
    assert {"group", 'a "b" c', "reasons", "row"} <= set(book.columns("snapshots"))
    assert why(book) == {"days_past_due < 0": 1}
    kept = connection().execute(f"SELECT reasons_given, reasons FROM ({book.aside['snapshots']})").fetchall()
    assert kept == [("r", ["days_past_due < 0"])]


def test_a_million_orphans_are_counted_in_one_short_line():
    con = duckdb.connect()
    orphans = con.sql(
        "SELECT 10 + range AS account_id, DATE '2026-01-01' AS paid_on, 1.0 AS amount FROM range(1000000)"
    ).to_arrow_table()
    start = time.perf_counter()
    book = opened(payments=orphans)
    assert why(book, "payments") == {"account_id is not in accounts": 1_000_000}
    assert time.perf_counter() - start < 30
    assert len(book.remarks) == 1
    assert len(book.remarks[0]) < 300
    assert "1,000,000 of 1,000,000 rows" in book.remarks[0]


# --- faults of whole tables -------------------------------------------------------------------------------


def test_every_fault_of_whole_tables_is_told_at_once():
    with pytest.raises(BookError) as raised:
        open_book(
            {
                "snapshots": pd.DataFrame({"account": [1], "asof": ["2026-01-31"], "days_past_due": [0]}),
                "payments": pd.DataFrame({"account_id": [1], "paid_on": ["2026-01-31"]}),
            }
        )
    faults = "\n".join(raised.value.faults)
    assert "no table accounts" in faults
    assert "snapshots: no column account_id. Did you mean account?" in faults
    assert "snapshots: no column as_of. Did you mean asof?" in faults
    assert "payments: no column amount." in faults


def test_an_unknown_table_is_refused_with_the_nearest_name():
    with pytest.raises(BookError, match=r"no table 'snapshot' in a book\. Did you mean snapshots"):
        open_book({"accounts": ACCOUNTS, "snapshot": snapshots()})


def test_ids_of_different_types_are_refused():
    with pytest.raises(
        BookError, match=r"account_id is of different types .accounts: text; snapshots: whole numbers"
    ):
        opened(ACCOUNTS.assign(account_id=["1", "2", "3"]))


def test_a_time_zone_is_refused():
    at = pd.to_datetime(["2026-01-05 10:00"]).tz_localize("Asia/Shanghai")
    with pytest.raises(BookError, match="actions: at carries a time zone"):
        opened(actions=pd.DataFrame({"account_id": [1], "at": at, "channel": "sms"}))


def test_a_written_offset_is_cut_off_and_a_time_in_utc_is_set_aside():
    """10:30+08:00 says that it was 10:30 there; 02:30Z does not say what time it was."""
    at = [
        "2026-01-05 10:30+08:00",
        "2026-01-05T10:30:00",
        "2026-01-05T02:30:00Z",
        "2026-01-05 02:30:00.000+00:00",
    ]
    channels = ["sms", "call", "email", "letter"]
    book = opened(actions=pd.DataFrame({"account_id": 1, "at": at, "channel": channels}))
    kept = book.table("actions").collect().to_pandas()
    assert kept["at"].astype(str).unique().tolist() == ["2026-01-05 10:30:00"]
    assert len(kept) == 2
    assert adds_up(book)


def test_an_action_before_its_account_existed_is_set_aside():
    accounts = ACCOUNTS.assign(originated_on="2026-01-05")
    at = ["2026-01-04 23:59", "2026-01-05 00:00"]
    book = opened(accounts, actions=pd.DataFrame({"account_id": 1, "at": at, "channel": "call"}))
    assert len(book.table("actions").collect().to_pandas()) == 1
    assert "at before the account's originated_on" in str(why(book, "actions"))
    assert adds_up(book)


@pytest.mark.parametrize("table", ["accounts", "snapshots"])
def test_an_empty_book_is_refused(table):
    tables = {"accounts": ACCOUNTS, "snapshots": snapshots()}
    tables[table] = tables[table].iloc[:0]
    with pytest.raises(BookError, match=f"{table} holds no rows: the book is empty"):
        open_book(tables)


def test_a_book_without_one_usable_row_says_why():
    with pytest.raises(BookError) as raised:
        opened(given=snapshots(days_past_due=-1))
    assert "3 of 3 rows: days_past_due < 0" in raised.value.faults[0]
    assert raised.value.faults[-1] == "no row of snapshots can be used: the book is empty."


def test_an_empty_optional_table_is_as_good_as_none():
    book = opened(payments=pd.DataFrame({"account_id": [], "paid_on": [], "amount": []}))
    assert not book.has("payments")
    assert adds_up(book)


# --- laws -------------------------------------------------------------------------------------------------

_rows = st.lists(
    st.tuples(
        st.sampled_from([1, 2, 3, 4]),
        st.sampled_from(["2026-01-31", "2026-02-28", "2026-03-31", "never", None]),
        st.integers(-1, 3),
        st.sampled_from(["open", "closed", "dead", None]),
    ),
    min_size=1,
    max_size=14,
)


@settings(max_examples=30, deadline=None)
@given(rows=_rows, seed=st.integers(0, 5))
def test_rows_add_up_and_their_order_does_not_matter(rows, seed):
    frame = pd.DataFrame(rows, columns=["account_id", "as_of", "days_past_due", "status"])

    def outcome(shown):
        try:
            book = opened(given=pa.Table.from_pandas(shown, preserve_index=False))
        except BookError as error:
            return error.faults
        assert adds_up(book)
        assert book.reconciliation.loc[1, "rows_in"] == len(frame)
        accepted = collect(book.table("snapshots"))
        assert not accepted.duplicated(["account_id", "as_of"]).any()
        rows = accepted.sort_values(["account_id", "as_of"]).astype(str).values.tolist()
        return rows, book.quarantine.values.tolist()

    assert outcome(frame) == outcome(frame.sample(frac=1, random_state=seed))
