"""Agreement with R (survival, cmprsk, etm, prodlim): inputs, script and output lie in ``tests/reference/survival``.

Compared here, at 1e-10 absolute unless said otherwise (keys of ``reference.json`` in brackets):
- Kaplan–Meier [km]: estimate, standard error, numbers at risk and all three intervals on days 30, 60, 90, 180,
  overall and in three groups, for any event, cure alone and charge-off alone; with left truncation; with
  frequency weights; the 12-row edge case (day 0, ties, the curve reaching 0) on each of its days;
- quantiles with their limits, restricted mean to day 180 with its error, number of distinct days, cumulative
  hazard and its error, for each of the same curves; the difference of two restricted means with its error
  [rmst_diff_S01_minus_S12];
- log-rank [logrank] (1e-8 relative): statistic, degrees of freedom, observed, expected; 12 groups and 2; any event
  and cause-specific; stratified; Peto–Peto (rho = 1); with left truncation;
- Aalen–Johansen [aj]: estimates against survfit, cmprsk, etm and prodlim; standard errors against etm and prodlim
  (Greenwood); the robust errors (infinitesimal jackknife) and their intervals on the log scale against survfit's,
  with left truncation too; without it Greenwood's are the same number (2e-10: R's own routines differ by that
  much); the edge case; time lost to each outcome, and mean days open, with both kinds of error;
- Gray's test [gray] (1e-8 relative): statistic and degrees of freedom; 12 groups, 2, and 2 stratified by the 12.

Compared elsewhere:
- [cox] and the grouped hazards that stand in for it at scale: ``test_drivers*.py``;
- [cure], the mixture-cure models: ``test_cure_mixture*.py``.

Not compared:
- cmprsk's Aalen-form standard errors [aj.*.cmprsk_aalen *_se]: another estimator, about 0.1 % away;
- p-values of Gray's test [gray.*.pv]: R's are 1 − F, 0 where the test is far out; ours are computed in the tail;
- Fine and Gray's regression [finegray]: it has no counterpart here. Causes are regressed one by one, and
  incidences predicted from all of them together;
- [meta]: versions, no figures.
"""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from collectlab.measures.survival import (
    cumulative_incidence,
    gray_test,
    kaplan_meier,
    log_rank,
    nelson_aalen,
    restricted_mean,
    restricted_mean_difference,
    time_lost,
)

FOLDER = Path(__file__).parents[1] / "reference" / "survival"
DAYS = [30, 60, 90, 180]
EVENTS = {"any_event": (1, 2), "chargeoff_naive": (2,), "cure_naive": (1,), "any_event_lefttrunc": (1, 2)}
GROUPS = ("overall", "S01", "S05", "S12")
CURVES = [(kind, group) for kind in EVENTS for group in GROUPS] + [("any_event_freqweight", "overall")]


@pytest.fixture(scope="module")
def reference():
    return json.loads((FOLDER / "reference.json").read_text())


@pytest.fixture(scope="module")
def books():
    return {
        "book": pd.read_csv(FOLDER / "book.csv.gz"),
        "truncated": pd.read_csv(FOLDER / "book_lt.csv.gz"),
        "edge": pd.read_csv(FOLDER / "edge.csv"),
    }


def same(ours, theirs, tolerance=1e-10):
    theirs = np.array([np.nan if v is None else v for v in theirs], dtype=float)
    np.testing.assert_allclose(np.asarray(ours, dtype=float), theirs, rtol=0, atol=tolerance)


def curve_input(books, kind, group):
    """The frame and the arguments that ask for one of the reference's curves."""
    truncated = kind.endswith("lefttrunc")
    frame = books["truncated" if truncated else "book"]
    arguments = {"duration": "duration", "outcome": "event", "event": EVENTS.get(kind, (1, 2))}
    if truncated:
        arguments["entry"] = "entry"
    if kind.endswith("freqweight"):
        arguments["weight"] = "weight"
    return frame if group == "overall" else frame[frame["group"] == group], arguments


@pytest.mark.parametrize(("kind", "group"), CURVES)
def test_kaplan_meier(reference, books, kind, group):
    frame, arguments = curve_input(books, kind, group)
    expected = reference["km"][kind][group]
    for conf_type in ("log-log", "log", "plain"):
        curves = kaplan_meier(frame, **arguments, conf_type=conf_type)
        ours, theirs = curves.at(DAYS), expected[conf_type]
        assert ours["at_risk"].tolist() == theirs["n_risk"]
        same(ours["estimate"], theirs["surv"])
        same(ours["std_error"], theirs["se"])
        same(ours["conf_low"], theirs["lo"])
        same(ours["conf_high"], theirs["hi"])
    assert len(curves.table) == expected["n_distinct_times"]

    quantiles = kaplan_meier(frame, **arguments).quantiles(expected["quantiles"]["p"]).table
    same(quantiles["estimate"], expected["quantiles"]["est"])
    same(quantiles["conf_low"], expected["quantiles"]["lo"])
    same(quantiles["conf_high"], expected["quantiles"]["hi"])

    mean = restricted_mean(frame, horizon=180, **arguments).table
    same(mean["estimate"], [expected["rmst180"]["est"]])
    same(mean["std_error"], [expected["rmst180"]["se"]])

    hazard = nelson_aalen(frame, **arguments).table
    on = [hazard["day"].searchsorted(day, side="right") - 1 for day in DAYS]
    same(hazard["estimate"].iloc[on], expected["nelson_aalen"]["H"])
    same(hazard["std_error"].iloc[on], expected["nelson_aalen"]["se"])


def test_kaplan_meier_of_groups_is_that_of_each_group(reference, books):
    curves = kaplan_meier(books["book"], duration="duration", outcome="event", event=(1, 2), by="group")
    ours = curves.at(DAYS).set_index("group")
    for group in ("S01", "S05", "S12"):
        theirs = reference["km"]["any_event"][group]["log-log"]
        same(ours.loc[group, "estimate"], theirs["surv"])
        same(ours.loc[group, "conf_low"], theirs["lo"])


def test_edge_on_each_day(reference, books):
    table = kaplan_meier(books["edge"], duration="duration", outcome="event", event=(1, 2)).table
    theirs = reference["km"]["edge"]
    for ours, name in (
        ("day", "time"),
        ("at_risk", "n_risk"),
        ("events", "n_event"),
        ("censored", "n_censor"),
    ):
        assert table[ours].tolist() == theirs[name]
    for ours, name in (("estimate", "surv"), ("std_error", "se"), ("conf_low", "lo"), ("conf_high", "hi")):
        same(table[ours], theirs[name])


def test_difference_of_restricted_means(reference, books):
    table = restricted_mean_difference(
        books["book"],
        horizon=180,
        duration="duration",
        outcome="event",
        event=(1, 2),
        by="group",
        reference="S12",
    ).table.set_index("group")
    same([table.loc["S01", "estimate"]], [reference["rmst_diff_S01_minus_S12"]["diff"]])
    same([table.loc["S01", "std_error"]], [reference["rmst_diff_S01_minus_S12"]["se"]])


@pytest.mark.parametrize(
    ("name", "book", "event", "options"),
    [
        ("any_12groups", "book", (1, 2), {"by": "group"}),
        ("hand_check_any_12groups", "book", (1, 2), {"by": "group"}),
        ("any_treat", "book", (1, 2), {"by": "treat"}),
        ("any_treat_strat_group", "book", (1, 2), {"by": "treat", "strata": "group"}),
        ("any_12groups_peto_rho1", "book", (1, 2), {"by": "group", "rho": 1}),
        ("cured_causespecific_12groups", "book", (1,), {"by": "group"}),
        ("co_causespecific_12groups", "book", (2,), {"by": "group"}),
        ("lefttrunc_any_12groups", "truncated", (1, 2), {"by": "group", "entry": "entry"}),
        ("lefttrunc_any_treat", "truncated", (1, 2), {"by": "treat", "entry": "entry"}),
    ],
)
def test_log_rank(reference, books, name, book, event, options):
    test = log_rank(books[book], duration="duration", outcome="event", event=event, **options)
    theirs = reference["logrank"][name]
    assert test.df == theirs["df"]
    assert test.statistic == pytest.approx(theirs["chisq"], rel=1e-8)
    assert test.table["observed"].tolist() == pytest.approx(theirs["obs"], rel=1e-8)
    assert test.table["expected"].tolist() == pytest.approx(theirs["exp"], rel=1e-8)


GRAY = {
    "group12": {"by": "group"},
    "treat": {"by": "treat"},
    "treat_strat_group": {"by": "treat", "strata": "group"},
}


@pytest.mark.parametrize("name", GRAY)
@pytest.mark.parametrize(("code", "cause"), [(1, "cured"), (2, "co")])
def test_gray(reference, books, name, code, cause):
    test = gray_test(books["book"], duration="duration", outcome="event", cause=code, **GRAY[name])
    theirs = reference["gray"][name][cause]
    assert test.df == theirs["df"]
    assert test.statistic == pytest.approx(theirs["stat"], rel=1e-8)


def test_gray_at_half_a_million_rows(reference, books):
    """25 times the book: about 25 times the statistic (ties count a little more), where R's counts overflow."""
    frame = books["book"].assign(times=25)
    test = gray_test(frame, duration="duration", outcome="event", cause=1, by="group", weight="times")
    assert test.statistic == pytest.approx(25 * reference["gray"]["group12"]["cured"]["stat"], rel=2e-3)


def test_time_lost(reference, books):
    theirs = reference["aj"]["overall"]["time_lost180"]
    asked = {"duration": "duration", "outcome": "event", "horizon": 180}
    for robust in (False, True):
        lost = time_lost(books["book"], **asked, robust=robust).table
        left = restricted_mean(books["book"], **asked, event=(1, 2), robust=robust).table
        same([*left["estimate"], *lost["estimate"]], theirs["rmean"])
        same([*left["std_error"], *lost["std_error"]], theirs["se_IJ"])


@pytest.mark.parametrize(
    "name", ["overall", "S01", "S05", "S12", "lefttrunc", "lefttrunc_S01", "lefttrunc_S12"]
)
def test_aalen_johansen(reference, books, name):
    truncated, group = name.startswith("lefttrunc"), name.removeprefix("lefttrunc").strip("_")
    frame = books["truncated" if truncated else "book"]
    if group.startswith("S"):
        frame = frame[frame["group"] == group]
    asked = {"duration": "duration", "outcome": "event", "conf_type": "log"}
    asked["entry"] = "entry" if truncated else None
    ours = cumulative_incidence(frame, **asked).at(DAYS).set_index("outcome")
    robust = cumulative_incidence(frame, **asked, robust=True).at(DAYS).set_index("outcome")
    for program, theirs in reference["aj"][name].items():
        if program == "time_lost180":
            continue
        for code, cause in ((1, "cured"), (2, "co")):
            same(ours.loc[code, "estimate"], theirs[cause])
            if program in ("etm_greenwood", "prodlim"):
                same(ours.loc[code, "std_error"], theirs[f"{cause}_se"])
            if program == "survfit_IJ":
                same(robust.loc[code, "std_error"], theirs[f"{cause}_se"])
                same(robust.loc[code, "conf_low"], theirs[f"{cause}_lo"])
                same(robust.loc[code, "conf_high"], theirs[f"{cause}_hi"])
            if program == "survfit_IJ" and not truncated:
                same(ours.loc[code, "std_error"], theirs[f"{cause}_se"], 2e-10)
                same(ours.loc[code, "conf_low"], theirs[f"{cause}_lo"], 2e-10)
                same(ours.loc[code, "conf_high"], theirs[f"{cause}_hi"], 2e-10)


def test_aalen_johansen_edge(reference, books):
    table = cumulative_incidence(books["edge"], duration="duration", outcome="event").table.set_index(
        "outcome"
    )
    theirs = reference["aj"]["edge"]
    for code, cause in ((1, "cured"), (2, "co")):
        assert table.loc[code, "day"].tolist() == theirs["time"]
        same(table.loc[code, "estimate"], theirs[cause])
        same(table.loc[code, "std_error"], theirs[f"{cause}_se"])


def test_every_figure_is_compared_or_accounted_for(reference):
    """A new part of the reference must find its place in the list at the top."""
    assert set(reference) == {
        "km", "rmst_diff_S01_minus_S12", "logrank", "aj", "gray", "cox", "finegray", "cure", "meta"
    }  # fmt: skip
    assert set(reference["km"]) == {*EVENTS, "any_event_freqweight", "edge"}
    assert set(reference["gray"]) == set(GRAY)
    assert set(reference["logrank"]) == {
        mark.args[1][i][0] for mark in test_log_rank.pytestmark for i in range(len(mark.args[1]))
    }
    programs = {"survfit_IJ", "cmprsk_aalen", "etm_greenwood", "prodlim", "time_lost180"}
    for name, parts in reference["aj"].items():
        assert name == "edge" or set(parts) <= programs
