"""Backtest and record: errors worked out by hand, rivals as their libraries have them, nothing from the future."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import collectlab as cl
from collectlab.book.simulate import simulate
from collectlab.core.errors import FrameError, NotAvailable
from collectlab.policy.forecast import backtest, forecast, history, last_forecast
from collectlab.policy.forecast.rivals import drift, naive, seasonal_naive, smoothed
from collectlab.report.chapters import forecast as chapter
from collectlab.report.month import open_month

ROOT = Path(__file__).parents[2]
SHARED = ROOT.parent / "shared" / "data"


@pytest.fixture(scope="module")
def counted():
    return history(
        cl.open_book(
            simulate(accounts=300, months=18, problems=(), truth_accounts=0).book_tables, name="bank"
        )
    )


@pytest.fixture(scope="module")
def tested(counted):
    return backtest(counted, months=3, paths=300)


def test_errors_by_hand(counted, tested):
    series = counted.series().set_index("month")["past_due"]
    rows = tested.errors[(tested.errors["measure"] == "past_due") & (tested.errors["ahead"] == 2)]
    plain = rows[rows["method"] == "naive"].set_index("origin")
    assert plain["forecast"].tolist() == series.loc[plain.index].tolist()
    assert plain["happened"].tolist() == series.loc[plain["month"]].tolist()
    cell = tested.table.query("measure == 'past_due' and ahead == 2").set_index("method")
    error = (plain["forecast"] - plain["happened"]).to_numpy()
    assert cell.loc["naive", "estimate"] == pytest.approx(np.abs(error).mean())
    assert cell.loc["naive", "rmse"] == pytest.approx(np.sqrt((error**2).mean()))
    assert cell.loc["naive", "of_naive"] == 1
    scale = [np.abs(np.diff(series.loc[:origin])).mean() for origin in plain.index]
    assert cell.loc["naive", "scaled"] == pytest.approx((np.abs(error) / scale).mean())
    own = rows[rows["method"] == "roll-forward"]
    inside = ((own["low_80"] <= own["happened"]) & (own["happened"] <= own["high_80"])).mean()
    assert cell.loc["roll-forward", "inside_80"] == pytest.approx(inside)


def test_each_origin_is_forecast_from_what_was_known_then(counted, tested):
    place = 14
    then = forecast(counted.until(place), months=3, paths=300)
    rows = (
        tested.errors.query("method == 'roll-forward' and measure == 'recovered'")
        .set_index("origin")
        .loc[then.origin]
    )
    assert rows["forecast"].tolist() == pytest.approx(
        then.table.query("measure == 'recovered'")["estimate"].tolist(), rel=1e-12
    )


def test_a_reversed_future_changes_no_earlier_forecast(counted):
    order = np.r_[np.arange(14), np.arange(len(counted.months) - 1, 13, -1)]
    names = ("stock", "moves", "due", "due_moved", "paid")
    turned = replace(counted, **{n: getattr(counted, n)[order] for n in names})
    before = [backtest(h, months=2, paths=200).errors for h in (counted, turned)]
    origins = sorted(counted.series()["month"][:14])[-1]
    one, other = (e[e["origin"] <= origins] for e in before)
    assert len(one) > 50
    assert np.array_equal(one["forecast"], other["forecast"], equal_nan=True)
    assert not np.array_equal(one["happened"], other["happened"])  # the future was turned round indeed


def test_rivals_are_what_they_are_called():
    values = np.arange(1.0, 15.0) ** 2
    assert naive(values, 2).tolist() == [196, 196]
    assert drift(values, 2).tolist() == [196 + 15, 196 + 30]
    assert seasonal_naive(values, 13).tolist()[:2] == [9, 16]
    assert np.isnan(seasonal_naive(values[:5], 2)).all() and np.isnan(smoothed(values[:9], 2)).all()
    assert smoothed(np.full(12, 3.0), 2).tolist() == [3, 3]


def test_smoothing_is_statsmodels_damped_trend():
    from statsmodels.tsa.holtwinters import ExponentialSmoothing

    values = np.cumsum(np.random.default_rng(2).normal(1, 1, 20)) + 50
    theirs = ExponentialSmoothing(values, trend="add", damped_trend=True).fit().forecast(6)
    assert smoothed(values, 6) == pytest.approx(theirs, rel=0.01)


def test_it_says_where_naive_is_better(tested):
    table = tested.table
    own = (table["method"] == "roll-forward") & (table["measure"] == "past_due")
    worse = replace(tested, table=table.assign(of_naive=table["of_naive"].mask(own & (table["ahead"] > 1), 1.3)
                                               .mask(own & (table["ahead"] == 1), 0.7)))  # fmt: skip
    said = worse.says("past_due")
    assert "the roll-forward was nearer 1 month ahead" in said
    assert "the last value (naive) was as near or nearer 2 and 3 months ahead" in said


def test_the_short_table_has_a_row_a_horizon(tested):
    short = tested.short()
    assert len(short.table) == 5 * 3
    assert {"roll_forward", "seasonal_naive", "drift", "exponential_smoothing"} <= set(short.table.columns)
    whole = tested.table.query("measure == 'recovered' and ahead == 3 and method == 'drift'")[
        "of_naive"
    ].iloc[0]
    assert short.table.query("measure == 'recovered' and ahead == 3")["drift"].iloc[0] == whole
    assert short.plot(measure="recovered").get_title(loc="left") == "Backtest: money recovered in the month"


def test_last_months_forecast_is_the_one_made_then(counted):
    record = last_forecast(counted, record=6)
    then = forecast(counted.until(len(counted.months) - 2), months=6, paths=1_000).at(1).set_index("measure")
    happened = counted.series().iloc[-1]
    for row in record.table.query("ahead == 1").itertuples():
        assert (row.estimate, row.conf_low) == tuple(then.loc[row.measure, ["estimate", "conf_low"]])
        assert row.happened == happened[row.measure]
        assert row.inside == (row.conf_low <= row.happened <= row.conf_high)
    assert set(record.table["forecasts"]) == {6}
    one = record.months.query("ahead == 1 and measure == 'past_due'")
    assert record.table.query("ahead == 1 and measure == 'past_due'")["held"].iloc[0] == one["inside"].sum()
    assert len(one) == 6 and one["month"].iloc[-1] == record.month


def test_a_miss_is_named(counted):
    # Twice as many fall behind in the last month as ever before.
    stock = counted.stock.copy()
    stock[-1, 1] += 5 * stock[-1, 1]
    said = " ".join(last_forecast(replace(counted, stock=stock)).says())
    assert "Outside last month's interval: share of open accounts past due (above)" in said


def test_too_little_history_is_told(counted):
    with pytest.raises(NotAvailable, match="a backtest needs 13 months"):
        backtest(counted.until(10))
    with pytest.raises(NotAvailable, match="a month before"):
        last_forecast(counted.until(4))


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda h: backtest(h, measures=("profit",)), "measures holds profit"),
        (lambda h: backtest(h, origins=0), "origins is 0"),
        (lambda h: backtest(h, months=0), "months is 0"),
        (lambda h: last_forecast(h, ahead=(0,)), "ahead is"),
        (lambda h: last_forecast(h, record=0), "record is 0"),
    ],
)
def test_bad_numbers_are_refused(counted, call, says):
    with pytest.raises(FrameError, match=says):
        call(counted)


def test_the_chapter_on_the_example():
    month = open_month(ROOT / "data" / "example", "2026-10", contact_rules="cn", params=ROOT / "params")
    ahead = chapter.next_months(month)
    assert sorted(ahead.table["ahead"].unique()) == [1, 3, 6, 12]
    wide = ahead.result.display_table()
    assert list(wide.columns) == ["Measure", "2026-11", "2027-01", "2027-10"]
    first = ahead.table.iloc[0]
    assert wide["2026-11"].iloc[0].startswith(f"{100 * first['estimate']:.1f} % (")
    assert ahead.picture is not None
    last = chapter.last_month(month)
    assert last.result.month == "2026-10"
    assert (
        "Last month's interval" in last.result.notes[0]
        or "last month's interval" in last.result.notes[0].lower()
    )
    shown = last.result.display_table()
    assert shown["Happened"].iloc[0].endswith("%")


def test_the_chapter_leaves_itself_out_in_one_line():
    month = open_month(
        simulate(accounts=60, months=1, truth_accounts=0).book_tables, "2026-10", params=ROOT / "params"
    )
    for part in (chapter.next_months, chapter.last_month, chapter.backtest):
        told = part(month).left_out
        assert told.startswith("Left out:") and "\n" not in told


@pytest.mark.shared
@pytest.mark.slow
def test_the_card_panel_is_forecast_and_tested(tmp_path):
    if not SHARED.is_dir():
        pytest.skip("the real data are not beside this checkout (../shared/data)")
    from collectlab.book.sources import import_source

    import_source(ROOT / "params" / "sources" / "cards", SHARED / "cards", tmp_path / "cards")
    panel = history(cl.open_book(tmp_path / "cards"))
    assert panel.stock.sum() == 1_048_575
    table = backtest(panel, months=3, origins=12, paths=300, measures=("past_due",)).table
    own = table[table["method"] == "roll-forward"]
    assert (own["of_naive"] < 1.2).all()
    assert own["inside_95"].between(0.7, 1).all()
