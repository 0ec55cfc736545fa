"""KPIs counted by cause: the same figures as the scorecard's measures, and nobody credited before his time."""

import datetime as dt
from pathlib import Path

import pandas as pd
import pytest

from collectlab.book.simulate import simulate
from collectlab.core.engine import collect
from collectlab.measures import actions, gap_accounts, gap_contacts, gap_episodes, portfolio
from collectlab.measures.gap import REACHED, Step
from collectlab.report.chapters import diagnosis, kpis
from collectlab.report.month import open_month

PARAMS = Path(__file__).parents[2] / "params"


@pytest.fixture(scope="module")
def month():
    bank = simulate(accounts=3000, truth_accounts=0)
    return open_month(bank.book_tables, "2026-10", params=PARAMS)


def rate(cells, period="now"):
    rows = cells.table[cells.table["period"] == period]
    return rows["top"].sum() / rows["base"].sum(), int(rows["n"].sum())


def test_the_action_log_s_kpis_are_the_scorecard_s(month):
    kept = actions.promises(month.book, period=month.window).table.set_index("measure").loc["kept"]
    assert rate(gap_contacts.promises(month.book, now=month.window)) == (
        pytest.approx(kept["estimate"]),
        kept["due"],
    )
    score = actions.satisfaction(month.book, period=month.window).table.iloc[0]
    assert rate(gap_contacts.satisfaction(month.book, now=month.window)) == (
        pytest.approx(score["estimate"]), score["answers"],
    )  # fmt: skip
    by_team = actions.complaints(month.book, by="team", period=month.window).table
    by_team = by_team[by_team["measure"] == "per_1000_contacts"]
    cells = gap_contacts.complaints(month.book, now=month.window)
    now = cells.table[cells.table["period"] == "now"]
    assert now["base"].sum() == by_team["contacts"].sum()
    assert now["top"].sum() == 1000 * by_team["complaints"].sum()


def test_new_loans_and_delinquency_are_the_scorecard_s(month):
    table = portfolio.new_loan_bad_rate(month.book).table
    ripe = table[table["cohort_status"] == "mature"]
    share, n = rate(gap_accounts.new_loans(month.book))
    assert (share, n) == (pytest.approx(ripe["bad"].sum() / ripe["loans"].sum()), ripe["loans"].sum())
    trend = portfolio.delinquency_trend(month.book).table.iloc[0]
    cells = gap_accounts.delinquency(month.book)
    assert rate(cells)[0] == pytest.approx(trend["level"])
    assert rate(cells, "before")[0] == pytest.approx(trend["level_before"])


def test_recovery_by_a_plain_loop(month):
    payments = month.book.table("payments")
    cells = gap_episodes.recovery(month.episodes, payments, now=month.window, as_of=month.end)
    spells = collect(month.episodes)
    paid = collect(payments)
    paid["paid_on"] = pd.to_datetime(paid["paid_on"])
    first, last = (pd.Timestamp(d) for d in month.window)
    top = base = 0.0
    of_account = dict(list(paid.groupby("account_id")))
    for account, own in spells.groupby("account_id"):
        own = own.sort_values("started_on")
        starts = [pd.Timestamp(d) for d in own["started_on"]]
        money = of_account.get(account, paid.iloc[:0])
        for k, row in enumerate(own.itertuples()):
            start = starts[k]
            if (
                row.entry_day
                or not row.amount_at_entry > 0
                or not first <= start <= last
                or row.exit_day <= 0
            ):
                continue
            if start + pd.Timedelta(days=90) > pd.Timestamp(month.end):
                continue
            end = row.exit_day if row.outcome != "charged_off" else 10_000
            if k + 1 < len(starts):
                end = min(end, (starts[k + 1] - start).days - 1)
            day = (money["paid_on"] - start).dt.days
            got = money.loc[(day >= 0) & (day <= min(end, 90)), "amount"].sum()
            top, base = top + min(got, row.amount_at_entry), base + row.amount_at_entry
    now = cells.table[cells.table["period"] == "now"]
    assert now["base"].sum() == pytest.approx(base, abs=0.01)
    assert now["top"].sum() == pytest.approx(top, abs=0.05)


def episodes(**columns):
    plain = {
        "account_id": ["a", "b", "c"], "episode": [1, 1, 1], "entry_day": [0, 0, 0], "outcome": ["cured"] * 3,
        "exit_day": [40, 40, 20], "seen_day": [35, 35, 10], "observed_day": [150] * 3,
        "amount_at_entry": [100.0] * 3, "started_on": pd.to_datetime(["2026-01-05"] * 3),
    }  # fmt: skip
    return pd.DataFrame(plain | columns)


def test_a_step_is_asked_only_of_those_still_overdue_and_credited_only_with_later_money():
    paid = pd.DataFrame(
        {"account_id": ["a", "a", "b", "c"], "amount": [30.0, 70.0, 100.0, 100.0],
         "paid_on": pd.to_datetime(["2026-01-15", "2026-02-14", "2026-02-14", "2026-01-25"])}
    )  # fmt: skip
    acts = pd.DataFrame(
        {"account_id": ["a", "c"], "at": ["2026-01-20 10:00", "2026-01-12 10:00"], "channel": ["call", "call"],
         "connected": [True, True], "team": ["T1", "T2"]}
    )  # fmt: skip
    call = Step("called by day 30", "call", 30)
    cells = gap_episodes.recovery(
        episodes(),
        paid,
        acts,
        now=("2026-01-01", "2026-01-31"),
        as_of=dt.date(2026, 5, 31),
        steps=(REACHED, call),
    )
    table = cells.table.sort_values("top")
    asked = table[table[call.name].notna()]
    # c was gone by day 20: whether it would have been called by day 30 is no question, nor whose case it was
    assert sorted(asked[call.name]) == [0.0, 1.0]
    assert asked.loc[asked[call.name] == 1, f"later_{call.name}"].tolist() == [70.0]  # not the 30 of day 10
    assert set(table["team"].dropna()) == {"T1"}
    assert table["n"].sum() == 3


def test_sustained_cure_wants_time_to_have_passed_and_no_relapse():
    spells = episodes(
        account_id=["a", "a", "b"], episode=[1, 2, 1], exit_day=[20, 30, 50],
        started_on=pd.to_datetime(["2025-01-05", "2025-04-05", "2026-10-01"]),
    )  # fmt: skip
    cells = gap_episodes.sustained(spells, as_of=dt.date(2026, 10, 31))
    # a's first is past due again within 180 days, its second is not; b is too young
    assert (cells.table["n"].sum(), cells.table["top"].sum()) == (2, 1.0)


def test_the_month_s_tree_on_a_whole_book_and_on_one_of_two_tables(month):
    part = diagnosis.tree(month)
    missed = kpis.scorecard(month).table.query("status == 'missed'")
    assert list(dict.fromkeys(part.result.table["kpi"])) == list(missed["kpi"])
    tables = {name: collect(month.book.table(name)) for name in ("accounts", "snapshots")}
    tables["accounts"] = tables["accounts"][["account_id"]]
    bare = diagnosis.tree(open_month(tables, "2026-10", params=PARAMS))
    assert bare.result is not None
    assert "Not explained" in bare.result.tree()
    unknown = bare.result.table.query("cause == 'not counted'")
    assert len(unknown) and unknown["says"].str.contains("not counted by: products, branches, teams").all()
