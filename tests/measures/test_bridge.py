"""From one month's figure to the next: steps worked by hand, and steps that always add up."""

import datetime as dt
from fractions import Fraction

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collectlab.book.open import open_book
from collectlab.book.simulate import simulate
from collectlab.core.errors import FrameError, NotAvailable
from collectlab.measures import bridge, cure, portfolio, recovery
from collectlab.measures.bridge_math import rounded_to_sum
from collectlab.measures.snapshots import by_month

JUNE = pd.DataFrame({"product": ["auto", "card"], "late": [10, 20], "loans": [50, 50]})
JULY = pd.DataFrame({"product": ["auto", "card"], "late": [5, 27], "loans": [25, 75]})


def steps(found):
    return dict(zip(found.table["step"], found.table["estimate"]))


def adds_up(found):
    """Exactly, and as shown; and the segments add up to the steps, as shown too."""
    exact = found.exact
    inner = [v for k, v in exact.items() if k not in ("before", "after")]
    assert exact["before"] + sum(inner) == exact["after"]
    parts = {"share": 10_000, "money2": 100, "number": 10_000}[found.unit]
    shown = {k: round(v * parts) for k, v in zip(found.table["step"], found.table["rounded"])}
    assert sum(v for k, v in shown.items() if k != "after") == shown["after"]
    assert all(abs(v - float(exact[k]) * parts) <= 1 + 1e-6 for k, v in shown.items())
    if found.segments is not None:
        for step, part in found.segments.table.groupby("step"):
            assert sum(round(v * parts) for v in part["rounded"]) == shown[step]
            assert part["estimate"].sum() == pytest.approx(
                float(exact[step]), abs=1e-9 * max(1, abs(exact["after"]))
            )


def test_mix_and_rate_by_hand():
    found = bridge.month_on_month(JUNE, JULY, measure=bridge.ratio("late", "loans"), segments="product")
    assert steps(found) == pytest.approx({"before": 0.3, "mix": 0.045, "rate": -0.025, "after": 0.32})
    rows = found.segments.table.set_index(["step", "product"])
    assert rows.loc[("rate", "card"), "estimate"] == pytest.approx(0.625 * -0.04)
    assert rows.loc[("rate", "auto"), "estimate"] == 0
    # auto's share falls by 25 points, and its mean rate, 20 %, lies 11 points below the average of 31 %
    assert rows.loc[("mix", "auto"), "estimate"] == pytest.approx(-0.25 * (0.20 - 0.31))
    assert rows.loc[("mix", "card"), ["share_before", "share_after", "rate_before", "rate_after"]].tolist() == [
        0.5, 0.75, 0.4, 0.36,
    ]  # fmt: skip
    adds_up(found)


def test_backwards_every_step_turns_its_sign():
    there = bridge.month_on_month(JUNE, JULY, measure=bridge.ratio("late", "loans"), segments="product")
    back = bridge.month_on_month(JULY, JUNE, measure=bridge.ratio("late", "loans"), segments="product")
    assert back.exact["mix"] == -there.exact["mix"] and back.exact["rate"] == -there.exact["rate"]


def test_a_new_segment_and_one_that_has_gone_are_mix():
    before = pd.DataFrame({"product": ["auto", "lease"], "late": [10, 30], "loans": [50, 50]})
    after = pd.DataFrame({"product": ["auto", None], "late": [10, 5], "loans": [50, 50]})
    found = bridge.month_on_month(before, after, measure=bridge.ratio("late", "loans"), segments="product")
    assert steps(found) == pytest.approx({"before": 0.4, "mix": -0.25, "rate": 0.0, "after": 0.15})
    rows = found.segments.table
    assert list(rows["product"][:3]) == ["auto", "lease", "(missing)"]
    assert np.isnan(rows["rate_after"][1]) and np.isnan(rows["rate_before"][2])
    adds_up(found)


def test_cost_of_a_segment_that_recovered_nothing_is_rate():
    before = pd.DataFrame({"team": ["a", "b"], "cost": [10.0, 4.0], "paid": [100.0, 0.0]})
    after = pd.DataFrame({"team": ["a", "b"], "cost": [10.0, 9.0], "paid": [100.0, 0.0]})
    found = bridge.month_on_month(
        before, after, measure=bridge.ratio("cost", "paid", scale=100, unit="money2"), segments="team"
    )
    assert steps(found) == pytest.approx({"before": 14.0, "mix": 0.0, "rate": 5.0, "after": 19.0})
    adds_up(found)


def test_a_total_changes_by_volume_mix_and_rate():
    before = pd.DataFrame({"product": ["auto", "card"], "paid": [10.0, 20.0], "owed": [50.0, 50.0]})
    after = pd.DataFrame({"product": ["auto", "card"], "paid": [10.0, 54.0], "owed": [50.0, 150.0]})
    found = bridge.month_on_month(before, after, measure=bridge.total("paid", "owed"), segments="product")
    # average rates 30 % and 32 %: 100 more owed at 31 %; the mean owed, 150, at +4.5 and −2.5 points
    assert steps(found) == pytest.approx(
        {"before": 30, "volume": 31, "mix": 6.75, "rate": -3.75, "after": 64}
    )
    adds_up(found)


def test_frames_for_every_step_and_a_new_definition():
    late = {"late": [10, 20], "late60": [4, 9]}
    before = pd.DataFrame({"loans": [50, 50], **late})
    found = bridge.month_on_month(
        before,
        before.assign(late=[12, 21], late60=[5, 8]),
        restated=before.assign(late=[11, 20]),
        matured=before.assign(late=[11, 24]),
        measure=bridge.ratio("late60", "loans"),
        measure_before=bridge.ratio("late", "loans"),
        labels=("June", "July"),
    )
    assert steps(found) == pytest.approx(
        {
            "before": 0.3,
            "restatement": 0.01,
            "maturity": 0.04,
            "rate": -0.02,
            "definition": -0.2,
            "after": 0.13,
        }
    )
    assert found.segments is None
    shown = found.display_table()
    assert shown["Step"].tolist() == ["June", "Restatement", "Maturity", "Rate", "Definition", "July"]
    assert shown["Estimate"].tolist() == [
        "30.00 %",
        "+1.00 pp",
        "+4.00 pp",
        "−2.00 pp",
        "−20.00 pp",
        "13.00 %",
    ]
    adds_up(found)


def test_the_interval_is_the_jackknifes_over_the_same_customers_in_both_months():
    ids = ["A-17", "B-3", "C-1", "D-9"]  # one replicate group each
    before = pd.DataFrame({"customer_id": ids, "late": [0, 1, 0, 1], "loans": 1})
    after = pd.DataFrame({"customer_id": ids, "late": [0, 1, 1, 1], "loans": 1})
    row = (
        bridge.month_on_month(before, after, measure=bridge.ratio("late", "loans"))
        .table.set_index("step")
        .loc["rate"]
    )
    changes = np.array([0, 0, 1, 0])
    left_out = (changes.sum() - changes) / 3
    assert row["std_error"] == pytest.approx(np.sqrt(3 / 4 * ((left_out - 0.25) ** 2).sum()))
    assert row["conf_low"] < 0.25 < row["conf_high"]
    # a total is R times the mean of its groups: those without anybody are 0
    paid = bridge.month_on_month(before, after, measure=bridge.total("late", "loans")).table.set_index("step")
    groups = np.zeros(50)
    groups[:4] = [0, 1, 0, 1]
    assert paid.loc["before", "std_error"] == pytest.approx(np.sqrt(50) * np.std(groups, ddof=1))


rows = st.lists(
    st.tuples(
        st.sampled_from(["a", "b", "c", None]),
        st.sampled_from(["N", "S"]),
        st.integers(-5_000, 1_000_000),
        st.integers(0, 1_000_000),
    ),
    min_size=1,
    max_size=6,
).filter(lambda found: any(r[3] for r in found))


def table(found):
    frame = pd.DataFrame(found, columns=["product", "region", "top", "base"]).astype({"product": "object"})
    return frame.assign(top=frame["top"] / 100, base=frame["base"] / 100, customer_id=range(len(frame)))


@settings(max_examples=12, deadline=None)
@given(rows, rows, rows, st.booleans(), st.sampled_from([None, "product", ["product", "region"]]))
def test_the_steps_add_up_exactly_and_as_shown(before, restated, after, is_total, segments):
    measure = bridge.total("top", "base") if is_total else bridge.ratio("top", "base")
    frames = [table(f) for f in (before, restated, after)]
    found = bridge.month_on_month(
        frames[0], frames[2], restated=frames[1], measure=measure, segments=segments
    )
    adds_up(found)
    top, base = ([sum(Fraction(round(v * 100), 100) for v in f[c]) for f in frames] for c in ("top", "base"))
    expected = top if is_total else [t / b for t, b in zip(top, base)]
    assert found.exact["before"] == expected[0]
    assert found.exact["restatement"] == expected[1] - expected[0]
    assert found.exact["after"] == expected[2]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.fractions(-5, 5, max_denominator=50), min_size=1, max_size=8), st.integers(-1, 1))
def test_rounding_moves_no_part_by_more_than_one_and_nothing_stays_nothing(values, off):
    target = round(sum(values)) + (off if any(v.denominator > 1 for v in values) else 0)
    found = rounded_to_sum(values, target)
    assert sum(found) == target
    if off == 0:
        assert all(abs(n - v) < 2 for n, v in zip(found, values))
        assert all(n == v for n, v in zip(found, values) if v.denominator == 1) or len(values) == 1


# ------------------------------------------------------------------------------------------- of two books


@pytest.fixture(scope="module")
def book():
    return open_book(simulate(accounts=300, months=14, seed=3, truth_accounts=0).book_tables)


@pytest.fixture(scope="module")
def cut(book):
    return book.as_of.replace(day=1) - dt.timedelta(days=1)


def test_the_figures_are_those_of_their_own_measures(book, cut):
    before = book.until(cut)
    window = {}
    for known in (before, book):
        first = known.as_of.replace(year=known.as_of.year - 1) + dt.timedelta(days=1)
        spells = known.episodes().collect("pandas").to_native()
        spells = spells.query(
            "outcome != 'censored' or exit_day > first_seen_day"
        )  # seen once, at the very end
        started = pd.to_datetime(spells["started_on"])
        window[known.as_of] = spells[(started >= str(first.replace(day=1))) & (started <= str(known.as_of))]
    found = bridge.month_on_month(before, book, measure="cure_rate", segments="product")
    ends = [cure.cure_rate(cure.midway(w), horizons=(90,)).table["estimate"][0] for w in window.values()]
    assert [steps(found)[s] for s in ("before", "after")] == pytest.approx(ends)
    assert "maturity" in steps(found) and "restatement" not in steps(found)
    adds_up(found)
    found = bridge.month_on_month(before, book, measure="recovery_rate", segments=["product"])
    ends = [
        recovery.recovery_rate(w, book.until(day).table("payments"), horizons=(90,), as_of=day).table.iloc[0]
        for day, w in window.items()
    ]
    for step, end in zip(("before", "after"), ends):
        row = found.table.set_index("step").loc[step]
        assert row["estimate"] == pytest.approx(end["estimate"])
        # A replicate group without any episode counts in the one's degrees of freedom, not in the other's.
        bounds = ["conf_low", "conf_high"]
        assert row[bounds].tolist() == pytest.approx(end[bounds].tolist(), rel=1e-3)
    adds_up(found)
    late = bridge.month_on_month(
        before, book, measure=bridge.delinquency_rate(30, "balance"), segments="region"
    )
    rates = portfolio.delinquency_rate(book.table("snapshots"), over=30, weight="balance").table["estimate"]
    assert [steps(late)[s] for s in ("before", "after")] == pytest.approx(rates.tail(2).tolist())
    adds_up(late)


def test_money_of_the_month_by_another_way(book, cut):
    snapshots = by_month(book, money=["amount_past_due"]).collect("pandas").to_native()
    owed = snapshots[(snapshots["status"] == "open") & (snapshots["dpd"] >= 1)]
    owed = owed[owed["month"] == cut.year * 12 + cut.month - 1].set_index("id")["money0"] / 100
    paid = book.table("payments").collect("pandas").to_native()
    paid = paid[pd.to_datetime(paid["paid_on"]) > str(cut)].groupby("account_id")["amount"].sum()
    expected = np.minimum(paid.reindex(owed.index).fillna(0), owed).sum()
    found = bridge.month_on_month(book.until(cut), book, measure="recovered", segments="product")
    assert float(found.exact["after"]) == pytest.approx(expected)
    assert list(steps(found)) == ["before", "volume", "mix", "rate", "after"]
    adds_up(found)
    acted = book.table("actions").collect("pandas").to_native()
    spent = acted[pd.to_datetime(acted["at"]) > str(cut + dt.timedelta(days=1))]["cost"].sum()
    cost = bridge.month_on_month(book.until(cut), book, measure="cost_per_100_recovered", segments="product")
    assert float(cost.exact["after"]) == pytest.approx(100 * spent / expected, rel=1e-9)
    adds_up(cost)


def test_late_data_show_as_restatement(book, cut):
    tables = {name: frame.collect("pandas").to_native() for name, frame in book.until(cut).tables.items()}
    month = pd.to_datetime(tables["payments"]["paid_on"]) > str(cut - dt.timedelta(days=20))
    reported = open_book({**tables, "payments": tables["payments"][~month]})
    found = bridge.month_on_month(reported, book, measure="recovered", segments="product")
    known = bridge.month_on_month(book.until(cut), book, measure="recovered", segments="product")
    assert found.exact["restatement"] == known.exact["before"] - found.exact["before"] > 0
    assert found.table.set_index("step").loc["restatement", ["std_error", "conf_low"]].isna().all()
    adds_up(found)


def test_a_new_definition_of_cure(book, cut):
    found = bridge.month_on_month(
        book.until(cut),
        book,
        measure=bridge.cure_rate(60, "current_one_cycle"),
        measure_before=bridge.cure_rate(60),
    )
    assert list(steps(found)) == ["before", "maturity", "rate", "definition", "after"]
    assert steps(found)["definition"] < 0
    adds_up(found)


def test_frames_of_any_engine_and_names_that_need_quoting():
    one = pl.from_pandas(JUNE).rename({"product": 'the "group"'}).lazy()
    two = JULY.rename(columns={"product": 'the "group"'})
    found = bridge.month_on_month(one, two, measure=bridge.ratio("late", "loans"), segments='the "group"')
    assert found.segments.by == ('the "group"',)
    assert steps(found)["mix"] == pytest.approx(0.045)


def test_an_analysts_own_episodes_payments_and_snapshots(book, cut):
    end, payments = book.as_of, book.table("payments")
    spells = book.episodes().collect("pandas").to_native()
    spells["started_on"] = pd.to_datetime(spells["started_on"])
    early = spells[spells["started_on"] <= str(cut - dt.timedelta(days=120))]
    frames = [{"episodes": f, "payments": payments, "as_of": end} for f in (early, spells)]
    found = bridge.month_on_month(*frames, measure=bridge.recovery_rate(60), segments="product")
    ends = [
        recovery.recovery_rate(f, payments, horizons=(60,), as_of=end).table["estimate"][0]
        for f in (early, spells)
    ]
    assert [steps(found)[s] for s in ("before", "after")] == pytest.approx(ends)
    adds_up(found)
    cured = bridge.month_on_month(early, spells, measure=bridge.cure_rate(60), segments="product")
    ends = [cure.cure_rate(f, horizons=(60,)).table["estimate"][0] for f in (early, spells)]
    assert [steps(cured)[s] for s in ("before", "after")] == pytest.approx(ends)
    rows = book.table("snapshots").collect("pandas").to_native()
    late = bridge.month_on_month(
        rows[pd.to_datetime(rows["as_of"]) <= str(cut)], rows, measure="delinquency_rate"
    )
    same = bridge.month_on_month(book.until(cut), book, measure="delinquency_rate")
    assert late.exact == same.exact


def test_what_cannot_be_bridged_is_refused_in_words(book, cut):
    measure = bridge.ratio("late", "loans")
    with pytest.raises(FrameError, match="Did you mean 'cure_rate'"):
        bridge.month_on_month(JUNE, JULY, measure="cure_rat")
    with pytest.raises(FrameError, match="no column 'produkt'"):
        bridge.month_on_month(JUNE, JULY, measure=measure, segments="produkt")
    with pytest.raises(FrameError, match=r"loans: 1 of 2 rows are below 0 \(the least -3.00\)"):
        bridge.month_on_month(JUNE, JULY.assign(loans=[-3, 5]), measure=measure)
    with pytest.raises(NotAvailable, match="nothing to take a share of"):
        bridge.month_on_month(JUNE.assign(loans=0), JULY, measure=measure)
    with pytest.raises(FrameError, match="different units"):
        bridge.month_on_month(JUNE, JULY, measure=measure, measure_before=bridge.total("late"))
    many = pd.DataFrame({"n": range(1000), "late": 1, "loans": 1})
    with pytest.raises(FrameError, match=r"1,000 segments. Allowed: up to 200"):
        bridge.month_on_month(many, many, measure=measure, segments="n")
    with pytest.raises(FrameError, match="the earlier one"):
        bridge.month_on_month(book, book.until(cut))
    with pytest.raises(FrameError, match="two of a kind"):
        bridge.month_on_month(JUNE, book)
    with pytest.raises(NotAvailable, match="nobody is followed that long"):
        bridge.month_on_month(book.until(cut), book, measure=bridge.cure_rate(900, months=2))
    with pytest.raises(FrameError, match="columns that group accounts"):
        bridge.month_on_month(book.until(cut), book, segments="account_id")


def test_gaps_in_the_columns_are_told():
    found = bridge.month_on_month(
        JUNE.assign(late=[None, 20]), JULY.assign(loans=[np.nan, 75]), measure=bridge.ratio("late", "loans")
    )
    assert "1 rows without late count as 0." in found.notes
    assert "1 rows without loans are left out." in found.notes
    assert steps(found)["after"] == pytest.approx(27 / 75)
    assert found.table["conf_low"].isna().all()


def test_the_waterfall_is_drawn_and_the_page_reads():
    found = bridge.month_on_month(JUNE, JULY, measure=bridge.ratio("late", "loans"), segments="product")
    ax = found.plot()
    assert [t.get_text() for t in ax.get_yticklabels()] == ["before", "Mix", "Rate", "after"]
    assert [round(bar.get_width(), 3) for bar in ax.patches] == [0.045, -0.025]
    assert "| Mix | +4.50 pp |" in found._repr_markdown_()
    assert "| card | 50.0 % | 75.0 % | 40.0 % | 36.0 % |" in found.segments._repr_markdown_()
    assert found.notes[0] == "Change: +2.00 pp."
