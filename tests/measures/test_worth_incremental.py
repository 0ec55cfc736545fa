"""Increments: by hand, the ratios' intervals by their definition, and a known increment found again."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collectlab.core.errors import FrameError
from collectlab.effects.experiment import experiment
from collectlab.effects.experiment_worth import worth
from collectlab.measures.worth.incremental import fieller, incremental


def effects(**rows) -> pd.DataFrame:
    """outcome = (estimate, error)."""
    return pd.DataFrame([(k, *v) for k, v in rows.items()], columns=["outcome", "estimate", "std_error"])


FOUND = effects(money=(60, 20), cost=(12, 1), cures=(0.05, 0.01))
INDEPENDENT = {("money", "cost"): 0.0, ("cost", "cures"): 0.0}


def test_the_net_and_both_prices_by_hand():
    found = incremental(FOUND, population="accounts of the test", covariance=INDEPENDENT)
    net = found.of("net")
    assert net["estimate"] == 48 and net["std_error"] == pytest.approx(np.sqrt(401))
    assert net["conf_low"] == pytest.approx(48 - 1.959964 * np.sqrt(401), abs=1e-4)
    assert net["reading"] == "pays"
    assert found.of("cost_per_extra_cure")["estimate"] == pytest.approx(240)
    assert found.of("cost_per_extra_unit")["estimate"] == pytest.approx(0.2)
    assert "among accounts of the test" in found.estimand
    with pytest.raises(FrameError, match="no row"):
        found.of("profit")


def test_at_the_ends_of_the_ratios_interval_the_two_differ_by_just_the_quantile():
    row = incremental(FOUND, population="x", covariance={**INDEPENDENT, ("cost", "cures"): 0.004}).of(
        "cost_per_extra_cure"
    )
    for b in row[["conf_low", "conf_high"]]:
        variance = 1 - 2 * b * 0.004 + b**2 * 0.01**2
        assert abs(12 - b * 0.05) / np.sqrt(variance) == pytest.approx(1.959964, abs=1e-5)


@given(
    st.floats(-50, 50),
    st.floats(0.5, 50),
    st.floats(0.01, 9),
    st.floats(0.01, 9),
    st.floats(-1, 1),
    st.floats(1, 3),
)
def test_fiellers_ends_lie_where_the_difference_is_just_told_from_nothing(
    above, below, one, other, correlation, quantile
):
    joint = correlation * one * other
    for b in fieller(above, below, one**2, joint, other**2, quantile):
        if np.isfinite(b):
            reach = quantile**2 * (one**2 - 2 * b * joint + b**2 * other**2)
            size = (abs(above) + abs(b * below)) ** 2 + quantile**2 * (one + abs(b) * other) ** 2
            assert (above - b * below) ** 2 == pytest.approx(reach, abs=1e-6 * size)


def test_a_denominator_that_may_be_nothing_gives_no_ratio():
    found = incremental(FOUND.assign(std_error=[40, 1, 0.03]), population="x", covariance=INDEPENDENT)
    for name, what in (("cost_per_extra_cure", "extra cures"), ("cost_per_extra_unit", "extra money")):
        row = found.of(name)
        assert np.isnan(row[["estimate", "conf_low", "conf_high"]].astype(float)).all()
        assert row["reading"] == f"no ratio: {what} cannot be told from none"
    fewer = incremental(FOUND.assign(estimate=[60, 12, -0.05]), population="x", covariance=INDEPENDENT)
    assert fewer.of("cost_per_extra_cure")["reading"] == "no ratio: fewer extra cures, not more"


def test_what_saves_money_and_brings_more_is_said_so():
    found = incremental(FOUND.assign(estimate=[60, -12, 0.05]), population="x", covariance=INDEPENDENT)
    row = found.of("cost_per_extra_cure")
    assert row["estimate"] == pytest.approx(-240) and row["reading"] == "costs less and brings more"
    assert found.of("net")["estimate"] == 72
    loss = incremental(FOUND.assign(estimate=[-60, 12, 0.05]), population="x", covariance=INDEPENDENT)
    assert loss.of("net")["reading"] == "does not pay"


@settings(max_examples=8, deadline=None)
@given(st.floats(-0.999, 0.999))
def test_without_a_covariance_the_interval_is_the_widest_that_any_allows(correlation):
    blind = incremental(FOUND, population="x")
    known = incremental(
        FOUND, population="x",
        covariance={("money", "cost"): correlation * 20, ("cost", "cures"): correlation * 0.01},
    )  # fmt: skip
    for name in ("net", "cost_per_extra_cure"):
        wide, narrow = blind.of(name), known.of(name)
        assert (
            wide["conf_low"] <= narrow["conf_low"] + 1e-9 and narrow["conf_high"] <= wide["conf_high"] + 1e-9
        )
    assert sum("allows for the worst" in note for note in blind.notes) == 3
    assert not any("allows for the worst" in note for note in known.notes)


def test_a_row_of_the_net_tells_the_covariance():
    with_net = pd.concat([FOUND, effects(net=(48, 19.5))])
    found = incremental(with_net, population="x")
    assert found.of("net")["std_error"] == pytest.approx(19.5)
    blind = incremental(FOUND, population="x").of("cost_per_extra_unit")
    unit = found.of("cost_per_extra_unit")
    assert unit["conf_high"] - unit["conf_low"] < blind["conf_high"] - blind["conf_low"]


def test_all_faults_at_once():
    bad = pd.DataFrame(
        {
            "outcome": ["money", "money", "cost", "cost"],
            "arm": ["a", "a", "a", "b"],
            "estimate": [1.0, 2.0, np.nan, 1.0],
            "std_error": [1.0, 1.0, 1.0, -1.0],
        }
    )
    with pytest.raises(FrameError) as error:
        incremental(bad, population="x")
    said = " ".join(error.value.faults)
    for words in (
        "'money' of a stands more than once",
        "no row with outcome 'money' of b",
        "2 rows have no estimate",
    ):
        assert words in said
    with pytest.raises(FrameError) as error:
        incremental(FOUND, population=" ", evidence="hearsay", covariance={("money", "cost"): 21.0})
    said = " ".join(error.value.faults)
    for words in (
        "population is empty",
        "evidence of the arm is 'hearsay'",
        "covariance of cost and money is 21",
    ):
        assert words in said
    with pytest.raises(FrameError, match="std_error"):
        incremental(FOUND.drop(columns="std_error"), population="x")
    with pytest.raises(FrameError):
        incremental(FOUND.head(0), population="x")


def test_several_arms_each_with_its_own_grade():
    both = pd.concat(
        [FOUND.assign(arm="letter", n=50), FOUND.assign(arm="visit", n=60, estimate=[10, 40, 0.05])]
    )
    grades = {"letter": "causal", "visit": "suggestive"}
    found = incremental(both, population="x", evidence=grades, control="none")
    assert (
        found.of("net", "visit")["reading"] == "cannot be told"
        and found.of("net", "visit")["estimate"] == -30
    )
    assert (
        found.of("net", "letter")["evidence"] == "causal" and found.of("net", "letter")["control"] == "none"
    )
    assert any(note.startswith("Suggestive: people chose") for note in found.notes)
    assert set(found.table["n"]) == {50, 60}
    assert "extra net" in found.display_table()["Measure"].tolist()
    assert len(found.plot().get_yticks()) == 2


def two_arms(rng: np.random.Generator, gain: float, n: int = 400) -> pd.DataFrame:
    """Money, cost and cures of a test in which the arm brings 30 + ``gain`` at a cost of 30 and 5 more cures in 100."""
    arm = rng.permutation(np.repeat(["new", "old"], n // 2))
    new = (arm == "new").astype(float)
    cured = (rng.random(n) < 0.5 + 0.10 * new).astype(float)
    calls = rng.poisson(3, n) + 6 * new - cured
    paid = 40 * cured + rng.exponential(60, n) + (gain + 30 - 4) * new
    cost = 5 * np.maximum(calls, 0)
    return pd.DataFrame({"strategy": arm, "money": paid, "cost": cost, "cures": cured, "net": paid - cost})


def test_an_experiment_ends_in_the_same_net_as_worth_says():
    frame = two_arms(np.random.default_rng(3), 50)
    told = experiment(frame, control="old", outcomes=["money", "cost", "cures", "net"]).table
    found = incremental(told, population="the test")
    plain = worth(frame, control="old", amount="money", cost="cost").table.iloc[0]
    for column in ("estimate", "std_error", "conf_low", "conf_high"):
        assert found.of("net")[column] == pytest.approx(plain[column], rel=1e-6)
    assert 1 / found.of("cost_per_extra_unit")["estimate"] == pytest.approx(plain["back_per_unit"])
    ends = 1 / found.of("cost_per_extra_unit")[["conf_high", "conf_low"]].astype(float)
    assert ends.tolist() == pytest.approx([plain["back_low"], plain["back_high"]], rel=1e-6)


def plain_effects(frame: pd.DataFrame) -> pd.DataFrame:
    """Differences of two means, with the error of unequal variances."""
    by = frame.groupby("strategy")
    mean, var = by.mean(), by.var() / by.size().to_numpy()[:, None]
    rows = {c: (mean.loc["new", c] - mean.loc["old", c], np.sqrt(var[c].sum())) for c in mean}
    return effects(**rows)


def test_a_known_increment_is_covered_about_as_often_as_said():
    rng, many = np.random.default_rng(11), 80
    true = truth_of(rng)
    held, bias = np.zeros(2), []
    for _ in range(many):
        found = incremental(plain_effects(two_arms(rng, 50)), population="the test")
        for i, name in enumerate(("net", "cost_per_extra_unit")):
            row = found.of(name)
            held[i] += row["conf_low"] <= true[i] <= row["conf_high"]
        bias.append((found.of("net")["estimate"] - true[0]) / found.of("net")["std_error"])
    assert (held / many > 0.86).all()  # 0.95 less 3.5 Monte-Carlo errors
    assert abs(np.mean(bias)) < 4 / np.sqrt(many) and 0.8 < np.std(bias) < 1.2


def truth_of(rng: np.random.Generator) -> tuple[float, float]:
    frame = two_arms(rng, 50, 400_000)
    means = frame.groupby("strategy")[["money", "cost", "net"]].mean().diff().iloc[1] * -1
    return float(means["net"]), float(means["cost"] / means["money"])
