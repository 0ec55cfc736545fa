"""The mixture cure model against R's figures, lifelines, itself, and inputs it must refuse.

Compared with ``tests/reference/survival``: weibull_nocov, weibull_cov, lognormal_cov and weibull_cov_interval,
parameters to 1e-4, errors to 1e-4, log-likelihood to 1e-6. Not compared: semiparametric_ph_em, because there is
no semiparametric model here.
"""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest

from collectlab.core.errors import FrameError, NotAvailable
from collectlab.measures.cure_mixture import mixture_cure
from collectlab.measures.survival import kaplan_meier

FOLDER = Path(__file__).parents[1] / "reference" / "survival"
CODES = {"duration": "duration", "outcome": "event", "event": 1}
BOTH = {"covariates": ["x", "z"], "latency": ["x", "z"]}


@pytest.fixture(scope="module")
def cure():
    return pd.read_csv(FOLDER / "cure.csv.gz")


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("weibull_nocov", {"dating": "exact"}),
        ("weibull_cov", {"dating": "exact", **BOTH}),
        ("lognormal_cov", {"dating": "exact", "distribution": "lognormal", **BOTH}),
        ("weibull_cov_interval", {"dating": "day", **BOTH}),
    ],
)
def test_agrees_with_r(cure, name, options):
    expected = json.loads((FOLDER / "reference.json").read_text())["cure"][name]
    model = mixture_cure(cure, **CODES, **options)
    table = model.table.iloc[1:]
    k = len(options.get("covariates", ())) + 1
    # R's script gives the log odds of having the event, we those of never having it; and the shape before μ.
    sign = np.where(np.arange(len(table)) < k, -1, 1)
    order = [*range(k), len(table) - 1, *range(k, len(table) - 1)]
    estimates = (sign * table["estimate"].to_numpy())[order]
    np.testing.assert_allclose(estimates, list(expected["par"].values()), atol=1e-6)
    np.testing.assert_allclose(table["std_error"].to_numpy()[order], list(expected["se"].values()), atol=1e-6)
    assert model.loglik[0] == pytest.approx(expected["loglik"], abs=1e-6)


def test_agrees_with_lifelines_without_covariates(cure):
    from lifelines import MixtureCureFitter, WeibullFitter

    some = cure.iloc[:1500]
    theirs = MixtureCureFitter(base_fitter=WeibullFitter())
    theirs.fit(some["duration"], some["event"])
    model = mixture_cure(some, **CODES, dating="exact")
    assert model.table["estimate"][0] == pytest.approx(theirs.cured_fraction_, abs=1e-3)
    ours = model.survival([30, 90, 180]).table["estimate"]
    theirs_at = theirs.survival_function_at_times([30, 90, 180])
    np.testing.assert_allclose(ours, theirs_at, atol=1e-3)
    # lifelines' "cured fraction" are those who never have the event; here they are called what they are.
    assert "cured fraction" not in model.estimand and "never" in model.estimand


def test_the_whole_curve_lies_on_kaplan_meiers(cure):
    model = mixture_cure(cure, **CODES)
    curve = kaplan_meier(cure, **CODES).at([30, 90, 180, 300])["estimate"]
    np.testing.assert_allclose(model.survival([30, 90, 180, 300]).table["estimate"], curve, atol=0.015)


def simulated(n, seed, never=0.3, late=False):
    rng = np.random.default_rng(seed)
    product = rng.choice(["card", "auto"], n)
    share = np.where(product == "card", never, never + 0.2)
    time = np.ceil(40 * rng.weibull(1.2, n)).astype(int)
    entry = rng.integers(0, 30, n) if late else np.zeros(n, int)
    follow = entry + rng.integers(100, 500, n)
    happens = (rng.random(n) > share) & (time <= follow)
    frame = pd.DataFrame(
        {
            "exit_day": np.where(happens, time, follow),
            "outcome": np.where(happens, "cured", "censored"),
            "entry_day": entry,
            "product": product,
        }
    )
    return frame[frame["exit_day"] > frame["entry_day"]]


def test_late_entry_and_levels():
    frame = simulated(6_000, 3, late=True)
    model = mixture_cure(frame, covariates="product", entry="entry_day")
    rows = model.never_share([{"product": "card"}, {"product": "auto"}]).table
    assert rows["estimate"].tolist() == pytest.approx([0.3, 0.5], abs=0.03)
    assert (rows["conf_low"] < [0.3, 0.5]).all() and (rows["conf_high"] > [0.3, 0.5]).all()
    ignoring = mixture_cure(frame, covariates="product").never_share({"product": "card"}).table
    assert ignoring["estimate"][0] > 0.33  # those who left before they were seen are not there


def test_one_model_a_group_is_the_group_alone_in_any_frame():
    frame = simulated(2_000, 8)
    together = mixture_cure(pl.from_pandas(frame).lazy(), by="product")
    alone = mixture_cure(frame[frame["product"] == "card"])
    rows = together.table.query("product == 'card'")
    np.testing.assert_allclose(rows["estimate"], alone.table["estimate"], rtol=1e-7)
    assert together.never_share().table["product"].tolist() == ["auto", "card"]
    assert together.plot().get_title("left").startswith("Never cured")


def test_row_order_and_repetition_do_not_matter():
    frame = simulated(800, 4)
    shuffled = frame.sample(frac=1, random_state=1)
    one, two = (mixture_cure(f, covariates=["product"]) for f in (frame, shuffled))
    pd.testing.assert_frame_equal(one.table, two.table, check_exact=True)
    assert one._repr_html_() == two._repr_html_()


def test_short_follow_up_is_said():
    frame = simulated(3_000, 5)
    cut = frame.assign(
        outcome=np.where(frame["exit_day"] > 25, "censored", frame["outcome"]),
        exit_day=frame["exit_day"].clip(upper=25),
    )
    model = mixture_cure(cut)
    notes = " ".join(model.notes)
    assert "Follow-up may be too short" in notes and "after the last day of follow-up" in notes
    long = " ".join(mixture_cure(frame).notes)
    assert "too short" not in long and "after the last day" not in long


def test_ends_between_snapshots():
    frame = simulated(6_000, 6)
    step = 30
    first = np.random.default_rng(1).integers(1, step + 1, len(frame))
    day, censored = frame["exit_day"].to_numpy(), frame["outcome"].eq("censored").to_numpy()
    gone = (day - 1 - first) // step * step + first  # the last snapshot before the end
    seen = frame.assign(
        first_seen_day=first,
        seen_day=np.where(censored, day, gone),
        exit_day=np.where(censored, day, gone + step),
    )
    seen = seen[seen["seen_day"] >= seen["first_seen_day"]]
    model = mixture_cure(seen, dating="seen", entry="first_seen_day", covariates=["product"])
    rows = model.never_share([{"product": "card"}, {"product": "auto"}]).table
    assert (rows["conf_low"] < [0.3, 0.5]).all() and (rows["conf_high"] > [0.3, 0.5]).all()
    naive = mixture_cure(seen, covariates=["product"]).never_share({"product": "card"}).table
    assert naive["conf_low"][0] > 0.3


@pytest.mark.parametrize(
    ("change", "options", "words"),
    [
        ({"exit_day": -3}, {}, "have 'exit_day' < 0"),
        ({"exit_day": 2.5}, {}, "no whole day"),
        ({"exit_day": np.nan}, {}, "have no 'exit_day'"),
        ({"exit_day": 0, "outcome": "cured"}, {}, "on day 0"),
        ({}, {"event": "cure"}, "Did you mean 'cured'"),
        ({}, {"covariates": ["ltv"]}, "no column 'ltv'"),
        ({"product": None}, {"covariates": ["product"]}, "have no 'product'"),
        ({}, {"distribution": "gamma"}, "distribution is 'gamma'"),
        ({}, {"dating": "month"}, "dating is 'month'"),
        ({}, {"dating": "seen"}, "no column 'seen_day'"),
        ({"entry_day": 900}, {"entry": "entry_day"}, "have 'entry_day' after 'exit_day'"),
    ],
)
def test_bad_input_is_named(change, options, words):
    frame = simulated(50, 1).astype({"exit_day": float})
    for column, value in change.items():
        frame[column] = frame[column].where(np.arange(len(frame)) > 1, value)
    with pytest.raises(FrameError, match=words):
        mixture_cure(frame, **options)


def test_models_that_cannot_be_are_refused():
    frame = simulated(300, 2)
    with pytest.raises(NotAvailable, match="are needed"):
        mixture_cure(frame.iloc[:5])
    with pytest.raises(NotAvailable, match="0 cured"):
        mixture_cure(frame.assign(outcome="censored"))
    with pytest.raises(NotAvailable, match="nobody is left"):
        mixture_cure(frame.assign(outcome="cured"))
    with pytest.raises(NotAvailable, match="same everywhere"):
        mixture_cure(frame.assign(product="card", x=1.0), covariates=["x"])
    with pytest.raises(NotAvailable, match=r"never-share of 0|flat at its top"):
        # Ever more leave until the watch ends: nothing speaks for some who never do.
        day = np.concatenate([np.arange(1, 101), np.repeat(np.arange(90, 101), 20), np.full(60, 100)])
        outcome = np.where(np.arange(len(day)) < len(day) - 60, "cured", "censored")
        mixture_cure(pd.DataFrame({"exit_day": day, "outcome": outcome}))
    with pytest.raises(FrameError, match="profiles lack 'product'"):
        mixture_cure(frame, covariates=["product"]).never_share({"region": "N"})
    with pytest.raises(FrameError, match="product is boat"):
        mixture_cure(frame, covariates=["product"]).never_share({"product": "boat"})
