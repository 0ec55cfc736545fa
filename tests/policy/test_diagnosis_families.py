"""What is looked at and not named: how much a family could be at most, and what cannot be looked at."""

import numpy as np
import pandas as pd
import pytest

from collectlab.measures.gap import REACHED, Cells, Step
from collectlab.policy.diagnosis import diagnose
from collectlab.policy.diagnosis.families import families_of
from collectlab.policy.diagnosis.shares import shares_of

CARD = {"kpi": "kpi", "name": "Rate", "estimate": 0.6, "conf_low": 0.55, "conf_high": 0.65, "unit": "share",
        "direction": "at_least", "target": 0.8, "status": "missed"}  # fmt: skip


def cells(rates, each=4, rng=None, **about):
    """Each group has ``each`` units in each replicate group, of which its rate pays (with luck, given ``rng``)."""
    rows = []
    for k, rate in enumerate(rates):
        for r in range(50):
            top = rng.binomial(each, rate) if rng is not None else each * rate + 0.01 * (-1) ** (r + k)
            rows.append((f"B{k:02d}", r, float(top), float(each), float(each)))
    table = pd.DataFrame(rows, columns=["branch", "replicate", "top", "base", "n"]).assign(period="now")
    return Cells(table=table, groups=("branch",), **about)


def test_the_bound_is_half_the_spread_of_the_groups():
    # two branches at 70 %, two at 50 %: those below the average of 60 % are half of the cases, 10 points below it
    found = families_of(shares_of(cells([0.7, 0.7, 0.5, 0.5]), 30, -1.0), 0.95)
    assert found[["dimension", "groups", "n"]].values.tolist() == [["branch", 4, 800]]
    line = found.iloc[0]
    assert line["estimate"] == pytest.approx(0.5 * 0.10, abs=1e-4)
    assert line["conf_low"] <= line["estimate"] <= line["conf_high"] < 0.051


def test_the_bound_holds_however_the_differences_lie():
    # one of four at 30 %, the others at 70 %: a quarter of the cases would gain the 30 points to the average of 60 %
    line = families_of(shares_of(cells([0.7, 0.7, 0.7, 0.3]), 30, -1.0), 0.95).iloc[0]
    assert line["conf_high"] > 0.25 * 0.30
    assert line["estimate"] == pytest.approx(0.5 * np.sqrt(0.75 * 0.1**2 + 0.25 * 0.3**2), abs=1e-4)


def test_alike_groups_show_nothing_and_different_ones_are_held():
    rng = np.random.default_rng(20261101)
    above = held = bound = 0
    effect = np.array([0.06, -0.06, 0.03, -0.03, 0.08, -0.08, 0.0, 0.0])
    true, levelled = 0.5 * np.sqrt((effect**2).mean()), -effect[effect < 0].sum() / 8
    for _ in range(40):
        alike = families_of(shares_of(cells([0.6] * 8, rng=rng), 30, -1.0), 0.95).iloc[0]
        above += alike["conf_low"] > 0
        unlike = families_of(shares_of(cells(0.6 + effect, rng=rng), 30, -1.0), 0.95).iloc[0]
        held += unlike["conf_low"] <= true <= unlike["conf_high"]
        bound += levelled <= unlike["conf_high"]
    assert above <= 5  # 2.5 % of 40 are 1; more than 5 in 1 of 1,500 runs of a sound interval
    assert held >= 33  # 95 % of 40 are 38
    assert bound >= 36


def test_each_kpi_says_what_was_looked_at_and_what_it_is_not_counted_by():
    rng = np.random.default_rng(3)
    counted = cells([0.6] * 8, rng=rng)
    found = diagnose(pd.DataFrame([CARD]), {"kpi": counted})
    lines = found.looked_at("kpi")
    assert list(lines["says"]) == [
        "Branches (8 compared)",
        "This KPI is not counted by: products, teams, agents, agencies, strategies, adherence, contactability, "
        "mix against the year before",
    ]
    assert not lines["named"].any()
    assert "Looked at, not named: Branches (8 compared)" in found.tree()
    html = found._repr_html_()
    assert html.count("<details") == html.count("</details>") == 1
    assert "no sure difference" in html.replace("\u00a0", " ")


def test_a_named_family_and_a_small_one_are_not_bounded():
    named = diagnose(pd.DataFrame([CARD]), {"kpi": cells([0.7] * 7 + [0.2])})
    assert "branch" in set(named.table.loc[named.table["named"], "cause"])
    assert not (named.looked_at("kpi")["cause"] == "looked at").any()
    small = diagnose(pd.DataFrame([CARD]), {"kpi": cells([0.6, 0.7])}, smallest=1000)
    assert "Too small to compare: branches" in set(small.looked_at("kpi")["says"])


def test_a_step_that_is_not_named_is_bounded_with_its_sign():
    rng = np.random.default_rng(8)
    counted = cells([0.6] * 2, rng=rng, paths=(Step("called by day 14", "call", 14),))
    table = counted.table
    table["called by day 14"] = (np.arange(len(table)) % 2).astype(float)
    table["later_called by day 14"] = table["top"]
    line = (
        diagnose(pd.DataFrame([CARD]), {"kpi": counted})
        .looked_at("kpi")
        .set_index("group")
        .loc["called by day 14"]
    )
    assert line["says"] == "Adherence: called by day 14 (50 % of those due)"
    assert line["conf_low"] < 0 < line["conf_high"]


def test_contactability_without_a_year_before_is_said_to_be_unknown():
    counted = cells([0.6] * 2, rng=np.random.default_rng(8), paths=(REACHED,))
    table = counted.table
    table[REACHED.name] = (np.arange(len(table)) % 2).astype(float)
    table[f"later_{REACHED.name}"] = table["top"]
    lines = diagnose(pd.DataFrame([CARD]), {"kpi": counted}).looked_at("kpi")
    assert REACHED.name not in set(lines["group"])
    assert "contactability" in lines["says"].iloc[-1]
