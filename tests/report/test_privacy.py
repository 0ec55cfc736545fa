"""What a run writes tells no one's identifier, name, number or words, and no count below the minimum."""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
import json
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import nbformat
import numpy as np
import pandas as pd
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from collectlab.book.freeze_private import identified
from collectlab.book.open import open_book
from collectlab.book.simulate import simulate
from collectlab.core.errors import ParamsError
from collectlab.core.privacy import FILE, VARIABLE
from collectlab.core.suppression_names import cells_of
from collectlab.policy.credit import CreditLoss
from collectlab.policy.warning import WarningList
from collectlab.report import cli, parts
from collectlab.report.chapters import (
    conduct,
    credit,
    debtors,
    overview,
    plan,
    pressure,
    problems,
    process,
    provisions,
    relief,
    results,
    strategy,
    warning,
    what_if,
)
from collectlab.report.month import open_month
from collectlab.report.run import run

spec = importlib.util.spec_from_file_location("attack", Path(__file__).with_name("attack.py"))
assert spec is not None and spec.loader is not None
attack = importlib.util.module_from_spec(spec)
spec.loader.exec_module(attack)

ROOT = Path(__file__).parents[2]
#: What must be in no byte of a run's folder.
TELLING = ("ZEBRA", "OKAPI", "Marigold", "Quillfeather", "138001380", "choir", "ibex@")

#: A notebook that shows the rows of every table, and keeps them.
SHOWS = """import pathlib
import collectlab as cl
opened = cl.open_book(book)
for name, table in opened.tables.items():
    rows = table.head(2000).collect().to_native().to_pandas()
    display(rows.head(50))
    rows.to_csv(pathlib.Path(output) / 'tables' / f'{name}.csv', index=False)
print(opened.quarantine.to_csv())
print(opened.remarks)"""


def telling_book(folder: Path) -> None:
    """A small bank's book, not called synthetic, in which everything tells who it is."""
    bank = simulate(accounts=160, months=10, truth_accounts=0)
    tables = {name: table.to_pandas() for name, table in bank.book_tables.items()}
    for table in tables.values():
        for column, stem in (("account_id", "ZEBRA-"), ("customer_id", "OKAPI-"), ("agent", "Marigold ")):
            if column in table:
                table[column] = (stem + table[column].astype(str)).where(table[column].notna())
    accounts, actions, complaints = tables["accounts"], tables["actions"], tables["complaints"]
    number = range(len(accounts))
    accounts["borrower_name"] = [f"Quillfeather {i}" for i in number]
    accounts["reach"] = [138001380000 + i for i in number]
    accounts["story"] = [f"number {i} sings in the choir and pays when the season is over" for i in number]
    actions["log"] = [f"ibex@{i}.example" for i in range(len(actions))]
    complaints["kind"] = [f"the choir of number {i} was rung up in the night" for i in range(len(complaints))]
    wrong = tables["snapshots"].head(12).assign(status="gone to the choir")
    tables["snapshots"] = pd.concat([tables["snapshots"].iloc[12:], wrong])
    folder.mkdir()
    for name, table in tables.items():
        table.to_csv(folder / f"{name}.csv", index=False)
    (folder / "book.yml").write_text("name: A bank\n")


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    place = tmp_path_factory.mktemp("project")
    telling_book(place / "book")
    (place / "params").mkdir()
    for name in ("targets.yml", "costs.yml", "strategy.yml", "definitions.yml", "questions.yml"):
        (place / "params" / name).write_bytes((ROOT / "params" / name).read_bytes())
    (place / "notebooks").mkdir()
    shutil.copy(ROOT / "notebooks" / "1_overview.ipynb", place / "notebooks")
    cells = [
        new_code_cell("book = ''\noutput = None", metadata={"tags": ["parameters"]}),
        new_code_cell(SHOWS),
    ]
    nbformat.write(new_notebook(cells=cells), place / "notebooks" / "2_shows.ipynb")
    (place / "params" / "report.yml").write_text(
        "title: Telling\nbook: book\nsections: [1_overview, 2_shows]\n"
    )
    return place


@pytest.fixture(scope="module")
def reports(project, tmp_path_factory) -> tuple[Path, Path]:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv(VARIABLE, raising=False)
        patch.chdir(project)
        now = run("params/report.yml", month="2026-10", progress=False)
        before = run(
            "params/report.yml", month="2026-09", overrides={"sections": "[2_shows]"}, progress=False
        )
    return before, now


def test_no_byte_of_a_run_tells_who_anyone_is(reports, project):
    secret = (project / "params" / FILE).read_text().strip()
    files = [p for folder in reports for p in folder.rglob("*") if p.is_file()]
    assert len(files) > 50
    for file in files:
        content = file.read_bytes()
        if file.suffix == ".parquet":
            content += pd.read_parquet(file).to_csv().encode()
        for word in (*TELLING, secret):
            assert word.encode() not in content, f"{file.name} holds {word!r}"
    assert not [p for p in files if p.name == FILE]
    # The book itself does hold them all, but the choir's e-mail in the shape it has there.
    raw = "".join(p.read_text() for p in (project / "book").glob("*.csv"))
    assert all(word in raw for word in TELLING)


def test_the_manifest_says_which_key_and_what_was_left_out(reports):
    said = [json.loads((r / "manifest.json").read_text())["pseudonyms"] for r in reports]
    assert said[0]["key"] == said[1]["key"] and len(said[0]["key"]) == 8
    assert {"accounts.borrower_name", "accounts.reach", "accounts.story", "actions.log"} == set(
        said[1]["left_out"]
    )
    assert "complaints.kind" in said[1]["free_text"]


def test_the_pseudonyms_of_two_months_agree(reports, project, monkeypatch, capsys):
    monkeypatch.delenv(VARIABLE, raising=False)
    first, second = (pd.read_parquet(r / "book" / "accounts.parquet")["account_id"] for r in reports)
    assert len(first) > 50 and len(set(first) - set(second)) == 0
    largest = pd.read_csv(reports[1] / "tables" / "overview_largest.csv")["account_id"]
    assert set(largest) <= set(second)
    # Who holds the key and the book can tell whom they stand for.
    told = identified(list(largest[:2]), project / "book", project / "params")
    assert all(i.startswith("ZEBRA-") for i in told.values())
    monkeypatch.chdir(project)
    with pytest.raises(SystemExit) as stop:
        cli.main(["identify", largest[0], "--book", "book"])
    assert stop.value.code == 0
    assert capsys.readouterr().out == f"{largest[0]}  {told[largest[0]]}\n"


@pytest.mark.slow
def test_another_key_is_told_and_gives_others(reports, project, monkeypatch, capsys):
    monkeypatch.chdir(project)
    monkeypatch.setenv(VARIABLE, "the key of another project")
    folder = run("params/report.yml", month="2026-08", overrides={"sections": "[2_shows]", "out": "other"})
    accounts = [pd.read_parquet(f / "book" / "accounts.parquet")["account_id"] for f in (reports[1], folder)]
    assert not set(accounts[0]) & set(accounts[1])
    assert "with the key in COLLECTLAB_KEY" in capsys.readouterr().err

    # A replay of the run's own book keeps its pseudonyms, and its tables their hashes, whatever the key.
    again = run(folder / "params" / "report.yml", out=project / "again")
    assert "was frozen with pseudonyms" in capsys.readouterr().err
    was, now = (json.loads((f / "manifest.json").read_text()) for f in (folder, again))
    assert all(was[k] == now[k] for k in ("tables", "data_version", "book", "pseudonyms", "notebooks"))


def test_a_population_may_not_name_an_account(project, monkeypatch):
    monkeypatch.chdir(project)
    with pytest.raises(ParamsError, match=r"population: .* picks no account once identifiers are replaced"):
        run(
            "params/report.yml",
            overrides={"population": "account_id <> 'x' AND borrower_name <> ''"},
            progress=False,
        )


# --- counts below the minimum -------------------------------------------------------------------------------

PARTS = (
    (conduct.violations,),
    (debtors.funnel,),
    (debtors.reasons_and_cure,),
    (debtors.remedy_match,),
    (debtors.satisfaction_with_nonresponse,),
    (pressure.escalations,),
    (pressure.intensity,),
    (process.adherence,),
    (process.contactability,),
    (process.process_map,),
    (process.response_times,),
    (relief.offered,),
    (relief.plan_survival,),
    (relief.pressed,),
    (overview.borrowers,),
    (overview.by_bucket,),
    (overview.concentration, "branch"),
    (overview.concentration, "product"),
    (overview.concentration, "region"),
    (overview.delinquency,),
    (overview.new_loans,),
    (problems.complaints,),
    (problems.reactions,),
    (problems.records, "agency"),
    (credit.segments,),
    (provisions.bridge, "ifrs9"),
    (provisions.bridge, "five_class"),
    (provisions.classes,),
    (results.roll_rates,),
    (results.cure_by, "branch"),
    (results.outcomes,),
    (strategy.channels,),
    (strategy.coverage,),
    (strategy.timeline,),
)


#: Tables in which no column counts people, accounts, cases or contacts, and why that is so.
NO_COUNTS = {
    "overview_in_short": "sentences, coarsened",
    "overview_supplied": "rows of whole tables: technical",
    "overview_set_aside": "rows set aside by rule: technical",
    "overview_trend": "shares of the whole book by month",
    "overview_against_last_month": "parts of a change of the whole book's share",
    "overview_rating": "what the rating would be by other rules",
    "overview_largest": "single accounts by nature, without names and rounded",
    "strategy_in_force": "the strategy's own words",
    "strategy_channels_brought": "answers, coarsened",
    "results_against_last_month": "parts of a change of the whole book's share",
    "results_verdicts": "answers, coarsened",
    "results_experiment_checks": "checks, coarsened",
    "results_chosen_balance": "standardised differences",
    "results_changed": "a sentence",
    "results_agencies": "money and batches of placements",
    "conduct_rules": "the rules' own words",
    "relief_relief_effect": "answers, coarsened",
    "legal_legal_effect": "empty where nothing can be compared; else it has n",
    "cases_problems": "single accounts by nature, without names and rounded",
    "cases_successes": "single accounts by nature, without names and rounded",
    "training_training_list": "empty where nobody stands out; else it has n",
    "forecast_next_months": "forecasts of the whole book",
    "forecast_last_month": "shares and money of the whole book; left out where they rest on few",
    "forecast_backtest": "errors of forecasts",
    "warning_works_falls": "measures of the whole model",
    "warning_works_rolls": "measures of the whole model",
    "warning_named_falls": "single accounts by nature, without names and rounded",
    "certainty_tornado": "differences between arms, and prices",
    "certainty_best_by_price": "means by arm, and shares of draws",
    "certainty_knowing_more": "what an answer is worth; sizes of an experiment to come",
    "plan_worth": "money of the whole book",
    "plan_capacity": "capacities, and what the plan uses of them",
    "what_if_sheet": "account-months that the model expects, of shares rounded to 5 %",
    "what_if_changes": "empty where every change is refused; else it has account_months",
    "what_if_simplicity": "money of the whole book",
    "worth_prices": "parameters",
    "recommendations_recommended": "what to do; no counts",
    "recommendations_questions": "sentences, coarsened",
    "recommendations_definitions": "definitions",
    "recommendations_grading": "the rule of the grades",
    "recommendations_targets": "parameters",
    "recommendations_figures": "cells of other tables as they are published there",
    "recommendations_data": "what the book says of itself",
}
#: Judged by the size of the group alone: a finding is a share of at least ``minimum_group``.
BY_GROUP = ("problems_findings",)


def published_and_true(accounts: int, months: int, asked: list, folder: Path) -> tuple[dict, dict]:
    """The parts' tables of a small book as published, and as they would be with nothing left out."""
    book = open_book(simulate(accounts=accounts, months=months, truth_accounts=0).book_tables)
    about = book.about.model_copy(update={"currency": "CNY"})  # else nothing has a price
    book = dataclasses.replace(book, about=about)
    month = open_month(book, "2026-10", params=ROOT / "params", output=folder, contact_rules="cn")
    before: dict[str, pd.DataFrame] = {}
    with pytest.MonkeyPatch.context() as patch:
        publish, keep = parts._published, parts._keep
        patch.setattr(parts, "_published", lambda r, n: (before.update(last=r.table), publish(r, n))[1])
        patch.setattr(
            parts, "_keep", lambda m, key, *a: (before.setdefault(key, before["last"]), keep(m, key, *a))[1]
        )
        patch.setattr(parts, "_may_be_drawn", lambda *_: False)
        for part, *arguments in asked:
            part(month, *arguments)
    del before["last"]
    told = attack.read(month.output)
    for name in BY_GROUP:
        told.pop(name, None), before.pop(name, None)
    return told, before


def parts_of_the_notebooks() -> list:
    """Every part that a notebook of the report shows, with its argument."""
    found = []
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        for cell in nbformat.read(path, as_version=4).cells:
            call = re.fullmatch(r'(\w+)\.(\w+)\(this(?:, "(\w+)")?\)', cell.source)
            if cell.cell_type == "code" and call:
                chapter = importlib.import_module(f"collectlab.report.chapters.{call[1]}")
                found.append((getattr(chapter, call[2]), *([call[3]] if call[3] else [])))
    return found


@pytest.fixture(scope="module")
def tables(tmp_path_factory) -> tuple[dict, dict]:
    """A book of small groups."""
    return published_and_true(150, 8, list(PARTS), tmp_path_factory.mktemp("tables"))


@pytest.mark.slow
def test_no_table_of_the_report_gives_a_small_count_away(tmp_path):
    """All tables that a run writes, of a book of 600 accounts; and each is judged, or known to count nobody."""
    asked = parts_of_the_notebooks()
    assert len(asked) > 130
    published, truth = published_and_true(600, 12, asked, tmp_path)
    assert set(published) == set(truth) and len(truth) > 120
    assert attack.attack(published, truth) == []
    assert len({name for name, *_ in attack.attack(truth, truth)}) > 25
    for name, table in truth.items():
        read = cells_of(table)
        assert read.counts or read.parts or name in NO_COUNTS, f"{name}: {list(table.columns)} counts nobody?"
        if name in NO_COUNTS and not table.empty:
            assert not read.counts, f"{name} has counts after all: {read.counts}"
    for name, table in published.items():
        for column in {*cells_of(truth[name]).counts, *cells_of(truth[name]).parts} & {*table.columns}:
            assert table[column].dtype.kind in "iu", f"{name}.{column} is {table[column].dtype}"
    # What chapter 5 says of another table is what is published there, not what was left out.
    said = published["recommendations_figures"]
    copied = said[~said["table"].isin(["recommendations_recommended", *BY_GROUP])]
    assert len(copied) > 3
    for figure in copied.itertuples():
        rows = published[figure.table]
        for condition in figure.row.split("; "):
            column, value = condition.split(" = ")
            rows = rows[rows[column].astype(str) == value]
        assert float(rows[figure.column].item()) == pytest.approx(figure.value), figure


def test_the_attack_recovers_no_cell_below_the_minimum(tables):
    published, truth = tables
    assert set(published) == set(truth) and len(truth) > 25
    assert attack.attack(published, truth) == []


def test_the_attack_recovers_some_where_nothing_is_left_out(tables):
    claims = attack.attack(tables[1], tables[1])
    assert len({name for name, *_ in claims}) > 5
    for name, row, column, value in claims:
        if column in tables[1][name]:
            assert tables[1][name][column].iloc[row] == value


def test_the_attack_recovers_some_where_only_the_small_are_left_out(tables):
    """Complementary suppression is what holds: without it, totals give cells back."""
    truth = tables[1]
    naive = {}
    for name, table in truth.items():
        counts = attack.counts_of(table)
        small = (table[counts].gt(0) & table[counts].lt(5)).any(axis=1)
        figures = [
            c for c in table.select_dtypes("number").columns if c not in attack.NO_COUNTS - {"std_error"}
        ]
        naive[name] = table.assign(**{c: table[c].astype(float).mask(small) for c in figures})
    assert [c for c in attack.attack(naive, truth) if not c[2].startswith("estimate")]


# --- the decisions' parts ---------------------------------------------------------------------------------------

STEPS_THAT_LEAVE = ("repaid", "charged off", "sold", "no longer seen")


def bridge_of(**accounts: int) -> pd.DataFrame:
    """A bridge of 100 accounts, with other steps' counts as given and a cent for each account."""
    n = dict.fromkeys(("new", "migrated worse", "migrated better", *STEPS_THAT_LEAVE), 0)
    n |= {name.replace("_", " "): count for name, count in accounts.items()}
    money = {k: -v if k in STEPS_THAT_LEAVE else v for k, v in n.items()}
    rows = [
        ("opening", 100, 100.0),
        *((k, n[k], money[k]) for k in ("new", "migrated worse", "migrated better")),
    ]
    rows += [("balance changed", None, 7.0), ("coverage changed", None, 0.0)]
    rows += [(k, n[k], money[k]) for k in STEPS_THAT_LEAVE]
    left = sum(n[k] for k in STEPS_THAT_LEAVE)
    rows.append(("closing", 100 + n["new"] - left, 107.0 + sum(money.values())))
    table = pd.DataFrame(rows, columns=["step", "accounts", "estimate"]).astype(
        {"accounts": "Int64", "estimate": float}
    )
    return table.assign(balance=table["estimate"])[["step", "accounts", "balance", "estimate"]]


@pytest.mark.parametrize(
    ("accounts", "steps"),
    [
        ({"new": 9, "repaid": 8, "charged_off": 6}, {"new": 9, "repaid": 8, "charged off": 6}),
        ({"new": 9, "repaid": 8, "charged_off": 1}, {"new": 9, "left the book": 9}),
        ({"new": 9, "repaid": 2, "charged_off": 8}, {"new, less those that left": None}),  # 8 may stand elsewhere
        ({"new": 9, "repaid": 2, "no_longer_seen": 2}, {"new, less those that left": None}),
        ({"new": 1, "repaid": 30}, {"new, less those that left": None}),
        ({"migrated_worse": 9, "migrated_better": 2}, {"migrated": 11}),
        ({"migrated_worse": 2, "migrated_better": 2}, {"class or balance changed": None}),
    ],
)  # fmt: skip
def test_a_bridge_adds_up_and_tells_no_step_of_few(accounts, steps):
    whole = bridge_of(**accounts)
    told = provisions.told_together(whole, 5).set_index("step")
    for column in ("estimate", "balance"):
        assert told[column].drop("closing").sum() == pytest.approx(told[column]["closing"])
    assert not told["accounts"].between(1, 4).any()
    for step, count in steps.items():
        assert told["accounts"][step] == count if count is not None else pd.isna(told["accounts"][step])
    if "new, less those that left" in steps:
        assert pd.isna(told["accounts"]["opening"])


def test_a_mix_in_words_tells_no_strategy_of_few():
    assert plan.rough("standard 38%, champion 29%, intensive 27%, challenger 7%", 45, 5) == (
        "standard 40 %, champion 30 %, intensive 25 %, others"
    )
    assert plan.rough("standard 38 %, champion 62 %", 12, 5) == "champion 60 %, others"
    assert plan.rough("standard 60 %, champion 40 %", 4, 5) == "others"
    assert plan.rough("standard", 3, 5) == "standard"


def test_a_change_that_is_not_published_is_not_proposed(monkeypatch):
    asked = [
        what_if.Asked(k, SimpleNamespace(name=SimpleNamespace(en=k)), object(), stands=True) for k in "ab"
    ]
    shown = pd.DataFrame({"change": ["a", "b"], "estimate": [np.nan, 9.0]})
    monkeypatch.setattr(what_if, "asked", lambda month: asked)
    monkeypatch.setattr(what_if, "changes", lambda month: SimpleNamespace(table=shown))
    monkeypatch.setattr(what_if, "_of_change", lambda a: a.key)
    assert what_if._of_changes(None) == ["b"]


def test_no_rate_of_a_segment_tells_how_few_went_bad():
    table = pd.DataFrame({"product": ["a", "b", "c"], "loans": [29, 40, 50], "bad": [1, 0, 6], "bad_rate": [1 / 29, 0, 0.12],
                          "verdict": ["cannot tell"] * 3})  # fmt: skip
    shown = credit._without_few(CreditLoss(table=table, estimand="", by=("product",)), 5).table
    assert "bad" not in shown and shown["loans"].tolist() == [29, 40, 50]
    assert shown["bad_rate"].isna().tolist() == [True, False, False]
    assert shown["verdict"].tolist() == ["too few", "cannot tell", "cannot tell"]


@pytest.mark.parametrize(
    ("warned", "hit", "shown"),
    [
        ((20, 40, 80), (10, 20, 30), [True, True, True]),
        ((3, 40, 80), (3, 20, 30), [False, True, True]),  # 3 warned of
        ((20, 40, 80), (17, 20, 30), [False, True, True]),  # 3 without it; so 40 stand against nobody
        ((20, 40, 80), (10, 20, 22), [True, True, False]),  # 2 more with it
        ((20, 40, 97), (10, 20, 30), [True, True, False]),  # 3 not warned of
    ],
)
def test_a_threshold_of_few_is_left_out(warned, hit, shown):
    table = pd.DataFrame(
        {"rule": list("xyz"), "warned_share": np.array(warned) / 100, "caught": np.array(hit) / 40}
    )
    assert warning._of_many(table, 100, 40, 5) == shown


def test_alarms_of_few_are_not_told_by_group():
    n, events, warned, caught = 1000, [40, 60, 50], [90, 110, 100], [20, 58, 30]  # 2 of the 60 were missed
    table = pd.DataFrame({"attribute": "age", "group": list("abc"), "n": n, "events": events})
    table["warned"] = np.array(warned) / n
    table["false_alarms"] = (np.array(warned) - caught) / (n - table["events"])
    assert warning._few_alarms(table, 5).tolist() == [True, True, False]  # one more, as totals are known
    assert not warning._few_alarms(table.drop(index=1), 5).any()


def test_the_list_of_those_warned_of_counts_no_few(monkeypatch):
    month = SimpleNamespace(once=lambda key, make: 5)
    counts = pd.DataFrame({"chance_of": ["under 1 %", "1 to 2 %", "2 to 5 %"], "accounts": [90, 3, 7]})
    listed = WarningList(table=counts, estimand="", counts=counts, ids=())
    monkeypatch.setattr(warning, "_worked", lambda *_: SimpleNamespace(now=None, model=None))
    monkeypatch.setattr(warning, "warning_list", lambda *_, **__: listed)
    said = warning.named.__wrapped__(month, "falls").notes
    assert said == ("Accounts by chance: 1 to 2 %: fewer than 5, 2 to 5 %: 7.",)


def test_what_is_shown_drawn_and_written_agree(tmp_path):
    book = open_book(simulate(accounts=150, months=8, truth_accounts=0).book_tables)
    month = open_month(book, "2026-10", params=ROOT / "params", output=tmp_path)
    part = overview.concentration(month, "branch")
    written = pd.read_csv(tmp_path / "tables" / "overview_concentration_branch.csv")
    assert written["suppressed"].any() and not written["suppressed"].all()
    pd.testing.assert_series_equal(
        part.table["overdue_accounts"], written["overdue_accounts"], check_dtype=False
    )
    assert "Not shown" in part._repr_html_()
    hidden = written["suppressed"]
    assert np.isnan(part.table.loc[hidden, "estimate"]).all()


def test_the_minimum_comes_from_the_targets(tmp_path):
    book = open_book(simulate(accounts=60, months=4, truth_accounts=0).book_tables)
    from collectlab.report.parts import minimum_cell

    assert minimum_cell(open_month(book, "2026-10", params=tmp_path)) == 5
    text = (ROOT / "params" / "targets.yml").read_text(encoding="utf-8")
    if "minimum_cell" not in text:
        text = text.replace(
            "limits:\n",
            "limits:\n  minimum_cell:\n    name: {en: a, zh: b}\n    unit: people\n    range: [1, 100]\n    values:\n"
            '      2015-01-01: {value: 10, source: "x"}\n',
        )
        (tmp_path / "targets.yml").write_text(text, encoding="utf-8")
        assert minimum_cell(open_month(book, "2026-10", params=tmp_path)) == 10
