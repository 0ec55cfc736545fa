"""Comparing what people chose: by hand, against statsmodels, against a known truth, and on books that forbid it."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pandas as pd
import polars as pl
import pytest

from collectlab.book.simulate_bank import INTENSIVE, STANDARD, Luck, Settings, draw_accounts
from collectlab.book.simulate_days import Days
from collectlab.core.errors import FrameError
from collectlab.effects.compare import compare
from collectlab.effects.compare_checks import agreement, e_value
from collectlab.effects.compare_design import design, read_covariate
from collectlab.effects.compare_estimates import estimates, joint_covariance, naive, propensity
from collectlab.effects.effect_result import EffectResult
from collectlab.effects.verdict_rule import grade

Z = dt.date(2026, 3, 31)


def two_bands() -> pd.DataFrame:
    """Low scores are called four times in five and pay less; in each band a call adds 0.2 to the chance to pay."""
    cells = [("low", 1, 1, 40), ("low", 1, 0, 40), ("low", 0, 1, 6), ("low", 0, 0, 14),
             ("high", 1, 1, 16), ("high", 1, 0, 4), ("high", 0, 1, 48), ("high", 0, 0, 32)]  # fmt: skip
    rows = [c[:3] for c in cells for _ in range(c[3])]
    return pd.DataFrame(rows, columns=["score", "called", "paid"])


def chosen(n: int = 2000, seed: int = 1, gain: float = 100.0, hidden: float = 0.0) -> pd.DataFrame:
    """Collectors call low scores and rich people; both bend the outcome, and so may a trait no column shows."""
    rng = np.random.default_rng(seed)
    score, income = rng.normal(620, 50, n).round(), np.exp(rng.normal(8.5, 0.5, n)).round(2)
    trait = rng.normal(size=n)
    push = (620 - score) / 50 + 0.5 * np.log(income / 5000) - hidden * trait
    called = rng.random(n) < 1 / (1 + np.exp(-push))
    base = 300 + 1.5 * (score - 620) + 0.01 * (score - 620) ** 2 + 60 * np.log(income / 5000) + 150 * trait
    region = rng.choice(["North", "South"], n)
    return pd.DataFrame(
        {
            "account_id": [f"a{i:05d}" for i in range(n)],
            "customer_id": rng.integers(0, n // 2, n),
            "called": np.where(called, "call", "none"),
            "score": score,
            "income": income,
            "region": region,
            "before": (base + rng.normal(0, 100, n)).round(2),
            "amount": (base + gain * called + rng.normal(0, 100, n)).round(2),
            "prior": (trait + 0.3 * rng.normal(size=n) < -0.3).astype(int),
            "weather": rng.normal(size=n).round(2),
            "decided": Z,
            "zero": Z,
        }
    )


def ask(frame, **options):
    usual = {
        "treatment": "called",
        "treated": "call",
        "outcome": "amount",
        "covariates": ["score", "income", "region"],
    }
    return compare(frame, **(usual | options))


def row(result, method: str = "doubly robust") -> pd.Series:
    return result.table.set_index("method").loc[method]


# The estimates --------------------------------------------------------------------------------------------


def test_two_bands_by_hand():
    result = compare(two_bands(), treatment="called", outcome="paid", covariates="score")
    # 56 % of the called pay, 54 % of the others; within either band 50 % against 30 %, and 80 % against 60 %.
    assert row(result, "naive")["estimate"] == pytest.approx(0.56 - 0.54)
    for method in ("adjusted", "weighted", "doubly robust"):
        assert row(result, method)["estimate"] == pytest.approx(0.2)
        assert row(result, method)["mean_without"] == pytest.approx((0.3 + 0.6) / 2)
    # Both bands weigh a half: the variance of a stratified difference, each mean with p(1 − p)/n.
    variance = sum(0.25 * p * (1 - p) / n for p, n in ((0.5, 80), (0.3, 20), (0.8, 20), (0.6, 80)))
    assert row(result)["std_error"] == pytest.approx(np.sqrt(variance), rel=1e-6)
    assert result.headline == 3 and result.design == "comparison"
    assert row(result)["unit"] == "points"


def test_the_naive_error_is_welchs():
    frame = two_bands()
    result = compare(frame, treatment="called", outcome="paid", covariates="score")
    sides = [frame.loc[frame["called"] == side, "paid"] for side in (1, 0)]
    assert row(result, "naive")["std_error"] == pytest.approx(np.sqrt(sum(s.var() / len(s) for s in sides)))


def test_effect_on_the_treated_by_hand():
    frame = two_bands()
    frame.loc[(frame["score"] == "high") & (frame["called"] == 1), "paid"] = 1  # now 0.4 among the high
    result = compare(frame, treatment="called", outcome="paid", covariates="score", effect="treated")
    for method in ("adjusted", "weighted", "doubly robust"):
        assert row(result, method)["estimate"] == pytest.approx(0.8 * 0.2 + 0.2 * 0.4)


@pytest.mark.parametrize("effect", ["all", "treated"])
def test_the_errors_are_those_of_statsmodels_gmm(effect):
    import statsmodels.api as sm
    from statsmodels.treatment.treatment_effects import TreatmentEffect

    frame = chosen(800)
    treated = (frame["called"] == "call").to_numpy()
    y, notes = frame["amount"].to_numpy(), []
    x = design([read_covariate(c, frame[c], notes) for c in ("score", "income", "region")], treated, notes)
    selected = propensity(x, treated)
    # GMM clips propensities at 0.01 and 0.99: nobody is there, or the two would differ.
    assert selected.predict().min() > 0.01 and selected.predict().max() < 0.99
    ours = estimates(y, treated, x, selected, effect)
    theirs = TreatmentEffect(sm.OLS(y, x), treated.astype(int), results_select=selected)
    group = {} if effect == "all" else {"effect_group": 1}
    for name, method in (("adjusted", "ra"), ("weighted", "ipw"), ("doubly robust", "aipw")):
        if method == "aipw" and effect == "treated":
            continue  # statsmodels has none
        gmm = getattr(theirs, method)(**({} if method == "aipw" else group))
        error = np.sqrt(joint_covariance(ours[name].influence[None, :], None)[0, 0])
        assert ours[name].estimate == pytest.approx(gmm.start_params[0], rel=1e-9)
        assert error == pytest.approx(gmm.results_gmm.bse[0], rel=1e-5), name


def arrays(frame: pd.DataFrame) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    treated = (frame["called"] == "call").to_numpy()
    read = [read_covariate(c, frame[c], []) for c in ("score", "income")]
    return frame["amount"].to_numpy(), treated, design(read, treated, [])


def test_doubly_robust_on_the_treated_is_as_spread_as_its_error_says():
    y, treated, x = arrays(chosen(800))
    rng, found = np.random.default_rng(3), []
    for _ in range(100):
        i = rng.integers(0, len(y), len(y))
        selected = propensity(x[i], treated[i])
        found.append(estimates(y[i], treated[i], x[i], selected, "treated")["doubly robust"].estimate)
    ours = estimates(y, treated, x, propensity(x, treated), "treated")["doubly robust"]
    error = np.sqrt(joint_covariance(ours.influence[None, :], None)[0, 0])
    assert np.std(found) == pytest.approx(error, rel=0.25)


def test_a_cluster_of_its_own_for_each_account_changes_next_to_nothing_and_copies_do():
    frame = chosen(600)
    frame["band"] = np.where(frame["score"] < 600, "low", "high")
    both = {"covariates": ["band", "region"]}
    plain, own = row(ask(frame, **both)), row(ask(frame, cluster="account_id", **both))
    n = plain["n_treated"] + plain["n_untreated"]
    assert own["std_error"] == pytest.approx(plain["std_error"] * np.sqrt(n / (n - 1)), rel=1e-9)
    twice = pd.concat([frame, frame.assign(account_id="b" + frame["account_id"])])
    twice = twice.assign(customer_id=twice["account_id"].str[-5:])
    clustered, careless = row(ask(twice, cluster="customer_id", **both)), row(ask(twice, **both))
    assert clustered["estimate"] == pytest.approx(plain["estimate"])
    assert clustered["std_error"] == pytest.approx(own["std_error"], rel=1e-9)
    assert careless["std_error"] == pytest.approx(plain["std_error"] / np.sqrt(2), rel=1e-6)


def test_bent_confounding_is_allowed_for_and_intervals_cover():
    found: dict[str, list[tuple[float, bool]]] = {}
    for seed in range(100):
        y, treated, x = arrays(chosen(600, seed))
        made = estimates(y, treated, x, propensity(x, treated)) | {"naive": naive(y, treated)}
        for method, each in made.items():
            error = np.sqrt(joint_covariance(each.influence[None, :], None)[0, 0])
            found.setdefault(method, []).append((each.estimate, abs(each.estimate - 100) < 1.96 * error))
    for method in ("adjusted", "weighted", "doubly robust"):
        values, covered = np.array(found[method]).T
        assert abs(values.mean() - 100) < 3 * values.std() / np.sqrt(100), method
        assert covered.mean() >= 0.87  # 95 %, less four of the simulation's own errors
    values, covered = np.array(found["naive"]).T
    assert values.mean() < 70 and covered.mean() < 0.7


def test_the_truth_of_a_simulated_bank_is_found_where_the_plain_comparison_misleads():
    """One book lived three times with the same luck: as it was, all standard, all intensive."""
    settings = Settings(
        seed=3, accounts=24_000, months=12, end=dt.date(2026, 10, 31), problems=(), hidden_confounding=0.0
    )
    luck = Luck(3)
    drawn = draw_accounts(settings, luck, 0, 24_000)
    drawn = {name: column[~drawn["tested"]] for name, column in drawn.items()}
    n = len(drawn["key"])
    lives = {name: np.tile(column, 3) for name, column in drawn.items()}
    lives["force"] = np.repeat([-1, STANDARD, INTENSIVE], n)
    days = Days(settings, luck, lives, keep=False).run()
    placed = ((days.t_placed >= 0) & (days.t_placed <= days.last - 90))[:n]
    cured = ((days.t_cured >= 0) & (days.t_cured - days.t_placed <= 60)).reshape(3, n)[:, placed]
    frame = pd.DataFrame(
        {
            "account_id": drawn["index"][placed],
            "strategy": np.where(days.t_strategy[:n][placed] == INTENSIVE, "intensive", "standard"),
            "credit_score": drawn["score"][placed],
            "monthly_income": drawn["income"][placed] / 100,
            "customer_id": drawn["customer"][placed],
            "cured": cured[0].astype(int),
            "gain": cured[2].astype(int) - cured[1],
        }
    )
    result = compare(
        frame,
        treatment="strategy",
        treated="intensive",
        outcome="cured",
        covariates=["credit_score", "monthly_income"],
        cluster="customer_id",
    )
    kept = result.propensity.loc[result.propensity["kept"], "account_id"].astype(int)
    truth = frame.set_index("account_id")["gain"][kept].mean()
    assert 0.08 < truth < 0.2
    assert row(result, "naive")["conf_high"] < truth
    for method in ("adjusted", "weighted", "doubly robust"):
        assert abs(row(result, method)["estimate"] - truth) < 3 * row(result, method)["std_error"]
        assert row(result, method)["conf_low"] > 0


# Reading the frame ----------------------------------------------------------------------------------------


def test_any_frame_and_any_order_give_the_same_bytes():
    frame = chosen(400)
    first = ask(frame, cluster="customer_id").table
    shuffled = frame.sample(frac=1, random_state=1)
    for other in (pl.from_pandas(shuffled).lazy(), shuffled):
        pd.testing.assert_frame_equal(first, ask(other, cluster="customer_id").table, check_exact=True)


def test_true_false_treatment_and_outcome_and_strange_names():
    frame = two_bands().rename(columns={"score": 'the "band"', "called": "was called?"})
    frame["was called?"], frame["paid"] = frame["was called?"] == 1, frame["paid"] == 1
    result = compare(frame, treatment="was called?", outcome="paid", covariates='the "band"')
    assert row(result)["estimate"] == pytest.approx(0.2)


def test_gaps_are_counted_and_flagged():
    frame = chosen(600)
    frame.loc[:9, "amount"] = np.nan
    frame.loc[10:14, "called"] = None
    frame.loc[20:69, "score"] = np.nan
    frame.loc[70:129, "region"] = None
    notes = " ".join(ask(frame).notes)
    assert "called: 5 of 600 accounts have none and are left out." in notes
    assert "amount: 10 of 595 accounts have none and are left out." in notes
    assert (
        "score: 50 of 585 accounts have no value; they enter at the mean, with a flag of their own." in notes
    )
    assert "region: 60 of 585 accounts have no value: a level of its own." in notes
    assert "income" not in notes


def test_numbers_bend_and_rare_levels_are_pooled():
    rng = np.random.default_rng(1)
    treated, notes = rng.random(1000) < 0.5, []
    skewed = read_covariate("income", pd.Series(np.exp(rng.normal(size=1000))), notes)
    assert skewed.logged and design([skewed], treated, notes).shape == (1000, 4)
    levels = read_covariate("branch", pd.Series(["a"] * 600 + ["b"] * 395 + ["c"] * 3 + ["d"] * 2), notes)
    assert set(levels.levels) == {"a", "b", "(other)"}
    assert "branch: c, d with 5 accounts in all pooled as other." in notes
    few = design([skewed.take(np.arange(1000) < 50)], treated[:50], notes)
    assert few.shape[1] == 2 and "straight lines" in notes[-1]


def test_a_restricted_spline_is_straight_beyond_its_outer_knots():
    x = np.linspace(-3, 3, 601)
    columns = design([read_covariate("x", pd.Series(x), [])], np.arange(601) % 2 == 0, [])
    beyond = x > np.quantile(x, 0.95) + 0.01
    assert np.abs(np.diff(columns[beyond], n=2, axis=0)).max() < 1e-9
    assert np.abs(np.diff(columns[~beyond], n=2, axis=0)).max() > 1e-5


def test_columns_that_follow_from_others_are_left_out():
    frame = chosen(600)
    frame["points"], frame["zone"] = frame["score"] * 2 + 1, frame["region"]
    both = row(ask(frame, covariates=["score", "income", "region", "points", "zone"]))
    assert both["estimate"] == pytest.approx(row(ask(frame))["estimate"], rel=1e-6)


# What cannot be answered ----------------------------------------------------------------------------------


def late(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(decided=[Z + dt.timedelta(days=20) if i < 3 else Z for i in range(len(frame))])


REFUSED = {
    "decided later": (late, {"decided_on": "decided", "time_zero": "zero"}, "3 of 400 .* decided on after time zero, 20 days"),
    "one date only": (lambda f: f, {"decided_on": "decided"}, "belong together"),
    "everybody": (lambda f: f.assign(called="call"), {}, "everybody is treated: all 400"),
    "nobody": (lambda f: f.assign(called="none"), {}, "nobody is treated"),
    "three arms": (lambda f: f.assign(called=["call", "none", "visit", "none"] * 100), {}, "holds 3 values"),
    "which one?": (lambda f: f, {"treated": None}, "says not which"),
    "constant": (lambda f: f.assign(amount=5.0), {}, "amount is 5 for all 400 accounts"),
    "empty": (lambda f: f.iloc[:0], {}, "no rows"),
    "one row": (lambda f: f[f["called"] == "call"].iloc[:1], {}, "everybody is treated"),
    "two rows": (lambda f: pd.concat([f[f["called"] == k].iloc[:1] for k in ("call", "none")]), {}, "perfect separation|at least two"),
    "text outcome": (lambda f: f, {"outcome": "region"}, "Allowed as an outcome"),
    "no covariates": (lambda f: f, {"covariates": []}, "covariates is empty"),
    "no column": (lambda f: f, {"covariates": ["scores"]}, "Did you mean score"),
    "a date": (lambda f: f, {"covariates": ["zero"]}, "is a date"),
    "itself": (lambda f: f, {"covariates": ["amount"]}, "the treatment, the outcome"),
    "infinite": (lambda f: f.assign(amount=np.inf), {}, "400 infinite values"),
    "trim": (lambda f: f, {"trim": 0.7}, "trim is 0.7"),
    "effect": (lambda f: f, {"effect": "some"}, "effect is 'some'"),
    "score rule": (lambda f: f.assign(called=np.where(f["score"] > 600, "none", "call")), {},
                   "perfect separation by score: all with 600 or less are call, all above none"),
    "region rule": (lambda f: f.assign(called=np.where(f["region"] == "North", "none", "call")), {},
                    "perfect separation by region"),
    "joint rule": (lambda f: f.assign(called=np.where(f["score"] + 40 * (f["region"] == "North") > 630, "none", "call")), {},
                   "perfect separation: the covariates together"),
    "many texts": (lambda f: f, {"covariates": ["account_id"]}, "up to 50 categories"),
    "constant covariate": (lambda f: f.assign(region="x"), {"covariates": "region"}, "none of the covariates"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_refused_with_the_reason(case):
    change, options, says = REFUSED[case]
    with pytest.raises(FrameError, match=says):
        ask(change(chosen(400)), **options)


def test_a_late_decision_names_accounts_and_the_nearest_valid_question():
    with pytest.raises(FrameError) as refused:
        ask(late(chosen(400)), decided_on="decided", time_zero="zero")
    for words in ("a00000, a00001, a00002", "target trial", "start everybody's clock later"):
        assert words in str(refused.value)


# The checks -----------------------------------------------------------------------------------------------


def test_dates_decide_known_at_start():
    frame = chosen(400)
    assert ask(frame).check("known_at_start").passed is None
    dated = ask(frame, decided_on="decided", time_zero="zero")
    assert dated.check("known_at_start").passed is True
    frame.loc[:4, "decided"] = None
    unknown = ask(frame, decided_on="decided", time_zero="zero").check("known_at_start")
    assert unknown.passed is None and "5 of 400" in unknown.says


def test_no_overlap_is_named_counted_and_left_out():
    frame = chosen(1200)
    frame["region"] = np.where(np.arange(1200) < 120, "East", frame["region"])
    frame.loc[frame["region"] == "East", "called"] = "call"
    result = ask(frame)
    check = result.check("overlap")
    assert check.passed and "region = East (all 120 treated)" in check.says
    kept = result.propensity.set_index("account_id")["kept"]
    assert not kept[frame.loc[frame["region"] == "East", "account_id"]].any()
    assert check.value == pytest.approx(1 - kept.mean())
    inside = result.propensity[result.propensity["kept"]]
    assert inside["propensity"].between(0.05, 0.95).all()
    assert row(result)["n_treated"] + row(result)["n_untreated"] == kept.sum()
    assert row(result, "naive")["n_treated"] == (frame["called"] == "call").sum()


def test_overlap_fails_where_most_accounts_have_nobody_to_be_compared_with():
    frame = chosen(2000)
    rng = np.random.default_rng(2)
    frame["called"] = np.where(
        rng.random(2000) < 1 / (1 + np.exp(-(620 - frame["score"]) / 6)), "call", "none"
    )
    result = ask(frame)
    assert result.check("overlap").passed is False
    assert "score" in result.check("overlap").says
    assert grade(result)[0] == "not identifiable from this book"


def test_balance_before_and_after():
    result = ask(chosen(2000))
    table = result.balance.set_index("covariate")
    assert abs(table.loc["score", "before"]) > 0.5 and abs(table.loc["score", "after"]) < 0.1
    assert table.loc["income", "level"] == "(logarithm)"
    assert result.check("balance").passed
    hand = two_bands()
    before = compare(hand, treatment="called", outcome="paid", covariates="score").balance["before"]
    # 80 % low among the called, 20 % among the others; both spreads are 0.4.
    assert sorted(before.round(6)) == [-1.5, 1.5]


def test_agreement_by_hand():
    # Only the first contrast varies: 1 with variance 0.25, so χ²(1) = 4.
    check = agreement(np.array([1.0, 0.0, 0.0]), np.diag([0.25, 0.0, 0.0]), 0.05)
    assert check.passed is False and check.value == pytest.approx(0.0455, abs=1e-4)
    assert agreement(np.array([1.0, 0.0, 0.0]), np.diag([0.5, 0.0, 0.0]), 0.05).passed is True
    assert agreement(np.array([1.0, 1.0, 1.0]), np.full((3, 3), 2.0), 0.05).passed is True
    assert ask(chosen(2000)).check("agreement").passed is True


def test_e_value_as_published():
    # VanderWeele & Ding (2017): RR 3.9 (1.8 to 8.7) has 7.26, and 3.0 for the interval.
    assert e_value(3.9) == pytest.approx(7.26, abs=0.005)
    assert e_value(1.8) == pytest.approx(3.0, abs=0.005)
    assert e_value(1 / 3.9) == pytest.approx(7.26, abs=0.005)
    assert e_value(1.0) == 1.0


def test_robustness_holds_the_interval_against_the_strongest_measured_trait():
    strong = two_bands()
    result = compare(pd.concat([strong] * 4), treatment="called", outcome="paid", covariates="score")
    check, found = result.check("robustness"), row(result)
    assert check.value == pytest.approx(e_value((0.45 + found["conf_low"]) / 0.45))
    # Low scores: 80 % of the called against 20 % (ratio 4); unpaid 60 % against 30 % pay (ratio 2). The weaker is 2.
    assert check.limit == pytest.approx(2.0)
    assert check.passed is False and "2.00" in check.says
    nothing = ask(chosen(600, gain=0.0)).check("robustness")
    assert nothing.passed is None and "holds 0" in nothing.says


def test_placebos_hold_where_the_covariates_suffice_and_fail_where_a_trait_is_hidden():
    options = {"placebo": ["prior"], "placebo_date": "before", "negative_controls": ["weather"]}
    options |= {"decided_on": "decided", "time_zero": "zero"}
    fair = ask(chosen(1500), **options)
    assert [fair.check(n).passed for n in ("placebo_outcome", "placebo_date", "negative_control")] == [
        True
    ] * 3
    assert grade(fair)[0] == "suggestive"
    unfair = ask(chosen(1500, seed=2, hidden=1.0), **options)
    assert unfair.check("placebo_outcome").passed is False
    assert unfair.check("placebo_date").passed is False
    assert unfair.check("negative_control").passed is True
    assert grade(unfair)[0] == "not identifiable from this book"


def test_a_placebo_among_the_covariates_is_not_adjusted_for_itself():
    frame = chosen(1500, hidden=1.0)
    result = ask(frame, covariates=["score", "income", "prior"], placebo="prior")
    assert result.check("placebo_outcome").passed is False


def test_several_placebos_share_the_error():
    check = ask(chosen(800), placebo=["prior", "weather"]).check("placebo_outcome")
    assert check.limit == pytest.approx(0.025)


def test_a_placebo_that_nobody_has_is_not_made():
    frame = chosen(400).assign(never=np.nan)
    check = ask(frame, placebo="never").check("placebo_outcome")
    assert check.passed is None and "too few accounts" in check.says


def drawn(estimate: float, unit: str = "money2") -> EffectResult:
    line = {
        "outcome": "amount",
        "unit": unit,
        "n": 900,
        "control_n": 800,
        "control_mean": 300.0,
        "estimate": estimate,
    }
    line |= {"std_error": 10.0, "conf_low": estimate - 19.6, "conf_high": estimate + 19.6, "p_value": 0.0}
    return EffectResult(table=pd.DataFrame([line]), estimand="", design="experiment")


def test_the_randomised_estimate_stands_beside_and_is_held_against():
    frame = chosen(2000)
    near = ask(frame, randomised=drawn(100.0))
    assert list(near.table["method"])[-1] == "randomised" and near.headline == 3
    assert row(near, "randomised")["n_treated"] == 900
    assert near.check("agrees_with_randomised").passed is True
    assert ask(frame, randomised=drawn(300.0)).check("agrees_with_randomised").passed is False
    with pytest.raises(FrameError, match="points"):
        ask(frame, randomised=drawn(0.1, "points"))


def test_a_placebo_that_cannot_be_made_is_told_beside_one_that_can():
    check = ask(chosen(600).assign(never=np.nan), placebo=["weather", "never"]).check("placebo_outcome")
    assert check.passed is not None and "Could not be made: never" in check.says
    assert check.limit == pytest.approx(0.05)


def test_repeated_accounts_are_pointed_out():
    frame = pd.concat([chosen(400), chosen(400).iloc[:30]])
    assert any("30 of 430 rows repeat an account" in n for n in ask(frame).notes)
    assert not any("repeat" in n for n in ask(frame, cluster="customer_id").notes)


# Charts ---------------------------------------------------------------------------------------------------


def test_charts_show_what_the_tables_hold():
    result = ask(chosen(800), randomised=drawn(100.0))
    ax = result.plot()
    assert [t.get_text() for t in ax.get_yticklabels()] == [
        "Naive",
        "Adjusted",
        "Weighted",
        "Doubly robust",
        "Randomised",
    ]
    overlap = result.plot_overlap()
    heights = [p.get_height() for p in overlap.patches]
    known = result.propensity.dropna()
    assert sum(h for h in heights if h > 0) == known["treated"].sum()
    assert -sum(h for h in heights if h < 0) == (~known["treated"]).sum()
    love = result.plot_balance()
    assert len(love.get_yticks()) == len(result.balance)


def test_the_table_reads():
    text = ask(chosen(600))._repr_markdown_()
    assert "Doubly robust" in text or "doubly robust" in text
    assert text == ask(chosen(600))._repr_markdown_()
