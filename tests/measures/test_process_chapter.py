"""The report's parts on the process: on the example book, and on books that hold too little."""

import dataclasses
from pathlib import Path

import pandas as pd
import pytest

from collectlab.core.errors import CollectlabError
from collectlab.policy import finding_measures
from collectlab.policy.findings import find
from collectlab.policy.strategy import load_strategy
from collectlab.report.chapters import process
from collectlab.report.month import open_month

ROOT = Path(__file__).parents[2]
PARTS = (
    "adherence", "adherence_by_branch", "response_times", "process_map", "contactability", "best_time", "data_problems",
)  # fmt: skip


@pytest.fixture(scope="module")
def month():
    return open_month(ROOT / "data" / "example", "2026-10", params=ROOT / "params")


def test_the_strategy_becomes_steps_and_each_stage_its_own_channels():
    strategy = load_strategy(ROOT / "params" / "strategy.yml").on("2026-10-31")
    due = process.due_steps(strategy)
    assert due.columns.tolist() == ["stage", "channel", "day", "dpd_from", "dpd_to"]
    assert len(due) == sum(len(s.due) for s in strategy.stages)
    assert due.loc[due["stage"] == "middle", ["channel", "day"]].values.tolist() == [
        ["call", 33], ["letter", 40], ["visit", 55],
    ]  # fmt: skip
    assert process.stage_channels(strategy) == {30: ("letter", "visit"), 60: ("agency", "legal")}


def test_a_branch_whose_stage_begins_late_is_found_and_the_others_are_not(month, monkeypatch):
    measure = finding_measures.Measure("share of accounts without the stage's own action", area="process")
    monkeypatch.setitem(finding_measures.MEASURES, "late_step", measure)
    late = {"late_step_by_branch": process.SOURCES["late_step_by_branch"](month)}
    found = find(late, targets=ROOT / "params" / "targets.yml", on=month.end)
    assert found.table["row"].tolist() == ["Branch 04"]
    assert "Branch 04" in process.adherence_by_branch(month).table["branch"].tolist()


def test_every_part_shows_something_on_the_example_book(month):
    for name in ("response_times", "contactability"):
        assert len(getattr(process, name)(month).table) > 2
    assert process.process_map(month).picture is not None


def test_a_part_that_finds_nothing_says_how_far_it_looked(month):
    gaps = process.data_problems(month)
    assert (gaps.table["found"] == 0).all() and "none was found" in gaps._repr_html_()
    times = process.best_time(month)
    assert times.picture is None and "<table" not in times._repr_html_()
    assert "beyond chance (p = " in times._repr_html_() and "6,125 calls" in times._repr_html_()
    branches = pd.DataFrame(
        {"stage": "early", "branch": list("abc"), "judged": 400, "estimate": [0.5, 0.51, 0.49], "std_error": 0.025,
         "conf_low": 0.45, "conf_high": [0.55, 0.56, 0.54], "others": 0.5}
    )  # fmt: skip
    told = process._nobody_worse(branches).sentences[0]
    assert (
        "3 comparisons (stage × branch) over 1,200 actions due" in told and "+6.0 pp above the others" in told
    )


def test_the_map_shows_whole_numbers_and_nothing_that_was_suppressed(month):
    shown = process.process_map(month).result
    assert shown.table["episodes"].isna().any()  # some moves are too rare to publish
    written = [t.get_text() for t in shown.plot().texts]
    assert not any("nan" in t or ".0" in t for t in written) and "1,188\n3 d" in written
    assert "sold" not in written and "settled" not in written
    bare = dataclasses.replace(shown, table=shown.table.assign(episodes=float("nan")))
    assert shown.plottable and not bare.plottable and bare.display_table().empty
    assert "n = 1,179)" in process.adherence(month).result.plot().get_yticklabels()[0].get_text()


def test_evidence_is_one_row_a_group_with_its_size(month):
    for name in ("unfollowed_promises", "incomplete_records"):
        table = process.SOURCES[name](month)
        assert len(table) == 1 and table["n"].iloc[0] > 100 and 0 <= table["estimate"].iloc[0] <= 1


@pytest.mark.parametrize("tables", [("accounts", "snapshots"), ("accounts", "snapshots", "actions")])
def test_a_book_that_holds_too_little_leaves_parts_out_in_one_line(tables):
    ids = [f"a{i}" for i in range(40)]
    ends = pd.to_datetime(["2026-08-31", "2026-09-30", "2026-10-31"])
    frames = {
        "accounts": pd.DataFrame({"account_id": ids}),
        "snapshots": pd.DataFrame(
            [(a, d, n) for a in ids for d, n in zip(ends, (0, 10, 41))], columns=["account_id", "as_of", "days_past_due"]
        ),
        "actions": pd.DataFrame({"account_id": ids, "at": pd.Timestamp("2026-10-02 10:00"), "channel": "sms"}),
    }  # fmt: skip
    month = open_month({t: frames[t] for t in tables}, "2026-10", params=ROOT / "params")
    for name in PARTS:
        shown = getattr(process, name)(month)
        assert shown.result is not None or shown.left_out.startswith("Left out: ")
        assert "\n" not in shown.left_out
        if tables == ("accounts", "snapshots"):
            assert (shown.result is None and "no actions" in shown.left_out) or "branch" in shown.left_out
    for make in process.SOURCES.values():
        with pytest.raises(CollectlabError):
            make(month)


def test_without_a_strategy_the_parts_that_need_it_say_so(month, tmp_path):
    bare = dataclasses.replace(month, params=tmp_path, _cache={})
    assert "strategy.yml" in process.adherence(bare).left_out
