"""The forecast: exact where every month is alike, wide enough where months differ, blind to the future."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from collectlab.core.errors import FrameError, NotAvailable
from collectlab.policy.forecast import History, forecast
from collectlab.policy.forecast.model import LAST_STEPS, fit
from collectlab.policy.forecast.season import shrunk, wander

FIRST = 2024 * 12  # January 2024
B, S = 3, 8  # current, 1–29, 30+; charged off is state 3, not seen is state 7
P = np.array(
    [[0.90, 0.08, 0.0, 0, 0, 0, 0, 0.02], [0.5, 0.25, 0.25, 0, 0, 0, 0, 0], [0.1, 0, 0.5, 0.4, 0, 0, 0, 0]]
)
ENTER = np.array([40, 0, 0])


def made(stock, moves, due=None, due_moved=None, paid=None, first=FIRST) -> History:
    """A history of months in a row; the last has no step."""
    months = first + np.arange(len(stock))
    return History(months, stock, moves, due, due_moved, paid, (first, int(months[-1])), (0, 1, 30))


def alike(months: int = 10) -> History:
    """Every month has the same accounts and the same flows; what leaves is what enters."""
    stock = np.array([[1000, 160, 80]] * months)
    flow = np.array([[900, 80, 0, 0, 0, 0, 0, 20], [80, 40, 40, 0, 0, 0, 0, 0], [8, 0, 40, 32, 0, 0, 0, 0]])
    moves = np.array([flow] * (months - 1) + [0 * flow])
    due = stock * np.array([0, 1_000, 5_000])
    owed = np.zeros_like(moves)
    owed[:-1, :, 1], owed[:-1, :, 2] = flow[:, 1] * 1_000, flow[:, 2] * 5_000
    paid = stock * np.array([30, 600, 200])
    paid[-1] = 0
    return made(stock, moves, due, owed, paid)


def drawn(rng: np.random.Generator, months: int, spread: float = 0.0, season: float = 0.0) -> History:
    """Accounts that roll by P; each month's log-odds of falling behind move by ``spread``, and by the season."""
    stock, moves, paid = [np.array([2000, 240, 80])], [], []
    for m in range(months - 1):
        p = P.copy()
        odds = 0.08 / 0.9 * np.exp(spread * rng.standard_normal() + season * np.sin(2 * np.pi * (m + 1) / 12))
        p[0, 0], p[0, 1] = 0.98 / (1 + odds), 0.98 * odds / (1 + odds)
        flow = np.array([rng.multinomial(n, row) for n, row in zip(stock[-1], p)])
        moves.append(flow)
        paid.append(np.round(stock[-1] * np.array([0, 600, 200]) * rng.lognormal(0, 0.2)).astype(int))
        stock.append(flow[:, :B].sum(axis=0) + rng.poisson(ENTER))
    nothing = np.zeros((B, S), int)
    return made(np.array(stock), np.array([*moves, nothing]), paid=np.array([*paid, nothing[:, 0]]))


def test_where_every_month_is_alike_the_next_are_as_the_matrix_says():
    counted = replace(alike(), stock=np.array([[1000, 160, 80]] * 9 + [[2000, 100, 0]]))
    # The last stock differs: what enters is counted from the nine steps, the last of which now ends elsewhere.
    counted = replace(counted, moves=np.where(np.arange(10)[:, None, None] == 8, 0, counted.moves))
    counted = replace(counted, months=np.append(counted.months[:9], counted.months[9] + 1))  # no step into it
    ahead = forecast(counted, months=3)
    p = np.array([[900, 80, 0], [500, 250, 250], [100, 0, 500]]) / [[1000], [1000], [1000]]
    enter = np.array([1000 - 988, 160 - 120, 80 - 80])
    stock = np.array([2000.0, 100.0, 0.0])
    for h in range(3):
        charged_off, recovered = stock[2] * 0.4, (stock[1] * 600 + stock[2] * 200) / 100
        stock = stock @ p + enter
        expected = {"past_due": stock[1:].sum() / stock.sum(), "past_due_30": stock[2] / stock.sum()}
        expected |= {"charged_off": charged_off, "recovered": recovered}
        rows = ahead.at(h + 1).set_index("measure")
        for measure, value in expected.items():
            assert rows.loc[measure, "estimate"] == pytest.approx(value, rel=1e-6), (h, measure)
            assert rows.loc[measure, "conf_high"] - rows.loc[measure, "conf_low"] < 1e-6 * max(value, 1)


def test_amounts_follow_their_own_rates():
    ahead = forecast(alike(), months=4)
    rows = ahead.table[ahead.table["measure"] == "amount_overdue"]
    # Accounts and amounts stand still: 160 accounts owe 10 each and 80 owe 50 each, in money.
    assert rows["estimate"].tolist() == pytest.approx([160 * 10 + 80 * 50] * 4)


def test_buckets_add_up_and_start_from_what_is_known():
    table = forecast(alike(), months=6).by_bucket((1, 6, 12)).table
    assert sorted(table["ahead"].unique()) == [1, 6]
    assert table[table["ahead"] == 1]["estimate"].tolist() == pytest.approx([1000, 160, 80])


def test_the_same_seed_gives_the_same_forecast_and_another_another():
    counted = drawn(np.random.default_rng(5), 20)
    one = forecast(counted, months=3).table
    assert one.equals(forecast(counted, months=3).table)
    assert not one.equals(forecast(counted, months=3, seed=1).table)


def test_what_happens_later_changes_nothing():
    counted = drawn(np.random.default_rng(6), 24, spread=0.2)
    order = np.r_[np.arange(16), 16 + np.random.default_rng(0).permutation(8)]
    shuffled = replace(
        counted, stock=counted.stock[order], moves=counted.moves[order], paid=counted.paid[order]
    )  # fmt: skip
    assert forecast(counted.until(15)).table.equals(forecast(shuffled.until(15)).table)


def test_intervals_cover_what_comes_with_and_without_months_that_differ():
    hold, books = 6, 30
    for spread in (0.0, 0.35):
        inside = {0.8: [], 0.95: []}
        for seed in range(books):
            counted = drawn(np.random.default_rng([seed, 77]), 24 + hold, spread)
            made_then = forecast(counted.until(23), months=hold, paths=400)
            after = counted.series().tail(hold)
            for level, found in inside.items():
                ends = made_then.level(level).table
                for measure in ("past_due", "past_due_30", "recovered", "charged_off"):
                    rows, seen = ends[ends["measure"] == measure], after[measure].to_numpy()
                    found.append(((rows["conf_low"] <= seen) & (seen <= rows["conf_high"])).mean())
        assert np.mean(inside[0.8]) == pytest.approx(0.8, abs=0.07), spread
        assert np.mean(inside[0.95]) == pytest.approx(0.95, abs=0.035), spread


def test_months_that_differ_widen_the_interval_beyond_that_of_independent_accounts():
    def width(spread: float) -> float:
        widths = []
        for seed in range(6):
            row = forecast(
                drawn(np.random.default_rng([seed, 3]), 25, spread), months=1, paths=500
            ).table.iloc[0]
            widths.append(row["conf_high"] - row["conf_low"])
        return float(np.mean(widths))

    assert width(0.35) > 1.8 * width(0.0)


def test_seasons_are_found_where_two_years_are_known_and_followed():
    counted = drawn(np.random.default_rng(8), 49, season=0.4)
    found = fit(counted).seasons["fall"]
    planted = 0.4 * np.sin(2 * np.pi * np.arange(12) / 12)
    assert np.corrcoef(found.effect, planted)[0, 1] > 0.95
    assert found.effect.std() == pytest.approx(planted.std(), rel=0.3)
    ahead = forecast(counted, months=12)
    rows = ahead.table[ahead.table["measure"] == "past_due"]["estimate"].to_numpy()
    high, low = rows[[3, 4, 5]].mean(), rows[[9, 10, 11]].mean()  # May to July against November to January
    assert high > 1.2 * low
    assert any("falling behind" in note for note in ahead.notes)


def test_no_seasons_below_two_years_and_none_where_there_are_none():
    short = forecast(drawn(np.random.default_rng(9), 20, season=0.4))
    assert "No seasons: they need each month of the year at least twice." in short.notes
    effects = [fit(drawn(np.random.default_rng(s), 37)).seasons["fall"].effect.std() for s in range(8)]
    assert np.mean(effects) < 0.03


def test_a_season_is_not_a_trend():
    months = np.arange(36)
    assert np.abs(shrunk(0.1 * months, months).effect).max() < 1e-9


def test_a_wandering_level_is_told_from_noise():
    rng = np.random.default_rng(4)
    walks = [wander(np.cumsum(0.3 * rng.standard_normal(36)), np.arange(36)) for _ in range(60)]
    noise = [wander(0.3 * rng.standard_normal(36), np.arange(36)) for _ in range(60)]
    assert np.mean(walks) == pytest.approx(0.09, rel=0.35)
    assert np.mean(noise) < 0.005


def test_rates_of_recent_months_count_more():
    early, late = alike(13).moves[0].copy(), alike(13).moves[0].copy()
    early[0, :2], late[0, :2] = [900, 80], [940, 40]
    moves = np.array([early] * 6 + [late] * 6 + [0 * early])
    model = fit(replace(alike(13), moves=moves))
    assert model.recency[-1] == 1 and model.recency[-4] == 0.5
    assert len(model.used) == min(12, LAST_STEPS)


@pytest.mark.parametrize(
    ("options", "says"),
    [({"months": 0}, "months is 0"), ({"months": 61}, "from 1 to 60"), ({"last": 5}, "last is 5"),
     ({"paths": 10}, "paths is 10"), ({"conf_level": 1.2}, "conf_level"), ({"months": 1.5}, "months is 1.5")],
)  # fmt: skip
def test_numbers_out_of_range_are_refused(options, says):
    with pytest.raises(FrameError, match=says):
        forecast(alike(), **options)


def test_all_faults_are_told_at_once():
    with pytest.raises(FrameError) as error:
        forecast(alike(), months=0, last=2, paths=1)
    assert len(error.value.faults) == 3


def test_too_short_a_history_says_so():
    with pytest.raises(NotAvailable, match="this book has one month"):
        forecast(alike(1))
    with pytest.raises(NotAvailable, match="has 6 months, 5 of them followed by the next"):
        forecast(alike(6))


def test_gaps_and_missing_payments_are_told():
    counted = alike(12)
    gap = replace(counted, months=np.r_[counted.months[:4], counted.months[4:] + 2], paid=None, due=None)
    gap = replace(gap, moves=np.where(np.arange(12)[:, None, None] == 3, 0, gap.moves))
    ahead = forecast(gap)
    assert "recovered" not in ahead.measures and "amount_overdue" not in ahead.measures
    told = " ".join(ahead.notes)
    assert "Months without snapshots are no steps: 2024-05, 2024-06." in told
    assert "no payments" in told and "no amounts past due" in told


def test_no_further_than_was_forecast_and_a_chart_of_any_measure():
    ahead = forecast(alike(), months=2, paths=200)
    with pytest.raises(FrameError, match="from 1 to 2"):
        ahead.at(3)
    with pytest.raises(FrameError, match="no measure"):
        ahead.plot(measure="profit")
    for measure in ahead.measures:
        assert "the next 2 months" in ahead.plot(measure=measure).get_title(loc="left")
