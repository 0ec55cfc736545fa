"""Checks before the answer: each on tables made to pass and to fail it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from collectlab.core.errors import FrameError
from collectlab.effects.effect_result import Check
from collectlab.effects.experiment import experiment
from collectlab.effects.experiment_checks import experiment_checks


def drawn(n: int = 600, arms: str = "ab", seed: int = 1) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "arm": rng.permutation(list(arms) * (n // len(arms))),
            "owed": rng.exponential(1_000, n).round(2),
            "region": rng.choice(["n", "s", None], n),
            "paid": rng.integers(0, 2, n).astype(float),
            "id": [f"A{i:04}" for i in range(n)],
        }
    )


def check(frame: pd.DataFrame, name: str, **options) -> Check:
    made = {c.name: c for c in experiment_checks(frame, arm="arm", **options)}
    return made[name]


# --- sample ratio ------------------------------------------------------------------------------------------


def test_sample_ratio_is_pearsons():
    from scipy import stats

    frame = pd.DataFrame({"arm": ["a"] * 120 + ["b"] * 80 + ["c"] * 90})
    made = check(frame, "sample_ratio", shares={"a": 2, "b": 1, "c": 1})
    expected = stats.chisquare([120, 80, 90], [145, 72.5, 72.5])
    assert made.value == pytest.approx(expected.pvalue)
    assert made.passed is bool(expected.pvalue >= 0.001)
    assert "a 120 of 145 expected, b 80 of 72, c 90 of 72" in made.says


def test_a_sample_ratio_that_chance_does_not_make():
    made = check(pd.DataFrame({"arm": ["a"] * 400 + ["b"] * 300}), "sample_ratio", shares={"a": 1, "b": 1})
    assert made.passed is False and made.value < 0.001 and "not as large as drawn" in made.says


def test_recorded_probabilities_of_two_arms_may_differ_by_account():
    # 100 drawn at 20 % and 100 at 50 %: 70 expected in b, with variance 16 + 25.
    frame = pd.DataFrame(
        {
            "arm": ["b"] * 30 + ["a"] * 70 + ["b"] * 52 + ["a"] * 48,
            "propensity": [0.2] * 30 + [0.8] * 70 + [0.5] * 100,
        }
    )
    from scipy import stats

    made = check(frame, "sample_ratio")
    assert made.value == pytest.approx(stats.chi2.sf((82 - 70) ** 2 / 41, 1))


def test_recorded_probabilities_of_several_arms_by_block():
    frame = pd.DataFrame(
        {
            "arm": list("abc") * 20 + list("aabc") * 20,
            "block": ["x"] * 60 + ["y"] * 80,
            "propensity": [1 / 3] * 60 + [0.5, 0.5, 0.25, 0.25] * 20,
        }
    )
    made = check(frame, "sample_ratio", block="block")
    assert made.value == pytest.approx(1.0) and made.passed
    assert check(frame, "sample_ratio").passed is None  # without blocks the probabilities are two sets


def test_unrecorded_probabilities_are_no_check():
    frame = pd.DataFrame({"arm": list("ab") * 5, "propensity": [0.5] * 9 + [None]})
    made = check(frame, "sample_ratio")
    assert made.passed is None and "1 of 10 accounts" in made.says


@pytest.mark.parametrize(
    ("shares", "said"),
    [
        ({"a": 1, "b": 1, "c": 1}, "no accounts in arm c"),
        ({"a": 1}, "leave out arm b"),
        ({"a": 1, "b": 0}, "b: 0"),
    ],
)
def test_shares_name_every_arm(shares, said):
    with pytest.raises(FrameError, match=said):
        check(drawn(), "sample_ratio", shares=shares)


# --- balance -----------------------------------------------------------------------------------------------


def test_balance_holds_under_a_draw_and_names_the_largest_difference():
    frame = drawn()
    made = check(frame, "balance", baseline=["owed", "region"], control="a")
    assert made.passed and made.value > 0.01 and "arm b" in made.says


def test_the_standardised_difference_by_hand():
    frame = pd.DataFrame({"arm": ["a"] * 50 + ["b"] * 50, "owed": [1.0, 3.0] * 25 + [2.0, 6.0] * 25})
    made = check(frame, "balance", baseline="owed", control="a")
    # Means 2 and 4, variances 1 and 4.
    assert f"{2 / np.sqrt(2.5):.2f} standard deviations, in owed, arm b" in made.says


def test_balance_fails_where_one_arm_owes_more():
    frame = drawn()
    frame.loc[frame["arm"] == "b", "owed"] *= 1.6
    made = check(frame, "balance", baseline=["owed", "region"], control="a")
    assert made.passed is False and "in owed, arm b" in made.says


def test_gaps_that_differ_are_found():
    frame = drawn()
    frame.loc[(frame["arm"] == "b") & (frame.index % 3 == 0), "owed"] = np.nan
    made = check(frame, "balance", baseline="owed", control="a")
    assert made.passed is False and "owed (missing)" in made.says


def test_nothing_to_balance():
    frame = drawn().assign(same=1)
    assert check(frame, "balance", baseline="same").passed is None
    few = check(frame[:12].assign(arm=list("ab") * 6), "balance", baseline=["owed", "region"])
    assert few.passed is None and "Too few accounts" in few.says


# --- attrition ---------------------------------------------------------------------------------------------


def test_attrition():
    frame = drawn()
    assert check(frame, "attrition", outcomes="paid").passed
    frame.loc[frame.index % 10 == 0, "paid"] = np.nan
    even = check(frame, "attrition", outcomes="paid")
    assert even.passed and "paid is missing in a" in even.says
    frame.loc[(frame["arm"] == "b") & (frame.index % 4 == 0), "paid"] = np.nan
    uneven = check(frame, "attrition", outcomes=["paid"])
    assert uneven.passed is False and "not comparable" in uneven.says


def test_missing_everywhere_tells_nothing():
    assert check(drawn().assign(paid=np.nan), "attrition", outcomes="paid").passed is None


# --- kept as drawn -----------------------------------------------------------------------------------------


def test_units_under_two_arms_are_counted_and_kept_apart():
    frame = drawn(20)
    frame.loc[1, ["id", "arm"]] = ["A0000", "b"]
    frame.loc[0, "arm"] = "a"
    made = check(frame, "one_arm", unit="id")
    assert made.passed is False and made.value == 1 and made.says.endswith("kept apart: A0000.")
    result = experiment(frame, arm="arm", control="a", outcomes="paid", unit="id")
    assert result.table["n"].sum() + result.table["control_n"].iloc[0] == 18
    assert any("left out: A0000" in note for note in result.notes)
    assert check(frame[2:], "one_arm", unit="id").passed


def test_an_assignment_after_the_outcome_is_named():
    frame = drawn(20).assign(on=pd.Timestamp("2026-03-01"), start=pd.Timestamp("2026-03-01"))
    dates = {"unit": "id", "assigned_on": "on", "outcome_from": "start"}
    assert check(frame, "assignment_first", **dates).passed
    frame.loc[[3, 5], "on"] = pd.Timestamp("2026-03-02")
    made = check(frame, "assignment_first", **dates)
    assert made.passed is False and made.value == 2 and "A0003, A0005" in made.says


def contacts(frame: pd.DataFrame, shared: int) -> pd.DataFrame:
    """Two contacts a unit: by an agent of the arm, but for the first units, by one whom the arms share."""
    agent = np.where(np.arange(len(frame)) < shared, "both", "only " + frame["arm"])
    one = pd.DataFrame({"id": frame["id"], "agent": agent})
    return pd.concat([one, one])


def test_spillover_is_the_share_of_contacts_by_shared_agents():
    frame = drawn(200)
    few = check(frame, "spillover", unit="id", contacts=contacts(frame, 10))
    assert few.passed and few.value == pytest.approx(0.05)
    many = check(frame, "spillover", unit="id", contacts=contacts(frame, 60))
    assert many.passed is False and many.value == pytest.approx(0.30)
    assert (
        "30 % of 400 contacts with a known agent are by 1 of 3 agents" in many.says and "dilute" in many.says
    )


def test_a_stray_call_makes_no_shared_agent():
    frame = drawn(200)
    log = contacts(frame, 0)
    first_of_b = frame.loc[frame["arm"] == "b", "id"].iloc[0]
    stray = pd.DataFrame({"id": [first_of_b], "agent": ["only a"]})
    assert check(frame, "spillover", unit="id", contacts=pd.concat([log, stray])).value == 0


def test_without_agents_spillover_cannot_be_seen():
    frame = drawn(20)
    log = contacts(frame, 0).assign(agent=pd.Series([None] * 40, dtype=object).to_numpy())
    assert check(frame, "spillover", unit="id", contacts=log).passed is None
    with pytest.raises(FrameError, match="without unit"):
        experiment_checks(frame, arm="arm", contacts=log)


# --- with the result ---------------------------------------------------------------------------------------


def test_the_result_holds_its_checks_and_says_which_failed():
    frame = drawn()
    frame.loc[frame["arm"] == "b", "owed"] *= 1.6
    other = Check(name="spillover", passed=None, says="Not known.")
    result = experiment(
        frame,
        arm="arm",
        control="a",
        outcomes="paid",
        unit="id",
        shares={"a": 1, "b": 1},
        baseline="owed",
        checks=[other],
    )
    assert result.design == "experiment"
    assert {c.name: c.passed for c in result.checks} == {
        "sample_ratio": True,
        "balance": False,
        "attrition": True,
        "one_arm": True,
        "spillover": None,
    }
    assert any(note.startswith("Check failed: Before the draw") for note in result.notes)
    assert result.checks_table().table["result"].tolist() == ["holds", "fails", "holds", "holds", "not made"]


def test_any_frame_will_do():
    import polars as pl

    frame = drawn()
    options = {"outcomes": "paid", "baseline": ["owed", "region"], "unit": "id", "shares": {"a": 1, "b": 1}}
    log = contacts(frame, 10)
    from_pandas = experiment_checks(frame, arm="arm", contacts=log, **options)
    from_polars = experiment_checks(pl.from_pandas(frame).lazy(), arm="arm", contacts=log, **options)
    assert from_pandas == from_polars
