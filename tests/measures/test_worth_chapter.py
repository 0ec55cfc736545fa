"""The report's parts on worth: what they show of a test, what they leave out, and when they recommend."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import pandas as pd
import pytest

from collectlab.book.simulate import simulate
from collectlab.effects.verdict_rule import CAUSAL, SUGGESTIVE
from collectlab.report.chapters import worth
from collectlab.report.month import open_month


@pytest.fixture(scope="module")
def this():
    bank = simulate(accounts=700, months=14, truth_accounts=0, problems=())
    return open_month(bank.book_tables, "2026-10", params="params")


def in_its_own_currency(month):
    """The same month of a book that says its currency, with the grades that other chapters' tests are about."""
    about = month.book.about.model_copy(update={"currency": "CNY"})
    graded = {
        "verdicts of experiments": [SimpleNamespace(grade=CAUSAL)],
        "verdicts of choices": [(SimpleNamespace(grade=SUGGESTIVE), None)],
    }
    return dataclasses.replace(month, book=dataclasses.replace(month.book, about=about), _cache=graded)


def test_a_book_without_a_currency_has_no_prices(this):
    for shown in (worth.over_time(this), worth.added(this), worth.prices(this)):
        assert "book's currency (not stated)" in shown.left_out
    assert worth.options(this) == []


def test_the_parts_on_a_test(this):
    month = in_its_own_currency(this)
    shown = worth.over_time(month)
    assert shown.picture is not None
    last = shown.table[shown.table["day"] == worth.LONG]
    assert set(last["strategy"]) == {"champion", "challenger"}
    for _, arm in last.groupby("strategy"):
        value = arm.set_index("measure")["estimate"]
        costs = value[["actions", "commission", "legal", "complaints", "funding"]].sum()
        assert value["net"] == pytest.approx(value["paid"] - costs)
        assert value["society"] == pytest.approx(value["net"] - value["debtor"])
    assert shown.result.notes[0].endswith("within noise.")
    assert "less champion by day 180, net for the bank" in shown.result.notes[1]
    found = worth.added(month)
    drawn = found.table[found.table["arm"] == "challenger"].set_index("measure")
    net, money, cost = (drawn.loc[m, "estimate"] for m in ("net", "money", "cost"))
    assert net == pytest.approx(money - cost)
    assert drawn.loc["net_a_month", "estimate"] == pytest.approx(net * drawn.loc["net", "a_month"])
    assert set(drawn["evidence"]) == {"causal"}
    chosen = found.table[found.table["arm"] == "intensive"]
    assert set(chosen["evidence"]) == {"suggestive"} and "net_a_month" not in set(chosen["measure"])
    assert sum(n.startswith("Whom: ") for n in found.result.notes) == 2
    assert worth.prices(month).table["source"].notna().all()


def test_only_a_net_that_is_surely_above_nothing_is_recommended(this, monkeypatch):
    month = in_its_own_currency(this)
    row = {"arm": "challenger", "control": "champion", "n": 200, "evidence": "causal", "a_month": 20.0}
    ends = {"estimate": 100.0, "conf_low": 40.0, "conf_high": 160.0}
    rows = [
        {**row, "measure": "cost", **ends, "a_month": float("nan")},
        {**row, "measure": "net", **ends},
        {**row, "measure": "net_a_month", **{k: 20 * v for k, v in ends.items()}},
    ]

    def shown(table):
        return lambda _: type("P", (), {"table": table})()

    monkeypatch.setattr(worth, "added", shown(pd.DataFrame(rows)))
    (option,) = worth.options(month)
    assert option.sure and option.net == 2_000 and option.grade == "causal"
    for figure in option.figures:
        told = pd.DataFrame(rows)
        for column, value in figure.where.items():
            told = told[told[column] == value]
        assert len(told) == 1 and told[figure.column].iloc[0] == figure.value
        assert figure.part == "worth_added"
    noise = [{**r, "conf_low": -1.0} for r in rows]
    monkeypatch.setattr(worth, "added", shown(pd.DataFrame(noise)))
    assert worth.options(month) == []
    monkeypatch.setattr(worth, "added", shown(pd.DataFrame([{**r, "evidence": "suggestive"} for r in rows])))
    assert worth.options(month) == []


def test_accounts_and_snapshots_alone_are_left_out_in_a_line(this):
    tables = {t: this.book.table(t) for t in ("accounts", "snapshots")}
    bare = in_its_own_currency(open_month(tables, "2026-10", params="params"))
    for shown in (worth.over_time(bare), worth.added(bare)):
        assert (
            shown.result is None and "needs a table payments" in shown.left_out + worth.added(bare).left_out
        )
        assert shown.left_out.startswith("Left out: ") and "\n" not in shown.left_out
    assert worth.options(bare) == []
