"""What is known of an account at a month-end, and what came of it: small histories in, features out."""

from __future__ import annotations

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collectlab.book.open import open_book
from collectlab.book.simulate import simulate
from collectlab.core.errors import FrameError, NotAvailable
from collectlab.policy.warning import fit_warning, rolling, warning_rows
from collectlab.policy.warning.features import FEATURES
from collectlab.policy.warning.rows import LATER

ENDS = pd.date_range("2025-01-31", periods=18, freq="ME")


def history(dpd, status=None, account=1, skip=()):
    frame = pd.DataFrame(
        {
            "account_id": account,
            "as_of": ENDS[: len(dpd)],
            "days_past_due": dpd,
            "status": status or ["open"] * len(dpd),
        }
    )
    return frame.drop(index=list(skip))


@pytest.fixture(scope="module")
def book():
    return open_book(simulate(accounts=700, months=15, truth_accounts=0).book_tables)


@pytest.fixture(scope="module")
def rows(book):
    return warning_rows(book)


def test_falls_by_hand():
    rows = warning_rows(history([0, 12, 0, 0, 45, 75, 0, 0]))
    assert rows["on"].dt.strftime("%m").tolist() == ["01", "03", "04", "07", "08"]
    assert rows["outcome"].tolist()[:4] == [1, 0, 1, 0]
    assert np.isnan(rows["outcome"].iloc[4])
    assert rows["past_due_12"].tolist() == [0, 1, 1, 3, 3]
    assert rows["worst_12"].tolist() == [0, 12, 12, 75, 75]
    assert rows["months_since"].fillna(-1).tolist() == [-1, 1, 2, 1, 2]
    assert rows["months_before"].tolist() == [
        "not seen, not seen, not seen",
        "past due, current, not seen",
        "current, past due, current",
        "past due, past due, current",
        "current, past due, past due",
    ]


def test_rolls_by_hand():
    rows = warning_rows(history([0, 12, 20, 35, 20, 65, 65, 95, 140, 170]), target="rolls")
    assert rows["days_past_due"].tolist() == [12, 20, 35, 20, 65, 65, 95, 140]  # 170 is in the last bucket
    assert rows["months_in_a_row"].tolist() == [1, 2, 3, 4, 5, 6, 7, 8]
    assert rows["outcome"].tolist() == [0, 1, 0, 1, 0, 1, 1, 1]


@pytest.mark.parametrize(
    ("status", "falls", "rolls"), [("charged_off", 1, 1), ("closed", 0, 0), ("settled", 0, 0), ("sold", 0, 0)]
)
def test_how_an_account_ends_decides_the_outcome(status, falls, rolls):
    ended = ["open", status]
    other = history([0, 0], account=2)
    assert warning_rows(pd.concat([history([0, 0], ended), other]))["outcome"].iloc[0] == falls
    late = warning_rows(pd.concat([history([12, 12], ended), other]), target="rolls")
    assert late["outcome"].tolist() == [rolls]


def test_an_account_not_seen_a_month_later_has_no_outcome_and_breaks_the_row():
    frame = pd.concat([history([20, 25, 20, 20], skip=[1]), history([0] * 4, account=2)])
    rows = warning_rows(frame, target="rolls")
    assert rows["outcome"].fillna(-1).tolist() == [-1, 0, -1]
    assert rows["months_in_a_row"].tolist() == [1, 1, 2]


def test_twelve_months_are_twelve():
    rows = warning_rows(history([5] + [0] * 14))
    assert rows["past_due_12"].tolist() == [1] * 11 + [0] * 3
    assert rows["months_since"].isna().tolist() == [False] * 6 + [True] * 8


def test_since_and_until_choose_rows_without_forgetting_what_was_before():
    frame = history([5, 0, 0, 0, 7])
    rows = warning_rows(frame, since="2025-03-01", until="2025-04-30")
    assert rows["month"].tolist() == [2025 * 12 + 2, 2025 * 12 + 3]
    assert rows["past_due_12"].tolist() == [1, 1]
    assert rows["outcome"].isna().tolist() == [
        False,
        True,
    ]  # the fifth month is not known at the end of the fourth


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.lists(st.sampled_from([0, 0, 0, 9, 40, 80, None]), min_size=2, max_size=18), min_size=1, max_size=4
    )
)
def test_against_the_slow_way(histories):
    frame = pd.concat(
        [
            history([d or 0 for d in h], account=i, skip=[j for j, d in enumerate(h) if d is None])
            for i, h in enumerate(histories)
        ]
    )
    try:
        rows = warning_rows(frame)
    except NotAvailable:
        return
    for row in rows.itertuples():
        own = frame[(frame["account_id"] == row.account_id) & (frame["as_of"] <= row.on)]
        year = own[own["as_of"] > row.on - pd.DateOffset(months=12) + pd.offsets.MonthEnd(0)]
        assert row.past_due_12 == (year["days_past_due"] > 0).sum()
        assert row.worst_12 == year["days_past_due"].max()
        late = own.loc[own["days_past_due"] > 0, "as_of"]
        ago = 99 if late.empty else (row.on.year - late.max().year) * 12 + row.on.month - late.max().month
        assert (row.months_since == ago) if ago <= 6 else np.isnan(row.months_since)


def test_every_kind_of_frame_gives_the_same_rows():
    frame = pd.concat([history([0, 12, 0, 0, 45], account=i) for i in range(3)], ignore_index=True)
    frame["account_id"] = frame["account_id"].map("A{}".format)
    expected = warning_rows(frame)
    shuffled = frame.sample(frac=1, random_state=1)
    for other in (
        shuffled,
        pl.from_pandas(frame),
        pl.from_pandas(shuffled).lazy(),
        pa.Table.from_pandas(frame),
    ):
        pd.testing.assert_frame_equal(warning_rows(other), expected)


def features_of(rows):
    return rows.drop(columns=[c for c in LATER if c in rows]).astype({"account_id": str, "customer_id": str})


def test_features_are_those_of_the_book_as_it_was_known_then(book, rows):
    day = pd.Timestamp("2026-05-31")
    then = warning_rows(book.until("2026-05-31"))
    now = rows[rows["on"] <= day].reset_index(drop=True)
    for c in FEATURES:
        assert (c in then) == (c in now)
    pd.testing.assert_frame_equal(features_of(then), features_of(now), check_categorical=False)
    # What only the later book knows: outcomes of the last month.
    assert then.loc[then["on"] == day, "outcome"].isna().all()
    assert now.loc[now["on"] == day, "outcome"].notna().any()


def test_no_leak_whatever_comes_after_a_date_is_shuffled_and_nothing_before_it_changes(book):
    """Later snapshots, payments and actions are dealt to other accounts: features and scores stay as they were."""
    day = pd.Timestamp("2026-05-31")
    rng = np.random.default_rng(7)
    tables = {}
    for name, column in (
        ("snapshots", "as_of"),
        ("payments", "paid_on"),
        ("actions", "at"),
        ("accounts", None),
        ("arrangements", "started_on"),
    ):
        table = book.table(name).collect("pandas").to_native()
        if column is not None:
            later = pd.to_datetime(table[column]).dt.normalize() > day
            mixed = table[later].copy()
            if name == "snapshots":
                mixed["days_past_due"] = rng.permutation(mixed["days_past_due"].to_numpy()) + 3
                mixed["balance"] *= 2
            else:
                mixed["account_id"] = rng.permutation(mixed["account_id"].to_numpy())
            table = pd.concat([table[~later], mixed], ignore_index=True)
        tables[name] = table
    before = warning_rows(open_book({n: book.table(n).collect("pandas").to_native() for n in tables}))
    after = warning_rows(open_book(tables))
    keep = [r[r["on"] <= day].reset_index(drop=True) for r in (before, after)]
    pd.testing.assert_frame_equal(*map(features_of, keep), check_categorical=False)
    # The outcomes of the last month before it have changed, so the test can fail.
    assert not keep[0]["outcome"].equals(keep[1]["outcome"])
    known = [r[r["on"] < day] for r in keep]
    scores = [fit_warning(k).score(r) for k, r in zip(known, keep)]
    np.testing.assert_array_equal(*scores)
    tested = [rolling(r, months=3, refit=1).scored for r in keep]
    held = [t.loc[t["on"] < day, "chance"].to_numpy() for t in tested]
    assert len(held[0])
    np.testing.assert_array_equal(*held)


def test_payments_promises_and_plans_by_hand():
    accounts = pd.DataFrame(
        {
            "account_id": ["A"],
            "customer_id": ["K"],
            "originated_on": [pd.Timestamp("2024-06-30")],
            "instalment": [100.0],
            "monthly_income": [1000.0],
            "gender": ["female"],
        }
    )
    snapshots = history([0, 0, 0, 0], account="A").assign(balance=[900.0, 800.0, 700.0, 450.0])
    payments = pd.DataFrame(
        {"account_id": "A", "paid_on": pd.to_datetime(["2025-01-20", "2025-03-05"]), "amount": [50.0, 89.0]}
    )
    actions = pd.DataFrame(
        {
            "action_id": ["1", "2"], "account_id": "A", "at": pd.to_datetime(["2025-02-10 10:00", "2025-03-01 10:00"]),
            "channel": "call", "party": ["debtor", "third_party"], "connected": [True, True],
            "outcome": ["promise", "contact"], "promised_amount": [100.0, None],
            "promised_on": pd.to_datetime(["2025-03-05", None]),
        }
    )  # fmt: skip
    plans = pd.DataFrame(
        {
            "account_id": ["A"],
            "kind": ["payment_plan"],
            "started_on": pd.to_datetime(["2025-02-01"]),
            "ended_on": pd.to_datetime(["2025-03-31"]),
        }
    )
    book = open_book(
        {
            "accounts": accounts,
            "snapshots": snapshots,
            "payments": payments,
            "actions": actions,
            "arrangements": plans,
        }
    )
    rows = warning_rows(book, columns=["gender"])
    assert rows["days_since_payment"].tolist() == [11, 39, 26, 56]
    assert rows["paid_share"].tolist() == [0.5, 0, 0.89, 0]
    assert rows["actions_31"].tolist() == [0, 1, 1, 0]
    assert rows["contacts_92"].tolist() == [0, 1, 1, 1]  # the third party is no contact with the debtor
    assert rows["broken_184"].tolist() == [0, 0, 1, 1]  # 89 of 100 by the third day after: broken on 8 March
    assert rows["plan_active"].tolist() == [0, 1, 0, 0]
    assert rows["instalment_to_income"].tolist() == [0.1] * 4
    assert rows["months_on_book"].tolist() == [7, 8, 9, 10]
    assert rows["balance_change"].fillna(9).tolist() == [9, 9, 9, -0.5]
    assert rows["gender"].tolist() == ["female"] * 4


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"target": "fals"}, FrameError, "Did you mean falls"),
        ({"target": "rolls", "buckets": (30, 1)}, FrameError, "rising whole days"),
        ({"columns": ["gendre"]}, FrameError, "gendre"),
        ({"since": "2030-01-01"}, NotAvailable, "no open account"),
        ({"target": "rolls"}, NotAvailable, "1 to 149 days past due"),
    ],
)
def test_mistakes_are_named(options, error, says):
    with pytest.raises(error, match=says):
        warning_rows(history([0, 0, 0]), **options)


def test_one_month_an_empty_frame_and_two_rows_of_one_day():
    with pytest.raises(NotAvailable, match="one month only"):
        warning_rows(history([0]))
    with pytest.raises(NotAvailable, match="no snapshots"):
        warning_rows(history([0]).iloc[:0])
    with pytest.raises(FrameError, match="several snapshots on one day"):
        warning_rows(pd.concat([history([0, 0]), history([0, 5])]))
