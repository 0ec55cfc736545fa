"""A test as a paper's results section has it: every number in a sentence or cell is one of the table's."""

import numpy as np
import pandas as pd

from collectlab.effects.experiment import experiment
from collectlab.effects.experiment_worth import worth
from collectlab.report.chapters.paper import in_words, paper_table


def people(seed: int = 3) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    arm = np.repeat(["none", "plain", "firm"], 400)
    chance = np.select([arm == "none", arm == "plain"], [0.30, 0.31], 0.55)
    paid = rng.random(1200) < chance
    amount = np.where(paid, 100.0 + rng.integers(0, 50, 1200), 0.0)
    return pd.DataFrame(
        {
            "strategy": arm,
            "paid_within_30": (paid & (rng.random(1200) < 0.5)).astype(int),
            "paid_within_90": paid.astype(int),
            "amount_within_90": amount,
            "cost_within_90": np.where(arm == "none", 0.0, 2.0),
        }
    )


OUTCOMES = ["paid_within_30", "paid_within_90", "amount_within_90"]


def test_the_control_stands_first_with_its_own_level_and_arms_with_their_effects():
    result = experiment(people(), control="none", outcomes=OUTCOMES)
    shown = paper_table(result).display_table()
    assert shown["Arm (accounts)"].tolist() == ["none (400)", "firm (400)", "plain (400)"]
    assert list(shown.columns) == ["Arm (accounts)", "Paid, 30 d", "Paid, 90 d", "Amount, 90 d"]
    firm = result.table.query("arm == 'firm' and outcome == 'paid_within_90'").iloc[0]
    assert shown.loc[0, "Paid, 90 d"] == f"{100 * firm['control_mean']:.1f} %"
    assert shown.loc[1, "Paid, 90 d"] == f"{100 * firm['estimate']:+.1f} ({100 * firm['std_error']:.1f})*"
    assert not shown.loc[2, "Paid, 90 d"].endswith("*")


def test_the_words_name_who_differs_once_all_arms_are_counted():
    result = experiment(people(), control="none", outcomes=OUTCOMES)
    first, paid, money = in_words(result).sentences
    assert first.startswith("1,200 accounts were drawn by lot into 3 arms")
    assert "With firm, furthest from it" in paid and "firm by day 90" in paid and "plain" not in paid
    assert money.startswith("Amount paid by day 90")


def test_two_arms_are_told_without_furthest_and_within_chance():
    rows = people(seed=1).query("strategy != 'firm'")
    said = in_words(experiment(rows, control="none", outcomes="paid_within_90")).sentences
    assert said[0] == "800 accounts were drawn by lot between plain and none, and are compared as drawn."
    assert said[1].endswith("That is within chance.") and "furthest" not in said[1]


def test_what_an_arm_is_worth_closes_the_words():
    rows = people()
    result = experiment(rows, control="none", outcomes=[*OUTCOMES, "cost_within_90"])
    value = worth(rows, amount="amount_within_90", cost="cost_within_90", control="none")
    said = in_words(result, value).sentences
    firm = value.table.set_index("arm").loc["firm"]
    assert said[-1].startswith(f"Net of its cost firm brought +{firm['estimate']:,.2f} per account")
    assert not any(s.startswith("Spent") for s in said)
