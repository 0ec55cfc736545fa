"""Who cures: effects in points against differences that can be counted by hand, and what cannot be fitted."""

import numpy as np
import pandas as pd
import pytest

from collectlab.core.errors import FrameError, NotAvailable
from collectlab.measures.drivers import cure_regression, trend

DAY0 = pd.Timestamp("2026-01-01")


def episodes(cured, **columns):
    """One episode each, seen for 200 days; the cured after 30 days, the others charged off after 150."""
    cured = np.asarray(cured, dtype=bool)
    return pd.DataFrame(
        {
            "account_id": [f"a{i}" for i in range(len(cured))],
            "started_on": DAY0,
            "entry_day": 0,
            "exit_day": np.where(cured, 30, 150),
            "observed_day": 200,
            "outcome": np.where(cured, "cured", "charged_off"),
            **columns,
        }
    )


def mixed(n, share):
    """n outcomes of which a share is cured."""
    return [i < round(n * share) for i in range(n)]


def test_one_covariate_gives_the_difference_of_the_two_shares():
    frame = episodes(mixed(200, 0.6) + mixed(100, 0.3), product=["card"] * 200 + ["auto"] * 100)
    row = cure_regression(frame).table.iloc[0]
    assert (row["level"], row["reference"], row["episodes"]) == ("auto", "card", 100)
    assert row["estimate"] == pytest.approx(-0.3, abs=1e-6)
    assert row["cured"] == pytest.approx(0.3)
    assert row["odds_ratio"] == pytest.approx((0.3 / 0.7) / (0.6 / 0.4), rel=1e-6)
    # independent customers: the robust error is that of a difference of two shares (up to G / (G − 1))
    assert row["std_error"] == pytest.approx(np.sqrt(0.24 / 200 + 0.21 / 100), rel=0.01)


def test_rows_of_one_customer_do_not_count_as_independent():
    frame = episodes(mixed(200, 0.6) + mixed(100, 0.3), product=["card"] * 200 + ["auto"] * 100)
    alone = cure_regression(frame).table["std_error"].iloc[0]
    four = pd.concat([frame] * 4, ignore_index=True).assign(customer_id=list(frame["account_id"]) * 4)
    four["account_id"] = [f"b{i}" for i in range(len(four))]
    assert cure_regression(four).table["std_error"].iloc[0] == pytest.approx(alone, rel=0.005)


def test_numbers_are_read_by_their_step():
    rng = np.random.default_rng(7)
    score = rng.normal(600, 50, 3000)
    owed = np.exp(rng.normal(7, 1, 3000))
    p = 1 / (1 + np.exp(-(0.8 * (score - 600) / 50 - 0.4 * (np.log2(owed) - 10))))
    frame = episodes(rng.random(3000) < p, credit_score=score, amount_at_entry=owed)
    table = cure_regression(frame).table.set_index("term")
    assert table.loc["credit_score", "level"] == "+ 50"
    assert table.loc["credit_score", "odds_ratio"] == pytest.approx(np.exp(0.8), rel=0.15)
    assert table.loc["amount_at_entry", "level"] == "doubled"
    assert table.loc["amount_at_entry", "odds_ratio"] == pytest.approx(np.exp(-0.4), rel=0.15)
    # the average effect of a step is what the fitted logistic curve says, here at the true coefficients
    q = 1 / (1 + np.exp(-(0.8 * (score + 50 - 600) / 50 - 0.4 * (np.log2(owed) - 10))))
    assert table.loc["credit_score", "estimate"] == pytest.approx((q - p).mean(), abs=0.03)
    own = cure_regression(frame, covariates=["credit_score"], steps={"credit_score": 100}).table
    assert own["level"].iloc[0] == "+ 100"


def test_only_episodes_that_can_be_judged_are_used_whatever_came_of_them():
    good = episodes(mixed(100, 0.6), product=["card", "auto"] * 50)
    young = episodes(mixed(30, 1.0), product="card").assign(
        started_on=DAY0 + pd.Timedelta(days=150), exit_day=20, observed_day=50
    )
    late = episodes(mixed(20, 0.0), product="auto").assign(entry_day=10)
    vanished = episodes(mixed(10, 0.0), product="auto").assign(
        outcome="censored", exit_day=40, observed_day=40
    )
    frame = pd.concat([good, young, late, vanished])
    frame["account_id"] = [f"x{i}" for i in range(len(frame))]
    result = cure_regression(frame)
    assert result.notes[0].startswith("100 episodes of 100 customers, 60.0 % cured")
    text = " ".join(result.notes)
    for words in (
        "20 episodes left out: they were first seen",
        "30 episodes left out: they began less than 90",
        "10 episodes left out: they vanished",
    ):
        assert words in text
    slow = good.assign(exit_day=np.where(good["outcome"] == "cured", 91, 150))
    with pytest.raises(NotAvailable, match="here 0 of 100 episodes"):
        cure_regression(slow)


def test_rare_missing_constant_and_repeated_covariates():
    n = 1000
    rng = np.random.default_rng(3)
    job = rng.choice(["clerk", "driver"], n).astype(object)
    job[:8], job[8:16], job[20:90] = "poet", "king", None
    age = rng.normal(40, 10, n)
    age[:50] = np.nan
    frame = episodes(
        rng.random(n) < 0.5, occupation=job, again=job, age=age, gender="female", **{"the \"group\"": rng.choice([True, False], n)}
    )  # fmt: skip
    result = cure_regression(frame, covariates=["occupation", "again", "age", "gender", 'the "group"'])
    table, text = result.table, " ".join(result.notes)
    levels = table[table["term"] == "occupation"]
    assert set(levels["level"]) | set(levels["reference"]) == {"clerk", "driver", "other", "missing"}
    assert levels.set_index("level").loc["other", "episodes"] == 16
    assert levels.set_index("level").loc["missing", "episodes"] == 70
    assert "occupation: 2 rare levels (16 episodes) pooled as other." in text
    assert "again" not in set(table["term"]) and "again = other follows from" in text
    assert table[table["term"] == "age"]["level"].tolist() == ["+ 10", "missing"]
    assert "age: 50 missing values set to the mean." in text
    assert "gender is the same in all episodes used; left out." in text
    assert table["std_error"].notna().all()


def test_perfect_separation_is_told_not_printed():
    base = mixed(100, 0.5)
    frame = episodes(base + [True] * 60, product=["card"] * 50 + ["auto"] * 50 + ["home"] * 60)
    with pytest.raises(NotAvailable, match="perfectly"):
        cure_regression(frame)
    frame = episodes(base * 2 + [True] * 60, product=(["card", "auto"] * 50) * 2 + ["home"] * 60)
    result = cure_regression(frame)
    assert "product = home: all 60 episodes are cured; left out." in result.notes
    assert set(result.table["level"]) | set(result.table["reference"]) == {"card", "auto"}
    score = np.arange(200.0)
    with pytest.raises(NotAvailable, match="perfectly"):
        cure_regression(episodes(score > 99, credit_score=score))


def test_what_is_not_there_is_named():
    frame = episodes(mixed(100, 0.5))
    with pytest.raises(NotAvailable, match="none of the characteristics age, gender"):
        cure_regression(frame)
    with pytest.raises(FrameError, match=r"no column 'agee'.*Did you mean age"):
        cure_regression(frame.assign(age=1.0), covariates=["agee"])
    with pytest.raises(NotAvailable, match="there are no episodes"):
        cure_regression(frame.assign(age=1.0).head(0))
    with pytest.raises(NotAvailable, match="nothing to compare"):
        cure_regression(frame.assign(age=1.0))
    with pytest.raises(FrameError, match=r"'thrice'.*or 'double'"):
        cure_regression(frame.assign(age=np.arange(100.0)), steps={"age": "thrice"})


def test_row_order_does_not_move_a_digit():
    rng = np.random.default_rng(5)
    frame = episodes(rng.random(300) < 0.5, age=rng.normal(40, 9, 300), product=rng.choice(["a", "b"], 300))
    pd.testing.assert_frame_equal(
        cure_regression(frame).table,
        cure_regression(frame.sample(frac=1, random_state=2)).table,
        check_exact=True,
    )


def test_forest_has_a_line_for_each_term():
    frame = episodes(mixed(200, 0.6) + mixed(100, 0.3), product=["card"] * 200 + ["auto"] * 100)
    assert [t.get_text() for t in cure_regression(frame).plot().get_yticklabels()] == [
        "Product: auto (vs card)"
    ]


def test_trend_is_the_slope_per_30_days_with_newey_west_errors():
    import statsmodels.api as sm

    dates = pd.date_range("2025-01-01", periods=12, freq="30D")
    values = np.array([1, 3, 2, 4, 4, 6, 5, 8, 7, 9, 8, 11]) / 100
    row = trend(pd.DataFrame({"month": dates, "estimate": values}), time="month").table.iloc[0]
    fit = sm.OLS(values, sm.add_constant(np.arange(12.0))).fit(
        cov_type="HAC", cov_kwds={"maxlags": 2, "use_correction": True}
    )
    assert row["estimate"] == pytest.approx(fit.params[1])
    assert row["std_error"] == pytest.approx(fit.bse[1])
    assert row["conf_low"] > 0


def test_trend_by_group_and_too_short():
    frame = pd.DataFrame(
        {"m": pd.date_range("2025-01-01", periods=8, freq="30D"), "v": range(8), "team": list("aabbbbbb")}
    )
    table = trend(frame, time="m", value="v", by="team", unit="number").table
    assert table["team"].tolist() == ["a", "b"]
    assert np.isnan(table["estimate"].iloc[0]) and table["estimate"].iloc[1] == pytest.approx(1)
    with pytest.raises(FrameError, match="no column month"):
        trend(frame, time="month")
