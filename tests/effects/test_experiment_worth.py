"""What an arm is worth: by hand, and the ratio's interval by its definition."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from collectlab.core.errors import FrameError
from collectlab.effects.experiment import experiment
from collectlab.effects.experiment_worth import worth


def people(**columns) -> pd.DataFrame:
    frame = pd.DataFrame({"arm": ["none"] * 4 + ["firm"] * 4, "paid": [0, 20, 0, 40, 30, 0, 50, 60.0]})
    return frame.assign(**columns)


def test_a_letter_of_one_dollar_by_hand():
    made = worth(people(), arm="arm", control="none", amount="paid", cost=1)
    row = made.table.iloc[0]
    assert (row["outcome"], row["unit"], row["n"], row["control_n"]) == ("net", "money2", 4, 4)
    assert (row["control_mean"], row["amount_effect"], row["cost_effect"]) == (15, 20, 1)
    assert row["estimate"] == pytest.approx(19)
    assert row["back_per_unit"] == pytest.approx(20)
    plain = experiment(people(), arm="arm", control="none", outcomes="paid").table.iloc[0]
    assert row["std_error"] == pytest.approx(plain["std_error"])
    # A cost that is certain: the ratio's interval is the amount's.
    assert row["back_low"] == pytest.approx(plain["conf_low"])
    assert any(note.startswith("firm: 76 net (") and "4 accounts" in note for note in made.notes)


def test_a_cost_that_varies_is_weighed_with_its_covariance():
    rng = np.random.default_rng(2)
    frame = pd.DataFrame({"arm": ["none", "calls"] * 200})
    calls = (frame["arm"] == "calls") * rng.integers(1, 6, 400) + 1
    frame["spent"] = 2.0 * calls
    frame["paid"] = (50 + 10 * calls + rng.normal(0, 20, 400)).round(2)
    row = worth(frame, arm="arm", control="none", amount="paid", cost="spent").table.iloc[0]
    assert row["back_per_unit"] == pytest.approx(row["amount_effect"] / row["cost_effect"])
    assert row["back_low"] < row["back_per_unit"] < row["back_high"]
    from scipy import stats

    # At its ends, paid less b times what was spent differs between the arms by just t.
    for b in (row["back_low"], row["back_high"]):
        rest = frame.assign(rest=frame["paid"] - b * frame["spent"])
        found = experiment(rest, arm="arm", control="none", outcomes="rest").table.iloc[0]
        assert abs(found["estimate"] / found["std_error"]) == pytest.approx(stats.t.ppf(0.975, 398), rel=1e-6)


def test_arms_with_costs_of_their_own():
    frame = pd.concat([people(), people()[4:].assign(arm="visit")])
    made = worth(frame, arm="arm", control="none", amount="paid", cost={"firm": 1, "visit": 30})
    assert made.table.set_index("arm")["estimate"].to_dict() == pytest.approx({"firm": 19, "visit": -10})
    assert "sim_low" in made.table
    with pytest.raises(FrameError, match="none for arm visit"):
        worth(frame, arm="arm", control="none", amount="paid", cost={"firm": 1})


def test_an_arm_that_costs_no_more_has_no_ratio():
    row = worth(people(spent=1.0), arm="arm", control="none", amount="paid", cost="spent").table.iloc[0]
    assert row["estimate"] == pytest.approx(20) and row["cost_effect"] == 0
    assert np.isnan(row["back_per_unit"])


def test_unknown_amounts_are_left_out_of_all_three_and_counted():
    frame = people(spent=[0, 0, 0, 0, 1, 1, 1, None])
    made = worth(frame, arm="arm", control="none", amount="paid", cost="spent")
    assert made.table["n"].tolist() == [3]
    assert "1 accounts have no paid or no cost and are not counted." in made.notes


def test_the_frames_own_columns_stay_out_of_the_way():
    frame = people(net="text", cost="text", spent=[0, 0, 0, 0, 1, 2, 1, 2])
    row = worth(frame, arm="arm", control="none", amount="paid", cost="spent").table.iloc[0]
    assert row["estimate"] == pytest.approx(18.5)


@pytest.mark.parametrize("cost", ["spend", float("nan")])
def test_a_cost_that_is_none_is_refused(cost):
    with pytest.raises(FrameError):
        worth(people(spent=1.0), arm="arm", control="none", amount="paid", cost=cost)


def test_an_arm_without_an_amount_and_a_cost_is_refused_with_what_is_missing():
    options = {"arm": "arm", "control": "none", "amount": "paid", "cost": "spent"}
    with pytest.raises(
        FrameError, match="none of the 8 accounts in arm firm, none has both: paid is missing for 8"
    ):
        worth(people(paid=np.nan, spent=1.0), **options)
    some = people(spent=[1, 1, 1, 1, None, None, None, None], paid=[0, 20, 0, 40, 30, None, 50, 60.0])
    with pytest.raises(FrameError, match=r"4 accounts in arm firm has .* missing for 1, the cost for 4"):
        worth(some, **options)
