"""Who can be reached and when, revisits, and gaps in the log: counted by hand, and against least squares."""

import numpy as np
import pandas as pd
import pytest

from collectlab.book.open import open_book
from collectlab.core.errors import FrameError, NotAvailable
from collectlab.measures.process.best_time import best_time
from collectlab.measures.process.contactability import contactability, revisits
from collectlab.measures.process.data_problems import data_problems

DATES = ["2025-12-31", "2026-01-31", "2026-02-28", "2026-03-31"]
LASTS, CURED = [0, 30, 58, 89], [0, 30, 0, 0]


def day(n, hour=10):
    return pd.Timestamp("2026-01-01") + pd.Timedelta(minutes=round(n * 1440) + 60 * hour)


def book_of(dpd, acts, columns=("outcome",), accounts=None, **tables):
    """Accounts with their days past due on DATES; actions as (account, day since 1 January, channel, …)."""
    rows = [(a, d, v) for a in dpd for d, v in zip(DATES, dpd[a])]
    actions = pd.DataFrame(acts, columns=["account_id", "day", "channel", *columns])
    actions = actions.assign(at=[day(n) for n in actions["day"]]).drop(columns="day")
    frames = {
        "accounts": pd.DataFrame({"account_id": list(dpd), **(accounts or {})}),
        "snapshots": pd.DataFrame(rows, columns=["account_id", "as_of", "days_past_due"]),
        "actions": actions,
    }
    return open_book(frames | tables)


# Contactability -----------------------------------------------------------------------------------------

CALLS = [
    ("a", 5, "call", "no_answer", None), ("a", 9, "call", "contact", "third_party"), ("a", 12, "call", "promise", "debtor"),
    ("b", 5, "call", "wrong_number", None), ("b", 6, "call", "no_answer", None), ("b", 8, "call", "wrong_number", None),
    ("b", 9, "call", "no_answer", None), ("c", 5, "call", "wrong_number", None), ("c", 7, "call", "contact", "debtor"),
    ("c", 9, "call", "no_answer", None), ("d", 60, "call", None, None), ("d", 61, "call", "contact", None),
    ("d", 62, "sms", None, None),
]  # fmt: skip


def test_contactability_counts_attempts_accounts_and_dead_numbers():
    book = book_of(dict.fromkeys("abcd", LASTS), CALLS, ("outcome", "party"))
    found = contactability(book, days=6).wide().iloc[0]
    # d's first call tells nothing, its second reached nobody knows whom; a third party is no debtor
    assert found[["attempts", "unknown", "accounts"]].tolist() == [12, 2, 4]
    assert found["right_party"] == pytest.approx(2 / 10)
    # first attempts: a on day 5 reached on 12 (seven days), b never, c after two days, d never
    assert found["reached_in_6_days"] == pytest.approx(1 / 4)
    assert contactability(book, days=7).wide()["reached_in_7_days"].tolist() == [0.5]
    # b's number is dead; c's was told wrong and answered later
    assert found["dead_numbers"] == pytest.approx(1 / 4)
    # after a wrong number told on a day before: b three times, c once (on the day it was reached after all)
    assert found["tried_again"] == pytest.approx(4 / 12)


def test_contactability_by_branch_and_what_a_book_cannot_tell():
    book = book_of(
        dict.fromkeys("abcd", LASTS), CALLS, ("outcome", "party"), {"branch": ["N", "S", "S", "S"]}
    )
    found = contactability(book, by="branch").wide()
    assert found[["branch", "attempts", "accounts"]].values.tolist() == [["N", 3, 1], ["S", 9, 3]]
    assert found["dead_numbers"].tolist() == pytest.approx([0, 1 / 3])
    bare = book_of({"a": LASTS}, [("a", 5, "call")], ())
    for measure in (contactability, best_time):
        with pytest.raises(NotAvailable, match="neither connected nor outcome"):
            measure(bare)
    with pytest.raises(NotAvailable):
        contactability(book, channels=["visit"])
    for wrong in ({"channels": "call"}, {"channels": []}, {"days": 0}):
        with pytest.raises(FrameError):
            contactability(book, **wrong)


def test_revisits_are_judged_while_the_account_is_known_to_be_overdue():
    acts = [("a", 35, "visit", "no_answer", "F"), ("a", 50, "visit", "contact", "F"), ("b", 25, "visit", "contact", "G"),
            ("b", 28, "call", "contact", "T"), ("c", 80, "visit", "refusal", "G")]  # fmt: skip
    book = book_of({"a": LASTS, "b": CURED, "c": LASTS}, acts, ("outcome", "team"))
    found = revisits(book, days=20).wide().set_index("team")
    # b was last seen overdue on day 30, five days after its visit; c's visit came nine days before the end
    assert found.loc["F", ["visits", "judged", "revisited", "contact", "contact_at_revisit"]].tolist() == [
        2,
        2,
        0.5,
        0.5,
        1,
    ]
    assert found.loc["G", ["visits", "judged", "contact"]].tolist() == [2, 0, 1.0]
    assert np.isnan(found.loc["G", "revisited"])
    with pytest.raises(NotAvailable):
        revisits(book, channel="letter")


# Best time ----------------------------------------------------------------------------------------------


def calls_at_random(accounts=150, seed=1, gain=0.0, hard_late=False):
    """Calls at 9:00 and 15:00 on Mondays and Tuesdays; ``gain`` at 15:00; hard accounts called then, if asked for."""
    rng = np.random.default_rng(seed)
    rows = []
    for a in range(accounts):
        level = rng.uniform(0.1, 0.7)
        for n in range(rng.integers(2, 9)):
            late = rng.uniform() < ((0.85 - level) if hard_late else 0.5)
            at = pd.Timestamp("2026-01-05") + pd.Timedelta(
                days=int(7 * n + rng.integers(2)), hours=15 if late else 9
            )
            rows.append((f"a{a:03d}", at, "call", bool(rng.uniform() < level + gain * late)))
    actions = pd.DataFrame(rows, columns=["account_id", "at", "channel", "connected"])
    ids = sorted(set(actions["account_id"]))
    snapshots = pd.DataFrame({"account_id": ids, "as_of": "2026-03-31", "days_past_due": 89})
    return actions, open_book(
        {"accounts": pd.DataFrame({"account_id": ids}), "snapshots": snapshots, "actions": actions}
    )


def test_the_raw_rate_misleads_where_hard_accounts_are_called_late_and_the_within_rate_does_not():
    _, book = calls_at_random(accounts=400, hard_late=True)
    found = best_time(book, hours=12).wide().groupby("from_hour")[["raw", "within_accounts"]].mean()
    assert found["raw"][0] - found["raw"][12] > 0.12
    assert abs(found["within_accounts"][0] - found["within_accounts"][12]) < 0.07


def test_a_better_time_is_found_and_none_is_made_up():
    found = best_time(calls_at_random(accounts=300, gain=0.25)[1], hours=12)
    shrunken = found.wide().groupby("from_hour")["shrunken"].mean()
    assert 0.15 < shrunken[12] - shrunken[0] < 0.32 and found.p_value < 0.001
    assert found.differs and found.spread < found.spread_high <= 0.5
    p_values = [best_time(calls_at_random(seed=s)[1], hours=12).p_value for s in range(2, 8)]
    assert sum(p < 0.05 for p in p_values) <= 2
    flat = best_time(calls_at_random(seed=5)[1], hours=12)
    assert flat.spread <= flat.spread_high < 0.2 and not flat.differs
    if flat.spread == 0:
        rows = flat.table[flat.table["measure"] == "shrunken"]
        assert rows["estimate"].nunique() == 1 and rows["conf_low"].isna().all()


def test_within_accounts_equals_least_squares_with_an_account_effect_each():
    actions, book = calls_at_random(accounts=60)
    found = best_time(book, hours=12, minimum=1).wide()
    actions = actions.sort_values(["account_id", "at"])
    nth = (actions.groupby("account_id").cumcount() + 1).clip(upper=6)
    slot = actions["at"].dt.weekday * 24 + actions["at"].dt.hour // 12 * 12
    design = np.hstack([pd.get_dummies(c).to_numpy(float) for c in (slot, nth, actions["account_id"])])
    beta = np.linalg.lstsq(design, actions["connected"].to_numpy(float), rcond=None)[0][: slot.nunique()]
    calls = slot.value_counts().sort_index().to_numpy()
    assert found["calls"].tolist() == calls.tolist()
    wanted = actions["connected"].mean() + beta - (beta * calls).sum() / calls.sum()
    assert found["within_accounts"].to_numpy() == pytest.approx(wanted, abs=1e-9)


def test_thin_times_are_left_out_and_the_map_is_drawn():
    book = calls_at_random()[1]
    with pytest.raises(NotAvailable, match="fewer than two times"):
        best_time(book, minimum=10_000)
    for wrong in ({"hours": 5}, {"hours": 0}, {"minimum": 0}, {"channels": "call"}):
        with pytest.raises(FrameError):
            best_time(book, **wrong)
    axes = best_time(book, hours=12).plot("raw")
    assert [t.get_text() for t in axes.get_yticklabels()] == ["Mon", "Tue"] and len(axes.texts) == 4


# Gaps in the log ----------------------------------------------------------------------------------------


def test_each_gap_is_counted_where_it_can_occur():
    acts = [
        ("a", 5, "call", "contact", "debtor", "X", "T1", True), ("a", 5, "call", "no_answer", None, "X", "T1", None),
        ("a", 6, "call", None, None, None, "T1", None), ("a", 7, "call", "contact", None, "X", "T2", None),
        ("a", 8, "sms", None, None, None, None, None), ("b", 9, "call", "promise", "debtor", "Y", "T2", False),
        ("b", 10, "visit", "no_answer", None, "Y", "T2", None), ("b", 2, "visit", "no_answer", None, "Y", "T2", None),
    ]  # fmt: skip
    book = book_of(
        {"a": LASTS, "b": [0, 0, 0, 0]}, acts, ("outcome", "party", "agent", "team", "recorded"),
        {"originated_on": ["2020-01-01", "2026-01-05"]},
    )  # fmt: skip
    found = data_problems(book)
    counted = found.table.set_index("problem")[["checked", "found"]]
    assert {problem: row.tolist() for problem, row in counted.iterrows()} == {
        "no result": [6, 1], "no party": [3, 1], "nobody named": [6, 1], "incomplete": [6, 2],
        "recording not noted": [3, 1], "no time of day": [6, 0], "account not overdue": [6, 2], "no team": [7, 1],
        "same minute": [7, 1],
    }  # fmt: skip
    # the action before the loan was set aside when the book was opened
    assert "1 of 8 rows of actions were set aside when the book was opened." in found.notes
    assert "1 of 2 agents act for more than one team." in found.notes
    by_team = data_problems(book, by="team").table
    silent = by_team[by_team["problem"] == "no result"]
    assert silent[["team", "checked", "found"]].values.tolist() == [["T1", 3, 1], ["T2", 3, 0]]


def test_a_bare_log_is_checked_for_what_it_has():
    book = book_of({"a": LASTS}, [("a", 5, "call"), ("a", 6 - 10 / 24, "call")], ())
    assert data_problems(book).table["found"].tolist() == [1, 0, 0]
    assert data_problems(book).table["problem"].tolist() == [
        "no time of day",
        "account not overdue",
        "same minute",
    ]
    with pytest.raises(NotAvailable):
        data_problems(book, period=("2020-01-01", "2020-01-31"))


def test_a_book_without_actions_says_so():
    frames = {
        "accounts": pd.DataFrame({"account_id": ["a"]}),
        "snapshots": pd.DataFrame({"account_id": ["a"], "as_of": ["2026-01-31"], "days_past_due": [5]}),
    }
    for measure in (contactability, revisits, best_time, data_problems):
        with pytest.raises(NotAvailable, match="actions"):
            measure(open_book(frames))
