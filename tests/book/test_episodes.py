"""Episodes: small tables in, the answer out; then the properties that hold for any history."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pandas as pd
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from collectlab.book.episodes import (
    DEFINITIONS,
    Definition,
    bucket_entries,
    bucket_labels,
    episodes,
    load_definitions,
)
from collectlab.core.errors import FrameError, ParamsError

MONTH_ENDS = [d.date() for d in pd.date_range("2023-01-31", periods=24, freq="ME")]


def history(**dpd_by_account) -> pd.DataFrame:
    """Month-end snapshots from January 2023: days past due by account; None = not seen that month.

    An entry may be ``(days past due, status)``.
    """
    rows = []
    for account, values in dpd_by_account.items():
        for date, value in zip(MONTH_ENDS, values):
            if value is not None:
                dpd, status = value if isinstance(value, tuple) else (value, "open")
                rows.append((account, date, dpd, status, 1000.0 + dpd, float(dpd)))
    columns = ["account_id", "as_of", "days_past_due", "status", "balance", "amount_past_due"]
    return pd.DataFrame(rows, columns=columns)


def run(snapshots, accounts=None, *, function=episodes, **options) -> pd.DataFrame:
    """The result from DuckDB, after checking that Polars gives the same rows."""
    keys = ["account_id", "episode"] if function is episodes else ["account_id", "episode", "bucket_from"]
    answers = []
    for lazy in (False, True):
        frames = [f if f is None or not lazy else pl.from_pandas(f).lazy() for f in (snapshots, accounts)]
        answer = function(*frames, **options).collect("pyarrow").to_native().to_pandas()
        answers.append(answer.sort_values(keys, ignore_index=True))
    pd.testing.assert_frame_equal(*answers, check_dtype=False)
    return answers[0]


def spells(answer: pd.DataFrame, *columns: str) -> list[tuple]:
    return list(answer[list(columns)].itertuples(index=False, name=None))


DAYS = ("entry_day", "seen_day", "exit_day", "outcome")

# ------------------------------------------------------------------------------- hand-worked examples


def test_a_spell_seen_from_its_start_to_its_cure():
    # Due on 18 Feb; 10 days past due on 28 Feb, 41 on 31 Mar; current again on 30 Apr.
    answer = run(history(a=[0, 10, 41, 0]))
    assert spells(answer, *DAYS) == [(0, 41, 71, "cured")]
    row = answer.iloc[0]
    assert str(row.started_on)[:10] == "2023-02-18" and str(row.ended_on)[:10] == "2023-04-30"
    assert (row.first_seen_day, row.observed_day, row.max_days_past_due) == (10, 71, 41)
    assert (row.amount_at_entry, row.balance_at_entry, row.customer_id) == (10.0, 1010.0, "a")


@pytest.mark.parametrize("status", ["charged_off", "settled", "sold"])
def test_each_terminal_status_is_an_outcome_of_its_own(status):
    answer = run(history(a=[0, 10, 41, (71, status), (71, status)]))
    assert spells(answer, *DAYS) == [(0, 41, 71, status)]
    assert answer.observed_day[0] == 102  # two more days than the next month end: followed for recoveries


def test_closed_is_a_cure_whatever_its_counter_says():
    assert spells(run(history(a=[0, 10, (41, "closed")])), *DAYS) == [(0, 10, 41, "cured")]


def test_still_delinquent_at_the_end_is_censored():
    assert spells(run(history(a=[0, 10, 41])), *DAYS) == [(0, 41, 41, "censored")]


def test_first_seen_delinquent_enters_late():
    assert spells(run(history(a=[95, 123, 0])), *DAYS) == [(95, 123, 154, "cured")]


def test_seen_once_is_kept_with_no_length():
    assert spells(run(history(a=[95])), *DAYS) == [(95, 95, 95, "censored")]


def test_a_relapse_starts_the_next_spell():
    answer = run(history(a=[0, 10, 0, 15, 0]))
    assert spells(answer, "episode", *DAYS) == [(1, 0, 10, 41, "cured"), (2, 0, 15, 46, "cured")]


def test_days_falling_back_without_reaching_zero_stay_one_spell():
    answer = run(history(a=[0, 28, 59, 20, 0]))
    # Day 0 is 31 Jan (28 days before 28 Feb); still late on 30 Apr, day 89; current on 31 May, day 120.
    assert spells(answer, "max_days_past_due", *DAYS) == [(59, 0, 89, 120, "cured")]


def test_an_impossible_jump_cannot_reach_behind_the_last_current_snapshot():
    answer = run(history(a=[0, 0, 150, 0]))
    assert str(answer.started_on[0])[:10] == "2023-02-28"
    assert spells(answer, *DAYS) == [(0, 31, 61, "cured")]


def test_back_to_delinquent_after_charge_off_is_a_new_spell():
    answer = run(history(a=[0, 10, (41, "charged_off"), 71, 0]))
    # The counter says it began before the charge-off; spells of one account do not overlap.
    assert spells(answer, "outcome", "entry_day", "exit_day") == [("charged_off", 0, 41), ("cured", 0, 61)]


def test_charged_off_straight_from_current_was_never_seen_delinquent():
    assert run(history(a=[0, (150, "charged_off")])).empty


def test_none_delinquent_and_one_current_account():
    assert run(history(a=[0, 0, 0])).empty
    assert list(run(history(a=[0])).columns) == list(run(history(a=[5])).columns)


def test_new_accounts_are_seen_from_day_zero_and_old_ones_are_not():
    snapshots = history(old=[None, 20], new=[None, 20], book=[0, 0])
    accounts = pd.DataFrame(
        {
            "account_id": ["old", "new"],
            "originated_on": [dt.date(2022, 5, 1), dt.date(2023, 2, 3)],
        }
    )
    answer = run(snapshots, accounts).set_index("account_id")
    assert answer.entry_day.to_dict() == {"old": 20, "new": 0}
    assert answer.months_on_book.to_dict() == {"old": 9, "new": 0}


def test_day_zero_is_not_before_origination():
    accounts = pd.DataFrame({"account_id": ["a"], "originated_on": [dt.date(2023, 2, 20)]})
    assert run(history(a=[None, 20, 0], b=[0, 0]), accounts).first_seen_day[0] == 8


def test_probation_of_one_cycle_and_of_three_months():
    snapshots = history(a=[0, 10, 0, 0, 0, 0])  # current from 31 Mar; day 0 = 18 Feb
    of = {d: run(snapshots, definition=d) for d in ("current_once", "current_one_cycle", "eba_three_months")}
    assert [spells(f, *DAYS) for f in of.values()] == [
        [(0, 10, 41, "cured")],
        [(0, 41, 71, "cured")],
        [(0, 102, 132, "cured")],
    ]


def test_relapse_inside_probation_continues_the_same_spell():
    answer = run(history(a=[0, 10, 0, 12, 0, 0, 0, 0]), definition="eba_three_months")
    assert spells(answer, "episode", "outcome") == [(1, "cured")]
    assert str(answer.ended_on[0])[:10] == "2023-08-31"


def test_three_months_are_calendar_months_whatever_their_days():
    # 31 Jan to 30 Apr 2023 is 89 days, and three months.
    snapshots = history(a=[0, 0, 0, 0])
    before = pd.DataFrame([("a", dt.date(2022, 12, 31), 5, "open", 1.0, 1.0)], columns=snapshots.columns)
    answer = run(pd.concat([before, snapshots]), definition="eba_three_months")
    assert str(answer.ended_on[0])[:10] == "2023-04-30" and answer.outcome[0] == "cured"


def test_probation_unserved_at_the_end_is_censored_and_terminal_status_ends_it():
    assert run(history(a=[0, 10, 0, 0]), definition="eba_three_months").outcome.tolist() == ["censored"]
    answer = run(history(a=[0, 10, 0, (0, "sold")]), definition="eba_three_months")
    assert spells(answer, *DAYS) == [(0, 41, 71, "sold")]


def test_forborne_accounts_wait_a_year():
    snapshots = history(a=[0, 10] + [0] * 14, b=[0, 10] + [0] * 14)
    snapshots["forborne"] = (snapshots.account_id == "a") & (snapshots.as_of == MONTH_ENDS[2])
    answer = run(snapshots, definition="restructured_one_year")
    assert [str(d)[:10] for d in answer.ended_on] == ["2024-03-31", "2023-06-30"]


def test_entry_dpd_is_a_threshold_and_keeps_day_zero():
    rule = Definition(name="grace", label={}, meaning={}, entry_dpd=30, source="test")
    answer = run(history(a=[0, 10, 41, 10, 0]), definition=rule)
    # Cured on 30 Apr: 10 days past due is within the grace.
    assert spells(answer, "first_seen_day", *DAYS) == [(41, 0, 41, 71, "cured")]
    relapsed = run(history(a=[0, 10, 41, 10, 40, 0]), definition=rule)
    # The counter of 31 May began on 21 Apr, within the first spell, which ended on 30 Apr.
    assert spells(relapsed, "episode", *DAYS) == [(1, 0, 41, 71, "cured"), (2, 0, 31, 61, "cured")]


def test_entries_into_buckets_are_timed_from_the_day_reached():
    answer = run(history(a=[0, 10, 41, 71, 0]), function=bucket_entries)
    assert spells(answer, "bucket", "entry_day", "first_seen_day", "exit_day", "outcome") == [
        ("1–29", 0, 9, 101, "cured"),
        ("30–59", 0, 11, 72, "cured"),
        ("60–89", 0, 11, 42, "cured"),
    ]
    assert [str(d)[:10] for d in answer.reached_on] == ["2023-02-19", "2023-03-20", "2023-04-19"]
    assert answer.balance_at_entry.tolist() == [1010.0, 1041.0, 1071.0]


def test_first_seen_deep_enters_each_bucket_late_but_the_next_in_time():
    answer = run(history(a=[65, 93, 0]), function=bucket_entries)
    assert spells(answer, "bucket_from", "entry_day") == [(1, 64), (30, 35), (60, 5), (90, 0)]


def test_a_skipped_bucket_is_reached_no_earlier_than_the_day_after_the_last_snapshot():
    answer = run(history(a=[0, 1, 120, 0]), function=bucket_entries)
    reached = dict(zip(answer.bucket_from, answer.reached_on.astype(str).str[:10]))
    assert reached[30] == "2023-03-01" and reached[90] == "2023-03-01"


def test_covariates_keep_their_names_unless_taken():
    accounts = pd.DataFrame(
        {
            "account_id": ["a"],
            "customer_id": ["c1"],
            "balance": [7],
            "day": ["Monday"],
            "outcome": ["x"],
            'odd "name"': [1.5],
            "group": ["g"],
        }
    )
    for function in (episodes, bucket_entries):
        answer = run(history(a=[0, 10, 0]), accounts, function=function)
        row = answer.iloc[0]
        assert (row["balance"], row["day"], row["outcome_account"], row['odd "name"'], row["group"]) == (
            *(7, "Monday", "x", 1.5, "g"),
        )
        assert (row["outcome"], row["customer_id"]) == ("cured", "c1")


def test_an_account_unknown_to_the_accounts_table_is_its_own_customer():
    accounts = pd.DataFrame({"account_id": ["b"], "customer_id": [9]})
    answer = run(history(a=[0, 10], b=[0, 10]), accounts)
    assert answer.customer_id.tolist() == ["a", "9"]


@pytest.mark.parametrize("ids", [[1, 2], ["<script>alert(1)</script>", 'b"; DROP'], [1.5, 2.5]])
def test_ids_of_any_kind(ids):
    snapshots = history(a=[0, 10, 0], b=[5])
    snapshots["account_id"] = snapshots.account_id.map(dict(zip("ab", ids)))
    assert run(snapshots).account_id.tolist() == sorted(ids)


# ------------------------------------------------------------------------------------------- bad input


def test_bad_input_is_named():
    good = history(a=[0, 10])
    with pytest.raises(FrameError, match="days_past_due"):
        episodes(good.drop(columns="days_past_due"))
    with pytest.raises(FrameError, match="holds no values"):
        episodes(good.head(0))
    with pytest.raises(FrameError, match="not a date"):
        episodes(good.assign(as_of=good.as_of.astype(str)))
    with pytest.raises(FrameError, match="written off"):
        episodes(good.assign(status="written off"))
    with pytest.raises(FrameError, match="stand more than once"):
        episodes(good, pd.DataFrame({"account_id": ["a", "a"]}))
    with pytest.raises(FrameError, match="same type"):
        episodes(good, pd.DataFrame({"account_id": [1]}))
    with pytest.raises(ParamsError, match="current_once"):
        episodes(good, definition="curent_once")
    with pytest.raises(ParamsError, match="month_end"):
        episodes(good, observe="weekly")
    with pytest.raises(ParamsError, match="as_of"):
        episodes(good, as_of="last month")
    with pytest.raises(ParamsError, match="rising"):
        bucket_entries(good, buckets=(30, 1))
    with pytest.raises(ParamsError, match="≥ 1"):
        bucket_entries(good, buckets=(0, 30))


def test_rows_without_a_counter_are_not_used():
    snapshots = history(a=[0, 10, 41, 0])
    snapshots["days_past_due"] = [0, 10, float("nan"), 0]
    assert spells(run(snapshots), *DAYS) == [(0, 10, 71, "cured")]


def test_definitions_file_documents_the_built_in_ones():
    assert load_definitions(Path(__file__).parents[2] / "params" / "definitions.yml") == DEFINITIONS


def test_definitions_file_faults_are_listed_together(tmp_path):
    path = tmp_path / "definitions.yml"
    path.write_text(
        "mine: {label: {en: Mine}, probation_month: 2, entry_dpd: 0}\nother: 3\n", encoding="utf-8"
    )
    with pytest.raises(ParamsError) as caught:
        load_definitions(path)
    text = str(caught.value)
    for part in (
        "probation_months",
        "zh",
        "meaning",
        "source",
        "entry_dpd is 0",
        "other: expected a mapping",
    ):
        assert part in text


def test_own_definitions_can_be_used(tmp_path):
    path = tmp_path / "definitions.yml"
    path.write_text(
        "half_year: {label: {en: H, zh: 半年}, meaning: {en: M, zh: 义}, probation_months: 6, source: us}\n",
        encoding="utf-8",
    )
    answer = run(history(a=[0, 10] + [0] * 7), definition="half_year", definitions=load_definitions(path))
    assert str(answer.ended_on[0])[:10] == "2023-09-30"


def test_bucket_labels():
    assert bucket_labels((0, 1, 30, 60)) == {0: "current", 1: "1–29", 30: "30–59", 60: "60+"}


# ------------------------------------------------------------------------------------------ properties

SLOW = settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))


@st.composite
def books(draw, months: int = 12):
    value = st.one_of(
        st.just(0),
        st.integers(1, 130),
        st.none(),
        st.tuples(st.integers(0, 200), st.sampled_from(["closed", "charged_off", "settled", "sold"])),
    )
    accounts = {
        f"a{i}": draw(st.lists(value, min_size=months, max_size=months))
        for i in range(draw(st.integers(1, 12)))
    }
    return history(**accounts)


definition_names = st.sampled_from(sorted(DEFINITIONS))


def plain(snapshots, **options) -> pd.DataFrame:
    answer = episodes(snapshots, **options).collect("pyarrow").to_native().to_pandas()
    return answer.sort_values(["account_id", "episode"], ignore_index=True)


@SLOW
@given(books(), definition_names)
def test_each_delinquent_snapshot_is_in_exactly_one_spell_and_spells_do_not_overlap(snapshots, definition):
    answer = run(snapshots, definition=definition)
    late = snapshots[(snapshots.days_past_due >= 1) & (snapshots.status == "open")]
    counted = 0
    for _, spell in answer.iterrows():
        started = pd.Timestamp(spell.started_on)
        first = started + pd.Timedelta(days=spell.first_seen_day)
        last = started + pd.Timedelta(days=spell.exit_day)
        own = late[late.account_id == spell.account_id]
        dates = pd.to_datetime(own.as_of)
        inside = (dates >= first) & ((dates < last) | (spell.outcome == "censored"))
        assert inside.sum() >= 1
        assert own[inside].days_past_due.max() == spell.max_days_past_due
        counted += inside.sum()
        assert 0 <= spell.entry_day <= spell.first_seen_day <= spell.seen_day <= spell.exit_day
        assert spell.exit_day <= spell.observed_day
        if spell.outcome != "censored":
            assert spell.seen_day < spell.exit_day and spell.entry_day < spell.exit_day
        assert str(last)[:10] == str(spell.ended_on)[:10]
    assert counted == len(late)
    for _, own in answer.groupby("account_id"):
        assert own.episode.tolist() == list(range(1, len(own) + 1))
        ends = pd.to_datetime(own.ended_on).to_numpy()
        starts = pd.to_datetime(own.started_on).to_numpy()
        firsts = starts + own.first_seen_day.to_numpy() * pd.Timedelta(days=1).to_numpy()
        assert (firsts[1:] > ends[:-1]).all()
        assert (starts[1:] >= ends[:-1]).all()


@SLOW
@given(books(), definition_names, st.randoms(use_true_random=False))
def test_neither_row_order_nor_the_names_of_accounts_matter(snapshots, definition, random):
    before = plain(snapshots, definition=definition)
    order = list(range(len(snapshots)))
    random.shuffle(order)
    shuffled = snapshots.iloc[order].assign(account_id=lambda f: "z" + f.account_id)
    after = plain(shuffled, definition=definition)
    after["account_id"] = after.account_id.str[1:]
    after["customer_id"] = after.customer_id.str[1:]
    pd.testing.assert_frame_equal(before, after)


@SLOW
@given(books(), definition_names, st.integers(1, 11))
def test_an_earlier_as_of_only_truncates(snapshots, definition, month):
    cut = MONTH_ENDS[month]
    full = plain(snapshots, definition=definition).drop(columns="observed_day")
    early = plain(snapshots, definition=definition, as_of=cut).drop(columns="observed_day")
    ended = full[(full.outcome != "censored") & (pd.to_datetime(full.ended_on) <= pd.Timestamp(cut))]
    early_ended = early[early.outcome != "censored"]
    pd.testing.assert_frame_equal(ended.reset_index(drop=True), early_ended.reset_index(drop=True))
    keys = ["account_id", "episode", "started_on", "entry_day", "first_seen_day"]
    both = early[keys].merge(full[keys], how="left", indicator=True)
    assert (both._merge == "both").all()


@SLOW
@given(books(), definition_names)
def test_bucket_entries_agree_with_the_episodes(snapshots, definition):
    whole = run(snapshots, definition=definition)
    entered = run(snapshots, function=bucket_entries, definition=definition)
    first = entered[entered.bucket_from == 1]
    assert spells(first, "account_id", "episode", "outcome") == spells(
        whole, "account_id", "episode", "outcome"
    )
    for low in (30, 60, 90):
        reached = entered[entered.bucket_from == low]
        expected = whole[whole.max_days_past_due >= low]
        assert spells(reached, "account_id", "episode", "ended_on") == spells(
            expected, "account_id", "episode", "ended_on"
        )
    assert (entered.entry_day >= 0).all() and (entered.exit_day >= entered.first_seen_day).all()
    assert (entered.first_seen_day >= 0).all() and (entered.seen_day <= entered.exit_day).all()
    assert (
        entered.exit_day[entered.outcome != "censored"] > entered.entry_day[entered.outcome != "censored"]
    ).all()


@SLOW
@given(
    st.lists(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 70)), max_size=4), min_size=1, max_size=3),
    definition_names,
)
def test_daily_and_monthly_snapshots_of_the_same_accounts_agree(plans, definition):
    """Days are drawn as runs (current for x days, then late for y days) over seven months."""
    days = pd.date_range("2023-01-01", "2023-07-31")
    rows = []
    for i, plan in enumerate(plans):
        counter = [d for current, late in plan for d in [0] * (current + 1) + list(range(1, late + 1))]
        counter = (counter + [0] * len(days))[: len(days)]
        rows += [(i, day.date(), dpd) for day, dpd in zip(days, counter)]
    daily = pd.DataFrame(rows, columns=["account_id", "as_of", "days_past_due"])
    at_end = pd.to_datetime(daily.as_of).dt.is_month_end
    accounts = pd.DataFrame(
        {"account_id": range(len(plans)), "originated_on": [dt.date(2023, 1, 1)] * len(plans)}
    )
    monthly = run(daily[at_end], accounts, definition=definition)
    pd.testing.assert_frame_equal(monthly, run(daily, accounts, definition=definition, observe="month_end"))
    # Whatever the frequency, a spell seen at a month end has the same day 0.
    every = plain(daily)
    seen = plain(daily[at_end], definition="current_once")
    assert set(zip(seen.account_id, seen.started_on)) <= set(zip(every.account_id, every.started_on))


@pytest.mark.shared
def test_card_panel_conserves_its_delinquent_months(tmp_path):
    import zipfile

    from collectlab.core.engine import collect, connection

    packed = Path(__file__).parents[2].parent / "shared" / "data" / "cards" / "credit_record.csv.zip"
    if not packed.exists():
        pytest.skip("the card panel is not beside the checkout (../shared/data/cards)")
    with zipfile.ZipFile(packed) as archive:
        inner = next(n for n in archive.namelist() if n.endswith(".csv") and "MACOSX" not in n)
        archive.extract(inner, tmp_path)
    panel = connection().sql(f"""
        SELECT ID AS account_id, last_day(DATE '2020-01-15' + to_months(MONTHS_BALANCE)) AS as_of,
               CASE STATUS WHEN 'C' THEN 0 WHEN 'X' THEN 0 WHEN '0' THEN 1 ELSE STATUS::INT * 30 END
                 AS days_past_due
        FROM read_csv('{tmp_path / inner}', types={{'STATUS': 'VARCHAR'}})""")
    panel.create("card_panel_of_the_episodes_test")
    table = connection().table("card_panel_of_the_episodes_test")
    import narwhals as nw

    spells_ = collect(
        episodes(table).group_by("outcome").agg(n=nw.len(), accounts=nw.col("account_id").n_unique())
    ).set_index("outcome")
    # Spells begin where a delinquent month follows a current one or none at all: counted in plain SQL.
    begun = (
        connection()
        .sql("""
        SELECT count(*) FROM (SELECT days_past_due > 0 AND NOT coalesce(
          lag(days_past_due > 0) OVER (PARTITION BY account_id ORDER BY as_of), false) AS begins
          FROM card_panel_of_the_episodes_test) WHERE begins""")
        .fetchall()[0][0]
    )
    connection().sql("DROP TABLE card_panel_of_the_episodes_test")
    assert spells_.n.sum() == begun == 58_913
    assert spells_.n.to_dict() == {"cured": 47_901, "censored": 11_012}
