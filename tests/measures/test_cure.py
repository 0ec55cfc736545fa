"""Cure, re-default and sustained cure on small hand-worked tables."""

import datetime as dt

import numpy as np
import pandas as pd
import polars as pl
import pytest

from collectlab.book.open import open_book
from collectlab.core.errors import CollectlabError, FrameError
from collectlab.measures.cure import between_snapshots, cure_rate, definitions_compared, midway, redefault
from collectlab.measures.survival import cumulative_incidence, kaplan_meier


def spells(days, outcomes, **columns):
    return pd.DataFrame({"exit_day": days, "outcome": outcomes, **columns})


FIVE = spells([10, 40, 50, 70, 95], ["cured", "charged_off", "cured", "cured", "censored"])


def test_cure_rate_is_aalen_johansen_from_day_0():
    rates = cure_rate(FIVE, horizons=(30, 60, 90)).table
    curve = cumulative_incidence(FIVE).at([30, 60, 90]).query("outcome == 'cured'")
    for column in ("estimate", "std_error", "conf_low", "conf_high"):
        assert rates[column].tolist() == pytest.approx(curve[column].tolist())
    assert rates["events"].tolist() == [1, 2, 3]
    assert rates["at_risk"].tolist() == [5, 5, 5]


def test_competing_charge_off_keeps_the_rate_below_kaplan_meiers():
    complement = 1 - kaplan_meier(FIVE).at(90)["estimate"].iloc[0]
    assert cure_rate(FIVE, horizons=(90,)).table["estimate"].iloc[0] < complement


def test_restart_conditions_on_being_still_delinquent():
    table = cure_rate(FIVE, horizons=(10, 30), from_day=40).table  # day 40's charge-off is past
    assert table["at_risk"].tolist() == [3, 3]
    assert table["estimate"].tolist() == pytest.approx([1 / 3, 2 / 3])


def test_restart_is_the_ratio_of_incidences():
    rng = np.random.default_rng(5)
    frame = spells(rng.integers(1, 200, 400), rng.choice(["cured", "sold", "censored"], 400))
    curves = cumulative_incidence(frame)
    at = curves.table.pivot(index="day", columns="outcome", values="estimate")
    then, later = at.loc[:60].iloc[-1], at.loc[:120].iloc[-1]
    expected = (later["cured"] - then["cured"]) / (1 - then.sum())
    assert cure_rate(frame, horizons=(60,), from_day=60).table["estimate"].iloc[0] == pytest.approx(expected)


def test_late_entry_counts_from_its_day():
    frame = spells([20, 30, 80, 90], ["cured", "censored", "cured", "cured"], entry_day=[0, 0, 25, 70])
    table = cure_rate(frame, horizons=(25, 60)).table
    assert table["at_risk"].tolist() == [2, 3]
    assert table["estimate"].tolist() == pytest.approx([1 / 2, 1 / 2])
    assert cure_rate(frame, horizons=(85,)).table["estimate"].iloc[0] == pytest.approx(1 / 2 + 1 / 2 * 1 / 2)
    everybody = cure_rate(frame, horizons=(25,), entry=None).table
    assert everybody["at_risk"].tolist() == [4]


def test_beyond_the_follow_up_is_missing_and_said():
    rates = cure_rate(spells([10, 50, 20], ["cured", "censored", "cured"], team=list("AAB")), by="team")
    assert rates.table["estimate"].isna().tolist() == [False, True, True, False, False, False]
    assert "team=A (followed up to day 50)" in rates.notes[-1]
    assert rates.table.query("team == 'B'")["estimate"].tolist() == [1, 1, 1]  # all cured: known for good


def test_nobody_at_risk_is_missing_and_said():
    late = cure_rate(spells([50, 70], "cured", entry_day=[40, 45]), horizons=(60,))
    assert late.table["estimate"].isna().all()
    assert "first seen on day 40" in late.notes[-1]
    gap = cure_rate(spells([9, 50], ["censored", "cured"], entry_day=[0, 20]), horizons=(5, 60)).table
    assert gap["estimate"].isna().tolist() == [False, True]
    after = cure_rate(spells([9, 50], "cured", team=["A", "B"]), horizons=(5,), from_day=20, by="team")
    assert after.table["at_risk"].tolist() == [0, 1]
    assert "nobody was still delinquent on day 20" in after.notes[-1]


def test_several_events_and_codes():
    assert cure_rate(FIVE, event=("cured", "charged_off")).table["events"].tolist() == [1, 3, 4]
    coded = FIVE.assign(outcome=[1, 2, 1, 1, 0])
    assert cure_rate(coded, event=1).table["estimate"].tolist() == cure_rate(FIVE).table["estimate"].tolist()


def test_bucket_entries_say_what_day_0_is():
    frame = spells([10, 40], "cured", bucket=["1–29", "30–59"], reached_on=dt.date(2024, 1, 1))
    rates = cure_rate(frame, by="bucket")
    assert "reaching the bucket" in rates.estimand
    assert rates.table["bucket"].tolist() == ["1–29"] * 3 + ["30–59"] * 3


def test_clustered_error_is_larger_where_customers_repeat():
    rng = np.random.default_rng(11)
    customer = np.arange(300)
    quick = rng.random(300) < 0.5
    frame = spells(np.repeat(np.where(quick, 10, 100), 4), "cured", customer_id=np.repeat(customer, 4))
    plain = cure_rate(frame, horizons=(30,)).table.iloc[0]
    clustered = cure_rate(frame, horizons=(30,), cluster="customer_id")
    row = clustered.table.iloc[0]
    assert row["estimate"] == pytest.approx(plain["estimate"])
    assert row["std_error"] / plain["std_error"] == pytest.approx(2, rel=0.25)  # 4 copies: √4
    assert row["conf_low"] < row["estimate"] < row["conf_high"]
    assert "customer_id" in clustered.notes[-1]


def test_clustered_estimate_with_late_entry_is_the_same():
    rng = np.random.default_rng(2)
    entry = rng.integers(0, 40, 500) * (rng.random(500) < 0.5)
    frame = spells(entry + rng.integers(1, 90, 500), rng.choice(["cured", "sold", "censored"], 500))
    frame = frame.assign(entry_day=entry, customer_id=[f"c{i // 2}" for i in range(500)])
    one, other = (cure_rate(frame, cluster=c, from_day=10).table for c in (None, "customer_id"))
    assert one["estimate"].tolist() == pytest.approx(other["estimate"].tolist())
    assert (other["std_error"] / one["std_error"]).between(0.6, 1.6).all()


def test_snapshots_far_apart_are_said_and_midway_moves_the_dates():
    frame = spells([41, 60], ["cured", "censored"], seen_day=[10, 60], entry_day=0)
    assert "A horizon of 30 days is shorter than the gap" in cure_rate(frame).notes[-2]
    moved = cure_rate(midway(frame), horizons=(30, 60))
    assert moved.table["events"].tolist() == [1, 1]
    assert any("midway" in note for note in moved.notes)
    assert not any("average" in note for note in moved.notes)
    lazy = midway(pl.from_pandas(frame).lazy()).to_native().collect()
    assert lazy["exit_day"].to_list() == [26, 60]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"horizons": (0,)}, "whole days ≥ 1"),
        ({"horizons": ()}, "whole days"),
        ({"horizons": "soon"}, "whole days"),
        ({"from_day": -1}, "from_day is -1"),
        ({"event": "cure"}, "Did you mean 'cured'"),
        ({"entry": "first_day"}, "no column 'first_day'"),
        ({"cluster": "customer"}, "no column 'customer'"),
        ({"conf_level": 1}, "conf_level"),
    ],
)
def test_bad_input_is_named(arguments, words):
    with pytest.raises(FrameError, match=words):
        cure_rate(FIVE, **arguments)


# Account 1 relapses 80 days after its cure, 2 never, 3 is cured on its last snapshot, 4 is not cured.
HISTORY = pd.DataFrame(
    {
        "account_id": [1, 1, 2, 3, 4],
        "episode": [1, 2, 1, 1, 1],
        "exit_day": [20, 10, 30, 15, 40],
        "observed_day": [300, 200, 230, 15, 40],
        "outcome": ["cured", "cured", "cured", "cured", "charged_off"],
        "region": list("NNSSS"),
    }
)


def test_redefault_by_hand():
    rates = redefault(HISTORY, horizons=(79, 80, 190))
    # Cures followed up: account 1 (relapse after 80), 1 again (190 days, none), 2 (200 days, none).
    assert rates.table["at_risk"].tolist() == [3, 3, 3]
    assert rates.table["events"].tolist() == [0, 1, 1]
    assert rates.table["estimate"].tolist() == pytest.approx([0, 1 / 3, 1 / 3])
    assert "1 of 4 cures have no later snapshot" in rates.notes[0]
    assert "from_day" not in rates.table


def test_redefault_by_group_in_polars_and_pandas():
    for frame in (HISTORY, pl.from_pandas(HISTORY).lazy()):
        table = redefault(frame, horizons=(100,), by="region").table
        assert table[["region", "events"]].to_numpy().tolist() == [["N", 1], ["S", 0]]


def test_redefault_without_cures():
    with pytest.raises(FrameError, match="no episode was cured"):
        redefault(HISTORY.assign(outcome="sold"))
    with pytest.raises(FrameError, match="no episode is followed up"):
        redefault(HISTORY.iloc[[3]])
    with pytest.raises(FrameError, match="no column 'observed_day'"):
        redefault(HISTORY.drop(columns="observed_day"))


def monthly(paths, start="2024-01-31"):
    """Snapshots at month ends from days past due; "x" closes the account, "-" is charged off, None no row."""
    dates = pd.date_range(start, periods=max(map(len, paths)), freq="ME").date
    rows = [
        (i + 1, day, {"x": 0, "-": 120}.get(d, d), {"x": "closed", "-": "charged_off"}.get(d, "open"))
        for i, path in enumerate(paths)
        for day, d in zip(dates, path)
        if d is not None
    ]
    snapshots = pd.DataFrame(rows, columns=["account_id", "as_of", "days_past_due", "status"])
    return open_book(
        {"accounts": pd.DataFrame({"account_id": range(1, len(paths) + 1)}), "snapshots": snapshots}
    )


def test_closing_competes_with_redefault_where_the_book_tells():
    book = monthly(
        [
            [0, 10, 0, 0, 10, 0, 0, 0, 0, 0],  # relapses
            [0, 10, 0, 0, 0, 0, 0, 0, 0, 0],
            [0, 10, "x"],  # cured by closing: cannot relapse
            [0, 10, 0, "x"],
        ]
    )
    told = redefault(book, horizons=(100,)).table.iloc[0]
    assert (told["at_risk"], told["events"], told["estimate"]) == (5, 1, pytest.approx(1 / 5))
    untold = redefault(book.episodes(), horizons=(100,)).table.iloc[0]
    assert untold["at_risk"] == 4
    assert untold["estimate"] > told["estimate"]


DEFINITIONS = ["current_once", "current_one_cycle"]


def test_definitions_side_by_side():
    book = monthly(
        [
            [0, 10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],  # cured for good
            [0, 10, 0, 10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],  # relapses after one month, then cured for good
            [0, 10, 0, 0, 0, 10, 40, 70, 100, "-"],  # relapses after three months, then charged off
            [0, 10, 40, 70, 100, 130, "-"],
        ]
    )
    rates = definitions_compared(book, horizon=60, redefault_horizon=120, definitions=DEFINITIONS)
    table = rates.table
    assert table["measure"].nunique() == 3
    assert list(dict.fromkeys(table["definition"])) == DEFINITIONS
    table["measure"] = table["measure"].str.split().str[0].str.strip(":")
    once, cycle = (table[table["definition"] == d].set_index("measure")["estimate"] for d in DEFINITIONS)
    # Six spells; four are cured by day 60, two of them relapse within 120 days.
    assert once["cured"] == pytest.approx(4 / 6)
    assert once["re-defaulted"] == pytest.approx(2 / 4)
    assert once["sustained"] == pytest.approx(2 / 6)
    # One month of probation: five spells, none cured before day 71, one of the three cures relapses.
    assert cycle["cured"] == cycle["sustained"] == 0
    assert cycle["re-defaulted"] == pytest.approx(1 / 3)
    rates.plot()


def test_definitions_of_a_short_book_are_missing_not_guessed():
    rates = definitions_compared(monthly([[0, 10, 0], [0, 10, 41]]), definitions="current_once")
    assert rates.table["estimate"].isna().all()
    assert rates.notes
    with pytest.raises(FrameError, match="is no book"):
        definitions_compared(HISTORY)


def test_sustained_recovers_the_truth_under_staggered_follow_up():
    """Late relapse follows late cure: the naive product is off, the verdict's own curve is not."""
    rng = np.random.default_rng(1)
    n, r = 4_000, 180
    cure = rng.choice([30, 90], n)
    relapse = np.where(cure == 90, 100, 10_000) * 1  # every slow cure relapses after 100 days, no quick one
    follow = rng.integers(60, 600, n)  # staggered follow-up
    cured = cure <= follow
    relapsed = cured & (cure + relapse <= follow)
    first = pd.DataFrame(
        {
            "account_id": range(n),
            "episode": 1,
            "entry_day": 0,
            "exit_day": np.where(cured, cure, follow),
            "observed_day": follow,
            "outcome": np.where(cured, "cured", "censored"),
        }
    )
    second = first[relapsed].assign(
        episode=2, exit_day=1, observed_day=(follow - cure - relapse)[relapsed] + 1, outcome="censored"
    )
    second["observed_day"] -= 1
    from collectlab.core.engine import scan
    from collectlab.measures.cure_after import followed_up
    from collectlab.measures.cure_definitions import _sustained

    frame = pd.concat([first, second])
    row = _sustained(followed_up(scan(frame), None), 90, r, 0.95, None).table.iloc[0]
    assert row["estimate"] == pytest.approx((cure == 30).mean(), abs=3 * row["std_error"])
    assert row["conf_low"] < 0.5 < row["conf_high"]


def test_charts():
    frame = FIVE.assign(team=list("AABBC"))
    assert cure_rate(FIVE).plot().get_title("left").startswith("Cured within 30/60/90 days")
    ax = cure_rate(frame, by="team").plot(max_groups=2)
    assert "2 largest of 3" in ax.get_title("left")
    assert [t.get_text() for t in ax.get_yticklabels()] == ["A", "B"]


def test_definitions_are_shown_one_line_each_with_sustained_cure_first():
    book = monthly([[0, 10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], [0, 10, 0, 10, 0, 0, 0, 0, 0, 0, 0, 0]])
    rates = definitions_compared(
        book, horizon=(60, 120), redefault_horizon=(30, 90), definitions=["current_once", "eba_three_months"]
    )
    table = rates.table
    assert table["measure"].str.split().str[0].tolist() == ["sustained", "sustained"] * 1 + [
        "cured",
        "cured",
        "re-defaulted",
        "re-defaulted",
    ] + ["sustained", "sustained", "cured", "cured", "re-defaulted", "re-defaulted"]
    shown = rates.display_table()
    assert shown["Definition"].tolist() == ["current_once", "eba_three_months"]
    assert shown.columns[2] == "Sustained within 60 days" and shown.shape == (2, 8)
    assert "Nobody is cured: eba_three_months within 60 days" in rates.notes[-1]
    # Three spells under the one, two under the other; one relapse 20 days after its cure, none under EBA.
    once, eba = (table[table["definition"] == d]["estimate"].tolist() for d in shown["Definition"])
    assert once == pytest.approx([2 / 3, 2 / 3, 1, 1, 1 / 3, 1 / 3])
    assert eba[0] == eba[2] == 0
    assert len(rates.plot().get_legend().get_texts()) == 3


def test_cure_by_bucket_given_that_it_was_reached():
    book = monthly(
        [
            [0, 10, 41, 0, 0, 0, 0, 0],  # reaches 30–59, cured 2 months after that
            [0, 10, 41, 72, 103, 133, 163, 194],  # reaches all
            [0, 10, 0, 0, 0, 0, 0, 0],  # only 1–29
        ]
    )
    rates = cure_rate(book.bucket_entries(), by="bucket", horizons=(61,))
    table = rates.table.set_index("bucket")
    assert table["at_risk"].tolist() == [3, 2, 1, 1]
    assert table["estimate"].tolist() == pytest.approx([1 / 3, 1 / 2, 0, 0])
    assert "reaching the bucket" in rates.estimand
    # Two spells, both first seen on day 11 of their bucket: what came before cannot be told.
    spread = between_snapshots(book.bucket_entries(), by="bucket", horizons=(61,))
    assert np.isnan(spread.table.set_index("bucket").loc["30–59", "estimate"])
    assert "bucket=30–59 (first seen on day 11)" in spread.notes[-1]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"horizon": 0}, "whole days ≥ 1"),
        ({"horizon": (90, 2.5)}, "whole days"),
        ({"redefault_horizon": -30}, "whole days"),
        ({"definitions": ()}, "definitions is empty"),
        ({"definitions": "eba_three_month"}, "Did you mean eba_three_months"),
        ({"cluster": "customer"}, "no column 'customer'"),
    ],
)
def test_comparing_definitions_names_bad_input(arguments, words):
    with pytest.raises(CollectlabError, match=words):
        definitions_compared(monthly([[0, 10, 0, 0]]), **arguments)
