"""Cure from snapshots far apart: exact where days are known, near the truth where months hide it."""

import numpy as np
import pandas as pd
import polars as pl
import pytest

from collectlab.book.episodes import episodes
from collectlab.book.simulate import simulate
from collectlab.core.errors import FrameError
from collectlab.measures.cure import cure_rate, midway
from collectlab.measures.cure_between import between_snapshots


def lived(n, seed):
    """Spells with their true days: quick cures, some slow, charge-off competing, follow-up to a year."""
    rng = np.random.default_rng(seed)
    day = 1 + np.ceil(np.where(rng.random(n) < 0.6, rng.exponential(12, n), rng.exponential(150, n)))
    kind = np.where((day > 60) & (rng.random(n) < 0.4), "charged_off", "cured")
    follow = rng.integers(30, 500, n)
    return pd.DataFrame(
        {
            "account_id": np.arange(n),
            "first_seen_day": 1,
            "seen_day": np.where(day <= follow, day - 1, follow).astype(int),
            "exit_day": np.where(day <= follow, day, follow).astype(int),
            "outcome": np.where(day <= follow, kind, "censored"),
        }
    )


def monthly(true, seed, gap=30):
    """What snapshots every ``gap`` days show of them."""
    first = np.random.default_rng(seed).integers(1, gap + 1, len(true))
    day, censored = true["exit_day"].to_numpy(), (true["outcome"] == "censored").to_numpy()
    gone = (day - 1 - first) // gap * gap + first
    last = (day - first) // gap * gap + first
    shown = true.assign(
        first_seen_day=first,
        seen_day=np.where(censored, last, gone),
        exit_day=np.where(censored, last, gone + gap),
    )
    return shown[shown["seen_day"] >= first]


def test_with_daily_snapshots_it_is_aalen_johansen():
    true = lived(1_500, 1)
    ours = between_snapshots(true, horizons=(10, 30, 90)).table
    theirs = cure_rate(true.assign(entry_day=1), horizons=(10, 30, 90), entry=None).table
    np.testing.assert_allclose(ours["estimate"], theirs["estimate"], atol=1e-6)
    assert (ours["std_error"] / theirs["std_error"]).between(0.7, 1.4).all()


def test_by_hand():
    """All seen on day 1, one snapshot on day 31: 3 of 4 ended in (1, 31] as cured; daily hazards are even."""
    frame = pd.DataFrame(
        {
            "account_id": range(4),
            "first_seen_day": 1,
            "seen_day": [1, 1, 1, 31],
            "exit_day": [31, 31, 31, 31],
            "outcome": ["cured"] * 3 + ["censored"],
        }
    )
    result = between_snapshots(frame, horizons=(31, 60))
    assert result.table["estimate"][0] == pytest.approx(3 / 4, abs=1e-4)
    assert np.isnan(result.table["estimate"][1]) and "followed up to day 31" in result.notes[-1]


def test_it_finds_what_month_ends_hide():
    true = lived(20_000, 7)
    shown = monthly(true, 8)
    assert len(shown) < 0.75 * len(true)  # the quick ones are never seen
    expected = cure_rate(true.assign(entry_day=0), horizons=(30, 60, 90)).table["estimate"]
    ours = between_snapshots(shown, horizons=(30, 60, 90)).table
    z = (ours["estimate"] - expected) / ours["std_error"]
    assert (z.abs() < 3).all()
    assert (ours["std_error"] < 0.02).all()
    as_shown = cure_rate(shown.assign(entry_day=0), horizons=(90,)).table["estimate"][0]
    moved = cure_rate(midway(shown.assign(entry_day=0)), horizons=(90,)).table["estimate"][0]
    assert as_shown < moved < expected[2] - 0.06


def test_on_a_simulated_book_it_comes_nearer_the_daily_truth():
    bank = simulate(accounts=2_500, months=10, snapshots="daily", truth_accounts=0)
    tables = bank.book_tables["snapshots"], bank.book_tables["accounts"]
    daily, month_ends = (episodes(*tables, observe=o) for o in ("every", "month_end"))
    truth = cure_rate(daily, horizons=(90,)).table["estimate"][0]
    row = between_snapshots(month_ends, horizons=(90,)).table.iloc[0]
    moved = cure_rate(midway(month_ends), horizons=(90,)).table["estimate"][0]
    assert abs(row["estimate"] - truth) < (truth - moved) / 2
    assert row["conf_low"] < truth < row["conf_high"]


def test_groups_engines_and_names():
    true = lived(600, 3)
    shown = monthly(true, 4).assign(horizon=lambda f: np.where(f["account_id"] % 2, "odd", "even"))
    shown = shown.rename(columns={"first_seen_day": "first seen"})
    one = between_snapshots(shown, by="horizon", first_seen="first seen", horizons=(90,))
    two = between_snapshots(
        pl.from_pandas(shown).lazy(), by="horizon", first_seen="first seen", horizons=(90,)
    )
    pd.testing.assert_frame_equal(one.table, two.table)
    assert one.table["by_horizon"].tolist() == ["even", "odd"]
    assert one.plot().get_title("left").startswith("Cured within 90 days")
    alone = between_snapshots(shown[shown["horizon"] == "odd"], first_seen="first seen", horizons=(90,))
    assert one.table["estimate"][1] == pytest.approx(alone.table["estimate"][0], abs=1e-4)


def test_edges():
    late = monthly(lived(300, 5), 6).assign(first_seen_day=25)
    late = late[late["seen_day"] > 25]
    assert "first seen on day 25" in between_snapshots(late).notes[-1]
    one = between_snapshots(monthly(lived(60, 5), 6).iloc[:1], horizons=(500,))
    assert one.table["std_error"].isna().all()
    nobody = between_snapshots(monthly(lived(300, 5), 6).assign(outcome="censored"), horizons=(30,))
    assert nobody.table["estimate"].tolist() == [0.0]


@pytest.mark.parametrize(
    ("change", "options", "words"),
    [
        ({"exit_day": -3}, {}, "have 'exit_day' < 0"),
        ({"seen_day": 2.5}, {}, "no whole day"),
        ({"first_seen_day": np.nan}, {}, "have no 'first_seen_day'"),
        ({"seen_day": 999}, {}, "have 'seen_day' after 'exit_day'"),
        ({"first_seen_day": 900}, {}, "have 'first_seen_day' after 'seen_day'"),
        ({}, {"event": "cure"}, "Did you mean 'cured'"),
        ({}, {"by": "team"}, "no column 'team'"),
        ({}, {"horizons": (0,)}, "whole days ≥ 1"),
        ({}, {"cluster": "customer"}, "no column 'customer'"),
        ({}, {"conf_level": 2}, "conf_level"),
    ],
)
def test_bad_input_is_named(change, options, words):
    frame = lived(20, 1).astype({c: float for c in ("first_seen_day", "seen_day", "exit_day")})
    for column, value in change.items():
        frame[column] = frame[column].where(np.arange(len(frame)) > 1, value)
    with pytest.raises(FrameError, match=words):
        between_snapshots(frame, **options)


def test_nothing_to_count():
    frame = lived(20, 1)
    with pytest.raises(FrameError, match="no rows"):
        between_snapshots(frame.iloc[:0])
    with pytest.raises(FrameError, match="no column 'customer_id' or 'account_id'"):
        between_snapshots(frame.drop(columns="account_id"))
    stuck = frame.assign(seen_day=1, exit_day=1, outcome="censored")
    with pytest.raises(FrameError, match="no episode has any follow-up"):
        between_snapshots(stuck)


def test_days_past_due_known_by_bucket_only_is_said():
    true = lived(500, 2)
    gone = np.where(true["outcome"] == "censored", true["exit_day"], (true["seen_day"] - 1) // 30 * 30 + 1)
    shown = true.assign(seen_day=gone, exit_day=gone + np.where(true["outcome"] == "censored", 0, 30))
    notes = " ".join(between_snapshots(shown, horizons=(31,)).notes)
    assert "only known by bucket" in notes and "everybody on day 1" in notes
    assert "bucket" not in " ".join(between_snapshots(monthly(true, 1), horizons=(31,)).notes)
