"""Prices of their day, fees by tiers, and what each action, case and payment costs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectlab.core.errors import FrameError, NotAvailable, ParamsError
from collectlab.core.params import load_params
from collectlab.measures.worth.present_value_money import book_flows, money_flows
from collectlab.measures.worth.prices import Prices, check_rate, load_prices
from collectlab.measures.worth.prices_laid import agency_placements, commissions, price_actions, price_cases

PARAMS = Path(__file__).parents[2] / "params"
PRICES = load_prices(PARAMS / "costs.yml", PARAMS / "fees.yml")

FEES = """
agency_commission:
  name: {en: Commission, zh: 佣金}
  unit: share
  range: [0, 0.5]
  values:
    2025-01-01:
      source: contract
      tiers:
        - {until_days: 180, until_amount: 10000, rate: 0.20}
        - {until_days: 180, from_amount: 10000, rate: 0.15}
        - {from_days: 180, rate: 0.25}
"""


def written(folder, costs: str = "", fees: str = FEES) -> Prices:
    (folder / "costs.yml").write_text(costs or COSTS, encoding="utf-8")
    (folder / "fees.yml").write_text(fees, encoding="utf-8")
    return load_prices(folder / "costs.yml", folder / "fees.yml")


COSTS = """
call:
  name: {en: Call, zh: 外呼}
  unit: CNY per call
  range: [-5, 50]
  values:
    2025-01-01: {value: 2.0, source: sheet}
    2026-07-01: {value: 3.0, source: sheet}
"""


def log(*rows) -> pd.DataFrame:
    """account, moment, channel, own cost."""
    frame = pd.DataFrame(rows, columns=["account_id", "at", "channel", "cost"])
    return frame.assign(at=pd.to_datetime(frame["at"]), cost=frame["cost"].astype(float))


def costs(frame, prices) -> list[float]:
    found = price_actions(frame, prices).collect("pandas").to_native()
    return found.sort_values(["account_id", "at"])["cost"].tolist()


def test_every_old_reader_of_the_costs_still_has_its_keys():
    held = load_params(PARAMS / "costs.yml").on("2026-10-31")
    for key in (
        "sms",
        "email",
        "call",
        "letter",
        "visit",
        "legal",
        "agency",
        "agency_commission",
        "complaint",
    ):
        assert held[key].value > 0
    assert {"arrangement", "address_search", "case_review"} <= set(held)


def test_an_action_has_the_price_of_its_day_and_the_logs_own_cost_comes_first(tmp_path):
    prices = written(tmp_path)
    frame = log(
        ("a", "2026-06-30 23:59", "call", None),
        ("b", "2026-07-01 00:00", "call", None),
        ("c", "2026-07-01 10:00", "call", 9.5),
        ("d", "2026-07-01 10:00", "call", 0),
    )
    assert costs(frame, prices) == [2.0, 3.0, 9.5, 0.0]
    told = price_actions(pl.from_pandas(frame), prices).sort("account_id").collect("pandas")
    assert told["cost_from"].to_list() == ["prices", "prices", "log", "log"]
    renamed = frame.rename(columns={"account_id": "Loan no.", "channel": "How"})
    found = price_actions(renamed, prices, columns={"account_id": "Loan no.", "channel": "How"})
    assert found.collect("pandas").to_native()["cost"].sum() == pytest.approx(14.5)


def test_a_channel_without_a_price_costs_its_minutes():
    prices = Prices.of({"chat_minutes": 6, "agent_hour": 50, "call": 2, "call_minutes": 30})
    assert costs(log(("a", "2026-01-01", "chat", None), ("b", "2026-01-01", "call", None)), prices) == [
        5.0,
        2.0,
    ]


def test_channels_without_any_cost_and_costs_below_zero_are_told_at_once_with_their_numbers(tmp_path):
    frame = log(
        ("a", "2026-06-30", "call", -1),
        ("a", "2024-06-30", "call", None),
        ("b", "2026-06-30", "fax", None),
        ("c", "2026-06-30", "fax", None),
        ("d", "2026-06-30", None, None),
    )
    with pytest.raises(FrameError) as error:
        price_actions(frame, written(tmp_path))
    below, bare = error.value.faults
    assert "below 0 for call (1 actions)" in below
    assert "call (1 of 2 actions; its first price holds later)" in bare
    assert "fax (2 of 2 actions)" in bare and "no channel (1 of 1 actions)" in bare
    with pytest.raises(NotAvailable, match="no actions"):
        price_actions(frame.head(0), written(tmp_path))
    with pytest.raises(FrameError, match="channel"):
        price_actions(frame.drop(columns="channel"), PRICES)


def test_all_faults_of_both_files_at_once(tmp_path):
    bad = """
call:
  name: {en: Call, zh: 外呼}
  unit: CNY
  values: {2025-01-01: {value: -2.0, source: sheet}}
discount_rate:
  name: {en: Discount, zh: 折现}
  unit: share a year
  values: {2025-01-01: {value: 8, source: sheet}}
"""
    fees = """
agency_commission:
  name: {en: Commission, zh: 佣金}
  unit: share
  range: [0, 0.5]
  values:
    2025-01-01:
      source: contract
      tiers:
        - {until_days: 180, until_amount: 10000, rate: 0.9}
        - {until_days: 170, from_amount: 5000, rate: 0.2}
        - {from_days: 200, rate: 0.25}
legal_fee:
  name: {en: Fee, zh: 费}
  unit: CNY
  values:
    2025-01-01: {source: law, tiers: [{from_amount: 10, until_amount: 5, fixed: 1}]}
    2026-01-01: {source: law, tiers: [{fixed: -1}]}
bailiff: {}
"""
    with pytest.raises(ParamsError) as error:
        written(tmp_path, bad, fees)
    said = "\n".join(error.value.faults)
    for words in (
        "costs.yml: call.values.2025-01-01.value: -2 is negative",
        "discount_rate.values.2025-01-01.value: 8 a year is out of range",
        "tiers.0.rate: 0.9 is out of range. Allowed: 0 to 0.5",
        "2 tiers overlap for under 170 days, 5,000 to under 10,000",
        "no tier covers 170 to under 180 days, 10,000 and over",
        "no tier covers 180 to under 200 days, under 5,000",
        "tiers.0.fixed",
        "no such schedule 'bailiff'",
    ):
        assert words in said, words
    with pytest.raises(ParamsError, match="ends before it begins"):
        written(tmp_path, "", fees.replace("bailiff: {}", "").replace("{fixed: -1}", "{fixed: 1}"))


@pytest.mark.parametrize("rate", [-0.01, 1.01, float("nan"), "0.1", True])
def test_a_rate_that_is_none(rate):
    with pytest.raises(FrameError, match="from 0 to 1"):
        check_rate(rate, "rate")


@pytest.mark.parametrize(
    "numbers", [{"call": -1.0}, {"discount_rate": 2.0}, {"call": float("nan")}, {"call": "2"}]
)
def test_numbers_that_are_no_prices(numbers):
    with pytest.raises(ParamsError):
        Prices.of(numbers)


@pytest.mark.parametrize(
    ("amount", "fee"),
    [
        (0, 50),
        (9_999.99, 50),
        (10_000, 50),
        (30_000, 550),
        (100_000, 2_300),
        (150_000, 3_300),
        (250_000, 5_050),
    ],
)
def test_the_courts_fee_by_hand(amount, fee):
    found, known = PRICES.schedules["legal_fee"].fees([amount], ["2026-03-01"])
    assert found[0] == pytest.approx(fee) and known[0]


@given(st.lists(st.floats(0, 3e7), min_size=1, max_size=5))
def test_the_courts_fee_is_a_sum_over_tiers_and_never_falls(amounts):
    schedule = PRICES.schedules["legal_fee"]
    tiers = next(iter(schedule.values.values())).tiers
    found, _ = schedule.fees(sorted(amounts), ["2026-03-01"] * len(amounts))
    for amount, fee in zip(sorted(amounts), found):
        plain = 0.0
        for t in tiers:
            if t.from_amount == 0 or amount > t.from_amount:
                end = amount if t.until_amount is None else min(amount, t.until_amount)
                plain += t.fixed + t.rate * (end - t.from_amount)
        assert fee == pytest.approx(plain)
    assert (np.diff(found) >= -1e-9).all()


def test_cases_cost_what_the_book_says_else_the_fee_of_the_amount_claimed():
    cases = pd.DataFrame(
        {
            "account_id": ["a", "b"],
            "filed_on": "2026-03-01",
            "cost": [700.0, None],
            "amount_claimed": [1e6, 30_000.0],
        }
    )
    found = price_cases(cases, PRICES)
    assert found[["cost", "cost_from"]].values.tolist() == [[700.0, "book"], [550.0, "prices"]]
    with pytest.raises(FrameError, match=r"not known|no cost is known for 1 of 2 \(b\)"):
        price_cases(cases.drop(columns="amount_claimed"), PRICES)
    with pytest.raises(FrameError, match="cost less than 0"):
        price_cases(cases.assign(cost=-1.0), PRICES)


PLACED = pd.DataFrame(
    {
        "account_id": ["a", "a", "b", "c"],
        "placed_on": pd.to_datetime(["2026-01-10", "2026-03-01", "2026-01-10", "2026-01-10"]),
        "agency": ["X", "Y", "X", "X"],
        "amount": [500.0, 300.0, 20_000.0, 100.0],
        "days_past_due": [95, 140, 95, 200],
    }
)
PAID = pd.DataFrame(
    {
        "account_id": ["a", "a", "a", "b", "c", "c", "d"],
        "paid_on": pd.to_datetime(
            ["2026-01-09", "2026-02-01", "2026-03-01", "2026-02-01", "2026-02-01", "2026-06-01", "2026-02-01"]
        ),
        "amount": [50.0, 200.0, 400.0, 1_000.0, 60.0, 60.0, 70.0],
    }
)


def test_commission_by_age_and_amount_of_the_debt_placed(tmp_path):
    found = commissions(PAID, PLACED, written(tmp_path)).set_index(["account_id", "agency"])
    # a: 200 with X; on the day of the next placement it is Y's, up to the 300 placed; c's second payment is too late
    assert found["amount"].to_dict() == {("a", "X"): 200, ("a", "Y"): 300, ("b", "X"): 1_000, ("c", "X"): 60}
    assert found["share"].to_dict() == {("a", "X"): 0.2, ("a", "Y"): 0.2, ("b", "X"): 0.15, ("c", "X"): 0.25}
    assert found["commission"].sum() == pytest.approx(40 + 60 + 150 + 15)


def test_a_contract_of_the_day_comes_before_the_tiers(tmp_path):
    contracts = pd.DataFrame(
        {"agency": ["X"], "first": ["2026-01-01"], "until": ["2026-01-31"], "commission": [0.1]}
    )
    found = commissions(PAID, PLACED, written(tmp_path), contracts=contracts)
    assert set(zip(found["agency"], found["share"])) == {("X", 0.1), ("Y", 0.2)}
    with pytest.raises(FrameError, match="shares from 0 to 1"):
        commissions(PAID, PLACED, written(tmp_path), contracts=contracts.assign(commission=1.1))


def test_a_placement_without_any_commission_is_told_with_its_number():
    with pytest.raises(FrameError, match=r"X \(3 placements\), Y \(1 placements\)"):
        commissions(PAID, PLACED, Prices.of({"call": 1}))
    assert commissions(PAID, PLACED, Prices.of({"agency_commission": 0}))["commission"].sum() == 0


def test_placements_know_amount_and_age():
    actions = pd.DataFrame(
        {
            "account_id": ["a", "a"],
            "agency": ["X", "Y"],
            "at": pd.to_datetime(["2026-02-10 09:00", "2026-03-10 09:00"]),
        }
    )
    seen = pd.DataFrame(
        {
            "account_id": ["a", "a"],
            "as_of": pd.to_datetime(["2026-01-31", "2026-02-28"]),
            "amount_past_due": [80.0, 90.0],
            "days_past_due": [95, 123],
        }
    )
    found = agency_placements(actions, seen).collect("pandas").to_native().sort_values("placed_on")
    assert found[["agency", "amount", "days_past_due"]].values.tolist() == [
        ["X", 80.0, 95.0],
        ["Y", 90.0, 123.0],
    ]


def test_all_that_prices_do_not_cover_is_told_at_once():
    complaints = pd.DataFrame({"account_id": ["a"], "at": pd.to_datetime(["2026-02-01"]), "upheld": [True]})
    cases = pd.DataFrame({"account_id": ["a"], "filed_on": ["2026-03-01"]})
    with pytest.raises(FrameError) as error:
        money_flows(
            PAID, log(("a", "2026-02-01", "fax", None)), prices=Prices.of({"call": 1}), complaints=complaints,
            cases=cases, placed=PLACED,
        )  # fmt: skip
    said = " ".join(error.value.faults)
    assert len(error.value.faults) == 4
    for words in ("fax", "no commission", "legal_cases", "'complaint' is in force for 1 of 1"):
        assert words in said


def test_complaints_and_the_debtors_own_charges():
    complaints = pd.DataFrame(
        {"account_id": ["a", "b"], "at": pd.to_datetime(["2026-02-01", "2026-02-02"]), "upheld": [True, None]}
    )
    actions = log(("a", "2026-02-01", "call", 1), ("b", "2026-02-01", "call", 1)).assign(
        connected=[True, False]
    )
    cases = pd.DataFrame({"account_id": ["a"], "filed_on": ["2026-03-01"], "cost": [700.0]})
    bank = {"complaint": 300, "complaint_upheld": 1_000}
    own = {"debtor_contact": 3, "debtor_case": 400, "debtor_complaint": 60}
    found = money_flows(PAID, actions, prices=Prices.of(bank | own), complaints=complaints, cases=cases)
    totals = found.totals()
    assert totals["complaints"] == 1_600 and totals["legal"] == 700 and totals["actions"] == 2
    assert totals["debtor"] == 3 + 400 + 2 * 60
    assert found.societal and "transfer" in found.notes[0]
    alone = money_flows(PAID, prices=Prices.of(bank))
    assert list(alone.flows) == ["paid"] and not alone.societal
    assert "actions, legal cases, complaints" in alone.notes[0]


def test_the_table_says_what_held_on_the_day():
    found = PRICES.table("2026-10-31").table
    flat = found[found["applies_to"] == "all"].set_index("parameter")["value"]
    assert flat["call"] == 2.4 and flat["discount_rate"] == 0.06
    tiers = found[(found["parameter"] == "agency_commission") & (found["applies_to"] != "all")]
    assert tiers["value"].tolist() == [0.20, 0.16, 0.25, 0.33]
    assert load_prices(PARAMS / "costs.yml").table("2019-01-01").table.empty
    assert PRICES.societal("2026-10-31") and not PRICES.societal("2019-12-31")


def test_a_book_without_payments_has_no_worth(tmp_path):
    from collectlab.book.open import open_book

    book = open_book(
        {
            "accounts": pd.DataFrame({"account_id": ["a"]}),
            "snapshots": pd.DataFrame({"account_id": ["a"], "as_of": ["2026-01-31"], "days_past_due": [3]}),
        }
    )
    with pytest.raises(NotAvailable, match="needs a table payments"):
        book_flows(book, PRICES)
