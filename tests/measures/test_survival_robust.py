"""Robust errors against their definition, episode by episode, and clustered ones against the general jackknife."""

import numpy as np
import pandas as pd
import pytest

from collectlab.core.errors import FrameError
from collectlab.core.jackknife import GROUPS, replicate_of
from collectlab.measures.survival import (
    count,
    cumulative_incidence,
    kaplan_meier,
    nelson_aalen,
    restricted_mean,
    restricted_mean_difference,
    time_lost,
)


def random_book(seed=4, n=40):
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "exit_day": rng.integers(1, 15, n),
            "outcome": rng.choice(["cured", "sold", "censored"], n, p=[0.5, 0.2, 0.3]),
            "e": np.where(rng.random(n) < 0.5, rng.integers(0, 8, n), 0),
            "w": rng.choice([0.5, 1.0, 2.25, 4.0], n),
            "customer": rng.integers(0, 25, n),
            "team": rng.choice(["A", "B"], n),
        }
    )
    return frame[frame["e"] < frame["exit_day"]].reset_index(drop=True)


def by_influence(frame, statistic, step=1e-5):
    """√Σ (w · dθ/dw)², the derivative taken by changing one row's weight a little."""
    total = 0.0
    for i in range(len(frame)):
        up, down = frame.copy(), frame.copy()
        up.loc[i, "w"] += step
        down.loc[i, "w"] -= step
        total = total + (frame.loc[i, "w"] * (statistic(up) - statistic(down)) / (2 * step)) ** 2
    return np.sqrt(total)


def plainly(frame, days, horizon=None, k="sold"):
    """S, F_k and H of cure on the days, and the areas up to a horizon, from sums over rows."""
    e, x, w = (frame[c].to_numpy(float) for c in ("e", "exit_day", "w"))
    cured, cause = (frame["outcome"] == "cured").to_numpy(), (frame["outcome"] == k).to_numpy()
    ended = (frame["outcome"] != "censored").to_numpy()
    alone = both = 1.0
    total = hazard = 0.0
    out = []
    areas = np.zeros(2)
    for day in range(int(x.max()) + 1):
        n = w[(e < day) & (x >= day)].sum()
        if n > 0:
            at = x == day
            total += both * w[at & cause].sum() / n
            hazard += w[at & cured].sum() / n
            alone *= 1 - w[at & cured].sum() / n
            both *= 1 - w[at & ended].sum() / n
        if horizon and day < horizon:
            areas += alone, total
        out.append((alone, total, hazard))
    return areas if horizon else np.array(out)[days].ravel()


@pytest.mark.parametrize("late", [False, True])
def test_against_the_definition(late):
    frame = random_book()
    if not late:
        frame["e"] = -1
    days = [4, 8, 11]
    theirs = by_influence(frame, lambda f: plainly(f, days)).reshape(3, 3)
    asked = {"weight": "w", "robust": True, "entry": "e"}
    km = kaplan_meier(frame, **asked).at(days)
    assert km["std_error"].to_numpy() == pytest.approx(theirs[:, 0], rel=1e-5)
    aj = cumulative_incidence(frame, **asked).at(days).query("outcome == 'sold'")
    assert aj["std_error"].to_numpy() == pytest.approx(theirs[:, 1], rel=1e-5)
    hazard = nelson_aalen(frame, **asked).table.set_index("day")["std_error"].reindex(range(15)).ffill()
    assert hazard.loc[days].to_numpy() == pytest.approx(theirs[:, 2], rel=1e-5)


def test_areas_against_the_definition():
    frame = random_book()
    theirs = by_influence(frame, lambda f: plainly(f, None, horizon=10))
    asked = {"weight": "w", "robust": True, "entry": "e", "horizon": 10}
    ours = restricted_mean(frame, **asked).table["std_error"].iloc[0]
    assert ours == pytest.approx(theirs[0], rel=1e-5)
    ours = time_lost(frame, **asked).table.query("outcome == 'sold'")["std_error"].iloc[0]
    assert ours == pytest.approx(theirs[1], rel=1e-5)


def test_without_weights_and_late_entry_robust_is_greenwood():
    frame = random_book(n=200)
    for measure in (kaplan_meier, cumulative_incidence):
        robust, plain = measure(frame, robust=True).table, measure(frame).table
        np.testing.assert_allclose(robust["std_error"], plain["std_error"], rtol=1e-9, atol=1e-12)
    lost = [time_lost(frame, horizon=12, robust=r).table["std_error"].to_numpy() for r in (True, False)]
    assert lost[0] == pytest.approx(lost[1], rel=1e-10)


def test_robust_errors_do_not_depend_on_the_scale_of_the_weights():
    frame = random_book()
    once = cumulative_incidence(frame, weight="w", robust=True).table["std_error"]
    hundred = cumulative_incidence(frame.assign(w=frame["w"] * 128), weight="w", robust=True).table[
        "std_error"
    ]
    np.testing.assert_allclose(once, hundred, rtol=1e-9)


def test_the_curve_that_falls_to_nothing():
    frame = pd.DataFrame({"exit_day": [1, 2, 2], "outcome": "cured"})
    table = kaplan_meier(frame, robust=True).table
    assert table["estimate"].tolist()[-1] == 0 and np.isnan(table["std_error"].iloc[-1])
    assert cumulative_incidence(frame, robust=True).table["std_error"].tolist()[-1] == pytest.approx(0)


def test_clustered_errors_are_the_jackknife():
    frame = random_book(n=150)
    frame["replicate"] = [replicate_of(c, GROUPS) for c in frame["customer"]]
    marks = frame["replicate"].unique()

    def without(measure):
        values = np.array([measure(frame[frame["replicate"] != r]) for r in marks])
        return np.sqrt((len(marks) - 1) / len(marks) * ((values - measure(frame)) ** 2).sum(axis=0))

    days = [3, 6, 9]
    ours = kaplan_meier(frame, cluster="customer", entry="e")
    theirs = without(lambda f: kaplan_meier(f, entry="e").at(days)["estimate"].to_numpy())
    assert ours.at(days)["std_error"].to_numpy() == pytest.approx(theirs)
    assert any("customer" in note for note in ours.notes)
    ours = restricted_mean_difference(frame, by="team", horizon=10, cluster="customer").table
    theirs = without(lambda f: np.diff(restricted_mean(f, by="team", horizon=10).table["estimate"]))
    assert ours["std_error"].to_numpy() == pytest.approx(theirs)


def test_one_customer_alone_has_no_clustered_error():
    frame = random_book().assign(customer=1)
    assert kaplan_meier(frame, cluster="customer").table["std_error"].isna().all()
    assert time_lost(frame, horizon=5, cluster="customer").table["conf_low"].isna().all()
    assert nelson_aalen(frame, cluster="customer").table["std_error"].isna().all()


def test_counts_made_beforehand_give_the_same():
    frame = random_book()
    counted = count(frame, by="team", weight="w", squares=True)
    ours = cumulative_incidence(counted, robust=True).table
    pd.testing.assert_frame_equal(ours, cumulative_incidence(frame, by="team", weight="w", robust=True).table)
    with pytest.raises(FrameError, match="squares=True"):
        kaplan_meier(count(frame), robust=True)


@pytest.mark.parametrize("measure", [kaplan_meier, cumulative_incidence, nelson_aalen])
def test_one_kind_of_error_at_a_time(measure):
    with pytest.raises(FrameError, match="one of them"):
        measure(random_book(), robust=True, cluster="customer")
