"""Findings: what the evidence shows beyond its noise – and silence where it shows nothing."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from collectlab.core.errors import FrameError
from collectlab.core.results import Result
from collectlab.policy import evidence, find, load_targets, scorecard

TARGETS = load_targets(Path(__file__).parents[2] / "params" / "targets.yml")
DAY = "2026-10-31"


def found_in(**tables):
    return find(tables, targets=TARGETS, on=DAY)


def shares(group, rows):
    """group, n, share → a tidy table with the binomial standard error and interval."""
    table = pd.DataFrame(rows, columns=[group, "n", "estimate"])
    table["std_error"] = np.sqrt(table["estimate"] * (1 - table["estimate"]) / table["n"])
    table["conf_low"] = table["estimate"] - 1.96 * table["std_error"]
    table["conf_high"] = table["estimate"] + 1.96 * table["std_error"]
    return table


def experiment(*rows, unit="points"):
    columns = ["outcome", "arm", "n", "estimate", "std_error"]
    table = pd.DataFrame(rows, columns=columns).assign(control_n=2000, control_mean=0.5, unit=unit)
    table["conf_low"] = table["estimate"] - 1.96 * table["std_error"]
    table["conf_high"] = table["estimate"] + 1.96 * table["std_error"]
    return table


TEAMS = shares("team", [("A", 900, 0.60), ("B", 900, 0.61), ("C", 900, 0.40)])


def test_no_evidence_no_finding():
    found = found_in()
    assert len(found) == 0
    assert "No finding stands" in found._repr_html_()


def test_a_team_clearly_worse_than_the_others_is_named_with_its_numbers():
    (finding,) = found_in(cure_by_team=TEAMS)
    assert finding.statement == (
        "Team C: the cure rate is 40.0 % (36.8 % to 43.2 %); that of the others is 60.5 %."
    )
    assert (finding.table, finding.row, finding.area, finding.how_sure) == (
        "cure_by_team",
        "C",
        "training",
        "certain enough",
    )
    assert finding.gap == pytest.approx(-0.205)
    assert finding.gap_high < 0
    assert "harder cases" in finding.caution


def test_being_clearly_better_is_no_problem():
    assert {f.row for f in found_in(redefault_by_team=TEAMS)} == {"A", "B"}  # a high rate is bad here
    assert [f.row for f in found_in(cure_by_team=shares("team", [("A", 900, 0.6), ("B", 900, 0.6)]))] == []


def test_the_same_gap_on_few_cases_is_no_finding():
    assert (
        len(found_in(cure_by_team=shares("team", [("A", 40, 0.60), ("B", 40, 0.61), ("C", 40, 0.40)]))) == 0
    )


def test_a_group_below_the_minimum_is_never_named():
    table = shares("team", [("A", 900, 0.60), ("B", 900, 0.61), ("tiny", 29, 0.03)])
    assert len(found_in(cure_by_team=table)) == 0
    table.loc[2, "n"] = 30
    assert [f.row for f in found_in(cure_by_team=table)] == ["tiny"]


def test_a_group_without_any_event_is_not_taken_for_certain():
    # 0 of 30 where 5 % is usual: the chance of that is 0.95³⁰ = 21 %, though its standard error is 0.
    table = shares("team", [("A", 2000, 0.05), ("B", 30, 0.0)])
    assert len(found_in(recovery_by_team=table)) == 0


def test_a_gap_too_small_to_matter_is_not_named_however_certain():
    table = shares("team", [("A", 4_000_000, 0.600), ("B", 4_000_000, 0.595)])
    assert len(found_in(cure_by_team=table)) == 0


def test_the_correction_counts_everything_that_was_compared():
    table = shares("team", [("A", 3000, 0.60), ("B", 300, 0.52)])  # alone: p about 0.01
    quiet = {
        f"recovery_by_x{i}": shares("x", [("a", 900, 0.5), ("b", 900, 0.5)]).rename(columns={"x": f"x{i}"})
        for i in range(10)
    }
    assert [f.key for f in found_in(cure_by_team=table)] == ["cure_by_team: A", "cure_by_team: B"][1:]
    crowded = found_in(cure_by_team=table, **quiet)
    assert len(crowded) == 0
    assert "Left out, as so many comparisons throw up a few by chance: cure_by_team: B" in crowded.notes[1]


def test_holm_by_hand():
    # Two limits and z = gap / error by the given standard error: p = 0.0027 (z=3) and 0.0455 (z=2).
    table = pd.DataFrame(
        {"stage": ["x", "y"], "n": [1000, 1000], "estimate": [0.40, 0.30], "std_error": [0.10, 0.10]}
    )
    found = found_in(uncovered_by_stage=table).table.set_index("row")
    assert found.loc["x", "p_adjusted"] == pytest.approx(2 * 0.0026998, rel=1e-4)
    assert found.loc["y", "p_adjusted"] == pytest.approx(0.0455003, rel=1e-4)
    # Holm's interval: x at the level 0.05 / 2, y at 0.05.
    assert found.loc["x", "gap_low"] == pytest.approx(0.30 - 2.2414 * 0.10, abs=1e-5)
    assert found.loc["y", "gap_low"] == pytest.approx(0.20 - 1.9600 * 0.10, abs=1e-5)


@pytest.mark.slow
def test_with_nothing_wrong_anywhere_the_list_stays_empty():
    rng = np.random.default_rng(20261031)
    books_with_a_finding = 0
    for _ in range(200):
        tables = {}
        for measure, p in (("cure", 0.6), ("recovery", 0.4), ("bad_rate", 0.03), ("complaints", 0.02)):
            for group, k in (("team", 5), ("branch", 12)):
                n = rng.integers(60, 900, k)
                rows = [(f"{group}{i}", m, rng.binomial(m, p) / m) for i, m in enumerate(n)]
                tables[f"{measure}_by_{group}"] = shares(group, rows).assign(unit="share")
        books_with_a_finding += len(found_in(**tables)) > 0
    assert books_with_a_finding <= 16  # 5 % of 200 = 10; P(more than 16 | 5 %) is about 2 %


def test_missed_kpis_are_found_and_marked_where_the_correction_is_not_passed():
    kpis = pd.DataFrame(
        [
            ("recovery_rate", 0.60, 0.58, 0.62),
            ("promise_kept_rate", 0.55, 0.503, 0.597),
            ("satisfaction", 90, 88, 92),
        ],
        columns=["kpi", "estimate", "conf_low", "conf_high"],
    )
    found = found_in(scorecard=scorecard(kpis, TARGETS, on=DAY))
    assert [(f.row, f.how_sure) for f in found] == [
        ("recovery_rate", "certain enough"),
        ("promise_kept_rate", "certain enough"),
    ]
    assert (
        found.items[0].statement
        == "Recovery rate is 60.0 % (58.0 % to 62.0 %); the target is at least 80.0 %."
    )
    crowd = shares("x", [(f"g{i}", 900, 0.5) for i in range(20)])
    crowded = found_in(scorecard=scorecard(kpis, TARGETS, on=DAY), cure_by_x=crowd)
    assert crowded.items[1].how_sure == "not certain"


def test_where_nothing_is_allowed_one_is_counted_not_inferred():
    night = shares("team", [("A", 9000, 0.0), ("B", 8000, 0.001)])
    (finding,) = found_in(night_contacts_by_team=night)
    assert (finding.row, finding.kind, finding.area, finding.how_sure) == ("B", "breach", "legal", "counted")


@pytest.mark.parametrize(
    ("name", "group", "area"),
    [
        ("unrecorded_by_agency", "agency", "process"),
        ("uncovered_by_stage", "stage", "strategy"),
        ("late_first_contact_by_team", "team", "process"),
        ("hardship_unserved_by_reason", "reason", "strategy"),
    ],
)
def test_groups_beyond_a_limit(name, group, area):
    table = shares(group, [("fine", 900, 0.01), ("bad", 900, 0.60)])
    (finding,) = found_in(**{name: table})
    assert (finding.row, finding.area, finding.rule) == ("bad", area, "beyond_limit")


def test_a_value_at_its_limit_is_no_finding():
    assert len(found_in(redefault=shares("all", [("x", 900, 0.26)]))) == 0  # the limit is 25 %
    assert len(found_in(redefault=shares("all", [("x", 900, 0.35)]))) == 1


def test_a_table_may_bring_its_own_limits():
    table = shares("stage", [("a", 900, 0.30), ("b", 900, 0.30)]).assign(limit=[0.5, 0.2])
    assert [f.row for f in found_in(uncovered_by_stage=table)] == ["b"]


@pytest.mark.parametrize(
    ("name", "group", "area"),
    [
        ("bad_rate_by_cohort", "cohort", "credit_approval"),
        ("wrong_numbers_by_branch", "branch", "technology"),
        ("complaints_by_team", "team", "training"),
    ],
)
def test_groups_worse_than_the_others_where_more_is_worse(name, group, area):
    table = shares(group, [("p", 2000, 0.02), ("q", 2000, 0.02), ("r", 2000, 0.09)])
    (finding,) = found_in(**{name: table})
    assert (finding.row, finding.area) == ("r", area)


def test_promises_and_contactability_where_less_is_worse():
    table = shares("branch", [("p", 900, 0.6), ("q", 900, 0.6), ("r", 900, 0.3)])
    assert [f.row for f in found_in(promises_kept_by_branch=table)] == ["r"]
    assert [f.row for f in found_in(contactability_by_branch=table)] == ["r"]


def test_a_roll_into_a_deeper_bucket_that_became_more_frequent():
    steps = [("current", "current"), ("current", "1–29"), ("1–29", "current"), ("1–29", "30–59")]
    now = pd.DataFrame(steps, columns=["from_bucket", "to_bucket"])
    now = now.assign(
        n=[9000, 1000, 600, 400], estimate=[0.9, 0.1, 0.6, 0.4], std_error=[0.003, 0.003, 0.016, 0.016]
    )
    before = now.assign(n=[9500, 500, 600, 400], estimate=[0.95, 0.05, 0.6, 0.4])
    (finding,) = found_in(roll_rates=now, roll_rates_before=before)
    assert finding.row == "current → 1–29"
    assert finding.statement == (
        "From current to 1–29 days within a month rolled 10.0 %; in the period before it was 5.0 %."
    )
    assert len(found_in(roll_rates=before, roll_rates_before=now)) == 0  # less frequent is no problem
    assert len(found_in(roll_rates=now)) == 0


def test_concentration_needs_a_share_far_above_that_of_the_book():
    table = pd.DataFrame(
        {
            "branch": ["x", "y"],
            "overdue_accounts": [300, 900],
            "share_of_overdue": [0.5, 0.5],
            "share_of_base": [0.2, 0.8],
        }
    )
    (finding,) = found_in(concentration_by_branch=table)
    assert (finding.row, finding.estimate, finding.how_sure) == ("x", 2.5, "counted")
    unsure = table.assign(estimate=[2.5, 0.625], std_error=[0.6, 0.1])
    assert len(found_in(concentration_by_branch=unsure)) == 0


def test_data_set_aside_and_tables_missing():
    aside = pd.DataFrame(
        {"table": ["payments", "actions"], "rows_in": [1000, 0], "accepted": [990, 0], "quarantined": [10, 0]}
    )
    missing = pd.DataFrame({"table": ["surveys"], "switches_off": ["satisfaction"]})
    assert [f.statement for f in found_in(reconciliation=aside, missing_tables=missing)] == [
        "10 of 1,000 rows of payments were set aside (1.00 %); the limit is 0.10 %.",
        "The book has no table surveys; not reported: satisfaction.",
    ]


def test_a_randomised_test_is_read_on_its_first_outcome():
    table = experiment(
        ("paid_within_90", "good", 2000, 0.09, 0.015),
        ("paid_within_90", "bad", 2000, -0.09, 0.015),
        ("paid_within_90", "open", 2000, 0.02, 0.015),
        ("paid_within_90", "same", 90000, 0.001, 0.003),
        ("complaints", "open", 2000, 0.09, 0.001),
    )
    found = found_in(experiment=table)
    assert {f.row: (f.rule, f.how_sure) for f in found} == {
        "good": ("arm_better", "certain enough"),
        "bad": ("arm_worse", "certain enough"),
        "open": ("arm_undecided", "not certain"),
        "same": ("arm_equal", "certain enough"),
    }
    (good,) = found.where(row="good")
    assert good.statement == (
        "Randomised test, paid within 90 days: good differs from the control's 50.0 % by "
        "+9.0 pp (+6.1 pp to +11.9 pp): better."
    )


def test_where_more_is_worse_the_arm_with_more_is_worse():
    (finding,) = found_in(experiment=experiment(("charged_off", "x", 2000, 0.09, 0.015)))
    assert finding.rule == "arm_worse"


def test_the_gravest_comes_first():
    small = shares("team", [("A", 9000, 0.60), ("B", 400, 0.40)])
    found = found_in(cure_by_team=small, uncovered=shares("all", [("x", 900, 0.9)]))
    severities = [f.severity for f in found]
    assert severities == sorted(severities, reverse=True)
    assert found.items[0].measure == "uncovered"


def test_the_same_evidence_in_another_order_gives_the_same_bytes():
    tables = {"cure_by_team": TEAMS, "recovery_by_team": TEAMS, "uncovered": shares("all", [("x", 900, 0.5)])}
    turned = {k: v.iloc[::-1].reset_index(drop=True) for k, v in reversed(tables.items())}
    assert found_in(**tables)._repr_html_() == found_in(**turned)._repr_html_()


def test_without_an_interval_nothing_is_judged_and_that_is_said():
    table = pd.DataFrame({"team": ["A", "B"], "n": [900, 900], "estimate": [80.0, 50.0]})
    found = found_in(satisfaction_by_team=table)
    assert len(found) == 0
    assert found.notes[-1] == (
        "Not judged, as they came without an interval: satisfaction_by_team: A, satisfaction_by_team: B."
    )


def test_groups_that_do_other_work_are_compared_only_among_their_like():
    # Messages draw few complaints, calls many: no call team is worse than the other call team.
    table = shares("team", [("messages", 9000, 0.001), ("X", 900, 0.02), ("Y", 900, 0.02)])
    assert [f.row for f in found_in(complaints_by_team=table)] == ["X", "Y"]
    like = table.assign(among=["sms", "call", "call"])
    assert len(found_in(complaints_by_team=like)) == 0
    like.loc[2, ["estimate", "std_error", "conf_low", "conf_high"]] = [0.09, 0.0095, 0.071, 0.109]
    (finding,) = found_in(complaints_by_team=like.assign(unit="share"))
    assert "Team Y:" in finding.statement and "that of the others (call) is 2.0 %" in finding.statement


@pytest.mark.parametrize(
    ("label", "subject"), [("C", "team C"), ("Call team 3", "Call team 3"), ("Agency 2", "Agency 2")]
)
def test_a_label_that_says_what_it_is_stands_alone(label, subject):
    (finding,) = found_in(cure_by_team=TEAMS.replace("C", label))
    assert finding.subject == subject
    assert finding.statement.startswith(f"{subject[0].upper()}{subject[1:]}: the cure rate")


def test_labels_are_escaped_and_missing_groups_named():
    table = shares("team", [("A", 900, 0.6), ("<script>", 900, 0.3), (None, 900, 0.3)])
    found = found_in(cure_by_team=pd.concat([table, shares("team", [("B", 900, 0.6)])]))
    assert {f.row for f in found} == {"<script>", "(none)"}
    assert "<script>" not in found._repr_html_()


def test_evidence_that_is_empty_or_none_is_passed_over():
    assert len(found_in(cure_by_team=None, recovery_by_team=TEAMS.iloc[:0])) == 0


def test_wrong_evidence_is_refused_all_at_once():
    with pytest.raises(FrameError) as error:
        found_in(
            cures_by_team=TEAMS,
            cure_by_team=TEAMS.drop(columns="n"),
            uncovered_by_stage=pd.concat([TEAMS, TEAMS]),
        )
    told = str(error.value)
    assert "evidence 'cures_by_team': no rule reads it. Nearest: cure_by_…" in told
    assert "evidence 'cure_by_team': no column of observations" in told
    assert "evidence 'uncovered_by_stage': several rows for A, B, C. Allowed: one row per group." in told


def test_evidence_is_picked_renamed_and_turned_round():
    result = Result(
        table=pd.DataFrame(
            {
                "agency": ["A", "A"],
                "measure": ["recorded", "other"],
                "notes": [400, 400],
                "estimate": [0.6, 0.1],
                "conf_low": [0.55, 0.0],
                "conf_high": [0.65, 0.2],
            }
        ),
        estimand="x",
    )
    picked = evidence(result, n="notes", complement=True, measure="recorded")
    assert picked[["agency", "n", "estimate", "conf_low", "conf_high", "unit"]].round(9).values.tolist() == [
        ["A", 400, 0.4, 0.35, 0.45, "share"]
    ]
    with pytest.raises(FrameError, match=r"no row with measure = 'recored'. Found: recorded, other"):
        evidence(result, measure="recored")
    with pytest.raises(FrameError, match="no column horizon, k"):
        evidence(result, horizon=90, n="k")
