"""Actions per account-week: time at risk day by day, stages crossed within a week, percentiles, bad input."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pandas as pd
import pytest

from collectlab.book.open import open_book
from collectlab.book.simulate import simulate
from collectlab.core.engine import collect
from collectlab.core.errors import FrameError, NotAvailable
from collectlab.measures.intensity import intensity
from collectlab.measures.intensity_days import overdue_spans, stage_frame


def book_of(snapshots, actions=(), payments=(), arrangements=(), **accounts):
    """A book from rows: snapshots (account, as_of, dpd, amount, status), actions (account, at, channel)."""
    rows = pd.DataFrame(
        snapshots, columns=["account_id", "as_of", "days_past_due", "amount_past_due", "status"]
    )
    ids = sorted(set(rows["account_id"]))
    tables = {"accounts": pd.DataFrame({"account_id": ids, **accounts}), "snapshots": rows}
    if actions:
        tables["actions"] = pd.DataFrame(actions, columns=["account_id", "at", "channel"])
    if payments:
        tables["payments"] = pd.DataFrame(payments, columns=["account_id", "paid_on", "amount"])
    if arrangements:
        tables["arrangements"] = pd.DataFrame(arrangements, columns=["account_id", "kind", "started_on"])
    return open_book(tables)


def spans_of(book, **options):
    found = collect(overdue_spans(book, **options)).sort_values(["__account", "__first"])
    epoch = dt.date(1900, 1, 1)
    day = lambda n: str(epoch + dt.timedelta(days=int(n)))  # noqa: E731
    return [
        (r["__account"], day(r["__first"]), day(r["__last"]), r["__dpd"], r["__ends"])
        for _, r in found.iterrows()
    ]


MARCH = [
    ("a", "2026-01-31", 0, 0, "open"),
    ("a", "2026-02-28", 10, 100.0, "open"),
    ("a", "2026-03-31", 0, 0, "open"),
]


def test_a_cure_is_dated_by_the_payment_that_settles_what_was_due():
    paid = [("a", "2026-03-05", 40.0), ("a", "2026-03-12", 60.0), ("a", "2026-03-20", 100.0)]
    assert spans_of(book_of(MARCH, payments=paid)) == [
        ("a", "2026-02-19", "2026-02-28", 1, ""),
        ("a", "2026-03-01", "2026-03-12", 11, "cured"),
    ]


def test_relief_ends_it_too_and_a_plan_does_not():
    relief = [("a", "deferral", "2026-03-08"), ("a", "payment_plan", "2026-03-02")]
    assert spans_of(book_of(MARCH, arrangements=relief))[-1] == ("a", "2026-03-01", "2026-03-08", 11, "cured")


def test_without_either_it_lasts_to_the_snapshot_that_shows_it_current():
    assert spans_of(book_of(MARCH))[-1] == ("a", "2026-03-01", "2026-03-31", 11, "cured")


def test_days_before_a_first_snapshot_already_overdue_are_not_counted_back():
    seen_late = [("a", "2026-02-28", 10, 100.0, "open"), ("a", "2026-03-31", 41, 200.0, "open")]
    assert spans_of(book_of(seen_late)) == [("a", "2026-03-01", "2026-03-31", 11, "")]


def test_a_loss_ends_the_time_overdue_and_is_no_cure():
    lost = [("a", "2026-02-28", 170, 100.0, "open"), ("a", "2026-03-31", 201, 0, "charged_off")]
    assert spans_of(book_of(lost)) == [("a", "2026-03-01", "2026-03-31", 171, "charged_off")]


def test_the_period_cuts_the_days_and_an_end_beyond_it():
    paid = [("a", "2026-03-12", 100.0)]
    found = spans_of(book_of(MARCH, payments=paid), period=("2026-02-25", "2026-03-10"))
    assert found == [("a", "2026-02-25", "2026-02-28", 7, ""), ("a", "2026-03-01", "2026-03-10", 11, "")]


# 31 January is a Saturday; 5 days past due then, so day 30 falls on Wednesday 25 February.
LATER = [
    ("a", "2026-01-31", 5, 50.0, "open"),
    ("a", "2026-02-28", 33, 150.0, "open"),
    ("a", "2026-03-31", 64, 150.0, "open"),
]


def test_actions_meet_the_stage_of_their_own_day_not_of_the_month_end():
    calls = [
        ("a", "2026-02-24 10:00", "call"),
        ("a", "2026-02-25 10:00", "call"),
        ("a", "2026-03-10 10:00", "sms"),
    ]
    wide = intensity(book_of(LATER, calls)).wide().set_index(["stage", "channel"])
    days = {"1–29": 24, "30–59": 30, "60–89": 5}
    assert wide.loc[("1–29", "any"), "actions"] == 1
    assert wide.loc[("30–59", "any"), "actions"] == 2
    for stage, n in days.items():
        rate = wide.loc[(stage, "any"), "per_week"]
        assert rate == pytest.approx(7 * wide.loc[(stage, "any"), "actions"] / n)


def test_an_action_on_a_day_not_overdue_does_not_count():
    reminder = [("a", "2026-02-10", "sms"), ("a", "2026-03-02", "sms"), ("a", "2026-03-25", "sms")]
    found = intensity(book_of(MARCH, reminder, payments=[("a", "2026-03-12", 100.0)]), (1,))
    assert found.wide()["actions"].tolist() == [1, 1]


def test_percentiles_are_of_whole_weeks_zeros_among_them():
    # Whole weeks of March in 30–59: those that begin on 2, 9 and 16 March.
    calls = [("a", f"2026-03-{day:02d} 10:00", "call") for day in (9, 10, 11, 12, 17)]
    found = intensity(book_of(LATER, calls), (1, 30, 60), more_than=3).wide().set_index(["stage", "channel"])
    row = found.loc[("30–59", "call")]
    assert (row["median"], row["p90"], row["p99"]) == (1, 4, 4)
    assert row["over"] == pytest.approx(1 / 3)


def test_groups_of_accounts_and_the_missing_one():
    snapshots = LATER + [("b", *row[1:]) for row in LATER]
    calls = [("a", "2026-03-10", "call"), ("b", "2026-03-10", "call"), ("b", "2026-03-11", "call")]
    found = intensity(book_of(snapshots, calls, branch=["B1", None]), (1,), by="branch").wide()
    assert found.query("channel == 'any'")[["branch", "actions"]].values.tolist() == [
        ["B1", 1],
        ["(missing)", 2],
    ]


@pytest.fixture(scope="module")
def bank():
    return open_book(simulate(accounts=700, months=8, truth_accounts=0).book_tables)


def test_equals_a_plain_loop_over_days(bank):
    found = intensity(bank, (1, 30, 60), period=("2026-05-01", "2026-09-30")).wide()
    spans = collect(overdue_spans(bank, ("2026-05-01", "2026-09-30")))
    epoch = pd.Timestamp("1900-01-01")
    acts = collect(bank.table("actions").select("account_id", "at"))
    acts = acts.assign(day=(acts["at"].dt.normalize() - epoch).dt.days)
    made = acts.groupby(["account_id", "day"]).size().to_dict()
    days, actions = np.zeros(3), np.zeros(3)
    for r in spans.itertuples(index=False):
        account, first, last, dpd = r[0], r[2], r[3], r[4]
        for d in range(int(first), int(last) + 1):
            stage = np.searchsorted([1, 30, 60], dpd + d - first, side="right") - 1
            days[stage] += 1
            actions[stage] += made.get((account, d), 0)
    anyone = found[found["channel"] == "any"]
    assert anyone["actions"].tolist() == actions.tolist()
    assert anyone["per_week"].to_numpy() == pytest.approx(7 * actions / days)


def test_no_day_of_an_account_is_counted_twice(bank):
    spans = collect(overdue_spans(bank)).sort_values(["__account", "__first"])
    same = spans["__account"].eq(spans["__account"].shift())
    assert (spans["__first"] > spans["__last"].shift())[same].all()
    assert (spans["__dpd"] >= 1).all()


def test_polars_and_pandas_give_the_same_bytes(bank):
    polars = pytest.importorskip("polars")
    tables = {
        n: polars.from_arrow(bank.table(n).collect("pyarrow").to_native())
        for n in ("accounts", "snapshots", "actions", "payments")
    }
    plain = {n: bank.table(n).collect("pandas").to_native() for n in tables}
    assert intensity(open_book(tables)).table.equals(intensity(open_book(plain)).table)


@pytest.mark.parametrize("more_than", [-1, 1.5, True])
def test_more_than_is_a_count(bank, more_than):
    with pytest.raises(FrameError, match="more_than"):
        intensity(bank, more_than=more_than)


def test_stages_are_told_apart_all_faults_at_once():
    odd = pd.DataFrame({"stage": ["a", "a"], "dpd_from": [1, 20], "dpd_to": [29, None]})
    with pytest.raises(FrameError, match="stand twice") as error:
        stage_frame(odd)
    assert len(error.value.faults) == 2
    with pytest.raises(FrameError, match="start at 0"):
        stage_frame((0, 30))


def test_says_in_one_line_what_is_not_there():
    with pytest.raises(NotAvailable, match="actions"):
        intensity(book_of(MARCH))
    current = [("a", "2026-01-31", 0, 0, "open"), ("a", "2026-02-28", 0, 0, "open")]
    with pytest.raises(NotAvailable, match="overdue"):
        intensity(book_of(current, [("a", "2026-02-10", "sms")]))
    with pytest.raises(NotAvailable, match="no action fell"):
        intensity(book_of(MARCH, [("a", "2026-01-10", "sms")]))
    with pytest.raises(NotAvailable, match="team"):
        intensity(book_of(MARCH, [("a", "2026-03-10", "sms")]), by="team")
