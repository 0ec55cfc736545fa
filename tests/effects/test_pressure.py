"""The dose-response: its arithmetic against libraries, its days by hand, its guards, and known truths."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from collectlab.book.open import open_book
from collectlab.book.simulate import simulate
from collectlab.core.errors import FrameError, NotAvailable
from collectlab.effects.pressure import dose_response, fits, randomised
from collectlab.effects.pressure.days import ContactDays, contact_days
from collectlab.effects.pressure.dose import response_of
from collectlab.effects.verdict_rule import grade

RNG = np.random.default_rng(20261122)


# Arithmetic ---------------------------------------------------------------------------------------------


def test_chances_are_those_of_statsmodels():
    import statsmodels.api as sm

    x = np.column_stack([np.ones(2_000), RNG.normal(size=(2_000, 3))])
    a = (RNG.random(2_000) < 1 / (1 + np.exp(1 - x[:, 1]))).astype(float)
    ours, b = fits.chances(x, a)
    theirs = sm.Logit(a, x).fit(disp=0)
    assert b == pytest.approx(theirs.params, abs=1e-3)
    assert ours == pytest.approx(theirs.predict(), abs=1e-3)


def test_with_linear_chances_the_effect_and_its_error_are_those_of_least_squares():
    import statsmodels.api as sm

    n = 900
    x = np.column_stack([np.ones(n), RNG.normal(size=(n, 2))])
    a = (RNG.random(n) < 0.4).astype(float)
    y = 0.7 * a + x @ [1.0, 2.0, -1.0] + RNG.normal(size=n)
    cluster = RNG.integers(0, 120, n)
    e, m = fits.expected(x, a[:, None])[:, 0], fits.expected(x, y[:, None])
    found = fits.effects(y[:, None], m, a, e, np.zeros(n, int), cluster)
    theirs = sm.OLS(y, np.column_stack([a, x])).fit(cov_type="cluster", cov_kwds={"groups": cluster})
    assert found.estimate[0, 0] == pytest.approx(theirs.params[0])
    assert np.sqrt(found.covariance[0, 0]) == pytest.approx(theirs.bse[0], rel=0.01)


def test_steps_and_outcomes_share_one_covariance():
    n = 600
    a, group = (RNG.random(n) < 0.5).astype(float), RNG.integers(0, 2, n)
    y = np.column_stack([RNG.normal(size=n), np.zeros(n)])
    y[:, 1] = 3 * y[:, 0]
    found = fits.effects(y, 0 * y, a, np.full(n, 0.5), group, np.arange(n))
    assert found.estimate[:, 1] == pytest.approx(3 * found.estimate[:, 0])
    assert found.covariance[0, 1] == pytest.approx(3 * found.covariance[0, 0])
    assert found.covariance[0, 2] == pytest.approx(0, abs=1e-12)


def test_a_missing_amount_stands_at_the_mean_and_is_told():
    x, names = fits.design(pd.DataFrame({"income": [1.0, 3.0, np.nan], "empty": [np.nan] * 3}))
    assert names == ["intercept", "income", "income missing"]
    assert x[2, 1] == 0 and x[:, 2].tolist() == [0, 0, 1]


# Days ---------------------------------------------------------------------------------------------------


def small_book(actions, payments=(("z", "2026-01-01", 1.0),), snapshots=None, **more):
    snapshots = snapshots or [
        ("a", "2026-01-31", 10, 100.0),
        ("a", "2026-02-28", 38, 200.0),
        ("a", "2026-04-30", 99, 300.0),
    ]
    snapshots = [*snapshots, ("z", "2026-01-31", 0, 0.0)]
    return open_book(
        {
            "accounts": pd.DataFrame({"account_id": ["a", "z"]}),
            "snapshots": pd.DataFrame(
                snapshots, columns=["account_id", "as_of", "days_past_due", "amount_past_due"]
            ),
            "actions": pd.DataFrame(actions, columns=["account_id", "at", "channel", "cost"]),
            "payments": pd.DataFrame(list(payments), columns=["account_id", "paid_on", "amount"]),
            **more,
        }
    )


CALLS = [("a", f"2026-02-{d:02d} 10:00", "call", 2.0) for d in (2, 4, 10)]


def by_day(days: ContactDays, values) -> dict[str, float]:
    dates = pd.Timestamp("1900-01-01") + pd.to_timedelta(days.day, unit="D")
    return dict(zip(dates.strftime("%m-%d"), values))


def test_the_dose_is_what_was_made_in_the_six_days_before():
    days = contact_days(small_book(CALLS), horizon=5)
    dose = by_day(days, days.dose)
    assert (dose["02-02"], dose["02-03"], dose["02-04"], dose["02-09"]) == (0, 1, 1, 1)
    assert by_day(days, days.treated)["02-10"] == 1
    assert (dose["02-11"], dose["02-17"]) == (1, 0)


def test_days_before_the_first_overdue_snapshot_and_idle_weekdays_are_left_out():
    days = contact_days(small_book(CALLS), horizon=5)
    assert days.day.min() >= 46_052  # 1 February 2026 and on
    # Calls were made on a Monday, a Wednesday and a Tuesday only.
    assert set(days.day % 7) == {0, 1, 2}


def test_outcomes_count_from_the_day_itself_to_the_horizon():
    paid = [("a", "2026-02-09", 30.0), ("a", "2026-02-16", 50.0)]
    complaints = pd.DataFrame({"account_id": ["a"], "at": ["2026-02-10 12:00"]})
    days = contact_days(small_book(CALLS, paid, complaints=complaints), horizon=7)
    money = by_day(days, days.outcomes["paid"])
    assert (money["02-02"], money["02-03"], money["02-09"], money["02-10"]) == (0, 30, 30, 50)
    assert by_day(days, days.outcomes["complaint"])["02-04"] == 1
    assert by_day(days, days.outcomes["cost"])["02-04"] == 4
    assert by_day(days, days.paid_before)["02-10"] == 1
    assert days.unit_cost == 2


def test_a_cure_counts_where_payments_reach_what_was_due_and_ends_the_days():
    cured = [("a", "2026-01-31", 10, 100.0), ("a", "2026-02-28", 0, 0.0), ("a", "2026-04-30", 0, 0.0)]
    days = contact_days(small_book(CALLS, [("a", "2026-02-11", 100.0)], cured), horizon=5)
    found = by_day(days, days.outcomes["cured"])
    assert max(found) == "02-11" and found["02-11"] == 1 and found["02-03"] == 0 and found["02-09"] == 1


def test_what_is_left_of_the_arrears_is_known_that_morning_not_before():
    days = contact_days(small_book(CALLS, [("a", "2026-02-09", 30.0)]), horizon=5)
    amount = by_day(days, days.covariates["amount"])
    assert (amount["02-09"], amount["02-10"]) == (100, 70)


def test_days_within_ninety_of_an_arrangement_are_not_compared():
    plan = pd.DataFrame({"account_id": ["a"], "kind": ["payment_plan"], "started_on": ["2026-02-05"]})
    days = contact_days(small_book(CALLS, arrangements=plan), horizon=5)
    assert max(by_day(days, days.day)) == "02-04"


# Known truths and guards --------------------------------------------------------------------------------


def made_up(n=12_000, effect=0.05, confounded=True, seed=1) -> ContactDays:
    """Account-days on which the harder case is contacted more and pays less."""
    rng = np.random.default_rng(seed)
    hard = rng.normal(size=n)
    dose = rng.integers(0, 3, n)
    chance = 1 / (1 + np.exp(1.5 - (1.2 * hard if confounded else 0)))
    treated = (rng.random(n) < chance).astype(float)
    base = np.clip(0.4 - 0.12 * hard, 0.02, 0.9)
    cured = (rng.random(n) < base + effect * treated).astype(float)
    outcomes = {
        "cured": cured,
        "paid": 1000 * cured,
        "cost": 2 * treated,
        "complaint": (rng.random(n) < 0.01 + 0.01 * treated).astype(float),
    }
    return ContactDays(
        account=np.arange(n),
        day=np.full(n, 46_052),
        cluster=np.arange(n) // 2,
        treated=treated,
        dose=dose,
        covariates=pd.DataFrame({"hard": hard, "dose": dose, "paid_7": 0}),
        outcomes=pd.DataFrame(outcomes),
        paid_before=(rng.random(n) < 0.1).astype(float),
        complaints=200,
        unit_cost=2.0,
        notes=(),
    )


def test_who_is_contacted_is_allowed_for_where_the_naive_figure_has_the_wrong_sign():
    response = response_of(made_up(), ("call",), 30, 0.95)
    naive, adjusted = (
        response.table.query("outcome == 'cured' and contact == 'any' and method == @m").iloc[0]
        for m in ("naive", "adjusted")
    )
    assert naive["conf_high"] < 0
    assert adjusted["conf_low"] <= 0.05 <= adjusted["conf_high"] and adjusted["conf_low"] > 0
    assert grade(response)[0] == "suggestive"
    assert response.table.loc[response.headline, ["outcome", "method", "contact"]].tolist() == [
        "cured",
        "adjusted",
        "any",
    ]


def test_intervals_cover_and_no_effect_is_found_where_there_is_none():
    hits = []
    for seed in range(60):
        rows = response_of(made_up(2_000, 0.0, seed=seed), ("call",), 30, 0.95).table
        row = rows.query("outcome == 'cured' and contact == 'any' and method == 'adjusted'").iloc[0]
        hits.append(row["conf_low"] <= 0 <= row["conf_high"])
    assert np.mean(hits) >= 0.85  # 95 % ± 2.8 % of Monte-Carlo error, and some


def test_what_the_book_does_not_hold_shows_in_the_placebo():
    days = made_up()
    hard = days.covariates["hard"].to_numpy()
    blind = replace(
        days,
        covariates=days.covariates.assign(hard=RNG.normal(size=len(hard))),
        paid_before=(hard < -0.5).astype(float),
    )
    level, against = grade(response_of(blind, ("call",), 30, 0.95))
    assert level == "not identifiable from this book"
    assert [c.name for c in against] == ["placebo_outcome"]


def test_no_overlap_no_answer():
    days = made_up()
    sure = (days.covariates["hard"].to_numpy() > 0.8).astype(float)
    level, against = grade(response_of(replace(days, treated=sure), ("call",), 30, 0.95))
    assert level == "not identifiable from this book"
    assert "overlap" in [c.name for c in against]


def test_too_few_contacts_or_complaints_are_not_told():
    days = made_up(3_000)
    few = replace(days, dose=np.where(np.arange(3_000) < 30, 4, 0))
    table = response_of(few, ("call",), 30, 0.95).table
    assert table.loc[table["contact"] == "5th and further", "estimate"].isna().all()
    rare = replace(days, outcomes=days.outcomes.assign(complaint=0.0))
    table = response_of(rare, ("call",), 30, 0.95).table
    assert table.loc[table["outcome"] == "complaints_per_1000", "estimate"].isna().all()


@pytest.fixture(scope="module")
def bank():
    return open_book(simulate(accounts=2_000, months=12, problems=(), truth_accounts=0).book_tables)


@pytest.fixture(scope="module")
def response(bank):
    return dose_response(bank)


def test_on_a_simulated_bank_the_effect_is_near_its_truth_and_the_naive_one_is_not(response):
    # benchmarks/pressure.txt: a call raises cure within 30 days by about 2 to 3 points.
    told = response.table[(response.table["outcome"] == "cured") & (response.table["contact"] == "any")]
    value = told.set_index("method")["estimate"]
    assert 0 < value["adjusted"] < 0.05
    assert value["naive"] > value["adjusted"] + 0.02
    assert grade(response)[0] == "suggestive"


def test_runs_are_byte_stable_and_charts_draw(response):
    small = simulate(accounts=500, months=6, truth_accounts=0).book_tables
    first, again = (dose_response(open_book(small)).table for _ in range(2))
    assert first.equals(again)
    assert "One more call" in repr(response.plot())
    with pytest.raises(FrameError, match="Allowed"):
        response.plot("happiness")


def test_by_lot_the_arms_differ_in_calls_and_the_exclusion_is_told(bank):
    found = randomised(bank)
    row = found.table.iloc[0]
    assert row["received"] > row["control_received"] + 1
    assert found.check("exclusion").passed is None
    assert row["conf_low"] < 0.03 < row["conf_high"] or abs(row["estimate"] - 0.03) < 0.05
    with pytest.raises(FrameError, match="outcome"):
        randomised(bank, outcome="happiness")


def test_bad_input_and_books_that_cannot_say(bank):
    with pytest.raises(FrameError) as error:
        dose_response(bank, channels=(), horizon=0)
    assert len(error.value.faults) == 2
    with pytest.raises(FrameError, match="conf_level"):
        dose_response(bank, conf_level=2)
    with pytest.raises(NotAvailable, match="Channels here"):
        dose_response(bank, channels=("pigeon",))
    plain = {n: bank.table(n).collect("pandas").to_native() for n in ("accounts", "snapshots")}
    with pytest.raises(NotAvailable, match="actions, payments"):
        dose_response(open_book(plain))
    with pytest.raises(NotAvailable, match="assignments"):
        randomised(open_book(plain))
    with pytest.raises(NotAvailable, match="followed"):
        dose_response(bank, horizon=5_000)
