"""The HIV model of Briggs, Claxton & Sculpher (2006), written anew from the book's inputs, with its published results.

Sources of each figure: tests/reference/decision/README.md.
"""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from collectlab.measures.worth.acceptability import acceptability
from collectlab.measures.worth.information import evpi
from collectlab.measures.worth.probabilistic import probabilistic
from collectlab.measures.worth.sensitivity import sensitivity

RUNS = Path(__file__).parents[1] / "reference" / "decision" / "hiv_runs.csv"
#: Transitions counted among patients on one drug, from states A, B and C to the states from there on (table 2.2).
COUNTS = {"a": (1251, 350, 116, 17), "b": (731, 512, 15), "c": (1312, 437)}
#: Medical and community cost of a year in each state; of the two drugs (table 2.1).
CARE = {"a": (1701, 1055), "b": (1774, 1278), "c": (6948, 2059)}
ZIDOVUDINE, LAMIVUDINE = 2278.0, 2086.5


def cohort(years_on_both, moves, relative_risk, care, half_cycle):
    """Life-years and cost (discounted at 6 %) of a patient over 20 years, by draw."""
    draws = len(relative_risk)
    alone = np.zeros((draws, 4, 4))
    for s, key in enumerate("abc"):
        alone[:, s, s:] = moves[key]
    alone[:, 3, 3] = 1
    both = alone * relative_risk[:, None, None]
    for s in range(4):
        both[:, s, s] = 0
        both[:, s, s] = 1 - both[:, s].sum(axis=1)
    where = np.tile([1.0, 0, 0, 0], (draws, 1))
    life, cost = np.zeros(draws), np.zeros(draws)
    for year in range(1, 21):
        on_both = year <= years_on_both
        before, where = where, np.einsum("ds,dst->dt", where, both if on_both else alone)
        alive = where[:, :3].sum(axis=1)
        life += (before[:, :3].sum(axis=1) + alive) / 2 if half_cycle else alive
        drugs = ZIDOVUDINE + (LAMIVUDINE if on_both else 0)
        cost += ((where[:, :3] * care).sum(axis=1) + drugs * alive) / 1.06**year
    return life, cost


def deterministic(relative_risk=0.509):
    moves = {k: np.array(v) / sum(v) for k, v in COUNTS.items()}
    care = np.array([[sum(v) for v in CARE.values()]])
    return [cohort(years, moves, np.array([relative_risk]), care, False) for years in (0, 2)]


def ratio(relative_risk=0.509):
    (life, cost), (more_life, more_cost) = deterministic(relative_risk)
    return ((more_cost - cost) / (more_life - life)).item()


def test_the_deterministic_model_to_the_last_figure_published():
    (life, cost), (more_life, more_cost) = deterministic()
    assert cost.item() == pytest.approx(44663.4535637, abs=1e-6)
    assert more_cost.item() == pytest.approx(50601.6513312, abs=1e-6)
    assert life.item() == pytest.approx(7.9912066, abs=1e-6)
    assert more_life.item() == pytest.approx(8.9373889, abs=1e-6)
    assert ratio() == pytest.approx(6275.95560, abs=1e-4)


@pytest.fixture(scope="module")
def model():
    """Exercise 4.7: Dirichlet transitions, gamma costs with shape 1, a lognormal relative risk of 0.509 (0.365 to 0.710)."""
    random, draws = np.random.default_rng(20), 20_000
    rows = {k: random.dirichlet(v, draws) for k, v in COUNTS.items()}
    parameters = {f"{k}{j}": rows[k][:, j] for k in rows for j in range(rows[k].shape[1])}
    spread = (np.log(0.710) - np.log(0.365)) / (2 * 1.96)
    parameters["relative_risk"] = np.exp(random.normal(np.log(0.509), spread, draws))
    for state, (medical, community) in CARE.items():
        # a gamma of shape 1 has a standard deviation as large as its mean
        parameters[f"medical_{state}"] = ("gamma", medical, medical)
        parameters[f"community_{state}"] = ("gamma", community, community)

    def options(relative_risk, **of):
        moves = {k: np.column_stack([of[f"{k}{j}"] for j in range(len(v))]) for k, v in COUNTS.items()}
        care = np.column_stack([of[f"medical_{s}"] + of[f"community_{s}"] for s in "abc"])
        return {
            n: cohort(y, moves, relative_risk, care, True) for n, y in (("one drug", 0), ("two drugs", 2))
        }

    return probabilistic(options, parameters, draws=draws)


def test_the_probabilistic_model_has_the_distribution_of_the_published_runs(model):
    runs = pd.read_csv(RUNS)
    life = (model.effects["two drugs"] - model.effects["one drug"]).round(2)
    cost = model.costs["two drugs"] - model.costs["one drug"]
    assert stats.ks_2samp(life, runs["life_years"]).pvalue > 0.05
    assert stats.ks_2samp(cost, runs["cost"]).pvalue > 0.05
    for found, published in ((life, runs["life_years"]), (cost, runs["cost"])):
        assert found.mean() == pytest.approx(published.mean(), abs=3 * published.std() / len(runs) ** 0.5)
        assert found.std() == pytest.approx(published.std(), rel=0.15)


def test_acceptability_and_perfect_information_agree_with_the_published_runs(model):
    runs = pd.read_csv(RUNS)
    prices = [2000, 4000, 5000, 6000, 7000, 8000, 10_000, 15_000]
    found = acceptability(model.effects, model.costs, prices).table.query("option == 'two drugs'")
    net = np.array([p * runs["life_years"] - runs["cost"] for p in prices])
    published = (net > 0).mean(axis=1)
    error = np.sqrt(found["estimate"] * (1 - found["estimate"]) / len(runs))
    assert (np.abs(found["estimate"] - published) <= 2.6 * error + 0.006).all()
    assert found["estimate"].is_monotonic_increasing
    # the frontier goes over to two drugs where its expected net benefit is above that of one: at the ratio of the means
    assert found["frontier"].tolist() == [False, False, False, False, True, True, True, True]
    # (further out, 180 runs hold one or two draws in which the other option is better)
    for price, row in list(zip(prices, net))[2:6]:
        one = evpi(model.net(price)).table.iloc[0]
        lost = np.maximum(row, 0) - (row if row.mean() > 0 else 0)
        assert one["estimate"] == pytest.approx(
            lost.mean(), abs=3 * lost.std() / len(runs) ** 0.5 + 3 * one["std_error"]
        )


def test_one_way_over_the_published_interval_of_the_relative_risk():
    # a drug that works less well costs more per life-year; the risk at which it is 8,000 pounds lies inside
    found = sensitivity(ratio, {"relative_risk": (0.365, 0.509, 0.710)}, against=8000).table.iloc[0]
    assert found["at_low"] < 6276 < found["at_high"]
    assert found["flips"] and ratio(found["threshold"]) == pytest.approx(8000)
