"""Changes of policy in the simulator: off by default, where the schedule says, and with a truth."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import yaml

from collectlab.book import simulate_bank as bank
from collectlab.book.simulate import CHANGES, change_schedule, simulate, write_book
from collectlab.book.simulate_bank import Luck
from collectlab.book.simulate_days import Days
from collectlab.book.simulate_truth import changes_truth
from collectlab.core.errors import BookError

N = 3_000


@pytest.fixture(scope="module")
def settings():
    return simulate(2, truth_accounts=0, problems=()).settings


@pytest.fixture(scope="module")
def lived(settings):
    """The same accounts with no change and with each change alone."""
    luck = Luck(settings.seed)
    sets = {name: (name,) for name in ("branch_rollout", "bank_wide", "threshold")}

    def run(changes):
        a = bank.draw_accounts(settings, luck, 0, N)
        return Days(replace(settings, changes=changes), luck, a).run()

    return {name: run(changes) for name, changes in {"none": (), **sets}.items()}


@pytest.fixture(scope="module")
def truth(settings):
    made = pd.concat([changes_truth(replace(settings, changes=(name,)), 3_000) for name in CHANGES])
    return made.set_index(["change", "population", "outcome"]).sort_index()


def actions(d, channel):
    """Account and day of the actions of a channel, once placed."""
    i, day, _, done, *_ = (np.concatenate(c) for c in zip(*d.events.rows["actions"]))
    chosen = done == channel
    return i[chosen], day[chosen]


def test_the_schedule_rests_on_seed_and_window_alone(settings):
    plan = change_schedule(settings)
    assert plan == change_schedule(replace(settings, accounts=9, changes=("threshold",), problems=("x",)))
    days = pd.Series(plan.branch_rollout)
    assert list(days.index) == [f"Branch {b:02d}" for b in range(1, 13)]
    assert sorted(days.value_counts(dropna=False)) == [3, 3, 3, 3] and days.isna().sum() == 3
    inside = days.dropna()
    assert inside.min() > settings.window_start and inside.max() < settings.end
    assert {day.day for day in inside} == {1} and plan.bank_wide.day == 1
    orders = {
        tuple(change_schedule(replace(settings, seed=seed)).branch_rollout.values()) for seed in range(9)
    }
    assert len(orders) == 9


def test_nothing_differs_before_the_change_nor_where_it_does_not_reach(lived, settings):
    plan, none = change_schedule(settings), lived["none"]
    tested = none.a["tested"]

    def money(d, until=None, of=None):
        i, day, cents = (np.concatenate(c) for c in zip(*d.events.rows["payments"]))
        keep = np.ones(len(i), bool) if until is None else day < until
        keep &= True if of is None else of[i]
        return np.stack([i[keep], day[keep], cents[keep]])

    start = bank.ordinal(plan.bank_wide)
    assert np.array_equal(money(lived["bank_wide"], start), money(none, start))
    assert not np.array_equal(money(lived["bank_wide"]), money(none))
    assert np.array_equal(money(lived["threshold"], of=tested), money(none, of=tested))
    assert not np.array_equal(money(lived["threshold"], of=~tested), money(none, of=~tested))
    never = np.array([day is None for day in plan.branch_rollout.values()])[none.a["branch"]]
    spared = tested | never
    assert np.array_equal(money(lived["branch_rollout"], of=spared), money(none, of=spared))
    assert not np.array_equal(money(lived["branch_rollout"], of=~spared), money(none, of=~spared))


def test_each_change_does_what_it_says(lived, settings):
    plan, none = change_schedule(settings), lived["none"]
    for name, channel in (("branch_rollout", bank.CALL), ("bank_wide", bank.SMS), ("threshold", bank.CALL)):
        more, as_it_was = (len(actions(d, channel)[0]) for d in (lived[name], none))
        assert more > 1.1 * as_it_was, name
    begin = bank.ordinal(settings.window_start)
    i, day, strategy = (np.concatenate(c) for c in zip(*lived["threshold"].events.rows["assignments"]))
    score = none.a["score"][i]
    assert (day >= begin).all() and len(i) > 500
    assert (strategy[score < plan.threshold] == bank.INTENSIVE).all()
    assert (strategy[score >= plan.threshold] == bank.STANDARD).all()


def test_the_assignments_show_the_rule_and_do_not_call_it_random():
    made = simulate(1_500, truth_accounts=0, changes=("threshold",))
    tables = {name: table.to_pandas(date_as_object=False) for name, table in made.book_tables.items()}
    a = tables["assignments"].merge(tables["accounts"], on="account_id")
    a = a[a["strategy"].isin(["standard", "intensive"])]
    a = a[a["assigned_on"] >= pd.Timestamp(made.settings.window_start)]
    assert not a["randomised"].any() and a["propensity"].isna().all()
    assert ((a["credit_score"] < 640) == (a["strategy"] == "intensive")).all() and len(a) > 500


def test_the_first_episode_is_the_same_in_both_lives(lived, settings):
    """So that its two outcomes differ by the change alone."""
    start = bank.ordinal(change_schedule(settings).bank_wide)

    def firsts(d):
        i, placed, began = (np.concatenate(c) for c in zip(*d.events.rows["placements"]))
        rows = pd.DataFrame({"i": i, "placed": placed, "began": began})
        return rows[rows["began"] >= start].sort_values(["i", "placed"]).drop_duplicates("i")

    one, other = firsts(lived["none"]), firsts(lived["bank_wide"])
    assert len(one) > 100 and np.array_equal(one.to_numpy(), other.to_numpy())


@pytest.mark.parametrize(
    "change, least", [("branch_rollout", 0.08), ("bank_wide", 0.06), ("threshold", 0.10)]
)
def test_the_truth_is_far_from_nothing_and_told_apart_from_chance(truth, change, least):
    for population in ("first", "episodes"):
        rows = truth.loc[change, population]
        shares = rows.drop("paid_90d")
        assert (shares["estimate"] > 4 * shares["std_error"]).all()
        assert rows.loc["paid_90d", "estimate"] > 0
        assert rows.loc["cured_60d", "estimate"] > least
        assert rows.loc["paid_60d", "estimate"] < 0.25
        assert (rows["episodes"] > 300).all()


def test_the_truth_is_what_a_hand_count_of_two_books_gives():
    """From the tables as an analyst has them: who paid within 60 days of the first month-end past due."""
    made = [
        simulate(2_000, truth_accounts=0, problems=(), changes=changes) for changes in ((), ("bank_wide",))
    ]
    since = pd.Timestamp(change_schedule(made[0].settings).bank_wide)
    last = pd.Timestamp(made[0].settings.end) - pd.Timedelta(days=90)

    def paid(book):
        s, p = (book[name].to_pandas(date_as_object=False) for name in ("snapshots", "payments"))
        s["began"] = s["as_of"] - pd.to_timedelta(s["days_past_due"], "D")
        s = s.sort_values(["account_id", "as_of"])
        before = s.groupby("account_id")["days_past_due"].shift(fill_value=0)
        late = s[(s["days_past_due"] > 0) & (before == 0) & (s["began"] >= since)]
        first = late.sort_values(["account_id", "as_of"]).drop_duplicates("account_id")
        first = first[first["as_of"] <= last].set_index("account_id")["as_of"]
        p = p[p["account_id"].isin(first.index)]
        days = (p["paid_on"] - p["account_id"].map(first)).dt.days
        payers = p.loc[(days > 0) & (days <= 60), "account_id"].unique()
        return pd.Series(first.index.isin(payers), first.index)

    without, with_it = (paid(one.book_tables) for one in made)
    assert without.index.equals(with_it.index)
    told = changes_truth(made[1].settings, 2_000 // 3 + 1)
    row = told[(told["population"] == "first") & (told["outcome"] == "paid_60d")].iloc[0]
    # An account cured and past due again between two month-ends is a new episode that no snapshot shows.
    assert abs(row["episodes"] - len(without)) <= 3
    assert row["estimate"] == pytest.approx(with_it.mean() - without.mean(), abs=0.01)


def test_a_written_book_says_what_was_planted(tmp_path):
    write_book(tmp_path / "one", 100, 9, changes=("threshold", "bank_wide"), truth_accounts=100)
    about = yaml.safe_load((tmp_path / "one" / "book.yml").read_text())
    assert about["changes"] == ["bank_wide", "threshold"]
    assert about["change_schedule"]["threshold"] == 640 and "--change bank_wide" in about["rebuilt_by"]
    truth = pd.read_csv(tmp_path / "one" / "truth" / "changes.csv")
    assert set(truth["change"]) <= {"bank_wide", "threshold"} and "estimate" in truth
    write_book(tmp_path / "one", 20, 1, truth_accounts=0)
    about = yaml.safe_load((tmp_path / "one" / "book.yml").read_text())
    assert "changes" not in about and not (tmp_path / "one" / "truth" / "changes.csv").exists()


def test_a_window_too_short_for_any_truth_gives_an_empty_table():
    made = simulate(20, months=1, truth_accounts=20, changes=tuple(CHANGES))
    assert made.truth["changes"].empty and "estimate" in made.truth["changes"]


def test_an_unknown_change_is_refused_with_the_nearest_name():
    with pytest.raises(BookError) as caught:
        simulate(10, changes=("treshold", "bank_wide"))
    assert "Did you mean threshold" in str(caught.value) and "branch_rollout" in str(caught.value)
    with pytest.raises(BookError, match="one text"):
        simulate(10, changes="threshold")
