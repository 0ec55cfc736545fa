"""Agencies' yearly sheets against their contracts, by hand."""

import dataclasses
import functools

import numpy as np
import pandas as pd
import pytest

from collectlab.book.open import open_book
from collectlab.core.errors import FrameError, NotAvailable, ParamsError
from collectlab.measures.legal import evaluation_sheet
from collectlab.policy.agencies import load_agencies

ENDS = ["2026-01-31", "2026-02-28", "2026-12-31"]


def opened(**change):
    """a: placed with X on 5 February, with Y on 1 March; b and c: with X on 10 February."""
    actions = pd.DataFrame(
        {
            "account_id": ["a", "b", "c", "b", "a"],
            "at": pd.to_datetime(
                ["2026-02-05 10:00", "2026-02-10 10:00", "2026-02-10 11:00", "2026-02-14 10:00", "2026-03-01 10:00"]
            ),
            "channel": "agency", "agency": ["X", "X", "X", "X", "Y"], "cost": [1.0, 1.0, 1.0, 2.0, 5.0],
            "connected": [False, False, False, True, True], "recorded": [None, None, None, True, False],
        }
    )  # fmt: skip
    payments = pd.DataFrame(
        {
            "account_id": ["a", "a", "b", "c"],
            # a pays X's 40 in time, then 500 with Y (no more than the 100 placed counts); b pays after 90 days.
            "paid_on": ["2026-02-20", "2026-03-05", "2026-08-01", "2026-02-11"],
            "amount": [40.0, 500.0, 100.0, 20.0],
        }
    )
    snapshots = pd.DataFrame(
        [(a, d, 100.0) for a in "abc" for d in ENDS], columns=["account_id", "as_of", "amount_past_due"]
    ).assign(days_past_due=100)
    frames = {
        "accounts": pd.DataFrame({"account_id": list("abc")}), "snapshots": snapshots, "actions": actions,
        "payments": payments,
    }  # fmt: skip
    return open_book({**frames, **change})


@functools.cache
def book():
    return opened()


def figures(sheet, agency):
    return sheet.of(agency).table.set_index("measure")["estimate"]


def test_a_sheet_by_hand():
    terms = pd.DataFrame(
        [
            ("X", "commission_share", "", 0.1),
            ("X", "recovery_rate", "at_least", 0.1),
            ("X", "recorded", "at_least", 0.9),
        ],
        columns=["agency", "measure", "direction", "limit"],
    )
    sheet = evaluation_sheet(book(), 2026, terms=terms)
    x, y = figures(sheet, "X"), figures(sheet, "Y")
    assert x["placements"] == 3 and x["placed"] == 300
    assert x["recovered"] == 60 and x["recovery_rate"] == pytest.approx(0.2)
    assert x["commission"] == pytest.approx(6)
    assert x["cost_per_100_recovered"] == pytest.approx(100 * 5 / 60 + 10)  # its own actions, plus a tenth
    assert x["recorded"] == 1 and y["recorded"] == 0
    assert y["recovery_rate"] == 1 and y["days_to_first_contact"] == 0
    # a is X's only up to Y's day; of a (1 %, censored after 23 days), b (day 4) and c, the median is not reached.
    assert np.isnan(x["days_to_first_contact"])
    standing = sheet.of("X").table.set_index("measure")["standing"]
    assert standing["recorded"] == "cannot be told"  # one contact recorded of one
    assert standing["placements"] == "–"
    assert any("Without terms in force: Y" in n for n in sheet.notes)


def test_met_and_missed_need_the_whole_interval():
    broken = pd.DataFrame({"agency": ["X", "Y"], "violations": [10, 0], "contacts": [1000, 1000]})
    terms = pd.DataFrame(
        [(a, "violations_per_1000", "at_most", v) for a, v in (("X", 4.0), ("Y", 4.0))],
        columns=["agency", "measure", "direction", "limit"],
    )
    sheet = evaluation_sheet(book(), 2026, terms=terms, violations=broken)
    rows = sheet.table[sheet.table["measure"] == "violations_per_1000"].set_index("agency")
    # Garwood's exact limits of 10 and of 0 events.
    assert rows.loc["X", ["conf_low", "conf_high"]].tolist() == pytest.approx([4.795, 18.390], abs=1e-3)
    assert rows.loc["Y", "conf_high"] == pytest.approx(3.689, abs=1e-3)
    assert rows["standing"].tolist() == ["missed", "met"]
    assert sheet.missed()["agency"].tolist() == ["X"]
    assert evaluation_sheet(book(), 2026, terms=terms.assign(limit=5.0), violations=broken).missed().empty


def test_young_placements_are_placed_but_not_judged():
    late = evaluation_sheet(book().until(pd.Timestamp("2026-05-15").date()), 2026)
    assert figures(late, "X")["placements"] == 3
    assert figures(late, "Y").loc["recovery_rate"] != figures(late, "Y").loc["recovery_rate"]  # 75 days only
    assert any("younger than 90 days" in n for n in late.notes)


def test_what_is_wrong_is_named():
    twice = pd.DataFrame({"agency": ["X", "X"], "violations": [1, 1], "contacts": [5, 5]})
    with pytest.raises(FrameError, match=r"1 rows stand twice \(X\)"):
        evaluation_sheet(book(), 2026, violations=twice)
    with pytest.raises(FrameError, match="hold no counts"):
        evaluation_sheet(book(), 2026, violations=twice.iloc[:1].assign(violations=-1))
    with pytest.raises(FrameError, match="limit"):
        evaluation_sheet(
            book(), 2026, terms=pd.DataFrame({"agency": ["X"], "measure": ["x"], "direction": ["at_most"]})
        )
    with pytest.raises(FrameError, match="year"):
        evaluation_sheet(book(), "2026")
    with pytest.raises(FrameError, match="agency is 'Z'"):
        evaluation_sheet(book(), 2026).of("Z")
    with pytest.raises(NotAvailable, match="no account was placed with an agency in 2020"):
        evaluation_sheet(book(), 2020)
    with pytest.raises(NotAvailable, match="name no agency"):
        evaluation_sheet(
            opened(actions=pd.DataFrame({"account_id": ["a"], "at": ["2026-02-01"], "channel": ["call"]})),
            2026,
        )


def test_the_file_of_contracts_says_all_its_faults_at_once(tmp_path):
    file = tmp_path / "agencies.yml"
    file.write_text(
        """
agencies:
  X:
    contracts:
      2025-01-01: {until: 2026-06-30, source: "A", commission: 0.2}
      2026-01-01: {until: 2025-12-31, source: "B", commission: 0.2}
"""
    )
    with pytest.raises(ParamsError) as told:
        load_agencies(file)
    assert len(told.value.faults) == 2
    assert "ends on 2025-12-31, before it begins" in told.value.faults[0]
    assert "overlap" in told.value.faults[1]
    file.write_text(
        """
agencies:
  X:
    contracts:
      2025-01-01: {until: 2026-06-30, commission: 1.2, minimum_recovry: 0.2}
"""
    )
    with pytest.raises(ParamsError) as told:
        load_agencies(file)
    text = "\n".join(told.value.faults)
    assert len(told.value.faults) == 3
    assert "source: missing" in text and "minimum_recovery" in text and "commission" in text


def test_terms_hold_from_and_until_a_day(tmp_path):
    file = tmp_path / "agencies.yml"
    file.write_text(
        """
agencies:
  X:
    contracts:
      2025-01-01: {until: 2025-12-31, source: "A", commission: 0.2}
      2026-01-01: {until: 2026-12-31, source: "B", commission: 0.1, minimum_recorded: 0.9}
"""
    )
    agencies = load_agencies(file)
    assert agencies.terms("2025-12-31")["limit"].tolist() == [0.2]
    assert agencies.terms("2026-01-01")[["measure", "limit"]].values.tolist() == [
        ["recorded", 0.9], ["commission_share", 0.1],
    ]  # fmt: skip
    assert agencies.terms("2027-01-01").empty
    assert agencies.table("2026-01-01").table["source"].tolist() == ["B"]


def test_the_sheet_is_read_with_the_agencies_beside_each_other_and_the_contract_last():
    terms = pd.DataFrame(
        [("X", "recovery_rate", "at_least", 0.3), ("Y", "recovery_rate", "at_least", 0.5),
         ("X", "recorded", "at_least", 0.9), ("Y", "recorded", "at_least", 0.9)],
        columns=["agency", "measure", "direction", "limit"],
    )  # fmt: skip
    sheet = evaluation_sheet(book(), 2026, terms=terms)
    shown = sheet.display_table()
    assert shown.columns.tolist() == ["Measure", "X", "Y", "Contract"]
    assert len(shown) == sheet.table["measure"].nunique()
    words = shown.set_index("Measure")
    assert words.index[:4].tolist() == [
        "Accounts placed", "Amount placed", "Amount recovered", "Share recovered",
    ]  # fmt: skip
    assert words.loc["Share recovered", "Contract"] == "X: ≥ 30.0 %; Y: ≥ 50.0 %"
    assert words.loc["Accounts placed", "Contract"] == "–" and "_" not in sheet._repr_html_()
    row = sheet.table.query("agency == 'X' and measure == 'recovery_rate'").iloc[0]
    cell = words.loc["Share recovered", "X"]
    assert cell.startswith(f"{100 * row['estimate']:.1f} %") and cell.endswith(row["standing"])
    gaps = sheet.table.assign(estimate=sheet.table["estimate"].mask(sheet.table["agency"] == "X"))
    told = dataclasses.replace(sheet, table=gaps).display_table()["X"]
    assert set(told) <= {"–", "–, met", "–, missed"}
