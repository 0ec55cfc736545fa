"""Present value: against plain loops, undiscounted at rate 0, right where follow-up is short."""

from __future__ import annotations

import numpy as np
import pandas as pd
import polars as pl
import pytest

from collectlab.book.open import open_book
from collectlab.book.simulate import simulate
from collectlab.core import engine
from collectlab.core.errors import FrameError, NotAvailable
from collectlab.effects.after_assignment import first_episodes
from collectlab.measures.recovery_net import net_curve
from collectlab.measures.worth.present_value import present_value
from collectlab.measures.worth.present_value_money import MoneyFlows, book_flows, money_flows
from collectlab.measures.worth.present_value_rows import discount, present_values
from collectlab.measures.worth.prices import Prices, load_prices

DAY0 = pd.Timestamp("2026-01-01")
RATES = {"rate": 0.25, "funding_rate": 0.10}


def spells(*rows, **extra) -> pd.DataFrame:
    """account, first day, entry, exit, outcome, owed."""
    columns = ["account_id", "started_on", "entry_day", "exit_day", "outcome", "amount_at_entry"]
    frame = pd.DataFrame(rows, columns=columns)
    frame["started_on"] = DAY0 + pd.to_timedelta(frame["started_on"], unit="D")
    return frame.assign(observed_day=frame["exit_day"], **extra)


def paid(*rows) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=["account_id", "paid_on", "amount"])
    return frame.assign(
        paid_on=DAY0 + pd.to_timedelta(frame["paid_on"], unit="D"), amount=frame["amount"].astype(float)
    )


def acted(*rows) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=["account_id", "at", "cost"])
    return frame.assign(
        at=DAY0 + pd.to_timedelta(frame["at"], unit="D"), channel="call", cost=frame["cost"].astype(float)
    )


def flows(payments, actions=None, **numbers) -> MoneyFlows:
    return money_flows(payments, actions, prices=Prices.of(numbers))


def at(found, measure: str, day: int) -> float:
    rows = found.table[(found.table["measure"] == measure) & (found.table["day"] == day)]
    assert len(rows) == 1
    return float(rows["estimate"].iloc[0])


def test_money_by_hand():
    frame = spells(("a", 0, 0, 400, "censored", 100), ("b", 0, 0, 400, "censored", 300))
    money = flows(paid(("a", 365, 80)), acted(("a", 0, 2), ("b", 365, 4)))
    found = present_value(frame, money, rate=0.25, by=None, horizon=400)
    # a year at 25 %: what comes then is worth four fifths
    assert at(found, "paid", 400) == pytest.approx(40 * 0.8)
    assert at(found, "actions", 400) == pytest.approx((2 + 4 * 0.8) / 2)
    assert at(found, "net", 400) == pytest.approx(32 - 2.6)
    assert at(found, "net", 364) == pytest.approx(-1)


def test_what_is_outstanding_costs_by_the_day_until_it_is_paid():
    frame = spells(("a", 0, 0, 20, "censored", 365), ("b", 0, 0, 10, "cured", 365))
    money = flows(paid(("a", 4, 165), ("b", 10, 365)))
    found = present_value(pad(frame), money, rate=0.0, funding_rate=0.1, by=None, horizon=40)
    # a: 365 on days 1 to 4, then 200; b: 365 on days 1 to 10; 0.1 / 365 a day and unit; c owes a cent for long
    a, b = 0.1 * (4 + 16 * 200 / 365), 0.1 * 10
    assert at(found, "funding", 20) == pytest.approx((a + b) / 3, abs=1e-4)


def pad(frame: pd.DataFrame) -> pd.DataFrame:
    """One more account that owes next to nothing and is followed for long."""
    return pd.concat([frame, spells(("zz", 0, 0, 60, "censored", 0.01))], ignore_index=True)


def loop(frame: pd.DataFrame, payments: pd.DataFrame, actions: pd.DataFrame, horizon: int):
    """The mean-cumulative net by its definition, at 25 % a year and funds at 10 %, day by day."""
    v, stay, total = 1.25 ** (-1 / 365), 1.0, np.zeros(horizon + 1)
    rows = frame.to_dict("records")
    for row in rows:
        row["left"], row["got"], row["spent"] = row["amount_at_entry"], np.zeros(100), np.zeros(100)
        for column, table, on, money in (
            ("got", payments, "paid_on", "amount"),
            ("spent", actions, "at", "cost"),
        ):
            mine = table[table["account_id"] == row["account_id"]]
            np.add.at(row[column], (mine[on] - row["started_on"]).dt.days.to_numpy(), mine[money].to_numpy())
    for day in range(horizon + 1):
        here = [
            r for r in rows if r["entry_day"] < day <= r["exit_day"] or (day == 0 and r["entry_day"] == 0)
        ]
        flow = 0.0
        for row in here:
            counted = min(row["got"][day], row["left"])
            flow += counted - row["spent"][day] - (0.10 / 365 * row["left"] if day else 0)
            row["left"] -= counted
        if here:
            total[day] = v**day * stay * flow / len(here)
            final = [r for r in here if r["exit_day"] == day and r["outcome"] in ("cured", "settled", "sold")]
            stay *= 1 - len(final) / len(here)
    return np.cumsum(total)


@pytest.mark.parametrize("seed", [1, 3])
def test_the_curve_is_its_definition_day_by_day(seed):
    rng = np.random.default_rng(seed)
    outcomes = ["censored", "cured", "charged_off", "sold", "settled"]
    rows = []
    for i in range(24):
        entry = int(rng.integers(1, 15)) if i % 4 == 1 else 0
        outcome = outcomes[int(rng.integers(0, 5))] if i else "censored"
        # after a charge-off the work goes on to the end of the book, which is the same day for all here
        last = i == 0 or outcome == "charged_off"
        end = 50 if last else entry + int(rng.integers(1, 35))
        rows.append((f"k{i:02d}", 0, entry, end, outcome, float(rng.integers(5, 400))))
    frame = spells(*rows).assign(observed_day=50)

    def some(top: int) -> list[tuple[str, int, float]]:
        who = rng.integers(0, 24, 70)
        days = [int(rng.integers(rows[i][2] + (rows[i][2] > 0), 50)) for i in who]
        return [(f"k{i:02d}", d, float(x)) for i, d, x in zip(who, days, rng.integers(1, top, 70))]

    money, done = paid(*some(120)), acted(*some(9))
    found = present_value(frame, flows(money, done), by=None, horizon=45, **RATES)
    net = found.table[found.table["measure"] == "net"]["estimate"].to_numpy()
    assert net == pytest.approx(loop(frame, money, done, 45), abs=1e-3)


@pytest.fixture(scope="module")
def bank():
    made = simulate(accounts=500, months=12, truth_accounts=0, problems=())
    book = open_book(made.book_tables)
    prices = load_prices("params/costs.yml", "params/fees.yml")
    rows = engine.collect(first_episodes(book, book.episodes("current_once")))
    return book, book_flows(book, prices), rows.sort_values("account_id", ignore_index=True)


def test_an_accounts_value_is_a_plain_loop_over_its_money(bank):
    book, money, rows = bank
    found = present_values(rows, money, horizon=90, amount="amount_at_entry", **RATES).set_index("account_id")
    told = {t: engine.collect(book.table(t)) for t in ("payments", "actions", "complaints")}
    for row in rows[rows["observed_day"] >= 90].head(25).itertuples():
        start, v = pd.Timestamp(row.started_on), 1.25 ** (-1 / 365)
        by_day = np.zeros(91)
        for p in told["payments"][told["payments"]["account_id"] == row.account_id].itertuples():
            day = (pd.Timestamp(p.paid_on) - start).days
            if 0 <= day <= 90:
                by_day[day] += p.amount
        spent = sum(
            a.cost * v**day
            for a in told["actions"][told["actions"]["account_id"] == row.account_id].itertuples()
            if 0 <= (day := (pd.Timestamp(a.at).normalize() - start).days) <= 90
        )
        complained = sum(
            (320 + 1_100 * bool(c.upheld)) * v**day
            for c in told["complaints"][told["complaints"]["account_id"] == row.account_id].itertuples()
            if 0 <= (day := (pd.Timestamp(c.at).normalize() - start).days) <= 90
            and pd.Timestamp(c.at).year >= 2025
        )
        left = np.maximum(row.amount_at_entry - np.concatenate([[0], np.cumsum(by_day)[:-1]]), 0)
        funding = 0.10 / 365 * sum(left[s] * v**s for s in range(1, 91))
        mine = found.loc[row.account_id]
        assert mine["value_paid"] == pytest.approx(sum(by_day[s] * v**s for s in range(91)), abs=1e-3)
        assert mine["value_actions"] == pytest.approx(spent, abs=1e-3)
        assert mine["value_complaints"] == pytest.approx(complained, abs=1e-3)
        assert mine["value_funding"] == pytest.approx(funding, abs=1e-3)
        costs = sum(mine[f"value_{k}"] for k in ("actions", "complaints", "funding", "commission", "legal"))
        assert mine["value_net"] == pytest.approx(mine["value_paid"] - costs)
        assert mine["value_society"] == pytest.approx(mine["value_net"] - mine["value_debtor"])


def test_with_full_follow_up_the_curve_is_the_mean_of_the_accounts(bank):
    _, money, rows = bank
    rows = rows[(rows["observed_day"] >= 90) & (rows["amount_at_entry"] > 0)]
    options = {"horizon": 90, **RATES}
    each = present_values(rows, money, amount="amount_at_entry", **options)
    found = present_value(rows, money, through="follow_up", control="champion", **options)
    means = each.groupby("strategy")[["value_net", "value_society", "value_paid", "value_funding"]].mean()
    for arm in ("champion", "challenger"):
        for measure in ("net", "society", "paid", "funding"):
            part = found.table[(found.table["strategy"] == arm) & (found.table["measure"] == measure)]
            assert part["estimate"].iloc[-1] == pytest.approx(means.loc[arm, f"value_{measure}"], abs=1e-3)
    gap = found.differences[(found.differences["measure"] == "net") & (found.differences["day"] == 90)].iloc[
        0
    ]
    assert gap["estimate"] == pytest.approx(
        means["value_net"].diff().abs().iloc[1] * np.sign(gap["estimate"]), abs=1e-2
    )
    # the jackknife's error of the difference is about that of two independent means
    spread = each.groupby("strategy")["value_net"].agg(["var", "size"])
    assert gap["std_error"] == pytest.approx(np.sqrt((spread["var"] / spread["size"]).sum()), rel=0.35)


def test_at_rate_0_it_is_the_undiscounted_curve(bank):
    book, _, rows = bank
    money, log = book.table("payments"), book.table("actions")
    bare = flows(money, log)
    found = present_value(rows, bare, rate=0.0, by="strategy", horizon=120)
    plain = net_curve(rows, money, log, by="strategy", per="episode", horizon=120)
    for measure, name in (("paid", "recovered"), ("actions", "cost"), ("net", "net")):
        for column in ("estimate", "std_error"):
            mine = found.table[found.table["measure"] == measure][column].to_numpy()
            assert mine == pytest.approx(
                plain.table[plain.table["measure"] == name][column].to_numpy(), nan_ok=True
            )
    later = present_value(rows, bare, rate=0.5, by="strategy", horizon=120)
    assert (at_end(later, "paid") < at_end(found, "paid")).all()


def at_end(found, measure: str) -> np.ndarray:
    rows = found.table[(found.table["measure"] == measure) & (found.table["day"] == found.horizon)]
    return rows["estimate"].to_numpy()


def test_short_follow_up_is_neither_left_out_nor_taken_for_unpaid():
    whole = [(f"w{i}", 0, 0, 60, "censored", 100) for i in range(10)]
    short = [(f"s{i}", 0, 0, 20, "censored", 100) for i in range(10)]
    money = flows(paid(*((a, 10, 10) for a, *_ in (*whole, *short)), *((a, 40, 30) for a, *_ in whole)))
    found = present_value(spells(*whole, *short), money, rate=0.0, by=None, horizon=60)
    assert at(found, "net", 60) == pytest.approx(40)
    assert found.at(60)["episodes"].tolist() == [10, 10]
    kept = present_values(spells(*whole, *short), money, horizon=60)
    assert len(kept) == 10 and kept["value_net"].tolist() == [40.0] * 10


def test_through_the_follow_up_counts_what_came_after_the_cure():
    frame = spells(("a", 0, 0, 10, "cured", 50), ("b", 0, 0, 60, "censored", 50)).assign(observed_day=60)
    money = flows(paid(("a", 10, 70), ("a", 40, 20)))
    of = {"rate": 0.0, "by": None, "horizon": 60}
    assert at(present_value(frame, money, **of), "paid", 60) == pytest.approx(25)
    assert at(present_value(frame, money, through="follow_up", **of), "paid", 60) == pytest.approx(45)
    twice = pd.concat([frame, spells(("a", 20, 0, 30, "cured", 5))])
    with pytest.raises(FrameError, match=r"several episodes \(a\)"):
        present_value(twice, money, through="follow_up", **of)
    with pytest.raises(FrameError, match="stand more than once"):
        present_values(twice, money, horizon=5)


def test_one_month_of_history_is_not_enough():
    frame = spells(("a", 0, 0, 30, "censored", 50), ("b", 3, 0, 27, "censored", 50))
    money = flows(paid(("a", 10, 70)))
    with pytest.raises(NotAvailable, match=r"followed for 30 days at most.*more than one month"):
        present_value(frame, money, rate=0.0, by=None)
    with pytest.raises(NotAvailable, match=r"no account was followed for 90 days \(the longest for 30\)"):
        present_values(frame, money, horizon=90)
    with pytest.raises(NotAvailable, match="the longest for 0"):
        present_values(frame.head(0), money, horizon=90)
    with pytest.raises(NotAvailable):
        present_value(frame.head(0), money, rate=0.0, by=None)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"rate": 1.5}, "rate is 1.5"),
        ({"rate": -0.1}, "rate is -0.1"),
        ({"rate": 0.1, "funding_rate": 2.0}, "funding_rate is 2.0"),
        ({"rate": 0.1, "through": "ever"}, "'episode', 'follow_up'"),
        ({"rate": 0.1, "by": "arm", "control": "z"}, "control is 'z'. Allowed: x, y"),
        ({"rate": 0.1, "by": None, "control": "x"}, "one column"),
        ({"rate": 0.1, "horizon": 0}, "horizon is 0"),
        ({"rate": 0.1, "by": "branch"}, "branch"),
    ],
)
def test_what_is_refused(options, words):
    frame = spells(("a", 0, 0, 60, "censored", 50), ("b", 0, 0, 60, "censored", 50)).assign(arm=["x", "y"])
    with pytest.raises(FrameError, match=words):
        present_value(frame, flows(paid(("a", 1, 1))), **options)


def test_funding_needs_to_know_what_is_outstanding():
    with pytest.raises(FrameError, match="Needed: amount"):
        present_values(
            spells(("a", 0, 0, 60, "censored", 50)), flows(paid(("a", 1, 1))), horizon=9, funding_rate=0.1
        )


def test_any_frame_and_any_order_give_the_same(bank):
    _, _, rows = bank
    rows = rows[
        [
            "account_id",
            "customer_id",
            "started_on",
            "entry_day",
            "exit_day",
            "observed_day",
            "outcome",
            "amount_at_entry",
            "strategy",
        ]
    ]
    money = flows(paid(*((a, 40, 25) for a in rows["account_id"][:50])))
    one = present_value(rows, money, horizon=60, rate=0.1, funding_rate=0.02)
    shuffled = rows.sample(frac=1, random_state=1)
    for other in (shuffled, pl.from_pandas(shuffled)):
        again = present_value(other, money, horizon=60, rate=0.1, funding_rate=0.02)
        pd.testing.assert_frame_equal(one.table, again.table)


def test_discounting():
    assert discount([0, 365, 730], 0.25) == pytest.approx([1, 0.8, 0.64])
    assert discount(np.arange(5), 0.0).tolist() == [1.0] * 5


def test_the_chart_and_the_words(bank):
    _, money, rows = bank
    found = present_value(rows, money, control="champion", horizon=90, through="follow_up", **RATES)
    shown = found.display_table()
    assert "net" in shown["Measure"].tolist() and len(shown) == 2 * len(set(found.table["measure"]))
    assert "25 % a year" in " ".join(found.notes)
    axes = found.plot()
    assert len(axes.lines) == 3 and axes.get_legend() is not None
    with pytest.raises(FrameError, match="Allowed: paid"):
        found.plot("profit")
