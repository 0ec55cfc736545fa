"""Target trials: the truth found again where the usual comparison has the wrong sign, and every refusal."""

import numpy as np
import pandas as pd
import pytest

from collectlab.book.open import open_book
from collectlab.book.simulate import simulate
from collectlab.core.errors import FrameError, NotAvailable
from collectlab.effects.target_trial import METHODS, TargetTrial, target_trial, target_trial_rows

GRACE, FOLLOW_UP = 7, 21
TRIAL = TargetTrial(treatment="call", grace=GRACE, follow_up=FOLLOW_UP, covariates=("hard",))


def lives(rng, n, never=False, start=None):
    """Hard cases cure less and are called more; a call multiplies the later chance of a cure by 1.8."""
    hard = np.arange(n) % 2 == 1
    cure, call = np.where(hard, 0.025, 0.06), np.where(hard, 0.10, 0.04)
    first, end, outcome = np.zeros(n, int), np.full(n, 60), np.full(n, "censored", dtype=object)
    for day in range(1, 61):
        open_ = outcome == "censored"
        due = start == day if start is not None else rng.random(n) < call
        calls = open_ & (first == 0) & due & (not never)
        first[calls] = day
        chance = cure * np.where(first > 0, 1.8, 1.0)
        draw = rng.random(n)
        for hit, name in ((draw < chance, "cured"), (draw > 0.995, "charged_off")):
            end[open_ & hit], outcome[open_ & hit] = day, name
    rows = pd.DataFrame(
        {
            "account_id": np.arange(n),
            "time_zero": pd.Timestamp("2026-01-31"),
            "days_past_due": 10,
            "end_day": end,
            "outcome": outcome,
            "hard": np.where(hard, "yes", "no"),
        }
    )
    called = first > 0
    calls = pd.DataFrame({"account_id": np.flatnonzero(called), "day": first[called], "channel": "call"})
    return rows, calls


def cured_share(rows):
    return ((rows["outcome"] == "cured") & (rows["end_day"] <= FOLLOW_UP)).mean()


@pytest.fixture(scope="module")
def truth():
    rng = np.random.default_rng(5)
    n = 100_000
    started = lives(rng, n, start=rng.integers(1, GRACE + 1, n))[0]
    return cured_share(started) - cured_share(lives(rng, n, never=True)[0])


@pytest.fixture(scope="module")
def found():
    rng = np.random.default_rng(7)
    return [
        target_trial_rows(*lives(rng, 700), TRIAL, groups=25).table.set_index("method") for _ in range(40)
    ]


def test_unbiased_and_covering_where_the_naive_comparison_has_the_wrong_sign(found, truth):
    ours = pd.DataFrame([t.loc["clone_censor_weight"] for t in found])
    estimate = ours["estimate"].astype(float)
    assert truth > 0.05
    assert abs(estimate.mean() - truth) < 3.5 * estimate.std() / np.sqrt(len(found))
    assert ((ours["conf_low"] <= truth) & (ours["conf_high"] >= truth)).mean() >= 0.85
    assert ours["std_error"].mean() == pytest.approx(estimate.std(), rel=0.35)


@pytest.mark.parametrize("method", ["ever_treated", "ever_treated_weighted"])
def test_immortal_time_is_wrong_in_sign_adjusted_or_not(found, truth, method):
    naive = pd.DataFrame([t.loc[method] for t in found])
    assert naive["estimate"].mean() < 0 < truth
    assert (naive["conf_high"] < truth).mean() > 0.95


def test_without_the_confounder_it_is_biased(truth):
    rng = np.random.default_rng(11)
    rows, calls = lives(rng, 6_000)
    blind = TargetTrial(treatment="call", grace=GRACE, follow_up=FOLLOW_UP)
    table = target_trial_rows(rows, calls, blind, groups=10).table
    assert table["estimate"][0] < truth - 0.03
    assert target_trial_rows(rows, calls, TRIAL, groups=10).table["estimate"][0] > table["estimate"][0] + 0.02


def test_the_result_says_what_it_is():
    rows, calls = lives(np.random.default_rng(3), 600)
    result = target_trial_rows(rows, calls, TRIAL)
    assert result.design == "target_trial" and result.headline == 0
    assert result.table["method"].tolist() == list(METHODS)
    assert set(result.table["unit"]) == {"points"} and set(result.table["outcome"]) == {"cured_within_21"}
    np.testing.assert_allclose(
        result.table["estimate"], result.table["with_risk"] - result.table["without_risk"], atol=1e-12
    )
    names = ["known_at_start", "grace", "follow_up", "positivity", "weights", "balance", "outcome_dates"]
    assert [c.name for c in result.checks] == names
    assert all(result.check(n).passed for n in names[:-1])
    within = calls.merge(rows, on="account_id").query("day <= 7 and day <= end_day")
    assert result.table["with_n"][0] == len(within)
    assert f"{len(within):,}" in result.check("grace").says


def test_curves_end_in_the_headline_and_are_drawn():
    rows, calls = lives(np.random.default_rng(3), 600)
    result = target_trial_rows(rows, calls, TRIAL, groups=5)
    last = result.curves[result.curves["day"] == FOLLOW_UP].set_index("strategy")["estimate"]
    assert last["start"] == result.table["with_risk"][0] and last["never"] == result.table["without_risk"][0]
    assert (result.curves.groupby("strategy")["estimate"].diff().dropna() >= 0).all()
    ax = result.plot()
    assert [t.get_text() for t in ax.get_legend().get_texts()] == [
        "start a call within 7 days",
        "never start it",
    ]
    assert "immortal time" in result._repr_markdown_()


def test_rows_in_any_order_and_any_frame_give_the_same_digits():
    import polars as pl

    rows, calls = lives(np.random.default_rng(3), 400)
    one = target_trial_rows(rows, calls, TRIAL, groups=10).table
    mixed = target_trial_rows(
        pl.from_pandas(rows.sample(frac=1, random_state=1)),
        calls.sample(frac=1, random_state=2),
        TRIAL,
        groups=10,
    ).table
    pd.testing.assert_frame_equal(one, mixed, check_exact=True)


def test_missing_covariates_are_counted_and_said():
    rows, calls = lives(np.random.default_rng(3), 600)
    rows["hard"] = rows["hard"].where(rows["account_id"] % 10 > 1)
    rows["income"] = np.where(rows["account_id"] % 3 > 0, 1000.0 + rows["account_id"], np.nan)
    trial = TargetTrial(treatment="call", grace=GRACE, follow_up=FOLLOW_UP, covariates=("hard", "income"))
    notes = target_trial_rows(rows, calls, trial, groups=5).notes
    assert "hard is missing for 120 of 600 accounts: taken as a category of their own." in notes
    assert "income is missing for 200 of 600 accounts: taken as the mean, with a flag." in notes


def test_calls_before_time_zero_and_accounts_never_seen_again_are_not_eligible():
    rows, calls = lives(np.random.default_rng(3), 600)
    rows.loc[rows["account_id"] == 1, ["end_day", "outcome"]] = [0, "censored"]
    early = pd.DataFrame({"account_id": [2, 3], "day": [0, -4], "channel": "call"})
    result = target_trial_rows(rows, pd.concat([calls, early]), TRIAL, groups=5)
    assert result.table["accounts"][0] == 597
    assert result.notes[0].startswith("2 accounts had a call in the episode before time zero")
    assert result.notes[1].startswith("1 accounts were not seen after time zero")


def test_eligibility_strategy_and_days_past_due_choose_the_accounts():
    rows, calls = lives(np.random.default_rng(3), 800)
    rows["strategy"] = np.where(rows["account_id"] % 4 < 2, "champion", "standard")
    rows["days_past_due"] = 5 + rows["account_id"] % 40
    trial = TargetTrial(
        treatment="call", grace=GRACE, follow_up=FOLLOW_UP, eligible="hard = 'yes'", strategies="champion",
        days_past_due=(1, 30),
    )  # fmt: skip
    result = target_trial_rows(rows, calls, trial, groups=5)
    chosen = (rows["hard"] == "yes") & (rows["strategy"] == "champion") & (rows["days_past_due"] <= 30)
    assert result.table["accounts"][0] == chosen.sum()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda r, c: (r, c[c["day"] > 7]), "none of 600 eligible accounts starts a call within 7 days"),
        (
            lambda r, c: (r, r[["account_id"]].assign(day=1, channel="call")),
            "all 600 eligible accounts start a call",
        ),
        (lambda r, c: (r.assign(outcome="charged_off"), c), "none of 600 accounts is cured within 21 days"),
        (lambda r, c: (r, c[c["account_id"] % 2 == 0]), "no overlap: nobody starts a call within 7 days where hard = yes (300"),
        (lambda r, c: (r.assign(end_day=np.minimum(r["end_day"], 20)), c), "Allowed: up to 20"),
        (lambda r, c: (r.head(0), c), "no rows"),
        (lambda r, c: (r.head(1).assign(end_day=60), c.head(0)), "none of 1 eligible accounts starts a call"),
        (lambda r, c: (pd.concat([r, r.head(2)]), c), "2 accounts stand in more than one row (0, 1)"),
        (lambda r, c: (r.drop(columns="hard"), c), "no column 'hard'"),
        (lambda r, c: (r.assign(hard=None), c), "covariate 'hard' is missing for all 600 eligible accounts"),
        (lambda r, c: (r.assign(end_day=0), c), "no eligible accounts"),
    ],
)  # fmt: skip
def test_what_cannot_be_answered_is_refused(change, says):
    rows, calls = change(*lives(np.random.default_rng(3), 600))
    with pytest.raises(FrameError) as refused:
        target_trial_rows(rows, calls, TRIAL, groups=5)
    assert says in str(refused.value)


def test_nobody_left_without_is_found_and_named():
    rows, calls = lives(np.random.default_rng(3), 600)
    hard = np.flatnonzero((rows["hard"] == "yes") & (rows["end_day"] > 3))
    late = np.setdiff1d(hard, calls.loc[calls["day"] <= FOLLOW_UP, "account_id"])
    calls = pd.concat(
        [
            calls[~calls["account_id"].isin(late)],
            pd.DataFrame({"account_id": late, "day": 4, "channel": "call"}),
        ]
    )
    check = target_trial_rows(rows, calls, TRIAL, groups=5).check("positivity")
    assert (
        check.passed is False
        and "nobody is left without a call on day 21 where hard = yes" in check.says.lower()
    )


@pytest.fixture(scope="module")
def book():
    return open_book(simulate(accounts=2500, months=10, truth_accounts=0).book_tables)


CALLS = TargetTrial(
    treatment="call", grace=10, follow_up=30, covariates=("strategy", "credit_score"), strategies=("champion", "standard")
)  # fmt: skip


def test_a_book_with_month_end_snapshots_is_dated_by_its_payments(book):
    result = target_trial(book, CALLS, groups=10)
    methods = result.table.set_index("method")
    assert methods.loc["clone_censor_weight", "estimate"] > methods.loc["ever_treated", "estimate"] + 0.15
    dates = result.check("outcome_dates")
    assert dates.passed and "dated by payments" in dates.says
    assert any("Nobody ever starts on Sundays" in note for note in result.notes)
    assert any("takes the place of another" in note for note in result.notes)


def test_without_payments_the_dates_are_doubted(book):
    kept = ("accounts", "snapshots", "actions", "assignments")
    tables = {name: book.table(name).collect().to_native() for name in kept}
    result = target_trial(open_book(tables), CALLS, groups=10)
    assert result.check("outcome_dates").passed is False


def test_a_book_says_what_it_lacks(book):
    with pytest.raises(FrameError, match=r"no action of channel 'vist' is in the log. Did you mean visit"):
        target_trial(book, TargetTrial(treatment="vist", grace=7))
    tables = {name: book.table(name).collect().to_native() for name in ("accounts", "snapshots")}
    with pytest.raises(NotAvailable, match="no actions"):
        target_trial(open_book(tables), TargetTrial(treatment="call", grace=7))


@pytest.mark.parametrize(
    ("choice", "says"),
    [
        ({"strategies": "soft"}, "no eligible account is under strategy soft. There: firm"),
        (
            {"eligible": "brunch = 1"},
            "eligible ('brunch = 1'): Binder Error: Referenced column \"brunch\" not found",
        ),
        ({"eligible": "true; DROP TABLE x"}, "eligible ('true; DROP TABLE x')"),
        ({"eligible": "hard = 'perhaps'"}, "no eligible accounts"),
    ],
)
def test_an_eligibility_that_cannot_be_read_is_refused(choice, says):
    rows, calls = lives(np.random.default_rng(3), 50)
    trial = TargetTrial(treatment="call", grace=GRACE, follow_up=FOLLOW_UP, **choice)
    with pytest.raises(FrameError) as refused:
        target_trial_rows(rows.assign(strategy="firm"), calls, trial)
    assert says in str(refused.value)


def test_paid_counts_the_first_payment_and_ends_the_risk_of_starting():
    rows, calls = lives(np.random.default_rng(3), 600)
    part = rows["account_id"] % 3 == 0
    rows["first_paid_day"] = np.where(
        part, 2.0, np.where(rows["outcome"] == "cured", rows["end_day"], np.nan)
    )
    trial = TargetTrial(
        treatment="call", grace=GRACE, follow_up=FOLLOW_UP, outcome="paid", covariates=("hard",)
    )
    table = target_trial_rows(rows, calls, trial, groups=5).table
    last = np.fmin(rows["first_paid_day"], rows["end_day"])
    started = calls[calls["day"].to_numpy() <= last.reindex(calls["account_id"]).to_numpy()]
    assert table["with_n"].tolist()[2] == (started["day"] <= FOLLOW_UP).sum()
    paid = (rows["first_paid_day"] <= np.minimum(rows["end_day"], FOLLOW_UP)).mean()
    ever = table.iloc[3]
    share = (ever["with_n"] * ever["with_risk"] + ever["without_n"] * ever["without_risk"]) / 600
    assert share == pytest.approx(paid, abs=1e-9)


def test_dates_by_payments_keep_the_sign_that_dates_midway_lose(book, monkeypatch):
    from collectlab.effects import target_trial_rows as module

    by_payments = target_trial(book, CALLS, groups=5).table["estimate"][0]
    monkeypatch.setattr(module, "_date_cures", lambda rows, seen, paid: (rows, 0))
    assert target_trial(book, CALLS, groups=5).table["estimate"][0] < by_payments - 0.05
