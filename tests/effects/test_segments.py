"""Effects by segment: the interaction test by hand, what is left out, and how often it errs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from collectlab.core.errors import FrameError
from collectlab.effects.effect_result import EffectResult
from collectlab.effects.segments import by_segment
from collectlab.effects.segments_result import ALIKE, LARGER, SMALLER

SHARED = Path(__file__).parents[2].parent / "shared" / "data"


def trial(rng: np.random.Generator, n: int = 900, extra: float = 0.0) -> pd.DataFrame:
    """An effect of 10 points, and so much more in the West; three columns to look by."""
    region = rng.choice(["East", "North", "West"], n)
    arm = rng.choice(["new", "old"], n)
    chance = 0.4 + (arm == "new") * (0.1 + extra * (region == "West"))
    return pd.DataFrame(
        {
            "arm": arm, "region": region, "score": rng.normal(size=n), "home": rng.random(n) < 0.5,
            "paid": (rng.random(n) < chance).astype(int),
        }
    )  # fmt: skip


def difference(part: pd.DataFrame) -> EffectResult:
    """Two means with the plain standard error: as quick as an estimator can be."""
    new, old = (part.loc[part["arm"] == a, "paid"] for a in ("new", "old"))
    error = np.sqrt(new.var() / len(new) + old.var() / len(old))
    estimate = new.mean() - old.mean()
    row = {
        "outcome": "paid", "unit": "points", "n": len(new), "control_n": len(old), "estimate": estimate,
        "std_error": error, "conf_low": estimate - 1.96 * error, "conf_high": estimate + 1.96 * error,
        "p_value": 2 * stats.norm.sf(abs(estimate / error)),
    }  # fmt: skip
    return EffectResult(
        table=pd.DataFrame([row]), estimand="Difference of means", unit="points", design="experiment"
    )


def look(frame: pd.DataFrame, segments=("region",), **options):
    return by_segment(frame, segments, arm="arm", control="old", outcomes="paid", **options)


def test_the_test_of_heterogeneity_by_hand():
    found = look(trial(np.random.default_rng(3), extra=0.3), ["region", "home"])
    own = found.table[found.table["segment_by"] == "region"]
    weight = 1 / own["std_error"] ** 2
    mean = np.average(own["estimate"], weights=weight)
    test = found.tests.iloc[0]
    assert test["q"] == pytest.approx((weight * (own["estimate"] - mean) ** 2).sum())
    assert test["p_value"] == pytest.approx(stats.chi2.sf(test["q"], 2))
    assert test["p_adjusted"] == pytest.approx(2 * test["p_value"])
    # Each against the rest: three segments, two questions.
    west = own[own["segment"] == "West"].iloc[0]
    others = own[own["segment"] != "West"]
    rest = np.average(others["estimate"], weights=1 / others["std_error"] ** 2)
    z = (west["estimate"] - rest) / np.sqrt(west["std_error"] ** 2 + 1 / (1 / others["std_error"] ** 2).sum())
    assert west["rest"] == pytest.approx(rest)
    assert west["p_differs"] == pytest.approx(max(4 * stats.norm.sf(abs(z)), test["p_adjusted"]))
    # Five segments at once (Šidák).
    reach = stats.t.ppf((1 + 0.95**0.2) / 2, west["n"] + west["control_n"] - 2) * west["std_error"]
    assert west["conf_high"] == pytest.approx(west["estimate"] + reach)


def test_each_segment_is_the_experiment_in_it():
    from collectlab.effects.experiment import experiment

    frame = trial(np.random.default_rng(4))
    found = look(frame).table.set_index("segment")
    alone = experiment(
        frame[frame["region"] == "East"], arm="arm", control="old", outcomes="paid"
    ).table.iloc[0]
    for column in ("estimate", "std_error", "n", "control_n"):
        assert found.loc["East", column] == pytest.approx(alone[column])
    whole = experiment(frame, arm="arm", control="old", outcomes="paid").table.iloc[0]
    assert found.loc["all", "conf_low"] == pytest.approx(whole["conf_low"])


def test_a_planted_difference_is_named_and_none_where_there_is_none():
    found = look(trial(np.random.default_rng(1), 3000, extra=0.3), ["region", "score"])
    readings = found.table.set_index("segment")["reading"]
    assert readings["West"] == LARGER
    assert (found.table.loc[found.table["segment_by"] == "score", "reading"] == ALIKE).all()
    assert "larger in West" in found.says[0] and "no sign" in found.says[1]
    quiet = look(trial(np.random.default_rng(2), 3000), ["region", "score"])
    assert not quiet.table["reading"].isin([LARGER, SMALLER]).any()
    assert any(n.startswith("No sign that an effect differs in 2 of 2 questions") for n in quiet.notes)


def test_shrunken_estimates_lie_between_the_mean_and_the_estimate():
    own = look(trial(np.random.default_rng(5), extra=0.2)).table.iloc[1:]
    mean = np.average(own["estimate"], weights=1 / own["std_error"] ** 2)
    assert (np.abs(own["shrunken"] - mean) <= np.abs(own["estimate"] - mean) + 1e-9).all()


def test_segments_without_enough_data_are_left_out_and_named():
    frame = trial(np.random.default_rng(6), 600)
    frame.loc[:40, "region"] = "Isles"  # about twenty in each arm
    frame.loc[frame["region"] == "North", "paid"] = 0  # nobody paid
    found = look(frame)
    assert found.table["segment"].tolist() == ["all", "East", "West"]
    rule = next(n for n in found.notes if n.startswith("A segment is reported"))
    assert "at least 50 in each arm, 10 with and 10 without" in rule
    assert "region Isles" in rule and "region North" in rule
    narrow = look(frame, half_width=0.01)
    assert narrow.table["segment"].tolist() == ["all"] and not narrow.check("enough").passed
    assert "nothing can be said" in narrow.says[0]


def test_a_segment_made_by_the_treatment_is_noticed():
    frame = trial(np.random.default_rng(7))
    assert look(frame).check("before_assignment").passed
    frame["answered"] = (frame["arm"] == "new") & (frame["score"] > 0) | (frame["score"] > 1)
    check = look(frame, ["answered"]).check("before_assignment")
    assert check.passed is False and "answered" in check.says
    with pytest.raises(FrameError, match="only after time zero"):
        look(frame.assign(paid_within_30=1), ["paid_within_30"])


def test_any_estimator_can_be_asked():
    frame = trial(np.random.default_rng(8))
    found = by_segment(frame, ["region", "home"], effect=difference, arm="arm")
    ours = look(frame, ["region", "home"])
    assert found.table["estimate"].tolist() == pytest.approx(ours.table["estimate"].tolist())
    assert found.design == "experiment" and found.table["segment"].tolist() == ours.table["segment"].tolist()


def test_bounds_are_given_or_cut_from_the_column():
    frame = trial(np.random.default_rng(9))
    found = look(frame, {"score": [0], "region": None})
    assert found.table["segment"].tolist() == ["all", "up to 0", "over 0", "East", "North", "West"]
    thirds = look(frame, "score", bands=3).table.iloc[1:]
    assert (thirds["n"] + thirds["control_n"]).tolist() == [300, 300, 300]


def test_several_arms_and_outcomes_are_all_counted():
    rng = np.random.default_rng(10)
    frame = trial(rng, 1500)
    frame["arm"] = rng.choice(["old", "new", "other"], 1500)
    frame["money"] = np.round(frame["paid"] * rng.lognormal(3, 1, 1500), 2)
    found = by_segment(frame, ["region"], arm="arm", control="old", outcomes=["paid", "money"])
    assert len(found.tests) == 4 and len(found.table) == 16
    assert found.table.groupby(["outcome", "arm"], sort=False)["segment"].first().tolist() == ["all"] * 4
    raw = found.tests["p_value"]
    assert found.tests["p_adjusted"].tolist() == pytest.approx(np.minimum(4 * raw, 1).tolist())


def test_small_study_of_false_and_true_segments():
    """Two columns of three segments each, 50 trials with one effect for all, 10 with 35 points more in the West."""
    rng = np.random.default_rng(20261031)
    wrong = [
        by_segment(trial(rng, 900), ["region", "score"], effect=difference, arm="arm")
        .table["reading"].isin([LARGER, SMALLER]).any()
        for _ in range(50)
    ]  # fmt: skip
    found = [
        (by_segment(trial(rng, 900, extra=0.35), ["region", "score"], effect=difference, arm="arm").table
         .set_index("segment").loc["West", "reading"] == LARGER)
        for _ in range(10)
    ]  # fmt: skip
    assert np.mean(wrong) <= 0.14  # 5 % and three of its errors
    assert np.mean(found) >= 0.6


@pytest.mark.parametrize(
    ("segments", "options", "words"),
    [
        ("sector", {}, "no column 'sector'"),
        ([], {}, "no column to make segments by"),
        ("region", {"outcomes": ()}, "no outcome"),
        ("id", {}, "more than 30 segments"),
        ({"score": [3, 1]}, {}, "rising"),
        ("region", {"conf_level": 0}, "conf_level"),
        ("region", {"control": "champion"}, "champion"),
        (["region", "paid"], {}, "'paid' is both a segment and an outcome"),
        (["region", "arm"], {}, "'arm' is both a segment and the arm"),
        ("score", {"bands": 0}, "bands is 0"),
    ],
)
def test_bad_input_is_refused_by_name(segments, options, words):
    frame = trial(np.random.default_rng(0), 300).assign(id=[f"a{i}" for i in range(300)])
    with pytest.raises(FrameError, match=words):
        by_segment(frame, segments, **({"arm": "arm", "control": "old", "outcomes": "paid"} | options))


def test_missing_outcomes_are_counted():
    frame = trial(np.random.default_rng(1))
    frame["paid"] = frame["paid"].where(frame.index % 9 > 0)
    assert "100 of 900 rows have no paid and are left out." in look(frame, ["region"]).notes
    assert not any("have no" in note for note in look(trial(np.random.default_rng(1)), ["region"]).notes)


def test_it_is_shown():
    found = look(trial(np.random.default_rng(1), extra=0.4), ["region", "home"])
    shown = found.display_table()
    assert "Reading" in shown and not {"Arm", "Outcome"} & set(shown)
    assert found.title == "Effect of new, against old, on paid, by segment"
    alone = by_segment(trial(np.random.default_rng(1)), "region", effect=difference, arm="arm")
    assert alone.title == "Effect, by segment: Paid" and "Outcome" not in alone.display_table()
    ax = found.plot()
    assert [t.get_text() for t in ax.get_yticklabels()] == [
        "region: East", "region: North", "region: West", "home: False", "home: True",
    ]  # fmt: skip
    with pytest.raises(FrameError, match="no outcome 'x'"):
        found.plot(outcome="x")


@pytest.mark.shared
def test_the_letters_by_tenure_and_debt():
    path = SHARED / "letters" / "owners.csv.gz"
    if not path.exists():
        pytest.skip("the letters experiment is not on this machine")
    owners = pd.read_csv(path).query("unq_own == 1")
    owners["letter"] = np.where(owners["treat8"] == "Holdout", "none", "any letter")
    found = by_segment(
        owners, ["tenure", "total_due"], arm="letter", control="none", outcomes="ever_paid_sep"
    )
    assert len(found.table) == 7 and found.check("before_assignment").passed
    assert (found.table["reading"].iloc[1:] == ALIKE).all()
    # A mean of the segments, weighted by their accounts, is near the effect in everybody.
    for _, rows in found.table.iloc[1:].groupby("segment_by"):
        assert np.average(rows["estimate"], weights=rows["n"]) == pytest.approx(
            found.table["estimate"][0], abs=0.004
        )
