"""Liquidation by batch of placement, on placements worked by hand."""

import datetime as dt

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collectlab.core.engine import collect, scan
from collectlab.core.errors import FrameError, NotAvailable
from collectlab.measures.recovery import liquidation, placements

END = dt.date(2026, 4, 30)


def placed(*rows, **extra):
    """account, date, amount."""
    frame = pd.DataFrame(rows, columns=["account_id", "placed_on", "amount"])
    return frame.assign(
        placed_on=pd.to_datetime(frame["placed_on"]), amount=frame["amount"].astype(float), **extra
    )


def paid(*rows):
    frame = pd.DataFrame(rows, columns=["account_id", "paid_on", "amount"]).astype({"amount": float})
    return frame.assign(paid_on=pd.to_datetime(frame["paid_on"]))


def shares(found, batch):
    return found.table[found.table["batch"] == batch]["estimate"].tolist()


def test_months_count_from_the_month_of_placement_and_stop_where_the_data_stop():
    found = liquidation(
        placed(("a", "2026-01-31", 100), ("b", "2026-01-01", 300), ("c", "2026-03-10", 50)),
        paid(("a", "2026-01-31", 10), ("b", "2026-03-02", 50), ("c", "2026-04-01", 25), ("a", "2026-01-30", 999)),
        months=4, as_of=END,
    )  # fmt: skip
    assert shares(found, "2026-01") == pytest.approx(
        [10 / 400, 10 / 400, 60 / 400, 60 / 400, np.nan], nan_ok=True
    )
    assert shares(found, "2026-03") == pytest.approx([0, 0.5, np.nan, np.nan, np.nan], nan_ok=True)
    assert list(found.display_table().columns[-2:]) == ["Month 3", "Month 4"]
    assert found.display_table()["Month 2"].tolist() == ["15.0 %", ""]
    # a month that has not ended does not count
    assert np.isnan(
        shares(liquidation(placed(("c", "2026-03-10", 50)), paid(), as_of=dt.date(2026, 4, 29)), "2026-03")[1]
    )


def test_no_more_is_collected_than_was_placed_unless_asked():
    one = placed(("a", "2026-01-05", 100))
    money = paid(("a", "2026-01-10", 70), ("a", "2026-02-10", 70))
    assert shares(liquidation(one, money, months=1, as_of=END), "2026-01") == pytest.approx([0.7, 1.0])
    assert shares(liquidation(one, money, months=1, as_of=END, cap=False), "2026-01") == pytest.approx(
        [0.7, 1.4]
    )


def test_a_payment_goes_to_the_placement_it_falls_in():
    two = placed(("a", "2026-01-05", 100), ("a", "2026-02-15", 80), agency=["X", "Y"])
    money = paid(("a", "2026-02-14", 10), ("a", "2026-02-15", 20), ("a", "2026-01-04", 40))
    found = liquidation(two, money, by="agency", months=1, as_of=END)
    assert shares(found, "2026-01") == pytest.approx([0, 0.1])
    assert shares(found, "2026-02") == pytest.approx([0.25, 0.25])
    ended = two.assign(ended_on=pd.to_datetime(["2026-02-13", None]))
    assert shares(liquidation(ended, money, by="agency", months=1, as_of=END), "2026-01") == pytest.approx(
        [0, 0]
    )


def test_groups_are_compared_only_at_ages_that_all_have_reached():
    rows = placed(
        ("a", "2026-01-05", 100), ("b", "2026-02-05", 100), ("c", "2026-03-05", 100), ("d", "2026-04-05", 100),
        agency=["X", "X", "Y", "Y"],
    )  # fmt: skip
    money = paid(
        ("a", "2026-02-01", 10), ("b", "2026-03-01", 30), ("c", "2026-04-01", 50), ("d", "2026-04-06", 90)
    )
    found = liquidation(rows, money, by="agency", months=3, as_of=END)
    side = found.compare()  # Y's oldest batch, March, has reached month 1; April's has not
    assert side.table[["agency", "batches", "placed", "collected", "estimate"]].values.tolist() == [
        ["X", 2, 200.0, 40.0, 0.2], ["Y", 1, 100.0, 50.0, 0.5],
    ]  # fmt: skip
    assert side.title == "Liquidation by month 1"
    assert found.compare(0).table["estimate"].tolist() == pytest.approx([0.0, 0.45])
    with pytest.raises(
        FrameError, match=r"month 2 is not reached by Y. Allowed: an age that all reached, 0 to 1"
    ):
        found.compare(2)
    assert liquidation(rows, money, months=3, as_of=END).compare().table["batch"].tolist() == [
        "2026-01", "2026-02", "2026-03", "2026-04",
    ]  # fmt: skip
    assert len(found.at(3)) == 1
    with pytest.raises(FrameError, match="no batch has reached month 4"):
        found.at(4)
    assert [line.get_label() for line in found.plot().lines] == ["X", "Y"]
    assert side.plot().get_title(loc="left") == "Liquidation by month 1"
    assert len(liquidation(rows, money, months=3, as_of=END).plot().lines) == 4


def test_the_interval_is_the_jackknifes_over_customers():
    ids = ["A-17", "B-3", "C-1", "D-9"]  # one replicate group each
    back = np.array([0.0, 20.0, 40.0, 90.0])
    found = liquidation(
        placed(*[(i, "2026-01-05", 100) for i in ids]),
        paid(*[(i, "2026-01-09", x) for i, x in zip(ids, back)]),
        months=1,
        as_of=END,
    )
    left_out = (back.sum() - back) / 300
    expected = np.sqrt(3 / 4 * ((left_out - back.mean() / 100) ** 2).sum())
    assert found.table["std_error"].tolist() == pytest.approx([expected, expected])
    joint = placed(*[(i, "2026-01-05", 100) for i in ids]).assign(customer_id="A-17")
    assert np.isnan(liquidation(joint, paid(), months=1, as_of=END).table["std_error"]).all()


def test_placements_are_changes_in_the_log():
    log = pd.DataFrame(
        [("a", "01-02", None), ("a", "02-03", "X"), ("a", "02-05", None), ("a", "02-20", "X"), ("a", "03-04", "Y"),
         ("a", "03-09", "X"), ("b", "01-01", "Y"), ("b", "04-01 09:00", "X"), ("b", "04-01 10:00", "Z")],
        columns=["account_id", "at", "agency"],
    )  # fmt: skip
    log["at"] = pd.to_datetime("2026-" + log["at"], format="mixed")
    seen = pd.DataFrame(
        [("a", "2026-01-31", 80.0), ("a", "2026-03-04", 70.0), ("b", "2026-01-31", 10.0)],
        columns=["account_id", "as_of", "amount_past_due"],
    ).assign(as_of=lambda f: pd.to_datetime(f["as_of"]))
    owners = pd.DataFrame({"account_id": ["a", "b"], "customer_id": ["K", "K"]})
    for wrap in (scan, lambda f: scan(pl.from_pandas(f).lazy())):
        made = collect(placements(wrap(log), wrap(seen), wrap(owners))).sort_values(
            ["account_id", "placed_on"]
        )
        assert [str(d)[5:10] for d in made["placed_on"]] == ["02-03", "03-04", "03-09", "01-01", "04-01"]
        assert made["agency"].tolist() == ["X", "Y", "X", "Y", "Z"]
        assert made["amount"].tolist() == pytest.approx([80, 70, 70, np.nan, 10], nan_ok=True)
        assert set(made["customer_id"]) == {"K"}
    found = liquidation(placements(log, seen), paid(), by="agency", as_of=END)
    assert "1 of 5 placements without an amount above 0 are left out." in found.notes


def test_what_cannot_be_a_placement_is_refused():
    one = placed(("a", "2026-01-05", 100))
    with pytest.raises(FrameError, match="no column 'agensy'"):
        liquidation(one, paid(), by="agensy")
    with pytest.raises(FrameError, match=r"placed twice on a day \(a\)"):
        liquidation(placed(("a", "2026-01-05", 100), ("a", "2026-01-05", 50)), paid())
    with pytest.raises(NotAvailable, match="no placement has an amount above 0"):
        liquidation(placed(("a", "2026-01-05", 0)), paid(), as_of=END)
    with pytest.raises(NotAvailable, match="no placement"):
        liquidation(one.head(0), paid(), as_of=END)
    with pytest.raises(FrameError, match="months is 0"):
        liquidation(one, paid(), months=0)
    many = placed(*[(i, "2026-01-05", 1) for i in range(1500)])
    with pytest.raises(FrameError, match="makes 1,500 groups"):
        liquidation(
            many.assign(who=many["account_id"]), paid(("a", "2026-01-09", 1)).assign(account_id=1), by="who"
        )


@settings(max_examples=10, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from("abc"), st.integers(0, 80), st.sampled_from([50.0, 100.0])),
        min_size=1, max_size=6, unique_by=lambda r: r[:2],
    ),
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 119), st.sampled_from([10.0, 70.0])), max_size=10),
    st.booleans(),
)  # fmt: skip
def test_against_a_loop_over_placements(rows, money, capped):
    start = pd.Timestamp("2026-01-01")
    frame = placed(*[(a, start + pd.Timedelta(days=d), x) for a, d, x in rows])
    payments = paid(*[(a, start + pd.Timedelta(days=d), x) for a, d, x in money]).astype(
        {"account_id": "object"}
    )
    found = liquidation(frame, payments, months=3, cap=capped, as_of=END).table
    for batch, part in found.groupby("batch"):
        for month, value in zip(part["month"], part["estimate"]):
            end = pd.Period(batch, "M") + month
            top = base = 0.0
            for a, d, x in rows:
                day = start + pd.Timedelta(days=d)
                if day.to_period("M") != pd.Period(batch, "M"):
                    continue
                following = min((e for b, e, _ in rows if b == a and e > d), default=10_000)
                back = sum(p for b, e, p in money if b == a and d <= e < following
                           and (start + pd.Timedelta(days=e)).to_period("M") <= end)  # fmt: skip
                top, base = top + (min(back, x) if capped else back), base + x
            assert value == pytest.approx(top / base) if end <= pd.Period("2026-04", "M") else np.isnan(value)
    lazy = liquidation(
        pl.from_pandas(frame.iloc[::-1]).lazy(),
        pl.from_pandas(payments).lazy(),
        months=3,
        cap=capped,
        as_of=END,
    )
    pd.testing.assert_frame_equal(lazy.table, found)
