"""Recovery on hand-worked episodes: who is at risk, what is counted, where the rest of the money went."""

import datetime as dt

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collectlab.core.errors import FrameError, NotAvailable
from collectlab.measures.recovery import recovery_curve, recovery_period, recovery_rate

DAY0 = pd.Timestamp("2026-01-01")


def episodes(*rows, **extra):
    """account, first day, entry, exit, outcome, owed."""
    names = ["account_id", "started_on", "entry_day", "exit_day", "outcome", "amount_at_entry"]
    frame = pd.DataFrame(rows, columns=names)
    frame["started_on"] = DAY0 + pd.to_timedelta(frame["started_on"], unit="D")
    return frame.assign(**extra)


def payments(*rows):
    """account, day, amount."""
    frame = pd.DataFrame(rows, columns=["account_id", "paid_on", "amount"])
    frame["paid_on"] = DAY0 + pd.to_timedelta(frame["paid_on"].astype(int), unit="D")
    return frame.astype({"account_id": "object", "amount": float})


def at(curves, day):
    return curves.at(day)["estimate"].iloc[0]


def test_followed_to_the_end_it_is_money_paid_over_money_owed():
    spells = episodes(("a", 0, 0, 100, "cured", 100), ("b", 0, 0, 100, "censored", 300))
    paid = payments(("a", 0, 40), ("a", 100, 60), ("b", 50, 30))
    curves = recovery_curve(spells, paid, horizon=100)
    assert [at(curves, d) for d in (0, 49, 50, 99, 100)] == pytest.approx([0.1, 0.1, 0.175, 0.175, 0.325])
    assert list(curves.at([0, 100])["episodes"]) == [2, 2]


def test_short_follow_up_is_not_taken_for_unpaid():
    # b is followed for 10 days only. On day 20 only a is watched: S = 1, a pays 50 of its 100.
    spells = episodes(("a", 0, 0, 40, "censored", 100), ("b", 0, 0, 10, "censored", 100))
    curves = recovery_curve(spells, payments(("a", 5, 10), ("a", 20, 50)), horizon=60)
    assert at(curves, 5) == pytest.approx(10 / 200)
    assert at(curves, 20) == pytest.approx(10 / 200 + 50 / 100)
    assert np.isnan(at(curves, 41))
    assert any("no episode is followed that long" in n for n in curves.notes)


def test_late_seen_episodes_count_only_from_then_on_and_for_those_still_overdue():
    # a cures on day 10 having paid all; c is first seen on day 15, like b still overdue. From day 16 on the
    # half of the money that is left (S = 1/2) is watched through b and c: 20 of 200 on day 20.
    spells = episodes(
        ("a", 0, 0, 10, "cured", 100), ("b", 0, 0, 60, "censored", 100), ("c", 0, 15, 60, "censored", 100)
    )
    paid = payments(("a", 10, 100), ("c", 12, 999), ("c", 20, 20))
    curves = recovery_curve(spells, paid, horizon=60)
    assert at(curves, 15) == pytest.approx(0.5)
    assert at(curves, 20) == pytest.approx(0.5 + 0.5 * 20 / 200)
    assert curves.accounting["payments: before first seen"] == 999
    assert list(curves.at([15, 16])["episodes"]) == [1, 2]


def test_no_more_is_counted_than_was_owed_unless_asked():
    spells = episodes(("a", 0, 0, 30, "cured", 100), ("b", 0, 0, 30, "cured", 100))
    paid = payments(("a", 5, 80), ("a", 8, 50), ("a", 9, 10))
    capped = recovery_curve(spells, paid, horizon=30)
    assert at(capped, 30) == pytest.approx(0.5)
    assert capped.accounting["payments: above the amount owed"] == 40
    assert at(recovery_curve(spells, paid, horizon=30, cap=False), 30) == pytest.approx(0.7)


def test_money_after_a_charge_off_counts_to_the_end_of_the_book_but_not_after_a_cure():
    spells = episodes(
        ("a", 0, 0, 20, "charged_off", 100), ("b", 0, 0, 20, "cured", 100), ("c", 0, 0, 90, "censored", 100)
    )
    curves = recovery_curve(spells, payments(("a", 80, 30), ("b", 80, 30)), horizon=90)
    assert at(curves, 90) == pytest.approx(2 / 3 * 30 / 200)
    assert curves.accounting["payments: in no episode"] == 30


def test_a_payment_falls_in_one_episode_only_even_where_windows_would_overlap():
    spells = episodes(("a", 0, 0, 20, "charged_off", 100), ("a", 40, 0, 60, "censored", 100))
    curves = recovery_curve(spells, payments(("a", 50, 70)), horizon=60)
    assert curves.accounting["payments: counted"] == 70
    assert at(curves, 60) == pytest.approx(0.7 * 100 / 200)  # day 10 of the second episode, 200 at risk


def test_days_count_from_reaching_the_bucket_and_money_is_not_counted_twice_by_mistake():
    spells = episodes(("a", 0, 0, 60, "censored", 100), ("a", 0, 0, 30, "censored", 100))
    spells = spells.assign(
        bucket=["1–29", "30–59"], bucket_from=[1, 30], reached_on=[DAY0, DAY0 + pd.Timedelta(days=30)]
    )
    rates = recovery_rate(spells, payments(("a", 35, 50)), by="bucket", horizons=(10, 30))
    assert rates.table[["bucket", "horizon", "estimate"]].values.tolist() == [
        ["1–29", 10, 0.0], ["1–29", 30, 0.0], ["30–59", 10, 0.5], ["30–59", 30, 0.5],
    ]  # fmt: skip
    with pytest.raises(FrameError, match="several times"):
        recovery_rate(spells, payments(("a", 35, 50)))


def test_mean_and_median_days_until_the_money_is_back():
    spells = episodes(("a", 0, 0, 200, "censored", 100), ("b", 0, 0, 200, "censored", 100))
    paid = payments(("a", 10, 60), ("b", 20, 20), ("b", 100, 20))
    table = recovery_period(spells, paid).table.set_index("measure")
    assert table.loc["mean", "estimate"] == pytest.approx((10 * 60 + 20 * 20 + 100 * 20) / 100)
    assert table.loc["median", "estimate"] == 10
    assert table.loc["mean", "share"] == pytest.approx(0.5)


def test_groups_keep_their_name_order_and_missing_value():
    spells = episodes(
        ("a", 0, 0, 30, "cured", 100), ("b", 0, 0, 30, "cured", 100), ("c", 0, 0, 30, "cured", 50),
        **{'the "group"': ["z", None, "b"], "n": [1, 2, 3]},
    )  # fmt: skip
    rates = recovery_rate(spells, payments(("b", 1, 10)), by='the "group"', horizons=[30])
    assert list(rates.table.columns[:2]) == ['the "group"', "horizon"]
    assert list(rates.table['the "group"'].fillna("–")) == ["b", "z", "–"]
    assert list(rates.table["estimate"]) == [0, 0, pytest.approx(0.1)]
    assert list(recovery_rate(spells, payments(), by="n", horizons=[30]).table["owed"]) == [100, 100, 50]


def test_interval_is_the_delete_a_group_jackknife_over_customers():
    # One customer a replicate group: the jackknife is the leave-one-customer-out formula by hand.
    paid_back = [0.0, 20.0, 40.0, 90.0]
    ids = ["A-17", "B-3", "C-1", "D-9"]
    spells = episodes(*[(i, 0, 0, 30, "censored", 100) for i in ids], customer_id=ids)
    paid = payments(*[(i, 3, x) for i, x in zip(ids, paid_back)])
    row = recovery_rate(spells, paid, horizons=[30]).table.iloc[0]
    whole = np.mean(paid_back) / 100
    left_out = [(sum(paid_back) - x) / 300 for x in paid_back]
    by_hand = np.sqrt(3 / 4 * sum((v - whole) ** 2 for v in left_out))
    assert row["estimate"] == pytest.approx(whole)
    assert row["std_error"] == pytest.approx(by_hand)
    assert 0 < row["conf_low"] < whole < row["conf_high"] < 1
    # the same four episodes of one customer say nothing about other customers
    alone = recovery_rate(spells.assign(customer_id="A-17"), paid, horizons=[30]).table.iloc[0]
    assert np.isnan(alone["std_error"])


def test_what_cannot_be_measured_is_refused_in_words():
    spells = episodes(("a", 0, 0, 30, "cured", 100))
    paid = payments(("a", 1, 10))
    with pytest.raises(FrameError, match="outcome: 1 episodes have repaid"):
        recovery_curve(spells.assign(outcome="repaid"), paid)
    with pytest.raises(FrameError, match="no column 'regoin'"):
        recovery_curve(spells.assign(region="n"), paid, by="regoin")
    with pytest.raises(NotAvailable, match="amount owed"):
        recovery_curve(spells.assign(amount_at_entry=np.nan), paid)
    with pytest.raises(NotAvailable, match="no episodes"):
        recovery_curve(spells.head(0), paid)
    with pytest.raises(NotAvailable, match="under observation"):
        recovery_curve(episodes(("a", 0, 30, 30, "censored", 100)), paid)
    with pytest.raises(FrameError, match="Allowed: whole days"):
        recovery_curve(spells, paid, horizon=0)
    with pytest.raises(FrameError, match="outside the curve"):
        recovery_curve(spells, paid, horizon=30).at(31)


def test_no_payments_is_a_recovery_of_nothing():
    curves = recovery_curve(episodes(("a", 0, 0, 30, "cured", 100)), payments(), horizon=30)
    assert at(curves, 30) == 0
    period = recovery_period(episodes(("a", 0, 0, 30, "cured", 100)), payments(), horizon=30)
    assert period.table["estimate"].isna().all()


spell_lists = st.lists(
    st.tuples(
        st.sampled_from("abc"),
        st.integers(0, 100),
        st.sampled_from([0, 0, 5]),
        st.integers(1, 80),
        st.sampled_from(["cured", "charged_off", "settled", "sold", "censored"]),
        st.sampled_from([100.0, 33.33]),
    ),
    min_size=1,
    max_size=8,
    unique_by=lambda row: (row[0], row[1]),
)
payment_lists = st.lists(
    st.tuples(st.sampled_from("abcd"), st.integers(0, 220), st.sampled_from([0.01, 10.0, 77.77])), max_size=12
)


@settings(max_examples=25, deadline=None)
@given(spell_lists, payment_lists, st.booleans())
def test_every_payment_is_counted_once_or_accounted_for(spell_rows, payment_rows, capped):
    spells = episodes(*spell_rows)
    spells["exit_day"] = spells["entry_day"] + spells["exit_day"]
    paid = payments(*payment_rows)
    try:
        curves = recovery_curve(spells, paid, horizon=60, cap=capped)
    except NotAvailable:
        return
    money = curves.accounting
    assert money["payments: all"] == pytest.approx(paid["amount"].sum())
    assert money.drop("payments: all").sum() == pytest.approx(money["payments: all"])
    assert (money >= 0).all()
    known = curves.table["estimate"].dropna()
    assert (known.diff().dropna() >= -1e-12).all()
    shuffled = recovery_curve(
        pl.from_pandas(spells.sample(frac=1, random_state=1)).lazy(),
        pl.from_pandas(paid.iloc[::-1]).lazy(),
        horizon=60,
        cap=capped,
    )
    pd.testing.assert_frame_equal(shuffled.table, curves.table)


def test_the_charts_are_drawn():
    spells = episodes(*[(i, 0, 0, 60, "cured", 100) for i in "abcdefgh"], team=["x", "y"] * 4)
    paid = payments(*[(i, k * 5, 10 * k) for k, i in enumerate("abcdefgh")])
    curves = recovery_curve(spells, paid, by="team", horizon=60)
    ax = curves.plot()
    assert [line.get_label() for line in ax.lines] == ["x", "y"]
    assert "30" in curves._repr_html_()
    assert len(recovery_rate(spells, paid, by="team", horizons=(30, 60)).plot().containers) == 2


def test_frames_of_different_engines_are_brought_together():
    spells = episodes(("a", 0, 0, 30, "cured", 100))
    curves = recovery_curve(spells, pl.from_pandas(payments(("a", 1, 10))).lazy(), horizon=30)
    assert at(curves, 30) == pytest.approx(0.1)


def test_the_end_of_the_book_can_be_given():
    spells = episodes(("a", 0, 0, 20, "charged_off", 100))
    curves = recovery_curve(spells, payments(("a", 80, 30)), horizon=90, as_of=dt.date(2026, 5, 1))
    assert at(curves, 90) == pytest.approx(0.3)
