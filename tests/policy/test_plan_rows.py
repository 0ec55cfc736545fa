"""The rows of a plan: a small book in, one row per overdue account-month out, worked by hand."""

import datetime as dt

import pandas as pd
import pytest

from collectlab.book.open import open_book
from collectlab.book.simulate import simulate
from collectlab.core.errors import FrameError, NotAvailable, ParamsError
from collectlab.policy.plan import States, decision_rows

DAYS = ["2026-01-31", "2026-02-28", "2026-03-31", "2026-04-30", "2026-05-31"]


def snapshots(**accounts):
    """Days past due at each month-end; a text is a status."""
    rows = []
    for account, seen in accounts.items():
        for day, dpd in zip(DAYS, seen):
            status = dpd if isinstance(dpd, str) else "open"
            late = 110 if isinstance(dpd, str) else dpd
            owed = 100.0 * (1 + late // 30) if late else 0.0
            rows.append((account, pd.Timestamp(day), late, 1000.0, owed, status))
    columns = ["account_id", "as_of", "days_past_due", "balance", "amount_past_due", "status"]
    return pd.DataFrame(rows, columns=columns)


def frame(columns, *rows, dates=()):
    found = pd.DataFrame(rows, columns=columns)
    return found.assign(**{d: pd.to_datetime(found[d]) for d in dates})


def tables():
    return {
        "accounts": pd.DataFrame(
            {
                "account_id": ["a", "b", "c"],
                "customer_id": ["x", "x", "y"],
                "credit_score": [590.0, 650.0, 700.0],
                "originated_on": pd.to_datetime(["2025-01-01"] * 3),
            }
        ),
        "snapshots": snapshots(a=[0, 10, 41, 0, 0], b=[0, 20, 48, 79, "charged_off"], c=[0, 0, 5, 0, 9]),
        "payments": frame(
            ["account_id", "paid_on", "amount"],
            ("a", "2026-03-10", 30.0),
            ("a", "2026-04-05", 170.0),
            ("a", "2026-04-20", 100.0),
            ("b", "2026-02-10", 50.0),
            dates=["paid_on"],
        ),
        "actions": frame(
            ["account_id", "at", "channel", "connected", "party", "cost"],
            ("a", "2026-03-05 10:00", "call", True, "debtor", 2.0),
            ("a", "2026-04-02 10:00", "visit", False, "debtor", 150.0),
            ("b", "2026-02-20 10:00", "call", True, "third_party", 2.0),
            ("b", "2026-03-20 10:00", "sms", None, "debtor", 0.1),
            dates=["at"],
        ),
        "assignments": frame(
            ["account_id", "strategy", "assigned_on", "randomised", "propensity"],
            ("a", "mild", "2026-02-15", False, None),
            ("a", "hard", "2026-03-31", False, None),
            ("b", "mild", "2026-01-01", False, None),
            ("b", "hard", "2026-03-15", True, 0.5),
            ("c", "mild", "2026-01-01", False, None),
            ("c", "hard", "2026-03-15", True, 0.5),
            dates=["assigned_on"],
        ),
        "complaints": frame(["account_id", "at"], ("a", "2026-04-03 09:00"), dates=["at"]),
    }


@pytest.fixture(scope="module")
def rows():
    return decision_rows(open_book(tables()), states=States(amount=150.0))


def of(rows, account):
    return rows[rows["account_id"] == account].reset_index(drop=True)


def test_one_row_per_overdue_account_and_month_end(rows):
    assert list(zip(rows["account_id"], rows["on"].dt.strftime("%m"), rows["days_past_due"])) == [
        ("a", "02", 10), ("a", "03", 41),
        ("b", "02", 20), ("b", "03", 48), ("b", "04", 79),
        ("c", "03", 5), ("c", "05", 9),
    ]  # fmt: skip


def test_where_each_month_leads(rows):
    assert of(rows, "a")["next_state"].tolist() == ["30–59 | large | score <600 | reached", "cured"]
    assert of(rows, "b")["next_state"].tolist()[2] == "charged_off"
    # the last month-end's account is not seen again
    assert of(rows, "c")["next_state"].isna().tolist() == [False, True]
    assert of(rows, "c").loc[1, ["paid", "cost", "calls"]].isna().all()


def test_paid_is_no_more_than_was_past_due_at_the_first_month_end(rows):
    # 30 in March, then 270 in April, of which 70 are left of the 100 owed at the first month-end
    assert of(rows, "a")["paid"].tolist() == [30.0, 70.0]


def test_costs_and_contacts_of_the_month_that_follows(rows):
    found = of(rows, "a")
    assert found["cost"].tolist() == [2.0, 150.0]
    assert found["calls"].tolist() == [1, 0]
    assert found["visits"].tolist() == [0, 1]
    assert found["complaints"].tolist() == [0, 1]


def test_what_is_lost_on_charge_off_does_not_count_unpaid_arrears_twice(rows):
    # balance 1000, of which 100 (first past due) were never paid
    assert of(rows, "b")["lost"].tolist() == [0.0, 0.0, 900.0]


def test_what_was_never_paid_is_known_at_the_exit(rows):
    # b owed 100 first and paid 50 before the episode was seen; a paid all
    assert of(rows, "b")["unpaid"].tolist() == [0.0, 0.0, 100.0]
    assert of(rows, "a")["unpaid"].tolist() == [0.0, 0.0]


def test_secured_accounts_are_told_apart_where_the_book_says_which_they_are():
    book = tables()
    book["accounts"] = book["accounts"].assign(secured=[True, False, None])
    found = decision_rows(open_book(book), states=States(amount=150.0))
    words = found.groupby("account_id")["state"].first().str.split(" | ", regex=False).str[-1]
    assert words.to_dict() == {"a": "secured", "b": "unsecured", "c": "security unknown"}


def test_late_states_hold_days_and_security_only():
    frame = pd.DataFrame({"days_past_due": [89, 95], "amount_past_due": 10.0, "secured": [True, False]})
    assert States(amount=5.0).key(frame).tolist() == ["60–89 | large | secured", "90–119 | unsecured"]


def test_the_action_is_the_strategy_in_force_on_the_day(rows):
    assert of(rows, "a")["action"].tolist() == ["mild", "hard"]


def test_a_test_enrols_new_episodes_only(rows):
    # b was drawn while its episode ran: what stood before holds; c was drawn before its episode was first seen
    assert of(rows, "b")["action"].tolist() == ["mild", "mild", "mild"]
    assert of(rows, "c")["action"].tolist() == ["hard", "hard"]
    assert of(rows, "c")["propensity"].tolist() == [0.5, 0.5]


def test_reached_is_a_connected_contact_with_the_debtor_before_the_day(rows):
    assert of(rows, "a")["reached"].tolist() == [False, True]
    assert not of(rows, "b")["reached"].any()


def test_entry_is_the_first_month_end_of_an_episode(rows):
    assert of(rows, "b")["entry"].tolist() == [True, False, False]
    assert of(rows, "c")["entry"].tolist() == [True, True]


def test_nothing_learned_later_changes_a_row():
    book = open_book(tables())
    whole = decision_rows(book, states=States(amount=150.0))
    cut = decision_rows(book.until(dt.date(2026, 4, 30)), states=States(amount=150.0))
    earlier = whole[whole["on"] <= "2026-03-31"].reset_index(drop=True)
    same = cut[cut["on"] <= "2026-03-31"].reset_index(drop=True)
    pd.testing.assert_frame_equal(earlier, same)


def test_since_and_until_pick_month_ends_without_changing_them(rows):
    part = decision_rows(
        open_book(tables()), since="2026-03-31", until="2026-04-30", states=States(amount=150.0)
    )
    expected = rows[(rows["on"] >= "2026-03-31") & (rows["on"] <= "2026-04-30")].reset_index(drop=True)
    pd.testing.assert_frame_equal(part, expected)


def test_daily_snapshots_give_the_rows_of_their_month_ends():
    daily = simulate(
        accounts=60, months=4, problems=(), truth_accounts=0, snapshots="daily", end="2026-10-31"
    )
    monthly = simulate(accounts=60, months=4, problems=(), truth_accounts=0, end="2026-10-31")
    one, other = (decision_rows(open_book(b.book_tables)) for b in (daily, monthly))
    seen = ["account_id", "on", "days_past_due", "amount_past_due", "action"]
    both = one.merge(other, on=["account_id", "on"], suffixes=("", "_m"))
    assert len(both) >= 0.95 * len(other)
    assert (both["days_past_due"] == both["days_past_due_m"]).all()
    assert set(seen) <= set(one)


def test_a_book_without_the_optional_tables_has_fewer_dimensions():
    few = {k: v for k, v in tables().items() if k in ("snapshots", "assignments")}
    few["accounts"] = tables()["accounts"][["account_id"]]
    few["snapshots"] = few["snapshots"].drop(columns=["amount_past_due", "balance"])
    rows = decision_rows(open_book(few))
    assert rows["state"].tolist()[:2] == ["1–14", "30–59"]
    assert (rows["paid"].fillna(0) == 0).all()


def test_what_a_plan_cannot_do_without():
    with pytest.raises(NotAvailable, match="assignments"):
        decision_rows(open_book({k: v for k, v in tables().items() if k != "assignments"}))
    one = tables()
    one["snapshots"] = one["snapshots"][one["snapshots"]["as_of"] <= "2026-02-28"]
    with pytest.raises(NotAvailable, match="only 1 month-end"):
        decision_rows(open_book({k: one[k] for k in ("accounts", "snapshots", "assignments")}))
    none = tables()
    none["snapshots"] = none["snapshots"].assign(days_past_due=0)
    with pytest.raises(NotAvailable, match="no account is overdue"):
        decision_rows(open_book({k: none[k] for k in ("accounts", "snapshots", "assignments")}))


def test_a_channel_without_any_cost_is_named():
    book = tables()
    book["actions"] = book["actions"].assign(cost=[None, 150.0, None, 0.1])
    with pytest.raises(FrameError, match="call"):
        decision_rows(open_book(book))
    rows = decision_rows(open_book(book), unit_costs={"call": 3.0}, states=States(amount=150.0))
    assert of(rows, "a")["cost"].tolist() == [3.0, 150.0]


def test_negative_unit_costs_are_refused():
    with pytest.raises(FrameError, match="≥ 0"):
        decision_rows(open_book(tables()), unit_costs={"call": -1.0})


def test_states_have_rising_cuts():
    with pytest.raises(ParamsError) as error:
        States(days_past_due=(30, 1), score=(660, 600), amount=-1)
    assert len(error.value.faults) == 3
    with pytest.raises(ParamsError, match="no amount cut"):
        States().key(pd.DataFrame({"days_past_due": [1]}))


def test_unknown_scores_and_amounts_are_states_of_their_own():
    frame = pd.DataFrame(
        {"days_past_due": [5, 5], "credit_score": [None, 600], "amount_past_due": [None, 10.0]}
    )
    assert States(amount=10.0).key(frame).tolist() == [
        "1–14 | amount unknown | score unknown",
        "1–14 | large | score 600–659",
    ]
