"""The warning model and its figures: against statsmodels, scipy, and small cases by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from scipy import stats

from collectlab.core.errors import FrameError, NotAvailable, ParamsError
from collectlab.policy.warning import fairness, fit_warning, load_warning, usable, warning_list
from collectlab.policy.warning.bands import bands_of
from collectlab.policy.warning.features import FEATURES
from collectlab.policy.warning.figures import (
    FIGURES,
    by_score,
    figures_of,
    replicates,
    stability,
    with_intervals,
)
from collectlab.policy.warning.validate import Validation


def drawn(n=4000, seed=1, each=4):
    """Rows of customers with several months each, and a known chance."""
    rng = np.random.default_rng(seed)
    own = np.repeat(rng.normal(0, 0.7, n // each), each)
    times = rng.integers(0, 8, n).astype(float)
    product = rng.choice(["card", "loan", "car"], n, p=[0.6, 0.3, 0.1])
    z = -2.5 + 0.6 * (times >= 2) + 0.5 * (times >= 6) + 0.8 * (product == "car") + own
    return pd.DataFrame(
        {
            "account_id": np.repeat(np.arange(n // each), each),
            "customer_id": np.repeat(np.arange(n // each), each),
            "month": np.tile(np.arange(each), n // each) + 24_300,
            "past_due_12": times,
            "product": pd.Categorical(product),
            "gender": rng.choice(["female", "male"], n),
            "outcome": (rng.random(n) < 1 / (1 + np.exp(-z))).astype(float),
        }
    )


@pytest.fixture(scope="module")
def rows():
    return drawn()


def test_coefficients_and_clustered_errors_are_those_of_statsmodels(rows):
    model = fit_warning(rows, features=["past_due_12", "product"])
    x = sm.add_constant(
        pd.DataFrame(
            {
                "0": rows["past_due_12"] == 0,
                "1": rows["past_due_12"] == 1,
                "2": rows["past_due_12"] == 2,
                "6": rows["past_due_12"] >= 6,
                "car": rows["product"] == "car",
                "loan": rows["product"] == "loan",
            }
        ).astype(float)
    )
    groups = rows["customer_id"].to_numpy()
    peer = sm.GLM(rows["outcome"].to_numpy(), x, family=sm.families.Binomial()).fit(
        cov_type="cluster", cov_kwds={"groups": groups, "use_correction": False}
    )
    count = len(np.unique(groups))
    times, product = model.weights
    assert [
        model.bands[0].labels[model.bands[0].reference],
        model.bands[1].labels[model.bands[1].reference],
    ] == ["3–5", "card"]
    np.testing.assert_allclose(
        [model.intercept, *times[[0, 1, 2, 4]], *product[[0, 2]]], peer.params, rtol=1e-6, atol=1e-8
    )
    errors = np.concatenate([model.errors[0][[0, 1, 2, 4]], model.errors[1][[0, 2]]])
    np.testing.assert_allclose(errors, peer.bse.to_numpy()[1:] * np.sqrt(count / (count - 1)), rtol=1e-5)
    np.testing.assert_allclose(model.score(rows), peer.fittedvalues, rtol=1e-6)
    # By the logistic regression's first equation.
    assert model.score(rows).sum() == pytest.approx(rows["outcome"].sum())


def test_contributions_and_drivers_say_the_same_as_the_score(rows):
    model = fit_warning(rows, features=["past_due_12", "product"])
    score = model.score(rows)
    odds = np.log(score / (1 - score))
    np.testing.assert_allclose(model.contributions(rows).sum(axis=1), odds - odds.mean(), atol=1e-9)
    table = model.drivers().table.set_index("band")
    assert table.loc["product car", "estimate"] == pytest.approx(np.exp(model.weights[1][0]))
    assert table.loc["product car", "reference"] == "product card"
    car = rows[rows["product"] == "car"]
    assert table.loc["product car", ["n", "events"]].tolist() == [len(car), car["outcome"].sum()]


def test_the_order_of_rows_does_not_matter(rows):
    one, other = fit_warning(rows), fit_warning(rows.sample(frac=1, random_state=3))
    np.testing.assert_allclose(np.concatenate(one.weights), np.concatenate(other.weights), rtol=1e-9)


def test_columns_that_follow_from_others_are_left_out(rows):
    twin = rows.assign(twin=rows["product"])
    model = fit_warning(twin, features=["product", "twin"])
    np.testing.assert_allclose(
        model.score(twin), fit_warning(rows, features=["product"]).score(rows), rtol=1e-6
    )
    assert np.isnan(model.errors[1]).all()


def test_what_bands_together_tell_apart_without_fail_still_gets_finite_odds():
    """The event comes where both are 1 and nowhere else: each band has both outcomes, together they decide."""
    a, b = np.tile([0.0, 0.0, 1.0, 1.0], 100), np.tile([0.0, 1.0, 0.0, 1.0], 100)
    rows = pd.DataFrame({"a": a, "b": b, "outcome": a * b, "customer_id": range(400)})
    text = rows.assign(a=rows["a"].map(str), b=rows["b"].map(str))
    model = fit_warning(text, features=["a", "b"])
    score = model.score(text)
    assert score[3] > 0.9 > 0.1 > score[:3].max()
    assert np.abs(np.concatenate(model.weights)).max() < 15


def test_a_large_band_without_any_event_stays_a_band():
    rows = pd.DataFrame(
        {
            "a": ["x"] * 1000 + ["y"] * 1000,
            "outcome": [0.0] * 1000 + [1.0, 0.0] * 500,
            "customer_id": range(2000),
        }
    )
    score = fit_warning(rows, features=["a"]).score(rows)
    assert score[0] == pytest.approx(0.5 / 1000)
    assert score[-1] == pytest.approx(0.5)


def test_thin_bands_join_and_missing_values_have_their_own():
    times = np.array([0] * 100 + [2] * 100 + [4] * 15 + [9] * 3 + [np.nan] * 50)
    y = np.tile([0.0, 1.0], 134)
    held = bands_of(pd.Series(times), "past_due_12", y)
    assert held.labels == ("0", "2 or more", "not known")
    assert held.code(pd.Series([0, 2, 3, 12, np.nan])).tolist() == [0, 1, 1, 1, 2]
    assert FEATURES["past_due_12"].said("2 or more") == "past due at 2 or more of the last 12 month-ends"


def test_a_level_never_met_before_counts_as_unknown(rows):
    model = fit_warning(rows, features=["product", "past_due_12"])
    new = rows.head(3).assign(product=["boat", "card", None])
    score = model.score(new)
    assert np.isfinite(score).all()
    assert model.codes(new)[0, 0] == model.codes(new)[2, 0]


def test_forbidden_columns_are_dropped_and_refused(rows):
    assert usable(rows, "falls", forbidden=["product"]) == ["past_due_12"]
    with pytest.raises(ParamsError, match="gender must not be used"):
        fit_warning(rows, features=["gender", "past_due_12"], forbidden=["Gender", "age"])
    # By whatever spelling.
    with pytest.raises(ParamsError, match="must not be used"):
        usable(rows.rename(columns={"gender": "GENDER"}), "falls", ["GENDER"], ["gender"])
    free = fit_warning(rows, features=["gender", "past_due_12"])
    assert [b.feature.name for b in free.bands] == ["gender", "past_due_12"]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda r: r.assign(outcome=0.0), "0 had the event"),
        (lambda r: r.assign(outcome=1.0), "0 had not"),
        (lambda r: r.assign(outcome=np.nan), "of 0 account-months"),
        (lambda r: r.assign(past_due_12=0.0, product="card"), "no feature tells"),
    ],
)
def test_what_cannot_be_learned_is_said(rows, change, says):
    with pytest.raises(NotAvailable, match=says):
        fit_warning(change(rows))


def test_features_that_are_not_there(rows):
    with pytest.raises(FrameError, match="Did you mean product"):
        fit_warning(rows, features=["prodct"])
    with pytest.raises(FrameError, match="none named"):
        fit_warning(rows, features=[])
    with pytest.raises(FrameError, match="no feature 'outcome'"):
        fit_warning(rows, features=["outcome"])


def test_figures_against_scipy_and_statsmodels():
    rng = np.random.default_rng(5)
    chance = np.round(rng.beta(1, 8, 1500), 2).clip(0.01, 0.99)
    y = (rng.random(1500) < chance**0.8).astype(float)
    counts, scores = by_score(chance, y)
    found = dict(zip(FIGURES, figures_of(counts[0, :, 0], counts[0, :, 1], scores)))
    u = stats.mannwhitneyu(chance[y == 1], chance[y == 0]).statistic
    assert found["auc"] == pytest.approx(u / (y.sum() * (1 - y).sum()))
    assert found["ks"] == pytest.approx(stats.ks_2samp(chance[y == 1], chance[y == 0]).statistic)
    assert found["brier"] == pytest.approx(((chance - y) ** 2).mean())
    assert found["observed_expected"] == pytest.approx(y.sum() / chance.sum())
    logit = np.log(chance / (1 - chance))
    both = sm.GLM(y, sm.add_constant(logit), family=sm.families.Binomial()).fit()
    held = sm.GLM(y, np.ones(1500), family=sm.families.Binomial(), offset=logit).fit()
    assert found["slope"] == pytest.approx(both.params[1])
    assert found["intercept"] == pytest.approx(held.params[0])


def test_capture_by_hand():
    # Ten account-months; the best one holds an event; the next two share a score, one of them an event.
    found = figures_of(np.array([1, 2, 7]), np.array([1, 1, 0]), np.array([0.9, 0.5, 0.1]))
    at = list(FIGURES).index
    assert found[at("top_5")] == pytest.approx(0.25)
    assert found[at("top_10")] == pytest.approx(0.5)
    assert found[at("top_20")] == pytest.approx(0.75)


def test_the_jackknife_of_the_auc_agrees_with_delong_where_rows_are_independent():
    rng = np.random.default_rng(8)
    n = 3000
    y = (rng.random(n) < 0.2).astype(float)
    chance = 1 / (1 + np.exp(-(rng.normal(0, 1, n) + y - 1.5)))
    _, error, _, _ = with_intervals(chance, y, replicates(pd.Series(np.arange(n))))
    ones, zeros = chance[y == 1], chance[y == 0]
    v10 = stats.rankdata(np.r_[ones, zeros])[: len(ones)] - stats.rankdata(ones)
    v01 = stats.rankdata(np.r_[ones, zeros])[len(ones) :] - stats.rankdata(zeros)
    delong = np.sqrt(
        np.var(v10 / len(zeros), ddof=1) / len(ones) + np.var(v01 / len(ones), ddof=1) / len(zeros)
    )
    assert error[0] == pytest.approx(delong, rel=0.25)


def test_intervals_cover_with_repeated_customers():
    """60 books of 250 customers with four rows each: the AUC and observed ÷ expected lie in their intervals."""
    truth = stats.norm.cdf(1 / np.sqrt(2))
    hit = np.zeros(2)
    for seed in range(60):
        rng = np.random.default_rng(seed)
        customer = np.repeat(np.arange(250), 4)
        ill = np.repeat((rng.random(250) < 0.3).astype(float), 4)
        x = np.repeat(rng.normal(0, 0.8, 250), 4) + rng.normal(0, 0.6, 1000) + ill
        odds = np.log(0.3 / 0.7) + x - 0.5
        chance = 1 / (1 + np.exp(-odds))
        _, _, low, high = with_intervals(chance, ill, replicates(pd.Series(customer)), fine=100)
        hit += [low[0] <= truth <= high[0], low[4] <= 1 <= high[4]]
    assert (hit >= 52).all(), hit


def test_stability_by_hand():
    then = np.repeat([0.1, 0.2], 50)
    assert stability(then, then, bands=2) == pytest.approx(0)
    now = np.repeat([0.1, 0.2], [25, 75])
    assert stability(then, now, bands=2) == pytest.approx(
        0.25 * np.log(0.75 / 0.5) - 0.25 * np.log(0.25 / 0.5)
    )


def test_the_list_names_nobody_and_says_why(rows):
    model = fit_warning(rows, features=["past_due_12", "product"])
    found = warning_list(rows, model, top=5)
    now = rows[rows["month"] == rows["month"].max()]
    assert found.table["account"].tolist() == [f"Account {i}" for i in range(1, 6)]
    assert found.table["why"].str.contains("product car").all()
    assert found.counts["accounts"].sum() == len(now)
    best = now.assign(p=model.score(now)).sort_values(["p"], ascending=False)["p"].head(5)
    np.testing.assert_allclose(found.table["chance"], best.round(2))
    ids = found.accounts()["account_id"]
    assert model.score(now[now["account_id"].isin(ids)]).min() >= best.min() - 1e-12
    assert "account_id" not in found.table and not found._repr_html_().count("customer")
    with pytest.raises(FrameError, match="top is 0"):
        warning_list(rows, model, top=0)


def test_fairness_by_hand():
    """Four of ten women and one of ten men are warned of; one of five women without the event is."""
    scored = pd.DataFrame(
        {
            "customer_id": range(20),
            "gender": ["female"] * 10 + ["male"] * 10,
            "chance": [0.9, 0.8, 0.7, 0.6, *[0.1] * 6, 0.95, *[0.1] * 9],
            "outcome": [1, 1, 1, 0, 1, 1, 0, 0, 0, 0, 1, *[0] * 9],
        }
    )
    empty = pd.DataFrame()
    held = Validation(table=empty, estimand="", target="falls", by_month=empty, by_segment=empty, calibration=empty,
                      capture=empty, scored=scored)  # fmt: skip
    table = fairness(held, ["gender", "religion"], warned_share=0.25).table.set_index(["group", "measure"])
    assert table.loc[("female", "warned"), "estimate"] == pytest.approx(0.4)
    assert table.loc[("male", "warned"), "estimate"] == pytest.approx(0.1)
    assert table.loc[("female", "warned"), "difference"] == pytest.approx(0.3)
    assert table.loc[("female", "false_alarms"), "estimate"] == pytest.approx(0.2)
    assert table.loc[("male", "false_alarms"), "estimate"] == 0
    assert table.loc[("female", "missed"), "estimate"] == pytest.approx(0.4)
    with pytest.raises(NotAvailable, match="none of religion"):
        fairness(held, ["religion"])
    with pytest.raises(FrameError, match="warned_share is 1"):
        fairness(held, ["gender"], warned_share=1)


def test_params_are_checked_all_at_once(tmp_path):
    file = tmp_path / "warning.yml"
    file.write_text("forbiden: {}\nassumptions: {falls_cost: {unit: x}}\n", encoding="utf-8")
    with pytest.raises(ParamsError) as error:
        load_warning(file)
    text = str(error.value)
    assert "no such key 'forbiden'" in text and "forbidden: missing" in text and "falls_cost" in text
