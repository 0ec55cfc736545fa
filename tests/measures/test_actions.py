"""What was done and how people reacted, on small books counted by hand."""

import numpy as np
import pandas as pd
import pytest

from collectlab.book.open import open_book
from collectlab.core.errors import FrameError, NotAvailable
from collectlab.measures import actions

MONTH_ENDS = [
    "2025-12-31",
    "2026-01-31",
    "2026-02-28",
    "2026-03-31",
    "2026-04-30",
    "2026-05-31",
    "2026-06-30",
]


def book_of(dpd, accounts=None, **tables):
    """A book from days past due at each month's end from December 2025; one list an account."""
    ids = list(dpd)
    rows = [(a, d, v) for a in ids for d, v in zip(MONTH_ENDS, dpd[a]) if v is not None]
    snapshots = pd.DataFrame(rows, columns=["account_id", "as_of", "days_past_due"])
    snapshots = snapshots.assign(amount_past_due=np.where(snapshots["days_past_due"] > 0, 100.0, 0.0))
    frames = {"accounts": pd.DataFrame({"account_id": ids, **(accounts or {})}), "snapshots": snapshots}
    return open_book(frames | tables)


def acted(*rows, **columns):
    """account, at, channel."""
    frame = pd.DataFrame(rows, columns=["account_id", "at", "channel"])
    return frame.assign(at=pd.to_datetime(frame["at"]), **columns)


DPD = {"a": [0, 10, 38, 0, 0, 0, 0], "b": [0, 0, 20, 51, 81, 112, 142], "c": [0] * 7}
ACTS = acted(
    ("a", "2026-01-25 10:00", "sms"), ("a", "2026-02-10 21:30", "call"), ("a", "2026-02-11 07:59", "call"),
    ("b", "2026-02-15 22:00", "call"), ("b", "2026-03-10 10:00", "visit"), ("c", "2026-03-11 10:00", "sms"),
    team=["D", "T1", "T2", "T1", None, "D"], agency=[None, None, None, None, "Ag", None],
    outcome=[None, "no_answer", "promise", "refusal", "contact", None],
    connected=[None, False, True, True, True, None], party=[None, None, "debtor", "debtor", "third_party", None],
    recorded=[None, None, True, False, True, None], cost=[0.1, 2, 2, 2, 60, 0.1],
    promised_amount=[None, None, 100.0, None, None, None],
    promised_on=pd.to_datetime([None, None, "2026-02-20", None, None, None]),
)  # fmt: skip


@pytest.fixture(scope="module")
def book():
    return book_of(
        DPD,
        {"region": ["N", "S", "S"]},
        actions=ACTS,
        payments=pd.DataFrame({"account_id": ["a", "a"], "paid_on": ["2026-02-22", "2026-02-25"], "amount": [60.0, 60.0]}),
        complaints=pd.DataFrame(
            {"account_id": ["a", "b", "c"], "at": ["2026-02-12", "2026-06-01", "2026-03-11 23:00"], "upheld": [True, False, None]}
        ),
        surveys=pd.DataFrame({"account_id": ["a", "a", "c"], "at": ["2026-02-12"] * 3, "score": [40.0, 60.0, 95.0]}),
        reasons=pd.DataFrame(
            {"account_id": ["a", "a", "b"], "noted_on": ["2026-02-10", "2026-02-11", "2026-03-10"], "reason": ["forgot", "illness", "dispute"]}
        ),
    )  # fmt: skip


def wide(result, *by):
    return result.wide().set_index(list(by))


def test_channels(book):
    table = wide(actions.channels(book), "channel")
    assert table["actions"].to_dict() == {"call": 3, "sms": 2, "visit": 1}
    assert table["accounts"].to_dict() == {"call": 2, "sms": 2, "visit": 1}
    assert table["covered"].to_dict() == {"call": 1.0, "sms": 0.5, "visit": 0.5}  # a and b were overdue
    assert table.loc["call", "connected"] == pytest.approx(2 / 3)
    assert table.loc["call", "promises"] == pytest.approx(1 / 2)
    assert np.isnan(table.loc["sms", "promises"])
    assert table.loc["visit", "cost_per_action"] == 60


def test_channels_of_a_period_count_only_what_falls_in_it(book):
    table = wide(actions.channels(book, ("2026-02-01", "2026-02-28")), "channel")
    assert table["actions"].to_dict() == {"call": 3}
    with pytest.raises(NotAvailable, match="there are no actions"):
        actions.channels(book, ("2020-01-01", "2020-12-31"))
    with pytest.raises(FrameError, match=r"ends .* before it begins"):
        actions.channels(book, ("2026-02-01", "2026-01-01"))
    with pytest.raises(FrameError, match="first day, last day"):
        actions.channels(book, "2026-02")


def test_channels_without_costs_say_so():
    bare = book_of({"a": [0, 10]}, actions=acted(("a", "2026-01-25 10:00", "sms")))
    result = actions.channels(bare)
    assert "cost_per_action" not in result.wide() and "costs are left out" in result.notes[0]
    assert actions.channels(bare, unit_costs={"sms": 0.05}).wide()["cost_per_action"].iloc[0] == 0.05


def test_coverage_by_stage(book):
    table = wide(actions.coverage_by_stage(book), "stage", "channel")
    # account-months: a Jan 10, a Feb 38, b Feb 20, b Mar 51, b Apr 81, b May and Jun 90+
    assert table["account_months"].groupby("stage").first().to_dict() == {
        "1–29": 2,
        "30–59": 2,
        "60–89": 1,
        "90+": 2,
    }
    assert table.loc[("1–29", "sms"), "covered"] == 0.5 and table.loc[("1–29", "call"), "covered"] == 0.5
    assert table.loc[("1–29", "any"), "covered"] == 1
    assert table.loc[("30–59", "call"), "intensity"] == 1.0  # two calls of a in February, two account-months
    assert table.loc[("30–59", "call"), "covered"] == 0.5
    assert table.loc[("90+", "any"), "covered"] == 0
    with pytest.raises(FrameError, match="only overdue accounts"):
        actions.coverage_by_stage(book, stages=(0, 30))


def test_timeline_counts_everything_once(book):
    table = actions.timeline(book).table
    assert table["actions"].sum() == len(ACTS)
    assert table.values.tolist()[:2] == [["2026-01", "sms", 1, 1], ["2026-02", "call", 3, 2]]


def test_time_to_first_contact(book):
    # a: day 0 is 21 January, first text on day 4, first debtor contact on day 21. b: day 0 is 8 February,
    # called and connected on day 7. The visit met a third party.
    table = actions.time_to_first_contact(book, horizons=(5, 10, 30)).table
    found = table.set_index(["contact", "measure"])["estimate"]
    assert found.loc["first action"].tolist()[:3] == [0.5, 1.0, 1.0]
    assert found.loc["first debtor contact"].tolist()[:3] == [0.0, 0.5, 1.0]
    by_region = actions.time_to_first_contact(book, by="region", horizons=(5,)).table
    assert by_region["region"].unique().tolist() == ["N", "S"]


def test_an_episode_that_ends_before_anything_was_done_is_not_reached():
    book = book_of({"a": [0, 10, 0], "b": [0, 10, 40, 70]}, actions=acted(("b", "2026-03-01 10:00", "call")))
    found = actions.time_to_first_contact(book, horizons=(60,)).table.set_index(["contact", "measure"])
    assert found.loc[("first action", "within 60 days"), "estimate"] == 0.5


def test_promises_are_kept_within_the_grace_or_not_judged():
    made = acted(
        *[("a", f"2026-01-{d} 10:00", "call") for d in (10, 11, 12, 13)], ("a", "2026-06-29 10:00", "call"),
        outcome=["promise", "promise", "promise", "no_answer", "promise"],
        promised_amount=[100.0, 50.0, None, None, 10.0],
        promised_on=pd.to_datetime(["2026-01-15", "2026-03-01", "2026-01-20", None, "2026-06-30"]),
    )  # fmt: skip
    money = pd.DataFrame(
        {
            "account_id": "a",
            "paid_on": ["2026-01-09", "2026-01-18", "2026-01-19"],
            "amount": [500.0, 90.0, 500.0],
        }
    )
    book = book_of(DPD, actions=made, payments=money)
    result = actions.promises(book)
    row = result.wide().iloc[0]
    assert row[["attempts", "contacts", "promises", "due"]].tolist() == [5, 4, 4, 2]
    assert row["contacts_per_attempt"] == 0.8 and row["promises_per_contact"] == 1
    assert row["kept"] == 1.0  # 90 of 100 by the third day of grace; 50 within its longer term
    assert row["kept_amount"] == pytest.approx((90 + 50) / 150)
    assert "1 promises are not yet due and are not judged." in result.notes
    assert "1 promises without amount or date cannot be judged." in result.notes
    assert actions.promises(book, share=0.91).wide()["kept"].iloc[0] == 0.5
    assert actions.promises(book, grace=2).wide()["kept"].iloc[0] == 0.5


def test_reactions_add_up_to_all_attempts(book):
    table = wide(actions.reactions(book, by="team"), "team")
    assert list(table.index) == ["Ag", "T1", "T2"]
    assert table.drop(columns="attempts").sum(axis=1).tolist() == pytest.approx([1, 1, 1])
    assert table.loc["T1", "refusal"] == 0.5


def test_complaints_per_1000_contacts(book):
    by_channel = actions.complaints(book, by="channel")
    table = wide(by_channel, "channel")
    # b's complaint of June follows its last contact by 83 days; c's of the evening follows the text of that day
    assert table["complaints"].to_dict() == {"call": 1, "sms": 1, "visit": 0}
    assert table["contacts"].to_dict() == {"call": 2, "sms": 2, "visit": 1}
    assert table.loc["call", "per_1000_contacts"] == 500
    assert "1 complaints followed no contact within 30 days and are left out." in by_channel.notes
    rows = by_channel.table.set_index(["channel", "measure"])
    none = rows.loc[("visit", "per_1000_contacts")]
    assert none["conf_low"] == 0 and none["conf_high"] == pytest.approx(1000 * -np.log(0.025))
    by_month = actions.complaints(book)
    assert wide(by_month, "month")["complaints"].to_dict() == {"2026-01": 0, "2026-02": 1, "2026-03": 1}
    assert "1 complaints fall in groups without any contact and are left out." in by_month.notes
    assert wide(actions.complaints(book, by="region"), "region")["complaints"].to_dict() == {"N": 1, "S": 2}
    assert wide(by_month, "month").loc["2026-02", "upheld"] == 1


def test_satisfaction_says_who_answered(book):
    result = actions.satisfaction(book)
    assert result.wide().iloc[0].tolist() == [3, 65, pytest.approx(2 / 3)]
    assert result.notes[0] == "2 accounts answered: 66.7 % of the 3 accounts that were acted on."


def test_hours_third_parties_and_recordings(book):
    night = wide(actions.contact_hours(book, night=(21, 8)), "team")
    assert night["at_night"].to_dict() == {"Ag": 0, "D": 0, "T1": 1.0, "T2": 1.0}
    assert wide(actions.contact_hours(book), "team")["at_night"].to_dict() == {
        "Ag": 0,
        "D": 0,
        "T1": 0.5,
        "T2": 1.0,
    }
    assert wide(actions.contact_hours(book, night=(10, 11)), "team").loc["D", "at_night"] == 1
    third = wide(actions.third_party_contacts(book), "team")
    assert third["third_party"].to_dict() == {"Ag": 1.0, "T1": 0.0, "T2": 0.0}
    recorded = wide(actions.records_kept(book), "team")
    assert recorded["recorded"].to_dict() == {"Ag": 1.0, "T1": 0.0, "T2": 1.0}
    with pytest.raises(FrameError, match="night is"):
        actions.contact_hours(book, night=(25, 3))


def test_legal_cases():
    cases = pd.DataFrame(
        {
            "account_id": ["a", "b", "c"],
            "filed_on": ["2026-01-01", "2026-01-01", "2026-03-01"],
            "decided_on": ["2026-02-10", "2026-03-22", None],
            "result": ["judgment", "withdrawn", None],
            "cost": [400.0, 600.0, 50.0],
            "recovered": [5000.0, 0.0, None],
        }
    )
    row = actions.legal_cases(book_of(DPD, legal_cases=cases)).wide().iloc[0]
    # at risk 3, decided on day 40 (S = 2/3), then day 80 (S = 1/3): median 80
    assert row.tolist() == [3, 1, 80, 0.5, 0.2]
    by_result = wide(actions.legal_cases(book_of(DPD, legal_cases=cases), by="result"), "result")
    assert list(by_result.index) == ["judgment", "withdrawn", "(missing)"]
    assert by_result["median_days"].tolist()[:2] == [40, 80] and np.isnan(by_result["median_days"].iloc[2])
    assert by_result["success"].tolist()[:2] == [1, 0] and np.isnan(by_result["cost_per_1_recovered"].iloc[1])


def test_arrangements():
    plans = pd.DataFrame(
        {
            "account_id": ["a", "b", "c", "a"],
            "kind": ["payment_plan"] * 3 + ["deferral"],
            "started_on": ["2026-01-01", "2026-01-01", "2026-05-31", "2026-01-01"],
            "ended_on": ["2026-02-01", "2026-06-01", None, None],
            "status": ["broken", "kept", "active", "active"],
        }
    )
    table = wide(actions.arrangements(book_of(DPD, arrangements=plans)), "kind")
    assert table.loc["payment_plan", ["agreed", "active", "kept"]].tolist() == [3, 1, 0.5]
    # the running plan is followed for 30 days; on day 31 one of the two others breaks
    assert table.loc["payment_plan", "broken_within_90_days"] == 0.5
    assert np.isnan(table.loc["deferral", "kept"])


def test_reasons_are_timed_from_the_note(book):
    table = wide(actions.reasons(book), "reason")
    assert table["episodes"].to_dict() == {"dispute": 1, "forgot": 1}  # the first reason of each episode
    assert table["share"].tolist() == [0.5, 0.5]
    assert table["cured_within_90_days"].to_dict() == {"dispute": 0.0, "forgot": 1.0}


def test_what_a_book_lacks_is_said_in_one_line():
    bare = book_of({"a": [0, 10, 0]})
    for measure in (actions.channels, actions.timeline, actions.promises, actions.reactions, actions.complaints,
                    actions.satisfaction, actions.contact_hours, actions.legal_cases, actions.arrangements,
                    actions.reasons, actions.coverage_by_stage, actions.time_to_first_contact,
                    actions.records_kept, actions.third_party_contacts, actions.team_comparison):  # fmt: skip
        with pytest.raises(NotAvailable) as caught:
            measure(bare)
        assert "\n" not in str(caught.value)
    some = book_of({"a": [0, 10, 0]}, actions=acted(("a", "2026-01-25 10:00", "sms")))
    with pytest.raises(NotAvailable, match="actions have no recorded"):
        actions.records_kept(some, by=None)
    with pytest.raises(NotAvailable, match=r"no column 'chanel' .* Did you mean channel"):
        actions.reactions(some, by="chanel")


def team_book(counts):
    """Accounts of each team in each stratum: {team: [(day of the first call, n, cured)]}."""
    ids, dpd, acts = [], {}, []
    for team, strata in counts.items():
        for first, n, cured in strata:
            for i in range(n):
                name = f"{team}{first}-{i}"
                # day 0 is 11 January; seen 20 days past due, cured at the next month's end after the call or never
                late = [0, 20, 48, 79, 109, 140, 170]
                stop = 2 if first <= 29 else 3
                dpd[name] = late[:stop] + [0] * (7 - stop) if i < cured else late
                ids.append(name)
                acts.append(
                    (name, pd.Timestamp("2026-01-11") + pd.Timedelta(days=first, hours=10), "call", team)
                )
    calls = pd.DataFrame(acts, columns=["account_id", "at", "channel", "team"])
    money = pd.DataFrame({"account_id": ids[:1], "paid_on": "2026-01-05", "amount": 1.0})
    return book_of(dpd, actions=calls, payments=money)


def test_teams_are_compared_at_the_same_mix():
    # Both teams cure 8 in 10 early cases and 2 in 10 late ones; B was given the late ones.
    book = team_book({"A": [(10, 40, 32), (40, 10, 2)], "B": [(10, 10, 8), (40, 40, 8)]})
    result = actions.team_comparison(book, bands=1)
    table = wide(result, "team")
    assert table["cured"].tolist() == pytest.approx([34 / 50, 16 / 50])
    assert table["cured_standardised"].tolist() == pytest.approx([0.5, 0.5])
    assert table["covered"].tolist() == [1, 1]
    assert any("Not causal" in n for n in result.notes)
    rows = result.table.set_index(["team", "measure"])
    for team in "AB":
        low, high = rows.loc[(team, "cured_standardised"), ["conf_low", "conf_high"]]
        assert low < 0.5 < high


def test_a_team_with_other_cases_gets_no_standardised_figure():
    book = team_book({"A": [(10, 30, 20)], "B": [(40, 10, 5)]})
    table = wide(actions.team_comparison(book, bands=1), "team")
    assert table["covered"].tolist() == pytest.approx([0.75, 0.25])
    assert table.loc["A", "cured_standardised"] == pytest.approx(20 / 30)
    assert np.isnan(table.loc["B", "cured_standardised"])


def test_teams_recovery_counts_money_after_the_first_action_only():
    book = team_book({"A": [(10, 4, 2)]})
    first = next(iter(book.table("accounts").collect("pandas").to_native()["account_id"]))
    frames = {
        name: book.table(name).collect("pyarrow").to_native() for name in ("accounts", "snapshots", "actions")
    }
    money = pd.DataFrame(
        {
            "account_id": first,
            "paid_on": ["2026-01-15", "2026-01-21", "2026-02-01"],
            "amount": [30.0, 20.0, 500.0],
        }
    )
    table = wide(actions.team_comparison(open_book(frames | {"payments": money}), bands=1), "team")
    # 30 came before the call: 70 + 3 × 100 were left, and 70 of it came
    assert table.loc["A", "recovered"] == pytest.approx(70 / 370)


def test_charts(book):
    assert len(actions.timeline(book).plot().containers) == 3
    assert len(actions.coverage_by_stage(book).plot().texts) == 4 * 4
    lines = actions.reactions(book, by="month").plot("contact").lines
    assert len(lines) == 1
    assert [t.get_text() for t in actions.contact_hours(book).plot().get_yticklabels()] == [
        "Ag",
        "D",
        "T1",
        "T2",
    ]
    with pytest.raises(FrameError, match=r"measure is 'nightly'. Allowed: at_night"):
        actions.contact_hours(book).plot("nightly")
    with pytest.raises(FrameError, match="different units"):
        actions.channels(book).plot(["covered", "cost_per_action"])
