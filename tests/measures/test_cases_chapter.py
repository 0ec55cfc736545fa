"""The report's case files: shown where the book tells enough, left out in one line where not."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from collectlab.book.simulate import simulate
from collectlab.core.errors import NotAvailable
from collectlab.measures.conduct import load_rules
from collectlab.report.chapters import cases, conduct
from collectlab.report.month import open_month

PARAMS = Path(__file__).parents[2] / "params"


@pytest.fixture(scope="module")
def bank():
    return simulate(accounts=400, months=18, truth_accounts=0, seed=3).book_tables


def month_of(tables, output=None):
    return open_month(tables, "2026-10", params=PARAMS, output=output)


def test_three_of_each_with_the_rule_and_no_identifier_in_what_is_written(bank, tmp_path):
    month = month_of(bank, output=tmp_path)
    for part in (cases.successes(month), cases.problems(month)):
        assert [f.case.name for f in part.result.files] == ["Case 1", "Case 2", "Case 3"]
        page = part._repr_html_()
        assert page.count("picked because: ") == 3
        assert "Rule: " in page
        assert part.picture is not None
        written = pd.read_parquet(tmp_path / "tables" / f"{part.name}.parquet")
        text = page + written.to_csv() + (tmp_path / "figures" / f"{part.name}.svg").read_text()
        for one in part.result.files:
            assert one.case.who()["account_id"] not in text
        assert list(written.columns) == ["case", "day", "event", "detail", "result", "days_past_due", "money"]


def test_problems_weigh_broken_contact_rules_where_rules_are_named(bank, monkeypatch):
    month = month_of(bank)
    rules = load_rules("cn", folder=PARAMS / "contact_rules")
    monkeypatch.setattr(conduct, "_rules", lambda _: rules)
    assert "5 for each action that broke a contact rule" in cases.problems(month).result.rule

    def none(_):
        raise NotAvailable("no rules are named.")

    monkeypatch.setattr(conduct, "_rules", none)
    assert "contact rule" not in cases.problems(month_of(bank)).result.rule


def test_a_book_of_two_tables_and_one_without_arrears(bank):
    two = {name: bank[name] for name in ("accounts", "snapshots")}
    part = cases.problems(month_of(two))
    assert "the most days past due" in part.result.rule
    quiet = pd.DataFrame(
        {"account_id": ["a", "a"], "as_of": ["2026-09-30", "2026-10-31"], "days_past_due": [0, 0]}
    )
    none = {"accounts": pd.DataFrame({"account_id": ["a"]}), "snapshots": quiet}
    for part in (cases.successes(month_of(none)), cases.problems(month_of(none))):
        assert part.result is None
        assert part.left_out.startswith("Left out: three ")
        assert "\n" not in part.left_out
