"""targets.yml and strategy.yml: read, checked, dated."""

from pathlib import Path

import pytest
import yaml

from collectlab.core.errors import FrameError, ParamsError
from collectlab.policy import load_strategy, load_targets

PARAMS = Path(__file__).parents[2] / "params"


def changed(tmp_path, name, change):
    """The example file with something changed, elsewhere."""
    written = yaml.safe_load((PARAMS / name).read_text(encoding="utf-8"))
    change(written)
    path = tmp_path / name
    path.write_text(yaml.safe_dump(written, allow_unicode=True), encoding="utf-8")
    return path


def faults(load, path):
    with pytest.raises(ParamsError) as error:
        load(path)
    return error.value.faults


def test_the_example_targets_hold_the_house_kpis():
    goals = load_targets(PARAMS / "targets.yml").on("2026-10-31")
    assert (goals["recovery_rate"].target, goals["recovery_rate"].kpi.direction) == (0.80, "at_least")
    assert (goals["satisfaction"].target, goals["satisfaction"].kpi.direction) == (85, "at_least")
    assert (goals["delinquency_change"].target, goals["delinquency_change"].kpi.direction) == (
        -0.05,
        "at_most",
    )
    assert (goals["new_loan_bad_rate"].target, goals["new_loan_bad_rate"].kpi.direction) == (0.01, "at_most")
    assert all(goal.kpi.name.zh and goal.source for goal in goals.values())


def test_before_their_first_date_no_target_is_in_force():
    assert load_targets(PARAMS / "targets.yml").on("1999-12-31") == {}


def test_a_new_target_replaces_the_old_from_its_date(tmp_path):
    def raise_target(written):
        written["kpis"]["recovery_rate"]["target"]["2026-07-01"] = {"value": 0.9, "source": "letter"}

    targets = load_targets(changed(tmp_path, "targets.yml", raise_target))
    assert targets.on("2026-06-30")["recovery_rate"].target == 0.8
    assert targets.on("2026-07-01")["recovery_rate"].target == 0.9


def test_the_rule_in_words_takes_its_numbers_from_the_rule(tmp_path):
    path = changed(tmp_path, "targets.yml", lambda w: w["rating"].update(missed_at_least=0.4))
    assert "at least 40 % of the weight are missed" in load_targets(path).rating.sentence()


def test_faults_of_the_targets_are_told_at_once(tmp_path):
    def spoil(written):
        recovery = written["kpis"]["recovery_rate"]
        recovery["target"] = {"2015-01-01": {"value": 1.8, "source": "letter"}}
        recovery["poor"] = {"2015-01-01": {"value": 1.9, "source": "letter"}}
        written["kpis"]["satisfaction"]["direction"] = "more"
        written["rating"]["text"]["en"] = "Poor where {weight} is missed"
        written["limit"] = {}

    found = "\n".join(faults(load_targets, changed(tmp_path, "targets.yml", spoil)))
    assert "no such key 'limit'. Nearest: limits" in found
    assert "kpis.recovery_rate.target.2015-01-01.value: 1.8 is out of range. Allowed: 0 to 1." in found
    assert "Allowed: a poor limit below the target." in found
    assert "kpis.satisfaction.direction: found 'more'" in found
    assert "rating.text.en: no such number 'weight'" in found


@pytest.mark.parametrize(
    ("dpd", "stage"),
    [(-5, "before_due"), (0, "before_due"), (1, "early"), (29, "early"), (30, "middle"), (900, "late")],
)
def test_days_past_due_lie_in_one_stage(dpd, stage):
    assert load_strategy(PARAMS / "strategy.yml").on("2026-10-31").stage_of(dpd).key == stage


def test_missing_days_past_due_have_no_stage():
    with pytest.raises(FrameError, match="Allowed: a number"):
        load_strategy(PARAMS / "strategy.yml").on("2026-10-31").stage_of(float("nan"))


def test_the_strategy_is_shown_with_hardship_apart():
    shown = load_strategy(PARAMS / "strategy.yml").on("2026-10-31").table("zh").table
    assert shown["stage"].tolist()[-1] == "特殊困难"
    assert len(shown) == 5


def test_a_strategy_has_no_gap_and_no_overlap(tmp_path):
    def spoil(written):
        stages = next(iter(written["versions"].values()))["stages"]
        stages[1]["dpd_to"], stages[3]["dpd_from"] = 25, 50

    found = "\n".join(faults(load_strategy, changed(tmp_path, "strategy.yml", spoil)))
    assert "no stage covers 26 to 29 days past due" in found
    assert "stages 'middle' and 'late' overlap at 50 days past due" in found


def test_a_strategy_not_yet_in_force_is_refused():
    with pytest.raises(ParamsError, match=r"no strategy in force on 2001-01-01. The first holds from"):
        load_strategy(PARAMS / "strategy.yml").on("2001-01-01")
