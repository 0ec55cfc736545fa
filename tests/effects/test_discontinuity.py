"""A threshold rule: the jump, its sign, fuzzy rules, what the checks see, and what is refused."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from collectlab.core.errors import FrameError
from collectlab.effects._discontinuity_fit import Side, prepared
from collectlab.effects.discontinuity import discontinuity


def people(seed: int = 0, effect: float = 0.1, n: int = 3_000, whole: bool = True) -> pd.DataFrame:
    """Accounts with a score around 620; those below 600 are treated."""
    rng = np.random.default_rng(seed)
    score = rng.normal(620, 60, n)
    score = np.round(score) if whole else score
    treated = score < 600
    share = 0.45 - 0.1 * np.tanh((score - 600) / 90) + effect * treated
    return pd.DataFrame(
        {
            "score": score,
            "cured": (rng.random(n) < share).astype(float),
            "age": rng.normal(40, 10, n),
            "customer": np.arange(n) // 2,
        }
    )


def ask(frame: pd.DataFrame, **options):
    given = {"score": "score", "cutoff": 600, "outcome": "cured", "treated": "below"} | options
    return discontinuity(frame, **given)


def test_a_jump_without_noise_comes_back_with_its_sign():
    score = np.arange(400.0, 800, 0.5)
    frame = pd.DataFrame({"score": score, "cured": 1e3 + score + 50 * (score < 600) + np.sin(score * 7)})
    below, above = ask(frame), ask(frame, treated="above")
    assert below.table["estimate"][0] == pytest.approx(50, abs=1)
    assert above.table["estimate"][0] == pytest.approx(-50, abs=1)
    assert above.table["conf_low"][0] < above.table["conf_high"][0] < 0
    sizes = ["n_treated", "n_untreated"]
    assert above.table[sizes].iloc[0].tolist() == below.table[sizes[::-1]].iloc[0].tolist()


def test_the_numbers_are_rdrobusts():
    from rdrobust import rdrobust

    frame = people(1).sort_values(["score", "cured"], ignore_index=True)
    row = ask(frame).table.iloc[0]
    theirs = rdrobust(frame["cured"].to_numpy(), frame["score"].to_numpy(), c=600, vce="hc3")
    assert row["estimate"] == pytest.approx(-theirs.coef.loc["Robust"].iloc[0], rel=1e-6)
    assert row["conf_low"] == pytest.approx(-theirs.ci.loc["Robust"].iloc[1], rel=1e-6)
    assert row["std_error"] == pytest.approx(theirs.se.loc["Robust"].iloc[0], rel=1e-6)


def test_a_rule_not_always_followed():
    frame = people(2, effect=0.0, n=8_000)
    rng = np.random.default_rng(5)
    frame["visited"] = (rng.random(8_000) < np.where(frame["score"] < 600, 0.8, 0.2)).astype(float)
    frame["cured"] = frame["visited"] * 2 + rng.normal(0, 0.5, 8_000)
    result = ask(frame, received="visited")
    table = result.table.set_index(["outcome", "method"])["estimate"]
    assert table["cured", "robust"] == pytest.approx(2, abs=0.3)
    assert table["visited", "robust"] == pytest.approx(0.6, abs=0.15)
    assert table["cured", "rule, robust"] == pytest.approx(
        table["cured", "robust"] * table["visited", "robust"], rel=0.2
    )
    assert result.check("rule_followed").passed and result.headline == 0


def test_sorting_at_the_cutoff_is_seen():
    frame = people(3, n=6_000, whole=False)
    assert ask(frame).check("density").passed
    moved = frame["score"].between(600, 615)
    sorted_away = frame.assign(score=frame["score"].where(~moved, frame["score"] - 15))
    assert not ask(sorted_away).check("density").passed


def test_a_hole_beside_the_cutoff_is_told_as_a_heap_not_as_an_error():
    frame = people(3, n=1_500)
    moved = frame["score"].between(600, 612)
    holed = frame.assign(score=np.where(moved, 599 - frame["score"] * 7 % 20, frame["score"]))
    density = ask(holed).check("density")
    assert density.passed is False and "nearest to it" in density.says


def test_a_covariate_that_jumps_and_a_jump_elsewhere_are_seen():
    frame = people(4, n=6_000)
    assert ask(frame, covariates="age").check("covariates").passed
    assert ask(frame).check("covariates").passed is None
    older = frame.assign(age=frame["age"] + 15 * (frame["score"] < 600))
    assert not ask(older, covariates=["age", "customer"]).check("covariates").passed
    middle = frame.loc[frame["score"] >= 600, "score"].median()
    second = frame.assign(cured=frame["cured"] + 2 * (frame["score"] >= middle))
    assert not ask(second).check("placebo_cutoffs").passed


def test_scores_that_hardly_differ_are_said():
    frame = people(5, n=6_000)
    rough = frame.assign(score=np.floor(frame["score"] / 20) * 20)
    assert not ask(rough).check("mass_points").passed
    assert ask(frame).check("mass_points").passed
    assert not ask(people(6, n=150)).check("enough").passed


def test_clusters_widen_and_order_does_not_matter():
    one = people(7, n=1_500)
    twice = pd.concat([one, one], ignore_index=True)
    plain, robust = ask(twice), ask(twice, cluster="customer")
    assert robust.table["std_error"][0] > 1.2 * plain.table["std_error"][0]
    again = ask(twice.sample(frac=1, random_state=1), cluster="customer")
    pd.testing.assert_frame_equal(again.table, robust.table)


@pytest.mark.parametrize(
    ("change", "options", "said"),
    [
        (lambda f: f[f["score"] < 600], {}, "0 at or above it .score runs from"),
        (lambda f: f, {"cutoff": 5_000}, "0 at or above"),
        (lambda f: f.assign(cured=1.0), {}, "cured is 1 for all 3,000"),
        (lambda f: f, {"treated": "left"}, "'above', 'below'"),
        (lambda f: f, {"cutoff": float("nan")}, "Allowed: a number"),
        (lambda f: f, {"score": "scores"}, "no column 'scores'.*score"),
        (lambda f: f.assign(got=1.0), {"received": "got"}, "moved nobody"),
        (lambda f: f, {"received": "age"}, "other values than 0 and 1"),
        (lambda f: f.head(1), {}, "Allowed: 30 or more"),
        (lambda f: f.head(0), {}, "no rows"),
        (lambda f: f, {"cutoff": "600"}, "cutoff is '600'"),
        (lambda f: f.assign(score="high"), {"cutoff": "high"}, "cutoff is 'high'"),
        (lambda f: f, {"cutoff": None}, "cutoff is None"),
        (lambda f: f, {"outcome": "score"}, "'score' is both score and outcome"),
        (lambda f: f, {"covariates": ["age", "cured"]}, "'cured' is both outcome and covariates"),
        (
            lambda f: f.assign(customer=1),
            {"cluster": "customer"},
            "customer has only one value on a side of 600",
        ),
        (lambda f: f.assign(side=f["score"] < 600), {"cluster": "side"}, "two clusters or more on each side"),
        (lambda f: f.assign(score=np.where(f["score"] < 600, 1.0, 700.0)), {}, "no line can be fitted"),
    ],
)
def test_bad_input_is_refused(change, options, said):
    with pytest.raises(FrameError, match=said):
        ask(change(people()), **options)


def test_names_are_written_in_words():
    frame = people(1, 0.3).rename(
        columns={"cured": "paid_within_60", "score": "credit_score", "age": "age_then"}
    )
    result = ask(frame, score="credit_score", outcome="paid_within_60", covariates="age_then")
    assert result.title == "Paid anything within 60 days at credit score 600"
    assert "age then" in result.check("covariates").says
    ax = result.plot()
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("Credit score", "Paid anything within 60 days")
    assert set(result.display_table()["Outcome"]) == {"Paid anything within 60 days"}


def test_missing_values_are_counted():
    frame = people()
    frame.loc[:4, "score"] = np.nan
    assert "5 of 3,000 rows" in ask(frame).notes[0]


@pytest.mark.parametrize("effect", [0.0, 0.1])
def test_the_interval_keeps_its_level(effect):
    """Small version of benchmarks/policy_changes.py."""
    side, held, gaps = Side(600.0, -1.0, False, 0.95), [], []
    for seed in range(150):
        data, _ = prepared(people(seed, effect), "score", 600, "cured", [], None, None)
        row = side.row(side.fit(data, "y"), 2)
        held.append(row["conf_low"] <= effect <= row["conf_high"])
        gaps.append(row["estimate"] - effect)
    assert 0.89 <= np.mean(held) <= 0.995
    assert abs(np.mean(gaps)) < 4 * np.std(gaps) / np.sqrt(150)


def test_the_chart_has_both_sides():
    result = ask(people(1, 0.3))
    ax = result.plot()
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["without", "with"]
    assert result.bins.query("treated")["score"].max() < 600 <= result.bins.query("~treated")["score"].min()


def test_an_accounts_episodes_count_once_in_the_density():
    rng = np.random.default_rng(8)
    score = rng.integers(560, 720, 600).astype(float)
    frame = pd.DataFrame({"score": score, "account": np.arange(600), "y": rng.random(600) < 0.5})
    again = pd.concat([frame] * 4, ignore_index=True).assign(y=rng.random(2400) < 0.5)
    options = {"score": "score", "cutoff": 640, "outcome": "y"}
    once = discontinuity(frame, **options).check("density")
    assert discontinuity(again, **options, cluster="account").check("density").value == once.value
    # Where a cluster holds many scores (a branch), every row counts.
    branch = again.assign(branch=again["account"] % 12)
    every = discontinuity(again, **options).check("density").value
    assert discontinuity(branch, **options, cluster="branch").check("density").value == every
