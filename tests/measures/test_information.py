"""Draws, acceptability and the value of information: against closed forms, published tables and brute force."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats

from collectlab.core.errors import FrameError
from collectlab.measures.worth.acceptability import acceptability
from collectlab.measures.worth.information import evpi, evpi_normal, evppi, unit_normal_loss
from collectlab.measures.worth.next_experiment import sample_information
from collectlab.measures.worth.probabilistic import draw, probabilistic

# Draws


@pytest.mark.parametrize(
    ("spec", "law"),
    [
        (("normal", -3.0, 2.0), stats.norm(-3, 2)),
        (("beta", 0.3, 0.1), stats.beta(0.3 * 20, 0.7 * 20)),
        (("gamma", 180.0, 60.0), stats.gamma(9, scale=20)),
        (("lognormal", 0.5, 0.5), stats.lognorm(np.log(2) ** 0.5, scale=0.5 / 2**0.5)),
    ],
)
def test_families_have_the_mean_and_deviation_asked_for(spec, law):
    assert (law.mean(), law.std()) == pytest.approx(spec[1:])
    found = draw({"x": spec}, draws=20_000)["x"]
    assert stats.kstest(found, law.cdf).pvalue > 0.001


def test_a_parameter_keeps_its_draws_when_another_is_added():
    alone = draw({"a": ("normal", 0, 1)}, draws=200)
    both = draw(
        {"b": ("gamma", 1, 1), "a": ("normal", 0, 1), "given": np.arange(200.0), "known": 3}, draws=200
    )
    pd.testing.assert_series_equal(alone["a"], both["a"])
    assert both["given"].tolist() == list(range(200)) and set(both["known"]) == {3.0}
    assert abs(np.corrcoef(both["a"], both["b"])[0, 1]) < 0.2
    assert not draw({"a": ("normal", 0, 1)}, draws=200, seed=2)["a"].equals(alone["a"])


def test_draws_at_fault_are_told_at_once():
    with pytest.raises(FrameError) as error:
        draw(
            {
                "share": ("beta", 1.2, 0.1), "wide": ("beta", 0.5, 0.6), "cost": ("gamma", -1, 1), "odd": ("weibull", 1, 1),
                "short": np.ones(99), "gap": np.full(100, np.nan), "neg": ("normal", 0, -1),
            },
            draws=100,
        )  # fmt: skip
    told = {fault.split(":")[0] for fault in error.value.faults}
    assert told == {"share", "wide", "cost", "odd", "short", "gap", "neg"}
    assert "a probability strictly between 0 and 1" in str(error.value)
    with pytest.raises(FrameError, match="from 100"):
        draw({"a": 1.0}, draws=10)


# Acceptability


def test_acceptability_by_hand():
    effects = {"none": [0, 0, 0, 0], "letter": [1, 1, 1, 1], "visit": [1, 2, 3, 4]}
    costs = {"none": [0] * 4, "letter": [1] * 4, "visit": [5] * 4}
    found = acceptability(effects, costs, [0, 1, 3]).table.set_index(["willingness_to_pay", "option"])
    # at 0: nothing is best; at 1: none and letter are equally good (0), visit never better; at 3: letter 2, visit −2, 1, 4, 7
    assert found["estimate"].tolist() == pytest.approx([1, 0, 0, 0.5, 0.5, 0, 0, 0.5, 0.5])
    assert found.loc[3.0, "net"].tolist() == pytest.approx([0, 2, 2.5])
    assert found.loc[3.0, "frontier"].tolist() == [False, False, True]
    # knowing: 2, 2, 4, 7 against 2.5 on average
    assert found.loc[(3.0, "visit"), "perfect_information"] == pytest.approx(3.75 - 2.5)


@given(st.integers(0, 10_000))
@settings(max_examples=30, deadline=None)
def test_shares_add_to_one_and_the_frontier_has_one_option(seed):
    random = np.random.default_rng(seed)
    effects, costs = random.integers(0, 4, (50, 3)), random.integers(0, 4, (50, 3))
    found = acceptability(effects, costs, [0.0, 0.5, 1, 2])
    by = found.table.groupby("willingness_to_pay")
    assert by["estimate"].sum().tolist() == pytest.approx([1.0] * 4)
    assert by["frontier"].sum().tolist() == [1] * 4
    assert (found.table["perfect_information"] >= -1e-12).all()
    assert len(found.frontier()) == 4


def test_acceptability_has_a_chart_and_refuses_what_does_not_fit():
    found = acceptability({"a": [0, 0], "b": [1, 2]}, {"a": [0, 0], "b": [1, 1]}, [0, 1, 2])
    a, b, *best = found.plot().get_lines()
    assert [line.get_label() for line in (a, b, best[0])] == ["a", "b", "frontier"]
    # a is best where an extra unit is worth nothing, b from 1 on
    assert [np.isfinite(line.get_ydata()).tolist() for line in best] == [
        [True, False, False],
        [False, True, True],
    ]
    with pytest.raises(FrameError, match="unequal length"):
        acceptability({"a": [0, 0], "b": [1]}, {"a": [0, 0], "b": [1, 1]}, 1)
    with pytest.raises(FrameError, match="unequal length"):
        acceptability(np.zeros((3, 2)), np.zeros((4, 2)), 1)
    with pytest.raises(FrameError, match="not finite: b"):
        acceptability({"a": [0, 0], "b": [1, np.nan]}, {"a": [0, 0], "b": [1, 1]}, 1)
    with pytest.raises(FrameError, match="Allowed: two or more"):
        acceptability({"a": [0, 0]}, {"a": [0, 0]}, 1)
    with pytest.raises(FrameError, match="willingness"):
        acceptability(np.zeros((3, 2)), np.zeros((3, 2)), [-1])


# Perfect and partial information


def test_unit_normal_loss_as_printed():
    # Raiffa & Schlaifer (1961), table of the unit normal linear-loss integral
    printed = {
        0.0: 0.3989,
        0.1: 0.3509,
        0.5: 0.1978,
        1.0: 0.08332,
        1.5: 0.02931,
        2.0: 0.008491,
        2.5: 0.002004,
        3.0: 0.0003822,
    }
    for z, loss in printed.items():
        assert unit_normal_loss(z) == pytest.approx(loss, rel=5e-4), z
        by_integral = integrate.quad(lambda x, z=z: (x - z) * stats.norm.pdf(x), z, z + 12)[0]
        assert unit_normal_loss(z) == pytest.approx(by_integral, rel=1e-8)


def test_evpi_is_the_closed_form_for_a_normal_difference():
    # the example of the R package voi (Jackson): net value normal with mean 1 and variance 1² + 2² against 0
    exact = evpi_normal(1.0, 5**0.5)
    truncated = (
        stats.truncnorm(-1 / 5**0.5, np.inf, loc=1, scale=5**0.5).mean() * stats.norm.sf(0, 1, 5**0.5) - 1
    )
    assert exact == pytest.approx(truncated, rel=1e-9)
    drawn = draw({"p1": ("normal", 1, 1), "p2": ("normal", 0, 2)}, draws=200_000)
    net = {"t1": np.zeros(200_000), "t2": drawn["p1"] - drawn["p2"]}
    row = evpi(net, decisions=250).table.iloc[0]
    assert abs(row["estimate"] - exact) < 4 * row["std_error"] and row["std_error"] < 0.003
    assert row["total"] == pytest.approx(250 * row["estimate"])


def test_evppi_is_the_closed_form_for_one_normal_parameter():
    # knowing p1 only: the difference is then normal with mean 1 and variance 1
    drawn = draw({"p1": ("normal", 1, 1), "p2": ("normal", 0, 2), "known": 7.0}, draws=20_000)
    net = {"t1": np.zeros(20_000), "t2": drawn["p1"] - drawn["p2"]}
    found = evppi(net, drawn).table.set_index("what")
    assert found.index.tolist() == ["everything", "p2", "p1"]
    for what, exact in (
        ("p1", evpi_normal(1, 1)),
        ("p2", evpi_normal(1, 2)),
        ("everything", evpi_normal(1, 5**0.5)),
    ):
        assert abs(found.loc[what, "estimate"] - exact) < 4 * found.loc[what, "std_error"] + 1e-4, what
    both = evppi(net, drawn, {"both": ["p1", "p2"]}).table.set_index("what")
    assert both.loc["both", "estimate"] == pytest.approx(both.loc["everything", "estimate"], rel=1e-6)


def test_evppi_of_a_curved_model_against_nested_simulation():
    def model(x, y):
        return {"a": np.zeros_like(y), "b": np.exp(0.5 * x) * y - 1.2, "c": x**2 * 0.4 - 0.3 + 0.2 * y}

    drawn = draw({"x": ("normal", 0, 1), "y": ("normal", 1, 0.8)}, draws=30_000)
    found = evppi(model(drawn["x"].to_numpy(), drawn["y"].to_numpy()), drawn, {"x": "x"}).table.set_index(
        "what"
    )
    # the inner expectations are known: y enters linearly, with mean 1
    grid = stats.norm.ppf((np.arange(20_000) + 0.5) / 20_000)
    inner = np.column_stack(list(model(grid, np.ones_like(grid)).values()))
    nested = inner.max(axis=1).mean() - inner.mean(axis=0).max()
    assert found.loc["x", "estimate"] == pytest.approx(nested, abs=4 * found.loc["x", "std_error"] + 0.01)
    assert found.loc["x", "estimate"] < found.loc["everything", "estimate"]


def test_the_error_of_evppi_is_the_spread_over_repetitions():
    values, errors = [], []
    for seed in range(60):
        drawn = draw({"p1": ("normal", 1, 1), "p2": ("normal", 0, 2)}, draws=1000, seed=seed)
        row = evppi({"t1": np.zeros(1000), "t2": drawn["p1"] - drawn["p2"]}, drawn, {"p1": "p1"}).table.iloc[
            1
        ]
        values.append(row["estimate"])
        errors.append(row["std_error"])
    assert 0.6 < np.mean(errors) / np.std(values) < 1.7
    assert np.mean(values) == pytest.approx(evpi_normal(1, 1), abs=4 * np.std(values) / 60**0.5 + 0.01)


def test_information_at_fault_is_told():
    drawn = pd.DataFrame({"p1": np.arange(100.0), "flat": 1.0})
    net = {"a": np.zeros(100), "b": np.arange(100.0) - 40}
    with pytest.raises(FrameError, match="no parameter 'p2'"):
        evppi(net, drawn, {"x": "p2"})
    with pytest.raises(FrameError, match="unequal length"):
        evppi(net, drawn.iloc[:50])
    with pytest.raises(FrameError, match="nothing to know"):
        evppi(net, drawn[["flat"]])
    with pytest.raises(FrameError, match="decisions"):
        evpi(net, decisions=0)
    with pytest.raises(FrameError, match="ten draws a term"):
        evppi(
            {"a": np.zeros(100), "b": np.arange(100.0)},
            pd.DataFrame(np.random.default_rng(1).normal(size=(100, 3)), columns=list("xyz")),
            {"all": list("xyz")},
        )
    with pytest.raises(FrameError) as error:
        evpi_normal(float("nan"), 0.0)
    assert len(error.value.faults) == 2


# The next experiment


def test_evsi_against_simulated_experiments():
    m, s, sd, n = 20.0, 50.0, 600.0, 300
    row = sample_information(m, s, sd=sd, accounts_a_month=400, months=24, follow_up=3, n=n).table.iloc[0]
    random = np.random.default_rng(8)
    truth = random.normal(m, s, 400_000)
    variance = 2 * sd**2 / n
    seen = random.normal(truth, variance**0.5)
    after = (m / s**2 + seen / variance) / (1 / s**2 + 1 / variance)
    gained = np.where(after > 0, truth, 0.0) - max(m, 0)
    assert row["evsi"] == pytest.approx(gained.mean(), abs=4 * gained.std() / 400_000**0.5)
    assert row["months"] == pytest.approx(600 / 400 + 3)
    assert row["gain"] == pytest.approx(row["evsi"] * 400 * (24 - 4.5))
    assert row["forgone"] == pytest.approx(20 * 300)
    assert row["estimate"] == pytest.approx(row["gain"] - row["forgone"])


def test_evsi_grows_with_size_up_to_perfect_information():
    sizes = [2, 10, 100, 1000, 100_000, 10**8]
    found = sample_information(-5.0, 30.0, sd=400, accounts_a_month=1e9, months=12, n=sizes).table
    assert found["evsi"].is_monotonic_increasing
    assert found["evsi"].iloc[-1] == pytest.approx(evpi_normal(-5, 30), rel=1e-4)
    # the arm looks worse today: it is the arm that gives something up
    assert found["forgone"].tolist() == pytest.approx([5.0 * n for n in sizes])


def test_the_best_size_is_the_best_of_all_sizes():
    given_ = dict(
        sd=600, accounts_a_month=120, months=18, follow_up=2, cost_per_account=3.0, fixed_cost=500.0
    )
    found = sample_information(20.0, 50.0, **given_)
    every = sample_information(20.0, 50.0, n=range(2, 900), **given_).table
    assert found.best["n_arm"] == every.loc[every["estimate"].idxmax(), "n_arm"]
    assert found.best["estimate"] == pytest.approx(every["estimate"].max())
    assert found.table["best"].sum() == 1
    assert found.plot().get_lines()


def test_no_experiment_is_recommended_where_none_pays():
    sure = sample_information(500.0, 20.0, sd=600, accounts_a_month=100, months=12, fixed_cost=100.0)
    assert sure.best is None and (sure.table["estimate"] < 0).all()


def test_an_experiment_at_fault_is_told_at_once():
    with pytest.raises(FrameError) as error:
        sample_information(
            float("inf"), -1, sd=0, accounts_a_month=0, months=-1, n=[1, 2.5], pace=0, cost_per_account=-1,
            control_ratio=0, follow_up=-1,
        )  # fmt: skip
    assert len(error.value.faults) == 10
    with pytest.raises(FrameError, match="no answer would come in time"):
        sample_information(1, 1, sd=1, accounts_a_month=10, months=3, follow_up=3)


# Probabilistic


def test_probabilistic_refuses_a_model_that_gives_no_numbers():
    parameters = {"x": ("normal", 0, 1)}
    with pytest.raises(FrameError, match="fewer than two"):
        probabilistic(lambda x: {"a": (x, x)}, parameters)
    with pytest.raises(FrameError) as error:
        probabilistic(
            lambda x: {"a": (x[:5], 0), "b": (np.where(x > 0, x, np.nan), 0.0), "c": (x, 0)},
            {"x": np.linspace(-1, 1, 2000)},
        )
    assert error.value.faults[0].startswith("a: is not") and error.value.faults[1].startswith(
        "b: 1,000 of 2,000"
    )


def test_draws_that_go_together_are_given_as_draws():
    random = np.random.default_rng(3)
    both = random.multivariate_normal([100, 40], [[100, 90], [90, 100]], 5000)
    found = probabilistic(
        lambda paid, cost: {"keep": (0.0, 0.0), "switch": (paid, cost)},
        pd.DataFrame({"paid": both[:, 0], "cost": both[:, 1]}),
        unit="money2",
    )
    assert found.net()["switch"].std() == pytest.approx(20**0.5, rel=0.05)
    assert found.table.columns.tolist() == [
        "option",
        "measure",
        "unit",
        "estimate",
        "std_error",
        "conf_low",
        "conf_high",
    ]


def test_draws_in_other_frames_keep_their_order():
    import polars as pl

    drawn = draw({"p1": ("normal", 1, 1), "p2": ("normal", 0, 2)}, draws=5000)
    net = pd.DataFrame({"t1": np.zeros(5000), "t2": drawn["p1"] - drawn["p2"]})
    ours = evppi(net, drawn).table
    pd.testing.assert_frame_equal(ours, evppi(pl.from_pandas(net), pl.from_pandas(drawn)).table)
    pd.testing.assert_frame_equal(ours, evppi(net.to_dict("list"), drawn).table)
    assert evpi(net.to_numpy()).table["estimate"][0] == pytest.approx(ours["estimate"][0])
    with pytest.raises(FrameError, match="is no frame"):
        evppi(net, 3)
