"""Files of contact rules: what is refused, all at once, and what is shown."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest

from collectlab.core.errors import ParamsError
from collectlab.measures.conduct import load_rules

FOLDER = Path(__file__).parents[2] / "params" / "contact_rules"
GOOD = """
jurisdiction: zz
name: {en: Test, zh: 测试}
holidays:
  2026-01-01: {en: New Year's Day, zh: 元旦}
rules:
  - key: calls
    title: {en: Calls, zh: 电话}
    says: {en: At most 7 calls in 7 days., zh: 七天内最多七次。}
    kind: count
    force: law
    counts: attempt
    channels: [call]
    per: account
    window: {days: 7}
    limit: 7
    effective: {from: 2021-11-30, to: 2026-06-30}
    citation: "§ 1"
    certainty: reported
  - key: hours
    title: {en: Hours, zh: 时间}
    says: {en: By day only., zh: 仅限白天。}
    kind: hours
    force: law
    channels: [call]
    allowed: {weekday: ["08:00", "21:00"], sunday: none, holiday: none}
    effective: {from: 2026-01-01}
    citation: "§ 2"
    certainty: read_in_source
"""


def read(folder: Path, text: str = GOOD, name: str = "zz"):
    file = folder / f"{name}.yml"
    file.write_text(text, encoding="utf-8")
    return load_rules(file)


def faults(folder: Path, *changes: tuple[str, str]) -> list[str]:
    text = GOOD
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    with pytest.raises(ParamsError) as told:
        read(folder, text)
    return list(told.value.faults)


def test_a_day_type_not_written_is_like_a_weekday(tmp_path):
    allowed = read(tmp_path).rules[1].allowed
    assert allowed.of("weekday") == allowed.of("saturday") == (480, 1260)
    assert allowed.of("sunday") is None and allowed.of("holiday") is None


def test_only_rules_in_force_on_a_day(tmp_path):
    rules = read(tmp_path)
    assert [r.key for r in rules.on("2026-06-30").rules] == ["calls", "hours"]
    assert [r.key for r in rules.on(dt.date(2026, 7, 1)).rules] == ["hours"]
    assert [r.key for r in load_rules(tmp_path / "zz.yml", on="2025-01-01").rules] == ["calls"]


def test_the_table_marks_what_was_not_read(tmp_path):
    table = read(tmp_path).table()
    assert table.table["certainty"].tolist() == ["reported, not read in the source", "read in the source"]
    assert table.notes == ("1 of 2 rules were not read in the source; they are marked so.",)
    assert read(tmp_path).table("zh").table["rule"].tolist() == ["电话", "时间"]


@pytest.mark.parametrize(
    "change, told",
    [
        (('    citation: "§ 1"\n', ""), "zz.yml: calls.citation: missing. Needed: where the rule is written."),
        (("{days: 7}", "{days: 7, calendar: week}"), "contradictory windows (days: 7 and calendar: week)"),
        (("{days: 7}", "{days: 0}"), "calls.window.days: found 0"),
        (("{days: 7}", "{hours: -2}"), "Needed: a whole number of hours, 1 to 8784 (a year)."),
        (("{days: 7}", '{days: "7"}'), "calls.window.days: found '7'"),
        (("{days: 7}", "{months: 1}"), "no such key 'months'. Allowed: calendar, days, hours."),
        (("limit: 7", "limit: 99999999999"), "Needed: a whole number, 0 to 10,000."),
        (("limit: 7", "limit: true"), "calls.limit: found True"),
        (("channels: [call]", "channels: [call, call]"), "call stands twice. Allowed: each channel once."),
        (('citation: "§ 1"', 'citation: "  "'), "calls.citation: found '  '"),
        (("from: 2021-11-30", "from: 2021-11-31"), "found '2021-11-31'. Allowed: a date that exists, YYYY-MM-DD"),
        (("{days: 7}", "{}"), "no window"),
        (("{days: 7}", "{weeks: 1}"), "no such key 'weeks'"),
        (("to: 2026-06-30", "to: 2020-01-01"), "ends (2020-01-01) before it begins (2021-11-30)"),
        (('["08:00", "21:00"]', '["21:00", "08:00"]'), "ends (08:00) before it begins (21:00)"),
        (('["08:00", "21:00"]', '["08:00", 21:00]'), "such as \"08:00\", in quotes"),
        (('["08:00", "21:00"]', '["08:00", "25:00"]'), "found '25:00'"),
        (("channels: [call]", "channels: [fax]"), "unknown channel 'fax'"),
        (("kind: count", "kind: counting"), "calls.kind: found 'counting'"),
        (("force: law", "force: lax"), "calls.force: found 'lax'"),
        (("certainty: reported", "certainty: sure"), "calls.certainty: found 'sure'"),
        (("per: account", "per: household"), "calls.per: found 'household'"),
        (("counts: attempt", "counts: ring"), "calls.counts: found 'ring'"),
        (("    limit: 7\n", ""), "calls: limit: missing. Needed in a rule of kind count"),
        (("limit: 7", "limit: 7\n    allowed_after: {unanswered: 3}"), "allowed_after means nothing in a rule of kind"),
        (("key: hours", "key: calls"), "rule 'calls' stands 2 times"),
        (("    limit: 7\n", "    limit: 7\n    limit: 8\n"), "key 'limit' stands twice"),
        (("limit: 7", "limitt: 7"), "no such key 'limitt'. Nearest: limit."),
        (("jurisdiction: zz", "jurisdiction: yy"), "Allowed: the name of the file, 'zz'"),
        (("  2026-01-01: {en: New Year's Day, zh: 元旦}", "  {}"), "speaks of holidays, but the file lists none"),
        (("rules:\n", "rule:\n"), "rules: missing"),
    ],
)  # fmt: skip
def test_what_is_refused(tmp_path, change, told):
    assert any(told in fault for fault in faults(tmp_path, change))


def test_two_versions_of_a_rule_in_force_on_one_day(tmp_path):
    calls = GOOD[GOOD.index("  - key: calls") : GOOD.index("  - key: hours")]
    later = calls.replace("key: calls", "key: calls_2").replace("limit: 7", "limit: 5")
    assert faults(tmp_path, ("  - key: hours", later + "  - key: hours")) == [
        "zz.yml: calls and calls_2 are two versions of one rule, both in force from 2021-11-30. Allowed: one at a "
        "time (end the earlier with to: …), or windows, channels or what is counted that differ."
    ]
    later = later.replace("from: 2021-11-30, to: 2026-06-30", "from: 2026-07-01")
    assert len(read(tmp_path, GOOD.replace("  - key: hours", later + "  - key: hours")).rules) == 3


@pytest.mark.parametrize("odd", [None, 3, ["us"]])
def test_neither_a_jurisdiction_nor_a_path(odd):
    with pytest.raises(ParamsError, match="Allowed: a jurisdiction such as 'us', or the path"):
        load_rules(odd)


def test_all_faults_at_once(tmp_path):
    found = faults(
        tmp_path,
        ('    citation: "§ 1"\n', ""),
        ("{days: 7}", "{days: 7, hours: 24}"),
        ("channels: [call]", "channels: [fax]"),
        ('["08:00", "21:00"]', '["21:00", "08:00"]'),
    )
    assert len(found) == 5  # the channel in both rules


def test_a_jurisdiction_not_shipped_names_those_that_are():
    with pytest.raises(
        ParamsError, match=r"no contact rules for 'fr'\. Shipped in .*: au, cn, ie, in, uk, us"
    ):
        load_rules("fr", folder=FOLDER)
