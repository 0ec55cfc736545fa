"""The audit of contact rules: what it counts, against a loop written plainly, and what it says of bad input."""

from __future__ import annotations

import datetime as dt
import pickle
import runpy
from pathlib import Path

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collectlab.book.open import open_book
from collectlab.book.simulate import simulate
from collectlab.core.engine import collect, connection
from collectlab.core.errors import FrameError, NotAvailable, ParamsError
from collectlab.measures.conduct import audit, load_rules
from collectlab.measures.conduct import count as counting
from collectlab.measures.conduct import lay as laying

HERE = Path(__file__).parent
FOLDER = HERE.parents[1] / "params" / "contact_rules"
SHIPPED = [load_rules(j, folder=FOLDER) for j in ("au", "cn", "ie", "in", "uk", "us")]
loop = runpy.run_path(str(HERE / "conduct_loop.py"))["loop"]

HEAD = """
jurisdiction: JUR
name: {en: Test, zh: 测试}
holidays:
  2026-03-06: {en: A feast, zh: 节日}
rules:
"""
RULE = """
  - key: {key}
    title: {{en: "{key}", zh: 规则}}
    says: {{en: "Says.", zh: 说明}}
    force: house
    effective: {{from: 2026-03-03, to: 2026-03-18}}
    citation: none
    certainty: unconfirmed
    {rest}
"""
RESTS = {
    "any_24_hours": "kind: count\n    counts: attempt\n    channels: [call, sms]\n    per: customer\n    window: {hours: 24}\n    limit: 2",
    "per_number": "kind: count\n    counts: unanswered\n    channels: [call, visit]\n    per: number\n    window: {days: 3}\n    limit: 1\n    unless: [agreed]",
    "none_at_all": "kind: count\n    counts: visit\n    channels: [visit]\n    per: account\n    window: {calendar: week}\n    limit: 0",
    "rest_48_hours": "kind: after\n    event: connected\n    counts: attempt\n    channels: [call, agency]\n    per: customer\n    window: {hours: 48}\n    unless: [consent]",
    "rest_in_week": "kind: after\n    event: connected\n    counts: contact\n    channels: [call, sms]\n    per: account\n    window: {calendar: week}",
    "holiday_hours": 'kind: hours\n    channels: [call, sms]\n    allowed: {weekday: ["08:00", "20:00"], sunday: none, holiday: ["10:00", "12:00"]}',
    "never_others": "kind: party",
    "on_hold": "kind: hold\n    channels: [call, sms, visit]",
}


def rules_of(folder: Path, *keys: str):
    text = HEAD + "".join(RULE.format(key=k, rest=RESTS[k]) for k in keys)
    file = folder / "house.yml"
    file.write_text(text.replace("JUR", "house"), encoding="utf-8")
    return load_rules(file)


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    return rules_of(tmp_path_factory.mktemp("rules"), *RESTS)


def log_of(*rows, **columns):
    """Rows of (account, time, channel, …) as a log."""
    names = ["account_id", "at", "channel", *columns.pop("names", ())]
    table = pd.DataFrame(list(rows), columns=names).assign(**columns)
    return table.assign(at=pd.to_datetime(table["at"]))


ACTION = st.tuples(
    st.sampled_from("abcdef"),
    st.sampled_from(["call", "sms", "visit", "agency", "letter", "robot_call"]),
    st.sampled_from([None, True, False]),
    st.sampled_from([None, "no_answer", "contact", "wrong_number", "promise"]),
    st.sampled_from([None, "debtor", "third_party"]),
    st.booleans(),
    st.booleans(),
    st.sampled_from(["1", "2"]),
    st.sampled_from([None, "T1", "T2"]),
)
NAMES = ["account_id", "channel", "connected", "outcome", "party", "consent", "agreed", "number", "team"]
OWNERS = pd.DataFrame({"account_id": list("abcdef"), "customer_id": ["P", "P", "Q", "R", "R", "R"]})
HOLDS = [
    {"account_id": "a", "from": dt.date(2026, 3, 4), "to": dt.date(2026, 3, 6)},
    {"account_id": "a", "from": dt.date(2026, 3, 6), "to": dt.date(2026, 3, 9)},
    {"account_id": "d", "from": dt.date(2026, 3, 10), "to": None},
]


@settings(max_examples=30, deadline=None)
@given(
    actions=st.lists(ACTION, min_size=1, max_size=60),
    minutes=st.lists(st.integers(0, 22 * 48 - 1), min_size=60, max_size=60, unique=True),
)
def test_equal_to_the_plain_loop(house, actions, minutes):
    log = pd.DataFrame(actions, columns=NAMES)
    start = pd.Timestamp("2026-03-01")  # never midnight: a log of nothing else has no hours
    log["at"] = [start + pd.Timedelta(minutes=30 * m + 1) for m in minutes[: len(log)]]
    log["action_id"] = [f"n{i:03d}" for i in range(len(log))]
    books = [house, *SHIPPED]
    found = audit(log, books, by=("team", "channel"), accounts=OWNERS, holds=pd.DataFrame(HOLDS))
    counted = found.table[found.table["by"] == "all"].set_index("rule")
    for key, (applies, broken) in loop(log, books, OWNERS, HOLDS).items():
        assert (key in counted.index) == bool(applies), key
        if applies:
            assert counted.loc[key, ["contacts", "violations"]].tolist() == [len(applies), len(broken)], key
            assert sorted(found.evidence(key)["action_id"]) == sorted(log["action_id"].iloc[broken]), key
            by_team = found.table[(found.table["rule"] == key) & (found.table["by"] == "team")]
            teams = log["team"].iloc[broken].fillna("(missing)").value_counts()
            assert by_team.set_index("group")["violations"].loc[teams.index].to_dict() == teams.to_dict()
    assert found.judged + found.set_aside["rows"].sum() == found.rows_in == len(log)


@pytest.fixture(scope="module")
def bank():
    book = open_book(
        simulate(accounts=600, months=12, truth_accounts=0, problems=("night_calls",)).book_tables
    )
    return {name: collect(book.table(name)) for name in ("accounts", "snapshots", "actions")}


def test_same_answer_whatever_holds_the_log(bank, tmp_path):
    log, accounts = bank["actions"], bank["accounts"]
    file = tmp_path / "actions.parquet"
    log.to_parquet(file, index=False)
    frames = {
        "shuffled": log.sample(frac=1, random_state=1),
        "polars": pl.from_pandas(log),
        "lazy": pl.from_pandas(log).lazy(),
        "arrow": pa.Table.from_pandas(log, preserve_index=False),
        "relation": connection().read_parquet(str(file)),
        "path": file,
    }
    first = audit(log, "cn", accounts=accounts, folder=FOLDER)
    assert len(first.table) > 50
    for name, frame in frames.items():
        again = audit(frame, "cn", accounts=accounts, folder=FOLDER)
        pd.testing.assert_frame_equal(again.table, first.table, obj=name)
        assert again._repr_html_() == first._repr_html_()
        pd.testing.assert_frame_equal(again.evidence(), first.evidence(), obj=name)


def test_many_parts_and_a_shuffled_log_count_as_one(bank, monkeypatch):
    whole = audit(bank["actions"], ["cn", "au"], accounts=bank["accounts"], folder=FOLDER)
    monkeypatch.setattr(laying, "PART", 500)
    monkeypatch.setattr(counting, "BOARD", 1)  # too many groups for one board: each grouping by itself
    split = audit(bank["actions"], ["cn", "au"], accounts=bank["accounts"], folder=FOLDER)
    pd.testing.assert_frame_equal(split.table, whole.table)
    pd.testing.assert_frame_equal(split.evidence(), whole.evidence())


def test_a_planted_night_team_is_found(bank):
    found = audit(open_book(bank), "cn", folder=FOLDER)
    teams = found.table[(found.table["rule"] == "cn_quiet_hours") & (found.table["by"] == "team")]
    assert teams.loc[teams["violations"] > 0, "group"].tolist() == ["Call team 3"]
    row = teams.set_index("group").loc["Call team 3"]
    assert row["conf_low"] > 10 and row["conf_low"] < row["estimate"] < row["conf_high"]
    assert pickle.loads(pickle.dumps(found)).table.equals(found.table)
    clean = audit(
        open_book(simulate(accounts=600, months=12, truth_accounts=0, problems=()).book_tables),
        "cn",
        folder=FOLDER,
    )
    assert clean.rules.set_index("rule").loc["cn_quiet_hours", "status"] == "clean"


def test_each_action_beyond_the_limit_is_one_violation():
    log = log_of(*[("a", f"2026-03-0{d} 10:0{k}", "call") for d in (2, 3, 4) for k in range(3)])
    found = audit(log, "us", by=None, folder=FOLDER)
    row = found.table.set_index("rule").loc["us_attempts_7_in_7"]
    assert row[["contacts", "violations"]].tolist() == [9, 2]
    assert row["estimate"] == pytest.approx(1000 * 2 / 9)
    evidence = found.evidence("us_attempts_7_in_7")
    assert evidence["counted"].tolist() == [8, 9] and evidence["limit"].tolist() == [7, 7]
    assert evidence["since"].astype(str).tolist() == ["2026-02-26", "2026-02-26"]


def test_windows_look_back_before_the_period():
    log = log_of(
        *[("a", f"2026-02-{d} 10:00", "call") for d in range(22, 29)], ("a", "2026-02-28 11:00", "call")
    )
    log = pd.concat([log, log_of(("a", "2026-03-01 09:00", "call"))], ignore_index=True)
    found = audit(log, "us", by=None, period=("2026-03-01", "2026-03-31"), folder=FOLDER)
    row = found.table.set_index("rule").loc["us_attempts_7_in_7"]
    assert row[["contacts", "violations"]].tolist() == [1, 1]  # 23 Feb to 1 Mar: the eighth


def test_summer_time_begins_and_ends(tmp_path):
    # Berlin, 2026-03-29: 02:00 becomes 03:00. New York, 2026-11-01: 02:00 becomes 01:00.
    one = {"jurisdiction": "house"}
    file = tmp_path / f"{one['jurisdiction']}.yml"
    text = HEAD.replace("JUR", "house") + RULE.format(key="any_24_hours", rest=RESTS["any_24_hours"])
    file.write_text(
        text.replace("2026-03-18", "2026-12-31").replace("limit: 2", "limit: 1"), encoding="utf-8"
    )
    utc = log_of(
        ("b", "2026-03-28 11:00", "call"),  # 12:00 in Berlin
        ("b", "2026-03-29 10:30", "call"),  # 12:30 in Berlin: 24½ hours by the clock, 23½ in truth
        ("n", "2026-10-31 16:00", "call"),  # 12:00 in New York
        ("n", "2026-11-01 16:00", "call"),  # 11:00 in New York: 23 hours by the clock, 24 in truth
    )
    places = pd.DataFrame({"account_id": ["b", "n"], "tz": ["Europe/Berlin", "America/New_York"]})
    found = audit(utc, file, by=None, accounts=places, time_zone="tz")
    assert found.evidence()["account_id"].tolist() == ["b"]
    assert found.evidence()["at"].astype(str).tolist() == ["2026-03-29 12:30:00"]
    local = utc.assign(
        at=pd.to_datetime(["2026-03-28 12:00", "2026-03-29 12:30", "2026-10-31 12:00", "2026-11-01 11:00"])
    )
    assert audit(local, file, by=None).evidence()["account_id"].tolist() == [
        "n"
    ]  # all the log tells, without zones


@pytest.mark.parametrize("own", ["zone in the column", "utc and a name", "text with an offset"])
def test_hours_are_local_whatever_carries_the_zone(own):
    utc = pd.to_datetime(["2026-03-02 12:59", "2026-03-02 13:00"])  # 20:59 and 21:00 in Shanghai
    log = pd.DataFrame({"account_id": ["a", "b"], "channel": "call", "at": utc})
    zone = "Asia/Shanghai"
    if own == "zone in the column":
        log["at"], zone = log["at"].dt.tz_localize("UTC").dt.tz_convert(zone), None
    elif own == "text with an offset":
        log["at"] = ["2026-03-02T20:59:00+08:00", "2026-03-02T13:00:00Z"]
    found = audit(log, "us", by=None, time_zone=zone, folder=FOLDER)
    assert found.evidence("us_hours")["account_id"].tolist() == ["b"]


def test_rows_that_cannot_be_judged_are_set_aside_and_counted():
    log = pd.DataFrame(
        [
            ("1", "a", "2026-03-02 10:00", "call", "contact"),
            ("1", "a", "2026-03-02 10:00", "call", "contact"),  # the nightly reload
            ("2", "a", "2026-03-02 10:00", "call", "contact"),  # another action of the same minute
            ("3", "a", "2027-01-01 10:00", "call", "contact"),
            ("4", "a", "2019-12-31 23:59", "call", "contact"),
            ("5", "a", "2026-03-02 11:00", "fax", None),
            ("6", "a", "2026-03-02 12:00", "call", "perhaps"),
            ("7", "x", "2026-03-02 12:00", "call", None),
            ("8", None, "2026-03-02 12:00", "call", None),
            ("9", "a", None, "call", None),
        ],
        columns=["action_id", "account_id", "at", "channel", "outcome"],
    )
    log["at"] = pd.to_datetime(log["at"])
    accounts = pd.DataFrame({"account_id": ["a"], "originated_on": [dt.date(2020, 1, 1)]})
    found = audit(log, "us", by=None, accounts=accounts, as_of="2026-12-31", folder=FOLDER)
    assert found.set_aside.set_index("reason")["rows"].to_dict() == {
        "account_id is missing": 1,
        "at is missing or no local time": 1,
        "unknown channel": 1,
        "unknown outcome or party": 1,
        "account_id is not in accounts": 1,
        "in the future": 1,
        "before the account existed": 1,
        "copy of another row (a reload)": 1,
    }
    assert (found.rows_in, found.judged) == (10, 2)
    assert "8 of 10 actions were set aside" in " ".join(found.notes)


def test_a_mix_of_zones_is_refused():
    text = pd.DataFrame(
        {"account_id": list("ab"), "channel": "call", "at": ["2026-03-02T10:00:00Z", "2026-03-02 10:00"]}
    )
    with pytest.raises(FrameError, match="1 rows have a time zone and 1 have none"):
        audit(text, "us", folder=FOLDER)
    aware = [pd.Timestamp("2026-03-02 10:00", tz="UTC"), pd.Timestamp("2026-03-02 10:00")]
    with pytest.raises(FrameError, match="time zone"):
        audit(text.assign(at=pd.Series(aware, dtype=object)), "us", folder=FOLDER)
    with pytest.raises(FrameError, match="Needed: time_zone"):
        audit(text.assign(at=pd.to_datetime(["2026-03-02 10:00"] * 2, utc=True)), "us", folder=FOLDER)
    with pytest.raises(FrameError, match="Asia/Shanghai"):
        audit(log_of(("a", "2026-03-02 10:00", "call")), "us", time_zone="Asia/Shanghia", folder=FOLDER)


def test_not_judged_is_said_not_counted_as_clean():
    bare = log_of(("a", "2026-03-02", "call"), ("a", "2026-03-03", "call"))
    found = audit(bare, ["us", "cn", "uk"], by=None, folder=FOLDER)
    why = found.not_judged.set_index("rule")["why"].to_dict()
    assert why["us_hours"] == "at has dates only, no hours"
    assert why["us_rest_after_conversation"] == "the actions have neither connected nor outcome"
    assert why["cn_debtor_only"] == "the actions have no party"
    assert why["uk_breathing_space"] == "no holds were given"
    assert why["cn_agencies_evaluated_yearly"] == "the action log cannot show it"
    assert set(found.rules.loc[found.rules["rule"].isin(why), "status"]) == {"not judged"}
    assert not set(why) & set(found.table["rule"])
    early = audit(log_of(("a", "2020-03-02 10:00", "call")), "us", by=None, folder=FOLDER)
    assert (
        set(early.not_judged["why"]) == {"not in force from 2020-03-02 to 2020-03-02"} and early.table.empty
    )
    assert "us" not in early._repr_html_() or len(early._repr_html_()) > 100


def test_holidays_not_listed_and_agents_in_two_teams_are_told():
    log = log_of(("a", "2031-03-03 10:00", "call", "Kim", "T1"), ("b", "2031-03-03 10:00", "call", "Kim", "T2"),
                 names=("agent", "team"))  # fmt: skip
    notes = " ".join(audit(log, "au", folder=FOLDER).notes)
    assert "no holidays are listed for 2031" in notes
    assert "1 agent stands in more than one team (Kim)" in notes


def test_wrong_questions():
    log = log_of(("a", "2026-03-02 10:00", "call"))
    with pytest.raises(FrameError, match="'taem'") as told:
        audit(log.assign(team="T"), "us", by=["taem", "brnch"], folder=FOLDER)
    assert len(told.value.faults) == 2 and "Did you mean team" in told.value.faults[0]
    with pytest.raises(FrameError, match="no column 'channel'"):
        audit(log.drop(columns="channel"), "us", folder=FOLDER)
    with pytest.raises(
        FrameError, match=r"connected: 1 of 1 are neither true nor false \(.perhaps.\)\. Allowed"
    ):
        audit(log.assign(connected="perhaps"), "us", folder=FOLDER)
    with pytest.raises(NotAvailable, match="no actions"):
        audit(log.iloc[:0], "us", folder=FOLDER)
    with pytest.raises(NotAvailable, match="no actions"):
        audit(log, "us", period=("2027-01-01", "2027-02-01"), folder=FOLDER)
    with pytest.raises(ParamsError, match="'us_hours' stands in several files"):
        audit(log, ["us", "us"], folder=FOLDER)
    with pytest.raises(FrameError, match="end before they begin"):
        audit(log, "uk", holds=pd.DataFrame({"account_id": ["a"], "from": ["2026-03-02"], "to": ["2026-03-01"]}).astype(
            {"from": "datetime64[us]", "to": "datetime64[us]"}), folder=FOLDER)  # fmt: skip
    with pytest.raises(FrameError, match="no rule 'us_hour'"):
        audit(log, "us", folder=FOLDER).evidence("us_hour")


def test_none_found_is_no_more_than_few_customers_can_say():
    log = log_of(*[(f"{i % 10}", f"2026-03-{1 + i // 10:02d} 10:00", "call") for i in range(200)])
    found = audit(log, "us", by=None, folder=FOLDER).table.set_index("rule").loc["us_hours"]
    # 20 calls a customer: as much as none among 10 people, not among 200 calls. −ln(0.025) / 10 = 0.37
    assert found["violations"] == 0 and found["conf_low"] == 0
    assert found["conf_high"] == pytest.approx(368.9, abs=0.1)


def test_evidence_is_cut_but_the_count_is_not(monkeypatch):
    log = log_of(*[("a", f"2026-03-02 23:{m:02d}", "call") for m in range(20)])
    monkeypatch.setattr(counting, "EVIDENCE", 5)
    found = audit(log, "us", by=None, folder=FOLDER)
    assert found.table.set_index("rule").loc["us_hours", "violations"] == 20
    assert found.evidence("us_hours")["at"].dt.minute.tolist() == [0, 1, 2, 3, 4]
    assert len(found.evidence("us_hours", limit=2)) == 2


def test_display_puts_what_is_broken_first_and_marks_what_is_unsure():
    log = log_of(("a", "2026-03-02 23:00", "call", "debtor"), names=("party",))
    found = audit(log, ["cn", "us"], by=("channel",), folder=FOLDER)
    assert list(dict.fromkeys(found.rules["status"])) == ["broken", "clean", "not judged"]
    shown = found._repr_html_()
    assert "reported, not read in the source" in shown
    assert found.plot().get_title(loc="left") == "Violations of contact rules"
    assert [t.get_text() for t in found.plot("us_hours", by="channel").get_yticklabels()] == ["call"]
    with pytest.raises(FrameError, match="nothing by 'team'"):
        found.plot("us_hours")
