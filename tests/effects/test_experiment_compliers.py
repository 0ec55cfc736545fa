"""The compliers' effect: by hand, against statsmodels' two-stage least squares, and by simulation."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from collectlab.core.errors import FrameError
from collectlab.effects.experiment_compliers import complier_effect
from collectlab.measures.worth.incremental import fieller


def calls() -> pd.DataFrame:
    """100 assigned to a call, of whom 50 are reached and 60 pay; 100 not, of whom 40 pay."""
    return pd.DataFrame(
        {
            "arm": ["call"] * 100 + ["none"] * 100,
            "reached": [1, 0] * 50 + [0] * 100,
            "paid": [1] * 60 + [0] * 40 + [1] * 40 + [0] * 60,
        }
    )


def drawn(
    rng: np.random.Generator, n: int = 400, reach: float = 0.6, effect: float = 0.5, customers: int = 0
):
    """Those who are easily reached pay more anyway; the effect of being reached is ``effect``."""
    ease = rng.normal(size=n)
    if customers:
        who = rng.integers(0, customers, n)
        assigned = rng.integers(0, 2, customers)[who]
        ease = rng.normal(size=customers)[who]
    else:
        who, assigned = np.arange(n), rng.permutation(n) % 2
    reached = assigned * (ease + rng.normal(size=n) > -1.414 * np.sqrt(2) * (reach - 0.5))
    paid = ease + effect * reached + rng.normal(size=n)
    return pd.DataFrame(
        {
            "arm": np.where(assigned, "call", "none"),
            "reached": reached,
            "paid": paid,
            "who": who,
            "ease": ease,
        }
    )


OPTIONS = {"arm": "arm", "control": "none", "received": "reached", "outcome": "paid"}


def test_walds_estimate_by_hand():
    made = complier_effect(calls(), **OPTIONS)
    row = made.table.iloc[0]
    assert (row["arm"], row["n"], row["control_n"], row["unit"]) == ("call", 100, 100, "points")
    assert (row["received"], row["control_received"]) == (0.5, 0.0)
    assert row["estimate"] == pytest.approx((0.6 - 0.4) / 0.5)
    # u = y − 0.4 d less its mean in each arm; HC3 in two groups of 100: Σu² / 99², over the 0.5 of the first stage.
    in_call = 30 * 0.2**2 + 30 * 0.6**2 + 20 * 0.8**2 + 20 * 0.4**2
    in_none = 40 * 0.6**2 + 60 * 0.4**2
    assert row["std_error"] == pytest.approx(math.sqrt(in_call + in_none) / 99 / 0.5)
    # The first stage: 0.5, with Σe² = 25 in the arm and 0 in the control.
    assert row["first_stage_f"] == pytest.approx(0.25 / (25 / 99**2))
    assert [(c.name, c.passed) for c in made.checks] == [
        ("first_stage", True),
        ("exclusion", None),
        ("one_sided", True),
    ]


def test_agrees_with_two_stage_least_squares_on_the_rows():
    from statsmodels.sandbox.regression.gmm import IV2SLS

    frame = drawn(np.random.default_rng(3))
    frame["score"] = frame["ease"].round() + 1.0
    x = np.column_stack([frame["reached"], np.ones(len(frame)), frame["score"]]).astype(float)
    z = np.column_stack([frame["arm"] == "call", np.ones(len(frame)), frame["score"]]).astype(float)
    y = frame["paid"].to_numpy()
    theirs = IV2SLS(y, x, z).fit()
    row = complier_effect(frame, covariates="score", **OPTIONS).table.iloc[0]
    assert row["estimate"] == pytest.approx(theirs.params[0])
    # Its errors assume equal spread; ours in the same sandwich, with each residual over 1 − leverage (HC3).
    residual = y - x @ theirs.params
    bread = np.linalg.inv(z.T @ x)
    leverage = np.einsum("ij,jk,ik->i", z, np.linalg.inv(z.T @ z), z)
    meat = (z * (residual / (1 - leverage))[:, None] ** 2).T @ z
    assert row["std_error"] == pytest.approx(math.sqrt((bread @ meat @ bread.T)[0, 0]))


def test_clusters_of_equal_rows_are_one_row_but_for_the_correction():
    frame = drawn(np.random.default_rng(4), n=120)
    plain = complier_effect(frame, cluster="who", **OPTIONS).table.iloc[0]
    thrice = complier_effect(pd.concat([frame] * 3), cluster="who", **OPTIONS).table.iloc[0]
    assert thrice["estimate"] == pytest.approx(plain["estimate"])
    correction = math.sqrt((359 / 358) / (119 / 118))
    assert thrice["std_error"] == pytest.approx(plain["std_error"] * correction)


def test_blocks_compare_within():
    frame = calls()
    shifted = frame.assign(paid=frame["paid"] + 1)
    both = pd.concat([frame.assign(block="x"), shifted.assign(block="y")])
    row = complier_effect(both, block="block", **OPTIONS).table.iloc[0]
    assert row["estimate"] == pytest.approx(0.4)


def test_anderson_rubin_holds_what_the_reduced_form_does_not_reject():
    """At each end of the interval, the outcome less b times the treatment differs between arms by just t."""
    from scipy import stats

    from collectlab.effects.experiment import experiment

    frame = drawn(np.random.default_rng(5))
    row = complier_effect(frame, **OPTIONS).table.iloc[0]
    for b in (row["ar_low"], row["ar_high"]):
        rest = frame.assign(rest=frame["paid"] - b * frame["reached"])
        found = experiment(rest, arm="arm", control="none", outcomes="rest").table.iloc[0]
        t = found["estimate"] / found["std_error"]
        assert abs(t) == pytest.approx(stats.t.ppf(0.975, len(frame) - 2))


def test_a_weak_instrument_gets_anderson_rubins_interval():
    frame = drawn(np.random.default_rng(8), n=200)
    frame["reached"] = 0
    frame.loc[frame.index[frame["arm"] == "call"][:3], "reached"] = 1
    made = complier_effect(frame, **OPTIONS)
    row = made.table.iloc[0]
    assert row["first_stage_f"] < 10 and made.check("first_stage").passed is False
    assert (row["conf_low"], row["conf_high"]) == (row["ar_low"], row["ar_high"])
    assert not np.isfinite(row["ar_low"]) and any("without end" in note for note in made.notes)


def test_fiellers_interval():
    # Nothing uncertain below: the ordinary interval over it.
    assert fieller(2.0, 4.0, 1.0, 0.0, 0.0, 1.96) == pytest.approx(((2 - 1.96) / 4, (2 + 1.96) / 4))
    low, high = fieller(2.0, 4.0, 1.0, 0.3, 0.5, 1.96)
    for b in (low, high):
        assert (2 - b * 4) ** 2 == pytest.approx(1.96**2 * (1 - 2 * b * 0.3 + b**2 * 0.5))
    assert fieller(2.0, 0.1, 1.0, 0.0, 0.5, 1.96) == (-np.inf, np.inf)


def test_money_and_several_arms():
    frame = calls().assign(amount=lambda f: f["paid"] * 100.0)
    frame = pd.concat([frame, frame[:100].assign(arm="visit")])
    made = complier_effect(frame, **OPTIONS | {"outcome": "amount"})
    assert made.table["arm"].tolist() == ["call", "visit"]
    assert made.table["estimate"].tolist() == pytest.approx([40, 40])
    assert set(made.table["unit"]) == {"money2"} and made.design == "experiment"


def test_missing_values_are_counted():
    frame = calls().astype({"paid": float})
    frame.loc[:4, "paid"] = np.nan
    made = complier_effect(frame, **OPTIONS)
    assert made.table["n"].tolist() == [95]
    assert "5 of 200 accounts have no paid and are not counted." in made.notes


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"received": "reach"}, "Did you mean reached"),
        ({"received": "arm"}, "numbers or true/false"),
        ({"control": "nobody"}, "no arm 'nobody'"),
        ({"received": "never"}, "never is 0 for all 200"),
        ({"outcome": "never"}, "never is 0 for all 200"),
        ({"block": "arm"}, "cannot be told"),
        ({"conf_level": 2}, "between 0 and 1"),
    ],
)
def test_what_cannot_be_estimated_is_refused(change, said):
    with pytest.raises(FrameError, match=said):
        complier_effect(calls().assign(never=0), **OPTIONS | change)


@pytest.mark.parametrize("rows", [0, 1, 100])
def test_fewer_than_two_arms_is_refused(rows):
    with pytest.raises(FrameError, match="two arms or more"):
        complier_effect(calls()[:rows], **OPTIONS)


def test_the_interval_covers_and_comparing_those_reached_does_not():
    rng = np.random.default_rng(12)
    inside = naive = 0
    for _ in range(100):
        frame = drawn(rng, n=300)
        row = complier_effect(frame, **OPTIONS).table.iloc[0]
        inside += row["conf_low"] <= 0.5 <= row["conf_high"]
        mean = frame.groupby("reached")["paid"].agg(["mean", "var", "count"])
        difference = mean.loc[1, "mean"] - mean.loc[0, "mean"]
        error = math.sqrt((mean["var"] / mean["count"]).sum())
        naive += abs(difference - 0.5) <= 1.97 * error
    assert inside / 100 >= 0.88  # 95 % with a Monte-Carlo error of 2.2 points
    assert naive / 100 < 0.2
