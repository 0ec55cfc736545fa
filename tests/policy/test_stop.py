"""When to stop: hand-worked chains, a known chain found again, the terms, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from collectlab.book.open import open_book
from collectlab.core.engine import collect
from collectlab.core.errors import FrameError, NotAvailable, ParamsError
from collectlab.policy.stop import Terms, load_terms, stop_rows, stopping
from collectlab.report.chapters import stop as chapter
from collectlab.report.month import open_month

ROOT = Path(__file__).parents[2]
EDGES = (90, 120, 150)
MARKET = {"unsecured": {90: 0.30}}


def moved(
    days: int, to: int, n: int, *, paid: float = 0.0, end: str = "open", cost: float = 0.0, left=None, start=0
):
    """``n`` accounts of 100 at ``days``, each seen a month later."""
    return pd.DataFrame(
        {
            "account_id": [f"{days}-{end}-{start + i}" for i in range(n)],
            "on": pd.Timestamp("2026-01-31"), "charged_off": False, "days_past_due": days, "balance": 100.0, "next": end,
            "next_days": float(to), "next_balance": (100.0 - paid) if left is None else left, "paid": paid, "cost": cost,
        }
    )  # fmt: skip


def chain(*parts: pd.DataFrame) -> pd.DataFrame:
    return pd.concat(parts, ignore_index=True)


def worth(found, policy: str) -> float:
    return float(found.policies.set_index("policy").loc[policy, "estimate"])


# Hand-worked -------------------------------------------------------------------------------------------


def test_two_months_by_hand():
    """At 90 days 10 of 100 are paid at a cost of 2; at 120 days 1 is paid at a cost of 2."""
    rows = chain(moved(95, 125, 40, paid=10, cost=2), moved(125, 155, 40, paid=1, cost=2))
    found = stopping(rows, Terms(prices=MARKET), edges=EDGES)
    assert worth(found, "sell at 90 days") == pytest.approx(0.30)
    assert worth(found, "sell at 120 days") == pytest.approx(0.08 + 0.9 * 0.30)
    assert worth(found, "sell at 150 days") == pytest.approx(0.08 + 0.9 * (-0.01 + 0.99 * 0.30))
    assert found.table["best"][0] == "sell at 120 days"
    steps = found.steps.set_index(["day", "option"])["estimate"]
    assert steps[120, "go on"] == pytest.approx(-0.01 + 0.99 * 0.30)
    assert steps[120, "sell"] == pytest.approx(0.30)


def test_later_money_is_worth_less_and_a_cure_is_worth_its_share():
    rows = chain(
        moved(95, 125, 30, paid=0), moved(95, 0, 10, paid=20, end="cured"), moved(125, 155, 30, paid=0)
    )
    terms = Terms(prices=MARKET, discount=0.12, cured_value=0.9)
    d = 1.12 ** (-1 / 12)
    found = stopping(rows, terms, edges=EDGES)
    exact = d**0.5 * 0.25 * 0.20 + d * (0.25 * 0.80 * 0.9 + 0.75 * 0.30)
    assert worth(found, "sell at 120 days") == pytest.approx(exact)


def test_tax_fees_and_settlements():
    rows = chain(moved(95, 125, 20), moved(95, 0, 20, paid=60, end="settled"), moved(125, 155, 20))
    terms = Terms(prices=MARKET, tax_rate=0.25, sale_cost=5.0, upkeep=1.0)
    found = stopping(rows, terms, edges=EDGES)
    sold = 0.25 + 0.25 * 0.75  # a price of 30 less 5, and the tax on what is lost
    assert worth(found, "sell at 90 days") == pytest.approx(sold)
    assert worth(found, "sell at 120 days") == pytest.approx(-0.01 + 0.5 * (0.60 + 0.25 * 0.40) + 0.5 * sold)


def test_todays_practice_stops_as_the_bank_stopped():
    """At 120 days half is charged off, worth 0.05 of it; the rest goes on to 150 days, where all is sold."""
    rows = chain(
        moved(95, 125, 20),
        moved(95, 125, 20, end="charged_off"),
        moved(125, 155, 20),
        moved(125, 155, 20, end="sold", left=0.0, start=50),
    )
    terms = Terms(prices=MARKET, after_write_off=0.05, write_off_from=120)
    found = stopping(rows, terms, edges=EDGES)
    # Of the half that goes on at 120 days, half is sold at 150 days; the rest there has not been worked: the best stop.
    assert worth(found, "today") == pytest.approx(0.5 * 0.05 + 0.5 * (0.5 * 0.30 + 0.5 * 0.30))
    row = found.table.iloc[0]
    assert row["today_day"] == pytest.approx((20 * 125 + 20 * 155) / 40)
    assert row["estimate"] == pytest.approx(worth(found, row["advised"]) - worth(found, "today"))


def test_what_is_recovered_after_a_write_off_is_the_books_own():
    after = pd.DataFrame(
        {
            "account_id": [f"x{i}" for i in range(40) for _ in range(2)],
            "on": pd.to_datetime(["2026-01-31", "2026-02-28"] * 40), "charged_off": True, "days_past_due": 200,
            "balance": [100.0, 95.0] * 40, "next": ["charged_off", None] * 40, "next_days": [230.0, np.nan] * 40,
            "next_balance": [95.0, np.nan] * 40, "paid": [5.0, 0.0] * 40, "cost": 0.0,
        }
    )  # fmt: skip
    rows = chain(moved(95, 125, 20), moved(125, 155, 20), after)
    found = stopping(
        rows, Terms(prices={"unsecured": {}}, write_off_from=90, after_write_off=0.5), edges=EDGES
    )
    assert worth(found, "write off at 90 days") == pytest.approx(0.05)


def test_nobody_goes_on_where_nobody_has_tried():
    rows = chain(moved(95, 125, 40, paid=10), moved(125, 155, 5, paid=50), moved(155, 185, 40, paid=50))
    found = stopping(rows, Terms(prices=MARKET), edges=(90, 120, 150, 180))
    assert set(found.policies["policy"]) == {"sell at 90 days", "sell at 120 days", "today"}
    assert found.steps["day"].max() == 90


def test_a_last_step_that_nothing_leaves_is_no_place_to_go_on_for_ever():
    stuck = moved(155, 185, 40)
    found = stopping(chain(moved(95, 125, 40), moved(125, 155, 40), stuck), Terms(prices=MARKET), edges=EDGES)
    assert "go on throughout" not in set(found.policies["policy"])
    pays = stopping(
        chain(moved(95, 125, 40), moved(125, 155, 40), moved(155, 185, 40, paid=10)), Terms(prices=MARKET), edges=EDGES
    )  # fmt: skip
    # 0.1 + 0.9 · 0.1 + … = 1 of the balance in the end.
    assert worth(pays, "go on throughout") == pytest.approx(1.0)


def test_the_price_floor_is_where_the_gain_is_gone():
    rows = chain(
        moved(95, 125, 40, paid=4),
        moved(125, 155, 40, end="charged_off"),
        moved(155, 185, 20, end="charged_off"),
    )
    terms = Terms(prices={"unsecured": {90: 0.40}}, after_write_off=0.10, write_off_from=150)
    row = stopping(rows, terms, edges=(90, 120, 150, 180)).table.iloc[0]
    assert row["advised"].startswith("sell")
    floor = row["price_floor"]
    at = Terms(prices={"unsecured": {90: 0.40 * floor}}, after_write_off=0.10, write_off_from=150)
    again = stopping(rows, at, edges=(90, 120, 150, 180)).policies.set_index("policy")
    assert again.loc[row["advised"], "gain"] == pytest.approx(0, abs=1e-9)


# Suing and collateral ----------------------------------------------------------------------------------


def sued(
    n: int, months: int = 6, *, paid: float = 10.0, cost: float = 6.0, start: int = 0, id: str = "s"
) -> pd.DataFrame:
    """``n`` accounts sued in January at 95 days: what they pay and cost comes in the first month, then nothing."""
    rows = [
        moved(95 + 30 * k, 125 + 30 * k, n, paid=paid * (k == 0), cost=cost * (k == 0), left=100 - paid).assign(
            account_id=[f"{id}{i}" for i in range(n)], on=pd.Timestamp("2026-01-31") + pd.DateOffset(months=start + k),
            balance=100.0 if k == 0 else 100 - paid, filed=float(k == 0), court_cost=5.0 * (k == 0), court_back=3.0 * (k == 0),
        )
        for k in range(months)
    ]  # fmt: skip
    return pd.concat(rows, ignore_index=True)


EIGHT = tuple(range(90, 301, 30))


def test_suing_by_hand():
    """Going on at 90 days: 40 pay 20, the 12 sued 10 at a cost of 6, each 1 of upkeep; then all is sold at 0.30."""
    rows = chain(moved(95, 125, 40, paid=20), sued(12))
    found = stopping(rows, Terms(prices=MARKET, upkeep=1.0), edges=EIGHT)
    assert found.table["best"][0] == "sell at 120 days"
    row = found.suing.iloc[0]
    assert (row["age"], row["cases"]) == ("90 to 179 days", 12)
    without = (40 * 20 + 12 * (10 - 6) - 52 + 0.3 * (40 * 80 + 12 * 90)) / 5200
    assert row["worth_without"] == pytest.approx(without)
    # Six months of upkeep, and what is owed after is sold.
    assert row["worth_sued"] == pytest.approx(0.10 - 0.06 - 6 * 0.01 + 0.9 * 0.30)
    assert row["estimate"] == pytest.approx(row["worth_sued"] - without)
    assert (row["court_cost"], row["court_back"]) == (0.05, 0.03)
    # In each month, accounts with a balance of 80 or 90 get to 120 days; those first seen at 95 count at no edge.
    assert row["gain"] == 0 and found.table["balance_a_month"][0] == 0


def test_a_cure_ends_a_case_and_a_discount_counts_the_months():
    cured = sued(12, 1).assign(next="cured", next_days=0.0, next_balance=80.0, paid=20.0)
    rows = chain(moved(95, 125, 40, paid=20), cured.assign(account_id=[f"c{i}" for i in range(12)]), sued(12))
    terms = Terms(prices=MARKET, discount=0.12, cured_value=0.9)
    row = stopping(rows, terms, edges=EIGHT).suing.iloc[0]
    d = 1.12 ** (-1 / 12)
    each = (d**0.5 * 0.14 + d * 0.80 * 0.9, d**0.5 * 0.04 + d**6 * 0.90 * 0.30)
    assert row["worth_sued"] == pytest.approx(sum(each) / 2) and row["cases"] == 24


def test_cases_filed_too_late_to_be_followed_count_in_no_way():
    on = moved(95, 125, 40, paid=20)
    assert stopping(chain(on, sued(12, 5)), Terms(prices=MARKET), edges=EIGHT).suing.empty
    # Paid up at once, but filed only in February: counting it would favour quick ends.
    late = sued(12, 1, start=1, id="late").assign(next="closed", paid=100.0, next_balance=0.0)
    found = stopping(chain(on, sued(12), late), Terms(prices=MARKET), edges=EIGHT).suing
    assert found["cases"].tolist() == [12]
    # A month that is missing hides the rest; nine cases are too few.
    gap = sued(12).pipe(lambda t: t[~((t["account_id"] < "s2") & (t["days_past_due"] == 155))])
    assert stopping(chain(on, gap), Terms(prices=MARKET), edges=EIGHT).suing.empty
    assert stopping(chain(on, sued(9)), Terms(prices=MARKET), edges=EIGHT).suing.empty


def test_suits_that_change_nothing_are_not_told_to_pay():
    """All go on for eight months alike; 60 of 300 are called sued by lot."""
    more, wrong = [], 0
    for seed in range(8):
        luck, n = np.random.default_rng(seed), 300
        balance, alive, rows = np.full(n, 100.0), np.ones(n, bool), []
        chosen = luck.permutation(n) < 60
        for k in range(8):
            paid = np.where(luck.random(n) < 0.15, balance / 3, 0.0)
            cures = luck.random(n) < 0.05
            rows.append(pd.DataFrame({
                "account_id": [f"a{i}" for i in range(n)], "on": pd.Timestamp("2026-01-31") + pd.DateOffset(months=k),
                "charged_off": False, "days_past_due": 95 + 30 * k, "balance": balance, "next": np.where(cures, "cured", "open"),
                "next_days": np.where(cures, 0.0, 125 + 30 * k), "next_balance": balance - paid, "paid": paid, "cost": 0.0,
                "filed": (chosen & (k == 0)).astype(float)})[alive])  # fmt: skip
            balance, alive = balance - paid, alive & ~cures
        found = stopping(chain(*rows), Terms(prices={"unsecured": {90: 0.0}}), edges=(*EIGHT, 330)).suing
        more.append(found["estimate"][0])
        wrong += found["verdict"][0] != "cannot tell"
    assert abs(np.mean(more)) < 0.03 and wrong <= 1  # standard error of the mean of 8: 0.008


def test_no_verdict_on_secured_debt_and_a_weaker_one_where_the_book_does_not_say():
    rows = chain(moved(95, 125, 40, paid=1), moved(125, 155, 40, end="charged_off", paid=1))
    terms = Terms(prices={"unsecured": {90: 0.60}, "secured": {90: 0.60}}, write_off_from=150)
    plain = stopping(rows, terms, edges=EDGES)
    assert (
        plain.table["verdict"][0] == "stop earlier" and plain.table["grade"][0] == "model" and plain.plottable
    )
    secured = stopping(rows.assign(market="secured"), terms, edges=EDGES)
    assert secured.table["verdict"][0] == "not told: collateral is not in the book"
    assert secured.table["grade"][0] == "not identifiable" and not secured.plottable
    assert secured.table["estimate"][0] == plain.table["estimate"][0]
    one = rows.assign(market=["secured"] + ["unsecured"] * (len(rows) - 1))
    assert stopping(one, terms, edges=EDGES).table["verdict"][0].startswith("not told")
    untold = stopping(rows.assign(market="not told"), terms, edges=EDGES)
    assert (untold.table["verdict"][0], untold.table["grade"][0]) == ("stop earlier", "not identifiable")
    assert sum("does not say" in note for note in untold.notes) == 1
    assert untold.table["estimate"][0] == plain.table["estimate"][0]


# A known chain, found again ----------------------------------------------------------------------------

CURES, PAYS, PRICE = np.array([0.10, 0.02, 0.01]), np.array([0.06, 0.03, 0.01]), 0.25


def truth() -> dict[str, float]:
    """Worth of stopping at each point: a month brings its payments, cures are worth what is left, the rest goes on."""
    out = {}
    for stop in range(4):
        v = PRICE
        for t in range(stop - 1, -1, -1):
            v = PAYS[t] + (1 - PAYS[t]) * (CURES[t] + (1 - CURES[t]) * v)
        out[f"sell at {90 + 30 * stop} days"] = v
    return out


def lives(seed: int, n: int) -> pd.DataFrame:
    luck = np.random.default_rng(seed)
    rows = []
    for t in range(3):
        ids = np.array([f"c{i}" for i in range(n)])
        balance = np.exp(luck.normal(5, 0.5, n))
        pays = luck.random(n) < 3 * PAYS[t]  # a third of the balance, now and then
        cures = luck.random(n) < CURES[t]
        paid = np.where(pays, balance / 3, 0.0)
        rows.append(
            pd.DataFrame(
                {
                    "account_id": ids, "on": pd.Timestamp("2026-01-31") + pd.DateOffset(months=t), "charged_off": False,
                    "days_past_due": 95 + 30 * t, "balance": balance, "next": np.where(cures, "cured", "open"),
                    "next_days": np.where(cures, 0.0, 125.0 + 30 * t), "next_balance": balance - paid, "paid": paid,
                    "cost": 0.0,
                }
            )
        )  # fmt: skip
        n = int(n * 0.8)
    return pd.concat(rows, ignore_index=True)


def test_intervals_hold_the_truth_of_a_known_chain():
    exact, held, errors, reps = truth(), [], [], 12
    for seed in range(reps):
        found = stopping(
            lives(seed, 250), Terms(prices={"unsecured": {90: PRICE}}), edges=(90, 120, 150, 180)
        )
        table = found.policies.set_index("policy").drop("today")
        for policy in list(exact)[1:]:
            row = table.loc[policy]
            held.append(row["conf_low"] <= exact[policy] <= row["conf_high"])
            errors.append(row["estimate"] - exact[policy])
    assert np.mean(held) > 0.85  # nominal 0.95; 12 books of 3 points that hang together
    assert abs(np.mean(errors)) < 0.012
    best = max(exact, key=exact.get)
    large = stopping(lives(99, 4_000), Terms(prices={"unsecured": {90: PRICE}}), edges=(90, 120, 150, 180))
    assert best in (large.table["best"][0], *large.table["as_good"])


def test_a_practice_as_good_as_the_best_is_rarely_called_worse():
    """Half are sold at 120 days; a further month there costs what it brings, so it makes no difference."""
    wrong = 0
    for seed in range(12):
        luck = np.random.default_rng(seed)

        def month(days: int, end: str, start: int, cost: float, luck=luck) -> pd.DataFrame:
            rows = moved(days, days + 30, 60, end=end, cost=cost, start=start)
            rows["paid"] = np.where(luck.random(60) < 0.1, 30.0, 0.0)
            return rows.assign(next_balance=np.where(end == "sold", 0.0, 100 - rows["paid"]))

        parts = month(95, "sold", 0, 0.0), month(95, "open", 100, 0.0), month(125, "open", 0, 0.1 * 30 * 0.7)
        found = stopping(chain(*parts), Terms(prices=MARKET), edges=EDGES)
        wrong += found.table["verdict"][0] != "cannot tell"
    assert wrong <= 2


def test_an_exact_tie_is_no_verdict():
    rows = chain(
        moved(95, 125, 30, paid=3, end="sold", left=0.0),
        moved(95, 125, 30, paid=3, start=50),
        moved(125, 155, 30),
    )
    assert stopping(rows, Terms(prices=MARKET), edges=EDGES).table["verdict"][0] == "cannot tell"


# Rows of a book ----------------------------------------------------------------------------------------


def small_book(**tables) -> object:
    ends = ["2026-01-31", "2026-02-28", "2026-03-31"]
    return open_book(
        {
            "accounts": pd.DataFrame({"account_id": ["a", "b"], "secured": [True, False], "product": ["auto", "card"]}),
            "snapshots": pd.DataFrame({
                "account_id": ["a"] * 3 + ["b"] * 3, "as_of": ends * 2, "days_past_due": [95, 123, 0, 170, 198, 229],
                "balance": [1000.0, 1000.0, 800.0, 500.0, 500.0, 450.0],
                "status": ["open"] * 4 + ["charged_off"] * 2}),
            "payments": pd.DataFrame({"account_id": ["a", "a", "b", "b"], "amount": [150.0, 50.0, 50.0, 7.0],
                                      "paid_on": ["2026-03-01", "2026-03-31", "2026-03-05", "2026-01-31"]}),
            **tables,
        }
    )  # fmt: skip


def test_the_rows_of_a_small_book():
    rows = stop_rows(small_book(), by="product").set_index(["account_id", "days_past_due"])
    assert rows["next"].to_dict() == {
        ("a", 95): "open", ("a", 123): "cured", ("b", 170): "charged_off", ("b", 198): "charged_off", ("b", 229): None,
    }  # fmt: skip
    assert rows["paid"].to_dict() == {
        ("a", 95): 0, ("a", 123): 200, ("b", 170): 0, ("b", 198): 50, ("b", 229): 0,
    }  # fmt: skip
    assert rows["market"].tolist() == ["secured"] * 2 + ["unsecured"] * 3
    assert rows["charged_off"].tolist() == [False, False, False, True, True]
    assert rows["filed"].tolist() == [0] * 5


def test_a_book_that_does_not_say_what_is_secured():
    accounts = pd.DataFrame({"account_id": ["a", "b"], "product": ["auto", "card"]})
    assert set(stop_rows(small_book(accounts=accounts))["market"]) == {"not told"}
    accounts["secured"] = [True, None]
    assert stop_rows(small_book(accounts=accounts))["market"].tolist() == ["secured"] * 2 + ["not told"] * 3


def test_actions_cases_and_complaints_cost():
    book = small_book(
        actions=pd.DataFrame({"account_id": ["a"], "at": ["2026-02-10 10:00"], "channel": ["call"]}),
        legal_cases=pd.DataFrame({"account_id": ["a"], "filed_on": ["2026-02-20"], "cost": [300.0]}),
        complaints=pd.DataFrame({"account_id": ["a"], "at": ["2026-03-02 09:00"]}),
    )
    rows = stop_rows(book, unit_costs={"call": 2.5}, complaint=320.0)
    assert rows["cost"].tolist() == [302.5, 320.0, 0, 0, 0]
    with pytest.raises(FrameError, match="no cost is known for call"):
        stop_rows(book)


def test_the_first_case_of_an_account_is_marked_with_its_money():
    cases = pd.DataFrame({"account_id": ["a", "a", "b"], "filed_on": ["2026-02-20", "2026-03-20", "2026-02-10"],
                          "cost": [300.0, 80.0, None], "recovered": [40.0, None, 25.0]})  # fmt: skip
    rows = stop_rows(small_book(legal_cases=cases))
    assert rows["filed"].tolist() == [1, 0, 1, 0, 0]
    assert rows["court_cost"].tolist() == [300, 0, 0, 0, 0]
    assert rows["court_back"].tolist() == [40, 0, 25, 0, 0]
    assert rows["cost"].tolist() == [300, 80, 0, 0, 0]
    priced = stop_rows(
        small_book(legal_cases=cases), case_costs=cases.assign(cost=cases["cost"].fillna(55.0))
    )
    assert priced["cost"].tolist() == [300, 80, 55, 0, 0]


# Bad input ---------------------------------------------------------------------------------------------


def test_terms_out_of_range_are_told_at_once():
    with pytest.raises(ParamsError) as error:
        Terms(prices={"unsecured": {90: 1.4}}, sale_cost=-1, upkeep=-2, discount=1.5, tax_rate=-0.1)
    assert len(error.value.faults) == 5


def test_a_market_without_a_price_is_named():
    rows = moved(95, 125, 30).assign(market="secured")
    with pytest.raises(ParamsError, match="no sale price is stated for secured debt"):
        stopping(rows, Terms(prices=MARKET), edges=EDGES)
    with pytest.raises(NotAvailable, match="from which stopping is allowed"):
        stopping(rows, Terms(prices={"secured": {}}), edges=EDGES)


def test_rows_that_cannot_be_used():
    rows = moved(95, 125, 30)
    with pytest.raises(FrameError, match="no column 'paid'"):
        stopping(rows.drop(columns="paid"), Terms(prices=MARKET))
    with pytest.raises(FrameError) as error:
        stopping(rows.assign(paid=-1.0, next="lost"), Terms(prices=MARKET), edges=(120, 90))
    assert len(error.value.faults) == 3
    with pytest.raises(NotAvailable):
        stopping(rows.iloc[:0], Terms(prices=MARKET))
    with pytest.raises(NotAvailable, match="10 accounts"):
        stopping(rows.iloc[:1], Terms(prices=MARKET), edges=EDGES)


def test_books_that_cannot_tell():
    book = small_book()
    with pytest.raises(NotAvailable, match="two months"):
        stop_rows(book, end="2026-01-31")
    bare = {"accounts": pd.DataFrame({"account_id": ["a"]}),
            "snapshots": pd.DataFrame({"account_id": ["a"] * 2, "as_of": ["2026-01-31", "2026-02-28"],
                                       "days_past_due": [0, 5]})}  # fmt: skip
    with pytest.raises(NotAvailable, match="needs a balance"):
        stop_rows(open_book(bare))
    bare["snapshots"]["balance"] = 10.0
    with pytest.raises(NotAvailable, match="needs payments"):
        stop_rows(open_book(bare))
    with pytest.raises(FrameError, match="no column branch"):
        stop_rows(book, by="branch")


def test_the_file_of_terms(tmp_path):
    text = (ROOT / "params/stop.yml").read_text(encoding="utf-8")
    held = load_terms(ROOT / "params", "2026-10-31")
    assert (held.prices["unsecured"][90], held.prices["secured"][360]) == (0.10, 0.35)
    assert held.complaint > 0 and held.discount > 0
    assert load_terms(ROOT / "params", "2025-10-31").prices["unsecured"][90] == 0.12
    for old, new, told in (
        ("upkeep:", "upkeeps:", "no such key 'upkeeps'"),
        ("value: 0.45", "value: 1.45", "1.45 is out of range"),
        ("{value: 80,", "{value: -80,", "-80 is out of range"),
    ):
        (tmp_path / "stop.yml").write_text(text.replace(old, new, 1), encoding="utf-8")
        with pytest.raises(ParamsError, match=None) as error:
            load_terms(tmp_path, "2026-10-31")
        assert told in str(error.value)


# The chapter -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def example():
    return open_month(ROOT / "data/example", "2026-10", contact_rules="cn", params=ROOT / "params")


def traced(option, table: pd.DataFrame) -> None:
    for figure in option.figures:
        row = table
        for column, value in figure.where.items():
            row = row[row[column] == value]
        assert float(row[figure.column].iloc[0]) == figure.value


def test_secured_debt_is_compared_and_never_advised(example):
    shown = chapter.points(example)
    table = shown.table.set_index("product")
    assert set(table.index) == {"auto", "card", "consumer", "mortgage", "small_business"}
    secured = table["verdict"] == "not told: collateral is not in the book"
    assert sorted(table.index[secured]) == ["auto", "mortgage"]
    # The sale of these would look surely better, as going on counts payments only.
    assert (table.loc[secured, "gain_low"] > 0).all()
    assert table["grade"].eq("not identifiable").equals(secured)
    assert not {w for o in chapter.options(example) for w in ("auto", "mortgage") if w in o.whom}
    assert [t.get_text() for t in shown.plot().get_legend().get_texts()] == [
        "card",
        "consumer",
        "small business",
    ]
    blank = shown.result.table.assign(
        estimate=shown.table["estimate"].where(shown.table["product"] != "card")
    )
    held_back = replace(shown.result, table=blank)
    assert [t.get_text() for t in held_back.plot().get_legend().get_texts()] == ["consumer", "small business"]
    assert sum("collateral" in note for note in shown.result.notes) == 1
    wide = chapter.worth(example).table
    assert len(wide) < 40 and wide["sell"].between(0, 1).all()


def test_an_option_says_what_it_rests_on(example, tmp_path):
    """Where buyers pay 0.95 for unsecured debt, it is better sold."""
    for file in (ROOT / "params").glob("*.yml"):
        (tmp_path / file.name).write_text(file.read_text(encoding="utf-8"), encoding="utf-8")
    text = (tmp_path / "stop.yml").read_text(encoding="utf-8")
    (tmp_path / "stop.yml").write_text(text.replace("value: 0.10,", "value: 0.95,"), encoding="utf-8")
    dear = open_month(example.book, "2026-10", params=tmp_path)
    shown, options = chapter.points(dear), chapter.options(dear)
    assert {o.whom.split(":")[0] for o in options} == {"consumer", "card", "small business"}
    assert [o.net for o in options] == sorted((o.net for o in options), reverse=True)
    for option in options:
        assert option.sure and option.grade == "model" and option.what.startswith("Sell at ")
        assert "2025-12" in option.words and "% of them" in option.words
        assert {f.column for f in option.figures} >= {"gain", "gain_low", "gain_high", "price_floor"}
        traced(option, shown.table)


def test_suing_is_advised_only_where_the_comparison_bears_it_out(example):
    shown = chapter.suing(example)
    assert "not advised anywhere" in " ".join(shown.result.notes)
    assert not [o for o in chapter.options(example) if o.key.startswith("sue_")]
    held, (verdict, compared) = chapter.found(example), example.once("suing", lambda: None)
    good = held.suing.assign(gain_low=1.0)
    for direction in ("raises", "not decided"):
        month = open_month(example.book, "2026-10", params=ROOT / "params")
        month.once("when to stop", lambda: replace(held, suing=good))
        month.once("suing", lambda d=direction: (replace(verdict, direction=d), compared))
        sued = [o for o in chapter.options(month) if o.key.startswith("sue_")]
        assert [o.whom.split(":")[0] for o in sued] == (
            ["small business", "card", "consumer"] if direction == "raises" else []
        )
        for option in sued:
            assert option.grade == verdict.grade == "suggestive"
            traced(option, chapter.suing(month).table)


def test_a_book_that_does_not_say_what_is_secured_is_advised_on_unsecured_debt_alone(example):
    held, (verdict, compared) = chapter.found(example), example.once("suing", lambda: None)
    month = open_month(example.book, "2026-10", params=ROOT / "params")
    weak = held.table.assign(grade="not identifiable", verdict="sell instead", gain_low=1.0)
    month.once("when to stop", lambda: replace(held, table=weak, suing=held.suing.assign(gain_low=1.0)))
    month.once("suing", lambda: (replace(verdict, direction="raises"), compared))
    options = chapter.options(month)
    assert {o.key.split("_")[0] for o in options} == {"stop", "sue"}
    assert all("unsecured accounts" in o.whom for o in options)
    assert {o.grade for o in options if o.key.startswith("stop")} == {"not identifiable"}


def test_cases_without_a_cost_leave_suing_out(example):
    tables = {
        name: collect(example.book.table(name))
        for name in ("accounts", "snapshots", "payments", "legal_cases")
    }
    tables["legal_cases"].loc[:20, "cost"] = None
    month = open_month(tables, "2026-10", params=ROOT / "params")
    left_out = chapter.suing(month).left_out
    assert "court cases cost is not known" in left_out and "L0" not in left_out
    assert chapter.points(month).result is not None


def test_books_that_cannot_tell_of_stopping(example):
    first = open_month(example.book, "2024-11", params=ROOT / "params")
    assert "two months" in chapter.points(first).left_out
    assert chapter.options(first) == [] and chapter.suing(first).left_out
    old = pd.DataFrame(
        {"account_id": "a", "as_of": pd.to_datetime(["2015-01-31", "2015-02-28"]), "days_past_due": 95}
    )
    bare = {"accounts": pd.DataFrame({"account_id": ["a"]}), "snapshots": old}
    assert (
        "in force on 2015-02-28"
        in chapter.points(open_month(bare, "2015-02", params=ROOT / "params")).left_out
    )
