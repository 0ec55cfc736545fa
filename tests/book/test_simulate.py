"""The simulator: the same bytes again, a book that keeps the contract, and a truth that is one."""

from __future__ import annotations

import filecmp
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import yaml

from collectlab.book.schema import TABLES
from collectlab.book.simulate import PROBLEMS, simulate, write_book
from collectlab.book.simulate_bank import Luck
from collectlab.core.errors import BookError

EXAMPLE = Path(__file__).parents[2] / "data" / "example"


@pytest.fixture(scope="module")
def small():
    return simulate(1_500, months=12, truth_accounts=0)


@pytest.fixture(scope="module")
def frames(small):
    return {name: table.to_pandas(date_as_object=False) for name, table in small.book_tables.items()}


@pytest.fixture(scope="module")
def effects():
    """Truth on enough accounts for its signs to be far from chance."""
    return simulate(100, truth_accounts=8_000).truth["effects"]


def same_files(one: Path, other: Path) -> None:
    names = sorted(str(p.relative_to(one)) for p in one.rglob("*") if p.is_file())
    assert names == sorted(str(p.relative_to(other)) for p in other.rglob("*") if p.is_file())
    assert names
    _, different, errors = filecmp.cmpfiles(one, other, names, shallow=False)
    assert not different and not errors


def test_written_twice_gives_the_same_bytes(tmp_path):
    for name in ("one", "two"):
        write_book(tmp_path / name, accounts=300, months=6, truth_accounts=300)
    same_files(tmp_path / "one", tmp_path / "two")


def test_the_committed_example_is_what_its_book_yml_rebuilds(tmp_path):
    about = yaml.safe_load((EXAMPLE / "book.yml").read_text(encoding="utf-8"))
    assert about["synthetic"] is True and "synthetic" in about["name"]
    write_book(
        tmp_path / "again", about["accounts"], about["months"], about["seed"], about["end"].isoformat()
    )
    same_files(EXAMPLE, tmp_path / "again")


def test_another_seed_is_another_bank_and_accounts_do_not_depend_on_how_many_there_are(small):
    fewer = simulate(1_000, months=12, truth_accounts=0).book_tables
    other = simulate(1_000, months=12, truth_accounts=0, seed=1).book_tables
    kept = fewer["accounts"].num_rows
    assert small.book_tables["accounts"].slice(0, kept).equals(fewer["accounts"])
    assert small.book_tables["snapshots"].slice(0, fewer["snapshots"].num_rows).equals(fewer["snapshots"])
    assert not other["accounts"].equals(fewer["accounts"])


def test_chunks_do_not_show(small, monkeypatch):
    monkeypatch.setattr("collectlab.book.simulate.CHUNK", 400)
    chunked = simulate(1_500, months=12, truth_accounts=0).book_tables
    for name, table in small.book_tables.items():
        assert chunked[name].combine_chunks().equals(table.combine_chunks()), name


def test_every_table_has_the_contracts_columns_and_values(small):
    kinds = {
        "id": pa.types.is_string,
        "text": pa.types.is_string,
        "date": pa.types.is_date,
        "timestamp": pa.types.is_timestamp,
        "int": pa.types.is_integer,
        "float": lambda t: pa.types.is_floating(t) or pa.types.is_integer(t),
        "bool": pa.types.is_boolean,
    }
    assert set(small.book_tables) == set(TABLES)
    for name, table in small.book_tables.items():
        assert table.num_rows, name
        for column in TABLES[name].columns:
            if column.name in ("payment_id", "agreed", "number"):
                continue
            assert column.name in table.column_names, (name, column.name)
            values = table[column.name]
            assert kinds[column.kind](values.type), (name, column.name, values.type)
            if column.required:
                assert values.null_count == 0
            if column.allowed:
                assert set(values.drop_null().unique().to_pylist()) <= set(column.allowed)


def test_open_book_sets_nothing_aside(small):
    import collectlab as cl

    book = cl.open_book(small.book_tables)
    assert book.reconciliation["quarantined"].sum() == 0
    assert (book.reconciliation["rows_in"] == book.reconciliation["accepted"]).all()


def test_the_ledger_adds_up(frames):
    s = frames["snapshots"]
    standing = s[s["status"] == "open"]
    assert ((standing["days_past_due"] == 0) == (standing["amount_past_due"] == 0)).all()
    assert (s["balance"] >= 0).all() and (s["amount_past_due"] >= 0).all()
    assert (standing["balance"] >= standing["amount_past_due"]).all()
    assert not s.duplicated(["account_id", "as_of"]).any()
    assert set(s["account_id"]) == set(frames["accounts"]["account_id"])


def test_nothing_is_paid_or_done_before_origination(frames):
    granted = frames["accounts"].set_index("account_id")["originated_on"]
    for name, column in (("payments", "paid_on"), ("actions", "at"), ("assignments", "assigned_on")):
        frame = frames[name]
        assert (frame[column].dt.normalize() >= frame["account_id"].map(granted)).all(), name
    assert (frames["payments"]["amount"] > 0).all()


def test_days_past_due_grow_by_the_calendar_or_fall_by_payment(small):
    daily = simulate(300, months=12, truth_accounts=0, snapshots="daily").book_tables
    s = daily["snapshots"].to_pandas(date_as_object=False)
    step = s.groupby("account_id")["days_past_due"].diff()
    alive = s["status"].isin(["open", "charged_off"])
    assert step[alive].max() == 1
    # Each fall of the overdue amount of an account that was not relieved has a payment on that day.
    falls = s.groupby("account_id")["amount_past_due"].diff() < 0
    relieved = s.groupby("account_id")["forborne"].diff().fillna(False).astype(bool)
    falls &= (s["status"] == "open") & ~relieved
    paid = daily["payments"].to_pandas(date_as_object=False)
    found = s[falls].merge(paid, left_on=["account_id", "as_of"], right_on=["account_id", "paid_on"])
    assert falls.sum() > 50 and len(found) == falls.sum()
    # The daily book at the months' ends is the monthly book of the same accounts.
    monthly = small.book_tables["snapshots"].to_pandas(date_as_object=False)
    monthly = monthly[monthly["account_id"].isin(s["account_id"])].reset_index(drop=True)
    ends = s[s["as_of"].dt.is_month_end].reset_index(drop=True)
    pd.testing.assert_frame_equal(ends, monthly)


def test_the_test_is_randomised_by_customer_and_balanced():
    tables = simulate(6_000, truth_accounts=0).book_tables
    a, x = (tables[name].to_pandas() for name in ("assignments", "accounts"))
    arms = a[a["randomised"]].merge(x, on="account_id")
    assert (arms["propensity"] == 0.5).all() and set(arms["strategy"]) == {"champion", "challenger"}
    assert not arms.duplicated("account_id").any()
    assert (arms.groupby("customer_id")["strategy"].nunique() == 1).all()
    assert arms["customer_id"].nunique() < len(arms)
    assert (arms["block"] == arms["region"]).all()
    challenged = arms["strategy"] == "challenger"
    assert abs(challenged.mean() - 0.5) < 0.03
    for fact in ("credit_score", "age"):
        groups = arms.groupby("strategy")[fact]
        difference = abs(groups.mean().diff().iloc[-1]) / arms[fact].std()
        assert difference < 4 / np.sqrt(len(arms) / 2) * 1.1, fact
    # Outside the test the hard cases get the calls.
    rest = a[~a["randomised"]].merge(x, on="account_id").groupby("strategy")["credit_score"].mean()
    assert rest["intensive"] < rest["standard"] - 15


def pick(effects, name, population="all", outcome="cured_60d", by="all"):
    mask = (effects["name"] == name) & (effects["population"] == population)
    return effects[mask & (effects["outcome"] == outcome) & (effects["segment_by"] == by)]


def test_the_truth_has_the_right_signs(effects):
    challenger = pick(effects, "challenger").iloc[0]
    assert challenger["estimate"] > 0.03 and challenger["estimate"] > 4 * challenger["std_error"]
    for name in ("intensive", "call", "visit", "sms"):
        row = pick(effects, name, "received").iloc[0]
        assert row["estimate"] > 2 * row["std_error"], name
    pressure = pick(effects, "call", "received", "complaints_90d").iloc[0]
    assert pressure["estimate"] > 2 * pressure["std_error"]
    # The randomised comparison is near the truth.
    assert abs(challenger["naive"] - challenger["estimate"]) < 0.10
    assert len(pick(effects, "challenger", by="product")) == 5


def test_where_collectors_choose_the_naive_comparison_has_the_wrong_sign(effects):
    for name in ("intensive", "call", "visit"):
        row = pick(effects, name, "received").iloc[0]
        assert row["naive"] < 0 < row["estimate"], name


def test_the_first_month_end_finds_both_lives_the_same():
    """Nothing a lever does reaches back before the placement the truth starts from."""
    from collectlab.book import simulate_bank as bank
    from collectlab.book.simulate_days import Days

    settings = simulate(2, truth_accounts=0, problems=()).settings
    luck = Luck(settings.seed)

    def placed(**levers):
        a = bank.draw_accounts(settings, luck, 0, 3_000)
        for name, value in levers.items():
            a[name][:] = value
        return Days(settings, luck, a, keep=False).run().t_placed

    as_it_was = placed()
    assert (as_it_was >= 0).sum() > 300
    for levers in (
        {"force": bank.INTENSIVE},
        {"force": bank.STANDARD},
        {"off": bank.CALL},
        {"off": bank.SMS},
    ):
        assert (placed(**levers) == as_it_was).all(), levers


@pytest.mark.parametrize("channel, start", [("call", 5), ("sms", 12), ("call", 10_000)])
def test_a_channel_can_be_started_on_a_day(channel, start):
    from collectlab.book import simulate_bank as bank
    from collectlab.book.simulate_days import Days

    settings = simulate(2, months=12, truth_accounts=0, problems=()).settings
    luck, code, n = Luck(settings.seed), bank.CHANNELS.index(channel), 3_000

    def lived(**levers):
        a = bank.draw_accounts(settings, luck, 0, n)
        for name, value in levers.items():
            a[name][:] = value
        return Days(settings, luck, a).run()

    as_it_was, started = lived(), lived(start_channel=code, start_day=start)
    assert (started.t_placed == as_it_was.t_placed).all()
    i, day, _, done, *_ = started.events.columns("actions", 12)
    placed = started.t_placed[i]
    cured = np.where(started.t_cured >= 0, started.t_cured, 10**6)
    since = np.where((placed >= 0) & (day > placed) & (day <= cured[i]), day - placed, 0)
    of_it = done == code
    assert not (of_it & (since > 0) & (since < start)).any()
    on_the_day = np.bincount(i[of_it & (since == start)], minlength=n)
    # Still overdue at the start of the day, not on a Sunday (a message knows none), nor under relief.
    when = started.t_placed + start
    lost = np.where(started.ended >= 0, started.ended, 10**6)
    there = (started.t_placed >= 0) & (when <= started.last) & (cured >= when) & (lost >= when)
    sunday = (when + 3) % 7 == 6
    assert on_the_day.max(initial=0) <= 1
    if start > 1_000:
        assert not on_the_day.any()
        return
    assert there.sum() > 100
    if channel == "sms":
        assert (on_the_day[there] == 1).all()
    else:
        assert sunday[there].any() and not on_the_day[there & sunday].any()
        quiet = np.zeros(n, bool)
        quiet[started.events.columns("arrangements", 5)[0]] = True
        assert (on_the_day[there & ~sunday & ~quiet] == 1).all()
    assert not on_the_day[~there].any()
    assert (of_it & (since > start)).any()
    # One action a day and account, forced or not.
    pairs = np.stack([i[since > 0], day[since > 0]])
    assert np.unique(pairs, axis=1).shape[1] == pairs.shape[1]


def test_hidden_confounding_chooses_on_what_no_column_shows():
    from collectlab.book.simulate_bank import draw_accounts

    def gap(weight):
        """Latent strength of ``standard`` less ``intensive``, net of what score and income tell of it."""
        made = simulate(4_000, truth_accounts=0, hidden_confounding=weight)
        drawn = draw_accounts(made.settings, Luck(made.settings.seed), 0, 4_000)
        x = made.book_tables["accounts"].to_pandas()
        x["latent"] = drawn["ability"] + drawn["willingness"]
        a = made.book_tables["assignments"].to_pandas()
        rest = a[~a["randomised"] & a["strategy"].isin(["standard", "intensive"])].merge(x, on="account_id")
        shown = np.column_stack([np.ones(len(rest)), rest["credit_score"], np.log(rest["monthly_income"])])
        rest["net"] = rest["latent"] - shown @ np.linalg.lstsq(shown, rest["latent"], rcond=None)[0]
        means = rest.groupby("strategy")["net"].mean()
        return means["standard"] - means["intensive"]

    assert abs(gap(0.0)) < 0.15
    assert gap(2.0) > 0.5


def test_planted_problems_can_be_seen_and_left_out(frames):
    def shares(book):
        acts, accounts = book["actions"], book["accounts"]
        calls = acts[acts["channel"] == "call"].merge(accounts[["account_id", "branch"]], on="account_id")
        spoken = acts[(acts["channel"] == "agency") & (acts["connected"] == True)]  # noqa: E712
        return {
            "night": (calls["at"].dt.hour >= 21).groupby(calls["team"]).mean(),
            "unrecorded": 1 - spoken["recorded"].astype(bool).groupby(spoken["agency"]).mean(),
            "wrong": (calls["outcome"] == "wrong_number").groupby(calls["branch"]).mean(),
        }

    planted = shares(frames)
    assert planted["night"]["Call team 3"] > 0.1 and planted["night"]["Call team 1"] == 0
    assert planted["unrecorded"]["Agency 2"] > 0.15 and planted["unrecorded"].drop("Agency 2").max() < 0.15
    assert planted["wrong"]["Branch 07"] > 1.5 * planted["wrong"].drop("Branch 07").mean()
    clean = simulate(1_500, months=12, truth_accounts=0, problems=())
    assert shares({n: t.to_pandas() for n, t in clean.book_tables.items()})["night"].max() == 0
    assert not clean.truth["problems"]["planted"].any()
    assert list(clean.truth["problems"]["problem"]) == list(PROBLEMS)


def test_a_stage_entered_late_is_worked_like_the_one_before():
    """Between day 31 and day 50 Branch 04 sends no letters; the other branches do."""

    def letters(problems):
        made = simulate(4_000, months=12, truth_accounts=0, problems=problems, snapshots="daily")
        tables = {
            n: t.to_pandas() for n, t in made.book_tables.items() if n in ("accounts", "actions", "snapshots")
        }
        sent = tables["actions"].query("channel == 'letter'")
        sent = sent.assign(as_of=sent["at"].dt.date).merge(tables["accounts"][["account_id", "branch"]])
        sent = sent.merge(tables["snapshots"], on=["account_id", "as_of"])
        early = sent[sent["days_past_due"].between(31, 49)]
        return (early["branch"] == "Branch 04").sum(), len(early)

    here, all_ = letters(("late_stage",))
    assert here == 0 and all_ > 50
    here, all_ = letters(())
    assert here > 0


def test_hardship_that_was_told_is_pressed_by_one_team():
    """Calls in the 60 days after hardship was first told, per case."""
    acts = (
        simulate(6_000, truth_accounts=0, problems=("pressed_hardship",)).book_tables["actions"].to_pandas()
    )
    calls = acts[acts["channel"] == "call"]
    told = acts[acts["outcome"] == "hardship"].groupby("account_id")["at"].min().rename("told")
    cases = calls.groupby("account_id")["team"].first().to_frame().join(told, how="inner")
    after = calls.join(told, on="account_id", how="inner")
    after = after[(after["at"] > after["told"]) & (after["at"] <= after["told"] + pd.Timedelta("60D"))]
    each = after.groupby("team").size() / cases.groupby("team").size()
    assert each["Call team 1"] > 2 * each.drop("Call team 1").max()


@pytest.mark.parametrize("accounts, months", [(1, 1), (2, 1), (7, 3)])
def test_tiny_books_keep_all_tables(accounts, months, tmp_path):
    made = simulate(accounts, months=months, truth_accounts=0)
    assert made.book_tables["accounts"].num_rows == accounts
    assert set(made.book_tables) == set(TABLES)
    written = made.write(tmp_path / "book")
    assert written.set_index("table")["rows"]["accounts"] == accounts


def test_wrong_arguments_are_told_at_once():
    with pytest.raises(BookError) as caught:
        simulate(0, months=-1, end="2026-10-30", problems=("night_cals",), snapshots="weekly")
    text = str(caught.value)
    assert len(caught.value.faults) == 5
    assert "night_calls" in text and "last day of a month" in text and "month_end, daily" in text
    with pytest.raises(BookError, match="no date"):
        simulate(10, end="soon")
    with pytest.raises(BookError, match="too many"):
        simulate(1_000_000, snapshots="daily")


def test_a_folder_that_is_not_a_simulated_book_is_left_alone(tmp_path):
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "accounts.parquet").write_bytes(b"precious")
    with pytest.raises(BookError, match="not a simulated book"):
        write_book(mine, accounts=10, months=1, truth_accounts=0)
    assert (mine / "accounts.parquet").read_bytes() == b"precious"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["mine"]


def test_luck_is_uniform_and_independent_between_purposes_and_days():
    luck = Luck(1)
    keys = luck.keys(np.arange(100_000), "account")
    one, two, later = luck.uniform(keys, "a"), luck.uniform(keys, "b"), luck.uniform(keys, "a", 1)
    assert one.min() > 0 and one.max() < 1
    assert abs(one.mean() - 0.5) < 0.005 and abs(one.var() - 1 / 12) < 0.002
    for other in (two, later, np.roll(one, 1)):
        assert abs(np.corrcoef(one, other)[0, 1]) < 0.015
