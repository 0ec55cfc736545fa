"""Recommendations: carried by findings, with effect, cost, risk; and nothing acted on within noise."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from collectlab.core.errors import FrameError
from collectlab.core.params import load_params
from collectlab.policy import find, load_targets, recommend, scorecard
from collectlab.policy.options import Option
from collectlab.policy.recommendations import MOST

PARAMS = Path(__file__).parents[2] / "params"
TARGETS = load_targets(PARAMS / "targets.yml")
COSTS = load_params(PARAMS / "costs.yml").on("2026-10-31")
DAY = "2026-10-31"


def found_in(**tables):
    return find(tables, targets=TARGETS, on=DAY)


def shares(group, rows):
    table = pd.DataFrame(rows, columns=[group, "n", "estimate"])
    error = np.sqrt(table["estimate"] * (1 - table["estimate"]) / table["n"])
    return table.assign(
        std_error=error, conf_low=table["estimate"] - 1.96 * error, conf_high=table["estimate"] + 1.96 * error
    )


def experiment(*rows):
    table = pd.DataFrame(rows, columns=["outcome", "arm", "n", "estimate", "std_error"])
    return table.assign(
        control_n=2000,
        control_mean=0.5,
        unit="points",
        conf_low=table["estimate"] - 1.96 * table["std_error"],
        conf_high=table["estimate"] + 1.96 * table["std_error"],
    )


BETTER = experiment(("paid_within_90", "letter", 2000, 0.09, 0.015))
NOISE = experiment(("paid_within_90", "letter", 2000, 0.02, 0.015))
LAGGING = shares("team", [("A", 900, 0.60), ("B", 900, 0.60), ("C", 900, 0.40)])


def test_no_finding_no_recommendation_whatever_the_effects():
    advice = recommend(found_in(), effects=BETTER, costs=COSTS, volumes={"accounts": 1000})
    assert len(advice) == 0
    assert "Nothing is recommended" in advice._repr_html_()
    assert "Nothing is recommended" in advice._repr_markdown_()


def test_a_randomised_effect_is_the_difference_times_the_accounts_a_month():
    (advice,) = recommend(found_in(experiment=BETTER), volumes={"accounts": 1000})
    assert advice.what == "Move accounts like those of the test from the control to letter"
    assert advice.grade == "randomised"
    assert advice.findings == ("experiment: letter",)
    assert (advice.estimate, advice.conf_low, advice.conf_high) == pytest.approx((90, 60.6, 119.4), abs=0.01)
    assert advice.effect.startswith("+90 accounts paid within 90 days a month (+61 to +119;")


def test_the_effect_of_one_of_many_arms_has_the_interval_widened():
    arms = experiment(
        ("paid_within_90", "letter", 2000, 0.09, 0.015),
        *[("paid_within_90", f"x{i}", 2000, 0.0, 0.015) for i in range(9)],
    )
    advice = recommend(found_in(experiment=arms), volumes={"accounts": 1000})
    switch = advice.items[0]
    assert switch.conf_low == pytest.approx(90 - 15 * 2.807, abs=0.1)  # z at 0.05 / 10, two-sided


def test_an_effect_within_noise_is_not_acted_on_and_says_how_long_to_wait():
    (advice,) = recommend(found_in(experiment=NOISE), volumes={"accounts": 1000})
    assert advice.what == "Keep the test of letter running; do not switch on this evidence"
    assert advice.grade == "randomised, not decided"
    # half-width 2.94 points now; 2 points wanted: 2,000 × (2.94 / 2)² = 4,322 accounts; 500 of 1,000 a month.
    assert "until about 4,322 accounts in that arm (now 2,000)" in advice.effect
    assert "some 5 months" in advice.effect


def test_an_arm_that_harms_is_withdrawn_and_what_is_gained_is_positive():
    (advice,) = recommend(
        found_in(experiment=experiment(("paid_within_90", "x", 2000, -0.09, 0.015))),
        volumes={"accounts": 100},
    )
    assert advice.what == "Withdraw x"
    assert (advice.estimate, advice.conf_low > 0) == (pytest.approx(9), True)


def test_of_several_better_arms_the_best_is_named_and_the_others_told():
    table = experiment(("paid", "one", 2000, 0.07, 0.015), ("paid", "two", 2000, 0.09, 0.015))
    (advice,) = recommend(found_in(experiment=table))
    assert advice.what.endswith("to two")
    assert "Also better than the control: one" in advice.effect
    assert advice.findings == ("experiment: two", "experiment: one")


def test_side_effects_of_the_arm_are_told_as_risks():
    effects = pd.concat(
        [
            BETTER,
            experiment(("complaints", "letter", 2000, 0.02, 0.002), ("cost", "letter", 2000, 0.0, 0.002)),
        ]
    )
    (advice,) = recommend(found_in(experiment=BETTER), effects=effects)
    assert "complaints +2.0 pp (+1.6 pp to +2.4 pp, worse)" in advice.customer_risk
    assert "within noise" in advice.customer_risk


def test_an_observed_gap_says_it_is_not_causal_and_begins_at_nothing():
    (advice,) = recommend(found_in(cure_by_team=LAGGING), volumes={"episodes": 900})
    # team C has a third of the episodes: 300 a month × 20 points
    assert advice.estimate == pytest.approx(60)
    assert advice.conf_low == 0
    assert advice.conf_high > 60
    assert "if the whole gap could be closed" in advice.effect and "not a causal estimate" in advice.effect
    assert advice.grade == "observed"


def test_without_volumes_the_effect_is_told_per_hundred():
    (advice,) = recommend(found_in(cure_by_team=LAGGING))
    assert advice.estimate == pytest.approx(20)
    assert advice.effect_of == "episodes cured per 100 episodes"


def test_the_volume_of_a_group_itself_comes_before_its_part_of_the_total():
    (advice,) = recommend(found_in(cure_by_team=LAGGING), volumes={"episodes": 900, "cure_by_team: C": 50})
    assert advice.estimate == pytest.approx(10)


def test_where_only_the_months_are_known_the_observations_make_the_volume():
    (advice,) = recommend(found_in(cure_by_team=LAGGING), volumes={"months": 12})
    assert advice.estimate == pytest.approx(0.20 * 900 / 12)
    (total,) = recommend(found_in(cure_by_team=LAGGING), volumes={"months": 12, "episodes": 900})
    assert total.estimate == pytest.approx(60)


def test_a_test_that_would_take_years_is_not_just_waited_for():
    (advice,) = recommend(found_in(experiment=NOISE), volumes={"accounts": 20})
    assert advice.what.startswith("Enlarge the test of letter")
    assert "some 233 months" in advice.effect  # 2,322 more accounts, 10 a month in the arm


def test_cost_is_unit_cost_times_volume_where_both_are_known():
    stages = shares("stage", [("early", 900, 0.02), ("late", 100, 0.50)])
    found = found_in(uncovered_by_stage=stages)
    (advice,) = recommend(found, costs=COSTS, volumes={"delinquent": 2000})
    # late: 200 accounts a month, 40 points above the limit of 10 % → 80 calls
    assert advice.cost == pytest.approx(80 * COSTS["call"].value)
    assert advice.cost_words.startswith("192 a month: 80 × 2.4 CNY per attempt; Example cost sheet")
    (plain,) = recommend(found, costs={"call": 3}, volumes={"delinquent": 2000})
    assert plain.cost == pytest.approx(240)
    (unknown,) = recommend(found)
    assert unknown.cost_words == "not known from this book (no unit cost for call)"


def test_groups_that_need_the_same_change_share_one_recommendation():
    two = shares("team", [("A", 3000, 0.60), ("B", 900, 0.40), ("C", 900, 0.38)])
    (advice,) = recommend(found_in(cure_by_team=two, recovery_by_team=two), volumes={"episodes": 1000})
    assert advice.whom == "Team C and team B"
    assert len(advice.findings) == 4
    assert "money recovered per 100 overdue" in advice.effect


def test_a_missed_kpi_is_tied_to_what_would_explain_it():
    kpis = pd.DataFrame(
        [("recovery_rate", 0.60, 0.58, 0.62), ("satisfaction", 70, 68, 72)],
        columns=["kpi", "estimate", "conf_low", "conf_high"],
    )
    card = scorecard(kpis, TARGETS, on=DAY)
    advice = recommend(found_in(scorecard=card, cure_by_team=LAGGING))
    assert advice.items[0].serves == ("Recovery rate",)
    assert "scorecard: recovery_rate" in advice.items[0].findings
    last = advice.items[-1]
    assert last.what.startswith("Find the cause before changing anything")
    assert last.findings == ("scorecard: satisfaction",)


def test_at_most_seven_ranked_by_the_stated_rule():
    stages = shares("stage", [("early", 900, 0.02), ("late", 100, 0.50)])
    more = shares("reason", [("illness", 900, 0.9)])
    found = found_in(
        cure_by_team=LAGGING,
        cure_by_agency=LAGGING.rename(columns={"team": "agency"}),
        cure_by_region=LAGGING.rename(columns={"team": "region"}),
        bad_rate_by_cohort=LAGGING.rename(columns={"team": "cohort"}),
        contactability_by_branch=LAGGING.rename(columns={"team": "branch"}),
        uncovered_by_stage=stages,
        hardship_unserved_by_reason=more,
        late_first_contact=more.rename(columns={"reason": "x"}),
        night_contacts_by_team=shares("team", [("A", 900, 0.01), ("B", 900, 0.0)]),
        experiment=pd.concat([BETTER, NOISE.assign(arm="call")]),
        missing_tables=pd.DataFrame({"table": ["surveys"]}),
    )
    advice = recommend(found)
    assert len(advice) == MOST == 7
    assert [r.rank for r in advice] == [1, 2, 3, 4, 5, 6, 7]
    assert [r.grade for r in advice][:3] == ["rule breach", "randomised", "observed"]
    assert advice.notes[0].startswith("Ranked: broken rules first")
    assert "Not shown, ranked below the first 7" in advice.notes[1]
    assert "surveys" in advice.notes[1]


def test_every_recommendation_names_a_finding_and_is_complete():
    found = found_in(
        cure_by_team=LAGGING, experiment=BETTER, missing_tables=pd.DataFrame({"table": ["surveys"]})
    )
    keys = {f.key for f in found}
    for advice in recommend(found, costs=COSTS):
        assert advice.findings and set(advice.findings) <= keys
        assert advice.what and advice.whom and advice.effect and advice.cost_words
        assert advice.legal_risk and advice.customer_risk and advice.net_words
        assert advice.area in {"strategy", "technology", "training", "credit_approval", "process"}
        assert "{" not in advice.what + advice.whom + advice.failing


def test_shown_as_short_blocks_with_everything_escaped():
    found = found_in(cure_by_team=LAGGING.replace("C", "<script>*"))
    advice = recommend(found)
    assert "<script>" not in advice._repr_html_()
    assert "<script>" not in advice._repr_markdown_()
    assert advice._repr_html_().count("<li>") == 1
    assert "<table" not in advice._repr_html_()
    assert advice.table["findings"].tolist() == ["cure_by_team: <script>*"]


def test_a_plain_list_of_findings_will_do():
    found = found_in(cure_by_team=LAGGING)
    assert len(recommend(list(found))) == 1


def test_wrong_volumes_costs_and_effects_are_refused():
    found = found_in(cure_by_team=LAGGING)
    with pytest.raises(FrameError, match=r"'episode' is not known. Nearest: episodes"):
        recommend(found, volumes={"episode": 5})
    with pytest.raises(FrameError, match="episodes is -5"):
        recommend(found, volumes={"episodes": -5})
    with pytest.raises(FrameError, match="costs: call is -1"):
        recommend(found, costs={"call": -1})
    with pytest.raises(FrameError, match="those in force"):
        recommend(found, costs=load_params(PARAMS / "costs.yml"))
    with pytest.raises(FrameError, match="effects: no column arm"):
        recommend(found, effects=BETTER.drop(columns="arm"))


def option(key, net, low, high):
    return Option(
        key=key, what=f"Do {key}", whom="all", area="strategy", net=net, low=low, high=high, words="Words.", grade="model",
        evidence="Evidence.", cost_words="none", legal_risk="none", customer_risk="none", failing="", settle="A test.",
    )  # fmt: skip


def test_options_rank_by_net_gain_after_breaches_and_noise_is_only_named():
    breach = shares("team", [("A", 900, 0.05), ("B", 900, 0.0)])
    found = found_in(night_contacts_by_team=breach, cure_by_team=LAGGING)
    advice = recommend(
        found,
        options=[option("small", 10, 1, 19), option("large", 90, 5, 200), option("noise", 500, -1, 999)],
    )
    assert [r.grade for r in advice] == ["rule breach", "model", "model", "observed"]
    assert [r.what for r in advice][1:3] == ["Do large", "Do small"]
    assert advice.items[1].net_words == "90 (5 to 200)"
    assert any("within noise: Do noise." in note for note in advice.notes)


def test_what_is_gained_is_priced_only_where_a_price_is_known():
    complaints = pd.DataFrame(
        {"team": ["A", "B", "C"], "n": [9000, 9000, 9000], "estimate": [2.0, 2.0, 9.0], "std_error": [0.4, 0.4, 0.9],
         "conf_low": [1.2, 1.2, 7.2], "conf_high": [2.8, 2.8, 10.8], "unit": "number"}
    )  # fmt: skip
    found = found_in(complaints_by_team=complaints)
    (advice,) = recommend(found, costs={"complaint": 320.0}, volumes={"contacts": 3000})
    assert advice.net == pytest.approx(320 * advice.estimate)
    assert "before its own cost, which is not known" in advice.net_words
    (unpriced,) = recommend(found, volumes={"contacts": 3000})
    assert np.isnan(unpriced.net) and "no price" in unpriced.net_words
    (cured,) = recommend(found_in(cure_by_team=LAGGING), costs=COSTS, volumes={"episodes": 900})
    assert np.isnan(cured.net)


def test_a_gap_comes_with_the_experiment_that_would_settle_it_and_a_breach_with_none():
    (gap,) = recommend(found_in(cure_by_team=LAGGING), volumes={"episodes": 900})
    # 0.40 against 0.50, two-sided 5 %, power 80 %: 385 by Fleiss's formula, a few more by the exact one
    assert "392 accounts in each arm show a difference of 10.0 pp" in gap.settle
    assert "half of the gap" in gap.settle
    (breach,) = recommend(
        found_in(night_contacts_by_team=shares("team", [("A", 900, 0.05), ("B", 900, 0.0)]))
    )
    assert breach.settle.startswith("Nothing to settle")
