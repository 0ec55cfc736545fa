"""What relief did: the traps shown on frames whose truth is known, and what a book must have."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from collectlab.book.open import open_book
from collectlab.book.simulate import simulate
from collectlab.core.errors import FrameError, NotAvailable
from collectlab.effects.relief import relief_effect, relief_verdicts
from collectlab.effects.relief.effect import estimate
from collectlab.effects.relief.rows import Trial, _grace, trial_rows
from collectlab.effects.verdict_rule import NOT_IDENTIFIABLE, SUGGESTIVE, grade


def made_trial(seed: int, effect: float, n: int = 1500, days: int = 5) -> Trial:
    """Cases whose score drives both relief and the outcome; some pay on a day of their own before relief can begin."""
    rng = np.random.default_rng(seed)
    score = rng.normal(0, 1, n)
    leaves = np.where(rng.random(n) < 0.4, rng.integers(1, 2 * days, n), 999)  # pays by itself on that day
    hazard = 1 / (1 + np.exp(-(-1.8 + 0.9 * score)))
    wait = rng.geometric(np.clip(hazard, 0.01, 0.9))
    started = (wait <= days) & (wait <= leaves)
    good = 0.35 + 0.12 * np.clip(score, -2, 2) + 0.25 * (leaves < 999) + effect * started
    rows = pd.DataFrame(
        {
            "account_id": np.arange(n),
            "time_zero": pd.Timestamp("2026-01-04") + pd.to_timedelta(7 * (np.arange(n) % 4), unit="D"),
            "days_past_due": 20,
            "end_day": np.where(started, days, np.minimum(leaves, days)).astype(float),
            "outcome": np.where(rng.random(n) < good, "cured", "other"),
            "dated": True,
            "score": score,
        }
    )
    starts = pd.DataFrame({"account_id": rows["account_id"], "day": wait, "channel": "relief"})[started]
    seen = pd.DataFrame({"account_id": rows["account_id"], "day": 0, "days_past_due": 20})
    return Trial(rows=rows, starts=starts, seen=seen, grace=days, covariates=("score",), notes=())


def result_of(trial: Trial):
    return estimate(trial, "sound", 180, pd.Timestamp("2026-12-31"), 0.95, 20)


def test_choice_and_immortal_time_are_taken_out():
    """No effect: as it stands those with relief do other than the rest, weighted they do not; over 12 books."""
    plain, weighted, held = [], [], []
    for seed in range(12):
        table = result_of(made_trial(seed, 0.0)).table.set_index("method")
        plain.append(table.loc["as_it_stands", "estimate"])
        row = table.loc["clone_censor_weight"]
        weighted.append(row["estimate"])
        held.append(row["conf_low"] <= 0 <= row["conf_high"])
    assert abs(np.mean(weighted)) < 0.02 < abs(np.mean(plain))
    assert np.mean(held) >= 0.8


def test_a_real_effect_is_found():
    """0.15 for those who start; of those told to start, some have paid before their day and are not touched by it."""
    found = [result_of(made_trial(seed, 0.15)).table["estimate"][0] for seed in range(6)]
    assert 0.09 < np.mean(found) < 0.16


def test_grace_is_the_shortest_that_holds_most_starts():
    assert _grace(pd.Series([1, 1, 1, 1, 9])) == 1
    assert _grace(pd.Series([1, 1, 4, 5, 9])) == 5
    assert _grace(pd.Series([1, 6, 13, 14, 25])) == 14
    assert _grace(pd.Series([1, 28, 28, 400])) == 30


DAYS = pd.date_range("2025-12-31", periods=10, freq="ME").strftime("%Y-%m-%d").tolist()


def case_book(**more):
    """a: restructured on the day of the note, current by decree, 60 days late at the horizon; b pays and stays."""
    dpd = {
        "a": [0, 20, 0, 0, 0, 0, 30, 60, 90, 120],
        "b": [0, 20, 0, 0, 0, 0, 0, 0, 0, 0],
        "c": [0, 20, 50, 80, 110, 140, 170, 200, 230, 260],
    }
    snapshots = [(x, d, v, 500.0 * (v > 0)) for x, values in dpd.items() for d, v in zip(DAYS, values)]
    frames = {
        "accounts": pd.DataFrame({"account_id": list(dpd), "product": ["card"] * 3}),
        "snapshots": pd.DataFrame(
            snapshots, columns=["account_id", "as_of", "days_past_due", "amount_past_due"]
        ),
        "actions": pd.DataFrame(
            {
                "account_id": list(dpd),
                "at": ["2026-02-10 10:00"] * 3,
                "channel": "call",
                "outcome": "hardship",
            }
        ),
        "arrangements": pd.DataFrame(
            {"account_id": ["a"], "kind": ["restructuring"], "started_on": ["2026-02-10"]}
        ),
        "payments": pd.DataFrame({"account_id": ["b"], "paid_on": ["2026-02-12"], "amount": [500.0]}),
    }
    return open_book(frames | more)


def rows_of(outcome: str, **more):
    made = trial_rows(case_book(**more), outcome, 180, None, ("restructuring",), None, None, "current_once")
    return made, made.rows.set_index("account_id")["outcome"].to_dict()


def test_being_current_by_decree_is_no_outcome():
    made, sound = rows_of("sound")
    assert sound == {"a": "other", "b": "cured", "c": "other"}
    assert made.grace == 1 and made.starts[["account_id", "day"]].values.tolist() == [["a", 1]]
    assert "100 % were current at the next snapshot, by decree, and 0 % sound" in " ".join(made.notes)
    assert rows_of("paid")[1] == {"a": "other", "b": "cured", "c": "other"}


def test_relief_before_the_note_is_not_eligible_and_later_relief_is_not_in_time():
    plans = pd.DataFrame(
        {
            "account_id": list("abc"),
            "kind": "restructuring",
            "started_on": ["2026-02-10", "2026-02-01", "2026-04-10"],
        }
    )
    made, outcomes = rows_of("sound", arrangements=plans)
    assert set(outcomes) == {"a", "c"}
    assert made.starts["account_id"].tolist() == ["a"]
    text = " ".join(made.notes)
    assert "1 accounts had relief before the note" in text and "1 accounts were given relief later" in text


@pytest.fixture(scope="module")
def bank():
    return open_book(simulate(accounts=3000, months=18, truth_accounts=0).book_tables)


def test_a_simulated_bank_gets_an_answer_that_is_never_called_causal(bank):
    result = relief_effect(bank, outcome="paid")
    assert grade(result)[0] in (SUGGESTIVE, NOT_IDENTIFIABLE)
    assert {c.name for c in result.checks} >= {
        "known_at_start",
        "grace",
        "follow_up",
        "positivity",
        "balance",
        "weights",
    }
    table = relief_verdicts(bank).table
    assert len(table) == 2 and not (table["grade"] == "causal").any()
    assert table["what would settle it"].str.startswith("Offer relief").all()


def test_what_a_book_lacks_and_bad_parameters(bank):
    bare = open_book({k: v for k, v in case_book_frames().items() if k in ("accounts", "snapshots")})
    with pytest.raises(NotAvailable, match="no arrangements"):
        relief_verdicts(bare)
    with pytest.raises(NotAvailable, match="notes hardship"):
        relief_effect(bare)
    with pytest.raises(FrameError) as refused:
        relief_effect(bank, outcome="current", follow_up=30, grace=0)
    assert len(refused.value.faults) == 3
    assert "could be followed" in relief_refusal(bank)


def case_book_frames() -> dict:
    book = case_book()
    return {name: book.table(name) for name in ("accounts", "snapshots")}


def relief_refusal(book) -> str:
    with pytest.raises(NotAvailable) as left_out:
        relief_effect(book, follow_up=5000)
    return str(left_out.value)
