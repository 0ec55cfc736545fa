"""Intention-to-treat effects: by hand, against statsmodels row by row, and the published letters."""

from __future__ import annotations

import datetime as dt
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import collectlab as cl
from collectlab.core.errors import FrameError, NotAvailable
from collectlab.effects import experiment, experiment_frame

SHARED = Path(__file__).parents[2].parent / "shared" / "data"


def people(**columns) -> pd.DataFrame:
    return pd.DataFrame({"arm": ["none"] * 4 + ["firm"] * 4, "paid": [0, 0, 1, 0, 1, 1, 0, 1]} | columns)


def trial(n: int = 600) -> pd.DataFrame:
    """Three arms, four blocks, a numeric and a text covariate (both with gaps), repeated customers."""
    rng = np.random.default_rng(7)
    frame = pd.DataFrame(
        {
            "the arm": rng.choice(["a", "b", "c"], n),
            'block "x"': rng.choice(list("wxyz"), n),
            "score": rng.normal(size=n).round(1),
            "kind": rng.choice(["u", "v", None], n),
            "customer": rng.integers(0, 150, n),
        }
    )
    treated = frame["the arm"] == "b"
    frame["group"] = (
        frame["score"] + 0.4 * treated + frame['block "x"'].map({"w": 0, "x": 1, "y": 2, "z": 3})
        + rng.normal(size=n) * (1 + treated)
    ).round(3)  # fmt: skip
    return frame


def by_rows(frame: pd.DataFrame, columns: list[pd.DataFrame | pd.Series], **how) -> pd.DataFrame:
    """The same regression by statsmodels, on the rows themselves."""
    import statsmodels.api as sm

    arms = pd.get_dummies(frame["the arm"]).astype(float)[["b", "c"]]
    fitted = sm.OLS(frame["group"], pd.concat([arms, *columns], axis=1).astype(float)).fit(**how)
    return pd.DataFrame({"estimate": fitted.params[["b", "c"]], "std_error": fitted.bse[["b", "c"]]})


def ours(frame: pd.DataFrame, **options) -> pd.DataFrame:
    result = experiment(frame, arm="the arm", control="a", outcomes="group", **options)
    return result.table.set_index("arm")[["estimate", "std_error"]].rename_axis(None)


def constant(frame: pd.DataFrame) -> pd.Series:
    return pd.Series(1.0, index=frame.index, name="constant")


def lin(frame: pd.DataFrame) -> list[pd.DataFrame]:
    kind = pd.get_dummies(frame["kind"].fillna("(missing)")).astype(float).iloc[:, 1:]
    x = pd.concat([frame["score"], kind], axis=1)
    x = x - x.mean()
    return [x] + [x.mul((frame["the arm"] == a).astype(float), axis=0).add_prefix(a) for a in "bc"]


def test_two_means_by_hand():
    row = experiment(people(), arm="arm", control="none", outcomes="paid").table.iloc[0]
    # Both arms: variance of the mean under HC3 is Σe²/(1 − 1/4)²/4² = 0.75/0.5625/16.
    assert (row["arm"], row["n"], row["control_n"], row["unit"]) == ("firm", 4, 4, "points")
    assert row["control_mean"] == 0.25
    assert row["estimate"] == pytest.approx(0.5)
    assert row["std_error"] == pytest.approx(math.sqrt(2 * 0.75 / 0.5625 / 16))
    # t(6) at 97.5 % is 2.446912.
    assert row["conf_high"] == pytest.approx(0.5 + 2.446912 * row["std_error"], abs=1e-6)


def test_hc3_agrees_with_the_rows():
    frame = trial()
    pd.testing.assert_frame_equal(ours(frame), by_rows(frame, [constant(frame)], cov_type="HC3"))


def test_blocks_agree_with_the_rows():
    frame = trial()
    blocks = pd.get_dummies(frame['block "x"'], prefix="block")
    expected = by_rows(frame, [blocks], cov_type="HC3")
    pd.testing.assert_frame_equal(ours(frame, block='block "x"'), expected)


def test_covariates_agree_with_the_rows():
    frame = trial()
    expected = by_rows(frame, [constant(frame), *lin(frame)], cov_type="HC3")
    pd.testing.assert_frame_equal(ours(frame, covariates=["score", "kind"]), expected)
    assert (expected["std_error"] < ours(frame)["std_error"]).all()


def test_clusters_agree_with_the_rows():
    frame = trial()
    expected = by_rows(
        frame, [constant(frame), *lin(frame)], cov_type="cluster", cov_kwds={"groups": frame["customer"]}
    )
    pd.testing.assert_frame_equal(ours(frame, covariates=["score", "kind"], cluster="customer"), expected)


def test_the_order_and_kind_of_frame_do_not_matter():
    import polars as pl

    frame = trial(200)
    once = experiment(frame, arm="the arm", control="a", outcomes="group").table
    shuffled = experiment(
        frame.sample(frac=1, random_state=1), arm="the arm", control="a", outcomes="group"
    ).table
    lazy = experiment(pl.from_pandas(frame).lazy(), arm="the arm", control="a", outcomes="group").table
    pd.testing.assert_frame_equal(once, shuffled, check_exact=True)
    pd.testing.assert_frame_equal(once, lazy, check_exact=True)


def test_missing_outcomes_and_arms_are_counted():
    frame = people(paid=[0, 0, 1, np.nan, 1, None, 0, 1])
    frame.loc[8] = [None, 1]
    result = experiment(frame, arm="arm", control="none", outcomes="paid")
    assert result.table["n"].tolist() == [3] and result.table["control_n"].tolist() == [3]
    assert "paid: 2 of 8 accounts have no value and are not counted." in result.notes
    assert "1 rows without arm are not counted." in result.notes


def test_a_covariate_with_gaps_keeps_every_row():
    frame = trial()
    frame.loc[::5, "score"] = np.nan
    result = experiment(frame, arm="the arm", control="a", outcomes="group", covariates="score")
    assert result.table["n"].sum() + result.table["control_n"].iloc[0] == len(frame)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"control": "nune"}, "Did you mean none"),
        ({"outcomes": "payd"}, "Did you mean paid"),
        ({"outcomes": "arm"}, "numbers or true/false"),
        ({"outcomes": "same"}, "same is 1 for all 8 accounts"),
        ({"outcomes": "late"}, "no accounts in arm firm"),
        ({"outcomes": "endless"}, "1 infinite values"),
        ({"block": "arm"}, "no block holds both"),
        ({"cluster": "same"}, "only one cluster in arm"),
        ({"covariates": "arm"}, "which is the arm"),
        ({"conf_level": 95}, "between 0 and 1"),
    ],
)
def test_what_cannot_be_compared_is_refused(options, said):
    frame = people(same=1, late=[1.0, 0, 1, 0, *[None] * 4], endless=[0, 1, 2, 3, 4, 5, 6, np.inf])
    with pytest.raises(FrameError, match=said):
        experiment(frame, **{"arm": "arm", "control": "none", "outcomes": "paid"} | options)


@pytest.mark.parametrize("rows", [people()[:0], people()[:1], people()[:4]])
def test_fewer_than_two_arms_is_refused(rows):
    with pytest.raises(FrameError, match="two arms or more"):
        experiment(rows, arm="arm", outcomes="paid")


def test_an_arm_of_one_account_has_no_standard_error():
    row = experiment(people()[:5], arm="arm", control="none", outcomes="paid").table.iloc[0]
    assert row["estimate"] == pytest.approx(0.75)
    assert np.isnan(row["std_error"]) and np.isnan(row["conf_low"]) and np.isnan(row["p_value"])


@pytest.mark.parametrize(
    ("arms", "control"),
    [
        (["Holdout", "Lien", "Lien", "champion"], "Holdout"),
        (["challenger", "challenger", "champion", "challenger"], "champion"),
        (["x", "y", "y", "x", "y"], "y"),
    ],
)
def test_the_usual_control_is_taken(arms, control):
    frame = pd.DataFrame({"strategy": arms * 5, "paid": list(range(5)) * len(arms)})
    assert experiment(frame, outcomes="paid").control == control


def test_a_forest_plot_has_a_mark_for_each_arm():
    frame = pd.DataFrame(
        {"arm": list("abc") * 20, "paid_within_30": [0, 1, 1, 0] * 15, "paid_within_90": [1, 1, 0] * 20}
    )
    frame.loc[0, "paid_within_90"] = 0
    ax = experiment(frame, arm="arm", control="a").plot()
    assert [t.get_text() for t in ax.get_yticklabels()] == ["b", "c"]
    assert len(ax.get_legend().get_texts()) == 2


# --- the frame of a book ----------------------------------------------------------------------------------


def small_book(**changed):
    """Five accounts drawn on 1 March, one chosen; followed to 30 June (121 days)."""
    day = dt.date
    accounts = pd.DataFrame({"account_id": [1, 2, 3, 4, 5, 6], "region": list("nnnsss")})
    snapshots = pd.DataFrame(
        [(i, day(2025, 2, 28), late) for i, late in enumerate([10, 40, 10, 0, 5, 9], 1)]
        + [(1, day(2025, 3, 31), 0), (2, day(2025, 3, 31), 71), (2, day(2025, 5, 31), 0)]
        + [(i, day(2025, 6, 30), 0) for i in (1, 2, 3, 4, 5, 6)],
        columns=["account_id", "as_of", "days_past_due"],
    )
    payments = pd.DataFrame(
        [
            (1, day(2025, 3, 1), 50.0),
            (1, day(2025, 3, 31), 10.1),
            (2, day(2025, 4, 1), 5.0),
            (2, day(2025, 4, 2), 7.2),
        ],
        columns=["account_id", "paid_on", "amount"],
    )
    assignments = pd.DataFrame(
        [
            (1, "champion", day(2025, 3, 1), True),
            (2, "challenger", day(2025, 3, 1), True),
            (2, "champion", day(2025, 5, 1), True),
            (3, "champion", day(2025, 3, 1), True),
            (4, "challenger", day(2025, 3, 1), True),
            (5, "challenger", day(2025, 6, 15), True),
            (6, "champion", day(2025, 3, 1), False),
        ],
        columns=["account_id", "strategy", "assigned_on", "randomised"],
    )
    tables = {
        "accounts": accounts,
        "snapshots": snapshots,
        "payments": payments,
        "assignments": assignments,
    } | changed
    return cl.open_book({name: table for name, table in tables.items() if table is not None})


def followed(horizons=(30, 90), **changed) -> pd.DataFrame:
    from collectlab.core.engine import collect

    frame = collect(experiment_frame(small_book(**changed), horizons=horizons))
    frame["account_id"] = frame["account_id"].astype(int)
    return frame.sort_values("account_id").set_index("account_id")


def listed(column: pd.Series) -> list:
    return [None if pd.isna(v) else v for v in column]


def test_what_followed_is_counted_from_the_day_after_to_the_horizon():
    frame = followed()
    assert frame["strategy"].tolist() == ["champion", "challenger", "champion", "challenger", "challenger"]
    # Account 1 paid on the day itself (not counted) and on day 30; account 2 on days 31 and 32.
    assert listed(frame["paid_within_30"]) == [1, 0, 0, 0, None]
    assert listed(frame["amount_within_30"]) == [10.1, 0, 0, 0, None]
    assert listed(frame["amount_within_90"]) == [10.1, 12.2, 0, 0, None]
    assert frame["region"].tolist() == ["n", "n", "n", "s", "s"]


def test_current_is_what_the_last_snapshot_by_that_day_shows():
    frame = followed(horizons=(30, 91, 121))
    assert listed(frame["current_after_30"]) == [1, 0, None, None, None]
    # Account 2 is current on 31 May (day 91), which the snapshot of 31 March did not show.
    assert listed(frame["current_after_91"]) == [1, 1, None, None, None]
    assert listed(frame["current_after_121"]) == [1, 1, 1, 1, None]


def test_relapse_and_sale_are_not_current():
    day = dt.date
    snapshots = pd.DataFrame(
        {
            "account_id": [1, 1, 2, 3, 4],
            "as_of": [day(2025, 3, 10), *[day(2025, 3, 20)] * 3, day(2025, 6, 30)],
            "days_past_due": [0, 4, 0, 0, 0],
            "status": ["open", "open", "closed", "sold", None],
        }
    )
    assert listed(followed(horizons=(30,), snapshots=snapshots)["current_after_30"]) == [0, 1, 0, None, None]


def test_the_first_family_shows_each_horizon_and_the_others_their_longest():
    table = experiment(experiment_frame(small_book(), horizons=(30, 60))).table
    assert table["outcome"].tolist() == [
        "paid_within_30",
        "paid_within_60",
        "current_after_60",
        "amount_within_60",
    ]


def test_a_horizon_beyond_the_book_is_left_out_and_said():
    result = experiment(experiment_frame(small_book(), horizons=(30, 365)))
    assert set(result.table["outcome"]) == {"paid_within_30", "amount_within_30", "current_after_30"}
    assert any("paid_within_365" in note for note in result.notes)


def test_without_payments_only_the_snapshots_speak():
    columns = followed(payments=None).columns
    assert [c for c in columns if c.endswith("_30")] == ["current_after_30"]


@pytest.mark.parametrize("change", ["none", "no column", "no table"])
def test_a_book_without_an_experiment_says_so(change):
    assignments = pd.DataFrame({"account_id": [1], "strategy": ["a"], "assigned_on": [dt.date(2025, 3, 1)]})
    if change == "none":
        assignments["randomised"] = False
    with pytest.raises(NotAvailable):
        followed(assignments=None if change == "no table" else assignments)


@pytest.mark.parametrize("horizons", [(), (0,), (30.5,)])
def test_horizons_are_whole_days(horizons):
    with pytest.raises(FrameError, match="whole days"):
        followed(horizons=horizons)


# --- the published experiment -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def letters(tmp_path_factory):
    if not (SHARED / "letters").is_dir():
        pytest.skip("../shared/data/letters is not here: the published experiment cannot be recomputed")
    from collectlab.book.sources import import_source

    folder = tmp_path_factory.mktemp("books") / "letters"
    import_source("letters", SHARED / "letters", folder)
    return cl.open_book(folder)


PUBLISHED = {"Lien": (9.2, 1.5), "Sheriff": (8.8, 1.5)}


@pytest.mark.shared
@pytest.mark.parametrize("way", ["payments", "flags"])
def test_the_published_three_month_effects(letters, way):
    frame = experiment_frame(letters, horizons=(90,))
    outcome = "paid_within_90" if way == "payments" else "ever_paid_sep"
    table = experiment(frame, control="Holdout", outcomes=outcome).table.set_index("arm")
    assert table["control_n"].unique().tolist() == [2_088]
    assert table["n"].sum() + 2_088 == 19_039
    assert round(100 * table["control_mean"].iloc[0], 1) == 51.4
    for arm, (effect, error) in PUBLISHED.items():
        assert round(100 * table.loc[arm, "estimate"], 1) == effect
        assert round(100 * table.loc[arm, "std_error"], 1) == error


@pytest.mark.shared
def test_current_after_three_months_is_paid_in_full_in_september(letters):
    from collectlab.core.engine import collect

    frame = collect(experiment_frame(letters, horizons=(90,)).select("current_after_90", "paid_full_sep"))
    assert len(frame) == 19_039
    assert (frame["current_after_90"] == frame["paid_full_sep"]).all()


# All seven letters, from the file's own flags and sums and from the imported book.
OWNERS = SHARED / "letters" / "owners.csv.gz"
READ_OUTS = {"ever_paid": "paid_within", "paid_full": "current_after", "total_paid": "amount_within"}


@pytest.fixture(scope="module")
def owners() -> pd.DataFrame:
    if not OWNERS.exists():
        pytest.skip("../shared/data/letters is not here: the published experiment cannot be recomputed")
    frame = pd.read_csv(OWNERS)
    return frame[frame["unq_own"] == 1]


@pytest.mark.shared
def test_all_letters_from_the_file_and_from_the_book(owners, letters):
    """Flags and sums of the file, and what the imported book shows, at one, three and six months."""
    months = {"jul": 30, "sep": 90, "dec": 180}
    of_file = [f"{kind}_{month}" for kind in READ_OUTS for month in months]
    of_book = [f"{kind}_{days}" for kind in READ_OUTS.values() for days in months.values()]
    raw = experiment(owners, arm="treat8", control="Holdout", outcomes=of_file)
    frame = experiment_frame(letters, horizons=tuple(months.values()))
    book = experiment(frame, control="Holdout", outcomes=of_book)
    assert len(raw.table) == len(book.table) == 63
    assert raw.table["arm"].tolist() == book.table["arm"].tolist()
    columns = ["control_mean", "estimate", "std_error"]
    there, here = (r.table.set_index("outcome")[columns] for r in (raw, book))
    # The importer changes what the source says it changes (payments that shrink), and nothing else.
    for one, other in zip(of_file, of_book):
        tolerance = {"ever": 0.002, "paid": 1e-9, "total": 8.0}[one.split("_")[0]]
        if one in ("ever_paid_sep", "total_paid_sep"):
            tolerance = 2e-4 if one.startswith("ever") else 0.01
        gap = np.abs(there.loc[one].to_numpy() - here.loc[other].to_numpy()).max()
        assert gap <= tolerance, (one, gap)


@pytest.mark.shared
def test_the_letters_are_plain_differences_of_means(owners):
    """Against the textbook formula: two means, HC3 of two groups."""
    table = experiment(
        owners, arm="treat8", control="Holdout", outcomes=["paid_full_jul", "ever_paid_dec", "total_paid_dec"]
    ).table
    for row in table.itertuples():
        ours, none = (owners.loc[owners["treat8"] == a, row.outcome] for a in (row.arm, "Holdout"))
        assert row.estimate == pytest.approx(ours.mean() - none.mean())
        # HC3 divides each squared residual by (1 − 1/n)²: the sum over n² becomes the sum over (n − 1)².
        error = math.sqrt(sum(((v - v.mean()) ** 2).sum() / (len(v) - 1) ** 2 for v in (ours, none)))
        assert row.std_error == pytest.approx(error)


@pytest.mark.shared
def test_only_two_letters_stand_out_when_all_seven_are_counted(owners):
    table = experiment(owners, arm="treat8", control="Holdout", outcomes="ever_paid_sep").table
    assert set(table.loc[table["p_adjusted"] < 0.01, "arm"]) == {"Lien", "Sheriff"}
    # Five letters leave 0 outside their own interval; of these one more (by a hair) outside the common one.
    assert set(table.loc[table["conf_low"] > 0, "arm"]) == {"Lien", "Sheriff", "Reminder", "Peer", "Duty"}
    assert set(table.loc[table["sim_low"] > 0, "arm"]) == {"Lien", "Sheriff", "Reminder"}


@pytest.mark.shared
def test_the_letters_pass_their_checks(owners):
    from collectlab.effects.experiment_checks import experiment_checks

    early = pd.to_datetime(owners["earliest_pmt_dec"]) < "2015-06-15"
    frame = owners.assign(early=early.astype(int))
    assert 0.09 < frame["early"].mean() < 0.11  # a tenth had paid before
    sent = frame[frame["treat8"] != "Holdout"]
    equal = dict.fromkeys(sent["treat8"].unique(), 1)
    made = experiment_checks(
        sent,
        arm="treat8",
        shares=equal,
        baseline=["total_due", "assessed_mv", "tenure", "early"],
        outcomes=["ever_paid_sep", "total_paid_dec"],
        unit="owner_id",
    )
    assert {c.name: c.passed for c in made} == dict.fromkeys(
        ["sample_ratio", "balance", "attrition", "one_arm"], True
    )


@pytest.mark.shared
def test_what_a_letter_is_worth(owners, letters):
    from collectlab.effects.experiment_worth import worth

    options = {"control": "Holdout", "cost": 1.0}
    raw = worth(owners, arm="treat8", amount="total_paid_sep", **options).table.set_index("arm")
    assert raw.loc["Lien", "estimate"] == pytest.approx(raw.loc["Lien", "amount_effect"] - 1)
    assert (raw["conf_low"] > 0).sum() == 1  # of dollars, spread is wide: Lien alone pays for certain
    assert raw["back_per_unit"].between(15, 125).all()
    frame = experiment_frame(letters, horizons=(90,))
    booked = worth(frame, amount="amount_within_90", control="Holdout", cost="cost_within_90").table
    assert booked["cost_effect"].tolist() == pytest.approx([1.0] * 7)
    assert booked["estimate"].tolist() == pytest.approx(raw["estimate"].tolist(), abs=0.01)


def test_a_unit_with_several_rows_in_one_arm_is_refused_unless_clusters_allow_for_it():
    frame = people().assign(id=range(8))
    twice = pd.concat([frame, frame.head(2)])
    options = {"arm": "arm", "control": "none", "outcomes": "paid", "unit": "id"}
    with pytest.raises(FrameError, match=r"2 of id have several rows \(0, 1\).* or cluster='id'"):
        experiment(twice, **options)
    assert experiment(frame, **options).check("one_arm").passed
    every = pd.concat([frame, frame])
    row = experiment(every, **options, cluster="id").table.iloc[0]
    once = experiment(frame, **options, cluster="id").table.iloc[0]
    assert row["estimate"] == once["estimate"]
    # Twice the rows are no more evidence: only the factor (N − 1) / (N − K) for small numbers changes.
    assert row["std_error"] == pytest.approx(once["std_error"] * np.sqrt((15 / 14) / (7 / 6)))
