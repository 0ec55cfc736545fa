"""Parameters: dated, sourced, bilingual; and every fault of a file told at once."""

import datetime as dt
from pathlib import Path

import pytest

from collectlab.core.errors import ParamsError
from collectlab.core.params import load_params, load_yaml, read_params

CALL = """
call:
  name: {en: Cost per outbound call, zh: 单次外呼成本}
  unit: CNY per call
  range: [0, 50]
  values:
    2025-01-01: {value: 2.40, source: "Operations cost sheet 2024-12"}
    2026-07-01: {value: 2.65, source: "Vendor contract §4.2"}
"""


@pytest.mark.parametrize(
    ("date", "value", "since"),
    [
        ("2025-01-01", 2.40, "2025-01-01"),
        ("2026-06-30", 2.40, "2025-01-01"),
        ("2026-07-01", 2.65, "2026-07-01"),
        ("2031-12-31", 2.65, "2026-07-01"),
    ],
)
def test_the_value_in_force_is_the_latest_that_holds_by_then(date, value, since):
    held = read_params(CALL).on(date)["call"]
    assert (held.value, held.since.isoformat()) == (value, since)


def test_the_value_in_force_says_where_it_comes_from():
    held = read_params(CALL).on(dt.date(2026, 8, 1))["call"]
    assert held.source == "Vendor contract §4.2"
    assert held.unit == "CNY per call"
    assert held.name.text("zh") == "单次外呼成本"


def test_a_date_before_the_first_value_is_refused_when_the_key_is_asked_for():
    params = read_params(CALL, "costs.yml")
    expected = "costs.yml: call: no value in force on 2024-12-31. The first holds from 2025-01-01."
    with pytest.raises(ParamsError) as error:
        params.on("2024-12-31", "call")
    assert error.value.faults == (expected,)


def test_what_nobody_asks_for_may_begin_later():
    values = read_params(CALL).on("2024-12-31")
    assert dict(values) == {}
    with pytest.raises(ParamsError, match="call: no value in force on 2024-12-31"):
        values["call"]


def test_an_unknown_key_is_answered_with_the_nearest():
    with pytest.raises(ParamsError, match=r"no such key 'cal'. Nearest: call"):
        read_params(CALL).on("2025-01-01", "cal")
    with pytest.raises(ParamsError, match=r"no such key 'cals'. Nearest: call"):
        read_params(CALL).on("2025-01-01")["cals"]


def test_all_faults_of_a_file_are_told_at_once_by_file_and_key():
    with pytest.raises(ParamsError) as error:
        read_params(
            """
            call:
              nmae: {en: Cost, zh: 成本}
              unit: CNY
              range: [0, 5]
              values:
                2025-01-01: {value: 2.40}
                2025-13-01: {value: 99, source: sheet}
            sms:
              name: {en: Text message}
              unit: CNY
              values:
                2025-01-01: {value: two, source: sheet, sorce: sheet}
            """,
            "costs.yml",
        )
    assert set(error.value.faults) == {
        "costs.yml: call.name: missing. Needed: {en: …, zh: …}.",
        "costs.yml: call: no such key 'nmae'. Nearest: name, note.",
        "costs.yml: call.values.2025-01-01.source: missing. Needed: the document the value was taken from.",
        "costs.yml: call.values.2025-13-01: '2025-13-01' is no date. Allowed: YYYY-MM-DD, such as 2025-01-01.",
        "costs.yml: call.values.2025-13-01.value: 99 is out of range. Allowed: 0 to 5.",
        "costs.yml: sms.name.zh: missing. Needed: the Chinese text.",
        "costs.yml: sms.values.2025-01-01.value: found 'two'. Input should be a valid number. Needed: a number.",
        "costs.yml: sms.values.2025-01-01: no such key 'sorce'. Nearest: source.",
    }


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("a: 1\nb: 2\na: 3\n", "f.yml, line 3: key 'a' stands twice (first on line 1). Allowed: once."),
        ("a:\n  b: 1\n  b: 1\n", "f.yml, line 3: key 'b' stands twice (first on line 2). Allowed: once."),
        ("a: [1,\nb: }\n", "f.yml, line 2, column 4: not YAML"),
        ("- 1\n", "f.yml: holds a list. Allowed: keys and values"),
        ("a: \x00", "f.yml: not YAML"),
        ("a: !!python/object/apply:os.system [ls]", "f.yml, line 1, column 4: not YAML"),
        ("", "f.yml: holds no parameters"),
        ("a: 7\n", "f.yml: a: found 7. Needed: keys and values."),
        (CALL.replace("[0, 50]", "[50, 0]"), "range [50, 0] is upside down"),
        (CALL.replace("2.40", ".nan"), "finite number"),
        (CALL.replace("2.40", "true"), "valid number"),
    ],
)
def test_a_broken_file_is_refused(tmp_path, text, fault):
    path = tmp_path / "f.yml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ParamsError) as error:
        load_params(path)
    assert fault in str(error.value)


def test_a_file_that_is_not_there_names_those_that_are(tmp_path):
    (tmp_path / "costs.yml").write_text(CALL, encoding="utf-8")
    with pytest.raises(ParamsError, match=r"no such file. In .*: costs.yml"):
        load_params(tmp_path / "cost.yml")


def test_a_file_in_another_encoding_names_the_line(tmp_path):
    path = tmp_path / "costs.yml"
    path.write_bytes("a: 1\nb: 成本\n".encode("gb18030"))
    with pytest.raises(ParamsError, match=r"costs.yml, line 2: not UTF-8"):
        load_yaml(path)


def test_yaml_words_stay_words_and_dates_stay_dates(tmp_path):
    path = tmp_path / "f.yml"
    path.write_text("on: yes\nregion: NO\nflag: true\nday: 2025-01-01\nbad: 2025-02-30\n", encoding="utf-8")
    assert load_yaml(path) == {
        "on": "yes",
        "region": "NO",
        "flag": True,
        "day": dt.date(2025, 1, 1),
        "bad": "2025-02-30",
    }


def test_the_appendix_lists_each_value_with_its_source():
    params = read_params(CALL)
    every, held = params.table().table, params.table("2026-10-31", "zh").table
    assert every["value"].tolist() == [2.40, 2.65]
    assert held[["name", "value", "measured_in", "source"]].values.tolist() == [
        ["单次外呼成本", 2.65, "CNY per call", "Vendor contract §4.2"]
    ]
    assert params.table().display_table()["Measured in"].tolist() == ["CNY per call"] * 2


def test_the_example_costs_are_valid_and_marked_as_an_example():
    params = load_params(Path(__file__).parents[2] / "params" / "costs.yml")
    values = params.on("2026-10-31")
    channels = ["sms", "email", "call", "letter", "visit", "legal", "agency"]
    assert set(channels) <= set(values)
    assert all("synthetic" in held.source for held in values.values())
    assert values.numbers()["call"] == values["call"].value
