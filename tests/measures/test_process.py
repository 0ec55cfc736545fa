"""How the work was done, on small books counted by hand, and against plain loops on a simulated one."""

import numpy as np
import pandas as pd
import pytest

from collectlab.book.open import open_book
from collectlab.book.simulate import simulate
from collectlab.core import engine
from collectlab.core.errors import FrameError, NotAvailable
from collectlab.measures.process.adherence import adherence
from collectlab.measures.process.handovers import handovers
from collectlab.measures.process.process_map import process_map
from collectlab.measures.process.promises import promise_follow_up
from collectlab.measures.process.response_times import response_times

DATES = ["2025-11-30", "2025-12-31", "2026-01-31", "2026-02-28", "2026-03-31"]
#: Day 0 is 1 January: 30, 58 and 89 days past due at the ends of January, February and March.
LASTS, TO_MARCH, TO_FEBRUARY = [0, 0, 30, 58, 89], [0, 0, 30, 58, 0], [0, 0, 30, 0, 0]


def day(n, hour=10):
    return pd.Timestamp("2026-01-01") + pd.Timedelta(days=n, hours=hour)


def book_of(dpd, acts, accounts=None, **tables):
    """Accounts with their days past due on DATES; actions as (account, day since 1 January, channel, outcome, team)."""
    rows = [(a, d, v) for a in dpd for d, v in zip(DATES, dpd[a]) if v is not None]
    actions = pd.DataFrame(
        [(a, day(n), c, *rest) for a, n, c, *rest in acts],
        columns=["account_id", "at", "channel", "outcome", "team"][: 3 + max(len(r) for r in acts) - 3],
    )
    frames = {
        "accounts": pd.DataFrame({"account_id": list(dpd), **(accounts or {})}),
        "snapshots": pd.DataFrame(rows, columns=["account_id", "as_of", "days_past_due"]),
        "actions": actions,
    }
    return open_book(frames | tables)


def due(*steps):
    return pd.DataFrame(steps, columns=["stage", "channel", "day", "dpd_from", "dpd_to"])


LETTER = due(("middle", "letter", 40, 30, 59))


# Adherence ----------------------------------------------------------------------------------------------


def test_a_step_is_done_late_missing_exempt_or_not_known():
    book = book_of(
        {"done": LASTS, "late": LASTS, "missing": LASTS, "too early": LASTS, "cured": TO_FEBRUARY,
         "unknown": TO_FEBRUARY, "hardship": LASTS, "plan": LASTS, "ended plan": LASTS, "unseen": [None] * 3 + [58, 89]},
        [("done", 43, "letter", None), ("late", 44, "letter", None), ("late", 50, "letter", None),
         ("too early", 29, "letter", None), ("too early", 60, "letter", None), ("cured", 5, "sms", None),
         ("unknown", 35, "letter", None), ("hardship", 12, "call", "hardship"), ("unseen", 35, "letter", None)],
        arrangements=pd.DataFrame({"account_id": ["plan", "ended plan"], "kind": ["payment_plan"] * 2,
                                   "started_on": [day(33).date(), day(5).date()], "ended_on": [None, day(20).date()],
                                   "status": ["active", "broken"]}),
    )  # fmt: skip
    found = adherence(book, LETTER).wide().iloc[0]
    # judged: done, late, missing, too early, ended plan; "cured" and "unknown" were last seen overdue on day 30, and
    # current on day 58: whether they owed anything on day 43 is not known; "unseen" was first seen on day 58
    assert found[["stage", "step", "judged", "exempt", "not_known"]].tolist() == [
        "middle", "day 40: letter", 5, 2, 2,
    ]  # fmt: skip
    assert found[["done", "late", "missing", "not_in_time"]].tolist() == pytest.approx([0.2, 0.2, 0.6, 0.8])


def test_an_account_cured_before_the_day_owes_nothing():
    book = book_of({"cured": TO_FEBRUARY, "still": LASTS}, [("still", 61, "letter")])
    found = adherence(book, due(("late", "letter", 60, 60, None))).wide().iloc[0]
    assert found[["judged", "not_known", "done"]].tolist() == [1, 0, 1.0]


def test_hardship_noted_after_it_was_done_exempts_nobody():
    acts = [("a", 41, "letter", None), ("a", 42, "call", "hardship"), ("b", 42, "call", "hardship"),
            ("b", 5, "sms", None)]  # fmt: skip
    found = adherence(book_of({"a": LASTS, "b": LASTS}, acts), LETTER).wide().iloc[0]
    assert found[["judged", "exempt", "done"]].tolist() == [1, 1, 1.0]


def test_the_second_call_is_a_call_on_another_day():
    calls = due(("early", "call", 7, 1, 29), ("early", "call", 20, 1, 29))
    acts = [
        ("once", 6, "call"),
        ("once", 6.2, "call"),
        ("twice", 2, "call"),
        ("twice", 22, "call"),
        ("later", 31, "call"),
    ]
    found = adherence(book_of(dict.fromkeys(["once", "twice", "later"], LASTS), acts), calls).wide()
    assert found["done"].tolist() == pytest.approx([2 / 3, 1 / 3])
    assert found["missing"].tolist() == pytest.approx([1 / 3, 2 / 3])


def test_any_of_several_channels_will_do():
    either = due(("middle", "letter|visit", 40, 30, 59))
    acts = [("a", 35, "letter"), ("b", 38, "visit"), ("b", 38, "letter"), ("c", 38, "call"), ("c", 5, "sms")]
    found = adherence(book_of(dict.fromkeys("abc", LASTS), acts), either).wide()
    assert found[["step", "done"]].values.tolist() == [["day 40: letter or visit", pytest.approx(2 / 3)]]


def test_out_of_order_is_before_the_step_before_or_without_it():
    steps = due(("middle", "letter", 40, 30, 59), ("middle", "visit", 55, 30, 59))
    acts = [("right", 38, "letter"), ("right", 50, "visit"), ("turned", 45, "letter"), ("turned", 36, "visit"),
            ("alone", 50, "visit"), ("none", 5, "sms")]  # fmt: skip
    found = adherence(book_of(dict.fromkeys(["right", "turned", "alone", "none"], LASTS), acts), steps).wide()
    assert np.isnan(found["out_of_order"][0])
    assert found["out_of_order"][1] == pytest.approx(2 / 3)


def test_a_reminder_is_due_before_the_due_date():
    reminder = due(("before", "sms", -3, None, 0))
    acts = [("a", -30, "sms"), ("b", -2, "sms"), ("c", 2, "sms")]
    found = adherence(book_of(dict.fromkeys("abc", LASTS), acts), reminder, grace=2).wide().iloc[0]
    assert found[["judged", "done", "missing"]].tolist() == pytest.approx([3, 1 / 3, 2 / 3])
    assert found["step"] == "day −3: sms"


def test_steps_before_the_first_month_of_the_log_are_not_judged():
    book = book_of({"a": LASTS, "b": LASTS}, [("a", 35, "letter")])
    with pytest.raises(NotAvailable):
        adherence(book, LETTER)  # the stage began on 31 January, the log in February
    assert adherence(book, due(("late", "letter", 62, 60, None))).wide()["judged"].tolist() == [2]


def test_by_branch_month_and_period():
    acts = [("a", 35, "letter"), ("b", 2, "sms")]
    book = book_of({"a": LASTS, "b": LASTS}, acts, {"branch": ["N", "S"]})
    by_branch = adherence(book, LETTER, by="branch").wide()
    assert by_branch[["branch", "done"]].values.tolist() == [["N", 1.0], ["S", 0.0]]
    assert adherence(book, LETTER, by=["month", "branch"]).wide()["month"].tolist() == ["2026-02"] * 2
    assert adherence(book, LETTER, by="stage").table.columns[0] == "stage"
    assert adherence(book, LETTER, by=None).wide()["judged"].tolist() == [2]
    with pytest.raises(NotAvailable):
        adherence(book, LETTER, period=("2026-03-01", "2026-03-31"))
    with pytest.raises(NotAvailable, match="branch"):
        adherence(book, LETTER, by="brnach")


def test_a_wrong_plan_is_refused_with_all_its_faults():
    book = book_of({"a": LASTS}, [("a", 35, "letter")])
    wrong = due(("middle", "letter", 40.5, 30, 59), ("middle", None, None, 30, 59))
    with pytest.raises(FrameError) as told:
        adherence(book, wrong)
    assert len(told.value.faults) == 2
    with pytest.raises(FrameError, match="lies outside its stage"):
        adherence(book, due(("middle", "letter", 70, 30, 59)))
    with pytest.raises(FrameError, match="stands twice"):
        adherence(book, pd.concat([LETTER, LETTER]))
    with pytest.raises(FrameError, match="channel"):
        adherence(book, LETTER.drop(columns="channel"))
    with pytest.raises(NotAvailable):
        adherence(book, LETTER.head(0))
    with pytest.raises(FrameError, match="grace"):
        adherence(book, LETTER, grace=-1)


@pytest.fixture(scope="module")
def bank():
    return open_book(simulate(accounts=900, months=12, seed=3, truth_accounts=0).book_tables)


def test_adherence_equals_a_plain_loop(bank):
    steps = due(("early", "call", 7, 1, 29), ("early", "call", 20, 1, 29), ("middle", "letter", 40, 30, 59))
    acts = engine.collect(bank.table("actions"))
    plans = engine.collect(bank.table("arrangements"))
    begun = acts["at"].min().replace(day=1).normalize()
    counted = {
        i: dict.fromkeys(["done", "late", "missing", "exempt", "not_known"], 0) for i in range(len(steps))
    }
    for e in engine.collect(bank.episodes()).itertuples():
        start = pd.Timestamp(e.started_on)
        own = acts[acts["account_id"] == e.account_id]
        own = own.assign(day=(own["at"].dt.normalize() - start).dt.days)
        own = own[own["day"] <= e.exit_day]
        helped = own.loc[(own["outcome"] == "hardship") & (own["day"] >= 0), "day"].min()
        for i, s in enumerate(steps.itertuples()):
            last = s.day + 3
            if e.entry_day > s.dpd_from or start + pd.Timedelta(days=s.dpd_from) < begun:
                continue
            if e.exit_day <= s.day and e.seen_day < s.day:
                continue
            if e.seen_day < last:
                counted[i]["not_known"] += 1
                continue
            days = own.loc[(own["channel"] == s.channel) & own["day"].between(s.dpd_from, s.dpd_to), "day"]
            days = sorted(days.unique())
            nth = (steps["channel"][:i] == s.channel).sum() if s.stage == "early" else 0
            done = days[nth] if len(days) > nth else np.inf
            relief = [helped] if helped <= last else []
            for p in plans[plans["account_id"] == e.account_id].sort_values("started_on").itertuples():
                first = (pd.Timestamp(p.started_on) - start).days
                end = np.inf if pd.isna(p.ended_on) else (pd.Timestamp(p.ended_on) - start).days
                if first <= last and end >= s.day:
                    relief.append(first)
            if relief and not (done <= last and done <= min(relief)):
                counted[i]["exempt"] += 1
            else:
                late = done <= max(e.seen_day, last)
                counted[i]["done" if done <= last else "late" if late else "missing"] += 1
    found = adherence(bank, steps).wide()
    for i, row in found.iterrows():
        assert row[["exempt", "not_known"]].tolist() == [counted[i]["exempt"], counted[i]["not_known"]]
        for state in ("done", "late", "missing"):
            assert round(row[state] * row["judged"]) == counted[i][state]
    assert found["judged"].min() > 50


def test_adherence_draws_a_bar_a_step_and_lines_over_months(bank):
    steps = due(("early", "call", 7, 1, 29), ("middle", "letter", 40, 30, 59))
    axes = adherence(bank, steps).plot()
    assert [t.get_text().split("  ")[0] for t in axes.get_yticklabels()] == ["day 7: call", "day 40: letter"]
    assert len(adherence(bank, steps, by="month").plot().lines) >= 1


# Response times -----------------------------------------------------------------------------------------


def test_the_clock_from_a_stage_runs_to_its_own_channels():
    acts = [("a", 31, "sms"), ("a", 34, "letter"), ("b", 32, "call"), ("c", 2, "sms")]
    book = book_of({"a": LASTS, "b": LASTS, "c": TO_FEBRUARY}, acts)
    found = response_times(book, stages={30: ["letter"]}, targets=(3, 5)).wide()
    assert found[["clock", "started"]].values.tolist() == [["day 30 → stage action", 3]]
    assert found[["within 3 days", "within 5 days"]].values.tolist() == [[0.0, pytest.approx(1 / 3)]]
    any_channel = response_times(book, stages=(30,), targets=(3,)).wide()
    assert any_channel["within 3 days"].tolist() == pytest.approx([2 / 3])
    assert any_channel["days until half"].tolist() == [2.0]


def test_the_clocks_from_a_broken_promise_and_from_hardship():
    book = book_of(
        {"a": LASTS, "b": LASTS},
        [("a", 10, "call", "promise"), ("a", 19, "call", "no_answer"), ("b", 10, "call", "hardship")],
        payments=pd.DataFrame({"account_id": ["b"], "paid_on": [day(50).date()], "amount": [1.0]}),
        arrangements=pd.DataFrame(
            {"account_id": ["b"], "kind": ["deferral"], "started_on": [day(14).date()]}
        ),
    )
    frames = {name: engine.collect(book.table(name)) for name in book.tables}
    frames["actions"]["promised_amount"] = [100.0, None, None]
    frames["actions"]["promised_on"] = [day(12).date(), None, None]
    found = response_times(open_book(frames), stages=(), targets=(2, 3, 4)).wide().set_index("clock")
    # promised for day 12, three days of grace: broken on day 16, called on day 19
    broken = found.loc["promise broken → next action"]
    assert broken[["started", "within 2 days", "within 3 days"]].tolist() == [1, 0.0, 1.0]
    hardship = found.loc["hardship noted → arrangement"]
    assert hardship[["started", "within 3 days", "within 4 days"]].tolist() == [1, 0.0, 1.0]


def test_a_clock_before_the_log_says_nothing():
    book = book_of({"a": LASTS}, [("a", 62, "letter")])
    found = response_times(book, stages=(30, 60), targets=(3,)).wide()
    # on day 30 (31 January) nothing was logged yet: the log begins in March
    assert found[["clock", "started"]].values.tolist() == [["day 60 → stage action", 1]]


def test_response_times_refuse_what_they_cannot_use():
    book = book_of({"a": LASTS}, [("a", 31, "sms")])
    for wrong in ({"targets": ()}, {"targets": (-1,)}, {"stages": (0,)}):
        with pytest.raises(FrameError):
            response_times(book, **wrong)
    with pytest.raises(NotAvailable):
        response_times(book, stages=())


def test_promise_follow_up_judges_who_is_still_overdue():
    acts = [("a", 10, "call", "promise", "T1"), ("a", 17, "sms", None, "D"), ("b", 10, "call", "promise", "T2"),
            ("c", 10, "call", "promise", "T2"), ("d", 10, "call", "promise", "T2")]  # fmt: skip
    dpd = {"a": LASTS, "b": LASTS, "c": [0, 0, 0, 0, 0], "d": LASTS}
    book = book_of(dpd, acts)
    frames = {name: engine.collect(book.table(name)) for name in book.tables}
    promised = frames["actions"]["outcome"] == "promise"
    frames["actions"]["promised_amount"] = np.where(promised, 100.0, np.nan)
    frames["actions"]["promised_on"] = pd.Series([day(12).date()] * len(promised)).where(promised)
    frames["payments"] = pd.DataFrame({"account_id": ["d"], "paid_on": [day(14).date()], "amount": [90.0]})
    found = promise_follow_up(open_book(frames)).wide()
    # "c" was never seen overdue, "d" kept its promise; a message is no person
    assert found[["team", "broken", "followed_up", "by_a_person"]].values.tolist() == [
        ["T1", 1, 1.0, 0.0],
        ["T2", 1, 0.0, 0.0],
    ]


# Handovers and the map ----------------------------------------------------------------------------------

WORK = [
    ("a", 3, "sms", None, "D"), ("a", 10, "call", None, "T1"), ("a", 14, "call", None, "T2"), ("a", 15, "sms", None, "D"),
    ("a", 20, "call", None, "T1"), ("a", 21, "call", None, "T1"), ("a", 50, "visit", None, "F"),
    ("b", 4, "call", None, "T1"), ("b", 6, "call", None, "T1"),
]  # fmt: skip


def test_handovers_are_changes_of_hands_and_messages_are_none():
    found = handovers(book_of({"a": LASTS, "b": LASTS}, WORK)).wide().iloc[0]
    # a: T1 → T2 (4 days) → T1 (6) → F (29); there and back once
    assert found.tolist() == [2, 3, 1.5, 0.5, 0.5, 13.0]
    one = handovers(book_of({"b": LASTS}, WORK[-2:])).wide().iloc[0]
    assert one[["handovers", "per_episode", "back_again"]].tolist() == [0, 0, 0]
    with pytest.raises(NotAvailable, match="team"):
        handovers(book_of({"b": LASTS}, [("b", 4, "call")]))


def test_the_map_follows_each_episode_from_overdue_to_its_end():
    found = process_map(book_of({"a": LASTS, "b": TO_MARCH}, WORK), order=["sms", "call", "visit"])
    moves = found.table.set_index(["step", "next_step"])
    assert moves.loc[("overdue", "sms"), ["episodes", "times", "median_days", "estimate"]].tolist() == [
        1,
        1,
        3,
        0.5,
    ]
    assert moves.loc[("call", "sms"), ["episodes", "median_days", "estimate"]].tolist() == [1, 1, 0.5]
    assert moves.loc[("sms", "call"), ["episodes", "times", "median_days"]].tolist() == [1, 2, 5]
    assert ("call", "cured") in moves.index and ("visit", "censored") in moves.index
    assert found.variants["variant"].tolist() == [
        "call → cured",
        "sms → call → sms → call → visit → censored",
    ]
    assert found.variants["estimate"].tolist() == [0.5, 0.5]
    assert found.in_order["estimate"] == 1.0  # of "a" alone: "b" has one kind of step
    assert found.first_days == {"sms": 3.0, "call": 4.0, "visit": 50.0}
    turned = process_map(book_of({"a": LASTS}, WORK), order=["visit", "call"])
    assert turned.in_order["estimate"] == 0.0


def test_every_move_into_a_step_is_matched_by_one_out_of_it(bank):
    table = process_map(bank).table
    into = table.groupby("next_step")["times"].sum()
    out = table.groupby("step")["times"].sum()
    steps = [s for s in out.index if s != "overdue"]
    assert into[steps].tolist() == out[steps].tolist()
    assert into.drop(steps).sum() == out["overdue"]
    assert table[["estimate", "conf_low", "conf_high"]].to_numpy().min() >= 0
    assert (table["conf_low"] <= table["estimate"]).all() and (table["estimate"] <= table["conf_high"]).all()


def test_the_map_is_drawn_with_its_strongest_moves(bank):
    found = process_map(bank)
    axes = found.plot(top=5)
    written = " ".join(t.get_text() for t in axes.texts)
    assert f"{found.table['episodes'].max():,}" in written and "overdue" in written
    assert len(axes.patches) >= 5
    for wrong in ({"activity": "agent"}, {"order": "sms"}, {"order": ["sms", "sms"]}):
        with pytest.raises(FrameError):
            process_map(bank, **wrong)
    cured = process_map(bank, outcome="cured", activity="team")
    assert "charged_off" not in set(cured.table["next_step"])
