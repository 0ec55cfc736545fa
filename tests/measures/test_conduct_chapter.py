"""The report's parts on contact rules: what a compliance officer must see, and whom nobody may see."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from collectlab.book.open import open_book
from collectlab.book.simulate import simulate
from collectlab.measures.conduct import audit
from collectlab.report.chapters import conduct
from collectlab.report.month import open_month

PARAMS = Path(__file__).parents[2] / "params"


@pytest.fixture(scope="module")
def bank():
    return simulate(accounts=900, months=18, truth_accounts=0, problems=("night_calls",)).book_tables


@pytest.fixture(scope="module")
def month(bank):
    return open_month(bank, "2026-10", contact_rules="cn", params=PARAMS)


def test_what_was_not_read_and_what_counts_twice_stands_out(month):
    assert "(7 of 7 not read in the source)" in conduct.rules(month).result.title
    found = conduct.violations(month).result
    assert "(7 of 7 not read in the source)" in found.title
    shown = re.sub(r"<[^>]+>", "", found._repr_html_())
    assert shown.count("reported, not read in the source") == 7
    notes = " ".join(conduct.who(month).result.notes)
    assert (
        "must not be added: Night rest, 22:00–08:00 (standard) / Night rest, 22:00–08:00 (guideline)" in notes
    )
    assert "Not read in the source, so check the wording before acting" in notes


def test_the_way_to_the_evidence_is_told_and_works(bank, month):
    found = conduct.violations(month).result
    assert '.evidence("cn_quiet_hours")' in " ".join(found.notes)
    rows = audit(open_book(bank), "cn", period=month.window, folder=PARAMS / "contact_rules").evidence(
        "cn_quiet_hours"
    )
    everybody = found.table[(found.table["rule"] == "cn_quiet_hours") & (found.table["by"] == "all")]
    assert len(rows) == everybody["violations"].iloc[0] > 0
    assert found.kept.empty


def test_months_and_channels_count_an_action_once(month):
    by_month, by_channel = (conduct._any_rule(month, by) for by in ("month", "channel"))
    assert conduct.trend(month).picture is not None and conduct.channels(month).result is not None
    assert {"hours"} <= set(by_month["sort"]) and by_month["month"].nunique() == 12
    hours = by_channel[by_channel["sort"] == "hours"].set_index("channel")
    # The standard's and the guideline's night are one night.
    standard = conduct.audited(month).table
    standard = standard[(standard["rule"] == "cn_quiet_hours") & (standard["by"] == "channel")].set_index(
        "group"
    )
    assert hours["violations"].to_dict() == standard["violations"].to_dict()
    assert hours.loc["call", "estimate"] == pytest.approx(
        1000 * hours.loc["call", "violations"] / hours.loc["call", "contacts"]
    )


def test_no_account_and_no_agent_is_named(bank):
    actions = bank["actions"].to_pandas() if hasattr(bank["actions"], "to_pandas") else bank["actions"]
    again = actions.assign(action_id="again-" + actions["action_id"], agent="Kim Example")
    doubled = dict(bank) | {
        "actions": pd.concat([actions.assign(agent="Kim Example"), again], ignore_index=True)
    }
    found = conduct.violations(open_month(doubled, "2026-10", contact_rules="cn", params=PARAMS)).result
    notes = " ".join(found.notes)
    assert "perhaps a reload under new ids" in notes and "1 agent stands in more than one team;" in notes
    page = found._repr_html_()
    assert "Kim Example" not in page
    assert not np.isin(actions["account_id"].unique(), page.replace(",", " ").split()).any()
    assert "account_id" not in notes


def test_a_clean_book_says_that_there_is_no_difference_to_show():
    calls = pd.DataFrame(
        {"account_id": "A0", "at": ["2026-09-01 10:00:00"], "channel": "call", "connected": True}
    )
    tables = {
        "accounts": pd.DataFrame({"account_id": ["A0"]}),
        "snapshots": pd.DataFrame({"account_id": "A0", "as_of": ["2026-10-31"], "days_past_due": 45}),
        "actions": calls,
    }
    month = open_month(tables, "2026-10", contact_rules="cn", params=PARAMS)
    for part in (conduct.trend, conduct.channels):
        assert part(month).left_out.endswith("no contact rule was broken, so there is no difference to show.")
